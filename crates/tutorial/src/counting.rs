//! The `mine` collector: deferred reference counting, and trial deletion for cycles.
//!
//! 1. Each object has a count of the references to it in objects, globals, tables and the host's hands; those on the stack are not counted.
//!    What has no count is in the *zero count table*, or is new.
//! 2. A collection counts what the stack refers to, frees what has no count then, and takes the stack's counts back.
//! 3. What was left with a count when a reference went is a *suspect*: it may be on a cycle that nothing else refers to. A collection of
//!    cycles takes away the references from within what suspects lead to, and frees what has no count then.
//! 4. Free memory is a list of gaps, as with marking and sweeping.
//!
//! L. P. Deutsch and D. G. Bobrow, *An efficient, incremental, automatic garbage collector*, CACM 1976. D. F. Bacon and V. T. Rajan,
//! *Concurrent cycle collection in reference counted systems*, ECOOP 2001.

#![forbid(unsafe_code)]

use gc_api::ir::types::I64;
use gc_api::ir::{InstBuilder, Value};
use gc_api::{
    AccessSite, BarrierNeeds, BulkWrite, COLLECTOR_MASK, Collection, CollectionKind, Collector, CollectorInfo,
    CollectorOptions, Corruption, Counters, Emitter, FIRST_INDEX, GcCompiler, GcEvents, GcHeap, GcRuntime, HeapError,
    HeapLimits, HeapMemory, HeapUsage, HostId, NeedsCollection, NewObject, OBJECT_ALIGN, OptionError, Outcome, Phase,
    Reclaims, RootKind, Roots, Shapes, SizingDecision, SlowOp, VMGcRef, WriteSite, copy_refs,
};
use gc_parts::object::{at, check_walk, index_of, walk, write_new};
use gc_parts::roots::update_roots;
use gc_parts::{Bump, Hosts, Marks, Tally};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// The `mine` collector.
pub const COLLECTOR: Collector = Collector { info: &INFO, make };

const INFO: CollectorInfo = CollectorInfo {
    name: "mine",
    summary: "counts references, and looks for cycles where a count was left",
    citation: "Deutsch and Bobrow, CACM 1976; Bacon and Rajan, ECOOP 2001",
    moving: false,
    generational: false,
    reclaims: Reclaims::Everything,
    caveat: "memory between objects may be too small for others",
    options: &[],
    variants: &[],
};

/// Bytes by which the heap grows, at least.
const STEP: u64 = 1 << 20;
/// What compiled code calls when a reference to an object has been added.
const INCREMENT: SlowOp = SlowOp(1);
/// What it calls when one was taken away.
const DECREMENT: SlowOp = SlowOp(2);
/// A count that stays: whatever else happens, the object is not freed.
const STUCK: u32 = COLLECTOR_MASK;
/// Failures of one allocation after which nothing more is tried.
const MAX_ATTEMPTS: u32 = 4;

fn make(_: &CollectorOptions) -> Result<Arc<dyn GcRuntime>, OptionError> {
    Ok(Arc::new(Runtime))
}

#[derive(Debug)]
struct Runtime;

/// Inline bump allocation; stores of references count.
impl GcCompiler for Runtime {
    fn needs(&self) -> BarrierNeeds {
        BarrierNeeds { write: true, init: true, bulk_write: true, bulk_init: true, ..BarrierNeeds::default() }
    }

    fn write(&self, e: &mut Emitter<'_, '_>, site: &AccessSite, new: Value) {
        let old = e.load(site);
        e.if_object(new, site.new, |e| call(e, INCREMENT, new));
        e.store(&AccessSite { null_check: false, ..*site }, new);
        e.if_object(old, site.old, |e| call(e, DECREMENT, old));
    }

    fn init(&self, e: &mut Emitter<'_, '_>, site: &AccessSite, new: Value) {
        e.if_object(new, site.new, |e| call(e, INCREMENT, new));
        e.store(site, new);
    }
}

fn call(e: &mut Emitter<'_, '_>, op: SlowOp, object: Value) {
    let wide = e.b.ins().uextend(I64, object);
    e.slow_path(op, &[wide]);
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
            fresh: Vec::new(),
            gaps: Vec::new(),
            end: FIRST_INDEX,
            marks: Marks::new(&memory)?,
            zero: BTreeSet::new(),
            suspects: BTreeSet::new(),
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
    /// The zero count table: what may have no count. All of them that have none are here, or are new.
    zero: BTreeSet<u32>,
    /// What may be on a cycle that nothing else refers to.
    suspects: BTreeSet<u32>,
    /// Bytes alive by their counts with which cycles are looked for.
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

    fn count(&self, object: u32) -> u32 {
        self.memory.header_word(&at(object)) & COLLECTOR_MASK
    }

    /// Adds to an object's count. Gives the new one.
    fn add(&self, object: u32, change: i32) -> u32 {
        let word = self.memory.header_word(&at(object));
        let count = match word & COLLECTOR_MASK {
            STUCK => STUCK,
            count => count.checked_add_signed(change).expect("no more is taken away than was added"),
        };
        self.memory.set_header_word(&at(object), word & !COLLECTOR_MASK | count);
        count
    }

    fn increment(&mut self, raw: u32) {
        if let Some(object) = index_of(raw) {
            self.add(object, 1);
        }
    }

    fn decrement(&mut self, raw: u32) {
        if let Some(object) = index_of(raw) {
            match self.add(object, -1) {
                0 => self.zero.insert(object),
                _ => self.suspects.insert(object),
            };
        }
    }

    fn children(&self, object: u32) -> Vec<u32> {
        let mut children = Vec::new();
        self.shapes.scan(&self.memory, &at(object), |offset| {
            children.extend(index_of(self.memory.load_u32(object, offset)));
        });
        children
    }

    /// Adds what the stack refers to. Gives it.
    fn count_stack(&mut self, roots: &mut dyn Roots) -> Vec<u32> {
        let mut found = Vec::new();
        update_roots(roots, [RootKind::Stack], &mut self.tally.roots, |object| {
            found.push(object);
            object
        });
        found.iter().for_each(|object| self.increment(*object));
        found
    }

    /// New objects become known, in one of the two tables.
    fn enrol_new(&mut self) {
        self.fresh.push(self.bump.taken());
        for range in std::mem::take(&mut self.fresh) {
            walk(&self.memory, &self.shapes, range, |object| {
                self.marks.mark(object.raw());
                match self.memory.header(&object).bits() {
                    0 => self.zero.insert(object.raw()),
                    _ => self.suspects.insert(object.raw()),
                };
            });
        }
    }

    /// Frees what has no count, and what has none then.
    fn free_uncounted(&mut self) {
        while let Some(object) = self.zero.pop_first() {
            if self.count(object) == 0 {
                self.forget(object);
                self.children(object).into_iter().for_each(|child| self.decrement(child));
            }
        }
    }

    /// An object is free memory from now on.
    fn forget(&mut self, object: u32) {
        self.marks.clear(object..object + OBJECT_ALIGN);
        self.suspects.remove(&object);
    }

    /// Frees the cycles that suspects are on or lead to, if nothing else refers to them.
    fn free_cycles(&mut self) {
        // What suspects lead to, and how many references to it come from there.
        let mut inside: BTreeMap<u32, u32> = self.suspects.iter().map(|object| (*object, 0)).collect();
        let mut open: Vec<u32> = std::mem::take(&mut self.suspects).into_iter().collect();
        while let Some(object) = open.pop() {
            self.tally.traced += 1;
            for child in self.children(object) {
                *inside.entry(child).or_insert_with(|| {
                    open.push(child);
                    0
                }) += 1;
            }
        }
        // What has more is referred to from elsewhere: it is alive, and so is what it leads to.
        open.extend(inside.iter().filter(|(object, from)| self.count(**object) > **from).map(|(object, _)| *object));
        while let Some(object) = open.pop() {
            if inside.remove(&object).is_some() {
                open.extend(self.children(object));
            }
        }
        for dead in inside.keys() {
            self.forget(*dead);
            let out = self.children(*dead).into_iter().filter(|child| !inside.contains_key(child));
            out.for_each(|child| self.decrement(child));
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

    fn clone_ref(&mut self, r: &VMGcRef) -> VMGcRef {
        self.increment(r.raw());
        r.unchecked_copy()
    }

    fn drop_ref(&mut self, r: VMGcRef) {
        self.decrement(r.raw());
    }

    fn expose(&mut self, r: VMGcRef) -> u32 {
        self.decrement(r.raw());
        r.raw()
    }

    fn write_ref(&mut self, site: WriteSite<'_>, new: Option<&VMGcRef>) {
        let raw = new.map_or(0, VMGcRef::raw);
        self.increment(raw);
        let old = match site {
            WriteSite::Object { object, offset } => {
                let old = self.memory.load_u32(object.raw(), offset);
                self.memory.store_u32(object.raw(), offset, raw);
                old
            }
            WriteSite::Cell { cell, .. } => {
                let old = cell.raw();
                cell.set_raw(raw);
                old
            }
        };
        self.decrement(old);
    }

    fn write_refs(&mut self, write: BulkWrite<'_>) {
        let memory = self.memory.clone();
        copy_refs(&memory, write, |old, new| {
            self.increment(new);
            self.decrement(old);
        });
    }

    fn slow_path(&mut self, op: SlowOp, args: [u64; 4]) -> u64 {
        match op {
            INCREMENT => self.increment(args[0] as u32),
            DECREMENT => self.decrement(args[0] as u32),
            _ => unreachable!("{op:?} is not emitted"),
        }
        0
    }

    fn collect(&mut self, request: Collection, roots: &mut dyn Roots, events: &mut dyn GcEvents) -> Outcome {
        let since = self.since();
        events.phase(Phase::Roots);
        let stack = self.count_stack(roots);
        self.enrol_new();
        events.phase(Phase::Reclaim);
        self.free_uncounted();
        let cycles = request.kind == CollectionKind::Cycle;
        if cycles {
            events.phase(Phase::Cycles);
            self.free_cycles();
        }
        stack.into_iter().for_each(|object| self.decrement(object));
        self.hosts.sweep(&self.memory, |host| self.marks.get(host).then_some(host));
        let (objects, live) = self.sweep();
        if cycles {
            self.full = live + live.max(STEP);
        }
        self.tally.collected(&self.memory, since, live, objects);
        Outcome::Complete
    }

    fn on_allocation_failure(&mut self, need: u64, attempts: u32) -> SizingDecision {
        let left = self.memory.limit() - self.memory.committed();
        let due = self.since() >= self.tally.live().max(STEP);
        let look_for_cycles = self.tally.live() >= self.full;
        match attempts {
            MAX_ATTEMPTS.. => SizingDecision::GiveUp,
            0 if due && !look_for_cycles => SizingDecision::Collect(CollectionKind::Major),
            0 if due => SizingDecision::Collect(CollectionKind::Cycle),
            _ if left > 0 => SizingDecision::Grow(need.max(STEP).min(left)),
            _ => SizingDecision::Collect(CollectionKind::Cycle),
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
        let tables = (self.zero.len() + self.suspects.len()) as u64 * 4;
        let metadata = self.marks.bytes() + self.hosts.bytes() + lists + tables;
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
        let known = |object: &u32| self.count(*object) != 0 || self.zero.contains(object);
        if let Some(lost) = self.marks.iter(FIRST_INDEX..self.end).find(|object| !known(object)) {
            return Err(Corruption(format!(
                "the object at {lost:#x} has no count, and is not in the zero count table"
            )));
        }
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
        (self.zero, self.suspects, self.full) = (BTreeSet::new(), BTreeSet::new(), STEP);
        self.bump.open(0..0);
        self.hosts = Hosts::default();
        self.tally.reset();
    }

    fn memory(&self) -> &HeapMemory {
        &self.memory
    }
}
