;; indirect_calls: functions of three signatures, called over a table and through
;; references, in an order that changes.
;;
;; Stresses: call_indirect with its checks of bounds, null and signature, on final types
;;   and on one with a subtype; call_ref; table.get and table.set of function references.
;; Knob: n, the number of rounds of six calls.
;; Live: a table of 16 functions.
;; Self-check: every 1,024 rounds two of the calls are repeated directly.
;; Expect: run(20000) = 319192734; run(30000000) = 1558761530.
(module
  (type $unary (func (param i32) (result i32)))
  (type $binary (func (param i32 i32) (result i32)))
  (type $open (sub (func (param i64) (result i64))))
  (type $below (sub $open (func (param i64) (result i64))))

  (table $table 16 16 funcref)
  (elem (table $table) (i32.const 0) func
    $double $negate $triple $rotate
    $add $mix $sub $xor
    $widen $narrow $widen $narrow)
  (table $unaries 4 4 (ref null $unary))
  (elem (table $unaries) (i32.const 0) (ref null $unary)
    (item ref.func $double) (item ref.func $negate) (item ref.func $triple) (item ref.func $rotate))

  (func $double (type $unary) (i32.shl (local.get 0) (i32.const 1)))
  (func $negate (type $unary) (i32.sub (i32.const 0) (local.get 0)))
  (func $triple (type $unary) (i32.mul (local.get 0) (i32.const 3)))
  (func $rotate (type $unary) (i32.rotl (local.get 0) (i32.const 9)))
  (func $add (type $binary) (i32.add (local.get 0) (local.get 1)))
  (func $mix (type $binary) (i32.xor (i32.rotl (local.get 0) (i32.const 5)) (local.get 1)))
  (func $sub (type $binary) (i32.sub (local.get 0) (local.get 1)))
  (func $xor (type $binary) (i32.xor (local.get 0) (local.get 1)))
  (func $widen (type $open) (i64.mul (local.get 0) (i64.const 6364136223846793005)))
  (func $narrow (type $below) (i64.add (local.get 0) (i64.const 1442695040888963407)))

  ;; What unary function $i gives.
  (func $direct (param $i i32) (param $x i32) (result i32)
    (block $rotate (block $triple (block $negate (block $double
      (br_table $double $negate $triple $rotate (local.get $i)))
      (return (call $double (local.get $x))))
      (return (call $negate (local.get $x))))
      (return (call $triple (local.get $x))))
    (call $rotate (local.get $x)))

  (func (export "run") (param $n i32) (result i32)
    (local $i i32) (local $x i32) (local $y i64) (local $f (ref null $unary))
    (local.set $x (i32.const 1))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $i) (local.get $n)))
        ;; Two unary functions over the table, one through a reference.
        (local.set $x
          (call_indirect $table (type $unary) (local.get $x) (i32.and (local.get $i) (i32.const 3))))
        (local.set $x
          (call_indirect $unaries (type $unary) (local.get $x)
            (i32.and (i32.shr_u (local.get $i) (i32.const 2)) (i32.const 3))))
        (local.set $f (table.get $unaries (i32.and (i32.shr_u (local.get $i) (i32.const 4)) (i32.const 3))))
        (local.set $x (call_ref $unary (local.get $x) (local.get $f)))
        (local.set $x
          (call_indirect $table (type $binary) (local.get $x) (local.get $i)
            (i32.add (i32.and (local.get $i) (i32.const 3)) (i32.const 4))))
        ;; Both types: the table's check allows the subtype.
        (local.set $y
          (call_indirect $table (type $open) (local.get $y)
            (i32.add (i32.and (local.get $i) (i32.const 3)) (i32.const 8))))
        (local.set $y
          (call_indirect $table (type $below) (local.get $y)
            (i32.or (i32.and (local.get $i) (i32.const 2)) (i32.const 9))))
        ;; Now and then, the same without the table.
        (if (i32.eqz (i32.and (local.get $i) (i32.const 1023)))
          (then
            (if (i32.ne
                  (call $direct (i32.const 1) (local.get $x))
                  (call_indirect $table (type $unary) (local.get $x) (i32.const 1)))
              (then (unreachable)))
            (if (i32.ne
                  (call $direct (i32.const 3) (local.get $x))
                  (call_indirect $unaries (type $unary) (local.get $x) (i32.const 3)))
              (then (unreachable)))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
    (i32.add (local.get $x) (i32.wrap_i64 (i64.shr_u (local.get $y) (i64.const 32))))))
