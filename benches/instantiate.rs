//! What a store costs: instantiate, call and drop, for a small module with objects.
//!
//! Every iteration makes a store, an instance in it, calls a function that allocates a few objects, and drops all of it.

use criterion::{BenchmarkId, Criterion};
use engine::{Config, Engine, Linker, Module, Store};

/// A struct, an array, a table and a global with an initialiser that allocates.
const MODULE: &str = r#"(module
    (import "host" "number" (func $number (result i32)))
    (type $list (struct (field (ref null $list)) (field i32)))
    (type $array (array (mut i32)))
    (table $t 4 funcref)
    (elem (table $t) (i32.const 0) func $add)
    (global $first (ref $list) (struct.new $list (ref.null $list) (i32.const 1)))
    (func $add (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "run") (result i32) (local $l (ref null $list)) (local $a (ref $array))
      (local.set $l (struct.new $list (global.get $first) (call $number)))
      (local.set $a (array.new $array (i32.const 5) (i32.const 8)))
      (call_indirect $t (param i32 i32) (result i32)
        (struct.get $list 1 (local.get $l))
        (array.get $array (local.get $a) (i32.const 3))
        (i32.const 0))))"#;

fn instantiate(c: &mut Criterion) {
    let mut group = c.benchmark_group("instantiate");
    for collector in gleaner::collectors::COLLECTORS {
        for (name, heaps) in [("pooled", 16), ("fresh", 0)] {
            let gc = collector.with(&Default::default()).expect("the defaults are valid");
            let engine = Engine::with_config(Config::new(gc).pooled_heaps(heaps)).expect("an engine");
            let module = Module::new(&engine, MODULE).expect("a module");
            let mut linker: Linker<()> = Linker::new(&engine);
            linker.func_wrap("host", "number", || 37).expect("a function");
            let pre = linker.instantiate_pre(Store::new(&engine, ()).expect("a store"), &module).expect("its imports");
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

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    instantiate(&mut criterion);
    criterion.final_summary();
}
