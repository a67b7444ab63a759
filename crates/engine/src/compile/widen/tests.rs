//! Random functions do the same with and without the pass, as an interpreter sees them, and remain well-formed.

use super::*;
use crate::compile::random::{Random, frontend_config, of_two_numbers, random_function, same};
use cranelift_codegen::ir::MemFlagsData;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

fn extensions(func: &Function) -> usize {
    let insts = func.layout.blocks().flat_map(|block| func.layout.block_insts(block));
    insts.filter(|inst| extends(func, *inst).is_some()).count()
}

#[test]
fn functions_do_what_they_did() {
    let (mut params, mut fewer, mut returned) = (0, 0, 0);
    for seed in 1..1_500 {
        let before = random_function(&mut Random::of(seed));
        let mut after = before.clone();
        widen(&mut after);
        let blocks = || after.layout.blocks().flat_map(|block| after.dfg.block_params(block));
        params += blocks().filter(|param| after.dfg.value_type(**param) == I64).count();
        fewer += usize::from(extensions(&after) < extensions(&before));
        returned += same(&before, &after, &format!("seed {seed}"));
    }
    assert!(
        params > 500 && fewer > 500 && returned > 800,
        "{params} parameters, {fewer} functions, {returned} returned"
    );
}

/// A walk along a list, whose second argument is the first node.
fn walk() -> Function {
    let mut func = of_two_numbers();
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut func, &mut context);
    let [entry, head, next, end] = [(); 4].map(|()| b.create_block());
    b.append_block_params_for_function_params(entry);
    let list = b.block_params(entry)[1];
    let node = b.append_block_param(head, I32);
    b.switch_to_block(entry);
    b.ins().jump(head, &[list.into()]);
    b.switch_to_block(head);
    b.ins().brif(node, next, &[], end, &[]);
    b.switch_to_block(next);
    let address = b.ins().uextend(I64, node);
    let following = b.ins().load(I32, MemFlagsData::trusted(), address, 8);
    b.ins().jump(head, &[following.into()]);
    b.switch_to_block(end);
    b.ins().return_(&[node]);
    b.seal_all_blocks();
    b.finalize(frontend_config());
    func
}

#[test]
fn a_list_is_walked_in_64_bits() {
    let before = walk();
    let mut after = before.clone();
    widen(&mut after);
    same(&before, &after, "walk");
    // Once where it comes in, and no more.
    let text = after.display().to_string();
    assert_eq!((extensions(&after), text.matches("uload32").count()), (1, 1), "{text}");
    let entry = after.layout.entry_block().unwrap();
    assert!(after.layout.block_insts(entry).any(|inst| extends(&after, inst).is_some()), "{text}");
}
