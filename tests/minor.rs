//! What minor collections promise, by counters, which are the same at every run: they look at what is young, and free nothing else.

#[path = "common/instance.rs"]
mod instance;

use engine::{CollectionKind, Val};
use instance::Run;

const GENERATIONAL: [&str; 4] = [
    "generational:nursery=64",
    "generational:nursery=64:remember=card",
    "immix:sticky=64",
    "immix:sticky=64:threads=2",
];

/// `build(n)` keeps `n` old nodes, `churn(n)` allocates others of which the last 10 live, `hang(n)` hangs young ones below old ones, which `sum`
/// adds up.
const PROGRAM: &str = r#"(module
  (type $node (struct (field $next (mut (ref null $node))) (field $n i32)))
  (type $nodes (array (mut (ref null $node))))
  (global $old (mut (ref null $nodes)) (ref.null $nodes))
  (table $last 10 (ref null $node))
  (func (export "build") (param $n i32)
    (global.set $old (array.new_default $nodes (local.get $n)))
    (loop $more
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (array.set $nodes (global.get $old) (local.get $n) (struct.new $node (ref.null $node) (local.get $n)))
      (br_if $more (local.get $n))))
  (func (export "clear") (param i32) (global.set $old (ref.null $nodes)))
  (func $churn (export "churn") (param $n i32)
    (loop $more
      (table.set $last (i32.rem_u (local.get $n) (i32.const 10))
        (struct.new $node (ref.null $node) (local.get $n)))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $more (local.get $n))))
  ;; Below each hundredth node.
  (func (export "hang") (param $n i32)
    (loop $more
      (local.set $n (i32.sub (local.get $n) (i32.const 100)))
      (struct.set $node $next (array.get $nodes (global.get $old) (local.get $n))
        (struct.new $node (ref.null $node) (local.get $n)))
      (call $churn (i32.const 100))
      (br_if $more (local.get $n))))
  (func (export "sum") (param $n i32) (result i32)
    (local $s i32)
    (loop $more
      (local.set $n (i32.sub (local.get $n) (i32.const 100)))
      (local.set $s (i32.add (local.get $s)
        (struct.get $node $n (struct.get $node $next (array.get $nodes (global.get $old) (local.get $n))))))
      (br_if $more (local.get $n)))
    (local.get $s)))"#;

fn built(spec: &str, nodes: i32) -> Run {
    let mut run = Run::new(spec, 256 << 20, PROGRAM);
    run.call("build", nodes).unwrap();
    run.store.gc(CollectionKind::Major);
    run
}

/// Calls what makes no full collection necessary. Gives the minor ones, and the objects that they traced.
fn minor_collections(spec: &str, run: &mut Run, export: &str, n: i32) -> (u64, u64) {
    let (before, major) = (run.counters(), run.own("major_collections"));
    run.call(export, n).unwrap();
    let after = run.counters();
    assert_eq!(run.own("major_collections"), major, "{spec}");
    (after.collections - before.collections, after.objects_traced - before.objects_traced)
}

#[test]
fn they_trace_what_survives() {
    for spec in GENERATIONAL {
        let (collections, traced) = minor_collections(spec, &mut built(spec, 100_000), "churn", 1_000_000);
        assert!(collections > 100, "{spec}: {collections} collections");
        // And what had been allocated when one began, and was not in the table yet.
        assert!(traced <= collections * 11, "{spec}: {traced} objects in {collections} collections");
    }
}

#[test]
fn they_find_what_is_young_behind_what_is_old() {
    for spec in GENERATIONAL {
        let mut run = built(spec, 10_000);
        assert!(minor_collections(spec, &mut run, "hang", 10_000).0 > 0, "{spec}");
        let sum: i32 = (0..10_000).step_by(100).sum();
        assert!(matches!(run.call("sum", 10_000).unwrap()[..], [Val::I32(found)] if found == sum), "{spec}");
    }
}

#[test]
fn they_free_what_is_young_alone() {
    for spec in GENERATIONAL {
        let mut run = built(spec, 10_000);
        run.store.gc(CollectionKind::Minor);
        let old = run.live();
        run.call("churn", 500).unwrap();
        assert_eq!(run.live(), old + 500 * 16, "{spec}");
        run.call("clear", 0).unwrap();
        run.store.gc(CollectionKind::Minor);
        assert_eq!(run.live(), old + 10 * 16, "{spec}: all that is old stays, and 10 in the table");
        run.store.gc(CollectionKind::Major);
        assert_eq!(run.live(), 10 * 16, "{spec}");
    }
}
