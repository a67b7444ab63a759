//! The verifier (`--verify`): it is silent about correct collectors, and says what is wrong with broken ones.
//!
//! Each broken collector is `drc` with one fault in it. All run the same program.

mod common {
    pub mod faulty;
}

use common::faulty::{Broken, Faulty};
use engine::{CollectionKind, Config, Engine, ErrorKind, ExternRef, Func, Instance, Module, Store, Val};
use gc_api::GcRuntime;
use gleaner::collectors::{by_spec, specs};
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
    assert!(run(Faulty::with(Broken::Nothing), "alloc:2").is_none());
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
        let error = run(Faulty::with(broken), "alloc:3").unwrap_or_else(|| panic!("{broken:?} is not found"));
        assert!(matches!(error.kind(), ErrorKind::Corruption(_)), "{broken:?}: {error}");
        let text = error.to_string();
        println!("{broken:?}: {text}\n");
        for part in parts {
            assert!(text.contains(part), "{broken:?}: `{part}` is missing: {text}");
        }
    }
}
