//! Segregated fits: blocks of cells, all cells of a block equally large, swept when they are needed.
//!
//! Objects of up to [`EXACT`] bytes have cells of their own size, which compiled code takes by bumping through *runs* of free cells, a pair
//! of heap cells for each size. Larger ones, up to [`LARGE`](crate::LARGE), have the next of a few sizes and are the host's to allocate.
//!
//! After a trace nothing is swept but what is empty: a block without a mark goes back to the pages. The others are gone through once, by
//! allocation, which finds the runs between marked cells. In a block that it has gone through, all cells hold objects; in the one
//! that it is in, all cells before the end of what was taken of the current run; elsewhere, marked ones do. Nothing is written into free cells.
//!
//! Segregated fits: P. R. Wilson, M. S. Johnstone, M. Neely and D. Boles, *Dynamic storage allocation: a survey and critical review*,
//! IWMM 1995, §3.6. Lazy sweeping: R. J. M. Hughes, *A semi-incremental garbage collection algorithm*, Software: Practice and
//! Experience 1982.

use crate::LARGE;
use crate::mark::Marks;
use crate::pages::{PAGE, Pages};
use crate::region::BLOCK;
use gc_api::{Cell, HeapMemory};
use std::ops::Range;

/// Objects of up to so many bytes have cells of their own size.
pub const EXACT: u32 = 160;
/// The heap cells of the runs for objects of 8 bytes; those for 16 bytes are behind them, and so on.
pub const RUNS: Cell = Cell::own(0);
/// The sizes of the other cells.
const COARSE: [u32; 20] =
    [192, 224, 256, 304, 352, 408, 464, 544, 648, 816, 1024, 1248, 1560, 1920, 2336, 2976, 4096, 5456, 6552, 8192];
const SIZES: usize = EXACT as usize / 8 + COARSE.len();
/// A small heap has smaller blocks: so many of them, to have some for each size.
const BLOCKS: u64 = 64;

/// A class of cells that are equally large.
#[derive(Clone, Default, Debug)]
struct Class {
    /// Blocks that allocation has yet to go through, the lowest last.
    unswept: Vec<u32>,
    /// The block that it is in, and its rest behind the current run.
    current: Option<u32>,
    rest: Range<u32>,
    /// Where the current run began.
    opened: u32,
    /// The current run, where no heap cells have it.
    run: Range<u32>,
}

/// A block's class, and whether allocation has gone through it since the last trace.
#[derive(Clone, Copy, Debug)]
struct Block {
    class: u8,
    swept: bool,
}

/// The blocks of a heap, by class.
#[derive(Debug)]
pub struct Fits {
    memory: HeapMemory,
    /// Bytes of a block.
    block: u32,
    classes: Vec<Class>,
    /// By index, from 0; `None` if the block is not one of these.
    blocks: Vec<Option<Block>>,
    owned: u32,
    /// Bytes of the cells of runs that were left, since the last trace, of exact sizes.
    used: u64,
    /// Bytes of the objects in the others.
    coarse: u64,
    /// Bytes by which cells are larger than their objects, where there was no cell of the exact size.
    spare: u64,
}

impl Fits {
    /// No blocks.
    pub fn new(memory: HeapMemory) -> Fits {
        let block = (memory.limit_bytes() / BLOCKS).clamp(PAGE as u64, BLOCK as u64).ilog2();
        let (classes, blocks) = (Vec::new(), Vec::new());
        let mut fits = Fits { memory, block: 1 << block, classes, blocks, owned: 0, used: 0, coarse: 0, spare: 0 };
        fits.reset();
        fits
    }

    /// Forgets all blocks.
    pub fn reset(&mut self) {
        self.classes = vec![Class::default(); SIZES];
        (self.blocks, self.owned) = (Vec::new(), 0);
        (0..SIZES).for_each(|class| self.set_run(class, 0..0));
        (self.used, self.coarse, self.spare) = (0, 0, 0);
    }

    /// Bytes of a block: 32 KiB, or less in a heap of less than 2 MiB.
    pub fn block(&self) -> u32 {
        self.block
    }

    /// Bytes of the largest object that there are cells for.
    pub fn largest(&self) -> u64 {
        LARGE.min(self.block as u64)
    }

    /// Bytes of all blocks.
    pub fn bytes(&self) -> u64 {
        self.owned as u64 * self.block as u64
    }

    /// Bytes of the objects allocated since the last trace.
    pub fn since(&self) -> u64 {
        let open: u64 = (0..SIZES).map(|class| self.taken(class)).sum();
        self.used + self.coarse + open - self.spare
    }

    /// Bytes of the lists.
    pub fn metadata(&self) -> u64 {
        let lists: usize = self.classes.iter().map(|class| class.unswept.capacity() * 4).sum();
        (self.blocks.capacity() * size_of::<Option<Block>>() + lists) as u64
    }

    fn is_exact(class: usize) -> bool {
        class < EXACT as usize / 8
    }

    fn class_of(bytes: u32) -> usize {
        match bytes <= EXACT {
            true => bytes as usize / 8 - 1,
            false => EXACT as usize / 8 + COARSE.partition_point(|size| *size < bytes),
        }
    }

    fn cell_bytes(class: usize) -> u32 {
        match class.checked_sub(EXACT as usize / 8) {
            None => (class as u32 + 1) * 8,
            Some(coarse) => COARSE[coarse],
        }
    }

    /// The heap cells of a class's run.
    fn cells(class: usize) -> (Cell, Cell) {
        (Cell::own(2 * class as u8), Cell::own(2 * class as u8 + 1))
    }

    /// What is left of a class's run.
    fn run(&self, class: usize) -> Range<u32> {
        if !Self::is_exact(class) {
            return self.classes[class].run.clone();
        }
        let (next, limit) = Self::cells(class);
        self.memory.cell(next) as u32..self.memory.cell(limit) as u32
    }

    fn set_run(&mut self, class: usize, run: Range<u32>) {
        if !Self::is_exact(class) {
            self.classes[class].run = run;
            return;
        }
        let (next, limit) = Self::cells(class);
        self.memory.set_cell(next, run.start as u64);
        self.memory.set_cell(limit, run.end as u64);
    }

    /// Bytes of the objects in a class's run, if it is an exact one.
    fn taken(&self, class: usize) -> u64 {
        match Self::is_exact(class) {
            true => (self.run(class).start - self.classes[class].opened) as u64,
            false => 0,
        }
    }

    /// Goes on in another run.
    fn open(&mut self, class: usize, run: Range<u32>) {
        self.used += self.taken(class);
        self.classes[class].opened = run.start;
        self.set_run(class, run);
    }

    // Allocation.

    /// A cell for an object of `bytes`, no more than [`largest`](Fits::largest). Takes a block if there is none and it is `allowed`.
    /// Cost: a look at each marked cell that is passed.
    pub fn take(&mut self, pages: &mut Pages, marks: &Marks, bytes: u32, allowed: bool) -> Option<u32> {
        let class = Self::class_of(bytes);
        let cell = Self::cell_bytes(class);
        loop {
            let run = self.run(class);
            if run.len() as u32 >= cell {
                self.set_run(class, run.start + cell..run.end);
                self.coarse += if Self::is_exact(class) { 0 } else { bytes as u64 };
                return Some(run.start);
            }
            if !self.next_run(class, marks) {
                if !allowed {
                    return None;
                }
                let block = pages.take(self.block as u64, self.block)?;
                self.enter(class, block.start / self.block);
                self.owned += 1;
            }
        }
    }

    /// A larger cell than an object of `bytes` needs, the smallest there is: for when there are neither cells of its size nor pages.
    pub fn take_larger(&mut self, marks: &Marks, bytes: u32) -> Option<u32> {
        for class in Self::class_of(bytes) + 1..SIZES {
            let cell = Self::cell_bytes(class);
            if self.run(class).len() as u32 >= cell || self.next_run(class, marks) {
                let run = self.run(class);
                self.set_run(class, run.start + cell..run.end);
                match Self::is_exact(class) {
                    true => self.spare += (cell - bytes) as u64,
                    false => self.coarse += bytes as u64,
                }
                return Some(run.start);
            }
        }
        None
    }

    /// Looks for the next run of free cells in the blocks that there are.
    fn next_run(&mut self, class: usize, marks: &Marks) -> bool {
        let cell = Self::cell_bytes(class);
        loop {
            let rest = self.classes[class].rest.clone();
            if let Some(start) = rest.clone().step_by(cell as usize).find(|index| !marks.get(*index)) {
                let end = marks.iter(start..rest.end).next().unwrap_or(rest.end);
                self.classes[class].rest = end..rest.end;
                self.open(class, start..end);
                return true;
            }
            match self.classes[class].unswept.pop() {
                Some(block) => self.enter(class, block),
                None => return false,
            }
        }
    }

    /// Begins to go through a block.
    fn enter(&mut self, class: usize, number: u32) {
        self.open(class, 0..0);
        if self.blocks.len() <= number as usize {
            self.blocks.resize(number as usize + 1, None);
        }
        self.blocks[number as usize] = Some(Block { class: class as u8, swept: true });
        self.classes[class].current = Some(number);
        self.classes[class].rest = self.cells_in(class, number);
    }

    /// Where the cells of a block are.
    fn cells_in(&self, class: usize, number: u32) -> Range<u32> {
        let cell = Self::cell_bytes(class);
        number * self.block..number * self.block + self.block / cell * cell
    }

    // Collection.

    fn owned(&self) -> impl Iterator<Item = (u32, Block)> + '_ {
        self.blocks.iter().enumerate().filter_map(|(number, block)| Some((number as u32, (*block)?)))
    }

    /// The blocks, lowest first.
    pub fn blocks(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        self.owned().map(|(number, _)| number * self.block..(number + 1) * self.block)
    }

    /// After a trace: gives blocks without a mark back, and has the others gone through anew. Cost: 64 loads for each empty block, and
    /// fewer for others.
    pub fn sweep(&mut self, pages: &mut Pages, marks: &Marks) {
        for class in 0..SIZES {
            self.open(class, 0..0);
            self.classes[class] = Class::default();
        }
        (self.used, self.coarse, self.spare) = (0, 0, 0);
        for number in (0..self.blocks.len() as u32).rev() {
            let Some(Block { class, .. }) = self.blocks[number as usize] else { continue };
            let block = number * self.block..(number + 1) * self.block;
            if marks.iter(block.clone()).next().is_none() {
                self.blocks[number as usize] = None;
                self.owned -= 1;
                pages.give(block);
            } else {
                self.blocks[number as usize] = Some(Block { class, swept: false });
                self.classes[class as usize].unswept.push(number);
            }
        }
    }

    // What is where.

    /// What is left of the current run where it is in this block; else where it would be: all cells before hold objects.
    fn boundary(&self, number: u32, block: Block) -> Range<u32> {
        let class = block.class as usize;
        let cells = self.cells_in(class, number);
        let run = self.run(class);
        match (block.swept, self.classes[class].current == Some(number)) {
            (true, true) if cells.start <= run.start && run.end <= cells.end && run.end > 0 => run,
            (true, true) => cells.start..cells.start,
            (true, false) => cells.end..cells.end,
            (false, _) => cells.start..cells.start,
        }
    }

    /// Visits each object.
    pub fn for_each(&self, marks: &Marks, mut visit: impl FnMut(u32)) {
        for (number, block) in self.owned() {
            let cells = self.cells_in(block.class as usize, number);
            let run = self.boundary(number, block);
            (cells.start..run.start).step_by(Self::cell_bytes(block.class as usize) as usize).for_each(&mut visit);
            marks.iter(run.end..cells.end).for_each(&mut visit);
        }
    }

    /// Visits each run of free cells.
    pub fn for_each_free(&self, marks: &Marks, mut visit: impl FnMut(Range<u32>)) {
        for (number, block) in self.owned() {
            let cell = Self::cell_bytes(block.class as usize);
            let cells = self.cells_in(block.class as usize, number);
            let run = self.boundary(number, block);
            visit(run.clone());
            let mut from = run.end;
            for marked in marks.iter(run.end..cells.end).chain([cells.end]) {
                visit(from..marked);
                from = marked + cell;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gc_api::FIRST_INDEX;

    fn fits() -> (Fits, Pages, Marks) {
        let memory = HeapMemory::reserve(1 << 22).unwrap();
        memory.grow(1 << 22).unwrap();
        (Fits::new(memory.clone()), Pages::new(memory.clone()), Marks::new(&memory).unwrap())
    }

    #[test]
    fn cells_fit_and_waste_less_than_a_third() {
        for bytes in (8..=LARGE as u32).step_by(8) {
            let class = Fits::class_of(bytes);
            let cell = Fits::cell_bytes(class);
            assert!(bytes <= cell && (class == 0 || Fits::cell_bytes(class - 1) < bytes), "{bytes}");
            assert!(cell.is_multiple_of(8) && (bytes > EXACT || cell == bytes), "{bytes} in {cell}");
            assert!(BLOCK % cell <= BLOCK / 8 && cell - bytes <= cell / 3, "{bytes} in {cell}");
        }
    }

    #[test]
    fn cells_between_marked_ones_are_used_again_and_empty_blocks_given_back() {
        let (mut fits, mut pages, marks) = fits();
        let free = pages.free_bytes();
        let take = |fits: &mut Fits, pages: &mut Pages, bytes| fits.take(pages, &marks, bytes, true).unwrap();
        let small: Vec<u32> = (0..3000).map(|_| take(&mut fits, &mut pages, 24)).collect();
        let coarse = take(&mut fits, &mut pages, 1000);
        assert_eq!((fits.since(), fits.bytes()), (3000 * 24 + 1000, 4 * BLOCK as u64));
        let objects = |fits: &Fits| {
            let mut all = Vec::new();
            fits.for_each(&marks, |index| all.push(index));
            all.sort();
            all
        };
        let mut all = small.clone();
        all.push(coarse);
        all.sort();
        assert_eq!(objects(&fits), all);
        // Of the first block every other cell lives, of the second none.
        let live: Vec<u32> =
            small.iter().copied().filter(|i| *i < FIRST_INDEX + BLOCK && i % 48 == small[0] % 48).collect();
        live.iter().for_each(|index| assert!(marks.mark(*index)));
        fits.sweep(&mut pages, &marks);
        assert_eq!((objects(&fits), fits.since(), fits.bytes()), (live.clone(), 0, BLOCK as u64));
        let again: Vec<u32> = (0..live.len()).map(|_| take(&mut fits, &mut pages, 24)).collect();
        assert!(again[..again.len() - 1].iter().all(|index| small.contains(index) && !live.contains(index)));
        assert_eq!(fits.since(), 24 * live.len() as u64);
        let mut bytes = 0;
        fits.for_each_free(&marks, |run| bytes += run.len());
        assert_eq!(
            objects(&fits).len() * 24 + bytes,
            fits.bytes() as usize / BLOCK as usize * (BLOCK as usize / 24 * 24)
        );
        marks.clear(0..1 << 22);
        fits.sweep(&mut pages, &marks);
        assert_eq!(pages.free_bytes(), free);
    }
}
