//! The types of the objects that scripts make: shapes from tiny to huge, with every kind of slot.

use gc_api::{
    ARRAY_LENGTH_OFFSET, EXCEPTION_TAG_OFFSET, GcKind, HEADER_SIZE, Shape, Shapes, StaticRef, TypeIndex, align_object,
};
use std::sync::LazyLock;

/// The declared type of a reference slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum RefTy {
    /// `anyref`: a struct, an array, an `i31`, a host value made internal, or null.
    Any,
    /// `structref`.
    Struct,
    /// `(ref struct)`: never null.
    NonNull,
    /// `i31ref`.
    I31,
    /// `externref`.
    Extern,
    /// `exnref`.
    Exn,
}

impl RefTy {
    /// What compiled code knows of a value of this type.
    pub fn known(self) -> StaticRef {
        let (null, i31, object) = match self {
            RefTy::Any | RefTy::Extern => (true, true, true),
            RefTy::Struct | RefTy::Exn => (true, false, true),
            RefTy::NonNull => (false, false, true),
            RefTy::I31 => (true, true, false),
        };
        StaticRef { null, i31, object }
    }
}

/// The type of a field or an element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FieldTy {
    /// So many bytes of a number, or of a function's id: no reference into the heap.
    Bytes(u32),
    /// A reference.
    Ref(RefTy),
}

impl FieldTy {
    /// Bytes.
    pub fn size(self) -> u32 {
        match self {
            FieldTy::Bytes(bytes) => bytes,
            FieldTy::Ref(_) => 4,
        }
    }
}

/// A field and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub ty: FieldTy,
    /// Bytes from the object's start.
    pub offset: u32,
}

/// What objects of a type consist of.
#[derive(Debug)]
pub enum Body {
    /// A struct's or an exception's fields.
    Fields(Vec<Field>),
    /// An array's element type, and the offset of element 0.
    Elements(FieldTy, u32),
}

/// A type of objects.
#[derive(Debug)]
pub struct Type {
    pub name: &'static str,
    pub index: TypeIndex,
    pub kind: GcKind,
    pub body: Body,
    pub shape: Shape,
}

impl Type {
    /// Bytes of an object, a multiple of 8.
    pub fn size(&self, length: u32) -> u64 {
        self.shape.size(length)
    }

    /// Number of fields, or `length`.
    pub fn slots(&self, length: u32) -> u32 {
        match &self.body {
            Body::Fields(fields) => fields.len() as u32,
            Body::Elements(..) => length,
        }
    }

    /// The field or element `i`.
    pub fn slot(&self, i: u32) -> Field {
        match &self.body {
            Body::Fields(fields) => fields[i as usize],
            Body::Elements(ty, base) => Field { ty: *ty, offset: base + i * ty.size() },
        }
    }

    /// The fields, in order; none for an array.
    pub fn fields(&self) -> &[Field] {
        match &self.body {
            Body::Fields(fields) => fields,
            Body::Elements(..) => &[],
        }
    }

    /// Bytes from the object's start to its reference number `i`, in the order of its slots.
    pub fn ref_offset(&self, i: usize) -> u32 {
        match &self.shape {
            Shape::Fixed { refs, .. } => refs[i],
            Shape::Array { base, .. } => base + 4 * i as u32,
        }
    }

    /// Number of reference slots.
    pub fn refs(&self, length: u32) -> usize {
        match (&self.shape, &self.body) {
            (Shape::Fixed { refs, .. }, _) => refs.len(),
            (_, Body::Elements(FieldTy::Ref(_), _)) => length as usize,
            _ => 0,
        }
    }

    /// Bytes that are no references.
    pub fn bytes(&self, length: u32) -> usize {
        match &self.body {
            Body::Fields(fields) => {
                fields.iter().map(|f| if let FieldTy::Bytes(n) = f.ty { n as usize } else { 0 }).sum()
            }
            Body::Elements(FieldTy::Bytes(bytes), _) => length as usize * *bytes as usize,
            Body::Elements(..) => 0,
        }
    }

    pub fn is_array(&self) -> bool {
        self.kind == GcKind::ARRAY
    }

    /// The type of an array's elements, if they are references.
    pub fn element_ref(&self) -> Option<RefTy> {
        match self.body {
            Body::Elements(FieldTy::Ref(ty), _) => Some(ty),
            _ => None,
        }
    }
}

/// All types.
pub fn types() -> &'static [Type] {
    static TYPES: LazyLock<Vec<Type>> = LazyLock::new(make);
    &TYPES
}

/// The place of the type with this name in [`types`].
pub fn named(name: &str) -> Option<u8> {
    types().iter().position(|ty| ty.name == name).map(|i| i as u8)
}

/// The shapes of all types.
pub fn shapes() -> Shapes {
    let shapes = Shapes::default();
    types().iter().for_each(|ty| shapes.register(ty.index, ty.shape.clone()));
    shapes
}

fn make() -> Vec<Type> {
    use RefTy::*;
    let r = FieldTy::Ref;
    let b = FieldTy::Bytes;
    let mixed = [b(1), r(Any), b(2), b(8), r(Struct), b(1), b(16), r(I31), b(4), r(Extern)];
    let mixed: Vec<FieldTy> =
        mixed.into_iter().chain([r(Exn), b(4), b(1), r(Any), b(2), b(4), r(Extern), b(8), r(Any), b(1)]).collect();
    // The last field of `typed` and the elements of `funcs` are functions' ids.
    let list: Vec<(&'static str, GcKind, Vec<FieldTy>)> = vec![
        ("empty", GcKind::STRUCT, vec![]),
        ("one", GcKind::STRUCT, vec![r(Any)]),
        ("pair", GcKind::STRUCT, vec![r(Any), r(Any)]),
        ("leaf", GcKind::STRUCT, vec![b(8), b(4)]),
        ("node", GcKind::STRUCT, vec![b(4), r(Any), r(Any), r(Struct)]),
        ("mixed", GcKind::STRUCT, mixed),
        ("wide", GcKind::STRUCT, vec![r(Any); 300]),
        ("typed", GcKind::STRUCT, vec![r(Struct), r(I31), r(Extern), r(Exn), b(4)]),
        ("strict", GcKind::STRUCT, vec![r(NonNull), b(2)]),
        ("error", GcKind::EXN, vec![r(Any), b(4), r(Extern)]),
        ("failure", GcKind::EXN, vec![]),
        ("bytes", GcKind::ARRAY, vec![b(1)]),
        ("shorts", GcKind::ARRAY, vec![b(2)]),
        ("ints", GcKind::ARRAY, vec![b(4)]),
        ("longs", GcKind::ARRAY, vec![b(8)]),
        ("vectors", GcKind::ARRAY, vec![b(16)]),
        ("refs", GcKind::ARRAY, vec![r(Any)]),
        ("structs", GcKind::ARRAY, vec![r(Struct)]),
        ("smalls", GcKind::ARRAY, vec![r(I31)]),
        ("externs", GcKind::ARRAY, vec![r(Extern)]),
        ("funcs", GcKind::ARRAY, vec![b(4)]),
    ];
    // Indices are spread out, as an engine's are after a few modules.
    list.into_iter().zip(0..).map(|((name, kind, slots), i)| ty(name, kind, 1 + 700 * i, &slots)).collect()
}

fn ty(name: &'static str, kind: GcKind, index: TypeIndex, slots: &[FieldTy]) -> Type {
    if kind == GcKind::ARRAY {
        let refs = matches!(slots[0], FieldTy::Ref(_));
        let shape = Shape::array(slots[0].size().trailing_zeros() as u8, refs);
        let Shape::Array { base, .. } = shape else { unreachable!("it is an array's") };
        debug_assert!(base > ARRAY_LENGTH_OFFSET);
        return Type { name, index, kind, body: Body::Elements(slots[0], base), shape };
    }
    let mut at = if kind == GcKind::EXN { EXCEPTION_TAG_OFFSET + 4 } else { HEADER_SIZE };
    let mut fields = Vec::new();
    for slot in slots {
        at = at.next_multiple_of(slot.size().min(8));
        fields.push(Field { ty: *slot, offset: at });
        at += slot.size();
    }
    let refs = fields.iter().filter(|f| matches!(f.ty, FieldTy::Ref(_))).map(|f| f.offset).collect();
    let shape = Shape::Fixed { size: align_object(at as u64) as u32, refs };
    Type { name, index, kind, body: Body::Fields(fields), shape }
}
