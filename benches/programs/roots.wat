;; roots: recursion with four references live in each frame. At the bottom 2,000 small
;; lists are made and dropped; on the way back each frame looks whether its objects
;; are still there. Globals and a table of 1,024 elements are roots, too.
;;
;; Stresses: the finding and updating of roots: deep stacks, stack maps, globals and a
;;   table, when hardly anything else lives.
;; Knob: n, the number of descents.
;; Parameter: frames, 1 to 10,000; 1,000 by default.
;; Live: four objects of 16 bytes a frame, and up to 1,024 in the table and four in
;;   globals: 80 kB by default. Allocates 4 p + 10,000 objects in each descent.
;; Self-check: the objects of a frame, of a table's element, of a global carry its
;;   number; the lists are walked.
;; Expect: run(2) = -1949027968; run(5000) = 1449207296; run_with(2, 10) = -588941408;
;;   run_with(2, 4000) = 5397760.
(module
  (type $object (struct (field $number i32) (field $next (ref null $object))))

  (table $table 1024 (ref null $object))
  (global $a (mut (ref null $object)) (ref.null none))
  (global $b (mut (ref null $object)) (ref.null none))
  (global $c (mut (ref null $object)) (ref.null none))
  (global $d (mut (ref null $object)) (ref.null none))

  (func $new (param $number i32) (result (ref $object))
    (struct.new $object (local.get $number) (ref.null none)))

  (func $insist (param $o (ref null $object)) (param $number i32)
    (if (i32.ne (struct.get $object $number (local.get $o)) (local.get $number))
      (then (unreachable))))

  ;; A list of five, and the sum of its numbers.
  (func $list (param $number i32) (result i32)
    (local $list (ref null $object))
    (local $i i32)
    (local $sum i32)
    (loop $make
      (local.set $list
        (struct.new $object
          (i32.add (local.get $number) (local.get $i))
          (local.get $list)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $make (i32.lt_u (local.get $i) (i32.const 5))))
    (loop $walk
      (local.set $sum
        (i32.add
          (local.get $sum)
          (struct.get $object $number (local.get $list))))
      (local.set $list (struct.get $object $next (local.get $list)))
      (br_if $walk (i32.eqz (ref.is_null (local.get $list)))))
    (local.get $sum))

  (func $bottom (result i32)
    (local $i i32)
    (local $sum i32)
    (loop $again
      (local.set $sum (i32.add (local.get $sum) (call $list (local.get $i))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 2000))))
    (local.get $sum))

  (func $descend (param $frames i32) (result i32)
    (local $a (ref $object))
    (local $b (ref $object))
    (local $c (ref $object))
    (local $d (ref $object))
    (local $sum i32)
    (if (i32.eqz (local.get $frames)) (then (return (call $bottom))))
    (local.set $a (call $new (local.get $frames)))
    (local.set $b (call $new (i32.add (local.get $frames) (i32.const 1))))
    (local.set $c (call $new (i32.add (local.get $frames) (i32.const 2))))
    (local.set $d (call $new (i32.add (local.get $frames) (i32.const 3))))
    (local.set $sum
      (call $descend (i32.sub (local.get $frames) (i32.const 1))))
    (call $insist (local.get $a) (local.get $frames))
    (call $insist (local.get $b) (i32.add (local.get $frames) (i32.const 1)))
    (call $insist (local.get $c) (i32.add (local.get $frames) (i32.const 2)))
    (call $insist (local.get $d) (i32.add (local.get $frames) (i32.const 3)))
    (i32.add (i32.mul (local.get $sum) (i32.const 31)) (local.get $frames)))

  (func $run_with (export "run_with") (param $n i32) (param $frames i32) (result i32)
    (local $i i32)
    (local $element i32)
    (local $sum i32)
    (if (i32.gt_u
          (i32.sub (local.get $frames) (i32.const 1))
          (i32.const 9999))
      (then (unreachable)))
    (table.fill $table (i32.const 0) (ref.null none) (i32.const 1024))
    (loop $next
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (local.set $element (i32.and (local.get $i) (i32.const 1023)))
          (if (i32.ge_u (local.get $i) (i32.const 1024))
            (then
              (call $insist
                (table.get $table (local.get $element))
                (i32.sub (local.get $i) (i32.const 1024)))))
          (table.set $table (local.get $element) (call $new (local.get $i)))
          (global.set $a (call $new (local.get $i)))
          (global.set $b (call $new (local.get $i)))
          (global.set $c (call $new (local.get $i)))
          (global.set $d (call $new (local.get $i)))
          (local.set $sum
            (i32.add
              (i32.mul (local.get $sum) (i32.const 31))
              (call $descend (local.get $frames))))
          (call $insist (global.get $a) (local.get $i))
          (call $insist (global.get $b) (local.get $i))
          (call $insist (global.get $c) (local.get $i))
          (call $insist (global.get $d) (local.get $i))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next))))
    (table.fill $table (i32.const 0) (ref.null none) (i32.const 1024))
    (global.set $a (ref.null none))
    (global.set $b (ref.null none))
    (global.set $c (ref.null none))
    (global.set $d (ref.null none))
    (local.get $sum))

  (func (export "run") (param $n i32) (result i32)
    (call $run_with (local.get $n) (i32.const 1000))))
