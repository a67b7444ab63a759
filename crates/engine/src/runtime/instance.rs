//! Instances, and how they come to be.

use super::const_expr::{evaluate, write_global};
use super::memory::{LocalMemory, Memory, MemoryError};
use super::pool::Pools;
use super::shared::SharedMemory;
use super::store::{Global, StoreOpaque, Tag};
use super::table::{Elements, Source, Table, Words, element, refusal};
use crate::api::{Error, ModuleInner, Result, Trap};
use crate::info::{ConstExpr, ElementItems, SegmentMode};
use crate::types::MemoryType;
use crate::vm::{TableInit, VMContext, VMFuncRef, VMFunctionImport, VMMemory, VMTable, ValRaw};
use gc_api::{BulkSource, BulkWrite, CellKind, RefCell32, RefRange, VMGcRef, WriteSite};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::Arc;

/// An instance of a module. Index spaces begin with the imports; their items are the store's, by id.
pub struct Instance {
    context: NonNull<VMContext>,
    layout: Layout,
    /// Its module.
    pub module: Arc<ModuleInner>,
    /// Tables.
    pub tables: Box<[u32]>,
    /// Memories.
    pub memories: Box<[u32]>,
    /// Globals.
    pub globals: Vec<u32>,
    /// Tags.
    pub tags: Box<[u32]>,
    /// Element segments.
    pub segments: Vec<Segment>,
    /// Data segments that have been dropped.
    pub dropped_data: Vec<bool>,
}

/// The elements of a segment.
pub enum Segment {
    /// None: it was dropped.
    Dropped,
    /// Function references: [`segment_func`] gives them.
    Funcs,
    /// References into the heap.
    Refs(Box<[RefCell32]>),
}

/// What is given for an import, by its id in the store.
#[derive(Clone, Copy)]
pub enum ImportedItem {
    /// A function.
    Func(*const VMFuncRef),
    /// A table.
    Table(u32),
    /// A memory.
    Memory(u32),
    /// A global.
    Global(u32),
    /// A tag.
    Tag(u32),
}

impl Instance {
    /// An instance whose context is all zero but for its header.
    fn new(store: &StoreOpaque, module: Arc<ModuleInner>) -> Instance {
        let layout =
            Layout::from_size_align(module.info.offsets.size as usize, 16).expect("a context is at most 1 GiB");
        // SAFETY: the layout has the header's size at least.
        let memory = unsafe { alloc_zeroed(layout) }.cast::<VMContext>();
        let Some(context) = NonNull::new(memory) else { handle_alloc_error(layout) };
        let index = u32::try_from(store.instances.len()).expect("four billion instances do not fit into memory");
        // SAFETY: fresh memory, large enough and aligned.
        unsafe { context.write(store.vmcontext_header(index)) };
        let none = || Box::new([]) as Box<[u32]>;
        let dropped_data = vec![false; module.info.data.len()];
        Instance {
            context,
            layout,
            module,
            tables: none(),
            memories: none(),
            globals: Vec::new(),
            tags: none(),
            segments: Vec::new(),
            dropped_data,
        }
    }

    /// The context that compiled code gets.
    pub fn context(&self) -> *mut VMContext {
        self.context.as_ptr()
    }

    /// The address of item `i` of a part of the context that begins at `offset`.
    fn part<R>(&self, offset: u32, i: usize) -> NonNull<R> {
        let at = offset as usize + i * size_of::<R>();
        assert!(at + size_of::<R>() <= self.layout.size(), "a part of the context lies inside it");
        // SAFETY: inside the allocation, as just checked.
        unsafe { self.context.byte_add(at).cast() }
    }

    /// Number of elements of a segment; 0 when it was dropped.
    pub fn segment_len(&self, segment: u32) -> usize {
        match &self.segments[segment as usize] {
            Segment::Dropped => 0,
            Segment::Funcs => match &self.module.info.elements[segment as usize].items {
                ElementItems::Funcs(funcs) => funcs.len(),
                ElementItems::Exprs(exprs) => exprs.len(),
            },
            Segment::Refs(cells) => cells.len(),
        }
    }
}

/// The reference of the function `index` of an instance, which is imported or can escape. Made if it was not.
///
/// # Panics
/// When it is neither.
pub fn func_ref(store: &mut StoreOpaque, instance: u32, index: u32) -> *const VMFuncRef {
    let own = &store.instances[instance as usize];
    let info = &own.module.info;
    if index < info.imported_funcs {
        let import: NonNull<VMFunctionImport> = own.part(info.offsets.func_imports, index as usize);
        // SAFETY: written when the instance was made.
        return unsafe { import.as_ref() }.func_ref;
    }
    let position = *info.escaping.get(&index).expect("a function whose reference is taken escapes") as usize;
    let place = own.part::<VMFuncRef>(info.offsets.func_refs, position);
    // SAFETY: a part of the context, which is all zero until it is written here; compiled code, which reads it, waits.
    if unsafe { place.as_ref() }.id == 0 {
        define_func(store, instance, position, index, place);
    }
    place.as_ptr()
}

/// Makes the reference of the function `index`, which stands at `position` among those that can escape.
fn define_func(store: &mut StoreOpaque, instance: u32, position: usize, index: u32, place: NonNull<VMFuncRef>) {
    let id = store.push_func(place.as_ptr());
    let own = &store.instances[instance as usize];
    let (module, info) = (&own.module, &own.module.info);
    let type_index = info.funcs[index as usize];
    let wasm_call = module.code.address((index - info.imported_funcs) as usize).cast();
    let (vmctx, array_call) = (own.context(), module.array_call(position));
    // SAFETY: the caller got the place from `Instance::part`; compiled code, which reads it, waits.
    unsafe { place.write(VMFuncRef { wasm_call, vmctx, array_call, type_index, id }) };
}

/// Item `item` of a segment of functions, whether or not that was dropped. Made if it was not.
///
/// # Panics
/// When there is none.
pub fn segment_func(store: &mut StoreOpaque, instance: u32, segment: u32, item: usize) -> *const VMFuncRef {
    let module = &store.instances[instance as usize].module;
    match &module.info.elements[segment as usize].items {
        ElementItems::Funcs(funcs) => {
            let index = funcs[item];
            func_ref(store, instance, index)
        }
        ElementItems::Exprs(_) => {
            let module = module.clone();
            let ElementItems::Exprs(exprs) = &module.info.elements[segment as usize].items else { unreachable!() };
            let value = evaluate(store, instance, &exprs[item]).expect("an expression of a function makes no object");
            value.raw(store) as u64 as *const VMFuncRef
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout; compiled code that knows it will not run again.
        unsafe { dealloc(self.context.as_ptr().cast(), self.layout) }
    }
}

/// Lengths of a store's lists, to which a failed instantiation goes back.
struct Mark {
    instances: usize,
    funcs: usize,
    tables: usize,
    memories: usize,
    globals: usize,
    tags: usize,
}

/// Makes an instance, all but its start function. The imports are the module's, in order, and their types have been checked.
///
/// # Errors
/// When there is no memory, or an expression or a segment traps. What segments have written before stays, as the
/// specification has it; if none has, the store is as it was.
pub fn instantiate(store: &mut StoreOpaque, module: &Arc<ModuleInner>, imports: &[ImportedItem]) -> Result<u32> {
    store.allow_instance()?;
    let mark = Mark {
        instances: store.instances.len(),
        funcs: store.funcs_len(),
        tables: store.tables.len(),
        memories: store.memories.len(),
        globals: store.globals.len(),
        tags: store.tags.len(),
    };
    let index = mark.instances as u32;
    let instance = Instance::new(store, module.clone());
    store.instances.push(instance);
    if let Err(error) = initialise(store, index, imports) {
        roll_back(store, mark);
        return Err(error);
    }
    store.load_module(module);
    run_segments(store, index)?;
    Ok(index)
}

/// Everything up to the point from which on others can see the instance.
fn initialise(store: &mut StoreOpaque, index: u32, imports: &[ImportedItem]) -> Result<()> {
    let module = store.instances[index as usize].module.clone();
    let (info, offsets) = (&module.info, &module.info.offsets);

    // Imports, then what the module defines. SAFETY of the writes in this function: each goes to a part of the new context, which
    // `Instance::part` checks, and which nothing reads before the instance is complete.
    let (mut tables, mut memories, mut globals, mut tags) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut funcs = 0;
    for item in imports {
        let instance = &store.instances[index as usize];
        match *item {
            ImportedItem::Func(func_ref) => {
                // SAFETY: a function reference of this store; see above for the write.
                unsafe {
                    let VMFuncRef { wasm_call, vmctx, .. } = *func_ref;
                    instance.part(offsets.func_imports, funcs).write(VMFunctionImport { wasm_call, vmctx, func_ref });
                }
                funcs += 1;
            }
            ImportedItem::Table(id) => {
                // SAFETY: see above.
                unsafe { instance.part(offsets.table_imports, tables.len()).write(store.tables[id as usize].vm()) };
                tables.push(id);
            }
            ImportedItem::Memory(id) => {
                // SAFETY: see above.
                unsafe {
                    instance.part(offsets.memory_imports, memories.len()).write(store.memories[id as usize].vm())
                };
                memories.push(id);
            }
            ImportedItem::Global(id) => {
                let storage = store.globals[id as usize].storage;
                // SAFETY: see above.
                unsafe { instance.part(offsets.global_imports, globals.len()).write(storage) };
                globals.push(id);
            }
            ImportedItem::Tag(id) => tags.push(id),
        }
    }
    for func in &info.tags[tags.len()..] {
        let exception = store.registry().exception_type(*func)?;
        tags.push(store.tags.len() as u32);
        store.tags.push(Tag { func: *func, exception });
    }
    for (i, id) in tags.iter().enumerate() {
        // SAFETY: see above.
        unsafe { store.instances[index as usize].part(offsets.tags, i).write(*id) };
    }
    for (i, ty) in info.tables[tables.len()..].iter().enumerate() {
        store.allow_table(ty)?;
        let vm = store.instances[index as usize].part::<VMTable>(offsets.tables, i);
        // SAFETY: the context lives until the store is dropped, or this table is in `roll_back`.
        let table = unsafe { Table::new(*ty, vm, store.engine().config().table_init, store.engine().pools()) }
            .ok_or_else(|| Error::system("making a table", refusal(ty.min)))?;
        tables.push(store.tables.len() as u32);
        store.tables.push(table);
    }
    for (i, ty) in info.memories[memories.len()..].iter().enumerate() {
        store.allow_memory(ty)?;
        let vm = store.instances[index as usize].part::<VMMemory>(offsets.memories, i);
        let memory = define_memory(*ty, vm, store.engine().pools())
            .map_err(|error| Error::system("making a linear memory", error))?;
        memories.push(store.memories.len() as u32);
        store.memories.push(memory);
    }
    if store.engine().config().table_init == TableInit::Eager {
        for (position, function) in module.escaping.iter().enumerate() {
            let place = store.instances[index as usize].part(offsets.func_refs, position);
            define_func(store, index, position, *function, place);
        }
    }
    let instance = &mut store.instances[index as usize];
    instance.tables = tables.into();
    instance.memories = memories.into();
    instance.tags = tags.into();
    instance.globals = globals;

    for (i, expr) in info.global_inits.iter().enumerate() {
        let value = evaluate(store, index, expr)?;
        let storage = store.instances[index as usize].part::<ValRaw>(offsets.globals, i);
        let ty = info.globals[info.imported_globals as usize + i];
        let id = store.globals.len() as u32;
        store.globals.push(Global { storage, ty });
        let raw = value.raw(store);
        write_global(store, id, raw);
        value.release(store);
        store.instances[index as usize].globals.push(id);
    }
    for (i, expr) in info.table_inits.iter().enumerate() {
        let Some(expr) = expr else { continue };
        let value = evaluate(store, index, expr)?;
        let id = store.instances[index as usize].tables[info.imported_tables as usize + i];
        let (raw, count) = (value.raw(store), store.tables[id as usize].len());
        fill_new(store, id, 0, raw as u64, count);
        value.release(store);
    }
    for (i, segment) in info.elements.iter().enumerate() {
        let empty = match segment.mode {
            SegmentMode::Declared => Segment::Dropped,
            _ if !segment.ty.is_gc_ref() => Segment::Funcs,
            // A root from the start: evaluating an element may collect.
            _ => Segment::Refs(segment.items.exprs().iter().map(|_| RefCell32::null()).collect()),
        };
        let allocates = matches!(empty, Segment::Refs(_));
        store.instances[index as usize].segments.push(empty);
        if allocates {
            evaluate_segment(store, index, i, segment.items.exprs())?;
        }
    }
    Ok(())
}

/// Makes a memory, described by `vm`: a place in an instance's context that the store keeps for as long as the memory.
fn define_memory(ty: MemoryType, vm: NonNull<VMMemory>, pools: &Pools) -> Result<Memory, MemoryError> {
    if ty.shared {
        let memory = Arc::new(SharedMemory::new(ty)?);
        let record = VMMemory { base: memory.vm().as_ptr().cast(), ..VMMemory::empty() };
        // SAFETY: a place in a new context, which nothing reads yet.
        unsafe { vm.write(record) };
        return Ok(Memory::Shared(memory));
    }
    // SAFETY: the context lives until the store is dropped, or this memory is in `roll_back`.
    Ok(Memory::Local(unsafe { LocalMemory::new(ty, vm, pools) }?))
}

/// Fills in a segment of references into the heap.
fn evaluate_segment(store: &mut StoreOpaque, index: u32, segment: usize, exprs: &[ConstExpr]) -> Result<()> {
    for (i, expr) in exprs.iter().enumerate() {
        let value = evaluate(store, index, expr)?;
        let raw = VMGcRef::from_raw(value.raw(store) as u32);
        let (heap, parts) = store.parts();
        let Segment::Refs(cells) = &parts.instances[index as usize].segments[segment] else { unreachable!() };
        heap.write_ref(WriteSite::Cell { kind: CellKind::Segment, cell: &cells[i] }, raw.as_ref());
        value.release(store);
    }
    Ok(())
}

fn roll_back(store: &mut StoreOpaque, mark: Mark) {
    for segment in 0..store.instances[mark.instances].segments.len() {
        drop_segment(store, mark.instances as u32, segment as u32);
    }
    for id in mark.tables..store.tables.len() {
        if let (Elements::Refs(_), count) = (store.tables[id].elements(), store.tables[id].len()) {
            table_fill(store, id as u32, 0, 0, count).expect("all of a table is inside it");
        }
    }
    for id in mark.globals..store.globals.len() {
        write_global(store, id as u32, 0);
    }
    store.give_back_from(mark.tables, mark.memories);
    store.globals.truncate(mark.globals);
    store.tags.truncate(mark.tags);
    store.truncate_funcs(mark.funcs);
    store.instances.truncate(mark.instances);
}

/// Active segments, in order: first elements, then data.
fn run_segments(store: &mut StoreOpaque, index: u32) -> Result<()> {
    let module = store.instances[index as usize].module.clone();
    let offset_of = |store: &mut StoreOpaque, expr| -> Result<u64> {
        let value = evaluate(store, index, expr)?;
        let offset = value.raw(store) as u64;
        value.release(store);
        Ok(offset)
    };
    for (i, segment) in module.info.elements.iter().enumerate() {
        if let SegmentMode::Active { target, offset } = &segment.mode {
            let to = offset_of(store, offset)?;
            let count = store.instances[index as usize].segment_len(i as u32) as u64;
            // Nobody has written to the instance's own tables, unless they have an initial element.
            let own = target.checked_sub(module.info.imported_tables);
            let untouched = own.is_some_and(|own| module.info.table_inits[own as usize].is_none());
            let words = if untouched { Words::Zero } else { Words::Any };
            init_table(store, index, *target, i as u32, to, 0, count, words)?;
            drop_segment(store, index, i as u32);
        }
    }
    for (i, segment) in module.info.data.iter().enumerate() {
        if let SegmentMode::Active { target, offset } = &segment.mode {
            let to = offset_of(store, offset)?;
            memory_init(store, index, *target, i as u32, to, 0, segment.bytes.len() as u64)?;
            store.instances[index as usize].dropped_data[i] = true;
        }
    }
    Ok(())
}

/// `start..start + count` if that lies in `0..len`.
pub fn range(start: u64, count: u64, len: usize) -> Option<std::ops::Range<usize>> {
    let end = start.checked_add(count)?;
    (end <= len as u64).then_some(start as usize..end as usize)
}

/// `elem.drop`
pub fn drop_segment(store: &mut StoreOpaque, instance: u32, segment: u32) {
    let dropped =
        std::mem::replace(&mut store.instances[instance as usize].segments[segment as usize], Segment::Dropped);
    if let Segment::Refs(cells) = dropped {
        let to = RefRange::Cells { kind: CellKind::Segment, cells: &cells };
        store.heap_mut().write_refs(BulkWrite { to, from: BulkSource::Fill(None), initializing: false });
        store.drop_dead_hosts();
    }
}

/// `memory.init`
///
/// # Errors
/// The trap when a range is out of bounds.
pub fn memory_init(
    store: &mut StoreOpaque,
    instance: u32,
    memory: u32,
    segment: u32,
    to: u64,
    from: u64,
    bytes: u64,
) -> Result<(), Trap> {
    let instance = &store.instances[instance as usize];
    let id = instance.memories[memory as usize];
    let module = instance.module.clone();
    let data = instance.data(segment);
    let memory = &mut store.memories[id as usize];
    let to = range(to, bytes, memory.len()).ok_or(Trap::MemoryOutOfBounds)?;
    let from = range(from, bytes, data.len()).ok_or(Trap::MemoryOutOfBounds)?;
    memory.write(to.start, &module.bytes[data][from]);
    Ok(())
}

impl Instance {
    /// Where the bytes of a data segment stand in the module's; empty when it was dropped.
    pub fn data(&self, segment: u32) -> std::ops::Range<usize> {
        match self.dropped_data[segment as usize] {
            true => 0..0,
            false => self.module.info.data[segment as usize].bytes.clone(),
        }
    }
}

/// `table.init`, with the instance's index of the table.
///
/// # Errors
/// The trap when a range is out of bounds.
pub fn table_init(
    store: &mut StoreOpaque,
    instance: u32,
    table: u32,
    segment: u32,
    to: u64,
    from: u64,
    count: u64,
) -> Result<(), Trap> {
    init_table(store, instance, table, segment, to, from, count, Words::Any)
}

/// Fewer elements are written rather than noted, where either will do.
const FEW: usize = 32;

/// `table.init` of elements whose words are known to be 0, or not.
#[expect(clippy::too_many_arguments, reason = "what the instruction takes, and what is known")]
fn init_table(
    store: &mut StoreOpaque,
    instance: u32,
    table: u32,
    segment: u32,
    to: u64,
    from: u64,
    count: u64,
    words: Words,
) -> Result<(), Trap> {
    let (heap, parts) = store.parts();
    let own = &parts.instances[instance as usize];
    let id = own.tables[table as usize];
    let table = &parts.tables[id as usize];
    let to = range(to, count, table.len() as usize).ok_or(Trap::TableOutOfBounds)?;
    let from = range(from, count, own.segment_len(segment)).ok_or(Trap::TableOutOfBounds)?;
    match (table.elements(), &own.segments[segment as usize]) {
        // A dropped segment, of which nothing was asked.
        _ if from.is_empty() => {}
        (Elements::Funcs(elements), Segment::Funcs)
            if elements.is_lazy() && (words == Words::Zero || to.len() > FEW) =>
        {
            let source = Source::Segment { instance, segment, item: from.start };
            store.tables[id as usize].funcs_mut().note(to, source, words);
        }
        (Elements::Funcs(_), Segment::Funcs) => {
            for (element, item) in to.zip(from) {
                let func = segment_func(store, instance, segment, item);
                store.tables[id as usize].funcs().set(element, func);
            }
        }
        (Elements::Refs(to_cells), Segment::Refs(from_cells)) => heap.write_refs(BulkWrite {
            to: RefRange::Cells { kind: CellKind::Table, cells: &to_cells[to] },
            from: BulkSource::Copy(RefRange::Cells { kind: CellKind::Segment, cells: &from_cells[from] }),
            initializing: false,
        }),
        _ => unreachable!("a validated segment has its table's type"),
    }
    store.drop_dead_hosts();
    Ok(())
}

/// `table.fill` of the store's table `id`; a reference in `raw` is borrowed.
///
/// # Errors
/// The trap when the range is out of bounds.
pub fn table_fill(store: &mut StoreOpaque, id: u32, to: u64, raw: u64, count: u64) -> Result<(), Trap> {
    let (heap, parts) = store.parts();
    let table = &parts.tables[id as usize];
    let to = range(to, count, table.len() as usize).ok_or(Trap::TableOutOfBounds)?;
    match table.elements() {
        Elements::Funcs(elements) => to.for_each(|element| elements.set(element, raw as *const VMFuncRef)),
        Elements::Refs(cells) => {
            let value = VMGcRef::from_raw(raw as u32);
            heap.write_refs(BulkWrite {
                to: RefRange::Cells { kind: CellKind::Table, cells: &cells[to] },
                from: BulkSource::Fill(value.as_ref()),
                initializing: false,
            });
        }
    }
    store.drop_dead_hosts();
    Ok(())
}

/// `table.copy` between tables of the store's.
///
/// # Errors
/// The trap when a range is out of bounds.
pub fn table_copy(
    store: &mut StoreOpaque,
    to_id: u32,
    from_id: u32,
    to: u64,
    from: u64,
    count: u64,
) -> Result<(), Trap> {
    let to = range(to, count, store.tables[to_id as usize].len() as usize).ok_or(Trap::TableOutOfBounds)?;
    let from = range(from, count, store.tables[from_id as usize].len() as usize).ok_or(Trap::TableOutOfBounds)?;
    if let Elements::Funcs(_) = store.tables[from_id as usize].elements() {
        for index in from.clone() {
            element(store, from_id, index);
        }
    }
    let (heap, parts) = store.parts();
    let (to_table, from_table) = (&parts.tables[to_id as usize], &parts.tables[from_id as usize]);
    match (to_table.elements(), from_table.elements()) {
        (Elements::Funcs(to_elements), Elements::Funcs(from_elements)) => to_elements.copy(to, from_elements, from),
        (Elements::Refs(to_cells), Elements::Refs(from_cells)) => heap.write_refs(BulkWrite {
            to: RefRange::Cells { kind: CellKind::Table, cells: &to_cells[to] },
            from: BulkSource::Copy(RefRange::Cells { kind: CellKind::Table, cells: &from_cells[from] }),
            initializing: false,
        }),
        _ => unreachable!("validated tables have matching types"),
    }
    store.drop_dead_hosts();
    Ok(())
}

/// `table.grow` of the store's table `id`; a reference in `raw` is borrowed. The old length, or `None` when it cannot grow.
pub fn table_grow(store: &mut StoreOpaque, id: u32, delta: u64, raw: u64) -> Option<u64> {
    let engine = store.engine().clone();
    let old = store.tables[id as usize].grow(delta, engine.pools())?;
    fill_new(store, id, old, raw, delta);
    Some(old)
}

/// Sets elements that have never been written; a reference in `raw` is borrowed. They exist.
pub fn fill_new(store: &mut StoreOpaque, id: u32, to: u64, raw: u64, count: u64) {
    match store.tables[id as usize].elements_mut() {
        _ if raw == 0 => {}
        Elements::Funcs(elements) if elements.is_lazy() && count > FEW as u64 => {
            let source = Source::Func(raw as *const VMFuncRef);
            elements.note(to as usize..(to + count) as usize, source, Words::Zero);
        }
        _ => table_fill(store, id, to, raw, count).expect("the elements exist"),
    }
}
