//! What the repository's cargo aliases run: `cargo fuzz …` under a nightly compiler.

use std::env;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut args: Vec<String> = env::args().skip(1).collect();
    if args.first().map(String::as_str) != Some("fuzz") {
        eprintln!("error: xtask runs `cargo fuzz …`, through the alias in .cargo/config.toml");
        return ExitCode::from(2);
    }
    // The one target that needs Wasmtime has a feature of its own, so that the others build without.
    let given = |words: &[&str]| args.iter().take_while(|arg| *arg != "--").any(|arg| words.contains(&arg.as_str()));
    let (features, profile) = (given(&["--features"]), given(&["-O", "--release", "-D", "--dev"]));
    if args.len() > 2 && given(&["differential"]) {
        let mut insert = |words: &[&str]| _ = args.splice(2..2, words.iter().map(|word| word.to_string()));
        if !features {
            insert(&["--features", "differential"]);
        }
        // Which assertions it has is said in the profile then, package by package.
        if !profile {
            insert(&["-O"]);
        }
    }
    let toolchain = env::var("GLEANER_FUZZ_TOOLCHAIN").unwrap_or_else(|_| "nightly".to_string());
    let status = Command::new("rustup")
        .args(["run", &toolchain, "cargo-fuzz"])
        .args(&args)
        // Set by the outer cargo for its own toolchain.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => {
            eprintln!(
                "note: fuzzing needs `rustup toolchain install {toolchain}` and `cargo install cargo-fuzz`; \
                 GLEANER_FUZZ_TOOLCHAIN names another toolchain"
            );
            ExitCode::from(status.code().unwrap_or(1).clamp(1, 255) as u8)
        }
        Err(error) => {
            eprintln!("error: `rustup run {toolchain} cargo-fuzz` could not be started: {error}");
            ExitCode::FAILURE
        }
    }
}
