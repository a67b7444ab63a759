;; array_loop: loops over arrays of 4,096 numbers: a map, running sums, a histogram.
;;
;; Stresses: the code for array.get, array.set and array.len: null checks, bounds
;;   checks, address arithmetic, packed elements. A control: nothing is
;;   allocated while it runs, so collectors should not differ.
;; Knob: n, the number of rounds; each reads and writes about 12,000 elements.
;; Live: arrays of 16,396, 32,784, 4,108 and 1,036 bytes (i32, f64, i8, i32).
;; Self-check: the histogram counts each element; sums in f64 are exact.
;; Expect: run(50) = 592534130; run(16000) = 528996579.
(module
  (type $words (array (mut i32)))
  (type $doubles (array (mut f64)))
  (type $bytes (array (mut i8)))

  ;; words[i] = words[i] * 69069 + bytes[i]; bytes[i] = its topmost byte
  (func $map (param $words (ref null $words)) (param $bytes (ref null $bytes))
    (local $i i32)
    (local $x i32)
    (loop $next
      (local.set $x
        (i32.add
          (i32.mul
            (array.get $words (local.get $words) (local.get $i))
            (i32.const 69069))
          (array.get_u $bytes (local.get $bytes) (local.get $i))))
      (array.set $words (local.get $words) (local.get $i) (local.get $x))
      (array.set $bytes (local.get $bytes) (local.get $i)
        (i32.shr_u (local.get $x) (i32.const 24)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next
        (i32.lt_u (local.get $i) (array.len (local.get $words))))))

  ;; doubles[i] = doubles[i - 1] + bytes[i]; returns the last, the sum of bytes.
  (func $running (param $doubles (ref null $doubles)) (param $bytes (ref null $bytes))
    (result f64)
    (local $i i32)
    (array.set $doubles (local.get $doubles) (i32.const 0)
      (f64.convert_i32_u
        (array.get_u $bytes (local.get $bytes) (i32.const 0))))
    (local.set $i (i32.const 1))
    (loop $next
      (array.set $doubles (local.get $doubles) (local.get $i)
        (f64.add
          (array.get $doubles (local.get $doubles)
            (i32.sub (local.get $i) (i32.const 1)))
          (f64.convert_i32_u
            (array.get_u $bytes (local.get $bytes) (local.get $i)))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next
        (i32.lt_u (local.get $i) (array.len (local.get $doubles)))))
    (array.get $doubles (local.get $doubles)
      (i32.sub (array.len (local.get $doubles)) (i32.const 1))))

  ;; counts[bytes[i]] += 1
  (func $histogram (param $counts (ref null $words)) (param $bytes (ref null $bytes))
    (local $i i32)
    (local $b i32)
    (loop $next
      (local.set $b (array.get_u $bytes (local.get $bytes) (local.get $i)))
      (array.set $words (local.get $counts) (local.get $b)
        (i32.add
          (array.get $words (local.get $counts) (local.get $b))
          (i32.const 1)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next
        (i32.lt_u (local.get $i) (array.len (local.get $bytes))))))

  (func (export "run") (param $n i32) (result i32)
    (local $words (ref $words))
    (local $doubles (ref $doubles))
    (local $bytes (ref $bytes))
    (local $counts (ref $words))
    (local $round i32)
    (local $i i32)
    (local $total f64)
    (local $counted i32)
    (local $weighed f64)
    (local.set $words (array.new $words (i32.const 1) (i32.const 4096)))
    (local.set $doubles (array.new_default $doubles (i32.const 4096)))
    (local.set $bytes (array.new_default $bytes (i32.const 4096)))
    (local.set $counts (array.new_default $words (i32.const 256)))
    (loop $fill
      (array.set $bytes (local.get $bytes) (local.get $i) (local.get $i))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $fill (i32.lt_u (local.get $i) (i32.const 4096))))
    (loop $again
      (if (i32.lt_u (local.get $round) (local.get $n))
        (then
          (call $map (local.get $words) (local.get $bytes))
          (local.set $total
            (f64.add
              (local.get $total)
              (call $running (local.get $doubles) (local.get $bytes))))
          (call $histogram (local.get $counts) (local.get $bytes))
          (local.set $round (i32.add (local.get $round) (i32.const 1)))
          (br $again))))
    (local.set $i (i32.const 0))
    (loop $check
      (local.set $counted
        (i32.add
          (local.get $counted)
          (array.get $words (local.get $counts) (local.get $i))))
      (local.set $weighed
        (f64.add
          (local.get $weighed)
          (f64.mul
            (f64.convert_i32_u (local.get $i))
            (f64.convert_i32_u
              (array.get $words (local.get $counts) (local.get $i))))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $check (i32.lt_u (local.get $i) (i32.const 256))))
    (if (i32.ne
          (local.get $counted)
          (i32.mul (local.get $n) (i32.const 4096)))
      (then (unreachable)))
    (if (f64.ne (local.get $weighed) (local.get $total))
      (then (unreachable)))
    (i32.xor
      (i32.wrap_i64 (i64.trunc_sat_f64_u (local.get $total)))
      (array.get $words (local.get $words) (i32.const 4095)))))
