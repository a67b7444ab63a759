//! The bodies of the fuzz targets, on inputs from `proptest`: a failing one shrinks, and is printed as a program.
//!
//! `GLEANER_FUZZ_CASES` sets how many inputs each body gets.

use arbitrary::{Arbitrary, Unstructured};
use fuzzing::Program;
use gleaner::collectors::COLLECTORS;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

fn cases(default: u32) -> u32 {
    match std::env::var("GLEANER_FUZZ_CASES") {
        Ok(text) => text.parse().expect("GLEANER_FUZZ_CASES is a number"),
        Err(_) => default,
    }
}

#[test]
fn table_ops() {
    let mut runner = TestRunner::new(Config { cases: cases(400), failure_persistence: None, ..Config::default() });
    let bytes = prop::collection::vec(any::<u8>(), 0..1200);
    runner
        .run(&bytes, |bytes| {
            let program = Program::arbitrary(&mut Unstructured::new(&bytes)).expect("any bytes make a program");
            fuzzing::table_ops(&program, COLLECTORS);
            Ok(())
        })
        .unwrap();
}
