//! The heap, in the order in which things happen: allocation, the host's barriers, slow paths, the freeing of the dead,
//! and collections.

use crate::compiler::{BURY, DEAD_LIMIT, DEAD_NEXT, ENROL, TABLE_LIMIT, TABLE_NEXT};
use crate::counts::{ENROLLED, MARK, NEW, count, decrement, incremented, is_dead, object};
use crate::space::{BLOCK, Gaps, Space};
use gc_api::{
    ARRAY_LENGTH_OFFSET, BulkSource, BulkWrite, Cell, Collection, CollectionKind, Corruption, Counters,
    EXTERN_ID_OFFSET, Edge, FIRST_INDEX, GcEvents, GcHeap, GcKind, HeapError, HeapLimits, HeapMemory, HeapUsage,
    HostId, LogBuffer, MissedWrite, NeedsCollection, NewObject, Outcome, Phase, REF_ARRAY_BASE, RefRange, RootKind,
    Roots, Shapes, SizingDecision, SlowOp, VMGcHeader, VMGcRef, WriteSite, copy_refs,
};
use std::ops::Range;
use std::sync::Arc;

/// Entries of each of the buffers that compiled code pushes onto.
const BUFFER: u32 = 4096;
/// The activations table never asks for a collection below so many entries.
const SMALL_TABLE: usize = 64 << 10;
/// Bytes to allocate between two collections for each object that the last one found on the stack: a deep stack is
/// walked whole each time, so it is to be walked less often.
const BYTES_PER_ROOT: u64 = 32;
/// Failures of one allocation after which nothing more is tried. The policy ends before; this is a backstop.
const MAX_ATTEMPTS: u32 = 16;

/// The heap of one store.
pub struct DrcHeap {
    pub space: Space,
    pub table: ActivationsTable,
    /// Objects that compiled code found dead, not freed yet.
    pub dead: LogBuffer,
    /// Host values' objects that were allocated since the last collection.
    new_externs: Vec<u32>,
    dead_hosts: Vec<HostId>,
    /// Work list of freeing and of retaining; empty in between.
    stack: Vec<u32>,
    /// Bytes to allocate between two collections, from the options.
    young: u64,
    /// The same, in this round.
    budget: u64,
    /// The round that ends found no room before its budget was used up: the next one is to use any gap.
    starved: bool,
    /// A collection was asked for because of the allocation that fails.
    asked: bool,
    count_objects: bool,
    tally: Tally,
}

/// The objects that may be on the stack. Their [`ENROLLED`] bits make it a set.
pub struct ActivationsTable {
    /// The newest entries, as compiled code pushes them.
    pub buffer: LogBuffer,
    /// The other entries.
    pub entries: Vec<u32>,
    /// Entries that the last collection left.
    kept: usize,
    peak: usize,
    /// Entries that were moved out of the buffer.
    enrolled: u64,
}

impl ActivationsTable {
    /// Moves the buffer's entries to the others.
    fn flush(&mut self) {
        self.entries.extend(self.buffer.iter());
        self.enrolled += self.buffer.len() as u64;
        self.buffer.clear();
        self.peak = self.peak.max(self.entries.len());
    }

    /// Adds an object whose header says that it is enrolled.
    fn push(&mut self, object: u32) {
        if !self.buffer.push(object) {
            self.flush();
            let pushed = self.buffer.push(object);
            debug_assert!(pushed, "the buffer was just emptied");
        }
    }

    fn len(&self) -> usize {
        self.entries.len() + self.buffer.len() as usize
    }
}

/// Work that was done.
#[derive(Default)]
struct Tally {
    collections: u64,
    stack_roots: u64,
    /// Objects made by `allocate`.
    slow_objects: u64,
    /// Objects that had been allocated at the last collection.
    objects_then: u64,
    /// Bytes that had been allocated at the last collection.
    bytes_then: u64,
    increments: u64,
    decrements: u64,
    retained: u64,
    retained_bytes: u64,
    freed_by_count: u64,
    freed_by_count_bytes: u64,
    dead_new_bytes: u64,
}

impl DrcHeap {
    /// An empty heap in `memory`.
    ///
    /// # Errors
    /// When the first memory, the side table or the buffers cannot be had.
    pub fn new(memory: HeapMemory, shapes: Arc<Shapes>, limits: &HeapLimits, young: u64) -> Result<DrcHeap, HeapError> {
        let initial = limits.initial_bytes.min(memory.limit_bytes());
        memory.grow(initial.saturating_sub(memory.committed_bytes()))?;
        let buffer = memory.log_buffer(BUFFER, TABLE_NEXT, TABLE_LIMIT)?;
        let dead = memory.log_buffer(BUFFER, DEAD_NEXT, DEAD_LIMIT)?;
        Ok(DrcHeap {
            space: Space::new(memory, shapes)?,
            table: ActivationsTable { buffer, entries: Vec::new(), kept: 0, peak: 0, enrolled: 0 },
            dead,
            new_externs: Vec::new(),
            dead_hosts: Vec::new(),
            stack: Vec::new(),
            young,
            budget: young,
            starved: false,
            asked: false,
            count_objects: limits.count_objects,
            tally: Tally::default(),
        })
    }

    // Counting.

    /// One reference more to `r`. A new object that is counted for the first time is enrolled, so that the collection
    /// finds it.
    fn increment(&mut self, r: &VMGcRef) {
        let word = self.space.memory.header_word(r);
        let first = word & (NEW | ENROLLED) == NEW;
        self.tally.increments += 1;
        self.space.memory.set_header_word(r, incremented(word) | if first { ENROLLED } else { 0 });
        if first {
            self.table.push(r.raw());
        }
    }

    /// One reference less to `r`.
    fn decrement(&mut self, r: &VMGcRef) {
        self.tally.decrements += 1;
        if decrement(&self.space.memory, r) && !self.dead.push(r.raw()) {
            self.drain_dead();
            self.free(r.raw());
        }
    }

    /// `r` is about to be where it is not counted: on the stack, or in a new object.
    fn cover(&mut self, r: &VMGcRef) {
        let word = self.space.memory.header_word(r);
        if word & (NEW | ENROLLED) == 0 {
            self.space.memory.set_header_word(r, word | ENROLLED);
            self.table.push(r.raw());
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

    // Freeing.

    /// Frees the objects that were found dead.
    fn drain_dead(&mut self) {
        if self.dead.is_empty() {
            return;
        }
        // What dies with them goes to the work list, not to this buffer.
        let dead: Vec<u32> = self.dead.iter().collect();
        self.dead.clear();
        dead.into_iter().for_each(|object| self.free(object));
    }

    /// Frees a dead object, and all that die with it, without recursion.
    fn free(&mut self, dead: u32) {
        let DrcHeap { space, stack, tally, dead_hosts, .. } = self;
        stack.push(dead);
        while let Some(index) = stack.pop() {
            let r = VMGcRef::from_index(index).expect("no object is at 0");
            if space.memory.header(&r).kind() == GcKind::EXTERN {
                dead_hosts.push(space.memory.load_u32(index, EXTERN_ID_OFFSET));
            }
            space.shapes.scan(&space.memory, &r, |offset| {
                if let Some(child) = object(space.memory.load_u32(index, offset)) {
                    tally.decrements += 1;
                    if decrement(&space.memory, &child) {
                        stack.push(child.raw());
                    }
                }
            });
            let size = space.size_of(index);
            space.release(index, size);
            tally.freed_by_count += 1;
            tally.freed_by_count_bytes += size as u64;
        }
    }

    // Collecting.

    /// Marks what is on the stack; gives each object once.
    fn visit_stack(&mut self, roots: &mut dyn Roots) -> Vec<u32> {
        let mut precise = Vec::with_capacity(self.table.kept);
        let memory = &self.space.memory;
        roots.visit(RootKind::Stack, &mut |slot| {
            self.tally.stack_roots += 1;
            if let Some(r) = slot.get().filter(|r| !r.is_i31()) {
                let word = memory.header_word(&r);
                if word & MARK == 0 {
                    memory.set_header_word(&r, word | MARK);
                    precise.push(r.raw());
                }
            }
        });
        precise
    }

    /// Retains the new objects that are on the stack, or enrolled and counted.
    fn retain_survivors(&mut self, precise: &[u32]) {
        precise.iter().for_each(|index| self.retain_if_new(*index));
        let entries = std::mem::take(&mut self.table.entries);
        for index in &entries {
            let r = VMGcRef::from_index(*index).expect("no object is at 0");
            if count(self.space.memory.header_word(&r)) > 0 {
                self.retain_if_new(*index);
            }
        }
        self.table.entries = entries;
    }

    /// Makes a new object old, with the new objects that it refers to, and counts their fields.
    fn retain_if_new(&mut self, index: u32) {
        let DrcHeap { space, stack, tally, .. } = self;
        let r = VMGcRef::from_index(index).expect("no object is at 0");
        let word = space.memory.header_word(&r);
        if word & NEW == 0 {
            return;
        }
        space.memory.set_header_word(&r, word & !NEW);
        stack.push(index);
        while let Some(index) = stack.pop() {
            let r = VMGcRef::from_index(index).expect("no object is at 0");
            let size = space.size_of(index);
            if !space.is_start(index) {
                space.admit(index, size);
            }
            tally.retained += 1;
            tally.retained_bytes += size as u64;
            space.shapes.scan(&space.memory, &r, |offset| {
                if let Some(child) = object(space.memory.load_u32(index, offset)) {
                    tally.increments += 1;
                    let word = space.memory.header_word(&child);
                    space.memory.set_header_word(&child, incremented(word) & !NEW);
                    if word & NEW != 0 {
                        stack.push(child.raw());
                    }
                }
            });
        }
    }

    /// Replaces the activations table by what is on the stack, and frees what only the old one kept alive. After
    /// [`retain_survivors`](Self::retain_survivors): an old object may be referred to by nothing but a new one that
    /// survives, whose fields were not counted until then.
    fn replace_table(&mut self, precise: Vec<u32>) {
        for index in std::mem::take(&mut self.table.entries) {
            let r = VMGcRef::from_index(index).expect("no object is at 0");
            let word = self.space.memory.header_word(&r);
            // A marked object stays enrolled; one that is still new was not retained.
            if word & (MARK | NEW) == 0 {
                self.space.memory.set_header_word(&r, word & !ENROLLED);
                if is_dead(word & !ENROLLED) {
                    self.free(index);
                }
            }
        }
        for index in &precise {
            let r = VMGcRef::from_index(*index).expect("no object is at 0");
            let word = self.space.memory.header_word(&r);
            self.space.memory.set_header_word(&r, word & !MARK | ENROLLED);
        }
        self.table.kept = precise.len();
        self.table.peak = self.table.peak.max(precise.len());
        self.table.entries = precise;
    }

    /// New objects that were not retained are dead. Only those that something else knows of are looked at.
    fn forget_dead_new(&mut self) {
        for index in std::mem::take(&mut self.new_externs) {
            let r = VMGcRef::from_index(index).expect("no object is at 0");
            if self.is_new(&r) {
                self.dead_hosts.push(self.space.memory.load_u32(index, EXTERN_ID_OFFSET));
            }
        }
        for index in std::mem::take(&mut self.space.large_new) {
            let r = VMGcRef::from_index(index).expect("no object is at 0");
            if self.is_new(&r) {
                let size = self.space.size_of(index);
                self.space.release(index, size);
            }
        }
    }

    fn objects_allocated(&self) -> u64 {
        self.space.memory.cell(Cell::OBJECTS) + self.tally.slow_objects
    }
}

impl GcHeap for DrcHeap {
    fn allocate(&mut self, new: NewObject) -> Result<VMGcRef, NeedsCollection> {
        self.drain_dead();
        let since = self.space.allocated();
        if since > 0 && since.saturating_add(new.size) > self.budget {
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
        Ok(VMGcRef::from_index(index).expect("no object is at 0"))
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
                if !self.is_new(to) {
                    self.replace(self.space.memory.load_u32(to.raw(), offset), raw);
                } else if let Some(new) = object(raw) {
                    self.cover(&new);
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
            RefRange::Array { array, start, length } if self.is_new(array) => {
                // Covering once is enough for as long as the same object comes again.
                let mut covered = 0;
                let mut cover = |raw| {
                    if raw != covered
                        && let Some(new) = object(raw)
                    {
                        self.cover(&new);
                        covered = raw;
                    }
                };
                match write.from {
                    BulkSource::Fill(value) => {
                        let raw = value.map_or(0, VMGcRef::raw);
                        cover(raw);
                        let offset = REF_ARRAY_BASE + start * 4;
                        memory.fill_pattern(array.raw(), offset, length * 4, &raw.to_le_bytes());
                    }
                    BulkSource::Copy(from) => {
                        (0..from.len()).for_each(|i| cover(from.get(&memory, i)));
                        match from {
                            RefRange::Array { array: source, start: first, .. } => {
                                let (to, from) = (REF_ARRAY_BASE + start * 4, REF_ARRAY_BASE + first * 4);
                                memory.copy_bytes((array.raw(), to), (source.raw(), from), length * 4);
                            }
                            RefRange::Cells { .. } => copy_refs(&memory, write, |_, _| {}),
                        }
                    }
                }
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
                self.free(index);
            }
            _ => unreachable!("slow path {op:?} with {args:?}: this collector emits none"),
        }
        0
    }

    fn wants_collection(&self) -> Option<CollectionKind> {
        let most = SMALL_TABLE.max(2 * self.table.kept);
        (self.table.entries.len() > most).then_some(CollectionKind::Major)
    }

    fn on_allocation_failure(&mut self, need: u64, attempts: u32) -> SizingDecision {
        let memory = &self.space.memory;
        let since = self.space.allocated();
        let committed = memory.committed_bytes();
        let left = memory.limit() - memory.committed();
        if need > memory.limit_bytes() || attempts >= MAX_ATTEMPTS {
            return SizingDecision::GiveUp;
        }
        if attempts == 0 {
            self.asked = false;
        }
        if since > 0 && since + need > self.budget {
            return SizingDecision::Collect;
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
        if since > 0 || self.space.gaps == Gaps::Roomy || !self.asked {
            self.starved = true;
            self.asked = true;
            return SizingDecision::Collect;
        }
        SizingDecision::GiveUp
    }

    fn collect(&mut self, _: Collection, roots: &mut dyn Roots, events: &mut dyn GcEvents) -> Outcome {
        events.phase(Phase::Stop);
        let allocated = self.space.allocated();
        let retained_before = self.tally.retained_bytes;
        self.space.close();
        self.drain_dead();
        self.table.flush();
        events.phase(Phase::Roots);
        let precise = self.visit_stack(roots);
        events.phase(Phase::Trace);
        self.retain_survivors(&precise);
        events.phase(Phase::Reclaim);
        self.replace_table(precise);
        self.forget_dead_new();
        self.space.restart(if self.starved { Gaps::Any } else { Gaps::Roomy });
        events.phase(Phase::Resume);
        self.starved = false;
        self.budget = self.young.max(BYTES_PER_ROOT * self.table.kept as u64);
        self.tally.collections += 1;
        self.tally.dead_new_bytes += allocated - (self.tally.retained_bytes - retained_before);
        self.tally.bytes_then += allocated;
        self.tally.objects_then = self.objects_allocated();
        Outcome::Complete
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
        let lists = [&self.table.entries, &self.stack, &self.new_externs, &self.dead_hosts];
        let lists: usize = lists.iter().map(|list| list.capacity() * 4).sum();
        let metadata = space.metadata() + lists as u64 + 2 * BUFFER as u64 * 4;
        HeapUsage { live, free: committed - live - waste, waste, metadata, committed }
    }

    fn counters(&self) -> Counters {
        let tally = &self.tally;
        let old_objects = tally.retained - tally.freed_by_count;
        let mut roots = [0; 6];
        roots[RootKind::Stack as usize] = tally.stack_roots;
        Counters {
            collections: tally.collections,
            objects_allocated: self.count_objects.then(|| self.objects_allocated()),
            bytes_allocated: tally.bytes_then + self.space.allocated(),
            objects_traced: tally.retained + tally.freed_by_count,
            bytes_copied: 0,
            objects_freed: self.count_objects.then(|| tally.objects_then - old_objects),
            bytes_freed: tally.freed_by_count_bytes + tally.dead_new_bytes,
            roots,
            // Compiled code counts references without counting that it does: these are the runtime's alone.
            own: vec![
                ("runtime_increments", tally.increments),
                ("runtime_decrements", tally.decrements),
                ("enrolled", self.table.enrolled + self.table.buffer.len() as u64),
                ("retained", tally.retained),
                ("freed_by_count", tally.freed_by_count),
                ("dead_new_bytes", tally.dead_new_bytes),
                ("table_peak", self.table.peak.max(self.table.len()) as u64),
            ],
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

    fn reset(&mut self) {
        let tally = &self.tally;
        let bumped_only = tally.collections == 0 && tally.freed_by_count == 0 && self.table.enrolled == 0;
        // Before the cells that say how full they are read zero.
        self.table.buffer.wipe();
        self.dead.wipe();
        self.space.reset(bumped_only);
        self.table.buffer.clear();
        self.table.entries = Vec::new();
        (self.table.kept, self.table.peak, self.table.enrolled) = (0, 0, 0);
        self.dead.clear();
        self.new_externs = Vec::new();
        self.dead_hosts = Vec::new();
        self.stack = Vec::new();
        self.budget = self.young;
        self.starved = false;
        self.asked = false;
        self.tally = Tally::default();
    }

    fn memory(&self) -> &HeapMemory {
        &self.space.memory
    }
}
