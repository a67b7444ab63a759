//! Instances, and the checks before there is one.

use super::module::{describe, extern_type};
use super::{
    AsContext, AsContextMut, Error, Extern, Func, Global, ImportProblem, LinkError, Memory, Module, ModuleInner,
    Result, SharedMemory, Table, Tag, TypedFunc, WasmParams, WasmResults,
};
use crate::info::ExternKind;
use crate::runtime::instance::{ImportedItem, func_ref, instantiate};
use crate::runtime::store::StoreOpaque;
use crate::types::{ExternType, RefType, TypeRegistry, ValType};
use smallvec::SmallVec;
use std::sync::Arc;

/// An instance of a module, in a store. The store keeps it for as long as it lives.
///
/// # Panics
/// The methods panic when they are given another store than the instance's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Instance {
    store: u64,
    index: u32,
}

impl Instance {
    /// Makes an instance with these imports, which are the module's in order, and runs its start function.
    ///
    /// # Errors
    /// When the imports do not fit (all problems at once), and when initialisation or the start function fails.
    pub fn new(mut store: impl AsContextMut, module: &Module, imports: &[Extern]) -> Result<Instance> {
        let mut store = store.as_context_mut();
        let found: Vec<Option<Extern>> = imports.iter().cloned().map(Some).collect();
        if imports.len() > module.imports().len() {
            let (given, wanted) = (imports.len(), module.imports().len());
            return Err(Error::usage(format!("{given} imports were given to a module that has {wanted}")));
        }
        Instance::link(&mut store, module, &found)
    }

    /// Makes an instance with those of its imports that were found.
    pub(crate) fn link(
        store: &mut super::StoreContextMut<'_, impl Sized + 'static>,
        module: &Module,
        imports: &[Option<Extern>],
    ) -> Result<Instance> {
        if !module.engine().same(store.opaque().engine()) {
            return Err(Error::usage("a module is instantiated in a store of another engine than its own"));
        }
        let types: Vec<_> = imports.iter().map(|item| item.as_ref().map(|item| item.ty(&*store))).collect();
        Instance::check_imports(module, &types)?;
        let imports: Vec<Extern> = imports.iter().flatten().cloned().collect();
        Instance::make(store, module, &imports)
    }

    /// Checks whether items of these types can be a module's imports.
    pub(crate) fn check_imports(module: &Module, types: &[Option<ExternType>]) -> Result<()> {
        let registry = module.engine().registry();
        let mut problems = Vec::new();
        for (i, import) in module.imports().enumerate() {
            let found = types.get(i).copied().flatten();
            if found.is_none_or(|found| !matches(registry, &found, &import.ty())) {
                problems.push(ImportProblem {
                    module: import.module().to_string(),
                    name: import.name().to_string(),
                    expected: describe(registry, &import.ty()),
                    found: found.map(|found| describe(registry, &found)),
                });
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(LinkError { problems }.into()) }
    }

    /// Makes an instance with imports whose types have been checked.
    pub(crate) fn make(
        store: &mut super::StoreContextMut<'_, impl Sized + 'static>,
        module: &Module,
        imports: &[Extern],
    ) -> Result<Instance> {
        let opaque = store.opaque();
        opaque.release_handles();
        let items: SmallVec<[ImportedItem; 8]> = imports.iter().map(|item| item.imported(opaque)).collect();
        let index = instantiate(opaque, &module.0, &items)?;
        if let Some(start) = module.0.info.start {
            let start = func_ref(opaque, index, start);
            // SAFETY: a start function takes and returns nothing.
            unsafe { store.enter(start, &mut [])? };
        }
        Ok(Instance { store: store.opaque().id(), index })
    }

    pub(crate) fn from_id(store: u64, index: u32) -> Instance {
        Instance { store, index }
    }

    fn module_of<'s>(&self, store: &'s StoreOpaque) -> &'s Arc<ModuleInner> {
        assert_eq!(self.store, store.id(), "an instance is used with another store than its own");
        &store.instances[self.index as usize].module
    }

    /// The instance's module.
    pub fn module(&self, store: impl AsContext) -> Module {
        Module(self.module_of(store.as_context().opaque()).clone())
    }

    /// The export `name`.
    pub fn get_export(&self, mut store: impl AsContextMut, name: &str) -> Option<Extern> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let export = self.module_of(store).info.exports.iter().find(|export| export.name == name)?;
        let (kind, index) = (export.kind, export.index);
        Some(self.item(store, kind, index))
    }

    /// All exports, in order.
    pub fn exports(&self, mut store: impl AsContextMut) -> Vec<(String, Extern)> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let module = self.module_of(store).clone();
        let exports = &module.info.exports;
        exports.iter().map(|export| (export.name.clone(), self.item(store, export.kind, export.index))).collect()
    }

    fn item(&self, store: &mut StoreOpaque, kind: ExternKind, index: u32) -> Extern {
        let (id, i) = (store.id(), index as usize);
        if kind == ExternKind::Func {
            let func = func_ref(store, self.index, index);
            return Extern::Func(Func::from_ref(store, func).expect("an exported function is not null"));
        }
        let instance = &store.instances[self.index as usize];
        match kind {
            ExternKind::Func => unreachable!("handled above"),
            ExternKind::Table => Extern::Table(Table::from_id(id, instance.tables[i])),
            ExternKind::Memory => match store.memories[instance.memories[i] as usize].shared() {
                Some(shared) => Extern::SharedMemory(SharedMemory(shared.clone())),
                None => Extern::Memory(Memory::from_id(id, instance.memories[i])),
            },
            ExternKind::Global => Extern::Global(Global::from_id(id, instance.globals[i])),
            ExternKind::Tag => Extern::Tag(Tag::from_id(id, instance.tags[i])),
        }
    }

    /// The export `name`, if `pick` takes it; else an error that lists what it would take.
    fn get<C: AsContextMut, R>(
        &self,
        mut store: C,
        name: &str,
        what: &str,
        kind: ExternKind,
        pick: impl Fn(Extern) -> Option<R>,
    ) -> Result<R> {
        let mut store = store.as_context_mut();
        if let Some(item) = self.get_export(&mut store, name).and_then(pick) {
            return Ok(item);
        }
        let store = &*store.opaque();
        let (info, registry) = (&self.module_of(store).info, store.registry());
        let there: Vec<String> = info
            .exports
            .iter()
            .filter(|export| export.kind == kind)
            .map(|export| {
                format!("\n  {} {}", export.name, describe(registry, &extern_type(info, export.kind, export.index)))
            })
            .collect();
        let list = if there.is_empty() { " none".to_string() } else { there.concat() };
        Err(Error::usage(format!("there is no exported {what} `{name}`; there are:{list}")))
    }

    /// The exported function `name`.
    ///
    /// # Errors
    /// When there is none; the error lists those that there are.
    pub fn get_func(&self, store: impl AsContextMut, name: &str) -> Result<Func> {
        self.get(store, name, "function", ExternKind::Func, Extern::func)
    }

    /// The exported function `name`, with a static type.
    ///
    /// # Errors
    /// When there is none, or it has another type.
    pub fn get_typed_func<P: WasmParams, R: WasmResults>(
        &self,
        mut store: impl AsContextMut,
        name: &str,
    ) -> Result<TypedFunc<P, R>> {
        let mut store = store.as_context_mut();
        let func = self.get_func(&mut store, name)?;
        func.typed(&store)
    }

    /// The exported global `name`.
    ///
    /// # Errors
    /// When there is none; the error lists those that there are.
    pub fn get_global(&self, store: impl AsContextMut, name: &str) -> Result<Global> {
        self.get(store, name, "global", ExternKind::Global, Extern::global)
    }

    /// The exported table `name`.
    ///
    /// # Errors
    /// When there is none; the error lists those that there are.
    pub fn get_table(&self, store: impl AsContextMut, name: &str) -> Result<Table> {
        self.get(store, name, "table", ExternKind::Table, Extern::table)
    }

    /// The exported memory `name` that stores share.
    ///
    /// # Errors
    /// When there is none; the error lists the memories that there are.
    pub fn get_shared_memory(&self, store: impl AsContextMut, name: &str) -> Result<SharedMemory> {
        self.get(store, name, "shared memory", ExternKind::Memory, Extern::shared_memory)
    }

    /// The exported memory `name`, of the store's own.
    ///
    /// # Errors
    /// When there is none; the error lists the memories that there are, shared ones included.
    pub fn get_memory(&self, store: impl AsContextMut, name: &str) -> Result<Memory> {
        self.get(store, name, "memory", ExternKind::Memory, Extern::memory)
    }

    /// The exported tag `name`.
    ///
    /// # Errors
    /// When there is none; the error lists those that there are.
    pub fn get_tag(&self, store: impl AsContextMut, name: &str) -> Result<Tag> {
        self.get(store, name, "tag", ExternKind::Tag, Extern::tag)
    }
}

/// Whether something of type `found` can be imported as `wanted`.
pub(crate) fn matches(registry: &TypeRegistry, found: &ExternType, wanted: &ExternType) -> bool {
    let same_ref = |a: RefType, b: RefType| registry.ref_matches(a, b) && registry.ref_matches(b, a);
    let limits = |min: u64, max: Option<u64>, wanted_min: u64, wanted_max: Option<u64>| {
        min >= wanted_min && wanted_max.is_none_or(|wanted| max.is_some_and(|max| max <= wanted))
    };
    match (found, wanted) {
        (ExternType::Func(found), ExternType::Func(wanted)) => registry.is_subtype(*found, *wanted),
        (ExternType::Global(found), ExternType::Global(wanted)) => {
            let (a, b) = (&found.content, &wanted.content);
            found.mutable == wanted.mutable
                && match (a, b) {
                    (ValType::Ref(a), ValType::Ref(b)) if wanted.mutable => same_ref(*a, *b),
                    _ => registry.val_matches(a, b),
                }
        }
        (ExternType::Table(found), ExternType::Table(wanted)) => {
            same_ref(found.element, wanted.element)
                && found.is_64 == wanted.is_64
                && limits(found.min, found.max, wanted.min, wanted.max)
        }
        (ExternType::Memory(found), ExternType::Memory(wanted)) => {
            (found.is_64, found.shared, found.page_size_log2) == (wanted.is_64, wanted.shared, wanted.page_size_log2)
                && limits(found.min, found.max, wanted.min, wanted.max)
        }
        (ExternType::Tag(found), ExternType::Tag(wanted)) => found.func == wanted.func,
        _ => false,
    }
}
