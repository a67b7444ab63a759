//! The collector's 26 header bits: flags, and the count above them.
//!
//! ```text
//! bit 25 … 6 + width    …     6      5        4          3       2      1         0
//!    |      sticky   | count  | WHITE | CANDIDATE | LOGGED | MARK | NEW | ENROLLED |
//! ```
//!
//! A count that has reached the sticky bit, which is the one above its width, is never changed by counting: it cannot
//! overflow into the object's kind, and its object is freed by a trace alone.

use gc_api::{COLLECTOR_MASK, HeapMemory, VMGcRef};

/// The object is in the table: [`crate::table::Table`]. Bit 0, so that compiled code can set it from a comparison's result.
pub const ENROLLED: u32 = 1 << 0;
/// The object was allocated since the last collection. Unless counting is eager, its fields are not counted.
pub const NEW: u32 = 1 << 1;
/// The object was found on the stack, or by a trace, or is gray. Never set outside a collection.
pub const MARK: u32 = 1 << 2;
/// What the object referred to at the last collection is in the log, and its fields count for nothing until the next.
pub const LOGGED: u32 = 1 << 3;
/// The object is in the list of candidates for a garbage cycle's root.
pub const CANDIDATE: u32 = 1 << 4;
/// Trial deletion has found no reference from outside, or a trace counts the object anew. Never set outside a collection.
pub const WHITE: u32 = 1 << 5;
/// One reference.
pub const ONE: u32 = 1 << 6;
/// Bits of a count, at most.
pub const MAX_WIDTH: u32 = 19;
/// The flags that do not keep an object alive.
const PASSIVE: u32 = LOGGED | CANDIDATE | WHITE;
/// The bits of which one at least is set in an object that is not dead.
pub const ALIVE: u32 = COLLECTOR_MASK & !PASSIVE;

/// The object that the raw reference `raw` refers to; `None` for null and an `i31`.
#[inline]
pub fn object(raw: u32) -> Option<VMGcRef> {
    VMGcRef::from_raw(raw).filter(|r| !r.is_i31())
}

/// The object at `index`.
#[inline]
pub fn at(index: u32) -> VMGcRef {
    VMGcRef::from_index(index).expect("no object is at 0")
}

/// The count in a header's first word; a sticky one is more than any other.
#[inline]
pub fn count(word: u32) -> u32 {
    (word & COLLECTOR_MASK) / ONE
}

/// Whether nothing refers to the object with this header word: it is not counted, enrolled, marked or new.
#[inline]
pub fn is_dead(word: u32) -> bool {
    word & ALIVE == 0
}

/// How counts of one width are kept.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// The header bit that a count of this width overflows into.
    pub sticky: u32,
}

impl Counts {
    /// Counts of `width` bits.
    ///
    /// # Panics
    /// When that is 0 or more than [`MAX_WIDTH`].
    pub fn new(width: u32) -> Counts {
        assert!((1..=MAX_WIDTH).contains(&width));
        Counts { sticky: ONE << width }
    }

    /// Whether counting leaves this header word alone.
    #[inline]
    pub fn is_sticky(self, word: u32) -> bool {
        word & self.sticky != 0
    }

    /// The header word with one reference more.
    #[inline]
    pub fn incremented(self, word: u32) -> u32 {
        self.added(word, 1)
    }

    /// The header word with so many references more.
    #[inline]
    pub fn added(self, word: u32, times: u32) -> u32 {
        if self.is_sticky(word) {
            word
        } else if times < self.sticky / ONE - count(word) {
            word + times * ONE
        } else {
            word & !(COLLECTOR_MASK & !(ONE - 1)) | self.sticky
        }
    }

    /// Takes one reference from `object`. Returns its header word then.
    ///
    /// # Panics
    /// When it has none: the heap is corrupt.
    #[inline]
    pub fn decrement(self, memory: &HeapMemory, object: &VMGcRef) -> u32 {
        self.take(memory, object, 1)
    }

    /// Takes so many references from `object`. Returns its header word then.
    ///
    /// # Panics
    /// When it has fewer: the heap is corrupt.
    #[inline]
    pub fn take(self, memory: &HeapMemory, object: &VMGcRef, times: u32) -> u32 {
        let word = memory.header_word(object);
        if self.is_sticky(word) {
            return word;
        }
        if count(word) < times {
            panic!("corrupt heap: {object:?} loses a reference that was never counted");
        }
        memory.set_header_word(object, word - times * ONE);
        word - times * ONE
    }
}

const _: () = assert!(ONE << MAX_WIDTH == COLLECTOR_MASK / 2 + 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_sticks_where_it_would_overflow() {
        for width in 1..=MAX_WIDTH {
            let counts = Counts::new(width);
            let top = (1 << width) - 1;
            assert_eq!(count(counts.added(ENROLLED, top)), top);
            for more in [1, 2, top, u32::MAX] {
                let stuck = counts.added(ENROLLED | (top * ONE), more);
                assert!(counts.is_sticky(stuck) && stuck & ENROLLED != 0, "{width}, {more}");
                assert_eq!(stuck & !COLLECTOR_MASK, 0, "{width}, {more}");
                assert_eq!(counts.added(stuck, more), stuck);
            }
            assert!(counts.is_sticky(counts.incremented(top * ONE)));
        }
    }
}
