//! Whether a steady state stays as it is: programs that do the same for minutes in one store, and what each minute's pauses were.

use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use engine::{Config, Engine, Linker, Module, Store};
use gleaner::collectors;
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

fn steady(name: &str, size: i32, args: &Args) -> Table {
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
        "committed, MB",
    ]);
    let mut seen = 0;
    for minute in 1..=args.minutes {
        let (start, mut calls) = (Instant::now(), 0);
        while start.elapsed().as_secs_f64() < args.seconds {
            run.call(&mut store, size).unwrap_or_else(|error| panic!("{name}: {error}"));
            calls += 1;
        }
        let took = start.elapsed();
        let stats = store.stats();
        let mut pauses: Vec<Duration> = stats.pauses.all()[seen..].to_vec();
        seen += pauses.len();
        pauses.sort();
        let micros = |i: usize| format!("{:.0}", pauses.get(i).map_or(0.0, |pause| pause.as_secs_f64() * 1e6));
        let total: Duration = pauses.iter().sum();
        table.add_row([
            minute.to_string(),
            calls.to_string(),
            pauses.len().to_string(),
            micros(pauses.len() / 2),
            micros(pauses.len() * 99 / 100),
            micros(pauses.len().saturating_sub(1)),
            format!("{:.3}", total.as_secs_f64() / took.as_secs_f64()),
            format!("{:.1}", stats.usage.committed as f64 / 1e6),
        ]);
        eprintln!("{name}: minute {minute}");
    }
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}
