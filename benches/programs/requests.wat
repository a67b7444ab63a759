;; requests: a server of documents. A request is a line of text; the server takes
;; it apart, finds the document in a cache or makes it, and puts an answer
;; together. The cache keeps the 1,024 documents that were used last.
;;
;; Stresses: what a server does: much that dies with its request, under a cache of
;;   middle age from which old documents fall out all the time; how long single
;;   requests take. `gleaner bench --rate` sends requests as they would arrive, one
;;   every so often, whether or not the one before is answered: it calls setup(n)
;;   once and request(i) for each i below n. Their sum is what run(n) gives.
;; Knob: n, the number of requests. Documents are the smaller of two random numbers
;;   below 8,192: small ones are asked for more often, about a third are in the cache.
;; Live: up to 1,024 documents, each 31 nodes of 24 bytes with their texts of 24 or 32 bytes,
;;   an entry of 40 bytes and its name: about 65,000 objects, 1.7 MB; the table.
;; Self-check: a document says its number; the cache never has more than it may.
;; Expect: run(2000) = -1679750781; run(400000) = 1377193891.
(module
  (type $bytes (array (mut i8)))
  ;; A part of a request.
  (type $token (struct (field $text (ref $bytes)) (field $next (ref null $token))))
  ;; A document is a tree of texts.
  (type $node (struct
    (field $text (ref $bytes))
    (field $left (ref null $node))
    (field $right (ref null $node))))
  (type $entry (struct
    (field $name (ref $bytes))
    (field $document (ref $node))
    (field $size i32)
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

  ;; Writes $value in $digits decimal digits to $at.
  (func $number (param $to (ref $bytes)) (param $at i32) (param $digits i32) (param $value i32)
    (loop $next
      (local.set $digits (i32.sub (local.get $digits) (i32.const 1)))
      (array.set $bytes (local.get $to) (i32.add (local.get $at) (local.get $digits))
        (i32.add (i32.const 48) (i32.rem_u (local.get $value) (i32.const 10))))
      (local.set $value (i32.div_u (local.get $value) (i32.const 10)))
      (br_if $next (local.get $digits))))

  ;; The number that a text says.
  (func $value (param $text (ref $bytes)) (result i32)
    (local $i i32)
    (local $sum i32)
    (loop $next
      (if (i32.lt_u (local.get $i) (array.len (local.get $text)))
        (then
          (local.set $sum
            (i32.add
              (i32.mul (local.get $sum) (i32.const 10))
              (i32.sub (array.get_u $bytes (local.get $text) (local.get $i)) (i32.const 48))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next))))
    (local.get $sum))

  ;; "GET /d/04711?part=07", as request $i has it.
  (func $line (param $i i32) (result (ref $bytes))
    (local $line (ref $bytes))
    (local $a i32)
    (local $b i32)
    (global.set $seed
      (i32.or (i32.mul (i32.add (local.get $i) (i32.const 1)) (i32.const 0x9e3779b1)) (i32.const 1)))
    (drop (call $random))
    (local.set $a (i32.and (call $random) (i32.const 8191)))
    (local.set $b (i32.and (call $random) (i32.const 8191)))
    (if (i32.lt_u (local.get $b) (local.get $a))
      (then (local.set $a (local.get $b))))
    (local.set $line
      (array.new_fixed $bytes 20
        (i32.const 71) (i32.const 69) (i32.const 84) (i32.const 32)
        (i32.const 47) (i32.const 100) (i32.const 47)
        (i32.const 48) (i32.const 48) (i32.const 48) (i32.const 48) (i32.const 48)
        (i32.const 63) (i32.const 112) (i32.const 97) (i32.const 114) (i32.const 116) (i32.const 61)
        (i32.const 48) (i32.const 48)))
    (call $number (local.get $line) (i32.const 7) (i32.const 5) (local.get $a))
    (call $number (local.get $line) (i32.const 18) (i32.const 2)
      (i32.and (call $random) (i32.const 31)))
    (local.get $line))

  (func $is_separator (param $c i32) (result i32)
    (i32.or
      (i32.or
        (i32.eq (local.get $c) (i32.const 32))
        (i32.eq (local.get $c) (i32.const 47)))
      (i32.or
        (i32.eq (local.get $c) (i32.const 63))
        (i32.eq (local.get $c) (i32.const 61)))))

  ;; The tokens of a line, the last one first.
  (func $parse (param $line (ref $bytes)) (result (ref null $token))
    (local $tokens (ref null $token))
    (local $text (ref $bytes))
    (local $i i32)
    (local $start i32)
    (local $end i32)
    (local.set $end (array.len (local.get $line)))
    (loop $next
      (if (if (result i32) (i32.lt_u (local.get $i) (local.get $end))
            (then
              (i32.eqz
                (call $is_separator
                  (array.get_u $bytes (local.get $line) (local.get $i)))))
            (else (i32.const 0)))
        (then)
        (else
          (if (i32.gt_u (local.get $i) (local.get $start))
            (then
              (local.set $text
                (array.new_default $bytes (i32.sub (local.get $i) (local.get $start))))
              (array.copy $bytes $bytes (local.get $text) (i32.const 0)
                (local.get $line) (local.get $start)
                (i32.sub (local.get $i) (local.get $start)))
              (local.set $tokens
                (struct.new $token (local.get $text) (local.get $tokens)))))
          (local.set $start (i32.add (local.get $i) (i32.const 1)))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.le_u (local.get $i) (local.get $end))))
    (local.get $tokens))

  ;; Makes the tree of a document: texts say its number.
  (func $make (param $key i32) (param $depth i32) (result (ref $node))
    (local $text (ref $bytes))
    (local.set $text
      (array.new $bytes (i32.const 46)
        (i32.add (i32.const 8) (i32.and (call $random) (i32.const 7)))))
    (call $number (local.get $text) (i32.const 0) (i32.const 5) (local.get $key))
    (if (result (ref $node)) (local.get $depth)
      (then
        (struct.new $node
          (local.get $text)
          (call $make (local.get $key) (i32.sub (local.get $depth) (i32.const 1)))
          (call $make (local.get $key) (i32.sub (local.get $depth) (i32.const 1)))))
      (else
        (struct.new $node (local.get $text) (ref.null none) (ref.null none)))))

  ;; Bytes of all texts of a document.
  (func $measure (param $node (ref null $node)) (result i32)
    (if (ref.is_null (local.get $node))
      (then (return (i32.const 0))))
    (i32.add
      (array.len (struct.get $node $text (local.get $node)))
      (i32.add
        (call $measure (struct.get $node $left (local.get $node)))
        (call $measure (struct.get $node $right (local.get $node))))))

  ;; Appends all texts of a document to $to from $at on; gives where they end.
  (func $render (param $node (ref null $node)) (param $to (ref $bytes)) (param $at i32) (result i32)
    (local $text (ref $bytes))
    (if (ref.is_null (local.get $node))
      (then (return (local.get $at))))
    (local.set $text (struct.get $node $text (local.get $node)))
    (array.copy $bytes $bytes (local.get $to) (local.get $at)
      (local.get $text) (i32.const 0) (array.len (local.get $text)))
    (local.set $at (i32.add (local.get $at) (array.len (local.get $text))))
    (local.set $at (call $render (struct.get $node $left (local.get $node)) (local.get $to) (local.get $at)))
    (call $render (struct.get $node $right (local.get $node)) (local.get $to) (local.get $at)))

  ;; FNV-1a
  (func $hash (param $text (ref $bytes)) (result i32)
    (local $i i32)
    (local $h i32)
    (local.set $h (i32.const 0x811c9dc5))
    (loop $next
      (if (i32.lt_u (local.get $i) (array.len (local.get $text)))
        (then
          (local.set $h
            (i32.mul
              (i32.xor (local.get $h) (array.get_u $bytes (local.get $text) (local.get $i)))
              (i32.const 0x01000193)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next))))
    (local.get $h))

  (func $bucket (param $name (ref $bytes)) (result i32)
    (i32.and (call $hash (local.get $name)) (i32.const 2047)))

  (func $same (param $a (ref $bytes)) (param $b (ref $bytes)) (result i32)
    (local $i i32)
    (if (i32.ne (array.len (local.get $a)) (array.len (local.get $b)))
      (then (return (i32.const 0))))
    (loop $next
      (if (i32.lt_u (local.get $i) (array.len (local.get $a)))
        (then
          (if (i32.ne
                (array.get_u $bytes (local.get $a) (local.get $i))
                (array.get_u $bytes (local.get $b) (local.get $i)))
            (then (return (i32.const 0))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next))))
    (i32.const 1))

  (func $find (param $name (ref $bytes)) (result (ref null $entry))
    (local $e (ref null $entry))
    (local.set $e (array.get $buckets (global.get $buckets) (call $bucket (local.get $name))))
    (loop $next
      (if (ref.is_null (local.get $e))
        (then (return (ref.null none))))
      (if (call $same (struct.get $entry $name (local.get $e)) (local.get $name))
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

  ;; Drops the least recently used.
  (func $evict
    (local $e (ref $entry))
    (local $bucket i32)
    (local $before (ref null $entry))
    (local $here (ref null $entry))
    (local.set $e (ref.as_non_null (global.get $oldest)))
    (call $unlink (local.get $e))
    (local.set $bucket (call $bucket (struct.get $entry $name (local.get $e))))
    (local.set $here (array.get $buckets (global.get $buckets) (local.get $bucket)))
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
        (struct.set $entry $chain (local.get $before) (struct.get $entry $chain (local.get $e)))))
    (global.set $size (i32.sub (global.get $size) (i32.const 1))))

  ;; Makes a document and puts it into the cache.
  (func $insert (param $name (ref $bytes)) (result (ref $entry))
    (local $bucket i32)
    (local $document (ref $node))
    (local $e (ref $entry))
    (if (i32.eq (global.get $size) (i32.const 1024))
      (then (call $evict)))
    (local.set $document (call $make (call $value (local.get $name)) (i32.const 4)))
    (local.set $bucket (call $bucket (local.get $name)))
    (local.set $e
      (struct.new $entry
        (local.get $name)
        (local.get $document)
        (call $measure (local.get $document))
        (array.get $buckets (global.get $buckets) (local.get $bucket))
        (ref.null none)
        (ref.null none)))
    (array.set $buckets (global.get $buckets) (local.get $bucket) (local.get $e))
    (call $push (local.get $e))
    (global.set $size (i32.add (global.get $size) (i32.const 1)))
    (if (i32.gt_u (global.get $size) (i32.const 1024))
      (then (unreachable)))
    (local.get $e))

  ;; The document of this name, made if need be.
  (func $look_up (param $name (ref $bytes)) (result (ref $entry))
    (local $found (ref null $entry))
    (local.set $found (call $find (local.get $name)))
    (if (ref.is_null (local.get $found))
      (then (return (call $insert (local.get $name)))))
    (call $unlink (ref.as_non_null (local.get $found)))
    (call $push (ref.as_non_null (local.get $found)))
    (ref.as_non_null (local.get $found)))

  (func $setup (export "setup") (param $n i32)
    (global.set $buckets (array.new_default $buckets (i32.const 2048)))
    (global.set $newest (ref.null none))
    (global.set $oldest (ref.null none))
    (global.set $size (i32.const 0)))

  ;; Answers request $i; the answer is the hash of the text, all of it or up to a part.
  (func $request (export "request") (param $i i32) (result i32)
    (local $tokens (ref null $token))
    (local $part i32)
    (local $e (ref $entry))
    (local $answer (ref $bytes))
    ;; The last token is the part, the one before it says "part", the one before that is the name.
    (local.set $tokens (call $parse (call $line (local.get $i))))
    (local.set $part (call $value (struct.get $token $text (local.get $tokens))))
    (local.set $tokens (struct.get $token $next (struct.get $token $next (local.get $tokens))))
    (local.set $e (call $look_up (struct.get $token $text (local.get $tokens))))
    (if (i32.ne
          (call $value_of_five (struct.get $node $text (struct.get $entry $document (local.get $e))))
          (call $value (struct.get $entry $name (local.get $e))))
      (then (unreachable)))
    (local.set $answer
      (array.new $bytes (i32.const 32)
        (i32.add (struct.get $entry $size (local.get $e)) (local.get $part))))
    (drop (call $render (struct.get $entry $document (local.get $e)) (local.get $answer) (i32.const 0)))
    (call $hash (local.get $answer)))

  ;; The number that the first five characters say.
  (func $value_of_five (param $text (ref $bytes)) (result i32)
    (local $first (ref $bytes))
    (local.set $first (array.new_default $bytes (i32.const 5)))
    (array.copy $bytes $bytes (local.get $first) (i32.const 0) (local.get $text) (i32.const 0) (i32.const 5))
    (call $value (local.get $first)))

  (func (export "run") (param $n i32) (result i32)
    (local $i i32)
    (local $sum i32)
    (call $setup (local.get $n))
    (loop $next
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (local.set $sum (i32.add (local.get $sum) (call $request (local.get $i))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next))))
    (local.get $sum)))
