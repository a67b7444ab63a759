//! Cheney's scan: the copies are their own work list.
//!
//! C. J. Cheney, *A nonrecursive list compacting algorithm*, CACM 1970. Behind the scan pointer objects are black: all that they
//! refer to has been copied. Between it and the next free byte they are grey. No stack, no marks.

use crate::object::update_slots;
use gc_api::{HeapMemory, Shapes};

/// Replaces each reference in the objects from `scan` on, side by side, by what `visit` gives for it, up to what `free` says
/// is the end by then. Gives the number of objects. Cost: each object once.
pub fn scan(
    memory: &HeapMemory,
    shapes: &Shapes,
    mut scan: u32,
    mut visit: impl FnMut(u32) -> u32,
    free: impl Fn() -> u32,
) -> u64 {
    let mut objects = 0;
    while scan < free() {
        scan += update_slots(memory, shapes, scan, &mut visit) as u32;
        objects += 1;
    }
    objects
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::{header, move_object};
    use crate::mark::tests::tree;
    use crate::object::index_of;
    use gc_api::FIRST_INDEX;
    use std::cell::{Cell, RefCell};

    #[test]
    fn copies_are_scanned_once_in_the_order_in_which_they_were_made() {
        let (memory, shapes) = tree(7);
        let to = FIRST_INDEX + (1 << 18);
        let (free, copied) = (Cell::new(to), RefCell::new(Vec::new()));
        let copy = |from: u32| match header(&memory, from) {
            Ok(header) => {
                let now = free.get();
                move_object(&memory, (from, header), now, 16, 0);
                free.set(now + 16);
                copied.borrow_mut().push((from - FIRST_INDEX) / 16);
                now
            }
            Err(moved) => moved,
        };
        assert_eq!(copy(FIRST_INDEX), to);
        assert_eq!(scan(&memory, &shapes, to, copy, || free.get()), 7);
        assert_eq!(*copied.borrow(), [0, 1, 2, 3, 4, 5, 6], "breadth first");
        let slot = |pair: u32, offset| index_of(memory.load_u32(to + pair * 16, offset));
        assert_eq!((slot(1, 8), slot(1, 12), slot(6, 8)), (Some(to + 3 * 16), Some(to + 4 * 16), Some(to)));
    }
}
