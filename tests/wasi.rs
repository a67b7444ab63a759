//! Programs that compilers of C and OCaml made for WASI (`benches/wasi`, `benches/ocaml`), run by the command line under every collector; and what the
//! options for their surroundings answer to mistakes.

mod common {
    pub mod process;
    pub mod runs;
}

use common::process::{Ended, collectors, gleaner_with_input};
use common::runs;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What succeeds without a word on standard error.
trait Silent {
    /// Asserts success in silence, and gives standard output.
    fn silent(self) -> String;
}

impl Silent for Ended {
    #[track_caller]
    fn silent(self) -> String {
        assert_eq!(self.stderr, "", "{self:?}");
        self.ok()
    }
}

/// The program of this name.
fn program(name: &str) -> String {
    format!("benches/wasi/wasm/{name}.wasm")
}

/// Runs a program under a collector with these options and arguments.
fn run(gc: &str, options: &[&str], name: &str, args: &[&str], input: &[u8]) -> Ended {
    gleaner_with_input(&[&["run", "--gc", gc], options, &[&program(name)], args].concat(), input)
}

/// A folder with files, links and an empty folder, and what `copy` says of them as `/in`.
fn folder() -> (TempDir, String) {
    let root = tempfile::tempdir().unwrap();
    let tree = root.path().join("tree");
    fs::create_dir_all(tree.join("deep/deeper")).unwrap();
    fs::create_dir(tree.join("empty")).unwrap();
    fs::write(tree.join("one.txt"), "one line\n").unwrap();
    fs::write(tree.join("deep/two.txt"), "two\nlines of text\n").unwrap();
    fs::write(tree.join("deep/deeper/large.bin"), [0x20, 0x61, 0x0A].repeat(100_000)).unwrap();
    fs::write(tree.join("deep/nothing"), "").unwrap();
    symlink("deep/two.txt", tree.join("link")).unwrap();
    let modified = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::options().append(true).open(tree.join("one.txt")).unwrap().set_modified(modified).unwrap();
    let expected = [
        " 100000  100000  300000 /in/tree/deep/deeper/large.bin",
        "      0       0       0 /in/tree/deep/nothing",
        "      2       4      18 /in/tree/deep/two.txt",
        "/in/tree/link -> deep/two.txt",
        "      1       2       9 /in/tree/one.txt",
        " 100003  100006  300027 total\n",
    ];
    (root, expected.join("\n"))
}

/// Paths below `root`, with what each is.
fn tree(root: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut left = vec![root.to_path_buf()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let what = if metadata.is_dir() {
                left.push(path.clone());
                "folder".to_string()
            } else if metadata.is_symlink() {
                format!("link to {}", fs::read_link(&path).unwrap().display())
            } else {
                format!("{:?} {:?}", metadata.modified().unwrap(), fs::read(&path).unwrap())
            };
            found.push((path.strip_prefix(root).unwrap().to_path_buf(), what));
        }
    }
    found.sort();
    found
}

#[test]
fn a_tree_is_copied_and_counted() {
    for gc in collectors() {
        let (root, expected) = folder();
        let given = format!("{}::/in", root.path().display());
        let out = tempfile::tempdir().unwrap();
        let to = format!("{}::out", out.path().display());
        let printed = run(&gc, &["--dir", &given, "--dir", &to], "copy", &["/in/tree", "out/tree"], b"").silent();
        assert_eq!(printed, expected, "{gc}");
        assert_eq!(tree(&root.path().join("tree")), tree(&out.path().join("tree")), "{gc}");
    }
}

#[test]
fn nothing_outside_the_given_directories_is_seen() {
    let (root, _) = folder();
    let tree = root.path().join("tree");
    fs::write(root.path().join("secret"), "secret").unwrap();
    symlink("../secret", tree.join("up")).unwrap();
    symlink("/etc", tree.join("absolute")).unwrap();
    let given = format!("{}::/in", tree.display());
    for path in ["/in/../secret", "/in/up", "/in/absolute/passwd"] {
        run("null", &["--dir", &given], "sha256", &[path], b"").fails(1, &[path, "Operation not permitted"]);
    }
    // A path that no directory was given for does not reach the host at all.
    for path in ["/etc/passwd", "secret"] {
        run("null", &["--dir", &given], "sha256", &[path], b"").fails(1, &[path]);
    }
    run("null", &[], "sha256", &["/in/one.txt"], b"").fails(1, &["/in/one.txt"]);
}

#[test]
fn surroundings_are_what_was_given() {
    for gc in collectors() {
        let ended = run(
            &gc,
            &["--env", "KEY=a value", "--env", "EMPTY="],
            "surroundings",
            &["-x", "two words", "42"],
            b"line 1\nline 2",
        );
        let expected = "\
argument 1: -x
argument 2: two words
argument 3: 42
environment: KEY=a value
environment: EMPTY=
resolution is at most a second: 1
the year is at least 2024: 1
slept for 20 ms: 1
there is randomness: 1
input is ready: 1
input: line 1
input: line 2end of input: 1
a terminal: 0
a file: not to be had
";
        assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(42), expected, "done\n"), "{gc}");
    }
}

#[test]
fn exit_codes_are_the_processs() {
    for (argument, code) in [("0", 0), ("1", 1), ("255", 255), ("256", 0), ("-1", 255)] {
        assert_eq!(run("null", &[], "surroundings", &[argument], b"").code, Some(code), "{argument}");
    }
}

#[test]
fn kernels_compute_what_is_expected() {
    let (root, _) = folder();
    let given = format!("{}::.", root.path().join("tree").display());
    for gc in collectors() {
        let hashes =
            run(&gc, &["--dir", &given], "sha256", &["one.txt", "deep/deeper/large.bin", "link"], b"").silent();
        let expected = "\
3887c2cd3bec16420dc71507a74cf7f0a5effdd361f6d9cbe27b77831de8f65f  one.txt
71939aabae1d0b8b4aee8a344f8b642cd1f5f85b5ba84532a0bf3fb9d52daedb  deep/deeper/large.bin
d2ba547e48ccd747c37fe2d630deedbfbc54f492f01ba2d4d9713ddd74fe4b8c  link
";
        assert_eq!(hashes, expected, "{gc}");
        // The example of FIPS 180-4.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  -\n";
        assert_eq!(run(&gc, &[], "sha256", &[], b"abc").silent(), abc, "{gc}");
        assert_eq!(run(&gc, &[], "nbody", &["20000"], b"").silent(), "-0.169373546\n-0.169373085\n", "{gc}");
        let primes = run(&gc, &["--dir", "benches/wasi::/"], "lisp", &["/primes.lisp"], b"").silent();
        assert_eq!(primes, "303\n(1999 1997 1993 1987 1979)\n2584\n42\n(a b . 3)\n", "{gc}");
        let closures = b"(define (twice f) (lambda (x) (f (f x)))) ((twice (twice (lambda (x) (+ x 10)))) 2) (car 1)";
        let ended = run(&gc, &[], "lisp", &[], closures);
        let expected = (Some(1), "42\n", "lisp: not a pair\n");
        assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), expected, "{gc}");
    }
}

#[test]
fn ocaml_programs_print_what_ocaml_prints() {
    for gc in collectors() {
        for run in runs::ocaml() {
            assert_eq!(run.with(&["--gc", &gc]).silent(), run.expected, "{run:?} under {gc}");
        }
    }
}

#[test]
fn failures_are_noted_on_request() {
    let (root, _) = folder();
    let given = format!("{}::/in", root.path().display());
    let noted = "wasi: path_open answers EPERM\n";
    let ended = run("null", &["--dir", &given, "--wasi-verbose"], "sha256", &["/in/..", "/in/../x"], b"");
    assert_eq!(ended.stderr.matches(noted).count(), 1, "{ended:?}");
    let raise = root.path().join("raise.wat");
    fs::write(
        &raise,
        r#"(module (import "wasi_snapshot_preview1" "proc_raise" (func $raise (param i32) (result i32)))
            (func (export "_start") (loop (if (i32.ne (call $raise (i32.const 6)) (i32.const 52)) (then unreachable)))))"#,
    )
    .unwrap();
    let raise = raise.to_str().unwrap();
    assert_eq!(gleaner_with_input(&["run", raise], b"").silent(), "");
    let ended = gleaner_with_input(&["run", "--wasi-verbose", raise], b"");
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), "wasi: proc_raise answers ENOSYS, which Gleaner does not have\n")
    );
}

#[test]
fn mistakes_are_named() {
    let (root, _) = folder();
    let file = root.path().join("tree/one.txt");
    let hello = "examples/hello.wat";
    // Also for a program that asks for no files.
    for program in [hello, &program("copy")] {
        gleaner_with_input(&["run", "--dir", "no/such", program], b"")
            .fails(1, &["--dir no/such", "No such file or directory"]);
        gleaner_with_input(&["run", "--dir", file.to_str().unwrap(), program], b"")
            .fails(1, &["one.txt", "Not a directory"]);
    }
    for malformed in ["", "::", "::/guest", "host::"] {
        gleaner_with_input(&["run", "--dir", malformed, hello], b"").fails(2, &["--dir", "HOST[::GUEST]"]);
    }
    for malformed in ["NAME", "=value", ""] {
        gleaner_with_input(&["run", "--env", malformed, hello], b"").fails(2, &["--env", "NAME=VALUE"]);
    }
    gleaner_with_input(&["run", root.path().to_str().unwrap()], b"").fails(1, &["Is a directory"]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    // The superuser may read everything.
    if fs::File::open(&file).is_err() {
        let given = format!("{}::/in", root.path().join("tree").display());
        run("null", &["--dir", &given], "sha256", &["/in/one.txt"], b"").fails(1, &["one.txt", "Permission denied"]);
        gleaner_with_input(&["run", file.to_str().unwrap()], b"").fails(1, &["one.txt", "Permission denied"]);
        fs::set_permissions(root.path().join("tree"), fs::Permissions::from_mode(0o300)).unwrap();
        gleaner_with_input(&["run", "--dir", &given, hello], b"").fails(1, &["tree", "Permission denied"]);
        fs::set_permissions(root.path().join("tree"), fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn programs_whose_memory_is_unfit_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let add = |name: &str, text: String| {
        let file = root.path().join(name);
        fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_string()
    };
    let import = r#"(import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))"#;
    let main = r#"(module (import "lib" "f" (func $f)) (func (export "_start") (call $f)))"#;
    let main = add("main.wat", main.into());
    for (memory, wrong) in [("i64 1", "32-bit pointers"), ("1 1 shared", "shared memories")] {
        let memory = format!(r#"(memory (export "memory") {memory})"#);
        let file = add("unfit.wat", format!(r#"(module {import} {memory} (func (export "_start")))"#));
        gleaner_with_input(&["run", &file], b"").fails(1, &["unfit.wat", wrong, "compile it"]);
        // One that comes in by the back door cannot make a call.
        let body = r#"(func (export "f") (drop (call $yield)))"#;
        let library = add("library.wat", format!("(module {import} {memory} {body})"));
        gleaner_with_input(&["run", "--preload", &format!("lib={library}"), &main], b"").fails(1, &[wrong]);
        // One that asks for nothing may have any memory.
        let file = add("fit.wat", format!(r#"(module {memory} (func (export "_start")))"#));
        assert_eq!(gleaner_with_input(&["run", &file], b"").silent(), "");
    }
}

/// What hangs is found out after this long, and nothing else depends on the time.
const HANG: Duration = Duration::from_secs(60);

#[test]
fn a_timeout_ends_programs_that_wait_as_it_ends_those_that_run() {
    let root = tempfile::tempdir().unwrap();
    let poll = |clock: &str, tag: u32| {
        format!(
            r#"(module
              (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
              (memory (export "memory") 1)
              (func (export "_start")
                (i32.store8 (i32.const 8) (i32.const {tag}))
                {clock}
                (drop (call $poll (i32.const 0) (i32.const 512) (i32.const 1) (i32.const 1020)))))"#
        )
    };
    // A thousand years by the monotonic clock.
    let clock = "(i32.store (i32.const 16) (i32.const 1)) (i64.store (i32.const 24) (i64.const 0x7000000000000000))";
    let read = r#"(module
        (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start")
          (i32.store (i32.const 4) (i32.const 8))
          (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 64)))))"#;
    let wait = r#"(module (memory 1 1 shared)
        (func (export "_start") (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1)))))"#;
    let programs = [
        ("busy", r#"(module (func (export "_start") (loop (br 0))))"#.to_string()),
        ("sleeps", poll(clock, 0)),
        ("polls its input", poll("", 1)),
        ("reads its input", read.to_string()),
        ("waits for a thread", wait.to_string()),
    ];
    for (name, text) in programs {
        let file = root.path().join(format!("{name}.wat"));
        fs::write(&file, text).unwrap();
        // The input stays open, and nothing is written to it.
        let mut child = Command::new(env!("CARGO_BIN_EXE_gleaner"))
            .args(["run", "--timeout", "100ms"])
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let start = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if start.elapsed() > HANG {
                child.kill().unwrap();
                panic!("`{name}` does not end");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let input = child.stdin.take();
        let output = child.wait_with_output().unwrap();
        drop(input);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(134), "{name}: {message}");
        assert!(message.contains("interrupt"), "{name}: {message}");
    }
}

#[test]
fn a_poll_under_a_timeout_ends_as_without() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("naps.wat");
    // Thirty milliseconds from now, which is longer than a program goes without a look at its deadline.
    let text = r#"(module
        (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "nap") (result i32 i32 i64)
          (i64.store (i32.const 0) (i64.const 77))
          (i32.store (i32.const 16) (i32.const 1))
          (i64.store (i32.const 24) (i64.const 30000000))
          (call $poll (i32.const 0) (i32.const 512) (i32.const 1) (i32.const 1020))
          (i32.load (i32.const 1020))
          (i64.load (i32.const 512))))"#;
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    for options in [&[][..], &["--timeout", "60s"]] {
        let ended = gleaner_with_input(&[&["run"], options, &["--invoke", "nap", file]].concat(), b"");
        assert_eq!(ended.silent(), "0\n1\n77\n");
    }
}

#[test]
fn a_shared_memory_is_refused_by_name_wherever_it_is_from() {
    let root = tempfile::tempdir().unwrap();
    let add = |name: &str, text: &str| {
        let file = root.path().join(name);
        fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_string()
    };
    let library = add("library.wat", r#"(module (memory (export "pages") 1 1 shared))"#);
    let import = r#"(import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))"#;
    let start = r#"(func (export "_start") (drop (call $yield)))"#;
    for (memory, which) in [
        (r#"(memory (export "memory") 1 1 shared)"#, "its export `memory`"),
        (r#"(import "env" "pages" (memory $m 1 1 shared)) (export "memory" (memory $m))"#, "its export `memory`"),
        (r#"(import "env" "pages" (memory 1 1 shared))"#, "its import `env` `pages`"),
    ] {
        let file = add("program.wat", &format!("(module {import} {memory} {start})"));
        let preload = format!("env={library}");
        let ended = gleaner_with_input(&["run", "--preload", &preload, &file], b"");
        ended.fails(1, &[&file, which, "do not work on shared memories"]);
    }
}
