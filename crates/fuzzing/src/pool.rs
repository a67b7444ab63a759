//! Engines that inputs share: making one costs more than most inputs do.

use engine::{Config, Engine, OptLevel};
use gc_api::GcRuntime;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of heap: the largest programs need a few megabytes, and `null` never frees.
const HEAP: u64 = 64 << 20;
/// An engine keeps the types and trampolines of every module that it ever saw, so it is made anew after this many inputs.
const INPUTS: u32 = 2_000;

/// How hard the engines optimise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Not: several times as many inputs run an hour.
    Plain,
    /// As programs are by default: compiled barriers meet what the optimiser does to them.
    Optimised,
}

/// A collector with its options, as `--gc` takes it, by which failures name it.
pub type Spec = (String, Arc<dyn GcRuntime>);

/// An engine per collector.
type PerCollector = Arc<[(Spec, Engine)]>;

/// Whether it is a collector with options.
pub fn is_variant(spec: &str) -> bool {
    spec.contains(':')
}

/// Collectors, and engines with them, for one body.
pub struct Engines {
    collectors: Vec<Spec>,
    /// By [`Level`], with the number of inputs that the engines have seen.
    levels: [Mutex<Option<(u32, PerCollector)>>; 2],
}

impl Engines {
    /// Engines with each of these.
    pub fn new(collectors: Vec<Spec>) -> Engines {
        Engines { collectors, levels: [Mutex::new(None), Mutex::new(None)] }
    }

    /// Engines for one input, one for each collector, in order.
    pub(crate) fn get(&self, level: Level) -> PerCollector {
        let mut engines = self.levels[level as usize].lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *engines {
            Some((inputs, engines)) if *inputs < INPUTS => {
                *inputs += 1;
                engines.clone()
            }
            engines => engines.insert((1, make(&self.collectors, level))).1.clone(),
        }
    }
}

fn make(collectors: &[Spec], level: Level) -> PerCollector {
    let opt_level = match level {
        Level::Plain => OptLevel::None,
        Level::Optimised => OptLevel::Speed,
    };
    let engine = |(spec, gc): &Spec| {
        let config = Config::new(gc.clone()).heap_limit(HEAP).opt_level(opt_level).parallel(false);
        ((spec.clone(), gc.clone()), Engine::with_config(config).expect("an engine can be made"))
    };
    collectors.iter().map(engine).collect()
}
