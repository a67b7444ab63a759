//! Precompiled modules: machine code in a file, and all the reasons not to run it.
//!
//! ```text
//! magic 8 | format 4 | checksum 4 | bytes of the file 8 | header | contents
//! ```
//!
//! Numbers are little-endian; the checksum (CRC-32) is over everything behind it. Header and contents are in the postcard
//! format. The header says what the code was made by and for; the contents are the module's binary and the code of its
//! functions. A file is looked at from the outside in, so that each kind of misfit gets its own answer: is it one of ours,
//! is it whole, was it made by this engine's like, for a machine like this one.
//!
//! Two things in machine code depend on the engine that runs it. Addresses are relocations, as ever. The other is the
//! canonical index of a type, which is a constant in casts and allocations: an engine numbers types in the order in which
//! they are registered. Code for a file is therefore compiled with a relocation for each index; the file names a type by the
//! module's own index, and loading registers the module's types, from its binary, like any other module's. The rest of what the
//! compiler takes from types (layouts, depths, finality) follows from the definitions.
//!
//! A checksum finds damage, not malice. Loading checks what the code's tables say as far as it can, but the instructions
//! themselves are taken at their word.

use crate::compile::Compiler;
use crate::info::{CompiledCode, Handler, ModuleInfo, Origin, Reloc, RelocTarget, StackMap};
use crate::types::{TypeIndex, TypeRegistry};
use crate::vm;
use cranelift_codegen::binemit::Reloc as RelocKind;
use cranelift_codegen::ir::{LibCall, TrapCode};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use thiserror::Error;

#[cfg(test)]
mod tests;

/// What a precompiled module begins with.
pub const MAGIC: [u8; 8] = *b"\x93gleaner";
/// Changes whenever the format does.
const FORMAT: u32 = 1;
/// Bytes before the header.
const FRAME: usize = 24;
/// Where the checksum's range begins.
const CHECKED: usize = 16;

/// Why a precompiled module was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Misfit {
    /// It is something else.
    #[error("this is no precompiled module: it does not begin with Gleaner's magic number")]
    NotPrecompiled,
    /// The format is another version's.
    #[error(
        "the precompiled module has format {found}, this version of Gleaner reads format {FORMAT}: compile it again"
    )]
    Format {
        /// What the file says.
        found: u32,
    },
    /// The file is shorter or longer than it says.
    #[error("the precompiled module is incomplete: it has {found} bytes, and should have {expected}")]
    Length {
        /// Bytes there are.
        found: u64,
        /// Bytes there should be.
        expected: u64,
    },
    /// The checksum does not fit.
    #[error("the precompiled module is damaged: its checksum is {found:#010x}, and should be {expected:#010x}")]
    Damaged {
        /// That of the file's contents.
        found: u32,
        /// That which the file gives.
        expected: u32,
    },
    /// The checksum fits, but the contents make no sense.
    #[error("the precompiled module contradicts itself: {0}")]
    Malformed(String),
    /// It was made by another version of Gleaner.
    #[error("the precompiled module was made by Gleaner {found}, this is {expected}: compile it again")]
    Version {
        /// What made it.
        found: String,
        /// What this is.
        expected: String,
    },
    /// It was made for another kind of machine.
    #[error("the precompiled module was made for {found}, this machine is {expected}")]
    Target {
        /// The target triple it was made for.
        found: String,
        /// This machine's.
        expected: String,
    },
    /// It uses features that this machine's processor lacks.
    #[error("the precompiled module needs a processor with {}, which this one lacks", .missing.join(", "))]
    Features {
        /// Those that are missing, as Cranelift calls them.
        missing: Vec<String>,
    },
    /// It was made for another collector, or for the same one with other options.
    #[error("the precompiled module was made for the collector `{found}`, the engine's is `{expected}`")]
    Collector {
        /// Name and options it was made for.
        found: String,
        /// The engine's.
        expected: String,
    },
    /// It was made with another setting of something that changes code.
    #[error("the precompiled module was made with {setting}={found}, the engine has {setting}={expected}")]
    Setting {
        /// What is set.
        setting: String,
        /// How it was set.
        found: String,
        /// How the engine sets it.
        expected: String,
    },
}

/// Functions are aligned to so many bytes at most: no page is smaller.
const MAX_ALIGN: u32 = 4096;

/// What the code was made by and for.
#[derive(Serialize, Deserialize, Debug, PartialEq, Eq)]
struct Header {
    version: String,
    target: String,
    /// Processor features that the code may use.
    features: Vec<String>,
    /// Name, and how its options were set.
    collector: (String, String),
    /// Everything else that changes code.
    settings: Vec<(String, String)>,
}

#[derive(Serialize, Deserialize)]
struct Contents<'a> {
    binary: &'a [u8],
    /// The code of all functions, one behind the other.
    code: &'a [u8],
    functions: Vec<Function>,
}

/// A [`CompiledCode`] without its instructions.
#[derive(Serialize, Deserialize)]
struct Function {
    bytes: u32,
    align: u32,
    relocs: Vec<SavedReloc>,
    traps: Vec<(u32, u8)>,
    stack_maps: Vec<(u32, u32, Box<[u32]>)>,
    /// Return address, target, frame size.
    handlers: Vec<(u32, u32, u32)>,
    positions: Vec<(u32, u32)>,
    origins: Vec<Origin>,
}

#[derive(Serialize, Deserialize)]
struct SavedReloc {
    at: u32,
    kind: SavedKind,
    target: SavedTarget,
    addend: i64,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
enum SavedTarget {
    Function(u32),
    /// By its position in [`LIBCALLS`].
    LibCall(u32),
    Type(SavedType),
    Header(SavedType),
}

/// A type, without canonical indices.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
enum SavedType {
    /// The module's own type with this index.
    Defined(u32),
    /// The exceptions that carry the parameters of this function type of the module's.
    Exception(u32),
}

#[derive(Serialize, Deserialize, Clone, Copy)]
enum SavedKind {
    Abs8,
    X86CallPCRel4,
    X86PCRel4,
    Arm64Call,
}

/// The library functions that code may name: by position in files, so that the order is part of the format.
const LIBCALLS: [LibCall; 15] = [
    LibCall::CeilF32,
    LibCall::CeilF64,
    LibCall::FloorF32,
    LibCall::FloorF64,
    LibCall::TruncF32,
    LibCall::TruncF64,
    LibCall::NearestF32,
    LibCall::NearestF64,
    LibCall::FmaF32,
    LibCall::FmaF64,
    LibCall::Memcpy,
    LibCall::Memmove,
    LibCall::Memset,
    LibCall::Memcmp,
    LibCall::X86Pshufb,
];

/// Whether this is a precompiled module, as far as its first bytes tell.
pub fn is_precompiled(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// The file for a module and the code that `compiler`, which leaves type indices open, has made of it.
///
/// # Panics
/// When the code is not `compiler`'s for this module.
pub fn save(compiler: &Compiler, info: &ModuleInfo, binary: &[u8], code: &[CompiledCode]) -> Vec<u8> {
    assert!(compiler.options.relocatable, "code for a file leaves the indices of types open");
    let names = saved_types(info, &compiler.registry);
    let instructions: Vec<u8> = code.iter().flat_map(|function| function.code.iter().copied()).collect();
    let functions = code.iter().map(|function| Function::save(function, &names)).collect();
    let contents = Contents { binary, code: &instructions, functions };
    let mut file = vec![0; FRAME];
    file[..8].copy_from_slice(&MAGIC);
    file[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    file = postcard::to_extend(&header(compiler), file).expect("memory is all that it takes");
    file = postcard::to_extend(&contents, file).expect("memory is all that it takes");
    let bytes = file.len() as u64;
    file[CHECKED..FRAME].copy_from_slice(&bytes.to_le_bytes());
    let checksum = crc32fast::hash(&file[CHECKED..]);
    file[12..CHECKED].copy_from_slice(&checksum.to_le_bytes());
    file
}

/// A file that has passed all checks but those that need the module's declarations.
pub struct Saved<'a>(Contents<'a>);

/// Takes a file apart.
///
/// # Errors
/// Why it is of no use to this compiler's engine.
pub fn open<'a>(compiler: &Compiler, file: &'a [u8]) -> Result<Saved<'a>, Misfit> {
    if !is_precompiled(file) {
        // A file that ends within the magic number is one of ours cut short.
        let cut = !file.is_empty() && MAGIC.starts_with(file);
        let (found, expected) = (file.len() as u64, FRAME as u64);
        return Err(if cut { Misfit::Length { found, expected } } else { Misfit::NotPrecompiled });
    }
    let found = file.len() as u64;
    if file.len() < FRAME {
        return Err(Misfit::Length { found, expected: FRAME as u64 });
    }
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes"));
    if word(8) != FORMAT {
        return Err(Misfit::Format { found: word(8) });
    }
    let expected = u64::from(word(CHECKED)) | u64::from(word(CHECKED + 4)) << 32;
    if found != expected {
        return Err(Misfit::Length { found, expected });
    }
    let checksum = crc32fast::hash(&file[CHECKED..]);
    if checksum != word(12) {
        return Err(Misfit::Damaged { found: checksum, expected: word(12) });
    }
    let malformed = |error: postcard::Error| Misfit::Malformed(error.to_string());
    let (made, rest) = postcard::take_from_bytes::<Header>(&file[FRAME..]).map_err(malformed)?;
    made.check(&header(compiler))?;
    let (contents, rest) = postcard::take_from_bytes(rest).map_err(malformed)?;
    match rest {
        [] => Ok(Saved(contents)),
        _ => Err(Misfit::Malformed(format!("{} bytes follow its contents", rest.len()))),
    }
}

impl<'a> Saved<'a> {
    /// The module's binary.
    pub fn binary(&self) -> &'a [u8] {
        self.0.binary
    }

    /// The code, with the canonical indices of the engine that `info`'s types are registered in.
    ///
    /// # Errors
    /// When it cannot be that of the module.
    pub fn code(self, info: &ModuleInfo, registry: &TypeRegistry) -> Result<Vec<CompiledCode>, Misfit> {
        let Contents { code, functions, .. } = self.0;
        let expected = info.bodies.len();
        if functions.len() != expected {
            return Err(Misfit::Malformed(format!("there is code for {} functions of {expected}", functions.len())));
        }
        let mut rest = code;
        let loaded = functions.into_iter().map(|function| {
            let Some((own, behind)) = rest.split_at_checked(function.bytes as usize) else {
                return Err(Misfit::Malformed("there is less code than its functions have".into()));
            };
            rest = behind;
            function.load(own, info, registry, expected as u32)
        });
        let loaded = loaded.collect::<Result<Vec<CompiledCode>, _>>()?;
        let own = |index: &u32| index.checked_sub(info.imported_funcs);
        let needed = loaded.iter().flat_map(CompiledCode::callees).chain(info.escaping.keys().filter_map(own));
        if { needed }.any(|index| loaded[index as usize].code.is_empty()) {
            return Err(Misfit::Malformed("a function that can be called has no code".into()));
        }
        match rest {
            [] => Ok(loaded),
            _ => Err(Misfit::Malformed("there is more code than its functions have".into())),
        }
    }
}

/// What this compiler's code is made by and for.
fn header(compiler: &Compiler) -> Header {
    let isa = &compiler.isa;
    let features = isa.isa_flags().into_iter().filter(|flag| flag.as_bool() == Some(true));
    // Checks of Cranelift's own leave no trace in the code.
    let flags = isa.flags().iter().filter(|flag| flag.name != "enable_verifier");
    let options = compiler.options.settings().into_iter().map(|(name, value)| (name.to_string(), value));
    Header {
        version: version(),
        target: isa.triple().to_string(),
        features: features.map(|flag| flag.name.to_string()).collect(),
        collector: (compiler.gc.info().name.to_string(), format!("{:?}", compiler.gc)),
        settings: options.chain(flags.map(|flag| (flag.name.to_string(), flag.value_string()))).collect(),
    }
}

/// Gleaner's version, and a hash of the interface between compiled code and the runtime: it may change between versions
/// of a tree that is being worked on.
fn version() -> String {
    format!("{} (interface {:08x})", env!("CARGO_PKG_VERSION"), crc32fast::hash(vm::interface().as_bytes()))
}

impl Header {
    /// Whether code that was made under `self` can run under `here`.
    fn check(self, here: &Header) -> Result<(), Misfit> {
        let missing = self.features.into_iter().filter(|feature| !here.features.contains(feature));
        if self.version != here.version {
            return Err(Misfit::Version { found: self.version, expected: here.version.clone() });
        }
        if self.target != here.target {
            return Err(Misfit::Target { found: self.target, expected: here.target.clone() });
        }
        let missing: Vec<String> = missing.collect();
        if !missing.is_empty() {
            return Err(Misfit::Features { missing });
        }
        if self.collector != here.collector {
            let describe = |(name, options): &(String, String)| format!("{name}` with `{options}");
            return Err(Misfit::Collector { found: describe(&self.collector), expected: describe(&here.collector) });
        }
        let absent = || "(not set)".to_string();
        let value = |settings: &[(String, String)], name: &str| {
            settings.iter().find(|(other, _)| other == name).map_or_else(absent, |(_, value)| value.clone())
        };
        for (name, _) in self.settings.iter().chain(&here.settings) {
            let (found, expected) = (value(&self.settings, name), value(&here.settings, name));
            if found != expected {
                return Err(Misfit::Setting { setting: name.clone(), found, expected });
            }
        }
        Ok(())
    }
}

impl SavedKind {
    fn save(kind: RelocKind) -> SavedKind {
        match kind {
            RelocKind::Abs8 => SavedKind::Abs8,
            RelocKind::X86CallPCRel4 => SavedKind::X86CallPCRel4,
            RelocKind::X86PCRel4 => SavedKind::X86PCRel4,
            RelocKind::Arm64Call => SavedKind::Arm64Call,
            other => unreachable!("the linker knows no relocation of kind {other:?}"),
        }
    }

    fn load(self) -> RelocKind {
        match self {
            SavedKind::Abs8 => RelocKind::Abs8,
            SavedKind::X86CallPCRel4 => RelocKind::X86CallPCRel4,
            SavedKind::X86PCRel4 => RelocKind::X86PCRel4,
            SavedKind::Arm64Call => RelocKind::Arm64Call,
        }
    }
}

/// Bytes that a relocation fills in.
fn width(kind: RelocKind) -> usize {
    if kind == RelocKind::Abs8 { 8 } else { 4 }
}

/// How files name the types that the module's code can name.
fn saved_types(info: &ModuleInfo, registry: &TypeRegistry) -> FxHashMap<TypeIndex, SavedType> {
    let mut names = FxHashMap::default();
    for (ty, own) in info.types.indices().iter().zip(0..) {
        names.entry(*ty).or_insert(SavedType::Defined(own));
    }
    for func in &info.tags {
        // Registered when the module was parsed, or now.
        if let (Ok(exception), Some(SavedType::Defined(own))) = (registry.exception_type(*func), names.get(func)) {
            let own = *own;
            names.insert(exception, SavedType::Exception(own));
        }
    }
    names
}

impl SavedType {
    fn resolve(self, info: &ModuleInfo, registry: &TypeRegistry) -> Result<TypeIndex, Misfit> {
        let (SavedType::Defined(own) | SavedType::Exception(own)) = self;
        let canonical = info.types.indices().get(own as usize).copied();
        let canonical = canonical.ok_or_else(|| Misfit::Malformed(format!("its code names type {own}")))?;
        match self {
            SavedType::Defined(_) => Ok(canonical),
            SavedType::Exception(_) if info.tags.contains(&canonical) => {
                registry.exception_type(canonical).map_err(|error| Misfit::Malformed(error.to_string()))
            }
            SavedType::Exception(_) => Err(Misfit::Malformed(format!("no tag has type {own}"))),
        }
    }
}

impl Function {
    fn save(code: &CompiledCode, names: &FxHashMap<TypeIndex, SavedType>) -> Function {
        let name = |ty: &TypeIndex| *names.get(ty).expect("code names types of its module only");
        let target = |target: &RelocTarget| match target {
            RelocTarget::Function(index) => SavedTarget::Function(*index),
            RelocTarget::LibCall(call) => {
                let position = LIBCALLS.iter().position(|other| other == call);
                SavedTarget::LibCall(position.expect("code names known library functions") as u32)
            }
            RelocTarget::Type(ty) => SavedTarget::Type(name(ty)),
            RelocTarget::Header(ty) => SavedTarget::Header(name(ty)),
        };
        let relocs = code.relocs.iter().map(|reloc| SavedReloc {
            at: reloc.at,
            kind: SavedKind::save(reloc.kind),
            target: target(&reloc.target),
            addend: reloc.addend,
        });
        Function {
            bytes: code.code.len() as u32,
            align: code.align,
            relocs: relocs.collect(),
            traps: code.traps.iter().map(|(at, code)| (*at, code.as_raw().get())).collect(),
            stack_maps: code.stack_maps.iter().map(|map| (map.ret, map.frame_size, map.slots.clone())).collect(),
            handlers: code.handlers.iter().map(|handler| (handler.ret, handler.target, handler.frame_size)).collect(),
            positions: code.positions.clone(),
            origins: code.origins.clone(),
        }
    }

    /// Checks what would make the linker or the runtime fail, and resolves types.
    fn load(
        self,
        code: &[u8],
        info: &ModuleInfo,
        registry: &TypeRegistry,
        functions: u32,
    ) -> Result<CompiledCode, Misfit> {
        let malformed = |what: &str| Misfit::Malformed(what.into());
        let inside = |at: u32| at as usize <= code.len();
        if !self.align.is_power_of_two() || self.align > MAX_ALIGN {
            return Err(malformed("a function's alignment is no small power of two"));
        }
        let sorted = self.traps.is_sorted_by_key(|t| t.0)
            && self.stack_maps.is_sorted_by_key(|m| m.0)
            && self.handlers.is_sorted_by_key(|h| h.0)
            && self.positions.is_sorted_by_key(|p| p.0);
        if !sorted {
            return Err(malformed("a function's tables are not in order"));
        }
        if !Origin::are_sound(&self.origins, &self.positions, functions) {
            return Err(malformed("its code comes from functions that do not exist"));
        }
        let slots = self
            .stack_maps
            .iter()
            .all(|(_, size, slots)| slots.iter().all(|slot| slot.checked_add(4).is_some_and(|end| end <= *size)));
        if !slots || !self.handlers.iter().all(|handler| inside(handler.1)) {
            return Err(malformed("a function's tables lead out of it"));
        }
        let relocs = self.relocs.into_iter().map(|reloc| {
            let kind = reloc.kind.load();
            if reloc.at as usize + width(kind) > code.len() {
                return Err(malformed("a relocation lies outside its function"));
            }
            let target = match reloc.target {
                SavedTarget::Function(index) if index < functions => RelocTarget::Function(index),
                SavedTarget::Function(_) => return Err(malformed("its code calls a function that does not exist")),
                SavedTarget::LibCall(i) => match LIBCALLS.get(i as usize) {
                    Some(call) => RelocTarget::LibCall(*call),
                    None => return Err(malformed("its code calls an unknown library function")),
                },
                SavedTarget::Type(ty) => RelocTarget::Type(ty.resolve(info, registry)?),
                SavedTarget::Header(ty) => RelocTarget::Header(ty.resolve(info, registry)?),
            };
            if matches!(target, RelocTarget::Type(_) | RelocTarget::Header(_)) && kind != RelocKind::Abs8 {
                return Err(malformed("a type's index is no address"));
            }
            Ok(Reloc { at: reloc.at, kind, target, addend: reloc.addend })
        });
        let trap = |(at, code): (u32, u8)| Some((at, TrapCode::from_raw(code.try_into().ok()?)));
        let traps: Option<Vec<_>> = self.traps.into_iter().map(trap).collect();
        Ok(CompiledCode {
            relocs: relocs.collect::<Result<_, _>>()?,
            code: code.to_vec(),
            align: self.align,
            traps: traps.ok_or_else(|| malformed("its code traps without a reason"))?,
            stack_maps: self
                .stack_maps
                .into_iter()
                .map(|(ret, frame_size, slots)| StackMap { ret, frame_size, slots })
                .collect(),
            handlers: self
                .handlers
                .into_iter()
                .map(|(ret, target, frame_size)| Handler { ret, target, frame_size })
                .collect(),
            positions: self.positions,
            origins: self.origins,
        })
    }
}
