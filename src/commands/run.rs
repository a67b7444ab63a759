//! `gleaner run`: runs a program.

use super::{Checks, Gc, Limits, Tuning, UsageError, pair, table};
use crate::output::Output;
use crate::wasi::{self, Exit, UnfitMemory, Wasi};
use crate::{spectest, text, values};
use anyhow::Context;
use clap::Args;
use comfy_table::CellAlignment;
use engine::types::{ExternType, FuncType};
use engine::{Engine, Error, Extern, ImportType, Instance, Linker, Module, Profiler, Stats, Store, Val};
use gc_api::{CollectorInfo, RootKind};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Run a program: its `_start`, or one of its functions
#[derive(Args)]
#[command(after_help = "\
Programs may import WASI preview 1 and `spectest`, the module of the official test suite. Of files they see what is
below the directories given by `--dir`, and nothing outside; the code that they exit with is the process's.
A function's arguments are numbers (decimal or 0x…, nan, inf), vectors (i32x4:1,2,3,4 or 32 hexadecimal digits), `null`,
or a number for an i31. Its results are printed one a line, and nothing else is printed on standard output.")]
pub struct Run {
    /// The collector, with its options; `gleaner collectors` lists them, and says which is the default
    #[arg(long, value_name = "NAME[:KEY=VALUE]…", value_parser = Gc::parse)]
    gc: Option<Gc>,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    checks: Checks,
    #[command(flatten)]
    tuning: Tuning,
    /// Instantiate FILE first, and let what comes later import its exports from module NAME
    #[arg(long, value_name = "NAME=FILE", value_parser = pair)]
    preload: Vec<(String, String)>,
    /// Call this export instead of `_start`, with ARGS
    #[arg(long, value_name = "FUNC")]
    invoke: Option<String>,
    /// End the program after so long, as in 10s, 500ms or 2m
    #[arg(long, value_name = "DURATION", value_parser = text::parse_duration)]
    timeout: Option<Duration>,
    /// End the program after N instructions: always at the same one, whatever the collector and the machine
    #[arg(long, value_name = "N")]
    fuel: Option<u64>,
    /// Print what the collector did, on standard error
    #[arg(long)]
    stats: bool,
    /// Give the program an environment variable; it has no others
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// Give the program the directory HOST and what is below it, under the name GUEST (HOST if none is given)
    #[arg(long, value_name = "HOST[::GUEST]", value_parser = directory)]
    dir: Vec<(String, String)>,
    /// Write /tmp/perf-PID.map, by which Linux's `perf` names the program's functions
    #[arg(long)]
    perfmap: bool,
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

impl Run {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        self.limits.on_stack(|| self.run())?
    }

    fn run(&self) -> anyhow::Result<ExitCode> {
        let gc = self.gc.clone().unwrap_or_else(Gc::default);
        let profiler = if self.perfmap { Profiler::PerfMap } else { Profiler::None };
        let config = self.tuning.apply(self.checks.apply(self.limits.config(&gc)));
        let config = config.count_objects(self.stats).profiler(profiler);
        let config = config.epoch_interruption(self.timeout.is_some()).consume_fuel(self.fuel.is_some());
        let engine = Engine::with_config(config)?;
        let output = Output::stdout();
        let mut store = Store::new(&engine, ())?;
        if let Some(fuel) = self.fuel {
            store.set_fuel(fuel)?;
        }
        if let Some(time) = self.timeout {
            store.set_epoch_deadline(1);
            let engine = engine.clone();
            // Nobody waits for it: the process ends with the program.
            std::thread::spawn(move || {
                std::thread::sleep(time);
                engine.increment_epoch();
            });
        }
        let result = self.run_in(&mut store, &output);
        // What the program printed comes before what is said about it.
        let flushed = output.flush();
        if self.stats {
            eprint!("{}", show_stats(&gc.spec, engine.gc().info(), &store.stats()));
        }
        let code = match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => match error.downcast_ref::<Error>().and_then(Error::host_error::<Exit>) {
                Some(Exit(code)) => ExitCode::from(*code as u8),
                None => return Err(describe_exception(error, &mut store)),
            },
        };
        flushed?;
        Ok(code)
    }

    /// Loads everything and runs the program.
    fn run_in(&self, store: &mut Store<()>, output: &Output) -> anyhow::Result<()> {
        let engine = store.engine().clone();
        let wasi = self.wasi(output)?;
        let preload: Vec<(&str, Module)> = self
            .preload
            .iter()
            .map(|(name, file)| Ok((name.as_str(), self.load(&engine, file)?)))
            .collect::<anyhow::Result<_>>()?;
        let module = self.load(&engine, &self.file)?;
        self.check_memory(&module)?;
        let call = self.choose(&engine, &module)?;
        let args = call.args.iter().zip(&call.ty.params).enumerate();
        let args = args
            .map(|(i, (arg, ty))| {
                let usage = |wrong| UsageError(format!("argument {} of `{}`: {wrong}", i + 1, call.name));
                values::parse(arg, *ty, &mut *store).map_err(usage)
            })
            .collect::<Result<Vec<Val>, UsageError>>()?;

        let linker = self.linker(store, &module, &preload, output, wasi)?;
        let instance = linker.instantiate(&mut *store, &module).with_context(|| self.file.clone())?;
        initialize(store, instance)?;
        let results = instance.get_func(&mut *store, call.name)?.call(&mut *store, &args)?;
        for value in &results {
            output.write(format!("{}\n", values::show(value, &*store)).as_bytes())?;
        }
        Ok(())
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

/// Adds what an uncaught exception carries.
fn describe_exception(error: anyhow::Error, store: &mut Store<()>) -> anyhow::Error {
    let Some(exception) = error.downcast_ref::<Error>().and_then(Error::uncaught).cloned() else { return error };
    let values = exception.values(&mut *store);
    if values.is_empty() {
        return error;
    }
    let values = values::show_all(&values, &*store);
    error.context(format!("an exception that carries {values}"))
}

/// What the collector did, as a table.
fn show_stats(spec: &str, info: &CollectorInfo, stats: &Stats) -> String {
    let (counters, usage, pauses) = (&stats.counters, &stats.usage, &stats.pauses);
    let mut table = table();
    let mut row = |name: &str, exact: String, human: String| {
        table.add_row([name, &exact, &human]);
    };
    row("collector", spec.into(), info.summary.into());
    row("collections", text::count(counters.collections), String::new());
    let times = [
        ("pauses, all together", pauses.total()),
        ("pause, median", pauses.quantile(0.5)),
        ("pause, longest", pauses.max()),
    ];
    row("pauses", text::count(pauses.all().len() as u64), String::new());
    for (name, time) in times {
        row(name, format!("{} ns", text::count(time.as_nanos() as u64)), text::duration(time));
    }
    let optional = |count: Option<u64>| count.map_or("not counted".into(), text::count);
    row("objects allocated", optional(counters.objects_allocated), String::new());
    row("objects freed", optional(counters.objects_freed), String::new());
    row("objects traced", text::count(counters.objects_traced), String::new());
    for (name, bytes) in [
        ("bytes allocated", counters.bytes_allocated),
        ("bytes freed", counters.bytes_freed),
        ("bytes copied", counters.bytes_copied),
        ("bytes live at the end", usage.live),
        ("bytes free", usage.free),
        ("bytes wasted", usage.waste),
        ("bytes committed", usage.committed),
        ("bytes of metadata", usage.metadata),
    ] {
        row(name, text::count(bytes), text::size(bytes));
    }
    for (kind, count) in RootKind::ALL.iter().zip(counters.roots) {
        row(&format!("roots visited, {}", kind.name()), text::count(count), String::new());
    }
    for (name, count) in &counters.own {
        row(name, text::count(*count), String::new());
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let lines = table.lines().map(|line| format!("{}\n", line.trim_end()));
    lines.collect()
}
