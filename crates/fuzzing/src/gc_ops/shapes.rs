//! The types of the programs' objects: a hierarchy, structs of no fields and of many, numbers of each width, arrays.

use std::fmt::Write;

/// What a field or an element holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    I8,
    I16,
    I32,
    I64,
    F32,
    F64,
    V128,
    Ref(Kind),
}

/// A family of references, and the locals, globals and tables of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `anyref`.
    Any,
    /// `(ref null $pair)`.
    Pair,
    /// `externref`.
    Extern,
    /// `funcref`.
    Func,
    /// `exnref`.
    Exn,
}

impl Kind {
    pub const ALL: [Kind; 5] = [Kind::Any, Kind::Pair, Kind::Extern, Kind::Func, Kind::Exn];

    /// The type in the text format.
    pub fn ty(self) -> &'static str {
        match self {
            Kind::Any => "anyref",
            Kind::Pair => "(ref null $pair)",
            Kind::Extern => "externref",
            Kind::Func => "funcref",
            Kind::Exn => "exnref",
        }
    }

    /// What stands behind `ref.null`.
    pub fn heap(self) -> &'static str {
        match self {
            Kind::Any => "any",
            Kind::Pair => "$pair",
            Kind::Extern => "extern",
            Kind::Func => "func",
            Kind::Exn => "exn",
        }
    }

    /// The letter by which locals, globals and tables of it are named.
    pub fn letter(self) -> char {
        match self {
            Kind::Any => 'a',
            Kind::Pair => 'p',
            Kind::Extern => 'e',
            Kind::Func => 'f',
            Kind::Exn => 'x',
        }
    }
}

impl Storage {
    fn ty(self) -> &'static str {
        match self {
            Storage::I8 => "i8",
            Storage::I16 => "i16",
            Storage::I32 => "i32",
            Storage::I64 => "i64",
            Storage::F32 => "f32",
            Storage::F64 => "f64",
            Storage::V128 => "v128",
            Storage::Ref(kind) => kind.ty(),
        }
    }

    /// The bits that are kept of a number, as they are read without a sign.
    pub fn keep(self, n: i64) -> u64 {
        match self {
            Storage::I8 => n as u8 as u64,
            Storage::I16 => n as u16 as u64,
            Storage::I32 | Storage::F32 => n as u32 as u64,
            _ => n as u64,
        }
    }

    /// A constant of this type; a vector has `n` in both lanes.
    pub fn constant(self, n: i64) -> String {
        match self {
            Storage::I8 | Storage::I16 | Storage::I32 => format!("(i32.const {})", n as i32),
            Storage::F32 => format!("(f32.reinterpret_i32 (i32.const {}))", n as i32),
            Storage::I64 => format!("(i64.const {n})"),
            Storage::F64 => format!("(f64.reinterpret_i64 (i64.const {n}))"),
            Storage::V128 => format!("(i64x2.splat (i64.const {n}))"),
            Storage::Ref(kind) => format!("(ref.null {})", kind.heap()),
        }
    }

    /// The value of this type that `get` leaves, as bits; of a vector one lane.
    pub fn bits(self, get: &str) -> String {
        match self {
            Storage::I8 | Storage::I16 | Storage::I32 => format!("(i64.extend_i32_u {get})"),
            Storage::F32 => format!("(i64.extend_i32_u (i32.reinterpret_f32 {get}))"),
            Storage::F64 => format!("(i64.reinterpret_f64 {get})"),
            Storage::V128 => format!("(i64x2.extract_lane 1 {get})"),
            _ => get.to_string(),
        }
    }

    /// The suffix of `struct.get` and `array.get`.
    pub fn get(self) -> &'static str {
        if matches!(self, Storage::I8 | Storage::I16) { "get_u" } else { "get" }
    }
}

/// A type of objects.
pub struct Shape {
    pub name: &'static str,
    /// The supertype, by its place in [`SHAPES`].
    pub parent: Option<usize>,
    pub body: Body,
    /// Whether fields or elements can be replaced.
    pub mutable: bool,
}

/// What it consists of.
pub enum Body {
    Struct(&'static [Storage]),
    Array(Storage),
}

const ANY: Storage = Storage::Ref(Kind::Any);
const PAIR_REF: Storage = Storage::Ref(Kind::Pair);
const EXTERN: Storage = Storage::Ref(Kind::Extern);

const fn shape(name: &'static str, parent: Option<usize>, body: Body) -> Shape {
    Shape { name, parent, body, mutable: true }
}

pub const PAIR: usize = 0;
pub const NODE: usize = 1;
pub const TINY: usize = 3;
pub const BOX: usize = 6;
pub const REFS: usize = 7;
pub const FUNCS: usize = 10;
pub const BYTES: usize = 11;
pub const LONGS: usize = 12;

/// All types. Those with a supertype come after it.
#[rustfmt::skip]
pub const SHAPES: [Shape; 13] = {
    use Storage::*;
    [
        shape("pair", None, Body::Struct(&[ANY, ANY])),
        shape("node", Some(PAIR), Body::Struct(&[ANY, ANY, I32, EXTERN, PAIR_REF])),
        shape("leaf", Some(NODE), Body::Struct(&[ANY, ANY, I32, EXTERN, PAIR_REF, I8, Ref(Kind::Func), Ref(Kind::Exn), I64])),
        shape("tiny", None, Body::Struct(&[])),
        shape("num", None, Body::Struct(&[I64, F64, I16, F32])),
        shape("wide", None, Body::Struct(&[
            I8, ANY, I64, PAIR_REF, V128, EXTERN, I16, ANY, F64, ANY, ANY, I32, ANY, ANY, ANY, ANY, ANY, ANY, PAIR_REF, PAIR_REF,
            ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, Ref(Kind::Exn), I8, ANY,
        ])),
        Shape { name: "box", parent: None, body: Body::Struct(&[ANY, PAIR_REF]), mutable: false },
        shape("refs", None, Body::Array(ANY)),
        shape("pairs", None, Body::Array(PAIR_REF)),
        shape("exts", None, Body::Array(EXTERN)),
        shape("funcs", None, Body::Array(Ref(Kind::Func))),
        shape("bytes", None, Body::Array(I8)),
        shape("longs", None, Body::Array(I64)),
    ]
};

impl Shape {
    /// The fields of a struct.
    pub fn fields(&self) -> Option<&'static [Storage]> {
        match self.body {
            Body::Struct(fields) => Some(fields),
            Body::Array(_) => None,
        }
    }

    /// What an array holds.
    pub fn element(&self) -> Option<Storage> {
        match self.body {
            Body::Struct(_) => None,
            Body::Array(element) => Some(element),
        }
    }
}

/// Whether a type is another or below it.
pub fn is_below(mut shape: usize, other: usize) -> bool {
    while shape != other {
        match SHAPES[shape].parent {
            Some(parent) => shape = parent,
            None => return false,
        }
    }
    true
}

/// The types as text, the same in each module, so that modules share them. Those of functions are in no group: the host's have them.
pub fn types() -> String {
    let mut w = String::from("  (rec\n");
    for shape in &SHAPES {
        let field = |storage: Storage| match shape.mutable {
            true => format!("(mut {})", storage.ty()),
            false => storage.ty().to_string(),
        };
        let body = match shape.body {
            Body::Struct(fields) => {
                let fields: String = fields.iter().map(|storage| format!(" (field {})", field(*storage))).collect();
                format!("(struct{fields})")
            }
            Body::Array(element) => format!("(array {})", field(element)),
        };
        let parent = shape.parent.map(|parent| format!("${} ", SHAPES[parent].name)).unwrap_or_default();
        writeln!(w, "    (type ${} (sub {parent}{body}))", shape.name).expect("a string takes everything");
    }
    w += "    ;; What a walk has met; what stands for a host's value where there is no host.\n";
    w += "    (type $met (array (mut (ref null eq))))\n";
    w += "    (type $host (sub (struct (field i32)))))\n";
    w += "  (type $fn (func (param $a anyref) (param $e externref) (param $n i32) (result anyref externref)))\n";
    w += "  (type $gn (func (param i32) (result i32)))\n";
    w
}
