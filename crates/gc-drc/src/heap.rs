//! The heap: allocation, the host's barriers and slow paths. Collections are in `collect.rs`, cycles in `cycles.rs`.

use crate::compiler::{
    BURY, CANDIDATES_LIMIT, CANDIDATES_NEXT, CHUNKS, COVER, DEAD_LIMIT, DEAD_NEXT, DECREMENT, DECREMENTS, ENROL, FLUSH,
    INCREMENT, INCREMENTS, LOG, READS, SUSPECT,
};
use crate::counts::{CANDIDATE, ENROLLED, NEW, at, count, is_dead, object};
use crate::cycles::Candidates;
use crate::log::{CHUNK_SHIFT, Log};
use crate::queue::Queue;
use crate::space::{BLOCK, Gaps, Space};
use crate::table::Table;
use crate::{Counting, Cycles, Options};
use gc_api::{
    ARRAY_LENGTH_OFFSET, BulkSource, BulkWrite, Cell, Collection, CollectionKind, Corruption, Counters,
    EXTERN_ID_OFFSET, Edge, FIRST_INDEX, GcEvents, GcHeap, HeapError, HeapLimits, HeapMemory, HeapPolicy, HeapRegion,
    HeapSizer, HeapUsage, HostId, LogBuffer, MissedWrite, NeedsCollection, NewObject, Outcome, Overhead,
    REF_ARRAY_BASE, RefRange, RegionState, Roots, Shapes, SideEntry, SideTable, SizingDecision, SlowOp, VMGcHeader,
    VMGcRef, WriteSite, copy_refs,
};
use gc_parts::Spaces;
use std::ops::Range;
use std::sync::Arc;

/// The table never asks for a collection below so many entries.
const SMALL_TABLE: usize = 64 << 10;
/// Bytes to allocate between two collections for each object that the last one found on the stack: a deep stack is
/// walked whole each time, so it is to be walked less often.
const BYTES_PER_ROOT: u64 = 32;
/// Slots' worth of log that ask for a collection.
const LARGE_LOG: usize = 4 << 20;
/// Side tables and lists are charged to the heap: object starts 1/64, logged chunks 1/128, lists 1/128. The buffers are, too.
const METADATA: u64 = 32;
/// Each of the three buffers takes a 64th of the heap's limit at most.
const BUFFER_PART: u64 = 64;
/// The heap shrinks when it is larger than it should be by this part of that.
const LARGER_PART: u64 = 4;
/// Memory goes back to the system in these.
const PAGE: u64 = 4 << 10;
/// Percent by which the old objects grow between two traces in a heap of fixed size: not as far as they can, since there it is in pieces
/// before it is full.
const DOUBLED: u64 = 100;
/// There is no more than one candidate for so many bytes of the limit before trial deletion is due.
const CANDIDATE_BYTES: u64 = 1024;
/// A buffer has so many entries at least.
const SMALL_BUFFER: u64 = 64;
/// Failures of one allocation after which nothing more is tried. The policy ends before; this is a backstop.
const MAX_ATTEMPTS: u32 = 16;

/// The heap of one store.
pub struct DrcHeap {
    pub options: Options,
    pub space: Space,
    pub table: Table,
    /// Objects that compiled code found dead, not freed yet.
    pub dead: LogBuffer,
    pub log: Log,
    /// For each 128 bytes, whether a chunk of a large array that starts there is logged.
    pub chunks: SideTable,
    pub candidates: Candidates,
    /// Host values' objects that were allocated since the last collection.
    pub new_externs: Vec<u32>,
    pub dead_hosts: Vec<HostId>,
    /// Work list of freeing and of retaining; empty in between.
    pub stack: Vec<u32>,
    /// Objects that are owed a decrement, once for each time that they are here, because a budget ended.
    pub owed: Vec<u32>,
    /// Dead objects that are not freed yet, because a budget ended or because they are candidates.
    pub unfreed: Vec<u32>,
    /// How much of the heap is for objects.
    pub sizer: HeapSizer,
    /// The sizer of a new heap.
    first_sizer: HeapSizer,
    /// Bytes that the heap has at the start.
    initial: u64,
    /// Bytes that had been allocated when the sizer was last asked.
    pub sized_at: u64,
    /// Bytes to allocate until the next collection.
    pub budget: u64,
    /// Bytes that lists had after the last collection.
    lists_then: u64,
    /// The round that ends found no room before its budget was used up: the next one is to use any gap.
    pub starved: bool,
    /// What was done for the allocation that fails.
    tried: Tried,
    /// The next collection is to look for cycles, and to leave nothing undone.
    pub desperate: bool,
    /// Bytes of old objects at which a trace is due.
    pub trace_at: u64,
    count_objects: bool,
    pub tally: Tally,
}

/// What was done for an allocation that fails where the heap cannot grow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Tried {
    Nothing,
    /// A collection like any other.
    Collection,
    /// One that also looks for cycles, and leaves nothing undone.
    Everything,
}

/// Work that was done.
#[derive(Default)]
pub struct Tally {
    /// Collections that ran to the end.
    pub collections: u64,
    /// Collections, those that a budget ended among them.
    pub rounds: u64,
    pub roots: [u64; 6],
    /// Objects made by `allocate`.
    pub slow_objects: u64,
    /// Objects that had been allocated at the last collection.
    pub objects_then: u64,
    /// Bytes that had been allocated at the last collection.
    pub bytes_then: u64,
    pub increments: u64,
    pub decrements: u64,
    pub retained: u64,
    pub retained_bytes: u64,
    pub freed_by_count: u64,
    pub freed_by_count_bytes: u64,
    pub freed_in_cycles: u64,
    pub freed_in_cycles_bytes: u64,
    pub dead_new_bytes: u64,
    /// Objects that traces and trial deletion visited.
    pub visited: u64,
    pub traces: u64,
    pub trials: u64,
    /// Counts that a trace has healed.
    pub healed: u64,
    pub returned_bytes: u64,
}

impl DrcHeap {
    /// An empty heap in `memory`.
    ///
    /// # Errors
    /// When the first memory, the side tables or the buffers cannot be had.
    pub fn new(
        memory: HeapMemory,
        shapes: Arc<Shapes>,
        limits: &HeapLimits,
        options: Options,
    ) -> Result<DrcHeap, HeapError> {
        let chunk = (limits.max_bytes / BUFFER_PART / 4).max(SMALL_BUFFER).min(options.chunk as u64) as u32;
        let candidates = (limits.max_bytes / CANDIDATE_BYTES).max(1).min(options.candidates as u64) as usize;
        let growth = options.growth.or((limits.policy == HeapPolicy::Fixed).then_some(DOUBLED));
        let options = Options { candidates, growth, ..options };
        let table = Table::new(&memory, chunk)?;
        let dead = memory.log_buffer(chunk, DEAD_NEXT, DEAD_LIMIT)?;
        let suspects = memory.log_buffer(chunk, CANDIDATES_NEXT, CANDIDATES_LIMIT)?;
        let chunks = memory.side_table(CHUNK_SHIFT, SideEntry::Byte)?;
        let space = Space::new(memory, shapes)?;
        let buffers = table.buffer.bytes() + dead.bytes() + suspects.bytes();
        let mut sizer = HeapSizer::new(limits, Overhead { fixed: buffers, per_mille: METADATA });
        // The first young objects are for the count to free. What is live is known after that.
        sizer.require(2 * options.young);
        space.memory.charge_lists(0);
        space.memory.grow_to(limits.initial_bytes)?;
        let mut heap = DrcHeap {
            options,
            space,
            table,
            dead,
            log: Log::default(),
            chunks,
            candidates: Candidates::new(suspects),
            new_externs: Vec::new(),
            dead_hosts: Vec::new(),
            stack: Vec::new(),
            owed: Vec::new(),
            unfreed: Vec::new(),
            sizer: sizer.clone(),
            first_sizer: sizer,
            initial: limits.initial_bytes,
            sized_at: 0,
            budget: 0,
            lists_then: 0,
            starved: false,
            tried: Tried::Nothing,
            desperate: false,
            trace_at: 0,
            count_objects: limits.count_objects,
            tally: Tally::default(),
        };
        heap.set_cells();
        heap.plan();
        Ok(heap)
    }

    /// Tells compiled code what is where, in a heap whose cells read zero.
    fn set_cells(&self) {
        self.space.memory.set_cell(CHUNKS, self.chunks.offset_from_base() as u64);
    }

    fn coalesces(&self) -> bool {
        self.options.counting == Counting::Coalesced
    }

    // Counting.

    /// One reference more to `r`. A new object that is counted for the first time is enrolled, so that the collection
    /// finds it.
    fn increment(&mut self, r: &VMGcRef) {
        let word = self.space.memory.header_word(r);
        self.tally.increments += 1;
        let first = word & (NEW | ENROLLED) == NEW;
        let counted = self.options.counts.incremented(word);
        self.space.memory.set_header_word(r, counted | if first { ENROLLED } else { 0 });
        if first {
            self.table.push(r.raw());
        }
    }

    /// One reference less to `r`.
    fn decrement(&mut self, r: &VMGcRef) {
        self.tally.decrements += 1;
        let word = self.options.counts.decrement(&self.space.memory, r);
        if !is_dead(word) {
            self.candidates.suspect(&self.space, &self.options, r, word);
        } else if self.coalesces() {
            self.enrol(r, word);
        } else if !self.dead.push(r.raw()) {
            self.drain_dead();
            self.bury(r.raw());
        }
    }

    fn enrol(&mut self, r: &VMGcRef, word: u32) {
        self.space.memory.set_header_word(r, word | ENROLLED);
        self.table.push(r.raw());
    }

    /// `r` is about to be where it is not counted: on the stack, or in a new object. A collection that looks at nothing but
    /// the stack need not be told.
    fn cover(&mut self, r: &VMGcRef) {
        let word = self.space.memory.header_word(r);
        if !self.coalesces() && word & (NEW | ENROLLED) == 0 {
            self.enrol(r, word);
        }
    }

    /// A slot whose contents are counted is about to hold `new` instead of `old`. Increments before it decrements: they
    /// may be the same object.
    fn replace(&mut self, old: u32, new: u32) {
        if let Some(new) = object(new) {
            self.increment(&new);
        }
        if let Some(old) = object(old) {
            self.decrement(&old);
        }
    }

    fn is_new(&self, object: &VMGcRef) -> bool {
        self.space.memory.header_word(object) & NEW != 0
    }

    /// Whether stores into `object` are neither counted nor logged.
    fn is_born_dead(&self, object: &VMGcRef) -> bool {
        self.options.counting != Counting::Eager && self.is_new(object)
    }

    /// Logs the old object `to` if that is how it is counted, before the slot at `offset` is written.
    fn log(&mut self, to: &VMGcRef, offset: u32) {
        let Space { memory, shapes, .. } = &self.space;
        self.log.log(memory, shapes, &self.chunks, to, offset);
    }

    // Freeing, between collections.

    /// Frees the objects that were found dead.
    pub fn drain_dead(&mut self) {
        if self.dead.is_empty() {
            return;
        }
        // What dies with them goes to the work list, not to this buffer.
        let dead: Vec<u32> = self.dead.iter().collect();
        self.dead.clear();
        dead.into_iter().for_each(|object| self.bury(object));
    }

    /// Frees a dead object, and all that die with it; but those that are candidates keep their memory until the next collection.
    fn bury(&mut self, dead: u32) {
        self.stack.push(dead);
        let mut queue = Queue::default();
        loop {
            while let Some(index) = self.stack.pop() {
                match self.space.memory.header_word(&at(index)) & CANDIDATE {
                    0 => self.free(index, &mut queue),
                    _ => self.unfreed.push(index),
                }
            }
            match queue.pop() {
                Some((child, times)) => self.uncount(child, times),
                None => break,
            }
        }
    }

    // Sizes.

    /// Says when the next collection, and the next search for cycles, is due.
    pub fn plan(&mut self) {
        self.trace_at = self.next_trace();
        self.set_budget();
    }

    /// Bytes of old objects at which a search for cycles is due, if the sizer was asked just now: when there is too little room left for
    /// young ones.
    fn next_trace(&self) -> u64 {
        let (live, young) = (self.space.live, self.options.young);
        if let Some(percent) = self.options.growth {
            let growth = (live as u128 * percent as u128 / 100) as u64;
            let room = self.sizer.most().saturating_sub(live) / 2;
            return live + growth.min(room).max(young);
        }
        let usable = self.sizer.usable();
        let spare = young.min(usable / 4).max(usable / 8);
        let least = (usable.saturating_sub(live) / 2).max(young.min(usable / 16));
        (usable - spare).max(live + least)
    }

    /// Young objects have what the old ones leave, up to so much that they fit the cache; or more, while the stack is deep.
    pub fn set_budget(&mut self) {
        let usable = if self.options.growth.is_some() { self.sizer.most() } else { self.sizer.usable() };
        let room = usable.saturating_sub(self.space.live).max(usable / 16);
        self.budget = self.options.young.max(BYTES_PER_ROOT * self.table.kept as u64).min(room);
    }

    /// Bytes of lists.
    fn lists(&self) -> u64 {
        let lists = [&self.stack, &self.new_externs, &self.dead_hosts, &self.owed, &self.unfreed];
        let lists: usize = lists.iter().map(|list| list.capacity() * 4).sum();
        (lists + self.table.lists() + self.candidates.lists() + self.log.lists() + self.space.lists()) as u64
    }

    /// Charges the lists to the heap, and says whether they have grown so much since the last collection that the limit is passed.
    fn lists_pass_limit(&self) -> bool {
        let lists = self.lists();
        self.space.memory.charge_lists(lists);
        lists > 2 * self.lists_then && self.space.memory.excess() > 0
    }

    /// After a collection, when nobody looks at what it freed any more: gives back empty memory at the end of a heap that is larger than
    /// the policy says, and what the lists do not need, if that is more than there is room for. If there is still too little room, because
    /// the table of what is on a deep stack is so large, more memory at the end goes: that is all that can be done then.
    pub fn trim(&mut self) {
        let memory = self.space.memory.clone();
        let keep = self.sizer.usable().max(self.space.live + self.budget) + self.options.young;
        let keep = keep.max(self.initial);
        if memory.committed_bytes() > keep + keep / LARGER_PART {
            self.tally.returned_bytes += self.space.shrink(keep);
        }
        if self.lists() > memory.room_for_lists() {
            for list in
                [&mut self.stack, &mut self.new_externs, &mut self.dead_hosts, &mut self.owed, &mut self.unfreed]
            {
                list.shrink_to_fit();
            }
            self.table.entries.shrink_to_fit();
            self.candidates.trim();
            self.log.trim();
            self.space.trim();
        }
        self.lists_then = self.lists().max(memory.room_for_lists());
        memory.charge_lists(self.lists_then);
        if let excess @ 1.. = memory.excess() {
            let fits = memory.committed_bytes() - excess;
            self.tally.returned_bytes += self.space.shrink(fits / PAGE * PAGE);
        }
    }

    pub fn objects_allocated(&self) -> u64 {
        self.space.memory.cell(Cell::OBJECTS) + self.tally.slow_objects
    }
}

impl GcHeap for DrcHeap {
    fn allocate(&mut self, new: NewObject) -> Result<VMGcRef, NeedsCollection> {
        self.drain_dead();
        let since = self.space.allocated();
        let over = since.saturating_add(new.size) > self.budget || self.log.len() > LARGE_LOG;
        if since > 0 && (over || self.lists_pass_limit()) {
            return Err(NeedsCollection { bytes: new.size });
        }
        let index = self.space.allocate(new.size, self.budget.saturating_sub(since));
        let index = index.ok_or(NeedsCollection { bytes: new.size })?;
        let memory = &self.space.memory;
        memory.store_u64(index, 0, VMGcHeader::new(new.kind, new.ty, NEW).to_u64());
        if let Some(length) = new.length {
            memory.store_u32(index, ARRAY_LENGTH_OFFSET, length);
        }
        if let Some(host) = new.host {
            memory.store_u32(index, EXTERN_ID_OFFSET, host);
            self.new_externs.push(index);
        }
        self.tally.slow_objects += 1;
        let new = at(index);
        if self.options.counting == Counting::Eager {
            self.enrol(&new, self.space.memory.header_word(&new));
        }
        Ok(new)
    }

    fn clone_ref(&mut self, r: &VMGcRef) -> VMGcRef {
        if !r.is_i31() {
            self.increment(r);
        }
        r.unchecked_copy()
    }

    fn drop_ref(&mut self, r: VMGcRef) {
        if !r.is_i31() {
            self.decrement(&r);
        }
    }

    fn expose(&mut self, r: VMGcRef) -> u32 {
        if !r.is_i31() {
            self.cover(&r);
            let word = self.space.memory.header_word(&r);
            // A new object straight from `allocate` has no count that the host could give up.
            if word & NEW == 0 || count(word) > 0 {
                self.decrement(&r);
            }
        }
        r.raw()
    }

    fn write_ref(&mut self, site: WriteSite<'_>, new: Option<&VMGcRef>) {
        let raw = new.map_or(0, VMGcRef::raw);
        match site {
            WriteSite::Object { object: to, offset } => {
                if self.is_born_dead(to) {
                    if let Some(new) = object(raw) {
                        self.cover(&new);
                    }
                } else if self.coalesces() {
                    self.log(to, offset);
                } else {
                    self.replace(self.space.memory.load_u32(to.raw(), offset), raw);
                }
                self.space.memory.store_u32(to.raw(), offset, raw);
            }
            WriteSite::Cell { cell, .. } => {
                self.replace(cell.raw(), raw);
                cell.set_raw(raw);
            }
        }
    }

    fn write_refs(&mut self, write: BulkWrite<'_>) {
        let memory = self.space.memory.clone();
        match write.to {
            RefRange::Array { array, start, length } if self.coalesces() => {
                if !self.is_new(array) {
                    self.log.log_elements(&memory, &self.space.shapes, &self.chunks, array, start, length);
                }
                store_all(&memory, write);
            }
            RefRange::Array { array, .. } if self.is_born_dead(array) => {
                match write.from {
                    BulkSource::Fill(value) => {
                        if let Some(new) = value.filter(|new| !new.is_i31()) {
                            self.cover(new);
                        }
                    }
                    BulkSource::Copy(from) => {
                        // Covering once is enough for as long as the same object comes again.
                        let mut covered = 0;
                        for raw in (0..from.len()).map(|i| from.get(&memory, i)) {
                            if raw != covered
                                && let Some(new) = object(raw)
                            {
                                self.cover(&new);
                                covered = raw;
                            }
                        }
                    }
                }
                store_all(&memory, write);
            }
            _ => copy_refs(&memory, write, |old, new| self.replace(old, new)),
        }
    }

    fn slow_path(&mut self, op: SlowOp, args: [u64; 4]) -> u64 {
        let index = args[0] as u32;
        match op {
            ENROL => self.table.push(index),
            BURY => {
                self.drain_dead();
                self.bury(index);
            }
            SUSPECT => self.candidates.push(index, &self.space),
            LOG => {
                let to = at(index);
                if !self.is_new(&to) {
                    self.log(&to, (args[1] as u32).max(REF_ARRAY_BASE));
                }
            }
            FLUSH => self.table.flush(),
            INCREMENT => self.increment(&at(index)),
            DECREMENT => self.decrement(&at(index)),
            COVER => self.cover(&at(index)),
            _ => unreachable!("slow path {op:?} with {args:?}: this collector emits none"),
        }
        0
    }

    /// Never where counting is coalesced: a collection between a log entry and the store that it is for would forget it.
    fn wants_collection(&self) -> Option<CollectionKind> {
        let most = SMALL_TABLE.max(2 * self.table.kept);
        (!self.coalesces() && self.table.entries.len() > most).then_some(CollectionKind::Major)
    }

    fn on_allocation_failure(&mut self, need: u64, attempts: u32) -> SizingDecision {
        let over = self.lists_pass_limit();
        let memory = &self.space.memory;
        let since = self.space.allocated();
        let committed = memory.committed_bytes();
        let left = memory.limit() - memory.committed();
        if need > memory.limit() - FIRST_INDEX as u64 || attempts >= MAX_ATTEMPTS {
            return SizingDecision::GiveUp;
        }
        if attempts == 0 {
            self.tried = Tried::Nothing;
        }
        if since > 0 && (since + need > self.budget || self.log.len() > LARGE_LOG || over) {
            return SizingDecision::Collect(CollectionKind::Major);
        }
        if need > self.budget {
            // Whatever the policy says.
            self.sizer.require(self.space.live + need);
        }
        // Memory ran out before the budget did: the heap is too small for what is live and the budget, or in pieces.
        let free = committed.saturating_sub(self.space.live + since);
        let in_pieces = self.space.gaps == Gaps::Roomy && free > self.space.live / 2 + self.budget + need;
        if left > 0 && !(in_pieces && since > 0) {
            let missing = need.max(self.budget.saturating_sub(since)).max(committed / 8);
            let whole_blocks = (missing + BLOCK as u64).next_multiple_of(BLOCK as u64);
            return SizingDecision::Grow(whole_blocks.min(left));
        }
        // Even if nothing was allocated since the last collection, references may have gone.
        if since > 0 || self.space.gaps == Gaps::Roomy || self.tried == Tried::Nothing {
            self.starved = true;
            self.tried = self.tried.max(Tried::Collection);
            return SizingDecision::Collect(CollectionKind::Major);
        }
        if self.tried == Tried::Collection {
            (self.starved, self.desperate) = (true, true);
            self.tried = Tried::Everything;
            return SizingDecision::Collect(CollectionKind::Major);
        }
        SizingDecision::GiveUp
    }

    fn collect(&mut self, request: Collection, roots: &mut dyn Roots, events: &mut dyn GcEvents) -> Outcome {
        self.run_collection(request, roots, events)
    }

    fn take_dead_hosts(&mut self) -> Vec<HostId> {
        std::mem::take(&mut self.dead_hosts)
    }

    fn usage(&self) -> HeapUsage {
        let space = &self.space;
        let committed = space.memory.committed_bytes();
        let large_new: u64 = space.large_new.iter().map(|index| space.size_of(*index) as u64).sum();
        // Large new objects have start bits, so they are in both.
        let live = space.live + space.allocated() - large_new;
        let waste = space.waste().min(committed - live);
        let buffers = self.dead.bytes() + self.table.buffer.bytes() + self.candidates.buffer.bytes();
        let metadata = space.starts.bytes() + self.chunks.bytes() + buffers + self.lists();
        HeapUsage { live, free: committed - live - waste, waste, metadata, committed }
    }

    fn counters(&self) -> Counters {
        let tally = &self.tally;
        let cell = |cell| self.space.memory.cell(cell);
        let freed = tally.freed_by_count + tally.freed_in_cycles;
        let mut own = vec![
            ("increments", tally.increments + cell(INCREMENTS)),
            ("decrements", tally.decrements + cell(DECREMENTS)),
            ("enrolled", self.table.enrolled()),
            ("table_peak", self.table.peak() as u64),
            ("retained", tally.retained),
            ("freed_by_count", tally.freed_by_count),
            ("dead_new_bytes", tally.dead_new_bytes),
            ("bytes_returned", tally.returned_bytes),
        ];
        match self.options.counting {
            Counting::Coalesced => own.push(("logged", self.log.logged)),
            Counting::Deferred | Counting::Eager => own.push(("read_barriers", cell(READS))),
        }
        if self.options.cycles != Cycles::None {
            own.extend([
                ("traces", tally.traces),
                ("cycle_visits", tally.visited),
                ("freed_in_cycles", tally.freed_in_cycles),
                ("bytes_in_cycles", tally.freed_in_cycles_bytes),
                ("counts_healed", tally.healed),
            ]);
        }
        if self.options.cycles == Cycles::Trial {
            own.extend([
                ("trials", tally.trials),
                ("candidates", self.candidates.seen()),
                ("candidates_filtered", self.candidates.filtered),
            ]);
        }
        Counters {
            collections: tally.collections,
            objects_allocated: self.count_objects.then(|| self.objects_allocated()),
            bytes_allocated: tally.bytes_then + self.space.allocated(),
            objects_traced: tally.retained + freed + tally.visited,
            bytes_copied: 0,
            objects_freed: self.count_objects.then(|| tally.objects_then - (tally.retained - freed)),
            bytes_freed: tally.freed_by_count_bytes + tally.freed_in_cycles_bytes + tally.dead_new_bytes,
            roots: tally.roots,
            // Increments, decrements and read barriers of compiled code are counted in programs compiled to count, and those of the
            // runtime always.
            own,
        }
    }

    fn for_each_object(&self, visit: &mut dyn FnMut(VMGcRef)) {
        self.space.for_each(visit);
    }

    fn check(&self) -> Result<(), Corruption> {
        crate::check::check(self)
    }

    fn check_edges(&self, edges: &[Edge]) -> Result<(), MissedWrite> {
        crate::check::check_edges(self, edges)
    }

    fn for_each_free_range(&self, visit: &mut dyn FnMut(Range<u32>)) {
        let mut objects = Vec::new();
        self.space.for_each(&mut |object| objects.push(object.raw()));
        objects.sort_unstable();
        let mut free = FIRST_INDEX;
        for index in objects {
            visit(free..index);
            free = index + self.space.size_of(index);
        }
        visit(free..self.space.end());
    }

    fn for_each_region(&self, visit: &mut dyn FnMut(HeapRegion)) {
        let mut spaces = Spaces::default();
        self.space.for_each_block(|block, in_use| {
            spaces.add(if in_use { RegionState::Holes } else { RegionState::Free }, [block])
        });
        let state = |index, bytes| match self.space.is_start(index) {
            _ if self.space.is_large(bytes) => RegionState::Large,
            true => RegionState::Old,
            false => RegionState::Young,
        };
        spaces.show(self, &self.space.shapes, state, visit);
    }

    fn reset(&mut self) {
        // Buffers that were emptied hold what was in them.
        let untouched = !self.table.was_flushed() && !self.candidates.were_flushed();
        let bumped_only = self.tally.rounds == 0 && self.tally.freed_by_count == 0 && untouched;
        // Before the cells that say how full they are read zero.
        self.table.buffer.wipe();
        self.dead.wipe();
        self.candidates.buffer.wipe();
        self.space.reset(bumped_only);
        // Lists may have made it shrink below that. A refusal leaves the heap as it is.
        self.space.memory.charge_lists(0);
        let _ = self.space.memory.grow_to(self.initial);
        self.table.reset();
        self.dead.clear();
        self.candidates.reset();
        self.log = Log::default();
        for list in [&mut self.new_externs, &mut self.dead_hosts, &mut self.stack, &mut self.owed, &mut self.unfreed] {
            *list = Vec::new();
        }
        self.sizer = self.first_sizer.clone();
        (self.sized_at, self.lists_then) = (0, 0);
        self.plan();
        (self.starved, self.desperate, self.tried) = (false, false, Tried::Nothing);
        self.tally = Tally::default();
        self.set_cells();
    }

    fn memory(&self) -> &HeapMemory {
        &self.space.memory
    }
}

/// A bulk write of which nothing is counted, with the system's functions where they do.
fn store_all(memory: &HeapMemory, write: BulkWrite<'_>) {
    match (write.to, write.from) {
        (RefRange::Array { array, start, length }, BulkSource::Fill(value)) => {
            let raw = value.map_or(0, VMGcRef::raw);
            memory.fill_pattern(array.raw(), REF_ARRAY_BASE + start * 4, length * 4, &raw.to_le_bytes());
        }
        (
            RefRange::Array { array, start, length },
            BulkSource::Copy(RefRange::Array { array: source, start: first, .. }),
        ) => {
            let (to, from) = (REF_ARRAY_BASE + start * 4, REF_ARRAY_BASE + first * 4);
            memory.copy_bytes((array.raw(), to), (source.raw(), from), length * 4);
        }
        _ => copy_refs(memory, write, |_, _| {}),
    }
}
