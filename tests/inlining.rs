//! Small functions are translated where they are called (`Config::inline_calls`), and short loops several times over
//! (`Config::unroll_loops`): nothing but time may tell.

use engine::{Config, Emit, Engine, Instance, Module, Store, TableInit, Val, Zeal};
use gleaner::collectors::COLLECTORS;

const PROGRAM: &str = r#"(module $m
  (type $pair (struct (field $a (mut (ref null $pair))) (field $n i32)))
  (tag $odd (param i32))
  (global $trace (export "trace") (mut i32) (i32.const 0))
  (memory 1)

  (func $note (param i32) (result i32)
    (global.set $trace (i32.add (i32.mul (global.get $trace) (i32.const 10)) (local.get 0)))
    (local.get 0))
  (func $half (param $x i32) (result i32)
    (if (i32.and (local.get $x) (i32.const 1)) (then (throw $odd (local.get $x))))
    (i32.shr_u (local.get $x) (i32.const 1)))
  (func $early (param $x i32) (result i32 i32)
    (local $y i32)
    (block
      (br_if 0 (i32.eqz (local.get $x)))
      (local.set $y (i32.const 7))
      (return (local.get $y) (local.get $x)))
    (i32.const 1) (local.get $y))
  (func $never (unreachable))
  (func $divide (param i32 i32) (result i32) (i32.div_u (local.get 0) (local.get 1)))
  (func $new (param $n i32) (param $a (ref null $pair)) (result (ref $pair))
    (struct.new $pair (local.get $a) (local.get $n)))
  (func $sum (param $p (ref null $pair)) (result i32)
    (if (result i32) (ref.is_null (local.get $p))
      (then (i32.const 0))
      (else (i32.add (struct.get $pair $n (local.get $p)) (call $sum (struct.get $pair $a (local.get $p)))))))
  (func $even? (param i32) (result i32)
    (if (result i32) (i32.eqz (local.get 0))
      (then (i32.const 1)) (else (call $odd? (i32.sub (local.get 0) (i32.const 1))))))
  (func $odd? (param i32) (result i32)
    (if (result i32) (i32.eqz (local.get 0))
      (then (i32.const 0)) (else (call $even? (i32.sub (local.get 0) (i32.const 1))))))
  ;; Twice into itself, each time with an object that lives across it.
  (func $fall (param $n i32) (result i32)
    (local $p (ref $pair))
    (local.set $p (call $new (local.get $n) (ref.null none)))
    (if (i32.eq (local.get $n) (i32.const 3)) (then (throw $odd (local.get $n))))
    (i32.add
      (call $divide (i32.const 9) (local.get $n))
      (i32.add (call $fall (i32.sub (local.get $n) (i32.const 1))) (struct.get $pair $n (local.get $p)))))
  (func $deep (param i32) (result i32) (call $divide (i32.const 12) (call $note (local.get 0))))
  (func $load (param i32) (result i32) (i32.load (local.get 0)))
  (func $first (param (ref null $pair)) (result i32) (struct.get $pair $n (local.get 0)))

  ;; The sum of a list, in a loop that makes objects, calls and throws.
  (func $walk (param $p (ref null $pair)) (result i32)
    (local $s i32) (local $last (ref null $pair))
    (loop $again (result i32)
      (if (result i32) (ref.is_null (local.get $p))
        (then (i32.add (local.get $s) (call $first (local.get $last))))
        (else
          (local.set $last (call $new (call $note (struct.get $pair $n (local.get $p))) (local.get $last)))
          (local.set $s (i32.add (local.get $s) (struct.get $pair $n (local.get $last))))
          (if (i32.eq (local.get $s) (i32.const 10)) (then (throw $odd (call $first (local.get $last)))))
          (local.set $p (struct.get $pair $a (local.get $p)))
          (br $again)))))
  ;; Longer than what is inlined everywhere, and called from one place: Euclid's algorithm, with its steps in a list.
  (func $once (param $x i32) (param $y i32) (result i32)
    (local $list (ref null $pair)) (local $t i32)
    (if (i32.eqz (local.get $x)) (then (return (local.get $y))))
    (if (i32.eqz (local.get $y)) (then (return (local.get $x))))
    (loop $again
      (local.set $list (call $new (local.get $y) (local.get $list)))
      (local.set $t (i32.rem_u (local.get $x) (local.get $y)))
      (local.set $x (local.get $y))
      (local.set $y (local.get $t))
      (br_if $again (local.get $y)))
    (if (i32.ne (struct.get $pair $n (local.get $list)) (local.get $x)) (then (unreachable)))
    (if (i32.gt_u (local.get $x) (i32.const 1))
      (then (return (i32.add (local.get $x) (i32.shl (struct.get $pair $n (local.get $list)) (i32.const 8))))))
    (i32.add (local.get $x) (struct.get $pair $n (struct.get $pair $a (local.get $list)))))

  ;; Tables that nothing changes: of each type that is called there are few functions in them.
  (type $unary (func (param i32) (result i32)))
  (type $make (sub (func (param i32 (ref null $pair)) (result (ref null $pair)))))
  (type $make_one (sub $make (func (param i32 (ref null $pair)) (result (ref $pair)))))
  (table $few 12 funcref)
  (elem (table $few) (i32.const 0) func $half $note $load $deep)
  (elem (table $few) (i32.const 5) func $make $make_one $never $nothing $never_returns $many)
  (func $make (type $make) (if (result (ref null $pair)) (local.get 0) (then (call $new (local.get 0) (local.get 1))) (else (local.get 1))))
  (func $make_one (type $make_one) (call $new (call $note (local.get 0)) (local.get 1)))
  (func $nothing)
  (func $never_returns (param i64) (result i64) (throw $odd (i32.wrap_i64 (local.get 0))))
  (func $many (param f64) (result f64 i32) (f64.neg (local.get 0)) (i32.const 3))
  (table $itself 1 (ref null $unary))
  (elem (table $itself) (i32.const 0) (ref null $unary) (ref.func $down))
  (func $down (type $unary)
    (if (result i32) (i32.eqz (local.get 0))
      (then (i32.const 0))
      (else (i32.add (call_indirect $itself (type $unary) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0)) (local.get 0)))))
  ;; Five of a type are not few; a table that is exported is not as it was.
  (table $five 5 funcref)
  (elem (table $five) (i32.const 0) func $half $note $load $deep $down)
  (table $seen (export "seen") 5 funcref)
  (elem (table $seen) (i32.const 0) func $half $note)

  (func $few (export "few") (param i32) (result i32)
    (i32.add (call $note (i32.const 5))
      (call_indirect $few (type $unary) (call $note (i32.const 6)) (i32.and (local.get 0) (i32.const 15)))))
  (func $fews (export "fews") (param i32) (result i32)
    (i32.add (local.get 0)
      (call_indirect $few (type $unary) (i32.sub (i32.const 0) (local.get 0)) (i32.and (i32.shl (local.get 0) (i32.const 1)) (i32.const 15)))))
  (func (export "makes") (param $n i32) (result i32)
    (local $list (ref null $pair))
    (loop $again
      (local.set $list
        (call_indirect $few (type $make) (local.get $n)
          (call_indirect $few (type $make_one) (i32.const 3) (local.get $list) (i32.const 6))
          (i32.add (i32.const 5) (i32.and (local.get $n) (i32.const 1)))))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $again (i32.gt_s (local.get $n) (i32.const 0))))
    (call $sum (local.get $list)))
  (func (export "threw") (param i32) (result i32)
    (block $caught (result i32)
      (try_table (catch $odd $caught)
        (return (i32.sub (i32.const 100) (call_indirect $few (type $unary) (i32.add (local.get 0) (i32.const 1)) (i32.const 0)))))
      (unreachable)))
  ;; The first of two does not return, with an operand below.
  (func $void (export "void") (param i32) (result i32)
    (local.get 0)
    (call_indirect $few (i32.add (i32.const 7) (i32.ne (local.get 0) (i32.const 2))))
    (i32.add (i32.const 1)))
  (func (export "lost") (param i32) (result i32)
    (local.get 0)
    (if (i32.gt_u (local.get 0) (i32.const 1))
      (then (drop (call_indirect $few (param i64) (result i64) (i64.const 7) (i32.const 9)))))
    (i32.add (i32.const 1)))
  (func $one (export "many") (param i32) (result i32)
    (call_indirect $few (param f64) (result f64 i32) (f64.convert_i32_s (local.get 0)) (i32.const 10))
    (local.set 0)
    (i32.mul (i32.trunc_f64_s) (local.get 0)))
  (func $downs (export "downs") (param i32) (result i32) (call_indirect $itself (type $unary) (local.get 0) (i32.const 0)))
  (func $fives (export "fives") (param i32) (result i32) (call_indirect $five (type $unary) (local.get 0) (i32.const 4)))
  (func $seens (export "seens") (param i32) (result i32) (call_indirect $seen (type $unary) (local.get 0) (local.get 0)))

  ;; Arguments are evaluated in order, before the body.
  (func (export "order") (param i32) (result i32)
    (drop (call $divide (call $note (i32.const 8)) (call $note (i32.const 2))))
    (drop (call $note (call $note (i32.const 3))))
    (global.get $trace))
  ;; What is thrown inside is caught outside, and what is caught there stays there.
  (func (export "thrown") (param i32) (result i32)
    (block $caught (result i32)
      (try_table (catch $odd $caught)
        (return (call $half (call $half (local.get 0)))))
      (unreachable)))
  (func (export "escapes") (param i32) (result i32) (call $half (local.get 0)))
  (func (export "early") (param i32) (result i32)
    (i32.mul (call $early (local.get 0))))
  ;; A local is zero at each call, in a loop too.
  (func (export "locals") (param i32) (result i32)
    (local $s i32)
    (loop $again
      (local.set $s (i32.add (local.get $s) (i32.sub (call $early (local.get 0)))))
      (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
      (br_if $again (i32.ge_s (local.get 0) (i32.const 0))))
    (local.get $s))
  (func (export "never") (param i32) (result i32)
    (if (local.get 0) (then (call $never) (drop (i32.const 3))))
    (i32.const 4))
  (func (export "divide") (param i32) (result i32) (nop) (call $deep (local.get 0)))
  (func (export "objects") (param i32) (result i32)
    (local $list (ref null $pair))
    (loop $again
      (local.set $list (call $new (local.get 0) (call $new (i32.const 1) (local.get $list))))
      (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
      (br_if $again (i32.gt_s (local.get 0) (i32.const 0))))
    (call $sum (local.get $list)))
  (func (export "walks") (param i32) (result i32)
    (local $list (ref null $pair)) (local $s i32)
    (local.set $list (call $new (i32.const 1) (call $new (local.get 0) (ref.null none))))
    (loop $again
      (local.set $s (i32.add (local.get $s) (call $walk (local.get $list))))
      (local.set $list (call $new (i32.const 2) (local.get $list)))
      (br_if $again (i32.lt_u (local.get $s) (i32.const 100))))
    (local.get $s))
  (func $onces (export "once") (param $n i32) (result i32)
    (local $s i32)
    (loop $again
      (local.set $s (i32.add (i32.mul (local.get $s) (i32.const 3)) (call $once (local.get $n) (i32.const 6))))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $again (i32.gt_s (local.get $n) (i32.const 0))))
    (local.get $s))
  ;; Loops that are left in their first, second, third and later iterations: from the middle, by a trap, by what was thrown.
  (func $mix (export "mix") (param $n i32) (result i32)
    (local $p (ref null $pair)) (local $s i32)
    (loop $again (result i32)
      (global.set $trace (i32.add (global.get $trace) (i32.const 1)))
      (local.set $p (struct.new $pair (local.get $p) (local.get $n)))
      (block $odd
        (br_if $odd (i32.and (local.get $n) (i32.const 1)))
        (local.set $s (i32.add (local.get $s) (struct.get $pair $n (local.get $p))))
        (if (i32.eqz (local.get $n)) (then (return (i32.add (local.get $s) (i32.const 1000))))))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (if (result i32) (i32.gt_u (local.get $s) (i32.const 100))
        (then (struct.get $pair $n (struct.get $pair $a (struct.get $pair $a (local.get $p)))))
        (else (br $again)))))
  (func (export "nulls") (param $n i32) (result i32)
    (local $p (ref null $pair))
    (loop $make
      (local.set $p (struct.new $pair (local.get $p) (local.get $n)))
      (br_if $make (local.tee $n (i32.sub (local.get $n) (i32.eqz (i32.eqz (local.get $n)))))))
    (loop $again
      (local.set $n (i32.add (i32.mul (local.get $n) (i32.const 2)) (struct.get $pair $n (local.get $p))))
      (global.set $trace (local.get $n))
      (local.set $p (struct.get $pair $a (local.get $p)))
      (br_if $again (i32.lt_u (local.get $n) (i32.const 50))))
    (local.get $n))
  (func (export "caught") (param $n i32) (result i32)
    (local $s i32) (local $three (ref $pair))
    (local.set $three (call $new (i32.const 3) (ref.null none)))
    (block $out (result i32)
      (try_table (catch $odd $out)
        (loop $again
          (local.set $s (i32.add (local.get $s) (struct.get $pair $n (local.get $three))))
          (if (i32.gt_u (local.get $s) (local.get $n)) (then (throw $odd (local.get $s))))
          (br $again)))
      (unreachable)))
  ;; A loop that is left at once, whose label nothing reaches, and one without end.
  (func $straight (export "straight") (param i32) (result i32)
    (loop $never (result i32)
      (return (struct.get $pair $n (call $new (local.get 0) (ref.null none))))
      (br_if $never (local.get 0))))
  ;; A loop without objects, which stays as it is.
  (func $numbers (export "numbers") (param $n i32) (result i32)
    (local $s i32)
    (loop $again
      (local.set $s (i32.add (local.get $s) (local.get $n)))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $again (i32.gt_s (local.get $n) (i32.const 0))))
    (local.get $s))
  (func (export "spins") (param $n i32) (result i32)
    (local $p (ref $pair))
    (local.set $p (call $new (local.get $n) (ref.null none)))
    (loop $again
      (global.set $trace (i32.add (global.get $trace) (struct.get $pair $n (local.get $p))))
      (br_if $again (local.get $n)))
    (global.get $trace))
  (func (export "falls") (param i32) (result i32) (call $fall (local.get 0)))
  (func (export "parity") (param i32) (result i32) (call $even? (local.get 0)))
  (func (export "bounds") (param i32) (result i32) (call $load (i32.mul (local.get 0) (i32.const 60000))))
  (func (export "null") (param i32) (result i32)
    (call $first (if (result (ref null $pair)) (local.get 0) (then (call $new (i32.const 5) (ref.null none))) (else (ref.null none))))))"#;

const EXPORTS: [&str; 30] = [
    "order", "thrown", "escapes", "early", "locals", "never", "divide", "objects", "walks", "once", "falls", "parity",
    "bounds", "null", "mix", "nulls", "caught", "straight", "numbers", "spins", "few", "fews", "makes", "threw",
    "void", "lost", "many", "downs", "fives", "seens",
];

/// What each export does with each argument: its result or its error, which has a backtrace, the fuel that is left, and what stands in
/// a global.
fn outcomes(config: Config) -> Vec<String> {
    let mut all = Vec::new();
    let engine = Engine::with_config(config.consume_fuel(true)).unwrap();
    let module = Module::new(&engine, PROGRAM).unwrap();
    for export in EXPORTS {
        for argument in [0, 1, 2, 6, 40] {
            let mut store = Store::new(&engine, ()).unwrap();
            store.set_fuel(100_000).unwrap();
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let func = instance.get_func(&mut store, export).unwrap();
            let result = match func.call(&mut store, &[Val::I32(argument)]) {
                Ok(values) => format!("{values:?}"),
                Err(error) => error.to_string(),
            };
            let trace = instance.get_global(&mut store, "trace").unwrap().get(&mut store);
            all.push(format!("{export} {argument}: {result} with {} left, {trace:?}", store.get_fuel().unwrap()));
        }
    }
    all
}

#[test]
fn nothing_but_time_tells() {
    for collector in COLLECTORS {
        let config = || Config::new(collector.with(&Default::default()).unwrap());
        let expected = outcomes(config().inline_calls(false).unroll_loops(false));
        let zeal: Zeal = "alloc:1".parse().unwrap();
        for (what, config) in [
            ("unrolled", config().inline_calls(false)),
            ("inlined", config().unroll_loops(false)),
            ("both", config()),
            ("both with zeal", config().zeal(zeal)),
            ("both with caches of calls", config().call_indirect_cache(true)),
            ("both with tables made at once", config().table_init(TableInit::Eager)),
        ] {
            for (found, expected) in outcomes(config).iter().zip(&expected) {
                assert_eq!(found, expected, "{}, {what}", collector.info.name);
            }
        }
    }
}

#[test]
fn what_is_expected_is_so() {
    let all = outcomes(Config::new(COLLECTORS[0].with(&Default::default()).unwrap()));
    let of = |what: &str| all.iter().find(|line| line.starts_with(what)).unwrap_or_else(|| panic!("{what}: {all:#?}"));
    for (what, part) in [
        ("order 0:", "I32(8233)"),
        ("thrown 6:", "I32(3)"),
        ("thrown 40:", "I32(10)"),
        ("early 0:", "I32(0)"),
        ("early 6:", "I32(42)"),
        ("locals 2:", "I32(12)"),
        ("never 0:", "I32(4)"),
        ("objects 6:", "I32(27)"),
        ("walks 2:", "uncaught exception"),
        ("walks 40:", "I32(164)"),
        ("once 6:", "I32(397558)"),
        ("parity 40:", "I32(1)"),
        ("mix 6:", "I32(1012)"),
        ("mix 40:", "I32(38)"),
        ("nulls 2:", "null reference"),
        ("caught 40:", "I32(42)"),
        ("straight 6:", "I32(6)"),
        ("numbers 6:", "I32(21)"),
        ("spins 0:", "I32(0)"),
        ("spins 1:", "all fuel is consumed"),
        ("few 0:", "I32(8)"),
        ("few 1:", "I32(11)"),
        ("few 6:", "indirect call type mismatch"),
        ("few 2:", "I32(5)"),
        ("fews 2:", "uninitialized element"),
        ("fews 6:", "undefined element"),
        ("makes 6:", "I32(39)"),
        ("threw 2:", "I32(3)"),
        ("threw 1:", "I32(99)"),
        ("void 1:", "I32(2)"),
        ("void 2:", "unreachable"),
        ("lost 1:", "I32(2)"),
        ("lost 2:", "uncaught exception"),
        ("many 6:", "I32(-18)"),
        ("downs 6:", "I32(21)"),
        ("downs 40:", "I32(820)"),
        ("fives 6:", "I32(21)"),
        ("seens 0:", "I32(0)"),
        ("seens 2:", "uninitialized element"),
    ] {
        assert!(of(what).contains(part), "{}", of(what));
    }
    // Who was inlined into whom is told, the innermost first.
    for (what, names) in [
        ("divide 0:", &["m!$divide", "m!$deep", "m!$divide"][..]),
        ("bounds 2:", &["m!$load", "m!$bounds"]),
        ("fews 1:", &["m!$load", "m!$fews"]),
        ("void 2:", &["m!$never", "m!$void"]),
        ("null 0:", &["m!$first", "m!$null"]),
        ("never 1:", &["m!$never", "m!$never"]),
        ("falls 2:", &["m!$divide", "m!$fall", "m!$fall", "m!$fall", "m!$falls"]),
    ] {
        let found: Vec<&str> = of(what).lines().filter_map(|line| line.split(" - ").nth(1)).collect();
        let found: Vec<&str> = found.iter().map(|name| name.split(" with ").next().unwrap()).collect();
        assert_eq!(found, names, "{}", of(what));
    }
}

#[test]
fn calls_of_small_functions_are_gone_unless_they_are_wanted() {
    let count = |what: &str, of: &str, inline| {
        let config = Config::new(COLLECTORS[0].with(&Default::default()).unwrap()).inline_calls(inline);
        let engine = Engine::with_config(config).unwrap();
        let text = Module::emit(&engine, PROGRAM, Emit::Clif, |_, name| name == Some(of)).unwrap().remove(0).1;
        text.matches(what).count()
    };
    let calls = |of, inline| count("call fn", of, inline);
    assert_eq!((calls("deep", false), calls("deep", true)), (2, 0));
    assert_eq!((calls("onces", false), calls("onces", true)), (1, 0), "called from one place only");
    // Each has another, to the runtime, where an element of the table is not made yet.
    let indirect = |of| (count("call_indirect", of, false), count("call_indirect", of, true));
    assert_eq!((indirect("one"), indirect("void")), ((2, 1), (2, 1)), "one or two functions have the type");
    assert_eq!(indirect("fives"), (2, 2), "five functions do");
    assert_eq!(indirect("seens"), (2, 2), "the host may have changed the table");
}

/// Functions that every call took in are not compiled, unless something else can reach them; and they are validated.
#[test]
fn what_is_inlined_everywhere_has_no_code_of_its_own() {
    let gc = || COLLECTORS[0].with(&Default::default()).unwrap();
    let bytes = |inline, more: &str| {
        let engine = Engine::with_config(Config::new(gc()).inline_calls(inline)).unwrap();
        let text = format!(
            r#"(module
              (func $inner (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3)))
              (func $outer (param i32) (result i32) 
                (i32.add (i32.div_s (call $inner (local.get 0)) (local.get 0)) (call $inner (i32.const 5))))
              (func (export "run") (param i32) (result i32) (i32.add (call $outer (local.get 0)) (call $outer (i32.const 1))))
              {more})"#
        );
        let module = Module::new(&engine, text.as_bytes())?;
        let mut store = Store::new(&engine, ())?;
        let instance = Instance::new(&mut store, &module, &[])?;
        let run = instance.get_typed_func::<i32, i32>(&mut store, "run")?;
        assert_eq!(run.call(&mut store, 2)?, 36);
        Ok::<usize, engine::Error>(module.code_bytes())
    };
    let alone = bytes(true, "").unwrap();
    assert!(bytes(true, "(elem declare func $outer)").unwrap() > alone, "a reference to it can be made");
    assert!(bytes(true, r#"(export "outer" (func $outer))"#).unwrap() > alone, "the host can call it");
    assert!(bytes(true, "(start $void) (func $void)").unwrap() > alone, "it is called at the start");
    let uncalled = bytes(true, "(func $uncalled (param i32) (result i32) (call $uncalled (local.get 0)))").unwrap();
    assert_eq!(uncalled, alone, "nothing calls it but itself");
    assert_eq!(bytes(true, "(func (result i32) (i32.const 1))").unwrap(), alone, "nothing calls it");
    let error = bytes(true, "(func (result i32) (i64.const 1))").unwrap_err();
    assert!(error.to_string().contains("type mismatch"), "{error}");
}

#[test]
fn short_loops_over_objects_are_unrolled_unless_that_is_not_wanted() {
    let clif = |of: &str, unroll| {
        let config = Config::new(COLLECTORS[0].with(&Default::default()).unwrap()).unroll_loops(unroll);
        let engine = Engine::with_config(config).unwrap();
        Module::emit(&engine, PROGRAM, Emit::Clif, |_, name| name == Some(of)).unwrap().remove(0).1
    };
    let returns = |of: &str| [false, true].map(|unroll| clif(of, unroll).matches(" return ").count());
    assert_eq!(returns("mix"), [2, 4], "three iterations, and the end");
    assert_eq!(returns("straight"), [1, 1], "no second iteration can be reached");
    assert_eq!(clif("numbers", true), clif("numbers", false), "it looks at no objects");
}
