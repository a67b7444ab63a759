;; calls: Fibonacci numbers by recursion, and a function of many parameters and results.
;;
;; Stresses: what a call costs: prologue, check of the stack, registers saved and
;;   restored; arguments and results that do not fit into registers.
;; Knob: n, the Fibonacci number that is computed, 1 or more.
;; Live: a stack of n frames.
;; Self-check: the recursion's result is the one of a loop.
;; Expect: run(16) = -680586680; run(38) = 1336487113.
(module
  (func $fib (param $n i32) (result i32)
    (if (result i32) (i32.lt_u (local.get $n) (i32.const 2))
      (then (local.get $n))
      (else
        (i32.add
          (call $fib (i32.sub (local.get $n) (i32.const 1)))
          (call $fib (i32.sub (local.get $n) (i32.const 2)))))))

  ;; Eight numbers, rotated by one place, the first plus the last.
  (func $rotate (param i64 i64 i64 i64 i64 i64 i64 i64) (result i64 i64 i64 i64 i64 i64 i64 i64)
    (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5) (local.get 6) (local.get 7)
    (i64.add (local.get 0) (local.get 7)))

  (func $loop (param $n i32) (result i32)
    (local $a i32) (local $b i32) (local $c i32)
    (local.set $b (i32.const 1))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $n)))
        (local.set $c (i32.add (local.get $a) (local.get $b)))
        (local.set $a (local.get $b))
        (local.set $b (local.get $c))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br $next)))
    (local.get $a))

  (func (export "run") (param $n i32) (result i32)
    (local $i i32) (local $calls i32) (local $fib i32)
    (local $s0 i64) (local $s1 i64) (local $s2 i64) (local $s3 i64)
    (local $s4 i64) (local $s5 i64) (local $s6 i64) (local $s7 i64)
    (local.set $fib (call $fib (local.get $n)))
    (if (i32.ne (local.get $fib) (call $loop (local.get $n))) (then (unreachable)))
    (local.set $calls (local.get $fib))
    (local.set $s0 (i64.const 1))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $i) (local.get $calls)))
        (call $rotate
          (local.get $s0) (local.get $s1) (local.get $s2) (local.get $s3)
          (local.get $s4) (local.get $s5) (local.get $s6) (local.get $s7))
        (local.set $s7) (local.set $s6) (local.set $s5) (local.set $s4)
        (local.set $s3) (local.set $s2) (local.set $s1) (local.set $s0)
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
    (i32.add
      (local.get $fib)
      (i32.wrap_i64
        (i64.xor (local.get $s0) (i64.shr_u (local.get $s7) (i64.const 32)))))))
