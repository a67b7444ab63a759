;; linked_list_churn: a queue as a linked list. Nodes come in at the tail and
;; leave at the head, once 65,536 are in.
;;
;; Stresses: a sliding window: each object outlives 65,535 younger ones, then
;;   dies, oldest first. Generational collectors promote what is about to die, and
;;   a dead node that was promoted keeps its younger successors alive until the old
;;   generation is collected (nepotism). The list is as deep as it is long; each
;;   new node is written into its elder, the tail.
;; Knob: n, the number of nodes that come in.
;; Live: min(n, 65536) nodes of 16 bytes: 1 MiB. Allocates n + 1 objects.
;; Self-check: nodes leave in the order in which they came.
;; Expect: run(100000) = 1813717840; run(24000000) = -763356416.
(module
  (type $node (struct
    (field $next (mut (ref null $node)))
    (field $value i32)))

  (func (export "run") (param $n i32) (result i32)
    (local $head (ref $node))
    (local $tail (ref $node))
    (local $new (ref $node))
    (local $i i32)
    (local $left i32)
    (local $sum i32)
    ;; The head is the node that left last; its successors are the queue.
    (local.set $head (struct.new $node (ref.null none) (i32.const -1)))
    (local.set $tail (local.get $head))
    (loop $next
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (local.set $new
            (struct.new $node (ref.null none) (local.get $i)))
          (struct.set $node $next (local.get $tail) (local.get $new))
          (local.set $tail (local.get $new))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (if (i32.gt_u
                (i32.sub (local.get $i) (local.get $left))
                (i32.const 65536))
            (then
              (local.set $head
                (ref.as_non_null (struct.get $node $next (local.get $head))))
              (if (i32.ne
                    (struct.get $node $value (local.get $head))
                    (local.get $left))
                (then (unreachable)))
              (local.set $sum
                (i32.add
                  (i32.mul (local.get $sum) (i32.const 31))
                  (struct.get $node $value (local.get $head))))
              (local.set $left (i32.add (local.get $left) (i32.const 1)))))
          (br $next))))
    ;; The rest leaves, in order.
    (loop $drain
      (if (i32.lt_u (local.get $left) (local.get $n))
        (then
          (local.set $head
            (ref.as_non_null (struct.get $node $next (local.get $head))))
          (if (i32.ne
                (struct.get $node $value (local.get $head))
                (local.get $left))
            (then (unreachable)))
          (local.set $sum
            (i32.add
              (local.get $sum)
              (struct.get $node $value (local.get $head))))
          (local.set $left (i32.add (local.get $left) (i32.const 1)))
          (br $drain))))
    (local.get $sum)))
