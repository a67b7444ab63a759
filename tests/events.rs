//! What `--gc-log` and `--trace` say of collections, under every collector.

mod common {
    pub mod process;
}

use common::process::gleaner_with_input;
use gleaner::collectors;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

const PROGRAM: [&str; 4] = ["--invoke", "run", "benches/programs/lru_cache.wat", "300000"];

/// Runs the command line, which ends well, and gives what it printed on standard error.
#[track_caller]
fn gleaner(args: &[&str]) -> String {
    let ended = gleaner_with_input(args, b"");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.stderr
}

/// What `--stats` counted.
fn collections(stats: &str) -> usize {
    let line = stats.lines().find_map(|line| line.trim_start().strip_prefix("pauses  "));
    line.unwrap_or_else(|| panic!("no pauses in {stats}")).trim().replace(',', "").parse().unwrap()
}

#[test]
fn the_log_has_a_line_for_each_collection() {
    for gc in collectors::names() {
        let args: Vec<&str> =
            ["run", "--gc", gc, "--heap", "2MiB..64MiB", "--stats", "--gc-log"].into_iter().chain(PROGRAM).collect();
        let said = gleaner(&args);
        let lines: Vec<&str> = said.lines().filter(|line| line.starts_with('[')).collect();
        assert_eq!(lines.len(), collections(&said), "{gc}: {}", said);
        for (i, line) in lines.iter().enumerate() {
            assert!(line.contains(&format!("s] #{i} ")) && line.contains(" roots, ") && line.contains(" → "), "{line}");
        }
    }
}

#[test]
fn the_log_goes_to_a_file_when_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gc.log");
    let log = format!("--gc-log={}", file.display());
    let args: Vec<&str> = ["run", "--gc", "semispace", "--heap", "2MiB", &log].into_iter().chain(PROGRAM).collect();
    let said = gleaner(&args);
    assert_eq!(said, "");
    assert!(fs::read_to_string(file).unwrap().lines().count() > 1);
}

/// The slices of a trace: thread, name, start and end in nanoseconds.
fn slices(trace: &Value) -> Vec<(u64, String, u64, u64)> {
    let nanos = |value: &Value| (value.as_f64().unwrap() * 1e3).round() as u64;
    let slice = |event: &Value| {
        let (start, length) = (nanos(&event["ts"]), nanos(&event["dur"]));
        (event["tid"].as_u64().unwrap(), event["name"].as_str().unwrap().to_string(), start, start + length)
    };
    trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "X").map(slice).collect()
}

#[test]
fn a_trace_has_every_pause_with_its_phases_inside() {
    let folder = tempfile::tempdir().unwrap();
    for gc in collectors::names() {
        let file = folder.path().join(format!("{gc}.json"));
        let to = file.display().to_string();
        let args: Vec<&str> = ["run", "--gc", gc, "--heap", "2MiB..64MiB", "--stats", "--trace", &to]
            .into_iter()
            .chain(PROGRAM)
            .collect();
        let said = gleaner(&args);
        let trace: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let slices = slices(&trace);
        let pauses: Vec<_> = slices.iter().filter(|(_, name, ..)| name.ends_with("collection")).collect();
        assert_eq!(pauses.len(), collections(&said), "{gc}");
        for (thread, name, start, end) in &slices {
            let inside = |pause: &&&(u64, String, u64, u64)| pause.2 <= *start && *end <= pause.3 + 1;
            if *thread == 1 {
                let overlaps = pauses.iter().any(|pause| *start < pause.3 && pause.2 < *end);
                assert!(!overlaps, "{gc}: the program runs in a pause, {start} to {end}");
            } else if !name.ends_with("collection") {
                assert_eq!(pauses.iter().filter(inside).count(), 1, "{gc}: {name} is in no pause, {start} to {end}");
            }
        }
        let events = trace["traceEvents"].as_array().unwrap();
        let tracks: BTreeSet<&str> =
            events.iter().filter(|event| event["ph"] == "C").map(|event| event["name"].as_str().unwrap()).collect();
        if !pauses.is_empty() {
            for track in ["heap live, bytes", "heap committed, bytes", "allocation rate, MiB/s", "objects traced"] {
                assert!(tracks.contains(track), "{gc} has no track {track}: {tracks:?}");
            }
        }
    }
}

/// The work of single collections adds up to what is counted for all of them.
#[test]
fn the_work_of_collections_adds_up() {
    use engine::{Engine, Event, Module, Store};
    let source = fs::read(PROGRAM[2]).unwrap();
    for gc in collectors::names() {
        let config = engine::Config::new(collectors::by_spec(gc).unwrap()).heap_limit(8 << 20).initial_heap(1 << 20);
        let engine = Engine::with_config(config).unwrap();
        let module = Module::new(&engine, &source).unwrap();
        let mut store = Store::new(&engine, ()).unwrap();
        store.record_events(1 << 16);
        let instance = engine::Instance::new(&mut store, &module, &[]).unwrap();
        let run = instance.get_typed_func::<i32, i32>(&mut store, "run").unwrap();
        // A collector that frees nothing runs out of heap, and has no collections.
        let _ = run.call(&mut store, 300_000);
        let (events, counters) = (store.take_events(), store.stats().counters);
        assert_eq!(events.dropped, 0);
        let collected = events.events.iter().filter_map(|event| match event {
            Event::Collected(collection) => Some(collection),
            Event::Grown { .. } => None,
        });
        let (mut traced, mut copied, mut roots) = (0, 0, 0);
        let mut last = None;
        for collection in collected {
            traced += collection.work.objects_traced;
            copied += collection.work.bytes_copied;
            roots += collection.work.all_roots();
            assert!(last.replace(collection.start).is_none_or(|last| last <= collection.start), "{gc}: in order");
            let phases: Vec<_> = collection.phases.iter(collection.pause).collect();
            assert!(phases.iter().all(|(_, start, end)| start <= end && *end <= collection.pause), "{gc}: {phases:?}");
        }
        assert_eq!(copied, counters.bytes_copied, "{gc}");
        assert_eq!(traced, counters.objects_traced, "{gc}");
        assert_eq!(roots, counters.roots.iter().sum::<u64>(), "{gc}");
    }
}
