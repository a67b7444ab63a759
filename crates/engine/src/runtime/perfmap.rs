//! The file by which Linux's `perf` names code that was made while the program ran: `/tmp/perf-PID.map`, one line for each
//! function, `START SIZE NAME`, with numbers in hexadecimal.
//!
//! There is one a process, made when the first code is added. Whatever stood there is removed first: the file of a process that
//! had the same number, or a link that someone else put there.

use super::code::CodeObject;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, PoisonError};

/// The process's file, once there is one.
static MAP: Mutex<Option<File>> = Mutex::new(None);

/// The file's path.
pub fn path() -> String {
    format!("/tmp/perf-{}.map", std::process::id())
}

/// Adds the functions of `code`, which `name` names by their position.
///
/// # Errors
/// The system's.
pub fn add(code: &CodeObject, name: impl Fn(usize) -> String) -> io::Result<()> {
    let mut lines = String::new();
    for i in (0..code.len()).filter(|i| code.size(*i) > 0) {
        // Writing to a string does not fail.
        let _ = writeln!(lines, "{:x} {:x} {}", code.address(i) as usize, code.size(i), on_one_line(&name(i)));
    }
    let mut map = MAP.lock().unwrap_or_else(PoisonError::into_inner);
    let file = match &mut *map {
        Some(file) => file,
        none => none.insert(create()?),
    };
    file.write_all(lines.as_bytes())
}

fn create() -> io::Result<File> {
    match std::fs::remove_file(path()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Who else puts something there meanwhile is not written over. `perf` wants the file to belong to the process's owner.
    OpenOptions::new().append(true).create_new(true).mode(0o600).open(path())
}

/// A name may contain anything.
fn on_one_line(name: &str) -> String {
    name.replace(|c: char| c.is_control(), "\u{FFFD}")
}
