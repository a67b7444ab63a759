//! Whether a steady state stays as it is: programs that do the same for minutes in one store, and what each minute's pauses were.
//!
//! A machine that does something else at the same time makes pauses longer, and the program slower by as much. Two columns tell that
//! from a collector that ages: the share of a processor that the program got, by which pauses are to be multiplied before they are
//! compared, and the objects that a collection traces, which are counted.

use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use engine::{Config, Engine, Linker, Module, Store};
use gleaner::collectors;
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Runs programs for minutes in one store, and prints the pauses of each minute.
#[derive(Parser)]
struct Args {
    /// The programs, of `benches/programs`, by name and size of a call.
    #[arg(default_values = ["linked_list_churn=24000000", "lru_cache=4000000"])]
    programs: Vec<String>,
    /// How long each program runs.
    #[arg(long, default_value_t = 10)]
    minutes: u32,
    /// The collector.
    #[arg(long, default_value = "drc")]
    gc: String,
    /// Seconds of a minute: less to see that everything runs.
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let args = Args::parse();
    for program in &args.programs {
        let (name, size) = program.split_once('=').unwrap_or_else(|| panic!("`{program}` is not `NAME=SIZE`"));
        let size = size.parse().unwrap_or_else(|_| panic!("`{program}`: a size is a number"));
        println!("{name} under {}\n{}\n", args.gc, steady(name, size, &args));
    }
}

fn steady(name: &str, size: i32, args: &Args) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/programs").join(format!("{name}.wat"));
    let source = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let gc = collectors::by_spec(&args.gc).unwrap_or_else(|error| panic!("{error}"));
    let engine = Engine::with_config(Config::new(gc)).expect("an engine");
    let module = Module::new(&engine, &source).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut store = Store::new(&engine, ()).expect("a store");
    let instance = Linker::new(&engine).instantiate(&mut store, &module).expect("an instance");
    let run = instance.get_typed_func::<i32, i32>(&mut store, "run").expect("`run`");
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header([
        "minute",
        "calls",
        "pauses",
        "median, µs",
        "99th of 100, µs",
        "longest, µs",
        "share of time",
        "processor",
        "traced a pause",
        "committed, MB",
    ]);
    let (mut seen, mut traced) = (0, 0);
    let mut means = Vec::new();
    for minute in 1..=args.minutes {
        let (start, start_of_processor, mut calls) = (Instant::now(), processor_time(), 0);
        while start.elapsed().as_secs_f64() < args.seconds {
            run.call(&mut store, size).unwrap_or_else(|error| panic!("{name}: {error}"));
            calls += 1;
        }
        let took = start.elapsed();
        let processor = (processor_time() - start_of_processor).as_secs_f64() / took.as_secs_f64();
        let stats = store.stats();
        let mut pauses: Vec<Duration> = stats.pauses.all()[seen..].to_vec();
        seen += pauses.len();
        pauses.sort();
        let micros = |i: usize| format!("{:.0}", pauses.get(i).map_or(0.0, |pause| pause.as_secs_f64() * 1e6));
        let total: Duration = pauses.iter().sum();
        let count = pauses.len().max(1);
        means.push(total.as_secs_f64() * processor / count as f64);
        table.add_row([
            minute.to_string(),
            calls.to_string(),
            pauses.len().to_string(),
            micros(pauses.len() / 2),
            micros(pauses.len() * 99 / 100),
            micros(pauses.len().saturating_sub(1)),
            format!("{:.3}", total.as_secs_f64() / took.as_secs_f64()),
            format!("{processor:.2}"),
            ((stats.counters.objects_traced - traced) / count as u64).to_string(),
            format!("{:.1}", stats.usage.committed as f64 / 1e6),
        ]);
        traced = stats.counters.objects_traced;
        eprintln!("{name}: minute {minute}");
    }
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    let ratio = means.last().zip(means.first()).map_or(1.0, |(last, first)| last / first);
    format!("{table}\nmean pause in processor time, last minute ÷ first: {ratio:.2}")
}

/// What this thread has had of a processor.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
