use super::*;
use gc_api::{CollectionKind, GcKind, RefCell32, RootSlot, Shape};

const PAIR: u32 = 1;
const BYTES: u32 = 2;
const PAIR_SIZE: u64 = 16;

/// Globals.
struct Globals(Vec<RefCell32>);

impl Roots for Globals {
    fn visit(&mut self, kind: RootKind, visit: &mut dyn FnMut(RootSlot<'_>)) {
        if kind == RootKind::Global {
            self.0.iter().for_each(|cell| visit(RootSlot::Cell(cell)));
        }
    }
}

struct Program {
    heap: Box<dyn GcHeap>,
    globals: Globals,
}

impl Program {
    fn new(globals: usize) -> Program {
        let memory = HeapMemory::reserve(64 << 20).unwrap();
        let shapes = Arc::new(Shapes::default());
        shapes.register(PAIR, Shape::Fixed { size: PAIR_SIZE as u32, refs: Box::new([8, 12]) });
        shapes.register(BYTES, Shape::array(0, false));
        let limits = HeapLimits { max_bytes: 64 << 20, ..HeapLimits::default() };
        let heap = COLLECTOR.with(&CollectorOptions::default()).unwrap().new_heap(memory, shapes, &limits).unwrap();
        Program { heap, globals: Globals((0..globals).map(|_| RefCell32::null()).collect()) }
    }

    /// Allocates as the engine does.
    fn allocate(&mut self, object: NewObject) -> VMGcRef {
        loop {
            let bytes = match self.heap.allocate(object) {
                Ok(made) => return made,
                Err(NeedsCollection { bytes }) => bytes,
            };
            match self.heap.on_allocation_failure(bytes, 0) {
                SizingDecision::Collect(_) => {
                    let request = Collection { reason: Reason::Allocation, kind: CollectionKind::Major, budget: None };
                    assert_eq!(self.heap.collect(request, &mut self.globals, &mut ()), Outcome::Complete);
                }
                SizingDecision::Grow(bytes) => self.heap.memory().grow(bytes).unwrap(),
                other => panic!("{other:?}"),
            }
        }
    }

    fn pair(&mut self, left: Option<&VMGcRef>) -> VMGcRef {
        let pair = NewObject { kind: GcKind::STRUCT, ty: PAIR, size: PAIR_SIZE, length: None, host: None };
        let object = self.allocate(pair);
        self.heap.memory().store_ref(&object, 8, left);
        self.heap.memory().store_ref(&object, 12, None);
        object
    }

    fn bytes(&mut self, length: u32) -> VMGcRef {
        let size = Shape::array(0, false).size(length);
        self.allocate(NewObject { kind: GcKind::ARRAY, ty: BYTES, size, length: Some(length), host: None })
    }

    fn set_global(&mut self, number: usize, value: &VMGcRef) {
        self.heap.write_ref(WriteSite::Cell { kind: CellKind::Global, cell: &self.globals.0[number] }, Some(value));
    }

    fn card(&self) -> Card {
        Card::of(&self.heap.counters()).unwrap()
    }
}

#[test]
fn the_dead_and_the_living_of_a_window_are_told_apart() {
    let mut program = Program::new(64);
    // Each 1,024th object lives, for as long as 64 others do.
    let objects = 3 * MIB / PAIR_SIZE;
    for number in 0..objects {
        let pair = program.pair(None);
        if number % 1024 == 0 {
            program.set_global(number as usize / 1024 % 64, &pair);
        }
    }
    let card = program.card();
    assert_eq!((card.objects, card.bytes), (objects, 3 * MIB));
    assert_eq!(card.acyclic, 0, "nothing is declared of pairs");
    assert_eq!((card.object_writes, card.root_writes), (0, objects / 1024));
    // The third MiB ends with the program, and nothing is allocated thereafter.
    assert_eq!(card.windows[0], (2 * MIB, 2 * 64 * PAIR_SIZE));
    assert_eq!(card.survival()[1], None);
    assert_eq!((card.live_objects, card.live_bytes, card.depth), (64, 64 * PAIR_SIZE, 1));
    // At 1, 2, ... 512 KiB, at 1 MiB and at 2 MiB.
    assert_eq!(program.heap.counters().collections, 12);
}

#[test]
fn depth_is_that_of_the_shortest_path() {
    let mut program = Program::new(2);
    let mut list = program.pair(None);
    for length in 2..=100 {
        list = program.pair(Some(&list));
        program.set_global(0, &list);
        if length == 50 {
            // A way into the middle.
            program.set_global(1, &list);
        }
    }
    // 1,600 bytes: one census so far, before the 65th.
    assert_eq!(program.card().depth, 50);
    program.bytes(1000);
    assert_eq!(program.card().depth, 50, "the upper half from one global, the lower half from the other");
    assert_eq!(program.card().acyclic, 1, "bytes refer to nothing");
}

#[test]
fn an_object_larger_than_all_windows_closes_them_once() {
    let mut program = Program::new(1);
    let long = program.bytes(20 << 20);
    program.set_global(0, &long);
    program.bytes(8);
    let card = program.card();
    let size = Shape::array(0, false).size(20 << 20);
    assert_eq!(card.windows, [(size, size); 3]);
    assert_eq!(card.survival(), [Some(1.0); 3]);
}

#[test]
fn a_heap_that_is_reset_counts_from_nothing() {
    let mut program = Program::new(1);
    let pair = program.pair(None);
    program.set_global(0, &pair);
    program.heap.reset();
    assert_eq!(program.card(), Card::default());
}

#[test]
fn other_counters_are_no_card() {
    assert_eq!(Card::of(&Counters::default()), None);
    let card = Card { objects: 1, windows: [(2, 3), (4, 5), (6, 7)], ..Card::default() };
    assert_eq!(Card::of(&Counters { own: card.counters(), ..Counters::default() }), Some(card));
}
