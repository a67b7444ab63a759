//! Heap snapshots: what a program can reach at one moment of its run, in a file for others to look at.

mod devtools;
mod dot;

use crate::text;
use crate::whole_file::WholeFile;
use engine::{HeapGraph, HeapMoment, ObservedHeap, Outcome, Store};
use std::io::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use dot::MOST_OBJECTS as MOST_DOT_OBJECTS;

/// In which format a snapshot is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// That of Chrome's DevTools: `.heapsnapshot`.
    DevTools,
    /// Graphviz's: `.dot`.
    Dot,
}

/// The file that a snapshot goes to. Its ending says in which format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it is.
    pub file: PathBuf,
    /// What its ending means.
    pub format: Format,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let file = PathBuf::from(text);
        let format = match file.extension().and_then(|e| e.to_str()) {
            Some("heapsnapshot") => Format::DevTools,
            Some("dot") => Format::Dot,
            _ => {
                return Err(format!(
                    "`{text}`: a snapshot's file ends in .heapsnapshot, for Chrome's DevTools, or in .dot, for Graphviz"
                ));
            }
        };
        Ok(Target { file, format })
    }
}

/// When a snapshot is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// As the program ends: it returns, exits, traps, or lets an exception out. Where it ends because its heap is full, at the allocation that
    /// has no room, with the program's frames; otherwise when all frames are gone.
    #[default]
    End,
    /// At the allocation for which a full heap has no room; never if that does not come.
    Full,
    /// When the Nth collection has ended, from 1; each slice of one counts, minor ones too.
    Collection(u64),
    /// Before the object is allocated with which the program has allocated so many bytes: at the same object under every collector.
    Bytes(u64),
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<When, String> {
        let wrong = || {
            format!(
                "`{text}` is no moment: there is `end`, `full` (at the allocation that a full heap has no room for), `collection:N` (after \
                 the Nth collection), `bytes:SIZE` (when so much has been allocated, as in bytes:64MiB)"
            )
        };
        match text.split_once(':') {
            None if text == "end" => Ok(When::End),
            None if text == "full" => Ok(When::Full),
            Some(("collection", n)) => match n.parse() {
                Ok(n) if n > 0 => Ok(When::Collection(n)),
                _ => Err(wrong()),
            },
            Some(("bytes", size)) => text::parse_size(size).map(When::Bytes).map_err(|e| format!("{}: {e}", wrong())),
            _ => Err(wrong()),
        }
    }
}

impl When {
    /// Whether compiled code must not allocate by itself, so that the moment is seen.
    pub fn needs_allocations(self) -> bool {
        matches!(self, When::Bytes(_))
    }
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file cannot be written.
    #[error("{}: the snapshot cannot be written", .file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The heap has too many objects for the format.
    #[error(
        "{}: the heap has {} objects, and a graph of more than {} cannot be looked at as a drawing: write a .heapsnapshot, or take the \
         snapshot earlier with `--snapshot-at`", .file.display(), text::count(*.objects as u64), text::count(MOST_DOT_OBJECTS as u64)
    )]
    TooMany {
        /// The file.
        file: PathBuf,
        /// How many there are.
        objects: usize,
    },
    /// The moment did not come.
    #[error("{}: there is no snapshot, because its moment did not come: {why}", .file.display())]
    Never {
        /// The file.
        file: PathBuf,
        /// What came instead.
        why: String,
    },
}

/// What a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Where it is.
    pub file: PathBuf,
    /// Objects that can be reached.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of other objects, which the collector has not freed.
    pub dead_bytes: u64,
}

/// Writes what can be reached.
///
/// # Errors
/// Those of `to`. [`Format::Dot`] is for [`MOST_DOT_OBJECTS`] objects at most, which the caller has looked at.
pub fn write(graph: &HeapGraph<'_>, format: Format, to: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::DevTools => devtools::write(graph, to),
        Format::Dot => dot::write(graph, to),
    }
}

/// A snapshot that is to be taken while a program runs.
pub struct Request {
    target: Target,
    when: When,
    state: Arc<Mutex<State>>,
}

/// How far a request is.
struct State {
    target: Target,
    when: When,
    /// Taken when the snapshot is.
    file: Option<WholeFile>,
    collections: u64,
    allocated: u64,
    outcome: Option<Result<Summary, SnapshotError>>,
}

impl Request {
    /// Makes ready for the snapshot: the file can be written.
    ///
    /// # Errors
    /// When it cannot.
    pub fn new(target: Target, when: When) -> Result<Request, SnapshotError> {
        let file = WholeFile::create(&target.file)
            .map_err(|source| SnapshotError::Write { file: target.file.clone(), source })?;
        let state =
            State { target: target.clone(), when, file: Some(file), collections: 0, allocated: 0, outcome: None };
        Ok(Request { target, when, state: Arc::new(Mutex::new(state)) })
    }

    /// Takes the snapshot at its moment, while a program runs in `store`.
    pub fn watch(&self, store: &mut Store<()>) {
        let state = self.state.clone();
        store.observe_heap(move |moment, heap| lock(&state).at(moment, heap));
    }

    /// The program has ended: takes the snapshot if this is its moment.
    ///
    /// # Errors
    /// When there is none.
    pub fn end(self, store: &mut Store<()>) -> Result<Summary, SnapshotError> {
        let mut state = lock(&self.state);
        if state.outcome.is_none() && self.when == When::End {
            state.take(&store.heap_graph());
        }
        state.outcome.take().unwrap_or_else(|| {
            let why = match self.when {
                When::Collection(n) => {
                    format!(
                        "there were {} collections, and collection {n} was asked for",
                        text::count(state.collections)
                    )
                }
                When::Bytes(bytes) => format!(
                    "{} bytes were allocated, and {} were asked for",
                    text::count(state.allocated),
                    text::count(bytes)
                ),
                When::Full | When::End => "there was room for every object".into(),
            };
            Err(SnapshotError::Never { file: self.target.file.clone(), why })
        })
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn at(&mut self, moment: HeapMoment, heap: &mut ObservedHeap<'_>) {
        let now = match (self.when, moment) {
            (When::Collection(n), HeapMoment::AfterCollection { outcome, .. }) if outcome != Outcome::Refused => {
                self.collections += 1;
                self.collections == n
            }
            (When::Bytes(limit), HeapMoment::Allocation { bytes }) => {
                self.allocated = self.allocated.saturating_add(bytes);
                self.allocated >= limit
            }
            (When::End | When::Full, HeapMoment::Full { .. }) => true,
            _ => false,
        };
        if now && self.outcome.is_none() {
            self.take(&heap.graph());
        }
    }

    fn take(&mut self, graph: &HeapGraph<'_>) {
        if let Some(file) = self.file.take() {
            self.outcome = Some(self.write(graph, file));
        }
    }

    fn write(&self, graph: &HeapGraph<'_>, mut to: WholeFile) -> Result<Summary, SnapshotError> {
        let Target { file: name, format } = &self.target;
        if *format == Format::Dot && graph.len() > MOST_DOT_OBJECTS {
            return Err(SnapshotError::TooMany { file: name.clone(), objects: graph.len() });
        }
        write(graph, *format, &mut to)
            .and_then(|()| to.finish())
            .map_err(|source| SnapshotError::Write { file: name.clone(), source })?;
        Ok(Summary {
            file: name.clone(),
            objects: graph.len() as u64,
            bytes: graph.bytes(),
            dead_bytes: graph.dead_bytes(),
        })
    }
}
