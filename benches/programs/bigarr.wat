;; bigarr: two large arrays of references. Each step puts a new object into an element
;; picked at random; each 1,024th copies 256 elements from one array to the other.
;;
;; Stresses: large arrays of references as old objects with few young ones in them:
;;   what a card, a field's log or a whole array's scan costs; bulk copies of
;;   references under a barrier.
;; Knob: n, the number of steps.
;; Parameter: elements of an array, 256 or more; 262,144 by default.
;; Live: four arrays, two of them of references, of 12 + 4 p bytes for p elements, and
;;   at most 2 p objects of 16 bytes: 12.6 MB by default. Allocates n objects.
;; Self-check: an object has the number of its element, and the number of the step that
;;   made it, which is noted beside for each element; copies copy notes, too.
;; Expect: run(20000) = -41195900; run(1200000) = 1043095286;
;;   run_with(20000, 256) = 546712902; run_with(20000, 4096) = 1678665685.
(module
  (type $object (struct (field $element i32) (field $step i32)))
  (type $objects (array (mut (ref null $object))))
  (type $notes (array (mut i32)))

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
  (func $run_with (export "run_with") (param $n i32) (param $length i32) (result i32)
    (local $here (ref $objects))
    (local $there (ref $objects))
    (local $here_notes (ref $notes))
    (local $there_notes (ref $notes))
    (local $kept (ref $objects))
    (local $kept_notes (ref $notes))
    (local $i i32)
    (local $element i32)
    (local $sum i32)
    (if (i32.lt_u (local.get $length) (i32.const 256)) (then (unreachable)))
    (global.set $seed (i32.const 0x1f83d9ab))
    (local.set $here (array.new_default $objects (local.get $length)))
    (local.set $there (array.new_default $objects (local.get $length)))
    (local.set $here_notes
      (array.new $notes (i32.const -1) (local.get $length)))
    (local.set $there_notes
      (array.new $notes (i32.const -1) (local.get $length)))
    (loop $next
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (local.set $element (i32.rem_u (call $random) (local.get $length)))
          (call $check
            (array.get $objects (local.get $here) (local.get $element))
            (local.get $element)
            (array.get $notes (local.get $here_notes) (local.get $element)))
          (array.set $objects (local.get $here) (local.get $element)
            (struct.new $object (local.get $element) (local.get $i)))
          (array.set $notes (local.get $here_notes) (local.get $element)
            (local.get $i))
          (if (i32.eqz (i32.and (local.get $i) (i32.const 1023)))
            (then
              (local.set $element
                (i32.rem_u
                  (call $random)
                  (i32.sub (local.get $length) (i32.const 255))))
              (array.copy $objects $objects
                (local.get $there) (local.get $element)
                (local.get $here) (local.get $element)
                (i32.const 256))
              (array.copy $notes $notes
                (local.get $there_notes) (local.get $element)
                (local.get $here_notes) (local.get $element)
                (i32.const 256))
              ;; The arrays take turns.
              (local.set $kept (local.get $here))
              (local.set $here (local.get $there))
              (local.set $there (local.get $kept))
              (local.set $kept_notes (local.get $here_notes))
              (local.set $here_notes (local.get $there_notes))
              (local.set $there_notes (local.get $kept_notes))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next))))
    (local.set $element (i32.const 0))
    (loop $living
      (call $check
        (array.get $objects (local.get $here) (local.get $element))
        (local.get $element)
        (array.get $notes (local.get $here_notes) (local.get $element)))
      (call $check
        (array.get $objects (local.get $there) (local.get $element))
        (local.get $element)
        (array.get $notes (local.get $there_notes) (local.get $element)))
      (local.set $sum
        (i32.add
          (i32.mul (local.get $sum) (i32.const 31))
          (i32.add
            (array.get $notes (local.get $here_notes) (local.get $element))
            (i32.mul
              (array.get $notes (local.get $there_notes) (local.get $element))
              (i32.const 3)))))
      (local.set $element (i32.add (local.get $element) (i32.const 1)))
      (br_if $living (i32.lt_u (local.get $element) (local.get $length))))
    (local.get $sum))

  ;; An element's object is that of its note; without a note it has none.
  (func $check (param $o (ref null $object)) (param $element i32) (param $note i32)
    (if (ref.is_null (local.get $o))
      (then
        (if (i32.ne (local.get $note) (i32.const -1)) (then (unreachable)))
        (return)))
    (if (i32.ne (struct.get $object $element (local.get $o)) (local.get $element))
      (then (unreachable)))
    (if (i32.ne (struct.get $object $step (local.get $o)) (local.get $note))
      (then (unreachable))))

  (func (export "run") (param $n i32) (result i32)
    (call $run_with (local.get $n) (i32.const 262144))))
