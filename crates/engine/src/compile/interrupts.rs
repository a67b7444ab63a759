//! What can end a runaway program: the collector's polls, deadlines and fuel.
//!
//! All are looked at where functions and iterations of loops begin, which no endless program avoids. What is off costs nothing.
//!
//! ```text
//! deadline:                                     fuel, at the end of straight-line code:   fuel, where it is looked at:
//!   now = atomic_load.i64 [store.epoch]           f = load.i64 store.fuel                   f = load.i64 store.fuel
//!   if now >= store.epoch_deadline                store.i64 f - n, store.fuel               if f < 0
//!     call epoch_reached                                                                      call out_of_fuel
//! ```
//!
//! The epoch's load is atomic because another thread writes it: a plain one could be taken for the one before the loop.

use super::translate::Translator;
use crate::vm::{Builtin, VMStoreContext};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value};
use gc_api::Region;
use wasmparser::Operator;

impl Translator<'_, '_> {
    /// Where a function or an iteration of a loop begins.
    pub fn interruption_point(&mut self) {
        if self.env.compiler.gc.compiler().needs().poll {
            self.gc(|gc, e| gc.poll(e));
        }
        if self.env.compiler.options.epochs {
            self.check_deadline();
        }
        if self.env.compiler.options.fuel {
            self.check_fuel();
        }
    }

    fn check_deadline(&mut self) {
        let store = self.env.store(&mut self.b);
        let constant = super::env::constant_flags(&mut self.b);
        let epoch = self.b.ins().load(I64, constant, store, VMStoreContext::EPOCH);
        let now = self.b.ins().atomic_load(I64, MemFlagsData::trusted(), epoch);
        let flags = Region::Context.flags(self.b.func);
        let deadline = self.b.ins().load(I64, flags, store, VMStoreContext::EPOCH_DEADLINE);
        let reached = self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, now, deadline);
        self.call_if(reached, Builtin::EpochReached);
    }

    fn check_fuel(&mut self) {
        let store = self.env.store(&mut self.b);
        let flags = Region::Context.flags(self.b.func);
        let left = self.b.ins().load(I64, flags, store, VMStoreContext::FUEL);
        let none = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, left, 0);
        self.call_if(none, Builtin::OutOfFuel);
    }

    /// Calls a builtin, out of the way of the straight path.
    fn call_if(&mut self, condition: Value, builtin: Builtin) {
        let (call, done) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(call);
        self.b.ins().brif(condition, call, &[], done, &[]);
        self.b.seal_block(call);
        self.b.switch_to_block(call);
        self.env.builtin(&mut self.b, builtin, &[]);
        self.b.ins().jump(done, &[]);
        self.b.seal_block(done);
        self.b.switch_to_block(done);
    }

    /// Counts an instruction, about to be translated in reachable code. What straight-line code consumes is subtracted at its end.
    pub fn consume_fuel(&mut self, op: &Operator<'_>) {
        use Operator as O;
        let structure =
            matches!(op, O::Nop | O::Drop | O::Block { .. } | O::Loop { .. } | O::TryTable { .. } | O::Else | O::End);
        self.fuel += i64::from(!structure);
        if self.fuel == 0 || !ends_straight_line(op) {
            return;
        }
        let store = self.env.store(&mut self.b);
        let flags = Region::Context.flags(self.b.func);
        let left = self.b.ins().load(I64, flags, store, VMStoreContext::FUEL);
        let left = self.b.ins().iadd_imm_s(left, -self.fuel);
        self.b.ins().store(flags, left, store, VMStoreContext::FUEL);
        self.fuel = 0;
    }
}

/// Whether what follows an instruction may be executed more or less often than what precedes it, or others look at the fuel
/// meanwhile.
fn ends_straight_line(op: &Operator<'_>) -> bool {
    use Operator as O;
    matches!(
        op,
        O::Loop { .. }
            | O::If { .. }
            | O::Else
            | O::End
            | O::TryTable { .. }
            | O::Br { .. }
            | O::BrIf { .. }
            | O::BrTable { .. }
            | O::BrOnNull { .. }
            | O::BrOnNonNull { .. }
            | O::BrOnCast { .. }
            | O::BrOnCastFail { .. }
            | O::Return
            | O::Unreachable
            | O::Throw { .. }
            | O::ThrowRef
            | O::Call { .. }
            | O::CallIndirect { .. }
            | O::CallRef { .. }
            | O::ReturnCall { .. }
            | O::ReturnCallIndirect { .. }
            | O::ReturnCallRef { .. }
    )
}
