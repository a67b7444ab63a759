//! `fd_…`: what is done with what is open.

use super::Wasi;
use super::abi::{Errno, FileType, Guest, fdflags, flags, fstflags, rights};
use super::table::{Descriptor, Entry, Object};
use cap_std::fs::{Dir, File, FileExt, Metadata, MetadataExt};
use rustix::fs::{OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirEntryExt;

pub fn advise(wasi: &mut Wasi, _: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let &[fd, offset, len, advice] = args else { unreachable!("four parameters") };
    let file = wasi.table.get(fd)?.as_file(Errno::SPipe)?;
    // Elsewhere there is nobody to advise, which is no error.
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::Advice;
        const ADVICE: [Advice; 6] =
            [Advice::Normal, Advice::Sequential, Advice::Random, Advice::WillNeed, Advice::DontNeed, Advice::NoReuse];
        let advice = *ADVICE.get(advice as usize).ok_or(Errno::Inval)?;
        rustix::fs::fadvise(&*file, offset, std::num::NonZeroU64::new(len), advice)?;
    }
    let _ = (file, offset, len, advice);
    Ok(())
}

pub fn allocate(wasi: &mut Wasi, _: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let descriptor = wasi.table.get(args[0])?;
    descriptor.need(rights::FD_WRITE)?;
    let file = descriptor.as_file(Errno::SPipe)?;
    Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), args[1], args[2])?)
}

pub fn close(wasi: &mut Wasi, _: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    match wasi.table.remove(args[0])?.object {
        Object::Output(output) => Ok(output.flush()?),
        _ => Ok(()),
    }
}

pub fn sync(wasi: &mut Wasi, _: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    match &wasi.table.get(args[0])?.object {
        Object::Output(output) => output.flush()?,
        Object::File(file) => file.sync_all()?,
        Object::Dir(dir, _) => rustix::fs::fsync(dir)?,
        Object::Input(_) | Object::Error(_) => {}
    }
    Ok(())
}

pub fn datasync(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    match &wasi.table.get(args[0])?.object {
        Object::File(file) => Ok(file.sync_data()?),
        _ => sync(wasi, memory, args),
    }
}

/// `{ filetype: u8, flags: u16, rights: u64, inheriting: u64 }`
pub fn fdstat_get(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let descriptor = wasi.table.get(args[0])?;
    let flags = match &descriptor.object {
        Object::File(file) => status_flags(rustix::fs::fcntl_getfl(file)?),
        _ => 0,
    };
    let mut stat = [0; 24];
    stat[0] = descriptor.file_type as u8;
    stat[2..4].copy_from_slice(&(flags as u16).to_le_bytes());
    stat[8..16].copy_from_slice(&descriptor.rights.to_le_bytes());
    stat[16..24].copy_from_slice(&descriptor.inheriting.to_le_bytes());
    memory.write(args[1], &stat)
}

/// The host's flags and WASI's. `SYNC` includes `DSYNC`'s bit, and `RSYNC` is `SYNC` on Linux.
const STATUS_FLAGS: [(OFlags, u64); 4] = [
    (OFlags::APPEND, fdflags::APPEND),
    (OFlags::NONBLOCK, fdflags::NONBLOCK),
    (OFlags::DSYNC, fdflags::DSYNC),
    (OFlags::SYNC, fdflags::SYNC),
];

fn status_flags(host: OFlags) -> u64 {
    STATUS_FLAGS.iter().filter(|(flag, _)| host.contains(*flag)).map(|(_, flag)| flag).sum()
}

/// Of an open file, only `APPEND` and `NONBLOCK` can be changed.
pub fn fdstat_set_flags(wasi: &mut Wasi, _: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    const FIXED: u64 = fdflags::DSYNC | fdflags::SYNC;
    let new = flags(args[1], fdflags::ALL)?;
    let file = wasi.table.get(args[0])?.as_file(Errno::NotSup)?;
    let host = rustix::fs::fcntl_getfl(&*file)?;
    // `RSYNC` asks for no more than `SYNC` does where it can be told.
    let new = if new & fdflags::RSYNC != 0 { new | fdflags::SYNC | fdflags::DSYNC } else { new } & !fdflags::RSYNC;
    let new = if new & fdflags::SYNC != 0 { new | fdflags::DSYNC } else { new };
    if (status_flags(host) ^ new) & FIXED != 0 {
        return Err(Errno::NotSup);
    }
    let mut changed = host;
    changed.set(OFlags::APPEND, new & fdflags::APPEND != 0);
    changed.set(OFlags::NONBLOCK, new & fdflags::NONBLOCK != 0);
    Ok(rustix::fs::fcntl_setfl(&*file, changed)?)
}

/// Rights can be given up, and never be got back.
pub fn fdstat_set_rights(wasi: &mut Wasi, _: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let descriptor = wasi.table.get(args[0])?;
    if args[1] & !descriptor.rights != 0 || args[2] & !descriptor.inheriting != 0 {
        return Err(Errno::NotCapable);
    }
    (descriptor.rights, descriptor.inheriting) = (args[1], args[2]);
    Ok(())
}

pub fn filestat_get(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let descriptor = wasi.table.get(args[0])?;
    let stat = match &descriptor.object {
        Object::File(file) => filestat(&file.metadata()?),
        Object::Dir(dir, _) => filestat(&dir.dir_metadata()?),
        _ => {
            let mut stat = [0; 64];
            stat[16] = descriptor.file_type as u8;
            stat
        }
    };
    memory.write(args[1], &stat)
}

/// `{ dev: u64, ino: u64, filetype: u8, nlink: u64, size: u64, atim: u64, mtim: u64, ctim: u64 }`
pub fn filestat(metadata: &Metadata) -> [u8; 64] {
    // A time before 1970 cannot be told.
    let time = |seconds: i64, nanos: i64| {
        let nanos = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        nanos.clamp(0, u64::MAX.into()) as u64
    };
    let words = [
        metadata.dev(),
        metadata.ino(),
        FileType::from(metadata.file_type()) as u64,
        metadata.nlink(),
        metadata.size(),
        time(metadata.atime(), metadata.atime_nsec()),
        time(metadata.mtime(), metadata.mtime_nsec()),
        time(metadata.ctime(), metadata.ctime_nsec()),
    ];
    let mut stat = [0; 64];
    stat.chunks_exact_mut(8).zip(words).for_each(|(field, word)| field.copy_from_slice(&word.to_le_bytes()));
    stat
}

pub fn filestat_set_size(wasi: &mut Wasi, _: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let descriptor = wasi.table.get(args[0])?;
    let file = descriptor.as_file(Errno::Inval)?;
    file.set_len(args[1])?;
    Ok(())
}

pub fn filestat_set_times(wasi: &mut Wasi, _: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let &[fd, accessed, modified, set] = args else { unreachable!("four parameters") };
    let descriptor = wasi.table.get(fd)?;
    let [last_access, last_modification] = times(accessed, modified, set)?.map(|time| match time {
        Time::Keep => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        Time::Now => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        Time::At(nanos) => Timespec { tv_sec: (nanos / NANOS) as i64, tv_nsec: (nanos % NANOS) as _ },
    });
    let target: BorrowedFd<'_> = match &descriptor.object {
        Object::File(file) => file.as_fd(),
        Object::Dir(dir, _) => dir.as_fd(),
        _ => return Err(Errno::Inval),
    };
    Ok(rustix::fs::futimens(target, &Timestamps { last_access, last_modification })?)
}

/// Nanoseconds of a second.
pub const NANOS: u64 = 1_000_000_000;

/// What becomes of a file's time.
#[derive(Clone, Copy)]
pub enum Time {
    Keep,
    Now,
    /// Nanoseconds since 1970.
    At(u64),
}

/// What becomes of the times of access and modification.
pub fn times(accessed: u64, modified: u64, set: u64) -> Result<[Time; 2], Errno> {
    let set = flags(set, fstflags::ALL)?;
    let time = |at: u64, to_given: u64, to_now: u64| match (set & to_given != 0, set & to_now != 0) {
        (true, true) => Err(Errno::Inval),
        (true, false) => Ok(Time::At(at)),
        (false, true) => Ok(Time::Now),
        (false, false) => Ok(Time::Keep),
    };
    Ok([time(accessed, fstflags::ATIM, fstflags::ATIM_NOW)?, time(modified, fstflags::MTIM, fstflags::MTIM_NOW)?])
}

/// `{ tag: u8, name_len: u32 }`, where tag 0 is a directory.
pub fn prestat_get(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let name = wasi.table.get(args[0])?.preopened.as_ref().ok_or(Errno::BadF)?;
    memory.write_u32(args[1], 0)?;
    memory.write_u32(args[1] + 4, name.len())
}

pub fn prestat_dir_name(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let &[fd, at, len] = args else { unreachable!("three parameters") };
    let name = wasi.table.get(fd)?.preopened.as_ref().ok_or(Errno::BadF)?;
    if len < name.len() as u64 {
        return Err(Errno::NameTooLong);
    }
    memory.write(at, name)
}

pub fn read(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let &[fd, list, count, read_at] = args else { unreachable!("four parameters") };
    if matches!(wasi.table.get(fd)?.object, Object::Input(_)) {
        // A prompt appears before its answer is waited for.
        wasi.table.flush()?;
    }
    let descriptor = wasi.table.get(fd)?;
    if matches!(descriptor.object, Object::Dir(..)) {
        return Err(Errno::IsDir);
    }
    descriptor.need(rights::FD_READ)?;
    scatter(memory, list, count, read_at, |into, _| match &mut descriptor.object {
        Object::Input(input) => input.read(into),
        Object::File(file) => file.read(into),
        Object::Output(_) | Object::Error(_) | Object::Dir(..) => Err(rustix::io::Errno::BADF.into()),
    })
}

pub fn pread(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let &[fd, list, count, offset, read_at] = args else { unreachable!("five parameters") };
    let (file, offset) = positioned(wasi.table.get(fd)?, rights::FD_READ, offset)?;
    scatter(memory, list, count, read_at, |into, done| file.read_at(into, offset + done))
}

pub fn write(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let &[fd, list, count, written_at] = args else { unreachable!("four parameters") };
    if matches!(wasi.table.get(fd)?.object, Object::Error(_)) {
        // What was printed first appears first.
        wasi.table.flush()?;
    }
    let descriptor = wasi.table.get(fd)?;
    if matches!(descriptor.object, Object::Dir(..)) {
        return Err(Errno::IsDir);
    }
    descriptor.need(rights::FD_WRITE)?;
    gather(memory, list, count, written_at, |bytes, _| match &mut descriptor.object {
        Object::Output(output) => output.write(bytes).map(|()| bytes.len()),
        Object::Error(error) => error.write_all(bytes).map(|()| bytes.len()),
        Object::File(file) => file.write(bytes),
        Object::Input(_) | Object::Dir(..) => Err(rustix::io::Errno::BADF.into()),
    })
}

pub fn pwrite(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let &[fd, list, count, offset, written_at] = args else { unreachable!("five parameters") };
    let (file, offset) = positioned(wasi.table.get(fd)?, rights::FD_WRITE, offset)?;
    gather(memory, list, count, written_at, |bytes, done| file.write_at(bytes, offset + done))
}

/// The file to be read or written at `offset`.
fn positioned(descriptor: &mut Descriptor, right: u64, offset: u64) -> Result<(&mut File, u64), Errno> {
    if matches!(descriptor.object, Object::File(_)) {
        descriptor.need(right)?;
    }
    // The last byte's offset must be a number that the system has.
    if offset > (i64::MAX as u64) - u64::from(u32::MAX) {
        return Err(Errno::Inval);
    }
    Ok((descriptor.as_file(Errno::SPipe)?, offset))
}

/// Fills a list of buffers by `read`, which is told how many bytes came before, until one is not filled; and writes down
/// how many bytes there were.
fn scatter(
    memory: &mut Guest<'_>,
    list: u64,
    count: u64,
    read_at: u64,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> Result<(), Errno> {
    memory.slice(read_at, 4)?;
    let buffers = memory.buffers(list, count)?;
    let total = transfer(buffers, |at, len, done| {
        let into = memory.slice(at, len)?;
        Ok(retry(|| read(into, done))?)
    })?;
    memory.write_u32(read_at, total as usize)
}

/// Writes a list of buffers by `write`, as [`scatter`] reads.
fn gather(
    memory: &mut Guest<'_>,
    list: u64,
    count: u64,
    written_at: u64,
    mut write: impl FnMut(&[u8], u64) -> io::Result<usize>,
) -> Result<(), Errno> {
    memory.slice(written_at, 4)?;
    let buffers = memory.buffers(list, count)?;
    let total = transfer(buffers, |at, len, done| {
        let bytes = memory.slice(at, len)?;
        Ok(retry(|| write(bytes, done))?)
    })?;
    memory.write_u32(written_at, total as usize)
}

/// Does `one` for each buffer that is not empty, until one of them is not done whole. An error after the first counts as
/// the end: what was done is done.
fn transfer(
    buffers: Vec<(u64, u64)>,
    mut one: impl FnMut(u64, u64, u64) -> Result<usize, Errno>,
) -> Result<u64, Errno> {
    let mut done = 0;
    for (at, len) in buffers.into_iter().filter(|(_, len)| *len > 0) {
        match one(at, len, done) {
            Ok(n) => {
                done += n as u64;
                if (n as u64) < len {
                    break;
                }
            }
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

/// Repeats `call` while a signal interrupts it.
fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Writes the directory's entries from `cookie` on, the last one cut off where the buffer ends. An entry is
/// `{ next: u64, ino: u64, name_len: u32, filetype: u8 }` and the name; cookies count entries.
pub fn readdir(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let &[fd, at, len, cookie, used_at] = args else { unreachable!("five parameters") };
    let Object::Dir(dir, listing) = &mut wasi.table.get(fd)?.object else { return Err(Errno::NotDir) };
    if cookie == 0 || listing.is_none() {
        *listing = Some(list(dir)?);
    }
    let entries = listing.as_deref().unwrap_or_default();
    let mut rest = memory.slice(at, len)?;
    for (i, entry) in entries.iter().enumerate().skip(usize::try_from(cookie).unwrap_or(usize::MAX)) {
        let mut head = [0; 24];
        head[..8].copy_from_slice(&(i as u64 + 1).to_le_bytes());
        head[8..16].copy_from_slice(&entry.inode.to_le_bytes());
        head[16..20].copy_from_slice(&(entry.name.len() as u32).to_le_bytes());
        head[20] = entry.file_type as u8;
        for mut bytes in [&head[..], &entry.name] {
            // What does not fit is left out.
            let _ = bytes.read(rest).map(|n| rest = &mut std::mem::take(&mut rest)[n..]);
        }
        if rest.is_empty() {
            break;
        }
    }
    let used = len as usize - rest.len();
    memory.write_u32(used_at, used)
}

/// A directory's entries, by name, after itself and its parent (which is not told from itself: it may be outside).
fn list(dir: &Dir) -> Result<Vec<Entry>, Errno> {
    let own = |name: &[u8]| -> Result<Entry, Errno> {
        Ok(Entry { name: name.to_vec(), inode: dir.dir_metadata()?.ino(), file_type: FileType::Directory })
    };
    let mut entries = Vec::new();
    for entry in dir.entries()? {
        let entry = entry?;
        let file_type = entry.file_type().map_or(FileType::Unknown, FileType::from);
        entries.push(Entry { name: entry.file_name().into_vec(), inode: entry.ino(), file_type });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries.splice(0..0, [own(b".")?, own(b"..")?]);
    Ok(entries)
}

/// Moves a descriptor to the number of another one, which is closed.
pub fn renumber(wasi: &mut Wasi, _: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let &[from, to] = args else { unreachable!("two parameters") };
    wasi.table.get(from)?;
    wasi.table.get(to)?;
    if from != to {
        let moved = wasi.table.remove(from)?;
        let closed = std::mem::replace(wasi.table.get(to)?, moved);
        if let Object::Output(output) = closed.object {
            output.flush()?;
        }
    }
    Ok(())
}

pub fn seek(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let &[fd, offset, whence, position_at] = args else { unreachable!("four parameters") };
    let file = wasi.table.get(fd)?.as_file(Errno::SPipe)?;
    memory.slice(position_at, 8)?;
    let position = match whence {
        0 if offset > i64::MAX as u64 => return Err(Errno::Inval),
        0 => SeekFrom::Start(offset),
        1 => SeekFrom::Current(offset as i64),
        2 => SeekFrom::End(offset as i64),
        _ => return Err(Errno::Inval),
    };
    memory.write_u64(position_at, file.seek(position)?)
}

pub fn tell(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let file = wasi.table.get(args[0])?.as_file(Errno::SPipe)?;
    memory.write_u64(args[1], file.stream_position()?)
}
