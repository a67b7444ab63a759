;; i31: small integers where references are expected, without allocating.
;;
;; A reference is a word, and objects are aligned, so a word has room to say "this is
;; no address but a number". WebAssembly calls such a value an i31: 31 bits that
;; are a reference by type. A language whose variables hold anything keeps its
;; small numbers so, and puts only what doesn't fit into a box.
;;
;; run: --invoke factorial 5
;; out: 120
;; run: --invoke boxes 5
;; out: 0
;; run: --invoke boxes 15
;; out: 7
(module
  (type $box (struct (field $value i64)))

  ;; How many boxes were made.
  (global $boxes (mut i32) (i32.const 0))

  ;; $x as a reference: `eq` is the type of all that can be compared by identity,
  ;; structs, arrays and i31.
  (func $wrap (param $x i64) (result (ref eq))
    (if (result (ref eq))
      (i64.lt_u (local.get $x) (i64.const 0x40000000))
      (then (ref.i31 (i32.wrap_i64 (local.get $x))))
      (else
        (global.set $boxes (i32.add (global.get $boxes) (i32.const 1)))
        (struct.new $box (local.get $x)))))

  (func $unwrap (param $x (ref eq)) (result i64)
    (if (result i64) (ref.test (ref i31) (local.get $x))
      (then
        (i64.extend_i32_s
          (i31.get_s (ref.cast (ref i31) (local.get $x)))))
      (else
        (struct.get $box $value (ref.cast (ref $box) (local.get $x))))))

  ;; 1 * 2 * ... * n, with a variable that holds anything.
  (func $factorial (param $n i32) (result (ref eq))
    (local $product (ref eq))
    (local.set $product (ref.i31 (i32.const 1)))
    (loop $next
      (if (local.get $n)
        (then
          (local.set $product
            (call $wrap
              (i64.mul
                (call $unwrap (local.get $product))
                (i64.extend_i32_u (local.get $n)))))
          (local.set $n (i32.sub (local.get $n) (i32.const 1)))
          (br $next))))
    (local.get $product))

  (func (export "factorial") (param $n i32) (result i64)
    (call $unwrap (call $factorial (local.get $n))))

  ;; How many boxes it takes to compute a factorial.
  (func (export "boxes") (param $n i32) (result i32)
    (global.set $boxes (i32.const 0))
    (drop (call $factorial (local.get $n)))
    (global.get $boxes)))
