//! WebAssembly in, machine code out.
//!
//! Each function body is validated and translated to CLIF in one pass (`translate`, with the instructions by family in
//! `control`, `numeric`, `simd`, `memory`, `atomics`, `table`, `global`, `gc`, `casts`, `calls`, `exceptions`), then compiled by
//! Cranelift; functions are independent and run in parallel. `interrupts` has what ends runaway programs. What a collector emits
//! goes through [`gc_api::Emitter`], which `env` backs. `trampoline` makes the code at the borders.
//!
//! `inline` and `unroll` say what is translated in more places than one. `threading` and `safepoints` go over a function before Cranelift
//! optimises it, `hoist` and `widen` afterwards.

mod atomics;
mod calls;
mod casts;
mod control;
mod env;
mod exceptions;
mod gc;
mod global;
mod hoist;
mod inline;
mod interrupts;
mod memory;
mod numeric;
mod profile;
#[cfg(test)]
mod random;
mod safepoints;
mod simd;
mod table;
mod threading;
mod trampoline;
mod translate;
mod traps;
mod unroll;
mod widen;

pub use trampoline::Trampoline;

use crate::info::{CompiledCode, Handler, ModuleInfo, Origin, Reloc, RelocTarget, StackMap};
use crate::limits::Exceeded;
use crate::types::{HeapType, RefType, TypeRegistry, ValType};
use crate::vm::TableInit;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{self, ExternalName, types as ct};
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{CodegenError, Context, FinalizedMachExceptionHandler, FinalizedRelocTarget};
use cranelift_frontend::FunctionBuilderContext;
use gc_api::GcRuntime;
use inline::Inlining;
use rayon::prelude::*;
use rustc_hash::FxHashSet;
use std::sync::Arc;
use std::time::Instant;
use wasmparser::{BinaryReaderError, FuncToValidate, FuncValidatorAllocations, ValidatorResources};

pub(crate) use profile::Stopwatch;
pub use profile::{CompileProfile, SlowFunction};

/// How hard Cranelift tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OptLevel {
    /// Fastest compilation.
    None,
    /// Fastest code.
    #[default]
    Speed,
}

/// What can be chosen about compiled code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileOptions {
    /// How hard to optimise.
    pub opt_level: OptLevel,
    /// Count objects that are allocated inline.
    pub count_objects: bool,
    /// Find null accesses to objects by page fault rather than by a test.
    pub null_faults: bool,
    /// Compile functions in parallel.
    pub parallel: bool,
    /// Let the collector allocate inline, rather than call the runtime for each object.
    pub inline_alloc: bool,
    /// Translate small functions where they are called.
    pub inline_calls: bool,
    /// Translate several iterations of short loops one behind the other.
    pub unroll_loops: bool,
    /// When function references are made.
    pub table_init: TableInit,
    /// Keep the targets of indirect calls in caches. Which calls have one is the module's to know.
    pub call_caches: bool,
    /// Leave the indices of types open, for an engine that numbers them differently.
    pub relocatable: bool,
    /// Look at the deadline in functions' and loops' beginnings.
    pub epochs: bool,
    /// Count instructions.
    pub fuel: bool,
    /// What relaxed vector instructions may choose.
    pub relaxed_simd: RelaxedSimd,
    /// Tell the verifier of every reference that is written into an object.
    pub note_writes: bool,
}

impl CompileOptions {
    /// Whether small functions are translated where they are called.
    pub fn inlines(&self) -> bool {
        self.inline_calls && self.opt_level != OptLevel::None
    }

    /// The options that change code, with their values: code is of use only where they are the same.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        // Every option must be looked at here.
        let CompileOptions {
            opt_level,
            count_objects,
            null_faults,
            parallel: _,
            inline_alloc,
            inline_calls,
            unroll_loops,
            table_init,
            call_caches,
            relocatable: _,
            epochs,
            fuel,
            relaxed_simd,
            note_writes,
        } = *self;
        vec![
            ("opt-level", format!("{opt_level:?}")),
            ("count-objects", count_objects.to_string()),
            ("null-faults", null_faults.to_string()),
            ("inline-alloc", inline_alloc.to_string()),
            ("inline-calls", inline_calls.to_string()),
            ("unroll-loops", unroll_loops.to_string()),
            ("table-init", format!("{table_init:?}")),
            ("call-caches", call_caches.to_string()),
            ("epochs", epochs.to_string()),
            ("fuel", fuel.to_string()),
            ("relaxed-simd", format!("{relaxed_simd:?}")),
            ("note-writes", note_writes.to_string()),
        ]
    }
}

/// Which of the results that the specification allows a relaxed vector instruction has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RelaxedSimd {
    /// What the machine computes in the fewest instructions.
    Native,
    /// That of the deterministic profile: the same on every machine.
    Deterministic,
}

/// Namespaces of the symbols in code: functions of the module, types, and types as headers have them.
const FUNCTION_SYMBOLS: u32 = 0;
const TYPE_SYMBOLS: u32 = 1;
const HEADER_SYMBOLS: u32 = 2;

impl Default for CompileOptions {
    fn default() -> Self {
        CompileOptions {
            opt_level: OptLevel::Speed,
            count_objects: false,
            null_faults: true,
            parallel: true,
            inline_alloc: true,
            inline_calls: true,
            unroll_loops: true,
            table_init: TableInit::Lazy,
            call_caches: false,
            relocatable: false,
            epochs: false,
            fuel: false,
            relaxed_simd: RelaxedSimd::Native,
            note_writes: false,
        }
    }
}

/// Why a function could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The body is not valid, or uses what is not supported.
    #[error("{0}")]
    Invalid(#[from] BinaryReaderError),
    /// The body is too large.
    #[error("function {function} is too large: {exceeded}")]
    Limit {
        /// Its name or index.
        function: String,
        /// In which respect.
        exceeded: Exceeded,
    },
    /// The body is within the limits, but not within the code generator's.
    #[error("function {function} is too large: the code generator cannot hold all of its values and code; split it")]
    TooLarge {
        /// Its name or index.
        function: String,
    },
    /// Cranelift refused.
    #[error("function {function} could not be compiled: {message}")]
    Codegen {
        /// Its name or index.
        function: String,
        /// Cranelift's words.
        message: String,
    },
    /// The host has no such instruction set, or a setting is wrong.
    #[error("no code can be generated for this machine: {0}")]
    Target(String),
}

/// Compiles for one engine: one instruction set, one collector.
#[derive(Clone)]
pub struct Compiler {
    pub(crate) isa: OwnedTargetIsa,
    /// The same, for code that has been optimised.
    plain_isa: OwnedTargetIsa,
    pub(crate) registry: Arc<TypeRegistry>,
    pub(crate) gc: Arc<dyn GcRuntime>,
    pub(crate) options: CompileOptions,
}

/// A function in text, for `gleaner compile`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emit {
    /// Cranelift's intermediate form, before optimisation.
    Clif,
    /// Machine code.
    Asm,
}

impl Compiler {
    /// A compiler for the machine it runs on.
    ///
    /// # Errors
    /// When Cranelift does not know this machine.
    pub fn new(
        options: CompileOptions,
        registry: Arc<TypeRegistry>,
        gc: Arc<dyn GcRuntime>,
    ) -> Result<Compiler, CompileError> {
        let target = |e: &dyn std::fmt::Display| CompileError::Target(e.to_string());
        let mut flags = settings::builder();
        for (name, value) in [
            ("opt_level", if options.opt_level == OptLevel::None { "none" } else { "speed" }),
            // Stacks are walked by frame pointers.
            ("preserve_frame_pointers", "true"),
            // The prologue's own check finds overflow before any page does.
            ("enable_probestack", "false"),
            ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
            ("unwind_info", "false"),
            // Results that registers have no room for go through memory, by an address that becomes a parameter.
            ("enable_multi_ret_implicit_sret", "true"),
            // Library functions are called by absolute address.
            ("is_pic", "false"),
        ] {
            flags.set(name, value).map_err(|e| target(&e))?;
        }
        let isa = |flags: &settings::Builder| {
            let builder = cranelift_native::builder().map_err(|e| target(&e))?;
            builder.finish(settings::Flags::new(flags.clone())).map_err(|e| target(&e))
        };
        let optimising = isa(&flags)?;
        flags.set("opt_level", "none").map_err(|e| target(&e))?;
        Ok(Compiler { isa: optimising, plain_isa: isa(&flags)?, registry, gc, options })
    }

    /// Compiles what stands in `context`.
    fn generate<'c>(&self, context: &'c mut Context) -> Result<&'c cranelift_codegen::CompiledCode, CodegenError> {
        let control = &mut ControlPlane::default();
        if self.options.opt_level == OptLevel::Speed {
            context.optimize(&*self.isa, control)?;
            hoist::hoist(context, self.isa.flags())?;
            widen::widen(&mut context.func);
        }
        context.compile(&*self.plain_isa, control).map_err(|e| e.inner)
    }

    /// The same compiler, whose code can be linked into other engines.
    pub(crate) fn relocatable(&self) -> Compiler {
        Compiler { options: CompileOptions { relocatable: true, ..self.options }, ..self.clone() }
    }

    /// Compiles the functions of a module, in the order of their indices. A function that every call took in, and that nobody else can
    /// reach, gets no code. Where the time goes is told to `stopwatch`.
    ///
    /// # Errors
    /// That of a function that fails.
    pub(crate) fn compile_module(
        &self,
        info: &ModuleInfo,
        bytes: &[u8],
        funcs: Vec<FuncToValidate<ValidatorResources>>,
        stopwatch: &Stopwatch,
    ) -> Result<Vec<CompiledCode>, CompileError> {
        let inlining = Inlining::new(self, info, bytes, &funcs);
        let one = |state: &mut Scratch, (i, func): Numbered| {
            let start = Instant::now();
            let origins = self.translate(state, info, (bytes, &inlining), i, func)?;
            let translated = Instant::now();
            let code = self.finish(&mut state.context, || describe(info, i))?;
            let times = [start, translated, Instant::now()];
            stopwatch.function(info.imported_funcs + i as u32, info.bodies[i].len(), times);
            Ok((i, CompiledCode { origins, ..code }))
        };
        let mut all: Vec<CompiledCode> = funcs.iter().map(|_| CompiledCode::none()).collect();
        let may_vanish = |(i, _): &Numbered| inlining.may_vanish(info, *i);
        let (mut waiting, mut next): (Vec<_>, Vec<_>) = funcs.into_iter().enumerate().partition(may_vanish);
        while !next.is_empty() {
            let mut called = FxHashSet::default();
            for (i, code) in self.each(next, one)? {
                called.extend(code.callees());
                all[i] = code;
            }
            (next, waiting) = waiting.into_iter().partition(|(i, _)| called.contains(&(*i as u32)));
        }
        // Those that are left must be valid nevertheless.
        self.each(waiting, |state, (i, func)| {
            let body = inline::body(info, bytes, i, &func);
            let mut validator = func.into_validator(std::mem::take(&mut state.validator));
            validator.validate(&body)?;
            state.validator = validator.into_allocations();
            Ok(())
        })?;
        Ok(all)
    }

    /// What comes of each function, in parallel if that is wanted.
    fn each<R: Send>(
        &self,
        funcs: Vec<Numbered>,
        one: impl Fn(&mut Scratch, Numbered) -> Result<R, CompileError> + Send + Sync,
    ) -> Result<Vec<R>, CompileError> {
        if self.options.parallel {
            funcs.into_par_iter().map_init(Scratch::default, one).collect()
        } else {
            let mut state = Scratch::default();
            funcs.into_iter().map(|func| one(&mut state, func)).collect()
        }
    }

    /// Those of a module's functions that are `wanted`, by their numbers among its own, as text.
    ///
    /// # Errors
    /// As [`compile_module`](Self::compile_module).
    pub fn emit_text(
        &self,
        info: &ModuleInfo,
        bytes: &[u8],
        funcs: Vec<FuncToValidate<ValidatorResources>>,
        emit: Emit,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<Vec<(usize, String)>, CompileError> {
        let inlining = Inlining::new(self, info, bytes, &funcs);
        let mut state = Scratch::default();
        let mut texts = Vec::new();
        for (defined, func) in funcs.into_iter().enumerate().filter(|(defined, _)| wanted(*defined)) {
            self.translate(&mut state, info, (bytes, &inlining), defined, func)?;
            texts.push((defined, self.text(&mut state.context, emit, || describe(info, defined))?));
        }
        Ok(texts)
    }

    /// What stands in `context`, as text.
    fn text(&self, context: &mut Context, emit: Emit, name: impl Fn() -> String) -> Result<String, CompileError> {
        match emit {
            Emit::Clif => Ok(context.func.display().to_string()),
            Emit::Asm => {
                context.set_disasm(true);
                let compiled = self
                    .generate(context)
                    .map_err(|e| CompileError::Codegen { function: name(), message: format!("{e:?}") })?;
                Ok(compiled.vcode.clone().unwrap_or_default())
            }
        }
    }

    fn translate(
        &self,
        state: &mut Scratch,
        info: &ModuleInfo,
        (bytes, inlining): (&[u8], &Inlining<'_>),
        defined: usize,
        func: FuncToValidate<ValidatorResources>,
    ) -> Result<Vec<Origin>, CompileError> {
        state.context.clear();
        let body = inline::body(info, bytes, defined, &func);
        let mut validator = func.into_validator(std::mem::take(&mut state.validator));
        let Scratch { context, builder, .. } = state;
        let origins = translate::translate(self, (info, inlining), defined, &body, &mut validator, builder, context)?;
        state.validator = validator.into_allocations();
        Ok(origins)
    }

    /// Compiles what stands in `context` and takes out what the runtime needs.
    fn finish(&self, context: &mut Context, name: impl Fn() -> String) -> Result<CompiledCode, CompileError> {
        self.generate(context).map_err(|e| match e {
            CodegenError::CodeTooLarge | CodegenError::ImplLimitExceeded => CompileError::TooLarge { function: name() },
            other => CompileError::Codegen { function: name(), message: format!("{other:?}") },
        })?;
        let compiled = context.compiled_code().expect("just compiled");
        let buffer = &compiled.buffer;
        let mut relocs = Vec::new();
        for reloc in buffer.relocs() {
            let target = match &reloc.target {
                FinalizedRelocTarget::ExternalName(ExternalName::User(name)) => {
                    let name = &context.func.params.user_named_funcs()[*name];
                    match name.namespace {
                        FUNCTION_SYMBOLS => RelocTarget::Function(name.index),
                        TYPE_SYMBOLS => RelocTarget::Type(name.index),
                        _ => RelocTarget::Header(name.index),
                    }
                }
                FinalizedRelocTarget::ExternalName(ExternalName::LibCall(call)) => RelocTarget::LibCall(*call),
                other => {
                    let message = format!("a relocation to {other:?}");
                    return Err(CompileError::Codegen { function: name(), message });
                }
            };
            relocs.push(Reloc { at: reloc.offset, kind: reloc.kind, target, addend: reloc.addend });
        }
        let mut handlers = Vec::new();
        for site in buffer.call_sites() {
            for handler in site.exception_handlers {
                if let FinalizedMachExceptionHandler::Default(target) = handler {
                    let frame_size = site.frame_offset.expect("call sites have a frame size");
                    handlers.push(Handler { ret: site.ret_addr, target: *target, frame_size });
                }
            }
        }
        let stack_maps = buffer
            .user_stack_maps()
            .iter()
            .map(|(ret, frame_size, map)| StackMap {
                ret: *ret,
                frame_size: *frame_size,
                slots: map.entries().map(|(_, offset)| offset).collect(),
            })
            .collect();
        let positions = buffer
            .get_srclocs_sorted()
            .iter()
            .filter(|s| !s.loc.is_default())
            .map(|s| (s.start, s.loc.bits()))
            .collect();
        Ok(CompiledCode {
            code: buffer.data().to_vec(),
            align: buffer.alignment.max(16),
            relocs,
            traps: buffer.traps().iter().map(|t| (t.offset, t.code)).collect(),
            stack_maps,
            handlers,
            positions,
            origins: Vec::new(),
        })
    }

    /// The signature of code with the WebAssembly convention.
    pub(crate) fn wasm_signature(&self, ty: &crate::types::FuncType) -> ir::Signature {
        let mut signature = ir::Signature::new(CallConv::Tail);
        let vmctx = ir::AbiParam::special(ct::I64, ir::ArgumentPurpose::VMContext);
        signature.params.extend([vmctx, ir::AbiParam::new(ct::I64)]);
        signature.params.extend(ty.params.iter().map(|t| ir::AbiParam::new(clif_type(t))));
        signature.returns.extend(ty.results.iter().map(|t| ir::AbiParam::new(clif_type(t))));
        signature
    }
}

/// A function with its number among the module's own.
type Numbered = (usize, FuncToValidate<ValidatorResources>);

/// What one thread reuses from function to function.
struct Scratch {
    context: Context,
    builder: FunctionBuilderContext,
    validator: FuncValidatorAllocations,
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch { context: Context::new(), builder: FunctionBuilderContext::new(), validator: Default::default() }
    }
}

fn describe(info: &ModuleInfo, defined: usize) -> String {
    let index = info.imported_funcs + defined as u32;
    match info.func_name(index) {
        Some(name) => format!("{index} (${name})"),
        None => index.to_string(),
    }
}

/// How a value stands in compiled code.
pub(crate) fn clif_type(ty: &ValType) -> ir::Type {
    match ty {
        ValType::I32 => ct::I32,
        ValType::I64 => ct::I64,
        ValType::F32 => ct::F32,
        ValType::F64 => ct::F64,
        ValType::V128 => ct::I8X16,
        ValType::Ref(r) if is_func(r.heap) => ct::I64,
        ValType::Ref(_) => ct::I32,
    }
}

/// Whether a reference of this heap type is the address of a function reference and not an index into the heap.
pub(crate) fn is_func(heap: HeapType) -> bool {
    matches!(heap, HeapType::Func | HeapType::NoFunc | HeapType::ConcreteFunc(_))
}

/// Whether stack maps must know values of this type.
pub(crate) fn is_gc(ty: &ValType) -> bool {
    matches!(ty, ValType::Ref(r) if may_be_object(*r))
}

fn may_be_object(r: RefType) -> bool {
    !is_func(r.heap) && !matches!(r.heap, HeapType::I31 | HeapType::None | HeapType::NoExtern | HeapType::NoExn)
}
