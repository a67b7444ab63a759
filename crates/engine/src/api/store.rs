//! Stores, and the ways to reach one.

use super::{Engine, Extern, Instance, Result, Stats};
use crate::runtime::store::StoreOpaque;
use crate::vm::{VMFuncRef, ValRaw};
use gc_api::{Collection, CollectionKind, GcHeap, Outcome, Reason, Roots};
use std::fmt;

/// Instances, functions and objects, with a heap of their own; and data of the host's, which its functions can reach.
///
/// What a store holds lives as long as the store, objects excepted: these live as long as the collector sees that they can
/// be reached. Handles like [`Func`](super::Func) or [`Rooted`](super::Rooted) do not keep a store alive, and neither do the
/// host's functions that close over them.
pub struct Store<T: 'static>(Box<StoreInner<T>>);

/// A store: the part that compiled code comes back to first, so that a pointer to one is a pointer to the other.
#[repr(C)]
pub(crate) struct StoreInner<T: 'static> {
    pub opaque: StoreOpaque,
    pub data: T,
}

impl<T: 'static> Store<T> {
    /// An empty store.
    ///
    /// # Errors
    /// When there is no address space or memory for a heap.
    pub fn new(engine: &Engine, data: T) -> Result<Store<T>> {
        Ok(Store(Box::new(StoreInner { opaque: StoreOpaque::new(engine)?, data })))
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        self.0.opaque.engine()
    }

    /// The host's data.
    pub fn data(&self) -> &T {
        &self.0.data
    }

    /// The host's data, to be changed.
    pub fn data_mut(&mut self) -> &mut T {
        &mut self.0.data
    }

    /// Ends the store; the host's data remains.
    pub fn into_data(self) -> T {
        self.0.data
    }

    /// Collects now, until it is done.
    ///
    /// ```
    /// # fn main() -> engine::Result<()> {
    /// use engine::{CollectionKind, Engine, ExternRef, Store};
    /// let engine = Engine::new(gc_drc::COLLECTOR.with(&Default::default()).unwrap())?;
    /// let mut store = Store::new(&engine, ())?;
    /// drop(ExternRef::new(&mut store, "a value that nobody needs")?);
    /// store.gc(CollectionKind::Major);
    /// assert_eq!(store.stats().host_values, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn gc(&mut self, kind: CollectionKind) -> Outcome {
        self.as_context_mut().gc(kind)
    }

    /// Collects as `request` says: it may ask for a slice only.
    pub fn collect(&mut self, request: Collection) -> Outcome {
        self.0.opaque.collect(request)
    }

    /// What the collector has done, and where the heap's bytes are.
    pub fn stats(&self) -> Stats {
        self.as_context().stats()
    }

    /// Shows the heap together with all roots, as a collection would see them: for verifiers and snapshots.
    pub fn inspect<R>(&mut self, look: impl FnOnce(&dyn GcHeap, &mut dyn Roots) -> R) -> R {
        self.0.opaque.inspect(look)
    }

    /// The heap, to look at: its objects, its own checks.
    pub fn heap(&self) -> &dyn GcHeap {
        self.0.opaque.heap()
    }
}

impl<T: Default> Store<T> {
    /// An empty store with default data.
    ///
    /// # Errors
    /// As [`Store::new`].
    pub fn with_defaults(engine: &Engine) -> Result<Store<T>> {
        Store::new(engine, T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for Store<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("data", self.data()).finish_non_exhaustive()
    }
}

/// A store for as long as it is borrowed.
pub struct StoreContext<'a, T: 'static>(pub(crate) &'a StoreInner<T>);

/// A store for as long as it is borrowed mutably.
pub struct StoreContextMut<'a, T: 'static>(pub(crate) &'a mut StoreInner<T>);

impl<'a, T: 'static> StoreContext<'a, T> {
    /// The host's data.
    pub fn data(&self) -> &'a T {
        &self.0.data
    }

    /// The engine.
    pub fn engine(&self) -> &'a Engine {
        self.0.opaque.engine()
    }

    /// As [`Store::stats`].
    pub fn stats(&self) -> Stats {
        let store = &self.0.opaque;
        Stats {
            counters: store.heap().counters(),
            usage: store.heap().usage(),
            pauses: store.pauses().clone(),
            handles: store.handles_in_use(),
            host_values: store.hosts().len(),
        }
    }

    pub(crate) fn opaque(&self) -> &'a StoreOpaque {
        &self.0.opaque
    }
}

impl<T: 'static> StoreContextMut<'_, T> {
    /// The host's data.
    pub fn data(&self) -> &T {
        &self.0.data
    }

    /// The host's data, to be changed.
    pub fn data_mut(&mut self) -> &mut T {
        &mut self.0.data
    }

    /// As [`Store::gc`].
    pub fn gc(&mut self, kind: CollectionKind) -> Outcome {
        let request = Collection { reason: Reason::Explicit, kind, budget: None };
        self.0.opaque.collect(request)
    }

    pub(crate) fn opaque(&mut self) -> &mut StoreOpaque {
        &mut self.0.opaque
    }

    /// Calls a function.
    ///
    /// # Errors
    /// What ended the call.
    ///
    /// # Safety
    /// `callee` and `values` are as [`StoreOpaque::call`] wants them.
    pub(crate) unsafe fn enter(&mut self, callee: *const VMFuncRef, values: &mut [ValRaw]) -> Result<()> {
        self.0.opaque.release_handles();
        let vm = self.0.opaque.vm();
        let inner: *mut StoreInner<T> = self.0;
        // SAFETY: the record lives as long as the store. All access to the store during the call goes by the pointer that is put
        // there, which is valid for the whole `StoreInner<T>`; `self` is not used until it is over. The rest is the caller's
        // promise.
        unsafe {
            let outer = std::mem::replace(&mut (*vm).store, inner.cast());
            let result = StoreOpaque::call(inner.cast(), callee, values.as_mut_ptr(), values.len());
            (*vm).store = outer;
            result
        }
    }
}

/// Anything by which a store can be read.
pub trait AsContext {
    /// The host's data in the store.
    type Data: 'static;

    /// The store.
    fn as_context(&self) -> StoreContext<'_, Self::Data>;
}

/// Anything by which a store can be used.
pub trait AsContextMut: AsContext {
    /// The store.
    fn as_context_mut(&mut self) -> StoreContextMut<'_, Self::Data>;
}

impl<T: 'static> AsContext for Store<T> {
    type Data = T;

    fn as_context(&self) -> StoreContext<'_, T> {
        StoreContext(&self.0)
    }
}

impl<T: 'static> AsContextMut for Store<T> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        StoreContextMut(&mut self.0)
    }
}

impl<T: 'static> AsContext for StoreContext<'_, T> {
    type Data = T;

    fn as_context(&self) -> StoreContext<'_, T> {
        StoreContext(self.0)
    }
}

impl<T: 'static> AsContext for StoreContextMut<'_, T> {
    type Data = T;

    fn as_context(&self) -> StoreContext<'_, T> {
        StoreContext(self.0)
    }
}

impl<T: 'static> AsContextMut for StoreContextMut<'_, T> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        StoreContextMut(self.0)
    }
}

impl<C: AsContext> AsContext for &C {
    type Data = C::Data;

    fn as_context(&self) -> StoreContext<'_, C::Data> {
        C::as_context(self)
    }
}

impl<C: AsContext> AsContext for &mut C {
    type Data = C::Data;

    fn as_context(&self) -> StoreContext<'_, C::Data> {
        C::as_context(self)
    }
}

impl<C: AsContextMut> AsContextMut for &mut C {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, C::Data> {
        C::as_context_mut(self)
    }
}

/// What a function of the host's gets: the store, and the instance that called.
pub struct Caller<'a, T: 'static> {
    store: StoreContextMut<'a, T>,
    instance: u32,
}

impl<'a, T: 'static> Caller<'a, T> {
    pub(crate) fn new(store: &'a mut StoreInner<T>, instance: u32) -> Self {
        Caller { store: StoreContextMut(store), instance }
    }

    /// The host's data.
    pub fn data(&self) -> &T {
        &self.store.0.data
    }

    /// The host's data, to be changed.
    pub fn data_mut(&mut self) -> &mut T {
        &mut self.store.0.data
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        self.store.0.opaque.engine()
    }

    /// As [`Store::gc`].
    pub fn gc(&mut self, kind: CollectionKind) -> Outcome {
        self.store.gc(kind)
    }

    /// The instance whose code called; `None` when the host did.
    pub fn instance(&self) -> Option<Instance> {
        let id = self.store.0.opaque.id();
        (self.instance != u32::MAX).then(|| Instance::from_id(id, self.instance))
    }

    /// Shows the heap together with all roots: see [`Store::inspect`].
    pub fn inspect<R>(&mut self, look: impl FnOnce(&dyn GcHeap, &mut dyn Roots) -> R) -> R {
        self.opaque().inspect(look)
    }

    /// An export of the calling instance.
    pub fn get_export(&mut self, name: &str) -> Option<Extern> {
        self.instance()?.get_export(&mut self.store, name)
    }

    pub(crate) fn opaque(&mut self) -> &mut StoreOpaque {
        &mut self.store.0.opaque
    }

    pub(crate) fn inner(&mut self) -> &mut StoreInner<T> {
        self.store.0
    }

    pub(crate) fn instance_index(&self) -> u32 {
        self.instance
    }
}

impl<T: 'static> AsContext for Caller<'_, T> {
    type Data = T;

    fn as_context(&self) -> StoreContext<'_, T> {
        self.store.as_context()
    }
}

impl<T: 'static> AsContextMut for Caller<'_, T> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        self.store.as_context_mut()
    }
}
