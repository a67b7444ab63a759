//! Exceptions (specification §4.6.8, "Control Instructions": `throw`, `throw_ref`, `try_table`).

use super::gc::Extend;
use super::translate::{Operands, Translator};
use crate::types::{HeapType, RefType, StorageType, ValType};
use crate::vm::{Builtin, trap_codes};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{BlockArg, InstBuilder, Value};
use gc_api::{AllocSite, AllocSize, EXCEPTION_TAG_OFFSET, GcKind, Region, Slot};
use wasmparser::{Catch, Operator, TryTable};

impl Translator<'_, '_> {
    /// Translates throws; the others give `false`.
    pub(super) fn exception_operator(&mut self, op: &Operator<'_>, operands: &Operands) -> bool {
        match op {
            Operator::Throw { tag_index } => self.throw(*tag_index),
            Operator::ThrowRef => {
                let exception = self.pop();
                if operands.top().nullable {
                    self.b.ins().trapz(exception, trap_codes::NULL_REFERENCE);
                }
                self.throw_ref(exception);
            }
            _ => return false,
        }
        true
    }

    /// Where a tag's id stands.
    fn tag_id(&mut self, tag: u32) -> Value {
        let at = self.env.info.offsets.tags as i32 + tag as i32 * 4;
        self.env.constant(&mut self.b, I32, at)
    }

    /// Allocates the exception with the operands as its fields and throws it.
    fn throw(&mut self, tag: u32) {
        let func = self.env.info.tags[tag as usize];
        let params = self.func_type(func).params;
        let values = self.pop_n(params.len());
        let registry = self.env.compiler.registry.clone();
        let ty = registry.exception_type(func).expect("registered when the module was parsed");
        let layout = registry.exception_layout(ty);
        let site = AllocSite { kind: GcKind::EXN, ty, size: AllocSize::Fixed(layout.size) };
        let exception = self.alloc(&site);
        self.declare(exception, &ValType::Ref(RefType { nullable: false, heap: HeapType::Exn }));
        let id = self.tag_id(tag);
        let address = self.gc(|_, e| e.address(exception));
        let flags = Region::Data.flags(self.b.func);
        self.b.ins().store(flags, id, address, EXCEPTION_TAG_OFFSET as i32);
        for ((value, ty), field) in values.into_iter().zip(&params).zip(&layout.fields) {
            self.init_field(exception, field.offset, &StorageType::Val(*ty), value);
        }
        self.throw_ref(exception);
    }

    /// Throws an exception that is not null: to the handler in this function, if there is one, by a jump; else the runtime finds
    /// the handler.
    fn throw_ref(&mut self, exception: Value) {
        self.emit_throw_ref(exception);
        self.unreachable();
    }

    /// Throws and ends the block, but leaves the operands alone.
    fn emit_throw_ref(&mut self, exception: Value) {
        let exception = self.wide(exception);
        match self.handlers.last().copied() {
            Some(landing) => {
                self.b.ins().jump(landing, &[BlockArg::Value(exception)]);
            }
            None => {
                self.env.builtin(&mut self.b, Builtin::ThrowRef, &[exception]);
                self.b.ins().trap(trap_codes::HEAP_CORRUPTION);
            }
        }
    }

    /// `try_table`: emits the handler, which takes the exception, finds the first clause whose tag matches and branches to its label
    /// with the exception's fields; throws on when none does. Calls in the body name it as their handler.
    pub(super) fn try_table(&mut self, try_table: &TryTable) {
        if !self.reachable || try_table.catches.is_empty() {
            return self.push_try_frame(try_table.ty, None);
        }
        let landing = self.b.create_block();
        let payload = self.b.append_block_param(landing, I64);
        let body = self.b.create_block();
        self.b.ins().jump(body, &[]);
        self.b.seal_block(body);

        self.b.switch_to_block(landing);
        let height = self.stack.len();
        let exception = self.b.ins().ireduce(I32, payload);
        let exn = ValType::Ref(RefType { nullable: false, heap: HeapType::Exn });
        self.declare(exception, &exn);
        let address = self.gc(|_, e| e.address(exception));
        let flags = Region::Data.flags(self.b.func);
        let actual = self.b.ins().load(I32, flags, address, EXCEPTION_TAG_OFFSET as i32);
        let mut open = true;
        for catch in &try_table.catches {
            let (tag, label, with_ref) = match *catch {
                Catch::One { tag, label } => (Some(tag), label, false),
                Catch::OneRef { tag, label } => (Some(tag), label, true),
                Catch::All { label } => (None, label, false),
                Catch::AllRef { label } => (None, label, true),
            };
            let next = self.b.create_block();
            if let Some(tag) = tag {
                let matched = self.b.create_block();
                let id = self.tag_id(tag);
                let same = self.b.ins().icmp(IntCC::Equal, id, actual);
                self.b.ins().brif(same, matched, &[], next, &[]);
                self.b.seal_block(matched);
                self.b.seal_block(next);
                self.b.switch_to_block(matched);
                self.push_exception_fields(exception, tag);
            }
            if with_ref {
                self.push(exception);
            }
            let (target, args) = self.label(label);
            self.jump(target, &args);
            self.stack.truncate(height);
            if tag.is_none() {
                open = false;
                break;
            }
            self.b.switch_to_block(next);
        }
        if open {
            self.emit_throw_ref(exception);
        }

        self.b.switch_to_block(body);
        self.push_try_frame(try_table.ty, Some(landing));
    }

    fn push_exception_fields(&mut self, exception: Value, tag: u32) {
        let func = self.env.info.tags[tag as usize];
        let params = self.func_type(func).params;
        let registry = self.env.compiler.registry.clone();
        let ty = registry.exception_type(func).expect("registered when the module was parsed");
        let layout = registry.exception_layout(ty);
        for (ty, field) in params.iter().zip(&layout.fields) {
            let slot = Slot::Field { object: exception, offset: field.offset };
            self.load_slot(slot, &StorageType::Val(*ty), Extend::None, false);
        }
    }
}
