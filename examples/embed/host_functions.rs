//! Functions of the host's that a program calls, with data in the store and a memory that both read.

use engine::{Caller, Config, Engine, Error, Linker, Module, Result, Store};
use gc_api::GcRuntime;
use std::sync::Arc;

const PROGRAM: &str = r#"(module
    (import "host" "log" (func $log (param i32 i32)))
    (import "host" "square" (func $square (param i64) (result i64)))
    (memory (export "memory") 1)
    (data (i32.const 16) "the square is ready")
    (func (export "run") (param i64) (result i64)
      (call $log (i32.const 16) (i32.const 19))
      (call $square (local.get 0))))"#;

/// What the host keeps in the store.
#[derive(Default)]
struct Log {
    lines: Vec<String>,
}

/// Runs the example under a collector.
pub fn run(gc: Arc<dyn GcRuntime>) -> Result<()> {
    let engine = Engine::with_config(Config::new(gc))?;
    let mut linker: Linker<Log> = Linker::new(&engine);
    // The types of the arguments and results are those of the closure.
    linker.func_wrap("host", "square", |x: i64| x.wrapping_mul(x))?;
    // A `Caller` is the store, and the instance that called. An error ends the program, as a trap does.
    linker.func_wrap("host", "log", |mut caller: Caller<'_, Log>, start: i32, length: i32| {
        let memory = caller.get_export("memory").and_then(|item| item.memory());
        let memory = memory.ok_or_else(|| Error::host("the program exports no memory"))?;
        let mut bytes = vec![0; length as u32 as usize];
        memory.read(&caller, start as u32 as usize, &mut bytes)?;
        let line = String::from_utf8(bytes).map_err(Error::host)?;
        caller.data_mut().lines.push(line);
        Ok(())
    })?;

    let module = Module::new(&engine, PROGRAM)?;
    let mut store = Store::new(&engine, Log::default())?;
    let instance = linker.instantiate(&mut store, &module)?;
    let run = instance.get_typed_func::<i64, i64>(&mut store, "run")?;
    assert_eq!(run.call(&mut store, 12)?, 144);
    assert_eq!(store.data().lines, ["the square is ready"]);
    println!("{}", store.data().lines[0]);
    Ok(())
}

fn main() -> Result<()> {
    run(gleaner::collectors::by_spec("drc").expect("a collector"))
}
