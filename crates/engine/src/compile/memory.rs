//! Linear memories (specification §4.6.7, "Memory Instructions").

use super::translate::Translator;
use crate::vm::{Builtin, VMMemory};
use cranelift_codegen::ir::types::{F32, F64, I32, I64};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, TrapCode, Value};
use gc_api::Region;
use wasmparser::{MemArg, MemArgTarget, Operator};

/// Bytes of a page as a power of two.
const PAGE_LOG2: i64 = 16;

impl Translator<'_, '_> {
    /// Translates operators on memories; the others give `false`.
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
            _ => return false,
        }
        true
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
    pub(super) fn bulk(&mut self, builtin: Builtin, indices: &[u32]) {
        let (a, b, c) = self.pop3();
        let mut args: Vec<Value> = indices.iter().map(|i| self.i64(*i as i64)).collect();
        for operand in [a, b, c] {
            args.push(self.wide(operand));
        }
        self.env.builtin(&mut self.b, builtin, &args);
    }
}
