;; survive_mutate: 32,768 old cells, each with an item. Each step makes an item, which dies
;; at once or, at random, takes the place of another; and the items of old cells, picked at
;; random, are swapped.
;;
;; Stresses: survival and pointer writes into old objects, as two dials of one program, to
;;   see where one collector overtakes another. (`survive` and `mutate` have one of them each.)
;; Knob: n, the number of steps.
;; Parameter: how many of 100 items are kept, 0 to 100; 10 by default. A kept item lives while
;;   105 MB / parameter are allocated, in the mean: 10.5 MB by default, 1.05 MB at 100.
;; Second parameter: pointer writes into cells for 100 items, beside those that keep an item, 0
;;   to 10,000; 50 by default. A swap is two writes. It changes neither how much lives nor for
;;   how long, since an item that comes takes the place of one that is picked at random.
;; Live: 32,768 cells of 16 bytes and as many items of 32, an array of 131,084 bytes, and the
;;   item that is new: 65,538 objects, 1,703,984 bytes, whatever the parameters are. Allocates
;;   those and n items.
;; Self-check: an item counts those that had its place before it, and a cell the writes into it;
;;   both sums are known, and so is that of the numbers of all items.
;; Expect: run(40000) = 2127994874; run(4000000) = -1526592360;
;;   run_with(40000, 0) = -1028074773; run_with(40000, 100) = -361491027;
;;   run_with_both(40000, 10, 0) = 492312066; run_with_both(40000, 10, 400) = 1960543463.
(module
  (type $item (struct
    (field $age i32)
    (field $number i64)
    (field $both i32)))
  (type $cell (struct
    (field $item (mut (ref $item)))
    (field $writes (mut i32))))
  (type $cells (array (mut (ref null $cell))))

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

  (func $make (param $age i32) (param $number i32) (result (ref $item))
    (struct.new $item
      (local.get $age)
      (i64.extend_i32_u (local.get $number))
      (i32.xor (local.get $age) (local.get $number))))

  (func $pick (param $cells (ref $cells)) (result (ref $cell))
    (ref.as_non_null
      (array.get $cells (local.get $cells)
        (i32.and (call $random) (i32.const 32767)))))

  (func $put (param $cell (ref $cell)) (param $item (ref $item))
    (struct.set $cell $item (local.get $cell) (local.get $item))
    (struct.set $cell $writes (local.get $cell)
      (i32.add (struct.get $cell $writes (local.get $cell)) (i32.const 1))))

  ;; The number of an item, whose fields fit each other.
  (func $number (param $item (ref $item)) (result i32)
    (local $number i32)
    (local.set $number (i32.wrap_i64 (struct.get $item $number (local.get $item))))
    (if (i32.ne
          (i32.xor (struct.get $item $age (local.get $item)) (local.get $number))
          (struct.get $item $both (local.get $item)))
      (then (unreachable)))
    (local.get $number))

  (func $run_with_both (export "run_with_both")
      (param $n i32) (param $survival i32) (param $mutation i32) (result i32)
    (local $cells (ref $cells))
    (local $new (ref $item))
    (local $old (ref $item))
    (local $a (ref $cell))
    (local $b (ref $cell))
    (local $i i32)
    (local $bound i32)
    (local $due i32)
    (local $kept i32)
    (local $writes i32)
    (local $numbers i32)
    (local $sum i32)
    (if (i32.gt_u (local.get $survival) (i32.const 100)) (then (unreachable)))
    (if (i32.gt_u (local.get $mutation) (i32.const 10000)) (then (unreachable)))
    (global.set $seed (i32.const 0x510e527f))
    (local.set $cells (array.new_default $cells (i32.const 32768)))
    (loop $fill
      (array.set $cells (local.get $cells) (local.get $i)
        (struct.new $cell (call $make (i32.const 0) (local.get $i)) (i32.const 0)))
      (local.set $numbers (i32.add (local.get $numbers) (local.get $i)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $fill (i32.lt_u (local.get $i) (i32.const 32768))))

    ;; A random number of 16 bits is below this as often as the parameter says.
    (local.set $bound
      (i32.div_u (i32.shl (local.get $survival) (i32.const 16)) (i32.const 100)))
    (local.set $i (i32.const 0))
    (loop $step
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (local.set $a (call $pick (local.get $cells)))
          (local.set $old (struct.get $cell $item (local.get $a)))
          (local.set $new
            (call $make
              (i32.add (struct.get $item $age (local.get $old)) (i32.const 1))
              (i32.add (local.get $i) (i32.const 32768))))
          (if (i32.lt_u
                (i32.and (call $random) (i32.const 65535))
                (local.get $bound))
            (then
              (local.set $numbers
                (i32.add
                  (i32.sub (local.get $numbers) (call $number (local.get $old)))
                  (call $number (local.get $new))))
              (call $put (local.get $a) (local.get $new))
              (local.set $kept (i32.add (local.get $kept) (i32.const 1)))))

          ;; One swap for each 200 of hundredths of a write.
          (local.set $due (i32.add (local.get $due) (local.get $mutation)))
          (loop $swap
            (if (i32.ge_u (local.get $due) (i32.const 200))
              (then
                (local.set $due (i32.sub (local.get $due) (i32.const 200)))
                (local.set $a (call $pick (local.get $cells)))
                (local.set $b (call $pick (local.get $cells)))
                (local.set $old (struct.get $cell $item (local.get $a)))
                (local.set $sum
                  (i32.add
                    (i32.mul (local.get $sum) (i32.const 31))
                    (call $number (local.get $old))))
                (call $put (local.get $a) (struct.get $cell $item (local.get $b)))
                (call $put (local.get $b) (local.get $old))
                (local.set $writes (i32.add (local.get $writes) (i32.const 2)))
                (br $swap))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $step))))

    ;; What was counted beside the heap is in it.
    (local.set $writes (i32.add (local.get $writes) (local.get $kept)))
    (local.set $i (i32.const 0))
    (loop $living
      (local.set $a
        (ref.as_non_null (array.get $cells (local.get $cells) (local.get $i))))
      (local.set $old (struct.get $cell $item (local.get $a)))
      (local.set $kept
        (i32.sub (local.get $kept) (struct.get $item $age (local.get $old))))
      (local.set $writes
        (i32.sub (local.get $writes) (struct.get $cell $writes (local.get $a))))
      (local.set $numbers
        (i32.sub (local.get $numbers) (call $number (local.get $old))))
      (local.set $sum
        (i32.add
          (i32.mul (local.get $sum) (i32.const 31))
          (call $number (local.get $old))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $living (i32.lt_u (local.get $i) (i32.const 32768))))
    (if (i32.or (i32.or (local.get $kept) (local.get $writes)) (local.get $numbers))
      (then (unreachable)))
    (local.get $sum))

  (func $run_with (export "run_with") (param $n i32) (param $survival i32) (result i32)
    (call $run_with_both (local.get $n) (local.get $survival) (i32.const 50)))

  (func (export "run") (param $n i32) (result i32)
    (call $run_with (local.get $n) (i32.const 10))))
