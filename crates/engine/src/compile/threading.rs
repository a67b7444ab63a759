//! Jump threading: what leads to a block that only decides goes where the decision leads.
//!
//! `a || b`, a test for a type, a small function that answers yes or no: each is a branch that becomes a number, and a branch on that
//! number. Where control comes from, the number is a constant, or a comparison of its own:
//!
//! ```text
//!   jump B(1)     jump B(0)     jump B(x)               jump yes     jump no     brif x, yes, no
//!         \          |           /             becomes
//!          B(p): brif p, yes, no
//! ```
//!
//! What cannot be predicted is then mispredicted once, and not twice. Cranelift folds blocks into each other and does not do this.
//! (F. Mueller, D. B. Whalley, *Avoiding conditional branches by code replication*, PLDI 1995.)

use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    Block, BlockArg, BlockCall, Function, Inst, InstructionData, Opcode, Type, Value, ValueDef,
};

/// The most instructions of a block that only decides.
const LONGEST: usize = 4;
/// The most parameters of one: what follows takes time in proportion to their square.
const MOST_PARAMS: usize = 16;
/// Decisions that a jump is taken through, one after the other.
const MOST: usize = 8;

/// Threads the jumps of `func`, which is complete.
pub(super) fn thread_jumps(func: &mut Function) {
    let blocks: Vec<Block> = func.layout.blocks().collect();
    let may_decide: Vec<(Block, Inst)> =
        blocks.iter().filter_map(|block| Some((*block, branch(func, *block)?))).collect();
    if may_decide.is_empty() {
        return;
    }
    func.dfg.resolve_all_aliases();
    let uses = uses(func, &blocks);
    let mut decides: SecondaryMap<Block, Option<Inst>> = SecondaryMap::new();
    for (block, branch) in may_decide {
        decides[block] = keeps_to_itself(func, block, branch, &uses).then_some(branch);
    }
    for block in blocks {
        for _ in 0..MOST {
            let Some(last) = func.layout.last_inst(block) else { break };
            if !(thread_edges(func, last, &decides) | take_in(func, last, &decides)) {
                break;
            }
        }
    }
}

/// The branch that a block ends with, if what stands before it is little and has no effect, and it has parameters.
fn branch(func: &Function, block: Block) -> Option<Inst> {
    let last = func.layout.last_inst(block)?;
    let pure = |inst: Inst| {
        inst == last || matches!(func.dfg.insts[inst].opcode(), Opcode::Iconst | Opcode::Icmp | Opcode::Uextend)
    };
    let decides = func.dfg.insts[last].opcode() == Opcode::Brif
        && (1..=MOST_PARAMS).contains(&func.dfg.block_params(block).len())
        && func.layout.block_insts(block).take(LONGEST + 1).all(pure)
        && func.layout.block_insts(block).nth(LONGEST).is_none();
    decides.then_some(last)
}

/// How often each value is used.
fn uses(func: &Function, blocks: &[Block]) -> SecondaryMap<Value, u32> {
    let mut uses = SecondaryMap::new();
    for inst in blocks.iter().flat_map(|block| func.layout.block_insts(*block)) {
        func.dfg.inst_values(inst).for_each(|value| uses[value] += 1);
    }
    uses
}

/// Whether what a block that ends with `branch` defines is used in it alone, and only its parameters go on, so that others may go past it.
fn keeps_to_itself(func: &Function, block: Block, branch: Inst, uses: &SecondaryMap<Value, u32>) -> bool {
    let mut own: Vec<Value> = func.dfg.block_params(block).to_vec();
    own.extend(func.layout.block_insts(block).flat_map(|inst| func.dfg.inst_results(inst)));
    let inside = |value: Value| {
        func.layout.block_insts(block).flat_map(|inst| func.dfg.inst_values(inst)).filter(|used| *used == value).count()
    };
    let stays = |value: Value| passed_on(func, branch).all(|arg| arg != value);
    own.into_iter().all(|value| {
        let is_param = matches!(func.dfg.value_def(value), ValueDef::Param(..));
        inside(value) == uses[value] as usize && (is_param || stays(value))
    })
}

/// What a branch passes to the blocks behind it.
fn passed_on(func: &Function, branch: Inst) -> impl Iterator<Item = Value> + '_ {
    destinations(func, branch).iter().flat_map(|edge| edge.args(&func.dfg.value_lists)).filter_map(|arg| arg.as_value())
}

/// Leads the edges of the branch `last` past blocks that decide, where it is known how they do. Whether there was one.
fn thread_edges(func: &mut Function, last: Inst, decides: &SecondaryMap<Block, Option<Inst>>) -> bool {
    if !matches!(func.dfg.insts[last].opcode(), Opcode::Jump | Opcode::Brif) {
        return false;
    }
    let mut changed = false;
    for i in 0..destinations(func, last).len() {
        let edge = destinations(func, last)[i];
        let block = edge.block(&func.dfg.value_lists);
        let Some(branch) = decides[block] else { continue };
        let Some(answer) = known(func, branch, edge) else { continue };
        let decided = destinations(func, branch)[usize::from(!answer)];
        let past = compose(func, edge, decided);
        let dfg = &mut func.dfg;
        dfg.insts[last].branch_destination_mut(&mut dfg.jump_tables, &mut dfg.exception_tables)[i] = past;
        changed = true;
    }
    changed
}

/// Makes a jump to a block that does nothing but decide the decision itself. Whether it was one.
fn take_in(func: &mut Function, last: Inst, decides: &SecondaryMap<Block, Option<Inst>>) -> bool {
    let InstructionData::Jump { destination, .. } = func.dfg.insts[last] else { return false };
    let block = destination.block(&func.dfg.value_lists);
    let Some(branch) = decides[block] else { return false };
    if func.layout.first_inst(block) != Some(branch) {
        return false;
    }
    let condition = func.dfg.inst_args(branch)[0];
    let condition = passed(func, destination, condition).unwrap_or(condition);
    let [yes, no] = [0, 1].map(|i| {
        let decided = destinations(func, branch)[i];
        compose(func, destination, decided)
    });
    func.dfg.insts[last] = InstructionData::Brif { opcode: Opcode::Brif, arg: condition, blocks: [yes, no] };
    true
}

/// Where a branch may lead.
pub(super) fn destinations(func: &Function, inst: Inst) -> &[BlockCall] {
    func.dfg.insts[inst].branch_destination(&func.dfg.jump_tables, &func.dfg.exception_tables)
}

/// What becomes of a parameter of the block that `edge` leads to.
fn passed(func: &Function, edge: BlockCall, param: Value) -> Option<Value> {
    let pool = &func.dfg.value_lists;
    let position = func.dfg.block_params(edge.block(pool)).iter().position(|known| *known == param)?;
    edge.args(pool).nth(position)?.as_value()
}

/// The edge that `edge`, to a block that decides, and then `decided`, out of it, are together.
fn compose(func: &mut Function, edge: BlockCall, decided: BlockCall) -> BlockCall {
    let args: Vec<BlockArg> = decided
        .args(&func.dfg.value_lists)
        .map(|arg| arg.map_value(|value| passed(func, edge, value).unwrap_or(value)))
        .collect();
    let block = decided.block(&func.dfg.value_lists);
    BlockCall::new(block, args, &mut func.dfg.value_lists)
}

/// Which way the branch of a block goes when it is entered by `edge`, if that is known.
fn known(func: &Function, branch: Inst, edge: BlockCall) -> Option<bool> {
    Some(evaluate(func, func.dfg.inst_args(branch)[0], edge, LONGEST)? != 0)
}

/// The number that a value is, by what `edge` passes.
fn evaluate(func: &Function, value: Value, edge: BlockCall, depth: usize) -> Option<u64> {
    let value = passed(func, edge, value).unwrap_or(value);
    let ValueDef::Result(inst, 0) = func.dfg.value_def(value) else { return None };
    let below = |value: &Value| evaluate(func, *value, edge, depth.checked_sub(1)?);
    match &func.dfg.insts[inst] {
        InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => {
            Some(low_bits(imm.bits() as u64, func.dfg.value_type(value)))
        }
        InstructionData::Unary { opcode: Opcode::Uextend, arg } => below(arg),
        InstructionData::IntCompare {
            opcode: Opcode::Icmp,
            args: [one, other],
            cond: cond @ (IntCC::Equal | IntCC::NotEqual),
        } => Some(u64::from((below(one)? == below(other)?) == (*cond == IntCC::Equal))),
        _ => None,
    }
}

/// The bits of a number that its type has.
pub(super) fn low_bits(bits: u64, ty: Type) -> u64 {
    bits & (u64::MAX >> (64 - ty.bits().min(64)))
}

#[cfg(test)]
mod tests;
