//! Globals, tables, memories and tags.

use super::{AsContext, AsContextMut, Error, Func, Result, SharedMemory, Trap, Val};
use crate::runtime::const_expr::{Constant, read_global, write_global};
use crate::runtime::instance::{ImportedItem, fill_new, table_copy, table_fill, table_grow};
use crate::runtime::memory::{self, LocalMemory};
use crate::runtime::store::{self, StoreOpaque};
use crate::runtime::table::{self, Elements};
use crate::types::{ExternType, FuncType, GlobalType, MemoryType, RefType, TableType, TagType, ValType};
use crate::vm::{VMMemory, VMTable, ValRaw};
use gc_api::{CellKind, WriteSite};
use std::ptr;

macro_rules! handles {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// # Panics
        /// The methods panic when they are given another store than the handle's.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub struct $name {
            store: u64,
            id: u32,
        }

        impl $name {
            pub(crate) fn from_id(store: u64, id: u32) -> Self {
                $name { store, id }
            }

            pub(crate) fn id(&self, store: &StoreOpaque) -> u32 {
                assert_eq!(self.store, store.id(), concat!("a ", stringify!($name), " is used with another store than its own"));
                self.id
            }
        }
    )*};
}
handles! {
    /// A global of a store's.
    Global;
    /// A table of a store's.
    Table;
    /// A linear memory of a store's own. Those that stores share are [`SharedMemory`]s.
    Memory;
    /// A tag of a store's.
    Tag;
}

impl Global {
    /// A global of the host's.
    ///
    /// # Errors
    /// When `value` does not have the type.
    pub fn new(mut store: impl AsContextMut, ty: GlobalType, value: &Val) -> Result<Global> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        value.check(store, &ty.content)?;
        let storage = store.own(SendValue(ValRaw::default())).cast();
        let id = store.globals.len() as u32;
        store.globals.push(store::Global { storage, ty });
        let raw = value.borrow_raw(store);
        write_global(store, id, raw);
        Ok(Global { store: store.id(), id })
    }

    /// Its type.
    pub fn ty(&self, store: impl AsContext) -> GlobalType {
        let store = store.as_context();
        store.opaque().globals[self.id(store.opaque()) as usize].ty
    }

    /// Its value.
    pub fn get(&self, mut store: impl AsContextMut) -> Val {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let id = self.id(store);
        store.release_handles();
        let ty = store.globals[id as usize].ty.content;
        let value = read_global(store, id);
        Val::from_constant(store, value, &ty)
    }

    /// Replaces its value.
    ///
    /// # Errors
    /// When the global is immutable, or `value` does not have its type.
    pub fn set(&self, mut store: impl AsContextMut, value: &Val) -> Result<()> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let id = self.id(store);
        let ty = store.globals[id as usize].ty;
        if !ty.mutable {
            return Err(Error::usage("the global is immutable"));
        }
        value.check(store, &ty.content)?;
        let raw = value.borrow_raw(store);
        write_global(store, id, raw);
        Ok(())
    }
}

/// A global's storage. Not shared between threads, but a store may move from one to another.
#[repr(transparent)]
struct SendValue(ValRaw);

/// A record of a table or a memory of the host's.
#[repr(transparent)]
struct SendRecord<R>(R);

// SAFETY: the addresses in it are of the store's own memory, which moves between threads with the record.
unsafe impl<R> Send for SendRecord<R> {}

impl Table {
    /// A table of the host's, all of whose elements are `value`.
    ///
    /// # Errors
    /// When `value` does not have the elements' type, there would be more than 2²⁸, or there is no memory for so many.
    pub fn new(mut store: impl AsContextMut, ty: TableType, value: &Val) -> Result<Table> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        value.check(store, &ValType::Ref(ty.element))?;
        store.allow_table(&ty)?;
        let record = SendRecord(VMTable { base: ptr::null_mut(), length: 0 });
        let vm = store.own(record).cast();
        // SAFETY: the record lives as long as the store.
        let table = unsafe { table::Table::new(ty, vm, store.engine().config().table_init, store.engine().pools()) }
            .ok_or_else(|| Error::system("making a table", table::refusal(ty.min)))?;
        let id = store.tables.len() as u32;
        store.tables.push(table);
        let raw = value.borrow_raw(store) as u64;
        fill_new(store, id, 0, raw, ty.min);
        Ok(Table { store: store.id(), id })
    }

    /// Its type, with the current size as the minimum.
    pub fn ty(&self, store: impl AsContext) -> TableType {
        let store = store.as_context();
        store.opaque().tables[self.id(store.opaque()) as usize].ty()
    }

    /// Number of elements.
    pub fn size(&self, store: impl AsContext) -> u64 {
        let store = store.as_context();
        store.opaque().tables[self.id(store.opaque()) as usize].len()
    }

    fn element(&self, store: &StoreOpaque) -> RefType {
        store.tables[self.id(store) as usize].ty().element
    }

    /// The element `index`; `None` when there is none.
    pub fn get(&self, mut store: impl AsContextMut, index: u64) -> Option<Val> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let ty = ValType::Ref(self.element(store));
        let id = self.id(store) as usize;
        if index >= store.tables[id].len() {
            return None;
        }
        let index = index as usize;
        let (heap, parts) = store.parts();
        let loaded = match parts.tables[id].elements() {
            Elements::Funcs(_) => Constant::Bits(table::element(store, id as u32, index) as u64 as u128),
            Elements::Refs(cells) => {
                let r = heap.read_ref(WriteSite::Cell { kind: CellKind::Table, cell: &cells[index] });
                Constant::Ref(r.map(|r| store.root_slot(r)))
            }
        };
        Some(Val::from_constant(store, loaded, &ty))
    }

    /// Replaces the element `index`.
    ///
    /// # Errors
    /// A trap when there is none; or `value` does not have the elements' type.
    pub fn set(&self, store: impl AsContextMut, index: u64, value: &Val) -> Result<()> {
        self.fill(store, index, value, 1)
    }

    /// Replaces `count` elements from `index` on.
    ///
    /// # Errors
    /// As [`Table::set`].
    pub fn fill(&self, mut store: impl AsContextMut, index: u64, value: &Val, count: u64) -> Result<()> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        value.check(store, &ValType::Ref(self.element(store)))?;
        let (id, raw) = (self.id(store), value.borrow_raw(store) as u64);
        Ok(table_fill(store, id, index, raw, count)?)
    }

    /// Copies `count` elements of `from` to this table, as if all were read first.
    ///
    /// # Errors
    /// A trap when there are not as many; or their types do not fit.
    pub fn copy(
        &self,
        mut store: impl AsContextMut,
        index: u64,
        from: &Table,
        from_index: u64,
        count: u64,
    ) -> Result<()> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let (own, other) = (self.element(store), from.element(store));
        if !store.registry().ref_matches(other, own) {
            return Err(Error::usage(format!("elements of type {other} do not fit into a table of {own}")));
        }
        let (to, from) = (self.id(store), from.id(store));
        Ok(table_copy(store, to, from, index, from_index, count)?)
    }

    /// Adds `delta` elements that are `value`; gives the old size.
    ///
    /// # Errors
    /// When the table's maximum or the memory does not let it, or `value` does not have the elements' type.
    pub fn grow(&self, mut store: impl AsContextMut, delta: u64, value: &Val) -> Result<u64> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        value.check(store, &ValType::Ref(self.element(store)))?;
        let (id, raw) = (self.id(store), value.borrow_raw(store) as u64);
        if !store.allow_table_growth(id as usize, delta)? {
            return Err(Error::usage(format!("the store's limiter does not let the table grow by {delta} elements")));
        }
        table_grow(store, id, delta, raw)
            .ok_or_else(|| Error::usage(format!("the table cannot grow by {delta} elements")))
    }
}

impl Memory {
    /// A memory of the host's.
    ///
    /// # Errors
    /// When it would be larger than 1 TiB, or there is no address space or memory for it; or when it is of a shared type.
    pub fn new(mut store: impl AsContextMut, ty: MemoryType) -> Result<Memory> {
        if ty.shared {
            return Err(Error::usage(format!(
                "{ty} is no type of a store's own memory: `SharedMemory::new` makes shared ones"
            )));
        }
        let mut store = store.as_context_mut();
        let store = store.opaque();
        store.allow_memory(&ty)?;
        let record = SendRecord(VMMemory::empty());
        let vm = store.own(record).cast();
        // SAFETY: the record lives as long as the store.
        let memory = unsafe { LocalMemory::new(ty, vm, store.engine().pools()) }
            .map_err(|error| Error::system("making a linear memory", error))?;
        let id = store.memories.len() as u32;
        store.memories.push(memory::Memory::Local(memory));
        Ok(Memory { store: store.id(), id })
    }

    fn local<'s>(&self, store: &'s StoreOpaque) -> &'s LocalMemory {
        let id = self.id(store) as usize;
        store.memories[id].local().expect("a handle is of a memory that is not shared")
    }

    fn local_mut<'s>(&self, store: &'s mut StoreOpaque) -> &'s mut LocalMemory {
        let id = self.id(store) as usize;
        store.memories[id].local_mut().expect("a handle is of a memory that is not shared")
    }

    /// Its type, with the current size as the minimum.
    pub fn ty(&self, store: impl AsContext) -> MemoryType {
        self.local(store.as_context().opaque()).ty()
    }

    /// Pages.
    pub fn pages(&self, store: impl AsContext) -> u64 {
        self.local(store.as_context().opaque()).pages()
    }

    /// Its bytes.
    pub fn data<'a, C: AsContext>(&self, store: &'a C) -> &'a [u8] {
        self.local(store.as_context().opaque()).bytes()
    }

    /// Its bytes, to be changed.
    pub fn data_mut<'a, C: AsContextMut>(&self, store: &'a mut C) -> &'a mut [u8] {
        self.local_mut(&mut store.as_context_mut().0.opaque).bytes_mut()
    }

    /// Copies bytes from `offset` on out.
    ///
    /// # Errors
    /// A trap when there are not as many.
    pub fn read(&self, store: impl AsContext, offset: usize, into: &mut [u8]) -> Result<()> {
        let from = self.data(&store).get(offset..).and_then(|rest| rest.get(..into.len()));
        into.copy_from_slice(from.ok_or(Trap::MemoryOutOfBounds)?);
        Ok(())
    }

    /// Replaces bytes from `offset` on.
    ///
    /// # Errors
    /// A trap when there are not as many.
    pub fn write(&self, mut store: impl AsContextMut, offset: usize, bytes: &[u8]) -> Result<()> {
        let to = self.data_mut(&mut store).get_mut(offset..).and_then(|rest| rest.get_mut(..bytes.len()));
        to.ok_or(Trap::MemoryOutOfBounds)?.copy_from_slice(bytes);
        Ok(())
    }

    /// Adds `delta` pages of zeroes; gives the old number.
    ///
    /// # Errors
    /// When the memory's maximum or the system does not let it.
    pub fn grow(&self, mut store: impl AsContextMut, delta: u64) -> Result<u64> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        if !store.allow_memory_growth(self.id(store) as usize, delta)? {
            return Err(Error::usage(format!("the store's limiter does not let the memory grow by {delta} pages")));
        }
        let grown = self.local_mut(store).grow(delta);
        grown.ok_or_else(|| Error::usage(format!("the memory cannot grow by {delta} pages")))
    }
}

impl Tag {
    /// A tag of the host's, for exceptions that carry values of these types.
    ///
    /// # Errors
    /// When the engine is full of types.
    pub fn new(mut store: impl AsContextMut, params: impl IntoIterator<Item = ValType>) -> Result<Tag> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let func = store.registry().register_func(FuncType::new(params, []))?;
        let exception = store.registry().exception_type(func)?;
        let id = store.tags.len() as u32;
        store.tags.push(store::Tag { func, exception });
        Ok(Tag { store: store.id(), id })
    }

    /// Its type.
    pub fn ty(&self, store: impl AsContext) -> TagType {
        let store = store.as_context();
        TagType { func: store.opaque().tags[self.id(store.opaque()) as usize].func }
    }
}

/// Something that can be imported and exported.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Extern {
    /// A function.
    Func(Func),
    /// A global.
    Global(Global),
    /// A table.
    Table(Table),
    /// A linear memory of a store's own.
    Memory(Memory),
    /// A linear memory that stores share.
    SharedMemory(SharedMemory),
    /// A tag.
    Tag(Tag),
}

impl Extern {
    /// Its type; of a table or a memory with the current size as the minimum.
    pub fn ty(&self, store: impl AsContext) -> ExternType {
        match self {
            Extern::Func(func) => ExternType::Func(func.type_index(store)),
            Extern::Global(global) => ExternType::Global(global.ty(store)),
            Extern::Table(table) => ExternType::Table(table.ty(store)),
            Extern::Memory(memory) => ExternType::Memory(memory.ty(store)),
            Extern::SharedMemory(memory) => ExternType::Memory(memory.ty()),
            Extern::Tag(tag) => ExternType::Tag(tag.ty(store)),
        }
    }

    /// The function, if it is one.
    pub fn func(self) -> Option<Func> {
        if let Extern::Func(func) = self { Some(func) } else { None }
    }

    /// The global, if it is one.
    pub fn global(self) -> Option<Global> {
        if let Extern::Global(global) = self { Some(global) } else { None }
    }

    /// The table, if it is one.
    pub fn table(self) -> Option<Table> {
        if let Extern::Table(table) = self { Some(table) } else { None }
    }

    /// The memory, if it is one of a store's own.
    pub fn memory(self) -> Option<Memory> {
        if let Extern::Memory(memory) = self { Some(memory) } else { None }
    }

    /// The memory, if it is one that stores share.
    pub fn shared_memory(self) -> Option<SharedMemory> {
        if let Extern::SharedMemory(memory) = self { Some(memory) } else { None }
    }

    /// The tag, if it is one.
    pub fn tag(self) -> Option<Tag> {
        if let Extern::Tag(tag) = self { Some(tag) } else { None }
    }

    pub(crate) fn imported(&self, store: &mut StoreOpaque) -> ImportedItem {
        match self {
            Extern::Func(func) => ImportedItem::Func(func.func_ref(store)),
            Extern::Global(global) => ImportedItem::Global(global.id(store)),
            Extern::Table(table) => ImportedItem::Table(table.id(store)),
            Extern::Memory(memory) => ImportedItem::Memory(memory.id(store)),
            Extern::SharedMemory(memory) => ImportedItem::Memory(store.adopt(&memory.0)),
            Extern::Tag(tag) => ImportedItem::Tag(tag.id(store)),
        }
    }
}

macro_rules! from {
    ($($name:ident)*) => {$(
        impl From<$name> for Extern {
            fn from(item: $name) -> Extern {
                Extern::$name(item)
            }
        }
    )*};
}
from!(Func Global Table Memory Tag);

#[cfg(test)]
mod tests;
