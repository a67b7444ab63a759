;; throws: numbers thrown across 1 to 16 frames, with a handler that does not match on the way.
;;
;; Stresses: throwing and catching without a reference among the values; how the cost of an
;;   exception grows with the frames it crosses.
;; Knob: n, the number of exceptions.
;; Live: a stack of up to 18 frames.
;; Self-check: what is caught is what was thrown.
;; Expect: run(500) = 723408122; run(500000) = -2024492912.
(module
  (tag $thrown (param i32 i64))
  (tag $other (param i32))

  (func $descend (param $depth i32) (param $value i32) (result i32)
    (if (i32.eqz (local.get $depth))
      (then
        (throw $thrown
          (local.get $value)
          (i64.mul (i64.extend_i32_u (local.get $value)) (i64.const 0x100000001)))))
    ;; In the middle stands one who waits for something else.
    (if (i32.eq (local.get $depth) (i32.const 8))
      (then
        (return
          (block $caught (result i32)
            (try_table (result i32) (catch $other $caught)
              (call $descend (i32.const 7) (local.get $value)))))))
    (i32.add
      (call $descend (i32.sub (local.get $depth) (i32.const 1)) (local.get $value))
      (i32.const 1)))

  (func (export "run") (param $n i32) (result i32)
    (local $i i32) (local $sum i32) (local $wide i64)
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $i) (local.get $n)))
        (block $caught (result i32 i64)
          (try_table (result i32) (catch $thrown $caught)
            (call $descend (i32.and (local.get $i) (i32.const 15)) (local.get $i)))
          (unreachable))
        (local.set $wide)
        (if (i32.ne (local.get $i)) (then (unreachable)))
        (if (i64.ne
              (local.get $wide)
              (i64.mul (i64.extend_i32_u (local.get $i)) (i64.const 0x100000001)))
          (then (unreachable)))
        (local.set $sum
          (i32.add
            (i32.mul (local.get $sum) (i32.const 31))
            (i32.wrap_i64 (i64.shr_u (local.get $wide) (i64.const 32)))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
    (local.get $sum)))
