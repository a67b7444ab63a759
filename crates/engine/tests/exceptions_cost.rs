//! What a thrown and caught exception costs the host: no allocation, and so no backtrace either, whatever `RUST_BACKTRACE` says.

use engine::{Engine, Instance, Module, Store};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts what the system's allocator is asked for.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn throwing_and_catching_allocates_nothing_on_the_host() {
    const THROWS: i32 = 10_000;
    for collector in [gc_null::COLLECTOR, gc_drc::COLLECTOR] {
        let engine = Engine::new(collector.with(&Default::default()).unwrap()).unwrap();
        let module = Module::new(
            &engine,
            r#"(module
              (tag $thrown (param i32))
              (func $frame1 (param i32) (throw $thrown (local.get 0)))
              (func $frame2 (param i32) (call $frame1 (local.get 0)))
              (func $frame3 (param i32) (call $frame2 (local.get 0)))
              (func (export "run") (param $n i32) (result i32) (local $sum i32)
                (loop $again
                  (block $caught (result i32)
                    (try_table (catch $thrown $caught) (call $frame3 (local.get $n)))
                    (unreachable))
                  (local.set $sum (i32.add (local.get $sum)))
                  (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
                (local.get $sum)))"#,
        )
        .unwrap();
        let mut store = Store::new(&engine, ()).unwrap();
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let run = instance.get_typed_func::<i32, i32>(&mut store, "run").unwrap();
        run.call(&mut store, THROWS).unwrap();
        let before = ALLOCATIONS.load(Relaxed);
        assert_eq!(run.call(&mut store, THROWS).unwrap(), THROWS * (THROWS + 1) / 2);
        let allocations = ALLOCATIONS.load(Relaxed) - before;
        // A collector's lists may grow now and then.
        assert!(allocations < 20, "{allocations} allocations for {THROWS} throws under {}", collector.info.name);
    }
}
