;; awfy_storage: a tree of arrays of four, seven levels deep, with arrays of 1 to 10
;; empty elements as leaves; each tree dies when the next is made. After Storage of
;; Are We Fast Yet? (Marr, Daloze, Mössenböck, DLS 2016).
;;
;; Stresses: allocation of small arrays of references of several lengths, stores of
;;   young into young, garbage that dies as a whole.
;; Knob: n, the number of trees.
;; Live: 5,461 arrays: 1,365 of 32 bytes and 4,096 leaves of 16 to 56 bytes, about
;;   190 kB.
;; Self-check: a tree has 5,461 arrays, as counted when it is made and by a walk.
;; Expect: run(8) = 224644; run(1500) = 76832480.
(module
  (rec (type $node (array (mut (ref null $node)))))

  (global $seed (mut i32) (i32.const 0))
  (global $count (mut i32) (i32.const 0))

  ;; The generator of the suite: 16 bits, linear congruential.
  (func $random (result i32)
    (global.set $seed
      (i32.and
        (i32.add (i32.mul (global.get $seed) (i32.const 1309)) (i32.const 13849))
        (i32.const 65535)))
    (global.get $seed))

  (func $tree (param $depth i32) (result (ref $node))
    (local $node (ref $node))
    (local $i i32)
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (if (i32.eq (local.get $depth) (i32.const 1))
      (then
        (return
          (array.new_default $node
            (i32.add (i32.rem_u (call $random) (i32.const 10)) (i32.const 1))))))
    (local.set $node (array.new_default $node (i32.const 4)))
    (loop $children
      (array.set $node (local.get $node) (local.get $i)
        (call $tree (i32.sub (local.get $depth) (i32.const 1))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $children (i32.lt_u (local.get $i) (i32.const 4))))
    (local.get $node))

  ;; Counts the arrays of a tree, and adds up the lengths of all.
  (func $walk (param $node (ref null $node)) (result i32)
    (local $i i32)
    (local $sum i32)
    (if (ref.is_null (local.get $node)) (then (return (i32.const 0))))
    (global.set $count (i32.sub (global.get $count) (i32.const 1)))
    (local.set $sum (array.len (local.get $node)))
    (loop $children
      (local.set $sum
        (i32.add
          (local.get $sum)
          (call $walk (array.get $node (local.get $node) (local.get $i)))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $children (i32.lt_u (local.get $i) (array.len (local.get $node)))))
    (local.get $sum))

  (func (export "run") (param $n i32) (result i32)
    (local $tree (ref null $node))
    (local $i i32)
    (local $sum i32)
    (global.set $seed (i32.const 74755))
    (loop $again
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (global.set $count (i32.const 0))
          (local.set $tree (call $tree (i32.const 7)))
          (if (i32.ne (global.get $count) (i32.const 5461)) (then (unreachable)))
          (local.set $sum
            (i32.add
              (i32.mul (local.get $i) (i32.const 31))
              (i32.add (local.get $sum) (call $walk (local.get $tree)))))
          (if (global.get $count) (then (unreachable)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $again))))
    (local.get $sum)))
