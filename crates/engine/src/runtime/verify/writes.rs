//! Which instruction wrote what, and whether the collector noticed.
//!
//! Compiled code reports every reference that it is about to write into an object; the runtime, those that its bulk operations
//! write. Only the last write of each slot is kept. The collector is shown all edges of the heap
//! ([`GcHeap::check_edges`]); for one that its barriers have missed, the last writer is looked up here.

use super::graph::{Graph, Header};
use super::{Fault, View};
use gc_api::{Edge, EdgeAge, EdgeSource, GcHeap, RootKind, Roots, VMGcRef};
use rustc_hash::FxHashMap;
use std::cell::RefCell;

/// The program counter of a write by the host.
const HOST: usize = 0;

/// The last writers of slots in objects.
#[derive(Default)]
pub struct Writes {
    /// By object and offset: the program counter behind the write.
    last: RefCell<FxHashMap<(u32, u32), usize>>,
    /// How a program counter is described.
    names: RefCell<FxHashMap<usize, String>>,
}

impl Writes {
    /// Notes that the instruction before `pc`, or the host, writes the slot at `offset` of an object.
    pub fn note(&self, object: u32, offset: u32, pc: Option<usize>, name: impl FnOnce() -> String) {
        let pc = pc.unwrap_or(HOST);
        self.last.borrow_mut().insert((object, offset), pc);
        if pc != HOST {
            self.names.borrow_mut().entry(pc).or_insert_with(name);
        }
    }

    /// Follows objects to where they moved, and forgets those that died: `moves` are the survivors.
    pub fn follow(&self, moves: &[(u32, u32)]) {
        let to: FxHashMap<u32, u32> = moves.iter().copied().collect();
        let mut last = self.last.borrow_mut();
        *last = last.drain().filter_map(|((object, offset), pc)| Some(((*to.get(&object)?, offset), pc))).collect();
    }

    /// Shows the collector all edges: those in objects that it has not freed, and those in roots outside of frames.
    ///
    /// # Errors
    /// The first that it has missed, and who wrote it.
    pub fn check(
        &self,
        view: View<'_>,
        heap: &dyn GcHeap,
        roots: &mut dyn Roots,
        last: Option<&Graph>,
    ) -> Result<(), Fault> {
        let mut edges = Vec::new();
        for kind in RootKind::ALL.into_iter().filter(|kind| *kind != RootKind::Stack) {
            let mut push = |to: VMGcRef| edges.push(Edge { from: EdgeSource::Root(kind), to });
            roots.visit(kind, &mut |slot| slot.get().filter(|held| !held.is_i31()).into_iter().for_each(&mut push));
        }
        let mut objects = Vec::new();
        heap.for_each_object(&mut |object| objects.push(object.raw()));
        for index in objects {
            let header = Header::read(view, index)?;
            if !header.has_references(view) {
                continue;
            }
            let known = last.is_some_and(|graph| graph.contains(index));
            header.slots(view, |offset, storage| {
                let held = if storage.is_gc_ref() { view.memory.load_u32(index, offset) } else { 0 };
                let Some(to) = VMGcRef::from_raw(held).filter(|held| !held.is_i31()) else { return };
                let age = match last.filter(|_| known).and_then(|graph| graph.held(view, index, offset)) {
                    None => EdgeAge::NewObject,
                    Some(then) if then == held => EdgeAge::Same,
                    Some(_) => EdgeAge::Changed,
                };
                edges.push(Edge { from: EdgeSource::Object { index, offset, age }, to });
            });
        }
        heap.check_edges(&edges).map_err(|missed| {
            let mut writers: Vec<String> = match missed.slot {
                Some(slot) => vec![self.writer(slot)],
                // Whatever wrote the object's reference somewhere, or over it.
                None => self.candidates(view, &edges, missed.object, last),
            };
            writers.sort_unstable();
            writers.dedup();
            Fault(format!("{}; {}", missed.what, writers.join(", or ")))
        })
    }

    fn writer(&self, slot: (u32, u32)) -> String {
        match self.last.borrow().get(&slot) {
            None => "nothing has written there since its object was made".into(),
            Some(&HOST) => "the host wrote there last".into(),
            Some(pc) => match self.names.borrow().get(pc) {
                Some(name) => format!("last written by {}", name.trim_start()),
                None => "last written by code that is unknown".into(),
            },
        }
    }

    /// The last writers of slots that hold a reference to `object`, or held one.
    fn candidates(&self, view: View<'_>, edges: &[Edge], object: u32, last: Option<&Graph>) -> Vec<String> {
        let holds = edges.iter().filter(|edge| edge.to.raw() == object).filter_map(|edge| match edge.from {
            EdgeSource::Object { index, offset, .. } => Some((index, offset)),
            EdgeSource::Root(_) => None,
        });
        let held = last.into_iter().flat_map(|graph| {
            let written: Vec<(u32, u32)> = self.last.borrow().keys().copied().collect();
            written.into_iter().filter(|(index, offset)| graph.held(view, *index, *offset) == Some(object))
        });
        holds.chain(held).map(|slot| self.writer(slot)).collect()
    }
}
