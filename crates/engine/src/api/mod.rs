//! The embedding API: engines, modules, stores, and what lives in stores.

mod engine;
mod error;
mod events;
mod externs;
mod func;
mod instance;
mod limits;
mod linker;
mod module;
mod observe;
mod rec_group;
mod refs;
mod scope;
mod settings;
mod shared;
mod stats;
mod store;
#[cfg(test)]
mod tests;
mod types;
mod values;
mod zeal;

pub use crate::runtime::graph::{HeapGraph, ObjectInfo, ObjectType, Referent, RootHolder, RootReference};
pub use crate::vm::TableInit;
pub use engine::{Config, Engine, NullChecks, PoolUsage, Pooling, Profiler};
pub use error::{
    Error, ErrorKind, ImportProblem, LinkError, LiveObjects, LiveType, Result, Trap, WasmBacktrace, WasmFrame,
};
pub(crate) use events::{Before, EventLog};
pub use events::{CollectionEvent, Event, Events, Spans, Work};
pub use externs::{Extern, Global, Memory, Table, Tag};
pub use func::{Func, IntoFunc, TypedFunc, WasmParams, WasmResults, WasmTy};
pub use instance::Instance;
pub(crate) use limits::Limiter;
pub use limits::{ResourceLimiter, StoreLimits, StoreLimitsBuilder};
pub use linker::{InstancePre, Linker};
pub(crate) use module::ModuleInner;
pub use module::{ExportType, ImportType, Module};
pub use observe::{HeapMoment, ObservedHeap};
pub use rec_group::{DefinedGroup, Member, RecGroup};
pub use refs::{AnyRef, ArrayRef, ArrayRefPre, EqRef, ExnRef, ExternRef, I31Ref, Rooted, StructRef, StructRefPre};
pub use scope::RootScope;
pub use settings::{Setting, SettingValue};
pub use shared::{SharedMemory, WaitResult};
pub use stats::{Pauses, Stats};
pub use store::{AsContext, AsContextMut, Caller, Store, StoreContext, StoreContextMut, UpdateDeadline};
pub use types::Finality;
pub use values::{V128, Val};
pub(crate) use zeal::ZealState;
pub use zeal::{RandomZeal, ZEAL_MODES, Zeal, ZealError};
