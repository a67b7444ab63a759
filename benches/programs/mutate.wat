;; mutate: 16,384 old cells. Each step makes an item and writes it into a number of
;; cells picked at random.
;;
;; Stresses: the write barrier, with pointer writes an allocation as a dial.
;;   (`mutate_old` has a fixed mix that swaps, too.)
;; Knob: n, the number of steps.
;; Parameter: cells written in a step, 0 to 1,000; 4 by default. At 0 each item dies at
;;   once, at p it dies when p cells picked at random have all been written again.
;; Live: 16,384 cells of 16 bytes, at most as many items of 16, and an array of 65,548
;;   bytes: 589,836 bytes. Allocates n items.
;; Self-check: a cell has the number of its item.
;; Expect: run(20000) = 1466514008; run(5000000) = -1060304054;
;;   run_with(20000, 0) = 996927760; run_with(20000, 32) = 358591964.
(module
  (type $item (struct (field $number i32)))
  (type $cell (struct
    (field $item (mut (ref null $item)))
    (field $number (mut i32))))
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
  ;; The number of a cell's item.
  (func $check (param $cell (ref $cell)) (result i32)
    (local $item (ref null $item))
    (local.set $item (struct.get $cell $item (local.get $cell)))
    (if (i32.eqz (ref.is_null (local.get $item)))
      (then
        (if (i32.ne
              (struct.get $item $number (local.get $item))
              (struct.get $cell $number (local.get $cell)))
          (then (unreachable)))))
    (struct.get $cell $number (local.get $cell)))

  (func $run_with (export "run_with") (param $n i32) (param $writes i32) (result i32)
    (local $cells (ref $cells))
    (local $cell (ref $cell))
    (local $item (ref $item))
    (local $i i32)
    (local $j i32)
    (local $sum i32)
    (if (i32.gt_u (local.get $writes) (i32.const 1000)) (then (unreachable)))
    (global.set $seed (i32.const 0x3af54fa5))
    (local.set $cells (array.new_default $cells (i32.const 16384)))
    (loop $fill
      (array.set $cells (local.get $cells) (local.get $i)
        (struct.new_default $cell))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $fill (i32.lt_u (local.get $i) (i32.const 16384))))
    (local.set $i (i32.const 0))
    (loop $step
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (local.set $item (struct.new $item (local.get $i)))
          (local.set $j (local.get $writes))
          (loop $write
            (if (local.get $j)
              (then
                (local.set $cell
                  (ref.as_non_null
                    (array.get $cells (local.get $cells)
                      (i32.and (call $random) (i32.const 16383)))))
                (local.set $sum
                  (i32.add
                    (i32.mul (local.get $sum) (i32.const 31))
                    (call $check (local.get $cell))))
                (struct.set $cell $item (local.get $cell) (local.get $item))
                (struct.set $cell $number (local.get $cell)
                  (struct.get $item $number (local.get $item)))
                (local.set $j (i32.sub (local.get $j) (i32.const 1)))
                (br $write))))
          (local.set $sum
            (i32.add
              (local.get $sum)
              (struct.get $item $number (local.get $item))))
          (br $step))))
    (local.set $i (i32.const 0))
    (loop $living
      (local.set $sum
        (i32.add
          (i32.mul (local.get $sum) (i32.const 31))
          (call $check
            (ref.as_non_null
              (array.get $cells (local.get $cells) (local.get $i))))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $living (i32.lt_u (local.get $i) (i32.const 16384))))
    (local.get $sum))

  (func (export "run") (param $n i32) (result i32)
    (call $run_with (local.get $n) (i32.const 4))))
