//! Roots that end together.

use super::{AsContext, AsContextMut, StoreContext, StoreContextMut};
use crate::runtime::handles::ScopeMark;

/// A store in which every root that is made lives until the scope ends, whatever holds it: loops that look at many objects don't
/// pile roots up, and a root costs no allocation.
///
/// Scopes nest: the inner one ends first, as borrowing the store from the outer one sees to. A [`Rooted`](super::Rooted) from inside
/// that is used after the end is refused: methods that give a [`Result`](super::Result) give an error, the others panic.
/// [`Rooted::to_owned_rooted`](super::Rooted::to_owned_rooted) makes one that outlives the scope; so does an error that carries an
/// exception from a call. Functions of the host's that are called meanwhile are outside: what they are given and make is
/// theirs, unless they open scopes themselves.
///
/// ```
/// # fn main() -> engine::Result<()> {
/// # let engine = engine::Engine::new(gc_drc::COLLECTOR.with(&Default::default()).unwrap())?;
/// use engine::{ExternRef, RootScope, Store};
/// let mut store = Store::new(&engine, ())?;
/// let (inside, kept) = {
///     let mut scope = RootScope::new(&mut store);
///     let inside = ExternRef::new(&mut scope, 5)?;
///     let kept = inside.to_owned_rooted(&mut scope)?;
///     (inside, kept)
/// };
/// assert!(kept.ref_eq(&store, &kept));
/// assert!(inside.to_owned_rooted(&mut store).unwrap_err().to_string().contains("RootScope"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RootScope<C: AsContextMut> {
    store: C,
    mark: ScopeMark,
}

impl<C: AsContextMut> RootScope<C> {
    /// Opens a scope, which ends when it is dropped.
    pub fn new(mut store: C) -> RootScope<C> {
        let mark = store.as_context_mut().opaque().open_scope();
        RootScope { store, mark }
    }
}

impl<C: AsContextMut> Drop for RootScope<C> {
    fn drop(&mut self) {
        self.store.as_context_mut().opaque().close_scope(self.mark);
    }
}

impl<C: AsContextMut> AsContext for RootScope<C> {
    type Data = C::Data;

    fn as_context(&self) -> StoreContext<'_, C::Data> {
        self.store.as_context()
    }
}

impl<C: AsContextMut> AsContextMut for RootScope<C> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, C::Data> {
        self.store.as_context_mut()
    }
}
