//! Memories that stores share.

use super::{Error, Extern, Result, Trap};
use crate::runtime::shared::{self, Expected};
use crate::types::MemoryType;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::time::Duration;

pub use crate::runtime::shared::WaitResult;

/// A linear memory that several stores can have at the same time, on as many threads. Cheap to clone: clones are the same memory.
///
/// It belongs to no store, and modules import it as they do memories of a store's. It lives as long as its last clone and the last
/// store that has it. Programs and the host access it at the same time, so its bytes are atomics.
///
/// ```
/// # fn main() -> engine::Result<()> {
/// # let engine = engine::Engine::new(gc_null::COLLECTOR.with(&Default::default()).unwrap())?;
/// use engine::{Linker, Module, SharedMemory, Store, types::MemoryType};
/// use std::sync::atomic::Ordering;
/// let module = Module::new(&engine, r#"
///     (module (import "env" "memory" (memory 1 1 shared))
///       (func (export "count") (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))))"#)?;
/// let memory = SharedMemory::new(MemoryType::new(1, Some(1)).shared())?;
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         scope.spawn(|| -> engine::Result<()> {
///             let mut store = Store::new(&engine, ())?;
///             let mut linker = Linker::new(&engine);
///             linker.define(&store, "env", "memory", memory.clone())?;
///             let instance = linker.instantiate(&mut store, &module)?;
///             instance.get_typed_func::<(), ()>(&mut store, "count")?.call(&mut store, ())
///         });
///     }
/// });
/// assert_eq!(memory.data()[0].load(Ordering::SeqCst), 4);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SharedMemory(pub(crate) Arc<shared::SharedMemory>);

impl SharedMemory {
    /// A memory of zeroes.
    ///
    /// # Errors
    /// When the type is not [`shared`](MemoryType::shared) or has no maximum; when it would be larger than 1 TiB, or there is no
    /// address space or memory for it.
    pub fn new(ty: MemoryType) -> Result<SharedMemory> {
        if !ty.shared || ty.max.is_none_or(|max| max < ty.min) {
            return Err(Error::usage(format!(
                "{ty} is no type of a shared memory: that is `shared` and has a maximum"
            )));
        }
        match shared::SharedMemory::new(ty) {
            Ok(memory) => Ok(SharedMemory(Arc::new(memory))),
            Err(error) => Err(Error::system("making a linear memory", error)),
        }
    }

    /// Its type, with the current size as the minimum.
    pub fn ty(&self) -> MemoryType {
        self.0.ty()
    }

    /// Pages.
    pub fn pages(&self) -> u64 {
        self.0.pages()
    }

    /// Its bytes, as many as there are now; programs may be changing them.
    pub fn data(&self) -> &[AtomicU8] {
        self.0.bytes()
    }

    /// Copies bytes from `offset` on out. What others write meanwhile is copied in part or not at all.
    ///
    /// # Errors
    /// A trap when there are not as many.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<()> {
        self.check(offset, into.len())?;
        self.0.read(offset, into);
        Ok(())
    }

    /// Replaces bytes from `offset` on. What others read meanwhile is new in part or not at all.
    ///
    /// # Errors
    /// A trap when there are not as many.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        self.check(offset, bytes.len())?;
        self.0.write(offset, bytes);
        Ok(())
    }

    /// Adds `delta` pages of zeroes; gives the old number.
    ///
    /// # Errors
    /// When the memory's maximum or the system does not let it.
    pub fn grow(&self, delta: u64) -> Result<u64> {
        self.0.grow(delta).ok_or_else(|| Error::usage(format!("the memory cannot grow by {delta} pages")))
    }

    /// Wakes `count` of the threads that wait at byte `at`, at most; gives how many: `memory.atomic.notify`.
    ///
    /// # Errors
    /// A trap when `at` is outside, or not a multiple of 4.
    pub fn notify(&self, at: usize, count: u32) -> Result<u32> {
        self.check_aligned(at, size_of::<u32>())?;
        Ok(self.0.notify(at, count))
    }

    /// Waits until it is notified, if the four bytes at `at` are `expected`; for ever without a timeout: `memory.atomic.wait32`.
    ///
    /// # Errors
    /// A trap when `at` is outside, or not a multiple of 4.
    pub fn wait32(&self, at: usize, expected: u32, timeout: Option<Duration>) -> Result<WaitResult> {
        self.wait(at, Expected::I32(expected), timeout)
    }

    /// As [`Self::wait32`] for eight bytes, at a multiple of 8: `memory.atomic.wait64`.
    ///
    /// # Errors
    /// A trap when `at` is outside, or not a multiple of 8.
    pub fn wait64(&self, at: usize, expected: u64, timeout: Option<Duration>) -> Result<WaitResult> {
        self.wait(at, Expected::I64(expected), timeout)
    }

    fn wait(&self, at: usize, expected: Expected, timeout: Option<Duration>) -> Result<WaitResult> {
        self.check_aligned(at, expected.bytes())?;
        Ok(self.0.wait(at, expected, timeout))
    }

    fn check(&self, offset: usize, bytes: usize) -> Result<(), Trap> {
        let inside = offset.checked_add(bytes).is_some_and(|end| end <= self.0.len());
        if inside { Ok(()) } else { Err(Trap::MemoryOutOfBounds) }
    }

    fn check_aligned(&self, at: usize, bytes: usize) -> Result<(), Trap> {
        if at.is_multiple_of(bytes) { self.check(at, bytes) } else { Err(Trap::UnalignedAtomic) }
    }
}

impl PartialEq for SharedMemory {
    /// Whether both are the same memory.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for SharedMemory {}

impl Hash for SharedMemory {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedMemory").field(&self.ty().to_string()).finish()
    }
}

impl From<SharedMemory> for Extern {
    fn from(memory: SharedMemory) -> Extern {
        Extern::SharedMemory(memory)
    }
}
