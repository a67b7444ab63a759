//! When a heap of pages collects, and when it grows.

use crate::pages::Pages;
use gc_api::{CollectionKind, HeapLimits, HeapMemory, HeapSizer, Overhead, SizingDecision};

/// The heap grows by so many bytes at a time, unless one object needs more.
const STEP: u64 = 8 << 20;
/// Room that an allocation needs beside its own bytes: alignment of a block.
const SLACK: u64 = 32 << 10;
/// Failures of one allocation after which nothing more is tried.
const MAX_ATTEMPTS: u32 = 6;

/// A budget of bytes to allocate between two full collections, from what a [`HeapSizer`] says, and what to do when it, or the
/// memory, is used up.
#[derive(Clone, Debug)]
pub struct Growth {
    sizer: HeapSizer,
    first: HeapSizer,
    budget: u64,
    desperate: bool,
}

impl Growth {
    /// The budget of a new heap.
    pub fn new(limits: &HeapLimits, overhead: Overhead) -> Growth {
        let sizer = HeapSizer::new(limits, overhead);
        Growth { budget: sizer.usable(), first: sizer.clone(), sizer, desperate: false }
    }

    /// As new.
    pub fn reset(&mut self) {
        *self = Growth {
            budget: self.first.usable(),
            first: self.first.clone(),
            sizer: self.first.clone(),
            desperate: false,
        };
    }

    /// The sizer.
    pub fn sizer(&mut self) -> &mut HeapSizer {
        &mut self.sizer
    }

    /// Bytes to allocate between the last full collection and the next.
    pub fn budget(&self) -> u64 {
        self.budget
    }

    /// Whether `bytes` more may be taken from the pages when `since` were allocated after the last full collection.
    pub fn allows(&self, since: u64, bytes: u64) -> bool {
        since.saturating_add(bytes) <= self.budget
    }

    /// Whether collections and allocation are to spare no effort until an allocation fails for the first time.
    pub fn despair(&mut self, despair: bool) {
        self.desperate = despair;
    }

    /// Whether collections and allocation are to spare no effort: a collection gave an allocation no room.
    pub fn is_desperate(&self) -> bool {
        self.desperate
    }

    /// What to do when pages for `bytes` were not to be had, or not allowed, with `occupied` bytes that the last full collection
    /// could not free.
    pub fn on_failure(
        &mut self,
        memory: &HeapMemory,
        (occupied, since): (u64, u64),
        bytes: u64,
        attempts: u32,
    ) -> SizingDecision {
        if attempts >= MAX_ATTEMPTS || bytes > self.sizer.most() {
            return SizingDecision::GiveUp;
        }
        self.desperate &= attempts > 0;
        let left = memory.limit() - memory.committed();
        let mut allowed = self.allows(since, bytes);
        if !allowed && attempts > 0 {
            // There was a collection, and the object needs more than the policy gives.
            allowed = self.sizer.require(occupied.saturating_add(since).saturating_add(bytes));
            self.budget = self.sizer.usable().saturating_sub(occupied);
        }
        if !allowed || left == 0 {
            self.desperate |= attempts > 0;
            return SizingDecision::Collect(CollectionKind::Major);
        }
        let least = bytes.saturating_add(SLACK);
        let wanted = self.budget.saturating_sub(since).clamp(least, least.max(STEP));
        SizingDecision::Grow(wanted.min(left))
    }

    /// A full collection has ended: it could not free `occupied` bytes, and `since` were allocated before it. Free pages that neither the
    /// budget needs, nor whoever is to `keep` some, go back to the system.
    pub fn collected(&mut self, occupied: u64, since: u64, keep: u64, pages: &mut Pages) {
        self.budget = self.sizer.resize(occupied, since).saturating_sub(occupied);
        let keep = self.budget + keep;
        if pages.free_bytes() > keep + keep / 4 + SLACK {
            pages.trim(keep);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn growth(limit: u64) -> (Growth, HeapMemory) {
        let memory = HeapMemory::reserve(limit).unwrap();
        memory.grow(MIB).unwrap();
        let limits = HeapLimits { max_bytes: limit, initial_bytes: MIB, ..HeapLimits::default() };
        (Growth::new(&limits, Overhead::default()), memory)
    }

    #[test]
    fn a_heap_collects_when_its_budget_is_used_up_and_grows_until_then() {
        let (mut growth, memory) = growth(64 * MIB);
        assert_eq!(growth.on_failure(&memory, (0, MIB / 2), 8, 0), SizingDecision::Grow(MIB / 2));
        assert_eq!(growth.on_failure(&memory, (0, MIB), 8, 0), SizingDecision::Collect(CollectionKind::Major));
        assert!(!growth.is_desperate());
        // It helped little: the policy gives less than the object needs.
        growth.collected(3 * MIB, MIB, 0, &mut Pages::new(memory.clone()));
        assert_eq!(growth.budget(), 13 * MIB);
        assert_eq!(growth.on_failure(&memory, (3 * MIB, 0), 20 * MIB, 1), SizingDecision::Grow(20 * MIB + SLACK));
        assert!(growth.allows(0, 20 * MIB));
    }

    #[test]
    fn it_gives_up_in_the_end() {
        let (mut growth, memory) = growth(MIB);
        let decisions: Vec<_> = (0..10).map(|i| growth.on_failure(&memory, (MIB, 0), 4096, i)).collect();
        assert_eq!(decisions[1], SizingDecision::Collect(CollectionKind::Major));
        assert!(growth.is_desperate());
        assert_eq!(decisions[9], SizingDecision::GiveUp);
        assert_eq!(growth.on_failure(&memory, (0, 0), 2 * MIB, 0), SizingDecision::GiveUp);
    }
}
