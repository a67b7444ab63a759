//! The same module under every collector and under Wasmtime: see [`differential::compare`].
#![no_main]

use differential::Input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: Input| {
    if let Err(finding) = differential::compare(&input.binary, input.seed) {
        panic!("{finding}");
    }
});
