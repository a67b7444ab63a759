//! What a heap with sticky marks has beside the others: what is remembered, and how much is allocated between two collections.

use crate::heap::METADATA;
use gc_api::{GcKind, HeapError, HeapLimits, HeapMemory, NewObject, Overhead};
use gc_parts::barrier::Barrier;
use gc_parts::{LARGE, NurserySize, Remembered, Tally};

/// The part of a heap that is allocated between two collections at most.
const YOUNG_PART: u64 = 4;

#[derive(Debug)]
pub struct Sticky {
    pub remembered: Remembered,
    /// How much is allocated between two collections.
    pub size: NurserySize,
    /// Bytes that minor collections found live.
    pub survived: u64,
}

impl Sticky {
    pub fn new(memory: &HeapMemory, limits: &HeapLimits, chosen: Option<u64>) -> Result<Sticky, HeapError> {
        Ok(Sticky {
            remembered: Remembered::new(memory, Barrier::ObjectLog)?,
            size: NurserySize::new(chosen, limits.max_bytes / YOUNG_PART),
            survived: 0,
        })
    }

    /// What is charged to the heap: a 512th for cards, and the buffer of the barrier.
    pub fn overhead(&self) -> Overhead {
        Overhead { fixed: self.remembered.buffer(), per_mille: METADATA.per_mille + 2 }
    }

    /// Bits of a new object's header.
    pub fn young_bits(&self, new: &NewObject) -> u32 {
        self.remembered.young_bits(new.kind == GcKind::ARRAY && new.size > LARGE)
    }

    pub fn counters(&self, tally: &Tally) -> [(&'static str, u64); 3] {
        [("major_collections", tally.major), ("bytes_survived", self.survived), ("remembered", self.remembered.count())]
    }

    pub fn reset(&mut self) {
        self.remembered.reset();
        self.size.reset();
        self.survived = 0;
    }
}
