//! References on their way: what an object refers to is seldom in the cache, and a count is one access to it.

use gc_api::HeapMemory;

const LENGTH: usize = 16;

/// A short queue. What enters is prefetched, and has arrived when it leaves, with the number of times that it entered in a row.
#[derive(Default)]
pub struct Queue {
    slots: [(u32, u32); LENGTH],
    /// Entries that have entered, ever.
    entered: usize,
    /// Entries that have left, ever.
    left: usize,
}

impl Queue {
    /// Adds an object; gives the oldest one when there is no more room.
    #[inline]
    pub fn push(&mut self, memory: &HeapMemory, object: u32) -> Option<(u32, u32)> {
        if self.entered > self.left {
            let newest = &mut self.slots[(self.entered - 1) % LENGTH];
            if newest.0 == object {
                newest.1 += 1;
                return None;
            }
        }
        memory.prefetch(object);
        let oldest = if self.entered - self.left == LENGTH { self.pop() } else { None };
        self.slots[self.entered % LENGTH] = (object, 1);
        self.entered += 1;
        oldest
    }

    /// Takes the oldest object.
    #[inline]
    pub fn pop(&mut self) -> Option<(u32, u32)> {
        (self.left < self.entered).then(|| {
            self.left += 1;
            self.slots[(self.left - 1) % LENGTH]
        })
    }
}
