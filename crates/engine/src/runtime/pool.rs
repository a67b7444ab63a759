//! What stores have given back, for the next ones: heaps, linear memories and large tables. Making them costs system calls,
//! and a page fault for each page that is touched first.
//!
//! What is in a pool is as good as new. It was made so by the store that gave it back: nothing of one store waits in a pool
//! for another to clear it, and what cannot be cleared is dropped.
//!
//! The pages of a memory or a table are *spare* then: address space that reads as zero, some of it resident, up to
//! [`Pooling::resident`] bytes. They fit whoever needs exactly as much address space, whatever its type: what is accessible is
//! set anew. Of spares that fit, the newest is used, since the processor's caches know it best. Of a pool that is full, the
//! oldest goes.
//!
//! Shared memories are not pooled: nobody says when the last thread is done with one. Small tables and the records of
//! instances are not either: they are a few hundred bytes, which the allocator keeps for the next.

use crate::api::{PoolUsage, Pooling};
use gc_api::sys::{Protection, Reservation};
use gc_api::{GcHeap, HeapMemory};
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Larger reservations are not kept: 66 GiB and a bit, which holds a memory of 64-bit indices without a maximum.
const MAX_RESERVATION: usize = 67 << 30;

/// What an engine's stores have given back.
pub struct Pools {
    limits: Pooling,
    heaps: Kept<Box<dyn GcHeap>>,
    memories: Kept<Spare>,
    tables: Kept<Spare>,
}

/// Address space that nobody uses.
pub struct Spare {
    /// All that is accessible reads as zero; what becomes so, too.
    pub reservation: Reservation,
    /// The first bytes are accessible, and no others.
    pub accessible: usize,
}

/// What pages are for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A linear memory.
    Memory,
    /// A table's elements.
    Table,
}

impl Pools {
    /// Empty pools.
    pub fn new(limits: Pooling) -> Pools {
        Pools {
            heaps: Kept::new(limits.heaps),
            memories: Kept::new(limits.memories),
            tables: Kept::new(limits.tables),
            limits,
        }
    }

    fn spares(&self, what: Use) -> &Kept<Spare> {
        match what {
            Use::Memory => &self.memories,
            Use::Table => &self.tables,
        }
    }

    /// A heap, if there is one.
    pub fn take_heap(&self) -> Option<Box<dyn GcHeap>> {
        self.heaps.lock().pop_back()
    }

    /// Takes a heap back, of which `memory` is the memory and had `initial` bytes of objects at first. It is dropped when there are
    /// enough of them, or it cannot be made as good as new.
    pub fn give_back_heap(&self, mut heap: Box<dyn GcHeap>, memory: &HeapMemory, initial: u64) {
        if self.heaps.lock().len() >= self.heaps.most || memory.shrink(initial).is_err() {
            return;
        }
        // The heap is untrusted, like any that a program has used.
        if catch_unwind(AssertUnwindSafe(|| heap.reset())).is_err() || memory.committed_bytes() != initial {
            return;
        }
        self.heaps.put(heap);
    }

    /// Exactly `bytes` bytes of address space, rounded up to pages: spare ones, or new ones. As much as possible of what is accessible
    /// is what is `wanted` to be.
    ///
    /// # Errors
    /// The system's, when there is no address space, even without what the pools hold.
    pub fn reserve(&self, what: Use, bytes: usize, wanted: usize) -> io::Result<Spare> {
        if let Some(spare) = self.spares(what).take(bytes, wanted) {
            return Ok(spare);
        }
        let fresh = || Reservation::new(bytes).map(|reservation| Spare { reservation, accessible: 0 });
        fresh().or_else(|error| match self.release() {
            0 => Err(error),
            _ => fresh(),
        })
    }

    /// Takes back a reservation of which the first `used` bytes are accessible and may hold anything. The first `accessible` bytes
    /// will be so for the next. It is dropped when it cannot be cleared.
    pub fn give_back(&self, what: Use, reservation: Reservation, used: usize, accessible: usize) {
        let kept = self.spares(what);
        if kept.most == 0 || reservation.len() > MAX_RESERVATION {
            return;
        }
        let accessible = accessible.min(used);
        let cleared = reservation
            .wipe(0, used, self.limits.resident)
            .and_then(|()| reservation.protect(accessible, used - accessible, Protection::None));
        if cleared.is_ok() {
            kept.put(Spare { reservation, accessible });
        }
    }

    /// Drops everything; how many things.
    fn release(&self) -> usize {
        let heaps = std::mem::take(&mut *self.heaps.lock());
        let memories = std::mem::take(&mut *self.memories.lock());
        let tables = std::mem::take(&mut *self.tables.lock());
        heaps.len() + memories.len() + tables.len()
    }

    /// What is in the pools now.
    pub fn usage(&self) -> PoolUsage {
        let resident = |spares: &Kept<Spare>| {
            let spares = spares.lock();
            let of = |spare: &Spare| spare.reservation.resident_bytes(0, spare.reservation.len()).unwrap_or(0) as u64;
            (spares.len(), spares.iter().map(of).sum())
        };
        let (memories, memory_bytes) = resident(&self.memories);
        let (tables, table_bytes) = resident(&self.tables);
        PoolUsage { heaps: self.heaps.lock().len(), memories, memory_bytes, tables, table_bytes }
    }
}

/// Up to so many things, the newest at the back.
struct Kept<T> {
    things: Mutex<VecDeque<T>>,
    most: usize,
}

impl<T> Kept<T> {
    fn new(most: usize) -> Self {
        Kept { things: Mutex::default(), most }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        // A deque is whole whatever panicked while it was locked.
        self.things.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a thing, where any are kept.
    fn put(&self, thing: T) {
        debug_assert!(self.most > 0);
        let mut things = self.lock();
        let oldest = if things.len() >= self.most { things.pop_front() } else { None };
        things.push_back(thing);
        // Dropping it takes a system call, for which nobody else need wait.
        drop(things);
        drop(oldest);
    }
}

impl Kept<Spare> {
    /// The newest with so many bytes; of several rather one of which the wanted bytes are accessible.
    fn take(&self, bytes: usize, wanted: usize) -> Option<Spare> {
        let mut spares = self.lock();
        let bytes = Reservation::rounded(bytes);
        let find = |fits: &dyn Fn(&Spare) -> bool| {
            spares.iter().rposition(|spare| spare.reservation.len() == bytes && fits(spare))
        };
        let at = find(&|spare| spare.accessible == wanted).or_else(|| find(&|_| true))?;
        spares.remove(at)
    }
}
