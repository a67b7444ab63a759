//! Where objects are: old ones by a bit at their start, new ones in the regions that allocation has bumped through.
//!
//! * A side table has one bit for each 8 bytes: set where an *old* object starts. Its size follows from its shape, so
//!   the free memory is what lies between: the *gaps*. Nothing is written to make memory free but that one bit.
//! * The heap is looked at in blocks of 32 KiB. A block knows how many of its bytes are in objects with a start bit, so
//!   that full blocks and empty ones are passed over, and how many of its first bytes belong to an object from before
//!   it.
//! * Between two collections a *cursor* goes once through the heap, upwards, and allocation bumps through the gaps that
//!   it finds. New objects, which have no start bits, are therefore behind the cursor, where no gap is handed out.
//!   The next collection gives those that survive a start bit; the others are gaps then. It restarts the cursor at the
//!   lowest block with room, so that the memory that was used last, and is in the cache, is used again.
//! * An object of more than 8 KiB that does not fit the current gap goes to empty blocks ahead of the cursor and has
//!   its start bit from the beginning.

use gc_api::{Cell, FIRST_INDEX, HeapError, HeapMemory, Shapes, SideEntry, SideTable, VMGcRef};
use std::ops::Range;
use std::sync::Arc;

const BLOCK_SHIFT: u32 = 15;
/// Bytes of a block.
pub const BLOCK: u32 = 1 << BLOCK_SHIFT;
/// An object of more bytes does not end the current gap: it is allocated apart.
const LARGE: u32 = 8 << 10;
/// Bytes of empty blocks that are set aside for large objects at a time, at most.
const LARGE_RUN: u32 = 1 << 20;
/// Smaller gaps are not worth a slow path, while there are others.
const MIN_GAP: u32 = 128;
/// A block with less free than this part of it is passed over, while there are others.
const FULL_PART: u32 = 8;
/// A block that gives fewer bytes than this in gaps is poor.
const POOR: u32 = BLOCK / 16;
/// Empty blocks that are returned to the system one by one would be a call each.
const RETURNED_RUN: usize = 4;
/// The end of the index space, so that it fits 32 bits.
const END: u64 = u32::MAX as u64 & !7;

/// What is known of a block without looking at its objects.
#[derive(Clone, Copy, Default, Debug)]
pub struct Block {
    /// Bytes that objects with a start bit have in this block.
    pub live: u32,
    /// Bytes at the start of the block that belong to an object from before it.
    pub spill: u32,
    /// Its free memory is in pieces: when allocation last went through it, there were few gaps worth taking. It is
    /// passed over until [`POOR`] bytes more are free, so that going through a block is paid for by what it gives or
    /// what was freed.
    poor_above: Option<u32>,
    /// The round in which something was last allocated there.
    used: u32,
    /// Its memory was returned to the system, and nothing was allocated there since.
    returned: bool,
}

/// How picky allocation is about gaps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gaps {
    /// Gaps of [`MIN_GAP`] bytes, in blocks that are not almost full.
    Roomy,
    /// Any gap into which the object fits: the heap cannot grow.
    Any,
}

/// The heap's memory and what is where in it.
pub struct Space {
    pub memory: HeapMemory,
    pub shapes: Arc<Shapes>,
    /// Object starts: all old objects and large new ones.
    pub starts: SideTable,
    /// By index, from 0.
    pub blocks: Vec<Block>,
    /// Bytes in objects with a start bit.
    pub live: u64,
    /// Which gaps are used until the next collection.
    pub gaps: Gaps,
    /// No gap starts below; it never lies inside an object, except at the start of a block.
    cursor: u32,
    /// The block that the cursor is in, if it came in at its start, and the bytes of gaps that it gave.
    entered: Option<(usize, u32)>,
    /// All blocks below are full.
    first_open: usize,
    /// Where the current bump region starts.
    region: u32,
    /// The other regions that were bumped through since the last collection.
    fresh: Vec<Range<u32>>,
    /// Bytes in `fresh` and in large new objects.
    fresh_bytes: u64,
    /// Large objects allocated since the last collection.
    pub large_new: Vec<u32>,
    /// Empty blocks set aside for large objects.
    large_run: Range<u32>,
    /// Collections so far.
    pub round: u32,
}

impl Space {
    /// An empty space in all committed memory.
    ///
    /// # Errors
    /// When the side table cannot be had.
    pub fn new(memory: HeapMemory, shapes: Arc<Shapes>) -> Result<Space, HeapError> {
        let starts = memory.side_table(3, SideEntry::Bit)?;
        let mut space = Space {
            memory,
            shapes,
            starts,
            blocks: Vec::new(),
            live: 0,
            gaps: Gaps::Roomy,
            cursor: 0,
            entered: None,
            first_open: 0,
            region: 0,
            fresh: Vec::new(),
            fresh_bytes: 0,
            large_new: Vec::new(),
            large_run: 0..0,
            round: 0,
        };
        space.clear();
        Ok(space)
    }

    /// Forgets all objects, after the memory was reset.
    pub fn clear(&mut self) {
        self.blocks.clear();
        self.live = 0;
        self.round = 0;
        self.first_open = (FIRST_INDEX >> BLOCK_SHIFT) as usize;
        self.large_new.clear();
        self.close();
        self.restart(Gaps::Roomy);
    }

    /// Forgets all objects and clears their memory: cheaply if only bump regions were used, in which no object was ever freed.
    pub fn reset(&mut self, bumped_only: bool) {
        match bumped_only && self.live == 0 {
            true => {
                let fresh = self.fresh.iter().map(|region| region.end).max().unwrap_or_default();
                self.memory.reset_touched(FIRST_INDEX..fresh.max(self.memory.cell(Cell::BUMP) as u32));
            }
            false => self.memory.reset(),
        }
        (self.blocks, self.fresh, self.large_new) = (Vec::new(), Vec::new(), Vec::new());
        self.region = 0;
        self.clear();
    }

    /// First index behind the memory that objects can use.
    pub fn end(&self) -> u32 {
        self.memory.committed().min(END) as u32
    }

    /// Bytes allocated since the last collection.
    pub fn allocated(&self) -> u64 {
        self.fresh_bytes + self.memory.cell(Cell::BUMP).saturating_sub(self.region as u64)
    }

    /// Allocates `size` bytes (a multiple of 8). A new gap is used for up to `budget` bytes.
    pub fn allocate(&mut self, size: u64, budget: u64) -> Option<u32> {
        let size = u32::try_from(size).ok()?;
        if let Some(index) = self.bump(size) {
            return Some(index);
        }
        self.follow_growth();
        if size > LARGE {
            return self.allocate_large(size);
        }
        let min = match self.gaps {
            Gaps::Roomy => size.max(MIN_GAP),
            Gaps::Any => size,
        };
        self.close();
        let gap = self.next_gap(min, budget.min(END) as u32)?;
        self.region = gap.start;
        self.memory.set_cell(Cell::BUMP, gap.start as u64);
        self.memory.set_cell(Cell::LIMIT, gap.end as u64);
        self.bump(size)
    }

    /// Bumps as compiled code does.
    fn bump(&mut self, size: u32) -> Option<u32> {
        let start = self.memory.cell(Cell::BUMP);
        let end = start + size as u64;
        (end <= self.memory.cell(Cell::LIMIT)).then(|| {
            self.memory.set_cell(Cell::BUMP, end);
            start as u32
        })
    }

    /// Ends the current bump region.
    pub fn close(&mut self) {
        let bump = self.memory.cell(Cell::BUMP) as u32;
        if bump > self.region {
            self.fresh_bytes += (bump - self.region) as u64;
            self.fresh.push(self.region..bump);
        }
        self.region = 0;
        self.memory.set_cell(Cell::BUMP, 0);
        self.memory.set_cell(Cell::LIMIT, 0);
    }

    /// Starts the next round of allocation after a collection: all memory without a start bit is free.
    pub fn restart(&mut self, gaps: Gaps) {
        self.fresh.clear();
        self.fresh_bytes = 0;
        self.large_run = 0..0;
        self.round = self.round.wrapping_add(1);
        self.gaps = gaps;
        self.entered = None;
        self.cursor = match gaps {
            Gaps::Roomy => (self.first_open as u32) << BLOCK_SHIFT,
            Gaps::Any => FIRST_INDEX,
        };
    }

    /// The memory of `range` is about to be used.
    fn touch(&mut self, range: Range<u32>) {
        let blocks = (range.start >> BLOCK_SHIFT) as usize..(range.end as usize).div_ceil(BLOCK as usize);
        let used = self.round;
        self.blocks[blocks].iter_mut().for_each(|block| (block.used, block.returned) = (used, false));
    }

    /// Returns the memory of those empty blocks to the system in which nothing was allocated for so many rounds. Returns the bytes.
    /// What the last rounds used, the next will use again.
    pub fn return_memory(&mut self, rounds: u32) -> u64 {
        let before = self.round.saturating_sub(rounds);
        let idle = |block: &Block| block.live == 0 && !block.returned && block.used <= before;
        let (mut block, mut bytes) = ((FIRST_INDEX >> BLOCK_SHIFT) as usize + 1, 0);
        while block < self.blocks.len() {
            let run = self.blocks[block..].iter().take_while(|block| idle(block)).count();
            if run >= RETURNED_RUN {
                let range = (block as u32) << BLOCK_SHIFT..self.block_end(block + run - 1);
                bytes += (range.end - range.start) as u64;
                self.memory.discard(range);
                self.blocks[block..block + run].iter_mut().for_each(|block| block.returned = true);
            }
            block += run + 1;
        }
        bytes
    }

    /// Gives back the empty blocks at the end that lie behind the first `bytes` of the heap. Returns the bytes. Between
    /// [`close`](Self::close) and [`restart`](Self::restart).
    pub fn shrink(&mut self, bytes: u64) -> u64 {
        let in_use = self.blocks.iter().rposition(|block| block.live > 0).map_or(0, |last| last + 1) << BLOCK_SHIFT;
        let (before, keep) =
            (self.memory.committed_bytes(), bytes.max((in_use as u64).saturating_sub(FIRST_INDEX as u64)));
        // A refusal leaves the heap as it is.
        if keep < before && self.memory.shrink(keep).is_ok() {
            self.blocks.truncate(self.end().div_ceil(BLOCK) as usize);
        }
        before - self.memory.committed_bytes()
    }

    fn follow_growth(&mut self) {
        let blocks = self.end().div_ceil(BLOCK) as usize;
        let new = Block { used: self.round, ..Block::default() };
        self.blocks.resize(blocks.max(self.blocks.len()), new);
    }

    fn block_end(&self, block: usize) -> u32 {
        ((block as u64 + 1) << BLOCK_SHIFT).min(self.end() as u64) as u32
    }

    /// Bytes of `block`: less than [`BLOCK`] where the heap ends inside it.
    fn size_of_block(&self, block: usize) -> u32 {
        self.block_end(block) - ((block as u32) << BLOCK_SHIFT)
    }

    /// Bytes of `block` that no object with a start bit uses.
    fn free_in(&self, block: usize) -> u32 {
        self.size_of_block(block) - self.blocks[block].live
    }

    fn is_full(&self, block: usize) -> bool {
        match self.gaps {
            Gaps::Roomy => {
                let Block { live, poor_above, .. } = self.blocks[block];
                self.free_in(block) < self.size_of_block(block) / FULL_PART
                    || poor_above.is_some_and(|most| live > most)
            }
            Gaps::Any => self.free_in(block) == 0,
        }
    }

    /// The next gap of at least `min` bytes, or the first `want` bytes of it if it is larger. The cursor passes it, and
    /// all smaller ones before it.
    fn next_gap(&mut self, min: u32, want: u32) -> Option<Range<u32>> {
        while self.cursor < self.end() {
            let block = (self.cursor >> BLOCK_SHIFT) as usize;
            self.leave_for(block);
            if self.cursor.is_multiple_of(BLOCK) {
                if self.is_full(block) {
                    if block == self.first_open && self.gaps == Gaps::Roomy {
                        self.first_open += 1;
                    }
                    self.cursor = self.block_end(block);
                    continue;
                }
                self.entered = Some((block, 0));
                if self.blocks[block].spill > 0 {
                    self.cursor += self.blocks[block].spill;
                    continue;
                }
            }
            if self.starts.get(self.cursor) != 0 {
                self.cursor += self.size_of(self.cursor);
                continue;
            }
            let gap = self.cursor..self.gap_end(self.cursor, want.max(min));
            self.cursor = gap.end;
            if gap.end - gap.start >= min {
                if let Some((_, given)) = &mut self.entered {
                    *given += gap.end - gap.start;
                }
                self.touch(gap.clone());
                if gap.start < self.large_run.end && self.large_run.start < gap.end {
                    self.large_run = 0..0;
                }
                return Some(gap);
            }
        }
        None
    }

    /// The cursor is in `block`: the one that it was in before has given what it has.
    fn leave_for(&mut self, block: usize) {
        if let Some((last, given)) = self.entered
            && last != block
        {
            self.entered = None;
            if self.gaps == Gaps::Roomy {
                let last = &mut self.blocks[last];
                last.poor_above = (given < POOR).then(|| last.live.saturating_sub(POOR));
            }
        }
    }

    /// The end of the gap that starts at `from`, or `from + want`.
    fn gap_end(&self, from: u32, want: u32) -> u32 {
        let limit = (from as u64 + want as u64).min(self.end() as u64) as u32;
        let mut at = from;
        while at < limit {
            let block = (at >> BLOCK_SHIFT) as usize;
            let end = self.block_end(block);
            if self.blocks[block].live > 0
                && let Some(start) = self.starts.next_set(at, end)
            {
                return start.min(limit);
            }
            at = end;
        }
        limit
    }

    /// Allocates an object apart from the current gap, with its start bit.
    fn allocate_large(&mut self, size: u32) -> Option<u32> {
        if self.large_run.end - self.large_run.start < size {
            self.large_run = self.empty_blocks(size).or_else(|| self.gap_apart(size))?;
        }
        let index = self.large_run.start;
        self.large_run.start += size;
        self.touch(index..index + size);
        self.admit(index, size);
        self.large_new.push(index);
        self.fresh_bytes += size as u64;
        Some(index)
    }

    /// Consecutive empty blocks ahead of the cursor, of at least `size` bytes.
    fn empty_blocks(&self, size: u32) -> Option<Range<u32>> {
        let mut run = 0..0u32;
        for block in self.cursor.div_ceil(BLOCK) as usize..self.blocks.len() {
            if self.blocks[block].live > 0 {
                if run.end - run.start >= size {
                    break;
                }
                run = 0..0;
                continue;
            }
            if run.is_empty() {
                run.start = (block as u32) << BLOCK_SHIFT;
            }
            run.end = self.block_end(block);
            if run.end - run.start >= size.max(LARGE_RUN) {
                break;
            }
        }
        (run.end - run.start >= size).then_some(run)
    }

    /// Any gap ahead of the cursor, which stays where it is. Slow: for when there is nothing else.
    fn gap_apart(&mut self, size: u32) -> Option<Range<u32>> {
        if self.gaps == Gaps::Roomy {
            return None;
        }
        let cursor = self.cursor;
        let gap = self.next_gap(size, size);
        self.cursor = cursor;
        gap
    }

    /// Bytes of the object at `index`.
    #[inline]
    pub fn size_of(&self, index: u32) -> u32 {
        let object = VMGcRef::from_index(index).expect("no object is at 0");
        self.checked(index, self.shapes.size_of(&self.memory, &object))
    }

    /// `size` as that of the object at `index`.
    ///
    /// # Panics
    /// When the heap ends before: it is corrupt.
    #[inline]
    pub fn checked(&self, index: u32, size: u64) -> u32 {
        let room = self.end().saturating_sub(index);
        assert!(
            size <= room as u64,
            "corrupt heap: the object at {index:#x} has {size} bytes, the heap ends after {room}"
        );
        size as u32
    }

    /// Whether `index` has a start bit.
    pub fn is_start(&self, index: u32) -> bool {
        self.starts.get(index) != 0
    }

    /// Gives a new object its start bit.
    #[inline]
    pub fn admit(&mut self, index: u32, size: u32) {
        self.starts.set(index, 1);
        self.live += size as u64;
        let block = (index >> BLOCK_SHIFT) as usize;
        if index % BLOCK + size <= BLOCK {
            self.blocks[block].live += size;
            return;
        }
        for (block, bytes, first) in parts(index, size) {
            self.blocks[block].live += bytes;
            if !first {
                self.blocks[block].spill = bytes;
            }
        }
    }

    /// Makes an object's memory free, for the allocations after the next collection or ahead of the cursor.
    #[inline]
    pub fn release(&mut self, index: u32, size: u32) {
        assert!(self.is_start(index), "corrupt heap: the object at {index:#x} is freed twice");
        self.starts.set(index, 0);
        self.live -= size as u64;
        let block = (index >> BLOCK_SHIFT) as usize;
        self.first_open = self.first_open.min(block);
        if index % BLOCK + size <= BLOCK {
            self.blocks[block].live -= size;
            return;
        }
        for (block, bytes, first) in parts(index, size) {
            self.blocks[block].live -= bytes;
            if !first {
                self.blocks[block].spill = 0;
            }
        }
    }

    /// The bump regions since the last collection, with the current one.
    pub fn fresh(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        let current = self.region..self.memory.cell(Cell::BUMP) as u32;
        self.fresh.iter().cloned().chain(Some(current)).filter(|range| !range.is_empty())
    }

    /// Visits every object that was not freed: those with a start bit, in ascending order, then those in bump regions.
    pub fn for_each(&self, visit: &mut dyn FnMut(VMGcRef)) {
        let mut visit = |index| visit(VMGcRef::from_index(index).expect("no object is at 0"));
        let mut from = FIRST_INDEX;
        while let Some(index) = self.starts.next_set(from, self.end()) {
            visit(index);
            from = index + self.size_of(index);
        }
        for range in self.fresh() {
            let mut index = range.start;
            while index < range.end {
                let size = self.size_of(index);
                visit(index);
                index += size;
            }
        }
    }

    /// Visits each block, and says whether an object with a start bit is in it.
    pub fn for_each_block(&self, mut visit: impl FnMut(Range<u32>, bool)) {
        for block in (FIRST_INDEX >> BLOCK_SHIFT) as usize..self.end().div_ceil(BLOCK) as usize {
            let in_use = self.blocks.get(block).is_some_and(|block| block.live > 0);
            visit((block as u32) << BLOCK_SHIFT..self.block_end(block), in_use);
        }
    }

    /// Whether an object of so many bytes is allocated apart.
    pub fn is_large(&self, bytes: u64) -> bool {
        bytes > LARGE as u64
    }

    /// Bytes that [`Gaps::Roomy`] passes over, and the end of the index space.
    pub fn waste(&self) -> u64 {
        let tail = self.memory.committed() - self.end() as u64;
        let full = |block: &usize| self.is_full(*block);
        let first = (FIRST_INDEX >> BLOCK_SHIFT) as usize;
        let blocks = match self.gaps {
            Gaps::Roomy => (first..self.blocks.len()).filter(full).map(|block| self.free_in(block) as u64).sum(),
            Gaps::Any => 0,
        };
        tail + blocks
    }

    /// Bytes of lists.
    pub fn lists(&self) -> usize {
        let blocks = self.blocks.capacity() * size_of::<Block>();
        blocks + self.fresh.capacity() * size_of::<Range<u32>>() + self.large_new.capacity() * 4
    }

    /// Gives back what the lists do not need. Before [`restart`](Self::restart), which forgets the regions.
    pub fn trim(&mut self) {
        self.blocks.shrink_to_fit();
        self.fresh = Vec::new();
        self.large_new.shrink_to_fit();
    }
}

/// The blocks of an object, with its bytes in each and whether it starts there.
pub fn parts(index: u32, size: u32) -> impl Iterator<Item = (usize, u32, bool)> {
    let end = index as u64 + size as u64;
    (index >> BLOCK_SHIFT..=((end - 1) >> BLOCK_SHIFT) as u32).map(move |block| {
        let start = (block as u64) << BLOCK_SHIFT;
        let bytes = end.min(start + BLOCK as u64) - start.max(index as u64);
        (block as usize, bytes as u32, start <= index as u64)
    })
}
