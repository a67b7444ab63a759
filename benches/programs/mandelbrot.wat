;; mandelbrot: how soon each of n rows of 256 points leaves the circle of radius 2.
;;
;; Stresses: a chain of dependent double-precision operations in registers, and a loop
;;   that ends after 1 to 200 rounds. No memory.
;; Knob: n, the number of rows, 1 or more.
;; Live: nothing.
;; Self-check: the set is symmetric about the real axis: two conjugate points leave alike.
;; Expect: run(40) = -903564358; run(3000) = -2002228928.
(module
  ;; The rounds until z² + c leaves the circle; 200 if it stays.
  (func $rounds (param $cr f64) (param $ci f64) (result i32)
    (local $zr f64) (local $zi f64) (local $r2 f64) (local $i2 f64) (local $i i32)
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $i) (i32.const 200)))
        (local.set $r2 (f64.mul (local.get $zr) (local.get $zr)))
        (local.set $i2 (f64.mul (local.get $zi) (local.get $zi)))
        (br_if $done (f64.gt (f64.add (local.get $r2) (local.get $i2)) (f64.const 4)))
        (local.set $zi
          (f64.add (f64.mul (f64.mul (f64.const 2) (local.get $zr)) (local.get $zi)) (local.get $ci)))
        (local.set $zr (f64.add (f64.sub (local.get $r2) (local.get $i2)) (local.get $cr)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
    (local.get $i))

  (func (export "run") (param $n i32) (result i32)
    (local $y i32) (local $x i32) (local $sum i32) (local $rounds i32) (local $cr f64) (local $ci f64)
    (loop $row
      ;; From 0 up to 1.25, without its end.
      (local.set $ci
        (f64.div
          (f64.mul (f64.convert_i32_u (local.get $y)) (f64.const 1.25))
          (f64.convert_i32_u (local.get $n))))
      (local.set $x (i32.const 0))
      (loop $point
        (local.set $cr
          (f64.sub (f64.div (f64.convert_i32_u (local.get $x)) (f64.const 96)) (f64.const 2)))
        (local.set $rounds (call $rounds (local.get $cr) (local.get $ci)))
        (if (i32.eqz (i32.and (local.get $x) (i32.const 63)))
          (then
            (if (i32.ne (local.get $rounds) (call $rounds (local.get $cr) (f64.neg (local.get $ci))))
              (then (unreachable)))))
        (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const 31)) (local.get $rounds)))
        (br_if $point
          (i32.lt_u (local.tee $x (i32.add (local.get $x) (i32.const 1))) (i32.const 256))))
      (br_if $row
        (i32.lt_u (local.tee $y (i32.add (local.get $y) (i32.const 1))) (local.get $n))))
    (local.get $sum)))
