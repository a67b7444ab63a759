//! What a store's limiter is asked, and the deadlines and the fuel of its programs.

use super::store::StoreOpaque;
use crate::api::{Error, ErrorKind, ResourceLimiter, Result};
use crate::types::{MemoryType, TableType};
use std::sync::atomic::Ordering;

impl StoreOpaque {
    /// Asks the limiter, if there is one.
    fn ask<R>(&mut self, question: impl FnOnce(&mut dyn ResourceLimiter) -> R) -> Option<R> {
        let limiter = self.limiter.as_mut()?;
        let (mut question, mut answer) = (Some(question), None);
        limiter(&mut |limiter| answer = question.take().map(|question| question(limiter)));
        answer
    }

    /// Whether one more instance may be made.
    ///
    /// # Errors
    /// When it may not.
    pub fn allow_instance(&mut self) -> Result<()> {
        let count = self.instances.len() as u64;
        match self.ask(|limiter| limiter.instances()) {
            Some(limit) if count >= limit => Err(too_many("instance", "instances", limit)),
            _ => Ok(()),
        }
    }

    /// Whether a memory of this type may be made.
    ///
    /// # Errors
    /// When it may not.
    pub fn allow_memory(&mut self, ty: &MemoryType) -> Result<()> {
        let count = self.memories.len() as u64;
        match self.ask(|limiter| limiter.memories()) {
            Some(limit) if count >= limit => return Err(too_many("linear memory", "memories", limit)),
            _ => {}
        }
        let bytes = |pages: u64| pages.saturating_mul(1 << ty.page_size_log2);
        let (desired, maximum) = (bytes(ty.min), ty.max.map(bytes));
        match self.ask(|limiter| limiter.memory_growing(0, desired, maximum)).transpose()? {
            Some(false) => Err(refused("a linear memory", desired, "bytes", "memory_size")),
            _ => Ok(()),
        }
    }

    /// Whether the memory `id` may grow by `delta` pages.
    ///
    /// # Errors
    /// The limiter's.
    pub fn allow_memory_growth(&mut self, id: usize, delta: u64) -> Result<bool> {
        if self.limiter.is_none() {
            return Ok(true);
        }
        let ty = self.memories[id].ty();
        let bytes = |pages: u64| pages.saturating_mul(1 << ty.page_size_log2);
        let (current, desired) = (bytes(ty.min), bytes(ty.min.saturating_add(delta)));
        let answer = self.ask(|limiter| limiter.memory_growing(current, desired, ty.max.map(bytes)));
        Ok(answer.transpose()?.unwrap_or(true))
    }

    /// Whether a table of this type may be made.
    ///
    /// # Errors
    /// When it may not.
    pub fn allow_table(&mut self, ty: &TableType) -> Result<()> {
        let count = self.tables.len() as u64;
        match self.ask(|limiter| limiter.tables()) {
            Some(limit) if count >= limit => return Err(too_many("table", "tables", limit)),
            _ => {}
        }
        match self.ask(|limiter| limiter.table_growing(0, ty.min, ty.max)).transpose()? {
            Some(false) => Err(refused("a table", ty.min, "elements", "table_elements")),
            _ => Ok(()),
        }
    }

    /// Whether the table `id` may grow by `delta` elements.
    ///
    /// # Errors
    /// The limiter's.
    pub fn allow_table_growth(&mut self, id: usize, delta: u64) -> Result<bool> {
        if self.limiter.is_none() {
            return Ok(true);
        }
        let ty = self.tables[id].ty();
        let answer = self.ask(|limiter| limiter.table_growing(ty.min, ty.min.saturating_add(delta), ty.max));
        Ok(answer.transpose()?.unwrap_or(true))
    }

    /// Whether the heap may grow by `bytes`.
    pub fn allow_heap(&mut self, bytes: u64) -> bool {
        let (current, maximum) = (self.memory().committed_bytes(), self.memory().limit_bytes());
        let desired = current.saturating_add(bytes);
        self.ask(|limiter| limiter.heap_growing(current, desired, maximum)).unwrap_or(true)
    }

    // ---- Deadlines and fuel ----

    /// Sets the deadline to `ticks` from now.
    pub fn set_epoch_deadline(&mut self, ticks: u64) {
        let now = self.engine().epoch().load(Ordering::Relaxed);
        // SAFETY: the record lives as long as the store, and compiled code is not running.
        unsafe { (*self.vm()).epoch_deadline = now.saturating_add(ticks) };
    }

    /// Whether there are deadlines, and the store's has passed.
    pub fn deadline_passed(&self) -> bool {
        let now = self.engine().epoch().load(Ordering::Relaxed);
        // SAFETY: as above.
        self.engine().config().epoch_interruption && now >= unsafe { (*self.vm()).epoch_deadline }
    }

    /// Replaces the fuel.
    pub fn set_fuel(&mut self, fuel: u64) {
        self.fuel_reserve = fuel.saturating_sub(i64::MAX as u64);
        // SAFETY: as above.
        unsafe { (*self.vm()).fuel = (fuel - self.fuel_reserve) as i64 };
    }

    /// The fuel that is left.
    pub fn fuel(&self) -> u64 {
        // SAFETY: as above.
        self.fuel_reserve.saturating_add_signed(unsafe { (*self.vm()).fuel })
    }

    /// Goes on with what is in reserve; false when there is nothing.
    pub fn refuel(&mut self) -> bool {
        let left = self.fuel();
        if left > 0 {
            self.set_fuel(left);
        }
        left > 0
    }
}

/// The error for a thing that the limiter finds too large.
fn refused(what: &str, desired: u64, unit: &str, way_out: &str) -> Error {
    Error::new(ErrorKind::Limit(format!(
        "{what} of {desired} {unit} is more than the store's limiter allows; `StoreLimitsBuilder::{way_out}` sets the limit"
    )))
}

/// The error for one thing too many.
fn too_many(what: &str, way_out: &str, limit: u64) -> Error {
    Error::new(ErrorKind::Limit(format!(
        "one {what} more than the {limit} that the store's limiter allows; `StoreLimitsBuilder::{way_out}` sets the limit"
    )))
}
