//! The bodies of Gleaner's fuzz targets, as library functions: `cargo fuzz` calls them with bytes, the tests with `proptest`'s.

mod bytes;
mod collector;
mod finding;
pub mod gc_ops;
mod pool;
mod program;
mod table_ops;

pub use bytes::{bytes, module_of};
pub use collector::{collector, cross_scripts, mutate_script, script_of};
pub use finding::{input_of, replayed};
pub use pool::{Engines, Spec};
pub use program::{Expected, Model, Op, Program, Snapshot, Value};
pub use table_ops::table_ops;
