;; simd_dot: inner products of two vectors of 16,384 floats, four lanes at a time.
;;
;; Stresses: v128 loads, f32x4 multiplication and addition in four independent chains.
;; Knob: n, the number of products.
;; Live: a memory of 2 pages.
;; Self-check: the entries are small integers, so that the sum is exact: a loop without
;;   vectors gives the same.
;; Expect: run(50) = -402097536; run(60000) = 1521352704.
(module
  (memory 2)

  (func $fill
    (local $i i32)
    (loop $next
      (f32.store (local.get $i)
        (f32.convert_i32_u (i32.and (i32.shr_u (local.get $i) (i32.const 2)) (i32.const 7))))
      (f32.store offset=65536 (local.get $i)
        (f32.convert_i32_u (i32.and (i32.mul (local.get $i) (i32.const 13)) (i32.const 15))))
      (br_if $next
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 65536)))))

  (func $scalar (result f32)
    (local $i i32) (local $sum f32)
    (loop $next
      (local.set $sum
        (f32.add (local.get $sum)
          (f32.mul (f32.load (local.get $i)) (f32.load offset=65536 (local.get $i)))))
      (br_if $next
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 65536))))
    (local.get $sum))

  (func $dot (result f32)
    (local $i i32) (local $a v128) (local $b v128) (local $c v128) (local $d v128)
    (loop $next
      (local.set $a
        (f32x4.add (local.get $a)
          (f32x4.mul (v128.load (local.get $i)) (v128.load offset=65536 (local.get $i)))))
      (local.set $b
        (f32x4.add (local.get $b)
          (f32x4.mul (v128.load offset=16 (local.get $i)) (v128.load offset=65552 (local.get $i)))))
      (local.set $c
        (f32x4.add (local.get $c)
          (f32x4.mul (v128.load offset=32 (local.get $i)) (v128.load offset=65568 (local.get $i)))))
      (local.set $d
        (f32x4.add (local.get $d)
          (f32x4.mul (v128.load offset=48 (local.get $i)) (v128.load offset=65584 (local.get $i)))))
      (br_if $next
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 64))) (i32.const 65536))))
    (local.set $a (f32x4.add (f32x4.add (local.get $a) (local.get $b)) (f32x4.add (local.get $c) (local.get $d))))
    (f32.add
      (f32.add (f32x4.extract_lane 0 (local.get $a)) (f32x4.extract_lane 1 (local.get $a)))
      (f32.add (f32x4.extract_lane 2 (local.get $a)) (f32x4.extract_lane 3 (local.get $a)))))

  (func (export "run") (param $n i32) (result i32)
    (local $i i32) (local $sum i32)
    (call $fill)
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $i) (local.get $n)))
        ;; Another entry in each round.
        (f32.store
          (i32.and (i32.shl (local.get $i) (i32.const 2)) (i32.const 65532))
          (f32.convert_i32_u (i32.and (local.get $i) (i32.const 3))))
        (local.set $sum
          (i32.add (i32.mul (local.get $sum) (i32.const 31)) (i32.trunc_f32_u (call $dot))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
    (if (f32.ne (call $dot) (call $scalar)) (then (unreachable)))
    (local.get $sum)))
