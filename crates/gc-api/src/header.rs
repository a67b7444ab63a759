//! The object header and the object's layout, which every collector shares.
//!
//! ```text
//! byte 0        4          8            12
//!      | kind 6 | collector 26 | type index 32 | fields …
//!      | kind 6 | collector 26 | type index 32 | length 32 | elements …   (arrays)
//! ```
//!
//! A size is never stored: it follows from the type's [`Shape`](crate::Shape), and from the length for arrays.

/// Bytes of [`VMGcHeader`].
pub const HEADER_SIZE: u32 = 8;
/// Objects start at multiples of this many bytes.
pub const OBJECT_ALIGN: u32 = 8;
/// Byte offset of an array's 32-bit length.
pub const ARRAY_LENGTH_OFFSET: u32 = HEADER_SIZE;
/// Byte offset of element 0 of an array of references.
pub const REF_ARRAY_BASE: u32 = ARRAY_LENGTH_OFFSET + 4;
/// Byte offset of the id of the host value behind an `externref`.
pub const EXTERN_ID_OFFSET: u32 = HEADER_SIZE;
/// Bytes of an object that stands for a host value.
pub const EXTERN_SIZE: u32 = 16;
/// Byte offset of an exception's tag (an id in its store).
pub const EXCEPTION_TAG_OFFSET: u32 = HEADER_SIZE;
/// Bits of the header's first word that belong to the collector.
pub const COLLECTOR_BITS: u32 = 26;
/// Mask of [`COLLECTOR_BITS`] in the header's first word.
pub const COLLECTOR_MASK: u32 = (1 << COLLECTOR_BITS) - 1;

/// Index of a canonical type in its engine: equal exactly when the types are.
pub type TypeIndex = u32;

/// The type index of objects that stand for host values.
pub const EXTERN_TYPE: TypeIndex = 0;

/// What an object is: the six top bits of its header.
///
/// `a` is a subtype of `b` exactly when `a & b == b`, so one AND decides every abstract cast.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct GcKind(u8);

impl GcKind {
    /// Any internal reference.
    pub const ANY: GcKind = GcKind(0b100000);
    /// What `ref.eq` compares.
    pub const EQ: GcKind = GcKind(0b110000);
    /// A struct.
    pub const STRUCT: GcKind = GcKind(0b111000);
    /// An array.
    pub const ARRAY: GcKind = GcKind(0b110100);
    /// A host value.
    pub const EXTERN: GcKind = GcKind(0b000010);
    /// An exception.
    pub const EXN: GcKind = GcKind(0b000001);

    /// Whether every object of this kind is of kind `other`.
    pub const fn is_subkind_of(self, other: GcKind) -> bool {
        self.0 & other.0 == other.0
    }

    /// The kind's bits where they stand in the header's first word.
    pub const fn header_bits(self) -> u32 {
        (self.0 as u32) << COLLECTOR_BITS
    }

    /// The kind in a header's first word.
    pub const fn of_header(word: u32) -> GcKind {
        GcKind((word >> COLLECTOR_BITS) as u8)
    }
}

/// An object's first 8 bytes, by value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(8))]
pub struct VMGcHeader {
    word: u32,
    ty: TypeIndex,
}

impl VMGcHeader {
    /// Byte offset of the kind and the collector's bits.
    pub const WORD_OFFSET: u32 = 0;
    /// Byte offset of the type index.
    pub const TYPE_OFFSET: u32 = 4;

    /// A header with the collector's bits `bits`.
    ///
    /// # Panics
    /// When `bits` has more than 26 bits.
    #[inline]
    pub const fn new(kind: GcKind, ty: TypeIndex, bits: u32) -> Self {
        assert!(bits <= COLLECTOR_MASK);
        VMGcHeader { word: kind.header_bits() | bits, ty }
    }

    /// The header as one little-endian 64-bit word, as it stands in the heap.
    #[inline]
    pub const fn to_u64(self) -> u64 {
        self.word as u64 | (self.ty as u64) << 32
    }

    /// The header in a 64-bit word of the heap.
    #[inline]
    pub const fn from_u64(raw: u64) -> Self {
        VMGcHeader { word: raw as u32, ty: (raw >> 32) as u32 }
    }

    /// What the object is.
    #[inline]
    pub const fn kind(self) -> GcKind {
        GcKind::of_header(self.word)
    }

    /// The object's canonical type.
    #[inline]
    pub const fn ty(self) -> TypeIndex {
        self.ty
    }

    /// The collector's 26 bits.
    #[inline]
    pub const fn bits(self) -> u32 {
        self.word & COLLECTOR_MASK
    }
}

/// `bytes` rounded up to [`OBJECT_ALIGN`].
#[inline]
pub const fn align_object(bytes: u64) -> u64 {
    bytes.next_multiple_of(OBJECT_ALIGN as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_are_the_structs() {
        assert_eq!(size_of::<VMGcHeader>(), HEADER_SIZE as usize);
        assert_eq!(std::mem::offset_of!(VMGcHeader, word), VMGcHeader::WORD_OFFSET as usize);
        assert_eq!(std::mem::offset_of!(VMGcHeader, ty), VMGcHeader::TYPE_OFFSET as usize);
        let header = VMGcHeader::new(GcKind::ARRAY, 77, 0x155_5555);
        assert_eq!(VMGcHeader::from_u64(header.to_u64()), header);
        assert_eq!((header.kind(), header.ty(), header.bits()), (GcKind::ARRAY, 77, 0x155_5555));
    }

    #[test]
    fn one_and_decides_abstract_subtyping() {
        use GcKind as K;
        let below = |a: K, b: K| a.is_subkind_of(b);
        assert!(below(K::STRUCT, K::EQ) && below(K::ARRAY, K::EQ) && below(K::EQ, K::ANY));
        assert!(!below(K::STRUCT, K::ARRAY) && !below(K::ARRAY, K::STRUCT) && !below(K::EQ, K::STRUCT));
        assert!(!below(K::EXTERN, K::ANY) && !below(K::EXN, K::ANY) && !below(K::EXTERN, K::EXN));
    }
}
