;; exceptions: calls 8 deep by default; in one of four the innermost throws an object. A catch
;; on the way up looks at it, and every other time throws the exception on.
;;
;; Stresses: throw, try_table with catch, catch_ref and catch_all_ref, throw_ref;
;;   references in an exception's payload, which a collector must find while the
;;   exception is under way; the price of try_table when nothing is thrown.
;; Knob: n, the number of outermost calls. n/4 throw, n/8 throw on.
;; Parameter: frames, 2 to 10,000; 8 by default.
;; Live: an error of 16 bytes, a box of 16 bytes on each of p frames, and an
;;   exception as large as the engine makes it. Allocates p n boxes and n/4 errors.
;; Self-check: the error caught is the one thrown; each outermost call's result
;;   says how far its exception came; those that came through are counted.
;; Expect: run(1000) = 1331921783; run(800000) = 1775622752;
;;   run_with(1000, 2) = 1434172275; run_with(1000, 64) = -1121050699.
(module
  (type $error (struct (field $code i32) (field $depth i32)))
  (type $box (struct (field $value i32)))

  (tag $failed (param (ref $error)))

  ;; Calls itself $depth deep, holding a box on each frame; the innermost
  ;; throws if $i's lowest bits are 3.
  (func $work (param $i i32) (param $depth i32) (result i32)
    (local $box (ref $box))
    (local.set $box (struct.new $box (i32.add (local.get $i) (local.get $depth))))
    (if (i32.eqz (local.get $depth))
      (then
        (if (i32.eq (i32.and (local.get $i) (i32.const 3)) (i32.const 3))
          (then
            (throw $failed (struct.new $error (local.get $i) (i32.const 0)))))
        (return (struct.get $box $value (local.get $box)))))
    ;; In the middle is the frame that looks at the error.
    (if (i32.eq (local.get $depth) (i32.shr_u (global.get $frames) (i32.const 1)))
      (then
        (return
          (i32.add
            (call $guard
              (local.get $i)
              (i32.sub (local.get $depth) (i32.const 1)))
            (struct.get $box $value (local.get $box))))))
    (i32.add
      (call $work
        (local.get $i)
        (i32.sub (local.get $depth) (i32.const 1)))
      (struct.get $box $value (local.get $box))))

  ;; Catches; if bit 2 of the code is set, throws the same exception on.
  (func $guard (param $i i32) (param $depth i32) (result i32)
    (local $error (ref null $error))
    (local $exn exnref)
    (block $caught (result (ref $error) (ref exn))
      (return
        (try_table (result i32) (catch_ref $failed $caught)
          (call $work (local.get $i) (local.get $depth)))))
    (local.set $exn)
    (local.set $error)
    (if (i32.ne (struct.get $error $code (local.get $error)) (local.get $i))
      (then (unreachable)))
    (if (i32.and (local.get $i) (i32.const 4))
      (then (throw_ref (local.get $exn))))
    (i32.const -1))

  ;; A frame that knows no tag: passes on whatever comes.
  (func $cleanup (param $i i32) (result i32)
    (block $any (result exnref)
      (return
        (try_table (result i32) (catch_all_ref $any)
          (call $work
            (local.get $i)
            (i32.sub (global.get $frames) (i32.const 1))))))
    (global.set $cleaned (i32.add (global.get $cleaned) (i32.const 1)))
    (throw_ref))

  (global $cleaned (mut i32) (i32.const 0))
  (global $frames (mut i32) (i32.const 0))

  ;; The error's code, negated, if one comes all the way up.
  (func $outermost (param $i i32) (result i32)
    (block $caught (result (ref $error))
      (return
        (try_table (result i32) (catch $failed $caught)
          (call $cleanup (local.get $i)))))
    (struct.get $error $code)
    (i32.mul (i32.const -1)))

  ;; 0 + ... + (n - 1)
  (func $below (param $n i32) (result i32)
    (i32.div_u
      (i32.mul (local.get $n) (i32.sub (local.get $n) (i32.const 1)))
      (i32.const 2)))

  (func $run_with (export "run_with") (param $n i32) (param $frames i32) (result i32)
    (local $middle i32)
    (local $i i32)
    (local $x i32)
    (local $sum i32)
    (local $expected i32)
    (if (i32.gt_u
          (i32.sub (local.get $frames) (i32.const 2))
          (i32.const 9998))
      (then (unreachable)))
    (global.set $cleaned (i32.const 0))
    (global.set $frames (local.get $frames))
    (local.set $middle (i32.shr_u (local.get $frames) (i32.const 1)))
    (loop $next
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (local.set $x (call $outermost (local.get $i)))
          ;; Without an exception: p boxes, p i + (0 + ... + (p - 1)). Stopped in
          ;; the middle: -1 and the boxes from there on. All the way: -i.
          (local.set $expected
            (i32.add
              (i32.mul (local.get $i) (local.get $frames))
              (call $below (local.get $frames))))
          (if (i32.eq (i32.and (local.get $i) (i32.const 7)) (i32.const 3))
            (then
              (local.set $expected
                (i32.sub
                  (i32.sub
                    (local.get $expected)
                    (i32.mul (local.get $i) (local.get $middle)))
                  (i32.add
                    (call $below (local.get $middle))
                    (i32.const 1))))))
          (if (i32.eq (i32.and (local.get $i) (i32.const 7)) (i32.const 7))
            (then
              (local.set $expected
                (i32.sub (i32.const 0) (local.get $i)))))
          (if (i32.ne (local.get $x) (local.get $expected))
            (then (unreachable)))
          (local.set $sum
            (i32.add
              (i32.mul (local.get $sum) (i32.const 31))
              (local.get $x)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next))))
    (if (i32.ne
          (global.get $cleaned)
          (i32.shr_u (local.get $n) (i32.const 3)))
      (then (unreachable)))
    (i32.add (local.get $sum) (global.get $cleaned)))

  (func (export "run") (param $n i32) (result i32)
    (call $run_with (local.get $n) (i32.const 8))))
