;; table_ops: a table of 4,096 references, read, written, and moved in blocks.
;;
;; Stresses: tables as roots: table.get, table.set, table.copy, table.fill and
;;   table.grow (up to the full size, when the program first runs), with barriers; a
;;   root set of thousands of slots.
;; Knob: n, the number of steps. Each 256th step copies a block of 64 references,
;;   each 1,024th also clears one of 64.
;; Live: up to 4,096 boxes of 16 bytes: 65,536 bytes. Allocates a box a step.
;; Self-check: a box holds the number of the step that made it, which is past.
;; Expect: run(20000) = -1935950682; run(10000000) = -461897857.
(module
  (type $box (struct (field $born i32)))

  (table $boxes 256 4096 (ref null $box))

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

  ;; Grows the table to 4,096 slots, 256 at a time, and empties it.
  (func $prepare
    (loop $again
      (if (i32.lt_u (table.size $boxes) (i32.const 4096))
        (then
          (if (i32.eq
                (table.grow $boxes (ref.null none) (i32.const 256))
                (i32.const -1))
            (then (unreachable)))
          (br $again))))
    (table.fill $boxes (i32.const 0) (ref.null none) (i32.const 4096)))

  (func (export "run") (param $n i32) (result i32)
    (local $i i32)
    (local $r i32)
    (local $sum i32)
    (local $box (ref null $box))
    (global.set $seed (i32.const 0x7f4a7c15))
    (call $prepare)
    (loop $step
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (local.set $r (call $random))
          (table.set $boxes
            (i32.and (local.get $r) (i32.const 4095))
            (struct.new $box (local.get $i)))
          (local.set $box
            (table.get $boxes
              (i32.and
                (i32.shr_u (local.get $r) (i32.const 12))
                (i32.const 4095))))
          (if (i32.eqz (ref.is_null (local.get $box)))
            (then
              (if (i32.gt_u
                    (struct.get $box $born (local.get $box))
                    (local.get $i))
                (then (unreachable)))
              (local.set $sum
                (i32.add
                  (i32.mul (local.get $sum) (i32.const 31))
                  (struct.get $box $born (local.get $box))))))
          (if (i32.eqz (i32.and (local.get $i) (i32.const 255)))
            (then
              ;; The blocks may overlap.
              (table.copy $boxes $boxes
                (i32.and
                  (i32.shr_u (local.get $r) (i32.const 8))
                  (i32.const 2047))
                (i32.and
                  (i32.shr_u (local.get $r) (i32.const 20))
                  (i32.const 2047))
                (i32.const 64))
              (if (i32.eqz (i32.and (local.get $i) (i32.const 1023)))
                (then
                  (table.fill $boxes
                    (i32.and (local.get $r) (i32.const 2047))
                    (ref.null none)
                    (i32.const 64))))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $step))))
    (table.fill $boxes (i32.const 0) (ref.null none) (i32.const 4096))
    (local.get $sum)))
