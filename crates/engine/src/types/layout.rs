//! Where fields and elements stand in objects.
//!
//! Fields stand in declaration order, each at the next multiple of its size (at most 8), so a subtype's objects begin
//! like its supertype's: a field that a subtype refines keeps its size. Every reference has 4 bytes; a function
//! reference is an id in the store's table of functions and no concern of the collector's.

use super::value::{ArrayType, StorageType, StructType, ValType};
use gc_api::{EXCEPTION_TAG_OFFSET, HEADER_SIZE, OBJECT_ALIGN, Shape};

/// Where the fields of a struct, or the values of an exception, stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StructLayout {
    /// Bytes with the header, a multiple of 8.
    pub size: u32,
    /// By field, in declaration order.
    pub fields: Box<[FieldLayout]>,
}

/// Where a field stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FieldLayout {
    /// Bytes from the object's start.
    pub offset: u32,
}

/// Where the elements of an array stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArrayLayout {
    /// Byte offset of element 0 from the object's start.
    pub base: u32,
    /// Bytes of an element, as a power of two.
    pub element_log2: u8,
    /// Whether the elements are references that the collector must see.
    pub refs: bool,
}

impl StructLayout {
    pub(super) fn of_struct(ty: &StructType) -> (StructLayout, Shape) {
        place(HEADER_SIZE, ty.fields.iter().map(|field| field.storage))
    }

    /// The tag's id comes first, then `params` as if they were fields.
    pub(super) fn of_exception(params: &[ValType]) -> (StructLayout, Shape) {
        place(EXCEPTION_TAG_OFFSET + 4, params.iter().map(|param| StorageType::Val(*param)))
    }
}

impl ArrayLayout {
    pub(super) fn of(ty: &ArrayType) -> (ArrayLayout, Shape) {
        let shape = Shape::array(ty.element.storage.bytes_log2(), ty.element.storage.is_gc_ref());
        let Shape::Array { base, element_log2, refs } = shape else { unreachable!("`Shape::array` makes arrays") };
        (ArrayLayout { base, element_log2, refs }, shape)
    }
}

fn place(start: u32, fields: impl Iterator<Item = StorageType>) -> (StructLayout, Shape) {
    let (mut end, mut refs) = (start, Vec::new());
    let fields = fields
        .map(|storage| {
            let bytes = 1u32 << storage.bytes_log2();
            let offset = end.next_multiple_of(bytes.min(OBJECT_ALIGN));
            if storage.is_gc_ref() {
                refs.push(offset);
            }
            end = offset + bytes;
            FieldLayout { offset }
        })
        .collect();
    let size = end.next_multiple_of(OBJECT_ALIGN);
    (StructLayout { size, fields }, Shape::Fixed { size, refs: refs.into() })
}
