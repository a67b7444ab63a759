;; deep: eight times a structure n nodes deep is built; when it is complete, the last
;; one is walked and dies as a whole.
;;
;; Stresses: depth: a tracer that recurses overflows, one with a stack needs it deep
;;   (shape 2), parallel ones find nothing to share; counts that reach zero one after
;;   the other, n of them.
;; Knob: n, the number of nodes on the longest path, 1 or more.
;; Parameter, the shape; 0 by default:
;;   0  a list, linked one way;
;;   1  a list, linked both ways: one cycle beside the other;
;;   2  a tree that is a list with a leaf on each node.
;; Live: two structures of n nodes of 24 bytes (shape 2: 2 n - 1), 48 n bytes (96 n) at
;;   the most. Allocates four times as much.
;; Self-check: nodes are numbered; the walk down meets all, the walk up too (shape 1),
;;   and each leaf has its node's number (shape 2).
;; Expect: run(5000) = -1388666688; run(400000) = 799947776;
;;   run_with(5000, 1) = -1388666688; run_with(5000, 2) = -1388666688.
(module
  (type $node (struct
    (field $next (mut (ref null $node)))
    (field $other (mut (ref null $node)))
    (field $number i32)))

  ;; Built from the end, so that the first node is the youngest and number n.
  (func $build (param $n i32) (param $shape i32) (result (ref $node))
    (local $first (ref $node))
    (local $new (ref $node))
    (local $number i32)
    (local.set $number (i32.const 1))
    (local.set $first
      (struct.new $node (ref.null none) (ref.null none) (local.get $number)))
    (loop $more
      (if (i32.lt_u (local.get $number) (local.get $n))
        (then
          (local.set $number (i32.add (local.get $number) (i32.const 1)))
          (local.set $new
            (struct.new $node (local.get $first) (ref.null none) (local.get $number)))
          (if (i32.eq (local.get $shape) (i32.const 1))
            (then (struct.set $node $other (local.get $first) (local.get $new))))
          (if (i32.eq (local.get $shape) (i32.const 2))
            (then
              (struct.set $node $other (local.get $new)
                (struct.new $node
                  (ref.null none)
                  (ref.null none)
                  (local.get $number)))))
          (local.set $first (local.get $new))
          (br $more))))
    (local.get $first))

  (func $check (param $first (ref $node)) (param $n i32) (param $shape i32) (result i32)
    (local $node (ref null $node))
    (local $last (ref null $node))
    (local $number i32)
    (local $sum i32)
    (local.set $node (local.get $first))
    (local.set $number (local.get $n))
    (loop $down
      (if (i32.ne (struct.get $node $number (local.get $node)) (local.get $number))
        (then (unreachable)))
      (local.set $sum
        (i32.add (i32.mul (local.get $sum) (i32.const 31)) (local.get $number)))
      (if (i32.and
            (i32.eq (local.get $shape) (i32.const 2))
            (i32.gt_u (local.get $number) (i32.const 1)))
        (then
          (if (i32.ne
                (struct.get $node $number
                  (struct.get $node $other (local.get $node)))
                (local.get $number))
            (then (unreachable)))))
      (local.set $last (local.get $node))
      (local.set $node (struct.get $node $next (local.get $node)))
      (local.set $number (i32.sub (local.get $number) (i32.const 1)))
      (br_if $down (i32.eqz (ref.is_null (local.get $node)))))
    (if (local.get $number) (then (unreachable)))
    (if (i32.eq (local.get $shape) (i32.const 1))
      (then
        (local.set $node (local.get $last))
        (loop $up
          (local.set $last (local.get $node))
          (local.set $number (i32.add (local.get $number) (i32.const 1)))
          (local.set $node (struct.get $node $other (local.get $node)))
          (br_if $up (i32.eqz (ref.is_null (local.get $node)))))
        (if (i32.ne (local.get $number) (local.get $n)) (then (unreachable)))
        (if (i32.eqz (ref.eq (local.get $last) (local.get $first)))
          (then (unreachable)))))
    (local.get $sum))

  (func $run_with (export "run_with") (param $n i32) (param $shape i32) (result i32)
    (local $live (ref $node))
    (local $next (ref $node))
    (local $round i32)
    (local $sum i32)
    (if (i32.gt_u (local.get $shape) (i32.const 2)) (then (unreachable)))
    (local.set $live (call $build (local.get $n) (local.get $shape)))
    (loop $rounds
      ;; The last structure lives until it has been walked, which is after this.
      (local.set $next (call $build (local.get $n) (local.get $shape)))
      (local.set $sum
        (i32.add
          (i32.mul (local.get $sum) (i32.const 3))
          (call $check (local.get $live) (local.get $n) (local.get $shape))))
      (local.set $live (local.get $next))
      (local.set $round (i32.add (local.get $round) (i32.const 1)))
      (br_if $rounds (i32.lt_u (local.get $round) (i32.const 7))))
    (i32.add
      (i32.mul (local.get $sum) (i32.const 3))
      (call $check (local.get $live) (local.get $n) (local.get $shape))))

  (func (export "run") (param $n i32) (result i32)
    (call $run_with (local.get $n) (i32.const 0))))
