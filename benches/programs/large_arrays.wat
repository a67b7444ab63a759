;; large_arrays: arrays of 8 KiB to 512 KiB, of bytes, of 32-bit integers and of
;; references, filled and copied in bulk. The 14 youngest stay.
;;
;; Stresses: large objects, array.fill and array.copy (with barriers, for
;;   references), zeroing of memory, and fragmentation by sizes that vary.
;; Knob: n, the number of arrays.
;; Live: the 14 youngest hold each of 7 sizes twice: 2,080,768 bytes of elements
;;   and one box of 16 bytes, with the array that holds them 16 objects; one more
;;   array of up to 512 KiB while it is made. Allocates 148,626 bytes an array on average.
;; Self-check: the elements of each array, when it was made and when it leaves.
;; Expect: run(30) = 619624800; run(5000) = -681947231.
(module
  (type $box (struct (field $value i32)))
  (type $bytes (array (mut i8)))
  (type $words (array (mut i32)))
  (type $refs (array (mut (ref null $box))))
  (type $kept (array (mut anyref)))

  ;; Each maker makes an array of 2^$log bytes, fills its first half, and copies
  ;; that half over the second.
  (func $bytes (param $log i32) (param $v i32) (result (ref $bytes))
    (local $a (ref $bytes))
    (local $half i32)
    (local.set $half (i32.shl (i32.const 1) (i32.sub (local.get $log) (i32.const 1))))
    (local.set $a
      (array.new_default $bytes (i32.shl (local.get $half) (i32.const 1))))
    (array.fill $bytes
      (local.get $a) (i32.const 0) (local.get $v) (local.get $half))
    (array.copy $bytes $bytes
      (local.get $a) (local.get $half)
      (local.get $a) (i32.const 0)
      (local.get $half))
    (local.get $a))

  (func $words (param $log i32) (param $v i32) (result (ref $words))
    (local $a (ref $words))
    (local $half i32)
    (local.set $half (i32.shl (i32.const 1) (i32.sub (local.get $log) (i32.const 3))))
    (local.set $a
      (array.new_default $words (i32.shl (local.get $half) (i32.const 1))))
    (array.fill $words
      (local.get $a) (i32.const 0) (local.get $v) (local.get $half))
    (array.copy $words $words
      (local.get $a) (local.get $half)
      (local.get $a) (i32.const 0)
      (local.get $half))
    (local.get $a))

  (func $refs (param $log i32) (param $box (ref $box)) (result (ref $refs))
    (local $a (ref $refs))
    (local $half i32)
    (local.set $half (i32.shl (i32.const 1) (i32.sub (local.get $log) (i32.const 3))))
    (local.set $a
      (array.new_default $refs (i32.shl (local.get $half) (i32.const 1))))
    (array.fill $refs
      (local.get $a) (i32.const 0) (local.get $box) (local.get $half))
    (array.copy $refs $refs
      (local.get $a) (local.get $half)
      (local.get $a) (i32.const 0)
      (local.get $half))
    (local.get $a))

  ;; Reads the last element and one from the middle; they must agree.
  (func $read (param $a anyref) (result i32)
    (local $len i32)
    (local $x i32)
    (local $y i32)
    (local.set $len (array.len (ref.cast (ref array) (local.get $a))))
    (block $done
      (block $is_refs (result (ref $refs))
        (block $is_words (result (ref $words))
          (drop
            (block $is_bytes (result (ref $bytes))
              (drop (br_on_cast $is_words anyref (ref $words) (local.get $a)))
              (drop (br_on_cast $is_refs anyref (ref $refs) (local.get $a)))
              (br_on_cast $is_bytes anyref (ref $bytes) (local.get $a))
              (unreachable)))
          (local.set $x
            (array.get_u $bytes (ref.cast (ref $bytes) (local.get $a))
              (i32.sub (local.get $len) (i32.const 1))))
          (local.set $y
            (array.get_u $bytes (ref.cast (ref $bytes) (local.get $a))
              (i32.shr_u (local.get $len) (i32.const 2))))
          (br $done))
        (local.set $x
          (array.get $words (i32.sub (local.get $len) (i32.const 1))))
        (local.set $y
          (array.get $words (ref.cast (ref $words) (local.get $a))
            (i32.shr_u (local.get $len) (i32.const 2))))
        (br $done))
      (local.set $x
        (struct.get $box $value
          (array.get $refs (i32.sub (local.get $len) (i32.const 1)))))
      (local.set $y
        (struct.get $box $value
          (array.get $refs (ref.cast (ref $refs) (local.get $a))
            (i32.shr_u (local.get $len) (i32.const 2))))))
    (if (i32.ne (local.get $x) (local.get $y))
      (then (unreachable)))
    (local.get $x))

  ;; The $i-th array: its size goes round 7 sizes, its kind round 3.
  (func $make (param $i i32) (param $box (ref $box)) (result anyref)
    (local $log i32)
    (local $kind i32)
    (local.set $log
      (i32.add (i32.const 13) (i32.rem_u (local.get $i) (i32.const 7))))
    (local.set $kind (i32.rem_u (local.get $i) (i32.const 3)))
    (if (i32.eqz (local.get $kind))
      (then (return (call $bytes (local.get $log) (local.get $i)))))
    (if (i32.eq (local.get $kind) (i32.const 1))
      (then (return (call $words (local.get $log) (local.get $i)))))
    (call $refs (local.get $log) (local.get $box)))

  ;; What $read must find in the $i-th array.
  (func $expected (param $i i32) (result i32)
    (local $kind i32)
    (local.set $kind (i32.rem_u (local.get $i) (i32.const 3)))
    (if (i32.eqz (local.get $kind))
      (then (return (i32.and (local.get $i) (i32.const 255)))))
    (select
      (local.get $i)
      (i32.const 7)
      (i32.eq (local.get $kind) (i32.const 1))))

  (func (export "run") (param $n i32) (result i32)
    (local $kept (ref $kept))
    (local $box (ref $box))
    (local $old anyref)
    (local $new anyref)
    (local $i i32)
    (local $sum i32)
    (local.set $kept (array.new_default $kept (i32.const 14)))
    (local.set $box (struct.new $box (i32.const 7)))
    (loop $next
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (local.set $old
            (array.get $kept (local.get $kept)
              (i32.rem_u (local.get $i) (i32.const 14))))
          (if (i32.eqz (ref.is_null (local.get $old)))
            (then
              (if (i32.ne
                    (call $read (local.get $old))
                    (call $expected (i32.sub (local.get $i) (i32.const 14))))
                (then (unreachable)))
              (local.set $old (ref.null none))))
          (local.set $new (call $make (local.get $i) (local.get $box)))
          (array.set $kept (local.get $kept)
            (i32.rem_u (local.get $i) (i32.const 14))
            (local.get $new))
          (local.set $sum
            (i32.add
              (i32.mul (local.get $sum) (i32.const 31))
              (call $read (local.get $new))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next))))
    (local.get $sum)))
