//! A function that calls itself as its last act is a loop in compiled code: nothing but time may tell it from two functions that
//! call each other.

use engine::{Config, Engine, Instance, Module, Store, Val, Zeal};
use gleaner::collectors::COLLECTORS;

/// A function with parameters of all kinds, which change their places as it goes on with `next`. It allocates, and throws at the end if
/// that is wanted, from within a handler of its own, which must no longer be there.
fn step(name: &str, next: &str) -> String {
    format!(
        r#"(func ${name} (param $n i32) (param $throws i32) (param $a i64) (param $x f32) (param $y f64) (param $v v128)
            (param $list (ref null $node)) (param $other (ref null $node)) (param $any anyref) (param $f funcref) (param $g funcref)
            (result i64 i64)
    (local $zero i32) (local $null (ref null $node))
    ;; Each call has new locals.
    (if (i32.or (local.get $zero) (i32.eqz (ref.is_null (local.get $null)))) (then (unreachable)))
    (local.set $zero (i32.const 7))
    (local.set $null (struct.new $node (local.get $a) (local.get $list)))
    (if (i32.eqz (local.get $n))
      (then
        (if (local.get $throws) (then (throw $thrown (local.get $a))))
        (return
          (i64.add
            (i64.mul (local.get $a) (i64.const 31))
            (i64.add (i64.trunc_sat_f32_s (local.get $x)) (i64.trunc_sat_f64_s (local.get $y))))
          (i64.add
            (i64.add (i64x2.extract_lane 0 (local.get $v)) (i64x2.extract_lane 1 (local.get $v)))
            (i64.add
              (i64.add (call $sum (local.get $list)) (i64.mul (call $sum (local.get $other)) (i64.const 1009)))
              (i64.extend_i32_u
                (i32.add
                  (i31.get_u (ref.cast (ref i31) (local.get $any)))
                  (i32.or
                    (ref.is_null (local.get $f))
                    (i32.shl (ref.is_null (local.get $g)) (i32.const 1))))))))))
    (block $caught (result i64)
      (try_table (catch $thrown $caught)
        (return_call ${next}
          (i32.sub (local.get $n) (i32.const 1))
          (local.get $throws)
          (i64.add (i64.mul (local.get $a) (i64.const 3)) (i64.extend_i32_u (local.get $n)))
          (f32.demote_f64 (local.get $y))
          (f64.add (f64.promote_f32 (local.get $x)) (f64.const 1))
          (i64x2.add (local.get $v) (i64x2.splat (local.get $a)))
          ;; The two lists change places; one becomes longer, and is cut at times.
          (local.get $other)
          (if (result (ref null $node)) (i32.and (local.get $n) (i32.const 7))
            (then (struct.new $node (i64.extend_i32_u (local.get $n)) (local.get $list)))
            (else (local.get $null)))
          (ref.i31 (i32.add (i31.get_u (ref.cast (ref i31) (local.get $any))) (i32.const 1)))
          (local.get $g)
          (local.get $f)))
      (unreachable))
    (return (i64.const -1)))"#
    )
}

fn program() -> String {
    let functions = [("alone", "alone"), ("one", "other"), ("other", "one")];
    let functions: String = functions.iter().map(|(name, next)| step(name, next)).collect();
    let start = |export: &str, callee: &str| {
        format!(
            r#"(func (export "{export}") (param $n i32) (param $throws i32) (result i64 i64)
    (call ${callee} (local.get $n) (local.get $throws) (i64.const 1) (f32.const 2) (f64.const 3) (v128.const i64x2 4 5)
      (struct.new $node (i64.const 6) (ref.null $node)) (ref.null $node) (ref.i31 (i32.const 0)) (ref.func $sum) (ref.null func)))"#
        )
    };
    format!(
        r#"(module
  (type $node (struct (field i64) (field (ref null $node))))
  (tag $thrown (param i64))
  (elem declare func $sum)
  (func $sum (param $list (ref null $node)) (result i64)
    (local $sum i64)
    (loop $again (result i64)
      (if (result i64) (ref.is_null (local.get $list))
        (then (local.get $sum))
        (else
          (local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 5)) (struct.get $node 0 (local.get $list))))
          (local.set $list (struct.get $node 1 (local.get $list)))
          (br $again)))))
  {functions} {} {}
  (func $count (export "deep") (param $n i32) (param i32) (result i64 i64)
    (if (i32.eqz (local.get $n)) (then (return (i64.const 1) (i64.const 2))))
    (return_call $count (i32.sub (local.get $n) (i32.const 1)) (local.get 1))))"#,
        start("itself", "alone"),
        start("each other", "one"),
    )
}

/// What an export does, and the fuel that is left.
fn outcome(engine: &Engine, module: &Module, export: &str, args: [i32; 2]) -> String {
    let mut store = Store::new(engine, ()).unwrap();
    store.set_fuel(1_000_000).unwrap();
    let instance = Instance::new(&mut store, module, &[]).unwrap();
    let func = instance.get_func(&mut store, export).unwrap();
    let result = match func.call(&mut store, &args.map(Val::I32)) {
        Ok(values) => format!("{values:?}"),
        // Which function threw is another one.
        Err(error) => error.to_string().lines().next().unwrap().to_string(),
    };
    format!("{result} with {} left", store.get_fuel().unwrap())
}

#[test]
fn a_function_that_calls_itself_last_is_like_two_that_call_each_other() {
    let program = program();
    for collector in COLLECTORS {
        for zeal in ["", "alloc:1", "alloc:3,move,poison"] {
            let zeal = if zeal.is_empty() { Zeal::OFF } else { zeal.parse().unwrap() };
            let config = Config::new(collector.with(&Default::default()).unwrap()).zeal(zeal).consume_fuel(true);
            let engine = Engine::with_config(config).unwrap();
            let module = Module::new(&engine, &program).unwrap();
            for args in [[0, 0], [1, 0], [2, 0], [17, 0], [300, 0], [0, 1], [5, 1]] {
                let [itself, each_other] =
                    ["itself", "each other"].map(|export| outcome(&engine, &module, export, args));
                assert_eq!(itself, each_other, "{} {args:?}", collector.info.name);
                assert_eq!(itself.contains("uncaught"), args[1] == 1, "{itself}");
            }
        }
    }
}

#[test]
fn it_needs_no_stack() {
    let engine = Engine::with_config(Config::new(COLLECTORS[0].with(&Default::default()).unwrap())).unwrap();
    let module = Module::new(&engine, program()).unwrap();
    let mut store = Store::new(&engine, ()).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let func = instance.get_func(&mut store, "deep").unwrap();
    let results = func.call(&mut store, &[Val::I32(10_000_000), Val::I32(0)]).unwrap();
    assert_eq!(format!("{results:?}"), "[I64(1), I64(2)]");
}
