//! Collections, and the freeing of the dead.

use crate::counts::{CANDIDATE, ENROLLED, MARK, NEW, at, count, is_dead, object};
use crate::heap::{DrcHeap, Tally};
use crate::queue::Queue;
use crate::space::{Gaps, Space};
use crate::{Counting, Cycles, Options};
use gc_api::{
    Collection, CollectionKind, EXTERN_ID_OFFSET, GcEvents, GcKind, Outcome, Phase, Reason, RootKind, Roots, VMGcRef,
};
use std::time::Instant;

/// Objects that are freed between two looks at the clock.
const STEP: usize = 256;
/// Rounds after which memory that was not used in any goes back to the system.
const IDLE: u32 = 16;
/// So many debts ahead are prefetched.
const PREFETCH: usize = 16;

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// Never.
    pub const NONE: Deadline = Deadline(None);

    /// Whether there is none.
    pub fn is_none(self) -> bool {
        self.0.is_none()
    }

    /// Whether it is time.
    pub fn is_over(self) -> bool {
        self.0.is_some_and(|end| Instant::now() >= end)
    }
}

impl DrcHeap {
    /// [`GcHeap::collect`](gc_api::GcHeap::collect).
    pub fn run_collection(&mut self, request: Collection, roots: &mut dyn Roots, events: &mut dyn GcEvents) -> Outcome {
        events.phase(Phase::Stop);
        self.sizer.stop();
        let thorough = self.desperate || request.kind == CollectionKind::Cycle && request.budget.is_none();
        let own = self.options.budget.filter(|_| request.reason != Reason::Explicit && !thorough);
        let deadline = Deadline(request.budget.or(own).map(|budget| Instant::now() + budget));
        let allocated = self.space.allocated();
        let retained_before = self.tally.retained_bytes;
        self.space.close();
        self.drain_dead();
        self.table.flush();
        events.phase(Phase::Roots);
        let precise = self.visit_stack(roots);
        events.phase(Phase::Trace);
        self.close_log();
        match self.options.counting {
            Counting::Coalesced | Counting::Deferred => self.retain_survivors(&precise),
            Counting::Eager => self.settle_new(),
        }
        events.phase(Phase::Reclaim);
        // After the survivors' fields were counted: an old object may be referred to by nothing but a new one that survives.
        self.replace_table(precise);
        self.free_unfreed(deadline);
        self.pay(deadline);
        self.forget_dead_new();
        let finished = self.collect_cycles(request, roots, events, deadline, thorough);
        self.candidates.forget_freed(&self.space.memory);
        // An explicit full collection means that memory is wanted back.
        let idle = if request.reason == Reason::Explicit && request.kind == CollectionKind::Cycle { 0 } else { IDLE };
        if idle == 0 || self.space.round.is_multiple_of(IDLE) {
            self.tally.returned_bytes += self.space.return_memory(idle);
        }
        self.sizer.resume();
        self.set_budget();
        self.trim();
        self.space.restart(if self.starved { Gaps::Any } else { Gaps::Roomy });
        events.phase(Phase::Resume);
        (self.starved, self.desperate) = (false, false);
        self.tally.rounds += 1;
        self.tally.dead_new_bytes += allocated - (self.tally.retained_bytes - retained_before);
        self.tally.bytes_then += allocated;
        self.tally.objects_then = self.objects_allocated();
        match finished && self.owed.is_empty() && self.unfreed.is_empty() {
            true => {
                self.tally.collections += 1;
                Outcome::Complete
            }
            false => Outcome::Unfinished,
        }
    }

    /// Marks what is on the stack; gives each object once.
    fn visit_stack(&mut self, roots: &mut dyn Roots) -> Vec<u32> {
        let mut precise = Vec::with_capacity(self.table.kept);
        let memory = &self.space.memory;
        let visited = &mut self.tally.roots[RootKind::Stack as usize];
        roots.visit(RootKind::Stack, &mut |slot| {
            *visited += 1;
            if let Some(r) = slot.get().filter(|r| !r.is_i31()) {
                let word = memory.header_word(&r);
                if word & MARK == 0 {
                    memory.set_header_word(&r, word | MARK);
                    precise.push(r.raw());
                }
            }
        });
        precise
    }

    /// Counts what the logged objects refer to now. What they referred to before is owed a decrement.
    fn close_log(&mut self) {
        let DrcHeap { log, space, chunks, stack, tally, owed, options, .. } = self;
        let mut queue = Queue::default();
        let mut count = |(child, times)| count_survivor(space, options, tally, stack, child, times);
        log.close(&space.memory, &space.shapes, chunks, owed, |child| {
            if let Some(child) = queue.push(&space.memory, child.raw()) {
                count(child);
            }
        });
        while let Some(child) = queue.pop() {
            count(child);
        }
        self.settle();
    }

    /// Retains the new objects that are on the stack, or enrolled and counted.
    fn retain_survivors(&mut self, precise: &[u32]) {
        let counted = self.table.entries.iter().filter(|index| count(self.space.memory.header_word(&at(**index))) > 0);
        for index in precise.iter().chain(counted) {
            let r = at(*index);
            let word = self.space.memory.header_word(&r);
            if word & NEW != 0 {
                self.space.memory.set_header_word(&r, word & !NEW);
                self.stack.push(*index);
            }
        }
        self.settle();
    }

    /// Makes the objects on the work list old, with the new objects that they refer to, and counts their fields. Their headers say
    /// already that they are old.
    fn settle(&mut self) {
        let DrcHeap { space, stack, tally, options, .. } = self;
        let mut queue = Queue::default();
        loop {
            while let Some(index) = stack.pop() {
                let size = space.shapes.scan(&space.memory, &at(index), |offset| {
                    if let Some(child) = object(space.memory.load_u32(index, offset))
                        && let Some((child, times)) = queue.push(&space.memory, child.raw())
                    {
                        count_survivor(space, options, tally, stack, child, times);
                    }
                });
                retain(space, tally, index, space.checked(index, size));
            }
            match queue.pop() {
                Some((child, times)) => count_survivor(space, options, tally, stack, child, times),
                None => break,
            }
        }
    }

    /// Where all stores are counted: makes the new objects old that are counted or on the stack, and takes back what the others'
    /// fields were counted for. All new objects are in the table.
    fn settle_new(&mut self) {
        let entries = std::mem::take(&mut self.table.entries);
        for index in &entries {
            let r = at(*index);
            let word = self.space.memory.header_word(&r);
            if word & NEW == 0 {
                continue;
            }
            if count(word) > 0 || word & MARK != 0 {
                self.space.memory.set_header_word(&r, word & !NEW);
                let size = self.space.size_of(*index);
                retain(&mut self.space, &mut self.tally, *index, size);
            } else {
                let DrcHeap { space, owed, .. } = self;
                space.shapes.scan(&space.memory, &r, |offset| {
                    owed.extend(object(space.memory.load_u32(*index, offset)).map(|child| child.raw()));
                });
            }
        }
        self.table.entries = entries;
    }

    /// Replaces the table by what is on the stack. What only the old one kept alive is dead now.
    fn replace_table(&mut self, precise: Vec<u32>) {
        for index in std::mem::take(&mut self.table.entries) {
            let r = at(index);
            let word = self.space.memory.header_word(&r);
            // A marked object stays enrolled; one that is still new was not retained.
            if word & (MARK | NEW) == 0 {
                let word = word & !ENROLLED;
                self.space.memory.set_header_word(&r, word);
                match is_dead(word) {
                    true => self.unfreed.push(index),
                    // It left the stack, or what a count was for has gone meanwhile.
                    false => self.candidates.suspect(&self.space, &self.options, &r, word),
                }
            }
        }
        for index in &precise {
            let r = at(*index);
            let word = self.space.memory.header_word(&r);
            self.space.memory.set_header_word(&r, word & !MARK | ENROLLED);
        }
        self.table.replace(precise);
    }

    /// Decrements what is owed it, and frees what dies of it.
    fn pay(&mut self, deadline: Deadline) {
        let mut paid = 0;
        while let Some(index) = self.owed.pop() {
            if let Some(ahead) = self.owed.len().checked_sub(PREFETCH) {
                self.space.memory.prefetch(self.owed[ahead]);
            }
            let r = at(index);
            self.tally.decrements += 1;
            let word = self.options.counts.decrement(&self.space.memory, &r);
            match is_dead(word) {
                true => self.unfreed.push(index),
                false => self.candidates.suspect(&self.space, &self.options, &r, word),
            }
            paid += 1;
            if paid % STEP == 0 && deadline.is_over() {
                return;
            }
        }
        self.free_unfreed(deadline);
    }

    /// Frees the dead objects, and all that die with them.
    fn free_unfreed(&mut self, deadline: Deadline) {
        std::mem::swap(&mut self.stack, &mut self.unfreed);
        let mut queue = Queue::default();
        let mut freed = 0;
        loop {
            while let Some(index) = self.stack.pop() {
                let r = at(index);
                let word = self.space.memory.header_word(&r);
                // The list of candidates is cleared of what is freed before any memory is used again.
                self.space.memory.set_header_word(&r, word & !CANDIDATE);
                self.free(index, &mut queue);
                freed += 1;
                if freed % STEP == 0 && deadline.is_over() {
                    while let Some((child, times)) = queue.pop() {
                        self.uncount(child, times);
                    }
                    return std::mem::swap(&mut self.stack, &mut self.unfreed);
                }
            }
            match queue.pop() {
                Some((child, times)) => self.uncount(child, times),
                None => return std::mem::swap(&mut self.stack, &mut self.unfreed),
            }
        }
    }

    /// What referred to `child` so many times was freed.
    pub fn uncount(&mut self, child: u32, times: u32) {
        self.tally.decrements += times as u64;
        let r = at(child);
        let word = self.options.counts.take(&self.space.memory, &r, times);
        match is_dead(word) {
            true => self.stack.push(child),
            false => self.candidates.suspect(&self.space, &self.options, &r, word),
        }
    }

    /// Frees one dead object. What it refers to goes through the queue.
    pub fn free(&mut self, index: u32, queue: &mut Queue) {
        let DrcHeap { space, stack, tally, candidates, options, dead_hosts, .. } = self;
        let r = at(index);
        if space.memory.header(&r).kind() == GcKind::EXTERN {
            dead_hosts.push(space.memory.load_u32(index, EXTERN_ID_OFFSET));
        }
        let size = space.shapes.scan(&space.memory, &r, |offset| {
            if let Some(child) = object(space.memory.load_u32(index, offset))
                && let Some((child, times)) = queue.push(&space.memory, child.raw())
            {
                tally.decrements += times as u64;
                let word = options.counts.take(&space.memory, &at(child), times);
                match is_dead(word) {
                    true => stack.push(child),
                    false => candidates.suspect(space, options, &at(child), word),
                }
            }
        });
        let size = space.checked(index, size);
        space.release(index, size);
        tally.freed_by_count += 1;
        tally.freed_by_count_bytes += size as u64;
    }

    /// New objects that were not retained are dead. Only those that something else knows of are looked at.
    fn forget_dead_new(&mut self) {
        let is_new = |space: &Space, r: &VMGcRef| space.memory.header_word(r) & NEW != 0;
        for index in std::mem::take(&mut self.new_externs) {
            if is_new(&self.space, &at(index)) {
                self.dead_hosts.push(self.space.memory.load_u32(index, EXTERN_ID_OFFSET));
            }
        }
        for index in std::mem::take(&mut self.space.large_new) {
            if is_new(&self.space, &at(index)) {
                let size = self.space.size_of(index);
                self.space.release(index, size);
            }
        }
    }

    /// Looks for garbage cycles if that is asked for, or due. Whether it came to an end.
    fn collect_cycles(
        &mut self,
        request: Collection,
        roots: &mut dyn Roots,
        events: &mut dyn GcEvents,
        deadline: Deadline,
        thorough: bool,
    ) -> bool {
        self.candidates.flush(&self.space);
        let grown = self.space.live > self.trace_at;
        let asked = thorough || request.kind == CollectionKind::Cycle;
        let trial = self.options.cycles == Cycles::Trial;
        let mut finished = true;
        if trial && (asked || grown || self.candidates.len() >= self.options.candidates) {
            events.phase(Phase::Cycles);
            self.candidates.forget_freed(&self.space.memory);
            // What was too much for a budget waits until the heap has grown.
            finished = self.delete_on_trial(if grown { Deadline::NONE } else { deadline });
            self.pay(deadline);
        }
        // A count that sticks hides what it is for from trial deletion.
        let trace = match self.options.cycles {
            Cycles::Trace => asked || grown,
            Cycles::Trial => asked && finished && self.has_sticky_counts(),
            Cycles::None => false,
        };
        if trace {
            events.phase(Phase::Cycles);
            self.pay(Deadline::NONE);
            self.free_unfreed(Deadline::NONE);
            self.trace(roots);
        }
        if trace || trial && grown || self.options.cycles == Cycles::None {
            self.resize();
        }
        finished
    }

    /// Asks the policy how large the heap should be: all garbage that can be found is gone.
    fn resize(&mut self) {
        let allocated = self.tally.bytes_then + self.space.allocated();
        let since = allocated - std::mem::replace(&mut self.sized_at, allocated);
        self.sizer.resize(self.space.live, since);
        self.plan();
    }
}

/// Counts references of a survivor's. A new object survives with it.
#[inline]
fn count_survivor(space: &Space, options: &Options, tally: &mut Tally, stack: &mut Vec<u32>, child: u32, times: u32) {
    tally.increments += times as u64;
    let r = at(child);
    let word = space.memory.header_word(&r);
    space.memory.set_header_word(&r, options.counts.added(word, times) & !NEW);
    if word & NEW != 0 {
        stack.push(child);
    }
}

/// A new object becomes old.
#[inline]
fn retain(space: &mut Space, tally: &mut Tally, index: u32, size: u32) {
    if !space.is_start(index) {
        space.admit(index, size);
    }
    tally.retained += 1;
    tally.retained_bytes += size as u64;
}
