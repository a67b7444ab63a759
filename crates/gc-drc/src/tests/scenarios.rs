//! One situation each.

use super::*;
use crate::counts::{MARK, count};

fn word(m: &Mutator, index: u32) -> u32 {
    m.memory.header_word(&VMGcRef::from_index(index).unwrap())
}

fn exists(m: &Mutator, index: u32) -> bool {
    let mut found = false;
    m.heap.for_each_object(&mut |r| found |= r.raw() == index);
    found
}

#[test]
fn options_are_checked() {
    let make = |spec| COLLECTOR.with(&CollectorOptions::parse(spec).unwrap().1);
    make("drc:young=256").unwrap();
    assert!(make("drc:young=1").unwrap_err().0.contains("from 16 to"));
    assert!(make("drc:old=1").unwrap_err().0.contains("it has young="));
}

#[test]
fn gives_up_when_everything_is_reachable_and_the_heap_is_full() {
    for (limit, object) in [(1 << 20, NEW_PAIR), (100 << 10, NEW_PAIR), (4096, NEW_NODE), (1 << 22, NEW_NODE)] {
        let mut m = Mutator::new(limit, 4096, 64 << 10, 1);
        let mut bytes = 0;
        while let Some(next) = m.allocate(object) {
            m.set(next, 8, m.stack.0[0].get());
            m.stack.0[0].set(next);
            bytes += object.size;
        }
        // What a budget's end leaves of a region can be smaller than the object.
        let committed = m.memory.committed_bytes();
        assert!(bytes + limit / 2000 > committed - object.size, "{bytes} of {committed}");
        m.check();
        let usage = m.heap.usage();
        assert!(limit < 1 << 20 || usage.committed + usage.metadata > limit / 64 * 63, "{usage:?} of {limit}");
        // What is dropped can be allocated again.
        m.stack.0[0].set(0);
        m.collect();
        assert_eq!(m.heap.usage().live, 0);
        assert!(m.allocate(object).is_some());
        m.check();
    }
}

#[test]
fn a_full_heap_whose_roots_went_without_an_allocation_has_room() {
    let mut m = Mutator::new(1 << 20, 4096, 4 << 20, 1);
    while let Some(next) = m.allocate(NEW_PAIR) {
        m.set(next, 8, m.stack.0[0].get());
        m.stack.0[0].set(next);
    }
    // The allocation that failed has collected, and nothing was allocated since.
    assert_eq!(m.heap.space.allocated(), 0);
    m.stack.0[0].set(0);
    assert!(m.allocate(NEW_PAIR).is_some());
    m.check();
}

#[test]
fn one_object_as_large_as_the_heap_fits_and_a_larger_one_does_not() {
    let mut m = Mutator::new(8 << 20, 1 << 20, 64 << 10, 1);
    let whole = new_array(BYTES, (m.memory.limit() - FIRST_INDEX as u64) as u32 / 8 * 8 - 12);
    for _ in 0..3 {
        assert!(m.allocate(whole).is_some());
    }
    assert_eq!(m.allocate(NewObject { size: whole.size + 8, ..whole }), None);
    assert_eq!(m.allocate(NewObject { size: 1 << 36, ..whole }), None);
    m.check();
}

#[test]
fn garbage_is_reused() {
    let mut m = Mutator::new(64 << 20, 1 << 20, 256 << 10, 64);
    let mut random = Random(7);
    for round in 0..10 {
        for i in 0..20_000 {
            let kind = random.below(100);
            let object = if kind == 0 { new_array(BYTES, 20_000) } else { NEW_NODE };
            let new = m.allocate(object).unwrap();
            if kind < 50 {
                m.stack.0[i % 64].set(new);
            }
        }
        m.check();
        let committed = m.memory.committed_bytes();
        assert!(committed < 5 << 20, "{committed} bytes in round {round}");
    }
    let counters = m.heap.counters();
    assert!(counters.bytes_allocated > 40 << 20 && counters.collections > 100);
    assert_eq!(counters.bytes_allocated - counters.bytes_freed, m.heap.usage().live);
    assert_eq!(counters.objects_allocated, Some(200_000));
}

#[test]
fn old_garbage_is_reused_where_it_was() {
    let mut m = Mutator::new(64 << 20, 1 << 20, 64 << 10, 1);
    let array = m.allocate(new_array(REFS, 100_000)).unwrap();
    m.stack.0[0].set(array);
    let mut random = Random(3);
    let mut grown = 0;
    for round in 0..2_000_000 {
        let slot = if round < 100_000 { round } else { random.below(100_000) };
        // Half of them pairs: freed gaps are of two sizes.
        let new = m.allocate(if slot % 2 == 0 { NEW_PAIR } else { new_array(BYTES, 50) }).unwrap();
        m.set(array, REF_ARRAY_BASE + 4 * slot as u32, new);
        if round == 500_000 {
            grown = m.memory.committed_bytes();
        }
    }
    m.check();
    let (usage, committed) = (m.heap.usage(), m.memory.committed_bytes());
    assert!(committed <= grown + grown / 8, "{grown} bytes after a quarter, {committed} at the end");
    assert!(committed < 2 * usage.live, "{usage:?}");
}

#[test]
fn a_list_of_ten_million_nodes_is_freed_without_recursion() {
    let mut m = Mutator::new(512 << 20, 1 << 20, 4 << 20, 1);
    let root = RefCell32::null();
    for _ in 0..10_000_000 {
        let node = m.allocate(NEW_PAIR).unwrap();
        m.set(node, 8, m.stack.0[0].get());
        m.stack.0[0].set(node);
    }
    m.set_global(&root, m.stack.0[0].get());
    m.stack.0[0].set(0);
    m.collect();
    assert_eq!(m.heap.usage().live, 160_000_000);
    m.set_global(&root, 0);
    let next = m.allocate_slowly(NEW_PAIR).unwrap();
    m.memory.fill_bytes(next.raw(), 8, 8, 0);
    assert_eq!(m.heap.usage().live, 16);
    assert_eq!(m.heap.counters().own[5], ("freed_by_count", 10_000_000));
    m.check();
}

#[test]
fn host_values_are_freed_exactly_once() {
    let mut m = Mutator::new(1 << 20, 1 << 20, 64 << 10, 1);
    // Dropped while new, kept over a collection, and on the stack.
    let [a, b, c] = [1, 2, 3].map(|id| m.heap.allocate(new_host(id)).unwrap());
    let handles = [a, b].map(|r| m.heap.clone_ref(&r));
    m.stack.0[0].set(c.raw());
    let again = m.heap.clone_ref(&handles[1]);
    let [a, b] = handles;
    m.heap.drop_ref(a);
    assert_eq!(m.heap.take_dead_hosts(), []);
    m.collect();
    assert_eq!(m.heap.take_dead_hosts(), [1]);
    m.heap.drop_ref(b);
    m.collect();
    assert_eq!(m.heap.take_dead_hosts(), []);
    m.heap.drop_ref(again);
    m.stack.0[0].set(0);
    m.collect();
    assert_eq!(m.heap.take_dead_hosts(), [2, 3]);
    m.collect();
    assert_eq!(m.heap.take_dead_hosts(), []);
    assert_eq!(m.heap.usage().live, 0);
}

#[test]
fn an_exposed_reference_is_the_stacks() {
    let mut m = Mutator::new(1 << 20, 1 << 20, 64 << 10, 1);
    let new = m.heap.allocate(new_host(1)).unwrap();
    // Straight from `allocate`, there is no count to give up.
    assert_eq!(m.heap.expose(new.unchecked_copy()), new.raw());
    let handle = m.heap.clone_ref(&new);
    m.collect();
    let raw = m.heap.expose(handle);
    m.check();
    m.stack.0[0].set(raw);
    m.collect();
    assert_eq!(count(word(&m, raw)), 0);
    assert!(exists(&m, raw));
    m.stack.0[0].set(0);
    m.collect();
    assert_eq!(m.heap.take_dead_hosts(), [1]);
    // An i31 is never counted.
    let small = VMGcRef::from_i31(7);
    let copy = m.heap.clone_ref(&small);
    m.heap.drop_ref(copy);
    assert_eq!(m.heap.expose(small), 15);
}

#[test]
fn an_old_object_that_only_a_surviving_new_one_refers_to_survives() {
    let mut m = Mutator::new(1 << 20, 1 << 20, 64 << 10, 1);
    let cell = RefCell32::null();
    let old = m.allocate(NEW_NODE).unwrap();
    m.set_global(&cell, old);
    m.collect();
    let new = m.allocate(NEW_NODE).unwrap();
    m.stack.0[0].set(new);
    let loaded = m.loaded(cell.raw());
    m.set(new, 12, loaded);
    m.set_global(&cell, 0);
    assert_eq!(count(word(&m, old)), 0);
    m.collect();
    m.check();
    assert!(exists(&m, old) && count(word(&m, old)) == 1);
    m.stack.0[0].set(0);
    m.collect();
    assert!(!exists(&m, old) && m.heap.usage().live == 0);
}

#[test]
fn a_host_store_into_a_new_object_keeps_the_value() {
    let mut m = Mutator::new(1 << 20, 1 << 20, 64 << 10, 1);
    let value = m.heap.allocate(NEW_NODE).unwrap();
    m.memory.fill_bytes(value.raw(), 8, 16, 0);
    let handle = m.heap.clone_ref(&value);
    m.collect();
    let array = m.allocate(new_array(REFS, 3)).unwrap();
    m.stack.0[0].set(array);
    let array = VMGcRef::from_index(array).unwrap();
    let to = RefRange::Array { array: &array, start: 1, length: 2 };
    m.heap.write_refs(BulkWrite { to, from: BulkSource::Fill(Some(&handle)), initializing: true });
    m.heap.write_ref(WriteSite::Object { object: &array, offset: REF_ARRAY_BASE }, Some(&handle));
    m.heap.drop_ref(handle);
    m.check();
    m.collect();
    m.check();
    assert_eq!(count(word(&m, value.raw())), 3);
}

#[test]
fn overlapping_copies_count_what_they_leave() {
    let mut m = Mutator::new(1 << 20, 1 << 20, 64 << 10, 1);
    for (to, from, left) in [(1, 0, [0, 0, 1, 2]), (0, 1, [1, 2, 3, 3]), (0, 2, [2, 3, 2, 3]), (2, 0, [0, 1, 0, 1])] {
        let array = m.allocate(new_array(REFS, 4)).unwrap();
        m.stack.0[0].set(array);
        let nodes: Vec<u32> = (0..4).map(|_| m.allocate(NEW_NODE).unwrap()).collect();
        nodes.iter().for_each(|node| m.memory.fill_bytes(*node, 16, 8, 0));
        nodes.iter().enumerate().for_each(|(i, node)| m.set(array, REF_ARRAY_BASE + 4 * i as u32, *node));
        m.collect();
        let r = VMGcRef::from_index(array).unwrap();
        let length = 4 - to.max(from);
        let range = |start| RefRange::Array { array: &r, start, length };
        let write = BulkWrite { to: range(to), from: BulkSource::Copy(range(from)), initializing: false };
        m.heap.write_refs(write);
        m.check();
        m.collect();
        for (i, node) in nodes.iter().enumerate() {
            let edges = left.iter().filter(|n| **n == i).count() as u32;
            assert_eq!(exists(&m, *node), edges > 0, "copy {from} to {to}: node {i}");
            assert!(edges == 0 || count(word(&m, *node)) == edges);
        }
        m.check();
    }
}

#[test]
fn a_store_of_what_the_slot_holds_frees_nothing() {
    let mut m = Mutator::new(1 << 20, 1 << 20, 64 << 10, 1);
    let cell = RefCell32::null();
    let node = m.heap.allocate(NEW_NODE).unwrap();
    m.memory.fill_bytes(node.raw(), 8, 16, 0);
    m.heap.write_ref(global(&cell), Some(&node));
    m.collect();
    m.set_global(&cell, node.raw());
    m.heap.write_ref(global(&cell), Some(&node));
    assert!(m.heap.dead.is_empty() && count(word(&m, node.raw())) == 1);
    m.heap.write_ref(global(&cell), None);
    assert_eq!(m.heap.dead.len(), 1);
    m.collect();
    assert!(!exists(&m, node.raw()));
}

#[test]
fn a_sticky_count_never_changes_and_never_overflows() {
    let mut m = Mutator::new(1 << 20, 1 << 20, 64 << 10, 1);
    let cell = RefCell32::null();
    let node = m.allocate(NEW_NODE).unwrap();
    m.set_global(&cell, node);
    m.collect();
    let r = VMGcRef::from_index(node).unwrap();
    // One below the sticky bit.
    let kind = word(&m, node) & !COLLECTOR_MASK;
    m.memory.set_header_word(&r, kind | (STICKY - ONE));
    let copies: Vec<VMGcRef> = (0..5).map(|_| m.heap.clone_ref(&r)).collect();
    assert_eq!(word(&m, node), kind | STICKY);
    copies.into_iter().for_each(|copy| m.heap.drop_ref(copy));
    m.set_global(&cell, 0);
    m.collect();
    m.check();
    assert_eq!(word(&m, node), kind | STICKY);
    assert!(exists(&m, node));
}

#[test]
fn new_cycles_are_freed_and_old_ones_leak() {
    let mut m = Mutator::new(1 << 20, 1 << 20, 64 << 10, 1);
    let mut cycle = || {
        let [a, b] = [0; 2].map(|_| m.allocate(NEW_NODE).unwrap());
        m.set(a, 8, b);
        m.set(b, 8, a);
        m.stack.0[0].set(a);
        (a, b)
    };
    cycle();
    let (a, b) = cycle();
    m.collect();
    assert_eq!(m.heap.usage().live, 48);
    m.stack.0[0].set(0);
    m.collect();
    m.collect();
    assert!(exists(&m, a) && exists(&m, b));
    m.check();
}

#[test]
fn full_buffers_go_to_the_slow_paths() {
    let mut m = Mutator::new(64 << 20, 1 << 20, 4 << 20, 1);
    let array = m.allocate(new_array(REFS, 20_000)).unwrap();
    m.stack.0[0].set(array);
    let slots: Vec<u32> = (0..20_000).map(|i| REF_ARRAY_BASE + 4 * i).collect();
    m.collect();
    // More first stores of new objects than the table's chunk holds, then more loads, then more deaths.
    for slot in &slots {
        let node = m.allocate(NEW_PAIR).unwrap();
        m.set(array, *slot, node);
    }
    m.check();
    m.collect();
    for slot in &slots {
        m.get(array, *slot);
    }
    assert_eq!(m.heap.table.entries.len() + m.heap.table.buffer.len() as usize, 20_001);
    m.check();
    m.collect();
    slots.iter().for_each(|slot| m.set(array, *slot, 0));
    m.check();
    m.collect();
    assert_eq!(m.heap.usage().live, new_array(REFS, 20_000).size);
    assert_eq!(m.heap.counters().objects_freed, Some(20_000));
}

#[test]
fn a_table_that_grows_without_allocation_asks_for_a_collection() {
    let mut m = Mutator::new(64 << 20, 1 << 20, 4 << 20, 1);
    let array = m.allocate(new_array(REFS, 100_000)).unwrap();
    m.stack.0[0].set(array);
    for i in 0..100_000 {
        let node = m.allocate(NEW_PAIR).unwrap();
        m.set(array, REF_ARRAY_BASE + 4 * i, node);
    }
    m.collect();
    let wanted = (0..100_000).find(|i| {
        m.get(array, REF_ARRAY_BASE + 4 * i);
        m.heap.wants_collection().is_some()
    });
    assert!(wanted.is_some_and(|i| i < 80_000), "{wanted:?}");
    m.collect();
    assert_eq!(m.heap.wants_collection(), None);
}

#[test]
fn a_deep_stack_makes_collections_rare() {
    let mut m = Mutator::new(256 << 20, 1 << 20, 64 << 10, 100_000);
    for i in 0..100_000 {
        let node = m.allocate(NEW_PAIR).unwrap();
        m.stack.0[i].set(node);
    }
    let before = m.heap.counters().collections;
    (0..1_000_000).for_each(|_| assert!(m.allocate(NEW_PAIR).is_some()));
    let collections = m.heap.counters().collections - before;
    assert!(collections <= 8, "{collections}");
}

#[test]
fn a_new_large_object_that_dies_is_free_again() {
    let mut m = Mutator::new(4 << 20, 4 << 20, 1 << 20, 2);
    let large = new_array(BYTES, 300_000);
    let first = m.heap.allocate(large).unwrap();
    m.stack.0[0].set(first.raw());
    for _ in 0..100 {
        m.heap.memory().fill_bytes(m.stack.0[0].get(), 12, 300_000, 0xee);
        assert!(m.allocate_slowly(large).is_some());
        m.check();
    }
    assert_eq!(m.memory.load_u8(first.raw(), 300_011), 0xee);
    m.stack.0[0].set(0);
    m.collect();
    assert_eq!(m.heap.usage().live, 0);
}

#[test]
fn reset_is_as_good_as_new() {
    let mut m = Mutator::new(4 << 20, 1 << 20, 64 << 10, 1);
    let fresh = m.heap.counters();
    let cell = RefCell32::null();
    for id in 0..10_000 {
        let host = m.allocate(new_host(id)).unwrap();
        m.set_global(&cell, host);
    }
    m.heap.reset();
    m.check();
    assert_eq!((m.heap.counters(), m.heap.usage().live), (fresh, 0));
    assert!(m.heap.take_dead_hosts().is_empty() && !exists(&m, cell.raw()));
    m.allocate(NEW_PAIR).unwrap();
    m.check();
}

#[test]
fn the_check_finds_what_is_wrong() {
    let broken = |what: &str, breaks: fn(&mut Mutator, u32)| {
        let mut m = Mutator::new(1 << 20, 1 << 20, 64 << 10, 1);
        let [parent, child] = [0; 2].map(|_| m.allocate(NEW_NODE).unwrap());
        m.set(parent, 8, child);
        m.stack.0[0].set(parent);
        m.collect();
        m.check();
        breaks(&mut m, parent);
        let corruption = m.heap.check().unwrap_err().0;
        assert!(corruption.contains(what), "{corruption}");
    };
    fn flip(m: &Mutator, index: u32, bits: u32) {
        m.memory.set_header_word(&VMGcRef::from_index(index).unwrap(), word(m, index) ^ bits);
    }
    broken("marked outside", |m, parent| flip(m, parent, MARK));
    broken("enrolled, or in", |m, parent| flip(m, parent, ENROLLED));
    broken("where no object is", |m, parent| m.memory.store_u32(parent, 12, parent + 8));
    broken("has count 1, and 2", |m, parent| m.memory.store_u32(parent, 12, m.memory.load_u32(parent, 8)));
    broken("dead, or waits", |m, parent| flip(m, m.memory.load_u32(parent, 8), ONE));
    broken("is said to hold", |m, _| m.heap.space.blocks[2].live += 8);
    broken("neither new nor enrolled", |m, parent| {
        let new = m.allocate(NEW_NODE).unwrap();
        m.memory.store_u32(new, 8, m.memory.load_u32(parent, 8));
    });
}
