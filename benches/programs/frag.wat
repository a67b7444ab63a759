;; frag: 4,096 byte arrays, of which one after the other is replaced; sizes and order
;; are a pattern.
;;
;; Stresses: fragmentation: whether the holes that the dead leave fit the next.
;; Knob: n, the number of arrays.
;; Parameter, the pattern; 2 by default:
;;   0  all arrays have 64 bytes, and die in random order: every hole fits;
;;   1  16 to 1,039 bytes, small ones more often than large ones, in random order;
;;   2  round after round, every second array is replaced by one 24 bytes longer than
;;      the last round's (from 16 to 952, and then anew): a comb whose holes are too
;;      small, while the teeth stay for one more round;
;;   3  as 2, but one array in eight stays: large holes between few survivors.
;; Live: 4,096 arrays of 32 to 1,056 bytes and one of 16,396: 0.3 MB with pattern 0,
;;   1.1 MB with 1, up to 3.9 MB with 2 and 3, whose arrays grow.
;; Self-check: the first and the last byte of an array say which it is, as long as it
;;   lives.
;; Expect: run(20000) = 1963198976; run(3000000) = 1211794432;
;;   run_with(20000, 0) = -675499264; run_with(20000, 1) = -1832739259;
;;   run_with(20000, 3) = -782662112.
(module
  (type $bytes (array (mut i8)))
  (type $slots (array (mut (ref null $bytes))))

  (global $seed (mut i32) (i32.const 0))

  ;; xorshift32
  (func $random (result i32)
    (local $s i32)
    (local.set $s (global.get $seed))
    (local.set $s (i32.xor (local.get $s) (i32.shl (local.get $s) (i32.const 13))))
    (local.set $s (i32.xor (local.get $s) (i32.shr_u (local.get $s) (i32.const 17))))
    (local.set $s (i32.xor (local.get $s) (i32.shl (local.get $s) (i32.const 5))))
    (global.set $seed (local.get $s))
    (local.get $s))
  ;; Insists that an array is that of $slot; its length.
  (func $check (param $bytes (ref null $bytes)) (param $slot i32) (result i32)
    (local $length i32)
    (if (ref.is_null (local.get $bytes)) (then (return (i32.const 0))))
    (local.set $length (array.len (local.get $bytes)))
    (if (i32.ne
          (array.get_u $bytes (local.get $bytes) (i32.const 0))
          (i32.and (local.get $slot) (i32.const 255)))
      (then (unreachable)))
    (if (i32.ne
          (array.get_u $bytes (local.get $bytes)
            (i32.sub (local.get $length) (i32.const 1)))
          (i32.and (i32.shr_u (local.get $slot) (i32.const 4)) (i32.const 255)))
      (then (unreachable)))
    (local.get $length))

  (func $make (param $slot i32) (param $length i32) (result (ref $bytes))
    (local $bytes (ref $bytes))
    (local.set $bytes (array.new_default $bytes (local.get $length)))
    (array.set $bytes (local.get $bytes) (i32.const 0) (local.get $slot))
    (array.set $bytes (local.get $bytes)
      (i32.sub (local.get $length) (i32.const 1))
      (i32.shr_u (local.get $slot) (i32.const 4)))
    (local.get $bytes))

  (func $run_with (export "run_with") (param $n i32) (param $pattern i32) (result i32)
    (local $slots (ref $slots))
    (local $i i32)
    (local $r i32)
    (local $slot i32)
    (local $round i32)
    (local $length i32)
    (local $teeth i32)
    (local $sum i32)
    (if (i32.gt_u (local.get $pattern) (i32.const 3)) (then (unreachable)))
    (global.set $seed (i32.const 0x5be0cd19))
    (local.set $slots (array.new_default $slots (i32.const 4096)))
    (local.set $slot (i32.const -1))
    ;; One slot in this many stays in a round of patterns 2 and 3; a power of two.
    (local.set $teeth
      (select (i32.const 2) (i32.const 8) (i32.eq (local.get $pattern) (i32.const 2))))
    (loop $next
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (if (i32.lt_u (local.get $pattern) (i32.const 2))
            (then
              (local.set $r (call $random))
              (local.set $slot (i32.and (local.get $r) (i32.const 4095)))
              (local.set $length (i32.const 64))
              (if (local.get $pattern)
                (then
                  ;; 16 to 512, doubling, and up to as much again.
                  (local.set $length
                    (i32.shl
                      (i32.const 16)
                      (i32.rem_u
                        (i32.shr_u (local.get $r) (i32.const 12))
                        (i32.const 6))))
                  (local.set $length
                    (i32.add
                      (local.get $length)
                      (i32.rem_u
                        (i32.shr_u (local.get $r) (i32.const 16))
                        (local.get $length)))))))
            (else
              (loop $skip
                (local.set $slot (i32.add (local.get $slot) (i32.const 1)))
                (if (i32.eq (local.get $slot) (i32.const 4096))
                  (then
                    (local.set $slot (i32.const 0))
                    (local.set $round (i32.add (local.get $round) (i32.const 1)))))
                (br_if $skip
                  (i32.eqz
                    (i32.and
                      (i32.add (local.get $slot) (local.get $round))
                      (i32.sub (local.get $teeth) (i32.const 1))))))
              (local.set $length
                (i32.add
                  (i32.const 16)
                  (i32.mul
                    (i32.rem_u (local.get $round) (i32.const 40))
                    (i32.const 24))))))
          (local.set $sum
            (i32.add
              (i32.mul (local.get $sum) (i32.const 31))
              (call $check
                (array.get $slots (local.get $slots) (local.get $slot))
                (local.get $slot))))
          (array.set $slots (local.get $slots) (local.get $slot)
            (call $make (local.get $slot) (local.get $length)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next))))
    (local.set $slot (i32.const 0))
    (loop $living
      (local.set $sum
        (i32.add
          (i32.mul (local.get $sum) (i32.const 31))
          (call $check
            (array.get $slots (local.get $slots) (local.get $slot))
            (local.get $slot))))
      (local.set $slot (i32.add (local.get $slot) (i32.const 1)))
      (br_if $living (i32.lt_u (local.get $slot) (i32.const 4096))))
    (local.get $sum))

  (func (export "run") (param $n i32) (result i32)
    (call $run_with (local.get $n) (i32.const 2))))
