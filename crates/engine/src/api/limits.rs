//! What a store may use.

use super::{Error, ErrorKind, Result, Store};

/// Decides what a store may use: asked before memories, tables and the heap are made or grow, and before instances are made.
///
/// Sizes are bytes, or elements of tables. What is refused makes `memory.grow` and `table.grow` return -1; the heap
/// collects, and then allocation traps; the host gets errors. An error instead of an answer ends the program with it.
///
/// [`StoreLimits`] is a ready-made one.
pub trait ResourceLimiter: Send + Sync {
    /// Whether a linear memory may grow from `current` to `desired` bytes. `maximum` is what its type says. At its making
    /// `current` is 0.
    ///
    /// # Errors
    /// To end the program.
    fn memory_growing(&mut self, current: u64, desired: u64, maximum: Option<u64>) -> Result<bool>;

    /// Whether a table may grow from `current` to `desired` elements. `maximum` is what its type says. At its making `current`
    /// is 0.
    ///
    /// # Errors
    /// To end the program.
    fn table_growing(&mut self, current: u64, desired: u64, maximum: Option<u64>) -> Result<bool>;

    /// Whether the heap of objects may grow from `current` to `desired` bytes. `maximum` is
    /// [`Config::heap_limit`](super::Config::heap_limit). What it has at the start, [`Config::initial_heap`](super::Config), is
    /// not asked for.
    fn heap_growing(&mut self, current: u64, desired: u64, maximum: u64) -> bool {
        let _ = (current, desired, maximum);
        true
    }

    /// Instances that there may be. 10 000 by default.
    fn instances(&self) -> u64 {
        DEFAULT_COUNT
    }

    /// Linear memories that there may be. 10 000 by default.
    fn memories(&self) -> u64 {
        DEFAULT_COUNT
    }

    /// Tables that there may be. 10 000 by default.
    fn tables(&self) -> u64 {
        DEFAULT_COUNT
    }
}

const DEFAULT_COUNT: u64 = 10_000;

/// Fixed limits: for each memory, each table, the heap, and the numbers of things.
///
/// ```
/// # fn main() -> engine::Result<()> {
/// use engine::{Engine, Instance, Module, Store, StoreLimits, StoreLimitsBuilder};
/// # let engine = Engine::new(gc_null::COLLECTOR.with(&Default::default()).unwrap())?;
/// let limits: StoreLimits = StoreLimitsBuilder::new().memory_size(2 << 16).instances(1).build();
/// let mut store = Store::new(&engine, limits)?;
/// store.limiter(|limits| limits);
/// let module = Module::new(&engine, r#"
///     (module (memory 1) (func (export "grow") (result i32) (memory.grow (i32.const 1))))"#)?;
/// let instance = Instance::new(&mut store, &module, &[])?;
/// let grow = instance.get_typed_func::<(), i32>(&mut store, "grow")?;
/// assert_eq!(grow.call(&mut store, ())?, 1);
/// assert_eq!(grow.call(&mut store, ())?, -1);
/// let error = Instance::new(&mut store, &module, &[]).unwrap_err();
/// assert!(error.to_string().contains("StoreLimitsBuilder::instances"), "{error}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreLimits {
    memory_size: u64,
    table_elements: u64,
    heap_size: u64,
    instances: u64,
    memories: u64,
    tables: u64,
    trap_on_grow_failure: bool,
}

impl Default for StoreLimits {
    fn default() -> StoreLimits {
        StoreLimits {
            memory_size: u64::MAX,
            table_elements: u64::MAX,
            heap_size: u64::MAX,
            instances: DEFAULT_COUNT,
            memories: DEFAULT_COUNT,
            tables: DEFAULT_COUNT,
            trap_on_grow_failure: false,
        }
    }
}

/// Makes [`StoreLimits`].
#[derive(Clone, Debug, Default)]
pub struct StoreLimitsBuilder(StoreLimits);

impl StoreLimitsBuilder {
    /// Nothing is limited but the numbers of instances, memories and tables, each to 10 000.
    pub fn new() -> StoreLimitsBuilder {
        StoreLimitsBuilder::default()
    }

    /// Bytes of each linear memory.
    pub fn memory_size(mut self, bytes: u64) -> Self {
        self.0.memory_size = bytes;
        self
    }

    /// Elements of each table.
    pub fn table_elements(mut self, elements: u64) -> Self {
        self.0.table_elements = elements;
        self
    }

    /// Bytes of the heap of objects.
    pub fn heap_size(mut self, bytes: u64) -> Self {
        self.0.heap_size = bytes;
        self
    }

    /// Instances.
    pub fn instances(mut self, count: u64) -> Self {
        self.0.instances = count;
        self
    }

    /// Linear memories.
    pub fn memories(mut self, count: u64) -> Self {
        self.0.memories = count;
        self
    }

    /// Tables.
    pub fn tables(mut self, count: u64) -> Self {
        self.0.tables = count;
        self
    }

    /// Whether a refused growth of a memory or a table ends the program, with an error that names the limit, instead of giving it
    /// -1.
    pub fn trap_on_grow_failure(mut self, trap: bool) -> Self {
        self.0.trap_on_grow_failure = trap;
        self
    }

    /// The limits.
    pub fn build(self) -> StoreLimits {
        self.0
    }
}

impl StoreLimits {
    fn allow(
        &self,
        what: &'static str,
        unit: &'static str,
        way_out: &'static str,
        desired: u64,
        limit: u64,
    ) -> Result<bool> {
        match desired <= limit {
            true => Ok(true),
            false if self.trap_on_grow_failure => Err(exceeded(what, unit, way_out, desired, limit)),
            false => Ok(false),
        }
    }
}

impl ResourceLimiter for StoreLimits {
    fn memory_growing(&mut self, _: u64, desired: u64, _: Option<u64>) -> Result<bool> {
        self.allow("a linear memory", "bytes", "StoreLimitsBuilder::memory_size", desired, self.memory_size)
    }

    fn table_growing(&mut self, _: u64, desired: u64, _: Option<u64>) -> Result<bool> {
        self.allow("a table", "elements", "StoreLimitsBuilder::table_elements", desired, self.table_elements)
    }

    fn heap_growing(&mut self, _: u64, desired: u64, _: u64) -> bool {
        desired <= self.heap_size
    }

    fn instances(&self) -> u64 {
        self.instances
    }

    fn memories(&self) -> u64 {
        self.memories
    }

    fn tables(&self) -> u64 {
        self.tables
    }
}

/// The error for what a store's limiter refuses.
fn exceeded(what: &str, unit: &str, way_out: &str, desired: u64, limit: u64) -> Error {
    Error::new(ErrorKind::Limit(format!(
        "{what} would have {desired} {unit}, and the store's limit is {limit}; `{way_out}` sets it"
    )))
}

/// A store's limiter, wherever in the host's data it is: lends it to a closure.
pub(crate) type Limiter = Box<dyn FnMut(&mut dyn FnMut(&mut dyn ResourceLimiter)) + Send + Sync>;

impl<T: 'static> Store<T> {
    /// Has all that the store uses from now on decided by what `limiter` finds in the host's data. Instances that there are
    /// already count.
    ///
    /// [`StoreLimits`] has an example.
    pub fn limiter(&mut self, limiter: impl (FnMut(&mut T) -> &mut dyn ResourceLimiter) + Send + Sync + 'static) {
        self.set_limiter(limiter);
    }
}
