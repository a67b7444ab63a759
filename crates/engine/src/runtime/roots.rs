//! A stopped program's roots, where they stand.

use super::code::CodeMap;
use super::instance::{Instance, Segment};
use super::signals;
use super::store::Global;
use super::table::{Elements, Table};
use super::unwind;
use crate::vm::VMStoreContext;
use gc_api::{RefCell32, RootKind, RootSlot, Roots};

/// What of a store can hold references.
pub struct StoreRoots<'a> {
    pub code: &'a CodeMap,
    pub vm: *mut VMStoreContext,
    pub instances: &'a [Instance],
    pub globals: &'a [Global],
    pub tables: &'a [Table],
    pub handles: &'a [RefCell32],
    pub exception: &'a RefCell32,
}

impl Roots for StoreRoots<'_> {
    fn visit(&mut self, kind: RootKind, visit: &mut dyn FnMut(RootSlot<'_>)) {
        let mut cells = |cells: &[RefCell32]| {
            for cell in cells.iter().filter(|cell| cell.raw() != 0) {
                visit(RootSlot::Cell(cell));
            }
        };
        match kind {
            RootKind::Stack => self.stack(visit),
            RootKind::Global => {
                for global in self.globals.iter().filter(|global| global.ty.content.is_gc_ref()) {
                    cells(std::slice::from_ref(global.cell()));
                }
            }
            RootKind::Table => {
                for table in self.tables {
                    if let Elements::Refs(elements) = table.elements() {
                        cells(elements);
                    }
                }
            }
            RootKind::Segment => {
                for segment in self.instances.iter().flat_map(|instance| &instance.segments) {
                    if let Segment::Refs(elements) = segment {
                        cells(elements);
                    }
                }
            }
            RootKind::Host => cells(self.handles),
            RootKind::Exception => cells(std::slice::from_ref(self.exception)),
        }
    }
}

impl StoreRoots<'_> {
    /// The frames of all activations, innermost first.
    fn stack(&self, visit: &mut dyn FnMut(RootSlot<'_>)) {
        // SAFETY: the record lives as long as the store. Compiled code is left in its newest activation, because the collector runs;
        // each older one waits for what it called, so all their frames are still there.
        for bounds in unsafe { signals::activations(self.vm) } {
            // SAFETY: as above; the map knows the code of all instances.
            unsafe { unwind::visit_stack_roots(self.code, bounds, &mut |slot| visit(RootSlot::Stack(slot))) };
        }
    }
}
