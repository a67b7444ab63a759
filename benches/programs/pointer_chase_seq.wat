;; pointer_chase_seq: a list of n nodes linked in the order in which they were made,
;; walked 17 times.
;;
;; Stresses: traversal. The twin of pointer_chase_rand: what differs is only
;;   the order, so their ratio says what locality is worth. Half a list of
;;   short-lived objects is allocated between walks, as there.
;; Knob: n, the number of nodes (1 or more).
;; Live: n nodes of 16 bytes; while it is built, also an array of 4 n + 12 bytes.
;;   Allocates n + 1 objects to begin with, and 8 n short-lived ones of 16 bytes.
;; Self-check: each walk finds n nodes and the same sum.
;; Expect: run(10000) = 1427211144; run(700000) = 102299440.
(module
  (type $node (struct
    (field $next (mut (ref null $node)))
    (field $value i32)))
  (type $nodes (array (mut (ref null $node))))

  ;; Makes $n nodes and links them; returns the first.
  (func $build (param $n i32) (result (ref $node))
    (local $nodes (ref $nodes))
    (local $i i32)
    (local.set $nodes (array.new_default $nodes (local.get $n)))
    (loop $make
      (array.set $nodes (local.get $nodes) (local.get $i)
        (struct.new $node (ref.null none) (local.get $i)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $make (i32.lt_u (local.get $i) (local.get $n))))
    (local.set $i (i32.const 1))
    (loop $link
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (struct.set $node $next
            (array.get $nodes (local.get $nodes)
              (i32.sub (local.get $i) (i32.const 1)))
            (array.get $nodes (local.get $nodes) (local.get $i)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $link))))
    (ref.as_non_null
      (array.get $nodes (local.get $nodes) (i32.const 0))))

  ;; Walks the list; insists on $n nodes.
  (func $walk (param $first (ref $node)) (param $n i32) (result i32)
    (local $here (ref null $node))
    (local $count i32)
    (local $sum i32)
    (local.set $here (local.get $first))
    (loop $next
      (local.set $sum
        (i32.add
          (i32.mul (local.get $sum) (i32.const 31))
          (struct.get $node $value (local.get $here))))
      (local.set $count (i32.add (local.get $count) (i32.const 1)))
      (local.set $here (struct.get $node $next (local.get $here)))
      (br_if $next (i32.eqz (ref.is_null (local.get $here)))))
    (if (i32.ne (local.get $count) (local.get $n))
      (then (unreachable)))
    (local.get $sum))

  ;; Makes $n objects, each of which dies when the next is made.
  (func $litter (param $n i32)
    (local $last (ref null $node))
    (loop $next
      (if (local.get $n)
        (then
          (local.set $last (struct.new $node (ref.null none) (local.get $n)))
          (if (i32.ne
                (struct.get $node $value (local.get $last))
                (local.get $n))
            (then (unreachable)))
          (global.set $litter (local.get $last))
          (local.set $n (i32.sub (local.get $n) (i32.const 1)))
          (br $next))))
    (global.set $litter (ref.null none)))
  ;; Holds the last one, so that it must be made.
  (global $litter (mut (ref null $node)) (ref.null none))

  (func (export "run") (param $n i32) (result i32)
    (local $first (ref $node))
    (local $i i32)
    (local $sum i32)
    (local.set $first (call $build (local.get $n)))
    (local.set $sum (call $walk (local.get $first) (local.get $n)))
    (local.set $i (i32.const 1))
    (loop $again
      (call $litter (i32.shr_u (local.get $n) (i32.const 1)))
      (if (i32.ne
            (call $walk (local.get $first) (local.get $n))
            (local.get $sum))
        (then (unreachable)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 17))))
    (local.get $sum)))
