use super::abi::{FileType, oflags, rights};
use super::*;
use crate::output::tests::Buffer;
use std::fs;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

fn wasi(output: Output) -> Wasi {
    Wasi::new(["prog".to_string(), "-x".to_string()], &[("K".to_string(), "V".to_string())], output)
}

fn call(wasi: &mut Wasi, memory: &mut [u8], name: &str, args: &[u64]) -> Result<(), Errno> {
    let (_, params, function) = FUNCTIONS.iter().find(|f| f.0 == name).unwrap();
    assert_eq!(params.len(), args.len());
    function(wasi, &mut Guest(memory), args)
}

/// A program with one directory, and memory of its own.
struct Program {
    wasi: Wasi,
    memory: Vec<u8>,
    root: TempDir,
}

/// The descriptor of the directory.
const ROOT: u64 = 3;
/// Where paths are put.
const PATH: u64 = 1000;
/// And second paths.
const OTHER: u64 = 2000;
/// Where answers are wanted.
const ANSWER: u64 = 64;
/// Where a buffer is, whose list is at 0.
const BUFFER: u64 = 4096;

impl Program {
    /// In `root`, which has the directories `given` and `secret`, the first is the program's.
    fn new() -> Program {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("given")).unwrap();
        fs::create_dir(root.path().join("secret")).unwrap();
        fs::write(root.path().join("secret/file"), "secret").unwrap();
        let mut wasi = wasi(Output::none());
        wasi.preopen(&root.path().join("given"), "/data").unwrap();
        Program { wasi, memory: vec![0; 65536], root }
    }

    fn host(&self, name: &str) -> std::path::PathBuf {
        self.root.path().join("given").join(name)
    }

    fn call(&mut self, name: &str, args: &[u64]) -> Result<(), Errno> {
        call(&mut self.wasi, &mut self.memory, name, args)
    }

    fn put(&mut self, at: u64, text: &str) -> (u64, u64) {
        self.memory[at as usize..][..text.len()].copy_from_slice(text.as_bytes());
        (at, text.len() as u64)
    }

    fn word(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.memory[at as usize..][..8].try_into().unwrap())
    }

    fn answer(&self) -> u64 {
        self.word(ANSWER) & 0xFFFF_FFFF
    }

    fn open_as(&mut self, path: &str, oflags: u64, rights: u64, fdflags: u64) -> Result<u64, Errno> {
        let (at, len) = self.put(PATH, path);
        self.call("path_open", &[ROOT, 1, at, len, oflags, rights, rights, fdflags, ANSWER])?;
        Ok(self.answer())
    }

    fn open(&mut self, path: &str, oflags: u64) -> Result<u64, Errno> {
        self.open_as(path, oflags, rights::FD_READ | rights::FD_WRITE, 0)
    }

    fn on_path(&mut self, name: &str, path: &str) -> Result<(), Errno> {
        let (at, len) = self.put(PATH, path);
        self.call(name, &[ROOT, at, len])
    }

    /// A list of one buffer of `len` bytes.
    fn list(&mut self, len: u32) {
        self.memory[..4].copy_from_slice(&(BUFFER as u32).to_le_bytes());
        self.memory[4..8].copy_from_slice(&len.to_le_bytes());
    }

    fn write(&mut self, fd: u64, text: &str) -> Result<u64, Errno> {
        self.put(BUFFER, text);
        self.list(text.len() as u32);
        self.call("fd_write", &[fd, 0, 1, ANSWER])?;
        Ok(self.answer())
    }

    fn read(&mut self, fd: u64, len: u32) -> Result<String, Errno> {
        self.list(len);
        self.call("fd_read", &[fd, 0, 1, ANSWER])?;
        Ok(self.buffer(self.answer()))
    }

    fn buffer(&self, len: u64) -> String {
        String::from_utf8(self.memory[BUFFER as usize..][..len as usize].to_vec()).unwrap()
    }

    /// The names that reading the directory gives, with a buffer of `room` bytes at a time.
    fn names(&mut self, fd: u64, room: u64) -> Vec<(String, u8)> {
        let (mut names, mut cookie) = (Vec::new(), 0);
        loop {
            self.call("fd_readdir", &[fd, BUFFER, room, cookie, ANSWER]).unwrap();
            let used = self.answer();
            let mut at = 0;
            while at + 24 <= used {
                let head = BUFFER + at;
                let len = self.word(head + 16) & 0xFFFF_FFFF;
                if at + 24 + len > used {
                    break;
                }
                let name = self.memory[(head + 24) as usize..][..len as usize].to_vec();
                names.push((String::from_utf8(name).unwrap(), self.memory[(head + 20) as usize]));
                cookie = self.word(head);
                at += 24 + len;
            }
            if used < room {
                return names;
            }
        }
    }
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
        ("fd_write", vec![1, 0, 1, 0]),
        ("fd_write", vec![1, 8, 1, 14]),
        ("fd_read", vec![0, far, 1, 0]),
        ("fd_fdstat_get", vec![1, far]),
        ("fd_filestat_get", vec![1, 0]),
        ("poll_oneoff", vec![0, 0, 1, 0]),
        ("poll_oneoff", vec![0, 0, far, 0]),
    ] {
        memory.copy_from_slice(&[0xF0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 1, 0, 0, 0]);
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
    // One that is not in memory keeps the others from being written, and so does a place for the answer that is not.
    memory[12] = 64;
    assert_eq!(call(&mut wasi, &mut memory, "fd_write", &[1, 0, 2, 16]), Err(Errno::Fault));
    assert_eq!(call(&mut wasi, &mut memory, "fd_write", &[1, 0, 1, 62]), Err(Errno::Fault));
    wasi.table.flush().unwrap();
    assert_eq!(buffer.text(), "abcd\n");
}

#[test]
fn without_directories_there_are_three_streams() {
    let (mut wasi, mut memory) = (wasi(Output::none()), [0; 64]);
    for fd in [3, 4, u64::from(u32::MAX)] {
        for (name, params, _) in FUNCTIONS {
            let position = match *name {
                "path_symlink" => 2,
                name if name.starts_with("fd_") || name.starts_with("path_") || name.starts_with("sock_") => 0,
                _ => continue,
            };
            let mut args = vec![0; params.len()];
            args[position] = fd;
            assert_eq!(call(&mut wasi, &mut memory, name, &args), Err(Errno::BadF), "{name} {fd}");
        }
    }
    assert_eq!(call(&mut wasi, &mut memory, "fd_seek", &[1, 0, 0, 0]), Err(Errno::SPipe));
    assert_eq!(call(&mut wasi, &mut memory, "fd_read", &[1, 0, 0, 0]), Err(Errno::BadF));
    assert_eq!(call(&mut wasi, &mut memory, "path_unlink_file", &[1, 0, 1]), Err(Errno::NotDir));
    assert_eq!(call(&mut wasi, &mut memory, "sock_shutdown", &[1, 0]), Err(Errno::NotSock));
    assert_eq!(call(&mut wasi, &mut memory, "fd_close", &[1]), Ok(()));
    assert_eq!(call(&mut wasi, &mut memory, "fd_write", &[1, 0, 0, 0]), Err(Errno::BadF));
}

#[test]
fn clocks_tell_the_time() {
    let (mut wasi, mut memory) = (wasi(Output::none()), [0; 8]);
    for id in 0..4 {
        assert_eq!(call(&mut wasi, &mut memory, "clock_time_get", &[id, 0, 0]), Ok(()));
        assert_ne!(memory, [0; 8]);
        assert_eq!(call(&mut wasi, &mut memory, "clock_res_get", &[id, 0]), Ok(()));
        assert_ne!(memory, [0; 8]);
    }
    assert_eq!(call(&mut wasi, &mut memory, "clock_time_get", &[4, 0, 0]), Err(Errno::Inval));
}

#[test]
fn directories_that_are_given_have_names() {
    let mut p = Program::new();
    assert_eq!(p.call("fd_prestat_get", &[ROOT, ANSWER]), Ok(()));
    assert_eq!(p.word(ANSWER), 5 << 32);
    assert_eq!(p.call("fd_prestat_dir_name", &[ROOT, BUFFER, 4]), Err(Errno::NameTooLong));
    assert_eq!(p.call("fd_prestat_dir_name", &[ROOT, BUFFER, 5]), Ok(()));
    assert_eq!(p.buffer(5), "/data");
    for fd in [2, 4] {
        assert_eq!(p.call("fd_prestat_get", &[fd, ANSWER]), Err(Errno::BadF));
    }
    let error = p.wasi.preopen(&p.root.path().join("secret/file"), "x").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
}

#[test]
fn files_are_written_and_read_at_positions() {
    let mut p = Program::new();
    assert_eq!(p.open("a", 0), Err(Errno::NoEnt));
    let fd = p.open("a", oflags::CREAT).unwrap();
    assert_eq!(p.open("a", oflags::CREAT | oflags::EXCL), Err(Errno::Exist));
    assert_eq!(p.write(fd, "hello, world"), Ok(12));
    assert_eq!(p.call("fd_tell", &[fd, ANSWER]), Ok(()));
    assert_eq!(p.word(ANSWER), 12);
    for (offset, whence, position) in [(7, 0, 7), (-2i64 as u64, 1, 5), (-5i64 as u64, 2, 7)] {
        assert_eq!(p.call("fd_seek", &[fd, offset, whence, ANSWER]), Ok(()));
        assert_eq!(p.word(ANSWER), position, "{whence}");
    }
    for (offset, whence) in [(-1i64 as u64, 0), (-20i64 as u64, 1), (0, 3)] {
        assert_eq!(p.call("fd_seek", &[fd, offset, whence, ANSWER]), Err(Errno::Inval));
    }
    assert_eq!(p.read(fd, 100).unwrap(), "world");
    assert_eq!(p.read(fd, 100).unwrap(), "");

    p.list(5);
    assert_eq!(p.call("fd_pread", &[fd, 0, 1, 2, ANSWER]), Ok(()));
    assert_eq!((p.answer(), p.buffer(5).as_str()), (5, "llo, "));
    p.put(BUFFER, "J");
    p.list(1);
    assert_eq!(p.call("fd_pwrite", &[fd, 0, 1, 0, ANSWER]), Ok(()));
    assert_eq!(p.call("fd_pwrite", &[fd, 0, 1, u64::MAX, ANSWER]), Err(Errno::Inval));
    assert_eq!(fs::read_to_string(p.host("a")).unwrap(), "Jello, world");

    // Two buffers, of which the second is filled in part.
    p.memory[BUFFER as usize..][..100].fill(0);
    p.memory[..16].copy_from_slice(&[0, 16, 0, 0, 4, 0, 0, 0, 8, 16, 0, 0, 40, 0, 0, 0]);
    assert_eq!(p.call("fd_pread", &[fd, 0, 2, 4, ANSWER]), Ok(()));
    assert_eq!((p.answer(), p.buffer(12)), (8, "o, w\0\0\0\0orld".to_string()));

    assert_eq!(p.call("fd_sync", &[fd]), Ok(()));
    assert_eq!(p.call("fd_datasync", &[fd]), Ok(()));
    assert_eq!(p.call("fd_advise", &[fd, 0, 0, 3]), Ok(()));
    assert_eq!(p.call("fd_advise", &[fd, 0, 0, 6]), Err(Errno::Inval));
    assert_eq!(p.call("fd_allocate", &[fd, 0, 100]), Ok(()));
    assert_eq!(fs::metadata(p.host("a")).unwrap().len(), 100);
    assert_eq!(p.call("fd_filestat_set_size", &[fd, 3]), Ok(()));
    assert_eq!(fs::read_to_string(p.host("a")).unwrap(), "Jel");
    assert_eq!(p.call("fd_close", &[fd]), Ok(()));
    assert_eq!(p.write(fd, "x"), Err(Errno::BadF));
}

#[test]
fn how_a_file_is_opened_decides_what_can_be_done() {
    let mut p = Program::new();
    fs::write(p.host("a"), "abc").unwrap();
    let reading = p.open_as("a", 0, rights::FD_READ, 0).unwrap();
    assert_eq!(p.write(reading, "x"), Err(Errno::BadF));
    let writing = p.open_as("a", 0, rights::FD_WRITE, 0).unwrap();
    assert_eq!(p.read(writing, 1), Err(Errno::BadF));
    // Creating takes write access from the host, which is not the program's.
    let created = p.open_as("b", oflags::CREAT, rights::FD_READ, 0).unwrap();
    assert_eq!(p.write(created, "x"), Err(Errno::BadF));
    p.open_as("a", oflags::TRUNC, rights::FD_WRITE, 1).unwrap();
    assert_eq!(fs::read_to_string(p.host("a")).unwrap(), "");
    assert_eq!(p.open_as("a", 16, rights::FD_READ, 0), Err(Errno::Inval));
    assert_eq!(p.open_as("a", 0, rights::FD_READ, 32), Err(Errno::Inval));

    let appending = p.open_as("a", 0, rights::FD_READ | rights::FD_WRITE, 1).unwrap();
    for text in ["one", "two"] {
        assert_eq!(p.write(appending, text), Ok(3));
        assert_eq!(p.call("fd_seek", &[appending, 0, 0, ANSWER]), Ok(()));
    }
    assert_eq!(fs::read_to_string(p.host("a")).unwrap(), "onetwo");
    assert_eq!(p.call("fd_fdstat_get", &[appending, ANSWER]), Ok(()));
    assert_eq!((p.memory[64], p.memory[66]), (FileType::RegularFile as u8, 1));
    assert_eq!(p.call("fd_fdstat_set_flags", &[appending, 0]), Ok(()));
    assert_eq!(p.call("fd_fdstat_set_flags", &[appending, 16]), Err(Errno::NotSup));
    assert_eq!(p.write(appending, "ONE"), Ok(3));
    assert_eq!(fs::read_to_string(p.host("a")).unwrap(), "ONEtwo");

    let given = rights::FD_READ | rights::FD_WRITE;
    assert_eq!(p.call("fd_fdstat_set_rights", &[appending, given | 1, 0]), Err(Errno::NotCapable));
    assert_eq!(p.call("fd_fdstat_set_rights", &[appending, rights::FD_READ, 0]), Ok(()));
    assert_eq!(p.write(appending, "x"), Err(Errno::BadF));
    assert_eq!(p.call("fd_fdstat_set_rights", &[appending, given, 0]), Err(Errno::NotCapable));
}

#[test]
fn directories_are_listed_whatever_the_room() {
    let mut p = Program::new();
    fs::create_dir(p.host("sub")).unwrap();
    symlink("sub", p.host("link")).unwrap();
    for i in 0..50 {
        fs::write(p.host(&format!("file{i:02}")), "").unwrap();
    }
    let mut expected = vec![(".".to_string(), 3), ("..".to_string(), 3)];
    expected.extend((0..50).map(|i| (format!("file{i:02}"), 4)));
    expected.extend([("link".to_string(), 7), ("sub".to_string(), 3)]);
    for room in [33, 64, 1000, 10_000] {
        assert_eq!(p.names(ROOT, room), expected, "{room}");
    }
    // From anywhere, and what comes later is seen by who begins again.
    assert_eq!(p.call("fd_readdir", &[ROOT, BUFFER, 1000, 52, ANSWER]), Ok(()));
    assert_eq!(p.answer(), 2 * 24 + 7);
    assert_eq!(p.call("fd_readdir", &[ROOT, BUFFER, 1000, 99, ANSWER]), Ok(()));
    assert_eq!(p.answer(), 0);
    fs::write(p.host("new"), "").unwrap();
    assert!(p.names(ROOT, 1000).contains(&("new".to_string(), 4)));
    let fd = p.open("file00", 0).unwrap();
    assert_eq!(p.call("fd_readdir", &[fd, BUFFER, 1000, 0, ANSWER]), Err(Errno::NotDir));

    // Directories can be opened without saying that they are, and are no files.
    for oflags in [0, oflags::DIRECTORY] {
        let fd = p.open_as("sub", oflags, rights::FD_READ, 0).unwrap();
        assert_eq!(p.names(fd, 1000).len(), 2);
        assert_eq!(p.read(fd, 1), Err(Errno::IsDir));
        assert_eq!(p.write(fd, "x"), Err(Errno::IsDir));
        assert_eq!(p.call("fd_sync", &[fd]), Ok(()));
    }
    assert_eq!(p.open("sub", 0), Err(Errno::IsDir));
    assert_eq!(p.open("file00", oflags::DIRECTORY), Err(Errno::NotDir));
    assert_eq!(p.open("sub", oflags::DIRECTORY | oflags::CREAT), Err(Errno::Inval));
}

#[test]
fn files_are_made_moved_linked_and_removed() {
    let mut p = Program::new();
    assert_eq!(p.on_path("path_create_directory", "d"), Ok(()));
    assert_eq!(p.on_path("path_create_directory", "d"), Err(Errno::Exist));
    let fd = p.open("d/a", oflags::CREAT).unwrap();
    p.write(fd, "text").unwrap();
    assert_eq!(p.on_path("path_remove_directory", "d"), Err(Errno::NotEmpty));
    assert_eq!(p.on_path("path_unlink_file", "d"), Err(Errno::IsDir));

    let ((a, a_len), (b, b_len)) = (p.put(PATH, "d/a"), p.put(OTHER, "b"));
    assert_eq!(p.call("path_rename", &[ROOT, a, a_len, ROOT, b, b_len]), Ok(()));
    assert_eq!(p.call("path_rename", &[ROOT, a, a_len, ROOT, b, b_len]), Err(Errno::NoEnt));
    assert_eq!(p.call("path_link", &[ROOT, 0, b, b_len, ROOT, a, a_len]), Ok(()));
    assert_eq!(fs::read_to_string(p.host("d/a")).unwrap(), "text");

    let ((b, b_len), (link, link_len)) = (p.put(PATH, "b"), p.put(OTHER, "link"));
    assert_eq!(p.call("path_symlink", &[b, b_len, ROOT, link, link_len]), Ok(()));
    assert_eq!(p.call("path_readlink", &[ROOT, link, link_len, BUFFER, 100, ANSWER]), Ok(()));
    assert_eq!((p.answer(), p.buffer(1).as_str()), (1, "b"));
    assert_eq!(p.call("path_readlink", &[ROOT, b, b_len, BUFFER, 100, ANSWER]), Err(Errno::Inval));
    // A hard link to a link, and to what it leads to.
    let (hard, hard_len) = p.put(PATH, "hard");
    assert_eq!(p.call("path_link", &[ROOT, 1, link, link_len, ROOT, hard, hard_len]), Ok(()));
    assert!(fs::symlink_metadata(p.host("hard")).unwrap().is_file());

    let stat = |p: &mut Program, follow: u64| {
        p.call("path_filestat_get", &[ROOT, follow, link, link_len, ANSWER]).unwrap();
        (p.memory[80], p.word(ANSWER + 24), p.word(ANSWER + 32))
    };
    assert_eq!(stat(&mut p, 1), (FileType::RegularFile as u8, 3, 4));
    assert_eq!(stat(&mut p, 0), (FileType::SymbolicLink as u8, 1, 1));

    assert_eq!(p.on_path("path_unlink_file", "link"), Ok(()));
    assert_eq!(p.on_path("path_unlink_file", "d/a"), Ok(()));
    assert_eq!(p.on_path("path_remove_directory", "d"), Ok(()));
    assert_eq!(p.on_path("path_remove_directory", "b"), Err(Errno::NotDir));
    let long = "x/".repeat(3000);
    assert_eq!(p.on_path("path_unlink_file", &long), Err(Errno::NameTooLong));
}

#[test]
fn times_are_set_told_and_left() {
    let mut p = Program::new();
    let fd = p.open("a", oflags::CREAT).unwrap();
    let (at, len) = p.put(PATH, "a");
    let stat = |p: &mut Program| {
        p.call("fd_filestat_get", &[fd, ANSWER]).unwrap();
        (p.word(ANSWER + 40), p.word(ANSWER + 48))
    };
    assert_eq!(p.call("fd_filestat_set_times", &[fd, 1_500_000_000, 2_000_000_001, 1 | 4]), Ok(()));
    assert_eq!(stat(&mut p), (1_500_000_000, 2_000_000_001));
    assert_eq!(p.call("path_filestat_set_times", &[ROOT, 1, at, len, 7, 5_000_000_000, 4]), Ok(()));
    assert_eq!(stat(&mut p), (1_500_000_000, 5_000_000_000));
    assert_eq!(p.call("path_filestat_set_times", &[ROOT, 1, at, len, 7, 7, 2]), Ok(()));
    let (accessed, modified) = stat(&mut p);
    assert!(accessed > 1_600_000_000_000_000_000 && modified == 5_000_000_000, "{accessed} {modified}");
    assert_eq!(p.call("fd_filestat_set_times", &[fd, 0, 0, 3]), Err(Errno::Inval));
    assert_eq!(p.call("fd_filestat_set_times", &[ROOT, 0, 3_000_000_000, 4]), Ok(()), "a directory");
    assert_eq!(p.call("fd_filestat_set_times", &[1, 0, 0, 4]), Err(Errno::Inval), "a stream");
}

/// Every way that a path could lead out of the directory.
#[test]
fn no_path_leads_out() {
    let mut p = Program::new();
    symlink("../secret", p.host("up")).unwrap();
    symlink("../secret/file", p.host("up_file")).unwrap();
    symlink(p.root.path().join("secret"), p.host("absolute")).unwrap();
    symlink("up", p.host("indirect")).unwrap();
    fs::create_dir(p.host("d")).unwrap();
    symlink("../../secret/file", p.host("d/up_file")).unwrap();
    let secret = p.root.path().join("secret/file").to_str().unwrap().to_string();
    let outside = [
        "..",
        "../secret/file",
        "d/../../secret/file",
        "./../secret/file",
        "up/file",
        "up_file",
        "absolute/file",
        "indirect/file",
        "d/up_file",
        "up/../secret/file",
        &secret,
        "/",
    ];
    for path in outside {
        for oflags in [0, oflags::CREAT, oflags::DIRECTORY] {
            assert_eq!(p.open(path, oflags), Err(Errno::Perm), "open {path} {oflags}");
        }
        let (at, len) = p.put(PATH, path);
        assert_eq!(p.call("path_filestat_get", &[ROOT, 1, at, len, ANSWER]), Err(Errno::Perm), "stat {path}");
        assert_eq!(p.call("path_filestat_set_times", &[ROOT, 1, at, len, 0, 0, 5]), Err(Errno::Perm), "times {path}");
        let new = format!("{path}/new");
        assert!(p.on_path("path_create_directory", &new).is_err(), "mkdir {path}");
        assert!(p.on_path("path_remove_directory", path).is_err(), "rmdir {path}");
        // The links themselves are the program's; what they lead to is not.
        if !fs::symlink_metadata(p.host(path)).is_ok_and(|m| m.is_symlink()) {
            assert!(p.on_path("path_unlink_file", path).is_err(), "unlink {path}");
        }
        let ((at, len), (to, to_len)) = (p.put(PATH, path), p.put(OTHER, "mine"));
        assert!(p.call("path_link", &[ROOT, 1, at, len, ROOT, to, to_len]).is_err(), "link {path}");
        fs::write(p.host("mine"), "mine").unwrap();
        let new = format!("{path}/../stolen");
        let (at, len) = p.put(PATH, &new);
        assert!(p.call("path_rename", &[ROOT, to, to_len, ROOT, at, len]).is_err(), "rename {path}");
        fs::remove_file(p.host("mine")).unwrap();
    }
    let ((at, len), (to, to_len)) = (p.put(PATH, "/etc/passwd"), p.put(OTHER, "made"));
    assert_eq!(p.call("path_symlink", &[at, len, ROOT, to, to_len]), Err(Errno::Perm));
    let (at, len) = p.put(PATH, "absolute");
    assert_eq!(p.call("path_readlink", &[ROOT, at, len, BUFFER, 100, ANSWER]), Err(Errno::Perm));
    // A link that the program makes leads no further than one that was there.
    let (at, len) = p.put(PATH, "../secret/file");
    assert_eq!(p.call("path_symlink", &[at, len, ROOT, to, to_len]), Ok(()));
    assert_eq!(p.open("made", 0), Err(Errno::Perm));
    assert_eq!(fs::read_to_string(p.root.path().join("secret/file")).unwrap(), "secret");
    assert_eq!(fs::read_dir(p.root.path()).unwrap().count(), 2);
    assert_eq!(fs::read_dir(p.root.path().join("secret")).unwrap().count(), 1);
}

#[test]
fn descriptors_are_renumbered_and_reused() {
    let mut p = Program::new();
    let (a, b) = (p.open("a", oflags::CREAT).unwrap(), p.open("b", oflags::CREAT).unwrap());
    assert_eq!((a, b), (4, 5));
    assert_eq!(p.call("fd_renumber", &[a, b]), Ok(()));
    p.write(b, "to a").unwrap();
    assert_eq!(p.write(a, "x"), Err(Errno::BadF));
    assert_eq!(fs::read_to_string(p.host("a")).unwrap(), "to a");
    assert_eq!(p.call("fd_renumber", &[b, 9]), Err(Errno::BadF));
    assert_eq!(p.call("fd_renumber", &[9, b]), Err(Errno::BadF));
    assert_eq!(p.call("fd_renumber", &[b, b]), Ok(()));
    assert_eq!(p.open("b", 0), Ok(a), "the lowest number that is free");
    // Standard output goes to a file then.
    assert_eq!(p.call("fd_renumber", &[b, 1]), Ok(()));
    p.write(1, "!").unwrap();
    assert_eq!(fs::read_to_string(p.host("a")).unwrap(), "to a!");
}

/// Writes subscription `i`: of a clock (tag 0, with timeout and flags) or of a descriptor.
fn subscribe(p: &mut Program, i: u64, tag: u8, what: u32, timeout: u64, flags: u16) {
    let at = (BUFFER + i * 48) as usize;
    p.memory[at..at + 48].fill(0);
    p.memory[at] = 100 + i as u8;
    p.memory[at + 8] = tag;
    p.memory[at + 16..at + 20].copy_from_slice(&what.to_le_bytes());
    p.memory[at + 24..at + 32].copy_from_slice(&timeout.to_le_bytes());
    p.memory[at + 40..at + 42].copy_from_slice(&flags.to_le_bytes());
}

/// The user data, error, type and number of bytes of each event.
fn events(p: &mut Program, subscriptions: u64) -> Vec<(u8, u8, u8, u64)> {
    assert_eq!(p.call("poll_oneoff", &[BUFFER, PATH, subscriptions, ANSWER]), Ok(()));
    let at = |i: u64| PATH + i * 32;
    let byte = |at: u64| p.memory[at as usize];
    (0..p.answer()).map(|i| (byte(at(i)), byte(at(i) + 8), byte(at(i) + 10), p.word(at(i) + 16))).collect()
}

#[test]
fn waiting_ends_with_the_first_event() {
    let mut p = Program::new();
    let start = std::time::Instant::now();
    subscribe(&mut p, 0, 0, 1, 3_600_000_000_000, 0);
    subscribe(&mut p, 1, 0, 1, 20_000_000, 0);
    assert_eq!(events(&mut p, 2), [(101, 0, 0, 0)]);
    assert!(start.elapsed() >= std::time::Duration::from_millis(20));
    // An absolute time that has passed, beside one that never comes.
    subscribe(&mut p, 0, 0, 0, 1, 1);
    subscribe(&mut p, 1, 0, 0, u64::MAX, 0);
    assert_eq!(events(&mut p, 2), [(100, 0, 0, 0)]);
    // A file is ready at once, with what there is behind the position.
    fs::write(p.host("a"), "hello").unwrap();
    let fd = p.open("a", 0).unwrap();
    assert_eq!(p.read(fd, 2).unwrap(), "he");
    subscribe(&mut p, 0, 1, fd as u32, 0, 0);
    subscribe(&mut p, 1, 2, fd as u32, 0, 0);
    subscribe(&mut p, 2, 0, 1, u64::MAX, 0);
    assert_eq!(events(&mut p, 3), [(100, 0, 1, 3), (101, 0, 2, 0)]);
    // What cannot be waited for says so at once.
    subscribe(&mut p, 0, 1, 77, 0, 0);
    subscribe(&mut p, 1, 0, 2, 0, 0);
    subscribe(&mut p, 2, 0, 9, 0, 0);
    subscribe(&mut p, 3, 7, 0, 0, 0);
    subscribe(&mut p, 4, 0, 1, u64::MAX, 0);
    let errors: Vec<_> = events(&mut p, 5).into_iter().map(|event| (event.0, event.1)).collect();
    let errno = |errno: Errno| errno as u8;
    assert_eq!(
        errors,
        [
            (100, errno(Errno::BadF)),
            (101, errno(Errno::NotSup)),
            (102, errno(Errno::Inval)),
            (103, errno(Errno::Inval))
        ]
    );
    assert_eq!(p.call("poll_oneoff", &[BUFFER, PATH, 0, ANSWER]), Err(Errno::Inval));
}
