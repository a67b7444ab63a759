//! Small collectors that are right, and one deliberate fault each that makes them wrong.
//!
//! The fault is an option, `fault=NAME`. Without it all of them pass the kit.

pub mod counting;
pub mod mark_sweep;
pub mod semispace;
mod space;

use gc_api::{Collector, CollectorInfo, CollectorOptions, OptionError, OptionInfo, Reclaims, VMGcRef};

macro_rules! faults {
    ($($name:ident $text:literal;)*) => {
        /// What is wrong with a collector.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Fault {
            $(#[doc = $text] $name,)*
        }

        impl Fault {
            /// As the option's value, and what it means.
            pub const ALL: &[(Fault, &str, &str)] = &[$((Fault::$name, stringify!($name), $text),)*];
        }
    };
}

faults! {
    SkipsStack "skips the stack";
    SkipsGlobals "skips globals";
    SkipsTables "skips tables";
    SkipsSegments "skips element segments";
    SkipsHandles "skips the host's handles";
    SkipsException "skips the pending exception";
    SmallAsObject "takes an i31 for an object";
    ForgetsField "forgets one reference field of a wide struct";
    ScansOneLess "scans arrays to length - 1";
    OldAddress "leaves the old index behind when it has copied";
    StaleHandle "does not update the host's handles when objects move";
    SaysItStays "moves objects, and claims that it does not";
    FreesAtOne "frees at a count of 1";
    FreesNewOperands "does not visit the stack while something is allocated";
    ForgetsZero "does not enrol what a decrement leaves without a count";
    FreesRecursively "frees what an object refers to by recursion";
    NeverCycles "never collects cycles, and claims to be complete";
    ClearsMarkEarly "clears the mark bits of large objects before it sweeps";
    LeaksLarge "never sweeps the list of large objects";
    DropsHostTwice "reports a host value dead twice";
    NeverDropsHosts "never reports a host value dead";
    WrongLive "reports wrong live bytes";
    WrongFree "counts free bytes twice";
    FreeOverlaps "gives memory of an object as free";
    MapIsLate "shows objects as free memory on its map";
    MapOverlaps "shows memory twice on its map";
    LengthUnwritten "the runtime's allocation does not write the length";
    LimitOffBy8 "sets the bump region's limit 8 bytes too high";
    GivesUpEarly "gives up while the heap can grow";
    Unfinished "ends a collection without a budget unfinished";
    KeepsFreeList "a reset keeps the list of free ranges";
    KeepsCounters "a reset keeps the counters";
    CopyWithoutBarrier "no barrier on array.copy and array.fill";
    CopyForwards "array.copy reads what it has just written";
    InitElemWithoutBarrier "no barrier on array.init_elem";
    TableFillUncounted "no barrier on table.fill";
    NoBulkInit "asks for no barrier on array.new of many elements";
    CardOffByOne "compiled: marks the card next to the right one";
    ElementWithoutBarrier "compiled: no barrier on array.set";
    GlobalWithoutBarrier "compiled: no barrier on global.set";
    InitWithoutBarrier "compiled: no barrier on struct.new";
    NonNullWithoutBarrier "compiled: no barrier where the new value cannot be null";
    WideStore "compiled: the write barrier stores 8 bytes";
    NullWithoutTrap "compiled: the write barrier's store may fault, and does not say so";
    NullIsIgnored "compiled: the write barrier leaves out a write to null";
    LosesOperand "compiled: the read barrier calls out, and does not declare what it loaded";
    ClearsLowBit "compiled: the read barrier masks the bit of an i31";
    InlineUncounted "compiled: allocation does not count objects";
    WrongKind "compiled: allocation gives an exception the header of a struct";
    ShortArray "compiled: allocation gives arrays 8 bytes too few";
}

/// The option's description, for all.
pub const OPTIONS: &[OptionInfo] =
    &[OptionInfo { key: "fault", values: "a fault's name", default: "none", summary: "what is wrong" }];

/// What the collectors here have in common.
pub const INFO: CollectorInfo = CollectorInfo {
    name: "test",
    summary: "for tests",
    citation: "",
    moving: false,
    generational: false,
    reclaims: Reclaims::Everything,
    caveat: "",
    options: OPTIONS,
    variants: &[],
};

/// The fault that the options name.
pub fn fault(options: &CollectorOptions) -> Result<Option<Fault>, OptionError> {
    let Some(name) = options.get("fault") else { return Ok(None) };
    let found = Fault::ALL.iter().find(|(_, known, _)| *known == name);
    found.map(|(fault, ..)| Some(*fault)).ok_or_else(|| OptionError(format!("there is no fault `{name}`")))
}

/// The collector that has the code for a fault.
pub fn home(fault: Fault) -> Collector {
    use Fault::*;
    match fault {
        CopyWithoutBarrier
        | CopyForwards
        | InitElemWithoutBarrier
        | CardOffByOne
        | ElementWithoutBarrier
        | NonNullWithoutBarrier
        | WideStore
        | NullWithoutTrap
        | NullIsIgnored => mark_sweep::STICKY,
        OldAddress | StaleHandle | SaysItStays | LosesOperand | ClearsLowBit | MapIsLate | MapOverlaps => {
            semispace::COLLECTOR
        }
        FreesAtOne | FreesNewOperands | ForgetsZero | FreesRecursively | NeverCycles | TableFillUncounted
        | NoBulkInit | GlobalWithoutBarrier | InitWithoutBarrier => counting::COLLECTOR,
        _ => mark_sweep::COLLECTOR,
    }
}

/// The object that a raw reference refers to.
pub fn object(raw: u32) -> Option<VMGcRef> {
    VMGcRef::from_raw(raw).filter(|r| !r.is_i31())
}
