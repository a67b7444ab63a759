;; sieve: the primes below 1,000,000 by Eratosthenes' sieve, one byte a number.
;;
;; Stresses: stores of bytes at strides from 4 bytes to the length of the memory; a
;;   loop of three instructions; a scan for the next zero byte.
;; Knob: n, the number of sieves.
;; Live: a memory of 16 pages, of which 1,000,000 bytes are used.
;; Self-check: there are 78,498 primes below 1,000,000.
;; Expect: run(1) = -288338310; run(120) = -1539149056.
(module
  (memory 16)

  (func $sieve (param $limit i32) (result i32)
    (local $p i32) (local $q i32) (local $count i32) (local $sum i32)
    (memory.fill (i32.const 0) (i32.const 0) (local.get $limit))
    (local.set $p (i32.const 2))
    (loop $next
      (if (i32.eqz (i32.load8_u (local.get $p)))
        (then
          (local.set $count (i32.add (local.get $count) (i32.const 1)))
          (local.set $sum (i32.add (i32.rotl (local.get $sum) (i32.const 5)) (local.get $p)))
          ;; Squares beyond the limit may not fit 32 bits.
          (if (i32.lt_u (local.get $p) (i32.const 1000))
            (then
              (local.set $q (i32.mul (local.get $p) (local.get $p)))
              (loop $strike
                (i32.store8 (local.get $q) (i32.const 1))
                (br_if $strike
                  (i32.lt_u (local.tee $q (i32.add (local.get $q) (local.get $p))) (local.get $limit))))))))
      (br_if $next
        (i32.lt_u (local.tee $p (i32.add (local.get $p) (i32.const 1))) (local.get $limit))))
    (if (i32.ne (local.get $count) (i32.const 78498)) (then (unreachable)))
    (local.get $sum))

  (func (export "run") (param $n i32) (result i32)
    (local $i i32) (local $sum i32)
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $i) (local.get $n)))
        (local.set $sum
          (i32.add (i32.mul (local.get $sum) (i32.const 31)) (call $sieve (i32.const 1000000))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
    (local.get $sum)))
