//! Any bytes to the parser, the validator and the compiler: see [`fuzzing::bytes`].
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static COLLECTORS: LazyLock<Vec<fuzzing::Spec>> = LazyLock::new(gleaner::collectors::all);

fuzz_target!(|input: &[u8]| fuzzing::bytes(input, &COLLECTORS));
