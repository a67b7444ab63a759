//! Programs in engines.

use super::host::{self, Host, NO_SUCH_SLOT};
use super::kit;
use super::model::Model;
use super::program::{End, Program};
use super::text::TRAPS;
use engine::types::TypeIndex;
use engine::{Config, Engine, Error, ErrorKind, Extern, Instance, Linker, Module, OptLevel, Store, Trap, Val, Zeal};
use gc_api::{CollectionKind, GcRuntime, Outcome, Reclaims};
use gc_testkit::catching;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of heap: the largest programs need a few megabytes, and `null` never frees.
const HEAP: u64 = 128 << 20;
/// An engine keeps the types and trampolines of every module that it ever saw, so it is made anew after this many programs.
const PROGRAMS: u32 = 2_000;

/// What an engine is set up with, beside its collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mode {
    zeal: &'static str,
    verify: bool,
    optimised: bool,
}

impl Mode {
    /// As options of the command line.
    pub fn options(&self) -> String {
        let zeal = if self.zeal.is_empty() { String::new() } else { format!(" --zeal {}", self.zeal) };
        format!("{zeal}{}", if self.verify { " --verify" } else { "" })
    }

    /// Collects at each allocation, checked.
    pub const EACH: Mode = Mode { zeal: "alloc:1,poison", verify: true, optimised: false };

    fn config(&self, gc: &Arc<dyn GcRuntime>) -> Config {
        let level = if self.optimised { OptLevel::Speed } else { OptLevel::None };
        let zeal = if self.zeal.is_empty() { Zeal::OFF } else { self.zeal.parse().expect("the modes are well-formed") };
        Config::new(gc.clone()).heap_limit(HEAP).opt_level(level).parallel(false).zeal(zeal).verify(self.verify)
    }
}

impl Program {
    /// What the engine is set up with: some programs collect where they say, others at allocations too; one of sixteen is
    /// optimised, which takes most of a program's time. Each mode is an engine for each collector, and they take time to make.
    pub fn mode(&self) -> Mode {
        let (zeal, verify) = [
            ("", false),
            ("", true),
            ("alloc:1", true),
            ("alloc:2,move,poison", false),
            ("alloc:5,move", true),
            ("random:1:0.1,poison", true),
            ("random:2:0.3,move,poison", false),
            ("random:3:0.02,move", true),
        ][self.mode as usize % 8];
        Mode { zeal, verify, optimised: self.mode >> 6 == 3 && self.mode.is_multiple_of(4) }
    }
}

/// An engine and what its programs share.
#[derive(Clone)]
struct Ready {
    engine: Engine,
    linker: Arc<Linker<Host>>,
    kit: Module,
    types: Arc<[TypeIndex]>,
    used: u32,
}

/// A collector, as `--gc` takes it, and its engines.
pub struct Subject {
    /// By which failures name it.
    pub spec: String,
    gc: Arc<dyn GcRuntime>,
    engines: Mutex<HashMap<Mode, Ready>>,
}

impl Subject {
    /// The collector `gc`, which `--gc SPEC` names.
    pub fn new(spec: impl Into<String>, gc: Arc<dyn GcRuntime>) -> Subject {
        Subject { spec: spec.into(), gc, engines: Mutex::default() }
    }

    /// Whether it is a collector with options.
    pub fn has_options(&self) -> bool {
        crate::pool::is_variant(&self.spec)
    }

    fn ready(&self, mode: Mode) -> Result<Ready, Error> {
        let mut engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ready) = engines.get_mut(&mode).filter(|ready| ready.used < PROGRAMS) {
            ready.used += 1;
            return Ok(ready.clone());
        }
        let engine = Engine::with_config(mode.config(&self.gc))?;
        let mut linker = Linker::new(&engine);
        host::define(&mut linker)?;
        let kit = Module::new(&engine, kit::module())?;
        let types = host::types(&kit);
        let ready = Ready { engine, linker: Arc::new(linker), kit, types, used: 1 };
        engines.insert(mode, ready.clone());
        Ok(ready)
    }

    /// Runs a program and compares with its model.
    ///
    /// # Errors
    /// The first thing that is not as it must be.
    pub fn check(&self, program: &Program, binary: &[u8], model: &Model) -> Result<(), String> {
        quietly(|| {
            let ready = self.ready(program.mode()).map_err(|error| format!("an engine cannot be made: {error}"))?;
            let mut store = Store::new(&ready.engine, Host::new(model.expected.clone(), ready.types.clone()))
                .map_err(|error| format!("a store cannot be made: {error}"))?;
            let drops = store.data().drops.clone();
            run(&ready, &mut store, binary, program.ending(), model)?;
            drop(store);
            (0..drops.made()).try_for_each(|host| match drops.of(host) {
                1 => Ok(()),
                n => Err(format!("host value {host} was dropped {n} times in all")),
            })
        })
    }

    /// Runs a program that stands alone, and says how it fails, if it does.
    pub fn check_alone(&self, text: &str, end: End, mode: Mode) -> Result<(), String> {
        quietly(|| {
            let run = || -> Result<Result<Vec<Val>, Error>, Error> {
                let engine = Engine::with_config(mode.config(&self.gc))?;
                let mut store = Store::new(&engine, ())?;
                let instance = Instance::new(&mut store, &Module::new(&engine, text)?, &[])?;
                Ok(instance.get_func(&mut store, "run")?.call(&mut store, &[]))
            };
            let outcome = run().map_err(|error| format!("the program cannot be started: {error}"))?;
            match (end, outcome) {
                // What stands for the host traps where the host fails.
                (End::HostError, Err(error)) if error.trap() == Some(Trap::TableOutOfBounds) => Ok(()),
                (End::HostError, outcome) => Err(format!("the program ended with {outcome:?}")),
                (end, outcome) => ended(end, &outcome),
            }
        })
    }
}

/// Whether a program ended as it must.
fn ended(end: End, outcome: &Result<Vec<Val>, Error>) -> Result<(), String> {
    let as_expected = match (end, outcome) {
        (End::Return, Ok(_)) => true,
        (End::Trap(trap), Err(error)) => error.trap() == Some(TRAPS[trap].1),
        (End::Throw | End::HostThrow, Err(error)) => error.uncaught().is_some(),
        (End::HostError, Err(error)) => {
            matches!(error.kind(), ErrorKind::Host(cause) if cause.to_string() == NO_SUCH_SLOT)
        }
        _ => false,
    };
    let must = match end {
        End::Trap(trap) => format!("Trap({:?})", TRAPS[trap].1),
        end => format!("{end:?}"),
    };
    match outcome {
        _ if as_expected => Ok(()),
        Ok(_) => Err(format!("the program must end with {must}, and returns")),
        Err(error) => Err(format!("the program must end with {must}, and ends with {error}")),
    }
}

fn run(ready: &Ready, store: &mut Store<Host>, binary: &[u8], end: End, model: &Model) -> Result<(), String> {
    let unexpected = |error: Error| format!("unexpected: {error}");
    let kit = ready.linker.instantiate(&mut *store, &ready.kit).map_err(unexpected)?;
    host::know(&mut *store, &kit).map_err(unexpected)?;
    let module = Module::from_binary(&ready.engine, binary).map_err(unexpected)?;
    let mut imports: Vec<Extern> = Vec::new();
    for import in module.imports() {
        let item = match import.module() {
            "kit" => kit.get_export(&mut *store, import.name()),
            module => ready.linker.get(&mut *store, module, import.name()).map_err(unexpected)?,
        };
        imports.push(item.ok_or_else(|| format!("there is no `{}`", import.name()))?);
    }
    let instance = Instance::new(&mut *store, &module, &imports).map_err(unexpected)?;
    let func = |instance: &Instance, store: &mut Store<Host>, name: &str, args: &[Val]| {
        instance.get_func(&mut *store, name).and_then(|func| func.call(&mut *store, args)).map_err(unexpected)
    };
    let number = |results: Vec<Val>| results[0].i64().unwrap_or_default() as u64;

    let outcome = instance.get_func(&mut *store, "run").map_err(unexpected)?.call(&mut *store, &[]);
    ended(end, &outcome)?;
    if let Some(expected) = store.data_mut().expected.next() {
        return Err(format!("the program ended before it showed {expected:?}"));
    }
    if let (Some(expected), Err(error)) = (model.uncaught, outcome) {
        let exception = Val::ExnRef(error.uncaught().cloned());
        func(&kit, store, "begin", &[Val::I32(super::model::PLACES as i32)])?;
        func(&kit, store, "exn", &[exception])?;
        if number(func(&kit, store, "finish", &[])?) != expected {
            return Err("the uncaught exception carries something else than in the model".into());
        }
    }
    if number(func(&instance, store, "see_all", &[])?) != model.walk_all() {
        return Err("globals and tables lead to something else than in the model at the end".into());
    }
    func(&instance, store, "clear", &[])?;
    store.data_mut().held = [const { None }; 4];
    reclaimed(store, model)
}

/// Checks what is left when nothing can be reached: what the collector does not claim to free.
fn reclaimed(store: &mut Store<Host>, model: &Model) -> Result<(), String> {
    // The second collection finds what was on the stack at the first.
    let outcomes = [store.gc(CollectionKind::Cycle), store.gc(CollectionKind::Cycle)];
    let (objects, hosts) = match store.engine().gc().info().reclaims {
        Reclaims::Nothing => return Ok(()),
        Reclaims::Acyclic => model.behind_cycles(),
        Reclaims::Everything => (Vec::new(), Vec::new()),
    };
    if outcomes != [Outcome::Complete; 2] {
        return Err(format!("collections ended with {outcomes:?}"));
    }
    for host in 0..model.hosts {
        let (drops, may_stay) = (store.data().drops.of(host), hosts.contains(&host));
        if drops != 1 && !(drops == 0 && may_stay) {
            return Err(format!("host value {host} was dropped {drops} times when nothing could be reached any more"));
        }
    }
    let mut left = 0;
    store.heap().for_each_object(&mut |_| left += 1);
    let may_stay = objects.len() + hosts.len();
    if left > may_stay {
        return Err(format!("{left} objects are left when nothing can be reached any more, and {may_stay} may be"));
    }
    store.heap().check().map_err(|corruption| corruption.to_string())?;
    let usage = store.heap().usage();
    match usage.live + usage.free + usage.waste == usage.committed {
        true => Ok(()),
        false => Err(format!("the bytes do not add up: {usage:?}")),
    }
}

/// Makes a panic an error.
fn quietly(f: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    catching(f).and_then(|result| result)
}
