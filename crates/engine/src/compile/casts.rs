//! Casts and type tests (specification §4.6.3, "Reference Instructions"; subtyping after §3.3).

use super::translate::{Translator, static_ref};
use crate::types::{HeapType, RefType};
use crate::vm::{VMFuncRef, trap_codes};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I32;
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, Value};
use gc_api::{GcKind, Region, VMGcHeader};

impl Translator<'_, '_> {
    pub(super) fn ref_test(&mut self, hty: wasmparser::HeapType, nullable: bool, from: RefType) {
        let to = RefType { nullable, heap: self.env.info.types.convert_heap(hty) };
        let value = self.pop();
        let yes = self.b.create_block();
        let no = self.b.create_block();
        let done = self.b.create_block();
        let result = self.b.append_block_param(done, I32);
        self.test_ref(value, from, to, yes, no);
        for (block, answer) in [(yes, 1), (no, 0)] {
            self.b.seal_block(block);
            self.b.switch_to_block(block);
            let answer = self.b.ins().iconst(I32, answer);
            self.b.ins().jump(done, &[BlockArg::Value(answer)]);
        }
        self.b.seal_block(done);
        self.b.switch_to_block(done);
        self.push(result);
    }

    pub(super) fn ref_cast(&mut self, hty: wasmparser::HeapType, nullable: bool, from: RefType) {
        let to = RefType { nullable, heap: self.env.info.types.convert_heap(hty) };
        let value = *self.stack.last().expect("validated: an operand");
        let yes = self.b.create_block();
        let no = self.b.create_block();
        self.b.set_cold_block(no);
        self.test_ref(value, from, to, yes, no);
        self.b.seal_block(yes);
        self.b.seal_block(no);
        self.b.switch_to_block(no);
        self.b.ins().trap(trap_codes::CAST_FAILURE);
        self.b.switch_to_block(yes);
    }

    /// Branches to `yes` if `value`, statically a `from`, is a `to`, else to `no`. Inline, without locks, at a cost that does not
    /// depend on the depth of the types.
    pub(super) fn test_ref(&mut self, value: Value, from: RefType, to: RefType, yes: Block, no: Block) {
        if from.nullable {
            let some = self.b.create_block();
            let null = if to.nullable { yes } else { no };
            self.b.ins().brif(value, some, &[], null, &[]);
            self.b.seal_block(some);
            self.b.switch_to_block(some);
        }
        let registry = self.env.compiler.registry.clone();
        if registry.heap_matches(from.heap, to.heap) {
            self.b.ins().jump(yes, &[]);
            return;
        }
        let may_be_i31 = static_ref(from).i31;
        match to.heap {
            HeapType::None | HeapType::NoFunc | HeapType::NoExtern | HeapType::NoExn => {
                self.b.ins().jump(no, &[]);
            }
            HeapType::Any | HeapType::Extern | HeapType::Exn | HeapType::Func => {
                self.b.ins().jump(yes, &[]);
            }
            HeapType::I31 => {
                let bit = self.b.ins().band_imm_u(value, 1);
                self.b.ins().brif(bit, yes, &[], no, &[]);
            }
            HeapType::Eq => {
                self.split_i31(value, may_be_i31, yes);
                self.test_kind(value, GcKind::EQ, yes, no);
            }
            HeapType::Struct => {
                self.split_i31(value, may_be_i31, no);
                self.test_kind(value, GcKind::STRUCT, yes, no);
            }
            HeapType::Array => {
                self.split_i31(value, may_be_i31, no);
                self.test_kind(value, GcKind::ARRAY, yes, no);
            }
            HeapType::ConcreteFunc(expected) => {
                let flags = Region::Context.flags(self.b.func);
                let actual = self.b.ins().load(I32, flags, value, VMFuncRef::TYPE_INDEX);
                let matches = self.type_test(actual, expected);
                self.b.ins().brif(matches, yes, &[], no, &[]);
            }
            HeapType::ConcreteStruct(expected) | HeapType::ConcreteArray(expected) => {
                self.split_i31(value, may_be_i31, no);
                let actual = self.gc(|_, e| {
                    let flags = Region::Header.flags(e.b.func);
                    let address = e.address(value);
                    e.b.ins().load(I32, flags, address, VMGcHeader::TYPE_OFFSET as i32)
                });
                let matches = self.type_test(actual, expected);
                self.b.ins().brif(matches, yes, &[], no, &[]);
            }
        }
    }

    /// Goes to `target` if the value is an `i31`.
    fn split_i31(&mut self, value: Value, may_be: bool, target: Block) {
        if may_be {
            let bit = self.b.ins().band_imm_u(value, 1);
            self.branch_if(bit, target, &[]);
        }
    }

    fn test_kind(&mut self, value: Value, kind: GcKind, yes: Block, no: Block) {
        let word = self.gc(|_, e| e.load_header_word(value, false));
        let bits = kind.header_bits() as i64;
        let masked = self.b.ins().band_imm_u(word, bits);
        let is = self.b.ins().icmp_imm_u(IntCC::Equal, masked, bits);
        self.b.ins().brif(is, yes, &[], no, &[]);
    }
}
