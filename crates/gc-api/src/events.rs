//! Roots, events and exact counters: what a collection is given and what it tells.

use crate::{RefCell32, VMGcRef};
use std::cell::Cell;

/// Where a root stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum RootKind {
    /// A frame of compiled code, by its stack map.
    Stack,
    /// A global.
    Global,
    /// An element of a table.
    Table,
    /// An element segment that has not been dropped.
    Segment,
    /// A handle of the host's.
    Host,
    /// The exception on its way to a handler.
    Exception,
}

impl RootKind {
    /// Every kind, in the order in which they are visited.
    pub const ALL: [RootKind; 6] =
        [RootKind::Stack, RootKind::Global, RootKind::Table, RootKind::Segment, RootKind::Host, RootKind::Exception];

    /// A word for tables and logs.
    pub const fn name(self) -> &'static str {
        match self {
            RootKind::Stack => "stack",
            RootKind::Global => "global",
            RootKind::Table => "table",
            RootKind::Segment => "segment",
            RootKind::Host => "host",
            RootKind::Exception => "exception",
        }
    }
}

/// A root: a slot that can be read and, when its object moves, updated.
#[derive(Clone, Copy, Debug)]
pub enum RootSlot<'a> {
    /// A slot of a frame.
    Stack(&'a Cell<u32>),
    /// A slot anywhere else.
    Cell(&'a RefCell32),
}

impl RootSlot<'_> {
    /// What the slot holds; `None` for null. Borrowed from the slot: no barrier has run.
    #[inline]
    pub fn get(&self) -> Option<VMGcRef> {
        match self {
            RootSlot::Stack(cell) => VMGcRef::from_raw(cell.get()),
            RootSlot::Cell(cell) => cell.peek(),
        }
    }

    /// Updates the slot because its object has moved.
    #[inline]
    pub fn set(&self, moved: VMGcRef) {
        match self {
            RootSlot::Stack(cell) => cell.set(moved.raw()),
            RootSlot::Cell(cell) => cell.set_raw(moved.raw()),
        }
    }
}

/// The roots of a stopped program, visited by category. A collector skips the categories that it counts or remembers.
pub trait Roots {
    /// Calls `visit` with each root of `kind`; slots that hold null may be left out. Enumerates anew at each call.
    fn visit(&mut self, kind: RootKind, visit: &mut dyn FnMut(RootSlot<'_>));
}

/// The phases of a collection, in their usual order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Phase {
    /// The program has stopped; the collector prepares.
    Stop,
    /// Roots are visited.
    Roots,
    /// Reachable (or surviving) objects are traced, marked, copied or counted.
    Trace,
    /// Cyclic garbage is looked for.
    Cycles,
    /// Dead objects become free memory.
    Reclaim,
    /// The program is about to go on.
    Resume,
}

impl Phase {
    /// Every phase, in the usual order.
    pub const ALL: [Phase; 6] = [Phase::Stop, Phase::Roots, Phase::Trace, Phase::Cycles, Phase::Reclaim, Phase::Resume];

    /// A word for tables and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Stop => "stop",
            Phase::Roots => "roots",
            Phase::Trace => "trace",
            Phase::Cycles => "cycles",
            Phase::Reclaim => "reclaim",
            Phase::Resume => "resume",
        }
    }
}

/// Hears of a collection's phases, with the work done in each. Timestamps are the listener's.
pub trait GcEvents {
    /// `phase` begins; the one before it has ended.
    fn phase(&mut self, phase: Phase);
}

/// Hears nothing.
impl GcEvents for () {
    fn phase(&mut self, _: Phase) {}
}

/// Exact counts of work since the heap was made: deterministic for a given program and options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Collections that ran to the end.
    pub collections: u64,
    /// Objects allocated. Inline allocations are counted only in programs compiled to count them (see
    /// [`Emitter::count_objects`](crate::Emitter)); `None` when they are not.
    pub objects_allocated: Option<u64>,
    /// Bytes allocated, exact at any time.
    pub bytes_allocated: u64,
    /// Objects traced: scanned or marked or copied.
    pub objects_traced: u64,
    /// Bytes copied by a moving collector.
    pub bytes_copied: u64,
    /// Objects freed; `None` for a collector that reclaims without looking at the dead, in programs that do not count.
    pub objects_freed: Option<u64>,
    /// Bytes freed.
    pub bytes_freed: u64,
    /// Roots visited, by [`RootKind::ALL`].
    pub roots: [u64; 6],
    /// The collector's own: name and value, in a fixed order.
    pub own: Vec<(&'static str, u64)>,
}
