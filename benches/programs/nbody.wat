;; nbody: the sun and four planets, advanced by n steps of a symplectic integrator.
;;
;; Stresses: double-precision arithmetic with a square root and a division in each of
;;   ten pairs; loads and stores of f64 at constant offsets. No reference in sight.
;; Knob: n, the number of steps.
;; Live: a memory of one page, of which 280 bytes are used.
;; Self-check: the system's energy must not drift by more than a ten-thousandth.
;; Expect: run(2000) = -956798484; run(4000000) = -1222887523.
(module
  ;; Five bodies of seven f64: position, velocity, mass.
  (memory 1)

  (func $body (param $at i32) (param $x f64) (param $y f64) (param $z f64)
    (param $vx f64) (param $vy f64) (param $vz f64) (param $mass f64)
    (f64.store (local.get $at) (local.get $x))
    (f64.store offset=8 (local.get $at) (local.get $y))
    (f64.store offset=16 (local.get $at) (local.get $z))
    ;; Velocities are given per day, the mass in suns.
    (f64.store offset=24 (local.get $at) (f64.mul (local.get $vx) (f64.const 365.24)))
    (f64.store offset=32 (local.get $at) (f64.mul (local.get $vy) (f64.const 365.24)))
    (f64.store offset=40 (local.get $at) (f64.mul (local.get $vz) (f64.const 365.24)))
    (f64.store offset=48 (local.get $at) (f64.mul (local.get $mass) (f64.const 39.47841760435743))))

  (func $setup
    (local $i i32)
    (local $px f64) (local $py f64) (local $pz f64)
    (call $body (i32.const 0)
      (f64.const 0) (f64.const 0) (f64.const 0) (f64.const 0) (f64.const 0) (f64.const 0) (f64.const 1))
    (call $body (i32.const 56)
      (f64.const 4.841) (f64.const -1.16) (f64.const -0.1036)
      (f64.const 0.00166) (f64.const 0.0077) (f64.const -0.000069) (f64.const 0.000954))
    (call $body (i32.const 112)
      (f64.const 8.343) (f64.const 4.125) (f64.const -0.4035)
      (f64.const -0.00277) (f64.const 0.005) (f64.const 0.000023) (f64.const 0.000286))
    (call $body (i32.const 168)
      (f64.const 12.894) (f64.const -15.11) (f64.const -0.2233)
      (f64.const 0.00296) (f64.const 0.00238) (f64.const -0.0000297) (f64.const 0.0000437))
    (call $body (i32.const 224)
      (f64.const 15.379) (f64.const -25.919) (f64.const 0.1793)
      (f64.const 0.00268) (f64.const 0.00163) (f64.const -0.0000952) (f64.const 0.0000515))
    ;; The sun's momentum is minus the others'.
    (local.set $i (i32.const 56))
    (loop $next
      (local.set $px (f64.add (local.get $px)
        (f64.mul (f64.load offset=24 (local.get $i)) (f64.load offset=48 (local.get $i)))))
      (local.set $py (f64.add (local.get $py)
        (f64.mul (f64.load offset=32 (local.get $i)) (f64.load offset=48 (local.get $i)))))
      (local.set $pz (f64.add (local.get $pz)
        (f64.mul (f64.load offset=40 (local.get $i)) (f64.load offset=48 (local.get $i)))))
      (br_if $next
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 56))) (i32.const 280))))
    (f64.store offset=24 (i32.const 0) (f64.neg (f64.div (local.get $px) (f64.load offset=48 (i32.const 0)))))
    (f64.store offset=32 (i32.const 0) (f64.neg (f64.div (local.get $py) (f64.load offset=48 (i32.const 0)))))
    (f64.store offset=40 (i32.const 0) (f64.neg (f64.div (local.get $pz) (f64.load offset=48 (i32.const 0))))))

  (func $advance (param $dt f64)
    (local $i i32) (local $j i32)
    (local $dx f64) (local $dy f64) (local $dz f64) (local $d2 f64) (local $mag f64) (local $m f64)
    (loop $outer
      (local.set $j (i32.add (local.get $i) (i32.const 56)))
      (block $done
        (loop $inner
          (br_if $done (i32.ge_u (local.get $j) (i32.const 280)))
          (local.set $dx (f64.sub (f64.load (local.get $i)) (f64.load (local.get $j))))
          (local.set $dy (f64.sub (f64.load offset=8 (local.get $i)) (f64.load offset=8 (local.get $j))))
          (local.set $dz (f64.sub (f64.load offset=16 (local.get $i)) (f64.load offset=16 (local.get $j))))
          (local.set $d2
            (f64.add
              (f64.add
                (f64.mul (local.get $dx) (local.get $dx))
                (f64.mul (local.get $dy) (local.get $dy)))
              (f64.mul (local.get $dz) (local.get $dz))))
          (local.set $mag
            (f64.div (local.get $dt) (f64.mul (local.get $d2) (f64.sqrt (local.get $d2)))))
          (local.set $m (f64.mul (f64.load offset=48 (local.get $j)) (local.get $mag)))
          (f64.store offset=24 (local.get $i)
            (f64.sub (f64.load offset=24 (local.get $i)) (f64.mul (local.get $dx) (local.get $m))))
          (f64.store offset=32 (local.get $i)
            (f64.sub (f64.load offset=32 (local.get $i)) (f64.mul (local.get $dy) (local.get $m))))
          (f64.store offset=40 (local.get $i)
            (f64.sub (f64.load offset=40 (local.get $i)) (f64.mul (local.get $dz) (local.get $m))))
          (local.set $m (f64.mul (f64.load offset=48 (local.get $i)) (local.get $mag)))
          (f64.store offset=24 (local.get $j)
            (f64.add (f64.load offset=24 (local.get $j)) (f64.mul (local.get $dx) (local.get $m))))
          (f64.store offset=32 (local.get $j)
            (f64.add (f64.load offset=32 (local.get $j)) (f64.mul (local.get $dy) (local.get $m))))
          (f64.store offset=40 (local.get $j)
            (f64.add (f64.load offset=40 (local.get $j)) (f64.mul (local.get $dz) (local.get $m))))
          (local.set $j (i32.add (local.get $j) (i32.const 56)))
          (br $inner)))
      (br_if $outer
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 56))) (i32.const 280))))
    (local.set $i (i32.const 0))
    (loop $move
      (f64.store (local.get $i)
        (f64.add (f64.load (local.get $i)) (f64.mul (local.get $dt) (f64.load offset=24 (local.get $i)))))
      (f64.store offset=8 (local.get $i)
        (f64.add (f64.load offset=8 (local.get $i)) (f64.mul (local.get $dt) (f64.load offset=32 (local.get $i)))))
      (f64.store offset=16 (local.get $i)
        (f64.add (f64.load offset=16 (local.get $i)) (f64.mul (local.get $dt) (f64.load offset=40 (local.get $i)))))
      (br_if $move
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 56))) (i32.const 280)))))

  ;; Kinetic energy less what each pair holds.
  (func $energy (result f64)
    (local $i i32) (local $j i32) (local $e f64) (local $dx f64) (local $dy f64) (local $dz f64)
    (loop $outer
      (local.set $e
        (f64.add (local.get $e)
          (f64.mul
            (f64.mul (f64.const 0.5) (f64.load offset=48 (local.get $i)))
            (f64.add
              (f64.add
                (f64.mul (f64.load offset=24 (local.get $i)) (f64.load offset=24 (local.get $i)))
                (f64.mul (f64.load offset=32 (local.get $i)) (f64.load offset=32 (local.get $i))))
              (f64.mul (f64.load offset=40 (local.get $i)) (f64.load offset=40 (local.get $i)))))))
      (local.set $j (i32.add (local.get $i) (i32.const 56)))
      (block $done
        (loop $inner
          (br_if $done (i32.ge_u (local.get $j) (i32.const 280)))
          (local.set $dx (f64.sub (f64.load (local.get $i)) (f64.load (local.get $j))))
          (local.set $dy (f64.sub (f64.load offset=8 (local.get $i)) (f64.load offset=8 (local.get $j))))
          (local.set $dz (f64.sub (f64.load offset=16 (local.get $i)) (f64.load offset=16 (local.get $j))))
          (local.set $e
            (f64.sub (local.get $e)
              (f64.div
                (f64.mul (f64.load offset=48 (local.get $i)) (f64.load offset=48 (local.get $j)))
                (f64.sqrt
                  (f64.add
                    (f64.add
                      (f64.mul (local.get $dx) (local.get $dx))
                      (f64.mul (local.get $dy) (local.get $dy)))
                    (f64.mul (local.get $dz) (local.get $dz)))))))
          (local.set $j (i32.add (local.get $j) (i32.const 56)))
          (br $inner)))
      (br_if $outer
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 56))) (i32.const 280))))
    (local.get $e))

  (func (export "run") (param $n i32) (result i32)
    (local $i i32) (local $before f64) (local $after f64) (local $bits i64)
    (call $setup)
    (local.set $before (call $energy))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $i) (local.get $n)))
        (call $advance (f64.const 0.01))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
    (local.set $after (call $energy))
    (if (f64.gt
          (f64.abs (f64.sub (local.get $after) (local.get $before)))
          (f64.mul (f64.abs (local.get $before)) (f64.const 0.0001)))
      (then (unreachable)))
    (local.set $bits (i64.reinterpret_f64 (local.get $after)))
    (i32.wrap_i64
      (i64.xor (local.get $bits) (i64.shr_u (local.get $bits) (i64.const 32))))))
