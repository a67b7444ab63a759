//! `gleaner new-collector`: a crate to begin with.

use super::UsageError;
use anyhow::{Context, bail};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The files of the crate, below its folder. `@NAME@` is the collector's name, `@CRATE@` the same in Rust.
const FILES: [(&str, &str); 3] = [
    ("Cargo.toml", include_str!("new_collector/Cargo.toml.txt")),
    ("src/lib.rs", include_str!("new_collector/lib.rs.txt")),
    ("tests/conformance.rs", include_str!("new_collector/conformance.rs.txt")),
];

/// Make a collector to begin with: a crate that allocates and never frees, registered, and right by the conformance kit
#[derive(Args)]
pub struct NewCollector {
    /// What `--gc` is to take: lower case letters, digits and hyphens
    name: String,
    /// Gleaner's source tree, if it is not the current directory
    #[arg(long, value_name = "DIR", default_value = ".")]
    root: PathBuf,
}

impl NewCollector {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        let NewCollector { name, root } = self;
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(fits) || name.ends_with('-') {
            let text = format!(
                "`{name}` is no name for a collector: a letter, then letters, digits and hyphens, all lower case"
            );
            return Err(UsageError(text).into());
        }
        let (manifest, list) = (root.join("Cargo.toml"), root.join("src/collectors.rs"));
        let folder = root.join(format!("crates/gc-{name}"));
        if !root.join("crates/gc-api").is_dir() {
            bail!("{} is not Gleaner's source tree: run this in its root, or name that with `--root`", root.display());
        }
        if folder.exists() {
            bail!("{} exists already", folder.display());
        }
        // Both lines have a place before anything is written.
        let manifest_text = with_line(
            &manifest,
            |line| line.starts_with("gc-") && line.contains("{ path = \"crates/gc-"),
            &format!("gc-{name} = {{ path = \"crates/gc-{name}\" }}"),
        )?;
        let rust_name = name.replace('-', "_");
        let list_text = with_line(
            &list,
            |line| line.trim_start().starts_with("gc_") && line.contains("::COLLECTOR,"),
            &format!("    gc_{rust_name}::COLLECTOR,"),
        )?;
        for (file, text) in FILES {
            let text = text.replace("@NAME@", &name).replace("@CRATE@", &rust_name);
            write(&folder.join(file), &text)?;
        }
        write(&manifest, &manifest_text)?;
        write(&list, &list_text)?;
        super::print(&format!(
            "{} is a collector that allocates and never frees; it stands in Cargo.toml and src/collectors.rs.\n\
             Next: cargo test -p gc-{name}, and cargo run --release -- run --gc {name} --stats examples/keep_half.wat\n",
            folder.display()
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The text of a file with a line behind the first block of lines that `is_entry` knows.
fn with_line(path: &Path, is_entry: impl Fn(&str) -> bool, line: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.iter().position(|line| is_entry(line));
    let Some(first) = first else { bail!("{} has no line for a collector: add `{line}`", path.display()) };
    let end = first + lines[first..].iter().take_while(|line| is_entry(line)).count();
    let mut out: Vec<&str> = lines[..end].to_vec();
    out.push(line);
    out.extend(&lines[end..]);
    Ok(out.join("\n") + "\n")
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let folder = path.parent().expect("it has a folder");
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    std::fs::write(path, text).with_context(|| path.display().to_string())
}
