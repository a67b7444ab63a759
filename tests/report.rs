//! `gleaner report`: a page made from records of real invocations, looked at in a browser.

mod browser;

use browser::Page;
use lab::analysis::{Requests, histogram};
use lab::files::{OnDamage, Records, Writer};
use lab::record::{Latency, Record};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Sections that have plots.
const PLOTS: [&str; 6] = ["times", "overheads", "utilisation", "pauses", "latency", "phase"];
/// Sections that have tables.
const TABLES: [&str; 5] = ["summary", "pauses", "counters", "minima", "environment"];

fn gleaner(args: &[&str]) -> Output {
    let set = concat!(env!("CARGO_MANIFEST_DIR"), "/benches");
    let set = if ["bench", "minheap"].contains(&args[0]) { &["--set", set][..] } else { &[] };
    Command::new(env!("CARGO_BIN_EXE_gleaner")).args(args).args(set).output().unwrap()
}

#[track_caller]
fn succeeds(args: &[&str]) -> String {
    let output = gleaner(args);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {error}");
    error
}

/// A folder of records: two programs that differ in a parameter, four configurations, a heap that is too small among others; and made up
/// from these, for there is no clock in it, a program that serves requests.
fn records(folder: &Path) {
    let to = folder.to_str().unwrap();
    let programs = "survive=8000,0;survive=8000,60";
    succeeds(&["minheap", "--programs", programs, "--gc", "drc", "-o", to]);
    let plan = ["--heap", "1,2,4", "--invocations", "3", "--gc", "null,semispace,marksweep,drc", "-o", to];
    succeeds(&[&["bench", "--programs", programs][..], &plan].concat());

    let bench = Records::read(&[folder.join("bench.jsonl")], OnDamage::Fail).unwrap().records;
    let mut writer = Writer::open(&folder.join("requests.jsonl")).unwrap();
    for record in bench.iter().filter(|record| record.cell.program == "survive=8000,0") {
        writer.add(&serving(record)).unwrap();
    }
    let damaged = "{\"schema\":\"gleaner.record/1\"}\nno record\n";
    fs::write(folder.join("damaged.jsonl"), damaged).unwrap();
}

/// A record of 2,000 requests, of which one meets a pause, which is longer or shorter under each configuration.
fn serving(record: &Record) -> Record {
    let pause = 4_000_000 * record.cell.config.len() as u64;
    let mut record = record.clone();
    record.cell.program = "requests".into();
    record.options.rate = Some(1000);
    for iteration in &mut record.iterations {
        let mut now = 0;
        let served = (0..2000u64).map(|i| {
            let start = now.max(i * 1_000_000);
            now = start + if i == 700 { pause } else { 300_000 + i % 7 * 50_000 };
            (start, now)
        });
        let requests = Requests { served: served.collect() };
        let [simple_ns, metered_ns] = [requests.simple(), requests.metered(1e6)].map(|times| histogram(&times));
        iteration.latency = Some(Latency { rate: 1000, simple_ns, metered_ns });
    }
    record
}

/// Where screenshots are left to be looked at.
fn shots() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn a_report_shows_what_records_say() {
    let folder = tempfile::tempdir().unwrap();
    records(folder.path());
    let file = folder.path().join("report.html");
    let said = succeeds(&[
        "report",
        folder.path().to_str().unwrap(),
        "-o",
        file.to_str().unwrap(),
        "--title",
        "Four <collectors>",
    ]);
    assert!(said.contains("damaged.jsonl:1") && said.contains("2 damaged left out"), "{said}");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.len() < 8 << 20, "{} bytes", text.len());
    for said in
        ["not built for release", "Few invocations", "2 damaged records", "damaged.jsonl:2", "All invocations agree"]
    {
        assert!(text.contains(said), "{said}");
    }

    let Some(mut page) = Page::open(&file, (1240, 900)) else { return };
    everything_is_drawn(&mut page);
    nothing_is_cut_off(&mut page);
    choices_and_legends_work(&mut page);
    screenshots(&mut page);
    print_fits_the_paper(&mut page);
    assert!(page.complaints().is_empty(), "{:?}", page.complaints());
    assert!(page.requests().is_empty(), "{:?}", page.requests());
}

fn everything_is_drawn(page: &mut Page) {
    assert_eq!(page.evaluate("document.title"), "Four <collectors>");
    let plots = page.evaluate("document.querySelectorAll('[data-plot]').length");
    assert!(plots.as_u64().unwrap() >= 20, "{plots}");
    assert_eq!(page.evaluate("report.drawAll()"), plots);
    assert_eq!(page.evaluate("document.querySelectorAll('.js-plotly-plot').length"), plots);
    assert_eq!(page.evaluate("report.mistakes()"), json!([]));
    for section in PLOTS {
        let points = format!(
            "[...document.querySelectorAll('#{section} .js-plotly-plot')].map(plot =>
                plot.data.reduce((sum, trace) => sum + trace.y.filter(y => y !== null).length, 0))"
        );
        let points = page.evaluate(&points);
        let points = points.as_array().unwrap();
        assert!(!points.is_empty() && points.iter().all(|points| points.as_u64() > Some(2)), "{section}: {points:?}");
        // What is in the data is on the screen, too.
        let shapes = format!(
            "[...document.querySelectorAll('#{section} .js-plotly-plot')].map(plot =>
                [...plot.querySelectorAll('.plot path')].filter(path => path.getBoundingClientRect().width > 0).length)"
        );
        let shapes = page.evaluate(&shapes);
        assert!(shapes.as_array().unwrap().iter().all(|shapes| shapes.as_u64() > Some(0)), "{section}: {shapes}");
    }
    for section in TABLES {
        let rows = page.evaluate(&format!("document.querySelectorAll('#{section} tbody tr').length"));
        assert!(rows.as_u64() > Some(1), "{section}: {rows}");
    }
    let links = "[...document.querySelectorAll('nav a')].every(a => document.querySelector(a.getAttribute('href')))";
    assert_eq!(page.evaluate(links), true);
    let failed = page.evaluate("[...document.querySelectorAll('#times .plot')].flatMap(plot => plot.data).filter(t => t.marker?.symbol === 'x-thin').length");
    assert!(failed.as_u64() > Some(0), "a heap is too small for semispace");
}

/// No text of a plot is outside of it, and the page is not wider than the window.
fn nothing_is_cut_off(page: &mut Page) {
    let outside = "[...document.querySelectorAll('.js-plotly-plot')].flatMap(plot => {
        const frame = plot.getBoundingClientRect();
        return [...plot.querySelectorAll('text')].filter(text => {
            const box = text.getBoundingClientRect();
            return box.width > 0 && (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1);
        }).map(text => plot.id + ': ' + text.textContent);
    })";
    assert_eq!(page.evaluate(outside), json!([]));
    assert_eq!(page.evaluate("document.documentElement.scrollWidth <= innerWidth"), true);
}

fn choices_and_legends_work(page: &mut Page) {
    let shown = |page: &mut Page| -> Value {
        page.evaluate("[...document.querySelectorAll('[data-variant=counters]')].filter(e => !e.hidden).map(e => e.dataset.value)")
    };
    let bars = "JSON.stringify(document.querySelector('#overheads .plot').data.map(trace => trace.y))";
    let (before, tables) = (page.evaluate(bars), shown(page));
    page.evaluate(
        "document.querySelectorAll('select').forEach(s => { s.value = '2'; s.dispatchEvent(new Event('change')); })",
    );
    assert_ne!(page.evaluate(bars), before, "another heap size has other bars");
    assert_ne!(shown(page), tables, "and other tables");
    let visible = "[...document.querySelectorAll('.plot')].flatMap(plot => plot.data).filter(trace => trace.meta === 0 && trace.visible).length";
    assert!(page.evaluate(visible).as_u64() > Some(0));
    page.evaluate("document.querySelector('[data-config=\"0\"]').click()");
    assert_eq!(page.evaluate(visible), 0, "a configuration goes from every figure");
    page.evaluate("document.querySelector('[data-config=\"0\"]').click()");
}

/// One of each section, alone on the page.
fn screenshots(page: &mut Page) {
    let sections = page.evaluate("[...document.querySelectorAll('section')].map(section => section.id)");
    let sections: Vec<&str> = sections.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for section in PLOTS.iter().chain(&TABLES) {
        assert!(sections.contains(section), "{section} of {sections:?}");
    }
    for section in &sections {
        let alone = format!(
            "document.querySelectorAll('section').forEach(s => s.style.display = s.id === '{section}' ? '' : 'none')"
        );
        page.evaluate(&alone);
        let file = shots().join(format!("{section}.png"));
        page.screenshot(&file, true);
        assert!(fs::metadata(&file).unwrap().len() > 10_000, "{section}");
    }
    page.evaluate("document.querySelectorAll('section').forEach(s => s.style.display = '')");
}

fn print_fits_the_paper(page: &mut Page) {
    page.emulate_print(true);
    page.wait_for("matchMedia('print').matches && document.querySelector('main').clientWidth === 700");
    page.wait_for("[...document.querySelectorAll('.js-plotly-plot')].every(plot => plot.layout.width <= 700)");
    let wide = "[...document.querySelectorAll('.js-plotly-plot .main-svg')].filter(svg => svg.getBoundingClientRect().width > svg.closest('.panel').clientWidth + 1).length";
    assert_eq!(page.evaluate(wide), 0, "plots are as wide as their places");
    let buttons =
        "[...document.querySelectorAll('select, .modebar')].filter(e => getComputedStyle(e).display !== 'none').length";
    assert_eq!(page.evaluate(buttons), 0, "there is nothing to press on paper");
    assert_eq!(
        page.evaluate(
            "[...document.querySelectorAll('.chosen')].every(e => e.offsetWidth > 0 && e.textContent === '4×')"
        ),
        true
    );
    page.screenshot(&shots().join("print.png"), true);
    page.emulate_print(false);
    page.wait_for("document.querySelector('#overheads .js-plotly-plot').layout.width > 700");
}

#[test]
fn records_that_cannot_be_shown_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (path, page) = (folder.path().join("a.jsonl"), folder.path().join("r.html"));
    let (path, to) = (path.to_str().unwrap(), page.to_str().unwrap());
    let fails = |args: &[&str], code: i32, words: &[&str]| {
        let output = gleaner(args);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(words.iter().all(|word| error.contains(word)) && !page.exists(), "{error}");
    };
    fails(&["report", path, "-o", to], 1, &["a.jsonl", "no records"]);
    fails(&["report", folder.path().to_str().unwrap(), "-o", to], 1, &["no file `*.jsonl`"]);
    fs::write(path, "nonsense\n").unwrap();
    fails(&["report", path, "-o", to], 2, &["a.jsonl:1", "no records to show, 1 damaged"]);
    fails(&["report", path, "-o", to, "--strict"], 1, &["a.jsonl:1"]);
    fails(&["report"], 2, &["DIR|FILE"]);
}
