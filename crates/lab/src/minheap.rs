//! The smallest heap in which a program runs, to the KiB.
//!
//! The search doubles from [`LEAST`] until the program runs, and then halves the gap between a heap that is too small and one that is
//! not. Whether a program fits need not be monotone in the heap's size: sizes of spaces and thresholds are rounded. So below the boundary
//! that was found a few sizes are tried again, and the search goes on below one that fits. Running out of heap and running out of time
//! both count as too small; a crash is tried again, and fatal when it happens each time.

use crate::plan::{Job, LARGEST, Minima};
use crate::record::{Cell, Outcome, Purpose, Record};
use std::collections::BTreeMap;

/// The smallest heap that is tried, in KiB: no heap is smaller.
pub const LEAST: u64 = 64;
/// Heaps just below the boundary that are tried, by how many KiB they are smaller.
const BELOW: [u64; 4] = [4, 16, 64, 256];
/// How often a heap in which the process crashes is tried.
pub const ATTEMPTS: u32 = 3;

/// The smallest size in KiB from [`LEAST`] on for which `fits` holds, as far as a bisection can tell; `None` when not even 4 GiB do.
///
/// # Errors
/// Those of `fits`.
pub fn search<E>(mut fits: impl FnMut(u64) -> Result<bool, E>) -> Result<Option<u64>, E> {
    const MOST: u64 = LARGEST / 1024;
    let mut low = LEAST - 1;
    let mut high = LEAST;
    while !fits(high)? {
        if high == MOST {
            return Ok(None);
        }
        low = high;
        high = (high * 2).min(MOST);
    }
    loop {
        while high - low > 1 {
            let middle = low.midpoint(high);
            if fits(middle)? {
                high = middle;
            } else {
                low = middle;
            }
        }
        let mut lower = None;
        for size in BELOW.iter().filter_map(|below| high.checked_sub(*below)).filter(|size| *size >= LEAST) {
            if fits(size)? {
                lower = Some(size);
            }
        }
        let Some(size) = lower else { return Ok(Some(high)) };
        // The boundary is below the lowest that fits. How far, nobody knows: steps that double find one that does not.
        high = size;
        low = LEAST - 1;
        let mut step = 1;
        while high - low > step {
            if !fits(high - step)? {
                low = high - step;
            } else {
                high -= step;
                step *= 2;
            }
        }
    }
}

/// What is known of a program's smallest heap under a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Minimum {
    /// The smallest heap in which it ran, in bytes.
    pub bytes: u64,
    /// Whether it failed in one smaller by a KiB, or there is none.
    pub exact: bool,
}

/// The minima that the records of searches say, by program and collector.
pub fn minima(records: &[Record]) -> BTreeMap<(String, String), Minimum> {
    let mut sizes: BTreeMap<(String, String), BTreeMap<u64, bool>> = BTreeMap::new();
    for record in records.iter().filter(|record| record.purpose == Purpose::Minheap) {
        let key = (record.cell.program.clone(), record.heap.gc.clone());
        sizes.entry(key).or_default().insert(record.cell.heap_bytes, record.outcome == Outcome::Ok);
    }
    let minimum = |sizes: BTreeMap<u64, bool>| {
        let bytes = *sizes.iter().find(|(_, fits)| **fits)?.0;
        let exact = bytes <= LEAST * 1024 || sizes.get(&(bytes - 1024)) == Some(&false);
        Some(Minimum { bytes, exact })
    };
    sizes.into_iter().filter_map(|(key, sizes)| Some((key, minimum(sizes)?))).collect()
}

/// The same, for a [plan](crate::plan::Plan).
pub fn sizes(records: &[Record]) -> Minima {
    minima(records).into_iter().map(|(key, minimum)| (key, minimum.bytes)).collect()
}

/// The job that tries a heap of `kib`.
pub fn probe(job: &Job, kib: u64) -> Job {
    let bytes = (kib * 1024).min(LARGEST);
    Job { cell: Cell { heap_bytes: bytes, ..job.cell.clone() }, purpose: Purpose::Minheap, ..job.clone() }
}

/// Whether an outcome says that the heap was large enough; `None` when it says nothing about heaps.
pub fn verdict(outcome: Outcome) -> Option<bool> {
    match outcome {
        Outcome::Ok => Some(true),
        Outcome::Oom | Outcome::Timeout => Some(false),
        Outcome::Trap | Outcome::Checkfail | Outcome::Crash | Outcome::Error => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::samples::record;
    use proptest::prelude::*;
    use std::convert::Infallible;

    fn found(fits: impl Fn(u64) -> bool) -> (Option<u64>, u32) {
        let mut probes = 0;
        let found = search(|kib| {
            probes += 1;
            Ok::<_, Infallible>(fits(kib))
        });
        (found.unwrap(), probes)
    }

    proptest! {
        #[test]
        fn a_boundary_is_found_to_the_kib(boundary in LEAST..4 << 20) {
            let (least, probes) = found(|kib| kib >= boundary);
            prop_assert_eq!(least, Some(boundary));
            prop_assert!(probes < 64, "{} probes", probes);
        }

        #[test]
        fn a_dent_just_below_does_not_hide_the_boundary(boundary in 2000u64..1 << 20, dent in 1u64..60, width in 1u64..4) {
            // Fits from the boundary on, but not in a few sizes above it.
            let (least, _) = found(|kib| kib >= boundary && !(boundary + dent..boundary + dent + width).contains(&kib));
            let least = least.unwrap();
            prop_assert!(least == boundary || least == boundary + dent + width, "{} of {}", least, boundary);
        }
    }

    #[test]
    fn what_never_fits_has_no_minimum() {
        assert_eq!(found(|_| false).0, None);
        assert_eq!(found(|_| true).0, Some(LEAST));
    }

    #[test]
    fn minima_follow_from_records() {
        let probe = |kib: u64, outcome| {
            let mut record = record("p", "a", 0);
            record.purpose = Purpose::Minheap;
            record.cell.heap_bytes = kib * 1024;
            record.outcome = outcome;
            record
        };
        let mut records = vec![probe(128, Outcome::Ok), probe(64, Outcome::Oom), probe(96, Outcome::Ok)];
        let minimum = |records: &[Record]| minima(records)[&("p".to_string(), "a".to_string())];
        assert_eq!(minimum(&records), Minimum { bytes: 96 << 10, exact: false });
        records.push(probe(95, Outcome::Timeout));
        assert_eq!(minimum(&records), Minimum { bytes: 96 << 10, exact: true });
    }
}
