//! Types that the host defines, and how types compare.

use super::{Engine, RecGroup, Result};
use crate::types::host::Member;
use crate::types::{
    ArrayType, CompositeType, FieldType, FuncType, HeapType, RefType, StorageType, StructType, SubType, TypeIndex,
    ValType,
};

/// Whether a type may be declared as another's supertype.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finality {
    /// It may not.
    Final,
    /// It may.
    NonFinal,
}

impl FieldType {
    /// A field or element that holds `storage` and, if `mutable`, can be written.
    pub fn new(storage: impl Into<StorageType>, mutable: bool) -> FieldType {
        FieldType { storage: storage.into(), mutable }
    }
}

impl StructType {
    /// A struct with these fields.
    pub fn new(fields: impl IntoIterator<Item = FieldType>) -> StructType {
        StructType { fields: fields.into_iter().collect() }
    }
}

impl ArrayType {
    /// An array of such elements.
    pub fn new(element: FieldType) -> ArrayType {
        ArrayType { element }
    }
}

impl SubType {
    /// A type definition that says everything.
    pub fn with_finality_and_supertype(
        finality: Finality,
        supertype: Option<TypeIndex>,
        composite: impl Into<CompositeType>,
    ) -> SubType {
        SubType { is_final: finality == Finality::Final, supertype, composite: composite.into() }
    }
}

macro_rules! composite {
    ($($ty:ident $variant:ident),*) => {$(
        impl From<$ty> for CompositeType {
            fn from(ty: $ty) -> CompositeType {
                CompositeType::$variant(ty)
            }
        }
    )*};
}
composite!(FuncType Func, StructType Struct, ArrayType Array);

impl Engine {
    /// Gives a type its index, by which everything else names it: equal definitions, of the host's or of modules', get the same.
    ///
    /// ```
    /// # fn main() -> engine::Result<()> {
    /// use engine::types::{FieldType, StructType, SubType, ValType};
    /// use engine::{AsContext, Engine, Finality, Module, Store, StructRef, Val};
    /// # let engine = Engine::new(gc_null::COLLECTOR.with(&Default::default()).unwrap())?;
    /// let shape = StructType::new([FieldType::new(ValType::I32, true)]);
    /// let shape = SubType::with_finality_and_supertype(Finality::NonFinal, None, shape);
    /// let shape = engine.define_type(shape)?;
    /// let circle = StructType::new([FieldType::new(ValType::I32, true), FieldType::new(ValType::F64, false)]);
    /// let circle = SubType::with_finality_and_supertype(Finality::Final, Some(shape), circle);
    /// let circle = engine.define_type(circle)?;
    /// assert!(engine.is_subtype(circle, shape) && !engine.is_subtype(shape, circle));
    ///
    /// let mut store = Store::new(&engine, ())?;
    /// let made = StructRef::new(&mut store, circle, &[Val::I32(3), Val::from(0.5)])?;
    /// assert_eq!(made.field(&mut store, 0)?.i32(), Some(3));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Engine::define_group`], which defines types that refer to each other.
    pub fn define_type(&self, ty: SubType) -> Result<TypeIndex> {
        // A group of one in which nothing refers to a member.
        let group = RecGroup::new();
        Ok(self.registry().register_group(group.number(), &[Member { name: None, ty: &ty }])?)
    }

    /// Whether `sub` is `sup`, or declares it as its supertype, directly or not.
    ///
    /// # Panics
    /// When one of them is no type of this engine's.
    pub fn is_subtype(&self, sub: TypeIndex, sup: TypeIndex) -> bool {
        self.registry().is_subtype(sub, sup)
    }
}

impl ValType {
    /// Whether every value of this type is one of `other`. Both are `engine`'s; equal types are `==`.
    ///
    /// ```
    /// # let engine = engine::Engine::new(gc_null::COLLECTOR.with(&Default::default()).unwrap()).unwrap();
    /// use engine::types::{HeapType, RefType, ValType};
    /// let i31 = ValType::Ref(RefType::non_null(HeapType::I31));
    /// assert!(i31.matches(&engine, &ValType::ANYREF) && !ValType::ANYREF.matches(&engine, &i31));
    /// ```
    ///
    /// # Panics
    /// When a type in them is not `engine`'s.
    pub fn matches(&self, engine: &Engine, other: &ValType) -> bool {
        engine.registry().val_matches(self, other)
    }
}

impl RefType {
    /// As [`ValType::matches`].
    ///
    /// # Panics
    /// As [`ValType::matches`].
    pub fn matches(&self, engine: &Engine, other: &RefType) -> bool {
        engine.registry().ref_matches(*self, *other)
    }
}

impl HeapType {
    /// As [`ValType::matches`].
    ///
    /// # Panics
    /// As [`ValType::matches`].
    pub fn matches(&self, engine: &Engine, other: &HeapType) -> bool {
        engine.registry().heap_matches(*self, *other)
    }
}
