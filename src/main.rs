//! The command line `gleaner`.

use clap::Parser;
use gleaner::commands::{Cli, exit_code, is_broken_pipe};
use std::process::ExitCode;

fn main() -> ExitCode {
    match Cli::parse().execute() {
        Ok(code) => code,
        // Who closed the pipe knows; 128 + SIGPIPE, as a shell reports it.
        Err(error) if is_broken_pipe(&error) => ExitCode::from(141),
        Err(error) => {
            eprintln!("error: {error:#}");
            exit_code(&error)
        }
    }
}
