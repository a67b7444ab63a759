//! What a heap's memory is used for, for people to look at.

use std::ops::Range;

/// A stretch of a heap's memory that is used for one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeapRegion {
    /// Where it is, in bytes from the heap's beginning.
    pub range: Range<u32>,
    /// What it is used for.
    pub state: RegionState,
}

/// What memory is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegionState {
    /// Nothing: whatever fits may be allocated there.
    Free,
    /// Nothing, and nothing is allocated there: it is kept for what a collection copies.
    Reserved,
    /// Nothing, between objects: holes in a block, free cells of one size. What fits there may be allocated.
    Holes,
    /// Objects allocated since the last collection.
    Young,
    /// Objects that survived a collection, and are not old yet.
    Survivor,
    /// Objects that survived, and stay.
    Old,
    /// Objects on pages of their own.
    Large,
}

impl RegionState {
    /// Every state.
    pub const ALL: [RegionState; 7] = [
        RegionState::Free,
        RegionState::Reserved,
        RegionState::Holes,
        RegionState::Young,
        RegionState::Survivor,
        RegionState::Old,
        RegionState::Large,
    ];

    /// A word for legends.
    pub const fn name(self) -> &'static str {
        match self {
            RegionState::Free => "free",
            RegionState::Reserved => "reserved",
            RegionState::Holes => "holes",
            RegionState::Young => "young",
            RegionState::Survivor => "survivor",
            RegionState::Old => "old",
            RegionState::Large => "large",
        }
    }

    /// What it means, for people.
    pub const fn meaning(self) -> &'static str {
        match self {
            RegionState::Free => "may be allocated",
            RegionState::Reserved => "kept for what a collection copies",
            RegionState::Holes => "free between objects: fragmented",
            RegionState::Young => "allocated since the last collection",
            RegionState::Survivor => "survived a collection, not old yet",
            RegionState::Old => "survived, and stays",
            RegionState::Large => "objects on pages of their own",
        }
    }

    /// Whether there are objects.
    pub const fn holds_objects(self) -> bool {
        match self {
            RegionState::Free | RegionState::Reserved | RegionState::Holes => false,
            RegionState::Young | RegionState::Survivor | RegionState::Old | RegionState::Large => true,
        }
    }
}
