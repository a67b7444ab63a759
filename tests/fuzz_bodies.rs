//! The bodies of the fuzz targets, on inputs from `proptest` and on the seeds: a failing input shrinks, and is printed as a
//! program.
//!
//! `GLEANER_FUZZ_CASES` sets how many inputs each body gets.

use arbitrary::{Arbitrary, Unstructured};
use fuzzing::Program;
use gleaner::collectors::COLLECTORS;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::path::Path;

fn cases(default: u32) -> u32 {
    match std::env::var("GLEANER_FUZZ_CASES") {
        Ok(text) => text.parse().expect("GLEANER_FUZZ_CASES is a number"),
        Err(_) => default,
    }
}

fn runner(default: u32) -> TestRunner {
    TestRunner::new(Config { cases: cases(default), failure_persistence: None, ..Config::default() })
}

/// The seeds of a target, with their names.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut seeds = Vec::new();
    for file in std::fs::read_dir(&corpus).expect("the corpus is there") {
        let file = file.expect("readable");
        let name = file.file_name().to_string_lossy().into_owned();
        // Others are what fuzzing has found on this machine.
        if name.starts_with("seed-") {
            seeds.push((name, std::fs::read(file.path()).expect("readable")));
        }
    }
    seeds.sort();
    seeds
}

#[test]
fn table_ops() {
    let bytes = prop::collection::vec(any::<u8>(), 0..1200);
    runner(400)
        .run(&bytes, |bytes| {
            let program = Program::arbitrary(&mut Unstructured::new(&bytes)).expect("any bytes make a program");
            fuzzing::table_ops(&program, COLLECTORS);
            Ok(())
        })
        .unwrap();
}

/// With `GLEANER_REPLAY=FILE`, the script in that file.
#[test]
fn collector() {
    if let Some(text) = gc_testkit::replayed() {
        let script = fuzzing::script_of(text.as_bytes()).expect("a script is replayed");
        return fuzzing::collector(&script, COLLECTORS);
    }
    let seeds = seeds("collector");
    assert!(seeds.len() >= 20, "{} seeds", seeds.len());
    for (name, bytes) in &seeds {
        let script = fuzzing::script_of(bytes).unwrap_or_else(|| panic!("{name} is no script"));
        fuzzing::collector(&script, COLLECTORS);
    }
    let seeds: Vec<Vec<u8>> = seeds.into_iter().map(|(_, bytes)| bytes).collect();
    let changes = prop::collection::vec(any::<u32>(), 1..12);
    // The body makes a script that fails short itself.
    let config = Config { cases: cases(400), failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
    TestRunner::new(config)
        .run(&(prop::sample::select(seeds), changes), |(mut script, changes)| {
            script.resize(8192, 0);
            let mut size = script.iter().position(|byte| *byte == 0).unwrap_or_default();
            for change in changes {
                size = fuzzing::mutate_script(&mut script, size, 8192, change);
            }
            fuzzing::collector(&fuzzing::script_of(&script[..size]).expect("changes give scripts"), COLLECTORS);
            Ok(())
        })
        .unwrap();
}

/// A change of a seed: bytes are replaced, inserted, or taken away.
#[derive(Clone, Debug)]
enum Change {
    Replace(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Replace(at, byte)),
        1 => (any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 1..6)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => (any::<prop::sample::Index>(), 1..6usize).prop_map(|(at, count)| Change::Remove(at, count)),
    ]
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Replace(at, byte) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Change::Insert(at, new) => {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, new.iter().copied());
            }
            Change::Remove(at, count) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes.drain(at..(at + count).min(bytes.len()));
            }
            _ => {}
        }
    }
}

#[test]
fn bytes() {
    let seeds: Vec<Vec<u8>> = seeds("bytes").into_iter().map(|(_, bytes)| bytes).collect();
    let changed =
        (prop::sample::select(seeds), prop::collection::vec(change(), 1..6)).prop_map(|(mut bytes, changes)| {
            changes.iter().for_each(|change| change.apply(&mut bytes));
            bytes
        });
    // An odd byte in front has wasm-smith make a module of the others.
    let smith = (any::<u8>(), prop::collection::vec(any::<u8>(), 0..2000)).prop_map(|(first, mut bytes)| {
        bytes.insert(0, first | 1);
        bytes
    });
    let raw = prop::collection::vec(any::<u8>(), 0..600);
    runner(400)
        .run(&prop_oneof![4 => changed, 3 => smith, 1 => raw], |input| {
            fuzzing::bytes(&input, COLLECTORS);
            Ok(())
        })
        .unwrap();
}

#[test]
fn seeds_are_compiled() {
    let seeds = seeds("bytes");
    assert!(seeds.len() >= 20, "{} seeds", seeds.len());
    for (name, bytes) in seeds {
        // Not an input that makes a module of its bytes, which the name would not tell.
        assert_eq!(fuzzing::module_of(&bytes), bytes, "{name}");
        fuzzing::bytes(&bytes, COLLECTORS);
    }
}
