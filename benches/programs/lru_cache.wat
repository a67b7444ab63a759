;; lru_cache: a cache of 8,192 entries that drops the least recently used. A hash
;; table with chains finds an entry, a doubly linked list keeps the order of use.
;;
;; Stresses: a structure of middle age under steady mutation: each hit relinks
;;   old objects, each miss makes an entry and a value and unlinks an old one.
;;   About half of the lookups hit. The list is cyclic (older and newer), so that
;;   what is left when the program ends is no garbage to a plain reference count.
;; Knob: n, the number of lookups. Keys are the smaller of two random numbers
;;   below 32,768: small keys come more often.
;; Live: up to 8,192 entries of 32 bytes, as many values of 16 bytes, an array of
;;   32,780 bytes: 16,385 objects, 426,000 bytes.
;; Self-check: a value belongs to its key; the list holds as many as were counted.
;; Expect: run(20000) = -1042108; run(4000000) = 1892170819.
(module
  (type $value (struct (field $key i32) (field $made i32)))
  (type $entry (struct
    (field $key i32)
    (field $value (ref $value))
    (field $chain (mut (ref null $entry)))
    (field $older (mut (ref null $entry)))
    (field $newer (mut (ref null $entry)))))
  (type $buckets (array (mut (ref null $entry))))

  (global $seed (mut i32) (i32.const 0))
  (global $buckets (mut (ref null $buckets)) (ref.null none))
  (global $newest (mut (ref null $entry)) (ref.null none))
  (global $oldest (mut (ref null $entry)) (ref.null none))
  (global $size (mut i32) (i32.const 0))

  ;; xorshift32
  (func $random (result i32)
    (local $s i32)
    (local.set $s (global.get $seed))
    (local.set $s (i32.xor (local.get $s) (i32.shl (local.get $s) (i32.const 13))))
    (local.set $s (i32.xor (local.get $s) (i32.shr_u (local.get $s) (i32.const 17))))
    (local.set $s (i32.xor (local.get $s) (i32.shl (local.get $s) (i32.const 5))))
    (global.set $seed (local.get $s))
    (local.get $s))

  (func $key (result i32)
    (local $a i32)
    (local $b i32)
    (local.set $a (i32.and (call $random) (i32.const 32767)))
    (local.set $b (i32.and (call $random) (i32.const 32767)))
    (select
      (local.get $a)
      (local.get $b)
      (i32.lt_u (local.get $a) (local.get $b))))

  ;; The bucket of a key.
  (func $hash (param $key i32) (result i32)
    (i32.shr_u
      (i32.mul (local.get $key) (i32.const 0x9e3779b1))
      (i32.const 19)))

  (func $find (param $key i32) (result (ref null $entry))
    (local $e (ref null $entry))
    (local.set $e
      (array.get $buckets (global.get $buckets) (call $hash (local.get $key))))
    (loop $next
      (if (ref.is_null (local.get $e))
        (then (return (ref.null none))))
      (if (i32.eq (struct.get $entry $key (local.get $e)) (local.get $key))
        (then (return (local.get $e))))
      (local.set $e (struct.get $entry $chain (local.get $e)))
      (br $next))
    (unreachable))

  ;; Takes $e out of the order of use.
  (func $unlink (param $e (ref $entry))
    (local $older (ref null $entry))
    (local $newer (ref null $entry))
    (local.set $older (struct.get $entry $older (local.get $e)))
    (local.set $newer (struct.get $entry $newer (local.get $e)))
    (if (ref.is_null (local.get $older))
      (then (global.set $oldest (local.get $newer)))
      (else (struct.set $entry $newer (local.get $older) (local.get $newer))))
    (if (ref.is_null (local.get $newer))
      (then (global.set $newest (local.get $older)))
      (else (struct.set $entry $older (local.get $newer) (local.get $older))))
    (struct.set $entry $older (local.get $e) (ref.null none))
    (struct.set $entry $newer (local.get $e) (ref.null none)))

  ;; Makes $e the most recently used.
  (func $push (param $e (ref $entry))
    (struct.set $entry $older (local.get $e) (global.get $newest))
    (if (ref.is_null (global.get $newest))
      (then (global.set $oldest (local.get $e)))
      (else (struct.set $entry $newer (global.get $newest) (local.get $e))))
    (global.set $newest (local.get $e)))

  ;; Takes $e out of its chain.
  (func $forget (param $e (ref $entry))
    (local $bucket i32)
    (local $before (ref null $entry))
    (local $here (ref null $entry))
    (local.set $bucket (call $hash (struct.get $entry $key (local.get $e))))
    (local.set $here
      (array.get $buckets (global.get $buckets) (local.get $bucket)))
    (loop $next
      (if (i32.eqz (ref.eq (local.get $here) (local.get $e)))
        (then
          (local.set $before (local.get $here))
          (local.set $here (struct.get $entry $chain (local.get $here)))
          (br $next))))
    (if (ref.is_null (local.get $before))
      (then
        (array.set $buckets (global.get $buckets) (local.get $bucket)
          (struct.get $entry $chain (local.get $e))))
      (else
        (struct.set $entry $chain (local.get $before)
          (struct.get $entry $chain (local.get $e))))))

  (func $evict
    (local $e (ref $entry))
    (local.set $e (ref.as_non_null (global.get $oldest)))
    (call $unlink (local.get $e))
    (call $forget (local.get $e))
    (global.set $size (i32.sub (global.get $size) (i32.const 1))))

  (func $insert (param $key i32) (param $now i32)
    (local $bucket i32)
    (local $e (ref $entry))
    (if (i32.eq (global.get $size) (i32.const 8192))
      (then (call $evict)))
    (local.set $bucket (call $hash (local.get $key)))
    (local.set $e
      (struct.new $entry
        (local.get $key)
        (struct.new $value (local.get $key) (local.get $now))
        (array.get $buckets (global.get $buckets) (local.get $bucket))
        (ref.null none)
        (ref.null none)))
    (array.set $buckets (global.get $buckets) (local.get $bucket) (local.get $e))
    (call $push (local.get $e))
    (global.set $size (i32.add (global.get $size) (i32.const 1))))

  (func (export "run") (param $n i32) (result i32)
    (local $i i32)
    (local $key i32)
    (local $sum i32)
    (local $e (ref null $entry))
    (global.set $seed (i32.const 0x1b873593))
    (global.set $buckets (array.new_default $buckets (i32.const 8192)))
    (global.set $newest (ref.null none))
    (global.set $oldest (ref.null none))
    (global.set $size (i32.const 0))
    (loop $lookup
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (local.set $key (call $key))
          (local.set $e (call $find (local.get $key)))
          (if (ref.is_null (local.get $e))
            (then (call $insert (local.get $key) (local.get $i)))
            (else
              (if (i32.ne
                    (struct.get $value $key
                      (struct.get $entry $value (local.get $e)))
                    (local.get $key))
                (then (unreachable)))
              (local.set $sum
                (i32.add
                  (i32.mul (local.get $sum) (i32.const 31))
                  (struct.get $value $made
                    (struct.get $entry $value (local.get $e)))))
              (call $unlink (ref.as_non_null (local.get $e)))
              (call $push (ref.as_non_null (local.get $e)))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $lookup))))

    ;; Walk the order of use: as many as were counted, and each can be found.
    (local.set $e (global.get $newest))
    (local.set $i (i32.const 0))
    (loop $walk
      (if (i32.eqz (ref.is_null (local.get $e)))
        (then
          (if (i32.eqz
                (ref.eq
                  (call $find (struct.get $entry $key (local.get $e)))
                  (local.get $e)))
            (then (unreachable)))
          (local.set $sum
            (i32.add
              (i32.mul (local.get $sum) (i32.const 31))
              (struct.get $entry $key (local.get $e))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (local.set $e (struct.get $entry $older (local.get $e)))
          (br $walk))))
    (if (i32.ne (local.get $i) (global.get $size))
      (then (unreachable)))
    (global.set $buckets (ref.null none))
    (global.set $newest (ref.null none))
    (global.set $oldest (ref.null none))
    (local.get $sum)))
