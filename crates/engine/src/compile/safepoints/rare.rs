//! References that are live across rare calls alone: in registers, except while such a call lasts.
//!
//! A rare call leaves all registers as they were ([`CallConv::PreserveAll`]) and stands where the program seldom comes: where an
//! allocation finds no room, say. There each reference that is live across it is stored to a slot before it and loaded behind it,
//! so that the usual path has neither:
//!
//! ```text
//!           brif room, fast, slow                        fast:                    slow, cold:
//!                                                          …                        store r, slot 0
//!                                                          jump done(…, r)          call gc_alloc      ; map: slot 0
//!                                                                                   r' = load slot 0
//!                                                        done(…, r''):              jump done(…, r')
//!                                                          use r''
//! ```
//!
//! The reference has several definitions then, which must become one again for each use: parameters of the blocks where
//! definitions meet, which are the iterated dominance frontier of the loads, where the reference is live; then a walk down the
//! dominator tree, which knows the definition that is in force (Cytron, Ferrante, Rosen, Wegman & Zadeck, "Efficiently Computing
//! Static Single Assignment Form and the Control Dependence Graph", TOPLAS 1991).

use super::{References, slot_data};
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::dominator_tree::DominatorTree;
use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::flowgraph::ControlFlowGraph;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{
    Block, BlockArg, Function, Inst, InstBuilder, MemFlagsData, StackSlot, UserStackMapEntry, Value,
};
use cranelift_codegen::isa::CallConv;
use gc_api::Region;

/// Rare calls that a reference may be live across: with more, it is in a slot from its definition on, lest the code for each
/// pair of a reference and a call become too much.
pub(super) const MOST: u32 = 8;

/// Whether a call leaves all registers as they were.
pub fn is_rare(func: &Function, call: Inst) -> bool {
    func.dfg.call_signature(call).is_some_and(|sig| func.dfg.signatures[sig].call_conv == CallConv::PreserveAll)
}

/// Stores references before rare calls and loads them behind. `crossings` are the calls, each with the references that are live
/// across it; `live_ins` has for each block with several predecessors the references that are live where it begins, in order.
pub(super) fn spill(
    func: &mut Function,
    references: &References,
    crossings: &[(Inst, Vec<u32>)],
    live_ins: &SecondaryMap<Block, Vec<u32>>,
) {
    let most = crossings.iter().map(|(_, crossing)| crossing.len()).max().unwrap_or(0);
    if most == 0 {
        return;
    }
    let cfg = ControlFlowGraph::with_function(func);
    let dominators = DominatorTree::with_function(func, &cfg);
    let merges = merges(func, &cfg, &dominators, crossings, live_ins);
    let mut renamer = Renamer {
        slots: (0..most).map(|_| func.create_sized_stack_slot(slot_data())).collect(),
        flags: Region::Stack.flags(func),
        calls: SecondaryMap::new(),
        current: references.values.clone(),
        replaced: Vec::new(),
        func,
        references,
        merges,
    };
    for (call, crossing) in crossings {
        renamer.calls[*call] = crossing;
    }
    renamer.run(&dominators);
}

/// Where several definitions of a reference meet: for each block the references, and the parameters that they become.
fn merges(
    func: &mut Function,
    cfg: &ControlFlowGraph,
    dominators: &DominatorTree,
    crossings: &[(Inst, Vec<u32>)],
    live_ins: &SecondaryMap<Block, Vec<u32>>,
) -> SecondaryMap<Block, Vec<(u32, Value)>> {
    let frontiers = frontiers(cfg, dominators);
    let block_of = |call: &Inst| func.layout.inst_block(*call).expect("the call is in the code");
    let mut loads: Vec<(u32, Block)> = crossings
        .iter()
        .flat_map(|(call, crossing)| crossing.iter().map(move |number| (*number, block_of(call))))
        .collect();
    loads.sort_unstable();
    let mut merges: SecondaryMap<Block, Vec<(u32, Value)>> = SecondaryMap::new();
    for loads in loads.chunk_by(|(one, _), (other, _)| one == other) {
        let number = loads[0].0;
        let mut work: Vec<Block> = loads.iter().map(|(_, block)| *block).collect();
        while let Some(block) = work.pop() {
            for merge in &frontiers[block] {
                let known = merges[*merge].last().is_some_and(|(last, _)| *last == number);
                if !known && live_ins[*merge].binary_search(&number).is_ok() {
                    let param = func.dfg.append_block_param(*merge, I32);
                    merges[*merge].push((number, param));
                    work.push(*merge);
                }
            }
        }
    }
    merges
}

/// The dominance frontier of each block: where what it defines may meet other definitions.
fn frontiers(cfg: &ControlFlowGraph, dominators: &DominatorTree) -> SecondaryMap<Block, Vec<Block>> {
    let mut frontiers: SecondaryMap<Block, Vec<Block>> = SecondaryMap::new();
    for block in dominators.cfg_postorder() {
        let idom = dominators.idom(*block);
        for predecessor in cfg.pred_iter(*block).filter(|p| dominators.is_reachable(p.block)) {
            let mut runner = Some(predecessor.block);
            while let Some(above) = runner.filter(|_| runner != idom) {
                if frontiers[above].last() != Some(block) {
                    frontiers[above].push(*block);
                }
                runner = dominators.idom(above);
            }
        }
    }
    frontiers
}

/// A step of the walk down the dominator tree.
enum Step {
    Enter(Block),
    /// Behind all blocks below one: as many replacements as there were before it stay.
    Leave(usize),
}

struct Renamer<'a> {
    func: &'a mut Function,
    references: &'a References,
    merges: SecondaryMap<Block, Vec<(u32, Value)>>,
    calls: SecondaryMap<Inst, &'a [u32]>,
    /// The definition of each reference that is in force.
    current: Vec<Value>,
    /// Definitions that are no longer in force, in the order in which they were replaced.
    replaced: Vec<(u32, Value)>,
    slots: Vec<StackSlot>,
    flags: MemFlagsData,
}

impl Renamer<'_> {
    fn run(mut self, dominators: &DominatorTree) {
        let entry = self.func.layout.entry_block().expect("a function has a block");
        let mut steps = vec![Step::Enter(entry)];
        while let Some(step) = steps.pop() {
            match step {
                Step::Enter(block) => {
                    steps.push(Step::Leave(self.replaced.len()));
                    self.block(block);
                    steps.extend(dominators.children(block).map(Step::Enter));
                }
                Step::Leave(replaced) => {
                    for (number, value) in self.replaced.drain(replaced..).rev() {
                        self.current[number as usize] = value;
                    }
                }
            }
        }
        // Code that is never reached must be well-formed too; by now each reference is what it was.
        let unreached: Vec<Block> =
            self.func.layout.blocks().filter(|block| !dominators.is_reachable(*block)).collect();
        unreached.into_iter().for_each(|block| self.pass_on(block));
    }

    fn define(&mut self, number: u32, value: Value) {
        self.replaced.push((number, std::mem::replace(&mut self.current[number as usize], value)));
    }

    fn block(&mut self, block: Block) {
        for i in 0..self.merges[block].len() {
            let (number, param) = self.merges[block][i];
            self.define(number, param);
        }
        let mut next = self.func.layout.first_inst(block);
        while let Some(inst) = next {
            next = self.func.layout.next_inst(inst);
            let values: Vec<Value> = self.func.dfg.inst_values(inst).collect();
            let renamed: Vec<Value> = values.iter().map(|value| self.renamed(*value)).collect();
            if renamed != values {
                self.func.dfg.overwrite_inst_values(inst, renamed.into_iter());
            }
            self.cross(inst, next);
        }
        self.pass_on(block);
    }

    fn renamed(&self, value: Value) -> Value {
        self.references.get(value).map_or(value, |number| self.current[number as usize])
    }

    /// Stores and loads what is live across a call that `following` follows.
    fn cross(&mut self, call: Inst, following: Option<Inst>) {
        for (i, number) in self.calls[call].iter().enumerate() {
            let slot = self.slots[i];
            let mut at = FuncCursor::new(self.func).at_inst(call);
            let address = at.ins().stack_addr(I64, slot, 0);
            at.ins().store(self.flags, self.current[*number as usize], address, 0);
            at = at.at_inst(following.expect("a call ends no block"));
            let address = at.ins().stack_addr(I64, slot, 0);
            let loaded = at.ins().load(I32, self.flags, address, 0);
            self.func.dfg.append_user_stack_map_entry(call, UserStackMapEntry { ty: I32, slot, offset: 0 });
            self.define(*number, loaded);
        }
    }

    /// Gives the blocks behind this one what becomes their parameters.
    fn pass_on(&mut self, block: Block) {
        let Some(branch) = self.func.layout.last_inst(block) else { return };
        let dfg = &mut self.func.dfg;
        for edge in dfg.insts[branch].branch_destination_mut(&mut dfg.jump_tables, &mut dfg.exception_tables) {
            for (number, _) in &self.merges[edge.block(&dfg.value_lists)] {
                edge.append_argument(BlockArg::Value(self.current[*number as usize]), &mut dfg.value_lists);
            }
        }
    }
}
