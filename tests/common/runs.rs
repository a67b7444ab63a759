//! Programs of the repository, how they are run, and what they print.

#![allow(dead_code, reason = "each test uses its share")]

use super::process::{Ended, gleaner_with_input};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A program and what it prints.
#[derive(Clone, Debug)]
pub struct Run {
    /// What stands before the file: `--invoke FUNC`, or nothing.
    options: Vec<String>,
    file: String,
    args: Vec<String>,
    pub expected: String,
}

impl Run {
    fn new(options: &[&str], file: String, args: &[&str], expected: String) -> Run {
        let own = |parts: &[&str]| parts.iter().map(|part| part.to_string()).collect();
        Run { options: own(options), file, args: own(args), expected }
    }

    /// Whether it is a benchmark with a parameter beside the size.
    pub fn has_parameter(&self) -> bool {
        self.options.iter().any(|option| option.starts_with("run_with"))
    }

    /// Runs it with more options.
    pub fn with(&self, options: &[&str]) -> Ended {
        let mut line = vec!["run"];
        line.extend(options);
        line.extend(self.options.iter().map(String::as_str));
        line.push(&self.file);
        line.extend(self.args.iter().map(String::as_str));
        gleaner_with_input(&line, b"")
    }
}

fn text(file: impl AsRef<Path>) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

fn json(file: &str) -> Value {
    serde_json::from_str(&text(file)).unwrap()
}

/// The files of a folder of the repository with this extension, in order.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == extension));
    files.sort();
    assert!(!files.is_empty(), "{}", folder.display());
    files
}

/// The examples, as the comments at their heads have it.
pub fn examples() -> Vec<Run> {
    let mut runs = Vec::new();
    for file in files("examples", "wat") {
        let text = text(&file);
        let before = runs.len();
        for line in text.lines().map_while(|line| line.strip_prefix(";;")) {
            if let Some(args) = line.strip_prefix(" run:") {
                let args: Vec<&str> = args.split_whitespace().collect();
                // Options stand before the file, a function's arguments behind it.
                let (options, args) = args.split_at(if args.first() == Some(&"--invoke") { 2 } else { 0 });
                runs.push(Run::new(options, file.to_str().unwrap().into(), args, String::new()));
            } else if let Some(out) = line.strip_prefix(" out:") {
                let expected = &mut runs.last_mut().expect("`out:` follows a `run:`").expected;
                *expected += out.strip_prefix(' ').unwrap_or(out);
                *expected += "\n";
            }
        }
        assert!(runs.len() > before, "{} says nothing to run", file.display());
    }
    runs
}

/// What the programs of the benchmarks compute at their small sizes, with each parameter that is listed; `heap`: those that allocate, or
/// all.
pub fn benchmarks(only_heap: bool) -> Vec<Run> {
    let programs = json("benches/programs/programs.json");
    let mut runs = Vec::new();
    for program in programs.as_array().unwrap().iter().filter(|program| !only_heap || program["heap"] != false) {
        let file = format!("benches/programs/{}", program["file"].as_str().unwrap());
        let (size, result) = (program["small"].to_string(), format!("{}\n", program["small_result"]));
        runs.push(Run::new(&["--invoke", "run"], file.clone(), &[&size], result));
        for (parameter, result) in program["parameter"]["small_results"].as_object().into_iter().flatten() {
            runs.push(Run::new(&["--invoke", "run_with"], file.clone(), &[&size, parameter], format!("{result}\n")));
        }
        let first = program["parameter"]["default"].to_string();
        for (second, result) in program["second"]["small_results"].as_object().into_iter().flatten() {
            let args = [size.as_str(), first.as_str(), second.as_str()];
            runs.push(Run::new(&["--invoke", "run_with_both"], file.clone(), &args, format!("{result}\n")));
        }
    }
    runs
}

/// What the programs that MoonBit's compiler made compute at each size that is known.
pub fn moonbit() -> Vec<Run> {
    let programs = json("benches/moonbit/expected.json");
    let mut runs = Vec::new();
    for (name, expected) in programs.as_object().unwrap() {
        let file = format!("benches/moonbit/wasm/{name}.wasm");
        for (size, result) in expected["run"].as_object().unwrap() {
            runs.push(Run::new(&["--invoke", "run"], file.clone(), &[size], format!("{result}\n")));
        }
    }
    runs
}

/// What the programs that OCaml's compiler made print.
pub fn ocaml() -> Vec<Run> {
    let mut runs = Vec::new();
    for name in ["queens", "symbolic"] {
        let expected = text(format!("benches/ocaml/wasm/{name}.expected"));
        runs.push(Run::new(&[], format!("benches/ocaml/wasm/{name}.wasm"), &[], expected));
    }
    for (name, sizes) in json("benches/ocaml/sizes.json").as_object().unwrap() {
        let args: Vec<&str> =
            sizes["small"]["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
        let output = sizes["small"]["output"].as_str().unwrap().into();
        runs.push(Run::new(&[], format!("benches/ocaml/wasm/{name}.wasm"), &args, output));
    }
    runs
}
