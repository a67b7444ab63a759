//! The embedding API under each collector that the engine's tests know.

mod vectors;

use super::*;
use crate::types::{ArrayType, FieldType, FuncType, GlobalType, RefType, StorageType, StructType, TableType, ValType};
use gc_api::{CollectionKind, Collector};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

mod interrupts;
mod lifetimes;
mod limits;
mod linking;
mod pooled_memories;
mod pools;
mod references;

const COLLECTORS: [Collector; 2] = [gc_null::COLLECTOR, gc_drc::COLLECTOR];

fn engine(collector: &Collector) -> Engine {
    Engine::new(collector.with(&Default::default()).unwrap()).unwrap()
}

/// Runs `test` with a store and a linker under each collector.
fn each<T: Default + 'static>(test: impl Fn(&mut Store<T>, &mut Linker<T>)) {
    for collector in &COLLECTORS {
        let engine = engine(collector);
        let mut store = Store::with_defaults(&engine).unwrap();
        test(&mut store, &mut Linker::new(&engine));
        store.heap().check().unwrap();
    }
}

fn instance<T: 'static>(store: &mut Store<T>, linker: &Linker<T>, wat: &str) -> Instance {
    let module = Module::new(store.engine(), wat).unwrap();
    linker.instantiate(store, &module).unwrap()
}

fn call<T: 'static>(store: &mut Store<T>, instance: Instance, name: &str, args: &[Val]) -> Result<Vec<Val>> {
    instance.get_func(&mut *store, name).unwrap().call(store, args)
}

fn trap<T: 'static>(store: &mut Store<T>, instance: Instance, name: &str, args: &[Val]) -> Trap {
    call(store, instance, name, args).unwrap_err().trap().unwrap()
}

/// Counts how often it is dropped.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn traps_leave_the_store_usable() {
    each::<()>(|store, linker| {
        let instance = instance(
            store,
            linker,
            r#"(module
              (type $p (struct (field (mut i32))))
              (type $a (array (mut i32)))
              (table $t 2 funcref)
              (memory 1)
              (func (export "unreachable") unreachable)
              (func (export "div") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
              (func (export "null") (result i32) (struct.get $p 0 (ref.null $p)))
              (func (export "array") (param i32) (result i32) (array.get $a (array.new $a (i32.const 7) (i32.const 3)) (local.get 0)))
              (func (export "memory") (param i32) (result i32) (i32.load (local.get 0)))
              (func (export "indirect") (param i32) (call_indirect $t (local.get 0)))
              (func (export "cast") (drop (ref.cast (ref $p) (ref.i31 (i32.const 1)))))
              (func $loop (export "loop") (call $loop))
              (func (export "fine") (result i32) (i32.const 1)))"#,
        );
        let int = |x: i32| [Val::I32(x)];
        for _ in 0..3 {
            assert_eq!(trap(store, instance, "unreachable", &[]), Trap::Unreachable);
            assert_eq!(trap(store, instance, "div", &[Val::I32(1), Val::I32(0)]), Trap::IntegerDivideByZero);
            assert_eq!(trap(store, instance, "div", &[Val::I32(i32::MIN), Val::I32(-1)]), Trap::IntegerOverflow);
            assert_eq!(trap(store, instance, "null", &[]), Trap::NullReference);
            assert_eq!(trap(store, instance, "array", &int(3)), Trap::ArrayOutOfBounds);
            assert_eq!(trap(store, instance, "memory", &int(65533)), Trap::MemoryOutOfBounds);
            assert_eq!(trap(store, instance, "indirect", &int(2)), Trap::UndefinedElement);
            assert_eq!(trap(store, instance, "indirect", &int(1)), Trap::UninitializedElement);
            assert_eq!(trap(store, instance, "cast", &[]), Trap::CastFailure);
            let error = call(store, instance, "loop", &[]).unwrap_err();
            assert_eq!(error.trap(), Some(Trap::StackOverflow));
            assert!(error.to_string().contains("$loop"), "{error}");
            assert_eq!(call(store, instance, "fine", &[]).unwrap()[0].i32(), Some(1));
            assert_eq!(call(store, instance, "array", &int(2)).unwrap()[0].i32(), Some(7));
        }
    });
}

#[test]
fn errors_and_panics_of_the_host_pass_through_webassembly() {
    #[derive(Debug, thiserror::Error)]
    #[error("exit {0}")]
    struct Exit(i32);
    each::<()>(|store, linker| {
        linker.func_wrap("host", "exit", |code: i32| -> Result<()> { Err(Error::host(Exit(code))) }).unwrap();
        linker.func_wrap("host", "panic", |_: i32| -> () { panic!("the host's own") }).unwrap();
        let instance = instance(
            store,
            linker,
            r#"(module
              (import "host" "exit" (func $exit (param i32)))
              (import "host" "panic" (func $panic (param i32)))
              (func $inner (param i32) (call $exit (local.get 0)))
              (func (export "exit") (param i32) (call $inner (local.get 0)))
              (func (export "panic") (call $panic (i32.const 0))))"#,
        );
        let error = call(store, instance, "exit", &[Val::I32(3)]).unwrap_err();
        assert_eq!(error.host_error::<Exit>().unwrap().0, 3);
        assert_eq!(error.backtrace().unwrap().frames()[0].name(), Some("inner"), "{error}");
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| call(store, instance, "panic", &[])));
        assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"the host's own"));
        assert!(call(store, instance, "exit", &[Val::I32(4)]).unwrap_err().host_error::<Exit>().is_some());
    });
}

#[test]
fn exceptions_cross_the_host_both_ways() {
    each::<Option<Func>>(|store, linker| {
        let tag = Tag::new(&mut *store, [ValType::I32, ValType::EXTERNREF]).unwrap();
        linker.define(&*store, "host", "tag", tag).unwrap();
        linker
            .func_wrap("host", "throw", move |mut caller: Caller<'_, Option<Func>>, x: i32| -> Result<()> {
                let value = ExternRef::new(&mut caller, x)?;
                let values = [Val::I32(x), value.into()];
                Err(Error::exception(ExnRef::new(&mut caller, tag, &values)?))
            })
            .unwrap();
        linker
            .func_wrap("host", "again", |mut caller: Caller<'_, Option<Func>>| -> Result<()> {
                let thrower = caller.data().unwrap();
                caller.gc(CollectionKind::Major);
                thrower.call(&mut caller, &[]).map(drop)
            })
            .unwrap();
        let instance = instance(
            store,
            linker,
            r#"(module
              (import "host" "tag" (tag $tag (param i32 externref)))
              (import "host" "throw" (func $throw (param i32)))
              (import "host" "again" (func $again))
              (func $own (export "own") (throw $tag (i32.const 5) (ref.null extern)))
              (func $catch (export "catch") (param i32) (result i32)
                (block $h (result i32 externref)
                  (try_table (catch $tag $h) (call $throw (local.get 0)))
                  (unreachable))
                (drop))
              (func (export "through") (result i32)
                (block $h (result i32 externref)
                  (try_table (catch $tag $h) (call $again))
                  (unreachable))
                (drop))
              (func (export "uncaught") (param i32) (call $throw (local.get 0))))"#,
        );
        let own = instance.get_func(&mut *store, "own").unwrap();
        *store.data_mut() = Some(own);
        for x in 0..100 {
            assert_eq!(call(store, instance, "catch", &[Val::I32(x)]).unwrap()[0].i32(), Some(x));
            assert_eq!(call(store, instance, "through", &[]).unwrap()[0].i32(), Some(5));
        }
        let error = call(store, instance, "uncaught", &[Val::I32(9)]).unwrap_err();
        let exception = error.uncaught().unwrap().clone();
        assert_eq!(exception.tag(&*store), tag);
        let values = exception.values(&mut *store);
        assert_eq!(values[0].i32(), Some(9));
        let Val::ExternRef(Some(value)) = &values[1] else { panic!() };
        assert_eq!(value.data(&*store).unwrap().downcast_ref(), Some(&9i32));
    });
}

#[test]
fn host_values_are_dropped_once_and_only_when_unreachable() {
    let drops = Arc::new(AtomicUsize::new(0));
    each::<()>(|store, linker| {
        let counts = store.engine().gc().info().name != "null";
        drops.store(0, SeqCst);
        let instance = instance(
            store,
            linker,
            r#"(module
              (global $g (mut externref) (ref.null extern))
              (table $t 4 externref)
              (func (export "set") (param externref) (global.set $g (local.get 0)) (table.set $t (i32.const 2) (local.get 0)))
              (func (export "get") (result externref) (global.get $g))
              (func (export "clear") (global.set $g (ref.null extern)) (table.set $t (i32.const 2) (ref.null extern))))"#,
        );
        let value = ExternRef::new(&mut *store, Dropped(drops.clone())).unwrap();
        call(store, instance, "set", &[value.clone().into()]).unwrap();
        drop(value);
        store.gc(CollectionKind::Major);
        assert_eq!(drops.load(SeqCst), 0);
        let Val::ExternRef(Some(value)) = call(store, instance, "get", &[]).unwrap().remove(0) else { panic!() };
        assert!(value.data(&*store).unwrap().is::<Dropped>());
        call(store, instance, "clear", &[]).unwrap();
        store.gc(CollectionKind::Major);
        assert_eq!(drops.load(SeqCst), 0, "the host still holds it");
        drop(value);
        store.gc(CollectionKind::Major);
        assert_eq!(drops.load(SeqCst), usize::from(counts));
        ExternRef::new(&mut *store, Dropped(drops.clone())).unwrap();
        let engine = store.engine().clone();
        drop(std::mem::replace(store, Store::new(&engine, ()).unwrap()));
        assert_eq!(drops.load(SeqCst), 2, "all are dropped with the store");
    });
}

#[test]
fn a_store_owns_its_closures() {
    let drops = Arc::new(AtomicUsize::new(0));
    each::<()>(|store, _| {
        drops.store(0, SeqCst);
        let engine = store.engine().clone();
        let mut store = Store::new(&engine, ()).unwrap();
        let held = (Dropped(drops.clone()), ExternRef::new(&mut store, Dropped(drops.clone())).unwrap());
        Func::wrap(&mut store, move || {
            let _whole = &held;
        })
        .unwrap();
        assert_eq!(drops.load(SeqCst), 0);
        drop(store);
        assert_eq!(drops.load(SeqCst), 2, "neither the closure nor the value that it holds outlives the store");
    });
}

#[test]
fn frames_are_roots_while_the_host_collects() {
    each::<()>(|store, linker| {
        linker
            .func_wrap("host", "gc", |mut caller: Caller<'_, ()>, r: Option<Rooted<AnyRef>>| {
                caller.gc(CollectionKind::Major);
                for x in 0..20 {
                    ExternRef::new(&mut caller, x).unwrap();
                }
                caller.gc(CollectionKind::Major);
                r
            })
            .unwrap();
        let instance = instance(
            store,
            linker,
            r#"(module
              (type $list (struct (field i32) (field (ref null $list))))
              (import "host" "gc" (func $gc (param anyref) (result anyref)))
              (func $sum (export "sum") (param $n i32) (param $list (ref null $list)) (result i32)
                (local $new (ref null $list))
                (local.set $new (struct.new $list (local.get $n) (local.get $list)))
                (drop (call $gc (struct.new $list (i32.const 0) (local.get $list))))
                (i32.add
                  (struct.get $list 0 (local.get $new))
                  (if (result i32) (local.get $n)
                    (then (call $sum (i32.sub (local.get $n) (i32.const 1)) (local.get $new)))
                    (else (struct.get $list 0
                      (ref.cast (ref $list) (call $gc (local.get $list)))))))))"#,
        );
        let sum = call(store, instance, "sum", &[Val::I32(20), Val::AnyRef(None)]).unwrap()[0].i32();
        assert_eq!(sum, Some(20 * 21 / 2 + 1));
    });
}

#[test]
fn a_function_of_the_hosts_that_the_host_calls_may_collect() {
    each::<()>(|store, _| {
        let collect = Func::wrap(&mut *store, |mut caller: Caller<'_, ()>| {
            let kept = ExternRef::new(&mut caller, 5).unwrap();
            caller.gc(CollectionKind::Major);
            kept.data(&caller).is_some() as i32
        });
        assert_eq!(collect.unwrap().call(&mut *store, &[]).unwrap()[0].i32(), Some(1));
    });
}

#[test]
fn collections_in_nested_activations_see_all_frames() {
    each::<Option<Func>>(|store, linker| {
        linker
            .func_wrap("host", "down", |mut caller: Caller<'_, Option<Func>>, n: i32| -> Result<i32> {
                let down = caller.data().unwrap();
                caller.gc(CollectionKind::Major);
                let result = down.call(&mut caller, &[Val::I32(n)])?;
                caller.gc(CollectionKind::Major);
                Ok(result[0].i32().unwrap())
            })
            .unwrap();
        let instance = instance(
            store,
            linker,
            r#"(module
              (type $box (struct (field (mut i32))))
              (import "host" "down" (func $down (param i32) (result i32)))
              (func (export "down") (param i32) (result i32)
                (local $box (ref null $box))
                (if (i32.eqz (local.get 0)) (then (return (i32.const 0))))
                (local.set $box (struct.new $box (local.get 0)))
                (i32.add (call $down (i32.sub (local.get 0) (i32.const 1)))
                         (struct.get $box 0 (local.get $box)))))"#,
        );
        let down = instance.get_func(&mut *store, "down").unwrap();
        *store.data_mut() = Some(down);
        assert_eq!(call(store, instance, "down", &[Val::I32(30)]).unwrap()[0].i32(), Some(465));
    });
}

#[test]
fn all_import_problems_are_listed_with_their_types() {
    each::<()>(|store, linker| {
        let module = Module::new(
            store.engine(),
            r#"(module
              (import "a" "f" (func (param i32) (result i64)))
              (import "a" "g" (global (mut i32)))
              (import "b" "t" (table 3 externref))
              (import "a" "fine" (func)))"#,
        )
        .unwrap();
        linker.func_wrap("a", "f", |x: i32| x).unwrap().func_wrap("a", "fine", || ()).unwrap();
        let error = linker.instantiate(&mut *store, &module).unwrap_err();
        let ErrorKind::Link(link) = error.kind() else { panic!("{error}") };
        assert_eq!(link.problems.len(), 3);
        let message = error.to_string();
        for part in [
            "`a` `f`: expected (func (param i32) (result i64)), found (func (param i32) (result i32))",
            "unknown import `a` `g`: (global (mut i32))",
            "unknown import `b` `t`: (table 3 (ref null extern))",
        ] {
            assert!(message.contains(part), "{message}");
        }
    });
}

#[test]
fn a_failed_instantiation_leaves_nothing_behind() {
    let drops = Arc::new(AtomicUsize::new(0));
    each::<()>(|store, linker| {
        drops.store(0, SeqCst);
        let value = ExternRef::new(&mut *store, Dropped(drops.clone())).unwrap();
        let ty = GlobalType { content: ValType::EXTERNREF, mutable: false };
        let global = Global::new(&mut *store, ty, &value.clone().into()).unwrap();
        linker.define(&*store, "host", "value", global).unwrap();
        // Nothing has been written when the array is found to be too large.
        let module = Module::new(
            store.engine(),
            r#"(module
              (type $box (struct (field externref)))
              (type $array (array i64))
              (import "host" "value" (global $value externref))
              (global (export "copy") externref (global.get $value))
              (table 3 externref (global.get $value))
              (func (export "f"))
              (elem externref (global.get $value))
              (elem anyref (struct.new $box (global.get $value)))
              (elem (ref $array) (array.new_default $array (i32.const -1))))"#,
        )
        .unwrap();
        for _ in 0..3 {
            let error = linker.instantiate(&mut *store, &module).unwrap_err();
            assert!(matches!(error.trap(), Some(Trap::AllocationTooLarge)), "{error}");
        }
        let opaque = store.as_context_mut().0;
        assert_eq!(opaque.opaque.instances.len(), 0);
        assert_eq!((opaque.opaque.tables.len(), opaque.opaque.globals.len(), opaque.opaque.funcs_len()), (0, 1, 1));
        let read = global.get(&mut *store);
        assert!(matches!(read, Val::ExternRef(Some(r)) if r.ref_eq(&*store, &value)));
    });
}

#[test]
fn segments_that_wrote_before_a_trap_stay_written() {
    each::<()>(|store, linker| {
        let ty = TableType::new(RefType::FUNCREF, 4, None);
        let table = Table::new(&mut *store, ty, &Val::FuncRef(None)).unwrap();
        linker.define(&*store, "host", "table", table).unwrap();
        let module = Module::new(
            store.engine(),
            r#"(module
              (import "host" "table" (table 4 funcref))
              (memory 1)
              (func $f (result i32) (i32.const 42))
              (elem (i32.const 1) $f)
              (data (i32.const 65536) "x"))"#,
        )
        .unwrap();
        assert_eq!(linker.instantiate(&mut *store, &module).unwrap_err().trap(), Some(Trap::MemoryOutOfBounds));
        let Some(Val::FuncRef(Some(f))) = table.get(&mut *store, 1) else { panic!() };
        assert_eq!(f.call(&mut *store, &[]).unwrap()[0].i32(), Some(42));
    });
}

#[test]
fn constant_expressions_make_objects() {
    each::<()>(|store, linker| {
        let instance = instance(
            store,
            linker,
            r#"(module
              (type $f (func (result i32)))
              (type $pair (struct (field (mut i32)) (field (ref null $pair)) (field (ref null $f)) (field i8)))
              (type $bytes (array i8))
              (type $pairs (array (ref null $pair)))
              (type $funcs (array (ref null $f)))
              (func $six (type $f) (i32.const 6))
              (elem declare func $six)
              (global $inner (ref $pair) (struct.new $pair (i32.const 1) (ref.null $pair) (ref.func $six) (i32.const 257)))
              (global $outer (export "outer") (ref $pair)
                (struct.new $pair (i32.add (i32.const 40) (i32.const 2)) (global.get $inner) (ref.null $f) (i32.const 2)))
              (global $bytes (export "bytes") (ref $bytes) (array.new_fixed $bytes 3 (i32.const 1) (i32.const 2) (i32.const 3)))
              (global $pairs (export "pairs") (ref $pairs) (array.new $pairs (global.get $inner) (i32.const 5)))
              (global $funcs (ref $funcs) (array.new $funcs (ref.func $six) (i32.const 2)))
              (global (export "i31") (ref i31) (ref.i31 (i32.const -1)))
              (global (export "extern") externref (extern.convert_any (global.get $outer)))
              (func (export "call") (result i32)
                (i32.add
                  (call_ref $f (struct.get $pair 2 (struct.get $pair 1 (global.get $outer))))
                  (call_ref $f (array.get $funcs (global.get $funcs) (i32.const 1))))))"#,
        );
        let global = |store: &mut Store<()>, name: &str| {
            let global = instance.get_global(&mut *store, name).unwrap();
            global.get(&mut *store)
        };
        let Val::AnyRef(Some(outer)) = global(store, "outer") else { panic!() };
        let outer = outer.as_struct(&*store).unwrap();
        assert_eq!(outer.field(&mut *store, 0).unwrap().i32(), Some(42));
        let Val::AnyRef(Some(inner)) = outer.field(&mut *store, 1).unwrap() else { panic!() };
        assert_eq!(inner.as_struct(&*store).unwrap().field(&mut *store, 3).unwrap().i32(), Some(1));
        let Val::AnyRef(Some(bytes)) = global(store, "bytes") else { panic!() };
        assert_eq!(bytes.as_array(&*store).unwrap().bytes(&*store).unwrap(), [1, 2, 3]);
        let Val::AnyRef(Some(pairs)) = global(store, "pairs") else { panic!() };
        let Val::AnyRef(Some(pair)) = pairs.as_array(&*store).unwrap().get_element(&mut *store, 4).unwrap() else {
            panic!()
        };
        assert!(pair.ref_eq(&*store, &inner));
        let Val::AnyRef(Some(small)) = global(store, "i31") else { panic!() };
        assert_eq!(small.i31(&*store), Some(0x7fff_ffff));
        let Val::ExternRef(Some(external)) = global(store, "extern") else { panic!() };
        assert!(external.data(&*store).is_none());
        assert!(external.to_any().ref_eq(&*store, &outer.to_any()));
        assert_eq!(call(store, instance, "call", &[]).unwrap()[0].i32(), Some(12));
    });
}

#[test]
fn the_host_makes_and_changes_objects() {
    each::<()>(|store, _| {
        let registry = store.engine().registry().clone();
        let field = |ty, mutable| FieldType { storage: StorageType::Val(ty), mutable };
        let fields = Box::new([field(ValType::I64, true), field(ValType::ANYREF, true), field(ValType::F32, false)]);
        let ty = registry.register_struct(StructType { fields }).unwrap();
        let array = registry.register_array(ArrayType { element: field(ValType::ANYREF, true) }).unwrap();
        let one = StructRef::new(&mut *store, ty, &[Val::I64(-5), Val::AnyRef(None), 1.5f32.into()]).unwrap();
        let two = StructRef::new(&mut *store, ty, &[Val::I64(6), one.clone().into(), 2.5f32.into()]).unwrap();
        one.set_field(&mut *store, 0, &Val::I64(7)).unwrap();
        assert!(one.set_field(&mut *store, 2, &0f32.into()).unwrap_err().to_string().contains("immutable"));
        assert!(one.set_field(&mut *store, 1, &Val::I32(0)).unwrap_err().to_string().contains("expected a value"));
        assert!(one.field(&mut *store, 3).is_err());
        let list = ArrayRef::new(&mut *store, array, &two.clone().into(), 3).unwrap();
        let small = AnyRef::from_i31(&mut *store, 9);
        list.set_element(&mut *store, 1, &small.into()).unwrap();
        drop((one, two));
        store.gc(CollectionKind::Major);
        assert_eq!(list.len(&*store), 3);
        let Val::AnyRef(Some(two)) = list.get_element(&mut *store, 0).unwrap() else { panic!() };
        let Val::AnyRef(Some(one)) = two.as_struct(&*store).unwrap().field(&mut *store, 1).unwrap() else { panic!() };
        assert_eq!(one.as_struct(&*store).unwrap().field(&mut *store, 0).unwrap().i64(), Some(7));
        assert_eq!(list.get_element(&mut *store, 3).unwrap_err().trap(), Some(Trap::ArrayOutOfBounds));
        let elements = [Val::AnyRef(None), list.clone().into()];
        let outer = ArrayRef::from_elements(&mut *store, array, &elements).unwrap();
        assert!(matches!(outer.get_element(&mut *store, 0).unwrap(), Val::AnyRef(None)));
        assert!(two.ref_eq(&*store, &two) && !two.ref_eq(&*store, &one));
    });
}

#[test]
fn bulk_instructions_check_before_they_write() {
    each::<()>(|store, linker| {
        let instance = instance(
            store,
            linker,
            r#"(module
              (type $a (array (mut anyref)))
              (type $b (array (mut i16)))
              (memory (export "memory") 1 3)
              (table $t (export "table") 5 10 anyref)
              (table $f 5 funcref)
              (elem $refs anyref (ref.i31 (i32.const 1)) (ref.i31 (i32.const 2)) (ref.i31 (i32.const 3)))
              (data $bytes "\01\02\03\04")
              (global $array (mut (ref null $a)) (ref.null $a))
              (func (export "make") (param i32 i32)
                (global.set $array (array.new_elem $a $refs (local.get 0) (local.get 1))))
              (func (export "copy") (param i32 i32 i32)
                (array.copy $a $a (global.get $array) (local.get 0) (global.get $array) (local.get 1) (local.get 2)))
              (func (export "fill") (param i32 i32)
                (array.fill $a (global.get $array) (local.get 0) (ref.i31 (i32.const 9)) (local.get 1)))
              (func (export "get") (param i32) (result i32)
                (i31.get_u (ref.cast (ref i31) (array.get $a (global.get $array) (local.get 0)))))
              (func (export "shorts") (param i32 i32) (result i32)
                (array.get_u $b (array.new_data $b $bytes (local.get 0) (local.get 1)) (i32.const 0)))
              (func (export "drop") (elem.drop $refs) (data.drop $bytes))
              (func (export "table_init") (param i32 i32 i32)
                (table.init $t $refs (local.get 0) (local.get 1) (local.get 2)))
              (func (export "table_copy") (param i32 i32 i32)
                (table.copy $t $t (local.get 0) (local.get 1) (local.get 2)))
              (func (export "table_grow") (param i32) (result i32)
                (table.grow $t (ref.i31 (i32.const 8)) (local.get 0)))
              (func (export "memory_init") (param i32 i32 i32)
                (memory.init $bytes (local.get 0) (local.get 1) (local.get 2)))
              (func (export "memory_fill") (param i32 i32) (memory.fill (local.get 0) (i32.const 255) (local.get 1)))
              (func (export "memory_copy") (param i32 i32 i32) (memory.copy (local.get 0) (local.get 1) (local.get 2)))
              (func (export "memory_grow") (param i32) (result i32) (memory.grow (local.get 0))))"#,
        );
        fn ints(xs: &[i32]) -> Vec<Val> {
            xs.iter().map(|x| Val::I32(*x)).collect()
        }
        let run = |store: &mut Store<()>, name: &str, xs: &[i32]| {
            call(store, instance, name, &ints(xs)).map(|results| results.first().and_then(Val::i32).unwrap_or(0))
        };
        let traps = |store: &mut Store<()>, name: &str, xs: &[i32], expected: Trap| {
            assert_eq!(run(store, name, xs).unwrap_err().trap(), Some(expected), "{name} {xs:?}");
        };
        traps(store, "copy", &[0, 0, 0], Trap::NullReference);
        traps(store, "make", &[2, 2], Trap::TableOutOfBounds);
        run(store, "make", &[0, 3]).unwrap();
        traps(store, "copy", &[1, 0, 3], Trap::ArrayOutOfBounds);
        traps(store, "copy", &[-1, 0, 2], Trap::ArrayOutOfBounds);
        traps(store, "fill", &[2, 2], Trap::ArrayOutOfBounds);
        let array = |store: &mut Store<()>| [0, 1, 2].map(|i| run(store, "get", &[i]).unwrap());
        assert_eq!(array(store), [1, 2, 3]);
        run(store, "copy", &[1, 0, 2]).unwrap();
        assert_eq!(array(store), [1, 1, 2]);
        run(store, "fill", &[0, 2]).unwrap();
        assert_eq!(array(store), [9, 9, 2]);
        assert_eq!(run(store, "shorts", &[1, 1]).unwrap(), 0x0302);
        traps(store, "shorts", &[1, 2], Trap::MemoryOutOfBounds);

        let table = instance.get_table(&mut *store, "table").unwrap();
        let numbers = |store: &mut Store<()>| -> Vec<Option<u32>> {
            (0..table.size(&*store))
                .map(|i| match table.get(&mut *store, i) {
                    Some(Val::AnyRef(Some(r))) => r.i31(&*store),
                    _ => None,
                })
                .collect()
        };
        traps(store, "table_init", &[3, 0, 3], Trap::TableOutOfBounds);
        traps(store, "table_init", &[0, 1, 3], Trap::TableOutOfBounds);
        assert_eq!(numbers(store), [None; 5]);
        run(store, "table_init", &[0, 0, 3]).unwrap();
        run(store, "table_copy", &[1, 0, 3]).unwrap();
        assert_eq!(numbers(store), [Some(1), Some(1), Some(2), Some(3), None]);
        assert_eq!(run(store, "table_grow", &[6]).unwrap(), -1);
        assert_eq!(run(store, "table_grow", &[2]).unwrap(), 5);
        assert_eq!(numbers(store)[5..], [Some(8), Some(8)]);

        let memory = instance.get_memory(&mut *store, "memory").unwrap();
        traps(store, "memory_init", &[65534, 0, 4], Trap::MemoryOutOfBounds);
        traps(store, "memory_fill", &[65530, 7], Trap::MemoryOutOfBounds);
        traps(store, "memory_copy", &[0, -1, 2], Trap::MemoryOutOfBounds);
        assert!(memory.data(&*store).iter().all(|byte| *byte == 0));
        run(store, "memory_init", &[0, 0, 4]).unwrap();
        run(store, "memory_copy", &[2, 0, 4]).unwrap();
        run(store, "memory_fill", &[6, 2]).unwrap();
        assert_eq!(memory.data(&*store)[..9], [1, 2, 1, 2, 3, 4, 255, 255, 0]);
        assert_eq!(run(store, "memory_grow", &[3]).unwrap(), -1);
        assert_eq!(run(store, "memory_grow", &[2]).unwrap(), 1);
        assert_eq!((memory.pages(&*store), memory.data(&*store).len()), (3, 3 << 16));

        run(store, "drop", &[]).unwrap();
        traps(store, "make", &[0, 1], Trap::TableOutOfBounds);
        traps(store, "memory_init", &[0, 0, 1], Trap::MemoryOutOfBounds);
        run(store, "make", &[0, 0]).unwrap();
        run(store, "memory_init", &[0, 0, 0]).unwrap();
    });
}

#[test]
fn exhaustion_names_the_limit_and_how_to_raise_it() {
    for collector in &COLLECTORS {
        let config = Config::new(collector.with(&Default::default()).unwrap()).heap_limit(1 << 20);
        let engine = Engine::with_config(config).unwrap();
        let mut store = Store::new(&engine, ()).unwrap();
        let linker = Linker::new(&engine);
        let instance = instance(
            &mut store,
            &linker,
            r#"(module
              (type $list (struct (field (ref null $list))))
              (type $big (array i64))
              (global $list (mut (ref null $list)) (ref.null $list))
              (func (export "fill") (loop $l (global.set $list (struct.new $list (global.get $list))) (br $l)))
              (func (export "huge") (drop (array.new_default $big (i32.const -1)))))"#,
        );
        let error = call(&mut store, instance, "fill", &[]).unwrap_err();
        assert_eq!(error.trap(), Some(Trap::HeapExhausted { limit: 1 << 20 }));
        assert!(error.to_string().contains("1048576 bytes") && error.to_string().contains("--heap"), "{error}");
        assert_eq!(trap(&mut store, instance, "huge", &[]), Trap::AllocationTooLarge);
    }
}

#[test]
fn a_table_of_ten_million_entries_is_cheap() {
    each::<()>(|store, linker| {
        let instance = instance(
            store,
            linker,
            r#"(module
              (table $f (export "f") 10000000 funcref)
              (table $e 10000000 externref)
              (func (export "grow") (param i32) (result i32) (table.grow $e (ref.null extern) (local.get 0))))"#,
        );
        assert_eq!(call(store, instance, "grow", &[Val::I32(10_000_000)]).unwrap()[0].i32(), Some(10_000_000));
        assert_eq!(call(store, instance, "grow", &[Val::I32(-1)]).unwrap()[0].i32(), Some(-1));
        assert_eq!(call(store, instance, "grow", &[Val::I32(1)]).unwrap()[0].i32(), Some(20_000_000));
    });
}

#[test]
fn arguments_are_checked() {
    each::<()>(|store, linker| {
        let instance = instance(
            store,
            linker,
            r#"(module
              (type $s (struct)) (type $t (struct (field i32)))
              (func (export "f") (param i32 (ref $s) externref)))"#,
        );
        let f = instance.get_func(&mut *store, "f").unwrap();
        let module = instance.module(&*store);
        let (s, t) = (module.0.info.types.get(0), module.0.info.types.get(1));
        let good = StructRef::new(&mut *store, s, &[]).unwrap();
        let bad = StructRef::new(&mut *store, t, &[Val::I32(1)]).unwrap();
        f.call(&mut *store, &[Val::I32(1), good.clone().into(), Val::ExternRef(None)]).unwrap();
        for args in [
            vec![Val::I32(1)],
            vec![Val::I64(1), good.clone().into(), Val::ExternRef(None)],
            vec![Val::I32(1), bad.into(), Val::ExternRef(None)],
            vec![Val::I32(1), Val::AnyRef(None), Val::ExternRef(None)],
            vec![Val::I32(1), good.into(), Val::AnyRef(None)],
        ] {
            assert!(matches!(f.call(&mut *store, &args).unwrap_err().kind(), ErrorKind::Usage(_)));
        }
        let error = instance.get_func(&mut *store, "g").unwrap_err().to_string();
        assert!(
            error.contains("there is no exported function `g`") && error.contains("\n  f (func (param i32"),
            "{error}"
        );
        assert!(f.typed::<(), ()>(&*store).is_err());
    });
}

#[test]
fn host_functions_have_any_type() {
    each::<u32>(|store, linker| {
        let ty = FuncType::new([ValType::EXTERNREF, ValType::F64], [ValType::F64, ValType::EXTERNREF]);
        linker
            .func_new("host", "swap", ty, |mut caller, args, results| {
                *caller.data_mut() += 1;
                results.clone_from_slice(&[args[1].clone(), args[0].clone()]);
                Ok(())
            })
            .unwrap();
        linker
            .func_wrap("host", "many", |a: i32, b: i64, c: f32, d: f64, e: u32| {
                (a as f64 + b as f64 + c as f64 + d + e as f64, Option::<Func>::None)
            })
            .unwrap();
        let instance = instance(
            store,
            linker,
            r#"(module
              (import "host" "swap" (func $swap (param externref f64) (result f64 externref)))
              (import "host" "many" (func $many (param i32 i64 f32 f64 i32) (result f64 funcref)))
              (func (export "swap") (param externref) (result f64 externref)
                (call $swap (local.get 0) (f64.const 2.5)))
              (func (export "many") (result f64)
                (call $many (i32.const 1) (i64.const 2) (f32.const 3) (f64.const 4) (i32.const 5))
                (drop)))"#,
        );
        let value = ExternRef::new(&mut *store, 1u8).unwrap();
        let results = call(store, instance, "swap", &[value.clone().into()]).unwrap();
        assert_eq!(results[0].f64(), Some(2.5));
        assert!(matches!(&results[1], Val::ExternRef(Some(r)) if r.ref_eq(&*store, &value)));
        assert_eq!(*store.data(), 1);
        let many = instance.get_typed_func::<(), f64>(&mut *store, "many").unwrap();
        assert_eq!(many.call(&mut *store, ()).unwrap(), 15.0);
    });
}

#[test]
fn results_may_be_more_than_there_are_registers_for() {
    each::<()>(|store, linker| {
        const N: usize = 40;
        let types = (0..N).map(|i| if i % 3 == 0 { ValType::EXTERNREF } else { ValType::I64 });
        let ty = FuncType::new([ValType::EXTERNREF], types);
        linker
            .func_new("host", "many", ty, |mut caller, args, results| {
                caller.gc(CollectionKind::Major);
                for (i, result) in results.iter_mut().enumerate() {
                    *result = if i % 3 == 0 { args[0].clone() } else { Val::I64(i as i64) };
                }
                Ok(())
            })
            .unwrap();
        let types: String = (0..N).map(|i| if i % 3 == 0 { "externref " } else { "i64 " }).collect();
        let instance = instance(
            store,
            linker,
            &format!(
                r#"(module
                  (type $many (func (param externref) (result {types})))
                  (import "host" "many" (func $host (type $many)))
                  (elem declare func $direct)
                  (func $direct (type $many) (call $host (local.get 0)))
                  (func $tail (type $many) (return_call $direct (local.get 0)))
                  (func $caught (type $many)
                    (block $none (try_table (result {types}) (catch_all $none) (call $tail (local.get 0))) (return))
                    (unreachable))
                  (func (export "many") (type $many) (return_call_ref $many (local.get 0) (ref.func $direct)))
                  (func (export "caught") (type $many) (call $caught (local.get 0))))"#
            ),
        );
        let value = ExternRef::new(&mut *store, 1u8).unwrap();
        for name in ["many", "caught"] {
            let results = call(store, instance, name, &[value.clone().into()]).unwrap();
            for (i, result) in results.iter().enumerate() {
                match result {
                    Val::ExternRef(Some(r)) => assert!(i % 3 == 0 && r.ref_eq(&*store, &value), "{name} {i}"),
                    result => assert_eq!(result.i64(), Some(i as i64), "{name}"),
                }
            }
        }
    });
}

#[test]
fn stores_run_in_each_other_and_on_other_threads() {
    each::<()>(|store, linker| {
        let wat = r#"(module (func (export "trap") unreachable) (func (export "one") (result i32) (i32.const 1)))"#;
        let engine = store.engine().clone();
        let own = Module::new(&engine, wat).unwrap();
        let inner = own.clone();
        linker
            .func_wrap("host", "other", move || {
                let mut store = Store::new(&engine, ()).unwrap();
                let instance = Instance::new(&mut store, &inner, &[]).unwrap();
                assert_eq!(trap(&mut store, instance, "trap", &[]), Trap::Unreachable);
                call(&mut store, instance, "one", &[]).unwrap()[0].i32().unwrap()
            })
            .unwrap();
        let outer = instance(
            store,
            linker,
            r#"(module (import "host" "other" (func $other (result i32)))
              (func (export "run") (result i32) (i32.add (call $other) (call $other)))
              (func (export "trap") (drop (call $other)) unreachable))"#,
        );
        let other = std::thread::scope(|scope| {
            scope.spawn(|| call(store, outer, "run", &[]).unwrap()[0].i32()).join().unwrap()
        });
        assert_eq!(other, Some(2));
        assert_eq!(trap(store, outer, "trap", &[]), Trap::Unreachable);
    });
}

#[test]
fn a_corrupt_heap_is_an_error_and_not_a_panic() {
    each::<()>(|store, linker| {
        linker.func_wrap("host", "corrupt", || -> () { panic!("corrupt heap: {}", "a test") }).unwrap();
        let instance =
            instance(store, linker, r#"(module (import "host" "corrupt" (func $f)) (func (export "f") (call $f)))"#);
        let error = call(store, instance, "f", &[]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Corruption(message) if message == "corrupt heap: a test"));
    });
}

#[test]
fn a_reference_out_of_the_heap_is_an_error_and_not_a_crash() {
    each::<()>(|store, linker| {
        let instance = instance(
            store,
            linker,
            r#"(module
              (type $p (struct (field $next (mut (ref null $p))) (field $n i32)))
              (global $g (ref $p) (struct.new $p (ref.null $p) (i32.const 7)))
              (func (export "nullable") (result i32)
                (struct.get $p $n (struct.get $p $next (global.get $g))))
              (func (export "non_null") (result i32)
                (struct.get $p $n (ref.as_non_null (struct.get $p $next (global.get $g)))))
              (func (export "mend") (struct.set $p $next (global.get $g) (ref.null $p))))"#,
        );
        let mut object = 0;
        store.heap().for_each_object(&mut |found| object = found.raw());
        for name in ["nullable", "non_null"] {
            // Above everything that is committed; what a collector with a bug may leave behind.
            store.as_context_mut().opaque().memory().store_u32(object, 8, 0xf000_0000);
            let error = call(store, instance, name, &[]).unwrap_err();
            let ErrorKind::Corruption(message) = error.kind() else { panic!("{name}: {error}") };
            assert!(message.contains("index 0xf0000"), "{message}");
            assert!(error.to_string().contains(name), "it has a backtrace: {error}");
        }
        store.as_context_mut().opaque().memory().store_u32(object, 8, 0);
        call(store, instance, "mend", &[]).unwrap();
        assert_eq!(trap(store, instance, "nullable", &[]), Trap::NullReference);
    });
}

#[test]
fn roots_are_shown_by_kind() {
    use gc_api::RootKind;
    each::<()>(|store, linker| {
        linker
            .func_wrap("host", "look", |mut caller: Caller<'_, ()>, _: Option<Rooted<AnyRef>>| {
                let count = |kind| {
                    let mut count = 0;
                    caller.inspect(|_, roots| roots.visit(kind, &mut |slot| count += i32::from(slot.get().is_some())));
                    count
                };
                let [stack, global, table, segment, host, exception] = RootKind::ALL.map(count);
                (stack, global, table, segment, host, exception)
            })
            .unwrap();
        let instance = instance(
            store,
            linker,
            r#"(module
              (type $s (struct))
              (import "host" "look" (func $look (param anyref) (result i32 i32 i32 i32 i32 i32)))
              (global $a (mut (ref null $s)) (struct.new $s))
              (table 10 (ref null $s) (struct.new $s))
              (elem (ref $s) (struct.new $s) (struct.new $s) (struct.new $s))
              (func (export "look") (result i32 i32 i32 i32 i32 i32)
                (local $x (ref $s))
                (local.set $x (struct.new $s))
                (call $look (local.get $x))
                (drop (ref.eq (local.get $x) (global.get $a)))))"#,
        );
        let counts: Vec<_> = call(store, instance, "look", &[]).unwrap().iter().map(|v| v.i32().unwrap()).collect();
        assert_eq!(counts, [1, 1, 10, 3, 1, 0]);
    });
}

#[test]
fn what_should_move_between_threads_can() {
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    send::<Store<()>>();
    send::<Linker<()>>();
    send::<Error>();
    sync::<Error>();
    send::<Rooted<AnyRef>>();
    send::<Module>();
    sync::<Module>();
    send::<Engine>();
    sync::<Engine>();
}

#[test]
fn functions_can_be_looked_at() {
    let engine = engine(&gc_null::COLLECTOR);
    let source = r#"(module (func $f) (func (export "g") (result i32) (i32.const 77)))"#;
    let texts = Module::emit(&engine, source, crate::Emit::Clif, |_, name| name == Some("g")).unwrap();
    assert_eq!(texts.len(), 1);
    assert!(texts[0].0 == "g" && texts[0].1.contains("77"), "{texts:?}");
}

#[test]
fn modules_that_are_wrong_are_refused() {
    let engine = engine(&gc_null::COLLECTOR);
    for (source, part) in [
        (&b"\0asm\x01\0\0\0\x01"[..], ""),
        (b"(module (func (result i32)))", "type mismatch"),
        (b"(module", "expected"),
        (b"(module (type $f (func)) (type (cont $f)))", "stack switching"),
    ] {
        let error = Module::new(&engine, source).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Module(message) if message.contains(part)), "{error}");
    }
}
