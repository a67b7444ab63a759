//! Large objects: each on pages of its own, never moved.

use crate::mark::Marks;
use crate::object::at;
use crate::pages::{PAGE, Pages};
use gc_api::{HeapMemory, Shapes, VMGcRef};
use std::collections::BTreeSet;
use std::ops::Range;

/// An object of more bytes is large: in a block of 32 KiB it would leave too much of the block unused.
pub const LARGE: u64 = 8 << 10;

/// The large objects. Cost: allocation takes a run of pages; a sweep looks at each object's mark.
#[derive(Default, Debug)]
pub struct Large {
    /// Where they are.
    objects: BTreeSet<u32>,
    /// Bytes of those objects, and of their pages.
    bytes: u64,
    paged: u64,
    /// Bytes of those allocated since the last sweep.
    new_bytes: u64,
}

impl Large {
    /// Takes pages for an object of `bytes`.
    pub fn take(&mut self, pages: &mut Pages, bytes: u64) -> Option<u32> {
        let taken = pages.take(bytes, PAGE)?;
        Some(self.add(taken, bytes))
    }

    /// An object of `bytes` is on these pages.
    pub fn add(&mut self, taken: Range<u32>, bytes: u64) -> u32 {
        self.objects.insert(taken.start);
        self.bytes += bytes;
        self.new_bytes += bytes;
        self.paged += taken.len() as u64;
        taken.start
    }

    /// Bytes of all objects.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of the objects allocated since the last sweep.
    pub fn new_bytes(&self) -> u64 {
        self.new_bytes
    }

    /// Bytes of all pages.
    pub fn paged(&self) -> u64 {
        self.paged
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Unmarks them all.
    pub fn unmark(&self, marks: &Marks) {
        self.objects.iter().for_each(|index| marks.clear(*index..*index + 8));
    }

    /// Frees those that are not marked.
    pub fn sweep(&mut self, memory: &HeapMemory, shapes: &Shapes, pages: &mut Pages, marks: &Marks) {
        let Large { objects, bytes, paged, new_bytes } = self;
        objects.retain(|index| {
            let live = marks.get(*index);
            if !live {
                let size = shapes.size_of(memory, &at(*index));
                let run = *index..*index + (size as u32).next_multiple_of(PAGE);
                *bytes -= size;
                *paged -= run.len() as u64;
                pages.give(run);
            }
            live
        });
        *new_bytes = 0;
    }

    /// Where they are, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.objects.iter().copied()
    }

    /// The object on whose pages `index` lies.
    pub fn find(&self, index: u32) -> Option<u32> {
        self.objects.range(..=index).next_back().copied()
    }

    /// Visits each.
    pub fn for_each(&self, mut visit: impl FnMut(VMGcRef)) {
        self.objects.iter().for_each(|index| visit(at(*index)));
    }

    /// Bytes of the list, roughly.
    pub fn metadata(&self) -> u64 {
        self.objects.len() as u64 * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::write_new;
    use gc_api::{GcKind, NewObject, Shape};

    #[test]
    fn unmarked_objects_give_their_pages_back() {
        let memory = HeapMemory::reserve(1 << 20).unwrap();
        memory.grow(1 << 20).unwrap();
        let shapes = Shapes::default();
        shapes.register(1, Shape::array(0, false));
        let (marks, mut pages) = (Marks::new(&memory).unwrap(), Pages::new(memory.clone()));
        let mut large = Large::default();
        let free = pages.free_bytes();
        let objects: Vec<u32> = [10_000u64, 50_000, 9_000]
            .into_iter()
            .map(|length| {
                let size = Shape::array(0, false).size(length as u32);
                let index = large.take(&mut pages, size).unwrap();
                let new = NewObject { kind: GcKind::ARRAY, ty: 1, size, length: Some(length as u32), host: None };
                write_new(&memory, index, &new, 0);
                index
            })
            .collect();
        assert_eq!((large.len(), pages.free_bytes() + large.paged()), (3, free));
        marks.mark(objects[1]);
        large.sweep(&memory, &shapes, &mut pages, &marks);
        let size = Shape::array(0, false).size(50_000);
        assert_eq!((large.len(), large.bytes(), large.new_bytes()), (1, size, 0));
        assert_eq!(pages.free_bytes() + large.paged(), free);
        assert_eq!((large.find(objects[1] + 8), large.find(objects[1] - 8)), (Some(objects[1]), None));
        large.unmark(&marks);
        large.sweep(&memory, &shapes, &mut pages, &marks);
        assert_eq!((large.is_empty(), pages.free_bytes()), (true, free));
    }
}
