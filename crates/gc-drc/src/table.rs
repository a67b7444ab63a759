//! The table of objects whose count says too little.

use crate::compiler::{TABLE_LIMIT, TABLE_NEXT};
use gc_api::{HeapError, HeapMemory, LogBuffer};

/// What the next collection has to look at, although it may have no count: where counting is coalesced, a *zero count table*
/// (Deutsch and Bobrow 1976) of objects that lost their last counted reference, and might be on the stack; else the *activations table*,
/// an over-approximation of what is on the stack. New objects that something older refers to are in it, too. The objects'
/// [`ENROLLED`](crate::counts::ENROLLED) bits make it a set.
pub struct Table {
    /// The newest entries, as compiled code pushes them.
    pub buffer: LogBuffer,
    /// The other entries. The first [`kept`](Self::kept) are those that the last collection left.
    pub entries: Vec<u32>,
    /// What the last collection found on the stack.
    pub kept: usize,
    peak: usize,
    /// Entries that were moved out of the buffer.
    flushed: u64,
}

impl Table {
    /// An empty table with a buffer of `chunk` entries.
    ///
    /// # Errors
    /// When the buffer cannot be had.
    pub fn new(memory: &HeapMemory, chunk: u32) -> Result<Table, HeapError> {
        let buffer = memory.log_buffer(chunk, TABLE_NEXT, TABLE_LIMIT)?;
        Ok(Table { buffer, entries: Vec::new(), kept: 0, peak: 0, flushed: 0 })
    }

    /// Moves the buffer's entries to the others.
    pub fn flush(&mut self) {
        self.entries.extend(self.buffer.iter());
        self.flushed += self.buffer.len() as u64;
        self.buffer.clear();
        self.peak = self.peak.max(self.entries.len());
    }

    /// Adds an object whose header says that it is enrolled.
    pub fn push(&mut self, object: u32) {
        if !self.buffer.push(object) {
            self.flush();
            let pushed = self.buffer.push(object);
            debug_assert!(pushed, "the buffer was just emptied");
        }
    }

    /// Replaces all entries by what a collection found on the stack.
    pub fn replace(&mut self, precise: Vec<u32>) {
        self.kept = precise.len();
        self.peak = self.peak.max(precise.len());
        self.entries = precise;
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len() + self.buffer.len() as usize
    }

    /// The most entries that there were at a time.
    pub fn peak(&self) -> usize {
        self.peak.max(self.len())
    }

    /// Entries that were made, ever, by compiled code or the runtime.
    pub fn enrolled(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    /// Whether entries have left the buffer.
    pub fn was_flushed(&self) -> bool {
        self.flushed > 0
    }

    /// Bytes of the entries that are not in the buffer.
    pub fn lists(&self) -> usize {
        self.entries.capacity() * 4
    }

    /// Makes it empty and its counters zero.
    pub fn reset(&mut self) {
        self.buffer.clear();
        *self = Table { buffer: self.buffer.clone(), entries: Vec::new(), kept: 0, peak: 0, flushed: 0 };
    }
}
