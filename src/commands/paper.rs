//! `gleaner paper`: the ledger of papers, and the experiments in it.

use super::bench::{configs, launcher};
use super::invoke::build;
use super::minheap::search_job;
use super::{UsageError, print, table};
use crate::text;
use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use lab::bench::Runner;
use lab::launch::Launcher;
use lab::ledger::{self, ByPlan, Finding, Kind, Paper, Verdict};
use lab::plan::{Config, HeapSize, Minima, Plan};
use lab::programs::{Program, Set};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Claims of papers, put to the test: list them, run the experiments
#[derive(Args)]
pub struct PaperCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Print each paper with its claim and what came of it
    List(List),
    /// Run a paper's experiment and hold the results against what was expected
    Run(Run),
}

#[derive(Args)]
struct Ledger {
    /// The folder of papers
    #[arg(long, value_name = "DIR", default_value = "papers")]
    papers: PathBuf,
}

#[derive(Args)]
struct List {
    #[command(flatten)]
    ledger: Ledger,
}

#[derive(Args)]
#[command(after_help = "\
A paper is a folder: `plan.toml` and other plans say what runs, `expected.toml` what is expected, `records/` holds what a whole run left.
Each invocation is a process of its own, and where heaps are multiples of the smallest one, that is searched first. A run that was stopped
goes on with the same command. Counters decide exactly; times by their confidence interval, which must lie in the expected band as a whole,
and a check that the noise leaves open is undecided.

Exit codes: 0 each check comes out as the records in the ledger say, and they say what the README does; 1 not so, or an experiment could
not be run.")]
struct Run {
    /// The paper's name, or `all`
    name: String,
    /// Run each cell once and look at counters alone: seconds
    #[arg(long)]
    quick: bool,
    /// Put records and plot into the ledger
    #[arg(long, conflicts_with = "quick")]
    keep: bool,
    /// Run each invocation with this executable, another build of Gleaner, instead of this one
    #[arg(long, value_name = "FILE")]
    exe: Option<PathBuf>,
    /// The folder with the lists of programs
    #[arg(long, value_name = "DIR", default_value = "benches")]
    set: PathBuf,
    /// Where records and plots go, in a folder for each paper; a quick run leaves none without it [default: lab/papers]
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    #[command(flatten)]
    ledger: Ledger,
}

impl PaperCommand {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        match self.what {
            What::List(list) => list.execute(),
            What::Run(run) => run.execute(),
        }
    }
}

impl Ledger {
    fn open(&self, name: &str) -> anyhow::Result<Paper> {
        let names = ledger::names(&self.papers)?;
        if !names.iter().any(|known| known == name) {
            let text = format!(
                "there is no paper `{name}` in {}: {}; `all` runs each",
                self.papers.display(),
                text::list(&names)
            );
            return Err(UsageError(text).into());
        }
        Paper::open(&self.papers, name)
    }

    fn all(&self) -> anyhow::Result<Vec<Paper>> {
        ledger::names(&self.papers)?.iter().map(|name| Paper::open(&self.papers, name)).collect()
    }
}

impl List {
    fn execute(self) -> anyhow::Result<ExitCode> {
        let mut shown = table();
        shown.set_header(["name", "paper", "claim", "verdict"]);
        for paper in self.ledger.all()? {
            let verdict = match paper.records().and_then(|records| paper.findings(&records)) {
                Ok(findings) => Verdict::of(findings.iter().map(|finding| finding.outcome)).name().to_string(),
                Err(_) => "has not run".into(),
            };
            shown.add_row([&paper.name, &paper.expected.paper, &paper.expected.claim, &verdict]);
        }
        print(&format!("{shown}\n"))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Run {
    fn execute(self) -> anyhow::Result<ExitCode> {
        let papers = match self.name.as_str() {
            "all" => self.ledger.all()?,
            name => vec![self.ledger.open(name)?],
        };
        ensure!(!papers.is_empty(), "{} holds no paper", self.ledger.papers.display());
        let mut agree = true;
        for paper in &papers {
            agree &= self.paper(paper).with_context(|| paper.name.clone())?;
        }
        Ok(if agree { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Runs a paper; whether each check comes out as the ledger says.
    fn paper(&self, paper: &Paper) -> anyhow::Result<bool> {
        let temporary = tempfile::tempdir()?;
        let folder = match (&self.output, self.quick) {
            (Some(output), true) => output.join(&paper.name).join("quick"),
            (Some(output), false) => output.join(&paper.name),
            (None, true) => temporary.path().to_path_buf(),
            (None, false) => Path::new("lab/papers").join(&paper.name),
        };
        let plans = if self.quick { paper.quick() } else { paper.plans.clone() };
        let records = self.run(&plans, &folder)?;
        if !self.quick {
            let plot = ledger::plot::draw(&paper.expected, &records)?;
            std::fs::write(folder.join("plot.svg"), plot).with_context(|| folder.display().to_string())?;
        }
        if self.keep {
            paper.keep(&records)?;
        }
        let kept = paper.records().ok();
        let mut findings = Vec::new();
        for check in paper.expected.checks.iter().filter(|check| !self.quick || check.kind == Kind::Exact) {
            let before = kept.as_ref().map(|kept| paper.finding(check, kept)).transpose()?;
            findings.push((check, paper.finding(check, &records)?, before));
        }
        let same = findings.iter().all(|(_, now, before)| before.as_ref().is_some_and(|b| b.outcome == now.outcome));
        let (agrees, ledger) = in_ledger(paper, kept.as_ref())?;
        print(&format!("{}{ledger}\n", report(paper, &findings)))?;
        Ok(same && agrees)
    }

    /// Runs plans; their records.
    fn run(&self, plans: &BTreeMap<String, Plan>, folder: &Path) -> anyhow::Result<ByPlan> {
        let set = Set::open(&self.set)?;
        let mut all = ByPlan::new();
        for (name, plan) in plans {
            let run = || -> anyhow::Result<_> {
                let (programs, configs) = (plan.programs(&set)?, configs(plan)?);
                ensure!(!configs.is_empty(), "it names no collectors");
                let minima = self.minima(plan, &programs, &configs, folder)?;
                let jobs = plan.jobs(&programs, &configs, &minima)?;
                let mut runner = Runner::open_file(folder, &format!("{name}.jsonl"), self.launcher()?)?;
                runner.bench(plan, jobs)?;
                Ok(runner.records().to_vec())
            };
            all.insert(name.clone(), run().with_context(|| format!("{name}.toml"))?);
        }
        Ok(all)
    }

    /// Searches the smallest heaps, if a plan has multiples of them.
    fn minima(&self, plan: &Plan, programs: &[Program], configs: &[Config], folder: &Path) -> anyhow::Result<Minima> {
        let mut minima = Minima::new();
        if !plan.heap.iter().any(|heap| matches!(heap, HeapSize::Multiple(_))) {
            return Ok(minima);
        }
        let mut runner = Runner::open_file(folder, "minheap.jsonl", self.launcher()?)?;
        runner.show_search();
        for program in programs {
            for config in configs.iter().filter(|config| config.reclaims) {
                if let Some(bytes) = runner.minheap(&search_job(plan, program, config))? {
                    minima.insert((program.name.clone(), config.gc.clone()), bytes);
                }
            }
        }
        runner.end();
        Ok(minima)
    }

    fn launcher(&self) -> anyhow::Result<Launcher> {
        match &self.exe {
            Some(exe) => Launcher::new(exe, &["invoke"], build()),
            None => launcher(),
        }
    }
}

/// Whether the README's verdict is that of the records in the ledger, in words.
fn in_ledger(paper: &Paper, kept: Option<&ByPlan>) -> anyhow::Result<(bool, String)> {
    let Some(kept) = kept else {
        return Ok((false, "the ledger has no records of it: `--keep` puts these there\n".into()));
    };
    let verdict = Verdict::of(paper.findings(kept)?.iter().map(|finding| finding.outcome));
    Ok(match paper.stated() {
        Ok(stated) if stated == verdict => (true, String::new()),
        Ok(stated) => (false, format!("its README says {stated}, and the ledger's records {verdict}\n")),
        Err(error) => (false, format!("{error:#}\n")),
    })
}

/// What came of a paper, check by check.
fn report(paper: &Paper, findings: &[(&ledger::Check, Finding, Option<Finding>)]) -> String {
    let mut shown = table();
    shown.set_header(["check", "decides", "expected", "observed", "outcome"]);
    for (check, now, before) in findings {
        let outcome = match before {
            Some(before) if before.outcome != now.outcome => {
                format!("{}, and {} in the ledger", now.outcome.name(), before.outcome.name())
            }
            _ => now.outcome.name().into(),
        };
        shown.add_row([check.says.clone(), check.kind.name().into(), check.band(), observed(now, check.kind), outcome]);
    }
    let verdict = Verdict::of(findings.iter().map(|(_, now, _)| now.outcome));
    format!("{}: {}\n{shown}\n{}: {verdict}\n", paper.name, paper.expected.paper, paper.name)
}

/// A number with its interval.
fn observed(finding: &Finding, kind: Kind) -> String {
    match (finding.value, &finding.why, kind) {
        (Some(value), _, Kind::Exact) => format!("{value:.3}"),
        (Some(value), _, Kind::Statistical) => format!("{value:.3} ({:.3} to {:.3})", finding.low, finding.high),
        (None, why, _) => why.clone().unwrap_or_default(),
    }
}
