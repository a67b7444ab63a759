//! Heap maps: what a heap's memory is used for before and after each collection of a run, as a page to step through.
//!
//! A map is a row of cells, each for so many bytes that a heap has 16,384 of them at most. A cell is what most of its objects are, with how
//! full of objects it is, in quarters; or what its memory is if no object is in it. Of a run no more than 400 collections are
//! kept: when there are more, every second one is forgotten, and from then on every second one is left out. So memory is bounded, and the
//! collections that are shown are evenly spaced.

use anyhow::Context;
use engine::{CollectionKind, HeapMoment, ObservedHeap, Outcome, Store};
use gc_api::{FIRST_INDEX, GcHeap, Reason, RegionState};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Cells of a map, at most.
const MOST_CELLS: u64 = 1 << 14;
/// Bytes of a cell, at least: a line of a mark-region space.
const LEAST_CELL: u64 = 256;
/// Cells of a row.
const COLUMNS: u64 = 128;
/// Collections that are kept, at most.
pub const MOST_COLLECTIONS: usize = 400;
/// How full of objects a cell can be.
const LEVELS: u64 = 4;
/// The page, with `{{data}}` where the maps go.
const PAGE: &str = include_str!("page.html");

const STATES: usize = RegionState::ALL.len();

/// A heap at one moment.
struct Frame {
    /// Bytes of a cell.
    cell: u64,
    /// Bytes of committed heap.
    committed: u64,
    /// Bytes by state.
    bytes: [u64; STATES],
    /// The cells, as letters: for each run of equal ones the letter, and its length if it is not 1.
    map: String,
}

impl Frame {
    /// `None` when the heap shows nothing.
    fn of(heap: &dyn GcHeap) -> Option<Frame> {
        let committed = heap.memory().committed_bytes();
        let cell = committed.div_ceil(MOST_CELLS).next_power_of_two().max(LEAST_CELL);
        let mut cells = vec![[0u32; STATES]; committed.div_ceil(cell) as usize];
        let mut bytes = [0; STATES];
        heap.for_each_region(&mut |region| {
            let state = region.state as usize;
            bytes[state] += region.range.len() as u64;
            let (mut at, end) = ((region.range.start - FIRST_INDEX) as u64, (region.range.end - FIRST_INDEX) as u64);
            while at < end {
                let next = (at / cell + 1) * cell;
                if let Some(own) = cells.get_mut((at / cell) as usize) {
                    own[state] += (end.min(next) - at) as u32;
                }
                at = next;
            }
        });
        let shown = bytes.iter().any(|bytes| *bytes > 0);
        shown.then(|| Frame { cell, committed, bytes, map: encode(cells.iter().map(|own| value(own, cell))) })
    }

    fn json(&self) -> Value {
        json!({"cell": self.cell, "committed": self.committed, "bytes": self.bytes, "map": self.map})
    }
}

/// What a cell shows: 0 where no region is, and otherwise the state, from 1, times [`LEVELS`], plus how full it is.
fn value(bytes: &[u32; STATES], cell: u64) -> u8 {
    let most = |objects: bool| {
        let own = RegionState::ALL.into_iter().filter(|state| state.holds_objects() == objects);
        own.map(|state| (bytes[state as usize], state)).max_by_key(|(bytes, _)| *bytes).filter(|(bytes, _)| *bytes > 0)
    };
    let full: u64 = RegionState::ALL.iter().filter(|s| s.holds_objects()).map(|s| bytes[*s as usize] as u64).sum();
    match most(true).or_else(|| most(false)) {
        None => 0,
        Some((_, state)) => {
            let level = (full * LEVELS).div_ceil(cell).clamp(1, LEVELS) - 1;
            ((state as u64 + 1) * LEVELS + level) as u8
        }
    }
}

/// Run lengths.
fn encode(values: impl Iterator<Item = u8>) -> String {
    let mut text = String::new();
    let mut end = |(value, run): (u8, usize)| {
        let letter = if value < 26 { b'a' + value } else { b'A' + value - 26 };
        text.push(letter.into());
        if run > 1 {
            text.push_str(&run.to_string());
        }
    };
    let mut last: Option<(u8, usize)> = None;
    for value in values {
        match &mut last {
            Some((same, run)) if *same == value => *run += 1,
            _ => {
                if let Some(run) = last.replace((value, 1)) {
                    end(run);
                }
            }
        }
    }
    last.into_iter().for_each(end);
    text
}

/// A collection.
struct Step {
    /// From 1.
    number: u64,
    kind: CollectionKind,
    reason: Reason,
    outcome: Outcome,
    pause: Duration,
    before: Frame,
    after: Frame,
}

impl Step {
    fn json(&self) -> Value {
        let kind = match self.kind {
            CollectionKind::Minor => "minor",
            CollectionKind::Major => "major",
            CollectionKind::Cycle => "with cycles",
        };
        let reason = match self.reason {
            Reason::Allocation => "an allocation found no room",
            Reason::Explicit => "it was asked for",
            Reason::Zeal => "zeal forced it",
            Reason::Collector => "the collector wanted it",
        };
        json!({
            "number": self.number,
            "kind": kind,
            "reason": reason,
            "outcome": if self.outcome == Outcome::Unfinished { "; not finished" } else { "" },
            "pause": self.pause.as_nanos() as u64,
            "before": self.before.json(),
            "after": self.after.json(),
        })
    }
}

/// Records the maps of a program's run.
pub struct Recorder(Arc<Mutex<Recording>>);

/// What was recorded.
struct Recording {
    collections: u64,
    /// Every so many collections are kept.
    stride: u64,
    before: Option<Frame>,
    steps: Vec<Step>,
}

impl Recorder {
    /// Records what happens in `store` from now on.
    pub fn watch(store: &mut Store<()>) -> Recorder {
        let recording = Recording { collections: 0, stride: 1, before: None, steps: Vec::new() };
        let recording = Arc::new(Mutex::new(recording));
        let own = recording.clone();
        store.observe_heap(move |moment, heap| own.lock().unwrap_or_else(PoisonError::into_inner).at(moment, heap));
        Recorder(recording)
    }

    /// The page about the run, which has ended. `about` is what it says of the run beside the collections, by line.
    ///
    /// # Errors
    /// When the collector shows no map.
    pub fn page(self, store: &Store<()>, title: &str, about: &[String]) -> anyhow::Result<Page> {
        let collector = store.engine().gc().info().name;
        let end = Frame::of(store.heap()).with_context(|| {
            format!("the collector `{collector}` shows no map of its heap: `GcHeap::for_each_region` is where it would")
        })?;
        let recording = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(recording.page(end, title, about))
    }
}

impl Recording {
    fn at(&mut self, moment: HeapMoment, heap: &mut ObservedHeap<'_>) {
        match moment {
            HeapMoment::BeforeCollection { .. } if self.collections.is_multiple_of(self.stride) => {
                self.before = Frame::of(heap.heap());
            }
            HeapMoment::AfterCollection { request, outcome, pause } if outcome != Outcome::Refused => {
                self.collections += 1;
                if let (Some(before), Some(after)) = (self.before.take(), Frame::of(heap.heap())) {
                    let number = self.collections;
                    let (kind, reason) = (request.kind, request.reason);
                    self.keep(Step { number, kind, reason, outcome, pause, before, after });
                }
            }
            _ => {}
        }
    }

    fn keep(&mut self, step: Step) {
        self.steps.push(step);
        if self.steps.len() > MOST_COLLECTIONS {
            self.stride *= 2;
            let stride = self.stride;
            self.steps.retain(|step| (step.number - 1).is_multiple_of(stride));
        }
    }

    fn page(&self, end: Frame, title: &str, about: &[String]) -> Page {
        let frames = || self.steps.iter().flat_map(|step| [&step.before, &step.after]).chain([&end]);
        let cell = frames().map(|frame| frame.cell).max().unwrap_or(LEAST_CELL);
        let most = frames().map(|frame| frame.committed.div_ceil(cell)).max().unwrap_or_default();
        let size = crate::text::size;
        let shown = match self.stride {
            1 => String::new(),
            2 => ", of which every second is shown".to_string(),
            stride => format!(", of which every {stride}th is shown"),
        };
        let plural = if self.collections == 1 { "" } else { "s" };
        let of_them = format!("{} collection{plural}{shown}", crate::text::count(self.collections));
        let scale = format!(
            "The heap begins at the top left; a cell is {} of it, a row {}. A pale cell is partly in use.",
            size(cell),
            size(cell * COLUMNS)
        );
        let states = RegionState::ALL
            .map(|state| json!({"name": state.name(), "meaning": state.meaning(), "objects": state.holds_objects()}));
        let notes: Vec<&str> = about.iter().map(String::as_str).chain([of_them.as_str(), &scale]).collect();
        let steps = self.steps.iter().map(Step::json).chain([json!({"before": end.json()})]);
        Page(json!({
            "title": title,
            "notes": notes,
            "states": states,
            "columns": COLUMNS,
            "cell": cell,
            "most": most,
            "first": FIRST_INDEX,
            "collections": self.collections,
            "steps": steps.collect::<Vec<_>>(),
        }))
    }
}

/// A page that needs nothing beside itself.
pub struct Page(Value);

impl Page {
    /// How many collections it shows.
    pub fn collections(&self) -> usize {
        // The last step is the end.
        self.0["steps"].as_array().map_or(0, |steps| steps.len() - 1)
    }

    /// Writes it.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        let (head, tail) = PAGE.split_once("{{data}}").expect("the page has a place for its data");
        to.write_all(head.as_bytes())?;
        // No text in the data may end the element that it is in.
        to.write_all(self.0.to_string().replace('<', "\\u003c").as_bytes())?;
        to.write_all(tail.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(parts: &[(RegionState, u32)]) -> u8 {
        let mut bytes = [0; STATES];
        parts.iter().for_each(|(state, own)| bytes[*state as usize] += own);
        value(&bytes, 256)
    }

    #[test]
    fn a_cell_is_what_most_of_its_objects_are() {
        use RegionState::*;
        let of = |state: RegionState, level: u8| (state as u8 + 1) * 4 + level;
        assert_eq!(cell(&[]), 0);
        assert_eq!(cell(&[(Free, 256)]), of(Free, 0));
        assert_eq!(cell(&[(Holes, 240), (Old, 16)]), of(Old, 0));
        assert_eq!(cell(&[(Holes, 100), (Old, 56), (Young, 100)]), of(Young, 2));
        assert_eq!(cell(&[(Large, 256)]), of(Large, 3));
        assert_eq!(cell(&[(Free, 16), (Reserved, 240)]), of(Reserved, 0));
    }

    #[test]
    fn runs_are_letters_with_a_length() {
        assert_eq!(encode([].into_iter()), "");
        assert_eq!(encode([0, 0, 0, 4, 31, 31].into_iter()), "a3eF2");
    }

    #[test]
    fn what_is_kept_is_bounded_and_evenly_spaced() {
        let frame = || Frame { cell: 256, committed: 256, bytes: [0; STATES], map: String::new() };
        let mut recording = Recording { collections: 0, stride: 1, before: None, steps: Vec::new() };
        for number in 1..=3000 {
            if (number - 1) % recording.stride == 0 {
                let (kind, reason, outcome) = (CollectionKind::Major, Reason::Zeal, Outcome::Complete);
                let (before, after) = (frame(), frame());
                recording.keep(Step { number, kind, reason, outcome, pause: Duration::ZERO, before, after });
            }
            assert!(recording.steps.len() <= MOST_COLLECTIONS);
        }
        let numbers: Vec<u64> = recording.steps.iter().map(|step| step.number).collect();
        assert_eq!((numbers[0], numbers[1], recording.stride), (1, 9, 8));
        assert!(numbers.windows(2).all(|pair| pair[1] - pair[0] == 8) && numbers.len() > MOST_COLLECTIONS / 2 - 30);
    }
}
