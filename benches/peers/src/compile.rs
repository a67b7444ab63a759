//! How long compilation takes and how much memory, beside Wasmtime, on large modules in the manner of dart2wasm's.
//!
//! Each measurement has a process of its own, which makes the module, compiles it once, instantiates it, and reports. CPU time is
//! what to compare on a machine that does something else at the same time.

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, Table, presets};
use module_gen::Shape;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// What to compile, and with what.
#[derive(Args)]
pub struct CompileArgs {
    /// `medium` (1.5 MB), `large` (8 MB), or a file with a module; without one, both.
    modules: Vec<String>,
    /// Only this engine.
    #[arg(long)]
    engine: Option<Which>,
    /// Only this level; without it, both.
    #[arg(long)]
    opt: Option<Opt>,
    /// On one thread.
    #[arg(long)]
    sequential: bool,
    /// Print the functions that took Gleaner longest.
    #[arg(long)]
    slowest: bool,
    /// Write the generated module to this file, and do nothing else.
    #[arg(long)]
    write: Option<PathBuf>,
    /// Measure in this process, and print JSON.
    #[arg(long, hide = true)]
    child: bool,
}

#[derive(Clone, Copy, ValueEnum, PartialEq, Eq)]
enum Which {
    Gleaner,
    Wasmtime,
}

/// How hard both engines optimise. They have the same code generator.
#[derive(Clone, Copy, ValueEnum, PartialEq, Eq)]
enum Opt {
    None,
    Speed,
}

/// What one process found.
#[derive(Serialize, Deserialize, Default)]
struct Report {
    bytes: usize,
    total: Duration,
    /// User and system, over all threads, of the compilation.
    cpu: Duration,
    instantiate: Duration,
    /// Bytes of memory at the most, after compilation and after instantiation.
    peak_compiled: u64,
    peak: u64,
    code_bytes: Option<usize>,
    /// Name and time: Gleaner's phases.
    phases: Vec<(String, Duration)>,
    /// Index, bytes and time.
    slowest: Vec<(u32, usize, Duration)>,
}

fn module(name: &str) -> Result<Vec<u8>> {
    match name {
        "medium" => Ok(Shape::MEDIUM.module()),
        "large" => Ok(Shape::LARGE.module()),
        "small" => Ok(Shape::SMALL.module()),
        file => std::fs::read(file).with_context(|| format!("reading {file}")),
    }
}

/// Runs `compile`.
pub fn run(args: &CompileArgs) -> Result<()> {
    let modules = match args.modules.is_empty() {
        true => vec!["medium".to_string(), "large".to_string()],
        false => args.modules.clone(),
    };
    if let Some(file) = &args.write {
        return Ok(std::fs::write(file, module(&modules[0])?)?);
    }
    let engines = args.engine.map_or(vec![Which::Gleaner, Which::Wasmtime], |engine| vec![engine]);
    let levels = args.opt.map_or(vec![Opt::None, Opt::Speed], |opt| vec![opt]);
    if args.child {
        let report = measure(&module(&modules[0])?, engines[0], levels[0], !args.sequential)?;
        println!("{}", serde_json::to_string(&report)?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header([
        "module",
        "opt",
        "engine",
        "wall, s",
        "CPU, s",
        "MB/s",
        "peak, MB",
        "code, MB",
        "instantiate, s",
        "CPU ÷ Wasmtime's",
    ]);
    let mut details = String::new();
    for name in &modules {
        for opt in &levels {
            let mut ours = None;
            for engine in &engines {
                let label = format!("{name}, {} at {}", text(*engine), text(*opt));
                eprintln!("{label}");
                let report = match child(args, name, *engine, *opt) {
                    Ok(report) => report,
                    Err(error) => {
                        eprintln!("  {error:#}");
                        table.add_row([name.as_str(), &text(*opt), &text(*engine), "fails"]);
                        continue;
                    }
                };
                let ratio =
                    ours.filter(|_| *engine == Which::Wasmtime).map(|ours: f64| ours / report.cpu.as_secs_f64());
                if *engine == Which::Gleaner {
                    ours = Some(report.cpu.as_secs_f64());
                    details += &phases(&label, &report, args.slowest);
                }
                let mb = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
                let seconds = |time: Duration| format!("{:.2}", time.as_secs_f64());
                table.add_row([
                    name.clone(),
                    text(*opt),
                    text(*engine),
                    seconds(report.total),
                    seconds(report.cpu),
                    format!("{:.2}", report.bytes as f64 / 1e6 / report.total.as_secs_f64()),
                    mb(report.peak),
                    report.code_bytes.map_or("–".to_string(), |bytes| mb(bytes as u64)),
                    seconds(report.instantiate),
                    ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
                ]);
            }
        }
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}\n\n{details}");
    Ok(())
}

fn text(value: impl ValueEnum) -> String {
    value.to_possible_value().expect("nothing is skipped").get_name().to_string()
}

fn phases(label: &str, report: &Report, slowest: bool) -> String {
    let each: Vec<String> =
        report.phases.iter().map(|(name, time)| format!("{name} {:.2} s", time.as_secs_f64())).collect();
    let mut lines = format!("{label}: {}\n", each.join(", "));
    for (index, bytes, time) in report.slowest.iter().filter(|_| slowest) {
        lines += &format!("  function {index}, {bytes} bytes: {:.1} ms\n", time.as_secs_f64() * 1e3);
    }
    lines
}

fn child(args: &CompileArgs, name: &str, engine: Which, opt: Opt) -> Result<Report> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["compile", name, "--child", "--engine", &text(engine), "--opt", &text(opt)]);
    if args.sequential {
        command.arg("--sequential");
    }
    let output = command.output()?;
    if !output.status.success() {
        bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn measure(bytes: &[u8], engine: Which, opt: Opt, parallel: bool) -> Result<Report> {
    let mut report = Report { bytes: bytes.len(), ..Report::default() };
    match engine {
        Which::Gleaner => gleaner(bytes, opt, parallel, &mut report)?,
        Which::Wasmtime => wasmtime(bytes, opt, parallel, &mut report)?,
    }
    report.peak = peak()?;
    Ok(report)
}

fn gleaner(bytes: &[u8], opt: Opt, parallel: bool, report: &mut Report) -> Result<()> {
    use engine::{Config, Engine, Instance, Module, OptLevel, Store};
    let gc = gleaner::collectors::by_spec("drc").map_err(|e| anyhow!("{e}"))?;
    let mut config = Config::new(gc);
    config.parallel = parallel;
    config.opt_level = if opt == Opt::None { OptLevel::None } else { OptLevel::Speed };
    let engine = Engine::with_config(config).map_err(|e| anyhow!("{e}"))?;
    let (start, cpu) = (Instant::now(), cpu_time()?);
    let (module, profile) = Module::profile(&engine, bytes).map_err(|e| anyhow!("{e}"))?;
    (report.total, report.cpu) = (start.elapsed(), cpu_time()? - cpu);
    report.peak_compiled = peak()?;
    report.code_bytes = Some(profile.code_bytes);
    report.phases = [
        ("parse", profile.parse),
        ("functions", profile.functions),
        ("(all threads: validate and translate", profile.translate),
        ("Cranelift)", profile.codegen),
        ("publish", profile.publish),
    ]
    .map(|(name, time)| (name.to_string(), time))
    .to_vec();
    report.slowest = profile.slowest.iter().map(|slow| (slow.index, slow.bytes, slow.time)).collect();
    let mut store = Store::new(&engine, ()).map_err(|e| anyhow!("{e}"))?;
    let start = Instant::now();
    Instance::new(&mut store, &module, &[]).map_err(|e| anyhow!("{e}"))?;
    report.instantiate = start.elapsed();
    Ok(())
}

fn wasmtime(bytes: &[u8], opt: Opt, parallel: bool, report: &mut Report) -> Result<()> {
    use wasmtime::{Collector, Config, Engine, Instance, Module, OptLevel, Store};
    let mut config = Config::new();
    config.wasm_gc(true).wasm_function_references(true).wasm_exceptions(true).wasm_tail_call(true);
    config.collector(Collector::DeferredReferenceCounting).parallel_compilation(parallel);
    config.cranelift_opt_level(if opt == Opt::None { OptLevel::None } else { OptLevel::Speed });
    let engine = Engine::new(&config).map_err(|e| anyhow!("{e:?}"))?;
    let (start, cpu) = (Instant::now(), cpu_time()?);
    let module = Module::new(&engine, bytes).map_err(|e| anyhow!("{e:?}"))?;
    (report.total, report.cpu) = (start.elapsed(), cpu_time()? - cpu);
    report.peak_compiled = peak()?;
    report.code_bytes = Some(module.text().len());
    let mut store = Store::new(&engine, ());
    let start = Instant::now();
    Instance::new(&mut store, &module, &[]).map_err(|e| anyhow!("{e:?}"))?;
    report.instantiate = start.elapsed();
    Ok(())
}

/// User and system time of this process; hundredths of a second.
fn cpu_time() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// Bytes of memory that this process has had at the most.
fn peak() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("the system tells no peak")?;
    let kilobytes: u64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kilobytes << 10)
}
