//! Gleaner's WebAssembly engine: it runs modules whose objects live in the heap of a collector that it knows only as
//! `gc-api`'s trait objects.

mod info;
pub mod types;
mod vm;
