//! Scripts: what a simulated program does, as a list of operations on numbered slots.
//!
//! Any list of operations is a script: an index is taken modulo what there is, and an operation whose operands do not fit does
//! nothing, as a trapping instruction does. So operations can be taken away and made simpler while a failure shrinks. As text, a
//! script is one operation a line, and what is printed can be read again.

use crate::types::{named, types};
use gc_api::CollectionKind;
use std::fmt;
use std::str::FromStr;

/// The heap that a script runs in, and how its code is compiled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setup {
    /// Bytes that the heap may grow to.
    pub limit: u32,
    /// Bytes that it has at the start.
    pub initial: u32,
    /// Collect before every allocation of this number that the runtime sees, which is then every one; 0 for never.
    pub zeal: u32,
    /// Inline allocations are counted.
    pub count_objects: bool,
    /// Null accesses fault, rather than being checked.
    pub null_faults: bool,
    /// Afterwards the heap is reset, and the script is run once more.
    pub again: bool,
    /// Each collection is to move what it can: [`HeapLimits::always_move`](gc_api::HeapLimits::always_move).
    pub always_move: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            limit: 64 << 20,
            initial: 1 << 20,
            zeal: 0,
            count_objects: true,
            null_faults: true,
            again: false,
            always_move: false,
        }
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setup { limit, initial, zeal, .. } = self;
        let flags = [self.count_objects, self.null_faults, self.again, self.always_move];
        let [count, faults, again, moves] = flags.map(u8::from);
        write!(f, "heap limit={limit} initial={initial} zeal={zeal} ")?;
        write!(f, "count={count} faults={faults} again={again} move={moves}")
    }
}

impl FromStr for Setup {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Setup, ParseError> {
        let mut setup = Setup::default();
        let mut words = text.split_whitespace();
        if words.next() != Some("heap") {
            return Err(ParseError(format!("a script begins with `{}`, not `{text}`", Setup::default())));
        }
        for word in words {
            let wrong = || ParseError(format!("`{word}` is no part of a heap's description"));
            let (key, value) = word.split_once('=').ok_or_else(wrong)?;
            let value: u32 = value.parse().map_err(|_| wrong())?;
            match key {
                "limit" => setup.limit = value,
                "initial" => setup.initial = value,
                "zeal" => setup.zeal = value,
                "count" => setup.count_objects = value != 0,
                "faults" => setup.null_faults = value != 0,
                "again" => setup.again = value != 0,
                "move" => setup.always_move = value != 0,
                _ => return Err(wrong()),
            }
        }
        Ok(setup)
    }
}

/// A script is not well formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub String);

/// An operand: what can be printed, read, and made simpler.
trait Operand: Copy + PartialEq {
    fn show(self) -> String;
    fn read(text: &str) -> Option<Self>;
    /// Simpler ones, the simplest first.
    fn simpler(self) -> Vec<Self>;
}

/// Simpler numbers, by ever smaller steps: what fails from some number on is brought down to it in few tries.
fn simpler_number(n: u32) -> Vec<u32> {
    let steps = (1..32).map(|half| n >> half).take_while(|step| *step > 0);
    let mut all: Vec<u32> = [0, 1].into_iter().chain(steps.map(|step| n - step)).filter(|simple| *simple < n).collect();
    all.dedup();
    all
}

macro_rules! numbered {
    ($($(#[$doc:meta])* $name:ident $int:ty, $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub struct $name(pub $int);

        impl Operand for $name {
            fn show(self) -> String {
                format!(concat!($prefix, "{}"), self.0)
            }
            fn read(text: &str) -> Option<Self> {
                text.strip_prefix($prefix)?.parse().ok().map($name)
            }
            fn simpler(self) -> Vec<Self> {
                simpler_number(self.0 as u32).into_iter().map(|n| $name(n as $int)).collect()
            }
        }
    )*};
}

numbered! {
    /// A slot of the stack.
    Slot u8, "$";
    /// A global.
    Global u8, "g";
    /// A table.
    Table u8, "t";
    /// An element segment.
    Segment u8, "e";
    /// A handle of the host's.
    Handle u8, "h";
}

impl Operand for u32 {
    fn show(self) -> String {
        self.to_string()
    }
    fn read(text: &str) -> Option<u32> {
        text.parse().ok()
    }
    fn simpler(self) -> Vec<u32> {
        simpler_number(self)
    }
}

/// A type of objects, by its place in the kit's list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ty(pub u8);

impl Ty {
    /// The type with this name.
    ///
    /// # Panics
    /// When there is none.
    pub fn named(name: &str) -> Ty {
        Ty(named(name).unwrap_or_else(|| panic!("there is no type `{name}`")))
    }
}

impl Operand for Ty {
    fn show(self) -> String {
        types()[self.0 as usize % types().len()].name.to_string()
    }
    fn read(text: &str) -> Option<Ty> {
        named(text).map(Ty)
    }
    fn simpler(self) -> Vec<Ty> {
        let simple = ["one", "pair", "refs"].map(Ty::named);
        simple
            .into_iter()
            .take_while(|ty| *ty != self)
            .filter(|ty| types()[ty.0 as usize].kind == types()[self.0 as usize].kind)
            .collect()
    }
}

/// Who does it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Compiled code that knows the declared types.
    Inline,
    /// Compiled code that knows the operands' types exactly.
    Typed,
    /// The host.
    Host,
}

impl Operand for Way {
    fn show(self) -> String {
        match self {
            Way::Inline => "inline",
            Way::Typed => "typed",
            Way::Host => "host",
        }
        .to_string()
    }
    fn read(text: &str) -> Option<Way> {
        [Way::Inline, Way::Typed, Way::Host].into_iter().find(|way| way.show() == text)
    }
    fn simpler(self) -> Vec<Way> {
        if self == Way::Typed { vec![Way::Inline] } else { Vec::new() }
    }
}

impl Operand for CollectionKind {
    fn show(self) -> String {
        match self {
            CollectionKind::Minor => "minor",
            CollectionKind::Major => "major",
            CollectionKind::Cycle => "full",
        }
        .to_string()
    }
    fn read(text: &str) -> Option<CollectionKind> {
        [CollectionKind::Minor, CollectionKind::Major, CollectionKind::Cycle]
            .into_iter()
            .find(|kind| kind.show() == text)
    }
    fn simpler(self) -> Vec<CollectionKind> {
        Vec::new()
    }
}

macro_rules! ops {
    ($($(#[$doc:meta])* $name:ident $word:literal $(($($field:ident: $ty:ty),*))?;)*) => {
        /// A step of a script.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[allow(missing_docs, reason = "the operands are named in each operation's sentence")]
        pub enum Op {
            $($(#[$doc])* $name $({ $($field: $ty),* })?,)*
        }

        impl fmt::Display for Op {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Op::$name $({ $($field),* })? => {
                        f.write_str($word)?;
                        $($(write!(f, " {}", $field.show())?;)*)?
                    })*
                }
                Ok(())
            }
        }

        impl FromStr for Op {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Op, ParseError> {
                let mut words = text.split_whitespace();
                let wrong = |word: &str| ParseError(format!("`{word}` does not belong in `{text}`"));
                let op = match words.next().unwrap_or_default() {
                    $($word => Op::$name $({ $($field: {
                        let word = words.next().ok_or_else(|| ParseError(format!("`{text}` ends too early")))?;
                        <$ty as Operand>::read(word).ok_or_else(|| wrong(word))?
                    }),* })?,)*
                    other => return Err(wrong(other)),
                };
                words.next().map_or(Ok(op), |word| Err(wrong(word)))
            }
        }

        impl Op {
            /// The same operation with one operand simpler, the simplest first.
            pub fn simpler(self) -> Vec<Op> {
                let mut all = Vec::new();
                match self {
                    $(Op::$name $({ $($field),* })? => {
                        $(ops!(@each all, $name, [$($field),*], $($field),*);)?
                    })*
                }
                all
            }
        }
    };
    (@each $all:ident, $name:ident, $fields:tt, $($field:ident),*) => {
        $(ops!(@one $all, $name, $fields, $field);)*
    };
    (@one $all:ident, $name:ident, [$($other:ident),*], $field:ident) => {
        for simple in $field.simpler() {
            let mut op = Op::$name { $($other),* };
            if let Op::$name { $field, .. } = &mut op {
                *$field = simple;
            }
            $all.push(op);
        }
    };
}

ops! {
    /// `to` becomes null.
    Null "null" (to: Slot);
    /// `to` becomes an `i31`.
    Small "i31" (to: Slot, value: u32);
    /// `to` becomes what `from` is.
    Move "move" (to: Slot, from: Slot);
    /// A call: a frame with slots of its own.
    Call "call";
    /// The end of a call: its slots are gone.
    Return "return";
    /// A new object: its references are those in `first` and the slots after it, again and again, where they fit.
    New "new" (to: Slot, ty: Ty, length: u32, first: Slot, way: Way);
    /// `array.new_elem`.
    NewElem "new_elem" (to: Slot, segment: Segment, from: u32, count: u32);
    /// A new host value.
    Host "extern" (to: Slot);
    /// `struct.get`, `array.get`.
    Get "get" (to: Slot, object: Slot, slot: u32, way: Way);
    /// `struct.set`, `array.set`.
    Set "set" (object: Slot, slot: u32, from: Slot, way: Way);
    /// `global.get`.
    GlobalGet "global.get" (to: Slot, global: Global, way: Way);
    /// `global.set`.
    GlobalSet "global.set" (global: Global, from: Slot, way: Way);
    /// `table.get`.
    TableGet "table.get" (to: Slot, table: Table, at: u32, way: Way);
    /// `table.set`.
    TableSet "table.set" (table: Table, at: u32, from: Slot, way: Way);
    /// `table.copy`.
    TableCopy "table.copy" (table: Table, at: u32, source: Table, from: u32, count: u32);
    /// `table.fill`.
    TableFill "table.fill" (table: Table, at: u32, value: Slot, count: u32);
    /// `table.init`.
    TableInit "table.init" (table: Table, at: u32, segment: Segment, from: u32, count: u32);
    /// `array.copy`.
    Copy "copy" (array: Slot, at: u32, source: Slot, from: u32, count: u32);
    /// `array.fill`.
    Fill "fill" (array: Slot, at: u32, value: Slot, count: u32);
    /// `array.init_elem`.
    Init "init_elem" (array: Slot, at: u32, segment: Segment, from: u32, count: u32);
    /// A module with this element segment: what stands in `first` and the slots after it, again and again.
    Segment "elem" (segment: Segment, first: Slot, count: u32);
    /// `elem.drop`.
    DropSegment "elem.drop" (segment: Segment);
    /// The host keeps what is in `from`.
    Root "root" (handle: Handle, from: Slot);
    /// The host keeps what another handle has.
    Share "share" (handle: Handle, from: Handle);
    /// The host drops a handle.
    Unroot "unroot" (handle: Handle);
    /// The host passes what a handle has.
    Push "push" (to: Slot, handle: Handle);
    /// The host passes what a handle has, and gives the handle up.
    Give "give" (to: Slot, handle: Handle);
    /// `throw_ref`, out of all functions.
    Throw "throw" (from: Slot);
    /// The exception arrives.
    Catch "catch" (to: Slot);
    /// `ref.eq`.
    Equal "eq" (a: Slot, b: Slot);
    /// A poll at a loop's header.
    Poll "poll";
    /// `count` times, `to` becomes a new object of which it is the first reference.
    List "list" (to: Slot, ty: Ty, count: u32, way: Way);
    /// A ring of `count` pairs, in `to`. The slot after it is used too.
    Ring "ring" (to: Slot, count: u32);
    /// Each element of `array` becomes a new object. The slot after it is used too, and the ones after that are its references.
    Each "each" (array: Slot, ty: Ty, length: u32, way: Way);
    /// `count` new objects that die at once. `to` is null after it.
    Churn "churn" (to: Slot, ty: Ty, length: u32, count: u32);
    /// Collects.
    Collect "collect" (kind: CollectionKind);
    /// Collects with the smallest budget.
    Slice "slice" (kind: CollectionKind);
}

/// A program.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Script {
    /// Where it runs.
    pub setup: Setup,
    /// What it does.
    pub ops: Vec<Op>,
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.setup)?;
        self.ops.iter().try_for_each(|op| writeln!(f, "{op}"))
    }
}

impl FromStr for Script {
    type Err = ParseError;

    /// Reads what [`Display`](fmt::Display) writes. Empty lines, and what stands behind a `#`, mean nothing.
    fn from_str(text: &str) -> Result<Script, ParseError> {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        let mut lines = lines.filter(|line| !line.is_empty());
        let setup = lines.next().unwrap_or_default().parse()?;
        Ok(Script { setup, ops: lines.map(str::parse).collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_read() {
        for seed in 0..50 {
            let script = crate::generate::random(seed);
            assert_eq!(script.to_string().parse(), Ok(script));
        }
    }

    #[test]
    fn what_is_no_script_is_said() {
        let wrong = |text: &str| text.parse::<Script>().unwrap_err().0;
        assert!(wrong("null $0").contains("begins with `heap limit="));
        assert!(wrong("heap limit=x").contains("`limit=x`"));
        assert!(wrong("heap\nnull 0").contains("`0` does not belong"));
        assert!(wrong("heap\nnew $0 pear 0 $0 inline").contains("`pear`"));
        assert!(wrong("heap\nmove $0").contains("ends too early"));
        assert!(wrong("heap\nreturn 7").contains("`7`"));
    }

    #[test]
    fn simpler_operations_end() {
        let mut open = vec!["set $3 9 $2 typed".parse::<Op>().unwrap()];
        let mut count = 0;
        while let Some(op) = open.pop() {
            count += 1;
            assert!(count < 100_000);
            open.extend(op.simpler().first());
        }
    }
}
