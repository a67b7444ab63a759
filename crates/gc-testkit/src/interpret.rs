//! Runs the functions that collectors emit: an interpreter for the part of CLIF that emitters use.
//!
//! Addresses are the kit's own ([`machine`](crate::machine)), not the process's, so a wrong one is found and not followed. At a
//! call the references that are live across it are roots, and are what the collector left of them behind it.

use crate::clif::{CALL_ALLOC, CALL_SLOW_PATH, Code};
use crate::failure::{Check, Checked, Failure};
use crate::machine::Machine;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    BlockCall, ExternalName, Function, Inst, InstructionData, MemFlags, Opcode, TrapCode, Type, Value, types,
};

/// Instructions that one function may take: no emitted code loops for long.
const MAX_STEPS: u32 = 1 << 20;

/// How a function ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// It returned, with this result if it has one.
    Return(u64),
    /// It trapped.
    Trap(TrapCode),
    /// It could not allocate.
    Exhausted,
}

/// What an instruction leads to.
enum Next {
    /// The next instruction.
    On,
    /// Another block.
    Branch(BlockCall),
    Exit(Exit),
}

/// A function that runs.
struct Frame<'a> {
    code: &'a Code,
    func: &'a Function,
    values: Vec<u64>,
}

/// Runs `code` with the heap's base and `args`.
///
/// # Errors
/// When the code does what no emitted code may, or what the machine finds wrong in a call.
pub fn run(code: &Code, args: &[u64], machine: &mut Machine) -> Checked<Exit> {
    let func = &code.func;
    let mut frame = Frame { code, func, values: vec![0; func.dfg.num_values()] };
    let mut block = func.layout.entry_block().expect("it has a block");
    let all = std::iter::once(crate::machine::HEAP_BASE).chain(args.iter().copied());
    for (param, arg) in func.dfg.block_params(block).iter().zip(all) {
        frame.set(*param, arg);
    }
    let mut steps = 0;
    'blocks: loop {
        for inst in func.layout.block_insts(block) {
            steps += 1;
            if steps > MAX_STEPS {
                return Err(frame.wrong(inst, "the code does not end"));
            }
            match frame.step(inst, machine)? {
                Next::On => {}
                Next::Exit(exit) => return Ok(exit),
                Next::Branch(call) => {
                    let lists = &func.dfg.value_lists;
                    let passed: Vec<u64> = call
                        .args(lists)
                        .map(|arg| frame.get(arg.as_value().expect("only calls pass something else")))
                        .collect();
                    block = call.block(lists);
                    for (param, value) in func.dfg.block_params(block).iter().zip(passed) {
                        frame.set(*param, value);
                    }
                    continue 'blocks;
                }
            }
        }
        unreachable!("a block ends in a branch: the verifier has seen it");
    }
}

fn mask(ty: Type, value: u64) -> u64 {
    match ty.bits() {
        64.. => value,
        bits => value & ((1 << bits) - 1),
    }
}

fn signed(ty: Type, value: u64) -> i64 {
    let unused = 64 - ty.bits().min(64);
    (value << unused) as i64 >> unused
}

impl Frame<'_> {
    fn get(&self, value: Value) -> u64 {
        self.values[value.as_u32() as usize]
    }

    fn set(&mut self, value: Value, content: u64) {
        self.values[value.as_u32() as usize] = mask(self.ty(value), content);
    }

    fn ty(&self, value: Value) -> Type {
        self.func.dfg.value_type(value)
    }

    fn wrong(&self, inst: Inst, what: impl std::fmt::Display) -> Failure {
        let text = self.func.dfg.display_inst(inst);
        Failure::new(Check::Code, format!("{what}: `{text}` in\n{}", self.func))
    }

    fn step(&mut self, inst: Inst, machine: &mut Machine) -> Checked<Next> {
        let data = self.func.dfg.insts[inst];
        match data {
            InstructionData::Jump { destination, .. } => return Ok(Next::Branch(destination)),
            InstructionData::Brif { arg, blocks, .. } => {
                return Ok(Next::Branch(blocks[(self.get(arg) == 0) as usize]));
            }
            InstructionData::Trap { code, .. } => return Ok(Next::Exit(Exit::Trap(code))),
            InstructionData::CondTrap { opcode, arg, code } => {
                let trap = (self.get(arg) == 0) == (opcode == Opcode::Trapz);
                return Ok(if trap { Next::Exit(Exit::Trap(code)) } else { Next::On });
            }
            InstructionData::MultiAry { opcode: Opcode::Return, ref args } => {
                let result = args.first(&self.func.dfg.value_lists).map_or(0, |value| self.get(value));
                return Ok(Next::Exit(Exit::Return(result)));
            }
            InstructionData::Call { func_ref, .. } => return self.call(inst, func_ref, machine),
            InstructionData::Load { opcode, arg, flags, offset } => {
                return self.load(inst, (opcode, flags), self.get(arg).wrapping_add_signed(i64::from(offset)), machine);
            }
            InstructionData::Store { opcode, args, flags, offset } => {
                let address = self.get(args[1]).wrapping_add_signed(i64::from(offset));
                return self.store(inst, (opcode, flags), args[0], address, machine);
            }
            _ => {}
        }
        let result = self.compute(inst, data)?;
        let to = self.func.dfg.first_result(inst);
        self.set(to, result);
        Ok(Next::On)
    }

    /// The result of an instruction on numbers.
    fn compute(&self, inst: Inst, data: InstructionData) -> Checked<u64> {
        use Opcode as O;
        let ty = self.ty(self.func.dfg.first_result(inst));
        let bits = ty.bits();
        Ok(match data {
            InstructionData::UnaryImm { opcode: O::Iconst, imm } => imm.bits() as u64,
            InstructionData::IntCompare { args, cond, .. } => {
                let ty = self.ty(args[0]);
                compare(cond, ty, self.get(args[0]), self.get(args[1])) as u64
            }
            InstructionData::Unary { opcode, arg } => {
                let x = self.get(arg);
                match opcode {
                    O::Uextend | O::Ireduce => x,
                    O::Sextend => signed(self.ty(arg), x) as u64,
                    O::Bnot => !x,
                    O::Ineg => x.wrapping_neg(),
                    O::Ctz => (x.trailing_zeros() as u64).min(bits as u64),
                    O::Clz => (x.leading_zeros() as u64).saturating_sub(64 - bits as u64),
                    O::Popcnt => x.count_ones() as u64,
                    O::Bmask => {
                        if x == 0 {
                            0
                        } else {
                            u64::MAX
                        }
                    }
                    _ => return Err(self.unknown(inst)),
                }
            }
            InstructionData::Binary { opcode, args } => {
                let (x, y) = (self.get(args[0]), self.get(args[1]));
                let shift = y as u32 % bits;
                match opcode {
                    O::Iadd => x.wrapping_add(y),
                    O::Isub => x.wrapping_sub(y),
                    O::Imul => x.wrapping_mul(y),
                    O::Band => x & y,
                    O::Bor => x | y,
                    O::Bxor => x ^ y,
                    O::Ishl => x << shift,
                    O::Ushr => x >> shift,
                    O::Sshr => (signed(ty, x) >> shift) as u64,
                    O::Rotl => x << shift | x.checked_shr(bits - shift).unwrap_or(0),
                    O::Rotr => x >> shift | x.checked_shl(bits - shift).unwrap_or(0),
                    O::Umin => x.min(y),
                    O::Umax => x.max(y),
                    _ => return Err(self.unknown(inst)),
                }
            }
            InstructionData::Ternary { opcode: O::Select | O::SelectSpectreGuard, args } => {
                self.get(if self.get(args[0]) != 0 { args[1] } else { args[2] })
            }
            _ => return Err(self.unknown(inst)),
        })
    }

    fn unknown(&self, inst: Inst) -> Failure {
        let opcode = self.func.dfg.insts[inst].opcode();
        self.wrong(inst, format!("the kit's interpreter does not know `{opcode}`; it is easily added"))
    }

    /// A null access where the code says so traps; any other access to nothing is wrong.
    fn fault(&self, inst: Inst, flags: MemFlags, address: u64) -> Checked<Next> {
        let distance = address.wrapping_sub(crate::machine::HEAP_BASE) as i64;
        match self.func.dfg.mem_flags[flags].trap_code() {
            Some(code) if (0..gc_api::FIRST_INDEX as i64).contains(&distance) => Ok(Next::Exit(Exit::Trap(code))),
            _ => {
                Err(self
                    .wrong(inst, format!("an access to where nothing is, {distance:#x} bytes from the heap's base")))
            }
        }
    }

    fn load(
        &mut self,
        inst: Inst,
        (opcode, flags): (Opcode, MemFlags),
        address: u64,
        machine: &mut Machine,
    ) -> Checked<Next> {
        let to = self.func.dfg.first_result(inst);
        let ty = self.ty(to);
        let (bytes, narrow) = match opcode {
            Opcode::Load => (ty.bytes(), ty),
            Opcode::Uload8 | Opcode::Sload8 => (1, types::I8),
            Opcode::Uload16 | Opcode::Sload16 => (2, types::I16),
            Opcode::Uload32 | Opcode::Sload32 => (4, types::I32),
            _ => return Err(self.unknown(inst)),
        };
        let Some(loaded) = machine.load(address, bytes) else { return self.fault(inst, flags, address) };
        let sign = matches!(opcode, Opcode::Sload8 | Opcode::Sload16 | Opcode::Sload32);
        self.set(to, if sign { signed(narrow, loaded) as u64 } else { loaded });
        Ok(Next::On)
    }

    fn store(
        &mut self,
        inst: Inst,
        (opcode, flags): (Opcode, MemFlags),
        value: Value,
        address: u64,
        machine: &mut Machine,
    ) -> Checked<Next> {
        let bytes = match opcode {
            Opcode::Store => self.ty(value).bytes(),
            Opcode::Istore8 => 1,
            Opcode::Istore16 => 2,
            Opcode::Istore32 => 4,
            _ => return Err(self.unknown(inst)),
        };
        match machine.store(address, bytes, self.get(value)) {
            Some(()) => Ok(Next::On),
            None => self.fault(inst, flags, address),
        }
    }

    /// A call to the runtime, with what is live across it as roots.
    fn call(&mut self, inst: Inst, callee: cranelift_codegen::ir::FuncRef, machine: &mut Machine) -> Checked<Next> {
        let dfg = &self.func.dfg;
        let ExternalName::User(name) = dfg.ext_funcs[callee].name else { return Err(self.unknown(inst)) };
        let number = self.func.params.user_named_funcs()[name].index;
        let args: Vec<u64> = dfg.inst_args(inst).iter().map(|value| self.get(*value)).collect();
        let live = &self.code.live[&inst];
        machine.roots.frame = live.iter().map(|value| std::cell::Cell::new(self.get(*value) as u32)).collect();
        let result = match number {
            CALL_ALLOC => machine.allocate_for_code([args[0], args[1], args[2], args[3]])?.map(u64::from),
            CALL_SLOW_PATH => Some(machine.slow_path(args[0] as u32, [args[1], args[2], args[3], args[4]])?),
            _ => return Err(self.unknown(inst)),
        };
        for (value, kept) in live.iter().zip(std::mem::take(&mut machine.roots.frame)) {
            self.set(*value, kept.get() as u64);
        }
        let Some(result) = result else { return Ok(Next::Exit(Exit::Exhausted)) };
        self.set(self.func.dfg.first_result(inst), result);
        Ok(Next::On)
    }
}

fn compare(cond: IntCC, ty: Type, x: u64, y: u64) -> bool {
    let (sx, sy) = (signed(ty, x), signed(ty, y));
    match cond {
        IntCC::Equal => x == y,
        IntCC::NotEqual => x != y,
        IntCC::UnsignedLessThan => x < y,
        IntCC::UnsignedLessThanOrEqual => x <= y,
        IntCC::UnsignedGreaterThan => x > y,
        IntCC::UnsignedGreaterThanOrEqual => x >= y,
        IntCC::SignedLessThan => sx < sy,
        IntCC::SignedLessThanOrEqual => sx <= sy,
        IntCC::SignedGreaterThan => sx > sy,
        IntCC::SignedGreaterThanOrEqual => sx >= sy,
    }
}
