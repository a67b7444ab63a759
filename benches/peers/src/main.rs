//! Gleaner's collectors beside Wasmtime's of the same name, on the same programs, in one run.
//!
//! Every program is compiled once per engine; then repetitions are interleaved (each engine once, then each again), each in a fresh
//! store, and only the call of `run` is timed. Printed are medians in milliseconds and Gleaner's time as a ratio to the peer's: below
//! 1.00 Gleaner is faster. A run that fails (out of memory, say) is printed as such and not left out. Programs that make no objects
//! run under the first collector of each engine only, and have a table of their own.

mod compile;
mod instantiate;
#[path = "../../listed/mod.rs"]
mod listed;

use anyhow::{Result, anyhow, bail};
use clap::{Parser, Subcommand};
use comfy_table::{CellAlignment, Table, presets};
use listed::Program;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Compares Gleaner with Wasmtime.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Measurement>,
    /// Only programs whose name contains this.
    filter: Option<String>,
    /// Repetitions per engine and program.
    #[arg(long, default_value_t = 5)]
    repetitions: usize,
    /// Seconds after which a program is not repeated once more by an engine with a collector.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Bytes that a heap may grow to, in MiB.
    #[arg(long, default_value_t = 4000)]
    heap: u64,
    /// Smaller sizes: to see that everything runs.
    #[arg(long)]
    quick: bool,
    /// One JSON object per program and engine on standard output, with every time.
    #[arg(long)]
    json: bool,
}

/// What else is compared.
#[derive(Subcommand)]
enum Measurement {
    /// Compilation of large modules.
    Compile(compile::CompileArgs),
    /// A store, an instance, a call, and the end of them, with and without pools.
    Instantiate(instantiate::InstantiateArgs),
}

fn programs(args: &Args) -> Result<Vec<Program>> {
    let mut programs = listed::programs(args.quick, args.filter.as_deref());
    if programs.is_empty() {
        bail!("no program has that name");
    }
    for program in &mut programs {
        program.source = wat::parse_bytes(&program.source)?.into_owned();
    }
    Ok(programs)
}

/// A program made ready by one engine and collector: each call runs it in a fresh store.
type Ready = Box<dyn Fn() -> Result<(Duration, i32)>>;

/// An engine with a collector.
struct Peer {
    engine: &'static str,
    collector: String,
    prepare: Box<dyn Fn(&Program) -> Result<Ready>>,
}

fn gleaner(args: &Args) -> Vec<Peer> {
    use engine::{Config, Engine, Func, Linker, Module, Store, Val, types};
    let heap = args.heap << 20;
    let peer = |name: &'static str| Peer {
        engine: "gleaner",
        collector: name.to_string(),
        prepare: Box::new(move |program| {
            let gc = gleaner::collectors::by_spec(name).map_err(|e| anyhow!("{e}"))?;
            let config = Config::new(gc).heap_limit(heap).max_wasm_stack(64 << 20);
            let engine = Engine::with_config(config).map_err(|e| anyhow!("{e}"))?;
            let module = Module::new(&engine, &program.source).map_err(|e| anyhow!("{e}"))?;
            let n = program.n;
            Ok(Box::new(move || {
                let mut store = Store::new(&engine, ()).map_err(|e| anyhow!("{e}"))?;
                let mut linker = Linker::new(&engine);
                let print = types::FuncType::new([types::ValType::I32], []);
                let print = Func::new(&mut store, print, |_, _, _| Ok(())).map_err(|e| anyhow!("{e}"))?;
                linker.define(&store, "spectest", "print_char", print).map_err(|e| anyhow!("{e}"))?;
                let instance = linker.instantiate(&mut store, &module).map_err(|e| anyhow!("{e}"))?;
                let run = instance.get_func(&mut store, "run").map_err(|e| anyhow!("{e}"))?;
                let start = Instant::now();
                let results = run.call(&mut store, &[Val::I32(n)]).map_err(|e| anyhow!("{e}"))?;
                let time = start.elapsed();
                match results[..] {
                    [Val::I32(result)] => Ok((time, result)),
                    _ => bail!("`run` gives {results:?}"),
                }
            }) as Ready)
        }),
    };
    gleaner::collectors::names().into_iter().map(peer).collect()
}

fn wasmtime(args: &Args) -> Vec<Peer> {
    use wasmtime::{Collector, Config, Engine, Linker, Module, Store};
    let _ = args;
    let collectors =
        [("null", Collector::Null), ("drc", Collector::DeferredReferenceCounting), ("copying", Collector::Copying)];
    let peer = |(name, collector): (&str, Collector)| Peer {
        engine: "wasmtime",
        collector: name.to_string(),
        prepare: Box::new(move |program| {
            let mut config = Config::new();
            config.wasm_gc(true).wasm_function_references(true).wasm_exceptions(true).wasm_tail_call(true);
            config.collector(collector).max_wasm_stack(64 << 20).async_stack_size(80 << 20);
            let engine = Engine::new(&config).map_err(|e| anyhow!("{e:?}"))?;
            let module = Module::new(&engine, &program.source).map_err(|e| anyhow!("{e:?}"))?;
            let n = program.n;
            Ok(Box::new(move || {
                let mut store = Store::new(&engine, ());
                let mut linker = Linker::new(&engine);
                linker.func_wrap("spectest", "print_char", |_: i32| {}).map_err(|e| anyhow!("{e:?}"))?;
                let instance = linker.instantiate(&mut store, &module).map_err(|e| anyhow!("{e:?}"))?;
                let run = instance.get_typed_func::<i32, i32>(&mut store, "run").map_err(|e| anyhow!("{e:?}"))?;
                let start = Instant::now();
                let result = run.call(&mut store, n).map_err(|e| anyhow!("{e:?}"))?;
                Ok((start.elapsed(), result))
            }) as Ready)
        }),
    };
    collectors.into_iter().map(peer).collect()
}

/// What an engine did with a program.
struct Measured {
    engine: &'static str,
    collector: String,
    times: Vec<Duration>,
    failure: Option<String>,
}

impl Measured {
    fn total(&self) -> f64 {
        self.times.iter().map(Duration::as_secs_f64).sum()
    }

    fn median(&self) -> Option<f64> {
        if self.failure.is_some() || self.times.is_empty() {
            return None;
        }
        let mut times = self.times.clone();
        times.sort();
        Some(times[times.len() / 2].as_secs_f64() * 1e3)
    }
}

fn measure(program: &Program, peers: &[&Peer], args: &Args) -> Vec<Measured> {
    let mut rows: Vec<(Measured, Option<Ready>)> = peers
        .iter()
        .map(|peer| {
            let ready = (peer.prepare)(program);
            let failure = ready.as_ref().err().map(|e| format!("{e:#}"));
            let measured =
                Measured { engine: peer.engine, collector: peer.collector.clone(), times: Vec::new(), failure };
            (measured, ready.ok())
        })
        .collect();
    for _ in 0..args.repetitions {
        for (measured, ready) in &mut rows {
            let Some(run) = ready else { continue };
            if measured.failure.is_some() || measured.total() >= args.seconds {
                continue;
            }
            match run() {
                Ok((_, result)) if program.expected.is_some_and(|expected| expected != result) => {
                    measured.failure = Some(format!("gives {result} instead of {:?}", program.expected));
                }
                Ok((time, _)) => measured.times.push(time),
                Err(error) => measured.failure = Some(format!("{error:#}")),
            }
        }
    }
    rows.into_iter().map(|(measured, _)| measured).collect()
}

fn main() -> Result<()> {
    // Deep recursion needs a deep stack under every engine.
    std::thread::Builder::new().stack_size(80 << 20).spawn(compare)?.join().expect("no panic")
}

fn compare() -> Result<()> {
    let args = Args::parse();
    match &args.command {
        Some(Measurement::Compile(args)) => return compile::run(args),
        Some(Measurement::Instantiate(args)) => return instantiate::run(args),
        None => {}
    }
    let mut peers = gleaner(&args);
    peers.extend(wasmtime(&args));
    let (with, without): (Vec<Program>, Vec<Program>) = programs(&args)?.into_iter().partition(|program| program.heap);
    let all: Vec<&Peer> = peers.iter().collect();
    let first = |engine: &str| peers.iter().find(|peer| peer.engine == engine).expect("every engine has a collector");
    for (programs, peers) in [(with, all), (without, vec![first("gleaner"), first("wasmtime")])] {
        if programs.is_empty() {
            continue;
        }
        let table = table(&programs, &peers, &args)?;
        if !args.json {
            println!("{table}\n");
        }
    }
    Ok(())
}

/// Measures programs under engines with collectors, of which those of the same name are compared.
fn table(programs: &[Program], peers: &[&Peer], args: &Args) -> Result<Table> {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    let mut header = vec!["program".to_string()];
    header.extend(peers.iter().map(|peer| format!("{} {}, ms", peer.engine, peer.collector)));
    let pairs: Vec<&str> = peers
        .iter()
        .filter(|a| a.engine == "gleaner" && peers.iter().any(|b| b.engine != a.engine && b.collector == a.collector))
        .map(|a| a.collector.as_str())
        .collect();
    header.extend(pairs.iter().map(|name| format!("{name} ÷ wasmtime's")));
    table.set_header(header);
    let mut logs: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for program in programs {
        eprintln!("{} ({})", program.name, program.n);
        let rows = measure(program, peers, args);
        let mut cells = vec![program.name.clone()];
        for row in &rows {
            if let Some(failure) = &row.failure {
                eprintln!("  {} {}: {}", row.engine, row.collector, failure.lines().next().unwrap_or_default());
            }
            cells.push(row.median().map_or("fails".to_string(), |ms| format!("{ms:.1}")));
            if args.json {
                let times: Vec<u64> = row.times.iter().map(|t| t.as_nanos() as u64).collect();
                println!(
                    "{}",
                    serde_json::json!({"program": program.name, "n": program.n, "engine": row.engine,
                        "collector": row.collector, "times_ns": times, "failure": row.failure})
                );
            }
        }
        for name in &pairs {
            let of = |engine: &str| {
                rows.iter().find(|r| (r.engine == engine) && r.collector == *name).and_then(Measured::median)
            };
            let ratio = of("gleaner").zip(of("wasmtime")).map(|(ours, theirs)| ours / theirs);
            if let Some(ratio) = ratio {
                logs.entry(name).or_default().push(ratio.ln());
            }
            cells.push(ratio.map_or("–".to_string(), |ratio| format!("{ratio:.2}")));
        }
        table.add_row(cells);
    }
    let mut last = vec!["geometric mean".to_string()];
    last.extend(peers.iter().map(|_| String::new()));
    for name in &pairs {
        let logs = logs.get(name).map(Vec::as_slice).unwrap_or_default();
        let mean = (logs.iter().sum::<f64>() / logs.len().max(1) as f64).exp();
        last.push(format!("{mean:.2}"));
    }
    table.add_row(last);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Ok(table)
}
