//! The chapters say what is so: the code that they show is the code, it passes where they say that it passes, and fails where they
//! say that it fails, by that check. `GLEANER_BLESS=1 cargo test -p tutorial` writes anew what the conformance kit says.

use gc_testkit::find;
use std::collections::HashSet;
use std::path::Path;
use tutorial::STATES;
use tutorial::text::{self, Block, CHAPTERS, blocks, folder};

/// Random scripts for each state, as many as `cargo test` runs in the crate of a collector.
const CASES: u64 = 120;
const PASSES: &str = "test conformance ... ok\n";

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn source(state: &str) -> String {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(state).with_extension("rs"))
}

fn of_kind(chapter: &str, kind: &str) -> Vec<Block> {
    blocks(chapter).into_iter().filter(|block| block.words[0] == kind).collect()
}

/// What the kit says of a state, and the check that it fails.
fn outcome(state: &str) -> (String, String) {
    let (_, collector) = STATES.iter().find(|(name, _)| *name == state).unwrap_or_else(|| panic!("no state {state}"));
    match find(collector, "", CASES) {
        None => (PASSES.to_string(), "passes".to_string()),
        Some(finding) => (as_the_reader_sees(&finding.to_string(), state), format!("{:?}", finding.failure.check)),
    }
}

/// What is said, with the reader's file in place of the one that was compiled.
fn as_the_reader_sees(said: &str, state: &str) -> String {
    let compiled = Path::new(env!("OUT_DIR")).join(state.replace(['/', '-'], "_")).with_extension("rs");
    said.replace(&compiled.display().to_string(), "crates/gc-mine/src/lib.rs")
}

#[test]
fn each_state_passes_or_fails_as_the_text_says() {
    let bless = std::env::var_os("GLEANER_BLESS").is_some();
    let (mut told, mut wrong) = (HashSet::new(), Vec::new());
    for chapter in CHAPTERS {
        let (name, mut text) = (chapter.file, chapter.text());
        // From the end, so that places stay what they are.
        for block in of_kind(&text, "text").into_iter().rev() {
            let [_, state, claim] = &block.words[..] else { panic!("{name}: {:?} is not STATE CHECK", block.words) };
            let (said, by) = outcome(state);
            assert!(told.insert(state.clone()), "{name} tells twice what becomes of {state}");
            if by != *claim || !bless && block.text != said {
                wrong.push(format!("{name}, {state}: {claim} is what the text says; {by}:\n{said}"));
            }
            text.replace_range(block.place, &said);
        }
        if bless {
            std::fs::write(folder().join(name), text).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{}\nGLEANER_BLESS=1 writes anew what the kit says", wrong.join("\n"));
    let untold: Vec<_> = STATES.iter().filter(|(state, _)| !told.contains(*state)).map(|(state, _)| state).collect();
    assert!(untold.is_empty(), "the text does not say what becomes of {untold:?}");
}

#[test]
fn the_code_in_the_text_is_the_code() {
    for chapter in CHAPTERS {
        for block in of_kind(&chapter.text(), "rust") {
            let name = chapter.file;
            let source = source(block.words[1].trim_end_matches(".rs"));
            let (file, lines): (Vec<_>, Vec<_>) = (source.lines().collect(), block.text.lines().collect());
            let found = text::find(&file, &lines);
            assert!(
                found.is_some(),
                "{name}: this stands in no place of {}, or in two:\n{}",
                block.words[1],
                block.text
            );
        }
    }
}

/// Whoever types in what a chapter shows has what it leads to: all lines that were not there when it began, but for the file's
/// comment and imports.
#[test]
fn a_chapter_shows_all_that_changes() {
    let body = |state: &str| source(state).split_once("/// The `mine` collector.").expect("it has one").1.to_string();
    for chapter in CHAPTERS {
        let (before, after) = (body(chapter.from), body(chapter.state));
        let shown: String = of_kind(&chapter.text(), "rust").into_iter().map(|block| block.text).collect();
        let known: HashSet<&str> = before.lines().chain(shown.lines()).map(str::trim).collect();
        let hidden: Vec<&str> = after.lines().filter(|line| !known.contains(line.trim())).collect();
        assert!(hidden.is_empty(), "{} does not show\n{}", chapter.file, hidden.join("\n"));
    }
}

#[test]
fn the_first_state_is_what_the_command_makes() {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src/commands/new_collector/lib.rs.txt");
    assert_eq!(source("null"), read(&made).replace("@NAME@", "mine").replace("@CRATE@", "mine"));
}
