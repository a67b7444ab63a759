;; Exceptions: an object is thrown, caught, looked at, and thrown on.
;;
;; A tag says what an exception carries; here it is a reference to an object. While
;; the exception is under way nobody else need hold that object: the collector must
;; find it in the exception. An `exnref` is the exception itself, caught to be thrown
;; again with throw_ref.
;;
;; run:
;; out: 5 : i32
;; out: -1 : i32
;; out: 100 : i32
;; out: -2 : i32
;; run: --invoke divide 84 2
;; out: 42
(module
  (import "spectest" "print_i32" (func $print_i32 (param i32)))

  (type $error (struct (field $dividend i32)))
  (tag $divided_by_zero (param (ref $error)))

  (func $divide (export "divide") (param $a i32) (param $b i32) (result i32)
    (if (i32.eqz (local.get $b))
      (then
        (throw $divided_by_zero (struct.new $error (local.get $a)))))
    (i32.div_s (local.get $a) (local.get $b)))

  ;; The quotient, or -1.
  (func $divide_or_minus_1 (param $a i32) (param $b i32) (result i32)
    (block $caught (result (ref $error))
      ;; The catch clause names a block: an exception branches to its end, with
      ;; what the tag carries.
      (return
        (try_table (result i32) (catch $divided_by_zero $caught)
          (call $divide (local.get $a) (local.get $b)))))
    (drop)
    (i32.const -1))

  ;; The quotient; if there is none, prints the dividend and throws on.
  (func $divide_and_tell (param $a i32) (param $b i32) (result i32)
    (local $error (ref null $error))
    (local $exn exnref)
    (block $caught (result (ref $error) (ref exn))
      ;; catch_ref brings the exception, too.
      (return
        (try_table (result i32) (catch_ref $divided_by_zero $caught)
          (call $divide (local.get $a) (local.get $b)))))
    (local.set $exn)
    (local.set $error)
    (call $print_i32 (struct.get $error $dividend (local.get $error)))
    (throw_ref (local.get $exn)))

  (func (export "_start")
    (call $print_i32 (call $divide_or_minus_1 (i32.const 15) (i32.const 3)))
    (call $print_i32 (call $divide_or_minus_1 (i32.const 15) (i32.const 0)))
    (block $caught
      ;; catch_all takes whatever comes, and brings nothing.
      (try_table (catch_all $caught)
        (call $print_i32 (call $divide_and_tell (i32.const 100) (i32.const 0)))
        (return)))
    (call $print_i32 (i32.const -2))))
