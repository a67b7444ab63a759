//! The host's values behind `externref`s, by id.

use gc_api::HostId;
use std::any::Any;

/// A value of the host's.
pub type HostValue = Box<dyn Any + Send + Sync>;

/// A store's table of host values.
#[derive(Default)]
pub struct HostValues {
    values: Vec<Option<HostValue>>,
    free: Vec<HostId>,
}

impl HostValues {
    /// Stores `value`; the id is its alone until [`Self::remove`]. `None` when four billion are in use.
    pub fn insert(&mut self, value: HostValue) -> Option<HostId> {
        if let Some(id) = self.free.pop() {
            self.values[id as usize] = Some(value);
            return Some(id);
        }
        let id = HostId::try_from(self.values.len()).ok()?;
        self.values.push(Some(value));
        Some(id)
    }

    /// The value with this id.
    pub fn get(&self, id: HostId) -> Option<&(dyn Any + Send + Sync)> {
        self.values.get(id as usize)?.as_deref()
    }

    /// The value with this id, to be changed.
    pub fn get_mut(&mut self, id: HostId) -> Option<&mut (dyn Any + Send + Sync)> {
        self.values.get_mut(id as usize)?.as_deref_mut()
    }

    /// Takes the value out; its id is free then.
    ///
    /// # Panics
    /// When there is none: the heap freed an object twice.
    pub fn remove(&mut self, id: HostId) -> HostValue {
        match self.values.get_mut(id as usize).and_then(Option::take) {
            Some(value) => {
                self.free.push(id);
                value
            }
            None => panic!("corrupt heap: host value {id} is freed, but does not exist"),
        }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.values.len() - self.free.len()
    }
}
