//! Compares two sets of records: counters exactly, times by confidence interval.

use crate::analysis::{gc, mutator, task, wall};
use crate::record::{Iteration, Outcome, Purpose, Record};
use crate::stats::Ratio;
use std::collections::BTreeMap;

/// Fewer invocations than this on a side, and a comparison of times is marked.
pub const FEW: usize = 5;

/// Reads a time off an iteration, in nanoseconds.
pub type Time = fn(&Iteration) -> f64;

/// The times that are compared: what they are called, and where they stand.
pub const TIMES: [(&str, Time); 4] = [("wall", wall), ("task", task), ("mutator", mutator), ("gc", gc)];

/// One point of the experiment on both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The program.
    pub program: String,
    /// The configurations, one when they are the same.
    pub config: String,
    /// The heap's limit in bytes.
    pub heap_bytes: u64,
    /// Invocations that ended well, on each side.
    pub invocations: (usize, usize),
    /// Times on the second side as multiples of those on the first, by [`TIMES`]; `None` where there are too few or nothing was to time.
    pub times: Vec<Option<Ratio>>,
    /// Counters that differ: name, and value on each side.
    pub counters: Vec<(String, Option<u64>, Option<u64>)>,
    /// Outcomes that differ.
    pub outcomes: Option<(String, String)>,
    /// Why the times are to be taken with care.
    pub marks: Vec<String>,
}

/// Two sets of records, compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// What stands on both sides.
    pub pairs: Vec<Pair>,
    /// What was not compared, and why: it would have been unsound.
    pub refused: Vec<(String, String)>,
    /// What stands on one side only.
    pub unpaired: Vec<String>,
}

/// How two sets belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matching {
    /// Two runs: the same configurations, measured at different times.
    Runs,
    /// Two configurations of one run, whose repetitions ran side by side: configurations are not told apart within a side.
    Configs,
}

/// What invocations are repetitions of.
type Key = (String, String, u64);

impl Comparison {
    /// Compares `head` with `base`. Intervals of times have the level of confidence `level` *together*: each has the level that Bonferroni's
    /// correction gives for so many.
    pub fn of(base: &[&Record], head: &[&Record], matching: Matching, level: f64) -> Comparison {
        let mut comparison = Comparison::default();
        let (bases, heads) = (cells(base, matching), cells(head, matching));
        let both = bases.keys().filter(|key| heads.contains_key(*key)).count();
        let level = 1.0 - (1.0 - level) / both.max(1) as f64;
        for (key, base) in &bases {
            let Some(head) = heads.get(key) else {
                comparison.unpaired.push(format!("{}: in the first only", name(key)));
                continue;
            };
            match unsound(base, head) {
                Some(why) => comparison.refused.push((name(key), why)),
                None => comparison.pairs.push(pair(key, base, head, matching, level)),
            }
        }
        let missing = heads.keys().filter(|key| !bases.contains_key(*key));
        comparison.unpaired.extend(missing.map(|key| format!("{}: in the second only", name(key))));
        comparison
    }

    /// Pairs whose counters or outcomes differ.
    pub fn changed(&self) -> impl Iterator<Item = &Pair> {
        self.pairs.iter().filter(|pair| !pair.counters.is_empty() || pair.outcomes.is_some())
    }

    /// Pairs whose time of kind `time` is longer on the second side, and not by chance.
    pub fn slower(&self, time: usize) -> impl Iterator<Item = &Pair> {
        self.pairs.iter().filter(move |pair| pair.times[time].is_some_and(|ratio| ratio.low > 1.0))
    }

    /// Pairs whose time of kind `time` is shorter on the second side, and not by chance.
    pub fn faster(&self, time: usize) -> impl Iterator<Item = &Pair> {
        self.pairs.iter().filter(move |pair| pair.times[time].is_some_and(|ratio| ratio.high < 1.0))
    }
}

fn name((program, config, heap): &Key) -> String {
    let config = if config.is_empty() { String::new() } else { format!(" under {config}") };
    format!("{program}{config} in {} KiB", heap.div_ceil(1024))
}

/// Records by what they are repetitions of, in the order of invocations.
fn cells<'a>(records: &[&'a Record], matching: Matching) -> BTreeMap<Key, Vec<&'a Record>> {
    let mut cells: BTreeMap<Key, Vec<&Record>> = BTreeMap::new();
    for record in records.iter().filter(|record| record.purpose == Purpose::Bench) {
        let config = if matching == Matching::Configs { String::new() } else { record.cell.config.clone() };
        cells.entry((record.cell.program.clone(), config, record.cell.heap_bytes)).or_default().push(record);
    }
    cells.values_mut().for_each(|records| records.sort_by_key(|record| record.invocation));
    cells
}

/// Why two sets of invocations must not be compared.
fn unsound(base: &[&Record], head: &[&Record]) -> Option<String> {
    let all = || base.iter().chain(head);
    let one = |value: &dyn Fn(&Record) -> String| {
        let first = value(base[0]);
        all().all(|record| value(record) == first)
    };
    if !one(&|record| record.program.sha256.clone()) {
        return Some("the programs are not the same: their hashes differ".into());
    }
    if !one(&|record| format!("{} {:?}", record.program.function, record.program.args)) {
        return Some("the programs did not get the same arguments".into());
    }
    if !one(&|record| record.heap.policy.clone()) {
        return Some("the heaps' policies differ".into());
    }
    let options = |record: &Record| {
        let options = &record.options;
        format!("{:?} {} {} {:?}", options.warmup, options.iterations, options.count_objects, options.rate)
    };
    (!one(&options)).then(|| "they ran in different ways: iterations, warm-up or what was counted differ".into())
}

fn pair(key: &Key, base: &[&Record], head: &[&Record], matching: Matching, level: f64) -> Pair {
    let well = |records: &[&Record]| records.iter().filter(|record| record.outcome == Outcome::Ok).count();
    let invocations = (well(base), well(head));
    let configs = |records: &[&Record]| records[0].cell.config.clone();
    let config = match matching {
        Matching::Runs => configs(base),
        Matching::Configs => format!("{} → {}", configs(base), configs(head)),
    };
    let times = TIMES.map(|(_, time)| ratio(base, head, time, matching, level)).to_vec();
    Pair {
        program: key.0.clone(),
        config,
        heap_bytes: key.2,
        invocations,
        times,
        counters: counters(base, head),
        outcomes: outcomes(base, head),
        marks: marks(base, head, invocations),
    }
}

/// How a time differs. Repetitions that ran side by side are paired.
fn ratio(base: &[&Record], head: &[&Record], time: Time, matching: Matching, level: f64) -> Option<Ratio> {
    let times = |records: &[&Record]| {
        let means = records.iter().filter_map(|record| Some((record.invocation, record.mean(time)?)));
        means.collect::<BTreeMap<u32, f64>>()
    };
    let (base, head) = (times(base), times(head));
    if matching == Matching::Configs {
        let (base, head): (Vec<f64>, Vec<f64>) =
            base.iter().filter_map(|(invocation, base)| Some((*base, *head.get(invocation)?))).unzip();
        return Ratio::paired(&base, &head, level);
    }
    let values = |times: BTreeMap<u32, f64>| times.into_values().collect::<Vec<f64>>();
    Ratio::of(&values(base), &values(head), level)
}

/// Exact counts of the first invocation that ended well: of its last iteration.
fn exact(records: &[&Record]) -> Option<(BTreeMap<String, u64>, String)> {
    let record = records.iter().find(|record| record.outcome == Outcome::Ok)?;
    let iteration = record.timed().last()?;
    Some((iteration.counters.clone(), iteration.collections.digest.clone()))
}

fn counters(base: &[&Record], head: &[&Record]) -> Vec<(String, Option<u64>, Option<u64>)> {
    let (Some((base, base_digest)), Some((head, head_digest))) = (exact(base), exact(head)) else { return Vec::new() };
    let names: std::collections::BTreeSet<&String> = base.keys().chain(head.keys()).collect();
    let values = names.into_iter().map(|name| (name.clone(), base.get(name).copied(), head.get(name).copied()));
    // What one side does not count it has not done.
    let mut differing: Vec<_> = values.filter(|(_, base, head)| base.unwrap_or(0) != head.unwrap_or(0)).collect();
    // Sums may agree where single collections do not.
    if differing.is_empty() && base_digest != head_digest {
        differing.push(("collections, one by one".into(), None, None));
    }
    differing
}

fn outcomes(base: &[&Record], head: &[&Record]) -> Option<(String, String)> {
    let of = |records: &[&Record]| {
        let mut names: Vec<&str> = records.iter().map(|record| record.outcome.name()).collect();
        names.sort_unstable();
        names.dedup();
        names.join(", ")
    };
    let (base, head) = (of(base), of(head));
    (base != head).then_some((base, head))
}

/// What makes a comparison of times doubtful.
fn marks(base: &[&Record], head: &[&Record], invocations: (usize, usize)) -> Vec<String> {
    let mut marks = Vec::new();
    let least = invocations.0.min(invocations.1);
    if least < FEW {
        marks.push(format!("{least} invocations are few: {FEW} at least"));
    }
    let all = || base.iter().chain(head);
    let same = |value: &dyn Fn(&Record) -> String| all().all(|record| value(record) == value(base[0]));
    if !same(&|record| format!("{} {}", record.host.cpu, record.host.cores)) {
        marks.push("the machines differ".into());
    }
    if all().any(|record| record.build.profile != "release") {
        marks.push("Gleaner was not built for release".into());
    }
    let heavy = all().filter(|record| record.host.load > record.host.cores as f64).count();
    if heavy * 2 >= base.len() + head.len() {
        marks.push("the machine was busy with other work".into());
    }
    if all().any(|record| record.timed().any(|iteration| iteration.collections.dropped > 0)) {
        marks.push("more collections than were remembered".into());
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::samples::record;
    use crate::stats::LEVEL;

    /// Ten invocations that take `wall` and a few per cent more or less.
    fn run(config: &str, wall: u64) -> Vec<Record> {
        let one = |invocation: u32| {
            let mut record = record("p", config, invocation);
            let time = wall + wall / 100 * u64::from(invocation * 7 % 5);
            record.iterations[0].wall_ns = time;
            record.iterations[0].task_ns = time;
            record.iterations[0].gc_ns = time / 10;
            record.iterations[0].counters.insert("objects_traced".into(), 17);
            record
        };
        (0..10).map(one).collect()
    }

    fn compare(base: &[Record], head: &[Record]) -> Comparison {
        Comparison::of(&base.iter().collect::<Vec<_>>(), &head.iter().collect::<Vec<_>>(), Matching::Runs, LEVEL)
    }

    #[test]
    fn the_same_twice_is_no_difference() {
        let comparison = compare(&run("a", 1_000_000), &run("a", 1_000_000));
        assert_eq!(comparison.pairs.len(), 1);
        assert_eq!(
            (comparison.changed().count(), comparison.slower(0).count(), comparison.faster(0).count()),
            (0, 0, 0)
        );
        assert!(comparison.pairs[0].marks.is_empty());
    }

    #[test]
    fn slower_and_faster_are_told_by_the_interval() {
        let (base, head) = (run("a", 1_000_000), run("a", 1_100_000));
        assert_eq!(compare(&base, &head).slower(0).count(), 1);
        assert_eq!(compare(&head, &base).faster(0).count(), 1);
        assert_eq!(compare(&base, &run("a", 1_005_000)).slower(0).count(), 0, "within the noise");
    }

    #[test]
    fn counters_are_compared_exactly() {
        let (base, mut head) = (run("a", 1_000_000), run("a", 1_000_000));
        head.iter_mut().for_each(|record| *record.iterations[0].counters.get_mut("objects_traced").unwrap() = 18);
        let comparison = compare(&base, &head);
        assert_eq!(comparison.pairs[0].counters, [("objects_traced".to_string(), Some(17), Some(18))]);
        let mut head = run("a", 1_000_000);
        head.iter_mut().for_each(|record| record.iterations[0].collections.digest = "other".into());
        assert_eq!(compare(&base, &head).changed().count(), 1, "collections differ one by one");
    }

    #[test]
    fn unsound_comparisons_are_refused_or_marked() {
        let base = run("a", 1_000_000);
        let changed = |change: fn(&mut Record)| {
            let mut head = run("a", 1_000_000);
            head.iter_mut().for_each(change);
            compare(&base, &head)
        };
        let refused = |change, why: &str| {
            let comparison = changed(change);
            assert!(comparison.pairs.is_empty() && comparison.refused[0].1.contains(why), "{comparison:?}");
        };
        refused(|record| record.program.sha256 = "22".into(), "hashes");
        refused(|record| record.program.args = vec!["9".into()], "arguments");
        refused(|record| record.heap.policy = "sqrt".into(), "policies");
        refused(|record| record.options.iterations = 9, "different ways");
        let marked = |change, why: &str| {
            let comparison = changed(change);
            assert!(comparison.pairs[0].marks.iter().any(|mark| mark.contains(why)), "{comparison:?}");
        };
        marked(|record| record.host.cpu = "another".into(), "machines differ");
        marked(|record| record.build.profile = "debug".into(), "release");
        marked(|record| record.host.load = 9.0, "busy");
        let few = compare(&base, &run("a", 1_000_000)[..3]);
        assert!(few.pairs[0].marks[0].contains("few"), "{few:?}");
        let other_heap = changed(|record| record.cell.heap_bytes *= 2);
        assert!(other_heap.pairs.is_empty() && other_heap.unpaired.len() == 2, "{other_heap:?}");
    }

    #[test]
    fn failures_are_differences() {
        let (base, mut head) = (run("a", 1_000_000), run("a", 1_000_000));
        head.iter_mut().for_each(|record| record.outcome = Outcome::Oom);
        let comparison = compare(&base, &head);
        assert_eq!(comparison.pairs[0].outcomes, Some(("ok".into(), "oom".into())));
        assert_eq!(comparison.changed().count(), 1);
    }

    #[test]
    fn configurations_of_a_run_are_paired() {
        let (base, head) = (run("a", 1_000_000), run("b", 1_030_000));
        let (base, head): (Vec<_>, Vec<_>) = (base.iter().collect(), head.iter().collect());
        let comparison = Comparison::of(&base, &head, Matching::Configs, LEVEL);
        assert_eq!(comparison.slower(0).count(), 1, "3 % are seen between pairs");
        assert_eq!(comparison.pairs[0].config, "a → b");
        assert_eq!(Comparison::of(&base, &head, Matching::Runs, LEVEL).pairs.len(), 0);
    }
}
