//! The emitted CLIF: Cranelift's verifier accepts it, and it has what the site needs and no more.

use super::*;
use crate::compiler::DrcCompiler;
use cranelift_codegen::ir::{AbiParam, ExtFuncData, ExternalName, Function, Signature, UserExternalName, UserFuncName};
use cranelift_codegen::ir::{Value, types};
use cranelift_codegen::isa::CallConv;
use cranelift_codegen::settings;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

fn deferred() -> DrcCompiler {
    DrcCompiler::new(&options("drc:counting=deferred:cycles=none"))
}

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

/// The CLIF that `emit` emits in a function of the heap's base, an object and a value; verified.
fn clif(emit: impl FnOnce(&mut Emitter<'_, '_>, Value, Value)) -> String {
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

fn field(object: Value, known: StaticRef) -> AccessSite {
    let slot = Slot::Field { object, offset: 8 };
    AccessSite { slot, old: known, new: known, freshness: Freshness::Unknown, null_check: true }
}

fn calls(clif: &str) -> usize {
    clif.matches("= call ").count()
}

const OBJECT: StaticRef = StaticRef { null: false, i31: false, object: true };
const I31: StaticRef = StaticRef { null: true, i31: true, object: false };

#[test]
fn barriers_are_valid_for_every_slot_and_type() {
    for known in [StaticRef::UNKNOWN, OBJECT, I31, StaticRef::NULL, StaticRef { null: true, ..OBJECT }] {
        for kind in 0..4 {
            clif(|e, object, value| {
                let address = e.address(object);
                let slot = match kind {
                    0 => Slot::Field { object, offset: 8 },
                    1 => Slot::Element { array: object, offset: value },
                    2 => Slot::Global { address, offset: 16 },
                    _ => Slot::Table { address },
                };
                let site = AccessSite { slot, ..field(object, known) };
                deferred().write(e, &site, value);
                deferred().read(e, &site);
            });
        }
    }
}

#[test]
fn a_load_that_may_collect_keeps_what_it_loaded() {
    let text = clif(|e, object, _| {
        let site = field(object, StaticRef::UNKNOWN);
        let value = deferred().read(e, &site);
        e.store(&site, value);
    });
    assert_eq!(calls(&text), 1);
    let call = text.lines().find(|line| line.contains("= call ")).unwrap();
    assert_eq!(call.matches("i32 @").count(), 2, "the object and the value: {call}");
}

#[test]
fn what_is_known_statically_is_not_tested() {
    let write = |known| clif(|e, object, value| deferred().write(e, &field(object, known), value));
    assert_eq!(calls(&write(StaticRef::UNKNOWN)), 2);
    assert_eq!(calls(&write(I31)), 0);
    assert!(write(OBJECT).matches("brif").count() < write(StaticRef::UNKNOWN).matches("brif").count());
    let fresh = clif(|e, object, value| {
        let site = AccessSite { freshness: Freshness::Newest, null_check: false, ..field(object, StaticRef::UNKNOWN) };
        deferred().write(e, &site, value);
    });
    assert_eq!((fresh.matches("store").count(), fresh.matches("load").count()), (1, 0));
}

#[test]
fn objects_are_born_new() {
    let text = clif(|e, _, _| {
        let site = AllocSite { kind: GcKind::STRUCT, ty: 1, size: AllocSize::Fixed(24) };
        deferred().alloc(e, &site);
    });
    let header = VMGcHeader::new(GcKind::STRUCT, 1, NEW).to_u64();
    let constant = header.to_string();
    let hex = format!("{header:x}");
    let text = text.replace('_', "");
    assert!(text.contains(&constant) || text.contains(&hex), "{text}");
}
