;; simd_search: counts a byte in 64 KiB and finds its first occurrence, 16 bytes at a time.
;;
;; Stresses: i8x16 comparisons, bitmasks and their population count, a loop that a mask ends.
;; Knob: n, the number of searches.
;; Live: a memory of one page.
;; Self-check: the counts of all bytes add up to the length; a found byte is the first.
;; Expect: run(256) = 982367886; run(150000) = -1851889776.
(module
  (memory 1)

  (func $fill
    (local $i i32) (local $x i32)
    (local.set $x (i32.const 99))
    (loop $next
      (local.set $x (i32.add (i32.mul (local.get $x) (i32.const 1103515245)) (i32.const 12345)))
      (i32.store8 (local.get $i) (i32.shr_u (local.get $x) (i32.const 20)))
      (br_if $next
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 65536)))))

  (func $count (param $byte i32) (result i32)
    (local $i i32) (local $count i32) (local $wanted v128)
    (local.set $wanted (i8x16.splat (local.get $byte)))
    (loop $next
      (local.set $count
        (i32.add
          (local.get $count)
          (i32.popcnt
            (i8x16.bitmask (i8x16.eq (v128.load (local.get $i)) (local.get $wanted))))))
      (br_if $next
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 16))) (i32.const 65536))))
    (local.get $count))

  ;; Where the byte is first; -1 if it is nowhere.
  (func $find (param $byte i32) (result i32)
    (local $i i32) (local $found v128) (local $wanted v128)
    (local.set $wanted (i8x16.splat (local.get $byte)))
    (loop $next
      (local.set $found (i8x16.eq (v128.load (local.get $i)) (local.get $wanted)))
      (if (v128.any_true (local.get $found))
        (then (return (i32.add (local.get $i) (i32.ctz (i8x16.bitmask (local.get $found)))))))
      (br_if $next
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 16))) (i32.const 65536))))
    (i32.const -1))

  (func (export "run") (param $n i32) (result i32)
    (local $i i32) (local $j i32) (local $at i32) (local $total i32) (local $sum i32)
    (call $fill)
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $i) (local.get $n)))
        (local.set $at (call $find (i32.and (local.get $i) (i32.const 255))))
        (if (i32.lt_u (local.get $at) (i32.const 1000))
          (then
            (if (i32.ne (i32.load8_u (local.get $at)) (i32.and (local.get $i) (i32.const 255)))
              (then (unreachable)))
            (local.set $j (i32.const 0))
            (block $first
              (loop $before
                (br_if $first (i32.ge_u (local.get $j) (local.get $at)))
                (if (i32.eq (i32.load8_u (local.get $j)) (i32.and (local.get $i) (i32.const 255)))
                  (then (unreachable)))
                (local.set $j (i32.add (local.get $j) (i32.const 1)))
                (br $before)))))
        (local.set $j (call $count (i32.and (local.get $i) (i32.const 255))))
        (local.set $total (i32.add (local.get $total) (local.get $j)))
        (local.set $sum
          (i32.add
            (i32.mul (local.get $sum) (i32.const 31))
            (i32.add (local.get $j) (local.get $at))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
    ;; All bytes have been counted equally often if n is a multiple of 256.
    (if (i32.and
          (i32.eqz (i32.and (local.get $n) (i32.const 255)))
          (i32.ne (local.get $total) (i32.shl (local.get $n) (i32.const 8))))
      (then (unreachable)))
    (local.get $sum)))
