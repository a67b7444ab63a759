//! Modules.

use super::engine::{Code, Way, publish, trampoline_type};
use super::{Engine, Error, ErrorKind, Result};
use crate::compile::{CompileError, CompileProfile, Emit, Stopwatch, Trampoline};
use crate::fixed_tables;
use crate::info::{CompiledCode, ExternKind, ModuleInfo, TrampolineType};
use crate::parse::{Parsed, classify, parse, validate};
use crate::precompiled;
use crate::runtime::code::CodeObject;
use crate::types::{ExternType, FuncType, TagType, TypeRegistry};
use gc_api::TypeIndex;
use std::borrow::Cow;
use std::ffi::c_void;
use std::fmt;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// A module: validated and compiled. Cheap to clone.
///
/// ```
/// # fn main() -> engine::Result<()> {
/// # let engine = engine::Engine::new(gc_null::COLLECTOR.with(&Default::default()).unwrap())?;
/// let module = engine::Module::new(&engine, r#"(module (func (export "answer") (result i32) i32.const 42))"#)?;
/// let exports: Vec<_> = module.exports().map(|e| format!("{} {}", e.name(), e.ty().describe(&engine))).collect();
/// assert_eq!(exports, ["answer (func (result i32))"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Module(pub(crate) Arc<ModuleInner>);

/// What a module consists of.
pub struct ModuleInner {
    engine: Engine,
    /// Its declarations.
    pub info: ModuleInfo,
    /// Its binary, for the data segments.
    pub bytes: Box<[u8]>,
    /// The code of its functions.
    pub code: Arc<CodeObject>,
    /// The functions that can escape, by position.
    pub escaping: Vec<u32>,
    /// Entry trampolines of the functions that can escape, by position.
    entries: Vec<Code>,
}

impl Engine {
    /// Compiles a module, as a binary or as text, to a file that [`Module::deserialize`] makes it of.
    ///
    /// ```
    /// # fn main() -> engine::Result<()> {
    /// use engine::{Engine, Module};
    /// let engine = Engine::new(gc_drc::COLLECTOR.with(&Default::default()).unwrap())?;
    /// let file = engine.precompile_module("(module)")?;
    /// assert!(Module::is_precompiled(&file));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Module::new`].
    pub fn precompile_module(&self, source: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        let binary = wat::parse_bytes(source.as_ref()).map_err(text_error)?;
        let Parsed { info, funcs } = parsed(self, &binary)?;
        let compiler = self.compiler().relocatable();
        let code = compiler.compile_module(&info, &binary, funcs, &Stopwatch::default());
        let code = code.map_err(|error| refusal(&binary, error))?;
        Ok(precompiled::save(&compiler, &info, &binary, &code))
    }
}

impl Module {
    /// Makes a module of a binary, or of WebAssembly text.
    ///
    /// # Errors
    /// When it is malformed, invalid, or uses what is not supported.
    pub fn new(engine: &Engine, source: impl AsRef<[u8]>) -> Result<Module> {
        let source = source.as_ref();
        if Module::is_precompiled(source) {
            return Module::from_binary(engine, source);
        }
        Module::translate(engine, wat::parse_bytes(source))
    }

    /// Makes a module of a file with a binary or with text.
    ///
    /// # Errors
    /// When it cannot be read, and as [`Module::new`].
    pub fn from_file(engine: &Engine, path: impl AsRef<Path>) -> Result<Module> {
        let path = path.as_ref();
        let source =
            std::fs::read(path).map_err(|error| Error::system(&format!("reading {}", path.display()), error))?;
        if Module::is_precompiled(&source) {
            return Module::from_binary(engine, &source);
        }
        Module::translate(
            engine,
            wat::parse_bytes(&source).map_err(|mut error| {
                error.set_path(path);
                error
            }),
        )
    }

    /// Makes a module of a binary, and of nothing else.
    ///
    /// # Errors
    /// As [`Module::new`].
    pub fn from_binary(engine: &Engine, bytes: &[u8]) -> Result<Module> {
        Ok(Module::profile(engine, bytes)?.0)
    }

    /// As [`Module::from_binary`], and tells where the time went.
    ///
    /// # Errors
    /// As [`Module::new`].
    pub fn profile(engine: &Engine, bytes: &[u8]) -> Result<(Module, CompileProfile)> {
        if Module::is_precompiled(bytes) {
            return Err(Error::usage("this is a precompiled module: load it with `Module::deserialize`"));
        }
        let start = Instant::now();
        let Parsed { info, funcs } = parsed(engine, bytes)?;
        let parsed = Instant::now();
        let stopwatch = Stopwatch::default();
        let functions = engine.compiler().compile_module(&info, bytes, funcs, &stopwatch);
        let compiled = Instant::now();
        let mut profile = stopwatch.finish();
        let module = Module::assemble(engine, info, bytes, functions.map_err(|error| refusal(bytes, error))?)?;
        (profile.parse, profile.functions) = (parsed - start, compiled - parsed);
        (profile.publish, profile.code_bytes) = (compiled.elapsed(), module.0.code.range().len());
        Ok((module, profile))
    }

    fn assemble(engine: &Engine, info: ModuleInfo, bytes: &[u8], code: Vec<CompiledCode>) -> Result<Module> {
        let code = publish(engine.config().profiler, code, |i| info.full_name(info.imported_funcs + i as u32))?;
        let mut escaping: Vec<u32> = info.escaping.keys().copied().collect();
        escaping.sort_unstable_by_key(|func| info.escaping[func]);
        let types = escaping.iter().map(|func| engine.registry().func(info.funcs[*func as usize]));
        let entries = engine.trampolines(Way::Entry, types)?;
        let engine = engine.clone();
        Ok(Module(Arc::new(ModuleInner { engine, info, bytes: bytes.into(), code, escaping, entries })))
    }

    /// Checks whether a module, as a binary or as text, could be made, without making it.
    ///
    /// ```
    /// # fn main() -> engine::Result<()> {
    /// use engine::{Engine, Module};
    /// let engine = Engine::new(gc_null::COLLECTOR.with(&Default::default()).unwrap())?;
    /// Module::validate(&engine, "(module (func (result i32) i32.const 1))")?;
    /// let error = Module::validate(&engine, "(module (func (result i32)))").unwrap_err();
    /// assert!(error.to_string().contains("type mismatch"), "{error}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When it is malformed, invalid, or uses what is not supported. What remains is to be told by [`Module::new`]: whether the
    /// engine has room for its types and there is memory for its code.
    pub fn validate(engine: &Engine, source: impl AsRef<[u8]>) -> Result<()> {
        // Engines do not differ in what they accept, so far.
        let _ = engine;
        let binary = wat::parse_bytes(source.as_ref()).map_err(text_error)?;
        Ok(validate(&binary)?)
    }

    /// The module as a file that [`Module::deserialize`] makes it of again, in any process of this version of Gleaner, on any
    /// machine with at least this processor's features, in an engine with the same collector and options.
    ///
    /// Compiles the module once more, because the code of a loaded module is tied to its engine;
    /// [`Engine::precompile_module`] compiles for the file only.
    ///
    /// ```
    /// # fn main() -> engine::Result<()> {
    /// use engine::{Engine, Instance, Module, Store};
    /// let engine = || Engine::new(gc_drc::COLLECTOR.with(&Default::default()).unwrap());
    /// let file = Module::new(&engine()?, r#"(module (func (export "answer") (result i32) i32.const 42))"#)?.serialize()?;
    ///
    /// let engine = engine()?;
    /// // SAFETY: made by `serialize` above.
    /// let module = unsafe { Module::deserialize(&engine, &file)? };
    /// let mut store = Store::new(&engine, ())?;
    /// let instance = Instance::new(&mut store, &module, &[])?;
    /// assert_eq!(instance.get_typed_func::<(), i32>(&mut store, "answer")?.call(&mut store, ())?, 42);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The compiler's.
    pub fn serialize(&self) -> Result<Vec<u8>> {
        self.0.engine.precompile_module(&self.0.bytes)
    }

    /// Makes a module of what [`Module::serialize`] or [`Engine::precompile_module`] gave, without compiling.
    ///
    /// # Errors
    /// [`ErrorKind::Precompiled`], with the reason, when it was truncated or damaged, or made by another version of Gleaner, for
    /// another kind of machine, for processor features that this one lacks, or for another collector, options of the collector,
    /// or options of the compiler. Never a crash; see below.
    ///
    /// # Safety
    /// `file` was made by this library, and at most damaged since by accident. It contains machine code, which is executed:
    /// what was forged on purpose can do whatever this process can. Load only what you would also link into your program.
    pub unsafe fn deserialize(engine: &Engine, file: impl AsRef<[u8]>) -> Result<Module> {
        let saved = precompiled::open(engine.compiler(), file.as_ref())?;
        let binary = saved.binary();
        let Parsed { info, .. } = parsed(engine, binary)?;
        let code = saved.code(&info, engine.registry())?;
        Module::assemble(engine, info, binary, code)
    }

    /// As [`Module::deserialize`], of a file.
    ///
    /// # Errors
    /// When it cannot be read, and as [`Module::deserialize`].
    ///
    /// # Safety
    /// As [`Module::deserialize`].
    pub unsafe fn deserialize_file(engine: &Engine, path: impl AsRef<Path>) -> Result<Module> {
        let path = path.as_ref();
        let file = std::fs::read(path).map_err(|error| Error::system(&format!("reading {}", path.display()), error))?;
        // SAFETY: the caller's promise.
        unsafe { Module::deserialize(engine, file) }
    }

    /// Whether this is a precompiled module, as far as its first bytes tell: something for [`Module::deserialize`] rather than
    /// [`Module::new`].
    pub fn is_precompiled(bytes: impl AsRef<[u8]>) -> bool {
        precompiled::is_precompiled(bytes.as_ref())
    }

    /// [`Module::is_precompiled`] of a file, of which no more is read than that takes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is_precompiled_file(path: impl AsRef<Path>) -> Result<bool> {
        let path = path.as_ref();
        let mut first = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(precompiled::MAGIC.len() as u64).read_to_end(&mut first))
            .map_err(|error| Error::system(&format!("reading {}", path.display()), error))?;
        Ok(Module::is_precompiled(first))
    }

    fn translate(engine: &Engine, binary: Result<Cow<'_, [u8]>, wat::Error>) -> Result<Module> {
        match binary {
            Ok(binary) => Module::from_binary(engine, &binary),
            Err(error) => Err(text_error(error)),
        }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// The module's name, from the name section.
    pub fn name(&self) -> Option<&str> {
        self.0.info.name.as_deref()
    }

    /// Bytes of its machine code.
    pub fn code_bytes(&self) -> usize {
        self.0.code.range().len()
    }

    /// What it imports, in order.
    pub fn imports(&self) -> impl ExactSizeIterator<Item = ImportType<'_>> {
        let info = &self.0.info;
        info.imports.iter().map(|import| ImportType {
            module: &import.module,
            name: &import.name,
            ty: extern_type(info, import.kind, import.index),
        })
    }

    /// What it exports, in order.
    pub fn exports(&self) -> impl ExactSizeIterator<Item = ExportType<'_>> {
        let info = &self.0.info;
        info.exports
            .iter()
            .map(|export| ExportType { name: &export.name, ty: extern_type(info, export.kind, export.index) })
    }

    /// The type of the export `name`.
    pub fn export(&self, name: &str) -> Option<ExternType> {
        self.exports().find(|export| export.name == name).map(|export| export.ty)
    }

    /// The number of functions, imported ones included.
    pub fn func_count(&self) -> usize {
        self.0.info.funcs.len()
    }

    /// The name of the function `index`, from the name section or an export.
    pub fn func_name(&self, index: u32) -> Option<&str> {
        self.0.info.func_name(index)
    }

    /// What the functions that `select` wants, by index and name, become under the engine's collector: name (or index) and text
    /// of each.
    ///
    /// # Errors
    /// As [`Module::new`].
    pub fn emit(
        engine: &Engine,
        source: impl AsRef<[u8]>,
        emit: Emit,
        select: impl Fn(u32, Option<&str>) -> bool,
    ) -> Result<Vec<(String, String)>> {
        let bytes = wat::parse_bytes(source.as_ref()).map_err(text_error)?;
        let Parsed { info, funcs } = parsed(engine, &bytes)?;
        let mut texts = Vec::new();
        let index = |defined: usize| info.imported_funcs + defined as u32;
        let wanted = |defined| select(index(defined), info.func_name(index(defined)));
        for (defined, text) in engine.compiler().emit_text(&info, &bytes, funcs, emit, wanted)? {
            let name = info.func_name(index(defined)).map_or_else(|| index(defined).to_string(), str::to_string);
            texts.push((name, text));
        }
        Ok(texts)
    }

    /// The trampolines that the module needs, as text: name and text of each. By one kind the host calls those of its functions
    /// that can escape, by the other it calls the host, one of each kind for every type of function.
    ///
    /// # Errors
    /// As [`Module::new`], though the functions are not looked at.
    pub fn emit_trampolines(engine: &Engine, source: impl AsRef<[u8]>, emit: Emit) -> Result<Vec<(String, String)>> {
        let bytes = wat::parse_bytes(source.as_ref()).map_err(text_error)?;
        let Parsed { info, .. } = parse(&bytes, engine.registry())?;
        let escaping = info.escaping.keys().map(|func| info.funcs[*func as usize]);
        let imported = info.funcs[..info.imported_funcs as usize].iter().copied();
        let entries = trampoline_types(engine, escaping).into_iter().map(|ty| (Way::Entry, ty));
        let hosts = trampoline_types(engine, imported).into_iter().map(|ty| (Way::Host, ty));
        let text = |(way, ty): (Way, TrampolineType)| {
            let code = if way == Way::Entry { Trampoline::Entry(&ty) } else { Trampoline::Host(&ty) };
            Ok((way.name(&ty), engine.compiler().trampoline_text(code, emit)?))
        };
        entries.chain(hosts).map(text).collect()
    }
}

/// The types of the trampolines that functions of these types need, each once.
fn trampoline_types(engine: &Engine, types: impl Iterator<Item = TypeIndex>) -> Vec<TrampolineType> {
    let mut types: Vec<_> = types.map(|ty| trampoline_type(engine.registry().func(ty))).collect();
    types.sort_by_key(|ty| ty.to_string());
    types.dedup();
    types
}

/// A module's declarations, with what the engine's options want to know of its code.
fn parsed(engine: &Engine, bytes: &[u8]) -> Result<Parsed> {
    let mut parsed = parse(bytes, engine.registry())?;
    let options = &engine.compiler().options;
    if options.call_caches || options.inlines() {
        let info = &mut parsed.info;
        let mut found = fixed_tables::find(info, bytes, options.call_caches);
        if !info.offsets.add_call_caches(found.sites.last().copied().unwrap_or(0)) {
            found.sites.clear();
        }
        info.fixed_tables = found;
    }
    Ok(parsed)
}

/// Says what is wrong with a body: invalid, or in need of a feature that is not supported.
fn refusal(bytes: &[u8], error: CompileError) -> Error {
    match error {
        CompileError::Invalid(error) => classify(bytes, error).into(),
        other => other.into(),
    }
}

fn text_error(error: wat::Error) -> Error {
    Error::new(ErrorKind::Module(error.to_string()))
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl ModuleInner {
    /// Code with the array convention for the function at this position among those that can escape.
    pub(crate) fn array_call(&self, position: usize) -> *const c_void {
        self.entries[position].0
    }
}

pub(crate) fn extern_type(info: &ModuleInfo, kind: ExternKind, index: u32) -> ExternType {
    let i = index as usize;
    match kind {
        ExternKind::Func => ExternType::Func(info.funcs[i]),
        ExternKind::Table => ExternType::Table(info.tables[i]),
        ExternKind::Memory => ExternType::Memory(info.memories[i]),
        ExternKind::Global => ExternType::Global(info.globals[i]),
        ExternKind::Tag => ExternType::Tag(TagType { func: info.tags[i] }),
    }
}

/// Something that a module imports.
#[derive(Clone, Copy, Debug)]
pub struct ImportType<'m> {
    module: &'m str,
    name: &'m str,
    ty: ExternType,
}

impl<'m> ImportType<'m> {
    /// The module's part of the name.
    pub fn module(&self) -> &'m str {
        self.module
    }

    /// The item's part.
    pub fn name(&self) -> &'m str {
        self.name
    }

    /// What it is.
    pub fn ty(&self) -> ExternType {
        self.ty
    }
}

/// Something that a module exports.
#[derive(Clone, Copy, Debug)]
pub struct ExportType<'m> {
    name: &'m str,
    ty: ExternType,
}

impl<'m> ExportType<'m> {
    /// Its name.
    pub fn name(&self) -> &'m str {
        self.name
    }

    /// What it is.
    pub fn ty(&self) -> ExternType {
        self.ty
    }
}

impl ExternType {
    /// The type in the text format's notation, with function types spelled out.
    pub fn describe(&self, engine: &Engine) -> String {
        describe(engine.registry(), self)
    }

    /// The function type, of a function.
    pub fn func<'e>(&self, engine: &'e Engine) -> Option<&'e FuncType> {
        match self {
            ExternType::Func(ty) => Some(engine.registry().func(*ty)),
            _ => None,
        }
    }
}

/// A type with function types spelled out.
pub(crate) fn describe(registry: &TypeRegistry, ty: &ExternType) -> String {
    match ty {
        ExternType::Func(ty) => registry.get(*ty).composite.to_string(),
        ExternType::Tag(TagType { func }) => {
            let spelled = registry.func(*func).to_string();
            format!("(tag{})", spelled.strip_prefix("(func").and_then(|s| s.strip_suffix(')')).unwrap_or_default())
        }
        other => other.to_string(),
    }
}
