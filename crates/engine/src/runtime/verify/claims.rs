//! What the collector says of itself, and what is there.

use super::graph::{Graph, Header};
use super::{Fault, View};
use gc_api::{CollectionKind, GcHeap, HostId, Reclaims, VMGcRef};
use rustc_hash::FxHashSet;

/// The objects that the collector has not freed, by ascending index: none twice, none inside another, and all that are reachable.
///
/// # Errors
/// The first of which that is not so.
pub fn listed(view: View<'_>, heap: &dyn GcHeap, graph: &Graph) -> Result<Vec<u32>, Fault> {
    let mut objects = Vec::new();
    heap.for_each_object(&mut |object| objects.push(object.raw()));
    objects.sort_unstable();
    let mut end = 0;
    for index in &objects {
        let header =
            Header::read(view, *index).map_err(|Fault(what)| Fault(format!("the collector says that {what}")))?;
        if (*index as u64) < end {
            return Err(Fault(format!("{header} at {index:#x} is listed twice, or begins inside another object")));
        }
        end = *index as u64 + header.size;
    }
    match graph.indices().find(|index| objects.binary_search(index).is_err()) {
        Some(index) => {
            let (header, path) = (Header::read(view, index)?, graph.path_to(index));
            Err(Fault(format!(
                "{header} at {index:#x} is reachable, and the collector does not list it: {path} refers to it"
            )))
        }
        None => Ok(objects),
    }
}

/// Whether the bytes add up.
///
/// # Errors
/// What does not.
pub fn bytes(view: View<'_>, heap: &dyn GcHeap, objects: &[u32]) -> Result<(), Fault> {
    let usage = heap.usage();
    let mut live = 0;
    for index in objects {
        live += Header::read(view, *index)?.size;
    }
    let committed = view.memory.committed_bytes();
    let parts = usage.live + usage.free + usage.waste;
    if usage.live != live {
        return Err(Fault(format!(
            "its objects have {live} bytes, and the collector reports {} live ones",
            usage.live
        )));
    }
    if usage.committed != committed || parts != committed {
        return Err(Fault(format!(
            "{committed} bytes are committed, and the collector reports {usage:?}: {parts} in all"
        )));
    }
    Ok(())
}

/// Whether the host values that died are unreachable, and did so once.
///
/// # Errors
/// The first that is not, or did not.
pub fn hosts(view: View<'_>, graph: &Graph, dead: &[HostId]) -> Result<(), Fault> {
    let set: FxHashSet<HostId> = dead.iter().copied().collect();
    if set.len() != dead.len() {
        return Err(Fault("a host value was said to be dead twice".into()));
    }
    match graph.host_values(view).find(|id| set.contains(id)) {
        Some(id) => Err(Fault(format!("host value {id} is reachable, and was said to be dead"))),
        None => Ok(()),
    }
}

/// Whether a collection of this kind freed what the collector claims to free.
///
/// # Errors
/// The first object that is still there.
pub fn reclaimed(view: View<'_>, graph: &Graph, objects: &[u32], kind: CollectionKind) -> Result<(), Fault> {
    let garbage: Vec<u32> = objects.iter().copied().filter(|index| !graph.contains(*index)).collect();
    let left = match (view.info.reclaims, kind) {
        (Reclaims::Everything, CollectionKind::Cycle) => garbage.first().copied(),
        (Reclaims::Acyclic, CollectionKind::Major | CollectionKind::Cycle) => {
            // Garbage on or behind a cycle has garbage that refers to it.
            let referred = referred(view, &garbage)?;
            garbage.into_iter().find(|index| !referred.contains(index))
        }
        _ => None,
    };
    match left {
        None => Ok(()),
        Some(index) => {
            let (header, claim) = (Header::read(view, index)?, view.info.reclaims.name());
            Err(Fault(format!(
                "{header} at {index:#x} is unreachable, and has not been freed by the collector, which says: {claim}"
            )))
        }
    }
}

/// What these objects refer to.
fn referred(view: View<'_>, objects: &[u32]) -> Result<FxHashSet<u32>, Fault> {
    let mut referred = FxHashSet::default();
    for index in objects {
        let header = Header::read(view, *index)?;
        if header.has_references(view) {
            header.slots(view, |offset, storage| {
                if storage.is_gc_ref()
                    && let Some(held) = VMGcRef::from_raw(view.memory.load_u32(*index, offset))
                {
                    referred.insert(held.raw());
                }
            });
        }
    }
    Ok(referred)
}
