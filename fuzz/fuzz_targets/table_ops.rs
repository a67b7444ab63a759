//! Sequences of operations on tables, globals, structs, arrays and host values, under every collector: see [`fuzzing::table_ops`].
#![no_main]

use fuzzing::Engines;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static ENGINES: LazyLock<Engines> = LazyLock::new(|| Engines::new(gleaner::collectors::all()));

fuzz_target!(|input: &[u8]| fuzzing::table_ops(input, &ENGINES));
