//! What happened while a program ran, and when: each collection with its phases and its work, each growth of the heap.
//!
//! Events stand in a ring that is allocated once, when [`Store::record_events`](crate::Store::record_events) asks for it. An event costs
//! two readings of the clock, one more for each phase, and two of the collector's counters, all of it outside of compiled code; where
//! the ring was not asked for, a test for null. Nothing is written anywhere: no file, no lock, no system call.

use gc_api::{Collection, Counters, Outcome, Phase, RootKind};
use smallvec::SmallVec;
use std::time::{Duration, Instant};

/// Something that happened.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "the ring has them all; boxes would be allocated while the program is stopped"
)]
pub enum Event {
    /// A collection, or a slice of one, that was not refused.
    Collected(CollectionEvent),
    /// The heap has become larger, not by a collection.
    Grown {
        /// When.
        at: Instant,
        /// Bytes that are committed from now on.
        committed: u64,
    },
}

/// A collection.
#[derive(Clone, Debug)]
pub struct CollectionEvent {
    /// How many there were before it in this store.
    pub sequence: u64,
    /// What was asked for, and why.
    pub request: Collection,
    /// How it ended.
    pub outcome: Outcome,
    /// When the program stopped.
    pub start: Instant,
    /// For how long.
    pub pause: Duration,
    /// Its phases, in the order in which they took place. One that came after [`Spans::MAX`] others is part of the last.
    pub phases: Spans,
    /// Bytes allocated since the store was made, when the program stopped.
    pub allocated: u64,
    /// Bytes in objects that had not been freed when the program stopped.
    pub live_before: u64,
    /// Bytes in objects that had not been freed when it went on.
    pub live_after: u64,
    /// Bytes committed when the program stopped.
    pub committed_before: u64,
    /// Bytes committed when it went on.
    pub committed_after: u64,
    /// What was done.
    pub work: Work,
}

/// What one collection did: what it added to each of the collector's [`Counters`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Objects traced.
    pub objects_traced: u64,
    /// Bytes copied.
    pub bytes_copied: u64,
    /// Objects freed, where they are counted.
    pub objects_freed: Option<u64>,
    /// Bytes freed.
    pub bytes_freed: u64,
    /// Roots visited, by [`RootKind::ALL`].
    pub roots: [u64; 6],
    /// What the collector counts beside that, by [`Events::own_names`]. Work of barriers since the last collection is not in it.
    pub own: SmallVec<[u64; 16]>,
}

impl Work {
    /// Roots of all kinds.
    pub fn all_roots(&self) -> u64 {
        self.roots.iter().sum()
    }

    /// Roots of one kind.
    pub fn roots_of(&self, kind: RootKind) -> u64 {
        RootKind::ALL.iter().zip(self.roots).find(|(known, _)| **known == kind).map_or(0, |(_, roots)| roots)
    }
}

/// The phases of a collection, with when each began after the program stopped.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spans {
    starts: [(u8, u32); Spans::MAX],
    len: u8,
}

impl Spans {
    /// As many fit in.
    pub const MAX: usize = 14;

    pub(crate) fn push(&mut self, phase: Phase, since: Duration) {
        if let Some(slot) = self.starts.get_mut(usize::from(self.len)) {
            // A phase that begins four seconds and more after the stop begins at the largest number.
            *slot = (phase as u8, u32::try_from(since.as_nanos()).unwrap_or(u32::MAX));
            self.len += 1;
        }
    }

    /// Each phase, with when it began and when it ended, after the program stopped for `pause` in all.
    pub fn iter(&self, pause: Duration) -> impl Iterator<Item = (Phase, Duration, Duration)> + '_ {
        let starts = &self.starts[..usize::from(self.len)];
        let nanos = |nanos: u32| Duration::from_nanos(nanos.into());
        starts.iter().enumerate().map(move |(i, (phase, start))| {
            let end = starts.get(i + 1).map_or(pause, |(_, next)| nanos(*next));
            (Phase::ALL[usize::from(*phase)], nanos(*start), end)
        })
    }
}

/// The events of a store that are still known.
#[derive(Clone, Debug, Default)]
pub struct Events {
    /// In the order in which they happened.
    pub events: Vec<Event>,
    /// Older ones, whose place was needed for newer ones.
    pub dropped: u64,
    /// Names of what the collector counts beside what all do.
    pub own_names: Vec<&'static str>,
}

/// The ring.
#[derive(Debug)]
pub struct EventRing {
    /// Has its full capacity from the beginning.
    events: Vec<Event>,
    /// Where the next one goes once the ring is full.
    next: usize,
    capacity: usize,
    dropped: u64,
}

impl EventRing {
    pub fn new(capacity: usize) -> EventRing {
        let capacity = capacity.max(1);
        EventRing { events: Vec::with_capacity(capacity), next: 0, capacity, dropped: 0 }
    }

    pub fn push(&mut self, event: Event) {
        if self.events.len() < self.capacity {
            self.events.push(event);
            return;
        }
        self.events[self.next] = event;
        self.next = (self.next + 1) % self.capacity;
        self.dropped += 1;
    }

    /// Takes out what is there, oldest first.
    pub fn take(&mut self) -> (Vec<Event>, u64) {
        self.events.rotate_left(self.next);
        self.next = 0;
        let events = self.events.drain(..).collect();
        (events, std::mem::take(&mut self.dropped))
    }
}

/// What a store keeps of its events.
pub struct EventLog {
    pub ring: EventRing,
    /// Hears of each event when the program goes on.
    pub listener: Option<Listener>,
    pub collections: u64,
}

/// See [`Store::on_event`](crate::Store::on_event).
pub type Listener = Box<dyn FnMut(&Event) + Send>;

impl EventLog {
    pub fn push(&mut self, event: Event) {
        if let Some(listener) = &mut self.listener {
            listener(&event);
        }
        self.ring.push(event);
    }
}

/// What is known when the program stops.
pub struct Before {
    counters: Counters,
    committed: u64,
}

impl Before {
    pub fn new(counters: Counters, committed: u64) -> Before {
        Before { counters, committed }
    }
}

impl EventLog {
    /// Notes a collection that is over.
    pub fn collected(
        &mut self,
        (request, outcome): (Collection, Outcome),
        (start, pause, phases): (Instant, Duration, Spans),
        before: Before,
        after: Counters,
        committed_after: u64,
    ) {
        let Before { counters: before, committed: committed_before } = before;
        let sequence = self.collections;
        self.collections += 1;
        let live = |counters: &Counters| counters.bytes_allocated.saturating_sub(counters.bytes_freed);
        let mut roots = after.roots;
        roots.iter_mut().zip(before.roots).for_each(|(after, before)| *after -= before);
        // Levels, such as the largest size of a table, may fall; what counts up does not.
        let own = after.own.iter().zip(&before.own).map(|((_, after), (_, before))| after.saturating_sub(*before));
        let freed = after.objects_freed.zip(before.objects_freed);
        let work = Work {
            objects_traced: after.objects_traced - before.objects_traced,
            bytes_copied: after.bytes_copied - before.bytes_copied,
            objects_freed: freed.map(|(after, before)| after - before),
            bytes_freed: after.bytes_freed - before.bytes_freed,
            roots,
            own: own.collect(),
        };
        self.push(Event::Collected(CollectionEvent {
            sequence,
            request,
            outcome,
            start,
            pause,
            phases,
            allocated: before.bytes_allocated,
            live_before: live(&before),
            live_after: live(&after),
            committed_before,
            committed_after,
            work,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grown(committed: u64) -> Event {
        Event::Grown { at: Instant::now(), committed }
    }

    fn sizes(events: &[Event]) -> Vec<u64> {
        let committed = |event: &Event| match event {
            Event::Grown { committed, .. } => *committed,
            Event::Collected(_) => 0,
        };
        events.iter().map(committed).collect()
    }

    #[test]
    fn a_full_ring_forgets_the_oldest() {
        let mut ring = EventRing::new(3);
        (1..=5).for_each(|n| ring.push(grown(n)));
        let (events, dropped) = ring.take();
        assert_eq!((sizes(&events), dropped), (vec![3, 4, 5], 2));
        ring.push(grown(6));
        let (events, dropped) = ring.take();
        assert_eq!((sizes(&events), dropped), (vec![6], 0));
    }

    #[test]
    fn phases_end_where_the_next_begins() {
        let mut spans = Spans::default();
        spans.push(Phase::Stop, Duration::ZERO);
        spans.push(Phase::Trace, Duration::from_nanos(10));
        spans.push(Phase::Resume, Duration::from_nanos(30));
        let nanos = Duration::from_nanos;
        let all: Vec<_> = spans.iter(nanos(35)).collect();
        let expected = [(Phase::Stop, 0, 10), (Phase::Trace, 10, 30), (Phase::Resume, 30, 35)];
        assert_eq!(all, expected.map(|(phase, start, end)| (phase, nanos(start), nanos(end))));
        (0..20).for_each(|_| spans.push(Phase::Cycles, nanos(34)));
        assert_eq!(spans.iter(nanos(35)).count(), Spans::MAX);
    }
}
