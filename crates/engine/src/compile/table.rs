//! Tables (specification §4.6.6, "Table Instructions").

use super::is_func;
use super::translate::{Operands, Translator, static_ref};
use crate::types::ValType;
use crate::vm::{Builtin, NULL_ELEMENT, TableInit, VMTable, trap_codes};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{BlockArg, InstBuilder, TrapCode, Value};
use gc_api::{Region, Slot};
use wasmparser::Operator;

impl Translator<'_, '_> {
    /// Translates operators on tables; the others give `false`.
    pub(super) fn table_operator(&mut self, op: &Operator<'_>, operands: &Operands) -> bool {
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
                let value = if is_func(ty.heap) {
                    let word = self.func_element(*table, index, trap_codes::TABLE_OUT_OF_BOUNDS);
                    match self.env.compiler.options.table_init {
                        TableInit::Lazy if ty.nullable => self.b.ins().band_imm_s(word, !(NULL_ELEMENT as i64)),
                        _ => word,
                    }
                } else {
                    let address = self.table_element(*table, index, trap_codes::TABLE_OUT_OF_BOUNDS);
                    self.read_ref(Slot::Table { address }, ty, false)
                };
                self.push_typed(value, &ValType::Ref(ty));
            }
            O::TableSet { table } => {
                let (index, value) = self.pop2();
                let ty = self.env.info.tables[*table as usize].element;
                let address = self.table_element(*table, index, trap_codes::TABLE_OUT_OF_BOUNDS);
                if is_func(ty.heap) {
                    let word = match self.env.compiler.options.table_init {
                        TableInit::Lazy if operands.top().nullable => {
                            let null = self.is_null(value);
                            let null = self.b.ins().uextend(I64, null);
                            self.b.ins().bor(value, null)
                        }
                        _ => value,
                    };
                    let flags = Region::Tables.flags(self.b.func);
                    self.b.ins().store(flags, word, address, 0);
                } else {
                    self.write_ref(Slot::Table { address }, ty, static_ref(ty), value, false);
                }
            }
            _ => return false,
        }
        true
    }

    /// The word of an element of a table of function references, made if it was not: null is [`NULL_ELEMENT`] where
    /// elements are lazy, else 0. Traps with `code` out of bounds.
    pub(super) fn func_element(&mut self, table: u32, index: Value, code: TrapCode) -> Value {
        let address = self.table_element(table, index, code);
        let flags = Region::Tables.flags(self.b.func);
        let word = self.b.ins().load(I64, flags, address, 0);
        if self.env.compiler.options.table_init == TableInit::Eager {
            return word;
        }
        let made = self.b.create_block();
        let result = self.b.append_block_param(made, I64);
        let slow = self.b.create_block();
        self.b.set_cold_block(slow);
        self.b.ins().brif(word, made, &[BlockArg::Value(word)], slow, &[]);

        self.b.seal_block(slow);
        self.b.switch_to_block(slow);
        let args = [self.i64(table as i64), self.wide(index)];
        let word = self.env.builtin(&mut self.b, Builtin::TableElement, &args);
        self.b.ins().jump(made, &[BlockArg::Value(word)]);

        self.b.seal_block(made);
        self.b.switch_to_block(made);
        result
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
