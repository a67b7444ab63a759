//! What the engine tells every collector about types, once: sizes, and which words are references.

use crate::type_graph::{Declared, TypeGraph};
use crate::{
    ARRAY_LENGTH_OFFSET, EXTERN_SIZE, EXTERN_TYPE, HEADER_SIZE, HeapMemory, TypeIndex, VMGcHeader, VMGcRef,
    align_object,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

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

/// What is known of a type.
#[derive(Default, Debug)]
struct Entry {
    shape: OnceLock<Shape>,
    /// No object of the type is in a cycle, as of the last look at the graph.
    acyclic: AtomicBool,
}

type Chunk = Box<[Entry]>;

/// The shapes of an engine's types, by canonical index. Filled by the engine as it meets types, read without locks.
#[derive(Debug)]
pub struct Shapes {
    chunks: Box<[OnceLock<Chunk>]>,
    graph: Mutex<TypeGraph>,
    /// Types were declared since the last look at the graph.
    stale: AtomicBool,
}

impl Default for Shapes {
    fn default() -> Self {
        let chunks = (0..MAX_TYPES / CHUNK).map(|_| OnceLock::new()).collect();
        let shapes = Shapes { chunks, graph: Mutex::default(), stale: AtomicBool::new(false) };
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
        let chunk = self.chunks[ty as usize / CHUNK].get_or_init(|| (0..CHUNK).map(|_| Entry::default()).collect());
        let slot = &chunk[ty as usize % CHUNK].shape;
        assert_eq!(slot.get_or_init(|| shape.clone()), &shape, "type {ty} has another shape");
    }

    /// The shape of `ty`, or `None` when no object can have that type.
    #[inline(always)]
    pub fn get(&self, ty: TypeIndex) -> Option<&Shape> {
        self.entry(ty)?.shape.get()
    }

    #[inline(always)]
    fn entry(&self, ty: TypeIndex) -> Option<&Entry> {
        Some(&self.chunks.get(ty as usize / CHUNK)?.get()?[ty as usize % CHUNK])
    }

    /// Says what the slots of `ty`, which has a shape, may refer to. Once for each type; a type of which nothing is said is taken to be
    /// able to refer to anything.
    pub fn declare(&self, ty: TypeIndex, declared: Declared) {
        self.graph().declare(ty, declared);
        self.stale.store(true, Ordering::Release);
    }

    fn graph(&self) -> std::sync::MutexGuard<'_, TypeGraph> {
        self.graph.lock().expect("nothing panics with the graph")
    }

    /// Whether an object of type `ty` can be in a cycle of references, by the declared types that there are now: what cannot be is
    /// never the root of a garbage cycle, nor has anything that lies on one to be looked for behind it. A type that is declared later
    /// can change the answer from no to yes, and never back.
    pub fn can_be_in_cycle(&self, ty: TypeIndex) -> bool {
        let Some(entry) = self.entry(ty) else { return true };
        if entry.shape.get().is_some_and(Shape::is_leaf) {
            return false;
        }
        if self.stale.load(Ordering::Acquire) {
            let graph = self.graph();
            self.chunks
                .iter()
                .filter_map(OnceLock::get)
                .flatten()
                .for_each(|e| e.acyclic.store(false, Ordering::Relaxed));
            for ty in graph.acyclic() {
                if let Some(entry) = self.entry(ty) {
                    entry.acyclic.store(true, Ordering::Relaxed);
                }
            }
            self.stale.store(false, Ordering::Release);
        }
        !entry.acyclic.load(Ordering::Relaxed)
    }

    /// The shape of the object `object`.
    ///
    /// # Panics
    /// When the header names no type: the heap is corrupt.
    #[inline(always)]
    pub fn of(&self, memory: &HeapMemory, object: &VMGcRef) -> &Shape {
        let ty = memory.header(object).ty();
        match self.get(ty) {
            Some(shape) => shape,
            None => panic!("corrupt heap: {object:?} has type {ty}, which does not exist"),
        }
    }

    /// Bytes of the object at `index` whose header is `header`: as [`size_of`](Self::size_of), for who has looked at it already.
    ///
    /// # Panics
    /// When the header names no type: the heap is corrupt.
    #[inline(always)]
    pub fn size_by_header(&self, memory: &HeapMemory, index: u32, header: VMGcHeader) -> u64 {
        match self.get(header.ty()) {
            Some(Shape::Fixed { size, .. }) => *size as u64,
            Some(shape) => shape.size(memory.load_u32(index, ARRAY_LENGTH_OFFSET)),
            None => panic!("corrupt heap: the object at {index:#x} has type {}, which does not exist", header.ty()),
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
    /// may be null, an `i31` or an object. Gives the object's bytes, as [`size_of`](Self::size_of) does.
    #[inline]
    pub fn scan(&self, memory: &HeapMemory, object: &VMGcRef, mut visit: impl FnMut(u32)) -> u64 {
        let shape = self.of(memory, object);
        match shape {
            Shape::Fixed { refs, size } => {
                refs.iter().for_each(|offset| visit(*offset));
                *size as u64
            }
            Shape::Array { refs, base, .. } => {
                let length = memory.array_length(object);
                if *refs {
                    (0..length).for_each(|element| visit(base + element * 4));
                }
                shape.size(length)
            }
        }
    }
}

const _: () = assert!(HEADER_SIZE == ARRAY_LENGTH_OFFSET);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FIRST_INDEX, GcKind};

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
