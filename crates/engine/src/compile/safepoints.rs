//! References that are live across a call: into the frame, where stack walks find and collectors update them.
//!
//! A call may collect, and a collector may move objects. So a reference that is live across some call gets a stack slot: it is
//! stored there where it is defined, each call's stack map names the slots that are live across it, and what comes behind the call
//! loads it again.
//!
//! 1. *References*: what was declared to be one, and every block parameter that gets one, directly or through others.
//! 2. *Liveness*, value by value: from each use backwards to the definition (Appel & Palsberg, "Modern Compiler
//!    Implementation", §19.6). Takes time in proportion to its result, the blocks that each reference is live out of.
//! 3. *Spilled*: references that are live across a call somewhere. The others stay in registers; those that are live across rare
//!    calls alone do so except while such a call lasts: `rare`.
//! 4. *Rewriting*, blocks in post-order, so that uses come before definitions. Backwards through a block: stack maps and slots;
//!    a slot is free again above the definition. What is live out of a block has its slot from then on, so that no
//!    other value gets it in a loop around. Forwards: stores behind definitions, and loads before uses: one per block and
//!    stretch between two calls.
//!
//! `cranelift-frontend` has such a pass. It keeps the sets of live values of all blocks as hash tables, which functions of
//! thousands of blocks and hundreds of locals make quadratic; it reloads at every use; and its stores belong to no alias
//! region, so that they end what is known of all memory. With it `peers compile medium --engine gleaner --opt speed` took
//! 27 s of CPU time, with this 11 s, for 7.8 MB of code instead of 9.9 MB.

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{
    Block, BlockArg, BlockCall, ExternalName, Function, Inst, InstBuilder, InstructionData, MemFlagsData, StackSlot,
    StackSlotData, StackSlotKind, UserStackMapEntry, Value, ValueDef,
};
use cranelift_codegen::traversals::Dfs;
use gc_api::Region;

pub(super) mod rare;

/// Spills the references of `func` around its calls. `declared` are the values that may be references where they come into
/// being: all but block parameters that only merge others.
pub(super) fn spill_references(func: &mut Function, declared: &[Value]) {
    let order: Vec<Block> = Dfs::new().post_order_iter(func).collect();
    let has_call = |block: &Block| func.layout.block_insts(*block).any(|inst| is_call(func, inst));
    if declared.is_empty() || !order.iter().any(has_call) {
        return;
    }
    let declared: Vec<Value> = declared.iter().map(|value| func.dfg.resolve_aliases(*value)).collect();
    func.dfg.resolve_all_aliases();
    let references = References::of(func, &order, &declared);
    let (live_ins, live_outs) = liveness(func, &order, &references);
    let (spilled, crossings) = spilled(func, &order, &references, &live_outs);
    rare::spill(func, &references, &crossings, &live_ins);
    if spilled.contains(&true) {
        Rewriter::new(func, &references, &live_outs, &spilled).run(&order);
    }
}

/// Whether this instruction is a call that may collect: the functions of the system's library don't.
fn is_call(func: &Function, inst: Inst) -> bool {
    let data = &func.dfg.insts[inst];
    let library = match *data {
        InstructionData::Call { func_ref, .. } => {
            matches!(func.dfg.ext_funcs[func_ref].name, ExternalName::LibCall(_))
        }
        _ => false,
    };
    data.opcode().is_safepoint() && !library
}

/// Values on the edges that leave `inst`, and the parameters that they become.
fn edge_values(func: &Function, inst: Inst) -> impl Iterator<Item = (Value, Value)> + '_ {
    let dfg = &func.dfg;
    let edges = dfg.insts[inst].branch_destination(&dfg.jump_tables, &dfg.exception_tables);
    edges.iter().flat_map(move |edge| {
        let params = dfg.block_params(edge.block(&dfg.value_lists));
        edge.args(&dfg.value_lists).zip(params).filter_map(|(arg, param)| Some((arg.as_value()?, *param)))
    })
}

/// No number.
const NONE: u32 = u32::MAX;

/// The values that may be references, numbered.
struct References {
    number: SecondaryMap<Value, u32>,
    values: Vec<Value>,
}

impl References {
    fn of(func: &Function, order: &[Block], declared: &[Value]) -> References {
        // For each value the parameters that it becomes, as a list through `edges`.
        let mut first: SecondaryMap<Value, u32> = SecondaryMap::with_default(NONE);
        let mut edges: Vec<(Value, u32)> = Vec::new();
        for block in order {
            let Some(inst) = func.layout.last_inst(*block) else { continue };
            for (value, param) in edge_values(func, inst) {
                if func.dfg.value_type(param) == I32 {
                    edges.push((param, first[value]));
                    first[value] = edges.len() as u32 - 1;
                }
            }
        }
        let mut references = References { number: SecondaryMap::with_default(NONE), values: Vec::new() };
        declared.iter().for_each(|value| references.add(*value));
        let mut next = 0;
        while let Some(value) = references.values.get(next) {
            let mut edge = first[*value];
            while let Some((param, following)) = edges.get(edge as usize) {
                references.add(*param);
                edge = *following;
            }
            next += 1;
        }
        references
    }

    fn add(&mut self, value: Value) {
        if self.number[value] == NONE {
            self.number[value] = self.values.len() as u32;
            self.values.push(value);
        }
    }

    fn get(&self, value: Value) -> Option<u32> {
        Some(self.number[value]).filter(|number| *number != NONE)
    }
}

/// References by block, in order.
type Live = SecondaryMap<Block, Vec<u32>>;

/// The references that are live where each block with several predecessors begins, and where each block ends.
fn liveness(func: &Function, order: &[Block], references: &References) -> (Live, Live) {
    // Blocks that use each reference, and each block's predecessors, as lists.
    let mut first_use = vec![NONE; references.values.len()];
    let mut uses: Vec<(Block, u32)> = Vec::new();
    let mut predecessors: SecondaryMap<Block, Vec<Block>> = SecondaryMap::new();
    for block in order {
        for inst in func.layout.block_insts(*block) {
            for number in func.dfg.inst_values(inst).filter_map(|value| references.get(value)) {
                let first = &mut first_use[number as usize];
                if uses.get(*first as usize).is_none_or(|(last, _)| last != block) {
                    uses.push((*block, *first));
                    *first = uses.len() as u32 - 1;
                }
            }
        }
        for successor in func.block_successors(*block) {
            if predecessors[successor].last() != Some(block) {
                predecessors[successor].push(*block);
            }
        }
    }
    let (mut live_ins, mut live_outs) = (Live::new(), Live::new());
    // The last reference that was found live into a block.
    let mut live_in: SecondaryMap<Block, u32> = SecondaryMap::with_default(NONE);
    let mut work = Vec::new();
    for (number, value) in (0..).zip(&references.values) {
        let definition = match func.dfg.value_def(*value) {
            ValueDef::Result(inst, _) => func.layout.inst_block(inst),
            ValueDef::Param(block, _) => Some(block),
            ValueDef::Union(..) => unreachable!("nothing has been optimised yet"),
        };
        let mut reach = |block: Block, work: &mut Vec<Block>| {
            if Some(block) != definition && live_in[block] != number {
                live_in[block] = number;
                if predecessors[block].len() > 1 {
                    live_ins[block].push(number);
                }
                work.push(block);
            }
        };
        let mut next = first_use[number as usize];
        while let Some((block, following)) = uses.get(next as usize) {
            reach(*block, &mut work);
            next = *following;
        }
        while let Some(block) = work.pop() {
            for predecessor in &predecessors[block] {
                let live_out = &mut live_outs[*predecessor];
                if live_out.last() != Some(&number) {
                    live_out.push(number);
                }
                reach(*predecessor, &mut work);
            }
        }
    }
    (live_ins, live_outs)
}

/// A set of references that are live, with constant-time changes and an order that depends on nothing else.
struct LiveSet {
    members: Vec<u32>,
    /// Where each reference stands among the members.
    position: Vec<u32>,
}

impl LiveSet {
    fn new(references: &References) -> LiveSet {
        LiveSet { members: Vec::new(), position: vec![NONE; references.values.len()] }
    }

    fn insert(&mut self, number: u32) {
        let position = &mut self.position[number as usize];
        if *position == NONE {
            *position = self.members.len() as u32;
            self.members.push(number);
        }
    }

    fn remove(&mut self, number: u32) {
        let position = std::mem::replace(&mut self.position[number as usize], NONE);
        if position != NONE {
            self.members.swap_remove(position as usize);
            if let Some(moved) = self.members.get(position as usize) {
                self.position[*moved as usize] = position;
            }
        }
    }

    fn reset(&mut self, members: &[u32]) {
        for number in self.members.drain(..) {
            self.position[number as usize] = NONE;
        }
        members.iter().for_each(|number| self.insert(*number));
    }
}

/// What a walk backwards through a block meets.
enum Event {
    /// A use of a reference, perhaps one of several.
    Use(u32),
    /// A call, with the references in the set live across it.
    Call(Inst),
    /// The definition of a reference, above which it is no longer live.
    Definition(u32),
}

/// Walks backwards through a block, with the set of what is live; it begins as what is live out of the block.
fn walk_back(
    func: &Function,
    block: Block,
    references: &References,
    live: &mut LiveSet,
    mut event: impl FnMut(Event, &LiveSet),
) {
    let mut next = func.layout.last_inst(block);
    while let Some(inst) = next {
        // What goes along an edge is used after the instruction itself, which matters for a call with edges.
        for number in edge_values(func, inst).filter_map(|(value, _)| references.get(value)) {
            event(Event::Use(number), live);
            live.insert(number);
        }
        for number in func.dfg.inst_results(inst).iter().filter_map(|value| references.get(*value)) {
            event(Event::Definition(number), live);
            live.remove(number);
        }
        if is_call(func, inst) {
            event(Event::Call(inst), live);
        }
        for number in func.dfg.inst_args(inst).iter().filter_map(|value| references.get(*value)) {
            event(Event::Use(number), live);
            live.insert(number);
        }
        next = func.layout.prev_inst(inst);
    }
    for number in func.dfg.block_params(block).iter().filter_map(|value| references.get(*value)) {
        event(Event::Definition(number), live);
        live.remove(number);
    }
}

/// Which references are live across a call somewhere, and not only across a few rare ones; and the rare calls, each with the
/// other references that are live across it.
fn spilled(
    func: &Function,
    order: &[Block],
    references: &References,
    live_outs: &Live,
) -> (Vec<bool>, Vec<(Inst, Vec<u32>)>) {
    let mut spilled = vec![false; references.values.len()];
    let mut rare_calls = vec![0; references.values.len()];
    let mut crossings: Vec<(Inst, Vec<u32>)> = Vec::new();
    let mut live = LiveSet::new(references);
    for block in order {
        if func.layout.block_insts(*block).any(|inst| is_call(func, inst)) {
            live.reset(&live_outs[*block]);
            walk_back(func, *block, references, &mut live, |event, live| match event {
                Event::Call(inst) if rare::is_rare(func, inst) => {
                    crossings.push((inst, live.members.clone()));
                    for number in &live.members {
                        rare_calls[*number as usize] += 1;
                        spilled[*number as usize] |= rare_calls[*number as usize] > rare::MOST;
                    }
                }
                Event::Call(_) => live.members.iter().for_each(|number| spilled[*number as usize] = true),
                Event::Use(_) | Event::Definition(_) => {}
            });
        }
    }
    crossings.iter_mut().for_each(|(_, crossing)| crossing.retain(|number| !spilled[*number as usize]));
    (spilled, crossings)
}

/// The last step.
struct Rewriter<'a> {
    func: &'a mut Function,
    references: &'a References,
    live_outs: &'a Live,
    spilled: &'a [bool],
    slots: Vec<Option<StackSlot>>,
    free: Vec<StackSlot>,
    flags: MemFlagsData,
    /// Where each reference is in a register, and the stretch of code in which that is so.
    registers: Vec<(u32, Value)>,
    /// The number of this stretch of code: without a call, inside a block.
    stretch: u32,
}

impl<'a> Rewriter<'a> {
    fn new(func: &'a mut Function, references: &'a References, live_outs: &'a Live, spilled: &'a [bool]) -> Self {
        let count = references.values.len();
        let flags = Region::Stack.flags(func);
        let registers = vec![(0, Value::from_u32(0)); count];
        let slots = vec![None; count];
        Rewriter { func, references, live_outs, spilled, slots, free: Vec::new(), flags, registers, stretch: 0 }
    }

    fn run(mut self, order: &[Block]) {
        let mut live = LiveSet::new(self.references);
        for block in order {
            self.assign_slots(*block, &mut live);
            self.rewrite_block(*block);
        }
    }

    /// The number of a value that is spilled.
    fn spilled(&self, value: Value) -> Option<u32> {
        self.references.get(value).filter(|number| self.spilled[*number as usize])
    }

    /// Slots for what is live in this block, and stack maps.
    fn assign_slots(&mut self, block: Block, live: &mut LiveSet) {
        let live_out = &self.live_outs[block];
        for number in live_out.iter().filter(|number| self.spilled[**number as usize]) {
            self.slots[*number as usize].get_or_insert_with(|| {
                self.free.pop().unwrap_or_else(|| self.func.create_sized_stack_slot(slot_data()))
            });
        }
        live.reset(live_out);
        let mut maps: Vec<(Inst, Vec<StackSlot>)> = Vec::new();
        let (slots, free, spilled) = (&mut self.slots, &mut self.free, self.spilled);
        let first_new = self.func.sized_stack_slots.len() as u32;
        let mut new_slots = 0;
        let mut slot_of = |number: u32, free: &mut Vec<StackSlot>| {
            *slots[number as usize].get_or_insert_with(|| {
                free.pop().unwrap_or_else(|| {
                    // Made below: here the function is borrowed.
                    new_slots += 1;
                    StackSlot::from_u32(first_new + new_slots - 1)
                })
            })
        };
        walk_back(self.func, block, self.references, live, |event, live| match event {
            Event::Call(inst) => {
                let members = live.members.iter().filter(|number| spilled[**number as usize]);
                maps.push((inst, members.map(|number| slot_of(*number, free)).collect()));
            }
            Event::Use(number) if spilled[number as usize] => {
                slot_of(number, free);
            }
            Event::Definition(number) if spilled[number as usize] => {
                let slot = slot_of(number, free);
                free.push(slot);
            }
            Event::Use(_) | Event::Definition(_) => {}
        });
        for _ in 0..new_slots {
            self.func.create_sized_stack_slot(slot_data());
        }
        for (inst, slots) in maps {
            for slot in slots {
                self.func.dfg.append_user_stack_map_entry(inst, UserStackMapEntry { ty: I32, slot, offset: 0 });
            }
        }
    }

    /// Stores behind definitions, loads before uses.
    fn rewrite_block(&mut self, block: Block) {
        self.stretch += 1;
        let mut next = self.func.layout.first_inst(block);
        if let Some(first) = next {
            let params = self.func.dfg.block_params(block).to_vec();
            params.into_iter().for_each(|param| self.store(param, first));
        }
        while let Some(inst) = next {
            let args: Vec<Value> = match is_call(self.func, inst) {
                // What goes along the edges of a call must be loaded after it.
                true => self.func.dfg.inst_args(inst).to_vec(),
                false => self.func.dfg.inst_values(inst).collect(),
            };
            if args.iter().any(|value| self.spilled(*value).is_some()) {
                let loaded: Vec<Value> = args.into_iter().map(|value| self.load(value, inst)).collect();
                match is_call(self.func, inst) {
                    true => self.func.dfg.inst_args_mut(inst).copy_from_slice(&loaded),
                    false => self.func.dfg.overwrite_inst_values(inst, loaded.into_iter()),
                }
            }
            next = self.func.layout.next_inst(inst);
            if is_call(self.func, inst) {
                self.stretch += 1;
                self.split_edges(block, inst);
            }
            let results = self.func.dfg.inst_results(inst).to_vec();
            if let Some(following) = next {
                results.into_iter().for_each(|result| self.store(result, following));
            }
        }
    }

    /// Stores a value that has just been defined before `inst`, if it is spilled.
    fn store(&mut self, value: Value, inst: Inst) {
        let Some(number) = self.spilled(value) else { return };
        let slot = self.slots[number as usize].expect("a slot was found below, where the value is used");
        let mut at = FuncCursor::new(self.func).at_inst(inst);
        let address = at.ins().stack_addr(I64, slot, 0);
        at.ins().store(self.flags, value, address, 0);
        self.registers[number as usize] = (self.stretch, value);
    }

    /// The value as it is to be used by `inst`.
    fn load(&mut self, value: Value, inst: Inst) -> Value {
        let Some(number) = self.spilled(value) else { return value };
        let (stretch, register) = self.registers[number as usize];
        if stretch == self.stretch {
            return register;
        }
        let slot = self.slots[number as usize].expect("a slot was found below, where the value is used");
        let mut at = FuncCursor::new(self.func).at_inst(inst);
        let address = at.ins().stack_addr(I64, slot, 0);
        let register = at.ins().load(I32, self.flags, address, 0);
        self.registers[number as usize] = (self.stretch, register);
        register
    }

    /// Gives each edge of a call along which a spilled reference goes a block of its own, which loads it.
    fn split_edges(&mut self, block: Block, inst: Inst) {
        let mut after = block;
        for i in 0.. {
            let dfg = &self.func.dfg;
            let edges = dfg.insts[inst].branch_destination(&dfg.jump_tables, &dfg.exception_tables);
            let Some(edge) = edges.get(i) else { return };
            let (target, args) = (edge.block(&dfg.value_lists), edge.args(&dfg.value_lists).collect::<Vec<_>>());
            let is_spilled = |arg: &BlockArg| arg.as_value().is_some_and(|value| self.spilled(value).is_some());
            if !args.iter().any(is_spilled) {
                continue;
            }
            let types: Vec<_> = dfg.block_params(target).iter().map(|param| dfg.value_type(*param)).collect();
            let landing = self.func.dfg.make_block();
            self.func.layout.insert_block_after(landing, after);
            if self.func.layout.is_cold(target) {
                self.func.layout.set_cold(landing);
            }
            after = landing;
            // Each edge is a stretch of its own.
            self.stretch += 1;
            let (mut taken, mut passed) = (Vec::new(), Vec::new());
            for (arg, ty) in args.into_iter().zip(types) {
                passed.push(match arg {
                    BlockArg::Value(value) => value,
                    BlockArg::TryCallRet(_) | BlockArg::TryCallExn(_) => {
                        taken.push(arg);
                        self.func.dfg.append_block_param(landing, ty)
                    }
                });
            }
            let args: Vec<BlockArg> = passed.iter().map(|value| BlockArg::Value(*value)).collect();
            let jump = FuncCursor::new(self.func).at_bottom(landing).ins().jump(target, &args);
            let loaded: Vec<Value> = passed.into_iter().map(|value| self.load(value, jump)).collect();
            self.func.dfg.overwrite_inst_values(jump, loaded.into_iter());
            let dfg = &mut self.func.dfg;
            let edge = BlockCall::new(landing, taken, &mut dfg.value_lists);
            dfg.insts[inst].branch_destination_mut(&mut dfg.jump_tables, &mut dfg.exception_tables)[i] = edge;
        }
    }
}

fn slot_data() -> StackSlotData {
    StackSlotData::new(StackSlotKind::ExplicitSlot, 4, 2)
}

#[cfg(test)]
mod tests;
