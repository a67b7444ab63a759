//! Runs of pages: what blocks, large objects and nurseries are made of.

use gc_api::{FIRST_INDEX, HeapMemory};
use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes of a page. Not the system's page, which may be larger.
pub const PAGE: u32 = 4 << 10;

/// The free pages of a heap, as runs between pages that somebody has. Neighbours merge when they are given back.
///
/// Takes from the lowest run that fits, so that the free memory gathers at the end, where it can go back to the system.
/// Cost: a look at each lower run that does not fit; giving back is logarithmic in the number of runs.
#[derive(Debug)]
pub struct Pages {
    memory: HeapMemory,
    /// Number of pages by the first, of each free run. No two of them touch.
    free: BTreeMap<u32, u32>,
    free_pages: u32,
    /// First page behind those that are managed: the heap may have grown since.
    end: u32,
}

impl Pages {
    /// All committed memory of a heap, free.
    pub fn new(memory: HeapMemory) -> Pages {
        let mut pages = Pages { memory, free: BTreeMap::new(), free_pages: 0, end: FIRST_INDEX / PAGE };
        pages.adopt();
        pages
    }

    /// Forgets who has what.
    pub fn reset(&mut self) {
        *self = Pages::new(self.memory.clone());
    }

    /// Takes over what the heap has grown by.
    pub fn adopt(&mut self) {
        let end = (self.memory.committed() / PAGE as u64) as u32;
        if end > self.end {
            let start = std::mem::replace(&mut self.end, end);
            self.insert(start, end - start);
        }
    }

    /// Bytes that are free.
    pub fn free_bytes(&self) -> u64 {
        self.free_pages as u64 * PAGE as u64
    }

    /// Bytes that are taken.
    pub fn taken_bytes(&self) -> u64 {
        (self.end - FIRST_INDEX / PAGE - self.free_pages) as u64 * PAGE as u64
    }

    /// How many pieces of `bytes`, a power of two of pages, could be taken that begin at multiples of `bytes`. Cost: a look at each
    /// run.
    pub fn free_pieces(&self, bytes: u32) -> u32 {
        let pieces = |run: Range<u32>| (run.end / bytes).saturating_sub(run.start.div_ceil(bytes));
        self.runs().map(pieces).sum()
    }

    /// The free runs, lowest first.
    pub fn runs(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        self.free.iter().map(|(start, pages)| bytes(*start, *pages))
    }

    /// Takes enough pages for `bytes`, side by side, that begin at a multiple of `align` bytes: a power of two, of pages.
    pub fn take(&mut self, bytes: u64, align: u32) -> Option<Range<u32>> {
        let pages = u32::try_from(bytes.div_ceil(PAGE as u64)).ok()?;
        let align = align / PAGE;
        let fit = |(start, length): (&u32, &u32)| {
            let first = start.next_multiple_of(align);
            (first.checked_add(pages)? <= start + length).then_some((*start, *length, first))
        };
        let (start, length, first) = self.free.iter().find_map(fit)?;
        self.free.remove(&start);
        self.free_pages -= length;
        self.insert(start, first - start);
        self.insert(first + pages, start + length - first - pages);
        Some(self::bytes(first, pages))
    }

    /// Gives back the pages of `range`, or a part of what was taken; nothing, if it is empty.
    pub fn give(&mut self, range: Range<u32>) {
        debug_assert!(range.start.is_multiple_of(PAGE));
        self.insert(range.start / PAGE, (range.end - range.start).div_ceil(PAGE));
    }

    fn insert(&mut self, mut start: u32, mut pages: u32) {
        if pages == 0 {
            return;
        }
        self.free_pages += pages;
        if let Some((before, length)) = self.free.range(..start).next_back().map(|(s, l)| (*s, *l)) {
            debug_assert!(before + length <= start, "page {start:#x} is given back twice");
            if before + length == start {
                self.free.remove(&before);
                (start, pages) = (before, length + pages);
            }
        }
        if let Some(length) = self.free.remove(&(start + pages)) {
            pages += length;
        }
        self.free.insert(start, pages);
    }

    /// Returns to the system what is free beyond `keep` bytes, the end of the heap first: what is at the end is no longer
    /// committed, what is in the middle stays accessible and reads as zero. Gives the number of bytes.
    pub fn trim(&mut self, keep: u64) -> u64 {
        let mut beyond = self.free_bytes().saturating_sub(keep) / PAGE as u64 * PAGE as u64;
        let all = beyond;
        let runs: Vec<_> = self.runs().collect();
        for run in runs.into_iter().rev() {
            if beyond == 0 {
                break;
            }
            let bytes = beyond.min(run.len() as u64) as u32;
            beyond -= bytes as u64;
            let start = run.end - bytes;
            if run.end == self.end * PAGE && self.memory.shrink((start - FIRST_INDEX) as u64).is_ok() {
                self.forget_end();
            } else {
                self.memory.discard(start..run.end);
            }
        }
        all
    }

    /// Follows the memory, which has shrunk within the last run. System pages may be larger than these.
    fn forget_end(&mut self) {
        let end = (self.memory.committed() / PAGE as u64) as u32;
        let Some((start, length)) = self.free.pop_last() else { return };
        self.free_pages -= length;
        self.end = end.min(start + length);
        self.insert(start, self.end - start);
    }
}

fn bytes(start: u32, pages: u32) -> Range<u32> {
    start * PAGE..(start + pages) * PAGE
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIRST: u32 = FIRST_INDEX;

    fn pages(count: u32) -> Pages {
        let memory = HeapMemory::reserve(64 << 20).unwrap();
        memory.grow((count * PAGE) as u64).unwrap();
        Pages::new(memory)
    }

    #[test]
    fn the_lowest_run_that_fits_is_taken_and_neighbours_merge() {
        let mut pages = pages(64);
        let one = pages.take(1, PAGE).unwrap();
        let block = pages.take(8 * PAGE as u64, 8 * PAGE).unwrap();
        assert_eq!((one.clone(), block.clone()), (FIRST..FIRST + PAGE, FIRST + 8 * PAGE..FIRST + 16 * PAGE));
        assert_eq!(pages.take(5 * PAGE as u64, PAGE).unwrap().start, FIRST + PAGE);
        assert_eq!(pages.taken_bytes(), 14 * PAGE as u64);
        pages.give(FIRST + PAGE..FIRST + 6 * PAGE);
        pages.give(one);
        pages.give(block);
        assert!(pages.runs().eq(std::iter::once(FIRST..FIRST + 64 * PAGE)));
        assert_eq!(pages.take(65 * PAGE as u64, PAGE), None);
        assert_eq!((pages.free_pieces(PAGE), pages.free_pieces(8 * PAGE)), (64, 8));
        pages.take(1, PAGE).unwrap();
        assert_eq!((pages.free_pieces(PAGE), pages.free_pieces(8 * PAGE)), (63, 7));
    }

    #[test]
    fn a_trimmed_heap_shrinks_and_grows_again() {
        let mut pages = pages(64);
        let kept = pages.take(PAGE as u64, PAGE).unwrap();
        pages.memory.store_u64(kept.start, 0, 7);
        let far = pages.take(PAGE as u64, 32 * PAGE).unwrap();
        assert_eq!(pages.trim(8 * PAGE as u64), 54 * PAGE as u64);
        assert!(pages.memory.committed() < (FIRST + 64 * PAGE) as u64);
        assert_eq!(pages.memory.load_u64(kept.start, 0), 7);
        pages.memory.store_u64(far.start, 0, 8);
        pages.memory.grow(100 * PAGE as u64).unwrap();
        pages.adopt();
        assert!(pages.take(99 * PAGE as u64, PAGE).is_some());
        assert_eq!(pages.memory.load_u64(far.start, 0), 8);
    }

    proptest! {
        /// Whatever is taken and given back: runs never overlap, and all bytes add up.
        #[test]
        fn what_is_taken_is_nobody_elses(steps in prop::collection::vec((0u32..12, 1u64..40_000, 0u32..4), 1..200)) {
            let mut pages = pages(128);
            let mut taken: Vec<Range<u32>> = Vec::new();
            for (choice, bytes, align) in steps {
                if choice < 7 {
                    let align = PAGE << align;
                    if let Some(new) = pages.take(bytes, align) {
                        prop_assert!(new.start.is_multiple_of(align) && new.len() as u64 >= bytes && new.len() as u64 - bytes < PAGE as u64);
                        prop_assert!(taken.iter().all(|old| old.end <= new.start || new.end <= old.start));
                        taken.push(new);
                    }
                } else if !taken.is_empty() {
                    let gone = taken.swap_remove(choice as usize % taken.len());
                    pages.give(gone);
                }
                let sum: u64 = taken.iter().map(|range| range.len() as u64).sum();
                prop_assert_eq!(pages.taken_bytes(), sum);
                let runs: Vec<_> = pages.runs().collect();
                prop_assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start), "{:?}", runs);
            }
        }
    }
}
