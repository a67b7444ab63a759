//! Bulk copies and fills, and element segments.

use super::{Cell, ELEMENT, Run};
use crate::failure::Checked;
use crate::machine::{SEGMENT_LENGTH, SEGMENTS, TABLE_LENGTHS};
use crate::script::Slot;
use crate::shadow::{NodeId, Val, What};
use crate::types::{Type, named, types};
use gc_api::{BulkSource, BulkWrite, CellKind, GcKind, NewObject, REF_ARRAY_BASE, RefCell32, RefRange, VMGcRef};

/// An array on the stack.
struct Array {
    id: NodeId,
    r: VMGcRef,
    ty: &'static Type,
    length: u32,
}

impl Array {
    fn range(&self, start: u32, length: u32) -> RefRange<'_> {
        RefRange::Array { array: &self.r, start, length }
    }
}

fn cells(kind: CellKind, cells: &[RefCell32]) -> RefRange<'_> {
    RefRange::Cells { kind, cells }
}

/// `at` and `count` so that they lie in `0..length`.
fn clamp(at: u32, count: u32, length: u32) -> (u32, u32) {
    let at = at % (length + 1);
    (at, count.min(length - at))
}

impl Run<'_> {
    fn array(&self, slot: Slot) -> Option<Array> {
        let Val::Node(id) = self.val(slot) else { return None };
        let node = self.shadow.node(id);
        let ty = node.what.ty().filter(|ty| ty.is_array())?;
        Some(Array { id, r: VMGcRef::from_raw(self.raw(slot))?, ty, length: node.length })
    }

    fn write_refs(&mut self, to: RefRange<'_>, from: BulkSource<'_>, initializing: bool) {
        self.machine.heap.write_refs(BulkWrite { to, from, initializing });
        self.machine.drop_dead_hosts();
    }

    /// All elements of a new array become the reference `raw`.
    pub(super) fn fill_new(&mut self, array: &VMGcRef, length: u32, raw: u32) {
        if length == 0 {
            return;
        }
        if self.machine.runtime.compiler().needs().bulk_init && raw != 0 {
            let value = VMGcRef::from_raw(raw);
            let to = RefRange::Array { array, start: 0, length };
            return self.write_refs(to, BulkSource::Fill(value.as_ref()), true);
        }
        self.machine.memory.fill_pattern(array.raw(), REF_ARRAY_BASE, length * 4, &raw.to_le_bytes());
    }

    // Arrays.

    pub(super) fn array_copy(&mut self, to: Slot, at: u32, source: Slot, from: u32, count: u32) -> Checked<()> {
        let (Some(to), Some(source)) = (self.array(to), self.array(source)) else { return Ok(()) };
        if !std::ptr::eq(to.ty, source.ty) {
            return Ok(());
        }
        let (from, count) = clamp(from, count, source.length);
        let (at, count) = clamp(at, count, to.length);
        let refs = to.ty.element_ref().is_some();
        if refs && self.machine.runtime.compiler().needs().bulk_write {
            self.write_refs(to.range(at, count), BulkSource::Copy(source.range(from, count)), false);
        } else if count > 0 {
            let size = to.ty.slot(0).ty.size();
            let (to_offset, from_offset) = (to.ty.slot(at).offset, to.ty.slot(from).offset);
            let memory = &self.machine.memory;
            memory.copy_bytes((to.r.raw(), to_offset), (source.r.raw(), from_offset), count * size);
        }
        let size = if refs { 0 } else { to.ty.slot(0).ty.size() as usize };
        let [at, from, count] = [at, from, count].map(|n| n as usize);
        let node = self.shadow.node(source.id);
        let bytes = node.data.get(from * size..(from + count) * size).unwrap_or_default().to_vec();
        let vals = if refs { node.refs[from..from + count].to_vec() } else { Vec::new() };
        let node = self.shadow.node_mut(to.id);
        node.data[at * size..][..bytes.len()].copy_from_slice(&bytes);
        node.refs[if refs { at } else { 0 }..][..vals.len()].copy_from_slice(&vals);
        Ok(())
    }

    pub(super) fn array_fill(&mut self, array: Slot, at: u32, value: Slot, count: u32) -> Checked<()> {
        let Some(array) = self.array(array) else { return Ok(()) };
        let (at, count) = clamp(at, count, array.length);
        let val = self.val(value);
        let Some(element) = array.ty.element_ref() else {
            // Numbers take the bits of whatever is there.
            let size = array.ty.slot(0).ty.size();
            let byte = self.raw(value) as u8;
            self.machine.memory.fill_bytes(array.r.raw(), array.ty.slot(at).offset, count * size, byte);
            self.shadow.node_mut(array.id).data[(at * size) as usize..][..(count * size) as usize].fill(byte);
            return Ok(());
        };
        if count == 0 || !self.shadow.fits(element, val) {
            return Ok(());
        }
        let raw = self.raw(value);
        if self.machine.runtime.compiler().needs().bulk_write {
            let value = VMGcRef::from_raw(raw);
            self.write_refs(array.range(at, count), BulkSource::Fill(value.as_ref()), false);
        } else {
            let memory = &self.machine.memory;
            memory.fill_pattern(array.r.raw(), array.ty.slot(at).offset, count * 4, &raw.to_le_bytes());
        }
        self.shadow.node_mut(array.id).refs[at as usize..][..count as usize].fill(val);
        Ok(())
    }

    /// The part of a segment that exists, and its values.
    fn segment_range(&self, segment: u8, from: u32, count: u32) -> (usize, std::ops::Range<usize>) {
        let segment = segment as usize % SEGMENTS;
        let (from, count) = clamp(from, count, self.shadow.roots.segments[segment].len() as u32);
        (segment, from as usize..(from + count) as usize)
    }

    pub(super) fn array_init(&mut self, array: Slot, at: u32, segment: u8, from: u32, count: u32) -> Checked<()> {
        let Some(array) = self.array(array).filter(|array| array.ty.element_ref() == Some(ELEMENT)) else {
            return Ok(());
        };
        let (at, count) = clamp(at, count, array.length);
        let (segment, range) = self.segment_range(segment, from, count);
        if range.is_empty() {
            return Ok(());
        }
        let source = std::mem::take(&mut self.machine.roots.segments[segment]);
        let from = cells(CellKind::Segment, &source[range.clone()]);
        self.write_refs(array.range(at, range.len() as u32), BulkSource::Copy(from), false);
        self.machine.roots.segments[segment] = source;
        let vals = self.shadow.roots.segments[segment][range].to_vec();
        self.shadow.node_mut(array.id).refs[at as usize..][..vals.len()].copy_from_slice(&vals);
        Ok(())
    }

    /// `array.new_elem`: the object goes to the stack as it was allocated.
    pub(super) fn new_elem(&mut self, to: Slot, segment: u8, from: u32, count: u32) -> Checked<()> {
        let (segment, range) = self.segment_range(segment, from, count);
        let place = named("refs").expect("it exists");
        let (ty, length) = (&types()[place as usize], range.len() as u32);
        let size = ty.size(length);
        let object = NewObject { kind: GcKind::ARRAY, ty: ty.index, size, length: Some(length), host: None };
        let Some(array) = self.machine.allocate(object)? else { return self.check_give_up() };
        if length > 0 {
            let source = std::mem::take(&mut self.machine.roots.segments[segment]);
            let from = cells(CellKind::Segment, &source[range.clone()]);
            let to = RefRange::Array { array: &array, start: 0, length };
            self.write_refs(to, BulkSource::Copy(from), true);
            self.machine.roots.segments[segment] = source;
        }
        let id = self.shadow.add(What::Object(place), length, array.raw());
        self.count(size);
        self.shadow.node_mut(id).refs = self.shadow.roots.segments[segment][range].to_vec();
        self.put_new(to, id, array.raw());
        Ok(())
    }

    // Tables.

    /// A table, and a range in it.
    pub(super) fn table_range(&self, table: u8, at: u32, count: u32) -> (usize, usize, usize) {
        let table = table as usize % TABLE_LENGTHS.len();
        let length = TABLE_LENGTHS[table];
        let at = at as usize % length;
        (table, at, (count as usize).min(length - at))
    }

    pub(super) fn table_fill(&mut self, table: usize, at: usize, val: Val, count: usize) -> Checked<()> {
        let value = VMGcRef::from_raw(self.shadow.raw(val));
        let elements = std::mem::take(&mut self.machine.roots.tables[table]);
        let to = cells(CellKind::Table, &elements[at..at + count]);
        self.write_refs(to, BulkSource::Fill(value.as_ref()), false);
        self.machine.roots.tables[table] = elements;
        self.shadow.roots.tables[table][at..at + count].fill(val);
        Ok(())
    }

    pub(super) fn table_copy(&mut self, table: u8, at: u32, source: u8, from: u32, count: u32) -> Checked<()> {
        let (source, from, count) = self.table_range(source, from, count);
        let (table, at, count) = self.table_range(table, at, count as u32);
        let tables = std::mem::take(&mut self.machine.roots.tables);
        let to = cells(CellKind::Table, &tables[table][at..at + count]);
        let source_cells = cells(CellKind::Table, &tables[source][from..from + count]);
        self.write_refs(to, BulkSource::Copy(source_cells), false);
        self.machine.roots.tables = tables;
        let vals = self.shadow.roots.tables[source][from..from + count].to_vec();
        self.shadow.roots.tables[table][at..at + count].copy_from_slice(&vals);
        Ok(())
    }

    pub(super) fn table_init(&mut self, table: u8, at: u32, segment: u8, from: u32, count: u32) -> Checked<()> {
        let (table, at, count) = self.table_range(table, at, count);
        let (segment, range) = self.segment_range(segment, from, count as u32);
        if range.is_empty() {
            return Ok(());
        }
        let roots = &mut self.machine.roots;
        let (tables, segments) = (std::mem::take(&mut roots.tables), std::mem::take(&mut roots.segments));
        let to = cells(CellKind::Table, &tables[table][at..at + range.len()]);
        let source = cells(CellKind::Segment, &segments[segment][range.clone()]);
        self.write_refs(to, BulkSource::Copy(source), false);
        (self.machine.roots.tables, self.machine.roots.segments) = (tables, segments);
        let vals = self.shadow.roots.segments[segment][range].to_vec();
        self.shadow.roots.tables[table][at..at + vals.len()].copy_from_slice(&vals);
        Ok(())
    }

    // Segments.

    /// A segment's elements are evaluated, one after the other.
    pub(super) fn new_segment(&mut self, segment: u8, first: Slot, count: u32) -> Checked<()> {
        let segment = segment as usize % SEGMENTS;
        self.drop_segment(segment)?;
        let count = count as usize % (SEGMENT_LENGTH + 1);
        self.machine.roots.segments[segment] = (0..count).map(|_| RefCell32::null()).collect();
        self.shadow.roots.segments[segment] = vec![Val::Null; count];
        for i in 0..count {
            let val = self.val(Slot(first.0.wrapping_add(i as u8)));
            if self.shadow.fits(ELEMENT, val) {
                self.write_cell(CellKind::Segment, Cell::Segment(segment, i), val)?;
            }
        }
        Ok(())
    }

    pub(super) fn drop_segment(&mut self, segment: usize) -> Checked<()> {
        let dropped = std::mem::take(&mut self.machine.roots.segments[segment]);
        self.shadow.roots.segments[segment].clear();
        let to = cells(CellKind::Segment, &dropped);
        self.write_refs(to, BulkSource::Fill(None), false);
        Ok(())
    }

    /// A reference to a new object goes to the stack.
    pub(super) fn put_new(&mut self, to: Slot, id: NodeId, raw: u32) {
        let at = self.position(to);
        self.shadow.roots.stack[at] = Val::Node(id);
        self.machine.roots.stack[at].set(raw);
    }
}
