//! Engines: what the modules and stores of a process share.

use super::{Error, Result, Zeal};
use crate::compile::{CompileOptions, Compiler, Emit, OptLevel, RelaxedSimd, Trampoline};
use crate::info::{CompiledCode, TrampolineType};
use crate::runtime::builtins;
use crate::runtime::code::CodeObject;
use crate::runtime::perfmap;
use crate::runtime::pool::Pools;
use crate::runtime::signals;
use crate::types::{FuncType, RefType, TypeRegistry, ValType};
use crate::vm::{Builtin, TableInit};
use gc_api::{GcRuntime, HeapPolicy};
use rustc_hash::FxHashMap;
use std::ffi::c_void;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// What can be chosen about an engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// The collector of every store.
    pub gc: Arc<dyn GcRuntime>,
    /// Bytes of objects that a store's heap may grow to; 4 GiB less 64 KiB at most.
    pub heap_limit: u64,
    /// Bytes of a store's heap at the start.
    pub initial_heap: u64,
    /// How large its heap should be between these, from what is live in it.
    pub heap_policy: HeapPolicy,
    /// Bytes of stack that WebAssembly may use. The thread's own stack must be larger, by what the host's functions need.
    pub max_wasm_stack: usize,
    /// How hard to optimise.
    pub opt_level: OptLevel,
    /// Whether to count the objects that compiled code allocates inline, for exact statistics.
    pub count_objects: bool,
    /// How accesses through null are found.
    pub null_checks: NullChecks,
    /// Whether to compile a module's functions in parallel.
    pub parallel: bool,
    /// Who is told where code is.
    pub profiler: Profiler,
    /// When to collect although nothing asks for it.
    pub zeal: Zeal,
    /// Whether each collection is verified: see [`Config::verify`].
    pub verify: bool,
    /// Whether an observer of a store's heap is shown every allocation: compiled code allocates nothing itself then. See
    /// [`Store::observe_heap`](super::Store::observe_heap).
    pub observe_allocations: bool,
    /// When the function references in tables are made.
    pub table_init: TableInit,
    /// Whether small functions are translated where they are called: directly, or through a table that nothing can change and in
    /// which few have the type.
    pub inline_calls: bool,
    /// Whether several iterations of short loops are translated one behind the other.
    pub unroll_loops: bool,
    /// Whether each `call_indirect` through a table that nothing can change remembers what it called last.
    pub call_indirect_cache: bool,
    /// Whether programs look, at the beginning of functions and of each iteration of loops, whether their store's deadline has
    /// passed: see [`Store::set_epoch_deadline`](super::Store::set_epoch_deadline).
    pub epoch_interruption: bool,
    /// What is kept of stores that have been dropped, for new ones.
    pub pooling: Pooling,
    /// Whether programs consume fuel: see [`Store::set_fuel`](super::Store::set_fuel).
    pub consume_fuel: bool,
    /// Whether relaxed vector instructions give the results of the specification's deterministic profile, which are the same on
    /// every machine, rather than what this machine computes fastest. What a NaN looks like is left open all the same.
    pub relaxed_simd_deterministic: bool,
}

/// What an engine keeps of stores that have been dropped, for new ones: with it a store costs a fraction, since it makes few system
/// calls and touches few pages for the first time. Nothing that a store left in them can be seen by the next.
///
/// ```
/// # fn main() -> engine::Result<()> {
/// use engine::{Config, Engine, Instance, Module, Pooling, Store};
/// # let gc = gc_null::COLLECTOR.with(&Default::default()).unwrap();
/// let pooling = Pooling { memories: 2, ..Pooling::default() };
/// let engine = Engine::with_config(Config::new(gc).pooling(pooling))?;
/// let module = Module::new(&engine, "(module (memory 1))")?;
/// let mut store = Store::new(&engine, ())?;
/// for _ in 0..3 {
///     Instance::new(&mut store, &module, &[])?;
/// }
/// drop(store);
/// assert_eq!((engine.pool_usage().heaps, engine.pool_usage().memories), (1, 2));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pooling {
    /// Heaps of objects, each of [`Config::initial_heap`] bytes. 16 by default.
    pub heaps: usize,
    /// Linear memories, but for shared ones; each takes the address space that it had, mostly 8 GiB. 16 by default.
    pub memories: usize,
    /// Elements of tables of more than 128 KiB, each of which takes 2 GiB of address space. Smaller ones are the allocator's. 16 by
    /// default.
    pub tables: usize,
    /// Bytes that each memory and each table keeps, at most. What it has more is returned to the system. 1 MiB by default.
    pub resident: usize,
}

impl Pooling {
    /// Nothing.
    pub const NONE: Pooling = Pooling { heaps: 0, memories: 0, tables: 0, resident: 0 };
}

impl Default for Pooling {
    fn default() -> Pooling {
        Pooling { heaps: 16, memories: 16, tables: 16, resident: 1 << 20 }
    }
}

/// What an engine keeps at the moment: see [`Pooling`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PoolUsage {
    /// Heaps of objects.
    pub heaps: usize,
    /// Linear memories.
    pub memories: usize,
    /// Bytes that these have of the system.
    pub memory_bytes: u64,
    /// Elements of tables.
    pub tables: usize,
    /// Bytes that these have of the system.
    pub table_bytes: u64,
}

/// How accesses through null are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NullChecks {
    /// By the page fault that they cause: checks cost nothing.
    #[default]
    Faults,
    /// By a test before the access.
    Explicit,
}

/// Who is told where code is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Profiler {
    /// Nobody.
    #[default]
    None,
    /// Linux's `perf`, by the file `/tmp/perf-PID.map`: a line for each function, trampoline and builtin of every engine of
    /// the process that has this option. Of code that was dropped, the lines stay.
    PerfMap,
}

impl Config {
    /// The defaults, with the collector `gc`.
    pub fn new(gc: Arc<dyn GcRuntime>) -> Config {
        Config {
            gc,
            heap_limit: u32::MAX as u64,
            initial_heap: 1 << 20,
            heap_policy: HeapPolicy::default(),
            max_wasm_stack: 1 << 20,
            opt_level: OptLevel::Speed,
            count_objects: false,
            null_checks: NullChecks::Faults,
            parallel: true,
            profiler: Profiler::None,
            zeal: Zeal::OFF,
            observe_allocations: false,
            verify: false,
            table_init: TableInit::Lazy,
            inline_calls: true,
            unroll_loops: true,
            call_indirect_cache: false,
            epoch_interruption: false,
            consume_fuel: false,
            relaxed_simd_deterministic: false,
            pooling: Pooling::default(),
        }
    }

    /// Sets [`Config::heap_limit`].
    pub fn heap_limit(mut self, bytes: u64) -> Config {
        self.heap_limit = bytes;
        self
    }

    /// Sets [`Config::initial_heap`].
    pub fn initial_heap(mut self, bytes: u64) -> Config {
        self.initial_heap = bytes;
        self
    }

    /// Sets [`Config::heap_policy`].
    pub fn heap_policy(mut self, policy: HeapPolicy) -> Config {
        self.heap_policy = policy;
        self
    }

    /// Sets [`Config::max_wasm_stack`].
    pub fn max_wasm_stack(mut self, bytes: usize) -> Config {
        self.max_wasm_stack = bytes;
        self
    }

    /// Sets [`Config::opt_level`].
    pub fn opt_level(mut self, level: OptLevel) -> Config {
        self.opt_level = level;
        self
    }

    /// Sets [`Config::count_objects`].
    pub fn count_objects(mut self, count: bool) -> Config {
        self.count_objects = count;
        self
    }

    /// Sets [`Config::null_checks`].
    pub fn null_checks(mut self, checks: NullChecks) -> Config {
        self.null_checks = checks;
        self
    }

    /// Sets [`Config::parallel`].
    pub fn parallel(mut self, parallel: bool) -> Config {
        self.parallel = parallel;
        self
    }

    /// Sets [`Config::profiler`].
    pub fn profiler(mut self, profiler: Profiler) -> Config {
        self.profiler = profiler;
        self
    }

    /// Has the engine check the collector before and after each collection, by means of its own: that the reachable objects are
    /// the same ones with the same contents, that barriers have seen all writes, that host values die once and not too early, that
    /// bytes add up, and that what is unreachable is freed as far as the collector claims. Free memory is overwritten. A fault ends the
    /// program with [`ErrorKind::Corruption`](super::ErrorKind::Corruption); outside of a program, in [`Store::gc`](super::Store::gc)
    /// say, it is a panic. Programs run slower by orders of magnitude.
    pub fn verify(mut self, verify: bool) -> Config {
        self.verify = verify;
        self
    }

    /// Sets [`Config::zeal`].
    pub fn zeal(mut self, zeal: Zeal) -> Config {
        self.zeal = zeal;
        self
    }

    /// Sets [`Config::observe_allocations`].
    pub fn observe_allocations(mut self, observe: bool) -> Config {
        self.observe_allocations = observe;
        self
    }

    /// Sets [`Config::table_init`].
    pub fn table_init(mut self, when: TableInit) -> Config {
        self.table_init = when;
        self
    }

    /// Sets [`Config::inline_calls`].
    pub fn inline_calls(mut self, inline: bool) -> Config {
        self.inline_calls = inline;
        self
    }

    /// Sets [`Config::unroll_loops`].
    pub fn unroll_loops(mut self, unroll: bool) -> Config {
        self.unroll_loops = unroll;
        self
    }

    /// Sets [`Config::call_indirect_cache`].
    pub fn call_indirect_cache(mut self, cache: bool) -> Config {
        self.call_indirect_cache = cache;
        self
    }

    /// Sets [`Config::epoch_interruption`].
    pub fn epoch_interruption(mut self, interrupt: bool) -> Config {
        self.epoch_interruption = interrupt;
        self
    }

    /// Sets [`Config::pooling`].
    pub fn pooling(mut self, pooling: Pooling) -> Config {
        self.pooling = pooling;
        self
    }

    /// Sets [`Config::consume_fuel`].
    pub fn consume_fuel(mut self, consume: bool) -> Config {
        self.consume_fuel = consume;
        self
    }

    /// Sets [`Config::relaxed_simd_deterministic`].
    pub fn relaxed_simd_deterministic(mut self, deterministic: bool) -> Config {
        self.relaxed_simd_deterministic = deterministic;
        self
    }
}

/// A collector, a compiler and the types of all modules. Cheap to clone: clones are the same engine.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    config: Config,
    registry: Arc<TypeRegistry>,
    compiler: Compiler,
    trampolines: RwLock<Trampolines>,
    /// The epoch, which compiled code reads.
    epoch: AtomicU64,
    pools: Pools,
    /// The addresses of the builtins' trampolines.
    builtins: Box<[Code]>,
    _builtin_code: Arc<CodeObject>,
}

/// The address of code that an engine owns.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Code(pub *const c_void);

// SAFETY: code is never written, and an address is only a number until someone jumps to it.
unsafe impl Send for Code {}
// SAFETY: as above.
unsafe impl Sync for Code {}

/// Trampolines by type, which live as long as the engine.
#[derive(Default)]
struct Trampolines {
    entry: FxHashMap<TrampolineType, Code>,
    host: FxHashMap<TrampolineType, Code>,
    code: Vec<Arc<CodeObject>>,
}

/// Which way a trampoline leads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the host into WebAssembly.
    Entry,
    /// From WebAssembly to the host.
    Host,
}

impl Way {
    /// What a trampoline is called in lists.
    pub(crate) fn name(self, ty: &TrampolineType) -> String {
        match self {
            Way::Entry => format!("entry {ty}"),
            Way::Host => format!("host call {ty}"),
        }
    }
}

impl Trampolines {
    fn of(&mut self, way: Way) -> &mut FxHashMap<TrampolineType, Code> {
        match way {
            Way::Entry => &mut self.entry,
            Way::Host => &mut self.host,
        }
    }
}

impl Engine {
    /// An engine with the default configuration and the collector `gc`.
    ///
    /// # Errors
    /// When no code can be generated for this machine, or there is no address space.
    pub fn new(gc: Arc<dyn GcRuntime>) -> Result<Engine> {
        Engine::with_config(Config::new(gc))
    }

    /// An engine.
    ///
    /// # Errors
    /// As [`Engine::new`].
    pub fn with_config(config: Config) -> Result<Engine> {
        signals::install().map_err(|error| Error::system("installing the signal handlers", error))?;
        let registry = Arc::new(TypeRegistry::new().map_err(|error| Error::system("reserving the type table", error))?);
        let options = CompileOptions {
            opt_level: config.opt_level,
            count_objects: config.count_objects,
            null_faults: config.null_checks == NullChecks::Faults,
            parallel: config.parallel,
            inline_alloc: !(config.zeal.sees_allocations() || config.observe_allocations),
            inline_calls: config.inline_calls,
            unroll_loops: config.unroll_loops,
            table_init: config.table_init,
            relocatable: false,
            call_caches: config.call_indirect_cache,
            epochs: config.epoch_interruption,
            fuel: config.consume_fuel,
            relaxed_simd: match config.relaxed_simd_deterministic {
                true => RelaxedSimd::Deterministic,
                false => RelaxedSimd::Native,
            },
            note_writes: config.verify,
        };
        let compiler = Compiler::new(options, registry.clone(), config.gc.clone())?;
        let trampolines: Vec<CompiledCode> = Builtin::ALL
            .iter()
            .map(|builtin| {
                compiler.builtin_trampoline(*builtin, builtins::address(*builtin), builtins::raise_address())
            })
            .collect::<Result<_, _>>()?;
        let name = |i: usize| format!("builtin {}", Builtin::ALL[i].name());
        let builtin_code = publish(config.profiler, trampolines, name)?;
        let builtins = (0..Builtin::ALL.len()).map(|i| Code(builtin_code.address(i).cast())).collect();
        let pools = Pools::new(config.pooling);
        Ok(Engine(Arc::new(Inner {
            config,
            registry,
            compiler,
            trampolines: RwLock::default(),
            epoch: AtomicU64::new(0),
            pools,
            builtins,
            _builtin_code: builtin_code,
        })))
    }

    /// The trampolines of builtins as text: name and text of each.
    ///
    /// # Errors
    /// The compiler's.
    pub fn emit_builtins(&self, emit: Emit) -> Result<Vec<(String, String)>> {
        let text = |builtin: &Builtin| {
            let code = Trampoline::Builtin(*builtin, builtins::address(*builtin), builtins::raise_address());
            Ok((format!("builtin {}", builtin.name()), self.0.compiler.trampoline_text(code, emit)?))
        };
        Builtin::ALL.iter().map(text).collect()
    }

    /// Advances the epoch by one tick, which may end programs of this engine on other threads: see
    /// [`Store::set_epoch_deadline`](super::Store::set_epoch_deadline). Takes next to no time, and may be called in a signal handler.
    pub fn increment_epoch(&self) {
        self.0.epoch.fetch_add(1, Ordering::Relaxed);
    }

    /// The epoch; it stays where it is as long as the engine lives.
    pub(crate) fn epoch(&self) -> &AtomicU64 {
        &self.0.epoch
    }

    /// What no store uses.
    pub(crate) fn pools(&self) -> &Pools {
        &self.0.pools
    }

    /// What is kept at the moment of stores that have been dropped. Takes time for each page that the pools may have.
    pub fn pool_usage(&self) -> PoolUsage {
        self.0.pools.usage()
    }

    /// How the engine was configured.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The collector.
    pub fn gc(&self) -> &Arc<dyn GcRuntime> {
        &self.0.config.gc
    }

    /// The types of all modules.
    pub fn registry(&self) -> &Arc<TypeRegistry> {
        &self.0.registry
    }

    /// The compiler, to look at what it makes.
    pub fn compiler(&self) -> &Compiler {
        &self.0.compiler
    }

    /// Whether both are the same engine.
    pub fn same(&self, other: &Engine) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The addresses of the builtins' trampolines, by [`Builtin`].
    pub(crate) fn builtins(&self) -> *const *const c_void {
        self.0.builtins.as_ptr().cast()
    }

    /// The trampolines for functions of these types, in order; missing ones are compiled, all at once.
    ///
    /// # Errors
    /// The compiler's, or when there is no memory for code.
    pub(crate) fn trampolines<'t>(&self, way: Way, types: impl Iterator<Item = &'t FuncType>) -> Result<Vec<Code>> {
        let types: Vec<TrampolineType> = types.map(trampoline_type).collect();
        let known = |trampolines: &mut Trampolines| {
            types.iter().map(|ty| trampolines.of(way).get(ty).copied()).collect::<Option<Vec<Code>>>()
        };
        {
            // Nothing panics while it holds the lock.
            let trampolines = self.0.trampolines.read().unwrap_or_else(PoisonError::into_inner);
            let map = if way == Way::Entry { &trampolines.entry } else { &trampolines.host };
            if let Some(known) = types.iter().map(|ty| map.get(ty).copied()).collect() {
                return Ok(known);
            }
        }
        let mut trampolines = self.0.trampolines.write().unwrap_or_else(PoisonError::into_inner);
        let mut missing: Vec<&TrampolineType> =
            types.iter().filter(|ty| !trampolines.of(way).contains_key(ty)).collect();
        missing.sort_by_key(|ty| ty.to_string());
        missing.dedup();
        let compiler = &self.0.compiler;
        let compiled = missing.iter().map(|ty| match way {
            Way::Entry => compiler.entry_trampoline(ty),
            Way::Host => compiler.host_trampoline(ty),
        });
        let compiled = compiled.collect::<Result<_, _>>()?;
        let code = publish(self.0.config.profiler, compiled, |i| way.name(missing[i]))?;
        for (i, ty) in missing.into_iter().enumerate() {
            trampolines.of(way).insert(ty.clone(), Code(code.address(i).cast()));
        }
        trampolines.code.push(code);
        Ok(known(&mut trampolines).expect("what was missing has been compiled"))
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("config", &self.0.config).finish_non_exhaustive()
    }
}

/// Makes code executable, and tells the profiler what each function of it is called.
pub(crate) fn publish(
    profiler: Profiler,
    code: Vec<CompiledCode>,
    name: impl Fn(usize) -> String,
) -> Result<Arc<CodeObject>> {
    let code = CodeObject::publish(code).map_err(|error| Error::system("making code executable", error))?;
    match profiler {
        Profiler::None => {}
        Profiler::PerfMap => {
            perfmap::add(&code, name).map_err(|error| Error::system(&format!("writing {}", perfmap::path()), error))?;
        }
    }
    Ok(Arc::new(code))
}

/// The type that decides which trampolines a function needs: references widened to the nullable tops of their hierarchies.
pub(crate) fn trampoline_type(ty: &FuncType) -> TrampolineType {
    let widen = |ty: &ValType| match ty {
        ValType::Ref(ty) => ValType::Ref(RefType::nullable(ty.heap.top())),
        number => *number,
    };
    FuncType::new(ty.params.iter().map(widen), ty.results.iter().map(widen))
}
