//! `path_…`: what is done with files by name. Each name belongs to an open directory, and leads nowhere outside it.

use super::Wasi;
use super::abi::{Errno, FileType, Guest, fdflags, flags, oflags, rights};
use super::fd::{Time, filestat, times};
use super::table::Descriptor;
use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt, OpenOptionsSyncExt, SystemTimeSpec};
use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Whether a symbolic link at the end of a path is followed: `lookupflags`.
fn follow(lookup: u64) -> Result<bool, Errno> {
    Ok(flags(lookup, 1)? != 0)
}

pub fn create_directory(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    Ok(wasi.table.dir(args[0])?.create_dir(memory.path(args[1], args[2])?)?)
}

pub fn remove_directory(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    Ok(wasi.table.dir(args[0])?.remove_dir(memory.path(args[1], args[2])?)?)
}

pub fn unlink_file(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    Ok(wasi.table.dir(args[0])?.remove_file(memory.path(args[1], args[2])?)?)
}

pub fn filestat_get(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let &[fd, lookup, at, len, stat_at] = args else { unreachable!("five parameters") };
    let (dir, path) = (wasi.table.dir(fd)?, memory.path(at, len)?);
    let metadata = if follow(lookup)? { dir.metadata(path)? } else { dir.symlink_metadata(path)? };
    memory.write(stat_at, &filestat(&metadata))
}

pub fn filestat_set_times(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let &[fd, lookup, at, len, accessed, modified, set] = args else { unreachable!("seven parameters") };
    let (dir, path) = (wasi.table.dir(fd)?, memory.path(at, len)?);
    let [accessed, modified] = times(accessed, modified, set)?.map(|time| match time {
        Time::Keep => None,
        Time::Now => Some(SystemTimeSpec::SymbolicNow),
        Time::At(nanos) => {
            let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos);
            Some(cap_std::time::SystemTime::from_std(time).into())
        }
    });
    if follow(lookup)? {
        dir.set_times(path, accessed, modified)?;
    } else {
        dir.set_symlink_times(path, accessed, modified)?;
    }
    Ok(())
}

pub fn link(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let &[old_fd, lookup, old_at, old_len, new_fd, new_at, new_len] = args else { unreachable!("seven parameters") };
    let (old_dir, new_dir) = (wasi.table.dir(old_fd)?, wasi.table.dir(new_fd)?);
    let (mut old, new) = (memory.path(old_at, old_len)?, memory.path(new_at, new_len)?);
    if follow(lookup)? {
        old = old_dir.canonicalize(old)?;
    }
    Ok(old_dir.hard_link(old, new_dir, new)?)
}

pub fn rename(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let &[old_fd, old_at, old_len, new_fd, new_at, new_len] = args else { unreachable!("six parameters") };
    let (old_dir, new_dir) = (wasi.table.dir(old_fd)?, wasi.table.dir(new_fd)?);
    Ok(old_dir.rename(memory.path(old_at, old_len)?, new_dir, memory.path(new_at, new_len)?)?)
}

/// A link to an absolute path is refused: the host's `/` is not the program's.
pub fn symlink(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let &[old_at, old_len, fd, new_at, new_len] = args else { unreachable!("five parameters") };
    let dir = wasi.table.dir(fd)?;
    Ok(dir.symlink(memory.path(old_at, old_len)?, memory.path(new_at, new_len)?)?)
}

/// Writes as much of a link's contents as there is room for. Where an absolute link leads is not told.
pub fn readlink(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let &[fd, at, len, into, room, used_at] = args else { unreachable!("six parameters") };
    let target = wasi.table.dir(fd)?.read_link(memory.path(at, len)?)?;
    let bytes = target.as_os_str().as_bytes();
    let bytes = &bytes[..bytes.len().min(room as usize)];
    memory.write(into, bytes)?;
    memory.write_u32(used_at, bytes.len())
}

pub fn open(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let &[fd, lookup, at, len, how, rights, inheriting, fdflags, opened_at] = args else {
        unreachable!("nine parameters")
    };
    let (dir, path) = (wasi.table.dir(fd)?, memory.path(at, len)?);
    memory.slice(opened_at, 4)?;
    let how = How {
        follow: follow(lookup)?,
        oflags: flags(how, oflags::ALL)?,
        rights,
        inheriting,
        fdflags: flags(fdflags, fdflags::ALL)?,
    };
    let descriptor = how.open(dir, &path)?;
    let opened = wasi.table.insert(descriptor);
    memory.write_u32(opened_at, opened)
}

/// How to open something.
struct How {
    follow: bool,
    oflags: u64,
    rights: u64,
    inheriting: u64,
    fdflags: u64,
}

impl How {
    fn open(&self, dir: &Dir, path: &Path) -> Result<Descriptor, Errno> {
        let wants = |flag: u64| self.oflags & flag != 0;
        let file = if wants(oflags::DIRECTORY) {
            // What cannot be done to a directory is not asked for, whatever the rights are.
            if wants(oflags::CREAT | oflags::EXCL | oflags::TRUNC) {
                return Err(Errno::Inval);
            }
            let mut options = OpenOptions::new();
            dir.open_with(
                path,
                options.read(true).follow(self.symlinks()).custom_flags(OFlags::DIRECTORY.bits() as i32),
            )?
        } else {
            self.open_file(dir, path)?
        };
        let file_type = FileType::from(file.metadata()?.file_type());
        if file_type == FileType::Directory {
            return Ok(Descriptor::directory(Dir::from_std_file(file.into_std()), self.rights, self.inheriting));
        }
        // Opened for appending only now, since the host refuses to truncate what it opens so.
        if self.fdflags & fdflags::APPEND != 0 {
            rustix::fs::fcntl_setfl(&file, rustix::fs::fcntl_getfl(&file)? | OFlags::APPEND)?;
        }
        Ok(Descriptor::file(file, file_type, self.rights))
    }

    fn open_file(&self, dir: &Dir, path: &Path) -> Result<File, Errno> {
        const WRITING: u64 = rights::FD_WRITE | rights::FD_ALLOCATE | rights::FD_FILESTAT_SET_SIZE;
        let wants = |flag: u64| self.oflags & flag != 0;
        // The host creates and truncates only what it opens for writing.
        let write = self.rights & WRITING != 0 || wants(oflags::CREAT | oflags::TRUNC);
        let sync = self.fdflags & (fdflags::SYNC | fdflags::RSYNC) != 0;
        let mut options = OpenOptions::new();
        options
            .read(self.rights & rights::FD_READ != 0 || !write)
            .write(write)
            .create(wants(oflags::CREAT))
            .create_new(wants(oflags::CREAT) && wants(oflags::EXCL))
            .truncate(wants(oflags::TRUNC))
            .follow(self.symlinks())
            .sync(sync)
            .dsync(self.fdflags & fdflags::DSYNC != 0)
            .nonblock(self.fdflags & fdflags::NONBLOCK != 0);
        Ok(dir.open_with(path, &options)?)
    }

    fn symlinks(&self) -> FollowSymlinks {
        if self.follow { FollowSymlinks::Yes } else { FollowSymlinks::No }
    }
}
