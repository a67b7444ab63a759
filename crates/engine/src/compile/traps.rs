//! A branch to a block that does nothing but trap becomes a conditional trap, which stands where the trap does.
//!
//! ```text
//!   @8  brif x, then, else            @9  trapnz x, code
//!   then: @9 trap code        becomes @8  jump else
//! ```
//!
//! Cranelift does that too. But then it is the branch that traps, and who reads the backtrace is shown another instruction; where the
//! trap is that of a function which was inlined, another function.

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::{Block, Function, Inst, InstBuilder, InstructionData, Opcode, TrapCode};

/// Puts the conditional traps of `func`, which is complete, where the traps are.
pub(super) fn branches_to_traps(func: &mut Function) {
    let blocks: Vec<Block> = func.layout.blocks().collect();
    let mut traps: SecondaryMap<Block, Option<(Inst, TrapCode)>> = SecondaryMap::new();
    let mut any = false;
    for block in &blocks {
        traps[*block] = just_traps(func, *block);
        any |= traps[*block].is_some();
    }
    if !any {
        return;
    }
    for block in blocks {
        let Some(last) = func.layout.last_inst(block) else { continue };
        let InstructionData::Brif { arg: condition, blocks: [yes, no], .. } = func.dfg.insts[last] else { continue };
        let [on_yes, on_no] = [yes, no].map(|edge| traps[edge.block(&func.dfg.value_lists)]);
        let Some((trap, code)) = on_yes.or(on_no) else { continue };
        let position = func.srcloc(trap);
        let mut cursor = FuncCursor::new(func).at_inst(last).with_srcloc(position);
        match on_yes {
            Some(_) => cursor.ins().trapnz(condition, code),
            None => cursor.ins().trapz(condition, code),
        };
        let destination = if on_yes.is_some() { no } else { yes };
        func.dfg.insts[last] = InstructionData::Jump { opcode: Opcode::Jump, destination };
    }
}

/// The trap that a block ends with, if nothing before it can be seen from outside.
fn just_traps(func: &Function, block: Block) -> Option<(Inst, TrapCode)> {
    let last = func.layout.last_inst(block)?;
    let InstructionData::Trap { opcode: Opcode::Trap, code } = func.dfg.insts[last] else { return None };
    let pure = |inst: Inst| {
        let opcode = func.dfg.insts[inst].opcode();
        inst == last
            || !(opcode.can_load()
                || opcode.can_store()
                || opcode.can_trap()
                || opcode.is_call()
                || opcode.other_side_effects())
    };
    func.layout.block_insts(block).all(pure).then_some((last, code))
}

#[cfg(test)]
mod tests;
