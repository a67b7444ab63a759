//! Random scripts, weighted so that graphs become large and old enough: from a seed, or from a fuzzer's bytes.

use crate::script::{Global, Handle, Op, Script, Segment, Setup, Slot, Table, Ty, Way};
use crate::types::types;
use arbitrary::{Arbitrary, Unstructured};
use gc_api::CollectionKind;

/// Where decisions come from.
pub trait Choice {
    /// A number below `n`, which is not 0.
    fn below(&mut self, n: u32) -> u32;

    /// One of these.
    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u32) as usize]
    }
}

/// Marsaglia's xorshift64.
pub struct Random(u64);

impl Random {
    /// The decisions with this number.
    pub fn new(seed: u64) -> Random {
        let mut random = Random(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            random.below(2);
        }
        random
    }
}

impl Choice for Random {
    fn below(&mut self, n: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % n as u64) as u32
    }
}

impl Choice for Unstructured<'_> {
    fn below(&mut self, n: u32) -> u32 {
        self.int_in_range(0..=n - 1).unwrap_or(0)
    }
}

/// The random script with this number.
pub fn random(seed: u64) -> Script {
    let mut choice = Random::new(seed);
    let setup = setup(&mut choice);
    let most = if setup.zeal > 0 { 120 } else { 500 };
    let count = 20 + choice.below(most);
    let ops = (0..count).map(|_| op(&mut choice)).collect();
    Script { setup, ops }
}

impl<'a> Arbitrary<'a> for Script {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Script> {
        let setup = setup(u);
        let mut ops = Vec::new();
        while !u.is_empty() && ops.len() < 2000 {
            ops.push(op(u));
        }
        Ok(Script { setup, ops })
    }
}

pub fn setup(c: &mut impl Choice) -> Setup {
    let limit = c.of(&[200 << 10, 1 << 20, 4 << 20, 64 << 20]);
    Setup {
        limit,
        initial: c.of(&[4 << 10, 64 << 10, 1 << 20]).min(limit),
        zeal: c.of(&[0, 0, 0, 0, 0, 1, 3, 10]),
        count_objects: c.below(4) > 0,
        null_faults: c.below(4) > 0,
        again: c.below(8) == 0,
        always_move: c.below(4) == 0,
    }
}

fn slot(c: &mut impl Choice) -> Slot {
    Slot(c.below(crate::machine::WINDOW as u32) as u8)
}

fn way(c: &mut impl Choice) -> Way {
    c.of(&[Way::Inline, Way::Inline, Way::Inline, Way::Typed, Way::Typed, Way::Host, Way::Host])
}

fn segment(c: &mut impl Choice) -> Segment {
    Segment(c.below(crate::machine::SEGMENTS as u32) as u8)
}

fn table(c: &mut impl Choice) -> Table {
    Table(c.below(crate::machine::TABLE_LENGTHS.len() as u32) as u8)
}

fn ty(c: &mut impl Choice) -> Ty {
    let common = ["pair", "pair", "node", "one", "refs", "refs", "mixed", "typed", "leaf", "error", "wide"];
    match c.below(3) {
        0 => Ty(c.below(types().len() as u32) as u8),
        _ => Ty::named(c.of(&common)),
    }
}

/// Mostly short, now and then beyond any region that is bumped through.
fn length(c: &mut impl Choice) -> u32 {
    match c.below(24) {
        0..=13 => c.below(12),
        14..=19 => c.below(80),
        20..=21 => c.below(600),
        22 => c.below(9000),
        _ => c.below(40_000),
    }
}

/// Where something starts, and how much of it.
fn at(c: &mut impl Choice) -> u32 {
    c.of(&[4, 16, 100]).min(1 + c.below(100))
}

fn count(c: &mut impl Choice) -> u32 {
    let most = c.of(&[4, 16, 200]);
    c.below(most)
}

pub fn op(c: &mut impl Choice) -> Op {
    match c.below(100) {
        0..=15 => Op::New { to: slot(c), ty: ty(c), length: length(c), first: slot(c), way: way(c) },
        16..=28 => Op::Set { object: slot(c), slot: at(c), from: slot(c), way: way(c) },
        29..=38 => Op::Get { to: slot(c), object: slot(c), slot: at(c), way: way(c) },
        39..=41 => Op::Host { to: slot(c) },
        42..=45 => Op::Move { to: slot(c), from: slot(c) },
        46..=47 => Op::Null { to: slot(c) },
        48 => Op::Small { to: slot(c), value: c.of(&[0, 1, 2, 7, 0x4000_0000, 0x7fff_ffff]) },
        49..=61 => cells(c),
        62..=76 => bulk(c),
        77..=79 => Op::List {
            to: slot(c),
            ty: Ty::named(c.of(&["one", "pair", "node", "refs"])),
            count: count(c),
            way: way(c),
        },
        80 => Op::Ring { to: slot(c), count: count(c) },
        81..=82 => Op::Each { array: slot(c), ty: ty(c), length: c.below(6), way: way(c) },
        83..=84 => Op::Churn { to: slot(c), ty: ty(c), length: c.below(200), count: 4 * count(c) },
        85..=89 => handles(c),
        90 => Op::Call,
        91 => Op::Return,
        92 => Op::Throw { from: slot(c) },
        93 => Op::Catch { to: slot(c) },
        94 => Op::Equal { a: slot(c), b: slot(c) },
        95 => Op::Poll,
        96 => Op::Slice { kind: c.of(&[CollectionKind::Minor, CollectionKind::Major]) },
        97 => Op::Collect { kind: CollectionKind::Minor },
        98 => Op::Collect { kind: CollectionKind::Major },
        _ => Op::Collect { kind: CollectionKind::Cycle },
    }
}

fn cells(c: &mut impl Choice) -> Op {
    let global = Global(c.below(crate::machine::GLOBAL_COUNT as u32) as u8);
    match c.below(4) {
        0 => Op::GlobalGet { to: slot(c), global, way: way(c) },
        1 => Op::GlobalSet { global, from: slot(c), way: way(c) },
        2 => Op::TableGet { to: slot(c), table: table(c), at: at(c), way: way(c) },
        _ => Op::TableSet { table: table(c), at: at(c), from: slot(c), way: way(c) },
    }
}

fn bulk(c: &mut impl Choice) -> Op {
    match c.below(12) {
        0..=2 => Op::Copy { array: slot(c), at: at(c), source: slot(c), from: at(c), count: count(c) },
        3..=4 => Op::Fill { array: slot(c), at: at(c), value: slot(c), count: count(c) },
        5 => Op::Init { array: slot(c), at: at(c), segment: segment(c), from: at(c), count: count(c) },
        6 => Op::NewElem { to: slot(c), segment: segment(c), from: at(c), count: count(c) },
        7 => Op::TableCopy { table: table(c), at: at(c), source: table(c), from: at(c), count: count(c) },
        8 => Op::TableFill { table: table(c), at: at(c), value: slot(c), count: count(c) },
        9 => Op::TableInit { table: table(c), at: at(c), segment: segment(c), from: at(c), count: count(c) },
        10 => Op::Segment { segment: segment(c), first: slot(c), count: count(c) },
        _ => Op::DropSegment { segment: segment(c) },
    }
}

fn handles(c: &mut impl Choice) -> Op {
    let mut handle = || Handle(c.below(crate::machine::HANDLES as u32) as u8);
    let (one, other) = (handle(), handle());
    match c.below(5) {
        0 | 1 => Op::Root { handle: one, from: slot(c) },
        2 => Op::Share { handle: one, from: other },
        3 => Op::Unroot { handle: one },
        _ if c.below(2) == 0 => Op::Push { to: slot(c), handle: one },
        _ => Op::Give { to: slot(c), handle: one },
    }
}
