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
//!
//! A store's own memory gets its reservation from a pool and leaves it there: see [`super::pool`].

use super::pool::{Pools, Spare, Use};
use super::shared::{self, SharedMemory};
use crate::types::MemoryType;
use crate::vm::{BoundsCheck, MEMORY_GUARD, MEMORY_RESERVATION, VMMemory};
use gc_api::sys::{Protection, Reservation, page_size};
use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
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

/// A linear memory of a store's.
pub enum Memory {
    /// Its own.
    Local(LocalMemory),
    /// One that other stores may have, too.
    Shared(Arc<SharedMemory>),
}

impl Memory {
    /// The type, with the current size as the minimum.
    pub fn ty(&self) -> MemoryType {
        match self {
            Memory::Local(memory) => memory.ty(),
            Memory::Shared(memory) => memory.ty(),
        }
    }

    /// The record for compiled code.
    pub fn vm(&self) -> NonNull<VMMemory> {
        match self {
            Memory::Local(memory) => memory.vm,
            Memory::Shared(memory) => memory.vm(),
        }
    }

    /// Byte 0.
    pub fn base(&self) -> *mut u8 {
        match self {
            Memory::Local(memory) => memory.space.base(),
            Memory::Shared(memory) => memory.base(),
        }
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        match self {
            Memory::Local(memory) => memory.len(),
            Memory::Shared(memory) => memory.len(),
        }
    }

    /// Adds `delta` pages of zeroes; the old number, or `None` when the maximum, the reservation or the system does not let it.
    pub fn grow(&mut self, delta: u64) -> Option<u64> {
        match self {
            Memory::Local(memory) => memory.grow(delta),
            Memory::Shared(memory) => memory.grow(delta),
        }
    }

    /// The memory, if it is the store's own.
    pub fn local(&self) -> Option<&LocalMemory> {
        if let Memory::Local(memory) = self { Some(memory) } else { None }
    }

    /// The memory, if it is the store's own.
    pub fn local_mut(&mut self) -> Option<&mut LocalMemory> {
        if let Memory::Local(memory) = self { Some(memory) } else { None }
    }

    /// The memory, if it is shared.
    pub fn shared(&self) -> Option<&Arc<SharedMemory>> {
        if let Memory::Shared(memory) = self { Some(memory) } else { None }
    }

    /// Copies `bytes` to `to` on.
    ///
    /// # Panics
    /// When the memory ends before.
    pub fn write(&mut self, to: usize, bytes: &[u8]) {
        match self {
            Memory::Local(memory) => memory.bytes_mut()[to..][..bytes.len()].copy_from_slice(bytes),
            Memory::Shared(memory) => memory.write(to, bytes),
        }
    }

    /// Sets all bytes in `range` to `value`.
    ///
    /// # Panics
    /// When the memory ends before.
    pub fn fill(&mut self, range: Range<usize>, value: u8) {
        match self {
            Memory::Local(memory) => memory.bytes_mut()[range].fill(value),
            Memory::Shared(memory) => memory.fill(range, value),
        }
    }

    /// Copies `bytes` bytes from one memory to another or the same, as if all were read first.
    ///
    /// # Panics
    /// When one of the memories ends before.
    pub fn copy((to, to_start): (&Memory, usize), (from, from_start): (&Memory, usize), bytes: usize) {
        let inside = |memory: &Memory, start: usize| start.checked_add(bytes).is_some_and(|end| end <= memory.len());
        assert!(inside(to, to_start) && inside(from, from_start), "a copy is inside its memories");
        let (target, source) = (to.base().wrapping_add(to_start), from.base().wrapping_add(from_start));
        // SAFETY: both ranges are inside their memories, as just checked. A memory of the store's own is used by nobody else now.
        unsafe {
            match (to, from) {
                (Memory::Local(_), Memory::Local(_)) => std::ptr::copy(source, target, bytes),
                _ => shared::copy(target, source, bytes),
            }
        }
    }
}

/// Address space for all that a memory can become. Whatever becomes accessible reads as zero.
pub struct Space {
    ty: MemoryType,
    reservation: Reservation,
    /// Pages that there is room for.
    max: u64,
    /// Bytes that were accessible at first.
    accessible: usize,
}

impl Space {
    /// Space for a memory, with the pages accessible that it has at the start.
    ///
    /// # Errors
    /// When the memory would be too large at the start, or the system has no room for it.
    pub fn new(ty: MemoryType, pools: Option<&Pools>) -> Result<Space, MemoryError> {
        let bytes = ty.bytes(ty.min);
        if bytes > MAX_MEMORY_BYTES {
            return Err(MemoryError::Limit { pages: ty.min, page: ty.bytes(1) });
        }
        let refused = |cause| MemoryError::System { bytes, cause };
        let (Spare { reservation, accessible }, room) = reserve(&ty, pools).map_err(refused)?;
        let max = (room >> ty.page_size_log2).min(ty.max.unwrap_or(u64::MAX)).min(max_pages(&ty));
        let space = Space { ty, reservation, max, accessible };
        space.start().map_err(refused)?;
        Ok(space)
    }

    /// The memory's type, as it was declared.
    pub fn ty(&self) -> MemoryType {
        self.ty
    }

    /// Byte 0.
    pub fn base(&self) -> *mut u8 {
        self.reservation.base()
    }

    /// Makes `delta` pages behind the `old` ones accessible; all pages.
    ///
    /// # Errors
    /// When they would be more than the maximum, or there is no room for; or the system's.
    pub fn grow(&self, old: u64, delta: u64) -> io::Result<u64> {
        let new = old.checked_add(delta).filter(|new| *new <= self.max).ok_or(io::ErrorKind::OutOfMemory)?;
        let (from, to) = (self.system_bytes(old), self.system_bytes(new));
        self.reservation.protect(from, to - from, Protection::ReadWrite)?;
        Ok(new)
    }

    /// Makes the pages accessible that the memory has at the start, and no others.
    fn start(&self) -> io::Result<()> {
        let (now, wanted) = (self.accessible, self.system_bytes(self.ty.min));
        match now < wanted {
            true => self.reservation.protect(now, wanted - now, Protection::ReadWrite),
            false => self.reservation.protect(wanted, now - wanted, Protection::None),
        }
    }

    /// Bytes that are accessible when the memory has so many pages: the system's pages may be larger than the memory's.
    fn system_bytes(&self, pages: u64) -> usize {
        (self.ty.bytes(pages) as usize).next_multiple_of(page_size())
    }
}

/// A linear memory that only one store uses, and the record by which compiled code finds it.
pub struct LocalMemory {
    /// In its instance's context, or a box of its own.
    vm: NonNull<VMMemory>,
    space: Space,
    pages: u64,
}

impl LocalMemory {
    /// A memory of zeroes, described by `vm` from now on.
    ///
    /// # Errors
    /// When it would be too large, or the system has no room for it.
    ///
    /// # Safety
    /// `vm` is valid for writes, and nothing but compiled code of the same store uses it, until the memory is dropped.
    pub unsafe fn new(ty: MemoryType, vm: NonNull<VMMemory>, pools: &Pools) -> Result<LocalMemory, MemoryError> {
        let space = Space::new(ty, Some(pools))?;
        let memory = LocalMemory { vm, space, pages: ty.min };
        memory.publish();
        Ok(memory)
    }

    /// Leaves the space to the next memory.
    pub fn give_back(self, pools: &Pools) {
        let space = &self.space;
        let (used, first) = (space.system_bytes(self.pages), space.system_bytes(space.ty.min));
        pools.give_back(Use::Memory, self.space.reservation, used, first);
    }

    /// The type, with the current size as the minimum.
    pub fn ty(&self) -> MemoryType {
        MemoryType { min: self.pages, ..self.space.ty }
    }

    /// Pages.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.space.ty.bytes(self.pages) as usize
    }

    /// As [`Memory::grow`].
    pub fn grow(&mut self, delta: u64) -> Option<u64> {
        let old = self.pages;
        self.pages = self.space.grow(old, delta).ok()?;
        self.publish();
        Some(old)
    }

    fn publish(&self) {
        let length = AtomicU64::new(self.len() as u64);
        // SAFETY: `new`'s caller vouched for `vm`.
        unsafe { self.vm.write(VMMemory { base: self.space.base(), length }) };
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the first `len` bytes are readable; compiled code, which could write them, runs only while the store is borrowed
        // mutably, and the lifetime of the slice borrows it.
        unsafe { std::slice::from_raw_parts(self.space.base(), self.len()) }
    }

    /// Its bytes, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `bytes`, and the bytes are writable.
        unsafe { std::slice::from_raw_parts_mut(self.space.base(), self.len()) }
    }
}

/// Address space for a memory, and how many bytes of it the memory may have.
fn reserve(ty: &MemoryType, pools: Option<&Pools>) -> io::Result<(Spare, u64)> {
    let least = ty.bytes(ty.min);
    let reserve = |bytes: u64| match pools {
        Some(pools) => pools.reserve(Use::Memory, bytes as usize, (least as usize).next_multiple_of(page_size())),
        None => Ok(Spare { reservation: Reservation::new(bytes as usize)?, accessible: 0 }),
    };
    let guard = match BoundsCheck::of(ty) {
        BoundsCheck::None => return Ok((reserve(MEMORY_RESERVATION)?, ty.bytes(max_pages(ty)))),
        BoundsCheck::Index => MEMORY_GUARD,
        BoundsCheck::End => 0,
    };
    let max = ty.max.map_or(UNBOUNDED_RESERVATION, |max| ty.bytes(max)).min(ty.bytes(max_pages(ty)));
    let mut room = max.clamp(least, MAX_MEMORY_BYTES);
    loop {
        match reserve(room + guard) {
            Ok(spare) => return Ok((spare, room)),
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

    fn memory(ty: MemoryType, vm: &mut VMMemory) -> Result<LocalMemory, MemoryError> {
        // SAFETY: callers let the record live longer than the memory.
        unsafe { LocalMemory::new(ty, NonNull::from(vm), &Pools::new(crate::api::Pooling::NONE)) }
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
            let mut vm = VMMemory::empty();
            let mut memory = memory(ty, &mut vm).unwrap();
            let base = memory.bytes().as_ptr();
            assert_eq!(memory.grow(max), None, "{ty}");
            assert_eq!(memory.grow(u64::MAX), None, "{ty}");
            assert_eq!(memory.grow(max - 2), Some(1), "{ty}");
            assert_eq!(memory.grow(2), None, "{ty}");
            assert_eq!(memory.grow(1), Some(max - 1), "{ty}");
            assert_eq!(memory.grow(0), Some(max), "{ty}");
            assert_eq!((memory.pages(), memory.len() as u64), (max, ty.bytes(max)), "{ty}");
            let last = memory.bytes_mut().last_mut().unwrap();
            assert_eq!(std::mem::replace(last, 1), 0, "{ty}");
            assert_eq!((vm.base.cast_const(), vm.length.into_inner()), (base, ty.bytes(max)), "{ty}");
        }
    }

    #[test]
    fn what_is_beyond_the_limit_is_refused_with_a_number() {
        let mut vm = VMMemory::empty();
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
