//! Sequences of operations on tables, globals, structs, arrays and host values, under every collector: see [`fuzzing::table_ops`].
#![no_main]

use fuzzing::Program;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static COLLECTORS: LazyLock<Vec<fuzzing::Spec>> = LazyLock::new(gleaner::collectors::all);

fuzz_target!(|program: Program| fuzzing::table_ops(&program, &COLLECTORS));
