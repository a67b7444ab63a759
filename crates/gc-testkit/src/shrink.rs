//! Makes a failing script short: takes operations away, in ever smaller runs, then makes what is left simpler.
//!
//! Delta debugging: A. Zeller and R. Hildebrandt, *Simplifying and isolating failure-inducing input*, TSE 2002.

use crate::clif::Codes;
use crate::failure::Check;
use crate::run::{Stopped, run};
use crate::script::{Script, Setup};

/// Shrinking ends after so much [work](Codes::work), with the shortest script found: so it gives the same on every machine.
const PATIENCE: u64 = 10_000_000;

/// A script that fails the same check as `script`, with as little as was found; and how it fails.
pub fn shrink(script: &Script, stopped: Stopped, codes: &mut Codes) -> (Script, Stopped) {
    let until = codes.work + PATIENCE;
    let (check, at) = (stopped.failure.check, stopped.at);
    let mut shrinking = Shrinking { codes, check, until, script: script.clone(), stopped };
    // What comes after the failure; it is needed when that is at the end, or after the reset.
    let mut start = script.clone();
    start.ops.truncate(at + 1);
    shrinking.fails(start);
    loop {
        let before = shrinking.script.clone();
        shrinking.drop_ops();
        shrinking.simplify();
        if shrinking.script == before || shrinking.is_over() {
            return (shrinking.script, shrinking.stopped);
        }
    }
}

struct Shrinking<'a> {
    codes: &'a mut Codes,
    check: Check,
    until: u64,
    /// The shortest so far, and how it fails.
    script: Script,
    stopped: Stopped,
}

impl Shrinking<'_> {
    fn is_over(&self) -> bool {
        self.codes.work > self.until
    }

    /// Whether a simpler script fails the same check; then it is the shortest.
    fn fails(&mut self, candidate: Script) -> bool {
        if self.is_over() {
            return false;
        }
        match run(&candidate, self.codes) {
            Err(stopped) if stopped.failure.check == self.check => {
                (self.script, self.stopped) = (candidate, stopped);
                true
            }
            _ => false,
        }
    }

    fn drop_ops(&mut self) {
        let mut step = self.script.ops.len().div_ceil(2);
        while step > 0 {
            let mut end = self.script.ops.len();
            while end > 0 && !self.is_over() {
                let start = end.saturating_sub(step);
                let mut candidate = self.script.clone();
                candidate.ops.drain(start..end);
                self.fails(candidate);
                end = start.min(self.script.ops.len());
            }
            step /= 2;
        }
    }

    fn simplify(&mut self) {
        let each: [fn(&mut Setup); 5] = [
            |setup| *setup = Setup { limit: setup.limit, ..Setup::default() },
            |setup| setup.again = false,
            |setup| setup.always_move = false,
            |setup| setup.zeal = 0,
            |setup| setup.zeal = setup.zeal.min(1),
        ];
        for simpler in each {
            let mut candidate = self.script.clone();
            simpler(&mut candidate.setup);
            if candidate != self.script {
                self.fails(candidate);
            }
        }
        let mut at = 0;
        while at < self.script.ops.len() && !self.is_over() {
            let shorter = self.script.ops[at].simpler().into_iter().any(|op| {
                let mut candidate = self.script.clone();
                candidate.ops[at] = op;
                self.fails(candidate)
            });
            at += !shorter as usize;
        }
    }
}
