//! The verifier (`--verify`): it is silent about correct collectors, and says what is wrong with broken ones.
//!
//! Each broken collector is `drc` with one fault in it. All run the same program.

use engine::{CollectionKind, Config, Engine, ErrorKind, ExternRef, Func, Instance, Module, Store, Val};
use gc_api::*;
use gleaner::collectors::{by_spec, specs};
use std::ops::Range;
use std::sync::Arc;

/// Builds a list in old objects, copies arrays, throws, holds host values, and makes a cycle.
const PROGRAM: &str = r#"(module $program
    (type $node (sub (struct (field (mut (ref null $node))) (field (mut i32)) (field (mut externref)))))
    (type $nodes (array (mut (ref null $node))))
    (import "host" "value" (func $value (result externref)))
    (tag $thrown (param (ref null $node)))
    (global $list (mut (ref null $node)) (ref.null $node))
    (table $table 4 (ref null $node))
    (func $make (param $i i32) (result (ref $node))
      (struct.new $node (global.get $list) (local.get $i) (call $value)))
    (func $replace (param $to (ref $node)) (param $new (ref null $node))
      (struct.set $node 0 (local.get $to) (local.get $new)))
    (func $copy (param $from (ref $nodes)) (param $to (ref $nodes))
      (array.copy $nodes $nodes (local.get $to) (i32.const 1) (local.get $from) (i32.const 0) (i32.const 3)))
    (func $throws (param $i i32) (throw $thrown (call $make (local.get $i))))
    (func (export "run") (param $n i32) (result i32)
      (local $i i32) (local $sum i32) (local $node (ref null $node)) (local $from (ref $nodes)) (local $to (ref $nodes))
      (local.set $from (array.new_default $nodes (i32.const 4)))
      (local.set $to (array.new_default $nodes (i32.const 4)))
      (loop $again
        (global.set $list (call $make (local.get $i)))
        (table.set $table (i32.and (local.get $i) (i32.const 3)) (call $make (i32.const 7)))
        (array.set $nodes (local.get $from) (i32.and (local.get $i) (i32.const 3)) (call $make (i32.const 8)))
        (call $copy (local.get $from) (local.get $to))
        ;; An old node's reference is replaced: by a new node, which refers to where the old one did.
        (local.set $node (struct.get $node 0 (global.get $list)))
        (if (i32.eqz (ref.is_null (local.get $node)))
          (then (call $replace (ref.as_non_null (local.get $node)) (call $make (i32.const 9)))))
        (local.set $node
          (block $caught (result (ref null $node))
            (try_table (catch $thrown $caught) (call $throws (local.get $i)))
            (unreachable)))
        (local.set $sum (i32.add (local.get $sum) (struct.get $node 1 (local.get $node))))
        (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
      (i32.add (local.get $sum) (struct.get $node 1 (array.get $nodes (local.get $to) (i32.const 2)))))
    (func (export "cycle") (local $a (ref $node)) (local $b (ref $node))
      (local.set $a (call $make (i32.const 1)))
      (local.set $b (call $make (i32.const 2)))
      (struct.set $node 0 (local.get $a) (local.get $b))
      (struct.set $node 0 (local.get $b) (local.get $a))
      ;; They survive a collection before they are garbage.
      (global.set $list (local.get $a))
      (drop (call $make (i32.const 3)))
      (drop (call $make (i32.const 4)))
      (global.set $list (ref.null $node))))"#;

/// What is wrong with a collector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Broken {
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
};

/// `drc` with a fault.
#[derive(Debug)]
struct Faulty {
    drc: Arc<dyn GcRuntime>,
    broken: Broken,
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

/// Runs the program; the error, if there is one.
fn run(gc: Arc<dyn GcRuntime>, zeal: &str) -> Option<engine::Error> {
    let config = Config::new(gc).verify(true).zeal(zeal.parse().unwrap());
    let engine = Engine::with_config(config).unwrap();
    let module = Module::new(&engine, PROGRAM).unwrap();
    let mut store = Store::new(&engine, ()).unwrap();
    let value = Func::wrap(&mut store, |mut caller: engine::Caller<'_, ()>| ExternRef::new(&mut caller, 5).map(Some));
    let instance = Instance::new(&mut store, &module, &[value.unwrap().into()]).unwrap();
    for (name, args, expected) in [("run", vec![Val::I32(30)], Some(435 + 8)), ("cycle", vec![], None)] {
        match instance.get_func(&mut store, name).unwrap().call(&mut store, &args) {
            Ok(results) => assert_eq!(results.first().map(|result| result.i32().unwrap()), expected),
            Err(error) => return Some(error),
        }
    }
    // Inside a program, so that a fault is an error.
    let collect = Func::wrap(&mut store, |mut caller: engine::Caller<'_, ()>| {
        caller.gc(CollectionKind::Cycle);
    });
    collect.unwrap().call(&mut store, &[]).err()
}

#[test]
fn correct_collectors_pass() {
    for gc in specs() {
        for zeal in ["alloc:1", "alloc:7,move,poison", "random:3:0.3", "poison"] {
            let error = run(by_spec(&gc).unwrap(), zeal);
            assert!(error.is_none(), "{gc} {zeal}: {}", error.unwrap());
        }
    }
    let nothing = Faulty { drc: by_spec("drc").unwrap(), broken: Broken::Nothing };
    assert!(run(Arc::new(nothing), "alloc:2").is_none());
}

#[test]
fn faults_are_found_and_named() {
    for (broken, parts) in [
        (Broken::WriteBarrier, &["before a", "counted references", "last written by", "program!$replace"][..]),
        (Broken::BulkBarrier, &["before a", "counted references", "last written by", "program!$copy"]),
        (Broken::StackRoots, &["after a", "`stack`"]),
        (Broken::Claim, &["after a", "is unreachable, and has not been freed by the collector, which says: complete"]),
        (Broken::DeadTwice, &["said to be dead twice"]),
        (Broken::DeadTooEarly, &["host value 0 is reachable, and was said to be dead"]),
        (Broken::LiveBytes, &["the collector reports", "live ones"]),
        (Broken::Listed, &["is reachable, and the collector does not list it"]),
        (Broken::Contents, &["after a", "the numbers in it have changed"]),
        (Broken::Reference, &["after a", "reference 0 of what", "and is null"]),
        (Broken::Dangling, &["refers to what is no object", "(root"]),
    ] {
        let spec = if broken == Broken::Claim { "drc:cycles=none" } else { "drc" };
        let gc = Faulty { drc: by_spec(spec).unwrap(), broken };
        let error = run(Arc::new(gc), "alloc:3").unwrap_or_else(|| panic!("{broken:?} is not found"));
        assert!(matches!(error.kind(), ErrorKind::Corruption(_)), "{broken:?}: {error}");
        let text = error.to_string();
        println!("{broken:?}: {text}\n");
        for part in parts {
            assert!(text.contains(part), "{broken:?}: `{part}` is missing: {text}");
        }
    }
}
