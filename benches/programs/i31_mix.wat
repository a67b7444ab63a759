;; i31_mix: numbers as a dynamic language holds them: an i31 when the value fits in
;; 31 bits, else a box. Two numbers are picked at random and one of them is
;; replaced by a mix of both; about half of the results fit.
;;
;; Stresses: ref.i31 and i31.get beside real references in the same slots: casts
;;   that branch either way, barriers that must tell an i31 from an object.
;; Knob: n, the number of replacements.
;; Live: an array of 4,096 references (16,396 bytes) and one of as many integers
;;   (16,396 bytes), and about 2,048 boxes of 16 bytes: 65,568 bytes. Allocates
;;   about n / 2 boxes.
;; Self-check: each number equals its copy in the array of integers.
;; Expect: run(50000) = -859264769; run(10000000) = -107762898.
(module
  (type $box (struct (field $value i32)))
  (type $numbers (array (mut eqref)))
  (type $words (array (mut i32)))

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

  ;; A number from an integer.
  (func $wrap (param $v i32) (result (ref eq))
    (if (result (ref eq))
      (i32.eq
        (i32.shr_s (i32.shl (local.get $v) (i32.const 1)) (i32.const 1))
        (local.get $v))
      (then (ref.i31 (local.get $v)))
      (else (struct.new $box (local.get $v)))))

  ;; The integer of a number.
  (func $unwrap (param $x eqref) (result i32)
    (block $small (result (ref i31))
      (return
        (struct.get $box $value
          (ref.cast (ref $box)
            (br_on_cast $small eqref (ref i31) (local.get $x))))))
    (i31.get_s))

  (func (export "run") (param $n i32) (result i32)
    (local $numbers (ref $numbers))
    (local $words (ref $words))
    (local $i i32)
    (local $r i32)
    (local $a i32)
    (local $b i32)
    (local $v i32)
    (local $sum i32)
    (global.set $seed (i32.const 0x41c64e6d))
    (local.set $numbers
      (array.new $numbers (ref.i31 (i32.const 0)) (i32.const 4096)))
    (local.set $words (array.new_default $words (i32.const 4096)))
    (loop $next
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (local.set $r (call $random))
          (local.set $a (i32.and (local.get $r) (i32.const 4095)))
          (local.set $b
            (i32.and
              (i32.shr_u (local.get $r) (i32.const 12))
              (i32.const 4095)))
          (local.set $v
            (i32.add
              (i32.mul
                (call $unwrap
                  (array.get $numbers (local.get $numbers) (local.get $a)))
                (i32.const 0x8088405))
              (i32.add
                (call $unwrap
                  (array.get $numbers (local.get $numbers) (local.get $b)))
                (local.get $i))))
          (array.set $numbers (local.get $numbers) (local.get $a)
            (call $wrap (local.get $v)))
          (array.set $words (local.get $words) (local.get $a) (local.get $v))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next))))
    (local.set $i (i32.const 0))
    (loop $check
      (local.set $v
        (call $unwrap (array.get $numbers (local.get $numbers) (local.get $i))))
      (if (i32.ne
            (local.get $v)
            (array.get $words (local.get $words) (local.get $i)))
        (then (unreachable)))
      (local.set $sum
        (i32.add
          (i32.mul (local.get $sum) (i32.const 31))
          (local.get $v)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $check (i32.lt_u (local.get $i) (i32.const 4096))))
    (local.get $sum)))
