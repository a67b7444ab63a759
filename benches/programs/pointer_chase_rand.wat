;; pointer_chase_rand: a list of n nodes linked in random order, walked 17 times.
;;
;; Stresses: locality. The walk misses the cache at each step unless a collector
;;   has put nodes in the order of the list: half a list of short-lived
;;   objects is allocated between walks, so that collectors have their chance.
;; Knob: n, the number of nodes (1 or more).
;; Live: n nodes of 16 bytes; while it is built, also an array of 4 n + 12 bytes.
;;   Allocates n + 1 objects to begin with, and 8 n short-lived ones of 16 bytes.
;; Self-check: each walk finds n nodes and the same sum.
;; Expect: run(10000) = 678718004; run(700000) = -1236257848.
(module
  (type $node (struct
    (field $next (mut (ref null $node)))
    (field $value i32)))
  (type $nodes (array (mut (ref null $node))))

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

  ;; Fisher and Yates: each order is as likely as any other.
  (func $shuffle (param $nodes (ref $nodes))
    (local $i i32)
    (local $j i32)
    (local $node (ref null $node))
    (local.set $i (array.len (local.get $nodes)))
    (loop $next
      (if (i32.gt_u (local.get $i) (i32.const 1))
        (then
          (local.set $j
            (i32.rem_u
              (i32.shr_u (call $random) (i32.const 2))
              (local.get $i)))
          (local.set $i (i32.sub (local.get $i) (i32.const 1)))
          (local.set $node
            (array.get $nodes (local.get $nodes) (local.get $i)))
          (array.set $nodes (local.get $nodes) (local.get $i)
            (array.get $nodes (local.get $nodes) (local.get $j)))
          (array.set $nodes (local.get $nodes) (local.get $j)
            (local.get $node))
          (br $next)))))

  ;; Makes $n nodes, shuffles them and links them; returns the first.
  (func $build (param $n i32) (result (ref $node))
    (local $nodes (ref $nodes))
    (local $i i32)
    (local.set $nodes (array.new_default $nodes (local.get $n)))
    (loop $make
      (array.set $nodes (local.get $nodes) (local.get $i)
        (struct.new $node (ref.null none) (local.get $i)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $make (i32.lt_u (local.get $i) (local.get $n))))
    (call $shuffle (local.get $nodes))
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
    (global.set $seed (i32.const 0x3c6ef372))
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
