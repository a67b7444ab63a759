//! The records that compiled code and the runtime share: their layout stands here, once.
//!
//! Every field that compiled code reads has its offset as a constant beside the struct, checked against `offset_of!`
//! by the tests below.

use crate::types::MemoryType;
use gc_api::TypeIndex;
use std::ffi::c_void;
use std::mem::offset_of;
use std::ptr;
use std::sync::atomic::AtomicU64;

/// A value in the array ABI: 16 bytes, the value in the low ones, little-endian.
///
/// `i32`, `f32` and references into the heap use 4 bytes (null is 0), `i64` and `f64` 8, `v128` 16; a function reference
/// is the address of its [`VMFuncRef`].
#[derive(Clone, Copy, Default)]
#[repr(C, align(16))]
pub struct ValRaw(pub u128);

impl ValRaw {
    /// The low 32 bits.
    pub fn u32(self) -> u32 {
        self.0 as u32
    }
    /// The low 64 bits.
    pub fn u64(self) -> u64 {
        self.0 as u64
    }
}

/// Bytes of a [`ValRaw`].
pub const VALRAW_SIZE: i32 = 16;

/// Entered from the host: `(callee_vmctx, caller_vmctx, values, capacity, wasm_call) -> ok`. `values` holds the arguments, then the
/// results. For a function of the host's the last argument is ignored.
pub type ArrayCall = unsafe extern "C" fn(*mut VMContext, *mut VMContext, *mut ValRaw, usize, *const c_void) -> bool;

/// A function reference: what a `funcref` value points to.
#[derive(Debug)]
#[repr(C)]
pub struct VMFuncRef {
    /// Code with the WebAssembly convention: `(callee_vmctx, caller_vmctx, arguments…)`, `CallConv::Tail`.
    pub wasm_call: *const c_void,
    /// The callee's context: a [`VMContext`], or a [`VMHostContext`] for a function of the host's.
    pub vmctx: *mut VMContext,
    /// Code with the array convention.
    pub array_call: *const c_void,
    /// The function's canonical type.
    pub type_index: TypeIndex,
    /// Its id in the store's function table, which stands for it inside the heap. Never 0.
    pub id: u32,
}

impl VMFuncRef {
    pub const SIZE: i32 = 32;
    pub const WASM_CALL: i32 = 0;
    pub const VMCTX: i32 = 8;
    pub const ARRAY_CALL: i32 = 16;
    pub const TYPE_INDEX: i32 = 24;
    pub const ID: i32 = 28;
}

/// An imported function, copied out of its [`VMFuncRef`] into the importing instance.
#[repr(C)]
pub struct VMFunctionImport {
    /// As in [`VMFuncRef`].
    pub wasm_call: *const c_void,
    /// As in [`VMFuncRef`].
    pub vmctx: *mut VMContext,
    /// The function reference itself.
    pub func_ref: *const VMFuncRef,
}

impl VMFunctionImport {
    pub const SIZE: i32 = 24;
    pub const WASM_CALL: i32 = 0;
    pub const VMCTX: i32 = 8;
    pub const FUNC_REF: i32 = 16;
}

/// When the function references that tables and `ref.func` name are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TableInit {
    /// At the first use: instantiation costs nothing for the functions that a program does not use.
    #[default]
    Lazy,
    /// At instantiation: no use needs a test.
    Eager,
}

/// What stands for null in a table of function references under [`TableInit::Lazy`], where 0 stands for an element that has
/// not been made. No [`VMFuncRef`] has this address, and no page is mapped there.
pub const NULL_ELEMENT: u64 = 1;

/// A table: elements are 8-byte addresses of [`VMFuncRef`]s for function references (null is 0, or [`NULL_ELEMENT`]: see
/// [`TableInit`]), 4-byte heap references else.
#[derive(Debug)]
#[repr(C)]
pub struct VMTable {
    /// Element 0.
    pub base: *mut u8,
    /// Number of elements.
    pub length: u64,
}

impl VMTable {
    pub const SIZE: i32 = 16;
    pub const BASE: i32 = 0;
    pub const LENGTH: i32 = 8;
}

/// What a `call_indirect` called last, through a table that nothing can change.
#[repr(C)]
pub struct VMCallCache {
    /// The index, plus 1; 0 when nothing was called yet.
    pub key: u64,
    /// As in [`VMFuncRef`].
    pub wasm_call: *const c_void,
    /// As in [`VMFuncRef`].
    pub vmctx: *mut VMContext,
}

impl VMCallCache {
    pub const SIZE: i32 = 24;
    pub const KEY: i32 = 0;
    pub const WASM_CALL: i32 = 8;
    pub const VMCTX: i32 = 16;
}

/// A linear memory. `base` never changes: growth happens inside a reservation.
///
/// The record of a shared memory stands outside all stores; in the context of the instance that defines it there is its
/// address, in the place of `base`.
#[derive(Debug)]
#[repr(C)]
pub struct VMMemory {
    /// Byte 0.
    pub base: *mut u8,
    /// Bytes. Only that of a shared memory is accessed by several threads.
    pub length: AtomicU64,
}

impl VMMemory {
    /// A record that is yet to be filled in.
    pub const fn empty() -> VMMemory {
        VMMemory { base: ptr::null_mut(), length: AtomicU64::new(0) }
    }

    pub const SIZE: i32 = 16;
    pub const BASE: i32 = 0;
    pub const LENGTH: i32 = 8;
}

/// Bytes reserved behind the base of a 32-bit memory: any index plus any static offset is inside.
pub const MEMORY_RESERVATION: u64 = (8 << 30) + (1 << 20);

/// Bytes that fault behind all that a 64-bit memory can become: see [`BoundsCheck::Index`]. As many as the offset of a
/// machine instruction reaches.
pub const MEMORY_GUARD: u64 = 2 << 30;

/// What compiled code tests before it accesses a memory. What it does not test must fault: what is reserved behind the
/// memory's base must be as large as each says, and inaccessible beyond the memory's length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BoundsCheck {
    /// Nothing: [`MEMORY_RESERVATION`] bytes are reserved.
    None,
    /// That the index is less than the memory's length. With an index inside, no access of which the static offset and the size
    /// are [`MEMORY_GUARD`] bytes at most can reach beyond the guard, so it is inside the memory or faults. Neither an addition nor
    /// its overflow is to be tested, and one test serves all accesses with the same index. Larger offsets: as [`Self::End`].
    Index,
    /// That the access ends inside the memory: its length may lie in the middle of a page.
    End,
}

impl BoundsCheck {
    /// The check for memories of this type.
    pub const fn of(ty: &MemoryType) -> BoundsCheck {
        match (ty.page_size_log2, ty.is_64) {
            (16, false) => BoundsCheck::None,
            (16, true) => BoundsCheck::Index,
            _ => BoundsCheck::End,
        }
    }
}

/// A global's storage, as [`ValRaw`].
pub const GLOBAL_SIZE: i32 = 16;

/// The record of a store: one, at a fixed address.
#[derive(Debug)]
#[repr(C)]
pub struct VMStoreContext {
    /// A frame that would reach below this address overflows the stack.
    pub stack_limit: usize,
    /// Frame pointer of the trampoline by which compiled code was last left.
    pub exit_fp: usize,
    /// Return address into the compiled code that was last left.
    pub exit_pc: usize,
    /// Frame pointer of the trampoline by which compiled code was last entered.
    pub entry_fp: usize,
    /// Its stack pointer at the call.
    pub entry_sp: usize,
    /// Where it goes on when the call is unwound.
    pub entry_handler: usize,
    /// The heap's base.
    pub heap_base: *mut u8,
    /// The subtype displays: see `TypeRegistry::displays`.
    pub displays: *const u8,
    /// The addresses of the builtins' trampolines, by [`Builtin`].
    pub builtins: *const *const c_void,
    /// The store's function table: [`VMFuncRef`]s by id; entry 0 is null.
    pub funcs: *const *const VMFuncRef,
    /// Number of entries.
    pub funcs_len: u64,
    /// The store, for the runtime.
    pub store: *mut c_void,
    /// The engine's epoch.
    pub epoch: *const AtomicU64,
    /// The epoch at which code that looks at it is interrupted.
    pub epoch_deadline: u64,
    /// Instructions that may still be executed by code that counts them; negative when they have been used up.
    pub fuel: i64,
    /// What a rare builtin gave: see [`Builtin::is_rare`].
    pub result: u64,
}

impl VMStoreContext {
    pub const STACK_LIMIT: i32 = 0;
    pub const EXIT_FP: i32 = 8;
    pub const EXIT_PC: i32 = 16;
    pub const ENTRY_FP: i32 = 24;
    pub const ENTRY_SP: i32 = 32;
    pub const ENTRY_HANDLER: i32 = 40;
    pub const HEAP_BASE: i32 = 48;
    pub const DISPLAYS: i32 = 56;
    pub const BUILTINS: i32 = 64;
    pub const FUNCS: i32 = 72;
    pub const FUNCS_LEN: i32 = 80;
    pub const EPOCH: i32 = 96;
    pub const EPOCH_DEADLINE: i32 = 104;
    pub const FUEL: i32 = 112;
    pub const RESULT: i32 = 120;
}

/// The record of an instance; the parts that depend on its module follow, laid out by [`Offsets`]. Everything in the fixed
/// part is constant from instantiation on.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct VMContext {
    /// The instance's index in its store; `u32::MAX` for the context by which the host calls.
    pub instance: u32,
    /// [`VMCONTEXT_MAGIC`].
    pub magic: u32,
    /// The store's record.
    pub store: *mut VMStoreContext,
    /// The heap's base.
    pub heap_base: *mut u8,
    /// The subtype displays.
    pub displays: *const u8,
    /// The builtins' trampolines.
    pub builtins: *const *const c_void,
}

impl VMContext {
    pub const STORE: i32 = 8;
    pub const HEAP_BASE: i32 = 16;
    pub const DISPLAYS: i32 = 24;
    pub const BUILTINS: i32 = 32;
    /// Where the parts that depend on the module begin.
    pub const HEADER_SIZE: u32 = 48;
}

/// Stands in [`VMContext::magic`].
pub const VMCONTEXT_MAGIC: u32 = 0x6c67_6331;

/// The context of a function of the host's: begins like a [`VMContext`].
#[repr(C)]
pub struct VMHostContext {
    /// The common beginning; `instance` is `u32::MAX`.
    pub header: VMContext,
    /// The host's code with the array convention; called by the trampoline of its type.
    pub array_call: *const c_void,
    /// The closure, for the runtime.
    pub closure: *mut c_void,
    /// The function's own reference.
    pub func_ref: VMFuncRef,
}

impl VMHostContext {
    pub const ARRAY_CALL: i32 = 48;
}

/// Where the parts of a [`VMContext`] stand that depend on the module: byte offsets from its start.
#[derive(Clone, Debug, Default)]
pub struct Offsets {
    /// [`VMFunctionImport`]s.
    pub func_imports: u32,
    /// `*mut VMTable`, one per imported table.
    pub table_imports: u32,
    /// `*mut VMMemory`, one per imported memory.
    pub memory_imports: u32,
    /// `*mut` global storage, one per imported global.
    pub global_imports: u32,
    /// `u32` tag ids, imported and defined.
    pub tags: u32,
    /// [`VMTable`]s.
    pub tables: u32,
    /// [`VMMemory`]s.
    pub memories: u32,
    /// Globals, 16-byte aligned.
    pub globals: u32,
    /// [`VMFuncRef`]s of the defined functions that escape, in the order of `ModuleInfo::escaping`. All zero until it is made.
    pub func_refs: u32,
    /// [`VMCallCache`]s, if there are any.
    pub call_caches: u32,
    /// Bytes in all.
    pub size: u32,
}

/// Bytes of an instance's record, at most.
const MAX_CONTEXT: u64 = 1 << 30;

/// How many of each a module imports and defines.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub func_imports: u32,
    pub table_imports: u32,
    pub memory_imports: u32,
    pub global_imports: u32,
    pub tags: u32,
    pub tables: u32,
    pub memories: u32,
    pub globals: u32,
    pub func_refs: u32,
}

impl Offsets {
    /// Lays the parts out. `None` when they would exceed 1 GiB.
    pub fn new(counts: Counts) -> Option<Offsets> {
        let mut at = VMContext::HEADER_SIZE as u64;
        let mut take = |count: u32, size: u64, align: u64| {
            at = at.next_multiple_of(align);
            let start = at;
            at += count as u64 * size;
            start.min(1 << 31) as u32
        };
        let offsets = Offsets {
            func_imports: take(counts.func_imports, VMFunctionImport::SIZE as u64, 8),
            table_imports: take(counts.table_imports, 8, 8),
            memory_imports: take(counts.memory_imports, 8, 8),
            global_imports: take(counts.global_imports, 8, 8),
            tags: take(counts.tags, 4, 4),
            tables: take(counts.tables, VMTable::SIZE as u64, 8),
            memories: take(counts.memories, VMMemory::SIZE as u64, 8),
            globals: take(counts.globals, GLOBAL_SIZE as u64, 16),
            func_refs: take(counts.func_refs, VMFuncRef::SIZE as u64, 8),
            call_caches: 0,
            size: 0,
        };
        (at <= MAX_CONTEXT).then_some(Offsets { size: at as u32, ..offsets })
    }

    /// Makes room for caches of calls, if that leaves the record small enough.
    #[must_use]
    pub fn add_call_caches(&mut self, count: u32) -> bool {
        let start = (self.size as u64).next_multiple_of(8);
        let end = start + count as u64 * VMCallCache::SIZE as u64;
        if end <= MAX_CONTEXT {
            (self.call_caches, self.size) = (start as u32, end as u32);
        }
        end <= MAX_CONTEXT
    }
}

/// Declares the builtins: what compiled code calls out to. All take the caller's [`VMContext`] and 64-bit words, and return a
/// 64-bit word; `u64::MAX` means that a trap, an error or an exception is pending and the trampoline must unwind.
macro_rules! builtins {
    ($($(#[$doc:meta])* $name:ident = $function:ident($($arg:ident),*);)*) => {
        /// A function of the runtime's that compiled code calls, through a trampoline which records where the code was left.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(u32)]
        pub enum Builtin { $($(#[$doc])* $name),* }

        impl Builtin {
            /// Every builtin.
            pub const ALL: &[Builtin] = &[$(Builtin::$name),*];

            /// Number of 64-bit words it takes behind the context.
            pub const fn arity(self) -> usize {
                match self { $(Builtin::$name => <[&str]>::len(&[$(stringify!($arg)),*])),* }
            }

            /// The name of the function behind it.
            pub const fn name(self) -> &'static str {
                match self { $(Builtin::$name => stringify!($function)),* }
            }

            /// Whether it is called where compiled code seldom comes. Such a call leaves all registers as they were, so that what
            /// is around it can be as if it weren't there; it takes the longer for that.
            pub const fn is_rare(self) -> bool {
                use Builtin as B;
                matches!(
                    self,
                    B::GcAlloc | B::GcSlowPath | B::RefFunc | B::TableElement | B::EpochReached | B::OutOfFuel
                )
            }
        }
    };
}

/// Calls `$with! { … }` with the table of builtins.
macro_rules! for_each_builtin {
    ($with:ident) => {
        $with! {
            /// One more than the old number of pages, or 0 when the memory cannot grow: `u64::MAX` means something else.
            MemoryGrow = memory_grow(memory, delta);
            MemoryCopy = memory_copy(to_memory, from_memory, to, from, bytes);
            MemoryFill = memory_fill(memory, to, value, bytes);
            MemoryInit = memory_init(memory, segment, to, from, bytes);
            DataDrop = data_drop(segment);
            /// 0 when it was woken, 1 when the value was not the expected one, 2 after `timeout` nanoseconds (for ever if negative).
            AtomicWait32 = atomic_wait32(memory, index, offset, expected, timeout);
            /// The same, with a value of 64 bits.
            AtomicWait64 = atomic_wait64(memory, index, offset, expected, timeout);
            /// How many were woken, `count` at most.
            AtomicNotify = atomic_notify(memory, index, offset, count);
            /// One more than the old length, or 0 when the table cannot grow. `init` is a raw element.
            TableGrow = table_grow(table, delta, init);
            TableCopy = table_copy(to_table, from_table, to, from, count);
            TableFill = table_fill(table, to, value, count);
            TableInit = table_init(table, segment, to, from, count);
            ElemDrop = elem_drop(segment);
            /// An element of a table of function references that has not been made: its word, which is not 0.
            TableElement = table_element(table, index);
            /// The address of a function's reference that has not been made.
            RefFunc = ref_func(function);
            /// `kind_bits` is `GcKind::header_bits`; `size` the whole size; `length` the array's length or `u64::MAX`.
            GcAlloc = gc_alloc(kind_bits, ty, size, length);
            GcSlowPath = gc_slow_path(op, a, b, c, d);
            ArrayNewData = array_new_data(ty, segment, from, count);
            ArrayNewElem = array_new_elem(ty, segment, from, count);
            /// Initialises all `count` elements of a new array with the bits in `low` and, of a vector, in `high`.
            ArrayNewFill = array_new_fill(ty, array, low, high, count);
            ArrayInitData = array_init_data(ty, array, to, segment, from, count);
            ArrayInitElem = array_init_elem(ty, array, to, segment, from, count);
            ArrayCopy = array_copy(ty, to_array, to, from_array, from, count);
            /// `low` and, of a vector, `high` hold the element's bits.
            ArrayFill = array_fill(ty, array, to, low, high, count);
            /// Tells the verifier that the slot at `offset` of an object, or of null, is about to be written.
            NoteWrite = note_write(object, offset);
            /// Throws the exception object; never returns.
            ThrowRef = throw_ref(exception);
            /// Unwinds to the nearest handler because something is pending; never returns.
            Raise = raise();
            /// The deadline has passed.
            EpochReached = epoch_reached();
            /// The fuel is used up.
            OutOfFuel = out_of_fuel();
        }
    };
}
pub(crate) use for_each_builtin;
for_each_builtin!(builtins);

/// What compiled code and the runtime have to agree on, as text that changes when it does.
pub fn interface() -> String {
    use std::fmt::Write;
    let one = Counts {
        func_imports: 1,
        table_imports: 1,
        memory_imports: 1,
        global_imports: 1,
        tags: 1,
        tables: 1,
        memories: 1,
        globals: 1,
        func_refs: 1,
    };
    let records = [
        size_of::<VMStoreContext>(),
        size_of::<VMContext>(),
        size_of::<VMHostContext>(),
        size_of::<VMFuncRef>(),
        size_of::<VMTable>(),
        size_of::<VMMemory>(),
    ];
    let heap = (gc_api::FIRST_INDEX, gc_api::GUARD_BYTES, gc_api::CELLS_BELOW_BASE, gc_api::HEADER_SIZE);
    let mut text = format!("{records:?} {heap:?} {MEMORY_RESERVATION} {MEMORY_GUARD} {:?}", Offsets::new(one));
    for builtin in Builtin::ALL {
        let _ = write!(text, " {}/{}", builtin.name(), builtin.arity());
    }
    text
}

/// Traps in compiled code, as Cranelift's user trap codes.
pub mod trap_codes {
    use cranelift_codegen::ir::TrapCode;
    /// An access through a null reference; shared with the collectors' barriers.
    pub const NULL_REFERENCE: TrapCode = gc_api::TRAP_NULL_REFERENCE;
    pub const UNREACHABLE: TrapCode = TrapCode::unwrap_user(2);
    pub const TABLE_OUT_OF_BOUNDS: TrapCode = TrapCode::unwrap_user(3);
    pub const INDIRECT_CALL_TO_NULL: TrapCode = TrapCode::unwrap_user(4);
    pub const BAD_SIGNATURE: TrapCode = TrapCode::unwrap_user(5);
    pub const ARRAY_OUT_OF_BOUNDS: TrapCode = TrapCode::unwrap_user(6);
    pub const CAST_FAILURE: TrapCode = TrapCode::unwrap_user(7);
    pub const ALLOCATION_TOO_LARGE: TrapCode = TrapCode::unwrap_user(8);
    /// The heap named something that does not exist: a bug in the collector, not in the program.
    pub const HEAP_CORRUPTION: TrapCode = TrapCode::unwrap_user(9);
    /// An indirect call by an index outside its table.
    pub const INDIRECT_OUT_OF_BOUNDS: TrapCode = TrapCode::unwrap_user(10);
    /// An atomic access at an address that is no multiple of its size.
    pub const UNALIGNED_ATOMIC: TrapCode = TrapCode::unwrap_user(11);
}

const _: () = {
    assert!(size_of::<VMFuncRef>() == VMFuncRef::SIZE as usize);
    assert!(offset_of!(VMFuncRef, wasm_call) == VMFuncRef::WASM_CALL as usize);
    assert!(offset_of!(VMFuncRef, vmctx) == VMFuncRef::VMCTX as usize);
    assert!(offset_of!(VMFuncRef, array_call) == VMFuncRef::ARRAY_CALL as usize);
    assert!(offset_of!(VMFuncRef, type_index) == VMFuncRef::TYPE_INDEX as usize);
    assert!(offset_of!(VMFuncRef, id) == VMFuncRef::ID as usize);
    assert!(size_of::<VMFunctionImport>() == VMFunctionImport::SIZE as usize);
    assert!(offset_of!(VMFunctionImport, vmctx) == VMFunctionImport::VMCTX as usize);
    assert!(offset_of!(VMFunctionImport, func_ref) == VMFunctionImport::FUNC_REF as usize);
    assert!(size_of::<VMTable>() == VMTable::SIZE as usize);
    assert!(offset_of!(VMTable, length) == VMTable::LENGTH as usize);
    assert!(size_of::<VMCallCache>() == VMCallCache::SIZE as usize);
    assert!(offset_of!(VMCallCache, key) == VMCallCache::KEY as usize);
    assert!(offset_of!(VMCallCache, wasm_call) == VMCallCache::WASM_CALL as usize);
    assert!(offset_of!(VMCallCache, vmctx) == VMCallCache::VMCTX as usize);
    assert!(size_of::<VMMemory>() == VMMemory::SIZE as usize);
    assert!(offset_of!(VMMemory, length) == VMMemory::LENGTH as usize);
    assert!(offset_of!(VMStoreContext, stack_limit) == VMStoreContext::STACK_LIMIT as usize);
    assert!(offset_of!(VMStoreContext, exit_fp) == VMStoreContext::EXIT_FP as usize);
    assert!(offset_of!(VMStoreContext, exit_pc) == VMStoreContext::EXIT_PC as usize);
    assert!(offset_of!(VMStoreContext, entry_fp) == VMStoreContext::ENTRY_FP as usize);
    assert!(offset_of!(VMStoreContext, entry_sp) == VMStoreContext::ENTRY_SP as usize);
    assert!(offset_of!(VMStoreContext, entry_handler) == VMStoreContext::ENTRY_HANDLER as usize);
    assert!(offset_of!(VMStoreContext, heap_base) == VMStoreContext::HEAP_BASE as usize);
    assert!(offset_of!(VMStoreContext, displays) == VMStoreContext::DISPLAYS as usize);
    assert!(offset_of!(VMStoreContext, builtins) == VMStoreContext::BUILTINS as usize);
    assert!(offset_of!(VMStoreContext, funcs) == VMStoreContext::FUNCS as usize);
    assert!(offset_of!(VMStoreContext, funcs_len) == VMStoreContext::FUNCS_LEN as usize);
    assert!(offset_of!(VMStoreContext, epoch) == VMStoreContext::EPOCH as usize);
    assert!(offset_of!(VMStoreContext, epoch_deadline) == VMStoreContext::EPOCH_DEADLINE as usize);
    assert!(offset_of!(VMStoreContext, fuel) == VMStoreContext::FUEL as usize);
    assert!(offset_of!(VMStoreContext, result) == VMStoreContext::RESULT as usize);
    assert!(offset_of!(VMContext, store) == VMContext::STORE as usize);
    assert!(offset_of!(VMContext, heap_base) == VMContext::HEAP_BASE as usize);
    assert!(offset_of!(VMContext, displays) == VMContext::DISPLAYS as usize);
    assert!(offset_of!(VMContext, builtins) == VMContext::BUILTINS as usize);
    assert!(size_of::<VMContext>() == VMContext::HEADER_SIZE as usize);
    assert!(offset_of!(VMHostContext, array_call) == VMHostContext::ARRAY_CALL as usize);
};
