//! The heap of one store: allocation, then the collection, then sizes.

use crate::{Defrag, Options};
use gc_api::{
    Collection, Corruption, Counters, FIRST_INDEX, GcEvents, GcHeap, HeapError, HeapLimits, HeapMemory, HeapUsage,
    HostId, NeedsCollection, NewObject, Outcome, Overhead, Phase, RootKind, Roots, Shapes, SizingDecision, VMGcRef,
};
use gc_parts::forward::{forwarded, header, move_object};
use gc_parts::object::{at, check_walk, walk, write_new};
use gc_parts::parallel;
use gc_parts::roots::update_roots;
use gc_parts::{BLOCK, Bump, Growth, Hosts, LARGE, LINE, Large, MarkStack, Marks, Pages, Region, Tally};
use std::ops::Range;
use std::sync::Arc;

/// Mark bits and lines are charged to the heap: 1/64 and 1/256 of it.
const METADATA: Overhead = Overhead { fixed: 0, per_mille: 20 };
/// The heap is in pieces when more than this part of its blocks' bytes was in holes after the last collection.
const IN_PIECES: u64 = 4;

pub struct ImmixHeap {
    memory: HeapMemory,
    shapes: Arc<Shapes>,
    options: Options,
    /// Each collection is to move what it can.
    always_move: bool,
    pages: Pages,
    region: Region,
    large: Large,
    marks: Marks,
    stack: MarkStack,
    /// The hole that objects are allocated in.
    bump: Bump,
    /// The holes before it, since the last collection: as far as objects were allocated in them.
    used: Vec<Range<u32>>,
    used_bytes: u64,
    /// The block of overflow allocation: from its start to the first number there are objects.
    overflow: (u32, Range<u32>),
    growth: Growth,
    hosts: Hosts,
    tally: Tally,
}

impl ImmixHeap {
    pub fn new(
        memory: HeapMemory,
        shapes: Arc<Shapes>,
        limits: &HeapLimits,
        options: Options,
    ) -> Result<ImmixHeap, HeapError> {
        let initial = limits.initial_bytes.min(memory.limit_bytes());
        memory.grow(initial.saturating_sub(memory.committed_bytes()))?;
        Ok(ImmixHeap {
            pages: Pages::new(memory.clone()),
            region: Region::new(&memory)?,
            large: Large::default(),
            marks: Marks::new(&memory)?,
            stack: MarkStack::new(options.stack),
            bump: Bump::new(memory.clone()),
            used: Vec::new(),
            used_bytes: 0,
            overflow: (0, 0..0),
            growth: Growth::new(limits, METADATA),
            hosts: Hosts::default(),
            tally: Tally::new(limits),
            options,
            always_move: limits.always_move && options.defrag != Defrag::Never,
            memory,
            shapes,
        })
    }

    /// Bytes allocated since the last collection.
    fn since(&self) -> u64 {
        let overflow = self.overflow.1.start - self.overflow.0;
        self.used_bytes + self.bump.taken().len() as u64 + overflow as u64 + self.large.new_bytes()
    }

    // Allocation.

    /// Room for an object that the current hole has none for.
    fn find(&mut self, bytes: u64) -> Option<u32> {
        if bytes > LARGE {
            return self.growth.allows(self.since(), bytes).then(|| self.large.take(&mut self.pages, bytes))?;
        }
        if let Some(index) = self.bump.take(bytes) {
            return Some(index);
        }
        let bytes = bytes as u32;
        if bytes > LINE && self.bump.rest().len() as u32 >= LINE {
            return self.find_overflow(bytes);
        }
        let hole = self.region.next_hole(bytes).or_else(|| self.new_block())?;
        self.close();
        self.bump.open(hole);
        self.bump.take(bytes as u64)
    }

    fn find_overflow(&mut self, bytes: u32) -> Option<u32> {
        if (self.overflow.1.len() as u32) < bytes {
            let block = self.new_block()?;
            self.use_up(self.overflow.0..self.overflow.1.start);
            self.overflow = (block.start, block);
        }
        let index = self.overflow.1.start;
        self.overflow.1.start += bytes;
        Some(index)
    }

    fn new_block(&mut self) -> Option<Range<u32>> {
        self.growth.allows(self.since(), BLOCK as u64).then(|| self.region.take_block(&mut self.pages))?
    }

    fn use_up(&mut self, objects: Range<u32>) {
        if !objects.is_empty() {
            self.used_bytes += objects.len() as u64;
            self.used.push(objects);
        }
    }

    /// Leaves the current hole.
    fn close(&mut self) {
        self.use_up(self.bump.taken());
        self.bump.open(0..0);
    }

    /// Where the objects are that were allocated since the last collection, but for large ones.
    fn fresh(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        self.used.iter().cloned().chain([self.bump.taken(), self.overflow.0..self.overflow.1.start])
    }

    // Collection.

    /// Whether and how blocks are to be evacuated in the next trace.
    fn choose_candidates(&mut self) {
        let holes = self.region.bytes() - self.region.marked_bytes().min(self.region.bytes());
        let in_pieces = holes > self.region.bytes() / IN_PIECES;
        match self.options.defrag {
            Defrag::Never => {}
            Defrag::Always => self.region.choose_candidates(u64::MAX, true),
            Defrag::Auto if self.always_move => self.region.choose_candidates(u64::MAX, true),
            Defrag::Auto if in_pieces || self.growth.is_desperate() => {
                self.region.choose_candidates(self.pages.free_bytes(), false);
            }
            Defrag::Auto => {}
        }
    }

    /// Marks what is reachable, and moves what is on candidates. Gives the number of objects and their bytes.
    fn trace(&mut self, program: &mut dyn Roots, events: &mut dyn GcEvents) -> (u64, u64) {
        let ImmixHeap { memory, shapes, pages, region, marks, stack, tally, .. } = self;
        let (moving, lines) = (region.is_evacuating(), region.lines());
        let mut visit = |stack: &mut MarkStack, object: u32| {
            if marks.get(object) {
                return object;
            }
            if moving {
                let header = match header(memory, object) {
                    Ok(header) => header,
                    Err(moved) => return moved,
                };
                if region.is_candidate(object) && !stack.is_full() {
                    let bytes = shapes.size_by_header(memory, object, header) as u32;
                    if let Some(to) = region.take(pages, bytes) {
                        move_object(memory, (object, header), to, bytes, 0);
                        stack.push(to, |to| marks.mark(to));
                        tally.copied += bytes as u64;
                        return to;
                    }
                }
            }
            stack.push(object, |object| marks.mark(object));
            object
        };
        let (threads, (mut objects, mut live)) = (self.options.threads, (0, 0));
        let mut scanned = |object: u32, bytes: u64| {
            lines.mark(object, bytes);
            (objects, live) = (objects + 1, live + bytes);
        };
        let all = (&*marks, FIRST_INDEX..memory.committed().min(u32::MAX as u64) as u32);
        events.phase(Phase::Roots);
        update_roots(program, RootKind::ALL, &mut tally.roots, |root| {
            let now = visit(stack, root);
            if stack.is_half_full() {
                stack.drain(memory, shapes, all.clone(), &mut visit, &mut scanned);
            }
            now
        });
        events.phase(Phase::Trace);
        if moving || threads == 1 {
            stack.drain(memory, shapes, all, visit, scanned);
            return (objects, live);
        }
        let grey = stack.take();
        let others = parallel::trace(memory, shapes, marks, grey, threads, |object, bytes| lines.mark(object, bytes));
        (objects + others.0, live + others.1)
    }

    /// Frees what is not marked.
    fn sweep(&mut self) {
        let ImmixHeap { memory, shapes, pages, region, marks, large, hosts, .. } = self;
        hosts.sweep(memory, |host| forwarded(memory, host).or(marks.get(host).then_some(host)));
        large.sweep(memory, shapes, pages, marks);
        region.sweep(pages);
    }

    /// Bytes that objects keep from others: on marked lines, and on pages of their own.
    fn occupied(&self) -> u64 {
        self.region.marked_bytes() + self.large.paged()
    }
}

impl GcHeap for ImmixHeap {
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
        self.choose_candidates();
        self.region.blocks().for_each(|block| self.marks.clear(block));
        self.large.unmark(&self.marks);
        self.region.unmark();

        let (objects, live) = self.trace(program, events);
        events.phase(Phase::Reclaim);
        self.sweep();
        (self.used, self.used_bytes, self.overflow) = (Vec::new(), 0, (0, 0..0));
        self.bump.open(0..0);

        self.tally.traced += objects;
        self.tally.collected(&self.memory, since, live, objects);
        self.growth.collected(self.occupied(), since, 0, &mut self.pages);
        events.phase(Phase::Resume);
        Outcome::Complete
    }

    fn on_allocation_failure(&mut self, need: u64, attempts: u32) -> SizingDecision {
        let bytes = if need > LARGE { need } else { BLOCK as u64 };
        self.growth.on_failure(&self.memory, (self.occupied(), self.since()), bytes, attempts)
    }

    fn take_dead_hosts(&mut self) -> Vec<HostId> {
        self.hosts.take_dead()
    }

    fn usage(&self) -> HeapUsage {
        let committed = self.memory.committed_bytes();
        let live = self.tally.live() + self.since();
        let rest = self.bump.rest().len() + self.overflow.1.len();
        let free = self.pages.free_bytes() + self.region.free_bytes() + rest as u64;
        let lists = self.stack.bytes() + self.hosts.bytes() + self.large.metadata() + self.used.capacity() as u64 * 8;
        let metadata = self.marks.bytes() + self.region.metadata() + lists;
        HeapUsage { live, free, waste: committed - live - free, metadata, committed }
    }

    fn counters(&self) -> Counters {
        let own = vec![("mark_stack_overflows", self.stack.walks())];
        self.tally.counters(&self.memory, self.since(), own)
    }

    fn for_each_object(&self, visit: &mut dyn FnMut(VMGcRef)) {
        self.region.blocks().for_each(|block| self.marks.iter(block).for_each(|index| visit(at(index))));
        self.fresh().for_each(|objects| walk(&self.memory, &self.shapes, objects, &mut *visit));
        self.large.for_each(visit);
    }

    fn check(&self) -> Result<(), Corruption> {
        self.fresh().try_for_each(|objects| check_walk(&self.memory, &self.shapes, objects))?;
        for index in self.region.blocks().flat_map(|block| self.marks.iter(block)) {
            let ty = self.memory.header(&at(index)).ty();
            let Some(_) = self.shapes.get(ty) else {
                return Err(Corruption(format!("the marked object at {index:#x} has type {ty}, which does not exist")));
            };
            let bytes = self.shapes.size_of(&self.memory, &at(index));
            if !self.region.is_marked(index, bytes) {
                return Err(Corruption(format!("the object at {index:#x} lies on a line that is not marked")));
            }
        }
        Ok(())
    }

    fn for_each_free_range(&self, visit: &mut dyn FnMut(Range<u32>)) {
        visit(self.bump.rest());
        visit(self.overflow.1.clone());
        self.region.for_each_hole(&mut *visit);
        self.pages.runs().for_each(visit);
    }

    fn reset(&mut self) {
        let large = self.large.iter().map(|index| index + self.shapes.size_of(&self.memory, &at(index)) as u32);
        let end = self.fresh().map(|objects| objects.end).chain(large).max().unwrap_or_default();
        match self.tally.collections {
            0 => self.memory.reset_touched(FIRST_INDEX..end),
            _ => self.memory.reset(),
        }
        self.pages.reset();
        self.region.reset();
        self.large = Large::default();
        self.stack.reset();
        self.bump.open(0..0);
        (self.used, self.used_bytes, self.overflow) = (Vec::new(), 0, (0, 0..0));
        self.growth.reset();
        self.hosts = Hosts::default();
        self.tally.reset();
    }

    fn memory(&self) -> &HeapMemory {
        &self.memory
    }
}
