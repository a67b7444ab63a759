//! The `mine` collector: so far it allocates, and never frees.
//!
//! 1. Compiled code and the host take objects from one region by bumping a pointer.
//! 2. When the region is full, the heap grows; at its limit the program traps.
//!
//! What to do next: have `collect` free something, and say so in `INFO.reclaims`. The kit then holds it to that:
//! `cargo test -p gc-mine`.

#![forbid(unsafe_code)]

use gc_api::{
    Collection, Collector, CollectorInfo, CollectorOptions, Corruption, Counters, FIRST_INDEX, GcCompiler, GcEvents,
    GcHeap, GcRuntime, HeapError, HeapLimits, HeapMemory, HeapUsage, NeedsCollection, NewObject, OptionError, Outcome,
    Reclaims, Roots, Shapes, SizingDecision, VMGcRef,
};
use gc_parts::object::{check_walk, walk, write_new};
use gc_parts::{Bump, Tally};
use std::ops::Range;
use std::sync::Arc;

/// The `mine` collector.
pub const COLLECTOR: Collector = Collector { info: &INFO, make };

const INFO: CollectorInfo = CollectorInfo {
    name: "mine",
    summary: "allocates, and never frees",
    citation: "",
    moving: false,
    generational: false,
    reclaims: Reclaims::Nothing,
    caveat: "nothing is ever freed: the program traps when the heap's limit is reached",
    options: &[],
    variants: &[],
};

/// Bytes by which the heap grows, unless one object needs more.
const STEP: u64 = 1 << 20;

fn make(_: &CollectorOptions) -> Result<Arc<dyn GcRuntime>, OptionError> {
    Ok(Arc::new(Runtime))
}

#[derive(Debug)]
struct Runtime;

/// The defaults: inline bump allocation, no barriers.
impl GcCompiler for Runtime {}

impl GcRuntime for Runtime {
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
        memory.grow_to(limits.initial_bytes)?;
        let mut heap = Heap { bump: Bump::new(memory.clone()), memory, shapes, tally: Tally::new(limits) };
        heap.open();
        Ok(Box::new(heap))
    }
}

struct Heap {
    memory: HeapMemory,
    shapes: Arc<Shapes>,
    bump: Bump,
    tally: Tally,
}

impl Heap {
    /// The region is all of the heap.
    fn open(&mut self) {
        self.bump.open(FIRST_INDEX..self.end());
    }

    fn end(&self) -> u32 {
        self.memory.committed().min(u32::MAX as u64 & !7) as u32
    }
}

impl GcHeap for Heap {
    fn allocate(&mut self, new: NewObject) -> Result<VMGcRef, NeedsCollection> {
        // The heap may have grown since it was asked last.
        self.bump.set_limit(self.end());
        let index = self.bump.take(new.size).ok_or(NeedsCollection { bytes: new.size })?;
        self.tally.slow_objects += 1;
        Ok(write_new(&self.memory, index, &new, 0))
    }

    fn collect(&mut self, _: Collection, _: &mut dyn Roots, _: &mut dyn GcEvents) -> Outcome {
        Outcome::Refused
    }

    fn on_allocation_failure(&mut self, need: u64, _: u32) -> SizingDecision {
        let missing = need.saturating_sub(self.bump.rest().len() as u64);
        let left = self.memory.limit() - self.memory.committed();
        if missing > left || need > self.memory.limit() {
            return SizingDecision::GiveUp;
        }
        SizingDecision::Grow(missing.max(STEP).min(left))
    }

    fn usage(&self) -> HeapUsage {
        let committed = self.memory.committed_bytes();
        let live = self.bump.taken().len() as u64;
        HeapUsage { live, free: committed - live, waste: 0, metadata: 0, committed }
    }

    fn counters(&self) -> Counters {
        self.tally.counters(&self.memory, self.bump.taken().len() as u64, Vec::new())
    }

    fn for_each_object(&self, visit: &mut dyn FnMut(VMGcRef)) {
        walk(&self.memory, &self.shapes, self.bump.taken(), visit);
    }

    fn check(&self) -> Result<(), Corruption> {
        check_walk(&self.memory, &self.shapes, self.bump.taken())
    }

    fn for_each_free_range(&self, visit: &mut dyn FnMut(Range<u32>)) {
        visit(self.bump.rest());
    }

    fn reset(&mut self) {
        self.memory.reset_touched(self.bump.taken());
        self.tally.reset();
        self.open();
    }

    fn memory(&self) -> &HeapMemory {
        &self.memory
    }
}
