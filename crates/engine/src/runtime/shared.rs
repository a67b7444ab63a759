//! Memories that several stores on several threads share.
//!
//! Such a memory stands outside all stores, with the record that compiled code reads: the base never changes, the length is
//! atomic and only grows. Compiled code and the host access the bytes at the same time; the host's accesses are atomic, too,
//! and relaxed, so that whoever races gets some bytes and no undefined behaviour.
//!
//! Threads wait for changes in queues by address. A queue's lock is held while a thread compares the value and enters, and while
//! another takes it out, so that no notification that follows a change is lost.

use super::memory::{MemoryError, Space};
use crate::types::MemoryType;
use crate::vm::VMMemory;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::ops::Range;
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// A memory that several stores share.
pub struct SharedMemory {
    vm: VMMemory,
    space: Space,
    /// Held while the memory grows.
    growth: Mutex<()>,
    waiters: Mutex<FxHashMap<usize, VecDeque<Arc<Waiter>>>>,
}

// SAFETY: the address in the record is of the memory's own reservation. The length is atomic, and so are all accesses to the bytes.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

/// A thread that waits.
struct Waiter {
    thread: Thread,
    notified: AtomicBool,
}

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitResult {
    /// Another thread notified this one.
    Woken,
    /// The value was not the expected one.
    Mismatch,
    /// Nobody notified this thread in time.
    TimedOut,
}

/// A value that a thread can wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// 32 bits.
    I32(u32),
    /// 64 bits.
    I64(u64),
}

impl Expected {
    /// Its size in bytes, of which its address is a multiple.
    pub fn bytes(self) -> usize {
        match self {
            Expected::I32(_) => 4,
            Expected::I64(_) => 8,
        }
    }
}

impl SharedMemory {
    /// A memory of zeroes.
    ///
    /// # Errors
    /// When it would be too large, or the system has no room for it.
    pub fn new(ty: MemoryType) -> Result<SharedMemory, MemoryError> {
        let space = Space::new(ty, None)?;
        let vm = VMMemory { base: space.base(), length: AtomicU64::new(ty.bytes(ty.min)) };
        Ok(SharedMemory { vm, space, growth: Mutex::default(), waiters: Mutex::default() })
    }

    /// The type, with the current size as the minimum.
    pub fn ty(&self) -> MemoryType {
        MemoryType { min: self.pages(), ..self.space.ty() }
    }

    /// The record for compiled code, which only reads it.
    pub fn vm(&self) -> NonNull<VMMemory> {
        NonNull::from(&self.vm)
    }

    /// Byte 0.
    pub fn base(&self) -> *mut u8 {
        self.vm.base
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.vm.length.load(Ordering::SeqCst) as usize
    }

    /// Pages.
    pub fn pages(&self) -> u64 {
        self.len() as u64 >> self.space.ty().page_size_log2
    }

    /// Adds `delta` pages of zeroes; the old number, or `None` when the maximum, the reservation or the system does not let it.
    pub fn grow(&self, delta: u64) -> Option<u64> {
        let _growth = lock(&self.growth);
        let old = self.pages();
        let new = self.space.grow(old, delta).ok()?;
        self.vm.length.store(self.space.ty().bytes(new), Ordering::SeqCst);
        Some(old)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[AtomicU8] {
        // SAFETY: the first `len` bytes are readable and writable for as long as the memory exists, and nothing accesses them in
        // Rust but as atomics.
        unsafe { slice::from_raw_parts(self.base().cast(), self.len()) }
    }

    /// Copies bytes from `from` on out.
    ///
    /// # Panics
    /// When the memory ends before.
    pub fn read(&self, from: usize, into: &mut [u8]) {
        let source = &self.bytes()[from..][..into.len()];
        // SAFETY: both are as long as `into`; nobody else uses that.
        unsafe { copy(into.as_mut_ptr(), source.as_ptr().cast_mut().cast(), into.len()) }
    }

    /// Copies `bytes` to `to` on.
    ///
    /// # Panics
    /// When the memory ends before.
    pub fn write(&self, to: usize, bytes: &[u8]) {
        let target = &self.bytes()[to..][..bytes.len()];
        // SAFETY: both are as long as `bytes`, which nobody writes.
        unsafe { copy(target.as_ptr().cast_mut().cast(), bytes.as_ptr().cast_mut(), bytes.len()) }
    }

    /// Sets all bytes in `range` to `value`.
    ///
    /// # Panics
    /// When the memory ends before.
    pub fn fill(&self, range: Range<usize>, value: u8) {
        const WORD: usize = size_of::<AtomicU64>();
        let bytes = |part: &[AtomicU8]| part.iter().for_each(|byte| byte.store(value, Ordering::Relaxed));
        let target = &self.bytes()[range];
        let head = target.as_ptr().align_offset(WORD).min(target.len());
        let (head, rest) = target.split_at(head);
        let (words, tail) = rest.as_chunks::<WORD>();
        bytes(head);
        for word in words {
            // SAFETY: eight bytes of the memory, aligned as `head` ends; nothing accesses them in Rust but as atomics.
            unsafe { (*word.as_ptr().cast::<AtomicU64>()).store(u64::from_ne_bytes([value; WORD]), Ordering::Relaxed) };
        }
        bytes(tail);
    }

    /// Waits at byte `at`, while the value there is the expected one, until another thread notifies this one; for ever without a
    /// timeout.
    ///
    /// # Panics
    /// When the value is not inside the memory, or not aligned.
    pub fn wait(&self, at: usize, expected: Expected, timeout: Option<Duration>) -> WaitResult {
        let result = self.wait_unless::<Infallible>(at, expected, timeout, Duration::MAX, &mut || Ok(()));
        result.unwrap_or_else(|never| match never {})
    }

    /// As [`Self::wait`], but looks every `patience` whether to go on: the thread keeps its place in the queue meanwhile.
    ///
    /// # Errors
    /// What `look` gives for a reason to wait no longer.
    ///
    /// # Panics
    /// As [`Self::wait`], and when `look` does.
    pub fn wait_unless<E>(
        &self,
        at: usize,
        expected: Expected,
        timeout: Option<Duration>,
        patience: Duration,
        look: &mut dyn FnMut() -> Result<(), E>,
    ) -> Result<WaitResult, E> {
        let place = &self.bytes()[at..][..expected.bytes()];
        assert!(at.is_multiple_of(expected.bytes()), "an atomic access is aligned");
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let waiter = {
            let mut waiters = lock(&self.waiters);
            // SAFETY: inside the memory and aligned, as just checked; the base is aligned to a page.
            let same = unsafe {
                match expected {
                    Expected::I32(value) => (*place.as_ptr().cast::<AtomicU32>()).load(Ordering::SeqCst) == value,
                    Expected::I64(value) => (*place.as_ptr().cast::<AtomicU64>()).load(Ordering::SeqCst) == value,
                }
            };
            if !same {
                return Ok(WaitResult::Mismatch);
            }
            let waiter = Arc::new(Waiter { thread: thread::current(), notified: AtomicBool::new(false) });
            waiters.entry(at).or_default().push_back(waiter.clone());
            waiter
        };
        let place = Place { memory: self, at, waiter: &waiter };
        // Threads wake up without a reason, too.
        while !waiter.notified.load(Ordering::SeqCst) {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(place.give_up());
            }
            thread::park_timeout(left.map_or(patience, |left| left.min(patience)));
            look()?;
        }
        Ok(WaitResult::Woken)
    }

    /// Takes a waiter out whose time is over, unless it has been taken out meanwhile.
    fn give_up(&self, at: usize, waiter: &Arc<Waiter>) -> WaitResult {
        let mut waiters = lock(&self.waiters);
        if waiter.notified.load(Ordering::SeqCst) {
            return WaitResult::Woken;
        }
        if let Some(queue) = waiters.get_mut(&at) {
            queue.retain(|other| !Arc::ptr_eq(other, waiter));
            if queue.is_empty() {
                waiters.remove(&at);
            }
        }
        WaitResult::TimedOut
    }

    /// Wakes `count` of the threads that wait at byte `at`, at most, in the order in which they came; how many.
    pub fn notify(&self, at: usize, count: u32) -> u32 {
        let mut waiters = lock(&self.waiters);
        let Some(queue) = waiters.get_mut(&at) else { return 0 };
        let count = queue.len().min(count as usize);
        for waiter in queue.drain(..count) {
            waiter.notified.store(true, Ordering::SeqCst);
            waiter.thread.unpark();
        }
        if queue.is_empty() {
            waiters.remove(&at);
        }
        count as u32
    }
}

/// A waiter's place in a queue, which it leaves in whatever way its wait ends.
struct Place<'a> {
    memory: &'a SharedMemory,
    at: usize,
    waiter: &'a Arc<Waiter>,
}

impl Place<'_> {
    fn give_up(&self) -> WaitResult {
        self.memory.give_up(self.at, self.waiter)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// Nothing panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Copies bytes that others may access at the same time, as if all were read first: whole words where both sides are aligned.
///
/// # Safety
/// Both are valid for `bytes` bytes, and whatever is accessed by others is accessed as atomics, or by compiled code.
pub unsafe fn copy(to: *mut u8, from: *mut u8, bytes: usize) {
    const WORD: usize = size_of::<u64>();
    // SAFETY: `at` is inside; a word is aligned on both sides.
    let byte = |at: usize| unsafe {
        let value = AtomicU8::from_ptr(from.add(at)).load(Ordering::Relaxed);
        AtomicU8::from_ptr(to.add(at)).store(value, Ordering::Relaxed);
    };
    // SAFETY: as above.
    let word = |at: usize| unsafe {
        let value = AtomicU64::from_ptr(from.add(at).cast()).load(Ordering::Relaxed);
        AtomicU64::from_ptr(to.add(at).cast()).store(value, Ordering::Relaxed);
    };
    // Bytes before the first word and where the last one ends; no words if the sides are not aligned alike.
    let head = (to as usize).wrapping_neg() % WORD;
    let (head, tail) = match (to as usize).abs_diff(from as usize).is_multiple_of(WORD) && bytes >= head {
        true => (head, bytes - (bytes - head) % WORD),
        false => (bytes, bytes),
    };
    if (to as usize).wrapping_sub(from as usize) >= bytes {
        (0..head).for_each(byte);
        (head..tail).step_by(WORD).for_each(word);
        (tail..bytes).for_each(byte);
    } else {
        (tail..bytes).rev().for_each(byte);
        (head..tail).step_by(WORD).rev().for_each(word);
        (0..head).rev().for_each(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_those_of_memmove() {
        let pattern: Vec<u8> = (0..80).collect();
        for (to, from) in (0..40).flat_map(|to| (0..40).map(move |from| (to, from))) {
            for bytes in [0, 1, 7, 8, 9, 23, 40] {
                let (mut expected, mut actual) = (pattern.clone(), pattern.clone());
                expected.copy_within(from..from + bytes, to);
                let base = actual.as_mut_ptr();
                // SAFETY: both ranges end before byte 80, and only this thread knows them.
                unsafe { copy(base.add(to), base.add(from), bytes) };
                assert_eq!(actual, expected, "{bytes} bytes from {from} to {to}");
            }
        }
    }

    #[test]
    fn fills_end_where_they_should() {
        let memory = SharedMemory::new(MemoryType::new(1, Some(1)).shared()).unwrap();
        for (start, bytes) in (0..20).flat_map(|start| (0..30).map(move |bytes| (start, bytes))) {
            memory.fill(0..64, 0xAA);
            memory.fill(start..start + bytes, 0x55);
            let mut actual = [0; 64];
            memory.read(0, &mut actual);
            let expected = std::array::from_fn(|at| if (start..start + bytes).contains(&at) { 0x55 } else { 0xAA });
            assert_eq!(actual, expected, "{bytes} bytes from {start}");
        }
    }

    #[test]
    fn those_who_wait_longest_are_woken_first_and_the_others_stay() {
        let memory = SharedMemory::new(MemoryType::new(1, Some(1)).shared()).unwrap();
        let waiting = |at: usize| lock(&memory.waiters).get(&at).map_or(0, VecDeque::len);
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for i in 0..3 {
                threads.push(scope.spawn(|| memory.wait(8, Expected::I32(0), None)));
                while waiting(8) <= i {
                    thread::yield_now();
                }
            }
            assert_eq!((memory.notify(16, 5), memory.notify(8, 0), memory.notify(8, 2)), (0, 0, 2));
            let last = threads.pop().unwrap();
            threads.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), WaitResult::Woken));
            assert!(!last.is_finished() && waiting(8) == 1);
            assert_eq!(memory.notify(8, u32::MAX), 1);
            assert_eq!(last.join().unwrap(), WaitResult::Woken);
        });
        assert!(lock(&memory.waiters).is_empty());
    }

    #[test]
    fn waits_end_in_time_and_leave_nothing_behind() {
        let memory = SharedMemory::new(MemoryType::new(1, Some(1)).shared()).unwrap();
        memory.write(8, &[1]);
        let start = Instant::now();
        let timeout = Duration::from_millis(20);
        assert_eq!(memory.wait(8, Expected::I64(1), Some(timeout)), WaitResult::TimedOut);
        assert!(start.elapsed() >= timeout);
        assert_eq!(memory.wait(8, Expected::I64(0), None), WaitResult::Mismatch);
        assert_eq!(memory.wait(8, Expected::I32(1), Some(Duration::ZERO)), WaitResult::TimedOut);
        assert_eq!(memory.notify(8, 1), 0);
        assert!(lock(&memory.waiters).is_empty());
    }
}
