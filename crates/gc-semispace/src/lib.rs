//! The `semispace` collector: Cheney's copying collection.
//!
//! 1. The heap has two halves. Objects are allocated in one of them, the *from-space*, by bumping a pointer; the other is empty.
//! 2. When the half is full, what the roots refer to is copied to the other half, the *to-space*, side by side. The old copy says
//!    where the new one is, so that an object is copied once, and each root is updated.
//! 3. The copies are scanned in the order in which they stand: what they refer to is copied behind them, and their slots are updated.
//!    The scan ends when it has caught up with the copies.
//! 4. What was not copied is garbage, whatever its shape. The halves change places.
//!
//! There are no barriers. A collection costs what is live, not what is dead; the price is that only half of the memory is usable.
//!
//! The halves are [`FIRST_INDEX`]`..+half` and the same again behind it, so they can change their size while the objects are in
//! the low one. A heap that should grow while they are in the high one collects once more.
//!
//! C. J. Cheney, *A nonrecursive list compacting algorithm*, CACM 1970.

#![forbid(unsafe_code)]

use gc_api::{
    Collection, CollectionKind, Collector, CollectorInfo, CollectorOptions, Corruption, Counters, FIRST_INDEX,
    GcCompiler, GcEvents, GcHeap, GcRuntime, HeapError, HeapLimits, HeapMemory, HeapRegion, HeapSizer, HeapUsage,
    HostId, NeedsCollection, NewObject, OBJECT_ALIGN, OptionError, Outcome, Overhead, Phase, Reclaims, RegionState,
    RootKind, Roots, Shapes, SizingDecision, VMGcRef,
};
use gc_parts::forward::{forwarded, header, move_object};
use gc_parts::object::{check_walk, walk, write_new};
use gc_parts::roots::update_roots;
use gc_parts::{Bump, Hosts, Spaces, Tally, cheney};
use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

/// The `semispace` collector.
pub const COLLECTOR: Collector = Collector { info: &INFO, make };

const INFO: CollectorInfo = CollectorInfo {
    name: "semispace",
    summary: "copies what is reachable from one half of the heap to the other",
    citation: "Cheney, CACM 1970",
    moving: true,
    generational: false,
    reclaims: Reclaims::Everything,
    caveat: "half of the memory is usable",
    options: &[],
    variants: &[],
};

/// The other half is charged to the heap.
const HALF: Overhead = Overhead { fixed: 0, per_mille: 1000 };
/// Failures of one allocation after which nothing more is tried.
const MAX_ATTEMPTS: u32 = 4;

fn make(_: &CollectorOptions) -> Result<Arc<dyn GcRuntime>, OptionError> {
    Ok(Arc::new(Semispace))
}

#[derive(Debug)]
struct Semispace;

/// Every default is right: inline bump allocation, no barriers.
impl GcCompiler for Semispace {}

impl GcRuntime for Semispace {
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
        let sizer = HeapSizer::new(limits, HALF);
        memory.grow_to(2 * sizer.usable())?;
        let mut heap = SemispaceHeap {
            bump: Bump::new(memory.clone()),
            memory,
            shapes,
            sizer: sizer.clone(),
            first_sizer: sizer,
            half: 0,
            small: false,
            hosts: Hosts::default(),
            tally: Tally::new(limits),
        };
        heap.open();
        Ok(Box::new(heap))
    }
}

struct SemispaceHeap {
    memory: HeapMemory,
    shapes: Arc<Shapes>,
    /// In the half that objects are in; what was taken of it is objects.
    bump: Bump,
    /// Bytes of each half.
    half: u32,
    sizer: HeapSizer,
    /// The sizer of a new heap.
    first_sizer: HeapSizer,
    /// The last collection found the heap to be smaller than it should be, and nobody was asked for more yet.
    small: bool,
    hosts: Hosts,
    tally: Tally,
}

impl SemispaceHeap {
    /// Makes all committed memory two empty halves.
    fn open(&mut self) {
        self.divide();
        self.bump.open(FIRST_INDEX..FIRST_INDEX + self.half);
    }

    /// Divides the committed memory.
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

    /// Takes over what the heap has grown by, while the objects are in the low half.
    fn adopt(&mut self) {
        if self.is_low() {
            self.divide();
            self.bump.set_limit(FIRST_INDEX + self.half);
        }
    }

    /// After a collection: gives back what the heap should not have, and notes what it should.
    fn resize(&mut self) {
        let wanted = self.sizer.usable();
        if self.is_low() && wanted < self.half as u64 * 3 / 4 {
            // A refusal leaves the heap as it is.
            let _ = self.memory.shrink(2 * wanted);
        }
        self.adopt();
        self.small = wanted > self.half as u64;
    }
}

impl GcHeap for SemispaceHeap {
    fn allocate(&mut self, new: NewObject) -> Result<VMGcRef, NeedsCollection> {
        let needs = NeedsCollection { bytes: new.size };
        self.adopt();
        if self.small && self.is_low() {
            return Err(needs);
        }
        let index = self.bump.take(new.size).ok_or(needs)?;
        if new.host.is_some() {
            self.hosts.add(index);
        }
        self.tally.slow_objects += 1;
        Ok(write_new(&self.memory, index, &new, 0))
    }

    fn collect(&mut self, _: Collection, program: &mut dyn Roots, events: &mut dyn GcEvents) -> Outcome {
        events.phase(Phase::Stop);
        self.sizer.stop();
        let (since, to_space) = (self.since(), self.idle());
        let SemispaceHeap { memory, shapes, bump, tally, hosts, .. } = self;
        let free = Cell::new(to_space.start);
        let mut copy = |from: u32| {
            header(memory, from).map_or_else(
                |moved| moved,
                |header| {
                    let bytes = shapes.size_by_header(memory, from, header) as u32;
                    let to = free.replace(free.get() + bytes);
                    move_object(memory, (from, header), to, bytes, 0);
                    to
                },
            )
        };

        events.phase(Phase::Roots);
        update_roots(program, RootKind::ALL, &mut tally.roots, &mut copy);
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
        self.sizer.resize(live, since);
        self.resize();
        events.phase(Phase::Resume);
        Outcome::Complete
    }

    fn on_allocation_failure(&mut self, need: u64, attempts: u32) -> SizingDecision {
        let needed = need.saturating_add(self.bump.taken().len() as u64);
        if attempts > 0 && needed > self.half as u64 {
            // There was a collection, and it did not help.
            if !self.sizer.require(needed) || attempts >= MAX_ATTEMPTS {
                return SizingDecision::GiveUp;
            }
            self.small = true;
        }
        if std::mem::take(&mut self.small) && self.is_low() {
            let wanted = (2 * self.sizer.usable()).min(self.memory.limit_bytes());
            return SizingDecision::Grow(wanted.saturating_sub(self.memory.committed_bytes()));
        }
        SizingDecision::Collect(CollectionKind::Major)
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

    fn for_each_region(&self, visit: &mut dyn FnMut(HeapRegion)) {
        let mut spaces = Spaces::default();
        spaces.add(RegionState::Free, [self.bump.rest()]);
        spaces.add(RegionState::Reserved, [self.idle()]);
        let survived = self.bump.taken().end - self.since() as u32;
        let state = |index, _| if index < survived { RegionState::Old } else { RegionState::Young };
        spaces.show(self, &self.shapes, state, visit);
    }

    fn reset(&mut self) {
        match self.tally.collections {
            0 => self.memory.reset_touched(self.bump.taken()),
            _ => self.memory.reset(),
        }
        self.hosts = Hosts::default();
        self.tally.reset();
        self.sizer = self.first_sizer.clone();
        self.small = false;
        self.open();
    }

    fn memory(&self) -> &HeapMemory {
        &self.memory
    }
}
