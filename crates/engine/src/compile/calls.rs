//! Calls and function references (specification §4.6.10, "Function Calls"; §4.6.3, "Reference Instructions").

use super::translate::{Operands, Translator};
use super::{FUNCTION_SYMBOLS, clif_type};
use crate::types::{HeapType, RefType};
use crate::vm::{Builtin, TableInit, VMCallCache, VMFuncRef, VMFunctionImport, trap_codes};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{
    self, BlockArg, BlockCall, ExceptionTableData, ExceptionTableItem, InstBuilder, SigRef, TrapCode, Value,
};
use gc_api::{Region, TypeIndex};
use std::collections::BTreeMap;
use wasmparser::Operator;

/// Types of the functions in a table that are looked at one by one for each call through it: compilation stays linear.
pub(super) const MOST_TYPES: usize = 64;

/// What a call goes to.
enum Callee {
    /// A function of this module.
    Direct(ir::FuncRef),
    /// An address.
    Indirect(SigRef, Value),
}

impl Translator<'_, '_> {
    /// Translates calls and function references; the others give `false`.
    pub(super) fn call_operator(&mut self, op: &Operator<'_>, operands: &Operands) -> bool {
        use Operator as O;
        match op {
            O::Call { function_index } => self.call_function(*function_index, Tail::No),
            O::ReturnCall { function_index } => self.call_function(*function_index, Tail::Yes),
            O::CallIndirect { type_index, table_index } => self.call_indirect(*type_index, *table_index, Tail::No),
            O::ReturnCallIndirect { type_index, table_index } => {
                self.call_indirect(*type_index, *table_index, Tail::Yes);
            }
            O::CallRef { type_index } => self.call_ref(*type_index, operands.top(), Tail::No),
            O::ReturnCallRef { type_index } => self.call_ref(*type_index, operands.top(), Tail::Yes),
            O::RefFunc { function_index } => {
                let value = self.ref_func(*function_index);
                self.push(value);
            }
            _ => return false,
        }
        true
    }

    /// The address of a function's reference, which is made if it was not.
    fn ref_func(&mut self, index: u32) -> Value {
        let info = self.env.info;
        match index.checked_sub(info.imported_funcs) {
            None => {
                let at = info.offsets.func_imports as i32 + index as i32 * VMFunctionImport::SIZE;
                self.env.constant(&mut self.b, I64, at + VMFunctionImport::FUNC_REF)
            }
            Some(_) => {
                let at = info.offsets.func_refs + info.escaping[&index] * VMFuncRef::SIZE as u32;
                if self.env.compiler.options.table_init == TableInit::Lazy {
                    let flags = Region::Context.flags(self.b.func);
                    let id = self.b.ins().load(I32, flags, self.env.vmctx, at as i32 + VMFuncRef::ID);
                    let made = self.b.create_block();
                    let slow = self.b.create_block();
                    self.b.set_cold_block(slow);
                    self.b.ins().brif(id, made, &[], slow, &[]);
                    self.b.seal_block(slow);
                    self.b.switch_to_block(slow);
                    let function = self.i64(index as i64);
                    self.env.builtin(&mut self.b, Builtin::RefFunc, &[function]);
                    self.b.ins().jump(made, &[]);
                    self.b.seal_block(made);
                    self.b.switch_to_block(made);
                }
                self.b.ins().iadd_imm_u(self.env.vmctx, at as i64)
            }
        }
    }

    fn call_function(&mut self, index: u32, tail: Tail) {
        let info = self.env.info;
        let ty = info.funcs[index as usize];
        match index.checked_sub(info.imported_funcs) {
            None => {
                let at = info.offsets.func_imports as i32 + index as i32 * VMFunctionImport::SIZE;
                let code = self.env.constant(&mut self.b, I64, at + VMFunctionImport::WASM_CALL);
                let callee = self.env.constant(&mut self.b, I64, at + VMFunctionImport::VMCTX);
                let signature = self.signature(ty);
                self.call(Callee::Indirect(signature, code), callee, ty, tail);
            }
            Some(defined) if tail == Tail::Yes && defined as usize == self.defined => self.start_again(),
            Some(defined) => {
                let signature = self.signature(ty);
                let name = ir::UserExternalName { namespace: FUNCTION_SYMBOLS, index: defined };
                let name = self.b.func.declare_imported_user_function(name);
                let function = self.b.import_function(ir::ExtFuncData {
                    name: ir::ExternalName::user(name),
                    signature,
                    colocated: true,
                    patchable: false,
                });
                self.call(Callee::Direct(function), self.env.vmctx, ty, tail);
            }
        }
    }

    /// Calls the function that is translated as its last act: its frame becomes the callee's.
    fn start_again(&mut self) {
        let start = self.start.expect("the body has been searched for such calls");
        let args = self.pop_n(self.ty.params.len());
        for (i, value) in args.into_iter().enumerate() {
            self.b.def_var(self.locals[i], value);
        }
        self.jump(start, &[]);
        self.unreachable();
    }

    fn signature(&mut self, ty: TypeIndex) -> SigRef {
        let ty = self.func_type(ty);
        let signature = self.env.compiler.wasm_signature(&ty);
        self.b.import_signature(signature)
    }

    fn call_indirect(&mut self, type_index: u32, table: u32, tail: Tail) {
        let expected = self.env.info.types.get(type_index);
        let index = self.pop();
        let (code, callee) = match self.call_cache(table) {
            Some(cache) => self.cached_target(cache, expected, table, index),
            None => self.indirect_target(expected, table, index),
        };
        let signature = self.signature(expected);
        self.call(Callee::Indirect(signature, code), callee, expected, tail);
    }

    /// Where in the instance's record the next `call_indirect` keeps what it called last: for a table that nothing can change, if
    /// the engine's options want that.
    pub(super) fn call_cache(&mut self, table: u32) -> Option<i32> {
        let info = self.env.info;
        info.fixed_tables.tables.get(table as usize)?.as_ref()?;
        // As many have been counted as there are calls.
        let site = self.call_sites.next()?;
        Some(info.offsets.call_caches as i32 + site as i32 * VMCallCache::SIZE)
    }

    /// The code and the context that an indirect call leads to: those of the last time if the index is the same, without
    /// a look at the table. Nothing can have changed there, and all checks have been passed.
    fn cached_target(&mut self, cache: i32, expected: TypeIndex, table: u32, index: Value) -> (Value, Value) {
        let hit = self.b.create_block();
        let miss = self.b.create_block();
        let done = self.b.create_block();
        self.b.set_cold_block(miss);
        let [code, callee] = [(); 2].map(|()| self.b.append_block_param(done, I64));
        let flags = Region::Context.flags(self.b.func);
        let wide = self.wide(index);
        let key = self.b.ins().iadd_imm_s(wide, 1);
        let last = self.b.ins().load(I64, flags, self.env.vmctx, cache + VMCallCache::KEY);
        let same = self.b.ins().icmp(IntCC::Equal, key, last);
        self.b.ins().brif(same, hit, &[], miss, &[]);

        self.b.seal_block(hit);
        self.b.switch_to_block(hit);
        let places = [VMCallCache::WASM_CALL, VMCallCache::VMCTX];
        let known = places.map(|at| self.b.ins().load(I64, flags, self.env.vmctx, cache + at));
        self.b.ins().jump(done, &known.map(BlockArg::Value));

        self.b.seal_block(miss);
        self.b.switch_to_block(miss);
        let (new_code, new_callee) = self.indirect_target(expected, table, index);
        self.b.ins().store(flags, key, self.env.vmctx, cache + VMCallCache::KEY);
        self.b.ins().store(flags, new_code, self.env.vmctx, cache + VMCallCache::WASM_CALL);
        self.b.ins().store(flags, new_callee, self.env.vmctx, cache + VMCallCache::VMCTX);
        self.b.ins().jump(done, &[BlockArg::Value(new_code), BlockArg::Value(new_callee)]);

        self.b.seal_block(done);
        self.b.switch_to_block(done);
        (code, callee)
    }

    /// The code and the context that an indirect call leads to.
    fn indirect_target(&mut self, expected: TypeIndex, table: u32, index: Value) -> (Value, Value) {
        let element = self.env.info.tables[table as usize].element;
        // Null is 0 or 1: the first access to it faults, because the first page of the address space is never mapped.
        let func = self.func_element(table, index, trap_codes::INDIRECT_OUT_OF_BOUNDS);
        let mut null_trap = element.nullable.then_some(trap_codes::INDIRECT_CALL_TO_NULL);
        if !self.always_matches(table, element, expected) {
            let flags = Region::Context.flags(self.b.func).with_trap_code(null_trap.take());
            let actual = self.b.ins().load(I32, flags, func, VMFuncRef::TYPE_INDEX);
            let matches = self.type_test(actual, expected);
            self.b.ins().trapz(matches, trap_codes::BAD_SIGNATURE);
        }
        self.func_target(func, null_trap)
    }

    /// The functions that a table may hold, by their types, if nothing can change it.
    pub(super) fn table_holds(&self, table: u32) -> Option<&BTreeMap<TypeIndex, Vec<u32>>> {
        self.env.info.fixed_tables.tables.get(table as usize)?.as_ref()?.holds.as_ref()
    }

    /// Whether every function in a table has type `expected`: by the elements' type, or because nothing can change the
    /// table and its segments have no other functions.
    fn always_matches(&self, table: u32, element: RefType, expected: TypeIndex) -> bool {
        let registry = &self.env.compiler.registry;
        let holds = self.table_holds(table).filter(|types| types.len() <= MOST_TYPES);
        registry.heap_matches(element.heap, HeapType::ConcreteFunc(expected))
            || holds.is_some_and(|types| types.keys().all(|ty| registry.is_subtype(*ty, expected)))
    }

    fn call_ref(&mut self, type_index: u32, operand: RefType, tail: Tail) {
        let func = self.pop();
        let ty = self.env.info.types.get(type_index);
        let null_trap = operand.nullable.then_some(trap_codes::NULL_REFERENCE);
        let (code, callee) = self.func_target(func, null_trap);
        let signature = self.signature(ty);
        self.call(Callee::Indirect(signature, code), callee, ty, tail);
    }

    /// The code and the context of a function reference; traps if it is null and may be.
    ///
    /// Most functions are of the caller's own instance. The processor predicts that branch, so that the callee need not wait until
    /// its context, by which it gets at everything, has been loaded by way of an object, an id and a record.
    fn func_target(&mut self, func: Value, null_trap: Option<TrapCode>) -> (Value, Value) {
        let flags = Region::Context.flags(self.b.func).with_trap_code(null_trap);
        let code = self.b.ins().load(I64, flags, func, VMFuncRef::WASM_CALL);
        let flags = Region::Context.flags(self.b.func);
        let callee = self.b.ins().load(I64, flags, func, VMFuncRef::VMCTX);
        let own = self.b.ins().icmp(IntCC::Equal, callee, self.env.vmctx);
        let known = self.b.create_block();
        let context = self.b.append_block_param(known, I64);
        let others = self.b.create_block();
        self.b.set_cold_block(others);
        self.b.ins().brif(own, known, &[BlockArg::Value(self.env.vmctx)], others, &[]);
        self.b.seal_block(others);
        self.b.switch_to_block(others);
        self.b.ins().jump(known, &[BlockArg::Value(callee)]);
        self.b.seal_block(known);
        self.b.switch_to_block(known);
        (code, context)
    }

    /// Whether canonical type `actual` (an `i32`) is `expected` or below: one load and one compare where it has subtypes.
    pub(super) fn type_test(&mut self, actual: Value, expected: TypeIndex) -> Value {
        let registry = &self.env.compiler.registry;
        if registry.get(expected).is_final {
            return self.is_type(actual, expected);
        }
        let depth = registry.depth(expected);
        // The type comes out of the heap: mask it, so that even a corrupt one stays inside the displays.
        let masked = self.b.ins().band_imm_u(actual, gc_api::MAX_TYPES as i64 - 1);
        let index = self.b.ins().uextend(I64, masked);
        let offset = self.b.ins().ishl_imm_u(index, 8);
        let displays = self.env.constant(&mut self.b, I64, crate::vm::VMContext::DISPLAYS);
        let entry = self.b.ins().iadd(displays, offset);
        let flags = super::env::constant_flags(&mut self.b);
        let ancestor = self.b.ins().load(I32, flags, entry, depth as i32 * 4);
        self.is_type(ancestor, expected)
    }

    /// Whether a canonical type (an `i32`) is `expected`.
    fn is_type(&mut self, actual: Value, expected: TypeIndex) -> Value {
        if !self.env.compiler.options.relocatable {
            return self.b.ins().icmp_imm_u(IntCC::Equal, actual, expected as i64);
        }
        let expected = self.env.type_index(&mut self.b, expected);
        let expected = self.b.ins().ireduce(I32, expected);
        self.b.ins().icmp(IntCC::Equal, actual, expected)
    }

    /// Pops the arguments, calls, pushes the results. Inside a `try_table` the call has its handler as second successor.
    fn call(&mut self, callee: Callee, vmctx: Value, ty: TypeIndex, tail: Tail) {
        let ty = self.func_type(ty);
        let operands = self.pop_n(ty.params.len());
        let mut args = vec![vmctx, self.env.vmctx];
        args.extend(operands);
        if tail == Tail::Yes {
            match callee {
                Callee::Direct(function) => self.b.ins().return_call(function, &args),
                Callee::Indirect(signature, code) => self.b.ins().return_call_indirect(signature, code, &args),
            };
            return self.unreachable();
        }
        let results = match self.handlers.last().copied() {
            None => {
                let call = match callee {
                    Callee::Direct(function) => self.b.ins().call(function, &args),
                    Callee::Indirect(signature, code) => self.b.ins().call_indirect(signature, code, &args),
                };
                self.b.inst_results(call).to_vec()
            }
            Some(landing) => {
                let types: Vec<ir::Type> = ty.results.iter().map(clif_type).collect();
                self.try_call(callee, &args, &types, landing)
            }
        };
        for (value, ty) in results.into_iter().zip(&ty.results) {
            self.push_typed(value, ty);
        }
    }

    /// A call that goes on at `landing` with the exception when it throws.
    fn try_call(&mut self, callee: Callee, args: &[Value], results: &[ir::Type], landing: ir::Block) -> Vec<Value> {
        let done = self.b.create_block();
        let values = results.iter().map(|ty| self.b.append_block_param(done, *ty)).collect();
        let returned: Vec<BlockArg> = (0..results.len() as u32).map(BlockArg::TryCallRet).collect();
        let signature = match callee {
            Callee::Direct(function) => self.b.func.dfg.ext_funcs[function].signature,
            Callee::Indirect(signature, _) => signature,
        };
        let pool = &mut self.b.func.dfg.value_lists;
        let normal = BlockCall::new(done, returned, pool);
        let thrown = BlockCall::new(landing, [BlockArg::TryCallExn(0)], pool);
        let table = ExceptionTableData::new(signature, normal, [ExceptionTableItem::Default(thrown)]);
        let table = self.b.func.dfg.exception_tables.push(table);
        match callee {
            Callee::Direct(function) => self.b.ins().try_call(function, args, table),
            Callee::Indirect(_, code) => self.b.ins().try_call_indirect(code, args, table),
        };
        self.b.seal_block(done);
        self.b.switch_to_block(done);
        values
    }
}

/// Whether a call is the function's last act.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    No,
    Yes,
}
