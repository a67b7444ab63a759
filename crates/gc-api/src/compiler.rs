//! The compiler's half of a collector: it emits allocation and barriers into WebAssembly functions.
//!
//! A barrier sees the *site*, not an address: the object and the offset, or the global or table slot, and what is known
//! statically of the old and the new value. What [`GcCompiler::needs`] does not ask for costs nothing: the engine then
//! emits plain loads and stores, and one `memmove` for a bulk copy.
//!
//! The defaults, as pseudo-CLIF (`base` is the heap's base, `cell[...]` a word below it):
//!
//! ```text
//! alloc(size):                      read(site):                 write(site, new), init(site, new):
//!   p   = load.i64 cell[BUMP]         v = load.i32 slot           store.i32 new, slot
//!   q   = p + size
//!   if q > cell[LIMIT] goto slow
//!   store.i64 q, cell[BUMP]
//!   store.i64 header, base + p
//!   (store.i32 length, base + p + 8)
//! ```

use crate::{ARRAY_LENGTH_OFFSET, Cell, FIRST_INDEX, GUARD_BYTES, GcKind, SlowOp, TypeIndex, VMGcHeader};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{self, AliasRegionData, BlockArg, InstBuilder, MemFlagsData, TrapCode, Value};
use cranelift_frontend::FunctionBuilder;

/// Emits CLIF into WebAssembly code. Every method has a default: inline bump allocation, no barriers.
///
/// All methods are called at a point where every live reference is known to the stack maps, and may end the current
/// block: they leave the builder in the block where the program goes on.
pub trait GcCompiler: Send + Sync {
    /// What this collector needs. Constant for an engine.
    fn needs(&self) -> BarrierNeeds {
        BarrierNeeds::default()
    }

    /// Allocates an object with its header and length; the engine initialises the rest at once.
    fn alloc(&self, e: &mut Emitter<'_, '_>, object: &AllocSite) -> Value {
        e.bump_alloc(object, 0)
    }

    /// Loads a reference onto the stack. Called when [`BarrierNeeds::read`] says so, for values that can be objects.
    fn read(&self, e: &mut Emitter<'_, '_>, site: &AccessSite) -> Value {
        e.load(site)
    }

    /// Stores a reference over another. Called when [`BarrierNeeds::write`] says so.
    fn write(&self, e: &mut Emitter<'_, '_>, site: &AccessSite, new: Value) {
        e.store(site, new)
    }

    /// Stores a reference into a slot that holds nothing yet, in an object that [`AccessSite::freshness`] describes.
    /// Called when [`BarrierNeeds::init`] says so.
    fn init(&self, e: &mut Emitter<'_, '_>, site: &AccessSite, new: Value) {
        e.store(site, new)
    }

    /// Compares two references for identity (`ref.eq`): an `i32` of 0 or 1.
    fn ref_eq(&self, e: &mut Emitter<'_, '_>, a: Value, b: Value) -> Value {
        let same = e.b.ins().icmp(IntCC::Equal, a, b);
        e.b.ins().uextend(I32, same)
    }

    /// A safepoint poll at a loop header or function entry. Called when [`BarrierNeeds::poll`] says so.
    fn poll(&self, e: &mut Emitter<'_, '_>) {
        let _ = e;
    }
}

/// Which hooks a collector needs; the others are not called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BarrierNeeds {
    /// [`GcCompiler::read`] on loads from objects, globals and tables.
    pub read: bool,
    /// [`GcCompiler::write`] on stores.
    pub write: bool,
    /// [`GcCompiler::init`] on initialising stores.
    pub init: bool,
    /// [`GcHeap::write_refs`](crate::GcHeap::write_refs) on bulk copies and fills that overwrite.
    pub bulk_write: bool,
    /// [`GcHeap::write_refs`](crate::GcHeap::write_refs) on bulk copies that initialise a new array from slots.
    pub bulk_init: bool,
    /// [`GcCompiler::poll`] at loop headers.
    pub poll: bool,
}

/// What is allocated.
#[derive(Clone, Copy, Debug)]
pub struct AllocSite {
    /// Struct, array or exception.
    pub kind: GcKind,
    /// The canonical type.
    pub ty: TypeIndex,
    /// Its size.
    pub size: AllocSize,
}

/// How large an allocation is.
#[derive(Clone, Copy, Debug)]
pub enum AllocSize {
    /// So many bytes, header included, a multiple of 8.
    Fixed(u32),
    /// An array.
    Array {
        /// The length, an unsigned `i32`.
        length: Value,
        /// The length where it is constant.
        constant: Option<u32>,
        /// Offset of element 0.
        base: u32,
        /// Bytes of an element as a power of two.
        element_log2: u8,
    },
}

/// Bytes that an allocation takes.
#[derive(Clone, Copy)]
enum Size {
    Constant(u64),
    /// An `i64`.
    Dynamic(Value),
}

/// What is known of a reference statically.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticRef {
    /// It may be null.
    pub null: bool,
    /// It may be an `i31`.
    pub i31: bool,
    /// It may be an object.
    pub object: bool,
}

impl StaticRef {
    /// Nothing is known.
    pub const UNKNOWN: StaticRef = StaticRef { null: true, i31: true, object: true };
    /// It is null.
    pub const NULL: StaticRef = StaticRef { null: true, i31: false, object: false };
}

/// The slot of an access.
#[derive(Clone, Copy, Debug)]
pub enum Slot {
    /// A field of a struct or exception.
    Field {
        /// The object, an `i32`.
        object: Value,
        /// Bytes from its start.
        offset: u32,
    },
    /// An element of an array; the bounds have been checked.
    Element {
        /// The array, an `i32`.
        array: Value,
        /// Bytes from its start, an `i32`.
        offset: Value,
    },
    /// A global.
    Global {
        /// An address.
        address: Value,
        /// Bytes from there.
        offset: i32,
    },
    /// An element of a table; the bounds have been checked.
    Table {
        /// The slot's address.
        address: Value,
    },
}

/// What is known of the object that a slot belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It is the newest object, allocated just before, with no safepoint in between.
    Newest,
    /// Nothing is known.
    Unknown,
}

/// An access to a reference slot.
#[derive(Clone, Copy, Debug)]
pub struct AccessSite {
    /// Where.
    pub slot: Slot,
    /// What the slot holds before the access, from its declared type.
    pub old: StaticRef,
    /// What is stored, from the operand's type; for a load the same as `old`.
    pub new: StaticRef,
    /// How old the object is.
    pub freshness: Freshness,
    /// Whether the object may be null: then the first access to it traps.
    pub null_check: bool,
}

/// Disjoint parts of memory, for alias analysis: all accesses to one location use one region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Region {
    /// Headers and array lengths.
    Header = 1,
    /// Fields and elements.
    Data = 2,
    /// The heap's cells.
    Cells = 3,
    /// Side tables and the collector's buffers.
    Side = 4,
    /// The instance's and store's own records.
    Context = 5,
    /// Globals.
    Globals = 6,
    /// Elements of tables.
    Tables = 7,
    /// Linear memories.
    Memory = 8,
    /// References that are kept in the frame across calls.
    Stack = 9,
}

impl Region {
    /// Flags for an access that cannot trap.
    pub fn flags(self, func: &mut ir::Function) -> MemFlagsData {
        let description = format!("{self:?}").to_lowercase();
        let region =
            func.dfg.alias_regions.insert(AliasRegionData { user_id: self as u32, description: description.into() });
        MemFlagsData::trusted().with_alias_region(Some(region))
    }
}

/// The trap of an access through a null reference.
pub const TRAP_NULL_REFERENCE: TrapCode = TrapCode::unwrap_user(1);

/// What the engine lends an [`Emitter`].
pub trait EmitterHost {
    /// The heap's base, an `i64`.
    fn heap_base(&mut self, b: &mut FunctionBuilder<'_>) -> Value;
    /// Calls [`GcHeap::allocate`](crate::GcHeap::allocate), collecting and growing as needed; traps when nothing helps.
    fn slow_alloc(&mut self, b: &mut FunctionBuilder<'_>, object: &AllocSite) -> Value;
    /// Calls [`GcHeap::slow_path`](crate::GcHeap::slow_path) with up to four `i64`s; gives an `i64`.
    fn slow_path(&mut self, b: &mut FunctionBuilder<'_>, op: SlowOp, args: &[Value]) -> Value;
    /// Makes a value known to the stack maps: it may be a reference, and is kept, and updated, across calls.
    fn declare_reference(&mut self, b: &mut FunctionBuilder<'_>, value: Value);
    /// Whether to count objects that are allocated inline, in [`Cell::OBJECTS`].
    fn count_objects(&self) -> bool;
    /// Whether null accesses to objects are found by page fault, or need a compare and branch.
    fn null_faults(&self) -> bool;
    /// A header as an `i64`. The type's index in it need not be a constant of the code: code that is saved and loaded into
    /// another engine learns it then.
    fn header(&mut self, b: &mut FunctionBuilder<'_>, header: VMGcHeader) -> Value {
        b.ins().iconst(I64, header.to_u64() as i64)
    }
}

/// Emits code for a collector: the builder, and what every collector needs.
pub struct Emitter<'a, 'f> {
    /// The function being built.
    pub b: &'a mut FunctionBuilder<'f>,
    host: &'a mut dyn EmitterHost,
}

impl<'a, 'f> Emitter<'a, 'f> {
    /// An emitter at the builder's current position.
    pub fn new(b: &'a mut FunctionBuilder<'f>, host: &'a mut dyn EmitterHost) -> Self {
        Emitter { b, host }
    }

    /// The heap's base, an `i64`.
    pub fn heap_base(&mut self) -> Value {
        self.host.heap_base(self.b)
    }

    /// The address of the object `object` (an `i32`).
    pub fn address(&mut self, object: Value) -> Value {
        let base = self.heap_base();
        let index = self.b.ins().uextend(I64, object);
        self.b.ins().iadd(base, index)
    }

    /// Calls this collector's [`GcHeap::slow_path`](crate::GcHeap::slow_path).
    pub fn slow_path(&mut self, op: SlowOp, args: &[Value]) -> Value {
        self.host.slow_path(self.b, op, args)
    }

    /// A header as an `i64`. Emitted code must not contain a type's index in any other way: the engine may save code and load it
    /// into another engine, which numbers types differently.
    pub fn header(&mut self, header: VMGcHeader) -> Value {
        self.host.header(self.b, header)
    }

    /// Calls [`GcHeap::allocate`](crate::GcHeap::allocate).
    pub fn slow_alloc(&mut self, object: &AllocSite) -> Value {
        self.host.slow_alloc(self.b, object)
    }

    /// Makes a value known to the stack maps: it may be a reference, and is kept, and updated, across calls. To be called
    /// for what an access loads, before anything that may collect. What block parameters merge need not be declared.
    pub fn declare_reference(&mut self, value: Value) {
        self.host.declare_reference(self.b, value);
    }

    /// Loads a cell.
    pub fn load_cell(&mut self, cell: Cell) -> Value {
        let base = self.heap_base();
        let flags = Region::Cells.flags(self.b.func);
        self.b.ins().load(I64, flags, base, cell.offset())
    }

    /// Stores a cell.
    pub fn store_cell(&mut self, cell: Cell, value: Value) {
        let base = self.heap_base();
        let flags = Region::Cells.flags(self.b.func);
        self.b.ins().store(flags, value, base, cell.offset());
    }

    /// Adds one to a cell of the collector's, in programs that are compiled to count; nothing is emitted in others.
    pub fn count(&mut self, cell: Cell) {
        if self.host.count_objects() {
            let count = self.load_cell(cell);
            let count = self.b.ins().iadd_imm_s(count, 1);
            self.store_cell(cell, count);
        }
    }

    /// Loads the first word of an object's header: kind and the collector's bits. Traps on null if `null_check`.
    pub fn load_header_word(&mut self, object: Value, null_check: bool) -> Value {
        let flags = self.object_flags(Region::Header, object, VMGcHeader::WORD_OFFSET, null_check);
        let address = self.address(object);
        self.b.ins().load(I32, flags, address, VMGcHeader::WORD_OFFSET as i32)
    }

    /// Replaces the first word of an object's header.
    pub fn store_header_word(&mut self, object: Value, word: Value) {
        let flags = Region::Header.flags(self.b.func);
        let address = self.address(object);
        self.b.ins().store(flags, word, address, VMGcHeader::WORD_OFFSET as i32);
    }

    /// Flags for an access at `offset` of `object`. If the object may be null, the access itself traps where the
    /// first, inaccessible pages of the heap catch it; else an explicit check is emitted here.
    pub fn object_flags(&mut self, region: Region, object: Value, offset: u32, null_check: bool) -> MemFlagsData {
        let flags = region.flags(self.b.func);
        if !null_check {
            return flags;
        }
        if self.host.null_faults() && offset < FIRST_INDEX - 16 {
            return flags.with_trap_code(Some(TRAP_NULL_REFERENCE));
        }
        self.b.ins().trapz(object, TRAP_NULL_REFERENCE);
        flags
    }

    /// The address, the constant offset and the flags of a slot.
    pub fn slot(&mut self, site: &AccessSite) -> (Value, i32, MemFlagsData) {
        match site.slot {
            Slot::Field { object, offset } => {
                let flags = self.object_flags(Region::Data, object, offset, site.null_check);
                debug_assert!((offset as u64) < GUARD_BYTES);
                (self.address(object), offset as i32, flags)
            }
            Slot::Element { array, offset } => {
                let flags = Region::Data.flags(self.b.func);
                // Wrapping 32-bit arithmetic: even a corrupt length cannot lead out of the index space. A guard as long as the
                // longest array (64 GiB a store) instead saved 6 % of `array_loop`'s time and none of that of MoonBit's
                // `json`, `hash_map`, `richards` and `havlak`; with 6 GiB a store, ten times as many stores fit.
                let index = self.b.ins().iadd(array, offset);
                (self.address(index), 0, flags)
            }
            Slot::Global { address, offset } => (address, offset, Region::Globals.flags(self.b.func)),
            Slot::Table { address } => (address, 0, Region::Tables.flags(self.b.func)),
        }
    }

    /// A plain load of a slot.
    pub fn load(&mut self, site: &AccessSite) -> Value {
        let (address, offset, flags) = self.slot(site);
        self.b.ins().load(I32, flags, address, offset)
    }

    /// A plain store to a slot.
    pub fn store(&mut self, site: &AccessSite, new: Value) {
        let (address, offset, flags) = self.slot(site);
        self.b.ins().store(flags, new, address, offset);
    }

    /// [`bump_alloc_in`](Self::bump_alloc_in) the region between [`Cell::BUMP`] and [`Cell::LIMIT`].
    ///
    /// # Panics
    /// When `bits` has more than 26 bits.
    pub fn bump_alloc(&mut self, object: &AllocSite, bits: u32) -> Value {
        self.bump_alloc_in(object, bits, Cell::BUMP, Cell::LIMIT)
    }

    /// Inline bump allocation between what the cells `next` and `limit` say, with the collector's `bits` in the header;
    /// [`slow_alloc`](Self::slow_alloc) when the region is full. Constant sizes are folded.
    ///
    /// # Panics
    /// When `bits` has more than 26 bits.
    pub fn bump_alloc_in(&mut self, object: &AllocSite, bits: u32, next: Cell, limit: Cell) -> Value {
        let size = self.size(object.size);
        let cells = self.heap_base();
        let fits = |e: &mut Self, end, limit| e.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, end, limit);
        self.bump_alloc_at(object, bits, size, (cells, next.offset(), limit.offset()), fits)
    }

    /// As [`bump_alloc`](Self::bump_alloc) for objects of up to `largest` bytes; larger ones go by [`slow_alloc`](Self::slow_alloc).
    ///
    /// # Panics
    /// When `bits` has more than 26 bits.
    pub fn bump_alloc_up_to(&mut self, object: &AllocSite, bits: u32, largest: u32) -> Value {
        let size = self.size(object.size);
        let small = match size {
            Size::Constant(bytes) if bytes > largest as u64 => return self.slow_alloc(object),
            Size::Constant(_) => None,
            Size::Dynamic(bytes) => {
                Some(self.b.ins().icmp_imm_u(IntCC::UnsignedLessThanOrEqual, bytes, largest as i64))
            }
        };
        let base = self.heap_base();
        let fits = |e: &mut Self, end, limit| {
            let room = e.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, end, limit);
            small.map_or(room, |small| e.b.ins().band(room, small))
        };
        self.bump_alloc_at(object, bits, size, (base, Cell::BUMP.offset(), Cell::LIMIT.offset()), fits)
    }

    /// Inline bump allocation in the region of the object's size: `first` and the cell behind it say where that of objects of 8 bytes
    /// is, the next two that of 16 bytes, and so on to `largest` bytes. Larger objects go by
    /// [`slow_alloc`](Self::slow_alloc), as do those whose region is full. Constant sizes are folded.
    ///
    /// # Panics
    /// When `bits` has more than 26 bits.
    pub fn bump_alloc_by_size(&mut self, object: &AllocSite, bits: u32, first: Cell, largest: u32) -> Value {
        let size = self.size(object.size);
        let base = self.heap_base();
        match size {
            Size::Constant(bytes) if bytes > largest as u64 => self.slow_alloc(object),
            Size::Constant(bytes) => {
                let next = first.offset() + (bytes as i32 - 8) * 2;
                let fits = |e: &mut Self, end, limit| e.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, end, limit);
                self.bump_alloc_at(object, bits, size, (base, next, next + 8), fits)
            }
            Size::Dynamic(bytes) => {
                // An object that is too large looks at the cells of the largest size, and does not fit.
                let most = self.b.ins().iconst(I64, largest as i64);
                let small = self.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, bytes, most);
                let index = self.b.ins().select(small, bytes, most);
                let offset = self.b.ins().iadd(index, index);
                let cells = self.b.ins().iadd(base, offset);
                let next = first.offset() - 16;
                let fits = |e: &mut Self, end, limit| {
                    let room = e.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, end, limit);
                    e.b.ins().band(room, small)
                };
                self.bump_alloc_at(object, bits, size, (cells, next, next + 8), fits)
            }
        }
    }

    /// Bytes of an object, a multiple of 8.
    fn size(&mut self, size: AllocSize) -> Size {
        match size {
            AllocSize::Fixed(bytes) => Size::Constant(bytes as u64),
            AllocSize::Array { constant: Some(constant), base, element_log2, .. } => {
                Size::Constant(crate::align_object(base as u64 + ((constant as u64) << element_log2)))
            }
            AllocSize::Array { length, constant: None, base, element_log2 } => {
                let wide = self.b.ins().uextend(I64, length);
                let bytes = if element_log2 == 0 { wide } else { self.b.ins().ishl_imm_u(wide, element_log2 as i64) };
                let padded = self.b.ins().iadd_imm_s(bytes, base as i64 + 7);
                Size::Dynamic(self.b.ins().band_imm_s(padded, -8))
            }
        }
    }

    /// Bump allocation with the cells at two offsets from an address; `fits` compares the new end with the limit.
    fn bump_alloc_at(
        &mut self,
        object: &AllocSite,
        bits: u32,
        size: Size,
        (cells, next, limit): (Value, i32, i32),
        fits: impl FnOnce(&mut Self, Value, Value) -> Value,
    ) -> Value {
        let header = VMGcHeader::new(object.kind, object.ty, bits);
        let base = self.heap_base();
        let flags = Region::Cells.flags(self.b.func);
        let bump = self.b.ins().load(I64, flags, cells, next);
        let limit = self.b.ins().load(I64, flags, cells, limit);
        let end = match size {
            Size::Constant(bytes) => self.b.ins().iadd_imm_s(bump, bytes as i64),
            Size::Dynamic(bytes) => self.b.ins().iadd(bump, bytes),
        };
        let fits = fits(self, end, limit);
        let fast = self.b.create_block();
        let slow = self.b.create_block();
        let done = self.b.create_block();
        self.b.set_cold_block(slow);
        let result = self.b.append_block_param(done, I32);
        self.b.ins().brif(fits, fast, &[], slow, &[]);

        self.b.seal_block(fast);
        self.b.switch_to_block(fast);
        self.b.ins().store(flags, end, cells, next);
        let address = self.b.ins().iadd(base, bump);
        let flags = Region::Header.flags(self.b.func);
        let header = self.header(header);
        self.b.ins().store(flags, header, address, 0);
        if let AllocSize::Array { length, .. } = object.size {
            self.b.ins().store(flags, length, address, ARRAY_LENGTH_OFFSET as i32);
        }
        self.count(Cell::OBJECTS);
        let index = self.b.ins().ireduce(I32, bump);
        self.b.ins().jump(done, &[BlockArg::Value(index)]);

        self.b.seal_block(slow);
        self.b.switch_to_block(slow);
        let slowly = self.slow_alloc(object);
        self.b.ins().jump(done, &[BlockArg::Value(slowly)]);

        self.b.seal_block(done);
        self.b.switch_to_block(done);
        result
    }

    /// Emits `then` for a reference that is an object, by what is known statically: no test for what cannot be.
    /// Nothing is emitted when it can be no object.
    pub fn if_object(&mut self, value: Value, known: StaticRef, then: impl FnOnce(&mut Self)) {
        if !known.object {
            return;
        }
        if !known.null && !known.i31 {
            return then(self);
        }
        let body = self.b.create_block();
        let done = self.b.create_block();
        if known.i31 {
            let bit = self.b.ins().band_imm_s(value, 1);
            if known.null {
                let object = self.b.create_block();
                self.b.ins().brif(bit, done, &[], object, &[]);
                self.b.seal_block(object);
                self.b.switch_to_block(object);
                self.b.ins().brif(value, body, &[], done, &[]);
            } else {
                self.b.ins().brif(bit, done, &[], body, &[]);
            }
        } else {
            self.b.ins().brif(value, body, &[], done, &[]);
        }
        self.b.seal_block(body);
        self.b.switch_to_block(body);
        then(self);
        self.b.ins().jump(done, &[]);
        self.b.seal_block(done);
        self.b.switch_to_block(done);
    }

    /// Emits `then` where `condition` is not zero, out of the way of the straight path if `unlikely`.
    pub fn if_nonzero(&mut self, condition: Value, likelihood: Likelihood, then: impl FnOnce(&mut Self)) {
        let body = self.b.create_block();
        let done = self.b.create_block();
        if likelihood == Likelihood::Rare {
            self.b.set_cold_block(body);
        }
        self.b.ins().brif(condition, body, &[], done, &[]);
        self.b.seal_block(body);
        self.b.switch_to_block(body);
        then(self);
        self.b.ins().jump(done, &[]);
        self.b.seal_block(done);
        self.b.switch_to_block(done);
    }

    /// Pushes the reference `value` onto the [`LogBuffer`](crate::LogBuffer) that `next` and `limit` steer, unless it is
    /// full: then the slow path `full` is called with it.
    pub fn push(&mut self, next: Cell, limit: Cell, value: Value, full: SlowOp) {
        let at = self.load_cell(next);
        let end = self.load_cell(limit);
        let room = self.b.ins().icmp(IntCC::UnsignedLessThan, at, end);
        let fast = self.b.create_block();
        let slow = self.b.create_block();
        let done = self.b.create_block();
        self.b.set_cold_block(slow);
        self.b.ins().brif(room, fast, &[], slow, &[]);

        self.b.seal_block(fast);
        self.b.switch_to_block(fast);
        let flags = Region::Side.flags(self.b.func);
        let base = self.heap_base();
        let address = self.b.ins().iadd(base, at);
        self.b.ins().store(flags, value, address, 0);
        let after = self.b.ins().iadd_imm_s(at, 4);
        self.store_cell(next, after);
        self.b.ins().jump(done, &[]);

        self.b.seal_block(slow);
        self.b.switch_to_block(slow);
        let wide = self.b.ins().uextend(I64, value);
        self.slow_path(full, &[wide]);
        self.b.ins().jump(done, &[]);

        self.b.seal_block(done);
        self.b.switch_to_block(done);
    }
}

/// How often a branch is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likelihood {
    /// Out of line.
    Rare,
    /// In line.
    Common,
}
