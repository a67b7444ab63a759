//! Globals, tables' elements, handles and the exception: slots outside the heap.

use super::{Cell, ELEMENT, Run, global_type};
use crate::clif::{Place, Site};
use crate::failure::{Check, Checked, require};
use crate::machine::Machine;
use crate::script::{Slot, Way};
use crate::shadow::Val;
use crate::types::RefTy;
use gc_api::{CellKind, VMGcRef, WriteSite};

impl Cell {
    fn kind(self) -> CellKind {
        match self {
            Cell::Global(_) => CellKind::Global,
            Cell::Table(..) => CellKind::Table,
            Cell::Segment(..) => CellKind::Segment,
            Cell::Exception => CellKind::Exception,
        }
    }

    fn ty(self) -> RefTy {
        match self {
            Cell::Global(g) => global_type(g),
            Cell::Table(..) | Cell::Segment(..) => ELEMENT,
            Cell::Exception => RefTy::Exn,
        }
    }

    /// Where compiled code finds a global or a table's element.
    fn place(self) -> (Place, u64) {
        match self {
            Cell::Global(g) => (Place::Global, Machine::global_address(g)),
            Cell::Table(table, at) => (Place::Table, Machine::table_address(table, at)),
            Cell::Segment(..) | Cell::Exception => unreachable!("compiled code does not access it"),
        }
    }
}

impl Run<'_> {
    /// A reference that the host owns goes onto the stack.
    pub(super) fn expose(&mut self, owned: Option<VMGcRef>) -> u32 {
        let raw = owned.map_or(0, |owned| self.machine.heap.expose(owned));
        self.machine.drop_dead_hosts();
        raw
    }

    pub(super) fn get_cell(&mut self, to: Slot, cell: Cell, way: Way) -> Checked<()> {
        let val = *self.shadow.slot(cell);
        let loaded = if way == Way::Host {
            let site = WriteSite::Cell { kind: cell.kind(), cell: self.machine.roots.slot(cell) };
            let owned = self.machine.heap.read_ref(site);
            self.expose(owned)
        } else {
            let (place, address) = cell.place();
            let site = Site::Read { place, old: cell.ty().known().into(), null_check: false };
            self.call(site, &[address])?.expect("it allocates nothing")
        };
        self.put(to, val, loaded)
    }

    pub(super) fn set_cell(&mut self, cell: Cell, from: Slot, way: Way) -> Checked<()> {
        let val = self.val(from);
        if !self.shadow.fits(cell.ty(), val) {
            return Ok(());
        }
        if way == Way::Host {
            return self.write_cell(cell.kind(), cell, val);
        }
        let (place, address) = cell.place();
        let new = self.known(way, cell.ty(), val);
        let raw = self.raw(from);
        self.call(
            Site::Write { place, old: cell.ty().known().into(), new, null_check: false },
            &[address, raw as u64],
        )?;
        *self.shadow.slot(cell) = val;
        Ok(())
    }

    /// The host stores.
    pub(super) fn write_cell(&mut self, kind: CellKind, cell: Cell, val: Val) -> Checked<()> {
        let new = VMGcRef::from_raw(self.shadow.raw(val));
        self.machine.heap.write_ref(WriteSite::Cell { kind, cell: self.machine.roots.slot(cell) }, new.as_ref());
        self.machine.drop_dead_hosts();
        let written = self.machine.roots.slot(cell).raw();
        require(self.same(val, written), Check::Load, || format!("after a store, {}", self.describe(val, written)))?;
        *self.shadow.slot(cell) = val;
        Ok(())
    }

    // Handles.

    /// The host keeps `val`, of which someone else has a reference.
    pub(super) fn root(&mut self, handle: usize, val: Val) -> Checked<()> {
        let kept = VMGcRef::from_raw(self.shadow.raw(val)).map(|r| self.machine.heap.clone_ref(&r));
        self.unroot(handle)?;
        self.machine.roots.handles[handle].set_raw(kept.map_or(0, |r| r.raw()));
        self.shadow.roots.handles[handle] = val;
        Ok(())
    }

    pub(super) fn unroot(&mut self, handle: usize) -> Checked<()> {
        let held = self.machine.roots.handles[handle].peek();
        self.machine.roots.handles[handle].set_raw(0);
        self.shadow.roots.handles[handle] = Val::Null;
        if let Some(held) = held {
            self.machine.heap.drop_ref(held);
            self.machine.drop_dead_hosts();
        }
        Ok(())
    }

    pub(super) fn push(&mut self, to: Slot, handle: usize) -> Checked<()> {
        let owned = self.machine.roots.handles[handle].peek().map(|r| self.machine.heap.clone_ref(&r));
        let raw = self.expose(owned);
        self.put(to, self.shadow.roots.handles[handle], raw)
    }

    pub(super) fn give(&mut self, to: Slot, handle: usize) -> Checked<()> {
        let owned = self.machine.roots.handles[handle].peek();
        self.machine.roots.handles[handle].set_raw(0);
        let val = std::mem::take(&mut self.shadow.roots.handles[handle]);
        let raw = self.expose(owned);
        self.put(to, val, raw)
    }

    // Exceptions.

    /// The pending exception goes to its handler's frame.
    pub(super) fn catch(&mut self, to: Slot) -> Checked<()> {
        let site = |machine: &Machine| machine.roots.exception.raw();
        if site(&self.machine) == 0 {
            return Ok(());
        }
        let val = self.shadow.roots.exception;
        let cell = || WriteSite::Cell { kind: CellKind::Exception, cell: &self.machine.roots.exception };
        let taken = self.machine.heap.read_ref(cell());
        self.machine.heap.write_ref(cell(), None);
        self.machine.drop_dead_hosts();
        self.shadow.roots.exception = Val::Null;
        let raw = self.expose(taken);
        self.put(to, val, raw)
    }
}
