//! Collectors with a fault each: what checks them must find it.

#![allow(dead_code, reason = "each test uses its share")]

use engine::CollectionKind;
use gc_api::*;
use gleaner::collectors::by_spec;
use std::ops::Range;
use std::sync::Arc;

/// What is wrong with a collector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    Nothing,
    /// Compiled code stores references into objects without a barrier.
    WriteBarrier,
    /// Bulk operations do.
    BulkBarrier,
    /// The frames are not looked at.
    StackRoots,
    /// The claim to free everything, cycles included.
    Claim,
    /// A host value that died is reported twice.
    DeadTwice,
    /// A host value is reported dead that is not.
    DeadTooEarly,
    /// Eight bytes more than there are.
    LiveBytes,
    /// One object less than there are.
    Listed,
    /// A number in an object is changed by a collection.
    Contents,
    /// A reference in an object is set to null by a collection.
    Reference,
    /// A reference in an object is made to lead nowhere.
    Dangling,
}

static CLAIMING: CollectorInfo = CollectorInfo {
    name: "claiming",
    summary: "",
    citation: "",
    moving: false,
    generational: false,
    reclaims: Reclaims::Everything,
    caveat: "",
    options: &[],
    variants: &[],
};

/// `drc` with a fault.
#[derive(Debug)]
pub struct Faulty {
    drc: Arc<dyn GcRuntime>,
    broken: Broken,
}

impl Faulty {
    /// With this fault.
    pub fn with(broken: Broken) -> Arc<dyn GcRuntime> {
        let spec = if broken == Broken::Claim { "drc:cycles=none" } else { "drc" };
        Arc::new(Faulty { drc: by_spec(spec).unwrap(), broken })
    }
}

impl GcRuntime for Faulty {
    fn info(&self) -> &'static CollectorInfo {
        if self.broken == Broken::Claim { &CLAIMING } else { self.drc.info() }
    }

    fn compiler(&self) -> &dyn GcCompiler {
        self
    }

    fn new_heap(
        &self,
        memory: HeapMemory,
        shapes: Arc<Shapes>,
        limits: &HeapLimits,
    ) -> Result<Box<dyn GcHeap>, HeapError> {
        let heap = self.drc.new_heap(memory, shapes.clone(), limits)?;
        Ok(Box::new(FaultyHeap { heap, shapes, broken: self.broken }))
    }
}

impl GcCompiler for Faulty {
    fn needs(&self) -> BarrierNeeds {
        self.drc.compiler().needs()
    }

    fn alloc(&self, e: &mut Emitter<'_, '_>, object: &AllocSite) -> ir::Value {
        self.drc.compiler().alloc(e, object)
    }

    fn read(&self, e: &mut Emitter<'_, '_>, site: &AccessSite) -> ir::Value {
        self.drc.compiler().read(e, site)
    }

    fn write(&self, e: &mut Emitter<'_, '_>, site: &AccessSite, new: ir::Value) {
        match (self.broken, site.slot) {
            (Broken::WriteBarrier, Slot::Field { .. }) => e.store(site, new),
            _ => self.drc.compiler().write(e, site, new),
        }
    }

    fn init(&self, e: &mut Emitter<'_, '_>, site: &AccessSite, new: ir::Value) {
        self.drc.compiler().init(e, site, new);
    }
}

struct FaultyHeap {
    heap: Box<dyn GcHeap>,
    shapes: Arc<Shapes>,
    broken: Broken,
}

/// Roots without those in frames.
struct WithoutStack<'a>(&'a mut dyn Roots);

impl Roots for WithoutStack<'_> {
    fn visit(&mut self, kind: RootKind, visit: &mut dyn FnMut(RootSlot<'_>)) {
        if kind != RootKind::Stack {
            self.0.visit(kind, visit);
        }
    }
}

impl FaultyHeap {
    /// Damages the third struct.
    fn damage(&self) {
        let memory = self.heap.memory();
        let mut nodes = Vec::new();
        self.heap.for_each_object(&mut |object| {
            let full = matches!(self.shapes.of(memory, &object), Shape::Fixed { refs, .. } if refs.len() == 2)
                && memory.load_u32(object.raw(), HEADER_SIZE) != 0;
            nodes.extend(full.then_some(object));
        });
        let Some(node) = nodes.get(2) else { return };
        match self.broken {
            Broken::Contents => memory.store_u32(node.raw(), HEADER_SIZE + 4, 12345),
            Broken::Reference => memory.store_u32(node.raw(), HEADER_SIZE, 0),
            Broken::Dangling => memory.store_u32(node.raw(), HEADER_SIZE, node.raw() + 8),
            _ => {}
        }
    }
}

impl GcHeap for FaultyHeap {
    fn allocate(&mut self, object: NewObject) -> Result<VMGcRef, NeedsCollection> {
        self.heap.allocate(object)
    }

    fn clone_ref(&mut self, r: &VMGcRef) -> VMGcRef {
        self.heap.clone_ref(r)
    }

    fn drop_ref(&mut self, r: VMGcRef) {
        self.heap.drop_ref(r);
    }

    fn expose(&mut self, r: VMGcRef) -> u32 {
        self.heap.expose(r)
    }

    fn read_ref(&mut self, site: WriteSite<'_>) -> Option<VMGcRef> {
        self.heap.read_ref(site)
    }

    fn write_ref(&mut self, site: WriteSite<'_>, new: Option<&VMGcRef>) {
        self.heap.write_ref(site, new);
    }

    fn write_refs(&mut self, write: BulkWrite<'_>) {
        match self.broken {
            Broken::BulkBarrier => copy_refs(self.heap.memory(), write, |_, _| {}),
            _ => self.heap.write_refs(write),
        }
    }

    fn collect(&mut self, request: Collection, roots: &mut dyn Roots, events: &mut dyn GcEvents) -> Outcome {
        let outcome = match self.broken {
            Broken::StackRoots => self.heap.collect(request, &mut WithoutStack(roots), events),
            _ => self.heap.collect(request, roots, events),
        };
        self.damage();
        outcome
    }

    fn slow_path(&mut self, op: SlowOp, args: [u64; 4]) -> u64 {
        self.heap.slow_path(op, args)
    }

    fn wants_collection(&self) -> Option<CollectionKind> {
        self.heap.wants_collection()
    }

    fn on_allocation_failure(&mut self, need: u64, attempts: u32) -> SizingDecision {
        self.heap.on_allocation_failure(need, attempts)
    }

    fn take_dead_hosts(&mut self) -> Vec<HostId> {
        let mut dead = self.heap.take_dead_hosts();
        match self.broken {
            Broken::DeadTwice => dead.extend(dead.first().copied()),
            // The first host value is in the list.
            Broken::DeadTooEarly if !dead.is_empty() => dead.push(0),
            _ => {}
        }
        dead
    }

    fn usage(&self) -> HeapUsage {
        let mut usage = self.heap.usage();
        if self.broken == Broken::LiveBytes {
            usage.live += 8;
            usage.free -= 8;
        }
        usage
    }

    fn counters(&self) -> Counters {
        self.heap.counters()
    }

    fn for_each_object(&self, visit: &mut dyn FnMut(VMGcRef)) {
        let mut first = self.broken == Broken::Listed;
        self.heap.for_each_object(&mut |object| {
            if !std::mem::take(&mut first) {
                visit(object)
            }
        });
    }

    fn check(&self) -> Result<(), Corruption> {
        // The verifier is to find faults without the collector's help.
        Ok(())
    }

    fn check_edges(&self, edges: &[Edge]) -> Result<(), MissedWrite> {
        self.heap.check_edges(edges)
    }

    fn for_each_free_range(&self, visit: &mut dyn FnMut(Range<u32>)) {
        self.heap.for_each_free_range(visit);
    }

    fn reset(&mut self) {
        self.heap.reset();
    }

    fn memory(&self) -> &HeapMemory {
        self.heap.memory()
    }
}
