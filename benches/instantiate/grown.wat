;; A memory that grows from 1 page to 64, of which 32 are written to, and a table that grows to 20 000 elements. `run` gives 42.
(module
  (import "host" "number" (func $number (result i32)))
  (memory $m 1)
  (table $t 1 funcref)
  (elem (table $t) (i32.const 0) func $add)
  (func $add (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "run") (result i32)
    (drop (memory.grow (i32.const 63)))
    (drop (table.grow $t (ref.null func) (i32.const 19999)))
    (memory.fill (i32.const 65536) (i32.const 5) (i32.const 2097152))
    (table.set $t (i32.const 19999) (table.get $t (i32.const 0)))
    (call_indirect $t (param i32 i32) (result i32)
      (call $number) (i32.load8_u (i32.const 100000)) (i32.const 19999))))
