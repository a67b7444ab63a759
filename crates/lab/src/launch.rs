//! Invocations: a process each, and a record of whatever becomes of it.

use crate::plan::Job;
use crate::programs::{hex, sha256};
use crate::record::{Build, Code, Heap, Host, Iteration, Outcome, ProgramFile, Record, SCHEMA};
use anyhow::Context;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, SystemTime};
use wait_timeout::ChildExt;

/// What the process of an invocation says, as one JSON object on standard output. It gets its [`Job`] on standard input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Which build it is; the hash of its file is not its business.
    pub build: Build,
    /// What came of the program.
    pub outcome: Outcome,
    /// Why, if not well.
    pub error: Option<String>,
    /// Its runs.
    pub iterations: Vec<Iteration>,
    /// Its machine code.
    pub code: Option<Code>,
    /// The most memory that was resident.
    pub max_rss_bytes: Option<u64>,
}

/// Time that a process gets beyond its job's: to start, to compile, to end.
const GRACE: Duration = Duration::from_secs(10);

/// Starts invocations.
#[derive(Debug)]
pub struct Launcher {
    /// The executable and what stands on its command line.
    exe: PathBuf,
    args: Vec<String>,
    /// What stands in records when a process did not say.
    build: Build,
    /// Hashes of files that have been read.
    hashes: HashMap<PathBuf, String>,
    host: Host,
}

impl Launcher {
    /// Starts `exe` with `args` for each invocation, which is the build that `build` describes but for its hash.
    ///
    /// # Errors
    /// An executable that cannot be read.
    pub fn new(exe: &Path, args: &[&str], build: Build) -> anyhow::Result<Launcher> {
        let args = args.iter().map(|arg| arg.to_string()).collect();
        let mut launcher = Launcher { exe: exe.into(), args, build, hashes: HashMap::new(), host: host() };
        launcher.build.sha256 = launcher.hash(exe)?;
        Ok(launcher)
    }

    /// SHA-256 of a file, read once.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn hash(&mut self, path: &Path) -> anyhow::Result<String> {
        if let Some(hash) = self.hashes.get(path) {
            return Ok(hash.clone());
        }
        let hash = sha256(path)?;
        self.hashes.insert(path.into(), hash.clone());
        Ok(hash)
    }

    /// The build that runs a job, by hash.
    ///
    /// # Errors
    /// An executable that cannot be read.
    pub fn exe_hash(&mut self, job: &Job) -> anyhow::Result<String> {
        let exe = job.exe.clone().unwrap_or_else(|| self.exe.clone());
        self.hash(&exe)
    }

    /// Runs a job. Whatever becomes of it is in the record: a program that is not there, a crash, a time-out.
    ///
    /// # Errors
    /// The system's: no process can be started, no temporary file made.
    pub fn run(&mut self, job: &Job) -> anyhow::Result<Record> {
        let started_unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let program = ProgramFile {
            file: job.program.file.display().to_string(),
            sha256: self.hash(&job.program.file).unwrap_or_default(),
            function: job.program.function.clone(),
            args: job.program.args.clone(),
            parameters: job.program.parameters.clone(),
        };
        let answer = self.answer(job)?;
        // An executable that is not there is told by the record's error.
        let sha256 = self.exe_hash(job).unwrap_or_default();
        self.host.load = load();
        Ok(Record {
            schema: SCHEMA.into(),
            purpose: job.purpose,
            cell: job.cell.clone(),
            invocation: job.invocation,
            seed: job.seed,
            started_unix,
            build: Build { sha256, ..answer.build },
            host: self.host.clone(),
            program,
            heap: Heap {
                gc: job.gc.clone(),
                policy: job.policy.clone(),
                multiple: job.multiple,
                minimum_bytes: job.minimum_bytes,
            },
            options: job.options.clone(),
            outcome: answer.outcome,
            error: answer.error,
            iterations: answer.iterations,
            code: answer.code,
            max_rss_bytes: answer.max_rss_bytes,
        })
    }

    /// What the process says, or what is to be said in its place.
    fn answer(&self, job: &Job) -> anyhow::Result<Answer> {
        let failed = |outcome, error: String| Answer {
            build: self.build.clone(),
            outcome,
            error: Some(error),
            iterations: Vec::new(),
            code: None,
            max_rss_bytes: None,
        };
        // Files and no pipes: nobody has to read while the process runs.
        let [mut stdin, mut stdout, mut stderr] = [temporary()?, temporary()?, temporary()?];
        stdin.write_all(&serde_json::to_vec(job)?)?;
        stdin.rewind()?;
        let exe = job.exe.as_ref().unwrap_or(&self.exe);
        let child = Command::new(exe)
            .args(&self.args)
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(stdout.try_clone()?))
            .stderr(Stdio::from(stderr.try_clone()?))
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) if job.exe.is_some() => {
                return Ok(failed(Outcome::Error, format!("{}: {error}", exe.display())));
            }
            Err(error) => return Err(error).with_context(|| format!("{}: no process can be started", exe.display())),
        };
        let limit = Duration::from_millis(job.options.timeout_ms);
        let Some(status) = child.wait_timeout(limit + GRACE)? else {
            child.kill()?;
            child.wait()?;
            return Ok(failed(Outcome::Timeout, format!("it did not end within {} s", limit.as_secs_f64())));
        };
        let (mut said, mut complained) = (Vec::new(), Vec::new());
        stdout.rewind()?;
        stdout.read_to_end(&mut said)?;
        stderr.rewind()?;
        stderr.read_to_end(&mut complained)?;
        Ok(match serde_json::from_slice(&said) {
            Ok(answer) if status.success() => answer,
            _ => failed(Outcome::Crash, format!("{}{}", ended(status), last_lines(&complained))),
        })
    }
}

/// A file that is gone when it is closed.
fn temporary() -> anyhow::Result<std::fs::File> {
    tempfile::tempfile().context("a temporary file cannot be made")
}

/// How a process ended.
fn ended(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("the process was ended by signal {signal}");
    }
    match status.code() {
        Some(code) => format!("the process ended with code {code} and no answer"),
        None => "the process ended without an answer".into(),
    }
}

/// The last lines that a process wrote.
fn last_lines(text: &[u8]) -> String {
    const LINES: usize = 6;
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let lines = &lines[lines.len().saturating_sub(LINES)..];
    if lines.is_empty() { String::new() } else { format!(": {}", lines.join(" | ")) }
}

/// This machine; what it does not tell is empty or zero.
pub fn host() -> Host {
    let system = sysinfo::System::new_with_specifics(
        sysinfo::RefreshKind::nothing()
            .with_cpu(sysinfo::CpuRefreshKind::nothing())
            .with_memory(sysinfo::MemoryRefreshKind::everything()),
    );
    let cpus = system.as_ref().map(sysinfo::System::cpus).unwrap_or_default();
    let cpu = cpus.first().map(|cpu| cpu.brand().trim().to_string());
    let governor = std::fs::read_to_string("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").ok();
    Host {
        cpu: cpu.filter(|cpu| !cpu.is_empty()).unwrap_or_else(|| std::env::consts::ARCH.into()),
        cores: std::thread::available_parallelism().map_or(cpus.len(), usize::from),
        kernel: sysinfo::System::kernel_long_version().unwrap_or_default(),
        governor: governor.map(|governor| governor.trim().to_string()),
        memory_bytes: system.as_ref().map(sysinfo::System::total_memory).unwrap_or_default(),
        load: load(),
    }
}

/// The mean number of runnable processes in the last minute.
fn load() -> f64 {
    sysinfo::System::load_average().map(|load| load.one).unwrap_or_default()
}

/// A hash of exact values, to compare instead of them: the first 16 hexadecimal digits of their SHA-256.
pub fn digest<T: Serialize>(values: &T) -> String {
    let bytes = serde_json::to_vec(values).unwrap_or_default();
    hex(&Sha256::digest(&bytes))[..16].to_string()
}
