//! What Gleaner's collectors are built of. Each part is small, safe, tested alone, and says what it costs and where it is from.
//!
//! | part | what it is |
//! |---|---|
//! | [`object`] | references, new objects, slots, objects side by side |
//! | [`roots`] | roots, visited and updated |
//! | [`Bump`] | the region that compiled code allocates from |
//! | [`forward`] | where an object that moved is now |
//! | [`cheney`] | the scan that needs no stack |
//! | [`Pages`] | runs of free pages, merged, given back to the system |
//! | [`Fits`] | segregated fits: cells of equal sizes, swept lazily |
//! | [`Region`] | blocks of lines: marked, swept, recycled, evacuated |
//! | [`Large`] | objects on pages of their own |
//! | [`Marks`], [`MarkStack`] | what a trace has reached, and what it has yet to scan |
//! | [`MarkRegion`] | blocks and large objects under one trace, which marks and evacuates |
//! | [`NurserySize`] | how large a nursery should be, fixed or by what survives |
//! | [`Growth`] | when to collect, and when to grow |
//! | [`barrier`] | write barriers that a compiler names: card, object log, field log, snapshot, count |
//! | [`Remembered`] | where old objects may refer to young ones |
//! | [`parallel`] | a trace by several threads |
//! | [`Hosts`] | objects that stand for host values |
//! | [`Spaces`] | what memory is used for, for people to look at |
//! | [`Tally`] | exact counts of work |
//!
//! A collector names what it needs and reads as its algorithm; none has to use any of these.

#![forbid(unsafe_code)]

pub mod barrier;
pub mod cheney;
pub mod forward;
pub mod object;
pub mod parallel;
pub mod roots;

mod bump;
mod fits;
mod growth;
mod hosts;
mod large;
mod map;
mod mark;
mod nursery;
mod pages;
mod region;
mod remember;
mod space;
mod tally;

pub use bump::Bump;
pub use fits::{EXACT, Fits, RUNS};
pub use growth::Growth;
pub use hosts::Hosts;
pub use large::{LARGE, Large};
pub use map::Spaces;
pub use mark::{MarkStack, Marks};
pub use nursery::NurserySize;
pub use pages::{PAGE, Pages};
pub use region::{BLOCK, LINE, Lines, Region};
pub use remember::Remembered;
pub use space::{Defrag, MarkRegion, Moves};
pub use tally::Tally;
