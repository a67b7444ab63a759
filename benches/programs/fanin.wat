;; fanin: 16,384 objects refer to one and the same, or to a few. Each step makes such an
;; object in the place of another, and turns another one to a target picked at random;
;; each 8,192nd step replaces a target, which dies when the last that refers to it does.
;;
;; Stresses: many references to one object: counts that outgrow their field and stick,
;;   or are written by all; remembered sets by target.
;; Knob: n, the number of steps.
;; Parameter: targets, 1 to 65,536; 1 by default.
;; Live: 16,384 objects of 16 bytes, p targets of 16, arrays of 65,548 and 12 + 4 p
;;   bytes: 327,728 bytes by default, and a few targets that were replaced. Allocates
;;   n objects.
;; Self-check: each object carries its target's number.
;; Expect: run(20000) = 2074189824; run(12000000) = -1520443392;
;;   run_with(20000, 64) = 1145817914; run_with(20000, 4096) = 286440826.
(module
  (type $target (struct (field $number i32)))
  (type $object (struct
    (field $target (mut (ref $target)))
    (field $number (mut i32))))
  (type $targets (array (mut (ref null $target))))
  (type $objects (array (mut (ref null $object))))

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
  ;; The number of an object's target, which it must carry itself.
  (func $check (param $o (ref $object)) (result i32)
    (local $number i32)
    (local.set $number
      (struct.get $target $number (struct.get $object $target (local.get $o))))
    (if (i32.ne (local.get $number) (struct.get $object $number (local.get $o)))
      (then (unreachable)))
    (local.get $number))

  (func $run_with (export "run_with") (param $n i32) (param $count i32) (result i32)
    (local $targets (ref $targets))
    (local $objects (ref $objects))
    (local $target (ref $target))
    (local $object (ref $object))
    (local $i i32)
    (local $r i32)
    (local $sum i32)
    (if (i32.gt_u
          (i32.sub (local.get $count) (i32.const 1))
          (i32.const 65535))
      (then (unreachable)))
    (global.set $seed (i32.const 0x6a09e667))
    (local.set $targets (array.new_default $targets (local.get $count)))
    (loop $make
      (array.set $targets (local.get $targets) (local.get $i)
        (struct.new $target (local.get $i)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $make (i32.lt_u (local.get $i) (local.get $count))))
    (local.set $objects (array.new_default $objects (i32.const 16384)))
    (local.set $i (i32.const 0))
    (local.set $target
      (ref.as_non_null
        (array.get $targets (local.get $targets) (i32.const 0))))
    (loop $fill
      (array.set $objects (local.get $objects) (local.get $i)
        (struct.new $object (local.get $target) (i32.const 0)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $fill (i32.lt_u (local.get $i) (i32.const 16384))))
    (local.set $i (i32.const 0))
    (loop $step
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (local.set $r (call $random))
          ;; A new target in the place of an old one.
          (if (i32.eqz (i32.and (local.get $i) (i32.const 8191)))
            (then
              (array.set $targets (local.get $targets)
                (i32.rem_u
                  (i32.shr_u (local.get $i) (i32.const 13))
                  (local.get $count))
                (struct.new $target (local.get $i)))))
          (local.set $target
            (ref.as_non_null
              (array.get $targets (local.get $targets)
                (i32.rem_u
                  (i32.shr_u (local.get $r) (i32.const 8))
                  (local.get $count)))))
          ;; A new object in the place of an old one.
          (local.set $object
            (ref.as_non_null
              (array.get $objects (local.get $objects)
                (i32.and (local.get $r) (i32.const 16383)))))
          (local.set $sum
            (i32.add
              (i32.mul (local.get $sum) (i32.const 31))
              (call $check (local.get $object))))
          (array.set $objects (local.get $objects)
            (i32.and (local.get $r) (i32.const 16383))
            (struct.new $object
              (local.get $target)
              (struct.get $target $number (local.get $target))))
          ;; An old object turns to the target.
          (local.set $object
            (ref.as_non_null
              (array.get $objects (local.get $objects)
                (i32.shr_u (local.get $r) (i32.const 18)))))
          (drop (call $check (local.get $object)))
          (struct.set $object $target (local.get $object) (local.get $target))
          (struct.set $object $number (local.get $object)
            (struct.get $target $number (local.get $target)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $step))))
    (local.set $i (i32.const 0))
    (loop $living
      (local.set $sum
        (i32.add
          (i32.mul (local.get $sum) (i32.const 31))
          (call $check
            (ref.as_non_null
              (array.get $objects (local.get $objects) (local.get $i))))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $living (i32.lt_u (local.get $i) (i32.const 16384))))
    (local.get $sum))

  (func (export "run") (param $n i32) (result i32)
    (call $run_with (local.get $n) (i32.const 1))))
