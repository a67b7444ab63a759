;; List: keeps the even numbers, drops the odd ones.
;;
;; Each number becomes a node. Nodes of even numbers are linked into a list and
;; stay; the others are garbage as soon as they are made. A collector that frees
;; them needs memory for half of the nodes; one that never frees, for all.
;;
;; run: --invoke sum_even 10
;; out: 20
;; run: --invoke sum_even 100000
;; out: 2499950000
(module
  ;; A struct type may refer to itself. `null` says that a reference may be absent.
  (type $node (struct
    (field $value i32)
    (field $next (ref null $node))))

  ;; The list of the even numbers below $n, greatest first.
  (func $evens (param $n i32) (result (ref null $node))
    (local $i i32)
    (local $list (ref null $node))
    (local $node (ref null $node))
    (loop $next
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (local.set $node (struct.new $node (local.get $i) (local.get $list)))
          (if (i32.eqz (i32.and (local.get $i) (i32.const 1)))
            (then (local.set $list (local.get $node))))
          ;; An odd number's node is garbage from here on.
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next))))
    (local.get $list))

  (func (export "sum_even") (param $n i32) (result i64)
    (local $node (ref null $node))
    (local $sum i64)
    (local.set $node (call $evens (local.get $n)))
    (loop $next
      (if (i32.eqz (ref.is_null (local.get $node)))
        (then
          (local.set $sum
            (i64.add
              (local.get $sum)
              (i64.extend_i32_u
                (struct.get $node $value (local.get $node)))))
          (local.set $node (struct.get $node $next (local.get $node)))
          (br $next))))
    (local.get $sum)))
