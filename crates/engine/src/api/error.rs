//! What can go wrong: one [`Error`], whose [`ErrorKind`] says what it was.

use super::{ExnRef, Rooted};
use crate::compile::CompileError;
use crate::limits::Exceeded;
use crate::parse::ParseError;
use crate::precompiled::Misfit;
use crate::types::TypeError;
use crate::vm::trap_codes;
use cranelift_codegen::ir::TrapCode;
use gc_api::HeapError;
use std::error::Error as StdError;
use std::fmt::{self, Display, Formatter};
use std::io;

/// The result of the embedding API's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a module could not be made, a program could not go on, or the API was not used as it must be.
///
/// Prints what it was and, for what happened inside WebAssembly, the functions that were active:
///
/// ```
/// use engine::{Engine, Error, ErrorKind, Instance, Module, Store, Trap};
/// # fn main() -> Result<(), Error> {
/// let engine = Engine::new(gc_null::COLLECTOR.with(&Default::default()).unwrap())?;
/// let module = Module::new(&engine, r#"(module (func $f (export "f") unreachable))"#)?;
/// let mut store = Store::new(&engine, ())?;
/// let instance = Instance::new(&mut store, &module, &[])?;
/// let error = instance.get_func(&mut store, "f")?.call(&mut store, &[]).unwrap_err();
/// assert!(matches!(error.kind(), ErrorKind::Trap(Trap::Unreachable)));
/// assert_eq!(error.backtrace().unwrap().frames()[0].name(), Some("f"));
/// # Ok(())
/// # }
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    unsupported: Option<&'static str>,
    exceeded: Option<Exceeded>,
    backtrace: Option<WasmBacktrace>,
    live: Option<LiveObjects>,
}

/// What kind of thing went wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The program trapped.
    Trap(Trap),
    /// The program threw an exception and nothing caught it.
    Exception(Rooted<ExnRef>),
    /// A function of the host's failed.
    Host(Box<dyn StdError + Send + Sync>),
    /// The module is malformed, invalid, or uses what is not supported.
    Module(String),
    /// A precompiled module is of no use to the engine.
    Precompiled(Misfit),
    /// Imports are missing or do not fit.
    Link(LinkError),
    /// There is no memory, address space or code for what was asked.
    System(String),
    /// The store's limiter does not allow what was asked.
    Limit(String),
    /// The heap contradicts itself: a bug of the collector's.
    Corruption(String),
    /// The API was used with values that do not fit: a wrong type, a wrong number, an unknown name.
    Usage(String),
}

impl Error {
    /// An error of this kind.
    pub fn new(kind: ErrorKind) -> Error {
        Error(Box::new(Inner { kind, unsupported: None, exceeded: None, backtrace: None, live: None }))
    }

    /// An error of the host's, for functions that the program calls. [`Error::host_error`] gets it back.
    pub fn host(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        Error::new(ErrorKind::Host(error.into()))
    }

    /// Throws `exception`, when a function of the host's returns this.
    pub fn exception(exception: Rooted<ExnRef>) -> Error {
        Error::new(ErrorKind::Exception(exception))
    }

    pub(crate) fn usage(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Usage(message.into()))
    }

    pub(crate) fn system(what: &str, cause: impl Display) -> Error {
        Error::new(ErrorKind::System(format!("{what}: {cause}")))
    }

    /// Adds `backtrace` unless there is one from deeper inside.
    pub(crate) fn with_backtrace(mut self, backtrace: impl FnOnce() -> WasmBacktrace) -> Error {
        if self.0.backtrace.is_none() && !matches!(self.0.kind, ErrorKind::Exception(_)) {
            self.0.backtrace = Some(backtrace());
        }
        self
    }

    /// Adds what was live when the heap was full.
    pub(crate) fn with_live(mut self, live: LiveObjects) -> Error {
        self.0.live = Some(live);
        self
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// The kind, by value.
    pub fn into_kind(self) -> ErrorKind {
        self.0.kind
    }

    /// The trap, if it was one.
    pub fn trap(&self) -> Option<Trap> {
        match self.kind() {
            ErrorKind::Trap(trap) => Some(*trap),
            _ => None,
        }
    }

    /// The feature that a module needs and Gleaner does not have, if that is why it was refused.
    ///
    /// ```
    /// # use engine::{Engine, Module};
    /// # let engine = Engine::new(gc_null::COLLECTOR.with(&Default::default()).unwrap()).unwrap();
    /// let error = Module::new(&engine, "(module (type $f (func)) (type (cont $f)))").unwrap_err();
    /// assert_eq!(error.unsupported_feature(), Some("stack switching"));
    /// let error = Module::new(&engine, "(module (func (result i32)))").unwrap_err();
    /// assert_eq!(error.unsupported_feature(), None);
    /// ```
    pub fn unsupported_feature(&self) -> Option<&str> {
        self.0.unsupported
    }

    /// The limit that a module exceeds, and by how much, if that is why it was refused. [`limits`](crate::limits) has them all.
    ///
    /// ```
    /// # use engine::{Engine, Module, limits};
    /// # let engine = Engine::new(gc_null::COLLECTOR.with(&Default::default()).unwrap()).unwrap();
    /// let text = format!("(module (func (param {})))", "i32 ".repeat(1_001));
    /// let exceeded = Module::new(&engine, text).unwrap_err().exceeded_limit().unwrap();
    /// assert_eq!((exceeded.limit, exceeded.count), (limits::PARAMS, 1_001));
    /// ```
    pub fn exceeded_limit(&self) -> Option<Exceeded> {
        self.0.exceeded
    }

    /// The error that a function of the host's returned, if it was one of type `E`.
    pub fn host_error<E: StdError + 'static>(&self) -> Option<&E> {
        match self.kind() {
            ErrorKind::Host(error) => error.downcast_ref(),
            _ => None,
        }
    }

    /// The exception that nothing caught, if it was one.
    pub fn uncaught(&self) -> Option<&Rooted<ExnRef>> {
        match self.kind() {
            ErrorKind::Exception(exception) => Some(exception),
            _ => None,
        }
    }

    /// What was live when the program ran out of heap: [`Trap::HeapExhausted`], [`Trap::HeapLimited`].
    pub fn live(&self) -> Option<&LiveObjects> {
        self.0.live.as_ref()
    }

    /// The functions of WebAssembly that were active, where that is known.
    pub fn backtrace(&self) -> Option<&WasmBacktrace> {
        self.0.backtrace.as_ref()
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.kind() {
            ErrorKind::Trap(trap) => write!(f, "wasm trap: {trap}")?,
            ErrorKind::Exception(_) => f.write_str("uncaught exception")?,
            ErrorKind::Host(error) => Display::fmt(error, f)?,
            ErrorKind::Link(error) => Display::fmt(error, f)?,
            ErrorKind::Precompiled(misfit) => Display::fmt(misfit, f)?,
            ErrorKind::Module(message)
            | ErrorKind::System(message)
            | ErrorKind::Limit(message)
            | ErrorKind::Usage(message)
            | ErrorKind::Corruption(message) => f.write_str(message)?,
        }
        if let Some(live) = self.live() {
            write!(f, "\n{live}")?;
        }
        match self.backtrace() {
            Some(backtrace) if !backtrace.frames.is_empty() => write!(f, "\n{backtrace}"),
            _ => Ok(()),
        }
    }
}

/// The objects in a full heap that its collector has not found dead: those that are reachable, with what it cannot free beside.
///
/// Prints as lines:
///
/// ```text
/// live: 43691 objects of 1048560 bytes
///      43690 of $node, 1048544 bytes
///          1 of (array (mut i8)), 16 bytes
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveObjects {
    /// How many.
    pub objects: u64,
    /// Their bytes, with headers.
    pub bytes: u64,
    /// Of which types, those with most bytes first. The last entry may be several types together.
    pub types: Vec<LiveType>,
}

/// The objects of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveType {
    /// The type's name in the module, or the type.
    pub name: String,
    /// How many.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Display for LiveObjects {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "live: {} objects of {} bytes", self.objects, self.bytes)?;
        for LiveType { name, objects, bytes } in &self.types {
            write!(f, "\n{objects:>10} of {name}, {bytes} bytes")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self.kind() {
            ErrorKind::Host(error) => error.source(),
            _ => None,
        }
    }
}

impl From<Trap> for Error {
    fn from(trap: Trap) -> Error {
        Error::new(ErrorKind::Trap(trap))
    }
}

impl From<ParseError> for Error {
    fn from(error: ParseError) -> Error {
        let kind = ErrorKind::Module(error.to_string());
        let exceeded = if let ParseError::Limit(exceeded) = &error { Some(*exceeded) } else { None };
        Error(Box::new(Inner { kind, unsupported: error.unsupported_feature(), exceeded, backtrace: None, live: None }))
    }
}

impl From<CompileError> for Error {
    fn from(error: CompileError) -> Error {
        match error {
            CompileError::Target(_) => Error::new(ErrorKind::System(error.to_string())),
            CompileError::Limit { exceeded, .. } => {
                let kind = ErrorKind::Module(error.to_string());
                Error(Box::new(Inner {
                    kind,
                    unsupported: None,
                    exceeded: Some(exceeded),
                    backtrace: None,
                    live: None,
                }))
            }
            _ => Error::new(ErrorKind::Module(error.to_string())),
        }
    }
}

impl From<TypeError> for Error {
    fn from(error: TypeError) -> Error {
        match error {
            TypeError::Member { .. } => Error::usage(error.to_string()),
            _ => Error::new(ErrorKind::Module(error.to_string())),
        }
    }
}

impl From<Misfit> for Error {
    fn from(misfit: Misfit) -> Error {
        Error::new(ErrorKind::Precompiled(misfit))
    }
}

impl From<HeapError> for Error {
    fn from(error: HeapError) -> Error {
        Error::new(ErrorKind::System(error.to_string()))
    }
}

impl From<LinkError> for Error {
    fn from(error: LinkError) -> Error {
        Error::new(ErrorKind::Link(error))
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::new(ErrorKind::System(error.to_string()))
    }
}

/// Why a program cannot go on. The messages are those of the official test suite, where it has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Trap {
    /// `unreachable` was executed.
    #[error("unreachable")]
    Unreachable,
    /// An access outside a linear memory, or outside a data segment.
    #[error("out of bounds memory access")]
    MemoryOutOfBounds,
    /// An access outside a table, or outside an element segment.
    #[error("out of bounds table access")]
    TableOutOfBounds,
    /// An access outside an array.
    #[error("out of bounds array access")]
    ArrayOutOfBounds,
    /// An indirect call by an index outside the table.
    #[error("undefined element")]
    UndefinedElement,
    /// An indirect call to a null entry of a table.
    #[error("uninitialized element")]
    UninitializedElement,
    /// An indirect call to a function of another type.
    #[error("indirect call type mismatch")]
    BadSignature,
    /// Something was done to null.
    #[error("null reference")]
    NullReference,
    /// A cast to a type that the value does not have.
    #[error("cast failure")]
    CastFailure,
    /// An array that no heap could hold.
    #[error("allocation size too large: an array of this length exceeds the heap's 4 GiB index space")]
    AllocationTooLarge,
    /// The heap is full and may not grow.
    #[error(
        "out of heap memory: the live objects and the one to be allocated exceed the limit of {limit} bytes; \
         raise it with `--heap SIZE` or `Config::heap_limit`"
    )]
    HeapExhausted {
        /// The limit in bytes.
        limit: u64,
    },
    /// The heap is full and the store's limiter does not let it grow.
    #[error(
        "out of heap memory: the live objects and the one to be allocated exceed the {committed} bytes at which the store's limiter \
         keeps the heap; raise its limit (`StoreLimitsBuilder::heap_size`)"
    )]
    HeapLimited {
        /// Bytes that the heap has.
        committed: u64,
    },
    /// The store's deadline has passed.
    #[error("interrupted: the deadline that was set for the program has passed")]
    Interrupt,
    /// The store's fuel is used up.
    #[error("all fuel is consumed: the program was given no more instructions to execute")]
    OutOfFuel,
    /// An integer division by zero.
    #[error("integer divide by zero")]
    IntegerDivideByZero,
    /// A result that its integer type cannot hold.
    #[error("integer overflow")]
    IntegerOverflow,
    /// A conversion of NaN to an integer.
    #[error("invalid conversion to integer")]
    BadConversionToInteger,
    /// An atomic access at an address that is no multiple of its size.
    #[error("unaligned atomic")]
    UnalignedAtomic,
    /// A wait for a change of a memory that no other thread can change.
    #[error("expected shared memory")]
    ExpectedSharedMemory,
    /// Calls are nested too deeply.
    #[error("call stack exhausted")]
    StackOverflow,
}

impl Trap {
    /// The trap of a code in compiled code; `None` for the code that stands for a corrupt heap.
    pub(crate) fn from_code(code: TrapCode) -> Option<Trap> {
        Some(match code {
            trap_codes::NULL_REFERENCE => Trap::NullReference,
            trap_codes::UNREACHABLE => Trap::Unreachable,
            trap_codes::TABLE_OUT_OF_BOUNDS => Trap::TableOutOfBounds,
            trap_codes::INDIRECT_OUT_OF_BOUNDS => Trap::UndefinedElement,
            trap_codes::INDIRECT_CALL_TO_NULL => Trap::UninitializedElement,
            trap_codes::BAD_SIGNATURE => Trap::BadSignature,
            trap_codes::ARRAY_OUT_OF_BOUNDS => Trap::ArrayOutOfBounds,
            trap_codes::CAST_FAILURE => Trap::CastFailure,
            trap_codes::ALLOCATION_TOO_LARGE => Trap::AllocationTooLarge,
            trap_codes::UNALIGNED_ATOMIC => Trap::UnalignedAtomic,
            TrapCode::HEAP_OUT_OF_BOUNDS => Trap::MemoryOutOfBounds,
            TrapCode::STACK_OVERFLOW => Trap::StackOverflow,
            TrapCode::INTEGER_OVERFLOW => Trap::IntegerOverflow,
            TrapCode::INTEGER_DIVISION_BY_ZERO => Trap::IntegerDivideByZero,
            TrapCode::BAD_CONVERSION_TO_INTEGER => Trap::BadConversionToInteger,
            _ => return None,
        })
    }
}

/// Imports that could not be satisfied: all of a module's at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkError {
    /// In the order of the imports.
    pub problems: Vec<ImportProblem>,
}

/// One import that could not be satisfied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportProblem {
    /// The module's part of the name.
    pub module: String,
    /// The item's part.
    pub name: String,
    /// The type that is imported, in the text format's notation.
    pub expected: String,
    /// The type of what there is, or `None` when there is nothing of that name.
    pub found: Option<String>,
}

impl Display for LinkError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let line = |f: &mut Formatter<'_>, p: &ImportProblem| match &p.found {
            None => write!(f, "unknown import `{}` `{}`: {}", p.module, p.name, p.expected),
            Some(found) => write!(
                f,
                "incompatible import type for `{}` `{}`: expected {}, found {found}",
                p.module, p.name, p.expected
            ),
        };
        match self.problems.as_slice() {
            [problem] => line(f, problem),
            problems => {
                write!(f, "{} imports cannot be satisfied:", problems.len())?;
                problems.iter().try_for_each(|problem| {
                    f.write_str("\n  ")?;
                    line(f, problem)
                })
            }
        }
    }
}

impl StdError for LinkError {}

/// The functions of WebAssembly that were active, innermost first.
///
/// All of them, in all modules: nothing is inlined. Functions of the host's are left out, and so is who called in tail
/// position: its frame was gone. It prints a line for each frame, of a deep recursion for those at either end:
///
/// ```text
/// wasm backtrace:
///     0:    0x32 - module!$innermost
///     1:    0x3e - module!function 2
/// ```
///
/// A line has the frame's number, the offset of its instruction in the binary (as `wasm-objdump -d` and `wasm-tools objdump`
/// print them; of a module that was given as text, in the binary that the text stands for), and the function: after the
/// module's name if it has one, by its own name or, if it has none, by its index.
#[derive(Clone, Debug, Default)]
pub struct WasmBacktrace {
    pub(crate) frames: Vec<WasmFrame>,
    pub(crate) omitted: usize,
}

impl WasmBacktrace {
    /// The frames, innermost first. Of a deep recursion only those at either end are known.
    pub fn frames(&self) -> &[WasmFrame] {
        &self.frames
    }

    /// Number of frames that are not known: they stood in the middle.
    pub fn omitted(&self) -> usize {
        self.omitted
    }
}

/// A frame of a [`WasmBacktrace`].
#[derive(Clone, Debug)]
pub struct WasmFrame {
    pub(crate) function: u32,
    pub(crate) name: Option<String>,
    pub(crate) module: Option<String>,
    pub(crate) offset: Option<u32>,
}

impl WasmFrame {
    /// The function's index in its module.
    pub fn function(&self) -> u32 {
        self.function
    }

    /// The function's name, from the name section or an export.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The module's name, from the name section.
    pub fn module(&self) -> Option<&str> {
        self.module.as_deref()
    }

    /// The byte offset of the instruction in the binary.
    pub fn offset(&self) -> Option<u32> {
        self.offset
    }
}

/// Of a runaway recursion, so many frames are printed from the innermost on. All of them are known.
const INNERMOST: usize = 20;
/// And so many at the outermost end. All of those are known, too, so frames are numbered as if none were missing.
const OUTERMOST: usize = 16;

impl Display for WasmBacktrace {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("wasm backtrace:")?;
        let known = self.frames.len();
        let (first, last) = match known.checked_sub(INNERMOST + OUTERMOST) {
            Some(hidden) if hidden > 0 => (INNERMOST, known - OUTERMOST),
            _ => (known, known),
        };
        self.frames[..first].iter().enumerate().try_for_each(|(i, frame)| write!(f, "\n  {i:>3}: {frame}"))?;
        if last > first {
            write!(f, "\n        … {} more frames …", last - first + self.omitted)?;
        }
        let outermost = self.frames.iter().enumerate().skip(last);
        outermost
            .map(|(i, frame)| (i + self.omitted, frame))
            .try_for_each(|(i, frame)| write!(f, "\n  {i:>3}: {frame}"))
    }
}

impl Display for WasmFrame {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(offset) = self.offset {
            write!(f, "{offset:#7x} - ")?;
        }
        if let Some(module) = &self.module {
            write!(f, "{module}!")?;
        }
        match &self.name {
            Some(name) => write!(f, "${name}"),
            None => write!(f, "function {}", self.function),
        }
    }
}
