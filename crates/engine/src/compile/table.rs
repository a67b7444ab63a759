//! Tables (specification §4.6.6, "Table Instructions").

use super::is_func;
use super::translate::{Translator, static_ref};
use crate::types::ValType;
use crate::vm::{Builtin, VMTable, trap_codes};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, TrapCode, Value};
use gc_api::{Region, Slot};
use wasmparser::Operator;

impl Translator<'_, '_> {
    /// Translates operators on tables; the others give `false`.
    pub(super) fn table_operator(&mut self, op: &Operator<'_>) -> bool {
        use Operator as O;
        match op {
            O::TableCopy { dst_table, src_table } => self.bulk(Builtin::TableCopy, &[*dst_table, *src_table]),
            O::TableFill { table } => self.bulk(Builtin::TableFill, &[*table]),
            O::TableInit { table, elem_index } => self.bulk(Builtin::TableInit, &[*table, *elem_index]),
            O::ElemDrop { elem_index } => {
                let segment = self.i64(*elem_index as i64);
                self.env.builtin(&mut self.b, Builtin::ElemDrop, &[segment]);
            }
            O::TableGrow { table } => {
                let (init, delta) = self.pop2();
                let (init, delta) = (self.wide(init), self.wide(delta));
                let table_index = self.i64(*table as i64);
                let grown = self.env.builtin(&mut self.b, Builtin::TableGrow, &[table_index, delta, init]);
                self.push_grown(grown, self.env.info.tables[*table as usize].is_64);
            }
            O::TableSize { table } => {
                let place = self.env.table(&mut self.b, *table);
                let flags = Region::Context.flags(self.b.func);
                let length = self.b.ins().load(I64, flags, place.address, place.offset + VMTable::LENGTH);
                self.push_index(length, self.env.info.tables[*table as usize].is_64);
            }
            O::TableGet { table } => {
                let index = self.pop();
                let ty = self.env.info.tables[*table as usize].element;
                let address = self.table_element(*table, index, trap_codes::TABLE_OUT_OF_BOUNDS);
                let value = if is_func(ty.heap) {
                    let flags = Region::Tables.flags(self.b.func);
                    self.b.ins().load(I64, flags, address, 0)
                } else {
                    self.read_ref(Slot::Table { address }, ty, false)
                };
                self.push_typed(value, &ValType::Ref(ty));
            }
            O::TableSet { table } => {
                let (index, value) = self.pop2();
                let ty = self.env.info.tables[*table as usize].element;
                let address = self.table_element(*table, index, trap_codes::TABLE_OUT_OF_BOUNDS);
                if is_func(ty.heap) {
                    let flags = Region::Tables.flags(self.b.func);
                    self.b.ins().store(flags, value, address, 0);
                } else {
                    self.write_ref(Slot::Table { address }, ty, static_ref(ty), value, false);
                }
            }
            _ => return false,
        }
        true
    }

    /// The address of a table's element; traps with `code` out of bounds.
    pub(super) fn table_element(&mut self, table: u32, index: Value, code: TrapCode) -> Value {
        let place = self.env.table(&mut self.b, table);
        let flags = Region::Context.flags(self.b.func);
        let length = self.b.ins().load(I64, flags, place.address, place.offset + VMTable::LENGTH);
        let index = self.wide(index);
        let outside = self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, index, length);
        self.b.ins().trapnz(outside, code);
        let base = self.b.ins().load(I64, flags, place.address, place.offset + VMTable::BASE);
        let log2 = if is_func(self.env.info.tables[table as usize].element.heap) { 3 } else { 2 };
        let offset = self.b.ins().ishl_imm_u(index, log2);
        self.b.ins().iadd(base, offset)
    }
}
