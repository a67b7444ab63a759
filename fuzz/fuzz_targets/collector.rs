//! Scripts of the kit for collectors, without the engine, under every collector: see [`fuzzing::collector`].
#![no_main]

use libfuzzer_sys::{fuzz_crossover, fuzz_mutator, fuzz_target};

fuzz_target!(|input: &[u8]| {
    if let Some(script) = fuzzing::script_of(input) {
        fuzzing::collector(&script, gleaner::collectors::COLLECTORS);
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    fuzzing::mutate_script(data, size, max_size, seed)
});

fuzz_crossover!(|first: &[u8], second: &[u8], out: &mut [u8], seed: u32| {
    fuzzing::cross_scripts(first, second, out, seed)
});
