//! What a function's code can reach: its instance's record, the heap, the builtins.

use super::{Compiler, HEADER_SYMBOLS, TYPE_SYMBOLS};
use crate::info::ModuleInfo;
use crate::vm::{Builtin, VMContext, VMMemory, VMStoreContext, VMTable};
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{self, InstBuilder, MemFlagsData, SigRef, Value};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilder;
use gc_api::{AllocSite, AllocSize, EmitterHost, Region, SlowOp, TypeIndex, VMGcHeader};

/// The environment of one function.
pub(super) struct FuncEnv<'a> {
    pub compiler: &'a Compiler,
    pub info: &'a ModuleInfo,
    /// The instance's record: the function's first parameter.
    pub vmctx: Value,
    /// Values that may be references into the heap, where they come into being.
    pub references: Vec<Value>,
    /// Signatures of the builtins by arity, of the common ones and the rare ones, as they are needed.
    builtin_signatures: [[Option<SigRef>; 8]; 2],
}

/// Where a table or a memory is described: an address and what to add.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub address: Value,
    pub offset: i32,
}

impl<'a> FuncEnv<'a> {
    pub fn new(compiler: &'a Compiler, info: &'a ModuleInfo, vmctx: Value) -> Self {
        FuncEnv { compiler, info, vmctx, references: Vec::new(), builtin_signatures: [[None; 8]; 2] }
    }

    /// Loads a word of the instance's record that is constant from instantiation on.
    pub fn constant(&self, b: &mut FunctionBuilder<'_>, ty: ir::Type, offset: i32) -> Value {
        let flags = constant_flags(b);
        b.ins().load(ty, flags, self.vmctx, offset)
    }

    /// The store's record.
    pub fn store(&self, b: &mut FunctionBuilder<'_>) -> Value {
        self.constant(b, I64, VMContext::STORE)
    }

    /// Calls a builtin with 64-bit words; gives its 64-bit result. The trampoline unwinds when it fails.
    pub fn builtin(&mut self, b: &mut FunctionBuilder<'_>, builtin: Builtin, args: &[Value]) -> Value {
        assert_eq!(args.len(), builtin.arity(), "{builtin:?}");
        let signature = *self.builtin_signatures[builtin.is_rare() as usize][args.len()]
            .get_or_insert_with(|| b.import_signature(builtin_signature(builtin)));
        let table = self.constant(b, I64, VMContext::BUILTINS);
        let flags = constant_flags(b);
        let callee = b.ins().load(I64, flags, table, builtin as i32 * 8);
        let mut all = vec![self.vmctx];
        all.extend_from_slice(args);
        let call = b.ins().call_indirect(signature, callee, &all);
        if !builtin.is_rare() {
            return b.inst_results(call)[0];
        }
        let store = self.store(b);
        let flags = Region::Context.flags(b.func);
        b.ins().load(I64, flags, store, VMStoreContext::RESULT)
    }

    /// A type's canonical index as an `i64`: a constant, or what the linker fills in.
    pub fn type_index(&self, b: &mut FunctionBuilder<'_>, ty: TypeIndex) -> Value {
        match self.compiler.options.relocatable {
            true => symbol(b, TYPE_SYMBOLS, ty, 0),
            false => b.ins().iconst(I64, ty as i64),
        }
    }

    /// Where a table is described.
    pub fn table(&self, b: &mut FunctionBuilder<'_>, index: u32) -> Place {
        let offsets = &self.info.offsets;
        match index.checked_sub(self.info.imported_tables) {
            None => {
                Place { address: self.constant(b, I64, offsets.table_imports as i32 + index as i32 * 8), offset: 0 }
            }
            Some(own) => Place { address: self.vmctx, offset: offsets.tables as i32 + own as i32 * VMTable::SIZE },
        }
    }

    /// Where a memory is described.
    pub fn memory(&self, b: &mut FunctionBuilder<'_>, index: u32) -> Place {
        let offsets = &self.info.offsets;
        match index.checked_sub(self.info.imported_memories) {
            None => {
                Place { address: self.constant(b, I64, offsets.memory_imports as i32 + index as i32 * 8), offset: 0 }
            }
            Some(own) => {
                let offset = offsets.memories as i32 + own as i32 * VMMemory::SIZE;
                match self.info.memories[index as usize].shared {
                    true => Place { address: self.constant(b, I64, offset), offset: 0 },
                    false => Place { address: self.vmctx, offset },
                }
            }
        }
    }

    /// Where a global stands.
    pub fn global(&self, b: &mut FunctionBuilder<'_>, index: u32) -> Place {
        let offsets = &self.info.offsets;
        match index.checked_sub(self.info.imported_globals) {
            None => {
                Place { address: self.constant(b, I64, offsets.global_imports as i32 + index as i32 * 8), offset: 0 }
            }
            Some(own) => {
                Place { address: self.vmctx, offset: offsets.globals as i32 + own as i32 * crate::vm::GLOBAL_SIZE }
            }
        }
    }
}

/// The value that the linker gives to item `index` of a namespace, plus `offset`.
fn symbol(b: &mut FunctionBuilder<'_>, namespace: u32, index: u32, offset: i64) -> Value {
    let name = b.func.declare_imported_user_function(ir::UserExternalName { namespace, index });
    let symbol = b.create_global_value(ir::GlobalValueData::Symbol {
        name: ir::ExternalName::user(name),
        offset: offset.into(),
        colocated: false,
        tls: false,
    });
    b.ins().symbol_value(I64, symbol)
}

/// Flags for words that never change once compiled code runs.
pub(super) fn constant_flags(b: &mut FunctionBuilder<'_>) -> MemFlagsData {
    Region::Context.flags(b.func).with_readonly().with_can_move()
}

/// The signature by which compiled code calls a builtin: `(vmctx, u64 × arity) -> u64`. A rare one leaves all registers alone, so it
/// has no result; that stands in the store's record.
pub(super) fn builtin_signature(builtin: Builtin) -> ir::Signature {
    match builtin.is_rare() {
        true => ir::Signature { returns: vec![], ..words_signature(builtin.arity(), CallConv::PreserveAll) },
        false => words_signature(builtin.arity(), CallConv::Tail),
    }
}

/// `(vmctx, u64 × arity) -> u64`.
pub(super) fn words_signature(arity: usize, convention: CallConv) -> ir::Signature {
    let mut signature = ir::Signature::new(convention);
    signature.params = vec![ir::AbiParam::new(I64); arity + 1];
    signature.returns = vec![ir::AbiParam::new(I64)];
    signature
}

impl EmitterHost for FuncEnv<'_> {
    fn heap_base(&mut self, b: &mut FunctionBuilder<'_>) -> Value {
        self.constant(b, I64, VMContext::HEAP_BASE)
    }

    fn slow_alloc(&mut self, b: &mut FunctionBuilder<'_>, object: &AllocSite) -> Value {
        let kind = b.ins().iconst(I64, object.kind.header_bits() as i64);
        let ty = self.type_index(b, object.ty);
        let (size, length) = match object.size {
            AllocSize::Fixed(size) => (b.ins().iconst(I64, size as i64), b.ins().iconst(I64, -1)),
            AllocSize::Array { length, base, element_log2, .. } => {
                let wide = b.ins().uextend(I64, length);
                let bytes = b.ins().ishl_imm_u(wide, element_log2 as i64);
                let padded = b.ins().iadd_imm_s(bytes, base as i64 + 7);
                (b.ins().band_imm_s(padded, -8), wide)
            }
        };
        let object = self.builtin(b, Builtin::GcAlloc, &[kind, ty, size, length]);
        b.ins().ireduce(I32, object)
    }

    fn slow_path(&mut self, b: &mut FunctionBuilder<'_>, op: SlowOp, args: &[Value]) -> Value {
        let mut words = vec![b.ins().iconst(I64, op.0 as i64)];
        words.extend_from_slice(args);
        while words.len() < 5 {
            words.push(b.ins().iconst(I64, 0));
        }
        self.builtin(b, Builtin::GcSlowPath, &words)
    }

    fn declare_reference(&mut self, _: &mut FunctionBuilder<'_>, value: Value) {
        self.references.push(value);
    }

    fn count_objects(&self) -> bool {
        self.compiler.options.count_objects
    }

    fn null_faults(&self) -> bool {
        self.compiler.options.null_faults
    }

    fn header(&mut self, b: &mut FunctionBuilder<'_>, header: VMGcHeader) -> Value {
        match self.compiler.options.relocatable {
            // The linker gives the upper half, the lower one is added to it.
            true => symbol(b, HEADER_SYMBOLS, header.ty(), header.to_u64() as u32 as i64),
            false => b.ins().iconst(I64, header.to_u64() as i64),
        }
    }
}
