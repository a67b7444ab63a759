//! Marking: which objects a trace has reached, and those whose slots it has yet to look at.

use crate::object::update_slots;
use gc_api::{CollectorOptions, HeapError, HeapMemory, OptionError, OptionInfo, Shapes, SideEntry, SideTable};
use std::ops::Range;

/// One bit for each 8 bytes of the heap, set where a marked object starts: 1/64 of the heap.
#[derive(Clone, Debug)]
pub struct Marks(SideTable);

impl Marks {
    /// No object is marked.
    ///
    /// # Errors
    /// When the table cannot be had.
    pub fn new(memory: &HeapMemory) -> Result<Marks, HeapError> {
        Ok(Marks(memory.side_table(3, SideEntry::Bit)?))
    }

    /// Whether the object at `index` is marked.
    #[inline]
    pub fn get(&self, index: u32) -> bool {
        self.0.get(index) != 0
    }

    /// Marks the object at `index`, and says whether it was not.
    #[inline]
    pub fn mark(&self, index: u32) -> bool {
        self.0.claim_alone(index)
    }

    /// As [`mark`](Self::mark), among threads: only one is told so.
    #[inline]
    pub fn mark_shared(&self, index: u32) -> bool {
        self.0.claim(index)
    }

    /// Unmarks all objects that start in `range`. Cost: a store for 512 bytes.
    pub fn clear(&self, range: Range<u32>) {
        self.0.clear(range);
    }

    /// The marked objects that start in `range`, lowest first. Cost: a load for 512 bytes.
    pub fn iter(&self, range: Range<u32>) -> impl Iterator<Item = u32> + '_ {
        let mut from = range.start;
        std::iter::from_fn(move || {
            let found = self.0.next_set(from, range.end)?;
            from = found + 8;
            Some(found)
        })
    }

    /// The last marked object that starts below `index`, and not below `from`. Cost: a load for each 512 bytes between.
    pub fn before(&self, index: u32, from: u32) -> Option<u32> {
        self.0.last_set(from, index)
    }

    /// Bytes of the table that describe the committed part of the heap.
    pub fn bytes(&self) -> u64 {
        self.0.bytes()
    }
}

/// The grey objects: marked, not scanned. Bounded: where there are more, the rest is found again by a walk over the marked ones.
#[derive(Debug)]
pub struct MarkStack {
    grey: Vec<u32>,
    most: usize,
    /// An object was left unmarked because the stack was full.
    overflowed: bool,
    /// How often that made a walk necessary.
    walks: u64,
}

impl Default for MarkStack {
    /// For a million objects.
    fn default() -> MarkStack {
        MarkStack::new(1 << 20)
    }
}

impl MarkStack {
    /// The option of how large the stack may become.
    pub const OPTION: OptionInfo = OptionInfo {
        key: "stack",
        values: "objects (1 to 1073741824)",
        default: "1048576",
        summary: "how large the mark stack may become; what does not fit is found again by a walk over the heap",
    };

    /// What was chosen.
    ///
    /// # Errors
    /// When it is no such number.
    pub fn option(options: &CollectorOptions) -> Result<usize, OptionError> {
        Ok(options.number("stack", 1 << 20, 1..=1 << 30)? as usize)
    }

    /// An empty stack for `most` objects, of which there must be one.
    pub fn new(most: usize) -> MarkStack {
        MarkStack { grey: Vec::new(), most: most.max(1), overflowed: false, walks: 0 }
    }

    /// Pushes `object` if `mark` says that it had not been marked. Whether the object is marked now: if the stack is full it is
    /// not asked, and [`drain`](Self::drain) comes back to whoever refers to it.
    #[inline]
    pub fn push(&mut self, object: u32, mark: impl FnOnce(u32) -> bool) -> bool {
        if self.is_full() {
            return false;
        }
        if mark(object) {
            self.grey.push(object);
        }
        true
    }

    /// Whether [`push`](Self::push) would not do anything: it has noted that then. Who has to move an object before it is pushed asks
    /// first.
    #[inline]
    pub fn is_full(&mut self) -> bool {
        let full = self.grey.len() >= self.most;
        self.overflowed |= full;
        full
    }

    /// Whether it is time to [`drain`](Self::drain) between two roots, which nothing comes back to.
    #[inline]
    pub fn is_half_full(&self) -> bool {
        self.grey.len() * 2 >= self.most
    }

    /// Scans grey objects until none is left: `visit` is given what a slot refers to and the stack, and says what the slot
    /// refers to from now on, having marked that and pushed it unless the stack is full. `scanned` is told each object, once, and its
    /// bytes. `marks` in `heap` are what is walked over after an overflow. The first slot's object is scanned first, with all below it: what is
    /// copied meanwhile lies in the order in which programs go through it, rather than backwards.
    ///
    /// Cost: each object once, and after an overflow all marked objects once more for each time.
    pub fn drain(
        &mut self,
        memory: &HeapMemory,
        shapes: &Shapes,
        (marks, heap): (&Marks, Range<u32>),
        mut visit: impl FnMut(&mut MarkStack, u32) -> u32,
        mut scanned: impl FnMut(u32, u64),
    ) {
        loop {
            while let Some(object) = self.grey.pop() {
                let first = self.grey.len();
                let bytes = update_slots(memory, shapes, object, |child| visit(self, child));
                scanned(object, bytes);
                self.grey[first..].reverse();
            }
            if !std::mem::take(&mut self.overflowed) {
                // A quarter of the room for lists: what it keeps is charged to the heap.
                return self.grey.shrink_to(memory.room_for_lists() as usize / 16);
            }
            self.walks += 1;
            for object in marks.iter(heap.clone()) {
                update_slots(memory, shapes, object, |child| visit(self, child));
            }
        }
    }

    /// As new.
    pub fn reset(&mut self) {
        *self = MarkStack::new(self.most);
    }

    /// The grey objects, for others to scan.
    pub fn take(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.grey)
    }

    /// Walks over the heap that overflows made necessary.
    pub fn walks(&self) -> u64 {
        self.walks
    }

    /// Bytes of the stack.
    pub fn bytes(&self) -> u64 {
        self.grey.capacity() as u64 * 4
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::object::{at, write_new};
    use gc_api::{FIRST_INDEX, GcKind, NewObject, Shape};

    const PAIR: u32 = 1;

    /// A heap of `count` pairs; pair `i` refers to `2i + 1` and `2i + 2`, the last ones to the first.
    pub(crate) fn tree(count: u32) -> (HeapMemory, Shapes) {
        let memory = HeapMemory::reserve(1 << 20).unwrap();
        memory.grow(1 << 19).unwrap();
        let shapes = Shapes::default();
        shapes.register(PAIR, Shape::Fixed { size: 16, refs: Box::new([8, 12]) });
        let new = NewObject { kind: GcKind::STRUCT, ty: PAIR, size: 16, length: None, host: None };
        let place = |i: u32| FIRST_INDEX + if i < count { i * 16 } else { 0 };
        for i in 0..count {
            let pair = write_new(&memory, place(i), &new, 0);
            memory.store_ref(&pair, 8, Some(&at(place(2 * i + 1))));
            memory.store_ref(&pair, 12, Some(&at(place(2 * i + 2))));
        }
        (memory, shapes)
    }

    #[test]
    fn each_object_is_scanned_once_however_small_the_stack() {
        for most in [1, 2, 3, 7, 1000] {
            let (memory, shapes) = tree(500);
            let marks = Marks::new(&memory).unwrap();
            let mut stack = MarkStack::new(most);
            assert!(stack.push(FIRST_INDEX, |index| marks.mark(index)));
            let mut seen = Vec::new();
            let heap = FIRST_INDEX..memory.committed() as u32;
            let visit = |stack: &mut MarkStack, child| {
                stack.push(child, |index| marks.mark(index));
                child
            };
            stack.drain(&memory, &shapes, (&marks, heap.clone()), visit, |object, bytes| seen.push((object, bytes)));
            seen.sort();
            let all: Vec<_> = (0..500).map(|i| (FIRST_INDEX + i * 16, 16)).collect();
            assert_eq!(seen, all, "a stack of {most}");
            assert_eq!(marks.iter(heap).count(), 500);
            assert_eq!(stack.walks() > 0, most < 10, "{} walks with {most}", stack.walks());
        }
    }

    #[test]
    fn marks_are_cleared_in_a_range() {
        let (memory, _) = tree(1);
        let marks = Marks::new(&memory).unwrap();
        for i in 0..100 {
            assert!(marks.mark(FIRST_INDEX + i * 8) && !marks.mark_shared(FIRST_INDEX + i * 8));
        }
        marks.clear(FIRST_INDEX + 80..FIRST_INDEX + 160);
        assert_eq!(marks.iter(FIRST_INDEX..FIRST_INDEX + 800).count(), 90);
        assert!(marks.get(FIRST_INDEX) && !marks.get(FIRST_INDEX + 80));
    }
}
