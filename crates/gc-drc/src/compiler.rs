//! The compiled barriers.
//!
//! What each way of counting needs of them:
//!
//! | counting | `read` | `write` to an object | `write` to a global or table | `init` |
//! |---|---|---|---|---|
//! | `coalesced` | nothing | logs an old object, once a round | counts | nothing |
//! | `deferred` | enrols | counts, in an old object | counts | nothing |
//! | `eager` | enrols | counts | counts | counts |

use crate::counts::{ALIVE, CANDIDATE, Counts, ENROLLED, LOGGED, NEW, ONE};
use crate::log::{CHUNK_ELEMENTS_LOG2, CHUNK_SHIFT, LARGE_ARRAY};
use crate::{Counting, Cycles, Options};
use gc_api::ir::{InstBuilder, Value, condcodes::IntCC, types::I32, types::I64};
use gc_api::{
    ARRAY_LENGTH_OFFSET, AccessSite, AllocSite, BarrierNeeds, Cell, Emitter, Freshness, GcCompiler, Likelihood,
    REF_ARRAY_BASE, Region, Slot, SlowOp,
};

/// Next entry of the table's buffer.
pub const TABLE_NEXT: Cell = Cell::own(0);
/// End of the table's buffer.
pub const TABLE_LIMIT: Cell = Cell::own(1);
/// Next entry of the buffer of dead objects.
pub const DEAD_NEXT: Cell = Cell::own(2);
/// End of the buffer of dead objects.
pub const DEAD_LIMIT: Cell = Cell::own(3);
/// Next entry of the buffer of candidates.
pub const CANDIDATES_NEXT: Cell = Cell::own(4);
/// End of the buffer of candidates.
pub const CANDIDATES_LIMIT: Cell = Cell::own(5);
/// Distance from the heap's base to the bytes that say which chunks of large arrays are logged, two's complement.
pub const CHUNKS: Cell = Cell::own(6);
/// Increments that compiled code did, where it counts them.
pub const INCREMENTS: Cell = Cell::own(7);
/// Decrements that compiled code did, where it counts them.
pub const DECREMENTS: Cell = Cell::own(8);
/// Loads of references that had a barrier, where compiled code counts them.
pub const READS: Cell = Cell::own(9);

/// Enrols an object, whose header says so already, when the table's buffer is full.
pub const ENROL: SlowOp = SlowOp(0);
/// Frees an object, and those in the buffer of dead objects, which is full.
pub const BURY: SlowOp = SlowOp(1);
/// Adds an object, whose header says so already, to the candidates when their buffer is full.
pub const SUSPECT: SlowOp = SlowOp(2);
/// Logs an object, or the chunk of a large array that has a slot at the given offset, unless it is new or logged.
pub const LOG: SlowOp = SlowOp(3);
/// Makes room in the table's buffer.
pub const FLUSH: SlowOp = SlowOp(4);
/// One reference more to an object; the barrier is out of line.
pub const INCREMENT: SlowOp = SlowOp(5);
/// One reference less to an object; the barrier is out of line.
pub const DECREMENT: SlowOp = SlowOp(6);
/// An object is loaded; the barrier is out of line.
pub const COVER: SlowOp = SlowOp(7);

/// The compiler's half of `drc`.
#[derive(Debug)]
pub struct DrcCompiler {
    counting: Counting,
    counts: Counts,
    /// Whether what is decremented and lives may be the root of a garbage cycle that somebody looks for.
    suspects: bool,
    inline: bool,
}

impl DrcCompiler {
    /// The barriers for these options.
    pub fn new(options: &Options) -> DrcCompiler {
        let Options { counting, counts, inline, .. } = *options;
        DrcCompiler { counting, counts, suspects: options.cycles == Cycles::Trial, inline }
    }

    /// Emits `then` unless the count in `word` sticks.
    fn unless_sticky(&self, e: &mut Emitter<'_, '_>, word: Value, then: impl FnOnce(&mut Emitter<'_, '_>)) {
        let sticky = e.b.ins().band_imm_s(word, self.counts.sticky as i64);
        let counts = e.b.ins().icmp_imm_s(IntCC::Equal, sticky, 0);
        e.if_nonzero(counts, Likelihood::Common, then);
    }

    /// ```text
    /// increment(new):
    ///   h = load.i32 header(new)
    ///   if h & STICKY == 0:
    ///     first = h & (NEW | ENROLLED) == NEW        ; a new object enters something older
    ///     store.i32 (h + ONE) | first, header(new)   ; ENROLLED is bit 0
    ///     if first: push new onto the table
    /// ```
    fn increment(&self, e: &mut Emitter<'_, '_>, new: Value) {
        if !self.inline {
            return call(e, INCREMENT, new);
        }
        e.count(INCREMENTS);
        let word = e.load_header_word(new, false);
        self.unless_sticky(e, word, |e| {
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
    ///     if h & ALIVE == 0: push old onto the dead   ; neither counted, enrolled nor new
    ///     else if h & (CANDIDATE | NEW) == 0: set it, and push old onto the candidates
    /// ```
    ///
    /// Where counting is coalesced, the stack holds what no barrier has seen: what seems dead is enrolled instead.
    fn decrement(&self, e: &mut Emitter<'_, '_>, old: Value) {
        if !self.inline {
            return call(e, DECREMENT, old);
        }
        e.count(DECREMENTS);
        let word = e.load_header_word(old, false);
        self.unless_sticky(e, word, |e| {
            let counted = e.b.ins().iadd_imm_s(word, -(ONE as i64));
            e.store_header_word(old, counted);
            let alive = e.b.ins().band_imm_s(counted, ALIVE as i64);
            let dead = e.b.ins().icmp_imm_s(IntCC::Equal, alive, 0);
            match self.counting {
                Counting::Coalesced => e.if_nonzero(dead, Likelihood::Rare, |e| enrol(e, old, counted)),
                _ => e.if_nonzero(dead, Likelihood::Rare, |e| e.push(DEAD_NEXT, DEAD_LIMIT, old, BURY)),
            }
            if self.suspects {
                let known = e.b.ins().band_imm_s(counted, (CANDIDATE | NEW) as i64);
                let unknown = e.b.ins().icmp_imm_s(IntCC::Equal, known, 0);
                let zero = e.b.ins().iconst(gc_api::ir::types::I8, 0);
                let suspect = e.b.ins().select(dead, zero, unknown);
                e.if_nonzero(suspect, Likelihood::Common, |e| {
                    // What was just enrolled is no candidate, so that the word is still the header's.
                    let suspected = e.b.ins().bor_imm_s(counted, CANDIDATE as i64);
                    e.store_header_word(old, suspected);
                    e.push(CANDIDATES_NEXT, CANDIDATES_LIMIT, old, SUSPECT);
                });
            }
        });
    }

    /// A store into a slot whose contents are counted.
    fn counted_store(&self, e: &mut Emitter<'_, '_>, site: &AccessSite, new: Value) {
        e.if_object(new, site.new, |e| self.increment(e, new));
        let old = site.old.object.then(|| e.load(site));
        e.store(site, new);
        if let Some(old) = old {
            e.if_object(old, site.old, |e| self.decrement(e, old));
        }
    }

    /// ```text
    /// log(object, offset):
    ///   hb = load.i32 header(object)                 ; traps on null
    ///   if hb & (NEW | LOGGED) == 0:
    ///     if it is an array of LARGE_ARRAY elements or more: done if the chunk's byte is set
    ///     call LOG(object, offset)
    /// ```
    fn log(&self, e: &mut Emitter<'_, '_>, object: Value, offset: Option<Value>, null_check: bool) {
        let word = e.load_header_word(object, null_check);
        if !self.inline {
            return call_log(e, object, offset);
        }
        let known = e.b.ins().band_imm_s(word, (NEW | LOGGED) as i64);
        let unlogged = e.b.ins().icmp_imm_s(IntCC::Equal, known, 0);
        e.if_nonzero(unlogged, Likelihood::Rare, |e| match offset {
            None => call_log(e, object, None),
            Some(offset) => {
                let unlogged = chunk_is_unlogged(e, object, offset);
                e.if_nonzero(unlogged, Likelihood::Rare, |e| call_log(e, object, Some(offset)));
            }
        });
    }
}

impl GcCompiler for DrcCompiler {
    fn needs(&self) -> BarrierNeeds {
        let counted = BarrierNeeds { write: true, bulk_write: true, ..BarrierNeeds::default() };
        match self.counting {
            Counting::Coalesced => counted,
            Counting::Deferred => BarrierNeeds { read: true, bulk_init: true, ..counted },
            Counting::Eager => BarrierNeeds { read: true, init: true, bulk_init: true, ..counted },
        }
    }

    /// ```text
    /// alloc(site): inline bump allocation; header bits NEW, count 0
    /// ```
    ///
    /// Where counting is eager, room in the table is made before, and the object is enrolled.
    fn alloc(&self, e: &mut Emitter<'_, '_>, object: &AllocSite) -> Value {
        if self.counting != Counting::Eager {
            return e.bump_alloc(object, NEW);
        }
        let next = e.load_cell(TABLE_NEXT);
        let limit = e.load_cell(TABLE_LIMIT);
        let full = e.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, next, limit);
        e.if_nonzero(full, Likelihood::Rare, |e| {
            e.slow_path(FLUSH, &[]);
        });
        let new = e.bump_alloc(object, NEW);
        let word = e.load_header_word(new, false);
        let enrolled = e.b.ins().band_imm_s(word, ENROLLED as i64);
        let unknown = e.b.ins().icmp_imm_s(IntCC::Equal, enrolled, 0);
        e.if_nonzero(unknown, Likelihood::Common, |e| enrol(e, new, word));
        new
    }

    /// ```text
    /// read(site):
    ///   v = load.i32 slot
    ///   if v is an object:
    ///     h = load.i32 header(v)
    ///     if h & (NEW | ENROLLED) == 0:
    ///       store.i32 h | ENROLLED, header(v)
    ///       push v onto the table
    /// ```
    fn read(&self, e: &mut Emitter<'_, '_>, site: &AccessSite) -> Value {
        let value = e.load(site);
        // A full table may lead to a collection, before the engine has seen this value.
        e.declare_reference(value);
        e.if_object(value, site.old, |e| {
            if !self.inline {
                return call(e, COVER, value);
            }
            e.count(READS);
            let word = e.load_header_word(value, false);
            let covered = e.b.ins().band_imm_s(word, (NEW | ENROLLED) as i64);
            let uncovered = e.b.ins().icmp_imm_s(IntCC::Equal, covered, 0);
            e.if_nonzero(uncovered, Likelihood::Common, |e| enrol(e, value, word));
        });
        value
    }

    /// ```text
    /// write(site, new), coalesced:           deferred:
    ///   if the slot belongs to an object:      if the slot belongs to an object:
    ///     log(object); store.i32 new, slot       hb = load.i32 header(object)         ; traps on null
    ///   else as deferred                         if hb & NEW: store.i32 new, slot; done
    ///                                          increment(new)             ; before the decrement: they may be the same
    ///                                          old = load.i32 slot        ; after the increment, which may collect
    ///                                          store.i32 new, slot
    ///                                          decrement(old)
    /// ```
    fn write(&self, e: &mut Emitter<'_, '_>, site: &AccessSite, new: Value) {
        let (object, offset) = match site.slot {
            Slot::Field { object, .. } => (object, None),
            Slot::Element { array, offset } => (array, Some(offset)),
            Slot::Global { .. } | Slot::Table { .. } => return self.counted_store(e, site, new),
        };
        let accessed = &AccessSite { null_check: false, ..*site };
        match self.counting {
            Counting::Coalesced | Counting::Deferred if site.freshness == Freshness::Newest => e.store(site, new),
            Counting::Coalesced => {
                self.log(e, object, offset, site.null_check);
                e.store(accessed, new);
            }
            Counting::Eager => {
                e.load_header_word(object, site.null_check);
                self.counted_store(e, accessed, new);
            }
            Counting::Deferred => {
                let word = e.load_header_word(object, site.null_check);
                let is_new = e.b.ins().band_imm_s(word, NEW as i64);
                let plain = e.b.create_block();
                let counted = e.b.create_block();
                let done = e.b.create_block();
                e.b.ins().brif(is_new, plain, &[], counted, &[]);

                e.b.seal_block(plain);
                e.b.switch_to_block(plain);
                e.store(accessed, new);
                e.b.ins().jump(done, &[]);

                e.b.seal_block(counted);
                e.b.switch_to_block(counted);
                self.counted_store(e, accessed, new);
                e.b.ins().jump(done, &[]);

                e.b.seal_block(done);
                e.b.switch_to_block(done);
            }
        }
    }

    /// ```text
    /// init(site, new), eager:
    ///   if new is an object: increment(new)
    ///   store.i32 new, slot
    /// ```
    fn init(&self, e: &mut Emitter<'_, '_>, site: &AccessSite, new: Value) {
        e.if_object(new, site.new, |e| init_increment(self, e, new));
        e.store(site, new);
    }
}

/// An increment that never ends in a safepoint, since there is an object whose fields are not all written.
fn init_increment(compiler: &DrcCompiler, e: &mut Emitter<'_, '_>, new: Value) {
    e.count(INCREMENTS);
    let word = e.load_header_word(new, false);
    // All objects are enrolled from the start, so that this is only a count.
    compiler.unless_sticky(e, word, |e| {
        let counted = e.b.ins().iadd_imm_s(word, ONE as i64);
        e.store_header_word(new, counted);
    });
}

/// Enrols `object`, with the header word `word`.
fn enrol(e: &mut Emitter<'_, '_>, object: Value, word: Value) {
    let enrolled = e.b.ins().bor_imm_s(word, ENROLLED as i64);
    e.store_header_word(object, enrolled);
    e.push(TABLE_NEXT, TABLE_LIMIT, object, ENROL);
}

fn call(e: &mut Emitter<'_, '_>, op: SlowOp, object: Value) {
    let wide = e.b.ins().uextend(I64, object);
    e.slow_path(op, &[wide]);
}

fn call_log(e: &mut Emitter<'_, '_>, object: Value, offset: Option<Value>) {
    let object = e.b.ins().uextend(I64, object);
    let offset = match offset {
        Some(offset) => e.b.ins().uextend(I64, offset),
        None => e.b.ins().iconst(I64, 0),
    };
    e.slow_path(LOG, &[object, offset]);
}

/// Whether the array `array`, which is neither new nor logged as a whole, is small, or is large and its chunk with the slot at
/// `offset` is not logged: an integer that is not zero. Chunks are those of [`crate::log::chunk`].
fn chunk_is_unlogged(e: &mut Emitter<'_, '_>, array: Value, offset: Value) -> Value {
    let address = e.address(array);
    let flags = Region::Header.flags(e.b.func);
    let length = e.b.ins().load(I32, flags, address, ARRAY_LENGTH_OFFSET as i32);
    let small = e.b.ins().icmp_imm_u(IntCC::UnsignedLessThan, length, LARGE_ARRAY as i64);
    let check = e.b.create_block();
    let done = e.b.create_block();
    let result = e.b.append_block_param(done, I32);
    let wide = e.b.ins().uextend(I32, small);
    e.b.ins().brif(small, done, &[gc_api::ir::BlockArg::Value(wide)], check, &[]);

    e.b.seal_block(check);
    e.b.switch_to_block(check);
    let bytes = e.b.ins().iadd_imm_s(offset, -(REF_ARRAY_BASE as i64));
    let chunk = e.b.ins().ushr_imm_u(bytes, CHUNK_ELEMENTS_LOG2 as i64 + 2);
    let chunks = e.b.ins().ushr_imm_u(length, CHUNK_ELEMENTS_LOG2 as i64);
    let last = e.b.ins().iadd_imm_s(chunks, -1);
    let chunk = e.b.ins().umin(chunk, last);
    let bytes = e.b.ins().ishl_imm_u(chunk, CHUNK_ELEMENTS_LOG2 as i64 + 2);
    let start = e.b.ins().iadd(array, bytes);
    let start = e.b.ins().iadd_imm_s(start, REF_ARRAY_BASE as i64);
    let entry = e.b.ins().ushr_imm_u(start, CHUNK_SHIFT as i64);
    let entry = e.b.ins().uextend(I64, entry);
    let base = e.heap_base();
    let table = e.load_cell(CHUNKS);
    let table = e.b.ins().iadd(base, table);
    let place = e.b.ins().iadd(table, entry);
    let flags = Region::Side.flags(e.b.func);
    let logged = e.b.ins().uload8(I32, flags, place, 0);
    let unlogged = e.b.ins().bxor_imm_s(logged, 1);
    e.b.ins().jump(done, &[gc_api::ir::BlockArg::Value(unlogged)]);

    e.b.seal_block(done);
    e.b.switch_to_block(done);
    result
}

const _: () = assert!(ENROLLED == 1, "`increment` sets it from a comparison's result");
