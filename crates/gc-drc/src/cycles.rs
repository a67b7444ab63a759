//! Garbage cycles: a trace from the roots, and trial deletion.

use crate::collect::Deadline;
use crate::counts::{CANDIDATE, Counts, ENROLLED, MARK, NEW, ONE, WHITE, at, count, object};
use crate::heap::DrcHeap;
use crate::queue::Queue;
use crate::space::Space;
use crate::{Cycles, Options};
use gc_api::{COLLECTOR_MASK, EXTERN_ID_OFFSET, FIRST_INDEX, GcKind, HeapMemory, LogBuffer, RootKind, Roots, VMGcRef};

/// Candidates that trial deletion takes at a time while the clock runs.
const BATCH: usize = 256;
/// Objects that are visited between two looks at the clock.
const STEP: usize = 1024;
/// The bits of a count, the one that sticks among them.
const COUNT: u32 = COLLECTOR_MASK & !(ONE - 1);

/// Objects that lost a reference and live: each garbage cycle has one of them. Their [`CANDIDATE`] bits make it a set.
pub struct Candidates {
    /// The newest, as compiled code pushes them: of any type.
    pub buffer: LogBuffer,
    /// The others: those of types that can be in a cycle.
    entries: Vec<u32>,
    /// Those below which there is too much to see within a budget.
    hard: Vec<u32>,
    /// Candidates that were noted, ever.
    noted: u64,
    /// Candidates that were dropped because objects of their types are never in a cycle.
    pub filtered: u64,
}

impl Candidates {
    /// None.
    pub fn new(buffer: LogBuffer) -> Candidates {
        Candidates { buffer, entries: Vec::new(), hard: Vec::new(), noted: 0, filtered: 0 }
    }

    /// Adds an object whose header says that it is a candidate, from compiled code.
    pub fn push(&mut self, object: u32, space: &Space) {
        self.flush(space);
        let pushed = self.buffer.push(object);
        debug_assert!(pushed, "the buffer was just emptied");
    }

    /// Moves the buffer's entries to the others, but for those of types whose objects are never in a cycle.
    pub fn flush(&mut self, space: &Space) {
        for index in self.buffer.iter() {
            self.noted += 1;
            match can_be_in_cycle(space, index) {
                true => self.entries.push(index),
                false => {
                    self.filtered += 1;
                    let word = space.memory.header_word(&at(index));
                    space.memory.set_header_word(&at(index), word & !CANDIDATE);
                }
            }
        }
        self.buffer.clear();
    }

    /// `r`, whose header word is `word`, lost a reference and lives.
    pub fn suspect(&mut self, space: &Space, options: &Options, r: &VMGcRef, word: u32) {
        if options.cycles != Cycles::Trial
            || word & (CANDIDATE | NEW) != 0
            || options.counts.is_sticky(word)
            || count(word) == 0
        {
            return;
        }
        self.noted += 1;
        if can_be_in_cycle(space, r.raw()) {
            space.memory.set_header_word(r, word | CANDIDATE);
            self.entries.push(r.raw());
        } else {
            self.filtered += 1;
        }
    }

    /// Drops those that were freed, and those that were left because of that.
    pub fn forget_freed(&mut self, memory: &HeapMemory) {
        let is_candidate = |index: &u32| memory.header_word(&at(*index)) & CANDIDATE != 0;
        self.entries.retain(is_candidate);
        self.hard.retain(is_candidate);
    }

    /// Candidates that there are.
    pub fn len(&self) -> usize {
        self.entries.len() + self.buffer.len() as usize
    }

    /// The candidates.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.entries.iter().chain(&self.hard).copied().chain(self.buffer.iter())
    }

    /// Candidates that were noted, ever.
    pub fn seen(&self) -> u64 {
        self.noted + self.buffer.len() as u64
    }

    /// Whether candidates have left the buffer.
    pub fn were_flushed(&self) -> bool {
        self.noted > 0
    }

    /// Bytes of those that are not in the buffer.
    pub fn lists(&self) -> usize {
        (self.entries.capacity() + self.hard.capacity()) * 4
    }

    /// Gives back what the lists do not need.
    pub fn trim(&mut self) {
        self.entries.shrink_to_fit();
        self.hard.shrink_to_fit();
    }

    /// Forgets all, and the statistics.
    pub fn reset(&mut self) {
        self.buffer.clear();
        *self = Candidates::new(self.buffer.clone());
    }
}

fn can_be_in_cycle(space: &Space, index: u32) -> bool {
    space.shapes.can_be_in_cycle(space.memory.header(&at(index)).ty())
}

impl DrcHeap {
    /// Whether a count sticks anywhere.
    pub fn has_sticky_counts(&self) -> bool {
        let Space { memory, starts, .. } = &self.space;
        let mut from = FIRST_INDEX;
        while let Some(index) = starts.next_set(from, self.space.end()) {
            if self.options.counts.is_sticky(memory.header_word(&at(index))) {
                return true;
            }
            from = index + 8;
        }
        false
    }

    // Trace.

    /// Marks from all roots and frees the rest. Counts that stuck are counted anew. There must be no new objects, and no debts.
    pub fn trace(&mut self, roots: &mut dyn Roots) {
        let DrcHeap { space, stack, tally, options, .. } = self;
        let Space { memory, shapes, .. } = &*space;
        let counts = options.counts;
        tally.traces += 1;
        let mut edge = |r: VMGcRef, counted: u32, stack: &mut Vec<u32>| {
            let mut word = memory.header_word(&r);
            let first = word & MARK == 0;
            if first {
                word |= MARK;
                if counts.is_sticky(word) {
                    word = word & !COUNT | WHITE;
                    tally.healed += 1;
                }
                stack.push(r.raw());
            }
            if word & WHITE != 0 {
                word = counts.added(word, counted);
            }
            memory.set_header_word(&r, word);
        };
        for kind in RootKind::ALL {
            let visited = &mut tally.roots[kind as usize];
            roots.visit(kind, &mut |slot| {
                *visited += (kind != RootKind::Stack) as u64;
                if let Some(r) = slot.get().filter(|r| !r.is_i31()) {
                    edge(r, (kind != RootKind::Stack) as u32, stack);
                }
            });
        }
        let mut queue = Queue::default();
        let mut visited = 0;
        loop {
            while let Some(index) = stack.pop() {
                visited += 1;
                shapes.scan(memory, &at(index), |offset| {
                    if let Some(child) = object(memory.load_u32(index, offset))
                        && let Some((child, times)) = queue.push(memory, child.raw())
                    {
                        edge(at(child), times, stack);
                    }
                });
            }
            match queue.pop() {
                Some((child, times)) => edge(at(child), times, stack),
                None => break,
            }
        }
        tally.visited += visited;
        self.sweep();
    }

    /// Frees what is not marked, and clears the marks.
    fn sweep(&mut self) {
        self.candidates.entries.clear();
        self.candidates.hard.clear();
        let memory = self.space.memory.clone();
        let shapes = self.space.shapes.clone();
        let mut from = FIRST_INDEX;
        let mut dead = Vec::new();
        while let Some(index) = self.space.starts.next_set(from, self.space.end()) {
            from = index + 8;
            if memory.header_word(&at(index)) & MARK == 0 {
                dead.push(index);
            }
        }
        for index in &dead {
            shapes.scan(&memory, &at(*index), |offset| {
                if let Some(child) = object(memory.load_u32(*index, offset)) {
                    let word = memory.header_word(&child);
                    // What is counted anew never had this reference counted.
                    if word & MARK != 0 && word & WHITE == 0 {
                        self.tally.decrements += 1;
                        self.options.counts.decrement(&memory, &child);
                    }
                }
            });
        }
        dead.into_iter().for_each(|index| self.free_in_cycle(index));
        let mut from = FIRST_INDEX;
        while let Some(index) = self.space.starts.next_set(from, self.space.end()) {
            from = index + 8;
            let word = memory.header_word(&at(index));
            memory.set_header_word(&at(index), word & !(MARK | WHITE | CANDIDATE));
        }
    }

    /// Frees an object of a garbage cycle, or behind one. Its references have been taken back.
    fn free_in_cycle(&mut self, index: u32) {
        let memory = &self.space.memory;
        if memory.header(&at(index)).kind() == GcKind::EXTERN {
            self.dead_hosts.push(memory.load_u32(index, EXTERN_ID_OFFSET));
        }
        let size = self.space.size_of(index);
        self.space.release(index, size);
        self.tally.freed_in_cycles += 1;
        self.tally.freed_in_cycles_bytes += size as u64;
    }

    // Trial deletion.

    /// Takes back, on trial, the references that objects below the candidates make. What then has none is garbage. Whether all
    /// candidates were looked at, but for those below which there is too much to see in time.
    ///
    /// `MARK` is Bacon and Rajan's gray; what stays gray is their white, and their purple is the list. What is enrolled is on the stack:
    /// it has a reference from outside.
    pub fn delete_on_trial(&mut self, deadline: Deadline) -> bool {
        self.tally.trials += 1;
        let mut candidates = std::mem::take(&mut self.candidates.entries);
        if deadline.is_none() {
            candidates.append(&mut self.candidates.hard);
        }
        while !candidates.is_empty() {
            let batch = if deadline.is_none() { candidates.len() } else { BATCH.min(candidates.len()) };
            let batch = candidates.split_off(candidates.len() - batch);
            match self.mark_gray(&batch, deadline) {
                Some(gray) => {
                    self.scan_black(&gray);
                    self.collect_white(&gray);
                }
                None => self.candidates.hard.extend(batch),
            }
            if deadline.is_over() {
                break;
            }
        }
        let finished = candidates.is_empty();
        self.candidates.entries.append(&mut candidates);
        finished
    }

    /// Visits what is below the candidates and takes back the references that it makes: gives it. `None`, and all as it was, when
    /// time runs out. The candidates of a finished visit are none any more.
    fn mark_gray(&mut self, batch: &[u32], deadline: Deadline) -> Option<Vec<u32>> {
        let DrcHeap { space, stack, tally, options, .. } = self;
        let memory = &space.memory;
        let mut gray = Vec::new();
        for candidate in batch {
            let r = at(*candidate);
            let word = memory.header_word(&r);
            // Freed; dead already; visited; or counted no more.
            if word & CANDIDATE == 0 || word & MARK != 0 || count(word) == 0 || options.counts.is_sticky(word) {
                continue;
            }
            memory.set_header_word(&r, word | MARK);
            stack.push(*candidate);
            while let Some(index) = stack.pop() {
                gray.push(index);
                each_deletable(space, options.counts, index, |child| {
                    let word = options.counts.decrement(memory, &child);
                    if word & MARK == 0 {
                        memory.set_header_word(&child, word | MARK);
                        stack.push(child.raw());
                    }
                });
                if gray.len().is_multiple_of(STEP) && deadline.is_over() {
                    for index in &gray {
                        each_deletable(space, options.counts, *index, |child| {
                            memory.set_header_word(&child, memory.header_word(&child) + ONE);
                        });
                    }
                    for index in gray.into_iter().chain(stack.drain(..)) {
                        let word = memory.header_word(&at(index));
                        memory.set_header_word(&at(index), word & !MARK);
                    }
                    return None;
                }
            }
        }
        for candidate in batch {
            let word = memory.header_word(&at(*candidate));
            memory.set_header_word(&at(*candidate), word & !CANDIDATE);
        }
        tally.visited += gray.len() as u64;
        Some(gray)
    }

    /// Gives back the references of what has one from outside, and of what is below it.
    fn scan_black(&mut self, gray: &[u32]) {
        let DrcHeap { space, stack, options, .. } = self;
        let memory = &space.memory;
        for index in gray {
            let word = memory.header_word(&at(*index));
            if word & MARK == 0 || count(word) == 0 && word & ENROLLED == 0 {
                continue;
            }
            memory.set_header_word(&at(*index), word & !MARK);
            stack.push(*index);
            while let Some(index) = stack.pop() {
                each_deletable(space, options.counts, index, |child| {
                    let word = memory.header_word(&child) + ONE;
                    memory.set_header_word(&child, word & !MARK);
                    if word & MARK != 0 {
                        stack.push(child.raw());
                    }
                });
            }
        }
    }

    /// Frees what has no reference from outside.
    fn collect_white(&mut self, gray: &[u32]) {
        let DrcHeap { space, owed, options, .. } = self;
        let memory = &space.memory;
        let white: Vec<u32> =
            gray.iter().copied().filter(|index| memory.header_word(&at(*index)) & MARK != 0).collect();
        for index in &white {
            // What trial deletion has not taken back. It may not be alive as part of a cycle, but behind one.
            space.shapes.scan(memory, &at(*index), |offset| {
                owed.extend(
                    object(memory.load_u32(*index, offset))
                        .filter(|r| !is_deletable(space, options.counts, r))
                        .map(|r| r.raw()),
                );
            });
            let word = memory.header_word(&at(*index));
            memory.set_header_word(&at(*index), word & !CANDIDATE);
        }
        white.into_iter().for_each(|index| self.free_in_cycle(index));
    }
}

/// Whether trial deletion takes back references to `r`: it can be in a cycle, and its count can be believed.
fn is_deletable(space: &Space, counts: Counts, r: &VMGcRef) -> bool {
    !counts.is_sticky(space.memory.header_word(r)) && can_be_in_cycle(space, r.raw())
}

/// Calls `visit` with each reference of `index` that trial deletion takes back.
fn each_deletable(space: &Space, counts: Counts, index: u32, mut visit: impl FnMut(VMGcRef)) {
    space.shapes.scan(&space.memory, &at(index), |offset| {
        if let Some(child) = object(space.memory.load_u32(index, offset)).filter(|r| is_deletable(space, counts, r)) {
            visit(child);
        }
    });
}
