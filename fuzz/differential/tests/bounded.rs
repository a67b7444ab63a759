//! The body of the fuzz target `differential`, on inputs from `proptest` and on the seeds.
//!
//! `GLEANER_FUZZ_CASES` sets how many inputs it gets.

use arbitrary::{Arbitrary, Unstructured};
use differential::{Input, compare};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::Cell;
use std::path::Path;

fn cases(default: u32) -> u32 {
    match std::env::var("GLEANER_FUZZ_CASES") {
        Ok(text) => text.parse().expect("GLEANER_FUZZ_CASES is a number"),
        Err(_) => default,
    }
}

/// Inputs, calls, and inputs that a runner's limits ended early.
#[derive(Default)]
struct Tally {
    inputs: Cell<usize>,
    instances: Cell<usize>,
    calls: Cell<usize>,
    completed: Cell<usize>,
    early: Cell<usize>,
}

impl Tally {
    fn run(&self, bytes: &[u8]) -> Result<(), String> {
        // Too few bytes for a module are no input.
        let Ok(input) = Input::arbitrary(&mut Unstructured::new(bytes)) else { return Ok(()) };
        let compared = compare(&input.binary, input.seed)?;
        self.inputs.set(self.inputs.get() + 1);
        self.instances.set(self.instances.get() + compared.instantiated as usize);
        self.calls.set(self.calls.get() + compared.calls);
        self.completed.set(self.completed.get() + compared.completed);
        self.early.set(self.early.get() + compared.ended_early as usize);
        Ok(())
    }
}

#[test]
fn modules_do_the_same_everywhere() {
    let mut runner = TestRunner::new(Config {
        cases: cases(150),
        failure_persistence: None,
        // Each step compiles the module for every runner.
        max_shrink_iters: 300,
        ..Config::default()
    });
    let tally = Tally::default();
    let bytes = prop::collection::vec(any::<u8>(), 200..4000);
    let result = runner.run(&bytes, |bytes| tally.run(&bytes).map_err(TestCaseError::fail));
    if let Err(error) = result {
        panic!("{error}");
    }
    let (inputs, instances, early) = (tally.inputs.get(), tally.instances.get(), tally.early.get());
    let (calls, completed) = (tally.calls.get(), tally.completed.get());
    println!("{inputs} modules, {instances} instances, {early} ended early; {calls} calls, {completed} with results");
    // A comparison that compares nothing would pass, too.
    assert!(instances * 3 > inputs, "{instances} instances of {inputs} modules");
    assert!(calls > inputs && completed * 4 > calls, "{completed} of {calls} calls in {inputs} modules gave results");
    assert!(early * 4 < inputs, "{early} of {inputs} modules ended early");
}

#[test]
fn seeds_do_the_same_everywhere() {
    let tally = Tally::default();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("inside fuzz").join("corpus/differential");
    for file in std::fs::read_dir(&corpus).expect("the corpus is there") {
        let file = file.expect("readable").path();
        if file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("seed-")) {
            let bytes = std::fs::read(&file).expect("readable");
            tally.run(&bytes).unwrap_or_else(|finding| panic!("{}: {finding}", file.display()));
        }
    }
    assert!(tally.inputs.get() >= 10, "{} seeds", tally.inputs.get());
}

/// What every runner must do in its own way, and the comparison must see.
#[test]
fn written_modules_do_the_same_everywhere() {
    for text in [
        // Traps of every kind.
        r#"(module (func (export "a") unreachable)
            (memory 1) (func (export "b") (drop (i32.load (i32.const -1))))
            (table 1 funcref) (type $f (func)) (func (export "c") (call_indirect (type $f) (i32.const 0)))
            (func (export "d") (call_indirect (type $f) (i32.const 1)))
            (func $g (param i32)) (elem declare func $g)
            (func (export "e") (table.set (i32.const 0) (ref.func $g)) (call_indirect (type $f) (i32.const 0)))
            (func (export "f") (drop (i32.div_s (i32.const 1) (i32.const 0))))
            (func (export "g") (drop (i32.div_s (i32.const 0x80000000) (i32.const -1))))
            (func (export "h") (drop (i32.trunc_f32_s (f32.const nan))))
            (type $a (array (mut i32)))
            (func (export "i") (drop (array.get $a (array.new_default $a (i32.const 2)) (i32.const 2))))
            (func (export "j") (drop (array.get $a (ref.null $a) (i32.const 2))))
            (func (export "k") (drop (ref.cast (ref $a) (ref.i31 (i32.const 1))))))"#,
        // References in every place where the host looks.
        r#"(module (rec (type $s (sub (struct (field (mut i32)) (field (mut (ref null $s))) (field i8) (field externref)))))
            (type $a (array (mut anyref)))
            (import "host" "make" (func $make (result externref)))
            (import "host" "see" (func $see (param anyref)))
            (import "host" "any" (global $any (mut anyref)))
            (import "host" "anys" (table $anys 4 8 anyref))
            (import "host" "thrown" (tag $thrown (param i32 externref)))
            (global (export "cycle") (mut (ref null $s)) (ref.null $s))
            (table $funcs (export "funcs") 3 3 funcref) (elem (table $funcs) (i32.const 1) func $f $f)
            (func $f (export "run") (result anyref (ref null $s) externref funcref) (local $s (ref null $s))
              (local.set $s (struct.new $s (i32.const 5) (ref.null $s) (i32.const 200) (call $make)))
              (struct.set $s 1 (local.get $s) (local.get $s))
              (global.set 1 (local.get $s))
              (global.set $any (array.new $a (local.get $s) (i32.const 3)))
              (table.set $anys (i32.const 2) (ref.i31 (i32.const -7)))
              (call $see (local.get $s))
              (any.convert_extern (call $make)) (local.get $s) (extern.convert_any (local.get $s)) (ref.func $f))
            (func (export "throw") (throw $thrown (i32.const 9) (call $make))))"#,
        // What the host made has no type of the module's.
        r#"(module (type $s (sub (struct))) (type $t (sub $s (struct (field i32))))
            (import "host" "make" (func $make (result externref)))
            (func $any (result anyref) (any.convert_extern (call $make)))
            (func (export "test") (result i32 i32)
              (ref.test (ref null $s) (call $any)) (ref.test (ref $t) (call $any)))
            (func (export "cast") (result anyref) (ref.cast (ref $t) (call $any)))
            (func (export "branch") (result anyref)
              (block $is (result (ref $s)) (return (br_on_cast $is anyref (ref $s) (call $any))))))"#,
        // No instance: the start function traps.
        r#"(module (start 0) (func unreachable))"#,
        r#"(module (memory 1) (data (i32.const 65536) "a"))"#,
    ] {
        let binary = wat::parse_str(text).expect(text);
        for seed in 0..6 {
            let compared = compare(&binary, seed).unwrap_or_else(|finding| panic!("{finding}"));
            assert!(!compared.ended_early);
        }
    }
}
