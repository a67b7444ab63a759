;; simd_mandelbrot: as mandelbrot, two points at a time in f64x2.
;;
;; Stresses: lane-wise arithmetic and comparisons, masks that count and that end a loop.
;; Knob: n, the number of rows, 1 or more.
;; Live: nothing.
;; Self-check: every 64th pair is computed without vectors, too.
;; Expect: run(40) = -825615506; run(3000) = -531766902.
(module
  (func $scalar (param $cr f64) (param $ci f64) (result i32)
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

  ;; The rounds of both lanes, as i64x2.
  (func $rounds (param $cr v128) (param $ci v128) (result v128)
    (local $zr v128) (local $zi v128) (local $r2 v128) (local $i2 v128) (local $inside v128)
    (local $count v128) (local $i i32)
    (local.set $inside (i64x2.splat (i64.const -1)))
    (block $done
      (loop $next
        (local.set $r2 (f64x2.mul (local.get $zr) (local.get $zr)))
        (local.set $i2 (f64x2.mul (local.get $zi) (local.get $zi)))
        (local.set $inside
          (v128.and
            (local.get $inside)
            (f64x2.le
              (f64x2.add (local.get $r2) (local.get $i2))
              (v128.const f64x2 4 4))))
        (br_if $done (i32.eqz (v128.any_true (local.get $inside))))
        ;; A mask is -1 where it is set.
        (local.set $count (i64x2.sub (local.get $count) (local.get $inside)))
        (local.set $zi
          (f64x2.add
            (f64x2.mul (f64x2.mul (v128.const f64x2 2 2) (local.get $zr)) (local.get $zi))
            (local.get $ci)))
        (local.set $zr (f64x2.add (f64x2.sub (local.get $r2) (local.get $i2)) (local.get $cr)))
        (br_if $next
          (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 200)))))
    (local.get $count))

  (func (export "run") (param $n i32) (result i32)
    (local $y i32) (local $x i32) (local $sum i32) (local $rounds v128) (local $cr v128) (local $ci f64)
    (loop $row
      (local.set $ci
        (f64.div
          (f64.mul (f64.convert_i32_u (local.get $y)) (f64.const 1.25))
          (f64.convert_i32_u (local.get $n))))
      (local.set $x (i32.const 0))
      (loop $pair
        (local.set $cr
          (f64x2.sub
            (f64x2.div
              (f64x2.replace_lane 1
                (f64x2.splat (f64.convert_i32_u (local.get $x)))
                (f64.convert_i32_u (i32.add (local.get $x) (i32.const 1))))
              (v128.const f64x2 96 96))
            (v128.const f64x2 2 2)))
        (local.set $rounds (call $rounds (local.get $cr) (f64x2.splat (local.get $ci))))
        (if (i32.eqz (i32.and (local.get $x) (i32.const 127)))
          (then
            (if (i32.ne
                  (i32.wrap_i64 (i64x2.extract_lane 1 (local.get $rounds)))
                  (call $scalar (f64x2.extract_lane 1 (local.get $cr)) (local.get $ci)))
              (then (unreachable)))))
        (local.set $sum
          (i32.add
            (i32.mul (local.get $sum) (i32.const 31))
            (i32.add
              (i32.wrap_i64 (i64x2.extract_lane 0 (local.get $rounds)))
              (i32.mul
                (i32.wrap_i64 (i64x2.extract_lane 1 (local.get $rounds)))
                (i32.const 257)))))
        (br_if $pair
          (i32.lt_u (local.tee $x (i32.add (local.get $x) (i32.const 2))) (i32.const 256))))
      (br_if $row
        (i32.lt_u (local.tee $y (i32.add (local.get $y) (i32.const 1))) (local.get $n))))
    (local.get $sum)))
