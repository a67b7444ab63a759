use super::*;
use crate::record::samples::record;

/// A check of a value, with what stands in `more` besides.
fn check(more: &str) -> Check {
    let text = format!("says = \"it does\"\n{more}");
    toml::from_str(&text).unwrap_or_else(|error| panic!("{error}"))
}

/// A record whose program was timed and counted.
fn timed(program: &str, config: &str, invocation: u32, wall: u64, traced: u64) -> Record {
    let mut record = record(program, config, invocation);
    record.iterations[0].wall_ns = wall;
    record.iterations[0].counters.insert("objects_traced".into(), traced);
    record
}

const EXPONENT: &str = r#"
kind = "exact"
measure = "exponent"
of = { quantity = "objects_traced", config = "a" }
programs = ["p=1", "p=2", "p=4"]
against = [1, 2, 4]
at_least = 0.9
at_most = 1.1
"#;

#[test]
fn what_grows_with_its_size_has_exponent_one() {
    let run = |counts: [u64; 3]| {
        let programs = ["p=1", "p=2", "p=4"];
        let records: Vec<Record> = programs.iter().zip(counts).map(|(p, n)| timed(p, "a", 0, 1, n)).collect();
        check(EXPONENT).evaluate(&records.iter().collect::<Vec<_>>()).unwrap()
    };
    assert_eq!(run([10, 20, 40]).outcome, Outcome::Passes);
    let square = run([10, 40, 160]);
    assert!((square.value.unwrap() - 2.0).abs() < 1e-9 && square.outcome == Outcome::Fails);
    assert_eq!(run([10, 10, 10]).value, Some(0.0));
}

const RATIO: &str = r#"
kind = "statistical"
measure = "ratio"
of = { quantity = "wall_ns", config = "b" }
over = { quantity = "wall_ns", config = "a" }
programs = ["p"]
at_least = 1.5
"#;

#[test]
fn a_time_passes_when_its_whole_interval_does() {
    let run = |times: [u64; 4]| {
        let mut records = Vec::new();
        for (i, time) in (0..).zip(times) {
            records.push(timed("p", "a", i, 100, 0));
            records.push(timed("p", "b", i, time, 0));
        }
        check(RATIO).evaluate(&records.iter().collect::<Vec<_>>()).unwrap()
    };
    assert_eq!(run([200, 201, 199, 200]).outcome, Outcome::Passes);
    assert_eq!(run([120, 121, 119, 120]).outcome, Outcome::Fails);
    let noisy = run([100, 300, 120, 240]);
    assert_eq!(noisy.outcome, Outcome::Undecided, "{noisy:?}");
}

#[test]
fn a_total_is_of_sums() {
    let text = EXPONENT.replace("exponent", "total").replace("against = [1, 2, 4]", "");
    let text = text.replace("1.1", "2") + "over = { quantity = \"objects_traced\", config = \"b\" }\n";
    let mut records = Vec::new();
    for (program, n) in ["p=1", "p=2", "p=4"].into_iter().zip([10, 20, 150]) {
        records.push(timed(program, "a", 0, 1, n));
        records.push(timed(program, "b", 0, 1, 40));
    }
    let found = check(&text).evaluate(&records.iter().collect::<Vec<_>>()).unwrap();
    assert!((found.value.unwrap() - 1.5).abs() < 1e-9 && found.outcome == Outcome::Passes, "{found:?}");
}

#[test]
fn a_crossover_lies_between_the_points_around_it() {
    let text = EXPONENT.replace("exponent", "crossover") + "over = { quantity = \"objects_traced\", config = \"b\" }\n";
    let text = text.replace("0.9", "2.5").replace("1.1", "3.5");
    let run = |counts: [u64; 3]| {
        let mut records = Vec::new();
        for (program, n) in ["p=1", "p=2", "p=4"].into_iter().zip(counts) {
            records.push(timed(program, "a", 0, 1, n));
            records.push(timed(program, "b", 0, 1, 100));
        }
        check(&text).evaluate(&records.iter().collect::<Vec<_>>()).unwrap()
    };
    let found = run([25, 50, 200]);
    assert!((found.value.unwrap() - 3.0).abs() < 1e-9 && found.outcome == Outcome::Passes, "{found:?}");
    assert_eq!(run([1, 2, 3]).outcome, Outcome::Fails, "it never gets there");
}

#[test]
fn an_overhead_is_over_the_least_that_any_takes_without_collecting() {
    let text = r#"
        kind = "statistical"
        measure = "overhead"
        of = { quantity = "wall_ns", config = "b" }
        programs = ["p"]
        at_least = 1.2
        at_most = 1.3
    "#;
    let mut records = Vec::new();
    for i in 0..3 {
        records.push(timed("p", "a", i, 100, 0));
        let mut b = timed("p", "b", i, 100, 0);
        b.iterations[0].gc_ns = 20;
        records.push(b);
    }
    let found = check(text).evaluate(&records.iter().collect::<Vec<_>>()).unwrap();
    assert!((found.value.unwrap() - 1.25).abs() < 1e-9 && found.outcome == Outcome::Passes, "{found:?}");
}

#[test]
fn what_failed_decides_nothing_and_what_is_missing_is_named() {
    let mut failed = timed("p", "b", 0, 100, 0);
    failed.outcome = Ended::Oom;
    let found = check(RATIO).evaluate(&[&timed("p", "a", 0, 100, 0), &failed]).unwrap();
    assert_eq!((found.outcome, found.why.as_deref()), (Outcome::Undecided, Some("p did not end well")));

    let ok = RATIO.replace("ratio", "value").replace("over = { quantity = \"wall_ns\", config = \"a\" }", "");
    let ok = ok.replace("wall_ns", "ok").replace("at_least = 1.5", "at_most = 0").replace("statistical", "exact");
    assert_eq!(check(&ok).evaluate(&[&failed]).unwrap().outcome, Outcome::Passes, "it is expected to fail");

    let error = format!("{:#}", check(RATIO).evaluate(&[&timed("p", "a", 0, 100, 0)]).unwrap_err());
    assert!(error.contains("p under b"), "{error}");
    let counter = EXPONENT.replace("objects_traced", "objects_tracked");
    let records: Vec<Record> = ["p=1", "p=2", "p=4"].map(|p| timed(p, "a", 0, 1, 1)).into();
    let error = format!("{:#}", check(&counter).evaluate(&records.iter().collect::<Vec<_>>()).unwrap_err());
    assert!(error.contains("objects_tracked") && error.contains("objects_traced"), "{error}");
}

#[test]
fn checks_that_make_no_sense_are_refused() {
    let plan: Plan =
        toml::from_str("programs = [\"p=1\", \"p=2\", \"p=4\", \"p\"]\ngc = [\"a\", \"b\"]\nheap = [2]\n").unwrap();
    check(EXPONENT).validate(&[&plan]).unwrap();
    check(RATIO).validate(&[&plan]).unwrap();
    for (from, to, named) in [
        ("config = \"a\"", "config = \"c\"", "`c`"),
        ("\"p=4\"", "\"p=8\"", "p=8"),
        ("against = [1, 2, 4]", "against = [1, 2]", "against"),
        ("at_most = 1.1", "at_most = 0.1", "at most"),
        ("objects_traced", "gc_ns", "a time is not exact"),
        ("\"exponent\"", "\"ratio\"", "over"),
        ("programs =", "heaps = [3]\nprograms =", "heap"),
    ] {
        let error = check(&EXPONENT.replace(from, to)).validate(&[&plan]).unwrap_err().to_string();
        assert!(error.contains(named), "{to}: {error}");
    }
}
