;; Arrays: made, filled and copied in bulk.
;;
;;   array.new_data   from the bytes of a data segment
;;   array.new_elem   from the references of an element segment
;;   array.fill       one value, many times
;;   array.copy       part of one array into another, or into itself
;;
;; run:
;; out: [primes]
;; out: [======]
;; out: [==rim=]
;; out: [=====r]
;; run: --invoke sum_primes
;; out: 58
;; run: --invoke call_each 3
;; out: 15
(module
  (import "spectest" "print_char" (func $print_char (param i32)))

  (type $bytes (array (mut i8)))
  (type $words (array i32))
  (type $function (func (param i32) (result i32)))
  (type $functions (array (ref $function)))

  (data $name "primes")
  ;; 2, 3, 5, 7, 11, 13, 17: four bytes each, the lowest first.
  (data $primes
    "\02\00\00\00" "\03\00\00\00" "\05\00\00\00" "\07\00\00\00"
    "\0b\00\00\00" "\0d\00\00\00" "\11\00\00\00")
  (elem $functions (ref $function) (ref.func $double) (ref.func $square))

  (func $double (type $function) (param $x i32) (result i32)
    (i32.mul (local.get $x) (i32.const 2)))
  (func $square (type $function) (param $x i32) (result i32)
    (i32.mul (local.get $x) (local.get $x)))

  (func $print (param $text (ref $bytes))
    (local $i i32)
    (call $print_char (i32.const 91)) ;; [
    (loop $next
      (if (i32.lt_u (local.get $i) (array.len (local.get $text)))
        (then
          (call $print_char
            (array.get_u $bytes (local.get $text) (local.get $i)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next))))
    (call $print_char (i32.const 93)) ;; ]
    (call $print_char (i32.const 10)))

  (func (export "_start")
    (local $name (ref $bytes))
    (local $line (ref $bytes))
    (local.set $name
      (array.new_data $bytes $name (i32.const 0) (i32.const 6)))
    (call $print (local.get $name))

    ;; Six zeros, of which fill makes equals signs.
    (local.set $line (array.new_default $bytes (i32.const 6)))
    (array.fill $bytes
      (local.get $line) (i32.const 0) ;; where
      (i32.const 61)                  ;; what: =
      (i32.const 6))                  ;; how many
    (call $print (local.get $line))

    (array.copy $bytes $bytes
      (local.get $line) (i32.const 2) ;; to
      (local.get $name) (i32.const 1) ;; from
      (i32.const 3))                  ;; how many
    (call $print (local.get $line))

    ;; Within one array it works as if by way of a third, though the parts overlap.
    (array.copy $bytes $bytes
      (local.get $line) (i32.const 3)
      (local.get $line) (i32.const 0)
      (i32.const 3))
    (array.fill $bytes
      (local.get $line) (i32.const 0) (i32.const 61) (i32.const 3))
    (call $print (local.get $line)))

  (func (export "sum_primes") (result i32)
    (local $primes (ref $words))
    (local $i i32)
    (local $sum i32)
    ;; The offset counts bytes, the length elements.
    (local.set $primes
      (array.new_data $words $primes (i32.const 0) (i32.const 7)))
    (loop $next
      (local.set $sum
        (i32.add
          (local.get $sum)
          (array.get $words (local.get $primes) (local.get $i))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next
        (i32.lt_u (local.get $i) (array.len (local.get $primes)))))
    (local.get $sum))

  ;; $x doubled, plus $x squared: an array can hold functions.
  (func (export "call_each") (param $x i32) (result i32)
    (local $functions (ref $functions))
    (local.set $functions
      (array.new_elem $functions $functions (i32.const 0) (i32.const 2)))
    (i32.add
      (call_ref $function
        (local.get $x)
        (array.get $functions (local.get $functions) (i32.const 0)))
      (call_ref $function
        (local.get $x)
        (array.get $functions (local.get $functions) (i32.const 1))))))
