;; awfy_permute: all permutations of six boxed numbers in an array, by swaps. After
;; Permute of Are We Fast Yet? (Marr, Daloze, Mössenböck, DLS 2016).
;;
;; Stresses: array.get and array.set of references, recursion; hardly any allocation:
;;   a write barrier's price on a tiny live set.
;; Knob: n, the number of times that all permutations are made.
;; Live: 6 numbers of 16 bytes and an array of 40 bytes: 7 objects, 136 bytes.
;;   Allocates as much each time, beside 10,394 writes.
;; Self-check: 8,660 calls each time; the numbers stand as they stood at the end.
;; Expect: run(10) = 1110; run(8000) = 888000.
(module
  (type $number (struct (field $value i32)))
  (type $numbers (array (mut (ref null $number))))

  (global $count (mut i32) (i32.const 0))
  (global $numbers (mut (ref null $numbers)) (ref.null none))

  (func $swap (param $i i32) (param $j i32)
    (local $kept (ref null $number))
    (local.set $kept (array.get $numbers (global.get $numbers) (local.get $i)))
    (array.set $numbers (global.get $numbers) (local.get $i)
      (array.get $numbers (global.get $numbers) (local.get $j)))
    (array.set $numbers (global.get $numbers) (local.get $j) (local.get $kept)))

  (func $permute (param $n i32)
    (local $last i32)
    (local $i i32)
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (if (local.get $n)
      (then
        (local.set $last (i32.sub (local.get $n) (i32.const 1)))
        (call $permute (local.get $last))
        (local.set $i (local.get $last))
        (loop $down
          (call $swap (local.get $last) (local.get $i))
          (call $permute (local.get $last))
          (call $swap (local.get $last) (local.get $i))
          (local.set $i (i32.sub (local.get $i) (i32.const 1)))
          (br_if $down (i32.ge_s (local.get $i) (i32.const 0)))))))

  (func (export "run") (param $n i32) (result i32)
    (local $round i32)
    (local $i i32)
    (local $sum i32)
    (loop $again
      (if (i32.lt_u (local.get $round) (local.get $n))
        (then
          (global.set $numbers (array.new_default $numbers (i32.const 6)))
          (local.set $i (i32.const 0))
          (loop $fill
            (array.set $numbers (global.get $numbers) (local.get $i)
              (struct.new $number (i32.add (local.get $i) (i32.const 16))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $fill (i32.lt_u (local.get $i) (i32.const 6))))
          (global.set $count (i32.const 0))
          (call $permute (i32.const 6))
          (if (i32.ne (global.get $count) (i32.const 8660)) (then (unreachable)))
          (local.set $i (i32.const 0))
          (loop $check
            (if (i32.ne
                  (struct.get $number $value
                    (array.get $numbers (global.get $numbers) (local.get $i)))
                  (i32.add (local.get $i) (i32.const 16)))
              (then (unreachable)))
            (local.set $sum
              (i32.add
                (local.get $sum)
                (struct.get $number $value
                  (array.get $numbers (global.get $numbers) (local.get $i)))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $check (i32.lt_u (local.get $i) (i32.const 6))))
          (local.set $round (i32.add (local.get $round) (i32.const 1)))
          (br $again))))
    (global.set $numbers (ref.null none))
    (local.get $sum)))
