//! Linear memories, tables and globals.

use super::translate::{Translator, static_ref};
use super::{clif_type, is_func};
use crate::types::{RefType, ValType};
use crate::vm::{Builtin, VMMemory, VMTable, trap_codes};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F64, I32, I64};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, TrapCode, Value};
use gc_api::{AccessSite, Freshness, Region, Slot, StaticRef};
use wasmparser::{MemArg, MemArgTarget, Operator};

/// Bytes of a page as a power of two.
const PAGE_LOG2: i64 = 16;

impl Translator<'_, '_> {
    /// Translates operators on memories, tables and globals; the others give `false`.
    pub(super) fn memory_operator(&mut self, op: &Operator<'_>) -> bool {
        use Operator as O;
        match op {
            O::I32Load { memarg } => self.load(memarg, |t, f, a, o| t.b.ins().load(I32, f, a, o)),
            O::I64Load { memarg } => self.load(memarg, |t, f, a, o| t.b.ins().load(I64, f, a, o)),
            O::F32Load { memarg } => self.load(memarg, |t, f, a, o| t.b.ins().load(F32, f, a, o)),
            O::F64Load { memarg } => self.load(memarg, |t, f, a, o| t.b.ins().load(F64, f, a, o)),
            O::I32Load8S { memarg } => self.load(memarg, |t, f, a, o| t.b.ins().sload8(I32, f, a, o)),
            O::I32Load8U { memarg } => self.load(memarg, |t, f, a, o| t.b.ins().uload8(I32, f, a, o)),
            O::I32Load16S { memarg } => self.load(memarg, |t, f, a, o| t.b.ins().sload16(I32, f, a, o)),
            O::I32Load16U { memarg } => self.load(memarg, |t, f, a, o| t.b.ins().uload16(I32, f, a, o)),
            O::I64Load8S { memarg } => self.load(memarg, |t, f, a, o| t.b.ins().sload8(I64, f, a, o)),
            O::I64Load8U { memarg } => self.load(memarg, |t, f, a, o| t.b.ins().uload8(I64, f, a, o)),
            O::I64Load16S { memarg } => self.load(memarg, |t, f, a, o| t.b.ins().sload16(I64, f, a, o)),
            O::I64Load16U { memarg } => self.load(memarg, |t, f, a, o| t.b.ins().uload16(I64, f, a, o)),
            O::I64Load32S { memarg } => self.load(memarg, |t, f, a, o| t.b.ins().sload32(f, a, o)),
            O::I64Load32U { memarg } => self.load(memarg, |t, f, a, o| t.b.ins().uload32(f, a, o)),
            O::I32Store { memarg } | O::I64Store { memarg } | O::F32Store { memarg } | O::F64Store { memarg } => {
                self.store(memarg, |t, f, v, a, o| {
                    t.b.ins().store(f, v, a, o);
                });
            }
            O::I32Store8 { memarg } | O::I64Store8 { memarg } => self.store(memarg, |t, f, v, a, o| {
                t.b.ins().istore8(f, v, a, o);
            }),
            O::I32Store16 { memarg } | O::I64Store16 { memarg } => self.store(memarg, |t, f, v, a, o| {
                t.b.ins().istore16(f, v, a, o);
            }),
            O::I64Store32 { memarg } => self.store(memarg, |t, f, v, a, o| {
                t.b.ins().istore32(f, v, a, o);
            }),
            O::MemorySize { mem } => {
                let place = self.env.memory(&mut self.b, *mem);
                let flags = Region::Context.flags(self.b.func);
                let bytes = self.b.ins().load(I64, flags, place.address, place.offset + VMMemory::LENGTH);
                let pages = self.b.ins().ushr_imm_u(bytes, PAGE_LOG2);
                let pages = self.b.ins().ireduce(I32, pages);
                self.push(pages);
            }
            O::MemoryGrow { mem } => {
                let delta = self.pop();
                let delta = self.wide(delta);
                let memory = self.i64(*mem as i64);
                let old = self.env.builtin(&mut self.b, Builtin::MemoryGrow, &[memory, delta]);
                let old = self.b.ins().ireduce(I32, old);
                self.push(old);
            }
            O::MemoryCopy { dst_mem, src_mem } => self.bulk(Builtin::MemoryCopy, &[*dst_mem, *src_mem]),
            O::MemoryFill { mem } => self.bulk(Builtin::MemoryFill, &[*mem]),
            O::MemoryInit { mem, data_index } => self.bulk(Builtin::MemoryInit, &[*mem, *data_index]),
            O::DataDrop { data_index } => {
                let segment = self.i64(*data_index as i64);
                self.env.builtin(&mut self.b, Builtin::DataDrop, &[segment]);
            }
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
                let table = self.i64(*table as i64);
                let old = self.env.builtin(&mut self.b, Builtin::TableGrow, &[table, delta, init]);
                let old = self.b.ins().ireduce(I32, old);
                self.push(old);
            }
            O::TableSize { table } => {
                let place = self.env.table(&mut self.b, *table);
                let flags = Region::Context.flags(self.b.func);
                let length = self.b.ins().load(I64, flags, place.address, place.offset + VMTable::LENGTH);
                let length = self.b.ins().ireduce(I32, length);
                self.push(length);
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
            O::GlobalGet { global_index } => {
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
            O::GlobalSet { global_index } => {
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
        let site = AccessSite { slot, old: static_ref(old), new, freshness: Freshness::Unknown, null_check };
        let matters = site.old.object || site.new.object;
        self.gc(|gc, e| if gc.needs().write && matters { gc.write(e, &site, value) } else { e.store(&site, value) });
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

    /// The address, the rest of the offset and the flags of an access to memory. No bounds check: the reservation
    /// behind the base covers every 32-bit index plus every 32-bit offset, and what is not committed faults.
    fn memory_address(&mut self, memarg: &MemArg, index: Value) -> (MemFlagsData, Value, i32) {
        let MemArgTarget::Memory(memory) = memarg.target else { unreachable!("validated: a feature that is off") };
        let place = self.env.memory(&mut self.b, memory);
        let constant = super::env::constant_flags(&mut self.b);
        let base = self.b.ins().load(I64, constant, place.address, place.offset + VMMemory::BASE);
        let index = self.wide(index);
        let mut address = self.b.ins().iadd(base, index);
        let offset = match i32::try_from(memarg.offset) {
            Ok(offset) => offset,
            Err(_) => {
                address = self.b.ins().iadd_imm_u(address, memarg.offset as i64);
                0
            }
        };
        let region = Region::Memory.flags(self.b.func).alias_region();
        let flags = MemFlagsData::new()
            .with_alias_region(region)
            .with_endianness(cranelift_codegen::ir::Endianness::Little)
            .with_trap_code(Some(TrapCode::HEAP_OUT_OF_BOUNDS));
        (flags, address, offset)
    }

    fn load(&mut self, memarg: &MemArg, emit: impl FnOnce(&mut Self, MemFlagsData, Value, i32) -> Value) {
        let index = self.pop();
        let (flags, address, offset) = self.memory_address(memarg, index);
        let value = emit(self, flags, address, offset);
        self.push(value);
    }

    fn store(&mut self, memarg: &MemArg, emit: impl FnOnce(&mut Self, MemFlagsData, Value, Value, i32)) {
        let (index, value) = self.pop2();
        let (flags, address, offset) = self.memory_address(memarg, index);
        emit(self, flags, value, address, offset);
    }

    /// A builtin that takes constant indices and then three operands.
    fn bulk(&mut self, builtin: Builtin, indices: &[u32]) {
        let (a, b, c) = self.pop3();
        let mut args: Vec<Value> = indices.iter().map(|i| self.i64(*i as i64)).collect();
        for operand in [a, b, c] {
            args.push(self.wide(operand));
        }
        self.env.builtin(&mut self.b, builtin, &args);
    }
}
