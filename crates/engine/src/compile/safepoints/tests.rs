//! Random functions are run by an interpreter in which each call moves every object: a reference in a register is stale behind
//! it, and so is one in a slot that the call's stack map does not name. Whatever a function does with its references must be the
//! same with and without the pass, and never with a stale one. The checker knows nothing of liveness.

use super::*;
use crate::compile::random::Random;
use cranelift_codegen::ir::{
    AbiParam, ExceptionTableData, ExceptionTableItem, ExtFuncData, ExternalName, FuncRef, InstructionData, Opcode,
    Signature, UserExternalName,
};
use cranelift_codegen::isa::CallConv;
use cranelift_codegen::settings::{self, Flags};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use std::collections::HashMap;

const BLOCKS: usize = 9;
const VARIABLES: usize = 4;

/// A function of blocks that branch anywhere and share variables, and its declared references. `make() -> reference`,
/// `use(reference, reference)` and, as a rare call, `pause(reference, reference)` are all that it calls; of ten calls all but `calls`
/// pause.
fn random_function(random: &mut Random, calls: usize) -> (Function, Vec<Value>) {
    let mut func = Function::new();
    func.signature = Signature::new(CallConv::Tail);
    func.signature.params.push(AbiParam::new(I32));
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut func, &mut context);
    let import = |b: &mut FunctionBuilder<'_>, index, params, results, convention| -> FuncRef {
        let mut signature = Signature::new(convention);
        signature.params = vec![AbiParam::new(I32); params];
        signature.returns = vec![AbiParam::new(I32); results];
        let signature = b.import_signature(signature);
        let name = b.func.declare_imported_user_function(UserExternalName { namespace: 0, index });
        b.import_function(ExtFuncData { name: ExternalName::user(name), signature, colocated: true, patchable: false })
    };
    let make = import(&mut b, 0, 0, 1, CallConv::Tail);
    let take = import(&mut b, 1, 2, 0, CallConv::Tail);
    let pause = import(&mut b, 2, 2, 0, CallConv::PreserveAll);
    let blocks: Vec<Block> = (0..BLOCKS).map(|_| b.create_block()).collect();
    let variables: Vec<Variable> = (0..VARIABLES).map(|_| b.declare_var(I32)).collect();
    b.append_block_params_for_function_params(blocks[0]);
    b.switch_to_block(blocks[0]);
    let mut declared = b.block_params(blocks[0]).to_vec();
    b.def_var(variables[0], declared[0]);
    for variable in &variables[1..] {
        let null = b.ins().iconst(I32, 0);
        b.def_var(*variable, null);
    }
    for (i, block) in blocks.iter().enumerate() {
        if i > 0 {
            b.switch_to_block(*block);
        }
        for _ in 0..random.below(5) {
            let variable = variables[random.below(VARIABLES)];
            match random.below(4) {
                0 | 2.. if random.below(10) >= calls => {
                    let args = [variable, variables[random.below(VARIABLES)]].map(|variable| b.use_var(variable));
                    b.ins().call(pause, &args);
                }
                0 => {
                    let call = b.ins().call(make, &[]);
                    declared.push(b.inst_results(call)[0]);
                    b.def_var(variable, *declared.last().unwrap());
                }
                1 => {
                    let value = b.use_var(variable);
                    b.def_var(variables[random.below(VARIABLES)], value);
                }
                _ => {
                    let args = [variable, variables[random.below(VARIABLES)]].map(|variable| b.use_var(variable));
                    b.ins().call(take, &args);
                }
            }
        }
        // The entry has no predecessors.
        let mut target = || blocks[1 + random.below(BLOCKS - 1)];
        let (one, other) = (target(), target());
        match random.below(4) {
            0 if i > BLOCKS / 2 => {
                b.ins().return_(&[]);
            }
            1 => {
                b.ins().jump(one, &[]);
            }
            2 if random.below(10) < calls => {
                let [normal, thrown] =
                    [one, other].map(|target| BlockCall::new(target, [], &mut b.func.dfg.value_lists));
                let signature = b.func.dfg.ext_funcs[take].signature;
                let table = ExceptionTableData::new(signature, normal, [ExceptionTableItem::Default(thrown)]);
                let table = b.func.dfg.exception_tables.push(table);
                let args = [0, 1].map(|i| b.use_var(variables[i]));
                b.ins().try_call(take, &args, table);
            }
            _ => {
                let condition = b.ins().iconst(I32, 1);
                b.ins().brif(condition, one, &[], other, &[]);
            }
        }
    }
    b.seal_all_blocks();
    b.finalize(isa().frontend_config());
    (func, declared)
}

fn isa() -> cranelift_codegen::isa::OwnedTargetIsa {
    cranelift_native::builder().unwrap().finish(Flags::new(settings::builder())).unwrap()
}

/// What a value is.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Content {
    Null,
    /// An object, and how many calls had been made when this was a reference to it. The parameter is object 0.
    Object(usize, usize),
    Slot(StackSlot),
}

/// Runs up to 60 blocks of a function, branching as `seed` says: the objects that it gives to `use`, in order.
/// With `moving`, the use of a stale reference is an error.
fn run(func: &Function, seed: u64, moving: bool) -> Vec<Option<usize>> {
    let mut random = Random(seed);
    let (mut values, mut slots) = (HashMap::<Value, Content>::new(), HashMap::<StackSlot, Content>::new());
    let (mut calls, mut objects, mut trace) = (0, 1, Vec::new());
    let dfg = &func.dfg;
    let mut block = func.layout.entry_block().unwrap();
    values.insert(dfg.block_params(block)[0], Content::Object(0, 0));
    let mut branches = 0;
    while branches < 60 {
        let mut taken = None;
        for inst in func.layout.block_insts(block) {
            let get = |value: &Value| values[&dfg.resolve_aliases(*value)];
            let args: Vec<Content> = dfg.inst_args(inst).iter().map(get).collect();
            let opcode = dfg.insts[inst].opcode();
            let mut result = None;
            match (opcode, dfg.insts[inst]) {
                (Opcode::Iconst, InstructionData::UnaryImm { .. }) => result = Some(Content::Null),
                (Opcode::StackAddr, InstructionData::StackAddr { stack_slot, .. }) => {
                    result = Some(Content::Slot(stack_slot));
                }
                (Opcode::Load, _) => {
                    let [Content::Slot(slot)] = args[..] else { panic!("loads are from slots: {args:?}") };
                    result = Some(slots[&slot]);
                }
                (Opcode::Store, _) => {
                    let [value, Content::Slot(slot)] = args[..] else { panic!("stores are to slots: {args:?}") };
                    slots.insert(slot, value);
                }
                (Opcode::Call | Opcode::TryCall, _) => {
                    for arg in &args {
                        trace.push(match arg {
                            Content::Null => None,
                            Content::Object(object, at) => {
                                assert!(!moving || *at == calls, "{inst} uses a stale reference\n{func}");
                                Some(*object)
                            }
                            Content::Slot(_) => panic!("slots are not passed"),
                        });
                    }
                    calls += 1;
                    for entry in dfg.user_stack_map_entries(inst).unwrap_or_default() {
                        if let Some(Content::Object(_, at)) = slots.get_mut(&entry.slot) {
                            // What is stale stays stale: it does not refer to the object any more.
                            *at = if *at == calls - 1 { calls } else { usize::MAX };
                        }
                    }
                    if !dfg.inst_results(inst).is_empty() {
                        result = Some(Content::Object(objects, calls));
                        objects += 1;
                    }
                }
                (Opcode::Return, _) => return trace,
                (Opcode::Jump, _) => taken = Some((0, inst)),
                (Opcode::Brif, _) => {}
                (other, _) => panic!("{other} does not occur"),
            }
            for value in dfg.inst_results(inst) {
                values.insert(*value, result.expect("it has a result"));
            }
            if matches!(opcode, Opcode::Brif | Opcode::TryCall) {
                branches += 1;
                taken = Some((random.below(2), inst));
            }
        }
        let (edge, inst) = taken.expect("a block ends in a branch or a return");
        let edge = dfg.insts[inst].branch_destination(&dfg.jump_tables, &dfg.exception_tables)[edge];
        block = edge.block(&dfg.value_lists);
        let passed: Vec<Content> = edge
            .args(&dfg.value_lists)
            .map(|arg| values[&dfg.resolve_aliases(arg.as_value().expect("calls pass nothing along their edges"))])
            .collect();
        dfg.block_params(block).iter().zip(passed).for_each(|(param, content)| {
            values.insert(*param, content);
        });
        if trace.len() > 2000 {
            return trace;
        }
    }
    trace
}

/// Whether some loop of jumps alone can be entered, which `run` would never leave.
fn has_idle_loop(func: &Function) -> bool {
    func.layout.blocks().any(|start| {
        let mut block = start;
        for _ in 0..BLOCKS + 1 {
            match func.layout.last_inst(block).map(|inst| func.dfg.insts[inst].opcode()) {
                Some(Opcode::Jump) => block = func.block_successors(block).next().unwrap(),
                _ => return false,
            }
        }
        true
    })
}

#[test]
fn no_function_uses_a_reference_that_a_call_has_made_stale() {
    let (mut spilled, mut split, mut merged) = (0, 0, 0);
    let params = |func: &Function| func.layout.blocks().map(|block| func.dfg.num_block_params(block)).sum::<usize>();
    for seed in 1..1600 {
        let calls = [0, 0, 0, 1, 3, 10][seed as usize % 6];
        let (mut func, declared) = random_function(&mut Random(seed * 0x9e37_79b9), calls);
        if has_idle_loop(&func) {
            continue;
        }
        let before = func.clone();
        spill_references(&mut func, &declared);
        cranelift_codegen::verify_function(&func, &*isa()).unwrap_or_else(|errors| panic!("{errors}\n{func}"));
        spilled += func.sized_stack_slots.len();
        split += func.layout.blocks().count() - before.layout.blocks().count();
        merged += params(&func) - params(&before);
        for path in 1..20 {
            assert_eq!(run(&func, path, true), run(&before, path, false), "{before}\n{func}");
        }
    }
    assert!(
        spilled > 800 && split > 50 && merged > 100,
        "the functions are not simple: {spilled} slots, {split} edges, {merged} parameters"
    );
}

/// Opcodes of a block.
fn opcodes(func: &Function, block: Block) -> Vec<Opcode> {
    func.layout.block_insts(block).map(|inst| func.dfg.insts[inst].opcode()).collect()
}

/// A function of a reference and `N` blocks, the first of which is its entry.
fn of_a_reference<const N: usize>(
    build: impl FnOnce(&mut FunctionBuilder<'_>, Value, [Block; N]),
) -> (Function, Value, [Block; N]) {
    let mut func = Function::new();
    func.signature.params.push(AbiParam::new(I32));
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut func, &mut context);
    let blocks = [(); N].map(|()| b.create_block());
    b.append_block_params_for_function_params(blocks[0]);
    b.switch_to_block(blocks[0]);
    let reference = b.block_params(blocks[0])[0];
    build(&mut b, reference, blocks);
    b.seal_all_blocks();
    b.finalize(isa().frontend_config());
    (func, reference, blocks)
}

/// Fills `block` with a rare call and a jump behind it.
fn call_rarely(b: &mut FunctionBuilder<'_>, block: Block, then: Block) {
    b.switch_to_block(block);
    let signature = b.import_signature(Signature::new(CallConv::PreserveAll));
    let code = b.ins().iconst(I64, 0);
    b.ins().call_indirect(signature, code, &[]);
    b.ins().jump(then, &[]);
}

/// Fills `block` with a use of the reference and the end of the function.
fn use_and_return(b: &mut FunctionBuilder<'_>, block: Block, reference: Value) {
    b.switch_to_block(block);
    b.ins().trapz(reference, cranelift_codegen::ir::TrapCode::unwrap_user(1));
    b.ins().return_(&[]);
}

#[test]
fn references_that_only_rare_calls_cross_are_stored_there() {
    let (mut func, param, [entry, cold, done]) = of_a_reference(|b, param, [_, cold, done]| {
        b.ins().brif(param, cold, &[], done, &[]);
        call_rarely(b, cold, done);
        use_and_return(b, done, param);
    });
    let before = [entry, done].map(|block| opcodes(&func, block));
    spill_references(&mut func, &[param]);
    assert_eq!([entry, done].map(|block| opcodes(&func, block)), before);
    use Opcode as O;
    assert_eq!(
        opcodes(&func, cold),
        [O::Iconst, O::StackAddr, O::Store, O::CallIndirect, O::StackAddr, O::Load, O::Jump]
    );
    let merged = func.dfg.block_params(done)[0];
    let trap = func.layout.first_inst(done).unwrap();
    assert_eq!(func.dfg.inst_args(trap), [merged], "it may have moved");
}

#[test]
fn where_definitions_meet_they_meet_others_again() {
    // The call is on one way to `inner`, which is on one way to `outer`.
    let (mut func, param, [.., inner, outer]) = of_a_reference(|b, param, [_, left, cold, inner, outer]| {
        let condition = b.ins().iconst(I32, 1);
        b.ins().brif(condition, left, &[], outer, &[]);
        b.switch_to_block(left);
        b.ins().brif(condition, cold, &[], inner, &[]);
        call_rarely(b, cold, inner);
        b.switch_to_block(inner);
        b.ins().jump(outer, &[]);
        use_and_return(b, outer, param);
    });
    spill_references(&mut func, &[param]);
    cranelift_codegen::verify_function(&func, &*isa()).unwrap_or_else(|errors| panic!("{errors}\n{func}"));
    let [inner_param, outer_param] = [inner, outer].map(|block| func.dfg.block_params(block).to_vec());
    assert_eq!((inner_param.len(), outer_param.len()), (1, 1), "{func}");
    let trap = func.layout.first_inst(outer).unwrap();
    assert_eq!(func.dfg.inst_args(trap), outer_param, "{func}");
    let last = func.layout.last_inst(inner).unwrap();
    assert_eq!(func.dfg.inst_values(last).collect::<Vec<_>>(), inner_param, "{func}");
}

#[test]
fn references_that_no_call_crosses_stay_in_registers() {
    let mut func = Function::new();
    func.signature.params.push(AbiParam::new(I32));
    let block = func.dfg.make_block();
    let param = func.dfg.append_block_param(block, I32);
    func.layout.append_block(block);
    let mut at = FuncCursor::new(&mut func).at_bottom(block);
    at.ins().iadd_imm_s(param, 1);
    at.ins().return_(&[]);
    let before = func.to_string();
    spill_references(&mut func, &[param]);
    assert_eq!(func.to_string(), before);
}
