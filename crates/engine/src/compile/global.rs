//! Globals (specification §4.6.5, "Variable Instructions"), and references in slots of any kind.

use super::translate::{Translator, static_ref};
use super::{clif_type, is_func};
use crate::types::{RefType, ValType};
use crate::vm::Builtin;
use cranelift_codegen::ir::{InstBuilder, Value};
use gc_api::{AccessSite, Freshness, Region, Slot, StaticRef};
use wasmparser::Operator;

impl Translator<'_, '_> {
    /// Translates operators on globals; the others give `false`.
    pub(super) fn global_operator(&mut self, op: &Operator<'_>) -> bool {
        match op {
            Operator::GlobalGet { global_index } => {
                let ty = self.env.info.globals[*global_index as usize];
                let place = self.env.global(&mut self.b, *global_index);
                let value = match ty.content {
                    ValType::Ref(r) if !is_func(r.heap) => {
                        self.read_ref(Slot::Global { address: place.address, offset: place.offset }, r, false)
                    }
                    other => {
                        let mut flags = Region::Globals.flags(self.b.func);
                        if !ty.mutable {
                            flags = flags.with_readonly().with_can_move();
                        }
                        self.b.ins().load(clif_type(&other), flags, place.address, place.offset)
                    }
                };
                self.push_typed(value, &ty.content);
            }
            Operator::GlobalSet { global_index } => {
                let value = self.pop();
                let ty = self.env.info.globals[*global_index as usize];
                let place = self.env.global(&mut self.b, *global_index);
                match ty.content {
                    ValType::Ref(r) if !is_func(r.heap) => {
                        let slot = Slot::Global { address: place.address, offset: place.offset };
                        self.write_ref(slot, r, static_ref(r), value, false);
                    }
                    _ => {
                        let flags = Region::Globals.flags(self.b.func);
                        self.b.ins().store(flags, value, place.address, place.offset);
                    }
                }
            }
            _ => return false,
        }
        true
    }

    /// Loads a reference from a slot, with the collector's barrier if it wants one.
    pub(super) fn read_ref(&mut self, slot: Slot, ty: RefType, null_check: bool) -> Value {
        let known = static_ref(ty);
        let site = AccessSite { slot, old: known, new: known, freshness: Freshness::Unknown, null_check };
        self.gc(|gc, e| if gc.needs().read && known.object { gc.read(e, &site) } else { e.load(&site) })
    }

    /// Stores a reference over another, with the collector's barrier if it wants one.
    pub(super) fn write_ref(&mut self, slot: Slot, old: RefType, new: StaticRef, value: Value, null_check: bool) {
        if self.env.compiler.options.note_writes {
            self.note_write(slot);
        }
        let site = AccessSite { slot, old: static_ref(old), new, freshness: Freshness::Unknown, null_check };
        let matters = site.old.object || site.new.object;
        self.gc(|gc, e| if gc.needs().write && matters { gc.write(e, &site, value) } else { e.store(&site, value) });
    }

    /// Tells the verifier that the next instruction writes a slot of an object.
    fn note_write(&mut self, slot: Slot) {
        let (object, offset) = match slot {
            Slot::Field { object, offset } => (object, self.i64(offset as i64)),
            Slot::Element { array, offset } => (array, self.wide(offset)),
            Slot::Global { .. } | Slot::Table { .. } => return,
        };
        let object = self.wide(object);
        self.env.builtin(&mut self.b, Builtin::NoteWrite, &[object, offset]);
    }
}
