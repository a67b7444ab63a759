//! Elements of tables: a vector whose new elements are zero bytes, and cost nothing until they are written.
//!
//! Few elements are on the allocator's heap. From [`LARGE_BYTES`] on, where the allocator would turn to the system anyway, they are in
//! pages of their own, with address space for all that a table may have, so that they never move again; stores leave these pages to
//! each other in a pool.

use super::pool::{Pools, Spare, Use};
use gc_api::sys::{Protection, page_size};
use std::ops::Deref;

/// From here on, elements have pages of their own.
const LARGE_BYTES: usize = 128 << 10;

/// What a pool keeps accessible of them. No more, so that a system that counts what could be written counts little.
const SPARE_BYTES: usize = 1 << 20;

/// A type of which all bytes may be 0.
///
/// # Safety
/// Zero bytes are a valid value.
pub unsafe trait Zeroable: Sized {
    /// That value.
    fn zero() -> Self;
}

/// A vector that grows by zeroes.
pub struct ZeroedVec<T> {
    elements: Elements<T>,
    /// Elements that there may be.
    most: usize,
}

enum Elements<T> {
    Few(Vec<T>),
    Many {
        pages: Spare,
        /// Elements, which are in the first, accessible pages.
        len: usize,
    },
}

impl<T: Zeroable> ZeroedVec<T> {
    /// Nothing, which can become `most` elements.
    pub fn new(most: usize) -> Self {
        const { assert!(!std::mem::needs_drop::<T>() && align_of::<T>() <= 4096) };
        ZeroedVec { elements: Elements::Few(Vec::new()), most }
    }

    /// Makes it `len` elements long, if it is shorter. `None` when there is no memory or address space for it.
    ///
    /// # Panics
    /// When that is more than it can become.
    pub fn grow(&mut self, len: usize, pools: &Pools) -> Option<()> {
        assert!(len <= self.most, "a table's maximum has been checked");
        let bytes = len * size_of::<T>();
        if len <= self.deref().len() {
            return Some(());
        }
        match &mut self.elements {
            Elements::Few(elements) if bytes < LARGE_BYTES => {
                elements.try_reserve(len - elements.len()).ok()?;
                elements.resize_with(len, T::zero);
            }
            Elements::Few(elements) => {
                let mut pages = reserve(bytes, self.most * size_of::<T>(), pools)?;
                open(&mut pages, bytes)?;
                // SAFETY: the elements end before `bytes`, up to which the pages are accessible, and which nobody else knows; they
                // are moved and need no drop. The rest is zero.
                unsafe { elements.as_ptr().copy_to_nonoverlapping(pages.reservation.base().cast(), elements.len()) };
                self.elements = Elements::Many { pages, len };
            }
            Elements::Many { pages, len: old } => {
                open(pages, bytes)?;
                *old = len;
            }
        }
        Some(())
    }

    /// Leaves the pages to the next, if there are any.
    pub fn give_back(self, pools: &Pools) {
        if let Elements::Many { pages: Spare { reservation, accessible }, .. } = self.elements {
            pools.give_back(Use::Table, reservation, accessible, SPARE_BYTES);
        }
    }
}

impl<T> Deref for ZeroedVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.elements {
            Elements::Few(elements) => elements,
            // SAFETY: `len` elements are in accessible pages, all of which were zero, which is a valid element; a page is aligned for
            // them. They are shared and written as `T` allows.
            Elements::Many { pages, len } => unsafe {
                std::slice::from_raw_parts(pages.reservation.base().cast_const().cast(), *len)
            },
        }
    }
}

/// Address space for `most` bytes, or less where the system has not as much, but for `least` at least.
fn reserve(least: usize, most: usize, pools: &Pools) -> Option<Spare> {
    let mut room = most;
    loop {
        match pools.reserve(Use::Table, room, least) {
            Ok(spare) => return Some(spare),
            Err(_) if room == least => return None,
            Err(_) => room = (room / 2).max(least),
        }
    }
}

/// Makes `bytes` bytes accessible, and some more, so that growth by little is cheap.
fn open(pages: &mut Spare, bytes: usize) -> Option<()> {
    let (now, room) = (pages.accessible, pages.reservation.len());
    if bytes > room {
        return None;
    }
    if bytes > now {
        let wanted = bytes.max((2 * now).min(room)).next_multiple_of(page_size());
        pages.reservation.protect(now, wanted - now, Protection::ReadWrite).ok()?;
        pages.accessible = wanted;
    }
    Some(())
}
