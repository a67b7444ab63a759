//! What is wrong, when something is.

use std::fmt;

/// Which of the kit's checks a collector has failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Check {
    /// The reachable graph differs from the shadow heap's: shape, contents or identity.
    Graph,
    /// Something reachable is no object any more.
    Freed,
    /// Something unreachable is still there, which the collector claims to free.
    Kept,
    /// A load gave something else than what was stored.
    Load,
    /// An object was initialised or placed wrongly by its allocation.
    Allocation,
    /// An object moved, and the collector claims that none does.
    Moved,
    /// A host value was dropped too early, twice, or not at all.
    Hosts,
    /// Bytes do not add up.
    Bytes,
    /// The map of regions contradicts itself, or has an object where it shows none.
    Map,
    /// Counters contradict what happened.
    Counters,
    /// The collector's own invariants, [`GcHeap::check`](gc_api::GcHeap::check).
    Invariants,
    /// Emitted code is not valid, or does what no emitted code may.
    Code,
    /// Emitted code traps where WebAssembly does not, or the other way round.
    Trap,
    /// The answer to a failed allocation: no end, or no memory where there is enough.
    Sizing,
    /// A collection did not end as it must.
    Collection,
    /// A heap that was reset does not behave as a new one.
    Reset,
    /// The collector panicked.
    Panic,
}

impl Check {
    /// All of them.
    pub const ALL: [Check; 17] = [
        Check::Graph,
        Check::Freed,
        Check::Kept,
        Check::Load,
        Check::Allocation,
        Check::Moved,
        Check::Hosts,
        Check::Bytes,
        Check::Map,
        Check::Counters,
        Check::Invariants,
        Check::Code,
        Check::Trap,
        Check::Sizing,
        Check::Collection,
        Check::Reset,
        Check::Panic,
    ];

    /// A few words for tables.
    pub const fn name(self) -> &'static str {
        match self {
            Check::Graph => "reachable graph",
            Check::Freed => "reachable object freed",
            Check::Kept => "garbage kept",
            Check::Load => "value loaded",
            Check::Allocation => "new object",
            Check::Moved => "object moved",
            Check::Hosts => "host values",
            Check::Bytes => "bytes",
            Check::Map => "map",
            Check::Counters => "counters",
            Check::Invariants => "collector's invariants",
            Check::Code => "emitted code",
            Check::Trap => "traps",
            Check::Sizing => "sizing",
            Check::Collection => "end of collection",
            Check::Reset => "reset",
            Check::Panic => "panic",
        }
    }
}

/// What a collector did wrong, and when.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}", check.name())]
pub struct Failure {
    /// The check that it failed.
    pub check: Check,
    /// What was found.
    pub what: String,
}

impl Failure {
    pub(crate) fn new(check: Check, what: impl fmt::Display) -> Failure {
        Failure { check, what: what.to_string() }
    }
}

/// What a step gives, unless it finds something wrong.
pub(crate) type Checked<T> = Result<T, Failure>;

/// Fails `check` unless `holds`.
pub(crate) fn require<D: fmt::Display>(holds: bool, check: Check, what: impl FnOnce() -> D) -> Checked<()> {
    if holds { Ok(()) } else { Err(Failure::new(check, what())) }
}
