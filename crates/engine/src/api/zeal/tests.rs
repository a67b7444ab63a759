//! What is said of wrong modes, and that collections come when they should.

use super::*;
use crate::{Config, Engine, ExternRef, Func, Instance, Module, Store};

#[test]
fn every_nth_allocation_of_compiled_code_and_of_the_host_collects() {
    let collector = gc_drc::COLLECTOR.with(&Default::default()).unwrap();
    let config = Config::new(collector).zeal(Zeal::every_nth_allocation(7)).count_objects(true);
    let engine = Engine::with_config(config).unwrap();
    let module = Module::new(
        &engine,
        r#"(module
          (type $cell (struct (field i32)))
          (type $cells (array (mut (ref null $cell))))
          (import "" "host" (func $host (result externref)))
          (global $cells (ref $cells) (array.new $cells (struct.new $cell (i32.const 1)) (i32.const 3)))
          (tag $done (param (ref $cell)))
          ;; Holds what it makes in locals alone, and makes some of it by the host and by a throw.
          (func (export "run") (param $n i32) (result i32)
            (local $kept (ref $cell)) (local $sum i32) (local $extern externref)
            (local.set $kept (struct.new $cell (i32.const 40)))
            (local.set $extern (call $host))
            (loop $again
              (drop (array.new_fixed $cells 2 (local.get $kept) (struct.new $cell (i32.const 5))))
              (block $caught (result (ref $cell))
                (try_table (catch $done $caught) (throw $done (struct.new $cell (i32.const 2))))
                (unreachable))
              (local.set $sum (struct.get $cell 0))
              (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
            (if (ref.is_null (local.get $extern)) (then (unreachable)))
            (drop (array.get $cells (global.get $cells) (i32.const 0)))
            (i32.add (struct.get $cell 0 (local.get $kept)) (local.get $sum))))"#,
    )
    .unwrap();
    let mut store = Store::new(&engine, ()).unwrap();
    let host = Func::wrap(&mut store, |mut caller: crate::Caller<'_, ()>| {
        Some(ExternRef::new(&mut caller, "a value of the host's").unwrap())
    });
    let instance = Instance::new(&mut store, &module, &[host.unwrap().into()]).unwrap();
    let run = instance.get_typed_func::<i32, i32>(&mut store, "run").unwrap();
    assert_eq!(run.call(&mut store, 100).unwrap(), 42);
    // Two by the global, one before the host's, the host's, and four in each turn of the loop.
    let counters = store.stats().counters;
    assert_eq!(counters.objects_allocated, Some(2 + 2 + 400));
    assert_eq!(counters.collections, 404 / 7);
    store.heap().check().unwrap();
}

#[test]
fn collections_at_random_come_as_often_as_they_should_and_at_the_same_places() {
    let places = |text: &str| {
        let mut state = ZealState::new(text.parse().unwrap());
        (0..100_000).filter(|_| state.forces_collection().is_some()).collect::<Vec<u32>>()
    };
    let first = places("random:1:0.1");
    // Ten standard deviations off.
    assert!((9_000..11_000).contains(&first.len()), "{}", first.len());
    assert_eq!(first, places("random:1:0.1"));
    assert_ne!(first, places("random:2:0.1"));
    assert_eq!(places("random:3:1").len(), 100_000);
    assert_eq!(places("alloc:1000,random:1:0.000001").iter().filter(|place| *place % 1000 == 999).count(), 100);
    assert!(places("move,poison").is_empty());
}

#[test]
fn what_is_wrong_is_said_with_what_there_is() {
    for (text, part) in [
        ("", "`` is no mode"),
        ("sometimes", "`sometimes` is no mode"),
        ("alloc", "does not say how often"),
        ("alloc:", "a whole number from 1 on"),
        ("alloc:0", "a whole number from 1 on"),
        ("alloc:-1", "a whole number from 1 on"),
        ("alloc:7,", "`` is no mode"),
        ("alloc:7,alloc:8", "gives `alloc` a second time"),
        ("poison,poison", "gives `poison` a second time"),
        ("move:1", "takes no argument"),
        ("random", "a probability above 0"),
        ("random:1", "a probability above 0"),
        ("random:1:0", "a probability above 0"),
        ("random:1:1.5", "a probability above 0"),
        ("random:x:0.5", "a whole number as the seed"),
    ] {
        let message = text.parse::<Zeal>().expect_err(text).to_string();
        assert!(message.contains(part), "{text}: {message}");
        assert!(message.contains("`alloc:N` (collect at every Nth allocation)"), "{text}: {message}");
    }
}

#[test]
fn what_is_printed_parses() {
    for text in
        ["alloc:18446744073709551615", "random:7:0.000001", "move", "alloc:1,random:18446744073709551615:1,move,poison"]
    {
        assert_eq!(text.parse::<Zeal>().unwrap().to_string(), text);
    }
    assert_eq!(Zeal::every_nth_allocation(0), Zeal::OFF);
}
