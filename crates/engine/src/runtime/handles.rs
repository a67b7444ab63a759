//! References that the host holds: slots that the collector visits, and the owners that give them up when dropped.
//!
//! A slot owns one reference. Its owner, a [`SlotGuard`], may be dropped where the store cannot be reached (on another thread,
//! in a host value's destructor); so a drop only notes the slot, and the store gives the reference up at its next operation.
//!
//! In a scope slots have no owners: the scope's end releases them, newest first. A [`ScopedRoot`] knows how often its slot had been
//! released when it was made, and is of no use once that has changed.

use gc_api::RefCell32;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A store's slots.
#[derive(Default)]
pub struct HandleTable {
    slots: Vec<RefCell32>,
    /// How often each slot has been released.
    generations: Vec<u64>,
    free: Vec<u32>,
    /// The slots of the open scopes, oldest first.
    scoped: Vec<u32>,
    /// Whether new roots are the innermost scope's.
    in_scope: bool,
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

impl Drop for SlotGuard {
    fn drop(&mut self) {
        self.released.lock().push(self.index);
        self.released.some.store(true, Ordering::Release);
    }
}

/// A slot that a scope releases.
#[derive(Clone, Copy)]
pub struct ScopedRoot {
    store: u64,
    index: u32,
    generation: u64,
}

/// What the host holds a reference by.
#[derive(Clone)]
pub enum Root {
    /// A share of a slot's owner.
    Owned(Arc<SlotGuard>),
    /// A slot, until its scope ends.
    Scoped(ScopedRoot),
}

impl Root {
    /// The store that the slot is in.
    pub fn store(&self) -> u64 {
        match self {
            Root::Owned(guard) => guard.store,
            Root::Scoped(root) => root.store,
        }
    }

    /// The slot's index.
    pub fn index(&self) -> u32 {
        match self {
            Root::Owned(guard) => guard.index,
            Root::Scoped(root) => root.index,
        }
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "handle {} of store {}", self.index(), self.store())
    }
}

/// What was there when a scope was opened.
#[derive(Clone, Copy, Debug)]
pub struct ScopeMark {
    roots: usize,
    in_scope: bool,
}

impl HandleTable {
    /// A slot that holds null, and that [`Self::release`] gives up.
    pub fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(RefCell32::null());
            self.generations.push(0);
            (self.slots.len() - 1) as u32
        })
    }

    /// Makes the slot `index` free. It must hold null.
    pub fn release(&mut self, index: u32) {
        debug_assert_eq!(self.slots[index as usize].raw(), 0);
        self.generations[index as usize] += 1;
        self.free.push(index);
    }

    /// An owner for the slot `index` of this table, which belongs to `store`.
    pub fn own(&self, store: u64, index: u32) -> Root {
        Root::Owned(Arc::new(SlotGuard { store, index, released: self.released.clone() }))
    }

    /// An owner for the slot `index` of this table, which belongs to `store`: the scope, if one is open.
    pub fn root(&mut self, store: u64, index: u32) -> Root {
        if !self.in_scope {
            return self.own(store, index);
        }
        self.scoped.push(index);
        Root::Scoped(ScopedRoot { store, index, generation: self.generations[index as usize] })
    }

    /// Whether a root of this table's is of use still.
    pub fn is_live(&self, root: &Root) -> bool {
        match root {
            Root::Owned(_) => true,
            Root::Scoped(root) => self.generations[root.index as usize] == root.generation,
        }
    }

    /// Opens a scope.
    pub fn open_scope(&mut self) -> ScopeMark {
        ScopeMark { roots: self.scoped.len(), in_scope: std::mem::replace(&mut self.in_scope, true) }
    }

    /// A slot that is to be released before a scope ends; `None` when it has ended.
    pub fn leave_scope(&mut self, mark: ScopeMark) -> Option<u32> {
        if self.scoped.len() > mark.roots {
            return self.scoped.pop();
        }
        self.in_scope = mark.in_scope;
        None
    }

    /// Makes new roots owned ones (`false`) or the innermost scope's; gives what they were.
    pub fn set_in_scope(&mut self, in_scope: bool) -> bool {
        std::mem::replace(&mut self.in_scope, in_scope)
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
