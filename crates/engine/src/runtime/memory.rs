//! Linear memories.

use crate::types::MemoryType;
use crate::vm::{MEMORY_RESERVATION, VMMemory};
use gc_api::sys::{Protection, Reservation};
use std::io;
use std::ptr::NonNull;

/// Bytes of a page of WebAssembly's.
pub const WASM_PAGE: u64 = 64 << 10;
/// Pages of a memory with 32-bit indices, at most.
const MAX_PAGES: u64 = 1 << 16;

/// A linear memory: address space for all it can become, and the record by which compiled code finds it.
pub struct Memory {
    /// In its instance's context, or a box of its own.
    vm: NonNull<VMMemory>,
    ty: MemoryType,
    reservation: Reservation,
    pages: u64,
}

impl Memory {
    /// A memory of zeroes, described by `vm` from now on.
    ///
    /// # Errors
    /// The system's.
    ///
    /// # Safety
    /// `vm` is valid for writes, and nothing but compiled code of the same store uses it, until the memory is dropped.
    pub unsafe fn new(ty: MemoryType, vm: NonNull<VMMemory>) -> io::Result<Memory> {
        let reservation = Reservation::new(MEMORY_RESERVATION)?;
        let mut memory = Memory { vm, ty, reservation, pages: 0 };
        match memory.grow(ty.min) {
            Some(_) => Ok(memory),
            None => Err(io::Error::other(format!("{} pages cannot be had", ty.min))),
        }
    }

    /// The type, with the current size as the minimum.
    pub fn ty(&self) -> MemoryType {
        MemoryType { min: self.pages, ..self.ty }
    }

    /// The record for compiled code.
    pub fn vm(&self) -> NonNull<VMMemory> {
        self.vm
    }

    /// Pages.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Byte 0.
    pub fn base(&self) -> *mut u8 {
        self.reservation.base()
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        (self.pages * WASM_PAGE) as usize
    }

    /// Adds `delta` pages of zeroes; the old number, or `None` when the maximum or the system does not let it.
    pub fn grow(&mut self, delta: u64) -> Option<u64> {
        let old = self.pages;
        let max = self.ty.max.unwrap_or(MAX_PAGES).min(MAX_PAGES);
        let new = old.checked_add(delta).filter(|new| *new <= max)?;
        let (from, bytes) = ((old * WASM_PAGE) as usize, (delta * WASM_PAGE) as usize);
        self.reservation.protect(from, bytes, Protection::ReadWrite).ok()?;
        self.pages = new;
        // SAFETY: `new`'s caller vouched for `vm`.
        unsafe { self.vm.write(VMMemory { base: self.base(), length: new * WASM_PAGE }) };
        Some(old)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the first `len` bytes are readable; compiled code, which could write them, runs only while the store is borrowed
        // mutably, and the lifetime of the slice borrows it.
        unsafe { std::slice::from_raw_parts(self.base(), self.len()) }
    }

    /// Its bytes, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `bytes`, and the bytes are writable.
        unsafe { std::slice::from_raw_parts_mut(self.base(), self.len()) }
    }
}
