//! A store: everything that instances, functions and objects need while programs run.
//!
//! `StoreOpaque` is the part that does not depend on the embedder's data. It stays at one address, which
//! [`VMStoreContext::store`] holds whenever compiled code runs: builtins and host functions come back to it from there.
//! The record itself is an allocation of its own, because compiled code writes to it while Rust code holds the store.

use super::backtrace;
use super::code::CodeMap;
use super::handles::{HandleTable, Root, ScopeMark};
use super::hosts::{HostValue, HostValues};
use super::instance::Instance;
use super::memory::Memory;
use super::roots::StoreRoots;
use super::shared::SharedMemory;
use super::signals::{self, Activation, TrapInfo};
use super::table::Table;
use super::unwind::{Backtrace, Bounds};
use super::verify::{self, View, Writes};
use crate::api::{Engine, Error, ErrorKind, Limiter, ModuleInner, Pauses, Result, Trap, ZealState};
use crate::types::{GlobalType, TypeIndex, TypeRegistry};
use crate::vm::{ArrayCall, VMCONTEXT_MAGIC, VMContext, VMFuncRef, VMHostContext, VMStoreContext, ValRaw};
use gc_api::{
    CellKind, Collection, CollectionKind, FIRST_INDEX, GcEvents, GcHeap, GcKind, HEAP_SPAN, HeapLimits, HeapMemory,
    HostId, INDEX_SPACE, NeedsCollection, NewObject, Outcome, Phase, Reason, RefCell32, Roots, SizingDecision, VMGcRef,
    WriteSite,
};
use rustc_hash::FxHashMap;
use std::any::Any;
use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::panic::resume_unwind;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Decisions of a heap that did not help, after which an allocation fails whatever the heap says.
const MAX_ATTEMPTS: u32 = 64;

/// The part of a store that does not depend on the embedder's data.
pub struct StoreOpaque {
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

/// What a verifier sees of a store beside its heap.
macro_rules! view {
    ($store:ident, $verifier:ident) => {
        View {
            memory: &$store.memory,
            registry: $store.engine.registry(),
            hosts: &$store.hosts,
            funcs: $store.funcs.len(),
            tags: $store.tags.len(),
            info: $store.engine.gc().info(),
            writes: &$verifier.writes,
        }
    };
}

/// The roots of a store, while its heap is in use.
macro_rules! roots {
    ($store:ident) => {
        StoreRoots {
            code: &$store.code,
            vm: $store.vm.as_ptr(),
            instances: &$store.instances,
            globals: &$store.globals,
            tables: &$store.tables,
            handles: $store.handles.slots(),
            exception: &$store.exception,
        }
    };
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

    /// References that the host holds.
    pub fn handles_in_use(&self) -> usize {
        self.handles.in_use()
    }

    // ---- Allocation and collection ----

    /// Allocates an object whose contents the caller writes before the next safepoint.
    ///
    /// # Errors
    /// A trap when the heap has no room and can get none.
    pub fn allocate(&mut self, object: NewObject) -> Result<VMGcRef, Trap> {
        if object.size > INDEX_SPACE {
            return Err(Trap::AllocationTooLarge);
        }
        self.force_collection();
        let (mut attempts, mut limited) = (0, false);
        loop {
            let NeedsCollection { bytes } = match self.heap.allocate(object) {
                Ok(object) => {
                    self.drop_dead_hosts();
                    return Ok(object);
                }
                Err(needs) => needs,
            };
            let mut decision = self.heap.on_allocation_failure(bytes, attempts);
            if attempts >= MAX_ATTEMPTS {
                decision = SizingDecision::GiveUp;
            }
            attempts += 1;
            let collection = Collection { reason: Reason::Allocation, kind: CollectionKind::Major, budget: None };
            match decision {
                SizingDecision::Collect => drop(self.collect(collection)),
                SizingDecision::Grow(wanted) => limited = !self.grow_heap(wanted, bytes),
                SizingDecision::CollectAndGrow(wanted) => {
                    self.collect(collection);
                    limited = !self.grow_heap(wanted, bytes);
                }
                SizingDecision::GiveUp if limited => {
                    return Err(Trap::HeapLimited { committed: self.memory.committed_bytes() });
                }
                SizingDecision::GiveUp => {
                    return Err(Trap::HeapExhausted { limit: self.memory.limit_bytes() });
                }
            }
        }
    }

    /// Collects if zeal wants it before this allocation.
    fn force_collection(&mut self) {
        if let Some(kind) = self.zeal.forces_collection() {
            self.collect(Collection { reason: Reason::Zeal, kind, budget: None });
        }
    }

    /// Lets the heap grow by `wanted` bytes, or if the limiter refuses that by `need`. Whether the limiter let it.
    fn grow_heap(&mut self, wanted: u64, need: u64) -> bool {
        [wanted, need].into_iter().any(|bytes| {
            let allowed = self.allow_heap(bytes);
            if allowed {
                // A heap that cannot grow is asked again, and gives up in the end.
                let _ = self.memory.grow(bytes);
            }
            allowed
        })
    }

    /// Allocates the object behind a host value. The value is dropped when there is no room.
    ///
    /// # Errors
    /// As [`Self::allocate`].
    pub fn allocate_host(&mut self, value: HostValue) -> Result<VMGcRef, Trap> {
        let exhausted = Trap::HeapExhausted { limit: self.memory.limit_bytes() };
        let host = self.hosts.insert(value).ok_or(exhausted)?;
        let object = NewObject {
            kind: GcKind::EXTERN,
            ty: gc_api::EXTERN_TYPE,
            size: gc_api::EXTERN_SIZE as u64,
            length: None,
            host: Some(host),
        };
        self.allocate(object).inspect_err(|_| drop(self.hosts.remove(host)))
    }

    /// Collects, and drops the host values that died.
    ///
    /// # Panics
    /// When the verifier finds a fault, with a text that begins with "corrupt heap".
    pub fn collect(&mut self, request: Collection) -> Outcome {
        self.release_handles();
        let verified = self.verifier.take().map(|verifier| {
            let (heap, mut roots) = (&**self.heap, roots!(self));
            let before = verify::before(view!(self, verifier), heap, &mut roots, verifier.last.as_ref());
            (before.unwrap_or_else(|fault| self.found(request, "before", &fault)), verifier)
        });
        let mut watch = Watch { pauses: &mut self.pauses, phase: None, since: Instant::now() };
        let start = watch.since;
        let mut roots = roots!(self);
        let outcome = self.heap.collect(request, &mut roots, &mut watch);
        watch.end();
        if outcome != Outcome::Refused {
            self.pauses.record(start.elapsed());
        }
        let dead = self.heap.take_dead_hosts();
        if let Some((before, mut verifier)) = verified {
            let (heap, mut roots) = (&**self.heap, roots!(self));
            let after = verify::after(view!(self, verifier), heap, &mut roots, before, request, outcome, &dead);
            let after = after.unwrap_or_else(|fault| self.found(request, "after", &fault));
            verifier.writes.follow(after.moves());
            verifier.last = Some(after);
            self.verifier = Some(verifier);
        }
        if self.engine.config().zeal.poison || self.engine.config().verify {
            verify::poison(self.heap());
        }
        self.drop_hosts(dead);
        outcome
    }

    /// Ends what runs because of a fault that the verifier found.
    fn found(&self, request: Collection, when: &str, fault: &verify::Fault) -> ! {
        let Collection { kind, reason, .. } = request;
        let collections = self.heap().counters().collections;
        panic!("corrupt heap: {when} a {kind:?} collection for {reason:?} (after {collections} others): {fault}")
    }

    /// Tells the verifier that a slot of an object is about to be written: by the compiled code that was left last, or by the host.
    pub fn note_write(&self, object: &VMGcRef, offset: u32) {
        if let Some(verifier) = &self.verifier {
            let pc = if self.depth > 0 { Some(self.current_bounds().exit_pc) } else { None };
            verifier.writes.note(object.raw(), offset, pc, || backtrace::place(self, pc.unwrap_or_default()));
        }
    }

    /// Shows the heap and all roots, as a collection would see them.
    pub fn inspect<R>(&mut self, look: impl FnOnce(&dyn GcHeap, &mut dyn Roots) -> R) -> R {
        self.release_handles();
        look(&**self.heap, &mut roots!(self))
    }

    /// What the heap asks for after a slow path.
    pub fn collect_if_wanted(&mut self) {
        if let Some(kind) = self.heap.wants_collection() {
            self.collect(Collection { reason: Reason::Collector, kind, budget: None });
        }
    }

    // ---- Entering and unwinding ----

    /// Calls a function: in an activation of its own, whose faults become traps. `values` holds the arguments, then the results.
    ///
    /// # Errors
    /// What ended the call. A panic of the host's inside it is resumed.
    ///
    /// # Safety
    /// `this` is what [`VMStoreContext::store`] of the store holds, and nothing else uses the store during the call. `callee` is a
    /// function of this store, and `values` points to `capacity` values: as many as its type has parameters or results, whichever
    /// are more, the arguments of the types of its parameters and as the heap exposed them.
    pub unsafe fn call(
        this: *mut StoreOpaque,
        callee: *const VMFuncRef,
        values: *mut ValRaw,
        capacity: usize,
    ) -> Result<()> {
        let stack = 0u8;
        // SAFETY: the caller's promise. No reference to the store is alive while compiled code runs.
        let (activation, caller, outer_limit) = unsafe {
            let store = &mut *this;
            let outer_limit = (*store.vm()).stack_limit;
            if store.depth == 0 {
                let stack = &raw const stack as usize;
                (*store.vm()).stack_limit = stack.saturating_sub(store.engine.config().max_wasm_stack);
            }
            store.depth += 1;
            (Activation::new(store.vm(), &raw const (*this).code), store.caller(), outer_limit)
        };
        // SAFETY: a function reference has code with the array convention, and the rest is the caller's promise. The store's
        // record and its code live as long as the store, which waits; an engine has installed the handlers.
        let ok = unsafe {
            let VMFuncRef { array_call, vmctx, wasm_call, .. } = *callee;
            let array_call = std::mem::transmute::<*const c_void, ArrayCall>(array_call);
            signals::with_activation(&activation, || array_call(vmctx, caller, values, capacity, wasm_call))
        };
        // SAFETY: compiled code has returned.
        let store = unsafe { &mut *this };
        store.depth -= 1;
        // SAFETY: the record lives as long as the store.
        unsafe { (*store.vm()).stack_limit = outer_limit };
        if ok {
            return Ok(());
        }
        if let Some(trap) = activation.trap.take() {
            let error = store.trapped(trap, &activation.backtrace());
            store.corrupt |= matches!(error.kind(), ErrorKind::Corruption(_));
            return Err(error);
        }
        match store.take_pending() {
            Pending::Error(error) => {
                store.corrupt |= matches!(error.kind(), ErrorKind::Corruption(_));
                Err(error)
            }
            Pending::Panic(payload) => resume_unwind(payload),
        }
    }

    /// The error for a fault in compiled code.
    fn trapped(&self, trap: TrapInfo, frames: &Backtrace) -> Error {
        let index = (trap.fault_address as u64).wrapping_sub(self.memory.base() as u64);
        let corrupt = |message: String| Error::new(ErrorKind::Corruption(format!("corrupt heap: {message}")));
        let error = match Trap::from_code(trap.code) {
            // Whatever the access expected: null is below.
            _ if (FIRST_INDEX as u64..HEAP_SPAN).contains(&index) => {
                corrupt(format!("compiled code followed a reference to index {index:#x}, where no object can be"))
            }
            Some(trap) => Error::from(trap),
            None => corrupt("compiled code found in it what does not exist".to_string()),
        };
        error.with_backtrace(|| backtrace::of_fault(self, frames))
    }

    /// The bounds of the current activation, as far as compiled code has been entered and left.
    pub fn current_bounds(&self) -> Bounds {
        // SAFETY: the record lives as long as the store, and compiled code is not running.
        Bounds::of(unsafe { &*self.vm() })
    }

    /// Makes a module's code known, so that its frames can be walked.
    pub fn load_module(&mut self, module: &Arc<ModuleInner>) {
        let start = module.code.range().start;
        if !module.code.is_empty() && self.code.lookup(start).is_none() {
            self.code.insert(module.code.clone(), self.modules.len() as u32);
            self.modules.push(module.clone());
        }
    }

    /// The module with this tag in [`Self::code`].
    pub fn module(&self, tag: u32) -> &ModuleInner {
        &self.modules[tag as usize]
    }

    /// Notes why the call that left compiled code has failed.
    pub fn set_pending(&mut self, pending: Pending) {
        self.note_raised();
        let pending = match pending {
            Pending::Error(error) => match error.uncaught() {
                // An exception that a function of the host's let through, or threw.
                Some(exception) if exception.store() == self.id && self.is_live(exception.root()) => {
                    let thrown = self.rooted(exception.slot());
                    return self.set_exception(&thrown);
                }
                _ => Pending::Error(error.with_backtrace(|| backtrace::capture(self))),
            },
            panic => panic,
        };
        self.pending = Some(pending);
    }

    /// Notes the exception that the call that left compiled code has thrown.
    pub fn set_exception(&mut self, thrown: &VMGcRef) {
        self.note_raised();
        self.pending = None;
        self.heap.write_ref(WriteSite::Cell { kind: CellKind::Exception, cell: &self.exception }, Some(thrown));
    }

    fn note_raised(&mut self) {
        self.raised_at = self.current_bounds();
    }

    /// The activation as it was left by the call that failed.
    pub fn raised_at(&self) -> Bounds {
        self.raised_at
    }

    /// Whether an exception is being thrown, rather than the activation ended.
    pub fn exception_pending(&self) -> bool {
        self.pending.is_none() && self.exception.raw() != 0
    }

    /// Takes the exception that is being thrown; the caller owns it.
    pub fn take_exception(&mut self) -> Option<VMGcRef> {
        let site = || WriteSite::Cell { kind: CellKind::Exception, cell: &self.exception };
        let taken = self.heap.read_ref(site());
        self.heap.write_ref(site(), None);
        taken
    }

    /// Takes what ended an activation.
    pub fn take_pending(&mut self) -> Pending {
        if let Some(pending) = self.pending.take() {
            return pending;
        }
        match self.take_exception() {
            Some(exception) => {
                // It may leave the scope that is open.
                let exception = self.root_owned(exception);
                Pending::Error(Error::exception(crate::api::Rooted::new(exception)))
            }
            None => Pending::Error(Error::new(ErrorKind::Corruption(
                "compiled code was left although nothing is pending".to_string(),
            ))),
        }
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

/// Times the phases of a collection.
struct Watch<'a> {
    pauses: &'a mut Pauses,
    phase: Option<Phase>,
    since: Instant,
}

impl Watch<'_> {
    fn end(&mut self) {
        let now = Instant::now();
        if let Some(phase) = self.phase.take() {
            self.pauses.record_phase(phase, now - self.since);
        }
        self.since = now;
    }
}

impl GcEvents for Watch<'_> {
    fn phase(&mut self, phase: Phase) {
        self.end();
        self.phase = Some(phase);
    }
}
