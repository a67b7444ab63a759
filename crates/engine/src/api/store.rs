//! Stores, and the ways to reach one.

use super::events::{EventLog, EventRing};
use super::limits::ResourceLimiter;
use super::{Engine, Error, Event, Events, Extern, Instance, Result, Stats};
use crate::runtime::builtins::check_deadline;
use crate::runtime::store::StoreOpaque;
use crate::vm::{VMFuncRef, ValRaw};
use gc_api::{Collection, CollectionKind, GcHeap, Outcome, Reason, Roots};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

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
    pub data: HostData<T>,
}

/// The host's data, in an allocation of its own: a limiter, which the store calls, comes to it without the store.
pub(crate) struct HostData<T>(NonNull<T>);

// SAFETY: it owns a `T`.
unsafe impl<T: Send> Send for HostData<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for HostData<T> {}

impl<T> HostData<T> {
    fn new(data: T) -> Self {
        HostData(NonNull::from(Box::leak(Box::new(data))))
    }

    fn into_inner(self) -> T {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: made by `Box::leak` in `new`, freed once: `this` is not dropped.
        *unsafe { Box::from_raw(this.0.as_ptr()) }
    }
}

impl<T> Deref for HostData<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: valid until `self` is dropped. Other references are made only by a limiter, whose caller holds the store and with
        // it `self` mutably.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for HostData<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { self.0.as_mut() }
    }
}

impl<T> Drop for HostData<T> {
    fn drop(&mut self) {
        // SAFETY: made by `Box::leak` in `new`, freed once.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl<T: 'static> Store<T> {
    /// An empty store.
    ///
    /// # Errors
    /// When there is no address space or memory for a heap.
    pub fn new(engine: &Engine, data: T) -> Result<Store<T>> {
        Ok(Store(Box::new(StoreInner { opaque: StoreOpaque::new(engine)?, data: HostData::new(data) })))
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
        let StoreInner { opaque, data } = *self.0;
        drop(opaque);
        data.into_inner()
    }

    pub(crate) fn set_limiter(
        &mut self,
        mut limiter: impl (FnMut(&mut T) -> &mut dyn ResourceLimiter) + Send + Sync + 'static,
    ) {
        struct Data<T>(NonNull<T>);
        // SAFETY: the closure below is called by whoever holds the store, which has the data and may not be sent, or shared, unless
        // these may be.
        unsafe impl<T> Send for Data<T> {}
        // SAFETY: as above.
        unsafe impl<T> Sync for Data<T> {}
        let data = Data(self.0.data.0);
        self.0.opaque.limiter = Some(Box::new(move |ask| {
            let Data(data) = &data;
            // SAFETY: the store, whose part the limiter is, owns the data and is held mutably by whoever calls; nobody else refers
            // to the data meanwhile.
            ask(limiter(unsafe { &mut *data.as_ptr() }));
        }));
    }

    /// Lets programs run until the engine's epoch, which [`Engine::increment_epoch`] advances, is `ticks` later than now. What
    /// happens then [`Store::epoch_deadline_trap`] and [`Store::epoch_deadline_callback`] say. A new store's deadline has
    /// passed. A thread that waits in `memory.atomic.wait` notices the deadline within some ten milliseconds.
    ///
    /// ```
    /// # fn main() -> engine::Result<()> {
    /// use engine::{Config, Engine, Instance, Module, Store, Trap};
    /// let config = Config::new(gc_null::COLLECTOR.with(&Default::default()).unwrap()).epoch_interruption(true);
    /// let engine = Engine::with_config(config)?;
    /// let module = Module::new(&engine, r#"(module (func (export "forever") (loop (br 0))))"#)?;
    /// let mut store = Store::new(&engine, ())?;
    /// store.set_epoch_deadline(1);
    /// let instance = Instance::new(&mut store, &module, &[])?;
    /// let ticker = engine.clone();
    /// let ticker = std::thread::spawn(move || ticker.increment_epoch());
    /// let error = instance.get_func(&mut store, "forever")?.call(&mut store, &[]).unwrap_err();
    /// assert_eq!(error.trap(), Some(Trap::Interrupt));
    /// # ticker.join().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// Without [`Config::epoch_interruption`](super::Config).
    pub fn set_epoch_deadline(&mut self, ticks: u64) {
        self.as_context_mut().set_epoch_deadline(ticks);
    }

    /// Has programs trap at their deadline. So it is from the start.
    pub fn epoch_deadline_trap(&mut self) {
        self.0.opaque.epoch_callback = None;
    }

    /// Has `callback` decide at the deadline: to go on for a number of ticks, or to end the program with an error.
    pub fn epoch_deadline_callback(
        &mut self,
        mut callback: impl FnMut(StoreContextMut<'_, T>) -> Result<UpdateDeadline> + Send + Sync + 'static,
    ) {
        self.0.opaque.epoch_callback = Some(Box::new(move |store| {
            // SAFETY: the store that calls is this one, whose pointer is to all of its `StoreInner<T>`; nothing else uses it during the
            // call.
            let UpdateDeadline::Continue(ticks) = callback(StoreContextMut(unsafe { &mut *store.cast() }))?;
            Ok(ticks)
        }));
    }

    /// Gives programs `fuel` to consume, in place of what is left. Every instruction consumes one unit, but those that only
    /// structure code (`block`, `loop`, `try_table`, `else`, `end`, `nop`, `drop`) none. When there is none left programs trap,
    /// at the next call or iteration of a loop. A new store has none.
    ///
    /// What a program consumes depends on nothing but the program and its input: not on the collector, nor on how it was compiled.
    ///
    /// ```
    /// # fn main() -> engine::Result<()> {
    /// use engine::{Config, Engine, Instance, Module, Store, Trap};
    /// let config = Config::new(gc_null::COLLECTOR.with(&Default::default()).unwrap()).consume_fuel(true);
    /// let engine = Engine::with_config(config)?;
    /// let module = Module::new(&engine, r#"(module
    ///     (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    ///     (func (export "forever") (loop (br 0))))"#)?;
    /// let mut store = Store::new(&engine, ())?;
    /// store.set_fuel(1000)?;
    /// let instance = Instance::new(&mut store, &module, &[])?;
    /// instance.get_typed_func::<(i32, i32), i32>(&mut store, "add")?.call(&mut store, (1, 2))?;
    /// assert_eq!(store.get_fuel()?, 997);
    /// let error = instance.get_func(&mut store, "forever")?.call(&mut store, &[]).unwrap_err();
    /// assert_eq!((error.trap(), store.get_fuel()?), (Some(Trap::OutOfFuel), 0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Without [`Config::consume_fuel`](super::Config).
    pub fn set_fuel(&mut self, fuel: u64) -> Result<()> {
        self.as_context_mut().set_fuel(fuel)
    }

    /// What is left of the fuel.
    ///
    /// # Errors
    /// Without [`Config::consume_fuel`](super::Config).
    pub fn get_fuel(&self) -> Result<u64> {
        self.as_context().get_fuel()
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

    /// From now on, remembers the last `capacity` events: collections with their phases and their work, and growth of the heap. Memory
    /// for all of them is allocated now. Forgets those that were remembered before.
    ///
    /// ```
    /// # use engine::{CollectionKind, Engine, Event, Store};
    /// # fn main() -> engine::Result<()> {
    /// let mut store = Store::new(&Engine::new(gc_drc::COLLECTOR.with(&Default::default()).unwrap())?, ())?;
    /// store.record_events(1000);
    /// store.gc(CollectionKind::Major);
    /// let events = store.take_events();
    /// let Event::Collected(collection) = &events.events[0] else { panic!("the heap has grown") };
    /// assert_eq!(collection.sequence, 0);
    /// assert!(collection.phases.iter(collection.pause).count() > 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn record_events(&mut self, capacity: usize) {
        let log = EventLog { ring: EventRing::new(capacity), listener: None, collections: 0 };
        self.0.opaque.events = Some(Box::new(log));
    }

    /// Calls `listener` with each event from now on, when the program is about to go on. Needs [`Self::record_events`] first; without it
    /// there are no events.
    pub fn on_event(&mut self, listener: impl FnMut(&Event) + Send + 'static) {
        if let Some(log) = &mut self.0.opaque.events {
            log.listener = Some(Box::new(listener));
        }
    }

    /// Takes out the events that are remembered, oldest first.
    pub fn take_events(&mut self) -> Events {
        let store = &mut self.0.opaque;
        let own_names = store.heap().counters().own.iter().map(|(name, _)| *name).collect();
        let (events, dropped) = store.events.as_mut().map(|log| log.ring.take()).unwrap_or_default();
        Events { events, dropped, own_names }
    }

    /// What the collector has done, and where the heap's bytes are.
    pub fn stats(&self) -> Stats {
        self.as_context().stats()
    }

    /// Shows the heap together with all roots, as a collection would see them: for verifiers and snapshots.
    pub fn inspect<R>(&mut self, look: impl FnOnce(&dyn GcHeap, &mut dyn Roots) -> R) -> R {
        self.0.opaque.inspect(look)
    }

    pub(crate) fn opaque_mut(&mut self) -> &mut StoreOpaque {
        &mut self.0.opaque
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

    /// As [`Store::get_fuel`].
    ///
    /// # Errors
    /// As [`Store::get_fuel`].
    pub fn get_fuel(&self) -> Result<u64> {
        if !self.engine().config().consume_fuel {
            return Err(no_fuel());
        }
        Ok(self.0.opaque.fuel())
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

    /// As [`Store::set_fuel`].
    ///
    /// # Errors
    /// As [`Store::set_fuel`].
    pub fn set_fuel(&mut self, fuel: u64) -> Result<()> {
        if !self.0.opaque.engine().config().consume_fuel {
            return Err(no_fuel());
        }
        self.0.opaque.set_fuel(fuel);
        Ok(())
    }

    /// As [`Store::set_epoch_deadline`].
    ///
    /// # Panics
    /// As [`Store::set_epoch_deadline`].
    pub fn set_epoch_deadline(&mut self, ticks: u64) {
        assert!(
            self.0.opaque.engine().config().epoch_interruption,
            "a deadline is set, but code is compiled not to look at it: see `Config::epoch_interruption`"
        );
        self.0.opaque.set_epoch_deadline(ticks);
    }

    /// Does what a program does at its deadline, if that has passed: for functions of the host's that take long or wait, which they do
    /// in slices. Without [`Config::epoch_interruption`](super::Config) there are no deadlines.
    ///
    /// ```
    /// # fn main() -> engine::Result<()> {
    /// use engine::{Caller, Config, Engine, Func, Store, Trap};
    /// use std::time::Duration;
    /// let config = Config::new(gc_null::COLLECTOR.with(&Default::default()).unwrap()).epoch_interruption(true);
    /// let engine = Engine::with_config(config)?;
    /// let mut store = Store::new(&engine, ())?;
    /// store.set_epoch_deadline(1);
    /// let forever = Func::wrap(&mut store, |mut caller: Caller<'_, ()>| -> engine::Result<()> {
    ///     loop {
    ///         std::thread::sleep(Duration::from_millis(1));
    ///         caller.check_epoch_deadline()?;
    ///     }
    /// })?;
    /// engine.increment_epoch();
    /// assert_eq!(forever.call(&mut store, &[]).unwrap_err().trap(), Some(Trap::Interrupt));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What ends the program: pass it on.
    pub fn check_epoch_deadline(&mut self) -> Result<()> {
        let inner: *mut StoreInner<T> = self.0;
        // SAFETY: the pointer is to all of the `StoreInner<T>`, and `self` is not used until the check is over.
        unsafe { check_deadline(inner.cast()) }
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

fn no_fuel() -> Error {
    Error::usage("code is compiled to consume no fuel: see `Config::consume_fuel`")
}

/// What a program is to do at its deadline: see [`Store::epoch_deadline_callback`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpdateDeadline {
    /// Go on until so many ticks from now.
    Continue(u64),
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

    /// As [`StoreContextMut::check_epoch_deadline`].
    ///
    /// # Errors
    /// As [`StoreContextMut::check_epoch_deadline`].
    pub fn check_epoch_deadline(&mut self) -> Result<()> {
        self.store.check_epoch_deadline()
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
