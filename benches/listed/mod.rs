//! The benchmark programs, as the lists beside them name them.

use serde::Deserialize;
use serde::de::IgnoredAny;
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
    /// Whether it exports `run_with: (i32, i32) -> i32`, too, whose second argument is its parameter.
    #[allow(dead_code, reason = "only the comparison with other engines turns dials")]
    pub has_parameter: bool,
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
    parameter: Option<IgnoredAny>,
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
    let benches = benches();
    let listed: Vec<Listed> = json(&benches.join("programs/programs.json"));
    let results: BTreeMap<String, Results> = json(&benches.join("moonbit/expected.json"));
    let sizes: BTreeMap<String, i32> = json(&benches.join("moonbit/sizes.json"));
    let written = listed.into_iter().map(|program| {
        let (n, expected) = match small {
            true => (program.small, program.small_result),
            false => (program.default, program.default_result),
        };
        let source = read(&benches.join("programs").join(&program.file));
        let has_parameter = program.parameter.is_some();
        Program { name: program.name, source, n, expected: Some(expected), heap: program.heap, has_parameter }
    });
    let compiled = results.into_iter().map(|(name, results)| {
        let (&least, &result) = results.run.last_key_value().expect("a program has results");
        let source = read(&benches.join("moonbit/wasm").join(format!("{name}.wasm")));
        let (n, expected) = if small { (least, Some(result)) } else { (sizes[&name], None) };
        Program { name: format!("moonbit/{name}"), source, n, expected, heap: true, has_parameter: false }
    });
    written.chain(compiled).filter(|program| filter.is_none_or(|filter| program.name.contains(filter))).collect()
}

/// A whole program, which imports WASI and prints.
#[allow(dead_code, reason = "only the comparison with other engines runs these")]
pub struct Whole {
    /// As it is named: `ocaml/` and its own name.
    pub name: String,
    /// The module.
    pub source: Vec<u8>,
    /// What follows its name on the command line.
    pub args: Vec<String>,
    /// What it prints.
    pub output: String,
}

/// A program of OCaml's `sizes.json`: how it is run.
#[derive(Deserialize)]
struct Sizes {
    small: Size,
    default: Size,
}

#[derive(Deserialize)]
struct Size {
    args: Vec<String>,
    output: String,
}

/// The whole programs, at their default sizes or small ones, whose names contain `filter`.
///
/// # Panics
/// See [`programs`].
#[allow(dead_code, reason = "only the comparison with other engines runs these")]
pub fn whole_programs(small: bool, filter: Option<&str>) -> Vec<Whole> {
    let folder = benches().join("ocaml");
    let sizes: BTreeMap<String, Sizes> = json(&folder.join("sizes.json"));
    let programs = sizes.into_iter().map(|(name, sizes)| {
        let source = read(&folder.join("wasm").join(format!("{name}.wasm")));
        let Size { args, output } = if small { sizes.small } else { sizes.default };
        Whole { name: format!("ocaml/{name}"), source, args, output }
    });
    programs.filter(|program| filter.is_none_or(|filter| program.name.contains(filter))).collect()
}

/// The repository's folder of benchmarks.
fn benches() -> PathBuf {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(|folder| folder.join("benches/programs").exists());
    root.expect("this is built from the repository").join("benches")
}

fn read(path: &PathBuf) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json<T: for<'de> Deserialize<'de>>(path: &PathBuf) -> T {
    serde_json::from_slice(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
