//! Atomic accesses to memories (the threads proposal, "Atomic Memory Instructions").
//!
//! All are sequentially consistent, and trap unless their address is a multiple of their size.

use super::translate::Translator;
use crate::vm::{Builtin, trap_codes};
use cranelift_codegen::ir::types::{I8, I16, I32, I64};
use cranelift_codegen::ir::{AtomicRmwOp, InstBuilder, MemFlagsData, Type, Value};
use wasmparser::{MemArg, MemArgTarget, Operator};

impl Translator<'_, '_> {
    /// Translates atomic operators; the others give `false`.
    pub(super) fn atomic_operator(&mut self, op: &Operator<'_>) -> bool {
        use AtomicRmwOp as R;
        use Operator as O;
        match op {
            O::MemoryAtomicNotify { memarg } => self.notify(memarg),
            O::MemoryAtomicWait32 { memarg } => self.wait(Builtin::AtomicWait32, memarg),
            O::MemoryAtomicWait64 { memarg } => self.wait(Builtin::AtomicWait64, memarg),
            O::AtomicFence { .. } => {
                self.b.ins().fence();
            }

            O::I32AtomicLoad { memarg } | O::I32AtomicLoad8U { memarg } | O::I32AtomicLoad16U { memarg } => {
                self.atomic_load(memarg, I32);
            }
            O::I64AtomicLoad { memarg }
            | O::I64AtomicLoad8U { memarg }
            | O::I64AtomicLoad16U { memarg }
            | O::I64AtomicLoad32U { memarg } => self.atomic_load(memarg, I64),
            O::I32AtomicStore { memarg }
            | O::I32AtomicStore8 { memarg }
            | O::I32AtomicStore16 { memarg }
            | O::I64AtomicStore { memarg }
            | O::I64AtomicStore8 { memarg }
            | O::I64AtomicStore16 { memarg }
            | O::I64AtomicStore32 { memarg } => self.atomic_store(memarg),

            O::I32AtomicRmwAdd { memarg }
            | O::I32AtomicRmw8AddU { memarg }
            | O::I32AtomicRmw16AddU { memarg }
            | O::I64AtomicRmwAdd { memarg }
            | O::I64AtomicRmw8AddU { memarg }
            | O::I64AtomicRmw16AddU { memarg }
            | O::I64AtomicRmw32AddU { memarg } => self.atomic_rmw(memarg, R::Add),
            O::I32AtomicRmwSub { memarg }
            | O::I32AtomicRmw8SubU { memarg }
            | O::I32AtomicRmw16SubU { memarg }
            | O::I64AtomicRmwSub { memarg }
            | O::I64AtomicRmw8SubU { memarg }
            | O::I64AtomicRmw16SubU { memarg }
            | O::I64AtomicRmw32SubU { memarg } => self.atomic_rmw(memarg, R::Sub),
            O::I32AtomicRmwAnd { memarg }
            | O::I32AtomicRmw8AndU { memarg }
            | O::I32AtomicRmw16AndU { memarg }
            | O::I64AtomicRmwAnd { memarg }
            | O::I64AtomicRmw8AndU { memarg }
            | O::I64AtomicRmw16AndU { memarg }
            | O::I64AtomicRmw32AndU { memarg } => self.atomic_rmw(memarg, R::And),
            O::I32AtomicRmwOr { memarg }
            | O::I32AtomicRmw8OrU { memarg }
            | O::I32AtomicRmw16OrU { memarg }
            | O::I64AtomicRmwOr { memarg }
            | O::I64AtomicRmw8OrU { memarg }
            | O::I64AtomicRmw16OrU { memarg }
            | O::I64AtomicRmw32OrU { memarg } => self.atomic_rmw(memarg, R::Or),
            O::I32AtomicRmwXor { memarg }
            | O::I32AtomicRmw8XorU { memarg }
            | O::I32AtomicRmw16XorU { memarg }
            | O::I64AtomicRmwXor { memarg }
            | O::I64AtomicRmw8XorU { memarg }
            | O::I64AtomicRmw16XorU { memarg }
            | O::I64AtomicRmw32XorU { memarg } => self.atomic_rmw(memarg, R::Xor),
            O::I32AtomicRmwXchg { memarg }
            | O::I32AtomicRmw8XchgU { memarg }
            | O::I32AtomicRmw16XchgU { memarg }
            | O::I64AtomicRmwXchg { memarg }
            | O::I64AtomicRmw8XchgU { memarg }
            | O::I64AtomicRmw16XchgU { memarg }
            | O::I64AtomicRmw32XchgU { memarg } => self.atomic_rmw(memarg, R::Xchg),
            O::I32AtomicRmwCmpxchg { memarg }
            | O::I32AtomicRmw8CmpxchgU { memarg }
            | O::I32AtomicRmw16CmpxchgU { memarg }
            | O::I64AtomicRmwCmpxchg { memarg }
            | O::I64AtomicRmw8CmpxchgU { memarg }
            | O::I64AtomicRmw16CmpxchgU { memarg }
            | O::I64AtomicRmw32CmpxchgU { memarg } => self.atomic_compare_exchange(memarg),
            _ => return false,
        }
        true
    }

    fn atomic_load(&mut self, memarg: &MemArg, ty: Type) {
        let index = self.pop();
        let (flags, address) = self.atomic_address(memarg, index);
        let value = self.b.ins().atomic_load(accessed(memarg), flags, address);
        let value = self.widen(ty, value);
        self.push(value);
    }

    fn atomic_store(&mut self, memarg: &MemArg) {
        let (index, value) = self.pop2();
        let (flags, address) = self.atomic_address(memarg, index);
        let value = self.narrow(accessed(memarg), value);
        self.b.ins().atomic_store(flags, value, address);
    }

    fn atomic_rmw(&mut self, memarg: &MemArg, op: AtomicRmwOp) {
        let (index, operand) = self.pop2();
        let ty = self.b.func.dfg.value_type(operand);
        let (flags, address) = self.atomic_address(memarg, index);
        let operand = self.narrow(accessed(memarg), operand);
        let old = self.b.ins().atomic_rmw(accessed(memarg), flags, op, address, operand);
        let old = self.widen(ty, old);
        self.push(old);
    }

    fn atomic_compare_exchange(&mut self, memarg: &MemArg) {
        let (index, expected, new) = self.pop3();
        let (ty, accessed) = (self.b.func.dfg.value_type(new), accessed(memarg));
        let (flags, address) = self.atomic_address(memarg, index);
        // The proposal's overview wraps what is expected before the comparison; its formal text is not clear.
        let (expected, new) = (self.narrow(accessed, expected), self.narrow(accessed, new));
        let old = self.b.ins().atomic_cas(flags, address, expected, new);
        let old = self.widen(ty, old);
        self.push(old);
    }

    /// The address of an access, after the tests before it. It may fault, as other accesses may.
    fn atomic_address(&mut self, memarg: &MemArg, index: Value) -> (MemFlagsData, Value) {
        let bytes = 1i64 << memarg.max_align;
        let index = self.wide(index);
        if bytes > 1 {
            // An overflow of the sum changes none of its low bits.
            let sum = self.b.ins().iadd_imm_u(index, memarg.offset as i64 & (bytes - 1));
            let rest = self.b.ins().band_imm_u(sum, bytes - 1);
            self.b.ins().trapnz(rest, trap_codes::UNALIGNED_ATOMIC);
        }
        let (flags, address, offset) = self.memory_address(memarg, index);
        let address = if offset == 0 { address } else { self.b.ins().iadd_imm_s(address, offset as i64) };
        (flags, address)
    }

    fn notify(&mut self, memarg: &MemArg) {
        let (index, count) = self.pop2();
        let place = self.place(memarg, index);
        let count = self.wide(count);
        let woken = self.env.builtin(&mut self.b, Builtin::AtomicNotify, &[place[0], place[1], place[2], count]);
        let woken = self.b.ins().ireduce(I32, woken);
        self.push(woken);
    }

    fn wait(&mut self, builtin: Builtin, memarg: &MemArg) {
        let (index, expected, timeout) = self.pop3();
        let place = self.place(memarg, index);
        let expected = self.wide(expected);
        let outcome = self.env.builtin(&mut self.b, builtin, &[place[0], place[1], place[2], expected, timeout]);
        let outcome = self.b.ins().ireduce(I32, outcome);
        self.push(outcome);
    }

    /// Memory, index and offset, for a builtin.
    fn place(&mut self, memarg: &MemArg, index: Value) -> [Value; 3] {
        let MemArgTarget::Memory(memory) = memarg.target else { unreachable!("validated: a feature that is off") };
        [self.i64(memory as i64), self.wide(index), self.i64(memarg.offset as i64)]
    }

    fn narrow(&mut self, ty: Type, value: Value) -> Value {
        if self.b.func.dfg.value_type(value) == ty { value } else { self.b.ins().ireduce(ty, value) }
    }

    fn widen(&mut self, ty: Type, value: Value) -> Value {
        if self.b.func.dfg.value_type(value) == ty { value } else { self.b.ins().uextend(ty, value) }
    }
}

/// What an instruction accesses: what it can be aligned to at most, and must be.
fn accessed(memarg: &MemArg) -> Type {
    match memarg.max_align {
        0 => I8,
        1 => I16,
        2 => I32,
        _ => I64,
    }
}
