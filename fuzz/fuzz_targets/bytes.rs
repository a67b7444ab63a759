//! Any bytes to the parser, the validator and the compiler: see [`fuzzing::bytes`].
#![no_main]

use fuzzing::Engines;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static ENGINES: LazyLock<Engines> = LazyLock::new(|| Engines::new(gleaner::collectors::all()));

fuzz_target!(|input: &[u8]| fuzzing::bytes(input, &ENGINES));
