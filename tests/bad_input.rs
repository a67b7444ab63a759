//! What bad input gets: errors that say what is wrong and what to do, from a process that lives on.
//!
//! Everything is done to every collector. What the command line makes of the errors is tested in `cli.rs`.

use engine::{
    CollectionKind, Config, Engine, Error, ErrorKind, Extern, Func, ImportProblem, Instance, Linker, Module, Result,
    Store, Trap, Val,
};
use gleaner::collectors::{COLLECTORS, DEFAULT};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

const MIB: u64 = 1 << 20;

fn engine() -> Engine {
    Engine::new(DEFAULT.with(&Default::default()).unwrap()).unwrap()
}

/// Runs `test` with an empty store of an engine with each collector, whose heap may grow to `limit` bytes.
fn each_limited(limit: u64, test: impl Fn(&mut Store<()>)) {
    for collector in COLLECTORS {
        println!("{}", collector.info.name);
        let config = Config::new(collector.with(&Default::default()).unwrap()).heap_limit(limit);
        let mut store = Store::new(&Engine::with_config(config).unwrap(), ()).unwrap();
        test(&mut store);
        store.heap().check().unwrap();
    }
}

fn each(test: impl Fn(&mut Store<()>)) {
    each_limited(256 * MIB, test);
}

fn instance(store: &mut Store<()>, text: &str) -> Instance {
    let module = Module::new(store.engine(), text).unwrap();
    Instance::new(store, &module, &[]).unwrap()
}

fn call(store: &mut Store<()>, instance: Instance, name: &str, args: &[Val]) -> Result<Vec<Val>> {
    instance.get_func(&mut *store, name).unwrap().call(store, args)
}

#[track_caller]
fn trap(store: &mut Store<()>, instance: Instance, name: &str, args: &[Val]) -> Trap {
    let error = call(store, instance, name, args).expect_err(name);
    error.trap().unwrap_or_else(|| panic!("`{name}` does not trap: {error}"))
}

/// The error for a module that is refused.
#[track_caller]
fn refused(text: &str) -> Error {
    let error = Module::new(&engine(), text).map(|_| ()).expect_err(text);
    assert!(matches!(error.kind(), ErrorKind::Module(_)), "{error}");
    error
}

#[track_caller]
fn says(error: &Error, parts: &[&str]) {
    let text = error.to_string();
    parts.iter().for_each(|part| assert!(text.contains(part), "`{part}` is missing: {text}"));
}

#[test]
fn truncated_modules_say_where_they_end() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/moonbit/wasm/json.wasm");
    let bytes = fs::read(file).unwrap();
    let engine = engine();
    let (mut lengths, mut truncated) = (0, 0);
    for length in (0..64).chain((64..bytes.len()).step_by(bytes.len() / 400)).chain(bytes.len() - 64..bytes.len()) {
        lengths += 1;
        // Few end where a section does, and of these few are modules.
        match Module::from_binary(&engine, &bytes[..length]) {
            Ok(_) => assert_eq!(length, 8),
            Err(error) if error.to_string().contains("truncated") => {
                says(&error, &[&format!("ends at offset {length:#x}")]);
                truncated += 1;
            }
            Err(error) => says(&error, &["invalid module"]),
        }
    }
    assert!(truncated > lengths - 20, "{truncated} of {lengths}");
    Module::from_binary(&engine, &bytes).unwrap();
}

#[test]
fn invalid_modules_say_what_and_where() {
    let cases = [
        ("(module (func (result i32)))", "type mismatch"),
        ("(module (func (local.set 0 (i32.const 1))))", "unknown local"),
        ("(module (func (call 7)))", "unknown function"),
        ("(module (type $s (struct)) (func (param anyref) (struct.get $s 0 (local.get 0)) drop))", "unknown field"),
        ("(module (type (sub final (struct))) (type (sub 0 (struct))))", "final"),
        ("(module (global (ref func) (ref.null func)))", "type mismatch"),
        ("(module (func (export \"a\")) (func (export \"a\")))", "duplicate export"),
    ];
    for (text, what) in cases {
        let error = refused(text);
        says(&error, &["invalid module", what, "at offset 0x"]);
        assert_eq!(error.unsupported_feature(), None, "{text}");
    }
    says(&refused("(module (func (i32.cost 1)))"), &["i32.cost"]);
    says(
        &Module::from_binary(&engine(), b"\x7fELF\x02\x01\x01\0").map(|_| ()).unwrap_err(),
        &["invalid module", "magic"],
    );
}

#[test]
fn unsupported_features_are_named() {
    let cases = [
        ("stack switching", "(module (tag $t) (func (export \"f\") (suspend $t)))"),
        ("memory control", "(module (memory 1) (func (memory.discard (i32.const 0) (i32.const 0))))"),
        ("stack switching", "(module (type $f (func)) (type (cont $f)))"),
        // Two at once, of which neither alone suffices.
        ("the shared-everything threads proposal", "(module (type $f (func)) (type (shared (cont $f))))"),
    ];
    for (feature, text) in cases {
        let error = refused(text);
        assert_eq!(error.unsupported_feature(), Some(feature), "{text}: {error}");
        says(&error, &[feature, "not supported"]);
    }
}

#[test]
fn legacy_exceptions_are_refused_before_anything_is_compiled() {
    // The first function is invalid, which is found out when it is compiled.
    let error = refused("(module (func (result i32) (i64.const 0)) (func try catch_all end))");
    says(&error, &["legacy exception handling", "wasm-opt --translate-to-exnref"]);
    assert_eq!(error.unsupported_feature(), Some("legacy exception handling"));
}

#[test]
fn imports_that_do_not_fit_are_listed_all_at_once_with_their_types() {
    each(|store| {
        let module = Module::new(
            store.engine(),
            r#"(module
                (type $s (struct (field i32)))
                (import "env" "f" (func (param i32 (ref null $s)) (result i64)))
                (import "env" "t" (table 3 externref))
                (import "env" "m" (memory 1 2))
                (import "env" "g" (global (mut anyref)))
                (import "env" "e" (tag (param f32)))
                (import "env" "wrong" (func (param i64))))"#,
        )
        .unwrap();
        let mut linker = Linker::new(store.engine());
        linker.func_wrap("env", "wrong", |_: i32| {}).unwrap();
        let error = linker.instantiate(&mut *store, &module).unwrap_err();
        let ErrorKind::Link(link) = error.kind() else { panic!("{error}") };
        let problem = |name: &str| -> &ImportProblem {
            link.problems
                .iter()
                .find(|problem| (problem.module.as_str(), problem.name.as_str()) == ("env", name))
                .unwrap()
        };
        let unknown = [
            ("f", "(func (param i32"),
            ("t", "(table 3"),
            ("m", "(memory 1 2)"),
            ("g", "(global (mut"),
            ("e", "(tag (param f32))"),
        ];
        for (name, ty) in unknown {
            assert!(problem(name).expected.contains(ty) && problem(name).found.is_none(), "{error}");
        }
        assert!(problem("wrong").found.as_ref().is_some_and(|found| found.contains("i32")), "{error}");
        assert_eq!(link.problems.len(), 6);
        says(&error, &["6 imports", "`env` `f`", "`env` `e`", "incompatible import type for `env` `wrong`"]);
        // The other way to instantiate takes what is to be imported in order.
        let error = Instance::new(&mut *store, &module, &[]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Usage(_) | ErrorKind::Link(_)), "{error}");
    });
}

#[test]
fn values_of_wrong_types_are_usage_errors() {
    each(|store| {
        let text = r#"(module
            (type $s (struct (field i32)))
            (func (export "f") (param i32 externref) (result i32) (local.get 0))
            (func (export "struct") (param (ref $s)))
            (global (export "g") (mut i32) (i32.const 1)) (table (export "t") 1 funcref))"#;
        let instance = instance(store, text);
        let usage = |result: Result<Vec<Val>>| {
            let error = result.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Usage(_)), "{error}");
            error
        };
        let error = usage(call(store, instance, "f", &[Val::I32(1)]));
        says(&error, &["2 arguments", "1 were given"]);
        usage(call(store, instance, "f", &[Val::I64(1), Val::ExternRef(None)]));
        usage(call(store, instance, "f", &[Val::I32(1), Val::AnyRef(None)]));
        usage(call(store, instance, "struct", &[Val::AnyRef(None)]));
        let i31 = Val::AnyRef(Some(engine::AnyRef::from_i31(&mut *store, 1)));
        usage(call(store, instance, "struct", &[i31]));
        let global = instance.get_global(&mut *store, "g").unwrap();
        usage(global.set(&mut *store, &Val::F32(0)).map(|()| Vec::new()));
        let table = instance.get_table(&mut *store, "t").unwrap();
        usage(table.set(&mut *store, 0, &Val::ExternRef(None)).map(|()| Vec::new()));
        usage(instance.get_func(&mut *store, "h").map(|_| Vec::new()));
        usage(instance.get_typed_func::<i64, i32>(&mut *store, "f").map(|_| Vec::new()));
        assert_eq!(call(store, instance, "f", &[Val::I32(1), Val::ExternRef(None)]).unwrap()[0].i32(), Some(1));
    });
}

#[test]
fn each_trap_is_told_apart_and_leaves_the_store_usable() {
    let text = r#"(module
        (type $p (struct (field (mut i32))))
        (type $a (array (mut i64)))
        (type $f (func))
        (table $t 2 funcref) (memory 1) (data "abc") (elem func 0)
        (elem (table $t) (i32.const 0) func $other)
        (func $other (param i32))
        (func (export "unreachable") unreachable)
        (func (export "divide") (drop (i32.div_u (i32.const 1) (i32.const 0))))
        (func (export "overflow") (drop (i64.div_s (i64.const 0x8000000000000000) (i64.const -1))))
        (func (export "nan") (drop (i32.trunc_f64_s (f64.const nan))))
        (func (export "memory") (drop (i64.load (i32.const 65529))))
        (func (export "init") (memory.init 0 (i32.const 0) (i32.const 2) (i32.const 2)))
        (func (export "table") (drop (table.get $t (i32.const 2))))
        (func (export "elements") (table.init $t 0 (i32.const 0) (i32.const 1) (i32.const 1)))
        (func (export "undefined") (call_indirect $t (type $f) (i32.const 2)))
        (func (export "uninitialized") (call_indirect $t (type $f) (i32.const 1)))
        (func (export "signature") (call_indirect $t (type $f) (i32.const 0)))
        (func (export "array") (drop (array.get $a (array.new_default $a (i32.const 3)) (i32.const 3))))
        (func (export "fill") (array.fill $a (array.new_default $a (i32.const 3)) (i32.const 1) (i64.const 0) (i32.const 3)))
        (func (export "null") (drop (struct.get $p 0 (ref.null $p))))
        (func (export "null array") (drop (array.len (ref.null array))))
        (func (export "null call") (call_ref $f (ref.null $f)))
        (func (export "null exception") (throw_ref (ref.null exn)))
        (func (export "as non-null") (drop (ref.as_non_null (ref.null any))))
        (func (export "cast") (drop (ref.cast (ref $p) (array.new_default $a (i32.const 0)))))
        (func (export "fine") (result i32)
          (struct.get $p 0 (struct.new $p (i32.const 42)))))"#;
    let traps = [
        ("unreachable", Trap::Unreachable),
        ("divide", Trap::IntegerDivideByZero),
        ("overflow", Trap::IntegerOverflow),
        ("nan", Trap::BadConversionToInteger),
        ("memory", Trap::MemoryOutOfBounds),
        ("init", Trap::MemoryOutOfBounds),
        ("table", Trap::TableOutOfBounds),
        ("elements", Trap::TableOutOfBounds),
        ("undefined", Trap::UndefinedElement),
        ("uninitialized", Trap::UninitializedElement),
        ("signature", Trap::BadSignature),
        ("array", Trap::ArrayOutOfBounds),
        ("fill", Trap::ArrayOutOfBounds),
        ("null", Trap::NullReference),
        ("null array", Trap::NullReference),
        ("null call", Trap::NullReference),
        ("null exception", Trap::NullReference),
        ("as non-null", Trap::NullReference),
        ("cast", Trap::CastFailure),
    ];
    each(|store| {
        let instance = instance(store, text);
        for _ in 0..2 {
            for (name, expected) in traps {
                assert_eq!(trap(store, instance, name, &[]), expected, "{name}");
                assert_eq!(call(store, instance, "fine", &[]).unwrap()[0].i32(), Some(42), "after `{name}`");
            }
        }
    });
}

#[test]
fn a_full_heap_is_a_trap_that_names_the_limit_and_the_way_to_raise_it() {
    let text = r#"(module
        (type $list (struct (field (ref null $list)))) (type $bytes (array i8))
        (global $kept (mut (ref null $list)) (ref.null $list))
        (func (export "keep everything")
          (loop $more (global.set $kept (struct.new $list (global.get $kept))) (br $more)))
        (func (export "large") (drop (array.new_default $bytes (i32.const 2000000))))
        (func (export "forget") (global.set $kept (ref.null $list)))
        (func (export "trap") unreachable)
        (func (export "fine") (result i32) (i32.const 42)))"#;
    each_limited(MIB, |store| {
        let instance = instance(store, text);
        for name in ["large", "keep everything", "keep everything"] {
            let error = call(store, instance, name, &[]).unwrap_err();
            assert_eq!(error.trap(), Some(Trap::HeapExhausted { limit: MIB }), "{error}");
            says(&error, &["out of heap memory", "1048576 bytes", "--heap", "\nlive: "]);
            // What was live, by the names that the module has for types.
            let live = error.live().expect("it is told");
            let sums = live.types.iter().fold((0, 0), |sum, ty| (sum.0 + ty.objects, sum.1 + ty.bytes));
            assert_eq!(sums, (live.objects, live.bytes), "{error}");
            if name == "keep everything" {
                let list = &live.types[0];
                assert_eq!((list.name.as_str(), list.bytes), ("$list", list.objects * 16), "{error}");
                assert!(list.bytes > MIB / 3 && list.bytes <= MIB, "{error}");
                says(&error, &[&format!("{} of $list, {} bytes", list.objects, list.bytes)]);
            }
        }
        assert_eq!(call(store, instance, "fine", &[]).unwrap()[0].i32(), Some(42));
        call(store, instance, "forget", &[]).unwrap();
        store.gc(CollectionKind::Major);
        // Other errors do not tell.
        assert!(call(store, instance, "trap", &[]).unwrap_err().live().is_none());
    });
}

#[test]
fn arrays_that_no_heap_could_hold_are_traps() {
    let text = r#"(module
        (type $bytes (array i8)) (type $longs (array (mut i64))) (type $refs (array (mut anyref)))
        (func (export "bytes") (param i32) (drop (array.new_default $bytes (local.get 0))))
        (func (export "longs") (param i32) (drop (array.new $longs (i64.const 1) (local.get 0))))
        (func (export "refs") (param i32) (drop (array.new_default $refs (local.get 0)))))"#;
    each(|store| {
        let instance = instance(store, text);
        for name in ["bytes", "longs", "refs"] {
            for length in [u32::MAX, u32::MAX - 7, u32::MAX - 16, 1 << 31, (1 << 29) + 1, 1 << 30] {
                let trap = trap(store, instance, name, &[Val::I32(length as i32)]);
                let expected = matches!(trap, Trap::AllocationTooLarge | Trap::HeapExhausted { .. });
                assert!(expected, "{name} {length}: {trap}");
            }
            call(store, instance, name, &[Val::I32(1000)]).unwrap();
        }
        assert_eq!(trap(store, instance, "longs", &[Val::I32(-1)]), Trap::AllocationTooLarge);
    });
}

#[test]
fn infinite_recursion_is_a_trap_whose_backtrace_counts_every_frame() {
    let text = r#"(module
        (type $f (func (param externref)))
        (table $t funcref (elem $indirect))
        (func $deep (export "deep") (result i32) (i32.add (i32.const 1) (call $deep)))
        (func $even (export "mutual") (param externref) (call $odd (local.get 0)) (call $odd (local.get 0)))
        (func $odd (param externref) (call $even (local.get 0)) (call $even (local.get 0)))
        (func $indirect (export "indirect") (param externref)
          (call_indirect $t (type $f) (local.get 0) (i32.const 0)) (drop (ref.is_null (local.get 0))))
        (func $count (export "count") (param i32)
          (if (local.get 0) (then (call $count (i32.sub (local.get 0) (i32.const 1)))) (else unreachable)))
        (func (export "fine") (result i32) (i32.const 42)))"#;
    each(|store| {
        let instance = instance(store, text);
        for _ in 0..2 {
            for (name, args) in
                [("deep", &[][..]), ("mutual", &[Val::ExternRef(None)]), ("indirect", &[Val::ExternRef(None)])]
            {
                let error = call(store, instance, name, args).unwrap_err();
                assert_eq!(error.trap(), Some(Trap::StackOverflow), "{name}: {error}");
                let backtrace = error.backtrace().unwrap();
                // No frame is larger than a few words.
                assert!(backtrace.frames().len() + backtrace.omitted() > 1_000, "{error}");
            }
            assert_eq!(call(store, instance, "fine", &[]).unwrap()[0].i32(), Some(42));
        }
        let count = |store: &mut Store<()>, calls| call(store, instance, "count", &[Val::I32(calls)]).unwrap_err();
        let error = count(store, 999);
        let backtrace = error.backtrace().unwrap();
        // Functions are counted, and not frames of the stack, of which one may stand for several.
        assert_eq!(backtrace.frames().len() + backtrace.omitted(), 1_000);
        assert!((80..320).contains(&backtrace.frames().len()), "{error}");
        says(&error, &["\n    0: ", "\n   19: ", "… 964 more frames …\n  984: ", "\n  999: "]);
        assert_eq!(error.to_string().lines().count(), 2 + 20 + 1 + 16);
        let error = count(store, 35);
        assert!(!error.to_string().contains("more frames"), "{error}");
        says(&count(store, 36), &["… 1 more frames …\n   21: "]);
    });
}

#[test]
fn recursion_through_the_host_is_a_trap() {
    each(|store| {
        let module = Module::new(
            store.engine(),
            r#"(module (import "host" "again" (func $again (param externref)))
                (func $f (export "f") (param externref) (call $again (local.get 0)) (call $again (local.get 0)))
                (func (export "fine") (result i32) (i32.const 42)))"#,
        )
        .unwrap();
        let mut linker = Linker::new(store.engine());
        let ty = engine::types::FuncType::new([engine::types::ValType::EXTERNREF], []);
        linker
            .func_new("host", "again", ty, |mut caller, args, _| {
                let f = caller.get_export("f").and_then(Extern::func).unwrap();
                f.call(&mut caller, args).map(|_| ())
            })
            .unwrap();
        let instance = linker.instantiate(&mut *store, &module).unwrap();
        for _ in 0..2 {
            let error = call(store, instance, "f", &[Val::ExternRef(None)]).unwrap_err();
            assert_eq!(error.trap(), Some(Trap::StackOverflow), "{error}");
            says(&error, &["call stack exhausted", "$f", "more frames"]);
            assert_eq!(call(store, instance, "fine", &[]).unwrap()[0].i32(), Some(42));
        }
    });
}

#[test]
fn memories_that_cannot_grow_say_so_to_the_program() {
    let text = r#"(module
        (memory $bounded 1 10) (memory $free 1)
        (func (export "bounded") (param i32) (result i32) (memory.grow $bounded (local.get 0)))
        (func (export "free") (param i32) (result i32) (memory.grow $free (local.get 0)))
        (func (export "load") (result i32) (i32.load $free (i32.const 65532))))"#;
    each(|store| {
        let instance = instance(store, text);
        for (name, pages, result) in [
            ("bounded", 10, -1),
            ("bounded", -1, -1),
            ("bounded", 9, 1),
            ("free", -1, -1),
            ("free", 65536, -1),
            ("free", 0, 1),
        ] {
            let results = call(store, instance, name, &[Val::I32(pages)]).unwrap();
            assert_eq!(results[0].i32(), Some(result), "{name} {pages}");
        }
        assert_eq!(call(store, instance, "load", &[]).unwrap()[0].i32(), Some(0));
    });
}

#[test]
fn tables_of_ten_million_entries_are_made_used_and_collected() {
    for ty in ["externref", "funcref"] {
        let text = format!(
            r#"(module
                (table $t (export "t") 10000000 {ty})
                (func $f (export "f"))
                (elem declare func $f)
                (func (export "copy") (param i32 i32) (table.set $t (local.get 0) (table.get $t (local.get 1))))
                (func (export "is null") (param i32) (result i32) (ref.is_null (table.get $t (local.get 0)))))"#
        );
        each(|store| {
            let start = Instant::now();
            let instance = instance(store, &text);
            let table = instance.get_table(&mut *store, "t").unwrap();
            assert_eq!(table.size(&*store), 10_000_000);
            let value = match ty {
                "externref" => Val::ExternRef(Some(engine::ExternRef::new(&mut *store, 42).unwrap())),
                _ => Val::FuncRef(Some(instance.get_func(&mut *store, "f").unwrap())),
            };
            table.set(&mut *store, 9_999_999, &value).unwrap();
            call(store, instance, "copy", &[Val::I32(5_000_000), Val::I32(9_999_999)]).unwrap();
            store.gc(CollectionKind::Major);
            for (index, is_null) in [(0, 1), (5_000_000, 0), (9_999_998, 1), (9_999_999, 0)] {
                let results = call(store, instance, "is null", &[Val::I32(index)]).unwrap();
                assert_eq!(results[0].i32(), Some(is_null), "{ty} {index}");
            }
            assert_eq!(trap(store, instance, "is null", &[Val::I32(10_000_000)]), Trap::TableOutOfBounds);
            println!("{ty}: {:?}", start.elapsed());
        });
    }
}

#[test]
fn a_module_with_100_000_functions_compiles_and_runs() {
    let mut text = String::from("(module (func $f0 (export \"first\") (param i32) (result i32) (local.get 0))");
    for i in 1..100_000 {
        text += &format!(
            "(func $f{i} (param i32) (result i32) (call $f{} (i32.add (local.get 0) (i32.const {i}))))",
            i / 2
        );
    }
    text += "(func (export \"last\") (param i32) (result i32) (call $f99999 (local.get 0))))";
    let engine = engine();
    let start = Instant::now();
    let module = Module::new(&engine, &text).unwrap();
    println!("{} functions compiled in {:?}", module.func_count(), start.elapsed());
    let mut store = Store::new(&engine, ()).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let (mut expected, mut i) = (1, 99_999);
    while i > 0 {
        expected += i;
        i /= 2;
    }
    let results = call(&mut store, instance, "last", &[Val::I32(1)]).unwrap();
    assert_eq!(results[0].i32(), Some(expected));
}

#[test]
fn a_recursion_group_of_9_000_types_is_made_and_told_apart() {
    let mut text = String::from("(module (rec");
    for i in 0..9_000 {
        text += &format!("(type $t{i} (sub (struct (field (mut (ref null $t{}))) (field i32))))", (i + 1) % 9_000);
    }
    text += r#")
        (func (export "sum") (result i32) (local $t (ref $t8999))
          (local.set $t (struct.new $t8999 (struct.new $t0 (ref.null $t1) (i32.const 2)) (i32.const 40)))
          (i32.add (struct.get $t8999 1 (local.get $t)) (struct.get $t0 1 (struct.get $t8999 0 (local.get $t)))))
        (func (export "cast") (drop (ref.cast (ref $t8998) (struct.new_default $t8999)))))"#;
    each(|store| {
        let start = Instant::now();
        let instance = instance(store, &text);
        println!("{:?}", start.elapsed());
        assert_eq!(call(store, instance, "sum", &[]).unwrap()[0].i32(), Some(42));
        assert_eq!(trap(store, instance, "cast", &[]), Trap::CastFailure);
    });
}

/// Says what the process that [`a_fault_of_the_hosts_ends_the_process`] starts should do.
const FAULT: &str = "GLEANER_TEST_FAULT";

#[test]
fn a_fault_of_the_hosts_ends_the_process() {
    for place in ["outside", "in a call"] {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "faults_when_it_is_told_to"])
            .env(FAULT, place)
            .output()
            .unwrap();
        assert_eq!(child.status.signal(), Some(SIGSEGV), "{place}: {child:?}");
    }
}

/// The signal's number.
const SIGSEGV: i32 = 11;

/// Does nothing, unless [`a_fault_of_the_hosts_ends_the_process`] started it.
#[test]
fn faults_when_it_is_told_to() {
    let Ok(place) = std::env::var(FAULT) else { return };
    fn fault() {
        // SAFETY: there is none: nothing is mapped at address 16, and the process is to end.
        println!("{}", unsafe { std::ptr::without_provenance::<u8>(16).read_volatile() });
    }
    let mut store = Store::new(&engine(), ()).unwrap();
    let module = Module::new(
        store.engine(),
        r#"(module (import "host" "fault" (func $fault)) (type $s (struct (field i32)))
            (func (export "null") (drop (struct.get $s 0 (ref.null $s))))
            (func (export "fault") (call $fault)))"#,
    )
    .unwrap();
    let fault_in_call = Func::wrap(&mut store, fault).unwrap();
    let instance = Instance::new(&mut store, &module, &[fault_in_call.into()]).unwrap();
    assert_eq!(trap(&mut store, instance, "null", &[]), Trap::NullReference);
    match place.as_str() {
        "outside" => fault(),
        _ => drop(call(&mut store, instance, "fault", &[])),
    }
    // Not by a panic, which would end the test only.
    std::process::exit(0);
}
