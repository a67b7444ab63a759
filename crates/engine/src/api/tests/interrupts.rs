//! Deadlines and fuel.

use super::*;
use crate::compile::{Emit, OptLevel};

const RUNAWAYS: &str = r#"(module
    (import "host" "tick" (func $tick))
    (type $node (struct (field (ref null $node))))
    (memory 1)
    (func (export "loop") (loop $l (br $l)))
    (func (export "ticking") (loop $l (call $tick) (br $l)))
    (func $f (export "tail calls") (return_call $f))
    (func (export "allocating") (local $n (ref null $node))
      (loop $l (local.set $n (struct.new $node (ref.null $node))) (br $l)))
    (func (export "catching")
      (loop $l (block $h (try_table (catch_all $h) (loop $m (br $m)))) (br $l)))
    (func (export "counting") (param i32) (result i32) (local i32)
      (loop $l
        (local.set 1 (i32.add (local.get 1) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get 1) (local.get 0))))
      (local.get 1)))"#;

fn configured(collector: &Collector, change: impl Fn(Config) -> Config) -> Engine {
    Engine::with_config(change(Config::new(collector.with(&Default::default()).unwrap()))).unwrap()
}

#[test]
fn a_deadline_ends_what_nothing_else_would() {
    for collector in &COLLECTORS {
        let engine = configured(collector, |config| config.epoch_interruption(true));
        let mut store = Store::new(&engine, ()).unwrap();
        let mut linker = Linker::new(&engine);
        let ticker = engine.clone();
        linker.func_wrap("host", "tick", move || ticker.increment_epoch()).unwrap();
        store.set_epoch_deadline(1);
        let instance = instance(&mut store, &linker, RUNAWAYS);
        for name in ["loop", "tail calls", "allocating", "catching"] {
            store.set_epoch_deadline(1);
            let ticker = engine.clone();
            let ticker = std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(5));
                ticker.increment_epoch();
            });
            let error = call(&mut store, instance, name, &[]).unwrap_err();
            assert_eq!(error.trap(), Some(Trap::Interrupt), "{name}");
            assert!(error.backtrace().is_some_and(|trace| trace.frames().len() == 1), "{name}");
            ticker.join().unwrap();
        }
        // Passed already.
        assert_eq!(trap(&mut store, instance, "counting", &[Val::I32(1)]), Trap::Interrupt);
        store.set_epoch_deadline(1);
        assert_eq!(call(&mut store, instance, "counting", &[Val::I32(9)]).unwrap()[0].i32(), Some(9));
        store.heap().check().unwrap();
    }
}

#[test]
fn at_the_deadline_the_host_can_decide() {
    for collector in &COLLECTORS {
        let engine = configured(collector, |config| config.epoch_interruption(true));
        let mut store = Store::new(&engine, 0).unwrap();
        let mut linker: Linker<i32> = Linker::new(&engine);
        let ticker = engine.clone();
        linker.func_wrap("host", "tick", move || ticker.increment_epoch()).unwrap();
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut store| {
            *store.data_mut() += 1;
            store.gc(CollectionKind::Major);
            match *store.data() {
                5 => Err(Error::usage("enough")),
                6 => panic!("too much"),
                _ => Ok(UpdateDeadline::Continue(2)),
            }
        });
        let instance = instance(&mut store, &linker, RUNAWAYS);
        let error = call(&mut store, instance, "ticking", &[]).unwrap_err();
        assert!(error.to_string().starts_with("enough"), "{error}");
        assert_eq!(*store.data(), 5);
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            call(&mut store, instance, "ticking", &[]).map(drop)
        }));
        assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"too much"));
        call(&mut store, instance, "counting", &[Val::I32(3)]).unwrap();
        store.epoch_deadline_trap();
        assert_eq!(trap(&mut store, instance, "ticking", &[]), Trap::Interrupt);
        assert_eq!(*store.data(), 7, "`counting` asked once more");
    }
}

const FUELLED: &str = r#"(module
    (type $node (struct (field (ref null $node)) (field i32)))
    (type $nodes (array (mut (ref null $node))))
    (tag $t (param i32))
    (table 2 funcref) (elem (i32.const 0) $straight $straight)
    (memory 1)
    (func $straight (export "straight") (param i32) (result i32)
      (i32.add (local.get 0) (block (result i32) (nop) (i32.const 1))))
    (func (export "divide") (param i32) (result i32) (i32.div_u (i32.const 8) (local.get 0)))
    (func $throw (param i32) (throw $t (local.get 0)))
    (func (export "work") (param i32) (result i32)
      (local $n (ref null $node)) (local $a (ref null $nodes)) (local $i i32) (local $sum i32)
      (local.set $a (array.new_default $nodes (local.get 0)))
      (loop $l
        (local.set $n (struct.new $node (local.get $n) (local.get $i)))
        (array.set $nodes (local.get $a) (local.get $i) (local.get $n))
        (if (i32.and (local.get $i) (i32.const 1))
          (then (local.set $sum (i32.add (local.get $sum) (struct.get $node 1 (local.get $n)))))
          (else (local.set $sum (call_indirect (param i32) (result i32) (local.get $sum) (i32.const 1)))))
        (block $h (result i32)
          (try_table (catch $t $h) (call $throw (local.get $i)))
          (unreachable))
        (drop)
        (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get 0))))
      (local.get $sum)))"#;

#[test]
fn a_program_consumes_the_same_however_it_is_compiled() {
    let mut seen = Vec::new();
    for collector in &COLLECTORS {
        for level in [OptLevel::None, OptLevel::Speed] {
            for explicit in [NullChecks::Faults, NullChecks::Explicit] {
                let engine = configured(collector, |config| {
                    config
                        .consume_fuel(true)
                        .opt_level(level)
                        .null_checks(explicit)
                        .count_objects(level == OptLevel::None)
                });
                let mut store = Store::new(&engine, ()).unwrap();
                store.set_fuel(1_000_000).unwrap();
                let instance = instance(&mut store, &Linker::new(&engine), FUELLED);
                let mut used = Vec::new();
                for (name, arg) in
                    [("straight", 1), ("divide", 2), ("divide", 0), ("work", 1), ("work", 2), ("work", 500)]
                {
                    let before = store.get_fuel().unwrap();
                    let _ = call(&mut store, instance, name, &[Val::I32(arg)]);
                    used.push(before - store.get_fuel().unwrap());
                }
                seen.push(used);
            }
        }
    }
    assert!(seen.iter().all(|used| *used == seen[0]), "{seen:?}");
    let used = &seen[0];
    assert_eq!((used[0], used[1]), (3, 3), "one unit an instruction");
    let (odd, even) = (used[4] - used[3], used[3]);
    assert!(odd > 20 && used[5] > 250 * odd && used[5] < 500 * (odd + even), "{used:?}");
}

#[test]
fn programs_stop_when_their_fuel_is_used_up() {
    for collector in &COLLECTORS {
        let engine = configured(collector, |config| config.consume_fuel(true));
        let mut store = Store::new(&engine, ()).unwrap();
        let mut linker = Linker::new(&engine);
        linker.func_wrap("host", "tick", || ()).unwrap();
        let instance = instance(&mut store, &linker, RUNAWAYS);
        for name in ["loop", "tail calls", "allocating", "catching", "ticking"] {
            store.set_fuel(10_000).unwrap();
            assert_eq!(trap(&mut store, instance, name, &[]), Trap::OutOfFuel, "{name}");
            assert_eq!(store.get_fuel().unwrap(), 0);
        }
        // Each iteration costs eight, and what is around the loop one.
        store.set_fuel(8 * 9 + 1).unwrap();
        assert_eq!(call(&mut store, instance, "counting", &[Val::I32(9)]).unwrap()[0].i32(), Some(9));
        assert_eq!(store.get_fuel().unwrap(), 0);
        // All of 64 bits are of use.
        store.set_fuel(u64::MAX).unwrap();
        call(&mut store, instance, "counting", &[Val::I32(9)]).unwrap();
        assert_eq!(store.get_fuel().unwrap(), u64::MAX - 73);
        store.set_fuel(i64::MAX as u64 + 10).unwrap();
        assert_eq!(store.get_fuel().unwrap(), i64::MAX as u64 + 10);
    }
}

#[test]
fn the_reserve_of_fuel_is_used() {
    let engine = configured(&COLLECTORS[0], |config| config.consume_fuel(true));
    let mut store = Store::new(&engine, ()).unwrap();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "tick", || ()).unwrap();
    let instance = instance(&mut store, &linker, RUNAWAYS);
    // As if nearly all that a signed number holds had been consumed.
    store.set_fuel(u64::MAX).unwrap();
    // SAFETY: compiled code is not running.
    unsafe { (*store.as_context_mut().opaque().vm()).fuel = 20 };
    let before = store.get_fuel().unwrap();
    assert_eq!(call(&mut store, instance, "counting", &[Val::I32(9)]).unwrap()[0].i32(), Some(9));
    assert_eq!(before - store.get_fuel().unwrap(), 73);
}

#[test]
fn what_is_off_cannot_be_used_and_costs_nothing() {
    let engine = engine(&COLLECTORS[0]);
    let mut store = Store::new(&engine, ()).unwrap();
    assert!(store.set_fuel(1).unwrap_err().to_string().contains("Config::consume_fuel"));
    assert!(store.get_fuel().is_err());
    let wat = "(module (func (loop (br 0))))";
    let clif = |engine: &Engine| Module::emit(engine, wat, Emit::Clif, |_, _| true).unwrap().remove(0).1;
    let both = configured(&COLLECTORS[0], |config| config.consume_fuel(true).epoch_interruption(true));
    assert!(clif(&both).contains("atomic_load") && clif(&both).contains("brif"), "{}", clif(&both));
    assert!(!clif(&engine).contains("atomic_load") && !clif(&engine).contains("brif"), "{}", clif(&engine));
}

#[test]
#[should_panic(expected = "Config::epoch_interruption")]
fn a_deadline_without_checks_is_a_mistake() {
    let engine = engine(&COLLECTORS[0]);
    Store::new(&engine, ()).unwrap().set_epoch_deadline(1);
}
