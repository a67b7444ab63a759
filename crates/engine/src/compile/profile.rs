//! Where the time of a compilation goes.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Where the time of one module's compilation went, from [`Module::profile`](crate::Module::profile).
///
/// The phases follow one another, and their times are wall-clock times. `translate` and `codegen` are parts of `functions`,
/// added up over all threads: with two threads they come to twice its time.
#[derive(Clone, Debug, Default)]
pub struct CompileProfile {
    /// Decoding and validating everything but the functions' bodies, and registering types.
    pub parse: Duration,
    /// Validating, translating and compiling all functions.
    pub functions: Duration,
    /// … of which: validation, and translation to Cranelift's intermediate form. Over all threads.
    pub translate: Duration,
    /// … of which: Cranelift's optimisation, register allocation and emission. Over all threads.
    pub codegen: Duration,
    /// Making the code executable, and the trampolines for functions that can escape.
    pub publish: Duration,
    /// Bytes of machine code.
    pub code_bytes: usize,
    /// The functions that took longest, longest first; [`CompileProfile::SLOWEST`] at most.
    pub slowest: Vec<SlowFunction>,
}

/// One function's share.
#[derive(Clone, Copy, Debug)]
pub struct SlowFunction {
    /// Its index in the module.
    pub index: u32,
    /// Bytes of its body.
    pub bytes: usize,
    /// What it took, on its thread.
    pub time: Duration,
}

impl CompileProfile {
    /// How many of the slowest functions are kept.
    pub const SLOWEST: usize = 10;

    /// All phases together.
    pub fn total(&self) -> Duration {
        self.parse + self.functions + self.publish
    }
}

/// Collects a profile on many threads.
#[derive(Default)]
pub(crate) struct Stopwatch {
    translate: AtomicU64,
    codegen: AtomicU64,
    slowest: Mutex<Vec<SlowFunction>>,
}

impl Stopwatch {
    /// Records a function that was translated between the first two instants, and compiled between the last two.
    pub fn function(&self, index: u32, bytes: usize, times: [Instant; 3]) {
        self.translate.fetch_add((times[1] - times[0]).as_nanos() as u64, Relaxed);
        self.codegen.fetch_add((times[2] - times[1]).as_nanos() as u64, Relaxed);
        // Nothing panics while it holds the lock.
        let mut slowest = self.slowest.lock().expect("not poisoned");
        let time = times[2] - times[0];
        let at = slowest.partition_point(|slow| slow.time >= time);
        if at < CompileProfile::SLOWEST {
            slowest.insert(at, SlowFunction { index, bytes, time });
            slowest.truncate(CompileProfile::SLOWEST);
        }
    }

    /// What has been recorded; the rest is for the caller to fill in.
    pub fn finish(self) -> CompileProfile {
        CompileProfile {
            translate: Duration::from_nanos(self.translate.into_inner()),
            codegen: Duration::from_nanos(self.codegen.into_inner()),
            slowest: self.slowest.into_inner().expect("not poisoned"),
            ..CompileProfile::default()
        }
    }
}
