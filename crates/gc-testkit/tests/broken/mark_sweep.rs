//! Mark and sweep (McCarthy 1960), and with `STICKY` two generations of it by sticky mark bits (Demers et al. 1990): a minor
//! collection keeps the marks of the last one, and finds references from old objects by cards.

use super::space::Space;
use super::{Fault, INFO, fault, object};
use gc_api::ir::{InstBuilder, Value, types::I8, types::I64};
use gc_api::{
    ARRAY_LENGTH_OFFSET, AccessSite, AllocSite, AllocSize, BarrierNeeds, BulkSource, BulkWrite, Cell, CellKind,
    Collection, CollectionKind, Collector, CollectorInfo, CollectorOptions, Corruption, Counters, Emitter, FIRST_INDEX,
    GcCompiler, GcEvents, GcHeap, GcKind, GcRuntime, HeapError, HeapLimits, HeapMemory, HeapUsage, HostId, Likelihood,
    NeedsCollection, NewObject, OptionError, Outcome, Reason, RefRange, Region, RootKind, Roots, Shape, Shapes,
    SideEntry, SideTable, SizingDecision, Slot, VMGcRef, WriteSite, copy_refs,
};
use std::ops::Range;
use std::sync::Arc;

pub const COLLECTOR: Collector = Collector { info: &PLAIN_INFO, make: make_plain };
pub const STICKY: Collector = Collector { info: &STICKY_INFO, make: make_sticky };
const PLAIN_INFO: CollectorInfo = CollectorInfo { name: "mark-sweep", ..INFO };
const STICKY_INFO: CollectorInfo = CollectorInfo { name: "sticky", generational: true, ..INFO };

/// Bytes of a card, as a power of two.
const CARD: u8 = 9;
/// Distance of the cards from the heap's base: the first side table that a heap asks for.
const CARDS: i64 = -(4096 + (1 << (32 - CARD as i64)));

#[derive(Debug)]
struct MarkSweep {
    sticky: bool,
    fault: Option<Fault>,
}

fn make_plain(options: &CollectorOptions) -> Result<Arc<dyn GcRuntime>, OptionError> {
    Ok(Arc::new(MarkSweep { sticky: false, fault: fault(options)? }))
}

fn make_sticky(options: &CollectorOptions) -> Result<Arc<dyn GcRuntime>, OptionError> {
    Ok(Arc::new(MarkSweep { sticky: true, fault: fault(options)? }))
}

impl GcCompiler for MarkSweep {
    fn needs(&self) -> BarrierNeeds {
        BarrierNeeds { write: self.sticky, bulk_write: self.sticky, ..BarrierNeeds::default() }
    }

    fn alloc(&self, e: &mut Emitter<'_, '_>, object: &AllocSite) -> Value {
        match (self.fault, object.size) {
            (Some(Fault::InlineUncounted), _) => {
                let before = e.load_cell(Cell::OBJECTS);
                let new = e.bump_alloc(object, 0);
                e.store_cell(Cell::OBJECTS, before);
                new
            }
            (Some(Fault::WrongKind), _) if object.kind == GcKind::EXN => {
                e.bump_alloc(&AllocSite { kind: GcKind::STRUCT, ..*object }, 0)
            }
            (Some(Fault::ShortArray), AllocSize::Array { length, constant, base, element_log2 }) => {
                let size = AllocSize::Array { length, constant, base: base - 8, element_log2 };
                e.bump_alloc(&AllocSite { size, ..*object }, 0)
            }
            _ => e.bump_alloc(object, 0),
        }
    }

    /// Stores, then marks the card of the object.
    fn write(&self, e: &mut Emitter<'_, '_>, site: &AccessSite, new: Value) {
        self.store(e, site, new);
        let object = match site.slot {
            Slot::Field { object, .. } => object,
            Slot::Element { array, .. } if self.fault != Some(Fault::ElementWithoutBarrier) => array,
            // The other roots are visited by every collection.
            _ => return,
        };
        if self.fault == Some(Fault::NonNullWithoutBarrier) && !site.new.null {
            return;
        }
        let card = e.b.ins().ushr_imm_u(object, CARD as i64);
        let base = e.heap_base();
        let card = e.b.ins().uextend(I64, card);
        let address = e.b.ins().iadd(base, card);
        let distance = CARDS + (self.fault == Some(Fault::CardOffByOne)) as i64;
        let one = e.b.ins().iconst(I8, 1);
        let flags = Region::Side.flags(e.b.func);
        e.b.ins().store(flags, one, address, distance as i32);
    }
}

impl MarkSweep {
    fn store(&self, e: &mut Emitter<'_, '_>, site: &AccessSite, new: Value) {
        match (self.fault, site.slot) {
            (Some(Fault::NullWithoutTrap), _) => e.store(&AccessSite { null_check: false, ..*site }, new),
            (Some(Fault::NullIsIgnored), Slot::Field { object, .. }) if site.null_check => {
                let site = AccessSite { null_check: false, ..*site };
                e.if_nonzero(object, Likelihood::Common, |e| e.store(&site, new));
            }
            (Some(Fault::WideStore), _) => {
                let wide = e.b.ins().uextend(I64, new);
                let (address, offset, flags) = e.slot(site);
                e.b.ins().store(flags, wide, address, offset);
            }
            _ => e.store(site, new),
        }
    }
}

impl GcRuntime for MarkSweep {
    fn info(&self) -> &'static CollectorInfo {
        if self.sticky { &STICKY_INFO } else { &PLAIN_INFO }
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
        let cards = memory.side_table(CARD, SideEntry::Byte)?;
        assert_eq!(cards.offset_from_base(), CARDS);
        let marks = memory.side_table(3, SideEntry::Bit)?;
        let mut space = Space::new(memory, shapes, limits)?;
        if self.fault == Some(Fault::LimitOffBy8) {
            space.limit_error = 8;
        }
        Ok(Box::new(Heap { space, marks, cards, sticky: self.sticky, fault: self.fault, force_major: false }))
    }
}

struct Heap {
    space: Space,
    marks: SideTable,
    /// Of objects that were written to since the last collection.
    cards: SideTable,
    sticky: bool,
    fault: Option<Fault>,
    force_major: bool,
}

impl Heap {
    fn is(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn mark(&self, raw: u32, open: &mut Vec<u32>) {
        let raw = if self.is(Fault::SmallAsObject) { raw & !7 } else { raw };
        if let Some(r) = object(raw)
            && self.marks.get(r.raw()) == 0
        {
            self.marks.set(r.raw(), 1);
            open.push(r.raw());
        }
    }

    fn scan(&self, index: u32, open: &mut Vec<u32>) {
        let r = VMGcRef::from_index(index).expect("not null");
        let memory = &self.space.memory;
        let (shape, mut number) = (self.space.shapes.of(memory, &r), 0);
        let last = matches!(shape, Shape::Array { .. }).then(|| memory.array_length(&r).wrapping_sub(1));
        let wide = matches!(shape, Shape::Fixed { refs, .. } if refs.len() > 100);
        self.space.shapes.scan(memory, &r, |offset| {
            let forgotten = self.is(Fault::ForgetsField) && wide && number == 150
                || self.is(Fault::ScansOneLess) && last == Some(number);
            if !forgotten {
                self.mark(memory.load_u32(index, offset), open);
            }
            number += 1;
        });
    }

    fn skips(&self, kind: RootKind) -> bool {
        self.is(match kind {
            RootKind::Stack => Fault::SkipsStack,
            RootKind::Global => Fault::SkipsGlobals,
            RootKind::Table => Fault::SkipsTables,
            RootKind::Segment => Fault::SkipsSegments,
            RootKind::Host => Fault::SkipsHandles,
            RootKind::Exception => Fault::SkipsException,
        })
    }

    fn trace(&mut self, roots: &mut dyn Roots, minor: bool) {
        let mut open = Vec::new();
        for kind in RootKind::ALL {
            if !self.skips(kind) {
                roots.visit(kind, &mut |slot| self.mark(slot.get().map_or(0, |r| r.raw()), &mut open));
            }
        }
        if minor {
            for index in self.space.objects.keys() {
                if self.marks.get(*index) != 0 && self.cards.get(*index) != 0 {
                    self.scan(*index, &mut open);
                }
            }
        }
        while let Some(index) = open.pop() {
            self.space.counters.objects_traced += 1;
            self.scan(index, &mut open);
        }
    }

    fn sweep(&mut self) {
        if self.is(Fault::ClearsMarkEarly) {
            self.space.large.iter().for_each(|index| self.marks.set(*index, 0));
        }
        let dead: Vec<u32> = self.space.objects.keys().copied().filter(|index| self.marks.get(*index) == 0).collect();
        for index in dead {
            if !(self.is(Fault::LeaksLarge) && self.space.large.contains(&index)) {
                self.space.free(index);
            }
        }
        let objects = &self.space.objects;
        self.space.large.retain(|index| objects.contains_key(index));
        if self.is(Fault::DropsHostTwice) {
            self.space.dead_hosts.extend(self.space.dead_hosts.first().copied());
        }
    }

    /// The host stores into `to`.
    fn note(&self, to: &VMGcRef) {
        self.cards.set(to.raw(), 1);
    }
}

impl GcHeap for Heap {
    fn allocate(&mut self, object: NewObject) -> Result<VMGcRef, NeedsCollection> {
        let index = self.space.allocate(object, 0).ok_or(NeedsCollection { bytes: object.size })?;
        self.marks.set(index, 0);
        if self.is(Fault::LengthUnwritten) && object.length.is_some() {
            self.space.memory.store_u32(index, ARRAY_LENGTH_OFFSET, 0);
        }
        Ok(VMGcRef::from_index(index).expect("not null"))
    }

    fn write_ref(&mut self, site: WriteSite<'_>, new: Option<&VMGcRef>) {
        let raw = new.map_or(0, VMGcRef::raw);
        match site {
            WriteSite::Object { object, offset } => {
                self.note(object);
                self.space.memory.store_u32(object.raw(), offset, raw);
            }
            WriteSite::Cell { cell, .. } => cell.set_raw(raw),
        }
    }

    fn write_refs(&mut self, write: BulkWrite<'_>) {
        match write.from {
            BulkSource::Copy(from) if self.is(Fault::CopyForwards) => {
                let memory = &self.space.memory;
                (0..from.len()).for_each(|i| write.to.set(memory, i, from.get(memory, i)));
            }
            _ => copy_refs(&self.space.memory, write, |_, _| {}),
        }
        let segment = matches!(write.from, BulkSource::Copy(RefRange::Cells { kind: CellKind::Segment, .. }));
        let dropped = if segment { Fault::InitElemWithoutBarrier } else { Fault::CopyWithoutBarrier };
        if let RefRange::Array { array, .. } = write.to
            && !self.is(dropped)
        {
            self.note(array);
        }
    }

    fn collect(&mut self, request: Collection, roots: &mut dyn Roots, _: &mut dyn GcEvents) -> Outcome {
        self.space.adopt();
        let young = request.kind == CollectionKind::Minor || request.reason == Reason::Allocation;
        let minor = self.sticky && young && !std::mem::take(&mut self.force_major);
        if !minor {
            self.marks.clear(FIRST_INDEX..self.space.memory.committed().min(u32::MAX as u64) as u32);
        }
        self.trace(roots, minor);
        self.sweep();
        self.cards.clear(FIRST_INDEX..self.space.memory.committed().min(u32::MAX as u64) as u32);
        self.space.find_gaps();
        self.space.counters.collections += 1;
        // What is allocated where something has died is young.
        if self.is(Fault::Unfinished) { Outcome::Unfinished } else { Outcome::Complete }
    }

    fn on_allocation_failure(&mut self, need: u64, attempts: u32) -> SizingDecision {
        let growth = self.space.growth(need).filter(|_| !self.is(Fault::GivesUpEarly));
        match (attempts, growth) {
            (0, _) => SizingDecision::Collect(CollectionKind::Major),
            (1, Some(bytes)) => SizingDecision::Grow(bytes),
            (1 | 2, None) if self.sticky => {
                self.force_major = true;
                SizingDecision::Collect(CollectionKind::Major)
            }
            _ => SizingDecision::GiveUp,
        }
    }

    fn take_dead_hosts(&mut self) -> Vec<HostId> {
        let dead = std::mem::take(&mut self.space.dead_hosts);
        if self.is(Fault::NeverDropsHosts) { Vec::new() } else { dead }
    }

    fn usage(&self) -> HeapUsage {
        let usage = self.space.usage();
        match self.fault {
            Some(Fault::WrongLive) if usage.live > 64 => {
                HeapUsage { live: usage.live - 8, free: usage.free + 8, ..usage }
            }
            Some(Fault::WrongFree) => HeapUsage { free: 2 * usage.free, ..usage },
            _ => usage,
        }
    }

    fn counters(&self) -> Counters {
        self.space.counters()
    }

    fn for_each_object(&self, visit: &mut dyn FnMut(VMGcRef)) {
        self.space.for_each(visit);
    }

    fn for_each_free_range(&self, visit: &mut dyn FnMut(Range<u32>)) {
        let longer = if self.is(Fault::FreeOverlaps) { 8 } else { 0 };
        self.space.for_each_free_range(&mut |range| visit(range.start - longer..range.end));
    }

    fn check(&self) -> Result<(), Corruption> {
        Ok(())
    }

    fn reset(&mut self) {
        let (free, counters) = (std::mem::take(&mut self.space.gaps), std::mem::take(&mut self.space.counters));
        self.space.reset();
        self.force_major = false;
        match self.fault {
            Some(Fault::KeepsFreeList) => self.space.gaps = free,
            Some(Fault::KeepsCounters) => self.space.counters = counters,
            _ => {}
        }
    }

    fn memory(&self) -> &HeapMemory {
        &self.space.memory
    }
}
