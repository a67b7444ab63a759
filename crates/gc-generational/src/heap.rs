//! The heap of one store: allocation, then minor and major collections.

use crate::Options;
use gc_api::{
    BulkWrite, Collection, CollectionKind, Corruption, Counters, Edge, GcEvents, GcHeap, GcKind, HeapError, HeapLimits,
    HeapMemory, HeapRegion, HeapUsage, HostId, MissedWrite, NeedsCollection, NewObject, Outcome, Overhead, Phase,
    RootKind, Roots, Shapes, SizingDecision, SlowOp, VMGcRef, WriteSite,
};
use gc_parts::forward::{forwarded, header, move_object};
use gc_parts::object::{at, check_walk, update_slot, walk, write_new};
use gc_parts::roots::update_roots;
use gc_parts::{BLOCK, Bump, Growth, Hosts, LARGE, MarkRegion, Moves, NurserySize, PAGE, Remembered, Tally};
use std::ops::Range;
use std::sync::Arc;

/// A major collection costs little more than a minor one when what is old is this part of the nursery.
const CHEAP: u64 = 4;
/// A nursery that the heap has no more room for.
const LEAST_NURSERY: u64 = 16 << 10;
/// The nursery takes this part of the heap at most.
const NURSERY_PART: u64 = 6;
/// Side tables and lists are charged to the heap: mark bits 1/64, lines 1/256, cards 1/512, lists 1/128. The barrier's buffer is, too.
const METADATA: u64 = 30;
/// Blocks that copying leaves open.
const OPEN_BLOCKS: u64 = 3 * BLOCK as u64;
/// Failures of one allocation after which nothing more is tried.
const MAX_ATTEMPTS: u32 = 6;

/// Bytes of empty blocks that a nursery of `bytes` needs if all of it survives: a block may have 8 KiB left when the next object does not
/// fit.
fn reserve(bytes: u64) -> u64 {
    bytes + bytes / 3 + OPEN_BLOCKS
}

/// Where young objects are.
struct Young {
    nursery: Range<u32>,
    survivors: Range<u32>,
}

impl Young {
    #[inline(always)]
    fn contains(&self, index: u32) -> bool {
        self.nursery.contains(&index) || self.survivors.contains(&index)
    }
}

pub struct GenerationalHeap {
    memory: HeapMemory,
    shapes: Arc<Shapes>,
    options: Options,
    nursery: Range<u32>,
    /// In the nursery.
    bump: Bump,
    /// The survivor space: objects that have survived one collection, from its start on.
    survivors: Range<u32>,
    survivor_bytes: u64,
    survivor_objects: u64,
    size: NurserySize,
    /// Old objects, which are marked, and the pages of all.
    space: MarkRegion,
    remembered: Remembered,
    /// Survivors whose slots are to be looked at, in a minor collection.
    grey: Vec<u32>,
    growth: Growth,
    /// Bytes that were allocated old since the last collection, and that became old since the last major one.
    born_old: u64,
    aged: u64,
    /// More memory was asked for since the last collection.
    asked: bool,
    hosts: Hosts,
    old_objects: u64,
    minor_survivors: u64,
    tally: Tally,
}

impl GenerationalHeap {
    pub fn new(
        memory: HeapMemory,
        shapes: Arc<Shapes>,
        limits: &HeapLimits,
        options: Options,
    ) -> Result<GenerationalHeap, HeapError> {
        let size = NurserySize::new(options.nursery, limits.max_bytes / NURSERY_PART);
        let remembered = Remembered::new(&memory, options.barrier)?;
        let fixed = (size.most() + reserve(size.most()) + remembered.buffer()).min(limits.max_bytes / 2);
        let mut heap = GenerationalHeap {
            nursery: 0..0,
            bump: Bump::new(memory.clone()),
            survivors: 0..0,
            survivor_bytes: 0,
            survivor_objects: 0,
            size,
            space: MarkRegion::new(&memory, shapes.clone(), limits, (options.defrag, options.stack))?,
            remembered,
            grey: Vec::new(),
            growth: Growth::new(limits, Overhead { fixed, per_mille: METADATA }),
            born_old: 0,
            aged: 0,
            asked: false,
            hosts: Hosts::default(),
            old_objects: 0,
            minor_survivors: 0,
            tally: Tally::new(limits),
            options,
            memory,
            shapes,
        };
        heap.open_nursery();
        Ok(heap)
    }

    /// Bytes of lists.
    fn lists(&self) -> u64 {
        self.space.lists() + self.remembered.lists() + self.grey.capacity() as u64 * 4 + self.hosts.bytes()
    }

    /// Bytes allocated since the last collection.
    fn since(&self) -> u64 {
        self.bump.taken().len() as u64 + self.born_old
    }

    // Allocation.

    /// Room for an object: in the nursery; or old from the start, if it is large, or there is no room for a nursery any more.
    fn find(&mut self, new: &NewObject) -> Option<VMGcRef> {
        if new.size <= LARGE {
            if let Some(index) = self.bump.take(new.size) {
                if new.host.is_some() {
                    self.hosts.add(index);
                }
                return Some(write_new(&self.memory, index, new, 0));
            }
            let young = !self.nursery.is_empty() || !self.survivors.is_empty();
            if young || !self.growth.is_desperate() {
                return None;
            }
            self.space.keep_headroom();
            let index = self.space.region.take(&mut self.space.pages, new.size as u32)?;
            if new.host.is_some() {
                self.hosts.add(index);
            }
            return Some(self.make_old(index, new, false));
        }
        let allowed = self.growth.is_desperate() || self.growth.allows(self.aged, new.size);
        let pages = allowed.then(|| self.space.pages.take(new.size, PAGE))??;
        if !self.has_reserve() {
            self.space.pages.give(pages);
            return None;
        }
        let index = self.space.large.add(pages, new.size);
        Some(self.make_old(index, new, new.kind == GcKind::ARRAY))
    }

    fn make_old(&mut self, index: u32, new: &NewObject, by_cards: bool) -> VMGcRef {
        let object = write_new(&self.memory, index, new, self.remembered.armed_bits(by_cards));
        self.space.marks.mark(index);
        self.remembered.add_old(index, &self.shapes);
        self.born_old += new.size;
        self.aged += new.size;
        self.old_objects += 1;
        object
    }

    /// Takes pages for the nursery: as many as it should have, or as many as the heap has room for, or none if what is old needs
    /// them.
    fn open_nursery(&mut self) {
        self.space.pages.give(std::mem::take(&mut self.nursery));
        let spare = self.free_in_blocks().saturating_sub(reserve(self.survivors.len() as u64));
        let room = if self.options.ageing { spare * 2 / 7 } else { spare * 3 / 7 };
        let mut bytes =
            if self.growth.is_desperate() { 0 } else { self.size.bytes().min(room) / PAGE as u64 * PAGE as u64 };
        while bytes >= LEAST_NURSERY {
            self.nursery = self.space.pages.take(bytes, PAGE).unwrap_or_default();
            if !self.nursery.is_empty() && self.has_reserve() {
                self.remembered.clear(self.nursery.clone());
                break;
            }
            self.space.pages.give(std::mem::take(&mut self.nursery));
            bytes = bytes / 2 / PAGE as u64 * PAGE as u64;
        }
        self.bump.open(self.nursery.clone());
    }

    /// Bytes of empty blocks that are kept, in case all that is young survives.
    fn reserve(&self) -> u64 {
        let young = (self.nursery.len() + self.survivors.len()) as u64;
        if young > 0 { reserve(young) + self.next_survivors() } else { 0 }
    }

    /// Bytes of the next survivor space: whole blocks.
    fn next_survivors(&self) -> u64 {
        if self.options.ageing { self.nursery.len() as u64 / 2 / BLOCK as u64 * BLOCK as u64 } else { 0 }
    }

    fn free_in_blocks(&self) -> u64 {
        self.space.pages.free_pieces(BLOCK) as u64 * BLOCK as u64
    }

    fn has_reserve(&self) -> bool {
        self.free_in_blocks() >= self.reserve()
    }

    fn young(&self) -> Young {
        Young { nursery: self.nursery.clone(), survivors: self.survivors.clone() }
    }

    /// Where there are objects in the survivor space.
    fn survivors_taken(&self) -> Range<u32> {
        self.survivors.start..self.survivors.start + self.survivor_bytes as u32
    }

    // Minor collections.

    /// Copies what survives of the nursery and the survivor space, into the old space and the next survivor space. Gives the bytes that became
    /// old.
    fn scavenge(&mut self, program: &mut dyn Roots, events: &mut dyn GcEvents) -> u64 {
        let (young, next_bytes) = (self.young(), self.next_survivors());
        let GenerationalHeap { memory, shapes, space, remembered, grey, tally, .. } = self;
        let MarkRegion { pages, region, large, marks, .. } = space;
        let old: Vec<_> = if remembered.looks_for_objects() { region.blocks().collect() } else { Vec::new() };
        let armed = remembered.armed_bits(false);
        let next = (next_bytes > 0).then(|| pages.take(next_bytes, BLOCK)).flatten().unwrap_or_default();
        remembered.clear(next.clone());
        let mut next_end = next.start;
        let (mut promoted, mut promoted_bytes) = (0, 0);
        let mut copy = |from: u32, grey: &mut Vec<u32>| {
            if !young.contains(from) {
                return from;
            }
            let header = match header(memory, from) {
                Ok(header) => header,
                Err(moved) => return moved,
            };
            let bytes = shapes.size_by_header(memory, from, header) as u32;
            let to = if young.nursery.contains(&from) && bytes <= next.end - next_end {
                let to = next_end;
                next_end += bytes;
                move_object(memory, (from, header), to, bytes, 0);
                to
            } else {
                let to = region.take(pages, bytes).expect("pages for all that is young are reserved");
                move_object(memory, (from, header), to, bytes, armed);
                marks.mark(to);
                (promoted, promoted_bytes) = (promoted + 1, promoted_bytes + bytes as u64);
                to
            };
            grey.push(to);
            to
        };

        events.phase(Phase::Roots);
        // What stays young, and is referred to from what is old.
        let mut again = Vec::new();
        remembered.drain(shapes, large, (marks, &old), |object, offset| {
            let now = update_slot(memory, object, offset, |child| copy(child, grey));
            if now.is_some_and(|child| next.contains(&child)) {
                again.push((object, offset));
            }
        });
        again.into_iter().for_each(|(object, offset)| remembered.note(object, offset));
        let kinds = RootKind::ALL.into_iter().filter(|kind| remembered.has_roots(*kind));
        update_roots(program, kinds, &mut tally.roots, |root| copy(root, grey));
        events.phase(Phase::Trace);
        let mut objects = 0;
        while let Some(object) = grey.pop() {
            objects += 1;
            let first = grey.len();
            if next.contains(&object) {
                shapes.scan(memory, &at(object), |offset| {
                    update_slot(memory, object, offset, |child| copy(child, grey));
                });
            } else {
                shapes.scan(memory, &at(object), |offset| {
                    remembered.arm_slot(object, offset);
                    let now = update_slot(memory, object, offset, |child| copy(child, grey));
                    if now.is_some_and(|child| next.contains(&child)) {
                        remembered.note(object, offset);
                    }
                });
            }
            // The first child goes first, with all below it: that is the order in which programs go through what is copied.
            grey[first..].reverse();
        }
        events.phase(Phase::Reclaim);
        if next_end == next.start {
            remembered.forget_roots();
        }
        let fate = |host| if young.contains(host) { forwarded(memory, host) } else { Some(host) };
        match young.survivors.is_empty() && next.is_empty() {
            true => self.hosts.sweep_young(memory, fate),
            // Those that have survived one collection are not old.
            false => self.hosts.sweep(memory, fate),
        }
        let stayed = (next_end - next.start) as u64;
        tally.traced += objects;
        tally.copied += promoted_bytes + stayed;
        self.minor_survivors += promoted_bytes + stayed;
        self.old_objects += promoted;
        self.set_survivors(next, stayed, objects - promoted);
        promoted_bytes
    }

    /// The next survivor space takes the last one's place.
    fn set_survivors(&mut self, next: Range<u32>, bytes: u64, objects: u64) {
        let last = std::mem::replace(&mut self.survivors, next);
        self.space.pages.give(last);
        (self.survivor_bytes, self.survivor_objects) = (bytes, objects);
    }

    // Major collections.

    /// A full collection. Gives the bytes that are live.
    fn collect_all(&mut self, program: &mut dyn Roots, events: &mut dyn GcEvents) -> u64 {
        self.remembered.forget();
        // Candidates may take what young objects leave even if they all survive.
        let desperate = self.growth.is_desperate();
        self.space.use_headroom(desperate);
        let (young, room) = (self.young(), self.free_in_blocks().saturating_sub(self.reserve()));
        self.space.begin(room, self.aged, desperate);
        let GenerationalHeap { shapes, space, remembered, hosts, tally, .. } = self;
        let bits = remembered.armed_bits(false);
        let moves = Moves { outside: |object| young.contains(object), room, bits };
        let (objects, live) = space.trace(program, events, tally, moves, |object| remembered.arm(shapes, object));
        events.phase(Phase::Reclaim);
        space.sweep(hosts);
        tally.major += 1;
        self.old_objects = objects;
        self.set_survivors(0..0, 0, 0);
        live
    }
}

impl GcHeap for GenerationalHeap {
    fn allocate(&mut self, new: NewObject) -> Result<VMGcRef, NeedsCollection> {
        self.space.pages.adopt();
        if self.nursery.is_empty() && !self.growth.is_desperate() {
            self.open_nursery();
        }
        let object = self.find(&new).ok_or(NeedsCollection { bytes: new.size })?;
        self.tally.slow_objects += 1;
        Ok(object)
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

    fn collect(&mut self, request: Collection, program: &mut dyn Roots, events: &mut dyn GcEvents) -> Outcome {
        events.phase(Phase::Stop);
        self.growth.sizer().stop();
        let (since, used) = (self.since(), self.bump.taken().len() as u64);
        if request.kind == CollectionKind::Minor {
            let old = self.tally.live() + self.born_old - self.survivor_bytes;
            let promoted = self.scavenge(program, events);
            self.size.collected(used, promoted + self.survivor_bytes);
            self.aged += promoted;
            let (live, objects) = (old + promoted + self.survivor_bytes, self.old_objects + self.survivor_objects);
            self.tally.collected(&self.memory, since, live, objects);
            self.growth.sizer().resume();
        } else {
            let live = self.collect_all(program, events);
            self.tally.collected(&self.memory, since, live, self.old_objects);
            self.space.pages.give(std::mem::take(&mut self.nursery));
            let keep = self.size.bytes() + reserve(self.size.bytes());
            self.growth.collected(self.space.occupied(), self.aged + used, keep, &mut self.space.pages);
            self.aged = 0;
        }
        (self.born_old, self.asked) = (0, false);
        self.grey.shrink_to(self.memory.room_for_lists() as usize / 16);
        self.open_nursery();
        events.phase(Phase::Resume);
        Outcome::Complete
    }

    fn on_allocation_failure(&mut self, need: u64, attempts: u32) -> SizingDecision {
        self.memory.charge_lists(self.lists());
        let left = self.memory.limit() - self.memory.committed();
        if need > LARGE {
            let decision = self.growth.on_failure(&self.memory, (self.space.occupied(), self.aged), need, attempts);
            return match decision {
                SizingDecision::Grow(bytes) => SizingDecision::Grow((bytes + self.reserve()).min(left)),
                // What is kept for a nursery is there to be used, now that there is none.
                SizingDecision::Collect(_) if attempts > 2 && left > 0 => SizingDecision::Grow(left),
                decision => decision,
            };
        }
        let target = self.size.bytes();
        let wanted = target + reserve(if self.options.ageing { 2 * target } else { target });
        let missing = wanted.saturating_sub(self.free_in_blocks() + self.nursery.len() as u64);
        if missing.min(left) > 0 && !std::mem::replace(&mut self.asked, true) {
            return SizingDecision::Grow(missing.min(left));
        }
        self.growth.despair(attempts > 2);
        let used = self.bump.taken().len() as u64;
        let full = self.space.occupied() + self.aged < used / CHEAP || !self.growth.allows(self.aged, used / 4);
        match attempts {
            0 | 1 if !full => SizingDecision::Collect(CollectionKind::Minor),
            0..MAX_ATTEMPTS => SizingDecision::Collect(CollectionKind::Major),
            _ => SizingDecision::GiveUp,
        }
    }

    fn take_dead_hosts(&mut self) -> Vec<HostId> {
        self.hosts.take_dead()
    }

    fn usage(&self) -> HeapUsage {
        let committed = self.memory.committed_bytes();
        let live = self.tally.live() + self.since();
        let open: usize = self.space.region.open().iter().map(Range::len).sum();
        let rest = self.bump.rest().len() + open + self.survivors.len() - self.survivor_bytes as usize;
        let free = self.space.pages.free_bytes() + self.space.region.free_bytes() + rest as u64;
        let metadata = self.space.tables() + self.remembered.tables() + self.lists();
        HeapUsage { live, free, waste: committed - live - free, metadata, committed }
    }

    fn counters(&self) -> Counters {
        let own = vec![
            ("major_collections", self.tally.major),
            ("bytes_survived", self.minor_survivors),
            ("remembered", self.remembered.count()),
            ("mark_stack_overflows", self.space.overflows()),
        ];
        self.tally.counters(&self.memory, self.since(), own)
    }

    fn for_each_object(&self, visit: &mut dyn FnMut(VMGcRef)) {
        walk(&self.memory, &self.shapes, self.bump.taken(), &mut *visit);
        walk(&self.memory, &self.shapes, self.survivors_taken(), &mut *visit);
        self.space.for_each_marked(visit);
        self.space.large.for_each(visit);
    }

    fn check(&self) -> Result<(), Corruption> {
        check_walk(&self.memory, &self.shapes, self.bump.taken())?;
        check_walk(&self.memory, &self.shapes, self.survivors_taken())?;
        self.space.check()
    }

    fn check_edges(&self, edges: &[Edge]) -> Result<(), MissedWrite> {
        let young = self.young();
        self.remembered.check_edges(edges, |object| young.contains(object))
    }

    fn for_each_free_range(&self, visit: &mut dyn FnMut(Range<u32>)) {
        visit(self.bump.rest());
        visit(self.survivors_taken().end..self.survivors.end);
        self.space.region.open().into_iter().for_each(&mut *visit);
        self.space.region.for_each_hole(&mut *visit);
        self.space.pages.runs().for_each(visit);
    }

    fn for_each_region(&self, visit: &mut dyn FnMut(HeapRegion)) {
        self.space.show(self, (&self.nursery, &self.survivors), visit);
    }

    fn reset(&mut self) {
        self.remembered.wipe();
        match self.tally.collections == 0 && self.space.large.is_empty() {
            true => self.memory.reset_touched(self.bump.taken()),
            false => self.memory.reset(),
        }
        (self.nursery, self.survivors, self.survivor_bytes, self.survivor_objects) = (0..0, 0..0, 0, 0);
        self.space.reset();
        self.remembered.reset();
        self.grey = Vec::new();
        self.growth.reset();
        self.hosts = Hosts::default();
        self.tally.reset();
        (self.born_old, self.aged, self.asked, self.old_objects, self.minor_survivors) = (0, 0, false, 0, 0);
        self.size.reset();
        self.open_nursery();
    }

    fn memory(&self) -> &HeapMemory {
        &self.memory
    }
}
