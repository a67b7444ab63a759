//! Random functions do the same with and without the pass, as an interpreter sees them, and remain well-formed.

use super::*;
use crate::compile::random::{Random, frontend_config, of_two_numbers, random_function, same};
use cranelift_codegen::ir::types::{F64, I32};
use cranelift_codegen::ir::{AbiParam, Signature};
use cranelift_codegen::isa::CallConv;
use cranelift_codegen::settings::{self, Flags};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

fn hoisted(func: Function) -> Function {
    let mut context = Context::for_function(func);
    context.flowgraph();
    hoist(&mut context, &Flags::new(settings::builder())).unwrap();
    context.func
}

#[test]
fn functions_do_what_they_did() {
    let (mut moved, mut returned) = (0, 0);
    for seed in 1..1_500 {
        let before = random_function(&mut Random::of(seed));
        let after = hoisted(before.clone());
        moved += usize::from(before.display().to_string() != after.display().to_string());
        returned += same(&before, &after, &format!("seed {seed}"));
    }
    assert!(moved > 200 && returned > 800, "{moved} changed, {returned} returned");
}

/// A loop that adds 0.5 twice and `others` once each, and calls a function of this convention.
fn adding(others: usize, call: Option<CallConv>) -> Function {
    let mut func = of_two_numbers();
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut func, &mut context);
    let [entry, head, next, end] = [(); 4].map(|()| b.create_block());
    b.append_block_params_for_function_params(entry);
    let args = b.block_params(entry).to_vec();
    let sum = b.append_block_param(head, F64);
    b.switch_to_block(entry);
    let zero = b.ins().f64const(0.0);
    b.ins().jump(head, &[zero.into()]);
    b.switch_to_block(head);
    b.ins().brif(args[0], next, &[], end, &[]);
    b.switch_to_block(next);
    let mut now = sum;
    for number in [0.5, 0.5].into_iter().chain((0..others).map(|i| i as f64 + 1.0)) {
        let number = b.ins().f64const(number);
        now = b.ins().fadd(now, number);
    }
    if let Some(convention) = call {
        let mut signature = Signature::new(convention);
        signature.params.push(AbiParam::new(I32));
        let signature = b.import_signature(signature);
        let callee = b.ins().uextend(cranelift_codegen::ir::types::I64, args[1]);
        b.ins().call_indirect(signature, callee, &args[..1]);
    }
    b.ins().jump(head, &[now.into()]);
    b.switch_to_block(end);
    b.ins().return_(&args[..1]);
    b.seal_all_blocks();
    b.finalize(frontend_config());
    func
}

/// Constants in a function's first block, and in all.
fn constants(func: &Function) -> (usize, usize) {
    let of = |block| func.layout.block_insts(block).filter(|inst| bits(func, *inst).is_some()).count();
    (of(func.layout.entry_block().unwrap()), func.layout.blocks().map(of).sum())
}

#[test]
fn a_loop_finds_its_constants_made() {
    assert_eq!(constants(&adding(3, None)), (1, 6));
    assert_eq!(constants(&hoisted(adding(3, None))), (5, 5));
    let most = constants(&hoisted(adding(20, None)));
    assert_eq!(most, (1 + MOST, 22), "no more than there are registers for");
    assert_eq!(constants(&hoisted(adding(3, Some(CallConv::Fast)))), (1, 6), "calls take registers");
    assert_eq!(constants(&hoisted(adding(3, Some(CallConv::PreserveAll)))), (5, 5), "rare calls take none");
}
