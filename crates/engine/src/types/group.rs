//! A recursion group as a sequence of words: the key by which equal groups are found.
//!
//! The sequence is self-delimiting, and two groups have the same one exactly when they are equal, because a reference is
//! written as a position in the group when it goes to the group itself, and as a canonical index otherwise:
//!
//! ```text
//! group  = type*
//! type   = head(kind, final, has supertype) target?  body
//! body   = count(params) count(results) value*  |  count(fields) value*  |  value
//! value  = code 8 | 0 | mutable | nullable | 0 | relative | index 20        (one word)
//! target =                                         relative | index 20
//! ```

use super::registry::TypeError;
use super::value::{
    ArrayType, CompositeType, FieldType, FuncType, HeapType, RefType, StorageType, StructType, SubType, ValType,
};
use gc_api::{MAX_TYPES, TypeIndex};
use wasmparser::UnpackedIndex;

/// Fields that a struct may have: the limit that all Web engines share.
const MAX_FIELDS: usize = 10_000;
/// Parameters, and results, that a function may have: the limit that all Web engines share.
const MAX_PARAMS: usize = 1_000;

const INDEX_MASK: u32 = (1 << 20) - 1;
const RELATIVE: u32 = 1 << 20;
const NULLABLE: u32 = 1 << 22;
const MUTABLE: u32 = 1 << 23;
const CODE_SHIFT: u32 = 24;
const _: () = assert!(INDEX_MASK as usize == MAX_TYPES - 1);

const FINAL: u32 = 1 << 2;
const HAS_SUPERTYPE: u32 = 1 << 3;

/// The three kinds of type definitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Func = 0,
    Struct = 1,
    Array = 2,
}

impl Kind {
    pub(super) fn of(composite: &CompositeType) -> Kind {
        match composite {
            CompositeType::Func(_) => Kind::Func,
            CompositeType::Struct(_) => Kind::Struct,
            CompositeType::Array(_) => Kind::Array,
        }
    }

    fn of_head(head: u32) -> Kind {
        match head & 3 {
            0 => Kind::Func,
            1 => Kind::Struct,
            _ => Kind::Array,
        }
    }

    pub(super) fn heap(self, ty: TypeIndex) -> HeapType {
        match self {
            Kind::Func => HeapType::ConcreteFunc(ty),
            Kind::Struct => HeapType::ConcreteStruct(ty),
            Kind::Array => HeapType::ConcreteArray(ty),
        }
    }
}

/// The value types by code; then the packed types, the abstract heap types and, last, the concrete one.
const VALUES: [ValType; 5] = [ValType::I32, ValType::I64, ValType::F32, ValType::F64, ValType::V128];
const I8: u32 = 5;
const I16: u32 = 6;
const FIRST_HEAP: u32 = 8;
const HEAPS: [HeapType; 12] = [
    HeapType::Func,
    HeapType::NoFunc,
    HeapType::Extern,
    HeapType::NoExtern,
    HeapType::Any,
    HeapType::Eq,
    HeapType::I31,
    HeapType::Struct,
    HeapType::Array,
    HeapType::None,
    HeapType::Exn,
    HeapType::NoExn,
];
const CONCRETE: u32 = FIRST_HEAP + HEAPS.len() as u32;

fn abstract_code(heap: HeapType) -> u32 {
    let position = HEAPS.iter().position(|candidate| *candidate == heap).expect("every abstract heap type has a code");
    FIRST_HEAP + position as u32
}

/// Writes the words of one type of a host's group. `target` gives what stands for a type that it refers to: its canonical index, or
/// what [`relative`] gives for one of the group.
pub(super) fn encode(words: &mut Vec<u32>, ty: &SubType, target: impl Fn(TypeIndex) -> u32) -> Result<(), TypeError> {
    let value = |ty: &ValType| own_value(ty, &target);
    words.push(head(Kind::of(&ty.composite), ty.is_final, ty.supertype.is_some()));
    words.extend(ty.supertype.map(&target));
    match &ty.composite {
        CompositeType::Func(func) => {
            words.extend(func_counts(func.params.len(), func.results.len())?);
            words.extend(func.params.iter().chain(&func.results).map(value));
        }
        CompositeType::Struct(ty) => {
            words.push(field_count(ty.fields.len())?);
            words.extend(ty.fields.iter().map(|field| own_field(field, &value)));
        }
        CompositeType::Array(ty) => words.push(own_field(&ty.element, &value)),
    }
    Ok(())
}

/// What stands for the type at `position` of the group.
pub(super) fn relative(position: u32) -> u32 {
    RELATIVE | position
}

fn own_field(field: &FieldType, value: &impl Fn(&ValType) -> u32) -> u32 {
    let storage = match &field.storage {
        StorageType::I8 => I8 << CODE_SHIFT,
        StorageType::I16 => I16 << CODE_SHIFT,
        StorageType::Val(ty) => value(ty),
    };
    storage | if field.mutable { MUTABLE } else { 0 }
}

fn own_value(ty: &ValType, target: &impl Fn(TypeIndex) -> u32) -> u32 {
    match ty {
        ValType::Ref(RefType { nullable, heap }) => {
            let null = if *nullable { NULLABLE } else { 0 };
            let heap = match heap.index() {
                Some(index) => CONCRETE << CODE_SHIFT | target(index),
                None => abstract_code(*heap) << CODE_SHIFT,
            };
            null | heap
        }
        number => number_code(*number) << CODE_SHIFT,
    }
}

fn number_code(ty: ValType) -> u32 {
    VALUES.iter().position(|candidate| *candidate == ty).expect("every number type has a code") as u32
}

fn head(kind: Kind, is_final: bool, has_supertype: bool) -> u32 {
    kind as u32 | if is_final { FINAL } else { 0 } | if has_supertype { HAS_SUPERTYPE } else { 0 }
}

fn func_counts(params: usize, results: usize) -> Result<[u32; 2], TypeError> {
    match params.max(results) {
        0..=MAX_PARAMS => Ok([params as u32, results as u32]),
        count => Err(TypeError::TooManyParams { count }),
    }
}

fn field_count(count: usize) -> Result<u32, TypeError> {
    if count <= MAX_FIELDS { Ok(count as u32) } else { Err(TypeError::TooManyFields { count }) }
}

/// Writes the words of a parsed group.
pub(super) struct Encoder<'a, R> {
    /// Where the words go.
    pub words: &'a mut Vec<u32>,
    /// From an index in the group to the ordinal of a type: its place in `canonical`, or, from its end on, in the group.
    pub ordinal: R,
    /// The types before the group, by ordinal.
    pub canonical: &'a [TypeIndex],
    /// Types in the group.
    pub len: u32,
}

impl<R: Fn(UnpackedIndex) -> Option<u32>> Encoder<'_, R> {
    /// Appends one type of the group.
    pub fn sub_type(&mut self, ty: &wasmparser::SubType) -> Result<(), TypeError> {
        use wasmparser::CompositeInnerType as Inner;
        let wasmparser::CompositeType { inner, shared, descriptor_idx, describes_idx } = &ty.composite_type;
        if *shared || descriptor_idx.is_some() || describes_idx.is_some() {
            return Err(TypeError::Unsupported { what: "shared types and descriptors" });
        }
        let kind = match inner {
            Inner::Func(_) => Kind::Func,
            Inner::Struct(_) => Kind::Struct,
            Inner::Array(_) => Kind::Array,
            Inner::Cont(_) => return Err(TypeError::Unsupported { what: "continuation types" }),
        };
        self.words.push(head(kind, ty.is_final, !ty.supertype_idxs.is_empty()));
        match &ty.supertype_idxs[..] {
            [] => {}
            [supertype] => {
                let target = self.target(supertype.unpack())?;
                self.words.push(target);
            }
            _ => return Err(TypeError::Invalid { what: "several supertypes" }),
        }
        match inner {
            Inner::Func(func) => {
                self.words.extend(func_counts(func.params().len(), func.results().len())?);
                func.params().iter().chain(func.results()).try_for_each(|ty| self.value(*ty, 0))
            }
            Inner::Struct(ty) => {
                self.words.push(field_count(ty.fields.len())?);
                ty.fields.iter().try_for_each(|field| self.field(field))
            }
            Inner::Array(ty) => self.field(&ty.0),
            Inner::Cont(_) => unreachable!("refused above"),
        }
    }

    fn field(&mut self, field: &wasmparser::FieldType) -> Result<(), TypeError> {
        let mutable = if field.mutable { MUTABLE } else { 0 };
        match field.element_type {
            wasmparser::StorageType::I8 => self.words.push(I8 << CODE_SHIFT | mutable),
            wasmparser::StorageType::I16 => self.words.push(I16 << CODE_SHIFT | mutable),
            wasmparser::StorageType::Val(ty) => self.value(ty, mutable)?,
        }
        Ok(())
    }

    fn value(&mut self, ty: wasmparser::ValType, flags: u32) -> Result<(), TypeError> {
        let word = match number(ty) {
            Ok(number) => number_code(number) << CODE_SHIFT,
            Err(reference) => {
                let null = if reference.is_nullable() { NULLABLE } else { 0 };
                null | match reference.heap_type() {
                    wasmparser::HeapType::Concrete(index) => CONCRETE << CODE_SHIFT | self.target(index)?,
                    wasmparser::HeapType::Abstract { shared: false, ty } => {
                        let heap = abstract_heap(ty).ok_or(TypeError::Unsupported { what: "continuation types" })?;
                        abstract_code(heap) << CODE_SHIFT
                    }
                    _ => return Err(TypeError::Unsupported { what: "shared and exact references" }),
                }
            }
        };
        self.words.push(word | flags);
        Ok(())
    }

    fn target(&self, index: UnpackedIndex) -> Result<u32, TypeError> {
        let invalid = TypeError::Invalid { what: "a reference to a type that is not defined" };
        let Some(ordinal) = (self.ordinal)(index) else { return Err(invalid) };
        match self.canonical.get(ordinal as usize) {
            Some(canonical) => Ok(*canonical),
            None => match ordinal - self.canonical.len() as u32 {
                position if position < self.len => Ok(RELATIVE | position),
                _ => Err(invalid),
            },
        }
    }
}

/// A number or vector type, or else the reference type.
pub(super) fn number(ty: wasmparser::ValType) -> Result<ValType, wasmparser::RefType> {
    Ok(match ty {
        wasmparser::ValType::I32 => ValType::I32,
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        wasmparser::ValType::V128 => ValType::V128,
        wasmparser::ValType::Ref(reference) => return Err(reference),
    })
}

/// `None` for the types of continuations, which are not in WebAssembly 3.0.
pub(super) fn abstract_heap(ty: wasmparser::AbstractHeapType) -> Option<HeapType> {
    use wasmparser::AbstractHeapType as A;
    Some(match ty {
        A::Func => HeapType::Func,
        A::NoFunc => HeapType::NoFunc,
        A::Extern => HeapType::Extern,
        A::NoExtern => HeapType::NoExtern,
        A::Any => HeapType::Any,
        A::Eq => HeapType::Eq,
        A::I31 => HeapType::I31,
        A::Struct => HeapType::Struct,
        A::Array => HeapType::Array,
        A::None => HeapType::None,
        A::Exn => HeapType::Exn,
        A::NoExn => HeapType::NoExn,
        A::Cont | A::NoCont => return None,
    })
}

/// The types of the group `words`, whose first one gets the canonical index `first`.
///
/// # Panics
/// When `words` was not written by this module.
pub(super) fn decode(words: &[u32], first: TypeIndex, kind_of: impl Fn(TypeIndex) -> Kind) -> Vec<SubType> {
    let kinds = kinds(words);
    let kind_of = |word: u32| match word & RELATIVE {
        0 => kind_of(word & INDEX_MASK),
        _ => kinds[(word & INDEX_MASK) as usize],
    };
    let mut decoder = Decoder { words: words.iter().copied(), first, kind_of };
    kinds.iter().map(|_| decoder.sub_type()).collect()
}

/// The kinds of the group's types, in order: references to later types need them.
fn kinds(words: &[u32]) -> Vec<Kind> {
    let (mut kinds, mut at) = (Vec::new(), 0);
    while at < words.len() {
        let kind = Kind::of_head(words[at]);
        kinds.push(kind);
        at += if words[at] & HAS_SUPERTYPE == 0 { 1 } else { 2 };
        at += match kind {
            Kind::Func => 2 + words[at] + words[at + 1],
            Kind::Struct => 1 + words[at],
            Kind::Array => 1,
        } as usize;
    }
    kinds
}

struct Decoder<W, K> {
    words: W,
    first: TypeIndex,
    kind_of: K,
}

impl<W: Iterator<Item = u32>, K: Fn(u32) -> Kind> Decoder<W, K> {
    fn sub_type(&mut self) -> SubType {
        let head = self.word();
        let supertype = (head & HAS_SUPERTYPE != 0).then(|| {
            let target = self.word();
            self.canonical(target)
        });
        let composite = match Kind::of_head(head) {
            Kind::Func => {
                let (params, results) = (self.word(), self.word());
                let params = (0..params).map(|_| self.value()).collect();
                CompositeType::Func(FuncType { params, results: (0..results).map(|_| self.value()).collect() })
            }
            Kind::Struct => {
                let count = self.word();
                CompositeType::Struct(StructType { fields: (0..count).map(|_| self.field()).collect() })
            }
            Kind::Array => CompositeType::Array(ArrayType { element: self.field() }),
        };
        SubType { is_final: head & FINAL != 0, supertype, composite }
    }

    fn field(&mut self) -> FieldType {
        let word = self.word();
        let storage = match word >> CODE_SHIFT {
            I8 => StorageType::I8,
            I16 => StorageType::I16,
            _ => StorageType::Val(self.value_of(word)),
        };
        FieldType { storage, mutable: word & MUTABLE != 0 }
    }

    fn value(&mut self) -> ValType {
        let word = self.word();
        self.value_of(word)
    }

    fn value_of(&self, word: u32) -> ValType {
        let code = word >> CODE_SHIFT;
        if let Some(number) = VALUES.get(code as usize) {
            return *number;
        }
        let heap = match code {
            CONCRETE => (self.kind_of)(word).heap(self.canonical(word)),
            _ => HEAPS[(code - FIRST_HEAP) as usize],
        };
        ValType::Ref(RefType { nullable: word & NULLABLE != 0, heap })
    }

    fn canonical(&self, target: u32) -> TypeIndex {
        let index = target & INDEX_MASK;
        if target & RELATIVE == 0 { index } else { self.first + index }
    }

    fn word(&mut self) -> u32 {
        self.words.next().expect("a group's words are complete")
    }
}
