//! What ends with a store: everything that it holds, once, whoever closes over what.

use super::*;

const HOLDER: &str = r#"(module
    (import "host" "f" (func $f (result i32)))
    (global (export "g") (mut externref) (ref.null extern))
    (table (export "t") 2 externref)
    (func (export "run") (result i32) (call $f)))"#;

/// How often what it gives out is dropped, and that it is dropped once.
#[derive(Default)]
struct Drops(Vec<Arc<AtomicUsize>>);

impl Drops {
    fn counted(&mut self) -> Dropped {
        self.0.push(Arc::default());
        Dropped(self.0.last().unwrap().clone())
    }

    #[track_caller]
    fn none(&self) {
        assert!(self.0.iter().all(|dropped| dropped.load(SeqCst) == 0), "dropped while it is in use");
    }

    #[track_caller]
    fn all(&self) {
        let counts: Vec<usize> = self.0.iter().map(|dropped| dropped.load(SeqCst)).collect();
        assert!(counts.iter().all(|count| *count == 1), "{counts:?}");
    }
}

/// The host's data: handles of the store that holds it, and what counts.
#[derive(Default)]
struct Data {
    funcs: Vec<Func>,
    roots: Vec<Rooted<ExternRef>>,
    _counted: Option<Dropped>,
}

#[test]
fn a_store_takes_with_it_what_closes_over_its_handles() {
    for collector in &COLLECTORS {
        let engine = engine(collector);
        let module = Module::new(&engine, HOLDER).unwrap();
        let mut drops = Drops::default();
        let mut store = Store::new(&engine, Data { _counted: Some(drops.counted()), ..Data::default() }).unwrap();
        let value = ExternRef::new(&mut store, drops.counted()).unwrap();
        let counted = drops.counted();
        let (own_engine, own_module, own_value) = (engine.clone(), module.clone(), value.clone());
        let first = Func::wrap(&mut store, move || {
            let _ = (&counted, &own_engine, &own_module, &own_value);
            7
        })
        .unwrap();
        // Each closes over a function of the store's, the second over one that closes over the store's value.
        let counted = drops.counted();
        let ty = FuncType::new([], [ValType::I32]);
        let second = Func::new(&mut store, ty, move |caller, args, results| {
            let _ = &counted;
            first.call_into(caller, args, results)
        })
        .unwrap();
        let instance = Instance::new(&mut store, &module, &[second.into()]).unwrap();
        let counted = drops.counted();
        let third = Func::wrap(&mut store, move |mut caller: Caller<'_, Data>| -> Result<i32> {
            let _ = (&counted, instance);
            Ok(instance.get_func(&mut caller, "run")?.call(&mut caller, &[])?[0].i32().unwrap())
        })
        .unwrap();
        store.data_mut().funcs = vec![first, second, third];
        store.data_mut().roots.push(value);
        assert_eq!(third.call(&mut store, &[]).unwrap()[0].i32(), Some(7));
        drops.none();
        drop(store);
        drops.all();
        // Nothing of the store's is left in what it shared with others.
        drop((engine, module));
    }
}

#[test]
fn a_linkers_functions_live_as_long_as_the_linker_and_the_stores_that_use_them() {
    for collector in &COLLECTORS {
        let engine = engine(collector);
        let module = Module::new(&engine, HOLDER).unwrap();
        for linker_first in [true, false] {
            let (mut drops, mut unused) = (Drops::default(), Drops::default());
            let mut linker = Linker::<Data>::new(&engine);
            let (counted, inner) = (drops.counted(), linker.clone());
            linker
                .func_wrap("host", "f", move || {
                    let _ = (&counted, &inner);
                    7
                })
                .unwrap();
            let counted = unused.counted();
            linker
                .func_wrap("host", "unused", move || {
                    let _ = &counted;
                })
                .unwrap();
            let pre = linker.instantiate_pre(&mut Store::new(&engine, Data::default()).unwrap(), &module).unwrap();
            let mut stores = Vec::new();
            for _ in 0..2 {
                let mut store = Store::new(&engine, Data::default()).unwrap();
                for instance in [linker.instantiate(&mut store, &module), pre.instantiate(&mut store)] {
                    assert_eq!(call(&mut store, instance.unwrap(), "run", &[]).unwrap()[0].i32(), Some(7));
                }
                stores.push(store);
            }
            if linker_first {
                drop((linker, pre));
                unused.all();
                drops.none();
                drop(stores);
            } else {
                drop(stores);
                drops.none();
                drop((linker, pre));
            }
            drops.all();
            unused.all();
        }
    }
}

#[test]
fn values_callbacks_and_limiters_end_with_the_store() {
    for collector in &COLLECTORS {
        let config = Config::new(collector.with(&Default::default()).unwrap()).epoch_interruption(true);
        let engine = Engine::with_config(config).unwrap();
        let module = Module::new(&engine, HOLDER).unwrap();
        let mut drops = Drops::default();
        let mut store = Store::new(&engine, StoreLimits::default()).unwrap();
        store.set_epoch_deadline(1);
        let f = Func::wrap(&mut store, || 7).unwrap();
        let instance = Instance::new(&mut store, &module, &[f.into()]).unwrap();
        // One in a global, one in a table, one behind a handle, one that closes over a handle to itself, and one that is garbage.
        let values: Vec<Rooted<ExternRef>> =
            (0..3).map(|_| ExternRef::new(&mut store, drops.counted()).unwrap()).collect();
        instance.get_global(&mut store, "g").unwrap().set(&mut store, &values[0].clone().into()).unwrap();
        instance.get_table(&mut store, "t").unwrap().set(&mut store, 0, &values[1].clone().into()).unwrap();
        let itself = ExternRef::new(&mut store, (drops.counted(), None::<Rooted<ExternRef>>)).unwrap();
        let handle = itself.clone();
        let held = itself.data_mut(&mut store).unwrap().downcast_mut::<(Dropped, Option<Rooted<ExternRef>>)>();
        held.unwrap().1 = Some(handle);
        drop((itself, ExternRef::new(&mut store, drops.counted()).unwrap()));
        let (counted, kept, other) = (drops.counted(), values[2].clone(), engine.clone());
        store.epoch_deadline_callback(move |_| {
            let _ = (&counted, &kept, &other, &f);
            Ok(UpdateDeadline::Continue(1))
        });
        let counted = drops.counted();
        store.limiter(move |limits| {
            let _ = &counted;
            limits
        });
        drop(values);
        engine.increment_epoch();
        assert_eq!(call(&mut store, instance, "run", &[]).unwrap()[0].i32(), Some(7));
        // The next callback takes the place of the first, which ends at once.
        let replaced = drops.0[5].clone();
        assert_eq!(replaced.load(SeqCst), 0);
        let counted = drops.counted();
        store.epoch_deadline_callback(move |_| {
            let _ = &counted;
            Ok(UpdateDeadline::Continue(1))
        });
        assert_eq!(replaced.load(SeqCst), 1);
        assert_eq!(drops.0[0].load(SeqCst) + drops.0[1].load(SeqCst), 0);
        drop(store);
        drops.all();
    }
}

/// A store on another thread drops what it holds there.
#[test]
fn a_store_can_end_on_another_thread() {
    for collector in &COLLECTORS {
        let engine = engine(collector);
        let mut drops = Drops::default();
        let mut store = Store::new(&engine, Data::default()).unwrap();
        let counted = drops.counted();
        let func = Func::wrap(&mut store, move || {
            let _ = &counted;
        })
        .unwrap();
        let root = ExternRef::new(&mut store, drops.counted()).unwrap();
        store.data_mut().funcs.push(func);
        std::thread::spawn(move || drop(store)).join().unwrap();
        drops.all();
        drop(root);
    }
}
