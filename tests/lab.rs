//! `gleaner bench`, `minheap` and `compare` as commands: what they leave behind, and what they do when something is wrong.

mod common {
    pub mod process;
}

use common::process::{Ended, gleaner_with_input};
use lab::files::{OnDamage, Records};
use lab::record::{Outcome, Record};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

fn gleaner(args: &[&str]) -> Ended {
    gleaner_with_input(args, b"")
}

/// A small experiment: two programs under two collectors, twice.
fn bench(folder: &Path, more: &[&str]) -> Ended {
    let folder = folder.display().to_string();
    let args = ["bench", "--programs", "splay,gcbench", "--size", "small", "--gc", "semispace,drc", "--heap", "16MiB"];
    let args: Vec<&str> =
        args.into_iter().chain(["--invocations", "2", "-o", &folder]).chain(more.iter().copied()).collect();
    gleaner(&args)
}

fn read(folder: &Path) -> Vec<Record> {
    Records::read(&[folder.into()], OnDamage::Fail).unwrap().records
}

fn keys(records: &[Record]) -> BTreeSet<(String, String, u32)> {
    let key = |record: &Record| (record.cell.program.clone(), record.cell.config.clone(), record.invocation);
    records.iter().map(key).collect()
}

#[track_caller]
fn ends_well(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn a_sweep_that_was_killed_goes_on_without_loss_or_duplicates() {
    let folder = tempfile::tempdir().unwrap();
    ends_well(&bench(folder.path(), &[]));
    let whole = read(folder.path());
    assert_eq!((whole.len(), keys(&whole).len()), (8, 8));
    assert!(whole.iter().all(|record| record.outcome == Outcome::Ok && record.iterations.len() == 2), "{whole:?}");
    // Killed in the middle of writing the sixth record.
    let file = folder.path().join("bench.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    let five: usize = text.split_inclusive('\n').take(5).map(str::len).sum();
    fs::write(&file, &text[..five + 100]).unwrap();
    let again = bench(folder.path(), &[]);
    ends_well(&again);
    again.says(&["invocations that ran", "that had run before"]);
    let records = read(folder.path());
    assert_eq!((records.len(), keys(&records)), (8, keys(&whole)));
    assert_eq!(records[..5], whole[..5], "what was there stays as it was");
}

#[test]
fn exact_counts_are_the_same_in_each_invocation() {
    let folder = tempfile::tempdir().unwrap();
    ends_well(&bench(folder.path(), &["--iterations", "2", "--heap", "1MiB,16MiB"]));
    let mut seen = BTreeMap::new();
    for record in read(folder.path()).iter().filter(|record| record.outcome == Outcome::Ok) {
        for iteration in &record.iterations {
            let exact = (iteration.counters.clone(), iteration.collections.digest.clone());
            let first = seen.entry(record.cell.clone()).or_insert_with(|| exact.clone());
            assert_eq!(*first, exact, "{}", record.cell);
        }
        let columns = record.timed().all(|iteration| iteration.collections.exact.is_some());
        assert_eq!(columns, record.invocation == 0, "columns stand in the first invocation alone");
    }
    assert!(!seen.is_empty());
}

#[test]
fn failures_are_records_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    // An executable that says nothing, one that is not there, and a heap in which only one program fits.
    let ended =
        bench(folder.path(), &["--exe", "silent=/bin/false", "--exe", "missing=/no/such/file", "--heap", "256KiB"]);
    ends_well(&ended);
    ended.says(&["crash: the process ended with code 1", "/no/such/file", "oom: "]);
    let mut outcomes: BTreeMap<(String, String), Outcome> = BTreeMap::new();
    for record in read(folder.path()).into_iter().filter(|record| record.cell.heap_bytes == 256 << 10) {
        outcomes.insert((record.cell.program.clone(), record.cell.config.clone()), record.outcome);
    }
    let of = |program: &str, config: &str| outcomes[&(program.to_string(), config.to_string())];
    for gc in ["semispace", "drc"] {
        assert_eq!(of("splay=500", gc), Outcome::Oom);
        assert_eq!(of("gcbench=8", gc), Outcome::Ok);
        assert_eq!(of("gcbench=8", &format!("silent/{gc}")), Outcome::Crash);
        assert_eq!(of("gcbench=8", &format!("missing/{gc}")), Outcome::Error);
    }
}

#[test]
fn programs_that_trap_lie_or_do_not_end_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let program = |name: &str, body: &str| {
        let file = folder.path().join(name);
        fs::write(&file, format!("(module (func (export \"run\") {body}))")).unwrap();
        format!("{}:run", file.display())
    };
    let programs = [
        program("trap.wat", "unreachable"),
        program("endless.wat", "(loop $l (br $l))"),
        program("deep.wat", "(call 0) (call 0)"),
        program("broken.wat", "(i32.const 1) (unknown)"),
    ];
    let output = folder.path().join("records");
    let args = ["bench", "--programs", &programs.join(","), "--gc", "null", "--heap", "1MiB", "--invocations", "1"];
    let to = output.display().to_string();
    let ended = gleaner(&args.into_iter().chain(["--timeout", "1s", "-o", &to]).collect::<Vec<_>>());
    ends_well(&ended);
    let outcome = |file: &str| {
        let record = read(&output).into_iter().find(|record| record.program.file.ends_with(file)).unwrap();
        (record.outcome, record.error.unwrap_or_default())
    };
    assert_eq!(outcome("trap.wat").0, Outcome::Trap);
    assert_eq!(outcome("endless.wat").0, Outcome::Timeout);
    assert_eq!(outcome("deep.wat").0, Outcome::Trap);
    let (broken, why) = outcome("broken.wat");
    assert!(broken == Outcome::Error && why.contains("broken.wat"), "{why}");
}

#[test]
fn what_does_not_fit_the_records_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    ends_well(&bench(folder.path(), &[]));
    bench(folder.path(), &["--iterations", "3"]).fails(1, &["other options", "another folder"]);
}

#[test]
fn a_list_of_jobs_leaves_the_records_that_one_run_would() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("jobs.jsonl").display().to_string();
    let (parts, whole) = (folder.path().join("parts"), folder.path().join("whole"));
    let written = bench(&parts, &["--plan", &list]);
    ends_well(&written);
    written.says(&["8 jobs"]);
    assert!(!parts.exists(), "nothing ran");
    for n in 1..=8 {
        ends_well(&bench(&parts, &["--plan", &list, "--job", &n.to_string()]));
    }
    ends_well(&bench(&whole, &[]));
    assert_eq!(keys(&read(&parts)), keys(&read(&whole)));
    let compared = gleaner(&["compare", &parts.display().to_string(), &whole.display().to_string(), "--times", "warn"]);
    ends_well(&compared);
    bench(&parts, &["--plan", &list, "--job", "9"]).fails(1, &["jobs 1 to 8"]);
}

#[test]
fn comparisons_end_as_scripts_need_it() {
    let folder = tempfile::tempdir().unwrap();
    ends_well(&bench(folder.path(), &[]));
    let folder = folder.path().display().to_string();
    ends_well(&gleaner(&["compare", &folder, &folder]));
    let (base, head) = (format!("{folder}#semispace"), format!("{folder}#drc"));
    let differs = gleaner(&["compare", &base, &head, "--times", "warn"]);
    assert_eq!(differs.code, Some(1));
    assert!(differs.stdout.contains("own_enrolled") && differs.stdout.contains("few"), "{}", differs.stdout);
    gleaner(&["compare", &base, &format!("{folder}#nothing")])
        .fails(2, &["no configuration `nothing`", "drc, semispace"]);
}

#[test]
fn damaged_records_are_named() {
    let folder = tempfile::tempdir().unwrap();
    ends_well(&bench(folder.path(), &[]));
    let file = folder.path().join("bench.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("nonsense\n{text}")).unwrap();
    let folder = folder.path().display().to_string();
    let skipped = gleaner(&["compare", &folder, &folder]);
    ends_well(&skipped);
    skipped.says(&["bench.jsonl:1: no JSON", "damaged records were left out"]);
    gleaner(&["compare", &folder, &folder, "--strict"]).fails(1, &["bench.jsonl:1"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_a_sweep_with_a_word() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", folder.path().join("bench.jsonl")).unwrap();
    // The device reads as zeros without end: records are read from what is a file.
    bench(folder.path(), &[]).fails(1, &["bench.jsonl", "goes on from here"]);
}

#[test]
fn wrong_plans_are_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none");
    let output = none.display().to_string();
    let bench = |args: &[&str]| {
        let all = ["bench", "--size", "small", "-o", &output];
        gleaner(&all.into_iter().chain(args.iter().copied()).collect::<Vec<_>>())
    };
    bench(&["--programs", "nothing", "--gc", "drc", "--heap", "1MiB"])
        .fails(1, &["`nothing` is none of the programs", "splay"]);
    bench(&["--programs", "splay", "--gc", "nothing"]).fails(1, &["no collector `nothing`"]);
    bench(&["--programs", "splay", "--gc", "drc", "--heap", "2x"]).fails(1, &["gleaner minheap"]);
    bench(&["--programs", "splay", "--gc", "drc,drc", "--heap", "1MiB"]).fails(2, &["two configurations", "label"]);
    bench(&["--programs", "splay", "--gc", "drc", "--heap", "1MiB", "--inject", "x=pause=1us"]).fails(2, &["`x`"]);
    bench(&["--set", "nowhere", "--gc", "drc", "--heap", "1MiB"]).fails(1, &["nowhere", "--set"]);
    let plan = folder.path().join("plan.toml");
    fs::write(&plan, "programmes = [\"splay\"]\n").unwrap();
    bench(&[&plan.display().to_string()]).fails(1, &["plan.toml", "programmes"]);
}

#[test]
fn minimum_heaps_are_searched_once_and_taken_up_by_bench() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().display().to_string();
    let search = || {
        gleaner(&[
            "minheap",
            "--programs",
            "gcbench,awfy_storage",
            "--size",
            "small",
            "--gc",
            "semispace,null",
            "-o",
            &output,
        ])
    };
    let found = search().ok();
    assert!(found.contains("awfy_storage=8") && !found.contains("null"), "{found}");
    let probes = read(folder.path()).len();
    assert_eq!(search().ok(), found);
    assert_eq!(read(folder.path()).len(), probes, "nothing is tried twice");
    let args = ["bench", "--programs", "awfy_storage", "--size", "small", "--gc", "semispace,null", "--heap", "1,2"];
    ends_well(&gleaner(&args.into_iter().chain(["--invocations", "1", "-o", &output]).collect::<Vec<_>>()));
    let records = read(folder.path());
    let minimum = lab::minheap::minima(&records)[&("awfy_storage=8".to_string(), "semispace".to_string())];
    assert!(minimum.exact);
    let mut heaps: Vec<u64> = records
        .iter()
        .filter(|record| record.purpose == lab::record::Purpose::Bench && record.cell.config == "semispace")
        .map(|record| record.cell.heap_bytes)
        .collect();
    heaps.sort_unstable();
    assert_eq!(heaps, [minimum.bytes, 2 * minimum.bytes]);
}
