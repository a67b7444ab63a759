//! The benchmark programs, as benchmarks run them: at one of two sizes, with their source.

use lab::programs::{Expected, Listing, Set, Size};
use std::fs;
use std::path::Path;

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

/// The programs, at their default sizes or small ones, whose names contain `filter`.
///
/// # Panics
/// When a file is not there or not right: with its name.
pub fn programs(small: bool, filter: Option<&str>) -> Vec<Program> {
    let program = |listing: Listing| {
        let [n] = listing.program.args.as_slice() else { return None };
        let n = n.parse().ok().filter(|_| listing.program.function == "run")?;
        let expected = match listing.program.expected {
            Expected::Result(expected) => Some(expected),
            Expected::Unknown | Expected::Output(_) => None,
        };
        let Listing { name, program, heap, has_parameter } = listing;
        Some(Program { name, source: read(&program.file), n, expected, heap, has_parameter })
    };
    listings(small, filter).filter_map(program).collect()
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

/// The whole programs, at their default sizes or small ones, whose names contain `filter`.
///
/// # Panics
/// See [`programs`].
#[allow(dead_code, reason = "only the comparison with other engines runs these")]
pub fn whole_programs(small: bool, filter: Option<&str>) -> Vec<Whole> {
    let whole = |Listing { name, program, .. }: Listing| match program.expected {
        Expected::Output(output) => Some(Whole { name, source: read(&program.file), args: program.args, output }),
        Expected::Unknown | Expected::Result(_) => None,
    };
    listings(small, filter).filter_map(whole).collect()
}

fn listings(small: bool, filter: Option<&str>) -> impl Iterator<Item = Listing> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(|folder| folder.join("benches/programs").exists());
    let folder = root.expect("this is built from the repository").join("benches");
    let size = if small { Size::Small } else { Size::Default };
    let all = Set::open(&folder).and_then(|set| set.listings(size)).unwrap_or_else(|error| panic!("{error:#}"));
    all.into_iter().filter(move |listing| filter.is_none_or(|filter| listing.name.contains(filter)))
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
