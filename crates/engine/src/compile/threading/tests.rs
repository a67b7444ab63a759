//! Random functions do the same with and without the pass, as an interpreter sees them, and remain well-formed.

use super::*;
use crate::compile::random::{Random, frontend_config, of_two_numbers, random_function, same};
use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::types::{I8, I32};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

#[test]
fn functions_do_what_they_did() {
    let (mut threaded, mut returned) = (0, 0);
    for seed in 1..1_500 {
        let before = random_function(&mut Random::of(seed));
        let mut after = before.clone();
        thread_jumps(&mut after);
        threaded += usize::from(before.display().to_string() != after.display().to_string());
        returned += same(&before, &after, &format!("seed {seed}"));
    }
    assert!(threaded > 200 && returned > 800, "{threaded} changed, {returned} returned");
}

/// `decide(p): brif p == 0, no, yes`, entered with 1, with 0 and with an argument.
fn diamond(chain: bool) -> Function {
    let mut func = of_two_numbers();
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut func, &mut context);
    let [entry, one, zero, other, decide, yes, no] = [(); 7].map(|()| b.create_block());
    b.append_block_params_for_function_params(entry);
    let [x, y] = [0, 1].map(|i| b.block_params(entry)[i]);
    let p = b.append_block_param(decide, I32);
    b.switch_to_block(entry);
    b.ins().brif(x, one, &[], zero, &[]);
    b.switch_to_block(one);
    let constant = b.ins().iconst(I32, 1);
    b.ins().jump(decide, &[constant.into()]);
    b.switch_to_block(zero);
    let constant = b.ins().iconst(I32, 0);
    b.ins().brif(y, decide, &[constant.into()], other, &[]);
    b.switch_to_block(other);
    b.ins().jump(decide, &[y.into()]);
    b.switch_to_block(decide);
    if chain {
        let none = b.ins().iconst(I32, 0);
        let is_none = b.ins().icmp(IntCC::Equal, p, none);
        assert_eq!(b.func.dfg.value_type(is_none), I8);
        let is_none = b.ins().uextend(I32, is_none);
        b.ins().brif(is_none, no, &[], yes, &[]);
    } else {
        b.ins().brif(p, yes, &[], no, &[]);
    }
    for (block, answer) in [(yes, 7), (no, 8)] {
        b.switch_to_block(block);
        let answer = b.ins().iconst(I32, answer);
        b.ins().return_(&[answer]);
    }
    b.seal_all_blocks();
    b.finalize(frontend_config());
    thread_jumps(&mut func);
    func
}

#[test]
fn a_decision_is_taken_where_it_is_known() {
    let text = diamond(false).display().to_string();
    // From `one`, `zero` and `other`: nobody goes to `decide` any more.
    for edge in ["jump block5", "v1, block6, block3", "v1, block5, block6"] {
        assert!(text.contains(edge), "{edge}: {text}");
    }
    assert_eq!(text.matches("block4").count(), 1, "{text}");
    // What has to be computed first is computed where it was.
    let text = diamond(true).display().to_string();
    for edge in ["jump block5", "v1, block6, block3", "jump block4(v1)"] {
        assert!(text.contains(edge), "{edge}: {text}");
    }
}
