//! References that the host holds: slots that the collector visits, and the owners that give them up when dropped.
//!
//! A slot owns one reference. Its owner, a [`SlotGuard`], may be dropped where the store cannot be reached (on another thread,
//! in a host value's destructor); so a drop only notes the slot, and the store gives the reference up at its next operation.

use gc_api::RefCell32;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A store's slots.
#[derive(Default)]
pub struct HandleTable {
    slots: Vec<RefCell32>,
    free: Vec<u32>,
    released: Arc<ReleaseQueue>,
}

/// Slots whose owners are gone.
#[derive(Default)]
pub struct ReleaseQueue {
    /// Whether there may be any: looked at without the lock.
    some: AtomicBool,
    slots: Mutex<Vec<u32>>,
}

impl ReleaseQueue {
    fn lock(&self) -> MutexGuard<'_, Vec<u32>> {
        // A vector of numbers is whole whatever panicked while it was locked.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The owner of a slot.
pub struct SlotGuard {
    store: u64,
    index: u32,
    released: Arc<ReleaseQueue>,
}

impl SlotGuard {
    /// The store that the slot is in.
    pub fn store(&self) -> u64 {
        self.store
    }

    /// The slot's index.
    pub fn index(&self) -> u32 {
        self.index
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        self.released.lock().push(self.index);
        self.released.some.store(true, Ordering::Release);
    }
}

impl fmt::Debug for SlotGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "handle {} of store {}", self.index, self.store)
    }
}

impl HandleTable {
    /// A slot that holds null, and that [`Self::release`] gives up.
    pub fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(RefCell32::null());
            (self.slots.len() - 1) as u32
        })
    }

    /// Makes the slot `index` free. It must hold null.
    pub fn release(&mut self, index: u32) {
        debug_assert_eq!(self.slots[index as usize].raw(), 0);
        self.free.push(index);
    }

    /// An owner for the slot `index` of this table, which belongs to `store`.
    pub fn guard(&self, store: u64, index: u32) -> SlotGuard {
        SlotGuard { store, index, released: self.released.clone() }
    }

    /// The slot `index`.
    #[inline]
    pub fn slot(&self, index: u32) -> &RefCell32 {
        &self.slots[index as usize]
    }

    /// All slots; free ones hold null.
    pub fn slots(&self) -> &[RefCell32] {
        &self.slots
    }

    /// Slots that hold something.
    pub fn in_use(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The slots whose owners have been dropped since the last call.
    #[inline]
    pub fn take_released(&self) -> Vec<u32> {
        if !self.released.some.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut slots = self.released.lock();
        self.released.some.store(false, Ordering::Relaxed);
        std::mem::take(&mut *slots)
    }
}
