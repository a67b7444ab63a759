//! The compiled barriers.

use crate::counts::{ENROLLED, NEW, ONE, STICKY};
use gc_api::ir::{InstBuilder, Value, condcodes::IntCC, types::I32};
use gc_api::{
    AccessSite, AllocSite, BarrierNeeds, COLLECTOR_MASK, Cell, Emitter, Freshness, GcCompiler, Likelihood, Slot, SlowOp,
};

/// Next entry of the activations table's chunk.
pub const TABLE_NEXT: Cell = Cell::own(0);
/// End of the activations table's chunk.
pub const TABLE_LIMIT: Cell = Cell::own(1);
/// Next entry of the buffer of dead objects.
pub const DEAD_NEXT: Cell = Cell::own(2);
/// End of the buffer of dead objects.
pub const DEAD_LIMIT: Cell = Cell::own(3);

/// Enrols an object, whose header says so already, when the activations table's chunk is full.
pub const ENROL: SlowOp = SlowOp(0);
/// Frees an object, and those in the buffer of dead objects, which is full.
pub const BURY: SlowOp = SlowOp(1);

/// The compiler's half of `drc`.
#[derive(Debug)]
pub struct DrcCompiler;

impl GcCompiler for DrcCompiler {
    fn needs(&self) -> BarrierNeeds {
        BarrierNeeds { read: true, write: true, init: false, bulk_write: true, bulk_init: true, poll: false }
    }

    /// ```text
    /// alloc(site): inline bump allocation; header bits NEW, count 0
    /// ```
    fn alloc(&self, e: &mut Emitter<'_, '_>, object: &AllocSite) -> Value {
        e.bump_alloc(object, NEW)
    }

    /// ```text
    /// read(site):
    ///   v = load.i32 slot
    ///   if v is an object:
    ///     h = load.i32 header(v)
    ///     if h & (NEW | ENROLLED) == 0:
    ///       store.i32 h | ENROLLED, header(v)
    ///       push v onto the activations table
    /// ```
    fn read(&self, e: &mut Emitter<'_, '_>, site: &AccessSite) -> Value {
        let value = e.load(site);
        // A full table may lead to a collection, before the engine has seen this value.
        e.declare_reference(value);
        e.if_object(value, site.old, |e| {
            let word = e.load_header_word(value, false);
            let covered = e.b.ins().band_imm_s(word, (NEW | ENROLLED) as i64);
            let uncovered = e.b.ins().icmp_imm_s(IntCC::Equal, covered, 0);
            e.if_nonzero(uncovered, Likelihood::Common, |e| {
                let enrolled = e.b.ins().bor_imm_s(word, ENROLLED as i64);
                e.store_header_word(value, enrolled);
                e.push(TABLE_NEXT, TABLE_LIMIT, value, ENROL);
            });
        });
        value
    }

    /// ```text
    /// write(site, new):
    ///   if the slot belongs to an object:
    ///     hb = load.i32 header(object)             ; traps on null
    ///     if hb & NEW: store.i32 new, slot; done   ; a new object's fields are not counted
    ///   increment(new)                             ; before the decrement: they may be the same object
    ///   old = load.i32 slot                        ; after the increment, which may collect
    ///   store.i32 new, slot
    ///   decrement(old)
    /// ```
    fn write(&self, e: &mut Emitter<'_, '_>, site: &AccessSite, new: Value) {
        let object = match site.slot {
            Slot::Field { object, .. } => object,
            Slot::Element { array, .. } => array,
            Slot::Global { .. } | Slot::Table { .. } => return counted_store(e, site, new),
        };
        if site.freshness == Freshness::Newest {
            return e.store(site, new);
        }
        let word = e.load_header_word(object, site.null_check);
        let site = &AccessSite { null_check: false, ..*site };
        let is_new = e.b.ins().band_imm_s(word, NEW as i64);
        let plain = e.b.create_block();
        let counted = e.b.create_block();
        let done = e.b.create_block();
        e.b.ins().brif(is_new, plain, &[], counted, &[]);

        e.b.seal_block(plain);
        e.b.switch_to_block(plain);
        e.store(site, new);
        e.b.ins().jump(done, &[]);

        e.b.seal_block(counted);
        e.b.switch_to_block(counted);
        counted_store(e, site, new);
        e.b.ins().jump(done, &[]);

        e.b.seal_block(done);
        e.b.switch_to_block(done);
    }
}

/// A store into a slot whose contents are counted.
fn counted_store(e: &mut Emitter<'_, '_>, site: &AccessSite, new: Value) {
    e.if_object(new, site.new, |e| increment(e, new));
    let old = site.old.object.then(|| e.load(site));
    e.store(site, new);
    if let Some(old) = old {
        e.if_object(old, site.old, |e| decrement(e, old));
    }
}

/// ```text
/// increment(new):
///   h = load.i32 header(new)
///   if h & STICKY == 0:
///     first = h & (NEW | ENROLLED) == NEW        ; a new object enters something older
///     store.i32 (h + ONE) | first, header(new)   ; ENROLLED is bit 0
///     if first: push new onto the activations table
/// ```
fn increment(e: &mut Emitter<'_, '_>, new: Value) {
    let word = e.load_header_word(new, false);
    let sticky = e.b.ins().band_imm_s(word, STICKY as i64);
    let counts = e.b.ins().icmp_imm_s(IntCC::Equal, sticky, 0);
    e.if_nonzero(counts, Likelihood::Common, |e| {
        let covered = e.b.ins().band_imm_s(word, (NEW | ENROLLED) as i64);
        let first = e.b.ins().icmp_imm_s(IntCC::Equal, covered, NEW as i64);
        let counted = e.b.ins().iadd_imm_s(word, ONE as i64);
        let enrolled = e.b.ins().uextend(I32, first);
        let counted = e.b.ins().bor(counted, enrolled);
        e.store_header_word(new, counted);
        e.if_nonzero(first, Likelihood::Common, |e| e.push(TABLE_NEXT, TABLE_LIMIT, new, ENROL));
    });
}

/// ```text
/// decrement(old):
///   h = load.i32 header(old)
///   if h & STICKY == 0:
///     h = h - ONE
///     store.i32 h, header(old)
///     if h & COLLECTOR_MASK == 0: push old onto the dead ; neither counted, enrolled nor new
/// ```
fn decrement(e: &mut Emitter<'_, '_>, old: Value) {
    let word = e.load_header_word(old, false);
    let sticky = e.b.ins().band_imm_s(word, STICKY as i64);
    let counts = e.b.ins().icmp_imm_s(IntCC::Equal, sticky, 0);
    e.if_nonzero(counts, Likelihood::Common, |e| {
        let counted = e.b.ins().iadd_imm_s(word, -(ONE as i64));
        e.store_header_word(old, counted);
        let bits = e.b.ins().band_imm_s(counted, COLLECTOR_MASK as i64);
        let dead = e.b.ins().icmp_imm_s(IntCC::Equal, bits, 0);
        e.if_nonzero(dead, Likelihood::Rare, |e| e.push(DEAD_NEXT, DEAD_LIMIT, old, BURY));
    });
}

const _: () = assert!(ENROLLED == 1, "`increment` sets it from a comparison's result");
