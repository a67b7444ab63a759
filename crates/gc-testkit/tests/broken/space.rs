//! Where objects are: a sorted map of those that have survived a collection, and the regions that were bumped through since.

use gc_api::{
    ARRAY_LENGTH_OFFSET, Cell, Counters, EXTERN_ID_OFFSET, FIRST_INDEX, GcKind, HeapError, HeapLimits, HeapMemory,
    HeapUsage, HostId, NewObject, Shapes, VMGcHeader, VMGcRef,
};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Larger objects are allocated apart from the bump region.
const LARGE: u64 = 2048;

pub struct Space {
    pub memory: HeapMemory,
    pub shapes: Arc<Shapes>,
    /// Objects that are known, with their sizes.
    pub objects: BTreeMap<u32, u32>,
    /// Large ones among them.
    pub large: Vec<u32>,
    /// Free ranges.
    pub gaps: Vec<Range<u32>>,
    /// First index that no gap and no object has ever covered.
    end: u32,
    region: u32,
    /// Bytes by which the region's limit is wrong.
    pub limit_error: u64,
    pub dead_hosts: Vec<HostId>,
    pub count_objects: bool,
    pub slow_objects: u64,
    pub counters: Counters,
    freed_objects: u64,
}

impl Space {
    pub fn new(memory: HeapMemory, shapes: Arc<Shapes>, limits: &HeapLimits) -> Result<Space, HeapError> {
        memory.grow_to(limits.initial_bytes)?;
        Ok(Space {
            memory,
            shapes,
            objects: BTreeMap::new(),
            large: Vec::new(),
            gaps: Vec::new(),
            end: FIRST_INDEX,
            region: 0,
            limit_error: 0,
            dead_hosts: Vec::new(),
            count_objects: limits.count_objects,
            slow_objects: 0,
            counters: Counters::default(),
            freed_objects: 0,
        })
    }

    pub fn reset(&mut self) {
        self.memory.reset();
        (self.objects, self.large, self.gaps) = Default::default();
        (self.end, self.region, self.slow_objects, self.freed_objects) = (FIRST_INDEX, 0, 0, 0);
        self.counters = Counters::default();
        self.dead_hosts.clear();
    }

    pub fn size_of(&self, index: u32) -> u32 {
        self.shapes.size_of(&self.memory, &VMGcRef::from_index(index).expect("not null")) as u32
    }

    pub fn allocate(&mut self, new: NewObject, bits: u32) -> Option<u32> {
        let index = if new.size > LARGE { self.allocate_large(new.size)? } else { self.bump(new.size as u32)? };
        self.memory.store_u64(index, 0, VMGcHeader::new(new.kind, new.ty, bits).to_u64());
        if let Some(length) = new.length {
            self.memory.store_u32(index, ARRAY_LENGTH_OFFSET, length);
        }
        if let Some(host) = new.host {
            self.memory.store_u32(index, EXTERN_ID_OFFSET, host);
        }
        self.slow_objects += 1;
        Some(index)
    }

    fn bump(&mut self, size: u32) -> Option<u32> {
        let fits = |space: &Space| space.memory.cell(Cell::BUMP) + size as u64 <= space.memory.cell(Cell::LIMIT);
        if !fits(self) {
            let gap = self.gap(size)?;
            self.adopt();
            self.region = gap.start;
            self.memory.set_cell(Cell::BUMP, gap.start as u64);
            let limit = (gap.end as u64 + self.limit_error).min(self.memory.committed());
            self.memory.set_cell(Cell::LIMIT, limit);
        }
        let index = self.memory.cell(Cell::BUMP);
        self.memory.set_cell(Cell::BUMP, index + size as u64);
        Some(index as u32)
    }

    fn allocate_large(&mut self, size: u64) -> Option<u32> {
        let size = u32::try_from(size).ok()?;
        let gap = self.gap(size)?;
        if gap.start + size < gap.end {
            self.gaps.push(gap.start + size..gap.end);
        }
        self.objects.insert(gap.start, size);
        self.large.push(gap.start);
        self.counters.bytes_allocated += size as u64;
        Some(gap.start)
    }

    /// Takes a gap of at least `size` bytes.
    fn gap(&mut self, size: u32) -> Option<Range<u32>> {
        let committed = self.memory.committed().min(u32::MAX as u64 & !7) as u32;
        if committed > self.end {
            self.gaps.push(self.end..committed);
            self.end = committed;
        }
        let at = self.gaps.iter().position(|gap| gap.end - gap.start >= size)?;
        Some(self.gaps.swap_remove(at))
    }

    /// Ends the region: its objects are known from now on.
    pub fn adopt(&mut self) {
        let end = self.memory.cell(Cell::BUMP) as u32;
        let mut index = self.region;
        while index < end && index > 0 {
            let size = self.size_of(index);
            self.objects.insert(index, size);
            self.counters.bytes_allocated += size as u64;
            index += size;
        }
        self.region = 0;
        self.memory.set_cell(Cell::BUMP, 0);
        self.memory.set_cell(Cell::LIMIT, 0);
    }

    /// What is not in an object is free.
    pub fn find_gaps(&mut self) {
        self.gaps.clear();
        let mut at = FIRST_INDEX;
        for (index, size) in &self.objects {
            if *index > at {
                self.gaps.push(at..*index);
            }
            at = index + size;
        }
        if self.end > at {
            self.gaps.push(at..self.end);
        }
    }

    pub fn free(&mut self, index: u32) {
        let size = self.objects.remove(&index).expect("an object is freed once");
        let r = VMGcRef::from_index(index).expect("not null");
        if self.memory.header(&r).kind() == GcKind::EXTERN {
            self.dead_hosts.push(self.memory.load_u32(index, EXTERN_ID_OFFSET));
        }
        self.freed_objects += 1;
        self.counters.bytes_freed += size as u64;
    }

    pub fn for_each(&self, visit: &mut dyn FnMut(VMGcRef)) {
        self.objects.keys().for_each(|index| visit(VMGcRef::from_index(*index).expect("not null")));
        let mut index = self.region;
        while index > 0 && (index as u64) < self.memory.cell(Cell::BUMP) {
            let size = self.size_of(index);
            visit(VMGcRef::from_index(index).expect("not null"));
            index += size;
        }
    }

    pub fn for_each_free_range(&self, visit: &mut dyn FnMut(Range<u32>)) {
        self.gaps.iter().for_each(|gap| visit(gap.clone()));
        if self.region > 0 {
            let [bump, limit] = [Cell::BUMP, Cell::LIMIT].map(|cell| self.memory.cell(cell) as u32);
            visit(bump..limit);
        }
    }

    fn in_region(&self) -> u64 {
        self.memory.cell(Cell::BUMP).saturating_sub(self.region as u64)
    }

    pub fn usage(&self) -> HeapUsage {
        let committed = self.memory.committed_bytes();
        let live = self.objects.values().map(|size| *size as u64).sum::<u64>() + self.in_region();
        HeapUsage { live, free: committed - live, waste: 0, metadata: 0, committed }
    }

    pub fn counters(&self) -> Counters {
        let objects = self.memory.cell(Cell::OBJECTS) + self.slow_objects;
        Counters {
            objects_allocated: self.count_objects.then_some(objects),
            objects_freed: Some(self.freed_objects),
            bytes_allocated: self.counters.bytes_allocated + self.in_region(),
            ..self.counters.clone()
        }
    }

    /// Bytes to grow by for an allocation of `need`; `None` at the limit.
    pub fn growth(&self, need: u64) -> Option<u64> {
        let left = self.memory.limit() - self.memory.committed();
        (need <= left).then(|| need.max(self.memory.committed_bytes() / 2).max(64 << 10).min(left))
    }
}
