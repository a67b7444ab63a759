;; binary_trees: builds perfect binary trees, counts their nodes, drops them,
;; while one tree of depth n lives throughout.
;;
;; Stresses: allocation in bulk, survival of whole trees through a collection,
;;   tracing of trees, depth-first recursion. Trees are built bottom-up: no
;;   field is written after its object was made.
;; Knob: n, the depth of the long-lived tree (4 or more). Trees of depth
;;   4, 6, ... n are built 2^(n - depth + 4) times each; all of a depth cost alike.
;; Live: 2^(n+1) - 1 nodes of 16 bytes (32 * 2^n bytes) while small trees come
;;   and go; up to twice that while the deepest are built. Before that, a stretch
;;   tree of depth n + 1 (2^(n+2) - 1 nodes) lives alone.
;; Self-check: each tree has the number of nodes its depth says.
;; Expect: run(8) = -2004411650; run(17) = 578202110.
(module
  (type $tree (struct
    (field $left (ref null $tree))
    (field $right (ref null $tree))))

  ;; A tree of $depth levels below its root.
  (func $build (param $depth i32) (result (ref $tree))
    (if (result (ref $tree)) (i32.eqz (local.get $depth))
      (then (struct.new_default $tree))
      (else
        (struct.new $tree
          (call $build (i32.sub (local.get $depth) (i32.const 1)))
          (call $build (i32.sub (local.get $depth) (i32.const 1)))))))

  (func $count (param $t (ref null $tree)) (result i32)
    (if (result i32) (ref.is_null (local.get $t))
      (then (i32.const 0))
      (else
        (i32.add
          (i32.const 1)
          (i32.add
            (call $count (struct.get $tree $left (local.get $t)))
            (call $count (struct.get $tree $right (local.get $t))))))))

  ;; Counts $t and insists that it is perfect.
  (func $check (param $t (ref $tree)) (param $depth i32) (result i32)
    (local $nodes i32)
    (local.set $nodes (call $count (local.get $t)))
    (if (i32.ne
          (local.get $nodes)
          (i32.sub
            (i32.shl (i32.const 2) (local.get $depth))
            (i32.const 1)))
      (then (unreachable)))
    (local.get $nodes))

  (func (export "run") (param $n i32) (result i32)
    (local $depth i32)
    (local $times i32)
    (local $sum i32)
    (local $long (ref null $tree))
    (local.set $sum
      (call $check
        (call $build (i32.add (local.get $n) (i32.const 1)))
        (i32.add (local.get $n) (i32.const 1))))
    (local.set $long (call $build (local.get $n)))
    (local.set $depth (i32.const 4))
    (loop $depths
      (if (i32.le_s (local.get $depth) (local.get $n))
        (then
          (local.set $times
            (i32.shl
              (i32.const 16)
              (i32.sub (local.get $n) (local.get $depth))))
          (loop $again
            (local.set $sum
              (i32.add
                (i32.mul (local.get $sum) (i32.const 31))
                (call $check
                  (call $build (local.get $depth))
                  (local.get $depth))))
            (local.set $times (i32.sub (local.get $times) (i32.const 1)))
            (br_if $again (local.get $times)))
          (local.set $depth (i32.add (local.get $depth) (i32.const 2)))
          (br $depths))))
    (i32.add
      (local.get $sum)
      (call $check (ref.as_non_null (local.get $long)) (local.get $n)))))
