//! Compares one module: what a finding says to run.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (file, seed) = match &args[..] {
        [file] => (file, 0),
        [file, flag, seed] if flag == "--seed" && seed.parse::<u64>().is_ok() => (file, seed.parse().expect("it is")),
        _ => {
            eprintln!("usage: differential FILE [--seed NUMBER]\n\nFILE is a module, as a binary or as text.");
            return ExitCode::from(2);
        }
    };
    let binary = match wat::parse_file(file) {
        Ok(binary) => binary,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    match differential::compare(&binary, seed) {
        Ok(compared) => {
            println!("the same everywhere: {compared:?}");
            ExitCode::SUCCESS
        }
        Err(finding) => {
            eprintln!("{finding}");
            ExitCode::FAILURE
        }
    }
}
