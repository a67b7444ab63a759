;; matmul: products of 128 × 128 matrices of doubles, rows by columns.
;;
;; Stresses: loads of f64 with computed addresses, two running through memory at
;;   different strides; address arithmetic and what a loop need not repeat of it.
;; Knob: n, the number of products; each has 2,097,152 multiplications.
;; Live: a memory of 7 pages, of which three matrices use 393,216 bytes.
;; Self-check: entries are small integers, so all sums are exact: the sum of a product's
;;   entries is the inner product of one factor's column sums and the other's row sums.
;; Expect: run(2) = -475161626; run(150) = -1882378269.
(module
  (memory 7)
  (global $a i32 (i32.const 0))
  (global $b i32 (i32.const 131072))
  (global $c i32 (i32.const 262144))

  ;; Fills both factors with numbers from 0 to 15.
  (func $fill (param $seed i32)
    (local $i i32)
    (loop $next
      (local.set $seed (i32.add (i32.mul (local.get $seed) (i32.const 1664525)) (i32.const 1013904223)))
      (f64.store (local.get $i)
        (f64.convert_i32_u (i32.shr_u (local.get $seed) (i32.const 28))))
      (br_if $next
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (i32.const 262144)))))

  ;; c = a b
  (func $multiply (param $a i32) (param $b i32) (param $c i32)
    (local $i i32) (local $j i32) (local $k i32) (local $sum f64)
    (loop $row
      (local.set $j (i32.const 0))
      (loop $column
        (local.set $sum (f64.const 0))
        (local.set $k (i32.const 0))
        (loop $inner
          (local.set $sum
            (f64.add (local.get $sum)
              (f64.mul
                (f64.load (i32.add (local.get $a)
                  (i32.shl (i32.add (i32.shl (local.get $i) (i32.const 7)) (local.get $k)) (i32.const 3))))
                (f64.load (i32.add (local.get $b)
                  (i32.shl (i32.add (i32.shl (local.get $k) (i32.const 7)) (local.get $j)) (i32.const 3)))))))
          (br_if $inner
            (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 1))) (i32.const 128))))
        (f64.store (i32.add (local.get $c)
            (i32.shl (i32.add (i32.shl (local.get $i) (i32.const 7)) (local.get $j)) (i32.const 3)))
          (local.get $sum))
        (br_if $column
          (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 1))) (i32.const 128))))
      (br_if $row
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 128)))))

  ;; The sum of 128 entries from $at on, $stride bytes apart.
  (func $line (param $at i32) (param $stride i32) (result f64)
    (local $i i32) (local $sum f64)
    (loop $next
      (local.set $sum (f64.add (local.get $sum) (f64.load (local.get $at))))
      (local.set $at (i32.add (local.get $at) (local.get $stride)))
      (br_if $next
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 128))))
    (local.get $sum))

  (func (export "run") (param $n i32) (result i32)
    (local $round i32) (local $k i32) (local $expected f64) (local $sum f64) (local $check i32)
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $round) (local.get $n)))
        (call $fill (local.get $round))
        (call $multiply (global.get $a) (global.get $b) (global.get $c))
        (local.set $k (i32.const 0))
        (local.set $expected (f64.const 0))
        (local.set $sum (f64.const 0))
        (loop $each
          (local.set $expected
            (f64.add (local.get $expected)
              (f64.mul
                (call $line
                  (i32.add (global.get $a) (i32.shl (local.get $k) (i32.const 3)))
                  (i32.const 1024))
                (call $line
                  (i32.add (global.get $b) (i32.shl (local.get $k) (i32.const 10)))
                  (i32.const 8)))))
          (local.set $sum
            (f64.add (local.get $sum)
              (call $line
                (i32.add (global.get $c) (i32.shl (local.get $k) (i32.const 10)))
                (i32.const 8))))
          (br_if $each
            (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 1))) (i32.const 128))))
        (if (f64.ne (local.get $sum) (local.get $expected)) (then (unreachable)))
        (local.set $check
          (i32.add
            (i32.mul (local.get $check) (i32.const 31))
            (i32.trunc_f64_u (local.get $sum))))
        (local.set $round (i32.add (local.get $round) (i32.const 1)))
        (br $next)))
    (local.get $check)))
