//! The collectors of `docs/tutorial` run programs, and its table says what they do.

use engine::{Config, Engine, Func, Instance, Linker, Module, Store, Val};
use gc_api::Collector;
use gleaner::text;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use tutorial::STATES;
use tutorial::text::CHAPTERS;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The collector at the end of each chapter.
fn collectors() -> impl Iterator<Item = (&'static str, Collector)> {
    CHAPTERS.iter().map(|chapter| *STATES.iter().find(|(name, _)| *name == chapter.state).expect("it is listed"))
}

fn config(collector: Collector) -> Config {
    Config::new(collector.with(&Default::default()).unwrap())
}

#[test]
fn the_table_says_what_keep_half_takes() {
    let program = std::fs::read(Path::new(ROOT).join("examples/keep_half.wat")).unwrap();
    let mut table = "\n| chapter | collections | objects traced | bytes copied | bytes freed | bytes live at the end | bytes committed |\n\
                     |---|---:|---:|---:|---:|---:|---:|\n"
        .to_string();
    for (i, (name, collector)) in collectors().enumerate() {
        let engine = Engine::with_config(config(collector).count_objects(true)).unwrap();
        let module = Module::new(&engine, &program).unwrap();
        let mut store = Store::new(&engine, ()).unwrap();
        let (mut linker, sum) = (Linker::new(&engine), Arc::new(AtomicI64::new(0)));
        let printed = sum.clone();
        linker.func_wrap("spectest", "print_i64", move |value: i64| printed.store(value, Relaxed)).unwrap();
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let start: Func = instance.get_func(&mut store, "_start").unwrap();
        start.call(&mut store, &[]).unwrap();
        assert_eq!(sum.load(Relaxed), 249_999_500_000, "{name}");
        let stats = store.stats();
        let (counters, usage) = (stats.counters, stats.usage);
        let numbers = [
            counters.collections,
            counters.objects_traced,
            counters.bytes_copied,
            counters.bytes_freed,
            usage.live,
            usage.committed,
        ];
        let numbers = numbers.map(text::count).join(" | ");
        writeln!(table, "| {}. {name} | {numbers} |", i + 1).unwrap();
    }
    table.push('\n');

    let path = Path::new(ROOT).join("docs/tutorial/README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("<!-- counters -->\n").unwrap();
    let (found, after) = rest.split_once("<!-- end -->").unwrap();
    if std::env::var_os("GLEANER_BLESS").is_some() {
        return std::fs::write(&path, format!("{before}<!-- counters -->\n{table}<!-- end -->{after}")).unwrap();
    }
    assert_eq!(found, table, "`GLEANER_BLESS=1 cargo test --test tutorial` writes it anew");
}

/// Programs that write to old objects and make cycles; with a collection at every 2003rd allocation, and each collection
/// checked against an independent trace.
#[test]
fn programs_run_verified() {
    let list = std::fs::read(Path::new(ROOT).join("benches/programs/programs.json")).unwrap();
    let list: Vec<serde_json::Value> = serde_json::from_slice(&list).unwrap();
    for name in ["mutate_old", "cycles", "lru_cache"] {
        let listed = list.iter().find(|program| program["name"] == name).unwrap();
        let size = listed["small"].as_i64().unwrap() as i32;
        let source = std::fs::read(Path::new(ROOT).join(format!("benches/programs/{name}.wat"))).unwrap();
        for (state, collector) in collectors() {
            let config = config(collector).verify(true).zeal("alloc:2003,move,poison".parse().unwrap());
            let engine = Engine::with_config(config).unwrap();
            let mut store = Store::new(&engine, ()).unwrap();
            let module = Module::new(&engine, &source).unwrap();
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let run = instance.get_func(&mut store, "run").unwrap();
            let results =
                run.call(&mut store, &[Val::I32(size)]).unwrap_or_else(|error| panic!("{state}: {name}: {error}"));
            assert_eq!(results[0].i32().map(i64::from), listed["small_result"].as_i64(), "{state}: {name}");
        }
    }
}
