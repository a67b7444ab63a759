;; alloc_short: n points, each made from the one before, which then dies.
;;
;; Stresses: allocation, and the price of an object that dies at once. Each
;;   point is reachable from one local alone and lives for one iteration.
;; Knob: n, the number of points.
;; Live: 2 objects, 32 bytes. Allocates n + 1 objects of 16 bytes.
;; Self-check: the last point's y has a closed form.
;; Expect: run(200000) = -1474936480; run(100000000) = 887459712.
(module
  (type $point (struct (field $x i32) (field $y i32)))

  (func (export "run") (param $n i32) (result i32)
    (local $i i32)
    (local $p (ref $point))
    (local.set $p (struct.new $point (i32.const 0) (i32.const 0)))
    (loop $next
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          ;; The loop carries $p, so that no point can live in registers alone.
          (local.set $p
            (struct.new $point
              (local.get $i)
              (i32.add
                (struct.get $point $x (local.get $p))
                (struct.get $point $y (local.get $p)))))
          (br $next))))
    ;; y is 0 + 1 + ... + (n - 1), modulo 2^32.
    (if (i32.ne
          (struct.get $point $y (local.get $p))
          (i32.wrap_i64
            (i64.shr_u
              (i64.mul
                (i64.extend_i32_u (local.get $n))
                (i64.sub (i64.extend_i32_u (local.get $n)) (i64.const 1)))
              (i64.const 1))))
      (then (unreachable)))
    (struct.get $point $y (local.get $p))))
