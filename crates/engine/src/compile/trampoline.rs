//! The code at the borders: host → WebAssembly, WebAssembly → host, WebAssembly → builtin.

use super::env::{builtin_signature, constant_flags, words_signature};
use super::{CompileError, Compiler, Emit, clif_type};
use crate::info::{CompiledCode, TrampolineType};
use crate::vm::{Builtin, VALRAW_SIZE, VMContext, VMHostContext, VMStoreContext};
use cranelift_codegen::Context;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I64};
use cranelift_codegen::ir::{
    self, AbiParam, BlockArg, BlockCall, ExceptionTableData, ExceptionTableItem, InstBuilder, MemFlagsData, Signature,
    StackSlotData, StackSlotKind, TrapCode, Value,
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use std::ffi::c_void;

/// What an error calls the function that was not compiled.
const TRAMPOLINE: &str = "of a trampoline";

/// Code at a border.
#[derive(Clone, Copy)]
pub enum Trampoline<'a> {
    /// [`Compiler::entry_trampoline`].
    Entry(&'a TrampolineType),
    /// [`Compiler::host_trampoline`].
    Host(&'a TrampolineType),
    /// [`Compiler::builtin_trampoline`].
    Builtin(Builtin, *const c_void, *const c_void),
}

impl Compiler {
    /// `(callee_vmctx, caller_vmctx, values, capacity, wasm_call) -> ok` with the system's convention: enters compiled code. Records
    /// its frame in the store, so that stack walks end here and unwinding arrives here (then it returns false).
    ///
    /// # Errors
    /// Cranelift's.
    pub fn entry_trampoline(&self, ty: &TrampolineType) -> Result<CompiledCode, CompileError> {
        self.finish_trampoline(self.entry(ty))
    }

    fn entry(&self, ty: &TrampolineType) -> Context {
        let mut signature = Signature::new(self.isa.default_call_conv());
        signature.params = vec![AbiParam::new(I64); 5];
        signature.returns = vec![AbiParam::new(I8)];
        self.build(signature, |b, params| {
            let [callee, caller, values, _, code] = params else { unreachable!() };
            let store_flags = constant_flags(b);
            let store = b.ins().load(I64, store_flags, *callee, VMContext::STORE);
            let done = b.create_block();
            let unwound = b.create_block();
            // The block whose handler is asked for must not be the entry.
            let enter = b.create_block();
            b.ins().jump(enter, &[]);
            b.switch_to_block(enter);

            let flags = MemFlagsData::trusted();
            let fp = b.ins().get_frame_pointer(I64);
            b.ins().store(flags, fp, store, VMStoreContext::ENTRY_FP);
            let sp = b.ins().get_stack_pointer(I64);
            b.ins().store(flags, sp, store, VMStoreContext::ENTRY_SP);
            let handler = b.ins().get_exception_handler_address(I64, enter, 0);
            b.ins().store(flags, handler, store, VMStoreContext::ENTRY_HANDLER);

            let mut args = vec![*callee, *caller];
            for (i, ty) in ty.params.iter().enumerate() {
                args.push(b.ins().load(clif_type(ty), flags, *values, i as i32 * VALRAW_SIZE));
            }
            let wasm = b.import_signature(self.wasm_signature(ty));
            let results: Vec<Value> = ty.results.iter().map(|ty| b.append_block_param(done, clif_type(ty))).collect();
            let returned: Vec<BlockArg> = (0..results.len() as u32).map(BlockArg::TryCallRet).collect();
            let pool = &mut b.func.dfg.value_lists;
            let normal = BlockCall::new(done, returned, pool);
            let thrown = BlockCall::new(unwound, [], pool);
            let table = ExceptionTableData::new(wasm, normal, [ExceptionTableItem::Default(thrown)]);
            let table = b.func.dfg.exception_tables.push(table);
            b.ins().try_call_indirect(*code, &args, table);

            b.switch_to_block(done);
            for (i, result) in results.into_iter().enumerate() {
                b.ins().store(flags, result, *values, i as i32 * VALRAW_SIZE);
            }
            let ok = b.ins().iconst(I8, 1);
            b.ins().return_(&[ok]);
            b.switch_to_block(unwound);
            let failed = b.ins().iconst(I8, 0);
            b.ins().return_(&[failed]);
        })
    }

    /// Code with the WebAssembly convention that calls a function of the host's, whose [`VMHostContext`] is the callee's context.
    ///
    /// # Errors
    /// Cranelift's.
    pub fn host_trampoline(&self, ty: &TrampolineType) -> Result<CompiledCode, CompileError> {
        self.finish_trampoline(self.host(ty))
    }

    fn host(&self, ty: &TrampolineType) -> Context {
        self.build(self.wasm_signature(ty), |b, params| {
            let (callee, caller) = (params[0], params[1]);
            record_exit(b, callee);
            let count = ty.params.len().max(ty.results.len());
            let slot = b.create_sized_stack_slot(StackSlotData::new(
                StackSlotKind::ExplicitSlot,
                (count as u32).max(1) * VALRAW_SIZE as u32,
                4,
            ));
            let values = b.ins().stack_addr(I64, slot, 0);
            let flags = MemFlagsData::trusted();
            for (i, arg) in params[2..].iter().enumerate() {
                let at = i as i32 * VALRAW_SIZE;
                if b.func.dfg.value_type(*arg).bytes() < 8 {
                    let zero = b.ins().iconst(I64, 0);
                    b.ins().store(flags, zero, values, at);
                }
                b.ins().store(flags, *arg, values, at);
            }
            let mut host = Signature::new(self.isa.default_call_conv());
            host.params = vec![AbiParam::new(I64); 5];
            host.returns = vec![AbiParam::new(I8)];
            let host = b.import_signature(host);
            let code = b.ins().load(I64, flags, callee, VMHostContext::ARRAY_CALL);
            let capacity = b.ins().iconst(I64, count as i64);
            let zero = b.ins().iconst(I64, 0);
            let call = b.ins().call_indirect(host, code, &[callee, caller, values, capacity, zero]);
            let ok = b.inst_results(call)[0];
            let done = b.create_block();
            let failed = b.create_block();
            b.set_cold_block(failed);
            b.ins().brif(ok, done, &[], failed, &[]);

            b.switch_to_block(failed);
            let table = b.ins().load(I64, flags, callee, VMContext::BUILTINS);
            self.raise(b, callee, table);

            b.switch_to_block(done);
            let results: Vec<Value> = ty
                .results
                .iter()
                .enumerate()
                .map(|(i, ty)| b.ins().load(clif_type(ty), flags, values, i as i32 * VALRAW_SIZE))
                .collect();
            b.ins().return_(&results);
        })
    }

    /// Code by which compiled code calls the runtime's function at `target`, `extern "C" fn(vmctx, u64…) -> u64`: records where
    /// the code was left, and unwinds when the result is `u64::MAX`. That of a rare builtin saves and restores all registers, and
    /// leaves the result in the store's record. `raise` is the address of [`Builtin::Raise`]'s function.
    ///
    /// # Errors
    /// Cranelift's.
    pub fn builtin_trampoline(
        &self,
        builtin: Builtin,
        target: *const c_void,
        raise: *const c_void,
    ) -> Result<CompiledCode, CompileError> {
        self.finish_trampoline(self.builtin(builtin, target, raise))
    }

    fn builtin(&self, builtin: Builtin, target: *const c_void, raise: *const c_void) -> Context {
        let system = self.isa.default_call_conv();
        self.build(builtin_signature(builtin), |b, params| {
            record_exit(b, params[0]);
            let signature = b.import_signature(words_signature(builtin.arity(), system));
            let code = b.ins().iconst(I64, target as i64);
            let call = b.ins().call_indirect(signature, code, params);
            let result = b.inst_results(call)[0];
            let done = b.create_block();
            let failed = b.create_block();
            b.set_cold_block(failed);
            let ok = b.ins().icmp_imm_s(IntCC::NotEqual, result, -1);
            b.ins().brif(ok, done, &[], failed, &[]);

            b.switch_to_block(failed);
            let signature = b.import_signature(words_signature(0, system));
            let code = b.ins().iconst(I64, raise as i64);
            b.ins().call_indirect(signature, code, &params[..1]);
            b.ins().trap(TrapCode::HEAP_OUT_OF_BOUNDS);

            b.switch_to_block(done);
            if !builtin.is_rare() {
                b.ins().return_(&[result]);
                return;
            }
            let store_flags = constant_flags(b);
            let store = b.ins().load(I64, store_flags, params[0], VMContext::STORE);
            b.ins().store(MemFlagsData::trusted(), result, store, VMStoreContext::RESULT);
            b.ins().return_(&[]);
        })
    }

    /// Calls the builtin that unwinds. Its trampoline records this one's caller-to-be as the exit; a walk passes over this
    /// trampoline's frame, which has neither handlers nor stack maps, to the frame below.
    fn raise(&self, b: &mut FunctionBuilder<'_>, vmctx: Value, builtins: Value) {
        let signature = b.import_signature(builtin_signature(Builtin::Raise));
        let flags = MemFlagsData::trusted();
        let code = b.ins().load(I64, flags, builtins, Builtin::Raise as i32 * 8);
        b.ins().call_indirect(signature, code, &[vmctx]);
        b.ins().trap(TrapCode::HEAP_OUT_OF_BOUNDS);
    }

    fn build(&self, signature: Signature, body: impl FnOnce(&mut FunctionBuilder<'_>, &[Value])) -> Context {
        let mut context = Context::new();
        context.func = ir::Function::with_name_signature(ir::UserFuncName::default(), signature);
        let mut scratch = FunctionBuilderContext::new();
        let mut b = FunctionBuilder::new(&mut context.func, &mut scratch);
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let params = b.block_params(entry).to_vec();
        body(&mut b, &params);
        b.seal_all_blocks();
        b.finalize(self.isa.frontend_config());
        context
    }

    fn finish_trampoline(&self, mut context: Context) -> Result<CompiledCode, CompileError> {
        self.finish(&mut context, || TRAMPOLINE.to_string())
    }

    /// A trampoline as text.
    ///
    /// # Errors
    /// Cranelift's.
    pub fn trampoline_text(&self, which: Trampoline<'_>, emit: Emit) -> Result<String, CompileError> {
        let mut context = match which {
            Trampoline::Entry(ty) => self.entry(ty),
            Trampoline::Host(ty) => self.host(ty),
            Trampoline::Builtin(builtin, target, raise) => self.builtin(builtin, target, raise),
        };
        self.text(&mut context, emit, || TRAMPOLINE.to_string())
    }
}

/// Records this trampoline's frame pointer and its return address as where compiled code was left.
fn record_exit(b: &mut FunctionBuilder<'_>, vmctx: Value) {
    let flags = MemFlagsData::trusted();
    let store = b.ins().load(I64, flags, vmctx, VMContext::STORE);
    let fp = b.ins().get_frame_pointer(I64);
    b.ins().store(flags, fp, store, VMStoreContext::EXIT_FP);
    let pc = b.ins().get_return_address(I64);
    b.ins().store(flags, pc, store, VMStoreContext::EXIT_PC);
}
