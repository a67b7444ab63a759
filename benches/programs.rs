//! Every program under every collector: one group a program, one benchmark a collector.
//!
//! Only the call of `run` is timed, in a fresh store each time, so that no run inherits another's heap; compilation and the
//! making of the store and the instance stand apart. Every result is checked. The sizes take milliseconds: they show where
//! a change made something slower, not how collectors compare on large heaps.

mod listed;

use criterion::{BatchSize, Criterion, SamplingMode};
use engine::{Engine, Linker, Module, Store, TypedFunc};
use gleaner::collectors;
use listed::Program;
use std::time::Duration;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for program in listed::programs(true, None) {
        bench(&mut criterion, &program);
    }
    criterion.final_summary();
}

fn bench(criterion: &mut Criterion, program: &Program) {
    let mut group = criterion.benchmark_group(program.name.replace('/', "-"));
    group.sampling_mode(SamplingMode::Flat);
    for collector in collectors::names() {
        group.bench_function(collector, |bencher| {
            let (linker, module) = compile(program, collector);
            bencher.iter_batched_ref(
                || fresh(&linker, &module),
                |(store, run)| {
                    let result = run.call(store, program.n);
                    let result = result.unwrap_or_else(|e| panic!("{} under {collector}: {e}", program.name));
                    assert_eq!(Some(result), program.expected, "{} under {collector}", program.name);
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// The program under a collector. What it prints goes nowhere.
fn compile(program: &Program, collector: &str) -> (Linker<()>, Module) {
    let engine = Engine::new(collectors::by_spec(collector).expect("it is listed")).expect("an engine");
    let module = Module::new(&engine, &program.source).unwrap_or_else(|error| panic!("{}: {error}", program.name));
    let mut linker = Linker::new(&engine);
    linker.func_wrap("spectest", "print_char", |_: i32| ()).expect("a function of the host's");
    (linker, module)
}

/// An instance in a store of its own.
fn fresh(linker: &Linker<()>, module: &Module) -> (Store<()>, TypedFunc<i32, i32>) {
    let mut store = Store::new(linker.engine(), ()).expect("a store");
    let instance = linker.instantiate(&mut store, module).expect("an instance");
    let run = instance.get_typed_func(&mut store, "run").expect("`run`");
    (store, run)
}
