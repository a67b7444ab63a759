//! Clocks, and waiting for them and for descriptors.

use super::Wasi;
use super::abi::{Errno, Guest, rights};
use super::fd::NANOS;
use super::table::{Object, Table};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};
use std::io::{self, Seek};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

pub fn clock_res_get(_: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    memory.write_u64(args[1], nanoseconds(clock_getres(clock(args[0])?))?)
}

pub fn clock_time_get(_: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    memory.write_u64(args[2], now(clock(args[0])?)?)
}

fn clock(id: u64) -> Result<ClockId, Errno> {
    [ClockId::Realtime, ClockId::Monotonic, ClockId::ProcessCPUTime, ClockId::ThreadCPUTime]
        .get(id as usize)
        .copied()
        .ok_or(Errno::Inval)
}

fn now(clock: ClockId) -> Result<u64, Errno> {
    nanoseconds(clock_gettime(clock))
}

fn nanoseconds(time: Timespec) -> Result<u64, Errno> {
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec)) else {
        return Err(Errno::Overflow);
    };
    seconds.checked_mul(NANOS).and_then(|s| s.checked_add(nanos)).ok_or(Errno::Overflow)
}

/// What a program waits for.
enum Awaited {
    /// This clock, to reach this time in nanoseconds.
    Clock(ClockId, u64),
    /// This descriptor, to have something to be read.
    Readable(u64),
    /// This descriptor, to take something that is written.
    Writable(u64),
    /// Nothing: it cannot be waited for.
    Wrong(Errno),
}

/// A subscription: `{ userdata: u64, tag: u8, … }` of 48 bytes; from byte 16 on, a clock's (tag 0) has
/// `{ id: u32, timeout: u64, precision: u64, flags: u16 }`, a descriptor's (tags 1, 2) `{ fd: u32 }`.
struct Subscription {
    user: [u8; 8],
    tag: u8,
    awaited: Awaited,
}

/// Bytes of a subscription.
const SUBSCRIPTION: u64 = 48;
/// Bytes of an event: `{ userdata: u64, error: u16, type: u8, nbytes: u64, flags: u16 }`.
const EVENT: u64 = 32;
/// As many subscriptions as the host can open descriptors, by default.
const MAX_SUBSCRIPTIONS: u64 = 1024;

impl Subscription {
    fn read(bytes: &[u8], table: &mut Table) -> Subscription {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let fd = word(16) & u64::from(u32::MAX);
        let awaited = match bytes[8] {
            0 => Subscription::clock(fd, word(24), word(40) as u16),
            tag @ (1 | 2) => {
                let (right, awaited) = match tag {
                    1 => (rights::FD_READ, Awaited::Readable(fd)),
                    _ => (rights::FD_WRITE, Awaited::Writable(fd)),
                };
                match table.get(fd).and_then(|descriptor| descriptor.need(right)) {
                    Ok(()) => awaited,
                    Err(errno) => Awaited::Wrong(errno),
                }
            }
            _ => Awaited::Wrong(Errno::Inval),
        };
        Subscription { user: bytes[..8].try_into().expect("eight bytes"), tag: bytes[8], awaited }
    }

    /// Waits for a clock to reach a time, or (without the flag) for so much time to pass.
    fn clock(id: u64, timeout: u64, flags: u16) -> Awaited {
        const ABSOLUTE: u16 = 1;
        let clock = match clock(id) {
            Ok(clock @ (ClockId::Realtime | ClockId::Monotonic)) => clock,
            // The process's own clocks stand still while it waits.
            Ok(_) => return Awaited::Wrong(Errno::NotSup),
            Err(errno) => return Awaited::Wrong(errno),
        };
        match (flags, now(clock)) {
            (ABSOLUTE, _) => Awaited::Clock(clock, timeout),
            (0, Ok(now)) => Awaited::Clock(clock, now.saturating_add(timeout)),
            (0, Err(errno)) => Awaited::Wrong(errno),
            _ => Awaited::Wrong(Errno::Inval),
        }
    }

    /// Its event, if it has come. `ready` says what the host says of its descriptor.
    fn event(&self, table: &mut Table, ready: PollFlags) -> Option<[u8; EVENT as usize]> {
        let (mut error, mut bytes) = (None, 0);
        match self.awaited {
            Awaited::Wrong(errno) => error = Some(errno),
            Awaited::Clock(clock, time) => match now(clock) {
                Ok(now) if now < time => return None,
                Ok(_) => {}
                Err(errno) => error = Some(errno),
            },
            Awaited::Readable(_) | Awaited::Writable(_) if ready.is_empty() => return None,
            Awaited::Readable(fd) => match available(table, fd) {
                Ok(available) => bytes = available,
                Err(errno) => error = Some(errno),
            },
            Awaited::Writable(_) => {}
        }
        let hung_up = u16::from(ready.contains(PollFlags::HUP));
        let mut event = [0; EVENT as usize];
        event[..8].copy_from_slice(&self.user);
        event[8..10].copy_from_slice(&error.map_or(0, |errno| errno as u16).to_le_bytes());
        event[10] = self.tag;
        event[16..24].copy_from_slice(&bytes.to_le_bytes());
        event[24..26].copy_from_slice(&hung_up.to_le_bytes());
        Some(event)
    }
}

/// Waits until the first of the subscriptions has come, and writes the events of all that have.
pub fn poll_oneoff(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<(), Errno> {
    let poll = Poll::start(wasi, memory, args)?;
    while !poll.step(wasi, memory, None)? {}
    Ok(())
}

/// A `poll_oneoff` that goes on.
pub struct Poll {
    subscriptions: Vec<Subscription>,
    events_at: u64,
    written_at: u64,
}

impl Poll {
    /// Reads what to wait for. Times that are to pass begin here.
    pub fn start(wasi: &mut Wasi, memory: &mut Guest<'_>, args: &[u64]) -> Result<Poll, Errno> {
        let &[subscriptions_at, events_at, count, written_at] = args else { unreachable!("four parameters") };
        memory.slice(events_at, count * EVENT)?;
        memory.slice(written_at, 4)?;
        let bytes = memory.slice(subscriptions_at, count * SUBSCRIPTION)?;
        if count == 0 || count > MAX_SUBSCRIPTIONS {
            return Err(Errno::Inval);
        }
        let subscriptions =
            bytes.chunks_exact(SUBSCRIPTION as usize).map(|bytes| Subscription::read(bytes, &mut wasi.table)).collect();
        // Who waits wants to have been heard.
        wasi.table.flush()?;
        Ok(Poll { subscriptions, events_at, written_at })
    }

    /// Waits for the first of the subscriptions, no longer than `patience` if there is one: whether any has come, and the events of
    /// all that have are written.
    pub fn step(&self, wasi: &mut Wasi, memory: &mut Guest<'_>, patience: Option<Duration>) -> Result<bool, Errno> {
        let ready = wait(&self.subscriptions, &mut wasi.table, patience)?;
        let events = self.subscriptions.iter().zip(ready);
        let events: Vec<_> = events.filter_map(|(s, ready)| s.event(&mut wasi.table, ready)).collect();
        if !events.is_empty() {
            memory.write(self.events_at, events.as_flattened())?;
            memory.write_u32(self.written_at, events.len())?;
        }
        Ok(!events.is_empty())
    }
}

/// Whether reading from this descriptor does not wait, after `patience` at most: only the standard input makes programs wait.
pub fn readable(wasi: &mut Wasi, fd: u64, patience: Duration) -> bool {
    let Ok(Object::Input(_)) = wasi.table.object(fd) else { return true };
    let stdin = io::stdin();
    let mut polled = [PollFd::new(&stdin, PollFlags::IN)];
    let timeout = Timespec { tv_sec: 0, tv_nsec: patience.subsec_nanos() as _ };
    // What goes wrong goes wrong when it is read, too.
    !matches!(poll(&mut polled, Some(&timeout)), Ok(0) | Err(rustix::io::Errno::INTR))
}

/// Waits for a descriptor, at most until the first clock's time, and no longer than `patience`: what the host says of each
/// subscription's.
fn wait(
    subscriptions: &[Subscription],
    table: &mut Table,
    patience: Option<Duration>,
) -> Result<Vec<PollFlags>, Errno> {
    let mut timeout = patience.map(|patience| patience.as_nanos() as u64);
    for subscription in subscriptions {
        let left = match subscription.awaited {
            Awaited::Wrong(_) => 0,
            Awaited::Clock(clock, time) => time.saturating_sub(now(clock)?),
            Awaited::Readable(_) | Awaited::Writable(_) => continue,
        };
        timeout = Some(timeout.map_or(left, |least| least.min(left)));
    }
    let timeout = timeout.map(|nanos| Timespec { tv_sec: (nanos / NANOS) as i64, tv_nsec: (nanos % NANOS) as _ });
    let streams = (io::stdin(), io::stdout(), io::stderr());
    let (mut polled, mut whose) = (Vec::new(), Vec::new());
    for (i, subscription) in subscriptions.iter().enumerate() {
        let (fd, flags) = match subscription.awaited {
            Awaited::Readable(fd) => (fd, PollFlags::IN),
            Awaited::Writable(fd) => (fd, PollFlags::OUT),
            Awaited::Wrong(_) | Awaited::Clock(..) => continue,
        };
        let host: BorrowedFd<'_> = match table.object(fd)? {
            Object::Input(_) => streams.0.as_fd(),
            Object::Output(_) => streams.1.as_fd(),
            Object::Error(_) => streams.2.as_fd(),
            Object::File(file) => file.as_fd(),
            Object::Dir(dir, _) => dir.as_fd(),
        };
        polled.push(PollFd::from_borrowed_fd(host, flags));
        whose.push(i);
    }
    match poll(&mut polled, timeout.as_ref()) {
        // The clocks say how long there is still to wait.
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut ready = vec![PollFlags::empty(); subscriptions.len()];
    whose.into_iter().zip(&polled).for_each(|(i, fd)| ready[i] = fd.revents());
    Ok(ready)
}

/// How many bytes can be read without waiting.
fn available(table: &mut Table, fd: u64) -> Result<u64, Errno> {
    Ok(match &mut table.get(fd)?.object {
        Object::Input(_) => rustix::io::ioctl_fionread(io::stdin()).unwrap_or(0),
        Object::File(file) => match file.stream_position() {
            Ok(position) => file.metadata()?.len().saturating_sub(position),
            Err(_) => rustix::io::ioctl_fionread(&*file).unwrap_or(0),
        },
        Object::Output(_) | Object::Error(_) | Object::Dir(..) => 0,
    })
}
