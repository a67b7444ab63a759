//! Allocation, collections, and who watches them: zeal, the verifier, the clock.

use super::StoreOpaque;
use crate::api::{Before, Error, Event, HeapMoment, Pauses, Result, Spans, Trap};
use crate::runtime::hosts::HostValue;
use crate::runtime::roots::StoreRoots;
use crate::runtime::verify::{self, View};
use crate::runtime::{backtrace, live};
use gc_api::{
    Collection, GcEvents, GcHeap, GcKind, INDEX_SPACE, NeedsCollection, NewObject, Outcome, Phase, Reason, Roots,
    SizingDecision, VMGcRef,
};
use std::time::Instant;

/// Decisions of a heap that did not help, after which an allocation fails whatever the heap says.
const MAX_ATTEMPTS: u32 = 64;

/// What a verifier sees of a store beside its heap.
macro_rules! view {
    ($store:ident, $verifier:ident) => {
        View {
            memory: &$store.memory,
            registry: $store.engine.registry(),
            hosts: &$store.hosts,
            funcs: $store.funcs.len(),
            tags: $store.tags.len(),
            info: $store.engine.gc().info(),
            writes: &$verifier.writes,
        }
    };
}

/// The roots of a store, while its heap is in use.
macro_rules! roots {
    ($store:ident) => {
        StoreRoots {
            code: &$store.code,
            vm: $store.vm.as_ptr(),
            instances: &$store.instances,
            globals: &$store.globals,
            tables: &$store.tables,
            handles: $store.handles.slots(),
            exception: &$store.exception,
        }
    };
}

impl StoreOpaque {
    /// Allocates an object whose contents the caller writes before the next safepoint.
    ///
    /// # Errors
    /// A trap when the heap has no room and can get none, with what was live.
    pub fn allocate(&mut self, object: NewObject) -> Result<VMGcRef> {
        if object.size > INDEX_SPACE {
            return Err(Trap::AllocationTooLarge.into());
        }
        self.observe(|| HeapMoment::Allocation { bytes: object.size });
        self.force_collection();
        let (mut attempts, mut limited) = (0, false);
        loop {
            let NeedsCollection { bytes } = match self.heap.allocate(object) {
                Ok(object) => {
                    self.drop_dead_hosts();
                    return Ok(object);
                }
                Err(needs) => needs,
            };
            let mut decision = self.heap.on_allocation_failure(bytes, attempts);
            if attempts >= MAX_ATTEMPTS {
                decision = SizingDecision::GiveUp;
            }
            attempts += 1;
            match decision {
                SizingDecision::Collect(kind) => {
                    self.collect(Collection { reason: Reason::Allocation, kind, budget: None });
                }
                SizingDecision::Grow(wanted) => limited = !self.grow_heap(wanted, bytes),
                SizingDecision::GiveUp => {
                    self.observe(|| HeapMoment::Full { bytes });
                    let trap = match limited {
                        true => Trap::HeapLimited { committed: self.memory.committed_bytes() },
                        false => Trap::HeapExhausted { limit: self.memory.limit_bytes() },
                    };
                    return Err(Error::from(trap).with_live(live::objects(self)));
                }
            }
        }
    }

    /// Collects if zeal wants it before this allocation.
    fn force_collection(&mut self) {
        if let Some(kind) = self.zeal.forces_collection() {
            self.collect(Collection { reason: Reason::Zeal, kind, budget: None });
        }
    }

    /// Lets the heap grow by `wanted` bytes, or if the limiter refuses that by `need`. Whether the limiter let it.
    fn grow_heap(&mut self, wanted: u64, need: u64) -> bool {
        [wanted, need].into_iter().any(|bytes| {
            let allowed = self.allow_heap(bytes);
            if allowed {
                // A heap that cannot grow is asked again, and gives up in the end.
                let grown = self.memory.grow(bytes);
                if let (Ok(_), Some(log)) = (grown, &mut self.events) {
                    log.push(Event::Grown { at: Instant::now(), committed: self.memory.committed_bytes() });
                }
            }
            allowed
        })
    }

    /// Allocates the object behind a host value. The value is dropped when there is no room.
    ///
    /// # Errors
    /// As [`Self::allocate`].
    pub fn allocate_host(&mut self, value: HostValue) -> Result<VMGcRef> {
        let exhausted = Trap::HeapExhausted { limit: self.memory.limit_bytes() };
        let host = self.hosts.insert(value).ok_or(exhausted)?;
        let object = NewObject {
            kind: GcKind::EXTERN,
            ty: gc_api::EXTERN_TYPE,
            size: gc_api::EXTERN_SIZE as u64,
            length: None,
            host: Some(host),
        };
        self.allocate(object).inspect_err(|_| drop(self.hosts.remove(host)))
    }

    /// Collects, and drops the host values that died.
    ///
    /// # Panics
    /// When the verifier finds a fault, with a text that begins with "corrupt heap".
    pub fn collect(&mut self, request: Collection) -> Outcome {
        self.release_handles();
        self.observe(|| HeapMoment::BeforeCollection { request });
        let verified = self.verifier.take().map(|verifier| {
            let (heap, mut roots) = (&**self.heap, roots!(self));
            let before = verify::before(view!(self, verifier), heap, &mut roots, verifier.last.as_ref());
            (before.unwrap_or_else(|fault| self.found(request, "before", &fault)), verifier)
        });
        let mut log = self.events.take();
        let before = log.is_some().then(|| Before::new(self.heap.counters(), self.memory.committed_bytes()));
        let start = Instant::now();
        let mut watch = Watch {
            pauses: &mut self.pauses,
            phase: None,
            start,
            since: start,
            spans: before.is_some().then(Spans::default),
        };
        let mut roots = roots!(self);
        let outcome = self.heap.collect(request, &mut roots, &mut watch);
        let (pause, spans) = (watch.end() - start, watch.spans.take());
        if outcome != Outcome::Refused {
            self.pauses.record(pause);
            if let (Some(log), Some(before), Some(spans)) = (&mut log, before, spans) {
                let (after, committed) = (self.heap.counters(), self.memory.committed_bytes());
                log.collected((request, outcome), (start, pause, spans), before, after, committed);
            }
        }
        self.events = log;
        let dead = self.heap.take_dead_hosts();
        if let Some((before, mut verifier)) = verified {
            let (heap, mut roots) = (&**self.heap, roots!(self));
            let after = verify::after(view!(self, verifier), heap, &mut roots, before, request, outcome, &dead);
            let after = after.unwrap_or_else(|fault| self.found(request, "after", &fault));
            verifier.writes.follow(after.moves());
            verifier.last = Some(after);
            self.verifier = Some(verifier);
        }
        if self.engine.config().zeal.poison || self.engine.config().verify {
            verify::poison(self.heap());
        }
        self.drop_hosts(dead);
        self.observe(|| HeapMoment::AfterCollection { request, outcome, pause });
        outcome
    }

    /// Ends what runs because of a fault that the verifier found.
    fn found(&self, request: Collection, when: &str, fault: &verify::Fault) -> ! {
        let Collection { kind, reason, .. } = request;
        let collections = self.heap().counters().collections;
        panic!("corrupt heap: {when} a {kind:?} collection for {reason:?} (after {collections} others): {fault}")
    }

    /// Tells the verifier that a slot of an object is about to be written: by the compiled code that was left last, or by the host.
    pub fn note_write(&self, object: &VMGcRef, offset: u32) {
        if let Some(verifier) = &self.verifier {
            let pc = if self.depth > 0 { Some(self.current_bounds().exit_pc) } else { None };
            verifier.writes.note(object.raw(), offset, pc, || backtrace::place(self, pc.unwrap_or_default()));
        }
    }

    /// Shows the heap and all roots, as a collection would see them.
    pub fn inspect<R>(&mut self, look: impl FnOnce(&dyn GcHeap, &mut dyn Roots) -> R) -> R {
        self.release_handles();
        look(&**self.heap, &mut roots!(self))
    }

    /// What the heap asks for after a slow path.
    pub fn collect_if_wanted(&mut self) {
        if let Some(kind) = self.heap.wants_collection() {
            self.collect(Collection { reason: Reason::Collector, kind, budget: None });
        }
    }
}

/// Times the phases of a collection.
struct Watch<'a> {
    pauses: &'a mut Pauses,
    phase: Option<Phase>,
    start: Instant,
    since: Instant,
    /// When somebody wants to know of each phase.
    spans: Option<Spans>,
}

impl Watch<'_> {
    /// Ends a phase: now.
    fn end(&mut self) -> Instant {
        let now = Instant::now();
        if let Some(phase) = self.phase.take() {
            self.pauses.record_phase(phase, now - self.since);
        }
        self.since = now;
        now
    }
}

impl GcEvents for Watch<'_> {
    fn phase(&mut self, phase: Phase) {
        let now = self.end();
        self.phase = Some(phase);
        if let Some(spans) = &mut self.spans {
            spans.push(phase, now - self.start);
        }
    }
}
