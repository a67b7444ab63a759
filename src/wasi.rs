//! WASI preview 1, as far as a program without files needs it: arguments, environment, clocks, random numbers, the three
//! standard streams, and an exit code.
//!
//! Every function of preview 1 is defined with its type, so that real modules link. What there is no file for answers
//! `EBADF`, what Gleaner does not do answers `ENOSYS`, and a pointer outside the caller's exported memory answers
//! `EFAULT`: a program sees no difference to a system with no directories open.

use crate::output::Output;
use engine::types::{FuncType, ValType};
use engine::{Caller, Error, Linker, Val};
use std::io::{self, IsTerminal, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// The module that programs import.
pub const MODULE: &str = "wasi_snapshot_preview1";

/// A program ended itself with `proc_exit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the program exited with code {0}")]
pub struct Exit(pub i32);

/// What a program sees of its surroundings.
pub struct Wasi {
    args: Vec<Vec<u8>>,
    env: Vec<Vec<u8>>,
    streams: [Option<Stream>; 3],
}

/// A standard stream.
enum Stream {
    Input(Box<dyn Read + Send>, FileType),
    Output(Output, FileType),
    /// Standard error, not buffered.
    Error(Box<dyn Write + Send>, FileType),
}

/// WASI's `filetype`, as far as it is told here.
#[derive(Clone, Copy)]
enum FileType {
    Unknown = 0,
    CharacterDevice = 2,
}

impl Wasi {
    /// The process's streams, with the given output; `args` with the program's name first; and `env`.
    pub fn new(args: impl IntoIterator<Item = String>, env: &[(String, String)], output: Output) -> Wasi {
        let kind = |terminal: bool| if terminal { FileType::CharacterDevice } else { FileType::Unknown };
        Wasi {
            args: args.into_iter().map(String::into_bytes).collect(),
            env: env.iter().map(|(key, value)| format!("{key}={value}").into_bytes()).collect(),
            streams: [
                Some(Stream::Input(Box::new(io::stdin()), kind(io::stdin().is_terminal()))),
                Some(Stream::Output(output, kind(io::stdout().is_terminal()))),
                Some(Stream::Error(Box::new(io::stderr()), kind(io::stderr().is_terminal()))),
            ],
        }
    }

    /// Defines every function of preview 1. They share `self`.
    ///
    /// # Errors
    /// When there is no room for their code.
    pub fn add_to_linker<T: 'static>(self, linker: &mut Linker<T>) -> Result<(), Error> {
        let state = Arc::new(Mutex::new(self));
        for &(name, params, function) in FUNCTIONS {
            let state = state.clone();
            let ty = FuncType::new(params.iter().map(|p| p.ty()), [ValType::I32]);
            linker.func_new(MODULE, name, ty, move |mut caller, args, results| {
                let args: Vec<u64> = args.iter().map(bits).collect();
                let mut wasi = state.lock().unwrap_or_else(PoisonError::into_inner);
                results[0] = Val::I32(with_memory(&mut caller, |memory| function(&mut wasi, memory, &args)));
                Ok(())
            })?;
        }
        let ty = FuncType::new([ValType::I32], []);
        linker.func_new(MODULE, "proc_exit", ty, |_, args, _| Err(Error::host(Exit(bits(&args[0]) as i32))))?;
        Ok(())
    }

    fn stream(&mut self, fd: u64) -> Result<&mut Stream, Errno> {
        usize::try_from(fd).ok().and_then(|fd| self.streams.get_mut(fd)?.as_mut()).ok_or(Errno::BadF)
    }
}

/// Calls `f` with the memory that the caller exports as `memory` (an empty one if it exports none), and gives the answer
/// that the program gets.
fn with_memory<T: 'static>(caller: &mut Caller<'_, T>, f: impl FnOnce(&mut Guest<'_>) -> Result<(), Errno>) -> i32 {
    let memory = caller.get_export("memory").and_then(|export| export.memory());
    let result = match memory {
        Some(memory) => f(&mut Guest(memory.data_mut(caller))),
        None => f(&mut Guest(&mut [])),
    };
    result.err().map_or(0, |errno| errno as i32)
}

/// An argument's bits.
fn bits(value: &Val) -> u64 {
    match value {
        Val::I32(n) => u64::from(*n as u32),
        Val::I64(n) => *n as u64,
        _ => unreachable!("WASI's parameters are integers"),
    }
}

/// WASI's error numbers, as far as they are answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Errno {
    BadF = 8,
    Fault = 21,
    Inval = 28,
    Io = 29,
    NoSys = 52,
    Overflow = 61,
    Pipe = 64,
    SPipe = 70,
}

impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Errno {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Errno::Pipe,
            _ => Errno::Io,
        }
    }
}

/// The caller's memory, which nothing is believed about.
struct Guest<'m>(&'m mut [u8]);

impl Guest<'_> {
    fn slice(&mut self, at: u64, len: u64) -> Result<&mut [u8], Errno> {
        // Both are 32 bits wide.
        self.0.get_mut(at as usize..(at + len) as usize).ok_or(Errno::Fault)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.slice(at, bytes.len() as u64)?.copy_from_slice(bytes);
        Ok(())
    }

    fn write_u32(&mut self, at: u64, value: usize) -> Result<(), Errno> {
        self.write(at, &u32::try_from(value).map_err(|_| Errno::Overflow)?.to_le_bytes())
    }

    fn write_u64(&mut self, at: u64, value: u64) -> Result<(), Errno> {
        self.write(at, &value.to_le_bytes())
    }

    fn read_u32(&mut self, at: u64) -> Result<u64, Errno> {
        let bytes: [u8; 4] = self.slice(at, 4)?.try_into().expect("four bytes");
        Ok(u64::from(u32::from_le_bytes(bytes)))
    }

    /// Element `i` of a list of buffers: its address and length.
    fn buffer(&mut self, list: u64, i: u64) -> Result<(u64, u64), Errno> {
        Ok((self.read_u32(list + i * 8)?, self.read_u32(list + i * 8 + 4)?))
    }

    /// Writes strings, each with a zero behind it, from `text` on, and their addresses from `table` on.
    fn write_strings(&mut self, strings: &[Vec<u8>], mut table: u64, mut text: u64) -> Result<(), Errno> {
        for string in strings {
            self.write_u32(table, text as usize)?;
            self.write(text, string)?;
            text += string.len() as u64;
            self.write(text, &[0])?;
            (table, text) = (table + 4, text + 1);
        }
        Ok(())
    }

    /// Writes how many strings there are, and how many bytes [`write_strings`](Self::write_strings) writes of them.
    fn write_sizes(&mut self, strings: &[Vec<u8>], count: u64, bytes: u64) -> Result<(), Errno> {
        self.write_u32(count, strings.len())?;
        self.write_u32(bytes, strings.iter().map(|string| string.len() + 1).sum())
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

type Function = fn(&mut Wasi, &mut Guest<'_>, &[u64]) -> Result<(), Errno>;

use Param::{I32, I64};

/// Every function of preview 1 that returns an error number: all but `proc_exit`.
const FUNCTIONS: &[(&str, &[Param], Function)] = &[
    ("args_get", &[I32, I32], |wasi, memory, a| memory.write_strings(&wasi.args, a[0], a[1])),
    ("args_sizes_get", &[I32, I32], |wasi, memory, a| memory.write_sizes(&wasi.args, a[0], a[1])),
    ("environ_get", &[I32, I32], |wasi, memory, a| memory.write_strings(&wasi.env, a[0], a[1])),
    ("environ_sizes_get", &[I32, I32], |wasi, memory, a| memory.write_sizes(&wasi.env, a[0], a[1])),
    ("clock_res_get", &[I32, I32], |_, memory, a| {
        memory.write_u64(a[1], nanoseconds(rustix::time::clock_getres(clock(a[0])?))?)
    }),
    ("clock_time_get", &[I32, I64, I32], |_, memory, a| {
        memory.write_u64(a[2], nanoseconds(rustix::time::clock_gettime(clock(a[0])?))?)
    }),
    ("fd_advise", &[I32, I64, I64, I32], no_file),
    ("fd_allocate", &[I32, I64, I64], no_file),
    ("fd_close", &[I32], |wasi, _, a| {
        wasi.stream(a[0])?;
        wasi.streams[a[0] as usize] = None;
        Ok(())
    }),
    ("fd_datasync", &[I32], sync),
    ("fd_fdstat_get", &[I32, I32], fd_fdstat_get),
    ("fd_fdstat_set_flags", &[I32, I32], no_file),
    ("fd_fdstat_set_rights", &[I32, I64, I64], no_file),
    ("fd_filestat_get", &[I32, I32], fd_filestat_get),
    ("fd_filestat_set_size", &[I32, I64], no_file),
    ("fd_filestat_set_times", &[I32, I64, I64, I32], no_file),
    ("fd_pread", &[I32, I32, I32, I64, I32], no_seeking),
    ("fd_prestat_get", &[I32, I32], |_, _, _| Err(Errno::BadF)),
    ("fd_prestat_dir_name", &[I32, I32, I32], |_, _, _| Err(Errno::BadF)),
    ("fd_pwrite", &[I32, I32, I32, I64, I32], no_seeking),
    ("fd_read", &[I32, I32, I32, I32], fd_read),
    ("fd_readdir", &[I32, I32, I32, I64, I32], no_file),
    ("fd_renumber", &[I32, I32], no_file),
    ("fd_seek", &[I32, I64, I32, I32], no_seeking),
    ("fd_sync", &[I32], sync),
    ("fd_tell", &[I32, I32], no_seeking),
    ("fd_write", &[I32, I32, I32, I32], fd_write),
    ("path_create_directory", &[I32, I32, I32], no_directory),
    ("path_filestat_get", &[I32, I32, I32, I32, I32], no_directory),
    ("path_filestat_set_times", &[I32, I32, I32, I32, I64, I64, I32], no_directory),
    ("path_link", &[I32, I32, I32, I32, I32, I32, I32], no_directory),
    ("path_open", &[I32, I32, I32, I32, I32, I64, I64, I32, I32], no_directory),
    ("path_readlink", &[I32, I32, I32, I32, I32, I32], no_directory),
    ("path_remove_directory", &[I32, I32, I32], no_directory),
    ("path_rename", &[I32, I32, I32, I32, I32, I32], no_directory),
    ("path_symlink", &[I32, I32, I32, I32, I32], no_directory),
    ("path_unlink_file", &[I32, I32, I32], no_directory),
    ("poll_oneoff", &[I32, I32, I32, I32], |_, _, _| Err(Errno::NoSys)),
    ("proc_raise", &[I32], |_, _, _| Err(Errno::NoSys)),
    ("random_get", &[I32, I32], |_, memory, a| getrandom::fill(memory.slice(a[0], a[1])?).map_err(|_| Errno::Io)),
    ("sched_yield", &[], |_, _, _| {
        std::thread::yield_now();
        Ok(())
    }),
    ("sock_accept", &[I32, I32, I32], no_directory),
    ("sock_recv", &[I32, I32, I32, I32, I32, I32], no_directory),
    ("sock_send", &[I32, I32, I32, I32, I32], no_directory),
    ("sock_shutdown", &[I32, I32], no_directory),
];

/// For what needs a directory or a socket: there is none.
fn no_directory(_: &mut Wasi, _: &mut Guest<'_>, _: &[u64]) -> Result<(), Errno> {
    Err(Errno::BadF)
}

/// For what needs a file: the standard streams are none.
fn no_file(wasi: &mut Wasi, _: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    wasi.stream(args[0]).and(Err(Errno::Inval))
}

/// For what needs a position: the standard streams have none.
fn no_seeking(wasi: &mut Wasi, _: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    wasi.stream(args[0]).and(Err(Errno::SPipe))
}

fn sync(wasi: &mut Wasi, _: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    match wasi.stream(args[0])? {
        Stream::Output(output, _) => Ok(output.flush()?),
        Stream::Input(..) | Stream::Error(..) => Ok(()),
    }
}

fn fd_write(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let &[fd, list, count, written_at] = args else { unreachable!("four parameters") };
    if fd == 2
        && let Some(Stream::Output(output, _)) = &wasi.streams[1]
    {
        // What was printed first appears first.
        output.flush()?;
    }
    let stream = wasi.stream(fd)?;
    let mut written = 0;
    for i in 0..count {
        let (at, len) = memory.buffer(list, i)?;
        let bytes = memory.slice(at, len)?;
        match stream {
            Stream::Output(output, _) => output.write(bytes)?,
            Stream::Error(error, _) => error.write_all(bytes)?,
            Stream::Input(..) => return Err(Errno::BadF),
        }
        written += bytes.len();
    }
    memory.write_u32(written_at, written)
}

fn fd_read(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let &[fd, list, count, read_at] = args else { unreachable!("four parameters") };
    if let Some(Stream::Output(output, _)) = &wasi.streams[1] {
        // A prompt appears before its answer is waited for.
        output.flush()?;
    }
    let Stream::Input(input, _) = wasi.stream(fd)? else { return Err(Errno::BadF) };
    let mut read = 0;
    for i in 0..count {
        let (at, len) = memory.buffer(list, i)?;
        let buffer = memory.slice(at, len)?;
        if !buffer.is_empty() {
            // One read: more might wait for input that does not come.
            read = retry(|| input.read(buffer))?;
            break;
        }
    }
    memory.write_u32(read_at, read)
}

/// Repeats `read` while a signal interrupts it.
fn retry(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// `{ filetype: u8, flags: u16, rights: u64, inheriting: u64 }`
fn fd_fdstat_get(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    const FD_READ: u64 = 1 << 1;
    const FD_WRITE: u64 = 1 << 6;
    let (file_type, rights) = match wasi.stream(args[0])? {
        Stream::Input(_, ty) => (*ty, FD_READ),
        Stream::Output(_, ty) | Stream::Error(_, ty) => (*ty, FD_WRITE),
    };
    let mut stat = [0; 24];
    stat[0] = file_type as u8;
    stat[8..16].copy_from_slice(&rights.to_le_bytes());
    memory.write(args[1], &stat)
}

/// `{ dev: u64, ino: u64, filetype: u8, nlink: u64, size: u64, atim: u64, mtim: u64, ctim: u64 }`
fn fd_filestat_get(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let (Stream::Input(_, ty) | Stream::Output(_, ty) | Stream::Error(_, ty)) = wasi.stream(args[0])?;
    let mut stat = [0; 64];
    stat[16] = *ty as u8;
    memory.write(args[1], &stat)
}

fn clock(id: u64) -> Result<rustix::time::ClockId, Errno> {
    use rustix::time::ClockId;
    [ClockId::Realtime, ClockId::Monotonic, ClockId::ProcessCPUTime, ClockId::ThreadCPUTime]
        .get(id as usize)
        .copied()
        .ok_or(Errno::Inval)
}

fn nanoseconds(time: rustix::time::Timespec) -> Result<u64, Errno> {
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec)) else {
        return Err(Errno::Overflow);
    };
    seconds.checked_mul(1_000_000_000).and_then(|s| s.checked_add(nanos)).ok_or(Errno::Overflow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::tests::Buffer;

    fn wasi(output: Output) -> Wasi {
        Wasi::new(["prog".to_string(), "-x".to_string()], &[("K".to_string(), "V".to_string())], output)
    }

    fn call(wasi: &mut Wasi, memory: &mut [u8], name: &str, args: &[u64]) -> Result<(), Errno> {
        let (_, params, function) = FUNCTIONS.iter().find(|f| f.0 == name).unwrap();
        assert_eq!(params.len(), args.len());
        function(wasi, &mut Guest(memory), args)
    }

    #[test]
    fn strings_and_their_sizes_agree() {
        let (mut wasi, mut memory) = (wasi(Output::none()), [0xFF; 64]);
        assert_eq!(call(&mut wasi, &mut memory, "args_sizes_get", &[0, 4]), Ok(()));
        assert_eq!(memory[..8], [2, 0, 0, 0, 8, 0, 0, 0]);
        assert_eq!(call(&mut wasi, &mut memory, "args_get", &[16, 32]), Ok(()));
        assert_eq!(memory[16..24], [32, 0, 0, 0, 37, 0, 0, 0]);
        assert_eq!(&memory[32..41], b"prog\0-x\0\xFF");
        assert_eq!(call(&mut wasi, &mut memory, "environ_get", &[0, 8]), Ok(()));
        assert_eq!(&memory[8..12], b"K=V\0");
    }

    #[test]
    fn pointers_outside_memory_are_faults() {
        let (mut wasi, mut memory) = (wasi(Output::none()), [0; 16]);
        let far = u64::from(u32::MAX);
        for (name, args) in [
            ("args_get", vec![12, 14]),
            ("args_sizes_get", vec![0, far]),
            ("clock_time_get", vec![0, 0, 9]),
            ("random_get", vec![8, 9]),
            ("random_get", vec![far, far]),
            ("fd_write", vec![1, 12, 1, 0]),
            ("fd_write", vec![1, 0, far, 0]),
            ("fd_read", vec![0, far, 1, 0]),
            ("fd_fdstat_get", vec![1, far]),
            ("fd_filestat_get", vec![1, 0]),
        ] {
            memory[..8].copy_from_slice(&[0xF0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
            assert_eq!(call(&mut wasi, &mut memory, name, &args), Err(Errno::Fault), "{name} {args:?}");
        }
    }

    #[test]
    fn writes_gather_their_buffers() {
        let buffer = Buffer::default();
        let (mut wasi, mut memory) = (wasi(Output::new(buffer.clone())), [0; 64]);
        memory[..16].copy_from_slice(&[32, 0, 0, 0, 3, 0, 0, 0, 40, 0, 0, 0, 2, 0, 0, 0]);
        memory[32..35].copy_from_slice(b"abc");
        memory[40..42].copy_from_slice(b"d\n");
        assert_eq!(call(&mut wasi, &mut memory, "fd_write", &[1, 0, 2, 16]), Ok(()));
        assert_eq!((buffer.text().as_str(), memory[16]), ("abcd\n", 5));
    }

    #[test]
    fn there_are_three_streams_and_no_files() {
        let (mut wasi, mut memory) = (wasi(Output::none()), [0; 64]);
        for fd in [3, 4, u64::from(u32::MAX)] {
            for (name, params, _) in FUNCTIONS {
                if name.starts_with("fd_") {
                    let mut args = vec![0; params.len()];
                    args[0] = fd;
                    assert_eq!(call(&mut wasi, &mut memory, name, &args), Err(Errno::BadF), "{name} {fd}");
                }
            }
        }
        assert_eq!(call(&mut wasi, &mut memory, "fd_seek", &[1, 0, 0, 0]), Err(Errno::SPipe));
        assert_eq!(call(&mut wasi, &mut memory, "fd_read", &[1, 0, 0, 0]), Err(Errno::BadF));
        assert_eq!(call(&mut wasi, &mut memory, "fd_close", &[1]), Ok(()));
        assert_eq!(call(&mut wasi, &mut memory, "fd_write", &[1, 0, 0, 0]), Err(Errno::BadF));
    }

    #[test]
    fn clocks_tell_the_time() {
        let (mut wasi, mut memory) = (wasi(Output::none()), [0; 8]);
        for id in 0..4 {
            assert_eq!(call(&mut wasi, &mut memory, "clock_time_get", &[id, 0, 0]), Ok(()));
            assert_ne!(memory, [0; 8]);
        }
        assert_eq!(call(&mut wasi, &mut memory, "clock_time_get", &[4, 0, 0]), Err(Errno::Inval));
    }
}
