;; cast_chain: 1,024 objects of 17 classes; each visit asks an object for its class,
;; from the most derived up, as a type switch in a compiled language does.
;;
;; Stresses: br_on_cast and ref.test over a hierarchy of depth up to 8: up to
;;   nine casts a visit, most of which fail. No allocation while it runs.
;; Knob: n, the number of visits.
;; Live: 1,024 objects of 16 to 48 bytes and an array of 4,108 bytes.
;; Self-check: the level found is the one noted in the object; ref.test agrees.
;; Expect: run(100000) = 1861683618; run(40000000) = 1078033514.
(module
  ;; $c0 is the root; each $cK is a subclass of the one before with one field more,
  ;; and has a final sibling $sK: a class as deep that is not $cK. Field $level
  ;; holds the largest K such that the object is a $cK.
  (rec
    (type $c0 (sub (struct (field $level i32))))
    (type $c1 (sub $c0 (struct (field $level i32) (field $own i32))))
    (type $c2 (sub $c1 (struct (field $level i32) (field i32) (field $own i32))))
    (type $c3 (sub $c2 (struct (field $level i32) (field i32 i32) (field $own i32))))
    (type $c4 (sub $c3 (struct (field $level i32) (field i32 i32 i32) (field $own i32))))
    (type $c5 (sub $c4 (struct (field $level i32) (field i32 i32 i32 i32) (field $own i32))))
    (type $c6 (sub $c5 (struct (field $level i32) (field i32 i32 i32 i32 i32) (field $own i32))))
    (type $c7 (sub $c6 (struct (field $level i32) (field i32 i32 i32 i32 i32 i32) (field $own i32))))
    (type $c8 (sub final $c7 (struct (field $level i32) (field i32 i32 i32 i32 i32 i32 i32) (field $own i32))))
    (type $s1 (sub final $c0 (struct (field $level i32) (field f32))))
    (type $s2 (sub final $c1 (struct (field $level i32) (field i32) (field f32))))
    (type $s3 (sub final $c2 (struct (field $level i32) (field i32 i32) (field f32))))
    (type $s4 (sub final $c3 (struct (field $level i32) (field i32 i32 i32) (field f32))))
    (type $s5 (sub final $c4 (struct (field $level i32) (field i32 i32 i32 i32) (field f32))))
    (type $s6 (sub final $c5 (struct (field $level i32) (field i32 i32 i32 i32 i32) (field f32))))
    (type $s7 (sub final $c6 (struct (field $level i32) (field i32 i32 i32 i32 i32 i32) (field f32))))
    (type $s8 (sub final $c7 (struct (field $level i32) (field i32 i32 i32 i32 i32 i32 i32) (field f32)))))
  (type $objects (array (mut (ref null $c0))))

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

  ;; An object of the class $class: 0 to 8 for $c0 to $c8, 9 to 16 for $s1 to $s8.
  ;; Field $own of a $cK is 100 K.
  (func $make (param $class i32) (result (ref $c0))
    (if (i32.eq (local.get $class) (i32.const 0))
      (then
        (return
          (struct.new $c0
            (i32.const 0)))))
    (if (i32.eq (local.get $class) (i32.const 1))
      (then
        (return
          (struct.new $c1
            (i32.const 1) (i32.const 100)))))
    (if (i32.eq (local.get $class) (i32.const 2))
      (then
        (return
          (struct.new $c2
            (i32.const 2) (i32.const 100) (i32.const 200)))))
    (if (i32.eq (local.get $class) (i32.const 3))
      (then
        (return
          (struct.new $c3
            (i32.const 3) (i32.const 100) (i32.const 200) (i32.const 300)))))
    (if (i32.eq (local.get $class) (i32.const 4))
      (then
        (return
          (struct.new $c4
            (i32.const 4) (i32.const 100) (i32.const 200) (i32.const 300)
            (i32.const 400)))))
    (if (i32.eq (local.get $class) (i32.const 5))
      (then
        (return
          (struct.new $c5
            (i32.const 5) (i32.const 100) (i32.const 200) (i32.const 300)
            (i32.const 400) (i32.const 500)))))
    (if (i32.eq (local.get $class) (i32.const 6))
      (then
        (return
          (struct.new $c6
            (i32.const 6) (i32.const 100) (i32.const 200) (i32.const 300)
            (i32.const 400) (i32.const 500) (i32.const 600)))))
    (if (i32.eq (local.get $class) (i32.const 7))
      (then
        (return
          (struct.new $c7
            (i32.const 7) (i32.const 100) (i32.const 200) (i32.const 300)
            (i32.const 400) (i32.const 500) (i32.const 600) (i32.const 700)))))
    (if (i32.eq (local.get $class) (i32.const 8))
      (then
        (return
          (struct.new $c8
            (i32.const 8) (i32.const 100) (i32.const 200) (i32.const 300)
            (i32.const 400) (i32.const 500) (i32.const 600) (i32.const 700)
            (i32.const 800)))))
    (if (i32.eq (local.get $class) (i32.const 9))
      (then
        (return
          (struct.new $s1
            (i32.const 0) (f32.const 0)))))
    (if (i32.eq (local.get $class) (i32.const 10))
      (then
        (return
          (struct.new $s2
            (i32.const 1) (i32.const 100) (f32.const 0)))))
    (if (i32.eq (local.get $class) (i32.const 11))
      (then
        (return
          (struct.new $s3
            (i32.const 2) (i32.const 100) (i32.const 200) (f32.const 0)))))
    (if (i32.eq (local.get $class) (i32.const 12))
      (then
        (return
          (struct.new $s4
            (i32.const 3) (i32.const 100) (i32.const 200) (i32.const 300)
            (f32.const 0)))))
    (if (i32.eq (local.get $class) (i32.const 13))
      (then
        (return
          (struct.new $s5
            (i32.const 4) (i32.const 100) (i32.const 200) (i32.const 300)
            (i32.const 400) (f32.const 0)))))
    (if (i32.eq (local.get $class) (i32.const 14))
      (then
        (return
          (struct.new $s6
            (i32.const 5) (i32.const 100) (i32.const 200) (i32.const 300)
            (i32.const 400) (i32.const 500) (f32.const 0)))))
    (if (i32.eq (local.get $class) (i32.const 15))
      (then
        (return
          (struct.new $s7
            (i32.const 6) (i32.const 100) (i32.const 200) (i32.const 300)
            (i32.const 400) (i32.const 500) (i32.const 600) (f32.const 0)))))
    (if (i32.eq (local.get $class) (i32.const 16))
      (then
        (return
          (struct.new $s8
            (i32.const 7) (i32.const 100) (i32.const 200) (i32.const 300)
            (i32.const 400) (i32.const 500) (i32.const 600) (i32.const 700)
            (f32.const 0)))))
    (unreachable))

  ;; The largest K such that $o is a $cK, plus that class's own field.
  (func $switch (param $o (ref $c0)) (result i32)
    (block $is8 (result (ref $c8))
      (block $is7 (result (ref $c7))
        (block $is6 (result (ref $c6))
          (block $is5 (result (ref $c5))
            (block $is4 (result (ref $c4))
              (block $is3 (result (ref $c3))
                (block $is2 (result (ref $c2))
                  (block $is1 (result (ref $c1))
                    (drop (br_on_cast $is8 (ref $c0) (ref $c8) (local.get $o)))
                    (drop (br_on_cast $is7 (ref $c0) (ref $c7) (local.get $o)))
                    (drop (br_on_cast $is6 (ref $c0) (ref $c6) (local.get $o)))
                    (drop (br_on_cast $is5 (ref $c0) (ref $c5) (local.get $o)))
                    (drop (br_on_cast $is4 (ref $c0) (ref $c4) (local.get $o)))
                    (drop (br_on_cast $is3 (ref $c0) (ref $c3) (local.get $o)))
                    (drop (br_on_cast $is2 (ref $c0) (ref $c2) (local.get $o)))
                    (drop (br_on_cast $is1 (ref $c0) (ref $c1) (local.get $o)))
                    (return (i32.const 0)))
                  (struct.get $c1 $own)
                  (i32.add (i32.const 1))
                  (return))
                (struct.get $c2 $own)
                (i32.add (i32.const 2))
                (return))
              (struct.get $c3 $own)
              (i32.add (i32.const 3))
              (return))
            (struct.get $c4 $own)
            (i32.add (i32.const 4))
            (return))
          (struct.get $c5 $own)
          (i32.add (i32.const 5))
          (return))
        (struct.get $c6 $own)
        (i32.add (i32.const 6))
        (return))
      (struct.get $c7 $own)
      (i32.add (i32.const 7))
      (return))
    (struct.get $c8 $own)
    (i32.add (i32.const 8)))

  (func (export "run") (param $n i32) (result i32)
    (local $objects (ref $objects))
    (local $o (ref $c0))
    (local $i i32)
    (local $found i32)
    (local $level i32)
    (local $sum i32)
    (global.set $seed (i32.const 0x5851f42d))
    (local.set $objects (array.new_default $objects (i32.const 1024)))
    (loop $fill
      (array.set $objects (local.get $objects) (local.get $i)
        (call $make
          (i32.rem_u
            (i32.shr_u (call $random) (i32.const 4))
            (i32.const 17))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $fill (i32.lt_u (local.get $i) (i32.const 1024))))

    (local.set $i (i32.const 0))
    (loop $visit
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (local.set $o
            (ref.as_non_null
              (array.get $objects (local.get $objects)
                (i32.and (local.get $i) (i32.const 1023)))))
          (local.set $found (call $switch (local.get $o)))
          (local.set $level (struct.get $c0 $level (local.get $o)))
          (if (i32.ne
                (local.get $found)
                (i32.mul (local.get $level) (i32.const 101)))
            (then (unreachable)))
          (if (i32.ne
                (ref.test (ref $c4) (local.get $o))
                (i32.ge_u (local.get $level) (i32.const 4)))
            (then (unreachable)))
          (local.set $sum
            (i32.add
              (i32.mul (local.get $sum) (i32.const 31))
              (local.get $found)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $visit))))
    (local.get $sum)))
