//! Imports by name.

use super::func::HostFunc;
use super::instance::matches;
use super::module::describe;
use super::{
    AsContext, AsContextMut, Caller, Engine, Error, Extern, ImportType, Instance, IntoFunc, Module, Result,
    StoreContextMut, Val,
};
use crate::types::{ExternType, FuncType};
use rustc_hash::FxHashMap;
use std::fmt;
use std::sync::Arc;

/// Names for what modules import.
///
/// Functions of the host's that are defined here are in no store until something that imports them is instantiated in one;
/// what is of a store already can be used in that store only.
///
/// A name can be given to several items of different types, as long as an import's type tells which is meant: some compilers
/// import one name with several types. Two items of one type are a mistake, unless [`Linker::allow_shadowing`] says otherwise.
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
    /// By module and name: at least one item, the newest last.
    modules: FxHashMap<Arc<str>, Names<T>>,
    shadowing: bool,
}

/// A module's items by name.
type Names<T> = FxHashMap<Arc<str>, Vec<Definition<T>>>;

enum Definition<T: 'static> {
    /// Something of a store's, with its type when it was defined.
    Item(Extern, ExternType),
    Host(HostFunc<T>),
}

impl<T: 'static> Definition<T> {
    /// The type, as far as it cannot change: a table or a memory may have grown since.
    fn ty(&self) -> ExternType {
        match self {
            Definition::Item(_, ty) => *ty,
            Definition::Host(func) => ExternType::Func(func.ty()),
        }
    }

    /// As something of the store's.
    fn get(&self, store: &mut StoreContextMut<'_, T>) -> Result<Extern> {
        match self {
            Definition::Item(item, _) => Ok(item.clone()),
            Definition::Host(func) => Ok(Extern::Func(func.get_in(store.opaque())?)),
        }
    }

    /// The type now.
    fn current_type(&self, store: &StoreContextMut<'_, T>) -> ExternType {
        match self {
            Definition::Item(item, _) => item.ty(store),
            Definition::Host(func) => ExternType::Func(func.ty()),
        }
    }
}

impl<T: 'static> Clone for Definition<T> {
    fn clone(&self) -> Self {
        match self {
            Definition::Item(item, ty) => Definition::Item(item.clone(), *ty),
            Definition::Host(func) => Definition::Host(func.clone()),
        }
    }
}

impl<T: 'static> Clone for Linker<T> {
    fn clone(&self) -> Self {
        Linker { engine: self.engine.clone(), modules: self.modules.clone(), shadowing: self.shadowing }
    }
}

impl<T: 'static> fmt::Debug for Linker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<String> = self
            .modules
            .iter()
            .flat_map(|(module, items)| items.keys().map(move |name| format!("{module}.{name}")))
            .collect();
        names.sort_unstable();
        f.debug_struct("Linker").field("names", &names).finish_non_exhaustive()
    }
}

impl<T: 'static> Linker<T> {
    /// A linker without names.
    pub fn new(engine: &Engine) -> Linker<T> {
        Linker { engine: engine.clone(), modules: FxHashMap::default(), shadowing: false }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Whether an item may take the place of one with the same name and type. Without it that is an error.
    pub fn allow_shadowing(&mut self, allow: bool) -> &mut Self {
        self.shadowing = allow;
        self
    }

    /// Names something of a store's.
    ///
    /// # Errors
    /// When something of its type has the name already: see [`Linker::allow_shadowing`].
    ///
    /// # Panics
    /// When the item is another store's.
    pub fn define(
        &mut self,
        store: impl AsContext<Data = T>,
        module: &str,
        name: &str,
        item: impl Into<Extern>,
    ) -> Result<&mut Self> {
        let item = item.into();
        let ty = item.ty(store);
        self.insert(module, name, Definition::Item(item, ty))
    }

    /// Names all exports of an instance.
    ///
    /// ```
    /// # fn main() -> engine::Result<()> {
    /// use engine::{Engine, Linker, Module, Store};
    /// # let engine = Engine::new(gc_null::COLLECTOR.with(&Default::default()).unwrap())?;
    /// let mut store = Store::new(&engine, ())?;
    /// let mut linker = Linker::new(&engine);
    /// let library = Module::new(&engine, r#"(module (func (export "one") (result i32) i32.const 1))"#)?;
    /// let library = linker.instantiate(&mut store, &library)?;
    /// linker.instance(&mut store, "lib", library)?;
    /// let program = Module::new(&engine, r#"(module (import "lib" "one" (func (result i32))) (export "one" (func 0)))"#)?;
    /// let program = linker.instantiate(&mut store, &program)?;
    /// assert_eq!(program.get_typed_func::<(), i32>(&mut store, "one")?.call(&mut store, ())?, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Linker::define`]; what comes before the export at fault is defined.
    pub fn instance(
        &mut self,
        mut store: impl AsContextMut<Data = T>,
        module: &str,
        instance: Instance,
    ) -> Result<&mut Self> {
        for (name, item) in instance.exports(&mut store) {
            self.define(&store, module, &name, item)?;
        }
        Ok(self)
    }

    /// Names the exports of a module that follows WASI's conventions.
    ///
    /// A *reactor*, which exports no `_start`, is instantiated here, once; its `_initialize` is called if it has one. A *command*,
    /// which exports `_start`, is instantiated anew for each call of one of its functions; what else it exports is not defined,
    /// since it would be of no instance.
    ///
    /// # Errors
    /// When its imports are not defined here, when its instantiation or `_initialize` fails, and as [`Linker::define`].
    pub fn module(&mut self, mut store: impl AsContextMut<Data = T>, name: &str, module: &Module) -> Result<&mut Self> {
        let is_func = |export: &str| matches!(module.export(export), Some(ExternType::Func(_)));
        if !is_func("_start") {
            let instance = self.instantiate(&mut store, module)?;
            if is_func("_initialize") {
                instance.get_typed_func::<(), ()>(&mut store, "_initialize")?.call(&mut store, ())?;
            }
            return self.instance(store, name, instance);
        }
        let pre = self.instantiate_pre(&mut store, module)?;
        for export in module.exports() {
            let Some(ty) = export.ty().func(&self.engine).cloned() else { continue };
            let (pre, own) = (pre.clone(), export.name().to_string());
            self.func_new(name, export.name(), ty, move |mut caller, args, results| {
                let instance = pre.instantiate(&mut caller)?;
                let func = instance.get_func(&mut caller, &own)?;
                func.call_into(&mut caller, args, results)
            })?;
        }
        Ok(self)
    }

    /// Gives an item a second name.
    ///
    /// # Errors
    /// When there is nothing of that name, and as [`Linker::define`].
    pub fn alias(&mut self, module: &str, name: &str, as_module: &str, as_name: &str) -> Result<&mut Self> {
        let Some(items) = self.modules.get(module).and_then(|names| names.get(name)).cloned() else {
            return Err(Error::usage(format!("there is no `{module}` `{name}` to give another name to")));
        };
        for item in items {
            self.insert(as_module, as_name, item)?;
        }
        Ok(self)
    }

    /// Gives the names of module `module` also to module `as_module`.
    ///
    /// # Errors
    /// When there is no such module, and as [`Linker::define`].
    pub fn alias_module(&mut self, module: &str, as_module: &str) -> Result<&mut Self> {
        let Some(names) = self.modules.get(module).cloned() else {
            return Err(Error::usage(format!("there is no module `{module}` to give another name to")));
        };
        for (name, items) in names {
            for item in items {
                self.insert(as_module, &name, item)?;
            }
        }
        Ok(self)
    }

    /// Defines a function of the host's: see [`Func::new`](super::Func::new).
    ///
    /// # Errors
    /// When the engine is full of types, and as [`Linker::define`].
    pub fn func_new(
        &mut self,
        module: &str,
        name: &str,
        ty: FuncType,
        f: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<()> + Send + Sync + 'static,
    ) -> Result<&mut Self> {
        let func = HostFunc::new(&self.engine, ty, f)?;
        self.insert(module, name, Definition::Host(func))
    }

    /// Defines a function of the host's: see [`Func::wrap`](super::Func::wrap).
    ///
    /// # Errors
    /// As [`Linker::func_new`].
    pub fn func_wrap<P, R>(&mut self, module: &str, name: &str, f: impl IntoFunc<T, P, R>) -> Result<&mut Self> {
        let func = HostFunc::wrap(&self.engine, f)?;
        self.insert(module, name, Definition::Host(func))
    }

    /// Defines every function that `module` imports and that is not defined as one that fails when it is called, with an error that
    /// names it. Imports of other kinds stay undefined.
    ///
    /// ```
    /// # fn main() -> engine::Result<()> {
    /// use engine::{Engine, Linker, Module, Store};
    /// # let engine = Engine::new(gc_null::COLLECTOR.with(&Default::default()).unwrap())?;
    /// let module = Module::new(&engine, r#"(module (import "os" "halt" (func)) (export "halt" (func 0)))"#)?;
    /// let mut linker = Linker::new(&engine);
    /// linker.define_unknown_imports_as_traps(&module)?;
    /// let mut store = Store::new(&engine, ())?;
    /// let instance = linker.instantiate(&mut store, &module)?;
    /// let error = instance.get_func(&mut store, "halt")?.call(&mut store, &[]).unwrap_err();
    /// assert!(error.to_string().contains("unknown import `os` `halt`"), "{error}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the engine is full of types.
    pub fn define_unknown_imports_as_traps(&mut self, module: &Module) -> Result<()> {
        for import in module.imports() {
            let Some(ty) = import.ty().func(&self.engine).cloned() else { continue };
            if self.lookup(&import).is_some_and(|found| self.fits(&found.ty(), &import.ty())) {
                continue;
            }
            let message = format!("the unknown import `{}` `{}` was called: {ty}", import.module(), import.name());
            let func = HostFunc::new(&self.engine, ty, move |_, _, _| Err(Error::usage(message.clone())))?;
            self.add(import.module(), import.name(), Definition::Host(func));
        }
        Ok(())
    }

    fn fits(&self, found: &ExternType, wanted: &ExternType) -> bool {
        matches(self.engine.registry(), found, wanted)
    }

    fn insert(&mut self, module: &str, name: &str, definition: Definition<T>) -> Result<&mut Self> {
        let items = self.modules.get_mut(module).and_then(|names| names.get_mut(name));
        let ty = definition.ty();
        let same = items.and_then(|items| items.iter_mut().find(|item| same_kind(&item.ty(), &ty)));
        match same {
            Some(_) if !self.shadowing => {
                let ty = describe(self.engine.registry(), &ty);
                return Err(Error::usage(format!(
                    "`{module}` `{name}` is defined already as {ty}; `Linker::allow_shadowing` lets it be replaced"
                )));
            }
            Some(old) => *old = definition,
            None => self.add(module, name, definition),
        }
        Ok(self)
    }

    fn add(&mut self, module: &str, name: &str, definition: Definition<T>) {
        if !self.modules.contains_key(module) {
            self.modules.insert(module.into(), FxHashMap::default());
        }
        let names = self.modules.get_mut(module).expect("just inserted");
        if !names.contains_key(name) {
            names.insert(name.into(), Vec::new());
        }
        names.get_mut(name).expect("just inserted").push(definition);
    }

    /// What has this name, as something of the store's; of several items the one that was defined last.
    ///
    /// # Errors
    /// When a function of the host's cannot be put into the store.
    pub fn get(&self, mut store: impl AsContextMut<Data = T>, module: &str, name: &str) -> Result<Option<Extern>> {
        let found = self.modules.get(module).and_then(|names| names.get(name)?.last());
        found.map(|definition| definition.get(&mut store.as_context_mut())).transpose()
    }

    /// What would be given for an import, as something of the store's, whether or not its type fits.
    ///
    /// # Errors
    /// As [`Linker::get`].
    pub fn get_by_import(
        &self,
        mut store: impl AsContextMut<Data = T>,
        import: &ImportType<'_>,
    ) -> Result<Option<Extern>> {
        self.lookup(import).map(|definition| definition.get(&mut store.as_context_mut())).transpose()
    }

    /// Everything that is defined, with its module and name, in no particular order.
    ///
    /// # Errors
    /// As [`Linker::get`].
    pub fn iter(&self, mut store: impl AsContextMut<Data = T>) -> Result<Vec<(&str, &str, Extern)>> {
        let mut store = store.as_context_mut();
        let all = self.modules.iter().flat_map(|(module, names)| {
            names.iter().flat_map(move |(name, items)| items.iter().map(move |item| (&**module, &**name, item)))
        });
        all.map(|(module, name, item)| Ok((module, name, item.get(&mut store)?))).collect()
    }

    /// The item for an import: among several of its name the last whose type fits, or else the last.
    fn lookup(&self, import: &ImportType<'_>) -> Option<&Definition<T>> {
        let items = self.modules.get(import.module())?.get(import.name())?;
        let wanted = import.ty();
        match items.as_slice() {
            [only] => Some(only),
            items => items.iter().rev().find(|item| self.fits(&item.ty(), &wanted)).or(items.last()),
        }
    }

    /// Whether something has this name, and its type for a function of the host's.
    pub fn host_func_type(&self, module: &str, name: &str) -> Option<ExternType> {
        match self.modules.get(module)?.get(name)?.last()? {
            Definition::Host(func) => Some(ExternType::Func(func.ty())),
            Definition::Item(..) => None,
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
        let imports =
            module.imports().map(|import| self.get_by_import(&mut store, &import)).collect::<Result<Vec<_>>>()?;
        Instance::link(&mut store, module, &imports)
    }

    /// Looks the imports of a module up and checks their types, once for many instances.
    ///
    /// ```
    /// # fn main() -> engine::Result<()> {
    /// use engine::{Engine, Linker, Module, Store};
    /// # let engine = Engine::new(gc_null::COLLECTOR.with(&Default::default()).unwrap())?;
    /// let mut linker: Linker<i32> = Linker::new(&engine);
    /// linker.func_wrap("host", "number", |caller: engine::Caller<'_, i32>| *caller.data())?;
    /// let module = Module::new(&engine, r#"(module (import "host" "number" (func (result i32))) (export "get" (func 0)))"#)?;
    /// // Nothing in it is of a store, so it is good for every store.
    /// let pre = linker.instantiate_pre(Store::new(&engine, 0)?, &module)?;
    /// for n in 0..3 {
    ///     let mut store = Store::new(&engine, n)?;
    ///     let instance = pre.instantiate(&mut store)?;
    ///     assert_eq!(instance.get_typed_func::<(), i32>(&mut store, "get")?.call(&mut store, ())?, n);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When imports are unknown or have other types: all at once, with their types.
    pub fn instantiate_pre(&self, mut store: impl AsContextMut<Data = T>, module: &Module) -> Result<InstancePre<T>> {
        let mut store = store.as_context_mut();
        if !self.engine.same(store.opaque().engine()) || !self.engine.same(module.engine()) {
            return Err(Error::usage("a linker is used with a store or a module of another engine than its own"));
        }
        let found: Vec<_> = module.imports().map(|import| self.lookup(&import)).collect();
        let types: Vec<Option<ExternType>> =
            found.iter().map(|found| found.map(|found| found.current_type(&store))).collect();
        Instance::check_imports(module, &types)?;
        Ok(InstancePre { module: module.clone(), imports: found.into_iter().flatten().cloned().collect() })
    }
}

/// A module whose imports have been found and checked: see [`Linker::instantiate_pre`]. Cheap to clone.
pub struct InstancePre<T: 'static> {
    module: Module,
    imports: Arc<[Definition<T>]>,
}

impl<T: 'static> Clone for InstancePre<T> {
    fn clone(&self) -> Self {
        InstancePre { module: self.module.clone(), imports: self.imports.clone() }
    }
}

impl<T: 'static> fmt::Debug for InstancePre<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstancePre").field("module", &self.module).finish_non_exhaustive()
    }
}

impl<T: 'static> InstancePre<T> {
    /// The module.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// Makes an instance and runs its start function.
    ///
    /// # Errors
    /// When the store is another engine's, and when initialisation or the start function fails.
    ///
    /// # Panics
    /// When an import is another store's.
    pub fn instantiate(&self, mut store: impl AsContextMut<Data = T>) -> Result<Instance> {
        let mut store = store.as_context_mut();
        if !self.module.engine().same(store.opaque().engine()) {
            return Err(Error::usage("a module is instantiated in a store of another engine than its own"));
        }
        let imports = self.imports.iter().map(|import| import.get(&mut store)).collect::<Result<Vec<Extern>>>()?;
        Instance::make(&mut store, &self.module, &imports)
    }
}

/// Whether an import could not tell items of these types apart.
fn same_kind(a: &ExternType, b: &ExternType) -> bool {
    match (a, b) {
        (ExternType::Func(a), ExternType::Func(b)) => a == b,
        (ExternType::Global(a), ExternType::Global(b)) => a == b,
        (ExternType::Tag(a), ExternType::Tag(b)) => a == b,
        // Sizes do not count: they change.
        (ExternType::Table(a), ExternType::Table(b)) => (a.element, a.is_64) == (b.element, b.is_64),
        (ExternType::Memory(a), ExternType::Memory(b)) => (a.is_64, a.shared) == (b.is_64, b.shared),
        _ => false,
    }
}
