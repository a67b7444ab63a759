//! WASI preview 1: what programs that were compiled for `wasm32-wasi` import.
//!
//! Arguments, environment, clocks, random numbers, the three standard streams, an exit code, waiting, and the files below
//! the directories that the program is given: no path and no symbolic link leads out of them, which `cap-std` sees to.
//! There are no sockets and no signals.
//!
//! The program is not trusted. A pointer outside the memory that it exports as `memory` answers `EFAULT`, an unknown flag
//! `EINVAL`. Preview 1 has 32-bit pointers, and nothing else may write to memory during a call: from a program with a 64-bit
//! or a shared memory, a call is an error of the host's ([`UnfitMemory`]).
//!
//! Where things are: `abi` has the numbers and the records, `table` the descriptors, `fd`, `path` and `poll` the calls
//! by family, and this file the list of them all.

mod abi;
mod fd;
mod path;
mod poll;
mod table;
#[cfg(test)]
mod tests;

use crate::output::Output;
use abi::{Errno, Guest};
use engine::types::{FuncType, MemoryType, ValType};
use engine::{Caller, Error, Extern, Linker, Val};
use poll::Poll;
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use table::{Descriptor, Table};

/// The module that programs import.
pub const MODULE: &str = "wasi_snapshot_preview1";

/// A program ended itself with `proc_exit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the program exited with code {0}")]
pub struct Exit(pub i32);

/// A program's memory is none that WASI's calls could use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnfitMemory {
    /// Its addresses have 64 bits.
    #[error("WASI preview 1 has 32-bit pointers, and the program's memory is 64-bit: compile it for wasm32-wasi")]
    Wide,
    /// Other threads may write to it during a call.
    #[error("WASI's calls do not work on shared memories, and the program's is one: compile it without threads")]
    Shared,
}

impl UnfitMemory {
    /// What is wrong with a memory of this type, if something is.
    ///
    /// ```
    /// use engine::types::MemoryType;
    /// use gleaner::wasi::UnfitMemory;
    /// let fit = MemoryType { min: 1, max: Some(2), is_64: false, shared: false, page_size_log2: 16 };
    /// assert_eq!(UnfitMemory::check(&fit), Ok(()));
    /// assert_eq!(UnfitMemory::check(&MemoryType { is_64: true, ..fit }), Err(UnfitMemory::Wide));
    /// assert_eq!(UnfitMemory::check(&MemoryType { shared: true, ..fit }), Err(UnfitMemory::Shared));
    /// ```
    pub fn check(ty: &MemoryType) -> Result<(), UnfitMemory> {
        match ty {
            MemoryType { is_64: true, .. } => Err(UnfitMemory::Wide),
            MemoryType { shared: true, .. } => Err(UnfitMemory::Shared),
            _ => Ok(()),
        }
    }
}

/// What a program sees of its surroundings.
pub struct Wasi {
    args: Vec<Vec<u8>>,
    env: Vec<Vec<u8>>,
    table: Table,
    /// The failures that were noted on standard error, if any are.
    noted: Option<HashSet<(&'static str, Errno)>>,
}

impl Wasi {
    /// The process's streams, with the given output; `args` with the program's name first; and `env`.
    pub fn new(args: impl IntoIterator<Item = String>, env: &[(String, String)], output: Output) -> Wasi {
        Wasi {
            args: args.into_iter().map(String::into_bytes).collect(),
            env: env.iter().map(|(key, value)| format!("{key}={value}").into_bytes()).collect(),
            table: Table::new(output),
            noted: None,
        }
    }

    /// Gives the program what is below the directory `host`, under the name `guest`.
    ///
    /// # Errors
    /// When it is no directory that can be read.
    pub fn preopen(&mut self, host: &Path, guest: &str) -> io::Result<()> {
        self.table.insert(Descriptor::preopened(host, guest)?);
        Ok(())
    }

    /// Notes on standard error what is answered with an error: once for each function and error.
    pub fn note_errors(&mut self) {
        self.noted = Some(HashSet::new());
    }

    /// Defines every function of preview 1. They share `self`.
    ///
    /// # Errors
    /// When there is no room for their code.
    pub fn add_to_linker<T: 'static>(self, linker: &mut Linker<T>) -> Result<(), Error> {
        let state = Arc::new(Mutex::new(self));
        let deadlines = linker.engine().config().epoch_interruption;
        for &(name, params, function) in FUNCTIONS {
            let state = state.clone();
            let ty = FuncType::new(params.iter().map(|p| p.ty()), [ValType::I32]);
            linker.func_new(MODULE, name, ty, move |mut caller, args, results| {
                let args: Vec<u64> = args.iter().map(bits).collect();
                let answer = match name {
                    "poll_oneoff" if deadlines => poll_until_deadline(&state, &mut caller, &args)?,
                    _ => {
                        if deadlines && matches!(name, "fd_read" | "fd_pread") {
                            read_until_deadline(&state, &mut caller, args[0])?;
                        }
                        with_memory(&mut caller, |memory| function(&mut lock(&state), memory, &args))?
                    }
                };
                if let Err(errno) = answer {
                    lock(&state).note(name, errno);
                }
                results[0] = Val::I32(answer.err().map_or(0, |errno| errno as i32));
                Ok(())
            })?;
        }
        let ty = FuncType::new([ValType::I32], []);
        linker.func_new(MODULE, "proc_exit", ty, |_, args, _| Err(Error::host(Exit(bits(&args[0]) as i32))))?;
        Ok(())
    }

    fn note(&mut self, name: &'static str, errno: Errno) {
        // So every program learns how many directories it was given.
        let expected = (name, errno) == ("fd_prestat_get", Errno::BadF);
        if !expected && self.noted.as_mut().is_some_and(|noted| noted.insert((name, errno))) {
            let why = if errno == Errno::NoSys { ", which Gleaner does not have" } else { "" };
            eprintln!("wasi: {name} answers {errno}{why}");
        }
    }
}

/// A panic of the host's leaves nothing half done.
fn lock(state: &Mutex<Wasi>) -> MutexGuard<'_, Wasi> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a deadline may have passed before a program that waits notices it.
const PATIENCE: Duration = Duration::from_millis(10);

/// `poll_oneoff`, as long as the program's deadline lets it. What the host does at the deadline is done without a hold on the state,
/// and with the memory as it is then.
fn poll_until_deadline<T: 'static>(
    state: &Mutex<Wasi>,
    caller: &mut Caller<'_, T>,
    args: &[u64],
) -> Result<Result<(), Errno>, Error> {
    let poll = match with_memory(caller, |memory| Poll::start(&mut lock(state), memory, args))? {
        Ok(poll) => poll,
        Err(errno) => return Ok(Err(errno)),
    };
    loop {
        match with_memory(caller, |memory| poll.step(&mut lock(state), memory, Some(PATIENCE)))? {
            Ok(true) => return Ok(Ok(())),
            Ok(false) => caller.check_epoch_deadline()?,
            Err(errno) => return Ok(Err(errno)),
        }
    }
}

/// Waits until this descriptor can be read, as long as the program's deadline lets it.
fn read_until_deadline<T: 'static>(state: &Mutex<Wasi>, caller: &mut Caller<'_, T>, fd: u64) -> Result<(), Error> {
    while !poll::readable(&mut lock(state), fd, PATIENCE) {
        caller.check_epoch_deadline()?;
    }
    Ok(())
}

/// Calls `f` with the memory that the caller exports as `memory`, or an empty one if it exports none.
fn with_memory<T: 'static, R>(caller: &mut Caller<'_, T>, f: impl FnOnce(&mut Guest<'_>) -> R) -> Result<R, Error> {
    let memory = match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => memory,
        Some(Extern::SharedMemory(_)) => return Err(Error::host(UnfitMemory::Shared)),
        _ => return Ok(f(&mut Guest(&mut []))),
    };
    UnfitMemory::check(&memory.ty(&*caller)).map_err(Error::host)?;
    Ok(f(&mut Guest(memory.data_mut(caller))))
}

/// An argument's bits.
fn bits(value: &Val) -> u64 {
    match value {
        Val::I32(n) => u64::from(*n as u32),
        Val::I64(n) => *n as u64,
        _ => unreachable!("WASI's parameters are integers"),
    }
}

/// The type of a parameter.
#[derive(Clone, Copy)]
enum Param {
    I32,
    I64,
}

impl Param {
    fn ty(self) -> ValType {
        match self {
            Param::I32 => ValType::I32,
            Param::I64 => ValType::I64,
        }
    }
}

/// A call: its arguments have the types that its entry in [`FUNCTIONS`] says, 32-bit ones without sign.
type Function = fn(&mut Wasi, &mut Guest<'_>, &[u64]) -> Result<(), Errno>;

use Param::{I32, I64};

/// Every function of preview 1 that returns an error number: all but `proc_exit`.
const FUNCTIONS: &[(&str, &[Param], Function)] = &[
    ("args_get", &[I32, I32], |wasi, memory, a| memory.write_strings(&wasi.args, a[0], a[1])),
    ("args_sizes_get", &[I32, I32], |wasi, memory, a| memory.write_sizes(&wasi.args, a[0], a[1])),
    ("environ_get", &[I32, I32], |wasi, memory, a| memory.write_strings(&wasi.env, a[0], a[1])),
    ("environ_sizes_get", &[I32, I32], |wasi, memory, a| memory.write_sizes(&wasi.env, a[0], a[1])),
    ("clock_res_get", &[I32, I32], poll::clock_res_get),
    ("clock_time_get", &[I32, I64, I32], poll::clock_time_get),
    ("fd_advise", &[I32, I64, I64, I32], fd::advise),
    ("fd_allocate", &[I32, I64, I64], fd::allocate),
    ("fd_close", &[I32], fd::close),
    ("fd_datasync", &[I32], fd::datasync),
    ("fd_fdstat_get", &[I32, I32], fd::fdstat_get),
    ("fd_fdstat_set_flags", &[I32, I32], fd::fdstat_set_flags),
    ("fd_fdstat_set_rights", &[I32, I64, I64], fd::fdstat_set_rights),
    ("fd_filestat_get", &[I32, I32], fd::filestat_get),
    ("fd_filestat_set_size", &[I32, I64], fd::filestat_set_size),
    ("fd_filestat_set_times", &[I32, I64, I64, I32], fd::filestat_set_times),
    ("fd_pread", &[I32, I32, I32, I64, I32], fd::pread),
    ("fd_prestat_get", &[I32, I32], fd::prestat_get),
    ("fd_prestat_dir_name", &[I32, I32, I32], fd::prestat_dir_name),
    ("fd_pwrite", &[I32, I32, I32, I64, I32], fd::pwrite),
    ("fd_read", &[I32, I32, I32, I32], fd::read),
    ("fd_readdir", &[I32, I32, I32, I64, I32], fd::readdir),
    ("fd_renumber", &[I32, I32], fd::renumber),
    ("fd_seek", &[I32, I64, I32, I32], fd::seek),
    ("fd_sync", &[I32], fd::sync),
    ("fd_tell", &[I32, I32], fd::tell),
    ("fd_write", &[I32, I32, I32, I32], fd::write),
    ("path_create_directory", &[I32, I32, I32], path::create_directory),
    ("path_filestat_get", &[I32, I32, I32, I32, I32], path::filestat_get),
    ("path_filestat_set_times", &[I32, I32, I32, I32, I64, I64, I32], path::filestat_set_times),
    ("path_link", &[I32, I32, I32, I32, I32, I32, I32], path::link),
    ("path_open", &[I32, I32, I32, I32, I32, I64, I64, I32, I32], path::open),
    ("path_readlink", &[I32, I32, I32, I32, I32, I32], path::readlink),
    ("path_remove_directory", &[I32, I32, I32], path::remove_directory),
    ("path_rename", &[I32, I32, I32, I32, I32, I32], path::rename),
    ("path_symlink", &[I32, I32, I32, I32, I32], path::symlink),
    ("path_unlink_file", &[I32, I32, I32], path::unlink_file),
    ("poll_oneoff", &[I32, I32, I32, I32], poll::poll_oneoff),
    ("proc_raise", &[I32], |_, _, _| Err(Errno::NoSys)),
    ("random_get", &[I32, I32], |_, memory, a| getrandom::fill(memory.slice(a[0], a[1])?).map_err(|_| Errno::Io)),
    ("sched_yield", &[], |_, _, _| {
        std::thread::yield_now();
        Ok(())
    }),
    ("sock_accept", &[I32, I32, I32], no_socket),
    ("sock_recv", &[I32, I32, I32, I32, I32, I32], no_socket),
    ("sock_send", &[I32, I32, I32, I32, I32], no_socket),
    ("sock_shutdown", &[I32, I32], no_socket),
];

/// For what needs a socket: no descriptor is one.
fn no_socket(wasi: &mut Wasi, _: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    wasi.table.get(args[0]).and(Err(Errno::NotSock))
}
