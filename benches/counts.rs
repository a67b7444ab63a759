//! Where a count should stand: in the object's header, or in a table beside the heap. What `drc` does with an object: it counts a
//! reference up and down again, and sooner or later looks at the object itself, to count what it refers to.
//!
//! A million objects of 32 bytes, in the order of their addresses and in random order, whose counts go up and down once each (`count`),
//! and go up before a field is loaded (`count_and_load`). A byte of a side table for 8 bytes of heap holds too little but for small
//! counts, and is the best that a table can do; a word for 16 bytes has all that a header has, and takes a quarter of the heap's memory.

use criterion::{BenchmarkId, Criterion, Throughput};
use gc_api::{FIRST_INDEX, GcKind, HeapMemory, SideEntry, SideTable, VMGcHeader, VMGcRef};
use std::hint::black_box;
use std::time::Duration;

const OBJECTS: u32 = 1 << 20;
const SIZE: u32 = 32;
const ONE: u32 = 1 << 6;

enum Place {
    Header,
    Side(SideTable),
}

impl Place {
    #[inline]
    fn add(&self, memory: &HeapMemory, object: u32, by: u32) {
        match self {
            Place::Header => {
                let r = VMGcRef::from_index(object).expect("not 0");
                memory.set_header_word(&r, memory.header_word(&r).wrapping_add(by.wrapping_mul(ONE)));
            }
            Place::Side(table) => table.set(object, table.get(object).wrapping_add(by)),
        }
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let memory = HeapMemory::reserve(1 << 30).expect("address space");
    memory.grow(OBJECTS as u64 * SIZE as u64).expect("memory");
    let ordered: Vec<u32> = (0..OBJECTS).map(|i| FIRST_INDEX + i * SIZE).collect();
    for object in &ordered {
        memory.store_u64(*object, 0, VMGcHeader::new(GcKind::STRUCT, 1, 0).to_u64());
        memory.store_u64(*object, 8, 1);
    }
    let mut random = ordered.clone();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for i in (1..random.len()).rev() {
        // Marsaglia's xorshift64.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        random.swap(i, (state % (i as u64 + 1)) as usize);
    }
    let places = [
        ("header", Place::Header),
        ("side_byte", Place::Side(memory.side_table(3, SideEntry::Byte).expect("a table"))),
        ("side_word", Place::Side(memory.side_table(4, SideEntry::Word).expect("a table"))),
    ];
    for (order, objects) in [("ordered", &ordered), ("random", &random)] {
        for (work, loads) in [("count", false), ("count_and_load", true)] {
            let mut group = criterion.benchmark_group(format!("{work}/{order}"));
            group.throughput(Throughput::Elements(OBJECTS as u64));
            for (name, place) in &places {
                group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
                    bencher.iter(|| {
                        let mut sum = 0;
                        for object in objects {
                            place.add(&memory, *object, 1);
                            if loads {
                                sum += memory.load_u64(*object, 8);
                            }
                        }
                        objects.iter().for_each(|object| place.add(&memory, *object, 1u32.wrapping_neg()));
                        black_box(sum)
                    });
                });
            }
            group.finish();
        }
    }
    criterion.final_summary();
}
