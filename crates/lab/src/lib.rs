//! The lab: from programs to numbers that hold up in review.
//!
//! An experiment is a [`Plan`](plan::Plan): programs × collectors × heap sizes × invocations. Each *invocation* is a process of its own
//! that runs one [job](plan::Job) and leaves one [record](record::Record), a line of JSON. Whatever is shown later, tables,
//! [comparisons](compare) and [reports](report), is made from records alone.
//!
//! The method is that of the field: fresh processes, configurations interleaved in a seeded order, heap sizes as multiples of a
//! [searched minimum](minheap), [confidence intervals](stats) over invocations, failures as results (A. Georges, D. Buytaert, L. Eeckhout,
//! *Statistically rigorous Java performance evaluation*, OOPSLA 2007; S. M. Blackburn et al., *Wake up and smell the coffee*, CACM 51(8),
//! 2008). This crate knows no collector and no engine: an invocation is a command that it starts.

#![forbid(unsafe_code)]

pub mod analysis;
pub mod bench;
pub mod compare;
pub mod files;
pub mod launch;
pub mod ledger;
pub mod minheap;
pub mod noise;
pub mod plan;
pub mod programs;
pub mod record;
pub mod report;
pub mod stats;
pub mod text;
