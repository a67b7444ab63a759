;; awfy_towers: the towers of Hanoi with 13 disks, which are objects in linked piles.
;; After Towers of Are We Fast Yet? (Marr, Daloze, Mössenböck, DLS 2016).
;;
;; Stresses: pointer writes into objects and an array that are older than none; hardly
;;   any allocation: a write barrier's price on a tiny live set.
;; Knob: n, the number of times that the tower is moved.
;; Live: 13 disks of 16 bytes and an array of 28 bytes: 14 objects, 240 bytes.
;;   Allocates as much each time, beside 32,790 writes.
;; Self-check: no disk comes to lie on a smaller one; 8,191 moves each time; in the end
;;   all are where they belong.
;; Expect: run(10) = 81910; run(4000) = 32764000.
(module
  (type $disk (struct
    (field $size i32)
    (field $below (mut (ref null $disk)))))
  (type $piles (array (mut (ref null $disk))))

  (global $piles (mut (ref null $piles)) (ref.null none))
  (global $moves (mut i32) (i32.const 0))

  (func $push (param $disk (ref $disk)) (param $pile i32)
    (local $top (ref null $disk))
    (local.set $top (array.get $piles (global.get $piles) (local.get $pile)))
    (if (i32.eqz (ref.is_null (local.get $top)))
      (then
        (if (i32.ge_u
              (struct.get $disk $size (local.get $disk))
              (struct.get $disk $size (local.get $top)))
          (then (unreachable)))))
    (struct.set $disk $below (local.get $disk) (local.get $top))
    (array.set $piles (global.get $piles) (local.get $pile) (local.get $disk)))

  (func $pop (param $pile i32) (result (ref $disk))
    (local $top (ref $disk))
    (local.set $top
      (ref.as_non_null
        (array.get $piles (global.get $piles) (local.get $pile))))
    (array.set $piles (global.get $piles) (local.get $pile)
      (struct.get $disk $below (local.get $top)))
    (struct.set $disk $below (local.get $top) (ref.null none))
    (local.get $top))

  (func $move (param $disks i32) (param $from i32) (param $to i32)
    (local $other i32)
    (if (i32.eq (local.get $disks) (i32.const 1))
      (then
        (call $push (call $pop (local.get $from)) (local.get $to))
        (global.set $moves (i32.add (global.get $moves) (i32.const 1))))
      (else
        (local.set $other
          (i32.sub (i32.sub (i32.const 3) (local.get $from)) (local.get $to)))
        (local.set $disks (i32.sub (local.get $disks) (i32.const 1)))
        (call $move (local.get $disks) (local.get $from) (local.get $other))
        (call $move (i32.const 1) (local.get $from) (local.get $to))
        (call $move (local.get $disks) (local.get $other) (local.get $to)))))

  (func (export "run") (param $n i32) (result i32)
    (local $i i32)
    (local $size i32)
    (local $sum i32)
    (loop $again
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (global.set $piles (array.new_default $piles (i32.const 3)))
          (global.set $moves (i32.const 0))
          (local.set $size (i32.const 13))
          (loop $build
            (call $push
              (struct.new $disk (local.get $size) (ref.null none))
              (i32.const 0))
            (local.set $size (i32.sub (local.get $size) (i32.const 1)))
            (br_if $build (local.get $size)))
          (call $move (i32.const 13) (i32.const 0) (i32.const 1))
          (if (i32.ne (global.get $moves) (i32.const 8191)) (then (unreachable)))
          (loop $check
            (local.set $size (i32.add (local.get $size) (i32.const 1)))
            (if (i32.ne
                  (struct.get $disk $size (call $pop (i32.const 1)))
                  (local.get $size))
              (then (unreachable)))
            (br_if $check (i32.lt_u (local.get $size) (i32.const 13))))
          (local.set $sum (i32.add (local.get $sum) (global.get $moves)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $again))))
    (global.set $piles (ref.null none))
    (local.get $sum)))
