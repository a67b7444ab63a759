//! A log that compiled code writes: references, one behind the other.

use crate::{Cell, HeapError, HeapMemory};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

/// A buffer beside the heap that compiled code pushes references onto, one store and one compare each. The cell `next`
/// holds the distance from the heap's base to the next free entry, the cell `limit` that to the end.
#[derive(Clone, Debug)]
pub struct LogBuffer {
    memory: HeapMemory,
    /// Distance from the base to entry 0, two's complement.
    start: u64,
    entries: u32,
    next: Cell,
    limit: Cell,
}

impl LogBuffer {
    pub(super) fn new(memory: &HeapMemory, entries: u32, next: Cell, limit: Cell) -> Result<LogBuffer, HeapError> {
        let below_base = memory.take_side(u64::from(entries) * 4)?;
        let start = (below_base as i64).wrapping_neg() as u64;
        let buffer = LogBuffer { memory: memory.clone(), start, entries, next, limit };
        buffer.clear();
        Ok(buffer)
    }

    /// Number of entries that fit.
    pub fn capacity(&self) -> u32 {
        self.entries
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> u64 {
        self.entries as u64 * 4
    }

    /// Number of entries that were pushed since the last [`clear`](Self::clear).
    pub fn len(&self) -> u32 {
        (self.memory.cell(self.next).wrapping_sub(self.start) / 4).min(self.entries as u64) as u32
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all entries, and overwrites those there are.
    pub fn wipe(&self) {
        (0..self.len()).for_each(|i| self.entry(i).store(0, Relaxed));
        self.clear();
    }

    /// Forgets all entries.
    pub fn clear(&self) {
        self.memory.set_cell(self.next, self.start);
        self.memory.set_cell(self.limit, self.start.wrapping_add(self.entries as u64 * 4));
    }

    /// Pushes for the host, as compiled code does. `false` when the buffer is full.
    pub fn push(&self, value: u32) -> bool {
        let len = self.len();
        if len == self.entries {
            return false;
        }
        self.entry(len).store(value, Relaxed);
        self.memory.set_cell(self.next, self.start.wrapping_add((len as u64 + 1) * 4));
        true
    }

    /// The entries that were pushed, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.len()).map(|i| self.entry(i).load(Relaxed))
    }

    #[inline]
    fn entry(&self, i: u32) -> &AtomicU32 {
        assert!(i < self.entries);
        let address = (self.memory.base() as usize).wrapping_add(self.start as usize) + i as usize * 4;
        // SAFETY: `new` committed `entries` words from `start` on, for as long as `memory` lives.
        unsafe { &*(address as *const AtomicU32) }
    }
}
