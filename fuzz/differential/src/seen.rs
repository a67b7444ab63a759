//! What is seen of a run, in terms that every runner has.

use std::fmt;

/// How deep references are followed.
pub const DEPTH: u32 = 4;
/// Elements of an array, and entries of a table, that are looked at.
pub const LENGTH: u64 = 32;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    I32(i32),
    I64(i64),
    /// Bits: modules canonicalise their NaNs.
    F32(u32),
    F64(u64),
    V128(u128),
    Null,
    I31(i32),
    /// A value of the host's, by its number.
    Host(u64),
    Struct(Vec<Seen>),
    /// Its length and its first elements.
    Array(u64, Vec<Seen>),
    /// A function, by the order in which functions were first seen.
    Func(usize),
    /// An exception, with its values.
    Exception(Vec<Seen>),
    /// Deeper than is looked.
    Deep,
}

/// Why there are no results.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    Unreachable,
    MemoryOutOfBounds,
    /// Of an access or of an indirect call.
    TableOutOfBounds,
    ArrayOutOfBounds,
    NullElement,
    BadSignature,
    NullReference,
    CastFailure,
    DivisionByZero,
    IntegerOverflow,
    BadConversion,
    Unaligned,
    /// An exception that nothing caught.
    Uncaught(Box<Seen>),
    /// The stack or the heap is full, or there is no memory: runners may differ in this.
    Resources(String),
    /// Anything else: a difference, unless all runners say it.
    Other(String),
}

/// A call and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Called {
    pub name: String,
    pub outcome: Result<Vec<Seen>, Failure>,
}

/// All that is seen of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Story {
    /// Why the module could not be instantiated.
    pub stillborn: Option<Failure>,
    /// The calls, in order. A call that ran out of resources is the last.
    pub calls: Vec<Called>,
    /// What the functions of the host were called with.
    pub host: Vec<Vec<Seen>>,
    /// By name.
    pub globals: Vec<(String, Seen)>,
    /// Name, bytes, and the first bytes that are not zero with their positions.
    pub memories: Vec<(String, u64, Vec<(u64, u8)>)>,
    /// Name, length, and the first entries.
    pub tables: Vec<(String, u64, Vec<Seen>)>,
}

impl Story {
    /// Whether the run ended for want of resources.
    pub fn is_inconclusive(&self) -> bool {
        let resources = |failure: &Failure| matches!(failure, Failure::Resources(_));
        self.stillborn.as_ref().is_some_and(resources)
            || self.calls.last().is_some_and(|call| call.outcome.as_ref().is_err_and(resources))
    }

    /// Compares as far as both went.
    ///
    /// # Errors
    /// The first difference.
    pub fn same(&self, other: &Story) -> Result<(), String> {
        if self.is_inconclusive() || other.is_inconclusive() {
            if self.stillborn.is_some() || other.stillborn.is_some() {
                return Ok(());
            }
            // The last call of the one that ended early does not count.
            let count = |story: &Story| story.calls.len() - story.is_inconclusive() as usize;
            let count = count(self).min(count(other));
            return same_calls(&self.calls[..count], &other.calls[..count]);
        }
        if self.stillborn != other.stillborn {
            return Err(format!("instantiation: {:?}\n           or: {:?}", self.stillborn, other.stillborn));
        }
        same_calls(&self.calls, &other.calls)?;
        same_items("call of the host", &self.host, &other.host)?;
        same_items("global", &self.globals, &other.globals)?;
        same_items("memory", &self.memories, &other.memories)?;
        same_items("table", &self.tables, &other.tables)
    }
}

fn same_calls(ours: &[Called], theirs: &[Called]) -> Result<(), String> {
    same_items("call", ours, theirs)
}

fn same_items<T: PartialEq + fmt::Debug>(what: &str, ours: &[T], theirs: &[T]) -> Result<(), String> {
    for (i, (our, their)) in ours.iter().zip(theirs).enumerate() {
        if our != their {
            return Err(format!("{what} {i}: {our:?}\n      or: {their:?}"));
        }
    }
    match ours.len() == theirs.len() {
        true => Ok(()),
        false => Err(format!("there are {} or {} of: {what}", ours.len(), theirs.len())),
    }
}

/// The bytes of a memory that are not zero, up to a number.
pub fn first_bytes(memory: &[u8]) -> Vec<(u64, u8)> {
    let nonzero = memory.iter().enumerate().filter(|(_, byte)| **byte != 0);
    nonzero.take(4096).map(|(i, byte)| (i as u64, *byte)).collect()
}
