//! The official test suite under every collector: the copy that is built in and, where there is one, a folder with the current
//! one (`GLEANER_TESTSUITE`, or else `../shared/testsuite`).
//!
//! The scripts that have references run once more with collections forced at every 7th allocation, and at random, all of them
//! verified.
//!
//! Nothing may fail, and nothing may be skipped but what tests a feature that Gleaner does not have, and only where such tests
//! are expected.

use engine::{Config, Engine, Zeal};
use gleaner::collectors;
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
    run_under_every_collector("the embedded suite", &suite::embedded(), None, 57_900);
}

#[test]
fn references_survive_forced_collections() {
    // What makes, holds or moves a reference; numeric scripts have nothing that a collection could lose.
    const WORDS: [&str; 6] = ["(ref.", "struct.new", "array.new", "(table", "throw", "externref"];
    let mut scripts = suite::embedded();
    scripts.retain(|script| WORDS.iter().any(|word| script.text.contains(word)));
    assert!(scripts.len() > 80, "{}", scripts.len());
    for zeal in ["alloc:7,move,poison", "random:3:0.2"] {
        let suite = format!("the embedded suite with {zeal}");
        run_under_every_collector(&suite, &scripts, Some(zeal.parse().unwrap()), 8_000);
    }
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
    run_under_every_collector(&folder.display().to_string(), &scripts, None, 66_000);
}

/// With a `zeal` collections are verified. `passed_at_least` is a little less than what passes today: the suite must not skip itself.
fn run_under_every_collector(suite: &str, scripts: &[Script], zeal: Option<Zeal>, passed_at_least: usize) {
    let wrong: Vec<String> = thread::scope(|scope| {
        let run = |gc: String| {
            // Script parser and validator recurse; so do some scripts, which exhaust WebAssembly's share.
            let thread = thread::Builder::new().stack_size(64 << 20);
            thread.spawn_scoped(scope, move || check(suite, scripts, &gc, zeal, passed_at_least)).unwrap()
        };
        // Options of collectors matter where collections do.
        let all: Vec<String> = if zeal.is_some() {
            collectors::specs().collect()
        } else {
            collectors::names().map(String::from).collect()
        };
        let threads: Vec<_> = all.into_iter().map(run).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{} of {suite}:\n{}", wrong.len(), wrong.join("\n"));
}

/// Runs the scripts, prints the totals, and says what should have been otherwise.
fn check(suite: &str, scripts: &[Script], gc: &str, zeal: Option<Zeal>, passed_at_least: usize) -> Vec<String> {
    let config = Config::new(collectors::by_spec(gc).unwrap()).max_wasm_stack(1 << 20);
    let config = config.zeal(zeal.unwrap_or_default()).verify(zeal.is_some());
    let engine = Engine::with_config(config).unwrap();
    let reports: Vec<_> = scripts.iter().map(|script| run_wast(&script.name, &script.text, &engine)).collect();
    let count = |of: fn(&WastReport) -> usize| reports.iter().map(of).sum::<usize>();
    let (passed, failed) = (count(|report| report.passed), count(|report| report.failed.len()));
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    let skips = || reports.iter().flat_map(|report| report.skipped.iter().map(move |skip| (report, skip)));
    skips().for_each(|(_, skip)| *reasons.entry(&skip.reason).or_default() += 1);
    let mut text = format!(
        "{suite} under {gc}: {} files, {} directives, {passed} passed, {failed} failed, {} skipped\n",
        reports.len(),
        count(WastReport::total),
        count(|report| report.skipped.len()),
    );
    reasons.iter().for_each(|(reason, count)| text += &format!("  {count:>6} skipped for want of {reason}\n"));
    print!("{text}");

    let place = |report: &WastReport, line| format!("{gc}: {}:{line}", report.name);
    let failures = reports.iter().flat_map(|report| report.failed.iter().map(move |failure| (report, failure)));
    let mut wrong: Vec<String> =
        failures.map(|(report, failure)| format!("{}: {}", place(report, failure.line), failure.message)).collect();
    wrong.extend(
        skips()
            .filter(|(report, skip)| !may_skip(&report.name, &skip.reason))
            .map(|(report, skip)| format!("{}: skipped for want of {}", place(report, skip.line), skip.reason)),
    );
    if passed < passed_at_least {
        wrong.push(format!("{gc}: only {passed} passed, expected {passed_at_least}"));
    }
    wrong
}

fn may_skip(script: &str, reason: &str) -> bool {
    let path = Path::new(script);
    let name = path.file_name().unwrap().to_str().unwrap();
    let folder = path.parent().and_then(Path::file_name).map_or("", |folder| folder.to_str().unwrap());
    SKIPPED.iter().any(|(allowed, expected_in)| *allowed == reason && expected_in(folder, name))
}
