//! A mark-region space: blocks of lines, and large objects on pages of their own, under one table of marks.
//!
//! A collection is four steps: choose what is evacuated, forget the marks, trace, sweep. The trace marks what is reachable with its
//! lines, moves what is on candidates while there is room for it, and moves out whatever is elsewhere, such as in a nursery.
//!
//! Immix, as in [`Region`].

use crate::forward::{forwarded, header, move_object};
use crate::hosts::Hosts;
use crate::large::Large;
use crate::map::Spaces;
use crate::mark::{MarkStack, Marks};
use crate::object::{at, update_slot};
use crate::pages::Pages;
use crate::parallel;
use crate::region::{BLOCK, Region, with_waste};
use crate::remember::Remembered;
use crate::roots::update_roots;
use crate::tally::Tally;
use gc_api::{
    CollectorOptions, Corruption, FIRST_INDEX, GcEvents, GcHeap, HeapError, HeapLimits, HeapMemory, HeapRegion,
    OptionError, OptionInfo, Phase, RegionState, RootKind, Roots, Shapes, VMGcRef,
};
use std::ops::Range;
use std::sync::Arc;

/// The space is in pieces when more than this part of its blocks' bytes was in holes after the last collection.
const IN_PIECES: u64 = 4;

/// Objects are sparse when less than this part of the marked lines' bytes was theirs after the last collection.
const SPARSE: u64 = 2;

/// Heaps of so many blocks and more put this part of their memory aside for evacuation.
const HEADROOM: (u64, u64) = (16, 40);

/// When blocks are evacuated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defrag {
    /// When the space is in pieces, or there is no room left.
    Auto,
    /// In each collection.
    Always,
    /// In none.
    Never,
}

impl Defrag {
    /// The option of this name.
    pub const OPTION: OptionInfo = OptionInfo {
        key: "defrag",
        values: "auto, always or never",
        default: "auto",
        summary: "evacuate blocks of lines when they are in pieces, in each collection that traces them, or never",
    };

    /// What was chosen.
    ///
    /// # Errors
    /// When it is none of the three.
    pub fn option(options: &CollectorOptions) -> Result<Defrag, OptionError> {
        Ok(match options.choice("defrag", &["auto", "always", "never"])? {
            "always" => Defrag::Always,
            "never" => Defrag::Never,
            _ => Defrag::Auto,
        })
    }
}

/// What a trace moves, beside what is on candidates.
#[derive(Debug)]
pub struct Moves<Y> {
    /// Whether an object is outside of the space. There must be empty blocks for all of those.
    pub outside: Y,
    /// Bytes of blocks that what is on candidates may take.
    pub room: u64,
    /// The collector's header bits of what has moved.
    pub bits: u32,
}

/// The space.
#[derive(Debug)]
pub struct MarkRegion {
    memory: HeapMemory,
    shapes: Arc<Shapes>,
    /// What the space, and whatever is beside it, is made of.
    pub pages: Pages,
    /// The blocks.
    pub region: Region,
    /// The large objects.
    pub large: Large,
    /// Of all of its objects, as of the last trace.
    pub marks: Marks,
    /// Bytes of objects in blocks, as of the last trace.
    live: u64,
    /// Blocks that only a collection uses.
    headroom: Vec<Range<u32>>,
    stack: MarkStack,
    defrag: Defrag,
    always_move: bool,
}

impl MarkRegion {
    /// An empty space, in all of the memory that a heap begins with, whose other side tables are there already, with a mark stack for so many objects.
    ///
    /// # Errors
    /// When the memory or the side tables cannot be had.
    pub fn new(
        memory: &HeapMemory,
        shapes: Arc<Shapes>,
        limits: &HeapLimits,
        (defrag, stack): (Defrag, usize),
    ) -> Result<MarkRegion, HeapError> {
        let (region, marks) = (Region::new(memory)?, Marks::new(memory)?);
        memory.charge_lists(0);
        memory.grow_to(limits.initial_bytes)?;
        Ok(MarkRegion {
            pages: Pages::new(memory.clone()),
            region,
            large: Large::default(),
            marks,
            live: 0,
            headroom: Vec::new(),
            stack: MarkStack::new(stack),
            defrag,
            always_move: limits.always_move && defrag != Defrag::Never,
            memory: memory.clone(),
            shapes,
        })
    }

    /// As new, after the memory and its side tables were cleared.
    pub fn reset(&mut self) {
        self.pages.reset();
        self.region.reset();
        self.large = Large::default();
        (self.live, self.headroom) = (0, Vec::new());
        self.stack.reset();
    }

    /// Puts blocks aside, if there is little left that the heap could have, so that a collection can move what is on blocks with little on them. Small heaps
    /// have none to spare.
    pub fn keep_headroom(&mut self) {
        let ((blocks, part), limit, block) = (HEADROOM, self.memory.limit_bytes(), BLOCK as u64);
        let wanted = if limit < blocks * block { 0 } else { (limit / part).div_ceil(block) as usize };
        let left = self.pages.free_bytes() + self.memory.limit() - self.memory.committed();
        let is_short = left < (wanted + 2) as u64 * block;
        while self.headroom.len() < wanted && is_short && self.defrag != Defrag::Never {
            let Some(block) = self.pages.take(block, BLOCK) else { break };
            self.headroom.push(block);
        }
    }

    /// Before a collection: these blocks are there to be used, unless everything is to move, for which there is never enough.
    pub fn use_headroom(&mut self, desperate: bool) {
        if desperate || !self.moves_all() {
            self.headroom.drain(..).for_each(|block| self.pages.give(block));
        }
    }

    fn moves_all(&self) -> bool {
        self.always_move || self.defrag == Defrag::Always
    }

    /// Bytes that objects keep from others: on lines that were marked at the last sweep, and on pages of their own.
    pub fn occupied(&self) -> u64 {
        self.region.marked_bytes() + self.large.paged()
    }

    /// Bytes of tables.
    pub fn tables(&self) -> u64 {
        self.marks.bytes() + self.region.tables()
    }

    /// Bytes of lists.
    pub fn lists(&self) -> u64 {
        self.region.lists() + self.stack.bytes() + self.large.metadata()
    }

    /// Walks over the heap that overflows of the mark stack made necessary.
    pub fn overflows(&self) -> u64 {
        self.stack.walks()
    }

    // A collection.

    /// Chooses candidates, whose objects take no more than `room` bytes, if `filled` bytes of the holes were used since the last
    /// sweep, and forgets all marks.
    pub fn begin(&mut self, room: u64, filled: u64, desperate: bool) {
        let holes = self.region.bytes().saturating_sub(self.region.marked_bytes() + filled);
        let in_pieces = holes > self.region.bytes() / IN_PIECES;
        let sparse = self.live < self.region.marked_bytes() / SPARSE;
        match self.defrag {
            Defrag::Never => {}
            _ if self.moves_all() && !desperate => self.region.choose_candidates(u64::MAX, true),
            _ if sparse || desperate => {
                let live = |block| {
                    let sizes = self.marks.iter(block).map(|index| self.shapes.size_of(&self.memory, &at(index)));
                    sizes.sum()
                };
                // A block that is not emptied is not gained, and what was allocated since then lives on these blocks, too; but not when the
                // last collection found no room for anything.
                let blocks = room - room % BLOCK as u64;
                self.region.choose_sparse(if desperate { blocks } else { blocks / 2 }, live);
            }
            _ if in_pieces => self.region.choose_candidates(room, false),
            _ => {}
        }
        self.region.blocks().for_each(|block| self.marks.clear(block));
        self.large.unmark(&self.marks);
        self.region.unmark();
    }

    /// Marks what is reachable, and moves what is outside or on candidates. `scanned` is told each object, once, where it is now.
    /// Gives the number of objects and their bytes.
    pub fn trace(
        &mut self,
        program: &mut dyn Roots,
        events: &mut dyn GcEvents,
        tally: &mut Tally,
        moves: Moves<impl Fn(u32) -> bool>,
        mut scanned: impl FnMut(u32),
    ) -> (u64, u64) {
        let MarkRegion { memory, shapes, pages, region, marks, stack, .. } = self;
        let (evacuating, lines) = (region.is_evacuating(), region.lines());
        let Moves { outside, mut room, bits } = moves;
        let mut visit = |stack: &mut MarkStack, object: u32| {
            if marks.get(object) {
                return object;
            }
            let is_outside = outside(object);
            if is_outside || evacuating {
                let header = match header(memory, object) {
                    Ok(header) => header,
                    Err(moved) => return moved,
                };
                if stack.is_full() {
                    return object;
                }
                let bytes = shapes.size_by_header(memory, object, header) as u32;
                let with_waste = with_waste(bytes as u64);
                if is_outside || with_waste <= room && region.is_candidate(object) {
                    if let Some(to) = region.take(pages, bytes) {
                        room -= if is_outside { 0 } else { with_waste };
                        move_object(memory, (object, header), to, bytes, bits);
                        stack.push(to, |to| marks.mark(to));
                        tally.copied += bytes as u64;
                        return to;
                    }
                    assert!(!is_outside, "there are blocks for all that is outside");
                }
            }
            stack.push(object, |object| marks.mark(object));
            object
        };
        let (mut objects, mut live) = (0u64, 0u64);
        let mut scanned = |object: u32, bytes: u64| {
            lines.mark(object, bytes);
            scanned(object);
            (objects, live) = (objects + 1, live + bytes);
        };
        let all = (&*marks, FIRST_INDEX..memory.committed().min(u32::MAX as u64) as u32);
        events.phase(Phase::Roots);
        update_roots(program, RootKind::ALL, &mut tally.roots, |root| {
            let now = visit(stack, root);
            if stack.is_half_full() {
                stack.drain(memory, shapes, all.clone(), &mut visit, &mut scanned);
            }
            now
        });
        events.phase(Phase::Trace);
        stack.drain(memory, shapes, all, visit, scanned);
        tally.traced += objects;
        self.live = live;
        (objects, live)
    }

    /// As [`trace`](Self::trace), by several threads: nothing moves, and there must not be candidates.
    pub fn trace_by(
        &mut self,
        threads: usize,
        program: &mut dyn Roots,
        events: &mut dyn GcEvents,
        tally: &mut Tally,
        scanned: impl Fn(u32) + Sync,
    ) -> (u64, u64) {
        let (lines, mut grey) = (self.region.lines(), Vec::new());
        events.phase(Phase::Roots);
        update_roots(program, RootKind::ALL, &mut tally.roots, |root| {
            if self.marks.mark(root) {
                grey.push(root);
            }
            root
        });
        events.phase(Phase::Trace);
        let mark = |object, bytes| {
            lines.mark(object, bytes);
            scanned(object);
        };
        let (objects, live) = parallel::trace(&self.memory, &self.shapes, &self.marks, grey, threads, mark);
        tally.traced += objects;
        self.live = live;
        (objects, live)
    }

    /// A minor collection, for which marks stay that objects have, and marked objects are old: marks what is young and reachable from roots
    /// and from what is `remembered`. Nothing moves. What was reached is old afterwards. Gives the number of those objects and their bytes.
    ///
    /// Sticky marks: A. Demers, M. Weiser, B. Hayes, H. Boehm, D. Bobrow and S. Shenker, *Combining generational and conservative garbage
    /// collection: framework and implementations*, POPL 1990.
    pub fn trace_young(
        &mut self,
        program: &mut dyn Roots,
        events: &mut dyn GcEvents,
        tally: &mut Tally,
        remembered: &mut Remembered,
    ) -> (u64, u64) {
        let MarkRegion { memory, shapes, region, large, marks, stack, .. } = self;
        let lines = region.lines();
        let old: Vec<_> = if remembered.looks_for_objects() { region.blocks().collect() } else { Vec::new() };
        let visit = |stack: &mut MarkStack, object: u32| {
            if !marks.get(object) {
                stack.push(object, |object| marks.mark(object));
            }
            object
        };
        events.phase(Phase::Roots);
        remembered.drain(shapes, large, (marks, &old), |object, offset| {
            update_slot(memory, object, offset, |child| visit(stack, child));
        });
        let kinds: Vec<RootKind> = RootKind::ALL.into_iter().filter(|kind| remembered.has_roots(*kind)).collect();
        let (mut objects, mut live) = (0u64, 0u64);
        let mut scanned = |object: u32, bytes: u64| {
            lines.mark(object, bytes);
            remembered.arm(shapes, object);
            (objects, live) = (objects + 1, live + bytes);
        };
        let all = (&*marks, FIRST_INDEX..memory.committed().min(u32::MAX as u64) as u32);
        update_roots(program, kinds, &mut tally.roots, |root| {
            visit(stack, root);
            if stack.is_half_full() {
                stack.drain(memory, shapes, all.clone(), visit, &mut scanned);
            }
            root
        });
        events.phase(Phase::Trace);
        stack.drain(memory, shapes, all, visit, scanned);
        tally.traced += objects;
        self.live += live + large.bytes() - large.new_bytes();
        (objects, live)
    }

    /// Frees what is not marked, host values among that.
    pub fn sweep(&mut self, hosts: &mut Hosts) {
        let MarkRegion { memory, shapes, pages, region, marks, large, .. } = self;
        hosts.sweep(memory, |host| forwarded(memory, host).or(marks.get(host).then_some(host)));
        large.sweep(memory, shapes, pages, marks);
        region.sweep(pages);
        self.live = self.live.saturating_sub(large.bytes());
    }

    // What is where.

    /// Visits the regions of a heap that consists of this space, a nursery and a survivor space.
    pub fn show(
        &self,
        heap: &dyn GcHeap,
        (nursery, survivors): (&Range<u32>, &Range<u32>),
        visit: &mut dyn FnMut(HeapRegion),
    ) {
        let mut spaces = Spaces::default();
        spaces.add(RegionState::Free, self.pages.runs().chain([nursery.clone()]));
        spaces.add(RegionState::Holes, self.region.blocks());
        spaces.add(RegionState::Reserved, self.headroom.iter().cloned().chain([survivors.clone()]));
        let state = |index, _| match self.marks.get(index) {
            _ if survivors.contains(&index) => RegionState::Survivor,
            _ if self.large.find(index) == Some(index) => RegionState::Large,
            true => RegionState::Old,
            false => RegionState::Young,
        };
        spaces.show(heap, &self.shapes, state, visit);
    }

    /// Visits the marked objects in blocks.
    pub fn for_each_marked(&self, visit: &mut dyn FnMut(VMGcRef)) {
        self.region.blocks().for_each(|block| self.marks.iter(block).for_each(|index| visit(at(index))));
    }

    /// Whether the marked objects in blocks have types.
    ///
    /// # Errors
    /// The first that has none.
    pub fn check(&self) -> Result<(), Corruption> {
        for index in self.region.blocks().flat_map(|block| self.marks.iter(block)) {
            let ty = self.memory.header(&at(index)).ty();
            if self.shapes.get(ty).is_none() {
                return Err(Corruption(format!("the marked object at {index:#x} has type {ty}, which does not exist")));
            }
        }
        Ok(())
    }

    /// Whether the lines of the marked objects in blocks are marked: if all of these were reached by the last trace.
    ///
    /// # Errors
    /// The first object for which one is not.
    pub fn check_lines(&self) -> Result<(), Corruption> {
        for index in self.region.blocks().flat_map(|block| self.marks.iter(block)) {
            if !self.region.is_marked(index, self.shapes.size_of(&self.memory, &at(index))) {
                return Err(Corruption(format!("the object at {index:#x} lies on a line that is not marked")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::barrier::Barrier;
    use crate::object::{index_of, write_new};
    use gc_api::{GcKind, NewObject, RefCell32, RootSlot, Shape, WriteSite};

    const PAIR: u32 = 1;

    struct Globals(Vec<RefCell32>);

    impl Roots for Globals {
        fn visit(&mut self, kind: RootKind, visit: &mut dyn FnMut(RootSlot<'_>)) {
            if kind == RootKind::Global {
                self.0.iter().for_each(|cell| visit(RootSlot::Cell(cell)));
            }
        }
    }

    impl Globals {
        fn index(&self) -> u32 {
            index_of(self.0[0].raw()).expect("it refers to an object")
        }
    }

    struct Heap {
        memory: HeapMemory,
        space: MarkRegion,
        globals: Globals,
        hosts: Hosts,
        tally: Tally,
    }

    /// A space, and a global that refers to the first of two pairs, which refers to the second; a third is garbage.
    fn heap(defrag: Defrag) -> (Heap, [u32; 3]) {
        let memory = HeapMemory::reserve(4 << 20).unwrap();
        let shapes = Arc::new(Shapes::default());
        shapes.register(PAIR, Shape::Fixed { size: 16, refs: Box::new([8, 12]) });
        let limits = HeapLimits { max_bytes: 4 << 20, initial_bytes: 1 << 20, ..HeapLimits::default() };
        let mut space = MarkRegion::new(&memory, shapes, &limits, (defrag, 1 << 10)).unwrap();
        let block = space.region.take_block(&mut space.pages).unwrap();
        let pairs = [0, 16, 32].map(|offset| block.start + offset);
        let globals = Globals(vec![RefCell32::null()]);
        let heap = Heap { memory, space, globals, hosts: Hosts::default(), tally: Tally::new(&limits) };
        pairs.iter().for_each(|pair| heap.new_pair(*pair));
        heap.globals.0[0].set_raw(at(pairs[0]).raw());
        heap.memory.store_ref(&at(pairs[0]), 8, Some(&at(pairs[1])));
        (heap, pairs)
    }

    impl Heap {
        fn new_pair(&self, index: u32) {
            let new = NewObject { kind: GcKind::STRUCT, ty: PAIR, size: 16, length: None, host: None };
            write_new(&self.memory, index, &new, 0);
        }

        /// A full collection.
        fn collect(&mut self, scanned: impl FnMut(u32)) -> (u64, u64) {
            let room = self.space.pages.free_bytes();
            self.space.begin(room, 0, false);
            let moves = Moves { outside: |_| false, room, bits: 0 };
            let found = self.space.trace(&mut self.globals, &mut (), &mut self.tally, moves, scanned);
            self.space.sweep(&mut self.hosts);
            self.space.check().unwrap();
            self.space.check_lines().unwrap();
            found
        }
    }

    #[test]
    fn what_is_reachable_is_marked_with_its_lines() {
        let (mut heap, [one, two, dead]) = heap(Defrag::Never);
        let mut scanned = Vec::new();
        assert_eq!(heap.collect(|object| scanned.push(object)), (2, 32));
        assert_eq!(scanned, [one, two]);
        assert_eq!([one, two, dead].map(|pair| heap.space.marks.get(pair)), [true, true, false]);
        assert_eq!((heap.space.region.marked_bytes(), heap.space.occupied()), (256, 256));
        heap.globals.0[0].set_raw(0);
        assert_eq!((heap.collect(|_| ()), heap.space.region.bytes()), ((0, 0), 0), "the block is free again");
    }

    #[test]
    fn what_is_on_candidates_moves() {
        let (mut heap, [one, two, _]) = heap(Defrag::Always);
        assert_eq!(heap.collect(|_| ()), (2, 32));
        let now = heap.globals.index();
        let child = index_of(heap.memory.load_u32(now, 8)).unwrap();
        assert!(now != one && child != two, "{now:#x} and {child:#x}");
        assert_eq!([one, two, now, child].map(|pair| heap.space.marks.get(pair)), [false, false, true, true]);
        assert_eq!((heap.tally.copied, heap.space.region.blocks().count()), (32, 1));
    }

    #[test]
    fn a_minor_trace_finds_what_is_young_and_marks_stay() {
        let (mut heap, [one, two, _]) = heap(Defrag::Never);
        let mut remembered = Remembered::new(&heap.memory, Barrier::ObjectLog).unwrap();
        let shapes = heap.space.shapes.clone();
        heap.collect(|object| remembered.arm(&shapes, object));
        let hole = heap.space.region.next_hole(64).unwrap();
        let [young, below, lost] = [0, 16, 32].map(|offset| hole.start + offset);
        [young, below, lost].iter().for_each(|pair| heap.new_pair(*pair));
        heap.memory.store_ref(&at(young), 8, Some(&at(below)));
        remembered.write_ref(WriteSite::Object { object: &at(two), offset: 12 }, Some(&at(young)));
        // The old ones are not looked at.
        heap.globals.0[0].set_raw(0);
        let mut minor = |heap: &mut Heap| {
            let found = heap.space.trace_young(&mut heap.globals, &mut (), &mut heap.tally, &mut remembered);
            heap.space.sweep(&mut heap.hosts);
            heap.space.check_lines().unwrap();
            found
        };
        assert_eq!(minor(&mut heap), (2, 32));
        let marked = |heap: &Heap| [one, two, young, below, lost].map(|pair| heap.space.marks.get(pair));
        assert_eq!(marked(&heap), [true, true, true, true, false]);
        assert_eq!(heap.space.region.marked_bytes(), 512);
        assert_eq!(minor(&mut heap), (0, 0), "what survived is old");
        assert_eq!(heap.collect(|_| ()), (0, 0));
        assert_eq!(marked(&heap), [false; 5]);
    }
}
