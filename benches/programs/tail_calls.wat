;; tail_calls: a machine of three states that call each other over a table, and
;; recursion turned into continuations: frames on the heap instead of the stack.
;;
;; Stresses: return_call, return_call_indirect and return_call_ref with references
;;   among the arguments; stack maps where frames replace each other; chains of up
;;   to 1,000 frames that are made, then used up.
;; Knob: n, the number of steps of each of the two parts.
;; Live: a counter of 16 bytes; a chain of up to 1,001 frames of 24 bytes (a funcref
;;   counted as 4 bytes). Allocates n frames (n rounded up to a thousand) and one
;;   for each thousand.
;; Self-check: the states were visited in turn; the sums have a closed form.
;; Expect: run(20000) = 104398866; run(20000000) = -1210564990.
(module
  (rec
    (type $code (func (param (ref $frame) i32) (result i32)))
    (type $frame (struct
      (field $code (ref $code))
      (field $next (ref null $frame))
      (field $value i32))))
  (type $counter (struct
    (field $steps (mut i32))
    (field $mark (mut i32))))
  (type $state (func (param (ref $counter) i32) (result i32)))

  (table $states funcref (elem $a $b $c))
  (elem declare func $add $done)

  ;; Counts a step; the mark must be the state before.
  (func $count (param $counter (ref $counter)) (param $from i32) (param $to i32)
    (if (i32.ne (struct.get $counter $mark (local.get $counter)) (local.get $from))
      (then (unreachable)))
    (struct.set $counter $mark (local.get $counter) (local.get $to))
    (struct.set $counter $steps (local.get $counter)
      (i32.add
        (struct.get $counter $steps (local.get $counter))
        (i32.const 1))))

  ;; Each state goes on to the next while $left lasts.
  (func $a (type $state) (param $counter (ref $counter)) (param $left i32) (result i32)
    (if (i32.eqz (local.get $left))
      (then (return (i32.const 0))))
    (call $count (local.get $counter) (i32.const 2) (i32.const 0))
    (return_call_indirect $states (type $state)
      (local.get $counter)
      (i32.sub (local.get $left) (i32.const 1))
      (i32.const 1)))
  (func $b (type $state) (param $counter (ref $counter)) (param $left i32) (result i32)
    (if (i32.eqz (local.get $left))
      (then (return (i32.const 1))))
    (call $count (local.get $counter) (i32.const 0) (i32.const 1))
    (return_call_indirect $states (type $state)
      (local.get $counter)
      (i32.sub (local.get $left) (i32.const 1))
      (i32.const 2)))
  (func $c (type $state) (param $counter (ref $counter)) (param $left i32) (result i32)
    (if (i32.eqz (local.get $left))
      (then (return (i32.const 2))))
    (call $count (local.get $counter) (i32.const 1) (i32.const 2))
    (return_call $a
      (local.get $counter)
      (i32.sub (local.get $left) (i32.const 1))))

  ;; $i + ($i - 1) + ... + 1, handed to $then: what is to be added later waits
  ;; in a frame.
  (func $sum (param $i i32) (param $then (ref $frame)) (result i32)
    (if (i32.eqz (local.get $i))
      (then
        (return_call_ref $code
          (local.get $then)
          (i32.const 0)
          (struct.get $frame $code (local.get $then)))))
    (return_call $sum
      (i32.sub (local.get $i) (i32.const 1))
      (struct.new $frame (ref.func $add) (local.get $then) (local.get $i))))

  ;; Adds its value and goes on to the next frame.
  (func $add (type $code) (param $self (ref $frame)) (param $x i32) (result i32)
    (local $next (ref $frame))
    (local.set $next
      (ref.as_non_null (struct.get $frame $next (local.get $self))))
    (return_call_ref $code
      (local.get $next)
      (i32.add (local.get $x) (struct.get $frame $value (local.get $self)))
      (struct.get $frame $code (local.get $next))))

  ;; The last frame.
  (func $done (type $code) (param $self (ref $frame)) (param $x i32) (result i32)
    (i32.add (local.get $x) (struct.get $frame $value (local.get $self))))

  (func (export "run") (param $n i32) (result i32)
    (local $counter (ref $counter))
    (local $last i32)
    (local $i i32)
    (local $x i32)
    (local $sum i32)
    (local.set $counter (struct.new $counter (i32.const 0) (i32.const 2)))
    (local.set $last (call $a (local.get $counter) (local.get $n)))
    (if (i32.ne (struct.get $counter $steps (local.get $counter)) (local.get $n))
      (then (unreachable)))
    (if (i32.ne (local.get $last) (i32.rem_u (local.get $n) (i32.const 3)))
      (then (unreachable)))
    (loop $thousand
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (local.set $x
            (call $sum
              (i32.const 1000)
              (struct.new $frame
                (ref.func $done)
                (ref.null none)
                (local.get $i))))
          (if (i32.ne
                (local.get $x)
                (i32.add (i32.const 500500) (local.get $i)))
            (then (unreachable)))
          (local.set $sum
            (i32.add
              (i32.mul (local.get $sum) (i32.const 31))
              (local.get $x)))
          (local.set $i (i32.add (local.get $i) (i32.const 1000)))
          (br $thousand))))
    (i32.add (local.get $sum) (local.get $last))))
