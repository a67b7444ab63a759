;; cycles: rings of doubly linked nodes, of 16 each by default. The 64 youngest rings
;; stay, the rest is garbage that refers to itself.
;;
;; Stresses: cyclic garbage. Plain reference counting never frees a ring and
;;   runs out of memory; a cycle collector shows its price here.
;; Knob: n, the number of rings.
;; Parameter: nodes of a ring, 1 or more; 16 by default.
;; Live: 65 rings of 16 nodes of 24 bytes and an array of 268 bytes: 1,041
;;   objects, 25,232 bytes. Allocates 16 n + 1 objects. With another parameter p: 65 p
;;   and p n + 1.
;; Self-check: a ring that leaves is walked both ways round and must close.
;; Expect: run(5000) = -2016262208; run(2000000) = 1939959296;
;;   run_with(5000, 1) = 936756040.
(module
  (type $node (struct
    (field $next (mut (ref null $node)))
    (field $prev (mut (ref null $node)))
    (field $value i32)))
  (type $rings (array (mut (ref null $node))))

  ;; Nodes of a ring.
  (global $length (mut i32) (i32.const 0))

  (func $ring (param $value i32) (result (ref $node))
    (local $first (ref $node))
    (local $last (ref $node))
    (local $new (ref $node))
    (local $i i32)
    (local.set $first
      (struct.new $node (ref.null none) (ref.null none) (local.get $value)))
    (local.set $last (local.get $first))
    (local.set $i (i32.const 1))
    (loop $next
      (if (i32.lt_u (local.get $i) (global.get $length))
        (then
          (local.set $new
            (struct.new $node
              (ref.null none)
              (local.get $last)
              (i32.add (local.get $value) (local.get $i))))
          (struct.set $node $next (local.get $last) (local.get $new))
          (local.set $last (local.get $new))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next))))
    (struct.set $node $next (local.get $last) (local.get $first))
    (struct.set $node $prev (local.get $first) (local.get $last))
    (local.get $first))

  ;; Walks a ring's nodes one way and back, and must be where it began.
  (func $walk (param $ring (ref $node)) (result i32)
    (local $here (ref $node))
    (local $i i32)
    (local $sum i32)
    (local.set $here (local.get $ring))
    (loop $next
      (local.set $sum
        (i32.add (local.get $sum) (struct.get $node $value (local.get $here))))
      (local.set $here
        (ref.as_non_null (struct.get $node $next (local.get $here))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (global.get $length))))
    (if (i32.eqz (ref.eq (local.get $here) (local.get $ring)))
      (then (unreachable)))
    (loop $back
      (local.set $here
        (ref.as_non_null (struct.get $node $prev (local.get $here))))
      (local.set $sum
        (i32.sub
          (i32.mul (local.get $sum) (i32.const 3))
          (struct.get $node $value (local.get $here))))
      (local.set $i (i32.sub (local.get $i) (i32.const 1)))
      (br_if $back (local.get $i)))
    (if (i32.eqz (ref.eq (local.get $here) (local.get $ring)))
      (then (unreachable)))
    (local.get $sum))

  (func $run_with (export "run_with") (param $n i32) (param $length i32) (result i32)
    (local $rings (ref $rings))
    (local $old (ref null $node))
    (local $i i32)
    (local $sum i32)
    (if (i32.eqz (local.get $length)) (then (unreachable)))
    (global.set $length (local.get $length))
    (local.set $rings (array.new_default $rings (i32.const 64)))
    (loop $next
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (local.set $old
            (array.get $rings (local.get $rings)
              (i32.and (local.get $i) (i32.const 63))))
          (if (i32.eqz (ref.is_null (local.get $old)))
            (then
              (if (i32.ne
                    (struct.get $node $value (local.get $old))
                    (i32.sub (local.get $i) (i32.const 64)))
                (then (unreachable)))
              (local.set $sum
                (i32.add
                  (i32.mul (local.get $sum) (i32.const 31))
                  (call $walk (ref.as_non_null (local.get $old)))))))
          (array.set $rings (local.get $rings)
            (i32.and (local.get $i) (i32.const 63))
            (call $ring (local.get $i)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next))))
    (local.get $sum))

  (func (export "run") (param $n i32) (result i32)
    (call $run_with (local.get $n) (i32.const 16))))
