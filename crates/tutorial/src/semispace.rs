//! The `mine` collector: Cheney's copying collection.
//!
//! 1. The heap has two halves. Objects are allocated in one of them by bumping a pointer; the other is empty.
//! 2. A collection copies what the roots refer to into the other half, side by side, and leaves behind where it went.
//! 3. The copies are scanned in the order in which they stand, and what they refer to is copied behind them.
//! 4. What was not copied is garbage. The halves change places.
//!
//! C. J. Cheney, *A nonrecursive list compacting algorithm*, CACM 1970.

#![forbid(unsafe_code)]

use gc_api::{
    Collection, CollectionKind, Collector, CollectorInfo, CollectorOptions, Corruption, Counters, FIRST_INDEX,
    GcCompiler, GcEvents, GcHeap, GcRuntime, HeapError, HeapLimits, HeapMemory, HeapUsage, HostId, NeedsCollection,
    NewObject, OBJECT_ALIGN, OptionError, Outcome, Phase, Reclaims, RootKind, Roots, Shapes, SizingDecision, VMGcRef,
};
use gc_parts::forward::{forwarded, header, move_object};
use gc_parts::object::{check_walk, walk, write_new};
use gc_parts::roots::update_roots;
use gc_parts::{Bump, Hosts, Tally, cheney};
use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

/// The `mine` collector.
pub const COLLECTOR: Collector = Collector { info: &INFO, make };

const INFO: CollectorInfo = CollectorInfo {
    name: "mine",
    summary: "copies what is reachable from one half of the heap to the other",
    citation: "Cheney, CACM 1970",
    moving: true,
    generational: false,
    reclaims: Reclaims::Everything,
    caveat: "half of the memory is usable",
    options: &[],
    variants: &[],
};

/// Bytes by which the heap grows, at least.
const STEP: u64 = 1 << 20;
/// Failures of one allocation after which nothing more is tried.
const MAX_ATTEMPTS: u32 = 4;

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
        let mut heap = Heap {
            bump: Bump::new(memory.clone()),
            memory,
            shapes,
            half: 0,
            hosts: Hosts::default(),
            tally: Tally::new(limits),
        };
        heap.open();
        Ok(Box::new(heap))
    }
}

struct Heap {
    memory: HeapMemory,
    shapes: Arc<Shapes>,
    /// In the half that objects are in.
    bump: Bump,
    /// Bytes of a half.
    half: u32,
    hosts: Hosts,
    tally: Tally,
}

impl Heap {
    /// Both halves are empty.
    fn open(&mut self) {
        self.divide();
        self.bump.open(FIRST_INDEX..FIRST_INDEX + self.half);
    }

    fn divide(&mut self) {
        self.half = (self.memory.committed_bytes() / 2) as u32 & !(OBJECT_ALIGN - 1);
    }

    fn is_low(&self) -> bool {
        self.bump.taken().start == FIRST_INDEX
    }

    /// The half that is empty.
    fn idle(&self) -> Range<u32> {
        let start = if self.is_low() { FIRST_INDEX + self.half } else { FIRST_INDEX };
        start..start + self.half
    }

    /// Bytes allocated since the last collection.
    fn since(&self) -> u64 {
        self.bump.taken().len() as u64 - self.tally.live()
    }
}

impl GcHeap for Heap {
    fn allocate(&mut self, new: NewObject) -> Result<VMGcRef, NeedsCollection> {
        // The heap may have grown: the boundary moves, unless there are objects behind it.
        if self.is_low() {
            self.divide();
            self.bump.set_limit(FIRST_INDEX + self.half);
        }
        let index = self.bump.take(new.size).ok_or(NeedsCollection { bytes: new.size })?;
        if new.host.is_some() {
            self.hosts.add(index);
        }
        self.tally.slow_objects += 1;
        Ok(write_new(&self.memory, index, &new, 0))
    }

    fn collect(&mut self, _: Collection, roots: &mut dyn Roots, events: &mut dyn GcEvents) -> Outcome {
        let (since, to_space) = (self.since(), self.idle());
        let Heap { memory, shapes, bump, hosts, tally, .. } = self;
        let free = Cell::new(to_space.start);
        let mut copy = |from: u32| {
            let header = match header(memory, from) {
                Ok(header) => header,
                Err(to) => return to,
            };
            let bytes = shapes.size_by_header(memory, from, header) as u32;
            let to = free.replace(free.get() + bytes);
            move_object(memory, (from, header), to, bytes, 0);
            to
        };

        events.phase(Phase::Roots);
        update_roots(roots, RootKind::ALL, &mut tally.roots, &mut copy);
        events.phase(Phase::Trace);
        let objects = cheney::scan(memory, shapes, to_space.start, &mut copy, || free.get());
        events.phase(Phase::Reclaim);
        hosts.sweep(memory, |from| forwarded(memory, from));
        let live = (free.get() - to_space.start) as u64;
        bump.open(to_space);
        bump.take(live).expect("what fits one half fits the other");

        tally.traced += objects;
        tally.copied += live;
        tally.collected(memory, since, live, objects);
        Outcome::Complete
    }

    fn on_allocation_failure(&mut self, need: u64, attempts: u32) -> SizingDecision {
        let committed = self.memory.committed_bytes();
        let left = self.memory.limit_bytes() - committed;
        match attempts {
            MAX_ATTEMPTS.. => SizingDecision::GiveUp,
            1.. if self.is_low() && left > 0 => SizingDecision::Grow(committed.max(2 * need).max(STEP).min(left)),
            _ => SizingDecision::Collect(CollectionKind::Major),
        }
    }

    fn take_dead_hosts(&mut self) -> Vec<HostId> {
        self.hosts.take_dead()
    }

    fn usage(&self) -> HeapUsage {
        let committed = self.memory.committed_bytes();
        let (live, free) = (self.bump.taken().len() as u64, self.bump.rest().len() as u64);
        HeapUsage { live, free, waste: committed - live - free, metadata: self.hosts.bytes(), committed }
    }

    fn counters(&self) -> Counters {
        self.tally.counters(&self.memory, self.since(), Vec::new())
    }

    fn for_each_object(&self, visit: &mut dyn FnMut(VMGcRef)) {
        walk(&self.memory, &self.shapes, self.bump.taken(), visit);
    }

    fn check(&self) -> Result<(), Corruption> {
        check_walk(&self.memory, &self.shapes, self.bump.taken())
    }

    fn for_each_free_range(&self, visit: &mut dyn FnMut(Range<u32>)) {
        visit(self.bump.rest());
        visit(self.idle());
    }

    fn reset(&mut self) {
        self.memory.reset();
        self.hosts = Hosts::default();
        self.tally.reset();
        self.open();
    }

    fn memory(&self) -> &HeapMemory {
        &self.memory
    }
}
