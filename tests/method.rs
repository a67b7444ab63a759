//! The method of `gleaner bench` is tested as collectors are: what is not there must not be found, and what was put there must be.
//! Times are compared by their intervals, at a level at which one of a thousand runs errs; counts must be equal.

mod common {
    pub mod process;
}

use common::process::gleaner_with_input;
use engine::{Config, Engine, Instance, Module, Store};
use gleaner::collectors;
use lab::analysis::{Cost, Timeline, lower_bound_overheads};
use lab::files::{OnDamage, Records};
use lab::minheap::{LEAST, search};
use lab::record::{Iteration, Outcome, Record};
use lab::stats::Ratio;
use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// The level of confidence of every interval here.
const LEVEL: f64 = 0.999;

/// Only one experiment runs at a time: they would be each other's noise.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs `gleaner bench` with two configurations, `a` and `b`, and gives the records of each, pair by pair.
fn pairs(folder: &Path, program: &str, heap: &str, inject: Option<&str>, invocations: u32) -> [Vec<Record>; 2] {
    let (output, invocations) = (folder.display().to_string(), invocations.to_string());
    let mut args = vec!["bench", "--programs", program, "--gc", "a=semispace,b=semispace", "--heap", heap];
    args.extend(["--invocations", &invocations, "-o", &output]);
    let costs = inject.map(|costs| format!("b={costs}"));
    if let Some(costs) = &costs {
        args.extend(["--inject", costs]);
    }
    let ended = gleaner_with_input(&args, b"");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let records = Records::read(&[folder.into()], OnDamage::Fail).unwrap().records;
    ["a", "b"].map(|label| {
        let mut side: Vec<Record> = records.iter().filter(|record| record.cell.config == label).cloned().collect();
        side.sort_by_key(|record| record.invocation);
        assert!(side.iter().all(|record| record.outcome == Outcome::Ok), "{side:?}");
        side
    })
}

/// How much longer the second side takes.
fn ratio(sides: &[Vec<Record>; 2], time: impl Fn(&Iteration) -> f64 + Copy) -> Ratio {
    let [a, b] =
        [&sides[0], &sides[1]].map(|side| side.iter().map(|record| record.mean(time).unwrap()).collect::<Vec<f64>>());
    Ratio::paired(&a, &b, LEVEL).unwrap()
}

/// What is exact about all of a side's iterations, which must agree.
fn exact(side: &[Record]) -> (std::collections::BTreeMap<String, u64>, String) {
    let mut all = side.iter().flat_map(|record| &record.iterations);
    let of = |iteration: &Iteration| (iteration.counters.clone(), iteration.collections.digest.clone());
    let first = of(all.next().unwrap());
    assert!(all.all(|iteration| of(iteration) == first), "counts are the same each time");
    first
}

/// Processor time of the program itself: another process that gets the processor for a while is not in it.
fn mutator_task(iteration: &Iteration) -> f64 {
    (iteration.task_ns - iteration.gc_task_ns.min(iteration.task_ns)) as f64
}

fn task(iteration: &Iteration) -> f64 {
    iteration.task_ns as f64
}

fn gc_task(iteration: &Iteration) -> f64 {
    iteration.gc_task_ns as f64
}

#[test]
fn the_same_twice_is_no_difference() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let sides = pairs(folder.path(), "lru_cache=300000", "4MiB", None, 15);
    assert_eq!(exact(&sides[0]), exact(&sides[1]));
    for (what, ratio) in [("task", ratio(&sides, task)), ("mutator", ratio(&sides, mutator_task))] {
        assert!(!ratio.differs(), "{what}: {ratio:?}");
    }
    let folder = folder.path().display();
    let args = ["compare", &format!("{folder}#a"), &format!("{folder}#b"), "--level", "99.9%", "--time", "task"];
    assert_eq!(gleaner_with_input(&args, b"").code, Some(0));
}

/// Ten multiplications at each store of a reference are some 3 % of what a request takes.
#[test]
fn a_small_cost_in_a_barrier_is_found_and_is_the_mutators() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    // As many pairs as it takes on a machine that does other things; on an idle one fifteen do.
    let found = [15, 30, 60, 120, 240].into_iter().find_map(|invocations| {
        let sides = pairs(folder.path(), "requests=50000", "8MiB", Some("barrier=10"), invocations);
        ratio(&sides, mutator_task).differs().then_some(sides)
    });
    let sides = found.expect("240 pairs show what was put there");
    let (mutator, collector) = (ratio(&sides, mutator_task), ratio(&sides, gc_task));
    eprintln!("{} pairs: mutator {mutator:?}, collector {collector:?}", sides[0].len());
    assert!(mutator.low > 1.0 && mutator.ratio < 1.15, "{mutator:?}");
    assert!(!collector.differs() || collector.ratio < mutator.ratio, "{collector:?}");
    assert_eq!(exact(&sides[0]), exact(&sides[1]), "a barrier that costs time counts nothing else");
}

#[test]
fn a_long_pause_moves_utilisation_and_the_longest_pause_and_no_counter() {
    const PAUSE: u64 = 5_000_000;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let sides = pairs(folder.path(), "lru_cache=300000", "4MiB", Some("pause=5000us"), 5);
    assert_eq!(exact(&sides[0]), exact(&sides[1]));
    let timelines =
        |side: &[Record]| -> Vec<Timeline> { side.iter().flat_map(Record::timed).map(Timeline::of).collect() };
    let (without, with) = (timelines(&sides[0]), timelines(&sides[1]));
    for timeline in &with {
        assert!(timeline.longest() >= PAUSE && timeline.mmu(PAUSE) == 0.0, "{timeline:?}");
    }
    // A machine that does other things may stop a collection for as long, but not each time.
    assert!(without.iter().any(|timeline| timeline.longest() < PAUSE && timeline.mmu(PAUSE) > 0.0), "{without:?}");
    assert!(sides[1].iter().flat_map(Record::timed).all(|iteration| iteration.phases_ns["reclaim"] >= PAUSE));
}

/// Whether a program runs in a heap of so many KiB.
fn fits(gc: &str, module: &[u8], n: i32, kib: u64) -> bool {
    let config = Config::new(collectors::by_spec(gc).unwrap()).heap_limit(kib * 1024);
    let engine = Engine::with_config(config.heap_policy(gc_api::HeapPolicy::Fixed)).unwrap();
    let module = Module::new(&engine, module).unwrap();
    let mut store = Store::new(&engine, ()).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let run = instance.get_typed_func::<i32, i32>(&mut store, "run").unwrap();
    run.call(&mut store, n).is_ok()
}

#[test]
fn bisection_finds_what_a_search_through_all_sizes_does() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for (program, n) in [("lru_cache", 1500), ("awfy_storage", 8), ("requests", 60)] {
        let source = fs::read(format!("benches/programs/{program}.wat")).unwrap();
        let module = wat::parse_bytes(&source).unwrap();
        for gc in ["semispace", "marksweep", "drc"] {
            let found = search(|kib| Ok::<_, Infallible>(fits(gc, &module, n, kib))).unwrap().unwrap();
            let least = (LEAST..).find(|kib| fits(gc, &module, n, *kib)).unwrap();
            assert_eq!(found, least, "{program} under {gc}");
            assert!(found > LEAST, "{program} fits the smallest heap under {gc}: nothing was searched");
        }
    }
}

/// Of a program that hardly allocates, and of a collector that never collects, by wall-clock and by processor time.
#[test]
fn a_collector_that_does_nothing_has_no_overhead() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // As many invocations as it takes on a machine that does other things.
    let found = [15, 30, 60, 120].into_iter().any(|invocations| has_drc_an_overhead(&invocations.to_string()));
    assert!(found, "120 invocations show that drc's barrier works in vain");
}

/// Whether `drc`, whose barrier works in vain, is told from a collector that does nothing, which is not told from 1.
fn has_drc_an_overhead(invocations: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().display().to_string();
    let args = ["bench", "--programs", "awfy_permute=500", "--gc", "null,semispace,drc", "--heap", "64MiB"];
    let args: Vec<&str> = args.into_iter().chain(["--invocations", invocations, "-o", &output]).collect();
    assert_eq!(gleaner_with_input(&args, b"").code, Some(0));
    let records = Records::read(&[folder.path().into()], OnDamage::Fail).unwrap().records;
    let of = |config: &str, cost: fn(&Record) -> Option<Cost>| -> Vec<Cost> {
        records.iter().filter(|record| record.cell.config == config).filter_map(cost).collect()
    };
    for cost in [Cost::wall, Cost::task] {
        let null = of("null", cost);
        assert!(null.iter().all(|cost| cost.explicit == 0.0), "it has no pauses");
        // On its own it is the baseline, exactly.
        assert!(null.iter().all(|cost| lower_bound_overheads(&[*cost]) == [1.0]));
    }
    // Beside others its overhead is not told from 1.
    let overheads = |config: &str| {
        let (own, others) = (of(config, Cost::task), [of("semispace", Cost::task), of("null", Cost::task)]);
        let own: Vec<f64> = own.iter().map(|cost| cost.total).collect();
        others.map(|other| {
            Ratio::paired(&other.iter().map(|cost| cost.total).collect::<Vec<f64>>(), &own, LEVEL).unwrap()
        })
    };
    assert!(!overheads("null")[0].differs(), "{:?}", overheads("null"));
    eprintln!("{invocations} invocations: {:?}", overheads("drc"));
    overheads("drc")[1].low > 1.0
}
