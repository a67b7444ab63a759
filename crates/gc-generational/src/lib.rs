//! The `generational` collector: a copying nursery before a mark-region space.
//!
//! 1. New objects are allocated in the *nursery* by bumping a pointer. Objects of more than 8 KiB are old from the start, on pages of
//!    their own.
//! 2. When the nursery is full, a *minor* collection copies what survives into the old space, and the nursery is empty. It looks at the stack
//!    and the host's handles, at globals, tables and segments if they were written to, and at what is *remembered* of old objects:
//!    where they may refer to young ones, as the write barrier noted it. It costs what survives.
//!    With `ageing=1` an object that survives its first minor collection stays young, in a *survivor space*, and becomes old if it
//!    survives the next.
//! 3. Survivors go to the holes between the lines that old objects are on, then to empty blocks. So many pages are kept
//!    free that all of the nursery could survive.
//! 4. When the old space has grown by its budget, or is so small beside the nursery that it costs little more, a *major* collection
//!    traces everything, young and old, in one pass: the nursery is copied as in a minor one, old objects are marked with their lines, and
//!    those on blocks in pieces are evacuated, as in `immix`. So what is dead and old does not keep young objects alive for long.
//! 5. The nursery is as large as is asked for, or (`nursery=auto`) grows while much of it survives and shrinks while little does, down to
//!    what fits the cache: a larger one gives objects more time to die, a smaller one is still in the cache when it is used again.
//!
//! D. Ungar, *Generation scavenging*, SDE 1984, with the old space of S. M. Blackburn and K. S. McKinley, *Immix*, PLDI 2008. Remembering:
//! see [`gc_parts::Remembered`].

#![forbid(unsafe_code)]

mod heap;

use gc_api::ir::Value;
use gc_api::{
    AccessSite, AllocSite, BarrierNeeds, Collector, CollectorInfo, CollectorOptions, Emitter, GcCompiler, GcHeap,
    GcRuntime, HeapError, HeapLimits, HeapMemory, OptionError, OptionInfo, Reclaims, Shapes,
};
use gc_parts::barrier::Barrier;
use gc_parts::{Defrag, LARGE, MarkStack, NurserySize};
use std::sync::Arc;

/// The `generational` collector.
pub const COLLECTOR: Collector = Collector { info: &INFO, make };

const INFO: CollectorInfo = CollectorInfo {
    name: "generational",
    summary: "a copying nursery before a mark-region space, with a remembered set",
    citation: "Ungar, SDE 1984; Blackburn and McKinley, PLDI 2008",
    moving: true,
    generational: true,
    reclaims: Reclaims::Everything,
    caveat: "",
    options: &[
        NurserySize::OPTION,
        OptionInfo {
            key: "ageing",
            values: "0 or 1",
            default: "0",
            summary: "how many minor collections an object survives before it becomes old, beside the first",
        },
        OptionInfo {
            key: "remember",
            values: "object, field or card",
            default: "object",
            summary: "what the write barrier notes: old objects that were written to, slots, or parts of the heap of 512 bytes",
        },
        Defrag::OPTION,
        MarkStack::OPTION,
    ],
    variants: &["nursery=64:remember=field", "nursery=64:remember=card:defrag=always", "nursery=64:ageing=1"],
};

/// What was chosen.
#[derive(Clone, Copy, Debug)]
struct Options {
    /// Bytes; `None` to adapt.
    nursery: Option<u64>,
    ageing: bool,
    barrier: Barrier,
    defrag: Defrag,
    stack: usize,
}

fn make(options: &CollectorOptions) -> Result<Arc<dyn GcRuntime>, OptionError> {
    let nursery = NurserySize::option(options)?;
    let barrier = match options.choice("remember", &["object", "field", "card"])? {
        "field" => Barrier::FieldLog,
        "card" => Barrier::Cards,
        _ => Barrier::ObjectLog,
    };
    let defrag = Defrag::option(options)?;
    let ageing = options.number("ageing", 0, 0..=1)? == 1;
    let stack = MarkStack::option(options)?;
    Ok(Arc::new(Generational(Options { nursery, ageing, barrier, defrag, stack })))
}

#[derive(Debug)]
struct Generational(Options);

/// Inline bump allocation in the nursery; the barrier that was chosen.
impl GcCompiler for Generational {
    fn needs(&self) -> BarrierNeeds {
        self.0.barrier.needs()
    }

    fn alloc(&self, e: &mut Emitter<'_, '_>, object: &AllocSite) -> Value {
        e.bump_alloc_up_to(object, 0, LARGE as u32)
    }

    fn write(&self, e: &mut Emitter<'_, '_>, site: &AccessSite, new: Value) {
        self.0.barrier.write(e, site, new);
    }
}

impl GcRuntime for Generational {
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
        Ok(Box::new(heap::GenerationalHeap::new(memory, shapes, limits, self.0)?))
    }
}
