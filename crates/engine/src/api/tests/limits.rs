//! Limiters: what they are asked, and what comes of it.

use super::*;
use crate::types::MemoryType;

/// A store with these limits.
fn limited(collector: &Collector, limits: StoreLimitsBuilder) -> Store<StoreLimits> {
    let engine = engine(collector);
    let mut store = Store::new(&engine, limits.build()).unwrap();
    store.limiter(|limits| limits);
    store
}

fn each_limited(limits: StoreLimitsBuilder, test: impl Fn(&mut Store<StoreLimits>)) {
    for collector in &COLLECTORS {
        test(&mut limited(collector, limits.clone()));
    }
}

const GROWING: &str = r#"(module
    (memory (export "m") 1 10) (table (export "t") 2 anyref)
    (func (export "memory") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "table") (param i32) (result i32) (table.grow (ref.null any) (local.get 0))))"#;

fn make(store: &mut Store<StoreLimits>, wat: &str) -> Result<Instance> {
    let module = Module::new(store.engine(), wat).unwrap();
    Instance::new(store, &module, &[])
}

#[test]
fn a_refused_growth_is_minus_one_and_an_error_for_the_host() {
    let limits = StoreLimitsBuilder::new().memory_size(3 << 16).table_elements(5);
    each_limited(limits, |store| {
        let instance = make(store, GROWING).unwrap();
        let mut grow = |name: &str, delta: i32| {
            instance.get_typed_func::<i32, i32>(&mut *store, name).unwrap().call(&mut *store, delta).unwrap()
        };
        assert_eq!((grow("memory", 3), grow("memory", 2), grow("memory", 1), grow("memory", 0)), (-1, 1, -1, 3));
        assert_eq!((grow("table", 4), grow("table", 3), grow("table", 1), grow("table", 0)), (-1, 2, -1, 5));
        let memory = instance.get_memory(&mut *store, "m").unwrap();
        assert!(memory.grow(&mut *store, 1).unwrap_err().to_string().contains("limiter"));
        let table = instance.get_table(&mut *store, "t").unwrap();
        assert!(table.grow(&mut *store, 1, &Val::AnyRef(None)).unwrap_err().to_string().contains("limiter"));
        // Growth by absurd amounts is not let through by wrapping.
        assert_eq!(memory.grow(&mut *store, u64::MAX).ok(), None);
        // The limits are data like any other.
        *store.data_mut() = StoreLimitsBuilder::new().build();
        assert_eq!(memory.grow(&mut *store, 1).unwrap(), 3);
    });
}

#[test]
fn a_refused_growth_can_end_the_program() {
    let limits = StoreLimitsBuilder::new().memory_size(1 << 16).table_elements(2).trap_on_grow_failure(true);
    each_limited(limits, |store| {
        let instance = make(store, GROWING).unwrap();
        for (name, way_out) in [("memory", "memory_size"), ("table", "table_elements")] {
            let error = call(store, instance, name, &[Val::I32(1)]).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Limit(message) if message.contains(way_out)), "{error}");
            assert!(error.backtrace().is_some_and(|trace| !trace.frames().is_empty()));
        }
    });
}

#[test]
fn what_is_too_large_or_too_much_is_not_made() {
    let limits = StoreLimitsBuilder::new().memory_size(1 << 16).table_elements(10).instances(2).memories(3).tables(3);
    each_limited(limits, |store| {
        let mut refused = |wat: &str, way_out: &str| {
            let error = make(store, wat).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Limit(message) if message.contains(way_out)), "{error}");
        };
        refused("(module (memory 2))", "memory_size");
        refused("(module (table 11 funcref))", "table_elements");
        refused("(module (memory 1) (memory 1) (memory 1) (memory 1))", "memories");
        refused("(module (table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref))", "tables");
        // What was refused does not count.
        make(store, "(module (memory 1) (memory 1) (table 1 funcref))").unwrap();
        make(store, "(module (memory 1))").unwrap();
        let error = make(store, "(module)").unwrap_err();
        assert!(error.to_string().contains("the 2 that the store's limiter allows"), "{error}");
        let ty = MemoryType { min: 1, max: None, is_64: false, shared: false, page_size_log2: 16 };
        assert!(Memory::new(&mut *store, ty).unwrap_err().to_string().contains("memories"));
        let ty = TableType { element: RefType::FUNCREF, min: 11, max: None, is_64: false };
        assert!(Table::new(&mut *store, ty, &Val::FuncRef(None)).unwrap_err().to_string().contains("table_elements"));
    });
}

#[test]
fn a_heap_that_may_not_grow_is_exhausted_and_usable() {
    each_limited(StoreLimitsBuilder::new().heap_size(2 << 20), |store| {
        let wat = r#"(module
            (type $a (array i64))
            (global $kept (mut (ref null $a)) (ref.null $a))
            (func (export "keep") (param i32) (global.set $kept (array.new_default $a (local.get 0))))
            (func (export "len") (result i32) (array.len (global.get $kept))))"#;
        let instance = make(store, wat).unwrap();
        let trap = trap(store, instance, "keep", &[Val::I32(1 << 20)]);
        let Trap::HeapLimited { committed } = trap else { panic!("{trap}") };
        assert!(committed <= 2 << 20, "{committed}");
        assert!(trap.to_string().contains("StoreLimitsBuilder::heap_size"), "{trap}");
        call(store, instance, "keep", &[Val::I32(1 << 16)]).unwrap();
        assert_eq!(call(store, instance, "len", &[]).unwrap()[0].i32(), Some(1 << 16));
        *store.data_mut() = StoreLimitsBuilder::new().build();
        call(store, instance, "keep", &[Val::I32(1 << 20)]).unwrap();
        store.heap().check().unwrap();
    });
}

#[test]
fn a_limiter_of_the_hosts_own_sees_what_happens() {
    #[derive(Default)]
    struct Log(Vec<(u64, u64, Option<u64>)>);
    impl ResourceLimiter for Log {
        fn memory_growing(&mut self, current: u64, desired: u64, maximum: Option<u64>) -> Result<bool> {
            self.0.push((current, desired, maximum));
            if desired == 4 << 16 { Err(Error::usage("no four pages")) } else { Ok(true) }
        }
        fn table_growing(&mut self, _: u64, _: u64, _: Option<u64>) -> Result<bool> {
            Ok(true)
        }
    }
    each::<Log>(|store, linker| {
        store.limiter(|log| log);
        let instance = instance(store, linker, GROWING);
        call(store, instance, "memory", &[Val::I32(1)]).unwrap();
        let error = call(store, instance, "memory", &[Val::I32(2)]).unwrap_err();
        assert!(error.to_string().starts_with("no four pages"), "{error}");
        let page = 1 << 16;
        let (first, second) = ((0, page, Some(10 * page)), (page, 2 * page, Some(10 * page)));
        assert_eq!(store.data().0, [first, second, (2 * page, 4 * page, Some(10 * page))]);
    });
}

#[test]
fn the_hosts_data_is_dropped_once() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let engine = engine(&COLLECTORS[0]);
    drop(Store::new(&engine, Dropped(dropped.clone())).unwrap());
    assert_eq!(dropped.load(SeqCst), 1);
    let data = Store::new(&engine, Dropped(dropped.clone())).unwrap().into_data();
    assert_eq!(dropped.load(SeqCst), 1);
    drop(data);
    assert_eq!(dropped.load(SeqCst), 2);
}
