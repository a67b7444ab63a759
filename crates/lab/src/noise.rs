//! The noise floor of a set of records: how much the same differs from itself.

use crate::analysis::wall;
use crate::record::{Cell, Purpose, Record};
use crate::stats::quantile;
use std::collections::BTreeMap;
use std::fmt;

/// The fewest invocations that a half must have.
const FEWEST: usize = 2;

/// What two halves of the same measurements differ by: the invocations of each configuration are dealt to two piles in turn, and the mean times of
/// the piles held against each other. As both have run the same code on the same machine in the same hours, what they differ by is noise,
/// and a difference between two configurations that is no larger says nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoiseFloor {
    /// Configurations, each of one program in one heap, that were invoked often enough.
    pub cells: usize,
    /// The median of the differences, as a share of the time: 0.01 is a hundredth.
    pub median: f64,
    /// What nineteen of twenty do not exceed.
    pub most: f64,
}

impl NoiseFloor {
    /// Of the measurements among `records` that ended well; `None` when nothing was invoked four times. Programs that wait for requests take as long
    /// as the requests do, and are left out.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Option<NoiseFloor> {
        let mut cells: BTreeMap<&Cell, Vec<(u32, f64)>> = BTreeMap::new();
        let measured = |record: &&Record| record.purpose == Purpose::Bench && record.options.rate.is_none();
        for record in records.into_iter().filter(measured) {
            if let Some(time) = record.mean(wall) {
                cells.entry(&record.cell).or_default().push((record.invocation, time));
            }
        }
        let mut differences: Vec<f64> = cells.into_values().filter_map(halves_differ_by).collect();
        let (median, most) = (quantile(&mut differences, 0.5)?, quantile(&mut differences, 0.95)?);
        Some(NoiseFloor { cells: differences.len(), median, most })
    }
}

/// By what share of it the mean time of every other invocation differs from that of the others.
fn halves_differ_by(mut times: Vec<(u32, f64)>) -> Option<f64> {
    times.sort_unstable_by_key(|(invocation, _)| *invocation);
    let mean = |first: usize| {
        let half: Vec<f64> = times.iter().skip(first).step_by(2).map(|(_, time)| *time).collect();
        (half.len() >= FEWEST).then(|| half.iter().sum::<f64>() / half.len() as f64)
    };
    let (one, other) = (mean(0)?, mean(1)?);
    Some(one.max(other) / one.min(other) - 1.0).filter(|difference| difference.is_finite())
}

impl fmt::Display for NoiseFloor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NoiseFloor { cells, median, most } = self;
        let [median, most] = [median, most].map(|share| share * 100.0);
        write!(
            f,
            "{median:.1} % in the median, {most:.1} % in 95 of 100 (two halves of the same invocations, {cells} configurations)"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Outcome, samples::record};

    fn took(program: &str, invocation: u32, wall_ns: u64) -> Record {
        let mut record = record(program, "a", invocation);
        record.iterations.iter_mut().for_each(|iteration| iteration.wall_ns = wall_ns);
        record
    }

    #[test]
    fn halves_are_held_against_each_other() {
        // By hand: (100 + 104) / 2 = 102 against (101 + 109) / 2 = 105, in whatever order the records stand.
        let mut records: Vec<Record> =
            [(3, 109), (0, 100), (1, 101), (2, 104)].map(|(invocation, time)| took("p", invocation, time)).into();
        let floor = NoiseFloor::of(&records).unwrap();
        assert_eq!((floor.cells, floor.median), (1, 105.0 / 102.0 - 1.0));
        assert!(floor.to_string().starts_with("2.9 % in the median, 2.9 % in 95 of 100"), "{floor}");
        // A program that does not vary halves the median; what failed or was invoked too seldom says nothing.
        records.extend((0..5).map(|invocation| took("q", invocation, 7)));
        records.extend((0..3).map(|invocation| took("r", invocation, u64::from(invocation) + 1)));
        let floor = NoiseFloor::of(&records).unwrap();
        assert_eq!((floor.cells, floor.median, floor.most), (2, 0.0, 105.0 / 102.0 - 1.0));
        records.iter_mut().for_each(|record| record.outcome = Outcome::Oom);
        assert_eq!(NoiseFloor::of(&records), None);
    }

    #[test]
    fn searches_and_open_loops_are_left_out() {
        let of = |change: fn(&mut Record)| {
            let mut records: Vec<Record> = (0..4).map(|i| took("p", i, 5)).collect();
            records.iter_mut().for_each(change);
            NoiseFloor::of(&records)
        };
        assert_eq!(of(|_| {}).map(|floor| floor.median), Some(0.0));
        assert_eq!(of(|record| record.purpose = Purpose::Minheap), None);
        assert_eq!(of(|record| record.options.rate = Some(100)), None);
    }
}
