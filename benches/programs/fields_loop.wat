;; fields_loop: 64 records with fields of every kind of number, read and written.
;;
;; Stresses: the code for struct.get and struct.set: null checks, packed fields
;;   and their extension, alignment, references that are followed. A control:
;;   nothing is allocated while it runs, so collectors should not differ.
;; Knob: n, the number of records visited.
;; Live: 64 records of 40 bytes in a ring: 2,560 bytes.
;; Self-check: sums are kept twice, in fields of different width.
;; Expect: run(100000) = 1108681312; run(100000000) = -8336992.
(module
  (type $record (struct
    (field $next (mut (ref null $record)))
    (field $i8 (mut i8))
    (field $i16 (mut i16))
    (field $i32 (mut i32))
    (field $f32 (mut f32))
    (field $i64 (mut i64))
    (field $f64 (mut f64))))

  ;; A ring of 64 records.
  (func $ring (result (ref $record))
    (local $first (ref $record))
    (local $last (ref $record))
    (local $i i32)
    (local.set $first (struct.new_default $record))
    (local.set $last (local.get $first))
    (loop $next
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (struct.set $record $next (local.get $last) (struct.new_default $record))
      (local.set $last
        (ref.as_non_null (struct.get $record $next (local.get $last))))
      (struct.set $record $i32 (local.get $last) (local.get $i))
      (struct.set $record $i64 (local.get $last)
        (i64.extend_i32_s (local.get $i)))
      (struct.set $record $i16 (local.get $last) (local.get $i))
      (struct.set $record $i8 (local.get $last) (local.get $i))
      (br_if $next (i32.lt_u (local.get $i) (i32.const 63))))
    (struct.set $record $next (local.get $last) (local.get $first))
    (local.get $first))

  (func (export "run") (param $n i32) (result i32)
    (local $r (ref null $record))
    (local $i i32)
    (local $x i32)
    (local $sum i32)
    (local.set $r (call $ring))
    (loop $visit
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          ;; x goes into every integer field, each in its own width.
          (local.set $x
            (i32.xor
              (local.get $i)
              (i32.mul
                (struct.get_s $record $i8 (local.get $r))
                (struct.get_u $record $i16 (local.get $r)))))
          (struct.set $record $i8 (local.get $r)
            (i32.add
              (struct.get_u $record $i8 (local.get $r))
              (local.get $x)))
          (struct.set $record $i16 (local.get $r)
            (i32.add
              (struct.get_s $record $i16 (local.get $r))
              (local.get $x)))
          (struct.set $record $i32 (local.get $r)
            (i32.add
              (struct.get $record $i32 (local.get $r))
              (local.get $x)))
          (struct.set $record $i64 (local.get $r)
            (i64.add
              (struct.get $record $i64 (local.get $r))
              (i64.extend_i32_s (local.get $x))))
          (struct.set $record $f32 (local.get $r)
            (f32.add
              (f32.mul
                (struct.get $record $f32 (local.get $r))
                (f32.const 0.5))
              (f32.const 1)))
          (struct.set $record $f64 (local.get $r)
            (f64.add
              (struct.get $record $f64 (local.get $r))
              (f64.const 0.5)))
          (local.set $r (struct.get $record $next (local.get $r)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $visit))))

    ;; The narrow sums are the wide one's lowest bits.
    (local.set $i (i32.const 0))
    (loop $check
      (local.set $x (struct.get $record $i32 (local.get $r)))
      (if (i32.ne
            (i32.wrap_i64 (struct.get $record $i64 (local.get $r)))
            (local.get $x))
        (then (unreachable)))
      (if (i32.ne
            (struct.get_u $record $i16 (local.get $r))
            (i32.and (local.get $x) (i32.const 0xffff)))
        (then (unreachable)))
      (if (i32.ne
            (struct.get_s $record $i8 (local.get $r))
            (i32.extend8_s (local.get $x)))
        (then (unreachable)))
      (if (f32.gt (struct.get $record $f32 (local.get $r)) (f32.const 2))
        (then (unreachable)))
      (local.set $sum
        (i32.add
          (i32.mul (local.get $sum) (i32.const 31))
          (i32.add
            (local.get $x)
            (i32.trunc_sat_f64_s (struct.get $record $f64 (local.get $r))))))
      (local.set $r (struct.get $record $next (local.get $r)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $check (i32.lt_u (local.get $i) (i32.const 64))))
    (local.get $sum)))
