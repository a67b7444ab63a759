;; stream: copy, scale, add and triad over three arrays of 500,000 doubles.
;;
;; Stresses: sequential loads and stores at the rate that caches and memory allow.
;; Knob: n, the number of rounds of all four.
;; Live: a memory of 184 pages, of which 12,000,000 bytes are used.
;; Self-check: all entries of an array go through the same numbers: a few of them are
;;   compared with the formula.
;; Expect: run(1) = 1502609408; run(150) = -1494029272.
(module
  (memory 184)
  (global $b i32 (i32.const 4000000))
  (global $c i32 (i32.const 8000000))
  (global $bytes i32 (i32.const 4000000))

  (func $init
    (local $i i32)
    (loop $next
      (f64.store (local.get $i) (f64.const 1))
      (f64.store offset=4000000 (local.get $i) (f64.const 2))
      (f64.store offset=8000000 (local.get $i) (f64.const 0))
      (br_if $next
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (global.get $bytes)))))

  ;; c = a
  (func $copy
    (local $i i32)
    (loop $next
      (f64.store offset=8000000 (local.get $i) (f64.load (local.get $i)))
      (br_if $next
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (global.get $bytes)))))

  ;; b = s c
  (func $scale (param $s f64)
    (local $i i32)
    (loop $next
      (f64.store offset=4000000 (local.get $i)
        (f64.mul (local.get $s) (f64.load offset=8000000 (local.get $i))))
      (br_if $next
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (global.get $bytes)))))

  ;; c = a + b
  (func $add
    (local $i i32)
    (loop $next
      (f64.store offset=8000000 (local.get $i)
        (f64.add (f64.load (local.get $i)) (f64.load offset=4000000 (local.get $i))))
      (br_if $next
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (global.get $bytes)))))

  ;; a = b + s c
  (func $triad (param $s f64)
    (local $i i32)
    (loop $next
      (f64.store (local.get $i)
        (f64.add
          (f64.load offset=4000000 (local.get $i))
          (f64.mul (local.get $s) (f64.load offset=8000000 (local.get $i)))))
      (br_if $next
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (global.get $bytes)))))

  (func (export "run") (param $n i32) (result i32)
    (local $round i32) (local $a f64) (local $b f64) (local $c f64) (local $i i32) (local $bits i64)
    (call $init)
    (local.set $a (f64.const 1))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $round) (local.get $n)))
        ;; 0.4 keeps a within bounds: it becomes 0.4 a + 0.4 (1.4 a).
        (call $copy)
        (call $scale (f64.const 0.4))
        (call $add)
        (call $triad (f64.const 0.4))
        (local.set $b (f64.mul (f64.const 0.4) (local.get $a)))
        (local.set $c (f64.add (local.get $a) (local.get $b)))
        (local.set $a (f64.add (local.get $b) (f64.mul (f64.const 0.4) (local.get $c))))
        (local.set $round (i32.add (local.get $round) (i32.const 1)))
        (br $next)))
    (loop $check
      (if (f64.ne (f64.load (local.get $i)) (local.get $a)) (then (unreachable)))
      (br_if $check
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 7992))) (global.get $bytes))))
    (local.set $bits (i64.reinterpret_f64 (f64.load offset=8000000 (i32.const 0))))
    (i32.wrap_i64
      (i64.xor (local.get $bits) (i64.shr_u (local.get $bits) (i64.const 32))))))
