//! Write barriers: what compiled code does beside a store, by name.
//!
//! A collector's [`GcCompiler`](gc_api::GcCompiler) names one of these; what the host does in the same case is in
//! [`Remembered`](crate::Remembered). A store into an object that was just allocated needs none, nor does one of null or an `i31`, where that is
//! known when it is compiled; except where the old value matters (`Satb`, `Count`).
//!
//! Globals and tables are remembered as a whole: a store sets a word that says so.
//!
//! What the barriers cost beside each other: S. M. Blackburn and A. L. Hosking, *Barriers: friend or foe?*, ISMM 2004; X. Yang,
//! S. M. Blackburn, D. Frampton and A. L. Hosking, *Barriers reconsidered, friendlier still!*, ISMM 2012.

use gc_api::ir::{InstBuilder, Value, condcodes::IntCC, types::I8, types::I32, types::I64};
use gc_api::{
    AccessSite, BarrierNeeds, COLLECTOR_BITS, COLLECTOR_MASK, Cell, Emitter, Freshness, Likelihood, Region, Slot,
    SlowOp,
};

/// Next entry of the log.
pub const LOG_NEXT: Cell = Cell::own(40);
/// End of the log.
pub const LOG_LIMIT: Cell = Cell::own(41);
/// Distance from the heap's base to the side table of the barrier, two's complement.
pub const TABLE: Cell = Cell::own(42);
/// Not 0 since a global was written to.
pub const GLOBALS: Cell = Cell::own(43);
/// Not 0 since a table was written to.
pub const TABLES: Cell = Cell::own(44);
/// Not 0 while a snapshot is being traced.
pub const MARKING: Cell = Cell::own(45);

/// The log is full: its entries are to be taken out, and that in the first argument to be added.
pub const LOG_FULL: SlowOp = SlowOp(u32::MAX);

/// Header bit of an object that is to be logged when it is written to: it is old, and is not logged.
pub const UNLOGGED: u32 = 1 << (COLLECTOR_BITS - 2);
/// Header bit of an array that is logged by [cards](CARD_SHIFT): its `UNLOGGED` stays.
pub const BY_CARDS: u32 = 1 << (COLLECTOR_BITS - 3);
/// Bytes of a card as a power of two.
pub const CARD_SHIFT: u8 = 9;
/// What `Count` adds to a header for each reference to the object.
const ONE: u32 = 1;

/// A barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barrier {
    /// Nothing.
    None,
    /// IF the object is old and not logged THEN log it. Large arrays are logged by cards.
    ObjectLog,
    /// IF the slot is in an old object and not logged THEN log it.
    FieldLog,
    /// Mark the card that the slot is on.
    Cards,
    /// IF a snapshot is being traced AND the slot held an object THEN log that object. T. Yuasa, *Real-time garbage collection on
    /// general-purpose machines*, JSS 1990.
    Satb,
    /// Count the references to objects in their headers.
    Count,
}

impl Barrier {
    /// Every barrier, with its name.
    pub const ALL: [(&'static str, Barrier); 6] = [
        ("none", Barrier::None),
        ("object", Barrier::ObjectLog),
        ("field", Barrier::FieldLog),
        ("card", Barrier::Cards),
        ("satb", Barrier::Satb),
        ("count", Barrier::Count),
    ];

    /// The hooks that it needs.
    pub fn needs(self) -> BarrierNeeds {
        let writes = self != Barrier::None;
        let counts = self == Barrier::Count;
        BarrierNeeds { write: writes, bulk_write: writes, init: counts, bulk_init: counts, ..BarrierNeeds::default() }
    }

    /// Whether a store that is known to be of null or an `i31` needs it.
    fn looks_at_old(self) -> bool {
        matches!(self, Barrier::Satb | Barrier::Count)
    }

    /// Emits the store of `new`, with the barrier.
    pub fn write(self, e: &mut Emitter<'_, '_>, site: &AccessSite, new: Value) {
        let fresh = site.freshness == Freshness::Newest && self != Barrier::Count;
        if self == Barrier::None || fresh || !(site.new.object || self.looks_at_old()) {
            return e.store(site, new);
        }
        match (self, site.slot) {
            (Barrier::Satb, _) => satb(e, site, new),
            (Barrier::Count, _) => count(e, site, new),
            (_, Slot::Global { .. }) => whole(e, site, new, GLOBALS),
            (_, Slot::Table { .. }) => whole(e, site, new, TABLES),
            (Barrier::ObjectLog, Slot::Field { object, .. }) => object_log(e, site, new, object, None),
            (Barrier::ObjectLog, Slot::Element { array, offset }) => object_log(e, site, new, array, Some(offset)),
            (Barrier::FieldLog, _) => field_log(e, site, new),
            (_, _) => card(e, site, new),
        }
    }

    /// Emits the first store into a slot of a new object, where [`needs`](Self::needs) says that it needs more than the store.
    pub fn init(self, e: &mut Emitter<'_, '_>, site: &AccessSite, new: Value) {
        if self == Barrier::Count {
            e.if_object(new, site.new, |e| add_count(e, new, ONE as i64));
        }
        e.store(site, new);
    }
}

/// ```text
/// write(global or table, new):
///   store.i64 1, cell[GLOBALS or TABLES]
///   store.i32 new, slot
/// ```
fn whole(e: &mut Emitter<'_, '_>, site: &AccessSite, new: Value, cell: Cell) {
    let one = e.b.ins().iconst(I64, 1);
    e.store_cell(cell, one);
    e.store(site, new);
}

/// ```text
/// write(object, new):                           write(array, offset, new):
///   w = load.i32 header(object)                   w = load.i32 header(array)
///   if w & UNLOGGED:                              if w & UNLOGGED:
///     store.i32 w & ~UNLOGGED, header(object)       if w & BY_CARDS:
///     push object                                     mark the slot's card, and push slot + 1 if it was not
///   store.i32 new, slot                             else as for a field
///                                                 store.i32 new, slot
/// ```
fn object_log(e: &mut Emitter<'_, '_>, site: &AccessSite, new: Value, object: Value, element: Option<Value>) {
    let word = e.load_header_word(object, site.null_check);
    let unlogged = e.b.ins().band_imm_s(word, UNLOGGED as i64);
    let whole = |e: &mut Emitter<'_, '_>| {
        let logged = e.b.ins().band_imm_s(word, !(UNLOGGED as i64));
        e.store_header_word(object, logged);
        e.push(LOG_NEXT, LOG_LIMIT, object, LOG_FULL);
    };
    e.if_nonzero(unlogged, Likelihood::Rare, |e| match element {
        None => whole(e),
        Some(offset) => {
            let by_cards = e.b.ins().band_imm_s(word, BY_CARDS as i64);
            let is_whole = e.b.ins().icmp_imm_s(IntCC::Equal, by_cards, 0);
            e.if_nonzero(is_whole, Likelihood::Common, whole);
            e.if_nonzero(by_cards, Likelihood::Common, |e| {
                let slot = e.b.ins().iadd(object, offset);
                let card = card_of(e, slot);
                let flags = Region::Side.flags(e.b.func);
                let marked = e.b.ins().uload8(I32, flags, card, 0);
                let unmarked = e.b.ins().icmp_imm_s(IntCC::Equal, marked, 0);
                e.if_nonzero(unmarked, Likelihood::Rare, |e| {
                    let one = e.b.ins().iconst(I8, 1);
                    e.b.ins().store(flags, one, card, 0);
                    let entry = e.b.ins().iadd_imm_s(slot, 1);
                    e.push(LOG_NEXT, LOG_LIMIT, entry, LOG_FULL);
                });
            });
        }
    });
    e.store(&AccessSite { null_check: false, ..*site }, new);
}

/// The address of the byte of the card that the slot at index `slot` is on.
fn card_of(e: &mut Emitter<'_, '_>, slot: Value) -> Value {
    let table = e.load_cell(TABLE);
    let base = e.heap_base();
    let table = e.b.ins().iadd(base, table);
    let card = e.b.ins().ushr_imm_u(slot, CARD_SHIFT as i64);
    let card = e.b.ins().uextend(I64, card);
    e.b.ins().iadd(table, card)
}

/// The index of the slot of an object.
fn slot_index(e: &mut Emitter<'_, '_>, site: &AccessSite) -> Value {
    match site.slot {
        Slot::Field { object, offset } => e.b.ins().iadd_imm_s(object, offset as i64),
        Slot::Element { array, offset } => e.b.ins().iadd(array, offset),
        Slot::Global { .. } | Slot::Table { .. } => unreachable!("no slot of an object"),
    }
}

/// ```text
/// write(object, offset, new):
///   store.i32 new, slot                   ; traps on null
///   s = object + offset
///   store.i8 1, cards[s >> 9]
/// ```
fn card(e: &mut Emitter<'_, '_>, site: &AccessSite, new: Value) {
    e.store(site, new);
    let slot = slot_index(e, site);
    let card = card_of(e, slot);
    let flags = Region::Side.flags(e.b.func);
    let one = e.b.ins().iconst(I8, 1);
    e.b.ins().store(flags, one, card, 0);
}

/// ```text
/// write(object, offset, new):
///   store.i32 new, slot                   ; traps on null
///   s = object + offset
///   b = load.i8 unlogged[s >> 5]
///   if b & (1 << (s >> 2 & 7)):
///     clear that bit
///     push s
/// ```
fn field_log(e: &mut Emitter<'_, '_>, site: &AccessSite, new: Value) {
    e.store(site, new);
    let slot = slot_index(e, site);
    let table = e.load_cell(TABLE);
    let base = e.heap_base();
    let table = e.b.ins().iadd(base, table);
    let byte = e.b.ins().ushr_imm_u(slot, 5);
    let byte = e.b.ins().uextend(I64, byte);
    let place = e.b.ins().iadd(table, byte);
    let flags = Region::Side.flags(e.b.func);
    let bits = e.b.ins().uload8(I32, flags, place, 0);
    let number = e.b.ins().ushr_imm_u(slot, 2);
    let number = e.b.ins().band_imm_s(number, 7);
    let one = e.b.ins().iconst(I32, 1);
    let bit = e.b.ins().ishl(one, number);
    let unlogged = e.b.ins().band(bits, bit);
    e.if_nonzero(unlogged, Likelihood::Rare, |e| {
        let logged = e.b.ins().bxor(bits, bit);
        e.b.ins().istore8(flags, logged, place, 0);
        e.push(LOG_NEXT, LOG_LIMIT, slot, LOG_FULL);
    });
}

/// ```text
/// write(slot, new):
///   if cell[MARKING] != 0:
///     old = load.i32 slot                 ; traps on null
///     if old is an object: push old
///   store.i32 new, slot                   ; traps on null
/// ```
fn satb(e: &mut Emitter<'_, '_>, site: &AccessSite, new: Value) {
    if site.old.object {
        let marking = e.load_cell(MARKING);
        e.if_nonzero(marking, Likelihood::Rare, |e| {
            let old = e.load(site);
            e.if_object(old, site.old, |e| e.push(LOG_NEXT, LOG_LIMIT, old, LOG_FULL));
        });
    }
    e.store(site, new);
}

/// ```text
/// write(slot, new):
///   old = load.i32 slot                   ; traps on null
///   store.i32 new, slot
///   if new is an object: header(new) += 1
///   if old is an object: header(old) -= 1
/// ```
fn count(e: &mut Emitter<'_, '_>, site: &AccessSite, new: Value) {
    let old = e.load(site);
    e.store(&AccessSite { null_check: false, ..*site }, new);
    e.if_object(new, site.new, |e| add_count(e, new, ONE as i64));
    e.if_object(old, site.old, |e| add_count(e, old, -(ONE as i64)));
}

fn add_count(e: &mut Emitter<'_, '_>, object: Value, by: i64) {
    let word = e.load_header_word(object, false);
    let counted = e.b.ins().iadd_imm_s(word, by);
    // A count that passes the ends of its range starts again, and leaves the object's kind alone.
    let changed = e.b.ins().bxor(word, counted);
    let changed = e.b.ins().band_imm_s(changed, COLLECTOR_MASK as i64);
    let word = e.b.ins().bxor(word, changed);
    e.store_header_word(object, word);
}
