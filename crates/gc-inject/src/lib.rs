//! A collector with known costs added, to see whether a measurement finds them and says where they are.
//!
//! - `barrier=N`: each store of a reference into an object, a global or a table takes N dependent multiplications more, of some three
//!   cycles each. That is the mutator's cost, and changes no count.
//! - `pause=D`: each collection sleeps for D when it begins to reclaim. That is the collector's cost, and changes no count either.
//!
//! What a method of measurement does not find here, it would not find in a collector.

#![forbid(unsafe_code)]

use gc_api::{
    AccessSite, AllocSite, BarrierNeeds, BulkWrite, Cell, Collection, CollectionKind, CollectorInfo, Corruption,
    Counters, Edge, Emitter, GcCompiler, GcEvents, GcHeap, GcRuntime, HeapError, HeapLimits, HeapMemory, HeapRegion,
    HeapUsage, HostId, InstBuilder, MissedWrite, NeedsCollection, NewObject, OptionError, Outcome, Phase, Roots,
    Shapes, SizingDecision, SlowOp, VMGcRef, WriteSite, ir,
};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// What is added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    /// Multiplications at each store of a reference.
    pub barrier: u32,
    /// Sleep in each collection.
    pub pause: Duration,
}

/// The most that a barrier may take: code grows with it.
const MOST: u32 = 1000;

/// Where the barrier keeps what it computes, so that no optimisation leaves it out.
const SINK: Cell = Cell::own(47);

impl std::str::FromStr for Costs {
    type Err = OptionError;

    /// `barrier=N,pause=Dus`, or one of the two.
    fn from_str(text: &str) -> Result<Costs, OptionError> {
        let wrong = || {
            OptionError(format!(
                "`{text}` is no cost to inject: `barrier=N`, N up to {MOST}, and `pause=Nus` are, and both behind each other with a comma"
            ))
        };
        let mut costs = Costs::default();
        for part in text.split(',') {
            match part.split_once('=').ok_or_else(wrong)? {
                ("barrier", n) => costs.barrier = n.parse().ok().filter(|n| *n <= MOST).ok_or_else(wrong)?,
                ("pause", time) => {
                    let micros = time.strip_suffix("us").and_then(|micros| micros.parse().ok()).ok_or_else(wrong)?;
                    costs.pause = Duration::from_micros(micros);
                }
                _ => return Err(wrong()),
            }
        }
        Ok(costs)
    }
}

/// `inner` with `costs` added.
pub fn inject(inner: Arc<dyn GcRuntime>, costs: Costs) -> Arc<dyn GcRuntime> {
    Arc::new(Injected { inner, costs })
}

#[derive(Debug)]
struct Injected {
    inner: Arc<dyn GcRuntime>,
    costs: Costs,
}

impl GcRuntime for Injected {
    fn info(&self) -> &'static CollectorInfo {
        self.inner.info()
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
        let inner = self.inner.new_heap(memory, shapes, limits)?;
        Ok(Box::new(Heap { inner, pause: self.costs.pause }))
    }
}

impl GcCompiler for Injected {
    fn needs(&self) -> BarrierNeeds {
        let needs = self.inner.compiler().needs();
        BarrierNeeds { write: needs.write || self.costs.barrier > 0, ..needs }
    }

    fn alloc(&self, e: &mut Emitter<'_, '_>, object: &AllocSite) -> ir::Value {
        self.inner.compiler().alloc(e, object)
    }

    fn read(&self, e: &mut Emitter<'_, '_>, site: &AccessSite) -> ir::Value {
        self.inner.compiler().read(e, site)
    }

    fn write(&self, e: &mut Emitter<'_, '_>, site: &AccessSite, new: ir::Value) {
        if self.costs.barrier > 0 {
            let mut value = e.load_cell(SINK);
            for i in 0..self.costs.barrier {
                // No two steps are one: multiplying and shifting in turn is not linear.
                value = e.b.ins().imul_imm_u(value, 0x9E37_79B1 + 2 * i64::from(i));
                let high = e.b.ins().ushr_imm_u(value, 29);
                value = e.b.ins().bxor(value, high);
            }
            e.store_cell(SINK, value);
        }
        if self.inner.compiler().needs().write {
            self.inner.compiler().write(e, site, new);
        } else {
            e.store(site, new);
        }
    }

    fn init(&self, e: &mut Emitter<'_, '_>, site: &AccessSite, new: ir::Value) {
        self.inner.compiler().init(e, site, new);
    }

    fn ref_eq(&self, e: &mut Emitter<'_, '_>, a: ir::Value, b: ir::Value) -> ir::Value {
        self.inner.compiler().ref_eq(e, a, b)
    }

    fn poll(&self, e: &mut Emitter<'_, '_>) {
        self.inner.compiler().poll(e);
    }
}

struct Heap {
    inner: Box<dyn GcHeap>,
    pause: Duration,
}

/// Hears of a collection's phases, and sleeps in one.
struct Sleeper<'a> {
    inner: &'a mut dyn GcEvents,
    pause: Duration,
}

impl GcEvents for Sleeper<'_> {
    fn phase(&mut self, phase: Phase) {
        self.inner.phase(phase);
        if phase == Phase::Reclaim {
            // Once a collection, however often it reclaims.
            std::thread::sleep(std::mem::take(&mut self.pause));
        }
    }
}

impl GcHeap for Heap {
    fn collect(&mut self, request: Collection, roots: &mut dyn Roots, events: &mut dyn GcEvents) -> Outcome {
        self.inner.collect(request, roots, &mut Sleeper { inner: events, pause: self.pause })
    }

    // Everything else is the collector's own.

    fn allocate(&mut self, object: NewObject) -> Result<VMGcRef, NeedsCollection> {
        self.inner.allocate(object)
    }

    fn clone_ref(&mut self, r: &VMGcRef) -> VMGcRef {
        self.inner.clone_ref(r)
    }

    fn drop_ref(&mut self, r: VMGcRef) {
        self.inner.drop_ref(r);
    }

    fn expose(&mut self, r: VMGcRef) -> u32 {
        self.inner.expose(r)
    }

    fn read_ref(&mut self, site: WriteSite<'_>) -> Option<VMGcRef> {
        self.inner.read_ref(site)
    }

    fn write_ref(&mut self, site: WriteSite<'_>, new: Option<&VMGcRef>) {
        self.inner.write_ref(site, new);
    }

    fn write_refs(&mut self, write: BulkWrite<'_>) {
        self.inner.write_refs(write);
    }

    fn slow_path(&mut self, op: SlowOp, args: [u64; 4]) -> u64 {
        self.inner.slow_path(op, args)
    }

    fn wants_collection(&self) -> Option<CollectionKind> {
        self.inner.wants_collection()
    }

    fn on_allocation_failure(&mut self, need: u64, attempts: u32) -> SizingDecision {
        self.inner.on_allocation_failure(need, attempts)
    }

    fn take_dead_hosts(&mut self) -> Vec<HostId> {
        self.inner.take_dead_hosts()
    }

    fn usage(&self) -> HeapUsage {
        self.inner.usage()
    }

    fn counters(&self) -> Counters {
        self.inner.counters()
    }

    fn for_each_object(&self, visit: &mut dyn FnMut(VMGcRef)) {
        self.inner.for_each_object(visit);
    }

    fn check(&self) -> Result<(), Corruption> {
        self.inner.check()
    }

    fn check_edges(&self, edges: &[Edge]) -> Result<(), MissedWrite> {
        self.inner.check_edges(edges)
    }

    fn for_each_free_range(&self, visit: &mut dyn FnMut(Range<u32>)) {
        self.inner.for_each_free_range(visit);
    }

    fn for_each_region(&self, visit: &mut dyn FnMut(HeapRegion)) {
        self.inner.for_each_region(visit);
    }

    fn reset(&mut self) {
        self.inner.reset();
    }

    fn memory(&self) -> &HeapMemory {
        self.inner.memory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_read_with_their_mistakes_named() {
        let costs: Costs = "barrier=20,pause=5000us".parse().unwrap();
        assert_eq!(costs, Costs { barrier: 20, pause: Duration::from_millis(5) });
        for wrong in ["", "barrier", "barrier=-1", "barrier=1001", "pause=5", "size=3"] {
            let error = wrong.parse::<Costs>().unwrap_err().to_string();
            assert!(error.contains("pause=Nus"), "{error}");
        }
    }
}
