//! Heaps that pass from store to store.

use super::*;
use gc_api::FIRST_INDEX;

fn pooled(collector: &Collector, heaps: usize) -> Engine {
    Engine::with_config(
        Config::new(collector.with(&Default::default()).unwrap())
            .pooling(Pooling { heaps, ..Pooling::NONE })
            .count_objects(true),
    )
    .unwrap()
}

/// Allocates `n` lists of ten, keeps the last, and hands a host value over.
const PROGRAM: &str = r#"(module
    (import "host" "value" (func $value (result externref)))
    (type $list (struct (field (ref null $list)) (field i64)))
    (type $big (array (mut i64)))
    (global $kept (mut (ref null $list)) (ref.null $list))
    (global $host (mut externref) (ref.null extern))
    (global $array (mut (ref null $big)) (ref.null $big))
    (table $t 10 (ref null $list))
    (func (export "run") (param $n i32) (result i32) (local $l (ref null $list)) (local $i i32)
      (global.set $host (call $value))
      (loop $lists
        (local.set $l (ref.null $list))
        (local.set $i (i32.const 0))
        (loop $nodes
          (local.set $l (struct.new $list (local.get $l) (i64.const -1)))
          (br_if $nodes (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10))))
        (table.set $t (i32.const 3) (local.get $l))
        (br_if $lists (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (global.set $kept (local.get $l))
      (i32.const 1))
    (func (export "large") (param $n i32) (global.set $array (array.new $big (i64.const -1) (local.get $n)))))"#;

struct Ran {
    base: usize,
    stats: Stats,
}

/// Runs the program in a new store. `large` is the length of a large array, if one is wanted.
fn run(engine: &Engine, n: i32, large: i32) -> Ran {
    let mut store = Store::new(engine, ()).unwrap();
    let mut linker = Linker::new(engine);
    linker
        .func_wrap("host", "value", |mut caller: Caller<'_, ()>| ExternRef::new(&mut caller, 7u32).map(Some))
        .unwrap();
    let instance = instance(&mut store, &linker, PROGRAM);
    call(&mut store, instance, "run", &[Val::I32(n)]).unwrap();
    if large > 0 {
        call(&mut store, instance, "large", &[Val::I32(large)]).unwrap();
    }
    store.heap().check().unwrap();
    Ran { base: store.heap().memory().base() as usize, stats: store.stats() }
}

/// What a program can tell a heap by.
fn figures(stats: &Stats) -> String {
    format!("{:?} {:?}", stats.counters, stats.usage)
}

/// Few objects, which leave the heap nearly untouched; more; enough for collections and growth; large ones; a large one behind what the
/// heap had at first.
const WORK: [(i32, i32); 6] = [(1, 0), (2000, 0), (50_000, 0), (3, 100_000), (3, 1_000_000), (20_000, 100_000)];

#[test]
fn a_heap_passes_to_the_next_store_as_good_as_new() {
    for collector in &COLLECTORS {
        let fresh: Vec<String> =
            WORK.iter().map(|(n, large)| figures(&run(&pooled(collector, 0), *n, *large).stats)).collect();
        let engine = pooled(collector, 1);
        let base = run(&engine, 1, 0).base;
        // Each after each other.
        for before in &WORK {
            for (after, fresh) in WORK.iter().zip(&fresh) {
                assert_eq!(run(&engine, before.0, before.1).base, base, "the heap was kept");
                let ran = run(&engine, after.0, after.1);
                assert_eq!(ran.base, base, "the heap was kept");
                assert_eq!(&figures(&ran.stats), fresh, "{before:?}, then {after:?}");
            }
        }
    }
}

#[test]
fn nothing_of_the_last_store_can_be_read() {
    for collector in &COLLECTORS {
        let engine = pooled(collector, 1);
        for (n, large) in WORK {
            let base = run(&engine, n, large).base;
            let store = Store::new(&engine, ()).unwrap();
            let memory = store.heap().memory();
            assert_eq!(memory.base() as usize, base);
            let dirty =
                (FIRST_INDEX..memory.committed() as u32).step_by(8).find(|index| memory.load_u64(*index, 0) != 0);
            assert_eq!(dirty, None, "after {n} lists and an array of {large}");
            let mut objects = 0;
            store.heap().for_each_object(&mut |_| objects += 1);
            assert_eq!((objects, store.stats().handles, store.stats().host_values), (0, 0, 0));
        }
    }
}

#[test]
fn a_pool_is_as_large_as_it_is_said_to_be() {
    for collector in &COLLECTORS {
        for (kept, most) in [(0, 0), (1, 1), (2, 5)] {
            let engine = pooled(collector, most);
            let base = |store: &Store<()>| store.heap().memory().base() as usize;
            let stores: Vec<Store<()>> = (0..2).map(|_| Store::new(&engine, ()).unwrap()).collect();
            let first: Vec<usize> = stores.iter().map(base).collect();
            drop(stores);
            let mut pool = Vec::new();
            while let Some(heap) = engine.pools().take_heap() {
                pool.push(heap.memory().base() as usize);
            }
            assert_eq!(pool.len(), kept);
            assert!(pool.iter().all(|base| first.contains(base)));
        }
    }
}

#[test]
fn a_corrupt_heap_is_not_used_again() {
    for collector in &COLLECTORS {
        let engine = pooled(collector, 4);
        let mut store = Store::new(&engine, ()).unwrap();
        let mut linker = Linker::new(&engine);
        linker.func_wrap("host", "corrupt", || -> () { panic!("corrupt heap: {}", "a test") }).unwrap();
        let instance =
            instance(&mut store, &linker, r#"(module (import "host" "corrupt" (func)) (export "f" (func 0)))"#);
        let error = call(&mut store, instance, "f", &[]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Corruption(_)));
        drop(store);
        assert!(engine.pools().take_heap().is_none());
        // Nor is one whose store ended in a panic: nobody knows how far it came.
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _store = Store::new(&engine, ()).unwrap();
            panic!("a test");
        }));
        assert!(panic.is_err() && engine.pools().take_heap().is_none());
    }
}

#[test]
fn threads_share_a_pool() {
    let engine = pooled(&COLLECTORS[1], 4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..20).for_each(|i| drop(run(&engine, 1 + i * 10, 0))));
        }
    });
}
