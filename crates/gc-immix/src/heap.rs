//! The heap of one store: allocation, then the collection, then sizes.

use crate::Options;
use gc_api::{
    Collection, Corruption, Counters, FIRST_INDEX, GcEvents, GcHeap, HeapError, HeapLimits, HeapMemory, HeapRegion,
    HeapUsage, HostId, NeedsCollection, NewObject, Outcome, Overhead, Phase, Roots, Shapes, SizingDecision, VMGcRef,
};
use gc_parts::object::{at, check_walk, walk, write_new};
use gc_parts::{BLOCK, Bump, Growth, Hosts, LARGE, LINE, MarkRegion, Moves, Tally};
use std::ops::Range;
use std::sync::Arc;

/// Mark bits, lines and lists are charged to the heap: 1/64, 1/256 and 1/128 of it.
const METADATA: Overhead = Overhead { fixed: 0, per_mille: 28 };

pub struct ImmixHeap {
    memory: HeapMemory,
    shapes: Arc<Shapes>,
    threads: usize,
    space: MarkRegion,
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
        Ok(ImmixHeap {
            threads: options.threads,
            space: MarkRegion::new(&memory, shapes.clone(), limits, (options.defrag, options.stack))?,
            bump: Bump::new(memory.clone()),
            used: Vec::new(),
            used_bytes: 0,
            overflow: (0, 0..0),
            growth: Growth::new(limits, METADATA),
            hosts: Hosts::default(),
            tally: Tally::new(limits),
            memory,
            shapes,
        })
    }

    /// Bytes allocated since the last collection.
    fn since(&self) -> u64 {
        let overflow = self.overflow.1.start - self.overflow.0;
        self.used_bytes + self.bump.taken().len() as u64 + overflow as u64 + self.space.large.new_bytes()
    }

    /// Bytes of lists.
    fn lists(&self) -> u64 {
        self.space.lists() + self.hosts.bytes() + self.used.capacity() as u64 * 8
    }

    // Allocation.

    /// Room for an object that the current hole has none for.
    fn find(&mut self, bytes: u64) -> Option<u32> {
        if bytes > LARGE {
            return self
                .growth
                .allows(self.since(), bytes)
                .then(|| self.space.large.take(&mut self.space.pages, bytes))?;
        }
        if let Some(index) = self.bump.take(bytes) {
            return Some(index);
        }
        let bytes = bytes as u32;
        if bytes > LINE && self.bump.rest().len() as u32 >= LINE {
            return self.find_overflow(bytes);
        }
        let hole = self.space.region.next_hole(bytes).or_else(|| self.new_block())?;
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
        if !self.growth.allows(self.since(), BLOCK as u64) {
            return None;
        }
        self.space.keep_headroom();
        self.space.region.take_block(&mut self.space.pages)
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
}

impl GcHeap for ImmixHeap {
    fn allocate(&mut self, new: NewObject) -> Result<VMGcRef, NeedsCollection> {
        self.space.pages.adopt();
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
        let desperate = self.growth.is_desperate();
        self.space.use_headroom(desperate);
        let room = self.space.pages.free_bytes();
        self.space.begin(room, 0, desperate);
        let nothing = Moves { outside: |_| false, room: u64::MAX, bits: 0 };
        let (objects, live) = match self.threads > 1 && !self.space.region.is_evacuating() {
            true => self.space.trace_by(self.threads, program, events, &mut self.tally),
            false => self.space.trace(program, events, &mut self.tally, nothing, |_| ()),
        };
        events.phase(Phase::Reclaim);
        self.space.sweep(&mut self.hosts);
        (self.used, self.used_bytes, self.overflow) = (Vec::new(), 0, (0, 0..0));
        self.bump.open(0..0);

        self.tally.collected(&self.memory, since, live, objects);
        self.growth.collected(self.space.occupied(), since, 0, &mut self.space.pages);
        events.phase(Phase::Resume);
        Outcome::Complete
    }

    fn on_allocation_failure(&mut self, need: u64, attempts: u32) -> SizingDecision {
        self.memory.charge_lists(self.lists());
        let bytes = if need > LARGE { need } else { BLOCK as u64 };
        self.growth.on_failure(&self.memory, (self.space.occupied(), self.since()), bytes, attempts)
    }

    fn take_dead_hosts(&mut self) -> Vec<HostId> {
        self.hosts.take_dead()
    }

    fn usage(&self) -> HeapUsage {
        let committed = self.memory.committed_bytes();
        let live = self.tally.live() + self.since();
        let rest = self.bump.rest().len() + self.overflow.1.len();
        let free = self.space.pages.free_bytes() + self.space.region.free_bytes() + rest as u64;
        let metadata = self.space.tables() + self.lists();
        HeapUsage { live, free, waste: committed - live - free, metadata, committed }
    }

    fn counters(&self) -> Counters {
        let own = vec![("mark_stack_overflows", self.space.overflows())];
        self.tally.counters(&self.memory, self.since(), own)
    }

    fn for_each_object(&self, visit: &mut dyn FnMut(VMGcRef)) {
        self.space.for_each_marked(visit);
        self.fresh().for_each(|objects| walk(&self.memory, &self.shapes, objects, &mut *visit));
        self.space.large.for_each(visit);
    }

    fn check(&self) -> Result<(), Corruption> {
        self.fresh().try_for_each(|objects| check_walk(&self.memory, &self.shapes, objects))?;
        self.space.check()?;
        self.space.check_lines()
    }

    fn for_each_free_range(&self, visit: &mut dyn FnMut(Range<u32>)) {
        visit(self.bump.rest());
        visit(self.overflow.1.clone());
        self.space.region.for_each_hole(&mut *visit);
        self.space.pages.runs().for_each(visit);
    }

    fn for_each_region(&self, visit: &mut dyn FnMut(HeapRegion)) {
        self.space.show(self, (&(0..0), &(0..0)), visit);
    }

    fn reset(&mut self) {
        // Objects may lie behind what is left of the memory: it has shrunk.
        let committed = self.memory.committed();
        let large = self.space.large.iter().filter(|index| (*index as u64) < committed);
        let large = large.map(|index| index + self.shapes.size_of(&self.memory, &at(index)) as u32);
        let end = self.fresh().map(|objects| objects.end).chain(large).max().unwrap_or_default();
        match self.tally.collections {
            0 => self.memory.reset_touched(FIRST_INDEX..end),
            _ => self.memory.reset(),
        }
        self.space.reset();
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
