//! Gleaner: a testbed for garbage collectors, which runs real WebAssembly GC programs.
//!
//! This crate is the command line, and what tests, benchmarks and fuzz targets share with it: the [list of
//! collectors](collectors), the [runner of official test scripts](wast) with [the suite](suite), and what programs import ([`spectest`],
//! [`wasi`]). Engine and collectors are crates of their own: `engine`, `gc-api`, `gc-*`.
//!
//! ```
//! use engine::{Engine, Instance, Module, Store, Val};
//! # fn main() -> engine::Result<()> {
//! for name in gleaner::collectors::names() {
//!     let engine = Engine::new(gleaner::collectors::by_spec(name).unwrap())?;
//!     let module = Module::new(&engine, r#"
//!         (module
//!           (type $pair (struct (field i32) (field i32)))
//!           (func (export "sum") (param i32 i32) (result i32) (local $p (ref null $pair))
//!             (local.set $p (struct.new $pair (local.get 0) (local.get 1)))
//!             (i32.add (struct.get $pair 0 (local.get $p)) (struct.get $pair 1 (local.get $p)))))"#)?;
//!     let mut store = Store::new(&engine, ())?;
//!     let instance = Instance::new(&mut store, &module, &[])?;
//!     let sum = instance.get_func(&mut store, "sum")?;
//!     let results = sum.call(&mut store, &[Val::I32(40), Val::I32(2)])?;
//!     assert_eq!(results[0].i32(), Some(42));
//! }
//! # Ok(())
//! # }
//! ```

pub mod collectors;
pub mod commands;
pub mod events;
pub mod heapmap;
pub mod output;
pub mod snapshot;
pub mod spectest;
pub mod suite;
pub use lab::text;
pub mod values;
pub mod wasi;
pub mod wast;
pub mod whole_file;
