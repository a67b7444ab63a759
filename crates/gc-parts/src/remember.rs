//! The remembered set: where old objects may refer to young ones, as the [barriers](crate::barrier) noted it.
//!
//! *Object logging* has the objects that were written to, and of large arrays the cards; *field logging* the slots; *cards* a table
//! with a byte for every 512 bytes of the heap, which is gone through to find the slots. The host's stores are noted here in the same
//! way as compiled code notes its own.
//!
//! An object is *armed* when it becomes old: from then on a store into it is noted, once.
//!
//! Object logging: A. L. Hosking, J. E. B. Moss and D. Stefanović, *A comparative performance evaluation of write barrier
//! implementations*, OOPSLA 1992. Field logging: as in W. Zhao, S. M. Blackburn and K. S. McKinley, *Low-latency, high-throughput
//! garbage collection*, PLDI 2022. Cards: P. R. Wilson and T. G. Moher, *A "card-marking" scheme for controlling intergenerational
//! references in generation-based garbage collection on stock hardware*, SIGPLAN Notices 1989.

use crate::barrier::{BY_CARDS, Barrier, CARD_SHIFT, GLOBALS, LOG_FULL, LOG_LIMIT, LOG_NEXT, TABLE, TABLES, UNLOGGED};
use crate::large::Large;
use crate::mark::Marks;
use crate::object::at;
use gc_api::{
    BulkSource, BulkWrite, CellKind, Edge, EdgeSource, HeapError, HeapMemory, LogBuffer, MissedWrite, REF_ARRAY_BASE,
    RefRange, RootKind, Shapes, SideEntry, SideTable, SlowOp, VMGcRef, WriteSite, copy_refs,
};
use std::ops::Range;

const CARD: u32 = 1 << CARD_SHIFT;
/// Entries of the buffer that compiled code pushes onto.
const BUFFER: u32 = 4096;

/// Where old objects may refer to young ones.
#[derive(Debug)]
pub struct Remembered {
    memory: HeapMemory,
    barrier: Barrier,
    buffer: LogBuffer,
    /// What was taken out of the buffer.
    log: Vec<u32>,
    /// Cards: a byte for each 512 bytes. Field logging: a bit for each slot, set where it is armed.
    table: SideTable,
    /// An element segment was written to.
    segments: bool,
    /// Entries that there were.
    remembered: u64,
}

impl Remembered {
    /// Nothing is remembered, with `ObjectLog`, `FieldLog` or `Cards`.
    ///
    /// # Errors
    /// When the buffer or the table cannot be had.
    pub fn new(memory: &HeapMemory, barrier: Barrier) -> Result<Remembered, HeapError> {
        let table = match barrier {
            Barrier::FieldLog => memory.side_table(2, SideEntry::Bit)?,
            _ => memory.side_table(CARD_SHIFT, SideEntry::Byte)?,
        };
        let remembered = Remembered {
            barrier,
            buffer: memory.log_buffer(BUFFER, LOG_NEXT, LOG_LIMIT)?,
            log: Vec::new(),
            table,
            segments: false,
            remembered: 0,
            memory: memory.clone(),
        };
        remembered.set_cells();
        Ok(remembered)
    }

    fn set_cells(&self) {
        self.buffer.clear();
        self.memory.set_cell(TABLE, self.table.offset_from_base() as u64);
        self.memory.set_cell(GLOBALS, 0);
        self.memory.set_cell(TABLES, 0);
    }

    /// As new, after the memory and its side tables were cleared.
    pub fn reset(&mut self) {
        (self.log, self.segments, self.remembered) = (Vec::new(), false, 0);
        self.set_cells();
    }

    /// Overwrites what is in the buffer, which is not part of the heap's memory.
    pub fn wipe(&self) {
        self.buffer.wipe();
    }

    /// Objects, cards or slots that were remembered so far.
    pub fn count(&self) -> u64 {
        self.remembered + self.buffer.len() as u64
    }

    /// Bytes of the buffer, the log and the table.
    pub fn metadata(&self) -> u64 {
        self.tables() + self.lists()
    }

    /// Bytes of the buffer and the table.
    pub fn tables(&self) -> u64 {
        self.buffer() + self.table.bytes()
    }

    /// Bytes of the buffer.
    pub fn buffer(&self) -> u64 {
        self.buffer.bytes()
    }

    /// Bytes of the log.
    pub fn lists(&self) -> u64 {
        self.log.capacity() as u64 * 4
    }

    // Noting.

    /// The slow path of compiled code.
    ///
    /// # Panics
    /// When `op` is another.
    pub fn slow_path(&mut self, op: SlowOp, entry: u32) {
        assert_eq!(op, LOG_FULL, "the only slow path of these barriers");
        self.flush();
        self.log.push(entry);
        self.remembered += 1;
    }

    fn flush(&mut self) {
        self.remembered += self.buffer.len() as u64;
        self.log.extend(self.buffer.iter());
        self.buffer.clear();
    }

    fn push(&mut self, entry: u32) {
        if !self.buffer.push(entry) {
            self.flush();
            self.buffer.push(entry);
        }
    }

    /// The slot at `offset` of `object` is written to.
    #[inline]
    pub fn note(&mut self, object: u32, offset: u32) {
        match self.barrier {
            Barrier::ObjectLog => {
                let word = self.memory.header_word(&at(object));
                if word & UNLOGGED == 0 {
                    return;
                }
                if word & BY_CARDS == 0 {
                    self.memory.set_header_word(&at(object), word & !UNLOGGED);
                    self.push(object);
                } else if self.table.get(object + offset) == 0 {
                    self.table.set_byte(object + offset, 1);
                    self.push(object + offset + 1);
                }
            }
            Barrier::FieldLog if self.table.get(object + offset) != 0 => {
                self.table.set(object + offset, 0);
                self.push(object + offset);
            }
            Barrier::FieldLog => {}
            _ => self.table.set_byte(object + offset, 1),
        }
    }

    /// Slots outside of objects are written to.
    pub fn note_cell(&mut self, kind: CellKind) {
        match kind {
            CellKind::Global => self.memory.set_cell(GLOBALS, 1),
            CellKind::Table => self.memory.set_cell(TABLES, 1),
            CellKind::Segment => self.segments = true,
            // These are roots of every collection.
            CellKind::Host | CellKind::Exception => {}
        }
    }

    /// Whether the roots of a kind may refer to young objects.
    pub fn has_roots(&self, kind: RootKind) -> bool {
        match kind {
            RootKind::Global => self.memory.cell(GLOBALS) != 0,
            RootKind::Table => self.memory.cell(TABLES) != 0,
            RootKind::Segment => self.segments,
            RootKind::Stack | RootKind::Host | RootKind::Exception => true,
        }
    }

    /// [`GcHeap::write_ref`](gc_api::GcHeap::write_ref), with the barrier.
    pub fn write_ref(&mut self, site: WriteSite<'_>, new: Option<&VMGcRef>) {
        match site {
            WriteSite::Object { object, offset } => self.note(object.raw(), offset),
            WriteSite::Cell { kind, .. } => self.note_cell(kind),
        }
        gc_api::write_ref(&self.memory, site, new);
    }

    /// [`GcHeap::write_refs`](gc_api::GcHeap::write_refs), with the barrier.
    pub fn write_refs(&mut self, write: BulkWrite<'_>) {
        match write.to {
            RefRange::Cells { kind, .. } => {
                self.note_cell(kind);
                copy_refs(&self.memory, write, |_, _| {});
            }
            RefRange::Array { array, start, length } => {
                let (array, first) = (array.raw(), REF_ARRAY_BASE + start * 4);
                self.note_slots(array, first..first + length * 4);
                match write.from {
                    BulkSource::Fill(value) => {
                        let raw = value.map_or(0, VMGcRef::raw);
                        self.memory.fill_pattern(array, first, length * 4, &raw.to_le_bytes());
                    }
                    BulkSource::Copy(RefRange::Array { array: from, start, .. }) => {
                        let from = (from.raw(), REF_ARRAY_BASE + start * 4);
                        self.memory.copy_bytes((array, first), from, length * 4);
                    }
                    BulkSource::Copy(RefRange::Cells { .. }) => copy_refs(&self.memory, write, |_, _| {}),
                }
            }
        }
    }

    /// The slots at `offsets` of an object are written to.
    fn note_slots(&mut self, object: u32, offsets: Range<u32>) {
        if offsets.is_empty() {
            return;
        }
        match self.barrier {
            Barrier::ObjectLog if self.memory.header_word(&at(object)) & BY_CARDS == 0 => {
                self.note(object, offsets.start)
            }
            Barrier::FieldLog => offsets.step_by(4).for_each(|offset| self.note(object, offset)),
            _ => {
                let mut slot = object + offsets.start;
                while slot < object + offsets.end {
                    self.note(object, slot - object);
                    slot = (slot / CARD + 1) * CARD;
                }
            }
        }
    }

    // Arming.

    /// Bits of the header of an old object, of which nothing is remembered. A large array is logged by cards.
    pub fn armed_bits(&self, by_cards: bool) -> u32 {
        match (self.barrier, by_cards) {
            (Barrier::ObjectLog, false) => UNLOGGED,
            (Barrier::ObjectLog, true) => UNLOGGED | BY_CARDS,
            _ => 0,
        }
    }

    /// Bits of the header of a young object that stays where it is when it becomes old.
    pub fn young_bits(&self, by_cards: bool) -> u32 {
        self.armed_bits(by_cards) & !UNLOGGED
    }

    /// The slot at `offset` of an old object has been looked at: a store into it is to be noted again.
    #[inline]
    pub fn arm_slot(&self, object: u32, offset: u32) {
        if self.barrier == Barrier::FieldLog {
            self.table.set(object + offset, 1);
        }
    }

    /// An object is new, and old from the start: all that it is given at first is remembered. Its header has the
    /// [`armed_bits`](Self::armed_bits).
    pub fn add_old(&mut self, object: u32, shapes: &Shapes) {
        let r = at(object);
        let mut slots = 0..0;
        shapes.scan(&self.memory, &r, |offset| {
            slots = if slots.is_empty() { offset..offset + 4 } else { slots.start..offset + 4 };
        });
        if self.barrier == Barrier::FieldLog {
            slots.clone().step_by(4).for_each(|offset| self.arm_slot(object, offset));
        }
        self.note_slots(object, slots);
    }

    /// An old object has been looked at: stores into it are to be noted again.
    #[inline]
    pub fn arm(&self, shapes: &Shapes, object: u32) {
        match self.barrier {
            Barrier::ObjectLog => {
                let word = self.memory.header_word(&at(object));
                if word & UNLOGGED == 0 {
                    self.memory.set_header_word(&at(object), word | UNLOGGED);
                }
            }
            Barrier::FieldLog => {
                shapes.scan(&self.memory, &at(object), |offset| self.table.set(object + offset, 1));
            }
            _ => {}
        }
    }

    // The collection.

    /// Takes out all that is remembered: `visit` is given each slot of an old object that may refer to a young one. The slots are
    /// armed again. `marks` are where the old objects are that are not large; `old` is where they may be.
    ///
    /// Cost: object logging, the slots of what was logged; field logging, what was logged; cards, a load for 4 KiB of the heap and the slots
    /// of the objects on marked cards.
    pub fn drain(
        &mut self,
        shapes: &Shapes,
        large: &Large,
        (marks, old): (&Marks, &[Range<u32>]),
        mut visit: impl FnMut(u32, u32),
    ) {
        self.flush();
        let memory = self.memory.clone();
        match self.barrier {
            Barrier::ObjectLog => {
                for entry in std::mem::take(&mut self.log) {
                    if entry & 1 == 0 {
                        let word = memory.header_word(&at(entry));
                        memory.set_header_word(&at(entry), word | UNLOGGED);
                        shapes.scan(&memory, &at(entry), |offset| visit(entry, offset));
                    } else {
                        let card = (entry - 1) / CARD * CARD;
                        self.table.set_byte(card, 0);
                        let array = large.find(entry - 1).expect("only large objects are logged by cards");
                        slots_on(&memory, shapes, array, card..card + CARD, &mut visit);
                    }
                }
            }
            Barrier::FieldLog => {
                for slot in std::mem::take(&mut self.log) {
                    self.table.set(slot, 1);
                    // The slot is all that matters.
                    visit(slot, 0);
                }
            }
            _ => {
                for range in old {
                    let mut from = range.start;
                    while let Some(card) = self.table.next_set(from, range.end) {
                        from = card + CARD;
                        self.table.set_byte(card, 0);
                        let first = marks.before(card, range.start);
                        for object in first.into_iter().chain(marks.iter(card..from)) {
                            slots_on(&memory, shapes, object, card..from, &mut visit);
                        }
                    }
                }
                for object in large.iter() {
                    let end = object + shapes.size_of(&memory, &at(object)) as u32;
                    let mut from = object;
                    while let Some(card) = self.table.next_set(from, end.next_multiple_of(CARD)) {
                        from = card + CARD;
                        self.table.set_byte(card, 0);
                        slots_on(&memory, shapes, object, card..from, &mut visit);
                    }
                }
            }
        }
    }

    /// Forgets what stands in the tables for a range of memory, before it is used for young objects.
    pub fn clear(&self, range: Range<u32>) {
        if self.barrier != Barrier::ObjectLog {
            self.table.clear(range);
        }
    }

    /// Whether [`drain`](Self::drain) has to know where old objects may be.
    pub fn looks_for_objects(&self) -> bool {
        self.barrier == Barrier::Cards
    }

    /// No root is remembered: all young objects are gone.
    pub fn forget_roots(&mut self) {
        self.memory.set_cell(GLOBALS, 0);
        self.memory.set_cell(TABLES, 0);
        self.segments = false;
    }

    /// A full collection has looked at everything and moved what it liked: nothing is remembered. Objects are armed anew as they are
    /// traced, by [`armed_bits`](Self::armed_bits) and [`arm_slot`](Self::arm_slot).
    pub fn forget(&mut self) {
        self.flush();
        for entry in std::mem::take(&mut self.log) {
            if self.barrier == Barrier::ObjectLog && entry & 1 != 0 {
                self.table.set_byte(entry - 1, 0);
            }
        }
        if self.barrier != Barrier::ObjectLog {
            self.table.clear(0..self.memory.committed().min(u32::MAX as u64) as u32);
        }
    }

    /// Whether the slot at `offset` of an old object is remembered.
    pub fn has(&self, object: u32, offset: u32) -> bool {
        match self.barrier {
            Barrier::ObjectLog => {
                let word = self.memory.header_word(&at(object));
                word & UNLOGGED == 0 || word & BY_CARDS != 0 && self.table.get(object + offset) != 0
            }
            Barrier::FieldLog => self.table.get(object + offset) == 0,
            _ => self.table.get(object + offset) != 0,
        }
    }

    /// Whether each of `edges` from what is old to what is young is remembered: [`GcHeap::check_edges`](gc_api::GcHeap::check_edges).
    ///
    /// # Errors
    /// The first that is not.
    pub fn check_edges(&self, edges: &[Edge], is_young: impl Fn(u32) -> bool) -> Result<(), MissedWrite> {
        let is_missed = |edge: &&Edge| {
            is_young(edge.to.raw())
                && match edge.from {
                    EdgeSource::Root(kind) => !self.has_roots(kind),
                    EdgeSource::Object { index, offset, .. } => !is_young(index) && !self.has(index, offset),
                }
        };
        let Some(edge) = edges.iter().find(is_missed) else { return Ok(()) };
        let slot = match edge.from {
            EdgeSource::Root(_) => None,
            EdgeSource::Object { index, offset, .. } => Some((index, offset)),
        };
        let what = format!("a reference from {:?} to a young object is not remembered", edge.from);
        Err(MissedWrite { slot, object: edge.to.raw(), what })
    }
}

/// Visits the slots of an object that are in a range.
fn slots_on(memory: &HeapMemory, shapes: &Shapes, object: u32, range: Range<u32>, visit: &mut impl FnMut(u32, u32)) {
    let shape = shapes.of(memory, &at(object));
    if let gc_api::Shape::Array { refs: true, .. } = shape {
        // The elements that are there, rather than all of them.
        let end = (object + REF_ARRAY_BASE + memory.array_length(&at(object)) * 4).min(range.end);
        let start = (object + REF_ARRAY_BASE).max(range.start);
        (start..end.max(start)).step_by(4).for_each(|slot| visit(object, slot - object));
    } else {
        shapes.scan(memory, &at(object), |offset| {
            if range.contains(&(object + offset)) {
                visit(object, offset);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mark::tests::tree;
    use crate::object::write_new;
    use crate::pages::PAGE;
    use gc_api::{EdgeAge, FIRST_INDEX, GcKind, NewObject, RefCell32, Shape};

    const OLD: u32 = FIRST_INDEX;
    const YOUNG: u32 = FIRST_INDEX + 16;

    /// What is drained: where the slots are.
    fn drained(remembered: &mut Remembered, shapes: &Shapes, large: &Large, marks: &Marks) -> Vec<u32> {
        let mut slots = Vec::new();
        let old = OLD..OLD + 2 * CARD;
        remembered.drain(shapes, large, (marks, &[old]), |object, offset| slots.push(object + offset));
        slots
    }

    #[test]
    fn a_write_to_an_old_object_is_remembered_once_and_a_young_one_is_not() {
        for (barrier, slots) in [
            (Barrier::ObjectLog, &[OLD + 8, OLD + 12][..]),
            (Barrier::FieldLog, &[OLD + 12]),
            (Barrier::Cards, &[OLD + 8, OLD + 12]),
        ] {
            let (memory, shapes) = tree(2);
            let (marks, large) = (Marks::new(&memory).unwrap(), Large::default());
            let mut remembered = Remembered::new(&memory, barrier).unwrap();
            // Young objects are not marked; cards do not tell them apart.
            remembered.note(YOUNG, 8);
            assert_eq!(drained(&mut remembered, &shapes, &large, &marks), [], "{barrier:?}");

            marks.mark(OLD);
            remembered.arm(&shapes, OLD);
            let edge = |offset| {
                let from = EdgeSource::Object { index: OLD, offset, age: EdgeAge::Changed };
                [Edge { from, to: at(YOUNG) }]
            };
            let missed = remembered.check_edges(&edge(12), |object| object == YOUNG).unwrap_err();
            assert_eq!((missed.slot, missed.object), (Some((OLD, 12)), YOUNG), "{barrier:?}");
            for _ in 0..3 {
                let (object, new) = (at(OLD), at(YOUNG));
                remembered.write_ref(WriteSite::Object { object: &object, offset: 12 }, Some(&new));
            }
            assert_eq!(memory.load_u32(OLD, 12), at(YOUNG).raw());
            assert_eq!(remembered.check_edges(&edge(12), |object| object == YOUNG), Ok(()), "{barrier:?}");
            assert_eq!(remembered.count(), u64::from(barrier != Barrier::Cards), "{barrier:?}");
            for expected in [slots, &[]] {
                assert_eq!(drained(&mut remembered, &shapes, &large, &marks), expected, "{barrier:?}");
            }
            // It is armed again.
            remembered.note(OLD, 12);
            assert_eq!(drained(&mut remembered, &shapes, &large, &marks), slots, "{barrier:?}");
        }
    }

    #[test]
    fn of_a_large_array_the_cards_are_remembered() {
        let (memory, shapes) = tree(2);
        let (marks, mut large) = (Marks::new(&memory).unwrap(), Large::default());
        let shape = Shape::array(2, true);
        let size = shape.size(4096);
        shapes.register(2, shape);
        let mut remembered = Remembered::new(&memory, Barrier::ObjectLog).unwrap();
        let array = FIRST_INDEX.next_multiple_of(PAGE) + PAGE;
        let new = NewObject { kind: GcKind::ARRAY, ty: 2, size, length: Some(4096), host: None };
        // As of one that becomes old where it is.
        write_new(&memory, array, &new, remembered.young_bits(true));
        large.add(array..array + (size as u32).next_multiple_of(PAGE), size);
        let slot = REF_ARRAY_BASE + 4 * 3000;
        remembered.note(array, slot);
        assert_eq!(drained(&mut remembered, &shapes, &large, &marks), [], "it is young");
        remembered.arm(&shapes, array);
        (0..3).for_each(|_| remembered.note(array, slot));
        assert_eq!(remembered.count(), 1);
        let slots = drained(&mut remembered, &shapes, &large, &marks);
        assert_eq!(slots.len() as u32, CARD / 4, "a card of slots");
        assert!(slots.contains(&(array + slot)), "{slots:?}");
        assert_eq!(drained(&mut remembered, &shapes, &large, &marks), []);
    }

    #[test]
    fn roots_are_remembered_by_kind() {
        let (memory, _) = tree(2);
        let mut remembered = Remembered::new(&memory, Barrier::ObjectLog).unwrap();
        let has = |remembered: &Remembered| RootKind::ALL.map(|kind| remembered.has_roots(kind));
        let always = has(&remembered);
        assert!(remembered.has_roots(RootKind::Stack) && remembered.has_roots(RootKind::Host));
        for (kind, root) in [
            (CellKind::Global, RootKind::Global),
            (CellKind::Table, RootKind::Table),
            (CellKind::Segment, RootKind::Segment),
        ] {
            let (cell, new) = (RefCell32::null(), at(YOUNG));
            assert!(!remembered.has_roots(root));
            remembered.write_ref(WriteSite::Cell { kind, cell: &cell }, Some(&new));
            assert!(remembered.has_roots(root), "{kind:?}");
            remembered.forget_roots();
            assert_eq!(has(&remembered), always, "{kind:?}");
        }
    }
}
