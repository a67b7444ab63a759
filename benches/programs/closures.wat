;; closures: objects that carry code, as compilers of functional languages make them:
;; a struct with a funcref and what it captured. 256 closures are called in random
;; order; each fourth call, by default, first replaces one by a composition of two new
;; ones.
;;
;; Stresses: funcref fields: reading and writing them, call_ref, the cast by which
;;   code finds its captured values.
;; Knob: n, the number of steps. A step calls one closure, a composition two more.
;; Parameter: steps of which one replaces a closure, 1 or more; 4 by default.
;; Live: 256 slots and their notes (arrays of 1,036 bytes); in each slot a closure of
;;   24 bytes that refers to two of 16 (a funcref counted as 4 bytes): 770 objects,
;;   16,416 bytes. Allocates 3/p n closures beyond those.
;; Self-check: a closure's result is computed a second time without calls, from a
;;   note kept beside it.
;; Expect: run(50000) = 1965519653; run(12000000) = 1728753347;
;;   run_with(50000, 1) = -1076837908; run_with(50000, 64) = 899892000.
(module
  (rec
    (type $code (func (param (ref $closure) i32) (result i32)))
    (type $closure (sub (struct (field $code (ref $code))))))
  ;; x + by, x * by
  (type $affine (sub final $closure (struct
    (field $code (ref $code))
    (field $by i32))))
  ;; second(first(x))
  (type $compose (sub final $closure (struct
    (field $code (ref $code))
    (field $first (ref $closure))
    (field $second (ref $closure)))))
  (type $closures (array (mut (ref null $closure))))
  (type $notes (array (mut i32)))

  (elem declare func $add $multiply $composed)

  (global $seed (mut i32) (i32.const 0))

  ;; xorshift32
  (func $random (result i32)
    (local $s i32)
    (local.set $s (global.get $seed))
    (local.set $s (i32.xor (local.get $s) (i32.shl (local.get $s) (i32.const 13))))
    (local.set $s (i32.xor (local.get $s) (i32.shr_u (local.get $s) (i32.const 17))))
    (local.set $s (i32.xor (local.get $s) (i32.shl (local.get $s) (i32.const 5))))
    (global.set $seed (local.get $s))
    (local.get $s))

  (func $add (type $code) (param $self (ref $closure)) (param $x i32) (result i32)
    (i32.add
      (local.get $x)
      (struct.get $affine $by (ref.cast (ref $affine) (local.get $self)))))

  (func $multiply (type $code) (param $self (ref $closure)) (param $x i32) (result i32)
    (i32.mul
      (local.get $x)
      (struct.get $affine $by (ref.cast (ref $affine) (local.get $self)))))

  (func $composed (type $code) (param $self (ref $closure)) (param $x i32) (result i32)
    (local $c (ref $compose))
    (local.set $c (ref.cast (ref $compose) (local.get $self)))
    (call $apply
      (struct.get $compose $second (local.get $c))
      (call $apply
        (struct.get $compose $first (local.get $c))
        (local.get $x))))

  (func $apply (param $f (ref $closure)) (param $x i32) (result i32)
    (call_ref $code
      (local.get $f)
      (local.get $x)
      (struct.get $closure $code (local.get $f))))

  ;; x * (note | 1), then + note, or the other way round if the note is even.
  (func $make (param $note i32) (result (ref $closure))
    (local $add (ref $closure))
    (local $multiply (ref $closure))
    (local.set $add
      (struct.new $affine (ref.func $add) (local.get $note)))
    (local.set $multiply
      (struct.new $affine
        (ref.func $multiply)
        (i32.or (local.get $note) (i32.const 1))))
    (if (result (ref $closure)) (i32.and (local.get $note) (i32.const 1))
      (then
        (struct.new $compose
          (ref.func $composed)
          (local.get $multiply)
          (local.get $add)))
      (else
        (struct.new $compose
          (ref.func $composed)
          (local.get $add)
          (local.get $multiply)))))

  ;; What the closure for $note must return.
  (func $expected (param $note i32) (param $x i32) (result i32)
    (if (result i32) (i32.and (local.get $note) (i32.const 1))
      (then
        (i32.add
          (i32.mul (local.get $x) (local.get $note))
          (local.get $note)))
      (else
        (i32.mul
          (i32.add (local.get $x) (local.get $note))
          (i32.or (local.get $note) (i32.const 1))))))

  (func $run_with (export "run_with") (param $n i32) (param $every i32) (result i32)
    (local $closures (ref $closures))
    (local $notes (ref $notes))
    (local $i i32)
    ;; Steps until the next closure is replaced.
    (local $wait i32)
    (local $r i32)
    (local $slot i32)
    (local $x i32)
    (local $y i32)
    (if (i32.eqz (local.get $every)) (then (unreachable)))
    (global.set $seed (i32.const 0x510e527f))
    (local.set $closures (array.new_default $closures (i32.const 256)))
    (local.set $notes (array.new_default $notes (i32.const 256)))
    (loop $fill
      (array.set $closures (local.get $closures) (local.get $i)
        (call $make (local.get $i)))
      (array.set $notes (local.get $notes) (local.get $i) (local.get $i))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $fill (i32.lt_u (local.get $i) (i32.const 256))))
    (local.set $i (i32.const 0))
    (loop $step
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (local.set $r (call $random))
          (if (i32.eqz (local.get $wait))
            (then
              (local.set $wait (local.get $every))
              (local.set $slot
                (i32.and
                  (i32.shr_u (local.get $r) (i32.const 8))
                  (i32.const 255)))
              (array.set $closures (local.get $closures) (local.get $slot)
                (call $make (local.get $r)))
              (array.set $notes (local.get $notes) (local.get $slot)
                (local.get $r))))
          (local.set $wait (i32.sub (local.get $wait) (i32.const 1)))
          (local.set $slot (i32.and (local.get $r) (i32.const 255)))
          (local.set $y
            (call $apply
              (ref.as_non_null
                (array.get $closures (local.get $closures) (local.get $slot)))
              (local.get $x)))
          (if (i32.ne
                (local.get $y)
                (call $expected
                  (array.get $notes (local.get $notes) (local.get $slot))
                  (local.get $x)))
            (then (unreachable)))
          (local.set $x (i32.add (local.get $y) (local.get $i)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $step))))
    (local.get $x))

  (func (export "run") (param $n i32) (result i32)
    (call $run_with (local.get $n) (i32.const 4))))
