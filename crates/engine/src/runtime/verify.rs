//! Whether a collector does what it says: found out at every collection of any program.
//!
//! A heap is a graph. The order of its roots (frames, globals, tables, segments, handles, the exception on its way) is not changed by a
//! collection, nor that of an object's slots. Let a walk go breadth first from the roots, in these orders, and number the objects as
//! it meets them. Then two heaps are the same to every program exactly if their walks are the same: object by object the same kind,
//! type, length and numbers, and slot by slot the same object by number, the same i31, or null. So, around each collection:
//!
//! 1. Walk; what is no object, does not lie in the heap or does not have its slot's type is found on the way ([`graph`]).
//! 2. Ask the collector whether its record of writes (counts, remembered set, log) knows every edge of the graph; if not, name the
//!    instruction that wrote it ([`writes`]).
//! 3. Let the collector collect. Walk again, from roots enumerated anew. Compare.
//! 4. Compare what the collector says of itself with what is there: its objects, its bytes, the host values that died, and what it
//!    claims to free ([`claims`]).
//! 5. Overwrite what is free, so that whoever still uses it fails.
//!
//! Nothing of that is the collectors' code: sizes and slots follow from the types as the compiler knows them, not from
//! [`Shapes`](gc_api::Shapes), and roots are visited a time more.

mod claims;
mod graph;
mod writes;

use super::hosts::HostValues;
use crate::types::TypeRegistry;
use gc_api::{Collection, CollectorInfo, GcHeap, HeapMemory, HostId, Outcome, Roots};
use graph::Graph;
pub use writes::Writes;

/// What dead memory is overwritten with: read as a reference, it leads far up into the index space.
const POISON: u8 = 0xDA;

/// What a check found to be wrong, in words.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(String);

/// What the verifier knows of a store beside its heap.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub memory: &'a HeapMemory,
    pub registry: &'a TypeRegistry,
    pub hosts: &'a HostValues,
    /// Number of function references, null included.
    pub funcs: usize,
    /// Number of tags.
    pub tags: usize,
    pub info: &'static CollectorInfo,
    pub writes: &'a Writes,
}

/// What is to be compared after a collection.
pub struct Before {
    graph: Graph,
}

/// What holds after a collection.
pub struct After {
    graph: Graph,
    moves: Vec<(u32, u32)>,
}

/// Checks the heap as it is before a collection. `last` is what the last one left.
///
/// # Errors
/// The first fault.
pub fn before(view: View<'_>, heap: &dyn GcHeap, roots: &mut dyn Roots, last: Option<&After>) -> Result<Before, Fault> {
    heap.check().map_err(|corruption| Fault(corruption.0))?;
    let graph = Graph::walk(view, roots)?;
    claims::listed(view, heap, &graph)?;
    view.writes.check(view, heap, roots, last.map(|after| &after.graph))?;
    Ok(Before { graph })
}

/// Checks the heap as a collection has left it. `dead` are the host values that it said are dead.
///
/// # Errors
/// The first fault.
pub fn after(
    view: View<'_>,
    heap: &dyn GcHeap,
    roots: &mut dyn Roots,
    before: Before,
    request: Collection,
    outcome: Outcome,
    dead: &[HostId],
) -> Result<After, Fault> {
    heap.check().map_err(|corruption| Fault(corruption.0))?;
    let graph = Graph::walk(view, roots)?;
    graph.compare(&before.graph, view.info.moving)?;
    claims::hosts(view, &graph, dead)?;
    let objects = claims::listed(view, heap, &graph)?;
    claims::bytes(view, heap, &objects)?;
    if outcome == Outcome::Complete {
        claims::reclaimed(view, &graph, &objects, request.kind)?;
    }
    let moves = before.graph.indices().zip(graph.indices()).collect();
    Ok(After { graph, moves })
}

impl After {
    /// Where each object that survived was, and where it is.
    pub fn moves(&self) -> &[(u32, u32)] {
        &self.moves
    }
}

/// Overwrites what the collector says is free.
pub fn poison(heap: &dyn GcHeap) {
    let memory = heap.memory();
    heap.for_each_free_range(&mut |range| {
        if !range.is_empty() {
            memory.fill_bytes(range.start, 0, range.end - range.start, POISON);
        }
    });
}
