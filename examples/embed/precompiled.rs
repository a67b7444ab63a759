//! Code compiled in advance: a file that any process with the same Gleaner, collector and processor features loads without
//! compiling, and that is refused with the reason by all others.

use engine::{Engine, ErrorKind, Instance, Module, Result, Store};
use gc_api::GcRuntime;
use std::sync::Arc;

/// Runs the example under a collector.
pub fn run(gc: Arc<dyn GcRuntime>) -> Result<()> {
    let file = Engine::new(gc.clone())?.precompile_module(
        r#"(module (type $box (struct (field i32)))
             (func (export "answer") (result i32) (struct.get $box 0 (struct.new $box (i32.const 42)))))"#,
    )?;

    let engine = Engine::new(gc)?;
    // SAFETY: made above, by the same library. A file from elsewhere is machine code from elsewhere.
    let module = unsafe { Module::deserialize(&engine, &file)? };
    let mut store = Store::new(&engine, ())?;
    let instance = Instance::new(&mut store, &module, &[])?;
    assert_eq!(instance.get_typed_func::<(), i32>(&mut store, "answer")?.call(&mut store, ())?, 42);

    // What was damaged by accident is found out.
    let mut damaged = file.clone();
    damaged[file.len() / 2] ^= 1;
    // SAFETY: made above, and damaged: checked before any of it is used.
    let error = unsafe { Module::deserialize(&engine, &damaged) }.map(|_| ()).expect_err("a checksum");
    assert!(matches!(error.kind(), ErrorKind::Precompiled(_)));
    println!("{error}");
    Ok(())
}

fn main() -> Result<()> {
    run(gleaner::collectors::by_spec("drc").expect("a collector"))
}
