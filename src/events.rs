//! What a run's collections were, for people and for programs that show them: a log of lines, and a trace for Perfetto.

use crate::text;
use engine::{CollectionEvent, Event, Events};
use gc_api::{CollectorInfo, RootKind};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::time::Instant;

/// One line for a collection: when, which, why, for how long, what it left and what it did.
///
/// ```text
/// [0.0123s] #4 minor (allocation) 412 µs: 8.00 MiB → 1.25 MiB of 16.0 MiB; 27 roots, 9,001 objects traced, 1.01 MiB copied; roots 3.10 µs, trace 400 µs
/// ```
pub fn line(collection: &CollectionEvent, own_names: &[&str], begin: Instant) -> String {
    let CollectionEvent { sequence, request, start, pause, work, .. } = collection;
    let size = |bytes| text::size(bytes);
    let mut line = format!(
        "[{:.4}s] #{sequence} {} ({}) {}: {} → {} of {}",
        start.saturating_duration_since(begin).as_secs_f64(),
        request.kind.name(),
        request.reason.name(),
        text::duration(*pause),
        size(collection.live_before),
        size(collection.live_after),
        size(collection.committed_after),
    );
    line += &format!("; {} roots, {} objects traced", text::count(work.all_roots()), text::count(work.objects_traced));
    if work.bytes_copied > 0 {
        line += &format!(", {} copied", size(work.bytes_copied));
    }
    for (name, count) in own_names.iter().zip(&work.own).filter(|(_, count)| **count > 0) {
        line += &format!(", {} {}", text::count(*count), name.replace('_', " "));
    }
    let phases = collection.phases.iter(*pause).filter(|(_, start, end)| end > start);
    let phases: Vec<String> =
        phases.map(|(phase, start, end)| format!("{} {}", phase.name(), text::duration(end - start))).collect();
    if !phases.is_empty() {
        line += &format!("; {}", phases.join(", "));
    }
    line
}

/// What a trace says beside its events.
pub struct Run<'a> {
    /// The program.
    pub program: &'a str,
    /// The collector, with its options.
    pub gc: &'a str,
    /// The collector's description.
    pub info: &'a CollectorInfo,
    /// When it began.
    pub begin: Instant,
    /// When it ended.
    pub end: Instant,
}

/// The only process and its threads, as a trace numbers them.
const PROCESS: u32 = 1;
const MUTATOR: u32 = 1;
const COLLECTOR: u32 = 2;

/// Writes events in the format of Chrome's trace events, which <https://ui.perfetto.dev> opens: the program's time and each pause with its
/// phases as slices, with their work as arguments; live and committed bytes, the rate of allocation, and what the collector counts as
/// tracks.
///
/// # Errors
/// The writer's.
pub fn write_trace(to: &mut impl Write, run: &Run<'_>, events: &Events) -> io::Result<()> {
    let mut trace = Trace { to, begin: run.begin, first: true };
    trace.to.write_all(b"{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
    trace.name("process_name", 0, &format!("{} under {}", run.program, run.gc))?;
    trace.name("thread_name", MUTATOR, "mutator")?;
    trace.name("thread_name", COLLECTOR, run.info.name)?;
    let mut last = (run.begin, 0);
    let mut sums = vec![0u64; events.own_names.len()];
    let (mut traced, mut copied) = (0, 0);
    for event in &events.events {
        match event {
            Event::Grown { at, committed } => trace.counter("heap committed, bytes", *at, *committed as f64)?,
            Event::Collected(collection) => {
                let CollectionEvent { start, pause, work, .. } = collection;
                let end = *start + *pause;
                trace.slice("program", MUTATOR, last.0, *start, Value::Null)?;
                trace.collection(collection, &events.own_names)?;
                trace.counter("heap live, bytes", *start, collection.live_before as f64)?;
                trace.counter("heap live, bytes", end, collection.live_after as f64)?;
                trace.counter("heap committed, bytes", *start, collection.committed_before as f64)?;
                trace.counter("heap committed, bytes", end, collection.committed_after as f64)?;
                let seconds = start.saturating_duration_since(last.0).as_secs_f64();
                if seconds > 0.0 {
                    // The rate since the last collection: it holds from there on.
                    let rate = collection.allocated.saturating_sub(last.1) as f64 / seconds / (1 << 20) as f64;
                    trace.counter("allocation rate, MiB/s", last.0, rate)?;
                }
                traced += work.objects_traced;
                copied += work.bytes_copied;
                trace.counter("objects traced", end, traced as f64)?;
                trace.counter("bytes copied", end, copied as f64)?;
                for ((name, sum), count) in events.own_names.iter().zip(&mut sums).zip(&work.own) {
                    *sum += count;
                    trace.counter(&name.replace('_', " "), end, *sum as f64)?;
                }
                last = (end, collection.allocated);
            }
        }
    }
    trace.slice("program", MUTATOR, last.0, run.end, Value::Null)?;
    let about = json!({
        "program": run.program, "collector": run.gc, "collections forgotten": events.dropped, "version": env!("CARGO_PKG_VERSION"),
    });
    writeln!(trace.to, "],\"otherData\":{about}}}")
}

struct Trace<'a, W: Write> {
    to: &'a mut W,
    begin: Instant,
    first: bool,
}

impl<W: Write> Trace<'_, W> {
    fn event(&mut self, event: &Value) -> io::Result<()> {
        let comma = if std::mem::take(&mut self.first) { "" } else { "," };
        write!(self.to, "{comma}\n{event}")
    }

    /// Microseconds, with three digits behind the point: the format's unit.
    fn micros(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.begin).as_nanos() as f64 / 1e3
    }

    fn name(&mut self, what: &str, thread: u32, name: &str) -> io::Result<()> {
        self.event(&json!({"ph": "M", "pid": PROCESS, "tid": thread, "name": what, "args": {"name": name}}))
    }

    fn counter(&mut self, name: &str, at: Instant, value: f64) -> io::Result<()> {
        let ts = self.micros(at);
        self.event(&json!({"ph": "C", "pid": PROCESS, "name": name, "ts": ts, "args": {"value": value}}))
    }

    fn slice(&mut self, name: &str, thread: u32, start: Instant, end: Instant, args: Value) -> io::Result<()> {
        let ts = self.micros(start);
        let dur = end.saturating_duration_since(start).as_nanos() as f64 / 1e3;
        let mut event = json!({"ph": "X", "pid": PROCESS, "tid": thread, "name": name, "ts": ts, "dur": dur});
        if !args.is_null() {
            event["args"] = args;
        }
        self.event(&event)
    }

    /// A pause, with its phases in it. Each phase has the work that is its own.
    fn collection(&mut self, collection: &CollectionEvent, own_names: &[&str]) -> io::Result<()> {
        let CollectionEvent { sequence, request, outcome, start, pause, work, .. } = collection;
        let name = format!("{} collection", request.kind.name());
        let mut own: serde_json::Map<String, Value> =
            own_names.iter().zip(&work.own).map(|(name, count)| (name.to_string(), json!(count))).collect();
        for (key, value) in [
            ("number", json!(sequence)),
            ("cause", json!(request.reason.name())),
            ("outcome", json!(format!("{outcome:?}").to_lowercase())),
            ("live bytes before", json!(collection.live_before)),
            ("live bytes after", json!(collection.live_after)),
            ("bytes freed", json!(work.bytes_freed)),
        ] {
            own.insert(key.into(), value);
        }
        self.slice(&name, COLLECTOR, *start, *start + *pause, Value::Object(own))?;
        for (phase, from, to) in collection.phases.iter(*pause).filter(|(_, from, to)| to > from) {
            let args = match phase.name() {
                "roots" => {
                    RootKind::ALL.iter().zip(work.roots).map(|(kind, roots)| (kind.name(), json!(roots))).collect()
                }
                "trace" => json!({"objects traced": work.objects_traced, "bytes copied": work.bytes_copied}),
                "reclaim" => json!({"objects freed": work.objects_freed, "bytes freed": work.bytes_freed}),
                _ => Value::Null,
            };
            self.slice(phase.name(), COLLECTOR, *start + from, *start + to, args)?;
        }
        Ok(())
    }
}
