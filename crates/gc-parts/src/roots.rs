//! Visiting roots.

use crate::object::{at, index_of};
use gc_api::{RootKind, Roots};

/// Replaces each reference to an object in the roots of these kinds by what `visit` gives for it, and adds the number of slots
/// visited to `counts`, by [`RootKind::ALL`].
pub fn update_roots(
    roots: &mut dyn Roots,
    kinds: impl IntoIterator<Item = RootKind>,
    counts: &mut [u64; 6],
    mut visit: impl FnMut(u32) -> u32,
) {
    for kind in kinds {
        let count = &mut counts[kind as usize];
        roots.visit(kind, &mut |slot| {
            *count += 1;
            if let Some(old) = slot.get().and_then(|r| index_of(r.raw())) {
                let new = visit(old);
                if new != old {
                    slot.set(at(new));
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_numbered_in_the_order_of_their_list() {
        RootKind::ALL.iter().enumerate().for_each(|(i, kind)| assert_eq!(*kind as usize, i));
    }
}
