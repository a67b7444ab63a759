//! Memories and tables of every kind, beyond what the official suite tests of them: their bounds, their sizes, and what they
//! cannot become.

mod common {
    pub mod calls;
}

use common::calls::{call, says, trap};
use engine::types::{MemoryType, RefType, TableType};
use engine::{Config, Engine, ErrorKind, Instance, Memory, Module, Result, Store, Table, Trap, Val};
use gleaner::collectors::COLLECTORS;
use std::process::Command;

const GIB: u64 = 1 << 30;
/// Bytes of a page.
const PAGE: u64 = 1 << 16;

/// Runs `test` with an empty store under every collector.
fn each(test: impl Fn(&mut Store<()>)) {
    for collector in COLLECTORS {
        println!("{}", collector.info.name);
        let config = Config::new(collector.with(&Default::default()).unwrap());
        test(&mut Store::new(&Engine::with_config(config).unwrap(), ()).unwrap());
    }
}

fn try_instance(store: &mut Store<()>, text: &str) -> Result<Instance> {
    let module = Module::new(store.engine(), text).unwrap_or_else(|error| panic!("{text}: {error}"));
    Instance::new(store, &module, &[])
}

fn instance(store: &mut Store<()>, text: &str) -> Instance {
    try_instance(store, text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The one integer that a call gives, zero-extended.
#[track_caller]
fn int(result: Result<Vec<Val>>) -> u64 {
    match result.unwrap()[..] {
        [Val::I32(value)] => value as u32 as u64,
        [Val::I64(value)] => value as u64,
        ref other => panic!("no integer: {other:?}"),
    }
}

/// An index as an instruction takes it.
fn index(is_64: bool, value: u64) -> Val {
    if is_64 { Val::I64(value as i64) } else { Val::I32(value as i32) }
}

/// Every access of every size, at and around every border that there is: in bounds exactly if it ends inside the memory, as
/// calculated with numbers that cannot overflow.
#[test]
fn accesses_trap_exactly_when_they_end_outside() {
    const BORDERS: [u64; 14] = [
        0,
        8,
        0x1_0000,
        0x1_0010,
        0x7FFF_FFF8,
        0x8000_0000,
        0x8000_0008,
        0xFFFF_FFFF,
        0x1_0000_0000,
        0x7FFF_FFFF_FFFF_FFFF,
        0x8000_0000_0000_0000,
        0xFFFF_FFFF_0000_0000,
        0xFFFF_FFFF_FFFF_0000,
        0xFFFF_FFFF_FFFF_FFF8,
    ];
    for ty in [
        MemoryType::new(1, None),
        MemoryType::new_64(1, None),
        MemoryType::new_64(0, None),
        MemoryType::new(0x1_0013, None).with_byte_pages(),
        MemoryType::new_64(0x1_0013, None).with_byte_pages(),
        MemoryType::new_64(5, None).with_byte_pages(),
        MemoryType::new(0, None).with_byte_pages(),
    ] {
        let (word, length) = (if ty.is_64 { "i64" } else { "i32" }, ty.bytes(ty.min));
        let top = if ty.is_64 { u64::MAX } else { u32::MAX as u64 };
        let near = |borders: &[u64], distance: u64| {
            let steps = |border: &u64| [border.wrapping_sub(distance), border.wrapping_sub(1), *border, border + 1];
            let mut values: Vec<u64> = borders.iter().flat_map(steps).filter(|value| *value <= top).collect();
            values.sort_unstable();
            values.dedup();
            values
        };
        let (offsets, indices) = (near(&BORDERS, 7), near(&[&BORDERS[..], &[length]].concat(), 16));
        let mut text = format!("(module {}", ty);
        for offset in &offsets {
            for (bytes, load, store) in
                [(1, "load8_u", "store8"), (2, "load16_u", "store16"), (4, "load32_u", "store32"), (8, "load", "store")]
            {
                text += &format!(
                    "(func (export \"load {bytes} {offset}\") (param {word}) (result i64) (i64.{load} offset={offset} (local.get 0)))
                     (func (export \"store {bytes} {offset}\") (param {word})
                       (i64.{store} offset={offset} (local.get 0) (i64.const 0)))"
                );
            }
            text += &format!(
                "(func (export \"load 16 {offset}\") (param {word}) (drop (v128.load offset={offset} (local.get 0))))
                 (func (export \"store 16 {offset}\") (param {word})
                   (v128.store offset={offset} (local.get 0) (v128.const i64x2 0 0)))"
            );
        }
        text += ")";
        each(|store| {
            let instance = instance(store, &text);
            for (offset, bytes) in offsets.iter().flat_map(|offset| [1, 2, 4, 8, 16].map(|bytes| (offset, bytes))) {
                for at in &indices {
                    let inside = *at as u128 + *offset as u128 + bytes as u128 <= length as u128;
                    for access in ["load", "store"] {
                        let result =
                            call(store, instance, &format!("{access} {bytes} {offset}"), &[index(ty.is_64, *at)]);
                        match result {
                            Ok(_) => assert!(inside, "{ty}: {access} of {bytes} bytes at {at:#x} + {offset:#x}"),
                            Err(error) => {
                                assert!(!inside, "{ty}: {access} of {bytes} bytes at {at:#x} + {offset:#x}: {error}");
                                assert_eq!(error.trap(), Some(Trap::MemoryOutOfBounds));
                            }
                        }
                    }
                }
            }
        });
    }
}

#[test]
fn a_memory_beyond_4_gib_is_used_at_its_end() {
    const PAGES: u64 = (4 * GIB / PAGE) + 16;
    const END: u64 = PAGES * PAGE;
    let text = format!(
        r#"(module
            (memory $large (export "large") i64 {PAGES}) (memory $small (export "small") 1)
            (data $hello "hello")
            (func (export "size") (result i64) (memory.size $large))
            (func (export "load") (param i64) (result i64) (i64.load $large (local.get 0)))
            (func (export "store") (param i64 i64) (i64.store $large (local.get 0) (local.get 1)))
            (func (export "fill") (param i64 i64) (memory.fill $large (local.get 0) (i32.const 0x7A) (local.get 1)))
            (func (export "init") (param i64) (memory.init $large $hello (local.get 0) (i32.const 0) (i32.const 5)))
            (func (export "copy") (param i64 i64 i64)
              (memory.copy $large $large (local.get 0) (local.get 1) (local.get 2)))
            (func (export "to small") (param i32 i64 i32)
              (memory.copy $small $large (local.get 0) (local.get 1) (local.get 2)))
            (func (export "to large") (param i64 i32 i32)
              (memory.copy $large $small (local.get 0) (local.get 1) (local.get 2))))"#
    );
    each(|store| {
        let instance = instance(store, &text);
        let i64 = |value: u64| Val::I64(value as i64);
        assert_eq!(int(call(store, instance, "size", &[])), PAGES);
        call(store, instance, "store", &[i64(END - 8), i64(0x1122_3344_5566_7788)]).unwrap();
        assert_eq!(int(call(store, instance, "load", &[i64(END - 8)])), 0x1122_3344_5566_7788);
        // What a truncated index would have hit.
        assert_eq!(int(call(store, instance, "load", &[i64((END - 8) & 0xFFFF_FFFF)])), 0);
        for at in [END - 7, END, END + 0x1234, END | 1 << 63, u64::MAX] {
            assert_eq!(trap(call(store, instance, "load", &[i64(at)])), Trap::MemoryOutOfBounds, "{at:#x}");
        }
        let (large, small) =
            (instance.get_memory(&mut *store, "large").unwrap(), instance.get_memory(&mut *store, "small").unwrap());
        let bytes = |store: &mut Store<()>, memory: Memory, at: u64, count: usize| {
            let mut bytes = vec![0; count];
            memory.read(store, at as usize, &mut bytes).unwrap();
            bytes
        };
        call(store, instance, "init", &[i64(END - 5)]).unwrap();
        assert_eq!(bytes(store, large, END - 6, 6), b"\x66hello");
        call(store, instance, "copy", &[i64(0), i64(END - 5), i64(5)]).unwrap();
        assert_eq!(bytes(store, large, 0, 6), b"hello\0");
        call(store, instance, "fill", &[i64(4 * GIB - 1), i64(2)]).unwrap();
        assert_eq!(bytes(store, large, 4 * GIB - 2, 4), b"\0zz\0");
        call(store, instance, "to small", &[Val::I32(65531), i64(END - 5), Val::I32(5)]).unwrap();
        assert_eq!(bytes(store, small, 65530, 6), b"\0hello");
        call(store, instance, "to large", &[i64(4 * GIB), Val::I32(65531), Val::I32(4)]).unwrap();
        assert_eq!(bytes(store, large, 4 * GIB - 1, 6), b"zhell\0");
        let outside: [(&str, &[Val]); 8] = [
            ("init", &[i64(END - 4)]),
            ("init", &[i64(u64::MAX)]),
            ("fill", &[i64(END - 1), i64(2)]),
            ("fill", &[i64(1), i64(u64::MAX)]),
            ("copy", &[i64(u64::MAX - 1), i64(0), i64(3)]),
            ("copy", &[i64(0), i64(END), i64(1)]),
            ("to small", &[Val::I32(0), i64(END - 1), Val::I32(2)]),
            ("to large", &[i64(END - 1), Val::I32(0), Val::I32(2)]),
        ];
        for (name, args) in outside {
            assert_eq!(trap(call(store, instance, name, args)), Trap::MemoryOutOfBounds, "{name} {args:?}");
        }
        assert_eq!(bytes(store, large, END - 5, 5), b"hello");
    });
}

#[test]
fn growth_stops_where_the_type_or_the_reservation_ends() {
    for (ty, most) in [
        ("1 7", 7),
        ("1", 65536),
        ("i64 1 7", 7),
        ("i64 1 0x1_8000", 0x1_8000),
        // Without a maximum, 64 GiB are reserved; with one, 1 TiB at most.
        ("i64 1", 64 * GIB / PAGE),
        ("i64 1 0x1_0000_0000_0000", 1024 * GIB / PAGE),
    ] {
        let word = if ty.starts_with("i64") { "i64" } else { "i32" };
        let text = format!(
            r#"(module (memory {ty})
                (func (export "size") (result {word}) (memory.size))
                (func (export "grow") (param {word}) (result {word}) (memory.grow (local.get 0)))
                (func (export "touch") (param {word}) (result i32)
                  (i32.store8 (local.get 0) (i32.const 42)) (i32.load8_u (local.get 0))))"#
        );
        each(|store| {
            let instance = instance(store, &text);
            let is_64 = word == "i64";
            let failed = if is_64 { u64::MAX } else { u32::MAX as u64 };
            let mut grow = |pages: u64| {
                let old = int(call(store, instance, "grow", &[index(is_64, pages)]));
                (old, int(call(store, instance, "size", &[])))
            };
            assert_eq!(grow(0), (1, 1), "{ty}");
            assert_eq!(grow(most), (failed, 1), "{ty}");
            assert_eq!(grow(failed), (failed, 1), "{ty}");
            assert_eq!(grow(most - 2), (1, most - 1), "{ty}");
            assert_eq!(grow(2), (failed, most - 1), "{ty}");
            assert_eq!(grow(1), (most - 1, most), "{ty}");
            assert_eq!(grow(1), (failed, most), "{ty}");
            let last = index(is_64, most * PAGE - 1);
            assert_eq!(int(call(store, instance, "touch", &[last])), 42, "{ty}");
            if is_64 || most < 65536 {
                let outside = trap(call(store, instance, "touch", &[index(is_64, most * PAGE)]));
                assert_eq!(outside, Trap::MemoryOutOfBounds);
            }
        });
    }
}

/// Says to the process that [`less_is_reserved_where_address_space_is_short`] starts that its address space is limited.
const SHORT: &str = "GLEANER_TEST_SHORT_OF_ADDRESS_SPACE";

#[test]
fn less_is_reserved_where_address_space_is_short() {
    const TEST: &str = "less_is_reserved_where_address_space_is_short";
    if std::env::var_os(SHORT).is_none() {
        // 48 GiB are enough for a store and not for the 64 GiB that such a memory would have.
        let status = Command::new("sh")
            .args(["-c", "ulimit -v 50331648 && exec \"$0\" --exact \"$1\""])
            .args([std::env::current_exe().unwrap().into_os_string(), TEST.into()])
            .env(SHORT, "")
            .status();
        assert!(status.unwrap().success());
        return;
    }
    each(|store| {
        let text = r#"(module (memory i64 1)
            (func (export "grow") (param i64) (result i64) (memory.grow (local.get 0))))"#;
        let instance = instance(store, text);
        let mut grow = |pages: u64| int(call(store, instance, "grow", &[Val::I64(pages as i64)]));
        assert_eq!(grow(64 * GIB / PAGE - 1), u64::MAX);
        assert_eq!((grow(GIB / PAGE), grow(0)), (1, GIB / PAGE + 1));
        // What it must have at the start is not to be had.
        let error = try_instance(store, "(module (memory i64 0xC_0000))").unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::System(_)), "{error}");
        says(&error, &["making a linear memory: 51539607552 bytes cannot be had"]);
    });
}

#[test]
fn memories_of_byte_pages_are_counted_in_bytes() {
    let text = r#"(module
        (memory (export "m") 3 0xFFFF_FFFF (pagesize 1)) (data (i32.const 1) "ab")
        (func (export "size") (result i32) (memory.size))
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
        (func (export "fill") (param i32 i32) (memory.fill (local.get 0) (i32.const 0xFF) (local.get 1))))"#;
    each(|store| {
        let instance = instance(store, text);
        let i32 = |value: u32| [Val::I32(value as i32)];
        assert_eq!(int(call(store, instance, "load", &i32(2))), b'b' as u64);
        assert_eq!(trap(call(store, instance, "load", &i32(3))), Trap::MemoryOutOfBounds);
        assert_eq!(int(call(store, instance, "grow", &i32(2))), 3);
        assert_eq!(int(call(store, instance, "size", &[])), 5);
        call(store, instance, "fill", &[Val::I32(0), Val::I32(5)]).unwrap();
        assert_eq!(trap(call(store, instance, "fill", &[Val::I32(4), Val::I32(2)])), Trap::MemoryOutOfBounds);
        // Within a page of the system's and beyond it: what is added is zero.
        for (delta, old) in [(1, 5), (10_000, 6), (0xFFFF_FFFF - 10_006, 10_006)] {
            assert_eq!(int(call(store, instance, "grow", &i32(delta))), old as u64);
            for at in [old, old + delta - 1] {
                assert_eq!(int(call(store, instance, "load", &i32(at))), 0, "{at}");
            }
            assert_eq!(trap(call(store, instance, "load", &i32(old + delta))), Trap::MemoryOutOfBounds);
            if delta > 10_000 {
                break;
            }
        }
        let memory = instance.get_memory(&mut *store, "m").unwrap();
        assert_eq!(memory.ty(&*store), MemoryType::new(0xFFFF_FFFF, Some(0xFFFF_FFFF)).with_byte_pages());
        assert_eq!(memory.data(&*store).len(), 0xFFFF_FFFF);
    });
}

#[test]
fn the_size_of_pages_is_part_of_an_import() {
    each(|store| {
        let bytes = Memory::new(&mut *store, MemoryType::new(65536, None).with_byte_pages()).unwrap();
        let module = |store: &Store<()>, ty| Module::new(store.engine(), format!("(module (import \"\" \"\" {ty}))"));
        for (ty, fits) in
            [("(memory 1)", false), ("(memory 1 (pagesize 1))", true), ("(memory i64 1 (pagesize 1))", false)]
        {
            let module = module(store, ty).unwrap();
            let result = Instance::new(&mut *store, &module, &[bytes.into()]);
            assert_eq!(result.is_ok(), fits, "{ty}");
            if let Err(error) = result {
                says(&error, &["incompatible import type", "found (memory 65536 (pagesize 1))"]);
            }
        }
    });
}

#[test]
fn segments_whose_end_overflows_trap() {
    each(|store| {
        for (text, expected) in [
            (r#"(memory i64 1) (data (i64.const -1) "ab")"#, Trap::MemoryOutOfBounds),
            (r#"(memory i64 1) (data (i64.const 0x1_0000_0000) "a")"#, Trap::MemoryOutOfBounds),
            (r#"(memory i64 1) (data (i64.const 65536) "a")"#, Trap::MemoryOutOfBounds),
            (r#"(memory 1) (data (i32.const -1) "ab")"#, Trap::MemoryOutOfBounds),
            (r#"(memory 5 (pagesize 1)) (data (i32.const 4) "ab")"#, Trap::MemoryOutOfBounds),
            (r#"(memory i64 5 (pagesize 1)) (data (i64.const -1) "ab")"#, Trap::MemoryOutOfBounds),
            (r#"(table i64 2 funcref) (func $f) (elem (i64.const -1) func $f $f)"#, Trap::TableOutOfBounds),
            (r#"(table i64 2 funcref) (func $f) (elem (i64.const 0x1_0000_0000) func $f)"#, Trap::TableOutOfBounds),
        ] {
            assert_eq!(trap(try_instance(store, &format!("(module {text})"))), expected, "{text}");
        }
        for text in [
            r#"(memory i64 1) (data (i64.add (i64.const -1) (i64.const 65535)) "ab")"#,
            r#"(memory i64 0) (data (i64.const 0) "")"#,
        ] {
            instance(store, &format!("(module {text})"));
        }
    });
}

#[test]
fn tables_with_64_bit_indices_use_all_of_them() {
    let text = r#"(module
        (type $f (func (result i32)))
        (table $funcs (export "funcs") i64 2 10 funcref) (table $refs i64 2 externref) (table $narrow 4 funcref)
        (elem (table $funcs) (i64.const 1) func $answer)
        (elem $segment func $answer)
        (func $answer (result i32) (i32.const 42))
        (func (export "call") (param i64) (result i32) (call_indirect $funcs (type $f) (local.get 0)))
        (func (export "get") (param i64) (result i32) (ref.is_null (table.get $refs (local.get 0))))
        (func (export "set") (param i64) (table.set $refs (local.get 0) (ref.null extern)))
        (func (export "fill") (param i64 i64) (table.fill $refs (local.get 0) (ref.null extern) (local.get 1)))
        (func (export "init") (param i64)
          (table.init $funcs $segment (local.get 0) (i32.const 0) (i32.const 1)))
        (func (export "narrow") (param i32 i64 i32)
          (table.copy $narrow $funcs (local.get 0) (local.get 1) (local.get 2)))
        (func (export "size") (result i64) (table.size $funcs))
        (func (export "grow") (param i64) (result i64) (table.grow $funcs (ref.null func) (local.get 0))))"#;
    each(|store| {
        let instance = instance(store, text);
        let i64 = |value: u64| Val::I64(value as i64);
        assert_eq!(int(call(store, instance, "call", &[i64(1)])), 42);
        assert_eq!(trap(call(store, instance, "call", &[i64(0)])), Trap::UninitializedElement);
        for at in [2, 0x1_0000_0001, u64::MAX] {
            assert_eq!(trap(call(store, instance, "call", &[i64(at)])), Trap::UndefinedElement, "{at:#x}");
            for name in ["get", "set", "init"] {
                assert_eq!(trap(call(store, instance, name, &[i64(at)])), Trap::TableOutOfBounds, "{name} {at:#x}");
            }
        }
        assert_eq!(trap(call(store, instance, "fill", &[i64(1), i64(u64::MAX)])), Trap::TableOutOfBounds);
        call(store, instance, "init", &[i64(0)]).unwrap();
        assert_eq!(int(call(store, instance, "call", &[i64(0)])), 42);
        call(store, instance, "narrow", &[Val::I32(2), i64(0), Val::I32(2)]).unwrap();
        let outside = call(store, instance, "narrow", &[Val::I32(0), i64(0x1_0000_0000), Val::I32(1)]);
        assert_eq!(trap(outside), Trap::TableOutOfBounds);
        for (delta, old) in [(u64::MAX, u64::MAX), (0x1_0000_0000, u64::MAX), (9, u64::MAX), (8, 2), (1, u64::MAX)] {
            assert_eq!(int(call(store, instance, "grow", &[i64(delta)])), old, "{delta:#x}");
        }
        assert_eq!(int(call(store, instance, "size", &[])), 10);
        assert!(instance.get_table(&mut *store, "funcs").unwrap().ty(&*store).is_64);
    });
}

#[test]
fn what_no_memory_and_no_table_can_be_is_an_error_with_the_limit() {
    each(|store| {
        let limits: [(&str, &[&str]); 4] = [
            (
                "(memory i64 0x1_0000_0000_0000)",
                &["linear memory", "281474976710656 pages of 65536", "1099511627776 bytes"],
            ),
            ("(memory i64 0x100_0001)", &["linear memory", "16777217 pages", "1099511627776 bytes"]),
            ("(table 0xffff_ffff funcref)", &["table", "4294967295 elements", "268435456"]),
            ("(table i64 0xffff_ffff_ffff_ffff externref)", &["table", "18446744073709551615 elements", "268435456"]),
        ];
        for (text, parts) in limits {
            let error = try_instance(store, &format!("(module {text})")).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::System(_)), "{error}");
            says(&error, parts);
        }
        says(&Memory::new(&mut *store, MemoryType::new_64(1 << 40, None)).unwrap_err(), &["1099511627776 bytes"]);
        let ty = TableType::new_64(RefType::FUNCREF, 1 << 40, None);
        says(&Table::new(&mut *store, ty, &Val::FuncRef(None)).unwrap_err(), &["268435456"]);
        // The largest that there is takes no memory before it is used.
        instance(store, "(module (memory i64 0x100_0000))");
    });
}

#[test]
fn the_host_makes_memories_and_tables_with_64_bit_indices() {
    each(|store| {
        let memory = Memory::new(&mut *store, MemoryType::new_64(1, Some(2))).unwrap();
        let table = Table::new(&mut *store, TableType::new_64(RefType::FUNCREF, 1, None), &Val::FuncRef(None)).unwrap();
        let text = r#"(module
            (import "" "memory" (memory i64 1 2)) (import "" "table" (table i64 1 funcref))
            (func (export "load") (param i64) (result i32) (i32.load8_u (local.get 0)))
            (func (export "size") (result i64) (i64.add (table.size) (memory.size))))"#;
        let module = Module::new(store.engine(), text).unwrap();
        let instance = Instance::new(&mut *store, &module, &[memory.into(), table.into()]).unwrap();
        assert_eq!(memory.grow(&mut *store, 1).unwrap(), 1);
        memory.write(&mut *store, 131071, &[42]).unwrap();
        assert_eq!(int(call(store, instance, "load", &[Val::I64(131071)])), 42);
        assert_eq!(int(call(store, instance, "size", &[])), 3);
        // The width of its indices is part of a type.
        let narrow = Memory::new(&mut *store, MemoryType::new(1, Some(2))).unwrap();
        let error = Instance::new(&mut *store, &module, &[narrow.into(), table.into()]).unwrap_err();
        says(&error, &["incompatible import type", "expected (memory i64 1 2), found (memory 1 2)"]);
    });
}
