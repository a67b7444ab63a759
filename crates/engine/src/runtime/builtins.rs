//! What compiled code calls out to.
//!
//! Each builtin is a Rust function behind an `extern "C"` shim, which finds the store, lets no panic through, and turns a failure into
//! `u64::MAX` with the reason noted in the store. The trampoline then calls [`unwind_pending`], which never returns: it goes on in
//! the nearest handler of an exception, or where compiled code was entered.

#![expect(clippy::too_many_arguments, reason = "builtins take what instructions take")]

use super::arch;
use super::instance::{self, Segment, range};
use super::memory::Memory;
use super::objects::{Novelty, span};
use super::shared::{Expected, SharedMemory, WaitResult};
use super::store::{Pending, StoreOpaque};
use super::table;
use super::unwind::{self, Target};
use crate::api::{Error, Trap};
use crate::types::TypeIndex;
use crate::vm::{Builtin, NULL_ELEMENT, VMContext, for_each_builtin};
use gc_api::{BulkSource, BulkWrite, CellKind, GcKind, NewObject, RefRange, SlowOp, VMGcRef};
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

/// Why a builtin did not return.
enum Raised {
    /// The program traps, or the host fails.
    Error(Error),
    /// The store knows already.
    Noted,
    /// The deadline has passed, and the host has said what is to be done then.
    Deadline,
    /// The thread waits, without the store: what the host does at the deadline may use that.
    Wait(Wait),
}

/// What `memory.atomic.wait` waits for.
struct Wait {
    memory: Arc<SharedMemory>,
    at: usize,
    expected: Expected,
    timeout: Option<Duration>,
}

/// How long a deadline may have passed before a thread that waits notices it. An epoch is a number that anything may advance, a
/// signal handler included, so nobody can be woken by it.
const PATIENCE: Duration = Duration::from_millis(10);

impl Wait {
    /// Waits: what the instruction gives.
    ///
    /// # Errors
    /// What ends the program at the deadline.
    ///
    /// # Safety
    /// As [`check_deadline`].
    unsafe fn until_woken(&self, this: *mut StoreOpaque) -> crate::api::Result<u64> {
        // SAFETY: the caller's promise; the reference is gone at once.
        let deadlines = unsafe { &*this }.engine().config().epoch_interruption;
        let patience = if deadlines { PATIENCE } else { Duration::MAX };
        // SAFETY: the caller's promise.
        let mut look = || unsafe { check_deadline(this) };
        let result = self.memory.wait_unless(self.at, self.expected, self.timeout, patience, &mut look)?;
        Ok(match result {
            WaitResult::Woken => 0,
            WaitResult::Mismatch => 1,
            WaitResult::TimedOut => 2,
        })
    }
}

impl From<Trap> for Raised {
    fn from(trap: Trap) -> Raised {
        Raised::Error(trap.into())
    }
}

impl From<Error> for Raised {
    fn from(error: Error) -> Raised {
        Raised::Error(error)
    }
}

type Outcome = Result<u64, Raised>;

/// What a growth returns, from the old size: 0 for a failure.
fn grown(old: Option<u64>) -> u64 {
    old.map_or(0, |old| old + 1)
}

macro_rules! shims {
    ($($(#[$doc:meta])* $name:ident = $function:ident($($arg:ident),*);)*) => {
        mod shims {
            use super::*;
            $(pub unsafe extern "C" fn $function(vmctx: *mut VMContext, $($arg: u64),*) -> u64 {
                // SAFETY: the trampoline passes on the context of the compiled code that called.
                unsafe { run(vmctx, |store, instance| super::$function(store, instance, $($arg),*)) }
            })*
        }

        /// The address of the function behind a builtin, for its trampoline.
        pub fn address(builtin: Builtin) -> *const c_void {
            match builtin {
                $(Builtin::$name => shims::$function as *const c_void,)*
            }
        }
    };
}
for_each_builtin!(shims);

/// The address of [`unwind_pending`].
pub fn raise_address() -> *const c_void {
    unwind_pending as *const c_void
}

/// Runs a builtin.
///
/// # Safety
/// `vmctx` is the context of an instance whose store is in no other use.
unsafe fn run(vmctx: *mut VMContext, builtin: impl FnOnce(&mut StoreOpaque, u32) -> Outcome) -> u64 {
    // SAFETY: whoever entered compiled code put the store's address there, gave up its own reference to it until compiled code
    // returns, and compiled code waits for us.
    let (this, instance) = unsafe { (store_of(vmctx), (*vmctx).instance) };
    // SAFETY: as above.
    let pending = match catch_unwind(AssertUnwindSafe(|| builtin(unsafe { &mut *this }, instance))) {
        Ok(Ok(result)) => return result,
        Ok(Err(Raised::Error(error))) => Pending::Error(error),
        Ok(Err(Raised::Noted)) => return u64::MAX,
        // SAFETY: as above; the reference that the builtin had is gone.
        Ok(Err(Raised::Deadline)) => match catch_unwind(AssertUnwindSafe(|| unsafe { ask_at_deadline(this) })) {
            Ok(Ok(())) => return 0,
            Ok(Err(error)) => Pending::Error(error),
            Err(payload) => Pending::from_panic(payload),
        },
        // SAFETY: as above.
        Ok(Err(Raised::Wait(wait))) => match catch_unwind(AssertUnwindSafe(|| unsafe { wait.until_woken(this) })) {
            Ok(Ok(result)) => return result,
            Ok(Err(error)) => Pending::Error(error),
            Err(payload) => Pending::from_panic(payload),
        },
        Err(payload) => Pending::from_panic(payload),
    };
    // SAFETY: as above.
    unsafe { (*this).set_pending(pending) };
    u64::MAX
}

/// Does what a program does at its deadline, if that has passed.
///
/// # Errors
/// What ends the program.
///
/// # Safety
/// `this` is what [`VMStoreContext::store`](crate::vm::VMStoreContext) holds or may hold, and the store is in no other use.
pub unsafe fn check_deadline(this: *mut StoreOpaque) -> crate::api::Result<()> {
    // SAFETY: the caller's promise; the reference is gone before the host is asked.
    if unsafe { &*this }.deadline_passed() {
        // SAFETY: the caller's promise.
        unsafe { ask_at_deadline(this)? };
    }
    Ok(())
}

/// Has the host decide what happens at the deadline.
///
/// # Safety
/// `this` is what [`VMStoreContext::store`](crate::vm::VMStoreContext) holds, and the store is in no other use.
unsafe fn ask_at_deadline(this: *mut StoreOpaque) -> crate::api::Result<()> {
    // SAFETY: the caller's promise; the references are gone before the callback, which makes its own, runs.
    let Some(mut callback) = (unsafe { (*this).epoch_callback.take() }) else { return Err(Trap::Interrupt.into()) };
    let decision = catch_unwind(AssertUnwindSafe(|| callback(this)));
    // SAFETY: as above; the callback is done.
    let store = unsafe { &mut *this };
    store.epoch_callback.get_or_insert(callback);
    store.set_epoch_deadline(decision.unwrap_or_else(|panic| resume_unwind(panic))?);
    Ok(())
}

/// The store of a context.
///
/// # Safety
/// The context is an instance's or a host function's, and compiled code has been entered.
pub unsafe fn store_of(vmctx: *mut VMContext) -> *mut StoreOpaque {
    // SAFETY: the caller's promise.
    unsafe { (*(*vmctx).store).store.cast() }
}

/// Goes on where what is pending leads: in the nearest handler of an exception, or where compiled code was entered, which then
/// returns false.
///
/// # Safety
/// Called by a trampoline after a failure was noted in the store; no frame between here and the compiled code that it left owns
/// anything.
unsafe extern "C" fn unwind_pending(vmctx: *mut VMContext) -> u64 {
    // SAFETY: the caller's promise. Everything that has a destructor is gone when `target` returns.
    unsafe {
        let (Target { pc, sp, fp }, payload) = target(vmctx);
        arch::resume(pc, sp, fp, payload, 0)
    }
}

/// # Safety
/// As for [`unwind_pending`].
unsafe fn target(vmctx: *mut VMContext) -> (Target, usize) {
    // SAFETY: as in `run`.
    let store = unsafe { &mut *store_of(vmctx) };
    let vm = store.vm();
    if store.exception_pending() {
        match catch_unwind(AssertUnwindSafe(|| handler(store))) {
            Ok(Some(target)) => return target,
            Ok(None) => {}
            Err(payload) => store.set_pending(Pending::from_panic(payload)),
        }
    }
    // SAFETY: the record lives as long as the store; the entry trampoline has filled it in.
    unsafe { (Target { pc: (*vm).entry_handler, sp: (*vm).entry_sp, fp: (*vm).entry_fp }, 0) }
}

/// The handler of the pending exception, which goes along.
fn handler(store: &mut StoreOpaque) -> Option<(Target, usize)> {
    // SAFETY: the bounds that the trampolines around the current activation recorded; its frames are all still there.
    let target = unsafe { unwind::find_handler(&store.code, store.raised_at()) }?;
    let exception = store.take_exception()?;
    let payload = store.heap_mut().expose(exception) as usize;
    Some((target, payload))
}

/// What the limiter says to a growth; an error of its own ends the program.
fn allowed(
    store: &mut StoreOpaque,
    ask: impl FnOnce(&mut StoreOpaque) -> crate::api::Result<bool>,
) -> Result<bool, Raised> {
    ask(store).map_err(|error| {
        store.set_pending(Pending::Error(error));
        Raised::Noted
    })
}

// ---- Memories ----

fn memory_id(store: &StoreOpaque, instance: u32, memory: u64) -> usize {
    store.instances[instance as usize].memories[memory as usize] as usize
}

fn memory_grow(store: &mut StoreOpaque, instance: u32, memory: u64, delta: u64) -> Outcome {
    let id = memory_id(store, instance, memory);
    if !allowed(store, |store| store.allow_memory_growth(id, delta))? {
        return Ok(grown(None));
    }
    Ok(grown(store.memories[id].grow(delta)))
}

fn memory_copy(
    store: &mut StoreOpaque,
    instance: u32,
    to_memory: u64,
    from_memory: u64,
    to: u64,
    from: u64,
    bytes: u64,
) -> Outcome {
    let (to_id, from_id) = (memory_id(store, instance, to_memory), memory_id(store, instance, from_memory));
    let (to_memory, from_memory) = (&store.memories[to_id], &store.memories[from_id]);
    let to = range(to, bytes, to_memory.len()).ok_or(Trap::MemoryOutOfBounds)?;
    let from = range(from, bytes, from_memory.len()).ok_or(Trap::MemoryOutOfBounds)?;
    Memory::copy((to_memory, to.start), (from_memory, from.start), from.len());
    Ok(0)
}

fn memory_fill(store: &mut StoreOpaque, instance: u32, memory: u64, to: u64, value: u64, bytes: u64) -> Outcome {
    let id = memory_id(store, instance, memory);
    let memory = &mut store.memories[id];
    let to = range(to, bytes, memory.len()).ok_or(Trap::MemoryOutOfBounds)?;
    memory.fill(to, value as u8);
    Ok(0)
}

fn memory_init(
    store: &mut StoreOpaque,
    instance: u32,
    memory: u64,
    segment: u64,
    to: u64,
    from: u64,
    bytes: u64,
) -> Outcome {
    instance::memory_init(store, instance, memory as u32, segment as u32, to, from, bytes)?;
    Ok(0)
}

fn data_drop(store: &mut StoreOpaque, instance: u32, segment: u64) -> Outcome {
    store.instances[instance as usize].dropped_data[segment as usize] = true;
    Ok(0)
}

/// A memory, and the byte of it at `index + offset`.
///
/// # Errors
/// The trap when the byte is no place for an atomic access of `bytes` bytes.
fn atomic_place(
    store: &StoreOpaque,
    instance: u32,
    memory: u64,
    index: u64,
    offset: u64,
    bytes: usize,
) -> Result<(&Memory, usize), Trap> {
    let memory = &store.memories[memory_id(store, instance, memory)];
    if !index.wrapping_add(offset).is_multiple_of(bytes as u64) {
        return Err(Trap::UnalignedAtomic);
    }
    let at = index.checked_add(offset).and_then(|at| range(at, bytes as u64, memory.len()));
    Ok((memory, at.ok_or(Trap::MemoryOutOfBounds)?.start))
}

fn atomic_wait(
    store: &StoreOpaque,
    instance: u32,
    (memory, index, offset): (u64, u64, u64),
    expected: Expected,
    timeout: u64,
) -> Outcome {
    let (memory, at) = atomic_place(store, instance, memory, index, offset, expected.bytes())?;
    let memory = memory.shared().ok_or(Trap::ExpectedSharedMemory)?;
    let timeout = u64::try_from(timeout as i64).ok().map(Duration::from_nanos);
    Err(Raised::Wait(Wait { memory: memory.clone(), at, expected, timeout }))
}

fn atomic_wait32(
    store: &mut StoreOpaque,
    instance: u32,
    memory: u64,
    index: u64,
    offset: u64,
    expected: u64,
    timeout: u64,
) -> Outcome {
    atomic_wait(store, instance, (memory, index, offset), Expected::I32(expected as u32), timeout)
}

fn atomic_wait64(
    store: &mut StoreOpaque,
    instance: u32,
    memory: u64,
    index: u64,
    offset: u64,
    expected: u64,
    timeout: u64,
) -> Outcome {
    atomic_wait(store, instance, (memory, index, offset), Expected::I64(expected), timeout)
}

fn atomic_notify(store: &mut StoreOpaque, instance: u32, memory: u64, index: u64, offset: u64, count: u64) -> Outcome {
    let (memory, at) = atomic_place(store, instance, memory, index, offset, size_of::<u32>())?;
    // Nobody can wait for another memory.
    Ok(memory.shared().map_or(0, |memory| memory.notify(at, count as u32)) as u64)
}

// ---- Tables ----

fn table_id(store: &StoreOpaque, instance: u32, table: u64) -> u32 {
    store.instances[instance as usize].tables[table as usize]
}

fn table_grow(store: &mut StoreOpaque, instance: u32, table: u64, delta: u64, init: u64) -> Outcome {
    let id = table_id(store, instance, table);
    if !allowed(store, |store| store.allow_table_growth(id as usize, delta))? {
        return Ok(grown(None));
    }
    Ok(grown(instance::table_grow(store, id, delta, init)))
}

fn table_copy(
    store: &mut StoreOpaque,
    instance: u32,
    to_table: u64,
    from_table: u64,
    to: u64,
    from: u64,
    count: u64,
) -> Outcome {
    let (to_id, from_id) = (table_id(store, instance, to_table), table_id(store, instance, from_table));
    instance::table_copy(store, to_id, from_id, to, from, count)?;
    Ok(0)
}

fn table_fill(store: &mut StoreOpaque, instance: u32, table: u64, to: u64, value: u64, count: u64) -> Outcome {
    let id = table_id(store, instance, table);
    instance::table_fill(store, id, to, value, count)?;
    Ok(0)
}

fn table_init(
    store: &mut StoreOpaque,
    instance: u32,
    table: u64,
    segment: u64,
    to: u64,
    from: u64,
    count: u64,
) -> Outcome {
    instance::table_init(store, instance, table as u32, segment as u32, to, from, count)?;
    Ok(0)
}

fn elem_drop(store: &mut StoreOpaque, instance: u32, segment: u64) -> Outcome {
    instance::drop_segment(store, instance, segment as u32);
    Ok(0)
}

fn table_element(store: &mut StoreOpaque, instance: u32, table: u64, index: u64) -> Outcome {
    let id = table_id(store, instance, table);
    let func = table::element(store, id, index as usize);
    Ok(if func.is_null() { NULL_ELEMENT } else { func as u64 })
}

fn ref_func(store: &mut StoreOpaque, instance: u32, function: u64) -> Outcome {
    Ok(instance::func_ref(store, instance, function as u32) as u64)
}

// ---- Objects ----

fn gc_alloc(store: &mut StoreOpaque, _: u32, kind_bits: u64, ty: u64, size: u64, length: u64) -> Outcome {
    let object = NewObject {
        kind: GcKind::of_header(kind_bits as u32),
        ty: ty as TypeIndex,
        size,
        length: (length != u64::MAX).then_some(length as u32),
        host: None,
    };
    Ok(store.allocate(object)?.raw() as u64)
}

fn gc_slow_path(store: &mut StoreOpaque, _: u32, op: u64, a: u64, b: u64, c: u64, d: u64) -> Outcome {
    let result = store.heap_mut().slow_path(SlowOp(op as u32), [a, b, c, d]);
    store.drop_dead_hosts();
    store.collect_if_wanted();
    Ok(result)
}

/// An array that an instruction operates on.
fn array(raw: u64) -> Result<VMGcRef, Trap> {
    VMGcRef::from_raw(raw as u32).ok_or(Trap::NullReference)
}

/// Elements `start..start + count`, if the array has them.
fn elements(store: &StoreOpaque, array: &VMGcRef, start: u64, count: u64) -> Result<(u32, u32), Trap> {
    let length = store.memory().array_length(array) as usize;
    range(start, count, length).ok_or(Trap::ArrayOutOfBounds)?;
    Ok((start as u32, count as u32))
}

/// `count` elements of type `ty` from byte `from` of a data segment.
fn data_range(
    store: &StoreOpaque,
    instance: u32,
    ty: u64,
    segment: u64,
    from: u64,
    count: u64,
) -> Result<std::ops::Range<usize>, Trap> {
    let data = store.instances[instance as usize].data(segment as u32);
    let bytes = count << store.registry().array_layout(ty as TypeIndex).element_log2;
    let part = range(from, bytes, data.len()).ok_or(Trap::MemoryOutOfBounds)?;
    Ok(data.start + part.start..data.start + part.end)
}

fn array_new_data(store: &mut StoreOpaque, instance: u32, ty: u64, segment: u64, from: u64, count: u64) -> Outcome {
    let bytes = data_range(store, instance, ty, segment, from, count)?;
    let array = store.alloc_array(ty as TypeIndex, count as u32)?;
    let (offset, _) = span(store.registry().array_layout(ty as TypeIndex), 0, count as u32);
    store.memory().write_bytes(array.raw(), offset, &store.instances[instance as usize].module.bytes[bytes]);
    Ok(array.raw() as u64)
}

fn array_init_data(
    store: &mut StoreOpaque,
    instance: u32,
    ty: u64,
    to_array: u64,
    to: u64,
    segment: u64,
    from: u64,
    count: u64,
) -> Outcome {
    let array = array(to_array)?;
    let (to, count) = elements(store, &array, to, count)?;
    let bytes = data_range(store, instance, ty, segment, from, count as u64)?;
    let (offset, _) = span(store.registry().array_layout(ty as TypeIndex), to, count);
    store.memory().write_bytes(array.raw(), offset, &store.instances[instance as usize].module.bytes[bytes]);
    Ok(0)
}

fn array_new_elem(store: &mut StoreOpaque, instance: u32, ty: u64, segment: u64, from: u64, count: u64) -> Outcome {
    let len = store.instances[instance as usize].segment_len(segment as u32);
    range(from, count, len).ok_or(Trap::TableOutOfBounds)?;
    let array = store.alloc_array(ty as TypeIndex, count as u32)?;
    copy_segment(store, instance, ty, &array, 0, segment, from, count as u32, Novelty::New);
    Ok(array.raw() as u64)
}

fn array_init_elem(
    store: &mut StoreOpaque,
    instance: u32,
    ty: u64,
    to_array: u64,
    to: u64,
    segment: u64,
    from: u64,
    count: u64,
) -> Outcome {
    let array = array(to_array)?;
    let (to, count) = elements(store, &array, to, count)?;
    let len = store.instances[instance as usize].segment_len(segment as u32);
    range(from, count as u64, len).ok_or(Trap::TableOutOfBounds)?;
    note_elements(store, ty, &array, to, count);
    copy_segment(store, instance, ty, &array, to, segment, from, count, Novelty::Old);
    Ok(0)
}

/// Copies elements of a segment into an array. Bounds have been checked.
fn copy_segment(
    store: &mut StoreOpaque,
    instance: u32,
    ty: u64,
    array: &VMGcRef,
    to: u32,
    segment: u64,
    from: u64,
    count: u32,
    new: Novelty,
) {
    if count == 0 {
        return;
    }
    let (offset, _) = span(store.registry().array_layout(ty as TypeIndex), to, count);
    let from = from as usize..from as usize + count as usize;
    let (heap, parts) = store.parts();
    match &parts.instances[instance as usize].segments[segment as usize] {
        Segment::Dropped => unreachable!("it has no elements"),
        Segment::Funcs => {
            for (i, item) in from.enumerate() {
                let func = instance::segment_func(store, instance, segment as u32, item);
                store.memory().store_u32(array.raw(), offset + i as u32 * 4, store.func_id(func));
            }
        }
        Segment::Refs(cells) => {
            heap.write_refs(BulkWrite {
                to: RefRange::Array { array, start: to, length: count },
                from: BulkSource::Copy(RefRange::Cells { kind: CellKind::Segment, cells: &cells[from] }),
                initializing: new == Novelty::New,
            });
            store.drop_dead_hosts();
        }
    }
}

fn array_copy(
    store: &mut StoreOpaque,
    _: u32,
    ty: u64,
    to_array: u64,
    to: u64,
    from_array: u64,
    from: u64,
    count: u64,
) -> Outcome {
    let (to_array, from_array) = (array(to_array)?, array(from_array)?);
    let (to, count) = elements(store, &to_array, to, count)?;
    let (from, _) = elements(store, &from_array, from, count as u64)?;
    note_elements(store, ty, &to_array, to, count);
    let layout = store.registry().array_layout(ty as TypeIndex);
    if layout.refs && store.engine().gc().compiler().needs().bulk_write {
        store.heap_mut().write_refs(BulkWrite {
            to: RefRange::Array { array: &to_array, start: to, length: count },
            from: BulkSource::Copy(RefRange::Array { array: &from_array, start: from, length: count }),
            initializing: false,
        });
        store.drop_dead_hosts();
    } else if count > 0 {
        let (to, bytes) = span(layout, to, count);
        let (from, _) = span(layout, from, count);
        store.memory().copy_bytes((to_array.raw(), to), (from_array.raw(), from), bytes);
    }
    Ok(0)
}

fn array_new_fill(
    store: &mut StoreOpaque,
    _: u32,
    ty: u64,
    new_array: u64,
    low: u64,
    high: u64,
    count: u64,
) -> Outcome {
    let array = array(new_array)?;
    store.fill_array(&array, ty as TypeIndex, 0, count as u32, element(low, high), Novelty::New);
    Ok(0)
}

fn array_fill(
    store: &mut StoreOpaque,
    _: u32,
    ty: u64,
    to_array: u64,
    to: u64,
    low: u64,
    high: u64,
    count: u64,
) -> Outcome {
    let array = array(to_array)?;
    let (to, count) = elements(store, &array, to, count)?;
    note_elements(store, ty, &array, to, count);
    store.fill_array(&array, ty as TypeIndex, to, count, element(low, high), Novelty::Old);
    Ok(0)
}

/// As `compile::global` emits it before a write that may yet trap.
fn note_write(store: &mut StoreOpaque, _: u32, object: u64, offset: u64) -> Outcome {
    if let Some(object) = VMGcRef::from_raw(object as u32) {
        store.note_write(&object, offset as u32);
    }
    Ok(0)
}

/// Tells the verifier that elements `start..start + count` of an array of references are about to be written.
fn note_elements(store: &StoreOpaque, ty: u64, array: &VMGcRef, start: u32, count: u32) {
    let layout = store.registry().array_layout(ty as TypeIndex);
    if layout.refs && store.engine().config().verify {
        let (offset, _) = span(layout, start, count);
        (0..count).for_each(|i| store.note_write(array, offset + i * size_of::<u32>() as u32));
    }
}

/// An element of an array from the words that hold its bits.
fn element(low: u64, high: u64) -> u128 {
    low as u128 | (high as u128) << 64
}

// ---- Exceptions ----

fn throw_ref(store: &mut StoreOpaque, _: u32, exception: u64) -> Outcome {
    let exception = VMGcRef::from_raw(exception as u32).ok_or(Trap::NullReference)?;
    store.set_exception(&exception);
    Err(Raised::Noted)
}

/// Something is pending: the trampoline goes on to [`unwind_pending`].
fn raise(_: &mut StoreOpaque, _: u32) -> Outcome {
    Err(Raised::Noted)
}

// ---- Interrupts ----

fn epoch_reached(store: &mut StoreOpaque, _: u32) -> Outcome {
    match store.epoch_callback {
        Some(_) => Err(Raised::Deadline),
        None => Err(Trap::Interrupt.into()),
    }
}

fn out_of_fuel(store: &mut StoreOpaque, _: u32) -> Outcome {
    if store.refuel() { Ok(0) } else { Err(Trap::OutOfFuel.into()) }
}
