;; Hello: greets, a character at a time.
;;
;; The text is an array of bytes, an object on the garbage-collected heap. It is
;; made from a data segment, the part of a module where constant bytes live.
;;
;; run:
;; out: Hello, heap!
(module
  ;; The host prints a character, given its code.
  (import "spectest" "print_char" (func $print_char (param i32)))

  (type $text (array i8))

  (data $greeting "Hello, heap!\n")

  (func $print (param $text (ref $text))
    (local $i i32)
    (loop $next
      (if (i32.lt_u (local.get $i) (array.len (local.get $text)))
        (then
          ;; Elements of one byte are read with an extension, here by zeros.
          (call $print_char
            (array.get_u $text (local.get $text) (local.get $i)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next)))))

  ;; `_start` runs when no function is named.
  (func (export "_start")
    (call $print
      ;; 13 bytes, from the segment's beginning.
      (array.new_data $text $greeting (i32.const 0) (i32.const 13)))))
