//! Every program under every collector: one group a program, one benchmark a collector.
//!
//! Only the call of `run` is timed, in a fresh store each time, so that no run inherits another's heap; compilation and the
//! making of the store and the instance stand apart. Every result is checked. The sizes take milliseconds: they show where
//! a change made something slower, not how collectors compare on large heaps.

use criterion::{BatchSize, Criterion, SamplingMode};
use engine::{Engine, Linker, Module, Store, TypedFunc};
use gleaner::collectors;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A program that exports `run: (i32) -> i32`.
struct Program {
    name: String,
    /// The module, in either format.
    source: Vec<u8>,
    size: i32,
    expected: i32,
}

/// What `programs.json` says about a program.
#[derive(Deserialize)]
struct Listed {
    name: String,
    file: String,
    small: i32,
    small_result: i32,
}

/// What MoonBit's `expected.json` says about a program: results by size.
#[derive(Deserialize)]
struct Results {
    run: BTreeMap<i32, i32>,
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for program in programs() {
        bench(&mut criterion, &program);
    }
    criterion.final_summary();
}

fn programs() -> Vec<Program> {
    let benches = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
    let listed: Vec<Listed> = json(&benches.join("programs/programs.json"));
    let results: BTreeMap<String, Results> = json(&benches.join("moonbit/expected.json"));
    let written = listed.into_iter().map(|program| Program {
        source: read(&benches.join("programs").join(&program.file)),
        name: program.name,
        size: program.small,
        expected: program.small_result,
    });
    let compiled = results.into_iter().map(|(name, results)| {
        let (&size, &expected) = results.run.last_key_value().expect("a program has results");
        let source = read(&benches.join("moonbit/wasm").join(format!("{name}.wasm")));
        Program { name: format!("moonbit-{name}"), source, size, expected }
    });
    written.chain(compiled).collect()
}

fn read(path: &PathBuf) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json<T: for<'de> Deserialize<'de>>(path: &PathBuf) -> T {
    serde_json::from_slice(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn bench(criterion: &mut Criterion, program: &Program) {
    let mut group = criterion.benchmark_group(&program.name);
    group.sampling_mode(SamplingMode::Flat);
    for collector in collectors::names() {
        group.bench_function(collector, |bencher| {
            let (linker, module) = compile(program, collector);
            bencher.iter_batched_ref(
                || fresh(&linker, &module),
                |(store, run)| {
                    let result = run.call(store, program.size);
                    let result = result.unwrap_or_else(|e| panic!("{} under {collector}: {e}", program.name));
                    assert_eq!(result, program.expected, "{} under {collector}", program.name);
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
