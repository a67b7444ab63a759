//! What is printed: a table for each engine, one for each comparison.

use crate::peer::{self, Job, Node, Peer, Ran};
use crate::{Args, EngineName};
use anyhow::Context;
use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use std::time::Duration;

/// What an engine with a collector did with a program.
pub struct Measured {
    pub engine: EngineName,
    pub collector: String,
    pub label: String,
    frees: bool,
    /// Whether the engine was not asked, since it lacks WASI.
    pub lacks_wasi: bool,
    pub failure: Option<String>,
    times: Vec<Duration>,
    /// Peak memory that runs added, in bytes.
    memory: Option<u64>,
}

const NO_WASI: &str = "this peer has no WASI";

/// What of a record the tables need.
#[derive(serde::Deserialize)]
struct Record {
    program: String,
    engine: String,
    collector: String,
    times_ns: Vec<u64>,
    peak_bytes: Option<u64>,
    failure: Option<String>,
}

/// A program's name, and what each peer did with it.
type Row = (String, Vec<Measured>);

impl Measured {
    pub fn new(peer: &Peer) -> Measured {
        Measured {
            engine: peer.engine,
            collector: peer.collector.clone(),
            label: peer.label.clone(),
            frees: peer.frees,
            lacks_wasi: false,
            failure: None,
            times: Vec::new(),
            memory: None,
        }
    }

    /// What came out of something, or nothing, and the failure is kept.
    pub fn keep<T>(&mut self, result: anyhow::Result<T>) -> Option<T> {
        result.map_err(|error| self.failure = Some(format!("{error:#}"))).ok()
    }

    pub fn add(&mut self, ran: Ran) {
        self.times.push(Duration::from_nanos(ran.ns));
        self.memory = self.memory.max(ran.memory);
    }

    /// All runs together.
    pub fn total(&self) -> Duration {
        self.times.iter().sum()
    }

    /// In milliseconds.
    fn median(&self) -> Option<f64> {
        if self.failure.is_some() || self.times.is_empty() {
            return None;
        }
        let mut times = self.times.clone();
        times.sort();
        Some(times[times.len() / 2].as_secs_f64() * 1e3)
    }

    /// The slowest run less the fastest, as a share of the median.
    fn spread(&self) -> Option<f64> {
        let (least, most) = (self.times.iter().min()?, self.times.iter().max()?);
        Some((*most - *least).as_secs_f64() * 1e3 / self.median()?)
    }

    fn time_cell(&self) -> String {
        match (self.median(), self.spread()) {
            (Some(median), Some(spread)) => format!("{median:.1} ({:.0} %)", spread * 100.0),
            _ => self.without_time(),
        }
    }

    fn median_cell(&self) -> String {
        self.median().map_or(self.without_time(), |ms| format!("{ms:.1}"))
    }

    fn without_time(&self) -> String {
        if self.lacks_wasi { "–" } else { "fails" }.to_string()
    }

    fn memory_cell(&self) -> String {
        let shown = self.memory.filter(|_| self.failure.is_none());
        shown.map_or("–".to_string(), |bytes| format!("{:.1}", bytes as f64 / f64::from(1 << 20)))
    }

    /// What [`record`](Self::record) wrote, with the program's name.
    pub fn from_record(line: &str) -> anyhow::Result<(String, Measured)> {
        let record: Record = serde_json::from_str(line).context("this is no record of a run")?;
        let engine = EngineName::from_str(&record.engine, false).map_err(anyhow::Error::msg)?;
        let peer = match engine {
            EngineName::Gleaner => peer::gleaner(&[record.collector.clone()])?.remove(0),
            EngineName::Wasmtime => peer::of_wasmtime(&record.collector),
            EngineName::V8 => peer::of_v8(&record.collector),
        };
        let mut measured = Measured::new(&peer);
        measured.lacks_wasi = record.failure.as_deref() == Some(NO_WASI);
        measured.failure = record.failure.filter(|failure| failure != NO_WASI);
        measured.times = record.times_ns.into_iter().map(Duration::from_nanos).collect();
        measured.memory = record.peak_bytes;
        Ok((record.program, measured))
    }

    /// For programs to read.
    pub fn record(&self, job: &Job) -> serde_json::Value {
        let times: Vec<u64> = self.times.iter().map(|time| time.as_nanos() as u64).collect();
        let failure = if self.lacks_wasi { Some(NO_WASI) } else { self.failure.as_deref() };
        serde_json::json!({"program": job.name, "size": job.size(), "engine": self.engine.name(),
            "collector": self.collector, "times_ns": times, "peak_bytes": self.memory, "failure": failure})
    }
}

/// What was compared, and how.
pub fn preface(node: Option<&Node>, args: &Args) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let v8 = node.map_or("no V8", |node| node.versions.as_str());
    let heap = args.heap.map_or("no limit to the heap".to_string(), |mib| format!("{mib} MiB of heap at the most"));
    format!(
        "Gleaner {}, Wasmtime {}, {v8}; {cores} cores; {heap}; {} sizes; medians of up to {} runs.",
        env!("CARGO_PKG_VERSION"),
        "48.0.8",
        if args.quick { "small" } else { "default" },
        args.repetitions
    )
}

/// A table that gets one row after the other, and one below with geometric means.
struct Report {
    table: Table,
    columns: usize,
    /// Logarithms, of those columns that have a mean.
    logs: Vec<Vec<f64>>,
}

/// A cell.
enum Cell {
    Text(String),
    /// A ratio, of which there is a geometric mean.
    Ratio(Option<f64>),
}

impl Report {
    fn new(header: Vec<String>) -> Report {
        let mut table = Table::new();
        let columns = header.len();
        table.load_preset(presets::ASCII_MARKDOWN).set_header(header);
        Report { table, columns, logs: vec![Vec::new(); columns] }
    }

    fn add(&mut self, cells: Vec<Cell>) {
        let texts = cells.into_iter().zip(&mut self.logs).map(|(cell, logs)| match cell {
            Cell::Text(text) => text,
            Cell::Ratio(None) => "–".to_string(),
            Cell::Ratio(Some(ratio)) => {
                logs.push(ratio.ln());
                format!("{ratio:.2}")
            }
        });
        let texts: Vec<String> = texts.collect();
        self.table.add_row(texts);
    }

    fn print(mut self, title: &str, note: &str) {
        if self.logs.iter().any(|logs| !logs.is_empty()) {
            let mean = |logs: &Vec<f64>| (logs.iter().sum::<f64>() / logs.len() as f64).exp();
            let means =
                self.logs.iter().map(|logs| if logs.is_empty() { String::new() } else { format!("{:.2}", mean(logs)) });
            let mut row: Vec<String> = means.collect();
            row[0] = "geometric mean".to_string();
            self.table.add_row(row);
        }
        for column in 1..self.columns {
            let column = self.table.column_mut(column).expect("it has as many columns");
            column.set_cell_alignment(CellAlignment::Right);
        }
        println!("### {title}\n\n{note}\n\n{}\n", self.table);
    }
}

/// `ours / theirs`, where both came to a time.
fn ratio(ours: Option<&Measured>, theirs: Option<&Measured>) -> Cell {
    let times = ours.and_then(Measured::median).zip(theirs.and_then(Measured::median));
    Cell::Ratio(times.map(|(ours, theirs)| ours / theirs))
}

/// A table for each engine, and one that compares the best of each.
pub fn engines(rows: &[Row]) {
    let peers = &rows[0].1;
    let titles = [(EngineName::Gleaner, "Gleaner"), (EngineName::Wasmtime, "Wasmtime"), (EngineName::V8, "V8")];
    for (engine, title) in titles {
        let mine: Vec<usize> = (0..peers.len()).filter(|i| peers[*i].engine == engine).collect();
        if mine.is_empty() {
            continue;
        }
        let mut header = vec!["program".to_string()];
        for i in &mine {
            header.extend([format!("{}, ms (spread)", peers[*i].label), "peak, MiB".to_string()]);
        }
        let mut report = Report::new(header);
        for (name, measured) in rows {
            let mut cells = vec![Cell::Text(name.clone())];
            for i in &mine {
                cells.push(Cell::Text(measured[*i].time_cell()));
                cells.push(Cell::Text(measured[*i].memory_cell()));
            }
            report.add(cells);
        }
        report.print(title, SPREAD);
    }
    family(rows);
    best(rows);
}

const SPREAD: &str = "Medians; the spread is the slowest run less the fastest, as a share of the median. Peak: resident memory that \
    running added to a process that had the program compiled.";

/// The fastest of an engine's collectors that free memory.
fn fastest(measured: &[Measured], engine: EngineName) -> Option<&Measured> {
    let timed = measured.iter().filter(|one| one.engine == engine && one.frees && one.median().is_some());
    timed.min_by(|a, b| a.median().partial_cmp(&b.median()).expect("times are numbers"))
}

/// Gleaner's collectors that free memory, beside the fastest of them.
fn family(rows: &[Row]) {
    let peers = &rows[0].1;
    let mine: Vec<usize> =
        (0..peers.len()).filter(|i| peers[*i].engine == EngineName::Gleaner && peers[*i].frees).collect();
    if mine.len() < 2 {
        return;
    }
    let mut header = vec!["program".to_string()];
    header.extend(mine.iter().map(|i| format!("`{}`", peers[*i].label)));
    let mut report = Report::new(header);
    for (name, measured) in rows {
        let best = fastest(measured, EngineName::Gleaner);
        let mut cells = vec![Cell::Text(name.clone())];
        cells.extend(mine.iter().map(|i| ratio(Some(&measured[*i]), best)));
        report.add(cells);
    }
    report.print("Which collector", "A collector's time ÷ that of the fastest of the family for the program.");
}

fn best(rows: &[Row]) {
    let peers = &rows[0].1;
    let has = |engine| peers.iter().any(|peer| peer.engine == engine && peer.frees);
    if !has(EngineName::Gleaner) || !(has(EngineName::Wasmtime) || has(EngineName::V8)) {
        return;
    }
    // V8's are one collector with two settings: each is compared.
    let v8: Vec<usize> = (0..peers.len()).filter(|i| peers[*i].engine == EngineName::V8).collect();
    let mut header = vec!["program".to_string(), "Gleaner's best, ms".to_string()];
    if has(EngineName::Wasmtime) {
        header.extend(["Wasmtime's best, ms".to_string(), "÷ Wasmtime's".to_string()]);
    }
    for i in &v8 {
        header.extend([format!("V8, {}, ms", peers[*i].label), "÷ V8's".to_string()]);
    }
    let mut report = Report::new(header);
    let named =
        |one: Option<&Measured>| one.map_or("–".to_string(), |one| format!("{} {}", one.label, one.median_cell()));
    for (name, measured) in rows {
        let ours = fastest(measured, EngineName::Gleaner);
        let mut cells = vec![Cell::Text(name.clone()), Cell::Text(named(ours))];
        if has(EngineName::Wasmtime) {
            let theirs = fastest(measured, EngineName::Wasmtime);
            cells.extend([Cell::Text(named(theirs)), ratio(ours, theirs)]);
        }
        for i in &v8 {
            cells.extend([Cell::Text(measured[*i].median_cell()), ratio(ours, Some(&measured[*i]))]);
        }
        report.add(cells);
    }
    report.print(
        "The best of each",
        "Each engine's fastest collector for the program among those that free memory; below 1.00 Gleaner's is faster.",
    );
}

/// Gleaner's collectors beside Wasmtime's of the same name.
pub fn pairs(rows: &[Row]) {
    let find = |measured: &[Measured], engine, collector: &str| {
        measured.iter().position(|one| one.engine == engine && one.collector == collector)
    };
    let peers = &rows[0].1;
    let pairs: Vec<(usize, usize)> = (0..peers.len())
        .filter(|i| peers[*i].engine == EngineName::Gleaner)
        .filter_map(|i| Some((i, find(peers, EngineName::Wasmtime, &peers[i].collector)?)))
        .collect();
    let mut header = vec!["program".to_string()];
    for (ours, _) in &pairs {
        let name = &peers[*ours].label;
        header.extend([format!("`{name}`, ms"), format!("Wasmtime `{name}`, ms"), "ratio".to_string()]);
    }
    let mut report = Report::new(header);
    for (name, measured) in rows {
        let mut cells = vec![Cell::Text(name.clone())];
        for (ours, theirs) in &pairs {
            let (ours, theirs) = (&measured[*ours], &measured[*theirs]);
            cells.extend([
                Cell::Text(ours.median_cell()),
                Cell::Text(theirs.median_cell()),
                ratio(Some(ours), Some(theirs)),
            ]);
        }
        report.add(cells);
    }
    report.print("Collectors of the same name", "Medians; below 1.00 Gleaner's is faster.");
}

/// Programs that make no objects, under one collector of each engine.
pub fn without_objects(rows: &[Row]) {
    let peers = &rows[0].1;
    let ours = peers.iter().position(|peer| peer.engine == EngineName::Gleaner);
    let mut header = vec!["program without objects".to_string()];
    for peer in peers {
        match peer.engine {
            EngineName::Gleaner => header.push("ms".to_string()),
            EngineName::Wasmtime => header.extend(["Wasmtime, ms".to_string(), "ratio".to_string()]),
            EngineName::V8 => header.extend(["V8, ms".to_string(), "ratio".to_string()]),
        }
    }
    let mut report = Report::new(header);
    for (name, measured) in rows {
        let mut cells = vec![Cell::Text(name.clone())];
        for one in measured {
            cells.push(Cell::Text(one.median_cell()));
            if one.engine != EngineName::Gleaner {
                cells.push(ratio(ours.map(|i| &measured[i]), Some(one)));
            }
        }
        report.add(cells);
    }
    report.print("Programs without objects", "Medians; below 1.00 Gleaner is faster.");
}
