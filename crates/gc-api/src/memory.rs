//! The memory of one heap: an index space of 4 GiB, the collector's cells, and side tables, all at
//! offsets from one base address that compiled code holds.
//!
//! ```text
//!   side tables (each grows down from the last)   cells    null guard     objects …      guard
//! |---------------------------------------------|--------|------------|----------------|--------|
//!                                             -4 KiB   index 0      64 KiB           4 GiB
//! ```
//!
//! * The whole range is reserved and inaccessible; [`HeapMemory::commit`] opens the objects' part step by step,
//!   up to the heap's limit. So any 32-bit index plus a field offset below the guard's size stays inside the
//!   reservation, and a corrupt reference reads garbage of *this heap*, or faults.
//! * Indices below [`FIRST_INDEX`] stay inaccessible, so that a null access faults.
//! * The accessors are safe: they check against the committed size and are relaxed atomics, so that a
//!   collector's thread may read while the program runs. Compiled code uses plain loads and stores.

mod log_buffer;
mod side_table;

pub use log_buffer::LogBuffer;
pub use side_table::{SideEntry, SideTable};

use crate::sys::{Protection, Reservation, page_size};
use crate::{HeapError, OBJECT_ALIGN, VMGcHeader, VMGcRef};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

/// The first index at which an object can start; everything below faults.
pub const FIRST_INDEX: u32 = 64 << 10;
/// Bytes of the index space.
pub const INDEX_SPACE: u64 = 1 << 32;
/// Field offsets below this need no check: base + any index + offset is inside the reservation.
pub const GUARD_BYTES: u64 = 32 << 20;
/// Bytes from the base to the end of the reservation. A fault in there is a null access below [`FIRST_INDEX`], and a corrupt
/// reference from there on.
pub const HEAP_SPAN: u64 = INDEX_SPACE + GUARD_BYTES;
/// Bytes from the base *down* to cell 0.
pub const CELLS_BELOW_BASE: i32 = 4096;
/// Number of 64-bit cells.
pub const CELL_COUNT: usize = 64;
/// Growth by at most so many bytes is backed with memory at once.
const POPULATE_BYTES: usize = 8 << 20;
/// Bytes that [`HeapMemory::fill_pattern`] copies at a time, at most.
const PATTERN_STEP: u32 = 4 << 10;
/// [`HeapMemory::reset_touched`] clears up to so many bytes rather than return them to the system.
const CLEARED_BYTES: u32 = 256 << 10;
/// Address space for side tables.
const SIDE_BYTES: usize = 2 << 30;
/// This part of the limit at least is kept for the lists of a collector that has some.
const LISTS_PART: u64 = 128;
/// Side tables take so many parts of a byte for each byte of the index space.
const SHARES_LOG2: u32 = 32;

/// One of the 64-bit words that a heap shares with its compiled code, at a constant offset from the base.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell(u8);

impl Cell {
    /// Next index of the inline bump allocator.
    pub const BUMP: Cell = Cell(0);
    /// First index behind the inline bump allocator's region.
    pub const LIMIT: Cell = Cell(1);
    /// Objects allocated inline, where the program is compiled to count them.
    pub const OBJECTS: Cell = Cell(2);
    /// [`HeapMemory::committed`]: the memory's own, for others to read.
    pub const COMMITTED: Cell = Cell(3);

    /// The `n`-th cell that is the collector's own.
    ///
    /// # Panics
    /// When `n` is 48 or more.
    pub const fn own(n: u8) -> Cell {
        assert!(n < 48);
        Cell(n + 16)
    }

    /// Offset in bytes from the heap's base: negative.
    pub const fn offset(self) -> i32 {
        -CELLS_BELOW_BASE + self.0 as i32 * 8
    }
}

/// The memory of one heap. Clones share it.
#[derive(Clone, Debug)]
pub struct HeapMemory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    reservation: Reservation,
    /// Address of index 0.
    base: usize,
    /// The end of a heap that takes all that its limit allows and has nothing beside its objects.
    limit: u64,
    /// Bytes below the base that side tables have taken.
    side_used: AtomicU64,
    /// What side tables take for each byte of the index space, in 2^-32 bytes.
    side_share: AtomicU64,
    /// Bytes of buffers.
    buffers: AtomicU64,
    /// Bytes that the collector keeps elsewhere.
    lists: AtomicU64,
}

impl HeapMemory {
    /// Reserves a heap that can grow to `limit` bytes (at most 4 GiB less 64 KiB) of objects and what is kept beside them; nothing is
    /// committed.
    ///
    /// # Errors
    /// [`HeapError::System`] when the address space is exhausted.
    pub fn reserve(limit: u64) -> Result<Self, HeapError> {
        let below = SIDE_BYTES + CELLS_BELOW_BASE as usize;
        let below = below.next_multiple_of(page_size().max(2 << 20));
        let reservation = Reservation::new(below + HEAP_SPAN as usize)
            .map_err(|source| HeapError::System { what: "reserving a heap", source })?;
        reservation
            .protect(below - page_size().max(4096), page_size().max(4096), Protection::ReadWrite)
            .map_err(|source| HeapError::System { what: "committing the heap's cells", source })?;
        let limit = limit.saturating_add(FIRST_INDEX as u64).min(INDEX_SPACE);
        let memory = HeapMemory(Arc::new(Inner {
            base: reservation.base() as usize + below,
            reservation,
            limit: limit - limit % OBJECT_ALIGN as u64,
            side_used: AtomicU64::new(CELLS_BELOW_BASE.max(page_size() as i32) as u64),
            side_share: AtomicU64::new(0),
            buffers: AtomicU64::new(0),
            lists: AtomicU64::new(0),
        }));
        memory.set_committed(FIRST_INDEX as u64);
        Ok(memory)
    }

    /// The address of index 0, for compiled code.
    pub fn base(&self) -> *mut u8 {
        self.0.base as *mut u8
    }

    /// First index behind the accessible ones.
    #[inline]
    pub fn committed(&self) -> u64 {
        self.cell(Cell::COMMITTED)
    }

    /// Bytes of objects that the accessible part can hold.
    pub fn committed_bytes(&self) -> u64 {
        self.committed() - FIRST_INDEX as u64
    }

    /// The largest [`committed`](Self::committed) there can be, as long as what is beside the objects takes what it takes now: side tables,
    /// which grow with the objects' part, buffers, and [lists](Self::charge_lists).
    pub fn limit(&self) -> u64 {
        self.fitting().max(self.committed())
    }

    /// Bytes by which the heap and what is beside it exceed the limit: lists have grown since memory was committed.
    pub fn excess(&self) -> u64 {
        self.committed().saturating_sub(self.fitting())
    }

    /// The end of a heap that takes all that the limit allows.
    fn fitting(&self) -> u64 {
        let Inner { side_share, buffers, lists, limit, .. } = &*self.0;
        let rest = limit.saturating_sub(buffers.load(Relaxed) + lists.load(Relaxed)) as u128;
        let end = ((rest << SHARES_LOG2) / ((1 << SHARES_LOG2) + side_share.load(Relaxed) as u128)) as u64;
        (end - end % OBJECT_ALIGN as u64).max(FIRST_INDEX as u64)
    }

    /// Bytes that the heap may take with all that is beside it: what `--heap` said.
    pub fn limit_bytes(&self) -> u64 {
        self.0.limit - FIRST_INDEX as u64
    }

    /// Says how many bytes the collector's lists take that are not in this memory. They are charged to the limit, and a 128th of it at
    /// least from now on, so that there is room for them to grow in a heap that cannot.
    pub fn charge_lists(&self, bytes: u64) {
        self.0.lists.store(bytes.max(self.room_for_lists()), Relaxed);
    }

    /// Bytes that are kept for [lists](Self::charge_lists) in any case.
    pub fn room_for_lists(&self) -> u64 {
        self.limit_bytes() / LISTS_PART
    }

    /// Makes `bytes` accessible, or as many as the limit allows, if they are not: what a heap begins with.
    ///
    /// # Errors
    /// [`HeapError::System`] when the system refuses.
    pub fn grow_to(&self, bytes: u64) -> Result<(), HeapError> {
        let end = bytes.saturating_add(FIRST_INDEX as u64).min(self.limit());
        self.grow(end.saturating_sub(self.committed()))
    }

    /// Makes at least `bytes` more accessible, rounded up to pages and down to the limit. New memory reads as zero.
    ///
    /// # Errors
    /// [`HeapError::Exhausted`] when that would exceed the [limit](Self::limit); [`HeapError::System`] when the system refuses.
    pub fn grow(&self, bytes: u64) -> Result<(), HeapError> {
        let (old, limit) = (self.committed(), self.limit());
        let exhausted = HeapError::Exhausted { limit: self.limit_bytes() };
        let wanted = old.checked_add(bytes).filter(|end| *end <= limit).ok_or(exhausted)?;
        let page = page_size() as u64;
        let end = wanted.next_multiple_of(page);
        let start = old.next_multiple_of(page);
        if end > start {
            let offset = self.0.base - self.0.reservation.base() as usize + start as usize;
            let len = (end - start) as usize;
            self.0
                .reservation
                .protect(offset, len, Protection::ReadWrite)
                .map_err(|source| HeapError::System { what: "growing the heap", source })?;
            // One call instead of a fault per page, for what will be used at once. Larger steps are for one large object, or more than
            // is needed soon. Large pages were measured and are not asked for: their compaction stalls cost more than they save.
            if len <= POPULATE_BYTES {
                self.0.reservation.populate(offset, len);
            }
        }
        self.set_committed(end.min(limit));
        Ok(())
    }

    fn set_committed(&self, end: u64) {
        self.cell_ref(Cell::COMMITTED).store(end, Relaxed);
    }

    fn clear_cells(&self) {
        let cells = (0..CELL_COUNT as u8).map(Cell).filter(|cell| *cell != Cell::COMMITTED);
        cells.for_each(|cell| self.set_cell(cell, 0));
    }

    /// Returns the memory of the pages inside `range` to the system; the indices stay accessible and read as zero.
    pub fn discard(&self, range: std::ops::Range<u32>) {
        let page = page_size() as u64;
        let start = (range.start.max(FIRST_INDEX) as u64).next_multiple_of(page);
        let end = (range.end as u64).min(self.committed()) / page * page;
        if start < end {
            let offset = self.0.base - self.0.reservation.base() as usize + start as usize;
            // A refusal leaves the old contents, which no correct collector reads.
            let _ = self.0.reservation.discard(offset, (end - start) as usize);
        }
    }

    /// Makes the heap empty again: memory goes back to the system, cells read zero, side tables stay and read zero.
    pub fn reset(&self) {
        self.discard(0..u32::MAX);
        self.clear_cells();
        let page = page_size().max(4096);
        let side = self.0.side_used.load(Relaxed) as usize - page;
        let offset = self.0.base - self.0.reservation.base() as usize - page - side;
        let _ = self.0.reservation.discard(offset, side);
    }

    /// As [`reset`](Self::reset), for a heap that knows what was written since it was new: at most the indices in `touched` and the
    /// cells. A few pages are cleared where they are, which is cheaper than to get them anew.
    pub fn reset_touched(&self, touched: std::ops::Range<u32>) {
        let end = (touched.end as u64).min(self.committed()) as u32;
        let start = touched.start.max(FIRST_INDEX);
        if start < end && end - start <= CLEARED_BYTES {
            self.fill_bytes(start, 0, end - start, 0);
        } else {
            // Whole pages, of which the last may reach beyond.
            self.discard(start - start % page_size() as u32..end.next_multiple_of(page_size() as u32).max(end));
        }
        self.clear_cells();
    }

    /// Leaves no more than `bytes` accessible, rounded up to pages; returns the rest's memory to the system.
    ///
    /// # Errors
    /// [`HeapError::System`] when the system refuses: then nothing has changed.
    pub fn shrink(&self, bytes: u64) -> Result<(), HeapError> {
        let page = page_size() as u64;
        let old = self.committed();
        let start = (FIRST_INDEX as u64 + bytes).next_multiple_of(page);
        let end = old.next_multiple_of(page);
        if start >= end {
            return Ok(());
        }
        let (offset, len) = (self.0.base - self.0.reservation.base() as usize + start as usize, (end - start) as usize);
        self.0
            .reservation
            .protect(offset, len, Protection::None)
            .map_err(|source| HeapError::System { what: "shrinking the heap", source })?;
        self.set_committed(start);
        // Inaccessible as it is, it reads as zero when it is made accessible again. A refusal would leave old objects there.
        self.0
            .reservation
            .discard(offset, len)
            .map_err(|source| HeapError::System { what: "returning the heap's memory", source })
    }

    /// Sets aside a table with one entry for every `1 << shift` bytes of the index space. What it takes for the committed part is charged to
    /// the limit: a heap that has committed too much for that, before there are objects, shrinks.
    ///
    /// # Errors
    /// [`HeapError::System`] when the address space for side tables (2 GiB a heap) is used up.
    pub fn side_table(&self, shift: u8, entry: SideEntry) -> Result<SideTable, HeapError> {
        let table = SideTable::new(self, shift, entry)?;
        let share = ((entry.bits() as u64) << (SHARES_LOG2 - 3)) >> shift;
        self.0.side_share.fetch_add(share, Relaxed);
        self.shrink_to_fit()?;
        Ok(table)
    }

    /// Leaves no more accessible than fits the limit.
    fn shrink_to_fit(&self) -> Result<(), HeapError> {
        match self.excess() {
            0 => Ok(()),
            _ => self.shrink((self.fitting() - FIRST_INDEX as u64) / page_size() as u64 * page_size() as u64),
        }
    }

    /// Sets aside a buffer of `entries` 32-bit entries that compiled code fills by [`Emitter::push`](crate::Emitter::push),
    /// steered by the cells `next` and `limit`. It is charged as a [`side_table`](Self::side_table) is.
    ///
    /// # Errors
    /// As [`side_table`](Self::side_table).
    pub fn log_buffer(&self, entries: u32, next: Cell, limit: Cell) -> Result<LogBuffer, HeapError> {
        let buffer = LogBuffer::new(self, entries, next, limit)?;
        self.0.buffers.fetch_add(buffer.bytes(), Relaxed);
        self.shrink_to_fit()?;
        Ok(buffer)
    }

    /// Commits the next `bytes`, rounded up to pages, below the base; returns how far below it they start.
    fn take_side(&self, bytes: u64) -> Result<u64, HeapError> {
        let bytes = bytes.next_multiple_of(page_size() as u64);
        let used = self.0.side_used.load(Relaxed) + bytes;
        if used > SIDE_BYTES as u64 {
            let source = std::io::Error::other("the 2 GiB set aside for side tables are used up");
            return Err(HeapError::System { what: "reserving a side table", source });
        }
        let offset = self.0.base - self.0.reservation.base() as usize - used as usize;
        self.0
            .reservation
            .protect(offset, bytes as usize, Protection::ReadWrite)
            .map_err(|source| HeapError::System { what: "committing a side table", source })?;
        self.0.side_used.store(used, Relaxed);
        Ok(used)
    }

    /// Loads `bytes` bytes (1, 2, 4 or 8), zero-extended, from where compiled code finds them: `distance` bytes from the base, in
    /// an object, a cell or a side table. For whoever interprets emitted code. `None` where the access would fault, or is misaligned.
    ///
    /// # Panics
    /// When `bytes` is another number.
    pub fn load_at(&self, distance: i64, bytes: u32) -> Option<u64> {
        let address = self.accessible(distance, bytes)?;
        // SAFETY: readable and writable for as long as `self` lives, and aligned (`accessible`); only ever accessed atomically by
        // Rust code.
        Some(unsafe {
            match bytes {
                1 => (*(address as *const AtomicU8)).load(Relaxed) as u64,
                2 => (*(address as *const AtomicU16)).load(Relaxed) as u64,
                4 => (*(address as *const AtomicU32)).load(Relaxed) as u64,
                _ => (*(address as *const AtomicU64)).load(Relaxed),
            }
        })
    }

    /// Stores the low `bytes` bytes (1, 2, 4 or 8) of `value` where [`load_at`](Self::load_at) loads. `None`, and nothing is stored,
    /// where the access would fault, or is misaligned.
    ///
    /// # Panics
    /// When `bytes` is another number.
    pub fn store_at(&self, distance: i64, bytes: u32, value: u64) -> Option<()> {
        let address = self.accessible(distance, bytes)?;
        // SAFETY: as in `load_at`.
        unsafe {
            match bytes {
                1 => (*(address as *const AtomicU8)).store(value as u8, Relaxed),
                2 => (*(address as *const AtomicU16)).store(value as u16, Relaxed),
                4 => (*(address as *const AtomicU32)).store(value as u32, Relaxed),
                _ => (*(address as *const AtomicU64)).store(value, Relaxed),
            }
        }
        Some(())
    }

    /// The address `distance` bytes from the base, if `bytes` naturally aligned bytes can be accessed there.
    fn accessible(&self, distance: i64, bytes: u32) -> Option<usize> {
        assert!(matches!(bytes, 1 | 2 | 4 | 8), "an access has 1, 2, 4 or 8 bytes, not {bytes}");
        let end = distance.checked_add(bytes as i64)?;
        let object = distance >= FIRST_INDEX as i64 && end <= self.committed() as i64;
        let beside = distance >= -(self.0.side_used.load(Relaxed) as i64) && end <= 0;
        let address = self.0.base.wrapping_add_signed(distance as isize);
        ((object || beside) && address.is_multiple_of(bytes as usize)).then_some(address)
    }

    /// Reads a cell.
    #[inline]
    pub fn cell(&self, cell: Cell) -> u64 {
        self.cell_ref(cell).load(Relaxed)
    }

    /// Writes a cell.
    ///
    /// # Panics
    /// When it is [`Cell::COMMITTED`], which checks of bounds rely on.
    #[inline]
    pub fn set_cell(&self, cell: Cell, value: u64) {
        assert!(cell != Cell::COMMITTED, "only growing and shrinking change what is committed");
        self.cell_ref(cell).store(value, Relaxed)
    }

    #[inline]
    fn cell_ref(&self, cell: Cell) -> &AtomicU64 {
        let address = self.0.base.wrapping_add_signed(cell.offset() as isize);
        // SAFETY: `reserve` made the page below the base readable and writable for as long as `self` lives, and
        // `Cell` only names 8-byte aligned words in it.
        unsafe { &*(address as *const AtomicU64) }
    }

    /// The address of `bytes` bytes at `index + offset`.
    ///
    /// # Panics
    /// When they are not all committed: the reference or the offset is corrupt.
    #[inline]
    fn address(&self, index: u32, offset: u32, bytes: u64) -> usize {
        let at = index as u64 + offset as u64;
        if index < FIRST_INDEX || at + bytes > self.committed() {
            out_of_heap(index, offset);
        }
        self.0.base + at as usize
    }

    /// Tells the processor that the object at `index` will be looked at soon. Does nothing where there is no such instruction.
    #[inline]
    pub fn prefetch(&self, index: u32) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch accesses nothing, whatever the address; SSE is part of x86-64.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>((self.0.base + index as usize) as *const i8);
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = index;
    }

    /// The whole header of the object at `index`.
    #[inline]
    pub fn header(&self, object: &VMGcRef) -> VMGcHeader {
        VMGcHeader::from_u64(self.load_u64(object.raw(), 0))
    }

    /// The header's first word: kind and the collector's bits.
    #[inline]
    pub fn header_word(&self, object: &VMGcRef) -> u32 {
        self.load_u32(object.raw(), VMGcHeader::WORD_OFFSET)
    }

    /// Replaces the header's first word.
    #[inline]
    pub fn set_header_word(&self, object: &VMGcRef, word: u32) {
        self.store_u32(object.raw(), VMGcHeader::WORD_OFFSET, word)
    }

    /// The length of an array.
    #[inline]
    pub fn array_length(&self, array: &VMGcRef) -> u32 {
        self.load_u32(array.raw(), crate::ARRAY_LENGTH_OFFSET)
    }

    /// The reference in the slot at `offset` of `object`, without any barrier.
    #[inline]
    pub fn load_ref(&self, object: &VMGcRef, offset: u32) -> Option<VMGcRef> {
        VMGcRef::from_raw(self.load_u32(object.raw(), offset))
    }

    /// Stores into the slot at `offset` of `object`, without any barrier.
    #[inline]
    pub fn store_ref(&self, object: &VMGcRef, offset: u32, value: Option<&VMGcRef>) {
        self.store_u32(object.raw(), offset, value.map_or(0, VMGcRef::raw))
    }

    /// Moves `bytes` bytes as `memmove` does; the ranges may overlap.
    ///
    /// # Panics
    /// When a range is not committed.
    pub fn copy_bytes(&self, to: (u32, u32), from: (u32, u32), bytes: u32) {
        let source = self.address(from.0, from.1, bytes as u64);
        let target = self.address(to.0, to.1, bytes as u64);
        // SAFETY: both ranges were just checked to be committed; the program that also uses this memory is
        // stopped in the call that brought us here, and collector threads do not read bodies that are written.
        unsafe { std::ptr::copy(source as *const u8, target as *mut u8, bytes as usize) }
    }

    /// Copies the `bytes` of an object, a multiple of 8, to where it is to be, which does not overlap where it is. As
    /// [`copy_bytes`](Self::copy_bytes), and faster for the few words that most objects have.
    ///
    /// # Panics
    /// When a range is not committed, or an index not a multiple of 8.
    #[inline]
    pub fn copy_object(&self, to: u32, from: u32, bytes: u32) {
        const FEW: u32 = 64;
        if bytes > FEW {
            return self.copy_bytes((to, 0), (from, 0), bytes);
        }
        let source = self.address(from, 0, bytes as u64);
        let target = self.address(to, 0, bytes as u64);
        if !(source | target).is_multiple_of(8) {
            out_of_heap(from, 0);
        }
        for word in (0..bytes as usize & !7).step_by(8) {
            // SAFETY: both ranges are committed (checked by `address`) for as long as `self` lives, aligned (checked above), and only
            // ever accessed atomically by Rust code.
            unsafe {
                let value = (*((source + word) as *const AtomicU64)).load(Relaxed);
                (*((target + word) as *const AtomicU64)).store(value, Relaxed);
            }
        }
    }

    /// Copies `bytes` into the heap at `index + offset`.
    ///
    /// # Panics
    /// When the range is not committed.
    pub fn write_bytes(&self, index: u32, offset: u32, bytes: &[u8]) {
        let target = self.address(index, offset, bytes.len() as u64);
        // SAFETY: the range was just checked; see `copy_bytes`. A host slice never overlaps the heap, whose
        // bytes are handed out by value only.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target as *mut u8, bytes.len()) }
    }

    /// Copies bytes out of the heap.
    ///
    /// # Panics
    /// When the range is not committed.
    pub fn read_bytes(&self, index: u32, offset: u32, into: &mut [u8]) {
        let source = self.address(index, offset, into.len() as u64);
        // SAFETY: as in `write_bytes`.
        unsafe { std::ptr::copy_nonoverlapping(source as *const u8, into.as_mut_ptr(), into.len()) }
    }

    /// Fills `bytes` bytes at `index + offset` with repetitions of `pattern`, whose length divides `bytes`.
    ///
    /// # Panics
    /// When the range is not committed, or the pattern does not fit.
    pub fn fill_pattern(&self, index: u32, offset: u32, bytes: u32, pattern: &[u8]) {
        if bytes == 0 {
            return;
        }
        assert!(bytes.is_multiple_of(pattern.len() as u32), "a pattern fits a whole number of times");
        if pattern.iter().all(|byte| *byte == pattern[0]) {
            return self.fill_bytes(index, offset, bytes, pattern[0]);
        }
        self.write_bytes(index, offset, pattern);
        // Double what is filled, up to a size that stays in the cache, until all is.
        let mut filled = pattern.len() as u32;
        while filled < bytes {
            let more = filled.min(bytes - filled).min(PATTERN_STEP);
            self.copy_bytes((index, offset + filled), (index, offset), more);
            filled += more;
        }
    }

    /// Sets `bytes` bytes at `index + offset` to `value`.
    ///
    /// # Panics
    /// When the range is not committed.
    pub fn fill_bytes(&self, index: u32, offset: u32, bytes: u32, value: u8) {
        let target = self.address(index, offset, bytes as u64);
        // SAFETY: as in `write_bytes`.
        unsafe { std::ptr::write_bytes(target as *mut u8, value, bytes as usize) }
    }
}

macro_rules! accessors {
    ($($load:ident $store:ident $int:ty, $atomic:ty, $bytes:literal;)*) => {
        impl HeapMemory {$(
            #[doc = concat!("Loads ", stringify!($int), " at `index + offset`, which must be naturally aligned.")]
            ///
            /// # Panics
            /// When it is not committed or misaligned: the reference is corrupt.
            #[inline]
            pub fn $load(&self, index: u32, offset: u32) -> $int {
                let address = self.address(index, offset, $bytes);
                if !(address as *const $atomic).is_aligned() {
                    out_of_heap(index, offset);
                }
                // SAFETY: committed (checked by `address`) for as long as `self` lives, aligned (checked above), and
                // only ever accessed atomically by Rust code.
                unsafe { &*(address as *const $atomic) }.load(Relaxed)
            }

            #[doc = concat!("Stores ", stringify!($int), " at `index + offset`, which must be naturally aligned.")]
            ///
            /// # Panics
            /// When it is not committed or misaligned: the reference is corrupt.
            #[inline]
            pub fn $store(&self, index: u32, offset: u32, value: $int) {
                let address = self.address(index, offset, $bytes);
                if !(address as *const $atomic).is_aligned() {
                    out_of_heap(index, offset);
                }
                // SAFETY: as for the load.
                unsafe { &*(address as *const $atomic) }.store(value, Relaxed)
            }
        )*}
    };
}

accessors! {
    load_u8 store_u8 u8, AtomicU8, 1;
    load_u16 store_u16 u16, AtomicU16, 2;
    load_u32 store_u32 u32, AtomicU32, 4;
    load_u64 store_u64 u64, AtomicU64, 8;
}

#[cold]
#[inline(never)]
fn out_of_heap(index: u32, offset: u32) -> ! {
    panic!("corrupt heap: no object data at index {index:#x} + {offset:#x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heap() -> HeapMemory {
        let memory = HeapMemory::reserve(1 << 20).unwrap();
        memory.grow(1 << 16).unwrap();
        memory
    }

    #[test]
    fn grows_to_the_limit_and_no_further() {
        let memory = heap();
        assert_eq!(memory.limit_bytes(), 1 << 20);
        memory.grow((1 << 20) - (1 << 16)).unwrap();
        assert_eq!(memory.committed_bytes(), 1 << 20);
        assert!(matches!(memory.grow(8), Err(HeapError::Exhausted { limit: 0x10_0000 })));
    }

    #[test]
    fn what_is_beside_the_objects_is_within_the_limit() {
        let memory = HeapMemory::reserve(1 << 20).unwrap();
        memory.grow_to(1 << 20).unwrap();
        assert_eq!((memory.committed_bytes(), memory.excess()), (1 << 20, 0));
        let (bits, bytes) =
            (memory.side_table(3, SideEntry::Bit).unwrap(), memory.side_table(9, SideEntry::Byte).unwrap());
        let buffer = memory.log_buffer(4096, Cell::own(0), Cell::own(1)).unwrap();
        let beside = || bits.bytes() + bytes.bytes() + buffer.bytes();
        // The memory that was there before the tables has made room for them.
        assert!(memory.committed_bytes() + beside() <= 1 << 20);
        memory.grow(memory.limit() - memory.committed()).unwrap();
        let taken = memory.committed_bytes() + beside();
        assert!((1 << 20) - 64 < taken && taken <= 1 << 20, "{taken}");
        assert!(matches!(memory.grow(8), Err(HeapError::Exhausted { limit: 0x10_0000 })));
        // Lists pass the limit, until the heap shrinks.
        memory.charge_lists(100_000);
        assert_eq!((memory.limit(), memory.excess() / 1000), (memory.committed(), 98));
        memory.shrink(1 << 19).unwrap();
        memory.grow_to(1 << 20).unwrap();
        let taken = memory.committed_bytes() + beside() + 100_000;
        assert!((1 << 20) - 64 < taken && taken <= 1 << 20, "{taken}");
        memory.charge_lists(0);
        assert!((memory.limit() - memory.committed()).abs_diff(100_000 - (1 << 13)) < 2000, "a part is kept for them");
    }

    #[test]
    fn accessors_see_each_others_bytes() {
        let memory = heap();
        memory.store_u64(FIRST_INDEX, 8, 0x0807_0605_0403_0201);
        assert_eq!(memory.load_u8(FIRST_INDEX, 9), 2);
        assert_eq!(memory.load_u16(FIRST_INDEX, 10), 0x0403);
        assert_eq!(memory.load_u32(FIRST_INDEX, 12), 0x0807_0605);
        memory.copy_bytes((FIRST_INDEX, 10), (FIRST_INDEX, 8), 4);
        assert_eq!(memory.load_u64(FIRST_INDEX, 8), 0x0807_0403_0201_0201);
        for bytes in [8, 64, 72, 4096] {
            memory.fill_bytes(FIRST_INDEX, 0, 16 << 10, 0x11);
            memory.fill_bytes(FIRST_INDEX + (8 << 10), 0, bytes, 0x22);
            memory.copy_object(FIRST_INDEX, FIRST_INDEX + (8 << 10), bytes);
            assert_eq!(memory.load_u64(FIRST_INDEX, bytes - 8), 0x2222_2222_2222_2222);
            assert_eq!(memory.load_u64(FIRST_INDEX, bytes), 0x1111_1111_1111_1111);
        }
    }

    #[test]
    fn patterns_fill_to_the_last_byte() {
        let memory = heap();
        for count in [0, 1, 2, 3, 1023, 1024, 5000] {
            memory.fill_bytes(FIRST_INDEX, 0, 5002 * 4, 0xee);
            memory.fill_pattern(FIRST_INDEX, 4, count * 4, &0x0403_0201u32.to_le_bytes());
            assert_eq!(memory.load_u32(FIRST_INDEX, 0), 0xeeee_eeee);
            (0..count).for_each(|i| assert_eq!(memory.load_u32(FIRST_INDEX, 4 + i * 4), 0x0403_0201));
            assert_eq!(memory.load_u32(FIRST_INDEX, 4 + count * 4), 0xeeee_eeee);
        }
    }

    #[test]
    fn emitted_code_reaches_objects_cells_and_side_tables_and_nothing_else() {
        let memory = heap();
        let bytes = memory.side_table(9, SideEntry::Byte).unwrap();
        memory.store_at(FIRST_INDEX as i64 + 2, 2, 0x1_beef).unwrap();
        assert_eq!(memory.load_u32(FIRST_INDEX, 0), 0xbeef_0000);
        memory.store_at(Cell::BUMP.offset() as i64, 8, 77).unwrap();
        assert_eq!(memory.cell(Cell::BUMP), 77);
        memory.store_at(bytes.offset_from_base() + (FIRST_INDEX as i64 >> 9), 1, 5).unwrap();
        assert_eq!(bytes.get(FIRST_INDEX + 511), 5);
        let end = memory.committed() as i64;
        assert_eq!(memory.load_at(end - 4, 4), Some(0));
        for (distance, bytes) in [(0, 4), (FIRST_INDEX as i64 - 8, 8), (end, 1), (end - 4, 8), (-3, 4), (1 << 40, 8)] {
            assert_eq!(memory.load_at(distance, bytes), None, "{distance:#x}");
            assert_eq!(memory.store_at(distance, bytes, 1), None, "{distance:#x}");
        }
        assert_eq!(memory.load_at(bytes.offset_from_base() - 1, 1), None);
        assert_eq!(memory.load_at(FIRST_INDEX as i64 + 2, 4), None, "misaligned");
    }

    #[test]
    #[should_panic(expected = "corrupt heap")]
    fn null_has_no_data() {
        heap().load_u32(0, 8);
    }

    #[test]
    #[should_panic(expected = "corrupt heap")]
    fn nothing_lies_past_the_committed_part() {
        let memory = heap();
        memory.load_u32(memory.committed() as u32 - 4, 4);
    }

    #[test]
    fn a_heap_shrinks_and_grows_again_empty() {
        let memory = heap();
        memory.grow(1 << 17).unwrap();
        let old = memory.committed() as u32;
        memory.store_u32(old - 8, 0, 7);
        memory.shrink(1 << 16).unwrap();
        assert_eq!(memory.committed_bytes(), 1 << 16);
        memory.shrink(1 << 20).unwrap();
        assert_eq!(memory.committed_bytes(), 1 << 16, "nothing grows by shrinking");
        memory.grow(1 << 17).unwrap();
        assert_eq!(memory.load_u32(old - 8, 0), 0);
    }

    #[test]
    fn what_was_touched_is_cleared_whatever_its_size() {
        for bytes in [8u32, 5000, CLEARED_BYTES + 5000] {
            let memory = HeapMemory::reserve(1 << 20).unwrap();
            memory.grow(1 << 20).unwrap();
            memory.fill_bytes(FIRST_INDEX, 0, bytes, 0xee);
            memory.set_cell(Cell::BUMP, 7);
            memory.reset_touched(FIRST_INDEX..FIRST_INDEX + bytes);
            let end = FIRST_INDEX + bytes;
            assert!((FIRST_INDEX..end).step_by(8).all(|index| memory.load_u64(index, 0) == 0), "{bytes}");
            assert_eq!(memory.cell(Cell::BUMP), 0);
        }
    }
}
