//! The `null` collector ("Epsilon"): bump allocation, and nothing is ever freed.
//!
//! 1. The objects' part of the heap is one region between [`Cell::BUMP`] and the committed end, [`Cell::LIMIT`].
//!    Compiled code bumps inline, the host bumps the same cells.
//! 2. When the region is full the heap grows by a chunk as large as it is, at least 1 MiB and at most 8 MiB; by what
//!    is left below the limit where a chunk does not fit; and at the limit the program traps.
//! 3. There are no collections, and unless one is asked for no barriers.
//!
//! It does not ask the policy how large the heap should be: there is nothing to collect instead of growing. What a barrier has beside the
//! objects, a buffer and a table, is charged to the limit.
//!
//! It is the lower bound that other collectors' costs are measured against. `barrier=KIND` runs a write barrier without its
//! collector, to price it: Yang, Blackburn, Frampton and Hosking, *Barriers Reconsidered, Friendlier Still!*, ISMM 2012. All objects are young
//! then, and no snapshot is being traced: what is priced is the barrier's fast path, but for `card` and `count`, which have no other.
//! Production JVMs know it as Epsilon: Shipilëv, *JEP 318: Epsilon, A No-Op Garbage Collector*, 2018.

#![forbid(unsafe_code)]

use gc_api::ir::Value;
use gc_api::{
    ARRAY_LENGTH_OFFSET, AccessSite, BarrierNeeds, BulkWrite, COLLECTOR_MASK, Cell, Collection, Collector,
    CollectorInfo, CollectorOptions, Corruption, Counters, EXTERN_ID_OFFSET, Emitter, FIRST_INDEX, GcCompiler,
    GcEvents, GcHeap, GcRuntime, HeapError, HeapLimits, HeapMemory, HeapRegion, HeapUsage, NeedsCollection, NewObject,
    OptionError, OptionInfo, Outcome, RegionState, Roots, Shapes, SizingDecision, SlowOp, VMGcHeader, VMGcRef,
    WriteSite, copy_refs,
};
use gc_parts::barrier::Barrier;
use gc_parts::object::{at, index_of};
use gc_parts::{Remembered, Spaces};
use std::ops::Range;
use std::sync::Arc;

/// The `null` collector.
pub const COLLECTOR: Collector = Collector { info: &INFO, make };

const INFO: CollectorInfo = CollectorInfo {
    name: "null",
    summary: "bump allocation, never collects",
    citation: "Shipilëv, JEP 318: Epsilon, 2018; for pricing barriers: Yang et al., ISMM 2012",
    moving: false,
    generational: false,
    reclaims: gc_api::Reclaims::Nothing,
    caveat: "nothing is ever freed: the program traps when the heap's limit is reached",
    options: &[OptionInfo {
        key: "barrier",
        values: "none, object, field, card, satb or count",
        default: "none",
        summary: "run this write barrier, to no purpose but its price",
    }],
    variants: &["barrier=object", "barrier=count"],
};

/// Bytes by which the heap grows, at least.
const MIN_CHUNK: u64 = 1 << 20;
/// Bytes by which the heap grows, at most, unless one object needs more.
const MAX_CHUNK: u64 = 8 << 20;

fn make(options: &CollectorOptions) -> Result<Arc<dyn GcRuntime>, OptionError> {
    let name = options.choice("barrier", &Barrier::ALL.map(|(name, _)| name))?;
    let (_, barrier) = Barrier::ALL.into_iter().find(|(known, _)| *known == name).expect("it was chosen from these");
    Ok(Arc::new(Null { barrier }))
}

#[derive(Debug)]
struct Null {
    barrier: Barrier,
}

/// Inline bump allocation, and the barrier that was asked for.
impl GcCompiler for Null {
    fn needs(&self) -> BarrierNeeds {
        self.barrier.needs()
    }

    fn write(&self, e: &mut Emitter<'_, '_>, site: &AccessSite, new: Value) {
        self.barrier.write(e, site, new);
    }

    fn init(&self, e: &mut Emitter<'_, '_>, site: &AccessSite, new: Value) {
        self.barrier.init(e, site, new);
    }
}

impl GcRuntime for Null {
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
        let remembered = match self.barrier {
            Barrier::ObjectLog | Barrier::FieldLog | Barrier::Cards => Some(Remembered::new(&memory, self.barrier)?),
            Barrier::None | Barrier::Satb | Barrier::Count => None,
        };
        memory.grow_to(limits.initial_bytes)?;
        let (counts, count_objects) = (self.barrier == Barrier::Count, limits.count_objects);
        let mut heap = NullHeap { memory, shapes, remembered, counts, count_objects, slow_objects: 0 };
        heap.open();
        Ok(Box::new(heap))
    }
}

struct NullHeap {
    memory: HeapMemory,
    shapes: Arc<Shapes>,
    /// What the barrier notes, which nobody reads.
    remembered: Option<Remembered>,
    /// Whether references to objects are counted, to no end either.
    counts: bool,
    /// Whether [`Cell::OBJECTS`] counts inline allocations.
    count_objects: bool,
    /// Objects that `allocate` made.
    slow_objects: u64,
}

impl NullHeap {
    /// Makes all committed memory the empty bump region.
    fn open(&mut self) {
        self.memory.set_cell(Cell::BUMP, FIRST_INDEX as u64);
        self.memory.set_cell(Cell::LIMIT, self.memory.committed());
        self.slow_objects = 0;
    }

    /// First index behind the newest object.
    fn bump(&self) -> u64 {
        self.memory.cell(Cell::BUMP)
    }
}

impl GcHeap for NullHeap {
    fn allocate(&mut self, object: NewObject) -> Result<VMGcRef, NeedsCollection> {
        // The heap may have grown since the limit was set.
        let limit = self.memory.committed();
        self.memory.set_cell(Cell::LIMIT, limit);
        let start = self.bump();
        let end = start.checked_add(object.size).filter(|end| *end <= limit);
        let end = end.ok_or(NeedsCollection { bytes: object.size })?;
        self.memory.set_cell(Cell::BUMP, end);
        self.slow_objects += 1;
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
        if let Some(remembered) = &mut self.remembered {
            remembered.write_ref(site, new);
            return forget_log(remembered);
        }
        let raw = new.map_or(0, VMGcRef::raw);
        let old = match site {
            WriteSite::Object { object, offset } => self.memory.load_u32(object.raw(), offset),
            WriteSite::Cell { cell, .. } => cell.raw(),
        };
        if self.counts {
            replace_count(&self.memory, old, raw);
        }
        match site {
            WriteSite::Object { object, offset } => self.memory.store_u32(object.raw(), offset, raw),
            WriteSite::Cell { cell, .. } => cell.set_raw(raw),
        }
    }

    fn write_refs(&mut self, write: BulkWrite<'_>) {
        match &mut self.remembered {
            Some(remembered) => {
                remembered.write_refs(write);
                forget_log(remembered);
            }
            None if self.counts => copy_refs(&self.memory, write, |old, new| replace_count(&self.memory, old, new)),
            None => copy_refs(&self.memory, write, |_, _| {}),
        }
    }

    fn slow_path(&mut self, op: SlowOp, args: [u64; 4]) -> u64 {
        let remembered = self.remembered.as_mut().expect("only barriers that remember have a slow path");
        remembered.slow_path(op, args[0] as u32);
        remembered.forget();
        0
    }

    fn collect(&mut self, _: Collection, _: &mut dyn Roots, _: &mut dyn GcEvents) -> Outcome {
        Outcome::Refused
    }

    fn on_allocation_failure(&mut self, need: u64, _: u32) -> SizingDecision {
        let committed = self.memory.committed();
        let left = self.memory.limit() - committed;
        let missing = need.saturating_sub(committed - self.bump());
        // `missing` is 0 only for whoever asks without a failure: trying again is then all there is to do.
        if missing > left {
            return SizingDecision::GiveUp;
        }
        let chunk = self.memory.committed_bytes().clamp(MIN_CHUNK, MAX_CHUNK);
        SizingDecision::Grow(missing.max(chunk).min(left))
    }

    fn usage(&self) -> HeapUsage {
        let committed = self.memory.committed_bytes();
        let live = self.bump() - FIRST_INDEX as u64;
        let metadata = self.remembered.as_ref().map_or(0, Remembered::metadata);
        HeapUsage { live, free: committed - live, waste: 0, metadata, committed }
    }

    fn counters(&self) -> Counters {
        Counters {
            objects_allocated: self.count_objects.then(|| self.memory.cell(Cell::OBJECTS) + self.slow_objects),
            bytes_allocated: self.bump() - FIRST_INDEX as u64,
            objects_freed: Some(0),
            ..Counters::default()
        }
    }

    fn for_each_object(&self, visit: &mut dyn FnMut(VMGcRef)) {
        let mut index = FIRST_INDEX as u64;
        while index < self.bump() {
            let object = VMGcRef::from_index(index as u32).expect("the heap does not start at 0");
            index += self.shapes.size_of(&self.memory, &object);
            visit(object);
        }
    }

    fn for_each_free_range(&self, visit: &mut dyn FnMut(Range<u32>)) {
        visit(self.bump() as u32..self.memory.committed().min(u32::MAX as u64) as u32);
    }

    fn for_each_region(&self, visit: &mut dyn FnMut(HeapRegion)) {
        let mut spaces = Spaces::default();
        self.for_each_free_range(&mut |range| spaces.add(RegionState::Free, [range]));
        spaces.show(self, &self.shapes, |_, _| RegionState::Young, visit);
    }

    fn check(&self) -> Result<(), Corruption> {
        let (bump, committed) = (self.bump(), self.memory.committed());
        if bump > committed {
            return Err(Corruption(format!("the bump index {bump:#x} lies behind the end {committed:#x}")));
        }
        let mut index = FIRST_INDEX as u64;
        while index < bump {
            let object = VMGcRef::from_index(index as u32).expect("the heap does not start at 0");
            let ty = self.memory.header(&object).ty();
            if self.shapes.get(ty).is_none() {
                return Err(Corruption(format!("{object:?} has type {ty}, which does not exist")));
            }
            index += self.shapes.size_of(&self.memory, &object);
        }
        if index != bump {
            return Err(Corruption(format!("the last object ends at {index:#x}, the bump index is {bump:#x}")));
        }
        Ok(())
    }

    fn reset(&mut self) {
        match &mut self.remembered {
            // Nothing is written behind the newest object.
            None => self.memory.reset_touched(FIRST_INDEX..self.bump() as u32),
            Some(remembered) => {
                remembered.wipe();
                self.memory.reset();
                remembered.reset();
            }
        }
        self.open();
    }

    fn memory(&self) -> &HeapMemory {
        &self.memory
    }
}

/// Nobody reads what the barrier notes: what did not fit its buffer need not be kept.
fn forget_log(remembered: &mut Remembered) {
    if remembered.lists() > 0 {
        remembered.forget();
    }
}

/// One reference more to `new` and one less to `old`, if they are objects, as compiled code counts them.
fn replace_count(memory: &HeapMemory, old: u32, new: u32) {
    for (raw, by) in [(new, 1), (old, u32::MAX)] {
        if let Some(index) = index_of(raw) {
            let word = memory.header_word(&at(index));
            let count = word.wrapping_add(by) & COLLECTOR_MASK;
            memory.set_header_word(&at(index), word & !COLLECTOR_MASK | count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gc_api::{CollectionKind, EXTERN_SIZE, EXTERN_TYPE, GcKind, Reason, RootKind, RootSlot, Shape};

    const PAIR: u32 = 1;
    const BYTES: u32 = 2;
    const PAIR_OBJECT: NewObject = NewObject { kind: GcKind::STRUCT, ty: PAIR, size: 16, length: None, host: None };

    struct NoRoots;

    impl Roots for NoRoots {
        fn visit(&mut self, _: RootKind, _: &mut dyn FnMut(RootSlot<'_>)) {}
    }

    fn heap(limit: u64, initial: u64) -> Box<dyn GcHeap> {
        let memory = HeapMemory::reserve(limit).unwrap();
        let shapes = Arc::new(Shapes::default());
        shapes.register(PAIR, Shape::Fixed { size: 16, refs: Box::new([8, 12]) });
        shapes.register(BYTES, Shape::array(0, false));
        let limits =
            HeapLimits { max_bytes: limit, initial_bytes: initial, count_objects: true, ..HeapLimits::default() };
        COLLECTOR.with(&CollectorOptions::default()).unwrap().new_heap(memory, shapes, &limits).unwrap()
    }

    fn bytes(length: u32) -> NewObject {
        let size = Shape::array(0, false).size(length);
        NewObject { kind: GcKind::ARRAY, ty: BYTES, size, length: Some(length), host: None }
    }

    /// Allocates as the engine does; `None` when the heap gives up.
    fn allocate(heap: &mut dyn GcHeap, object: NewObject) -> Option<VMGcRef> {
        for attempts in 0..10 {
            match heap.allocate(object) {
                Ok(r) => return Some(r),
                Err(NeedsCollection { bytes }) => match heap.on_allocation_failure(bytes, attempts) {
                    SizingDecision::Grow(more) => heap.memory().grow(more).unwrap(),
                    SizingDecision::GiveUp => return None,
                    other => panic!("{other:?} from a heap that cannot collect"),
                },
            }
        }
        panic!("the policy does not end");
    }

    #[test]
    fn fills_the_heap_to_the_last_byte_and_gives_up() {
        let mut heap = heap(1 << 20, 4096);
        let count = std::iter::from_fn(|| allocate(&mut *heap, PAIR_OBJECT)).count();
        assert_eq!(count, (1 << 20) / 16);
        let usage = heap.usage();
        assert_eq!((usage.live, usage.free, usage.committed), (1 << 20, 0, 1 << 20));
        let counters = heap.counters();
        assert_eq!((counters.objects_allocated, counters.bytes_allocated), (Some(1 << 16), 1 << 20));
        heap.check().unwrap();
        let mut visited = 0;
        heap.for_each_object(&mut |_| visited += 1);
        assert_eq!(visited, count);
    }

    #[test]
    fn what_a_barrier_needs_is_within_the_limit() {
        for barrier in ["object", "field", "card"] {
            let memory = HeapMemory::reserve(1 << 20).unwrap();
            let spec = format!("null:barrier={barrier}");
            let options = CollectorOptions::parse(&spec).unwrap().1;
            let limits = HeapLimits { max_bytes: 1 << 20, initial_bytes: 1 << 20, ..HeapLimits::default() };
            let shapes = Arc::new(Shapes::default());
            shapes.register(PAIR, Shape::Fixed { size: 16, refs: Box::new([8, 12]) });
            let mut heap = COLLECTOR.with(&options).unwrap().new_heap(memory, shapes, &limits).unwrap();
            while allocate(&mut *heap, PAIR_OBJECT).is_some() {}
            let usage = heap.usage();
            let taken = usage.committed + usage.metadata;
            assert!((1 << 20) - 64 < taken && taken <= 1 << 20, "{barrier}: {usage:?}");
            assert!(usage.metadata > 16 << 10, "{barrier}: {usage:?}");
        }
    }

    #[test]
    fn grows_by_chunks_and_by_what_one_object_needs() {
        let mut heap = heap(256 << 20, 4096);
        assert_eq!(heap.on_allocation_failure(8192, 0), SizingDecision::Grow(MIN_CHUNK));
        let long = bytes(100 << 20);
        allocate(&mut *heap, long).unwrap();
        assert_eq!(heap.on_allocation_failure(1 << 20, 0), SizingDecision::Grow(MAX_CHUNK));
        // A chunk no longer fits below the limit, but the object does.
        allocate(&mut *heap, long).unwrap();
        let left = heap.memory().limit() - heap.memory().committed();
        let room = heap.usage().free + left;
        allocate(&mut *heap, bytes((room - 16) as u32)).unwrap();
        assert_eq!(allocate(&mut *heap, PAIR_OBJECT), None);
        heap.check().unwrap();
    }

    #[test]
    fn an_object_larger_than_the_index_space_is_refused() {
        let mut heap = heap(u64::MAX, 4096);
        for size in [1 << 33, u64::MAX - 7] {
            assert_eq!(allocate(&mut *heap, NewObject { size, ..bytes(u32::MAX) }), None);
        }
        assert!(allocate(&mut *heap, PAIR_OBJECT).is_some());
    }

    #[test]
    fn headers_lengths_and_host_ids_are_written() {
        let mut heap = heap(1 << 20, 1 << 16);
        let array = allocate(&mut *heap, bytes(5)).unwrap();
        let (kind, ty) = (GcKind::EXTERN, EXTERN_TYPE);
        let host = NewObject { kind, ty, size: EXTERN_SIZE as u64, length: None, host: Some(77) };
        let host = allocate(&mut *heap, host).unwrap();
        let memory = heap.memory();
        assert_eq!((memory.header(&array).kind(), memory.array_length(&array)), (GcKind::ARRAY, 5));
        assert_eq!((memory.header(&host).kind(), memory.load_u32(host.raw(), EXTERN_ID_OFFSET)), (kind, 77));
    }

    #[test]
    fn refuses_to_collect_and_starts_afresh_when_reset() {
        let mut heap = heap(1 << 20, 1 << 16);
        allocate(&mut *heap, PAIR_OBJECT).unwrap();
        let request = Collection { reason: Reason::Explicit, kind: CollectionKind::Major, budget: None };
        assert_eq!(heap.collect(request, &mut NoRoots, &mut ()), Outcome::Refused);
        heap.reset();
        assert_eq!((heap.usage().live, heap.counters().objects_allocated), (0, Some(0)));
        assert_eq!(allocate(&mut *heap, PAIR_OBJECT).unwrap().raw(), FIRST_INDEX);
    }

    #[test]
    fn a_header_that_is_overwritten_is_found() {
        let mut heap = heap(1 << 20, 1 << 16);
        let object = allocate(&mut *heap, PAIR_OBJECT).unwrap();
        heap.memory().store_u64(object.raw(), 0, VMGcHeader::new(GcKind::STRUCT, 999, 0).to_u64());
        assert!(heap.check().unwrap_err().0.contains("type 999"));
    }
}
