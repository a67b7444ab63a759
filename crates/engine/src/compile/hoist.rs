//! Numbers with a fraction that a loop uses are made before it.
//!
//! Cranelift makes each constant anew in every block that uses it, since that keeps registers free. An integer is an operand more often than
//! not; a float takes two instructions, and loops that compute with floats have registers for a few. Before this, the blocks are as they will
//! remain.
//!
//! In a loop that calls functions a constant would go to the stack and come back for each use, and is left where it is.

use super::safepoints::rare::is_rare;
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{Block, Function, Inst, InstBuilder, InstructionData, Opcode, Value};
use cranelift_codegen::loop_analysis::{Loop, LoopAnalysis};
use cranelift_codegen::settings::Flags;
use cranelift_codegen::{CodegenResult, Context};
use rustc_hash::{FxHashMap, FxHashSet};

/// Constants that are made before one loop: half of the registers that there are.
const MOST: usize = 8;

/// Moves what is to be moved in a function that has been optimised.
pub(super) fn hoist(context: &mut Context, flags: &Flags) -> CodegenResult<()> {
    let func = &context.func;
    let insts = func.layout.blocks().flat_map(|block| func.layout.block_insts(block).map(move |inst| (block, inst)));
    let constants: Vec<(Block, Inst)> = insts.filter(|(_, inst)| bits(func, *inst).is_some()).collect();
    if constants.is_empty() {
        return Ok(());
    }
    // The analysis does not end where there are blocks that nothing leads to any more.
    context.eliminate_unreachable_code(flags)?;
    context.compute_loop_analysis();
    let Context { func, domtree, loop_analysis: loops, .. } = context;
    let calling = loops_that_call(func, loops);
    let mut made: FxHashMap<Block, Vec<(Inst, Value)>> = FxHashMap::default();
    for (block, constant) in constants.into_iter().filter(|(block, _)| domtree.is_reachable(*block)) {
        let Some(outermost) = around(loops, block).take_while(|around| !calling.contains(around)).last() else {
            continue;
        };
        let Some(before) = domtree.idom(loops.loop_header(outermost)) else { continue };
        let made = made.entry(before).or_default();
        let known = made.iter().find(|(known, _)| bits(func, *known) == bits(func, constant));
        let value = match known {
            Some((_, value)) => *value,
            None if made.len() == MOST => continue,
            None => {
                let mut cursor = FuncCursor::new(func).at_last_inst(before);
                let value = match cursor.func.dfg.insts[constant] {
                    InstructionData::UnaryIeee32 { imm, .. } => cursor.ins().f32const(imm),
                    InstructionData::UnaryIeee64 { imm, .. } => cursor.ins().f64const(imm),
                    ref other => unreachable!("{other:?} is no constant"),
                };
                made.push((cursor.func.dfg.value_def(value).unwrap_inst(), value));
                value
            }
        };
        let old = func.dfg.first_result(constant);
        func.dfg.detach_inst_results(constant);
        func.dfg.change_to_alias(old, value);
        func.layout.remove_inst(constant);
    }
    Ok(())
}

/// What tells constants apart.
fn bits(func: &Function, inst: Inst) -> Option<(Opcode, u64)> {
    match func.dfg.insts[inst] {
        InstructionData::UnaryIeee32 { opcode, imm } => Some((opcode, imm.bits().into())),
        InstructionData::UnaryIeee64 { opcode, imm } => Some((opcode, imm.bits())),
        _ => None,
    }
}

/// The loops around a block, from the inside out.
fn around(loops: &LoopAnalysis, block: Block) -> impl Iterator<Item = Loop> + '_ {
    std::iter::successors(loops.innermost_loop(block), |inner| loops.loop_parent(*inner))
}

/// The loops in which something is called whose registers are not its own.
fn loops_that_call(func: &Function, loops: &LoopAnalysis) -> FxHashSet<Loop> {
    let mut calling = FxHashSet::default();
    let calls = |block: &Block| {
        func.layout.block_insts(*block).any(|inst| func.dfg.insts[inst].opcode().is_call() && !is_rare(func, inst))
    };
    for block in func.layout.blocks().filter(calls) {
        around(loops, block).take_while(|around| calling.insert(*around)).for_each(drop);
    }
    calling
}

#[cfg(test)]
mod tests;
