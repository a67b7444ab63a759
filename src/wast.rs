//! Runs the official test suite's scripts (`.wast`).
//!
//! A script is a list of directives: modules, calls, and assertions about either. Each directive passes, fails, or is
//! skipped because it depends on a feature that Gleaner does not have yet; it counts once. The instances of a script live
//! in one store, together with [`spectest`](crate::spectest).
//!
//! A thread of a script (`(thread $T …)`, as the tests of the threads proposal have them) is a thread of the system's with a store of
//! its own. Of the module that it shares with its parent it sees the shared memories. `(wait $T)` ends when it has ended.

use crate::output::Output;
use crate::{spectest, values};
use engine::types::HeapType;
use engine::{
    Engine, Error, ErrorKind, Extern, ExternRef, ImportProblem, Instance, Linker, Module, SharedMemory, Store, Trap,
    V128, Val,
};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, Scope, ScopedJoinHandle};
use wast::core::{AbstractHeapType, NanPattern, V128Pattern, WastArgCore, WastRetCore};
use wast::lexer::Lexer;
use wast::parser::{ParseBuffer, parse};
use wast::token::{F32, F64, Id};
use wast::{QuoteWat, QuoteWatTest, Wast, WastArg, WastDirective, WastExecute, WastInvoke, WastRet, WastThread, Wat};

/// Bytes of stack of a script's thread, beside WebAssembly's share: for the parser, the validator and the compiler.
const HOST_STACK: usize = 16 << 20;

/// What became of a script.
#[derive(Debug, Default)]
pub struct WastReport {
    /// The script's name.
    pub name: String,
    /// Directives that did what they should.
    pub passed: usize,
    /// Directives that did not.
    pub failed: Vec<Failure>,
    /// Directives that could not be checked.
    pub skipped: Vec<Skip>,
}

impl WastReport {
    /// The number of directives.
    pub fn total(&self) -> usize {
        self.passed + self.failed.len() + self.skipped.len()
    }
}

/// A directive that did not do what it should.
#[derive(Debug)]
pub struct Failure {
    /// The line that it begins on, from 1.
    pub line: usize,
    /// What happened.
    pub message: String,
}

/// A directive that could not be checked.
#[derive(Debug)]
pub struct Skip {
    /// The line that it begins on, from 1.
    pub line: usize,
    /// The feature that is missing.
    pub reason: String,
}

/// Runs the script `text`, called `name` in the report.
///
/// Needs a thread whose stack is larger than [`Config::max_wasm_stack`](engine::Config), by 1 MiB at least.
///
/// ```
/// # fn main() -> engine::Result<()> {
/// let engine = engine::Engine::new(gleaner::collectors::by_spec("null").unwrap())?;
/// let report = gleaner::wast::run_wast("sample", r#"
///     (module (func (export "half") (param i32) (result i32) (i32.div_u (local.get 0) (i32.const 2))))
///     (assert_return (invoke "half" (i32.const 84)) (i32.const 42))
///     (assert_return (invoke "half" (i32.const 84)) (i32.const 43))"#, &engine);
/// assert_eq!((report.passed, report.failed[0].line), (2, 4));
/// # Ok(())
/// # }
/// ```
pub fn run_wast(name: &str, text: &str, engine: &Engine) -> WastReport {
    let mut report = WastReport { name: name.into(), ..WastReport::default() };
    let mut lexer = Lexer::new(text);
    lexer.allow_confusing_unicode(true);
    let buffer = match ParseBuffer::new_with_lexer(lexer) {
        Ok(buffer) => buffer,
        Err(error) => return unreadable(report, text, &error),
    };
    let directives = match parse::<Wast<'_>>(&buffer) {
        Ok(wast) => wast.directives,
        Err(error) => return unreadable(report, text, &error),
    };
    thread::scope(|scope| run_all(Place { engine, text, scope }, directives, HashMap::new(), &mut report));
    report
}

/// What the threads of a script have in common.
#[derive(Clone, Copy)]
struct Place<'scope, 'env> {
    engine: &'env Engine,
    text: &'env str,
    scope: &'scope Scope<'scope, 'env>,
}

/// The memories that an instance exports to threads.
type Shared = Vec<(String, SharedMemory)>;

/// Runs the directives of a thread that shares these modules with its parent, and waits for the threads that they start.
fn run_all<'env>(
    place: Place<'_, 'env>,
    directives: Vec<WastDirective<'env>>,
    shared: HashMap<String, Shared>,
    report: &mut WastReport,
) {
    let Place { text, .. } = place;
    let mut script = match Script::new(place, shared) {
        Ok(script) => script,
        Err(error) => {
            let line = directives.first().map_or(1, |directive| directive.span().linecol_in(text).0 + 1);
            return report.failed.push(Failure { line, message: error.to_string() });
        }
    };
    for directive in directives {
        let line = directive.span().linecol_in(text).0 + 1;
        match catch_unwind(AssertUnwindSafe(|| script.run(directive))) {
            Ok(Ok(())) => report.passed += 1,
            Ok(Err(Stop::Skip(reason))) => report.skipped.push(Skip { line, reason }),
            Ok(Err(Stop::Fail(message))) => report.failed.push(Failure { line, message }),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
                let message = format!("panicked, so the rest of the script was not run: {text}");
                report.failed.push(Failure { line, message });
                // The store may be in any state.
                std::mem::forget(script);
                return;
            }
        }
    }
    let names: Vec<String> = script.threads.keys().cloned().collect();
    names.iter().for_each(|name| drop(script.wait(name)));
    for ended in script.ended {
        report.passed += ended.passed;
        report.failed.extend(ended.failed);
        report.skipped.extend(ended.skipped);
    }
}

/// The report on a script that is not in the text format of today.
fn unreadable(mut report: WastReport, text: &str, error: &wast::Error) -> WastReport {
    // Words that folded instructions consist of nowhere else.
    const LEGACY_EXCEPTIONS: [&str; 5] = ["try", "do", "catch", "delegate", "rethrow"];
    let rest = text.get(error.span().offset()..).unwrap_or_default().trim_start_matches(['(', ' ']);
    let word = rest.split([' ', '(', ')', '\n']).next().unwrap_or_default();
    let line = error.span().linecol_in(text).0 + 1;
    if LEGACY_EXCEPTIONS.contains(&word) {
        report.skipped.push(Skip { line, reason: "legacy exception handling".into() });
    } else {
        report.failed.push(Failure { line, message: error.message() });
    }
    report
}

/// Why a directive did not pass.
enum Stop {
    Fail(String),
    Skip(String),
}

type Outcome<T = ()> = Result<T, Stop>;

fn fail<T>(message: impl Into<String>) -> Outcome<T> {
    Err(Stop::Fail(message.into()))
}

fn skip<T>(reason: impl Into<String>) -> Outcome<T> {
    Err(Stop::Skip(reason.into()))
}

/// An engine's error where there should be none: a failure, unless a feature is missing.
impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        match error.unsupported_feature() {
            Some(feature) => Stop::Skip(feature.into()),
            None => Stop::Fail(error.to_string()),
        }
    }
}

/// Something that a script defined and can name, or the feature for lack of which it could not be made.
type Made<T> = Result<T, String>;

/// A script, or a thread of one, that is being run.
struct Script<'scope, 'env> {
    place: Place<'scope, 'env>,
    store: Store<()>,
    linker: Linker<()>,
    instances: Named<Instance>,
    /// What modules of the parent's share.
    shared: HashMap<String, Shared>,
    definitions: Named<Module>,
    /// Names that are registered for instances that could not be made, and for lack of what.
    missing: HashMap<String, String>,
    /// Threads that have been started and not been waited for.
    threads: HashMap<String, ScopedJoinHandle<'scope, WastReport>>,
    /// What became of the others.
    ended: Vec<WastReport>,
}

/// What was made last, and what has a name.
struct Named<T> {
    last: Option<Made<T>>,
    by_name: HashMap<String, Made<T>>,
}

impl<T: Clone> Named<T> {
    fn new() -> Named<T> {
        Named { last: None, by_name: HashMap::new() }
    }

    fn add(&mut self, name: Option<Id<'_>>, made: Made<T>) {
        if let Some(name) = name {
            self.by_name.insert(name.name().into(), made.clone());
        }
        self.last = Some(made);
    }

    fn get(&self, name: Option<Id<'_>>) -> Outcome<T> {
        let found = match name {
            Some(name) => self.by_name.get(name.name()),
            None => self.last.as_ref(),
        };
        match found {
            Some(Ok(made)) => Ok(made.clone()),
            Some(Err(reason)) => skip(reason),
            None => fail(match name {
                Some(name) => format!("there is no module ${}", name.name()),
                None => "there is no module yet".into(),
            }),
        }
    }
}

impl<'scope, 'env> Script<'scope, 'env> {
    fn new(place: Place<'scope, 'env>, shared: HashMap<String, Shared>) -> Result<Self, Error> {
        let mut store = Store::new(place.engine, ())?;
        let mut linker = Linker::new(place.engine);
        // A script may register a name again.
        linker.allow_shadowing(true);
        spectest::add_to_linker(&mut linker, &mut store, &Output::none())?;
        let (instances, definitions) = (Named::new(), Named::new());
        let (missing, threads, ended) = (HashMap::new(), HashMap::new(), Vec::new());
        Ok(Script { place, store, linker, instances, shared, definitions, missing, threads, ended })
    }

    fn run(&mut self, directive: WastDirective<'env>) -> Outcome {
        match directive {
            WastDirective::Module(mut module) => {
                let name = module.name();
                let made = self.define(&mut module).and_then(|module| self.instantiate(&module));
                add(&mut self.instances, name, made)
            }
            WastDirective::ModuleDefinition(mut module) => {
                let name = module.name();
                let made = self.define(&mut module);
                add(&mut self.definitions, name, made)
            }
            WastDirective::ModuleInstance { instance, module, .. } => {
                let made = self.definitions.get(module).and_then(|module| self.instantiate(&module));
                add(&mut self.instances, instance, made)
            }
            WastDirective::Register { name, module: Some(module), .. } if self.shared.contains_key(module.name()) => {
                self.missing.remove(name);
                for (export, memory) in &self.shared[module.name()] {
                    self.linker.define(&self.store, name, export, memory.clone())?;
                }
                Ok(())
            }
            WastDirective::Register { name, module, .. } => match self.instances.get(module) {
                Ok(instance) => {
                    self.missing.remove(name);
                    self.linker.instance(&mut self.store, name, instance)?;
                    Ok(())
                }
                Err(Stop::Skip(reason)) => {
                    self.missing.insert(name.into(), reason.clone());
                    skip(reason)
                }
                Err(failed) => Err(failed),
            },
            WastDirective::Invoke(invoke) => self.invoke(&invoke)?.map(|_| ()).map_err(Stop::from),
            WastDirective::AssertReturn { exec, results, .. } => {
                let values = self.execute(exec)??;
                self.check_results(&values, &results)
            }
            WastDirective::AssertTrap { exec, message, .. } => {
                let result = self.execute(exec)?;
                self.check_trap(result, message)
            }
            WastDirective::AssertExhaustion { call, message, .. } => {
                let result = self.invoke(&call)?;
                self.check_trap(result, message)
            }
            WastDirective::AssertException { exec, .. } => match self.execute(exec)? {
                Err(error) if matches!(error.kind(), ErrorKind::Exception(_)) => Ok(()),
                Err(error) => fail(format!("expected an exception, got: {error}")),
                Ok(values) => fail(format!("expected an exception, got {}", values::show_all(&values, &self.store))),
            },
            WastDirective::AssertUnlinkable { module, message, .. } => self.check_unlinkable(module, message),
            WastDirective::AssertInvalid { mut module, message, .. }
            | WastDirective::AssertMalformed { mut module, message, .. } => self.check_refused(&mut module, message),
            WastDirective::AssertInvalidCustom { mut module, message, .. }
            | WastDirective::AssertMalformedCustom { mut module, message, .. } => {
                self.check_refused(&mut module, message).or_else(|_| skip("checks of custom sections"))
            }
            WastDirective::AssertSuspension { .. } => skip("stack switching"),
            WastDirective::Thread(thread) => self.start(thread),
            WastDirective::Wait { thread, .. } => self.wait(thread.name()),
        }
    }

    fn start(&mut self, thread: WastThread<'env>) -> Outcome {
        let mut shared = HashMap::new();
        if let Some(module) = thread.shared_module {
            shared.insert(module.name().to_string(), self.shared_by(module)?);
        }
        let (place, directives) = (self.place, thread.directives);
        let run = move || {
            let mut report = WastReport::default();
            run_all(place, directives, shared, &mut report);
            report
        };
        let stack = place.engine.config().max_wasm_stack + HOST_STACK;
        let started = thread::Builder::new().stack_size(stack).spawn_scoped(place.scope, run);
        let handle = started.map_err(|error| Stop::Fail(format!("the thread could not be started: {error}")))?;
        match self.threads.insert(thread.name.name().to_string(), handle) {
            None => Ok(()),
            Some(_) => fail(format!("there is a thread ${} already", thread.name.name())),
        }
    }

    /// The memories that a module shares with threads.
    fn shared_by(&mut self, module: Id<'_>) -> Outcome<Shared> {
        if let Some(shared) = self.shared.get(module.name()) {
            return Ok(shared.clone());
        }
        let exports = self.instances.get(Some(module))?.exports(&mut self.store);
        Ok(exports.into_iter().filter_map(|(name, item)| Some((name, item.shared_memory()?))).collect())
    }

    fn wait(&mut self, thread: &str) -> Outcome {
        let Some(handle) = self.threads.remove(thread) else { return fail(format!("there is no thread ${thread}")) };
        match handle.join() {
            Ok(report) => self.ended.push(report),
            Err(_) => return fail(format!("the thread ${thread} panicked")),
        }
        Ok(())
    }

    fn define(&mut self, module: &mut QuoteWat<'_>) -> Outcome<Module> {
        match module {
            QuoteWat::Wat(Wat::Component(_)) | QuoteWat::QuoteComponent(..) => skip("the component model"),
            _ => {
                let binary = module.encode().map_err(|error| Stop::Fail(error.message()))?;
                Ok(Module::from_binary(self.place.engine, &binary)?)
            }
        }
    }

    fn instantiate(&mut self, module: &Module) -> Outcome<Instance> {
        Ok(self.link(module)??)
    }

    /// Instantiates a module; the inner result is the program's. Imports from instances that could not be made are not the
    /// engine's fault.
    fn link(&mut self, module: &Module) -> Outcome<Result<Instance, Error>> {
        let result = self.linker.instantiate(&mut self.store, module);
        if let Err(error) = &result
            && let ErrorKind::Link(link) = error.kind()
            && let Some(reason) = link.problems.iter().find_map(|problem| self.reason_for(problem))
        {
            return skip(reason);
        }
        Ok(result)
    }

    /// For lack of what an import could not be satisfied, if that is why.
    fn reason_for(&self, problem: &ImportProblem) -> Option<String> {
        self.missing.get(&problem.module).cloned()
    }

    fn execute(&mut self, exec: WastExecute<'_>) -> Outcome<Result<Vec<Val>, Error>> {
        match exec {
            WastExecute::Invoke(invoke) => self.invoke(&invoke),
            WastExecute::Wat(wat) => {
                let module = self.define(&mut QuoteWat::Wat(wat))?;
                Ok(self.link(&module)?.map(|_| Vec::new()))
            }
            WastExecute::Get { module, global, .. } => {
                let instance = self.instances.get(module)?;
                match instance.get_export(&mut self.store, global) {
                    Some(Extern::Global(global)) => Ok(Ok(vec![global.get(&mut self.store)])),
                    _ => fail(format!("there is no global `{global}`")),
                }
            }
        }
    }

    /// Calls a function; the inner result is the program's.
    fn invoke(&mut self, invoke: &WastInvoke<'_>) -> Outcome<Result<Vec<Val>, Error>> {
        let instance = self.instances.get(invoke.module)?;
        let Some(Extern::Func(func)) = instance.get_export(&mut self.store, invoke.name) else {
            return fail(format!("there is no function `{}`", invoke.name));
        };
        let args = invoke.args.iter().map(|arg| self.argument(arg)).collect::<Outcome<Vec<Val>>>()?;
        Ok(func.call(&mut self.store, &args))
    }

    fn argument(&mut self, arg: &WastArg<'_>) -> Outcome<Val> {
        let WastArg::Core(arg) = arg else { return skip("the component model") };
        Ok(match arg {
            WastArgCore::I32(n) => Val::I32(*n),
            WastArgCore::I64(n) => Val::I64(*n),
            WastArgCore::F32(x) => Val::F32(x.bits),
            WastArgCore::F64(x) => Val::F64(x.bits),
            WastArgCore::V128(vector) => Val::V128(u128::from_le_bytes(vector.to_le_bytes())),
            WastArgCore::RefNull(heap) => null(heap)?,
            WastArgCore::RefExtern(n) => Val::ExternRef(Some(ExternRef::new(&mut self.store, *n)?)),
            WastArgCore::RefHost(n) => {
                let host = ExternRef::new(&mut self.store, *n)?;
                Val::AnyRef(Some(host.to_any()))
            }
        })
    }

    fn check_results(&mut self, values: &[Val], expected: &[WastRet<'_>]) -> Outcome {
        if values.len() != expected.len() {
            return fail(format!("expected {} results, got {}", expected.len(), values::show_all(values, &self.store)));
        }
        for (value, expected) in values.iter().zip(expected) {
            let WastRet::Core(expected) = expected else { return skip("the component model") };
            if !self.matches(value, expected)? {
                return fail(format!("expected {expected:?}, got {}", values::show(value, &self.store)));
            }
        }
        Ok(())
    }

    fn matches(&mut self, value: &Val, expected: &WastRetCore<'_>) -> Outcome<bool> {
        Ok(match (expected, value) {
            (WastRetCore::I32(n), Val::I32(value)) => n == value,
            (WastRetCore::I64(n), Val::I64(value)) => n == value,
            (WastRetCore::F32(pattern), Val::F32(bits)) => matches_f32(pattern, *bits),
            (WastRetCore::F64(pattern), Val::F64(bits)) => matches_f64(pattern, *bits),
            (WastRetCore::V128(pattern), Val::V128(bits)) => matches_v128(pattern, V128::from_bits(*bits)),
            (WastRetCore::Either(cases), _) => {
                for case in cases {
                    if self.matches(value, case)? {
                        return Ok(true);
                    }
                }
                false
            }
            (WastRetCore::RefNull(None), value) => value.is_null(),
            (WastRetCore::RefNull(Some(heap)), value) => {
                value.is_null() && std::mem::discriminant(&null(heap)?) == std::mem::discriminant(value)
            }
            (_, value) if value.is_null() => false,
            (WastRetCore::RefExtern(None), Val::ExternRef(_)) => true,
            (WastRetCore::RefExtern(Some(n)), Val::ExternRef(Some(extern_ref))) => {
                extern_ref.data(&self.store).is_some_and(|data| data.downcast_ref() == Some(n))
            }
            (WastRetCore::RefHost(n), Val::AnyRef(Some(any))) => {
                any.to_extern().data(&self.store).is_some_and(|data| data.downcast_ref() == Some(n))
            }
            (WastRetCore::RefFunc(_), Val::FuncRef(_)) | (WastRetCore::RefAny, Val::AnyRef(_)) => true,
            (WastRetCore::RefEq, Val::AnyRef(Some(any))) => any.is(&self.store, HeapType::Eq),
            (WastRetCore::RefArray, Val::AnyRef(Some(any))) => any.is(&self.store, HeapType::Array),
            (WastRetCore::RefStruct, Val::AnyRef(Some(any))) => any.is(&self.store, HeapType::Struct),
            (WastRetCore::RefI31, Val::AnyRef(Some(any))) => any.is(&self.store, HeapType::I31),
            (WastRetCore::RefI31Shared, _) => return skip("shared-everything threads"),
            _ => false,
        })
    }

    /// The module is malformed or invalid, and must be refused. By what words, is the engine's business.
    fn check_refused(&mut self, module: &mut QuoteWat<'_>, message: &str) -> Outcome {
        if matches!(module, QuoteWat::Wat(Wat::Component(_)) | QuoteWat::QuoteComponent(..)) {
            return skip("the component model");
        }
        let accepted = match module.to_test() {
            Ok(QuoteWatTest::Binary(binary)) => Module::from_binary(self.place.engine, &binary).is_ok(),
            // Not by `encode`, which takes text for a module's even where it is none.
            Ok(QuoteWatTest::Text(_)) => match module.encode() {
                Ok(binary) => Module::from_binary(self.place.engine, &binary).is_ok(),
                Err(_) => false,
            },
            Err(_) => false,
        };
        match message {
            _ if !accepted => Ok(()),
            // Limits of the first standard, in old proposals' copies of its scripts.
            "multiple memories" | "multiple tables" => skip("a script older than WebAssembly 3.0"),
            _ => fail(format!("the module was accepted, expected: {message}")),
        }
    }

    fn check_unlinkable(&mut self, wat: Wat<'_>, message: &str) -> Outcome {
        let module = self.define(&mut QuoteWat::Wat(wat))?;
        match self.link(&module)? {
            Err(error) if matches!(error.kind(), ErrorKind::Link(_)) && error.to_string().contains(message) => Ok(()),
            Err(error) => fail(format!("expected `{message}`, got: {error}")),
            Ok(_) => fail(format!("the module was linked, expected: {message}")),
        }
    }

    fn check_trap(&self, result: Result<Vec<Val>, Error>, message: &str) -> Outcome {
        match result {
            Err(error) => match error.trap() {
                Some(trap) if is_expected(trap, message) => Ok(()),
                _ => match error.unsupported_feature() {
                    Some(feature) => skip(feature),
                    None => fail(format!("expected the trap `{message}`, got: {error}")),
                },
            },
            Ok(values) => {
                fail(format!("expected the trap `{message}`, got {}", values::show_all(&values, &self.store)))
            }
        }
    }
}

/// Adds what was made, or why it was not, to what has been made.
fn add<T: Clone>(all: &mut Named<T>, name: Option<Id<'_>>, made: Outcome<T>) -> Outcome {
    match made {
        Ok(made) => {
            all.add(name, Ok(made));
            Ok(())
        }
        Err(Stop::Skip(reason)) => {
            all.add(name, Err(reason.clone()));
            skip(reason)
        }
        Err(Stop::Fail(message)) => {
            // What depends on it should not be run with another module.
            all.last = None;
            fail(message)
        }
    }
}

/// Whether the suite's `message` means this trap. It may say more than the trap does (`uninitialized element 2`) or less.
fn is_expected(trap: Trap, message: &str) -> bool {
    let text = trap.to_string();
    message.starts_with(&text)
        || text.starts_with(message)
        || match trap {
            // "null structure reference", "null function reference", …
            Trap::NullReference => message.starts_with("null ") && message.ends_with(" reference"),
            _ => false,
        }
}

fn matches_f32(pattern: &NanPattern<F32>, bits: u32) -> bool {
    match pattern {
        NanPattern::CanonicalNan => bits & 0x7FFF_FFFF == 0x7FC0_0000,
        NanPattern::ArithmeticNan => bits & 0x7FC0_0000 == 0x7FC0_0000,
        NanPattern::Value(value) => bits == value.bits,
    }
}

fn matches_f64(pattern: &NanPattern<F64>, bits: u64) -> bool {
    match pattern {
        NanPattern::CanonicalNan => bits & 0x7FFF_FFFF_FFFF_FFFF == 0x7FF8_0000_0000_0000,
        NanPattern::ArithmeticNan => bits & 0x7FF8_0000_0000_0000 == 0x7FF8_0000_0000_0000,
        NanPattern::Value(value) => bits == value.bits,
    }
}

/// Whether every lane is as expected.
fn matches_v128(pattern: &V128Pattern, vector: V128) -> bool {
    fn all<E, L: Copy, const N: usize>(expected: &[E; N], lanes: [L; N], matches: fn(&E, L) -> bool) -> bool {
        expected.iter().zip(lanes).all(|(expected, lane)| matches(expected, lane))
    }
    match pattern {
        V128Pattern::I8x16(lanes) => *lanes == <[i8; 16]>::from(vector),
        V128Pattern::I16x8(lanes) => *lanes == <[i16; 8]>::from(vector),
        V128Pattern::I32x4(lanes) => *lanes == <[i32; 4]>::from(vector),
        V128Pattern::I64x2(lanes) => *lanes == <[i64; 2]>::from(vector),
        V128Pattern::F32x4(lanes) => all(lanes, <[u32; 4]>::from(vector), matches_f32),
        V128Pattern::F64x2(lanes) => all(lanes, <[u64; 2]>::from(vector), matches_f64),
    }
}

/// The null of a heap type's hierarchy.
fn null(heap: &wast::core::HeapType<'_>) -> Outcome<Val> {
    use AbstractHeapType as H;
    let wast::core::HeapType::Abstract { shared, ty } = heap else { return Ok(Val::AnyRef(None)) };
    if *shared {
        return skip("shared-everything threads");
    }
    Ok(match ty {
        H::Func | H::NoFunc => Val::FuncRef(None),
        H::Extern | H::NoExtern => Val::ExternRef(None),
        H::Exn | H::NoExn => Val::ExnRef(None),
        H::Cont | H::NoCont => return skip("stack switching"),
        _ => Val::AnyRef(None),
    })
}
