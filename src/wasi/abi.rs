//! Preview 1 in numbers: errors, file types, rights, flags, and how records lie in the program's memory.

use std::fmt::{self, Display, Formatter};
use std::io;

/// The errors that are answered here: `Name = number, host's name…`.
macro_rules! errnos {
    ($($name:ident = $number:literal $text:literal $(from $($host:ident)|+)?,)*) => {
        /// WASI's error numbers, as far as they are answered here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Errno {
            $($name = $number,)*
        }

        impl Display for Errno {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Errno::$name => $text,)*
                })
            }
        }

        impl From<rustix::io::Errno> for Errno {
            fn from(error: rustix::io::Errno) -> Errno {
                match error {
                    $($($(rustix::io::Errno::$host)|+ => Errno::$name,)?)*
                    _ => Errno::Io,
                }
            }
        }
    };
}

errnos! {
    Acces = 2 "EACCES" from ACCESS,
    Again = 6 "EAGAIN" from AGAIN,
    BadF = 8 "EBADF" from BADF,
    Busy = 10 "EBUSY" from BUSY,
    DQuot = 19 "EDQUOT" from DQUOT,
    Exist = 20 "EEXIST" from EXIST,
    Fault = 21 "EFAULT" from FAULT,
    FBig = 22 "EFBIG" from FBIG,
    Intr = 27 "EINTR" from INTR,
    Inval = 28 "EINVAL" from INVAL,
    Io = 29 "EIO",
    IsDir = 31 "EISDIR" from ISDIR,
    Loop = 32 "ELOOP" from LOOP,
    MFile = 33 "EMFILE" from MFILE,
    MLink = 34 "EMLINK" from MLINK,
    NameTooLong = 37 "ENAMETOOLONG" from NAMETOOLONG,
    NFile = 41 "ENFILE" from NFILE,
    NoDev = 43 "ENODEV" from NODEV,
    NoEnt = 44 "ENOENT" from NOENT,
    NoMem = 48 "ENOMEM" from NOMEM,
    NoSpc = 51 "ENOSPC" from NOSPC,
    NoSys = 52 "ENOSYS",
    NotDir = 54 "ENOTDIR" from NOTDIR,
    NotEmpty = 55 "ENOTEMPTY" from NOTEMPTY,
    NotSock = 57 "ENOTSOCK",
    NotSup = 58 "ENOTSUP" from NOTSUP | NOSYS,
    NxIo = 60 "ENXIO" from NXIO,
    Overflow = 61 "EOVERFLOW" from OVERFLOW,
    Perm = 63 "EPERM" from PERM,
    Pipe = 64 "EPIPE" from PIPE,
    RoFs = 69 "EROFS" from ROFS,
    SPipe = 70 "ESPIPE" from SPIPE,
    Stale = 72 "ESTALE" from STALE,
    TxtBsy = 74 "ETXTBSY" from TXTBSY,
    XDev = 75 "EXDEV" from XDEV,
    NotCapable = 76 "ENOTCAPABLE",
}

impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Errno {
        if let Some(errno) = rustix::io::Errno::from_io_error(&error) {
            return errno.into();
        }
        match error.kind() {
            // That a path leads out of its directory is found out here, not by the system.
            io::ErrorKind::PermissionDenied => Errno::Perm,
            io::ErrorKind::InvalidInput => Errno::Inval,
            io::ErrorKind::BrokenPipe => Errno::Pipe,
            io::ErrorKind::Unsupported => Errno::NotSup,
            _ => Errno::Io,
        }
    }
}

/// What a descriptor or a directory's entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FileType {
    /// Also pipes: WASI has no number for them.
    Unknown = 0,
    BlockDevice = 1,
    CharacterDevice = 2,
    Directory = 3,
    RegularFile = 4,
    SocketStream = 6,
    SymbolicLink = 7,
}

impl From<cap_std::fs::FileType> for FileType {
    fn from(ty: cap_std::fs::FileType) -> FileType {
        use cap_fs_ext::FileTypeExt;
        match ty {
            ty if ty.is_file() => FileType::RegularFile,
            ty if ty.is_dir() => FileType::Directory,
            ty if ty.is_symlink() => FileType::SymbolicLink,
            ty if ty.is_char_device() => FileType::CharacterDevice,
            ty if ty.is_block_device() => FileType::BlockDevice,
            ty if ty.is_socket() => FileType::SocketStream,
            _ => FileType::Unknown,
        }
    }
}

/// What may be done with a descriptor. Reading and writing are enforced; the others are told to programs that ask.
pub mod rights {
    pub const FD_READ: u64 = 1 << 1;
    pub const FD_WRITE: u64 = 1 << 6;
    pub const FD_ALLOCATE: u64 = 1 << 8;
    pub const FD_FILESTAT_SET_SIZE: u64 = 1 << 22;
    const POLL_FD_READWRITE: u64 = 1 << 27;
    const FD_FILESTAT_GET: u64 = 1 << 21;

    /// `fd_datasync`, `fd_read`, `fd_seek`, `fd_fdstat_set_flags`, `fd_sync`, `fd_tell`, `fd_write`, `fd_advise`,
    /// `fd_allocate`, and the three `fd_filestat_…`.
    pub const FILE: u64 = 0x1ff | (0b111 << 21) | POLL_FD_READWRITE;
    /// `fd_fdstat_set_flags`, `fd_sync`, `fd_advise`, every `path_…`, `fd_readdir`, and `fd_filestat_…` without the size.
    pub const DIRECTORY: u64 =
        (1 << 3) | (1 << 4) | (1 << 7) | (0x3ff << 9) | (0b11 << 19) | (0b101 << 21) | (0b111 << 24);
    /// A stream has neither `fd_seek` nor `fd_tell`: by that, C's library knows a terminal.
    pub const INPUT: u64 = FD_READ | FD_FILESTAT_GET | POLL_FD_READWRITE;
    pub const OUTPUT: u64 = FD_WRITE | FD_FILESTAT_GET | POLL_FD_READWRITE;
}

/// Flags of a descriptor.
pub mod fdflags {
    pub const APPEND: u64 = 1;
    pub const DSYNC: u64 = 2;
    pub const NONBLOCK: u64 = 4;
    pub const RSYNC: u64 = 8;
    pub const SYNC: u64 = 16;
    pub const ALL: u64 = 31;
}

/// Flags of `path_open`.
pub mod oflags {
    pub const CREAT: u64 = 1;
    pub const DIRECTORY: u64 = 2;
    pub const EXCL: u64 = 4;
    pub const TRUNC: u64 = 8;
    pub const ALL: u64 = 15;
}

/// What times to set.
pub mod fstflags {
    pub const ATIM: u64 = 1;
    pub const ATIM_NOW: u64 = 2;
    pub const MTIM: u64 = 4;
    pub const MTIM_NOW: u64 = 8;
    pub const ALL: u64 = 15;
}

/// `flags`, if they are all `known`.
pub fn flags(flags: u64, known: u64) -> Result<u64, Errno> {
    if flags & !known == 0 { Ok(flags) } else { Err(Errno::Inval) }
}

/// At most so many buffers are read or written by one call.
const MAX_BUFFERS: u64 = 1024;

/// Bytes that a path has at most.
const MAX_PATH: u64 = 4096;

/// The caller's memory, which nothing is believed about. Addresses and lengths are 32 bits wide.
pub struct Guest<'m>(pub &'m mut [u8]);

impl Guest<'_> {
    pub fn slice(&mut self, at: u64, len: u64) -> Result<&mut [u8], Errno> {
        self.0.get_mut(at as usize..(at + len) as usize).ok_or(Errno::Fault)
    }

    pub fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.slice(at, bytes.len() as u64)?.copy_from_slice(bytes);
        Ok(())
    }

    pub fn write_u32(&mut self, at: u64, value: usize) -> Result<(), Errno> {
        self.write(at, &u32::try_from(value).map_err(|_| Errno::Overflow)?.to_le_bytes())
    }

    pub fn write_u64(&mut self, at: u64, value: u64) -> Result<(), Errno> {
        self.write(at, &value.to_le_bytes())
    }

    pub fn read_u32(&mut self, at: u64) -> Result<u64, Errno> {
        let bytes: [u8; 4] = self.slice(at, 4)?.try_into().expect("four bytes");
        Ok(u64::from(u32::from_le_bytes(bytes)))
    }

    /// A list of buffers: the address and length of each, all of which are inside memory.
    pub fn buffers(&mut self, list: u64, count: u64) -> Result<Vec<(u64, u64)>, Errno> {
        self.slice(list, count * 8)?;
        if count > MAX_BUFFERS {
            return Err(Errno::Inval);
        }
        let (mut buffers, mut total) = (Vec::with_capacity(count as usize), 0);
        for i in 0..count {
            let (at, len) = (self.read_u32(list + i * 8)?, self.read_u32(list + i * 8 + 4)?);
            self.slice(at, len)?;
            total += len;
            buffers.push((at, len));
        }
        // What was read or written is answered in 32 bits.
        if total > u64::from(u32::MAX) { Err(Errno::Inval) } else { Ok(buffers) }
    }

    /// A path, which is taken as the bytes that it is.
    pub fn path(&mut self, at: u64, len: u64) -> Result<std::path::PathBuf, Errno> {
        use std::os::unix::ffi::OsStringExt;
        let bytes = self.slice(at, len)?;
        if len > MAX_PATH {
            return Err(Errno::NameTooLong);
        }
        Ok(std::ffi::OsString::from_vec(bytes.to_vec()).into())
    }

    /// Writes strings, each with a zero behind it, from `text` on, and their addresses from `table` on.
    pub fn write_strings(&mut self, strings: &[Vec<u8>], mut table: u64, mut text: u64) -> Result<(), Errno> {
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
    pub fn write_sizes(&mut self, strings: &[Vec<u8>], count: u64, bytes: u64) -> Result<(), Errno> {
        self.write_u32(count, strings.len())?;
        self.write_u32(bytes, strings.iter().map(|string| string.len() + 1).sum())
    }
}
