//! How large a heap should be: a policy apart from the collectors, which consult it after each full collection.
//!
//! What counts are *usable* bytes: those that objects can have. What a collector needs beside them (side tables, a reserve to
//! copy into) is charged by its [`Overhead`], so that equal limits are equal memory, whatever the collector.
//!
//! With `live` bytes after a collection, the policies give a heap of so many usable bytes, within the limits:
//!
//! ```text
//! fixed          all that the limit allows
//! doubling       2 · live
//! sqrt           live + √(live · 16 MiB)
//! membalancer    live + √(live · g / (s · c))     g: bytes allocated in a second of the program's time,
//!                                                 s: live bytes collected in a second of the collector's
//! ```
//!
//! The square roots are those of M. Kirisame, P. Shenoy and P. Panchekha, *Optimal heap limits for reducing browser memory use*,
//! OOPSLA 2022: among heaps that share a memory, the time of collections falls by the same amount for the last byte given to
//! each exactly if the bytes beyond the live ones follow that rule. `sqrt` takes the speeds to be the same everywhere. `c` says what
//! a byte is worth, in the share of the program's time that collections may take for it. Only `membalancer` looks at a clock: under the others the
//! same program collects at the same allocations in every run.

use crate::HeapLimits;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// A heap that may grow has so many usable bytes at least, whatever is live: collections of less are not worth their fixed cost.
const LEAST: u64 = 16 << 20;
/// `live · SQRT_BYTES` is what `sqrt` takes the root of.
const SQRT_BYTES: f64 = (16 << 20) as f64;
/// What a byte is worth to `membalancer`: 1 % of the program's time for a MiB.
const WORTH: f64 = 0.01 / (1 << 20) as f64;
/// Weight of what was measured before, beside what was measured last.
const SMOOTHING: f64 = 0.5;

/// How the size of a heap follows from what is live in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeapPolicy {
    /// As large as the limit allows.
    Fixed,
    /// Twice what is live.
    #[default]
    Doubling,
    /// What is live, and the more beyond it the more is live, by the square root.
    Sqrt,
    /// As `Sqrt`, and by how fast the program allocates and the collector collects.
    MemBalancer,
}

impl HeapPolicy {
    /// Every policy, with the name that the command line has for it.
    pub const ALL: [(&'static str, HeapPolicy); 4] = [
        ("fixed", HeapPolicy::Fixed),
        ("doubling", HeapPolicy::Doubling),
        ("sqrt", HeapPolicy::Sqrt),
        ("membalancer", HeapPolicy::MemBalancer),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, policy)| *policy == self).expect("all are listed").0
    }
}

impl FromStr for HeapPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<HeapPolicy, String> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, policy)| *policy).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|(name, _)| *name).collect();
            format!("there is no heap policy `{text}`: there are {}", names.join(", "))
        })
    }
}

/// Bytes that a heap takes beside those that objects can have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overhead {
    /// However large it is: a nursery's reserve, buffers.
    pub fixed: u64,
    /// For every thousand usable bytes: 1000 for the other half of a copying collector's heap, 16 for a bit in 64.
    pub per_mille: u64,
}

impl Overhead {
    /// Bytes in all of a heap with so many usable ones.
    pub fn total(self, usable: u64) -> u64 {
        usable + (usable as u128 * self.per_mille as u128).div_ceil(1000) as u64 + self.fixed
    }

    /// Usable bytes of a heap that takes `total`: the most for which [`total`](Self::total) is no more than that.
    pub fn usable(self, total: u64) -> u64 {
        let rest = total.saturating_sub(self.fixed) as u128;
        (rest * 1000 / (1000 + self.per_mille as u128)) as u64
    }
}

/// Says how large a heap should be.
#[derive(Clone, Debug)]
pub struct HeapSizer {
    policy: HeapPolicy,
    least: u64,
    most: u64,
    usable: u64,
    clock: Clock,
}

/// What `membalancer` measures.
#[derive(Clone, Debug, Default)]
struct Clock {
    /// When the last collection ended, or began if it has not ended.
    since: Option<Instant>,
    /// How long the program ran, and the collector, since the last full collection.
    program: Duration,
    collector: Duration,
    /// Bytes a second, smoothed.
    allocation: Option<f64>,
    collection: Option<f64>,
}

impl HeapSizer {
    /// The policy of a heap with these limits, whose collector needs so much more than is usable.
    pub fn new(limits: &HeapLimits, overhead: Overhead) -> HeapSizer {
        let most = overhead.usable(limits.max_bytes);
        // What a collector needs in any case may be more than the initial bytes.
        let initial = overhead.usable(limits.initial_bytes).max(limits.initial_bytes / 2).min(most);
        let usable = if limits.policy == HeapPolicy::Fixed { most } else { initial };
        HeapSizer { policy: limits.policy, least: initial.max(LEAST).min(most), most, usable, clock: Clock::default() }
    }

    /// Usable bytes that the heap should have now.
    pub fn usable(&self) -> u64 {
        self.usable
    }

    /// Usable bytes that it may ever have.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// Takes what objects of `bytes` need, if the limit allows it, whatever the policy says: nothing less helps.
    pub fn require(&mut self, bytes: u64) -> bool {
        self.usable = self.usable.max(bytes.min(self.most));
        bytes <= self.most
    }

    /// A collection begins.
    pub fn stop(&mut self) {
        if self.policy == HeapPolicy::MemBalancer {
            let now = Instant::now();
            self.clock.program += self.clock.since.map_or(Duration::ZERO, |since| now - since);
            self.clock.since = Some(now);
        }
    }

    /// A collection ends that has not looked at everything.
    pub fn resume(&mut self) {
        if self.policy == HeapPolicy::MemBalancer {
            let now = Instant::now();
            self.clock.collector += self.clock.since.map_or(Duration::ZERO, |since| now - since);
            self.clock.since = Some(now);
        }
    }

    /// A full collection ends: so many bytes are live, and so many were allocated since the last one. Gives what
    /// [`usable`](Self::usable) is from now on.
    pub fn resize(&mut self, live: u64, allocated: u64) -> u64 {
        self.resume();
        let wanted = match self.policy {
            HeapPolicy::Fixed => self.most,
            HeapPolicy::Doubling => 2 * live,
            HeapPolicy::Sqrt => live + (live as f64 * SQRT_BYTES).sqrt() as u64,
            HeapPolicy::MemBalancer => live + self.clock.beyond(live, allocated) as u64,
        };
        self.usable = wanted.max(self.least).min(self.most);
        self.usable
    }
}

impl Clock {
    /// Bytes to have beyond the live ones.
    fn beyond(&mut self, live: u64, allocated: u64) -> f64 {
        let speed = |bytes: u64, time: Duration| bytes.max(1) as f64 / time.as_secs_f64().max(1e-9);
        let smooth = |old: Option<f64>, new| old.map_or(new, |old| SMOOTHING * old + (1.0 - SMOOTHING) * new);
        let allocation = smooth(self.allocation, speed(allocated, self.program));
        let collection = smooth(self.collection, speed(live, self.collector));
        (self.allocation, self.collection) = (Some(allocation), Some(collection));
        (self.program, self.collector) = (Duration::ZERO, Duration::ZERO);
        (live as f64 * allocation / (collection * WORTH)).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn sizer(policy: HeapPolicy, overhead: Overhead) -> HeapSizer {
        let limits = HeapLimits { max_bytes: 256 * MIB, initial_bytes: MIB, policy, ..HeapLimits::default() };
        HeapSizer::new(&limits, overhead)
    }

    #[test]
    fn policies_give_what_they_say() {
        let after = |policy, live| sizer(policy, Overhead::default()).resize(live, live);
        assert_eq!(after(HeapPolicy::Fixed, MIB), 256 * MIB);
        assert_eq!(after(HeapPolicy::Doubling, 9 * MIB), 18 * MIB);
        assert_eq!(after(HeapPolicy::Doubling, 200 * MIB), 256 * MIB);
        assert_eq!(after(HeapPolicy::Doubling, 0), LEAST);
        assert_eq!(after(HeapPolicy::Sqrt, 64 * MIB), 96 * MIB);
        assert_eq!(after(HeapPolicy::Sqrt, 16 * MIB), 32 * MIB);
    }

    #[test]
    fn a_heap_that_allocates_faster_gets_more() {
        let after = |allocated, program, live, collector| {
            let mut sizer = sizer(HeapPolicy::MemBalancer, Overhead::default());
            sizer.clock.program = Duration::from_millis(program);
            sizer.clock.collector = Duration::from_millis(collector);
            sizer.resize(live, allocated) - live
        };
        // As fast as the collector: √(16 MiB · 100 MiB).
        let even = after(16 * MIB, 100, 16 * MIB, 100);
        assert!(even.abs_diff(40 * MIB) < MIB / 100, "{even}");
        assert!(after(64 * MIB, 100, 16 * MIB, 100).abs_diff(2 * even) < MIB / 100);
        assert!(after(16 * MIB, 100, 16 * MIB, 400).abs_diff(2 * even) < MIB / 100);
    }

    #[test]
    fn what_a_collector_needs_besides_is_charged() {
        let half = Overhead { fixed: 0, per_mille: 1000 };
        let mut copying = sizer(HeapPolicy::Fixed, half);
        assert_eq!((copying.usable(), copying.most()), (128 * MIB, 128 * MIB));
        assert_eq!(copying.resize(MIB, MIB), 128 * MIB);
        for overhead in [half, Overhead { fixed: 12345, per_mille: 17 }] {
            for total in [1000, 77_777, 12 * MIB + 5] {
                let usable = overhead.usable(total);
                assert!(usable == 0 || overhead.total(usable) <= total, "{overhead:?} {total}");
                assert!(overhead.total(usable + 2) > total, "{overhead:?} {total}");
            }
        }
    }

    #[test]
    fn the_limit_is_never_passed() {
        let mut sizer = sizer(HeapPolicy::Doubling, Overhead::default());
        assert_eq!(sizer.usable(), MIB);
        assert!(sizer.require(100 * MIB));
        assert_eq!(sizer.usable(), 100 * MIB);
        assert!(!sizer.require(257 * MIB));
        assert_eq!(sizer.usable(), 256 * MIB);
    }

    #[test]
    fn names_are_read_back() {
        for (name, policy) in HeapPolicy::ALL {
            assert_eq!((name.parse(), policy.name()), (Ok(policy), name));
        }
        assert!("half".parse::<HeapPolicy>().unwrap_err().contains("membalancer"));
    }
}
