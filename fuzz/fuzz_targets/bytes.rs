//! Any bytes to the parser, the validator and the compiler: see [`fuzzing::bytes`].
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| fuzzing::bytes(input, gleaner::collectors::COLLECTORS));
