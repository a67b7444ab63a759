//! The official test suite under every collector: the copy that is built in and, where there is one, a folder with the current
//! one (`GLEANER_TESTSUITE`, or else `../shared/testsuite`).
//!
//! The scripts that have references run once more with a collection forced at every 7th allocation.
//!
//! Nothing may fail, and nothing may be skipped but what tests a feature that Gleaner does not have, and only where such tests
//! are expected.

use engine::{Config, Engine, Zeal};
use gc_api::Collector;
use gleaner::collectors::COLLECTORS;
use gleaner::suite::{self, Script};
use gleaner::wast::{WastReport, run_wast};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;

/// Whether the script in this folder, of this name, is meant.
type InFile = fn(&str, &str) -> bool;

/// Why a directive may be skipped, and in which scripts: by the name of the script's folder and by its own.
const SKIPPED: [(&str, InFile); 2] = [
    ("legacy exception handling", |folder, _| folder == "legacy"),
    ("a script older than WebAssembly 3.0", |folder, _| folder == "threads" || folder == "memory64"),
];

#[test]
fn the_embedded_suite_passes_under_every_collector() {
    run_under_every_collector("the embedded suite", &suite::embedded(), Zeal::OFF, 57_900);
}

#[test]
fn references_survive_forced_collections() {
    // What makes, holds or moves a reference; numeric scripts have nothing that a collection could lose.
    const WORDS: [&str; 6] = ["(ref.", "struct.new", "array.new", "(table", "throw", "externref"];
    let mut scripts = suite::embedded();
    scripts.retain(|script| WORDS.iter().any(|word| script.text.contains(word)));
    assert!(scripts.len() > 80, "{}", scripts.len());
    let zeal = Zeal::every_nth_allocation(7);
    run_under_every_collector("the embedded suite with forced collections", &scripts, zeal, 8_000);
}

#[test]
fn the_suite_in_the_folder_passes_under_every_collector() {
    let folder = match std::env::var_os("GLEANER_TESTSUITE") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/testsuite");
            if !folder.exists() {
                println!("skipped: there is no {}, and GLEANER_TESTSUITE names no other", folder.display());
                return;
            }
            folder
        }
    };
    let scripts = suite::find(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    run_under_every_collector(&folder.display().to_string(), &scripts, Zeal::OFF, 66_000);
}

/// `passed_at_least` is a little less than what passes today: the suite must not skip itself.
fn run_under_every_collector(suite: &str, scripts: &[Script], zeal: Zeal, passed_at_least: usize) {
    let wrong: Vec<String> = thread::scope(|scope| {
        let run = |collector| {
            // Script parser and validator recurse; so do some scripts, which exhaust WebAssembly's share.
            let thread = thread::Builder::new().stack_size(64 << 20);
            thread.spawn_scoped(scope, move || check(suite, scripts, collector, zeal, passed_at_least)).unwrap()
        };
        let threads: Vec<_> = COLLECTORS.iter().map(run).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{} of {suite}:\n{}", wrong.len(), wrong.join("\n"));
}

/// Runs the scripts, prints the totals, and says what should have been otherwise.
fn check(suite: &str, scripts: &[Script], collector: &Collector, zeal: Zeal, passed_at_least: usize) -> Vec<String> {
    let gc = collector.with(&Default::default()).unwrap();
    let engine = Engine::with_config(Config::new(gc).max_wasm_stack(1 << 20).zeal(zeal)).unwrap();
    let reports: Vec<_> = scripts.iter().map(|script| run_wast(&script.name, &script.text, &engine)).collect();
    let count = |of: fn(&WastReport) -> usize| reports.iter().map(of).sum::<usize>();
    let (passed, failed) = (count(|report| report.passed), count(|report| report.failed.len()));
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    let skips = || reports.iter().flat_map(|report| report.skipped.iter().map(move |skip| (report, skip)));
    skips().for_each(|(_, skip)| *reasons.entry(&skip.reason).or_default() += 1);
    let mut text = format!(
        "{suite} under {}: {} files, {} directives, {passed} passed, {failed} failed, {} skipped\n",
        collector.info.name,
        reports.len(),
        count(WastReport::total),
        count(|report| report.skipped.len()),
    );
    reasons.iter().for_each(|(reason, count)| text += &format!("  {count:>6} skipped for want of {reason}\n"));
    print!("{text}");

    let place = |report: &WastReport, line| format!("{}: {}:{line}", collector.info.name, report.name);
    let failures = reports.iter().flat_map(|report| report.failed.iter().map(move |failure| (report, failure)));
    let mut wrong: Vec<String> =
        failures.map(|(report, failure)| format!("{}: {}", place(report, failure.line), failure.message)).collect();
    wrong.extend(
        skips()
            .filter(|(report, skip)| !may_skip(&report.name, &skip.reason))
            .map(|(report, skip)| format!("{}: skipped for want of {}", place(report, skip.line), skip.reason)),
    );
    if passed < passed_at_least {
        wrong.push(format!("{}: only {passed} passed, expected {passed_at_least}", collector.info.name));
    }
    wrong
}

fn may_skip(script: &str, reason: &str) -> bool {
    let path = Path::new(script);
    let name = path.file_name().unwrap().to_str().unwrap();
    let folder = path.parent().and_then(Path::file_name).map_or("", |folder| folder.to_str().unwrap());
    SKIPPED.iter().any(|(allowed, expected_in)| *allowed == reason && expected_in(folder, name))
}
