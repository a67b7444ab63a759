//! `gleaner heapmap`: the page shows what the heap was used for, and works in a browser without a network.

mod browser;
#[path = "common/process.rs"]
mod process;

use browser::Page;
use process::{Ended, collectors, gleaner_with_input};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Programs and sizes, by what they show.
const CHURN: [&str; 4] = ["--invoke", "run", "benches/programs/frag.wat", "300000"];
const PHASES: [&str; 4] = ["--invoke", "run", "benches/programs/phases.wat", "10"];

fn gleaner(args: &[&str]) -> Ended {
    gleaner_with_input(args, b"")
}

/// Where pages and screenshots are left to be looked at.
fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("heapmap");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Makes a page, and gives its file and its data.
#[track_caller]
fn map(name: &str, options: &[&str], program: &[&str]) -> (PathBuf, Value) {
    let file = folder().join(format!("{name}.html"));
    let output = ["heapmap", "-o", file.to_str().unwrap()];
    let ended = gleaner(&[&output, options, program].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let data = data(&file);
    (file, data)
}

fn data(file: &Path) -> Value {
    let text = fs::read_to_string(file).unwrap();
    let (_, rest) = text.split_once(r#"<script id="data" type="application/json">"#).unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

/// The values of a map's cells.
fn decode(map: &str) -> Vec<u8> {
    let mut cells = Vec::new();
    let mut rest = map;
    while let Some(letter) = rest.bytes().next() {
        rest = &rest[1..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let run: usize = if digits == 0 { 1 } else { rest[..digits].parse().unwrap() };
        let value = if letter >= b'a' { letter - b'a' } else { letter - b'A' + 26 };
        cells.extend(std::iter::repeat_n(value, run));
        rest = &rest[digits..];
    }
    cells
}

/// What is in a frame adds up. Gives the bytes by state.
fn check_frame(frame: &Value, states: usize) -> Vec<u64> {
    let number = |key: &str| frame[key].as_u64().unwrap();
    let bytes: Vec<u64> = frame["bytes"].as_array().unwrap().iter().map(|bytes| bytes.as_u64().unwrap()).collect();
    assert_eq!(bytes.len(), states);
    assert!(bytes.iter().sum::<u64>() <= number("committed"), "{bytes:?} of {}", number("committed"));
    let cells = decode(frame["map"].as_str().unwrap());
    assert_eq!(cells.len() as u64, number("committed").div_ceil(number("cell")));
    assert!(cells.len() <= 1 << 14 && cells.iter().all(|cell| *cell < 32));
    for (state, bytes) in bytes.iter().enumerate() {
        // A state may be nowhere the greatest part of a cell, but what has a cell has bytes.
        assert!(*bytes > 0 || cells.iter().all(|cell| *cell as usize / 4 != state + 1), "state {state}");
    }
    bytes
}

#[test]
fn what_is_shown_adds_up_under_every_collector() {
    for gc in collectors() {
        // What is never freed needs room.
        let heap = if gc == "null" { "1MiB..1GiB" } else { "16MiB" };
        let (_, data) = map(&format!("data-{gc}"), &["--gc", &gc, "--heap", heap], &CHURN);
        let states: Vec<&str> =
            data["states"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
        let steps = data["steps"].as_array().unwrap();
        let collections = data["collections"].as_u64().unwrap() as usize;
        assert_eq!(steps.len(), collections + 1, "{gc}: every collection and the end");
        assert_eq!(collections == 0, gc == "null");
        for (i, step) in steps[..collections].iter().enumerate() {
            assert_eq!(step["number"], i + 1);
            let before = check_frame(&step["before"], states.len());
            let after = check_frame(&step["after"], states.len());
            let bytes = |frame: &[u64], name: &str| frame[states.iter().position(|state| *state == name).unwrap()];
            assert!(bytes(&before, "young") > 0, "{gc}: there is something to collect");
            assert!(bytes(&after, "young") < bytes(&before, "young"), "{gc}: what survived is not young");
        }
        check_frame(&steps[collections]["before"], states.len());
    }
}

#[test]
fn many_collections_are_shown_evenly_spaced() {
    let (file, data) = map(
        "many",
        &["--gc", "generational:nursery=64", "--heap", "64MiB"],
        &["--invoke", "run", "benches/programs/survive.wat", "1000000"],
    );
    let collections = data["collections"].as_u64().unwrap();
    assert!(collections > 500, "{collections}");
    let numbers: Vec<u64> =
        data["steps"].as_array().unwrap().iter().filter_map(|step| step["number"].as_u64()).collect();
    assert!((200..=400).contains(&numbers.len()), "{}", numbers.len());
    let stride = numbers[1] - numbers[0];
    assert!(numbers[0] == 1 && numbers.windows(2).all(|pair| pair[1] - pair[0] == stride), "{numbers:?}");
    assert!(fs::metadata(&file).unwrap().len() < 32 << 20);

    let Some(mut page) = Page::open(&file, (1180, 1130)) else { return };
    let last = numbers.len();
    page.press("End");
    page.wait_for(&format!("document.getElementById('slider').value == {last}"));
    page.press("ArrowLeft");
    page.wait_for(&format!("document.getElementById('slider').value == {}", last - 1));
    page.press(" ");
    page.wait_for(&format!("document.getElementById('slider').value == {last}"));
    page.screenshot(&folder().join("many.png"), true);
    assert!(page.complaints().is_empty() && page.requests().is_empty(), "{:?}", page.complaints());
}

#[test]
fn a_full_heap_and_a_wrong_command_line_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let output = ["heapmap", "-o", page.to_str().unwrap()];
    let full = [&output[..], &["--gc", "semispace", "--heap", "256KiB"], &CHURN].concat();
    gleaner(&full).fails(134, &["page.html", "out of heap memory"]);
    assert!(data(&page)["collections"].as_u64().unwrap() > 0);

    fs::remove_file(&page).unwrap();
    gleaner(&[&output[..], &["nothing.wat"]].concat()).fails(1, &["nothing.wat"]);
    gleaner(&["heapmap", "-o", "no/such/folder/a.html", "examples/tree.wat"]).fails(1, &["no/such/folder/a.html"]);
    gleaner(&["heapmap", "-o", "/tmp", "examples/tree.wat"]).fails(2, &["/tmp", "directory"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "no half of a page is left");
}

/// The number of different colours in a canvas.
fn colours(page: &mut Page, canvas: &str) -> u64 {
    let script = format!(
        "(() => {{ const c = document.getElementById('{canvas}');
            const p = new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer);
            return new Set(p).size; }})()"
    );
    page.evaluate(&script).as_u64().unwrap()
}

#[test]
fn the_page_works_in_a_browser() {
    for gc in collectors() {
        // Reference counting and free-list heaps are in pieces; the others show their phases.
        let program = if ["drc", "marksweep"].contains(&gc.as_str()) { CHURN } else { PHASES };
        let heap = if program == CHURN { "12MiB" } else { "1MiB..1GiB" };
        let (file, data) = map(&gc, &["--gc", &gc, "--heap", heap], &program);
        let Some(mut page) = Page::open(&file, (1180, 1130)) else { return };
        let steps = data["steps"].as_array().unwrap().len();
        let details = |page: &mut Page| page.evaluate("document.getElementById('details').textContent").to_string();
        if steps > 1 {
            assert!(details(&mut page).contains("Collection 1 of "), "{}", details(&mut page));
            page.press("ArrowRight");
            page.wait_for("document.getElementById('slider').value == 1");
            page.press("ArrowLeft");
            page.wait_for("document.getElementById('slider').value == 0");
        }
        page.press("End");
        page.wait_for(&format!("document.getElementById('slider').value == {}", steps - 1));
        assert!(details(&mut page).contains("The end of the run"));
        let middle = steps * 2 / 3;
        page.evaluate(&format!("go({middle})"));
        for canvas in ["before", "strip"].into_iter().chain((middle + 1 < steps).then_some("after")) {
            let colours = colours(&mut page, canvas);
            assert!(colours > 2, "{gc}: {canvas} has {colours} colours");
        }
        page.screenshot(&folder().join(format!("{gc}.png")), true);
        page.point_at(200.0, 300.0);
        page.wait_for("document.getElementById('place').textContent.startsWith('0x')");
        page.emulate_print(true);
        page.screenshot(&folder().join(format!("{gc}-print.png")), true);
        assert!(page.complaints().is_empty(), "{gc}: {:?}", page.complaints());
        assert!(page.requests().is_empty(), "{gc}: {:?}", page.requests());
    }
}
