//! What an instance costs, beside Wasmtime: a store, an instance in it, a call, and the end of both, with and without pools.
//!
//! All engines are made ready first. Then each in turn does a batch, and all of them another, until there are enough: what
//! disturbs the machine disturbs all alike. Printed are medians over the batches, per instance, and ratios.

use anyhow::{Result, anyhow, bail};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use std::time::Instant;

/// How often.
#[derive(Args)]
pub struct InstantiateArgs {
    /// Only modules whose name contains this.
    filter: Option<String>,
    /// Batches per engine.
    #[arg(long, default_value_t = 30)]
    batches: usize,
    /// Instances that one thread makes in a batch.
    #[arg(long, default_value_t = 300)]
    instances: u32,
    /// Threads that do the same at the same time.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Two small batches: to see that everything runs.
    #[arg(long)]
    quick: bool,
}

/// The modules, which export `run` and import `host` `number`, the number 37; and what `run` gives.
const MODULES: [(&str, &str); 3] = [
    ("objects", include_str!("../../instantiate/objects.wat")),
    ("memory", include_str!("../../instantiate/memory.wat")),
    ("grown", include_str!("../../instantiate/grown.wat")),
];
const NUMBER: i32 = 37;
const RESULT: i32 = 42;

/// The collectors that both have.
const COLLECTORS: [&str; 2] = ["null", "drc"];

/// Where stores get what they need.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    GleanerPooled,
    WasmtimePooling,
    /// As many bytes are kept as Gleaner keeps.
    WasmtimePoolingKeeps,
    GleanerFresh,
    WasmtimeOnDemand,
}

const WAYS: [(Way, &str); 5] = [
    (Way::GleanerPooled, "gleaner, pooled"),
    (Way::WasmtimePooling, "wasmtime, pooling"),
    (Way::WasmtimePoolingKeeps, "wasmtime, pooling and keeping"),
    (Way::GleanerFresh, "gleaner, fresh"),
    (Way::WasmtimeOnDemand, "wasmtime, on demand"),
];

/// What is compared: the first as a ratio to the second.
const RATIOS: [(Way, Way, &str); 3] = [
    (Way::GleanerPooled, Way::WasmtimePooling, "pooled ÷ pooling"),
    (Way::GleanerPooled, Way::WasmtimePoolingKeeps, "pooled ÷ keeping"),
    (Way::GleanerFresh, Way::WasmtimeOnDemand, "fresh ÷ on demand"),
];

/// Makes an instance, calls it, and drops it, so many times.
type Batch = Box<dyn Fn(u32) -> Result<()> + Sync>;

/// Runs `instantiate`.
pub fn run(args: &InstantiateArgs) -> Result<()> {
    let (batches, instances) = if args.quick { (2, 3) } else { (args.batches, args.instances) };
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    let mut header = vec!["module".to_string(), "collector".to_string()];
    header.extend(WAYS.iter().map(|(_, name)| format!("{name}, µs")));
    header.extend(RATIOS.iter().map(|(.., name)| name.to_string()));
    table.set_header(header);
    for (name, module) in MODULES {
        if args.filter.as_ref().is_some_and(|filter| !name.contains(filter.as_str())) {
            continue;
        }
        for collector in COLLECTORS {
            eprintln!("{name} {collector}");
            let ready = WAYS.iter().map(|(way, _)| prepare(*way, collector, module)).collect::<Result<Vec<_>>>()?;
            let mut times: Vec<Vec<f64>> = vec![Vec::new(); WAYS.len()];
            for _ in 0..batches {
                for (batch, times) in ready.iter().zip(&mut times) {
                    // What other engines did to the caches is not this one's.
                    batch(instances.div_ceil(10))?;
                    let start = Instant::now();
                    std::thread::scope(|scope| {
                        let others: Vec<_> = (1..args.threads).map(|_| scope.spawn(|| batch(instances))).collect();
                        batch(instances)?;
                        others.into_iter().try_for_each(|other| other.join().expect("no panic"))
                    })?;
                    times.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(instances));
                }
            }
            let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
            let of = |way: Way| medians[WAYS.iter().position(|(other, _)| *other == way).expect("it is listed")];
            let mut cells = vec![name.to_string(), collector.to_string()];
            cells.extend(medians.iter().map(|median| format!("{median:.2}")));
            cells.extend(RATIOS.iter().map(|(a, b, _)| format!("{:.2}", of(*a) / of(*b))));
            table.add_row(cells);
        }
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    Ok(())
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn prepare(way: Way, collector: &str, module: &str) -> Result<Batch> {
    let wasm = wat::parse_str(module)?;
    match way {
        Way::GleanerPooled | Way::GleanerFresh => gleaner(way, collector, &wasm),
        _ => wasmtime(way, collector, &wasm),
    }
}

fn check(result: i32) -> Result<()> {
    if result != RESULT {
        bail!("`run` gives {result} instead of {RESULT}");
    }
    Ok(())
}

fn gleaner(way: Way, collector: &str, wasm: &[u8]) -> Result<Batch> {
    use engine::{Config, Engine, Linker, Module, Pooling, Store};
    let gc = gleaner::collectors::by_spec(collector).map_err(|e| anyhow!("{e}"))?;
    let mut config = Config::new(gc);
    if way == Way::GleanerFresh {
        config = config.pooling(Pooling::NONE);
    }
    let engine = Engine::with_config(config).map_err(|e| anyhow!("{e}"))?;
    let module = Module::new(&engine, wasm).map_err(|e| anyhow!("{e}"))?;
    let mut linker: Linker<()> = Linker::new(&engine);
    linker.func_wrap("host", "number", || NUMBER).map_err(|e| anyhow!("{e}"))?;
    let store = Store::new(&engine, ()).map_err(|e| anyhow!("{e}"))?;
    let pre = linker.instantiate_pre(store, &module).map_err(|e| anyhow!("{e}"))?;
    let once = move || -> engine::Result<i32> {
        let mut store = Store::new(&engine, ())?;
        let instance = pre.instantiate(&mut store)?;
        instance.get_typed_func::<(), i32>(&mut store, "run")?.call(&mut store, ())
    };
    Ok(Box::new(move |instances| (0..instances).try_for_each(|_| check(once().map_err(|e| anyhow!("{e}"))?))))
}

fn wasmtime(way: Way, collector: &str, wasm: &[u8]) -> Result<Batch> {
    use wasmtime::{
        Collector, Config, Engine, InstanceAllocationStrategy, Linker, Module, PoolingAllocationConfig, Store,
    };
    let mut config = Config::new();
    config.wasm_gc(true).wasm_function_references(true).collector(match collector {
        "null" => Collector::Null,
        _ => Collector::DeferredReferenceCounting,
    });
    if way != Way::WasmtimeOnDemand {
        let mut pool = PoolingAllocationConfig::new();
        if way == Way::WasmtimePoolingKeeps {
            let kept = engine::Pooling::default().resident;
            pool.linear_memory_keep_resident(kept).table_keep_resident(kept);
        }
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    let engine = Engine::new(&config).map_err(|e| anyhow!("{e:?}"))?;
    let module = Module::new(&engine, wasm).map_err(|e| anyhow!("{e:?}"))?;
    let mut linker: Linker<()> = Linker::new(&engine);
    linker.func_wrap("host", "number", || NUMBER).map_err(|e| anyhow!("{e:?}"))?;
    let pre = linker.instantiate_pre(&module).map_err(|e| anyhow!("{e:?}"))?;
    let once = move || -> wasmtime::Result<i32> {
        let mut store = Store::new(&engine, ());
        let instance = pre.instantiate(&mut store)?;
        instance.get_typed_func::<(), i32>(&mut store, "run")?.call(&mut store, ())
    };
    Ok(Box::new(move |instances| (0..instances).try_for_each(|_| check(once().map_err(|e| anyhow!("{e:?}"))?))))
}
