//! How long the collectors are: the table in `docs/collectors.md`.

use gleaner::collectors::COLLECTORS;
use std::fmt::Write;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The source files of a crate, but for its tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        match path.file_stem().and_then(|name| name.to_str()) {
            Some("tests") => {}
            _ if path.is_dir() => files.extend(sources(&path)),
            _ => files.push(path),
        }
    }
    files
}

/// Lines that are neither blank, nor comments, nor in the module of tests at the end.
fn lines_of_code(text: &str) -> usize {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("//")).count()
}

fn count(package: &str) -> usize {
    let files = sources(&Path::new(ROOT).join(format!("crates/{package}/src")));
    files.iter().map(|file| lines_of_code(&std::fs::read_to_string(file).unwrap())).sum()
}

#[test]
fn the_table_says_how_long_they_are() {
    let mut table = "\n| collector | lines | algorithm |\n|---|---:|---|\n".to_string();
    for collector in COLLECTORS {
        let name = collector.info.name;
        writeln!(table, "| `{name}` | {} | {} |", count(&format!("gc-{name}")), collector.info.summary).unwrap();
    }
    writeln!(table, "| `gc-parts` | {} | what they are built of |\n", count("gc-parts")).unwrap();

    let path = Path::new(ROOT).join("docs/collectors.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("<!-- lines -->\n").unwrap();
    let (found, after) = rest.split_once("<!-- end -->").unwrap();
    if std::env::var_os("GLEANER_BLESS").is_some() {
        return std::fs::write(&path, format!("{before}<!-- lines -->\n{table}<!-- end -->{after}")).unwrap();
    }
    assert_eq!(found, table, "`GLEANER_BLESS=1 cargo test --test lines` writes it anew");
}

#[test]
fn comments_blank_lines_and_tests_are_no_code() {
    let text = "//! What it is.\n\nfn f() {\n    // Why.\n    g()\n}\n\n#[cfg(test)]\nmod tests {\n    fn t() {}\n}\n";
    assert_eq!(lines_of_code(text), 3);
}
