//! A module's sections: validated, and still encoded.

use super::FEATURES;
use super::refusal::Refusal;
use crate::limits::Counter;
use wasmparser::{
    CustomSectionReader, DataSectionReader, ElementSectionReader, ExportSectionReader, FuncToValidate, FunctionBody,
    FunctionSectionReader, GlobalSectionReader, ImportSectionReader, MemorySectionReader, OperatorsReader,
    OperatorsReaderAllocations, Parser, Payload, TableSectionReader, TagSectionReader, ValidPayload, Validator,
    ValidatorResources, WasmFeatures,
};

/// A valid module's sections, still encoded.
pub(super) struct Sections<'a> {
    pub types: wasmparser::types::Types,
    pub imports: Option<ImportSectionReader<'a>>,
    pub functions: Option<FunctionSectionReader<'a>>,
    pub tables: Option<TableSectionReader<'a>>,
    pub memories: Option<MemorySectionReader<'a>>,
    pub tags: Option<TagSectionReader<'a>>,
    pub globals: Option<GlobalSectionReader<'a>>,
    pub exports: Option<ExportSectionReader<'a>>,
    pub start: Option<u32>,
    pub elements: Option<ElementSectionReader<'a>>,
    pub data: Option<DataSectionReader<'a>>,
    pub names: Option<CustomSectionReader<'a>>,
    pub bodies: Vec<FunctionBody<'a>>,
    pub funcs: Vec<FuncToValidate<ValidatorResources>>,
}

impl<'a> Sections<'a> {
    pub(super) fn validate(bytes: &'a [u8]) -> Result<Sections<'a>, Refusal> {
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
pub(super) fn find_legacy_exceptions(bodies: &[FunctionBody<'_>]) -> Option<usize> {
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
