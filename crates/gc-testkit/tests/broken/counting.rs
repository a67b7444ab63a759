//! Deferred reference counting with a zero count table (Deutsch and Bobrow 1976), and a backup trace for cycles.
//!
//! Counts are for references from objects and from all roots but the stack. What has no count is in the table; a collection frees
//! what is in the table and not on the stack. Every object is allocated by the runtime; barriers are calls.

use super::space::Space;
use super::{Fault, INFO, fault, object};
use gc_api::ir::{InstBuilder, Value, types::I64};
use gc_api::{
    AccessSite, AllocSite, BarrierNeeds, BulkSource, BulkWrite, COLLECTOR_MASK, CellKind, Collection, CollectionKind,
    Collector, CollectorInfo, CollectorOptions, Corruption, Counters, Emitter, GcCompiler, GcEvents, GcHeap, GcRuntime,
    HeapError, HeapLimits, HeapMemory, HeapUsage, HostId, NeedsCollection, NewObject, OptionError, Outcome, Reason,
    RefRange, RootKind, Roots, Shapes, SizingDecision, Slot, SlowOp, VMGcRef, WriteSite, copy_refs,
};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

pub const COLLECTOR: Collector = Collector { info: &COUNTING_INFO, make };
const COUNTING_INFO: CollectorInfo = CollectorInfo { name: "counting", ..INFO };
const INCREMENT: SlowOp = SlowOp(1);
const DECREMENT: SlowOp = SlowOp(2);

#[derive(Debug)]
struct Counting(Option<Fault>);

fn make(options: &CollectorOptions) -> Result<Arc<dyn GcRuntime>, OptionError> {
    Ok(Arc::new(Counting(fault(options)?)))
}

impl GcCompiler for Counting {
    fn needs(&self) -> BarrierNeeds {
        let bulk_init = self.0 != Some(Fault::NoBulkInit);
        BarrierNeeds { write: true, init: true, bulk_write: true, bulk_init, ..BarrierNeeds::default() }
    }

    fn alloc(&self, e: &mut Emitter<'_, '_>, object: &AllocSite) -> Value {
        e.slow_alloc(object)
    }

    fn write(&self, e: &mut Emitter<'_, '_>, site: &AccessSite, new: Value) {
        if self.0 == Some(Fault::GlobalWithoutBarrier) && matches!(site.slot, Slot::Global { .. }) {
            return e.store(site, new);
        }
        let old = e.load(site);
        let site = &AccessSite { null_check: false, ..*site };
        e.if_object(new, site.new, |e| call(e, INCREMENT, new));
        e.store(site, new);
        e.if_object(old, site.old, |e| call(e, DECREMENT, old));
    }

    fn init(&self, e: &mut Emitter<'_, '_>, site: &AccessSite, new: Value) {
        if self.0 != Some(Fault::InitWithoutBarrier) {
            e.if_object(new, site.new, |e| call(e, INCREMENT, new));
        }
        e.store(site, new);
    }
}

fn call(e: &mut Emitter<'_, '_>, op: SlowOp, value: Value) {
    let wide = e.b.ins().uextend(I64, value);
    e.slow_path(op, &[wide]);
}

impl GcRuntime for Counting {
    fn info(&self) -> &'static CollectorInfo {
        &COUNTING_INFO
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
        let space = Space::new(memory, shapes, limits)?;
        Ok(Box::new(Heap { space, zero: BTreeSet::new(), fault: self.0, backup: false }))
    }
}

struct Heap {
    space: Space,
    /// Objects without a count.
    zero: BTreeSet<u32>,
    fault: Option<Fault>,
    /// The next collection is to find cycles.
    backup: bool,
}

impl Heap {
    fn is(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn count(&self, index: u32) -> u32 {
        self.space.memory.load_u32(index, 0) & COLLECTOR_MASK
    }

    fn add(&self, index: u32, change: i32) -> u32 {
        let count = self.count(index).checked_add_signed(change).expect("no more is taken than was given");
        let kind = self.space.memory.load_u32(index, 0) & !COLLECTOR_MASK;
        self.space.memory.store_u32(index, 0, kind | count);
        count
    }

    fn increment(&mut self, raw: u32) {
        if let Some(r) = object(raw) {
            self.add(r.raw(), 1);
            if !self.is(Fault::FreesAtOne) {
                self.zero.remove(&r.raw());
            }
        }
    }

    fn decrement(&mut self, raw: u32) {
        if let Some(r) = object(raw) {
            let left = self.add(r.raw(), -1);
            let enrolled = left == 0 && !self.is(Fault::ForgetsZero);
            if enrolled || left == 1 && self.is(Fault::FreesAtOne) {
                self.zero.insert(r.raw());
            }
        }
    }

    fn stack(&self, roots: &mut dyn Roots) -> BTreeSet<u32> {
        let mut stack = BTreeSet::new();
        roots.visit(RootKind::Stack, &mut |slot| {
            stack.extend(slot.get().and_then(|r| object(r.raw())).map(|r| r.raw()));
        });
        stack
    }

    /// Frees what has no count and is not on the stack, and what dies with it.
    fn free_uncounted(&mut self, stack: &BTreeSet<u32>) {
        let mut open: Vec<u32> = self.zero.difference(stack).copied().collect();
        self.zero.retain(|index| stack.contains(index));
        while let Some(index) = open.pop() {
            self.free(index, stack, &mut open);
        }
    }

    /// Frees an object; what dies with it is added to `open`.
    fn free(&mut self, index: u32, stack: &BTreeSet<u32>, open: &mut Vec<u32>) {
        let mut children = Vec::new();
        let r = VMGcRef::from_index(index).expect("not null");
        let memory = &self.space.memory;
        self.space.shapes.scan(memory, &r, |offset| children.extend(object(memory.load_u32(index, offset))));
        self.space.free(index);
        for child in children {
            if self.add(child.raw(), -1) == 0 {
                match stack.contains(&child.raw()) {
                    true => drop(self.zero.insert(child.raw())),
                    false if self.is(Fault::FreesRecursively) => self.free(child.raw(), stack, open),
                    false => open.push(child.raw()),
                }
            }
        }
    }

    /// Finds what is reachable, frees the rest, and counts anew.
    fn trace(&mut self, roots: &mut dyn Roots) {
        let mut reachable = BTreeSet::new();
        let mut counted: Vec<u32> = Vec::new();
        let mut open: Vec<u32> = self.stack(roots).into_iter().collect();
        for kind in RootKind::ALL.into_iter().filter(|kind| *kind != RootKind::Stack) {
            roots.visit(kind, &mut |slot| counted.extend(slot.get().and_then(|r| object(r.raw())).map(|r| r.raw())));
        }
        open.extend(&counted);
        while let Some(index) = open.pop() {
            if reachable.insert(index) {
                let r = VMGcRef::from_index(index).expect("not null");
                let memory = &self.space.memory;
                let from = counted.len();
                let child = |offset| object(memory.load_u32(index, offset)).map(|r| r.raw());
                self.space.shapes.scan(memory, &r, |offset| counted.extend(child(offset)));
                open.extend(&counted[from..]);
            }
        }
        let dead: Vec<u32> = self.space.objects.keys().copied().filter(|index| !reachable.contains(index)).collect();
        dead.into_iter().for_each(|index| self.space.free(index));
        for index in &reachable {
            self.add(*index, -(self.count(*index) as i32));
        }
        self.zero = reachable;
        counted.into_iter().for_each(|index| self.increment(index));
    }
}

impl GcHeap for Heap {
    fn allocate(&mut self, object: NewObject) -> Result<VMGcRef, NeedsCollection> {
        let index = self.space.allocate(object, 0).ok_or(NeedsCollection { bytes: object.size })?;
        self.zero.insert(index);
        Ok(VMGcRef::from_index(index).expect("not null"))
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
                let old = self.space.memory.load_u32(object.raw(), offset);
                self.space.memory.store_u32(object.raw(), offset, raw);
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
        let memory = self.space.memory.clone();
        let table = matches!(write.to, RefRange::Cells { kind: CellKind::Table, .. });
        if table && matches!(write.from, BulkSource::Fill(_)) && self.is(Fault::TableFillUncounted) {
            return copy_refs(&memory, write, |_, _| {});
        }
        copy_refs(&memory, write, |old, new| {
            self.increment(new);
            self.decrement(old);
        });
    }

    fn slow_path(&mut self, op: SlowOp, args: [u64; 4]) -> u64 {
        match op {
            INCREMENT => self.increment(args[0] as u32),
            DECREMENT => self.decrement(args[0] as u32),
            _ => unreachable!("{op:?}"),
        }
        0
    }

    fn collect(&mut self, request: Collection, roots: &mut dyn Roots, _: &mut dyn GcEvents) -> Outcome {
        self.space.adopt();
        let asked = request.kind == CollectionKind::Cycle || std::mem::take(&mut self.backup);
        if asked && !self.is(Fault::NeverCycles) {
            self.trace(roots);
        } else {
            let blind = self.is(Fault::FreesNewOperands) && request.reason == Reason::Allocation;
            let stack = if blind { BTreeSet::new() } else { self.stack(roots) };
            self.free_uncounted(&stack);
        }
        let objects = &self.space.objects;
        self.space.large.retain(|index| objects.contains_key(index));
        self.space.find_gaps();
        self.space.counters.collections += 1;
        Outcome::Complete
    }

    fn on_allocation_failure(&mut self, need: u64, attempts: u32) -> SizingDecision {
        match (attempts, self.space.growth(need)) {
            (0, _) => SizingDecision::Collect(CollectionKind::Major),
            (1, Some(bytes)) => SizingDecision::Grow(bytes),
            (1, None) => {
                self.backup = true;
                SizingDecision::Collect(CollectionKind::Major)
            }
            _ => SizingDecision::GiveUp,
        }
    }

    fn take_dead_hosts(&mut self) -> Vec<HostId> {
        std::mem::take(&mut self.space.dead_hosts)
    }

    fn usage(&self) -> HeapUsage {
        self.space.usage()
    }

    fn counters(&self) -> Counters {
        self.space.counters()
    }

    fn for_each_object(&self, visit: &mut dyn FnMut(VMGcRef)) {
        self.space.for_each(visit);
    }

    fn for_each_free_range(&self, visit: &mut dyn FnMut(Range<u32>)) {
        self.space.for_each_free_range(visit);
    }

    fn check(&self) -> Result<(), Corruption> {
        let mut wrong = None;
        self.space.for_each(&mut |r| {
            if (self.count(r.raw()) == 0) != self.zero.contains(&r.raw()) {
                wrong =
                    Some(Corruption(format!("{r:?} has {} references and is in the wrong place", self.count(r.raw()))));
            }
        });
        wrong.map_or(Ok(()), Err)
    }

    fn reset(&mut self) {
        self.space.reset();
        self.zero.clear();
        self.backup = false;
    }

    fn memory(&self) -> &HeapMemory {
        &self.space.memory
    }
}
