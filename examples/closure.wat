;; Closure: functions that remember.
;;
;; WebAssembly's functions capture nothing. A compiler makes a closure of two
;; things: a reference to a function, and the values it captured. Here both are in
;; one struct, which the function gets as its first argument.
;;
;; run:
;; out: 1 : i32
;; out: 2 : i32
;; out: 10 : i32
;; out: 3 : i32
;; out: 20 : i32
(module
  (import "spectest" "print_i32" (func $print_i32 (param i32)))

  ;; The two types refer to each other, so they are defined as one group.
  (rec
    (type $code (func (param (ref $closure)) (result i32)))
    (type $closure (sub (struct (field $code (ref $code))))))

  ;; A closure that captured two numbers, one of which it changes.
  (type $counter (sub final $closure (struct
    (field $code (ref $code))
    (field $count (mut i32))
    (field $step i32))))

  ;; A function that `ref.func` names must be declared in some segment.
  (elem declare func $count)

  (func $count (type $code) (param $self (ref $closure)) (result i32)
    (local $counter (ref $counter))
    ;; All the caller knows is that this is a closure; the code knows which one.
    (local.set $counter (ref.cast (ref $counter) (local.get $self)))
    (struct.set $counter $count (local.get $counter)
      (i32.add
        (struct.get $counter $count (local.get $counter))
        (struct.get $counter $step (local.get $counter))))
    (struct.get $counter $count (local.get $counter)))

  (func $make_counter (param $step i32) (result (ref $closure))
    (struct.new $counter
      (ref.func $count)
      (i32.const 0)
      (local.get $step)))

  (func $call (param $f (ref $closure)) (result i32)
    (call_ref $code
      (local.get $f)
      (struct.get $closure $code (local.get $f))))

  (func (export "_start")
    (local $ones (ref $closure))
    (local $tens (ref $closure))
    (local.set $ones (call $make_counter (i32.const 1)))
    (local.set $tens (call $make_counter (i32.const 10)))
    (call $print_i32 (call $call (local.get $ones)))
    (call $print_i32 (call $call (local.get $ones)))
    (call $print_i32 (call $call (local.get $tens)))
    (call $print_i32 (call $call (local.get $ones)))
    (call $print_i32 (call $call (local.get $tens)))))
