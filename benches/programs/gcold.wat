;; gcold: a forest of 128 old binary trees of height 10. Each step makes four small
;; trees that die at once, puts a new tree of height 3 where one of that height was,
;; and has pairs of old trees exchange subtrees. After GCOld (Detlefs and others).
;;
;; Stresses: an old generation that stays as large as it is: young death, promotion,
;;   old garbage all over the heap, and old-to-old writes, each with its own dial.
;; Knob: n, the number of steps.
;; Parameter: exchanges a step (two writes each); 4 by default.
;; Live: 128 trees of 1,023 nodes of 24 bytes and an array of 524 bytes: 130,945
;;   objects, 3,143,192 bytes. Allocates 67 nodes in each step.
;; Self-check: the trees keep their shape; a node's value is the step that made it, and
;;   the sum of all is what steps put in less what they took out.
;; Expect: run(100) = -708470914; run(60000) = 1411561428;
;;   run_with(100, 0) = 2135008816; run_with(100, 64) = 139141770.
(module
  (type $node (struct
    (field $left (mut (ref null $node)))
    (field $right (mut (ref null $node)))
    (field $value i32)))
  (type $trees (array (mut (ref null $node))))

  (global $seed (mut i32) (i32.const 0))

  ;; xorshift32
  (func $random (result i32)
    (local $s i32)
    (local.set $s (global.get $seed))
    (local.set $s (i32.xor (local.get $s) (i32.shl (local.get $s) (i32.const 13))))
    (local.set $s (i32.xor (local.get $s) (i32.shr_u (local.get $s) (i32.const 17))))
    (local.set $s (i32.xor (local.get $s) (i32.shl (local.get $s) (i32.const 5))))
    (global.set $seed (local.get $s))
    (local.get $s))
  (func $tree (param $height i32) (param $value i32) (result (ref null $node))
    (if (result (ref null $node)) (local.get $height)
      (then
        (struct.new $node
          (call $tree (i32.sub (local.get $height) (i32.const 1)) (local.get $value))
          (call $tree (i32.sub (local.get $height) (i32.const 1)) (local.get $value))
          (local.get $value)))
      (else (ref.null none))))

  ;; The sum of the values of a tree, which must be complete and have this height.
  (func $sum (param $node (ref null $node)) (param $height i32) (result i32)
    (if (i32.eqz (local.get $height))
      (then
        (if (i32.eqz (ref.is_null (local.get $node))) (then (unreachable)))
        (return (i32.const 0))))
    (local.set $height (i32.sub (local.get $height) (i32.const 1)))
    (i32.add
      (struct.get $node $value (local.get $node))
      (i32.add
        (call $sum (struct.get $node $left (local.get $node)) (local.get $height))
        (call $sum (struct.get $node $right (local.get $node)) (local.get $height)))))

  (func $pick (param $trees (ref $trees)) (result (ref $node))
    (ref.as_non_null
      (array.get $trees (local.get $trees)
        (i32.and (call $random) (i32.const 127)))))

  ;; The node $depth below $node, where each bit of $path chooses a side.
  (func $descend
    (param $node (ref $node)) (param $depth i32) (param $path i32) (result (ref $node))
    (loop $down
      (if (local.get $depth)
        (then
          (local.set $node
            (ref.as_non_null
              (call $child (local.get $node) (local.get $path))))
          (local.set $path (i32.shr_u (local.get $path) (i32.const 1)))
          (local.set $depth (i32.sub (local.get $depth) (i32.const 1)))
          (br $down))))
    (local.get $node))

  (func $child (param $node (ref $node)) (param $side i32) (result (ref null $node))
    (if (result (ref null $node)) (i32.and (local.get $side) (i32.const 1))
      (then (struct.get $node $right (local.get $node)))
      (else (struct.get $node $left (local.get $node)))))

  (func $set_child
    (param $node (ref $node)) (param $side i32) (param $child (ref null $node))
    (if (i32.and (local.get $side) (i32.const 1))
      (then (struct.set $node $right (local.get $node) (local.get $child)))
      (else (struct.set $node $left (local.get $node) (local.get $child)))))

  ;; Two subtrees of the same height change places; they may be in the same tree.
  (func $exchange (param $trees (ref $trees))
    (local $a (ref $node))
    (local $b (ref $node))
    (local $kept (ref null $node))
    (local $path i32)
    (local $side i32)
    (local $depth i32)
    (local.set $path (call $random))
    (local.set $side (i32.shr_u (local.get $path) (i32.const 24)))
    (local.set $depth
      (i32.and (i32.shr_u (local.get $path) (i32.const 16)) (i32.const 7)))
    (local.set $a
      (call $descend (call $pick (local.get $trees)) (local.get $depth) (local.get $path)))
    (local.set $b
      (call $descend (call $pick (local.get $trees)) (local.get $depth)
        (i32.shr_u (local.get $path) (i32.const 8))))
    (local.set $kept (call $child (local.get $a) (local.get $side)))
    (call $set_child (local.get $a) (local.get $side)
      (call $child (local.get $b) (local.get $side)))
    (call $set_child (local.get $b) (local.get $side) (local.get $kept)))

  (func $run_with (export "run_with") (param $n i32) (param $exchanges i32) (result i32)
    (local $trees (ref $trees))
    (local $parent (ref $node))
    (local $i i32)
    (local $j i32)
    (local $path i32)
    (local $total i32)
    (local $young i32)
    (global.set $seed (i32.const 0x1b873593))
    (local.set $trees (array.new_default $trees (i32.const 128)))
    (loop $fill
      (array.set $trees (local.get $trees) (local.get $i)
        (call $tree (i32.const 10) (i32.const 1)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $fill (i32.lt_u (local.get $i) (i32.const 128))))
    (local.set $total (i32.const 130944)) ;; 128 * 1,023 nodes
    (local.set $i (i32.const 0))
    (loop $step
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          ;; Young death.
          (local.set $j (i32.const 4))
          (loop $short
            (local.set $young
              (i32.add
                (local.get $young)
                (call $sum
                  (call $tree (i32.const 4) (local.get $j))
                  (i32.const 4))))
            (local.set $j (i32.sub (local.get $j) (i32.const 1)))
            (br_if $short (local.get $j)))
          ;; Promotion, and an old tree's death.
          (local.set $path (call $random))
          (local.set $parent
            (call $descend
              (call $pick (local.get $trees)) (i32.const 6) (local.get $path)))
          (local.set $path (i32.shr_u (local.get $path) (i32.const 6)))
          (local.set $total
            (i32.sub
              (i32.add (local.get $total) (i32.mul (local.get $i) (i32.const 7)))
              (call $sum
                (call $child (local.get $parent) (local.get $path))
                (i32.const 3))))
          (call $set_child (local.get $parent) (local.get $path)
            (call $tree (i32.const 3) (local.get $i)))
          ;; Old-to-old writes.
          (local.set $j (local.get $exchanges))
          (loop $pairs
            (if (local.get $j)
              (then
                (call $exchange (local.get $trees))
                (local.set $j (i32.sub (local.get $j) (i32.const 1)))
                (br $pairs))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $step))))
    (if (i32.ne (local.get $young) (i32.mul (local.get $n) (i32.const 150)))
      (then (unreachable)))
    (local.set $i (i32.const 0))
    (loop $add
      (local.set $path
        (call $sum
          (array.get $trees (local.get $trees) (local.get $i))
          (i32.const 10)))
      (local.set $total (i32.sub (local.get $total) (local.get $path)))
      (local.set $young
        (i32.add (i32.mul (local.get $young) (i32.const 31)) (local.get $path)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $add (i32.lt_u (local.get $i) (i32.const 128))))
    (if (local.get $total) (then (unreachable)))
    (local.get $young))

  (func (export "run") (param $n i32) (result i32)
    (call $run_with (local.get $n) (i32.const 4))))
