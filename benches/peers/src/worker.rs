//! What runs a program in a process of its own, as `peer` asks for it: Gleaner and Wasmtime. `v8.mjs` does the same in Node.

use crate::EngineName;
use crate::peer::{Answer, Ran, Ready, Run};
use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use std::fs;
use std::io::{BufRead, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The environment's variable for the heap's limit, in MiB.
pub const HEAP: &str = "PEERS_HEAP";
/// Gleaner's where none is given; Wasmtime's is then what its indices allow, 4 GiB.
const DEFAULT_HEAP: u64 = 4000 << 20;
/// Deep recursion needs a deep stack under every engine.
const STACK: usize = 64 << 20;

#[derive(Args)]
pub struct WorkerArgs {
    #[arg(value_enum)]
    engine: EngineName,
    collector: String,
}

/// A program made ready: each call runs it in a fresh store.
type Program = Box<dyn Fn(&Run) -> Result<Call>>;

/// What a call came to.
struct Call {
    time: Duration,
    result: Option<i32>,
    output: String,
}

/// Answers the requests on standard input until it ends.
pub fn serve(args: &WorkerArgs) -> Result<()> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK + (16 << 20));
        thread.spawn_scoped(scope, || answer_all(args))?.join().expect("no panic")
    })
}

fn answer_all(args: &WorkerArgs) -> Result<()> {
    let mut lines = std::io::stdin().lock().lines();
    let Some(ready) = lines.next() else { return Ok(()) };
    let program = match prepare(args, &serde_json::from_str(&ready?)?) {
        Ok(program) => program,
        Err(error) => return answer(&Answer::Failed { error: format!("{error:#}") }),
    };
    // The peak so far is the compiler's.
    let _ = fs::write("/proc/self/clear_refs", "5");
    let before = resident("VmRSS:");
    answer(&Answer::Ready {})?;
    for line in lines {
        let run: Run = serde_json::from_str(&line?)?;
        answer(&match program(&run) {
            Ok(Call { time, result, output }) => Answer::Ran(Ran {
                ns: time.as_nanos() as u64,
                result,
                output,
                memory: resident("VmHWM:").zip(before).map(|(peak, before)| peak.saturating_sub(before)),
            }),
            Err(error) => Answer::Failed { error: format!("{error:#}") },
        })?;
    }
    Ok(())
}

fn answer(answer: &Answer) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(answer)?)?;
    Ok(out.flush()?)
}

/// Bytes of this process's memory, where the system says.
fn resident(what: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(what))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

fn prepare(args: &WorkerArgs, ready: &Ready) -> Result<Program> {
    let heap: Option<u64> = std::env::var(HEAP).ok().map(|mib| mib.parse()).transpose()?;
    let heap = heap.map(|mib| mib << 20);
    let wasm = fs::read(&ready.file).with_context(|| format!("{}", ready.file.display()))?;
    match args.engine {
        EngineName::Gleaner => gleaner(&args.collector, heap.unwrap_or(DEFAULT_HEAP), &wasm, ready.wasi.clone()),
        EngineName::Wasmtime => wasmtime(&args.collector, heap, &wasm),
        EngineName::V8 => bail!("V8 has a program of its own"),
    }
}

/// A writer that others read.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn gleaner(spec: &str, heap: u64, wasm: &[u8], wasi: Option<Vec<String>>) -> Result<Program> {
    use engine::{Config, Engine, Linker, Module, Store, Val};
    use gleaner::{output::Output, wasi};
    let gc = gleaner::collectors::by_spec(spec).map_err(|error| anyhow!("{error}"))?;
    let engine = Engine::with_config(Config::new(gc).heap_limit(heap).max_wasm_stack(STACK))?;
    let module = Module::new(&engine, wasm)?;
    Ok(Box::new(move |run| {
        let printed = Shared::default();
        let output = Output::new(printed.clone());
        let mut store = Store::new(&engine, ())?;
        let mut linker = Linker::new(&engine);
        linker.func_wrap("spectest", "print_char", |_: i32| ())?;
        if let Some(args) = &wasi {
            let args = ["program".to_string()].into_iter().chain(args.iter().cloned());
            // OCaml's runtime wants one variable at least.
            let env = [("LANG".to_string(), "C".to_string())];
            wasi::Wasi::new(args, &env, output.clone()).add_to_linker(&mut linker)?;
        }
        let instance = linker.instantiate(&mut store, &module)?;
        let (name, params) = match (run.n, run.parameter) {
            (Some(n), None) => ("run", vec![Val::I32(n)]),
            (Some(n), Some(parameter)) => ("run_with", vec![Val::I32(n), Val::I32(parameter)]),
            (None, _) => ("_start", vec![]),
        };
        let function = instance.get_func(&mut store, name)?;
        let start = Instant::now();
        let results = function.call(&mut store, &params);
        let time = start.elapsed();
        let result = match results {
            Ok(results) => results.first().and_then(Val::i32),
            Err(error) if is_exit(&error) => None,
            Err(error) => return Err(error.into()),
        };
        output.flush()?;
        let output = String::from_utf8_lossy(&printed.0.lock().expect("no panic")).into_owned();
        Ok(Call { time, result, output })
    }))
}

/// Whether a program ended itself, and well.
fn is_exit(error: &engine::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    std::iter::from_fn(|| {
        let this = cause?;
        cause = this.source();
        Some(this)
    })
    .any(|error| error.downcast_ref::<gleaner::wasi::Exit>().is_some_and(|exit| exit.0 == 0))
}

/// Why Wasmtime failed; its errors are no standard ones.
fn cause(error: wasmtime::Error) -> anyhow::Error {
    anyhow!("{}", error.root_cause())
}

fn wasmtime(collector: &str, heap: Option<u64>, wasm: &[u8]) -> Result<Program> {
    use wasmtime::{Collector, Config, Engine, Linker, Module, Store, StoreLimits, StoreLimitsBuilder};
    let collector = match collector {
        "null" => Collector::Null,
        "drc" => Collector::DeferredReferenceCounting,
        "copying" => Collector::Copying,
        other => bail!("Wasmtime has no collector `{other}`"),
    };
    let mut config = Config::new();
    config.wasm_gc(true).wasm_function_references(true).wasm_exceptions(true).wasm_tail_call(true);
    config.collector(collector).max_wasm_stack(STACK).async_stack_size(STACK + (16 << 20));
    let engine = Engine::new(&config).map_err(cause)?;
    let module = Module::new(&engine, wasm).map_err(cause)?;
    Ok(Box::new(move |call| {
        let n = call.n.ok_or_else(|| anyhow!("WASI is a crate of its own"))?;
        // A heap is a memory to its limiter.
        let limits = StoreLimitsBuilder::new().memory_size(heap.unwrap_or_default() as usize).build();
        let mut store: Store<StoreLimits> = Store::new(&engine, limits);
        if heap.is_some() {
            store.limiter(|limits| limits);
        }
        let mut linker = Linker::new(&engine);
        linker.func_wrap("spectest", "print_char", |_: i32| {}).map_err(cause)?;
        let instance = linker.instantiate(&mut store, &module).map_err(cause)?;
        let (time, result) = match call.parameter {
            None => {
                let run = instance.get_typed_func::<i32, i32>(&mut store, "run").map_err(cause)?;
                let start = Instant::now();
                let result = run.call(&mut store, n).map_err(cause)?;
                (start.elapsed(), result)
            }
            Some(parameter) => {
                let run = instance.get_typed_func::<(i32, i32), i32>(&mut store, "run_with").map_err(cause)?;
                let start = Instant::now();
                let result = run.call(&mut store, (n, parameter)).map_err(cause)?;
                (start.elapsed(), result)
            }
        };
        Ok(Call { time, result: Some(result), output: String::new() })
    }))
}
