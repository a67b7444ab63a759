//! Blocks of lines: memory that is marked, swept and handed out by lines.
//!
//! The heap's pages are taken in blocks of 32 KiB, which have 128 lines of 256 bytes. A trace marks the lines that its objects
//! are on. A sweep gives blocks without a marked line back whole; in the others the runs of unmarked lines are *holes*, through which
//! allocation bumps: an object may lie on several lines, never in two blocks.
//!
//! Blocks with little on them can be made candidates for *evacuation* before a trace: the trace moves their objects to empty
//! blocks while there are any, and marks them where they are when there are none.
//!
//! S. M. Blackburn and K. S. McKinley, *Immix: a mark-region garbage collector with space efficiency, fast collection, and
//! mutator performance*, PLDI 2008. Other than there all lines of an object are marked, so that no line behind a marked one has to be kept.
//!
//! Side metadata: a byte for each line, 1/256 of the heap.

use crate::pages::Pages;
use gc_api::{HeapError, HeapMemory, SideEntry, SideTable};
use std::ops::Range;

const BLOCK_SHIFT: u32 = 15;
const LINE_SHIFT: u32 = 8;
/// Bytes of a block.
pub const BLOCK: u32 = 1 << BLOCK_SHIFT;
/// Bytes of a line.
pub const LINE: u32 = 1 << LINE_SHIFT;
/// Lines of a block.
const LINES: u32 = BLOCK / LINE;

/// What is known of a block.
#[derive(Clone, Copy, Default, Debug)]
struct Block {
    owned: bool,
    /// Its objects move in this collection, if there is room.
    evacuate: bool,
    /// Marked lines, and runs of others between them, at the last sweep.
    marked: u8,
    holes: u8,
}

/// The blocks of a heap.
#[derive(Debug)]
pub struct Region {
    /// Not 0 where an object lives, as of the last trace.
    lines: SideTable,
    /// By index, from 0.
    blocks: Vec<Block>,
    owned: u32,
    /// Blocks with holes that nobody has looked at since the last sweep, the lowest last.
    recyclable: Vec<u32>,
    /// Bytes in their holes.
    recyclable_bytes: u64,
    /// Where the search for holes goes on.
    rest: Range<u32>,
    /// Bytes on marked lines, at the last sweep.
    marked_bytes: u64,
    /// Candidates were chosen for the collection that runs.
    evacuating: bool,
    /// Where the collector puts objects: the hole, or the block, that is open.
    to: Range<u32>,
    /// The same for objects that are longer than a line and do not fit there.
    overflow: Range<u32>,
}

impl Region {
    /// No blocks.
    ///
    /// # Errors
    /// When the table of lines cannot be had.
    pub fn new(memory: &HeapMemory) -> Result<Region, HeapError> {
        let mut region = Region {
            lines: memory.side_table(LINE_SHIFT as u8, SideEntry::Byte)?,
            blocks: Vec::new(),
            owned: 0,
            recyclable: Vec::new(),
            recyclable_bytes: 0,
            rest: 0..0,
            marked_bytes: 0,
            evacuating: false,
            to: 0..0,
            overflow: 0..0,
        };
        region.reset();
        Ok(region)
    }

    /// Forgets all blocks, after the memory and its side tables were cleared.
    pub fn reset(&mut self) {
        (self.blocks, self.recyclable) = (Vec::new(), Vec::new());
        (self.owned, self.recyclable_bytes, self.marked_bytes) = (0, 0, 0);
        (self.rest, self.to, self.overflow, self.evacuating) = (0..0, 0..0, 0..0, false);
    }

    /// Bytes of all blocks.
    pub fn bytes(&self) -> u64 {
        self.owned as u64 * BLOCK as u64
    }

    /// Bytes on lines that were marked at the last sweep.
    pub fn marked_bytes(&self) -> u64 {
        self.marked_bytes
    }

    /// Bytes in holes that nobody has been given since the last sweep.
    pub fn free_bytes(&self) -> u64 {
        self.recyclable_bytes
    }

    /// Bytes of the table of lines.
    pub fn tables(&self) -> u64 {
        self.lines.bytes()
    }

    /// Bytes of the lists of blocks.
    pub fn lists(&self) -> u64 {
        (self.blocks.capacity() * size_of::<Block>() + self.recyclable.capacity() * 4) as u64
    }

    /// The blocks, lowest first.
    pub fn blocks(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        let owned = self.blocks.iter().enumerate().filter(|(_, block)| block.owned);
        owned.map(|(number, _)| range(number as u32))
    }

    /// The next hole of at least `bytes` bytes, upwards. Smaller ones that were passed are not offered again before the next
    /// sweep. Cost: a load for each line passed.
    pub fn next_hole(&mut self, bytes: u32) -> Option<Range<u32>> {
        loop {
            while !self.rest.is_empty() {
                let start = self.first_clear(self.rest.clone());
                let end = self.lines.next_set(start, self.rest.end).unwrap_or(self.rest.end);
                self.rest.start = end;
                self.recyclable_bytes -= (end - start) as u64;
                if end - start >= bytes {
                    return Some(start..end);
                }
            }
            self.rest = range(self.recyclable.pop()?);
        }
    }

    fn first_clear(&self, lines: Range<u32>) -> u32 {
        lines.clone().step_by(LINE as usize).find(|line| self.lines.get(*line) == 0).unwrap_or(lines.end)
    }

    /// A new block, empty.
    pub fn take_block(&mut self, pages: &mut Pages) -> Option<Range<u32>> {
        let block = pages.take(BLOCK as u64, BLOCK)?;
        let number = (block.start >> BLOCK_SHIFT) as usize;
        if self.blocks.len() <= number {
            self.blocks.resize(number + 1, Block::default());
        }
        self.blocks[number] = Block { owned: true, ..Block::default() };
        self.owned += 1;
        Some(block)
    }

    /// Before a trace: no line is marked. Cost: 16 stores a block.
    pub fn unmark(&mut self) {
        for number in 0..self.blocks.len() {
            if self.blocks[number].owned {
                self.lines.clear(range(number as u32));
            }
        }
        self.forget_holes();
    }

    fn forget_holes(&mut self) {
        (self.rest, self.to, self.overflow) = (0..0, 0..0, 0..0);
        self.recyclable.clear();
        self.recyclable_bytes = 0;
    }

    /// The lines, for who marks them while the region moves objects.
    pub fn lines(&self) -> Lines {
        Lines(self.lines.clone())
    }

    /// Whether all lines that the object at `index` is on are marked.
    pub fn is_marked(&self, index: u32, bytes: u64) -> bool {
        lines_of(index, bytes).all(|line| self.lines.get(line) != 0)
    }

    /// Before a trace: makes blocks candidates for evacuation, those with the most holes first, as long as what was on their marked
    /// lines at the last sweep comes to no more than `room` bytes. With `all`, every block, whatever the room.
    pub fn choose_candidates(&mut self, room: u64, all: bool) {
        let mut order: Vec<usize> = (0..self.blocks.len()).filter(|i| self.blocks[*i].owned).collect();
        if all {
            order.iter().for_each(|i| self.blocks[*i].evacuate = true);
        } else {
            order.retain(|i| self.blocks[*i].holes > 0 && (self.blocks[*i].marked as u32) < LINES / 2);
            order.sort_by_key(|i| std::cmp::Reverse(self.blocks[*i].holes));
            let mut left = room;
            for i in order.iter().copied() {
                let bytes = self.blocks[i].marked as u64 * LINE as u64;
                let Some(rest) = left.checked_sub(bytes) else { break };
                left = rest;
                self.blocks[i].evacuate = true;
            }
        }
        self.evacuating = !order.is_empty();
    }

    /// Before a trace: makes blocks candidates for evacuation, those with the fewest bytes of `live` objects first, as long as these come to
    /// no more than `room` bytes with what blocks have left when the next object does not fit. Not those that are half full or were empty at
    /// the last sweep. This is for objects that are few but on every line: there are no holes between them.
    pub fn choose_sparse(&mut self, room: u64, live: impl Fn(Range<u32>) -> u64) {
        let swept = (0..self.blocks.len()).filter(|i| self.blocks[*i].marked > 0);
        let mut order: Vec<(u64, usize)> = swept.map(|i| (live(range(i as u32)), i)).collect();
        order.retain(|(live, _)| *live < BLOCK as u64 / 2);
        order.sort_unstable();
        let mut left = room;
        for (live, i) in order {
            let Some(rest) = left.checked_sub(with_waste(live)) else { break };
            left = rest;
            self.blocks[i].evacuate = true;
            self.evacuating = true;
        }
    }

    /// Whether any block is a candidate: if not, nothing moves in this collection.
    #[inline]
    pub fn is_evacuating(&self) -> bool {
        self.evacuating
    }

    /// Whether the object at `index` is to be moved.
    #[inline]
    pub fn is_candidate(&self, index: u32) -> bool {
        self.blocks.get((index >> BLOCK_SHIFT) as usize).is_some_and(|block| block.evacuate)
    }

    /// Room for an object of `bytes`, no more than a block, for the collector: in the holes, and when there are none left in empty
    /// blocks. In a trace, after [`unmark`](Self::unmark), there are no holes.
    #[inline]
    pub fn take(&mut self, pages: &mut Pages, bytes: u32) -> Option<u32> {
        if bytes <= self.to.len() as u32 {
            let index = self.to.start;
            self.to.start += bytes;
            return Some(index);
        }
        self.take_elsewhere(pages, bytes)
    }

    fn take_elsewhere(&mut self, pages: &mut Pages, bytes: u32) -> Option<u32> {
        let place = if bytes > LINE && self.to.len() as u32 >= LINE {
            if (self.overflow.len() as u32) < bytes {
                self.overflow = self.take_block(pages)?;
            }
            &mut self.overflow
        } else {
            self.to = self.next_hole(bytes).or_else(|| self.take_block(pages))?;
            &mut self.to
        };
        let index = place.start;
        place.start += bytes;
        Some(index)
    }

    /// What [`take`](Self::take) has left of the hole and the block that are open.
    pub fn open(&self) -> [Range<u32>; 2] {
        [self.to.clone(), self.overflow.clone()]
    }

    /// After a trace: gives blocks without a marked line back, and looks for the holes of the others. No block is a candidate any
    /// more. Cost: a load for each line.
    pub fn sweep(&mut self, pages: &mut Pages) {
        self.forget_holes();
        self.marked_bytes = 0;
        for number in (0..self.blocks.len()).rev() {
            if !self.blocks[number].owned {
                continue;
            }
            let (mut marked, mut holes, mut in_hole) = (0, 0, false);
            for line in range(number as u32).step_by(LINE as usize) {
                let live = self.lines.get(line) != 0;
                marked += live as u32;
                holes += (!live && !in_hole) as u32;
                in_hole = !live;
            }
            if marked == 0 {
                self.blocks[number] = Block::default();
                self.owned -= 1;
                pages.give(range(number as u32));
                continue;
            }
            self.blocks[number] = Block { owned: true, evacuate: false, marked: marked as u8, holes: holes as u8 };
            self.marked_bytes += marked as u64 * LINE as u64;
            if holes > 0 {
                self.recyclable.push(number as u32);
                self.recyclable_bytes += ((LINES - marked) * LINE) as u64;
            }
        }
        self.evacuating = false;
    }

    /// The holes that nobody has been given since the last sweep.
    pub fn for_each_hole(&self, mut visit: impl FnMut(Range<u32>)) {
        let blocks = self.recyclable.iter().map(|number| range(*number)).chain([self.rest.clone()]);
        for block in blocks {
            let mut from = block.start;
            while from < block.end {
                let start = self.first_clear(from..block.end);
                from = self.lines.next_set(start, block.end).unwrap_or(block.end);
                if start < from {
                    visit(start..from);
                }
            }
        }
    }
}

/// The lines of a heap, to mark.
#[derive(Clone, Debug)]
pub struct Lines(SideTable);

impl Lines {
    /// Marks the lines that the object at `index` is on.
    #[inline]
    pub fn mark(&self, index: u32, bytes: u64) {
        lines_of(index, bytes).for_each(|line| self.0.set_byte(line, 1));
    }
}

/// Where the lines start that the object at `index` is on.
#[inline]
fn lines_of(index: u32, bytes: u64) -> impl Iterator<Item = u32> {
    let last = index + (bytes as u32 - 1);
    (index >> LINE_SHIFT..=last >> LINE_SHIFT).map(|line| line << LINE_SHIFT)
}

/// Bytes of blocks that objects of so many bytes may take: a block may have a quarter left when the next object does not fit.
pub fn with_waste(bytes: u64) -> u64 {
    bytes * 4 / 3
}

/// The indices of a block.
fn range(number: u32) -> Range<u32> {
    number << BLOCK_SHIFT..(number + 1) << BLOCK_SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;
    use gc_api::FIRST_INDEX;

    fn region() -> (Region, Pages) {
        let memory = HeapMemory::reserve(1 << 20).unwrap();
        memory.grow(1 << 20).unwrap();
        (Region::new(&memory).unwrap(), Pages::new(memory))
    }

    #[test]
    fn holes_are_the_lines_between_marked_ones() {
        let (mut region, mut pages) = region();
        let (block, other) = (region.take_block(&mut pages).unwrap(), region.take_block(&mut pages).unwrap());
        assert_eq!((block.start, region.bytes()), (FIRST_INDEX, 2 * BLOCK as u64));
        region.unmark();
        // The second and third line, by an object that begins on the last 8 bytes of the one, and the last line.
        region.lines().mark(block.start + 2 * LINE - 8, 16);
        region.lines().mark(block.end - 8, 8);
        region.sweep(&mut pages);
        assert_eq!((region.bytes(), region.marked_bytes()), (BLOCK as u64, 3 * LINE as u64));
        assert_eq!(pages.runs().next().unwrap().start, other.start);
        let mut holes = Vec::new();
        region.for_each_hole(|hole| holes.push(hole));
        assert_eq!(holes, [block.start..block.start + LINE, block.start + 3 * LINE..block.end - LINE]);
        assert_eq!(region.free_bytes(), (BLOCK - 3 * LINE) as u64);
        assert_eq!(region.next_hole(LINE + 8), Some(holes[1].clone()));
        assert_eq!((region.next_hole(8), region.free_bytes()), (None, 0));
    }

    #[test]
    fn blocks_with_holes_are_candidates_as_long_as_there_is_room() {
        let (mut region, mut pages) = region();
        let blocks: Vec<_> = (0..3).map(|_| region.take_block(&mut pages).unwrap()).collect();
        region.unmark();
        // One line, three lines in pieces, all lines.
        region.lines().mark(blocks[0].start, 8);
        (0..3).for_each(|i| region.lines().mark(blocks[1].start + 10 * i * LINE, 8));
        region.lines().mark(blocks[2].start, BLOCK as u64);
        region.sweep(&mut pages);
        region.choose_candidates(3 * LINE as u64, false);
        let candidates = |region: &Region| blocks.iter().map(|b| region.is_candidate(b.start + 8)).collect::<Vec<_>>();
        assert_eq!(candidates(&region), [false, true, false]);
        region.unmark();
        region.lines().mark(blocks[2].start, BLOCK as u64);
        let to = region.take(&mut pages, 64).unwrap();
        assert!(to >= blocks[2].end && !region.is_candidate(to));
        region.lines().mark(to, 64);
        region.sweep(&mut pages);
        assert_eq!((region.bytes(), region.is_evacuating()), (2 * BLOCK as u64, false));
    }

    #[test]
    fn blocks_without_holes_are_candidates_when_little_lives_on_them() {
        let (mut region, mut pages) = region();
        let blocks: Vec<_> = (0..4).map(|_| region.take_block(&mut pages).unwrap()).collect();
        region.unmark();
        blocks[..3].iter().for_each(|block| region.lines().mark(block.start, BLOCK as u64));
        region.sweep(&mut pages);
        assert_eq!(region.take_block(&mut pages), Some(blocks[3].clone()));
        // The last block was empty at the sweep.
        let live =
            |block: Range<u32>| [6000, BLOCK as u64 / 2, 3000, 0][blocks.iter().position(|b| *b == block).unwrap()];
        region.choose_sparse(with_waste(3000) + with_waste(6000) - 1, live);
        let candidates: Vec<bool> = blocks.iter().map(|b| region.is_candidate(b.start + 8)).collect();
        assert_eq!((candidates.as_slice(), region.is_evacuating()), (&[false, false, true, false][..], true));
        region.choose_sparse(u64::MAX, live);
        let candidates: Vec<bool> = blocks.iter().map(|b| region.is_candidate(b.start + 8)).collect();
        assert_eq!(candidates, [true, false, true, false], "a block that is half full stays where it is");
    }
}
