//! What programs need while they run: stores and what is in them, the builtins that compiled code calls, the code itself, and
//! the machinery by which traps and exceptions leave it.

pub mod arch;
pub mod backtrace;
pub mod builtins;
pub mod code;
pub mod const_expr;
pub mod graph;
pub mod handles;
pub mod hosts;
pub mod instance;
pub mod limits;
pub mod live;
pub mod memory;
pub mod objects;
pub mod perfmap;
pub mod pool;
pub mod roots;
pub mod shared;
pub mod signals;
pub mod store;
pub mod table;
pub mod unwind;
pub mod verify;
pub mod zeroed;
