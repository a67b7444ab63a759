//! The log of coalesced counting: what old objects referred to before they were first written to in this round. What was stored and
//! overwritten in between is never counted.
//!
//! A large array is logged by chunks of 32 elements, the last of which has up to 63, so that one store does not cost a pass over the
//! whole. A chunk begins at least 128 bytes after the one before it, in the same array or another, so that a byte for every 128 bytes of
//! the heap says which are logged. Y. Levanoni and E. Petrank, *An on-the-fly reference-counting garbage collector for Java*, OOPSLA
//! 2001.

use crate::counts::{LOGGED, at, object};
use gc_api::{GcKind, HeapMemory, REF_ARRAY_BASE, Shapes, SideTable, VMGcRef};

/// Elements of a chunk as a power of two.
pub const CHUNK_ELEMENTS_LOG2: u32 = 5;
/// Bytes of a chunk as a power of two.
pub const CHUNK_SHIFT: u8 = CHUNK_ELEMENTS_LOG2 as u8 + 2;
/// Arrays of so many elements are logged by chunks.
pub const LARGE_ARRAY: u32 = 2 << CHUNK_ELEMENTS_LOG2;

/// The chunk of a large array of `length` elements that has element `element`, as its number and its elements.
pub fn chunk(length: u32, element: u32) -> (u32, std::ops::Range<u32>) {
    let last = (length >> CHUNK_ELEMENTS_LOG2) - 1;
    let number = (element >> CHUNK_ELEMENTS_LOG2).min(last);
    let start = number << CHUNK_ELEMENTS_LOG2;
    let end = if number == last { length } else { start + (1 << CHUNK_ELEMENTS_LOG2) };
    (number, start..end)
}

/// The index by which the chunk of `array` that starts with element `start` is known in the side table.
fn chunk_index(array: u32, start: u32) -> u32 {
    array + REF_ARRAY_BASE + start * 4
}

/// One logged object, or chunk of one.
#[derive(Clone, Copy, Debug)]
struct Entry {
    object: u32,
    /// The first element of the chunk; `None` for a whole object.
    chunk: Option<u32>,
}

/// What was logged in this round.
#[derive(Default)]
pub struct Log {
    entries: Vec<Entry>,
    /// The objects that were referred to.
    before: Vec<u32>,
    /// Objects and chunks that were logged in all rounds.
    pub logged: u64,
}

impl Log {
    /// Logs what `to` refers to (for a large array the chunk with the slot at `offset`), unless that was done.
    pub fn log(&mut self, memory: &HeapMemory, shapes: &Shapes, chunks: &SideTable, to: &VMGcRef, offset: u32) {
        let index = to.raw();
        let word = memory.header_word(to);
        if word & LOGGED != 0 {
            return;
        }
        let large = memory.header(to).kind() == GcKind::ARRAY && memory.array_length(to) >= LARGE_ARRAY;
        let Log { entries, before, logged } = self;
        let chunk = if large {
            let (_, range) = chunk(memory.array_length(to), (offset - REF_ARRAY_BASE) / 4);
            if chunks.get(chunk_index(index, range.start)) != 0 {
                return;
            }
            chunks.set(chunk_index(index, range.start), 1);
            let slots = range.clone().map(|element| memory.load_u32(index, REF_ARRAY_BASE + element * 4));
            before.extend(slots.filter(|raw| object(*raw).is_some()));
            Some(range.start)
        } else {
            memory.set_header_word(to, word | LOGGED);
            shapes.scan(memory, to, |offset| {
                before.extend(object(memory.load_u32(index, offset)).map(|r| r.raw()));
            });
            None
        };
        entries.push(Entry { object: index, chunk });
        *logged += 1;
    }

    /// Logs all of an array that has the elements `start..start + count`.
    pub fn log_elements(
        &mut self,
        memory: &HeapMemory,
        shapes: &Shapes,
        chunks: &SideTable,
        array: &VMGcRef,
        start: u32,
        count: u32,
    ) {
        let length = memory.array_length(array);
        let mut element = start;
        while element < start + count {
            self.log(memory, shapes, chunks, array, REF_ARRAY_BASE + element * 4);
            element = if length < LARGE_ARRAY { length } else { chunk(length, element).1.end };
        }
    }

    /// Ends the round: nothing is logged any more. `now` gets each reference that the logged slots hold at present; those that they held
    /// before are added to `owed`.
    pub fn close(
        &mut self,
        memory: &HeapMemory,
        shapes: &Shapes,
        chunks: &SideTable,
        owed: &mut Vec<u32>,
        mut now: impl FnMut(VMGcRef),
    ) {
        for (i, Entry { object: index, chunk: start }) in self.entries.iter().copied().enumerate() {
            if let Some(ahead) = self.entries.get(i + 8) {
                memory.prefetch(ahead.object);
            }
            let r = at(index);
            let mut visit = |offset| {
                if let Some(child) = object(memory.load_u32(index, offset)) {
                    now(child);
                }
            };
            match start {
                None => {
                    memory.set_header_word(&r, memory.header_word(&r) & !LOGGED);
                    shapes.scan(memory, &r, visit);
                }
                Some(start) => {
                    chunks.set(chunk_index(index, start), 0);
                    let (_, range) = chunk(memory.array_length(&r), start);
                    range.for_each(|element| visit(REF_ARRAY_BASE + element * 4));
                }
            }
        }
        self.entries.clear();
        owed.append(&mut self.before);
    }

    /// Whether the slot at `offset` of `of` is logged.
    pub fn has(memory: &HeapMemory, chunks: &SideTable, of: &VMGcRef, offset: u32) -> bool {
        let header = memory.header(of);
        memory.header_word(of) & LOGGED != 0
            || header.kind() == GcKind::ARRAY && memory.array_length(of) >= LARGE_ARRAY && {
                let (_, range) = chunk(memory.array_length(of), (offset - REF_ARRAY_BASE) / 4);
                chunks.get(chunk_index(of.raw(), range.start)) != 0
            }
    }

    /// What the logged slots held before.
    pub fn before(&self) -> &[u32] {
        &self.before
    }

    /// The logged objects, those of chunks as often as there are logged chunks of them, with the number of chunk starts.
    pub fn objects(&self) -> impl Iterator<Item = (u32, Option<u32>)> + '_ {
        self.entries.iter().map(|entry| (entry.object, entry.chunk))
    }

    /// Slots' worth of entries.
    pub fn len(&self) -> usize {
        self.before.len() + self.entries.len()
    }

    /// Gives back what the lists do not need.
    pub fn trim(&mut self) {
        self.entries.shrink_to_fit();
        self.before.shrink_to_fit();
    }

    /// Bytes that it takes.
    pub fn lists(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.before.capacity() * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_part_an_array_and_begin_128_bytes_apart() {
        for length in LARGE_ARRAY..400 {
            let mut element = 0;
            let mut starts = Vec::new();
            while element < length {
                let (_, range) = chunk(length, element);
                assert_eq!(range.start, element);
                range.clone().for_each(|inside| assert_eq!(chunk(length, inside).1, range));
                starts.push(chunk_index(16, range.start) >> CHUNK_SHIFT);
                element = range.end;
            }
            let next = (16 + REF_ARRAY_BASE + length * 4).next_multiple_of(8);
            starts.push(chunk_index(next, 0) >> CHUNK_SHIFT);
            assert!(starts.is_sorted_by(|a, b| a < b), "{length}: {starts:?}");
        }
    }
}
