//! Calls through tables that nothing can change are inlined where few functions have the type that is wanted: nothing but time may
//! tell, whatever the tables hold and whoever calls. `GLEANER_FUZZ_CASES` sets with how many programs.

use engine::{Config, Emit, Engine, Func, Instance, Module, Store, Val};
use gleaner::collectors::COLLECTORS;
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The functions that tables may hold: the name of the type, and what stands in the module. The first is the host's.
const FUNCS: [(&str, &str); 16] = [
    ("u", r#"(import "" "" (func $f0 (type $u)))"#),
    ("u", "(func $f1 (type $u) (i32.add (local.get 0) (i32.const 1)))"),
    ("u", "(func $f2 (type $u) (call $note (local.get 0)) (i32.div_s (i32.const 100) (local.get 0)))"),
    (
        "u",
        "(func $f3 (type $u) (if (i32.and (local.get 0) (i32.const 1)) (then (throw $odd (local.get 0)))) (local.get 0))",
    ),
    (
        "u",
        "(func $f4 (type $u) (if (i32.eqz (local.get 0)) (then (return (i32.const 7)))) (call $note (i32.const 4))
      (call_indirect $a (type $u) (i32.shr_s (local.get 0) (i32.const 1)) (i32.and (local.get 0) (i32.const 7))))",
    ),
    (
        "u",
        "(func $f5 (type $u) (local i32) (loop $again (local.set 1 (i32.add (local.get 1) (local.get 0)))
      (br_if $again (i32.gt_s (local.tee 0 (i32.sub (local.get 0) (i32.const 1))) (i32.const 0)))) (local.get 1))",
    ),
    ("u", "(func $f6 (type $u) (block (br_if 0 (local.get 0)) (unreachable)) (return (i32.const 9)))"),
    ("u", "(func $f7 (type $u) (return_call $f1 (local.get 0)))"),
    ("s", "(func $f8 (type $s) (struct.new $pair (local.get 1) (local.get 0)))"),
    ("s", "(func $f9 (type $s) (call $note (i32.const 9)) (local.get 1))"),
    ("t", "(func $f10 (type $t) (struct.new $pair (struct.new $pair (local.get 1) (i32.const 1)) (local.get 0)))"),
    ("t", "(func $f11 (type $t) (ref.as_non_null (local.get 1)))"),
    ("v", "(func $f12 (type $v))"),
    ("v", "(func $f13 (type $v) unreachable)"),
    ("m", "(func $f14 (type $m) (local.get 0) (i32.const 3))"),
    ("m", "(func $f15 (type $m) (i64.mul (local.get 0) (i64.const 5)) (i32.wrap_i64 (local.get 0)))"),
];

/// A call in the loop of `run`: with a type, through a table, under a handler perhaps; in turns at two indices. Where it is not
/// `wild`, these have functions of the type.
#[derive(Clone, Debug)]
struct Call {
    ty: &'static str,
    table: &'static str,
    at: [usize; 2],
    wild: bool,
    handler: bool,
}

/// A module: what stands in its tables, and what it calls.
#[derive(Clone, Debug)]
struct Program {
    elements: Vec<(usize, usize)>,
    typed: Vec<(usize, usize)>,
    written: bool,
    exported: bool,
    calls: Vec<Call>,
}

fn programs() -> impl Strategy<Value = Program> {
    let types = prop::sample::select(vec!["u", "u", "s", "t", "v", "m"]);
    let tables = prop::sample::select(vec!["a", "a", "b"]);
    let calls = (types, tables, [0..10usize, 0..10usize], prop::bool::weighted(0.1), prop::bool::weighted(0.3))
        .prop_map(|(ty, table, at, wild, handler)| Call { ty, table, at, wild, handler });
    // Most of the host's function stays out of the table: with it nothing of its type is inlined.
    let funcs = prop_oneof![1 => Just(0), 20 => 1..FUNCS.len()];
    (
        prop::collection::vec((0..8usize, funcs), 0..20),
        prop::collection::vec((0..4usize, 1..8usize), 0..8),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
        prop::collection::vec(calls, 1..7),
    )
        .prop_map(|(elements, typed, written, exported, calls)| Program {
            elements,
            typed,
            written,
            exported,
            calls,
        })
}

impl Program {
    /// The indices at which a table has functions of a type.
    fn fitting(&self, ty: &str, table: &str) -> Vec<usize> {
        let held: BTreeMap<usize, usize> =
            if table == "a" { &self.elements } else { &self.typed }.iter().copied().collect();
        let fits = |func: usize| FUNCS[func].0 == ty || (FUNCS[func].0, ty) == ("t", "s");
        held.into_iter().filter(|(_, func)| fits(*func)).map(|(at, _)| at).collect()
    }

    fn text(&self) -> String {
        let mut text = String::from(
            r#"(module $m
            (type $pair (struct (field $a (ref null $pair)) (field $n i32)))
            (type $u (func (param i32) (result i32)))
            (type $s (sub (func (param i32 (ref null $pair)) (result (ref null $pair)))))
            (type $t (sub $s (func (param i32 (ref null $pair)) (result (ref $pair)))))
            (type $v (func))
            (type $m (func (param i64) (result i64 i32)))
            "#,
        );
        FUNCS[..1].iter().for_each(|(_, func)| text += func);
        text += r#"
            (tag $odd (param i32))
            (global $trace (export "trace") (mut i32) (i32.const 0))
            (func $note (param i32)
              (global.set $trace (i32.add (i32.mul (global.get $trace) (i32.const 31)) (local.get 0))))
            "#;
        FUNCS[1..].iter().for_each(|(_, func)| text += func);
        let export = if self.exported { r#"(export "a")"# } else { "" };
        write!(text, "(table $a {export} 8 funcref) (table $b 4 (ref null $u))").unwrap();
        for (at, func) in &self.elements {
            write!(text, "(elem (table $a) (i32.const {at}) func $f{func})").unwrap();
        }
        for (at, func) in &self.typed {
            write!(text, "(elem (table $b) (i32.const {at}) (ref null $u) (ref.func $f{func}))").unwrap();
        }
        if self.written {
            text += "(func (table.set $a (i32.const 0) (ref.null func)))";
        }
        text += r#"(func $run (export "run") (param $n i32) (result i32)
            (local $x i32) (local $turns i32) (local $list (ref null $pair)) (local $y i64)
            (local.set $x (local.get $n))
            (loop $again"#;
        for Call { ty, table, at, wild, handler } in &self.calls {
            let fitting = self.fitting(ty, table);
            let [one, other] = match (*ty, *table) {
                ("u", _) | (_, "a") if *wild => *at,
                _ if fitting.is_empty() => continue,
                _ => at.map(|at| fitting[at % fitting.len()]),
            };
            let index =
                format!("(select (i32.const {one}) (i32.const {other}) (i32.and (local.get $turns) (i32.const 1)))");
            let call = format!("(call_indirect ${table} (type ${ty}) PARAMS {index})");
            let (params, take) = match *ty {
                "u" => ("(local.get $x)", "(local.set $x)"),
                "s" | "t" => ("(local.get $x) (local.get $list)", "(local.set $list)"),
                "m" => ("(local.get $y)", "(local.set $x (i32.xor (local.get $x))) (local.set $y)"),
                _ => ("", ""),
            };
            let call = call.replace("PARAMS", params);
            // An operand that waits below.
            text += match handler {
                true => "(block $caught (result i32) (try_table (catch $odd $caught) (i32.const 3)",
                false => "(i32.const 3)",
            };
            write!(text, "{call} {take} (global.set $trace (i32.add (global.get $trace)))").unwrap();
            if *handler {
                text += ") (i32.const 11)) (local.set $x (i32.add (local.get $x)))";
            }
        }
        text += r#"
              (local.set $turns (i32.add (local.get $turns) (i32.const 1)))
              (br_if $again (i32.lt_u (local.get $turns) (i32.const 4))))
            (loop $sum
              (if (ref.is_null (local.get $list)) (then (return (i32.add (local.get $x) (i32.wrap_i64 (local.get $y))))))
              (local.set $x (i32.add (i32.mul (local.get $x) (i32.const 3)) (struct.get $pair $n (local.get $list))))
              (local.set $list (struct.get $pair $a (local.get $list)))
              (br $sum))
            (unreachable)))"#;
        text
    }
}

/// What `run` gives with each argument: its result or its error, which has a backtrace, the fuel that is left, and the trace.
fn outcomes(config: Config, text: &str) -> Vec<String> {
    let engine = Engine::with_config(config.consume_fuel(true).parallel(false)).unwrap();
    let module = Module::new(&engine, text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let one = |argument: &i32| {
        let mut store = Store::new(&engine, ()).unwrap();
        store.set_fuel(3_000).unwrap();
        let host = Func::wrap(&mut store, |x: i32| x.wrapping_mul(2)).unwrap();
        let instance = Instance::new(&mut store, &module, &[host.into()]).unwrap();
        let run = instance.get_typed_func::<i32, i32>(&mut store, "run").unwrap();
        let result = run.call(&mut store, *argument).map_err(|error| error.to_string());
        let trace: Val = instance.get_global(&mut store, "trace").unwrap().get(&mut store);
        format!("{argument}: {result:?} with {} left, {trace:?}", store.get_fuel().unwrap())
    };
    [0, 1, 6, -9].iter().map(one).collect()
}

/// How many calls through tables are in the code of `run`.
fn indirect(text: &str, inline: bool) -> usize {
    let config = Config::new(COLLECTORS[0].with(&Default::default()).unwrap()).inline_calls(inline);
    let code = Module::emit(&Engine::with_config(config).unwrap(), text, Emit::Clif, |_, name| name == Some("run"));
    code.unwrap().remove(0).1.matches("call_indirect.").count()
}

#[test]
fn nothing_but_time_tells() {
    let (changed, returned) = (Cell::new(0), Cell::new(0));
    let mut runner = prop::test_runner::TestRunner::new(ProptestConfig {
        cases: std::env::var("GLEANER_FUZZ_CASES").map_or(150, |text| text.parse().expect("a number")),
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let result = runner.run(&programs(), |program| {
        let text = program.text();
        let collector = COLLECTORS.iter().find(|collector| collector.info.name == "semispace").unwrap();
        let config = || Config::new(collector.with(&Default::default()).unwrap());
        let expected = outcomes(config().inline_calls(false), &text);
        prop_assert_eq!(&outcomes(config(), &text), &expected, "{}", text);
        let zeal = config().zeal("alloc:1,move".parse().unwrap()).call_indirect_cache(true);
        prop_assert_eq!(&outcomes(zeal, &text), &expected, "with zeal, {}", text);
        changed.set(changed.get() + usize::from(indirect(&text, true) < indirect(&text, false)));
        returned.set(returned.get() + expected.iter().filter(|outcome| outcome.contains("Ok(")).count());
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    assert!(changed.get() > 30 && returned.get() > 60, "{changed:?} programs are inlined, {returned:?} runs return");
}
