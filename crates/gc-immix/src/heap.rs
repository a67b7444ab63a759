//! The heap of one store: allocation, then the collection, then sizes.

use crate::Options;
use crate::sticky::Sticky;
use gc_api::{
    BulkWrite, Collection, CollectionKind, Corruption, Counters, Edge, FIRST_INDEX, GcEvents, GcHeap, HeapError,
    HeapLimits, HeapMemory, HeapRegion, HeapUsage, HostId, MissedWrite, NeedsCollection, NewObject, Outcome, Overhead,
    Phase, Roots, Shapes, SizingDecision, SlowOp, VMGcRef, WriteSite, copy_refs, write_ref,
};
use gc_parts::object::{at, check_walk, walk, write_new};
use gc_parts::{BLOCK, Bump, Growth, Hosts, LARGE, LINE, MarkRegion, Moves, Tally};
use std::ops::Range;
use std::sync::Arc;

/// Mark bits, lines and lists are charged to the heap: 1/64, 1/256 and 1/128 of it.
pub const METADATA: Overhead = Overhead { fixed: 0, per_mille: 28 };

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
    /// Bytes that objects kept from others after the last full collection, and that minor ones have added since.
    occupied: u64,
    aged: u64,
    growth: Growth,
    hosts: Hosts,
    tally: Tally,
    sticky: Option<Sticky>,
    /// The failure that is being dealt with has had a minor collection.
    tried_minor: bool,
}

impl ImmixHeap {
    pub fn new(
        memory: HeapMemory,
        shapes: Arc<Shapes>,
        limits: &HeapLimits,
        options: Options,
    ) -> Result<ImmixHeap, HeapError> {
        let sticky = options.sticky.map(|chosen| Sticky::new(&memory, limits, chosen)).transpose()?;
        let overhead = sticky.as_ref().map_or(METADATA, Sticky::overhead);
        Ok(ImmixHeap {
            threads: options.threads,
            space: MarkRegion::new(&memory, shapes.clone(), limits, (options.defrag, options.stack))?,
            bump: Bump::new(memory.clone()),
            used: Vec::new(),
            used_bytes: 0,
            overflow: (0, 0..0),
            occupied: 0,
            aged: 0,
            growth: Growth::new(limits, overhead),
            hosts: Hosts::default(),
            tally: Tally::new(limits),
            sticky,
            tried_minor: false,
            memory,
            shapes,
        })
    }

    /// Bytes allocated since the last collection.
    fn since(&self) -> u64 {
        let overflow = self.overflow.1.start - self.overflow.0;
        self.used_bytes + self.bump.taken().len() as u64 + overflow as u64 + self.space.large.new_bytes()
    }

    /// Bytes that were allocated since the last full collection, but for those that minor ones freed.
    fn grown(&self) -> u64 {
        self.aged + self.since()
    }

    /// Bytes of lists.
    fn lists(&self) -> u64 {
        let remembered = self.sticky.as_ref().map_or(0, |sticky| sticky.remembered.lists());
        self.space.lists() + self.hosts.bytes() + self.used.capacity() as u64 * 8 + remembered
    }

    // Allocation.

    /// Room for an object that the current hole has none for.
    fn find(&mut self, bytes: u64) -> Option<u32> {
        if self.is_time_for_minor(bytes) {
            return None;
        }
        if bytes > LARGE {
            return self
                .growth
                .allows(self.grown(), bytes)
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
        if !self.growth.allows(self.grown(), BLOCK as u64) {
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

    /// Whether as much has been allocated since the last collection as should be, when some are minor.
    fn is_time_for_minor(&self, bytes: u64) -> bool {
        let since = self.since();
        self.sticky.as_ref().is_some_and(|sticky| since > 0 && since.saturating_add(bytes) > sticky.size.bytes())
    }

    /// Where the objects are that were allocated since the last collection, but for large ones.
    fn fresh(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        self.used.iter().cloned().chain([self.bump.taken(), self.overflow.0..self.overflow.1.start])
    }

    // Collection.

    /// A full collection. Gives the objects that are live, and their bytes.
    fn collect_all(&mut self, program: &mut dyn Roots, events: &mut dyn GcEvents) -> (u64, u64) {
        let desperate = self.growth.is_desperate();
        self.space.use_headroom(desperate);
        let room = self.space.pages.free_bytes();
        self.space.begin(room, 0, desperate);
        let ImmixHeap { space, shapes, sticky, tally, .. } = self;
        if let Some(sticky) = &mut *sticky {
            sticky.remembered.forget();
            tally.major += 1;
        }
        let remembered = sticky.as_ref().map(|sticky| &sticky.remembered);
        let arm = |object| _ = remembered.inspect(|remembered| remembered.arm(shapes, object));
        let bits = remembered.map_or(0, |remembered| remembered.armed_bits(false));
        match self.threads > 1 && !space.region.is_evacuating() {
            true => space.trace_by(self.threads, program, events, tally, arm),
            false => {
                let nothing = Moves { outside: |_| false, room: u64::MAX, bits };
                space.trace(program, events, tally, nothing, arm)
            }
        }
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
        let bits = self.sticky.as_ref().map_or(0, |sticky| sticky.young_bits(&new));
        Ok(write_new(&self.memory, index, &new, bits))
    }

    fn write_ref(&mut self, site: WriteSite<'_>, new: Option<&VMGcRef>) {
        match &mut self.sticky {
            Some(sticky) => sticky.remembered.write_ref(site, new),
            None => write_ref(&self.memory, site, new),
        }
    }

    fn write_refs(&mut self, write: BulkWrite<'_>) {
        match &mut self.sticky {
            Some(sticky) => sticky.remembered.write_refs(write),
            None => copy_refs(&self.memory, write, |_, _| {}),
        }
    }

    fn slow_path(&mut self, op: SlowOp, args: [u64; 4]) -> u64 {
        let sticky = self.sticky.as_mut().expect("without sticky marks there is no barrier");
        sticky.remembered.slow_path(op, args[0] as u32);
        0
    }

    fn collect(&mut self, request: Collection, program: &mut dyn Roots, events: &mut dyn GcEvents) -> Outcome {
        events.phase(Phase::Stop);
        self.growth.sizer().stop();
        let (since, grown) = (self.since(), self.grown());
        let minor = self.sticky.as_mut().filter(|_| request.kind == CollectionKind::Minor);
        let is_minor = minor.is_some();
        let (objects, live) = match minor {
            Some(sticky) => {
                let (objects, live) = self.space.trace_young(program, events, &mut self.tally, &mut sticky.remembered);
                sticky.size.collected(since, live);
                sticky.survived += live;
                (self.tally.live_objects() + objects, self.tally.live() + live)
            }
            None => self.collect_all(program, events),
        };
        events.phase(Phase::Reclaim);
        self.space.sweep(&mut self.hosts);
        (self.used, self.used_bytes, self.overflow) = (Vec::new(), 0, (0, 0..0));
        self.bump.open(0..0);

        if let Some(sticky) = &mut self.sticky {
            sticky.remembered.forget_roots();
        }
        self.tally.collected(&self.memory, since, live, objects);
        if is_minor {
            self.aged = self.space.occupied() - self.occupied;
            self.growth.sizer().resume();
        } else {
            (self.occupied, self.aged) = (self.space.occupied(), 0);
            self.growth.collected(self.occupied, grown, 0, &mut self.space.pages);
        }
        events.phase(Phase::Resume);
        Outcome::Complete
    }

    fn on_allocation_failure(&mut self, need: u64, attempts: u32) -> SizingDecision {
        self.memory.charge_lists(self.lists());
        let bytes = if need > LARGE { need } else { BLOCK as u64 };
        self.tried_minor &= attempts > 0;
        // What follows a minor collection is the first attempt.
        let earlier = attempts - u32::from(self.tried_minor);
        let decision = self.growth.on_failure(&self.memory, (self.space.occupied(), self.grown()), bytes, earlier);
        // Unless a full collection is due even if only a quarter of what is young survives.
        let minor_helps = self.sticky.is_some() && self.growth.allows(self.aged, self.since() / 4);
        match decision {
            SizingDecision::GiveUp => decision,
            SizingDecision::Grow(_) if !self.is_time_for_minor(need) => decision,
            _ if attempts == 0 && minor_helps && self.since() > 0 => {
                self.tried_minor = true;
                SizingDecision::Collect(CollectionKind::Minor)
            }
            _ => SizingDecision::Collect(CollectionKind::Major),
        }
    }

    fn take_dead_hosts(&mut self) -> Vec<HostId> {
        self.hosts.take_dead()
    }

    fn usage(&self) -> HeapUsage {
        let committed = self.memory.committed_bytes();
        let live = self.tally.live() + self.since();
        let rest = self.bump.rest().len() + self.overflow.1.len();
        let free = self.space.pages.free_bytes() + self.space.region.free_bytes() + rest as u64;
        let remembered = self.sticky.as_ref().map_or(0, |sticky| sticky.remembered.tables());
        let metadata = self.space.tables() + self.lists() + remembered;
        HeapUsage { live, free, waste: committed - live - free, metadata, committed }
    }

    fn counters(&self) -> Counters {
        let mut own = vec![("mark_stack_overflows", self.space.overflows())];
        own.extend(self.sticky.iter().flat_map(|sticky| sticky.counters(&self.tally)));
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

    fn check_edges(&self, edges: &[Edge]) -> Result<(), MissedWrite> {
        let is_young = |object| !self.space.marks.get(object);
        self.sticky.as_ref().map_or(Ok(()), |sticky| sticky.remembered.check_edges(edges, is_young))
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
        self.sticky.iter().for_each(|sticky| sticky.remembered.wipe());
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
        self.sticky.iter_mut().for_each(Sticky::reset);
        (self.occupied, self.aged, self.tried_minor) = (0, 0, false);
        self.growth.reset();
        self.hosts = Hosts::default();
        self.tally.reset();
    }

    fn memory(&self) -> &HeapMemory {
        &self.memory
    }
}
