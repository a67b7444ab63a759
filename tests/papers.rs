//! The ledger of papers: each folder is whole, its README says what its records say, and its experiment, run small, comes out as the
//! records in it did.

use lab::ledger::{self, Outcome, Paper, Verdict, plot};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn papers() -> Vec<Paper> {
    let ledger = root().join("papers");
    let names = ledger::names(&ledger).unwrap();
    assert!(names.len() >= 2, "the ledger has papers");
    names.iter().map(|name| Paper::open(&ledger, name).unwrap_or_else(|error| panic!("{error:#}"))).collect()
}

fn outcomes(paper: &Paper) -> Vec<Outcome> {
    let findings = paper.findings(&paper.records().unwrap()).unwrap();
    findings.iter().map(|finding| finding.outcome).collect()
}

fn blessed() -> bool {
    std::env::var_os("GLEANER_BLESS").is_some()
}

fn gleaner(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gleaner")).args(args).current_dir(root()).output().unwrap()
}

/// Words with single blanks between them: lines break anywhere.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_quick_run_of_all_comes_out_as_the_ledger_says() {
    let output = gleaner(&["paper", "run", "all", "--quick"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for paper in papers() {
        assert!(text.contains(&format!("{}: ", paper.name)), "a quick run covers {}", paper.name);
    }
}

#[test]
fn each_folder_is_whole() {
    for paper in papers() {
        let size =
            |path: PathBuf| fs::metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).len();
        let records = paper.records().unwrap_or_else(|error| panic!("{error:#}"));
        assert_eq!(records.len(), paper.plans.len(), "{}", paper.name);
        let bytes: u64 = records.keys().map(|plan| size(paper.folder.join(format!("records/{plan}.jsonl")))).sum();
        assert!(bytes < 500_000, "{}: {bytes} bytes of records are too many for the repository", paper.name);
        let readme = words(&fs::read_to_string(paper.folder.join("README.md")).unwrap());
        assert!(readme.contains(&words(&paper.expected.claim)), "{}: its README lacks the claim", paper.name);
        assert!(!paper.quick().is_empty(), "{}: nothing in it can be checked by counters", paper.name);
        assert!(!paper.expected.panels.is_empty(), "{}", paper.name);
    }
}

#[test]
fn plots_are_those_of_the_records() {
    for paper in papers() {
        let svg = plot::draw(&paper.expected, &paper.records().unwrap()).unwrap();
        let path = paper.folder.join("plot.svg");
        if blessed() {
            fs::write(&path, &svg).unwrap();
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == svg, "{}: `GLEANER_BLESS=1 cargo test --test papers` draws it anew", path.display());
    }
}

#[test]
fn verdicts_are_those_of_the_records() {
    for paper in papers() {
        assert_eq!(paper.stated().unwrap(), Verdict::of(outcomes(&paper)), "{}: what its README says", paper.name);
    }
}

#[test]
fn the_ledger_is_a_table_of_all() {
    let mut table = "\n| paper | claim | verdict | checks that pass |\n|---|---|---|---:|\n".to_string();
    for paper in papers() {
        let (outcomes, expected) = (outcomes(&paper), &paper.expected);
        let passed = outcomes.iter().filter(|outcome| **outcome == Outcome::Passes).count();
        let of = outcomes.len();
        let verdict = Verdict::of(outcomes);
        let (name, title, claim) = (&paper.name, &expected.paper, &expected.claim);
        writeln!(table, "| [{title}]({name}/README.md) | {claim} | {verdict} | {passed} of {of} |").unwrap();
    }
    table.push('\n');
    let path = root().join("papers/README.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("<!-- papers -->\n").unwrap();
    let (found, after) = rest.split_once("<!-- end -->").unwrap();
    if blessed() {
        return fs::write(&path, format!("{before}<!-- papers -->\n{table}<!-- end -->{after}")).unwrap();
    }
    assert_eq!(found, table, "`GLEANER_BLESS=1 cargo test --test papers` writes it anew");
}

/// A ledger of one paper that takes milliseconds and has not run yet.
fn small_ledger(folder: &Path) -> PathBuf {
    let paper = folder.join("paper");
    fs::create_dir(&paper).unwrap();
    let plan = "programs = [\"gcold=200\"]\ngc = [\"semispace\"]\nheap = [\"8MiB\"]\ninvocations = 1\nwarmup = { first = 0 }\n";
    fs::write(paper.join("plan.toml"), plan).unwrap();
    fs::write(paper.join("expected.toml"), EXPECTED).unwrap();
    fs::write(paper.join("README.md"), "**Verdict: reproduced.** It does.\n").unwrap();
    paper
}

const EXPECTED: &str = r#"
paper = "Nobody, 2000"
claim = "It allocates."

[[check]]
says = "it allocates"
kind = "exact"
measure = "value"
of = { quantity = "bytes_allocated", config = "semispace" }
programs = ["gcold=200"]
at_least = 1
"#;

#[test]
fn a_wrong_expectation_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let paper = small_ledger(folder.path());
    let ledger = folder.path().to_str().unwrap();
    let kept = gleaner(&["paper", "run", "paper", "--keep", "--papers", ledger, "-o", ledger]);
    assert_eq!(kept.status.code(), Some(0), "{}", String::from_utf8_lossy(&kept.stderr));

    let quick = || {
        let output = gleaner(&["paper", "run", "all", "--quick", "--papers", ledger]);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(quick().0, Some(0));
    fs::write(paper.join("expected.toml"), EXPECTED.replace("at_least = 1", "at_most = 1")).unwrap();
    let (code, text) = quick();
    assert!(code == Some(1) && text.contains("says reproduced"), "{text}");

    fs::write(paper.join("expected.toml"), EXPECTED.replace("at_least = 1", "at_least = 1000")).unwrap();
    let records = paper.join("records/plan.jsonl");
    let kept = fs::read_to_string(&records).unwrap();
    let (before, after) = kept.split_once("\"bytes_allocated\":").unwrap();
    let digits = after.find(',').unwrap();
    fs::write(&records, format!("{before}\"bytes_allocated\":9{}", &after[digits..])).unwrap();
    let (code, text) = quick();
    assert!(code == Some(1) && text.contains("passes, and fails in the ledger"), "{text}");
}

#[test]
fn what_is_wrong_with_a_paper_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let paper = small_ledger(folder.path());
    let ledger = folder.path().to_str().unwrap();
    let run = |name: &str| {
        let output = gleaner(&["paper", "run", name, "--quick", "--papers", ledger]);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = run("papre");
    assert!(code == Some(2) && text.contains("`papre`") && text.contains("paper"), "{text}");
    for (from, to, named) in [
        ("measure = \"value\"", "measure = \"volume\"", "volume"),
        ("at_least", "at_lest", "at_lest"),
        ("config = \"semispace\"", "config = \"semi\"", "`semi`"),
        ("bytes_allocated", "bytes_alocated", "bytes_alocated"),
        ("[\"gcold=200\"]", "[\"gcold=300\"]", "gcold=300"),
        ("kind = \"exact\"", "kind = \"exact\"\nplan = \"plain\"", "`plain`"),
    ] {
        fs::write(paper.join("expected.toml"), EXPECTED.replace(from, to)).unwrap();
        let (code, text) = run("paper");
        assert!(code == Some(1) && text.contains("expected.toml") || text.contains("it allocates"), "{text}");
        assert!(text.contains(named), "{to}: {text}");
    }
    fs::write(paper.join("expected.toml"), EXPECTED.replace("gcold", "gclod")).unwrap();
    let plan = fs::read_to_string(paper.join("plan.toml")).unwrap();
    fs::write(paper.join("plan.toml"), plan.replace("gcold", "gclod")).unwrap();
    let (code, text) = run("paper");
    assert!(code == Some(1) && text.contains("plan.toml") && text.contains("gclod"), "{text}");
}
