//! Vectors (specification §4.6.3, "Vector Instructions", and their part of §4.6.7, "Memory Instructions").
//!
//! A `v128` stands as [`I8X16`] on the operand stack, in locals, parameters and results. An instruction sees its operands in the
//! shape that it works on, by a cast that costs nothing; lane 0 is in the lowest bits on every machine.

mod relaxed;

use super::translate::Translator;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32X4, F64X2, I8, I8X16, I16, I16X8, I32, I32X4, I64X2};
use cranelift_codegen::ir::{ConstantData, Endianness, InstBuilder, MemFlagsData, Type, Value};
use cranelift_frontend::FunctionBuilder;
use wasmparser::{MemArg, Operator};

type Builder<'a> = FunctionBuilder<'a>;

impl Translator<'_, '_> {
    /// Translates operators on vectors; the others give `false`.
    pub(super) fn vector_operator(&mut self, op: &Operator<'_>) -> bool {
        self.vector_memory_operator(op)
            || self.lane_operator(op)
            || self.bit_operator(op)
            || self.integer_vector_operator(op)
            || self.integer_comparison(op)
            || self.widening_operator(op)
            || self.float_vector_operator(op)
            || self.vector_conversion(op)
            || self.relaxed_operator(op)
    }

    /// Loads and stores.
    fn vector_memory_operator(&mut self, op: &Operator<'_>) -> bool {
        use Operator as O;
        match op {
            O::V128Load { memarg } => self.load_vector(memarg, |b, f, a, o| b.ins().load(I8X16, f, a, o)),
            O::V128Load8x8S { memarg } => self.load_vector(memarg, |b, f, a, o| b.ins().sload8x8(f, a, o)),
            O::V128Load8x8U { memarg } => self.load_vector(memarg, |b, f, a, o| b.ins().uload8x8(f, a, o)),
            O::V128Load16x4S { memarg } => self.load_vector(memarg, |b, f, a, o| b.ins().sload16x4(f, a, o)),
            O::V128Load16x4U { memarg } => self.load_vector(memarg, |b, f, a, o| b.ins().uload16x4(f, a, o)),
            O::V128Load32x2S { memarg } => self.load_vector(memarg, |b, f, a, o| b.ins().sload32x2(f, a, o)),
            O::V128Load32x2U { memarg } => self.load_vector(memarg, |b, f, a, o| b.ins().uload32x2(f, a, o)),
            O::V128Load8Splat { memarg } => self.load_splat(memarg, I8X16),
            O::V128Load16Splat { memarg } => self.load_splat(memarg, I16X8),
            O::V128Load32Splat { memarg } => self.load_splat(memarg, I32X4),
            O::V128Load64Splat { memarg } => self.load_splat(memarg, I64X2),
            O::V128Load32Zero { memarg } => self.load_zero(memarg, I32X4),
            O::V128Load64Zero { memarg } => self.load_zero(memarg, I64X2),
            O::V128Load8Lane { memarg, lane } => self.load_lane(memarg, I8X16, *lane),
            O::V128Load16Lane { memarg, lane } => self.load_lane(memarg, I16X8, *lane),
            O::V128Load32Lane { memarg, lane } => self.load_lane(memarg, I32X4, *lane),
            O::V128Load64Lane { memarg, lane } => self.load_lane(memarg, I64X2, *lane),
            O::V128Store { memarg } => self.store(memarg, |t, f, v, a, o| {
                t.b.ins().store(f, v, a, o);
            }),
            O::V128Store8Lane { memarg, lane } => self.store_lane(memarg, I8X16, *lane),
            O::V128Store16Lane { memarg, lane } => self.store_lane(memarg, I16X8, *lane),
            O::V128Store32Lane { memarg, lane } => self.store_lane(memarg, I32X4, *lane),
            O::V128Store64Lane { memarg, lane } => self.store_lane(memarg, I64X2, *lane),
            _ => return false,
        }
        true
    }

    /// Constants, and moves of lanes.
    fn lane_operator(&mut self, op: &Operator<'_>) -> bool {
        use Operator as O;
        match op {
            O::V128Const { value } => {
                let value = vector_constant(&mut self.b, I8X16, (*value).into());
                self.push(value);
            }
            O::I8x16Shuffle { lanes } => {
                let (x, y) = self.pop2();
                let lanes = self.b.func.dfg.immediates.push(ConstantData::from(&lanes[..]));
                let value = self.b.ins().shuffle(x, y, lanes);
                self.push(value);
            }
            O::I8x16Swizzle => self.lanes2(I8X16, |b, x, i| b.ins().swizzle(x, i)),

            O::I8x16Splat => self.splat(I8X16),
            O::I16x8Splat => self.splat(I16X8),
            O::I32x4Splat => self.splat(I32X4),
            O::I64x2Splat => self.splat(I64X2),
            O::F32x4Splat => self.splat(F32X4),
            O::F64x2Splat => self.splat(F64X2),

            O::I8x16ExtractLaneS { lane } => self.extract_narrow(I8X16, *lane, |b, x| b.ins().sextend(I32, x)),
            O::I8x16ExtractLaneU { lane } => self.extract_narrow(I8X16, *lane, |b, x| b.ins().uextend(I32, x)),
            O::I16x8ExtractLaneS { lane } => self.extract_narrow(I16X8, *lane, |b, x| b.ins().sextend(I32, x)),
            O::I16x8ExtractLaneU { lane } => self.extract_narrow(I16X8, *lane, |b, x| b.ins().uextend(I32, x)),
            O::I32x4ExtractLane { lane } => self.extract(I32X4, *lane),
            O::I64x2ExtractLane { lane } => self.extract(I64X2, *lane),
            O::F32x4ExtractLane { lane } => self.extract(F32X4, *lane),
            O::F64x2ExtractLane { lane } => self.extract(F64X2, *lane),

            O::I8x16ReplaceLane { lane } => self.replace(I8X16, *lane),
            O::I16x8ReplaceLane { lane } => self.replace(I16X8, *lane),
            O::I32x4ReplaceLane { lane } => self.replace(I32X4, *lane),
            O::I64x2ReplaceLane { lane } => self.replace(I64X2, *lane),
            O::F32x4ReplaceLane { lane } => self.replace(F32X4, *lane),
            O::F64x2ReplaceLane { lane } => self.replace(F64X2, *lane),
            _ => return false,
        }
        true
    }

    /// Bitwise operations, and what makes an `i32` of a vector.
    fn bit_operator(&mut self, op: &Operator<'_>) -> bool {
        use Operator as O;
        match op {
            O::V128Not => self.lanes1(I8X16, |b, x| b.ins().bnot(x)),
            O::V128And => self.lanes2(I8X16, |b, x, y| b.ins().band(x, y)),
            O::V128AndNot => self.lanes2(I8X16, |b, x, y| {
                let y = b.ins().bnot(y);
                b.ins().band(x, y)
            }),
            O::V128Or => self.lanes2(I8X16, |b, x, y| b.ins().bor(x, y)),
            O::V128Xor => self.lanes2(I8X16, |b, x, y| b.ins().bxor(x, y)),
            O::V128Bitselect => self.lanes3(I8X16, |b, x, y, mask| b.ins().bitselect(mask, x, y)),

            O::V128AnyTrue => self.reduce(I8X16, |b, x| {
                let any = b.ins().vany_true(x);
                b.ins().uextend(I32, any)
            }),
            O::I8x16AllTrue => self.reduce(I8X16, all_true),
            O::I16x8AllTrue => self.reduce(I16X8, all_true),
            O::I32x4AllTrue => self.reduce(I32X4, all_true),
            O::I64x2AllTrue => self.reduce(I64X2, all_true),
            O::I8x16Bitmask => self.reduce(I8X16, |b, x| b.ins().vhigh_bits(I32, x)),
            O::I16x8Bitmask => self.reduce(I16X8, |b, x| b.ins().vhigh_bits(I32, x)),
            O::I32x4Bitmask => self.reduce(I32X4, |b, x| b.ins().vhigh_bits(I32, x)),
            O::I64x2Bitmask => self.reduce(I64X2, |b, x| b.ins().vhigh_bits(I32, x)),
            _ => return false,
        }
        true
    }

    /// Arithmetic on lanes that are integers, and shifts. Their amount counts modulo the lane's width.
    fn integer_vector_operator(&mut self, op: &Operator<'_>) -> bool {
        use Operator as O;
        match op {
            O::I8x16Abs => self.lanes1(I8X16, |b, x| b.ins().iabs(x)),
            O::I16x8Abs => self.lanes1(I16X8, |b, x| b.ins().iabs(x)),
            O::I32x4Abs => self.lanes1(I32X4, |b, x| b.ins().iabs(x)),
            O::I64x2Abs => self.lanes1(I64X2, |b, x| b.ins().iabs(x)),
            O::I8x16Neg => self.lanes1(I8X16, |b, x| b.ins().ineg(x)),
            O::I16x8Neg => self.lanes1(I16X8, |b, x| b.ins().ineg(x)),
            O::I32x4Neg => self.lanes1(I32X4, |b, x| b.ins().ineg(x)),
            O::I64x2Neg => self.lanes1(I64X2, |b, x| b.ins().ineg(x)),
            O::I8x16Popcnt => self.lanes1(I8X16, |b, x| b.ins().popcnt(x)),

            O::I8x16Add => self.lanes2(I8X16, |b, x, y| b.ins().iadd(x, y)),
            O::I16x8Add => self.lanes2(I16X8, |b, x, y| b.ins().iadd(x, y)),
            O::I32x4Add => self.lanes2(I32X4, |b, x, y| b.ins().iadd(x, y)),
            O::I64x2Add => self.lanes2(I64X2, |b, x, y| b.ins().iadd(x, y)),
            O::I8x16AddSatS => self.lanes2(I8X16, |b, x, y| b.ins().sadd_sat(x, y)),
            O::I16x8AddSatS => self.lanes2(I16X8, |b, x, y| b.ins().sadd_sat(x, y)),
            O::I8x16AddSatU => self.lanes2(I8X16, |b, x, y| b.ins().uadd_sat(x, y)),
            O::I16x8AddSatU => self.lanes2(I16X8, |b, x, y| b.ins().uadd_sat(x, y)),
            O::I8x16Sub => self.lanes2(I8X16, |b, x, y| b.ins().isub(x, y)),
            O::I16x8Sub => self.lanes2(I16X8, |b, x, y| b.ins().isub(x, y)),
            O::I32x4Sub => self.lanes2(I32X4, |b, x, y| b.ins().isub(x, y)),
            O::I64x2Sub => self.lanes2(I64X2, |b, x, y| b.ins().isub(x, y)),
            O::I8x16SubSatS => self.lanes2(I8X16, |b, x, y| b.ins().ssub_sat(x, y)),
            O::I16x8SubSatS => self.lanes2(I16X8, |b, x, y| b.ins().ssub_sat(x, y)),
            O::I8x16SubSatU => self.lanes2(I8X16, |b, x, y| b.ins().usub_sat(x, y)),
            O::I16x8SubSatU => self.lanes2(I16X8, |b, x, y| b.ins().usub_sat(x, y)),
            O::I16x8Mul => self.lanes2(I16X8, |b, x, y| b.ins().imul(x, y)),
            O::I32x4Mul => self.lanes2(I32X4, |b, x, y| b.ins().imul(x, y)),
            O::I64x2Mul => self.lanes2(I64X2, |b, x, y| b.ins().imul(x, y)),
            O::I16x8Q15MulrSatS => self.lanes2(I16X8, |b, x, y| b.ins().sqmul_round_sat(x, y)),

            O::I8x16MinS => self.lanes2(I8X16, |b, x, y| b.ins().smin(x, y)),
            O::I16x8MinS => self.lanes2(I16X8, |b, x, y| b.ins().smin(x, y)),
            O::I32x4MinS => self.lanes2(I32X4, |b, x, y| b.ins().smin(x, y)),
            O::I8x16MinU => self.lanes2(I8X16, |b, x, y| b.ins().umin(x, y)),
            O::I16x8MinU => self.lanes2(I16X8, |b, x, y| b.ins().umin(x, y)),
            O::I32x4MinU => self.lanes2(I32X4, |b, x, y| b.ins().umin(x, y)),
            O::I8x16MaxS => self.lanes2(I8X16, |b, x, y| b.ins().smax(x, y)),
            O::I16x8MaxS => self.lanes2(I16X8, |b, x, y| b.ins().smax(x, y)),
            O::I32x4MaxS => self.lanes2(I32X4, |b, x, y| b.ins().smax(x, y)),
            O::I8x16MaxU => self.lanes2(I8X16, |b, x, y| b.ins().umax(x, y)),
            O::I16x8MaxU => self.lanes2(I16X8, |b, x, y| b.ins().umax(x, y)),
            O::I32x4MaxU => self.lanes2(I32X4, |b, x, y| b.ins().umax(x, y)),
            O::I8x16AvgrU => self.lanes2(I8X16, |b, x, y| b.ins().avg_round(x, y)),
            O::I16x8AvgrU => self.lanes2(I16X8, |b, x, y| b.ins().avg_round(x, y)),

            O::I8x16Shl => self.shift(I8X16, |b, x, n| b.ins().ishl(x, n)),
            O::I16x8Shl => self.shift(I16X8, |b, x, n| b.ins().ishl(x, n)),
            O::I32x4Shl => self.shift(I32X4, |b, x, n| b.ins().ishl(x, n)),
            O::I64x2Shl => self.shift(I64X2, |b, x, n| b.ins().ishl(x, n)),
            O::I8x16ShrS => self.shift(I8X16, |b, x, n| b.ins().sshr(x, n)),
            O::I16x8ShrS => self.shift(I16X8, |b, x, n| b.ins().sshr(x, n)),
            O::I32x4ShrS => self.shift(I32X4, |b, x, n| b.ins().sshr(x, n)),
            O::I64x2ShrS => self.shift(I64X2, |b, x, n| b.ins().sshr(x, n)),
            O::I8x16ShrU => self.shift(I8X16, |b, x, n| b.ins().ushr(x, n)),
            O::I16x8ShrU => self.shift(I16X8, |b, x, n| b.ins().ushr(x, n)),
            O::I32x4ShrU => self.shift(I32X4, |b, x, n| b.ins().ushr(x, n)),
            O::I64x2ShrU => self.shift(I64X2, |b, x, n| b.ins().ushr(x, n)),
            _ => return false,
        }
        true
    }

    fn integer_comparison(&mut self, op: &Operator<'_>) -> bool {
        use IntCC::*;
        use Operator as O;
        let (ty, condition) = match op {
            O::I8x16Eq => (I8X16, Equal),
            O::I16x8Eq => (I16X8, Equal),
            O::I32x4Eq => (I32X4, Equal),
            O::I64x2Eq => (I64X2, Equal),
            O::I8x16Ne => (I8X16, NotEqual),
            O::I16x8Ne => (I16X8, NotEqual),
            O::I32x4Ne => (I32X4, NotEqual),
            O::I64x2Ne => (I64X2, NotEqual),
            O::I8x16LtS => (I8X16, SignedLessThan),
            O::I16x8LtS => (I16X8, SignedLessThan),
            O::I32x4LtS => (I32X4, SignedLessThan),
            O::I64x2LtS => (I64X2, SignedLessThan),
            O::I8x16LtU => (I8X16, UnsignedLessThan),
            O::I16x8LtU => (I16X8, UnsignedLessThan),
            O::I32x4LtU => (I32X4, UnsignedLessThan),
            O::I8x16GtS => (I8X16, SignedGreaterThan),
            O::I16x8GtS => (I16X8, SignedGreaterThan),
            O::I32x4GtS => (I32X4, SignedGreaterThan),
            O::I64x2GtS => (I64X2, SignedGreaterThan),
            O::I8x16GtU => (I8X16, UnsignedGreaterThan),
            O::I16x8GtU => (I16X8, UnsignedGreaterThan),
            O::I32x4GtU => (I32X4, UnsignedGreaterThan),
            O::I8x16LeS => (I8X16, SignedLessThanOrEqual),
            O::I16x8LeS => (I16X8, SignedLessThanOrEqual),
            O::I32x4LeS => (I32X4, SignedLessThanOrEqual),
            O::I64x2LeS => (I64X2, SignedLessThanOrEqual),
            O::I8x16LeU => (I8X16, UnsignedLessThanOrEqual),
            O::I16x8LeU => (I16X8, UnsignedLessThanOrEqual),
            O::I32x4LeU => (I32X4, UnsignedLessThanOrEqual),
            O::I8x16GeS => (I8X16, SignedGreaterThanOrEqual),
            O::I16x8GeS => (I16X8, SignedGreaterThanOrEqual),
            O::I32x4GeS => (I32X4, SignedGreaterThanOrEqual),
            O::I64x2GeS => (I64X2, SignedGreaterThanOrEqual),
            O::I8x16GeU => (I8X16, UnsignedGreaterThanOrEqual),
            O::I16x8GeU => (I16X8, UnsignedGreaterThanOrEqual),
            O::I32x4GeU => (I32X4, UnsignedGreaterThanOrEqual),
            _ => return false,
        };
        let (x, y) = self.pop_vectors(ty);
        let mask = self.b.ins().icmp(condition, x, y);
        self.push_vector(mask);
        true
    }

    /// Integer operations whose results have lanes of another width.
    fn widening_operator(&mut self, op: &Operator<'_>) -> bool {
        use Operator as O;
        match op {
            O::I8x16NarrowI16x8S => self.lanes2(I16X8, |b, x, y| b.ins().snarrow(x, y)),
            O::I16x8NarrowI32x4S => self.lanes2(I32X4, |b, x, y| b.ins().snarrow(x, y)),
            O::I8x16NarrowI16x8U => self.lanes2(I16X8, |b, x, y| b.ins().unarrow(x, y)),
            O::I16x8NarrowI32x4U => self.lanes2(I32X4, |b, x, y| b.ins().unarrow(x, y)),

            O::I16x8ExtendLowI8x16S => self.lanes1(I8X16, low_s),
            O::I32x4ExtendLowI16x8S => self.lanes1(I16X8, low_s),
            O::I64x2ExtendLowI32x4S => self.lanes1(I32X4, low_s),
            O::I16x8ExtendHighI8x16S => self.lanes1(I8X16, high_s),
            O::I32x4ExtendHighI16x8S => self.lanes1(I16X8, high_s),
            O::I64x2ExtendHighI32x4S => self.lanes1(I32X4, high_s),
            O::I16x8ExtendLowI8x16U => self.lanes1(I8X16, low_u),
            O::I32x4ExtendLowI16x8U => self.lanes1(I16X8, low_u),
            O::I64x2ExtendLowI32x4U => self.lanes1(I32X4, low_u),
            O::I16x8ExtendHighI8x16U => self.lanes1(I8X16, high_u),
            O::I32x4ExtendHighI16x8U => self.lanes1(I16X8, high_u),
            O::I64x2ExtendHighI32x4U => self.lanes1(I32X4, high_u),

            O::I16x8ExtMulLowI8x16S => self.lanes2(I8X16, |b, x, y| product(b, low_s, x, y)),
            O::I32x4ExtMulLowI16x8S => self.lanes2(I16X8, |b, x, y| product(b, low_s, x, y)),
            O::I64x2ExtMulLowI32x4S => self.lanes2(I32X4, |b, x, y| product(b, low_s, x, y)),
            O::I16x8ExtMulHighI8x16S => self.lanes2(I8X16, |b, x, y| product(b, high_s, x, y)),
            O::I32x4ExtMulHighI16x8S => self.lanes2(I16X8, |b, x, y| product(b, high_s, x, y)),
            O::I64x2ExtMulHighI32x4S => self.lanes2(I32X4, |b, x, y| product(b, high_s, x, y)),
            O::I16x8ExtMulLowI8x16U => self.lanes2(I8X16, |b, x, y| product(b, low_u, x, y)),
            O::I32x4ExtMulLowI16x8U => self.lanes2(I16X8, |b, x, y| product(b, low_u, x, y)),
            O::I64x2ExtMulLowI32x4U => self.lanes2(I32X4, |b, x, y| product(b, low_u, x, y)),
            O::I16x8ExtMulHighI8x16U => self.lanes2(I8X16, |b, x, y| product(b, high_u, x, y)),
            O::I32x4ExtMulHighI16x8U => self.lanes2(I16X8, |b, x, y| product(b, high_u, x, y)),
            O::I64x2ExtMulHighI32x4U => self.lanes2(I32X4, |b, x, y| product(b, high_u, x, y)),

            O::I16x8ExtAddPairwiseI8x16S => self.lanes1(I8X16, pairs_s),
            O::I32x4ExtAddPairwiseI16x8S => self.lanes1(I16X8, pairs_s),
            O::I16x8ExtAddPairwiseI8x16U => self.lanes1(I8X16, pairs_u),
            O::I32x4ExtAddPairwiseI16x8U => self.lanes1(I16X8, pairs_u),
            O::I32x4DotI16x8S => self.lanes2(I16X8, dot),
            _ => return false,
        }
        true
    }

    /// Arithmetic on lanes that are floats, and their comparison.
    fn float_vector_operator(&mut self, op: &Operator<'_>) -> bool {
        use Operator as O;
        match op {
            O::F32x4Abs => self.lanes1(F32X4, |b, x| b.ins().fabs(x)),
            O::F64x2Abs => self.lanes1(F64X2, |b, x| b.ins().fabs(x)),
            O::F32x4Neg => self.lanes1(F32X4, |b, x| b.ins().fneg(x)),
            O::F64x2Neg => self.lanes1(F64X2, |b, x| b.ins().fneg(x)),
            O::F32x4Sqrt => self.lanes1(F32X4, |b, x| b.ins().sqrt(x)),
            O::F64x2Sqrt => self.lanes1(F64X2, |b, x| b.ins().sqrt(x)),
            O::F32x4Ceil => self.lanes1(F32X4, |b, x| b.ins().ceil(x)),
            O::F64x2Ceil => self.lanes1(F64X2, |b, x| b.ins().ceil(x)),
            O::F32x4Floor => self.lanes1(F32X4, |b, x| b.ins().floor(x)),
            O::F64x2Floor => self.lanes1(F64X2, |b, x| b.ins().floor(x)),
            O::F32x4Trunc => self.lanes1(F32X4, |b, x| b.ins().trunc(x)),
            O::F64x2Trunc => self.lanes1(F64X2, |b, x| b.ins().trunc(x)),
            O::F32x4Nearest => self.lanes1(F32X4, |b, x| b.ins().nearest(x)),
            O::F64x2Nearest => self.lanes1(F64X2, |b, x| b.ins().nearest(x)),

            O::F32x4Add => self.lanes2(F32X4, |b, x, y| b.ins().fadd(x, y)),
            O::F64x2Add => self.lanes2(F64X2, |b, x, y| b.ins().fadd(x, y)),
            O::F32x4Sub => self.lanes2(F32X4, |b, x, y| b.ins().fsub(x, y)),
            O::F64x2Sub => self.lanes2(F64X2, |b, x, y| b.ins().fsub(x, y)),
            O::F32x4Mul => self.lanes2(F32X4, |b, x, y| b.ins().fmul(x, y)),
            O::F64x2Mul => self.lanes2(F64X2, |b, x, y| b.ins().fmul(x, y)),
            O::F32x4Div => self.lanes2(F32X4, |b, x, y| b.ins().fdiv(x, y)),
            O::F64x2Div => self.lanes2(F64X2, |b, x, y| b.ins().fdiv(x, y)),
            O::F32x4Min => self.lanes2(F32X4, |b, x, y| b.ins().fmin(x, y)),
            O::F64x2Min => self.lanes2(F64X2, |b, x, y| b.ins().fmin(x, y)),
            O::F32x4Max => self.lanes2(F32X4, |b, x, y| b.ins().fmax(x, y)),
            O::F64x2Max => self.lanes2(F64X2, |b, x, y| b.ins().fmax(x, y)),
            // `pmin(x, y)` is `y < x ? y : x`; `pmax(x, y)` is `x < y ? y : x`.
            O::F32x4PMin | O::F64x2PMin => {
                let ty = if matches!(op, O::F32x4PMin) { F32X4 } else { F64X2 };
                self.lanes2(ty, |b, x, y| lesser(b, y, x));
            }
            O::F32x4PMax | O::F64x2PMax => {
                let ty = if matches!(op, O::F32x4PMax) { F32X4 } else { F64X2 };
                self.lanes2(ty, |b, x, y| greater(b, y, x));
            }

            O::F32x4Eq => self.fcmp_lanes(F32X4, FloatCC::Equal),
            O::F64x2Eq => self.fcmp_lanes(F64X2, FloatCC::Equal),
            O::F32x4Ne => self.fcmp_lanes(F32X4, FloatCC::NotEqual),
            O::F64x2Ne => self.fcmp_lanes(F64X2, FloatCC::NotEqual),
            O::F32x4Lt => self.fcmp_lanes(F32X4, FloatCC::LessThan),
            O::F64x2Lt => self.fcmp_lanes(F64X2, FloatCC::LessThan),
            O::F32x4Gt => self.fcmp_lanes(F32X4, FloatCC::GreaterThan),
            O::F64x2Gt => self.fcmp_lanes(F64X2, FloatCC::GreaterThan),
            O::F32x4Le => self.fcmp_lanes(F32X4, FloatCC::LessThanOrEqual),
            O::F64x2Le => self.fcmp_lanes(F64X2, FloatCC::LessThanOrEqual),
            O::F32x4Ge => self.fcmp_lanes(F32X4, FloatCC::GreaterThanOrEqual),
            O::F64x2Ge => self.fcmp_lanes(F64X2, FloatCC::GreaterThanOrEqual),
            _ => return false,
        }
        true
    }

    /// Between integers and floats, and between floats.
    fn vector_conversion(&mut self, op: &Operator<'_>) -> bool {
        use Operator as O;
        match op {
            O::I32x4TruncSatF32x4S => self.lanes1(F32X4, |b, x| b.ins().fcvt_to_sint_sat(I32X4, x)),
            O::I32x4TruncSatF32x4U => self.lanes1(F32X4, |b, x| b.ins().fcvt_to_uint_sat(I32X4, x)),
            O::I32x4TruncSatF64x2SZero => self.lanes1(F64X2, |b, x| {
                let wide = b.ins().fcvt_to_sint_sat(I64X2, x);
                let zero = vector_constant(b, I64X2, 0);
                b.ins().snarrow(wide, zero)
            }),
            O::I32x4TruncSatF64x2UZero => self.lanes1(F64X2, |b, x| {
                let wide = b.ins().fcvt_to_uint_sat(I64X2, x);
                let zero = vector_constant(b, I64X2, 0);
                b.ins().uunarrow(wide, zero)
            }),
            O::F32x4ConvertI32x4S => self.lanes1(I32X4, |b, x| b.ins().fcvt_from_sint(F32X4, x)),
            O::F32x4ConvertI32x4U => self.lanes1(I32X4, |b, x| b.ins().fcvt_from_uint(F32X4, x)),
            O::F64x2ConvertLowI32x4S => self.lanes1(I32X4, |b, x| {
                let wide = low_s(b, x);
                b.ins().fcvt_from_sint(F64X2, wide)
            }),
            O::F64x2ConvertLowI32x4U => self.lanes1(I32X4, |b, x| {
                let wide = low_u(b, x);
                b.ins().fcvt_from_uint(F64X2, wide)
            }),
            O::F32x4DemoteF64x2Zero => self.lanes1(F64X2, |b, x| b.ins().fvdemote(x)),
            O::F64x2PromoteLowF32x4 => self.lanes1(F32X4, |b, x| b.ins().fvpromote_low(x)),
            _ => return false,
        }
        true
    }

    // Operands and results.

    /// Pushes a vector of any shape.
    fn push_vector(&mut self, value: Value) {
        let value = cast(&mut self.b, value, I8X16);
        self.push(value);
    }

    fn pop_vector(&mut self, ty: Type) -> Value {
        let value = self.pop();
        cast(&mut self.b, value, ty)
    }

    fn pop_vectors(&mut self, ty: Type) -> (Value, Value) {
        let y = self.pop_vector(ty);
        (self.pop_vector(ty), y)
    }

    /// One vector in, one out.
    fn lanes1(&mut self, ty: Type, emit: fn(&mut Builder<'_>, Value) -> Value) {
        let x = self.pop_vector(ty);
        let value = emit(&mut self.b, x);
        self.push_vector(value);
    }

    /// Two vectors in, one out.
    fn lanes2(&mut self, ty: Type, emit: fn(&mut Builder<'_>, Value, Value) -> Value) {
        let (x, y) = self.pop_vectors(ty);
        let value = emit(&mut self.b, x, y);
        self.push_vector(value);
    }

    /// Three vectors in, one out.
    fn lanes3(&mut self, ty: Type, emit: fn(&mut Builder<'_>, Value, Value, Value) -> Value) {
        let z = self.pop_vector(ty);
        let (x, y) = self.pop_vectors(ty);
        let value = emit(&mut self.b, x, y, z);
        self.push_vector(value);
    }

    /// A vector in, an `i32` out.
    fn reduce(&mut self, ty: Type, emit: fn(&mut Builder<'_>, Value) -> Value) {
        let x = self.pop_vector(ty);
        let value = emit(&mut self.b, x);
        self.push(value);
    }

    /// A vector and an amount in, a vector out.
    fn shift(&mut self, ty: Type, emit: fn(&mut Builder<'_>, Value, Value) -> Value) {
        let amount = self.pop();
        let x = self.pop_vector(ty);
        let value = emit(&mut self.b, x, amount);
        self.push_vector(value);
    }

    fn fcmp_lanes(&mut self, ty: Type, condition: FloatCC) {
        let (x, y) = self.pop_vectors(ty);
        let mask = self.b.ins().fcmp(condition, x, y);
        self.push_vector(mask);
    }

    // Lanes.

    /// Pops what a lane of this shape holds: 8 and 16 bits come as an `i32`.
    fn pop_lane(&mut self, ty: Type) -> Value {
        let value = self.pop();
        match ty.lane_type() {
            narrow @ (I8 | I16) => self.b.ins().ireduce(narrow, value),
            _ => value,
        }
    }

    fn splat(&mut self, ty: Type) {
        let lane = self.pop_lane(ty);
        let value = self.b.ins().splat(ty, lane);
        self.push_vector(value);
    }

    fn extract(&mut self, ty: Type, lane: u8) {
        let x = self.pop_vector(ty);
        let value = self.b.ins().extractlane(x, lane);
        self.push(value);
    }

    fn extract_narrow(&mut self, ty: Type, lane: u8, extend: fn(&mut Builder<'_>, Value) -> Value) {
        let x = self.pop_vector(ty);
        let narrow = self.b.ins().extractlane(x, lane);
        let value = extend(&mut self.b, narrow);
        self.push(value);
    }

    fn replace(&mut self, ty: Type, lane: u8) {
        let new = self.pop_lane(ty);
        let x = self.pop_vector(ty);
        let value = self.b.ins().insertlane(x, new, lane);
        self.push_vector(value);
    }

    // Memory.

    fn load_vector(&mut self, memarg: &MemArg, emit: impl FnOnce(&mut Builder<'_>, MemFlagsData, Value, i32) -> Value) {
        self.load(memarg, |t, flags, address, offset| {
            let value = emit(&mut t.b, flags, address, offset);
            cast(&mut t.b, value, I8X16)
        });
    }

    fn load_splat(&mut self, memarg: &MemArg, ty: Type) {
        self.load_vector(memarg, |b, flags, address, offset| {
            let lane = b.ins().load(ty.lane_type(), flags, address, offset);
            b.ins().splat(ty, lane)
        });
    }

    /// Loads lane 0; the others are zero.
    fn load_zero(&mut self, memarg: &MemArg, ty: Type) {
        self.load_vector(memarg, |b, flags, address, offset| {
            let lane = b.ins().load(ty.lane_type(), flags, address, offset);
            b.ins().scalar_to_vector(ty, lane)
        });
    }

    fn load_lane(&mut self, memarg: &MemArg, ty: Type, lane: u8) {
        let x = self.pop_vector(ty);
        self.load_vector(memarg, |b, flags, address, offset| {
            let new = b.ins().load(ty.lane_type(), flags, address, offset);
            b.ins().insertlane(x, new, lane)
        });
    }

    fn store_lane(&mut self, memarg: &MemArg, ty: Type, lane: u8) {
        self.store(memarg, |t, flags, vector, address, offset| {
            let x = cast(&mut t.b, vector, ty);
            let value = t.b.ins().extractlane(x, lane);
            t.b.ins().store(flags, value, address, offset);
        });
    }
}

/// The same 128 bits in another shape.
pub(super) fn cast(b: &mut Builder<'_>, value: Value, ty: Type) -> Value {
    if b.func.dfg.value_type(value) == ty {
        return value;
    }
    b.ins().bitcast(ty, MemFlagsData::new().with_endianness(Endianness::Little), value)
}

/// A vector with these bits.
pub(super) fn vector_constant(b: &mut Builder<'_>, ty: Type, bits: u128) -> Value {
    let constant = b.func.dfg.constants.insert(ConstantData::from(&bits.to_le_bytes()[..]));
    b.ins().vconst(ty, constant)
}

fn all_true(b: &mut Builder<'_>, x: Value) -> Value {
    let all = b.ins().vall_true(x);
    b.ins().uextend(I32, all)
}

/// `x < y ? x : y`, in each lane.
fn lesser(b: &mut Builder<'_>, x: Value, y: Value) -> Value {
    select_if_less(b, x, y, x, y)
}

/// `y < x ? x : y`, in each lane.
fn greater(b: &mut Builder<'_>, x: Value, y: Value) -> Value {
    select_if_less(b, y, x, x, y)
}

fn select_if_less(b: &mut Builder<'_>, left: Value, right: Value, then: Value, otherwise: Value) -> Value {
    let mask = b.ins().fcmp(FloatCC::LessThan, left, right);
    let mask = cast(b, mask, b.func.dfg.value_type(then));
    b.ins().bitselect(mask, then, otherwise)
}

fn low_s(b: &mut Builder<'_>, x: Value) -> Value {
    b.ins().swiden_low(x)
}

fn high_s(b: &mut Builder<'_>, x: Value) -> Value {
    b.ins().swiden_high(x)
}

fn low_u(b: &mut Builder<'_>, x: Value) -> Value {
    b.ins().uwiden_low(x)
}

fn high_u(b: &mut Builder<'_>, x: Value) -> Value {
    b.ins().uwiden_high(x)
}

/// Products of half of the lanes, which have twice their width.
fn product(b: &mut Builder<'_>, widen: fn(&mut Builder<'_>, Value) -> Value, x: Value, y: Value) -> Value {
    let (x, y) = (widen(b, x), widen(b, y));
    b.ins().imul(x, y)
}

/// Sums of neighbours, which have twice the lanes' width.
fn pairs_s(b: &mut Builder<'_>, x: Value) -> Value {
    let (low, high) = (low_s(b, x), high_s(b, x));
    b.ins().iadd_pairwise(low, high)
}

fn pairs_u(b: &mut Builder<'_>, x: Value) -> Value {
    let (low, high) = (low_u(b, x), high_u(b, x));
    b.ins().iadd_pairwise(low, high)
}

/// Sums of signed products of neighbours, which have twice the lanes' width.
fn dot(b: &mut Builder<'_>, x: Value, y: Value) -> Value {
    let (low, high) = (product(b, low_s, x, y), product(b, high_s, x, y));
    b.ins().iadd_pairwise(low, high)
}
