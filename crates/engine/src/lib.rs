//! Gleaner's WebAssembly engine: it runs modules whose objects live in the heap of a collector that it knows only as
//! `gc-api`'s trait objects.
//!
//! Where things are: `parse` reads and validates a module's declarations; `compile` translates functions to Cranelift's
//! intermediate form, with the collector's barriers, and makes the trampolines; `precompiled` keeps code in files; `vm` lays out the records that compiled code and
//! the runtime share; `runtime` is what runs beside compiled code (stores, instances, builtins, stack walks, traps); `types` are
//! canonical across modules; `api` is what embedders see, re-exported here.
//!
//! ```
//! use engine::{Engine, Instance, Module, Store, Val};
//! # fn main() -> Result<(), engine::Error> {
//! let engine = Engine::new(gc_drc::COLLECTOR.with(&Default::default()).unwrap())?;
//! let module = Module::new(
//!     &engine,
//!     r#"(module
//!          (type $pair (struct (field i32) (field i32)))
//!          (func (export "sum") (param i32 i32) (result i32) (local $p (ref null $pair))
//!            (local.set $p (struct.new $pair (local.get 0) (local.get 1)))
//!            (i32.add (struct.get $pair 0 (local.get $p)) (struct.get $pair 1 (local.get $p)))))"#,
//! )?;
//! let mut store = Store::new(&engine, ())?;
//! let instance = Instance::new(&mut store, &module, &[])?;
//! let sum = instance.get_func(&mut store, "sum")?;
//! assert!(matches!(sum.call(&mut store, &[Val::I32(40), Val::I32(2)])?[..], [Val::I32(42)]));
//! assert_eq!(store.stats().counters.bytes_allocated, 16);
//! # Ok(())
//! # }
//! ```
//!
//! # Threads
//!
//! | types | may go to another thread (`Send`) | several threads may use it (`Sync`) |
//! |---|---|---|
//! | [`Config`], [`Engine`], [`Module`], [`Linker`], [`InstancePre`], [`SharedMemory`], [`StructRefPre`], [`ArrayRefPre`], [`RecGroup`] | yes | yes |
//! | [`Store`], [`StoreContextMut`], [`Caller`], [`RootScope`] | if the host's data may | if the host's data may |
//! | handles: [`Instance`], [`Func`], [`TypedFunc`], [`Global`], [`Table`], [`Memory`], [`Tag`], [`Extern`], [`Rooted`], [`Val`] | yes; they are of use with their store only | yes |
//! | values: [`Error`], [`Trap`], [`Stats`], [`types`] | yes | yes |
//!
//! A store runs one program at a time, since running takes it mutably; threads that share a [`SharedMemory`] have a store each.
//!
//! # Panics
//!
//! No module and no input of a program makes the engine panic: what is wrong with a module is an [`Error`] of its loading, what a
//! program does wrong is a [`Trap`], and a heap that is found to be corrupt is an error of the kind
//! [`Corruption`](ErrorKind::Corruption). What panics is an embedder's mistake, and each method's documentation says so:
//!
//! * a handle is used with another store than its own, or a type's index with another engine;
//! * a [`Rooted`] is used after the end of its [`RootScope`], by a method that cannot give an error;
//! * an epoch deadline is set without [`Config::epoch_interruption`].
//!
//! A panic in a function of the host's unwinds through the program to whoever called it; the store can be used afterwards.

mod api;
mod compile;
mod fixed_tables;
mod info;
pub mod limits;
mod parse;
mod precompiled;
mod runtime;
pub mod types;
mod vm;

pub use api::*;
pub use compile::{CompileProfile, Emit, OptLevel, SlowFunction};
pub use gc_api::{CollectionKind, Outcome};
pub use parse::FEATURES;
pub use precompiled::Misfit;
