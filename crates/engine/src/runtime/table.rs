//! Tables.
//!
//! # Function references, and when they are made
//!
//! Instantiating a module whose tables list all its functions (as programs with virtual methods or closures do) would cost
//! time and memory for each function, though a run may call few. So, with [`TableInit::Lazy`], active segments are only
//! *noted*: a table keeps its elements as words, and beside them a map from ranges of elements to where their values
//! come from. A word is
//!
//! | word | means |
//! |---|---|
//! | 0 | not made yet: the value is what the map says, or null where it says nothing |
//! | 1 ([`NULL_ELEMENT`]) | null |
//! | else | the address of a [`VMFuncRef`] |
//!
//! Whoever meets a 0 makes the reference ([`element`]): the runtime, or compiled code, by a builtin, behind one test that
//! is false from the second access on. Null is 1 and not a tag on every address, so that a call need not take
//! anything off: a call to address 1 faults like one to null.
//!
//! What could go wrong, and why it does not:
//!
//! * *The value depends on when it is made.* It does not: a function segment's items are `ref.func`, `ref.null` or `global.get`
//!   of an immutable global. Items of other types allocate objects, which have an identity and may trap: these
//!   segments and tables are filled at once, under either option.
//! * *An element is written before it was made.* A written word is not 0, so the map is not asked again. `table.set`,
//!   `table.fill`, `table.copy` (which makes what it reads) and the host write words.
//! * *A segment is noted over elements that have been made or written*, in a table that is imported or changed by
//!   `table.init`. Noting a range sets its words to 0 first, and takes its part out of older ranges: the last one wins, in
//!   whichever order segments come. Only a table of the instance that is being made, without an initial
//!   element, has nothing to set to 0.
//! * *The segment is dropped*, as an active one is at once. The map refers to the module's segment, which stays.
//! * *Instantiation traps half way.* What had been noted stays, as what had been written would; the instance stays in the
//!   store, because others may call its functions now.
//! * *The table grows.* New words are 0 and in no range: null; or a range of their own with the value that they get.
//! * *Several instances share the table.* A range names the instance whose functions it means; the words are the same for all,
//!   because the option is the engine's.
//!
//! With [`TableInit::Eager`] words are addresses, 0 is null, and everything is made at instantiation.

use super::instance::segment_func;
use super::pool::Pools;
use super::store::StoreOpaque;
use super::zeroed::{Zeroable, ZeroedVec};
use crate::types::TableType;
use crate::vm::{NULL_ELEMENT, TableInit, VMFuncRef, VMTable};
use gc_api::RefCell32;
use std::collections::BTreeMap;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Elements that a table may have, whatever its type says: 2 GiB of function references.
pub const MAX_TABLE_ELEMENTS: u64 = 1 << 28;

/// Why there is no table of `min` elements.
pub fn refusal(min: u64) -> String {
    match min > MAX_TABLE_ELEMENTS {
        true => format!("{min} elements are more than the limit of {MAX_TABLE_ELEMENTS} elements"),
        false => format!("{min} elements cannot be had"),
    }
}

/// A table: its elements, and the record by which compiled code finds them.
pub struct Table {
    /// In its instance's context, or a box of its own.
    vm: NonNull<VMTable>,
    ty: TableType,
    elements: Elements,
}

/// The elements of a table.
pub enum Elements {
    /// Function references.
    Funcs(FuncElements),
    /// References into the heap.
    Refs(ZeroedVec<RefCell32>),
}

impl Table {
    /// A table of nulls, described by `vm` from now on. `None` when there is no memory for it.
    ///
    /// # Safety
    /// `vm` is valid for writes, and nothing but compiled code of the same store uses it, until the table is dropped.
    pub unsafe fn new(ty: TableType, vm: NonNull<VMTable>, init: TableInit, pools: &Pools) -> Option<Table> {
        let most = max_elements(&ty) as usize;
        let elements = match ty.element.is_gc_ref() {
            true => Elements::Refs(ZeroedVec::new(most)),
            false => Elements::Funcs(FuncElements { words: ZeroedVec::new(most), init, noted: BTreeMap::new() }),
        };
        let mut table = Table { vm, ty, elements };
        table.grow(ty.min, pools)?;
        Some(table)
    }

    /// Leaves the elements' memory to the next table. Elements in the heap are not given up.
    pub fn give_back(self, pools: &Pools) {
        match self.elements {
            Elements::Funcs(elements) => elements.words.give_back(pools),
            Elements::Refs(elements) => elements.give_back(pools),
        }
    }

    /// The type, with the current length as the minimum.
    pub fn ty(&self) -> TableType {
        TableType { min: self.len(), ..self.ty }
    }

    /// The record for compiled code.
    pub fn vm(&self) -> NonNull<VMTable> {
        self.vm
    }

    /// Number of elements.
    pub fn len(&self) -> u64 {
        match &self.elements {
            Elements::Funcs(elements) => elements.words.len() as u64,
            Elements::Refs(elements) => elements.len() as u64,
        }
    }

    /// The elements.
    pub fn elements(&self) -> &Elements {
        &self.elements
    }

    /// The elements, to be changed.
    pub fn elements_mut(&mut self) -> &mut Elements {
        &mut self.elements
    }

    /// The elements, which are function references.
    ///
    /// # Panics
    /// When they are not.
    pub fn funcs(&self) -> &FuncElements {
        match &self.elements {
            Elements::Funcs(elements) => elements,
            Elements::Refs(_) => unreachable!("a validated operation is on a table of functions"),
        }
    }

    /// As [`Table::funcs`], to be changed.
    ///
    /// # Panics
    /// As [`Table::funcs`].
    pub fn funcs_mut(&mut self) -> &mut FuncElements {
        match &mut self.elements {
            Elements::Funcs(elements) => elements,
            Elements::Refs(_) => unreachable!("a validated operation is on a table of functions"),
        }
    }

    /// Adds `delta` nulls; the old length, or `None` when the maximum or the memory does not let it.
    pub fn grow(&mut self, delta: u64, pools: &Pools) -> Option<u64> {
        let old = self.len();
        let new = old.checked_add(delta).filter(|new| *new <= max_elements(&self.ty))? as usize;
        match &mut self.elements {
            Elements::Funcs(elements) => elements.words.grow(new, pools)?,
            Elements::Refs(elements) => elements.grow(new, pools)?,
        }
        let base = match &self.elements {
            Elements::Funcs(elements) => elements.words.as_ptr() as *mut u8,
            Elements::Refs(elements) => elements.as_ptr() as *mut u8,
        };
        // SAFETY: `new`'s caller vouched for `vm`.
        unsafe { self.vm.write(VMTable { base, length: new as u64 }) };
        Some(old)
    }
}

/// The elements of a table of function references.
pub struct FuncElements {
    words: ZeroedVec<AtomicU64>,
    init: TableInit,
    /// What elements stand for that have not been made, by the first of each range; ranges are disjoint.
    noted: BTreeMap<usize, Noted>,
}

/// A range of elements that stand for something.
#[derive(Clone, Copy)]
struct Noted {
    /// The element behind the last.
    end: usize,
    source: Source,
}

/// What elements stand for.
#[derive(Clone, Copy)]
pub enum Source {
    /// Items of an element segment of functions, in order.
    Segment {
        /// The instance.
        instance: u32,
        /// Its segment.
        segment: u32,
        /// The first element's item.
        item: usize,
    },
    /// All the same function, or null.
    Func(*const VMFuncRef),
}

impl Source {
    /// What the elements from the `n`th on stand for.
    fn skip(self, n: usize) -> Source {
        match self {
            Source::Segment { instance, segment, item } => Source::Segment { instance, segment, item: item + n },
            func => func,
        }
    }
}

/// What is known of the words of a range.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// They are 0: nothing has ever been written there.
    Zero,
    /// They are anything.
    Any,
}

impl FuncElements {
    /// Whether elements can be noted.
    pub fn is_lazy(&self) -> bool {
        self.init == TableInit::Lazy
    }

    /// The element `index`; `None` when it has not been made.
    ///
    /// # Panics
    /// When there is none.
    pub fn get(&self, index: usize) -> Option<*const VMFuncRef> {
        match (self.words[index].load(Relaxed), self.init) {
            (0, TableInit::Lazy) => None,
            (NULL_ELEMENT, TableInit::Lazy) => Some(ptr::null()),
            (address, _) => Some(address as *const VMFuncRef),
        }
    }

    /// Replaces the element `index`.
    ///
    /// # Panics
    /// When there is none.
    pub fn set(&self, index: usize, func: *const VMFuncRef) {
        let word = if func.is_null() && self.is_lazy() { NULL_ELEMENT } else { func as u64 };
        self.words[index].store(word, Relaxed);
    }

    /// Copies elements that have been made, as if all were read first.
    ///
    /// # Panics
    /// When the ranges are not inside the tables, or not equally long.
    pub fn copy(&self, to: Range<usize>, from: &FuncElements, from_range: Range<usize>) {
        let (to, from) = (&self.words[to], &from.words[from_range]);
        assert_eq!(to.len(), from.len(), "a copy's ranges are equally long");
        let one = |i: usize| to[i].store(from[i].load(Relaxed), Relaxed);
        // The order matters only when they are the same table.
        if to.as_ptr() > from.as_ptr() { (0..to.len()).rev().for_each(one) } else { (0..to.len()).for_each(one) }
    }

    /// Lets the elements of a lazy table's range stand for `source`, instead of what they are. Logarithmic in the number of
    /// ranges, but for `words` that must be set to 0.
    ///
    /// # Panics
    /// When the range is not inside the table.
    pub fn note(&mut self, range: Range<usize>, source: Source, words: Words) {
        debug_assert!(self.is_lazy());
        if range.is_empty() {
            return;
        }
        let elements = &self.words[range.clone()];
        match words {
            Words::Zero => debug_assert!(elements.iter().all(|word| word.load(Relaxed) == 0)),
            Words::Any => elements.iter().for_each(|word| word.store(0, Relaxed)),
        }
        // Ranges that begin inside go; what sticks out at the end stays, from there on.
        while let Some((start, old)) = self.noted.range(range.clone()).next().map(|(start, old)| (*start, *old)) {
            self.noted.remove(&start);
            self.note_rest(range.end, start, old);
        }
        // The range that begins before is cut short, and may stick out at the end.
        if let Some((start, old)) = self.noted.range_mut(..range.start).next_back()
            && old.end > range.start
        {
            let (start, whole) = (*start, *old);
            old.end = range.start;
            self.note_rest(range.end, start, whole);
        }
        self.noted.insert(range.start, Noted { end: range.end, source });
    }

    /// Keeps what of a range lies from `from` on.
    fn note_rest(&mut self, from: usize, start: usize, old: Noted) {
        if old.end > from {
            self.noted.insert(from, Noted { end: old.end, source: old.source.skip(from - start) });
        }
    }

    /// What the element `index` stands for if it has not been made; `None` for null. Logarithmic.
    fn source(&self, index: usize) -> Option<Source> {
        let (start, noted) = self.noted.range(..=index).next_back()?;
        (index < noted.end).then(|| noted.source.skip(index - start))
    }
}

/// The element `index` of the store's table `id`, which is one of function references; it is made if it was not.
///
/// # Panics
/// When there is none.
pub fn element(store: &mut StoreOpaque, id: u32, index: usize) -> *const VMFuncRef {
    let elements = store.tables[id as usize].funcs();
    if let Some(func) = elements.get(index) {
        return func;
    }
    let func = match elements.source(index) {
        None => ptr::null(),
        Some(Source::Func(func)) => func,
        Some(Source::Segment { instance, segment, item }) => segment_func(store, instance, segment, item),
    };
    store.tables[id as usize].funcs().set(index, func);
    func
}

// SAFETY: zero bytes are the number 0.
unsafe impl Zeroable for AtomicU64 {
    fn zero() -> AtomicU64 {
        AtomicU64::new(0)
    }
}

// SAFETY: zero bytes are null: a cell is a 32-bit atomic.
unsafe impl Zeroable for RefCell32 {
    fn zero() -> RefCell32 {
        RefCell32::null()
    }
}

/// Elements that a table of this type may have.
fn max_elements(ty: &TableType) -> u64 {
    ty.max.unwrap_or(u64::MAX).min(MAX_TABLE_ELEMENTS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn elements(len: usize) -> FuncElements {
        let mut words = ZeroedVec::new(len);
        words.grow(len, &Pools::new(crate::api::Pooling::NONE)).unwrap();
        FuncElements { words, init: TableInit::Lazy, noted: BTreeMap::new() }
    }

    /// What each element stands for, as segment and item.
    fn sources(elements: &FuncElements) -> Vec<Option<(u32, usize)>> {
        (0..elements.words.len())
            .map(|i| match elements.source(i) {
                Some(Source::Segment { segment, item, .. }) => Some((segment, item)),
                _ => None,
            })
            .collect()
    }

    proptest! {
        /// In whichever order and however they overlap, the last range noted wins, and what was written is forgotten.
        #[test]
        fn the_last_range_wins(ranges in prop::collection::vec((0usize..40, 0usize..40, any::<bool>()), 0..12)) {
            let (mut elements, mut model) = (elements(40), vec![None; 40]);
            for (n, (a, b, written)) in ranges.into_iter().enumerate() {
                let range = a.min(b)..a.max(b);
                if written {
                    range.clone().for_each(|i| elements.set(i, ptr::null()));
                }
                let source = Source::Segment { instance: 0, segment: n as u32, item: 5 };
                elements.note(range.clone(), source, Words::Any);
                range.clone().for_each(|i| model[i] = Some((n as u32, 5 + i - range.start)));
                prop_assert!(range.clone().all(|i| elements.get(i).is_none()));
                prop_assert_eq!(&sources(&elements), &model);
            }
            let ends: Vec<_> = elements.noted.iter().map(|(start, noted)| (*start, noted.end)).collect();
            prop_assert!(ends.iter().all(|(start, end)| start < end), "{:?}", ends);
            prop_assert!(ends.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{:?}", ends);
        }
    }

    #[test]
    fn null_is_something_that_was_made() {
        let lazy = elements(2);
        assert_eq!(lazy.get(0), None);
        lazy.set(0, ptr::null());
        assert_eq!(lazy.get(0), Some(ptr::null()));
        let eager = FuncElements { init: TableInit::Eager, ..elements(2) };
        assert_eq!(eager.get(0), Some(ptr::null()));
        eager.set(0, ptr::null());
        assert_eq!(eager.words[0].load(Relaxed), 0);
    }
}
