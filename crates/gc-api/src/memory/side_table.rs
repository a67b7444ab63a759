//! Metadata beside the objects: mark bits, cards, lines, counts.

use crate::{HeapError, HeapMemory, INDEX_SPACE};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicU64};

/// How wide an entry of a [`SideTable`] is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SideEntry {
    /// One bit; eight to the byte, the lowest first.
    Bit,
    /// One byte.
    Byte,
    /// Four bytes.
    Word,
}

impl SideEntry {
    pub(super) const fn bits(self) -> u32 {
        match self {
            SideEntry::Bit => 1,
            SideEntry::Byte => 8,
            SideEntry::Word => 32,
        }
    }
}

/// Metadata beside the heap: an entry for every `1 << shift` bytes, at a constant distance from the base, so that
/// compiled code reaches it with a shift and an add ([`SideTable::offset_from_base`]).
///
/// Mark bits and object starts are bits at shift 3, cards bytes at shift 9, lines bytes at shift 8, log bits bits at
/// shift 2, wide counts words at shift 3.
#[derive(Clone, Debug)]
pub struct SideTable {
    memory: HeapMemory,
    below_base: u64,
    shift: u8,
    entry: SideEntry,
}

impl SideTable {
    pub(super) fn new(memory: &HeapMemory, shift: u8, entry: SideEntry) -> Result<SideTable, HeapError> {
        let bits = (INDEX_SPACE >> shift) * u64::from(entry.bits());
        let below_base = memory.take_side(bits / 8)?;
        Ok(SideTable { memory: memory.clone(), below_base, shift, entry })
    }

    /// Distance in bytes from the heap's base to the entry of index 0: negative.
    pub fn offset_from_base(&self) -> i64 {
        -(self.below_base as i64)
    }

    /// Bytes of the heap that one entry stands for, as a power of two.
    pub fn shift(&self) -> u8 {
        self.shift
    }

    /// How wide an entry is.
    pub fn entry(&self) -> SideEntry {
        self.entry
    }

    /// Bytes of the table that describe the committed part of the heap.
    pub fn bytes(&self) -> u64 {
        (self.memory.committed() >> self.shift) * self.entry.bits() as u64 / 8
    }

    #[inline]
    fn start(&self) -> usize {
        self.memory.base() as usize - self.below_base as usize
    }

    #[inline]
    fn word(&self, bit: u64) -> &AtomicU64 {
        let address = self.start() + (bit / 64 * 8) as usize;
        // SAFETY: the table was committed whole by `new` and lives as long as `memory`; `bit` comes from a 32-bit
        // index, so it is inside the table, whose start is page-aligned.
        unsafe { &*(address as *const AtomicU64) }
    }

    /// The entry of `index`: a bit as 0 or 1, a byte or a word.
    #[inline]
    pub fn get(&self, index: u32) -> u32 {
        let bit = (index as u64 >> self.shift) * self.entry.bits() as u64;
        let value = self.word(bit).load(Relaxed) >> (bit % 64);
        (value & ((1u64 << self.entry.bits()) - 1)) as u32
    }

    /// Replaces the entry of `index`; bits of `value` that do not fit are dropped. Not atomic with
    /// respect to its neighbours.
    #[inline]
    pub fn set(&self, index: u32, value: u32) {
        let bit = (index as u64 >> self.shift) * self.entry.bits() as u64;
        let mask = ((1u64 << self.entry.bits()) - 1) << (bit % 64);
        let word = self.word(bit);
        word.store(word.load(Relaxed) & !mask | (value as u64) << (bit % 64) & mask, Relaxed);
    }

    /// Replaces the entry of `index` in a table of bytes. Its neighbours are left alone, whoever writes to them at the same time.
    #[inline]
    pub fn set_byte(&self, index: u32, value: u8) {
        assert!(self.entry == SideEntry::Byte);
        let address = self.start() + (index >> self.shift) as usize;
        // SAFETY: as in `word`: the table has a byte for each index.
        unsafe { &*(address as *const AtomicU8) }.store(value, Relaxed);
    }

    /// Sets the bit of `index` in a table of bits, and says whether it was clear: for one thread only, of those that ask at a time.
    #[inline]
    pub fn claim(&self, index: u32) -> bool {
        debug_assert_eq!(self.entry, SideEntry::Bit);
        let bit = index as u64 >> self.shift;
        let mask = 1u64 << (bit % 64);
        self.word(bit).fetch_or(mask, Relaxed) & mask == 0
    }

    /// As [`claim`](Self::claim), where no other thread writes to the table; cheaper.
    #[inline]
    pub fn claim_alone(&self, index: u32) -> bool {
        debug_assert_eq!(self.entry, SideEntry::Bit);
        let bit = index as u64 >> self.shift;
        let (word, mask) = (self.word(bit), 1u64 << (bit % 64));
        let old = word.load(Relaxed);
        word.store(old | mask, Relaxed);
        old & mask == 0
    }

    /// Sets all entries of `range` to zero. The range is widened to whole entries.
    pub fn clear(&self, range: std::ops::Range<u32>) {
        let mut index = range.start as u64;
        let per_word = 64 / self.entry.bits() as u64;
        while index < range.end as u64 {
            let entry = index >> self.shift;
            let aligned = entry.is_multiple_of(per_word);
            if aligned && (entry + per_word) << self.shift <= range.end as u64 {
                self.word(entry * self.entry.bits() as u64).store(0, Relaxed);
                index = (entry + per_word) << self.shift;
            } else {
                self.set(index as u32, 0);
                index = (entry + 1) << self.shift;
            }
        }
    }

    /// The last index at or after `from` and below `to` whose entry is not zero, as a multiple of `1 << shift`.
    /// Costs one load per 64 bits of the table.
    pub fn last_set(&self, from: u32, to: u32) -> Option<u32> {
        let bits = self.entry.bits() as u64;
        let start = (from as u64).div_ceil(1 << self.shift) * bits;
        let mut end = (to as u64).div_ceil(1 << self.shift) * bits;
        while end > start {
            let (first, last) = ((end - 1) / 64 * 64, (end - 1) % 64);
            let word = self.word(first).load(Relaxed) & (u64::MAX >> (63 - last));
            if word != 0 {
                let found = (first + 63 - word.leading_zeros() as u64) / bits;
                return (found * bits >= start).then_some((found << self.shift) as u32);
            }
            end = first;
        }
        None
    }

    /// The first index at or after `from` and below `to` whose entry is not zero, as a multiple of `1 << shift`.
    /// Costs one load per 64 bits of the table.
    pub fn next_set(&self, from: u32, to: u32) -> Option<u32> {
        let bits = self.entry.bits() as u64;
        let mut bit = (from as u64).div_ceil(1 << self.shift) * bits;
        let end = ((to as u64) >> self.shift) * bits;
        while bit < end {
            let word = self.word(bit).load(Relaxed) >> (bit % 64);
            if word == 0 {
                bit = (bit / 64 + 1) * 64;
                continue;
            }
            let found = (bit + word.trailing_zeros() as u64) / bits;
            return (found * bits < end).then_some((found << self.shift) as u32);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FIRST_INDEX;

    #[test]
    fn side_tables_do_not_overlap() {
        let memory = HeapMemory::reserve(1 << 20).unwrap();
        memory.grow(1 << 16).unwrap();
        let starts = memory.side_table(3, SideEntry::Bit).unwrap();
        let cards = memory.side_table(9, SideEntry::Byte).unwrap();
        let counts = memory.side_table(3, SideEntry::Word);
        assert!(counts.is_err(), "2 GiB of counts do not fit beside the others");
        for index in (FIRST_INDEX..FIRST_INDEX + 4096).step_by(8) {
            starts.set(index, (index / 8) & 1);
        }
        cards.set(FIRST_INDEX + 513, 0xab);
        assert!(starts.claim(FIRST_INDEX) && !starts.claim(FIRST_INDEX) && !starts.claim_alone(FIRST_INDEX));
        assert!(starts.claim_alone(FIRST_INDEX + 16) && !starts.claim(FIRST_INDEX + 16));
        starts.set(FIRST_INDEX, 0);
        starts.set(FIRST_INDEX + 16, 0);
        assert_eq!(cards.get(FIRST_INDEX + 512), 0xab);
        assert_eq!((starts.get(FIRST_INDEX), starts.get(FIRST_INDEX + 8)), (0, 1));
        assert_eq!(starts.next_set(FIRST_INDEX, u32::MAX), Some(FIRST_INDEX + 8));
        assert_eq!(starts.next_set(FIRST_INDEX + 9, u32::MAX), Some(FIRST_INDEX + 24));
        let last = |from, to| starts.last_set(FIRST_INDEX + from, FIRST_INDEX + to);
        assert_eq!(last(0, 4096), Some(FIRST_INDEX + 4088));
        assert_eq!((last(0, 4088), last(0, 4089)), (Some(FIRST_INDEX + 4072), Some(FIRST_INDEX + 4088)));
        assert_eq!((last(0, 8), last(9, 24), last(8, 25)), (None, None, Some(FIRST_INDEX + 24)));
        assert_eq!(cards.last_set(0, u32::MAX), Some(FIRST_INDEX + 512));
        starts.clear(FIRST_INDEX..FIRST_INDEX + 4096);
        assert_eq!(starts.next_set(0, u32::MAX), None);
        assert_eq!(starts.last_set(0, u32::MAX), None);
        assert_eq!(cards.next_set(0, u32::MAX), Some(FIRST_INDEX + 512));
        memory.reset();
        assert_eq!(cards.next_set(0, u32::MAX), None);
    }
}
