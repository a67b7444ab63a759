//! `gleaner bench`: runs an experiment.

use super::invoke::build;
use super::{UsageError, table};
use crate::collectors::{self, inject};
use crate::text;
use clap::Args;
use gc_api::Reclaims;
use lab::bench::{Runner, Summary};
use lab::files::{OnDamage, Records};
use lab::launch::Launcher;
use lab::minheap;
use lab::noise::NoiseFloor;
use lab::plan::{self, Config, HeapSize, Job, Minima, Plan, Relative};
use lab::programs::{Program, Set, Size};
use lab::record::{Record, Warmup};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Run an experiment: programs × collectors × heap sizes, a process for each invocation, a record of each
#[derive(Args)]
#[command(after_help = "\
Each invocation is a process of its own and leaves a record, one line of JSON, in DIR/bench.jsonl. The same command goes on where it was
stopped. Repetition by repetition, all configurations run in a seeded random order, so that what changes on the machine hits all alike.
Failures are records, too: out of heap, out of time, a trap, a wrong result, a crash; after two without a success a configuration is left out.

Heap sizes are multiples of the smallest heap, which `gleaner minheap` searches and leaves in DIR/minheap.jsonl, or sizes. A collector that
frees nothing has the largest heap there is: it is the baseline of overheads.

A plan is a file in TOML with the names of these flags; flags come before what stands in it:

    programs = [\"core\"]
    gc = [\"semispace\", \"immix\", \"small=generational:nursery=256KiB\"]
    heap = [1, 1.5, 2, 3, \"64MiB\"]
    invocations = 10

On several machines: `--plan jobs.jsonl` writes the list of jobs, and `--plan jobs.jsonl --job N` runs one of them, wherever; files of
records are joined by `cat`.")]
pub struct Bench {
    #[command(flatten)]
    what: What,
    /// Heap limits: multiples of the smallest heap, as in 1.5x, or sizes, as in 64MiB
    #[arg(long, value_name = "SIZE,…", value_delimiter = ',')]
    heap: Vec<HeapSize>,
    /// What multiples are of: the smallest minimum of all collectors (`best`) or each one's `own`
    #[arg(long, value_name = "WHOSE", value_parser = relative)]
    relative: Option<Relative>,
    /// How a heap's size follows from what is live, within its limit [default: fixed]
    #[arg(long, value_name = "POLICY")]
    heap_policy: Option<gc_api::HeapPolicy>,
    /// Repetitions, each a process; with --until-ci the fewest [default: 10]
    #[arg(long, value_name = "N")]
    invocations: Option<u32>,
    /// Runs of the program in each process that count [default: 1]
    #[arg(long, value_name = "N")]
    iterations: Option<u32>,
    /// Runs before them that do not, or `auto`: until one takes within 2 % of the one before [default: 1]
    #[arg(long, value_name = "N|auto", value_parser = warmup)]
    warmup: Option<Warmup>,
    /// Repeat until the confidence interval of each mean time is this share of it to either side, as in 1%
    #[arg(long, value_name = "SHARE", value_parser = share)]
    until_ci: Option<f64>,
    /// Repetitions at the most, with --until-ci [default: 100]
    #[arg(long, value_name = "N")]
    max_invocations: Option<u32>,
    /// The seed of the order in which invocations run [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Requests that arrive in a second, for programs that serve them and are named without a rate: `requests@20000`
    #[arg(long, value_name = "N")]
    rate: Option<u64>,
    /// Count objects, too: in compiled code, which costs time
    #[arg(long)]
    count_objects: bool,
    /// Add a known cost to a configuration, to see whether it is found: `barrier=N`, N multiplications at each store of a reference;
    /// `pause=Nus`, sleep in each collection
    #[arg(long, value_name = "LABEL=COSTS", value_parser = super::pair)]
    inject: Vec<(String, String)>,
    /// Run all configurations with this executable, too; its label comes before theirs, as in head/drc
    #[arg(long, value_name = "LABEL=FILE", value_parser = super::pair)]
    exe: Vec<(String, String)>,
    /// Write the list of jobs to FILE and run none; with --job, run one of them
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Run job number N of the list given by --plan, and write its record to DIR/job-N.jsonl
    #[arg(long, value_name = "N", requires = "plan")]
    job: Option<usize>,
}

/// What is measured: shared by `bench` and `minheap`.
#[derive(Args)]
pub struct What {
    /// What to run, instead of or besides the flags: a file in TOML
    plan_file: Option<PathBuf>,
    /// Programs: names as in benches/programs, with a size as in `splay=500`; `core`, thirteen of them; `all`; or files, as in
    /// prog.wasm:run:500 [default: core]
    #[arg(long, value_name = "NAME,…", value_delimiter = ';')]
    programs: Vec<String>,
    /// Sizes of programs that are named without one [default: default]
    #[arg(long, value_name = "small|default", value_parser = size)]
    size: Option<Size>,
    /// Collectors with their options, separated by commas, each with a label before it if it is to have another name, as in
    /// small=generational:nursery=256KiB; `all` [default: all]
    #[arg(long, value_name = "[LABEL=]SPEC,…", value_delimiter = ',')]
    gc: Vec<String>,
    /// After how long an invocation is ended [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = text::parse_duration)]
    timeout: Option<Duration>,
    /// The folder with the lists of programs
    #[arg(long, value_name = "DIR", default_value = "benches")]
    set: PathBuf,
    /// Where records go
    #[arg(long, short, value_name = "DIR", default_value = "lab")]
    output: PathBuf,
}

fn relative(text: &str) -> Result<Relative, String> {
    match text {
        "best" => Ok(Relative::Best),
        "own" => Ok(Relative::Own),
        _ => Err(format!("`{text}`: `best` or `own` goes here")),
    }
}

fn size(text: &str) -> Result<Size, String> {
    match text {
        "small" => Ok(Size::Small),
        "default" => Ok(Size::Default),
        _ => Err(format!("`{text}`: `small` or `default` goes here")),
    }
}

fn warmup(text: &str) -> Result<Warmup, String> {
    match text {
        "auto" => Ok(Warmup::Auto),
        _ => text
            .parse()
            .map(Warmup::First)
            .map_err(|_| format!("`{text}`: a number of iterations, or `auto`, goes here")),
    }
}

/// `1%` or `0.01`.
pub fn share(text: &str) -> Result<f64, String> {
    let number = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse().map(|percent: f64| percent / 100.0),
        None => text.parse(),
    };
    number
        .ok()
        .filter(|share| (0.0..1.0).contains(share))
        .ok_or_else(|| format!("`{text}` is no share: as in 1% or 0.01"))
}

impl What {
    /// The plan file with the flags put over it.
    pub fn plan(&self) -> anyhow::Result<Plan> {
        let mut plan = self.plan_file.as_deref().map(Plan::read).transpose()?.unwrap_or_default();
        if !self.programs.is_empty() {
            plan.programs = self.programs.iter().flat_map(|programs| split_programs(programs)).collect();
        }
        if let Some(size) = self.size {
            plan.size = size;
        }
        if !self.gc.is_empty() {
            plan.gc = self.gc.clone();
        }
        if plan.gc.is_empty() || plan.gc == ["all"] {
            plan.gc = collectors::names().map(String::from).collect();
        }
        if let Some(timeout) = self.timeout {
            plan.timeout = timeout.as_secs_f64();
        }
        Ok(plan)
    }

    /// The folder of records.
    pub fn folder(&self) -> &Path {
        &self.output
    }

    /// The programs of a plan.
    pub fn programs(&self, plan: &Plan) -> anyhow::Result<Vec<Program>> {
        plan.programs(&Set::open(&self.set)?)
    }
}

/// Names are separated by commas, and so are a program's size and its parameter: what is a number belongs to the name before it.
fn split_programs(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for part in text.split(',') {
        match names.last_mut() {
            Some(last) if part.parse::<i64>().is_ok() && last.contains(['=', ':']) => *last += &format!(",{part}"),
            _ => names.push(part.into()),
        }
    }
    names
}

/// The configurations that a plan's collectors are, checked.
pub fn configs(plan: &Plan) -> anyhow::Result<Vec<Config>> {
    let mut configs: Vec<Config> = Vec::new();
    for text in &plan.gc {
        let (label, spec) = plan::label(text);
        let runtime = collectors::by_spec(spec)?;
        let config = Config {
            label: label.into(),
            gc: spec.into(),
            reclaims: runtime.info().reclaims != Reclaims::Nothing,
            exe: None,
        };
        if configs.iter().any(|known| known.label == config.label) {
            return Err(UsageError(format!(
                "two configurations are called `{label}`: put a label before one, as in a={spec}"
            ))
            .into());
        }
        configs.push(config);
    }
    for (label, costs) in &plan.inject {
        costs.parse::<inject::Costs>()?;
        if !configs.iter().any(|config| config.label == *label) {
            return Err(
                UsageError(format!("costs are to be added to `{label}`, which is none of the configurations")).into()
            );
        }
    }
    Ok(configs)
}

/// What starts invocations: this executable.
pub fn launcher() -> anyhow::Result<Launcher> {
    Launcher::new(&std::env::current_exe()?, &["invoke"], build())
}

impl Bench {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        if let (Some(list), Some(n)) = (&self.plan, self.job) {
            return self.run_job(list, n);
        }
        let plan = self.make_plan()?;
        let jobs = self.jobs(&plan)?;
        if let Some(list) = &self.plan {
            plan::write_jobs(list, &jobs)?;
            eprintln!("{}: {} jobs; `gleaner bench --plan {0} --job N -o DIR` runs one", list.display(), jobs.len());
            return Ok(ExitCode::SUCCESS);
        }
        let mut runner = Runner::open(self.what.folder(), "bench.jsonl", launcher()?)?;
        let summary = runner.bench(&plan, jobs)?;
        report(&summary, NoiseFloor::of(runner.records()), self.what.folder());
        Ok(ExitCode::SUCCESS)
    }

    /// The plan file with the flags put over it.
    fn make_plan(&self) -> anyhow::Result<Plan> {
        let mut plan = self.what.plan()?;
        fn set<T: Clone>(to: &mut T, from: &Option<T>) {
            if let Some(value) = from {
                *to = value.clone();
            }
        }
        if !self.heap.is_empty() {
            plan.heap = self.heap.clone();
        }
        set(&mut plan.relative, &self.relative);
        set(&mut plan.policy, &self.heap_policy.map(|policy| policy.name().to_string()));
        set(&mut plan.invocations, &self.invocations);
        set(&mut plan.iterations, &self.iterations);
        set(&mut plan.warmup, &self.warmup);
        set(&mut plan.max_invocations, &self.max_invocations);
        set(&mut plan.seed, &self.seed);
        plan.until_ci = self.until_ci.or(plan.until_ci);
        plan.rate = self.rate.or(plan.rate);
        plan.count_objects |= self.count_objects;
        plan.inject.extend(self.inject.iter().cloned());
        if plan.invocations == 0 || plan.iterations == 0 {
            return Err(UsageError("an experiment has at least one invocation of one iteration".into()).into());
        }
        Ok(plan)
    }

    fn jobs(&self, plan: &Plan) -> anyhow::Result<Vec<Job>> {
        let mut all = configs(plan)?;
        for (label, exe) in &self.exe {
            let own: Vec<Config> = all.iter().filter(|config| config.exe.is_none()).cloned().collect();
            all.extend(own.into_iter().map(|config| Config {
                label: format!("{label}/{}", config.label),
                exe: Some(exe.into()),
                ..config
            }));
        }
        plan.jobs(&self.what.programs(plan)?, &all, &self.minima(plan)?)
    }

    /// The smallest heaps, where sizes are multiples of them.
    fn minima(&self, plan: &Plan) -> anyhow::Result<Minima> {
        let relative = plan.heap.iter().any(|size| matches!(size, HeapSize::Multiple(_)));
        let path = self.what.folder().join("minheap.jsonl");
        if !relative || !path.exists() {
            return Ok(Minima::new());
        }
        Ok(minheap::sizes(&Records::read(&[path], OnDamage::Skip)?.records))
    }

    fn run_job(&self, list: &Path, n: usize) -> anyhow::Result<ExitCode> {
        let job = plan::read_job(list, n)?;
        let mut runner = Runner::open_file(self.what.folder(), &format!("job-{n}.jsonl"), launcher()?)?;
        let record = runner.run(&job)?;
        super::print(&format!("{}: {}\n", record.cell, said(record)))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// An outcome with its reason.
fn said(record: &Record) -> String {
    match &record.error {
        Some(error) => format!("{}: {error}", record.outcome.name()),
        None => record.outcome.name().into(),
    }
}

/// What a run came to, for the person who waited for it.
fn report(summary: &Summary, noise: Option<NoiseFloor>, folder: &Path) {
    let outcomes: Vec<String> = summary.outcomes.iter().map(|(name, count)| format!("{count} {name}")).collect();
    let mut counts = table();
    counts.add_row(["invocations that ran", &text::count(summary.ran as u64)]);
    counts.add_row(["that had run before", &text::count(summary.found as u64)]);
    counts.add_row(["left out after two failures", &text::count(summary.skipped as u64)]);
    counts.add_row(["outcomes", &outcomes.join(", ")]);
    if let Some(noise) = noise {
        counts.add_row(["noise floor of times", &noise.to_string()]);
    }
    eprintln!("{counts}\nrecords are in {}; `gleaner report {0} -o report.html` shows them", folder.display());
}
