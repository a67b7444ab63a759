//! Says which commit is being built: records of measurements name it.

use std::process::Command;

fn main() {
    // `git describe` alone would not tell when to look again.
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=crates");
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    let commit = git(&["describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]).unwrap_or_default();
    println!("cargo:rustc-env=GLEANER_COMMIT={commit}");
    println!("cargo:rustc-env=GLEANER_TARGET={}", std::env::var("TARGET").unwrap_or_default());
}
