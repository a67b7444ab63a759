//! Expectations that records can fail.
//!
//! A check compares a number that is made from records with the band from `at_least` to `at_most`. Counters are exact: the number is in
//! the band or it is not. Times have a confidence interval over invocations, and the check passes when all of it lies in the band, fails when
//! none of it does, and is undecided otherwise.

use crate::plan::{HeapSize, LARGEST, Plan, label};
use crate::record::{Iteration, Outcome as Ended, Purpose, Record};
use crate::stats::{Estimate, LEVEL};
use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// One expectation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What is expected, in words.
    pub says: String,
    /// What decides.
    pub kind: Kind,
    /// The plan whose records are looked at, or several.
    #[serde(default)]
    pub plan: Plans,
    /// How the number is made.
    pub measure: Measure,
    /// What it is made of.
    pub of: Side,
    /// What that is compared with, for [`Measure::Ratio`], [`Measure::Total`] and [`Measure::Crossover`].
    pub over: Option<Side>,
    /// The programs; with [`Self::heaps`] each program in each heap is a point.
    pub programs: Vec<String>,
    /// The heaps, where the plan has more than one.
    #[serde(default)]
    pub heaps: Vec<HeapSize>,
    /// What changes from point to point, for [`Measure::Exponent`] and [`Measure::Crossover`].
    #[serde(default)]
    pub against: Vec<f64>,
    /// The band's lower end.
    pub at_least: Option<f64>,
    /// Its upper end.
    pub at_most: Option<f64>,
}

/// One plan or several, by the names of their files.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Plans {
    /// One.
    One(String),
    /// Several, whose records are looked at together.
    Many(Vec<String>),
}

impl Default for Plans {
    fn default() -> Plans {
        Plans::One("plan".into())
    }
}

impl Plans {
    /// Their names.
    pub fn names(&self) -> &[String] {
        match self {
            Plans::One(name) => std::slice::from_ref(name),
            Plans::Many(names) => names,
        }
    }
}

/// What decides a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A count, the same in each invocation.
    Exact,
    /// A time or what follows from times: a confidence interval.
    Statistical,
}

impl Kind {
    /// A word for tables.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Exact => "exact",
            Kind::Statistical => "statistical",
        }
    }
}

/// How a number is made of the points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// The mean of `of`.
    Value,
    /// The geometric mean of `of` ÷ `over`.
    Ratio,
    /// The sum of `of` ÷ the sum of `over`.
    Total,
    /// The exponent `e` for which `of` grows as `against` to the power of `e`, by least squares: 0 is flat, 1 linear.
    Exponent,
    /// Where along `against` the ratio `of` ÷ `over` goes through 1 for the first time.
    Crossover,
    /// The geometric mean of `of`, a total time, ÷ the least that any configuration of the plan takes without its collections: a lower
    /// bound of the collector's whole cost (Z. Cai et al., ISPASS 2022).
    Overhead,
}

/// A quantity under a configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Side {
    /// What is counted or timed.
    pub quantity: Quantity,
    /// What it is divided by.
    pub per: Option<Quantity>,
    /// The configuration, by its label.
    pub config: String,
    /// The heap, if not that of the point.
    pub heap: Option<HeapSize>,
}

/// A column of [`Iteration`], a counter by its name, or `code_bytes`; several are added up. `ok` is 1 for an invocation that ended well, and
/// else 0.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Quantity {
    /// One.
    One(String),
    /// A sum, in which a name may stand more than once.
    Sum(Vec<String>),
}

/// The number that was found, and what it says to the check.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The number; `None` where there is none.
    pub value: Option<f64>,
    /// The lower end of its interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// What it comes to.
    pub outcome: Outcome,
    /// Why there is no number.
    pub why: Option<String>,
}

/// What comes of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is as expected.
    Passes,
    /// It is not.
    Fails,
    /// The interval does not tell.
    Undecided,
}

impl Outcome {
    /// A word for tables.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Passes => "passes",
            Outcome::Fails => "fails",
            Outcome::Undecided => "undecided",
        }
    }
}

/// A program in a heap.
pub type Point<'c> = (&'c str, Option<HeapSize>);

/// A value for each invocation.
pub type Series = BTreeMap<u32, f64>;

impl Quantity {
    fn names(&self) -> &[String] {
        match self {
            Quantity::One(name) => std::slice::from_ref(name),
            Quantity::Sum(names) => names,
        }
    }

    fn is_time(&self) -> bool {
        self.names().iter().any(|name| name.ends_with("_ns"))
    }

    /// Its value in an iteration of a record.
    fn of(&self, record: &Record, iteration: &Iteration) -> anyhow::Result<f64> {
        let one = |name: &String| {
            Ok(match name.as_str() {
                "wall_ns" => iteration.wall_ns as f64,
                "task_ns" => iteration.task_ns as f64,
                "gc_ns" => iteration.gc_ns as f64,
                "gc_task_ns" => iteration.gc_task_ns as f64,
                "mutator_ns" => iteration.mutator_ns() as f64,
                "peak_committed_bytes" => iteration.peak_committed_bytes as f64,
                "metadata_bytes" => iteration.metadata_bytes as f64,
                "code_bytes" => record.code.context("its records do not say how large the code is")?.bytes as f64,
                _ => *iteration.counters.get(name).with_context(|| {
                    let counters = iteration.counters.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                    format!("there is no `{name}` in its records, but {counters}, and times")
                })? as f64,
            })
        };
        self.names().iter().map(one).sum()
    }
}

impl Side {
    /// Its value at a point, for each invocation that ended well.
    ///
    /// # Errors
    /// A cell without records, or in several heaps where one is meant; a quantity that is not in them.
    pub fn series(&self, (program, heap): Point<'_>, records: &[&Record]) -> anyhow::Result<Series> {
        let heap = self.heap.or(heap);
        let cell = cell(records, &self.config, program, heap)?;
        if let Quantity::One(name) = &self.quantity
            && name == "ok"
        {
            return Ok(cell.iter().map(|r| (r.invocation, f64::from(u8::from(r.outcome == Ended::Ok)))).collect());
        }
        let mut series = Series::new();
        for record in cell.iter().filter(|record| record.outcome == Ended::Ok) {
            let (mut sum, mut count) = (0.0, 0u32);
            for iteration in record.timed() {
                let per = self.per.as_ref().map_or(Ok(1.0), |per| per.of(record, iteration))?;
                sum += self.quantity.of(record, iteration)? / per;
                count += 1;
            }
            if count > 0 {
                series.insert(record.invocation, sum / f64::from(count));
            }
        }
        Ok(series)
    }
}

/// The records of a cell. One that never frees has one heap, the largest, whichever is meant.
fn cell<'r>(
    records: &[&'r Record],
    config: &str,
    program: &str,
    heap: Option<HeapSize>,
) -> anyhow::Result<Vec<&'r Record>> {
    let all: Vec<&Record> = records
        .iter()
        .copied()
        .filter(|r| r.purpose == Purpose::Bench && r.cell.config == config && r.cell.program == program)
        .collect();
    ensure!(!all.is_empty(), "there is no record of {program} under {config}");
    let heaps: BTreeSet<u64> = all.iter().map(|record| record.cell.heap_bytes).collect();
    let found: Vec<&Record> = match heap {
        _ if heaps.len() == 1 && heaps.contains(&LARGEST) => all,
        None if heaps.len() > 1 => bail!("{program} ran under {config} in {} heaps: `heaps` says which", heaps.len()),
        None => all,
        Some(HeapSize::Bytes(bytes)) => all.into_iter().filter(|record| record.cell.heap_bytes == bytes).collect(),
        Some(HeapSize::Multiple(multiple)) => {
            all.into_iter().filter(|record| record.heap.multiple == Some(multiple)).collect()
        }
    };
    ensure!(!found.is_empty(), "there is no record of {program} under {config} in that heap");
    Ok(found)
}

/// All programs in all heaps.
pub fn points<'c>(programs: &'c [String], heaps: &[HeapSize]) -> Vec<Point<'c>> {
    let heaps: Vec<Option<HeapSize>> =
        if heaps.is_empty() { vec![None] } else { heaps.iter().copied().map(Some).collect() };
    programs.iter().flat_map(|program| heaps.iter().map(|heap| (program.as_str(), *heap))).collect()
}

/// Whether plans have such programs, configurations and heaps.
pub fn is_planned<'c>(
    plans: &[&Plan],
    programs: &[String],
    heaps: &[HeapSize],
    configs: impl IntoIterator<Item = &'c String>,
) -> anyhow::Result<()> {
    ensure!(!programs.is_empty(), "it names no programs");
    for program in programs {
        ensure!(plans.iter().any(|plan| plan.programs.contains(program)), "the plan has no program `{program}`");
    }
    for heap in heaps {
        ensure!(plans.iter().any(|plan| plan.heap.contains(heap)), "the plan has no heap {heap:?}");
    }
    for config in configs {
        ensure!(
            plans.iter().flat_map(|plan| &plan.gc).any(|spec| label(spec).0 == config),
            "the plan has no configuration `{config}`, but {}",
            plans.iter().map(|plan| plan.gc.join(", ")).collect::<Vec<_>>().join(", ")
        );
    }
    Ok(())
}

impl Check {
    /// Whether it can be evaluated at all.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn validate(&self, plans: &[&Plan]) -> anyhow::Result<()> {
        let sides = || [Some(&self.of), self.over.as_ref()].into_iter().flatten();
        is_planned(plans, &self.programs, &self.heaps, sides().map(|side| &side.config))?;
        let points = self.programs.len() * self.heaps.len().max(1);
        match self.measure {
            Measure::Ratio | Measure::Total | Measure::Crossover => ensure!(self.over.is_some(), "it lacks `over`"),
            Measure::Value | Measure::Exponent | Measure::Overhead => {
                ensure!(self.over.is_none(), "`over` says nothing here");
            }
        }
        match self.measure {
            Measure::Exponent | Measure::Crossover => {
                ensure!(
                    points > 1 && self.against.len() == points,
                    "it has {points} points and {} values `against`",
                    self.against.len()
                );
            }
            _ => ensure!(self.against.is_empty(), "`against` says nothing here"),
        }
        ensure!(self.at_least.is_some() || self.at_most.is_some(), "it expects nothing: `at_least`, `at_most` or both");
        let band = self.at_least.unwrap_or(f64::NEG_INFINITY) <= self.at_most.unwrap_or(f64::INFINITY);
        ensure!(band, "no number is at least {:?} and at most {:?}", self.at_least, self.at_most);
        let times = sides().any(|side| side.quantity.is_time() || side.per.as_ref().is_some_and(Quantity::is_time));
        ensure!(self.kind == Kind::Statistical || !times, "a time is not exact");
        if self.measure == Measure::Overhead {
            collecting(&self.of.quantity)?;
        }
        Ok(())
    }

    /// What is expected, for tables.
    pub fn band(&self) -> String {
        match (self.at_least, self.at_most) {
            (Some(low), Some(high)) if low == high => format!("{low}"),
            (Some(low), Some(high)) => format!("{low} to {high}"),
            (Some(low), None) => format!("≥ {low}"),
            (None, Some(high)) => format!("≤ {high}"),
            (None, None) => String::new(),
        }
    }

    /// Makes the number and compares it.
    ///
    /// # Errors
    /// Records that lack what is looked for.
    pub fn evaluate(&self, records: &[&Record]) -> anyhow::Result<Finding> {
        let points = points(&self.programs, &self.heaps);
        let side = |side: &Side| points.iter().map(|point| side.series(*point, records)).collect::<Result<Vec<_>, _>>();
        let of = side(&self.of)?;
        let over = match (&self.over, self.measure) {
            (Some(over), _) => side(over)?,
            (None, Measure::Overhead) => points
                .iter()
                .map(|point| distilled(&self.of.quantity, *point, records))
                .collect::<Result<Vec<_>, _>>()?,
            (None, _) => of.iter().map(|series| series.keys().map(|i| (*i, 1.0)).collect()).collect(),
        };
        let mut ratios: Vec<Series> = of.iter().zip(&over).map(|(of, over)| divide(of, over)).collect();
        if self.measure == Measure::Total && ratios.iter().all(|ratios| !ratios.is_empty()) {
            ratios = vec![divide(&sum(&of), &sum(&over))];
        }
        let Some(failed) = points.iter().zip(&ratios).find(|(_, ratios)| ratios.is_empty()) else {
            return self.number(&ratios);
        };
        let why = format!("{} did not end well", failed.0.0);
        Ok(Finding { value: None, low: f64::NAN, high: f64::NAN, outcome: Outcome::Undecided, why: Some(why) })
    }

    /// The number that ratios at each point make.
    fn number(&self, ratios: &[Series]) -> anyhow::Result<Finding> {
        let ratios = self.common(ratios)?;
        let logs = |sample: &[f64]| sample.iter().map(|value| value.ln()).collect::<Vec<f64>>();
        let mean = |sample: &[f64]| sample.iter().sum::<f64>() / sample.len() as f64;
        let samples = |f: &dyn Fn(&[f64]) -> f64| ratios.iter().map(|sample| f(sample)).collect::<Vec<f64>>();
        let (value, low, high) = match self.measure {
            Measure::Value => self.interval(&samples(&|sample| mean(sample))),
            Measure::Ratio | Measure::Total | Measure::Overhead => {
                let (value, low, high) = self.interval(&samples(&|sample| mean(&logs(sample))));
                (value.exp(), low.exp(), high.exp())
            }
            Measure::Exponent => {
                let x = logs(&self.against);
                self.interval(&samples(&|sample| slope(&x, &logs(sample))))
            }
            Measure::Crossover => return Ok(self.crossover(&ratios)),
        };
        Ok(self.finding(Some(value), low, high))
    }

    /// The values at each point by invocation: those that are there at each point.
    fn common(&self, ratios: &[Series]) -> anyhow::Result<Vec<Vec<f64>>> {
        let invocations = ratios[0].keys().filter(|i| ratios.iter().all(|series| series.contains_key(i)));
        let samples: Vec<Vec<f64>> = invocations.map(|i| ratios.iter().map(|series| series[i]).collect()).collect();
        ensure!(!samples.is_empty(), "no invocation ended well at each point");
        if self.kind == Kind::Exact {
            ensure!(samples.iter().all(|sample| *sample == samples[0]), "it is not exact: invocations differ");
        }
        Ok(samples)
    }

    /// Mean and ends of the interval.
    fn interval(&self, values: &[f64]) -> (f64, f64, f64) {
        match (self.kind, Estimate::at(values, LEVEL)) {
            (Kind::Statistical, Some(Estimate { mean, half, .. })) => (mean, mean - half, mean + half),
            _ => (values[0], values[0], values[0]),
        }
    }

    fn finding(&self, value: Option<f64>, low: f64, high: f64) -> Finding {
        let (least, most) = (self.at_least.unwrap_or(f64::NEG_INFINITY), self.at_most.unwrap_or(f64::INFINITY));
        let outcome = match () {
            () if low >= least && high <= most => Outcome::Passes,
            () if high < least || low > most => Outcome::Fails,
            () => Outcome::Undecided,
        };
        Finding { value, low, high, outcome, why: None }
    }

    /// Where the ratio goes through 1, and where the ends of its interval do.
    fn crossover(&self, ratios: &[Vec<f64>]) -> Finding {
        let at_point = |k: usize| self.interval(&ratios.iter().map(|sample| sample[k].ln()).collect::<Vec<f64>>());
        let curve: Vec<(f64, f64, f64)> = (0..self.against.len()).map(at_point).collect();
        let cross = |end: &dyn Fn(&(f64, f64, f64)) -> f64| {
            crossing(&self.against, &curve.iter().map(end).collect::<Vec<f64>>())
        };
        let (value, a, b) = (cross(&|c| c.0), cross(&|c| c.1), cross(&|c| c.2));
        match (value, a, b) {
            (Some(_), Some(a), Some(b)) => self.finding(value, a.min(b), a.max(b)),
            (Some(_), ..) => self.finding(value, f64::NEG_INFINITY, f64::INFINITY),
            (None, ..) => Finding {
                value: None,
                low: f64::NAN,
                high: f64::NAN,
                outcome: if a.is_none() && b.is_none() { Outcome::Fails } else { Outcome::Undecided },
                why: Some("no crossover".into()),
            },
        }
    }
}

/// The time of collections that belongs to a total.
fn collecting(total: &Quantity) -> anyhow::Result<Quantity> {
    match total {
        Quantity::One(name) if name == "wall_ns" => Ok(Quantity::One("gc_ns".into())),
        Quantity::One(name) if name == "task_ns" => Ok(Quantity::One("gc_task_ns".into())),
        _ => bail!("an overhead is of `wall_ns` or `task_ns`"),
    }
}

/// The least that a total is without collections at a point, under whichever configuration that is.
pub fn distilled(total: &Quantity, point: Point<'_>, records: &[&Record]) -> anyhow::Result<Series> {
    let gc = collecting(total)?;
    let configs: BTreeSet<&String> = records.iter().map(|record| &record.cell.config).collect();
    let mut best: Option<(f64, Series)> = None;
    for config in configs {
        let series = |quantity: &Quantity| {
            let side = Side { quantity: quantity.clone(), per: None, config: config.clone(), heap: None };
            side.series(point, records)
        };
        let (total, gc) = (series(total)?, series(&gc)?);
        let rest: Series = total.iter().map(|(i, total)| (*i, total - gc[i])).collect();
        let mean = rest.values().sum::<f64>() / rest.len() as f64;
        if !rest.is_empty() && best.as_ref().is_none_or(|(least, _)| mean < *least) {
            best = Some((mean, rest));
        }
    }
    Ok(best.map(|(_, series)| series).unwrap_or_default())
}

fn divide(of: &Series, over: &Series) -> Series {
    of.iter().filter_map(|(i, of)| Some((*i, of / over.get(i)?))).collect()
}

/// The sums over points, for invocations that are at each.
fn sum(all: &[Series]) -> Series {
    let whole = all[0].keys().filter(|i| all.iter().all(|series| series.contains_key(i)));
    whole.map(|i| (*i, all.iter().map(|series| series[i]).sum())).collect()
}

/// The slope of the line through points, by least squares.
fn slope(x: &[f64], y: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mx, my) = (mean(x), mean(y));
    let products: f64 = x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum();
    products / x.iter().map(|x| (x - mx).powi(2)).sum::<f64>()
}

/// Where a curve first goes through 0, with straight lines between its points.
fn crossing(x: &[f64], y: &[f64]) -> Option<f64> {
    let mut steps = x.windows(2).zip(y.windows(2));
    steps.find_map(|(x, y)| {
        let crosses = (y[0] <= 0.0) != (y[1] <= 0.0);
        crosses.then(|| x[0] + (x[1] - x[0]) * y[0] / (y[0] - y[1]))
    })
}

#[cfg(test)]
mod tests;
