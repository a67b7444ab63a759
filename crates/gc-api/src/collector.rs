//! The two runtime traits: [`GcRuntime`], one an engine, and [`GcHeap`], one a store.

use crate::{
    Counters, GcCompiler, GcEvents, GcKind, HeapMemory, HeapPolicy, HeapRegion, RefCell32, RootKind, Roots, Shapes,
    TypeIndex, VMGcRef,
};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A collector as the engine holds it: names it, makes heaps, and lends its half of the compiler.
pub trait GcRuntime: Send + Sync + fmt::Debug {
    /// Name, properties, options, citation.
    fn info(&self) -> &'static CollectorInfo;

    /// The half of the collector that emits code. Called once per compiled function.
    fn compiler(&self) -> &dyn GcCompiler;

    /// Makes an empty heap in `memory`, which nothing else uses. `shapes` grows while the heap lives.
    ///
    /// # Errors
    /// When side tables or the first memory cannot be had.
    fn new_heap(
        &self,
        memory: HeapMemory,
        shapes: Arc<Shapes>,
        limits: &HeapLimits,
    ) -> Result<Box<dyn GcHeap>, HeapError>;
}

/// What the world should know about a collector.
#[derive(Debug)]
pub struct CollectorInfo {
    /// What `--gc` takes: lower case, no spaces.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Where the algorithm comes from.
    pub citation: &'static str,
    /// Whether objects can change their index.
    pub moving: bool,
    /// Whether there are minor collections, unless options say otherwise.
    pub generational: bool,
    /// What a full collection frees: a claim that fuzzing and the tests hold it to.
    pub reclaims: Reclaims,
    /// What it is known not to do, for users; empty when there is nothing.
    pub caveat: &'static str,
    /// The options after the name, `--gc NAME:key=value`.
    pub options: &'static [OptionInfo],
    /// Options under which it works differently, as they stand after `NAME:`. Tests and fuzz targets run it under these, too.
    pub variants: &'static [&'static str],
}

/// What a collector claims to free in a full collection: an explicit one of the largest [`CollectionKind`] that it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reclaims {
    /// It never frees.
    Nothing,
    /// All that is unreachable and not on or behind a cycle of references. It may free more.
    Acyclic,
    /// All that is unreachable: it is complete.
    Everything,
}

impl Reclaims {
    /// A word for tables.
    pub const fn name(self) -> &'static str {
        match self {
            Reclaims::Nothing => "reclaims nothing",
            Reclaims::Acyclic => "reclaims acyclic garbage",
            Reclaims::Everything => "complete",
        }
    }
}

/// One option of a collector.
#[derive(Debug)]
pub struct OptionInfo {
    /// The key.
    pub key: &'static str,
    /// The values it takes, for people: `"KiB (4 to 65536)"`.
    pub values: &'static str,
    /// What it is when not given.
    pub default: &'static str,
    /// One line.
    pub summary: &'static str,
}

/// The options that were given for a collector, as strings.
#[derive(Default, Clone, Debug, PartialEq, Eq)]
pub struct CollectorOptions(BTreeMap<String, String>);

impl CollectorOptions {
    /// Parses `NAME[:key=value]…` into the name and the options.
    ///
    /// # Errors
    /// A part without `=`, or a key given twice.
    pub fn parse(spec: &str) -> Result<(&str, CollectorOptions), OptionError> {
        let mut parts = spec.split(':');
        let name = parts.next().unwrap_or_default();
        let mut options = BTreeMap::new();
        for part in parts {
            let (key, value) =
                part.split_once('=').ok_or_else(|| OptionError(format!("`{part}` in `{spec}` is not `key=value`")))?;
            if options.insert(key.to_string(), value.to_string()).is_some() {
                return Err(OptionError(format!("option `{key}` stands twice in `{spec}`")));
            }
        }
        Ok((name, CollectorOptions(options)))
    }

    /// Checks that every key is one of `info`'s options.
    ///
    /// # Errors
    /// The first unknown key, with the ones there are.
    pub fn check(&self, info: &CollectorInfo) -> Result<(), OptionError> {
        match self.0.keys().find(|key| info.options.iter().all(|option| option.key != key.as_str())) {
            None => Ok(()),
            Some(key) if info.options.is_empty() => {
                Err(OptionError(format!("collector `{}` has no option `{key}`: it has none", info.name)))
            }
            Some(key) => {
                let known: Vec<_> =
                    info.options.iter().map(|o| format!("{}={} (default {})", o.key, o.values, o.default)).collect();
                Err(OptionError(format!(
                    "collector `{}` has no option `{key}`: it has {}",
                    info.name,
                    known.join(", ")
                )))
            }
        }
    }

    /// The value of `key` as it was given, if it was.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// The value of `key`, or `default` when it was not given.
    ///
    /// # Errors
    /// A value that does not parse or lies outside `range`.
    pub fn number(&self, key: &str, default: u64, range: std::ops::RangeInclusive<u64>) -> Result<u64, OptionError> {
        let Some(text) = self.0.get(key) else { return Ok(default) };
        text.parse().ok().filter(|value| range.contains(value)).ok_or_else(|| {
            OptionError(format!("`{key}={text}`: a whole number from {} to {} goes here", range.start(), range.end()))
        })
    }

    /// The value of `key` as a time, in `us`, `ms` or `s`: `"500us"`, `"1.5ms"`. `None` when it was not given, or is `none`.
    ///
    /// # Errors
    /// Anything else, and less than a microsecond.
    pub fn duration(&self, key: &str) -> Result<Option<std::time::Duration>, OptionError> {
        let Some(text) = self.0.get(key).filter(|text| *text != "none") else { return Ok(None) };
        let units = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0)];
        let seconds =
            units.iter().find_map(|(unit, scale)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * scale));
        let time = seconds.filter(|s| *s >= 1e-6).and_then(|s| std::time::Duration::try_from_secs_f64(s).ok());
        match time {
            Some(time) => Ok(Some(time)),
            None => Err(OptionError(format!("`{key}={text}`: a time goes here, as 500us, 1.5ms or 1s, or none"))),
        }
    }

    /// The value of `key` among `values`, or the first of them when it was not given.
    ///
    /// # Errors
    /// Any other value.
    pub fn choice<'v>(&self, key: &str, values: &[&'v str]) -> Result<&'v str, OptionError> {
        let Some(text) = self.0.get(key) else { return Ok(values[0]) };
        values
            .iter()
            .find(|value| *value == text)
            .copied()
            .ok_or_else(|| OptionError(format!("`{key}={text}`: one of {} goes here", values.join(", "))))
    }
}

/// What is wrong with a collector's options, and what would be right.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct OptionError(pub String);

/// One line of the list of collectors: its facts, and how to make it.
#[derive(Clone, Copy)]
pub struct Collector {
    /// Name, properties, options, citation.
    pub info: &'static CollectorInfo,
    /// Makes the collector with the given options.
    pub make: fn(&CollectorOptions) -> Result<Arc<dyn GcRuntime>, OptionError>,
}

impl Collector {
    /// Makes the collector with the given options, after checking that it has them.
    ///
    /// # Errors
    /// An option that it does not have, or a value that it does not take.
    pub fn with(&self, options: &CollectorOptions) -> Result<Arc<dyn GcRuntime>, OptionError> {
        options.check(self.info)?;
        (self.make)(options)
    }
}

/// How large a heap may become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeapLimits {
    /// Bytes of objects and of what is kept beside them, at most. Also [`HeapMemory::limit_bytes`].
    pub max_bytes: u64,
    /// Bytes that the heap is to have at the start, and below which it need not shrink.
    pub initial_bytes: u64,
    /// How its size follows from what is live, between these.
    pub policy: HeapPolicy,
    /// Whether the program is compiled to count inline allocations in [`Cell::OBJECTS`](crate::Cell::OBJECTS).
    pub count_objects: bool,
    /// Whether each collection is to move every object that it can: for tests. Collectors that move nothing ignore it.
    pub always_move: bool,
}

impl Default for HeapLimits {
    /// All of the index space, 1 MiB of it at the start.
    fn default() -> Self {
        HeapLimits {
            max_bytes: u32::MAX as u64,
            initial_bytes: 1 << 20,
            policy: HeapPolicy::default(),
            count_objects: false,
            always_move: false,
        }
    }
}

/// What goes wrong with a heap as a whole.
#[derive(Debug, thiserror::Error)]
pub enum HeapError {
    /// The limit is reached.
    #[error("the heap's limit of {limit} bytes is reached")]
    Exhausted {
        /// The limit in bytes.
        limit: u64,
    },
    /// The system refused.
    #[error("{what} failed: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
}

/// An object to be allocated by [`GcHeap::allocate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewObject {
    /// What it is.
    pub kind: GcKind,
    /// Its canonical type; [`EXTERN_TYPE`](crate::EXTERN_TYPE) for a host value.
    pub ty: TypeIndex,
    /// Bytes with the header, a multiple of 8. May exceed the index space (a huge array): refuse it then.
    pub size: u64,
    /// The length, for an array.
    pub length: Option<u32>,
    /// The id of the host value, for one.
    pub host: Option<HostId>,
}

/// The id of a host value in its store's table.
pub type HostId = u32;

/// Allocation found no room without a collection or more memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeedsCollection {
    /// Bytes that were asked for.
    pub bytes: u64,
}

/// What to do when an allocation failed: [`GcHeap::on_allocation_failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizingDecision {
    /// Collect so much, then try again.
    Collect(CollectionKind),
    /// Grow by at least this many bytes, then try again.
    Grow(u64),
    /// Nothing helps: the program traps.
    GiveUp,
}

/// A request to collect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collection {
    /// Who asked.
    pub reason: Reason,
    /// How much to collect. A collector that knows fewer kinds does the next larger one.
    pub kind: CollectionKind,
    /// How long this slice may take; `None` means: until it is complete.
    pub budget: Option<std::time::Duration>,
}

/// Who asked for a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// An allocation found no room.
    Allocation,
    /// The host, or the program through the host.
    Explicit,
    /// A test that forces collections.
    Zeal,
    /// The collector itself, from a barrier or a poll.
    Collector,
}

impl Reason {
    /// A word for tables and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Allocation => "allocation",
            Reason::Explicit => "explicit",
            Reason::Zeal => "zeal",
            Reason::Collector => "collector",
        }
    }
}

/// How much to collect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CollectionKind {
    /// Young objects.
    Minor,
    /// Everything that the collector's cheap algorithm finds.
    Major,
    /// Also cyclic garbage, for a collector that counts.
    Cycle,
}

impl CollectionKind {
    /// A word for tables and logs.
    pub const fn name(self) -> &'static str {
        match self {
            CollectionKind::Minor => "minor",
            CollectionKind::Major => "major",
            CollectionKind::Cycle => "cycle",
        }
    }
}

/// How a collection, or a slice of it, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is left to do.
    Complete,
    /// The budget ended first; ask again. A collector with a budget of its own may answer so to any request but an explicit one without
    /// a budget.
    Unfinished,
    /// This collector does not collect.
    Refused,
}

/// Where a reference is stored or loaded by the host: the same information as compiled barriers get.
#[derive(Clone, Copy, Debug)]
pub enum WriteSite<'a> {
    /// The slot at byte `offset` of an object.
    Object {
        /// The object.
        object: &'a VMGcRef,
        /// Bytes from its start.
        offset: u32,
    },
    /// A slot outside the heap.
    Cell {
        /// What it belongs to.
        kind: CellKind,
        /// The slot.
        cell: &'a RefCell32,
    },
}

/// What a slot outside the heap belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellKind {
    /// A global.
    Global,
    /// An element of a table.
    Table,
    /// An element segment.
    Segment,
    /// A handle of the host's.
    Host,
    /// The exception on its way to a handler.
    Exception,
}

/// A run of slots to write.
#[derive(Clone, Copy, Debug)]
pub enum RefRange<'a> {
    /// Elements `start..start + length` of an array of references.
    Array {
        /// The array.
        array: &'a VMGcRef,
        /// Its first element to use.
        start: u32,
        /// Number of elements.
        length: u32,
    },
    /// Slots outside the heap.
    Cells {
        /// What they belong to.
        kind: CellKind,
        /// The slots.
        cells: &'a [RefCell32],
    },
}

impl RefRange<'_> {
    /// Number of slots.
    pub fn len(&self) -> usize {
        match self {
            RefRange::Array { length, .. } => *length as usize,
            RefRange::Cells { cells, .. } => cells.len(),
        }
    }

    /// Whether there are no slots.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The raw reference in slot `i`, without a barrier.
    ///
    /// # Panics
    /// When `i` is out of range.
    pub fn get(&self, memory: &HeapMemory, i: usize) -> u32 {
        match self {
            RefRange::Array { array, start, length } => {
                assert!(i < *length as usize);
                memory.load_u32(array.raw(), crate::REF_ARRAY_BASE + (start + i as u32) * 4)
            }
            RefRange::Cells { cells, .. } => cells[i].raw(),
        }
    }

    /// Replaces the raw reference in slot `i`, without a barrier.
    ///
    /// # Panics
    /// When `i` is out of range.
    pub fn set(&self, memory: &HeapMemory, i: usize, raw: u32) {
        match self {
            RefRange::Array { array, start, length } => {
                assert!(i < *length as usize);
                memory.store_u32(array.raw(), crate::REF_ARRAY_BASE + (start + i as u32) * 4, raw);
            }
            RefRange::Cells { cells, .. } => cells[i].set_raw(raw),
        }
    }

    /// Whether `self` and `other` may be the same slots in another order of copying: then a forward copy from `other`
    /// to `self` would overwrite what it has yet to read.
    pub fn must_copy_backwards_from(&self, other: &RefRange<'_>) -> bool {
        match (self, other) {
            (RefRange::Array { array: a, start: to, .. }, RefRange::Array { array: b, start: from, length }) => {
                a == b && to > from && *to - *from < *length
            }
            (RefRange::Cells { cells: to, .. }, RefRange::Cells { cells: from, .. }) => {
                let (to, from) = (to.as_ptr_range(), from.as_ptr_range());
                to.start > from.start && to.start < from.end
            }
            _ => false,
        }
    }
}

/// A bulk write: `array.copy`, `array.fill`, `array.init_elem`, `array.new_elem`, `table.copy`, `table.fill`,
/// `table.init`, `table.grow`.
#[derive(Clone, Copy, Debug)]
pub struct BulkWrite<'a> {
    /// The slots to write.
    pub to: RefRange<'a>,
    /// What goes there.
    pub from: BulkSource<'a>,
    /// Whether the slots hold nothing yet (a new array), rather than references that are overwritten.
    pub initializing: bool,
}

/// What a bulk write stores.
#[derive(Clone, Copy, Debug)]
pub enum BulkSource<'a> {
    /// The same reference, or null, everywhere.
    Fill(Option<&'a VMGcRef>),
    /// Slot by slot, as if read entirely before the first is written; as long as the target.
    Copy(RefRange<'a>),
}

/// A slow path of the collector's own compiled code: a number that only the collector understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowOp(pub u32);

/// Where a heap's bytes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeapUsage {
    /// Bytes in objects that have not been freed, reachable or not.
    pub live: u64,
    /// Bytes that allocation can use without growing.
    pub free: u64,
    /// Bytes of committed heap that neither objects nor allocation can use (fragments, reserves).
    pub waste: u64,
    /// Bytes of side tables, buffers and lists.
    pub metadata: u64,
    /// Bytes of committed heap: `live + free + waste`.
    pub committed: u64,
}

/// A collector's own invariant does not hold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("corrupt heap: {0}")]
pub struct Corruption(pub String);

/// A reference in a slot, as the verifier finds it.
#[derive(Debug)]
pub struct Edge {
    /// Where the slot is.
    pub from: EdgeSource,
    /// The object that it refers to.
    pub to: VMGcRef,
}

/// Where the verifier finds a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeSource {
    /// Outside of all objects and frames.
    Root(RootKind),
    /// In an object.
    Object {
        /// The object.
        index: u32,
        /// Bytes from its start to the slot.
        offset: u32,
        /// Since when it is there.
        age: EdgeAge,
    },
}

/// Since when a slot of an object has held what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeAge {
    /// At the end of the last collection the slot held the same.
    Same,
    /// At the end of the last collection the slot held something else, or null.
    Changed,
    /// The object was allocated after the last collection, or was not reachable at its end.
    NewObject,
}

/// A write that a collector's barriers have not seen: [`GcHeap::check_edges`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissedWrite {
    /// The slot that was written, as object and offset, if the collector can tell.
    pub slot: Option<(u32, u32)>,
    /// The object that was referred to.
    pub object: u32,
    /// What is wrong, for people.
    pub what: String,
}

/// A store's heap: everything that happens to objects while the program runs.
///
/// The heap is untrusted memory: a method may panic on a corrupt one, never do worse. The engine catches the panic at the
/// border to compiled code and reports it as an error.
pub trait GcHeap: Send {
    /// Allocates an object, writes its header, its length and its host id; other contents are the caller's to write
    /// before the next safepoint. The reference is borrowed: it is valid until the next safepoint, and whoever wants to keep it
    /// stores it, or owns a reference of its own by [`clone_ref`](Self::clone_ref), which alone may be dropped or exposed.
    ///
    /// # Errors
    /// When there is no room: the engine then asks [`on_allocation_failure`](Self::on_allocation_failure).
    fn allocate(&mut self, object: NewObject) -> Result<VMGcRef, NeedsCollection>;

    /// A second reference for the host. Counting collectors increment.
    fn clone_ref(&mut self, r: &VMGcRef) -> VMGcRef {
        r.unchecked_copy()
    }

    /// Gives up a reference that the host owned. Counting collectors decrement.
    fn drop_ref(&mut self, r: VMGcRef) {
        let _ = r;
    }

    /// Moves a reference that the host owns onto the program's stack: an argument, a result.
    fn expose(&mut self, r: VMGcRef) -> u32 {
        r.raw()
    }

    /// Loads for the host, which then owns what it gets.
    fn read_ref(&mut self, site: WriteSite<'_>) -> Option<VMGcRef> {
        let loaded = match site {
            WriteSite::Object { object, offset } => self.memory().load_ref(object, offset),
            WriteSite::Cell { cell, .. } => cell.peek(),
        };
        loaded.map(|r| self.clone_ref(&r))
    }

    /// Stores `new`, borrowed from the host or the stack, over what the slot holds.
    fn write_ref(&mut self, site: WriteSite<'_>, new: Option<&VMGcRef>) {
        write_ref(self.memory(), site, new);
    }

    /// Stores a run of references. Bounds have been checked.
    fn write_refs(&mut self, write: BulkWrite<'_>) {
        copy_refs(self.memory(), write, |_, _| {});
    }

    /// Collects, or does a slice of a collection. State may persist from one slice to the next.
    fn collect(&mut self, request: Collection, roots: &mut dyn Roots, events: &mut dyn GcEvents) -> Outcome;

    /// What this collector's compiled code calls out to. The engine passes it through without looking.
    /// A safepoint: but nothing is collected here; a heap that wants a collection says so in
    /// [`wants_collection`](Self::wants_collection).
    ///
    /// # Panics
    /// On an operation that this collector's compiler never emits.
    fn slow_path(&mut self, op: SlowOp, args: [u64; 4]) -> u64 {
        unreachable!("slow path {op:?} with {args:?}: this collector emits none")
    }

    /// Asked by the engine after a slow path: whether to collect now, and how.
    fn wants_collection(&self) -> Option<CollectionKind> {
        None
    }

    /// Policy: what to do when `need` bytes could not be allocated. `attempts` counts the failures for this
    /// allocation, from 0; a heap must answer [`SizingDecision::GiveUp`] in the end.
    fn on_allocation_failure(&mut self, need: u64, attempts: u32) -> SizingDecision;

    /// Ids of host values whose objects have been freed since the last call.
    fn take_dead_hosts(&mut self) -> Vec<HostId> {
        Vec::new()
    }

    /// Where the bytes are.
    fn usage(&self) -> HeapUsage;

    /// Exact work counts since the heap was made or reset.
    fn counters(&self) -> Counters;

    /// Visits every object that has not been freed, in any order.
    fn for_each_object(&self, visit: &mut dyn FnMut(VMGcRef));

    /// Checks the collector's own invariants, for `--verify` and tests.
    ///
    /// # Errors
    /// The first that does not hold.
    fn check(&self) -> Result<(), Corruption>;

    /// Checks what the barriers have noted (counts, a remembered set, a log) against the references that there are: `edges` are all of
    /// those in objects that have not been freed, and in slots outside of objects and frames. Asked at a safepoint, before a
    /// collection, for `--verify` and tests.
    ///
    /// # Errors
    /// A reference that was written, or overwritten, without a barrier.
    fn check_edges(&self, edges: &[Edge]) -> Result<(), MissedWrite> {
        let _ = edges;
        Ok(())
    }

    /// Visits ranges of committed memory, some of them empty, that no object has and that the collector does not use either: tests overwrite
    /// them.
    fn for_each_free_range(&self, visit: &mut dyn FnMut(std::ops::Range<u32>)) {
        let _ = visit;
    }

    /// Visits what the heap's memory is used for, for people to look at: regions of committed memory that do not overlap. Every object of
    /// [`for_each_object`](Self::for_each_object) lies in such as [hold objects](crate::RegionState::holds_objects). Memory that is in none of
    /// them is lost to the heap. A heap that shows nothing has no map.
    fn for_each_region(&self, visit: &mut dyn FnMut(HeapRegion)) {
        let _ = visit;
    }

    /// Makes the heap as good as new, for the next store: nothing of the last one's can be read, and the same program does the same
    /// as in a new heap, statistics included. Before the call the engine may have shrunk the memory to what it was at the start.
    fn reset(&mut self);

    /// The memory that the heap was given.
    fn memory(&self) -> &HeapMemory;
}

/// Stores a reference for [`GcHeap::write_ref`], without more.
pub fn write_ref(memory: &HeapMemory, site: WriteSite<'_>, new: Option<&VMGcRef>) {
    let raw = new.map_or(0, VMGcRef::raw);
    match site {
        WriteSite::Object { object, offset } => memory.store_u32(object.raw(), offset, raw),
        WriteSite::Cell { cell, .. } => cell.set_raw(raw),
    }
}

/// Stores a run of references as if all were read first, calling `each(old, new)` (raw) before each store: the loop
/// behind [`GcHeap::write_refs`].
pub fn copy_refs(memory: &HeapMemory, write: BulkWrite<'_>, mut each: impl FnMut(u32, u32)) {
    let mut one = |i: usize, new: u32| {
        let old = if write.initializing { 0 } else { write.to.get(memory, i) };
        each(old, new);
        write.to.set(memory, i, new);
    };
    match write.from {
        BulkSource::Fill(value) => {
            let raw = value.map_or(0, VMGcRef::raw);
            (0..write.to.len()).for_each(|i| one(i, raw));
        }
        BulkSource::Copy(from) => {
            assert_eq!(from.len(), write.to.len(), "a copy's ranges are equally long");
            if write.to.must_copy_backwards_from(&from) {
                (0..from.len()).rev().for_each(|i| one(i, from.get(memory, i)));
            } else {
                (0..from.len()).for_each(|i| one(i, from.get(memory, i)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: CollectorInfo = CollectorInfo {
        name: "test",
        summary: "",
        citation: "",
        moving: false,
        generational: false,
        reclaims: Reclaims::Nothing,
        caveat: "",
        options: &[OptionInfo { key: "size", values: "KiB", default: "4", summary: "" }],
        variants: &[],
    };

    #[test]
    fn options_parse_and_say_what_there_is() {
        let (name, options) = CollectorOptions::parse("test:size=8").unwrap();
        assert_eq!((name, options.number("size", 4, 1..=9)), ("test", Ok(8)));
        options.check(&INFO).unwrap();
        assert!(options.number("size", 4, 1..=7).unwrap_err().0.contains("from 1 to 7"));
        assert!(CollectorOptions::parse("test:size").unwrap_err().0.contains("key=value"));
        assert!(CollectorOptions::parse("test:a=1:a=2").unwrap_err().0.contains("twice"));
        let (_, other) = CollectorOptions::parse("test:sise=8").unwrap();
        assert!(other.check(&INFO).unwrap_err().0.contains("it has size=KiB (default 4)"));
    }

    #[test]
    fn overlapping_copies_read_before_they_write() {
        let memory = HeapMemory::reserve(1 << 16).unwrap();
        let cells: Vec<RefCell32> = (0..6).map(|_| RefCell32::null()).collect();
        let table = |range: std::ops::Range<usize>| RefRange::Cells { kind: CellKind::Table, cells: &cells[range] };
        let raws = || cells.iter().map(RefCell32::raw).collect::<Vec<_>>();
        let reset = || cells.iter().enumerate().for_each(|(i, c)| c.set_raw(i as u32 * 2 + 1));
        let copy = |to, from| {
            let mut pairs = Vec::new();
            let write = BulkWrite { to: table(to), from: BulkSource::Copy(table(from)), initializing: false };
            copy_refs(&memory, write, |old, new| pairs.push((old, new)));
            pairs
        };
        reset();
        copy(2..6, 0..4);
        assert_eq!(raws(), [1, 3, 1, 3, 5, 7]);
        reset();
        let pairs = copy(0..4, 2..6);
        assert_eq!(raws(), [5, 7, 9, 11, 9, 11]);
        assert_eq!(pairs, [(1, 5), (3, 7), (5, 9), (7, 11)]);
    }
}
