//! A program on the command line: how it is loaded, what it sees of its surroundings, what is called.

use super::{UsageError, pair};
use crate::output::Output;
use crate::wasi::{self, UnfitMemory, Wasi};
use crate::{spectest, values};
use anyhow::Context;
use clap::Args;
use engine::types::{ExternType, FuncType};
use engine::{Engine, Error, Extern, Func, ImportType, Instance, Linker, Module, Store, Val};
use std::path::Path;

/// A program, and how it is to be run.
#[derive(Args)]
pub struct Program {
    /// Instantiate FILE first, and let what comes later import its exports from module NAME
    #[arg(long, value_name = "NAME=FILE", value_parser = pair)]
    preload: Vec<(String, String)>,
    /// Call this export instead of `_start`, with ARGS
    #[arg(long, value_name = "FUNC")]
    invoke: Option<String>,
    /// Give the program an environment variable; it has no others
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// Give the program the directory HOST and what is below it, under the name GUEST (HOST if none is given)
    #[arg(long, value_name = "HOST[::GUEST]", value_parser = directory)]
    dir: Vec<(String, String)>,
    /// Note on standard error which calls of WASI answer with an error, once for each call and error
    #[arg(long)]
    wasi_verbose: bool,
    /// Run machine code that `gleaner compile -o` wrote. It is executed as it is: allow it for files that you trust only
    #[arg(long)]
    allow_precompiled: bool,
    /// The program, as a binary or as text
    file: String,
    /// What the program gets, or the function with `--invoke`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

impl Program {
    /// The program's file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// A program's file, one of its functions, and what that gets.
    pub fn of(file: String, function: &str, args: Vec<String>) -> Program {
        let invoke = (function != "_start").then(|| function.to_string());
        let (preload, env, dir) = (Vec::new(), Vec::new(), Vec::new());
        Program { preload, invoke, env, dir, wasi_verbose: false, allow_precompiled: false, file, args }
    }

    /// Loads everything and runs the program, after `about_to_begin`.
    pub fn run(&self, store: &mut Store<()>, output: &Output, about_to_begin: impl FnOnce()) -> anyhow::Result<()> {
        let modules = self.modules(store.engine())?;
        let ready = self.instantiate(&modules, store, output)?;
        about_to_begin();
        for value in &ready.function.call(&mut *store, &ready.args)? {
            output.write(format!("{}\n", values::show(value, &*store)).as_bytes())?;
        }
        Ok(())
    }

    /// Loads and compiles.
    pub fn modules<'a>(&'a self, engine: &Engine) -> anyhow::Result<Modules<'a>> {
        let preload: Vec<(&str, Module)> = self
            .preload
            .iter()
            .map(|(name, file)| Ok((name.as_str(), self.load(engine, file)?)))
            .collect::<anyhow::Result<_>>()?;
        let module = self.load(engine, &self.file)?;
        self.check_memory(&module)?;
        Ok(Modules { preload, module })
    }

    /// Instantiates, up to the call of the function that is to run.
    pub fn instantiate(&self, modules: &Modules<'_>, store: &mut Store<()>, output: &Output) -> anyhow::Result<Ready> {
        let wasi = self.wasi(output)?;
        let Modules { preload, module } = modules;
        let call = self.choose(store.engine(), module)?;
        let args = call.args.iter().zip(&call.ty.params).enumerate();
        let args = args
            .map(|(i, (arg, ty))| {
                let usage = |wrong| UsageError(format!("argument {} of `{}`: {wrong}", i + 1, call.name));
                values::parse(arg, *ty, &mut *store).map_err(usage)
            })
            .collect::<Result<Vec<Val>, UsageError>>()?;

        let linker = self.linker(store, module, preload, output, wasi)?;
        let instance = linker.instantiate(&mut *store, module).with_context(|| self.file.clone())?;
        initialize(store, instance)?;
        let function = instance.get_func(&mut *store, call.name)?;
        Ok(Ready { instance, function, args })
    }

    /// What the program sees of its surroundings. That is made whether or not the program asks for it: a directory that
    /// is not there is a mistake all the same.
    fn wasi(&self, output: &Output) -> anyhow::Result<Wasi> {
        let args = if self.invoke.is_some() { &[] } else { self.args.as_slice() };
        let args = [&self.file].into_iter().chain(args).cloned();
        let mut wasi = Wasi::new(args, &self.env, output.clone());
        for (host, guest) in &self.dir {
            wasi.preopen(Path::new(host), guest).with_context(|| format!("--dir {host}"))?;
        }
        if self.wasi_verbose {
            wasi.note_errors();
        }
        Ok(wasi)
    }

    /// Refuses a program that could not make a single call of WASI.
    fn check_memory(&self, module: &Module) -> anyhow::Result<()> {
        if !module.imports().any(|import| import.module() == wasi::MODULE) {
            return Ok(());
        }
        // Calls use the one that is exported; a program that has its memory from elsewhere may have left that out.
        let memory = |ty| if let ExternType::Memory(ty) = ty { Some(ty) } else { None };
        let exported = module.export("memory").and_then(memory).map(|ty| (ty, "its export `memory`".to_string()));
        let imported = || {
            let name = |import: &ImportType<'_>| format!("its import `{}` `{}`", import.module(), import.name());
            module.imports().find_map(|import| Some((memory(import.ty())?, name(&import))))
        };
        match exported.or_else(imported) {
            Some((ty, which)) => UnfitMemory::check(&ty).with_context(|| format!("{}: {which}", self.file)),
            None => Ok(()),
        }
    }

    fn load(&self, engine: &Engine, file: &str) -> anyhow::Result<Module> {
        let module = match Module::is_precompiled_file(file) {
            Ok(true) if self.allow_precompiled => {
                // SAFETY: whoever runs the program vouches for the file by this very flag.
                unsafe { Module::deserialize_file(engine, file) }
            }
            Ok(true) => {
                return Err(UsageError(format!(
                    "{file} is a precompiled module: its machine code runs as it is, which `--allow-precompiled` allows"
                ))
                .into());
            }
            Ok(false) | Err(_) => Module::from_file(engine, file),
        };
        module.map_err(|error| {
            let named = error.to_string().contains(file);
            let error = anyhow::Error::new(error);
            if named { error } else { error.context(file.to_string()) }
        })
    }

    /// Everything that `module` may import.
    fn linker(
        &self,
        store: &mut Store<()>,
        module: &Module,
        preload: &[(&str, Module)],
        output: &Output,
        wasi: Wasi,
    ) -> anyhow::Result<Linker<()>> {
        let mut linker = Linker::new(store.engine());
        // What is given on the command line may take the place of what Gleaner provides.
        linker.allow_shadowing(true);
        let modules = || preload.iter().map(|(_, module)| module).chain([module]);
        let imports = |name| modules().any(|module| module.imports().any(|import| import.module() == name));
        if imports(spectest::MODULE) {
            spectest::add_to_linker(&mut linker, &mut *store, output)?;
        }
        if imports(wasi::MODULE) {
            wasi.add_to_linker(&mut linker)?;
        }
        for (name, module) in preload {
            let instance = linker.instantiate(&mut *store, module).with_context(|| format!("preloading `{name}`"))?;
            initialize(store, instance).with_context(|| format!("preloading `{name}`"))?;
            linker.instance(&mut *store, name, instance)?;
        }
        Ok(linker)
    }

    /// The function to call, and its arguments as text.
    fn choose<'a>(&'a self, engine: &Engine, module: &Module) -> Result<Call<'a>, UsageError> {
        let name = self.invoke.as_deref().unwrap_or("_start");
        let args = if self.invoke.is_some() { self.args.as_slice() } else { &[] };
        let Some(ty) = module.export(name).as_ref().and_then(|export| export.func(engine).cloned()) else {
            let what = match self.invoke {
                Some(_) => format!("{} exports no function `{name}`", self.file),
                None => format!("{} exports no `_start` to run; call a function with `--invoke FUNC`", self.file),
            };
            return Err(UsageError(format!("{what}: {}", invocable(engine, module))));
        };
        if ty.params.len() != args.len() {
            let given = match args.len() {
                0 => "none was given".into(),
                1 => "one was given".into(),
                n => format!("{n} were given"),
            };
            return Err(UsageError(format!("`{name}` takes {} arguments, {given}: it is {ty}", ty.params.len())));
        }
        Ok(Call { name, ty, args })
    }
}

/// A program that is compiled.
pub struct Modules<'a> {
    preload: Vec<(&'a str, Module)>,
    /// The program's own.
    pub module: Module,
}

/// A program that is about to run.
pub struct Ready {
    /// Its instance.
    pub instance: Instance,
    /// What is to be called.
    pub function: Func,
    /// And what with.
    pub args: Vec<Val>,
}

/// `HOST[::GUEST]`.
fn directory(text: &str) -> Result<(String, String), String> {
    let (host, guest) = text.split_once("::").unwrap_or((text, text));
    if host.is_empty() || guest.is_empty() {
        return Err(format!("`{text}` is no `HOST[::GUEST]`: a directory's path, and what the program is to call it"));
    }
    Ok((host.into(), guest.into()))
}

/// What to call.
struct Call<'a> {
    name: &'a str,
    ty: FuncType,
    args: &'a [String],
}

/// The functions that a module exports, with their types.
fn invocable(engine: &Engine, module: &Module) -> String {
    let functions: Vec<String> = module
        .exports()
        .filter(|export| matches!(export.ty(), ExternType::Func(_)))
        .map(|export| format!("\n  {} {}", export.name(), export.ty().describe(engine)))
        .collect();
    match functions.as_slice() {
        [] => "it exports no functions at all".into(),
        functions => format!("its functions are{}", functions.concat()),
    }
}

/// Does what WASI wants done first for a module that is a library.
fn initialize(store: &mut Store<()>, instance: Instance) -> Result<(), Error> {
    match instance.get_export(&mut *store, "_initialize") {
        Some(Extern::Func(function)) => function.call(&mut *store, &[]).map(|_| ()),
        _ => Ok(()),
    }
}
