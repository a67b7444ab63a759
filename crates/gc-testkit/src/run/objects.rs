//! Fields and elements, one at a time.

use super::Run;
use crate::clif::{Place, Site};
use crate::failure::{Check, Checked, require};
use crate::interpret::Exit;
use crate::script::{Slot, Way};
use crate::shadow::{NodeId, Val};
use crate::types::{FieldTy, RefTy, Type};
use gc_api::{TRAP_NULL_REFERENCE, VMGcRef, WriteSite};

impl Run<'_> {
    /// The object in a slot, and its field or element `slot`; `None` when there is none.
    pub(super) fn slot_of(&self, object: Slot, slot: u32) -> Option<(NodeId, u32)> {
        let Val::Node(id) = self.val(object) else { return None };
        let node = self.shadow.node(id);
        let slots = node.what.ty()?.slots(node.length);
        (slots > 0).then(|| (id, slot % slots))
    }

    /// The function's place and arguments for a slot.
    pub(super) fn place(&self, ty: &Type, object: u32, slot: u32) -> (Place, Vec<u64>) {
        let offset = ty.slot(slot).offset;
        match ty.is_array() {
            true => (Place::Element, vec![object as u64, offset as u64]),
            false => (Place::Field(offset), vec![object as u64]),
        }
    }

    pub(super) fn get(&mut self, to: Slot, object: Slot, slot: u32, way: Way) -> Checked<()> {
        if self.val(object) == Val::Null && way != Way::Host {
            let site = Site::Read { place: Place::Field(8), old: RefTy::Any.known().into(), null_check: true };
            return self.must_trap(site, &[0]);
        }
        let Some((id, slot)) = self.slot_of(object, slot) else { return Ok(()) };
        let raw = self.raw(object);
        let ty = self.shadow.node(id).what.ty().expect("it has slots");
        let FieldTy::Ref(declared) = ty.slot(slot).ty else { return self.check_bytes(id, slot) };
        let val = self.shadow.node(id).refs[self.ref_number(ty, slot)];
        let loaded = if way == Way::Host {
            let object = VMGcRef::from_raw(raw).expect("a node");
            let owned = self.machine.heap.read_ref(WriteSite::Object { object: &object, offset: ty.slot(slot).offset });
            self.expose(owned)
        } else {
            let (place, args) = self.place(ty, raw, slot);
            let null_check = way == Way::Inline && !ty.is_array();
            let site = Site::Read { place, old: declared.known().into(), null_check };
            self.call(site, &args)?.expect("it allocates nothing")
        };
        self.put(to, val, loaded)
    }

    pub(super) fn set(&mut self, object: Slot, slot: u32, from: Slot, way: Way) -> Checked<()> {
        self.resync()?;
        let val = self.val(from);
        if self.val(object) == Val::Null && way != Way::Host {
            let old = RefTy::Any.known().into();
            let site = Site::Write { place: Place::Field(12), old, new: old, null_check: true };
            return self.must_trap(site, &[0, self.raw(from) as u64]);
        }
        let Some((id, slot)) = self.slot_of(object, slot) else { return Ok(()) };
        let ty = self.shadow.node(id).what.ty().expect("it has slots");
        let FieldTy::Ref(declared) = ty.slot(slot).ty else { return self.set_bytes(id, slot) };
        if !self.shadow.fits(declared, val) {
            return Ok(());
        }
        let (raw, new) = (self.raw(object), self.raw(from));
        if way == Way::Host {
            let object = VMGcRef::from_raw(raw).expect("a node");
            let site = WriteSite::Object { object: &object, offset: ty.slot(slot).offset };
            self.machine.heap.write_ref(site, VMGcRef::from_raw(new).as_ref());
            self.machine.drop_dead_hosts();
        } else {
            let (place, mut args) = self.place(ty, raw, slot);
            args.push(new as u64);
            let null_check = way == Way::Inline && !ty.is_array();
            let new = self.known(way, declared, val);
            self.call(Site::Write { place, old: declared.known().into(), new, null_check }, &args)?;
        }
        let number = self.ref_number(ty, slot);
        self.shadow.node_mut(id).refs[number] = val;
        Ok(())
    }

    pub(super) fn must_trap(&mut self, site: Site, args: &[u64]) -> Checked<()> {
        let exit = self.exit(site.clone(), args)?;
        require(exit == Exit::Trap(TRAP_NULL_REFERENCE), Check::Trap, || {
            format!("{site:?} of null ends with {exit:?}, not the trap of a null reference")
        })
    }

    pub(super) fn ref_number(&self, ty: &Type, slot: u32) -> usize {
        if ty.is_array() {
            return slot as usize;
        }
        ty.fields()[..slot as usize].iter().filter(|field| matches!(field.ty, FieldTy::Ref(_))).count()
    }

    pub(super) fn equal(&mut self, a: Slot, b: Slot) -> Checked<()> {
        let args = [self.raw(a) as u64, self.raw(b) as u64];
        let same = self.call(Site::RefEq, &args)?;
        let expected = (self.val(a) == self.val(b)) as u32;
        require(same == Some(expected), Check::Load, || format!("ref.eq of {args:x?} gives {same:?}, not {expected}"))
    }

    // Numbers: not the collector's business, but its objects hold them.

    /// The bytes of a field or an element in a node's data.
    pub(super) fn data_range(ty: &Type, slot: u32) -> std::ops::Range<usize> {
        let size = ty.slot(slot).ty.size() as usize;
        let before = match ty.is_array() {
            true => slot as usize * size,
            false => {
                let before = ty.fields()[..slot as usize].iter();
                before.map(|field| if let FieldTy::Bytes(n) = field.ty { n as usize } else { 0 }).sum()
            }
        };
        before..before + size
    }

    pub(super) fn set_bytes(&mut self, id: NodeId, slot: u32) -> Checked<()> {
        self.written = self.written.wrapping_mul(0x9e37_79b9).wrapping_add(1);
        let bytes: [u8; 16] = std::array::from_fn(|i| (self.written >> (i % 4 * 8)) as u8);
        let node = self.shadow.node_mut(id);
        let ty = node.what.ty().expect("it has slots");
        let range = Self::data_range(ty, slot);
        let bytes = &bytes[..range.len()];
        node.data[range].copy_from_slice(bytes);
        self.machine.memory.write_bytes(node.index, ty.slot(slot).offset, bytes);
        Ok(())
    }

    pub(super) fn check_bytes(&self, id: NodeId, slot: u32) -> Checked<()> {
        let node = self.shadow.node(id);
        let ty = node.what.ty().expect("it has slots");
        let expected = &node.data[Self::data_range(ty, slot)];
        let mut found = vec![0; expected.len()];
        self.machine.memory.read_bytes(node.index, ty.slot(slot).offset, &mut found);
        require(found == expected, Check::Load, || {
            format!("slot {slot} of object {id} is {found:x?}, not {expected:x?}")
        })
    }
}
