//! A heap as [regions](HeapRegion), for people to look at: what its spaces are, and where in them objects are.

use gc_api::{GcHeap, HeapRegion, RegionState, Shapes};
use std::ops::Range;

/// The spaces that a heap consists of, with what their memory is where no object is.
#[derive(Default, Debug)]
pub struct Spaces(Vec<HeapRegion>);

impl Spaces {
    /// Adds memory that is in no other space. It may be empty.
    pub fn add(&mut self, state: RegionState, ranges: impl IntoIterator<Item = Range<u32>>) {
        let ranges = ranges.into_iter().filter(|range| !range.is_empty());
        self.0.extend(ranges.map(|range| HeapRegion { range, state }));
    }

    /// Visits the regions in ascending order: where there are objects, what `state` says of an object at an index, of so many bytes; elsewhere
    /// what the space is. Cost: a look at each object, and sorting the runs in which they are listed.
    pub fn show(
        self,
        heap: &dyn GcHeap,
        shapes: &Shapes,
        state: impl Fn(u32, u64) -> RegionState,
        visit: &mut dyn FnMut(HeapRegion),
    ) {
        let mut objects: Vec<HeapRegion> = Vec::new();
        heap.for_each_object(&mut |object| {
            let (index, bytes) = (object.raw(), shapes.size_of(heap.memory(), &object));
            let (end, state) = (index + bytes as u32, state(index, bytes));
            match objects.last_mut() {
                Some(last) if last.range.end == index && last.state == state => last.range.end = end,
                _ => objects.push(HeapRegion { range: index..end, state }),
            }
        });
        merge(self.0, objects, visit);
    }
}

/// Visits the regions of `objects`, and of `spaces` what these leave.
fn merge(mut spaces: Vec<HeapRegion>, mut objects: Vec<HeapRegion>, visit: &mut dyn FnMut(HeapRegion)) {
    objects.sort_unstable_by_key(|region| region.range.start);
    spaces.sort_unstable_by_key(|region| region.range.start);
    let mut objects = objects.into_iter().peekable();
    // Where the last object ends: it may have begun in a space before.
    let mut covered = 0;
    for HeapRegion { range, state } in spaces {
        let mut rest = range.start.max(covered)..range.end;
        while let Some(object) = objects.next_if(|object| object.range.start < rest.end) {
            if rest.start < object.range.start {
                visit(HeapRegion { range: rest.start..object.range.start, state });
            }
            covered = object.range.end;
            rest.start = covered;
            visit(object);
        }
        if !rest.is_empty() {
            visit(HeapRegion { range: rest, state });
        }
    }
    // Objects that are in no space, as in a heap that is objects from end to end.
    objects.for_each(visit);
}

#[cfg(test)]
mod tests {
    use super::*;
    use RegionState::{Free, Holes, Large, Old, Young};

    fn merged(
        spaces: &[(Range<u32>, RegionState)],
        objects: &[(Range<u32>, RegionState)],
    ) -> Vec<(Range<u32>, RegionState)> {
        let regions = |all: &[(Range<u32>, RegionState)]| {
            all.iter().map(|(range, state)| HeapRegion { range: range.clone(), state: *state }).collect()
        };
        let mut seen = Vec::new();
        merge(regions(spaces), regions(objects), &mut |region| seen.push((region.range, region.state)));
        seen
    }

    #[test]
    fn spaces_are_what_objects_leave() {
        let spaces = [(0..32, Holes), (32..64, Free), (64..96, Free)];
        assert_eq!(merged(&spaces, &[]), spaces);
        // In any order; side by side; at both ends; across spaces.
        let objects = [(56..80, Large), (0..8, Old), (16..24, Young), (24..32, Old), (80..88, Old)];
        let expected = [
            (0..8, Old),
            (8..16, Holes),
            (16..24, Young),
            (24..32, Old),
            (32..56, Free),
            (56..80, Large),
            (80..88, Old),
            (88..96, Free),
        ];
        assert_eq!(merged(&spaces, &objects), expected);
        assert_eq!(merged(&spaces, &[(0..96, Large)]), [(0..96, Large)]);
        assert_eq!(merged(&[], &[(8..16, Young)]), [(8..16, Young)]);
    }
}
