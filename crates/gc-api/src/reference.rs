//! References into an indexed heap.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A non-null reference as compiled code sees it: 32 bits.
///
/// Low bit 1: an unboxed `i31`, its value in the upper 31 bits. Low bit 0: the byte index of an object
/// in the store's heap, 8-byte aligned. Null is `None` of `Option<VMGcRef>`, and 0 in memory.
///
/// Neither `Clone` nor `Copy`: a collector may count references, so a second one is made by
/// [`GcHeap::clone_ref`](crate::GcHeap::clone_ref), and one that is given up goes to
/// [`GcHeap::drop_ref`](crate::GcHeap::drop_ref). [`VMGcRef::unchecked_copy`] says out loud that it does neither.
#[derive(PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct VMGcRef(NonZeroU32);

impl VMGcRef {
    /// The reference with these bits, or `None` for null.
    #[inline]
    pub fn from_raw(raw: u32) -> Option<VMGcRef> {
        NonZeroU32::new(raw).map(VMGcRef)
    }

    /// The reference to the object at byte `index` of the heap; `None` when `index` is 0.
    ///
    /// # Panics
    /// When `index` is not 8-byte aligned: no object starts there.
    #[inline]
    pub fn from_index(index: u32) -> Option<VMGcRef> {
        assert_eq!(index % crate::OBJECT_ALIGN, 0, "heap index {index:#x} is not 8-byte aligned");
        VMGcRef::from_raw(index)
    }

    /// An unboxed 31-bit integer; the top bit of `value` is dropped.
    #[inline]
    pub fn from_i31(value: u32) -> VMGcRef {
        VMGcRef(NonZeroU32::MIN | (value << 1))
    }

    /// The bits that compiled code holds.
    #[inline]
    pub fn raw(&self) -> u32 {
        self.0.get()
    }

    /// Whether this is an unboxed `i31` and not an object.
    #[inline]
    pub fn is_i31(&self) -> bool {
        self.0.get() & 1 != 0
    }

    /// The `i31`'s 31 bits, zero-extended, or `None` for an object.
    #[inline]
    pub fn i31(&self) -> Option<u32> {
        self.is_i31().then(|| self.0.get() >> 1)
    }

    /// The object's byte index, or `None` for an `i31`.
    #[inline]
    pub fn index(&self) -> Option<u32> {
        (!self.is_i31()).then(|| self.0.get())
    }

    /// The same bits again, without the collector's barrier. The caller keeps the original alive for
    /// as long as the copy is used, or runs the barrier itself.
    #[inline]
    pub fn unchecked_copy(&self) -> VMGcRef {
        VMGcRef(self.0)
    }
}

impl fmt::Debug for VMGcRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.i31() {
            Some(value) => write!(f, "i31({value})"),
            None => write!(f, "object({:#x})", self.raw()),
        }
    }
}

/// A slot outside the heap that holds a reference or null: a global, a table element, a host handle.
///
/// Relaxed atomic, so that a collector's thread may read it while the program runs.
#[derive(Default, Debug)]
#[repr(transparent)]
pub struct RefCell32(AtomicU32);

impl RefCell32 {
    /// A slot that holds null.
    pub const fn null() -> Self {
        RefCell32(AtomicU32::new(0))
    }

    /// The bits in the slot: 0 for null.
    #[inline]
    pub fn raw(&self) -> u32 {
        self.0.load(Relaxed)
    }

    /// Replaces the bits in the slot, without any barrier.
    #[inline]
    pub fn set_raw(&self, raw: u32) {
        self.0.store(raw, Relaxed)
    }

    /// The reference in the slot, without any barrier; `None` for null.
    #[inline]
    pub fn peek(&self) -> Option<VMGcRef> {
        VMGcRef::from_raw(self.raw())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i31_and_objects_are_told_apart() {
        assert_eq!(VMGcRef::from_raw(0), None);
        let small = VMGcRef::from_i31(0x7fff_ffff);
        assert_eq!((small.i31(), small.index()), (Some(0x7fff_ffff), None));
        assert_eq!(VMGcRef::from_i31(0).i31(), Some(0));
        let object = VMGcRef::from_index(0x1_0000).unwrap();
        assert_eq!((object.i31(), object.index()), (None, Some(0x1_0000)));
    }

    #[test]
    #[should_panic(expected = "8-byte aligned")]
    fn a_misaligned_index_is_no_object() {
        let _ = VMGcRef::from_index(0x1_0004);
    }
}
