//! What hostile modules make the engine allocate: never more than in proportion to their bytes, whatever their headers promise.
//!
//! The allocator of this process counts. One test only, so that nothing else allocates meanwhile. A bound is a multiple of the
//! binary's size beside a constant for what any compilation takes; both are several times what is needed, and a count that is
//! believed before it is checked would be a thousand times beyond.

mod common {
    pub mod binary;
}

use common::binary::*;
use engine::limits;
use engine::{Config, Engine, Module, OptLevel};
use gleaner::collectors::COLLECTORS;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Counts the bytes that are allocated, and the most that there were at once.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(now, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What any module may take.
const CONSTANT: usize = 4 << 20;

/// A function type without parameters and results, a section that claims `count` items, and no more.
fn promises(section: u8, count: u32) -> Binary {
    with_type().section(section, &leb(count.into()))
}

/// Hostile modules, and how many bytes each byte of them may cost.
fn modules() -> Vec<(String, Binary, usize)> {
    let mut modules = Vec::new();
    let mut add = |name: &str, binary: Binary, bytes: usize| modules.push((name.to_string(), binary, bytes));
    for section in [TYPES, IMPORTS, FUNCTIONS, TABLES, MEMORIES, GLOBALS, EXPORTS, ELEMENTS, CODE, DATA, TAGS] {
        for count in [100, 100_000, 1_000_000, u32::MAX] {
            add(&format!("{count} items of section {section}, and none there"), promises(section, count), 1000);
        }
    }
    let claims = |head: &[u8], count: u32| vector(1, [head, &leb(count.into())].concat());
    for count in [1_000, 1_000_000, u32::MAX] {
        let types = |head: &[u8]| Binary::new().section(TYPES, &claims(head, count));
        add(&format!("a recursion group of {count} types, and none there"), types(&[0x4e]), 1000);
        add(&format!("a struct of {count} fields, and none there"), types(&[0x5f]), 1000);
        add(&format!("a function type of {count} parameters, and none there"), types(&[0x60]), 1000);
        let segment = with_type().section(ELEMENTS, &claims(&[1, 0], count));
        add(&format!("a segment of {count} elements, and none there"), segment, 1000);
        let data = with_type().section(DATA, &claims(&[1], count));
        add(&format!("a segment of {count} bytes, and none there"), data, 1000);
        // Of one instruction, and of what stands before the instructions.
        let table = [vec![0x41, 0, 0x0e], leb(count.into())].concat();
        add(&format!("a br_table of {count} targets, and none there"), with_type().func(&[0], &table), 1000);
        let catches = [vec![0x1f, EMPTY], leb(count.into())].concat();
        add(&format!("a try_table of {count} clauses, and none there"), with_type().func(&[0], &catches), 1000);
        let locals = vector(1, [leb(count.into()), vec![I32]].concat());
        add(&format!("{count} locals in six bytes"), with_type().func(&locals, &[]), 1000);
        let name = Binary::new().section(0, &leb(count.into()));
        add(&format!("a name of {count} bytes, and none there"), name, 1000);
    }
    let locals = vector(1, [leb(limits::LOCALS.max), vec![EXTERNREF]].concat());
    // As many as the limit lets any number of bytes have.
    add("50,000 locals of references", with_type().func(&locals, &[]), 1 << 20);
    let group = |count| [vec![0x4e], repeat(count, &[0x5f, 1, 0x63, 0, 1])].concat();
    add("a group of 100,000 structs", Binary::new().section(TYPES, &vector(1, group(100_000))), 500);
    let groups: Vec<u8> = (0..100_000u32).flat_map(|_| [0x4e, 0]).collect();
    add("100,000 empty groups", Binary::new().section(TYPES, &vector(100_000, groups)), 200);
    let wide = [vec![0x5f], repeat(limits::FIELDS.max, &[0x63, 0x6e, 1])].concat();
    add("a struct of 10,000 fields, ten times", Binary::new().section(TYPES, &vector(10, wide.repeat(10))), 200);
    for (name, open, depth) in [
        ("blocks", &[0x02, EMPTY][..], limits::NESTING.max),
        ("loops", &[0x03, EMPTY], limits::NESTING.max),
        ("ifs", &[0x41, 0, 0x04, EMPTY], limits::NESTING.max),
    ] {
        add(&format!("{depth} {name} in each other"), nested(open, depth), 20_000);
    }
    let targets = 500_000;
    let table = [vec![0x41, 0, 0x0e], vector(targets, vec![0; targets as usize + 1])].concat();
    add("a br_table of 500,000 targets", with_type().func(&[0], &table), 5000);
    let exports = (0..100_000u32)
        .flat_map(|i| [vec![4], (0..4).map(|at| (i >> (7 * at)) as u8 & 0x7f).collect(), vec![0, 0]].concat());
    let one = with_type().section(FUNCTIONS, &[1, 0]);
    add("100,000 exports", one.section(EXPORTS, &vector(100_000, exports)).section(CODE, &vector(1, [2, 0, END])), 200);
    let functions = 50_000;
    let many = with_type().section(FUNCTIONS, &repeat(functions, &[0])).section(CODE, &repeat(functions, &[2, 0, END]));
    add("50,000 empty functions", many, 2000);
    let segments = with_type().section(DATA, &repeat(limits::DATA_SEGMENTS.max, &[1, 0]));
    add("100,000 data segments", segments, 1000);
    let tables = with_type().section(TABLES, &repeat(limits::TABLES.max, &[EXTERNREF, 0, 0]));
    add("100,000 tables", tables, 1000);
    modules
}

#[test]
fn what_a_module_makes_the_engine_allocate_is_in_proportion() {
    let gc = COLLECTORS.last().expect("there are collectors").with(&Default::default()).unwrap();
    // One thread, so that how much is in work at once depends on nothing else.
    let config = Config::new(gc).opt_level(OptLevel::None).parallel(false);
    let mut wrong = Vec::new();
    for (name, Binary(bytes), factor) in modules() {
        // Types stay with their engine.
        let engine = Engine::with_config(config.clone()).unwrap();
        let before = NOW.load(Relaxed);
        MOST.store(before, Relaxed);
        // Accepted or refused: most are no modules.
        let module = Module::from_binary(&engine, &bytes);
        let most = MOST.load(Relaxed) - before;
        println!(
            "{:>12} for {:>9} bytes: {name}, {}",
            most,
            bytes.len(),
            if module.is_ok() { "accepted" } else { "refused" }
        );
        if most > CONSTANT + factor * bytes.len() {
            wrong.push(format!("{name}: {most} bytes for {} of binary", bytes.len()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
