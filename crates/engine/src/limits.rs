//! The numbers at which a module is refused, in one place.
//!
//! Those of declarations are the ones of the Web's engines (WebAssembly JavaScript Interface, "Implementation-defined Limits"),
//! which producers of modules know. The others bound what a small binary can ask of the compiler: without them, a few bytes that
//! open a block with a thousand results could be repeated a million times.
//!
//! What a module declares is counted here, section by section and before the validator sees the section, so that an error can
//! name the limit and the number that exceeds it. Contents that cannot be read are left to the validator.

use std::fmt;
use wasmparser::{BinaryReader, BinaryReaderError, ElementItems, ElementSectionReader, FunctionBody, Payload, TypeRef};

/// A limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// What it is called, in kebab case.
    pub name: &'static str,
    /// The largest number that is accepted.
    pub max: u64,
    /// What is counted: "functions".
    pub counts: &'static str,
}

/// A number beyond a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exceeded {
    /// The limit.
    pub limit: Limit,
    /// The number. Where counting ends as soon as the limit is reached, it is one more than the limit.
    pub count: u64,
}

impl Limit {
    /// Refuses what is beyond the limit.
    pub(crate) fn check(self, count: u64) -> Result<(), Exceeded> {
        if count <= self.max { Ok(()) } else { Err(Exceeded { limit: self, count }) }
    }
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Exceeded { limit: Limit { name, max, counts }, count } = self;
        write!(f, "{count} {counts}, but the limit `{name}` is {max}")
    }
}

impl std::error::Error for Exceeded {}

macro_rules! limits {
    ($($(#[$doc:meta])* $constant:ident = $name:literal, $max:expr, $counts:literal;)*) => {
        $($(#[$doc])* pub const $constant: Limit = Limit { name: $name, max: $max, counts: $counts };)*

        /// Every limit, in the order of what they are about: the module, its types, its declarations, its code, the instance.
        pub const LIMITS: &[Limit] = &[$($constant),*];
    };
}
limits! {
    /// Of a binary. Positions in it have 32 bits.
    MODULE_BYTES = "module-bytes", 1 << 30, "bytes of binary";
    /// Of a name in an import or export, or of a custom section.
    NAME_BYTES = "name-bytes", 100_000, "bytes of a name";

    /// Those of all recursion groups together.
    TYPES = "types", 1_000_000, "types";
    /// Declared supertypes above a type.
    SUBTYPE_DEPTH = "subtype-depth", 63, "supertypes above a type";
    /// Of a function type.
    PARAMS = "params", 1_000, "parameters of a function type";
    /// Of a function type.
    RESULTS = "results", 1_000, "results of a function type";
    /// Of a struct type.
    FIELDS = "fields", 10_000, "fields of a struct type";

    /// Of all kinds.
    IMPORTS = "imports", 1_000_000, "imports";
    /// Imported ones included, as in the limits that follow.
    FUNCTIONS = "functions", 1_000_000, "functions";
    /// See [`FUNCTIONS`].
    TABLES = "tables", 100_000, "tables";
    /// See [`FUNCTIONS`].
    MEMORIES = "memories", 100, "memories";
    /// See [`FUNCTIONS`].
    TAGS = "tags", 1_000_000, "tags";
    /// See [`FUNCTIONS`].
    GLOBALS = "globals", 1_000_000, "globals";
    /// Of all kinds.
    EXPORTS = "exports", 1_000_000, "exports";
    /// Active, passive and declared ones.
    ELEMENT_SEGMENTS = "element-segments", 100_000, "element segments";
    /// Of one segment.
    SEGMENT_ELEMENTS = "segment-elements", 10_000_000, "elements of a segment";
    /// Active and passive ones.
    DATA_SEGMENTS = "data-segments", 100_000, "data segments";

    /// Of one function, its declarations of locals included.
    BODY_BYTES = "body-bytes", 7_654_321, "bytes of a function's body";
    /// Of one function, its parameters included.
    LOCALS = "locals", 50_000, "parameters and locals of a function";
    /// Blocks, loops, `if`s and `try_table`s around an instruction.
    NESTING = "nesting", 100_000, "nested blocks in a function";
    /// Of one `br_table`, the default included.
    BRANCH_TARGETS = "branch-targets", 1_000_000, "targets of a `br_table`";
    /// Of one `try_table`.
    CATCHES = "catches", 10_000, "catch clauses of a `try_table`";
    /// Of one `array.new_fixed`.
    FIXED_ELEMENTS = "fixed-elements", 10_000, "operands of an `array.new_fixed`";
    /// Values in a function's intermediate form, and values that its branches pass. The code generator's own limit, of about
    /// two million live registers, is met by code that does not repeat itself before this one.
    CODE_VALUES = "code-values", 4_000_000, "values in a function's intermediate code";

    /// Of a table at any time: growing beyond it fails. 2 GiB of function references.
    TABLE_ELEMENTS = "table-elements", 1 << 28, "elements of a table";
}

/// What has been counted so far.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    functions: u64,
    tables: u64,
    memories: u64,
    tags: u64,
    globals: u64,
}

impl Counter {
    /// Counts what a section, or a function's body, declares.
    pub(crate) fn section(&mut self, bytes: &[u8], payload: &Payload<'_>) -> Result<(), Unfit> {
        self.count(bytes, payload)?;
        let (count, range) = match payload {
            Payload::ImportSection(section) => (section.count(), section.range()),
            Payload::FunctionSection(section) => (section.count(), section.range()),
            Payload::TableSection(section) => (section.count(), section.range()),
            Payload::MemorySection(section) => (section.count(), section.range()),
            Payload::TagSection(section) => (section.count(), section.range()),
            Payload::GlobalSection(section) => (section.count(), section.range()),
            Payload::ExportSection(section) => (section.count(), section.range()),
            Payload::ElementSection(section) => (section.count(), section.range()),
            Payload::DataSection(section) => (section.count(), section.range()),
            _ => return Ok(()),
        };
        stated(count, range.end - range.start, range.start)
    }

    fn count(&mut self, bytes: &[u8], payload: &Payload<'_>) -> Result<(), Unfit> {
        let count = |count: u32| u64::from(count);
        let reader = |range: std::ops::Range<u64>| {
            BinaryReader::new(&bytes[range.start as usize..range.end as usize], range.start)
        };
        match payload {
            Payload::TypeSection(section) => scanned(types(reader(section.range()))),
            Payload::ImportSection(section) => scanned(self.imports(reader(section.range()))),
            Payload::FunctionSection(section) => Ok(add(&mut self.functions, section.count(), FUNCTIONS)?),
            Payload::TableSection(section) => Ok(add(&mut self.tables, section.count(), TABLES)?),
            Payload::MemorySection(section) => Ok(add(&mut self.memories, section.count(), MEMORIES)?),
            Payload::TagSection(section) => Ok(add(&mut self.tags, section.count(), TAGS)?),
            Payload::GlobalSection(section) => Ok(add(&mut self.globals, section.count(), GLOBALS)?),
            Payload::ExportSection(section) => {
                EXPORTS.check(count(section.count()))?;
                scanned(exports(reader(section.range())))
            }
            Payload::ElementSection(section) => Ok(elements(section)?),
            Payload::DataCountSection { count: segments, .. } => Ok(DATA_SEGMENTS.check(count(*segments))?),
            Payload::DataSection(section) => Ok(DATA_SEGMENTS.check(count(section.count()))?),
            Payload::CodeSectionEntry(body) => Ok(BODY_BYTES.check(body.as_bytes().len() as u64)?),
            _ => Ok(()),
        }
    }

    fn imports(&mut self, mut reader: BinaryReader<'_>) -> Scanned {
        let count = reader.read_var_u32()?;
        IMPORTS.check(count.into())?;
        for _ in 0..count {
            name(&mut reader)?;
            name(&mut reader)?;
            match reader.read()? {
                TypeRef::Func(_) | TypeRef::FuncExact(_) => add(&mut self.functions, 1, FUNCTIONS)?,
                TypeRef::Table(_) => add(&mut self.tables, 1, TABLES)?,
                TypeRef::Memory(_) => add(&mut self.memories, 1, MEMORIES)?,
                TypeRef::Global(_) => add(&mut self.globals, 1, GLOBALS)?,
                TypeRef::Tag(_) => add(&mut self.tags, 1, TAGS)?,
            }
        }
        Ok(())
    }
}

/// Parameters and locals of a function together; 0 when the declarations cannot be read.
pub(crate) fn locals(params: usize, body: &FunctionBody<'_>) -> u64 {
    let Ok(declarations) = body.get_locals_reader() else { return 0 };
    let counts = declarations.into_iter().map_while(|declaration| declaration.ok());
    params as u64 + counts.map(|(count, _)| u64::from(count)).sum::<u64>()
}

/// Which limit the validator found exceeded where nothing is counted before it reads: there it does not say by how much.
pub(crate) fn of_error(bytes: &[u8], error: &BinaryReaderError) -> Option<Result<(), Exceeded>> {
    let number = |at: u64| BinaryReader::new(bytes.get(at as usize..)?, at).read_var_u32().ok();
    match error.message() {
        // The error stands where the number does.
        "catches size is out of bounds" => Some(CATCHES.check(number(error.offset())?.into())),
        // The name of a custom section: every other is counted. The error stands where the number ends.
        "string size out of bounds" => {
            let longest = error.offset().checked_sub(4)?;
            let lengths = (longest..=error.offset()).filter_map(|at| {
                let mut reader = BinaryReader::new(bytes.get(at as usize..)?, at);
                let length = reader.read_var_u32().ok()?;
                (reader.original_position() == error.offset() + 1).then_some(length)
            });
            // The byte in front ends the section's size, so that no longer number ends here.
            Some(NAME_BYTES.check(lengths.into_iter().next()?.into()))
        }
        _ => None,
    }
}

/// Why a section is refused before the validator sees it.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// It exceeds a limit.
    Exceeded(Exceeded),
    /// It claims more than it has bytes for. The validator reserves memory for what is claimed before it finds that out.
    Overstated {
        /// What it claims.
        count: u32,
        /// The bytes that are there for it.
        bytes: u64,
        /// Where they begin.
        offset: u64,
    },
}

impl From<Exceeded> for Unfit {
    fn from(exceeded: Exceeded) -> Unfit {
        Unfit::Exceeded(exceeded)
    }
}

/// Refuses `count` items, each of a byte at least, in fewer bytes.
fn stated(count: u32, bytes: u64, offset: u64) -> Result<(), Unfit> {
    if u64::from(count) <= bytes { Ok(()) } else { Err(Unfit::Overstated { count, bytes, offset }) }
}

/// Why a scan ended.
enum Stop {
    Unfit(Unfit),
    /// It does not read: the validator will say why.
    Unreadable,
}

type Scanned = Result<(), Stop>;

impl From<Exceeded> for Stop {
    fn from(exceeded: Exceeded) -> Stop {
        Stop::Unfit(exceeded.into())
    }
}

impl From<Unfit> for Stop {
    fn from(unfit: Unfit) -> Stop {
        Stop::Unfit(unfit)
    }
}

impl From<wasmparser::BinaryReaderError> for Stop {
    fn from(_: wasmparser::BinaryReaderError) -> Stop {
        Stop::Unreadable
    }
}

fn scanned(result: Scanned) -> Result<(), Unfit> {
    match result {
        Err(Stop::Unfit(unfit)) => Err(unfit),
        Ok(()) | Err(Stop::Unreadable) => Ok(()),
    }
}

fn add(sum: &mut u64, count: u32, limit: Limit) -> Result<(), Exceeded> {
    *sum += u64::from(count);
    limit.check(*sum)
}

/// Passes over a name. Those that are too long to be read are still counted.
fn name(reader: &mut BinaryReader<'_>) -> Scanned {
    let length = reader.read_var_u32()?;
    NAME_BYTES.check(length.into())?;
    reader.read_bytes(length as usize)?;
    Ok(())
}

fn exports(mut reader: BinaryReader<'_>) -> Scanned {
    for _ in 0..reader.read_var_u32()? {
        name(&mut reader)?;
        reader.read_u8()?;
        reader.read_var_u32()?;
    }
    Ok(())
}

fn elements(section: &ElementSectionReader<'_>) -> Result<(), Exceeded> {
    ELEMENT_SEGMENTS.check(section.count().into())?;
    for segment in section.clone().into_iter().map_while(|segment| segment.ok()) {
        let count = match segment.items {
            ElementItems::Functions(items) => items.count(),
            ElementItems::Expressions(_, items) => items.count(),
        };
        SEGMENT_ELEMENTS.check(count.into())?;
    }
    Ok(())
}

/// Walks over a type section by hand: the library's reader stops at types that are too large without saying how large.
fn types(mut reader: BinaryReader<'_>) -> Scanned {
    const RECURSION_GROUP: u8 = 0x4e;
    // By type: the number of supertypes above it.
    let mut depths = Vec::new();
    let mut groups = reader.read_var_u32()?;
    while groups > 0 {
        groups -= 1;
        let mut members = 1;
        if peek(&reader)? == RECURSION_GROUP {
            reader.read_u8()?;
            members = reader.read_var_u32()?;
        }
        // An empty group has no types and takes two bytes.
        TYPES.check(depths.len() as u64 + u64::from(members))?;
        stated(members, reader.bytes_remaining() as u64, reader.original_position())?;
        for _ in 0..members {
            let depth = sub_type(&mut reader, &depths)?;
            depths.push(depth);
        }
    }
    TYPES.check(depths.len() as u64)?;
    Ok(())
}

fn peek(reader: &BinaryReader<'_>) -> Result<u8, Stop> {
    Ok(reader.clone().read_u8()?)
}

/// Passes over a type; its depth.
fn sub_type(reader: &mut BinaryReader<'_>, depths: &[u64]) -> Result<u64, Stop> {
    const SUB: u8 = 0x50;
    const SUB_FINAL: u8 = 0x4f;
    let mut depth = 0;
    if matches!(peek(reader)?, SUB | SUB_FINAL) {
        reader.read_u8()?;
        for _ in 0..reader.read_var_u32()? {
            // A supertype stands before its subtypes.
            let supertype = reader.read_var_u32()? as usize;
            depth = depths.get(supertype).ok_or(Stop::Unreadable)? + 1;
        }
    }
    SUBTYPE_DEPTH.check(depth)?;
    match reader.read_u8()? {
        0x60 => {
            for limit in [PARAMS, RESULTS] {
                let count = reader.read_var_u32()?;
                limit.check(count.into())?;
                (0..count).try_for_each(|_| value_type(reader))?;
            }
        }
        0x5f => {
            let count = reader.read_var_u32()?;
            FIELDS.check(count.into())?;
            (0..count).try_for_each(|_| field(reader))?;
        }
        0x5e => field(reader)?,
        // Of a proposal that is not supported.
        _ => return Err(Stop::Unreadable),
    }
    Ok(depth)
}

fn field(reader: &mut BinaryReader<'_>) -> Scanned {
    value_type(reader)?;
    // Whether it is mutable.
    reader.read_u8()?;
    Ok(())
}

/// Passes over a value type, a packed one included.
fn value_type(reader: &mut BinaryReader<'_>) -> Scanned {
    const REF: u8 = 0x64;
    const REF_NULL: u8 = 0x63;
    if matches!(reader.read_u8()?, REF | REF_NULL) {
        reader.read_var_s33()?;
    }
    Ok(())
}
