;; histogram: how often each byte occurs in 64 KiB of them.
;;
;; Stresses: loads of bytes, and a load and a store at an address that was just loaded;
;;   the store of one round is often what the next one loads.
;; Knob: n, the number of rounds.
;; Live: a memory of two pages: the bytes, and 256 counters.
;; Self-check: the counters add up to the number of bytes.
;; Expect: run(20) = -55256128; run(4000) = 940125110.
(module
  (memory 2)

  (func $fill
    (local $i i32) (local $x i32)
    (local.set $x (i32.const 12345))
    (loop $next
      (local.set $x (i32.add (i32.mul (local.get $x) (i32.const 1103515245)) (i32.const 12345)))
      ;; The higher half of a product of two: small bytes are more frequent.
      (i32.store8 (local.get $i)
        (i32.shr_u
          (i32.mul
            (i32.shr_u (local.get $x) (i32.const 24))
            (i32.and (i32.shr_u (local.get $x) (i32.const 16)) (i32.const 255)))
          (i32.const 8)))
      (br_if $next
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 65536)))))

  (func $count
    (local $i i32) (local $at i32)
    (loop $next
      (local.set $at (i32.shl (i32.load8_u (local.get $i)) (i32.const 2)))
      (i32.store offset=65536 (local.get $at)
        (i32.add (i32.load offset=65536 (local.get $at)) (i32.const 1)))
      (br_if $next
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 65536)))))

  (func (export "run") (param $n i32) (result i32)
    (local $i i32) (local $total i32) (local $sum i32)
    (call $fill)
    (memory.fill (i32.const 65536) (i32.const 0) (i32.const 1024))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $i) (local.get $n)))
        (call $count)
        ;; Each round has other bytes in one place.
        (i32.store8 (i32.and (local.get $i) (i32.const 65535)) (local.get $i))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
    (local.set $i (i32.const 0))
    (loop $add
      (local.set $total (i32.add (local.get $total) (i32.load offset=65536 (local.get $i))))
      (local.set $sum
        (i32.add
          (i32.mul (local.get $sum) (i32.const 31))
          (i32.load offset=65536 (local.get $i))))
      (br_if $add
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 1024))))
    (if (i32.ne (local.get $total) (i32.shl (local.get $n) (i32.const 16))) (then (unreachable)))
    (local.get $sum)))
