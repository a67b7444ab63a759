//! Zeal: collecting far more often than any program needs, and moving and overwriting whatever can be, so that a root or a barrier
//! that is missing shows at once.

use gc_api::CollectionKind;
use std::fmt::{self, Display, Formatter};
use std::num::NonZeroU64;
use std::str::FromStr;

/// What a store does beyond what programs need; by default nothing. Modes combine.
///
/// ```
/// use engine::Zeal;
/// let zeal: Zeal = "alloc:7,poison".parse().unwrap();
/// assert_eq!(zeal.alloc.unwrap().get(), 7);
/// assert_eq!(zeal.to_string(), "alloc:7,poison");
/// assert!("often".parse::<Zeal>().unwrap_err().to_string().contains("alloc:N"));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Zeal {
    /// A store collects (each fourth time with cycles) before every Nth object that it allocates, by compiled code or by the host.
    pub alloc: Option<NonZeroU64>,
    /// A store collects before some of the objects that it allocates.
    pub random: Option<RandomZeal>,
    /// Collectors that can move objects do so with all of them, at each collection.
    pub always_move: bool,
    /// Free memory is overwritten after each collection.
    pub poison: bool,
}

/// Collections at random, the same ones in every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandomZeal {
    /// Decides which allocations collect.
    pub seed: u64,
    /// Of a million allocations so many collect, on average; at most all.
    pub per_million: u32,
}

/// The modes, as they are written, and what each does.
pub const ZEAL_MODES: &[(&str, &str)] = &[
    ("alloc:N", "collect at every Nth allocation"),
    ("random:SEED:P", "collect at an allocation with probability P"),
    ("move", "have collectors that can move objects always do so"),
    ("poison", "overwrite free memory after each collection"),
];

const MILLION: u32 = 1_000_000;

impl Zeal {
    /// Nothing.
    pub const OFF: Zeal = Zeal { alloc: None, random: None, always_move: false, poison: false };

    /// Collects at every `n`th allocation; 0 is never.
    pub const fn every_nth_allocation(n: u64) -> Zeal {
        Zeal { alloc: NonZeroU64::new(n), ..Zeal::OFF }
    }

    /// Whether the runtime must see every allocation, so that compiled code allocates nothing itself.
    pub(crate) fn sees_allocations(self) -> bool {
        self.alloc.is_some() || self.random.is_some()
    }

    fn add(&mut self, mode: &str) -> Result<(), ZealError> {
        let (name, argument) = match mode.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (mode, None),
        };
        let wrong = |what: &str| Err(ZealError(format!("`{mode}` {what}: {}", there_is())));
        let again = match name {
            "alloc" => self.alloc.is_some(),
            "random" => self.random.is_some(),
            "move" => self.always_move,
            "poison" => self.poison,
            _ => return wrong("is no mode"),
        };
        if again {
            return wrong(&format!("gives `{name}` a second time"));
        }
        match (name, argument) {
            ("alloc", Some(n)) => match n.parse() {
                Ok(n) => self.alloc = Some(n),
                Err(_) => return wrong("does not say how often, by a whole number from 1 on"),
            },
            ("alloc", None) => return wrong("does not say how often"),
            ("random", argument) => match argument.and_then(RandomZeal::parse) {
                Some(random) => self.random = Some(random),
                None => {
                    return wrong("does not give a whole number as the seed, and a probability above 0 and up to 1");
                }
            },
            (_, Some(_)) => return wrong("takes no argument"),
            ("move", None) => self.always_move = true,
            _ => self.poison = true,
        }
        Ok(())
    }
}

impl RandomZeal {
    /// Parses `SEED:P`.
    fn parse(text: &str) -> Option<RandomZeal> {
        let (seed, probability) = text.split_once(':')?;
        let probability: f64 = probability.parse().ok()?;
        let per_million = (probability * MILLION as f64).round();
        let possible = (1.0..=MILLION as f64).contains(&per_million);
        Some(RandomZeal { seed: seed.parse().ok()?, per_million: possible.then_some(per_million as u32)? })
    }
}

fn there_is() -> String {
    let modes: Vec<String> = ZEAL_MODES.iter().map(|(form, what)| format!("`{form}` ({what})")).collect();
    format!("there is {}; several are separated by commas", modes.join(", "))
}

/// Modes, separated by commas.
impl FromStr for Zeal {
    type Err = ZealError;

    fn from_str(text: &str) -> Result<Zeal, ZealError> {
        let mut zeal = Zeal::OFF;
        text.split(',').try_for_each(|mode| zeal.add(mode.trim()))?;
        Ok(zeal)
    }
}

/// As [`FromStr`] takes it; nothing when there is none.
impl Display for Zeal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let alloc = self.alloc.map(|n| format!("alloc:{n}"));
        let random = self
            .random
            .map(|RandomZeal { seed, per_million }| format!("random:{seed}:{}", per_million as f64 / MILLION as f64));
        let always_move = self.always_move.then(|| "move".to_string());
        let poison = self.poison.then(|| "poison".to_string());
        f.write_str(&[alloc, random, always_move, poison].into_iter().flatten().collect::<Vec<_>>().join(","))
    }
}

/// What is wrong with the text for a [`Zeal`], and what there is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ZealError(String);

/// Where a store is in its zeal.
pub(crate) struct ZealState {
    zeal: Zeal,
    /// Allocations since the last that collected for [`Zeal::alloc`].
    allocations: u64,
    /// Collections that were forced.
    forced: u64,
    random: u64,
}

impl ZealState {
    pub(crate) fn new(zeal: Zeal) -> ZealState {
        ZealState { zeal, allocations: 0, forced: 0, random: zeal.random.map_or(0, |random| random.seed) }
    }

    /// Whether to collect before this allocation, and how: each fourth time everything, cyclic garbage included.
    pub(crate) fn forces_collection(&mut self) -> Option<CollectionKind> {
        if !self.zeal.sees_allocations() {
            return None;
        }
        self.allocations += 1;
        let nth = self.zeal.alloc.is_some_and(|n| self.allocations == n.get());
        if nth {
            self.allocations = 0;
        }
        let random =
            self.zeal.random.is_some_and(|random| self.next() % u64::from(MILLION) < u64::from(random.per_million));
        (nth || random).then(|| {
            self.forced += 1;
            if self.forced.is_multiple_of(4) { CollectionKind::Cycle } else { CollectionKind::Major }
        })
    }

    /// The next number of SplitMix64 (Steele, Lea & Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014).
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests;
