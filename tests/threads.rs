//! Memories that stores share, and atomic accesses, beyond what the official suite tests of them: it has one thread.

mod common {
    pub mod calls;
}

use common::calls::{call, says, trap};
use engine::types::MemoryType;
use engine::{
    CollectionKind, Config, Engine, ErrorKind, Extern, Instance, Linker, Memory, Module, Result, SharedMemory, Store,
    Trap, UpdateDeadline, Val, WaitResult,
};
use gleaner::collectors::COLLECTORS;
use gleaner::wast::run_wast;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Long enough for anything that is not to happen within it.
const LONG: Duration = Duration::from_secs(60);

/// Runs `test` with an engine with every collector.
fn each(test: impl Fn(&Engine)) {
    for collector in COLLECTORS {
        println!("{}", collector.info.name);
        let config = Config::new(collector.with(&Default::default()).unwrap());
        test(&Engine::with_config(config).unwrap());
    }
}

fn shared(min: u64, max: u64) -> SharedMemory {
    SharedMemory::new(MemoryType::new(min, Some(max)).shared()).unwrap()
}

/// An instance in a store of its own of a module that imports `memory`.
fn instance(engine: &Engine, module: &Module, memory: &SharedMemory) -> (Store<()>, Instance) {
    let mut store = Store::new(engine, ()).unwrap();
    let mut linker = Linker::new(engine);
    linker.define(&store, "env", "memory", memory.clone()).unwrap();
    let instance = linker.instantiate(&mut store, module).unwrap();
    (store, instance)
}

#[track_caller]
fn i32(result: Result<Vec<Val>>) -> i32 {
    result.unwrap()[0].i32().unwrap()
}

/// The first word of a memory.
fn word(memory: &SharedMemory) -> u32 {
    let mut bytes = [0; 4];
    memory.read(0, &mut bytes).unwrap();
    u32::from_le_bytes(bytes)
}

fn spin_until(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LONG, "nothing happens");
        thread::yield_now();
    }
}

#[test]
fn threads_that_count_lose_nothing() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 20_000;
    const LOCKED: u64 = 1_000;
    // Each kind of access once: by addition, by comparison and exchange, and with a lock around plain ones.
    let text = r#"(module
        (import "env" "memory" (memory 1 1 shared))
        (func (export "add") (param $n i32)
          (loop $again
            (drop (i64.atomic.rmw.add offset=8 (i32.const 0) (i64.const 1)))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
        (func (export "exchange") (param $n i32) (local $old i32)
          (loop $again
            (local.set $old (i32.atomic.load16_u offset=16 (i32.const 0)))
            (br_if $again (i32.ne (local.get $old)
              (i32.atomic.rmw16.cmpxchg_u offset=16 (i32.const 0)
                (local.get $old) (i32.add (local.get $old) (i32.const 1)))))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
        (func (export "lock") (param $n i32)
          (loop $again
            (loop $taken
              (if (i32.atomic.rmw8.xchg_u offset=24 (i32.const 0) (i32.const 1))
                (then
                  (drop (memory.atomic.wait32 offset=24 (i32.const 0) (i32.const 1) (i64.const 1000000)))
                  (br $taken))))
            (i64.store offset=32 (i32.const 0) (i64.add (i64.load offset=32 (i32.const 0)) (i64.const 1)))
            (i32.atomic.store8 offset=24 (i32.const 0) (i32.const 0))
            (drop (memory.atomic.notify offset=24 (i32.const 0) (i32.const 1)))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))"#;
    each(|engine| {
        let (module, memory) = (Module::new(engine, text).unwrap(), shared(1, 1));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let (mut store, instance) = instance(engine, &module, &memory);
                    for (name, rounds) in [("add", ROUNDS), ("exchange", ROUNDS), ("lock", LOCKED)] {
                        call(&mut store, instance, name, &[Val::I32(rounds as i32)]).unwrap();
                    }
                });
            }
        });
        let count = |at: usize| {
            let mut bytes = [0; 8];
            memory.read(at, &mut bytes).unwrap();
            u64::from_le_bytes(bytes)
        };
        assert_eq!(count(8), THREADS * ROUNDS);
        assert_eq!(count(16), (THREADS * ROUNDS) & 0xFFFF);
        assert_eq!(count(32), THREADS * LOCKED);
    });
}

#[test]
fn what_one_thread_adds_to_a_memory_others_use() {
    const PAGES: i32 = 64;
    // The writer adds a page, writes into its last word, and tells so; the reader waits for the news, in a loop without a call, and reads.
    let text = |ty: &str, word: &str| {
        format!(
            r#"(module
            (import "env" "memory" (memory {ty} shared))
            (func (export "write") (param $pages i32)
              (loop $absent (br_if $absent (i32.ne (i32.atomic.load offset=8 ({word}.const 0)) (i32.const 2))))
              (drop (memory.atomic.wait32 offset=16 ({word}.const 0) (i32.const 0) (i64.const 20_000_000)))
              (loop $again
                (drop (memory.grow ({word}.const 1)))
                (i32.store ({word}.sub ({word}.mul (memory.size) ({word}.const 65536)) ({word}.const 4)) (local.get $pages))
                (i32.atomic.store ({word}.const 0) (local.get $pages))
                (br_if $again (local.tee $pages (i32.sub (local.get $pages) (i32.const 1))))))
            (func (export "read") (result i32) (local $size {word})
              (drop (i32.atomic.rmw.add offset=8 ({word}.const 0) (i32.const 1)))
              ;; The size changes without anything else that this thread can see, unless it has changed already.
              (local.set $size (memory.size))
              (if ({word}.eq (local.get $size) ({word}.const 1))
                (then (loop $same (br_if $same ({word}.eq (memory.size) (local.get $size))))))
              (loop $more
                (local.set $size (memory.size))
                (if (i32.load ({word}.sub ({word}.mul (local.get $size) ({word}.const 65536)) ({word}.const 4)))
                  (then))
                (br_if $more (i32.ne (i32.atomic.load ({word}.const 0)) (i32.const 1))))
              (i32.load ({word}.sub ({word}.mul (memory.size) ({word}.const 65536)) ({word}.const 4)))))"#
        )
    };
    each(|engine| {
        for (ty, word, memory) in
            [("1 100", "i32", MemoryType::new(1, Some(100))), ("i64 1 100", "i64", MemoryType::new_64(1, Some(100)))]
        {
            let module = Module::new(engine, text(ty, word)).unwrap();
            let memory = SharedMemory::new(memory.shared()).unwrap();
            let base = memory.data().as_ptr();
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        let (mut store, instance) = instance(engine, &module, &memory);
                        assert_eq!(i32(call(&mut store, instance, "read", &[])), 1, "{ty}");
                    });
                }
                let (mut store, instance) = instance(engine, &module, &memory);
                call(&mut store, instance, "write", &[Val::I32(PAGES)]).unwrap();
            });
            assert_eq!((memory.pages(), memory.data().as_ptr()), (1 + PAGES as u64, base));
        }
    });
}

#[test]
fn two_threads_wait_for_each_other() {
    const ROUNDS: i32 = 1000;
    // Players 0 and 1 alternately write their number, and wait while the other's stands there.
    let text = r#"(module
        (import "env" "memory" (memory 1 1 shared))
        (func (export "play") (param $own i32) (param $rounds i32) (result i32) (local $waits i32)
          (loop $round
            (block $mine
              (loop $wait
                (br_if $mine (i32.ne (i32.atomic.load (i32.const 0)) (local.get $own)))
                (drop (memory.atomic.wait32 (i32.const 0) (local.get $own) (i64.const -1)))
                (local.set $waits (i32.add (local.get $waits) (i32.const 1)))
                (br $wait)))
            (i32.atomic.store (i32.const 0) (local.get $own))
            (drop (memory.atomic.notify (i32.const 0) (i32.const 1)))
            (br_if $round (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1)))))
          (local.get $waits)))"#;
    each(|engine| {
        let (module, memory) = (Module::new(engine, text).unwrap(), shared(1, 1));
        let waits = AtomicU32::new(0);
        thread::scope(|scope| {
            for player in 0..2 {
                let (module, memory, waits) = (&module, &memory, &waits);
                scope.spawn(move || {
                    let (mut store, instance) = instance(engine, module, memory);
                    let waited = i32(call(&mut store, instance, "play", &[Val::I32(player), Val::I32(ROUNDS)]));
                    waits.fetch_add(waited as u32, Ordering::Relaxed);
                });
            }
        });
        // Neither could have two turns in a row.
        assert!(waits.into_inner() > 0);
    });
}

#[test]
fn waits_say_how_they_ended() {
    let text = r#"(module
        (import "env" "memory" (memory $shared 1 1 shared)) (memory $own 1)
        (func (export "wait32") (param i32 i32 i64) (result i32)
          (memory.atomic.wait32 $shared offset=4 (local.get 0) (local.get 1) (local.get 2)))
        (func (export "wait64") (param i32 i64 i64) (result i32)
          (memory.atomic.wait64 $shared offset=8 (local.get 0) (local.get 1) (local.get 2)))
        (func (export "notify") (param i32 i32) (result i32)
          (memory.atomic.notify $shared offset=4 (local.get 0) (local.get 1)))
        (func (export "wait own") (param i32) (result i32)
          (memory.atomic.wait32 $own (local.get 0) (i32.const 0) (i64.const 0)))
        (func (export "notify own") (param i32) (result i32)
          (memory.atomic.notify $own (local.get 0) (i32.const 1))))"#;
    each(|engine| {
        let (module, memory) = (Module::new(engine, text).unwrap(), shared(1, 1));
        let (mut store, instance) = instance(engine, &module, &memory);
        memory.write(8, &[1, 0, 0, 0, 0, 0, 0, 0x80]).unwrap();
        let mut wait32 = |at, expected, timeout| {
            call(&mut store, instance, "wait32", &[Val::I32(at), Val::I32(expected), Val::I64(timeout)])
        };
        assert_eq!(i32(wait32(4, 0, -1)), 1);
        assert_eq!(i32(wait32(4, 1, 0)), 2);
        let start = Instant::now();
        assert_eq!(i32(wait32(4, 1, 20_000_000)), 2);
        assert!(start.elapsed() >= Duration::from_millis(20));
        assert_eq!(trap(wait32(5, 1, 0)), Trap::UnalignedAtomic);
        assert_eq!(trap(wait32(65532, 1, 0)), Trap::MemoryOutOfBounds);
        assert_eq!(trap(wait32(-4, 1, 0)), Trap::MemoryOutOfBounds);
        let mut wait64 = |at, expected: u64| {
            call(&mut store, instance, "wait64", &[Val::I32(at), Val::I64(expected as i64), Val::I64(0)])
        };
        assert_eq!(i32(wait64(0, 1)), 1, "all 64 bits are compared");
        assert_eq!(i32(wait64(0, 0x8000_0000_0000_0001)), 2);
        assert_eq!(trap(wait64(4, 0)), Trap::UnalignedAtomic);
        let mut one = |name, at| call(&mut store, instance, name, &[Val::I32(at)]);
        assert_eq!(trap(one("wait own", 0)), Trap::ExpectedSharedMemory);
        assert_eq!(trap(one("wait own", 2)), Trap::UnalignedAtomic);
        assert_eq!(i32(one("notify own", 65532)), 0);
        assert_eq!(trap(one("notify own", 65536)), Trap::MemoryOutOfBounds);

        // The host wakes the program, and the program the host.
        thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let args = [Val::I32(4), Val::I32(1), Val::I64(-1)];
                i32(call(&mut store, instance, "wait32", &args))
            });
            spin_until(|| memory.notify(8, 1).unwrap() == 1);
            assert_eq!(waiting.join().unwrap(), 0);
        });
        thread::scope(|scope| {
            let waiting = scope.spawn(|| memory.wait64(8, 0x8000_0000_0000_0001, None).unwrap());
            spin_until(|| i32(call(&mut store, instance, "notify", &[Val::I32(4), Val::I32(-1)])) == 1);
            assert_eq!(waiting.join().unwrap(), WaitResult::Woken);
        });
        assert_eq!(memory.wait32(8, 0, None).unwrap(), WaitResult::Mismatch);
        assert_eq!(memory.wait32(8, 1, Some(Duration::ZERO)).unwrap(), WaitResult::TimedOut);
        assert_eq!(trap(memory.wait32(6, 1, None)), Trap::UnalignedAtomic);
        assert_eq!(trap(memory.wait64(65536, 1, None)), Trap::MemoryOutOfBounds);
        assert_eq!(trap(memory.notify(usize::MAX - 3, 1)), Trap::MemoryOutOfBounds);
    });
}

/// Every width at every kind of memory: the results, and exact traps.
#[test]
fn atomic_accesses_are_checked_in_every_kind_of_memory() {
    for (ty, word) in [
        ("1", "i32"),
        ("1 2 shared", "i32"),
        ("i64 1", "i64"),
        ("65537 (pagesize 1)", "i32"),
        ("i64 1 2 shared", "i64"),
    ] {
        let text = format!(
            r#"(module (memory {ty})
                (func (export "8") (param {word}) (result i64) (i64.atomic.rmw8.add_u offset=8 (local.get 0) (i64.const 0x1FF)))
                (func (export "16") (param {word}) (result i64) (i64.atomic.rmw16.sub_u offset=8 (local.get 0) (i64.const 1)))
                (func (export "32") (param {word}) (result i64) (i64.atomic.rmw32.xchg_u offset=8 (local.get 0) (i64.const -1)))
                (func (export "64") (param {word}) (result i64) (i64.atomic.rmw.or offset=8 (local.get 0) (i64.const -1)))
                (func (export "load 64") (param {word}) (result i64) (i64.atomic.load offset=8 (local.get 0)))
                (func (export "store 32") (param {word}) (result i64)
                  (i64.atomic.store32 offset=8 (local.get 0) (i64.const 0)) (i64.const 0))
                (func (export "exchange 16") (param {word}) (result i64)
                  (i64.atomic.rmw16.cmpxchg_u offset=8 (local.get 0) (i64.const 0x7_FFFF) (i64.const 0x5_4321))))"#
        );
        let length = if ty.contains("pagesize") { 65537 } else { 65536 };
        each(|engine| {
            let module = Module::new(engine, &text).unwrap();
            let mut store = Store::new(engine, ()).unwrap();
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let mut run = |name: &str, at: u64| {
                let at = if word == "i64" { Val::I64(at as i64) } else { Val::I32(at as i32) };
                call(&mut store, instance, name, &[at]).map(|values| values[0].i64().unwrap())
            };
            for (name, result) in [
                ("8", 0),
                ("16", 0xFF),
                ("load 64", 0xFE),
                ("32", 0xFE),
                ("exchange 16", 0xFFFF),
                ("load 64", 0xFFFF_4321),
                ("store 32", 0),
                ("64", 0),
                ("8", 0xFF),
                ("load 64", -2),
            ] {
                assert_eq!(run(name, 8).unwrap(), result, "{ty}: {name}");
            }
            for (name, bytes) in [("16", 2), ("32", 4), ("64", 8), ("load 64", 8), ("store 32", 4), ("exchange 16", 2)]
            {
                assert_eq!(trap(run(name, 1)), Trap::UnalignedAtomic, "{ty}: {name}");
                run(name, 65536 - 8 - bytes).unwrap();
                assert_eq!(trap(run(name, 65536 - 8)), Trap::MemoryOutOfBounds, "{ty}: {name}");
            }
            run("8", length - 9).unwrap();
            assert_eq!(trap(run("8", length - 8)), Trap::MemoryOutOfBounds, "{ty}");
            if word == "i64" {
                assert_eq!(trap(run("64", u64::MAX - 7)), Trap::MemoryOutOfBounds, "{ty}");
            }
        });
    }
}

#[test]
fn a_shared_memory_is_one_wherever_it_is() {
    let text = r#"(module
        (import "env" "memory" (memory $m 1 3 shared))
        (export "again" (memory $m)) (memory $own (export "own") 1 1 shared) (memory $local (export "local") 1)
        (data $text "segment")
        (func (export "size") (result i32) (memory.size $m))
        (func (export "grow") (param i32) (result i32) (memory.grow $m (local.get 0)))
        (func (export "bulk") (param i32)
          (memory.init $m $text (local.get 0) (i32.const 0) (i32.const 7))
          (memory.fill $own (i32.const 1) (i32.const 0x7A) (i32.const 6))
          (memory.copy $own $m (i32.const 3) (local.get 0) (i32.const 7))
          (memory.copy $local $own (i32.const 0) (i32.const 1) (i32.const 9))
          (memory.copy $m $m (i32.add (local.get 0) (i32.const 1)) (local.get 0) (i32.const 7))))"#;
    each(|engine| {
        let (module, memory) = (Module::new(engine, text).unwrap(), shared(1, 3));
        let ((mut a, first), (mut b, second)) =
            (instance(engine, &module, &memory), instance(engine, &module, &memory));
        assert_eq!(first.get_shared_memory(&mut a, "again").unwrap(), memory);
        assert_eq!(first.get_export(&mut a, "again"), second.get_export(&mut b, "again"));
        assert_ne!(first.get_export(&mut a, "own"), second.get_export(&mut b, "own"));
        says(&first.get_memory(&mut a, "own").unwrap_err(), &["own (memory 1 1 shared)"]);
        says(&first.get_shared_memory(&mut a, "local").unwrap_err(), &["no exported shared memory `local`"]);
        assert_eq!(i32(call(&mut a, first, "grow", &[Val::I32(1)])), 1);
        assert_eq!(memory.grow(1).unwrap(), 2);
        assert_eq!(i32(call(&mut b, second, "size", &[])), 3);
        assert_eq!(i32(call(&mut b, second, "grow", &[Val::I32(1)])), -1);
        says(&memory.grow(1).unwrap_err(), &["cannot grow by 1 pages"]);
        assert_eq!((memory.ty(), memory.data().len()), (MemoryType::new(3, Some(3)).shared(), 3 << 16));

        call(&mut a, first, "bulk", &[Val::I32(131072 - 3)]).unwrap();
        let read = |memory: &SharedMemory, at: usize, bytes: usize| {
            let mut copied = vec![0; bytes];
            memory.read(at, &mut copied).unwrap();
            copied
        };
        assert_eq!(read(&memory, 131072 - 4, 9), b"\0ssegment");
        let own = first.get_shared_memory(&mut a, "own").unwrap();
        assert_eq!(read(&own, 0, 11), b"\0zzsegment\0");
        let local = first.get_memory(&mut a, "local").unwrap();
        assert_eq!(&local.data(&a)[..10], b"zzsegment\0");
        assert_eq!(trap(call(&mut a, first, "bulk", &[Val::I32((3 << 16) - 6)])), Trap::MemoryOutOfBounds);
        // It outlives the stores and the other way round.
        drop((a, b));
        assert_eq!(read(&own, 3, 7), b"segment");
        let (mut store, instance) = instance(engine, &module, &memory);
        drop(memory);
        assert_eq!(i32(call(&mut store, instance, "size", &[])), 3);
    });
}

#[test]
fn shared_memories_are_checked_against_their_types() {
    each(|engine| {
        let imports = |ty: &str| Module::new(engine, format!(r#"(module (import "env" "memory" {ty}))"#)).unwrap();
        let memory: Extern = shared(1, 2).into();
        for (ty, fits) in [
            ("(memory 1 2 shared)", true),
            ("(memory 1 3 shared)", true),
            ("(memory 1 1 shared)", false),
            ("(memory 2 2 shared)", false),
            ("(memory 1 2)", false),
            ("(memory i64 1 2 shared)", false),
        ] {
            let mut store = Store::new(engine, ()).unwrap();
            let result = Instance::new(&mut store, &imports(ty), std::slice::from_ref(&memory));
            assert_eq!(result.is_ok(), fits, "{ty}");
            if let Err(error) = result {
                says(&error, &["incompatible import type", "found (memory 1 2 shared)"]);
            }
        }
        let mut store = Store::new(engine, ()).unwrap();
        for ty in [MemoryType::new(1, None).shared(), MemoryType::new(2, Some(1)).shared(), MemoryType::new(1, Some(1))]
        {
            let error = SharedMemory::new(ty).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Usage(_)), "{error}");
            says(&error, &["no type of a shared memory", "has a maximum"]);
        }
        let error = Memory::new(&mut store, MemoryType::new(1, Some(1)).shared()).unwrap_err();
        says(&error, &["`SharedMemory::new`"]);
        let error = SharedMemory::new(MemoryType::new_64(1 << 30, Some(1 << 30)).shared()).unwrap_err();
        says(&error, &["1099511627776 bytes"]);
        let memory = shared(1, 1);
        assert_eq!(trap(memory.read(65533, &mut [0; 4])), Trap::MemoryOutOfBounds);
        assert_eq!(trap(memory.write(usize::MAX, &[0; 4])), Trap::MemoryOutOfBounds);
        memory.write(0, &7u32.to_le_bytes()).unwrap();
        assert_eq!(word(&memory), 7);
    });
}

/// Scripts run their threads at the same time, in stores of their own.
#[test]
fn scripts_start_threads_and_wait_for_them() {
    // Each of the two waits for the other, so neither could run before the other one.
    let text = r#"
        (module $memory (memory (export "shared") 1 1 shared))
        (thread $first (shared (module $memory))
          (register "memory" $memory)
          (module
            (memory (import "memory" "shared") 1 1 shared)
            (func (export "run") (result i32)
              (i32.atomic.store (i32.const 0) (i32.const 1))
              (loop $wait (br_if $wait (i32.eqz (i32.atomic.load (i32.const 4)))))
              (i32.load (i32.const 8))))
          (assert_return (invoke "run") (i32.const 42)))
        (thread $second (shared (module $memory))
          (register "memory" $memory)
          (module
            (memory (import "memory" "shared") 1 1 shared)
            (func (export "run") (result i32)
              (loop $wait (br_if $wait (i32.eqz (i32.atomic.load (i32.const 0)))))
              (i32.store (i32.const 8) (i32.const 42))
              (i32.atomic.store (i32.const 4) (i32.const 1))
              (i32.const 7)))
          (assert_return (invoke "run") (i32.const 8)))
        (wait $first)
        (wait $second)
        (wait $third)
        (module $after
          (memory (import "memory" "shared") 1 1 shared))
        (register "memory" $memory)
        (module
          (memory (import "memory" "shared") 1 1 shared)
          (func (export "check") (result i32) (i32.load (i32.const 8))))
        (assert_return (invoke "check") (i32.const 42))"#;
    each(|engine| {
        let report = run_wast("threads", text, engine);
        let lines: Vec<usize> = report.failed.iter().map(|failure| failure.line).collect();
        let failed: Vec<&str> = report.failed.iter().map(|failure| failure.message.as_str()).collect();
        // The unfulfilled assertion of a thread is found last; what threads register they register for themselves.
        assert_eq!(lines, [24, 25, 21], "{failed:?}");
        assert!(failed[0].contains("no thread $third"), "{failed:?}");
        assert!(failed[1].contains("unknown import"), "{failed:?}");
        assert_eq!((report.total(), report.passed), (16, 13));
    });
}

#[test]
fn a_deadline_ends_a_wait() {
    let text = r#"(module
        (import "env" "memory" (memory 1 1 shared))
        (func (export "wait32") (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))))
        (func (export "wait64") (drop (memory.atomic.wait64 (i32.const 8) (i64.const 0) (i64.const -1)))))"#;
    for collector in COLLECTORS {
        let config = Config::new(collector.with(&Default::default()).unwrap()).epoch_interruption(true);
        let engine = Engine::with_config(config).unwrap();
        let (module, memory) = (Module::new(&engine, text).unwrap(), shared(1, 1));
        for name in ["wait32", "wait64"] {
            // With a host that lets it go on twice, and without.
            for continues in [0, 2] {
                let (sender, receiver) = mpsc::channel();
                let (own_engine, own_module, own_memory) = (engine.clone(), module.clone(), memory.clone());
                thread::spawn(move || {
                    let (mut store, instance) = instance(&own_engine, &own_module, &own_memory);
                    store.set_epoch_deadline(1);
                    let mut asked = 0;
                    if continues > 0 {
                        store.epoch_deadline_callback(move |mut store| {
                            asked += 1;
                            store.gc(CollectionKind::Major);
                            if asked <= continues {
                                Ok(UpdateDeadline::Continue(1))
                            } else {
                                Err(Trap::Interrupt.into())
                            }
                        });
                    }
                    sender.send(trap(call(&mut store, instance, name, &[]))).unwrap();
                });
                // The deadline may be set only after some ticks.
                let start = Instant::now();
                let ended = loop {
                    engine.increment_epoch();
                    match receiver.recv_timeout(Duration::from_millis(20)) {
                        Ok(ended) => break ended,
                        Err(_) => assert!(start.elapsed() < LONG, "{name} does not end"),
                    }
                };
                assert_eq!(ended, Trap::Interrupt);
                // It has left the queue.
                assert_eq!(memory.notify(if name == "wait32" { 0 } else { 8 }, 9).unwrap(), 0);
            }
        }
    }
}

#[test]
fn a_thread_that_goes_on_at_its_deadline_keeps_its_place() {
    let text = r#"(module
        (import "env" "memory" (memory 1 1 shared))
        (func (export "wait") (result i32) (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))))"#;
    for collector in COLLECTORS {
        let config = Config::new(collector.with(&Default::default()).unwrap()).epoch_interruption(true);
        let engine = Engine::with_config(config).unwrap();
        let (module, memory) = (Module::new(&engine, text).unwrap(), shared(1, 1));
        let (mut store, instance) = instance(&engine, &module, &memory);
        store.set_epoch_deadline(1);
        let (ticker, waker) = (engine.clone(), memory.clone());
        // It is notified while the host decides. The first deadline may have passed before it waits.
        store.epoch_deadline_callback(move |_| {
            waker.notify(0, 1).unwrap();
            Ok(UpdateDeadline::Continue(1))
        });
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || sender.send(i32(call(&mut store, instance, "wait", &[]))));
        let start = Instant::now();
        let ended = loop {
            ticker.increment_epoch();
            match receiver.recv_timeout(Duration::from_millis(20)) {
                Ok(ended) => break ended,
                Err(_) => assert!(start.elapsed() < LONG, "nothing wakes it"),
            }
        };
        assert_eq!(ended, 0);
    }
}
