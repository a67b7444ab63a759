//! What `drc` promises, on programs: by its counters, which are the same at every run.

#[path = "common/instance.rs"]
mod instance;

use engine::CollectionKind;
use instance::Run;

fn benchmark(name: &str) -> Vec<u8> {
    let path = format!("{}/benches/programs/{name}.wat", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

/// Runs `test` on a stack that no recursion over a long list would fit.
fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(512 << 10).spawn(test).unwrap().join().unwrap();
}

/// `build(n)` keeps a list of `n` nodes in a global, `close` makes a ring of it, `clear` lets it go.
const CHAIN: &str = r#"(module
  (type $node (struct (field $next (mut (ref null $node))) (field i32)))
  (global $first (mut (ref null $node)) (ref.null $node))
  (func (export "build") (param $n i32)
    (loop $more
      (global.set $first (struct.new $node (global.get $first) (local.get $n)))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $more (local.get $n))))
  (func (export "close") (param i32) (local $last (ref null $node))
    (local.set $last (global.get $first))
    (block $end
      (loop $next
        (br_if $end (ref.is_null (struct.get $node $next (local.get $last))))
        (local.set $last (struct.get $node $next (local.get $last)))
        (br $next)))
    (struct.set $node $next (local.get $last) (global.get $first)))
  (func (export "clear") (param i32) (global.set $first (ref.null $node))))"#;

#[test]
fn ten_million_nodes_in_a_list_die() {
    let few = ["drc:counting=deferred", "drc:cycles=trial", "drc:budget=1ms"].map(|spec| (spec, 500_000));
    for (spec, nodes) in [("drc", 10_000_000)].into_iter().chain(few) {
        on_a_small_stack(move || {
            let mut run = Run::new(spec, 1 << 30, CHAIN);
            run.call("build", nodes).unwrap();
            assert!(run.live() >= 16 * nodes as u64, "{spec}: {}", run.live());
            run.call("clear", 0).unwrap();
            // What was new when it went needs a second one where the stack may still have it.
            run.store.gc(CollectionKind::Major);
            run.store.gc(CollectionKind::Major);
            assert_eq!(run.live(), 0, "{spec}");
            assert_eq!(run.own("freed_by_count"), run.own("retained"), "{spec}");
        });
    }
}

#[test]
fn a_million_nodes_in_a_ring_die() {
    for (spec, dies) in [
        ("drc", true),
        ("drc:cycles=trial", true),
        ("drc:counting=eager:cycles=trial", true),
        ("drc:cycles=none", false),
    ] {
        on_a_small_stack(move || {
            let mut run = Run::new(spec, 1 << 30, CHAIN);
            run.call("build", 1_000_000).unwrap();
            run.store.gc(CollectionKind::Major);
            run.call("close", 0).unwrap();
            run.call("clear", 0).unwrap();
            run.store.gc(CollectionKind::Cycle);
            run.store.gc(CollectionKind::Cycle);
            assert_eq!(run.live() == 0, dies, "{spec}: {} bytes live", run.live());
            if dies {
                assert_eq!(run.own("freed_in_cycles"), 1_000_000, "{spec}");
            }
        });
    }
}

#[test]
fn rings_that_have_grown_old_fit_a_small_heap_for_ever() {
    // Nearly every ring survives a collection of 16 KiB.
    let run = |spec: &str, rings| {
        let mut run = Run::new(spec, 1 << 20, benchmark("cycles"));
        run.call("run", rings).map(|_| run)
    };
    for options in [
        "",
        ":growth=30",
        ":cycles=trial",
        ":cycles=trial:candidates=64",
        ":counting=deferred:cycles=trial",
        ":width=2",
    ] {
        let spec = format!("drc:young=16{options}");
        let run = run(&spec, 40_000).unwrap_or_else(|error| panic!("{spec}: {error}"));
        let freed = run.own("freed_in_cycles");
        assert!(freed > 16 * 20_000, "{spec}: {freed} objects were freed in cycles");
    }
    let error = run("drc:young=16:cycles=none", 40_000).map(drop).unwrap_err().to_string();
    assert!(error.contains("heap"), "{error}");
}

#[test]
fn a_field_that_is_written_again_and_again_is_logged_once() {
    let program = r#"(module
      (type $node (struct (field $next (mut (ref null $node)))))
      (global $old (mut (ref null $node)) (ref.null $node))
      (func (export "build") (param i32)
        (global.set $old (struct.new $node (struct.new_default $node))))
      (func (export "write") (param $n i32)
        (local $one (ref null $node)) (local $old (ref null $node))
        (local.set $old (global.get $old))
        (local.set $one (struct.get $node $next (local.get $old)))
        (loop $more
          (struct.set $node $next (local.get $old) (local.get $one))
          (local.set $n (i32.sub (local.get $n) (i32.const 1)))
          (br_if $more (local.get $n)))))"#;
    let work = |spec: &str| {
        let mut run = Run::new(spec, 1 << 20, program);
        run.call("build", 0).unwrap();
        run.store.gc(CollectionKind::Major);
        let before = run.own("increments");
        run.call("write", 1000).unwrap();
        run.store.gc(CollectionKind::Major);
        run.own("increments") - before
    };
    assert_eq!(work("drc"), 1);
    // Out of line, so that the runtime sees every barrier.
    assert_eq!(work("drc:counting=deferred:barriers=call"), 1000);
}

#[test]
fn types_that_are_in_no_cycle_are_no_candidates() {
    let program = |mutable: &str| {
        let field =
            if mutable.is_empty() { "(ref null $node)".to_string() } else { format!("({mutable} (ref null $node))") };
        format!(
            r#"(module
              (type $node (struct (field $next {field}) (field i32)))
              (table $kept 100 (ref null $node))
              (table $again 100 (ref null $node))
              (func (export "run") (param $n i32)
                (local $node (ref null $node))
                (loop $more
                  (local.set $node (struct.new $node (ref.null $node) (local.get $n)))
                  (table.set $kept (i32.rem_u (local.get $n) (i32.const 100)) (local.get $node))
                  (table.set $again (i32.rem_u (local.get $n) (i32.const 99)) (local.get $node))
                  (local.set $n (i32.sub (local.get $n) (i32.const 1)))
                  (br_if $more (local.get $n)))))"#
        )
    };
    let candidates = |mutable| {
        let mut run = Run::new("drc:young=16:cycles=trial", 8 << 20, program(mutable));
        run.call("run", 20_000).unwrap();
        run.store.gc(CollectionKind::Major);
        (run.own("candidates"), run.own("candidates_filtered"))
    };
    let (all, filtered) = candidates("");
    assert!(all > 100 && filtered == all, "{filtered} of {all}: a list that is made once is in no cycle");
    let (all, filtered) = candidates("mut");
    assert!(all > 100 && filtered == 0, "{filtered} of {all}");
}

/// The work of a steady state does not grow: by what is done for as many objects. What the last round leaves undone is less than the
/// fiftieth part of it.
#[test]
fn a_steady_state_stays_as_it_is() {
    for name in ["linked_list_churn", "lru_cache"] {
        for spec in ["drc", "drc:cycles=trial", "drc:counting=deferred"] {
            let work = |n| {
                let mut run = Run::new(&format!("{spec}:young=32"), 256 << 20, benchmark(name));
                run.call("run", n).unwrap();
                let (counters, usage) = (run.counters(), run.store.stats().usage);
                let done =
                    counters.objects_traced + run.own("increments") + run.own("decrements") + run.own("enrolled");
                (done, counters.collections, usage.committed)
            };
            let [short, middle, long] = [300_000, 900_000, 2_100_000].map(work);
            let [first, second] = [(middle.0 - short.0), (long.0 - middle.0) / 2];
            assert!(second <= first + first / 50, "{name}, {spec}: work grows from {first} to {second}");
            assert!(long.1 > short.1 + 200, "{name}, {spec}: {} collections", long.1);
            assert_eq!(long.2, middle.2, "{name}, {spec}: the heap grows");
        }
    }
}

#[test]
fn memory_of_what_died_goes_back_to_the_system() {
    let mut run = Run::new("drc", 1 << 30, CHAIN);
    run.call("build", 4_000_000).unwrap();
    run.call("clear", 0).unwrap();
    for _ in 0..4 {
        run.store.gc(CollectionKind::Major);
    }
    assert_eq!(run.own("bytes_returned"), 0, "it may be used again soon");
    run.store.gc(CollectionKind::Cycle);
    let returned = run.own("bytes_returned");
    assert!(returned >= 48_000_000, "{returned} bytes of 64,000,000 were returned");
    // It can be used again.
    run.call("build", 4_000_000).unwrap();
    assert!(run.live() >= 64_000_000);
}

#[test]
fn counts_that_stick_are_healed_by_a_trace() {
    let program = r#"(module
      (type $node (struct (field $next (mut (ref null $node)))))
      (table $t 100 (ref null $node))
      (func (export "share") (param i32)
        (table.fill $t (i32.const 0) (struct.new_default $node) (i32.const 100)))
      (func (export "clear") (param i32)
        (table.fill $t (i32.const 0) (ref.null $node) (i32.const 100))))"#;
    for (spec, live) in
        [("drc:width=4", 0), ("drc:width=4:cycles=trial", 0), ("drc:width=4:cycles=none", 16), ("drc:cycles=none", 0)]
    {
        let mut run = Run::new(spec, 1 << 20, program);
        run.call("share", 0).unwrap();
        run.store.gc(CollectionKind::Major);
        run.call("clear", 0).unwrap();
        run.store.gc(CollectionKind::Cycle);
        assert_eq!(run.live(), live, "{spec}");
    }
}
