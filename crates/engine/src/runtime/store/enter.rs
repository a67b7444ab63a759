//! Entering compiled code, and what ends an activation.

use super::{Pending, StoreOpaque};
use crate::api::{Error, ErrorKind, ModuleInner, Result, Trap};
use crate::runtime::backtrace;
use crate::runtime::signals::{self, Activation, TrapInfo};
use crate::runtime::unwind::{Backtrace, Bounds};
use crate::vm::{ArrayCall, VMFuncRef, ValRaw};
use gc_api::{CellKind, FIRST_INDEX, HEAP_SPAN, VMGcRef, WriteSite};
use std::ffi::c_void;
use std::panic::resume_unwind;
use std::sync::Arc;

impl StoreOpaque {
    /// Calls a function: in an activation of its own, whose faults become traps. `values` holds the arguments, then the results.
    ///
    /// # Errors
    /// What ended the call. A panic of the host's inside it is resumed.
    ///
    /// # Safety
    /// `this` is what [`VMStoreContext::store`] of the store holds, and nothing else uses the store during the call. `callee` is a
    /// function of this store, and `values` points to `capacity` values: as many as its type has parameters or results, whichever
    /// are more, the arguments of the types of its parameters and as the heap exposed them.
    pub unsafe fn call(
        this: *mut StoreOpaque,
        callee: *const VMFuncRef,
        values: *mut ValRaw,
        capacity: usize,
    ) -> Result<()> {
        let stack = 0u8;
        // SAFETY: the caller's promise. No reference to the store is alive while compiled code runs.
        let (activation, caller, outer_limit) = unsafe {
            let store = &mut *this;
            let outer_limit = (*store.vm()).stack_limit;
            if store.depth == 0 {
                let stack = &raw const stack as usize;
                (*store.vm()).stack_limit = stack.saturating_sub(store.engine.config().max_wasm_stack);
            }
            store.depth += 1;
            (Activation::new(store.vm(), &raw const (*this).code), store.caller(), outer_limit)
        };
        // SAFETY: a function reference has code with the array convention, and the rest is the caller's promise. The store's
        // record and its code live as long as the store, which waits; an engine has installed the handlers.
        let ok = unsafe {
            let VMFuncRef { array_call, vmctx, wasm_call, .. } = *callee;
            let array_call = std::mem::transmute::<*const c_void, ArrayCall>(array_call);
            signals::with_activation(&activation, || array_call(vmctx, caller, values, capacity, wasm_call))
        };
        // SAFETY: compiled code has returned.
        let store = unsafe { &mut *this };
        store.depth -= 1;
        // SAFETY: the record lives as long as the store.
        unsafe { (*store.vm()).stack_limit = outer_limit };
        if ok {
            return Ok(());
        }
        if let Some(trap) = activation.trap.take() {
            let error = store.trapped(trap, &activation.backtrace());
            store.corrupt |= matches!(error.kind(), ErrorKind::Corruption(_));
            return Err(error);
        }
        match store.take_pending() {
            Pending::Error(error) => {
                store.corrupt |= matches!(error.kind(), ErrorKind::Corruption(_));
                Err(error)
            }
            Pending::Panic(payload) => resume_unwind(payload),
        }
    }

    /// The error for a fault in compiled code.
    fn trapped(&self, trap: TrapInfo, frames: &Backtrace) -> Error {
        let index = (trap.fault_address as u64).wrapping_sub(self.memory.base() as u64);
        let corrupt = |message: String| Error::new(ErrorKind::Corruption(format!("corrupt heap: {message}")));
        let error = match Trap::from_code(trap.code) {
            // Whatever the access expected: null is below.
            _ if (FIRST_INDEX as u64..HEAP_SPAN).contains(&index) => {
                corrupt(format!("compiled code followed a reference to index {index:#x}, where no object can be"))
            }
            Some(trap) => Error::from(trap),
            None => corrupt("compiled code found in it what does not exist".to_string()),
        };
        error.with_backtrace(|| backtrace::of_fault(self, frames))
    }

    /// The bounds of the current activation, as far as compiled code has been entered and left.
    pub fn current_bounds(&self) -> Bounds {
        // SAFETY: the record lives as long as the store, and compiled code is not running.
        Bounds::of(unsafe { &*self.vm() })
    }

    /// Makes a module's code known, so that its frames can be walked.
    pub fn load_module(&mut self, module: &Arc<ModuleInner>) {
        let start = module.code.range().start;
        if !module.code.is_empty() && self.code.lookup(start).is_none() {
            self.code.insert(module.code.clone(), self.modules.len() as u32);
            self.modules.push(module.clone());
        }
    }

    /// The modules whose code is known.
    pub fn modules(&self) -> &[Arc<ModuleInner>] {
        &self.modules
    }

    /// The module with this tag in [`Self::code`].
    pub fn module(&self, tag: u32) -> &ModuleInner {
        &self.modules[tag as usize]
    }

    /// Notes why the call that left compiled code has failed.
    pub fn set_pending(&mut self, pending: Pending) {
        self.note_raised();
        let pending = match pending {
            Pending::Error(error) => match error.uncaught() {
                // An exception that a function of the host's let through, or threw.
                Some(exception) if exception.store() == self.id && self.is_live(exception.root()) => {
                    let thrown = self.rooted(exception.slot());
                    return self.set_exception(&thrown);
                }
                _ => Pending::Error(error.with_backtrace(|| backtrace::capture(self))),
            },
            panic => panic,
        };
        self.pending = Some(pending);
    }

    /// Notes the exception that the call that left compiled code has thrown.
    pub fn set_exception(&mut self, thrown: &VMGcRef) {
        self.note_raised();
        self.pending = None;
        self.heap.write_ref(WriteSite::Cell { kind: CellKind::Exception, cell: &self.exception }, Some(thrown));
    }

    fn note_raised(&mut self) {
        self.raised_at = self.current_bounds();
    }

    /// The activation as it was left by the call that failed.
    pub fn raised_at(&self) -> Bounds {
        self.raised_at
    }

    /// Whether an exception is being thrown, rather than the activation ended.
    pub fn exception_pending(&self) -> bool {
        self.pending.is_none() && self.exception.raw() != 0
    }

    /// Takes the exception that is being thrown; the caller owns it.
    pub fn take_exception(&mut self) -> Option<VMGcRef> {
        let site = || WriteSite::Cell { kind: CellKind::Exception, cell: &self.exception };
        let taken = self.heap.read_ref(site());
        self.heap.write_ref(site(), None);
        taken
    }

    /// Takes what ended an activation.
    pub fn take_pending(&mut self) -> Pending {
        if let Some(pending) = self.pending.take() {
            return pending;
        }
        match self.take_exception() {
            Some(exception) => {
                // It may leave the scope that is open.
                let exception = self.root_owned(exception);
                Pending::Error(Error::exception(crate::api::Rooted::new(exception)))
            }
            None => Pending::Error(Error::new(ErrorKind::Corruption(
                "compiled code was left although nothing is pending".to_string(),
            ))),
        }
    }
}
