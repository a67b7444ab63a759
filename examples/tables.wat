;; Tables: slots that belong to the module, for references to objects.
;;
;; A table is a root: what a slot refers to is alive. To clear a slot is how a
;; program lets go of an object. Here a table holds the youngest few of many objects,
;; and another holds functions, to be called by number.
;;
;; run: --invoke youngest 1000
;; out: 999
;; run: --invoke oldest 1000
;; out: 992
;; run: --invoke cleared
;; out: 8
;; run: --invoke call 0 20
;; out: 21
;; run: --invoke call 1 20
;; out: 40
(module
  (type $box (struct (field $value i32)))
  (type $function (func (param i32) (result i32)))

  ;; Eight slots, all null to begin with; 64 at most.
  (table $boxes 8 64 (ref null $box))
  ;; As many slots as there are functions.
  (table $functions funcref (elem $increment $double))

  (func $increment (type $function) (param $x i32) (result i32)
    (i32.add (local.get $x) (i32.const 1)))
  (func $double (type $function) (param $x i32) (result i32)
    (i32.mul (local.get $x) (i32.const 2)))

  ;; Makes boxes of 0 to $n - 1 and puts each into the next slot, going round. The box
  ;; that was there is garbage.
  (func $fill (param $n i32)
    (local $i i32)
    (loop $next
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (table.set $boxes
            (i32.rem_u (local.get $i) (i32.const 8))
            (struct.new $box (local.get $i)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next)))))

  (func $value (param $slot i32) (result i32)
    (struct.get $box $value (table.get $boxes (local.get $slot))))

  ;; The last box of $n.
  (func (export "youngest") (param $n i32) (result i32)
    (call $fill (local.get $n))
    (call $value
      (i32.rem_u
        (i32.sub (local.get $n) (i32.const 1))
        (i32.const 8))))

  ;; The oldest box of $n that is still there: its slot is the next in line.
  (func (export "oldest") (param $n i32) (result i32)
    (call $fill (local.get $n))
    (call $value (i32.rem_u (local.get $n) (i32.const 8))))

  ;; Grows the table by as much as it holds, copies the boxes into the new slots, clears
  ;; the old ones, and counts the boxes that are left.
  (func (export "cleared") (result i32)
    (local $size i32)
    (local $i i32)
    (local $count i32)
    (call $fill (i32.const 8))
    ;; table.grow returns the size before, or -1.
    (local.set $size
      (table.grow $boxes (ref.null none) (i32.const 8)))
    (table.copy $boxes $boxes
      (local.get $size) ;; to
      (i32.const 0)     ;; from
      (i32.const 8))    ;; how many
    (table.fill $boxes (i32.const 0) (ref.null none) (i32.const 8))
    (loop $next
      (local.set $count
        (i32.add
          (local.get $count)
          (i32.eqz (ref.is_null (table.get $boxes (local.get $i))))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (table.size $boxes))))
    (local.get $count))

  ;; Calls the function in slot $slot.
  (func (export "call") (param $slot i32) (param $x i32) (result i32)
    (call_indirect $functions (type $function)
      (local.get $x)
      (local.get $slot))))
