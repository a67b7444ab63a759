//! Functions: called by the host, and made by it.

use super::engine::Way;
use super::store::StoreInner;
use super::{AnyRef, AsContext, AsContextMut, Caller, Engine, Error, ExternRef, Result, Rooted, V128, Val};
use crate::runtime::builtins::store_of;
use crate::runtime::store::{Pending, StoreOpaque};
use crate::types::{FuncType, TypeIndex, ValType};
use crate::vm::{VMContext, VMFuncRef, VMHostContext, ValRaw};
use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A function of a store's: an instance's or the host's.
///
/// ```
/// # fn main() -> engine::Result<()> {
/// use engine::{Engine, Func, Instance, Module, Store, Val};
/// let engine = Engine::new(gc_null::COLLECTOR.with(&Default::default()).unwrap())?;
/// let module = Module::new(&engine, r#"
///     (module
///       (import "host" "double" (func $double (param i32) (result i32)))
///       (func (export "quadruple") (param i32) (result i32)
///         (call $double (call $double (local.get 0)))))"#)?;
/// let mut store = Store::new(&engine, ())?;
/// let double = Func::wrap(&mut store, |x: i32| x * 2)?;
/// let instance = Instance::new(&mut store, &module, &[double.into()])?;
/// let quadruple = instance.get_func(&mut store, "quadruple")?;
/// assert_eq!(quadruple.call(&mut store, &[Val::I32(5)])?[0].i32(), Some(20));
/// let quadruple = quadruple.typed::<i32, i32>(&store)?;
/// assert_eq!(quadruple.call(&mut store, 6)?, 24);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Func {
    store: u64,
    id: u32,
}

/// What the trampolines call for a function of the host's: arguments in, results out, in place.
type HostCall<T> = dyn Fn(Caller<'_, T>, &mut [ValRaw]) -> Result<()> + Send + Sync;

/// A function of the host's that is in no store yet.
pub(crate) struct HostFunc<T: 'static> {
    engine: Engine,
    ty: TypeIndex,
    closure: Arc<HostClosure<T>>,
}

/// A closure, and how many values its type needs.
struct HostClosure<T: 'static> {
    call: Box<HostCall<T>>,
    capacity: usize,
}

impl<T: 'static> Clone for HostFunc<T> {
    fn clone(&self) -> Self {
        HostFunc { engine: self.engine.clone(), ty: self.ty, closure: self.closure.clone() }
    }
}

impl<T: 'static> HostFunc<T> {
    fn make(engine: &Engine, ty: FuncType, call: Box<HostCall<T>>) -> Result<Self> {
        let capacity = ty.params.len().max(ty.results.len());
        let ty = engine.registry().register_func(ty)?;
        Ok(HostFunc { engine: engine.clone(), ty, closure: Arc::new(HostClosure { call, capacity }) })
    }

    pub(crate) fn new(
        engine: &Engine,
        ty: FuncType,
        f: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<()> + Send + Sync + 'static,
    ) -> Result<Self> {
        let own = ty.clone();
        let call = move |mut caller: Caller<'_, T>, values: &mut [ValRaw]| {
            let store = caller.opaque();
            let args: Vals = own.params.iter().zip(&*values).map(|(ty, raw)| Val::from_raw(store, *raw, ty)).collect();
            let mut results: Vals =
                own.results.iter().map(|ty| Val::default_of(*ty).unwrap_or(Val::null(NEVER))).collect();
            let instance = caller.instance_index();
            f(Caller::new(caller.inner(), instance), &args, &mut results)?;
            let store = caller.opaque();
            for (ty, result) in own.results.iter().zip(&results) {
                result.check(store, ty)?;
            }
            for (slot, result) in values.iter_mut().zip(&results) {
                *slot = result.expose(store);
            }
            Ok(())
        };
        HostFunc::make(engine, ty, Box::new(call))
    }

    pub(crate) fn wrap<P, R>(engine: &Engine, f: impl IntoFunc<T, P, R>) -> Result<Self> {
        let (ty, call) = f.into_func();
        HostFunc::make(engine, ty, call)
    }

    /// The function's type.
    pub(crate) fn ty(&self) -> TypeIndex {
        self.ty
    }

    /// The function as one of the store's: the same each time.
    pub(crate) fn get_in(&self, store: &mut StoreOpaque) -> Result<Func> {
        let closure = Arc::as_ptr(&self.closure) as *const c_void;
        match store.host_func_of(closure) {
            Some(id) => Ok(Func { store: store.id(), id }),
            None => {
                let func = self.put_into(store)?;
                store.remember_host_func(closure, func.id);
                Ok(func)
            }
        }
    }

    /// Makes the function one of the store's.
    pub(crate) fn put_into(&self, store: &mut StoreOpaque) -> Result<Func> {
        if !self.engine.same(store.engine()) {
            return Err(Error::usage("a function of the host's is used with another engine than its own"));
        }
        let ty = self.engine.registry().func(self.ty);
        let wasm_call = self.engine.trampolines(Way::Host, std::iter::once(ty))?[0].0;
        let closure = Arc::as_ptr(&self.closure) as *mut c_void;
        let array_call = host_array_call::<T> as *const c_void;
        let id = store.push_host_func(self.ty, wasm_call, array_call, closure, self.closure.clone());
        Ok(Func { store: store.id(), id })
    }
}

/// Arguments or results: mostly few.
type Vals = smallvec::SmallVec<[Val; 4]>;

/// The family of the place-holder for a result without a default; it is never a valid result.
const NEVER: crate::types::HeapType = crate::types::HeapType::NoFunc;

/// The code with the array convention of all functions of the host's.
unsafe extern "C" fn host_array_call<T: 'static>(
    callee: *mut VMContext,
    caller: *mut VMContext,
    values: *mut ValRaw,
    _capacity: usize,
    _: *const c_void,
) -> bool {
    // SAFETY: the callee is the context of a function that `HostFunc::<T>::put_into` made in a `StoreInner<T>`, which owns the
    // closure; whoever called gave up its own reference to the store, and passed as many values as the type needs.
    let (store, closure, instance, values) = unsafe {
        let store = store_of(callee).cast::<StoreInner<T>>();
        let closure = &*(*callee.cast::<VMHostContext>()).closure.cast::<HostClosure<T>>();
        (store, closure, (*caller).instance, std::slice::from_raw_parts_mut(values, closure.capacity))
    };
    // SAFETY: as above. A scope of whoever called is not the function's.
    let in_scope = unsafe { (*store).opaque.set_in_scope(false) };
    // SAFETY: as above.
    let caller = Caller::new(unsafe { &mut *store }, instance);
    let ended = catch_unwind(AssertUnwindSafe(|| (closure.call)(caller, values)));
    // SAFETY: as above; the caller's reference is gone.
    unsafe { (*store).opaque.set_in_scope(in_scope) };
    let pending = match ended {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => Pending::Error(error),
        Err(payload) => Pending::from_panic(payload),
    };
    // SAFETY: as above; the caller's reference is gone.
    unsafe { (*store).opaque.set_pending(pending) };
    false
}

impl Func {
    /// A function of the host's, with values whose types `ty` gives. The closure lives as long as the store.
    ///
    /// # Errors
    /// When the engine is full of types or there is no memory for code.
    pub fn new<C: AsContextMut>(
        mut store: C,
        ty: FuncType,
        f: impl Fn(Caller<'_, C::Data>, &[Val], &mut [Val]) -> Result<()> + Send + Sync + 'static,
    ) -> Result<Func> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        HostFunc::new(store.engine(), ty, f)?.put_into(store)
    }

    /// A function of the host's whose type is that of a closure: of any number of arguments that are [`WasmTy`]s, after a
    /// [`Caller`] if it wants one, and with [`WasmResults`].
    ///
    /// # Errors
    /// As [`Func::new`].
    pub fn wrap<C: AsContextMut, P, R>(mut store: C, f: impl IntoFunc<C::Data, P, R>) -> Result<Func> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        HostFunc::wrap(store.engine(), f)?.put_into(store)
    }

    pub(crate) fn from_ref(store: &StoreOpaque, func: *const VMFuncRef) -> Option<Func> {
        let id = store.func_id(func);
        (id != 0).then(|| Func { store: store.id(), id })
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// The record of the function.
    pub(crate) fn func_ref(&self, store: &StoreOpaque) -> *const VMFuncRef {
        assert_eq!(self.store, store.id(), "a function is used with another store than its own");
        store.func(self.id)
    }

    /// The function's canonical type.
    pub fn type_index(&self, store: impl AsContext) -> TypeIndex {
        // SAFETY: function references live as long as their store.
        unsafe { (*self.func_ref(store.as_context().opaque())).type_index }
    }

    /// The function's type.
    pub fn ty(&self, store: impl AsContext) -> FuncType {
        let store = store.as_context();
        store.engine().registry().func(self.type_index(&store)).clone()
    }

    /// Calls the function.
    ///
    /// # Errors
    /// When the arguments do not fit, and what ended the call: a trap, an exception, an error of the host's.
    ///
    /// # Panics
    /// When a function of the host's panics during the call, and when the function is another store's.
    pub fn call(&self, mut store: impl AsContextMut, args: &[Val]) -> Result<Vec<Val>> {
        let mut store = store.as_context_mut();
        let values = self.call_with(&mut store, args)?;
        let count = self.func_type(store.opaque()).results.len();
        Ok((0..count).map(|i| self.result(store.opaque(), &values, i)).collect())
    }

    /// Calls the function and puts its results into `results`, as many as there are; allocates nothing for it.
    ///
    /// # Errors
    /// As [`Func::call`], and when `results` has another length than the function has results.
    ///
    /// # Panics
    /// As [`Func::call`].
    pub fn call_into(&self, mut store: impl AsContextMut, args: &[Val], results: &mut [Val]) -> Result<()> {
        let mut store = store.as_context_mut();
        let ty = self.func_type(store.opaque());
        if ty.results.len() != results.len() {
            let (has, given) = (ty.results.len(), results.len());
            return Err(Error::usage(format!("the function has {has} results, room is given for {given}: it is {ty}")));
        }
        let values = self.call_with(&mut store, args)?;
        for (i, result) in results.iter_mut().enumerate() {
            *result = self.result(store.opaque(), &values, i);
        }
        Ok(())
    }

    fn func_type<'s>(&self, store: &'s StoreOpaque) -> &'s FuncType {
        // SAFETY: function references live as long as their store.
        store.registry().func(unsafe { (*self.func_ref(store)).type_index })
    }

    /// Result `i`, of what [`Self::call_with`] gave.
    fn result(&self, store: &mut StoreOpaque, values: &[ValRaw], i: usize) -> Val {
        let ty = self.func_type(store).results[i];
        Val::from_raw(store, values[i], &ty)
    }

    /// Calls the function: the values hold its results then.
    fn call_with<T: 'static>(
        &self,
        store: &mut super::StoreContextMut<'_, T>,
        args: &[Val],
    ) -> Result<smallvec::SmallVec<[ValRaw; 8]>> {
        let opaque = store.opaque();
        let callee = self.func_ref(opaque);
        let ty = self.func_type(opaque);
        if ty.params.len() != args.len() {
            return Err(Error::usage(format!(
                "the function takes {} arguments, {} were given: it is {ty}",
                ty.params.len(),
                args.len()
            )));
        }
        ty.params.iter().zip(args).try_for_each(|(ty, arg)| arg.check(opaque, ty))?;
        let capacity = ty.params.len().max(ty.results.len());
        opaque.release_handles();
        let mut values: smallvec::SmallVec<[ValRaw; 8]> = args.iter().map(|arg| arg.expose(opaque)).collect();
        values.resize(capacity, ValRaw::default());
        // SAFETY: the arguments have been checked and exposed, and there is room for the results.
        unsafe { store.enter(callee, &mut values)? };
        Ok(values)
    }

    /// The function with a type that is checked now, once, rather than at each call.
    ///
    /// # Errors
    /// When the function has another type.
    pub fn typed<P: WasmParams, R: WasmResults>(&self, store: impl AsContext) -> Result<TypedFunc<P, R>> {
        let store = store.as_context();
        let registry = store.engine().registry();
        let ty = registry.func(self.type_index(&store));
        let (params, results) = (P::types(), R::types());
        let fits = |from: &[ValType], to: &[ValType]| {
            from.len() == to.len() && from.iter().zip(to).all(|(from, to)| registry.val_matches(from, to))
        };
        if !fits(&params, &ty.params) || !fits(&ty.results, &results) {
            let wanted = FuncType::new(params, results);
            return Err(Error::usage(format!("the function is {ty}, not {wanted}")));
        }
        Ok(TypedFunc { func: *self, _types: PhantomData })
    }
}

/// A function with a type that is known statically.
pub struct TypedFunc<P, R> {
    func: Func,
    _types: PhantomData<fn(P) -> R>,
}

impl<P, R> Clone for TypedFunc<P, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P, R> Copy for TypedFunc<P, R> {}

impl<P, R> fmt::Debug for TypedFunc<P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.func.fmt(f)
    }
}

impl<P: WasmParams, R: WasmResults> TypedFunc<P, R> {
    /// The function without its static type.
    pub fn func(&self) -> Func {
        self.func
    }

    /// Calls the function.
    ///
    /// # Errors
    /// What ended the call: a trap, an exception, an error of the host's.
    ///
    /// # Panics
    /// As [`Func::call`].
    pub fn call(&self, mut store: impl AsContextMut, params: P) -> Result<R> {
        let mut store = store.as_context_mut();
        let opaque = store.opaque();
        let callee = self.func.func_ref(opaque);
        opaque.release_handles();
        let mut values = [ValRaw::default(); MAX_TYPED];
        params.store(opaque, &mut values)?;
        let capacity = P::COUNT.max(R::COUNT);
        // SAFETY: `typed` has checked the type, so the arguments fit, and there is room for the results.
        unsafe { store.enter(callee, &mut values[..capacity])? };
        Ok(R::load(store.opaque(), &values))
    }
}

/// Parameters or results that a typed function can have.
const MAX_TYPED: usize = 16;

/// A type of Rust's that stands for one of WebAssembly's.
pub trait WasmTy: Sized + 'static {
    /// The type that it stands for.
    fn ty() -> ValType;
    #[doc(hidden)]
    fn store(self, store: &mut StoreOpaque) -> Result<ValRaw>;
    #[doc(hidden)]
    fn load(store: &mut StoreOpaque, raw: ValRaw) -> Self;
}

macro_rules! numbers {
    ($($ty:ty, $val:ident, |$value:ident| $store:expr, |$raw:ident| $load:expr;)*) => {$(
        impl WasmTy for $ty {
            fn ty() -> ValType {
                ValType::$val
            }
            #[inline]
            fn store(self, _: &mut StoreOpaque) -> Result<ValRaw> {
                let $value = self;
                Ok(ValRaw($store as u128))
            }
            #[inline]
            fn load(_: &mut StoreOpaque, $raw: ValRaw) -> Self {
                $load
            }
        }
    )*};
}
numbers! {
    i32, I32, |value| value as u32, |raw| raw.u32() as i32;
    u32, I32, |value| value, |raw| raw.u32();
    i64, I64, |value| value as u64, |raw| raw.u64() as i64;
    u64, I64, |value| value, |raw| raw.u64();
    f32, F32, |value| value.to_bits(), |raw| f32::from_bits(raw.u32());
    f64, F64, |value| value.to_bits(), |raw| f64::from_bits(raw.u64());
    V128, V128, |value| value.to_bits(), |raw| V128::from_bits(raw.0);
}

macro_rules! references {
    ($($ty:ty, $val:ident, $constant:ident;)*) => {$(
        impl WasmTy for Option<$ty> {
            fn ty() -> ValType {
                ValType::$constant
            }
            fn store(self, store: &mut StoreOpaque) -> Result<ValRaw> {
                let value = Val::$val(self);
                value.check(store, &ValType::$constant)?;
                Ok(value.expose(store))
            }
            fn load(store: &mut StoreOpaque, raw: ValRaw) -> Self {
                match Val::from_raw(store, raw, &ValType::$constant) {
                    Val::$val(value) => value,
                    _ => unreachable!("a value has the type that was asked for"),
                }
            }
        }
    )*};
}
references! {
    Func, FuncRef, FUNCREF;
    Rooted<ExternRef>, ExternRef, EXTERNREF;
    Rooted<AnyRef>, AnyRef, ANYREF;
    Rooted<super::ExnRef>, ExnRef, EXNREF;
}

/// What a [`TypedFunc`] takes: a [`WasmTy`], or a tuple of them.
pub trait WasmParams {
    #[doc(hidden)]
    const COUNT: usize;
    /// The types, in order.
    fn types() -> Vec<ValType>;
    #[doc(hidden)]
    fn store(self, store: &mut StoreOpaque, values: &mut [ValRaw]) -> Result<()>;
}

/// What a function returns: nothing, a [`WasmTy`], or a tuple of them; from a function of the host's also a [`Result`] of these.
pub trait WasmResults: Sized {
    #[doc(hidden)]
    const COUNT: usize;
    /// The types, in order.
    fn types() -> Vec<ValType>;
    #[doc(hidden)]
    fn store(self, store: &mut StoreOpaque, values: &mut [ValRaw]) -> Result<()>;
    #[doc(hidden)]
    fn load(store: &mut StoreOpaque, values: &[ValRaw]) -> Self;
}

impl<A: WasmTy> WasmParams for A {
    const COUNT: usize = 1;

    fn types() -> Vec<ValType> {
        vec![A::ty()]
    }

    fn store(self, store: &mut StoreOpaque, values: &mut [ValRaw]) -> Result<()> {
        values[0] = self.store(store)?;
        Ok(())
    }
}

impl<A: WasmTy> WasmResults for A {
    const COUNT: usize = 1;

    fn types() -> Vec<ValType> {
        vec![A::ty()]
    }

    fn store(self, store: &mut StoreOpaque, values: &mut [ValRaw]) -> Result<()> {
        values[0] = self.store(store)?;
        Ok(())
    }

    fn load(store: &mut StoreOpaque, values: &[ValRaw]) -> Self {
        A::load(store, values[0])
    }
}

impl<R: WasmResults> WasmResults for Result<R> {
    const COUNT: usize = R::COUNT;

    fn types() -> Vec<ValType> {
        R::types()
    }

    fn store(self, store: &mut StoreOpaque, values: &mut [ValRaw]) -> Result<()> {
        self?.store(store, values)
    }

    fn load(store: &mut StoreOpaque, values: &[ValRaw]) -> Self {
        Ok(R::load(store, values))
    }
}

/// A closure that can become a function of the host's: see [`Func::wrap`].
pub trait IntoFunc<T: 'static, P, R>: Send + Sync + 'static {
    #[doc(hidden)]
    fn into_func(self) -> (FuncType, Box<HostCall<T>>);
}

macro_rules! tuples {
    ($(($count:literal $($name:ident $i:literal)*))*) => {$(
        #[allow(non_snake_case, unused_variables)]
        impl<$($name: WasmTy),*> WasmParams for ($($name,)*) {
            const COUNT: usize = $count;

            fn types() -> Vec<ValType> {
                vec![$($name::ty()),*]
            }

            fn store(self, store: &mut StoreOpaque, values: &mut [ValRaw]) -> Result<()> {
                let ($($name,)*) = self;
                $(values[$i] = $name.store(store)?;)*
                Ok(())
            }
        }

        #[allow(non_snake_case, unused_variables, clippy::unused_unit)]
        impl<$($name: WasmTy),*> WasmResults for ($($name,)*) {
            const COUNT: usize = $count;

            fn types() -> Vec<ValType> {
                vec![$($name::ty()),*]
            }

            fn store(self, store: &mut StoreOpaque, values: &mut [ValRaw]) -> Result<()> {
                let ($($name,)*) = self;
                $(values[$i] = $name.store(store)?;)*
                Ok(())
            }

            fn load(store: &mut StoreOpaque, values: &[ValRaw]) -> Self {
                ($($name::load(store, values[$i]),)*)
            }
        }

        #[allow(non_snake_case, unused_variables, unused_mut)]
        impl<T: 'static, R: WasmResults, F, $($name: WasmTy),*> IntoFunc<T, ($($name,)*), R> for F
        where
            F: Fn($($name),*) -> R + Send + Sync + 'static,
        {
            fn into_func(self) -> (FuncType, Box<HostCall<T>>) {
                let ty = FuncType::new(<($($name,)*) as WasmParams>::types(), R::types());
                let call = move |mut caller: Caller<'_, T>, values: &mut [ValRaw]| {
                    let store = caller.opaque();
                    $(let $name = $name::load(store, values[$i]);)*
                    self($($name),*).store(store, values)
                };
                (ty, Box::new(call))
            }
        }

        #[allow(non_snake_case, unused_variables, unused_mut)]
        impl<T: 'static, R: WasmResults, F, $($name: WasmTy),*> IntoFunc<T, (Caller<'static, T>, $($name,)*), R> for F
        where
            F: Fn(Caller<'_, T>, $($name),*) -> R + Send + Sync + 'static,
        {
            fn into_func(self) -> (FuncType, Box<HostCall<T>>) {
                let ty = FuncType::new(<($($name,)*) as WasmParams>::types(), R::types());
                let call = move |mut caller: Caller<'_, T>, values: &mut [ValRaw]| {
                    let store = caller.opaque();
                    $(let $name = $name::load(store, values[$i]);)*
                    let instance = caller.instance_index();
                    let result = self(Caller::new(caller.inner(), instance), $($name),*);
                    result.store(caller.opaque(), values)
                };
                (ty, Box::new(call))
            }
        }
    )*};
}
tuples! {
    (0)
    (1 A 0)
    (2 A 0 B 1)
    (3 A 0 B 1 C 2)
    (4 A 0 B 1 C 2 D 3)
    (5 A 0 B 1 C 2 D 3 E 4)
    (6 A 0 B 1 C 2 D 3 E 4 G 5)
    (7 A 0 B 1 C 2 D 3 E 4 G 5 H 6)
    (8 A 0 B 1 C 2 D 3 E 4 G 5 H 6 I 7)
    (9 A 0 B 1 C 2 D 3 E 4 G 5 H 6 I 7 J 8)
    (10 A 0 B 1 C 2 D 3 E 4 G 5 H 6 I 7 J 8 K 9)
    (11 A 0 B 1 C 2 D 3 E 4 G 5 H 6 I 7 J 8 K 9 L 10)
    (12 A 0 B 1 C 2 D 3 E 4 G 5 H 6 I 7 J 8 K 9 L 10 M 11)
}
