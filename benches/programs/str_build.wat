;; str_build: writes 0,1,2,... in decimal. Each number becomes a string of its own,
;; which is appended to a buffer that doubles when full; a buffer of more than 4,096
;; bytes, by default, becomes a string, and the 32 youngest of those stay.
;;
;; Stresses: byte arrays: many small ones of odd sizes that die at once, buffers
;;   that are outgrown, strings that stay a while; array.copy of few bytes.
;; Knob: n, the number of numbers.
;; Parameter: bytes from which on a buffer becomes a string, 0 to 1,000,000; 4,096 by
;;   default.
;; Live: 32 strings of about 4,110 bytes, their array (140 bytes), and a buffer of
;;   up to 8,192 bytes: 34 objects, about 140 kB. Allocates a string of 16 to 24
;;   bytes a number, and for about each 500 numbers 10 buffers of 16,528 bytes in
;;   all and a string of about 4,115 bytes.
;; Self-check: what was written is parsed back; the sum must be right.
;; Expect: run(20000) = 1124246972; run(5000000) = 1152130419;
;;   run_with(20000, 0) = -1654637464; run_with(20000, 100000) = -414305200.
(module
  (type $string (array (mut i8)))
  (type $strings (array (mut (ref null $string))))

  ;; The buffer and how much of it is used.
  (global $buffer (mut (ref null $string)) (ref.null none))
  (global $used (mut i32) (i32.const 0))

  (func $decimal (param $x i32) (result (ref $string))
    (local $s (ref $string))
    (local $digits i32)
    (local $rest i32)
    (local.set $rest (local.get $x))
    (loop $count
      (local.set $digits (i32.add (local.get $digits) (i32.const 1)))
      (local.set $rest (i32.div_u (local.get $rest) (i32.const 10)))
      (br_if $count (local.get $rest)))
    (local.set $s (array.new_default $string (local.get $digits)))
    (loop $next
      (local.set $digits (i32.sub (local.get $digits) (i32.const 1)))
      (array.set $string (local.get $s) (local.get $digits)
        (i32.add
          (i32.const 48) ;; 0
          (i32.rem_u (local.get $x) (i32.const 10))))
      (local.set $x (i32.div_u (local.get $x) (i32.const 10)))
      (br_if $next (local.get $digits)))
    (local.get $s))

  ;; Makes room for $more bytes.
  (func $reserve (param $more i32)
    (local $new (ref $string))
    (local $len i32)
    (local.set $more (i32.add (local.get $more) (global.get $used)))
    (local.set $len (array.len (global.get $buffer)))
    (if (i32.gt_u (local.get $more) (local.get $len))
      (then
        (loop $double
          (local.set $len (i32.shl (local.get $len) (i32.const 1)))
          (br_if $double (i32.gt_u (local.get $more) (local.get $len))))
        (local.set $new (array.new_default $string (local.get $len)))
        (array.copy $string $string
          (local.get $new) (i32.const 0)
          (global.get $buffer) (i32.const 0)
          (global.get $used))
        (global.set $buffer (local.get $new)))))

  (func $append (param $s (ref $string))
    (call $reserve (array.len (local.get $s)))
    (array.copy $string $string
      (global.get $buffer) (global.get $used)
      (local.get $s) (i32.const 0)
      (array.len (local.get $s)))
    (global.set $used
      (i32.add (global.get $used) (array.len (local.get $s)))))

  (func $append_byte (param $b i32)
    (call $reserve (i32.const 1))
    (array.set $string (global.get $buffer) (global.get $used) (local.get $b))
    (global.set $used (i32.add (global.get $used) (i32.const 1))))

  (func $clear
    (global.set $buffer (array.new_default $string (i32.const 16)))
    (global.set $used (i32.const 0)))

  ;; The buffer as a string; the buffer is new then.
  (func $finish (result (ref $string))
    (local $s (ref $string))
    (local.set $s (array.new_default $string (global.get $used)))
    (array.copy $string $string
      (local.get $s) (i32.const 0)
      (global.get $buffer) (i32.const 0)
      (global.get $used))
    (call $clear)
    (local.get $s))

  ;; FNV-1a
  (func $hash (param $s (ref $string)) (result i32)
    (local $h i32)
    (local $i i32)
    (local.set $h (i32.const 0x811c9dc5))
    (loop $next
      (if (i32.lt_u (local.get $i) (array.len (local.get $s)))
        (then
          (local.set $h
            (i32.mul
              (i32.xor
                (local.get $h)
                (array.get_u $string (local.get $s) (local.get $i)))
              (i32.const 0x01000193)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next))))
    (local.get $h))

  ;; The sum of the numbers in $s, each of which a comma ends.
  (func $parse (param $s (ref $string)) (result i32)
    (local $i i32)
    (local $b i32)
    (local $x i32)
    (local $sum i32)
    (loop $next
      (if (i32.lt_u (local.get $i) (array.len (local.get $s)))
        (then
          (local.set $b (array.get_u $string (local.get $s) (local.get $i)))
          (if (i32.eq (local.get $b) (i32.const 44)) ;; ,
            (then
              (local.set $sum (i32.add (local.get $sum) (local.get $x)))
              (local.set $x (i32.const 0)))
            (else
              (local.set $x
                (i32.add
                  (i32.mul (local.get $x) (i32.const 10))
                  (i32.sub (local.get $b) (i32.const 48))))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next))))
    (local.get $sum))

  (func $run_with (export "run_with") (param $n i32) (param $bytes i32) (result i32)
    (local $strings (ref $strings))
    (local $s (ref $string))
    (local $i i32)
    (local $made i32)
    (local $hash i32)
    (local $parsed i32)
    (local $expected i32)
    (if (i32.gt_u (local.get $bytes) (i32.const 1000000)) (then (unreachable)))
    (local.set $strings (array.new_default $strings (i32.const 32)))
    (call $clear)
    (loop $next
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (call $append (call $decimal (local.get $i)))
          (call $append_byte (i32.const 44))
          (local.set $expected (i32.add (local.get $expected) (local.get $i)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (if (i32.or
                (i32.gt_u (global.get $used) (local.get $bytes))
                (i32.eq (local.get $i) (local.get $n)))
            (then
              (local.set $s (call $finish))
              (array.set $strings (local.get $strings)
                (i32.and (local.get $made) (i32.const 31))
                (local.get $s))
              (local.set $made (i32.add (local.get $made) (i32.const 1)))
              (local.set $parsed
                (i32.add (local.get $parsed) (call $parse (local.get $s))))
              (local.set $hash
                (i32.add
                  (i32.mul (local.get $hash) (i32.const 31))
                  (call $hash (local.get $s))))))
          (br $next))))
    (if (i32.ne (local.get $parsed) (local.get $expected))
      (then (unreachable)))
    ;; The strings that stayed still hold digits and commas.
    (local.set $i (i32.const 0))
    (loop $kept
      (if (i32.and
            (i32.lt_u (local.get $i) (i32.const 32))
            (i32.lt_u (local.get $i) (local.get $made)))
        (then
          (local.set $s
            (ref.as_non_null
              (array.get $strings (local.get $strings) (local.get $i))))
          (if (i32.ne
                (array.get_u $string (local.get $s)
                  (i32.sub (array.len (local.get $s)) (i32.const 1)))
                (i32.const 44))
            (then (unreachable)))
          (local.set $hash
            (i32.xor (local.get $hash) (call $hash (local.get $s))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $kept))))
    (global.set $buffer (ref.null none))
    (local.get $hash))

  (func (export "run") (param $n i32) (result i32)
    (call $run_with (local.get $n) (i32.const 4096))))
