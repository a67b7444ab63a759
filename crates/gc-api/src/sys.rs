//! The system calls of this crate: reserving, committing and returning address space.
//!
//! [`Reservation::wipe`] makes memory zero again for whoever uses it next. What costs there is not the zeroes but page faults: a
//! page that is returned to the system and touched again costs some hundred times what 4 KiB of `memset` cost. So what is
//! resident is cleared where it is, up to a limit; only the rest goes back.

use rustix::mm::{self, Advice, MapFlags, MprotectFlags, ProtFlags};
use std::ffi::c_void;
use std::io;
use std::ops::Range;
use std::ptr::{self, NonNull};

/// [`Reservation::wipe`] clears so many bytes without a look at which are resident: that is cheaper than the system call.
const CLEARED_BYTES: usize = 64 << 10;
/// [`Reservation::wipe`] looks for resident pages in so many bytes: the look costs time for each page, resident or not.
const SCANNED_BYTES: usize = 4 << 20;
/// Pages that one system call tells about.
const SCAN_STEP: usize = 1 << 10;

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
        let bytes = Reservation::rounded(bytes);
        // SAFETY: a fresh private mapping at an address that the system chooses.
        let base = unsafe {
            mm::mmap_anonymous(ptr::null_mut(), bytes, ProtFlags::empty(), MapFlags::PRIVATE | MapFlags::NORESERVE)?
        };
        let base = NonNull::new(base.cast()).expect("mmap returns no null");
        Ok(Reservation { base, bytes })
    }

    /// The length of a reservation of `bytes` bytes.
    pub fn rounded(bytes: usize) -> usize {
        bytes.max(1).next_multiple_of(page_size())
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

    /// Makes accessible pages read as zero. Up to `keep` bytes of what is resident among the first 4 MiB are cleared and stay
    /// resident; the rest is given back to the system.
    ///
    /// # Errors
    /// The system's, or that it is none on which this works: then some of the contents may still be there.
    ///
    /// # Panics
    /// When the range is not inside the reservation, or not one of whole pages.
    pub fn wipe(&self, offset: usize, bytes: usize, keep: usize) -> io::Result<()> {
        self.check(offset, bytes);
        let page = page_size();
        assert!(offset.is_multiple_of(page) && bytes.is_multiple_of(page), "whole pages are wiped");
        if bytes <= CLEARED_BYTES.min(keep) {
            self.clear(offset, bytes);
            return Ok(());
        }
        if cfg!(not(target_os = "linux")) {
            // Elsewhere, what `discard` gives back need not read as zero.
            return Err(io::ErrorKind::Unsupported.into());
        }
        // Up to here all is zero, or given back.
        let mut done = offset;
        let mut left = keep / page * page;
        self.for_each_resident(offset, bytes.min(SCANNED_BYTES), |found| {
            let kept = found.len().min(left);
            // What is not resident may be with the system, swapped out: it goes back as well.
            self.discard(done, found.start - done)?;
            self.clear(found.start, kept);
            left -= kept;
            done = found.start + kept;
            Ok(())
        })?;
        self.discard(done, offset + bytes - done)
    }

    /// Bytes of a range's pages that are in memory.
    ///
    /// # Errors
    /// The system's.
    ///
    /// # Panics
    /// When the range is not inside the reservation.
    pub fn resident_bytes(&self, offset: usize, bytes: usize) -> io::Result<usize> {
        self.check(offset, bytes);
        let mut resident = 0;
        self.for_each_resident(offset, bytes, |found| {
            resident += found.len();
            Ok(())
        })?;
        Ok(resident)
    }

    /// Calls `found` with ranges of offsets whose pages are in memory, in order. What lies between them is not, or is swapped out.
    fn for_each_resident(
        &self,
        offset: usize,
        bytes: usize,
        mut found: impl FnMut(Range<usize>) -> io::Result<()>,
    ) -> io::Result<()> {
        let page = page_size();
        for start in (offset..offset + bytes).step_by(SCAN_STEP * page) {
            let len = (offset + bytes - start).min(SCAN_STEP * page);
            let mut pages = [0u8; SCAN_STEP];
            // SAFETY: the range is inside this mapping, and `pages` has room for an entry a page.
            if unsafe { libc::mincore(self.at(start), len, pages.as_mut_ptr().cast()) } != 0 {
                return Err(io::Error::last_os_error());
            }
            let mut at = start;
            for run in pages[..len.div_ceil(page)].chunk_by(|a, b| a & 1 == b & 1) {
                let end = at + run.len() * page;
                if run[0] & 1 == 1 {
                    found(at..end)?;
                }
                at = end;
            }
        }
        Ok(())
    }

    /// Sets accessible bytes to 0.
    fn clear(&self, offset: usize, bytes: usize) {
        self.check(offset, bytes);
        // SAFETY: the range is inside this mapping; as in `discard`, its contents are given up on purpose.
        unsafe { ptr::write_bytes(self.base().wrapping_add(offset), 0, bytes) }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A reservation of which `bytes` are accessible.
    fn open(bytes: usize) -> Reservation {
        let reservation = Reservation::new(bytes + page_size()).unwrap();
        reservation.protect(0, bytes, Protection::ReadWrite).unwrap();
        reservation
    }

    fn write(reservation: &Reservation, page: usize) {
        reservation.check(page * page_size(), page_size());
        // SAFETY: inside the reservation, whose pages the tests make accessible; this thread alone uses it.
        unsafe { ptr::write_bytes(reservation.base().wrapping_add(page * page_size()), 0xAB, page_size()) }
    }

    fn is_zero(reservation: &Reservation, bytes: usize) -> bool {
        reservation.check(0, bytes);
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(reservation.base(), bytes) }.iter().all(|byte| *byte == 0)
    }

    #[test]
    fn what_is_wiped_is_zero_and_keeps_no_more_than_it_may() {
        let page = page_size();
        let (small, scanned, large) = (CLEARED_BYTES / page, SCANNED_BYTES / page, 3 * SCANNED_BYTES / page);
        for pages in [1, small, small + 1, scanned, large] {
            for keep in [0, 1, 4, 64, 10_000] {
                // None, the first and last, scattered ones, all.
                for step in [usize::MAX, pages.max(2) - 1, 7, 1] {
                    let reservation = open(pages * page);
                    let written = (0..pages).step_by(step).skip(usize::from(step == usize::MAX));
                    written.for_each(|i| write(&reservation, i));
                    reservation.wipe(0, pages * page, keep * page).unwrap();
                    let resident = reservation.resident_bytes(0, pages * page).unwrap();
                    assert!(resident <= (keep * page).min(SCANNED_BYTES), "{pages} {keep} {step}: {resident}");
                    assert!(is_zero(&reservation, pages * page), "{pages} pages, {keep} kept, each {step}th written");
                }
            }
        }
    }

    #[test]
    fn what_is_kept_stays_resident() {
        let page = page_size();
        let reservation = open(100 * page);
        [3, 4, 50, 99].into_iter().for_each(|i| write(&reservation, i));
        let resident = || -> Vec<usize> {
            (0..100).filter(|i| reservation.resident_bytes(i * page, page).unwrap() == page).collect()
        };
        // At least those four: the system may make more of them resident at once.
        let before = resident();
        reservation.wipe(0, 100 * page, 3 * page).unwrap();
        assert_eq!(resident(), before[..3]);
    }

    #[test]
    fn only_the_range_is_wiped() {
        let page = page_size();
        for keep in [0, 4 * page, 1 << 20] {
            let reservation = open(40 * page);
            (0..40).for_each(|i| write(&reservation, i));
            reservation.wipe(2 * page, 30 * page, keep).unwrap();
            // SAFETY: inside the reservation, and accessible.
            let bytes = unsafe { std::slice::from_raw_parts(reservation.base(), 40 * page) };
            let dirty: Vec<usize> = (0..40).filter(|i| bytes[i * page] != 0).collect();
            assert_eq!(dirty, [0, 1, 32, 33, 34, 35, 36, 37, 38, 39]);
        }
    }
}
