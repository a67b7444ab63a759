//! Types, canonical across the modules of an engine.
//!
//! A module numbers its types from 0; the engine's [`TypeRegistry`] gives each of them a [`TypeIndex`] such that two types
//! are equal exactly when their indices are, whichever modules they come from. Everything past the parser (compiler,
//! objects, embedding API) speaks of canonical indices only; [`ModuleTypes`] is the way from a module's to the engine's.
//!
//! Equality is that of WebAssembly 3.0 (iso-recursive, with declared supertypes and finality): recursion groups are equal
//! when they have the same types in the same order, references into the group itself being compared by position and
//! references out of it by canonical index. Groups come after what they refer to, so one pass of hash-consing over the
//! groups in order decides it, in time linear in the size of the type section.
//!
//! * `value`: the types themselves, and how they print.
//! * `group`: a recursion group as a sequence of words: the key of the hash-consing.
//! * `host`: recursion groups of the host's, and how definitions match those of their supertypes.
//! * `registry`: the engine's table of types, subtyping, and the displays that compiled code reads.
//! * `layout`: where fields and elements stand in objects.
//! * `module`: from a module's type indices to canonical ones.

mod group;
pub(crate) mod host;
mod layout;
mod module;
mod registry;
#[cfg(test)]
mod tests;
mod value;

pub use gc_api::TypeIndex;
pub use host::Part;
pub use layout::{ArrayLayout, FieldLayout, StructLayout};
pub use module::ModuleTypes;
pub use registry::{DISPLAY_BYTES, MAX_SUBTYPE_DEPTH, TypeError, TypeRegistry};
pub use value::{
    ArrayType, CompositeType, ExternType, FieldType, FuncType, GlobalType, HeapType, Hierarchy, MemoryType, RefType,
    StorageType, StructType, SubType, TableType, TagType, ValType,
};
