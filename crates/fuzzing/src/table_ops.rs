//! Tables, globals, structs, arrays and host values under every collector, against the model.
//!
//! What must hold:
//! 1. what the program shows the host is what the model says, at each point, to a depth of a few references;
//! 2. a host value reachable from a global or a table has not been dropped when a collection begins;
//! 3. once the program's roots are gone, two collections free what the collector claims to free: everything, or everything that
//!    is not behind a cycle;
//! 4. when the store is gone, each host value has been dropped exactly once, and so has what the host functions closed over,
//!    among it a handle of the store's own;
//! 5. all of this is the same under every collector.

use crate::finding::check_input;
use crate::pool::{Engines, Level, is_variant};
use crate::program::{Expected, Model, Program, SNAPSHOT_DEPTH, Snapshot};
use arbitrary::{Arbitrary, Unstructured};
use engine::types::{FuncType, RefType, ValType};
use engine::{AnyRef, Caller, Engine, ExternRef, Func, Linker, Module, Rooted, Store, Val};
use gc_api::{CollectionKind, Outcome, Reclaims};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// Runs the program that `input` stands for under each collector, but only one of those with options, and checks what it does.
///
/// # Panics
/// When anything does not hold that must: the message has the program as text, and a command that runs it again.
pub fn table_ops(input: &[u8], engines: &Engines) {
    let program = Program::arbitrary(&mut Unstructured::new(input)).expect("any bytes make a program");
    let model = program.model();
    let text = program.text();
    let binary = wat::parse_str(&text).expect("the program is well-formed");
    let level = if program.optimised() { Level::Optimised } else { Level::Plain };
    let engines = engines.get(level);
    let (variants, plain): (Vec<_>, Vec<_>) = engines.iter().partition(|((spec, _), _)| is_variant(spec));
    let variant = variants.get(text.len() % variants.len().max(1));
    for ((spec, gc), engine) in plain.iter().chain(variant) {
        let under = format!("`{spec}` ({level:?})");
        let program = || format!(";; table_ops.wat\n{text}");
        check_input("table_ops", input, &under, program, || run(&binary, &model, engine, gc.info().reclaims));
    }
}

/// How often each host value was dropped.
#[derive(Default)]
struct Drops(Mutex<Vec<u32>>);

impl Drops {
    fn of(&self, host: usize) -> u32 {
        self.0.lock().expect("no panic while locked")[host]
    }
}

/// A host value: knows its number and counts its drop.
struct Counted {
    number: usize,
    drops: Arc<Drops>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.drops.0.lock().expect("no panic while locked")[self.number] += 1;
    }
}

/// What the host functions share.
struct Host {
    drops: Arc<Drops>,
    expected: std::vec::IntoIter<Expected>,
}

fn run(binary: &[u8], model: &Model, engine: &Engine, reclaims: Reclaims) {
    let drops = Arc::new(Drops::default());
    // Stands for anything that a host function closes over.
    let closed_over = Arc::new(AtomicUsize::new(0));
    let host = Host { drops: drops.clone(), expected: model.expected.clone().into_iter() };
    let mut store = Store::new(engine, host).expect("a store can be made");
    let module = Module::from_binary(engine, binary).expect("the program is valid");
    let mut linker = Linker::new(engine);
    imports(&mut store, &mut linker, &closed_over);
    let instance = linker.instantiate(&mut store, &module).expect("the program can be instantiated");
    instance.get_func(&mut store, "run").expect("exported").call(&mut store, &[]).expect("the program ends well");
    assert_eq!(store.data_mut().expected.next(), None, "the program showed less than the model");

    instance.get_func(&mut store, "clear").expect("exported").call(&mut store, &[]).expect("clearing ends well");
    // The second collection finds what was on the stack at the first.
    let collected = [store.gc(CollectionKind::Cycle), store.gc(CollectionKind::Cycle)];
    let kept = match reclaims {
        Reclaims::Nothing => None,
        Reclaims::Acyclic => Some(model.hosts_behind_cycles()),
        Reclaims::Everything => Some(Vec::new()),
    };
    if let Some(kept) = kept {
        assert_eq!(collected, [Outcome::Complete; 2]);
        for host in (0..model.hosts).filter(|host| !kept.contains(host)) {
            assert_eq!(drops.of(host), 1, "drops of host value {host}, which nothing refers to any more");
        }
    }
    store.heap().check().expect("the collector's invariants hold");
    let usage = store.heap().usage();
    assert_eq!(usage.live + usage.free + usage.waste, usage.committed, "{usage:?}");

    drop((linker, store));
    for host in 0..model.hosts {
        assert_eq!(drops.of(host), 1, "drops of host value {host} after the store's end");
    }
    assert_eq!(Arc::strong_count(&closed_over), 1, "a host function outlived its store");
}

fn imports(store: &mut Store<Host>, linker: &mut Linker<Host>, closed_over: &Arc<AtomicUsize>) {
    let externref = ValType::Ref(RefType::EXTERNREF);
    let anyref = ValType::Ref(RefType::ANYREF);
    // A handle that a host function of the same store owns: neither may keep the other alive.
    let own = Arc::new(Mutex::new(None));
    *own.lock().expect("fresh") = Some(ExternRef::new(&mut *store, "the store's own").expect("there is room"));

    let counter = closed_over.clone();
    let make =
        Func::new(&mut *store, FuncType::new([], [externref]), move |mut caller: Caller<'_, Host>, _, results| {
            counter.fetch_add(1, Relaxed);
            assert!(own.lock().expect("no panic while locked").is_some());
            let drops = caller.data().drops.clone();
            let number = {
                let mut counts = drops.0.lock().expect("no panic while locked");
                counts.push(0);
                counts.len() - 1
            };
            results[0] = Val::ExternRef(Some(ExternRef::new(&mut caller, Counted { number, drops })?));
            Ok(())
        });
    let item = make.expect("the type is known");
    linker.define(&*store, "host", "make", item).expect("the name is new");

    let gc = Func::new(&mut *store, FuncType::new([], []), |mut caller: Caller<'_, Host>, _, _| {
        let Some(Expected::Gc { alive }) = caller.data_mut().expected.next() else {
            panic!("the program collects where the model does not");
        };
        for host in &alive {
            assert_eq!(caller.data().drops.of(*host), 0, "drops of host value {host}, which is reachable");
        }
        caller.gc(CollectionKind::Major);
        for host in alive {
            assert_eq!(caller.data().drops.of(host), 0, "drops of host value {host} by a collection that can reach it");
        }
        Ok(())
    });
    let item = gc.expect("the type is known");
    linker.define(&*store, "host", "gc", item).expect("the name is new");

    let swap_type = FuncType::new([externref, externref], [externref, externref]);
    let swap = Func::new(&mut *store, swap_type, |_: Caller<'_, Host>, args, results| {
        results[0] = args[1].clone();
        results[1] = args[0].clone();
        Ok(())
    });
    let item = swap.expect("the type is known");
    linker.define(&*store, "host", "swap", item).expect("the name is new");

    let see = Func::new(&mut *store, FuncType::new([anyref], []), |mut caller: Caller<'_, Host>, args, _| {
        let Val::AnyRef(seen) = &args[0] else { panic!("an anyref is shown, not {:?}", args[0]) };
        let seen = look(&mut caller, seen.as_ref(), SNAPSHOT_DEPTH);
        assert_eq!(
            Some(Expected::See(seen)),
            caller.data_mut().expected.next(),
            "what the program shows, and the model"
        );
        Ok(())
    });
    let item = see.expect("the type is known");
    linker.define(&*store, "host", "see_any", item).expect("the name is new");
}

/// A value as the host sees it.
fn look(store: &mut Caller<'_, Host>, value: Option<&Rooted<AnyRef>>, depth: u32) -> Snapshot {
    let Some(value) = value else { return Snapshot::Null };
    if let Some(bits) = value.i31(&*store) {
        // Sign-extended from 31 bits, as `i31.get_s` does.
        return Snapshot::I31((bits << 1) as i32 >> 1);
    }
    if let Some(data) = value.to_extern().data(&*store) {
        return Snapshot::Host(data.downcast_ref::<Counted>().expect("host values are counted").number);
    }
    if depth == 0 {
        return Snapshot::Deep;
    }
    if let Some(node) = value.as_struct(&*store) {
        let engine = store.engine().clone();
        let count = engine.registry().struct_type(node.ty(&*store)).fields.len();
        let fields: Vec<Val> = (0..count).map(|i| node.field(&mut *store, i).expect("it has this field")).collect();
        let Val::I32(number) = fields[0] else { panic!("a node begins with its number, not {:?}", fields[0]) };
        let edges = fields[1..4].iter().map(|field| look_val(&mut *store, field, depth - 1)).collect();
        return Snapshot::Node(number, fields.len() == 5, edges);
    }
    let array = value.as_array(&*store).expect("what else could it be");
    let elements = (0..array.len(&*store)).map(|i| array.get_element(&mut *store, i).expect("it has this element"));
    let elements: Vec<Val> = elements.collect();
    Snapshot::Array(elements.iter().map(|element| look_val(&mut *store, element, depth - 1)).collect())
}

fn look_val(store: &mut Caller<'_, Host>, value: &Val, depth: u32) -> Snapshot {
    match value {
        Val::AnyRef(value) => look(store, value.as_ref(), depth),
        Val::ExternRef(value) => {
            let value = value.as_ref().map(|value| value.to_any());
            look(store, value.as_ref(), depth)
        }
        other => panic!("a node or array holds {other:?}"),
    }
}
