//! The `marksweep` collector: mark and lazy sweep, non-moving.
//!
//! 1. Objects are allocated in blocks of cells of one size each (*segregated fits*): compiled code takes the next cell of a run of free ones,
//!    with a pair of heap cells for each size. Objects of more than 8 KiB have pages of their own.
//! 2. When the budget is used up, a collection marks what is reachable, in a table beside the heap, with a mark stack that is bounded: what
//!    does not fit is found again by a walk over the marked objects.
//! 3. Nothing is swept then but what is empty as a whole: blocks without a mark, and large objects.
//! 4. Allocation goes through the other blocks of its size, and finds the runs of cells between marked ones (*lazy sweeping*). It
//!    writes nothing into free cells.
//!
//! There are no barriers and no object moves: the price is memory that is in cells of the wrong size.
//!
//! J. McCarthy, *Recursive functions of symbolic expressions and their computation by machine*, CACM 1960. R. J. M. Hughes, *A
//! semi-incremental garbage collection algorithm*, Software: Practice and Experience 1982.

#![forbid(unsafe_code)]

use gc_api::ir::Value;
use gc_api::{
    AllocSite, Collection, Collector, CollectorInfo, CollectorOptions, Corruption, Counters, Emitter, FIRST_INDEX,
    GcCompiler, GcEvents, GcHeap, GcRuntime, HeapError, HeapLimits, HeapMemory, HeapRegion, HeapUsage, HostId,
    NeedsCollection, NewObject, OptionError, Outcome, Overhead, Phase, Reclaims, RegionState, RootKind, Roots, Shapes,
    SizingDecision, VMGcRef,
};
use gc_parts::object::{at, write_new};
use gc_parts::roots::update_roots;
use gc_parts::{EXACT, Fits, Growth, Hosts, Large, MarkStack, Marks, Pages, RUNS, Spaces, Tally};
use std::ops::Range;
use std::sync::Arc;

/// The `marksweep` collector.
pub const COLLECTOR: Collector = Collector { info: &INFO, make };

const INFO: CollectorInfo = CollectorInfo {
    name: "marksweep",
    summary: "marks what is reachable, and uses the cells between again",
    citation: "McCarthy, CACM 1960; Hughes, SP&E 1982",
    moving: false,
    generational: false,
    reclaims: Reclaims::Everything,
    caveat: "",
    options: &[MarkStack::OPTION],
    variants: &["stack=16"],
};

/// Mark bits and lists are charged to the heap: 1/64 and 1/128 of it.
const METADATA: Overhead = Overhead { fixed: 0, per_mille: 24 };

fn make(options: &CollectorOptions) -> Result<Arc<dyn GcRuntime>, OptionError> {
    Ok(Arc::new(MarkSweep { stack: MarkStack::option(options)? }))
}

#[derive(Debug)]
struct MarkSweep {
    /// Objects that the mark stack may hold.
    stack: usize,
}

/// Allocation takes cells by size; there are no barriers.
impl GcCompiler for MarkSweep {
    fn alloc(&self, e: &mut Emitter<'_, '_>, object: &AllocSite) -> Value {
        e.bump_alloc_by_size(object, 0, RUNS, EXACT)
    }
}

impl GcRuntime for MarkSweep {
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
        let marks = Marks::new(&memory)?;
        memory.charge_lists(0);
        memory.grow_to(limits.initial_bytes)?;
        Ok(Box::new(MarkSweepHeap {
            pages: Pages::new(memory.clone()),
            fits: Fits::new(memory.clone()),
            large: Large::default(),
            marks,
            stack: MarkStack::new(self.stack),
            growth: Growth::new(limits, METADATA),
            hosts: Hosts::default(),
            tally: Tally::new(limits),
            memory,
            shapes,
        }))
    }
}

struct MarkSweepHeap {
    memory: HeapMemory,
    shapes: Arc<Shapes>,
    pages: Pages,
    fits: Fits,
    large: Large,
    marks: Marks,
    stack: MarkStack,
    growth: Growth,
    hosts: Hosts,
    tally: Tally,
}

impl MarkSweepHeap {
    /// Bytes of lists.
    fn lists(&self) -> u64 {
        self.fits.metadata() + self.large.metadata() + self.hosts.bytes() + self.stack.bytes()
    }

    /// Bytes allocated since the last collection.
    fn since(&self) -> u64 {
        self.fits.since() + self.large.new_bytes()
    }

    /// Room for an object: in a cell, or on pages of its own. When all else has failed, in a larger cell or on pages that are too large.
    fn find(&mut self, bytes: u64) -> Option<u32> {
        let since = self.since();
        if bytes > self.fits.largest() {
            return self.growth.allows(since, bytes).then(|| self.large.take(&mut self.pages, bytes))?;
        }
        let allowed = self.growth.allows(since, self.fits.block() as u64);
        let MarkSweepHeap { fits, pages, marks, large, growth, .. } = self;
        let found = fits.take(pages, marks, bytes as u32, allowed);
        if found.is_some() || !growth.is_desperate() {
            return found;
        }
        fits.take_larger(marks, bytes as u32).or_else(|| large.take(pages, bytes))
    }

    /// Marks what is reachable. Gives the number of objects and their bytes.
    fn mark(&mut self, program: &mut dyn Roots, events: &mut dyn GcEvents) -> (u64, u64) {
        let MarkSweepHeap { memory, shapes, marks, stack, tally, .. } = self;
        let (mut objects, mut live) = (0, 0);
        let mut visit = |stack: &mut MarkStack, object: u32| {
            stack.push(object, |object| marks.mark(object));
            object
        };
        let mut scanned = |_, bytes: u64| (objects, live) = (objects + 1, live + bytes);
        let heap = (&*marks, FIRST_INDEX..memory.committed().min(u32::MAX as u64) as u32);
        events.phase(Phase::Roots);
        update_roots(program, RootKind::ALL, &mut tally.roots, |root| {
            visit(stack, root);
            if stack.is_half_full() {
                stack.drain(memory, shapes, heap.clone(), &mut visit, &mut scanned);
            }
            root
        });
        events.phase(Phase::Trace);
        stack.drain(memory, shapes, heap, visit, scanned);
        (objects, live)
    }
}

impl GcHeap for MarkSweepHeap {
    fn allocate(&mut self, new: NewObject) -> Result<VMGcRef, NeedsCollection> {
        self.pages.adopt();
        let index = self.find(new.size).ok_or(NeedsCollection { bytes: new.size })?;
        if new.host.is_some() {
            self.hosts.add(index);
        }
        self.tally.slow_objects += 1;
        Ok(write_new(&self.memory, index, &new, 0))
    }

    fn collect(&mut self, _: Collection, program: &mut dyn Roots, events: &mut dyn GcEvents) -> Outcome {
        events.phase(Phase::Stop);
        self.growth.sizer().stop();
        let since = self.since();
        self.fits.blocks().for_each(|block| self.marks.clear(block));
        self.large.unmark(&self.marks);

        let (objects, live) = self.mark(program, events);
        events.phase(Phase::Reclaim);
        let MarkSweepHeap { memory, shapes, pages, fits, large, marks, hosts, .. } = self;
        hosts.sweep(memory, |host| marks.get(host).then_some(host));
        large.sweep(memory, shapes, pages, marks);
        fits.sweep(pages, marks);

        self.tally.traced += objects;
        self.tally.collected(&self.memory, since, live, objects);
        self.growth.collected(live, since, 0, &mut self.pages);
        events.phase(Phase::Resume);
        Outcome::Complete
    }

    fn on_allocation_failure(&mut self, need: u64, attempts: u32) -> SizingDecision {
        self.memory.charge_lists(self.lists());
        let bytes = if need > self.fits.largest() { need } else { self.fits.block() as u64 };
        let (live, since) = (self.tally.live(), self.since());
        self.growth.on_failure(&self.memory, (live, since), bytes, attempts)
    }

    fn take_dead_hosts(&mut self) -> Vec<HostId> {
        self.hosts.take_dead()
    }

    fn usage(&self) -> HeapUsage {
        let committed = self.memory.committed_bytes();
        let live = self.tally.live() + self.since();
        let mut free = self.pages.free_bytes();
        self.fits.for_each_free(&self.marks, |run| free += run.len() as u64);
        let metadata = self.marks.bytes() + self.lists();
        HeapUsage { live, free, waste: committed - live - free, metadata, committed }
    }

    fn counters(&self) -> Counters {
        let own = vec![("mark_stack_overflows", self.stack.walks())];
        self.tally.counters(&self.memory, self.since(), own)
    }

    fn for_each_object(&self, visit: &mut dyn FnMut(VMGcRef)) {
        self.fits.for_each(&self.marks, |index| visit(at(index)));
        self.large.for_each(visit);
    }

    fn check(&self) -> Result<(), Corruption> {
        let mut wrong = Ok(());
        self.for_each_object(&mut |object| {
            let ty = self.memory.header(&object).ty();
            if self.shapes.get(ty).is_none() {
                wrong = Err(Corruption(format!("{object:?} has type {ty}, which does not exist")));
            }
        });
        wrong
    }

    fn for_each_free_range(&self, visit: &mut dyn FnMut(Range<u32>)) {
        self.fits.for_each_free(&self.marks, &mut *visit);
        self.pages.runs().for_each(visit);
    }

    fn for_each_region(&self, visit: &mut dyn FnMut(HeapRegion)) {
        let mut spaces = Spaces::default();
        spaces.add(RegionState::Free, self.pages.runs());
        spaces.add(RegionState::Holes, self.fits.blocks());
        let state = |index, _| match self.marks.get(index) {
            _ if self.large.find(index) == Some(index) => RegionState::Large,
            true => RegionState::Old,
            false => RegionState::Young,
        };
        spaces.show(self, &self.shapes, state, visit);
    }

    fn reset(&mut self) {
        self.memory.reset();
        self.pages.reset();
        self.fits.reset();
        self.large = Large::default();
        self.stack.reset();
        self.growth.reset();
        self.hosts = Hosts::default();
        self.tally.reset();
    }

    fn memory(&self) -> &HeapMemory {
        &self.memory
    }
}
