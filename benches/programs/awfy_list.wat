;; awfy_list: Takeuchi's function on lists instead of numbers: three lists of 15, 10
;; and 6 elements, compared and recursed into by their lengths. After List of Are We
;; Fast Yet? (Marr, Daloze, Mössenböck, DLS 2016).
;;
;; Stresses: calls with references as arguments and results, walks along short lists;
;;   hardly any allocation: 31 elements for some 1,500 walks.
;; Knob: n, the number of calls of the outermost function.
;; Live: 31 elements of 16 bytes: 496 bytes. Allocates as much in each call.
;; Self-check: the result has 10 elements, which count down to 1.
;; Expect: run(100) = 5500; run(25000) = 1375000.
(module
  (type $element (struct (field $value i32) (field $next (ref null $element))))

  ;; $length elements that count down to 1.
  (func $list (param $length i32) (result (ref null $element))
    (if (result (ref null $element)) (local.get $length)
      (then
        (struct.new $element
          (local.get $length)
          (call $list (i32.sub (local.get $length) (i32.const 1)))))
      (else (ref.null none))))

  (func $next (param $list (ref null $element)) (result (ref null $element))
    (struct.get $element $next (local.get $list)))

  ;; Whether $a has fewer elements than $b.
  (func $shorter (param $a (ref null $element)) (param $b (ref null $element)) (result i32)
    (loop $both
      (if (ref.is_null (local.get $b)) (then (return (i32.const 0))))
      (if (ref.is_null (local.get $a)) (then (return (i32.const 1))))
      (local.set $a (call $next (local.get $a)))
      (local.set $b (call $next (local.get $b)))
      (br $both))
    (unreachable))

  (func $tail
    (param $x (ref null $element)) (param $y (ref null $element)) (param $z (ref null $element))
    (result (ref null $element))
    (if (result (ref null $element)) (call $shorter (local.get $y) (local.get $x))
      (then
        (call $tail
          (call $tail (call $next (local.get $x)) (local.get $y) (local.get $z))
          (call $tail (call $next (local.get $y)) (local.get $z) (local.get $x))
          (call $tail (call $next (local.get $z)) (local.get $x) (local.get $y))))
      (else (local.get $z))))

  (func (export "run") (param $n i32) (result i32)
    (local $i i32)
    (local $sum i32)
    (local $length i32)
    (local $list (ref null $element))
    (loop $again
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (local.set $list
            (call $tail
              (call $list (i32.const 15))
              (call $list (i32.const 10))
              (call $list (i32.const 6))))
          (local.set $length (i32.const 10))
          (loop $check
            (if (i32.eqz (ref.is_null (local.get $list)))
              (then
                (if (i32.ne
                      (struct.get $element $value (local.get $list))
                      (local.get $length))
                  (then (unreachable)))
                (local.set $sum (i32.add (local.get $sum) (local.get $length)))
                (local.set $length (i32.sub (local.get $length) (i32.const 1)))
                (local.set $list (call $next (local.get $list)))
                (br $check))))
          (if (local.get $length) (then (unreachable)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $again))))
    (local.get $sum)))
