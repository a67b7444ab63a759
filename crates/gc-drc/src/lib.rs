//! The `drc` collector: deferred reference counting.
//!
//! 1. An object's header counts the references to it from the heap, globals, tables, segments and the host. References
//!    on the stack are not counted: a collection walks the stack, and what is on it survives.
//! 2. An object is *new* until the next collection, and born dead: stores into it are neither counted nor logged, and
//!    loading it costs nothing. New objects survive a collection when they are on the stack, or something counted or a
//!    survivor refers to them; each survivor's fields are then counted, once. All other new objects are reclaimed
//!    untouched.
//! 3. Counting is *coalesced*: the first store into an old object since the last collection logs what the object refers to. The
//!    collection increments what it refers to then, and after that decrements what is in the log. What was stored and
//!    overwritten in between costs nothing, nor does any load.
//! 4. Globals and tables are counted at once. An object that loses its last counted reference there, and may still be on the
//!    stack, goes to the zero count table.
//! 5. Objects without a count that are not on the stack are freed, and what they refer to is decremented, iteratively.
//!    What is on the stack without a count stays in the table, for the next collection to look at.
//! 6. Cycles of objects that have survived a collection are found by a trace from the roots when the heap has grown by so
//!    much, or by trial deletion from what was decremented and lives. How much that is follows from the heap's policy, which is asked then.
//! 7. Memory freed one way or the other becomes the gaps that allocation bumps through (`space.rs`).
//!
//! `counting=deferred` counts every store into an old object at once, as Wasmtime does: then the *activations table* covers the
//! stack, as a set of objects that *may* be on it, and every load enrols what it brings there. `counting=eager` gives up the
//! young as well: new objects are enrolled when they are made, and their first contents counted.
//!
//! Deferred counting: L. P. Deutsch and D. G. Bobrow, *An efficient, incremental, automatic garbage collector*, CACM
//! 1976. Coalescing: Y. Levanoni and E. Petrank, OOPSLA 2001. Objects born dead: R. Shahriyar, S. M. Blackburn and D.
//! Frampton, *Down for the count? Getting reference counting back in the ring*, ISMM 2012. Trial deletion: D. F. Bacon
//! and V. T. Rajan, *Concurrent cycle collection in reference counted systems*, ECOOP 2001, §3.
//!
//! The work of a collection follows the survivors, and the old objects that were written to (with `counting=deferred` also
//! what was loaded) since the last one; not what was allocated, and not what is live. Only the search for cycles depends on that, and
//! its share is bounded by the growth between two traces.

#![forbid(unsafe_code)]

mod check;
mod collect;
mod compiler;
mod counts;
mod cycles;
mod heap;
mod log;
mod queue;
mod space;
mod table;
#[cfg(test)]
mod tests;

use gc_api::{
    Collector, CollectorInfo, CollectorOptions, GcCompiler, GcHeap, GcRuntime, HeapError, HeapLimits, HeapMemory,
    OptionError, OptionInfo, Reclaims, Shapes,
};
use std::sync::Arc;
use std::time::Duration;

/// The `drc` collector.
pub const COLLECTOR: Collector = Collector { info: &INFO, make };

const INFO: CollectorInfo = CollectorInfo {
    name: "drc",
    summary: "deferred reference counting, coalesced; new objects are born dead; cycles are traced",
    citation: "Deutsch and Bobrow, CACM 1976; Levanoni and Petrank, OOPSLA 2001; Bacon and Rajan, ECOOP 2001; \
               Shahriyar, Blackburn and Frampton, ISMM 2012",
    moving: false,
    generational: false,
    reclaims: Reclaims::Everything,
    caveat: "",
    options: OPTIONS,
    variants: &[
        "counting=deferred:cycles=none",
        "counting=eager:barriers=call:young=256",
        "cycles=trial:candidates=16",
        "cycles=trial:counting=deferred:chunk=64",
        "chunk=64:growth=1",
        "width=2",
    ],
};

/// What `cycles=none` claims.
const ACYCLIC: CollectorInfo =
    CollectorInfo { reclaims: Reclaims::Acyclic, caveat: "cyclic garbage is never freed", ..INFO };

const OPTIONS: &[OptionInfo] = &[
    OptionInfo {
        key: "young",
        values: "KiB (16 to 1048576)",
        default: "4096",
        summary: "what is allocated between two collections; about the cache's size is a good choice",
    },
    OptionInfo {
        key: "counting",
        values: "coalesced, deferred or eager",
        default: "coalesced",
        summary: "log each old object that is written to, once; count each store into one; or count each store",
    },
    OptionInfo {
        key: "cycles",
        values: "trace, trial or none",
        default: "trace",
        summary: "find garbage cycles by a trace from the roots, by trial deletion, or never",
    },
    OptionInfo {
        key: "growth",
        values: "policy or percent (1 to 10000)",
        default: "policy",
        summary: "by how much the old objects may grow before cycles are looked for in all: so much, or as far as the heap's policy leaves room; 100 with `fixed`",
    },
    OptionInfo {
        key: "candidates",
        values: "objects (1 to 1073741824)",
        default: "65536",
        summary: "so many candidates for roots of garbage cycles start a trial deletion; one for each KiB of the heap at most",
    },
    OptionInfo {
        key: "barriers",
        values: "inline or call",
        default: "inline",
        summary: "whether counting and logging happen in the compiled code, or in the runtime that it calls",
    },
    OptionInfo {
        key: "chunk",
        values: "entries (64 to 1048576)",
        default: "4096",
        summary: "the size of the buffers that compiled code pushes onto; less where one would take more than 1/64 of the heap",
    },
    OptionInfo {
        key: "width",
        values: "bits (1 to 19)",
        default: "19",
        summary: "the width of a count; a larger one sticks until a trace",
    },
    OptionInfo {
        key: "budget",
        values: "a duration (as 1ms, 500us) or none",
        default: "none",
        summary: "how long a collection may free and look for cycles by trial deletion; the rest is left for the next",
    },
];

/// How references from objects are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Counting {
    /// Objects are logged when they are first written to, and counted by the next collection.
    Coalesced,
    /// Stores into old objects are counted.
    Deferred,
    /// All stores are counted.
    Eager,
}

/// How garbage cycles are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cycles {
    /// By a trace from the roots.
    Trace,
    /// By trial deletion.
    Trial,
    /// Not at all.
    None,
}

/// What the options say.
#[derive(Clone, Copy, Debug)]
struct Options {
    /// Bytes to allocate between two collections.
    young: u64,
    counting: Counting,
    cycles: Cycles,
    /// Growth of the old objects between two traces, in percent; `None` when it follows from the policy.
    growth: Option<u64>,
    /// Candidates that start a trial deletion.
    candidates: usize,
    /// Whether barriers are inline.
    inline: bool,
    /// Entries of each of the buffers that compiled code pushes onto.
    chunk: u32,
    counts: counts::Counts,
    /// How long a collection may free and delete on trial.
    budget: Option<Duration>,
}

impl Options {
    fn parse(options: &CollectorOptions) -> Result<Options, OptionError> {
        Ok(Options {
            young: options.number("young", 4096, 16..=1 << 20)? << 10,
            counting: match options.choice("counting", &["coalesced", "deferred", "eager"])? {
                "coalesced" => Counting::Coalesced,
                "deferred" => Counting::Deferred,
                _ => Counting::Eager,
            },
            cycles: match options.choice("cycles", &["trace", "trial", "none"])? {
                "trace" => Cycles::Trace,
                "trial" => Cycles::Trial,
                _ => Cycles::None,
            },
            growth: match options.get("growth") {
                None | Some("policy") => None,
                Some(_) => Some(options.number("growth", 100, 1..=10_000)?),
            },
            candidates: options.number("candidates", 1 << 16, 1..=1 << 30)? as usize,
            inline: options.choice("barriers", &["inline", "call"])? == "inline",
            chunk: options.number("chunk", 4096, 64..=1 << 20)? as u32,
            counts: counts::Counts::new(options.number("width", 19, 1..=counts::MAX_WIDTH as u64)? as u32),
            budget: options.duration("budget")?,
        })
    }
}

fn make(options: &CollectorOptions) -> Result<Arc<dyn GcRuntime>, OptionError> {
    let options = Options::parse(options)?;
    Ok(Arc::new(Drc { options, compiler: compiler::DrcCompiler::new(&options) }))
}

#[derive(Debug)]
struct Drc {
    options: Options,
    compiler: compiler::DrcCompiler,
}

impl GcRuntime for Drc {
    fn info(&self) -> &'static CollectorInfo {
        match self.options.cycles {
            Cycles::Trace | Cycles::Trial => &INFO,
            Cycles::None => &ACYCLIC,
        }
    }

    fn compiler(&self) -> &dyn GcCompiler {
        &self.compiler
    }

    fn new_heap(
        &self,
        memory: HeapMemory,
        shapes: Arc<Shapes>,
        limits: &HeapLimits,
    ) -> Result<Box<dyn GcHeap>, HeapError> {
        Ok(Box::new(heap::DrcHeap::new(memory, shapes, limits, self.options)?))
    }
}
