//! The command line: one file a subcommand.

mod bench;
mod characterise;
mod collectors;
mod compare;
mod compile;
mod heapmap;
mod invoke;
mod minheap;
mod new_collector;
mod paper;
mod program;
mod report;
mod run;
mod settings;
mod snapshot;
mod wast;

use crate::text;
use clap::{Args, Parser, Subcommand};
use engine::{Config, ErrorKind, TableInit, Zeal};
use gc_api::{GcRuntime, HeapPolicy};
use std::process::ExitCode;
use std::sync::Arc;

const ABOUT: &str = "A testbed for garbage collectors: runs WebAssembly GC programs with a collector of your choice";

const EXIT_CODES: &str = "\
Exit codes:
  0    all went well
  N    what the program gave to WASI's proc_exit
  1    an error: a file that cannot be read, an invalid module, missing imports, a failed assertion
  2    a wrong command line: an unknown collector, option, export or argument
  134  the program trapped, or did not catch an exception
  141  nobody reads the output any more";

/// What stands on the command line.
#[derive(Parser)]
#[command(name = "gleaner", version, about = ABOUT, after_help = EXIT_CODES, max_term_width = 120)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Run),
    Wast(wast::WastCommand),
    Collectors(collectors::CollectorsCommand),
    Compile(compile::Compile),
    NewCollector(new_collector::NewCollector),
    Snapshot(snapshot::Snapshot),
    Heapmap(heapmap::Heapmap),
    Settings(settings::SettingsCommand),
    Characterise(characterise::Characterise),
    Minheap(minheap::Minheap),
    Bench(Box<bench::Bench>),
    Compare(compare::Compare),
    Report(report::Report),
    Paper(paper::PaperCommand),
    #[command(hide = true)]
    Invoke(invoke::Invoke),
}

impl Cli {
    /// Does what the command line says.
    ///
    /// # Errors
    /// Whatever went wrong; [`exit_code`] says what the process ends with then.
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Run(command) => command.execute(),
            Command::Wast(command) => command.execute(),
            Command::Collectors(command) => command.execute(),
            Command::Compile(command) => command.execute(),
            Command::NewCollector(command) => command.execute(),
            Command::Heapmap(command) => command.execute(),
            Command::Snapshot(command) => command.execute(),
            Command::Settings(command) => command.execute(),
            Command::Characterise(command) => command.execute(),
            Command::Minheap(command) => command.execute(),
            Command::Bench(command) => command.execute(),
            Command::Compare(command) => command.execute(),
            Command::Report(command) => command.execute(),
            Command::Paper(command) => command.execute(),
            Command::Invoke(command) => command.execute(),
        }
    }
}

/// The command line does not fit the file it is about.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);

/// The code that the process ends with after an error.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.downcast_ref::<UsageError>().is_some() {
        return ExitCode::from(2);
    }
    match error.downcast_ref::<engine::Error>().map(engine::Error::kind) {
        Some(ErrorKind::Trap(_) | ErrorKind::Exception(_)) => ExitCode::from(134),
        _ => ExitCode::FAILURE,
    }
}

/// Whether an error is that nobody reads the output any more, which needs no message.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    causes.any(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// A collector with its options, as `--gc` takes it.
#[derive(Clone)]
struct Gc {
    /// As it was given.
    spec: String,
    runtime: Arc<dyn GcRuntime>,
}

impl Gc {
    fn parse(spec: &str) -> Result<Gc, String> {
        let runtime = crate::collectors::by_spec(spec).map_err(|error| error.to_string())?;
        Ok(Gc { spec: spec.into(), runtime })
    }

    fn default() -> Gc {
        Gc::parse(crate::collectors::DEFAULT.info.name).expect("a collector's options have defaults")
    }
}

/// What can be chosen about a program's memory.
#[derive(Args)]
struct Limits {
    /// How large the heap is, as in 64MiB, or may become, as in 8MiB..256MiB [default: 1MiB..4GiB]
    #[arg(long, value_name = "SIZE|MIN..MAX", value_parser = heap_range)]
    heap: Option<HeapRange>,
    /// How its size follows from what is live: `doubling`, `sqrt` or `membalancer`, or `fixed`, as large as it may be
    /// [default: `fixed` with `--heap SIZE`, else `doubling`]
    #[arg(long, value_name = "POLICY")]
    heap_policy: Option<HeapPolicy>,
    /// How deep calls may nest: the size of the program's stack [default: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = stack_size, default_value_t = STACK, hide_default_value = true)]
    stack: u64,
}

/// What finds mistakes of collectors and of the engine.
#[derive(Args, Clone, Copy)]
struct Checks {
    /// Collect more often than needed and more thoroughly: `alloc:N`, at every Nth allocation; `random:SEED:P`, with
    /// probability P; `move`, move whatever can move; `poison`, overwrite what is free
    #[arg(long, value_name = "MODE[,MODE]…")]
    zeal: Option<Zeal>,
    /// Check the collector before and after each collection by an independent trace; slow
    #[arg(long)]
    verify: bool,
}

impl Checks {
    fn apply(self, config: Config) -> Config {
        config.zeal(self.zeal.unwrap_or_default()).verify(self.verify)
    }
}

/// What can be chosen about the code, to compare.
#[derive(Args, Clone, Copy)]
struct Tuning {
    /// When function references in tables are made: at the first use, or at instantiation
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = When::Lazy)]
    table_init: When,
    /// Translate every call as a call, that of a small function too
    #[arg(long)]
    no_inlining: bool,
    /// Translate one iteration of every loop, of a short one too
    #[arg(long)]
    no_unrolling: bool,
    /// Let each `call_indirect` through a table that nothing can change remember what it called last
    #[arg(long)]
    call_indirect_cache: bool,
    /// Let relaxed vector instructions give the same results on every machine: those of the specification's deterministic profile
    #[arg(long)]
    relaxed_simd_deterministic: bool,
}

/// When function references are made.
#[derive(Clone, Copy, clap::ValueEnum)]
enum When {
    Lazy,
    Eager,
}

impl Tuning {
    fn apply(self, config: Config) -> Config {
        let config = config.inline_calls(!self.no_inlining).unroll_loops(!self.no_unrolling);
        let config = config.call_indirect_cache(self.call_indirect_cache);
        let config = config.relaxed_simd_deterministic(self.relaxed_simd_deterministic);
        config.table_init(match self.table_init {
            When::Lazy => TableInit::Lazy,
            When::Eager => TableInit::Eager,
        })
    }
}

/// The size of the program's stack, unless it is given.
const STACK: u64 = 64 << 20;

/// Bytes of stack that the engine and the host's functions may use above the program's.
const STACK_MARGIN: usize = 4 << 20;

impl Default for Limits {
    /// As without any flag.
    fn default() -> Limits {
        Limits { heap: None, heap_policy: None, stack: STACK }
    }
}

impl Limits {
    /// A configuration with these limits.
    fn config(&self, gc: &Gc) -> Config {
        let mut config = Config::new(gc.runtime.clone()).max_wasm_stack(self.stack as usize);
        if let Some(HeapRange { least, most }) = self.heap {
            let initial = least.unwrap_or(config.initial_heap).min(most);
            config = config.heap_limit(most).initial_heap(initial);
            if least.is_none() {
                config = config.heap_policy(HeapPolicy::Fixed);
            }
        }
        match self.heap_policy {
            Some(policy) => config.heap_policy(policy),
            None => config,
        }
    }

    /// Runs `f` on a thread with the stack that programs need.
    fn on_stack<R: Send>(&self, f: impl FnOnce() -> R + Send) -> anyhow::Result<R> {
        let size = self.stack as usize + STACK_MARGIN;
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("program".into()).stack_size(size).spawn_scoped(scope, f);
            let thread = thread.map_err(|error| {
                anyhow::Error::new(error).context(format!(
                    "a stack of {} cannot be had: ask for less with `--stack`",
                    text::size(self.stack)
                ))
            })?;
            Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    }
}

/// What `--heap` says.
#[derive(Clone, Copy)]
struct HeapRange {
    /// `None` when one size was given.
    least: Option<u64>,
    most: u64,
}

fn heap_range(text: &str) -> Result<HeapRange, String> {
    let Some((least, most)) = text.split_once("..") else {
        return Ok(HeapRange { least: None, most: heap_size(text)? });
    };
    let (least, most) = (heap_size(least)?, heap_size(most)?);
    if least > most {
        return Err(format!("a heap that has {} at least can't have {} at most", text::size(least), text::size(most)));
    }
    Ok(HeapRange { least: Some(least), most })
}

fn heap_size(text: &str) -> Result<u64, String> {
    const MIN: u64 = 64 << 10;
    match text::parse_size(text)? {
        bytes if bytes < MIN => Err(format!("a heap has {} at least", text::size(MIN))),
        bytes if bytes > 1 << 32 => Err("a heap has 4GiB at most: references are 32 bits wide".into()),
        // The whole index space cannot be used up to its end.
        bytes => Ok(bytes.min(u32::MAX.into())),
    }
}

fn stack_size(text: &str) -> Result<u64, String> {
    const RANGE: std::ops::RangeInclusive<u64> = 64 << 10..=64 << 30;
    let bytes = text::parse_size(text)?;
    if RANGE.contains(&bytes) {
        return Ok(bytes);
    }
    Err(format!("a stack has {} to {}", text::size(*RANGE.start()), text::size(*RANGE.end())))
}

/// `KEY=VALUE`, as `--env` and `--preload` take it.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err(format!("`{text}` is no `NAME=VALUE`")),
    }
}

/// A table in Gleaner's style.
fn table() -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING).set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    table
}

/// Writes to standard output: a closed pipe is an error, not a panic.
fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}
