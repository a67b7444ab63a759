//! Linkers: names, types, and instances that cost little.

use super::*;
use crate::types::MemoryType;

#[test]
fn a_name_is_given_once_unless_shadowing_is_allowed() {
    each::<()>(|store, linker| {
        linker.func_wrap("a", "f", || 1i32).unwrap();
        let error = linker.func_wrap("a", "f", || 2i32).unwrap_err();
        assert!(error.to_string().contains("`a` `f` is defined already as (func (result i32))"), "{error}");
        let one = |store: &mut Store<()>, linker: &Linker<()>| {
            let wat = r#"(module (import "a" "f" (func (result i32))) (export "f" (func 0)))"#;
            let instance = instance(store, linker, wat);
            call(store, instance, "f", &[]).unwrap()[0].i32()
        };
        assert_eq!(one(store, linker), Some(1));
        linker.allow_shadowing(true).func_wrap("a", "f", || 2i32).unwrap();
        assert_eq!(one(store, linker), Some(2));
        linker.allow_shadowing(false);

        let memory = |min| MemoryType { min, max: None, is_64: false, shared: false, page_size_log2: 16 };
        let (small, large) =
            (Memory::new(&mut *store, memory(1)).unwrap(), Memory::new(&mut *store, memory(2)).unwrap());
        linker.define(&*store, "a", "m", small).unwrap();
        assert!(linker.define(&*store, "a", "m", large).is_err(), "their sizes do not tell them apart");
    });
}

#[test]
fn one_name_can_have_several_types() {
    each::<()>(|store, linker| {
        linker.func_wrap("imports", "call", |x: i32| x + 1).unwrap();
        linker.func_wrap("imports", "call", |x: i64| x * 2).unwrap();
        linker.func_wrap("imports", "call", || 7i32).unwrap();
        let ty = GlobalType { content: ValType::I32, mutable: false };
        let global = Global::new(&mut *store, ty, &Val::I32(5)).unwrap();
        linker.define(&*store, "imports", "call", global).unwrap();
        let instance = instance(
            store,
            linker,
            r#"(module
              (import "imports" "call" (func $a (param i64) (result i64)))
              (import "imports" "call" (func $b (param i32) (result i32)))
              (import "imports" "call" (func $c (result i32)))
              (import "imports" "call" (global $d i32))
              (func (export "all") (result i32)
                (i32.add (i32.add (i32.wrap_i64 (call $a (i64.const 100))) (call $b (i32.const 10)))
                         (i32.add (call $c) (global.get $d)))))"#,
        );
        assert_eq!(call(store, instance, "all", &[]).unwrap()[0].i32(), Some(200 + 11 + 7 + 5));
        let module = Module::new(store.engine(), r#"(module (import "imports" "call" (func (param f32))))"#).unwrap();
        let error = linker.instantiate(&mut *store, &module).unwrap_err();
        assert!(error.to_string().contains("expected (func (param f32))"), "{error}");
        // By name alone, the newest.
        assert!(matches!(linker.get(&mut *store, "imports", "call").unwrap(), Some(Extern::Global(_))));
        assert_eq!(linker.iter(&mut *store).unwrap().len(), 4);
    });
}

#[test]
fn aliases_are_names_for_the_same_items() {
    each::<()>(|store, linker| {
        linker.func_wrap("a", "f", || 1i32).unwrap().func_wrap("a", "g", || 2i32).unwrap();
        linker.alias("a", "f", "b", "h").unwrap();
        linker.alias_module("a", "c").unwrap();
        let wat = r#"(module
            (import "b" "h" (func $h (result i32))) (import "c" "g" (func $g (result i32)))
            (func (export "f") (result i32) (i32.add (call $h) (i32.mul (i32.const 10) (call $g)))))"#;
        let instance = instance(store, linker, wat);
        assert_eq!(call(store, instance, "f", &[]).unwrap()[0].i32(), Some(21));
        assert!(linker.alias("a", "x", "b", "x").unwrap_err().to_string().contains("`a` `x`"));
        assert!(linker.alias_module("x", "y").unwrap_err().to_string().contains("`x`"));
        assert!(linker.alias_module("a", "c").is_err(), "those names are taken");
        let mut names: Vec<String> =
            linker.iter(&mut *store).unwrap().into_iter().map(|(module, name, _)| format!("{module}.{name}")).collect();
        names.sort_unstable();
        assert_eq!(names, ["a.f", "a.g", "b.h", "c.f", "c.g"]);
    });
}

const COUNTER: &str = r#"
    (global $n (mut i32) (i32.const 0))
    (func (export "next") (result i32)
      (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n))"#;

#[test]
fn reactors_keep_their_state_and_commands_begin_anew() {
    each::<()>(|store, linker| {
        let module = |body: &str| Module::new(store.engine(), format!("(module {COUNTER} {body})")).unwrap();
        let reactor = module(r#"(func (export "_initialize") (global.set $n (i32.const 10)))"#);
        let command = module(r#"(func (export "_start"))"#);
        linker.module(&mut *store, "reactor", &reactor).unwrap();
        linker.module(&mut *store, "command", &command).unwrap();
        let wat = r#"(module
            (import "reactor" "next" (func $r (result i32))) (import "command" "next" (func $c (result i32)))
            (func (export "reactor") (result i32) (call $r)) (func (export "command") (result i32) (call $c)))"#;
        let instance = instance(store, linker, wat);
        let mut next = |name| call(store, instance, name, &[]).unwrap()[0].i32().unwrap();
        assert_eq!([next("reactor"), next("reactor"), next("command"), next("command")], [11, 12, 1, 1]);
        // A module that cannot be linked is said to be so at once.
        let lost = Module::new(store.engine(), r#"(module (import "no" "where" (func)) (func (export "_start")))"#);
        assert!(linker.module(&mut *store, "lost", &lost.unwrap()).unwrap_err().to_string().contains("`no` `where`"));
    });
}

#[test]
fn unknown_imports_can_be_left_to_fail_when_called() {
    each::<()>(|store, linker| {
        linker.func_wrap("env", "known", || 1i32).unwrap();
        linker.func_wrap("env", "other type", || 1i32).unwrap();
        let wat = r#"(module
            (import "env" "known" (func $known (result i32)))
            (import "env" "other type" (func $other (param i64)))
            (import "env" "unknown" (func $unknown (param i32) (result (ref any))))
            (func (export "known") (result i32) (call $known))
            (func (export "other") (call $other (i64.const 1)))
            (func (export "unknown") (drop (call $unknown (i32.const 1)))))"#;
        let module = Module::new(store.engine(), wat).unwrap();
        linker.define_unknown_imports_as_traps(&module).unwrap();
        let instance = linker.instantiate(&mut *store, &module).unwrap();
        assert_eq!(call(store, instance, "known", &[]).unwrap()[0].i32(), Some(1));
        let error = call(store, instance, "unknown", &[]).unwrap_err();
        assert!(error.to_string().contains("unknown import `env` `unknown`"), "{error}");
        assert!(call(store, instance, "other", &[]).is_err());
        // What is no function stays unknown.
        let module = Module::new(store.engine(), r#"(module (import "env" "g" (global i32)))"#).unwrap();
        linker.define_unknown_imports_as_traps(&module).unwrap();
        assert!(linker.instantiate(&mut *store, &module).is_err());
    });
}

#[test]
fn instances_after_the_first_make_no_functions_of_the_hosts() {
    each::<()>(|store, linker| {
        linker.func_wrap("env", "f", || ()).unwrap();
        let wat = r#"(module (import "env" "f" (func)) (func (export "g")))"#;
        let module = Module::new(store.engine(), wat).unwrap();
        let pre = linker.instantiate_pre(&mut *store, &module).unwrap();
        let mut made = Vec::new();
        for i in 0..4 {
            let before = store.as_context_mut().opaque().funcs_len();
            match i % 2 {
                0 => linker.instantiate(&mut *store, &module).unwrap(),
                _ => pre.instantiate(&mut *store).unwrap(),
            };
            made.push(store.as_context_mut().opaque().funcs_len() - before);
        }
        // Those of an instance's own are made when they are referred to.
        assert_eq!(made, [1, 0, 0, 0], "once that of the host, and no other");
        let same = |store: &mut Store<()>| linker.get(store, "env", "f").unwrap().unwrap().func().unwrap();
        assert_eq!(same(store), same(store));
    });
}

#[test]
fn what_is_prepared_is_checked_once_and_good_for_every_store() {
    for collector in &COLLECTORS {
        let engine = engine(collector);
        let mut linker: Linker<i32> = Linker::new(&engine);
        linker.func_wrap("env", "data", |caller: Caller<'_, i32>| *caller.data()).unwrap();
        let wat = r#"(module (import "env" "data" (func (result i32))) (export "data" (func 0)))"#;
        let module = Module::new(&engine, wat).unwrap();
        let pre = linker.instantiate_pre(Store::new(&engine, 0).unwrap(), &module).unwrap();
        for data in [3, 4] {
            let mut store = Store::new(&engine, data).unwrap();
            let instance = pre.instantiate(&mut store).unwrap();
            assert_eq!(call(&mut store, instance, "data", &[]).unwrap()[0].i32(), Some(data));
        }
        let wrong = Module::new(&engine, r#"(module (import "env" "data" (func)) (import "env" "x" (func)))"#).unwrap();
        let error = linker.instantiate_pre(Store::new(&engine, 0).unwrap(), &wrong).unwrap_err();
        assert!(error.to_string().starts_with("2 imports"), "{error}");
        let mut foreign = Store::new(&self::engine(collector), 0).unwrap();
        assert!(pre.instantiate(&mut foreign).is_err());
    }
}

#[test]
fn results_go_where_they_are_wanted() {
    each::<()>(|store, linker| {
        let wat = r#"(module (func (export "two") (param i32) (result i32 i64) (local.get 0) (i64.const 2)))"#;
        let instance = instance(store, linker, wat);
        let two = instance.get_func(&mut *store, "two").unwrap();
        let mut results = [Val::I32(0), Val::I32(0)];
        two.call_into(&mut *store, &[Val::I32(1)], &mut results).unwrap();
        assert_eq!((results[0].i32(), results[1].i64()), (Some(1), Some(2)));
        let error = two.call_into(&mut *store, &[Val::I32(1)], &mut results[..1]).unwrap_err();
        assert!(error.to_string().contains("2 results"), "{error}");
    });
}
