//! The repository's programs in each mode of zeal, with every collection verified: they print what they print without.
//!
//! Collectors with options run in one mode each. How often a program collects is reckoned from how many objects it allocates, so
//! that small ones collect at nearly each allocation and large ones a few times.

mod common {
    pub mod process;
    pub mod runs;
}

use common::process::{Ended, gleaner_with_input};
use common::runs::{self, Run};
use gc_api::Reclaims;
use gleaner::collectors;

/// Objects that a program may allocate: verifying takes as long as the heap is large.
const MOST_OBJECTS: u64 = 140_000;
/// The same for one that runs with several parameters.
const MOST_OBJECTS_EACH: u64 = 45_000;
/// Collections a run: a heap of a thousand objects is verified so often, a larger one less.
const COLLECTIONS: u64 = 25;

/// A program is run under one in so many of the collectors with options.
const VARIANTS_TAKE_TURNS: usize = 4;

/// The number in a line of `--stats`.
fn counter(ended: &Ended, name: &str) -> u64 {
    let line = ended.stderr.lines().find(|line| line.trim_start().starts_with(name));
    let number = line.and_then(|line| line.split_whitespace().last()?.replace(',', "").parse().ok());
    number.unwrap_or_else(|| panic!("`{name}` is not among the statistics: {ended:?}"))
}

/// Runs each program in each mode under each collector. `at_least` is a little less than the programs that are small enough.
fn check(runs: &[Run], at_least: usize) {
    let mut programs = 0;
    for run in runs {
        let plain = run.with(&["--gc", "null", "--stats"]);
        let objects = counter(&plain, "objects allocated");
        assert_eq!(plain.ok(), run.expected, "{run:?}");
        if objects > if run.has_parameter() { MOST_OBJECTS_EACH } else { MOST_OBJECTS } {
            continue;
        }
        programs += 1;
        let times = (COLLECTIONS * 1_000 / objects.max(1)).clamp(2, COLLECTIONS);
        let every = (objects / times).max(1);
        let probability = 1.0 / every as f64;
        let modes = [format!("alloc:{every},move"), format!("random:11:{probability:.6},poison")];
        // Collectors take turns with the modes, and those with options also with the programs.
        let plain = collectors::names().map(String::from).enumerate();
        let variants =
            collectors::variants().enumerate().filter(|(number, _)| (number + programs) % VARIANTS_TAKE_TURNS == 0);
        for (number, gc) in plain.chain(variants) {
            let zeal = &modes[(number + programs / VARIANTS_TAKE_TURNS) % 2];
            let ended = run.with(&["--gc", &gc, "--verify", "--zeal", zeal, "--stats"]);
            let collections = counter(&ended, "collections");
            assert_eq!(ended.ok(), run.expected, "{run:?} under {gc} with {zeal}");
            // A collector that refuses to collect is verified all the same, but counts none.
            let forced = if zeal.starts_with("alloc") && collects(&gc) { objects / every } else { 0 };
            assert!(collections >= forced, "{collections} of {forced} collections: {run:?} under {gc} with {zeal}");
        }
    }
    assert!(programs >= at_least, "only {programs} programs were small enough");
}

/// Whether the collector of this specification collects at all.
fn collects(spec: &str) -> bool {
    collectors::by_spec(spec).unwrap().info().reclaims != Reclaims::Nothing
}

#[test]
fn examples() {
    check(&runs::examples(), 12);
}

#[test]
fn benchmarks() {
    check(&runs::benchmarks(true), 45);
}

#[test]
fn moonbit() {
    check(&runs::moonbit(), 20);
}

#[test]
fn ocaml() {
    check(&runs::ocaml(), 4);
}

#[test]
fn a_mode_that_there_is_not_is_refused_with_those_that_there_are() {
    let ended = gleaner_with_input(&["run", "--zeal", "often", "examples/hello.wat"], b"");
    ended.fails(2, &["`often` is no mode", "random:SEED:P", "poison"]);
}
