//! Records by what they measure: programs × configurations × heap sizes.

use crate::files::Records;
use crate::plan::LARGEST;
use crate::record::{Iteration, Outcome, Purpose, Record};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// How large a heap is, as the plan gave it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Level {
    /// As a multiple of the smallest heap.
    Multiple(f64),
    /// In bytes.
    Bytes(u64),
    /// The largest heap there is: a baseline, beside all other sizes.
    Largest,
}

impl Level {
    /// Of a record.
    pub fn of(record: &Record) -> Level {
        match record.heap.multiple {
            Some(multiple) => Level::Multiple(multiple),
            None if record.cell.heap_bytes >= LARGEST => Level::Largest,
            None => Level::Bytes(record.cell.heap_bytes),
        }
    }

    fn rank(self) -> (u8, f64) {
        match self {
            Level::Multiple(multiple) => (0, multiple),
            Level::Bytes(bytes) => (1, bytes as f64),
            Level::Largest => (2, 0.0),
        }
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Level::Multiple(multiple) => write!(f, "{multiple}×"),
            Level::Bytes(bytes) => f.write_str(&crate::text::size(*bytes)),
            Level::Largest => f.write_str("largest heap"),
        }
    }
}

impl Ord for Level {
    fn cmp(&self, other: &Level) -> Ordering {
        let (a, b) = (self.rank(), other.rank());
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
    }
}

impl PartialOrd for Level {
    fn partial_cmp(&self, other: &Level) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Level {
    fn eq(&self, other: &Level) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Level {}

/// What records there are to show.
#[derive(Debug)]
pub(super) struct Study<'a> {
    /// Programs, by name.
    pub programs: Vec<&'a str>,
    /// Those of them that run as fast as they can. How long it takes to serve requests at a given rate says nothing.
    pub timed: Vec<&'a str>,
    /// Configurations, by label.
    pub configs: Vec<&'a str>,
    /// Heap sizes but for [`Level::Largest`], in rising order.
    pub levels: Vec<Level>,
    /// Everything that was read.
    pub read: &'a Records,
    /// By program, configuration and level.
    cells: BTreeMap<&'a str, BTreeMap<&'a str, BTreeMap<Level, Vec<&'a Record>>>>,
}

impl<'a> Study<'a> {
    /// Of the records that measure.
    pub fn new(read: &'a Records) -> Study<'a> {
        let [mut programs, mut timed, mut configs] = [(); 3].map(|()| BTreeSet::new());
        let mut levels = BTreeSet::new();
        let mut cells: BTreeMap<&str, BTreeMap<&str, BTreeMap<Level, Vec<&Record>>>> = BTreeMap::new();
        for record in read.records.iter().filter(|record| record.purpose == Purpose::Bench) {
            let level = Level::of(record);
            let (program, config) = (record.cell.program.as_str(), record.cell.config.as_str());
            programs.insert(program);
            if record.options.rate.is_none() {
                timed.insert(program);
            }
            configs.insert(config);
            levels.insert(level);
            let configs = cells.entry(program).or_default();
            configs.entry(config).or_default().entry(level).or_default().push(record);
        }
        let all = cells.values_mut().flat_map(|configs| configs.values_mut().flat_map(|levels| levels.values_mut()));
        all.for_each(|records| records.sort_by_key(|record| record.invocation));
        let levels = levels.into_iter().filter(|level| *level != Level::Largest).collect();
        let [programs, timed, configs] = [programs, timed, configs].map(|names| names.into_iter().collect());
        Study { programs, timed, configs, levels, read, cells }
    }

    /// The invocations of a cell, in order.
    pub fn cell(&self, program: &str, config: &str, level: Level) -> &[&'a Record] {
        let levels = self.cells.get(program).and_then(|configs| configs.get(config));
        levels.and_then(|levels| levels.get(&level)).map_or(&[], Vec::as_slice)
    }

    /// The invocations of a cell; those with the largest heap where the configuration ran in no other.
    pub fn near(&self, program: &str, config: &str, level: Level) -> &[&'a Record] {
        if self.is_baseline(config) {
            self.cell(program, config, Level::Largest)
        } else {
            self.cell(program, config, level)
        }
    }

    /// Whether a configuration ran in the largest heap alone while others did not.
    pub fn is_baseline(&self, config: &str) -> bool {
        let levels = self.cells.values().filter_map(|configs| configs.get(config));
        !self.levels.is_empty() && levels.flat_map(BTreeMap::keys).all(|level| *level == Level::Largest)
    }

    /// Every record of a program that measures.
    pub fn program(&self, program: &str) -> Vec<&'a Record> {
        let levels = self.cells.get(program).into_iter().flat_map(BTreeMap::values);
        levels.flat_map(BTreeMap::values).flatten().copied().collect()
    }

    /// Every record that measures.
    pub fn all(&self) -> Vec<&'a Record> {
        self.programs.iter().flat_map(|program| self.program(program)).collect()
    }

    /// The sizes that can be chosen where one has to be: all, or the largest heap if there was no other.
    pub fn choices(&self) -> Vec<Level> {
        if self.levels.is_empty() { vec![Level::Largest] } else { self.levels.clone() }
    }

    /// Which of the [choices](Self::choices) is shown at first: twice the minimum, or the one in the middle.
    pub fn first_choice(&self) -> usize {
        let twice = self.levels.iter().position(|level| *level == Level::Multiple(2.0));
        twice.unwrap_or(self.levels.len() / 2)
    }

    /// The sizes of the axis on which a program's heaps are drawn: multiples, unless it has none.
    pub fn axis(&self, program: &str) -> Vec<Level> {
        let levels = self.cells.get(program).into_iter().flat_map(BTreeMap::values).flat_map(BTreeMap::keys).copied();
        let levels: BTreeSet<Level> = levels.filter(|level| *level != Level::Largest).collect();
        let multiples: Vec<Level> =
            levels.iter().copied().filter(|level| matches!(level, Level::Multiple(_))).collect();
        if multiples.is_empty() { levels.into_iter().collect() } else { multiples }
    }
}

/// The means of those invocations of a cell that ended well.
pub(super) fn values(records: &[&Record], value: impl Fn(&Iteration) -> f64 + Copy) -> Vec<f64> {
    records.iter().filter_map(|record| record.mean(value)).collect()
}

/// What went wrong in a cell, as in `2 oom, 1 timeout`; `None` when nothing did.
pub(super) fn failures(records: &[&Record]) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for record in records.iter().filter(|record| record.outcome != Outcome::Ok) {
        *counts.entry(record.outcome.name()).or_default() += 1;
    }
    let words: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// The name of the first failure in a cell.
pub(super) fn failure(records: &[&Record]) -> Option<&'static str> {
    records.iter().find(|record| record.outcome != Outcome::Ok).map(|record| record.outcome.name())
}

#[cfg(test)]
pub(super) mod samples {
    use super::*;
    use crate::record::samples::record;

    /// A record of a program that took `wall` and spent `gc` of it in a collection, in a heap of so many times the minimum.
    pub fn run(program: &str, config: &str, multiple: Option<f64>, invocation: u32, wall: u64, gc: u64) -> Record {
        let mut record = record(program, config, invocation);
        record.heap.multiple = multiple;
        record.heap.minimum_bytes = multiple.map(|_| 1 << 20);
        record.cell.heap_bytes = multiple.map_or(LARGEST, |multiple| (multiple * f64::from(1 << 20)) as u64);
        let iteration = &mut record.iterations[0];
        (iteration.wall_ns, iteration.task_ns, iteration.gc_ns, iteration.gc_task_ns) = (wall, wall, gc, gc);
        if gc > 0 {
            iteration.collections.start_ns = vec![wall / 2];
            iteration.collections.pause_ns = vec![gc];
        }
        record
    }

    /// The same, failed.
    pub fn failed(program: &str, config: &str, multiple: f64, invocation: u32, outcome: Outcome) -> Record {
        let mut record = run(program, config, Some(multiple), invocation, 1, 0);
        record.outcome = outcome;
        record.iterations.clear();
        record
    }

    pub fn read(records: Vec<Record>) -> Records {
        Records { files: vec![("a.jsonl".into(), records.len())], records, damaged: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::samples::*;
    use super::*;

    #[test]
    fn records_are_sorted_by_what_they_measure() {
        let read = read(vec![
            run("p", "b", Some(2.0), 1, 10, 1),
            run("p", "b", Some(2.0), 0, 10, 1),
            run("p", "a", Some(1.5), 0, 10, 1),
            failed("p", "b", 1.5, 0, Outcome::Oom),
            run("p", "null", None, 0, 10, 0),
        ]);
        let study = Study::new(&read);
        assert_eq!(study.configs, ["a", "b", "null"]);
        assert_eq!(study.levels, [Level::Multiple(1.5), Level::Multiple(2.0)]);
        let invocations: Vec<u32> =
            study.cell("p", "b", Level::Multiple(2.0)).iter().map(|record| record.invocation).collect();
        assert_eq!(invocations, [0, 1]);
        assert!(study.is_baseline("null") && !study.is_baseline("a"));
        assert_eq!(study.near("p", "null", Level::Multiple(2.0)).len(), 1);
        assert_eq!(failures(study.cell("p", "b", Level::Multiple(1.5))).as_deref(), Some("1 oom"));
        assert_eq!(study.first_choice(), 1);
        assert_eq!(Level::Bytes(3 << 20).to_string(), "3.00 MiB");
    }

    #[test]
    fn without_other_sizes_the_largest_heap_is_what_can_be_chosen() {
        let read = read(vec![run("p", "a", None, 0, 10, 1)]);
        let study = Study::new(&read);
        assert_eq!((study.choices(), study.is_baseline("a")), (vec![Level::Largest], false));
        assert_eq!(study.near("p", "a", Level::Largest).len(), 1);
    }
}
