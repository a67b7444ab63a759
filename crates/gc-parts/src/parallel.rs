//! Tracing by several threads.
//!
//! Each thread scans the grey objects that it has; when it has many it leaves half of them to the others, and when it has none it
//! takes what others left. The trace ends when all threads wait. Marks are claimed atomically, so that each object is scanned by one
//! thread; slots are only read. Everything that is shared is an atomic or behind a lock: there is nothing to race for.
//!
//! T. Endo, K. Taura and A. Yonezawa, *A scalable mark-sweep garbage collector on large-scale shared-memory machines*, SC 1997.

use crate::mark::Marks;
use crate::object::{at, index_of};
use gc_api::{HeapMemory, Shapes};
use std::sync::{Condvar, Mutex};

/// A thread with more grey objects than this leaves half of them to others, if these have nothing.
const MANY: usize = 256;

/// What threads leave to each other.
#[derive(Default)]
struct Shared {
    grey: Vec<Vec<u32>>,
    waiting: usize,
}

/// Scans `grey` objects, which are marked, and all that they lead to, on `threads` threads. Nothing moves. `scanned` is told each
/// object, once, and its bytes, by any thread. Gives the number of objects and their bytes.
pub fn trace(
    memory: &HeapMemory,
    shapes: &Shapes,
    marks: &Marks,
    grey: Vec<u32>,
    threads: usize,
    scanned: impl Fn(u32, u64) + Sync,
) -> (u64, u64) {
    let shared = Mutex::new(Shared { grey: vec![grey], waiting: 0 });
    let wake = Condvar::new();
    let work = || {
        let (mut local, mut objects, mut live) = (Vec::new(), 0, 0);
        while let Some(more) = take(&shared, &wake, threads) {
            local.extend(more);
            while let Some(object) = local.pop() {
                let bytes = shapes.scan(memory, &at(object), |offset| {
                    if let Some(child) = index_of(memory.load_u32(object, offset))
                        && marks.mark_shared(child)
                    {
                        local.push(child);
                    }
                });
                scanned(object, bytes);
                (objects, live) = (objects + 1, live + bytes);
                if local.len() > MANY {
                    leave(&shared, &wake, &mut local);
                }
            }
        }
        (objects, live)
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mine = work();
        others.into_iter().fold(mine, |sum, other| {
            let (objects, live) = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (sum.0 + objects, sum.1 + live)
        })
    })
}

/// Waits for grey objects that somebody leaves. `None` when all threads wait: nothing is grey.
fn take(shared: &Mutex<Shared>, wake: &Condvar, threads: usize) -> Option<Vec<u32>> {
    let mut shared = shared.lock().ok()?;
    shared.waiting += 1;
    loop {
        if let Some(grey) = shared.grey.pop() {
            shared.waiting -= 1;
            return Some(grey);
        }
        if shared.waiting == threads {
            wake.notify_all();
            return None;
        }
        shared = wake.wait(shared).ok()?;
    }
}

/// Leaves half of the grey objects to a thread that waits, if one does.
fn leave(shared: &Mutex<Shared>, wake: &Condvar, local: &mut Vec<u32>) {
    if let Ok(mut shared) = shared.try_lock()
        && shared.waiting > shared.grey.len()
    {
        // The oldest lead to the most.
        let rest = local.split_off(local.len() / 2);
        shared.grey.push(std::mem::replace(local, rest));
        wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mark::tests::tree;
    use gc_api::FIRST_INDEX;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    #[test]
    fn each_object_is_scanned_by_one_thread() {
        for threads in [1, 2, 5] {
            let (memory, shapes) = tree(20_000);
            let marks = Marks::new(&memory).unwrap();
            marks.mark(FIRST_INDEX);
            let seen: Vec<AtomicU32> = (0..20_000).map(|_| AtomicU32::new(0)).collect();
            let count = |object: u32, _| {
                seen[((object - FIRST_INDEX) / 16) as usize].fetch_add(1, Relaxed);
            };
            let sums = trace(&memory, &shapes, &marks, vec![FIRST_INDEX], threads, count);
            assert_eq!(sums, (20_000, 320_000), "{threads} threads");
            assert!(seen.iter().all(|count| count.load(Relaxed) == 1));
        }
    }
}
