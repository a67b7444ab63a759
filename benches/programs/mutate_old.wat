;; mutate_old: 65,536 old cells, each with an item. Three steps in four put a new
;; item into a cell picked at random; each fourth swaps the items of two cells.
;;
;; Stresses: the write barrier and the remembered set: old-to-young writes all
;;   over the old generation, old-to-old writes, items that die in random order.
;; Knob: n, the number of steps.
;; Live: 65,536 cells and as many items, 16 bytes each, and an array of 262,156
;;   bytes: 131,073 objects, 2,359,312 bytes. Allocates those and 3/4 n items.
;; Self-check: an item counts the replacements in its line; they sum to 3/4 n.
;; Expect: run(20000) = 1901255312; run(6000000) = 606506800.
(module
  (type $item (struct (field $age i32) (field $born i32)))
  (type $cell (struct (field $item (mut (ref $item)))))
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

  (func $pick (param $cells (ref $cells)) (result (ref $cell))
    (ref.as_non_null
      (array.get $cells (local.get $cells)
        (i32.and (call $random) (i32.const 65535)))))

  (func (export "run") (param $n i32) (result i32)
    (local $cells (ref $cells))
    (local $a (ref $cell))
    (local $b (ref $cell))
    (local $item (ref $item))
    (local $i i32)
    (local $replaced i32)
    (local $ages i32)
    (local $sum i32)
    (global.set $seed (i32.const 0x2545f491))
    (local.set $cells (array.new_default $cells (i32.const 65536)))
    (loop $fill
      (array.set $cells (local.get $cells) (local.get $i)
        (struct.new $cell (struct.new $item (i32.const 0) (local.get $i))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $fill (i32.lt_u (local.get $i) (i32.const 65536))))

    (local.set $i (i32.const 0))
    (loop $step
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (local.set $a (call $pick (local.get $cells)))
          (local.set $item (struct.get $cell $item (local.get $a)))
          (if (i32.eq (i32.and (local.get $i) (i32.const 3)) (i32.const 3))
            (then
              (local.set $b (call $pick (local.get $cells)))
              (struct.set $cell $item (local.get $a)
                (struct.get $cell $item (local.get $b)))
              (struct.set $cell $item (local.get $b) (local.get $item)))
            (else
              (struct.set $cell $item (local.get $a)
                (struct.new $item
                  (i32.add
                    (struct.get $item $age (local.get $item))
                    (i32.const 1))
                  (local.get $i)))
              (local.set $replaced
                (i32.add (local.get $replaced) (i32.const 1)))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $step))))

    (local.set $i (i32.const 0))
    (loop $count
      (local.set $item
        (struct.get $cell $item
          (array.get $cells (local.get $cells) (local.get $i))))
      (local.set $ages
        (i32.add (local.get $ages) (struct.get $item $age (local.get $item))))
      (local.set $sum
        (i32.add
          (i32.mul (local.get $sum) (i32.const 31))
          (struct.get $item $born (local.get $item))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $count (i32.lt_u (local.get $i) (i32.const 65536))))
    (if (i32.ne (local.get $ages) (local.get $replaced))
      (then (unreachable)))
    (local.get $sum)))
