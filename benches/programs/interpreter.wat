;; interpreter: a machine of twelve instructions, interpreted, computes Collatz sequences.
;;
;; Stresses: br_table in a loop, bytes and words loaded at a program counter, registers of
;;   the machine in memory.
;; Knob: n, the number of sequences.
;; Live: a memory of one page: a program of 16 instructions, and 6 registers.
;; Self-check: the same sequences computed by a function have the same length.
;; Expect: run(500) = -1312867912; run(60000) = -1710952715.
(module
  (memory 1)
  ;; An instruction is four bytes: what to do, and three operands, registers or not.
  ;;   0 halt        4 r[a] = r[b] & r[c]      8 jump a
  ;;   1 r[a] = b    5 r[a] = r[b] >> r[c]     9 jump a if r[b] = 0
  ;;   2 r[a] = r[b] 6 r[a] = r[b] * r[c]     10 jump a if r[b] = r[c]
  ;;   3 r[a] += b   7 r[a] = r[b] + r[c]     11 r[a] = r[b] - r[c]
  ;; r0 is where the sequence stands, r1 its length; r2 is 1, r3 is 3.
  (data (i32.const 1024)
    "\01\01\00\00"  ;;  0: r1 = 0
    "\01\02\01\00"  ;;  1: r2 = 1
    "\01\03\03\00"  ;;  2: r3 = 3
    "\0a\0d\00\02"  ;;  3: jump 13 if r0 = r2
    "\04\04\00\02"  ;;  4: r4 = r0 & r2
    "\03\01\01\00"  ;;  5: r1 += 1
    "\09\0b\04\00"  ;;  6: jump 11 if r4 = 0
    "\06\00\00\03"  ;;  7: r0 = r0 * r3
    "\07\00\00\02"  ;;  8: r0 = r0 + r2
    "\08\03\00\00"  ;;  9: jump 3
    "\00\00\00\00"  ;; 10
    "\05\00\00\02"  ;; 11: r0 = r0 >> r2
    "\08\03\00\00"  ;; 12: jump 3
    "\02\05\01\00"  ;; 13: r5 = r1
    "\0b\05\05\02"  ;; 14: r5 = r5 - r2
    "\00\00\00\00") ;; 15: halt

  ;; Runs the program until it halts; gives how many instructions that took.
  (func $interpret (result i32)
    (local $pc i32) (local $at i32) (local $steps i32) (local $a i32) (local $b i32) (local $c i32)
    (loop $step
      (local.set $at (i32.shl (local.get $pc) (i32.const 2)))
      (local.set $pc (i32.add (local.get $pc) (i32.const 1)))
      (local.set $steps (i32.add (local.get $steps) (i32.const 1)))
      (local.set $a (i32.load8_u offset=1025 (local.get $at)))
      (local.set $b (i32.load8_u offset=1026 (local.get $at)))
      (local.set $c (i32.load8_u offset=1027 (local.get $at)))
      (block $sub (block $equal (block $zero (block $jump (block $add (block $mul
      (block $shift (block $and (block $inc (block $move (block $set (block $halt
        (br_table $halt $set $move $inc $and $shift $mul $add $jump $zero $equal $sub
          (i32.load8_u offset=1024 (local.get $at))))
        (return (local.get $steps)))
        (i32.store (i32.shl (local.get $a) (i32.const 2)) (local.get $b))
        (br $step))
        (i32.store (i32.shl (local.get $a) (i32.const 2)) (i32.load (i32.shl (local.get $b) (i32.const 2))))
        (br $step))
        (i32.store (i32.shl (local.get $a) (i32.const 2))
          (i32.add (i32.load (i32.shl (local.get $a) (i32.const 2))) (local.get $b)))
        (br $step))
        (i32.store (i32.shl (local.get $a) (i32.const 2))
          (i32.and
            (i32.load (i32.shl (local.get $b) (i32.const 2)))
            (i32.load (i32.shl (local.get $c) (i32.const 2)))))
        (br $step))
        (i32.store (i32.shl (local.get $a) (i32.const 2))
          (i32.shr_u
            (i32.load (i32.shl (local.get $b) (i32.const 2)))
            (i32.load (i32.shl (local.get $c) (i32.const 2)))))
        (br $step))
        (i32.store (i32.shl (local.get $a) (i32.const 2))
          (i32.mul
            (i32.load (i32.shl (local.get $b) (i32.const 2)))
            (i32.load (i32.shl (local.get $c) (i32.const 2)))))
        (br $step))
        (i32.store (i32.shl (local.get $a) (i32.const 2))
          (i32.add
            (i32.load (i32.shl (local.get $b) (i32.const 2)))
            (i32.load (i32.shl (local.get $c) (i32.const 2)))))
        (br $step))
        (local.set $pc (local.get $a))
        (br $step))
        (if (i32.eqz (i32.load (i32.shl (local.get $b) (i32.const 2))))
          (then (local.set $pc (local.get $a))))
        (br $step))
        (if (i32.eq
              (i32.load (i32.shl (local.get $b) (i32.const 2)))
              (i32.load (i32.shl (local.get $c) (i32.const 2))))
          (then (local.set $pc (local.get $a))))
        (br $step))
      (i32.store (i32.shl (local.get $a) (i32.const 2))
        (i32.sub
          (i32.load (i32.shl (local.get $b) (i32.const 2)))
          (i32.load (i32.shl (local.get $c) (i32.const 2)))))
      (br $step))
    (unreachable))

  ;; The length of the sequence that begins with $x.
  (func $collatz (param $x i32) (result i32)
    (local $length i32)
    (block $done
      (loop $next
        (br_if $done (i32.eq (local.get $x) (i32.const 1)))
        (local.set $x
          (if (result i32) (i32.and (local.get $x) (i32.const 1))
            (then (i32.add (i32.mul (local.get $x) (i32.const 3)) (i32.const 1)))
            (else (i32.shr_u (local.get $x) (i32.const 1)))))
        (local.set $length (i32.add (local.get $length) (i32.const 1)))
        (br $next)))
    (local.get $length))

  (func (export "run") (param $n i32) (result i32)
    (local $i i32) (local $sum i32)
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $i) (local.get $n)))
        (i32.store (i32.const 0) (i32.add (local.get $i) (i32.const 1)))
        (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const 31)) (call $interpret)))
        (if (i32.ne
              (call $collatz (i32.add (local.get $i) (i32.const 1)))
              (i32.add (i32.load (i32.const 20)) (i32.const 1)))
          (then (unreachable)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
    (local.get $sum)))
