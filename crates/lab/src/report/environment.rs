//! Smallest heaps, and what is to be known about how the records came to be.

use super::page::{Column, Page, bare_table};
use super::study::Level;
use super::text::{escaped, hash, list, plural};
use crate::minheap::{Minimum, minima};
use crate::noise::NoiseFloor;
use crate::record::{Purpose, Record, Warmup};
use crate::text::{count, size};
use std::collections::{BTreeMap, BTreeSet};

/// The section of smallest heaps; `None` without records of searches.
pub(super) fn minimum_section(page: &mut Page<'_>) -> Option<String> {
    let read = page.study.read;
    let searches: Vec<&Record> = read.records.iter().filter(|record| record.purpose == Purpose::Minheap).collect();
    if searches.is_empty() {
        return None;
    }
    let minima = minima(&read.records);
    let names = |of: fn(&Record) -> &str| searches.iter().map(|record| of(record)).collect::<BTreeSet<&str>>();
    let (programs, collectors) = (names(|record| &record.cell.program), names(|record| &record.heap.gc));
    let mut head = vec![Column::words("program")];
    head.extend(collectors.iter().map(|gc| Column::numbers(escaped(gc))));
    let row = |program: &&str| {
        let of = |gc: &&str| minima.get(&((*program).to_string(), (*gc).to_string())).copied();
        let least = collectors.iter().filter_map(&of).map(|minimum| minimum.bytes).min();
        let cell = |gc: &&str| match of(gc) {
            None => "none".into(),
            Some(minimum) => minimum_cell(minimum, least),
        };
        let mut row = vec![escaped(program)];
        row.extend(collectors.iter().map(cell));
        row
    };
    let rows: Vec<Vec<String>> = programs.iter().map(row).collect();
    let caption = "The smallest heaps in which a program runs to its end, in KiB, by bisection; running out of time counts as too small. Bold: the smallest
        of the program. ≤: the search was not brought to its end. In brackets: as a multiple of the smallest.";
    let table = page.table(&head, &rows, caption);
    Some(table + &page.behind(&searches))
}

fn minimum_cell(minimum: Minimum, least: Option<u64>) -> String {
    let kib = count(minimum.bytes / 1024);
    let bound = if minimum.exact { "" } else { "≤ " };
    match least {
        Some(least) if least == minimum.bytes => format!("<b>{bound}{kib}</b>"),
        Some(least) => format!("{bound}{kib} <small>({:.2}×)</small>", minimum.bytes as f64 / least as f64),
        None => format!("{bound}{kib}"),
    }
}

/// The section of the environment.
pub(super) fn section(page: &mut Page<'_>) -> String {
    let read = page.study.read;
    let all: Vec<&Record> = read.records.iter().collect();
    let mut html = String::from("<h3>Builds of Gleaner</h3>");
    html += &grouped(&all, &["version", "commit", "profile", "target", "SHA-256"], |record| {
        let build = &record.build;
        let [version, commit, profile, target] =
            [&build.version, &build.commit, &build.profile, &build.target].map(|text| escaped(text));
        vec![version, commit, profile, target, hash(&build.sha256)]
    });
    html += "<h3>Machines</h3>";
    html += &grouped(&all, &["processor", "cores", "kernel", "governor", "memory"], |record| {
        let host = &record.host;
        let governor = host.governor.as_deref().unwrap_or("unknown");
        vec![
            escaped(&host.cpu),
            host.cores.to_string(),
            escaped(&host.kernel),
            escaped(governor),
            size(host.memory_bytes),
        ]
    });
    html += &loads(&all);
    if let Some(noise) = NoiseFloor::of(read.records.iter()) {
        html += &format!("<p id=noise>Noise floor of times: {noise}.</p>\n");
    }
    html += "<h3>Programs</h3>";
    html += &grouped(&all, &["program", "file", "function", "arguments", "SHA-256"], |record| {
        let program = &record.program;
        vec![
            escaped(&record.cell.program),
            escaped(&program.file),
            escaped(&program.function),
            escaped(&program.args.join(" ")),
            hash(&program.sha256),
        ]
    });
    html += "<h3>Configurations</h3>";
    let measured = page.study.all();
    let mut levels: BTreeMap<&str, BTreeSet<Level>> = BTreeMap::new();
    for record in &measured {
        levels.entry(&record.cell.config).or_default().insert(Level::of(record));
    }
    html += &grouped(&measured, &["label", "collector", "heap policy", "heaps"], |record| {
        let levels: Vec<String> = levels[record.cell.config.as_str()].iter().map(Level::to_string).collect();
        let levels = list(&levels.iter().map(String::as_str).collect::<Vec<_>>(), 16);
        vec![escaped(&record.cell.config), escaped(&record.heap.gc), escaped(&record.heap.policy), escaped(&levels)]
    });
    html += "<h3>Options</h3>";
    html += &grouped(
        &all,
        &["purpose", "warm-up", "iterations", "time-out", "objects counted", "added cost", "requests/s", "seed"],
        options,
    );
    html + &files(page)
}

fn options(record: &Record) -> Vec<String> {
    let options = &record.options;
    let or_none = |value: Option<String>| value.map_or("–".into(), |value| escaped(&value));
    vec![
        if record.purpose == Purpose::Bench { "to measure" } else { "smallest heap" }.into(),
        match options.warmup {
            Warmup::First(0) => "none".into(),
            Warmup::First(1) => "first iteration".into(),
            Warmup::First(n) => format!("first {n} iterations"),
            Warmup::Auto => "until steady within 2 %".into(),
        },
        options.iterations.to_string(),
        format!("{} s", options.timeout_ms as f64 / 1e3),
        if options.count_objects { "yes" } else { "no" }.into(),
        or_none(options.inject.clone()),
        or_none(options.rate.map(|rate| rate.to_string())),
        record.seed.to_string(),
    ]
}

/// A table of the different values that something has, with the number of records of each.
fn grouped(records: &[&Record], head: &[&str], row: impl Fn(&Record) -> Vec<String>) -> String {
    let mut rows: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    for record in records {
        *rows.entry(row(record)).or_default() += 1;
    }
    let mut head: Vec<Column> = head.iter().map(|heading| Column::words(*heading)).collect();
    head.push(Column::numbers("records"));
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(mut row, records)| {
            row.push(count(records as u64));
            row
        })
        .collect();
    bare_table(&head, &rows)
}

/// When the invocations ran and how busy the machine was.
fn loads(records: &[&Record]) -> String {
    let loads: Vec<f64> = records.iter().map(|record| record.host.load).collect();
    let times: Vec<u64> = records.iter().map(|record| record.started_unix).collect();
    let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) else { return String::new() };
    let (low, high) = loads.iter().fold((f64::INFINITY, 0f64), |(low, high), load| (low.min(*load), high.max(*load)));
    let mean = loads.iter().sum::<f64>() / loads.len() as f64;
    format!(
        "<p>Load before invocations: {low:.1} to {high:.1}, {mean:.1} in the mean. They began between <time data-unix={first}>{first}</time> and
        <time data-unix={last}>{last}</time>.</p>\n"
    )
}

/// The files that were read, and what in them was skipped.
fn files(page: &Page<'_>) -> String {
    let read = page.study.read;
    let mut html = String::from("<h3>Files of records</h3>");
    let row = |(path, records): &(std::path::PathBuf, usize)| {
        let damaged = read.damaged.iter().filter(|damage| damage.file == *path).count();
        vec![escaped(&path.display().to_string()), count(*records as u64), count(damaged as u64)]
    };
    let rows: Vec<Vec<String>> = read.files.iter().map(row).collect();
    html += &bare_table(&[Column::words("file"), Column::numbers("records"), Column::numbers("damaged")], &rows);
    if !read.damaged.is_empty() {
        let lines: String =
            read.damaged.iter().take(200).map(|damage| format!("<li>{}</li>", escaped(&damage.to_string()))).collect();
        html += &format!(
            "<div class=box id=damaged><h3>{} skipped</h3><ul class=care>{lines}</ul></div>\n",
            plural(read.damaged.len(), "damaged record")
        );
    }
    html
}

#[cfg(test)]
mod tests {
    use super::super::study::{Study, samples::*};
    use super::*;
    use crate::files::Damage;
    use crate::record::Outcome;

    #[test]
    fn smallest_heaps_stand_beside_each_other() {
        let probe = |gc: &str, kib: u64, outcome| {
            let mut record = run("p", gc, None, 0, 1, 0);
            (record.purpose, record.cell.heap_bytes, record.outcome) = (Purpose::Minheap, kib << 10, outcome);
            record
        };
        let read = read(vec![
            probe("a", 100, Outcome::Ok),
            probe("a", 99, Outcome::Oom),
            probe("b", 200, Outcome::Ok),
            probe("c", 64, Outcome::Oom),
        ]);
        let study = Study::new(&read);
        let html = minimum_section(&mut Page::new(&study)).unwrap();
        assert!(html.contains("<b>100</b>") && html.contains("≤ 200 <small>(2.00×)</small>"), "{html}");
        assert!(html.contains("<td>none</td>") && html.contains("4 records behind this"), "{html}");
    }

    #[test]
    fn the_noise_floor_is_told() {
        let read = read((0..4).map(|i| run("p", "a", Some(2.0), i, 100 + u64::from(i % 2), 1)).collect());
        let study = Study::new(&read);
        let html = section(&mut Page::new(&study));
        assert!(html.contains("Noise floor of times: 1.0 % in the median"), "{html}");
    }

    #[test]
    fn damage_is_named() {
        let mut read = read(vec![run("p", "a", None, 0, 1, 0)]);
        read.damaged.push(Damage { file: "a.jsonl".into(), line: 7, why: "it <breaks> off".into() });
        let study = Study::new(&read);
        let html = section(&mut Page::new(&study));
        assert!(
            html.contains("a.jsonl:7: it &lt;breaks&gt; off") && html.contains("1 damaged record skipped"),
            "{html}"
        );
    }
}
