//! Programs that nobody trusts: limits on memory and heap, fuel, and a deadline. Each ends the program with an error, and the
//! process goes on.

use engine::{
    Config, Engine, ErrorKind, Instance, Linker, Module, Result, Store, StoreLimits, StoreLimitsBuilder, Trap,
};
use gc_api::GcRuntime;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const PROGRAM: &str = r#"(module
    (type $list (struct (field (ref null $list)) (field i64 i64)))
    (memory 1)
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func $forever (export "forever") (loop (br 0)))
    (func $down (export "recurse") (call $down))
    (func (export "hoard") (local $l (ref null $list))
      (loop (local.set $l (struct.new $list (local.get $l) (i64.const 1) (i64.const 2))) (br 0))))"#;

/// Runs the example under a collector.
pub fn run(gc: Arc<dyn GcRuntime>) -> Result<()> {
    let config = Config::new(gc).heap_limit(64 << 20).max_wasm_stack(256 << 10);
    let engine = Engine::with_config(config.clone().epoch_interruption(true))?;
    let module = Module::new(&engine, PROGRAM)?;

    // Memories, tables and the heap, decided by a value in the store.
    let limits = StoreLimitsBuilder::new().memory_size(4 << 16).heap_size(1 << 20).build();
    let mut store: Store<StoreLimits> = Store::new(&engine, limits)?;
    store.limiter(|limits| limits);
    store.set_epoch_deadline(u64::MAX / 2);
    let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
    let grow = instance.get_typed_func::<i32, i32>(&mut store, "grow")?;
    assert_eq!((grow.call(&mut store, 3)?, grow.call(&mut store, 1)?), (1, -1));
    let hoard = instance.get_typed_func::<(), ()>(&mut store, "hoard")?;
    let error = hoard.call(&mut store, ()).expect_err("1 MiB is full at some time");
    assert!(matches!(error.trap(), Some(Trap::HeapLimited { .. })), "{error}");
    println!("{error}");

    // A trap says where.
    let recurse = instance.get_typed_func::<(), ()>(&mut store, "recurse")?;
    let error = recurse.call(&mut store, ()).expect_err("stacks end");
    assert_eq!(error.trap(), Some(Trap::StackOverflow));
    assert_eq!(error.backtrace().expect("of a trap").frames()[0].name(), Some("down"));

    // A deadline: another thread advances the epoch, here every few milliseconds.
    store.set_epoch_deadline(2);
    let ticker = engine.clone();
    let ticker = thread::spawn(move || {
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(5));
            ticker.increment_epoch();
        }
    });
    let forever = instance.get_typed_func::<(), ()>(&mut store, "forever")?;
    assert_eq!(forever.call(&mut store, ()).expect_err("the deadline").trap(), Some(Trap::Interrupt));
    ticker.join().expect("no panic");

    // Fuel ends a program at the same instruction every time, whatever the machine does meanwhile.
    let engine = Engine::with_config(config.consume_fuel(true))?;
    let module = Module::new(&engine, PROGRAM)?;
    let mut store = Store::new(&engine, ())?;
    store.set_fuel(10_000)?;
    let instance = Instance::new(&mut store, &module, &[])?;
    let forever = instance.get_typed_func::<(), ()>(&mut store, "forever")?;
    let error = forever.call(&mut store, ()).expect_err("the fuel ends");
    assert!(matches!(error.kind(), ErrorKind::Trap { .. }) && error.trap() == Some(Trap::OutOfFuel));
    Ok(())
}

fn main() -> Result<()> {
    run(gleaner::collectors::by_spec("drc").expect("a collector"))
}
