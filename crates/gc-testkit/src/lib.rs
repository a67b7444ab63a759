//! What every Gleaner collector must pass, without the engine and in seconds.
//!
//! In a collector's `tests/conformance.rs`:
//!
//! ```ignore
//! gc_testkit::conformance!(gc_mine::COLLECTOR, "", "young=16");
//! ```
//!
//! The kit drives a [`GcHeap`](gc_api::GcHeap) with scripts, random ones and a list of known trouble, beside a **shadow heap** in plain
//! Rust that follows each step and knows nothing of collectors:
//!
//! * [`Script`]: what a program does with a stack, globals, tables, element segments, host handles, a pending exception, host
//!   values, and objects of all shapes.
//! * Each operation goes by the host's methods, or as **compiled code**: the kit has the collector's
//!   [`GcCompiler`](gc_api::GcCompiler) emit a function for each kind of site, has Cranelift verify it, and interprets it. Its calls
//!   are safepoints, at which what is live is a root and may be moved.
//! * After each collection the reachable graphs must be the same, nothing reachable freed, host values dropped once and in time,
//!   what the collector claims to free gone, and bytes and counters add up: [`Check`].
//! * A failure **shrinks** to a few lines, which are printed and can be replayed: by [`replay`], or with
//!   `GLEANER_REPLAY=FILE cargo test`.
//!
//! `GLEANER_KIT_CASES` sets the number of random scripts; as many as take a few seconds by default. That the kit finds what is wrong
//! is tested with collectors that are broken on purpose: see `README.md`.
//!
//! What it does not do: it runs one thread; it cannot interrupt a collector that loops; it does not overwrite what was freed, because
//! a collector may keep its free lists there.

#![forbid(unsafe_code)]

mod clif;
mod failure;
mod generate;
mod interpret;
mod machine;
mod run;
mod scenarios;
mod script;
mod shadow;
mod shrink;
mod types;

pub use failure::{Check, Failure};
pub use generate::random;
pub use run::Stopped;
pub use scenarios::scenarios;
pub use script::{Global, Handle, Op, ParseError, Script, Segment, Setup, Slot, Table, Ty, Way};

use gc_api::{Collector, CollectorOptions, GcRuntime};
use std::fmt;
use std::sync::Arc;

/// Random scripts that [`check`] runs, unless `GLEANER_KIT_CASES` says otherwise.
const CASES: u64 = 120;

/// Makes a test `conformance` of a collector, under its default options or under each of the given ones (`key=value`, joined by
/// colons; `""` for the defaults).
#[macro_export]
macro_rules! conformance {
    ($collector:expr) => {
        $crate::conformance!($collector, "");
    };
    ($collector:expr, $($options:literal),+ $(,)?) => {
        #[test]
        fn conformance() {
            $crate::check(&$collector, &[$($options),+]);
        }
    };
}

/// Runs all scenarios, and random scripts, under the collector with each of these options. With `GLEANER_REPLAY=FILE` it runs the
/// script in that file instead.
///
/// # Panics
/// When something is wrong: with a short script that shows it. When the options are.
pub fn check(collector: &Collector, options: &[&str]) {
    if let Some(path) = std::env::var_os("GLEANER_REPLAY") {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        return options.iter().for_each(|options| replay_with(collector, options, &text));
    }
    let cases = match std::env::var("GLEANER_KIT_CASES") {
        Ok(text) => text.parse().expect("GLEANER_KIT_CASES is a number"),
        Err(_) => CASES,
    };
    for options in options {
        if let Some(finding) = find(collector, options, cases) {
            panic!("{finding}");
        }
    }
}

/// The first thing that is wrong with a collector, if anything is: among the scenarios and `cases` random scripts.
///
/// # Panics
/// When the options are wrong.
pub fn find(collector: &Collector, options: &str, cases: u64) -> Option<Finding> {
    let mut codes = clif::Codes::new(make(collector, options));
    let scenarios = scenarios().into_iter().map(|(name, script)| (name.to_string(), script));
    let random = (0..cases).map(|seed| (format!("random script {seed}"), generate::random(seed)));
    let mut steps = 0;
    for (name, script) in scenarios.chain(random) {
        if let Err(stopped) = run::run(&script, &mut codes) {
            steps += stopped.at as u64 + 1;
            let (script, stopped) = shrink::shrink(&script, stopped, &mut codes);
            let spec = spec(collector, options);
            return Some(Finding { spec, name, steps, script, failure: stopped.failure, at: stopped.at });
        }
        steps += script.ops.len() as u64;
    }
    None
}

/// Runs one script under a collector with its default options.
///
/// # Errors
/// What is wrong, and where.
///
/// # Panics
/// When the collector cannot be made.
pub fn run_script(collector: &Collector, script: &Script) -> Result<(), Stopped> {
    run::run(script, &mut clif::Codes::new(make(collector, "")))
}

/// Runs a script that was printed, under a collector with its default options.
///
/// # Panics
/// When it fails, as before; when it is no script.
pub fn replay(collector: &Collector, text: &str) {
    replay_with(collector, "", text);
}

fn replay_with(collector: &Collector, options: &str, text: &str) {
    let script: Script = text.parse().unwrap_or_else(|error| panic!("{error}"));
    if let Err(Stopped { at, failure }) = run::run(&script, &mut clif::Codes::new(make(collector, options))) {
        let line = script.ops.get(at).map_or("the end".to_string(), |op| format!("`{op}`"));
        panic!("{}: at {line}: {failure}", spec(collector, options));
    }
}

fn spec(collector: &Collector, options: &str) -> String {
    let name = collector.info.name;
    if options.is_empty() { name.to_string() } else { format!("{name}:{options}") }
}

fn make(collector: &Collector, options: &str) -> Arc<dyn GcRuntime> {
    let spec = spec(collector, options);
    let made = CollectorOptions::parse(&spec).and_then(|(_, options)| collector.with(&options));
    made.unwrap_or_else(|error| panic!("{spec}: {error}"))
}

/// A collector is wrong.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The collector and its options.
    pub spec: String,
    /// The scenario, or the number of the random script, that found it.
    pub name: String,
    /// Operations that were run until it failed, in all scripts together.
    pub steps: u64,
    /// A short script that fails the same check.
    pub script: Script,
    /// How it fails.
    pub failure: Failure,
    /// The operation at which it does, from 0; their number for the end.
    pub at: usize,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { spec, name, script, failure, at, .. } = self;
        writeln!(f, "collector `{spec}`, {name}: {failure}")?;
        let line = script.ops.get(*at).map_or("the end".to_string(), |op| format!("`{op}`"));
        writeln!(f, "The script below fails at {line}. Save it, and run it again with GLEANER_REPLAY=FILE.\n")?;
        write!(f, "{script}")
    }
}
