//! Vectors where the official suite has none: in objects, exceptions and globals, between the host and WebAssembly, and
//! through collections.

use super::*;
use crate::Emit;

/// A vector all of whose bytes differ from each other and, for another `seed`, from that one's.
fn vector(seed: u8) -> V128 {
    V128::from(std::array::from_fn::<u8, 16, _>(|i| seed.wrapping_mul(16) + i as u8))
}

fn vectors(values: Vec<Val>) -> Vec<V128> {
    values.iter().map(|value| value.v128().unwrap()).collect()
}

#[test]
fn shapes_are_views_of_the_same_bits() {
    let vector = V128::from_bits(0x0f0e0d0c_0b0a0908_07060504_83828180);
    assert_eq!(<[u8; 16]>::from(vector)[..5], [0x80, 0x81, 0x82, 0x83, 4]);
    assert_eq!(<[i8; 16]>::from(vector)[0], -128);
    assert_eq!(<[u16; 8]>::from(vector)[1], 0x8382);
    assert_eq!(<[i32; 4]>::from(vector), [0x8382_8180_u32 as i32, 0x0706_0504, 0x0b0a_0908, 0x0f0e_0d0c]);
    assert_eq!(<[u64; 2]>::from(vector), [0x0706_0504_8382_8180, 0x0f0e_0d0c_0b0a_0908]);
    assert_eq!(V128::from([1.5f32, -0.0, 2.0, f32::INFINITY]).to_bits(), 0x7f800000_40000000_80000000_3fc00000);
    assert_eq!(V128::from([i16::MIN, 1, 2, 3, 4, 5, 6, -1]).to_bits(), 0xffff0006_00050004_00030002_00018000);
    assert_eq!(format!("{:?}", V128::from([1u64, 2])), "V128(0x00000000000000020000000000000001)");
}

#[test]
fn vectors_pass_between_the_host_and_webassembly() {
    each::<()>(|store, linker| {
        linker
            .func_wrap("host", "mixed", |a: i32, v: V128, b: f64, w: V128, c: i64| {
                let [low, high] = <[u64; 2]>::from(w);
                (V128::from([low + a as u64, high + c as u64]), b, v)
            })
            .unwrap();
        // More than there are registers for, on the way in and out.
        let types = [ValType::V128; 12];
        linker
            .func_new("host", "reverse", FuncType::new(types, types), |_, args, results| {
                results.iter_mut().zip(args.iter().rev()).for_each(|(result, arg)| *result = arg.clone());
                Ok(())
            })
            .unwrap();
        let many = "v128 ".repeat(12);
        let locals: String = (0..12).map(|i| format!("(local.get {i})")).collect();
        let instance = instance(
            store,
            linker,
            &format!(
                r#"(module
                  (import "host" "mixed" (func $mixed (param i32 v128 f64 v128 i64) (result v128 f64 v128)))
                  (import "host" "reverse" (func $reverse (param {many}) (result {many})))
                  (func (export "mixed") (param v128 v128) (result v128 f64 v128)
                    (call $mixed (i32.const 1) (local.get 0) (f64.const 2.5) (local.get 1) (i64.const 3)))
                  (func $inner (param {many}) (result {many}) (call $reverse {locals}))
                  (func (export "reverse") (param {many}) (result {many})
                    {locals} (call $inner) (call $reverse) (call $inner)))"#
            ),
        );
        let mixed = instance.get_typed_func::<(V128, V128), (V128, f64, V128)>(&mut *store, "mixed").unwrap();
        let (sum, float, same) = mixed.call(&mut *store, (vector(3), V128::from([10u64, 20]))).unwrap();
        assert_eq!((sum, float, same), (V128::from([11u64, 23]), 2.5, vector(3)));
        let args: Vec<Val> = (0..12).map(|seed| vector(seed).into()).collect();
        let reversed = vectors(call(store, instance, "reverse", &args).unwrap());
        assert_eq!(reversed, (0..12).rev().map(vector).collect::<Vec<_>>());
        let wrong = call(store, instance, "mixed", &[Val::I64(0), vector(0).into()]).unwrap_err();
        assert!(wrong.to_string().contains("expected a value of type v128"), "{wrong}");
    });
}

#[test]
fn vectors_flow_through_control() {
    each::<()>(|store, linker| {
        let instance = instance(
            store,
            linker,
            r#"(module
              (func (export "select") (param i32 v128 v128) (result v128 v128)
                (select (local.get 1) (local.get 2) (local.get 0))
                (select (result v128) (local.get 2) (local.get 1) (local.get 0)))
              (func (export "default") (result v128) (local v128) (local.get 0))
              ;; n times x + x, kept as the parameter of a loop.
              (func (export "loop") (param $n i32) (param $x v128) (result v128)
                (local.get $x)
                (loop $again (param v128) (result v128)
                  (i32x4.add (local.get $x))
                  (local.tee $x)
                  (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
              (func (export "table") (param i32 v128 v128) (result v128)
                (block $a (result v128)
                  (v128.not
                    (block $b (result v128)
                      (br_table $a $b (local.get 1) (local.get 0))))))
              (func $tail (param i32 v128) (result v128)
                (if (result v128) (local.get 0)
                  (then (return_call $tail (i32.sub (local.get 0) (i32.const 1)) (i8x16.add (local.get 1) (local.get 1))))
                  (else (local.get 1))))
              (export "tail" (func $tail)))"#,
        );
        let (a, b) = (vector(1), vector(2));
        let mut run = |name: &str, args: &[Val]| vectors(call(store, instance, name, args).unwrap());
        assert_eq!(run("select", &[Val::I32(1), a.into(), b.into()]), [a, b]);
        assert_eq!(run("select", &[Val::I32(0), a.into(), b.into()]), [b, a]);
        assert_eq!(run("default", &[]), [V128::default()]);
        let doubled = run("loop", &[Val::I32(3), V128::from([1, 2, 3, -4]).into()]);
        assert_eq!(<[i32; 4]>::from(doubled[0]), [8, 16, 24, -32]);
        assert_eq!(run("table", &[Val::I32(0), a.into(), b.into()]), [a]);
        assert_eq!(run("table", &[Val::I32(1), a.into(), b.into()]), [V128::from_bits(!a.to_bits())]);
        assert_eq!(run("tail", &[Val::I32(7), V128::from([1u8; 16]).into()]), [V128::from([128u8; 16])]);
    });
}

#[test]
fn globals_hold_vectors() {
    each::<()>(|store, linker| {
        let ty = |mutable| GlobalType { content: ValType::V128, mutable };
        let fixed = Global::new(&mut *store, ty(false), &vector(5).into()).unwrap();
        let shared = Global::new(&mut *store, ty(true), &vector(6).into()).unwrap();
        linker.define(&*store, "host", "fixed", fixed).unwrap();
        linker.define(&*store, "host", "shared", shared).unwrap();
        let instance = instance(
            store,
            linker,
            r#"(module
              (import "host" "fixed" (global $fixed v128))
              (import "host" "shared" (global $shared (mut v128)))
              (global $byte (mut i32) (i32.const -1))
              (global $copy (export "copy") v128 (global.get $fixed))
              (global $own (export "own") (mut v128) (v128.const i32x4 1 2 3 4))
              (func (export "get") (result v128 v128 v128 v128)
                (global.get $fixed) (global.get $shared) (global.get $copy) (global.get $own))
              (func (export "set") (param v128)
                (global.set $shared (local.get 0)) (global.set $own (v128.not (local.get 0)))))"#,
        );
        let own = instance.get_global(&mut *store, "own").unwrap();
        let values = vectors(call(store, instance, "get", &[]).unwrap());
        assert_eq!(values, [vector(5), vector(6), vector(5), V128::from([1, 2, 3, 4])]);
        call(store, instance, "set", &[vector(7).into()]).unwrap();
        assert_eq!(shared.get(&mut *store).v128(), Some(vector(7)));
        assert_eq!(own.get(&mut *store).v128(), Some(V128::from_bits(!vector(7).to_bits())));
        own.set(&mut *store, &vector(8).into()).unwrap();
        assert_eq!(vectors(call(store, instance, "get", &[]).unwrap())[3], vector(8));
        assert!(own.set(&mut *store, &Val::I64(0)).is_err() && fixed.set(&mut *store, &vector(0).into()).is_err());
    });
}

/// Structs of 40 and 48 bytes by turns, so that the vectors stand at all offsets that 8-byte alignment leaves.
#[test]
fn fields_hold_vectors_between_references() {
    let drops = Arc::new(AtomicUsize::new(0));
    each::<()>(|store, linker| {
        let counts = store.engine().gc().info().name != "null";
        drops.store(0, SeqCst);
        let collect = |mut caller: Caller<'_, ()>| {
            caller.gc(CollectionKind::Major);
        };
        linker.func_wrap("host", "gc", collect).unwrap();
        let instance = instance(
            store,
            linker,
            r#"(module
              (type $list (sub (struct
                (field $v (mut v128)) (field $next (mut (ref null $list))) (field $host (mut externref)) (field $b i8))))
              (type $long (sub $list (struct
                (field $v (mut v128)) (field $next (mut (ref null $list))) (field $host (mut externref)) (field $b i8)
                (field $w (mut v128)))))
              (import "host" "gc" (func $gc))
              (global $head (export "head") (mut (ref null $list)) (ref.null $list))
              (func $splat (param i32) (result v128)
                (i32x4.add (i32x4.splat (local.get 0)) (v128.const i32x4 0 1000 2000 3000)))
              (func (export "make") (param $n i32) (param $host externref)
                (loop $again
                  (global.set $head (if (result (ref $list)) (i32.and (local.get $n) (i32.const 1))
                    (then (struct.new $list (call $splat (local.get $n)) (global.get $head) (local.get $host) (local.get $n)))
                    (else (struct.new $long (call $splat (local.get $n)) (global.get $head) (local.get $host) (local.get $n)
                      (v128.not (call $splat (local.get $n)))))))
                  (if (i32.eqz (i32.rem_u (local.get $n) (i32.const 37))) (then (call $gc)))
                  (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
              ;; The sum of all vectors, with what follows from the numbers checked.
              (func (export "sum") (result v128) (local $at (ref null $list)) (local $sum v128)
                (local.set $at (global.get $head))
                (loop $again
                  (local.set $sum (i32x4.add (local.get $sum) (struct.get $list $v (local.get $at))))
                  (if (i32.ne (struct.get_u $list $b (local.get $at))
                              (i32.and (i32x4.extract_lane 0 (struct.get $list $v (local.get $at))) (i32.const 255)))
                    (then unreachable))
                  (if (ref.test (ref $long) (local.get $at)) (then
                    (if (v128.any_true (v128.not (v128.xor
                        (struct.get $long $v (ref.cast (ref $long) (local.get $at)))
                        (struct.get $long $w (ref.cast (ref $long) (local.get $at))))))
                      (then unreachable))))
                  (local.set $at (struct.get $list $next (local.get $at)))
                  (br_if $again (i32.eqz (ref.is_null (local.get $at)))))
                (local.get $sum))
              (func (export "default") (result v128 v128) (local $s (ref $long))
                (local.set $s (struct.new_default $long))
                (struct.get $long $v (local.get $s)) (struct.get $long $w (local.get $s)))
              (func (export "forget")
                (global.set $head (ref.null $list)))
              (func (export "null") (result v128) (struct.get $list $v (ref.null $list)))
              (func (export "set_null") (struct.set $list $v (ref.null $list) (v128.const i64x2 0 0))))"#,
        );
        const N: i32 = 500;
        let host = ExternRef::new(&mut *store, Dropped(drops.clone())).unwrap();
        call(store, instance, "make", &[Val::I32(N), host.into()]).unwrap();
        store.gc(CollectionKind::Major);
        assert_eq!(drops.load(SeqCst), 0, "the list holds it");
        let sum = vectors(call(store, instance, "sum", &[]).unwrap())[0];
        let numbers = N * (N + 1) / 2;
        assert_eq!(<[i32; 4]>::from(sum), [0, 1, 2, 3].map(|lane| numbers + lane * 1000 * N));
        // Objects that were freed before hold all kinds of bits; these must be zero.
        for _ in 0..100 {
            assert_eq!(vectors(call(store, instance, "default", &[]).unwrap()), [V128::default(); 2]);
        }
        let Val::AnyRef(Some(any)) = instance.get_global(&mut *store, "head").unwrap().get(&mut *store) else {
            panic!()
        };
        let head = any.as_struct(&*store).unwrap();
        assert_eq!(head.field(&mut *store, 0).unwrap().v128(), Some(V128::from([1, 1001, 2001, 3001])));
        head.set_field(&mut *store, 0, &V128::from([2, 1002, 2002, 3002]).into()).unwrap();
        assert!(head.set_field(&mut *store, 0, &Val::I64(1)).is_err());
        assert_eq!(trap(store, instance, "sum", &[]), Trap::Unreachable, "the byte no longer fits");
        assert_eq!(trap(store, instance, "null", &[]), Trap::NullReference);
        assert_eq!(trap(store, instance, "set_null", &[]), Trap::NullReference);
        drop((any, head));
        call(store, instance, "forget", &[]).unwrap();
        store.gc(CollectionKind::Major);
        assert_eq!(drops.load(SeqCst), usize::from(counts));
    });
}

#[test]
fn arrays_hold_vectors() {
    each::<()>(|store, linker| {
        let instance = instance(
            store,
            linker,
            r#"(module
              (type $a (array (mut v128)))
              (type $bytes (array (mut i8)))
              (data $d "0123456789abcdef" "ghijklmnopqrstuv" "wxyz")
              (global $a (export "a") (mut (ref null $a)) (ref.null $a))
              (global $constant (ref $a) (array.new $a (v128.const i64x2 5 6) (i32.const 40)))
              (global $listed (ref $a) (array.new_fixed $a 2 (v128.const i64x2 1 2) (v128.const i64x2 3 4)))
              (global $empty (ref $a) (array.new_default $a (i32.const 3)))
              (func (export "constants") (result v128 v128 v128)
                (array.get $a (global.get $constant) (i32.const 39))
                (array.get $a (global.get $listed) (i32.const 1))
                (array.get $a (global.get $empty) (i32.const 2)))
              ;; Something small before each, so that arrays start at all offsets that alignment leaves.
              (func $pad (drop (array.new_default $bytes (i32.const 1))))
              (func (export "new") (param v128 i32)
                (call $pad) (global.set $a (array.new $a (local.get 0) (local.get 1))))
              (func (export "new_3") (param v128)
                (call $pad) (global.set $a (array.new $a (local.get 0) (i32.const 3))))
              (func (export "new_default") (param i32)
                (call $pad) (global.set $a (array.new_default $a (local.get 0))))
              (func (export "new_default_3")
                (call $pad) (global.set $a (array.new_default $a (i32.const 3))))
              (func (export "new_fixed") (param v128 v128)
                (call $pad) (global.set $a (array.new_fixed $a 3 (local.get 0) (local.get 1) (v128.not (local.get 0)))))
              (func (export "new_data") (param i32 i32)
                (call $pad) (global.set $a (array.new_data $a $d (local.get 0) (local.get 1))))
              (func (export "get") (param i32) (result v128) (array.get $a (global.get $a) (local.get 0)))
              (func (export "set") (param i32 v128) (array.set $a (global.get $a) (local.get 0) (local.get 1)))
              (func (export "fill") (param i32 v128 i32)
                (array.fill $a (global.get $a) (local.get 0) (local.get 1) (local.get 2)))
              (func (export "copy") (param i32 i32 i32)
                (array.copy $a $a (global.get $a) (local.get 0) (global.get $a) (local.get 1) (local.get 2)))
              (func (export "init_data") (param i32 i32 i32)
                (array.init_data $a $d (global.get $a) (local.get 0) (local.get 1) (local.get 2))))"#,
        );
        let int = Val::I32;
        let text = |range: std::ops::Range<usize>| {
            V128::from(<[u8; 16]>::try_from(&b"0123456789abcdefghijklmnopqrstuvwxyz"[range]).unwrap())
        };
        let constants = vectors(call(store, instance, "constants", &[]).unwrap());
        assert_eq!(constants, [V128::from([5u64, 6]), V128::from([3u64, 4]), V128::default()]);
        let elements = |store: &mut Store<()>| {
            let Val::AnyRef(Some(a)) = instance.get_global(&mut *store, "a").unwrap().get(&mut *store) else {
                panic!()
            };
            let a = a.as_array(&*store).unwrap();
            let length = a.len(&*store);
            let elements: Vec<_> =
                (0..length).map(|i| a.get_element(&mut *store, i).unwrap().v128().unwrap()).collect();
            for (i, element) in elements.iter().enumerate() {
                assert_eq!(vectors(call(store, instance, "get", &[int(i as i32)]).unwrap()), [*element]);
            }
            elements
        };
        let run = |store: &mut Store<()>, name: &str, args: &[Val]| call(store, instance, name, args).map(drop);
        let (x, y, zero) = (vector(1), vector(2), V128::default());
        // Twice, at addresses that differ by 24 bytes modulo 32.
        for _ in 0..2 {
            run(store, "new", &[x.into(), int(50)]).unwrap();
            assert_eq!(elements(store), [x; 50]);
            run(store, "new", &[x.into(), int(0)]).unwrap();
            assert_eq!(elements(store), []);
            run(store, "new_3", &[y.into()]).unwrap();
            assert_eq!(elements(store), [y; 3]);
            run(store, "new_default", &[int(21)]).unwrap();
            assert_eq!(elements(store), [zero; 21]);
            run(store, "new_default_3", &[]).unwrap();
            assert_eq!(elements(store), [zero; 3]);
            run(store, "new_fixed", &[x.into(), y.into()]).unwrap();
            assert_eq!(elements(store), [x, y, V128::from_bits(!x.to_bits())]);
            run(store, "new_data", &[int(3), int(2)]).unwrap();
            assert_eq!(elements(store), [text(3..19), text(19..35)]);

            run(store, "new_default", &[int(6)]).unwrap();
            run(store, "set", &[int(1), x.into()]).unwrap();
            run(store, "fill", &[int(3), y.into(), int(2)]).unwrap();
            assert_eq!(elements(store), [zero, x, zero, y, y, zero]);
            run(store, "copy", &[int(0), int(1), int(4)]).unwrap();
            assert_eq!(elements(store), [x, zero, y, y, y, zero]);
            run(store, "copy", &[int(1), int(0), int(5)]).unwrap();
            assert_eq!(elements(store), [x, x, zero, y, y, y]);
            run(store, "init_data", &[int(4), int(4), int(2)]).unwrap();
            let expected = [x, x, zero, y, text(4..20), text(20..36)];
            assert_eq!(elements(store), expected);
            // What would go too far changes nothing.
            let failed = |store: &mut Store<()>, name: &str, args: &[Val]| trap(store, instance, name, args);
            assert_eq!(failed(store, "set", &[int(6), y.into()]), Trap::ArrayOutOfBounds);
            assert_eq!(failed(store, "fill", &[int(3), x.into(), int(4)]), Trap::ArrayOutOfBounds);
            assert_eq!(failed(store, "copy", &[int(0), int(3), int(4)]), Trap::ArrayOutOfBounds);
            assert_eq!(failed(store, "init_data", &[int(0), int(5), int(2)]), Trap::MemoryOutOfBounds);
            assert_eq!(failed(store, "init_data", &[int(5), int(0), int(2)]), Trap::ArrayOutOfBounds);
            assert_eq!(failed(store, "new_data", &[int(21), int(1)]), Trap::MemoryOutOfBounds);
            assert_eq!(failed(store, "new", &[x.into(), int(-1)]), Trap::AllocationTooLarge);
            assert_eq!(elements(store), expected);
        }
    });
}

#[test]
fn the_host_makes_objects_of_vectors() {
    each::<()>(|store, _| {
        let registry = store.engine().registry().clone();
        let field = |storage| FieldType { storage, mutable: true };
        let vector_field = field(StorageType::Val(ValType::V128));
        let fields =
            Box::new([field(StorageType::I8), vector_field, field(StorageType::Val(ValType::ANYREF)), vector_field]);
        let ty = registry.register_struct(StructType { fields }).unwrap();
        let array_ty = registry.register_array(ArrayType { element: vector_field }).unwrap();
        let array = ArrayRef::new(&mut *store, array_ty, &vector(1).into(), 100).unwrap();
        let values = [Val::I32(7), vector(2).into(), array.clone().into(), vector(3).into()];
        let object = StructRef::new(&mut *store, ty, &values).unwrap();
        array.set_element(&mut *store, 99, &vector(4).into()).unwrap();
        assert!(array.set_element(&mut *store, 0, &Val::F64(0)).is_err());
        let listed = ArrayRef::from_elements(&mut *store, array_ty, &[vector(5).into(), vector(6).into()]).unwrap();
        drop(array);
        store.gc(CollectionKind::Major);
        // Whatever was freed is used again.
        (0..50).for_each(|_| drop(ArrayRef::new(&mut *store, array_ty, &vector(9).into(), 5).unwrap()));
        store.gc(CollectionKind::Major);
        assert_eq!(object.field(&mut *store, 0).unwrap().i32(), Some(7));
        assert_eq!(object.field(&mut *store, 1).unwrap().v128(), Some(vector(2)));
        assert_eq!(object.field(&mut *store, 3).unwrap().v128(), Some(vector(3)));
        let Val::AnyRef(Some(array)) = object.field(&mut *store, 2).unwrap() else { panic!() };
        let array = array.as_array(&*store).unwrap();
        let at = |store: &mut Store<()>, array: &Rooted<ArrayRef>, i| {
            array.get_element(&mut *store, i).unwrap().v128().unwrap()
        };
        assert_eq!([0, 98, 99].map(|i| at(store, &array, i)), [vector(1), vector(1), vector(4)]);
        assert_eq!([0, 1].map(|i| at(store, &listed, i)), [vector(5), vector(6)]);
    });
}

#[test]
fn exceptions_carry_vectors() {
    each::<()>(|store, linker| {
        let params = [ValType::I32, ValType::V128, ValType::EXTERNREF, ValType::V128];
        let tag = Tag::new(&mut *store, params).unwrap();
        linker.define(&*store, "host", "tag", tag).unwrap();
        let throw = move |mut caller: Caller<'_, ()>, x: V128| -> Result<()> {
            let host = ExternRef::new(&mut caller, 5u32)?;
            let exception = ExnRef::new(&mut caller, tag, &[Val::I32(1), x.into(), host.into(), vector(9).into()])?;
            caller.gc(CollectionKind::Major);
            Err(Error::exception(exception))
        };
        linker.func_wrap("host", "throw", throw).unwrap();
        let instance = instance(
            store,
            linker,
            r#"(module
              (import "host" "tag" (tag $tag (param i32 v128 externref v128)))
              (import "host" "throw" (func $host (param v128)))
              (func $throw (export "throw") (param v128)
                (throw $tag (i32.const 2) (local.get 0) (ref.null extern) (v128.not (local.get 0))))
              (func (export "catch") (param i32 v128) (result v128 v128) (local $kept v128)
                (local.set $kept (v128.not (local.get 1)))
                (block $caught (result i32 v128 externref v128)
                  (try_table (catch $tag $caught)
                    (if (local.get 0) (then (call $host (local.get 1))) (else (call $throw (local.get 1)))))
                  (unreachable))
                ;; Of the four, the vectors; a local that lived across the throw with them.
                (local.set 1)
                (drop)
                (v128.xor (local.get $kept))
                (local.set $kept)
                (drop)
                (local.get $kept) (local.get 1)))"#,
        );
        let x = vector(3);
        let ones = V128::from_bits(u128::MAX);
        let caught = vectors(call(store, instance, "catch", &[Val::I32(0), x.into()]).unwrap());
        assert_eq!(caught, [ones, V128::from_bits(!x.to_bits())]);
        let caught = vectors(call(store, instance, "catch", &[Val::I32(1), x.into()]).unwrap());
        assert_eq!(caught, [ones, vector(9)]);
        let error = call(store, instance, "throw", &[x.into()]).unwrap_err();
        let ErrorKind::Exception(exception) = error.kind() else { panic!("{error}") };
        store.gc(CollectionKind::Major);
        let values = exception.values(&mut *store);
        assert_eq!((values[0].i32(), values[1].v128()), (Some(2), Some(x)));
        assert_eq!(values[3].v128(), Some(V128::from_bits(!x.to_bits())));
    });
}

#[test]
fn vectors_on_the_stack_survive_collections() {
    each::<()>(|store, linker| {
        linker
            .func_wrap("host", "gc", |mut caller: Caller<'_, ()>, x: V128| {
                caller.gc(CollectionKind::Major);
                x
            })
            .unwrap();
        let instance = instance(
            store,
            linker,
            r#"(module
              (type $box (struct (field v128)))
              (import "host" "gc" (func $gc (param v128) (result v128)))
              ;; Bits that look like references, between references, at every depth.
              (func $down (export "down") (param $n i32) (param $v v128) (result v128)
                (local $box (ref null $box)) (local $w v128)
                (local.set $w (i32x4.add (local.get $v) (i32x4.splat (i32.const 0x10000))))
                (local.set $box (struct.new $box (local.get $w)))
                (local.set $v (call $gc (local.get $v)))
                (if (local.get $n) (then
                  (local.set $v (i32x4.add (local.get $v)
                    (call $down (i32.sub (local.get $n) (i32.const 1)) (local.get $w))))))
                (if (v128.any_true (v128.xor (local.get $w) (struct.get $box 0 (local.get $box))))
                  (then unreachable))
                (local.get $v)))"#,
        );
        let result = call(store, instance, "down", &[Val::I32(10), V128::from([0x10000, 0, 8, -1]).into()]).unwrap();
        let sum = |start: i32| (0..=10).map(|i| start + i * 0x10000).sum::<i32>();
        assert_eq!(<[i32; 4]>::from(result[0].v128().unwrap()), [0x10000, 0, 8, -1].map(sum));
    });
}

#[test]
fn accesses_to_memory_end_with_it() {
    each::<()>(|store, linker| {
        // With guard pages, 64-bit addresses, and an end in the middle of a page.
        for (memory, index) in
            [("1", "i32"), ("i64 1", "i64"), ("65536 (pagesize 1)", "i32"), ("65533 (pagesize 1)", "i32")]
        {
            let size = if memory.starts_with("65533") { 65533 } else { 65536 };
            let loads = [
                ("v128.load", "", 16),
                ("v128.load8x8_s", "", 8),
                ("v128.load16x4_u", "", 8),
                ("v128.load32x2_s", "", 8),
                ("v128.load8_splat", "", 1),
                ("v128.load16_splat", "", 2),
                ("v128.load32_splat", "", 4),
                ("v128.load64_splat", "", 8),
                ("v128.load32_zero", "", 4),
                ("v128.load64_zero", "", 8),
                ("v128.load8_lane", "15", 1),
                ("v128.load16_lane", "7", 2),
                ("v128.load32_lane", "3", 4),
                ("v128.load64_lane", "1", 8),
            ];
            let stores = [
                ("v128.store", "", 16),
                ("v128.store8_lane", "15", 1),
                ("v128.store16_lane", "7", 2),
                ("v128.store32_lane", "3", 4),
                ("v128.store64_lane", "1", 8),
            ];
            let mut text = format!("(module (memory (export \"m\") {memory})");
            for (name, lane, _) in loads {
                let operand = if lane.is_empty() { "" } else { "(v128.const i64x2 0 0)" };
                text += &format!(
                    "(func (export \"{name}\") (param {index}) (result v128) ({name} offset=3 {lane} (local.get 0) {operand}))"
                );
            }
            for (name, lane, _) in stores {
                text += &format!(
                    "(func (export \"{name}\") (param {index})
                       ({name} offset=3 {lane} (local.get 0) (v128.const i8x16 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)))"
                );
            }
            let instance = instance(store, linker, &(text + ")"));
            let at = |address: i32| if index == "i32" { Val::I32(address) } else { Val::I64(address.into()) };
            let memory = instance.get_memory(&mut *store, "m").unwrap();
            for (name, lane, bytes) in stores {
                let last = size - bytes - 3;
                assert_eq!(trap(store, instance, name, &[at(last + 1)]), Trap::MemoryOutOfBounds, "{name}");
                let mut end = vec![0; bytes as usize];
                memory.read(&*store, (size - bytes) as usize, &mut end).unwrap();
                assert!(end.iter().all(|byte| *byte == 0), "{name} wrote before it trapped");
                call(store, instance, name, &[at(last)]).unwrap();
                memory.read(&*store, (size - bytes) as usize, &mut end).unwrap();
                let first = lane.parse::<u8>().map_or(1, |lane| lane * bytes as u8 + 1);
                assert!(end.iter().copied().eq(first..first + bytes as u8), "{name}: {end:?}");
                memory.write(&mut *store, (size - bytes) as usize, &vec![0; bytes as usize]).unwrap();
            }
            for (name, _, bytes) in loads {
                let last = size - bytes - 3;
                memory.write(&mut *store, size as usize - 1, &[0x80]).unwrap();
                assert_eq!(trap(store, instance, name, &[at(last + 1)]), Trap::MemoryOutOfBounds, "{name}");
                let loaded = vectors(call(store, instance, name, &[at(last)]).unwrap())[0];
                assert_ne!(loaded.to_bits(), 0, "{name} reads the last byte");
                assert_eq!(
                    vectors(call(store, instance, name, &[at(last - bytes)]).unwrap())[0].to_bits(),
                    0,
                    "{name}"
                );
            }
        }
    });
}

/// What the suite leaves open: see `compile/simd/relaxed.rs`.
#[test]
#[cfg(target_arch = "x86_64")]
fn relaxed_instructions_choose_what_the_machine_does() {
    if !std::is_x86_feature_detected!("fma") || !std::is_x86_feature_detected!("sse4.1") {
        return;
    }
    each::<()>(|store, linker| {
        let mut text = String::from("(module");
        for name in [
            "i8x16.relaxed_swizzle",
            "f32x4.relaxed_min",
            "f32x4.relaxed_max",
            "f64x2.relaxed_min",
            "f64x2.relaxed_max",
            "i16x8.relaxed_q15mulr_s",
            "i16x8.relaxed_dot_i8x16_i7x16_s",
        ] {
            text += &format!(
                "(func (export \"{name}\") (param v128 v128) (result v128) ({name} (local.get 0) (local.get 1)))"
            );
        }
        for name in [
            "f32x4.relaxed_madd",
            "f64x2.relaxed_nmadd",
            "i8x16.relaxed_laneselect",
            "i16x8.relaxed_laneselect",
            "i32x4.relaxed_laneselect",
            "i64x2.relaxed_laneselect",
            "i32x4.relaxed_dot_i8x16_i7x16_add_s",
        ] {
            text += &format!(
                "(func (export \"{name}\") (param v128 v128 v128) (result v128)
                   ({name} (local.get 0) (local.get 1) (local.get 2)))"
            );
        }
        for name in [
            "i32x4.relaxed_trunc_f32x4_s",
            "i32x4.relaxed_trunc_f32x4_u",
            "i32x4.relaxed_trunc_f64x2_s_zero",
            "i32x4.relaxed_trunc_f64x2_u_zero",
        ] {
            text += &format!("(func (export \"{name}\") (param v128) (result v128) ({name} (local.get 0)))");
        }
        let instance = instance(store, linker, &(text + ")"));
        let mut run = |name: &str, args: &[V128]| {
            let args: Vec<Val> = args.iter().map(|arg| (*arg).into()).collect();
            vectors(call(store, instance, name, &args).unwrap())[0]
        };
        let indices = V128::from([0u8, 15, 16, 31, 127, 128, 255, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let swizzled: [u8; 16] = run("i8x16.relaxed_swizzle", &[V128::from([7u8; 16]), indices]).into();
        assert_eq!(swizzled, [7, 7, 7, 7, 7, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7, 7]);

        let odd = V128::from([f32::NAN, 3e9, -3e9, 1.5]);
        let truncated: [i32; 4] = run("i32x4.relaxed_trunc_f32x4_s", &[odd]).into();
        assert_eq!(truncated, [i32::MIN, i32::MIN, i32::MIN, 1]);
        let truncated: [u32; 4] = run("i32x4.relaxed_trunc_f32x4_u", &[odd]).into();
        assert_eq!(truncated, [0, 3_000_000_000, 0, 1]);
        let truncated: [i32; 4] = run("i32x4.relaxed_trunc_f64x2_s_zero", &[V128::from([f64::NAN, -7.9])]).into();
        assert_eq!(truncated, [i32::MIN, -7, 0, 0]);
        let truncated: [u32; 4] = run("i32x4.relaxed_trunc_f64x2_u_zero", &[V128::from([1e10, -7.9])]).into();
        assert_eq!(truncated, [u32::MAX, 0, 0, 0]);

        // (1 + ε)² is 1 + 2ε when it is rounded.
        let (x, z) = (1.0 + f32::EPSILON, -1.0 - 2.0 * f32::EPSILON);
        let fused: [f32; 4] = run("f32x4.relaxed_madd", &[[x; 4], [x; 4], [z; 4]].map(V128::from)).into();
        assert_eq!(fused, [f32::EPSILON * f32::EPSILON; 4]);
        let (x, z) = (1.0 + f64::EPSILON, 1.0 + 2.0 * f64::EPSILON);
        let fused: [f64; 2] = run("f64x2.relaxed_nmadd", &[[x; 2], [x; 2], [z; 2]].map(V128::from)).into();
        assert_eq!(fused, [-f64::EPSILON * f64::EPSILON; 2]);

        let (ones, zero) = (V128::from_bits(u128::MAX), V128::default());
        for (shape, bytes) in [("i8x16", 1), ("i16x8", 2), ("i32x4", 4), ("i64x2", 8)] {
            // Only the highest bit of the first lane; all others of the second.
            let high = 1u128 << (bytes * 8 - 1);
            let mask = V128::from_bits(high | (high - 1) << (bytes * 8));
            let lane = u128::MAX >> (128 - bytes * 8);
            let selected = run(&format!("{shape}.relaxed_laneselect"), &[ones, zero, mask]);
            assert_eq!(selected.to_bits(), lane, "{shape}");
        }
        for (name, least) in [("f32x4.relaxed_min", true), ("f32x4.relaxed_max", false)] {
            let x = V128::from([f32::NAN, 1.0, 0.0, 2.0]);
            let y = V128::from([5.0, f32::NAN, -0.0, 3.0]);
            let result: [u32; 4] = run(name, &[x, y]).into();
            let last = if least { 2.0f32 } else { 3.0 };
            assert_eq!(result, [5.0, f32::NAN, -0.0, last].map(f32::to_bits), "{name}");
        }
        let doubles = |name: &str| format!("f64x2.relaxed_{name}");
        let (x, y) = (V128::from([f64::NAN, -0.0]), V128::from([5.0, 0.0]));
        for name in ["min", "max"] {
            assert_eq!(run(&doubles(name), &[x, y]), y, "{name}");
            assert_eq!(run(&doubles(name), &[y, x]), x, "{name}");
        }
        let product: [i16; 8] = run("i16x8.relaxed_q15mulr_s", &[V128::from([i16::MIN; 8]); 2]).into();
        assert_eq!(product, [i16::MIN; 8]);

        let (x, y) = (V128::from([100i8; 16]), V128::from([-1i8; 16]));
        let sums: [i16; 8] = run("i16x8.relaxed_dot_i8x16_i7x16_s", &[x, y]).into();
        assert_eq!(sums, [i16::MAX; 8], "255 × 100 × 2 does not fit");
        let sums: [i16; 8] = run("i16x8.relaxed_dot_i8x16_i7x16_s", &[y, x]).into();
        assert_eq!(sums, [-200; 8]);
        let sums: [i32; 4] =
            run("i32x4.relaxed_dot_i8x16_i7x16_add_s", &[y, x, V128::from([1, 2, 3, i32::MIN])]).into();
        assert_eq!(sums, [-399, -398, -397, i32::MIN.wrapping_sub(400)]);
    });
}

/// Each relaxed instruction beside what the deterministic profile says that it is, on lanes where it has a choice, and on others.
#[test]
fn relaxed_instructions_can_be_made_deterministic() {
    const EQUAL: &[(&str, usize, &str)] = &[
        ("i8x16.relaxed_swizzle", 2, "(i8x16.swizzle (local.get 0) (local.get 1))"),
        ("i32x4.relaxed_trunc_f32x4_s", 1, "(i32x4.trunc_sat_f32x4_s (local.get 0))"),
        ("i32x4.relaxed_trunc_f32x4_u", 1, "(i32x4.trunc_sat_f32x4_u (local.get 0))"),
        ("i32x4.relaxed_trunc_f64x2_s_zero", 1, "(i32x4.trunc_sat_f64x2_s_zero (local.get 0))"),
        ("i32x4.relaxed_trunc_f64x2_u_zero", 1, "(i32x4.trunc_sat_f64x2_u_zero (local.get 0))"),
        ("f32x4.relaxed_madd", 3, "(f32x4.add (f32x4.mul (local.get 0) (local.get 1)) (local.get 2))"),
        ("f32x4.relaxed_nmadd", 3, "(f32x4.add (f32x4.mul (f32x4.neg (local.get 0)) (local.get 1)) (local.get 2))"),
        ("f64x2.relaxed_madd", 3, "(f64x2.add (f64x2.mul (local.get 0) (local.get 1)) (local.get 2))"),
        ("f64x2.relaxed_nmadd", 3, "(f64x2.add (f64x2.mul (f64x2.neg (local.get 0)) (local.get 1)) (local.get 2))"),
        ("i8x16.relaxed_laneselect", 3, "(v128.bitselect (local.get 0) (local.get 1) (local.get 2))"),
        ("i16x8.relaxed_laneselect", 3, "(v128.bitselect (local.get 0) (local.get 1) (local.get 2))"),
        ("i32x4.relaxed_laneselect", 3, "(v128.bitselect (local.get 0) (local.get 1) (local.get 2))"),
        ("i64x2.relaxed_laneselect", 3, "(v128.bitselect (local.get 0) (local.get 1) (local.get 2))"),
        ("f32x4.relaxed_min", 2, "(f32x4.min (local.get 0) (local.get 1))"),
        ("f32x4.relaxed_max", 2, "(f32x4.max (local.get 0) (local.get 1))"),
        ("f64x2.relaxed_min", 2, "(f64x2.min (local.get 0) (local.get 1))"),
        ("f64x2.relaxed_max", 2, "(f64x2.max (local.get 0) (local.get 1))"),
        ("i16x8.relaxed_q15mulr_s", 2, "(i16x8.q15mulr_sat_s (local.get 0) (local.get 1))"),
        (
            "i32x4.relaxed_dot_i8x16_i7x16_add_s",
            3,
            "(i32x4.add
               (i32x4.extadd_pairwise_i16x8_s (i16x8.relaxed_dot_i8x16_i7x16_s (local.get 0) (local.get 1)))
               (local.get 2))",
        ),
    ];
    const DOT: &str = "i16x8.relaxed_dot_i8x16_i7x16_s";
    let mut text = String::from("(module");
    for (name, params, equal) in EQUAL.iter().copied().chain([(DOT, 2, "(v128.const i64x2 0 0)")]) {
        let gets: String = (0..params).map(|i| format!(" (local.get {i})")).collect();
        for (suffix, body) in [("", &*format!("({name}{gets})")), (" is", equal)] {
            text +=
                &format!("(func (export \"{name}{suffix}\") (param{}) (result v128) {body})", " v128".repeat(params));
        }
    }
    text += ")";
    let (e, f) = (1.0 + f32::EPSILON, 1.0 + f64::EPSILON);
    let interesting = [
        V128::from([f32::NAN, 3e9, -3e9, 1.5]),
        V128::from([f64::NAN, 1e10]),
        V128::from([-1e10, -7.9]),
        V128::from([0.0, -0.0, 1.0, f32::INFINITY]),
        V128::from([-0.0, 0.0, f32::NAN, 2.0]),
        V128::from([0.0, -0.0]),
        V128::from([-0.0, 0.0]),
        V128::from([e; 4]),
        V128::from([-1.0 - 2.0 * f32::EPSILON; 4]),
        V128::from([f; 2]),
        V128::from([-1.0 - 2.0 * f64::EPSILON; 2]),
        V128::from([0u8, 15, 16, 31, 127, 128, 255, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        V128::from([i16::MIN; 8]),
        V128::from([i8::MIN; 16]),
        V128::from([100i8; 16]),
        V128::from([-1i8; 16]),
        V128::from([0x7fff_8000_0080_0001u64, 0x8000_0000_0000_0000]),
    ];
    for collector in &COLLECTORS {
        let config = Config::new(collector.with(&Default::default()).unwrap()).relaxed_simd_deterministic(true);
        let engine = Engine::with_config(config).unwrap();
        let (mut store, linker) = (Store::new(&engine, ()).unwrap(), Linker::new(&engine));
        let instance = instance(&mut store, &linker, &text);
        let mut run = |name: &str, args: &[V128]| {
            let args: Vec<Val> = args.iter().map(|arg| (*arg).into()).collect();
            vectors(call(&mut store, instance, name, &args).unwrap())[0]
        };
        let all = interesting.iter().flat_map(|x| interesting.iter().map(move |y| [*x, *y]));
        for args in all.flat_map(|[x, y]| interesting.map(|z| [x, y, z])) {
            for (name, params, _) in EQUAL {
                let args = &args[..*params];
                assert_eq!(run(name, args), run(&format!("{name} is"), args), "{name} {args:?}");
            }
            let [x, y, _] = args;
            let [left, right] = [x, y].map(|bytes| <[i8; 16]>::from(bytes).map(i32::from));
            let sums: [i16; 8] = std::array::from_fn(|i| {
                let product = |at: usize| left[at] * right[at];
                (product(2 * i) + product(2 * i + 1)).clamp(i16::MIN.into(), i16::MAX.into()) as i16
            });
            assert_eq!(<[i16; 8]>::from(run(DOT, &[x, y])), sums, "{x:?} {y:?}");
        }
    }
}

/// Objects are aligned to 8 bytes: an access that claimed the 16 of a vector would become an instruction that faults, on
/// machines without AVX.
#[test]
fn accesses_to_vectors_in_objects_do_not_claim_alignment() {
    let source = r#"(module
        (type $s (struct (field (mut v128)) (field (mut i64))))
        (type $a (array (mut v128)))
        (tag $t (param v128))
        (memory 1)
        (func (param (ref $s) (ref $a) v128) (result v128)
          (struct.set $s 0 (local.get 0) (struct.get $s 0 (local.get 0)))
          (array.set $a (local.get 1) (i32.const 1) (array.get $a (local.get 1) (i32.const 2)))
          (drop (struct.new $s (local.get 2) (i64.const 1)))
          (drop (struct.new_default $s))
          (drop (array.new $a (local.get 2) (i32.const 2)))
          (drop (array.new_fixed $a 1 (local.get 2)))
          (drop (array.new_default $a (i32.const 2)))
          (v128.store (i32.const 1) (v128.load (i32.const 2)))
          (block $caught (result v128)
            (try_table (catch $t $caught) (throw $t (local.get 2)))
            (unreachable)))
        (func (param (ref $s)) (result i64) (struct.get $s 1 (local.get 0))))"#;
    for collector in &COLLECTORS {
        let texts = Module::emit(&engine(collector), source, Emit::Clif, |_, _| true).unwrap();
        let [(_, vectors), (_, number)] = &texts[..] else { panic!("{texts:?}") };
        let accesses: Vec<&str> = vectors.lines().filter(|line| accesses_vector(vectors, line)).collect();
        // Fields, elements and memory: three loaded and stored; seven more initialised; one stored to the exception and loaded.
        assert_eq!(accesses.len(), 2 * 3 + 7 + 2, "{accesses:#?}");
        for access in accesses {
            assert!(!access.contains("aligned"), "{access}");
        }
        assert!(number.lines().any(|line| line.contains("load.i64") && line.contains("aligned")), "{number}");
    }
}

/// Whether this line of a function's text loads or stores a vector.
fn accesses_vector(text: &str, line: &str) -> bool {
    let Some((_, operands)) = line.split_once("store") else { return line.contains("load.i8x16") };
    let value = operands.split([' ', ',']).find(|word| word.starts_with('v')).unwrap();
    ["load", "vconst"].iter().any(|made| text.contains(&format!("{value} = {made}.i8x16")))
        || text.contains(&format!("{value}: i8x16"))
}
