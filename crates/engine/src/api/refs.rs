//! References to objects, as the host holds them.

use super::{AsContext, AsContextMut, Engine, Error, Result, Tag, Val};
use crate::runtime::const_expr::Constant;
use crate::runtime::handles::Root;
use crate::runtime::objects::{Loaded, Novelty};
use crate::runtime::store::StoreOpaque;
use crate::types::{ArrayLayout, FieldType, HeapType, Hierarchy, RefType, StorageType, TypeIndex, TypeRegistry};
use gc_api::{EXCEPTION_TAG_OFFSET, EXTERN_ID_OFFSET, GcKind, VMGcRef};
use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// Any internal reference: a struct, an array, an `i31`, or a host value that was made internal.
pub enum AnyRef {}
/// A reference that `ref.eq` compares: a struct, an array or an `i31`.
pub enum EqRef {}
/// An `i31`.
pub enum I31Ref {}
/// A struct.
pub enum StructRef {}
/// An array.
pub enum ArrayRef {}
/// A value of the host's, or an internal reference that was made external.
pub enum ExternRef {}
/// An exception.
pub enum ExnRef {}

/// A reference that the host holds: a root, for as long as there is a clone of it, or until the end of the
/// [`RootScope`](super::RootScope) that it is made in.
///
/// It belongs to one store, but doesn't keep it alive; once the store is gone it is of no use. Dropping the last clone makes the
/// store give the reference up at its next operation.
///
/// # Panics
/// The methods panic when they are given another store than the reference's. After the end of the reference's scope those that
/// give a [`Result`] give an error, and the others panic.
pub struct Rooted<K>(Root, PhantomData<fn() -> K>);

impl<K> Clone for Rooted<K> {
    fn clone(&self) -> Self {
        Rooted(self.0.clone(), PhantomData)
    }
}

impl<K> fmt::Debug for Rooted<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = std::any::type_name::<K>();
        write!(f, "Rooted<{}>({:?})", kind.rsplit("::").next().unwrap_or(kind), self.0)
    }
}

impl<K> Rooted<K> {
    pub(crate) fn new(root: Root) -> Self {
        Rooted(root, PhantomData)
    }

    pub(crate) fn root(&self) -> &Root {
        &self.0
    }

    /// The store that it belongs to.
    pub(crate) fn store(&self) -> u64 {
        self.0.store()
    }

    /// Its slot there.
    pub(crate) fn slot(&self) -> u32 {
        self.0.index()
    }

    /// The reference, borrowed from its slot until the next safepoint.
    pub(crate) fn get(&self, store: &StoreOpaque) -> VMGcRef {
        self.try_get(store).unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`Self::get`]; an error after the end of its scope.
    pub(crate) fn try_get(&self, store: &StoreOpaque) -> Result<VMGcRef> {
        assert_eq!(self.store(), store.id(), "a reference is used with another store than its own");
        check_live(store, &self.0)?;
        Ok(store.rooted(self.slot()))
    }

    /// The same reference, held until the last clone of it is dropped, whatever scope is open or ends.
    ///
    /// # Errors
    /// When its own scope has ended.
    pub fn to_owned_rooted(&self, mut store: impl AsContextMut) -> Result<Rooted<K>> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let owned = store.clone_ref(&self.try_get(store)?);
        Ok(Rooted::new(store.root_owned(owned)))
    }

    fn cast<L>(&self) -> Rooted<L> {
        Rooted(self.0.clone(), PhantomData)
    }

    /// Whether both refer to the same object, or are the same `i31`.
    pub fn ref_eq(&self, store: impl AsContext, other: &Rooted<K>) -> bool {
        let store = store.as_context();
        self.get(store.opaque()) == other.get(store.opaque())
    }

    /// The type of what it refers to: as precise as objects know it.
    pub fn heap_type(&self, store: impl AsContext) -> HeapType
    where
        K: Kind,
    {
        let store = store.as_context();
        dynamic_type(store.opaque(), &self.get(store.opaque()), K::HIERARCHY)
    }
}

/// Refuses a root of the store's whose scope has ended.
pub(crate) fn check_live(store: &StoreOpaque, root: &Root) -> Result<()> {
    match store.is_live(root) {
        true => Ok(()),
        false => Err(Error::usage(
            "a reference is used after the end of the `RootScope` that it was made in; `Rooted::to_owned_rooted` keeps one",
        )),
    }
}

/// What a [`Rooted`] can refer to.
pub trait Kind: sealed::Sealed {
    /// The family of its types.
    #[doc(hidden)]
    const HIERARCHY: Hierarchy;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! kinds {
    ($($kind:ident $hierarchy:ident),*) => {$(
        impl sealed::Sealed for $kind {}
        impl Kind for $kind {
            const HIERARCHY: Hierarchy = Hierarchy::$hierarchy;
        }
    )*};
}
kinds!(AnyRef Any, EqRef Any, I31Ref Any, StructRef Any, ArrayRef Any, ExternRef Extern, ExnRef Exn);

/// The type of what a reference of this family refers to.
pub(crate) fn dynamic_type(store: &StoreOpaque, r: &VMGcRef, hierarchy: Hierarchy) -> HeapType {
    match hierarchy {
        Hierarchy::Extern => return HeapType::Extern,
        Hierarchy::Exn => return HeapType::Exn,
        Hierarchy::Any | Hierarchy::Func => {}
    }
    if r.is_i31() {
        return HeapType::I31;
    }
    let header = store.memory().header(r);
    match header.kind() {
        GcKind::STRUCT => HeapType::ConcreteStruct(header.ty()),
        GcKind::ARRAY => HeapType::ConcreteArray(header.ty()),
        // A host value made internal.
        _ => HeapType::Any,
    }
}

/// Roots a new object, which nothing holds yet.
fn root_new<K>(store: &mut StoreOpaque, object: VMGcRef) -> Rooted<K> {
    let owned = store.clone_ref(&object);
    Rooted::new(store.root(owned))
}

impl ExternRef {
    /// Hands a value over to the program, as an `externref`. It is dropped once the collector finds that nothing refers to it, or
    /// with the store.
    ///
    /// ```
    /// # fn main() -> engine::Result<()> {
    /// # use engine::{Engine, ExternRef, Store};
    /// # let engine = Engine::new(gc_drc::COLLECTOR.with(&Default::default()).unwrap())?;
    /// let mut store = Store::new(&engine, ())?;
    /// let greeting = ExternRef::new(&mut store, String::from("hello"))?;
    /// assert_eq!(greeting.data(&store).unwrap().downcast_ref::<String>().unwrap(), "hello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A trap when the heap is full.
    pub fn new(mut store: impl AsContextMut, value: impl Any + Send + Sync) -> Result<Rooted<ExternRef>> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let object = store.allocate_host(Box::new(value))?;
        Ok(root_new(store, object))
    }
}

impl Rooted<ExternRef> {
    /// The host's value; `None` when this is an internal reference made external.
    pub fn data<'a, C: AsContext>(&self, store: &'a C) -> Option<&'a (dyn Any + Send + Sync)> {
        let store = store.as_context();
        let store = store.opaque();
        let id = host_id(store, &self.get(store))?;
        store.hosts().get(id)
    }

    /// The host's value, to be changed.
    pub fn data_mut<'a, C: AsContextMut>(&self, store: &'a mut C) -> Option<&'a mut (dyn Any + Send + Sync)> {
        let store: &'a mut StoreOpaque = &mut store.as_context_mut().0.opaque;
        let id = host_id(store, &self.get(store))?;
        store.hosts_mut().get_mut(id)
    }

    /// The same reference made internal: `any.convert_extern`.
    pub fn to_any(&self) -> Rooted<AnyRef> {
        self.cast()
    }
}

fn host_id(store: &StoreOpaque, r: &VMGcRef) -> Option<u32> {
    let is_host = !r.is_i31() && store.memory().header(r).kind() == GcKind::EXTERN;
    is_host.then(|| store.memory().load_u32(r.raw(), EXTERN_ID_OFFSET))
}

impl AnyRef {
    /// An `i31`; the top bit of `value` is dropped.
    pub fn from_i31(mut store: impl AsContextMut, value: u32) -> Rooted<AnyRef> {
        let mut store = store.as_context_mut();
        Rooted::new(store.opaque().root(VMGcRef::from_i31(value)))
    }
}

impl Rooted<AnyRef> {
    /// The `i31`'s 31 bits, zero-extended, if it is one.
    pub fn i31(&self, store: impl AsContext) -> Option<u32> {
        self.get(store.as_context().opaque()).i31()
    }

    /// The struct, if it is one.
    pub fn as_struct(&self, store: impl AsContext) -> Option<Rooted<StructRef>> {
        self.is_kind(store, GcKind::STRUCT).then(|| self.cast())
    }

    /// The array, if it is one.
    pub fn as_array(&self, store: impl AsContext) -> Option<Rooted<ArrayRef>> {
        self.is_kind(store, GcKind::ARRAY).then(|| self.cast())
    }

    /// The reference as one that `ref.eq` compares, if it is one: a host value made internal is not.
    pub fn as_eq(&self, store: impl AsContext) -> Option<Rooted<EqRef>> {
        self.is(store, HeapType::Eq).then(|| self.cast())
    }

    /// The `i31`, if it is one.
    pub fn as_i31(&self, store: impl AsContext) -> Option<Rooted<I31Ref>> {
        self.is(store, HeapType::I31).then(|| self.cast())
    }

    fn is_kind(&self, store: impl AsContext, kind: GcKind) -> bool {
        let store = store.as_context();
        let r = self.get(store.opaque());
        !r.is_i31() && store.opaque().memory().header(&r).kind() == kind
    }

    /// Whether it is a value of this type.
    pub fn is(&self, store: impl AsContext, ty: HeapType) -> bool {
        let store = store.as_context();
        store.opaque().registry().heap_matches(self.heap_type(&store), ty)
    }

    /// The same reference made external: `extern.convert_any`.
    pub fn to_extern(&self) -> Rooted<ExternRef> {
        self.cast()
    }
}

macro_rules! upcasts {
    ($($from:ident $to:ident),*) => {$(
        impl From<Rooted<$from>> for Rooted<$to> {
            fn from(r: Rooted<$from>) -> Self {
                r.cast()
            }
        }
    )*};
}
upcasts!(StructRef AnyRef, ArrayRef AnyRef, I31Ref AnyRef, EqRef AnyRef, StructRef EqRef, ArrayRef EqRef, I31Ref EqRef);

impl I31Ref {
    /// An `i31` of an unsigned number.
    ///
    /// ```
    /// # fn main() -> engine::Result<()> {
    /// # let engine = engine::Engine::new(gc_null::COLLECTOR.with(&Default::default()).unwrap())?;
    /// # let mut store = engine::Store::new(&engine, ())?;
    /// use engine::I31Ref;
    /// assert_eq!(I31Ref::from_u32(&mut store, 5)?.u32(&store), 5);
    /// assert_eq!(I31Ref::from_i32(&mut store, -5)?.i32(&store), -5);
    /// assert!(I31Ref::from_u32(&mut store, 1 << 31).is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the number does not fit into 31 bits.
    pub fn from_u32(store: impl AsContextMut, value: u32) -> Result<Rooted<I31Ref>> {
        if value >> 31 != 0 {
            return Err(Error::usage(format!("{value} does not fit into the 31 bits of an i31")));
        }
        Ok(AnyRef::from_i31(store, value).cast())
    }

    /// An `i31` of a signed number.
    ///
    /// # Errors
    /// When the number does not fit into 31 bits.
    pub fn from_i32(store: impl AsContextMut, value: i32) -> Result<Rooted<I31Ref>> {
        if !(-(1 << 30)..1 << 30).contains(&value) {
            return Err(Error::usage(format!("{value} does not fit into the 31 bits of an i31")));
        }
        Ok(AnyRef::from_i31(store, value as u32).cast())
    }
}

impl Rooted<I31Ref> {
    /// The number, zero-extended.
    pub fn u32(&self, store: impl AsContext) -> u32 {
        self.get(store.as_context().opaque()).i31().expect("an `i31` is one as long as it lives")
    }

    /// The number, sign-extended.
    pub fn i32(&self, store: impl AsContext) -> i32 {
        (self.u32(store) << 1) as i32 >> 1
    }
}

impl Rooted<EqRef> {
    /// The same reference with a type that says less, and from which there are ways to all others.
    pub fn to_any(&self) -> Rooted<AnyRef> {
        self.cast()
    }
}

/// Stores values into the slots of a new object. They have been checked, and the handles behind them root what they refer to.
fn write_slots(
    store: &mut StoreOpaque,
    object: &VMGcRef,
    slots: impl Iterator<Item = (u32, StorageType)>,
    values: &[Val],
) {
    for ((offset, storage), value) in slots.zip(values) {
        let raw = value.borrow_raw(store);
        store.write_slot(object, offset, storage, raw);
    }
}

/// Reads a field or an element.
fn read_val(store: &mut StoreOpaque, object: &VMGcRef, offset: u32, storage: StorageType) -> Val {
    let loaded = match store.read_slot(object, offset, storage) {
        Loaded::Bits(bits) => Constant::Bits(bits),
        Loaded::Ref(r) => Constant::Ref(r.map(|r| store.root_slot(r))),
    };
    Val::from_constant(store, loaded, &storage.unpack())
}

/// Replaces a field or an element.
fn write_val(store: &mut StoreOpaque, object: &VMGcRef, offset: u32, field: FieldType, value: &Val) -> Result<()> {
    if !field.mutable {
        return Err(Error::usage("the field is immutable"));
    }
    value.check(store, &field.storage.unpack())?;
    let raw = value.borrow_raw(store);
    store.write_slot(object, offset, field.storage, raw);
    Ok(())
}

impl StructRef {
    /// A new struct of a type that the engine's [`registry`](super::Engine::registry) knows, with a value for each field.
    ///
    /// # Errors
    /// When the values do not have the fields' types, and a trap when the heap is full.
    ///
    /// # Panics
    /// When `ty` is no struct type.
    pub fn new(mut store: impl AsContextMut, ty: TypeIndex, values: &[Val]) -> Result<Rooted<StructRef>> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let registry = store.registry().clone();
        let fields = &registry.struct_type(ty).fields;
        check_all(store, "fields", fields.iter().map(|field| field.storage.unpack()), values)?;
        let object = store.alloc_struct(ty)?;
        let places = registry.struct_layout(ty).fields.iter().map(|place| place.offset);
        write_slots(store, &object, places.zip(fields.iter().map(|field| field.storage)), values);
        Ok(root_new(store, object))
    }
}

/// A struct type of an engine's, looked up once for many allocations.
///
/// ```
/// # fn main() -> engine::Result<()> {
/// # let engine = engine::Engine::new(gc_drc::COLLECTOR.with(&Default::default()).unwrap())?;
/// use engine::types::{FieldType, StructType, SubType, ValType};
/// use engine::{Store, StructRefPre, Val};
/// let point = StructType::new([FieldType::new(ValType::I32, false), FieldType::new(ValType::I32, false)]);
/// let point = StructRefPre::new(&engine, engine.define_type(SubType::plain(point.into()))?)?;
/// let mut store = Store::new(&engine, ())?;
/// let points = (0..10).map(|i| point.alloc(&mut store, &[Val::I32(i), Val::I32(i * i)]));
/// let points = points.collect::<engine::Result<Vec<_>>>()?;
/// assert_eq!(points[3].field(&mut store, 1)?.i32(), Some(9));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct StructRefPre {
    engine: Engine,
    ty: TypeIndex,
    size: u32,
    /// Byte offset and type of each field.
    fields: Arc<[(u32, StorageType)]>,
}

impl StructRefPre {
    /// Prepares allocations of structs of type `ty`.
    ///
    /// # Errors
    /// When the engine has no struct type `ty`.
    pub fn new(engine: &Engine, ty: TypeIndex) -> Result<StructRefPre> {
        let registry = engine.registry();
        if !matches!(registry.try_heap_type(ty), Some(HeapType::ConcreteStruct(_))) {
            return Err(Error::usage(format!("${ty} is no struct type of this engine's")));
        }
        let layout = registry.struct_layout(ty);
        let fields = registry.struct_type(ty).fields.iter().zip(&layout.fields);
        let fields = fields.map(|(field, place)| (place.offset, field.storage)).collect();
        Ok(StructRefPre { engine: engine.clone(), ty, size: layout.size, fields })
    }

    /// The type.
    pub fn ty(&self) -> TypeIndex {
        self.ty
    }

    /// A new struct with a value for each field.
    ///
    /// # Errors
    /// When the store is another engine's, when the values do not have the fields' types, and a trap when the heap is full.
    pub fn alloc(&self, mut store: impl AsContextMut, values: &[Val]) -> Result<Rooted<StructRef>> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        if !self.engine.same(store.engine()) {
            return Err(Error::usage("a struct type is used with a store of another engine than its own"));
        }
        check_all(store, "fields", self.fields.iter().map(|(_, storage)| storage.unpack()), values)?;
        let object = store.alloc_fixed(GcKind::STRUCT, self.ty, self.size)?;
        write_slots(store, &object, self.fields.iter().copied(), values);
        Ok(root_new(store, object))
    }
}

impl Rooted<StructRef> {
    /// The struct's type.
    pub fn ty(&self, store: impl AsContext) -> TypeIndex {
        let store = store.as_context();
        store.opaque().memory().header(&self.get(store.opaque())).ty()
    }

    /// The field `index`, packed ones zero-extended.
    ///
    /// # Errors
    /// When there is no such field.
    pub fn field(&self, mut store: impl AsContextMut, index: usize) -> Result<Val> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let object = self.try_get(store)?;
        let (offset, field) = field_of(store, &object, index)?;
        Ok(read_val(store, &object, offset, field.storage))
    }

    /// Replaces the field `index`.
    ///
    /// # Errors
    /// When there is no such field, it is immutable, or `value` does not have its type.
    pub fn set_field(&self, mut store: impl AsContextMut, index: usize, value: &Val) -> Result<()> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let object = self.try_get(store)?;
        let (offset, field) = field_of(store, &object, index)?;
        write_val(store, &object, offset, field, value)
    }

    /// The same reference with a type that says less.
    pub fn to_any(&self) -> Rooted<AnyRef> {
        self.cast()
    }
}

fn field_of(store: &StoreOpaque, object: &VMGcRef, index: usize) -> Result<(u32, FieldType)> {
    let (registry, ty) = (store.registry(), store.memory().header(object).ty());
    let fields = &registry.struct_type(ty).fields;
    match fields.get(index) {
        Some(field) => Ok((registry.struct_layout(ty).fields[index].offset, *field)),
        None => Err(Error::usage(format!("there is no field {index}: the struct has {}", fields.len()))),
    }
}

/// Checks the number and the types of values.
pub(crate) fn check_all(
    store: &StoreOpaque,
    what: &str,
    types: impl ExactSizeIterator<Item = crate::types::ValType>,
    values: &[Val],
) -> Result<()> {
    if types.len() != values.len() {
        return Err(Error::usage(format!("{} values were given for {} {what}", values.len(), types.len())));
    }
    types.zip(values).try_for_each(|(ty, value)| value.check(store, &ty))
}

impl ArrayRef {
    /// A new array of a type that the engine's [`registry`](super::Engine::registry) knows, all of whose elements are `value`.
    ///
    /// # Errors
    /// When `value` does not have the elements' type, and a trap when the heap is full.
    ///
    /// # Panics
    /// When `ty` is no array type.
    pub fn new(mut store: impl AsContextMut, ty: TypeIndex, value: &Val, length: u32) -> Result<Rooted<ArrayRef>> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        ArrayPlan::of(store.registry(), ty).filled(store, value, length)
    }

    /// A new array of these elements.
    ///
    /// # Errors
    /// When the values do not have the elements' type, and a trap when the heap is full.
    ///
    /// # Panics
    /// When `ty` is no array type.
    pub fn from_elements(mut store: impl AsContextMut, ty: TypeIndex, values: &[Val]) -> Result<Rooted<ArrayRef>> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        ArrayPlan::of(store.registry(), ty).listed(store, values)
    }
}

/// What an allocation of an array needs to know of its type.
#[derive(Clone, Copy, Debug)]
struct ArrayPlan {
    ty: TypeIndex,
    layout: ArrayLayout,
    storage: StorageType,
}

impl ArrayPlan {
    /// # Panics
    /// When `ty` is no array type.
    fn of(registry: &TypeRegistry, ty: TypeIndex) -> ArrayPlan {
        ArrayPlan { ty, layout: registry.array_layout(ty), storage: registry.array_type(ty).element.storage }
    }

    fn filled(self, store: &mut StoreOpaque, value: &Val, length: u32) -> Result<Rooted<ArrayRef>> {
        value.check(store, &self.storage.unpack())?;
        let array = store.alloc_array_of(self.ty, self.layout, length)?;
        let mut raw = value.borrow_raw(store);
        if let Val::FuncRef(func) = value {
            raw = func.map_or(0, |func| func.id() as u128);
        }
        store.fill_array(&array, self.ty, 0, length, raw, Novelty::New);
        Ok(root_new(store, array))
    }

    fn listed(self, store: &mut StoreOpaque, values: &[Val]) -> Result<Rooted<ArrayRef>> {
        check_all(store, "elements", values.iter().map(|_| self.storage.unpack()), values)?;
        let length = u32::try_from(values.len()).map_err(|_| Error::from(super::Trap::AllocationTooLarge))?;
        let array = store.alloc_array_of(self.ty, self.layout, length)?;
        store.zero_array(&array, self.ty);
        let places = (0..length).map(|i| (self.layout.base + (i << self.layout.element_log2), self.storage));
        write_slots(store, &array, places, values);
        Ok(root_new(store, array))
    }
}

/// An array type of an engine's, looked up once for many allocations.
///
/// ```
/// # fn main() -> engine::Result<()> {
/// # let engine = engine::Engine::new(gc_drc::COLLECTOR.with(&Default::default()).unwrap())?;
/// use engine::types::{ArrayType, FieldType, StorageType, SubType};
/// use engine::{ArrayRefPre, Store, Val};
/// let bytes = SubType::plain(ArrayType::new(FieldType::new(StorageType::I8, true)).into());
/// let bytes = ArrayRefPre::new(&engine, engine.define_type(bytes)?)?;
/// let mut store = Store::new(&engine, ())?;
/// let sevens = bytes.alloc(&mut store, &Val::I32(7), 3)?;
/// let abc = bytes.alloc_elements(&mut store, &[1, 2, 3].map(Val::I32))?;
/// assert_eq!((sevens.bytes(&store)?, abc.bytes(&store)?), (vec![7, 7, 7], vec![1, 2, 3]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ArrayRefPre {
    engine: Engine,
    plan: ArrayPlan,
}

impl ArrayRefPre {
    /// Prepares allocations of arrays of type `ty`.
    ///
    /// # Errors
    /// When the engine has no array type `ty`.
    pub fn new(engine: &Engine, ty: TypeIndex) -> Result<ArrayRefPre> {
        if !matches!(engine.registry().try_heap_type(ty), Some(HeapType::ConcreteArray(_))) {
            return Err(Error::usage(format!("${ty} is no array type of this engine's")));
        }
        Ok(ArrayRefPre { engine: engine.clone(), plan: ArrayPlan::of(engine.registry(), ty) })
    }

    /// The type.
    pub fn ty(&self) -> TypeIndex {
        self.plan.ty
    }

    /// A new array of `length` elements that are all `value`.
    ///
    /// # Errors
    /// When the store is another engine's, when `value` does not have the elements' type, and a trap when the heap is full.
    pub fn alloc(&self, mut store: impl AsContextMut, value: &Val, length: u32) -> Result<Rooted<ArrayRef>> {
        let mut store = store.as_context_mut();
        self.plan.filled(self.own(store.opaque())?, value, length)
    }

    /// A new array of these elements.
    ///
    /// # Errors
    /// When the store is another engine's, when the values do not have the elements' type, and a trap when the heap is full.
    pub fn alloc_elements(&self, mut store: impl AsContextMut, values: &[Val]) -> Result<Rooted<ArrayRef>> {
        let mut store = store.as_context_mut();
        self.plan.listed(self.own(store.opaque())?, values)
    }

    fn own<'s>(&self, store: &'s mut StoreOpaque) -> Result<&'s mut StoreOpaque> {
        if self.engine.same(store.engine()) {
            return Ok(store);
        }
        Err(Error::usage("an array type is used with a store of another engine than its own"))
    }
}

impl Rooted<ArrayRef> {
    /// The array's type.
    pub fn ty(&self, store: impl AsContext) -> TypeIndex {
        let store = store.as_context();
        store.opaque().memory().header(&self.get(store.opaque())).ty()
    }

    /// Number of elements.
    pub fn len(&self, store: impl AsContext) -> u32 {
        let store = store.as_context();
        store.opaque().memory().array_length(&self.get(store.opaque()))
    }

    /// The element `index`, packed ones zero-extended.
    ///
    /// # Errors
    /// A trap when there is no such element.
    pub fn get_element(&self, mut store: impl AsContextMut, index: u32) -> Result<Val> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let array = self.try_get(store)?;
        let (offset, element) = element_of(store, &array, index)?;
        Ok(read_val(store, &array, offset, element.storage))
    }

    /// Replaces the element `index`.
    ///
    /// # Errors
    /// A trap when there is no such element; or elements are immutable, or `value` does not have their type.
    pub fn set_element(&self, mut store: impl AsContextMut, index: u32, value: &Val) -> Result<()> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let array = self.try_get(store)?;
        let (offset, element) = element_of(store, &array, index)?;
        write_val(store, &array, offset, element, value)
    }

    /// Copies the elements of an array of bytes (`i8`) out.
    ///
    /// # Errors
    /// When its elements are something else.
    pub fn bytes(&self, store: impl AsContext) -> Result<Vec<u8>> {
        let store = store.as_context();
        let store = store.opaque();
        let array = self.try_get(store)?;
        let layout = store.registry().array_layout(store.memory().header(&array).ty());
        if layout.element_log2 != 0 {
            return Err(Error::usage("the array's elements are not bytes"));
        }
        let mut bytes = vec![0; store.memory().array_length(&array) as usize];
        store.memory().read_bytes(array.raw(), layout.base, &mut bytes);
        Ok(bytes)
    }

    /// The same reference with a type that says less.
    pub fn to_any(&self) -> Rooted<AnyRef> {
        self.cast()
    }
}

fn element_of(store: &StoreOpaque, array: &VMGcRef, index: u32) -> Result<(u32, FieldType)> {
    if index >= store.memory().array_length(array) {
        return Err(super::Trap::ArrayOutOfBounds.into());
    }
    let ty = store.memory().header(array).ty();
    let layout = store.registry().array_layout(ty);
    Ok((layout.base + (index << layout.element_log2), store.registry().array_type(ty).element))
}

impl ExnRef {
    /// A new exception; [`Error::exception`] throws it.
    ///
    /// # Errors
    /// When the values do not have the tag's types, and a trap when the heap is full.
    pub fn new(mut store: impl AsContextMut, tag: Tag, values: &[Val]) -> Result<Rooted<ExnRef>> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let registry = store.registry().clone();
        let info = store.tags[tag.id(store) as usize];
        let types = &registry.func(info.func).params;
        check_all(store, "values of an exception", types.iter().copied(), values)?;
        let object = store.alloc_exception(tag.id(store))?;
        let places = registry.exception_layout(info.exception).fields.iter().map(|place| place.offset);
        write_slots(store, &object, places.zip(types.iter().map(|ty| StorageType::Val(*ty))), values);
        Ok(root_new(store, object))
    }
}

impl Rooted<ExnRef> {
    /// The exception's tag.
    pub fn tag(&self, store: impl AsContext) -> Tag {
        let store = store.as_context();
        let store = store.opaque();
        let exception = self.get(store);
        Tag::from_id(store.id(), store.memory().load_u32(exception.raw(), EXCEPTION_TAG_OFFSET))
    }

    /// The values that it carries.
    pub fn values(&self, mut store: impl AsContextMut) -> Vec<Val> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let registry = store.registry().clone();
        let ty = store.memory().header(&self.get(store)).ty();
        let types = &registry.func(registry.exception_func(ty)).params;
        let places = &registry.exception_layout(ty).fields;
        let one = |(ty, place): (&crate::types::ValType, &crate::types::FieldLayout)| {
            let exception = self.get(store);
            read_val(store, &exception, place.offset, StorageType::Val(*ty))
        };
        types.iter().zip(places).map(one).collect()
    }
}

/// Whether `r` of family `hierarchy` is a value of the type `ty`.
pub(crate) fn ref_matches(store: &StoreOpaque, r: &VMGcRef, hierarchy: Hierarchy, ty: RefType) -> bool {
    store.registry().heap_matches(dynamic_type(store, r, hierarchy), ty.heap)
}
