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
//! * A failure **shrinks** to a few lines, which are printed with a command that runs them again.
//!
//! `GLEANER_KIT_CASES` sets the number of random scripts; as many as take a few seconds by default. `README.md` says what is checked
//! and what is not, and lists the collectors, broken on purpose, that show that the checks can fail.

#![forbid(unsafe_code)]

mod clif;
mod emitted;
mod failure;
mod generate;
mod interpret;
mod isolate;
mod machine;
mod mutate;
mod run;
mod scenarios;
mod script;
mod shadow;
mod shrink;
mod types;

pub use emitted::{clif, field, for_each_site};
pub use failure::{Check, Failure};
pub use generate::random;
pub use isolate::catching;
pub use mutate::{crossed, mutated};
pub use run::Stopped;
pub use scenarios::scenarios;
pub use script::{Global, Handle, Op, ParseError, Script, Segment, Setup, Slot, Table, Ty, Way};

use gc_api::{Collector, CollectorOptions};
use std::fmt;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

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
    if let Some(text) = replayed() {
        return options.iter().for_each(|options| replay(collector, options, &text));
    }
    let cases = match std::env::var("GLEANER_KIT_CASES") {
        Ok(text) => text.parse().expect("GLEANER_KIT_CASES is a number"),
        Err(_) => CASES,
    };
    if let Some(finding) = find_any(collector, options, cases) {
        let package = std::env::var("CARGO_PKG_NAME").unwrap_or_else(|_| "PACKAGE".to_string());
        panic!("{}", finding.with_command(&format!("cargo test -p {package} --test conformance")));
    }
}

/// The finding of the first of these options that has one; as many are tried at a time as there are processors.
fn find_any(collector: &Collector, options: &[&str], cases: u64) -> Option<Finding> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut findings = Vec::new();
        loop {
            let i = next.fetch_add(1, Relaxed);
            let Some(options) = options.get(i) else { return findings };
            findings.extend(find(collector, options, cases).map(|finding| (i, finding)));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(options.len());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let findings = workers.into_iter().flat_map(|worker| match worker.join() {
            Ok(findings) => findings,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        findings.min_by_key(|(i, _)| *i).map(|(_, finding)| finding)
    })
}

/// The script that `GLEANER_REPLAY` names, if it is set.
///
/// # Panics
/// When the file cannot be read.
pub fn replayed() -> Option<String> {
    let path = std::env::var_os("GLEANER_REPLAY")?;
    Some(std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// Runs a script that was printed.
///
/// # Panics
/// When it fails, as before; when it is no script.
pub fn replay(collector: &Collector, options: &str, text: &str) {
    let script: Script = text.parse().unwrap_or_else(|error| panic!("{error}"));
    let mut kit = Kit::new(collector, options);
    if let Err(stopped) = kit.run(&script) {
        panic!("{}", kit.finding("the script that is replayed", script, stopped));
    }
}

/// The first thing that is wrong with a collector, if anything is: among the scenarios and `cases` random scripts.
///
/// # Panics
/// When the options are wrong.
pub fn find(collector: &Collector, options: &str, cases: u64) -> Option<Finding> {
    let mut kit = Kit::new(collector, options);
    let scenarios = scenarios().into_iter().map(|(name, script)| (name.to_string(), script));
    let random = (0..cases).map(|seed| (format!("random script {seed}"), generate::random(seed)));
    let mut steps = 0;
    for (name, script) in scenarios.chain(random) {
        let Err(stopped) = isolate::on_small_stack(&name, || kit.run(&script)) else {
            steps += script.ops.len() as u64;
            continue;
        };
        steps += stopped.at as u64 + 1;
        return Some(Finding { steps, ..isolate::on_small_stack(&name, || kit.shrink(&name, &script, stopped)) });
    }
    None
}

/// A collector under test.
pub struct Kit {
    spec: String,
    codes: clif::Codes,
}

impl Kit {
    /// The kit for a collector with these options, as [`check`] takes them.
    ///
    /// # Panics
    /// When the options are wrong.
    pub fn new(collector: &Collector, options: &str) -> Kit {
        let name = collector.info.name;
        let spec = if options.is_empty() { name.to_string() } else { format!("{name}:{options}") };
        let made = CollectorOptions::parse(&spec).and_then(|(_, options)| collector.with(&options));
        let runtime = made.unwrap_or_else(|error| panic!("{spec}: {error}"));
        Kit { spec, codes: clif::Codes::new(runtime) }
    }

    /// Runs a script in a new heap.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn run(&mut self, script: &Script) -> Result<(), Stopped> {
        run::run(script, &mut self.codes)
    }

    /// Makes a script that fails short.
    pub fn shrink(&mut self, name: &str, script: &Script, stopped: Stopped) -> Finding {
        let (script, stopped) = shrink::shrink(script, stopped, &mut self.codes);
        self.finding(name, script, stopped)
    }

    fn finding(&self, name: &str, script: Script, Stopped { at, failure }: Stopped) -> Finding {
        Finding { spec: self.spec.clone(), name: name.to_string(), steps: at as u64 + 1, script, failure, at }
    }
}

/// A collector is wrong.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The collector and its options.
    pub spec: String,
    /// The scenario, or the number of the random script, that found it.
    pub name: String,
    /// Operations that were run until it failed, in all scripts together, before it shrank.
    pub steps: u64,
    /// A short script that fails the same check.
    pub script: Script,
    /// How it fails.
    pub failure: Failure,
    /// The operation at which it does, from 0; their number for the end.
    pub at: usize,
}

impl Finding {
    /// What is wrong, and a shell command that runs the script again: `test` is one that reads `GLEANER_REPLAY`.
    pub fn with_command(&self, test: &str) -> String {
        format!("{}\nGLEANER_REPLAY=/dev/stdin {test} <<'END'\n{}END", self.headline(), self.script)
    }

    fn headline(&self) -> String {
        let Finding { spec, name, script, failure, at, .. } = self;
        let line = script.ops.get(*at).map_or("the end".to_string(), |op| format!("`{op}`"));
        format!("collector `{spec}`, {name}, at {line}: {failure}")
    }
}

impl fmt::Display for Finding {
    /// What is wrong, and the script.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.headline(), self.script)
    }
}
