//! Forwarding: the old copy of an object says where the new one is.
//!
//! A header bit says that the object has moved; the new index stands where the type was. The rest of the old copy stays as it is.

use gc_api::{COLLECTOR_BITS, HeapMemory, VMGcHeader};

/// The collector's header bit that says that an object has moved: the highest. No other part uses it.
pub const FORWARDED: u32 = 1 << (COLLECTOR_BITS - 1);

/// Where the object at `from` has moved to, if it has.
#[inline(always)]
pub fn forwarded(memory: &HeapMemory, from: u32) -> Option<u32> {
    let header = memory.load_u64(from, 0);
    (header as u32 & FORWARDED != 0).then_some((header >> 32) as u32)
}

/// Copies the `bytes` of the object at `from` to `to`, and leaves there where it went. Cost: the copy.
#[inline]
pub fn move_object(memory: &HeapMemory, from: u32, to: u32, bytes: u32) {
    memory.copy_bytes((to, 0), (from, 0), bytes);
    let word = memory.load_u32(from, VMGcHeader::WORD_OFFSET);
    memory.store_u64(from, 0, (word | FORWARDED) as u64 | (to as u64) << 32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use gc_api::{FIRST_INDEX, GcKind};

    #[test]
    fn the_old_copy_leads_to_the_new_one_which_is_the_same() {
        let memory = HeapMemory::reserve(1 << 20).unwrap();
        memory.grow(1 << 16).unwrap();
        let header = VMGcHeader::new(GcKind::STRUCT, 77, 5).to_u64();
        memory.store_u64(FIRST_INDEX, 0, header);
        memory.store_u64(FIRST_INDEX, 8, 0x1234);
        assert_eq!(forwarded(&memory, FIRST_INDEX), None);
        move_object(&memory, FIRST_INDEX, FIRST_INDEX + 64, 16);
        assert_eq!(forwarded(&memory, FIRST_INDEX), Some(FIRST_INDEX + 64));
        assert_eq!(forwarded(&memory, FIRST_INDEX + 64), None);
        assert_eq!((memory.load_u64(FIRST_INDEX + 64, 0), memory.load_u64(FIRST_INDEX + 64, 8)), (header, 0x1234));
    }
}
