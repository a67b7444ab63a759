//! The `drc` collector: deferred reference counting.
//!
//! 1. An object's header counts the references to it from the heap, globals, tables, segments and the host. References
//!    on the stack are not counted: the *activations table* covers them, as a set of objects that *may* be on the
//!    stack. Being enrolled there stands for one reference, so an object is garbage when its count is zero and it is
//!    not enrolled.
//! 2. A load enrols what it brings onto the stack. A store increments the new value, then decrements the old one.
//! 3. An object is *new* until the next collection, and born dead: stores into it are neither counted nor is it
//!    enrolled. When a new object is first stored into something older, it is enrolled, so that the collection finds
//!    it.
//! 4. A collection walks the stack. New objects survive when they are on it, or are enrolled and counted, or when a
//!    survivor refers to them; each survivor's fields are then counted, once. All other new objects are reclaimed
//!    untouched.
//! 5. The table is replaced by what the walk found. Old objects that left it with a zero count are freed, and
//!    what they refer to is decremented, iteratively.
//! 6. Memory freed one way or the other becomes the gaps that allocation bumps through (`space.rs`).
//!
//! Deferred counting: L. P. Deutsch and D. G. Bobrow, *An efficient, incremental, automatic garbage collector*, CACM
//! 1976. The over-approximated activations table is Wasmtime's design; objects born dead are from R. Shahriyar, S. M.
//! Blackburn and D. Frampton, *Down for the count? Getting reference counting back in the ring*, ISMM 2012.
//!
//! The work of a collection follows the survivors, and what was loaded and stored since the last one; not what was
//! allocated, and not what is live. Cycles among old objects are never freed; cycles of new ones are.

#![forbid(unsafe_code)]

mod check;
mod compiler;
mod counts;
mod heap;
mod space;
#[cfg(test)]
mod tests;

use gc_api::{
    Collector, CollectorInfo, CollectorOptions, GcCompiler, GcHeap, GcRuntime, HeapError, HeapLimits, HeapMemory,
    OptionError, OptionInfo, Shapes,
};
use std::sync::Arc;

/// The `drc` collector.
pub const COLLECTOR: Collector = Collector { info: &INFO, make };

const INFO: CollectorInfo = CollectorInfo {
    name: "drc",
    summary: "deferred reference counting; new objects are born dead",
    citation: "Deutsch and Bobrow, CACM 1976; Shahriyar, Blackburn and Frampton, ISMM 2012",
    moving: false,
    generational: false,
    reclaims: gc_api::Reclaims::Acyclic,
    caveat: "cyclic garbage is never freed",
    options: &[OptionInfo {
        key: "young",
        values: "KiB (16 to 1048576)",
        default: "4096",
        summary: "what is allocated between two collections; about the cache's size is a good choice",
    }],
};

fn make(options: &CollectorOptions) -> Result<Arc<dyn GcRuntime>, OptionError> {
    Ok(Arc::new(Drc { young: options.number("young", 4096, 16..=1 << 20)? << 10 }))
}

#[derive(Debug)]
struct Drc {
    /// Bytes to allocate between two collections.
    young: u64,
}

impl GcRuntime for Drc {
    fn info(&self) -> &'static CollectorInfo {
        &INFO
    }

    fn compiler(&self) -> &dyn GcCompiler {
        &compiler::DrcCompiler
    }

    fn new_heap(
        &self,
        memory: HeapMemory,
        shapes: Arc<Shapes>,
        limits: &HeapLimits,
    ) -> Result<Box<dyn GcHeap>, HeapError> {
        Ok(Box::new(heap::DrcHeap::new(memory, shapes, limits, self.young)?))
    }
}
