//! What a collector does, seen from outside: exact counters, pauses, and every object in the heap with its type.

use engine::{CollectionKind, Engine, Instance, Module, Result, Store};
use gc_api::{GcRuntime, RootKind};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Makes `n` nodes, every tenth of which stays reachable from a global.
const PROGRAM: &str = r#"(module
    (type $node (struct (field (ref null $node)) (field i64)))
    (global $kept (export "kept") (mut (ref null $node)) (ref.null $node))
    (func (export "run") (param $n i32) (local $new (ref null $node))
      (loop $make
        (local.set $new (struct.new $node (global.get $kept) (i64.extend_i32_u (local.get $n))))
        (if (i32.eqz (i32.rem_u (local.get $n) (i32.const 10)))
          (then (global.set $kept (local.get $new))))
        (br_if $make (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))"#;

/// Runs the example under a collector.
pub fn run(gc: Arc<dyn GcRuntime>) -> Result<()> {
    let info = gc.info();
    let engine = Engine::new(gc)?;
    let module = Module::new(&engine, PROGRAM)?;
    let mut store = Store::new(&engine, ())?;
    let instance = Instance::new(&mut store, &module, &[])?;
    instance.get_typed_func::<i32, ()>(&mut store, "run")?.call(&mut store, 100_000)?;
    store.gc(CollectionKind::Cycle);

    let stats = store.stats();
    assert_eq!(stats.counters.bytes_allocated, 100_000 * 24);
    println!("{}: {} bytes live, longest pause {:?}", info.name, stats.usage.live, stats.pauses.max());

    // Objects by type, and the roots outside of the heap.
    let (objects, globals) = store.inspect(|heap, roots| {
        let mut objects: BTreeMap<u32, usize> = BTreeMap::new();
        heap.for_each_object(&mut |object| *objects.entry(heap.memory().header(&object).ty()).or_default() += 1);
        let mut globals = 0;
        roots.visit(RootKind::Global, &mut |root| globals += root.get().is_some() as usize);
        (objects, globals)
    });
    assert_eq!((objects.len(), globals), (1, 1));
    let nodes = objects.values().sum::<usize>();
    println!("{nodes} nodes, {globals} global that refers to one");
    // Every tenth node is in the list; a collector that frees leaves no other.
    let expected = if info.reclaims == gc_api::Reclaims::Nothing { 100_000 } else { 10_000 };
    assert_eq!(nodes, expected);
    Ok(())
}

fn main() -> Result<()> {
    run(gleaner::collectors::by_spec("drc").expect("a collector"))
}
