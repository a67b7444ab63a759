//! Looking at a store's heap: its graph, and at which moments.

use super::{Caller, Store, StoreContextMut};
use crate::runtime::graph::HeapGraph;
use crate::runtime::store::StoreOpaque;
use gc_api::{Collection, GcHeap, Outcome, Roots};
use std::time::Duration;

/// When an observer is shown a heap: see [`Store::observe_heap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeapMoment {
    /// A collection, or a slice of one, is about to begin.
    BeforeCollection {
        /// What was asked for.
        request: Collection,
    },
    /// A collection, or a slice of one, has ended.
    AfterCollection {
        /// What was asked for.
        request: Collection,
        /// How it ended.
        outcome: Outcome,
        /// How long it took, without what verifies it.
        pause: Duration,
    },
    /// An object is about to be allocated. Those that compiled code allocates itself are shown with
    /// [`Config::observe_allocations`](super::Config) only.
    Allocation {
        /// Bytes of the object.
        bytes: u64,
    },
    /// There is no room for an object, and the program is about to trap.
    Full {
        /// Bytes of the object.
        bytes: u64,
    },
}

/// A heap at a [`HeapMoment`]: with the frames that the program is in.
pub struct ObservedHeap<'a>(&'a mut StoreOpaque);

impl ObservedHeap<'_> {
    /// As [`Store::heap_graph`].
    pub fn graph(&mut self) -> HeapGraph<'_> {
        self.0.graph()
    }

    /// As [`Store::heap`].
    pub fn heap(&self) -> &dyn GcHeap {
        self.0.heap()
    }

    /// As [`Store::inspect`].
    pub fn inspect<R>(&mut self, look: impl FnOnce(&dyn GcHeap, &mut dyn Roots) -> R) -> R {
        self.0.inspect(look)
    }
}

impl<T: 'static> Store<T> {
    /// The objects that can be reached now, as a graph with names. When a program has ended, by a trap or otherwise, its frames are gone:
    /// [`Store::observe_heap`] shows a heap with them.
    ///
    /// # Panics
    /// When the heap is corrupt.
    pub fn heap_graph(&mut self) -> HeapGraph<'_> {
        self.opaque_mut().graph()
    }

    /// Shows the heap to `observer` at each [`HeapMoment`] from now on, in place of whoever was shown it.
    ///
    /// ```
    /// # fn main() -> engine::Result<()> {
    /// use engine::{CollectionKind, Engine, HeapMoment, Store};
    /// use std::sync::{Arc, Mutex};
    /// let engine = Engine::new(gc_drc::COLLECTOR.with(&Default::default()).unwrap())?;
    /// let mut store = Store::new(&engine, ())?;
    /// let seen = Arc::new(Mutex::new(Vec::new()));
    /// let log = seen.clone();
    /// store.observe_heap(move |moment, heap| {
    ///     if let HeapMoment::AfterCollection { .. } = moment {
    ///         log.lock().unwrap().push(heap.heap().usage().live);
    ///     }
    /// });
    /// store.gc(CollectionKind::Major);
    /// assert_eq!(*seen.lock().unwrap(), [0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn observe_heap(
        &mut self,
        mut observer: impl FnMut(HeapMoment, &mut ObservedHeap<'_>) + Send + Sync + 'static,
    ) {
        let observer = move |moment, store: &mut StoreOpaque| observer(moment, &mut ObservedHeap(store));
        self.opaque_mut().set_observer(Some(Box::new(observer)));
    }
}

impl<T: 'static> StoreContextMut<'_, T> {
    /// As [`Store::heap_graph`].
    pub fn heap_graph(&mut self) -> HeapGraph<'_> {
        self.opaque().graph()
    }
}

impl<T: 'static> Caller<'_, T> {
    /// As [`Store::heap_graph`], with the frames of the program that calls.
    pub fn heap_graph(&mut self) -> HeapGraph<'_> {
        self.opaque().graph()
    }
}
