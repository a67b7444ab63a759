//! What files bring back, and what they are refused for.

use super::*;
use crate::api::{Config, Engine, Error, ErrorKind, Instance, Module, Store, Val};
use crate::compile::OptLevel;
use gc_api::{Collector, CollectorOptions};
use proptest::prelude::*;

const COLLECTORS: [Collector; 2] = [gc_null::COLLECTOR, gc_drc::COLLECTOR];

/// Uses a type's index in every way that code can.
const PROGRAM: &str = r#"(module
  (rec (type $list (sub (struct (field (mut (ref null $list))) (field i32))))
       (type $named (sub $list (struct (field (mut (ref null $list))) (field i32) (field i64)))))
  (type $leaf (sub final $list (struct (field (mut (ref null $list))) (field i32))))
  (type $bytes (array (mut i8)))
  (type $lists (array (mut (ref null $list))))
  (type $unary (sub (func (param i32) (result i32))))
  (type $narrow (sub final $unary (func (param i32) (result i32))))
  (tag $thrown (param i32 (ref null $list)))
  (table $t 2 funcref)
  (elem (table $t) (i32.const 0) func $double $fac)
  (elem $three (ref null $list) (item (struct.new $leaf (ref.null none) (i32.const 5))) (item (ref.null none)))
  (data $data "\01\02\03\04")
  (global $first (ref $named) (struct.new $named (ref.null none) (i32.const 3) (i64.const 9)))
  (func $double (type $narrow) (i32.mul (local.get 0) (i32.const 2)))
  (func $fac (type $unary) (if (result i32) (local.get 0)
    (then (i32.mul (local.get 0) (call $fac (i32.sub (local.get 0) (i32.const 1)))))
    (else (i32.const 1))))
  (func $thrower (param i32) (throw $thrown (local.get 0) (global.get $first)))
  (func (export "casts") (result i32)
    (local $x (ref null $list))
    (local.set $x (struct.new $leaf (global.get $first) (i32.const 7)))
    (i32.add (i32.add
      (i32.mul (ref.test (ref $leaf) (local.get $x)) (i32.const 1))
      (i32.mul (ref.test (ref $named) (local.get $x)) (i32.const 10)))
     (i32.add
      (i32.mul (ref.test (ref $named) (struct.get $list 0 (local.get $x))) (i32.const 100))
      (struct.get $leaf 1 (ref.cast (ref $leaf) (local.get $x))))))
  (func (export "calls") (param i32) (result i32)
    (i32.add (call_indirect $t (type $unary) (local.get 0) (i32.const 0))
             (call_indirect $t (type $unary) (local.get 0) (i32.const 1))))
  (func (export "mismatch") (result i32) (call_indirect $t (type $narrow) (i32.const 1) (i32.const 1)))
  (func (export "catch") (param i32) (result i32)
    (block $h (result i32 (ref null $list))
      (try_table (catch $thrown $h) (call $thrower (local.get 0)))
      (unreachable))
    (struct.get $named 1 (ref.cast (ref $named)))
    (i32.add))
  (func (export "arrays") (param i32) (result i32)
    (local $a (ref $lists)) (local $b (ref $bytes))
    (local.set $b (array.new_data $bytes $data (i32.const 0) (i32.const 4)))
    (array.init_data $bytes $data (local.get $b) (i32.const 0) (i32.const 2) (i32.const 2))
    (array.fill $bytes (local.get $b) (i32.const 3) (i32.const 9) (i32.const 1))
    (local.set $a (array.new $lists (struct.new $leaf (ref.null none) (local.get 0)) (local.get 0)))
    (array.copy $lists $lists (local.get $a) (i32.const 1) (local.get $a) (i32.const 0) (i32.const 2))
    (array.init_elem $lists $three (local.get $a) (i32.const 0) (i32.const 0) (i32.const 2))
    (i32.add
      (struct.get $leaf 1 (ref.cast (ref $leaf) (array.get $lists (local.get $a) (i32.const 0))))
      (i32.add (struct.get $list 1 (array.get $lists (local.get $a) (i32.const 2)))
        (i32.add (array.get_u $bytes (local.get $b) (i32.const 0)) (array.get_u $bytes (local.get $b) (i32.const 3))))))
  (func (export "nearest") (param f64) (result f64) (f64.nearest (local.get 0)))
  (func (export "type") (result anyref) (struct.new $leaf (ref.null none) (i32.const 1))))"#;

fn engine(collector: &Collector) -> Engine {
    Engine::new(collector.with(&Default::default()).unwrap()).unwrap()
}

/// An engine in which the types of `PROGRAM` get other indices than in an empty one.
fn crowded(collector: &Collector) -> Engine {
    let engine = engine(collector);
    let types: String =
        (0..200).map(|n| format!("(type (struct (field i64) (field {})))", "i32) (field ".repeat(n) + "i32")).collect();
    Module::new(&engine, format!("(module {types})")).unwrap();
    engine
}

fn load(engine: &Engine, file: &[u8]) -> Result<Module, Error> {
    // SAFETY: made by the functions under test; what was changed since is not run.
    unsafe { Module::deserialize(engine, file) }
}

fn misfit(engine: &Engine, file: &[u8]) -> Misfit {
    match load(engine, file).unwrap_err().into_kind() {
        ErrorKind::Precompiled(misfit) => misfit,
        other => panic!("refused for another reason: {other:?}"),
    }
}

/// Calls everything that `PROGRAM` exports.
fn behaviour(module: &Module) -> Vec<String> {
    let mut store = Store::new(module.engine(), ()).unwrap();
    let instance = Instance::new(&mut store, module, &[]).unwrap();
    let mut seen = Vec::new();
    for (name, args) in [
        ("casts", vec![]),
        ("calls", vec![Val::I32(5)]),
        ("mismatch", vec![]),
        ("catch", vec![Val::I32(40)]),
        ("arrays", vec![Val::I32(20)]),
        ("arrays", vec![Val::I32(2)]),
        ("nearest", vec![Val::from(2.5)]),
    ] {
        let func = instance.get_func(&mut store, name).unwrap();
        seen.push(match func.call(&mut store, &args) {
            Ok(values) => format!("{name}: {}", values[0]),
            Err(error) => format!("{name}: {error}"),
        });
    }
    let made = instance.get_func(&mut store, "type").unwrap().call(&mut store, &[]).unwrap();
    let Val::AnyRef(Some(made)) = &made[0] else { panic!("a struct is returned") };
    let ty = made.as_struct(&store).unwrap().ty(&store);
    assert_eq!(ty, module.0.info.types.get(2), "objects have the types of their engine");
    store.heap().check().unwrap();
    seen
}

#[test]
fn a_loaded_module_does_what_the_original_does() {
    for collector in &COLLECTORS {
        let original = Module::new(&engine(collector), PROGRAM).unwrap();
        let expected = behaviour(&original);
        assert!(expected[0].ends_with(": 108") && expected[2].contains("type mismatch"), "{expected:#?}");
        let file = original.serialize().unwrap();
        for engine in [engine(collector), crowded(collector)] {
            let loaded = load(&engine, &file).unwrap();
            assert_eq!(behaviour(&loaded), expected);
            // And once more, from an engine with other indices.
            assert_eq!(behaviour(&load(&self::engine(collector), &loaded.serialize().unwrap()).unwrap()), expected);
        }
    }
}

#[test]
fn the_same_file_comes_from_every_engine() {
    for collector in &COLLECTORS {
        let files = [engine(collector), crowded(collector)].map(|engine| engine.precompile_module(PROGRAM).unwrap());
        assert!(files[0] == files[1], "no index of an engine's gets into the file");
    }
}

#[test]
fn any_damage_is_found() {
    let engine = engine(&gc_drc::COLLECTOR);
    let file =
        engine.precompile_module(r#"(module (type $s (struct)) (func (export "f") (result (ref $s)) struct.new $s))"#);
    let mut file = file.unwrap();
    for i in 0..file.len() {
        for mask in [1, 0x80, 0xff] {
            file[i] ^= mask;
            let reason = misfit(&engine, &file);
            file[i] ^= mask;
            let expected = match i {
                0..8 => matches!(reason, Misfit::NotPrecompiled),
                8..12 => matches!(reason, Misfit::Format { .. }),
                16..24 => matches!(reason, Misfit::Length { .. }),
                _ => matches!(reason, Misfit::Damaged { .. }),
            };
            assert!(expected, "byte {i} changed: {reason}");
        }
    }
    for end in 0..file.len() {
        let reason = misfit(&engine, &file[..end]);
        assert!(matches!(reason, Misfit::Length { .. }) || end == 0, "cut to {end} bytes: {reason}");
    }
    let longer = [&file[..], b"x"].concat();
    assert!(matches!(misfit(&engine, &longer), Misfit::Length { .. }));
    load(&engine, &file).unwrap();
}

/// The file with another header.
fn with_header(file: &[u8], change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let (mut header, contents) = postcard::take_from_bytes::<Header>(&file[FRAME..]).unwrap();
    change(&mut header);
    let changed = [&file[..FRAME], &postcard::to_stdvec(&header).unwrap(), contents].concat();
    sealed(changed)
}

/// The file with the length and the checksum that it has.
fn sealed(mut file: Vec<u8>) -> Vec<u8> {
    let bytes = file.len() as u64;
    file[CHECKED..FRAME].copy_from_slice(&bytes.to_le_bytes());
    let checksum = crc32fast::hash(&file[CHECKED..]);
    file[12..CHECKED].copy_from_slice(&checksum.to_le_bytes());
    file
}

#[test]
fn what_was_made_for_others_is_refused_with_the_reason() {
    let engine = engine(&gc_drc::COLLECTOR);
    let file = engine.precompile_module("(module (func))").unwrap();
    load(&engine, &with_header(&file, |_| {})).unwrap();
    let refused = |change: &dyn Fn(&mut Header)| misfit(&engine, &with_header(&file, change)).to_string();

    let reason = refused(&|header| header.version = "0.0.9".into());
    assert!(reason.contains("made by Gleaner 0.0.9") && reason.contains("compile it again"), "{reason}");
    let reason = refused(&|header| header.target = "riscv64-unknown-none".into());
    assert!(reason.contains("made for riscv64-unknown-none"), "{reason}");
    let reason = refused(&|header| header.features.push("has_time_travel".into()));
    assert!(reason.contains("a processor with has_time_travel"), "{reason}");
    let reason = refused(&|header| header.settings.retain(|(name, _)| name != "null-faults"));
    assert!(reason.contains("null-faults=(not set), the engine has null-faults=true"), "{reason}");
    // Code that needs less than there is.
    load(&engine, &with_header(&file, |header| header.features.clear())).unwrap();
}

#[test]
fn engines_that_compile_differently_refuse_each_others_files() {
    let drc = |options: &str| {
        let (_, options) = CollectorOptions::parse(options).unwrap();
        Config::new(gc_drc::COLLECTOR.with(&options).unwrap())
    };
    let file = Engine::with_config(drc("drc")).unwrap().precompile_module("(module (func))").unwrap();
    let refused = |config: Config| misfit(&Engine::with_config(config).unwrap(), &file).to_string();
    let null = Config::new(gc_null::COLLECTOR.with(&Default::default()).unwrap());
    assert!(refused(null).contains("for the collector `drc`"));
    assert!(refused(drc("drc:young=64")).contains("65536"), "{}", refused(drc("drc:young=64")));
    assert!(refused(drc("drc").count_objects(true)).contains("count-objects=false, the engine has count-objects=true"));
    assert!(refused(drc("drc").null_checks(crate::NullChecks::Explicit)).contains("null-faults=true"));
    assert!(refused(drc("drc").opt_level(OptLevel::None)).contains("opt-level=Speed"));
    load(&Engine::with_config(drc("drc").parallel(false).heap_limit(1 << 20)).unwrap(), &file).unwrap();
}

#[test]
fn files_can_name_all_library_functions_that_code_calls() {
    for call in LibCall::all_libcalls() {
        if crate::runtime::code::libcall_address(*call).is_ok() {
            assert!(LIBCALLS.contains(call), "{call:?}");
        }
    }
}

#[test]
fn a_file_is_told_from_a_module() {
    let engine = engine(&gc_null::COLLECTOR);
    let file = engine.precompile_module("(module)").unwrap();
    assert!(Module::is_precompiled(&file));
    assert!(!Module::is_precompiled(wat::parse_str("(module)").unwrap()));
    assert!(!Module::is_precompiled(""));
    assert!(Module::new(&engine, &file).unwrap_err().to_string().contains("Module::deserialize"));
    assert_eq!(misfit(&engine, b"\0asm\x01\0\0\0"), Misfit::NotPrecompiled);
    assert_eq!(misfit(&engine, b""), Misfit::NotPrecompiled);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// What a checksum cannot find must still not make loading panic.
    #[test]
    fn forged_files_load_or_are_refused(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        thread_local! {
            static MADE: (Engine, Vec<u8>) = {
                let engine = engine(&gc_drc::COLLECTOR);
                let file = engine.precompile_module(PROGRAM).unwrap();
                (engine, file)
            };
        }
        MADE.with(|(engine, file)| {
            let mut file = file.clone();
            // Behind the header, which would be refused at once.
            let start = FRAME + postcard::to_stdvec(&header(engine.compiler())).unwrap().len();
            for (at, value) in changes {
                let at = start + at.index(file.len() - start);
                file[at] = value;
            }
            let _ = load(engine, &sealed(file));
        });
    }
}
