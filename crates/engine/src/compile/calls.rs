//! Calls, function references, exceptions.

use super::translate::{Operands, Translator};
use super::{clif_type, is_func};
use crate::types::{HeapType, RefType, ValType};
use crate::vm::{Builtin, VMFuncRef, VMFunctionImport, trap_codes};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{
    self, BlockArg, BlockCall, ExceptionTableData, ExceptionTableItem, InstBuilder, SigRef, Value,
};
use gc_api::{AccessSite, AllocSite, AllocSize, EXCEPTION_TAG_OFFSET, Freshness, GcKind, Region, Slot, TypeIndex};
use wasmparser::{Catch, Operator, TryTable};

/// What a call goes to.
enum Callee {
    /// A function of this module.
    Direct(ir::FuncRef),
    /// An address.
    Indirect(SigRef, Value),
}

impl Translator<'_, '_> {
    /// Translates calls, function references and throws; the others give `false`.
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
            O::Throw { tag_index } => self.throw(*tag_index),
            O::ThrowRef => {
                let exception = self.pop();
                self.throw_ref(exception);
            }
            _ => return false,
        }
        true
    }

    /// The address of a function's reference.
    fn ref_func(&mut self, index: u32) -> Value {
        let info = self.env.info;
        match index.checked_sub(info.imported_funcs) {
            None => {
                let at = info.offsets.func_imports as i32 + index as i32 * VMFunctionImport::SIZE;
                self.env.constant(&mut self.b, I64, at + VMFunctionImport::FUNC_REF)
            }
            Some(_) => {
                let at = info.offsets.func_refs + info.escaping[&index] * VMFuncRef::SIZE as u32;
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
            Some(defined) => {
                let signature = self.signature(ty);
                let name = ir::UserExternalName { namespace: 0, index: defined };
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

    fn signature(&mut self, ty: TypeIndex) -> SigRef {
        let ty = self.func_type(ty);
        let signature = self.env.compiler.wasm_signature(&ty);
        self.b.import_signature(signature)
    }

    fn call_indirect(&mut self, type_index: u32, table: u32, tail: Tail) {
        let expected = self.env.info.types.get(type_index);
        let index = self.pop();
        let element = self.env.info.tables[table as usize].element;
        let address = self.table_element(table, index, trap_codes::INDIRECT_OUT_OF_BOUNDS);
        let flags = Region::Tables.flags(self.b.func);
        let func = self.b.ins().load(I64, flags, address, 0);
        let registry = &self.env.compiler.registry;
        if registry.heap_matches(element.heap, HeapType::ConcreteFunc(expected)) {
            if element.nullable {
                self.b.ins().trapz(func, trap_codes::INDIRECT_CALL_TO_NULL);
            }
        } else {
            // Null faults here: the first page of the address space is never mapped.
            let flags = Region::Context.flags(self.b.func).with_trap_code(Some(trap_codes::INDIRECT_CALL_TO_NULL));
            let actual = self.b.ins().load(I32, flags, func, VMFuncRef::TYPE_INDEX);
            let matches = self.type_test(actual, expected);
            self.b.ins().trapz(matches, trap_codes::BAD_SIGNATURE);
        }
        self.call_func_ref(func, expected, false, tail);
    }

    fn call_ref(&mut self, type_index: u32, operand: RefType, tail: Tail) {
        let func = self.pop();
        let ty = self.env.info.types.get(type_index);
        self.call_func_ref(func, ty, operand.nullable, tail);
    }

    /// Calls through a function reference that is known to have type `ty`.
    fn call_func_ref(&mut self, func: Value, ty: TypeIndex, null_check: bool, tail: Tail) {
        let mut flags = Region::Context.flags(self.b.func);
        if null_check {
            flags = flags.with_trap_code(Some(trap_codes::NULL_REFERENCE));
        }
        let code = self.b.ins().load(I64, flags, func, VMFuncRef::WASM_CALL);
        let flags = Region::Context.flags(self.b.func);
        let callee = self.b.ins().load(I64, flags, func, VMFuncRef::VMCTX);
        let signature = self.signature(ty);
        self.call(Callee::Indirect(signature, code), callee, ty, tail);
    }

    /// Whether canonical type `actual` (an `i32`) is `expected` or below: one load and one compare where it has subtypes.
    pub(super) fn type_test(&mut self, actual: Value, expected: TypeIndex) -> Value {
        let registry = &self.env.compiler.registry;
        if registry.get(expected).is_final {
            return self.b.ins().icmp_imm_u(IntCC::Equal, actual, expected as i64);
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
        self.b.ins().icmp_imm_u(IntCC::Equal, ancestor, expected as i64)
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

    // Exceptions.

    /// Where a tag's id stands.
    fn tag_id(&mut self, tag: u32) -> Value {
        let at = self.env.info.offsets.tags as i32 + tag as i32 * 4;
        self.env.constant(&mut self.b, I32, at)
    }

    /// Allocates the exception with the operands as its fields and throws it.
    fn throw(&mut self, tag: u32) {
        let func = self.env.info.tags[tag as usize];
        let params = self.func_type(func).params;
        let values = self.pop_n(params.len());
        let registry = self.env.compiler.registry.clone();
        let ty = registry.exception_type(func).expect("registered when the module was parsed");
        let layout = registry.exception_layout(ty);
        let site = AllocSite { kind: GcKind::EXN, ty, size: AllocSize::Fixed(layout.size) };
        let exception = self.gc(|gc, e| gc.alloc(e, &site));
        self.declare(exception, &ValType::Ref(RefType { nullable: false, heap: HeapType::Exn }));
        let id = self.tag_id(tag);
        let address = self.gc(|_, e| e.address(exception));
        let flags = Region::Data.flags(self.b.func);
        self.b.ins().store(flags, id, address, EXCEPTION_TAG_OFFSET as i32);
        for ((value, ty), field) in values.into_iter().zip(&params).zip(&layout.fields) {
            let storage = crate::types::StorageType::Val(*ty);
            self.init_field(exception, field.offset, &storage, value);
        }
        self.throw_ref(exception);
    }

    fn throw_ref(&mut self, exception: Value) {
        let exception = self.wide(exception);
        let (signature, code, args) = self.env.builtin_call(&mut self.b, Builtin::ThrowRef, &[exception]);
        match self.handlers.last().copied() {
            None => {
                self.b.ins().call_indirect(signature, code, &args);
            }
            Some(landing) => {
                self.try_call(Callee::Indirect(signature, code), &args, &[I64], landing);
            }
        }
        self.b.ins().trap(trap_codes::HEAP_CORRUPTION);
        self.unreachable();
    }

    /// `try_table`: emits the handler, which takes the exception, finds the first clause whose tag matches and branches to its label
    /// with the exception's fields; throws on when none does. Calls in the body name it as their handler.
    pub(super) fn try_table(&mut self, try_table: &TryTable) {
        if !self.reachable || try_table.catches.is_empty() {
            return self.push_try_frame(try_table.ty, None);
        }
        let landing = self.b.create_block();
        let payload = self.b.append_block_param(landing, I64);
        let body = self.b.create_block();
        self.b.ins().jump(body, &[]);
        self.b.seal_block(body);

        self.b.switch_to_block(landing);
        let height = self.stack.len();
        let exception = self.b.ins().ireduce(I32, payload);
        let exn = ValType::Ref(RefType { nullable: false, heap: HeapType::Exn });
        self.declare(exception, &exn);
        let address = self.gc(|_, e| e.address(exception));
        let flags = Region::Data.flags(self.b.func);
        let actual = self.b.ins().load(I32, flags, address, EXCEPTION_TAG_OFFSET as i32);
        let mut open = true;
        for catch in &try_table.catches {
            let (tag, label, with_ref) = match *catch {
                Catch::One { tag, label } => (Some(tag), label, false),
                Catch::OneRef { tag, label } => (Some(tag), label, true),
                Catch::All { label } => (None, label, false),
                Catch::AllRef { label } => (None, label, true),
            };
            let next = self.b.create_block();
            if let Some(tag) = tag {
                let matched = self.b.create_block();
                let id = self.tag_id(tag);
                let same = self.b.ins().icmp(IntCC::Equal, id, actual);
                self.b.ins().brif(same, matched, &[], next, &[]);
                self.b.seal_block(matched);
                self.b.seal_block(next);
                self.b.switch_to_block(matched);
                self.push_exception_fields(exception, tag);
            }
            if with_ref {
                self.push(exception);
            }
            let (target, args) = self.label(label);
            self.jump(target, &args);
            self.stack.truncate(height);
            if tag.is_none() {
                open = false;
                break;
            }
            self.b.switch_to_block(next);
        }
        if open {
            // `throw_ref` ends the block; the frame around is entered afresh below.
            let (reachable, stack) = (self.reachable, self.stack.clone());
            self.throw_ref(exception);
            (self.reachable, self.stack) = (reachable, stack);
        }

        self.b.switch_to_block(body);
        self.push_try_frame(try_table.ty, Some(landing));
    }

    fn push_exception_fields(&mut self, exception: Value, tag: u32) {
        let func = self.env.info.tags[tag as usize];
        let params = self.func_type(func).params;
        let registry = self.env.compiler.registry.clone();
        let ty = registry.exception_type(func).expect("registered when the module was parsed");
        let layout = registry.exception_layout(ty);
        for (ty, field) in params.iter().zip(&layout.fields) {
            let value = match ty {
                ValType::Ref(r) if is_func(r.heap) => self.load_func_field(exception, field.offset, *r, false),
                ValType::Ref(r) => self.read_ref(Slot::Field { object: exception, offset: field.offset }, *r, false),
                other => {
                    let address = self.gc(|_, e| e.address(exception));
                    let flags = Region::Data.flags(self.b.func);
                    self.b.ins().load(clif_type(other), flags, address, field.offset as i32)
                }
            };
            self.push_typed(value, ty);
        }
    }

    /// Initialises a field of the newest object.
    pub(super) fn init_field(&mut self, object: Value, offset: u32, storage: &crate::types::StorageType, value: Value) {
        let slot = Slot::Field { object, offset };
        self.init_slot(slot, storage, value);
    }

    /// Initialises a slot of the newest object, whatever it holds.
    pub(super) fn init_slot(&mut self, slot: Slot, storage: &crate::types::StorageType, value: Value) {
        use crate::types::StorageType as S;
        if let S::Val(ValType::Ref(r)) = storage
            && !is_func(r.heap)
        {
            let known = super::translate::static_ref(*r);
            let site = AccessSite {
                slot,
                old: gc_api::StaticRef::NULL,
                new: known,
                freshness: Freshness::Newest,
                null_check: false,
            };
            self.gc(
                |gc, e| {
                    if gc.needs().init && known.object { gc.init(e, &site, value) } else { e.store(&site, value) }
                },
            );
            return;
        }
        self.store_scalar(slot, storage, value, false);
    }
}

/// Whether a call is the function's last act.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    No,
    Yes,
}
