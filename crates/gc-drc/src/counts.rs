//! The collector's 26 header bits: three flags, and the count above them.
//!
//! ```text
//! bit 25      24 …  3      2       1         0
//!    | sticky | count  | MARK |  NEW  | ENROLLED |
//! ```
//!
//! A count that has reached the sticky bit is never changed again: it cannot overflow into the object's kind, and its
//! object is never freed.

use gc_api::{COLLECTOR_MASK, HeapMemory, VMGcRef};

/// The object is in the activations table. Bit 0, so that compiled code can set it from a comparison's result.
pub const ENROLLED: u32 = 1 << 0;
/// The object was allocated since the last collection; its fields are not counted.
pub const NEW: u32 = 1 << 1;
/// The object was found on the stack. Never set outside a collection.
pub const MARK: u32 = 1 << 2;
/// One reference.
pub const ONE: u32 = 1 << 3;
/// The top of the count: set once, it stays.
pub const STICKY: u32 = 1 << 25;

/// The object that the raw reference `raw` refers to; `None` for null and an `i31`.
#[inline]
pub fn object(raw: u32) -> Option<VMGcRef> {
    VMGcRef::from_raw(raw).filter(|r| !r.is_i31())
}

/// The count in a header's first word.
#[inline]
pub fn count(word: u32) -> u32 {
    (word & COLLECTOR_MASK) / ONE
}

/// Whether nothing refers to the object with this header word: it is not counted, enrolled or new.
#[inline]
pub fn is_dead(word: u32) -> bool {
    word & COLLECTOR_MASK == 0
}

/// The header word with one reference more.
#[inline]
pub fn incremented(word: u32) -> u32 {
    if word & STICKY == 0 { word + ONE } else { word }
}

/// Takes one reference from `object`. Returns whether it is dead now.
///
/// # Panics
/// When it has none: the heap is corrupt.
#[inline]
pub fn decrement(memory: &HeapMemory, object: &VMGcRef) -> bool {
    let word = memory.header_word(object);
    if word & STICKY != 0 {
        return false;
    }
    if count(word) == 0 {
        panic!("corrupt heap: {object:?} loses a reference that was never counted");
    }
    memory.set_header_word(object, word - ONE);
    is_dead(word - ONE)
}

const _: () = assert!(STICKY == COLLECTOR_MASK / 2 + 1);
