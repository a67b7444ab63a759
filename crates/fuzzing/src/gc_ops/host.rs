//! The host of the programs: host values that count their drops, functions that make, hold and look at objects, and collect.

use super::kit::{code, mix};
use super::model::{Expected, PLACES};
use super::shapes::SHAPES;
use engine::types::{FuncType, HeapType, RefType, TypeIndex, ValType};
use engine::{
    AnyRef, ArrayRef, AsContextMut, Caller, Error, ExnRef, ExternRef, Func, Instance, Linker, Module, Rooted,
    StructRef, Tag, Val,
};
use gc_api::CollectionKind;
use std::sync::{Arc, Mutex, PoisonError};

/// How often each host value was dropped.
#[derive(Default)]
pub struct Drops(Mutex<Vec<u32>>);

impl Drops {
    fn with<R>(&self, f: impl FnOnce(&mut Vec<u32>) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Of the host value with this number.
    pub fn of(&self, host: usize) -> u32 {
        self.with(|counts| counts[host])
    }

    /// Number of host values made.
    pub fn made(&self) -> usize {
        self.with(|counts| counts.len())
    }
}

/// A host value: knows its number and counts its drop.
struct Counted {
    number: usize,
    drops: Arc<Drops>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.drops.with(|counts| counts[self.number] += 1);
    }
}

/// What the host's functions share.
pub struct Host {
    pub drops: Arc<Drops>,
    pub expected: std::vec::IntoIter<Expected>,
    pub held: [Option<Rooted<AnyRef>>; 4],
    /// The types of [`SHAPES`].
    types: Arc<[TypeIndex]>,
    kit: Option<(Func, Tag)>,
}

impl Host {
    pub fn new(expected: Vec<Expected>, types: Arc<[TypeIndex]>) -> Host {
        let held = [const { None }; 4];
        Host { drops: Arc::default(), expected: expected.into_iter(), held, types, kit: None }
    }

    fn expect(&mut self, seen: Expected) -> Result<(), Error> {
        match self.expected.next() {
            Some(expected) if expected == seen => Ok(()),
            expected => Err(Error::host(format!("the program shows {seen:?}, and the model has {expected:?}"))),
        }
    }
}

/// The types of [`SHAPES`], of a kit's engine.
pub fn types(kit: &Module) -> Arc<[TypeIndex]> {
    let of = |name: &str| {
        let ty = kit.export(name).expect("the kit exports a function for each type");
        match ty.func(kit.engine()).expect("a function").results[0] {
            ValType::Ref(RefType { heap: HeapType::ConcreteStruct(ty) | HeapType::ConcreteArray(ty), .. }) => ty,
            other => panic!("a function of the kit's gives {other}"),
        }
    };
    SHAPES.iter().map(|shape| of(shape.name)).collect()
}

/// Tells the host's functions what they need of the kit.
pub fn know(mut store: impl AsContextMut<Data = Host>, kit: &Instance) -> Result<(), Error> {
    let (list, tag) = (kit.get_func(&mut store, "f3")?, kit.get_tag(&mut store, "t0")?);
    store.as_context_mut().data_mut().kit = Some((list, tag));
    Ok(())
}

const ANY: ValType = ValType::Ref(RefType::ANYREF);
const EXTERN: ValType = ValType::Ref(RefType::EXTERNREF);

/// Defines the host's functions.
pub fn define(linker: &mut Linker<Host>) -> Result<(), Error> {
    linker.func_new("host", "gc", FuncType::new([ValType::I32], []), |mut caller, args, _| {
        let kinds = [CollectionKind::Major, CollectionKind::Cycle, CollectionKind::Minor];
        collect(&mut caller, kinds[args[0].i32().unwrap_or_default() as usize % 3])
    })?;
    linker.func_new("host", "make", FuncType::new([], [EXTERN]), |mut caller, _, results| {
        let drops = caller.data().drops.clone();
        let number = drops.with(|counts| {
            counts.push(0);
            counts.len() - 1
        });
        results[0] = Val::ExternRef(Some(ExternRef::new(&mut caller, Counted { number, drops })?));
        Ok(())
    })?;
    linker.func_new("host", "number", FuncType::new([EXTERN], [ValType::I32]), |caller, args, results| {
        let Val::ExternRef(Some(host)) = &args[0] else { return Err(Error::host("no host value is given")) };
        results[0] = Val::I32(number(&caller, host)? as i32);
        Ok(())
    })?;
    linker.func_new("host", "check", FuncType::new([ValType::I64], []), |mut caller, args, _| {
        let n = args[0].i64().unwrap_or_default() as u64;
        caller.data_mut().expect(Expected::Check(n))
    })?;
    linker.func_new("host", "see", FuncType::new([ANY], []), |mut caller, args, _| {
        let hash = look(&mut caller, &args[0])?;
        caller.data_mut().expect(Expected::See(hash))
    })?;
    linker.func_new("host", "hold", FuncType::new([ValType::I32, ANY], []), |mut caller, args, _| {
        let Val::AnyRef(value) = &args[1] else { return Err(Error::host("no `anyref` is given")) };
        let slot = args[0].i32().unwrap_or_default() as usize;
        match caller.data_mut().held.get_mut(slot) {
            Some(held) => *held = value.clone(),
            None => return Err(Error::host(NO_SUCH_SLOT)),
        }
        Ok(())
    })?;
    linker.func_new("host", "held", FuncType::new([ValType::I32], [ANY]), |caller, args, results| {
        let slot = args[0].i32().unwrap_or_default() as usize;
        results[0] = Val::AnyRef(caller.data().held[slot].clone());
        Ok(())
    })?;
    for f in super::kit::HOST_FUNCS..super::kit::FUNCS {
        let ty = FuncType::new([ANY, EXTERN, ValType::I32], [ANY, EXTERN]);
        linker.func_new("host", &format!("f{f}"), ty, move |mut caller, args, results| {
            results.clone_from_slice(&call(&mut caller, f, args)?);
            Ok(())
        })?;
    }
    Ok(())
}

/// The error by which a program can end.
pub const NO_SUCH_SLOT: &str = "the host has no such slot";

/// A function of the kit's that is the host's: see [`Model::call`](super::model::Model::call).
fn call(caller: &mut Caller<'_, Host>, f: usize, args: &[Val]) -> Result<[Val; 2], Error> {
    let [a, e, Val::I32(n)] = args else { return Err(Error::host("the arguments have other types")) };
    if *n < 0 {
        let own = AnyRef::from_i31(&mut *caller, f as u32);
        return Ok([Val::AnyRef(Some(own)), Val::ExternRef(None)]);
    }
    let Some((list, tag)) = caller.data().kit else { return Err(Error::host("the kit is not known")) };
    let number = Val::AnyRef(Some(AnyRef::from_i31(&mut *caller, *n as u32)));
    let inner = match e {
        Val::ExternRef(e) => Val::AnyRef(e.as_ref().map(|e| e.to_any())),
        _ => return Err(Error::host("no `externref` is given")),
    };
    let made = |any| Ok([Val::AnyRef(Some(any)), e.clone()]);
    match f {
        11 => {
            let pair = caller.data().types[super::shapes::PAIR];
            made(StructRef::new(&mut *caller, pair, &[a.clone(), number])?.to_any())
        }
        12 => Err(Error::exception(ExnRef::new(&mut *caller, tag, &[a.clone(), e.clone()])?)),
        13 => {
            let results = list.call(&mut *caller, args)?;
            collect(caller, CollectionKind::Major)?;
            results.try_into().map_err(|_| Error::host("another number of results"))
        }
        14 => {
            let refs = caller.data().types[super::shapes::REFS];
            let array = ArrayRef::from_elements(&mut *caller, refs, &[a.clone(), inner, Val::AnyRef(None)])?;
            array.set_element(&mut *caller, 2, &number)?;
            made(array.to_any())
        }
        _ => {
            if let Val::AnyRef(Some(any)) = a
                && let Some(object) = any.as_struct(&*caller)
                && caller.data().types[..3].contains(&object.ty(&*caller))
            {
                object.set_field(&mut *caller, 1, &inner)?;
            }
            Ok([a.clone(), e.clone()])
        }
    }
}

fn collect(caller: &mut Caller<'_, Host>, kind: CollectionKind) -> Result<(), Error> {
    let Some(Expected::Gc { alive }) = caller.data_mut().expected.next() else {
        return Err(Error::host("the program collects where the model does not"));
    };
    let drops = caller.data().drops.clone();
    let dead = |when: &str| match alive.iter().find(|host| drops.of(**host) > 0) {
        Some(host) => Err(Error::host(format!("host value {host} can be reached, and was dropped {when}"))),
        None => Ok(()),
    };
    dead("before a collection")?;
    caller.gc(kind);
    dead("by a collection")
}

/// The number of a host value.
fn number(caller: &Caller<'_, Host>, host: &Rooted<ExternRef>) -> Result<usize, Error> {
    let data = host.data(caller).and_then(|data| data.downcast_ref::<Counted>());
    let Some(counted) = data else { return Err(Error::host("a reference leads to no host value of the program's")) };
    match counted.drops.of(counted.number) {
        0 => Ok(counted.number),
        _ => Err(Error::host(format!("host value {} is used, and has been dropped", counted.number))),
    }
}

/// The hash that the kit's walk gives, by way of the host's interface.
fn look(caller: &mut Caller<'_, Host>, from: &Val) -> Result<u64, Error> {
    let mut look = Look { met: Vec::new(), hash: 0 };
    look.see(caller, from)?;
    let mut next = 0;
    while let Some(object) = look.met.get(next).cloned() {
        next += 1;
        let (ty, values) = if let Some(object) = object.as_struct(&*caller) {
            let ty = object.ty(&*caller);
            let fields = caller.engine().registry().struct_type(ty).fields.len();
            let values: Result<Vec<Val>, Error> = (0..fields).map(|i| object.field(&mut *caller, i)).collect();
            (ty, values?)
        } else if let Some(array) = object.as_array(&*caller) {
            let len = array.len(&*caller);
            let values: Result<Vec<Val>, Error> = (0..len).map(|i| array.get_element(&mut *caller, i)).collect();
            (array.ty(&*caller), values?)
        } else {
            return Err(Error::host("an object is neither a struct nor an array"));
        };
        let Some(shape) = caller.data().types.iter().position(|known| *known == ty) else {
            return Err(Error::host("an object has none of the program's types"));
        };
        look.mix(code::SHAPE | (shape as u64) << 8);
        if SHAPES[shape].element().is_some() {
            look.mix(values.len() as u64);
        }
        values.iter().try_for_each(|value| look.see(caller, value))?;
    }
    Ok(look.hash)
}

struct Look {
    met: Vec<Rooted<AnyRef>>,
    hash: u64,
}

impl Look {
    fn mix(&mut self, with: u64) {
        self.hash = mix(self.hash, with);
    }

    fn see(&mut self, caller: &mut Caller<'_, Host>, value: &Val) -> Result<(), Error> {
        match value {
            Val::AnyRef(None) | Val::ExternRef(None) | Val::FuncRef(None) | Val::ExnRef(None) => self.mix(code::NULL),
            Val::AnyRef(Some(any)) => self.see_any(caller, any)?,
            Val::ExternRef(Some(host)) => self.see_any(caller, &host.to_any())?,
            Val::FuncRef(Some(func)) => {
                let own = match func.ty(&*caller).params.len() {
                    1 => func.call(&mut *caller, &[Val::I32(0)])?[0].i32().map(|own| own as u32),
                    _ => {
                        let asked = [Val::AnyRef(None), Val::ExternRef(None), Val::I32(-1)];
                        match &func.call(&mut *caller, &asked)?[0] {
                            Val::AnyRef(Some(own)) => own.i31(&*caller),
                            _ => None,
                        }
                    }
                };
                let Some(own) = own else { return Err(Error::host("a function does not give its number")) };
                self.mix(code::FUNC | (own as u64) << 8);
            }
            Val::ExnRef(Some(exception)) => {
                let values = exception.values(&mut *caller);
                self.mix(code::EXN[matches!(values[0], Val::I64(_)) as usize]);
                values.iter().try_for_each(|value| self.see(caller, value))?;
            }
            Val::I32(n) => self.mix(*n as u32 as u64),
            Val::I64(n) => self.mix(*n as u64),
            Val::F32(bits) => self.mix(*bits as u64),
            Val::F64(bits) => self.mix(*bits),
            Val::V128(bits) => self.mix((bits >> 64) as u64),
        }
        Ok(())
    }

    fn see_any(&mut self, caller: &mut Caller<'_, Host>, any: &Rooted<AnyRef>) -> Result<(), Error> {
        if let Some(bits) = any.i31(&*caller) {
            // Sign-extended from 31 bits, as `i31.get_s` does.
            let n = (bits << 1) as i32 >> 1;
            self.mix(code::I31 | (n as u32 as u64) << 8);
        } else if any.as_eq(&*caller).is_none() {
            let number = number(caller, &any.to_extern())?;
            self.mix(code::HOST | (number as u64) << 8);
        } else if let Some(place) = self.met.iter().position(|met| met.ref_eq(&*caller, any)) {
            self.mix(code::OBJECT | (place as u64) << 8);
        } else if self.met.len() < PLACES {
            self.mix(code::OBJECT | (self.met.len() as u64) << 8);
            self.met.push(any.clone());
        } else {
            self.mix(code::FAR);
        }
        Ok(())
    }
}
