//! What the engine tells every collector about types, once: sizes, and which words are references.

use crate::{ARRAY_LENGTH_OFFSET, EXTERN_SIZE, EXTERN_TYPE, HEADER_SIZE, HeapMemory, TypeIndex, VMGcRef, align_object};
use std::sync::OnceLock;

/// How large objects of one type are and where their references stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shape {
    /// A struct, an exception, or the object behind a host value.
    Fixed {
        /// Bytes with the header, a multiple of 8.
        size: u32,
        /// Byte offsets of the reference slots from the object's start, ascending.
        refs: Box<[u32]>,
    },
    /// An array.
    Array {
        /// Byte offset of element 0 from the object's start.
        base: u32,
        /// Bytes of an element as a power of two.
        element_log2: u8,
        /// Whether the elements are references (then `element_log2` is 2).
        refs: bool,
    },
}

impl Shape {
    /// The shape of an array whose elements have `1 << element_log2` bytes.
    pub fn array(element_log2: u8, refs: bool) -> Shape {
        let base = (ARRAY_LENGTH_OFFSET + 4).next_multiple_of((1 << element_log2).min(8));
        Shape::Array { base, element_log2, refs }
    }

    /// Bytes of an object with this shape, a multiple of 8. `length` is ignored unless it is an array.
    #[inline]
    pub fn size(&self, length: u32) -> u64 {
        match self {
            Shape::Fixed { size, .. } => *size as u64,
            Shape::Array { base, element_log2, .. } => align_object(*base as u64 + ((length as u64) << element_log2)),
        }
    }

    /// Whether objects of this shape have no reference slots.
    pub fn is_leaf(&self) -> bool {
        match self {
            Shape::Fixed { refs, .. } => refs.is_empty(),
            Shape::Array { refs, .. } => !refs,
        }
    }
}

const CHUNK: usize = 1024;
/// Types that one engine can hold; the engine refuses more with an error.
pub const MAX_TYPES: usize = 1 << 20;

type Chunk = Box<[OnceLock<Shape>]>;

/// The shapes of an engine's types, by canonical index. Filled by the engine as it meets types, read without locks.
#[derive(Debug)]
pub struct Shapes {
    chunks: Box<[OnceLock<Chunk>]>,
}

impl Default for Shapes {
    fn default() -> Self {
        let shapes = Shapes { chunks: (0..MAX_TYPES / CHUNK).map(|_| OnceLock::new()).collect() };
        shapes.register(EXTERN_TYPE, Shape::Fixed { size: EXTERN_SIZE, refs: Box::new([]) });
        shapes
    }
}

impl Shapes {
    /// Sets the shape of `ty`. A type keeps the shape that it was given first.
    ///
    /// # Panics
    /// When `ty` is [`MAX_TYPES`] or more, or the shape differs from the one that `ty` has.
    pub fn register(&self, ty: TypeIndex, shape: Shape) {
        let chunk = self.chunks[ty as usize / CHUNK].get_or_init(|| (0..CHUNK).map(|_| OnceLock::new()).collect());
        let slot = &chunk[ty as usize % CHUNK];
        assert_eq!(slot.get_or_init(|| shape.clone()), &shape, "type {ty} has another shape");
    }

    /// The shape of `ty`, or `None` when no object can have that type.
    #[inline]
    pub fn get(&self, ty: TypeIndex) -> Option<&Shape> {
        self.chunks.get(ty as usize / CHUNK)?.get()?[ty as usize % CHUNK].get()
    }

    /// The shape of the object `object`.
    ///
    /// # Panics
    /// When the header names no type: the heap is corrupt.
    #[inline]
    pub fn of(&self, memory: &HeapMemory, object: &VMGcRef) -> &Shape {
        let ty = memory.header(object).ty();
        match self.get(ty) {
            Some(shape) => shape,
            None => panic!("corrupt heap: {object:?} has type {ty}, which does not exist"),
        }
    }

    /// Bytes of the object `object`, a multiple of 8.
    #[inline]
    pub fn size_of(&self, memory: &HeapMemory, object: &VMGcRef) -> u64 {
        let shape = self.of(memory, object);
        match shape {
            Shape::Fixed { size, .. } => *size as u64,
            Shape::Array { .. } => shape.size(memory.array_length(object)),
        }
    }

    /// Calls `visit` with the byte offset of each reference slot of `object`, in ascending order; what the slot holds
    /// may be null, an `i31` or an object.
    #[inline]
    pub fn scan(&self, memory: &HeapMemory, object: &VMGcRef, mut visit: impl FnMut(u32)) {
        match self.of(memory, object) {
            Shape::Fixed { refs, .. } => refs.iter().for_each(|offset| visit(*offset)),
            Shape::Array { refs: false, .. } => {}
            Shape::Array { base, .. } => {
                (0..memory.array_length(object)).for_each(|element| visit(base + element * 4));
            }
        }
    }
}

const _: () = assert!(HEADER_SIZE == ARRAY_LENGTH_OFFSET);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FIRST_INDEX, GcKind, VMGcHeader};

    #[test]
    fn sizes_follow_from_shapes() {
        let pair = Shape::Fixed { size: 16, refs: Box::new([8, 12]) };
        assert_eq!(pair.size(99), 16);
        let base = |log2| match Shape::array(log2, false) {
            Shape::Array { base, .. } => base,
            Shape::Fixed { .. } => unreachable!(),
        };
        assert_eq!([0, 1, 2, 3, 4].map(base), [12, 12, 12, 16, 16]);
        assert_eq!(Shape::array(0, false).size(4), 16);
        assert_eq!(Shape::array(0, false).size(5), 24);
        assert_eq!(Shape::array(4, false).size(u32::MAX), 16 + 16 * (u32::MAX as u64));
    }

    #[test]
    fn scan_finds_every_slot_once() {
        let memory = HeapMemory::reserve(1 << 16).unwrap();
        memory.grow(1 << 16).unwrap();
        let shapes = Shapes::default();
        shapes.register(5, Shape::array(2, true));
        shapes.register(6, Shape::Fixed { size: 24, refs: Box::new([12, 20]) });
        let object = VMGcRef::from_index(FIRST_INDEX).unwrap();
        let slots = |ty, kind| {
            memory.store_u64(FIRST_INDEX, 0, VMGcHeader::new(kind, ty, 0).to_u64());
            let mut seen = Vec::new();
            shapes.scan(&memory, &object, |offset| seen.push(offset));
            seen
        };
        memory.store_u32(FIRST_INDEX, ARRAY_LENGTH_OFFSET, 3);
        assert_eq!(slots(5, GcKind::ARRAY), [12, 16, 20]);
        assert_eq!(slots(6, GcKind::STRUCT), [12, 20]);
        assert_eq!(slots(EXTERN_TYPE, GcKind::EXTERN), []);
    }
}
