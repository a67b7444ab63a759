;; cast_deep: casts to the end of a chain of 64 types, as deep as WebAssembly's
;; engines agree to go (63 supertypes).
;;
;; Stresses: how the cost of a cast grows with depth: walking up the chain takes
;;   63 steps, a table of supertypes takes one. Half of the objects are of the
;;   deepest type, half of its supertype, where the test fails. No allocation
;;   while it runs.
;; Knob: n, the number of visits, of three or four casts each.
;; Live: 256 objects of 16 bytes and an array of 1,036 bytes.
;; Self-check: the tests agree with the number kept in the object.
;; Expect: run(100000) = -1932547760; run(100000000) = 1117610112.
(module
  ;; $deep in an object is its type's depth.
  (type $t0 (sub (struct (field $deep i32) (field $value i32))))
  (type $t1 (sub $t0 (struct (field $deep i32) (field $value i32))))
  (type $t2 (sub $t1 (struct (field $deep i32) (field $value i32))))
  (type $t3 (sub $t2 (struct (field $deep i32) (field $value i32))))
  (type $t4 (sub $t3 (struct (field $deep i32) (field $value i32))))
  (type $t5 (sub $t4 (struct (field $deep i32) (field $value i32))))
  (type $t6 (sub $t5 (struct (field $deep i32) (field $value i32))))
  (type $t7 (sub $t6 (struct (field $deep i32) (field $value i32))))
  (type $t8 (sub $t7 (struct (field $deep i32) (field $value i32))))
  (type $t9 (sub $t8 (struct (field $deep i32) (field $value i32))))
  (type $t10 (sub $t9 (struct (field $deep i32) (field $value i32))))
  (type $t11 (sub $t10 (struct (field $deep i32) (field $value i32))))
  (type $t12 (sub $t11 (struct (field $deep i32) (field $value i32))))
  (type $t13 (sub $t12 (struct (field $deep i32) (field $value i32))))
  (type $t14 (sub $t13 (struct (field $deep i32) (field $value i32))))
  (type $t15 (sub $t14 (struct (field $deep i32) (field $value i32))))
  (type $t16 (sub $t15 (struct (field $deep i32) (field $value i32))))
  (type $t17 (sub $t16 (struct (field $deep i32) (field $value i32))))
  (type $t18 (sub $t17 (struct (field $deep i32) (field $value i32))))
  (type $t19 (sub $t18 (struct (field $deep i32) (field $value i32))))
  (type $t20 (sub $t19 (struct (field $deep i32) (field $value i32))))
  (type $t21 (sub $t20 (struct (field $deep i32) (field $value i32))))
  (type $t22 (sub $t21 (struct (field $deep i32) (field $value i32))))
  (type $t23 (sub $t22 (struct (field $deep i32) (field $value i32))))
  (type $t24 (sub $t23 (struct (field $deep i32) (field $value i32))))
  (type $t25 (sub $t24 (struct (field $deep i32) (field $value i32))))
  (type $t26 (sub $t25 (struct (field $deep i32) (field $value i32))))
  (type $t27 (sub $t26 (struct (field $deep i32) (field $value i32))))
  (type $t28 (sub $t27 (struct (field $deep i32) (field $value i32))))
  (type $t29 (sub $t28 (struct (field $deep i32) (field $value i32))))
  (type $t30 (sub $t29 (struct (field $deep i32) (field $value i32))))
  (type $t31 (sub $t30 (struct (field $deep i32) (field $value i32))))
  (type $t32 (sub $t31 (struct (field $deep i32) (field $value i32))))
  (type $t33 (sub $t32 (struct (field $deep i32) (field $value i32))))
  (type $t34 (sub $t33 (struct (field $deep i32) (field $value i32))))
  (type $t35 (sub $t34 (struct (field $deep i32) (field $value i32))))
  (type $t36 (sub $t35 (struct (field $deep i32) (field $value i32))))
  (type $t37 (sub $t36 (struct (field $deep i32) (field $value i32))))
  (type $t38 (sub $t37 (struct (field $deep i32) (field $value i32))))
  (type $t39 (sub $t38 (struct (field $deep i32) (field $value i32))))
  (type $t40 (sub $t39 (struct (field $deep i32) (field $value i32))))
  (type $t41 (sub $t40 (struct (field $deep i32) (field $value i32))))
  (type $t42 (sub $t41 (struct (field $deep i32) (field $value i32))))
  (type $t43 (sub $t42 (struct (field $deep i32) (field $value i32))))
  (type $t44 (sub $t43 (struct (field $deep i32) (field $value i32))))
  (type $t45 (sub $t44 (struct (field $deep i32) (field $value i32))))
  (type $t46 (sub $t45 (struct (field $deep i32) (field $value i32))))
  (type $t47 (sub $t46 (struct (field $deep i32) (field $value i32))))
  (type $t48 (sub $t47 (struct (field $deep i32) (field $value i32))))
  (type $t49 (sub $t48 (struct (field $deep i32) (field $value i32))))
  (type $t50 (sub $t49 (struct (field $deep i32) (field $value i32))))
  (type $t51 (sub $t50 (struct (field $deep i32) (field $value i32))))
  (type $t52 (sub $t51 (struct (field $deep i32) (field $value i32))))
  (type $t53 (sub $t52 (struct (field $deep i32) (field $value i32))))
  (type $t54 (sub $t53 (struct (field $deep i32) (field $value i32))))
  (type $t55 (sub $t54 (struct (field $deep i32) (field $value i32))))
  (type $t56 (sub $t55 (struct (field $deep i32) (field $value i32))))
  (type $t57 (sub $t56 (struct (field $deep i32) (field $value i32))))
  (type $t58 (sub $t57 (struct (field $deep i32) (field $value i32))))
  (type $t59 (sub $t58 (struct (field $deep i32) (field $value i32))))
  (type $t60 (sub $t59 (struct (field $deep i32) (field $value i32))))
  (type $t61 (sub $t60 (struct (field $deep i32) (field $value i32))))
  (type $t62 (sub $t61 (struct (field $deep i32) (field $value i32))))
  (type $t63 (sub final $t62 (struct (field $deep i32) (field $value i32))))
  (type $objects (array (mut (ref null $t0))))

  (func (export "run") (param $n i32) (result i32)
    (local $objects (ref $objects))
    (local $o (ref $t0))
    (local $i i32)
    (local $sum i32)
    (local.set $objects (array.new_default $objects (i32.const 256)))
    (loop $fill
      ;; Bits 0 and 3 decide, so that neither half of the array is uniform.
      (array.set $objects (local.get $objects) (local.get $i)
        (if (result (ref $t0))
          (i32.and
            (i32.xor (local.get $i) (i32.shr_u (local.get $i) (i32.const 3)))
            (i32.const 1))
          (then (struct.new $t63 (i32.const 63) (local.get $i)))
          (else (struct.new $t62 (i32.const 62) (local.get $i)))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $fill (i32.lt_u (local.get $i) (i32.const 256))))

    (local.set $i (i32.const 0))
    (loop $visit
      (if (i32.lt_u (local.get $i) (local.get $n))
        (then
          (local.set $o
            (ref.as_non_null
              (array.get $objects (local.get $objects)
                (i32.and (local.get $i) (i32.const 255)))))
          ;; All are a $t32 and a $t62.
          (local.set $sum
            (i32.add
              (i32.mul (local.get $sum) (i32.const 31))
              (i32.add
                (struct.get $t32 $value (ref.cast (ref $t32) (local.get $o)))
                (struct.get $t62 $deep (ref.cast (ref $t62) (local.get $o))))))
          (if (ref.test (ref $t63) (local.get $o))
            (then
              (if (i32.ne
                    (struct.get $t63 $deep (ref.cast (ref $t63) (local.get $o)))
                    (i32.const 63))
                (then (unreachable)))
              (local.set $sum (i32.add (local.get $sum) (i32.const 1))))
            (else
              (if (i32.ne
                    (struct.get $t0 $deep (local.get $o))
                    (i32.const 62))
                (then (unreachable)))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $visit))))
    (local.get $sum)))
