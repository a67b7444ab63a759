//! `gleaner run`: runs a program.

use super::program::Program;
use super::{Checks, Gc, Limits, Tuning, UsageError, table};
use crate::events;
use crate::output::Output;
use crate::snapshot::{Format, Request, SnapshotError, Summary, Target, When};
use crate::wasi::Exit;
use crate::{text, values};
use anyhow::Context;
use clap::Args;
use comfy_table::CellAlignment;
use engine::{Engine, Error, ErrorKind, Event, Profiler, Stats, Store};
use gc_api::{CollectorInfo, RootKind};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Run a program: its `_start`, or one of its functions
#[derive(Args)]
#[command(after_help = "\
Programs may import WASI preview 1 and `spectest`, the module of the official test suite. Of files they see what is
below the directories given by `--dir`, and nothing outside; the code that they exit with is the process's.
A function's arguments are numbers (decimal or 0x…, nan, inf), vectors (i32x4:1,2,3,4 or 32 hexadecimal digits), `null`,
or a number for an i31. Its results are printed one a line, and nothing else is printed on standard output.")]
pub struct Run {
    /// The collector, with its options; `gleaner collectors` lists them, and says which is the default
    #[arg(long, value_name = "NAME[:KEY=VALUE]…", value_parser = Gc::parse)]
    gc: Option<Gc>,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    checks: Checks,
    #[command(flatten)]
    tuning: Tuning,
    /// End the program after so long, as in 10s, 500ms or 2m
    #[arg(long, value_name = "DURATION", value_parser = text::parse_duration)]
    timeout: Option<Duration>,
    /// End the program after N instructions: always at the same one, whatever the collector and the machine
    #[arg(long, value_name = "N")]
    fuel: Option<u64>,
    /// Print what the collector did, on standard error
    #[arg(long)]
    stats: bool,
    /// Print a line for each collection, on standard error or to FILE: when, why, how long, what it left and did
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    gc_log: Option<PathBuf>,
    /// Write the pauses with their phases, the heap's size, the rate of allocation and the collector's counts to FILE, as trace events
    /// that https://ui.perfetto.dev opens
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Write /tmp/perf-PID.map, by which Linux's `perf` names the program's functions
    #[arg(long)]
    perfmap: bool,
    /// Write what the program can reach to FILE, at its end or at another moment: a .heapsnapshot, which Chrome's DevTools open, or a .dot
    #[arg(long, value_name = "FILE")]
    snapshot: Option<Target>,
    /// When the snapshot is taken: at the `end`; when the heap is `full`; after the Nth collection, `collection:N`; before the object with
    /// which so much has been allocated, `bytes:SIZE` [default: end]
    #[arg(long, value_name = "WHEN")]
    snapshot_at: Option<When>,
    #[command(flatten)]
    program: Program,
}

/// Collections that a trace has at the most: the last ones.
const TRACED: usize = 1 << 18;

impl Run {
    /// As `gleaner snapshot`: writes a snapshot, to a file beside the program's name if none is given.
    pub fn with_snapshot(mut self) -> Run {
        let stem = Path::new(self.program.file()).file_stem().unwrap_or_default();
        let file = Path::new(stem).with_extension("heapsnapshot");
        self.snapshot.get_or_insert(Target { file, format: Format::DevTools });
        self
    }

    pub fn execute(self) -> anyhow::Result<ExitCode> {
        if self.snapshot_at.is_some() && self.snapshot.is_none() {
            return Err(
                UsageError("`--snapshot-at` says when, and `--snapshot FILE` has to say where to".into()).into()
            );
        }
        self.limits.on_stack(|| self.run())?
    }

    fn run(&self) -> anyhow::Result<ExitCode> {
        let gc = self.gc.clone().unwrap_or_else(Gc::default);
        let profiler = if self.perfmap { Profiler::PerfMap } else { Profiler::None };
        let config = self.tuning.apply(self.checks.apply(self.limits.config(&gc)));
        let config = config.count_objects(self.stats).profiler(profiler);
        let config = config.epoch_interruption(self.timeout.is_some()).consume_fuel(self.fuel.is_some());
        let when = self.snapshot_at.unwrap_or_default();
        let config = config.observe_allocations(self.snapshot.is_some() && when.needs_allocations());
        let engine = Engine::with_config(config)?;
        let output = Output::stdout();
        let mut store = Store::new(&engine, ())?;
        if let Some(fuel) = self.fuel {
            store.set_fuel(fuel)?;
        }
        if let Some(time) = self.timeout {
            store.set_epoch_deadline(1);
            let engine = engine.clone();
            // Nobody waits for it: the process ends with the program.
            std::thread::spawn(move || {
                std::thread::sleep(time);
                engine.increment_epoch();
            });
        }
        let snapshot = self.snapshot.clone().map(|target| Request::new(target, when)).transpose()?;
        if let Some(snapshot) = &snapshot {
            snapshot.watch(&mut store);
        }
        let trace = self.watch_events(&mut store)?;
        let mut begin = Instant::now();
        let result = self.program.run(&mut store, &output, || begin = Instant::now());
        let end = Instant::now();
        if let Some(mut file) = trace {
            let events = store.take_events();
            let about =
                events::Run { program: self.program.file(), gc: &gc.spec, info: engine.gc().info(), begin, end };
            let written = events::write_trace(&mut file, &about, &events).and_then(|()| file.flush());
            written.with_context(|| self.trace.as_deref().unwrap_or(Path::new("")).display().to_string())?;
        }
        // What the program printed comes before what is said about it.
        let flushed = output.flush();
        if self.stats {
            eprint!("{}", show_stats(&gc.spec, engine.gc().info(), &store.stats()));
        }
        // A program that did not begin has nothing to show.
        let ran = result.as_ref().err().is_none_or(|error| {
            let kind = error.downcast_ref::<Error>().map(Error::kind);
            matches!(kind, Some(ErrorKind::Trap(_) | ErrorKind::Exception(_) | ErrorKind::Host(_)))
        });
        let snapshot = snapshot.filter(|_| ran).map_or(Ok(()), |request| self.end_snapshot(request, &mut store));
        let code = match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => match error.downcast_ref::<Error>().and_then(Error::host_error::<Exit>) {
                Some(Exit(code)) => ExitCode::from(*code as u8),
                None => {
                    if let Err(error) = snapshot {
                        eprintln!("error: {:#}", anyhow::Error::new(error));
                    }
                    return Err(describe_exception(error, &mut store));
                }
            },
        };
        flushed?;
        snapshot?;
        Ok(code)
    }

    /// Has the store note what happens, for a log that is written as it happens and a trace that is written at the end: to the file
    /// that is returned.
    fn watch_events(&self, store: &mut Store<()>) -> anyhow::Result<Option<BufWriter<File>>> {
        let open = |path: &Path| File::create(path).map(BufWriter::new).with_context(|| path.display().to_string());
        let trace = self.trace.as_deref().map(open).transpose()?;
        if trace.is_some() || self.gc_log.is_some() {
            // A log needs no memory of what it has written.
            store.record_events(if trace.is_some() { TRACED } else { 1 });
        }
        if let Some(path) = &self.gc_log {
            let mut to: Box<dyn Write + Send> =
                if path == Path::new("-") { Box::new(std::io::stderr()) } else { Box::new(open(path)?) };
            let (begin, names) = (Instant::now(), store.take_events().own_names);
            store.on_event(move |event| {
                if let Event::Collected(collection) = event {
                    // Whoever reads it may have gone: the program goes on.
                    let _ = writeln!(to, "{}", events::line(collection, &names, begin)).and_then(|()| to.flush());
                }
            });
        }
        Ok(trace)
    }

    /// Takes the snapshot if its moment is the end, and says what it holds.
    fn end_snapshot(&self, request: Request, store: &mut Store<()>) -> Result<(), SnapshotError> {
        let Summary { file, objects, bytes, dead_bytes } = request.end(store)?;
        let (objects, bytes, dead) = (text::count(objects), text::count(bytes), text::count(dead_bytes));
        eprintln!(
            "{}: {objects} objects of {bytes} bytes can be reached; {dead} bytes are dead and not freed",
            file.display()
        );
        Ok(())
    }
}

/// Adds what an uncaught exception carries.
fn describe_exception(error: anyhow::Error, store: &mut Store<()>) -> anyhow::Error {
    let Some(exception) = error.downcast_ref::<Error>().and_then(Error::uncaught).cloned() else { return error };
    let values = exception.values(&mut *store);
    if values.is_empty() {
        return error;
    }
    let values = values::show_all(&values, &*store);
    error.context(format!("an exception that carries {values}"))
}

/// What the collector did, as a table.
fn show_stats(spec: &str, info: &CollectorInfo, stats: &Stats) -> String {
    let (counters, usage, pauses) = (&stats.counters, &stats.usage, &stats.pauses);
    let mut table = table();
    let mut row = |name: &str, exact: String, human: String| {
        table.add_row([name, &exact, &human]);
    };
    row("collector", spec.into(), info.summary.into());
    row("collections", text::count(counters.collections), String::new());
    let times = [
        ("pauses, all together", pauses.total()),
        ("pause, median", pauses.quantile(0.5)),
        ("pause, longest", pauses.max()),
    ];
    row("pauses", text::count(pauses.all().len() as u64), String::new());
    for (name, time) in times {
        row(name, format!("{} ns", text::count(time.as_nanos() as u64)), text::duration(time));
    }
    let optional = |count: Option<u64>| count.map_or("not counted".into(), text::count);
    row("objects allocated", optional(counters.objects_allocated), String::new());
    row("objects freed", optional(counters.objects_freed), String::new());
    row("objects traced", text::count(counters.objects_traced), String::new());
    for (name, bytes) in [
        ("bytes allocated", counters.bytes_allocated),
        ("bytes freed", counters.bytes_freed),
        ("bytes copied", counters.bytes_copied),
        ("bytes live at the end", usage.live),
        ("bytes free", usage.free),
        ("bytes wasted", usage.waste),
        ("bytes committed", usage.committed),
        ("bytes of metadata", usage.metadata),
    ] {
        row(name, text::count(bytes), text::size(bytes));
    }
    for (kind, count) in RootKind::ALL.iter().zip(counters.roots) {
        row(&format!("roots visited, {}", kind.name()), text::count(count), String::new());
    }
    for (name, count) in &counters.own {
        row(name, text::count(*count), String::new());
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let lines = table.lines().map(|line| format!("{}\n", line.trim_end()));
    lines.collect()
}
