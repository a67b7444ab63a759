//! Programs as sequences of operations.

use super::kit;
use super::model::Model;
use super::shapes::{Body, Kind, SHAPES};
use arbitrary::{Arbitrary, Unstructured};

/// Longer programs are cut off here.
const MAX_OPS: usize = 100;
/// Places to take an `anyref` from: locals of that type, then those of pairs.
pub const SOURCES: usize = 8;

/// How many locals of a kind there are.
pub fn locals(kind: Kind) -> usize {
    match kind {
        Kind::Any => 5,
        Kind::Pair | Kind::Extern => 3,
        Kind::Func | Kind::Exn => 2,
    }
}

/// How many globals of a kind there are. One of the `anyref`s is another instance's.
pub fn globals(kind: Kind) -> usize {
    match kind {
        Kind::Any => 3,
        Kind::Extern => 2,
        Kind::Pair | Kind::Func | Kind::Exn => 1,
    }
}

/// A program: what it runs under, and operations that run `rounds` times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// How the engine is set up: see [`Program::mode`].
    pub mode: u8,
    /// Which of the collectors with options it runs under too, if any.
    pub variant: u8,
    /// Elements of each table, modulo 12, plus 1.
    pub table: u8,
    /// How often the operations run, modulo 3, plus 1: locals, globals and tables carry over.
    pub rounds: u8,
    /// How it ends: see [`End`].
    pub end: u8,
    /// The operations.
    pub(super) ops: Vec<Op>,
}

/// Operations are taken for as long as there are bytes.
impl<'a> Arbitrary<'a> for Program {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let [mode, variant, table, rounds, end] = u.arbitrary()?;
        let mut ops = Vec::new();
        while !u.is_empty() && ops.len() < MAX_OPS {
            // Graphs need more objects and edges than one in so many operations makes.
            ops.push(match u.arbitrary::<u8>()? % 8 {
                0 => Op::New { shape: u.arbitrary()?, to: u.arbitrary()?, from: u.arbitrary()?, n: u.arbitrary()? },
                1 => {
                    let (field, of, from) = u.arbitrary()?;
                    Op::SetField { shape: u8::MAX, field, of, from, n: 7 }
                }
                2 => {
                    let (i, of, from) = u.arbitrary()?;
                    Op::SetElem { shape: u8::MAX, of, i, from, n: 7 }
                }
                _ => u.arbitrary()?,
            });
        }
        Ok(Program { mode, variant, table, rounds, end, ops })
    }
}

/// What a program does at last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing.
    Return,
    /// Traps: by this place in [`TRAPS`](super::text::TRAPS).
    Trap(usize),
    /// Throws a pair that nobody catches.
    Throw,
    /// Has a host function throw it.
    HostThrow,
    /// Calls a host function that fails.
    HostError,
}

/// The [`Program::end`] of a program that returns.
pub const RETURN: u8 = super::text::TRAPS.len() as u8 + 3;

/// Names a local, global, element or field, modulo what there is.
pub type At = u8;

/// An operation. Operands are small numbers, taken modulo what there is, so that any sequence is valid and a shorter one is too.
/// What does not fit (null, another type) is guarded against: nothing happens, in the program and in the model.
///
/// A `shape` is a place in [`SHAPES`]. One that is too large is aimed: at what the model has there when the program
/// first gets to the operation, or else at anything ([`Op::aim`]).
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
#[rustfmt::skip]
pub enum Op {
    /// A struct, or an array with `n` elements, of values from locals.
    New { shape: u8, to: At, from: At, n: i16 },
    NewDefault { shape: u8, to: At, len: At },
    /// An array of three.
    NewFixed { shape: u8, to: At, from: At, n: i16 },
    /// Bytes or longs of a data segment.
    NewData { longs: bool, to: At, at: At, len: At },
    /// References of an element segment, or functions of another.
    NewElem { funcs: bool, to: At, at: At, len: At },
    GetField { shape: u8, field: At, of: At, to: At },
    SetField { shape: u8, field: At, of: At, from: At, n: i16 },
    GetElem { shape: u8, of: At, i: At, to: At },
    SetElem { shape: u8, of: At, i: At, from: At, n: i16 },
    /// Within one array or between two; ranges are cut to fit.
    CopyElems { shape: u8, to: At, i: At, from: At, j: At, len: At },
    FillElems { shape: u8, of: At, i: At, len: At, from: At, n: i16 },
    InitData { longs: bool, of: At, i: At, at: At, len: At },
    InitElem { funcs: bool, of: At, i: At, at: At, len: At },
    Len { of: At },
    GlobalGet { kind: u8, g: At, to: At },
    GlobalSet { kind: u8, g: At, from: At },
    TableGet { kind: u8, i: At, to: At },
    TableSet { kind: u8, i: At, from: At },
    TableFill { kind: u8, i: At, len: At, from: At },
    TableCopy { kind: u8, to: At, from: At, len: At },
    TableGrow { kind: u8, by: At, from: At },
    /// Of the functions' table or that of `anyref`s.
    TableInit { funcs: bool, i: At, at: At, len: At },
    Move { kind: u8, to: At, from: At },
    Clear { kind: u8, to: At },
    I31 { to: At, n: i16 },
    /// A pair, if it is one, else null; by `ref.cast`, `br_on_cast` or `br_on_cast_fail`.
    CastPair { p: At, from: At, how: At },
    AnyOfExtern { to: At, e: At },
    ExternOfAny { e: At, from: At },
    /// Asks whether it is of a type.
    Test { from: At, what: At },
    /// Asks whether both are the same.
    Same { a: At, b: At },
    /// A host value.
    Make { e: At },
    /// A function of the kit's, called directly, through its table or by reference.
    Call { f: At, how: At, from: At, e: At, n: At, to: At },
    /// A function that a local or a table holds.
    CallHeld { table: bool, f: At, from: At, e: At, n: At, to: At },
    FuncOf { f: At, of: At },
    /// Throws, and catches the exception; `pair`: with a number and a pair.
    Throw { pair: bool, from: At, e: At, n: i16, x: At },
    /// Throws an exception again, and catches what it carries.
    Rethrow { x: At, to: At, e: At, p: At },
    /// The host holds a reference, or gives back what it holds.
    Hold { slot: At, from: At },
    Held { slot: At, to: At },
    Gc { kind: At },
    /// Objects that are dropped at once.
    Garbage { n: At },
    /// Checks all that can be reached from a local.
    See { kind: u8, of: At },
    /// The same, by the host.
    HostSee { of: At },
    /// Checks all that can be reached from globals and tables.
    SeeAll,
}

impl Op {
    /// Fixes a shape that is too large: to that of the operand in the model, or above it, and else to any.
    /// The operand is the first one that fits from the one on that the operation names.
    pub fn aim(&mut self, model: &Model) {
        let find = |shape: &mut u8, of: &mut At, array: bool, with: &dyn Fn(usize) -> bool| {
            if (*shape as usize) < SHAPES.len() {
                return;
            }
            let fits = |at: &usize| {
                let found = model.shape(*at as At);
                found.is_some_and(|found| SHAPES[found].element().is_some() == array && with(found))
            };
            let start = *of as usize;
            let Some(at) = (start..start + SOURCES).map(|at| at % SOURCES).find(fits) else {
                *shape %= SHAPES.len() as u8;
                return;
            };
            let mut found = model.shape(at as At).expect("it fits");
            // Now and then by way of the supertype.
            if let (Some(parent), true) = (SHAPES[found].parent, *shape & 3 == 3) {
                found = parent;
            }
            (*shape, *of) = (found as u8, at as At);
        };
        match self {
            Op::New { shape, .. } | Op::NewDefault { shape, .. } | Op::NewFixed { shape, .. } => {
                *shape %= SHAPES.len() as u8;
            }
            Op::GetField { shape, of, .. } => find(shape, of, false, &|_| true),
            Op::SetField { shape, of, .. } => find(shape, of, false, &|found| SHAPES[found].mutable),
            Op::GetElem { shape, of, .. } | Op::SetElem { shape, of, .. } | Op::FillElems { shape, of, .. } => {
                find(shape, of, true, &|_| true);
            }
            Op::CopyElems { shape, to, from, .. } => {
                let before = *shape;
                find(shape, to, true, &|_| true);
                let same = *shape as usize;
                let mut second = before;
                find(&mut second, from, true, &|found| found == same);
            }
            _ => {}
        }
    }
}

/// The kind that a number stands for.
pub fn kind(number: u8) -> Kind {
    Kind::ALL[number as usize % Kind::ALL.len()]
}

/// The elements of an array that an operation makes: mostly few.
pub fn array_len(len: usize) -> usize {
    if len % 64 == 63 { 100 + len % 1024 } else { len % 10 }
}

/// The struct type of this number, for guards that need one.
pub fn is_struct(shape: u8) -> bool {
    matches!(SHAPES[shape as usize].body, Body::Struct(_))
}

impl Program {
    /// Elements that tables begin with.
    pub fn table_len(&self) -> usize {
        (self.table % 12) as usize + 1
    }

    /// Elements that tables may have.
    pub fn table_max(&self) -> usize {
        self.table_len() + 6
    }

    /// How often the operations run.
    pub fn round_count(&self) -> u32 {
        (self.rounds % 3) as u32 + 1
    }

    /// Half of all programs return.
    pub fn ending(&self) -> End {
        let traps = super::text::TRAPS.len();
        match self.end as usize % (2 * RETURN as usize) {
            n if n < traps => End::Trap(n),
            n if n == traps => End::Throw,
            n if n == traps + 1 => End::HostThrow,
            n if n == traps + 2 => End::HostError,
            _ => End::Return,
        }
    }

    /// The program with the shapes that its operations are aimed at, and the model after it has run.
    pub fn run(&self) -> (Program, Model) {
        let mut aimed = self.clone();
        let mut model = Model::new(self);
        for round in 0..self.round_count() {
            for op in &mut aimed.ops {
                if round == 0 {
                    op.aim(&model);
                }
                model.run(*op);
            }
        }
        model.end(self.ending());
        (aimed, model)
    }
}

/// The function of the kit's that a number stands for.
pub fn func(f: At) -> usize {
    f as usize % kit::FUNCS
}
