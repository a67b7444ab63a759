//! Gleaner's WebAssembly engine: it runs modules whose objects live in the heap of a collector that it knows only as
//! `gc-api`'s trait objects.

mod api;
mod compile;
mod info;
mod parse;
mod runtime;
pub mod types;
mod vm;

pub use api::*;
pub use compile::{Emit, OptLevel};
pub use gc_api::{CollectionKind, Outcome};
