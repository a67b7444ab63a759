;; Keep half: a million nodes are made; every second one is linked into a list and stays.
;;
;; run:
;; out: 249999500000 : i64
(module
  (import "spectest" "print_i64" (func $print (param i64)))
  (type $node (struct (field $value i64) (field $next (ref null $node))))
  (func (export "_start") (local $i i64) (local $list (ref null $node)) (local $node (ref null $node)) (local $sum i64)
    (loop $make
      (local.set $node (struct.new $node (local.get $i) (local.get $list)))
      (if (i64.eqz (i64.and (local.get $i) (i64.const 1)))
        (then (local.set $list (local.get $node))))
      (local.set $i (i64.add (local.get $i) (i64.const 1)))
      (br_if $make (i64.lt_u (local.get $i) (i64.const 1000000))))
    (loop $add
      (if (ref.is_null (local.get $list)) (then (call $print (local.get $sum)) (return)))
      (local.set $sum (i64.add (local.get $sum) (struct.get $node $value (local.get $list))))
      (local.set $list (struct.get $node $next (local.get $list)))
      (br $add))))
