//! What an emitter emits, as text: for tests of a barrier by itself.

use cranelift_codegen::ir::{
    AbiParam, ExtFuncData, ExternalName, Function, Signature, UserExternalName, UserFuncName, types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_codegen::settings;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use gc_api::ir::{InstBuilder, Value};
use gc_api::{AccessSite, AllocSite, Emitter, EmitterHost, Freshness, Slot, SlowOp, StaticRef};

struct Host(Value);

impl Host {
    fn call(&self, b: &mut FunctionBuilder<'_>, args: &[Value]) -> Value {
        let mut signature = Signature::new(CallConv::SystemV);
        signature.params.extend(args.iter().map(|_| AbiParam::new(types::I64)));
        signature.returns.push(AbiParam::new(types::I64));
        let signature = b.import_signature(signature);
        let name = b.func.declare_imported_user_function(UserExternalName::new(0, 0));
        let name = ExternalName::user(name);
        let callee = b.import_function(ExtFuncData { name, signature, colocated: false, patchable: false });
        let call = b.ins().call(callee, args);
        b.inst_results(call)[0]
    }
}

impl EmitterHost for Host {
    fn heap_base(&mut self, _: &mut FunctionBuilder<'_>) -> Value {
        self.0
    }
    fn slow_alloc(&mut self, b: &mut FunctionBuilder<'_>, _: &AllocSite) -> Value {
        let wide = self.call(b, &[]);
        b.ins().ireduce(types::I32, wide)
    }
    fn slow_path(&mut self, b: &mut FunctionBuilder<'_>, _: SlowOp, args: &[Value]) -> Value {
        self.call(b, args)
    }
    fn declare_reference(&mut self, b: &mut FunctionBuilder<'_>, value: Value) {
        // The engine has a pass of its own; what counts here is that the value was declared.
        b.declare_value_needs_stack_map(value);
    }
    fn count_objects(&self) -> bool {
        true
    }
    fn null_faults(&self) -> bool {
        true
    }
}

/// The CLIF that `emit` emits in a function of the heap's base, an object and a value.
///
/// # Panics
/// When Cranelift's verifier does not accept it.
pub fn clif(emit: impl FnOnce(&mut Emitter<'_, '_>, Value, Value)) -> String {
    let isa = cranelift_native::builder().unwrap().finish(settings::Flags::new(settings::builder())).unwrap();
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend([types::I64, types::I32, types::I32].map(AbiParam::new));
    let mut func = Function::with_name_signature(UserFuncName::user(0, 0), signature);
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut func, &mut context);
    let block = b.create_block();
    b.append_block_params_for_function_params(block);
    b.switch_to_block(block);
    b.seal_block(block);
    let [base, object, value] = [0, 1, 2].map(|i| b.block_params(block)[i]);
    b.declare_value_needs_stack_map(object);
    b.declare_value_needs_stack_map(value);
    let mut host = Host(base);
    emit(&mut Emitter::new(&mut b, &mut host), object, value);
    b.ins().return_(&[]);
    b.finalize(isa.frontend_config());
    cranelift_codegen::verify_function(&func, &*isa).unwrap_or_else(|errors| panic!("{errors}\n{func}"));
    func.to_string()
}

/// An access to the field at offset 8 of an object, where this much is known of what it holds and is given.
pub fn field(object: Value, known: StaticRef) -> AccessSite {
    let slot = Slot::Field { object, offset: 8 };
    AccessSite { slot, old: known, new: known, freshness: Freshness::Unknown, null_check: true }
}

/// As [`clif`], for every kind of slot and whatever may be known of a reference.
pub fn for_each_site(mut emit: impl FnMut(&mut Emitter<'_, '_>, &AccessSite, Value)) {
    let object = StaticRef { null: false, i31: false, object: true };
    let i31 = StaticRef { null: true, i31: true, object: false };
    for known in [StaticRef::UNKNOWN, object, i31, StaticRef::NULL, StaticRef { null: true, ..object }] {
        for kind in 0..4 {
            clif(|e, object, value| {
                let address = e.address(object);
                let slot = match kind {
                    0 => Slot::Field { object, offset: 8 },
                    1 => Slot::Element { array: object, offset: value },
                    2 => Slot::Global { address, offset: 16 },
                    _ => Slot::Table { address },
                };
                emit(e, &AccessSite { slot, ..field(object, known) }, value);
            });
        }
    }
}
