;; splay: a splay tree of 8,192 keys. Each step inserts a random key with a
;; payload and removes the greatest key below it.
;;
;; Stresses: mutation of old objects: each access turns the tree to bring its key
;;   to the root; high survival: a payload lives until its key is removed, in
;;   random order; writes of young into old.
;; Knob: n, the number of steps.
;; Live: 8,192 nodes of 24 bytes, each with a payload of 7 structs of 24 bytes and
;;   4 byte arrays of 32 bytes: 98,304 objects, 2,621,440 bytes. Each step
;;   allocates such a node and its payload, 12 objects of 320 bytes together, and
;;   a node of 24 bytes for each of its 2 or 3 splays.
;; Self-check: at the end the keys ascend, all are there, payloads carry their key.
;; Expect: run(500) = -334268058; run(200000) = 911371047.
(module
  (type $bytes (array (mut i8)))
  (type $payload (struct
    (field $left (ref null $payload))
    (field $right (ref null $payload))
    (field $bytes (ref null $bytes))))
  (type $node (struct
    (field $left (mut (ref null $node)))
    (field $right (mut (ref null $node)))
    (field $key i32)
    (field $payload (ref $payload))))

  (global $seed (mut i32) (i32.const 0))
  (global $root (mut (ref null $node)) (ref.null none))

  ;; xorshift32
  (func $random (result i32)
    (local $s i32)
    (local.set $s (global.get $seed))
    (local.set $s (i32.xor (local.get $s) (i32.shl (local.get $s) (i32.const 13))))
    (local.set $s (i32.xor (local.get $s) (i32.shr_u (local.get $s) (i32.const 17))))
    (local.set $s (i32.xor (local.get $s) (i32.shl (local.get $s) (i32.const 5))))
    (global.set $seed (local.get $s))
    (local.get $s))

  (func $payload (param $depth i32) (param $key i32) (result (ref $payload))
    (if (result (ref $payload)) (local.get $depth)
      (then
        (struct.new $payload
          (call $payload (i32.sub (local.get $depth) (i32.const 1)) (local.get $key))
          (call $payload (i32.sub (local.get $depth) (i32.const 1)) (local.get $key))
          (ref.null none)))
      (else
        (struct.new $payload
          (ref.null none)
          (ref.null none)
          (array.new $bytes (local.get $key) (i32.const 16))))))

  (func $node (param $key i32) (result (ref $node))
    (struct.new $node
      (ref.null none)
      (ref.null none)
      (local.get $key)
      (call $payload (i32.const 2) (local.get $key))))

  ;; Top-down splaying (Sleator and Tarjan, 1985): brings $key, or the last key on
  ;; the way to it, to the root. $l and $r grow into the trees of what is less and
  ;; of what is greater; both begin at $both, whose right and left field hold
  ;; their roots in the end.
  (func $splay (param $key i32)
    (local $both (ref $node))
    (local $l (ref $node))
    (local $r (ref $node))
    (local $t (ref $node))
    (local $y (ref null $node))
    (local.set $t (ref.as_non_null (global.get $root)))
    (local.set $both
      (struct.new $node
        (ref.null none)
        (ref.null none)
        (i32.const 0)
        (struct.get $node $payload (local.get $t))))
    (local.set $l (local.get $both))
    (local.set $r (local.get $both))
    (block $done
      (loop $down
        (br_if $done
          (i32.eq (local.get $key) (struct.get $node $key (local.get $t))))
        (if (i32.lt_s (local.get $key) (struct.get $node $key (local.get $t)))
          (then
            (local.set $y (struct.get $node $left (local.get $t)))
            (br_if $done (ref.is_null (local.get $y)))
            (if (i32.lt_s
                  (local.get $key)
                  (struct.get $node $key (local.get $y)))
              (then
                ;; Twice to the left: turn right first.
                (struct.set $node $left (local.get $t)
                  (struct.get $node $right (local.get $y)))
                (struct.set $node $right (local.get $y) (local.get $t))
                (local.set $t (ref.as_non_null (local.get $y)))
                (br_if $done
                  (ref.is_null (struct.get $node $left (local.get $t))))))
            ;; $t and all to its right is greater.
            (struct.set $node $left (local.get $r) (local.get $t))
            (local.set $r (local.get $t))
            (local.set $t
              (ref.as_non_null (struct.get $node $left (local.get $t)))))
          (else
            (local.set $y (struct.get $node $right (local.get $t)))
            (br_if $done (ref.is_null (local.get $y)))
            (if (i32.gt_s
                  (local.get $key)
                  (struct.get $node $key (local.get $y)))
              (then
                (struct.set $node $right (local.get $t)
                  (struct.get $node $left (local.get $y)))
                (struct.set $node $left (local.get $y) (local.get $t))
                (local.set $t (ref.as_non_null (local.get $y)))
                (br_if $done
                  (ref.is_null (struct.get $node $right (local.get $t))))))
            (struct.set $node $right (local.get $l) (local.get $t))
            (local.set $l (local.get $t))
            (local.set $t
              (ref.as_non_null (struct.get $node $right (local.get $t))))))
        (br $down)))
    (struct.set $node $right (local.get $l)
      (struct.get $node $left (local.get $t)))
    (struct.set $node $left (local.get $r)
      (struct.get $node $right (local.get $t)))
    (struct.set $node $left (local.get $t)
      (struct.get $node $right (local.get $both)))
    (struct.set $node $right (local.get $t)
      (struct.get $node $left (local.get $both)))
    (global.set $root (local.get $t)))

  ;; Inserts $key; 0 when it was there.
  (func $insert (param $key i32) (result i32)
    (local $t (ref null $node))
    (local $new (ref $node))
    (if (ref.is_null (global.get $root))
      (then
        (global.set $root (call $node (local.get $key)))
        (return (i32.const 1))))
    (call $splay (local.get $key))
    (local.set $t (global.get $root))
    (if (i32.eq (struct.get $node $key (local.get $t)) (local.get $key))
      (then (return (i32.const 0))))
    (local.set $new (call $node (local.get $key)))
    (if (i32.gt_s (local.get $key) (struct.get $node $key (local.get $t)))
      (then
        (struct.set $node $left (local.get $new) (local.get $t))
        (struct.set $node $right (local.get $new)
          (struct.get $node $right (local.get $t)))
        (struct.set $node $right (local.get $t) (ref.null none)))
      (else
        (struct.set $node $right (local.get $new) (local.get $t))
        (struct.set $node $left (local.get $new)
          (struct.get $node $left (local.get $t)))
        (struct.set $node $left (local.get $t) (ref.null none))))
    (global.set $root (local.get $new))
    (i32.const 1))

  ;; Removes $key, which must be there.
  (func $remove (param $key i32)
    (local $right (ref null $node))
    (call $splay (local.get $key))
    (if (i32.ne
          (struct.get $node $key (global.get $root))
          (local.get $key))
      (then (unreachable)))
    (local.set $right (struct.get $node $right (global.get $root)))
    (if (ref.is_null (struct.get $node $left (global.get $root)))
      (then (global.set $root (local.get $right)))
      (else
        (global.set $root (struct.get $node $left (global.get $root)))
        ;; All keys here are less: this brings the greatest to the root.
        (call $splay (local.get $key))
        (struct.set $node $right (global.get $root) (local.get $right)))))

  ;; The greatest key below the root's, or the root's when it is the least.
  (func $below_root (result i32)
    (local $t (ref null $node))
    (local $key i32)
    (local.set $key (struct.get $node $key (global.get $root)))
    (local.set $t (struct.get $node $left (global.get $root)))
    (loop $next
      (if (i32.eqz (ref.is_null (local.get $t)))
        (then
          (local.set $key (struct.get $node $key (local.get $t)))
          (local.set $t (struct.get $node $right (local.get $t)))
          (br $next))))
    (local.get $key))

  ;; Inserts a key that is new.
  (func $insert_random
    (loop $again
      (br_if $again (i32.eqz (call $insert (call $random))))))

  ;; Sums a payload's bytes, which all are the key's lowest byte.
  (func $sum_payload (param $p (ref null $payload)) (param $key i32) (result i32)
    (local $bytes (ref null $bytes))
    (if (ref.is_null (local.get $p))
      (then (return (i32.const 0))))
    (local.set $bytes (struct.get $payload $bytes (local.get $p)))
    (if (result i32) (ref.is_null (local.get $bytes))
      (then
        (i32.add
          (call $sum_payload
            (struct.get $payload $left (local.get $p)) (local.get $key))
          (call $sum_payload
            (struct.get $payload $right (local.get $p)) (local.get $key))))
      (else
        (if (i32.ne
              (array.get_u $bytes (local.get $bytes) (i32.const 15))
              (i32.and (local.get $key) (i32.const 255)))
          (then (unreachable)))
        (array.get_u $bytes (local.get $bytes) (i32.const 0)))))

  (global $last (mut i32) (i32.const 0))
  (global $count (mut i32) (i32.const 0))
  (global $sum (mut i32) (i32.const 0))

  ;; In order: counts, sums, and insists that keys ascend.
  (func $walk (param $t (ref null $node))
    (local $key i32)
    (if (i32.eqz (ref.is_null (local.get $t)))
      (then
        (call $walk (struct.get $node $left (local.get $t)))
        (local.set $key (struct.get $node $key (local.get $t)))
        (if (i32.and
              (i32.ne (global.get $count) (i32.const 0))
              (i32.le_s (local.get $key) (global.get $last)))
          (then (unreachable)))
        (global.set $last (local.get $key))
        (global.set $count (i32.add (global.get $count) (i32.const 1)))
        (global.set $sum
          (i32.add
            (i32.mul (global.get $sum) (i32.const 31))
            (i32.add
              (local.get $key)
              (call $sum_payload
                (struct.get $node $payload (local.get $t))
                (local.get $key)))))
        (call $walk (struct.get $node $right (local.get $t))))))

  (func (export "run") (param $n i32) (result i32)
    (local $i i32)
    (global.set $seed (i32.const 0x6c078965))
    (global.set $root (ref.null none))
    (loop $fill
      (call $insert_random)
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $fill (i32.lt_u (local.get $i) (i32.const 8192))))
    (local.set $i (i32.const 0))
    (loop $step
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (call $insert_random)
          (call $remove (call $below_root))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $step))))
    (global.set $count (i32.const 0))
    (global.set $sum (i32.const 0))
    (call $walk (global.get $root))
    (global.set $root (ref.null none))
    (if (i32.ne (global.get $count) (i32.const 8192))
      (then (unreachable)))
    (global.get $sum)))
