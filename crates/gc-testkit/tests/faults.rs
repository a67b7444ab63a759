//! Collectors that are right pass the kit, and each deliberate fault is caught: as the table in `README.md` says, which
//! `GLEANER_BLESS=1 cargo test -p gc-testkit` writes anew.

mod broken;

use broken::{Fault, counting, home, mark_sweep, semispace};
use gc_testkit::{Check, Kit, check, find, replay, scenarios};
use std::panic::catch_unwind;
use std::process::Command;

/// Random scripts that a fault may take to be found.
const CASES: u64 = 100;
/// Set for the process that is to overflow its stack.
const OVERFLOW: &str = "GLEANER_KIT_OVERFLOW";
const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
const HEAD: &str = "| fault | collector | caught by | found by | operations until then | lines of the script |\n|---|---|---|---|---:|---:|\n";

#[test]
fn right_collectors_pass() {
    for collector in [mark_sweep::COLLECTOR, mark_sweep::STICKY, semispace::COLLECTOR, counting::COLLECTOR] {
        check(&collector, &[""]);
    }
}

#[test]
fn each_fault_is_caught_and_the_table_is_current() {
    let rows = in_parallel(Fault::ALL, |(fault, name, text)| row(*fault, name, text));
    let table: String = rows.iter().map(|(row, _)| row.as_str()).collect();
    println!("{HEAD}{table}");
    let missed: Vec<&str> =
        Fault::ALL.iter().zip(&rows).filter(|(_, (row, _))| row.is_empty()).map(|((_, name, _), _)| *name).collect();
    assert!(missed.is_empty(), "not caught: {missed:?}");
    let idle: Vec<Check> =
        Check::ALL.into_iter().filter(|check| rows.iter().all(|(_, by)| *by != Some(*check))).collect();
    assert!(idle.is_empty(), "no fault shows that these checks can fail: {idle:?}");

    let readme = std::fs::read_to_string(README).expect("it is there");
    let start = readme.find(HEAD).expect("the table has its head") + HEAD.len();
    let end = readme[start..].find("\n\n").map_or(readme.len(), |length| start + length + 1);
    if std::env::var_os("GLEANER_BLESS").is_some() {
        let readme = [&readme[..start], &table, &readme[end..]].concat();
        return std::fs::write(README, readme).expect("it can be written");
    }
    assert!(readme[start..end] == table, "the table in README.md is not current: GLEANER_BLESS=1 writes it");
}

/// The table's row for a fault, and what caught it; nothing when nothing did.
fn row(fault: Fault, name: &str, text: &str) -> (String, Option<Check>) {
    let collector = home(fault);
    let home = collector.info.name;
    if fault == Fault::FreesRecursively {
        let (by, steps) = overflow();
        return (format!("| {text} | `{home}` | stack overflow | {by} | {steps} | |\n"), None);
    }
    let Some(finding) = find(&collector, &format!("fault={name}"), CASES) else { return Default::default() };
    // What is wrong is the fault: the collector without it passes the same script.
    let right = Kit::new(&collector, "").run(&finding.script);
    right.unwrap_or_else(|stopped| panic!("{text}: {stopped:?}\n{}", finding.script));
    let (check, lines) = (finding.failure.check, finding.script.ops.len());
    let row = format!("| {text} | `{home}` | {} | {} | {} | {lines} |\n", check.name(), finding.name, finding.steps);
    (row, Some(check))
}

/// What overflows a stack ends the process, so another one has to: which script does it, and how many operations are run until it
/// is over.
fn overflow() -> (&'static str, usize) {
    let child = Command::new(std::env::current_exe().expect("it runs"))
        .args(["--exact", "what_recurses_overflows"])
        .env(OVERFLOW, "1")
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(!child.status.success(), "{said}");
    let mut steps = 0;
    for (name, script) in scenarios() {
        steps += script.ops.len();
        if said.contains(&format!("thread '{name}'")) && said.contains("overflowed its stack") {
            return (name, steps);
        }
    }
    panic!("the process has ended in another way: {said}");
}

#[test]
fn a_failure_is_printed_with_a_command_that_replays_it() {
    let (collector, options) = (home(Fault::SkipsGlobals), "fault=SkipsGlobals");
    let said = catch_unwind(|| check(&collector, &[options])).unwrap_err();
    let said = said.downcast::<String>().expect("a message");
    let (before, script) = said.split_once("<<'END'\n").expect("a command");
    assert!(before.ends_with("GLEANER_REPLAY=/dev/stdin cargo test -p gc-testkit --test conformance "), "{said}");
    let script = script.strip_suffix("END").expect("it ends");
    let again = catch_unwind(|| replay(&collector, options, script)).unwrap_err();
    let again = again.downcast::<String>().expect("a message");
    let what =
        |said: &str| said.lines().next().and_then(|line| line.split_once(", at ")).map(|(_, what)| what.to_string());
    assert!(what(&again).is_some_and(|what| what.contains("reachable object freed")), "{again}");
    assert_eq!(what(&again), what(&said));
    replay(&collector, "", script);
}

#[test]
fn what_recurses_overflows() {
    if std::env::var_os(OVERFLOW).is_some() {
        find(&home(Fault::FreesRecursively), "fault=FreesRecursively", 0);
    }
}

/// What `f` gives for each, in order.
fn in_parallel<T: Sync, R: Send>(all: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let each = |first: usize| {
        let f = &f;
        move || all.iter().skip(first).step_by(threads).map(f).collect::<Vec<R>>()
    };
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads).map(|first| scope.spawn(each(first))).collect();
        let mut parts: Vec<_> =
            parts.into_iter().map(|part| part.join().expect("nothing panics").into_iter()).collect();
        (0..all.len()).map(|i| parts[i % threads].next().expect("one for each")).collect()
    })
}
