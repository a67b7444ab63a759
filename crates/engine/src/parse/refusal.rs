//! Why modules are refused, and which of several reasons helps a module's author.

use super::FEATURES;
use crate::limits::{self, Exceeded, Unfit};
use crate::types::TypeError;
use thiserror::Error;
use wasmparser::{BinaryReader, BinaryReaderError, Validator, WasmFeatures};

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
pub(super) fn truncated_part(bytes: &[u8]) -> Option<(usize, &'static str)> {
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

pub(super) fn refused_type(error: TypeError) -> ParseError {
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
pub(super) enum Refusal {
    Invalid(BinaryReaderError),
    Unfit(Unfit),
}

impl From<BinaryReaderError> for Refusal {
    fn from(error: BinaryReaderError) -> Refusal {
        Refusal::Invalid(error)
    }
}

impl From<Unfit> for Refusal {
    fn from(unfit: Unfit) -> Refusal {
        Refusal::Unfit(unfit)
    }
}

impl From<Exceeded> for Refusal {
    fn from(exceeded: Exceeded) -> Refusal {
        Refusal::Unfit(exceeded.into())
    }
}

impl From<Unfit> for ParseError {
    fn from(unfit: Unfit) -> ParseError {
        match unfit {
            Unfit::Exceeded(exceeded) => exceeded.into(),
            Unfit::Overstated { count, bytes, offset } => ParseError::Invalid {
                message: format!("unexpected end: {count} items are announced, in {bytes} bytes"),
                offset: offset as usize,
            },
        }
    }
}
