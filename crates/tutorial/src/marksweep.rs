//! The `mine` collector: mark and sweep.
//!
//! 1. Free memory is a list of gaps. Objects are allocated in one gap by bumping a pointer, and then in the next.
//! 2. A collection marks what is reachable, in a table beside the heap.
//! 3. What is between two marked objects is a gap.
//!
//! J. McCarthy, *Recursive functions of symbolic expressions and their computation by machine*, CACM 1960.

#![forbid(unsafe_code)]

use gc_api::{
    Collection, CollectionKind, Collector, CollectorInfo, CollectorOptions, Corruption, Counters, FIRST_INDEX,
    GcCompiler, GcEvents, GcHeap, GcRuntime, HeapError, HeapLimits, HeapMemory, HeapUsage, HostId, NeedsCollection,
    NewObject, OBJECT_ALIGN, OptionError, Outcome, Phase, Reclaims, RootKind, Roots, Shapes, SizingDecision, VMGcRef,
};
use gc_parts::object::{at, check_walk, update_slots, walk, write_new};
use gc_parts::roots::update_roots;
use gc_parts::{Bump, Hosts, Marks, Tally};
use std::ops::Range;
use std::sync::Arc;

/// The `mine` collector.
pub const COLLECTOR: Collector = Collector { info: &INFO, make };

const INFO: CollectorInfo = CollectorInfo {
    name: "mine",
    summary: "marks what is reachable, and allocates in the gaps between",
    citation: "McCarthy, CACM 1960",
    moving: false,
    generational: false,
    reclaims: Reclaims::Everything,
    caveat: "memory between objects may be too small for others",
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
        Ok(Box::new(Heap {
            bump: Bump::new(memory.clone()),
            fresh: Vec::new(),
            gaps: Vec::new(),
            end: FIRST_INDEX,
            marks: Marks::new(&memory)?,
            memory,
            shapes,
            hosts: Hosts::default(),
            tally: Tally::new(limits),
        }))
    }
}

struct Heap {
    memory: HeapMemory,
    shapes: Arc<Shapes>,
    /// In what was a gap.
    bump: Bump,
    /// What was bumped through since the last collection, but for that: full of objects.
    fresh: Vec<Range<u32>>,
    /// Free ranges, the lowest last.
    gaps: Vec<Range<u32>>,
    /// End of the memory that is in gaps and objects.
    end: u32,
    /// The objects that survived the last collection.
    marks: Marks,
    hosts: Hosts,
    tally: Tally,
}

impl Heap {
    /// What the heap has grown by is a gap.
    fn adopt(&mut self) {
        let committed = self.memory.committed().min(u32::MAX as u64) as u32 & !(OBJECT_ALIGN - 1);
        if committed > self.end {
            self.gaps.insert(0, self.end..committed);
            self.end = committed;
        }
    }

    /// Goes on in the lowest gap that has so much room, if there is one.
    fn open(&mut self, bytes: u64) -> Option<()> {
        let fits = self.gaps.iter().rposition(|gap| gap.len() as u64 >= bytes)?;
        let gap = self.gaps.swap_remove(fits);
        let (taken, rest) = (self.bump.taken(), self.bump.rest());
        self.fresh.extend(Some(taken).filter(|taken| !taken.is_empty()));
        self.gaps.extend(Some(rest).filter(|rest| !rest.is_empty()));
        self.bump.open(gap);
        Some(())
    }

    /// Bytes allocated since the last collection.
    fn since(&self) -> u64 {
        let closed: usize = self.fresh.iter().map(Range::len).sum();
        (closed + self.bump.taken().len()) as u64
    }

    /// Marks what is reachable.
    fn mark(&mut self, roots: &mut dyn Roots, events: &mut dyn GcEvents) {
        let Heap { memory, shapes, marks, tally, .. } = self;
        let mut grey = Vec::new();
        let reach = |grey: &mut Vec<u32>, object: u32| {
            if marks.mark(object) {
                grey.push(object);
            }
            object
        };
        events.phase(Phase::Roots);
        update_roots(roots, RootKind::ALL, &mut tally.roots, |root| reach(&mut grey, root));
        events.phase(Phase::Trace);
        while let Some(object) = grey.pop() {
            update_slots(memory, shapes, object, |child| reach(&mut grey, child));
            tally.traced += 1;
        }
    }

    /// What is between marked objects is free. Gives the number of these objects, and their bytes.
    fn sweep(&mut self) -> (u64, u64) {
        self.bump.open(0..0);
        self.fresh.clear();
        self.gaps.clear();
        let (mut free, mut objects, mut live) = (FIRST_INDEX, 0, 0);
        for object in self.marks.iter(FIRST_INDEX..self.end) {
            if free < object {
                self.gaps.push(free..object);
            }
            let bytes = self.shapes.size_of(&self.memory, &at(object));
            free = object + bytes as u32;
            (objects, live) = (objects + 1, live + bytes);
        }
        if free < self.end {
            self.gaps.push(free..self.end);
        }
        self.gaps.reverse();
        (objects, live)
    }
}

impl GcHeap for Heap {
    fn allocate(&mut self, new: NewObject) -> Result<VMGcRef, NeedsCollection> {
        self.adopt();
        let index = self.bump.take(new.size).or_else(|| {
            self.open(new.size)?;
            self.bump.take(new.size)
        });
        let index = index.ok_or(NeedsCollection { bytes: new.size })?;
        if new.host.is_some() {
            self.hosts.add(index);
        }
        self.tally.slow_objects += 1;
        Ok(write_new(&self.memory, index, &new, 0))
    }

    fn collect(&mut self, _: Collection, roots: &mut dyn Roots, events: &mut dyn GcEvents) -> Outcome {
        let since = self.since();
        self.marks.clear(FIRST_INDEX..self.end);
        self.mark(roots, events);
        events.phase(Phase::Reclaim);
        self.hosts.sweep(&self.memory, |host| self.marks.get(host).then_some(host));
        let (objects, live) = self.sweep();
        self.tally.collected(&self.memory, since, live, objects);
        Outcome::Complete
    }

    fn on_allocation_failure(&mut self, need: u64, attempts: u32) -> SizingDecision {
        let left = self.memory.limit() - self.memory.committed();
        let due = self.since() >= self.tally.live().max(STEP);
        match attempts {
            MAX_ATTEMPTS.. => SizingDecision::GiveUp,
            0 if due => SizingDecision::Collect(CollectionKind::Major),
            _ if left > 0 => SizingDecision::Grow(need.max(STEP).min(left)),
            _ => SizingDecision::Collect(CollectionKind::Major),
        }
    }

    fn take_dead_hosts(&mut self) -> Vec<HostId> {
        self.hosts.take_dead()
    }

    fn usage(&self) -> HeapUsage {
        let committed = self.memory.committed_bytes();
        let live = self.tally.live() + self.since();
        let free = (self.gaps.iter().map(Range::len).sum::<usize>() + self.bump.rest().len()) as u64;
        let lists = (self.gaps.capacity() + self.fresh.capacity()) as u64 * 8;
        let metadata = self.marks.bytes() + self.hosts.bytes() + lists;
        HeapUsage { live, free, waste: committed - live - free, metadata, committed }
    }

    fn counters(&self) -> Counters {
        self.tally.counters(&self.memory, self.since(), Vec::new())
    }

    fn for_each_object(&self, visit: &mut dyn FnMut(VMGcRef)) {
        self.marks.iter(FIRST_INDEX..self.end).for_each(|object| visit(at(object)));
        self.fresh.iter().for_each(|range| walk(&self.memory, &self.shapes, range.clone(), &mut *visit));
        walk(&self.memory, &self.shapes, self.bump.taken(), visit);
    }

    fn check(&self) -> Result<(), Corruption> {
        self.fresh.iter().try_for_each(|range| check_walk(&self.memory, &self.shapes, range.clone()))?;
        check_walk(&self.memory, &self.shapes, self.bump.taken())
    }

    fn for_each_free_range(&self, visit: &mut dyn FnMut(Range<u32>)) {
        visit(self.bump.rest());
        self.gaps.iter().for_each(|gap| visit(gap.clone()));
    }

    fn reset(&mut self) {
        self.memory.reset();
        (self.fresh, self.gaps, self.end) = (Vec::new(), Vec::new(), FIRST_INDEX);
        self.bump.open(0..0);
        self.hosts = Hosts::default();
        self.tally.reset();
    }

    fn memory(&self) -> &HeapMemory {
        &self.memory
    }
}
