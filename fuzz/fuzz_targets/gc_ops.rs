//! Programs across graphs of objects, under every collector, against a shadow heap: see [`fuzzing::gc_ops`].
#![no_main]

use fuzzing::gc_ops::{Program, Subject, gc_ops};
use gleaner::collectors::all;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static SUBJECTS: LazyLock<Vec<Subject>> =
    LazyLock::new(|| all().into_iter().map(|(spec, gc)| Subject::new(spec, gc)).collect());

fuzz_target!(|program: Program| gc_ops(&program, &SUBJECTS));
