//! What collections cost and did.

use gc_api::{Counters, HeapUsage, Phase};
use std::time::Duration;

/// How long collections have stopped the program.
#[derive(Clone, Debug, Default)]
pub struct Pauses {
    all: Vec<Duration>,
    phases: [Duration; 6],
}

impl Pauses {
    pub(crate) fn record(&mut self, pause: Duration) {
        self.all.push(pause);
    }

    pub(crate) fn record_phase(&mut self, phase: Phase, time: Duration) {
        self.phases[phase as usize] += time;
    }

    /// Every pause, in order.
    pub fn all(&self) -> &[Duration] {
        &self.all
    }

    /// All pauses together.
    pub fn total(&self) -> Duration {
        self.all.iter().sum()
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        self.all.iter().max().copied().unwrap_or_default()
    }

    /// The pause that the fraction `q` of all pauses does not exceed; zero when there was none.
    pub fn quantile(&self, q: f64) -> Duration {
        let mut sorted = self.all.clone();
        sorted.sort_unstable();
        let rank = (q * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or_default()
    }

    /// The time spent in each phase, in their usual order.
    pub fn phases(&self) -> impl Iterator<Item = (Phase, Duration)> + '_ {
        Phase::ALL.into_iter().zip(self.phases)
    }
}

/// What a store's collector has done, and where its bytes are.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Exact counts of work.
    pub counters: Counters,
    /// Where the bytes are.
    pub usage: HeapUsage,
    /// How long the program was stopped.
    pub pauses: Pauses,
    /// References that the host holds.
    pub handles: usize,
    /// Values of the host's that objects stand for.
    pub host_values: usize,
}
