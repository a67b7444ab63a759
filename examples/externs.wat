;; Externs: references that cross to the host and come back.
;;
;; There are two worlds of references: `any`, what WebAssembly's programs make, and
;; `extern`, what the host hands in and out. Conversion changes the type, not the
;; value: what went out comes back as the same object, and while it is out as an
;; externref it is as alive as by any other reference.
;;
;; run: --invoke round_trip 7
;; out: 7
;; run: --invoke same
;; out: 1
;; run: --invoke small 11
;; out: 11
;; run: --invoke null
;; out: 1
(module
  (type $box (struct (field $value i32)))

  ;; A slot that holds what the host holds.
  (global $outside (mut externref) (ref.null noextern))

  (func $send (param $x anyref)
    (global.set $outside (extern.convert_any (local.get $x))))

  (func $receive (result anyref)
    (any.convert_extern (global.get $outside)))

  ;; Sends a box of $x, litters, and opens the box that comes back.
  (func (export "round_trip") (param $x i32) (result i32)
    (local $i i32)
    (call $send (struct.new $box (local.get $x)))
    (loop $litter
      (global.set $last (struct.new $box (local.get $i)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $litter (i32.lt_u (local.get $i) (i32.const 100000))))
    (struct.get $box $value (ref.cast (ref $box) (call $receive))))
  (global $last (mut (ref null $box)) (ref.null none))

  ;; Is what comes back the object that was sent?
  (func (export "same") (result i32)
    (local $box (ref $box))
    (local.set $box (struct.new $box (i32.const 0)))
    (call $send (local.get $box))
    (ref.eq
      (ref.cast (ref eq) (call $receive))
      (local.get $box)))

  ;; An i31 crosses as well.
  (func (export "small") (param $x i32) (result i32)
    (call $send (ref.i31 (local.get $x)))
    (i31.get_s (ref.cast (ref i31) (call $receive))))

  ;; Null stays null.
  (func (export "null") (result i32)
    (call $send (ref.null none))
    (ref.is_null (call $receive))))
