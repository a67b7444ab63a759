//! Wasmtime's side, under one of its collectors.

use crate::plan::{Arg, Plan};
use crate::seen::{Called, DEPTH, Failure, LENGTH, Seen, Story, first_bytes};
use crate::smith::PROVIDER;
use std::sync::OnceLock;
use wasmtime::{
    AnyRef, AsContextMut, Caller, Collector, Config, Engine, Error, ExnRef, Extern, ExternRef, Func, FuncType,
    HeapType, I31, Instance, Linker, Module, OptLevel, Ref, RefType, Rooted, Store, StoreLimits, StoreLimitsBuilder,
    ThrownException, Trap, Val, ValType,
};

/// Bytes of a memory or a heap.
const MEMORY: usize = 64 << 20;

struct Host {
    calls: Vec<Vec<Seen>>,
    made: u64,
    /// Addresses, in the order in which they were first seen.
    funcs: Vec<usize>,
    limits: StoreLimits,
}

/// A value of the host's.
struct Numbered(u64);

/// The story under the collector that `seed` chooses, with its name.
pub fn run(binary: &[u8], plan: &Plan, seed: u64) -> (String, Story) {
    static ENGINES: OnceLock<Vec<(&str, Engine)>> = OnceLock::new();
    let engines = ENGINES.get_or_init(|| {
        let collectors =
            [("drc", Collector::DeferredReferenceCounting), ("null", Collector::Null), ("copying", Collector::Copying)];
        collectors.into_iter().map(|(name, collector)| (name, engine(collector))).collect()
    });
    let (name, engine) = &engines[(seed >> 1) as usize % engines.len()];
    (format!("wasmtime {name}"), story(engine, binary, plan))
}

fn engine(collector: Collector) -> Engine {
    let mut config = Config::new();
    config.wasm_gc(true).wasm_function_references(true).wasm_exceptions(true).wasm_tail_call(true);
    config.wasm_memory64(true).wasm_multi_memory(true).wasm_extended_const(true);
    config.wasm_custom_page_sizes(true).wasm_wide_arithmetic(true);
    config.collector(collector).cranelift_opt_level(OptLevel::None).parallel_compilation(false);
    // Reservations are made and given back for each store.
    config.memory_reservation(1 << 20).memory_guard_size(1 << 16).gc_heap_reservation(128 << 20);
    Engine::new(&config).expect("an engine can be made")
}

fn story(engine: &Engine, binary: &[u8], plan: &Plan) -> Story {
    let mut story = Story::default();
    let limits = StoreLimitsBuilder::new().memory_size(MEMORY).build();
    let mut store = Store::new(engine, Host { calls: Vec::new(), made: 0, funcs: Vec::new(), limits });
    store.limiter(|host| &mut host.limits);
    let module = match Module::from_binary(engine, binary) {
        Ok(module) => module,
        Err(error) => {
            story.stillborn = Some(Failure::Other(format!("compilation: {error:?}")));
            return story;
        }
    };
    let mut linker = Linker::new(engine);
    define(&mut store, &mut linker);
    let instance = match linker.instantiate(&mut store, &module) {
        Ok(instance) => instance,
        Err(error) => {
            story.stillborn = Some(failure(&mut store, &error));
            return story;
        }
    };
    for (name, args) in &plan.calls {
        let args: Vec<Val> = args.iter().map(|arg| val(&mut store, arg, &instance)).collect();
        let func = instance.get_func(&mut store, name).expect("the plan is of this module");
        let mut results = vec![Val::I32(0); func.ty(&store).results().len()];
        let outcome = match func.call(&mut store, &args, &mut results) {
            Ok(()) => Ok(results.iter().map(|result| look(&mut store, result, DEPTH)).collect()),
            Err(error) => Err(failure(&mut store, &error)),
        };
        story.calls.push(Called { name: name.clone(), outcome });
        if story.is_inconclusive() {
            return story;
        }
    }
    let exports: Vec<(String, Extern)> =
        instance.exports(&mut store).map(|export| (export.name().to_string(), export.into_extern())).collect();
    for (name, item) in exports {
        match item {
            Extern::Global(global) => {
                let value = global.get(&mut store);
                let value = look(&mut store, &value, DEPTH);
                story.globals.push((name, value));
            }
            Extern::Memory(memory) => {
                let data = memory.data(&store);
                story.memories.push((name, data.len() as u64, first_bytes(data)));
            }
            Extern::Table(table) => {
                let length = table.size(&store);
                let entries = (0..length.min(LENGTH)).map(|i| {
                    let entry = match table.get(&mut store, i).expect("in bounds") {
                        Ref::Func(func) => Val::FuncRef(func),
                        Ref::Extern(value) => Val::ExternRef(value),
                        Ref::Any(value) => Val::AnyRef(value),
                        Ref::Exn(value) => Val::ExnRef(value),
                    };
                    look(&mut store, &entry, DEPTH)
                });
                let entries = entries.collect();
                story.tables.push((name, length, entries));
            }
            _ => {}
        }
    }
    story.host = std::mem::take(&mut store.data_mut().calls);
    story
}

fn val(store: &mut Store<Host>, arg: &Arg, instance: &Instance) -> Val {
    match arg {
        Arg::I32(value) => Val::I32(*value),
        Arg::I64(value) => Val::I64(*value),
        Arg::F32(bits) => Val::F32(*bits),
        Arg::F64(bits) => Val::F64(*bits),
        Arg::V128(bits) => Val::V128((*bits).into()),
        Arg::NullAny => Val::AnyRef(None),
        Arg::NullExtern => Val::ExternRef(None),
        Arg::NullFunc => Val::FuncRef(None),
        Arg::NullExn => Val::ExnRef(None),
        Arg::I31(value) => Val::AnyRef(Some(AnyRef::from_i31(store, I31::wrapping_i32(*value)))),
        Arg::Host(number) => Val::ExternRef(Some(ExternRef::new(store, Numbered(*number)).expect("there is room"))),
        Arg::Func(name) => Val::FuncRef(Some(instance.get_func(store, name).expect("the plan is of this module"))),
    }
}

fn define(store: &mut Store<Host>, linker: &mut Linker<Host>) {
    use ValType::{F32, F64, I32, I64};
    let engine = store.engine().clone();
    let anyref = ValType::Ref(RefType::new(true, HeapType::Any));
    let externref = ValType::EXTERNREF;
    for (name, params) in
        [("log", vec![I32, I64, F32, F64]), ("see", vec![anyref.clone()]), ("see_extern", vec![externref.clone()])]
    {
        let ty = FuncType::new(&engine, params, []);
        let log = Func::new(&mut *store, ty, |mut caller: Caller<'_, Host>, args, _| {
            let seen = args.iter().map(|arg| look(&mut caller, arg, DEPTH)).collect();
            caller.data_mut().calls.push(seen);
            Ok(())
        });
        linker.define(&*store, "host", name, log).expect("nothing has that name yet");
    }
    let ty = FuncType::new(&engine, [], [externref.clone()]);
    let make = Func::new(&mut *store, ty, |mut caller: Caller<'_, Host>, _, results| {
        caller.data_mut().made += 1;
        let number = 1_000 + caller.data().made;
        results[0] = Val::ExternRef(Some(ExternRef::new(&mut caller, Numbered(number))?));
        Ok(())
    });
    linker.define(&*store, "host", "make", make).expect("nothing has that name yet");
    let ty = FuncType::new(&engine, [I32], [anyref.clone()]);
    let small = Func::new(&mut *store, ty, |mut caller: Caller<'_, Host>, args, results| {
        let value = I31::wrapping_i32(args[0].unwrap_i32());
        results[0] = Val::AnyRef(Some(AnyRef::from_i31(&mut caller, value)));
        Ok(())
    });
    linker.define(&*store, "host", "small", small).expect("nothing has that name yet");
    let ty = FuncType::new(&engine, [anyref.clone(), externref.clone()], [externref, anyref]);
    let swap = Func::new(&mut *store, ty, |_: Caller<'_, Host>, args, results| {
        results[0] = args[1];
        results[1] = args[0];
        Ok(())
    });
    linker.define(&*store, "host", "swap", swap).expect("nothing has that name yet");

    let provider = Module::new(&engine, PROVIDER).expect("the text is well-formed");
    let provider = linker.instantiate(&mut *store, &provider).expect("it imports nothing");
    linker.instance(&mut *store, "host", provider).expect("nothing has these names yet");
}

/// A value as it is seen.
fn look<C: AsContextMut<Data = Host>>(store: &mut C, value: &Val, depth: u32) -> Seen {
    match value {
        Val::I32(value) => Seen::I32(*value),
        Val::I64(value) => Seen::I64(*value),
        Val::F32(bits) => Seen::F32(*bits),
        Val::F64(bits) => Seen::F64(*bits),
        Val::V128(bits) => Seen::V128(bits.as_u128()),
        Val::AnyRef(None) | Val::ExternRef(None) | Val::FuncRef(None) | Val::ExnRef(None) => Seen::Null,
        Val::FuncRef(Some(func)) => {
            let address = func.to_raw(&mut *store) as usize;
            let mut store = store.as_context_mut();
            let known = &mut store.data_mut().funcs;
            let at = known.iter().position(|other| *other == address);
            Seen::Func(at.unwrap_or_else(|| {
                known.push(address);
                known.len() - 1
            }))
        }
        Val::AnyRef(Some(value)) => look_any(store, *value, depth),
        Val::ExternRef(Some(value)) => {
            if let Some(number) = number(store, value) {
                return Seen::Host(number);
            }
            let value = AnyRef::convert_extern(&mut *store, *value).expect("there is room");
            look_any(store, value, depth)
        }
        Val::ExnRef(Some(exception)) => look_exception(store, *exception, depth),
        other => panic!("there is no {other:?} in these modules"),
    }
}

fn number<C: AsContextMut<Data = Host>>(store: &mut C, value: &Rooted<ExternRef>) -> Option<u64> {
    let data = value.data(store.as_context()).expect("it is rooted")?;
    Some(data.downcast_ref::<Numbered>().expect("host values are numbered").0)
}

fn look_any<C: AsContextMut<Data = Host>>(store: &mut C, value: Rooted<AnyRef>, depth: u32) -> Seen {
    const ROOTED: &str = "it is rooted";
    if let Some(value) = value.as_i31(&*store).expect(ROOTED) {
        return Seen::I31(value.get_i32());
    }
    if let Some(object) = value.as_struct(&*store).expect(ROOTED) {
        if depth == 0 {
            return Seen::Deep;
        }
        let count = object.ty(&*store).expect(ROOTED).fields().len();
        let fields = (0..count).map(|i| {
            let field = object.field(&mut *store, i).expect("it has this field");
            look(store, &field, depth - 1)
        });
        return Seen::Struct(fields.collect());
    }
    if let Some(array) = value.as_array(&*store).expect(ROOTED) {
        if depth == 0 {
            return Seen::Deep;
        }
        let length = array.len(&*store).expect(ROOTED);
        let elements = (0..length.min(LENGTH as u32)).map(|i| {
            let element = array.get(&mut *store, i).expect("it has this element");
            look(store, &element, depth - 1)
        });
        return Seen::Array(length.into(), elements.collect());
    }
    let value = ExternRef::convert_any(&mut *store, value).expect("there is room");
    Seen::Host(number(store, &value).expect("what else could it be"))
}

fn look_exception<C: AsContextMut<Data = Host>>(store: &mut C, exception: Rooted<ExnRef>, depth: u32) -> Seen {
    if depth == 0 {
        return Seen::Deep;
    }
    let count = exception.ty(&*store).expect("it is rooted").fields().len();
    let values = (0..count).map(|i| {
        let value = exception.field(&mut *store, i).expect("it has this field");
        look(store, &value, depth - 1)
    });
    Seen::Exception(values.collect())
}

fn failure(store: &mut Store<Host>, error: &Error) -> Failure {
    if error.is::<ThrownException>() {
        let exception = store.take_pending_exception().expect("one was thrown");
        return Failure::Uncaught(Box::new(look_exception(store, exception, DEPTH)));
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::UnreachableCodeReached) => Failure::Unreachable,
        Some(Trap::MemoryOutOfBounds) => Failure::MemoryOutOfBounds,
        Some(Trap::TableOutOfBounds) => Failure::TableOutOfBounds,
        Some(Trap::ArrayOutOfBounds) => Failure::ArrayOutOfBounds,
        Some(Trap::IndirectCallToNull) => Failure::NullElement,
        Some(Trap::BadSignature) => Failure::BadSignature,
        Some(Trap::NullReference) => Failure::NullReference,
        Some(Trap::CastFailure) => Failure::CastFailure,
        Some(Trap::IntegerDivisionByZero) => Failure::DivisionByZero,
        Some(Trap::IntegerOverflow) => Failure::IntegerOverflow,
        Some(Trap::BadConversionToInteger) => Failure::BadConversion,
        Some(Trap::HeapMisaligned) => Failure::Unaligned,
        Some(trap @ (Trap::AllocationTooLarge | Trap::StackOverflow)) => Failure::Resources(trap.to_string()),
        Some(trap) => Failure::Other(trap.to_string()),
        None if error.is::<wasmtime::GcHeapOutOfMemory<()>>() => Failure::Resources(error.to_string()),
        None => Failure::Other(format!("{error:?}")),
    }
}
