//! Engines with a collector, and the processes in which they run programs.
//!
//! A process is told on its standard input, a line of JSON at a time, which module to make ready and then to run it once, and
//! answers each with a line; `worker.rs` and `v8.mjs` are the two programs that do so.

use crate::EngineName;
use crate::listed::{Program, Whole};
use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// An engine with a collector.
pub struct Peer {
    pub engine: EngineName,
    /// The collector, or the flags that choose it.
    pub collector: String,
    /// As a column's head.
    pub label: String,
    /// Whether it ever frees memory: the best collector of an engine is one that does.
    pub frees: bool,
    /// Whether it can run programs that import WASI.
    pub wasi: bool,
    /// Whether it compiles while programs run, and has to be warmed up.
    warms_up: bool,
    /// What starts it.
    command: Vec<String>,
}

/// Gleaner's collectors of these specifications, or all.
pub fn gleaner(specs: &[String]) -> Result<Vec<Peer>> {
    let specs = match specs.is_empty() {
        true => gleaner::collectors::names().map(str::to_string).collect(),
        false => specs.to_vec(),
    };
    let peer = |spec: String| {
        let gc = gleaner::collectors::by_spec(&spec).map_err(|error| anyhow!("{error}"))?;
        let frees = gc.info().reclaims != gc_api::Reclaims::Nothing;
        this_program(EngineName::Gleaner, spec, frees, true)
    };
    specs.into_iter().map(peer).collect()
}

/// Wasmtime's collectors.
pub fn wasmtime() -> Vec<Peer> {
    ["null", "drc", "copying"].into_iter().map(of_wasmtime).collect()
}

/// One of them.
pub fn of_wasmtime(collector: &str) -> Peer {
    let frees = collector != "null";
    this_program(EngineName::Wasmtime, collector.to_string(), frees, false).expect("this program is there")
}

fn this_program(engine: EngineName, collector: String, frees: bool, wasi: bool) -> Result<Peer> {
    let this = std::env::current_exe().context("this program's own file")?.display().to_string();
    let command = vec![this, "worker".into(), engine.name().into(), collector.clone()];
    let label = collector.clone();
    Ok(Peer { engine, collector, label, frees, wasi, warms_up: false, command })
}

/// V8 with its default flags, and with all its work on one thread.
pub fn v8(node: &Node) -> Vec<Peer> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/v8.mjs");
    let peer = |collector: &str| {
        let flag = Some(collector).filter(|flag| flag.starts_with('-'));
        let command = [Some(node.path.as_str()), flag, Some("--expose-gc"), Some("--no-warnings"), Some(script)];
        Peer { command: command.into_iter().flatten().map(str::to_string).collect(), ..of_v8(collector) }
    };
    vec![peer("default"), peer("--single-threaded-gc")]
}

/// V8 with a flag or its `default` ones, not to be started.
pub fn of_v8(collector: &str) -> Peer {
    Peer {
        engine: EngineName::V8,
        collector: collector.to_string(),
        label: if collector == "default" { "default flags" } else { "single-threaded" }.to_string(),
        frees: true,
        wasi: true,
        warms_up: true,
        command: Vec::new(),
    }
}

/// An executable of Node.
pub struct Node {
    path: String,
    /// Node's version, and V8's.
    pub versions: String,
}

/// The first version whose V8 has WebAssembly GC as it was standardised.
const FIRST_NODE: u32 = 22;

impl Node {
    /// The one that is named, or that of the PATH; says so where that does not do.
    ///
    /// # Errors
    /// When one that is named does not do.
    pub fn find(named: Option<&Path>) -> Result<Option<Node>> {
        let path = named.unwrap_or(Path::new("node")).display().to_string();
        match (Node::at(&path), named) {
            (Ok(node), _) => Ok(Some(node)),
            (Err(error), Some(_)) => Err(error),
            (Err(error), None) => {
                eprintln!("V8 is left out: {error:#}; `--node PATH` names another");
                Ok(None)
            }
        }
    }

    fn at(path: &str) -> Result<Node> {
        let script = "console.log(`${process.versions.node} ${process.versions.v8}`)";
        let output = Command::new(path).args(["-e", script]).output();
        let output = output.with_context(|| format!("`{path}` cannot be run"))?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_string();
        let (node, v8) = text.split_once(' ').ok_or_else(|| anyhow!("`{path}` is no Node"))?;
        let major: u32 = node.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
        if major < FIRST_NODE {
            bail!("`{path}` is Node {node}, and WebAssembly GC needs {FIRST_NODE} or newer");
        }
        Ok(Node { path: path.to_string(), versions: format!("V8 {v8} (Node {node})") })
    }
}

/// A program to run.
pub struct Job<'p> {
    pub name: &'p str,
    source: &'p [u8],
    /// What `run` is called with; nothing for a program that is run as a whole.
    n: Option<i32>,
    /// What `run_with` gets besides.
    parameter: Option<i32>,
    /// The command line of a program that is run as a whole.
    pub wasi: Option<&'p [String]>,
    expected: Expected<'p>,
}

/// What a run has to come to.
enum Expected<'p> {
    Result(Option<i32>),
    Output(&'p str),
}

impl<'p> Job<'p> {
    /// A call of `run`, or of `run_with` when there is a parameter; what that gives is not known.
    pub fn call(program: &'p Program, parameter: Option<i32>) -> Job<'p> {
        let expected = Expected::Result(program.expected.filter(|_| parameter.is_none()));
        Job { name: &program.name, source: &program.source, n: Some(program.n), parameter, wasi: None, expected }
    }

    /// A whole program, from `_start` to its end.
    pub fn start(program: &'p Whole) -> Job<'p> {
        let expected = Expected::Output(&program.output);
        Job {
            name: &program.name,
            source: &program.source,
            n: None,
            parameter: None,
            wasi: Some(&program.args),
            expected,
        }
    }

    /// The size, for people.
    pub fn size(&self) -> String {
        match (self.n, self.parameter, self.wasi) {
            (Some(n), None, _) => n.to_string(),
            (Some(n), Some(parameter), _) => format!("{n}, {parameter}"),
            (None, _, args) => args.unwrap_or_default().join(" "),
        }
    }

    /// The module in the binary format, in a file that is gone when this is.
    pub fn compile(&self) -> Result<tempfile::NamedTempFile> {
        let mut file = tempfile::Builder::new().suffix(".wasm").tempfile()?;
        file.write_all(&wat::parse_bytes(self.source)?)?;
        Ok(file)
    }

    fn check(&self, ran: &Ran) -> Result<()> {
        match self.expected {
            Expected::Result(Some(expected)) if ran.result != Some(expected) => {
                bail!("gives {:?} instead of {expected}", ran.result)
            }
            Expected::Output(expected) if ran.output != expected => {
                bail!("prints {:?} instead of {expected:?}", ran.output)
            }
            _ => Ok(()),
        }
    }
}

/// The first request: what to make ready.
#[derive(Serialize, Deserialize)]
pub struct Ready {
    pub file: PathBuf,
    /// The command line of a program that imports WASI.
    pub wasi: Option<Vec<String>>,
}

/// Each other request: a run.
#[derive(Serialize, Deserialize)]
pub struct Run {
    /// What `run` is called with; nothing for a program that is run as a whole.
    pub n: Option<i32>,
    /// With it, `run_with` is called.
    pub parameter: Option<i32>,
}

/// The answer to each: what was done, or why not.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    Failed { error: String },
    Ran(Ran),
    Ready {},
}

/// A run.
#[derive(Serialize, Deserialize)]
pub struct Ran {
    /// How long the call took.
    pub ns: u64,
    /// What it gave.
    pub result: Option<i32>,
    /// What it printed.
    pub output: String,
    /// The peak of the process's resident memory since it was made ready, less what it had then, in bytes; where the system says.
    pub memory: Option<u64>,
}

/// A process that runs one program.
pub struct Worker {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    warms_up: bool,
}

impl Worker {
    /// Starts a peer with a program.
    ///
    /// # Errors
    /// When the program does not compile, or the process does not come up.
    pub fn start(peer: &Peer, file: &tempfile::NamedTempFile, job: &Job, heap: Option<u64>) -> Result<Worker> {
        let mut command = Command::new(&peer.command[0]);
        match (peer.engine, heap) {
            // An option of Node's stands before the script.
            (EngineName::V8, Some(mib)) => drop(command.arg(format!("--max-old-space-size={mib}"))),
            (_, Some(mib)) => drop(command.env(crate::worker::HEAP, mib.to_string())),
            (_, None) => {}
        }
        command.args(&peer.command[1..]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("`{}` cannot be started", peer.command[0]))?;
        let requests = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut worker = Worker { child, requests, answers, warms_up: peer.warms_up };
        let ready = Ready { file: file.path().to_path_buf(), wasi: job.wasi.map(<[String]>::to_vec) };
        worker.request(&ready)?;
        Ok(worker)
    }

    /// Runs the program for half a second and more, where code becomes better as it runs.
    ///
    /// # Errors
    /// See [`run`](Self::run).
    pub fn warm_up(&mut self, job: &Job) -> Result<()> {
        let start = Instant::now();
        while self.warms_up && start.elapsed() < Duration::from_millis(500) {
            self.run(job)?;
        }
        Ok(())
    }

    /// Runs the program once.
    ///
    /// # Errors
    /// When it fails, gives something else than expected, or takes the process with it.
    pub fn run(&mut self, job: &Job) -> Result<Ran> {
        match self.request(&Run { n: job.n, parameter: job.parameter })? {
            Answer::Ran(ran) => {
                job.check(&ran)?;
                Ok(ran)
            }
            _ => bail!("an answer to another question"),
        }
    }

    fn request(&mut self, request: &impl Serialize) -> Result<Answer> {
        let requests = self.requests.as_mut().expect("it is closed only at the end");
        let sent = writeln!(requests, "{}", serde_json::to_string(request)?).and_then(|()| requests.flush());
        let mut line = String::new();
        if sent.is_err() || self.answers.read_line(&mut line)? == 0 {
            bail!("{}", self.last_words());
        }
        match serde_json::from_str(&line).with_context(|| format!("no answer: {line}"))? {
            Answer::Failed { error } => bail!("{error}"),
            answer => Ok(answer),
        }
    }

    /// How a process ended that should not have.
    fn last_words(&mut self) -> String {
        self.requests = None;
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            // What cannot be read any more is no loss.
            let _ = stderr.read_to_string(&mut text);
        }
        let status = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        let line = text.lines().find(|line| line.contains("FATAL") || line.contains("panicked"));
        let line = line.or_else(|| text.lines().find(|line| !line.trim().is_empty()));
        format!("the process ended ({status}): {}", line.unwrap_or_default())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It ends when its input does; one that is still at work, or gone, is no matter.
        self.requests = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
