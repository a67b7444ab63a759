//! Gleaner's side, under every collector.

use crate::plan::{Arg, Plan};
use crate::seen::{Called, DEPTH, Failure, LENGTH, Seen, Story, first_bytes};
use crate::smith::PROVIDER;
use engine::types::{FuncType, RefType, ValType};
use engine::{
    AnyRef, AsContextMut, Caller, Config, Engine, Error, ErrorKind, Extern, ExternRef, Func, Linker, Module, OptLevel,
    Rooted, Store, Trap, Val,
};
use gleaner::collectors::COLLECTORS;
use std::cell::RefCell;

/// Bytes of heap.
const HEAP: u64 = 64 << 20;
/// An engine keeps the types of every module that it ever saw, so it is made anew after this many.
const MODULES: u32 = 2_000;

/// What the functions of the host work on.
#[derive(Default)]
struct Host {
    calls: Vec<Vec<Seen>>,
    made: u64,
    /// In the order in which they were first seen.
    funcs: Vec<Func>,
}

/// A value of the host's.
struct Numbered(u64);

/// The story under each collector, with the collector's name and the level of optimisation.
pub fn run(binary: &[u8], plan: &Plan, seed: u64) -> Vec<(String, Story)> {
    let level = if seed & 1 == 0 { OptLevel::None } else { OptLevel::Speed };
    let one =
        |(name, engine): (&'static str, Engine)| (format!("gleaner {name} ({level:?})"), story(&engine, binary, plan));
    engines(level).into_iter().map(one).collect()
}

fn engines(level: OptLevel) -> Vec<(&'static str, Engine)> {
    type Pool = Option<(u32, Vec<(&'static str, Engine)>)>;
    thread_local!(static POOLS: RefCell<[Pool; 2]> = const { RefCell::new([None, None]) });
    POOLS.with_borrow_mut(|pools| {
        let pool = &mut pools[(level == OptLevel::Speed) as usize];
        if pool.as_ref().is_none_or(|(modules, _)| *modules >= MODULES) {
            let engines = COLLECTORS.iter().map(|collector| {
                let gc = collector.with(&Default::default()).expect("the default options are good");
                let config = Config::new(gc).heap_limit(HEAP).opt_level(level).parallel(false);
                (collector.info.name, Engine::with_config(config).expect("an engine can be made"))
            });
            *pool = Some((0, engines.collect()));
        }
        let (modules, engines) = pool.as_mut().expect("just made");
        *modules += 1;
        engines.clone()
    })
}

fn story(engine: &Engine, binary: &[u8], plan: &Plan) -> Story {
    let mut story = Story::default();
    let mut store = Store::new(engine, Host::default()).expect("a store can be made");
    let module = match Module::from_binary(engine, binary) {
        Ok(module) => module,
        Err(error) => {
            story.stillborn = Some(Failure::Other(format!("compilation: {error}")));
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
        let outcome = match func.call(&mut store, &args) {
            Ok(results) => Ok(results.iter().map(|result| look(&mut store, result, DEPTH)).collect()),
            Err(error) => Err(failure(&mut store, &error)),
        };
        story.calls.push(Called { name: name.clone(), outcome });
        if story.is_inconclusive() {
            return story;
        }
    }
    for (name, item) in instance.exports(&mut store) {
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
                    let entry = table.get(&mut store, i).expect("in bounds");
                    look(&mut store, &entry, DEPTH)
                });
                let entries = entries.collect();
                story.tables.push((name, length, entries));
            }
            // There are no shared memories in these modules.
            Extern::Func(_) | Extern::Tag(_) | Extern::SharedMemory(_) => {}
        }
    }
    story.host = std::mem::take(&mut store.data_mut().calls);
    // What was done to the heap left it in order.
    store.gc(engine::CollectionKind::Major);
    store.heap().check().expect("the collector's invariants hold");
    story
}

fn val(store: &mut Store<Host>, arg: &Arg, instance: &engine::Instance) -> Val {
    match arg {
        Arg::I32(value) => Val::I32(*value),
        Arg::I64(value) => Val::I64(*value),
        Arg::F32(bits) => Val::F32(*bits),
        Arg::F64(bits) => Val::F64(*bits),
        Arg::V128(bits) => Val::V128(*bits),
        Arg::NullAny => Val::AnyRef(None),
        Arg::NullExtern => Val::ExternRef(None),
        Arg::NullFunc => Val::FuncRef(None),
        Arg::NullExn => Val::ExnRef(None),
        Arg::I31(value) => Val::AnyRef(Some(AnyRef::from_i31(store, *value as u32 & 0x7fff_ffff))),
        Arg::Host(number) => Val::ExternRef(Some(ExternRef::new(store, Numbered(*number)).expect("there is room"))),
        Arg::Func(name) => Val::FuncRef(Some(instance.get_func(store, name).expect("the plan is of this module"))),
    }
}

fn define(store: &mut Store<Host>, linker: &mut Linker<Host>) {
    use ValType::{F32, F64, I32, I64};
    let anyref = ValType::Ref(RefType::ANYREF);
    let externref = ValType::Ref(RefType::EXTERNREF);
    for (name, params) in [("log", vec![I32, I64, F32, F64]), ("see", vec![anyref]), ("see_extern", vec![externref])] {
        let ty = FuncType::new(params, []);
        let log = Func::new(&mut *store, ty, |mut caller: Caller<'_, Host>, args, _| {
            let seen = args.iter().map(|arg| look(&mut caller, arg, DEPTH)).collect();
            caller.data_mut().calls.push(seen);
            Ok(())
        });
        linker.define(&*store, "host", name, log.expect("the type is known")).expect("the name is new");
    }
    let ty = FuncType::new([], [externref]);
    let make = Func::new(&mut *store, ty, |mut caller: Caller<'_, Host>, _, results| {
        caller.data_mut().made += 1;
        let number = 1_000 + caller.data().made;
        results[0] = Val::ExternRef(Some(ExternRef::new(&mut caller, Numbered(number))?));
        Ok(())
    });
    linker.define(&*store, "host", "make", make.expect("the type is known")).expect("the name is new");
    let ty = FuncType::new([I32], [anyref]);
    let small = Func::new(&mut *store, ty, |mut caller: Caller<'_, Host>, args, results| {
        let Val::I32(value) = args[0] else { panic!("an i32 was declared") };
        results[0] = Val::AnyRef(Some(AnyRef::from_i31(&mut caller, value as u32 & 0x7fff_ffff)));
        Ok(())
    });
    linker.define(&*store, "host", "small", small.expect("the type is known")).expect("the name is new");
    let ty = FuncType::new([anyref, externref], [externref, anyref]);
    let swap = Func::new(&mut *store, ty, |_: Caller<'_, Host>, args, results| {
        results[0] = args[1].clone();
        results[1] = args[0].clone();
        Ok(())
    });
    linker.define(&*store, "host", "swap", swap.expect("the type is known")).expect("the name is new");

    let provider = Module::new(store.engine(), PROVIDER).expect("the text is well-formed");
    let provider = linker.instantiate(&mut *store, &provider).expect("it imports nothing");
    linker.instance(&mut *store, "host", provider).expect("the names are new");
}

/// A value as it is seen.
fn look<C: AsContextMut<Data = Host>>(store: &mut C, value: &Val, depth: u32) -> Seen {
    match value {
        Val::I32(value) => Seen::I32(*value),
        Val::I64(value) => Seen::I64(*value),
        Val::F32(bits) => Seen::F32(*bits),
        Val::F64(bits) => Seen::F64(*bits),
        Val::V128(bits) => Seen::V128(*bits),
        Val::AnyRef(None) | Val::ExternRef(None) | Val::FuncRef(None) | Val::ExnRef(None) => Seen::Null,
        Val::FuncRef(Some(func)) => {
            let mut store = store.as_context_mut();
            let known = &mut store.data_mut().funcs;
            let at = known.iter().position(|other| other == func);
            Seen::Func(at.unwrap_or_else(|| {
                known.push(*func);
                known.len() - 1
            }))
        }
        Val::AnyRef(Some(value)) => look_any(store, value, depth),
        Val::ExternRef(Some(value)) => look_any(store, &value.to_any(), depth),
        Val::ExnRef(Some(_)) if depth == 0 => Seen::Deep,
        Val::ExnRef(Some(exception)) => {
            let values = exception.values(&mut *store);
            Seen::Exception(values.iter().map(|value| look(store, value, depth - 1)).collect())
        }
    }
}

fn look_any<C: AsContextMut<Data = Host>>(store: &mut C, value: &Rooted<AnyRef>, depth: u32) -> Seen {
    if let Some(bits) = value.i31(&*store) {
        return Seen::I31((bits << 1) as i32 >> 1);
    }
    if let Some(data) = value.to_extern().data(&*store) {
        return Seen::Host(data.downcast_ref::<Numbered>().expect("host values are numbered").0);
    }
    if depth == 0 {
        return Seen::Deep;
    }
    if let Some(object) = value.as_struct(&*store) {
        let context = store.as_context();
        let count = context.engine().registry().struct_type(object.ty(context)).fields.len();
        let fields = (0..count).map(|i| {
            let field = object.field(&mut *store, i).expect("it has this field");
            look(store, &field, depth - 1)
        });
        return Seen::Struct(fields.collect());
    }
    let array = value.as_array(&*store).expect("what else could it be");
    let length = array.len(&*store);
    let elements = (0..length.min(LENGTH as u32)).map(|i| {
        let element = array.get_element(&mut *store, i).expect("it has this element");
        look(store, &element, depth - 1)
    });
    Seen::Array(length.into(), elements.collect())
}

fn failure(store: &mut Store<Host>, error: &Error) -> Failure {
    match error.kind() {
        ErrorKind::Trap(trap) => match trap {
            Trap::Unreachable => Failure::Unreachable,
            Trap::MemoryOutOfBounds => Failure::MemoryOutOfBounds,
            Trap::TableOutOfBounds | Trap::UndefinedElement => Failure::TableOutOfBounds,
            Trap::ArrayOutOfBounds => Failure::ArrayOutOfBounds,
            Trap::UninitializedElement => Failure::NullElement,
            Trap::BadSignature => Failure::BadSignature,
            Trap::NullReference => Failure::NullReference,
            Trap::CastFailure => Failure::CastFailure,
            Trap::IntegerDivideByZero => Failure::DivisionByZero,
            Trap::IntegerOverflow => Failure::IntegerOverflow,
            Trap::BadConversionToInteger => Failure::BadConversion,
            Trap::AllocationTooLarge | Trap::HeapExhausted { .. } | Trap::StackOverflow => {
                Failure::Resources(trap.to_string())
            }
            other => Failure::Other(other.to_string()),
        },
        ErrorKind::Exception(exception) => {
            let exception = look(store, &Val::ExnRef(Some(exception.clone())), DEPTH);
            Failure::Uncaught(Box::new(exception))
        }
        ErrorKind::System(message) => Failure::Resources(message.clone()),
        _ => Failure::Other(error.to_string()),
    }
}
