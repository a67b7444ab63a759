;; Casts: classes of shapes, and a function that asks for an object's class.
;;
;; A subtype has its supertype's fields first, then its own. Each object knows its
;; type when the program runs, so a reference to a shape can be cast down:
;;   ref.test     is it one?             0 or 1
;;   ref.cast     it is one, or a trap
;;   br_on_cast   if it is one, branch with it
;;
;; run:
;; out: 12 : i32
;; out: 25 : i32
;; out: 50 : i32
;; out: 0 : i32
;; run: --invoke squares
;; out: 1
(module
  (import "spectest" "print_i32" (func $print_i32 (param i32)))

  (type $shape (sub (struct (field $id i32))))
  (type $rectangle (sub $shape (struct
    (field $id i32)
    (field $width i32)
    (field $height i32))))
  ;; A square adds no field, but is a type of its own. `final`: it has no subtypes.
  (type $square (sub final $rectangle (struct
    (field $id i32)
    (field $width i32)
    (field $height i32))))
  (type $triangle (sub final $shape (struct
    (field $id i32)
    (field $base i32)
    (field $height i32))))

  (type $shapes (array (ref $shape)))

  ;; A shape's area; 0 if the shape is of no class known here.
  (func $area (param $s (ref $shape)) (result i32)
    (block $is_triangle (result (ref $triangle))
      (block $is_rectangle (result (ref $rectangle))
        ;; A branch that is taken brings the reference along, with its new type. A
        ;; square takes the first branch: it is a rectangle.
        (drop
          (br_on_cast $is_rectangle (ref $shape) (ref $rectangle)
            (local.get $s)))
        (drop
          (br_on_cast $is_triangle (ref $shape) (ref $triangle)
            (local.get $s)))
        (return (i32.const 0)))
      ;; The block ends here with a rectangle on the stack, for all who branched.
      (return (call $area_of_rectangle)))
    (call $area_of_triangle))

  (func $area_of_rectangle (param $r (ref $rectangle)) (result i32)
    (i32.mul
      (struct.get $rectangle $width (local.get $r))
      (struct.get $rectangle $height (local.get $r))))

  (func $area_of_triangle (param $t (ref $triangle)) (result i32)
    (i32.div_u
      (i32.mul
        (struct.get $triangle $base (local.get $t))
        (struct.get $triangle $height (local.get $t)))
      (i32.const 2)))

  (func $shapes (result (ref $shapes))
    (array.new_fixed $shapes 4
      (struct.new $rectangle (i32.const 1) (i32.const 3) (i32.const 4))
      (struct.new $square (i32.const 2) (i32.const 5) (i32.const 5))
      (struct.new $triangle (i32.const 3) (i32.const 10) (i32.const 10))
      (struct.new $shape (i32.const 4))))

  (func (export "_start")
    (local $shapes (ref $shapes))
    (local $i i32)
    (local.set $shapes (call $shapes))
    (loop $next
      (call $print_i32
        (call $area
          (array.get $shapes (local.get $shapes) (local.get $i))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next
        (i32.lt_u (local.get $i) (array.len (local.get $shapes))))))

  ;; How many of the shapes are squares.
  (func (export "squares") (result i32)
    (local $shapes (ref $shapes))
    (local $i i32)
    (local $count i32)
    (local.set $shapes (call $shapes))
    (loop $next
      (local.set $count
        (i32.add
          (local.get $count)
          (ref.test (ref $square)
            (array.get $shapes (local.get $shapes) (local.get $i)))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next
        (i32.lt_u (local.get $i) (array.len (local.get $shapes)))))
    (local.get $count)))
