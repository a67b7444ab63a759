//! The same module under every collector of Gleaner's and under Wasmtime.
//!
//! `wasm-smith` makes a module that exports everything it has, or some of it (or a module is given). Every exported function is called in turn,
//! with arguments that a seed decides; then the host looks at every global, memory and table. What must be the same everywhere:
//! 1. whether the module can be instantiated, and if not, why;
//! 2. the results of each call, or the kind of its trap, or the exception;
//! 3. what the functions of the host were called with;
//! 4. the globals, memories and tables at the end.
//!
//! References into the heap are compared by what they refer to, to a bounded depth, and functions by the order in which they are
//! first seen. What a runner may decide on its own (when the stack or the heap is full) ends the comparison.

mod gleaner_side;
mod plan;
mod seen;
mod smith;
mod wasmtime_side;

pub use plan::Plan;
pub use seen::{Failure, Seen, Story};
pub use smith::Input;

use std::fmt::Write;

/// Runs `binary` everywhere with what `seed` decides, and compares.
///
/// # Errors
/// The first difference, with the module as text and what reproduces it.
pub fn compare(binary: &[u8], seed: u64) -> Result<Compared, String> {
    let plan = Plan::new(binary, seed).map_err(|error| finding(binary, seed, &error))?;
    let (peer, expected) = wasmtime_side::run(binary, &plan, seed);
    let mut compared = Compared {
        instantiated: expected.stillborn.is_none(),
        calls: expected.calls.len(),
        completed: expected.calls.iter().filter(|call| call.outcome.is_ok()).count(),
        ended_early: expected.is_inconclusive(),
    };
    for (runner, story) in gleaner_side::run(binary, &plan, seed) {
        compared.ended_early |= story.is_inconclusive();
        if let Err(difference) = expected.same(&story) {
            let what = format!("{difference}\n(first under {peer}, then under {runner})");
            return Err(finding(binary, seed, &what));
        }
    }
    Ok(compared)
}

/// What was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Whether there was an instance.
    pub instantiated: bool,
    /// How many calls were made.
    pub calls: usize,
    /// How many of these gave results.
    pub completed: usize,
    /// Whether a runner's limits ended it.
    pub ended_early: bool,
}

/// A difference, the module as text, and how to see it again.
fn finding(binary: &[u8], seed: u64, difference: &str) -> String {
    let text = wasmprinter::print_bytes(binary).unwrap_or_else(|error| format!("(the module does not print: {error})"));
    let mut message = format!("{text}\n{difference}\n");
    let file = std::env::temp_dir().join(format!("differential-{seed:x}.wasm"));
    let saved = match std::fs::write(&file, binary) {
        Ok(()) => file.display().to_string(),
        Err(_) => "FILE.wat".to_string(),
    };
    write!(
        message,
        "the module above and this command show it again:\n  \
         cargo run --release --manifest-path fuzz/Cargo.toml -p differential -- {saved} --seed {seed}"
    )
    .expect("a string takes everything");
    message
}
