//! The cards of the benchmark programs, `benches/programs/CARDS.md`: what `gleaner characterise` counts is what is written there.
//! `GLEANER_BLESS=1 cargo test --test cards` writes them anew.

mod common {
    pub mod process;
}

use common::process::gleaner_with_input;
use gleaner::text;
use lab::files::Records;
use lab::minheap::minima;
use lab::plan::Plan;
use lab::record::{Outcome, Purpose};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

const HEAD: &str = "\
# Cards

What each program does with its objects, counted by `gleaner characterise` at a size at which nurseries fill up, if it allocates at
all, and counting does not take long. The counts are exact, the same everywhere, and a test compares them with this table. After a
change to a program or to what is counted,

    GLEANER_BLESS=1 cargo test --test cards

writes it anew; `cards.json` has the sizes. A single card, here of a program with its parameter, is printed by

    gleaner characterise --invoke run_with benches/programs/survive.wat 1200000 50

- **allocated**: by all objects together, headers included; **rate**: bytes allocated per 1,000 instructions (units of fuel), which
  unlike bytes per second are the same on each machine and under each collector.
- **writes**: references written into objects over others or over null, per object allocated; what initialises is not counted.
- **acyclic**: objects whose type's can be in no cycle of references, by what the program declares.
- **live**: the most that was reachable at any of the censuses, which take place when 1 KiB, 2 KiB, 4 KiB and so on have been
  allocated, and from 1 MiB on each MiB; **depth**: the most objects on the shortest path from a root to an object then.
- **1, 4, 16 MiB**: how much of a nursery of that size lives when it has just been filled; – where the program does not allocate so much.

";

/// The second table: what differs from collector to collector.
const HEAPS: &str = "
## Heaps

The smallest heap in KiB in which each program runs, at the same sizes, under each collector, searched to the KiB. A heap in which it does
not end within 5 seconds is too small, too; 64 KiB is the smallest that is tried. And the bytes that it allocates in a second of its own time, that is without pauses, in a heap of
1 GiB under `semispace`, where a machine with nothing else to do gave the median of three processes; – where it allocates less than 4 MiB.

    gleaner minheap benches/programs/cards.toml -o cards
    gleaner bench benches/programs/cards.toml --gc semispace -o cards
    GLEANER_BLESS=1 GLEANER_CARDS=cards cargo test --test cards

measure them anew and write them to `heaps.json` and to this table. A test runs some of the programs in the smallest heap and in one of a KiB less.

";

/// The collectors of the second table.
const COLLECTORS: [&str; 5] = ["drc", "semispace", "marksweep", "immix", "generational"];
/// Bytes that a program allocates at least to have a rate.
const RATED: u64 = 4 << 20;

/// What a column shows, and of which of the numbers.
type Column = (&'static str, fn(&Value) -> String);

const COLUMNS: [Column; 12] = [
    ("allocated, KiB", |card| kib(&card["bytes"])),
    ("objects", |card| text::count(number(&card["objects"]))),
    ("bytes an object", |card| ratio(&card["bytes"], &card["objects"], 1.0, 1)),
    ("rate", |card| ratio(&card["bytes"], &card["instructions"], 1000.0, 1)),
    ("writes", |card| ratio(&card["object_writes"], &card["objects"], 1.0, 2)),
    ("acyclic", |card| percent(&card["acyclic_objects"], &card["objects"])),
    ("live, KiB", |card| kib(&card["live_bytes"])),
    ("live objects", |card| text::count(number(&card["live_objects"]))),
    ("depth", |card| text::count(number(&card["depth"]))),
    ("1 MiB", |card| survival(card, 0)),
    ("4 MiB", |card| survival(card, 1)),
    ("16 MiB", |card| survival(card, 2)),
];

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn kib(bytes: &Value) -> String {
    match number(bytes) {
        bytes if bytes < 10 << 10 => format!("{:.1}", bytes as f64 / 1024.0),
        bytes => text::count(bytes >> 10),
    }
}

fn ratio(part: &Value, whole: &Value, scale: f64, digits: usize) -> String {
    format!("{:.digits$}", number(part) as f64 * scale / number(whole) as f64)
}

fn percent(part: &Value, whole: &Value) -> String {
    match number(whole) {
        0 => "–".to_string(),
        whole => format!("{:.1} %", number(part) as f64 * 100.0 / whole as f64),
    }
}

fn survival(card: &Value, nursery: usize) -> String {
    let window = &card["survival"][nursery];
    percent(&window["survived_bytes"], &window["bytes"])
}

/// A program's row.
fn row(name: &str, size: u64) -> String {
    let size = size.to_string();
    let arguments = match name.split_once('/') {
        None => vec!["--invoke".to_string(), "run".to_string(), format!("benches/programs/{name}.wat")],
        Some(("moonbit", name)) => vec!["--invoke".into(), "run".into(), format!("benches/moonbit/wasm/{name}.wasm")],
        Some((folder, name)) => vec![format!("benches/{folder}/wasm/{name}.wasm")],
    };
    let mut line = vec!["characterise", "--json"];
    line.extend(arguments.iter().map(String::as_str));
    line.push(&size);
    let card: Value = serde_json::from_str(&gleaner_with_input(&line, b"").ok()).unwrap();
    let cells = COLUMNS.map(|(_, show)| show(&card)).join(" | ");
    format!("| `{name}` | {} | {cells} |\n", text::count(size.parse().unwrap()))
}

/// The second table, of what is in `heaps.json`.
fn heaps(sizes: &[(&String, u64)]) -> String {
    let measured = json(file("heaps.json"));
    let mut table = format!(
        "| program | n | MB/s | `{}` |\n|---|{}\n",
        COLLECTORS.join("` | `"),
        "---:|".repeat(COLLECTORS.len() + 2)
    );
    for (name, size) in sizes {
        let of = &measured[name.as_str()];
        assert_eq!(number(&of["n"]), *size, "heaps.json has {name} at another size");
        let rate = of["mb_a_second"].as_u64().map_or("–".into(), text::count);
        let heaps = COLLECTORS.map(|collector| text::count(number(&of["kib"][collector]))).join(" | ");
        table += &format!("| `{name}` | {} | {rate} | {heaps} |\n", text::count(*size));
    }
    table
}

/// Writes `heaps.json` from the records in a folder.
fn measured(folder: &Path, sizes: &[(&String, u64)]) {
    let records = Records::in_folder(folder).unwrap().records;
    let minima = minima(&records);
    let mut all = serde_json::Map::new();
    for (name, size) in sizes {
        let cell = format!("{name}={size}");
        let kib = |collector: &str| {
            let minimum = minima.get(&(cell.clone(), collector.to_string()));
            let minimum = minimum.unwrap_or_else(|| panic!("no minimum of {cell} under {collector}"));
            assert!(minimum.exact, "{cell} under {collector}: the search is not over");
            (collector.to_string(), Value::from(minimum.bytes >> 10))
        };
        let runs = records.iter().filter(|record| {
            let of = &record.cell;
            record.purpose == Purpose::Bench
                && of.program == cell
                && of.config == "semispace"
                && record.outcome == Outcome::Ok
        });
        let runs = runs.flat_map(|record| record.timed()).filter(|run| run.counters["bytes_allocated"] >= RATED);
        let mut rates: Vec<u64> =
            runs.map(|run| run.counters["bytes_allocated"] * 1000 / (run.wall_ns - run.gc_ns)).collect();
        rates.sort_unstable();
        let rate = rates.get(rates.len() / 2);
        let kib: serde_json::Map<String, Value> = COLLECTORS.into_iter().map(kib).collect();
        all.insert(name.to_string(), serde_json::json!({"n": size, "mb_a_second": rate, "kib": kib}));
    }
    fs::write(file("heaps.json"), serde_json::to_string_pretty(&all).unwrap() + "\n").unwrap();
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/programs").join(name)
}

fn json(file: PathBuf) -> Value {
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn the_cards_are_what_is_counted() {
    let sizes = json(file("cards.json"));
    let sizes: Vec<(&String, u64)> = sizes.as_object().unwrap().iter().map(|(name, n)| (name, number(n))).collect();
    if let Some(folder) = std::env::var_os("GLEANER_CARDS") {
        measured(&PathBuf::from(folder), &sizes);
    }
    // Two at a time.
    let next = Mutex::new(sizes.iter().enumerate());
    let rows = Mutex::new(vec![String::new(); sizes.len()]);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some((i, (name, size))) = next.lock().unwrap().next() else { break };
                    let row = row(name, *size);
                    rows.lock().unwrap()[i] = row;
                }
            });
        }
    });
    let titles = COLUMNS.map(|(title, _)| title).join(" | ");
    let table = format!("| program | n | {titles} |\n|---|{}\n", "---:|".repeat(COLUMNS.len() + 1));
    let text = [HEAD, &table, &rows.into_inner().unwrap().concat(), HEAPS, &heaps(&sizes)].concat();
    if std::env::var_os("GLEANER_BLESS").is_some() {
        fs::write(file("CARDS.md"), text).unwrap();
        return;
    }
    let written = fs::read_to_string(file("CARDS.md")).unwrap();
    for (written, counted) in written.lines().zip(text.lines()) {
        assert_eq!(written, counted, "GLEANER_BLESS=1 cargo test --test cards writes the table anew");
    }
    assert_eq!(written, text);
}

#[test]
fn every_program_with_objects_has_a_card() {
    let sizes = json(file("cards.json"));
    let has = |name: &str| assert!(sizes[name].is_u64(), "{name} has no size in cards.json");
    let listed = json(file("programs.json"));
    let with_objects = listed.as_array().unwrap().iter().filter(|program| program["heap"] != false);
    with_objects.for_each(|program| has(program["name"].as_str().unwrap()));
    for folder in ["moonbit", "ocaml"] {
        let sizes = json(file(&format!("../{folder}/sizes.json")));
        sizes.as_object().unwrap().keys().for_each(|name| has(&format!("{folder}/{name}")));
    }
}

/// Programs whose smallest heaps are tried: they end soon in these.
const TRIED: [&str; 7] =
    ["awfy_bounce", "cast_chain", "closures", "cycles", "moonbit/binary_trees", "roots", "str_build"];

#[test]
fn the_smallest_heaps_are_the_smallest() {
    let heaps = json(file("heaps.json"));
    for name in TRIED {
        let n = number(&heaps[name]["n"]).to_string();
        let path = match name.split_once('/') {
            None => format!("benches/programs/{name}.wat"),
            Some((folder, name)) => format!("benches/{folder}/wasm/{name}.wasm"),
        };
        for collector in COLLECTORS {
            let kib = number(&heaps[name]["kib"][collector]);
            let run = |kib: u64| {
                let heap = format!("{kib}KiB");
                gleaner_with_input(&["run", "--gc", collector, "--heap", &heap, "--invoke", "run", &path, &n], b"")
            };
            run(kib).ok();
            if kib > lab::minheap::LEAST {
                run(kib - 1).fails(134, &["out of heap memory"]);
            }
        }
    }
}

#[test]
fn the_plan_has_the_sizes_of_the_cards() {
    let plan = Plan::read(&file("cards.toml")).unwrap();
    let sizes = json(file("cards.json"));
    let named: Vec<String> = sizes.as_object().unwrap().iter().map(|(name, n)| format!("{name}={n}")).collect();
    assert_eq!((plan.programs, plan.gc), (named, COLLECTORS.map(String::from).to_vec()));
}

#[test]
fn a_card_is_printed_for_people_too() {
    let ended = gleaner_with_input(&["characterise", "examples/keep_half.wat"], b"");
    let text = ended.ok();
    // Half of the objects, of 24 bytes each, stay.
    for line in
        ["objects allocated 1,000,000", "bytes an object 24.00", "references written into objects 0 0.00 an object"]
    {
        let found = text.lines().any(|row| row.split_whitespace().collect::<Vec<_>>().join(" ") == line);
        assert!(found, "`{line}` is not in\n{text}");
    }
    assert!(text.contains("50.0 % of 16,777,200"), "{text}");
}

#[test]
fn a_program_that_does_not_end_well_has_no_card() {
    let trapping = gleaner_with_input(&["characterise", "--heap", "1MiB", "examples/keep_half.wat"], b"");
    trapping.fails(134, &["out of heap memory"]);
    let unknown = gleaner_with_input(&["characterise", "--invoke", "walk", "examples/keep_half.wat"], b"");
    unknown.fails(2, &["exports no function `walk`"]);
}
