//! The collector's own invariants, for `--verify` and tests. At any safepoint:
//!
//! 1. Objects do not overlap, and blocks know how much of them is in objects with a start bit.
//! 2. No object is marked or white. Flags and lists agree: an object is enrolled exactly when the table has it, once; is a candidate
//!    exactly when their list has it, once; and is logged exactly when the log has it.
//! 3. What an object refers to is an object. If loads are to enrol, what a *new* object refers to is new or enrolled.
//! 4. An object's count is at least the number of references to it that are counted, unless it sticks: those of old objects (with eager
//!    counting of new ones, too), as of before they were logged, and the debts of a budget that ended.
//! 5. An object without a count that is neither new nor enrolled waits to be freed.

use crate::Counting;
use crate::counts::{CANDIDATE, ENROLLED, LOGGED, MARK, NEW, WHITE, at, count, is_dead, object};
use crate::heap::DrcHeap;
use crate::log::Log;
use crate::space::{Block, parts};
use gc_api::{Corruption, Edge, EdgeSource, MissedWrite};
use std::collections::HashMap;

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
            EdgeSource::Object { index, offset, .. } => is_counted(heap, index, offset),
        };
        *counted.entry(edge.to.raw()).or_default() += counts as u32;
    }
    for owed in debts(heap) {
        *counted.entry(owed).or_default() += 1;
    }
    let mut missed = None;
    heap.space.for_each(&mut |object| {
        let word = heap.space.memory.header_word(&object);
        let (count, references) = (count(word), counted.get(&object.raw()).copied().unwrap_or_default());
        if !heap.options.counts.is_sticky(word) && count != references && missed.is_none() {
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
    heap.space.memory.header_word(&at(index))
}

/// Whether what the slot at `offset` of an object holds is counted.
fn is_counted(heap: &DrcHeap, index: u32, offset: u32) -> bool {
    match heap.options.counting {
        Counting::Eager => true,
        _ if word(heap, index) & NEW != 0 => false,
        Counting::Deferred => true,
        Counting::Coalesced => !Log::has(&heap.space.memory, &heap.chunks, &at(index), offset),
    }
}

/// Objects whose counts have more references than there are, once for each.
fn debts(heap: &DrcHeap) -> impl Iterator<Item = u32> + '_ {
    heap.log.before().iter().chain(&heap.owed).copied()
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

/// A list as a set: sorted, with whether it has anything twice.
fn set(list: impl Iterator<Item = u32>) -> (Vec<u32>, bool) {
    let mut set: Vec<u32> = list.collect();
    set.sort_unstable();
    let twice = set.windows(2).any(|pair| pair[0] == pair[1]);
    (set, twice)
}

fn check_table(heap: &DrcHeap, objects: &[u32]) -> Result<(), Corruption> {
    let (table, twice) = set(heap.table.entries.iter().copied().chain(heap.table.buffer.iter()));
    require(!twice, || "an object is twice in the table".to_string())?;
    let (dead, _) = set(heap.dead.iter().chain(heap.unfreed.iter().copied()));
    let (candidates, twice) = set(heap.candidates.iter());
    require(!twice, || "an object is twice among the candidates".to_string())?;
    let whole = heap.log.objects().filter(|(_, chunk)| chunk.is_none());
    let (logged, _) = set(whole.map(|(object, _)| object));
    let has = |set: &[u32], index: &u32| set.binary_search(index).is_ok();
    let (mut enrolled, mut suspected) = (0, 0);
    for index in objects {
        let word = word(heap, *index);
        require(word & (MARK | WHITE) == 0, || format!("the object at {index:#x} is marked outside a collection"))?;
        require((word & LOGGED != 0) == has(&logged, index), || {
            format!("the object at {index:#x} is logged, or in the log, but not both")
        })?;
        require((word & CANDIDATE != 0) == has(&candidates, index), || {
            format!("the object at {index:#x} is a candidate, or among the candidates, but not both")
        })?;
        require((word & ENROLLED != 0) == has(&table, index), || {
            format!("the object at {index:#x} is enrolled, or in the table, but not both")
        })?;
        require(is_dead(word) == has(&dead, index), || {
            format!("the object at {index:#x} is dead, or waits to be freed, but not both")
        })?;
        enrolled += (word & ENROLLED != 0) as usize;
        suspected += (word & CANDIDATE != 0) as usize;
    }
    require(suspected == candidates.len(), || "the list of candidates has what is no object".to_string())?;
    require(enrolled == table.len(), || "the table has what is no object".to_string())
}

fn check_references(heap: &DrcHeap, objects: &[u32]) -> Result<(), Corruption> {
    let space = &heap.space;
    let mut edges: Vec<u32> = debts(heap).collect();
    for index in objects {
        let from_new = word(heap, *index) & NEW != 0;
        let mut children = Vec::new();
        space.shapes.scan(&space.memory, &at(*index), |offset| {
            children.extend(object(space.memory.load_u32(*index, offset)).map(|child| (offset, child.raw())));
        });
        for (offset, child) in children {
            require(objects.binary_search(&child).is_ok(), || {
                format!("the object at {index:#x} refers to {child:#x}, where no object is")
            })?;
            if from_new && heap.options.counting == Counting::Deferred {
                require(word(heap, child) & (NEW | ENROLLED) != 0, || {
                    format!("the new object at {index:#x} refers to {child:#x}, which is neither new nor enrolled")
                })?;
            }
            if is_counted(heap, *index, offset) {
                edges.push(child);
            }
        }
    }
    edges.sort_unstable();
    for edges in edges.chunk_by(|a, b| a == b) {
        let (child, edges) = (edges[0], edges.len() as u32);
        let word = word(heap, child);
        require(heap.options.counts.is_sticky(word) || count(word) >= edges, || {
            format!("the object at {child:#x} has count {}, and {edges} counted fields refer to it", count(word))
        })?;
    }
    Ok(())
}
