//! A heap, and around it what an engine is to a collector: roots by category, the allocation loop, safepoints, host values.
//!
//! Addresses in emitted code are these, which are no addresses of the process:
//!
//! ```text
//! HEAP_BASE       the heap's base; HeapMemory says what lies around it
//! GLOBALS + 16 g  the slot of global g is 8 bytes behind
//! TABLES + (t << 32) + 4 i   element i of table t
//! ```

use crate::failure::{Check, Checked, Failure, require};
use crate::script::Setup;
use gc_api::{
    Collection, CollectionKind, GcHeap, GcKind, GcRuntime, HeapLimits, HeapMemory, HeapPolicy, HostId, NeedsCollection,
    NewObject, Outcome, Reason, Reclaims, RefCell32, RootKind, RootSlot, Roots, Shapes, SizingDecision, SlowOp,
    VMGcRef,
};
use std::any::Any;
use std::cell::Cell;
use std::sync::Arc;

/// The heap's base, for emitted code.
pub const HEAP_BASE: u64 = 1 << 44;
const GLOBALS: u64 = 2 << 44;
const TABLES: u64 = 3 << 44;
/// Bytes of the index space: larger objects are never asked for.
const INDEX_SPACE: u64 = gc_api::INDEX_SPACE;
/// Failures of one allocation after which a heap must have given up.
const MAX_ATTEMPTS: u32 = 64;
/// Slices in which a collection must be complete.
const MAX_SLICES: u32 = 1 << 20;

/// Slots of the stack that a script can name.
pub const WINDOW: usize = 16;
/// Slots that a call adds.
pub const FRAME: usize = 8;
/// Number of globals.
pub const GLOBAL_COUNT: usize = 8;
/// Lengths of the tables.
pub const TABLE_LENGTHS: [usize; 3] = [8, 32, 400];
/// Number of element segments.
pub const SEGMENTS: usize = 4;
/// Elements of a segment, at most.
pub const SEGMENT_LENGTH: usize = 24;
/// Number of handles.
pub const HANDLES: usize = 8;

/// The roots of the simulated program.
#[derive(Debug)]
pub struct RealRoots {
    pub stack: Vec<Cell<u32>>,
    /// What is live across the current call in the emitted function that runs.
    pub frame: Vec<Cell<u32>>,
    pub globals: Vec<RefCell32>,
    pub tables: Vec<Vec<RefCell32>>,
    pub segments: Vec<Vec<RefCell32>>,
    pub handles: Vec<RefCell32>,
    pub exception: RefCell32,
}

impl RealRoots {
    fn new() -> RealRoots {
        let cells = |count: usize| (0..count).map(|_| RefCell32::null()).collect::<Vec<_>>();
        RealRoots {
            stack: vec![Cell::new(0); WINDOW],
            frame: Vec::new(),
            globals: cells(GLOBAL_COUNT),
            tables: TABLE_LENGTHS.map(cells).into(),
            segments: (0..SEGMENTS).map(|_| Vec::new()).collect(),
            handles: cells(HANDLES),
            exception: RefCell32::null(),
        }
    }
}

impl Roots for RealRoots {
    fn visit(&mut self, kind: RootKind, visit: &mut dyn FnMut(RootSlot<'_>)) {
        let mut cells = |cells: &[RefCell32]| {
            cells.iter().filter(|cell| cell.raw() != 0).for_each(|cell| visit(RootSlot::Cell(cell)));
        };
        match kind {
            RootKind::Stack => {
                let slots = self.frame.iter().chain(&self.stack);
                slots.filter(|slot| slot.get() != 0).for_each(|slot| visit(RootSlot::Stack(slot)));
            }
            RootKind::Global => cells(&self.globals),
            RootKind::Table => self.tables.iter().for_each(|table| cells(table)),
            RootKind::Segment => self.segments.iter().for_each(|segment| cells(segment)),
            RootKind::Host => cells(&self.handles),
            RootKind::Exception => cells(std::slice::from_ref(&self.exception)),
        }
    }
}

/// A heap and the program around it.
pub struct Machine {
    pub runtime: Arc<dyn GcRuntime>,
    pub heap: Box<dyn GcHeap>,
    pub memory: HeapMemory,
    pub roots: RealRoots,
    setup: Setup,
    /// Host values that were reported dead, since they were last asked for.
    pub dead_hosts: Vec<HostId>,
    /// Collections that were completed.
    pub collections: u64,
    /// A collection, or a slice of one, has run since this was last reset: objects may have moved.
    pub collected: bool,
    /// A collection has begun and is not complete.
    pub unfinished: bool,
    /// The heap has said [`SizingDecision::GiveUp`] for so many bytes.
    pub gave_up: Option<u64>,
    until_zeal: u32,
}

impl Machine {
    /// A program with an empty heap of this collector.
    pub fn new(runtime: &Arc<dyn GcRuntime>, setup: &Setup) -> Checked<Machine> {
        let system = |error| Failure::new(Check::Panic, format!("a heap cannot be made: {error}"));
        let memory = HeapMemory::reserve(setup.limit as u64).map_err(system)?;
        let limits = HeapLimits {
            max_bytes: setup.limit as u64,
            initial_bytes: setup.initial as u64,
            policy: HeapPolicy::default(),
            count_objects: setup.count_objects,
            always_move: setup.always_move,
        };
        let shapes: Arc<Shapes> = Arc::new(crate::types::shapes());
        let heap = runtime.new_heap(memory.clone(), shapes, &limits).map_err(system)?;
        Ok(Machine {
            runtime: runtime.clone(),
            heap,
            memory,
            roots: RealRoots::new(),
            setup: setup.clone(),
            dead_hosts: Vec::new(),
            collections: 0,
            collected: false,
            unfinished: false,
            gave_up: None,
            until_zeal: setup.zeal,
        })
    }

    /// Makes the heap as good as new, as a pool of heaps does, and forgets the program.
    pub fn reset(&mut self) -> Checked<()> {
        let initial = (self.setup.initial as u64).min(self.memory.limit_bytes());
        self.memory.shrink(initial).map_err(|error| Failure::new(Check::Panic, error))?;
        self.heap.reset();
        self.roots = RealRoots::new();
        self.dead_hosts.clear();
        (self.collections, self.collected, self.unfinished, self.gave_up) = (0, false, false, None);
        self.until_zeal = self.setup.zeal;
        Ok(())
    }

    /// Has the host drop the values whose objects were freed.
    pub fn drop_dead_hosts(&mut self) {
        self.dead_hosts.append(&mut self.heap.take_dead_hosts());
    }

    // Allocation and collection.

    /// Allocates, collecting and growing as the heap decides; `None` when it gives up.
    pub fn allocate(&mut self, object: NewObject) -> Checked<Option<VMGcRef>> {
        if object.size > INDEX_SPACE {
            return Ok(None);
        }
        self.force_collection()?;
        for attempts in 0..MAX_ATTEMPTS {
            let NeedsCollection { bytes } = match self.heap.allocate(object) {
                Ok(new) => {
                    self.drop_dead_hosts();
                    return self.check_new(&new, object).map(|()| Some(new));
                }
                Err(needs) => needs,
            };
            match self.heap.on_allocation_failure(bytes, attempts) {
                SizingDecision::Collect(kind) => {
                    self.collect(Collection { reason: Reason::Allocation, kind, budget: None })?;
                }
                SizingDecision::Grow(wanted) => self.grow(wanted, bytes),
                SizingDecision::GiveUp => {
                    self.gave_up = Some(object.size);
                    return Ok(None);
                }
            }
        }
        let what = format!("{} bytes were asked for {MAX_ATTEMPTS} times, and the heap did not give up", object.size);
        Err(Failure::new(Check::Sizing, what))
    }

    /// What [`GcHeap::allocate`] must have written.
    fn check_new(&self, new: &VMGcRef, object: NewObject) -> Checked<()> {
        let wrong = |what: String| Failure::new(Check::Allocation, format!("{new:?}, allocated as {object:?}, {what}"));
        let end = new.raw() as u64 + object.size;
        if new.is_i31() || new.raw() < gc_api::FIRST_INDEX || end > self.memory.committed() {
            return Err(wrong("lies outside the heap".into()));
        }
        let header = self.memory.header(new);
        if (header.kind(), header.ty()) != (object.kind, object.ty) {
            return Err(wrong(format!("has the header {header:?}")));
        }
        let length = object.length.map(|_| self.memory.array_length(new));
        let host = object.host.map(|_| self.memory.load_u32(new.raw(), gc_api::EXTERN_ID_OFFSET));
        if (length, host) != (object.length, object.host) {
            return Err(wrong(format!("has length {length:?} and host id {host:?}")));
        }
        Ok(())
    }

    fn grow(&self, wanted: u64, need: u64) {
        // A heap that cannot grow is asked again, and gives up in the end.
        if self.memory.grow(wanted).is_err() {
            let _ = self.memory.grow(need);
        }
    }

    fn force_collection(&mut self) -> Checked<()> {
        if self.setup.zeal > 0 {
            self.until_zeal -= 1;
            if self.until_zeal == 0 {
                self.until_zeal = self.setup.zeal;
                self.collect(Collection { reason: Reason::Zeal, kind: CollectionKind::Major, budget: None })?;
            }
        }
        Ok(())
    }

    /// Collects.
    pub fn collect(&mut self, request: Collection) -> Checked<Outcome> {
        let outcome = self.heap.collect(request, &mut self.roots, &mut ());
        self.drop_dead_hosts();
        self.collected = true;
        match outcome {
            Outcome::Complete => {
                self.collections += 1;
                self.unfinished = false;
            }
            Outcome::Unfinished => {
                // A collector may have a budget of its own, for the collections that the program causes.
                let may_be = request.budget.is_some() || request.reason != Reason::Explicit;
                require(may_be, Check::Collection, || "a collection without a budget is unfinished")?;
                self.unfinished = true;
            }
            Outcome::Refused => {
                let reclaims = self.runtime.info().reclaims;
                require(reclaims == Reclaims::Nothing, Check::Collection, || {
                    format!("it refuses, and claims: {}", reclaims.name())
                })?;
            }
        }
        Ok(outcome)
    }

    /// Ends a collection that has begun, slice by slice.
    pub fn finish_slices(&mut self) -> Checked<()> {
        for _ in 0..MAX_SLICES {
            if !self.unfinished {
                return Ok(());
            }
            self.slice(CollectionKind::Major)?;
        }
        Err(Failure::new(Check::Collection, format!("a collection is not complete after {MAX_SLICES} slices")))
    }

    /// Does the smallest slice of a collection.
    pub fn slice(&mut self, kind: CollectionKind) -> Checked<()> {
        let budget = Some(std::time::Duration::ZERO);
        self.collect(Collection { reason: Reason::Explicit, kind, budget }).map(drop)
    }

    // What emitted code reaches.

    /// The address that a table's element has for emitted code.
    pub fn table_address(table: usize, index: usize) -> u64 {
        TABLES + ((table as u64) << 32) + 4 * index as u64
    }

    /// The address that a global has for emitted code, less 8.
    pub fn global_address(global: usize) -> u64 {
        GLOBALS + 16 * global as u64
    }

    fn cell(&self, address: u64, bytes: u32) -> Option<&RefCell32> {
        let cell = if address >= TABLES {
            let at = address - TABLES;
            let table = self.roots.tables.get((at >> 32) as usize)?;
            table.get((at as u32 / 4) as usize).filter(|_| at.is_multiple_of(4))?
        } else {
            let at = address - GLOBALS;
            self.roots.globals.get(at as usize / 16).filter(|_| at % 16 == 8)?
        };
        (bytes == 4).then_some(cell)
    }

    /// What stands at an address; `None` where nothing is.
    pub fn load(&self, address: u64, bytes: u32) -> Option<u64> {
        match address {
            GLOBALS.. => self.cell(address, bytes).map(|cell| cell.raw() as u64),
            _ => self.memory.load_at(address.wrapping_sub(HEAP_BASE) as i64, bytes),
        }
    }

    /// Stores at an address; `None` where nothing is.
    pub fn store(&self, address: u64, bytes: u32, value: u64) -> Option<()> {
        match address {
            GLOBALS.. => self.cell(address, bytes).map(|cell| cell.set_raw(value as u32)),
            _ => self.memory.store_at(address.wrapping_sub(HEAP_BASE) as i64, bytes, value),
        }
    }

    /// The slow path of an inline allocation.
    pub fn allocate_for_code(&mut self, [kind, ty, size, length]: [u64; 4]) -> Checked<Option<u32>> {
        let length = (length != u64::MAX).then_some(length as u32);
        let kind = GcKind::of_header(kind as u32);
        let object = NewObject { kind, ty: ty as u32, size, length, host: None };
        Ok(self.allocate(object)?.map(|r| r.raw()))
    }

    /// The collector's own slow path: a safepoint.
    pub fn slow_path(&mut self, op: u32, args: [u64; 4]) -> Checked<u64> {
        let result = self.heap.slow_path(SlowOp(op), args);
        self.drop_dead_hosts();
        if let Some(kind) = self.heap.wants_collection() {
            self.collect(Collection { reason: Reason::Collector, kind, budget: None })?;
        }
        Ok(result)
    }
}

/// What a panic says.
pub fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
    text.unwrap_or("no message").to_string()
}
