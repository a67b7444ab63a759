//! Forwarding: the old copy of an object says where the new one is.
//!
//! A header bit says that the object has moved; the new index stands where the type was. The rest of the old copy stays as it is.

use gc_api::{COLLECTOR_BITS, HeapMemory, VMGcHeader};

/// The collector's header bit that says that an object has moved: the highest. No other part uses it.
pub const FORWARDED: u32 = 1 << (COLLECTOR_BITS - 1);

/// The header of the object at `from`; or where it has moved to.
///
/// # Errors
/// Where it is now.
#[inline(always)]
pub fn header(memory: &HeapMemory, from: u32) -> Result<VMGcHeader, u32> {
    let header = memory.load_u64(from, 0);
    if header as u32 & FORWARDED != 0 { Err((header >> 32) as u32) } else { Ok(VMGcHeader::from_u64(header)) }
}

/// Where the object at `from` has moved to, if it has.
#[inline(always)]
pub fn forwarded(memory: &HeapMemory, from: u32) -> Option<u32> {
    header(memory, from).err()
}

/// Copies the `bytes` of the object at `from` to `to`, with the collector's `bits` in its header, which was `header`; and leaves there
/// where it went. Cost: the copy.
#[inline]
pub fn move_object(memory: &HeapMemory, (from, header): (u32, VMGcHeader), to: u32, bytes: u32, bits: u32) {
    memory.copy_object(to, from, bytes);
    memory.store_u64(to, 0, VMGcHeader::new(header.kind(), header.ty(), bits).to_u64());
    memory.store_u64(from, 0, header.to_u64() & u32::MAX as u64 | FORWARDED as u64 | (to as u64) << 32);
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
        let old = super::header(&memory, FIRST_INDEX).unwrap();
        move_object(&memory, (FIRST_INDEX, old), FIRST_INDEX + 64, 16, 5);
        assert_eq!(forwarded(&memory, FIRST_INDEX), Some(FIRST_INDEX + 64));
        assert_eq!(forwarded(&memory, FIRST_INDEX + 64), None);
        assert_eq!((memory.load_u64(FIRST_INDEX + 64, 0), memory.load_u64(FIRST_INDEX + 64, 8)), (header, 0x1234));
    }
}
