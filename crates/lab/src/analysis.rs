//! What is computed from records: lower-bound overheads, mutator utilisation, latencies.

use crate::record::{Histogram, Iteration, Record};
use crate::stats::quantile;
use hdrhistogram::Histogram as Hdr;

/// Wall-clock time of an iteration, in nanoseconds.
pub fn wall(iteration: &Iteration) -> f64 {
    iteration.wall_ns as f64
}

/// Processor time of an iteration, in nanoseconds.
pub fn task(iteration: &Iteration) -> f64 {
    iteration.task_ns as f64
}

/// Wall-clock time of collections, in nanoseconds.
pub fn gc(iteration: &Iteration) -> f64 {
    iteration.gc_ns as f64
}

/// Processor time of collections, in nanoseconds.
pub fn gc_task(iteration: &Iteration) -> f64 {
    iteration.gc_task_ns as f64
}

/// Wall-clock time of the program itself, in nanoseconds.
pub fn mutator(iteration: &Iteration) -> f64 {
    iteration.mutator_ns() as f64
}

/// A total cost and the part of it that is known to be the collector's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// All of it.
    pub total: f64,
    /// What pauses cost.
    pub explicit: f64,
}

impl Cost {
    /// Its wall-clock time.
    pub fn wall(record: &Record) -> Option<Cost> {
        Some(Cost { total: record.mean(wall)?, explicit: record.mean(gc)? })
    }

    /// Its processor time.
    pub fn task(record: &Record) -> Option<Cost> {
        Some(Cost { total: record.mean(task)?, explicit: record.mean(gc_task)? })
    }
}

/// The lower-bound overhead of each of `costs`, all of one program: its total divided by the smallest total that any of them has without
/// what is explicitly the collector's. That baseline is more than the program would cost without a collector, so that the true overhead
/// is at least this (Z. Cai, S. M. Blackburn, M. D. Bond, M. Maas, *Distilling the real cost of production garbage collectors*, ISPASS
/// 2022, §3). A collector that never collects and has no barriers has 1.00 when it sets the baseline.
pub fn lower_bound_overheads(costs: &[Cost]) -> Vec<f64> {
    let distilled = costs.iter().map(|cost| cost.total - cost.explicit);
    let baseline = distilled.fold(f64::INFINITY, f64::min);
    costs.iter().map(|cost| cost.total / baseline).collect()
}

/// When a program was stopped: pauses `(start, length)` in nanoseconds, in order and apart, of a run of `total` nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    pauses: Vec<(u64, u64)>,
    /// `sums[i]` is the length of all pauses before the `i`th.
    sums: Vec<u64>,
    total: u64,
}

impl Timeline {
    /// Of an iteration.
    pub fn of(iteration: &Iteration) -> Timeline {
        let collections = &iteration.collections;
        let pauses = collections.start_ns.iter().copied().zip(collections.pause_ns.iter().copied());
        Timeline::new(pauses.collect(), iteration.wall_ns)
    }

    /// Of pauses. What overlaps is taken together.
    pub fn new(mut pauses: Vec<(u64, u64)>, total: u64) -> Timeline {
        pauses.sort_unstable();
        let mut apart: Vec<(u64, u64)> = Vec::with_capacity(pauses.len());
        for (start, length) in pauses {
            let (start, end) = (start.min(total), start.saturating_add(length).min(total));
            match apart.last_mut() {
                Some((last, length)) if *last + *length >= start => *length = (*length).max(end.saturating_sub(*last)),
                _ => apart.push((start, end - start)),
            }
        }
        let mut sum = 0;
        let mut sums = Vec::with_capacity(apart.len() + 1);
        for (_, length) in &apart {
            sums.push(sum);
            sum += length;
        }
        sums.push(sum);
        Timeline { pauses: apart, sums, total }
    }

    /// How long the program was stopped before `time`. `cursor` is the number of pauses that began before the last `time` that was asked
    /// for with it, which was no later.
    fn stopped_before(&self, time: u64, cursor: &mut usize) -> u64 {
        while self.pauses.get(*cursor).is_some_and(|(start, _)| *start < time) {
            *cursor += 1;
        }
        match cursor.checked_sub(1) {
            None => 0,
            Some(last) => {
                let (start, length) = self.pauses[last];
                self.sums[last] + length.min(time - start)
            }
        }
    }

    /// The minimum mutator utilisation in windows of `window` nanoseconds: the smallest share of one in which the program ran (P. Cheng, G.
    /// E. Blelloch, *A parallel, real-time garbage collector*, PLDI 2001, §2). A window longer than the run is the run.
    ///
    /// Cost: O(pauses). The worst window begins where a pause does or ends where one does.
    pub fn mmu(&self, window: u64) -> f64 {
        let window = window.min(self.total);
        if window == 0 {
            return 1.0;
        }
        let last = self.total - window;
        // Windows of either kind, each in rising order.
        let starts = self.pauses.iter().map(|(start, _)| *start);
        let ends = self.pauses.iter().map(|(start, length)| (start + length).saturating_sub(window));
        let worst = self.most_stopped(starts.chain([last]), window, last);
        let worst = worst.max(self.most_stopped([0].into_iter().chain(ends), window, last));
        (window - worst) as f64 / window as f64
    }

    /// The most that the program was stopped in any window that begins at one of `starts`, which rise, or at `last` at the latest.
    fn most_stopped(&self, starts: impl Iterator<Item = u64>, window: u64, last: u64) -> u64 {
        let (mut before, mut within) = (0, 0);
        let stopped = starts.map(|start| {
            let start = start.min(last);
            self.stopped_before(start + window, &mut within) - self.stopped_before(start, &mut before)
        });
        stopped.max().unwrap_or(0)
    }

    /// The curve of [`Self::mmu`] over windows from 10 µs to the run's length, evenly spaced on a logarithmic scale.
    pub fn mmu_curve(&self, points: usize) -> Vec<(u64, f64)> {
        windows(self.total, points).into_iter().map(|window| (window, self.mmu(window))).collect()
    }

    /// Its longest pause.
    pub fn longest(&self) -> u64 {
        self.pauses.iter().map(|(_, length)| *length).max().unwrap_or(0)
    }
}

/// Windows from 10 µs to `longest`, evenly spaced on a logarithmic scale.
pub fn windows(longest: u64, points: usize) -> Vec<u64> {
    const SHORTEST: f64 = 10_000.0;
    let longest = (longest as f64).max(SHORTEST * 10.0);
    let step = (longest / SHORTEST).powf(1.0 / (points.max(2) - 1) as f64);
    (0..points.max(2)).map(|i| (SHORTEST * step.powi(i as i32)).round() as u64).collect()
}

/// Requests that a server answered, by when each was taken up and when it was answered, in nanoseconds since the first arrived. They
/// arrive one after the other in equal intervals and are taken up in that order.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// `(start, end)`.
    pub served: Vec<(u64, u64)>,
}

impl Requests {
    /// From when each was taken up to its answer.
    pub fn simple(&self) -> Vec<u64> {
        self.served.iter().map(|(start, end)| end - start).collect()
    }

    /// From when each arrived, had they arrived every `interval` nanoseconds, to its answer; at least the simple latency. A pause delays
    /// all that arrive while it lasts, and not only the one that was being served (S. M. Blackburn et al., *Rethinking Java performance
    /// analysis*, ASPLOS 2025, §4.4; G. Tene calls what simple latency leaves out *coordinated omission*).
    pub fn metered(&self, interval: f64) -> Vec<u64> {
        let arrival = |i: usize| (i as f64 * interval) as u64;
        let served = self.served.iter().enumerate();
        served.map(|(i, (start, end))| (end - start).max(end.saturating_sub(arrival(i)))).collect()
    }
}

/// Counts values, precise to three digits.
pub fn histogram(values: &[u64]) -> Histogram {
    let mut histogram = Hdr::<u64>::new(3).expect("three digits are fine");
    histogram.auto(true);
    for value in values {
        // It resizes itself: only memory could fail it.
        let _ = histogram.record((*value).max(1));
    }
    histogram.iter_recorded().map(|value| (value.value_iterated_to(), value.count_since_last_iteration())).collect()
}

/// The value of a histogram that the fraction `q` does not exceed; `None` of nothing.
pub fn histogram_quantile(histogram: &Histogram, q: f64) -> Option<u64> {
    let all: u64 = histogram.iter().map(|(_, count)| count).sum();
    let rank = ((q * all as f64).ceil() as u64).max(1);
    let mut seen = 0;
    histogram
        .iter()
        .find(|(_, count)| {
            seen += count;
            seen >= rank
        })
        .map(|(value, _)| *value)
}

/// Adds one histogram to another.
pub fn merge(into: &mut Histogram, other: &Histogram) {
    into.extend(other);
    into.sort_unstable();
    into.dedup_by(|next, last| {
        let same = next.0 == last.0;
        if same {
            last.1 += next.1;
        }
        same
    });
}

/// Percentiles of pauses that reports show.
pub const PERCENTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// The [`PERCENTILES`] of the pauses of all timed iterations of `records`, and the longest; `None` when there was none.
pub fn pause_percentiles<'a>(records: impl IntoIterator<Item = &'a Record>) -> Option<(Vec<u64>, u64, usize)> {
    let mut pauses: Vec<u64> = records
        .into_iter()
        .flat_map(Record::timed)
        .flat_map(|iteration| iteration.collections.pause_ns.iter().copied())
        .collect();
    let longest = pauses.iter().max().copied()?;
    let percentiles = PERCENTILES.map(|q| quantile(&mut pauses, q).unwrap_or_default()).to_vec();
    Some((percentiles, longest, pauses.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn overheads_are_relative_to_the_cheapest_program() {
        let cost = |total, explicit| Cost { total, explicit };
        // A null collector, one with cheap barriers and costly pauses, one with costly barriers.
        let overheads = lower_bound_overheads(&[cost(100.0, 0.0), cost(150.0, 45.0), cost(130.0, 10.0)]);
        assert_eq!(overheads, [1.0, 1.5, 1.3]);
        // Without null, the baseline is more, and the overheads are less.
        let overheads = lower_bound_overheads(&[cost(150.0, 45.0), cost(130.0, 10.0)]);
        assert!((overheads[0] - 150.0 / 105.0).abs() < 1e-12 && overheads[1] < 1.3);
    }

    #[test]
    fn utilisation_by_hand() {
        // Stopped in [10, 20) and [24, 30) of 100.
        let timeline = Timeline::new(vec![(10, 10), (24, 6)], 100);
        assert_eq!(timeline.mmu(10), 0.0);
        assert_eq!(timeline.mmu(5), 0.0);
        // The worst window of 20 is [10, 30): 16 of it stopped.
        assert_eq!(timeline.mmu(20), 0.2);
        assert_eq!(timeline.mmu(100), 0.84);
        assert_eq!(timeline.mmu(1000), 0.84);
        assert_eq!(timeline.longest(), 10);
        assert_eq!(Timeline::new(vec![], 100).mmu(7), 1.0);
        assert_eq!(Timeline::new(vec![(0, 5), (3, 4)], 10).longest(), 7);
    }

    proptest! {
        /// The definition: every window, wherever it begins.
        #[test]
        fn utilisation_is_that_of_the_worst_window(
            pauses in prop::collection::vec((0u64..200, 0u64..30), 0..10), window in 1u64..220, total in 200u64..260,
        ) {
            let timeline = Timeline::new(pauses.clone(), total);
            let stopped = |t: u64| pauses.iter().any(|(start, length)| (*start..start + length).contains(&t));
            let window = window.min(total);
            let worst = (0..=total - window).map(|start| (start..start + window).filter(|t| stopped(*t)).count()).max().unwrap();
            prop_assert_eq!(timeline.mmu(window), (window - worst as u64) as f64 / window as f64);
        }
    }

    #[test]
    fn metered_latency_by_hand() {
        // One request every 10. The third meets a pause of 35; three others queue up behind it, each served in 2.
        let served = vec![(0, 2), (10, 12), (20, 57), (57, 59), (59, 61), (61, 63), (63, 65), (70, 72)];
        let requests = Requests { served };
        assert_eq!(requests.simple(), [2, 2, 37, 2, 2, 2, 2, 2]);
        // Arrivals: 0, 10, 20, 30, 40, 50, 60, 70.
        assert_eq!(requests.metered(10.0), [2, 2, 37, 29, 21, 13, 5, 2]);
        // A server that is asked faster than it answers falls behind for ever.
        assert_eq!(requests.metered(1.0), [2, 11, 55, 56, 57, 58, 59, 65]);
    }

    #[test]
    fn histograms_have_three_digits_and_add_up() {
        let values: Vec<u64> = (1..=10_000).map(|i| i * 1000).collect();
        let mut all = histogram(&values);
        assert_eq!(all.iter().map(|(_, count)| count).sum::<u64>(), 10_000);
        let median = histogram_quantile(&all, 0.5).unwrap() as f64;
        assert!((median / 5e6 - 1.0).abs() < 1e-3, "{median}");
        merge(&mut all, &histogram(&values));
        assert_eq!(all.iter().map(|(_, count)| count).sum::<u64>(), 20_000);
        assert_eq!(histogram_quantile(&all, 1.0).map(|max| max / 10_000), Some(1000));
        assert_eq!(histogram_quantile(&Vec::new(), 0.5), None);
    }

    #[test]
    fn windows_are_spaced_by_a_factor() {
        let windows = windows(1_000_000_000, 6);
        assert_eq!(windows, [10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000]);
    }
}
