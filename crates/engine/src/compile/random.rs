//! Random functions of random numbers, and an interpreter, for tests of what rewrites code.

use super::threading::{destinations, low_bits};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{
    AbiParam, Block, BlockArg, Function, InstBuilder, InstructionData, MemFlagsData, Opcode, Signature, TrapCode, Value,
};
use cranelift_codegen::isa::{CallConv, TargetFrontendConfig};
use cranelift_codegen::settings::{self, Flags};
use cranelift_codegen::verify_function;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use std::collections::HashMap;

/// A sequence of numbers: xorshift.
pub struct Random(pub u64);

impl Random {
    /// The sequence with this number, which is not 0.
    pub fn of(seed: u64) -> Random {
        Random(0x9e37_79b9_7f4a_7c15u64.wrapping_mul(seed))
    }

    /// One of the first `n` numbers.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

const BLOCKS: usize = 8;
const CONSTANTS: [i64; 4] = [0, 1, 2, 0xffff_ffe0];

/// An empty function that makes a number of two.
pub fn of_two_numbers() -> Function {
    let mut func = Function::new();
    func.signature = Signature::new(CallConv::Fast);
    func.signature.params = vec![AbiParam::new(I32); 2];
    func.signature.returns = vec![AbiParam::new(I32)];
    func
}

/// A function of blocks that take up to two numbers and branch anywhere; many of them only decide. Multiplication stands for what
/// must not be passed by.
pub fn random_function(random: &mut Random) -> Function {
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
    everywhere.extend(CONSTANTS.map(|number| b.ins().iconst(I32, number)));
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
            let value = match random.below(10) {
                0 => b.ins().imul(one, other),
                6 | 7 => {
                    let address = b.ins().uextend(I64, one);
                    b.ins().load(I32, MemFlagsData::trusted(), address, random.below(8) as i32)
                }
                8 => {
                    let number = b.ins().f32const(random.below(3) as f32);
                    let bits = b.ins().bitcast(I32, MemFlagsData::new(), number);
                    b.ins().bxor(bits, one)
                }
                9 => {
                    let [one, other] = [one, other].map(|number| b.ins().uextend(I64, number));
                    let product = b.ins().imul(one, other);
                    b.ins().ireduce(I32, product)
                }
                1 => b.ins().iconst(I32, CONSTANTS[random.below(4)]),
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
        match random.below(9) {
            0 => {
                let value = pick(random, &here);
                b.ins().return_(&[value]);
            }
            8 => _ = b.ins().trap(TrapCode::unwrap_user(1 + i as u8)),
            1..4 => _ = b.ins().jump(yes, &yes_args),
            _ => {
                let condition = pick(random, &here);
                b.ins().brif(condition, yes, &yes_args, no, &no_args);
            }
        }
    }
    b.seal_all_blocks();
    b.finalize(frontend_config());
    func
}

/// Of this machine.
pub fn frontend_config() -> TargetFrontendConfig {
    cranelift_native::builder().unwrap().finish(Flags::new(settings::builder())).unwrap().frontend_config()
}

/// Checks that `after` is well-formed and does what `before` does. Gives in how many runs they returned.
pub fn same(before: &Function, after: &Function, name: &str) -> usize {
    verify_function(after, &Flags::new(settings::builder()))
        .unwrap_or_else(|e| panic!("{name}: {e}\n{before}\n{after}"));
    let mut returned = 0;
    for args in [[0, 0], [0, 1], [1, 0], [2, 2], [5, u64::from(u32::MAX)], [0xffff_ff00, 0xffff_ff10]] {
        let (expected, found) = (run(before, args), run(after, args));
        // One that never returns has come to the same products for as long as both were looked at.
        let common = expected.0.len().min(found.0.len());
        let same = match (expected.1, found.1) {
            (None, _) | (_, None) => {
                expected.0[..common] == found.0[..common] && expected.1.is_none() == found.1.is_none()
            }
            _ => expected == found,
        };
        assert!(same, "{name}, {args:?}: {expected:?} and {found:?}\n{before}\n{after}");
        returned += usize::from(expected.1.is_some());
    }
    returned
}

/// What stands for a trap among what is returned.
fn trapped(code: TrapCode) -> u64 {
    1 << 32 | u64::from(code.as_raw().get())
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
        let (mut next, before) = (None, products.len());
        for inst in func.layout.block_insts(block) {
            let get = |value: Value| values[&func.dfg.resolve_aliases(value)];
            let go = |i: usize| {
                let edge = destinations(func, inst)[i];
                let args =
                    edge.args(&func.dfg.value_lists).map(|arg| get(arg.as_value().unwrap())).collect::<Vec<u64>>();
                (edge.block(&func.dfg.value_lists), args)
            };
            let result = match func.dfg.insts[inst] {
                InstructionData::UnaryIeee32 { imm, .. } => imm.bits().into(),
                InstructionData::LoadNoOffset { arg, .. } => get(arg),
                InstructionData::Binary { opcode: Opcode::Bxor, args: [one, other] } => get(one) ^ get(other),
                InstructionData::UnaryImm { imm, .. } => low_bits(imm.bits() as u64, func.dfg.ctrl_typevar(inst)),
                InstructionData::Unary { arg, .. } => low_bits(get(arg), func.dfg.ctrl_typevar(inst)),
                // Memory holds small numbers, by some rule.
                InstructionData::Load { arg, offset, .. } => {
                    (get(arg).wrapping_add(i64::from(offset) as u64)).wrapping_mul(0x9e37_79b9) >> 30 & 7
                }
                InstructionData::Binary { args: [one, other], .. } => {
                    let product = low_bits(get(one).wrapping_mul(get(other)), func.dfg.ctrl_typevar(inst));
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
                // What the block has computed nobody sees.
                InstructionData::Trap { code, .. } => {
                    products.truncate(before);
                    return (products, Some(trapped(code)));
                }
                InstructionData::CondTrap { opcode, arg, code } => {
                    if (get(arg) != 0) == (opcode == Opcode::Trapnz) {
                        return (products, Some(trapped(code)));
                    }
                    continue;
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
