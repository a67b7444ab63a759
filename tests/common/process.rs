//! The command line as a process.

#![allow(dead_code, reason = "each test uses its share")]

use std::io::Write;
use std::process::{Command, Stdio};

/// What became of a process.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Asserts success, and gives standard output.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// Asserts this exit code, nothing on standard output, and each of `parts` on standard error.
    #[track_caller]
    pub fn fails(self, code: i32, parts: &[&str]) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), ""), "{self:?}");
        self.says(parts);
    }

    #[track_caller]
    pub fn says(&self, parts: &[&str]) {
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is missing: {}", self.stderr);
        }
    }
}

/// Runs the command line with these arguments in the root of the repository, and `input` on its standard input.
pub fn gleaner_with_input(args: &[&str], input: &[u8]) -> Ended {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gleaner"))
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that reads nothing closes the pipe; that is its right.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The names of all collectors.
pub fn collectors() -> Vec<String> {
    let names = gleaner_with_input(&["collectors", "--names"], b"").ok();
    let names: Vec<String> = names.lines().map(String::from).collect();
    assert!(names.len() >= 2, "{names:?}");
    names
}
