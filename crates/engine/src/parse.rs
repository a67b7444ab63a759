//! From a binary to a [`ModuleInfo`]: everything of a module but the bodies of its functions, decoded and validated.
//!
//! 1. The sections go through the validator one after another; what they contain is kept for later, still encoded. The
//!    validator also makes, for each function, what the compiler needs to validate its body on another thread.
//! 2. Bodies are searched for legacy exception handling: a module that uses it is to be converted, which its author
//!    should learn before any of it is compiled.
//! 3. The types are registered, and the sections decoded with canonical types. Nothing is registered for a module that
//!    was refused.
//!
//! A module that is refused may be wrong, or right and ahead of Gleaner: [`classify`] tells, by validating it once more
//! with the features that Gleaner lacks.

use crate::info::{
    ConstExpr, ConstOp, DataSegment, ElementItems, ElementSegment, Export, ExternKind, Import, ModuleInfo, SegmentMode,
};
use crate::limits::{self, Counter, Exceeded};
use crate::types::{ExternType, ModuleTypes, TagType, TypeError, TypeRegistry};
use crate::vm::{Counts, Offsets};
use std::collections::HashMap;
use std::ops::Range;
use thiserror::Error;
use wasmparser::{
    BinaryReader, BinaryReaderError, CustomSectionReader, DataKind, DataSectionReader, ElementKind,
    ElementSectionReader, ExportSectionReader, ExternalKind, FuncToValidate, FuncValidatorAllocations, FunctionBody,
    FunctionSectionReader, GlobalSectionReader, ImportSectionReader, KnownCustom, MemorySectionReader, Name, Operator,
    OperatorsReader, OperatorsReaderAllocations, Parser, Payload, TableInit, TableSectionReader, TagSectionReader,
    TypeRef, ValidPayload, Validator, ValidatorResources, WasmFeatures,
};

/// What Gleaner supports: WebAssembly 3.0, and of the proposals threads, custom page sizes and wide arithmetic.
pub const FEATURES: WasmFeatures = WasmFeatures::WASM1
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::EXCEPTIONS)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::FUNCTION_REFERENCES)
    .union(WasmFeatures::GC)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::RELAXED_SIMD)
    .union(WasmFeatures::MEMORY64)
    .union(WasmFeatures::CUSTOM_PAGE_SIZES)
    .union(WasmFeatures::WIDE_ARITHMETIC)
    .union(WasmFeatures::THREADS);

/// What Gleaner does not support, by the names that its users know, each with what it builds on.
const UNSUPPORTED: [(&str, WasmFeatures); 7] = {
    use WasmFeatures as F;
    [
        ("stack switching", F::STACK_SWITCHING),
        ("the shared-everything threads proposal", F::SHARED_EVERYTHING_THREADS),
        ("the acquire-release atomics proposal", F::ACQUIRE_RELEASE_ATOMICS),
        ("the custom descriptors proposal", F::CUSTOM_DESCRIPTORS),
        ("the compact import section", F::COMPACT_IMPORTS),
        ("multibyte array access", F::MULTIBYTE_ARRAY_ACCESS),
        ("memory control", F::MEMORY_CONTROL),
    ]
};

/// A module without its code.
#[derive(Debug)]
pub struct Parsed {
    /// What it declares.
    pub info: ModuleInfo,
    /// What validates the body of each defined function, in order.
    pub funcs: Vec<FuncToValidate<ValidatorResources>>,
}

/// Why a module was refused. Offsets are bytes from the start of the binary.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParseError {
    /// The module is valid, but uses a feature that Gleaner lacks.
    #[error("{feature} is not supported yet (at offset {offset:#x})")]
    Unsupported {
        /// The feature.
        feature: &'static str,
        /// Where it is first used, as far as known.
        offset: usize,
        /// What the validator said.
        message: String,
    },
    /// The module uses the exception handling instructions that WebAssembly 3.0 replaced.
    #[error(
        "legacy exception handling (`try`, `catch`, `rethrow`, `delegate`) is not supported (at offset {offset:#x}): \
         convert the module with binaryen's `wasm-opt --translate-to-exnref`, and have it keep all features (`-all`)"
    )]
    LegacyExceptions {
        /// Where it is first used, as far as known.
        offset: usize,
    },
    /// The binary is a component.
    #[error(
        "this is a component of the component model, which is not supported: only core modules run; \
         `wasm-tools component unbundle` extracts those that a component contains"
    )]
    Component,
    /// The module is not valid, with any feature.
    #[error("invalid module: {message} (at offset {offset:#x})")]
    Invalid {
        /// What is wrong.
        message: String,
        /// Where.
        offset: usize,
    },
    /// The binary ends in the middle of its header or of a section.
    #[error("the module is truncated: it ends at offset {offset:#x}, in the middle of {part}")]
    Truncated {
        /// Bytes that are there.
        offset: usize,
        /// Where it ends.
        part: &'static str,
    },
    /// The module is too large for Gleaner, whether or not it is valid.
    #[error("the module is too large: {0}")]
    Limit(#[from] Exceeded),
    /// The module is valid, but an engine cannot hold it.
    #[error("the module is too large: {what}")]
    Full {
        /// In which respect.
        what: String,
    },
}

impl ParseError {
    /// The feature for lack of which the module was refused.
    pub fn unsupported_feature(&self) -> Option<&'static str> {
        match self {
            ParseError::Unsupported { feature, .. } => Some(feature),
            ParseError::LegacyExceptions { .. } => Some("legacy exception handling"),
            ParseError::Component => Some("the component model"),
            ParseError::Invalid { .. }
            | ParseError::Truncated { .. }
            | ParseError::Limit(_)
            | ParseError::Full { .. } => None,
        }
    }
}

/// Decodes and validates everything of the module `bytes` but the bodies of its functions, and registers its types.
///
/// Takes time linear in the size of the binary.
pub fn parse(bytes: &[u8], registry: &TypeRegistry) -> Result<Parsed, ParseError> {
    let sections = sections(bytes)?;
    if let Some(offset) = find_legacy_exceptions(&sections.bodies) {
        return Err(ParseError::LegacyExceptions { offset });
    }
    let types = registry.register_module(sections.types.as_ref()).map_err(refused_type)?;
    let decoded = Decoder { info: ModuleInfo { types, ..ModuleInfo::default() }, declared: Vec::new() }
        .decode(bytes, &sections)
        // The validator has read all of this before.
        .map_err(|error| ParseError::Invalid { message: error.message().into(), offset: error.offset() as usize })?;
    Ok(Parsed { info: decoded.finish()?, funcs: sections.funcs })
}

/// Validates the module `bytes`, bodies included, and registers nothing. The limits of a function's code are only met when it is
/// compiled.
///
/// Takes time linear in the size of the binary.
pub fn validate(bytes: &[u8]) -> Result<(), ParseError> {
    let sections = sections(bytes)?;
    let mut allocations = FuncValidatorAllocations::default();
    for (func, body) in sections.funcs.into_iter().zip(&sections.bodies) {
        let mut validator = func.into_validator(allocations);
        validator.validate(body).map_err(|error| classify(bytes, error))?;
        allocations = validator.into_allocations();
    }
    Ok(())
}

/// The sections of a module that is within the limits and, but for the bodies of its functions, valid.
fn sections(bytes: &[u8]) -> Result<Sections<'_>, ParseError> {
    if Parser::is_component(bytes) {
        return Err(ParseError::Component);
    }
    limits::MODULE_BYTES.check(bytes.len() as u64)?;
    Sections::validate(bytes).map_err(|refusal| match refusal {
        Refusal::Invalid(error) => classify(bytes, error),
        Refusal::Limit(exceeded) => exceeded.into(),
    })
}

/// What the validator's `error` about the module `bytes`, from [`parse`] or from the body of a function, means for the
/// module's author.
///
/// Takes a few dozen validations of the whole module at most.
pub fn classify(bytes: &[u8], error: BinaryReaderError) -> ParseError {
    let offset = error.offset() as usize;
    if let Some((start, part)) = truncated_part(bytes)
        && offset >= start
    {
        return ParseError::Truncated { offset: bytes.len(), part };
    }
    if let Some(Err(exceeded)) = limits::of_error(bytes, &error) {
        return exceeded.into();
    }
    let missing = error.missing_wasm_feature();
    if missing == Some(WasmFeatures::LEGACY_EXCEPTIONS) {
        return ParseError::LegacyExceptions { offset };
    }
    let validate = |extra: WasmFeatures| Validator::new_with_features(FEATURES | extra).validate_all(bytes).map(|_| ());
    let everything = UNSUPPORTED.iter().fold(WasmFeatures::LEGACY_EXCEPTIONS, |all, (_, feature)| all | *feature);
    if let Err(invalid) = validate(everything) {
        // When it is wrong anyway, "needs feature X" would send its author the wrong way.
        let error = if missing.is_some() { invalid } else { error };
        return ParseError::Invalid { message: error.message().into(), offset: error.offset() as usize };
    }
    let names = |feature: WasmFeatures| missing.is_some_and(|missing| feature.contains(missing));
    // Custom descriptors also relax the rules of instructions that Gleaner has. Code that breaks those is wrong, unless it
    // uses the proposal's own syntax.
    let candidates =
        || UNSUPPORTED.iter().filter(|(_, feature)| *feature != WasmFeatures::CUSTOM_DESCRIPTORS || names(*feature));
    let suffices = || candidates().find(|(_, feature)| validate(*feature).is_ok());
    let needed = || candidates().find(|(_, feature)| names(*feature));
    let helps = |feature| validate(feature).is_err_and(|later| later.offset() > error.offset());
    let first = || candidates().find(|(_, feature)| helps(*feature));
    let message = error.message().into();
    // Several may be needed before the validator gets any further: then the first without which the rest do not suffice.
    let union = |without: Option<WasmFeatures>| {
        let kept = candidates().filter(|(_, other)| without.is_none_or(|feature| !other.contains(feature)));
        kept.fold(WasmFeatures::empty(), |all, (_, other)| all | *other)
    };
    let needs = |feature| validate(union(None)).is_ok() && validate(union(Some(feature))).is_err();
    let together = || candidates().find(|(_, feature)| needs(*feature));
    match suffices().or_else(needed).or_else(first).or_else(together) {
        Some((feature, _)) => ParseError::Unsupported { feature, offset, message },
        None => ParseError::Invalid { message, offset },
    }
}

/// Where the part starts in which the binary ends too early, and what it is.
fn truncated_part(bytes: &[u8]) -> Option<(usize, &'static str)> {
    const HEADER: &[u8] = b"\0asm\x01\0\0\0";
    if bytes.len() < HEADER.len() {
        return HEADER.starts_with(bytes).then_some((0, "the header"));
    }
    let mut reader = BinaryReader::new(&bytes[HEADER.len()..], HEADER.len() as u64);
    while !reader.eof() {
        let start = reader.original_position() as usize;
        // The size has up to five bytes, all but the last of which have the top bit.
        let size = &bytes[start + 1..];
        if size.len() < 5 && size.iter().all(|byte| byte & 0x80 != 0) {
            return Some((start, "a section"));
        }
        let (id, size) = (reader.read_u8().ok()?, reader.read_var_u32().ok()?);
        if reader.read_bytes(size as usize).is_err() {
            return Some((start, section_name(id)?));
        }
    }
    None
}

/// `None` for what no section is.
fn section_name(id: u8) -> Option<&'static str> {
    const NAMES: [&str; 14] = [
        "a custom section",
        "the type section",
        "the import section",
        "the function section",
        "the table section",
        "the memory section",
        "the global section",
        "the export section",
        "the start section",
        "the element section",
        "the code section",
        "the data section",
        "the data count section",
        "the tag section",
    ];
    NAMES.get(id as usize).copied()
}

fn refused_type(error: TypeError) -> ParseError {
    match error {
        TypeError::Unsupported { what } => {
            ParseError::Unsupported { feature: what, offset: 0, message: error.to_string() }
        }
        TypeError::Invalid { .. } | TypeError::NoSubtype { .. } => {
            ParseError::Invalid { message: error.to_string(), offset: 0 }
        }
        _ => ParseError::Full { what: error.to_string() },
    }
}

/// Why the sections were refused.
enum Refusal {
    Invalid(BinaryReaderError),
    Limit(Exceeded),
}

impl From<BinaryReaderError> for Refusal {
    fn from(error: BinaryReaderError) -> Refusal {
        Refusal::Invalid(error)
    }
}

impl From<Exceeded> for Refusal {
    fn from(exceeded: Exceeded) -> Refusal {
        Refusal::Limit(exceeded)
    }
}

/// A valid module's sections, still encoded.
struct Sections<'a> {
    types: wasmparser::types::Types,
    imports: Option<ImportSectionReader<'a>>,
    functions: Option<FunctionSectionReader<'a>>,
    tables: Option<TableSectionReader<'a>>,
    memories: Option<MemorySectionReader<'a>>,
    tags: Option<TagSectionReader<'a>>,
    globals: Option<GlobalSectionReader<'a>>,
    exports: Option<ExportSectionReader<'a>>,
    start: Option<u32>,
    elements: Option<ElementSectionReader<'a>>,
    data: Option<DataSectionReader<'a>>,
    names: Option<CustomSectionReader<'a>>,
    bodies: Vec<FunctionBody<'a>>,
    funcs: Vec<FuncToValidate<ValidatorResources>>,
}

impl<'a> Sections<'a> {
    fn validate(bytes: &'a [u8]) -> Result<Sections<'a>, Refusal> {
        let mut parser = Parser::new(0);
        parser.set_features(FEATURES);
        let mut validator = Validator::new_with_features(FEATURES);
        let mut counter = Counter::default();
        let mut types = None;
        let (mut imports, mut functions, mut tables, mut memories, mut tags) = Default::default();
        let (mut globals, mut exports, mut start, mut elements, mut data, mut names) = Default::default();
        let (mut bodies, mut funcs) = (Vec::new(), Vec::new());
        for payload in parser.parse_all(bytes) {
            let payload = payload?;
            counter.section(bytes, &payload)?;
            match validator.payload(&payload)? {
                ValidPayload::Func(func, body) => {
                    funcs.push(func);
                    bodies.push(body);
                }
                ValidPayload::End(valid) => types = Some(valid),
                _ => {}
            }
            match payload {
                Payload::ImportSection(section) => imports = Some(section),
                Payload::FunctionSection(section) => functions = Some(section),
                Payload::TableSection(section) => tables = Some(section),
                Payload::MemorySection(section) => memories = Some(section),
                Payload::TagSection(section) => tags = Some(section),
                Payload::GlobalSection(section) => globals = Some(section),
                Payload::ExportSection(section) => exports = Some(section),
                Payload::StartSection { func, .. } => start = Some(func),
                Payload::ElementSection(section) => elements = Some(section),
                Payload::DataSection(section) => data = Some(section),
                Payload::CodeSectionStart { count, .. } => {
                    // No body has fewer than two bytes, whatever the count says.
                    let count = (count as usize).min(bytes.len() / 2);
                    funcs.reserve(count);
                    bodies.reserve(count);
                }
                Payload::CustomSection(section) if section.name() == "name" => names = Some(section),
                _ => {}
            }
        }
        let types = types.expect("the parser ends with the module's end or an error");
        Ok(Sections {
            types,
            imports,
            functions,
            tables,
            memories,
            tags,
            globals,
            exports,
            start,
            elements,
            data,
            names,
            bodies,
            funcs,
        })
    }
}

/// The offset of the first `try`, without which there is no legacy exception handling.
///
/// Decodes only bodies that contain its byte. What can't be decoded is left to the validation of the body.
fn find_legacy_exceptions(bodies: &[FunctionBody<'_>]) -> Option<usize> {
    const TRY: u8 = 0x06;
    let mut allocations = OperatorsReaderAllocations::default();
    for body in bodies.iter().filter(|body| body.as_bytes().contains(&TRY)) {
        let Ok(reader) = body.get_binary_reader_for_operators() else { continue };
        let mut operators = OperatorsReader::new_with_allocs(reader, allocations);
        while !operators.eof() {
            match operators.read() {
                Ok(_) => {}
                Err(error) if error.missing_wasm_feature() == Some(WasmFeatures::LEGACY_EXCEPTIONS) => {
                    return Some(error.offset() as usize);
                }
                Err(_) => break,
            }
        }
        allocations = operators.into_allocations();
    }
    None
}

/// Fills in a module's declarations.
struct Decoder {
    info: ModuleInfo,
    /// Functions to which a reference can be made, with repetitions.
    declared: Vec<u32>,
}

type Decoded<T> = Result<T, BinaryReaderError>;

impl Decoder {
    fn decode(mut self, bytes: &[u8], sections: &Sections<'_>) -> Decoded<Self> {
        self.imports(sections)?;
        self.definitions(sections)?;
        self.exports(sections)?;
        self.segments(bytes, sections)?;
        self.info.start = sections.start;
        self.declared.extend(sections.start);
        self.info.bodies = sections.bodies.iter().map(|body| to_usize(body.range())).collect();
        if let Some(section) = &sections.names
            && let Ok(names) = Names::read(section)
        {
            self.info.name = names.module;
            self.info.func_names = names.functions;
        }
        Ok(self)
    }

    /// Numbers the functions that escape, in the order of their indices, and lays the instance out.
    fn finish(mut self) -> Result<ModuleInfo, ParseError> {
        let mut info = self.info;
        self.declared.retain(|index| *index >= info.imported_funcs);
        self.declared.sort_unstable();
        self.declared.dedup();
        info.escaping = self.declared.iter().zip(0..).map(|(index, position)| (*index, position)).collect();
        let defined = |all: usize, imported: u32| all as u32 - imported;
        info.offsets = Offsets::new(Counts {
            func_imports: info.imported_funcs,
            table_imports: info.imported_tables,
            memory_imports: info.imported_memories,
            global_imports: info.imported_globals,
            tags: info.tags.len() as u32,
            tables: defined(info.tables.len(), info.imported_tables),
            memories: defined(info.memories.len(), info.imported_memories),
            globals: defined(info.globals.len(), info.imported_globals),
            func_refs: info.escaping.len() as u32,
        })
        .ok_or_else(|| ParseError::Full { what: "the record of an instance would be larger than 1 GiB".into() })?;
        Ok(info)
    }

    fn imports(&mut self, sections: &Sections<'_>) -> Decoded<()> {
        let info = &mut self.info;
        for import in sections.imports.iter().flat_map(|section| section.clone().into_imports()) {
            let import = import?;
            let (kind, index) = match import.ty {
                TypeRef::Func(ty) | TypeRef::FuncExact(ty) => {
                    (ExternKind::Func, push(&mut info.funcs, info.types.get(ty)))
                }
                TypeRef::Table(ty) => (ExternKind::Table, push(&mut info.tables, info.types.convert_table(ty))),
                TypeRef::Memory(ty) => (ExternKind::Memory, push(&mut info.memories, info.types.convert_memory(ty))),
                TypeRef::Global(ty) => (ExternKind::Global, push(&mut info.globals, info.types.convert_global(ty))),
                TypeRef::Tag(ty) => (ExternKind::Tag, push(&mut info.tags, info.types.convert_tag(ty).func)),
            };
            info.imports.push(Import { module: import.module.into(), name: import.name.into(), kind, index });
        }
        info.imported_funcs = info.funcs.len() as u32;
        info.imported_tables = info.tables.len() as u32;
        info.imported_memories = info.memories.len() as u32;
        info.imported_globals = info.globals.len() as u32;
        info.imported_tags = info.tags.len() as u32;
        Ok(())
    }

    fn definitions(&mut self, sections: &Sections<'_>) -> Decoded<()> {
        let Decoder { info, declared } = self;
        for ty in sections.functions.iter().flat_map(|section| section.clone()) {
            info.funcs.push(info.types.get(ty?));
        }
        for table in sections.tables.iter().flat_map(|section| section.clone()) {
            let table = table?;
            info.tables.push(info.types.convert_table(table.ty));
            info.table_inits.push(match table.init {
                TableInit::RefNull => None,
                TableInit::Expr(expr) => Some(const_expr(&expr, &info.types, declared)?),
            });
        }
        for memory in sections.memories.iter().flat_map(|section| section.clone()) {
            info.memories.push(info.types.convert_memory(memory?));
        }
        for tag in sections.tags.iter().flat_map(|section| section.clone()) {
            info.tags.push(info.types.convert_tag(tag?).func);
        }
        for global in sections.globals.iter().flat_map(|section| section.clone()) {
            let global = global?;
            info.globals.push(info.types.convert_global(global.ty));
            info.global_inits.push(const_expr(&global.init_expr, &info.types, declared)?);
        }
        Ok(())
    }

    fn exports(&mut self, sections: &Sections<'_>) -> Decoded<()> {
        for export in sections.exports.iter().flat_map(|section| section.clone()) {
            let export = export?;
            let kind = match export.kind {
                ExternalKind::Func | ExternalKind::FuncExact => ExternKind::Func,
                ExternalKind::Table => ExternKind::Table,
                ExternalKind::Memory => ExternKind::Memory,
                ExternalKind::Global => ExternKind::Global,
                ExternalKind::Tag => ExternKind::Tag,
            };
            if kind == ExternKind::Func {
                self.declared.push(export.index);
            }
            self.info.exports.push(Export { name: export.name.into(), kind, index: export.index });
        }
        Ok(())
    }

    fn segments(&mut self, bytes: &[u8], sections: &Sections<'_>) -> Decoded<()> {
        let Decoder { info, declared } = self;
        for segment in sections.elements.iter().flat_map(|section| section.clone()) {
            let segment = segment?;
            let mode = match segment.kind {
                ElementKind::Passive => SegmentMode::Passive,
                ElementKind::Declared => SegmentMode::Declared,
                ElementKind::Active { table_index, offset_expr } => SegmentMode::Active {
                    target: table_index.unwrap_or(0),
                    offset: const_expr(&offset_expr, &info.types, declared)?,
                },
            };
            let (ty, items) = match segment.items {
                wasmparser::ElementItems::Functions(indices) => {
                    let indices = indices.into_iter().collect::<Decoded<Box<[u32]>>>()?;
                    declared.extend(&indices);
                    (wasmparser::RefType::FUNC, ElementItems::Funcs(indices))
                }
                wasmparser::ElementItems::Expressions(ty, exprs) => {
                    let exprs = exprs.into_iter().map(|expr| const_expr(&expr?, &info.types, declared));
                    (ty, ElementItems::Exprs(exprs.collect::<Decoded<_>>()?))
                }
            };
            info.elements.push(ElementSegment { mode, ty: info.types.convert_ref(ty), items });
        }
        for segment in sections.data.iter().flat_map(|section| section.clone()) {
            let segment = segment?;
            let mode = match segment.kind {
                DataKind::Passive => SegmentMode::Passive,
                DataKind::Active { memory_index, offset_expr } => SegmentMode::Active {
                    target: memory_index,
                    offset: const_expr(&offset_expr, &info.types, declared)?,
                },
            };
            let end = segment.range.end as usize;
            debug_assert_eq!(&bytes[end - segment.data.len()..end], segment.data);
            info.data.push(DataSegment { mode, bytes: end - segment.data.len()..end });
        }
        Ok(())
    }
}

/// Decodes a constant expression, and adds the functions that it makes references to.
fn const_expr(expr: &wasmparser::ConstExpr<'_>, types: &ModuleTypes, declared: &mut Vec<u32>) -> Decoded<ConstExpr> {
    let mut ops = Vec::new();
    let mut reader = expr.get_operators_reader();
    while !reader.eof() {
        ops.push(match reader.read()? {
            Operator::I32Const { value } => ConstOp::I32(value),
            Operator::I64Const { value } => ConstOp::I64(value),
            Operator::F32Const { value } => ConstOp::F32(value.bits()),
            Operator::F64Const { value } => ConstOp::F64(value.bits()),
            Operator::V128Const { value } => ConstOp::V128(value.into()),
            Operator::RefNull { .. } => ConstOp::RefNull,
            Operator::RefFunc { function_index } => {
                declared.push(function_index);
                ConstOp::RefFunc(function_index)
            }
            Operator::GlobalGet { global_index } => ConstOp::GlobalGet(global_index),
            Operator::I32Add => ConstOp::I32Add,
            Operator::I32Sub => ConstOp::I32Sub,
            Operator::I32Mul => ConstOp::I32Mul,
            Operator::I64Add => ConstOp::I64Add,
            Operator::I64Sub => ConstOp::I64Sub,
            Operator::I64Mul => ConstOp::I64Mul,
            Operator::RefI31 => ConstOp::RefI31,
            Operator::StructNew { struct_type_index } => ConstOp::StructNew(types.get(struct_type_index)),
            Operator::StructNewDefault { struct_type_index } => ConstOp::StructNewDefault(types.get(struct_type_index)),
            Operator::ArrayNew { array_type_index } => ConstOp::ArrayNew(types.get(array_type_index)),
            Operator::ArrayNewDefault { array_type_index } => ConstOp::ArrayNewDefault(types.get(array_type_index)),
            Operator::ArrayNewFixed { array_type_index, array_size } => {
                ConstOp::ArrayNewFixed(types.get(array_type_index), array_size)
            }
            Operator::AnyConvertExtern => ConstOp::AnyConvertExtern,
            Operator::ExternConvertAny => ConstOp::ExternConvertAny,
            Operator::End => continue,
            operator => unreachable!("{operator:?} is in no valid constant expression"),
        });
    }
    Ok(ops.into())
}

/// What the name section says. The rest of a module means the same without it, so one that is malformed counts as absent.
#[derive(Default)]
struct Names {
    module: Option<String>,
    functions: HashMap<u32, String>,
}

impl Names {
    fn read(section: &CustomSectionReader<'_>) -> Decoded<Names> {
        let mut names = Names::default();
        let KnownCustom::Name(subsections) = section.as_known() else { return Ok(names) };
        for subsection in subsections {
            match subsection? {
                Name::Module { name, .. } => names.module = Some(name.into()),
                Name::Function(functions) => {
                    for naming in functions {
                        let naming = naming?;
                        names.functions.insert(naming.index, naming.name.into());
                    }
                }
                _ => {}
            }
        }
        Ok(names)
    }
}

impl ModuleInfo {
    /// The type of what an import or export names: item `index` of a kind.
    ///
    /// # Panics
    /// When the module has no such item.
    pub fn extern_type(&self, kind: ExternKind, index: u32) -> ExternType {
        let index = index as usize;
        match kind {
            ExternKind::Func => ExternType::Func(self.funcs[index]),
            ExternKind::Table => ExternType::Table(self.tables[index]),
            ExternKind::Memory => ExternType::Memory(self.memories[index]),
            ExternKind::Global => ExternType::Global(self.globals[index]),
            ExternKind::Tag => ExternType::Tag(TagType { func: self.tags[index] }),
        }
    }
}

/// Appends, and returns the new element's index.
fn push<T>(space: &mut Vec<T>, item: T) -> u32 {
    space.push(item);
    space.len() as u32 - 1
}

fn to_usize(range: Range<u64>) -> Range<usize> {
    range.start as usize..range.end as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{HeapType, RefType, ValType};

    const SAMPLE: &str = r#"
        (module $sample
          (rec (type $node (sub (struct (field (mut (ref null $node))) (field i32)))))
          (type $bytes (array (mut i8)))
          (type $unary (func (param i32) (result i32)))
          (type $thrown (func (param i32)))
          (import "env" "f" (func $imported (type $unary)))
          (import "env" "g" (global $base i32))
          (import "env" "t" (table 1 10 funcref))
          (import "env" "m" (memory 1))
          (import "env" "e" (tag $foreign (type $thrown)))
          (table $own 2 4 (ref null $unary) (ref.func $in_table))
          (table $plain 3 anyref)
          (memory $second 1 2)
          (tag $own_tag (type $thrown))
          (global $number (mut i64) (i64.mul (i64.const 6) (i64.const 7)))
          (global $float f32 (f32.const -1.5))
          (global $list (ref $node) (struct.new $node (ref.null none) (i32.add (global.get $base) (i32.const 1))))
          (global $array (ref $bytes) (array.new_fixed $bytes 2 (i32.const 1) (i32.const 2)))
          (global $boxed anyref (any.convert_extern (ref.null extern)))
          (global $function funcref (ref.func $in_global))
          (export "call" (func $exported))
          (export "again" (func $exported))
          (export "imported" (func $imported))
          (export "memory" (memory $second))
          (export "table" (table $own))
          (export "global" (global $list))
          (export "tag" (tag $own_tag))
          (start $started)
          (elem (table 0) (i32.const 0) func $in_segment)
          (elem declare func $declared)
          (elem (ref null $unary) (ref.func $in_expression) (ref.null nofunc))
          (data (memory $second) (i32.const 8) "active")
          (data "passive")
          (func $never (type $unary) (local.get 0))
          (func $exported (type $unary) (local.get 0))
          (func $in_table (type $unary) (local.get 0))
          (func $in_global)
          (func $in_segment)
          (func $declared)
          (func $in_expression (type $unary) (call $exported (local.get 0)))
          (func $started (drop (ref.func $declared))))"#;

    fn parse_text(text: &str) -> Result<Parsed, ParseError> {
        parse(&wat::parse_str(text).unwrap(), &TypeRegistry::new().unwrap())
    }

    fn refusal(text: &str) -> String {
        parse_text(text).expect_err("the module is refused").to_string()
    }

    /// What a whole compilation reports: declarations first, then bodies in order.
    fn check_all(bytes: &[u8]) -> Result<(), ParseError> {
        let parsed = parse(bytes, &TypeRegistry::new().unwrap())?;
        for (func, range) in parsed.funcs.into_iter().zip(&parsed.info.bodies) {
            let mut validator = func.into_validator(FuncValidatorAllocations::default());
            let reader = BinaryReader::new_features(&bytes[range.clone()], range.start as u64, FEATURES);
            let body = FunctionBody::new(reader);
            validator.validate(&body).map_err(|error| classify(bytes, error))?;
        }
        Ok(())
    }

    fn check_text(text: &str) -> Result<(), ParseError> {
        check_all(&wat::parse_str(text).unwrap())
    }

    #[test]
    fn index_spaces_begin_with_the_imports() {
        let info = parse_text(SAMPLE).unwrap().info;
        assert_eq!(info.name.as_deref(), Some("sample"));
        let imports: Vec<_> =
            info.imports.iter().map(|i| (i.module.as_str(), i.name.as_str(), i.kind, i.index)).collect();
        use ExternKind::*;
        let expected = [("f", Func), ("g", Global), ("t", Table), ("m", Memory), ("e", Tag)];
        assert_eq!(imports, expected.map(|(name, kind)| ("env", name, kind, 0)));
        assert_eq!((info.imported_funcs, info.funcs.len()), (1, 9));
        assert_eq!((info.imported_tables, info.tables.len()), (1, 3));
        assert_eq!((info.imported_memories, info.memories.len()), (1, 2));
        assert_eq!((info.imported_globals, info.globals.len()), (1, 7));
        assert_eq!((info.imported_tags, info.tags.len()), (1, 2));
        let [node, bytes, unary, thrown] = [0, 1, 2, 3].map(|index| info.types.get(index));
        assert_eq!(info.funcs[..3], [unary; 3]);
        assert_eq!(info.tags, [thrown; 2]);
        assert_eq!(info.tables[1].element, RefType { nullable: true, heap: HeapType::ConcreteFunc(unary) });
        assert_eq!((info.tables[1].min, info.tables[1].max), (2, Some(4)));
        assert_eq!((info.memories[1].min, info.memories[1].max), (1, Some(2)));
        assert_eq!((info.globals[1].content, info.globals[1].mutable), (ValType::I64, true));
        assert_eq!(info.start, Some(8));
        assert_eq!(info.extern_type(Func, 1), ExternType::Func(unary));
        assert_eq!(info.extern_type(Global, 3), ExternType::Global(info.globals[3]));
        assert_eq!(info.extern_type(Table, 2), ExternType::Table(info.tables[2]));
        assert_eq!(info.extern_type(Memory, 0), ExternType::Memory(info.memories[0]));
        assert_eq!(info.extern_type(Tag, 1), ExternType::Tag(TagType { func: thrown }));

        use ConstOp::*;
        let expected: [&[ConstOp]; 6] = [
            &[I64(6), I64(7), I64Mul],
            &[F32((-1.5f32).to_bits())],
            &[RefNull, GlobalGet(0), I32(1), I32Add, StructNew(node)],
            &[I32(1), I32(2), ArrayNewFixed(bytes, 2)],
            &[RefNull, AnyConvertExtern],
            &[RefFunc(4)],
        ];
        assert!(info.global_inits.iter().map(|init| &init[..]).eq(expected));
        assert_eq!(info.table_inits.len(), 2);
        assert_eq!(info.table_inits[0].as_deref(), Some(&[RefFunc(3)][..]));
        assert_eq!(info.table_inits[1], None);
    }

    #[test]
    fn exports_and_names() {
        let info = parse_text(SAMPLE).unwrap().info;
        let exports: Vec<_> = info.exports.iter().map(|e| (e.name.as_str(), e.kind, e.index)).collect();
        use ExternKind::*;
        let expected = [
            ("call", Func, 2),
            ("again", Func, 2),
            ("imported", Func, 0),
            ("memory", Memory, 1),
            ("table", Table, 1),
            ("global", Global, 3),
            ("tag", Tag, 1),
        ];
        assert_eq!(exports, expected);
        assert_eq!(info.func_name(0), Some("imported"));
        assert_eq!(info.func_name(8), Some("started"));
    }

    #[test]
    fn segments() {
        let bytes = wat::parse_str(SAMPLE).unwrap();
        let info = parse(&bytes, &TypeRegistry::new().unwrap()).unwrap().info;
        let [active, declared, passive] = &info.elements[..] else { panic!("three element segments") };
        assert!(matches!(&active.mode, SegmentMode::Active { target: 0, offset } if **offset == [ConstOp::I32(0)]));
        assert!(matches!(&active.items, ElementItems::Funcs(funcs) if **funcs == [5]));
        assert_eq!(active.ty, RefType { nullable: false, heap: HeapType::Func });
        assert!(matches!(declared.mode, SegmentMode::Declared));
        assert!(matches!(passive.mode, SegmentMode::Passive));
        let ElementItems::Exprs(exprs) = &passive.items else { panic!("expressions") };
        assert!(exprs.iter().map(|expr| &expr[..]).eq([[ConstOp::RefFunc(7)], [ConstOp::RefNull]]));
        let [active, passive] = &info.data[..] else { panic!("two data segments") };
        assert!(matches!(&active.mode, SegmentMode::Active { target: 1, offset } if **offset == [ConstOp::I32(8)]));
        assert_eq!(&bytes[active.bytes.clone()], b"active");
        assert!(matches!(passive.mode, SegmentMode::Passive));
        assert_eq!(&bytes[passive.bytes.clone()], b"passive");
    }

    #[test]
    fn functions_that_escape_are_numbered_in_order() {
        let info = parse_text(SAMPLE).unwrap().info;
        let mut escaping: Vec<_> = info.escaping.iter().map(|(function, position)| (*function, *position)).collect();
        escaping.sort_unstable();
        // Neither the import, nor the function that is only called or not even that.
        assert_eq!(escaping, [(2, 0), (3, 1), (4, 2), (5, 3), (6, 4), (7, 5), (8, 6)]);
        assert!(info.offsets.size >= info.offsets.func_refs + 7 * crate::vm::VMFuncRef::SIZE as u32);
    }

    #[test]
    fn bodies_validate_apart_from_the_rest() {
        let bytes = wat::parse_str(SAMPLE).unwrap();
        let parsed = parse(&bytes, &TypeRegistry::new().unwrap()).unwrap();
        assert_eq!((parsed.funcs.len(), parsed.info.bodies.len()), (8, 8));
        assert_eq!(check_all(&bytes), Ok(()));
        let error = check_text("(module (func) (func (result i32) (i64.const 1)))").unwrap_err();
        assert!(matches!(error, ParseError::Invalid { .. }), "{error}");
    }

    #[test]
    fn unsupported_features_are_named() {
        let cases = [
            ("stack switching", "(module (func (param contref)))"),
            ("stack switching", "(module (global contref (ref.null cont)))"),
            ("stack switching", "(module (tag $t) (func (suspend $t)))"),
            ("stack switching", "(module (type (struct (field contref))))"),
            ("memory control", "(module (memory 1) (func (memory.discard (i32.const 0) (i32.const 0))))"),
            ("the compact import section", "(module (import \"m\" (item \"f\" (func)) (item \"g\" (func))))"),
            (
                "the acquire-release atomics proposal",
                "(module (memory 1 1 shared) (func (drop (i32.atomic.load acqrel (i32.const 0)))))",
            ),
            ("stack switching", "(module (type $f (func)) (type $k (cont $f)))"),
            ("the shared-everything threads proposal", "(module (global (shared i32) (i32.const 1)))"),
            ("the custom descriptors proposal", "(module (func (param (ref (exact 0)))) (type (struct)))"),
        ];
        for (feature, text) in cases {
            let error = check_text(text).expect_err(text);
            assert!(matches!(error, ParseError::Unsupported { .. }), "{text}: {error:?}");
            let message = error.to_string();
            assert!(message.starts_with(feature), "{text}: {message}");
            assert!(message.contains(" is not supported yet (at offset 0x"), "{text}: {message}");
        }
    }

    #[test]
    fn modules_that_mix_unsupported_features_name_one() {
        for text in [
            "(module (memory 1) (func (param contref) (memory.discard (i32.const 0) (i32.const 0))))",
            // Each alone leaves an error in the same place, about the other.
            "(module (type $f (func)) (type (shared (cont $f))))",
        ] {
            let error = check_text(text).unwrap_err();
            assert!(matches!(error, ParseError::Unsupported { .. }), "{text}: {error:?}");
        }
    }

    #[test]
    fn what_no_feature_would_make_valid_is_invalid() {
        for text in [
            "(module (func (result i32)))",
            "(module (type $f (func)) (type (cont $f)) (func (result i32)))",
            "(module (func (export \"a\")) (func (export \"a\")))",
            "(module (memory 65537))",
            "(module (global i32 (i64.const 0)))",
            // Custom descriptors would allow the cast to a type that is no subtype.
            "(module (func (result anyref) (br_on_cast 0 eqref anyref (unreachable))))",
        ] {
            let error = check_text(text).expect_err(text);
            assert!(matches!(error, ParseError::Invalid { .. }), "{text}: {error:?}");
        }
    }

    #[test]
    fn legacy_exceptions_are_refused_before_compilation() {
        for text in [
            "(module (tag $t) (func try catch $t end))",
            "(module (func) (func try catch_all rethrow 0 end))",
            "(module (func try delegate 0))",
            "(module (func (drop (i32.const 6)) try end))",
        ] {
            let bytes = wat::parse_str(text).unwrap();
            let error = parse(&bytes, &TypeRegistry::new().unwrap()).expect_err(text);
            assert!(matches!(error, ParseError::LegacyExceptions { .. }), "{text}: {error:?}");
            let message = error.to_string();
            assert!(message.contains("legacy exception handling") && message.contains("--translate-to-exnref"));
        }
        // The byte of `try` as an operand, and the instructions of today.
        check_text("(module (func (drop (i32.const 6))) (func (block (try_table (catch_all 0)))))").unwrap();
    }

    #[test]
    fn components_are_refused() {
        let message = refusal("(component)");
        assert!(message.contains("component"), "{message}");
    }

    #[test]
    fn truncated_modules_are_refused() {
        let bytes = wat::parse_str(SAMPLE).unwrap();
        let boundaries: Vec<usize> = (8..=bytes.len()).filter(|len| truncated_part(&bytes[..*len]).is_none()).collect();
        assert_eq!(boundaries.len(), 14, "the header and thirteen sections");
        for len in 0..bytes.len() {
            let result = check_all(&bytes[..len]);
            if boundaries.contains(&len) {
                // A module may end after any section; this one's needs its code, and its declarations need its functions.
                assert!(!matches!(result, Err(ParseError::Truncated { .. })), "{len}: {result:?}");
            } else {
                let expected = matches!(result, Err(ParseError::Truncated { offset, .. }) if offset == len);
                assert!(expected, "{len}: {result:?}");
            }
        }
        let message = parse(&bytes[..40], &TypeRegistry::new().unwrap()).unwrap_err().to_string();
        assert_eq!(message, "the module is truncated: it ends at offset 0x28, in the middle of the import section");
    }

    #[test]
    fn flipped_bits_do_not_panic() {
        let bytes = wat::parse_str(SAMPLE).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                let _ = check_all(&bytes);
            }
        }
    }

    #[test]
    fn what_is_no_module_is_invalid() {
        for bytes in [&b"hello, world"[..], b"\0asm\x02\0\0\0", b"PK"] {
            let error = parse(bytes, &TypeRegistry::new().unwrap()).unwrap_err();
            assert!(matches!(error, ParseError::Invalid { .. }), "{error:?}");
        }
    }

    #[test]
    fn malformed_name_sections_are_ignored() {
        let mut bytes = wat::parse_str("(module (func))").unwrap();
        // Custom section "name" whose function subsection says that it has 127 names.
        bytes.extend([0, 8, 4, b'n', b'a', b'm', b'e', 1, 1, 127]);
        let info = parse(&bytes, &TypeRegistry::new().unwrap()).unwrap().info;
        assert!(info.func_names.is_empty());
    }

    #[test]
    fn large_modules_parse_in_linear_time() {
        let mut text = String::from("(module (rec");
        for i in 0..9_000 {
            text += &format!("(type (sub (struct (field (ref null {})) (field i32))))", (i + 1) % 9_000);
        }
        text += ")";
        for i in 0..100_000 {
            text += &format!("(func (export \"f{i}\") (result i32) i32.const {i})");
        }
        text += ")";
        let bytes = wat::parse_str(&text).unwrap();
        let registry = TypeRegistry::new().unwrap();
        let start = std::time::Instant::now();
        let info = parse(&bytes, &registry).unwrap().info;
        println!("{} bytes: {:?}", bytes.len(), start.elapsed());
        assert_eq!((info.types.indices().len(), info.funcs.len()), (9_001, 100_000));
        assert_eq!((info.escaping.len(), info.escaping[&99_999]), (100_000, 99_999));
    }

    #[test]
    fn instances_beyond_1_gib_are_refused() {
        let info = ModuleInfo { tags: vec![0; 300_000_000], ..ModuleInfo::default() };
        let error = Decoder { info, declared: Vec::new() }.finish().unwrap_err();
        assert!(error.to_string().contains("larger than 1 GiB"), "{error}");
    }
}
