//! The limit of a heap and its policy, under every collector: the limit bounds what is kept beside the objects, too, and a policy
//! decides when to look for garbage.

use engine::{CollectionKind, Config, Engine, HeapMoment, Instance, Linker, Module, Store, Trap, Val};
use gc_api::{HeapPolicy, HeapUsage, Reclaims};
use gleaner::collectors::{by_spec, names, specs};
use std::sync::{Arc, Mutex};

const MIB: u64 = 1 << 20;

/// What there is beside the variants of the collectors' own lists.
const MORE: &[&str] = &[
    "null:barrier=field",
    "null:barrier=card",
    "drc:young=64",
    "drc:young=16:cycles=trial:candidates=64",
    "drc:counting=deferred:cycles=trace",
    "drc:counting=eager:young=64:chunk=1048576",
    "drc:cycles=none:growth=50",
    "drc:growth=50:chunk=1048576",
    "generational:remember=field",
    "generational:remember=card",
    "immix:sticky=auto",
    "immix:sticky=16:threads=2:defrag=never",
];

const PROGRAM: &str = r#"(module
  (type $node (struct (field $next (mut (ref null $node))) (field $other (mut (ref null $node))) (field i64)))
  (type $nodes (array (mut (ref null $node))))
  (type $bytes (array (mut i8)))
  (global $list (mut (ref null $node)) (ref.null $node))
  (global $slots (mut (ref null $nodes)) (ref.null $nodes))
  (global $seed (mut i32) (i32.const 12345))

  (func $random (param $below i32) (result i32)
    (global.set $seed (i32.add (i32.mul (global.get $seed) (i32.const 1664525)) (i32.const 1013904223)))
    (i32.rem_u (i32.shr_u (global.get $seed) (i32.const 8)) (local.get $below)))
  (func $push
    (global.set $list (struct.new $node (global.get $list) (ref.null $node) (i64.const 0))))

  (func (export "fill") (param i32) (loop $more (call $push) (br $more)))
  (func (export "fill with arrays") (param i32)
    (local $all (ref $nodes))
    (loop $more
      (call $push)
      (local.set $all (array.new $nodes (global.get $list) (i32.const 700)))
      ;; Each array is reached from a node of the one before.
      (struct.set $node $other (ref.as_non_null (global.get $list)) (global.get $list))
      (call $keep (local.get $all))
      (br $more)))
  (type $link (struct (field (ref null $link)) (field (ref $nodes))))
  (global $links (mut (ref null $link)) (ref.null $link))
  (func $keep (param $all (ref $nodes))
    (global.set $links (struct.new $link (global.get $links) (local.get $all))))

  ;; So many objects that stay.
  (func (export "build") (param $count i32)
    (loop $more
      (call $push)
      (local.set $count (i32.sub (local.get $count) (i32.const 1)))
      (br_if $more (local.get $count))))

  ;; Rings of two that grow old in an array of slots, so many of them, and are overwritten there; strings of bytes between them.
  (func (export "churn") (param $count i32)
    (local $ring (ref $node))
    (if (ref.is_null (global.get $slots))
      (then (global.set $slots (array.new_default $nodes (i32.const 1500)))))
    (loop $more
      (local.set $ring (struct.new $node (ref.null $node) (ref.null $node) (i64.const 1)))
      (struct.set $node $next (local.get $ring) (struct.new $node (local.get $ring) (ref.null $node) (i64.const 2)))
      (array.set $nodes (global.get $slots) (call $random (i32.const 1500)) (local.get $ring))
      (if (i32.eqz (i32.rem_u (local.get $count) (i32.const 100)))
        (then (drop (array.new_default $bytes (call $random (i32.const 9000))))))
      (local.set $count (i32.sub (local.get $count) (i32.const 1)))
      (br_if $more (local.get $count)))))"#;

struct Run {
    store: Store<()>,
    instance: Instance,
    /// Where what was taken was most: at the start, after collections, and when the heap was full.
    worst: Arc<Mutex<HeapUsage>>,
}

fn taken(usage: &HeapUsage) -> u64 {
    usage.committed + usage.metadata
}

impl Run {
    fn new(spec: &str, config: impl FnOnce(Config) -> Config) -> Run {
        let engine = Engine::with_config(config(Config::new(by_spec(spec).unwrap()))).unwrap();
        let module = Module::new(&engine, PROGRAM).unwrap();
        let mut store = Store::new(&engine, ()).unwrap();
        let worst = Arc::new(Mutex::new(store.stats().usage));
        let shown = worst.clone();
        store.observe_heap(move |moment, heap| {
            if matches!(moment, HeapMoment::AfterCollection { .. } | HeapMoment::Full { .. }) {
                let (usage, mut worst) = (heap.heap().usage(), shown.lock().unwrap());
                if taken(&usage) > taken(&worst) {
                    *worst = usage;
                }
            }
        });
        let instance = Linker::new(&engine).instantiate(&mut store, &module).unwrap();
        Run { store, instance, worst }
    }

    fn call(&mut self, name: &str, n: i32) -> engine::Result<Vec<Val>> {
        self.instance.get_func(&mut self.store, name).unwrap().call(&mut self.store, &[Val::I32(n)])
    }

    /// The most that was taken, the end included.
    fn worst(&self) -> HeapUsage {
        let (last, worst) = (self.store.stats().usage, *self.worst.lock().unwrap());
        if taken(&last) > taken(&worst) { last } else { worst }
    }

    /// Searches for all garbage.
    fn full_collections(&self) -> u64 {
        let counters = self.store.stats().counters;
        let own = counters.own.iter().find(|(name, _)| ["traces", "major_collections"].contains(name));
        own.map_or(counters.collections, |(_, count)| *count)
    }
}

fn all_specs() -> impl Iterator<Item = String> {
    specs().chain(MORE.iter().map(|spec| spec.to_string()))
}

#[test]
fn a_limit_bounds_what_is_beside_the_objects_too() {
    let mut wrong = Vec::new();
    for spec in all_specs() {
        for (limit, initial) in [(MIB, MIB), (MIB, MIB / 4), (6 * MIB, MIB)] {
            let run = || Run::new(&spec, |config| config.heap_limit(limit).initial_heap(initial));
            for program in ["fill", "fill with arrays", "churn"] {
                let mut run = run();
                let ended = run.call(program, 400_000);
                run.store.gc(CollectionKind::Cycle);
                let all = by_spec(&spec).unwrap().info().reclaims == Reclaims::Everything;
                let what = format!("{spec}, {program} in {limit} from {initial}: {:?}", run.worst());
                let lives = program == "churn";
                assert!(ended.is_ok() == lives || lives && !all, "{what}: {ended:?}");
                if let Err(error) = ended {
                    assert_eq!(error.trap(), Some(Trap::HeapExhausted { limit }), "{what}: {error}");
                    let live = error.live().expect("it is told");
                    assert!(live.bytes > limit / 4 && live.bytes <= limit, "{what}: {live:?}");
                    assert!(error.to_string().contains("\nlive: "), "{what}: {error}");
                }
                if taken(&run.worst()) > limit {
                    wrong.push(format!("{what} are {} bytes too many", taken(&run.worst()) - limit));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_collector_whose_objects_stay_where_they_are_fills_its_heap() {
    for spec in ["null", "null:barrier=object", "drc", "drc:young=64", "drc:counting=eager", "marksweep"] {
        let mut run = Run::new(spec, |config| config.heap_limit(4 * MIB));
        run.call("fill", 0).unwrap_err();
        let (live, taken) = (run.store.stats().usage.live, taken(&run.worst()));
        assert!(live > 4 * MIB * 9 / 10 && taken > 4 * MIB * 49 / 50, "{spec}: {:?}", run.worst());
    }
}

#[test]
fn the_policy_decides_when_all_garbage_is_looked_for() {
    let drc = ["drc:young=64", "drc:young=64:counting=deferred"];
    for spec in names().filter(|name| !["null", "drc"].contains(name)).chain(drc) {
        let run = |policy: HeapPolicy| {
            let mut run = Run::new(spec, |config| config.heap_limit(256 * MIB).initial_heap(MIB).heap_policy(policy));
            // 40 MiB that stay, then four times as much, most of which dies old.
            run.call("build", 1_750_000).unwrap();
            run.call("churn", 3_500_000).unwrap();
            let trials = run.store.stats().counters.own.iter().find(|(name, _)| *name == "trials").map(|own| own.1);
            (trials.unwrap_or(run.full_collections()), run.worst().committed)
        };
        let [fixed, doubling, sqrt] = [HeapPolicy::Fixed, HeapPolicy::Doubling, HeapPolicy::Sqrt].map(run);
        assert!(doubling.0 < sqrt.0, "{spec}: {fixed:?}, {doubling:?}, {sqrt:?}");
        // Counting does not wait until a heap of fixed size is full. The reserves of others follow from what survives.
        let more =
            if spec.starts_with("drc") { fixed.1 > doubling.1 && doubling.1 > sqrt.1 } else { fixed.0 < doubling.0 };
        assert!(more, "{spec}: {fixed:?}, {doubling:?}, {sqrt:?}");
    }
    // Unless it has a rule of its own.
    let run = |policy: HeapPolicy| {
        let mut run = Run::new("drc:young=64:growth=50", |config| config.heap_limit(256 * MIB).heap_policy(policy));
        run.call("build", 400_000).unwrap();
        run.call("churn", 400_000).unwrap();
        run.full_collections()
    };
    assert_eq!(run(HeapPolicy::Fixed), run(HeapPolicy::Sqrt));
}
