//! Linear memories (specification §4.6.7, "Memory Instructions").

use super::translate::Translator;
use crate::vm::{BoundsCheck, Builtin, MEMORY_GUARD, VMMemory};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F64, I8, I16, I32, I64};
use cranelift_codegen::ir::{
    self, AbiParam, ExtFuncData, ExternalName, InstBuilder, LibCall, MemFlagsData, TrapCode, Value,
};
use gc_api::Region;
use wasmparser::{MemArg, MemArgTarget, Operator};

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
            O::I32Store8 { memarg } | O::I64Store8 { memarg } => {
                self.store(memarg, |t, f, v, a, o| t.store_low(I8, f, v, a, o))
            }
            O::I32Store16 { memarg } | O::I64Store16 { memarg } => {
                self.store(memarg, |t, f, v, a, o| t.store_low(I16, f, v, a, o))
            }
            O::I64Store32 { memarg } => self.store(memarg, |t, f, v, a, o| t.store_low(I32, f, v, a, o)),
            O::MemorySize { mem } => {
                let ty = self.env.info.memories[*mem as usize];
                let bytes = self.memory_length(*mem);
                let pages = self.b.ins().ushr_imm_u(bytes, ty.page_size_log2 as i64);
                self.push_index(pages, ty.is_64);
            }
            O::MemoryGrow { mem } => {
                let delta = self.pop();
                let delta = self.wide(delta);
                let memory = self.i64(*mem as i64);
                let grown = self.env.builtin(&mut self.b, Builtin::MemoryGrow, &[memory, delta]);
                self.push_grown(grown, self.env.info.memories[*mem as usize].is_64);
            }
            O::MemoryCopy { dst_mem, src_mem } => self.memory_copy(*dst_mem, *src_mem),
            O::MemoryFill { mem } => self.memory_fill(*mem),
            O::MemoryInit { mem, data_index } => self.bulk(Builtin::MemoryInit, &[*mem, *data_index]),
            O::DataDrop { data_index } => {
                let segment = self.i64(*data_index as i64);
                self.env.builtin(&mut self.b, Builtin::DataDrop, &[segment]);
            }
            _ => return false,
        }
        true
    }

    /// Pushes a number of pages or elements, as an `i32` unless `is_64`.
    pub(super) fn push_index(&mut self, value: Value, is_64: bool) {
        let value = if is_64 { value } else { self.b.ins().ireduce(I32, value) };
        self.push(value);
    }

    /// Pushes what an instruction that grows something gives, from what its builtin gives.
    pub(super) fn push_grown(&mut self, grown: Value, is_64: bool) {
        let old = self.b.ins().iadd_imm_s(grown, -1);
        self.push_index(old, is_64);
    }

    /// The bytes of a memory. Other threads may let a shared one grow: its length is loaded anew each time.
    fn memory_length(&mut self, memory: u32) -> Value {
        let place = self.env.memory(&mut self.b, memory);
        let flags = Region::Context.flags(self.b.func);
        if self.env.info.memories[memory as usize].shared {
            let address = self.b.ins().iadd_imm_s(place.address, (place.offset + VMMemory::LENGTH) as i64);
            return self.b.ins().atomic_load(I64, flags, address);
        }
        self.b.ins().load(I64, flags, place.address, place.offset + VMMemory::LENGTH)
    }

    /// The address of a memory's first byte, which stays where it is.
    fn memory_base(&mut self, memory: u32) -> Value {
        let place = self.env.memory(&mut self.b, memory);
        let constant = super::env::constant_flags(&mut self.b);
        self.b.ins().load(I64, constant, place.address, place.offset + VMMemory::BASE)
    }

    /// Traps unless an access at `index` (an `i64`) is in bounds or, where [`BoundsCheck`] says so, faults.
    fn check_bounds(&mut self, memory: u32, memarg: &MemArg, index: Value) {
        let ty = self.env.info.memories[memory as usize];
        // What an instruction accesses at most is what it can be aligned to at most.
        let bytes = 1u64 << memarg.max_align;
        let outside = match (BoundsCheck::of(&ty), memarg.offset.checked_add(bytes)) {
            (BoundsCheck::None, _) => return,
            (BoundsCheck::Index, Some(end)) if end <= MEMORY_GUARD => {
                let length = self.memory_length(memory);
                self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, index, length)
            }
            (_, end) => {
                let end = match end {
                    // Neither is more than 33 bits.
                    Some(end) if !ty.is_64 => self.b.ins().iadd_imm_u(index, end as i64),
                    Some(end) => self.add_in_bounds(index, end),
                    None => {
                        let start = self.add_in_bounds(index, memarg.offset);
                        self.add_in_bounds(start, bytes)
                    }
                };
                let length = self.memory_length(memory);
                self.b.ins().icmp(IntCC::UnsignedGreaterThan, end, length)
            }
        };
        self.b.ins().trapnz(outside, TrapCode::HEAP_OUT_OF_BOUNDS);
    }

    /// An address further up; traps when it does not fit into 64 bits.
    fn add_in_bounds(&mut self, address: Value, bytes: u64) -> Value {
        let bytes = self.i64(bytes as i64);
        self.b.ins().uadd_overflow_trap(address, bytes, TrapCode::HEAP_OUT_OF_BOUNDS)
    }

    /// The address, the rest of the offset and the flags of an access to memory, after what has to be tested before it. The
    /// access may fault, which is the trap.
    pub(super) fn memory_address(&mut self, memarg: &MemArg, index: Value) -> (MemFlagsData, Value, i32) {
        let MemArgTarget::Memory(memory) = memarg.target else { unreachable!("validated: a feature that is off") };
        let index = self.wide(index);
        self.check_bounds(memory, memarg, index);
        let base = self.memory_base(memory);
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

    pub(super) fn load(&mut self, memarg: &MemArg, emit: impl FnOnce(&mut Self, MemFlagsData, Value, i32) -> Value) {
        let index = self.pop();
        let (flags, address, offset) = self.memory_address(memarg, index);
        let value = emit(self, flags, address, offset);
        self.push(value);
    }

    pub(super) fn store(&mut self, memarg: &MemArg, emit: impl FnOnce(&mut Self, MemFlagsData, Value, Value, i32)) {
        let (index, value) = self.pop2();
        let (flags, address, offset) = self.memory_address(memarg, index);
        emit(self, flags, value, address, offset);
    }

    /// Memories that no other thread sees are copied by the system's function, called without the detour through a builtin.
    fn memory_copy(&mut self, to_memory: u32, from_memory: u32) {
        if [to_memory, from_memory].iter().any(|memory| self.env.info.memories[*memory as usize].shared) {
            return self.bulk(Builtin::MemoryCopy, &[to_memory, from_memory]);
        }
        let (to, from, bytes) = self.pop3();
        let bytes = self.wide(bytes);
        let to = self.bytes_in_bounds(to_memory, to, bytes);
        let from = self.bytes_in_bounds(from_memory, from, bytes);
        self.library_call(LibCall::Memmove, &[to, from, bytes]);
    }

    /// As [`Translator::memory_copy`].
    fn memory_fill(&mut self, memory: u32) {
        if self.env.info.memories[memory as usize].shared {
            return self.bulk(Builtin::MemoryFill, &[memory]);
        }
        let (to, value, bytes) = self.pop3();
        let bytes = self.wide(bytes);
        let to = self.bytes_in_bounds(memory, to, bytes);
        self.library_call(LibCall::Memset, &[to, value, bytes]);
    }

    /// The address of `bytes` bytes of a memory from `index` on; traps unless all are there.
    fn bytes_in_bounds(&mut self, memory: u32, index: Value, bytes: Value) -> Value {
        let index = self.wide(index);
        let end = match self.env.info.memories[memory as usize].is_64 {
            true => self.b.ins().uadd_overflow_trap(index, bytes, TrapCode::HEAP_OUT_OF_BOUNDS),
            // Neither is more than 32 bits.
            false => self.b.ins().iadd(index, bytes),
        };
        let length = self.memory_length(memory);
        let outside = self.b.ins().icmp(IntCC::UnsignedGreaterThan, end, length);
        self.b.ins().trapnz(outside, TrapCode::HEAP_OUT_OF_BOUNDS);
        let base = self.memory_base(memory);
        self.b.ins().iadd(base, index)
    }

    /// Calls a function of the system's library, which neither collects nor fails.
    pub(super) fn library_call(&mut self, call: LibCall, args: &[Value]) {
        let mut signature = ir::Signature::new(self.env.compiler.isa.default_call_conv());
        signature.params = args.iter().map(|arg| AbiParam::new(self.b.func.dfg.value_type(*arg))).collect();
        let signature = self.b.import_signature(signature);
        let name = ExternalName::LibCall(call);
        let function = self.b.import_function(ExtFuncData { name, signature, colocated: false, patchable: false });
        self.b.ins().call(function, args);
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
