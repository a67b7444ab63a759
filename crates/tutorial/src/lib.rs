//! The collectors of `docs/tutorial`: one file for the end of each chapter, as the reader's `src/lib.rs` is by then, and the same
//! with each mistake that a chapter makes to see it found.

#![forbid(unsafe_code)]

pub mod counting;
pub mod generational;
pub mod marksweep;
pub mod null;
pub mod semispace;
pub mod text;

include!(concat!(env!("OUT_DIR"), "/states.rs"));
