;; awfy_sieve: the primes up to 5,000, by a sieve in an array on the heap. After Sieve
;; of Are We Fast Yet? (Marr, Daloze, Mössenböck, DLS 2016). (`sieve` is another one,
;; in memory.)
;;
;; Stresses: one array of 5 kB after the other, array.set at long strides: whether
;;   large objects that die young are cheap.
;; Knob: n, the number of sieves.
;; Live: an array of 5,012 bytes. Allocates as much for each sieve.
;; Self-check: there are 669 primes, and they sum to 1,548,136.
;; Expect: run(100) = 154813600; run(30000) = -800560256.
(module
  (type $flags (array (mut i8)))

  (func $sieve (result i32)
    (local $composite (ref $flags))
    (local $i i32)
    (local $k i32)
    (local $count i32)
    (local $sum i32)
    (local.set $composite (array.new_default $flags (i32.const 5000)))
    (local.set $i (i32.const 2))
    (loop $numbers
      (if (i32.eqz
            (array.get_u $flags (local.get $composite)
              (i32.sub (local.get $i) (i32.const 1))))
        (then
          (local.set $count (i32.add (local.get $count) (i32.const 1)))
          (local.set $sum (i32.add (local.get $sum) (local.get $i)))
          (local.set $k (i32.shl (local.get $i) (i32.const 1)))
          (loop $multiples
            (if (i32.le_u (local.get $k) (i32.const 5000))
              (then
                (array.set $flags (local.get $composite)
                  (i32.sub (local.get $k) (i32.const 1))
                  (i32.const 1))
                (local.set $k (i32.add (local.get $k) (local.get $i)))
                (br $multiples))))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $numbers (i32.le_u (local.get $i) (i32.const 5000))))
    (if (i32.ne (local.get $count) (i32.const 669)) (then (unreachable)))
    (if (i32.ne (local.get $sum) (i32.const 1548136)) (then (unreachable)))
    (local.get $sum))

  (func (export "run") (param $n i32) (result i32)
    (local $i i32)
    (local $sum i32)
    (loop $again
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (local.set $sum (i32.add (local.get $sum) (call $sieve)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $again))))
    (local.get $sum)))
