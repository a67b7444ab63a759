//! `gleaner compare`: two sets of records, held against each other.

use super::bench::share;
use super::{UsageError, print, table};
use anyhow::Context;
use clap::Args;
use comfy_table::CellAlignment;
use lab::compare::{Comparison, Matching, Pair, TIMES};
use lab::files::{OnDamage, Records};
use lab::record::Record;
use lab::stats::Ratio;
use std::path::PathBuf;
use std::process::ExitCode;

/// Compare two sets of records: counters exactly, times by confidence interval
#[derive(Args)]
#[command(after_help = "\
A set is a file or a folder of records, or one configuration of it: DIR#LABEL. Two configurations of one folder ran side by side and are
compared pair by pair, which leaves out what disturbed both.

Times are ratios of the second set to the first with intervals that hold together: were there no difference at all, in 1 of 20
comparisons, however long, one would be reported. What cannot be compared is named and left out: other programs, other arguments, other
options. What should be compared with care is marked.

Exit codes: 0 nothing differs; 1 counters or outcomes differ, or a time is longer on the second side (unless --times warn) by more than
--tolerance; 2 nothing could be compared.")]
pub struct Compare {
    /// What to compare with: a file or folder of records, or FOLDER#LABEL
    base: String,
    /// What to compare
    head: String,
    /// The confidence of all intervals together
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "95%")]
    level: f64,
    /// What longer times are worth: exit code 1, or a word
    #[arg(long, value_name = "fail|warn", default_value = "fail", value_parser = ["fail", "warn"])]
    times: String,
    /// How much longer the time may surely be
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0")]
    tolerance: f64,
    /// The time that decides
    #[arg(long, value_name = "TIME", default_value = "wall", value_parser = ["wall", "task", "mutator", "gc"])]
    time: String,
    /// Give up at the first damaged record
    #[arg(long)]
    strict: bool,
    /// Print every comparison, that of times which do not differ, too
    #[arg(long)]
    all: bool,
}

/// One side: where from, and which configuration.
struct Side {
    path: PathBuf,
    label: Option<String>,
    records: Records,
}

impl Side {
    fn read(text: &str, on_damage: OnDamage) -> anyhow::Result<Side> {
        let (path, label) = match text.rsplit_once('#') {
            Some((path, label)) => (path, Some(label.to_string())),
            None => (text, None),
        };
        let path = PathBuf::from(path);
        let records = Records::read(std::slice::from_ref(&path), on_damage)?;
        for damage in &records.damaged {
            eprintln!("warning: {damage}");
        }
        Ok(Side { path, label, records })
    }

    fn chosen(&self) -> anyhow::Result<Vec<&Record>> {
        let Some(label) = &self.label else { return Ok(self.records.records.iter().collect()) };
        let chosen: Vec<&Record> = self.records.records.iter().filter(|record| record.cell.config == *label).collect();
        if chosen.is_empty() {
            let mut labels: Vec<&str> = self.records.records.iter().map(|record| record.cell.config.as_str()).collect();
            labels.sort_unstable();
            labels.dedup();
            let labels = labels.join(", ");
            return Err(
                UsageError(format!("{} has no configuration `{label}`: it has {labels}", self.path.display())).into()
            );
        }
        Ok(chosen)
    }
}

impl Compare {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        let on_damage = if self.strict { OnDamage::Fail } else { OnDamage::Skip };
        let (base, head) = (Side::read(&self.base, on_damage)?, Side::read(&self.head, on_damage)?);
        let matching = match (&base.label, &head.label) {
            (Some(_), Some(_)) if base.path == head.path => Matching::Configs,
            (Some(a), Some(b)) if a != b => Matching::Configs,
            _ => Matching::Runs,
        };
        let comparison = Comparison::of(&base.chosen()?, &head.chosen()?, matching, self.level);
        let time = TIMES.iter().position(|(name, _)| *name == self.time).context("a known time")?;
        print(&self.show(&comparison, time))?;
        let damaged = base.records.damaged.len() + head.records.damaged.len();
        if damaged > 0 {
            eprintln!("{damaged} damaged records were left out");
        }
        if comparison.pairs.is_empty() {
            return Ok(ExitCode::from(2));
        }
        let slower = self.slower(&comparison, time).count() > 0 && self.times == "fail";
        let changed = comparison.changed().count() > 0;
        Ok(if slower || changed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn slower<'a>(&self, comparison: &'a Comparison, time: usize) -> impl Iterator<Item = &'a Pair> + use<'a> {
        let limit = 1.0 + self.tolerance;
        comparison.slower(time).filter(move |pair| pair.times[time].is_some_and(|ratio| ratio.low > limit))
    }

    fn show(&self, comparison: &Comparison, time: usize) -> String {
        let mut text = String::new();
        for (what, why) in &comparison.refused {
            text += &format!("not compared: {what}: {why}\n");
        }
        for what in &comparison.unpaired {
            text += &format!("not compared: {what}\n");
        }
        let mut shown = table();
        let times = TIMES.iter().map(|(name, _)| name.to_string());
        shown.set_header(
            ["program", "configuration", "heap, KiB", "n"]
                .map(String::from)
                .into_iter()
                .chain(times)
                .chain(["counters".into(), "with care".into()]),
        );
        let interesting = |pair: &&Pair| {
            self.all
                || !pair.counters.is_empty()
                || pair.outcomes.is_some()
                || pair.times.iter().flatten().any(Ratio::differs)
        };
        for pair in comparison.pairs.iter().filter(interesting) {
            let mut row = vec![
                pair.program.clone(),
                pair.config.clone(),
                crate::text::count(pair.heap_bytes.div_ceil(1024)),
                format!("{}, {}", pair.invocations.0, pair.invocations.1),
            ];
            row.extend(pair.times.iter().map(|ratio| ratio.as_ref().map_or("–".into(), show_ratio)));
            row.push(show_counters(pair));
            row.push(pair.marks.join("; "));
            shown.add_row(row);
        }
        for column in shown.column_iter_mut().skip(2).take(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        if shown.row_count() > 0 {
            text += &format!("{shown}\n");
        }
        let pairs = comparison.pairs.len();
        let (slower, faster) = (self.slower(comparison, time).count(), comparison.faster(time).count());
        let changed = comparison.changed().count();
        text + &format!(
            "{pairs} compared: {changed} with other counters or outcomes; {slower} slower and {faster} faster by {} time, at {} together\n",
            self.time,
            percent(self.level),
        )
    }
}

fn percent(share: f64) -> String {
    format!("{:.4}", share * 100.0).trim_end_matches('0').trim_end_matches('.').to_string() + " %"
}

/// The ratio and its interval; a star where that leaves out 1.
fn show_ratio(ratio: &Ratio) -> String {
    let star = if ratio.differs() { "*" } else { "" };
    format!("{:.3}{star} ({:.3}–{:.3})", ratio.ratio, ratio.low, ratio.high)
}

fn show_counters(pair: &Pair) -> String {
    if let Some((base, head)) = &pair.outcomes {
        return format!("outcome: {base} → {head}");
    }
    let value = |value: &Option<u64>| value.map_or("–".into(), crate::text::count);
    let shown: Vec<String> = pair
        .counters
        .iter()
        .map(|(name, base, head)| match (base, head) {
            (None, None) => name.clone(),
            _ => format!("{name}: {} → {}", value(base), value(head)),
        })
        .collect();
    if shown.is_empty() { "equal".into() } else { shown.join("; ") }
}
