;; random_access: words of a memory of 8 MiB are changed in a random order.
;;
;; Stresses: loads and stores that miss the first caches; addresses that depend on a
;;   chain of 64-bit operations.
;; Knob: n, the number of updates, in thousands.
;; Live: a memory of 128 pages.
;; Self-check: an update is an exclusive or, so a second pass undoes the first.
;; Expect: run(20) = 1654380974; run(40000) = 813209677.
(module
  (memory 128)

  ;; n thousand updates; gives the last random number.
  (func $pass (param $n i32) (result i64)
    (local $x i64) (local $at i32) (local $left i32)
    (local.set $x (i64.const 0x9e3779b97f4a7c15))
    (local.set $left (i32.mul (local.get $n) (i32.const 1000)))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $left)))
        (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 13))))
        (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 7))))
        (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 17))))
        (local.set $at (i32.and (i32.wrap_i64 (local.get $x)) (i32.const 0x7ffff8)))
        (i64.store (local.get $at) (i64.xor (i64.load (local.get $at)) (local.get $x)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $next)))
    (local.get $x))

  (func $sum (result i64)
    (local $at i32) (local $sum i64)
    (loop $next
      (local.set $sum
        (i64.add (i64.rotl (local.get $sum) (i64.const 7)) (i64.load (local.get $at))))
      (br_if $next
        (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const 0x800000))))
    (local.get $sum))

  (func (export "run") (param $n i32) (result i32)
    (local $sum i64)
    (memory.fill (i32.const 0) (i32.const 0) (i32.const 0x800000))
    (drop (call $pass (local.get $n)))
    (local.set $sum (call $sum))
    (local.set $sum (i64.add (local.get $sum) (call $pass (local.get $n))))
    (if (i64.ne (call $sum) (i64.const 0)) (then (unreachable)))
    (i32.wrap_i64 (i64.xor (local.get $sum) (i64.shr_u (local.get $sum) (i64.const 32))))))
