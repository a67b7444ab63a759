;; awfy_queens: places eight queens on a chess board, by backtracking. After Queens of
;; Are We Fast Yet? (Marr, Daloze, Mössenböck, DLS 2016); the arrays hold i31
;; references, as those of a language in which all values are objects.
;;
;; Stresses: arrays of i31 references, tests and casts of these, recursion; little
;;   allocation.
;; Knob: n, the number of times that the queens are placed.
;; Live: arrays of 8, 16, 16 and 8 references, 44 and 76 bytes long: 4 objects,
;;   256 bytes. Allocates as much each time.
;; Self-check: it ends with all queens placed, and no two of them attack each other.
;; Expect: run(100) = -1705154944; run(150000) = -1688463872.
(module
  (type $cells (array (mut i31ref)))

  (global $rows (mut (ref null $cells)) (ref.null none))
  (global $rising (mut (ref null $cells)) (ref.null none))
  (global $falling (mut (ref null $cells)) (ref.null none))
  (global $queens (mut (ref null $cells)) (ref.null none))

  (func $free (param $row i32) (param $column i32) (result i32)
    (i32.and
      (i31.get_u (array.get $cells (global.get $rows) (local.get $row)))
      (i32.and
        (i31.get_u
          (array.get $cells (global.get $rising)
            (i32.add (local.get $column) (local.get $row))))
        (i31.get_u
          (array.get $cells (global.get $falling)
            (i32.add
              (i32.sub (local.get $column) (local.get $row))
              (i32.const 7)))))))

  (func $set_free (param $row i32) (param $column i32) (param $free i31ref)
    (array.set $cells (global.get $rows) (local.get $row) (local.get $free))
    (array.set $cells (global.get $rising)
      (i32.add (local.get $column) (local.get $row))
      (local.get $free))
    (array.set $cells (global.get $falling)
      (i32.add (i32.sub (local.get $column) (local.get $row)) (i32.const 7))
      (local.get $free)))

  ;; Places queens from $column on; 1 when that worked.
  (func $place (param $column i32) (result i32)
    (local $row i32)
    (loop $next
      (if (call $free (local.get $row) (local.get $column))
        (then
          (array.set $cells (global.get $queens) (local.get $row)
            (ref.i31 (local.get $column)))
          (call $set_free (local.get $row) (local.get $column) (ref.i31 (i32.const 0)))
          (if (i32.eq (local.get $column) (i32.const 7))
            (then (return (i32.const 1))))
          (if (call $place (i32.add (local.get $column) (i32.const 1)))
            (then (return (i32.const 1))))
          (call $set_free (local.get $row) (local.get $column) (ref.i31 (i32.const 1)))))
      (local.set $row (i32.add (local.get $row) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $row) (i32.const 8))))
    (i32.const 0))

  (func $queen (param $row i32) (result i32)
    (i31.get_u (array.get $cells (global.get $queens) (local.get $row))))

  ;; The columns of the queens as digits; traps when two attack each other.
  (func $check (result i32)
    (local $i i32)
    (local $j i32)
    (local $apart i32)
    (local $digits i32)
    (loop $rows
      (local.set $digits
        (i32.add
          (i32.mul (local.get $digits) (i32.const 8))
          (call $queen (local.get $i))))
      (local.set $j (i32.const 0))
      (loop $before
        (if (i32.lt_u (local.get $j) (local.get $i))
          (then
            (local.set $apart
              (i32.sub (call $queen (local.get $i)) (call $queen (local.get $j))))
            (if (i32.eqz (local.get $apart)) (then (unreachable)))
            (if (i32.eq
                  (i32.mul (local.get $apart) (local.get $apart))
                  (i32.mul
                    (i32.sub (local.get $i) (local.get $j))
                    (i32.sub (local.get $i) (local.get $j))))
              (then (unreachable)))
            (local.set $j (i32.add (local.get $j) (i32.const 1)))
            (br $before))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $rows (i32.lt_u (local.get $i) (i32.const 8))))
    (local.get $digits))

  (func (export "run") (param $n i32) (result i32)
    (local $i i32)
    (local $sum i32)
    (loop $again
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (global.set $rows
            (array.new $cells (ref.i31 (i32.const 1)) (i32.const 8)))
          (global.set $rising
            (array.new $cells (ref.i31 (i32.const 1)) (i32.const 16)))
          (global.set $falling
            (array.new $cells (ref.i31 (i32.const 1)) (i32.const 16)))
          (global.set $queens
            (array.new $cells (ref.i31 (i32.const 0)) (i32.const 8)))
          (if (i32.eqz (call $place (i32.const 0))) (then (unreachable)))
          (local.set $sum
            (i32.add
              (i32.mul (local.get $sum) (i32.const 31))
              (call $check)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $again))))
    (global.set $rows (ref.null none))
    (global.set $rising (ref.null none))
    (global.set $falling (ref.null none))
    (global.set $queens (ref.null none))
    (local.get $sum)))
