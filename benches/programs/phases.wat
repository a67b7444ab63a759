;; phases: the live set grows to 16,384 records, is churned at that size, shrinks to a
;; fraction, and is churned at that size; then it grows again.
;;
;; Stresses: heap sizing: whether the heap follows the live set up and down, and what
;;   it costs in collections and in memory.
;; Knob: n, the number of rounds.
;; Parameter: how many times fewer live in the trough, 1 to 16,384; 16 by default.
;; Live: a record is a struct of 16 bytes with an array of 272: 16,384 of them (and an
;;   array of 65,548 bytes) come to 4,784,140 bytes, in the trough to a sixteenth.
;;   Allocates 3 - 1/p times 16,384 records a round.
;; Self-check: a record and its array carry its number and its slot's.
;; Expect: run(1) = 563179464; run(60) = 2093442839; run_with(1, 1) = 326702931;
;;   run_with(1, 16384) = 1809675275.
(module
  (type $bytes (array (mut i8)))
  (type $record (struct (field $number i32) (field $bytes (ref $bytes))))
  (type $records (array (mut (ref null $record))))

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
  (global $records (mut (ref null $records)) (ref.null none))
  ;; Records made so far.
  (global $made (mut i32) (i32.const 0))
  (global $sum (mut i32) (i32.const 0))

  ;; A new record in a slot.
  (func $put (param $slot i32)
    (local $bytes (ref $bytes))
    (local.set $bytes (array.new_default $bytes (i32.const 256)))
    (array.set $bytes (local.get $bytes) (i32.const 0) (local.get $slot))
    (array.set $bytes (local.get $bytes) (i32.const 255) (global.get $made))
    (array.set $records (global.get $records) (local.get $slot)
      (struct.new $record (global.get $made) (local.get $bytes)))
    (global.set $made (i32.add (global.get $made) (i32.const 1))))

  ;; Looks at the record in a slot, which must be there.
  (func $check (param $slot i32)
    (local $record (ref $record))
    (local $bytes (ref $bytes))
    (local.set $record
      (ref.as_non_null
        (array.get $records (global.get $records) (local.get $slot))))
    (local.set $bytes (struct.get $record $bytes (local.get $record)))
    (if (i32.ne
          (array.get_u $bytes (local.get $bytes) (i32.const 0))
          (i32.and (local.get $slot) (i32.const 255)))
      (then (unreachable)))
    (if (i32.ne
          (array.get_u $bytes (local.get $bytes) (i32.const 255))
          (i32.and
            (struct.get $record $number (local.get $record))
            (i32.const 255)))
      (then (unreachable)))
    (global.set $sum
      (i32.add
        (i32.mul (global.get $sum) (i32.const 31))
        (struct.get $record $number (local.get $record)))))

  ;; As many new records as there are slots, into the first $live, at random.
  (func $churn (param $live i32)
    (local $i i32)
    (local $slot i32)
    (loop $next
      (local.set $slot (i32.rem_u (call $random) (local.get $live)))
      (call $check (local.get $slot))
      (call $put (local.get $slot))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (i32.const 16384)))))

  (func $run_with (export "run_with") (param $n i32) (param $fraction i32) (result i32)
    (local $round i32)
    (local $trough i32)
    (local $live i32)
    (if (i32.gt_u
          (i32.sub (local.get $fraction) (i32.const 1))
          (i32.const 16383))
      (then (unreachable)))
    (global.set $seed (i32.const 0x0bb67ae8))
    (global.set $made (i32.const 0))
    (global.set $sum (i32.const 0))
    (global.set $records (array.new_default $records (i32.const 16384)))
    (local.set $trough (i32.div_u (i32.const 16384) (local.get $fraction)))
    (loop $rounds
      (if (i32.lt_u (local.get $round) (local.get $n))
        (then
          (loop $grow
            (if (i32.lt_u (local.get $live) (i32.const 16384))
              (then
                (call $put (local.get $live))
                (local.set $live (i32.add (local.get $live) (i32.const 1)))
                (br $grow))))
          (call $churn (i32.const 16384))
          (loop $shrink
            (if (i32.gt_u (local.get $live) (local.get $trough))
              (then
                (local.set $live (i32.sub (local.get $live) (i32.const 1)))
                (call $check (local.get $live))
                (array.set $records (global.get $records) (local.get $live)
                  (ref.null none))
                (br $shrink))))
          (call $churn (local.get $trough))
          (local.set $round (i32.add (local.get $round) (i32.const 1)))
          (br $rounds))))
    (global.set $records (ref.null none))
    (global.get $sum))

  (func (export "run") (param $n i32) (result i32)
    (call $run_with (local.get $n) (i32.const 16))))
