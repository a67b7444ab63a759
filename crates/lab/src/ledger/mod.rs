//! A ledger of papers: what each claims, the experiment that puts the claim to the test, what was expected of it before it ran, and what
//! came of it.
//!
//! A paper is a folder:
//!
//! | file | what it holds |
//! |---|---|
//! | `expected.toml` | the claim, the [checks](Check) and the plot's [panels](Panel): [`Expected`] |
//! | `plan.toml`, others like it | experiments: [`Plan`]s |
//! | `records/` | for each plan `x.toml` the records `x.jsonl` of a whole run, as [`keep`] leaves them |
//! | `plot.svg` | what [`plot`](plot::draw) makes of the records |
//! | `README.md` | citation, claim, experiment, and the verdict in words |
//!
//! Nothing states the outcome of a check: it is [evaluated](Check::evaluate) from the records each time, and the README's verdict has to
//! agree.

mod check;
pub mod plot;

pub use check::{Check, Finding, Kind, Measure, Outcome, Plans, Quantity, Side};
pub use plot::Panel;

use crate::files::{OnDamage, Records};
use crate::plan::Plan;
use crate::record::{Purpose, Record};
use anyhow::{Context, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// What a paper claims, and what is expected to be seen of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Authors, venue and year, shortly.
    pub paper: String,
    /// The claim, in one sentence.
    pub claim: String,
    /// What holds if the claim does; without any, the claim is not applicable.
    #[serde(default, rename = "check")]
    pub checks: Vec<Check>,
    /// What is drawn, from left to right.
    #[serde(default, rename = "panel")]
    pub panels: Vec<Panel>,
}

/// Records by the plan that they are of.
pub type ByPlan = BTreeMap<String, Vec<Record>>;

/// A paper's folder.
#[derive(Clone, Debug)]
pub struct Paper {
    /// The folder's name.
    pub name: String,
    /// Where it is.
    pub folder: PathBuf,
    /// What is expected.
    pub expected: Expected,
    /// The experiments, by the names of their files.
    pub plans: BTreeMap<String, Plan>,
}

/// What came of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All checks passed.
    Reproduced,
    /// One failed.
    NotReproduced,
    /// None failed, and for one the noise was too loud.
    Undecided,
    /// There is nothing to check.
    NotApplicable,
}

impl Verdict {
    /// What outcomes come to.
    pub fn of(outcomes: impl IntoIterator<Item = Outcome>) -> Verdict {
        let outcomes: Vec<Outcome> = outcomes.into_iter().collect();
        match outcomes.as_slice() {
            [] => Verdict::NotApplicable,
            all if all.contains(&Outcome::Fails) => Verdict::NotReproduced,
            all if all.contains(&Outcome::Undecided) => Verdict::Undecided,
            _ => Verdict::Reproduced,
        }
    }

    /// The words for it.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Reproduced => "reproduced",
            Verdict::NotReproduced => "not reproduced",
            Verdict::Undecided => "undecided",
            Verdict::NotApplicable => "not applicable",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The names of a ledger's papers, sorted.
///
/// # Errors
/// A folder that is not there.
pub fn names(ledger: &Path) -> anyhow::Result<Vec<String>> {
    let entries = fs::read_dir(ledger).with_context(|| format!("{}: no ledger of papers", ledger.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

impl Paper {
    /// Reads a paper of a ledger.
    ///
    /// # Errors
    /// A file that is missing or says what none of its kind says, with the place; a check of a configuration, a program, a heap or a plan
    /// that is not there.
    pub fn open(ledger: &Path, name: &str) -> anyhow::Result<Paper> {
        let folder = ledger.join(name);
        let path = folder.join("expected.toml");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let expected: Expected = toml::from_str(&text).with_context(|| path.display().to_string())?;
        let mut plans = BTreeMap::new();
        for entry in fs::read_dir(&folder)? {
            let file = entry?.path();
            let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if file.extension().is_some_and(|extension| extension == "toml") && stem != "expected" {
                plans.insert(stem, Plan::read(&file)?);
            }
        }
        let paper = Paper { name: name.into(), folder, expected, plans };
        paper.validate().with_context(|| path.display().to_string())?;
        Ok(paper)
    }

    fn validate(&self) -> anyhow::Result<()> {
        for check in &self.expected.checks {
            let valid = self.plans(&check.plan).and_then(|plans| check.validate(&plans));
            valid.with_context(|| format!("`{}`", check.says))?;
        }
        for panel in &self.expected.panels {
            let valid = self.plans(&panel.plan).and_then(|plans| panel.validate(&plans));
            valid.with_context(|| format!("panel `{}`", panel.title))?;
        }
        Ok(())
    }

    fn plans(&self, plans: &Plans) -> anyhow::Result<Vec<&Plan>> {
        let all = || self.plans.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let one = |name: &String| {
            self.plans.get(name).with_context(|| format!("there is no plan `{name}` in the folder, but {}", all()))
        };
        plans.names().iter().map(one).collect()
    }

    /// The plans of a quick run: those that have an exact check. A process for each cell is enough.
    pub fn quick(&self) -> BTreeMap<String, Plan> {
        let exact = |name: &String| {
            let mut checks = self.expected.checks.iter();
            checks.any(|check| check.kind == Kind::Exact && check.plan.names().contains(name))
        };
        let mut plans = self.plans.clone();
        plans.retain(|name, _| exact(name));
        for plan in plans.values_mut() {
            *plan = Plan {
                invocations: 1,
                iterations: 1,
                warmup: crate::record::Warmup::First(0),
                until_ci: None,
                ..plan.clone()
            };
        }
        plans
    }

    /// The records that are kept in the folder.
    ///
    /// # Errors
    /// Records that are missing or damaged.
    pub fn records(&self) -> anyhow::Result<ByPlan> {
        read(&self.folder.join("records"), self.plans.keys())
    }

    /// What records say to each check.
    ///
    /// # Errors
    /// A check of something that the records do not have.
    pub fn findings(&self, records: &ByPlan) -> anyhow::Result<Vec<Finding>> {
        self.expected.checks.iter().map(|check| self.finding(check, records)).collect()
    }

    /// What records say to one check.
    ///
    /// # Errors
    /// As [`Self::findings`].
    pub fn finding(&self, check: &Check, records: &ByPlan) -> anyhow::Result<Finding> {
        check.evaluate(&of_plans(records, &check.plan)).with_context(|| format!("{}: `{}`", self.name, check.says))
    }

    /// The verdict that stands in the README, as `**Verdict: reproduced.**`.
    ///
    /// # Errors
    /// A README without one.
    pub fn stated(&self) -> anyhow::Result<Verdict> {
        use Verdict::{NotApplicable, NotReproduced, Reproduced, Undecided};
        let path = self.folder.join("README.md");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let said = text.split_once("**Verdict: ").and_then(|(_, rest)| rest.split_once(".**")).map(|(said, _)| said);
        let all = [Reproduced, NotReproduced, Undecided, NotApplicable];
        let found = all.into_iter().find(|verdict| Some(verdict.name()) == said);
        found.with_context(|| {
            format!("{}: a verdict stands there as `**Verdict: reproduced.**`, or not reproduced, undecided, not applicable", path.display())
        })
    }

    /// Puts records of a whole run into the folder, and the plot of them.
    ///
    /// # Errors
    /// The system's.
    pub fn keep(&self, records: &ByPlan) -> anyhow::Result<()> {
        let folder = self.folder.join("records");
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let mut kept = ByPlan::new();
        for (plan, records) in records {
            let path = folder.join(plan).with_extension("jsonl");
            let slim: Vec<Record> =
                records.iter().filter(|record| record.purpose == Purpose::Bench).map(keep).collect();
            let mut text = String::new();
            for record in &slim {
                text += &serde_json::to_string(record)?;
                text.push('\n');
            }
            fs::write(&path, text).with_context(|| path.display().to_string())?;
            kept.insert(plan.clone(), slim);
        }
        let path = self.folder.join("plot.svg");
        fs::write(&path, plot::draw(&self.expected, &kept)?).with_context(|| path.display().to_string())
    }
}

/// The records of some plans.
fn of_plans<'r>(records: &'r ByPlan, plans: &Plans) -> Vec<&'r Record> {
    plans.names().iter().filter_map(|plan| records.get(plan)).flatten().collect()
}

/// Reads the records of plans from a folder.
///
/// # Errors
/// Records that are missing or damaged.
pub fn read<'p>(folder: &Path, plans: impl IntoIterator<Item = &'p String>) -> anyhow::Result<ByPlan> {
    let mut all = ByPlan::new();
    for plan in plans {
        let file = folder.join(plan).with_extension("jsonl");
        let read = Records::read(std::slice::from_ref(&file), OnDamage::Fail)?;
        if read.records.is_empty() {
            bail!("{}: no record is in it", file.display());
        }
        all.insert(plan.clone(), read.records);
    }
    Ok(all)
}

/// What is kept of a record: all but the iterations that warmed up and the columns of single collections, which are most of it.
pub fn keep(record: &Record) -> Record {
    let mut record = record.clone();
    record.iterations.retain(|iteration| !iteration.warmup);
    for iteration in &mut record.iterations {
        let columns = &mut iteration.collections;
        columns.start_ns.clear();
        columns.pause_ns.clear();
        columns.exact = None;
    }
    record
}
