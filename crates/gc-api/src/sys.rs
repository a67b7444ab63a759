//! The system calls of this crate: reserving, committing and returning address space.

use rustix::mm::{self, Advice, MapFlags, MprotectFlags, ProtFlags};
use std::ffi::c_void;
use std::io;
use std::ptr::{self, NonNull};

/// A private, anonymous mapping that is unmapped when dropped. Starts inaccessible.
#[derive(Debug)]
pub struct Reservation {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a `Reservation` is an address range; it gives out raw pointers only, and its methods are system
// calls on ranges that the caller vouches for.
unsafe impl Send for Reservation {}
// SAFETY: as above.
unsafe impl Sync for Reservation {}

/// What a page range of a [`Reservation`] may be used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protection {
    /// Any access faults.
    None,
    /// Loads only.
    Read,
    /// Loads and stores.
    ReadWrite,
    /// Loads and instruction fetches.
    ReadExecute,
}

impl Reservation {
    /// Reserves `bytes` (rounded up to pages) of inaccessible address space, which costs no memory.
    ///
    /// # Errors
    /// The system's, most likely `ENOMEM` when the process has used up its address space.
    pub fn new(bytes: usize) -> io::Result<Self> {
        let bytes = bytes.max(1).next_multiple_of(page_size());
        // SAFETY: a fresh private mapping at an address that the system chooses.
        let base = unsafe {
            mm::mmap_anonymous(ptr::null_mut(), bytes, ProtFlags::empty(), MapFlags::PRIVATE | MapFlags::NORESERVE)?
        };
        let base = NonNull::new(base.cast()).expect("mmap returns no null");
        Ok(Reservation { base, bytes })
    }

    /// The first byte of the range.
    pub fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Bytes reserved.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is reserved; never true.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    fn check(&self, offset: usize, bytes: usize) {
        assert!(offset.checked_add(bytes).is_some_and(|end| end <= self.bytes), "range outside the reservation");
    }

    /// Changes what `bytes` from `offset` on (both multiples of the page size) may be used for.
    ///
    /// # Errors
    /// The system's.
    ///
    /// # Panics
    /// When the range is not inside the reservation.
    pub fn protect(&self, offset: usize, bytes: usize, protection: Protection) -> io::Result<()> {
        self.check(offset, bytes);
        if bytes == 0 {
            return Ok(());
        }
        let flags = match protection {
            Protection::None => MprotectFlags::empty(),
            Protection::Read => MprotectFlags::READ,
            Protection::ReadWrite => MprotectFlags::READ | MprotectFlags::WRITE,
            Protection::ReadExecute => MprotectFlags::READ | MprotectFlags::EXEC,
        };
        // SAFETY: the range is inside this mapping, which nothing else owns.
        unsafe { mm::mprotect(self.at(offset), bytes, flags)? }
        Ok(())
    }

    /// Gives the range's memory back to the system; it reads as zero afterwards.
    ///
    /// # Errors
    /// The system's.
    pub fn discard(&self, offset: usize, bytes: usize) -> io::Result<()> {
        self.check(offset, bytes);
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the range is inside this private anonymous mapping; its contents are given up on purpose.
        unsafe { mm::madvise(self.at(offset), bytes, Advice::LinuxDontNeed)? }
        Ok(())
    }

    /// Backs accessible pages with memory before they are touched; a hint that may do nothing.
    pub fn populate(&self, offset: usize, bytes: usize) {
        self.check(offset, bytes);
        #[cfg(target_os = "linux")]
        // SAFETY: as in `discard`; this advice changes no contents.
        let _ = unsafe { mm::madvise(self.at(offset), bytes, Advice::LinuxPopulateWrite) };
    }

    fn at(&self, offset: usize) -> *mut c_void {
        self.base().wrapping_add(offset).cast()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: made by `new`, unmapped once; whoever holds pointers into it has promised to be gone.
        let _ = unsafe { mm::munmap(self.at(0), self.bytes) };
    }
}

/// Bytes of a page of the system's.
pub fn page_size() -> usize {
    rustix::param::page_size()
}
