;; quads: a long-lived tree with four children a node, then 20 rounds of small trees of
;; that kind that die at once, each round 13 % as large as what lives. After the
;; benchmark of that name in Whippet.
;;
;; Stresses: tracing of a live set that does not change, beside young death: a
;;   collection costs what the live tree costs.
;; Knob: n, the depth of the long-lived tree, 4 to 12.
;; Live: (4^(n+1) - 1) / 3 nodes of 24 bytes: 32 MiB at n = 10. Allocates 3.6 times as
;;   much: 85-node trees beside the long-lived one.
;; Self-check: after each round the long-lived tree is walked: each node has the depth
;;   that it should have, and all are there; the small trees are counted, too.
;; Expect: run(6) = 1592552512; run(9) = -1711911488.
(module
  (type $quad (struct
    (field $a (mut (ref null $quad)))
    (field $b (mut (ref null $quad)))
    (field $c (mut (ref null $quad)))
    (field $d (mut (ref null $quad)))))

  (func $quads (param $depth i32) (result (ref $quad))
    (if (result (ref $quad)) (local.get $depth)
      (then
        (local.set $depth (i32.sub (local.get $depth) (i32.const 1)))
        (struct.new $quad
          (call $quads (local.get $depth))
          (call $quads (local.get $depth))
          (call $quads (local.get $depth))
          (call $quads (local.get $depth))))
      (else (struct.new_default $quad))))

  ;; The number of nodes of a tree, all leaves of which must be $depth below its root.
  (func $count (param $quad (ref null $quad)) (param $depth i32) (result i32)
    (if (i32.eqz (local.get $depth))
      (then
        (if (i32.eqz (ref.is_null (struct.get $quad $a (local.get $quad))))
          (then (unreachable)))
        (return (i32.const 1))))
    (local.set $depth (i32.sub (local.get $depth) (i32.const 1)))
    (i32.add
      (i32.add
        (i32.add
          (call $count (struct.get $quad $a (local.get $quad)) (local.get $depth))
          (call $count (struct.get $quad $b (local.get $quad)) (local.get $depth)))
        (i32.add
          (call $count (struct.get $quad $c (local.get $quad)) (local.get $depth))
          (call $count (struct.get $quad $d (local.get $quad)) (local.get $depth))))
      (i32.const 1)))

  ;; How many nodes a tree of this depth has.
  (func $size (param $depth i32) (result i32)
    (i32.div_u
      (i32.sub
        (i32.shl
          (i32.const 1)
          (i32.shl (i32.add (local.get $depth) (i32.const 1)) (i32.const 1)))
        (i32.const 1))
      (i32.const 3)))

  (func (export "run") (param $n i32) (result i32)
    (local $live (ref $quad))
    (local $round i32)
    (local $small i32)
    (local $i i32)
    (local $sum i32)
    (if (i32.or
          (i32.lt_u (local.get $n) (i32.const 4))
          (i32.gt_u (local.get $n) (i32.const 12)))
      (then (unreachable)))
    (local.set $live (call $quads (local.get $n)))
    ;; 13 % of the live tree in trees of 85 nodes.
    (local.set $small
      (i32.div_u
        (i32.div_u (i32.mul (call $size (local.get $n)) (i32.const 13)) (i32.const 100))
        (i32.const 85)))
    (loop $rounds
      (local.set $i (i32.const 0))
      (loop $garbage
        (if (i32.lt_u (local.get $i) (local.get $small))
          (then
            (if (i32.ne
                  (call $count (call $quads (i32.const 3)) (i32.const 3))
                  (i32.const 85))
              (then (unreachable)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br $garbage))))
      (if (i32.ne
            (call $count (local.get $live) (local.get $n))
            (call $size (local.get $n)))
        (then (unreachable)))
      (local.set $sum
        (i32.add
          (i32.mul (local.get $sum) (i32.const 31))
          (i32.add (call $size (local.get $n)) (local.get $i))))
      (local.set $round (i32.add (local.get $round) (i32.const 1)))
      (br_if $rounds (i32.lt_u (local.get $round) (i32.const 20))))
    (local.get $sum)))
