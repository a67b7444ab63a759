;; fannkuch: for each permutation of n numbers, how often its head must be reversed
;; until 1 stands first; the maximum, and an alternating sum.
;;
;; Stresses: short loops over small arrays of i32 in memory, loads whose address was
;;   just loaded, branches that nobody predicts well.
;; Knob: n, the length of the permutations, from 3 to 12; there are n! of them.
;; Live: a memory of one page, of which 160 bytes are used.
;; Self-check: for n = 7 and n = 10 the maximum is 16 and 38, for n = 8 and 9, 22 and 30.
;; Expect: run(7) = 22816; run(10) = 7319638.
(module
  ;; Permutation, its copy, and the counters of the rotations, 16 words each.
  (memory 1)
  (data $maxima "\00\00\00\02\04\07\0a\10\16\1e\26\33\41")

  ;; Reverses heads of the copy at 64 until its first entry is 0.
  (func $flips (result i32)
    (local $flips i32) (local $first i32) (local $i i32) (local $j i32) (local $x i32)
    (block $done
      (loop $next
        (local.set $first (i32.load offset=64 (i32.const 0)))
        (br_if $done (i32.eqz (local.get $first)))
        (local.set $i (i32.const 0))
        (local.set $j (i32.shl (local.get $first) (i32.const 2)))
        (loop $swap
          (local.set $x (i32.load offset=64 (local.get $i)))
          (i32.store offset=64 (local.get $i) (i32.load offset=64 (local.get $j)))
          (i32.store offset=64 (local.get $j) (local.get $x))
          (local.set $i (i32.add (local.get $i) (i32.const 4)))
          (local.set $j (i32.sub (local.get $j) (i32.const 4)))
          (br_if $swap (i32.lt_s (local.get $i) (local.get $j))))
        (local.set $flips (i32.add (local.get $flips) (i32.const 1)))
        (br $next)))
    (local.get $flips))

  (func (export "run") (param $n i32) (result i32)
    (local $i i32) (local $r i32) (local $flips i32) (local $max i32) (local $sum i32) (local $odd i32)
    (local $first i32)
    (loop $fill
      (i32.store (i32.shl (local.get $i) (i32.const 2)) (local.get $i))
      (br_if $fill
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
    (local.set $r (local.get $n))
    (loop $permutation
      ;; Counters below r start anew.
      (block $set
        (loop $reset
          (br_if $set (i32.eq (local.get $r) (i32.const 1)))
          (i32.store offset=124 (i32.shl (local.get $r) (i32.const 2)) (local.get $r))
          (local.set $r (i32.sub (local.get $r) (i32.const 1)))
          (br $reset)))
      (memory.copy (i32.const 64) (i32.const 0) (i32.shl (local.get $n) (i32.const 2)))
      (local.set $flips (call $flips))
      (if (i32.gt_s (local.get $flips) (local.get $max)) (then (local.set $max (local.get $flips))))
      (local.set $sum
        (select
          (i32.sub (local.get $sum) (local.get $flips))
          (i32.add (local.get $sum) (local.get $flips))
          (local.get $odd)))
      (local.set $odd (i32.xor (local.get $odd) (i32.const 1)))
      ;; The next permutation: rotate heads of growing length until a counter is left.
      (loop $rotate
        (if (i32.eq (local.get $r) (local.get $n))
          (then
            (memory.init $maxima (i32.const 256) (i32.const 0) (i32.const 13))
            (if (i32.ne (local.get $max) (i32.load8_u offset=256 (local.get $n))) (then (unreachable)))
            (return (i32.add (i32.mul (local.get $sum) (i32.const 100)) (local.get $max)))))
        (local.set $first (i32.load (i32.const 0)))
        (local.set $i (i32.const 0))
        (loop $shift
          (i32.store (local.get $i) (i32.load offset=4 (local.get $i)))
          (br_if $shift
            (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4)))
              (i32.shl (local.get $r) (i32.const 2)))))
        (i32.store (local.get $i) (local.get $first))
        (i32.store offset=128 (local.get $i)
          (i32.sub (i32.load offset=128 (local.get $i)) (i32.const 1)))
        (br_if $permutation (i32.load offset=128 (local.get $i)))
        (local.set $r (i32.add (local.get $r) (i32.const 1)))
        (br $rotate)))
    (unreachable)))
