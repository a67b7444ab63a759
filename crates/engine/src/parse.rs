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

mod refusal;
mod sections;

use crate::info::{
    ConstExpr, ConstOp, DataSegment, ElementItems, ElementSegment, Export, ExternKind, Import, ItemNames, ModuleInfo,
    SegmentMode,
};
use crate::limits;
use crate::types::{ExternType, ModuleTypes, TagType, TypeRegistry};
use crate::vm::{Counts, Offsets};
pub use refusal::{ParseError, classify};
use refusal::{Refusal, refused_type};
use sections::{Sections, find_legacy_exceptions};
use std::collections::HashMap;
use std::ops::Range;
use wasmparser::{
    BinaryReaderError, CustomSectionReader, DataKind, ElementKind, ExternalKind, FuncToValidate,
    FuncValidatorAllocations, KnownCustom, Name, NameMap, Operator, Parser, TableInit, TypeRef, ValidatorResources,
    WasmFeatures,
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

/// A module without its code.
#[derive(Debug)]
pub struct Parsed {
    /// What it declares.
    pub info: ModuleInfo,
    /// What validates the body of each defined function, in order.
    pub funcs: Vec<FuncToValidate<ValidatorResources>>,
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
        Refusal::Unfit(unfit) => unfit.into(),
    })
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
            self.info.type_names = names.types;
            self.info.item_names = names.items;
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
    types: HashMap<u32, String>,
    items: ItemNames,
}

impl Names {
    fn read(section: &CustomSectionReader<'_>) -> Decoded<Names> {
        let mut names = Names::default();
        let KnownCustom::Name(subsections) = section.as_known() else { return Ok(names) };
        for subsection in subsections {
            let (map, into) = match subsection? {
                Name::Module { name, .. } => {
                    names.module = Some(name.into());
                    continue;
                }
                Name::Field(types) => {
                    for naming in types {
                        let naming = naming?;
                        read_map(naming.names, names.items.fields.entry(naming.index).or_default())?;
                    }
                    continue;
                }
                Name::Function(map) => (map, &mut names.functions),
                Name::Type(map) => (map, &mut names.types),
                Name::Table(map) => (map, &mut names.items.tables),
                Name::Global(map) => (map, &mut names.items.globals),
                Name::Element(map) => (map, &mut names.items.elements),
                Name::Tag(map) => (map, &mut names.items.tags),
                _ => continue,
            };
            read_map(map, into)?;
        }
        Ok(names)
    }
}

/// Reads names by index.
fn read_map(map: NameMap<'_>, into: &mut HashMap<u32, String>) -> Decoded<()> {
    for naming in map {
        let naming = naming?;
        into.insert(naming.index, naming.name.into());
    }
    Ok(())
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
mod tests;
