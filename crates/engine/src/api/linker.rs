//! Imports by name.

use super::func::HostFunc;
use super::{AsContextMut, Caller, Engine, Error, Extern, Instance, IntoFunc, Module, Result, Val};
use crate::types::{ExternType, FuncType};
use rustc_hash::FxHashMap;

/// Names for what modules import.
///
/// Functions of the host's that are defined here are in no store until something that imports them is instantiated in one;
/// what is of a store already can be used in that store only.
///
/// ```
/// # fn main() -> engine::Result<()> {
/// use engine::{Engine, Linker, Module, Store};
/// let engine = Engine::new(gc_null::COLLECTOR.with(&Default::default()).unwrap())?;
/// let mut linker: Linker<Vec<i32>> = Linker::new(&engine);
/// linker.func_wrap("host", "log", |mut caller: engine::Caller<'_, Vec<i32>>, x: i32| caller.data_mut().push(x))?;
/// let module = Module::new(&engine, r#"
///     (module (import "host" "log" (func $log (param i32)))
///       (func (export "run") (call $log (i32.const 1)) (call $log (i32.const 2))))"#)?;
/// let mut store = Store::new(&engine, Vec::new())?;
/// let instance = linker.instantiate(&mut store, &module)?;
/// instance.get_typed_func::<(), ()>(&mut store, "run")?.call(&mut store, ())?;
/// assert_eq!(store.data(), &[1, 2]);
/// # Ok(())
/// # }
/// ```
pub struct Linker<T: 'static> {
    engine: Engine,
    modules: FxHashMap<String, FxHashMap<String, Definition<T>>>,
}

enum Definition<T: 'static> {
    Item(Extern),
    Host(HostFunc<T>),
}

impl<T: 'static> Clone for Definition<T> {
    fn clone(&self) -> Self {
        match self {
            Definition::Item(item) => Definition::Item(item.clone()),
            Definition::Host(func) => Definition::Host(func.clone()),
        }
    }
}

impl<T: 'static> Clone for Linker<T> {
    fn clone(&self) -> Self {
        Linker { engine: self.engine.clone(), modules: self.modules.clone() }
    }
}

impl<T: 'static> Linker<T> {
    /// A linker without names.
    pub fn new(engine: &Engine) -> Linker<T> {
        Linker { engine: engine.clone(), modules: FxHashMap::default() }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Names something of a store's. A name can be given anew.
    pub fn define(&mut self, module: &str, name: &str, item: impl Into<Extern>) -> &mut Self {
        self.insert(module, name, Definition::Item(item.into()))
    }

    /// Names all exports of an instance.
    pub fn instance(&mut self, store: impl AsContextMut<Data = T>, module: &str, instance: Instance) -> &mut Self {
        for (name, item) in instance.exports(store) {
            self.define(module, &name, item);
        }
        self
    }

    /// Gives the names of module `module` also to module `alias`.
    pub fn alias_module(&mut self, module: &str, alias: &str) -> &mut Self {
        if let Some(names) = self.modules.get(module).cloned() {
            self.modules.entry(alias.to_string()).or_default().extend(names);
        }
        self
    }

    /// Defines a function of the host's: see [`Func::new`](super::Func::new).
    ///
    /// # Errors
    /// When the engine is full of types.
    pub fn func_new(
        &mut self,
        module: &str,
        name: &str,
        ty: FuncType,
        f: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<()> + Send + Sync + 'static,
    ) -> Result<&mut Self> {
        let func = HostFunc::new(&self.engine, ty, f)?;
        Ok(self.insert(module, name, Definition::Host(func)))
    }

    /// Defines a function of the host's: see [`Func::wrap`](super::Func::wrap).
    ///
    /// # Errors
    /// When the engine is full of types.
    pub fn func_wrap<P, R>(&mut self, module: &str, name: &str, f: impl IntoFunc<T, P, R>) -> Result<&mut Self> {
        let func = HostFunc::wrap(&self.engine, f)?;
        Ok(self.insert(module, name, Definition::Host(func)))
    }

    fn insert(&mut self, module: &str, name: &str, definition: Definition<T>) -> &mut Self {
        self.modules.entry(module.to_string()).or_default().insert(name.to_string(), definition);
        self
    }

    /// What has this name, as something of the store's.
    ///
    /// # Errors
    /// When a function of the host's cannot be put into the store.
    pub fn get(&self, mut store: impl AsContextMut<Data = T>, module: &str, name: &str) -> Result<Option<Extern>> {
        match self.lookup(module, name) {
            None => Ok(None),
            Some(Definition::Item(item)) => Ok(Some(item.clone())),
            Some(Definition::Host(func)) => Ok(Some(Extern::Func(func.put_into(store.as_context_mut().opaque())?))),
        }
    }

    fn lookup(&self, module: &str, name: &str) -> Option<&Definition<T>> {
        self.modules.get(module)?.get(name)
    }

    /// Whether something has this name, and its type for a function of the host's.
    pub fn host_func_type(&self, module: &str, name: &str) -> Option<ExternType> {
        match self.lookup(module, name)? {
            Definition::Host(func) => Some(ExternType::Func(func.ty())),
            Definition::Item(_) => None,
        }
    }

    /// Makes an instance with the imports that its module names, and runs its start function.
    ///
    /// # Errors
    /// When imports are unknown or have other types (all at once, with their types), and as [`Instance::new`].
    pub fn instantiate(&self, mut store: impl AsContextMut<Data = T>, module: &Module) -> Result<Instance> {
        let mut store = store.as_context_mut();
        if !self.engine.same(store.opaque().engine()) {
            return Err(Error::usage("a linker is used with a store of another engine than its own"));
        }
        let imports = module
            .imports()
            .map(|import| self.get(&mut store, import.module(), import.name()))
            .collect::<Result<Vec<_>>>()?;
        Instance::link(&mut store, module, &imports)
    }
}
