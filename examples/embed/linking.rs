//! Modules that use each other: an instance under a name, a module that is made anew for each who imports it, and names that
//! stand for others.

use engine::{Engine, Linker, Module, Result, Store};
use gc_api::GcRuntime;
use std::sync::Arc;

const COUNTER: &str = r#"(module
    (global $count (mut i32) (i32.const 0))
    (func (export "next") (result i32)
      (global.set $count (i32.add (global.get $count) (i32.const 1)))
      (global.get $count)))"#;

const USER: &str = r#"(module
    (import "numbers" "next" (func $next (result i32)))
    (func (export "twice") (result i32) (drop (call $next)) (call $next)))"#;

/// Runs the example under a collector.
pub fn run(gc: Arc<dyn GcRuntime>) -> Result<()> {
    let engine = Engine::new(gc)?;
    let (counter, user) = (Module::new(&engine, COUNTER)?, Module::new(&engine, USER)?);
    let mut store = Store::new(&engine, ())?;

    // One instance, which all share, under a name of its own and under the one that the user asks for.
    let mut linker: Linker<()> = Linker::new(&engine);
    let shared = linker.instantiate(&mut store, &counter)?;
    linker.instance(&mut store, "counter", shared)?.alias_module("counter", "numbers")?;
    let twice = |store: &mut Store<()>, linker: &Linker<()>| -> Result<i32> {
        let instance = linker.instantiate(&mut *store, &user)?;
        instance.get_typed_func::<(), i32>(&mut *store, "twice")?.call(store, ())
    };
    assert_eq!((twice(&mut store, &linker)?, twice(&mut store, &linker)?), (2, 4));

    // What is missing is named, all of it.
    let error = Linker::<()>::new(&engine).instantiate(&mut store, &user).expect_err("nothing is defined");
    assert!(error.to_string().contains("numbers"), "{error}");
    println!("{error}");

    // Looked up once for many instances: the imports are found and checked here, and no more after that.
    let prepared = linker.instantiate_pre(&mut store, &user)?;
    let instance = prepared.instantiate(&mut store)?;
    assert_eq!(instance.get_typed_func::<(), i32>(&mut store, "twice")?.call(&mut store, ())?, 6);
    Ok(())
}

fn main() -> Result<()> {
    run(gleaner::collectors::by_spec("drc").expect("a collector"))
}
