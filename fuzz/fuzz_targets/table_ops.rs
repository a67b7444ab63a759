//! Sequences of operations on tables, globals, structs, arrays and host values, under every collector: see [`fuzzing::table_ops`].
#![no_main]

use fuzzing::Program;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|program: Program| fuzzing::table_ops(&program, gleaner::collectors::COLLECTORS));
