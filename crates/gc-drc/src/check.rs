//! The collector's own invariants, for `--verify` and tests. At any safepoint:
//!
//! 1. Objects do not overlap, and blocks know how much of them is in objects with a start bit.
//! 2. No object is marked. An object is enrolled exactly when the activations table has it, once.
//! 3. What an object refers to is an object. What a *new* object refers to is new or enrolled.
//! 4. An object's count is at least the number of references to it from old objects, unless it is sticky.
//! 5. An object without a count that is neither new nor enrolled is in the buffer of dead objects.

use crate::counts::{ENROLLED, MARK, NEW, STICKY, count, is_dead, object};
use crate::heap::DrcHeap;
use crate::space::{Block, parts};
use gc_api::{Corruption, Edge, EdgeSource, MissedWrite, VMGcRef};
use std::collections::{HashMap, HashSet};

pub fn check(heap: &DrcHeap) -> Result<(), Corruption> {
    let mut objects = Vec::new();
    heap.space.for_each(&mut |r| objects.push(r.raw()));
    objects.sort_unstable();
    check_layout(heap, &objects)?;
    check_table(heap, &objects)?;
    check_references(heap, &objects)
}

/// Whether each count is the number of references that are counted: those in old objects, and in slots outside of objects.
pub fn check_edges(heap: &DrcHeap, edges: &[Edge]) -> Result<(), MissedWrite> {
    let mut counted: HashMap<u32, u32> = HashMap::new();
    for edge in edges {
        let counts = match edge.from {
            EdgeSource::Root(_) => true,
            EdgeSource::Object { index, .. } => word(heap, index) & NEW == 0,
        };
        *counted.entry(edge.to.raw()).or_default() += counts as u32;
    }
    let mut missed = None;
    heap.space.for_each(&mut |object| {
        let word = heap.space.memory.header_word(&object);
        let (count, references) = (count(word), counted.get(&object.raw()).copied().unwrap_or_default());
        if word & STICKY == 0 && count != references && missed.is_none() {
            let object = object.raw();
            let what = format!("the object at {object:#x} has count {count}, and {references} counted references");
            missed = Some(MissedWrite { slot: None, object, what });
        }
    });
    missed.map_or(Ok(()), Err)
}

fn require(holds: bool, what: impl FnOnce() -> String) -> Result<(), Corruption> {
    if holds { Ok(()) } else { Err(Corruption(what())) }
}

fn word(heap: &DrcHeap, index: u32) -> u32 {
    let r = VMGcRef::from_index(index).expect("no object is at 0");
    heap.space.memory.header_word(&r)
}

fn check_layout(heap: &DrcHeap, objects: &[u32]) -> Result<(), Corruption> {
    let space = &heap.space;
    let mut blocks = vec![Block::default(); space.blocks.len()];
    let mut live = 0;
    for (index, next) in objects.iter().zip(objects.iter().skip(1).chain(Some(&u32::MAX))) {
        let size = space.size_of(*index);
        require(index + size <= *next, || format!("the object at {index:#x} of {size} bytes reaches into {next:#x}"))?;
        let old = word(heap, *index) & NEW == 0;
        let start = space.is_start(*index);
        require(start || !old, || format!("the old object at {index:#x} has no start bit"))?;
        if start {
            live += size as u64;
            for (block, bytes, first) in parts(*index, size) {
                blocks[block].live += bytes;
                blocks[block].spill += if first { 0 } else { bytes };
            }
        }
    }
    require(live == space.live, || format!("{live} bytes have start bits, {} are counted", space.live))?;
    let held = |block: &Block| (block.live, block.spill);
    let wrong = (0..blocks.len()).find(|i| held(&blocks[*i]) != held(&space.blocks[*i]));
    require(wrong.is_none(), || {
        let i = wrong.unwrap_or_default();
        format!("block {i} holds {:?}, and is said to hold {:?}", blocks[i], space.blocks[i])
    })
}

fn check_table(heap: &DrcHeap, objects: &[u32]) -> Result<(), Corruption> {
    let entries: Vec<u32> = heap.table.entries.iter().copied().chain(heap.table.buffer.iter()).collect();
    let table: HashSet<u32> = entries.iter().copied().collect();
    require(table.len() == entries.len(), || "an object is twice in the activations table".to_string())?;
    let dead: HashSet<u32> = heap.dead.iter().collect();
    let mut enrolled = 0;
    for index in objects {
        let word = word(heap, *index);
        require(word & MARK == 0, || format!("the object at {index:#x} is marked outside a collection"))?;
        require((word & ENROLLED != 0) == table.contains(index), || {
            format!("the object at {index:#x} is enrolled, or in the activations table, but not both")
        })?;
        require(is_dead(word) == dead.contains(index), || {
            format!("the object at {index:#x} is dead, or in the buffer of dead objects, but not both")
        })?;
        enrolled += (word & ENROLLED != 0) as usize;
    }
    require(enrolled == table.len(), || "the activations table has what is no object".to_string())
}

fn check_references(heap: &DrcHeap, objects: &[u32]) -> Result<(), Corruption> {
    let space = &heap.space;
    let mut edges: HashMap<u32, u32> = HashMap::new();
    for index in objects {
        let from_new = word(heap, *index) & NEW != 0;
        let mut children = Vec::new();
        let r = VMGcRef::from_index(*index).expect("no object is at 0");
        space.shapes.scan(&space.memory, &r, |offset| children.extend(object(space.memory.load_u32(*index, offset))));
        for child in children.iter().map(VMGcRef::raw) {
            require(objects.binary_search(&child).is_ok(), || {
                format!("the object at {index:#x} refers to {child:#x}, where no object is")
            })?;
            if from_new {
                require(word(heap, child) & (NEW | ENROLLED) != 0, || {
                    format!("the new object at {index:#x} refers to {child:#x}, which is neither new nor enrolled")
                })?;
            } else {
                *edges.entry(child).or_default() += 1;
            }
        }
    }
    for (child, edges) in edges {
        let word = word(heap, child);
        require(word & STICKY != 0 || count(word) >= edges, || {
            format!("the object at {child:#x} has count {}, and {edges} old fields refer to it", count(word))
        })?;
    }
    Ok(())
}
