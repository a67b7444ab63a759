//! Gleaner's collectors beside Wasmtime's and V8's, on the same programs, in one run.
//!
//! Each engine with a collector runs a program in a process of its own (`worker`, `v8.mjs`), so that none inherits another's memory
//! and the peak of each can be told. The processes of a program take turns: each runs it once, then each again. Only the call is
//! timed. Printed are medians in milliseconds, their spread, peak memory, and ratios of Gleaner's time to others': below 1.00 Gleaner
//! is faster. A run that fails (out of memory, say) is printed as such and not left out. Programs that make no objects run under one
//! collector of each engine only, and have a table of their own.

mod compile;
mod instantiate;
#[path = "../../listed/mod.rs"]
mod listed;
mod peer;
mod report;
mod worker;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use listed::Program;
use peer::{Job, Node, Peer, Worker};
use report::Measured;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Compares Gleaner with Wasmtime and V8.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Measurement>,
    /// Only programs whose name contains this.
    filter: Option<String>,
    /// A collector of Gleaner's with its options; all without them by default.
    #[arg(long = "gc", value_name = "NAME[:key=value]…")]
    collectors: Vec<String>,
    /// Engines to run; all by default.
    #[arg(long = "engine", value_enum)]
    engines: Vec<EngineName>,
    /// The executable whose V8 is a peer, of version 22 or newer; `node` on the PATH by default.
    #[arg(long, value_name = "PATH")]
    node: Option<PathBuf>,
    /// Only Gleaner's and Wasmtime's collectors of the same name, beside each other.
    #[arg(long)]
    pairs: bool,
    /// Only programs that have a parameter, with this one.
    #[arg(long, value_name = "N")]
    parameter: Option<i32>,
    /// Repetitions per engine and program.
    #[arg(long, default_value_t = 5)]
    repetitions: usize,
    /// Seconds after which a program is not repeated once more by an engine with a collector.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Bytes that a heap may grow to, in MiB, under each engine; without it Gleaner's may have 4000, Wasmtime's 4096, and V8's what
    /// V8 thinks.
    #[arg(long, value_name = "MIB")]
    heap: Option<u64>,
    /// Smaller sizes: to see that everything runs.
    #[arg(long)]
    quick: bool,
    /// One JSON object per program and engine on standard output, with every time.
    #[arg(long)]
    json: bool,
    /// Runs nothing, and prints the tables of what an earlier run wrote with `--json`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "engines", "collectors", "node"])]
    records: Option<PathBuf>,
}

/// What else is compared.
#[derive(Subcommand)]
enum Measurement {
    /// Compilation of large modules.
    Compile(compile::CompileArgs),
    /// A store, an instance, a call, and the end of them, with and without pools.
    Instantiate(instantiate::InstantiateArgs),
    /// Runs a program as often as standard input says: what the comparison starts.
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
}

/// An engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum EngineName {
    Gleaner,
    Wasmtime,
    V8,
}

impl EngineName {
    /// As tables and records name it.
    fn name(self) -> &'static str {
        match self {
            EngineName::Gleaner => "gleaner",
            EngineName::Wasmtime => "wasmtime",
            EngineName::V8 => "v8",
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.command {
        Some(Measurement::Compile(args)) => compile::run(args),
        Some(Measurement::Instantiate(args)) => instantiate::run(args),
        Some(Measurement::Worker(args)) => worker::serve(args),
        None => compare(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The tables of an earlier run.
fn print_records(args: &Args, path: &Path) -> Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let mut rows: Vec<(String, Vec<Measured>)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = || format!("{}, line {}", path.display(), number + 1);
        let (program, measured) = Measured::from_record(line).with_context(place)?;
        if !args.filter.as_ref().is_none_or(|filter| program.contains(filter)) {
            continue;
        }
        match rows.last_mut().filter(|(name, _)| *name == program) {
            Some((_, all)) => all.push(measured),
            None => rows.push((program, vec![measured])),
        }
    }
    let listed = listed::programs(false, None);
    let (without, with): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|(name, _)| listed.iter().any(|program| program.name == *name && !program.heap));
    for rows in [&with, &without] {
        // A run that was ended early.
        let whole = rows.first().map_or(0, |(_, all)| all.len());
        if let Some((name, _)) = rows.iter().find(|(_, all)| all.len() != whole) {
            bail!("{}: the records of {name} are of other engines than those before", path.display());
        }
    }
    print_with_objects(&with, args.pairs);
    print_without_objects(&without);
    Ok(())
}

/// Each program with what was measured of it.
type Rows = [(String, Vec<Measured>)];

fn print_with_objects(rows: &Rows, pairs: bool) {
    match pairs {
        _ if rows.is_empty() => {}
        true => report::pairs(rows),
        false => report::engines(rows),
    }
}

fn print_without_objects(rows: &Rows) {
    if !rows.is_empty() {
        report::without_objects(rows);
    }
}

fn compare(args: &Args) -> Result<()> {
    if let Some(path) = &args.records {
        return print_records(args, path);
    }
    let wanted = |engine| args.engines.is_empty() || args.engines.contains(&engine);
    let mut peers = Vec::new();
    if wanted(EngineName::Gleaner) {
        peers.extend(peer::gleaner(&args.collectors)?);
    }
    if wanted(EngineName::Wasmtime) {
        peers.extend(peer::wasmtime());
    }
    if args.pairs {
        let names: Vec<_> = peers.iter().map(|peer| (peer.engine, peer.collector.clone())).collect();
        peers.retain(|a| names.iter().any(|(engine, collector)| *engine != a.engine && *collector == a.collector));
    }
    let node = if wanted(EngineName::V8) && !args.pairs { Node::find(args.node.as_deref())? } else { None };
    if let Some(node) = &node {
        peers.extend(peer::v8(node));
    }
    if peers.is_empty() {
        bail!("no engine is left to run");
    }
    let mut programs = listed::programs(args.quick, args.filter.as_deref());
    let mut whole = listed::whole_programs(args.quick, args.filter.as_deref());
    if args.pairs {
        whole.clear();
    }
    if args.parameter.is_some() {
        programs.retain(|program| program.has_parameter);
        whole.clear();
    }
    let (with, without): (Vec<Program>, Vec<Program>) = programs.into_iter().partition(|program| program.heap);
    if with.is_empty() && without.is_empty() && whole.is_empty() {
        bail!("no program has that name");
    }
    if !args.json {
        println!("{}\n", report::preface(node.as_ref(), args));
    }

    let all: Vec<&Peer> = peers.iter().collect();
    let jobs = with.iter().map(|program| Job::call(program, args.parameter)).chain(whole.iter().map(Job::start));
    let with_objects = measure_all(jobs, &all, args)?;
    if !args.json {
        print_with_objects(&with_objects, args.pairs);
    }
    // One collector is as good as another where there are no objects.
    let mut first: Vec<&Peer> = Vec::new();
    for peer in &peers {
        if first.iter().all(|other| other.engine != peer.engine) {
            first.push(peer);
        }
    }
    let rows = measure_all(without.iter().map(|program| Job::call(program, None)), &first, args)?;
    if !args.json {
        print_without_objects(&rows);
    }
    Ok(())
}

/// What each peer did, per program.
fn measure_all<'p>(
    jobs: impl Iterator<Item = Job<'p>>,
    peers: &[&Peer],
    args: &Args,
) -> Result<Vec<(String, Vec<Measured>)>> {
    let mut rows = Vec::new();
    for job in jobs {
        eprintln!("{} ({})", job.name, job.size());
        let measured = measure(&job, peers, args)?;
        for one in &measured {
            if let Some(failure) = &one.failure {
                eprintln!("  {} {}: {}", one.engine.name(), one.label, failure.lines().next().unwrap_or_default());
            }
            if args.json {
                println!("{}", one.record(&job));
            }
        }
        rows.push((job.name.to_string(), measured));
    }
    Ok(rows)
}

fn measure(job: &Job, peers: &[&Peer], args: &Args) -> Result<Vec<Measured>> {
    let file = job.compile()?;
    let mut rows: Vec<(Measured, Option<Worker>)> = Vec::new();
    for peer in peers {
        let mut measured = Measured::new(peer);
        measured.lacks_wasi = job.wasi.is_some() && !peer.wasi;
        let worker = if measured.lacks_wasi { None } else { measured.keep(Worker::start(peer, &file, job, args.heap)) };
        rows.push((measured, worker));
    }
    for (measured, worker) in &mut rows {
        let Some(running) = worker else { continue };
        if measured.keep(running.warm_up(job)).is_none() {
            *worker = None;
        }
    }
    for _ in 0..args.repetitions {
        for (measured, worker) in &mut rows {
            let Some(running) = worker else { continue };
            if measured.total() >= Duration::from_secs_f64(args.seconds) {
                continue;
            }
            match measured.keep(running.run(job)) {
                Some(ran) => measured.add(ran),
                None => *worker = None,
            }
        }
    }
    Ok(rows.into_iter().map(|(measured, _)| measured).collect())
}
