//! Random functions do the same with and without the pass, as an interpreter sees them, and remain well-formed.

use super::*;
use crate::compile::random::Random;
use cranelift_codegen::ir::types::{I8, I32};
use cranelift_codegen::ir::{AbiParam, InstBuilder, Signature};
use cranelift_codegen::isa::CallConv;
use cranelift_codegen::settings::{self, Flags};
use cranelift_codegen::verify_function;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use std::collections::HashMap;

const BLOCKS: usize = 8;

/// An empty function that makes a number of two.
fn of_two_numbers() -> Function {
    let mut func = Function::new();
    func.signature = Signature::new(CallConv::Fast);
    func.signature.params = vec![AbiParam::new(I32); 2];
    func.signature.returns = vec![AbiParam::new(I32)];
    func
}

/// A function of blocks that take up to two numbers and branch anywhere; many of them only decide. Multiplication stands for what
/// must not be passed by.
fn random_function(random: &mut Random) -> Function {
    let mut func = of_two_numbers();
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut func, &mut context);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    let blocks: Vec<Block> = (0..BLOCKS).map(|_| b.create_block()).collect();
    let counts = [(); BLOCKS].map(|()| random.below(3));
    for (block, count) in blocks.iter().zip(counts) {
        (0..count).for_each(|_| _ = b.append_block_param(*block, I32));
    }
    b.switch_to_block(entry);
    // What is defined here can be used everywhere.
    let mut everywhere = b.block_params(entry).to_vec();
    everywhere.extend([0, 1, 2].map(|number| b.ins().iconst(I32, number)));
    // What a variable was given last, in whatever block, is a value of that block or a parameter of one between.
    let variables = [(); 2].map(|()| b.declare_var(I32));
    variables.into_iter().zip(b.block_params(entry).to_vec()).for_each(|(variable, value)| b.def_var(variable, value));
    for (i, block) in [entry].iter().chain(&blocks).enumerate() {
        if i > 0 {
            b.switch_to_block(*block);
        }
        let mut here = everywhere.clone();
        let params = if i > 0 { b.block_params(*block)[..counts[i - 1]].to_vec() } else { Vec::new() };
        // Parameters are more often used.
        here.extend([&params[..]; 4].concat());
        let pick = |random: &mut Random, here: &[Value]| here[random.below(here.len())];
        for _ in 0..random.below(4) {
            let [one, other] = [(); 2].map(|()| pick(random, &here));
            let value = match random.below(6) {
                0 => b.ins().imul(one, other),
                1 => b.ins().iconst(I32, random.below(3) as i64),
                kind => {
                    let condition = [IntCC::Equal, IntCC::NotEqual, IntCC::SignedLessThan][kind % 3];
                    let compared = b.ins().icmp(condition, one, other);
                    b.ins().uextend(I32, compared)
                }
            };
            here.push(value);
        }
        for variable in variables {
            match random.below(3) {
                0 => b.def_var(variable, pick(random, &here)),
                1 => here.push(b.use_var(variable)),
                _ => {}
            }
        }
        let [(yes, yes_args), (no, no_args)] = [(); 2].map(|()| {
            let to = random.below(BLOCKS);
            let args: Vec<BlockArg> = (0..counts[to]).map(|_| BlockArg::Value(pick(random, &here))).collect();
            (blocks[to], args)
        });
        match random.below(8) {
            0 => {
                let value = pick(random, &here);
                b.ins().return_(&[value]);
            }
            1..4 => _ = b.ins().jump(yes, &yes_args),
            _ => {
                let condition = pick(random, &here);
                b.ins().brif(condition, yes, &yes_args, no, &no_args);
            }
        }
    }
    b.seal_all_blocks();
    b.finalize(isa_config());
    func
}

fn isa_config() -> cranelift_codegen::isa::TargetFrontendConfig {
    cranelift_native::builder().unwrap().finish(Flags::new(settings::builder())).unwrap().frontend_config()
}

/// What a function returns, after at most so many blocks; with the products that it came to.
fn run(func: &Function, args: [u64; 2]) -> (Vec<u64>, Option<u64>) {
    let mut products = Vec::new();
    let mut values: HashMap<Value, u64> = HashMap::new();
    let entry = func.layout.entry_block().unwrap();
    values.extend(func.dfg.block_params(entry).iter().copied().zip(args));
    let mut block = entry;
    // A decision fewer is a block fewer: products count, and what goes round without one is stopped.
    for _ in 0..2_000 {
        let mut next = None;
        for inst in func.layout.block_insts(block) {
            let get = |value: Value| values[&func.dfg.resolve_aliases(value)];
            let go = |i: usize| {
                let edge = destinations(func, inst)[i];
                let args =
                    edge.args(&func.dfg.value_lists).map(|arg| get(arg.as_value().unwrap())).collect::<Vec<u64>>();
                (edge.block(&func.dfg.value_lists), args)
            };
            let result = match func.dfg.insts[inst] {
                InstructionData::UnaryImm { imm, .. } => low_bits(imm.bits(), I32),
                InstructionData::Unary { arg, .. } => get(arg),
                InstructionData::Binary { args: [one, other], .. } => {
                    let product = get(one).wrapping_mul(get(other)) & 0xffff_ffff;
                    products.push(product);
                    if products.len() > 200 {
                        return (products, None);
                    }
                    product
                }
                InstructionData::IntCompare { args: [one, other], cond, .. } => {
                    let (one, other) = (get(one) as u32 as i32, get(other) as u32 as i32);
                    u64::from(match cond {
                        IntCC::Equal => one == other,
                        IntCC::NotEqual => one != other,
                        _ => one < other,
                    })
                }
                InstructionData::Jump { .. } => {
                    next = Some(go(0));
                    break;
                }
                InstructionData::Brif { arg, .. } => {
                    next = Some(go(usize::from(get(arg) == 0)));
                    break;
                }
                InstructionData::MultiAry { .. } => return (products, Some(get(func.dfg.inst_args(inst)[0]))),
                ref other => panic!("{other:?}"),
            };
            values.insert(func.dfg.first_result(inst), result);
        }
        let (to, args) = next.expect("a block ends with a branch");
        values.extend(func.dfg.block_params(to).iter().copied().zip(args));
        block = to;
    }
    (products, None)
}

#[test]
fn functions_do_what_they_did() {
    let flags = Flags::new(settings::builder());
    let (mut threaded, mut returned) = (0, 0);
    for seed in 1..1_500 {
        let mut random = Random(0x9e37_79b9_7f4a_7c15u64.wrapping_mul(seed));
        let before = random_function(&mut random);
        let mut after = before.clone();
        thread_jumps(&mut after);
        verify_function(&after, &flags).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{before}\n{after}"));
        threaded += usize::from(before.display().to_string() != after.display().to_string());
        for args in [[0, 0], [0, 1], [1, 0], [2, 2], [5, u64::from(u32::MAX)]] {
            let (expected, found) = (run(&before, args), run(&after, args));
            // One that never returns has come to the same products for as long as both were looked at.
            let common = expected.0.len().min(found.0.len());
            let same = match (expected.1, found.1) {
                (None, _) | (_, None) => {
                    expected.0[..common] == found.0[..common] && expected.1.is_none() == found.1.is_none()
                }
                _ => expected == found,
            };
            assert!(same, "seed {seed}, {args:?}: {expected:?} and {found:?}\n{before}\n{after}");
            returned += usize::from(expected.1.is_some());
        }
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
    b.finalize(isa_config());
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
