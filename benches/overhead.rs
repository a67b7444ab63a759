//! What collectors cost, per program and per option: the *lower bound overhead* of Z. Cai, S. M. Blackburn, M. D. Bond and M. Maas,
//! *Distilling the real cost of production garbage collectors*, ISPASS 2022. The baseline of a program is the shortest of all times
//! without pauses: no collector that was tried shows the program to cost more than that. A collector's overhead is its time as a ratio
//! to that: at least so much does it cost.
//!
//! Each collector runs each program in turn, in a fresh store; only the call of `run` is timed. Medians.

mod listed;

use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use engine::{Config, Engine, Linker, Module, Store};
use gleaner::collectors;
use listed::Program;
use std::time::{Duration, Instant};

/// The options of `drc` that papers compare, beside the default and the baseline.
const COLLECTORS: [&str; 8] = [
    "null",
    "drc",
    "drc:counting=deferred",
    "drc:counting=eager",
    "drc:cycles=trial",
    "drc:cycles=none",
    "drc:barriers=call",
    "drc:budget=1ms:cycles=trial",
];

/// What collectors cost: the lower bound overhead (Cai et al., ISPASS 2022) and the longest pause, per program.
#[derive(Parser)]
struct Args {
    /// Only programs whose name contains this.
    filter: Option<String>,
    /// A collector with its options; the first ones by default are `null` and the variants of `drc`.
    #[arg(long = "gc", value_name = "NAME[:key=value]…", value_parser = known)]
    collectors: Vec<String>,
    /// Repetitions per program and collector.
    #[arg(long, default_value_t = 5)]
    repetitions: usize,
    /// Bytes that a heap may grow to, in MiB.
    #[arg(long, default_value_t = 4000)]
    heap: u64,
    /// Smaller sizes: to see that everything runs.
    #[arg(long)]
    quick: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A collector that there is, with options that it has.
fn known(spec: &str) -> Result<String, String> {
    collectors::by_spec(spec).map(|_| spec.to_string()).map_err(|error| error.to_string())
}

/// One run.
#[derive(Clone, Copy)]
struct Run {
    time: Duration,
    /// All pauses together.
    paused: Duration,
    longest: Duration,
}

fn main() {
    // Deep recursion needs a deep stack.
    let worker = std::thread::Builder::new().stack_size(80 << 20).spawn(compare);
    worker.expect("a thread").join().expect("no panic");
}

fn compare() {
    let args = Args::parse();
    let specs: Vec<String> = match args.collectors.is_empty() {
        true => COLLECTORS.map(str::to_string).to_vec(),
        false => args.collectors.clone(),
    };
    let [mut overheads, mut pauses] = [0; 2].map(|_| {
        let mut table = Table::new();
        table.load_preset(presets::ASCII_MARKDOWN);
        table
    });
    let columns = || specs.iter().map(String::as_str);
    overheads.set_header(["program", "baseline, ms"].into_iter().chain(columns()));
    pauses.set_header(["longest pause, ms"].into_iter().chain(columns()));
    let mut logs = vec![Vec::new(); specs.len()];
    let mut programs = listed::programs(args.quick, args.filter.as_deref());
    programs.retain(|program| program.heap);
    for program in programs {
        eprintln!("{} ({})", program.name, program.n);
        let runs = measure(&program, &specs, &args);
        let mutator = |run: &Run| (run.time - run.paused).as_secs_f64();
        let baseline = runs.iter().flatten().map(mutator).fold(f64::INFINITY, f64::min);
        let mut row = vec![program.name.clone(), format!("{:.1}", baseline * 1e3)];
        let mut longest = vec![program.name.clone()];
        for (run, logs) in runs.iter().zip(&mut logs) {
            let Some(run) = run else {
                row.push("fails".to_string());
                longest.push("fails".to_string());
                continue;
            };
            let overhead = run.time.as_secs_f64() / baseline;
            logs.push(overhead.ln());
            row.push(format!("{overhead:.2}"));
            longest.push(format!("{:.2}", run.longest.as_secs_f64() * 1e3));
        }
        overheads.add_row(row);
        pauses.add_row(longest);
    }
    let means = logs.iter().map(|logs| (logs.iter().sum::<f64>() / logs.len().max(1) as f64).exp());
    overheads
        .add_row(["geometric mean".to_string(), String::new()].into_iter().chain(means.map(|m| format!("{m:.2}"))));
    for table in [&mut overheads, &mut pauses] {
        table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        println!("{table}\n");
    }
}

/// The median run under each collector; `None` where it fails, which is said.
fn measure(program: &Program, specs: &[String], args: &Args) -> Vec<Option<Run>> {
    let prepared: Vec<(Linker<()>, Module)> =
        specs.iter().map(|spec| compile(program, spec, args.heap << 20)).collect();
    let mut runs: Vec<Result<Vec<Run>, String>> = specs.iter().map(|_| Ok(Vec::new())).collect();
    for _ in 0..args.repetitions {
        for ((linker, module), runs) in prepared.iter().zip(&mut runs) {
            let Ok(done) = runs else { continue };
            match run(linker, module, program) {
                Ok(run) => done.push(run),
                Err(error) => *runs = Err(error),
            }
        }
    }
    let median = |(spec, runs): (&String, Result<Vec<Run>, String>)| match runs {
        Ok(mut runs) => {
            runs.sort_by_key(|run| run.time);
            runs.get(runs.len() / 2).copied()
        }
        Err(error) => {
            eprintln!("  {spec}: {error}");
            None
        }
    };
    specs.iter().zip(runs).map(median).collect()
}

fn compile(program: &Program, spec: &str, heap: u64) -> (Linker<()>, Module) {
    let gc = collectors::by_spec(spec).unwrap_or_else(|error| panic!("{error}"));
    let config = Config::new(gc).heap_limit(heap).max_wasm_stack(64 << 20);
    let engine = Engine::with_config(config).expect("an engine");
    let module = Module::new(&engine, &program.source).unwrap_or_else(|error| panic!("{}: {error}", program.name));
    let mut linker = Linker::new(&engine);
    linker.func_wrap("spectest", "print_char", |_: i32| ()).expect("a function of the host's");
    (linker, module)
}

fn run(linker: &Linker<()>, module: &Module, program: &Program) -> Result<Run, String> {
    let text = |error: engine::Error| error.to_string().lines().next().unwrap_or_default().to_string();
    let mut store = Store::new(linker.engine(), ()).map_err(text)?;
    let instance = linker.instantiate(&mut store, module).map_err(text)?;
    let function = instance.get_typed_func::<i32, i32>(&mut store, "run").map_err(text)?;
    let start = Instant::now();
    let result = function.call(&mut store, program.n).map_err(text)?;
    let time = start.elapsed();
    if program.expected.is_some_and(|expected| expected != result) {
        return Err(format!("gives {result} instead of {:?}", program.expected));
    }
    let pauses = store.stats().pauses;
    Ok(Run { time, paused: pauses.total(), longest: pauses.max() })
}
