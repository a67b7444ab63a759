//! Each limit of [`engine::limits`]: what is at the limit is accepted where that is cheap to see, what is beyond it is refused with
//! the limit's name, its value and the number; and what the limits allow takes time and memory in proportion to its size.

mod common {
    pub mod binary;
}

use common::binary::*;
use engine::limits::{self, LIMITS, Limit};
use engine::{Config, Engine, Error, Module, OptLevel};
use gleaner::collectors::COLLECTORS;
use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::Duration;

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        // The last collector has barriers, if any has.
        let gc = COLLECTORS.last().expect("there are collectors").with(&Default::default()).unwrap();
        Engine::with_config(Config::new(gc).opt_level(OptLevel::None)).unwrap()
    })
}

fn refused(limit: Limit, count: u64, binary: &Binary) {
    let error: Error = match Module::from_binary(engine(), &binary.0) {
        Err(error) => error,
        Ok(_) => panic!("{}: {count} were accepted", limit.name),
    };
    let exceeded = error.exceeded_limit().unwrap_or_else(|| panic!("{}: {error}", limit.name));
    assert_eq!((exceeded.limit, exceeded.count), (limit, count), "{error}");
    let message = error.to_string();
    for part in [limit.name, &limit.max.to_string(), &count.to_string(), limit.counts, "too large"] {
        assert!(message.contains(part), "`{part}` is missing in: {message}");
    }
}

fn accepted(limit: Limit, binary: &Binary) {
    if let Err(error) = Module::from_binary(engine(), &binary.0) {
        panic!("{} {} were refused: {error}", limit.max, limit.counts);
    }
}

/// Both sides of a limit: `at(limit)` and `at(limit + 1)`.
fn border(limit: Limit, at: impl Fn(u64) -> Binary) {
    accepted(limit, &at(limit.max));
    refused(limit, limit.max + 1, &at(limit.max + 1));
}

/// One more than the limit, in a module whose contents need not be there: counting comes first.
fn beyond(limit: Limit, section: u8) {
    refused(limit, limit.max + 1, &with_type().section(section, &vector(limit.max + 1, [0, 0])));
}

#[test]
fn names_and_numbers_are_distinct() {
    for (i, limit) in LIMITS.iter().enumerate() {
        assert!(limit.max > 0 && !limit.counts.is_empty());
        let plain = |c: char| c.is_ascii_lowercase() || c == '-';
        assert!(limit.name.chars().all(plain), "{}", limit.name);
        assert!(LIMITS[..i].iter().all(|other| other.name != limit.name), "{} stands twice", limit.name);
    }
}

#[test]
fn binaries() {
    let mut bytes = with_type().0;
    bytes.resize(limits::MODULE_BYTES.max as usize + 1, 0);
    refused(limits::MODULE_BYTES, limits::MODULE_BYTES.max + 1, &Binary(bytes));
}

#[test]
fn names() {
    let named = |count: u64| vector(count, vec![b'x'; count as usize]);
    let import = |count| with_type().section(IMPORTS, &vector(1, [named(count), vec![0, 0, 0]].concat()));
    border(limits::NAME_BYTES, import);
    let import = |count| with_type().section(IMPORTS, &vector(1, [vec![0], named(count), vec![0, 0]].concat()));
    border(limits::NAME_BYTES, import);
    let export = |count| {
        let export = vector(1, [named(count), vec![0, 0]].concat());
        let code = vector(1, [2, 0, END]);
        with_type().section(FUNCTIONS, &[1, 0]).section(EXPORTS, &export).section(CODE, &code)
    };
    border(limits::NAME_BYTES, export);
    border(limits::NAME_BYTES, |count| with_type().section(0, &named(count)));
}

#[test]
fn types() {
    refused(limits::TYPES, 1_000_001, &Binary::new().section(TYPES, &repeat(1_000_001, &[0x60, 0, 0])));
    // In a group, and in all groups together.
    let group = |count| [vec![0x4e], repeat(count, &[0x60, 0, 0])].concat();
    refused(limits::TYPES, 1_000_001, &Binary::new().section(TYPES, &vector(1, group(1_000_001))));
    let groups = [group(600_000), group(400_001)].concat();
    refused(limits::TYPES, 1_000_001, &Binary::new().section(TYPES, &vector(2, groups)));

    border(limits::PARAMS, |count| {
        let ty = [vec![0x60], repeat(count, &[I32]), vec![0]].concat();
        Binary::new().section(TYPES, &vector(1, ty))
    });
    border(limits::RESULTS, |count| {
        let ty = [vec![0x60, 0], repeat(count, &[0x64, 0x6f])].concat();
        Binary::new().section(TYPES, &vector(1, ty))
    });
    border(limits::FIELDS, |count| {
        let ty = [vec![0x5f], repeat(count, &[I32, 1])].concat();
        Binary::new().section(TYPES, &vector(1, ty))
    });
    border(limits::SUBTYPE_DEPTH, |count| {
        let subtypes = (0..count).flat_map(|supertype| [vec![0x50, 1], leb(supertype), vec![0x5f, 0]].concat());
        let types = [0x50, 0, 0x5f, 0].into_iter().chain(subtypes);
        Binary::new().section(TYPES, &vector(count + 1, types))
    });
}

#[test]
fn declarations() {
    for (limit, section) in [
        (limits::IMPORTS, IMPORTS),
        (limits::FUNCTIONS, FUNCTIONS),
        (limits::TABLES, TABLES),
        (limits::MEMORIES, MEMORIES),
        (limits::TAGS, TAGS),
        (limits::GLOBALS, GLOBALS),
        (limits::EXPORTS, EXPORTS),
        (limits::ELEMENT_SEGMENTS, ELEMENTS),
        (limits::DATA_SEGMENTS, DATA),
    ] {
        beyond(limit, section);
    }
    // This section is nothing but the number.
    let count = limits::DATA_SEGMENTS.max + 1;
    refused(limits::DATA_SEGMENTS, count, &with_type().section(DATA_COUNT, &leb(count)));
    let elements = [vec![1, 0], leb(10_000_001)].concat();
    refused(
        limits::SEGMENT_ELEMENTS,
        10_000_001,
        &with_type().section(ELEMENTS, &vector(1, [elements, vec![0; 10_000_001]].concat())),
    );

    border(limits::MEMORIES, |count| Binary::new().section(MEMORIES, &repeat(count, &[0, 0])));
    border(limits::TABLES, |count| Binary::new().section(TABLES, &repeat(count, &[EXTERNREF, 0, 0])));
    border(limits::DATA_SEGMENTS, |count| Binary::new().section(DATA, &repeat(count, &[1, 0])));
    border(limits::ELEMENT_SEGMENTS, |count| Binary::new().section(ELEMENTS, &repeat(count, &[1, 0, 0])));
}

#[test]
fn imports_count_with_what_is_declared() {
    let item = |kind: &[u8]| [vec![0, 0], kind.to_vec()].concat();
    for (limit, kind, section) in [
        (limits::FUNCTIONS, &[0, 0][..], FUNCTIONS),
        (limits::TABLES, &[1, EXTERNREF, 0, 0], TABLES),
        (limits::MEMORIES, &[2, 0, 0], MEMORIES),
        (limits::GLOBALS, &[3, I32, 0], GLOBALS),
        (limits::TAGS, &[4, 0, 0], TAGS),
    ] {
        let imports = vector(2, item(kind).repeat(2));
        let binary = with_type().section(IMPORTS, &imports).section(section, &vector(limit.max - 1, [0, 0]));
        refused(limit, limit.max + 1, &binary);
    }
}

#[test]
fn bodies() {
    // Blocks without code, so that nothing is to be compiled.
    let nops = |count: u64| {
        // Neither the declarations of locals nor the `end` are among `count` bytes of `nop`.
        with_type().func(&[0], &vec![0x01; count as usize - 2])
    };
    border(limits::BODY_BYTES, nops);
    border(limits::LOCALS, |count| with_type().func(&vector(1, [leb(count), vec![I32]].concat()), &[]));
    // Parameters are locals, and declarations add up.
    let declarations = [leb(2), leb(40_000), vec![I32], leb(10_000), vec![EXTERNREF]].concat();
    let code = [declarations, vec![END]].concat();
    let binary = Binary::new()
        .section(TYPES, &[1, 0x60, 1, I32, 0])
        .section(FUNCTIONS, &[1, 0])
        .section(CODE, &vector(1, [leb(code.len() as u64), code].concat()));
    refused(limits::LOCALS, 50_001, &binary);
}

#[test]
fn blocks() {
    border(limits::NESTING, |count| nested(&[0x02, EMPTY], count));
}

#[test]
fn branches() {
    border(limits::BRANCH_TARGETS, |count| {
        // i32.const 0, br_table 0 …
        let body = [vec![0x41, 0, 0x0e], vector(count - 1, vec![0; count as usize])].concat();
        with_type().func(&[0], &body)
    });
    // A label that takes a thousand values, as often as a `br_table` may name it.
    let ty = [vec![1, 0x60, 0], repeat(1_000, &[I32])].concat();
    let targets = 100_000;
    let body = [
        vec![0x02, 0],
        [0x41, 0].repeat(1_001),
        vec![0x0e],
        vector(targets, vec![0; targets as usize + 1]),
        vec![END, 0x00],
    ]
    .concat();
    let code = [vec![0], body, vec![END]].concat();
    let binary = Binary::new()
        .section(TYPES, &ty)
        .section(FUNCTIONS, &[1, 0])
        .section(CODE, &vector(1, [leb(code.len() as u64), code].concat()));
    accepted(limits::BRANCH_TARGETS, &binary);
}

#[test]
fn catches() {
    border(limits::CATCHES, |count| {
        // try_table with `catch_all 0` each.
        let body = [vec![0x1f, EMPTY], repeat(count, &[0x02, 0]), vec![END]].concat();
        with_type().func(&[0], &body)
    });
}

#[test]
fn fixed_arrays() {
    border(limits::FIXED_ELEMENTS, |count| {
        let body = [[0x41, 0].repeat(count as usize), vec![0xfb, 0x08, 1], leb(count), vec![0x1a]].concat();
        let code = [vec![0], body, vec![END]].concat();
        Binary::new()
            .section(TYPES, &[2, 0x60, 0, 0, 0x5e, I32, 0])
            .section(FUNCTIONS, &[1, 0])
            .section(CODE, &vector(1, [leb(code.len() as u64), code].concat()))
    });
}

#[test]
fn values() {
    // Blocks with a thousand results each: two bytes of binary for a thousand values.
    let ty = [vec![2, 0x60, 0, 0, 0x60, 0], repeat(1_000, &[I32])].concat();
    let count = 100_000;
    let body = [[0x02, 1].repeat(count), vec![0x00], vec![END; count], [0x1a].repeat(1_000)].concat();
    let code = [vec![0], body, vec![END]].concat();
    let binary = Binary::new()
        .section(TYPES, &ty)
        .section(FUNCTIONS, &[1, 0])
        .section(CODE, &vector(1, [leb(code.len() as u64), code].concat()));
    let error = Module::from_binary(engine(), &binary.0).unwrap_err();
    let exceeded = error.exceeded_limit().unwrap_or_else(|| panic!("{error}"));
    assert_eq!(exceeded.limit, limits::CODE_VALUES, "{error}");
    // Counting ends with the operator that goes beyond.
    assert!((4_000_001..4_002_100).contains(&exceeded.count), "{error}");
}

/// Compiles what the limits allow, on a thread that must be done in a time that only something out of proportion takes.
fn in_proportion(what: &str, binary: Binary) {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(Module::from_binary(engine(), &binary.0).map(|_| ())));
    match receiver.recv_timeout(Duration::from_secs(300)) {
        Ok(result) => result.unwrap_or_else(|error| panic!("{what}: {error}")),
        Err(_) => panic!("{what} takes more than five minutes"),
    }
}

#[test]
fn deep_nesting_is_in_proportion() {
    let depth = limits::NESTING.max;
    in_proportion("100,000 loops", nested(&[0x03, EMPTY], depth));
    in_proportion("100,000 ifs", nested(&[0x41, 0, 0x04, EMPTY], depth));
    in_proportion("100,000 try_tables", nested(&[0x1f, EMPTY, 1, 0x02, 0], depth / 10));
}

#[test]
fn many_references_are_in_proportion() {
    // 5,000 references that live across 2,000 calls.
    let (locals, calls) = (5_000, 2_000);
    let sets: Vec<u8> = (0..locals).flat_map(|i| [vec![0x10, 0, 0x21], leb(i)].concat()).collect();
    let drops: Vec<u8> = (0..locals).flat_map(|i| [vec![0x20], leb(i), vec![0x1a]].concat()).collect();
    let body = [sets, [0x10, 0, 0x1a].repeat(calls), drops].concat();
    let code = [vector(1, [leb(locals), vec![EXTERNREF]].concat()), body, vec![END]].concat();
    let binary = Binary::new()
        .section(TYPES, &[2, 0x60, 0, 1, EXTERNREF, 0x60, 0, 0])
        .section(IMPORTS, &[1, 0, 0, 0, 0])
        .section(FUNCTIONS, &[1, 1])
        .section(CODE, &vector(1, [leb(code.len() as u64), code].concat()));
    in_proportion("5,000 references across 2,000 calls", binary);
}
