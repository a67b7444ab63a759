;; As a compiler of C or Rust lays a program out: a stack at the bottom of a memory of 17 pages, data behind it, a table of
;; functions. `run` writes to three of the memory's pages and gives 42.
(module
  (import "host" "number" (func $number (result i32)))
  (memory $m 17)
  (global $sp (mut i32) (i32.const 1048576))
  (data (memory $m) (i32.const 1048576) "\05\00\00\00 some text, as programs have it")
  (table $t 16 funcref)
  (elem (table $t) (i32.const 1) func $add $sub $add $sub $add $sub)
  (func $add (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func $sub (param i32 i32) (result i32) (i32.sub (local.get 0) (local.get 1)))
  (func (export "run") (result i32) (local $frame i32)
    (global.set $sp (local.tee $frame (i32.sub (global.get $sp) (i32.const 64))))
    (i32.store offset=12 (local.get $frame) (call $number))
    ;; What an allocator would give.
    (i32.store (i32.const 1052672) (i32.load (i32.const 1048576)))
    (call_indirect $t (param i32 i32) (result i32)
      (i32.load offset=12 (local.get $frame))
      (i32.load (i32.const 1052672))
      (i32.const 1))
    (global.set $sp (i32.add (local.get $frame) (i32.const 64)))))
