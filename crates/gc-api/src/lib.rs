//! What a Gleaner collector is.
//!
//! A collector is a crate that implements three traits: [`GcRuntime`] (one object an engine), [`GcHeap`] (one a store) and
//! [`GcCompiler`] (the half that emits code). It depends on this crate, contains no `unsafe`, and is added to Gleaner with
//! one line in `src/collectors.rs`. The engine knows it only as trait objects.
//!
//! * **References** ([`VMGcRef`]) are 32-bit indices into the heap's own [`HeapMemory`]; the layout of [objects](VMGcHeader)
//!   is shared, with 26 bits of the header for the collector. Sizes and reference slots follow from [`Shapes`].
//! * **Barriers see the site**, not an address: [`AccessSite`] in compiled code, [`WriteSite`] and [`BulkWrite`] on the host's
//!   side. [`BarrierNeeds`] says which hooks there are; the others cost nothing.
//! * **Roots** are visited by category ([`Roots`]), where they stand, so that a collector skips what it counts or remembers
//!   and updates what it moves.
//! * **A collection is a request** ([`Collection`]) with a reason, a kind and an optional budget; the heap's state persists
//!   between slices. **Sizing** is the heap's answer to a failed allocation ([`SizingDecision`]), not the engine's.
//!
//! # How five kinds of collector use it
//!
//! **Semispace** (Cheney). `new_heap` splits the committed memory in two and sets [`Cell::BUMP`] and [`Cell::LIMIT`] to one
//! half: the default [`GcCompiler::alloc`] is already right, and [`BarrierNeeds`] are all false, so bulk copies are
//! `memmove`s. `allocate` bumps the same cells for the host. `collect` visits every [`RootKind`], copies with
//! [`HeapMemory::copy_bytes`], leaves the new index in the header's type word or the first field, updates each slot by
//! [`RootSlot::set`], and scans to-space with [`Shapes::scan`]. `on_allocation_failure` answers `Collect`, then
//! `Grow`. Host values: it keeps a list of the `EXTERN` objects that `allocate` made, and reports those not copied in
//! [`GcHeap::take_dead_hosts`].
//!
//! **Generational**, with *cards*: the nursery is the region between the bump cells. `needs().write`; `write` stores and
//! then, by [`Slot`], marks the card of `slot.object` in a [`SideTable`] of bytes at shift 9 (compiled code reaches it at
//! [`SideTable::offset_from_base`]); for `Slot::Global` and `Slot::Table` nothing is emitted, because a minor collection
//! visits those [`RootKind`]s anyway, or it logs them as a container. With *field logging*: a bit per slot in a
//! [`SideTable`] at shift 2; where it is clear, `write` pushes the slot onto a [`LogBuffer`] ([`Emitter::push`]) and sets it. Object
//! logging is the same with a header bit of `slot.object`. [`AccessSite::freshness`] elides the barrier on new objects:
//! `needs().init` is false. `collect` gets [`CollectionKind::Minor`] or `Major`; after a minor one it answers
//! `on_allocation_failure` with a major one. Host-side stores and bulk writes come through
//! `write_ref` and `write_refs` with the same base object.
//!
//! **Concurrent marking by snapshot at the beginning**: a cell holds the phase; `write` loads it, and when marking loads
//! the old value of the slot and pushes it onto a [`LogBuffer`] before storing; `site.old` says when no old value can matter.
//! Bulk writes get the old values by [`copy_refs`]. Marker threads hold a clone of [`HeapMemory`]: all accessors are
//! relaxed atomics. `needs().poll` gives loop polls for handshakes; `collect` with a budget does a slice and answers
//! [`Outcome::Unfinished`]; new objects get the mark bit of the moment from `alloc`'s `bits`, or a side table.
//!
//! **Counting, deferred**: `needs().read` and `.write`. `write` increments new, stores, decrements old, with counts in the
//! header's 26 bits; `read` enrols what comes onto the stack in a [`LogBuffer`]; `clone_ref`, `drop_ref`, `expose` are the
//! host's counts. `collect` visits [`RootKind::Stack`] alone: globals, tables and host handles are counted. Buffer overflow and
//! counts that reach zero go through [`GcHeap::slow_path`]. [`CollectionKind::Cycle`] asks for cycle collection; [`Shape::is_leaf`] and the
//! declared types tell what can be cyclic.
//!
//! **Mark-region** (Immix): blocks and lines of the heap in [`SideTable`]s (bytes at shift 8 and 15). The bump cells point into a
//! run of free lines; `allocate` finds the next run, or an overflow block for a medium object; a run may be recycled memory,
//! because the engine initialises every field before the next safepoint. `collect` marks with a bit table at shift 3,
//! evacuates opportunistically (roots and slots can be updated), and sweeps lines. Evacuated pages go back by
//! [`HeapMemory::discard`].
//!
//! No hook lies in the way of another: a moving collector ignores `clone_ref`'s meaning and gets every handle as a root; a
//! counting one ignores root slots' `set`; a stop-the-world one never answers `Unfinished`.
//!
//! # Barriers as pseudo-CLIF
//!
//! The module of [`GcCompiler`] shows the defaults; each collector's compiler shows its own above the code that emits it.
//!
//! # Trust
//!
//! Nothing read out of the heap is believed. No native pointer is ever stored there: an `externref` is an object with
//! the id of a host value, a function reference in a field is an id in the store's function table. The accessors of
//! [`HeapMemory`] are bounds-checked and panic on a corrupt reference; compiled code cannot leave the reservation.

mod collector;
mod compiler;
mod events;
mod header;
mod map;
mod memory;
mod reference;
mod shapes;
mod sizing;
pub mod sys;
mod type_graph;

pub use collector::*;
pub use compiler::*;
pub use events::*;
pub use header::*;
pub use map::*;
pub use memory::*;
pub use reference::*;
pub use shapes::*;
pub use sizing::*;
pub use type_graph::{Declared, Family, Target};

pub use cranelift_codegen::ir;
pub use cranelift_codegen::ir::InstBuilder;
