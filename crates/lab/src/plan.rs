//! What an experiment consists of: programs × configurations × heap sizes × invocations, and the jobs that follow from it.

use crate::programs::{Program, Set, Size};
use crate::record::{Cell, Options, Purpose, Warmup};
use crate::text::parse_size;
use anyhow::{Context, bail};
use rand::seq::SliceRandom;
use rand::{SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// An experiment, as a file in TOML or a command line describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    /// Programs: see [`Set::select`].
    pub programs: Vec<String>,
    /// Sizes of programs that are named without one.
    pub size: Size,
    /// Collectors with their options, each with a label before it if the specification is not to be it: `base=drc:width=4`.
    pub gc: Vec<String>,
    /// Heap limits: multiples of the minimum (`2`) or sizes (`"64MiB"`). A collector that frees nothing gets the largest heap there is.
    pub heap: Vec<HeapSize>,
    /// What multiples are of.
    pub relative: Relative,
    /// How a heap's size follows from what is live, within its limit: `fixed`, `doubling`, `sqrt` or `membalancer`.
    pub policy: String,
    /// Processes that measure each cell; with `until_ci` the fewest.
    pub invocations: u32,
    /// Runs of the program in a process that count.
    pub iterations: u32,
    /// Runs of the program before them.
    pub warmup: Warmup,
    /// Go on with a cell until the confidence interval of its time is this share of the mean to either side, as in 0.01.
    pub until_ci: Option<f64>,
    /// Processes that measure a cell at the most.
    pub max_invocations: u32,
    /// After how long an invocation is ended, in seconds.
    pub timeout: f64,
    /// Of the order in which jobs run.
    pub seed: u64,
    /// Requests a second, for programs that serve them and are named without a rate.
    pub rate: Option<u64>,
    /// Count objects, too: in compiled code, which costs time.
    pub count_objects: bool,
    /// Costs that are added on purpose to test the method, by label of configuration.
    pub inject: BTreeMap<String, String>,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            programs: vec!["core".into()],
            size: Size::Default,
            gc: Vec::new(),
            heap: [1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0].map(HeapSize::Multiple).to_vec(),
            relative: Relative::Best,
            policy: "fixed".into(),
            invocations: 10,
            iterations: 1,
            warmup: Warmup::First(1),
            until_ci: None,
            max_invocations: 100,
            timeout: 60.0,
            seed: 1,
            rate: None,
            count_objects: false,
            inject: BTreeMap::new(),
        }
    }
}

/// A heap's limit, as a plan gives it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "HeapText", into = "HeapText")]
pub enum HeapSize {
    /// So many times the minimum.
    Multiple(f64),
    /// So many bytes.
    Bytes(u64),
}

/// A heap's limit in a file.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum HeapText {
    Integer(u64),
    Number(f64),
    Text(String),
}

impl TryFrom<HeapText> for HeapSize {
    type Error = String;

    fn try_from(text: HeapText) -> Result<HeapSize, String> {
        match text {
            HeapText::Integer(number) => HeapSize::multiple(number as f64),
            HeapText::Number(number) => HeapSize::multiple(number),
            HeapText::Text(text) => text.parse(),
        }
    }
}

impl From<HeapSize> for HeapText {
    fn from(size: HeapSize) -> HeapText {
        match size {
            HeapSize::Multiple(number) => HeapText::Number(number),
            HeapSize::Bytes(bytes) => HeapText::Text(bytes.to_string() + "B"),
        }
    }
}

impl HeapSize {
    fn multiple(number: f64) -> Result<HeapSize, String> {
        if number.is_finite() && (0.1..=1e6).contains(&number) {
            return Ok(HeapSize::Multiple(number));
        }
        Err(format!("{number} is no multiple of a minimum heap: a number from 0.1 on goes here"))
    }
}

impl std::str::FromStr for HeapSize {
    type Err = String;

    fn from_str(text: &str) -> Result<HeapSize, String> {
        if let Ok(number) = text.trim_end_matches('x').parse() {
            return HeapSize::multiple(number);
        }
        match parse_size(text)? {
            0 => Err(format!("`{text}` is no heap size: more than nothing goes here")),
            // 4 GiB, as people say it, is a byte more than indices reach.
            bytes if bytes <= LARGEST + 1 => Ok(HeapSize::Bytes(bytes.min(LARGEST))),
            _ => Err(format!("`{text}` is no heap size: 4GiB at most, since references are 32 bits wide")),
        }
    }
}

/// The largest heap: references are 32 bits wide.
pub const LARGEST: u64 = u32::MAX as u64;

/// What heap multiples are multiples of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Relative {
    /// The smallest minimum of all collectors of the plan: one size for all, at which some may fail.
    #[default]
    Best,
    /// The collector's own minimum: all fit, in heaps of different sizes.
    Own,
}

/// A collector, as a plan names it and the command line understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The name in tables.
    pub label: String,
    /// The collector with its options.
    pub gc: String,
    /// Whether it ever frees anything.
    pub reclaims: bool,
    /// Another build of Gleaner that is to run it.
    pub exe: Option<PathBuf>,
}

/// Splits `LABEL=SPEC`; options of a specification have their `=` behind a `:`.
pub fn label(text: &str) -> (&str, &str) {
    match text.split_once('=') {
        Some((label, spec)) if !label.contains(':') => (label, spec),
        _ => (text, text),
    }
}

/// The smallest heaps, in bytes, by program and collector.
pub type Minima = BTreeMap<(String, String), u64>;

/// One invocation that is to take place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Why.
    pub purpose: Purpose,
    /// What it measures.
    pub cell: Cell,
    /// Which repetition.
    pub invocation: u32,
    /// Of the order.
    pub seed: u64,
    /// What runs.
    pub program: Program,
    /// The collector with its options.
    pub gc: String,
    /// The heap's policy.
    pub policy: String,
    /// The heap's limit as a multiple of the minimum.
    pub multiple: Option<f64>,
    /// What 1 is a multiple of.
    pub minimum_bytes: Option<u64>,
    /// How.
    pub options: Options,
    /// Another build that is to run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exe: Option<PathBuf>,
}

impl Job {
    /// What tells it from all other jobs.
    pub fn key(&self) -> (Purpose, Cell, u32) {
        (self.purpose, self.cell.clone(), self.invocation)
    }
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// A file that cannot be read or says what no plan says, with the place.
    pub fn read(path: &Path) -> anyhow::Result<Plan> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        toml::from_str(&text).with_context(|| path.display().to_string())
    }

    /// The options of its invocations under a configuration.
    fn options(&self, config: &str, program: &Program) -> Options {
        Options {
            warmup: self.warmup,
            iterations: self.iterations,
            timeout_ms: (self.timeout * 1e3) as u64,
            count_objects: self.count_objects,
            inject: self.inject.get(config).cloned(),
            rate: program.rate,
        }
    }

    /// Its programs.
    ///
    /// # Errors
    /// One that is not in the set.
    pub fn programs(&self, set: &Set) -> anyhow::Result<Vec<Program>> {
        let mut programs: Vec<Program> = Vec::new();
        for spec in &self.programs {
            for mut program in set.select(spec, self.size)? {
                if let Some(rate) = self.rate.filter(|_| program.serves && program.rate.is_none()) {
                    program = program.at_rate(rate)?;
                }
                if !programs.iter().any(|known| known.name == program.name) {
                    programs.push(program);
                }
            }
        }
        if programs.is_empty() {
            bail!("the plan has no programs: name some, or `core`");
        }
        Ok(programs)
    }

    /// The jobs of one repetition of each cell, as [Self::jobs] orders them.
    fn cells(&self, programs: &[Program], configs: &[Config], minima: &Minima) -> anyhow::Result<Vec<(usize, Job)>> {
        let mut cells: Vec<(usize, Job)> = Vec::new();
        let ranks = fill_in(self.heap.len());
        for program in programs {
            for config in configs {
                let minimum = self.minimum(program, config, configs, minima);
                for (rank, size) in ranks.iter().zip(&self.heap) {
                    let (bytes, multiple) = match *size {
                        _ if !config.reclaims => (LARGEST, None),
                        HeapSize::Bytes(bytes) => (bytes, None),
                        HeapSize::Multiple(multiple) => {
                            let minimum = minimum.with_context(|| {
                                format!(
                                    "the smallest heap of {} is not known: `gleaner minheap` searches for it, or give heap sizes in bytes",
                                    program.name
                                )
                            })?;
                            // Whole KiB, as the minimum is searched.
                            let bytes = (minimum as f64 * multiple / 1024.0).round() as u64 * 1024;
                            (bytes.min(LARGEST), Some(multiple))
                        }
                    };
                    let cell = Cell { program: program.name.clone(), config: config.label.clone(), heap_bytes: bytes };
                    if cells.iter().any(|(_, known)| known.cell == cell) {
                        continue;
                    }
                    let job = Job {
                        purpose: Purpose::Bench,
                        cell,
                        invocation: 0,
                        seed: self.seed,
                        program: program.clone(),
                        gc: config.gc.clone(),
                        policy: self.policy.clone(),
                        multiple,
                        minimum_bytes: multiple.and(minimum),
                        options: self.options(&config.label, program),
                        exe: config.exe.clone(),
                    };
                    cells.push((*rank, job));
                }
            }
        }
        Ok(cells)
    }

    /// What multiples are of, for a program under a configuration.
    fn minimum(&self, program: &Program, config: &Config, configs: &[Config], minima: &Minima) -> Option<u64> {
        let of = |gc: &str| minima.get(&(program.name.clone(), gc.to_string())).copied();
        match self.relative {
            Relative::Own => of(&config.gc),
            Relative::Best => configs.iter().filter(|config| config.reclaims).filter_map(|config| of(&config.gc)).min(),
        }
    }

    /// All jobs, in the order in which they are to run: repetition by repetition, within each in a seeded random order; in the first
    /// one the smallest, the largest and the middle heaps come first, so that a trend is seen early. With [`Self::until_ci`] these are
    /// the fewest, and [`Self::max_invocations`] the most.
    ///
    /// # Errors
    /// A heap multiple of a minimum that is not known.
    pub fn jobs(&self, programs: &[Program], configs: &[Config], minima: &Minima) -> anyhow::Result<Vec<Job>> {
        let cells = self.cells(programs, configs, minima)?;
        Ok((0..self.invocations).flat_map(|invocation| self.repetition(&cells, invocation)).collect())
    }

    /// One repetition of each of `cells`.
    fn repetition(&self, cells: &[(usize, Job)], invocation: u32) -> Vec<Job> {
        let mut order: Vec<&(usize, Job)> = cells.iter().collect();
        order
            .shuffle(&mut StdRng::seed_from_u64(self.seed ^ u64::from(invocation).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        if invocation == 0 {
            order.sort_by_key(|(rank, _)| *rank);
        }
        order.into_iter().map(|(_, job)| Job { invocation, ..job.clone() }).collect()
    }

    /// One more repetition of each of the `jobs`' cells, in an order of its own.
    pub fn more(&self, jobs: &[Job], invocation: u32) -> Vec<Job> {
        let cells: Vec<(usize, Job)> = jobs.iter().map(|job| (0, job.clone())).collect();
        self.repetition(&cells, invocation)
    }
}

/// The order in which `n` sizes are visited: the ends, the middle, the middles of what is left. Gives each size's round.
fn fill_in(n: usize) -> Vec<usize> {
    let mut ranks = vec![usize::MAX; n];
    let mut round = 0;
    let mut gaps: Vec<(usize, usize)> = Vec::new();
    if n > 0 {
        ranks[0] = 0;
        ranks[n - 1] = 0;
        gaps.push((0, n - 1));
    }
    while !gaps.is_empty() {
        round += 1;
        for (low, high) in std::mem::take(&mut gaps) {
            let middle = low.midpoint(high);
            if middle > low && middle < high {
                ranks[middle] = round;
                gaps.extend([(low, middle), (middle, high)]);
            }
        }
    }
    ranks
}

/// Writes a list of jobs, one a line, for a machine that runs them one by one.
///
/// # Errors
/// The system's.
pub fn write_jobs(path: &Path, jobs: &[Job]) -> anyhow::Result<()> {
    let mut text = String::new();
    for job in jobs {
        text += &serde_json::to_string(job)?;
        text.push('\n');
    }
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

/// Reads job number `n`, counted from 1 as lines and Slurm's job arrays are.
///
/// # Errors
/// A number beyond the list's end, or a line that is no job.
pub fn read_job(path: &Path, n: usize) -> anyhow::Result<Job> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let lines = text.lines().count();
    let line = n.checked_sub(1).and_then(|n| text.lines().nth(n));
    let line = line.with_context(|| format!("{} has jobs 1 to {lines}: there is no job {n}", path.display()))?;
    serde_json::from_str(line).with_context(|| format!("{}:{n}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programs::Expected;

    fn program(name: &str) -> Program {
        Program {
            name: name.into(),
            file: "x.wat".into(),
            function: "run".into(),
            args: vec![],
            parameters: vec![],
            expected: Expected::Unknown,
            serves: false,
            rate: None,
        }
    }

    fn config(label: &str, reclaims: bool) -> Config {
        Config { label: label.into(), gc: label.into(), reclaims, exe: None }
    }

    fn minima(all: &[(&str, &str, u64)]) -> Minima {
        all.iter().map(|(program, gc, bytes)| ((program.to_string(), gc.to_string()), *bytes)).collect()
    }

    #[test]
    fn the_plans_beside_the_programs_are_of_them() {
        let benches = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../benches"));
        let set = Set::open(benches).unwrap();
        let files: Vec<PathBuf> =
            benches.join("plans").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!files.is_empty());
        for file in files {
            let plan = Plan::read(&file).unwrap();
            assert_eq!(plan.programs(&set).unwrap().len(), plan.programs.len(), "{}", file.display());
        }
    }

    #[test]
    fn ends_come_first_then_middles() {
        assert_eq!(fill_in(7), [0, 2, 3, 1, 2, 3, 0]);
        assert_eq!(fill_in(1), [0]);
        assert_eq!(fill_in(2), [0, 0]);
        assert!(fill_in(100).iter().all(|rank| *rank < 8));
    }

    #[test]
    fn heaps_are_multiples_of_the_smallest_minimum_or_of_ones_own() {
        let (programs, configs) = ([program("p")], [config("a", true), config("b", true), config("none", false)]);
        let minima = minima(&[("p", "a", 100 << 10), ("p", "b", 200 << 10)]);
        let mut plan = Plan { heap: vec![HeapSize::Multiple(1.5)], invocations: 1, ..Plan::default() };
        let sizes = |plan: &Plan| {
            let mut jobs = plan.jobs(&programs, &configs, &minima).unwrap();
            jobs.sort_by_key(|job| job.cell.clone());
            jobs.iter().map(|job| job.cell.heap_bytes).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&plan), [150 << 10, 150 << 10, LARGEST]);
        plan.relative = Relative::Own;
        assert_eq!(sizes(&plan), [150 << 10, 300 << 10, LARGEST]);
        let error = plan.jobs(&[program("q")], &configs, &minima).unwrap_err().to_string();
        assert!(error.contains("smallest heap of q") && error.contains("minheap"), "{error}");
    }

    #[test]
    fn the_order_is_random_within_a_repetition_and_follows_from_the_seed() {
        let programs: Vec<Program> = (0..20).map(|i| program(&format!("p{i}"))).collect();
        let plan = Plan { heap: vec![HeapSize::Bytes(1 << 20)], invocations: 3, ..Plan::default() };
        let names = |plan: &Plan| {
            let jobs = plan.jobs(&programs, &[config("a", true)], &Minima::new()).unwrap();
            jobs.chunks(20)
                .map(|all| all.iter().map(|job| job.cell.program.clone()).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        };
        let orders = names(&plan);
        assert_eq!(orders, names(&plan));
        assert_ne!(orders[1], orders[2]);
        assert_ne!(orders, names(&Plan { seed: 2, ..plan.clone() }));
        let mut sorted = orders.clone();
        sorted.iter_mut().for_each(|order| order.sort());
        assert!(sorted.iter().all(|order| *order == sorted[0]), "each repetition has each cell");
    }

    #[test]
    fn plans_are_read_with_their_mistakes_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.toml");
        std::fs::write(
            &path,
            "programs = [\"splay\"]\ngc = [\"drc\"]\nheap = [1, 1.5, \"64MiB\"]\nwarmup = \"auto\"\n",
        )
        .unwrap();
        let plan = Plan::read(&path).unwrap();
        assert_eq!(plan.heap, [HeapSize::Multiple(1.0), HeapSize::Multiple(1.5), HeapSize::Bytes(64 << 20)]);
        assert_eq!(plan.warmup, Warmup::Auto);
        for (text, named) in
            [("heaps = [1]\n", "heaps"), ("heap = [\"64 parsecs\"]\n", "64 parsecs"), ("heap = [0]\n", "multiple")]
        {
            std::fs::write(&path, text).unwrap();
            let error = format!("{:#}", Plan::read(&path).unwrap_err());
            assert!(error.contains("plan.toml") && error.contains(named), "{error}");
        }
    }

    #[test]
    fn labels_are_told_from_options() {
        assert_eq!(label("base=drc:width=4"), ("base", "drc:width=4"));
        assert_eq!(label("drc:width=4"), ("drc:width=4", "drc:width=4"));
        assert_eq!(label("drc"), ("drc", "drc"));
    }

    #[test]
    fn jobs_survive_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.jsonl");
        let plan = Plan { heap: vec![HeapSize::Bytes(1 << 20)], invocations: 2, ..Plan::default() };
        let jobs = plan.jobs(&[program("p")], &[config("a", true)], &Minima::new()).unwrap();
        write_jobs(&path, &jobs).unwrap();
        assert_eq!(read_job(&path, 2).unwrap(), jobs[1]);
        for n in [0, 3] {
            let error = read_job(&path, n).unwrap_err().to_string();
            assert!(error.contains("jobs 1 to 2"), "{error}");
        }
    }
}
