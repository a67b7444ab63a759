;; gcbench: in the manner of Ellis's and Boehm's GCBench. A long-lived tree and a
;; long-lived array of doubles stay, while trees of growing depth are made two
;; ways: top-down, by writing into nodes that exist, and bottom-up.
;;
;; Stresses: mixed lifetimes; writes of younger objects into older ones
;;   (top-down); a large array without references; tracing depth.
;; Knob: n, the depth of the long-lived tree (4 or more). The array has
;;   8 * 2^n doubles. Trees of depth 4, 6, ... n are made, as many of each
;;   as hold 4 times the nodes of the long-lived tree, by each way.
;; Live: 2^(n+1) - 1 nodes of 24 bytes (48 * 2^n bytes), an array of 64 * 2^n
;;   bytes, and up to one more tree as large as the long-lived one.
;; Self-check: node counts, and elements of the array.
;; Expect: run(8) = -790737731; run(17) = -802582913.
(module
  (type $node (struct
    (field $left (mut (ref null $node)))
    (field $right (mut (ref null $node)))
    (field $a (mut i32))
    (field $b (mut i32))))
  (type $doubles (array (mut f64)))

  ;; Top-down: hangs $depth levels of new nodes below $t.
  (func $populate (param $depth i32) (param $t (ref $node))
    (if (local.get $depth)
      (then
        (struct.set $node $left (local.get $t) (struct.new_default $node))
        (struct.set $node $right (local.get $t) (struct.new_default $node))
        (struct.set $node $a (local.get $t) (local.get $depth))
        (call $populate
          (i32.sub (local.get $depth) (i32.const 1))
          (ref.as_non_null (struct.get $node $left (local.get $t))))
        (call $populate
          (i32.sub (local.get $depth) (i32.const 1))
          (ref.as_non_null (struct.get $node $right (local.get $t)))))))

  (func $top_down (param $depth i32) (result (ref $node))
    (local $t (ref $node))
    (local.set $t (struct.new_default $node))
    (call $populate (local.get $depth) (local.get $t))
    (local.get $t))

  (func $bottom_up (param $depth i32) (result (ref $node))
    (if (result (ref $node)) (local.get $depth)
      (then
        (struct.new $node
          (call $bottom_up (i32.sub (local.get $depth) (i32.const 1)))
          (call $bottom_up (i32.sub (local.get $depth) (i32.const 1)))
          (local.get $depth)
          (i32.const 0)))
      (else (struct.new_default $node))))

  (func $count (param $t (ref null $node)) (result i32)
    (if (result i32) (ref.is_null (local.get $t))
      (then (i32.const 0))
      (else
        (i32.add
          (i32.const 1)
          (i32.add
            (call $count (struct.get $node $left (local.get $t)))
            (call $count (struct.get $node $right (local.get $t))))))))

  ;; The nodes of a perfect tree.
  (func $size (param $depth i32) (result i32)
    (i32.sub (i32.shl (i32.const 2) (local.get $depth)) (i32.const 1)))

  (func $check (param $t (ref $node)) (param $depth i32) (result i32)
    (local $nodes i32)
    (local.set $nodes (call $count (local.get $t)))
    (if (i32.ne (local.get $nodes) (call $size (local.get $depth)))
      (then (unreachable)))
    (local.get $nodes))

  (func (export "run") (param $n i32) (result i32)
    (local $long (ref $node))
    (local $doubles (ref $doubles))
    (local $i i32)
    (local $depth i32)
    (local $sum i32)
    (local.set $long (call $top_down (local.get $n)))
    (local.set $doubles
      (array.new_default $doubles (i32.shl (i32.const 8) (local.get $n))))
    ;; The first half holds 1/(i + 1).
    (loop $fill
      (array.set $doubles (local.get $doubles) (local.get $i)
        (f64.div
          (f64.const 1)
          (f64.convert_i32_u (i32.add (local.get $i) (i32.const 1)))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $fill
        (i32.lt_u (local.get $i) (i32.shl (i32.const 4) (local.get $n)))))

    (local.set $depth (i32.const 4))
    (loop $depths
      (if (i32.le_s (local.get $depth) (local.get $n))
        (then
          (local.set $i
            (i32.div_u
              (i32.mul (i32.const 4) (call $size (local.get $n)))
              (call $size (local.get $depth))))
          (loop $again
            (local.set $sum
              (i32.add
                (i32.mul (local.get $sum) (i32.const 31))
                (i32.add
                  (call $check
                    (call $top_down (local.get $depth))
                    (local.get $depth))
                  (call $check
                    (call $bottom_up (local.get $depth))
                    (local.get $depth)))))
            (local.set $i (i32.sub (local.get $i) (i32.const 1)))
            (br_if $again (local.get $i)))
          (local.set $depth (i32.add (local.get $depth) (i32.const 2)))
          (br $depths))))

    ;; What lived throughout is as it was.
    (if (f64.ne
          (array.get $doubles (local.get $doubles) (i32.const 63))
          (f64.div (f64.const 1) (f64.const 64)))
      (then (unreachable)))
    (if (f64.ne
          (array.get $doubles (local.get $doubles)
            (i32.sub (array.len (local.get $doubles)) (i32.const 1)))
          (f64.const 0))
      (then (unreachable)))
    (i32.add (local.get $sum) (call $check (local.get $long) (local.get $n)))))
