//! Makes a failing script short: takes operations away, in ever smaller runs, then makes what is left simpler.
//!
//! Delta debugging: A. Zeller and R. Hildebrandt, *Simplifying and isolating failure-inducing input*, TSE 2002.

use crate::clif::Codes;
use crate::run::{Stopped, run};
use crate::script::{Script, Setup};
use std::time::{Duration, Instant};

/// Shrinking ends after so long, with the shortest script found.
const PATIENCE: Duration = Duration::from_secs(20);

/// A script that fails the same check as `script`, with as little as was found; and how it fails.
pub fn shrink(script: &Script, stopped: Stopped, codes: &mut Codes) -> (Script, Stopped) {
    let check = stopped.failure.check;
    let mut best = (script.clone(), stopped);
    best.0.ops.truncate(best.1.at + 1);
    let until = Instant::now() + PATIENCE;
    let mut fails = |candidate: Script, best: &mut (Script, Stopped)| match run(&candidate, codes) {
        Err(stopped) if stopped.failure.check == check => {
            *best = (candidate, stopped);
            true
        }
        _ => false,
    };
    let whole = best.0.clone();
    if !fails(whole, &mut best) {
        // It failed at the end, or after the reset.
        best.0 = script.clone();
    }
    loop {
        let before = best.0.clone();
        drop_ops(&mut best, until, &mut fails);
        simplify(&mut best, until, &mut fails);
        if best.0 == before || Instant::now() > until {
            return best;
        }
    }
}

type Fails<'a> = dyn FnMut(Script, &mut (Script, Stopped)) -> bool + 'a;

fn drop_ops(best: &mut (Script, Stopped), until: Instant, fails: &mut Fails<'_>) {
    let mut step = best.0.ops.len().div_ceil(2);
    while step > 0 {
        let mut end = best.0.ops.len();
        while end > 0 && Instant::now() < until {
            let start = end.saturating_sub(step);
            let mut candidate = best.0.clone();
            candidate.ops.drain(start..end);
            fails(candidate, best);
            end = start.min(best.0.ops.len());
        }
        step /= 2;
    }
}

fn simplify(best: &mut (Script, Stopped), until: Instant, fails: &mut Fails<'_>) {
    let plain = Setup { limit: best.0.setup.limit, ..Setup::default() };
    let setup = best.0.setup.clone();
    let each = [
        plain.clone(),
        Setup { again: false, ..setup.clone() },
        Setup { zeal: 0, ..setup.clone() },
        Setup { zeal: 1.min(setup.zeal), ..setup },
    ];
    for setup in each {
        if setup != best.0.setup {
            let ops = best.0.ops.clone();
            fails(Script { setup, ops }, best);
        }
    }
    let mut at = 0;
    while at < best.0.ops.len() && Instant::now() < until {
        let simpler = best.0.ops[at].simpler();
        let shorter = simpler.into_iter().any(|op| {
            let mut candidate = best.0.clone();
            candidate.ops[at] = op;
            fails(candidate, best)
        });
        at += !shorter as usize;
    }
}
