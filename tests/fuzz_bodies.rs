//! The bodies of the fuzz targets, on inputs from `proptest` and on the seeds: a failing input shrinks, and is printed as a
//! program.
//!
//! `GLEANER_FUZZ_CASES` sets how many inputs each body gets; `GLEANER_REPLAY=FILE` gives one the input that a finding was printed
//! with.

mod common {
    pub mod faulty;
    pub mod process;
}

use arbitrary::{Arbitrary, Unstructured};
use common::faulty::{Broken, Faulty};
use common::process::gleaner_with_input;
use fuzzing::Engines;
use fuzzing::gc_ops::{self, Subject, gc_ops};
use gc_testkit::catching;
use gleaner::collectors::{self, COLLECTORS};
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
    let engines = Engines::new(collectors::all());
    if let Some(input) = fuzzing::replayed() {
        return fuzzing::table_ops(&input, &engines);
    }
    let seeds = seeds("table_ops");
    assert!(seeds.len() >= 12, "{} seeds", seeds.len());
    seeds.iter().for_each(|(_, bytes)| fuzzing::table_ops(bytes, &engines));
    let bytes = prop::collection::vec(any::<u8>(), 0..1200);
    runner(400)
        .run(&bytes, |bytes| {
            fuzzing::table_ops(&bytes, &engines);
            Ok(())
        })
        .unwrap();
}

#[test]
fn collector() {
    if let Some(text) = gc_testkit::replayed() {
        return COLLECTORS.iter().for_each(|collector| {
            gc_testkit::replay(collector, "", &text);
            collector.info.variants.iter().for_each(|options| gc_testkit::replay(collector, options, &text));
        });
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
            let script = fuzzing::script_of(&script[..size]).expect("changes give scripts");
            fuzzing::collector(&script, COLLECTORS);
            Ok(())
        })
        .unwrap();
}

/// The collectors that `gc_ops` compares with the model.
fn subjects() -> Vec<Subject> {
    collectors::all().into_iter().map(|(spec, gc)| Subject::new(spec, gc)).collect()
}

/// The program of `gc_ops` that these bytes make.
fn graph_program(bytes: &[u8]) -> gc_ops::Program {
    gc_ops::Program::arbitrary(&mut Unstructured::new(bytes)).expect("any bytes make a program")
}

#[test]
fn graphs() {
    let subjects = subjects();
    let bytes = prop::collection::vec(any::<u8>(), 0..700);
    // The body shrinks what it finds.
    let config = Config { max_shrink_iters: 0, ..runner(400).config().clone() };
    TestRunner::new(config)
        .run(&bytes, |bytes| {
            gc_ops(&graph_program(&bytes), &subjects);
            Ok(())
        })
        .unwrap();
}

#[test]
fn graphs_of_the_seeds() {
    let (subjects, seeds) = (subjects(), seeds("gc_ops"));
    assert!(seeds.len() >= 12, "{} seeds", seeds.len());
    seeds.iter().for_each(|(_, bytes)| gc_ops(&graph_program(bytes), &subjects));
}

/// Bytes that are the same in every run.
fn pseudorandom(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed;
    let next = || {
        x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (x >> 56) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

#[test]
fn graphs_alone() {
    let subjects = subjects();
    for seed in 0..40 {
        let result = gc_ops::check_alone(&graph_program(&pseudorandom(seed, 300)), &subjects);
        result.unwrap_or_else(|what| panic!("program {seed}: {what}"));
    }
}

/// What a finding prints has all that it takes to have it again.
#[test]
fn findings_are_printed_as_programs_that_run_alone() {
    let subject = [Subject::new("drc", Faulty::with(Broken::WriteBarrier))];
    let found = (0..300).find_map(|seed| gc_ops::check(&graph_program(&pseudorandom(seed, 500)), &subject).err());
    let printed = found.expect("the fault is found").shrink().to_string();
    println!("{printed}");
    let (_, after) = printed.split_once(";; gc_ops.wat\n").expect("there is a program");
    let (text, after) = after.split_once("\nreproduce by: gleaner ").expect("there is a command line");
    let (line, how) = after.split_once("\nwhich fails so: ").expect("it says how it fails");
    assert!(how.contains("corrupt heap"), "{how}");

    // The command line, where the collector is right.
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("gc_ops.wat");
    std::fs::write(&file, text).expect("written");
    let args = line.split(' ').map(|arg| if arg == "gc_ops.wat" { file.to_str().expect("in UTF-8") } else { arg });
    assert_eq!(gleaner_with_input(&args.collect::<Vec<_>>(), b"").ok(), "");
}

/// What a panic says is all that is seen of a finding under libFuzzer.
#[test]
fn findings_in_bytes_are_printed_with_a_command_that_runs_them_again() {
    let broken = Engines::new(vec![("drc".to_string(), Faulty::with(Broken::WriteBarrier) as _)]);
    let failing = (0..300).map(|seed| pseudorandom(seed, 1200)).find_map(|input| {
        let said = catching(|| fuzzing::table_ops(&input, &broken)).err()?;
        Some((input, said))
    });
    let (input, said) = failing.expect("the fault is found");
    println!("{said}");
    assert!(said.contains("(func (export \"run\")"));
    let (_, command) = said.split_once("\nreproduce by:\nGLEANER_REPLAY=/dev/stdin ").expect("there is a command");
    let (line, rest) = command.split_once(" <<'END'\n").expect("the input stands below the command");
    assert_eq!(line, "cargo test --test fuzz_bodies table_ops");
    let (hex, _) = rest.split_once("END").expect("the input ends");
    assert_eq!(fuzzing::input_of(hex), Some(input));
}

/// Faults of collectors that `gc_ops` must find within so many programs; `shadow`: by the shadow heap, without the verifier.
#[test]
fn graphs_find_broken_collectors() {
    const CASES: u64 = 300;
    // Of a program's modes, those that do not verify.
    const UNVERIFIED: [u8; 3] = [0, 3, 6];
    println!("{:<14} {:<9} {:>8} {:>11}  found", "fault", "by", "programs", "operations");
    for (broken, shadow) in [
        (Broken::WriteBarrier, true),
        (Broken::BulkBarrier, true),
        (Broken::StackRoots, true),
        (Broken::Claim, true),
        (Broken::DeadTwice, true),
        (Broken::DeadTooEarly, true),
        (Broken::LiveBytes, false),
        (Broken::Listed, false),
        (Broken::Contents, true),
        (Broken::Reference, true),
        (Broken::Dangling, false),
    ] {
        let subject = [Subject::new(format!("drc with {broken:?}"), Faulty::with(broken))];
        for by in [Some("verifier"), shadow.then_some("shadow")].into_iter().flatten() {
            let found = (0..CASES).find_map(|seed| {
                let mut bytes = pseudorandom(seed, 500);
                if by == "shadow" {
                    bytes[0] = UNVERIFIED[seed as usize % 3];
                }
                Some((seed, gc_ops::check(&graph_program(&bytes), &subject).err()?))
            });
            let (seed, finding) = found.unwrap_or_else(|| panic!("{broken:?} is not found in {CASES} programs"));
            let finding = finding.shrink();
            let what = finding.what.replace('\n', " ").chars().take(120).collect::<String>();
            println!("{:<14} {by:<9} {:>8} {:>11}  {what}", format!("{broken:?}"), seed + 1, finding.ops());
            assert!(finding.ops() <= 12, "{broken:?} shrinks to few operations: {finding}");
        }
    }
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
    let engines = Engines::new(collectors::all());
    if let Some(input) = fuzzing::replayed() {
        return fuzzing::bytes(&input, &engines);
    }
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
            fuzzing::bytes(&input, &engines);
            Ok(())
        })
        .unwrap();
}

#[test]
fn seeds_are_compiled() {
    let engines = Engines::new(collectors::all());
    let seeds = seeds("bytes");
    assert!(seeds.len() >= 20, "{} seeds", seeds.len());
    for (name, bytes) in seeds {
        // Not an input that makes a module of its bytes, which the name would not tell.
        assert_eq!(fuzzing::module_of(&bytes), bytes, "{name}");
        fuzzing::bytes(&bytes, &engines);
    }
}
