//! Numbers of 32 bits that are extended to 64 again and again, to be addresses, are held in 64 from the beginning.
//!
//! A reference is an index of 32 bits, and following it adds it to the heap's base. What a load brings is extended already on all machines
//! here, but Cranelift sees a load of 32 bits and an instruction that extends; and a parameter of a block, such as what a loop walks
//! along a list with, is extended in each iteration, which makes the walk longer by a cycle in five or six:
//!
//! ```text
//!   block1(v1: i32):                                block1(v5: i64):
//!     v2 = uextend.i64 v1                             v1 = ireduce.i32 v5        ; for those who want 32 bits: no instruction
//!     v3 = load.i32 v2+8               becomes        v6 = uload32 v5+8
//!     brif v3, block1(v3), block2                     v3 = ireduce.i32 v6
//!                                                     brif v3, block1(v6), block2
//! ```
//!
//! This comes last, when loads and stores have been held against each other and references are where collections find them: after a
//! call that may move objects, a reference is another value.

use super::threading::destinations;
use super::translate::constant;
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{
    Block, BlockArg, BlockCall, Function, Inst, InstBuilder, InstructionData, Opcode, Value, ValueDef,
};
use std::mem;

/// Parameters of a block that are looked at: what follows takes time in proportion to their square.
const MOST_PARAMS: usize = 64;

/// Widens what is worth it in `func`, which is otherwise complete.
pub(super) fn widen(func: &mut Function) {
    let mut widening = Widening::default();
    if widening.collect(func) {
        widening.choose(func);
        widening.apply(func);
    }
}

#[derive(Default)]
struct Widening {
    /// How often each value is extended.
    extended: SecondaryMap<Value, usize>,
    /// Branches to each block, and which of their destinations it is.
    edges: SecondaryMap<Block, Vec<(Inst, usize)>>,
    /// Parameters that may be widened, and at the end those that are.
    params: SecondaryMap<Value, bool>,
    /// Those that were thought of, in the order in which they were found.
    found: Vec<Value>,
    /// The extended form of each value that has one.
    wide: SecondaryMap<Value, Option<Value>>,
}

impl Widening {
    /// Looks at all instructions. Whether there is anything to do.
    fn collect(&mut self, func: &Function) -> bool {
        let mut any = false;
        for inst in func.layout.blocks().flat_map(|block| func.layout.block_insts(block)) {
            if let Some(arg) = extends(func, inst) {
                any |= is_load(func, arg).is_some() || self.consider(func, arg);
                self.extended[arg] += 1;
            }
            for (i, edge) in destinations(func, inst).iter().enumerate() {
                self.edges[edge.block(&func.dfg.value_lists)].push((inst, i));
            }
        }
        any
    }

    /// Thinks of `value` if it is a parameter of 32 bits of a block that is branched to.
    fn consider(&mut self, func: &Function, value: Value) -> bool {
        let ValueDef::Param(block, position) = func.dfg.value_def(value) else { return false };
        let inner = func.layout.entry_block() != Some(block);
        let fits = inner && func.dfg.value_type(value) == I32 && position < MOST_PARAMS;
        if fits && !mem::replace(&mut self.params[value], true) {
            self.found.push(value);
        }
        fits
    }

    /// Decides for parameters that are extended more often than what they are given has to be, which may be parameters again.
    fn choose(&mut self, func: &Function) {
        let mut next = 0;
        while let Some(param) = self.found.get(next).copied() {
            for arg in self.args(func, param) {
                arg.map(|arg| self.consider(func, arg));
            }
            next += 1;
        }
        // How often each is passed to another that is widened.
        let mut passed: SecondaryMap<Value, usize> = SecondaryMap::new();
        let mut receivers: SecondaryMap<Value, Vec<Value>> = SecondaryMap::new();
        for param in &self.found {
            for arg in self.args(func, *param).into_iter().flatten().filter(|arg| self.params[*arg]) {
                passed[arg] += 1;
                receivers[arg].push(*param);
            }
        }
        let mut doubtful = self.found.clone();
        while let Some(param) = doubtful.pop() {
            let args = self.args(func, param);
            let costs =
                args.iter().filter(|arg| arg.is_none_or(|arg| !self.params[arg] && !is_free(func, arg))).count();
            let gains = self.extended[param] + passed[param];
            let possible = args.iter().all(Option::is_some);
            if !self.params[param] || possible && costs <= gains {
                continue;
            }
            self.params[param] = false;
            for arg in args.into_iter().flatten().filter(|arg| self.params[*arg]) {
                passed[arg] -= 1;
                doubtful.push(arg);
            }
            doubtful.extend(&receivers[param]);
        }
    }

    /// What a parameter is given, edge by edge; `None` is no value, but what a call leaves.
    fn args(&self, func: &Function, param: Value) -> Vec<Option<Value>> {
        let ValueDef::Param(block, position) = func.dfg.value_def(param) else { unreachable!("a parameter") };
        let pool = &func.dfg.value_lists;
        let arg = |(inst, i): &(Inst, usize)| destinations(func, *inst)[*i].args(pool).nth(position)?.as_value();
        self.edges[block].iter().map(arg).map(|arg| arg.map(|arg| func.dfg.resolve_aliases(arg))).collect()
    }

    fn apply(&mut self, func: &mut Function) {
        let params: Vec<Value> = self.found.iter().copied().filter(|param| self.params[*param]).collect();
        let given: Vec<Value> = params.iter().flat_map(|param| self.args(func, *param)).flatten().collect();
        let blocks: Vec<Block> = func.layout.blocks().collect();
        // Where each is to go is known by numbers; afterwards they are other values.
        let mut positions: SecondaryMap<Block, Vec<usize>> = SecondaryMap::new();
        for param in params {
            let ValueDef::Param(block, position) = func.dfg.value_def(param) else { unreachable!("a parameter") };
            positions[block].push(position);
            let wide = func.dfg.replace_block_param(param, I64);
            self.wide[param] = Some(wide);
            FuncCursor::new(func).at_first_insertion_point(block).ins().with_result(param).ireduce(I32, wide);
        }
        for value in given {
            self.widen_load(func, value);
        }
        for block in blocks {
            let mut next = func.layout.first_inst(block);
            while let Some(inst) = next {
                next = func.layout.next_inst(inst);
                self.extend(func, inst);
                for i in 0..destinations(func, inst).len() {
                    let to = destinations(func, inst)[i].block(&func.dfg.value_lists);
                    if !positions[to].is_empty() {
                        self.pass(func, (inst, i), &positions[to]);
                    }
                }
            }
        }
    }

    /// Takes the wide form of a value in place of an instruction that extends it, if there is one.
    fn extend(&mut self, func: &mut Function, inst: Inst) {
        let Some(arg) = extends(func, inst) else { return };
        self.widen_load(func, arg);
        if let Some(wide) = self.wide[arg] {
            let extended = func.dfg.first_result(inst);
            func.dfg.detach_inst_results(inst);
            func.dfg.change_to_alias(extended, wide);
            func.layout.remove_inst(inst);
        }
    }

    /// Has a value that is loaded in 64 bits.
    fn widen_load(&mut self, func: &mut Function, value: Value) {
        if self.wide[value].is_some() {
            return;
        }
        let Some(load) = is_load(func, value) else { return };
        let InstructionData::Load { flags, offset, arg, .. } = func.dfg.insts[load] else { unreachable!("a load") };
        let (flags, position) = (func.dfg.mem_flags[flags], func.srcloc(load));
        func.dfg.detach_inst_results(load);
        let mut cursor = FuncCursor::new(func).at_inst(load).with_srcloc(position);
        let wide = cursor.ins().uload32(flags, arg, offset);
        cursor.ins().with_result(value).ireduce(I32, wide);
        func.layout.remove_inst(load);
        self.wide[value] = Some(wide);
    }

    /// Passes the wide forms of what goes along an edge at these positions.
    fn pass(&self, func: &mut Function, (inst, i): (Inst, usize), positions: &[usize]) {
        let edge = destinations(func, inst)[i];
        let mut args: Vec<BlockArg> = edge.args(&func.dfg.value_lists).collect();
        for position in positions {
            let arg = func.dfg.resolve_aliases(args[*position].as_value().expect("chosen"));
            let wide = self.wide[arg].unwrap_or_else(|| {
                let position = func.srcloc(inst);
                let mut cursor = FuncCursor::new(func).at_inst(inst).with_srcloc(position);
                match constant(cursor.func, arg) {
                    Some(bits) => cursor.ins().iconst(I64, i64::from(bits as u32)),
                    None => cursor.ins().uextend(I64, arg),
                }
            });
            args[*position] = BlockArg::Value(wide);
        }
        let dfg = &mut func.dfg;
        let edge = BlockCall::new(edge.block(&dfg.value_lists), args, &mut dfg.value_lists);
        dfg.insts[inst].branch_destination_mut(&mut dfg.jump_tables, &mut dfg.exception_tables)[i] = edge;
    }
}

/// What an instruction extends from 32 to 64 bits, if it is one that does.
fn extends(func: &Function, inst: Inst) -> Option<Value> {
    let InstructionData::Unary { opcode: Opcode::Uextend, arg } = func.dfg.insts[inst] else { return None };
    let fits = func.dfg.value_type(arg) == I32 && func.dfg.value_type(func.dfg.first_result(inst)) == I64;
    fits.then(|| func.dfg.resolve_aliases(arg))
}

/// The load of 32 bits that a value is.
fn is_load(func: &Function, value: Value) -> Option<Inst> {
    let inst = func.dfg.value_def(value).inst()?;
    (func.dfg.insts[inst].opcode() == Opcode::Load && func.dfg.value_type(value) == I32).then_some(inst)
}

/// Whether extending a value takes no instruction.
fn is_free(func: &Function, value: Value) -> bool {
    use Opcode as O;
    let Some(inst) = func.dfg.value_def(value).inst() else { return false };
    matches!(
        func.dfg.insts[inst].opcode(),
        O::Load | O::Iconst | O::Iadd | O::Isub | O::Imul | O::Band | O::Bor | O::Bxor | O::Ishl | O::Ushr
    )
}

#[cfg(test)]
mod tests;
