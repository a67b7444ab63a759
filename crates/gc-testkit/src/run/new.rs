//! Allocation: by compiled code and by the host.

use super::{HostState, MAX_WORK, Run, TAG};
use crate::clif::{ArrayNew, Site};
use crate::failure::{Check, Checked, require};
use crate::script::{Slot, Way};
use crate::shadow::{NodeId, Val, What};
use crate::types::{FieldTy, RefTy, Type, types};
use gc_api::{GcKind, HostId, NewObject, Reclaims, VMGcRef, WriteSite};

impl Run<'_> {
    /// Of `count` objects, as many as one operation may make.
    pub(super) fn affordable(&self, ty: u8, length: u32, count: u32) -> u32 {
        let size = types()[ty as usize % types().len()].size(length).max(16);
        count.min((MAX_WORK.saturating_sub(self.allocated.1) / size) as u32)
    }

    /// A new object, its references from `first` on; whether it was made.
    pub(super) fn new_object(&mut self, to: Slot, ty: u8, length: u32, first: Slot, way: Way) -> Checked<Option<()>> {
        self.resync()?;
        let place = ty % types().len() as u8;
        let ty = &types()[place as usize];
        let length = if ty.is_array() { length } else { 0 };
        if ty.size(length) > MAX_WORK.saturating_sub(self.allocated.1) || self.codes.work >= self.until {
            return Ok(None);
        }
        let Some(vals) = self.initial(ty, length, first) else { return Ok(None) };
        let made = match (way, ty.is_array()) {
            (Way::Host, _) => self.host_new(ty, length, &vals)?,
            (_, false) => {
                let refs = ty.fields().iter().filter_map(|f| if let FieldTy::Ref(r) = f.ty { Some(r) } else { None });
                // Knowing each of hundreds of values would make a function for each combination.
                let way = if vals.len() > 8 { Way::Inline } else { way };
                let known = refs.zip(&vals).map(|(r, val)| self.known(way, r, *val)).collect();
                self.call(Site::New { ty: place, known }, &self.raws(&vals))?
            }
            (_, true) => self.code_new_array(place, length, &vals, way)?,
        };
        let Some(raw) = made else {
            self.check_give_up()?;
            return Ok(None);
        };
        let id = self.shadow.add(What::Object(place), length, raw);
        self.count(ty.size(length));
        self.shadow.node_mut(id).refs = match vals.len() {
            0 => Vec::new(),
            n => (0..ty.refs(length)).map(|i| vals[i % n]).collect(),
        };
        self.write_data(id, ty, length)?;
        // The index is what the allocation has said; where the operands are now, the walk finds out.
        self.put_new(to, id, raw);
        Ok(Some(()))
    }

    pub(super) fn count(&mut self, bytes: u64) {
        self.codes.work += 1;
        self.allocated.0 += 1;
        self.allocated.1 += bytes;
    }

    pub(super) fn raws(&self, vals: &[Val]) -> Vec<u64> {
        vals.iter().map(|val| self.shadow.raw(*val) as u64).collect()
    }

    /// What a new object's references are: one for each field; for each of a few elements, or one for all. `None` when a
    /// value does not fit where none can be missing.
    pub(super) fn initial(&self, ty: &Type, length: u32, first: Slot) -> Option<Vec<Val>> {
        let one = |r: RefTy, i: usize| {
            let val = self.val(Slot(first.0.wrapping_add(i as u8)));
            if self.shadow.fits(r, val) { Some(val) } else { (r != RefTy::NonNull).then_some(Val::Null) }
        };
        match ty.element_ref() {
            Some(r) => (0..if length <= 8 { length as usize } else { 1 }).map(|i| one(r, i)).collect(),
            None => {
                let refs = ty.fields().iter().filter_map(|f| if let FieldTy::Ref(r) = f.ty { Some(r) } else { None });
                refs.enumerate().map(|(i, r)| one(r, i)).collect()
            }
        }
    }

    pub(super) fn code_new_array(&mut self, place: u8, length: u32, vals: &[Val], way: Way) -> Checked<Option<u32>> {
        let element = types()[place as usize].element_ref();
        let known = |run: &Self| vals.iter().map(|v| run.known(way, element.expect("has values"), *v)).collect();
        let raws = self.raws(vals);
        let (how, known) = match length {
            1..=8 if element.is_some() => (ArrayNew::Fixed(length), known(self)),
            9..=16 if element.is_some() => (ArrayNew::Constant(length), known(self)),
            0..=16 => (ArrayNew::Constant(length), Vec::new()),
            _ => (ArrayNew::Dynamic, Vec::new()),
        };
        if how != ArrayNew::Dynamic {
            return self.call(Site::NewArray { ty: place, how, known }, if element.is_some() { &raws } else { &[] });
        }
        // The value waits on the stack, and may move.
        let waiting = raws.first().copied().unwrap_or(0) as u32;
        self.machine.roots.stack.push(std::cell::Cell::new(waiting));
        let made = self.call(Site::NewArray { ty: place, how, known }, &[length as u64]);
        let waiting = self.machine.roots.stack.pop().expect("it was just pushed").get();
        if let (Ok(Some(raw)), Some(_)) = (&made, element) {
            let array = VMGcRef::from_raw(*raw).expect("an object");
            self.fill_new(&array, length, waiting);
        }
        made
    }

    /// The host allocates, initialises, and puts the object on the stack.
    pub(super) fn host_new(&mut self, ty: &Type, length: u32, vals: &[Val]) -> Checked<Option<u32>> {
        let array = ty.is_array().then_some(length);
        let object = NewObject { kind: ty.kind, ty: ty.index, size: ty.size(length), length: array, host: None };
        // The host has handles to what it stores.
        let from = self.machine.roots.stack.len();
        for val in vals {
            let raw = self.shadow.raw(*val);
            self.machine.roots.stack.push(std::cell::Cell::new(raw));
        }
        let made = self.machine.allocate(object);
        let waiting: Vec<u32> = self.machine.roots.stack.drain(from..).map(|slot| slot.get()).collect();
        let Some(new) = made? else { return Ok(None) };
        let start = if ty.is_array() { gc_api::ARRAY_LENGTH_OFFSET + 4 } else { gc_api::HEADER_SIZE };
        self.machine.memory.fill_bytes(new.raw(), start, (object.size - start as u64) as u32, 0);
        if ty.kind == GcKind::EXN {
            self.machine.memory.store_u32(new.raw(), gc_api::EXCEPTION_TAG_OFFSET, TAG);
        }
        match ty.element_ref() {
            Some(_) if vals.len() < length as usize => self.fill_new(&new, length, waiting[0]),
            _ => {
                let slots = (0..ty.slots(length)).map(|i| ty.slot(i)).filter(|slot| matches!(slot.ty, FieldTy::Ref(_)));
                for (slot, raw) in slots.zip(waiting) {
                    let site = WriteSite::Object { object: &new, offset: slot.offset };
                    self.machine.heap.write_ref(site, VMGcRef::from_raw(raw).as_ref());
                    self.machine.drop_dead_hosts();
                }
            }
        }
        let owned = self.machine.heap.clone_ref(&new);
        Ok(Some(self.machine.heap.expose(owned)))
    }

    pub(super) fn new_host(&mut self, to: Slot) -> Checked<()> {
        let host = self.hosts.len() as HostId;
        let (kind, ty, size) = (GcKind::EXTERN, gc_api::EXTERN_TYPE, gc_api::EXTERN_SIZE as u64);
        let Some(new) = self.machine.allocate(NewObject { kind, ty, size, length: None, host: Some(host) })? else {
            return self.check_give_up();
        };
        let node = self.shadow.add(What::Host(host), 0, new.raw());
        self.count(size);
        self.hosts.push(HostState { node, dropped: false });
        let owned = self.machine.heap.clone_ref(&new);
        let raw = self.machine.heap.expose(owned);
        self.put_new(to, node, raw);
        Ok(())
    }

    /// A ring of pairs: a list whose last node refers to the first.
    pub(super) fn ring(&mut self, to: Slot, count: u32) -> Checked<()> {
        let pair = crate::types::named("pair").expect("it exists");
        let last = Slot(to.0.wrapping_add(1));
        self.put(to, Val::Null, 0)?;
        for i in 0..self.affordable(pair, 0, count) {
            if self.new_object(to, pair, 0, to, Way::Inline)?.is_none() {
                return Ok(());
            }
            if i == 0 {
                self.put(last, self.val(to), self.raw(to))?;
            }
        }
        self.set(last, 0, to, Way::Inline)
    }

    /// Each element of an array becomes a new object.
    pub(super) fn each(&mut self, array: Slot, ty: u8, length: u32, way: Way) -> Checked<()> {
        let Val::Node(id) = self.val(array) else { return Ok(()) };
        let count = match self.shadow.node(id).what.ty() {
            Some(ty) if ty.element_ref().is_some() => self.shadow.node(id).length,
            _ => return Ok(()),
        };
        let temporary = Slot(array.0.wrapping_add(1));
        let first = Slot(array.0.wrapping_add(2));
        for i in 0..self.affordable(ty, length, count) {
            if self.new_object(temporary, ty, length, first, way)?.is_none() {
                return Ok(());
            }
            self.set(array, i, temporary, way)?;
        }
        Ok(())
    }

    pub(super) fn write_data(&mut self, id: NodeId, ty: &Type, length: u32) -> Checked<()> {
        let node = self.shadow.node(id);
        let (index, memory) = (node.index, &self.machine.memory);
        match ty.is_array() {
            true if !node.data.is_empty() => memory.write_bytes(index, ty.slot(0).offset, &node.data),
            _ => {
                for slot in (0..ty.slots(length)).filter(|slot| matches!(ty.slot(*slot).ty, FieldTy::Bytes(_))) {
                    memory.write_bytes(index, ty.slot(slot).offset, &node.data[Self::data_range(ty, slot)]);
                }
            }
        }
        Ok(())
    }

    /// What the claims allow: giving up only when the heap is full.
    pub(super) fn check_give_up(&mut self) -> Checked<()> {
        let Some(need) = self.machine.gave_up.take() else { return Ok(()) };
        self.walk()?;
        // Side tables and lists may leave less than what the heap was given.
        let limit = self.machine.memory.limit() - gc_api::FIRST_INDEX as u64;
        let reachable = self.shadow.mark();
        let excused: u64 = self.shadow.excused.iter().map(|id| self.shadow.node(*id).size()).sum();
        let (live, part) = match self.machine.runtime.info().reclaims {
            Reclaims::Nothing => (self.allocated.1 + need, limit.saturating_sub(64)),
            Reclaims::Acyclic => (reachable + excused, limit / 8),
            Reclaims::Everything => (reachable, limit / 8),
        };
        let enough = live <= part && need <= limit / 16;
        require(!enough, Check::Sizing, || {
            format!("the heap gives up on {need} bytes with {live} bytes in use of {limit}")
        })
    }
}
