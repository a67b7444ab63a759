//! The engine's table of types, subtyping, and the displays that compiled code reads.
//!
//! A type's display (Cohen 1991) is the path of declared supertypes from its root down to itself, so subtyping is one
//! load and one comparison: `sub <: sup` iff `display(sub)[depth(sup)] == sup`. Displays have a fixed size and a fixed
//! place, which makes the load's address `displays + sub * 256 + depth(sup) * 4`, the last part a constant.
//!
//! Registration takes a lock. Reading does not: types are published in once-written cells, and an index reaches a thread
//! only after its type was published, through the lock or through whatever handed the index over.

use super::group::{self, Encoder, Kind};
use super::host::{Part, mismatch};
use super::layout::{ArrayLayout, StructLayout};
use super::module::ModuleTypes;
use super::value::{
    ArrayType, CompositeType, FieldType, FuncType, HeapType, RefType, StorageType, StructType, SubType, ValType,
};
use gc_api::sys::{Protection, Reservation};
use gc_api::{Declared, EXTERN_TYPE, Family, MAX_TYPES, Shape, Shapes, Target, TypeIndex};
use rustc_hash::FxHashMap;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use thiserror::Error;
use wasmparser::UnpackedIndex;
use wasmparser::types::{CoreTypeId, TypesRef};

/// The largest depth of a type: a root has 0.
pub const MAX_SUBTYPE_DEPTH: u32 = 63;
const DISPLAY_ENTRIES: usize = MAX_SUBTYPE_DEPTH as usize + 1;
/// Bytes of a display: `[u32; 64]`.
pub const DISPLAY_BYTES: usize = DISPLAY_ENTRIES * size_of::<u32>();
const CHUNK: usize = 1024;

/// Why a type was refused.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum TypeError {
    /// The engine is full.
    #[error(
        "too many types: an engine holds {MAX_TYPES} distinct ones for as long as it lives; \
         use another engine for unrelated modules"
    )]
    TooManyTypes,
    /// The chain of supertypes is too long.
    #[error("the supertypes of a type are nested too deeply: at most {MAX_SUBTYPE_DEPTH} are supported")]
    TooDeep,
    /// A struct has too many fields.
    #[error("a struct type has {count} fields; at most 10000 are supported")]
    TooManyFields {
        /// Fields.
        count: usize,
    },
    /// A function has too many parameters or results.
    #[error("a function type has {count} parameters or results; at most 1000 are supported")]
    TooManyParams {
        /// Parameters or results, whichever are more.
        count: usize,
    },
    /// The type is not one of WebAssembly 3.0's.
    #[error("{what} are not supported")]
    Unsupported {
        /// In the plural.
        what: &'static str,
    },
    /// The type section is not valid.
    #[error("invalid type: {what}")]
    Invalid {
        /// What is wrong.
        what: &'static str,
    },
    /// A host's type does not match the supertype that it declares.
    #[error("{ty} is no subtype of {supertype}, which it declares as its supertype")]
    NoSubtype {
        /// The type.
        ty: String,
        /// What it should be a subtype of.
        supertype: String,
    },
    /// A member of a host's recursion group is wrong.
    #[error("{member}{part}: {why}")]
    Member {
        /// The member.
        member: String,
        /// What of it.
        part: Part,
        /// What is wrong with that.
        why: String,
    },
}

/// All types of an engine, by canonical index. Types live as long as the registry; none is ever removed.
///
/// # Panics
/// Every method that takes a [`TypeIndex`] panics when this registry did not make it.
#[derive(Debug)]
pub struct TypeRegistry {
    shapes: Arc<Shapes>,
    displays: Reservation,
    chunks: Box<[OnceLock<Chunk>]>,
    interner: Mutex<Interner>,
}

type Chunk = Box<[OnceLock<Entry>]>;

#[derive(Debug)]
struct Interner {
    /// The first type of every recursion group, by the group's words.
    groups: FxHashMap<Box<[u32]>, TypeIndex>,
    /// Exception types by function type.
    exceptions: FxHashMap<TypeIndex, TypeIndex>,
    next: TypeIndex,
}

#[derive(Debug)]
struct Entry {
    depth: u32,
    definition: Definition,
}

#[derive(Debug)]
enum Definition {
    Sub { ty: SubType, layout: Layout },
    Exception { func: TypeIndex, layout: StructLayout },
}

#[derive(Debug)]
enum Layout {
    None,
    Struct(StructLayout),
    Array(ArrayLayout),
}

impl TypeRegistry {
    /// An empty registry. Reserves 256 MiB of address space for the displays.
    ///
    /// # Errors
    /// The system's, when there is no address space left.
    pub fn new() -> io::Result<Self> {
        let displays = Reservation::new(MAX_TYPES * DISPLAY_BYTES)?;
        displays.protect(0, displays.len(), Protection::ReadWrite)?;
        let interner =
            Interner { groups: FxHashMap::default(), exceptions: FxHashMap::default(), next: EXTERN_TYPE + 1 };
        Ok(TypeRegistry {
            shapes: Arc::new(Shapes::default()),
            displays,
            chunks: (0..MAX_TYPES / CHUNK).map(|_| OnceLock::new()).collect(),
            interner: Mutex::new(interner),
        })
    }

    /// The shapes of all registered structs, arrays and exceptions.
    pub fn shapes(&self) -> &Arc<Shapes> {
        &self.shapes
    }

    /// Registers the types of a validated module, or of one whose type section has been validated.
    ///
    /// # Errors
    /// When the engine holds too many types, or the module uses types beyond WebAssembly 3.0. Groups that were registered
    /// before the one at fault stay.
    pub fn register_module(&self, types: TypesRef<'_>) -> Result<ModuleTypes, TypeError> {
        let mut interner = self.lock();
        let (mut words, mut canonical, mut heaps) = (Vec::new(), Vec::new(), Vec::new());
        // The validator has merged equal groups of one module: ordinals number the distinct types.
        let mut ordinals: FxHashMap<CoreTypeId, u32> = FxHashMap::default();
        for index in 0..types.core_type_count_in_module() {
            let id = types.core_type_at_in_module(index);
            if !ordinals.contains_key(&id) {
                let group: Vec<CoreTypeId> = types.rec_group_elements(types.rec_group_id_of(id)).collect();
                ordinals.extend(group.iter().copied().zip(canonical.len() as u32..));
                let ordinal = |index| match index {
                    UnpackedIndex::Id(id) => ordinals.get(&id).copied(),
                    UnpackedIndex::Module(index) if index < types.core_type_count_in_module() => {
                        ordinals.get(&types.core_type_at_in_module(index)).copied()
                    }
                    _ => None,
                };
                let len = group.len() as u32;
                words.clear();
                let mut encoder = Encoder { words: &mut words, ordinal, canonical: &canonical, len };
                for id in group {
                    encoder.sub_type(types.get(id).expect("a group's types exist"))?;
                }
                let first = self.intern(&mut interner, &words, len)?;
                canonical.extend(first..first + len);
            }
            heaps.push(self.heap_type(canonical[ordinals[&id] as usize]));
        }
        let ids = ordinals.into_iter().map(|(id, ordinal)| (id, self.heap_type(canonical[ordinal as usize]))).collect();
        Ok(ModuleTypes::new(heaps, ids))
    }

    /// Registers the recursion groups of a type section, in order, as the parser yields them.
    ///
    /// # Errors
    /// As [`Self::register_module`]'s. The section must be valid; not everything that is wrong with one is noticed.
    pub fn register_rec_groups(
        &self,
        groups: impl IntoIterator<Item = wasmparser::RecGroup>,
    ) -> Result<ModuleTypes, TypeError> {
        let mut interner = self.lock();
        let (mut words, mut canonical) = (Vec::new(), Vec::new());
        for group in groups {
            let (start, len) = (canonical.len() as u32, group.types().len() as u32);
            let ordinal = |index| match index {
                UnpackedIndex::Module(index) => Some(index),
                UnpackedIndex::RecGroup(position) => start.checked_add(position),
                UnpackedIndex::Id(_) => None,
            };
            words.clear();
            let mut encoder = Encoder { words: &mut words, ordinal, canonical: &canonical, len };
            group.types().try_for_each(|ty| encoder.sub_type(ty))?;
            let first = self.intern(&mut interner, &words, len)?;
            canonical.extend(first..first + len);
        }
        let heaps = canonical.iter().map(|ty| self.heap_type(*ty)).collect();
        Ok(ModuleTypes::new(heaps, FxHashMap::default()))
    }

    /// Registers a function type as a plain `(type (func …))` would.
    ///
    /// # Errors
    /// When the engine holds too many types, or there are more than 1000 parameters or results.
    pub fn register_func(&self, ty: FuncType) -> Result<TypeIndex, TypeError> {
        self.register(SubType::plain(CompositeType::Func(ty)))
    }

    /// Registers a struct type as a plain `(type (struct …))` would.
    ///
    /// # Errors
    /// When the engine holds too many types, or there are more than 10000 fields.
    pub fn register_struct(&self, ty: StructType) -> Result<TypeIndex, TypeError> {
        self.register(SubType::plain(CompositeType::Struct(ty)))
    }

    /// Registers an array type as a plain `(type (array …))` would.
    ///
    /// # Errors
    /// When the engine holds too many types.
    pub fn register_array(&self, ty: ArrayType) -> Result<TypeIndex, TypeError> {
        self.register(SubType::plain(CompositeType::Array(ty)))
    }

    /// Registers a type in a recursion group of its own. It must refer to types of this registry only.
    ///
    /// # Errors
    /// Those of the methods above, and when the declared supertype is final, too deep, or not matched.
    pub fn register(&self, ty: SubType) -> Result<TypeIndex, TypeError> {
        self.check_targets(&ty);
        if let Some(supertype) = ty.supertype {
            let supertype = self.get(supertype);
            let matches = |a: &ValType, b: &ValType| self.val_matches(a, b);
            if supertype.is_final || mismatch(&ty.composite, &supertype.composite, &matches).is_some() {
                return Err(TypeError::NoSubtype { ty: ty.to_string(), supertype: supertype.to_string() });
            }
        }
        let mut words = Vec::new();
        group::encode(&mut words, &ty, |index| index)?;
        self.register_words(&words, 1)
    }

    /// Registers the group `words` of `len` types, which is valid: the index of its first type.
    pub(super) fn register_words(&self, words: &[u32], len: u32) -> Result<TypeIndex, TypeError> {
        self.intern(&mut self.lock(), words, len)
    }

    /// The type of exceptions that carry values of the parameter types of the function type `func`. Equal for equal
    /// `func`; not a type that a program can name.
    ///
    /// # Errors
    /// When the engine holds too many types.
    pub fn exception_type(&self, func: TypeIndex) -> Result<TypeIndex, TypeError> {
        let (layout, shape) = StructLayout::of_exception(&self.func(func).params);
        let mut interner = self.lock();
        if let Some(ty) = interner.exceptions.get(&func) {
            return Ok(*ty);
        }
        let ty = interner.next;
        if ty as usize >= MAX_TYPES {
            return Err(TypeError::TooManyTypes);
        }
        interner.next += 1;
        interner.exceptions.insert(func, ty);
        self.publish(ty, None, 0, Definition::Exception { func, layout }, Some(shape));
        Ok(ty)
    }

    /// The definition of `ty`. It stays where it is as long as the registry lives.
    #[inline]
    pub fn get(&self, ty: TypeIndex) -> &SubType {
        match &self.entry(ty).definition {
            Definition::Sub { ty, .. } => ty,
            Definition::Exception { .. } => panic!("type {ty} is an exception's, which has no definition"),
        }
    }

    /// `ty` as a function type.
    ///
    /// # Panics
    /// When it is none.
    #[inline]
    pub fn func(&self, ty: TypeIndex) -> &FuncType {
        match &self.get(ty).composite {
            CompositeType::Func(ty) => ty,
            other => panic!("type {ty} is no function type: {other}"),
        }
    }

    /// `ty` as a struct type.
    ///
    /// # Panics
    /// When it is none.
    #[inline]
    pub fn struct_type(&self, ty: TypeIndex) -> &StructType {
        match &self.get(ty).composite {
            CompositeType::Struct(ty) => ty,
            other => panic!("type {ty} is no struct type: {other}"),
        }
    }

    /// `ty` as an array type.
    ///
    /// # Panics
    /// When it is none.
    #[inline]
    pub fn array_type(&self, ty: TypeIndex) -> &ArrayType {
        match &self.get(ty).composite {
            CompositeType::Array(ty) => ty,
            other => panic!("type {ty} is no array type: {other}"),
        }
    }

    /// `ty` as a heap type. An exception's type is [`HeapType::Exn`].
    pub fn heap_type(&self, ty: TypeIndex) -> HeapType {
        match &self.entry(ty).definition {
            Definition::Sub { ty: definition, .. } => Kind::of(&definition.composite).heap(ty),
            Definition::Exception { .. } => HeapType::Exn,
        }
    }

    /// `ty` as a heap type; `None` when this registry did not make it.
    pub fn try_heap_type(&self, ty: TypeIndex) -> Option<HeapType> {
        let chunk = self.chunks.get(ty as usize / CHUNK)?.get()?;
        chunk[ty as usize % CHUNK].get().map(|_| self.heap_type(ty))
    }

    /// Where the fields of the struct type `ty` stand.
    ///
    /// # Panics
    /// When it is no struct type.
    #[inline]
    pub fn struct_layout(&self, ty: TypeIndex) -> &StructLayout {
        match &self.entry(ty).definition {
            Definition::Sub { layout: Layout::Struct(layout), .. } => layout,
            _ => panic!("type {ty} is no struct type"),
        }
    }

    /// Where the elements of the array type `ty` stand.
    ///
    /// # Panics
    /// When it is no array type.
    #[inline]
    pub fn array_layout(&self, ty: TypeIndex) -> ArrayLayout {
        match &self.entry(ty).definition {
            Definition::Sub { layout: Layout::Array(layout), .. } => *layout,
            _ => panic!("type {ty} is no array type"),
        }
    }

    /// Where the values stand in exceptions of type `exception`, which [`Self::exception_type`] made.
    ///
    /// # Panics
    /// When it is no exception's type.
    #[inline]
    pub fn exception_layout(&self, exception: TypeIndex) -> &StructLayout {
        match &self.entry(exception).definition {
            Definition::Exception { layout, .. } => layout,
            Definition::Sub { .. } => panic!("type {exception} is no exception's type"),
        }
    }

    /// The function type of which `exception` carries the parameters.
    ///
    /// # Panics
    /// When it is no exception's type.
    pub fn exception_func(&self, exception: TypeIndex) -> TypeIndex {
        match &self.entry(exception).definition {
            Definition::Exception { func, .. } => *func,
            Definition::Sub { .. } => panic!("type {exception} is no exception's type"),
        }
    }

    /// The first byte of the table of displays, [`DISPLAY_BYTES`] a type: entry `d` of a type's display is its ancestor at
    /// depth `d`, root first and itself last, 0 past that. The display of [`EXTERN_TYPE`] is all zero. The table never
    /// moves and lives as long as the registry; a display never changes once its type's index is known.
    pub fn displays(&self) -> *const u8 {
        self.displays.base()
    }

    /// Declared supertypes above `ty`, up to the root: at most [`MAX_SUBTYPE_DEPTH`].
    #[inline]
    pub fn depth(&self, ty: TypeIndex) -> u32 {
        self.entry(ty).depth
    }

    /// Whether `sub` is `sup` or declares it, directly or not, as its supertype. Takes constant time and no lock.
    #[inline]
    pub fn is_subtype(&self, sub: TypeIndex, sup: TypeIndex) -> bool {
        sub == sup || self.display(sub)[self.depth(sup) as usize].load(Ordering::Relaxed) == sup
    }

    /// Whether every `a` is a `b`.
    pub fn val_matches(&self, a: &ValType, b: &ValType) -> bool {
        match (a, b) {
            (ValType::Ref(a), ValType::Ref(b)) => self.ref_matches(*a, *b),
            _ => a == b,
        }
    }

    /// Whether every `a` is a `b`.
    pub fn ref_matches(&self, a: RefType, b: RefType) -> bool {
        (b.nullable || !a.nullable) && self.heap_matches(a.heap, b.heap)
    }

    /// Whether every `a` is a `b`.
    pub fn heap_matches(&self, a: HeapType, b: HeapType) -> bool {
        heap_matches(a, b, |a, b| self.is_subtype(a, b))
    }

    /// Panics unless every type that a host's type refers to is this registry's, and of the kind it is said to be.
    fn check_targets(&self, ty: &SubType) {
        let check = |ty: &ValType| {
            if let ValType::Ref(RefType { heap, .. }) = ty
                && let Some(index) = heap.index()
            {
                assert_eq!(self.heap_type(index), *heap, "a reference to another kind of type");
            }
        };
        match &ty.composite {
            CompositeType::Func(func) => func.params.iter().chain(&func.results).for_each(check),
            CompositeType::Struct(ty) => ty.fields.iter().for_each(|field| check(&field.storage.unpack())),
            CompositeType::Array(ty) => check(&ty.element.storage.unpack()),
        }
    }

    /// The canonical index of the first of the `len` types of the group `words`.
    fn intern(&self, interner: &mut Interner, words: &[u32], len: u32) -> Result<TypeIndex, TypeError> {
        if let Some(first) = interner.groups.get(words) {
            return Ok(*first);
        }
        let first = interner.next;
        if first as usize + len as usize > MAX_TYPES {
            return Err(TypeError::TooManyTypes);
        }
        let types = group::decode(words, first, |ty| Kind::of(&self.get(ty).composite));
        let depths = self.depths(&types, first)?;
        interner.next += len;
        interner.groups.insert(words.into(), first);
        for ((ty, depth), index) in types.into_iter().zip(depths).zip(first..) {
            let (layout, shape) = match &ty.composite {
                CompositeType::Func(_) => (Layout::None, None),
                CompositeType::Struct(ty) => {
                    let (layout, shape) = StructLayout::of_struct(ty);
                    (Layout::Struct(layout), Some(shape))
                }
                CompositeType::Array(ty) => {
                    let (layout, shape) = ArrayLayout::of(ty);
                    (Layout::Array(layout), Some(shape))
                }
            };
            self.publish(index, ty.supertype, depth, Definition::Sub { ty, layout }, shape);
        }
        Ok(first)
    }

    /// The depths of a new group's types. A supertype comes before its subtypes, so one pass does.
    fn depths(&self, types: &[SubType], first: TypeIndex) -> Result<Vec<u32>, TypeError> {
        let mut depths: Vec<u32> = Vec::with_capacity(types.len());
        for ty in types {
            let depth = match ty.supertype {
                None => 0,
                Some(supertype) if supertype < first => self.depth(supertype) + 1,
                Some(supertype) => match depths.get((supertype - first) as usize) {
                    Some(depth) => depth + 1,
                    None => return Err(TypeError::Invalid { what: "a supertype that is not defined before" }),
                },
            };
            if depth > MAX_SUBTYPE_DEPTH {
                return Err(TypeError::TooDeep);
            }
            depths.push(depth);
        }
        Ok(depths)
    }

    /// Makes the new type `ty` readable. The interner is locked: its caller has just made `ty`.
    fn publish(
        &self,
        ty: TypeIndex,
        supertype: Option<TypeIndex>,
        depth: u32,
        definition: Definition,
        shape: Option<Shape>,
    ) {
        let display = self.display(ty);
        if let Some(supertype) = supertype {
            for (entry, ancestor) in display.iter().zip(&self.display(supertype)[..depth as usize]) {
                entry.store(ancestor.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
        display[depth as usize].store(ty, Ordering::Relaxed);
        if let Some(shape) = shape {
            self.shapes.register(ty, shape);
            if let Some(declared) = self.declared(supertype, &definition) {
                self.shapes.declare(ty, declared);
            }
        }
        let chunk = self.chunks[ty as usize / CHUNK].get_or_init(|| (0..CHUNK).map(|_| OnceLock::new()).collect());
        let fresh = chunk[ty as usize % CHUNK].set(Entry { depth, definition }).is_ok();
        assert!(fresh, "type {ty} is published twice");
    }

    /// What collectors are told of a type; `None` for one whose objects have no references.
    fn declared(&self, supertype: Option<TypeIndex>, definition: &Definition) -> Option<Declared> {
        let (family, slots): (Family, Vec<FieldType>) = match definition {
            Definition::Sub { ty: SubType { composite: CompositeType::Struct(ty), .. }, .. } => {
                (Family::Struct, ty.fields.to_vec())
            }
            Definition::Sub { ty: SubType { composite: CompositeType::Array(ty), .. }, .. } => {
                (Family::Array, vec![ty.element])
            }
            Definition::Sub { ty: SubType { composite: CompositeType::Func(_), .. }, .. } => return None,
            Definition::Exception { func, .. } => {
                let field = |ty: &ValType| FieldType { storage: StorageType::Val(*ty), mutable: false };
                (Family::Exception, self.func(*func).params.iter().map(field).collect())
            }
        };
        let mut targets: Vec<(Target, bool)> = Vec::new();
        for FieldType { storage, mutable } in slots {
            let StorageType::Val(ValType::Ref(ty)) = storage else { continue };
            let target = match ty.heap {
                HeapType::Any | HeapType::Eq | HeapType::Extern => Target::Any,
                HeapType::Struct => Target::Family(Family::Struct),
                HeapType::Array => Target::Family(Family::Array),
                HeapType::Exn => Target::Family(Family::Exception),
                HeapType::ConcreteStruct(ty) | HeapType::ConcreteArray(ty) => Target::Type(ty),
                _ => continue,
            };
            match targets.iter_mut().find(|(known, _)| *known == target) {
                Some((_, written)) => *written |= mutable,
                None => targets.push((target, mutable)),
            }
        }
        Some(Declared { family, supertype, targets: targets.into() })
    }

    #[inline]
    fn entry(&self, ty: TypeIndex) -> &Entry {
        let entry = self.chunks.get(ty as usize / CHUNK).and_then(|chunk| chunk.get()?[ty as usize % CHUNK].get());
        match entry {
            Some(entry) => entry,
            None => panic!("type {ty} is not in this registry"),
        }
    }

    #[inline]
    fn display(&self, ty: TypeIndex) -> &[AtomicU32; DISPLAY_ENTRIES] {
        assert!((ty as usize) < MAX_TYPES, "type {ty} is not in this registry");
        // SAFETY: `new` reserved and made writable `MAX_TYPES` displays, page-aligned and zeroed by the system, which stay
        // mapped until `self` is dropped; this registry accesses them as atomics only, compiled code only reads them.
        unsafe { &*self.displays.base().cast::<[AtomicU32; DISPLAY_ENTRIES]>().add(ty as usize) }
    }

    fn lock(&self) -> MutexGuard<'_, Interner> {
        self.interner.lock().expect("no registration panics")
    }
}

/// Whether every `a` is a `b`, where `is_subtype` says it of concrete types.
pub(super) fn heap_matches(a: HeapType, b: HeapType, is_subtype: impl Fn(TypeIndex, TypeIndex) -> bool) -> bool {
    use HeapType::*;
    if a.hierarchy() != b.hierarchy() {
        return false;
    }
    if a == b || b == b.top() || a == a.bottom() {
        return true;
    }
    match (a, b) {
        (I31 | Struct | Array | ConcreteStruct(_) | ConcreteArray(_), Eq) => true,
        (ConcreteStruct(_), Struct) | (ConcreteArray(_), Array) => true,
        (ConcreteFunc(a), ConcreteFunc(b))
        | (ConcreteStruct(a), ConcreteStruct(b))
        | (ConcreteArray(a), ConcreteArray(b)) => is_subtype(a, b),
        _ => false,
    }
}
