;; survive: each new object dies at once or is kept, at random; the 131,072 youngest of
;; those that are kept live, and the oldest dies when the next comes.
;;
;; Stresses: survival, as a dial: with each per cent a generational collector's premise
;;   holds a little less.
;; Knob: n, the number of objects.
;; Parameter: how many of 100 are kept, 0 to 100; 10 by default. A kept object lives
;;   while 419 MB / parameter are allocated: 42 MB by default, 4.2 MB at 100.
;; Live: 131,072 objects of 32 bytes and an array of 524,300 bytes: 131,073 objects,
;;   4,718,608 bytes. Allocates n objects.
;; Self-check: an object that leaves is the 131,072nd before the one that comes.
;; Expect: run(40000) = -1000624939; run(12000000) = -209238921;
;;   run_with(40000, 0) = 0; run_with(40000, 100) = -1794332064.
(module
  (type $object (struct
    (field $number i32)
    (field $a i64)
    (field $b i32)))
  (type $kept (array (mut (ref null $object))))

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
  (func $run_with (export "run_with") (param $n i32) (param $percent i32) (result i32)
    (local $kept (ref $kept))
    (local $new (ref $object))
    (local $old (ref null $object))
    (local $i i32)
    (local $count i32)
    (local $slot i32)
    (local $bound i32)
    (local $sum i32)
    (global.set $seed (i32.const 0x3c6ef372))
    (local.set $kept (array.new_default $kept (i32.const 131072)))
    ;; A random number of 16 bits is below this as often as the parameter says.
    (local.set $bound
      (i32.div_u (i32.shl (local.get $percent) (i32.const 16)) (i32.const 100)))
    (loop $next
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (local.set $new
            (struct.new $object
              (local.get $count)
              (i64.extend_i32_u (local.get $i))
              (i32.xor (local.get $i) (local.get $count))))
          (if (i32.lt_u
                (i32.and (call $random) (i32.const 65535))
                (local.get $bound))
            (then
              (local.set $slot (i32.and (local.get $count) (i32.const 131071)))
              (local.set $old
                (array.get $kept (local.get $kept) (local.get $slot)))
              (if (i32.eqz (ref.is_null (local.get $old)))
                (then
                  (if (i32.ne
                        (struct.get $object $number (local.get $old))
                        (i32.sub (local.get $count) (i32.const 131072)))
                    (then (unreachable)))
                  (call $check (ref.as_non_null (local.get $old)))))
              (array.set $kept (local.get $kept) (local.get $slot) (local.get $new))
              (local.set $count (i32.add (local.get $count) (i32.const 1)))
              (local.set $sum
                (i32.add
                  (i32.mul (local.get $sum) (i32.const 31))
                  (i32.wrap_i64 (struct.get $object $a (local.get $new)))))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next))))
    ;; Those that live are the youngest.
    (local.set $i (i32.const 0))
    (loop $living
      (local.set $old (array.get $kept (local.get $kept) (local.get $i)))
      (if (i32.eqz (ref.is_null (local.get $old)))
        (then
          (call $check (ref.as_non_null (local.get $old)))
          (if (i32.lt_s
                (struct.get $object $number (local.get $old))
                (i32.sub (local.get $count) (i32.const 131072)))
            (then (unreachable)))
          (local.set $sum
            (i32.xor (local.get $sum) (struct.get $object $b (local.get $old))))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $living (i32.lt_u (local.get $i) (i32.const 131072))))
    (i32.add (local.get $sum) (local.get $count)))

  ;; The fields of an object fit each other.
  (func $check (param $o (ref $object))
    (if (i32.ne
          (i32.xor
            (i32.wrap_i64 (struct.get $object $a (local.get $o)))
            (struct.get $object $number (local.get $o)))
          (struct.get $object $b (local.get $o)))
      (then (unreachable))))

  (func (export "run") (param $n i32) (result i32)
    (call $run_with (local.get $n) (i32.const 10))))
