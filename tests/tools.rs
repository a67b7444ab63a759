//! What helps to look inside: `gleaner settings`, `gleaner compile --trampolines`, `--perfmap`, and the backtraces of traps.

use engine::limits::LIMITS;
use engine::{Caller, Engine, Func, Instance, Linker, Module, Store, Trap, WasmBacktrace};
use gleaner::collectors::{COLLECTORS, DEFAULT};
use serde_json::Value;
use std::fs;
use std::process::{Command, Output, Stdio};

fn gleaner(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gleaner")).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

/// Standard output of what succeeds in silence.
#[track_caller]
fn ok(args: &[&str]) -> String {
    let output = gleaner(args);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn settings(args: &[&str]) -> Value {
    serde_json::from_str(&ok(&[&["settings", "--json"], args].concat())).unwrap()
}

#[test]
fn settings_are_those_that_were_given() {
    let default = settings(&[]);
    assert_eq!(default["heap"]["collector"], DEFAULT.info.name);
    assert_eq!(default["engine"]["heap_limit"], u32::MAX);
    assert_eq!(default["engine"]["max_wasm_stack"], 64 << 20);
    assert_eq!(default["engine"]["profiler"], "none");
    assert_eq!(default["heap"]["reference_bits"], 32);
    assert_eq!(default["cranelift"]["opt_level"], "speed");
    assert_eq!(default["cranelift"]["preserve_frame_pointers"], true);
    assert!(default["target"]["page_size"].as_u64().is_some_and(u64::is_power_of_two));
    assert!(default["target"]["triple"].as_str().unwrap().contains(std::env::consts::ARCH));
    assert!(default["target"]["cranelift"].as_str().unwrap().starts_with("0.135."));
    assert!(!default["processor"].as_object().unwrap().is_empty());

    let limits = default["limits"].as_object().unwrap();
    assert_eq!(limits.len(), LIMITS.len());
    for limit in LIMITS {
        assert_eq!(limits[limit.name], limit.max, "{}", limit.name);
    }

    assert_eq!(default["engine"]["relaxed_simd_deterministic"], false);
    assert_eq!(settings(&["--relaxed-simd-deterministic"])["engine"]["relaxed_simd_deterministic"], true);
    let given = settings(&["--gc", "drc:young=64", "--heap", "16MiB", "--stack", "1MiB"]);
    assert_eq!(given["engine"]["heap_limit"], 16 << 20);
    assert_eq!(given["engine"]["max_wasm_stack"], 1 << 20);
    assert_eq!(given["collector"]["option young"], "64");
    for collector in COLLECTORS {
        let settings = settings(&["--gc", collector.info.name]);
        assert_eq!(settings["heap"]["collector"], collector.info.name);
        assert_eq!(settings["collector"]["moving"], collector.info.moving);
        for option in collector.info.options {
            assert_eq!(settings["collector"][format!("option {}", option.key)], option.default, "{}", option.key);
        }
    }
    let wrong = gleaner(&["settings", "--gc", "nil"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn settings_are_a_table_for_people() {
    let table = ok(&["settings", "--heap", "16MiB"]);
    let json = settings(&["--heap", "16MiB"]);
    let limit = table.lines().find(|line| line.contains("heap_limit")).unwrap();
    assert!(limit.contains("16,777,216 B") && limit.contains("16.0 MiB"), "{limit}");
    // Every value, and nothing else.
    let values: usize = json.as_object().unwrap().values().map(|group| group.as_object().unwrap().len()).sum();
    assert_eq!(table.lines().count(), values);
}

#[test]
fn trampolines_are_printed_on_request() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("borders.wat");
    let text = r#"(module
        (import "host" "f" (func (param i32) (result i64)))
        (func $in (export "g") (param f64))
        (func $also (export "h") (param f64))
        (func $inner (param f32)))"#;
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    for gc in COLLECTORS.iter().map(|collector| collector.info.name) {
        let clif = ok(&["compile", "--emit", "clif", "--trampolines", "--gc", gc, file]);
        let heads: Vec<&str> = clif.lines().filter(|line| line.starts_with(";; ")).collect();
        for part in ["in", "also", "inner", "entry (func (param f64))", "host call (func (param i32) (result i64))"] {
            let head = format!(";; {part} under {gc}");
            assert_eq!(heads.iter().filter(|line| **line == head).count(), 1, "{head}: {heads:?}");
        }
        assert!(heads.iter().any(|head| head.starts_with(";; builtin memory_grow ")), "{heads:?}");
        assert!(!clif.contains("entry (func (param f32))"), "what cannot escape is not called by the host: {clif}");
        let asm = ok(&["compile", "--emit", "asm", "--trampolines", "--gc", gc, file]);
        assert_eq!(asm.lines().filter(|line| line.starts_with(";; ")).count(), heads.len());
    }
    let functions = ok(&["compile", "--emit", "clif", file]);
    assert!(!functions.contains("entry") && !functions.contains("builtin "), "{functions}");
}

#[test]
fn perf_maps_name_all_code() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("profiled.wat");
    let text = r#"(module $prof
        (import "spectest" "print_i32" (func $print (param i32)))
        (func $work (param i32) (result i32) (i32.add (local.get 0) (i32.const 40)))
        (func (export "two\nlines") (param i64))
        (func (param f32))
        (func $nowhere)
        (elem declare func $work 3)
        (func $start (export "_start") (call $print (call $work (i32.const 2)))))"#;
    fs::write(&file, text).unwrap();
    for gc in COLLECTORS.iter().map(|collector| collector.info.name) {
        let child = Command::new(env!("CARGO_BIN_EXE_gleaner"))
            .args(["run", "--gc", gc, "--perfmap", file.to_str().unwrap()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let path = format!("/tmp/perf-{}.map", child.id());
        let output = child.wait_with_output().unwrap();
        let map = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(output.stdout, b"42 : i32\n");
        let mut code: Vec<(u64, u64, &str)> = map
            .lines()
            .map(|line| {
                let mut parts = line.splitn(3, ' ');
                let mut number = || u64::from_str_radix(parts.next().unwrap(), 16).unwrap();
                let (start, size) = (number(), number());
                (start, size, parts.next().unwrap())
            })
            .collect();
        let expected = [
            "prof!$work",
            "prof!$start",
            "prof!$two\u{FFFD}lines",
            "prof!function 3",
            "entry (func)",
            "host call (func (param i32))",
            "builtin memory_grow",
        ];
        for name in expected {
            assert_eq!(code.iter().filter(|(_, _, known)| *known == name).count(), 1, "{name}: {map}");
        }
        assert!(!map.contains("nowhere"), "what is never called has no code: {map}");
        code.sort_unstable();
        assert!(code.iter().all(|(_, size, _)| *size > 0), "{map}");
        assert!(code.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "{map}");
    }
    // Without the option there is none.
    let child = Command::new(env!("CARGO_BIN_EXE_gleaner"))
        .args(["run", file.to_str().unwrap()])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let path = format!("/tmp/perf-{}.map", child.id());
    child.wait_with_output().unwrap();
    assert!(!fs::exists(path).unwrap());
}

fn store() -> Store<()> {
    Store::new(&Engine::new(DEFAULT.with(&Default::default()).unwrap()).unwrap(), ()).unwrap()
}

/// Calls `name` of `instance`, which traps, and gives the backtrace with its text.
#[track_caller]
fn backtrace(store: &mut Store<()>, instance: Instance, name: &str, trap: Trap) -> (WasmBacktrace, String) {
    let error = instance.get_func(&mut *store, name).unwrap().call(&mut *store, &[]).unwrap_err();
    assert_eq!(error.trap(), Some(trap), "{error}");
    (error.backtrace().unwrap().clone(), error.to_string())
}

#[test]
fn offsets_are_those_of_instructions_in_the_file() {
    let mut store = store();
    let text = r#"(module $m (type $t (func)) (table funcref (elem $indirect))
        (func $trap unreachable)
        (func $indirect (nop) (call $trap))
        (func $divide (drop (i32.div_u (i32.const 1) (i32.const 0))))
        (func (export "run") (call_indirect (type $t) (i32.const 0)))
        (func (export "divide") (drop (i32.const 5)) (call $divide))
        ;; Behind branches, of which Cranelift makes conditional traps.
        (global $yes (mut i32) (i32.const 1))
        (func (export "then") (if (global.get $yes) (then unreachable)))
        (func (export "around") (block (br_if 0 (i32.eqz (global.get $yes))) (unreachable)))
        (func (export "inlined") (if (i32.eqz (global.get $yes)) (then (nop)) (else (call $trap)))))"#;
    let binary = wat::parse_str(text).unwrap();
    let module = Module::from_binary(store.engine(), &binary).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let (unreachable, call, call_indirect, div_u) = (0x00, 0x10, 0x11, 0x6E);
    let (run, text) = backtrace(&mut store, instance, "run", Trap::Unreachable);
    let opcodes = |backtrace: &WasmBacktrace| -> Vec<u8> {
        backtrace.frames().iter().map(|frame| binary[frame.offset().unwrap() as usize]).collect()
    };
    assert_eq!(opcodes(&run), [unreachable, call, call_indirect]);
    let (divide, _) = backtrace(&mut store, instance, "divide", Trap::IntegerDivideByZero);
    assert_eq!(opcodes(&divide), [div_u, call]);
    for (name, frames) in [("then", &[unreachable][..]), ("around", &[unreachable]), ("inlined", &[unreachable, call])]
    {
        let (trapped, text) = backtrace(&mut store, instance, name, Trap::Unreachable);
        assert_eq!(opcodes(&trapped), frames, "{name}: {text}");
    }
    // Each is a line: number, offset in hexadecimal, module, name.
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(&lines[..2], ["wasm trap: unreachable", "wasm backtrace:"]);
    let offsets: Vec<u32> = run.frames().iter().map(|frame| frame.offset().unwrap()).collect();
    for (i, name) in ["m!$trap", "m!$indirect", "m!$run"].iter().enumerate() {
        assert_eq!(lines[i + 2], format!("  {i:>3}: {:#7x} - {name}", offsets[i]));
    }
}

#[test]
fn backtraces_cross_modules_and_the_host() {
    let mut store = store();
    let mut linker = Linker::new(store.engine());
    let library = r#"(module $library
        (func $deep (param i32)
          (if (local.get 0) (then (call $deep (i32.sub (local.get 0) (i32.const 1)))) (else unreachable)))
        (func (export "trap") (call $deep (i32.const 1))))"#;
    let library = Module::new(store.engine(), library).unwrap();
    let library = Instance::new(&mut store, &library, &[]).unwrap();
    linker.instance(&mut store, "library", library).unwrap();
    let host = Func::wrap(&mut store, move |mut caller: Caller<'_, ()>| -> engine::Result<()> {
        let trap = library.get_func(&mut caller, "trap")?;
        trap.call(&mut caller, &[]).map(|_| ())
    })
    .unwrap();
    linker.define(&store, "host", "call", host).unwrap();
    let program = r#"(module
        (import "host" "call" (func $call))
        (import "library" "trap" (func $trap))
        (func (export "direct") (call $trap))
        (func (export "tail") (return_call $trap))
        (func $by_host (call $call))
        (func (export "through the host") (call $by_host)))"#;
    let program = Module::new(store.engine(), program).unwrap();
    let program = linker.instantiate(&mut store, &program).unwrap();
    let mut names = |export: &str| -> Vec<(Option<String>, Option<String>, u32)> {
        let (backtrace, _) = backtrace(&mut store, program, export, Trap::Unreachable);
        let owned = |text: Option<&str>| text.map(String::from);
        let frames = backtrace.frames().iter();
        frames.map(|frame| (owned(frame.module()), owned(frame.name()), frame.function())).collect()
    };
    let frame = |module: Option<&str>, name: &str, index| (module.map(String::from), Some(name.to_string()), index);
    let library = Some("library");
    let inner = [frame(library, "deep", 0), frame(library, "deep", 0), frame(library, "trap", 1)];
    assert_eq!(names("direct"), [&inner[..], &[frame(None, "direct", 2)]].concat());
    // Who calls in tail position is gone; the host's functions are not WebAssembly's.
    assert_eq!(names("tail"), inner);
    let host = [frame(None, "by_host", 4), frame(None, "through the host", 5)];
    assert_eq!(names("through the host"), [&inner[..], &host].concat());
}

#[test]
fn of_a_runaway_recursion_both_ends_are_told() {
    let mut store = store();
    let text = r#"(module
        (func $even (result i32) (i32.add (i32.const 1) (call $odd)))
        (func $odd (result i32) (i32.add (i32.const 1) (call $even)))
        (func $begin (result i32) (i32.add (i32.const 1) (call $even)))
        (func (export "run") (drop (call $begin))))"#;
    let module = Module::new(store.engine(), text).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let (backtrace, text) = backtrace(&mut store, instance, "run", Trap::StackOverflow);
    let names: Vec<&str> = backtrace.frames().iter().map(|frame| frame.name().unwrap()).collect();
    assert_eq!(names[names.len() - 4..], ["odd", "even", "begin", "run"]);
    assert!(backtrace.omitted() > 1000, "{}", backtrace.omitted());
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() < 50, "{text}");
    let all = backtrace.frames().len() + backtrace.omitted();
    let (first, rest) = lines[2..].split_at(lines[2..].iter().position(|line| line.contains("more frames")).unwrap());
    let hidden: usize = rest[0].trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
    assert_eq!(first.len() + hidden + rest.len() - 1, all, "{text}");
    // The last frame's number says how many there were.
    assert!(lines.last().unwrap().starts_with(&format!("  {:>3}: ", all - 1)), "{text}");
    assert!(lines.last().unwrap().ends_with("$run"), "{text}");
}
