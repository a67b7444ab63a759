//! Who is shown the heap at certain moments.

use super::{Observer, StoreOpaque};
use crate::api::HeapMoment;
use crate::runtime::graph::HeapGraph;

impl StoreOpaque {
    /// Has `observer` called at each [`HeapMoment`], in place of whoever was.
    pub fn set_observer(&mut self, observer: Option<Observer>) {
        self.observer = observer;
    }

    /// Shows the heap to who observes it. Compiled code has been left, or there is none.
    #[inline]
    pub fn observe(&mut self, moment: impl FnOnce() -> HeapMoment) {
        if self.observer.is_some() {
            self.show(moment());
        }
    }

    #[cold]
    fn show(&mut self, moment: HeapMoment) {
        // What an observer does itself, collect for example, it is not shown.
        if let Some(mut observer) = self.observer.take() {
            self.release_handles();
            observer(moment, self);
            self.observer.get_or_insert(observer);
        }
    }

    /// The reachable part of the heap.
    pub fn graph(&mut self) -> HeapGraph<'_> {
        self.release_handles();
        HeapGraph::walk(self)
    }
}
