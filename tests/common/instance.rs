//! A module under a collector, whose exports are called with a number.

use engine::{Config, Engine, Instance, Linker, Module, Store, Val};
use gc_api::Counters;
use gleaner::collectors::by_spec;

/// A program that is called, and asked what its collector did.
pub struct Run {
    pub store: Store<()>,
    instance: Instance,
}

impl Run {
    pub fn new(spec: &str, heap: u64, source: impl AsRef<[u8]>) -> Run {
        let engine = Engine::with_config(Config::new(by_spec(spec).unwrap()).heap_limit(heap)).unwrap();
        let module = Module::new(&engine, source.as_ref()).unwrap();
        let mut store = Store::new(&engine, ()).unwrap();
        let instance = Linker::new(&engine).instantiate(&mut store, &module).unwrap();
        Run { store, instance }
    }

    pub fn call(&mut self, name: &str, n: i32) -> engine::Result<Vec<Val>> {
        self.instance.get_func(&mut self.store, name).unwrap().call(&mut self.store, &[Val::I32(n)])
    }

    pub fn counters(&self) -> Counters {
        self.store.stats().counters
    }

    pub fn own(&self, name: &str) -> u64 {
        let counters = self.counters().own;
        counters.iter().find(|(own, _)| *own == name).unwrap_or_else(|| panic!("no {name} in {counters:?}")).1
    }

    pub fn live(&self) -> u64 {
        self.store.stats().usage.live
    }
}
