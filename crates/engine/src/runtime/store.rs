//! A store: everything that instances, functions and objects need while programs run.
//!
//! `StoreOpaque` is the part that does not depend on the embedder's data. It stays at one address, which
//! [`VMStoreContext::store`] holds whenever compiled code runs: builtins and host functions come back to it from there.
//! The record itself is an allocation of its own, because compiled code writes to it while Rust code holds the store.

mod collect;
mod enter;
mod observe;

use super::code::CodeMap;
use super::handles::{HandleTable, Root, ScopeMark};
use super::hosts::{HostValue, HostValues};
use super::instance::Instance;
use super::memory::Memory;
use super::shared::SharedMemory;
use super::table::Table;
use super::unwind::Bounds;
use super::verify::{self, Writes};
use crate::api::{Engine, Error, ErrorKind, EventLog, HeapMoment, Limiter, ModuleInner, Pauses, Result, ZealState};
use crate::types::{GlobalType, TypeIndex, TypeRegistry};
use crate::vm::{VMCONTEXT_MAGIC, VMContext, VMFuncRef, VMHostContext, VMStoreContext, ValRaw};
use gc_api::{CellKind, GcHeap, HeapLimits, HeapMemory, HostId, RefCell32, VMGcRef, WriteSite};
use rustc_hash::FxHashMap;
use std::any::Any;
use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The part of a store that does not depend on the embedder's data.
pub struct StoreOpaque {
    /// Is shown the heap at certain moments.
    observer: Option<Observer>,
    /// Taken out when the store is dropped, before the values that its objects stand for.
    heap: ManuallyDrop<Box<dyn GcHeap>>,
    /// Bytes of objects that the heap had room for at the start.
    initial_heap: u64,
    /// Whether the heap has been found to be corrupt.
    corrupt: bool,
    hosts: HostValues,
    id: u64,
    engine: Engine,
    vm: NonNull<VMStoreContext>,
    /// The heap's memory again, to be used while the heap is borrowed.
    memory: HeapMemory,
    /// The code of all instances.
    pub code: CodeMap,
    /// Instances, by [`VMContext::instance`].
    pub instances: Vec<Instance>,
    /// Function references by id; entry 0 is null.
    funcs: Vec<*const VMFuncRef>,
    host_funcs: Vec<HostFunction>,
    /// Functions of the host's that a linker put here, by the address of their closures, which stay as long as the store.
    linked_funcs: FxHashMap<usize, u32>,
    /// Tables of instances and of the host.
    pub tables: Vec<Table>,
    /// Memories of instances and of the host.
    pub memories: Vec<Memory>,
    /// Globals of instances and of the host.
    pub globals: Vec<Global>,
    /// Tags by id.
    pub tags: Vec<Tag>,
    /// Records of the host's own tables, memories and globals, which no instance holds.
    owned: Vec<*mut (dyn Any + Send)>,
    handles: HandleTable,
    /// Activations of compiled code, one in the other.
    depth: usize,
    /// Modules whose code is in [`Self::code`], by its tag.
    modules: Vec<Arc<ModuleInner>>,
    /// Why compiled code is being unwound; if nothing stands here it is [`Self::exception`].
    pending: Option<Pending>,
    /// The exception on its way to a handler.
    exception: RefCell32,
    /// Where compiled code was left by the call that failed.
    raised_at: Bounds,
    /// The context by which the host calls.
    caller: Box<VMContext>,
    pauses: Pauses,
    /// What happens, when somebody wants to know.
    pub events: Option<Box<EventLog>>,
    zeal: ZealState,
    /// What the verifier remembers, when there is one.
    verifier: Option<Box<Verifier>>,
    /// Decides what may grow.
    pub limiter: Option<Limiter>,
    /// Decides what happens at the deadline: gives the ticks to go on for. Gets what [`VMStoreContext::store`] holds.
    pub epoch_callback: Option<EpochCallback>,
    /// Fuel beyond what [`VMStoreContext::fuel`] can hold.
    pub(super) fuel_reserve: u64,
}

/// What a verifier remembers from one collection to the next.
#[derive(Default)]
struct Verifier {
    writes: Writes,
    last: Option<verify::After>,
}

/// See [`StoreOpaque::observe`].
pub type Observer = Box<dyn FnMut(HeapMoment, &mut StoreOpaque) + Send + Sync>;

/// See [`StoreOpaque::epoch_callback`].
pub type EpochCallback = Box<dyn FnMut(*mut StoreOpaque) -> Result<u64> + Send + Sync>;

// SAFETY: the raw pointers are to allocations that the store owns and that no thread uses but the one that holds the store; the
// closures, values and the heap behind it are `Send`.
unsafe impl Send for StoreOpaque {}
// SAFETY: through a shared reference nothing is written but atomics and what is behind locks.
unsafe impl Sync for StoreOpaque {}

/// What of a store can be read while its heap is in use.
pub struct Parts<'a> {
    /// As in [`StoreOpaque`].
    pub instances: &'a [Instance],
    /// As in [`StoreOpaque`].
    pub tables: &'a [Table],
}

/// A function of the host's: its record, and the owner of its closure.
struct HostFunction {
    context: NonNull<VMHostContext>,
    _closure: Arc<dyn Any + Send + Sync>,
}

/// A global: where it stands, and its type.
#[derive(Clone, Copy)]
pub struct Global {
    /// Its storage, in an instance's context or in a box.
    pub storage: NonNull<ValRaw>,
    /// Its type.
    pub ty: GlobalType,
}

impl Global {
    /// The global as a slot for a reference into the heap.
    pub fn cell(&self) -> &RefCell32 {
        // SAFETY: storage is 16-byte aligned and lives as long as the store; for a global of such a type only its first four bytes
        // are used, by Rust code as atomics.
        unsafe { &*self.storage.as_ptr().cast::<RefCell32>() }
    }
}

/// A tag: the function type whose parameters its exceptions carry, and the type of these exceptions.
#[derive(Clone, Copy)]
pub struct Tag {
    /// A function type.
    pub func: TypeIndex,
    /// An exception's type.
    pub exception: TypeIndex,
}

/// Why compiled code is being unwound, when it is not an exception.
pub enum Pending {
    /// An error.
    Error(Error),
    /// A panic, to be resumed on the host's side.
    Panic(Box<dyn Any + Send>),
}

impl Pending {
    /// What a panic stands for: a corrupt heap is an error, anything else goes on as a panic.
    pub fn from_panic(payload: Box<dyn Any + Send>) -> Pending {
        let message = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
        match message {
            Some(message) if message.starts_with("corrupt heap") => {
                Pending::Error(Error::new(ErrorKind::Corruption(message.to_string())))
            }
            _ => Pending::Panic(payload),
        }
    }
}

impl StoreOpaque {
    /// An empty store.
    ///
    /// # Errors
    /// When there is no address space or memory for a heap.
    pub fn new(engine: &Engine) -> Result<StoreOpaque> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let heap = match engine.pools().take_heap() {
            Some(heap) => heap,
            None => StoreOpaque::new_heap(engine)?,
        };
        let memory = heap.memory().clone();
        let displays = engine.registry().displays();
        let builtins = engine.builtins();
        let vm = NonNull::from(Box::leak(Box::new(VMStoreContext {
            stack_limit: 0,
            exit_fp: 0,
            exit_pc: 0,
            entry_fp: 0,
            entry_sp: 0,
            entry_handler: 0,
            heap_base: memory.base(),
            displays,
            builtins,
            funcs: ptr::null(),
            funcs_len: 0,
            store: ptr::null_mut(),
            epoch: engine.epoch(),
            epoch_deadline: 0,
            fuel: 0,
            result: 0,
        })));
        let caller = Box::new(VMContext {
            instance: u32::MAX,
            magic: VMCONTEXT_MAGIC,
            store: vm.as_ptr(),
            heap_base: memory.base(),
            displays,
            builtins,
        });
        let mut store = StoreOpaque {
            observer: None,
            heap: ManuallyDrop::new(heap),
            initial_heap: memory.committed_bytes(),
            corrupt: false,
            hosts: HostValues::default(),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            engine: engine.clone(),
            vm,
            memory,
            code: CodeMap::default(),
            instances: Vec::new(),
            funcs: Vec::new(),
            host_funcs: Vec::new(),
            linked_funcs: FxHashMap::default(),
            tables: Vec::new(),
            memories: Vec::new(),
            globals: Vec::new(),
            tags: Vec::new(),
            owned: Vec::new(),
            handles: HandleTable::default(),
            depth: 0,
            modules: Vec::new(),
            pending: None,
            exception: RefCell32::null(),
            raised_at: Bounds::default(),
            caller,
            pauses: Pauses::default(),
            events: None,
            zeal: ZealState::new(engine.config().zeal),
            verifier: engine.config().verify.then(Box::default),
            limiter: None,
            epoch_callback: None,
            fuel_reserve: 0,
        };
        store.push_func(ptr::null());
        Ok(store)
    }

    fn new_heap(engine: &Engine) -> Result<Box<dyn GcHeap>> {
        let config = engine.config();
        let memory = HeapMemory::reserve(config.heap_limit)?;
        let max_bytes = memory.limit_bytes();
        let limits = HeapLimits {
            max_bytes,
            initial_bytes: config.initial_heap.min(max_bytes),
            policy: config.heap_policy,
            count_objects: config.count_objects,
            always_move: config.zeal.always_move,
        };
        Ok(engine.gc().new_heap(memory, engine.registry().shapes().clone(), &limits)?)
    }

    /// Tells this store from all others of the process.
    #[inline]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The engine.
    #[inline]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine's types.
    #[inline]
    pub fn registry(&self) -> &Arc<TypeRegistry> {
        self.engine.registry()
    }

    /// The record that compiled code uses.
    #[inline]
    pub fn vm(&self) -> *mut VMStoreContext {
        self.vm.as_ptr()
    }

    /// The heap's memory.
    #[inline]
    pub fn memory(&self) -> &HeapMemory {
        &self.memory
    }

    /// The heap.
    #[inline]
    pub fn heap(&self) -> &dyn GcHeap {
        &**self.heap
    }

    /// The heap, for what cannot free objects.
    #[inline]
    pub fn heap_mut(&mut self) -> &mut dyn GcHeap {
        &mut **self.heap
    }

    /// The beginning of an instance's context.
    pub fn vmcontext_header(&self, instance: u32) -> VMContext {
        VMContext { instance, ..VMContext { magic: VMCONTEXT_MAGIC, ..*self.caller } }
    }

    /// The context by which the host calls.
    pub fn caller(&mut self) -> *mut VMContext {
        &mut *self.caller
    }

    /// The heap, and beside it what holds references.
    pub fn parts(&mut self) -> (&mut dyn GcHeap, Parts<'_>) {
        (&mut **self.heap, Parts { instances: &self.instances, tables: &self.tables })
    }

    /// How long collections have stopped the program.
    pub fn pauses(&self) -> &Pauses {
        &self.pauses
    }

    // ---- Functions ----

    /// Gives a function reference its id.
    pub fn push_func(&mut self, func: *const VMFuncRef) -> u32 {
        let id = u32::try_from(self.funcs.len()).expect("four billion functions do not fit into memory");
        self.funcs.push(func);
        self.publish_funcs();
        id
    }

    /// Takes back the function references from id `len` on.
    pub fn truncate_funcs(&mut self, len: usize) {
        self.funcs.truncate(len);
        self.publish_funcs();
    }

    fn publish_funcs(&mut self) {
        // SAFETY: `vm` lives as long as the store, and no Rust reference to it is ever made.
        unsafe {
            (*self.vm()).funcs = self.funcs.as_ptr();
            (*self.vm()).funcs_len = self.funcs.len() as u64;
        }
    }

    /// Number of function references, null included.
    pub fn funcs_len(&self) -> usize {
        self.funcs.len()
    }

    /// The function reference with this id; null for 0.
    ///
    /// # Panics
    /// When there is none.
    #[inline]
    pub fn func(&self, id: u32) -> *const VMFuncRef {
        match self.funcs.get(id as usize) {
            Some(func) => *func,
            None => panic!("corrupt heap: function {id} does not exist"),
        }
    }

    /// The id of a function reference of this store, 0 for null.
    pub fn func_id(&self, func: *const VMFuncRef) -> u32 {
        // SAFETY: function references are made by this store, which owns their records; null is excluded.
        if func.is_null() { 0 } else { unsafe { (*func).id } }
    }

    /// Makes a function of the host's. `array_call` is called with a context whose `closure` is `closure`, which `owner` keeps alive.
    pub fn push_host_func(
        &mut self,
        type_index: TypeIndex,
        wasm_call: *const c_void,
        array_call: *const c_void,
        closure: *mut c_void,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> u32 {
        let header = self.vmcontext_header(u32::MAX);
        let func_ref = VMFuncRef { wasm_call, vmctx: ptr::null_mut(), array_call, type_index, id: 0 };
        let context = NonNull::from(Box::leak(Box::new(VMHostContext { header, array_call, closure, func_ref })));
        // SAFETY: just made; only the store and compiled code know it. The pointer to the record is derived from that to the
        // whole context.
        let id = unsafe {
            let func_ref = &raw mut (*context.as_ptr()).func_ref;
            let id = self.push_func(func_ref);
            (*func_ref).vmctx = context.as_ptr().cast();
            (*func_ref).id = id;
            id
        };
        self.host_funcs.push(HostFunction { context, _closure: owner });
        id
    }

    /// The function of the host's with this closure, if [`Self::remember_host_func`] was told of it.
    pub fn host_func_of(&self, closure: *const c_void) -> Option<u32> {
        self.linked_funcs.get(&closure.addr()).copied()
    }

    /// Notes that function `id` of the host's has this closure.
    pub fn remember_host_func(&mut self, closure: *const c_void, id: u32) {
        self.linked_funcs.insert(closure.addr(), id);
    }

    /// Keeps a record of the host's own until the store is dropped; its address.
    pub fn own<R: Send + 'static>(&mut self, record: R) -> NonNull<R> {
        let record = NonNull::from(Box::leak(Box::new(record)));
        self.owned.push(record.as_ptr());
        record
    }

    // ---- Memories ----

    /// Takes out the tables and memories from these ids on, which nobody can reach, and leaves what they hold of the system to the next
    /// ones.
    pub fn give_back_from(&mut self, tables: usize, memories: usize) {
        let pools = self.engine.pools();
        self.tables.drain(tables..).for_each(|table| table.give_back(pools));
        for memory in self.memories.drain(memories..) {
            if let Memory::Local(memory) = memory {
                memory.give_back(pools);
            }
        }
    }

    /// The id of a shared memory, which becomes one of this store's unless it is already.
    pub fn adopt(&mut self, memory: &Arc<SharedMemory>) -> u32 {
        let known = |own: &Memory| own.shared().is_some_and(|own| Arc::ptr_eq(own, memory));
        let id = self.memories.iter().position(known).unwrap_or_else(|| {
            self.memories.push(Memory::Shared(memory.clone()));
            self.memories.len() - 1
        });
        id as u32
    }

    // ---- References ----

    /// A second reference.
    #[inline]
    pub fn clone_ref(&mut self, r: &VMGcRef) -> VMGcRef {
        self.heap.clone_ref(r)
    }

    /// Gives up a reference.
    pub fn drop_ref(&mut self, r: VMGcRef) {
        self.heap.drop_ref(r);
        self.drop_dead_hosts();
    }

    /// Stores a reference over another.
    pub fn write_ref(&mut self, site: WriteSite<'_>, new: Option<&VMGcRef>) {
        self.heap.write_ref(site, new);
        self.drop_dead_hosts();
    }

    /// Stores a reference into a slot of the store's own over what it holds. `slot` finds it.
    pub fn write_cell(&mut self, kind: CellKind, cell: &RefCell32, new: Option<&VMGcRef>) {
        self.write_ref(WriteSite::Cell { kind, cell }, new);
    }

    /// Drops the host values whose objects have been freed. Their destructors are anybody's code, and run when nothing of the
    /// store is in use.
    pub fn drop_dead_hosts(&mut self) {
        let dead = self.heap.take_dead_hosts();
        self.drop_hosts(dead);
    }

    fn drop_hosts(&mut self, dead: Vec<HostId>) {
        if !dead.is_empty() {
            let values: Vec<HostValue> = dead.into_iter().map(|id| self.hosts.remove(id)).collect();
            drop(values);
        }
    }

    /// The host's values.
    pub fn hosts(&self) -> &HostValues {
        &self.hosts
    }

    /// The host's values, to be changed.
    pub fn hosts_mut(&mut self) -> &mut HostValues {
        &mut self.hosts
    }

    // ---- Handles ----

    /// Roots a reference that is owned, until the scope ends if one is open.
    pub fn root(&mut self, r: VMGcRef) -> Root {
        let index = self.root_slot(r);
        self.handles.root(self.id, index)
    }

    /// Roots a reference that is owned, for as long as the root is held.
    pub fn root_owned(&mut self, r: VMGcRef) -> Root {
        let index = self.root_slot(r);
        self.handles.own(self.id, index)
    }

    /// An owner for a slot in use: the scope, if one is open.
    pub fn guard(&mut self, slot: u32) -> Root {
        self.handles.root(self.id, slot)
    }

    /// Whether a root of this store's is of use still: its scope has not ended.
    pub fn is_live(&self, root: &Root) -> bool {
        self.handles.is_live(root)
    }

    /// Opens a scope of roots.
    pub fn open_scope(&mut self) -> ScopeMark {
        self.handles.open_scope()
    }

    /// Ends a scope, and those in it that have not been ended.
    pub fn close_scope(&mut self, mark: ScopeMark) {
        while let Some(slot) = self.handles.leave_scope(mark) {
            self.unroot(slot);
        }
    }

    /// See [`HandleTable::set_in_scope`].
    pub fn set_in_scope(&mut self, in_scope: bool) -> bool {
        self.handles.set_in_scope(in_scope)
    }

    /// Roots a reference that is owned, in a slot that [`Self::unroot`] must release.
    pub fn root_slot(&mut self, r: VMGcRef) -> u32 {
        self.release_handles();
        let index = self.handles.take();
        // The slot takes over the reference: no barrier.
        self.handles.slot(index).set_raw(r.raw());
        index
    }

    /// What a slot holds, borrowed from it.
    ///
    /// # Panics
    /// When the slot is free.
    pub fn rooted(&self, slot: u32) -> VMGcRef {
        self.handles.slot(slot).peek().expect("a slot in use holds a reference")
    }

    /// Releases a slot and gives up what it holds.
    pub fn unroot(&mut self, slot: u32) {
        let cell = self.handles.slot(slot);
        let held = cell.peek();
        cell.set_raw(0);
        self.handles.release(slot);
        if let Some(held) = held {
            self.drop_ref(held);
        }
    }

    /// Gives up the references whose owners have been dropped.
    #[inline]
    pub fn release_handles(&mut self) {
        // A host value that dies may own handles, hence the loop.
        loop {
            let released = self.handles.take_released();
            if released.is_empty() {
                return;
            }
            released.into_iter().for_each(|slot| self.unroot(slot));
        }
    }

    /// What the host's handles hold; null where there is none.
    pub fn handle_slots(&self) -> &[RefCell32] {
        self.handles.slots()
    }

    /// The exception on its way to a handler.
    pub fn exception(&self) -> &RefCell32 {
        &self.exception
    }

    /// References that the host holds.
    pub fn handles_in_use(&self) -> usize {
        self.handles.in_use()
    }
}

impl Drop for StoreOpaque {
    fn drop(&mut self) {
        // SAFETY: taken once; nothing looks at it afterwards.
        let heap = unsafe { ManuallyDrop::take(&mut self.heap) };
        if !self.corrupt && !std::thread::panicking() {
            self.engine.pools().give_back_heap(heap, &self.memory, self.initial_heap);
            self.give_back_from(0, 0);
        }
        for function in &self.host_funcs {
            // SAFETY: made by `Box::leak` in `push_host_func`, freed once; compiled code that knows it will not run again.
            drop(unsafe { Box::from_raw(function.context.as_ptr()) });
        }
        for record in &self.owned {
            // SAFETY: made by `Box::leak` in `own`, freed once; what points to it is dropped without a look at it.
            drop(unsafe { Box::from_raw(*record) });
        }
        // SAFETY: made by `Box::leak` in `new`, freed once; nothing uses it after the store.
        drop(unsafe { Box::from_raw(self.vm.as_ptr()) });
    }
}
