;; memory_bulk: memory.copy and memory.fill of lengths from 1 byte to 64 KiB.
;;
;; Stresses: what a bulk operation costs when it is short, where the call is all, and when
;;   it is long; copies that overlap in either direction.
;; Knob: n, the number of rounds; each has 96 copies and 48 fills, 0.4 MB altogether.
;; Live: a memory of 4 pages.
;; Self-check: a copy forth and back restores what was there.
;; Expect: run(20) = 1874184142; run(20000) = 1586309212.
(module
  (memory 4)

  ;; 48 lengths: from 1 to 24 and powers of two thereafter, again and again.
  (func $length (param $i i32) (result i32)
    (if (result i32) (i32.lt_u (local.get $i) (i32.const 40))
      (then (i32.add (i32.rem_u (local.get $i) (i32.const 24)) (i32.const 1)))
      (else (i32.shl (i32.const 512) (i32.sub (local.get $i) (i32.const 40))))))

  (func $hash (result i32)
    (local $i i32) (local $sum i32)
    (loop $next
      (local.set $sum
        (i32.add (i32.mul (local.get $sum) (i32.const 31)) (i32.load (local.get $i))))
      (br_if $next
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 262144))))
    (local.get $sum))

  (func (export "run") (param $n i32) (result i32)
    (local $i i32) (local $k i32) (local $length i32) (local $word i64)
    (memory.fill (i32.const 0) (i32.const 0) (i32.const 262144))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $i) (local.get $n)))
        (local.set $k (i32.const 0))
        (loop $each
          (local.set $length (call $length (local.get $k)))
          ;; A pattern that the round decides, at the beginning of what is copied.
          (i64.store (i32.const 1000)
            (i64.mul
              (i64.extend_i32_u (i32.add (local.get $i) (local.get $k)))
              (i64.const 0x9e3779b97f4a7c15)))
          (local.set $word (i64.load (i32.const 1000)))
          (memory.fill (i32.add (local.get $length) (i32.const 131072)) (local.get $k) (local.get $length))
          (memory.copy (i32.const 1003) (i32.const 1000) (local.get $length))
          (memory.copy (i32.const 1000) (i32.const 1003) (local.get $length))
          (if (i32.ge_u (local.get $length) (i32.const 8))
            (then
              (if (i64.ne (i64.load (i32.const 1000)) (local.get $word)) (then (unreachable)))))
          (br_if $each
            (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 1))) (i32.const 48))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
    (call $hash)))
