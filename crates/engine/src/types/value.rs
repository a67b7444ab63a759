//! The types of WebAssembly 3.0, with canonical type indices. They print in the text format's notation.

use gc_api::TypeIndex;
use std::fmt::{self, Display, Formatter};

/// The type of a value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ValType {
    /// A 32-bit integer.
    I32,
    /// A 64-bit integer.
    I64,
    /// A 32-bit float.
    F32,
    /// A 64-bit float.
    F64,
    /// A 128-bit vector.
    V128,
    /// A reference.
    Ref(RefType),
}

impl ValType {
    /// `funcref`
    pub const FUNCREF: ValType = ValType::Ref(RefType::FUNCREF);
    /// `externref`
    pub const EXTERNREF: ValType = ValType::Ref(RefType::EXTERNREF);
    /// `anyref`
    pub const ANYREF: ValType = ValType::Ref(RefType::ANYREF);
    /// `exnref`
    pub const EXNREF: ValType = ValType::Ref(RefType::EXNREF);

    /// The reference type, if it is one.
    pub const fn as_ref(&self) -> Option<RefType> {
        match self {
            ValType::Ref(ty) => Some(*ty),
            _ => None,
        }
    }

    /// Whether it is a reference type.
    pub const fn is_ref(&self) -> bool {
        matches!(self, ValType::Ref(_))
    }

    /// Whether its values are references into the collected heap, or i31s: any reference but a function's.
    pub const fn is_gc_ref(&self) -> bool {
        matches!(self, ValType::Ref(ty) if ty.is_gc_ref())
    }

    /// Whether it has a default value (zero or null).
    pub const fn is_defaultable(&self) -> bool {
        match self {
            ValType::Ref(ty) => ty.nullable,
            _ => true,
        }
    }
}

impl From<RefType> for ValType {
    fn from(ty: RefType) -> Self {
        ValType::Ref(ty)
    }
}

/// The type of a reference.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RefType {
    /// Whether null is one of its values.
    pub nullable: bool,
    /// What it refers to.
    pub heap: HeapType,
}

impl RefType {
    /// `funcref`, `(ref null func)`
    pub const FUNCREF: RefType = RefType::nullable(HeapType::Func);
    /// `nullfuncref`, `(ref null nofunc)`
    pub const NULLFUNCREF: RefType = RefType::nullable(HeapType::NoFunc);
    /// `externref`, `(ref null extern)`
    pub const EXTERNREF: RefType = RefType::nullable(HeapType::Extern);
    /// `nullexternref`, `(ref null noextern)`
    pub const NULLEXTERNREF: RefType = RefType::nullable(HeapType::NoExtern);
    /// `anyref`, `(ref null any)`
    pub const ANYREF: RefType = RefType::nullable(HeapType::Any);
    /// `eqref`, `(ref null eq)`
    pub const EQREF: RefType = RefType::nullable(HeapType::Eq);
    /// `i31ref`, `(ref null i31)`
    pub const I31REF: RefType = RefType::nullable(HeapType::I31);
    /// `structref`, `(ref null struct)`
    pub const STRUCTREF: RefType = RefType::nullable(HeapType::Struct);
    /// `arrayref`, `(ref null array)`
    pub const ARRAYREF: RefType = RefType::nullable(HeapType::Array);
    /// `nullref`, `(ref null none)`
    pub const NULLREF: RefType = RefType::nullable(HeapType::None);
    /// `exnref`, `(ref null exn)`
    pub const EXNREF: RefType = RefType::nullable(HeapType::Exn);
    /// `nullexnref`, `(ref null noexn)`
    pub const NULLEXNREF: RefType = RefType::nullable(HeapType::NoExn);

    /// `(ref null heap)`
    pub const fn nullable(heap: HeapType) -> RefType {
        RefType { nullable: true, heap }
    }

    /// `(ref heap)`
    pub const fn non_null(heap: HeapType) -> RefType {
        RefType { nullable: false, heap }
    }

    /// Whether its values are references into the collected heap, or i31s: any reference but a function's.
    pub const fn is_gc_ref(&self) -> bool {
        !matches!(self.heap.hierarchy(), Hierarchy::Func)
    }
}

/// One of the four disjoint families of heap types, each with a top and a bottom.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Hierarchy {
    /// `nofunc` to `func`.
    Func,
    /// `noextern` to `extern`.
    Extern,
    /// `none` to `any`.
    Any,
    /// `noexn` to `exn`.
    Exn,
}

/// What a reference refers to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HeapType {
    /// Any function.
    Func,
    /// No function: the type of null alone.
    NoFunc,
    /// Any host value.
    Extern,
    /// No host value.
    NoExtern,
    /// Any internal value.
    Any,
    /// What `ref.eq` compares.
    Eq,
    /// A 31-bit integer in the reference itself.
    I31,
    /// Any struct.
    Struct,
    /// Any array.
    Array,
    /// No internal value.
    None,
    /// Any exception.
    Exn,
    /// No exception.
    NoExn,
    /// Functions of a type.
    ConcreteFunc(TypeIndex),
    /// Structs of a type.
    ConcreteStruct(TypeIndex),
    /// Arrays of a type.
    ConcreteArray(TypeIndex),
}

impl HeapType {
    /// The family it belongs to.
    pub const fn hierarchy(self) -> Hierarchy {
        use HeapType::*;
        match self {
            Func | NoFunc | ConcreteFunc(_) => Hierarchy::Func,
            Extern | NoExtern => Hierarchy::Extern,
            Any | Eq | I31 | Struct | Array | None | ConcreteStruct(_) | ConcreteArray(_) => Hierarchy::Any,
            Exn | NoExn => Hierarchy::Exn,
        }
    }

    /// The largest type of its family.
    pub const fn top(self) -> HeapType {
        match self.hierarchy() {
            Hierarchy::Func => HeapType::Func,
            Hierarchy::Extern => HeapType::Extern,
            Hierarchy::Any => HeapType::Any,
            Hierarchy::Exn => HeapType::Exn,
        }
    }

    /// The type of its family that nothing but null has.
    pub const fn bottom(self) -> HeapType {
        match self.hierarchy() {
            Hierarchy::Func => HeapType::NoFunc,
            Hierarchy::Extern => HeapType::NoExtern,
            Hierarchy::Any => HeapType::None,
            Hierarchy::Exn => HeapType::NoExn,
        }
    }

    /// The index of a concrete type.
    pub const fn index(self) -> Option<TypeIndex> {
        match self {
            HeapType::ConcreteFunc(ty) | HeapType::ConcreteStruct(ty) | HeapType::ConcreteArray(ty) => Some(ty),
            _ => None,
        }
    }
}

/// What a field or an element holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StorageType {
    /// 8 bits of an `i32`.
    I8,
    /// 16 bits of an `i32`.
    I16,
    /// A value.
    Val(ValType),
}

impl StorageType {
    /// The type of the values read from it.
    pub const fn unpack(&self) -> ValType {
        match self {
            StorageType::I8 | StorageType::I16 => ValType::I32,
            StorageType::Val(ty) => *ty,
        }
    }

    /// Whether it is one of the packed types.
    pub const fn is_packed(&self) -> bool {
        matches!(self, StorageType::I8 | StorageType::I16)
    }

    /// Whether it holds references that the collector must see: any reference but a function's.
    pub const fn is_gc_ref(&self) -> bool {
        matches!(self, StorageType::Val(ty) if ty.is_gc_ref())
    }

    /// Bytes in an object, as a power of two. Every reference has 4: a function's is its id in the store.
    pub const fn bytes_log2(&self) -> u8 {
        match self {
            StorageType::I8 => 0,
            StorageType::I16 => 1,
            StorageType::Val(ValType::I32 | ValType::F32 | ValType::Ref(_)) => 2,
            StorageType::Val(ValType::I64 | ValType::F64) => 3,
            StorageType::Val(ValType::V128) => 4,
        }
    }
}

impl From<ValType> for StorageType {
    fn from(ty: ValType) -> Self {
        StorageType::Val(ty)
    }
}

impl From<RefType> for StorageType {
    fn from(ty: RefType) -> Self {
        StorageType::Val(ValType::Ref(ty))
    }
}

/// The type of a field or of an array's elements.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FieldType {
    /// What it holds.
    pub storage: StorageType,
    /// Whether it can be written after the object is made.
    pub mutable: bool,
}

/// The fields of a struct.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct StructType {
    /// In declaration order.
    pub fields: Box<[FieldType]>,
}

/// What an array is made of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ArrayType {
    /// The type of every element.
    pub element: FieldType,
}

/// What a function takes and returns.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct FuncType {
    /// What it takes.
    pub params: Box<[ValType]>,
    /// What it returns.
    pub results: Box<[ValType]>,
}

impl FuncType {
    /// The type of functions from `params` to `results`.
    pub fn new(params: impl IntoIterator<Item = ValType>, results: impl IntoIterator<Item = ValType>) -> FuncType {
        FuncType { params: params.into_iter().collect(), results: results.into_iter().collect() }
    }
}

/// The body of a type definition.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum CompositeType {
    /// A function type.
    Func(FuncType),
    /// A struct type.
    Struct(StructType),
    /// An array type.
    Array(ArrayType),
}

/// A type definition.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SubType {
    /// Whether no other type may declare it as its supertype.
    pub is_final: bool,
    /// The declared supertype.
    pub supertype: Option<TypeIndex>,
    /// The type's body.
    pub composite: CompositeType,
}

impl SubType {
    /// A final type without a supertype: what a plain `(type …)` defines.
    pub fn plain(composite: CompositeType) -> SubType {
        SubType { is_final: true, supertype: None, composite }
    }
}

/// The type of a global.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GlobalType {
    /// What it holds.
    pub content: ValType,
    /// Whether it can be written.
    pub mutable: bool,
}

/// The type of a table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TableType {
    /// What it holds.
    pub element: RefType,
    /// Elements at least (at first).
    pub min: u64,
    /// Elements at most.
    pub max: Option<u64>,
    /// Whether it is indexed by `i64`.
    pub is_64: bool,
}

impl TableType {
    /// The type of tables of `min` to `max` elements, indexed by `i32`.
    pub const fn new(element: RefType, min: u64, max: Option<u64>) -> TableType {
        TableType { element, min, max, is_64: false }
    }

    /// The same, indexed by `i64`.
    pub const fn new_64(element: RefType, min: u64, max: Option<u64>) -> TableType {
        TableType { element, min, max, is_64: true }
    }
}

/// The type of a linear memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MemoryType {
    /// Pages at least (at first).
    pub min: u64,
    /// Pages at most.
    pub max: Option<u64>,
    /// Whether it is indexed by `i64`.
    pub is_64: bool,
    /// Whether threads may share it.
    pub shared: bool,
    /// Bytes of a page as a power of two; 16 unless declared otherwise.
    pub page_size_log2: u8,
}

impl MemoryType {
    /// The type of memories of `min` to `max` pages of 64 KiB, indexed by `i32`.
    pub const fn new(min: u64, max: Option<u64>) -> MemoryType {
        MemoryType { min, max, is_64: false, shared: false, page_size_log2: 16 }
    }

    /// The same, indexed by `i64`.
    pub const fn new_64(min: u64, max: Option<u64>) -> MemoryType {
        MemoryType { is_64: true, ..MemoryType::new(min, max) }
    }

    /// The same for memories that several stores on several threads can share. Their types have a maximum.
    pub const fn shared(self) -> MemoryType {
        MemoryType { shared: true, ..self }
    }

    /// The same with pages of one byte.
    pub const fn with_byte_pages(self) -> MemoryType {
        MemoryType { page_size_log2: 0, ..self }
    }

    /// Bytes of `pages` pages; `u64::MAX` where these are more than can be counted.
    pub const fn bytes(&self, pages: u64) -> u64 {
        pages.saturating_mul(1 << self.page_size_log2)
    }
}

/// The type of a tag.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TagType {
    /// The function type whose parameters the tag's exceptions carry.
    pub func: TypeIndex,
}

/// The type of what a module imports or exports.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ExternType {
    /// A function.
    Func(TypeIndex),
    /// A global.
    Global(GlobalType),
    /// A table.
    Table(TableType),
    /// A linear memory.
    Memory(MemoryType),
    /// A tag.
    Tag(TagType),
}

impl Display for ValType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ValType::I32 => f.write_str("i32"),
            ValType::I64 => f.write_str("i64"),
            ValType::F32 => f.write_str("f32"),
            ValType::F64 => f.write_str("f64"),
            ValType::V128 => f.write_str("v128"),
            ValType::Ref(ty) => ty.fmt(f),
        }
    }
}

impl Display for RefType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let null = if self.nullable { "null " } else { "" };
        write!(f, "(ref {null}{})", self.heap)
    }
}

impl Display for HeapType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HeapType::Func => "func",
            HeapType::NoFunc => "nofunc",
            HeapType::Extern => "extern",
            HeapType::NoExtern => "noextern",
            HeapType::Any => "any",
            HeapType::Eq => "eq",
            HeapType::I31 => "i31",
            HeapType::Struct => "struct",
            HeapType::Array => "array",
            HeapType::None => "none",
            HeapType::Exn => "exn",
            HeapType::NoExn => "noexn",
            HeapType::ConcreteFunc(ty) | HeapType::ConcreteStruct(ty) | HeapType::ConcreteArray(ty) => {
                return write!(f, "${ty}");
            }
        })
    }
}

impl Display for StorageType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            StorageType::I8 => f.write_str("i8"),
            StorageType::I16 => f.write_str("i16"),
            StorageType::Val(ty) => ty.fmt(f),
        }
    }
}

impl Display for FieldType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.mutable { write!(f, "(mut {})", self.storage) } else { self.storage.fmt(f) }
    }
}

impl Display for StructType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("(struct")?;
        self.fields.iter().try_for_each(|field| write!(f, " (field {field})"))?;
        f.write_str(")")
    }
}

impl Display for ArrayType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "(array {})", self.element)
    }
}

impl Display for FuncType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("(func")?;
        for (word, types) in [("param", &self.params), ("result", &self.results)] {
            if !types.is_empty() {
                write!(f, " ({word}")?;
                types.iter().try_for_each(|ty| write!(f, " {ty}"))?;
                f.write_str(")")?;
            }
        }
        f.write_str(")")
    }
}

impl Display for CompositeType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            CompositeType::Func(ty) => ty.fmt(f),
            CompositeType::Struct(ty) => ty.fmt(f),
            CompositeType::Array(ty) => ty.fmt(f),
        }
    }
}

impl Display for SubType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.is_final, self.supertype) {
            (true, None) => self.composite.fmt(f),
            (true, Some(sup)) => write!(f, "(sub final ${sup} {})", self.composite),
            (false, None) => write!(f, "(sub {})", self.composite),
            (false, Some(sup)) => write!(f, "(sub ${sup} {})", self.composite),
        }
    }
}

impl Display for GlobalType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.mutable { write!(f, "(global (mut {}))", self.content) } else { write!(f, "(global {})", self.content) }
    }
}

impl Display for TableType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("(table ")?;
        limits(f, self.is_64, self.min, self.max)?;
        write!(f, " {})", self.element)
    }
}

impl Display for MemoryType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("(memory ")?;
        limits(f, self.is_64, self.min, self.max)?;
        if self.shared {
            f.write_str(" shared")?;
        }
        if self.page_size_log2 != 16 {
            write!(f, " (pagesize {})", 1u64 << self.page_size_log2)?;
        }
        f.write_str(")")
    }
}

impl Display for TagType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "(tag (type ${}))", self.func)
    }
}

impl Display for ExternType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ExternType::Func(ty) => write!(f, "(func (type ${ty}))"),
            ExternType::Global(ty) => ty.fmt(f),
            ExternType::Table(ty) => ty.fmt(f),
            ExternType::Memory(ty) => ty.fmt(f),
            ExternType::Tag(ty) => ty.fmt(f),
        }
    }
}

fn limits(f: &mut Formatter<'_>, is_64: bool, min: u64, max: Option<u64>) -> fmt::Result {
    if is_64 {
        f.write_str("i64 ")?;
    }
    write!(f, "{min}")?;
    max.map_or(Ok(()), |max| write!(f, " {max}"))
}
