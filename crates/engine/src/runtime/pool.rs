//! Heaps that stores have given back, for the next ones: making one costs several system calls and faults for fresh pages.

use gc_api::{GcHeap, HeapMemory};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

/// An engine's heaps that no store uses. All are as good as new.
pub struct HeapPool {
    heaps: Mutex<Vec<Box<dyn GcHeap>>>,
    most: usize,
}

impl HeapPool {
    /// An empty pool that keeps up to `most` heaps.
    pub fn new(most: usize) -> HeapPool {
        HeapPool { heaps: Mutex::default(), most }
    }

    /// A heap, if there is one.
    pub fn take(&self) -> Option<Box<dyn GcHeap>> {
        // A vector is whole whatever panicked while it was locked.
        self.heaps.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Takes a heap back, of which `memory` is the memory and had `initial` bytes of objects at first. It is dropped when there are
    /// enough of them, or it cannot be made as good as new.
    pub fn give_back(&self, mut heap: Box<dyn GcHeap>, memory: &HeapMemory, initial: u64) {
        let room = || self.heaps.lock().unwrap_or_else(PoisonError::into_inner).len() < self.most;
        if !room() || memory.shrink(initial).is_err() {
            return;
        }
        // The heap is untrusted, like any that a program has used.
        if catch_unwind(AssertUnwindSafe(|| heap.reset())).is_err() || memory.committed_bytes() != initial {
            return;
        }
        let mut heaps = self.heaps.lock().unwrap_or_else(PoisonError::into_inner);
        if heaps.len() < self.most {
            heaps.push(heap);
        }
    }
}
