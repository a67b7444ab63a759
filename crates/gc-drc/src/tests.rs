//! A simulated mutator, whose operations go by the compiled barriers or the host's, and what it is used to test.

mod clif;
mod scenarios;

use crate::COLLECTOR;
use crate::Options;
use crate::compiler::{BURY, ENROL};
use crate::counts::{ENROLLED, MAX_WIDTH, NEW, ONE, is_dead, object};
use crate::heap::DrcHeap;
use gc_api::*;
use std::cell;
use std::sync::Arc;

/// Two references at 8 and 12, a number at 16.
const NODE: TypeIndex = 1;
const REFS: TypeIndex = 2;
const BYTES: TypeIndex = 3;
/// Two references and nothing else.
const PAIR: TypeIndex = 4;

const NEW_NODE: NewObject = NewObject { kind: GcKind::STRUCT, ty: NODE, size: 24, length: None, host: None };
const NEW_PAIR: NewObject = NewObject { kind: GcKind::STRUCT, ty: PAIR, size: 16, length: None, host: None };

fn new_array(ty: TypeIndex, length: u32) -> NewObject {
    let size = Shape::array(if ty == REFS { 2 } else { 0 }, ty == REFS).size(length);
    NewObject { kind: GcKind::ARRAY, ty, size, length: Some(length), host: None }
}

fn new_host(id: HostId) -> NewObject {
    NewObject { kind: GcKind::EXTERN, ty: EXTERN_TYPE, size: EXTERN_SIZE as u64, length: None, host: Some(id) }
}

fn global(cell: &RefCell32) -> WriteSite<'_> {
    WriteSite::Cell { kind: CellKind::Global, cell }
}

/// The top of a count.
const STICKY: u32 = ONE << MAX_WIDTH;

fn options(spec: &str) -> Options {
    Options::parse(&CollectorOptions::parse(spec).unwrap().1).unwrap()
}

/// The stack of the simulated program.
struct Stack(Vec<cell::Cell<u32>>);

impl Roots for Stack {
    fn visit(&mut self, kind: RootKind, visit: &mut dyn FnMut(RootSlot<'_>)) {
        if kind == RootKind::Stack {
            self.0.iter().filter(|slot| slot.get() != 0).for_each(|slot| visit(RootSlot::Stack(slot)));
        }
    }
}

struct Mutator {
    heap: DrcHeap,
    stack: Stack,
    /// Does what the compiled code would, until its fast path ends.
    memory: HeapMemory,
}

impl Mutator {
    fn new(limit: u64, initial: u64, young: u64, slots: usize) -> Mutator {
        let memory = HeapMemory::reserve(limit).unwrap();
        let shapes = Arc::new(Shapes::default());
        shapes.register(NODE, Shape::Fixed { size: 24, refs: Box::new([8, 12]) });
        shapes.register(REFS, Shape::array(2, true));
        shapes.register(BYTES, Shape::array(0, false));
        shapes.register(PAIR, Shape::Fixed { size: 16, refs: Box::new([8, 12]) });
        let limits =
            HeapLimits { max_bytes: limit, initial_bytes: initial, count_objects: true, ..HeapLimits::default() };
        let options = Options { young, ..options("drc:counting=deferred:cycles=none") };
        let heap = DrcHeap::new(memory.clone(), shapes, &limits, options).unwrap();
        Mutator { heap, stack: Stack((0..slots).map(|_| cell::Cell::new(0)).collect()), memory }
    }

    fn collect(&mut self) {
        let request = Collection { reason: Reason::Explicit, kind: CollectionKind::Major, budget: None };
        assert_eq!(self.heap.collect(request, &mut self.stack, &mut ()), Outcome::Complete);
    }

    /// As compiled code and then the engine do; `None` when the heap gives up. References are null at first.
    fn allocate(&mut self, new: NewObject) -> Option<u32> {
        let index = match self.bump(new) {
            Some(index) => index,
            None => self.allocate_slowly(new)?.raw(),
        };
        self.memory.fill_bytes(index, 8, 8, 0);
        let r = VMGcRef::from_index(index).unwrap();
        match (new.length, new.host) {
            (Some(length), _) => {
                self.memory.store_u32(index, ARRAY_LENGTH_OFFSET, length);
                self.memory.fill_bytes(index, 12, new.size as u32 - 12, 0);
            }
            (_, Some(host)) => self.memory.store_u32(index, EXTERN_ID_OFFSET, host),
            _ => {}
        }
        assert_eq!(self.memory.header(&r), VMGcHeader::new(new.kind, new.ty, NEW));
        Some(index)
    }

    fn bump(&self, new: NewObject) -> Option<u32> {
        let start = self.memory.cell(gc_api::Cell::BUMP);
        let end = start + new.size;
        if end > self.memory.cell(gc_api::Cell::LIMIT) || new.host.is_some() {
            return None;
        }
        self.memory.set_cell(gc_api::Cell::BUMP, end);
        self.memory.set_cell(gc_api::Cell::OBJECTS, self.memory.cell(gc_api::Cell::OBJECTS) + 1);
        self.memory.store_u64(start as u32, 0, VMGcHeader::new(new.kind, new.ty, NEW).to_u64());
        Some(start as u32)
    }

    fn allocate_slowly(&mut self, new: NewObject) -> Option<VMGcRef> {
        for attempts in 0.. {
            match self.heap.allocate(new) {
                Ok(r) => return Some(r),
                Err(NeedsCollection { bytes }) => match self.heap.on_allocation_failure(bytes, attempts) {
                    SizingDecision::Collect(_) => self.collect(),
                    SizingDecision::Grow(more) => self.memory.grow(more).unwrap(),
                    SizingDecision::GiveUp => return None,
                },
            }
        }
        None
    }

    fn slow_path(&mut self, op: SlowOp, value: u32) {
        self.heap.slow_path(op, [value as u64, 0, 0, 0]);
    }

    /// The compiled `read` barrier, after the load.
    fn loaded(&mut self, value: u32) -> u32 {
        if let Some(r) = object(value) {
            let word = self.memory.header_word(&r);
            if word & (NEW | ENROLLED) == 0 {
                self.memory.set_header_word(&r, word | ENROLLED);
                self.enrol(value);
            }
        }
        value
    }

    fn enrol(&mut self, value: u32) {
        if !self.heap.table.buffer.push(value) {
            self.slow_path(ENROL, value);
        }
    }

    /// The compiled `write` barrier of a slot whose contents are counted, around the store.
    fn counted_store(&mut self, old: u32, new: u32, store: impl FnOnce(&HeapMemory)) {
        if let Some(new) = object(new) {
            let word = self.memory.header_word(&new);
            if word & STICKY == 0 {
                let first = word & (NEW | ENROLLED) == NEW;
                self.memory.set_header_word(&new, self.heap.options.counts.incremented(word) | first as u32);
                if first {
                    self.enrol(new.raw());
                }
            }
        }
        store(&self.memory);
        if let Some(old) = object(old) {
            let word = self.memory.header_word(&old);
            if word & STICKY == 0 {
                self.memory.set_header_word(&old, word - ONE);
                if is_dead(word - ONE) && !self.heap.dead.push(old.raw()) {
                    self.slow_path(BURY, old.raw());
                }
            }
        }
    }

    fn get(&mut self, from: u32, offset: u32) -> u32 {
        let value = self.memory.load_u32(from, offset);
        self.loaded(value)
    }

    fn set(&mut self, to: u32, offset: u32, value: u32) {
        let store = |memory: &HeapMemory| memory.store_u32(to, offset, value);
        if self.memory.header_word(&VMGcRef::from_index(to).unwrap()) & NEW != 0 {
            store(&self.memory);
        } else {
            let old = self.memory.load_u32(to, offset);
            self.counted_store(old, value, store);
        }
    }

    fn set_global(&mut self, cell: &RefCell32, value: u32) {
        self.counted_store(cell.raw(), value, |_| cell.set_raw(value));
    }

    fn check(&self) {
        self.heap.check().unwrap();
        let usage = self.heap.usage();
        assert_eq!(usage.live + usage.free + usage.waste, usage.committed);
        assert_eq!(usage.committed, self.memory.committed_bytes());
        // In a heap of a few pages, the shortest lists are more than there is room for.
        let limit = self.memory.limit_bytes().max(64 << 10);
        assert!(usage.committed + usage.metadata <= limit, "{usage:?}");
    }
}

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }
}
