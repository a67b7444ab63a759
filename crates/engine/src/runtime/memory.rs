//! Linear memories.
//!
//! A memory never moves: address space is reserved for all that it can become, and growth makes more of it accessible. What is
//! reserved, by the memory's [`BoundsCheck`]:
//!
//! - With 32-bit indices and ordinary pages, [`MEMORY_RESERVATION`]: whatever compiled code accesses is inside.
//! - Else what the type's maximum says, at most [`MAX_MEMORY_BYTES`]; [`UNBOUNDED_RESERVATION`] when it says nothing. Where the
//!   system does not have that much address space, half of it is asked for, and so on down to the size at the start. A
//!   memory with 64-bit indices and ordinary pages has [`MEMORY_GUARD`] bytes behind that.
//!
//! A memory cannot grow beyond its reservation, whatever its type says.

use crate::types::MemoryType;
use crate::vm::{BoundsCheck, MEMORY_GUARD, MEMORY_RESERVATION, VMMemory};
use gc_api::sys::{Protection, Reservation, page_size};
use std::io;
use std::ptr::NonNull;
use thiserror::Error;

/// Bytes that a memory may have, whatever its type says: 1 TiB.
pub const MAX_MEMORY_BYTES: u64 = 1 << 40;

/// Bytes that are reserved for a memory with 64-bit indices whose type has no maximum: 64 GiB.
pub const UNBOUNDED_RESERVATION: u64 = 64 << 30;

/// Why there is no memory.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// It would be larger than any memory may be.
    #[error("{pages} pages of {page} bytes are more than the limit of {MAX_MEMORY_BYTES} bytes (1 TiB)")]
    Limit {
        /// The pages that it was to have at the start.
        pages: u64,
        /// Bytes of a page.
        page: u64,
    },
    /// The system has no room.
    #[error("{bytes} bytes cannot be had: {cause}")]
    System {
        /// What it was to have at the start.
        bytes: u64,
        /// What the system says.
        cause: io::Error,
    },
}

/// A linear memory: address space for all it can become, and the record by which compiled code finds it.
pub struct Memory {
    /// In its instance's context, or a box of its own.
    vm: NonNull<VMMemory>,
    ty: MemoryType,
    reservation: Reservation,
    /// Pages that it has room for.
    max: u64,
    pages: u64,
}

impl Memory {
    /// A memory of zeroes, described by `vm` from now on.
    ///
    /// # Errors
    /// When it would be too large, or the system has no room for it.
    ///
    /// # Safety
    /// `vm` is valid for writes, and nothing but compiled code of the same store uses it, until the memory is dropped.
    pub unsafe fn new(ty: MemoryType, vm: NonNull<VMMemory>) -> Result<Memory, MemoryError> {
        let bytes = ty.bytes(ty.min);
        if bytes > MAX_MEMORY_BYTES {
            return Err(MemoryError::Limit { pages: ty.min, page: ty.bytes(1) });
        }
        let system = |cause| MemoryError::System { bytes, cause };
        let (reservation, room) = reserve(&ty).map_err(system)?;
        let max = (room >> ty.page_size_log2).min(ty.max.unwrap_or(u64::MAX)).min(max_pages(&ty));
        let mut memory = Memory { vm, ty, reservation, max, pages: 0 };
        memory.try_grow(ty.min).map_err(system)?;
        Ok(memory)
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
        self.ty.bytes(self.pages) as usize
    }

    /// Adds `delta` pages of zeroes; the old number, or `None` when the maximum, the reservation or the system does not let it.
    pub fn grow(&mut self, delta: u64) -> Option<u64> {
        self.try_grow(delta).ok()
    }

    fn try_grow(&mut self, delta: u64) -> io::Result<u64> {
        let old = self.pages;
        let new = old.checked_add(delta).filter(|new| *new <= self.max).ok_or(io::ErrorKind::OutOfMemory)?;
        // The system's pages may be larger than the memory's, so that the first of them is accessible already.
        let system_pages = |pages| (self.ty.bytes(pages) as usize).next_multiple_of(page_size());
        let (from, to) = (system_pages(old), system_pages(new));
        self.reservation.protect(from, to - from, Protection::ReadWrite)?;
        self.pages = new;
        // SAFETY: `new`'s caller vouched for `vm`.
        unsafe { self.vm.write(VMMemory { base: self.base(), length: self.ty.bytes(new) }) };
        Ok(old)
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

/// Address space for a memory, and how many bytes of it the memory may have.
fn reserve(ty: &MemoryType) -> io::Result<(Reservation, u64)> {
    let guard = match BoundsCheck::of(ty) {
        BoundsCheck::None => return Ok((Reservation::new(MEMORY_RESERVATION as usize)?, ty.bytes(max_pages(ty)))),
        BoundsCheck::Index => MEMORY_GUARD,
        BoundsCheck::End => 0,
    };
    let least = ty.bytes(ty.min);
    let max = ty.max.map_or(UNBOUNDED_RESERVATION, |max| ty.bytes(max)).min(ty.bytes(max_pages(ty)));
    let mut room = max.clamp(least, MAX_MEMORY_BYTES);
    loop {
        match Reservation::new((room + guard) as usize) {
            Ok(reservation) => return Ok((reservation, room)),
            Err(error) if room == least => return Err(error),
            Err(_) => room = (room / 2).max(least),
        }
    }
}

/// Pages that the indices of a memory can count. All of 2³² bytes could not be told from none.
fn max_pages(ty: &MemoryType) -> u64 {
    match (ty.is_64, ty.page_size_log2) {
        (false, 0) => u32::MAX as u64,
        (false, log2) => 1 << (32 - log2),
        (true, _) => u64::MAX >> ty.page_size_log2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr;

    fn record() -> VMMemory {
        VMMemory { base: ptr::null_mut(), length: 0 }
    }

    fn memory(ty: MemoryType, vm: &mut VMMemory) -> Result<Memory, MemoryError> {
        // SAFETY: callers let the record live longer than the memory.
        unsafe { Memory::new(ty, NonNull::from(vm)) }
    }

    #[test]
    fn a_memory_grows_to_its_maximum_where_it_stands() {
        for (ty, max) in [
            (MemoryType::new(1, Some(3)), 3),
            (MemoryType::new(1, None), 1 << 16),
            (MemoryType::new_64(1, Some(3)), 3),
            (MemoryType::new_64(1, None), UNBOUNDED_RESERVATION >> 16),
            (MemoryType::new_64(1, Some(1 << 48)), MAX_MEMORY_BYTES >> 16),
            (MemoryType::new(1, None).with_byte_pages(), u32::MAX as u64),
            (MemoryType::new_64(1, Some(5_000)).with_byte_pages(), 5_000),
        ] {
            let mut vm = record();
            let mut memory = memory(ty, &mut vm).unwrap();
            let base = memory.base();
            assert_eq!(memory.grow(max), None, "{ty}");
            assert_eq!(memory.grow(u64::MAX), None, "{ty}");
            assert_eq!(memory.grow(max - 2), Some(1), "{ty}");
            assert_eq!(memory.grow(2), None, "{ty}");
            assert_eq!(memory.grow(1), Some(max - 1), "{ty}");
            assert_eq!(memory.grow(0), Some(max), "{ty}");
            assert_eq!((memory.base(), memory.pages(), memory.len() as u64), (base, max, ty.bytes(max)), "{ty}");
            let last = memory.bytes_mut().last_mut().unwrap();
            assert_eq!(std::mem::replace(last, 1), 0, "{ty}");
            assert_eq!((vm.base, vm.length), (base, ty.bytes(max)), "{ty}");
        }
    }

    #[test]
    fn what_is_beyond_the_limit_is_refused_with_a_number() {
        let mut vm = record();
        for ty in [
            MemoryType::new_64((MAX_MEMORY_BYTES >> 16) + 1, None),
            MemoryType::new_64(1 << 48, None),
            MemoryType::new_64(u64::MAX, None).with_byte_pages(),
        ] {
            let error = memory(ty, &mut vm).map(|_| ()).unwrap_err();
            assert!(matches!(error, MemoryError::Limit { .. }), "{error}");
            assert!(error.to_string().contains("1099511627776 bytes"), "{error}");
        }
        let largest = MemoryType::new_64(MAX_MEMORY_BYTES >> 16, None);
        assert_eq!(memory(largest, &mut vm).unwrap().len() as u64, MAX_MEMORY_BYTES);
    }
}
