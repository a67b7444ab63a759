//! What a program does with its objects, by exact counts: how many it makes, how large they are, how long they live, how deep their graph
//! is, how often it writes references. `gleaner characterise` prints it as a *card*, in the manner of the nominal statistics of S. M.
//! Blackburn et al., *Rethinking Java performance analysis*, ASPLOS 2025.
//!
//! It has the form of a collector and is none: objects are allocated one behind the other and never freed, so that an index is a time of
//! birth. The bump region ends where the next *census* is due. That census
//!
//! 1. looks at the objects that were born since the last one: their number, their bytes, whether their type can be in a cycle;
//! 2. visits the graph from all roots, breadth first: what is reached lives; the number of levels is the depth;
//! 3. closes the *windows* that end here. A window is as many bytes of allocation as a nursery would have; its objects that live are what
//!    a collection of that nursery would have had to copy, and their share of its bytes is the survival.
//!
//! A census is due when 1 KiB, 2 KiB, 4 KiB and so on have been allocated, and from 1 MiB on at each MiB. The write barrier counts.

#![forbid(unsafe_code)]

use gc_api::{
    ARRAY_LENGTH_OFFSET, AccessSite, BarrierNeeds, BulkWrite, Cell, CellKind, Collection, CollectionKind, Collector,
    CollectorInfo, CollectorOptions, Corruption, Counters, EXTERN_ID_OFFSET, Emitter, FIRST_INDEX, GcCompiler,
    GcEvents, GcHeap, GcRuntime, HeapError, HeapLimits, HeapMemory, HeapUsage, InstBuilder, NeedsCollection, NewObject,
    OptionError, Outcome, Phase, Reason, RefRange, RootKind, Roots, Shapes, SizingDecision, Slot, VMGcHeader, VMGcRef,
    WriteSite, copy_refs, ir,
};
use std::ops::Range;
use std::sync::Arc;

/// The census, as a collector.
pub const COLLECTOR: Collector = Collector { info: &INFO, make };

const INFO: CollectorInfo = CollectorInfo {
    name: "census",
    summary: "measures what a program does with its objects; never collects",
    citation: "Blackburn et al., ASPLOS 2025",
    moving: false,
    generational: false,
    reclaims: gc_api::Reclaims::Nothing,
    caveat: "nothing is ever freed: the program traps when the heap's limit is reached",
    options: &[],
    variants: &[],
};

const MIB: u64 = 1 << 20;
/// When the first census is due, in bytes allocated.
const FIRST_CENSUS: u64 = 1 << 10;
/// Bytes between two of them, once so many have been allocated.
const INTERVAL: u64 = MIB;
/// The nurseries whose survival is measured, in bytes.
pub const NURSERIES: [u64; 3] = [MIB, 4 * MIB, 16 * MIB];
/// Bytes by which the heap grows, at least.
const CHUNK: u64 = 8 * MIB;

/// Writes of references into objects, and into globals and tables.
const OBJECT_WRITES: Cell = Cell::own(0);
const ROOT_WRITES: Cell = Cell::own(1);

/// What a program did with its objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Card {
    /// Objects that were allocated.
    pub objects: u64,
    /// Their bytes, headers included.
    pub bytes: u64,
    /// Those objects whose type's can be in no cycle of references.
    pub acyclic: u64,
    /// References written over others, or null, in objects.
    pub object_writes: u64,
    /// References written over others, or null, in globals and tables.
    pub root_writes: u64,
    /// The largest number of bytes that were reachable at a census.
    pub live_bytes: u64,
    /// The largest number of objects that were.
    pub live_objects: u64,
    /// The largest number of objects on the shortest path from a root to an object.
    pub depth: u64,
    /// For each of the [`NURSERIES`]: bytes of its windows, and those of them that lived at their windows' ends.
    pub windows: [(u64, u64); 3],
}

impl Card {
    /// The names of the counters, in their order.
    const NAMES: [&'static str; 14] = [
        "objects",
        "bytes",
        "acyclic",
        "object_writes",
        "root_writes",
        "live_bytes",
        "live_objects",
        "depth",
        "window_1",
        "survived_1",
        "window_4",
        "survived_4",
        "window_16",
        "survived_16",
    ];

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let Card { objects, bytes, acyclic, object_writes, root_writes, live_bytes, live_objects, depth, windows } =
            self;
        let singles = [objects, bytes, acyclic, object_writes, root_writes, live_bytes, live_objects, depth];
        let windows = windows.iter().flat_map(|(all, survived)| [all, survived]);
        Card::NAMES.into_iter().zip(singles.into_iter().chain(windows).copied()).collect()
    }

    /// The card among a heap's counters; `None` when the heap is none of this crate's.
    pub fn of(counters: &Counters) -> Option<Card> {
        let mut own = counters.own.iter().zip(Card::NAMES);
        let mut next = || own.next().filter(|((name, _), wanted)| name == wanted).map(|((_, value), _)| *value);
        Some(Card {
            objects: next()?,
            bytes: next()?,
            acyclic: next()?,
            object_writes: next()?,
            root_writes: next()?,
            live_bytes: next()?,
            live_objects: next()?,
            depth: next()?,
            windows: [(next()?, next()?), (next()?, next()?), (next()?, next()?)],
        })
    }

    /// The share of a nursery's bytes that would have survived, for each of the [`NURSERIES`]; `None` where not even one was filled.
    pub fn survival(&self) -> [Option<f64>; 3] {
        self.windows.map(|(all, survived)| (all > 0).then(|| survived as f64 / all as f64))
    }
}

fn make(_: &CollectorOptions) -> Result<Arc<dyn GcRuntime>, OptionError> {
    Ok(Arc::new(Census))
}

#[derive(Debug)]
struct Census;

/// ```text
/// write(site, new):
///   store.i32 new, slot
///   cell[OBJECT_WRITES or ROOT_WRITES] += 1
/// ```
/// IF neither the old nor the new value can be an object THEN nothing is counted: no collector would have to hear of it.
impl GcCompiler for Census {
    fn needs(&self) -> BarrierNeeds {
        BarrierNeeds { write: true, bulk_write: true, ..BarrierNeeds::default() }
    }

    fn write(&self, e: &mut Emitter<'_, '_>, site: &AccessSite, new: ir::Value) {
        e.store(site, new);
        if !site.old.object && !site.new.object {
            return;
        }
        let cell = match site.slot {
            Slot::Field { .. } | Slot::Element { .. } => OBJECT_WRITES,
            Slot::Global { .. } | Slot::Table { .. } => ROOT_WRITES,
        };
        let count = e.load_cell(cell);
        let count = e.b.ins().iadd_imm_s(count, 1);
        e.store_cell(cell, count);
    }
}

impl GcRuntime for Census {
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
        let mut heap = CensusHeap { memory, shapes, count: Count::default() };
        heap.open();
        Ok(Box::new(heap))
    }
}

struct CensusHeap {
    memory: HeapMemory,
    shapes: Arc<Shapes>,
    count: Count,
}

/// What has been counted so far.
struct Count {
    /// Without what was born since the last census.
    card: Card,
    censuses: u64,
    /// Objects that censuses reached.
    traced: u64,
    /// Roots that they visited, by kind.
    roots: [u64; 6],
    /// When the next census is due, in bytes allocated.
    due: u64,
    /// The bump index at the last one.
    last: u64,
    windows: [Window; 3],
}

/// A nursery's worth of allocation.
#[derive(Clone, Copy)]
struct Window {
    /// The index of the first object in it.
    start: u64,
    /// When it ends, in bytes allocated.
    end: u64,
}

impl Default for Count {
    fn default() -> Count {
        let windows = NURSERIES.map(|end| Window { start: FIRST_INDEX as u64, end });
        let last = FIRST_INDEX as u64;
        Count { card: Card::default(), censuses: 0, traced: 0, roots: [0; 6], due: FIRST_CENSUS, last, windows }
    }
}

/// The objects that a census reached: a bit for each 8 bytes.
struct Live(Vec<u64>);

impl Live {
    fn new(bump: u64) -> Live {
        Live(vec![0; (bump / 512) as usize + 1])
    }

    fn contains(&self, index: u32) -> bool {
        self.0[index as usize / 512] >> (index / 8 % 64) & 1 == 1
    }

    /// Whether it is new.
    fn insert(&mut self, index: u32) -> bool {
        let new = !self.contains(index);
        self.0[index as usize / 512] |= 1 << (index / 8 % 64);
        new
    }
}

impl CensusHeap {
    /// Starts afresh.
    fn open(&mut self) {
        self.count = Count::default();
        self.memory.set_cell(Cell::BUMP, FIRST_INDEX as u64);
        self.memory.set_cell(OBJECT_WRITES, 0);
        self.memory.set_cell(ROOT_WRITES, 0);
        self.set_limit();
    }

    /// First index behind the newest object.
    fn bump(&self) -> u64 {
        self.memory.cell(Cell::BUMP)
    }

    fn allocated(&self) -> u64 {
        self.bump() - FIRST_INDEX as u64
    }

    /// Lets compiled code allocate as far as the next census, or as the memory goes.
    fn set_limit(&mut self) {
        let due = FIRST_INDEX as u64 + self.count.due;
        self.memory.set_cell(Cell::LIMIT, due.min(self.memory.committed()));
    }

    /// Whether there has to be a census before an object of `size` bytes. One object may pass several.
    fn is_due(&self, size: u64) -> bool {
        self.allocated().saturating_add(size) > self.count.due && self.count.last != self.bump()
    }

    /// The objects in a range of indices, which begins and ends between two, with their bytes.
    fn objects(&self, range: Range<u64>) -> impl Iterator<Item = (VMGcRef, u64)> + '_ {
        let mut next = range.start;
        std::iter::from_fn(move || {
            if next >= range.end {
                return None;
            }
            let object = VMGcRef::from_index(next as u32).expect("the heap does not start at 0");
            let size = self.shapes.size_of(&self.memory, &object);
            next += size;
            Some((object, size))
        })
    }

    /// The card with what was born since the last census.
    fn card(&self) -> Card {
        let mut card = self.count.card.clone();
        for (object, size) in self.objects(self.count.last..self.bump()) {
            card.objects += 1;
            card.bytes += size;
            card.acyclic += u64::from(!self.shapes.can_be_in_cycle(self.memory.header(&object).ty()));
        }
        card.object_writes = self.memory.cell(OBJECT_WRITES);
        card.root_writes = self.memory.cell(ROOT_WRITES);
        card
    }

    fn census(&mut self, roots: &mut dyn Roots) {
        let mut card = self.card();
        let live = self.trace(roots, &mut card);
        let reached = self.count.due.max(self.allocated());
        let bump = self.bump();
        for (number, nursery) in NURSERIES.into_iter().enumerate() {
            let window = self.count.windows[number];
            if window.end > reached {
                continue;
            }
            let survived = self.objects(window.start..bump).filter(|(object, _)| live.contains(object.raw()));
            let survived: u64 = survived.map(|(_, size)| size).sum();
            card.windows[number].0 += bump - window.start;
            card.windows[number].1 += survived;
            let end = (reached / nursery + 1) * nursery;
            self.count.windows[number] = Window { start: bump, end };
        }
        self.count.due = match reached < INTERVAL {
            true => (reached + 1).next_power_of_two(),
            false => (reached / INTERVAL + 1) * INTERVAL,
        };
        self.count.card = card;
        self.count.last = bump;
        self.count.censuses += 1;
        self.set_limit();
    }

    /// Visits all that is reachable, level by level.
    fn trace(&mut self, roots: &mut dyn Roots, card: &mut Card) -> Live {
        let mut live = Live::new(self.bump());
        let mut level: Vec<u32> = Vec::new();
        for (kind, visited) in RootKind::ALL.into_iter().zip(&mut self.count.roots) {
            roots.visit(kind, &mut |slot| {
                *visited += 1;
                if let Some(index) = slot.get().and_then(|root| root.index())
                    && live.insert(index)
                {
                    level.push(index);
                }
            });
        }
        let (mut depth, mut objects, mut bytes) = (0, 0, 0);
        while !level.is_empty() {
            depth += 1;
            objects += level.len() as u64;
            let mut below = Vec::new();
            for index in level {
                let object = VMGcRef::from_index(index).expect("an object's index");
                bytes += self.shapes.scan(&self.memory, &object, |offset| {
                    if let Some(index) = self.memory.load_ref(&object, offset).and_then(|child| child.index())
                        && live.insert(index)
                    {
                        below.push(index);
                    }
                });
            }
            level = below;
        }
        self.count.traced += objects;
        card.depth = card.depth.max(depth);
        card.live_objects = card.live_objects.max(objects);
        card.live_bytes = card.live_bytes.max(bytes);
        live
    }

    /// Counts writes of the host's.
    fn count_writes(&mut self, into_object: bool, count: u64) {
        let cell = if into_object { OBJECT_WRITES } else { ROOT_WRITES };
        self.memory.set_cell(cell, self.memory.cell(cell) + count);
    }
}

/// Whether a slot outside of the heap is the program's.
fn is_programs(kind: CellKind) -> bool {
    matches!(kind, CellKind::Global | CellKind::Table)
}

impl GcHeap for CensusHeap {
    fn allocate(&mut self, object: NewObject) -> Result<VMGcRef, NeedsCollection> {
        let start = self.bump();
        let end = start.checked_add(object.size).filter(|end| *end <= self.memory.committed());
        let end = end.filter(|_| !self.is_due(object.size)).ok_or(NeedsCollection { bytes: object.size })?;
        self.memory.set_cell(Cell::BUMP, end);
        // The heap may have grown since the limit was set.
        self.set_limit();
        let index = start as u32;
        self.memory.store_u64(index, 0, VMGcHeader::new(object.kind, object.ty, 0).to_u64());
        if let Some(length) = object.length {
            self.memory.store_u32(index, ARRAY_LENGTH_OFFSET, length);
        }
        if let Some(host) = object.host {
            self.memory.store_u32(index, EXTERN_ID_OFFSET, host);
        }
        Ok(VMGcRef::from_index(index).expect("the heap does not start at 0"))
    }

    fn write_ref(&mut self, site: WriteSite<'_>, new: Option<&VMGcRef>) {
        let raw = new.map_or(0, VMGcRef::raw);
        match site {
            WriteSite::Object { object, offset } => {
                self.memory.store_u32(object.raw(), offset, raw);
                self.count_writes(true, 1);
            }
            WriteSite::Cell { cell, kind } => {
                cell.set_raw(raw);
                self.count_writes(false, u64::from(is_programs(kind)));
            }
        }
    }

    fn write_refs(&mut self, write: BulkWrite<'_>) {
        copy_refs(&self.memory, write, |_, _| {});
        let count = if write.initializing { 0 } else { write.to.len() as u64 };
        match write.to {
            RefRange::Array { .. } => self.count_writes(true, count),
            RefRange::Cells { kind, .. } => self.count_writes(false, if is_programs(kind) { count } else { 0 }),
        }
    }

    fn collect(&mut self, request: Collection, roots: &mut dyn Roots, events: &mut dyn GcEvents) -> Outcome {
        // Who else asks finds nothing to free here, and is not to change what is counted.
        if request.reason != Reason::Allocation {
            return Outcome::Refused;
        }
        events.phase(Phase::Trace);
        self.census(roots);
        Outcome::Complete
    }

    fn on_allocation_failure(&mut self, need: u64, _: u32) -> SizingDecision {
        if self.is_due(need) {
            return SizingDecision::Collect(CollectionKind::Major);
        }
        let committed = self.memory.committed();
        let left = self.memory.limit() - committed;
        let missing = need.saturating_sub(committed - self.bump());
        // `missing` is 0 only for whoever asks without a failure: trying again is then all there is to do.
        if missing > left {
            return SizingDecision::GiveUp;
        }
        SizingDecision::Grow(missing.max(CHUNK).min(left))
    }

    fn usage(&self) -> HeapUsage {
        let committed = self.memory.committed_bytes();
        let live = self.allocated();
        HeapUsage { live, free: committed - live, waste: 0, metadata: 0, committed }
    }

    fn counters(&self) -> Counters {
        let card = self.card();
        Counters {
            collections: self.count.censuses,
            objects_allocated: Some(card.objects),
            bytes_allocated: card.bytes,
            objects_traced: self.count.traced,
            objects_freed: Some(0),
            roots: self.count.roots,
            own: card.counters(),
            ..Counters::default()
        }
    }

    fn for_each_object(&self, visit: &mut dyn FnMut(VMGcRef)) {
        self.objects(FIRST_INDEX as u64..self.bump()).for_each(|(object, _)| visit(object));
    }

    fn for_each_free_range(&self, visit: &mut dyn FnMut(Range<u32>)) {
        visit(self.bump() as u32..self.memory.committed().min(u32::MAX as u64) as u32);
    }

    fn check(&self) -> Result<(), Corruption> {
        let (bump, committed) = (self.bump(), self.memory.committed());
        if bump > committed {
            return Err(Corruption(format!("the bump index {bump:#x} lies behind the end {committed:#x}")));
        }
        let mut end = FIRST_INDEX as u64;
        while end < bump {
            let object = VMGcRef::from_index(end as u32).expect("the heap does not start at 0");
            let ty = self.memory.header(&object).ty();
            if self.shapes.get(ty).is_none() {
                return Err(Corruption(format!("{object:?} has type {ty}, which does not exist")));
            }
            end += self.shapes.size_of(&self.memory, &object);
        }
        match end == bump {
            true => Ok(()),
            false => Err(Corruption(format!("the last object ends at {end:#x}, the bump index is {bump:#x}"))),
        }
    }

    fn reset(&mut self) {
        // Nothing is written behind the newest object.
        self.memory.reset_touched(FIRST_INDEX..self.bump() as u32);
        self.open();
    }

    fn memory(&self) -> &HeapMemory {
        &self.memory
    }
}

#[cfg(test)]
mod tests;
