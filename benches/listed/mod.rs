//! The benchmark programs, as the lists beside them name them.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A program that exports `run: (i32) -> i32`.
pub struct Program {
    /// As it is named; those that MoonBit compiled begin with `moonbit/`.
    pub name: String,
    /// The module, in either format.
    pub source: Vec<u8>,
    /// What `run` is called with.
    pub n: i32,
    /// What it gives, where that is listed.
    pub expected: Option<i32>,
    /// Whether it makes objects.
    #[allow(dead_code, reason = "not every benchmark parts them by it")]
    pub heap: bool,
}

/// One of `programs.json`.
#[derive(Deserialize)]
struct Listed {
    name: String,
    #[serde(default = "makes_objects")]
    heap: bool,
    file: String,
    small: i32,
    small_result: i32,
    default: i32,
    default_result: i32,
}

fn makes_objects() -> bool {
    true
}

/// One of MoonBit's `expected.json`: results by size.
#[derive(Deserialize)]
struct Results {
    run: BTreeMap<i32, i32>,
}

/// The programs, at their default sizes or small ones, whose names contain `filter`.
///
/// # Panics
/// When a file is not there or not right: with its name.
pub fn programs(small: bool, filter: Option<&str>) -> Vec<Program> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(|folder| folder.join("benches/programs").exists());
    let benches = root.expect("this is built from the repository").join("benches");
    let listed: Vec<Listed> = json(&benches.join("programs/programs.json"));
    let results: BTreeMap<String, Results> = json(&benches.join("moonbit/expected.json"));
    let sizes: BTreeMap<String, i32> = json(&benches.join("moonbit/sizes.json"));
    let written = listed.into_iter().map(|program| {
        let (n, expected) = match small {
            true => (program.small, program.small_result),
            false => (program.default, program.default_result),
        };
        let source = read(&benches.join("programs").join(&program.file));
        Program { name: program.name, source, n, expected: Some(expected), heap: program.heap }
    });
    let compiled = results.into_iter().map(|(name, results)| {
        let (&least, &result) = results.run.last_key_value().expect("a program has results");
        let source = read(&benches.join("moonbit/wasm").join(format!("{name}.wasm")));
        let (n, expected) = if small { (least, Some(result)) } else { (sizes[&name], None) };
        Program { name: format!("moonbit/{name}"), source, n, expected, heap: true }
    });
    written.chain(compiled).filter(|program| filter.is_none_or(|filter| program.name.contains(filter))).collect()
}

fn read(path: &PathBuf) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json<T: for<'de> Deserialize<'de>>(path: &PathBuf) -> T {
    serde_json::from_slice(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
