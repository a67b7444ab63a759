//! The `mine` collector: a copying nursery, and marking and sweeping for what is old.
//!
//! 1. Objects are allocated in one gap of the heap, the *nursery*, by bumping a pointer.
//! 2. When it is full, a *minor* collection copies what survives into another gap, where it is old, and the nursery is empty. What old objects
//!    refer to is looked at only where they were written to since they became old: the write barrier remembers them.
//! 3. When the old objects have doubled, a *major* collection marks and sweeps everything where it stands. What survives it is old.
//!
//! D. Ungar, *Generation scavenging: a non-disruptive high performance storage reclamation algorithm*, SDE 1984.

#![forbid(unsafe_code)]

use gc_api::ir::Value;
use gc_api::{
    AccessSite, BarrierNeeds, BulkWrite, Collection, CollectionKind, Collector, CollectorInfo, CollectorOptions,
    Corruption, Counters, Emitter, FIRST_INDEX, GcCompiler, GcEvents, GcHeap, GcRuntime, HeapError, HeapLimits,
    HeapMemory, HeapUsage, HostId, NeedsCollection, NewObject, OBJECT_ALIGN, OptionError, Outcome, Phase, Reclaims,
    RootKind, Roots, Shapes, SizingDecision, SlowOp, VMGcRef, WriteSite,
};
use gc_parts::barrier::Barrier;
use gc_parts::forward::{forwarded, header, move_object};
use gc_parts::object::{at, check_walk, index_of, update_slots, walk, write_new};
use gc_parts::roots::update_roots;
use gc_parts::{Bump, Hosts, Large, Marks, Remembered, Tally, cheney};
use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

/// The `mine` collector.
pub const COLLECTOR: Collector = Collector { info: &INFO, make };

const INFO: CollectorInfo = CollectorInfo {
    name: "mine",
    summary: "a copying nursery in a heap that is marked and swept",
    citation: "Ungar, SDE 1984",
    moving: true,
    generational: true,
    reclaims: Reclaims::Everything,
    caveat: "memory between objects may be too small for others",
    options: &[],
    variants: &[],
};

/// Bytes by which the heap grows, at least.
const STEP: u64 = 1 << 20;
/// Bytes of the nursery, unless one object needs more.
const NURSERY: u64 = 256 << 10;
/// Remembers old objects that are written to.
const BARRIER: Barrier = Barrier::ObjectLog;
/// Failures of one allocation after which nothing more is tried.
const MAX_ATTEMPTS: u32 = 4;

fn make(_: &CollectorOptions) -> Result<Arc<dyn GcRuntime>, OptionError> {
    Ok(Arc::new(Runtime))
}

#[derive(Debug)]
struct Runtime;

/// Inline bump allocation; the barrier remembers.
impl GcCompiler for Runtime {
    fn needs(&self) -> BarrierNeeds {
        BARRIER.needs()
    }

    fn write(&self, e: &mut Emitter<'_, '_>, site: &AccessSite, new: Value) {
        BARRIER.write(e, site, new);
    }
}

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
            gaps: Vec::new(),
            end: FIRST_INDEX,
            marks: Marks::new(&memory)?,
            remembered: Remembered::new(&memory, BARRIER)?,
            old_objects: 0,
            full: STEP,
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
    /// In the nursery.
    bump: Bump,
    /// Free ranges, the lowest last.
    gaps: Vec<Range<u32>>,
    /// End of the memory that is in gaps and objects.
    end: u32,
    /// The old objects.
    marks: Marks,
    /// Those of them that were written to.
    remembered: Remembered,
    /// Their number.
    old_objects: u64,
    /// Bytes of old objects with which a major collection is due.
    full: u64,
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

    fn may_grow(&self) -> bool {
        self.memory.committed() < self.memory.limit()
    }

    /// Makes a gap the nursery, with room for so much, if the last one is empty.
    fn open(&mut self, bytes: u64) -> Option<()> {
        if !self.bump.taken().is_empty() {
            return None;
        }
        let wanted = bytes.max(NURSERY);
        let found = match self.gaps.iter().rposition(|gap| gap.len() as u64 >= wanted) {
            None if !self.may_grow() => self.largest(bytes)?,
            found => found?,
        };
        let gap = self.gaps.swap_remove(found);
        let end = gap.end.min(gap.start.saturating_add(wanted as u32));
        let rests = [self.bump.rest(), end..gap.end];
        self.gaps.extend(rests.into_iter().filter(|rest| !rest.is_empty()));
        self.bump.open(gap.start..end);
        Some(())
    }

    /// The largest gap, if it has so much room.
    fn largest(&self, bytes: u64) -> Option<usize> {
        let largest = (0..self.gaps.len()).max_by_key(|i| self.gaps[*i].len())?;
        (self.gaps[largest].len() as u64 >= bytes).then_some(largest)
    }

    /// Where all that is young could survive.
    fn to_space(&self) -> Option<usize> {
        self.largest(self.since())
    }

    /// Bytes allocated since the last collection: what is young.
    fn since(&self) -> u64 {
        self.bump.taken().len() as u64
    }

    /// Copies what is reachable of the nursery into a gap.
    fn minor(&mut self, to_space: usize, roots: &mut dyn Roots, events: &mut dyn GcEvents) {
        let (young, since, old) = (self.bump.taken(), self.since(), self.tally.live());
        let Heap { memory, shapes, bump, gaps, marks, remembered, hosts, tally, .. } = self;
        let (start, armed) = (gaps[to_space].start, remembered.armed_bits(false));
        let free = Cell::new(start);
        let mut copy = |from: u32| {
            if !young.contains(&from) {
                return from;
            }
            let header = match header(memory, from) {
                Ok(header) => header,
                Err(to) => return to,
            };
            let bytes = shapes.size_by_header(memory, from, header) as u32;
            let to = free.replace(free.get() + bytes);
            move_object(memory, (from, header), to, bytes, armed);
            marks.mark(to);
            to
        };

        events.phase(Phase::Roots);
        update_roots(roots, RootKind::ALL, &mut tally.roots, &mut copy);
        remembered.drain(shapes, &Large::default(), (marks, &[]), |object, offset| {
            if let Some(child) = index_of(memory.load_u32(object, offset)) {
                memory.store_u32(object, offset, copy(child));
            }
        });
        events.phase(Phase::Trace);
        let promoted = cheney::scan(memory, shapes, start, &mut copy, || free.get());
        events.phase(Phase::Reclaim);
        hosts.sweep_young(memory, |host| forwarded(memory, host));
        gaps[to_space].start = free.get();
        bump.open(young.start..bump.rest().end);

        let survived = (free.get() - start) as u64;
        self.old_objects += promoted;
        tally.traced += promoted;
        tally.copied += survived;
        tally.collected(memory, since, old + survived, self.old_objects);
    }

    /// Marks and sweeps everything, old and young.
    fn major(&mut self, roots: &mut dyn Roots, events: &mut dyn GcEvents) {
        let since = self.since();
        self.remembered.forget();
        self.marks.clear(FIRST_INDEX..self.end);
        self.mark(roots, events);
        events.phase(Phase::Reclaim);
        self.hosts.sweep(&self.memory, |host| self.marks.get(host).then_some(host));
        let (objects, live) = self.sweep();
        (self.old_objects, self.full) = (objects, live + live.max(STEP));
        self.tally.collected(&self.memory, since, live, objects);
    }

    /// Marks what is reachable.
    fn mark(&mut self, roots: &mut dyn Roots, events: &mut dyn GcEvents) {
        let Heap { memory, shapes, marks, remembered, tally, .. } = self;
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
            remembered.arm(shapes, object);
            update_slots(memory, shapes, object, |child| reach(&mut grey, child));
            tally.traced += 1;
        }
    }

    /// What is between marked objects is free. Gives the number of these objects, and their bytes.
    fn sweep(&mut self) -> (u64, u64) {
        self.bump.open(0..0);
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

    fn write_ref(&mut self, site: WriteSite<'_>, new: Option<&VMGcRef>) {
        self.remembered.write_ref(site, new);
    }

    fn write_refs(&mut self, write: BulkWrite<'_>) {
        self.remembered.write_refs(write);
    }

    fn slow_path(&mut self, op: SlowOp, args: [u64; 4]) -> u64 {
        self.remembered.slow_path(op, args[0] as u32);
        0
    }

    fn collect(&mut self, request: Collection, roots: &mut dyn Roots, events: &mut dyn GcEvents) -> Outcome {
        match self.to_space().filter(|_| request.kind == CollectionKind::Minor) {
            Some(to_space) => self.minor(to_space, roots, events),
            None => self.major(roots, events),
        }
        Outcome::Complete
    }

    fn on_allocation_failure(&mut self, need: u64, attempts: u32) -> SizingDecision {
        let left = self.memory.limit() - self.memory.committed();
        let (due, nothing_young) = (self.tally.live() >= self.full, self.since() == 0);
        match attempts {
            MAX_ATTEMPTS.. => SizingDecision::GiveUp,
            0 if due => SizingDecision::Collect(CollectionKind::Major),
            _ if self.to_space().is_some() && !nothing_young => SizingDecision::Collect(CollectionKind::Minor),
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
        let lists = self.gaps.capacity() as u64 * 8 + self.hosts.bytes();
        let metadata = self.marks.bytes() + self.remembered.metadata() + lists;
        HeapUsage { live, free, waste: committed - live - free, metadata, committed }
    }

    fn counters(&self) -> Counters {
        self.tally.counters(&self.memory, self.since(), Vec::new())
    }

    fn for_each_object(&self, visit: &mut dyn FnMut(VMGcRef)) {
        self.marks.iter(FIRST_INDEX..self.end).for_each(|object| visit(at(object)));
        walk(&self.memory, &self.shapes, self.bump.taken(), visit);
    }

    fn check(&self) -> Result<(), Corruption> {
        check_walk(&self.memory, &self.shapes, self.bump.taken())
    }

    fn for_each_free_range(&self, visit: &mut dyn FnMut(Range<u32>)) {
        visit(self.bump.rest());
        self.gaps.iter().for_each(|gap| visit(gap.clone()));
    }

    fn reset(&mut self) {
        self.remembered.wipe();
        self.memory.reset();
        self.remembered.reset();
        (self.gaps, self.end) = (Vec::new(), FIRST_INDEX);
        (self.old_objects, self.full) = (0, STEP);
        self.bump.open(0..0);
        self.hosts = Hosts::default();
        self.tally.reset();
    }

    fn memory(&self) -> &HeapMemory {
        &self.memory
    }
}
