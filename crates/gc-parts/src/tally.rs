//! What a collector has done, as exact counts.

use gc_api::{Cell, Counters, HeapLimits, HeapMemory};

/// Counts of a collector that reclaims whatever it has not traced, without a look at the dead.
///
/// What is allocated between two collections is not counted one by one: the collector says how many bytes it was.
#[derive(Clone, Default, Debug)]
pub struct Tally {
    /// Collections that ran to the end.
    pub collections: u64,
    /// Of these, those that looked at everything.
    pub major: u64,
    /// Roots visited, by [`RootKind::ALL`](gc_api::RootKind::ALL).
    pub roots: [u64; 6],
    /// Objects traced.
    pub traced: u64,
    /// Bytes copied.
    pub copied: u64,
    /// Objects that [`GcHeap::allocate`](gc_api::GcHeap::allocate) made: the compiled code counts its own.
    pub slow_objects: u64,
    counts_objects: bool,
    /// Bytes that were allocated until the last collection.
    allocated: u64,
    /// Bytes and objects that were alive after it.
    live: u64,
    live_objects: u64,
    /// Objects that had been allocated by then.
    objects: u64,
}

impl Tally {
    /// Nothing has been done.
    pub fn new(limits: &HeapLimits) -> Tally {
        Tally { counts_objects: limits.count_objects, ..Tally::default() }
    }

    /// As after [`new`](Self::new).
    pub fn reset(&mut self) {
        *self = Tally { counts_objects: self.counts_objects, ..Tally::default() };
    }

    /// Bytes that were alive after the last collection.
    pub fn live(&self) -> u64 {
        self.live
    }

    /// Objects that were alive after the last collection.
    pub fn live_objects(&self) -> u64 {
        self.live_objects
    }

    fn objects_now(&self, memory: &HeapMemory) -> u64 {
        memory.cell(Cell::OBJECTS) + self.slow_objects
    }

    /// A collection has ended: `since` bytes had been allocated after the one before it, and of all that there was this is left.
    pub fn collected(&mut self, memory: &HeapMemory, since: u64, live: u64, live_objects: u64) {
        self.collections += 1;
        self.allocated += since;
        self.objects = self.objects_now(memory);
        (self.live, self.live_objects) = (live, live_objects);
    }

    /// The counters, when `since` bytes were allocated after the last collection.
    pub fn counters(&self, memory: &HeapMemory, since: u64, own: Vec<(&'static str, u64)>) -> Counters {
        Counters {
            collections: self.collections,
            objects_allocated: self.counts_objects.then(|| self.objects_now(memory)),
            bytes_allocated: self.allocated + since,
            objects_traced: self.traced,
            bytes_copied: self.copied,
            objects_freed: self.counts_objects.then(|| self.objects - self.live_objects),
            bytes_freed: self.allocated - self.live,
            roots: self.roots,
            own,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_live_was_freed() {
        let memory = HeapMemory::reserve(1 << 20).unwrap();
        let limits = HeapLimits { count_objects: true, ..HeapLimits::default() };
        let mut tally = Tally::new(&limits);
        memory.set_cell(Cell::OBJECTS, 4);
        tally.slow_objects = 3;
        let first = tally.counters(&memory, 100, Vec::new());
        assert_eq!((first.bytes_allocated, first.bytes_freed), (100, 0));
        assert_eq!((first.objects_allocated, first.objects_freed), (Some(7), Some(0)));

        tally.collected(&memory, 100, 60, 4);
        memory.set_cell(Cell::OBJECTS, 6);
        let second = tally.counters(&memory, 20, Vec::new());
        assert_eq!((second.bytes_allocated, second.bytes_freed, second.collections), (120, 40, 1));
        assert_eq!((second.objects_allocated, second.objects_freed), (Some(9), Some(3)));

        let uncounted = Tally::new(&HeapLimits { count_objects: false, ..limits });
        let counters = uncounted.counters(&memory, 20, Vec::new());
        assert_eq!((counters.objects_allocated, counters.objects_freed), (None, None));
    }
}
