//! `gleaner invoke`: the process of one invocation. It reads a [`Job`] on standard input and says on standard output what came of it.

use super::Gc;
use super::program::{Program, Ready};
use crate::collectors::inject;
use crate::output::Output;
use crate::values;
use crate::wasi::Exit;
use anyhow::Context;
use clap::Args;
use engine::{Engine, Error, ErrorKind, Event, Events, Store, Trap, Val};
use gc_api::{Counters, HeapPolicy, RootKind};
use lab::analysis::{Requests, histogram};
use lab::launch::{Answer, digest};
use lab::plan::Job;
use lab::programs::Expected;
use lab::record::{Build, Code, Collections, ExactColumns, Iteration, Latency, Outcome, Warmup};
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Run one job of an experiment, given on standard input: what `gleaner bench` starts
#[derive(Args)]
pub struct Invoke {}

/// Collections that are remembered: more make a record of many megabytes.
const COLLECTIONS: usize = 1 << 17;
/// Iterations that warm up at the most, by [`Warmup::Auto`].
const MOST_WARMUPS: usize = 5;
/// How much an iteration may differ from the one before when the program is warm.
const WARM: f64 = 0.02;

/// This build; its hash is whoever's who can see the file.
pub fn build() -> Build {
    Build {
        version: env!("CARGO_PKG_VERSION").into(),
        commit: env!("GLEANER_COMMIT").into(),
        profile: if cfg!(debug_assertions) { "debug" } else { "release" }.into(),
        target: env!("GLEANER_TARGET").into(),
        sha256: String::new(),
    }
}

impl Invoke {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        let job: Job = serde_json::from_reader(std::io::stdin().lock()).context("standard input holds no job")?;
        let answered = Arc::new(Mutex::new(()));
        let result = on_stack(|| run(&job, &answered))?;
        let answer = match result {
            Ok((iterations, code)) => Answer { iterations, code: Some(code), ..answer(Outcome::Ok, None) },
            Err(error) => answer(outcome(&error), Some(format!("{error:#}"))),
        };
        let _only = answered.lock().unwrap_or_else(PoisonError::into_inner);
        say(&answer)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn answer(outcome: Outcome, error: Option<String>) -> Answer {
    Answer { build: build(), outcome, error, iterations: Vec::new(), code: None, max_rss_bytes: max_rss() }
}

fn say(answer: &Answer) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, answer)?;
    out.flush()?;
    Ok(())
}

/// Runs `f` on a thread with the stack that programs have unless told otherwise.
fn on_stack<R: Send>(f: impl FnOnce() -> R + Send) -> anyhow::Result<R> {
    super::Limits::default().on_stack(f)
}

/// The program gave something else than it must.
#[derive(Debug, thiserror::Error)]
#[error("it gives {given} and not {expected}")]
struct WrongResult {
    given: String,
    expected: String,
}

/// What an error says about the invocation.
fn outcome(error: &anyhow::Error) -> Outcome {
    if error.downcast_ref::<WrongResult>().is_some() {
        return Outcome::Checkfail;
    }
    match error.downcast_ref::<Error>().map(Error::kind) {
        Some(ErrorKind::Trap(Trap::HeapExhausted { .. } | Trap::HeapLimited { .. })) => Outcome::Oom,
        Some(ErrorKind::Trap(_) | ErrorKind::Exception(_)) => Outcome::Trap,
        _ => Outcome::Error,
    }
}

/// The iterations of a job.
fn run(job: &Job, answered: &Arc<Mutex<()>>) -> anyhow::Result<(Vec<Iteration>, Code)> {
    let engine = engine(job)?;
    let program = Program::of(job.program.file.display().to_string(), &job.program.function, job.program.args.clone());
    let start = Instant::now();
    let modules = program.modules(&engine)?;
    let code = Code { bytes: modules.module.code_bytes() as u64, compile_ns: nanos(start.elapsed()) };
    watch(Duration::from_millis(job.options.timeout_ms), answered.clone());

    let mut iterations: Vec<Iteration> = Vec::new();
    let mut once = |warmup: bool| -> anyhow::Result<()> {
        let mut store = Store::new(&engine, ())?;
        store.record_events(COLLECTIONS);
        let output = Printed::default();
        let ready = program.instantiate(&modules, &mut store, &output.writer())?;
        let mut iteration = measure(job, &mut store, ready, &output)?;
        iteration.warmup = warmup;
        if warmup || job.invocation > 0 {
            iteration.collections.exact = None;
        }
        iterations.push(iteration);
        Ok(())
    };
    match job.options.warmup {
        Warmup::First(n) => (0..n).try_for_each(|_| once(true))?,
        Warmup::Auto => {
            let mut last = None;
            for _ in 0..MOST_WARMUPS {
                let start = Instant::now();
                once(true)?;
                let time = start.elapsed().as_secs_f64();
                if last.replace(time).is_some_and(|last: f64| (time / last - 1.0).abs() <= WARM) {
                    break;
                }
            }
        }
    }
    (0..job.options.iterations).try_for_each(|_| once(false))?;
    Ok((iterations, code))
}

/// The engine that a job wants.
fn engine(job: &Job) -> anyhow::Result<Engine> {
    let mut gc = Gc::parse(&job.gc).map_err(anyhow::Error::msg)?;
    if let Some(costs) = &job.options.inject {
        gc.runtime = inject::inject(gc.runtime, costs.parse()?);
    }
    let policy: HeapPolicy = job.policy.parse().map_err(anyhow::Error::msg)?;
    let config = super::Limits::default().config(&gc).heap_limit(job.cell.heap_bytes).heap_policy(policy);
    Ok(Engine::with_config(config.count_objects(job.options.count_objects))?)
}

/// Ends the process when the program runs too long: a thread that sleeps, so that the program needs no checks in its loops.
fn watch(limit: Duration, answered: Arc<Mutex<()>>) {
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        let _only = answered.lock().unwrap_or_else(PoisonError::into_inner);
        let late = format!("it did not end within {} s", limit.as_secs_f64());
        let said = say(&answer(Outcome::Timeout, Some(late)));
        std::process::exit(i32::from(said.is_err()));
    });
}

/// What a program prints.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Printed {
    fn writer(&self) -> Output {
        Output::new(self.clone())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Readings of the clocks.
struct Clocks {
    wall: Instant,
    /// The process's processor time.
    task: Duration,
    /// This thread's.
    thread: Duration,
}

impl Clocks {
    fn read() -> Clocks {
        let time = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
        let [task, thread] = [ClockId::ProcessCPUTime, ClockId::ThreadCPUTime].map(time);
        Clocks { wall: Instant::now(), task, thread }
    }
}

/// Runs the program once.
fn measure(job: &Job, store: &mut Store<()>, ready: Ready, output: &Printed) -> anyhow::Result<Iteration> {
    let serve = job.options.rate;
    let server = serve.map(|rate| Server::new(store, &ready, rate)).transpose()?;
    let pauses = store.stats().pauses;
    store.take_events();
    let before = Clocks::read();
    let (result, latency) = match server {
        Some(server) => server.serve(store)?,
        None => (call(store, &ready)?, None),
    };
    let after = Clocks::read();
    let stats = store.stats();
    let events = store.take_events();
    check(job, store, &result, output)?;

    let (wall, task, thread) = (after.wall - before.wall, after.task - before.task, after.thread - before.thread);
    let paused = stats.pauses.total() - pauses.total();
    let share = paused.as_secs_f64() / wall.as_secs_f64().max(1e-9);
    // Of this thread's time pauses have their share; what others did was collecting, if anything was collected.
    let others = if paused.is_zero() { Duration::ZERO } else { task.saturating_sub(thread) };
    let gc_task = thread.mul_f64(share.min(1.0)) + others;
    let peak = events.events.iter().map(committed).max().unwrap_or(0).max(stats.usage.committed);
    let phases = stats.pauses.phases().zip(pauses.phases());
    let phases_ns = phases.map(|((phase, after), (_, before))| (phase.name().to_string(), nanos(after - before)));
    Ok(Iteration {
        warmup: false,
        wall_ns: nanos(wall),
        task_ns: nanos(task),
        gc_ns: nanos(paused),
        gc_task_ns: nanos(gc_task),
        phases_ns: phases_ns.filter(|(_, time)| *time > 0).collect(),
        counters: counters(&stats.counters),
        peak_committed_bytes: peak,
        metadata_bytes: stats.usage.metadata,
        collections: collections(&events, before.wall),
        latency,
    })
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Calls the program. That it ended by WASI's `proc_exit(0)` is as good as an end.
fn call(store: &mut Store<()>, ready: &Ready) -> anyhow::Result<Vec<Val>> {
    match ready.function.call(&mut *store, &ready.args) {
        Ok(values) => Ok(values),
        Err(error) => match error.host_error::<Exit>() {
            Some(Exit(0)) => Ok(Vec::new()),
            _ => Err(error.into()),
        },
    }
}

/// Whether the program gave what it must.
fn check(job: &Job, store: &Store<()>, result: &[Val], output: &Printed) -> anyhow::Result<()> {
    let (given, expected) = match &job.program.expected {
        Expected::Unknown => return Ok(()),
        Expected::Result(expected) => (values::show_all(result, store), expected.to_string()),
        Expected::Output(expected) => (output.text(), expected.clone()),
    };
    if given == expected { Ok(()) } else { Err(WrongResult { given, expected }.into()) }
}

/// A program that serves requests.
struct Server {
    request: engine::TypedFunc<i32, i32>,
    requests: i32,
    rate: u64,
}

impl Server {
    /// Sets the program up: its only argument is the number of requests.
    fn new(store: &mut Store<()>, ready: &Ready, rate: u64) -> anyhow::Result<Server> {
        let requests =
            ready.args.first().and_then(Val::i32).context("a program that serves has a number of requests")?;
        let setup = ready.instance.get_typed_func::<i32, ()>(&mut *store, "setup")?;
        setup.call(&mut *store, requests)?;
        let request = ready.instance.get_typed_func::<i32, i32>(&mut *store, "request")?;
        Ok(Server { request, requests, rate })
    }

    /// Serves requests as they arrive, one every `1/rate` seconds whether or not the one before is done: an open loop. The result is the
    /// sum of the answers, as that of the program's own loop.
    fn serve(self, store: &mut Store<()>) -> anyhow::Result<(Vec<Val>, Option<Latency>)> {
        let interval = 1e9 / self.rate as f64;
        let mut served = Vec::with_capacity(self.requests.max(0) as usize);
        let begin = Instant::now();
        let now = || nanos(begin.elapsed());
        let mut sum = 0i32;
        for i in 0..self.requests {
            let arrival = (f64::from(i) * interval) as u64;
            let mut start = now();
            while start < arrival {
                std::hint::spin_loop();
                start = now();
            }
            sum = sum.wrapping_add(self.request.call(&mut *store, i)?);
            served.push((start, now()));
        }
        let requests = Requests { served };
        let latency = Latency {
            rate: self.rate,
            simple_ns: histogram(&requests.simple()),
            metered_ns: histogram(&requests.metered(interval)),
        };
        Ok((vec![Val::I32(sum)], Some(latency)))
    }
}

/// Bytes that were committed at an event, at the most.
fn committed(event: &Event) -> u64 {
    match event {
        Event::Grown { committed, .. } => *committed,
        Event::Collected(collection) => collection.committed_before.max(collection.committed_after),
    }
}

/// The collections of a run that began at `begin`, by columns.
fn collections(events: &Events, begin: Instant) -> Collections {
    let mut columns = Collections { dropped: events.dropped, ..Collections::default() };
    let mut exact = ExactColumns::default();
    for event in &events.events {
        let Event::Collected(collection) = event else { continue };
        columns.start_ns.push(nanos(collection.start.saturating_duration_since(begin)));
        columns.pause_ns.push(nanos(collection.pause));
        exact.kind.push(collection.request.kind.name().into());
        exact.cause.push(collection.request.reason.name().into());
        exact.roots.push(collection.work.all_roots());
        exact.objects_traced.push(collection.work.objects_traced);
        exact.bytes_copied.push(collection.work.bytes_copied);
        exact.bytes_freed.push(collection.work.bytes_freed);
        exact.live_bytes.push(collection.live_after);
        exact.allocated_bytes.push(collection.allocated);
        exact.committed_bytes.push(collection.committed_before);
    }
    columns.digest = digest(&exact);
    columns.exact = Some(exact);
    columns
}

/// Everything that is counted, by name.
pub fn counters(counters: &Counters) -> BTreeMap<String, u64> {
    let mut all: BTreeMap<String, u64> = BTreeMap::new();
    let mut add = |name: &str, value: u64| all.insert(name.into(), value);
    add("collections", counters.collections);
    add("bytes_allocated", counters.bytes_allocated);
    add("bytes_freed", counters.bytes_freed);
    add("bytes_copied", counters.bytes_copied);
    add("objects_traced", counters.objects_traced);
    for (name, value) in [("objects_allocated", counters.objects_allocated), ("objects_freed", counters.objects_freed)]
    {
        if let Some(value) = value {
            add(name, value);
        }
    }
    for (kind, roots) in RootKind::ALL.iter().zip(counters.roots) {
        add(&format!("roots_{}", kind.name()), roots);
    }
    for (name, value) in &counters.own {
        add(&format!("own_{name}"), *value);
    }
    all
}

/// The most memory of this process that was resident, where the system says.
fn max_rss() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
