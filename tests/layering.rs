//! Who may depend on whom, read from `cargo metadata`: the engine knows no collector, a collector knows only the interface, and
//! unsafe code stands in two places.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use std::fs;
use std::path::{Path, PathBuf};

fn metadata() -> Metadata {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    MetadataCommand::new().manifest_path(manifest).no_deps().other_options(["--offline".to_string()]).exec().unwrap()
}

/// The workspace's own crates that `package` is built from.
fn own_dependencies<'m>(metadata: &'m Metadata, package: &'m Package) -> Vec<&'m str> {
    let own: Vec<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    package
        .dependencies
        .iter()
        .filter(|d| d.kind == DependencyKind::Normal && own.contains(&d.name.as_str()))
        .map(|d| d.name.as_str())
        .collect()
}

/// The crates that implement a collector: `gc-*` but for the interface, the parts and the test kit.
fn collectors(metadata: &Metadata) -> Vec<&Package> {
    let shared = ["gc-api", "gc-parts", "gc-testkit"];
    let found: Vec<_> =
        metadata.packages.iter().filter(|p| p.name.starts_with("gc-") && !shared.contains(&p.name.as_str())).collect();
    assert!(found.len() >= 2, "the workspace has collectors");
    found
}

#[test]
fn the_engine_knows_no_collector() {
    let metadata = metadata();
    let engine = metadata.packages.iter().find(|p| p.name == "engine").unwrap();
    assert_eq!(own_dependencies(&metadata, engine), ["gc-api"]);
}

#[test]
fn a_collector_knows_only_the_interface_and_the_parts() {
    let metadata = metadata();
    for collector in collectors(&metadata) {
        let wrong: Vec<_> = own_dependencies(&metadata, collector)
            .into_iter()
            .filter(|d| !["gc-api", "gc-parts"].contains(d))
            .collect();
        assert!(wrong.is_empty(), "{} depends on {wrong:?}", collector.name);
    }
}

#[test]
fn the_test_kit_knows_only_the_interface() {
    let metadata = metadata();
    let kit = metadata.packages.iter().find(|p| p.name == "gc-testkit").unwrap();
    assert_eq!(own_dependencies(&metadata, kit), ["gc-api"]);
}

fn rust_files(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn collectors_parts_and_the_test_kit_forbid_unsafe_code() {
    let metadata = metadata();
    let parts = metadata.packages.iter().filter(|p| ["gc-parts", "gc-testkit"].contains(&p.name.as_str()));
    for package in collectors(&metadata).into_iter().chain(parts) {
        let root = package.manifest_path.parent().unwrap().join("src/lib.rs");
        let text = fs::read_to_string(&root).unwrap();
        assert!(text.contains("#![forbid(unsafe_code)]"), "{root} does not forbid unsafe code");
    }
}

/// One place knows every collector: nothing else in the shared code names one. Tests (`tests.rs`) and examples in the
/// documentation do: they are built with development dependencies.
#[test]
fn only_the_list_names_collectors() {
    let metadata = metadata();
    let names: Vec<String> =
        collectors(&metadata).iter().map(|p| p.name.trim_start_matches("gc-").to_string()).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for dir in ["src", "crates/engine/src", "crates/gc-api/src", "crates/gc-testkit/src", "fuzz/fuzz_targets"] {
        if root.join(dir).exists() {
            rust_files(&root.join(dir), &mut files);
        }
    }
    for file in files.iter().filter(|f| !f.ends_with("src/collectors.rs") && !f.ends_with("tests.rs")) {
        let text = fs::read_to_string(file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap();
            for name in &names {
                for form in [format!("gc_{name}"), format!("gc-{name}")] {
                    assert!(!code.contains(&form), "{}:{}: names a collector: {line}", file.display(), number + 1);
                }
            }
        }
    }
}

/// They are built with `--locked`, and nothing else looks at them.
#[test]
fn the_other_workspaces_have_every_collector_in_their_lock_files() {
    let metadata = metadata();
    for file in ["fuzz/Cargo.lock", "benches/peers/Cargo.lock"] {
        let path = metadata.workspace_root.join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        for collector in collectors(&metadata) {
            let entry = format!("name = \"{}\"\n", collector.name);
            let manifest = metadata.workspace_root.join(file.replace(".lock", ".toml"));
            assert!(
                text.contains(&entry),
                "{file} lacks {}: `cargo metadata --manifest-path {manifest}`",
                collector.name
            );
        }
    }
}
