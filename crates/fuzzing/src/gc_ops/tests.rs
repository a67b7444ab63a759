//! The model and the text, without a collector.

use super::*;
use arbitrary::{Arbitrary, Unstructured};
use wasmparser::Validator;

/// Programs of pseudorandom bytes.
fn programs(count: u64) -> impl Iterator<Item = Program> {
    (0..count).map(|seed| {
        let mut x = seed;
        let bytes: Vec<u8> = (0..900)
            .map(|_| {
                x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (x >> 56) as u8
            })
            .collect();
        Program::arbitrary(&mut Unstructured::new(&bytes)).expect("any bytes make a program")
    })
}

#[test]
fn programs_are_valid_with_the_kit_and_alone() {
    let validate = |text: &str| {
        let binary = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        Validator::new_with_features(engine::FEATURES)
            .validate_all(&binary)
            .map(|_| ())
            .unwrap_or_else(|error| panic!("{error}\n{text}"));
    };
    validate(&kit::module());
    for program in programs(60) {
        let (aimed, model) = program.run();
        validate(&aimed.text());
        validate(&aimed.text_alone(&model));
    }
}

#[test]
fn aimed_programs_stay_as_they_are() {
    for program in programs(60) {
        let (aimed, model) = program.run();
        let (again, same) = aimed.run();
        assert_eq!((&aimed, &model.expected), (&again, &same.expected));
    }
}

/// Operations that change nothing find nothing: most must find their operands.
#[test]
fn most_programs_build_graphs() {
    let checks: usize = programs(60).map(|program| program.run().1.expected.len()).sum();
    assert!(checks > 60 * 20, "{checks} checks");
    let cyclic = programs(60).filter(|program| !program.run().1.behind_cycles().0.is_empty()).count();
    assert!(cyclic > 20, "{cyclic} programs make cycles");
}
