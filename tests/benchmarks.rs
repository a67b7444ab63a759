//! What the benchmark programs say about themselves agrees: the list, the heads of the files, the tables; and what lives in them is no more.

mod common {
    pub mod process;
}

use common::process::gleaner_with_input;
use gleaner::text;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(name)
}

fn read(file: PathBuf) -> String {
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn listed() -> Vec<Value> {
    serde_json::from_str(&read(folder("programs/programs.json"))).unwrap()
}

/// The names of the files in a folder with this extension, without it.
fn names(folder: PathBuf, extension: &str) -> BTreeSet<String> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|file| file.extension().is_some_and(|e| e == extension));
    files.map(|file| file.file_stem().unwrap().to_str().unwrap().to_string()).collect()
}

/// A number as the tables have it.
fn grouped(number: &Value) -> String {
    text::count(number.as_u64().unwrap_or_else(|| panic!("{number} is no size")))
}

#[test]
fn every_program_is_listed_once_and_the_readme_describes_it() {
    let readme = read(folder("programs/README.md"));
    let mut seen = BTreeSet::new();
    for program in listed() {
        let name = program["name"].as_str().unwrap();
        assert_eq!(program["file"], format!("{name}.wat"));
        let start = format!("| `{name}` | {} |", program["stresses"].as_str().unwrap());
        let row = readme.lines().find(|line| line.starts_with(&start));
        let row = row.unwrap_or_else(|| panic!("no row of benches/programs/README.md begins with {start}"));
        let sizes = format!("| {} | {} |", grouped(&program["small"]), grouped(&program["default"]));
        assert!(row.contains(&sizes), "{row} does not have {sizes}");
        assert!(seen.insert(name.to_string()), "{name} is listed twice");
    }
    assert_eq!(seen, names(folder("programs"), "wat"));
}

#[test]
fn the_head_of_a_file_has_the_results_that_are_listed() {
    for program in listed() {
        let file = program["file"].as_str().unwrap();
        let source = read(folder("programs").join(file));
        let head: Vec<&str> = source.lines().map_while(|line| line.strip_prefix(";;")).map(str::trim).collect();
        let head = head.join(" ");
        let (_, expect) = head.split_once("Expect: ").unwrap_or_else(|| panic!("{file} has no `Expect:`"));
        let mut calls = vec![
            format!("run({}) = {}", program["small"], program["small_result"]),
            format!("run({}) = {}", program["default"], program["default_result"]),
        ];
        for (parameter, result) in program["parameter"]["small_results"].as_object().into_iter().flatten() {
            calls.push(format!("run_with({}, {parameter}) = {result}", program["small"]));
        }
        for (second, result) in program["second"]["small_results"].as_object().into_iter().flatten() {
            let (small, first) = (&program["small"], &program["parameter"]["default"]);
            calls.push(format!("run_with_both({small}, {first}, {second}) = {result}"));
        }
        for call in calls {
            assert!(expect.contains(&call), "the head of {file} does not have {call}, but {expect}");
        }
        assert_eq!(program["parameter"].is_object(), head.contains("Parameter"), "{file}");
        assert_eq!(program["second"].is_object(), head.contains("Second parameter"), "{file}");
        for word in ["Stresses: ", "Knob: ", "Self-check: "] {
            assert!(head.contains(word), "the head of {file} has no {word}");
        }
    }
}

#[test]
fn the_readme_has_a_row_for_each_parameter() {
    let readme = read(folder("programs/README.md"));
    let listed = listed();
    let parameters =
        listed.iter().flat_map(|program| [(program, &program["parameter"]), (program, &program["second"])]);
    for (program, parameter) in parameters {
        let Some(parameter) = parameter.as_object() else { continue };
        let values: Vec<&str> = parameter["small_results"].as_object().unwrap().keys().map(String::as_str).collect();
        let row = format!(
            "| `{}` | {} | {} | ",
            program["name"].as_str().unwrap(),
            parameter["means"].as_str().unwrap(),
            grouped(&parameter["default"])
        );
        let found = readme.lines().find_map(|line| line.strip_prefix(&row)).unwrap_or_else(|| panic!("no row {row}"));
        let listed: BTreeSet<&str> = found.trim_end_matches(" |").split(", ").collect();
        assert_eq!(listed, values.into_iter().collect(), "{row}");
    }
}

#[test]
fn every_moonbit_program_has_a_source_a_module_sizes_and_a_row() {
    let readme = read(folder("moonbit/README.md"));
    let sources = names(folder("moonbit/src"), "mbt");
    assert_eq!(sources, names(folder("moonbit/wasm"), "wasm"));
    for list in ["expected.json", "sizes.json"] {
        let list: Value = serde_json::from_str(&read(folder("moonbit").join(list))).unwrap();
        assert_eq!(sources, list.as_object().unwrap().keys().cloned().collect());
    }
    for name in sources {
        assert!(readme.contains(&format!("| `{name}` |")), "benches/moonbit/README.md does not describe {name}");
    }
}

/// What lives is 1.7 MB, a tenth of all that is made, scattered over the heap. Immix ran out of 8 MiB: there was an item on every line.
#[test]
fn few_objects_on_every_line_do_not_fill_a_heap() {
    let run = |gc: &str, heap: &str| {
        let file = "benches/programs/survive_mutate.wat";
        let ended = gleaner_with_input(
            &["run", "--gc", gc, "--heap", heap, "--invoke", "run_with_both", file, "300000", "10", "50"],
            b"",
        );
        assert_eq!(ended.ok().trim(), "1969490832", "{gc} in {heap}");
    };
    ["drc", "marksweep", "immix", "immix:threads=2", "immix:defrag=always"].iter().for_each(|gc| run(gc, "3MiB"));
    // These copy, and keep room for it.
    ["semispace", "generational", "generational:ageing=1"].iter().for_each(|gc| run(gc, "4500KiB"));
}
