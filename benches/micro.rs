//! One operation at a time under every collector: allocations, barriers, casts and calls.
//!
//! Operations of compiled code are measured as a loop of [`OPS`] in WebAssembly: criterion's throughput counts operations.
//! `loop/empty` is what the loop itself costs. Each call of the loop has a fresh store, so that collectors
//! that never free have room, and each starts in the same state: what `setup` made has been through a major collection,
//! and so is *old*; what the loop's function makes itself is *new*. Each loop computes something, which is checked.
//!
//! Allocations include the first touch of the heap's memory, and whatever collections they cause.

use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use engine::types::{FuncType, ValType};
use engine::{
    CollectionKind, Config, Engine, ExternRef, Func, Instance, Module, Rooted, Store, TableInit, TypedFunc, Val,
};
use gleaner::collectors;
use std::hint::black_box;
use std::time::Duration;

/// Operations in a call of a loop: few enough that a collector which never frees has room for what they allocate.
const OPS: i32 = 100_000;

/// What all modules share: old objects to work on. `$x` and `$y` are two boxes, and every slot of the arrays and tables
/// holds a box. `$many` has a box of its own for each operation.
const SHARED: &str = r#"
  (type $box (struct (field (mut i32))))
  (type $pair (struct (field (mut (ref null $box))) (field (mut (ref null $box)))))
  (type $boxes (array (mut (ref null $box))))

  (import "host" "next" (func $next (param i32) (result i32)))

  (global $x (mut (ref null $box)) (ref.null $box))
  (global $y (mut (ref null $box)) (ref.null $box))
  (global $pair (mut (ref null $pair)) (ref.null $pair))
  (global $boxes (mut (ref null $boxes)) (ref.null $boxes))
  (global $many (mut (ref null $boxes)) (ref.null $boxes))
  (global $changing (mut (ref null $box)) (ref.null $box))
  (global $extern_x (mut externref) (ref.null extern))
  (global $extern_y (mut externref) (ref.null extern))
  (global $extern_changing (mut externref) (ref.null extern))
  (table $table 256 256 (ref null $box))
  (table $externs 256 256 externref)

  (func (export "setup") (param $x externref) (param $y externref) (param $n i32)
    (local $i i32)
    (global.set $x (struct.new $box (i32.const 1)))
    (global.set $y (struct.new $box (i32.const 2)))
    (global.set $changing (global.get $x))
    (global.set $pair (struct.new $pair (global.get $x) (global.get $y)))
    (global.set $boxes (array.new $boxes (global.get $x) (i32.const 256)))
    (table.fill $table (i32.const 0) (global.get $x) (i32.const 256))
    (global.set $extern_x (local.get $x))
    (global.set $extern_y (local.get $y))
    (global.set $extern_changing (local.get $x))
    (table.fill $externs (i32.const 0) (local.get $x) (i32.const 256))
    (global.set $many (array.new_default $boxes (local.get $n)))
    (if (local.get $n)
      (then
        (loop $again
          (array.set $boxes (global.get $many) (local.get $i) (struct.new $box (local.get $i)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $again (i32.lt_u (local.get $i) (local.get $n)))))))
"#;

/// An operation of compiled code.
struct Op {
    group: &'static str,
    variant: String,
    /// Types that only this module has.
    types: String,
    /// Locals that only this module has.
    locals: String,
    /// What comes before the loop: new objects.
    before: String,
    /// The operation. It has `$i`, which is odd and even by turns, `$sum`, and the locals that [`Op::module`] declares.
    body: String,
    /// What `run` returns…
    result: String,
    /// … and what that should be.
    expected: i32,
    /// How many boxes `$many` has.
    many: i32,
    host: Host,
}

/// How the host's function is defined.
#[derive(Clone, Copy)]
enum Host {
    /// By [`Func::wrap`].
    Wrap,
    /// By [`Func::new`].
    New,
}

impl Op {
    /// An operation that adds 1 to `$sum`, unless its result is said to be another.
    fn new(group: &'static str, variant: impl Into<String>, body: impl Into<String>) -> Op {
        Op {
            group,
            variant: variant.into(),
            types: String::new(),
            locals: String::new(),
            before: String::new(),
            body: body.into(),
            result: "(local.get $sum)".to_string(),
            expected: OPS,
            many: 0,
            host: Host::Wrap,
        }
    }

    /// An operation that gives a reference, which is not null.
    fn gives(group: &'static str, variant: &str, body: &str) -> Op {
        let count = format!("(local.set $sum (i32.add (local.get $sum) (i32.eqz (ref.is_null {body}))))");
        Op::new(group, variant, count)
    }

    /// An operation without a value, after which this expression is 1.
    fn checked(self, result: &str) -> Op {
        Op { result: result.to_string(), expected: 1, ..self }
    }

    fn before(self, before: &str) -> Op {
        Op { before: before.to_string(), ..self }
    }

    fn module(&self) -> String {
        let Op { types, locals, before, body, result, .. } = self;
        format!(
            r#"(module {SHARED}
  {types}
  (func (export "run") (param $n i32) (result i32)
    (local $i i32) (local $sum i32)
    (local $a (ref null $box)) (local $b (ref null $box))
    (local $extern_a externref) (local $extern_b externref)
    (local $pair (ref null $pair)) (local $boxes (ref null $boxes)) (local $many (ref null $boxes))
    {locals}
    (local.set $a (global.get $x))
    (local.set $b (global.get $y))
    (local.set $extern_a (global.get $extern_x))
    (local.set $extern_b (global.get $extern_y))
    (local.set $pair (global.get $pair))
    (local.set $boxes (global.get $boxes))
    (local.set $many (global.get $many))
    {before}
    (loop $again
      {body}
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (local.get $n))))
    {result}))"#
        )
    }
}

/// A slot of the 256, another each time.
const SLOT: &str = "(i32.and (local.get $i) (i32.const 255))";
/// One of two boxes, by turns: the slot changes whenever it is written.
const BY_TURNS: &str =
    "(select (result (ref null $box)) (local.get $a) (local.get $b) (i32.and (local.get $i) (i32.const 1)))";
/// One of two values of the host's, by turns.
const EXTERN_BY_TURNS: &str =
    "(select (result externref) (local.get $extern_a) (local.get $extern_b) (i32.and (local.get $i) (i32.const 1)))";
const NEW_BOXES: &str = "(local.set $a (struct.new $box (i32.const 3))) (local.set $b (struct.new $box (i32.const 4)))";
const NEW_PAIR: &str = "(local.set $pair (struct.new $pair (local.get $b) (local.get $a)))";
const NEW_ARRAY: &str = "(local.set $boxes (array.new $boxes (local.get $b) (i32.const 256)))";

fn ops() -> Vec<Op> {
    // The last operation has an odd `$i`, and so writes `$a`.
    const { assert!(OPS % 2 == 0) };
    let mut ops = vec![Op::new("loop", "empty", "(local.set $sum (i32.add (local.get $sum) (i32.const 1)))")];
    ops.extend(allocations());
    ops.extend(fields());
    ops.extend(elements());
    ops.extend(globals());
    ops.extend(tables());
    ops.extend([1, 8, 63].into_iter().flat_map(casts));
    ops.extend(functions());
    ops.extend([0, 1, 10].map(exception));
    let call = "(local.set $sum (call $next (local.get $sum)))";
    ops.push(Op::new("call-wasm-to-host", "wrap", call));
    ops.push(Op { host: Host::New, ..Op::new("call-wasm-to-host", "new", call) });
    ops
}

fn allocations() -> [Op; 2] {
    [
        Op::new("alloc", "struct-of-2-refs", NEW_PAIR)
            .checked("(ref.eq (struct.get $pair 1 (local.get $pair)) (local.get $a))"),
        Op::new("alloc", "array-of-8-refs", "(local.set $boxes (array.new $boxes (local.get $a) (i32.const 8)))")
            .checked("(ref.eq (array.get $boxes (local.get $boxes) (i32.const 7)) (local.get $a))"),
    ]
}

fn fields() -> [Op; 4] {
    let set = |variant: &str| {
        Op::new("struct.set", variant, format!("(struct.set $pair 0 (local.get $pair) {BY_TURNS})"))
            .checked("(ref.eq (struct.get $pair 0 (local.get $pair)) (local.get $a))")
    };
    [
        Op::gives("struct.get", "old-object", "(struct.get $pair 0 (local.get $pair))"),
        set("new-object").before(NEW_PAIR),
        set("old-object"),
        set("new-into-old-object").before(NEW_BOXES),
    ]
}

fn elements() -> [Op; 5] {
    let set = |variant: &str| {
        Op::new("array.set", variant, format!("(array.set $boxes (local.get $boxes) {SLOT} {BY_TURNS})"))
            .checked("(ref.eq (array.get $boxes (local.get $boxes) (i32.const 1)) (local.get $a))")
    };
    [
        Op::gives("array.get", "old-object", &format!("(array.get $boxes (local.get $boxes) {SLOT})")),
        Op { many: OPS, ..Op::gives("array.get", "each-once", "(array.get $boxes (local.get $many) (local.get $i))") },
        set("new-object").before(NEW_ARRAY),
        set("old-object"),
        set("new-into-old-object").before(NEW_BOXES),
    ]
}

fn globals() -> [Op; 4] {
    [
        Op::gives("global.get", "struct", "(global.get $changing)"),
        Op::gives("global.get", "externref", "(global.get $extern_changing)"),
        Op::new("global.set", "struct", format!("(global.set $changing {BY_TURNS})"))
            .checked("(ref.eq (global.get $changing) (local.get $a))"),
        Op::new("global.set", "externref", format!("(global.set $extern_changing {EXTERN_BY_TURNS})"))
            .checked("(i32.eqz (ref.is_null (global.get $extern_changing)))"),
    ]
}

fn tables() -> [Op; 4] {
    [
        Op::gives("table.get", "struct", &format!("(table.get $table {SLOT})")),
        Op::gives("table.get", "externref", &format!("(table.get $externs {SLOT})")),
        Op::new("table.set", "struct", format!("(table.set $table {SLOT} {BY_TURNS})"))
            .checked("(ref.eq (table.get $table (i32.const 1)) (local.get $a))"),
        Op::new("table.set", "externref", format!("(table.set $externs {SLOT} {EXTERN_BY_TURNS})"))
            .checked("(i32.eqz (ref.is_null (table.get $externs (i32.const 1))))"),
    ]
}

/// `ref.test` of a type that is not final and has `depth` supertypes: of an object of this type, and of one whose type has
/// as many supertypes, but is another. The object is one of two, by turns, so that the test stays inside the loop.
fn casts(depth: u32) -> [Op; 2] {
    let mut types = "(type $t0 (sub (struct (field i32))))\n".to_string();
    for i in 1..=depth {
        types += &format!("  (type $t{i} (sub $t{} (struct (field i32))))\n", i - 1);
    }
    types += &format!("  (type $other (sub $t{} (struct (field i32) (field i64))))\n", depth - 1);
    let body = format!(
        r#"(local.set $sum (i32.add (local.get $sum) (ref.test (ref $t{depth}) (local.get $p))))
      (local.set $swap (local.get $p))
      (local.set $p (local.get $q))
      (local.set $q (local.get $swap))"#
    );
    let test = |variant: String, object: &str, expected: i32| Op {
        types: types.clone(),
        locals: "(local $p (ref $t0)) (local $q (ref $t0)) (local $swap (ref $t0))".to_string(),
        before: format!("(local.set $p {object}) (local.set $q {object})"),
        expected,
        ..Op::new("cast", variant, body.clone())
    };
    [
        test(format!("depth-{depth}"), &format!("(struct.new $t{depth} (i32.const 1))"), OPS),
        test(format!("depth-{depth}-fails"), "(struct.new $other (i32.const 1) (i64.const 2))", 0),
    ]
}

/// Function references in objects and in tables, and calls through them. No libcall reads or writes one: in an object
/// stands a number, by which compiled code finds the function in the store's own list, and checks its type.
fn functions() -> [Op; 5] {
    let op = |group, variant: &str, body: &str| Op {
        types: r#"(type $fn (func (param i32) (result i32)))
  (type $closure (struct (field (mut (ref null $fn)))))
  (func $inc (type $fn) (i32.add (local.get 0) (i32.const 1)))
  (func $also_inc (type $fn) (i32.add (local.get 0) (i32.const 1)))
  (elem declare func $inc $also_inc)
  (table $fns funcref (elem $inc $also_inc))"#
            .to_string(),
        locals: "(local $closure (ref null $closure))".to_string(),
        before: "(local.set $closure (struct.new $closure (ref.func $inc)))".to_string(),
        ..Op::new(group, variant, body)
    };
    let get = "(struct.get $closure 0 (local.get $closure))";
    let count = format!("(local.set $sum (i32.add (local.get $sum) (i32.eqz (ref.is_null {get}))))");
    let by_turns =
        "(select (result (ref $fn)) (ref.func $inc) (ref.func $also_inc) (i32.and (local.get $i) (i32.const 1)))";
    let set = format!("(struct.set $closure 0 (local.get $closure) {by_turns})");
    let call = format!("(local.set $sum (call_ref $fn (local.get $sum) {get}))");
    let indirect = |index: &str| format!("(local.set $sum (call_indirect $fns (type $fn) (local.get $sum) {index}))");
    [
        op("funcref", "struct.get", &count),
        op("funcref", "struct.set", &set).checked(&format!("(i32.eqz (ref.is_null {get}))")),
        op("funcref", "closure-call", &call),
        op("call_indirect", "same-function", &indirect("(i32.const 1)")),
        op("call_indirect", "by-turns", &indirect("(i32.and (local.get $i) (i32.const 1))")),
    ]
}

/// A throw that is caught so many frames up: in the same function, in the caller, and so on.
fn exception(frames: u32) -> Op {
    let mut types = "(tag $thrown (param i32))\n  (func $frame1 (param i32) (throw $thrown (local.get 0)))".to_string();
    for i in 2..=frames {
        types += &format!("\n  (func $frame{i} (param i32) (call $frame{} (local.get 0)))", i - 1);
    }
    let throw = match frames {
        0 => "(throw $thrown (i32.const 1))".to_string(),
        n => format!("(call $frame{n} (i32.const 1))"),
    };
    let body = format!(
        r#"(local.set $sum (i32.add (local.get $sum)
        (block $caught (result i32) (try_table (catch $thrown $caught) {throw}) (unreachable))))"#
    );
    Op { types, ..Op::new("exception", format!("{frames}-frames-up"), body) }
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500))
        .configure_from_args();
    let ops = ops();
    for ops in ops.chunk_by(|a, b| a.group == b.group) {
        let mut group = criterion.benchmark_group(ops[0].group);
        group.throughput(Throughput::Elements(OPS as u64));
        for op in ops {
            bench(&mut group, op);
        }
        group.finish();
    }
    calls(&mut criterion);
    instantiations(&mut criterion);
    criterion.final_summary();
}

fn engine(collector: &str) -> Engine {
    Engine::new(collectors::by_spec(collector).expect("it is listed")).expect("an engine")
}

fn bench(group: &mut BenchmarkGroup<WallTime>, op: &Op) {
    for collector in collectors::names() {
        group.bench_function(format!("{}/{collector}", op.variant), |bencher| {
            let engine = engine(collector);
            let module = Module::new(&engine, op.module());
            let module = module.unwrap_or_else(|error| panic!("{}/{}: {error}", op.group, op.variant));
            bencher.iter_batched_ref(
                || fresh(&module, op),
                |(store, run)| {
                    let result = run.call(store, OPS).expect("it runs");
                    assert_eq!(result, op.expected, "{}/{} under {collector}", op.group, op.variant);
                },
                BatchSize::PerIteration,
            );
        });
    }
}

/// An instance in a store of its own, whose objects are old.
fn fresh(module: &Module, op: &Op) -> (Store<()>, TypedFunc<i32, i32>) {
    let mut store = Store::new(module.engine(), ()).expect("a store");
    let next = match op.host {
        Host::Wrap => Func::wrap(&mut store, |x: i32| x + 1),
        Host::New => Func::new(&mut store, FuncType::new([ValType::I32], [ValType::I32]), |_, args, results| {
            results[0] = Val::I32(args[0].i32().expect("its type says so") + 1);
            Ok(())
        }),
    };
    let next = next.expect("a function of the host's");
    let instance = Instance::new(&mut store, module, &[next.into()]).expect("an instance");
    type Setup = (Option<Rooted<ExternRef>>, Option<Rooted<ExternRef>>, i32);
    let setup: TypedFunc<Setup, ()> = instance.get_typed_func(&mut store, "setup").expect("`setup`");
    let value = |store: &mut Store<()>, name: &'static str| ExternRef::new(store, name).expect("room for a value");
    let (x, y) = (value(&mut store, "x"), value(&mut store, "y"));
    setup.call(&mut store, (Some(x), Some(y), op.many)).expect("it sets up");
    store.gc(CollectionKind::Major);
    let run = instance.get_typed_func(&mut store, "run").expect("`run`");
    (store, run)
}

/// Calls from the host: nothing is allocated, so one store serves all.
fn calls(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("call-host-to-wasm");
    group.throughput(Throughput::Elements(1));
    let source = r#"(module (func (export "next") (param i32) (result i32)
        (i32.add (local.get 0) (i32.const 1))))"#;
    for collector in collectors::names() {
        let engine = engine(collector);
        let module = Module::new(&engine, source).expect("a module");
        let mut store = Store::new(&engine, ()).expect("a store");
        let instance = Instance::new(&mut store, &module, &[]).expect("an instance");
        let next = instance.get_func(&mut store, "next").expect("`next`");
        let typed = next.typed::<i32, i32>(&store).expect("its type");
        assert_eq!(typed.call(&mut store, 41).expect("it runs"), 42);
        group.bench_function(format!("typed/{collector}"), |bencher| {
            bencher.iter(|| typed.call(&mut store, black_box(41)));
        });
        group.bench_function(format!("untyped/{collector}"), |bencher| {
            bencher.iter(|| next.call(&mut store, &[Val::I32(black_box(41))]));
        });
    }
    group.finish();
}

/// Instances of a module whose table lists all of its functions, of which one is called.
fn instantiations(criterion: &mut Criterion) {
    const FUNCS: usize = 20_000;
    let funcs: String = (0..FUNCS).map(|i| format!("(func $f{i} (result i32) (i32.const {i}))\n")).collect();
    let names: String = (0..FUNCS).map(|i| format!(" $f{i}")).collect();
    let source = format!(
        r#"(module (type $fn (func (result i32))) {funcs} (table funcref (elem{names}))
          (func (export "call") (param i32) (result i32) (call_indirect (type $fn) (local.get 0))))"#
    );
    let mut group = criterion.benchmark_group("instantiate-20000-functions");
    for (name, when) in [("lazy", TableInit::Lazy), ("eager", TableInit::Eager)] {
        let gc = collectors::by_spec("null").expect("it is listed");
        let engine = Engine::with_config(Config::new(gc).table_init(when)).expect("an engine");
        let module = Module::new(&engine, &source).expect("a module");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut store = Store::new(&engine, ()).expect("a store");
                let instance = Instance::new(&mut store, &module, &[]).expect("an instance");
                let call: TypedFunc<i32, i32> = instance.get_typed_func(&mut store, "call").expect("`call`");
                assert_eq!(call.call(&mut store, 4321).expect("it runs"), 4321);
            });
        });
    }
    group.finish();
}
