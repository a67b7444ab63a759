//! From a module's type indices to canonical ones.

use super::group::{abstract_heap, number};
use super::value::{
    FieldType, GlobalType, HeapType, Hierarchy, MemoryType, RefType, StorageType, TableType, TagType, ValType,
};
use gc_api::TypeIndex;
use rustc_hash::FxHashMap;
use wasmparser::UnpackedIndex;
use wasmparser::types::CoreTypeId;

/// The canonical types of one module, by the module's own indices.
///
/// The conversions take what the parser yields (indices into the module) and, if the module was registered with
/// [`TypeRegistry::register_module`](super::TypeRegistry::register_module), what its validator yields (ids). They panic
/// on what the registry refuses: an index that the module doesn't define, shared or exact references, continuations.
#[derive(Clone, Debug, Default)]
pub struct ModuleTypes {
    /// The canonical indices.
    map: Vec<TypeIndex>,
    /// The same as heap types, so that conversions know a concrete type's kind.
    heaps: Vec<HeapType>,
    ids: FxHashMap<CoreTypeId, HeapType>,
}

impl ModuleTypes {
    pub(super) fn new(heaps: Vec<HeapType>, ids: FxHashMap<CoreTypeId, HeapType>) -> ModuleTypes {
        let map = heaps.iter().map(|heap| heap.index().expect("a module's types are concrete")).collect();
        ModuleTypes { map, heaps, ids }
    }

    /// The canonical index of the module's type `index`.
    ///
    /// # Panics
    /// When the module has no such type.
    #[inline]
    pub fn get(&self, index: u32) -> TypeIndex {
        self.map[index as usize]
    }

    /// The module's type `index` as a heap type.
    ///
    /// # Panics
    /// When the module has no such type.
    #[inline]
    pub fn heap(&self, index: u32) -> HeapType {
        self.heaps[index as usize]
    }

    /// The canonical indices, in the module's order.
    pub fn indices(&self) -> &[TypeIndex] {
        &self.map
    }

    /// The canonical index of a type that the module's validator calls `id`.
    ///
    /// # Panics
    /// When the module has no such type.
    pub fn get_id(&self, id: CoreTypeId) -> TypeIndex {
        self.ids[&id].index().expect("a module's types are concrete")
    }

    /// `ty` with canonical indices.
    ///
    /// # Panics
    /// When the type is not one of WebAssembly 3.0's or the module does not define it.
    pub fn convert_val(&self, ty: wasmparser::ValType) -> ValType {
        match number(ty) {
            Ok(number) => number,
            Err(reference) => ValType::Ref(self.convert_ref(reference)),
        }
    }

    /// `ty` with canonical indices. Panics as [`Self::convert_val`] does.
    pub fn convert_ref(&self, ty: wasmparser::RefType) -> RefType {
        RefType { nullable: ty.is_nullable(), heap: self.convert_heap(ty.heap_type()) }
    }

    /// `ty` with canonical indices. Panics as [`Self::convert_val`] does.
    pub fn convert_heap(&self, ty: wasmparser::HeapType) -> HeapType {
        match ty {
            wasmparser::HeapType::Concrete(UnpackedIndex::Module(index)) => self.heap(index),
            wasmparser::HeapType::Concrete(UnpackedIndex::Id(id)) => self.ids[&id],
            wasmparser::HeapType::Abstract { shared: false, ty } => match abstract_heap(ty) {
                Some(heap) => heap,
                None => panic!("heap type {ty:?} is not supported"),
            },
            _ => panic!("heap type {ty:?} is not supported"),
        }
    }

    /// `ty` with canonical indices. Panics as [`Self::convert_val`] does.
    pub fn convert_storage(&self, ty: wasmparser::StorageType) -> StorageType {
        match ty {
            wasmparser::StorageType::I8 => StorageType::I8,
            wasmparser::StorageType::I16 => StorageType::I16,
            wasmparser::StorageType::Val(ty) => StorageType::Val(self.convert_val(ty)),
        }
    }

    /// `ty` with canonical indices. Panics as [`Self::convert_val`] does.
    pub fn convert_field(&self, ty: wasmparser::FieldType) -> FieldType {
        FieldType { storage: self.convert_storage(ty.element_type), mutable: ty.mutable }
    }

    /// `ty` with canonical indices. Panics as [`Self::convert_val`] does.
    pub fn convert_global(&self, ty: wasmparser::GlobalType) -> GlobalType {
        GlobalType { content: self.convert_val(ty.content_type), mutable: ty.mutable }
    }

    /// `ty` with canonical indices. Panics as [`Self::convert_val`] does.
    pub fn convert_table(&self, ty: wasmparser::TableType) -> TableType {
        let element = self.convert_ref(ty.element_type);
        TableType { element, min: ty.initial, max: ty.maximum, is_64: ty.table64 }
    }

    /// `ty` as Gleaner writes it.
    pub fn convert_memory(&self, ty: wasmparser::MemoryType) -> MemoryType {
        let page_size_log2 = ty.page_size_log2() as u8;
        MemoryType { min: ty.initial, max: ty.maximum, is_64: ty.memory64, shared: ty.shared, page_size_log2 }
    }

    /// `ty` with a canonical index.
    ///
    /// # Panics
    /// When the module has no such function type.
    pub fn convert_tag(&self, ty: wasmparser::TagType) -> TagType {
        assert_eq!(self.heap(ty.func_type_idx).hierarchy(), Hierarchy::Func, "a tag has a function type");
        TagType { func: self.get(ty.func_type_idx) }
    }
}
