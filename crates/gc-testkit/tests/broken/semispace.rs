//! Cheney's copying collector (1970): two halves, a forwarding index in the old header.

use super::{Fault, INFO, fault, object};
use gc_api::ir::{InstBuilder, Value, types::I64};
use gc_api::{
    ARRAY_LENGTH_OFFSET, AccessSite, BarrierNeeds, Cell, Collection, CollectionKind, Collector, CollectorInfo,
    CollectorOptions, Corruption, Counters, EXTERN_ID_OFFSET, Emitter, FIRST_INDEX, GcCompiler, GcEvents, GcHeap,
    GcRuntime, HeapError, HeapLimits, HeapMemory, HeapRegion, HeapUsage, HostId, NeedsCollection, NewObject,
    OptionError, Outcome, RegionState, RootKind, Roots, Shapes, SizingDecision, SlowOp, VMGcHeader, VMGcRef,
};
use std::ops::Range;
use std::sync::Arc;

pub const COLLECTOR: Collector = Collector { info: &COPYING_INFO, make };
const COPYING_INFO: CollectorInfo = CollectorInfo { name: "semispace", moving: true, ..INFO };
const LYING_INFO: CollectorInfo = CollectorInfo { moving: false, ..COPYING_INFO };
/// Bytes to allocate between two collections, while they suffice.
const STEP: u64 = 128 << 10;

#[derive(Debug)]
struct Semispace(Option<Fault>);

fn make(options: &CollectorOptions) -> Result<Arc<dyn GcRuntime>, OptionError> {
    Ok(Arc::new(Semispace(fault(options)?)))
}

impl GcCompiler for Semispace {
    fn needs(&self) -> BarrierNeeds {
        let read = matches!(self.0, Some(Fault::LosesOperand | Fault::ClearsLowBit));
        BarrierNeeds { read, ..BarrierNeeds::default() }
    }

    fn read(&self, e: &mut Emitter<'_, '_>, site: &AccessSite) -> Value {
        let value = e.load(site);
        if self.0 == Some(Fault::ClearsLowBit) {
            return e.b.ins().band_imm_s(value, -2);
        }
        // What is missing here: e.declare_reference(value).
        e.if_object(value, site.old, |e| {
            let wide = e.b.ins().uextend(I64, value);
            e.slow_path(SlowOp(0), &[wide]);
        });
        value
    }
}

impl GcRuntime for Semispace {
    fn info(&self) -> &'static CollectorInfo {
        if self.0 == Some(Fault::SaysItStays) { &LYING_INFO } else { &COPYING_INFO }
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
        let count_objects = limits.count_objects;
        let mut heap = Heap {
            memory,
            shapes,
            fault: self.0,
            start: FIRST_INDEX,
            externs: Vec::new(),
            dead_hosts: Vec::new(),
            count_objects,
            slow_objects: 0,
            counters: Counters::default(),
            allocated_from: FIRST_INDEX,
            calls: 0,
        };
        heap.open()?;
        Ok(Box::new(heap))
    }
}

struct Heap {
    memory: HeapMemory,
    shapes: Arc<Shapes>,
    fault: Option<Fault>,
    /// Where the half that is in use starts.
    start: u32,
    /// Objects of host values.
    externs: Vec<u32>,
    dead_hosts: Vec<HostId>,
    count_objects: bool,
    slow_objects: u64,
    counters: Counters,
    /// Where the first object since the last collection stands.
    allocated_from: u32,
    calls: u32,
}

impl Heap {
    /// Both halves are committed, and empty.
    fn open(&mut self) -> Result<(), HeapError> {
        self.memory.grow(self.memory.limit() - self.memory.committed())?;
        self.start = FIRST_INDEX;
        self.allocated_from = FIRST_INDEX;
        self.set_bump(FIRST_INDEX);
        Ok(())
    }

    fn half(&self) -> u32 {
        (self.memory.limit_bytes() / 2) as u32 & !7
    }

    fn end(&self) -> u64 {
        self.start as u64 + self.half() as u64
    }

    fn bump(&self) -> u32 {
        self.memory.cell(Cell::BUMP) as u32
    }

    fn set_bump(&mut self, at: u32) {
        self.memory.set_cell(Cell::BUMP, at as u64);
        self.memory.set_cell(Cell::LIMIT, (at as u64 + STEP).min(self.end()));
    }

    /// The index of the copy of the object that `raw` refers to.
    fn copied(&self, raw: u32, next: &mut u32) -> Option<u32> {
        let r = object(raw)?;
        let header = self.memory.header(&r);
        if self.memory.header_word(&r) == 0 {
            return Some(if self.fault == Some(Fault::OldAddress) { raw } else { header.ty() });
        }
        let size = self.shapes.size_of(&self.memory, &r) as u32;
        let to = *next;
        self.memory.copy_bytes((to, 0), (raw, 0), size);
        *next += size;
        self.memory.store_u64(raw, 0, (to as u64) << 32);
        Some(to)
    }
}

impl GcHeap for Heap {
    fn allocate(&mut self, new: NewObject) -> Result<VMGcRef, NeedsCollection> {
        let (start, limit) = (self.bump(), self.memory.cell(Cell::LIMIT));
        let end = start as u64 + new.size;
        if end > limit {
            return Err(NeedsCollection { bytes: new.size });
        }
        self.memory.set_cell(Cell::BUMP, end);
        self.memory.store_u64(start, 0, VMGcHeader::new(new.kind, new.ty, 0).to_u64());
        if let Some(length) = new.length {
            self.memory.store_u32(start, ARRAY_LENGTH_OFFSET, length);
        }
        if let Some(host) = new.host {
            self.memory.store_u32(start, EXTERN_ID_OFFSET, host);
            self.externs.push(start);
        }
        self.slow_objects += 1;
        Ok(VMGcRef::from_index(start).expect("not null"))
    }

    fn collect(&mut self, _: Collection, roots: &mut dyn Roots, _: &mut dyn GcEvents) -> Outcome {
        let before = self.bump() - self.start;
        self.counters.bytes_allocated += (self.bump() - self.allocated_from) as u64;
        let to = if self.start == FIRST_INDEX { FIRST_INDEX + self.half() } else { FIRST_INDEX };
        let mut next = to;
        for kind in RootKind::ALL {
            roots.visit(kind, &mut |slot| {
                let copied = slot.get().and_then(|r| self.copied(r.raw(), &mut next));
                if let Some(copied) =
                    copied.filter(|_| kind != RootKind::Host || self.fault != Some(Fault::StaleHandle))
                {
                    slot.set(VMGcRef::from_index(copied).expect("not null"));
                }
            });
        }
        let mut scan = to;
        while scan < next {
            let r = VMGcRef::from_index(scan).expect("not null");
            self.shapes.scan(&self.memory, &r, |offset| {
                if let Some(copied) = self.copied(self.memory.load_u32(scan, offset), &mut next) {
                    self.memory.store_u32(scan, offset, copied);
                }
            });
            scan += self.shapes.size_of(&self.memory, &r) as u32;
            self.counters.objects_traced += 1;
        }
        for old in std::mem::take(&mut self.externs) {
            let r = VMGcRef::from_index(old).expect("not null");
            match self.memory.header_word(&r) {
                0 => self.externs.push(self.memory.header(&r).ty()),
                _ => self.dead_hosts.push(self.memory.load_u32(old, EXTERN_ID_OFFSET)),
            }
        }
        self.start = to;
        self.allocated_from = next;
        self.counters.bytes_copied += (next - to) as u64;
        self.counters.bytes_freed += (before - (next - to)) as u64;
        self.counters.collections += 1;
        self.set_bump(next);
        Outcome::Complete
    }

    fn slow_path(&mut self, _: SlowOp, _: [u64; 4]) -> u64 {
        self.calls += 1;
        0
    }

    fn wants_collection(&self) -> Option<CollectionKind> {
        self.calls.is_multiple_of(5).then_some(CollectionKind::Major)
    }

    fn on_allocation_failure(&mut self, need: u64, attempts: u32) -> SizingDecision {
        match attempts {
            0 => SizingDecision::Collect(CollectionKind::Major),
            1 if self.bump() as u64 + need <= self.end() => {
                self.memory.set_cell(Cell::LIMIT, self.end());
                SizingDecision::Grow(0)
            }
            _ => SizingDecision::GiveUp,
        }
    }

    fn take_dead_hosts(&mut self) -> Vec<HostId> {
        std::mem::take(&mut self.dead_hosts)
    }

    fn usage(&self) -> HeapUsage {
        let committed = self.memory.committed_bytes();
        let live = (self.bump() - self.start) as u64;
        let free = self.end() - self.bump() as u64;
        HeapUsage { live, free, waste: committed - live - free, metadata: 0, committed }
    }

    fn counters(&self) -> Counters {
        Counters {
            objects_allocated: self.count_objects.then(|| self.memory.cell(Cell::OBJECTS) + self.slow_objects),
            bytes_allocated: self.counters.bytes_allocated + (self.bump() - self.allocated_from) as u64,
            ..self.counters.clone()
        }
    }

    fn for_each_object(&self, visit: &mut dyn FnMut(VMGcRef)) {
        let mut index = self.start;
        while index < self.bump() {
            let r = VMGcRef::from_index(index).expect("not null");
            index += self.shapes.size_of(&self.memory, &r) as u32;
            visit(r);
        }
    }

    fn for_each_free_range(&self, visit: &mut dyn FnMut(Range<u32>)) {
        let other = if self.start == FIRST_INDEX { FIRST_INDEX + self.half() } else { FIRST_INDEX };
        visit(self.bump()..self.end() as u32);
        visit(other..other + self.half());
    }

    fn for_each_region(&self, visit: &mut dyn FnMut(HeapRegion)) {
        let other = if self.start == FIRST_INDEX { FIRST_INDEX + self.half() } else { FIRST_INDEX };
        let late = self.fault == Some(Fault::MapIsLate);
        let (objects, end) = (if late { self.allocated_from } else { self.bump() }, self.end() as u32);
        let free = if self.fault == Some(Fault::MapOverlaps) { self.start } else { objects };
        visit(HeapRegion { range: self.start..objects, state: RegionState::Young });
        visit(HeapRegion { range: free..end, state: RegionState::Free });
        visit(HeapRegion { range: other..other + self.half(), state: RegionState::Reserved });
    }

    fn check(&self) -> Result<(), Corruption> {
        Ok(())
    }

    fn reset(&mut self) {
        self.memory.reset();
        self.counters = Counters::default();
        (self.externs, self.dead_hosts, self.slow_objects, self.calls) = (Vec::new(), Vec::new(), 0, 0);
        self.open().expect("it was committed before");
    }

    fn memory(&self) -> &HeapMemory {
        &self.memory
    }
}
