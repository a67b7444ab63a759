//! What a module is, once it has been parsed and validated: everything but its code.

use crate::types::{FuncType, GlobalType, MemoryType, ModuleTypes, RefType, TableType};
use crate::vm::Offsets;
use gc_api::TypeIndex;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::ops::Range;

/// A module's declarations. Index spaces begin with the imports, as in the binary format.
#[derive(Debug, Default)]
pub struct ModuleInfo {
    /// The module's own name, from the name section.
    pub name: Option<String>,
    /// Module type indices → canonical ones.
    pub types: ModuleTypes,
    /// Imports in order.
    pub imports: Vec<Import>,
    /// Exports in order.
    pub exports: Vec<Export>,
    /// Canonical type of each function.
    pub funcs: Vec<TypeIndex>,
    /// Tables.
    pub tables: Vec<TableType>,
    /// Memories.
    pub memories: Vec<MemoryType>,
    /// Globals.
    pub globals: Vec<GlobalType>,
    /// Canonical function type of each tag.
    pub tags: Vec<TypeIndex>,
    /// How many of each index space are imports.
    pub imported_funcs: u32,
    pub imported_tables: u32,
    pub imported_memories: u32,
    pub imported_globals: u32,
    pub imported_tags: u32,
    /// Initial values of the defined globals.
    pub global_inits: Vec<ConstExpr>,
    /// Initial element of the defined tables, where one is given.
    pub table_inits: Vec<Option<ConstExpr>>,
    /// Element segments.
    pub elements: Vec<ElementSegment>,
    /// Data segments.
    pub data: Vec<DataSegment>,
    /// The start function.
    pub start: Option<u32>,
    /// Defined functions that can become a function reference (exported, in a segment, in `ref.func`, in a constant expression), by
    /// function index: position in the instance's `func_refs`.
    pub escaping: HashMap<u32, u32>,
    /// Function names, from the name section.
    pub func_names: HashMap<u32, String>,
    /// Type names, from there too.
    pub type_names: HashMap<u32, String>,
    /// The other names, from there too.
    pub item_names: ItemNames,
    /// Where the code of each defined function stands in the binary.
    pub bodies: Vec<Range<usize>>,
    /// The layout of an instance's record.
    pub offsets: Offsets,
    /// The tables that nothing can change, if they were looked for.
    pub fixed_tables: FixedTables,
}

/// What the name section calls what is neither a function nor a type, each by its index.
#[derive(Debug, Default)]
pub struct ItemNames {
    pub tables: HashMap<u32, String>,
    pub globals: HashMap<u32, String>,
    pub elements: HashMap<u32, String>,
    pub tags: HashMap<u32, String>,
    /// Fields, by the type's index and then the field's.
    pub fields: HashMap<u32, HashMap<u32, String>>,
}

/// The tables that nothing can change, and the calls through them.
#[derive(Debug, Default)]
pub struct FixedTables {
    /// By table; empty when none is fixed.
    pub tables: Vec<Option<FixedTable>>,
    /// By defined function, the number of its first `call_indirect` through such a table; at the end the number of all.
    /// Unreachable ones count, but are not compiled. Empty when calls have no caches.
    pub sites: Vec<u32>,
}

/// A table that nothing can change.
#[derive(Debug)]
pub struct FixedTable {
    /// The functions that it may hold beside nulls, by their types; `None` when they are not known.
    pub holds: Option<BTreeMap<TypeIndex, Vec<u32>>>,
}

impl ModuleInfo {
    /// A function as profilers name it: with its module's name, and by its index if it has none of its own.
    pub fn full_name(&self, index: u32) -> String {
        let module = self.name.as_ref().map(|module| format!("{module}!")).unwrap_or_default();
        match self.func_name(index) {
            Some(name) => format!("{module}${name}"),
            None => format!("{module}function {index}"),
        }
    }

    /// The name of a table, global or tag: from the name section, with `$`, or that of an export, in quotes.
    pub fn item_name(&self, kind: ExternKind, index: u32) -> Option<String> {
        let names = match kind {
            ExternKind::Table => &self.item_names.tables,
            ExternKind::Global => &self.item_names.globals,
            ExternKind::Tag => &self.item_names.tags,
            ExternKind::Func | ExternKind::Memory => return None,
        };
        names.get(&index).map(|name| format!("${name}")).or_else(|| {
            let export = self.exports.iter().find(|export| export.kind == kind && export.index == index)?;
            Some(format!("\"{}\"", export.name))
        })
    }

    /// The name of a function: from the name section, or an export, or none.
    pub fn func_name(&self, index: u32) -> Option<&str> {
        self.func_names.get(&index).map(String::as_str).or_else(|| {
            self.exports.iter().find(|e| e.kind == ExternKind::Func && e.index == index).map(|e| e.name.as_str())
        })
    }
}

/// One import.
#[derive(Debug, Clone)]
pub struct Import {
    /// The module's part of the name.
    pub module: String,
    /// The item's part.
    pub name: String,
    /// What it is; the type is in the index space.
    pub kind: ExternKind,
    /// Index in its space.
    pub index: u32,
}

/// One export.
#[derive(Debug, Clone)]
pub struct Export {
    /// The name.
    pub name: String,
    /// What it is.
    pub kind: ExternKind,
    /// Index in its space.
    pub index: u32,
}

/// What an import or an export is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExternKind {
    Func,
    Table,
    Memory,
    Global,
    Tag,
}

/// A constant expression, for the interpreter: a stack program.
pub type ConstExpr = Box<[ConstOp]>;

/// An instruction of a constant expression. Types are canonical.
#[derive(Debug, Clone, PartialEq)]
pub enum ConstOp {
    I32(i32),
    I64(i64),
    /// Bits.
    F32(u32),
    /// Bits.
    F64(u64),
    V128(u128),
    RefNull,
    RefFunc(u32),
    GlobalGet(u32),
    I32Add,
    I32Sub,
    I32Mul,
    I64Add,
    I64Sub,
    I64Mul,
    RefI31,
    StructNew(TypeIndex),
    StructNewDefault(TypeIndex),
    ArrayNew(TypeIndex),
    ArrayNewDefault(TypeIndex),
    ArrayNewFixed(TypeIndex, u32),
    AnyConvertExtern,
    ExternConvertAny,
}

/// An element segment.
#[derive(Debug)]
pub struct ElementSegment {
    /// When it is used.
    pub mode: SegmentMode,
    /// What its elements are.
    pub ty: RefType,
    /// Its elements.
    pub items: ElementItems,
}

/// The elements of a segment.
#[derive(Debug)]
pub enum ElementItems {
    /// Function indices.
    Funcs(Box<[u32]>),
    /// Expressions.
    Exprs(Box<[ConstExpr]>),
}

impl ElementItems {
    /// The expressions; none when there are function indices.
    pub fn exprs(&self) -> &[ConstExpr] {
        match self {
            ElementItems::Funcs(_) => &[],
            ElementItems::Exprs(exprs) => exprs,
        }
    }
}

/// When a segment is used.
#[derive(Debug)]
pub enum SegmentMode {
    /// At instantiation, at an offset of a table or memory.
    Active { target: u32, offset: ConstExpr },
    /// By an instruction.
    Passive,
    /// Never: it only declares function references.
    Declared,
}

/// A data segment.
#[derive(Debug)]
pub struct DataSegment {
    /// When it is used.
    pub mode: SegmentMode,
    /// Where its bytes stand in the binary.
    pub bytes: Range<usize>,
}

/// A compiled function or trampoline, before it is placed in memory. Offsets are from its first byte.
#[derive(Debug, Default)]
pub struct CompiledCode {
    /// Machine code.
    pub code: Vec<u8>,
    /// Alignment of its start.
    pub align: u32,
    /// Direct calls and absolute addresses to fill in.
    pub relocs: Vec<Reloc>,
    /// Faulting instruction → trap code, ascending.
    pub traps: Vec<(u32, cranelift_codegen::ir::TrapCode)>,
    /// Return address → stack map, ascending.
    pub stack_maps: Vec<StackMap>,
    /// Return address → where to go on when the call throws, ascending.
    pub handlers: Vec<Handler>,
    /// Instruction → offset in the binary or [`Origin::position`], ascending; for backtraces.
    pub positions: Vec<(u32, u32)>,
    /// Instructions of other functions that were inlined here.
    pub origins: Vec<Origin>,
}

impl CompiledCode {
    /// That of a function that is never called.
    pub fn none() -> CompiledCode {
        CompiledCode { align: 1, ..CompiledCode::default() }
    }

    /// The functions that it calls or refers to.
    pub fn callees(&self) -> impl Iterator<Item = u32> {
        self.relocs.iter().filter_map(|reloc| match reloc.target {
            RelocTarget::Function(index) => Some(index),
            _ => None,
        })
    }
}

/// Where an instruction of an inlined function comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Origin {
    /// The function it belongs to, by its number among the module's own.
    pub function: u32,
    /// Its offset in the binary.
    pub offset: u32,
    /// The position of the call that was inlined: an offset in the binary, or another origin.
    pub call: u32,
}

impl Origin {
    /// Positions from this one on are not offsets but indices of origins: a binary is smaller than 2 GiB.
    pub const FIRST: u32 = 1 << 31;

    /// The position that stands for origin `index`.
    pub fn position(index: usize) -> u32 {
        Origin::FIRST + index as u32
    }

    /// Which origin a position stands for, if it is no offset.
    pub fn index(position: u32) -> Option<usize> {
        position.checked_sub(Origin::FIRST).map(|index| index as usize)
    }

    /// Whether positions refer to origins that exist, and these to earlier ones and to functions that exist.
    pub fn are_sound(origins: &[Origin], positions: &[(u32, u32)], functions: u32) -> bool {
        let before = |end: usize| move |position: u32| Origin::index(position).is_none_or(|index| index < end);
        positions.iter().all(|(_, position)| before(origins.len())(*position))
            && origins.iter().enumerate().all(|(i, origin)| origin.function < functions && before(i)(origin.call))
    }
}

/// Live references at a call.
#[derive(Debug)]
pub struct StackMap {
    /// The return address.
    pub ret: u32,
    /// Bytes from the stack pointer at the call up to the frame pointer.
    pub frame_size: u32,
    /// Bytes from the stack pointer of the slots that hold references (4 bytes each).
    pub slots: Box<[u32]>,
}

/// An exception handler of a call.
#[derive(Debug, Clone, Copy)]
pub struct Handler {
    /// The return address.
    pub ret: u32,
    /// Where to go on.
    pub target: u32,
    /// Bytes from the stack pointer at the call up to the frame pointer.
    pub frame_size: u32,
}

/// A place in machine code to fill in.
#[derive(Debug)]
pub struct Reloc {
    /// Where.
    pub at: u32,
    /// How.
    pub kind: cranelift_codegen::binemit::Reloc,
    /// With what.
    pub target: RelocTarget,
    /// Added to the target.
    pub addend: i64,
}

/// What a relocation names.
#[derive(Debug, Clone, Copy)]
pub enum RelocTarget {
    /// A defined function of the same module, by its index among them.
    Function(u32),
    /// A function of Cranelift's runtime library.
    LibCall(cranelift_codegen::ir::LibCall),
    /// A type's canonical index, which another engine numbers differently.
    Type(TypeIndex),
    /// The same where the header of an object has it: shifted left by 32.
    Header(TypeIndex),
}

/// The signature that decides which trampolines a function needs: its type with every reference widened to the nullable top of
/// its hierarchy.
pub type TrampolineType = FuncType;
