//! What every collector does with objects and slots.

use gc_api::{ARRAY_LENGTH_OFFSET, Corruption, EXTERN_ID_OFFSET, HeapMemory, NewObject, Shapes, VMGcHeader, VMGcRef};
use std::ops::Range;

/// The reference to the object at `index`.
///
/// # Panics
/// When `index` is 0 or not a multiple of 8: the heap is corrupt.
#[inline(always)]
pub fn at(index: u32) -> VMGcRef {
    VMGcRef::from_index(index).expect("an object's index is not 0")
}

/// The index of the object that a slot with the bits `raw` refers to; `None` for null and for an `i31`.
#[inline(always)]
pub fn index_of(raw: u32) -> Option<u32> {
    (raw != 0 && raw & 1 == 0).then_some(raw)
}

/// Makes the memory at `index` the object `new`: header with the collector's `bits`, length, host id. The other contents are
/// written by whoever allocates.
#[inline]
pub fn write_new(memory: &HeapMemory, index: u32, new: &NewObject, bits: u32) -> VMGcRef {
    memory.store_u64(index, 0, VMGcHeader::new(new.kind, new.ty, bits).to_u64());
    if let Some(length) = new.length {
        memory.store_u32(index, ARRAY_LENGTH_OFFSET, length);
    }
    if let Some(host) = new.host {
        memory.store_u32(index, EXTERN_ID_OFFSET, host);
    }
    at(index)
}

/// Replaces each reference to an object in `object` by what `visit` gives for it. Gives the object's bytes.
#[inline]
pub fn update_slots(memory: &HeapMemory, shapes: &Shapes, object: u32, mut visit: impl FnMut(u32) -> u32) -> u64 {
    shapes.scan(memory, &at(object), |offset| {
        update_slot(memory, object, offset, &mut visit);
    })
}

/// Replaces the reference in a slot by what `visit` gives for it, if it is one to an object. Gives that.
#[inline(always)]
pub fn update_slot(memory: &HeapMemory, object: u32, offset: u32, visit: impl FnOnce(u32) -> u32) -> Option<u32> {
    let old = index_of(memory.load_u32(object, offset))?;
    let new = visit(old);
    if new != old {
        memory.store_u32(object, offset, new);
    }
    Some(new)
}

/// Visits the objects of `range`, which are side by side. Costs one look at each header.
pub fn walk(memory: &HeapMemory, shapes: &Shapes, range: Range<u32>, mut visit: impl FnMut(VMGcRef)) {
    let mut index = range.start as u64;
    while index < range.end as u64 {
        let object = at(index as u32);
        index += shapes.size_of(memory, &object);
        visit(object);
    }
}

/// Checks that `range` is full of objects of known types, side by side.
///
/// # Errors
/// The first that is not, or reaches out of the range.
pub fn check_walk(memory: &HeapMemory, shapes: &Shapes, range: Range<u32>) -> Result<(), Corruption> {
    let mut index = range.start as u64;
    while index < range.end as u64 {
        let object = at(index as u32);
        let ty = memory.header(&object).ty();
        if shapes.get(ty).is_none() {
            return Err(Corruption(format!("{object:?} has type {ty}, which does not exist")));
        }
        index += shapes.size_of(memory, &object);
    }
    if index != range.end as u64 {
        return Err(Corruption(format!("the last object before {:#x} ends at {index:#x}", range.end)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mark::tests::tree;
    use gc_api::FIRST_INDEX;

    #[test]
    fn objects_side_by_side_are_walked_and_checked() {
        let (memory, shapes) = tree(3);
        let range = FIRST_INDEX..FIRST_INDEX + 48;
        let mut seen = Vec::new();
        walk(&memory, &shapes, range.clone(), |object| seen.push(object.raw()));
        assert_eq!(seen, [0, 16, 32].map(|at| FIRST_INDEX + at));
        assert_eq!(check_walk(&memory, &shapes, range.clone()), Ok(()));
        let error = check_walk(&memory, &shapes, range.start..range.end - 8).unwrap_err().to_string();
        assert!(error.contains("ends at"), "{error}");
        memory.store_u32(FIRST_INDEX + 16, 4, 99);
        let error = check_walk(&memory, &shapes, range).unwrap_err().to_string();
        assert!(error.contains("type 99"), "{error}");
    }

    #[test]
    fn only_references_to_objects_are_updated() {
        let (memory, _) = tree(3);
        assert_eq!(update_slot(&memory, FIRST_INDEX, 8, |old| old + 16), Some(FIRST_INDEX + 32));
        assert_eq!(index_of(memory.load_u32(FIRST_INDEX, 8)), Some(FIRST_INDEX + 32));
        let i31 = VMGcRef::from_i31(5);
        for (value, raw) in [(None, 0), (Some(&i31), i31.raw())] {
            memory.store_ref(&at(FIRST_INDEX), 8, value);
            assert_eq!(update_slot(&memory, FIRST_INDEX, 8, |_| unreachable!("no object")), None);
            assert_eq!(memory.load_u32(FIRST_INDEX, 8), raw);
        }
    }
}
