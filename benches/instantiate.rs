//! What a store costs: instantiate, call and drop, for small modules, with pools and without.
//!
//! Every iteration makes a store, an instance in it, calls a function, and drops all of it. `peers instantiate` does the same with
//! the same modules, beside another engine.

use criterion::{BenchmarkId, Criterion};
use engine::{Config, Engine, Linker, Module, Pooling, Store};

/// Modules that export `run`, which gives 42, and import `host` `number`, which gives 37.
const MODULES: [(&str, &str); 3] = [
    ("objects", include_str!("instantiate/objects.wat")),
    ("memory", include_str!("instantiate/memory.wat")),
    ("grown", include_str!("instantiate/grown.wat")),
];

fn instantiate(c: &mut Criterion) {
    for (module_name, text) in MODULES {
        let mut group = c.benchmark_group(format!("instantiate/{module_name}"));
        for collector in gleaner::collectors::COLLECTORS {
            for (name, pooling) in [("pooled", Pooling::default()), ("fresh", Pooling::NONE)] {
                let gc = collector.with(&Default::default()).expect("the defaults are valid");
                let engine = Engine::with_config(Config::new(gc).pooling(pooling)).expect("an engine");
                let module = Module::new(&engine, text).expect("a module");
                let mut linker: Linker<()> = Linker::new(&engine);
                linker.func_wrap("host", "number", || 37).expect("a function");
                let pre =
                    linker.instantiate_pre(Store::new(&engine, ()).expect("a store"), &module).expect("its imports");
                group.bench_function(BenchmarkId::new(name, collector.info.name), |b| {
                    b.iter(|| {
                        let mut store = Store::new(&engine, ()).expect("a store");
                        let instance = pre.instantiate(&mut store).expect("an instance");
                        let run = instance.get_typed_func::<(), i32>(&mut store, "run").expect("a function");
                        assert_eq!(run.call(&mut store, ()).expect("no trap"), 42);
                    });
                });
            }
        }
        group.finish();
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    instantiate(&mut criterion);
    criterion.final_summary();
}
