//! Objects as the runtime makes and reads them: what compiled code does inline.

use super::store::StoreOpaque;
use crate::api::Result;
use crate::types::{ArrayLayout, StorageType, TypeIndex, ValType};
use crate::vm::VMFuncRef;
use gc_api::{
    BulkSource, BulkWrite, EXCEPTION_TAG_OFFSET, GcKind, HEADER_SIZE, NewObject, RefRange, Shape, VMGcRef, WriteSite,
};

/// What was read from a field or an element.
pub enum Loaded {
    /// A number, or the address of a function reference: as in [`ValRaw`](crate::vm::ValRaw).
    Bits(u128),
    /// A reference, which the reader owns.
    Ref(Option<VMGcRef>),
}

impl StoreOpaque {
    /// Allocates a struct whose fields are all zero.
    ///
    /// # Errors
    /// A trap when there is no room.
    pub fn alloc_struct(&mut self, ty: TypeIndex) -> Result<VMGcRef> {
        let size = self.registry().struct_layout(ty).size;
        self.alloc_fixed(GcKind::STRUCT, ty, size)
    }

    /// Allocates an exception with this tag whose values are all zero.
    ///
    /// # Errors
    /// A trap when there is no room.
    pub fn alloc_exception(&mut self, tag: u32) -> Result<VMGcRef> {
        let ty = self.tags[tag as usize].exception;
        let size = self.registry().exception_layout(ty).size;
        let object = self.alloc_fixed(GcKind::EXN, ty, size)?;
        self.memory().store_u32(object.raw(), EXCEPTION_TAG_OFFSET, tag);
        Ok(object)
    }

    /// Allocates an object of a fixed size whose contents are all zero.
    ///
    /// # Errors
    /// A trap when there is no room.
    pub fn alloc_fixed(&mut self, kind: GcKind, ty: TypeIndex, size: u32) -> Result<VMGcRef> {
        let object = self.allocate(NewObject { kind, ty, size: size as u64, length: None, host: None })?;
        self.memory().fill_bytes(object.raw(), HEADER_SIZE, size - HEADER_SIZE, 0);
        Ok(object)
    }

    /// Allocates an array. Its elements are the caller's to write before the next safepoint.
    ///
    /// # Errors
    /// A trap when there is no room.
    pub fn alloc_array(&mut self, ty: TypeIndex, length: u32) -> Result<VMGcRef> {
        self.alloc_array_of(ty, self.registry().array_layout(ty), length)
    }

    /// As [`Self::alloc_array`], of a type that has this layout.
    ///
    /// # Errors
    /// A trap when there is no room.
    pub fn alloc_array_of(&mut self, ty: TypeIndex, layout: ArrayLayout, length: u32) -> Result<VMGcRef> {
        let ArrayLayout { base, element_log2, refs } = layout;
        let size = Shape::Array { base, element_log2, refs }.size(length);
        self.allocate(NewObject { kind: GcKind::ARRAY, ty, size, length: Some(length), host: None })
    }

    /// Sets all elements of a new array to zero or null.
    pub fn zero_array(&mut self, array: &VMGcRef, ty: TypeIndex) {
        let (offset, bytes) = span(self.registry().array_layout(ty), 0, self.memory().array_length(array));
        self.memory().fill_bytes(array.raw(), offset, bytes, 0);
    }

    /// Sets elements `start..start + count` of an array to `raw`, the bits that stand in the array. Bounds have been checked.
    pub fn fill_array(&mut self, array: &VMGcRef, ty: TypeIndex, start: u32, count: u32, raw: u128, new: Novelty) {
        if count == 0 {
            return;
        }
        let layout = self.registry().array_layout(ty);
        let needs = self.engine().gc().compiler().needs();
        let barrier = match new {
            // Nothing is overwritten, and null is nothing to know of.
            Novelty::New => needs.bulk_init && raw != 0,
            Novelty::Old => needs.bulk_write,
        };
        if layout.refs && barrier {
            let value = VMGcRef::from_raw(raw as u32);
            self.heap_mut().write_refs(BulkWrite {
                to: RefRange::Array { array, start, length: count },
                from: BulkSource::Fill(value.as_ref()),
                initializing: new == Novelty::New,
            });
            return self.drop_dead_hosts();
        }
        let (offset, bytes) = span(layout, start, count);
        let (memory, index) = (self.memory(), array.raw());
        match layout.element_log2 {
            0 => memory.fill_bytes(index, offset, bytes, raw as u8),
            1 => memory.fill_pattern(index, offset, bytes, &(raw as u16).to_le_bytes()),
            2 => memory.fill_pattern(index, offset, bytes, &(raw as u32).to_le_bytes()),
            3 => memory.fill_pattern(index, offset, bytes, &(raw as u64).to_le_bytes()),
            _ => memory.fill_pattern(index, offset, bytes, &raw.to_le_bytes()),
        }
    }

    /// Stores into a field or an element; a reference in `raw` is borrowed.
    pub fn write_slot(&mut self, object: &VMGcRef, offset: u32, storage: StorageType, raw: u128) {
        let (memory, index) = (self.memory(), object.raw());
        match storage {
            StorageType::I8 => memory.store_u8(index, offset, raw as u8),
            StorageType::I16 => memory.store_u16(index, offset, raw as u16),
            StorageType::Val(ValType::I32 | ValType::F32) => memory.store_u32(index, offset, raw as u32),
            StorageType::Val(ValType::I64 | ValType::F64) => memory.store_u64(index, offset, raw as u64),
            StorageType::Val(ValType::V128) => {
                memory.store_u64(index, offset, raw as u64);
                memory.store_u64(index, offset + 8, (raw >> 64) as u64);
            }
            StorageType::Val(ValType::Ref(ty)) if ty.is_gc_ref() => {
                let new = VMGcRef::from_raw(raw as u32);
                self.write_ref(WriteSite::Object { object, offset }, new.as_ref());
            }
            StorageType::Val(ValType::Ref(_)) => {
                memory.store_u32(index, offset, self.func_id(raw as u64 as *const VMFuncRef));
            }
        }
    }

    /// Loads from a field or an element, packed ones zero-extended.
    pub fn read_slot(&mut self, object: &VMGcRef, offset: u32, storage: StorageType) -> Loaded {
        let (memory, index) = (self.memory(), object.raw());
        Loaded::Bits(match storage {
            StorageType::I8 => memory.load_u8(index, offset) as u128,
            StorageType::I16 => memory.load_u16(index, offset) as u128,
            StorageType::Val(ValType::I32 | ValType::F32) => memory.load_u32(index, offset) as u128,
            StorageType::Val(ValType::I64 | ValType::F64) => memory.load_u64(index, offset) as u128,
            StorageType::Val(ValType::V128) => {
                memory.load_u64(index, offset) as u128 | (memory.load_u64(index, offset + 8) as u128) << 64
            }
            StorageType::Val(ValType::Ref(ty)) if ty.is_gc_ref() => {
                return Loaded::Ref(self.heap_mut().read_ref(WriteSite::Object { object, offset }));
            }
            StorageType::Val(ValType::Ref(_)) => self.func(memory.load_u32(index, offset)) as u64 as u128,
        })
    }
}

/// Whether slots hold nothing yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Novelty {
    /// They are a new array's.
    New,
    /// They hold values, which are overwritten.
    Old,
}

/// The byte offset and the bytes of elements `start..start + count`.
///
/// # Panics
/// When they cannot lie in the index space: a length is corrupt.
pub fn span(layout: ArrayLayout, start: u32, count: u32) -> (u32, u32) {
    let offset = layout.base as u64 + ((start as u64) << layout.element_log2);
    let bytes = (count as u64) << layout.element_log2;
    match (u32::try_from(offset), u32::try_from(bytes)) {
        (Ok(offset), Ok(bytes)) => (offset, bytes),
        _ => panic!("corrupt heap: an array with {count} elements from {start} on exceeds the index space"),
    }
}
