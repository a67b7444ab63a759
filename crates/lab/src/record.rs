//! What one invocation leaves behind: a line of JSON.
//!
//! Fields whose names end in `_ns` are times and differ from run to run. So do `max_rss_bytes`, `started_unix` and [`Host::load`].
//! [Outcomes](Outcome), counters and the [columns](Collections) of collections other than times are exact: the same for the same program,
//! collector, options and heap on every machine.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The version of the format that this crate writes, and the only one that it reads.
pub const SCHEMA: &str = "gleaner.record/1";

/// An invocation: what ran, on what, with what, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: String,
    /// What it was for.
    pub purpose: Purpose,
    /// What it is a measurement of; invocations of the same configuration, program and heap are repetitions of each other.
    pub cell: Cell,
    /// Which repetition, from 0.
    pub invocation: u32,
    /// The seed of the order in which the plan's jobs ran.
    pub seed: u64,
    /// When it began, in seconds since 1970.
    pub started_unix: u64,
    /// What ran it.
    pub build: Build,
    /// Where it ran.
    pub host: Host,
    /// The program's file.
    pub program: ProgramFile,
    /// The heap.
    pub heap: Heap,
    /// How it ran.
    pub options: Options,
    /// What came of it.
    pub outcome: Outcome,
    /// Why, if not well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Each run of the program in this process, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub iterations: Vec<Iteration>,
    /// The machine code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// The most memory of the process that was resident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rss_bytes: Option<u64>,
}

/// Why an invocation took place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// To measure.
    Bench,
    /// To see whether the program runs in a heap of this size.
    Minheap,
}

/// What is measured: one point of an experiment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cell {
    /// The program, by name and size.
    pub program: String,
    /// The configuration, as the plan labels it: the collector's specification unless it says otherwise.
    pub config: String,
    /// The heap's limit in bytes.
    pub heap_bytes: u64,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} under {} in {} KiB", self.program, self.config, self.heap_bytes.div_ceil(1024))
    }
}

/// The build of Gleaner.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Build {
    /// Its version.
    pub version: String,
    /// The commit, with `+` when files had been changed; empty where none was known.
    pub commit: String,
    /// How Gleaner itself was compiled: `release` or `debug`.
    pub profile: String,
    /// The machine it was compiled for.
    pub target: String,
    /// SHA-256 of the executable, in hexadecimal digits.
    pub sha256: String,
}

/// The machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// The processor, by its maker's name.
    pub cpu: String,
    /// Logical processors.
    pub cores: usize,
    /// The system and its version.
    pub kernel: String,
    /// What decides the processor's frequency, where that is known.
    pub governor: Option<String>,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// The mean number of runnable processes in the minute before.
    pub load: f64,
}

/// The file of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramFile {
    /// Its path, as the plan names it.
    pub file: String,
    /// SHA-256 of its bytes, in hexadecimal digits.
    pub sha256: String,
    /// The function that was called; `_start` for a whole program.
    pub function: String,
    /// What it was given.
    pub args: Vec<String>,
    /// What the arguments behind the first mean, where that is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<String>,
}

/// The heap that was allowed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heap {
    /// The collector with its options.
    pub gc: String,
    /// The policy of its size.
    pub policy: String,
    /// Its limit as a multiple of [`Self::minimum_bytes`]; `None` where the plan gave bytes.
    pub multiple: Option<f64>,
    /// What 1 is a multiple of.
    pub minimum_bytes: Option<u64>,
}

/// How an invocation ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// The rule by which iterations are taken for warm-up.
    pub warmup: Warmup,
    /// Iterations that count.
    pub iterations: u32,
    /// After how many milliseconds it is ended.
    pub timeout_ms: u64,
    /// Whether objects were counted, which compiled code does.
    #[serde(default)]
    pub count_objects: bool,
    /// A cost that was added on purpose, to test the method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inject: Option<String>,
    /// Requests a second, for a program that serves them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
}

/// Which iterations are not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Warmup {
    /// The first so many.
    First(u32),
    /// All until one took within 2 % of the one before, but at most five.
    Auto,
}

/// What came of an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The program ran to its end and gave the right result.
    Ok,
    /// Its heap was too small.
    Oom,
    /// It took too long.
    Timeout,
    /// It trapped for another reason, or threw an exception that nothing caught.
    Trap,
    /// It gave a wrong result.
    Checkfail,
    /// The process ended without an answer: a panic, a signal.
    Crash,
    /// It could not begin: no such file, no valid module, missing imports.
    Error,
}

impl Outcome {
    /// A word for tables.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Oom => "oom",
            Outcome::Timeout => "timeout",
            Outcome::Trap => "trap",
            Outcome::Checkfail => "checkfail",
            Outcome::Crash => "crash",
            Outcome::Error => "error",
        }
    }
}

/// One run of the program, in a store of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Iteration {
    /// Whether it only warmed up.
    pub warmup: bool,
    /// From the first instruction to the last.
    pub wall_ns: u64,
    /// Of the processors, all threads together.
    pub task_ns: u64,
    /// While the program was stopped: all pauses together.
    pub gc_ns: u64,
    /// Of the processors for collections. Pauses are taken to have had the same share of a processor as the program; what other
    /// threads took is the collector's.
    pub gc_task_ns: u64,
    /// Time in each phase of collections, by its name.
    pub phases_ns: BTreeMap<String, u64>,
    /// Exact counts of work.
    pub counters: BTreeMap<String, u64>,
    /// Bytes of heap that were committed, at the most.
    pub peak_committed_bytes: u64,
    /// Bytes of side tables, buffers and lists at the end.
    pub metadata_bytes: u64,
    /// The collections.
    pub collections: Collections,
    /// Requests, for a program that serves them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
}

impl Iteration {
    /// The time in which the program ran.
    pub fn mutator_ns(&self) -> u64 {
        self.wall_ns.saturating_sub(self.gc_ns)
    }
}

/// The collections of an iteration, by columns: each has an entry a collection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collections {
    /// Collections that were forgotten since there were too many: the first ones.
    pub dropped: u64,
    /// A hash of the columns that are exact. They are the same in each invocation and stand in the first one alone.
    pub digest: String,
    /// When the program stopped, since it began.
    pub start_ns: Vec<u64>,
    /// For how long.
    pub pause_ns: Vec<u64>,
    /// What is exact, where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<ExactColumns>,
}

/// What is exact about collections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExactColumns {
    /// `minor`, `major` or `cycle`.
    pub kind: Vec<String>,
    /// `allocation`, `explicit`, `zeal` or `collector`.
    pub cause: Vec<String>,
    /// Roots visited.
    pub roots: Vec<u64>,
    /// Objects traced.
    pub objects_traced: Vec<u64>,
    /// Bytes copied.
    pub bytes_copied: Vec<u64>,
    /// Bytes freed.
    pub bytes_freed: Vec<u64>,
    /// Bytes in objects that had not been freed afterwards.
    pub live_bytes: Vec<u64>,
    /// Bytes allocated since the program began.
    pub allocated_bytes: Vec<u64>,
    /// Bytes committed before.
    pub committed_bytes: Vec<u64>,
}

/// How long requests took, as histograms of nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Requests a second that arrived.
    pub rate: u64,
    /// From when a request was taken up to its answer.
    pub simple_ns: Histogram,
    /// From when it arrived to its answer, whatever kept it waiting.
    pub metered_ns: Histogram,
}

/// Values and how often each was seen, in rising order; values are precise to three digits.
pub type Histogram = Vec<(u64, u64)>;

/// The machine code of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// Its size.
    pub bytes: u64,
    /// How long it took to make.
    pub compile_ns: u64,
}

impl Record {
    /// The iterations that count.
    pub fn timed(&self) -> impl Iterator<Item = &Iteration> {
        self.iterations.iter().filter(|iteration| !iteration.warmup)
    }

    /// The mean over the iterations that count; `None` when the invocation failed.
    pub fn mean(&self, value: impl Fn(&Iteration) -> f64) -> Option<f64> {
        let (sum, count) =
            self.timed().fold((0.0, 0u32), |(sum, count), iteration| (sum + value(iteration), count + 1));
        (self.outcome == Outcome::Ok && count > 0).then(|| sum / f64::from(count))
    }
}

#[cfg(test)]
pub(crate) mod samples {
    use super::*;

    /// A record of an invocation that took a millisecond and collected nothing.
    pub(crate) fn record(program: &str, config: &str, invocation: u32) -> Record {
        let iteration = Iteration { wall_ns: 1_000_000, task_ns: 1_000_000, ..Iteration::default() };
        Record {
            schema: SCHEMA.into(),
            purpose: Purpose::Bench,
            cell: Cell { program: program.into(), config: config.into(), heap_bytes: 1 << 20 },
            invocation,
            seed: 1,
            started_unix: 0,
            build: Build {
                version: "0".into(),
                commit: String::new(),
                profile: "release".into(),
                target: "x86_64".into(),
                sha256: "00".into(),
            },
            host: Host {
                cpu: "a processor".into(),
                cores: 2,
                kernel: "a kernel".into(),
                governor: None,
                memory_bytes: 1 << 30,
                load: 0.0,
            },
            program: ProgramFile {
                file: "p.wat".into(),
                sha256: "11".into(),
                function: "run".into(),
                args: vec![],
                parameters: vec![],
            },
            heap: Heap { gc: config.into(), policy: "fixed".into(), multiple: None, minimum_bytes: None },
            options: Options {
                warmup: Warmup::First(0),
                iterations: 1,
                timeout_ms: 1000,
                count_objects: false,
                inject: None,
                rate: None,
            },
            outcome: Outcome::Ok,
            error: None,
            iterations: vec![iteration],
            code: None,
            max_rss_bytes: None,
        }
    }
}
