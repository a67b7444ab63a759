;; awfy_bounce: 100 balls in a box of 500 by 500, 50 steps; a ball that meets a wall
;; turns round. After Bounce of Are We Fast Yet? (Marr, Daloze, Mössenböck, DLS 2016).
;;
;; Stresses: fields of small objects that live briefly; little allocation.
;; Knob: n, the number of simulations.
;; Live: 100 balls of 24 bytes and an array of 412 bytes: 101 objects, 2,816 bytes.
;;   Allocates as much in each simulation.
;; Self-check: the balls bounce 1,331 times in each simulation.
;; Expect: run(50) = -287562688; run(15000) = 77355776.
(module
  (type $ball (struct
    (field $x (mut i32))
    (field $y (mut i32))
    (field $dx (mut i32))
    (field $dy (mut i32))))
  (type $balls (array (mut (ref null $ball))))

  (global $seed (mut i32) (i32.const 0))

  ;; The generator of the suite: 16 bits, linear congruential.
  (func $random (result i32)
    (global.set $seed
      (i32.and
        (i32.add (i32.mul (global.get $seed) (i32.const 1309)) (i32.const 13849))
        (i32.const 65535)))
    (global.get $seed))

  (func $abs (param $x i32) (result i32)
    (select
      (i32.sub (i32.const 0) (local.get $x))
      (local.get $x)
      (i32.lt_s (local.get $x) (i32.const 0))))

  (func $ball (result (ref $ball))
    (struct.new $ball
      (i32.rem_u (call $random) (i32.const 500))
      (i32.rem_u (call $random) (i32.const 500))
      (i32.sub (i32.rem_u (call $random) (i32.const 300)) (i32.const 150))
      (i32.sub (i32.rem_u (call $random) (i32.const 300)) (i32.const 150))))

  ;; Moves a ball; 1 when it met a wall.
  (func $bounce (param $ball (ref $ball)) (result i32)
    (local $bounced i32)
    (struct.set $ball $x (local.get $ball)
      (i32.add
        (struct.get $ball $x (local.get $ball))
        (struct.get $ball $dx (local.get $ball))))
    (struct.set $ball $y (local.get $ball)
      (i32.add
        (struct.get $ball $y (local.get $ball))
        (struct.get $ball $dy (local.get $ball))))
    (if (i32.gt_s (struct.get $ball $x (local.get $ball)) (i32.const 500))
      (then
        (struct.set $ball $x (local.get $ball) (i32.const 500))
        (struct.set $ball $dx (local.get $ball)
          (i32.sub (i32.const 0)
            (call $abs (struct.get $ball $dx (local.get $ball)))))
        (local.set $bounced (i32.const 1))))
    (if (i32.lt_s (struct.get $ball $x (local.get $ball)) (i32.const 0))
      (then
        (struct.set $ball $x (local.get $ball) (i32.const 0))
        (struct.set $ball $dx (local.get $ball)
          (call $abs (struct.get $ball $dx (local.get $ball))))
        (local.set $bounced (i32.const 1))))
    (if (i32.gt_s (struct.get $ball $y (local.get $ball)) (i32.const 500))
      (then
        (struct.set $ball $y (local.get $ball) (i32.const 500))
        (struct.set $ball $dy (local.get $ball)
          (i32.sub (i32.const 0)
            (call $abs (struct.get $ball $dy (local.get $ball)))))
        (local.set $bounced (i32.const 1))))
    (if (i32.lt_s (struct.get $ball $y (local.get $ball)) (i32.const 0))
      (then
        (struct.set $ball $y (local.get $ball) (i32.const 0))
        (struct.set $ball $dy (local.get $ball)
          (call $abs (struct.get $ball $dy (local.get $ball))))
        (local.set $bounced (i32.const 1))))
    (local.get $bounced))

  ;; One simulation: how often balls bounced, and where they are in the end.
  (func $simulate (result i32 i32)
    (local $balls (ref $balls))
    (local $ball (ref $ball))
    (local $i i32)
    (local $step i32)
    (local $bounces i32)
    (local $places i32)
    (global.set $seed (i32.const 74755))
    (local.set $balls (array.new_default $balls (i32.const 100)))
    (loop $fill
      (array.set $balls (local.get $balls) (local.get $i) (call $ball))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $fill (i32.lt_u (local.get $i) (i32.const 100))))
    (loop $steps
      (local.set $i (i32.const 0))
      (loop $each
        (local.set $bounces
          (i32.add
            (local.get $bounces)
            (call $bounce
              (ref.as_non_null
                (array.get $balls (local.get $balls) (local.get $i))))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $each (i32.lt_u (local.get $i) (i32.const 100))))
      (local.set $step (i32.add (local.get $step) (i32.const 1)))
      (br_if $steps (i32.lt_u (local.get $step) (i32.const 50))))
    (local.set $i (i32.const 0))
    (loop $look
      (local.set $ball
        (ref.as_non_null (array.get $balls (local.get $balls) (local.get $i))))
      (local.set $places
        (i32.add
          (i32.mul (local.get $places) (i32.const 31))
          (i32.add
            (i32.mul (struct.get $ball $x (local.get $ball)) (i32.const 501))
            (struct.get $ball $y (local.get $ball)))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $look (i32.lt_u (local.get $i) (i32.const 100))))
    (local.get $bounces)
    (local.get $places))

  (func (export "run") (param $n i32) (result i32)
    (local $i i32)
    (local $places i32)
    (local $sum i32)
    (loop $next
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (call $simulate)
          (local.set $places)
          (if (i32.ne (i32.const 1331)) (then (unreachable)))
          (local.set $sum
            (i32.add
              (i32.mul (local.get $sum) (i32.const 31))
              (local.get $places)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next))))
    (local.get $sum)))
