//! Runs plans: one process after the other, each leaving its record at once.

use crate::analysis::wall;
use crate::files::{OnDamage, Records, Writer};
use crate::launch::Launcher;
use crate::minheap::{self, ATTEMPTS};
use crate::plan::{Job, Plan};
use crate::record::{Cell, Outcome, Purpose, Record};
use crate::stats::Estimate;
use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Failures of a cell without a success, after which it is not tried again: what ran out of heap twice will do so a third time.
const FAILURES: usize = 2;

/// Runs jobs and writes their records to a file; goes on from what already stands there.
#[derive(Debug)]
pub struct Runner {
    launcher: Launcher,
    writer: Writer,
    path: PathBuf,
    /// What stands in the file, and in others of the folder.
    records: Vec<Record>,
    /// Where the measurements of a cell are among them.
    measured: HashMap<Cell, Vec<usize>>,
    done: HashMap<(Purpose, Cell, u32), usize>,
    bar: ProgressBar,
    /// Seconds that invocations of a cell took, and of a program, and of all.
    times: Times,
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Invocations that took place.
    pub ran: usize,
    /// Those whose records stood there already.
    pub found: usize,
    /// Those left out since their cell had failed too often.
    pub skipped: usize,
    /// Records by outcome, those found included.
    pub outcomes: BTreeMap<&'static str, usize>,
}

impl Runner {
    /// Takes up a folder: makes it, or reads what is in it. New records go to `file` in it.
    ///
    /// # Errors
    /// The system's.
    pub fn open(folder: &Path, file: &str, launcher: Launcher) -> anyhow::Result<Runner> {
        std::fs::create_dir_all(folder).map_err(|error| anyhow::anyhow!("{}: {error}", folder.display()))?;
        let path = folder.join(file);
        let writer = Writer::open(&path)?;
        let read = Records::in_folder(folder)?;
        for damage in &read.damaged {
            eprintln!("warning: {damage}");
        }
        let mut runner = Runner::new(launcher, writer, path);
        read.records.into_iter().for_each(|record| runner.note(record));
        Ok(runner)
    }

    /// Takes up one file alone, as one of many machines does that write to the same folder.
    ///
    /// # Errors
    /// The system's.
    pub fn open_file(folder: &Path, file: &str, launcher: Launcher) -> anyhow::Result<Runner> {
        std::fs::create_dir_all(folder).map_err(|error| anyhow::anyhow!("{}: {error}", folder.display()))?;
        let path = folder.join(file);
        let writer = Writer::open(&path)?;
        let read = Records::read(std::slice::from_ref(&path), OnDamage::Skip)?;
        let mut runner = Runner::new(launcher, writer, path);
        read.records.into_iter().for_each(|record| runner.note(record));
        Ok(runner)
    }

    fn new(launcher: Launcher, writer: Writer, path: PathBuf) -> Runner {
        Runner {
            launcher,
            writer,
            path,
            records: Vec::new(),
            measured: HashMap::new(),
            done: HashMap::new(),
            bar: ProgressBar::hidden(),
            times: Times::default(),
        }
    }

    /// All records that are known.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    fn note(&mut self, record: Record) {
        if record.purpose == Purpose::Bench {
            self.measured.entry(record.cell.clone()).or_default().push(self.records.len());
        }
        self.done.insert((record.purpose, record.cell.clone(), record.invocation), self.records.len());
        self.records.push(record);
    }

    /// The record of a job, if it has one.
    ///
    /// # Errors
    /// A record of another program, another build or other options under the same name: they must not be mixed.
    fn known(&mut self, job: &Job) -> anyhow::Result<Option<usize>> {
        let Some(&index) = self.done.get(&job.key()) else { return Ok(None) };
        let program = self.launcher.hash(&job.program.file).unwrap_or_default();
        let build = self.launcher.exe_hash(job).unwrap_or_default();
        let record = &self.records[index];
        let differs = [
            ("another program", record.program.sha256 != program || record.program.args != job.program.args),
            ("another build of Gleaner", record.build.sha256 != build),
            ("another collector", record.heap.gc != job.gc),
            ("other options", record.options != job.options || record.heap.policy != job.policy),
        ];
        if let Some((what, _)) = differs.iter().find(|(_, differs)| *differs) {
            bail!(
                "{} has records of {} with {what}: take another folder, or delete that file",
                self.path.display(),
                job.cell
            );
        }
        Ok(Some(index))
    }

    /// Runs a job, unless it has been. Its record's place among [`Self::records`].
    fn ensure(&mut self, job: &Job) -> anyhow::Result<(usize, bool)> {
        if let Some(index) = self.known(job)? {
            return Ok((index, false));
        }
        let start = Instant::now();
        let record = self.launcher.run(job)?;
        self.times.note(&job.cell, start.elapsed());
        self.writer.add(&record)?;
        self.note(record);
        Ok((self.records.len() - 1, true))
    }

    /// Runs one job, unless it has been, and gives its record.
    ///
    /// # Errors
    /// The system's, and a record under the job's name that is of something else.
    pub fn run(&mut self, job: &Job) -> anyhow::Result<&Record> {
        let (index, _) = self.ensure(job)?;
        Ok(&self.records[index])
    }

    fn measurements(&self, cell: &Cell) -> impl Iterator<Item = &Record> {
        self.measured.get(cell).into_iter().flatten().map(|index| &self.records[*index])
    }

    fn failed_too_often(&self, cell: &Cell) -> bool {
        let failed = self.measurements(cell).filter(|record| record.outcome != Outcome::Ok).count();
        failed >= FAILURES && failed == self.measurements(cell).count()
    }

    /// Runs a plan's jobs, and as many more as it asks for.
    ///
    /// # Errors
    /// The system's, and records that do not fit the plan.
    pub fn bench(&mut self, plan: &Plan, jobs: Vec<Job>) -> anyhow::Result<Summary> {
        let cells: Vec<Job> = jobs.iter().filter(|job| job.invocation == 0).cloned().collect();
        let mut next = plan.invocations;
        let mut queue: VecDeque<Job> = jobs.into();
        self.show(&queue);
        let mut summary = Summary::default();
        let mut mine: Vec<usize> = Vec::new();
        loop {
            while let Some(job) = queue.pop_front() {
                let left = self.times.left(&queue, &job.cell);
                self.bar.set_message(format!("{}, {left}", job.cell));
                if self.known(&job)?.is_none() && self.failed_too_often(&job.cell) {
                    summary.skipped += 1;
                } else {
                    let (index, ran) = self.ensure(&job)?;
                    mine.push(index);
                    *(if ran { &mut summary.ran } else { &mut summary.found }) += 1;
                    let record = &self.records[index];
                    if ran && record.outcome != Outcome::Ok {
                        let error = record.error.as_deref().unwrap_or_default();
                        let first = error.lines().next().unwrap_or_default();
                        let text = format!("{}: {}: {first}", record.cell, record.outcome.name());
                        self.say(&text);
                    }
                }
                self.bar.inc(1);
            }
            let wide: Vec<Job> = match plan.until_ci {
                Some(width) if next < plan.max_invocations => {
                    cells.iter().filter(|job| !self.is_precise(&job.cell, width)).cloned().collect()
                }
                _ => Vec::new(),
            };
            if wide.is_empty() {
                break;
            }
            queue.extend(plan.more(&wide, next));
            next += 1;
            self.bar.inc_length(wide.len() as u64);
        }
        self.bar.finish_and_clear();
        for index in mine {
            *summary.outcomes.entry(self.records[index].outcome.name()).or_default() += 1;
        }
        Ok(summary)
    }

    /// Whether a cell's mean is known well enough, or never will be.
    fn is_precise(&self, cell: &Cell, width: f64) -> bool {
        let times: Vec<f64> = self.measurements(cell).filter_map(|record| record.mean(wall)).collect();
        self.failed_too_often(cell) || Estimate::of(&times).is_some_and(|estimate| estimate.relative_width() <= width)
    }

    /// Searches the smallest heap of a job's program under its collector; `None` when it fits none.
    ///
    /// # Errors
    /// The system's, and a program that fails for another reason than its heap: that says nothing about heaps.
    pub fn minheap(&mut self, job: &Job) -> anyhow::Result<Option<u64>> {
        minheap::search(|kib| {
            let mut job = minheap::probe(job, kib);
            loop {
                self.bar.set_message(job.cell.to_string());
                self.bar.tick();
                let (index, _) = self.ensure(&job)?;
                let record = &self.records[index];
                match minheap::verdict(record.outcome) {
                    Some(fits) => return Ok(fits),
                    None if record.outcome == Outcome::Crash && job.invocation + 1 < ATTEMPTS => job.invocation += 1,
                    None => {
                        let error = record.error.as_deref().unwrap_or_default();
                        bail!("{}: {}: {error}", record.cell, record.outcome.name());
                    }
                }
            }
        })
        .map(|kib| kib.map(|kib| kib * 1024))
    }

    /// Shows how far it is, if anybody looks.
    fn show(&mut self, queue: &VecDeque<Job>) {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}").unwrap_or(ProgressStyle::default_bar());
        self.bar = ProgressBar::new(queue.len() as u64).with_style(style);
        self.bar.enable_steady_tick(Duration::from_millis(500));
    }

    /// Shows that something is searched.
    pub fn show_search(&mut self) {
        let style =
            ProgressStyle::with_template("{spinner} {elapsed} {msg}").unwrap_or(ProgressStyle::default_spinner());
        self.bar = ProgressBar::new_spinner().with_style(style);
    }

    /// Says something beside what is shown.
    pub fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    /// Ends what is shown.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// How long invocations took: what is left takes as long as what was like it.
#[derive(Clone, Debug, Default)]
struct Times {
    cells: HashMap<Cell, Mean>,
    programs: HashMap<String, Mean>,
    all: Mean,
    /// What was said last, and when: the whole queue is gone through for it.
    said: Option<(Instant, String)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: Duration,
    count: u32,
}

impl Mean {
    fn get(self) -> Option<Duration> {
        self.sum.checked_div(self.count)
    }
}

impl Times {
    const AGAIN: Duration = Duration::from_secs(1);

    fn note(&mut self, cell: &Cell, time: Duration) {
        let means = [
            self.cells.entry(cell.clone()).or_default(),
            self.programs.entry(cell.program.clone()).or_default(),
            &mut self.all,
        ];
        for mean in means {
            mean.sum += time;
            mean.count += 1;
        }
    }

    fn of(&self, cell: &Cell) -> Option<Duration> {
        let known = [self.cells.get(cell), self.programs.get(&cell.program), Some(&self.all)];
        known.into_iter().flatten().find_map(|mean| mean.get())
    }

    /// How long all that is left will take, in words.
    fn left(&mut self, queue: &VecDeque<Job>, now: &Cell) -> String {
        if let Some((_, words)) = self.said.as_ref().filter(|(when, _)| when.elapsed() < Self::AGAIN) {
            return words.clone();
        }
        let cells = queue.iter().map(|job| &job.cell).chain([now]);
        let words = match cells.map(|cell| self.of(cell)).sum::<Option<Duration>>() {
            // Sums of guesses are no better than their first digits.
            Some(left) => format!("about {} left", indicatif::HumanDuration(Duration::from_secs(left.as_secs() + 1))),
            None => "nothing known of the time that is left".into(),
        };
        self.said = Some((Instant::now(), words.clone()));
        words
    }
}
