//! Changes scripts a little, for fuzzers: what comes out is a script again.

use crate::generate::{Choice, Random, op, setup};
use crate::scenarios::short;
use crate::script::{Op, Script};
use std::ops::Range;

/// Operations of a script that one inserts or takes away, at most.
const RUN: u32 = 12;

/// `script` with a few changes, which `seed` decides.
pub fn mutated(script: &Script, seed: u64) -> Script {
    let mut c = Random::new(seed);
    let mut script = script.clone();
    for _ in 0..1 + c.below(4) {
        change(&mut script, &mut c);
    }
    script
}

/// The start of one script, then the end of another.
pub fn crossed(first: &Script, second: &Script, seed: u64) -> Script {
    let mut c = Random::new(seed);
    let (start, end) = (place(&first.ops, &mut c), place(&second.ops, &mut c));
    let ops = first.ops[..start].iter().chain(&second.ops[end..]).copied().collect();
    Script { setup: first.setup.clone(), ops }
}

fn change(script: &mut Script, c: &mut Random) {
    let ops = &mut script.ops;
    let at = place(ops, c);
    match c.below(12) {
        0..=3 => {
            let new: Vec<Op> = (0..1 + c.below(3)).map(|_| op(c)).collect();
            ops.splice(at..at, new);
        }
        4 => drop(ops.drain(run(ops, c))),
        5 | 6 => {
            let again = ops[run(ops, c)].to_vec();
            ops.splice(at..at, again);
        }
        7 => {
            let scenarios = short();
            let other = &scenarios[c.below(scenarios.len() as u32) as usize].1.ops;
            ops.splice(at..at, other[run(other, c)].iter().copied());
        }
        8 => script.setup = setup(c),
        _ if at == ops.len() => ops.push(op(c)),
        9 => ops[at] = op(c),
        10 => {
            let other = c.below(ops.len() as u32) as usize;
            ops.swap(at, other);
        }
        _ => {
            let simpler = ops[at].simpler();
            if !simpler.is_empty() {
                ops[at] = simpler[c.below(simpler.len() as u32) as usize];
            }
        }
    }
}

/// A place to insert at.
fn place(ops: &[Op], c: &mut Random) -> usize {
    c.below(ops.len() as u32 + 1) as usize
}

fn run(ops: &[Op], c: &mut Random) -> Range<usize> {
    let start = place(ops, c);
    start..(start + 1 + c.below(RUN) as usize).min(ops.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_few_and_decided_by_the_seed() {
        let script = crate::random(7);
        let mut different = 0;
        for seed in 0..200 {
            let changed = mutated(&script, seed);
            assert_eq!(changed, mutated(&script, seed));
            assert!(changed.ops.len() <= script.ops.len() + 4 * RUN as usize);
            different += (changed != script) as u32;
        }
        assert!(different > 190, "{different}");
    }

    #[test]
    fn a_crossing_has_a_start_and_an_end() {
        let (first, second) = (crate::random(1), crate::random(2));
        for seed in 0..100 {
            let ops = crossed(&first, &second, seed).ops;
            let start = first.ops.iter().zip(&ops).take_while(|(a, b)| a == b).count();
            assert!(second.ops.ends_with(&ops[start..]) || first.ops.starts_with(&ops));
        }
    }

    #[test]
    fn an_empty_script_can_be_changed() {
        (0..100).for_each(|seed| drop(mutated(&Script::default(), seed)));
    }
}
