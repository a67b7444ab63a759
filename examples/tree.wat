;; Tree: sorts numbers by putting them into a binary search tree.
;;
;; Children are written into nodes that exist already: the fields are `mut`.
;; A collector with generations must notice such writes (its write barrier), for
;; they are how an old object comes to refer to a young one.
;;
;; run:
;; out: 3 : i32
;; out: 14 : i32
;; out: 15 : i32
;; out: 35 : i32
;; out: 65 : i32
;; out: 92 : i32
;; run: --invoke depth 1000
;; out: 20
(module
  (import "spectest" "print_i32" (func $print_i32 (param i32)))

  (type $tree (struct
    (field $key i32)
    (field $left (mut (ref null $tree)))
    (field $right (mut (ref null $tree)))))

  ;; The tree with $key in it: the same one, or a new one if it was empty.
  (func $insert (param $t (ref null $tree)) (param $key i32) (result (ref $tree))
    (if (ref.is_null (local.get $t))
      (then
        (return
          (struct.new $tree
            (local.get $key)
            (ref.null none) ;; none: the type of null, below all types of objects
            (ref.null none)))))
    (if (i32.lt_s (local.get $key) (struct.get $tree $key (local.get $t)))
      (then
        (struct.set $tree $left (local.get $t)
          (call $insert
            (struct.get $tree $left (local.get $t))
            (local.get $key))))
      (else
        (struct.set $tree $right (local.get $t)
          (call $insert
            (struct.get $tree $right (local.get $t))
            (local.get $key)))))
    (ref.as_non_null (local.get $t)))

  ;; Prints the keys in order.
  (func $print (param $t (ref null $tree))
    (if (ref.is_null (local.get $t))
      (then (return)))
    (call $print (struct.get $tree $left (local.get $t)))
    (call $print_i32 (struct.get $tree $key (local.get $t)))
    (call $print (struct.get $tree $right (local.get $t))))

  (func $depth (param $t (ref null $tree)) (result i32)
    (local $l i32)
    (local $r i32)
    (if (ref.is_null (local.get $t))
      (then (return (i32.const 0))))
    (local.set $l (call $depth (struct.get $tree $left (local.get $t))))
    (local.set $r (call $depth (struct.get $tree $right (local.get $t))))
    (i32.add
      (i32.const 1)
      (select
        (local.get $l)
        (local.get $r)
        (i32.gt_s (local.get $l) (local.get $r)))))

  (func (export "_start")
    (local $t (ref null $tree))
    (local.set $t (call $insert (local.get $t) (i32.const 35)))
    (local.set $t (call $insert (local.get $t) (i32.const 3)))
    (local.set $t (call $insert (local.get $t) (i32.const 14)))
    (local.set $t (call $insert (local.get $t) (i32.const 15)))
    (local.set $t (call $insert (local.get $t) (i32.const 92)))
    (local.set $t (call $insert (local.get $t) (i32.const 65)))
    (call $print (local.get $t)))

  ;; The depth of a tree of $n numbers that come in no particular order.
  (func (export "depth") (param $n i32) (result i32)
    (local $t (ref null $tree))
    (local $x i32)
    (loop $next
      (if (local.get $n)
        (then
          (local.set $x
            (i32.add
              (i32.mul (local.get $x) (i32.const 1664525))
              (i32.const 1013904223)))
          (local.set $t (call $insert (local.get $t) (local.get $x)))
          (local.set $n (i32.sub (local.get $n) (i32.const 1)))
          (br $next))))
    (call $depth (local.get $t))))
