//! Tables.

use crate::types::TableType;
use crate::vm::{VMFuncRef, VMTable};
use gc_api::RefCell32;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Elements that a table may have, whatever its type says: 2 GiB of function references.
pub const MAX_TABLE_ELEMENTS: u64 = 1 << 28;

/// Why there is no table of `min` elements.
pub fn refusal(min: u64) -> String {
    match min > MAX_TABLE_ELEMENTS {
        true => format!("{min} elements are more than the limit of {MAX_TABLE_ELEMENTS} elements"),
        false => format!("{min} elements cannot be had"),
    }
}

/// A table: its elements, and the record by which compiled code finds them.
pub struct Table {
    /// In its instance's context, or a box of its own.
    vm: NonNull<VMTable>,
    ty: TableType,
    elements: Elements,
}

/// The elements of a table.
pub enum Elements {
    /// Addresses of [`VMFuncRef`]s, or 0.
    Funcs(Vec<AtomicU64>),
    /// References into the heap.
    Refs(Vec<RefCell32>),
}

impl Table {
    /// A table of nulls, described by `vm` from now on. `None` when there is no memory for it.
    ///
    /// # Safety
    /// `vm` is valid for writes, and nothing but compiled code of the same store uses it, until the table is dropped.
    pub unsafe fn new(ty: TableType, vm: NonNull<VMTable>) -> Option<Table> {
        let elements = match ty.element.is_gc_ref() {
            true => Elements::Refs(Vec::new()),
            false => Elements::Funcs(Vec::new()),
        };
        let mut table = Table { vm, ty, elements };
        table.grow(ty.min)?;
        Some(table)
    }

    /// The type, with the current length as the minimum.
    pub fn ty(&self) -> TableType {
        TableType { min: self.len(), ..self.ty }
    }

    /// The record for compiled code.
    pub fn vm(&self) -> NonNull<VMTable> {
        self.vm
    }

    /// Number of elements.
    pub fn len(&self) -> u64 {
        match &self.elements {
            Elements::Funcs(elements) => elements.len() as u64,
            Elements::Refs(elements) => elements.len() as u64,
        }
    }

    /// The elements.
    pub fn elements(&self) -> &Elements {
        &self.elements
    }

    /// Adds `delta` nulls; the old length, or `None` when the maximum or the memory does not let it.
    pub fn grow(&mut self, delta: u64) -> Option<u64> {
        let old = self.len();
        let max = self.ty.max.unwrap_or(u64::MAX).min(MAX_TABLE_ELEMENTS);
        let new = old.checked_add(delta).filter(|new| *new <= max)? as usize;
        match &mut self.elements {
            Elements::Funcs(elements) => grow_zeroed(elements, new, || AtomicU64::new(0))?,
            Elements::Refs(elements) => grow_zeroed(elements, new, RefCell32::null)?,
        }
        let base = match &self.elements {
            Elements::Funcs(elements) => elements.as_ptr() as *mut u8,
            Elements::Refs(elements) => elements.as_ptr() as *mut u8,
        };
        // SAFETY: `new`'s caller vouched for `vm`.
        unsafe { self.vm.write(VMTable { base, length: new as u64 }) };
        Some(old)
    }
}

/// Makes `elements` longer. What is added must be all zero bytes; much of it comes zeroed from the system, untouched.
fn grow_zeroed<T>(elements: &mut Vec<T>, len: usize, zero: impl FnMut() -> T) -> Option<()> {
    const UNTOUCHED: usize = 1 << 16;
    if len <= elements.capacity() || len < UNTOUCHED {
        elements.try_reserve(len - elements.len()).ok()?;
        elements.resize_with(len, zero);
        return Some(());
    }
    let capacity = len.max(elements.capacity() * 2);
    let layout = std::alloc::Layout::array::<T>(capacity).ok()?;
    // SAFETY: the layout is not empty: `capacity >= UNTOUCHED`, and no element type here is zero-sized.
    let memory = unsafe { std::alloc::alloc_zeroed(layout) }.cast::<T>();
    if memory.is_null() {
        return None;
    }
    // SAFETY: fresh memory for `capacity` elements; all its bytes are zero, which is a valid `T` (the caller's promise), so the
    // first `len` are initialised whether or not they are then overwritten with the old elements.
    unsafe {
        std::ptr::copy_nonoverlapping(elements.as_ptr(), memory, elements.len());
        // The old elements have moved out.
        elements.set_len(0);
        *elements = Vec::from_raw_parts(memory, len, capacity);
    }
    Some(())
}

/// The function reference in an element.
pub fn load_func(element: &AtomicU64) -> *const VMFuncRef {
    element.load(Relaxed) as *const VMFuncRef
}
