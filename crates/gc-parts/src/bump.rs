//! Bump allocation: the region that compiled code allocates from, and the host with it.

use gc_api::{Cell, HeapMemory};
use std::ops::Range;

/// The region between two cells: compiled code takes objects from its start, in a few instructions.
///
/// Cost: an addition and a compare for an object. What was taken is one range, full of objects side by side.
#[derive(Debug)]
pub struct Bump {
    memory: HeapMemory,
    /// Where the current region began.
    start: u32,
}

impl Bump {
    /// No region yet: the first allocation fails.
    pub fn new(memory: HeapMemory) -> Bump {
        let mut bump = Bump { memory, start: 0 };
        bump.open(0..0);
        bump
    }

    /// Goes on in another region.
    pub fn open(&mut self, region: Range<u32>) {
        self.start = region.start;
        self.memory.set_cell(Cell::BUMP, region.start as u64);
        self.memory.set_cell(Cell::LIMIT, region.end as u64);
    }

    /// Takes `bytes` from the region, if there are so many.
    #[inline]
    pub fn take(&mut self, bytes: u64) -> Option<u32> {
        let start = self.memory.cell(Cell::BUMP);
        let end = start.checked_add(bytes).filter(|end| *end <= self.memory.cell(Cell::LIMIT))?;
        self.memory.set_cell(Cell::BUMP, end);
        Some(start as u32)
    }

    /// What was taken from the current region.
    pub fn taken(&self) -> Range<u32> {
        self.start..self.memory.cell(Cell::BUMP) as u32
    }

    /// What is left of it.
    pub fn rest(&self) -> Range<u32> {
        self.memory.cell(Cell::BUMP) as u32..self.memory.cell(Cell::LIMIT) as u32
    }

    /// Ends the region somewhere else, not below what was taken.
    pub fn set_limit(&mut self, end: u32) {
        debug_assert!(end >= self.taken().end);
        self.memory.set_cell(Cell::LIMIT, end as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gc_api::FIRST_INDEX;

    #[test]
    fn a_region_is_used_to_its_last_byte() {
        let mut bump = Bump::new(HeapMemory::reserve(1 << 20).unwrap());
        assert_eq!(bump.take(8), None);
        bump.open(FIRST_INDEX..FIRST_INDEX + 64);
        assert_eq!((bump.take(24), bump.take(40)), (Some(FIRST_INDEX), Some(FIRST_INDEX + 24)));
        assert_eq!((bump.take(8), bump.take(u64::MAX)), (None, None));
        assert_eq!((bump.taken(), bump.rest().len()), (FIRST_INDEX..FIRST_INDEX + 64, 0));
        bump.set_limit(FIRST_INDEX + 72);
        assert_eq!(bump.take(8), Some(FIRST_INDEX + 64));
    }
}
