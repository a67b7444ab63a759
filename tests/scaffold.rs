//! `gleaner new-collector`: what it makes is a collector, and two lines outside of its folder are all that it takes.

mod common {
    pub mod process;
}

use common::process::{Ended, gleaner_with_input};
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A package that has the list of collectors, and the dependencies that stand beside it.
const LIST: &str = "\
[package]
name = \"list\"
edition.workspace = true

[dependencies]
";

const LIST_TEST: &str = "\
#[test]
fn it_is_listed() {
    assert_eq!(list::collectors::by_spec(\"try-out\").unwrap().info().name, \"try-out\");
}
";

fn gleaner(args: &[&str]) -> Ended {
    gleaner_with_input(args, b"")
}

/// A copy of the source tree, as far as a collector's crate and the list of collectors need it.
fn copy_of_the_tree(to: &Path) {
    for item in ["Cargo.toml", "src", "crates/gc-api", "crates/gc-drc"] {
        copy(&Path::new(ROOT).join(item), &to.join(item));
    }
}

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        std::fs::copy(from, to).unwrap();
        return;
    }
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // What was built, and other workspaces.
        if !["target", "peers", "node_modules"].iter().any(|name| entry.file_name() == *name) {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    }
}

/// Every file, with its text.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.path() {
            path if path.is_dir() => all.extend(files(&path)),
            path => all.push((path.clone(), std::fs::read(&path).unwrap())),
        }
    }
    all.sort();
    all
}

#[test]
fn a_collector_is_a_crate_and_two_lines_and_passes_the_kit() {
    let tree = tempfile::tempdir().unwrap();
    copy_of_the_tree(tree.path());
    let before = files(tree.path());
    let root = tree.path().to_str().unwrap();
    assert!(gleaner(&["new-collector", "try-out", "--root", root]).ok().contains("gc-try-out"));

    let after = files(tree.path());
    let folder = tree.path().join("crates/gc-try-out");
    let changed: Vec<_> = after.iter().filter(|file| !before.contains(file) && !file.0.starts_with(&folder)).collect();
    let names: Vec<_> = changed.iter().map(|(path, _)| path.strip_prefix(tree.path()).unwrap()).collect();
    assert_eq!(names, [Path::new("Cargo.toml"), Path::new("src/collectors.rs")]);
    for (path, text) in changed {
        let (_, old) = before.iter().find(|(old, _)| old == path).unwrap();
        let (old, new) = (String::from_utf8_lossy(old), String::from_utf8_lossy(text));
        let added: Vec<_> = new.lines().filter(|line| !old.lines().any(|other| other == *line)).collect();
        assert_eq!((added.len(), new.lines().count()), (1, old.lines().count() + 1), "{path:?}: {added:?}");
    }

    // The crate and the list as they are now, in a workspace with the dependencies of this one, so that little is built anew.
    let other = tempfile::tempdir().unwrap();
    let manifest = std::fs::read_to_string(tree.path().join("Cargo.toml")).unwrap();
    let (own, shared) = manifest.split_at(manifest.find("[workspace.package]").unwrap());
    let shared = shared.replace("\"crates/", &format!("\"{ROOT}/crates/"));
    let entries = own.lines().filter(|line| line.contains("= { path = \"crates/gc-"));
    // All that any of the crates depends on, so that nothing has other features than in this workspace.
    let all = shared.split_once("[workspace.dependencies]").unwrap().1.split_once("[workspace.lints").unwrap().0;
    let names = all.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    let ours = ["engine", "fuzzing", "module-gen", "gc-testkit"];
    let names = names.filter(|name| {
        !name.starts_with('#') && !ours.contains(name) && !entries.clone().any(|line| line.starts_with(*name))
    });
    let all: String = names.map(|name| format!("{name}.workspace = true\n")).collect();
    let entries: Vec<_> = entries.map(|line| line.replace("crates/gc-try-out", "../gc-try-out")).collect();
    let entries = entries.join("\n").replace("crates/", &format!("{ROOT}/crates/"));
    copy(&folder, &other.path().join("gc-try-out"));
    for (file, text) in [
        ("Cargo.toml", format!("[workspace]\nmembers = [\"list\", \"gc-try-out\"]\nresolver = \"3\"\n\n{shared}")),
        ("list/Cargo.toml", format!("{LIST}{all}{entries}\n")),
        (
            "list/src/lib.rs",
            format!("pub mod collectors;\n#[path = \"{ROOT}/crates/lab/src/text.rs\"]\npub mod text;\n"),
        ),
        ("list/tests/list.rs", LIST_TEST.to_string()),
    ] {
        let path = other.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    copy(&tree.path().join("src/collectors.rs"), &other.path().join("list/src/collectors.rs"));
    copy(&Path::new(ROOT).join("Cargo.lock"), &other.path().join("Cargo.lock"));

    let built = Command::new(env!("CARGO"))
        .args(["test", "--offline", "--workspace", "--tests"])
        .current_dir(other.path())
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap())
        .env("GLEANER_KIT_CASES", "20")
        .output()
        .unwrap();
    let (said, out) = (String::from_utf8_lossy(&built.stderr), String::from_utf8_lossy(&built.stdout));
    assert!(built.status.success() && !said.contains("warning"), "{said}{out}");
    assert!(out.contains("conformance ... ok") && out.contains("it_is_listed ... ok"), "{said}{out}");
}

#[test]
fn a_collector_that_cannot_be_made_leaves_nothing_behind() {
    let empty = tempfile::tempdir().unwrap();
    let root = empty.path().to_str().unwrap();
    gleaner(&["new-collector", "try-out", "--root", root]).fails(1, &["is not Gleaner's source tree", "--root"]);
    gleaner(&["new-collector", "Try", "--root", root]).fails(2, &["`Try`", "lower case"]);
    gleaner(&["new-collector", "drc", "--root", ROOT]).fails(1, &["gc-drc", "exists already"]);
    assert!(files(empty.path()).is_empty());
}
