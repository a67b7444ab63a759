//! The command line from end to end: the process, its output, its exit code.

mod common {
    pub mod process;
    pub mod runs;
}

use common::process::{Ended, collectors, gleaner_with_input};
use common::runs::{self, Run};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

fn gleaner(args: &[&str]) -> Ended {
    gleaner_with_input(args, b"")
}

/// Files that a test makes.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().unwrap())
    }

    fn add(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, contents).unwrap();
        path.to_str().unwrap().into()
    }
}

/// Runs the programs under every collector.
fn print_what_is_expected(runs: &[Run]) {
    for gc in collectors() {
        for run in runs {
            assert_eq!(run.with(&["--gc", &gc]).ok(), run.expected, "{run:?} under {gc}");
        }
    }
}

#[test]
fn examples_print_what_they_say_under_every_collector() {
    print_what_is_expected(&runs::examples());
}

#[test]
fn moonbit_programs_compute_what_is_expected_under_every_collector() {
    print_what_is_expected(&runs::moonbit());
}

#[test]
fn benchmark_programs_compute_what_is_expected_under_every_collector() {
    print_what_is_expected(&runs::benchmarks(false));
}

#[test]
fn results_are_printed_one_a_line_and_nothing_else() {
    let files = Files::new();
    let file = files.add(
        "results.wat",
        r#"(module
            (type $s (struct)) (type $a (array i8))
            (func (export "numbers") (param i32 i64 f32 f64) (result i32 i64 f32 f64)
              (local.get 0) (local.get 1) (local.get 2) (local.get 3))
            (func (export "refs") (result anyref anyref (ref i31) funcref externref exnref)
              (struct.new $s) (array.new_fixed $a 0) (ref.i31 (i32.const -7)) (ref.func 0) (ref.null extern) (ref.null exn))
            (func (export "echo") (param anyref externref) (result anyref externref) (local.get 0) (local.get 1))
            (func (export "add") (param v128 v128) (result v128) (i16x8.add (local.get 0) (local.get 1)))
            (func (export "nothing")))"#,
    );
    for gc in collectors() {
        let run = |args: &[&str]| {
            let mut line = vec!["run", "--gc", &gc, "--stats", "--invoke", args[0], &file];
            line.extend(&args[1..]);
            let ended = gleaner(&line);
            ended.says(&["collections", "bytes allocated", &gc]);
            ended.ok()
        };
        assert_eq!(run(&["numbers", "-0x1", "18446744073709551615", "nan", "-inf"]), "-1\n-1\nnan\n-inf\n");
        assert_eq!(run(&["numbers", "4294967295", "-5", "1.5", "1e300"]), "-1\n-5\n1.5\n1e300\n");
        let refs = "(ref.struct)\n(ref.array)\n(ref.i31 -7)\n(ref.func)\n(ref.null extern)\n(ref.null exn)\n";
        assert_eq!(run(&["refs"]), refs);
        assert_eq!(run(&["echo", "-3", "null"]), "(ref.i31 -3)\n(ref.null extern)\n");
        assert_eq!(run(&["add", "i16x8:1,2,3,4,5,6,7,-8", "0x1"]), "0xfff80007000600050004000300020002\n");
        assert_eq!(run(&["nothing"]), "");
    }
    gleaner(&["run", "--invoke", "add", &file, "i16x8:1", "0"]).fails(2, &["i16x8 has 8 lanes, not 1"]);
}

#[test]
fn characters_beyond_the_basic_plane_come_as_two_units() {
    let files = Files::new();
    let file = files.add(
        "smile.wat",
        r#"(module
            (import "spectest" "print_char" (func $p (param i32)))
            (import "spectest" "print_i32" (func $n (param i32)))
            (func (export "_start")
              (call $p (i32.const 0x48)) (call $p (i32.const 0xD83D)) (call $p (i32.const 0xDE00)) (call $p (i32.const 0xFC))
              (call $p (i32.const 0xD83D)) (call $p (i32.const 10)) (call $n (i32.const -1))
              (call $p (i32.const 0x21))))"#,
    );
    assert_eq!(gleaner(&["run", &file]).ok(), "H😀ü\u{FFFD}\n-1 : i32\n!");
}

#[test]
fn wasi_programs_print_read_and_exit() {
    let files = Files::new();
    let file = files.add(
        "echo.wat",
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (data (i32.const 100) "hello\n")
            (func $say (param $fd i32) (param $at i32) (param $len i32)
              (i32.store (i32.const 0) (local.get $at))
              (i32.store (i32.const 4) (local.get $len))
              (if (call $write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
            (func (export "_start")
              (call $say (i32.const 1) (i32.const 100) (i32.const 6))
              (drop (call $environ_get (i32.const 200) (i32.const 300)))
              (call $say (i32.const 2) (i32.const 300) (i32.const 3))
              (i32.store (i32.const 0) (i32.const 1000))
              (i32.store (i32.const 4) (i32.const 64))
              (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
              (call $say (i32.const 1) (i32.const 1000) (i32.load (i32.const 8)))
              (drop (call $args (i32.const 16) (i32.const 20)))
              (call $exit (i32.add (i32.const 40) (i32.load (i32.const 16))))
              (unreachable)))"#,
    );
    let ended = gleaner_with_input(&["run", "--env", "K=V", &file, "--one", "two"], b"input");
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(43), "hello\ninput", "K=V"));
}

#[test]
fn every_function_of_wasi_preview_1_links_and_survives_wild_pointers() {
    let ty = |params: &str| params.chars().map(|c| if c == 'l' { " i64" } else { " i32" }).collect::<String>();
    let functions = [
        ("args_get", "ii"),
        ("args_sizes_get", "ii"),
        ("environ_get", "ii"),
        ("environ_sizes_get", "ii"),
        ("clock_res_get", "ii"),
        ("clock_time_get", "ili"),
        ("fd_advise", "illi"),
        ("fd_allocate", "ill"),
        ("fd_datasync", "i"),
        ("fd_fdstat_get", "ii"),
        ("fd_fdstat_set_flags", "ii"),
        ("fd_fdstat_set_rights", "ill"),
        ("fd_filestat_get", "ii"),
        ("fd_filestat_set_size", "il"),
        ("fd_filestat_set_times", "illi"),
        ("fd_pread", "iiili"),
        ("fd_prestat_get", "ii"),
        ("fd_prestat_dir_name", "iii"),
        ("fd_pwrite", "iiili"),
        ("fd_read", "iiii"),
        ("fd_readdir", "iiili"),
        ("fd_renumber", "ii"),
        ("fd_seek", "ilii"),
        ("fd_sync", "i"),
        ("fd_tell", "ii"),
        ("fd_write", "iiii"),
        ("path_create_directory", "iii"),
        ("path_filestat_get", "iiiii"),
        ("path_filestat_set_times", "iiiilli"),
        ("path_link", "iiiiiii"),
        ("path_open", "iiiiillii"),
        ("path_readlink", "iiiiii"),
        ("path_remove_directory", "iii"),
        ("path_rename", "iiiiii"),
        ("path_symlink", "iiiii"),
        ("path_unlink_file", "iii"),
        ("poll_oneoff", "iiii"),
        ("proc_raise", "i"),
        ("random_get", "ii"),
        ("sched_yield", ""),
        ("sock_accept", "iii"),
        ("sock_recv", "iiiiii"),
        ("sock_send", "iiiii"),
        ("sock_shutdown", "ii"),
        ("fd_close", "i"),
    ];
    let (mut imports, mut calls) = (String::new(), String::new());
    for (name, params) in functions {
        imports += &format!(
            "(import \"wasi_snapshot_preview1\" \"{name}\" (func ${name} (param{}) (result i32)))\n",
            ty(params)
        );
        for value in ["0", "1", "-1", "65535", "3"] {
            // Standard input is not read, so that the test does not wait.
            if name == "fd_read" && value == "0" {
                continue;
            }
            let args: String =
                params.chars().map(|c| format!("({}.const {value})", if c == 'l' { "i64" } else { "i32" })).collect();
            calls += &format!("(drop (call ${name} {args}))\n");
        }
    }
    let files = Files::new();
    for memory in ["(memory (export \"memory\") 1)", ""] {
        let file = files.add("all.wat", format!("(module {imports} {memory} (func (export \"_start\") {calls}))"));
        // Without a directory, and with one as descriptor 3.
        let folder = Files::new();
        let given = format!("{}::/", folder.0.path().display());
        for options in [&["run"][..], &["run", "--dir", &given, "--wasi-verbose"]] {
            // What it prints is no text.
            let program = Command::new(env!("CARGO_BIN_EXE_gleaner")).args(options).arg(&file).output().unwrap();
            let stderr = String::from_utf8_lossy(&program.stderr);
            assert_eq!(program.status.code(), Some(0), "{stderr}");
        }
    }
}

#[test]
fn preloaded_modules_link_whole() {
    let files = Files::new();
    let library = files.add(
        "library.wat",
        r#"(module
            (rec (type $node (struct (field i32) (field (ref null $node)))))
            (func (export "cons") (param i32 (ref null $node)) (result (ref $node))
              (struct.new $node (local.get 0) (local.get 1)))
            (table (export "table") 1 (ref null $node))
            (global (export "global") (mut (ref null $node)) (ref.null $node))
            (tag (export "tag") (param (ref null $node))))"#,
    );
    let program = files.add(
        "program.wat",
        r#"(module
            (rec (type $node (struct (field i32) (field (ref null $node)))))
            (import "lib" "cons" (func $cons (param i32 (ref null $node)) (result (ref $node))))
            (import "lib" "table" (table 1 (ref null $node)))
            (import "lib" "global" (global $g (mut (ref null $node))))
            (import "lib" "tag" (tag $t (param (ref null $node))))
            (func (export "sum") (param i32) (result i32)
              (table.set (i32.const 0) (call $cons (local.get 0) (call $cons (i32.const 2) (ref.null $node))))
              (global.set $g (block $caught (result (ref null $node))
                (try_table (catch $t $caught) (throw $t (table.get (i32.const 0)))) (unreachable)))
              (i32.add (struct.get $node 0 (global.get $g)) (struct.get $node 0 (struct.get $node 1 (global.get $g))))))"#,
    );
    let preload = format!("lib={library}");
    for gc in collectors() {
        let out = gleaner(&["run", "--gc", &gc, "--preload", &preload, "--invoke", "sum", &program, "40"]).ok();
        assert_eq!(out, "42\n");
    }
    gleaner(&["run", "--invoke", "sum", &program, "40"])
        .fails(1, &["4 imports", "`lib` `cons`: (func", "`lib` `tag`: (tag"]);
    gleaner(&["run", "--preload", "library.wat", &program]).fails(2, &["NAME=VALUE"]);
}

/// The number that `--stats` gives for `name`.
fn statistic(stats: &str, name: &str) -> u64 {
    let line = stats.lines().find_map(|line| line.trim_start().strip_prefix(name));
    let number: String = line.unwrap_or_else(|| panic!("no {name} in {stats}")).trim().replace(',', "");
    number.split_whitespace().next().unwrap_or_default().parse().unwrap_or_else(|_| panic!("{name} in {stats}"))
}

#[test]
fn zeal_collects_at_every_nth_allocation() {
    let run = |zeal: &[&str]| {
        let program = ["--stats", "--invoke", "sum_even", "examples/list.wat", "1000"];
        let out = gleaner(&[&["run", "--gc", "drc"], zeal, &program].concat());
        let (collections, stdout) = (statistic(&out.stderr, "collections"), out.ok());
        assert_eq!(stdout, "249500\n");
        collections
    };
    assert_eq!(run(&[]), 0);
    let every = run(&["--zeal", "alloc:1"]);
    assert!(every >= 1000, "{every}");
    assert_eq!(run(&["--zeal", "alloc:7"]), every / 7);
}

#[test]
fn unknown_names_list_what_there_is() {
    let hello = "examples/hello.wat";
    gleaner(&["run", "--gc", "nul", hello]).fails(2, &["no collector `nul`", "`null`", "`drc`"]);
    gleaner(&["run", "--gc", "null:size=4", hello]).fails(2, &["no option `size`"]);
    gleaner(&["run", "--gc", "drc:size=4", hello]).fails(2, &["no option `size`", "young=KiB"]);
    gleaner(&["run", "--gc", "drc:young=soon", hello]).fails(2, &["young=soon", "whole number"]);
    gleaner(&["run", "--zeal", "often", hello]).fails(2, &["`often`", "`alloc:N` (collect at every Nth allocation)"]);
    gleaner(&["wast", "--suite", "--zeal", "alloc:0"]).fails(2, &["alloc:0", "from 1 on", "`alloc:N`"]);
    gleaner(&["run", "--table-init", "soon", hello]).fails(2, &["soon", "lazy", "eager"]);
    gleaner(&["run", "--heap", "much", hello]).fails(2, &["`much` is no size", "MiB"]);
    gleaner(&["run", "--heap", "8GiB", hello]).fails(2, &["4GiB"]);
    gleaner(&["run", "--stack", "1", hello]).fails(2, &["64.0 KiB"]);
    gleaner(&["run", "--invoke", "sum", "examples/list.wat"])
        .fails(2, &["no function `sum`", "sum_even (func (param i32)"]);
    gleaner(&["run", "examples/list.wat"]).fails(2, &["no `_start`", "--invoke", "sum_even (func (param i32)"]);
    gleaner(&["run", "--invoke", "sum_even", "examples/list.wat"]).fails(2, &["takes 1 argument", "(param i32)"]);
    gleaner(&["run", "--invoke", "sum_even", "examples/list.wat", "ten"])
        .fails(2, &["argument 1", "`ten` is not an i32"]);
    gleaner(&["run"]).fails(2, &["FILE"]);
    gleaner(&["walk"]).fails(2, &["walk"]);
    gleaner(&["compile", "--emit", "wat", hello]).fails(2, &["clif", "asm"]);
    gleaner(&["compile", "--emit", "clif", "--func", "nothing", hello]).fails(2, &["no function `nothing`"]);
}

#[test]
fn files_that_are_no_program_are_errors_that_name_them() {
    let files = Files::new();
    gleaner(&["run", "no/such/file.wasm"]).fails(1, &["no/such/file.wasm", "No such file"]);
    let bytes = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/moonbit/wasm/json.wasm")).unwrap();
    let truncated = files.add("cut.wasm", &bytes[..bytes.len() / 2]);
    gleaner(&["run", &truncated]).fails(1, &["cut.wasm", "truncated"]);
    let text = files.add("text.wat", "(module (func (export \"_start\") (i32.cost 1)))");
    gleaner(&["run", &text]).fails(1, &["text.wat:1:", "i32.cost"]);
    let invalid = files.add("invalid.wat", "(module (func (export \"_start\") (result i32)))");
    gleaner(&["run", &invalid]).fails(1, &["invalid.wat", "type mismatch"]);
    let stack = files.add("stack.wat", "(module (tag $t) (func (export \"_start\") (suspend $t)))");
    gleaner(&["run", &stack]).fails(1, &["stack.wat", "stack switching", "not supported"]);
    let imports = files.add(
        "imports.wat",
        "(module (import \"a\" \"b\" (func (param i32))) (import \"c\" \"d\" (global i32)) (func (export \"_start\")))",
    );
    gleaner(&["run", &imports]).fails(1, &["`a` `b`: (func (param i32))", "`c` `d`: (global i32)"]);
    let fitting = files.add(
        "fitting.wat",
        "(module (import \"spectest\" \"print_i32\" (func (param i64))) (func (export \"_start\")))",
    );
    gleaner(&["run", &fitting]).fails(1, &["`print_i32`", "(param i64)", "(param i32)"]);
}

#[test]
fn traps_and_exceptions_have_a_code_of_their_own_and_print_statistics() {
    let files = Files::new();
    let file = files.add(
        "bad.wat",
        r#"(module
            (import "spectest" "print_i32" (func $print (param i32)))
            (tag $t (param i32)) (type $list (struct (field (ref null $list))))
            (func $inner (export "trap") (call $print (i32.const 1)) (unreachable))
            (func (export "throw") (throw $t (i32.const 42)))
            (func $deep (export "deep") (result i32) (i32.add (i32.const 1) (call $deep)))
            (func (export "fill") (local $l (ref null $list))
              (loop $more (local.set $l (struct.new $list (local.get $l))) (br $more))))"#,
    );
    for gc in collectors() {
        let run = |function: &str| {
            gleaner(&["run", "--gc", &gc, "--heap", "1MiB", "--stack", "1MiB", "--stats", "--invoke", function, &file])
        };
        let trap = run("trap");
        assert_eq!((trap.code, trap.stdout.as_str()), (Some(134), "1 : i32\n"), "{trap:?}");
        trap.says(&["error: wasm trap: unreachable", "$inner", "collections"]);
        run("throw").fails(134, &["uncaught exception", "42", "collections"]);
        run("deep").fails(134, &["call stack exhausted", "$deep"]);
        run("fill").fails(134, &["out of heap memory", "1048576 bytes", "--heap"]);
    }
}

#[test]
fn a_deep_stack_is_there_when_it_is_asked_for() {
    let files = Files::new();
    let file = files.add(
        "deep.wat",
        r#"(module (func $f (export "f") (param i32) (result i32)
            (if (result i32) (local.get 0)
              (then (i32.add (i32.const 1) (call $f (i32.sub (local.get 0) (i32.const 1))))) (else (i32.const 0)))))"#,
    );
    assert_eq!(gleaner(&["run", "--invoke", "f", &file, "500000"]).ok(), "500000\n");
    assert_eq!(gleaner(&["run", "--stack", "512MiB", "--invoke", "f", &file, "5000000"]).ok(), "5000000\n");
    gleaner(&["run", "--stack", "1MiB", "--invoke", "f", &file, "500000"]).fails(134, &["call stack exhausted"]);
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let files = Files::new();
    let file = files.add(
        "endless.wat",
        r#"(module (import "spectest" "print_i32" (func $print (param i32)))
            (func (export "_start") (loop (call $print (i32.const 1)) (br 0))))"#,
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_gleaner"))
        .args(["run", &file])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(141), &b""[..]));
}

#[test]
fn runaway_programs_end() {
    let files = Files::new();
    let file = files.add(
        "runaway.wat",
        r#"(module (func (export "forever") (loop (br 0))) (func (export "one") (result i32) (i32.const 1)))"#,
    );
    for gc in collectors() {
        let run = |limit: &str, amount: &str, name: &str| {
            gleaner(&["run", "--gc", &gc, limit, amount, "--invoke", name, &file])
        };
        run("--timeout", "20ms", "forever").fails(134, &["interrupted", "forever"]);
        run("--fuel", "10000", "forever").fails(134, &["fuel", "forever"]);
        assert_eq!(run("--timeout", "1h", "one").ok(), "1\n");
        assert_eq!(run("--fuel", "1", "one").ok(), "1\n");
    }
    gleaner(&["run", "--timeout", "10", &file]).fails(2, &["`10` is no duration", "10s"]);
}

#[test]
fn a_compiled_file_runs_where_it_was_made_for() {
    let files = Files::new();
    let source = r#"(module (type $s (struct (field i32)))
        (func (export "answer") (result i32) (struct.get $s 0 (struct.new $s (i32.const 42)))))"#;
    let source = files.add("answer.wat", source);
    let out = files.0.path().join("answer.bin").to_str().unwrap().to_string();
    for gc in collectors() {
        assert_eq!(gleaner(&["compile", "-o", &out, "--gc", &gc, &source]).ok(), "");
        let run = ["run", "--gc", &gc, "--allow-precompiled", "--invoke", "answer", &out];
        assert_eq!(gleaner(&run).ok(), "42\n");
        gleaner(&["run", "--gc", &gc, "--stats", "--allow-precompiled", "--invoke", "answer", &out])
            .fails(1, &["answer.bin", "count-objects=false"]);
        gleaner(&["run", "--gc", &gc, "--invoke", "answer", &out]).fails(2, &["answer.bin", "--allow-precompiled"]);
    }
    gleaner(&["compile", "-o", &out, "--gc", "null", "--stats", &source]).ok();
    gleaner(&["run", "--gc", "drc", "--stats", "--allow-precompiled", &out]).fails(1, &["for the collector `null`"]);
    let whole = fs::read(&out).unwrap();
    fs::write(&out, &whole[..whole.len() / 2]).unwrap();
    gleaner(&["run", "--allow-precompiled", &out]).fails(1, &["answer.bin", "incomplete"]);
    gleaner(&["compile", "-o", &out, "--gc", "null", "--gc", "drc", &source]).fails(2, &["one collector"]);
    gleaner(&["compile", &source]).fails(2, &["--emit"]);
}

#[test]
fn code_is_printed_side_by_side() {
    let files = Files::new();
    let file = files.add(
        "store.wat",
        r#"(module (type $s (struct (field (mut (ref null $s)))))
            (func $first (param (ref $s)) (struct.set $s 0 (local.get 0) (local.get 0)))
            (func $second (result i32) (i32.const 42)))"#,
    );
    for gc in collectors() {
        let clif = gleaner(&["compile", "--emit", "clif", "--gc", &gc, &file]).ok();
        for part in [";; first under", ";; second under", "function", "iconst.i32 42", &gc] {
            assert!(clif.contains(part), "{part}: {clif}");
        }
    }
    let both = gleaner(&[
        "compile", "--emit", "asm", "--func", "$first", "--gc", "null", "--gc", "drc", "--width", "50", &file,
    ])
    .ok();
    let heads = both.lines().next().unwrap();
    assert!(heads.contains("first under null") && heads.contains(" │ ;; first under drc"), "{both}");
    assert!(!both.contains("second") && both.lines().all(|line| line.chars().count() <= 103), "{both}");
    let by_index = gleaner(&["compile", "--emit", "clif", "--func", "1", &file]).ok();
    assert!(by_index.contains("second") && !by_index.contains("first"), "{by_index}");
    gleaner(&["compile", "--emit", "clif", "--func", "third", &file]).fails(2, &["0 $first", "1 $second"]);
}

#[test]
fn relaxed_vector_instructions_can_be_made_deterministic() {
    let files = Files::new();
    let swizzle = files.add(
        "swizzle.wat",
        r#"(module (func (export "f") (result i32)
          (i8x16.extract_lane_u 0 (i8x16.relaxed_swizzle (i8x16.splat (i32.const 7)) (i8x16.splat (i32.const 16))))))"#,
    );
    let run = |options: &[&str], file: &str| gleaner(&[&["run"], options, &["--invoke", "f", file]].concat()).ok();
    assert_eq!(run(&["--relaxed-simd-deterministic"], &swizzle), "0\n");
    let native = if cfg!(target_arch = "x86_64") { "7\n" } else { "0\n" };
    assert_eq!(run(&[], &swizzle), native);
    // What is compiled for a file is either, and runs only as what it is.
    let compiled = files.0.path().join("swizzle.precompiled");
    let compiled = compiled.to_str().unwrap();
    gleaner(&["compile", "--relaxed-simd-deterministic", "-o", compiled, &swizzle]).ok();
    assert_eq!(run(&["--allow-precompiled", "--relaxed-simd-deterministic"], compiled), "0\n");
    gleaner(&["run", "--allow-precompiled", "--invoke", "f", compiled]).fails(1, &["relaxed-simd", "Deterministic"]);
}

#[test]
fn collectors_are_described() {
    let text = gleaner(&["collectors"]).ok();
    for name in collectors() {
        assert!(text.contains(&format!("{name}: ")), "{text}");
    }
    for part in ["properties", "after", "options", "caveat", "nothing is ever freed", "default"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn scripts_are_counted_under_every_collector() {
    let files = Files::new();
    files.add(
        "good.wast",
        r#"(module (func (export "f") (result i32) i32.const 1))
           (assert_return (invoke "f") (i32.const 1))
           (assert_invalid (module (func (result i32))) "type mismatch")
           (module (tag $t) (func (export "s") (suspend $t)))
           (assert_suspension (invoke "s") "unhandled")"#,
    );
    let folder = files.0.path().to_str().unwrap();
    let text = gleaner(&["wast", folder]).ok();
    for name in collectors() {
        assert!(text.contains(&name), "{text}");
    }
    assert!(text.contains("stack switching: 2"), "{text}");
    files.add(
        "wrong.wast",
        r#"(module (func (export "f") (result i32) i32.const 1)
             (func (export "v") (param v128) (result v128) (local.get 0)))
           (assert_return (invoke "f") (i32.const 2))
           (assert_return (invoke "v" (v128.const i16x8 0 1 2 3 4 5 6 -7)) (v128.const i16x8 0 1 2 3 4 5 6 -8))
           (assert_return (invoke "v" (v128.const f32x4 nan 1 nan:0x600000 -0))
             (v128.const f32x4 nan:canonical 1 nan:arithmetic -0))
           (assert_return (invoke "v" (v128.const f32x4 nan 1 nan:0x600000 0))
             (v128.const f32x4 nan:canonical 1 nan:canonical 0))
           (assert_return (invoke "v" (v128.const f64x2 0 0)) (v128.const f64x2 0 -0))
           (assert_return (invoke "v" (v128.const i64x2 1 2))
             (either (v128.const i64x2 1 3) (v128.const i8x16 1 0 0 0 0 0 0 0 2 0 0 0 0 0 0 0)))
           (assert_return (invoke "v" (v128.const i64x2 1 2)) (i64.const 1))"#,
    );
    let ended = gleaner(&["wast", "--gc", "null", folder]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for line in 1..=14 {
        let failed = ended.stdout.contains(&format!("wrong.wast:{line}: expected"));
        assert_eq!(failed, [3, 4, 7, 9, 12].contains(&line), "line {line}: {ended:?}");
    }
    gleaner(&["wast", "no/such.wast"]).fails(1, &["no/such.wast"]);
    gleaner(&["wast"]).fails(2, &["--suite"]);
}
