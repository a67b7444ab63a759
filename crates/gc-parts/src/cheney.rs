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
