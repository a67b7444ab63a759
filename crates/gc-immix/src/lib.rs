//! The `immix` collector: mark-region.
//!
//! 1. Memory is taken in blocks of 32 KiB, of 128 lines each. Objects are allocated by bumping through *holes*, runs of lines that no
//!    object of the last collection is on, and through empty blocks when no hole is left.
//! 2. An object that is longer than a line and longer than the rest of the hole goes to a block of its kind (*overflow allocation*), so
//!    that the hole is used for what fits. Objects of more than 8 KiB have pages of their own.
//! 3. A collection traces from the roots and marks objects, and the lines that they are on.
//! 4. When the heap is in pieces, blocks with many holes become candidates before the trace, and their objects are moved to
//!    empty blocks while they are traced, as long as there is room (*opportunistic evacuation*): marking and copying are one pass. When few
//!    bytes live on many lines, the candidates are the blocks with the fewest. A fortieth of the heap is kept free for that.
//!    Without candidates the trace can be shared by several threads (`threads`).
//! 5. A sweep looks at the lines, not at the objects: blocks without a marked line are free, runs of unmarked lines are holes.
//!
//! With `sticky` a collection may be *minor*: marks and marked lines stay, so that what survived once is old, and only what was allocated since
//! then is traced: from roots, and from old objects that were written to, which a barrier notes. Nothing moves. It costs what survives, and the look at
//! each line. Full collections are as before, when the budget is used up.
//!
//! Without it there are no barriers. But for that fortieth, all memory can hold objects; a collection costs what is live, and a look at each line.
//!
//! S. M. Blackburn and K. S. McKinley, *Immix: a mark-region garbage collector with space efficiency, fast collection, and mutator
//! performance*, PLDI 2008. Sticky marks: A. Demers, M. Weiser, B. Hayes, H. Boehm, D. Bobrow and S. Shenker, *Combining generational and
//! conservative garbage collection: framework and implementations*, POPL 1990.

#![forbid(unsafe_code)]

mod heap;
mod sticky;

use gc_api::ir::Value;
use gc_api::{
    AccessSite, BarrierNeeds, Collector, CollectorInfo, CollectorOptions, Emitter, GcCompiler, GcHeap, GcRuntime,
    HeapError, HeapLimits, HeapMemory, OptionError, OptionInfo, Reclaims, Shapes,
};
use gc_parts::barrier::Barrier;
use gc_parts::{Defrag, MarkStack, NurserySize};
use std::sync::Arc;

/// The `immix` collector.
pub const COLLECTOR: Collector = Collector { info: &INFO, make };

const INFO: CollectorInfo = CollectorInfo {
    name: "immix",
    summary: "marks objects and lines, allocates through the holes between them, evacuates blocks that are in pieces",
    citation: "Blackburn and McKinley, PLDI 2008",
    moving: true,
    generational: false,
    reclaims: Reclaims::Everything,
    caveat: "",
    options: &[
        Defrag::OPTION,
        MarkStack::OPTION,
        OptionInfo {
            key: "threads",
            values: "threads (1 to 64)",
            default: "1",
            summary: "how many threads trace; a minor collection, and one that evacuates, is traced by one",
        },
        OptionInfo {
            key: "sticky",
            values: "off, auto or KiB (16 to 1048576)",
            default: "off",
            summary: "marks stay until a full collection, and others, after so many bytes, look only at what is young",
        },
    ],
    variants: &["defrag=always", "defrag=never:stack=16", "threads=2", "sticky=64"],
};

/// What was chosen.
#[derive(Clone, Copy, Debug)]
struct Options {
    defrag: Defrag,
    stack: usize,
    threads: usize,
    /// How much is allocated between two collections, `None` to adapt, if some are minor.
    sticky: Option<Option<u64>>,
}

fn make(options: &CollectorOptions) -> Result<Arc<dyn GcRuntime>, OptionError> {
    let defrag = Defrag::option(options)?;
    let stack = MarkStack::option(options)?;
    let threads = options.number("threads", 1, 1..=64)? as usize;
    let sticky = match options.get("sticky") {
        None | Some("off") => None,
        Some(_) => Some(NurserySize::option_of(options, "sticky")?),
    };
    Ok(Arc::new(Immix(Options { defrag, stack, threads, sticky })))
}

#[derive(Debug)]
struct Immix(Options);

impl Immix {
    fn barrier(&self) -> Barrier {
        if self.0.sticky.is_some() { Barrier::ObjectLog } else { Barrier::None }
    }
}

/// Inline bump allocation. A barrier where marks are sticky.
impl GcCompiler for Immix {
    fn needs(&self) -> BarrierNeeds {
        self.barrier().needs()
    }

    fn write(&self, e: &mut Emitter<'_, '_>, site: &AccessSite, new: Value) {
        self.barrier().write(e, site, new);
    }
}

impl GcRuntime for Immix {
    fn info(&self) -> &'static CollectorInfo {
        &INFO
    }

    fn compiler(&self) -> &dyn GcCompiler {
        self
    }

    fn new_heap(
        &self,
        memory: HeapMemory,
        shapes: Arc<Shapes>,
        limits: &HeapLimits,
    ) -> Result<Box<dyn GcHeap>, HeapError> {
        Ok(Box::new(heap::ImmixHeap::new(memory, shapes, limits, self.0)?))
    }
}
