//! Relaxed vector instructions: those whose results the specification leaves to the machine in part.
//!
//! Under [`RelaxedSimd::Native`] an instruction takes, among the results that are allowed, what the machine computes in the fewest
//! instructions; where Cranelift offers nothing of the kind, the one of the deterministic profile, or an unfused multiplication and
//! addition rather than a call of a library function for each lane. The choice depends on the machine alone, never on the operands
//! or the place, as the specification wants it. Under [`RelaxedSimd::Deterministic`] it takes the deterministic profile's: the
//! first of those that the specification lists. What it calls the choice (`R_…`), and what it is here:
//!
//! | | native, x86-64 | native, else | deterministic |
//! |---|---|---|---|
//! | `R_swizzle` | indices 16 to 127 modulo 16 | zero for each index above 15 | zero for each index above 15 |
//! | `R_trunc_s` | `i32::MIN` for NaN and what does not fit | saturates | saturates |
//! | `R_trunc_u` | saturates | saturates | saturates |
//! | `R_fmadd` | fused where the machine has the instruction | likewise | not fused |
//! | `R_laneselect` | by the lane's highest bit | bit by bit | bit by bit |
//! | `R_fmin`, `R_fmax` | the second operand, when one is NaN or both are zero | like `min`, `max` | like `min`, `max` |
//! | `R_q15mulr` | `i16::MIN` squared wraps | saturates | saturates |
//! | `R_idot` | the second operand is unsigned | signed | signed |
//!
//! An x86-64 machine that is too old for an instruction counts as one of the others. Sums of two products of bytes always saturate.

use super::{cast, greater, high_s, lesser, low_s, pairs_s, product, vector_constant};
use crate::compile::RelaxedSimd;
use crate::compile::translate::Translator;
use cranelift_codegen::ir::types::{F32X4, F64X2, I8X16, I16X8, I32, I32X4, I64X2};
use cranelift_codegen::ir::{InstBuilder, Type, Value};
use wasmparser::Operator;

impl Translator<'_, '_> {
    /// Translates relaxed operators; the others give `false`.
    pub(super) fn relaxed_operator(&mut self, op: &Operator<'_>) -> bool {
        use Operator as O;
        let isa = &*self.env.compiler.isa;
        let native = self.native();
        let x86 = native && isa.name() == "x64";
        match op {
            O::I8x16RelaxedSwizzle if native && isa.has_x86_pshufb_lowering() => {
                self.lanes2(I8X16, |b, x, i| b.ins().x86_pshufb(x, i));
            }
            O::I8x16RelaxedSwizzle => return self.vector_operator(&O::I8x16Swizzle),

            O::I32x4RelaxedTruncF32x4S if x86 => self.lanes1(F32X4, |b, x| b.ins().x86_cvtt2dq(I32X4, x)),
            O::I32x4RelaxedTruncF32x4S => return self.vector_operator(&O::I32x4TruncSatF32x4S),
            O::I32x4RelaxedTruncF32x4U => return self.vector_operator(&O::I32x4TruncSatF32x4U),
            O::I32x4RelaxedTruncF64x2SZero if x86 => self.lanes1(F64X2, |b, x| {
                let wide = b.ins().x86_cvtt2dq(I64X2, x);
                let zero = vector_constant(b, I64X2, 0);
                b.ins().snarrow(wide, zero)
            }),
            O::I32x4RelaxedTruncF64x2SZero => return self.vector_operator(&O::I32x4TruncSatF64x2SZero),
            O::I32x4RelaxedTruncF64x2UZero => return self.vector_operator(&O::I32x4TruncSatF64x2UZero),

            O::F32x4RelaxedMadd => self.multiply_add(F32X4, Sign::Plus),
            O::F64x2RelaxedMadd => self.multiply_add(F64X2, Sign::Plus),
            O::F32x4RelaxedNmadd => self.multiply_add(F32X4, Sign::Minus),
            O::F64x2RelaxedNmadd => self.multiply_add(F64X2, Sign::Minus),

            O::I8x16RelaxedLaneselect => self.lane_select(I8X16),
            O::I16x8RelaxedLaneselect => self.lane_select(I16X8),
            O::I32x4RelaxedLaneselect => self.lane_select(I32X4),
            O::I64x2RelaxedLaneselect => self.lane_select(I64X2),

            O::F32x4RelaxedMin if x86 => self.lanes2(F32X4, lesser),
            O::F64x2RelaxedMin if x86 => self.lanes2(F64X2, lesser),
            O::F32x4RelaxedMax if x86 => self.lanes2(F32X4, greater),
            O::F64x2RelaxedMax if x86 => self.lanes2(F64X2, greater),
            O::F32x4RelaxedMin => return self.vector_operator(&O::F32x4Min),
            O::F64x2RelaxedMin => return self.vector_operator(&O::F64x2Min),
            O::F32x4RelaxedMax => return self.vector_operator(&O::F32x4Max),
            O::F64x2RelaxedMax => return self.vector_operator(&O::F64x2Max),

            O::I16x8RelaxedQ15mulrS if native && isa.has_x86_pmulhrsw_lowering() => {
                self.lanes2(I16X8, |b, x, y| b.ins().x86_pmulhrsw(x, y));
            }
            O::I16x8RelaxedQ15mulrS => return self.vector_operator(&O::I16x8Q15MulrSatS),
            O::I16x8RelaxedDotI8x16I7x16S => {
                let (x, y) = self.pop2();
                let sums = self.relaxed_dot(x, y);
                self.push_vector(sums);
            }
            O::I32x4RelaxedDotI8x16I7x16AddS => {
                let (x, y, z) = self.pop3();
                let sums = self.relaxed_dot(x, y);
                let sums = pairs_s(&mut self.b, sums);
                let z = cast(&mut self.b, z, I32X4);
                let value = self.b.ins().iadd(sums, z);
                self.push_vector(value);
            }
            _ => return false,
        }
        true
    }

    /// Whether the machine's results will do.
    fn native(&self) -> bool {
        self.env.compiler.options.relaxed_simd == RelaxedSimd::Native
    }

    /// `±(x × y) + z`.
    fn multiply_add(&mut self, ty: Type, sign: Sign) {
        let fused = self.native() && self.env.compiler.isa.has_native_fma();
        let z = self.pop_vector(ty);
        let (mut x, y) = self.pop_vectors(ty);
        if sign == Sign::Minus {
            x = self.b.ins().fneg(x);
        }
        let value = if fused {
            self.b.ins().fma(x, y, z)
        } else {
            let product = self.b.ins().fmul(x, y);
            self.b.ins().fadd(product, z)
        };
        self.push_vector(value);
    }

    /// Selects lanes of the first operand or the second by a mask. Every shape decides alike (`R_laneselect`), so 16-bit lanes, for
    /// which no x86 has an instruction, have their highest bit spread first where the others are selected by it.
    fn lane_select(&mut self, ty: Type) {
        let isa = &self.env.compiler.isa;
        let blends = |ty| self.native() && isa.has_blendv_lowering(ty);
        let (by_highest_bit, native) = (blends(I8X16), blends(ty));
        let mut mask = self.pop_vector(ty);
        let (x, y) = self.pop_vectors(ty);
        if by_highest_bit && !native {
            let amount = self.b.ins().iconst(I32, ty.lane_bits() as i64 - 1);
            mask = self.b.ins().sshr(mask, amount);
        }
        let value = if native { self.b.ins().blendv(mask, x, y) } else { self.b.ins().bitselect(mask, x, y) };
        self.push_vector(value);
    }

    /// Sums of products of neighbouring bytes, as [`I16X8`].
    fn relaxed_dot(&mut self, x: Value, y: Value) -> Value {
        if self.native() && self.env.compiler.isa.has_x86_pmaddubsw_lowering() {
            return self.b.ins().x86_pmaddubsw(x, y);
        }
        // Only twice the square of -128 does not fit.
        let (low, high) = (product(&mut self.b, low_s, x, y), product(&mut self.b, high_s, x, y));
        let (low, high) = (pairs_s(&mut self.b, low), pairs_s(&mut self.b, high));
        self.b.ins().snarrow(low, high)
    }
}

/// What is done with a product.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// It is added.
    Plus,
    /// It is subtracted.
    Minus,
}
