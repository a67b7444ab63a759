//! Short loops without loops in them, of which several iterations are translated one behind the other.
//!
//! ```text
//!   head: body, and a branch to the label        head 1: body, and a branch to the label leads to head 2
//!         leads to head                becomes   head 2: body, and a branch to the label leads to head 1
//! ```
//!
//! Each iteration is what it was, instruction by instruction: its tests, traps, stack maps and fuel, and what it looks at where an
//! iteration begins. What goes is jumps: a processor takes one in a cycle, which is as long as a short iteration lasts, and predicts the
//! end of a loop from the jumps that it took before. (J. J. Dongarra, A. R. Hinds, *Unrolling loops in FORTRAN*, Software:
//! Practice and Experience 9, 1979.)
//!
//! That pays in loops that follow references and go through arrays. Those over linear memory alone, and those that wait for one sum of floats after the
//! other, were measured to become slower (`sieve`, `simd_dot`), and are left as they are.
//!
//! The operators of the first iteration are kept with the types of their operands, since the validator sees them once.

use super::translate::{Operands, Translator};
use super::{CompileError, OptLevel};
use crate::limits;
use wasmparser::{BlockType, Operator, OperatorsReader};

/// Iterations at most.
const MOST: usize = 3;
/// The weight of all iterations together, roughly in instructions of the machine.
const HEAVIEST: usize = 120;
/// Bytes of the longest body of a function that loops are unrolled in, so that none outgrows the limits.
const LONGEST: usize = 50_000;
/// Weight that a function may gain.
const BUDGET: usize = 2_000;

/// A loop to be unrolled.
pub(super) struct Unrolling {
    /// Operators between its `loop` and its `end`.
    length: usize,
    /// Iterations.
    times: usize,
    /// Weight of those behind the first.
    gained: usize,
}

/// What is seen of a loop's body.
#[derive(Default)]
struct Look {
    length: usize,
    weight: usize,
    /// Whether a branch may lead back.
    returns: bool,
    /// Whether objects are looked at.
    objects: bool,
}

impl Look {
    fn add(&mut self, op: &Operator<'_>) -> Option<()> {
        use Operator as O;
        self.weight += weight(op)?;
        self.objects |= matches!(
            op,
            O::StructGet { .. }
                | O::StructGetS { .. }
                | O::StructGetU { .. }
                | O::StructSet { .. }
                | O::ArrayGet { .. }
                | O::ArrayGetS { .. }
                | O::ArrayGetU { .. }
                | O::ArraySet { .. }
        );
        Some(())
    }
}

impl Translator<'_, '_> {
    /// Whether and how the loop that `op` begins, and `rest` goes on with, is to be unrolled.
    pub(super) fn unrolls(&self, op: &Operator<'_>, rest: &OperatorsReader<'_>) -> Option<Unrolling> {
        let options = &self.env.compiler.options;
        let Operator::Loop { blockty: BlockType::Empty | BlockType::Type(_) } = op else { return None };
        let wanted = self.reachable && options.unroll_loops && options.opt_level != OptLevel::None;
        let fits = self.env.info.bodies[self.defined].len() <= LONGEST && self.values() < limits::CODE_VALUES.max / 4;
        if !wanted || !fits {
            return None;
        }
        let mut look = Look::default();
        self.look(OperatorsReader::new(rest.get_binary_reader()), &mut look)?;
        let times = (HEAVIEST / look.weight.max(1)).min(MOST);
        let gained = look.weight * times.saturating_sub(1);
        (look.returns && look.objects && times > 1 && self.unrolled + gained <= BUDGET).then_some(Unrolling {
            length: look.length,
            times,
            gained,
        })
    }

    /// Looks at the operators, which need not be valid, to the `end` that matches none of them. `None` where a loop, a handler or a call is
    /// among them, or more than an iteration may have.
    fn look(&self, mut operators: OperatorsReader<'_>, look: &mut Look) -> Option<()> {
        use Operator as O;
        let mut depth = 0;
        loop {
            let op = operators.read().ok()?;
            match &op {
                O::End if depth == 0 => return Some(()),
                O::End => depth -= 1,
                O::Block { .. } | O::If { .. } => depth += 1,
                O::Br { relative_depth }
                | O::BrIf { relative_depth }
                | O::BrOnNull { relative_depth }
                | O::BrOnNonNull { relative_depth }
                | O::BrOnCast { relative_depth, .. }
                | O::BrOnCastFail { relative_depth, .. } => look.returns |= *relative_depth == depth,
                O::Call { .. } => {
                    let callee = self.inlines(&op)?;
                    self.look_inside(callee, look)?;
                }
                _ => {}
            }
            look.length += 1;
            look.add(&op)?;
            if look.weight * 2 > HEAVIEST {
                return None;
            }
        }
    }

    /// Looks at the body of a function that is taken in, which calls nothing itself.
    fn look_inside(&self, callee: usize, look: &mut Look) -> Option<()> {
        let mut operators = self.inlining.body(self.env.info, callee)?.get_operators_reader().ok()?;
        while !operators.eof() {
            let op = operators.read().ok()?;
            look.add(&op).filter(|_| !matches!(op, Operator::Call { .. }))?;
        }
        Some(())
    }

    /// Translates the loop that has just been entered, but for its `end`; the `loop` stands at offset `start`.
    pub(super) fn unroll<'o>(
        &mut self,
        start: u64,
        operators: &mut OperatorsReader<'o>,
        unrolling: Unrolling,
    ) -> Result<(), CompileError> {
        self.unrolled += unrolling.gained;
        // What translating an operator uses up.
        let (call_sites, inlined) = (self.call_sites.clone(), self.inlined.bytes);
        let first = self.another_head();
        let mut iteration: Vec<(u64, Operator<'o>, Operands)> = Vec::with_capacity(unrolling.length);
        for _ in 0..unrolling.length {
            let offset = operators.original_position();
            let op = operators.read()?;
            let operands = self.operator(offset, &op)?;
            iteration.push((offset, op, operands));
        }
        for left in (0..unrolling.times - 1).rev() {
            self.locate(start);
            if !self.next_iteration(first, left == 0) {
                break;
            }
            (self.call_sites, self.inlined.bytes) = (call_sites.clone(), inlined);
            for (offset, op, operands) in &iteration {
                self.translated(*offset, op, operands)?;
            }
        }
        Ok(())
    }
}

/// About how many instructions an operator becomes; `None` for what a loop that is unrolled must not have.
fn weight(op: &Operator<'_>) -> Option<usize> {
    use Operator as O;
    Some(match op {
        O::Loop { .. } | O::TryTable { .. } => return None,
        O::CallIndirect { .. } | O::CallRef { .. } => return None,
        O::ReturnCall { .. } | O::ReturnCallIndirect { .. } | O::ReturnCallRef { .. } => return None,
        O::BrTable { .. } => return None,
        O::F32Add | O::F32Sub | O::F32Mul | O::F32Div | O::F64Add | O::F64Sub | O::F64Mul | O::F64Div => return None,
        O::LocalGet { .. } | O::LocalSet { .. } | O::LocalTee { .. } | O::Drop | O::Nop => 0,
        O::Block { .. } | O::Else | O::End | O::Call { .. } => 0,
        O::I32Const { .. } | O::I64Const { .. } | O::F32Const { .. } | O::F64Const { .. } | O::RefNull { .. } => 0,
        O::ArrayGet { .. } | O::ArrayGetS { .. } | O::ArrayGetU { .. } | O::ArraySet { .. } => 3,
        O::RefTestNonNull { .. } | O::RefTestNullable { .. } | O::RefCastNonNull { .. } | O::RefCastNullable { .. } => {
            4
        }
        O::BrOnCast { .. } | O::BrOnCastFail { .. } => 4,
        O::StructNew { .. } | O::StructNewDefault { .. } | O::ArrayNew { .. } | O::ArrayNewDefault { .. } => 15,
        O::ArrayNewFixed { array_size, .. } => 15 + *array_size as usize,
        O::ArrayCopy { .. } | O::ArrayFill { .. } | O::MemoryCopy { .. } | O::MemoryFill { .. } => 15,
        _ => 1,
    })
}
