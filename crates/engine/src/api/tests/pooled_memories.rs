//! Program and tables that pass from store to store: as new, of a bounded size, and no more of them than was said.

use super::*;
use crate::runtime::pool::Use;
use crate::types::MemoryType;

/// An engine that keeps heaps, memories and tables, so many of each, and their first `resident` bytes.
fn keeping(most: usize, resident: usize) -> Engine {
    let pooling = Pooling { heaps: most, memories: most, tables: most, resident };
    Engine::with_config(Config::new(COLLECTORS[0].with(&Default::default()).unwrap()).pooling(pooling)).unwrap()
}

/// Kept by an engine that says nothing else.
const RESIDENT: usize = 1 << 20;

/// A program with a memory, which does what it is told.
struct Program {
    store: Store<()>,
    instance: Instance,
    is_64: bool,
}

impl Program {
    /// `ty` is `i64 1 3`, or `1 3 (pagesize 1)`, say.
    fn new(engine: &Engine, ty: &str) -> Program {
        let index = if ty.starts_with("i64") { "i64" } else { "i32" };
        let text = format!(
            r#"(module
                (memory (export "memory") {ty})
                (func (export "load") (param {index}) (result i32) (i32.load8_u (local.get 0)))
                (func (export "store") (param {index} i32) (i32.store8 (local.get 0) (local.get 1)))
                (func (export "grow") (param {index}) (result {index}) (memory.grow (local.get 0)))
                (func (export "size") (result {index}) (memory.size)))"#
        );
        let mut store = Store::new(engine, ()).unwrap();
        let instance = instance(&mut store, &Linker::new(engine), &text);
        Program { store, instance, is_64: index == "i64" }
    }

    fn index(&self, value: u64) -> Val {
        if self.is_64 { Val::I64(value as i64) } else { Val::I32(value as i32) }
    }

    fn call(&mut self, name: &str, args: &[Val]) -> Result<Option<i64>> {
        let results = call(&mut self.store, self.instance, name, args)?;
        Ok(results.first().map(|result| match result {
            Val::I32(value) => i64::from(*value),
            Val::I64(value) => *value,
            other => panic!("{other:?}"),
        }))
    }

    fn load(&mut self, at: u64) -> Result<i64> {
        let at = self.index(at);
        Ok(self.call("load", &[at])?.unwrap())
    }

    fn store(&mut self, at: u64, value: i32) -> Result<()> {
        let at = self.index(at);
        self.call("store", &[at, Val::I32(value)]).map(drop)
    }

    fn grow(&mut self, pages: u64) -> i64 {
        let pages = self.index(pages);
        self.call("grow", &[pages]).unwrap().unwrap()
    }

    fn size(&mut self) -> i64 {
        self.call("size", &[]).unwrap().unwrap()
    }

    fn memory(&mut self) -> Memory {
        self.instance.get_memory(&mut self.store, "memory").unwrap()
    }

    fn base(&mut self) -> usize {
        let memory = self.memory();
        memory.data(&self.store).as_ptr() as usize
    }

    /// Fills all bytes.
    fn dirty(&mut self) {
        let memory = self.memory();
        memory.data_mut(&mut self.store).fill(0xAB);
    }

    /// Checks that the memory is as new, which has `min` pages of `page` bytes and can become `max`.
    fn check(&mut self, min: u64, max: u64, page: u64) {
        assert_eq!(self.size() as u64, min);
        let memory = self.memory();
        assert_eq!(memory.data(&self.store).len() as u64, min * page);
        let is_zero = |program: &Program| memory.data(&program.store).iter().fold(0, |all, byte| all | byte) == 0;
        assert!(is_zero(self));
        let end = min * page;
        if min > 0 {
            assert_eq!(self.load(end - 1).unwrap(), 0);
        }
        for at in [end, end + 1, end + 4096, max * page, max * page + (1 << 16)] {
            let trap = |result: Result<()>| result.map_err(|error| error.trap());
            assert_eq!(trap(self.load(at).map(drop)), Err(Some(Trap::MemoryOutOfBounds)), "byte {at}");
            assert_eq!(trap(self.store(at, 1)), Err(Some(Trap::MemoryOutOfBounds)), "byte {at}");
        }
        if max > min {
            assert_eq!(self.grow(1) as u64, min);
            assert_eq!(self.load(end).unwrap(), 0);
            assert_eq!(self.grow(max - min - 1) as u64, min + 1);
            assert!(is_zero(self), "what has grown is zero");
            self.store(max * page - 1, 1).unwrap();
        }
        assert_eq!(self.grow(1), -1);
        assert!(self.load(max * page).is_err());
    }
}

/// Tells address spaces of different sizes apart.
fn space(ty: &str) -> (bool, bool) {
    let bytes = ty.contains("pagesize");
    (bytes, !bytes && ty.starts_with("i64"))
}

/// Types of memories: pages at first and at most, and bytes of a page.
const MEMORIES: [(&str, u64, u64, u64); 9] = [
    ("1 1", 1, 1, 1 << 16),
    ("0 3", 0, 3, 1 << 16),
    ("2 40", 2, 40, 1 << 16),
    ("17 80", 17, 80, 1 << 16),
    ("80 100", 80, 100, 1 << 16),
    ("1 120", 1, 120, 1 << 16),
    ("i64 1 120", 1, 120, 1 << 16),
    ("5000 9000 (pagesize 1)", 5000, 9000, 1),
    ("i64 5000 9000 (pagesize 1)", 5000, 9000, 1),
];

#[test]
fn a_memory_passes_on_as_good_as_new_whatever_its_type() {
    for resident in [0, RESIDENT, usize::MAX] {
        let engine = keeping(1, resident);
        for (before, .., grown, _) in MEMORIES {
            for (after, min, max, page) in MEMORIES {
                let mut first = Program::new(&engine, before);
                first.dirty();
                let more = grown as i64 - first.size();
                first.grow(more as u64);
                first.dirty();
                let base = first.base();
                drop(first);
                assert_eq!(engine.pool_usage().memories, 1);
                let mut second = Program::new(&engine, after);
                let kept = engine.pool_usage().memories;
                match space(before) == space(after) {
                    true => assert_eq!((second.base(), kept), (base, 0), "{before}, then {after}"),
                    false => assert_eq!(kept, 1, "{before}, then {after}"),
                }
                second.check(min, max, page);
            }
        }
    }
}

#[test]
fn what_a_pool_keeps_of_the_system_has_a_bound() {
    for resident in [0, 4096, RESIDENT] {
        let engine = keeping(2, resident);
        for pages in [1, 15, 17, 64, 120] {
            let mut stores: Vec<Program> = (0..3).map(|_| Program::new(&engine, "1 120")).collect();
            for store in &mut stores {
                store.grow(pages - 1);
                store.dirty();
            }
            drop(stores);
            let usage = engine.pool_usage();
            assert_eq!(usage.memories, 2);
            let kept = (pages << 16).min(resident as u64);
            assert_eq!(usage.memory_bytes, 2 * kept, "{pages} pages of which {resident} bytes may stay");
        }
    }
}

#[test]
fn a_pool_keeps_the_memories_that_were_used_last() {
    let engine = keeping(2, 0);
    let mut stores: Vec<Program> = ["1 1", "i64 1 120", "1 1"].iter().map(|ty| Program::new(&engine, ty)).collect();
    let base = stores[2].base();
    let (last, first) = (stores.pop(), stores.remove(0));
    drop(last);
    drop(stores);
    drop(first);
    // The oldest went, though the one after it is of another kind.
    assert_eq!(engine.pool_usage().memories, 2);
    let (mut one, mut wide) = (Program::new(&engine, "1 1"), Program::new(&engine, "i64 1 120"));
    assert_eq!(engine.pool_usage().memories, 0);
    assert!(one.base() != base && wide.base() != base);
    // With none to keep, none are.
    let engine = keeping(0, RESIDENT);
    drop(Program::new(&engine, "1 1"));
    assert_eq!(engine.pool_usage(), PoolUsage::default());
}

#[test]
fn pools_give_their_address_space_up_when_there_is_too_little() {
    let engine = keeping(2, RESIDENT);
    drop(Program::new(&engine, "1 3"));
    drop(table(&engine, "20000", "funcref"));
    let usage = engine.pool_usage();
    assert_eq!((usage.heaps, usage.memories, usage.tables), (1, 1, 1));
    assert!(engine.pools().reserve(Use::Memory, 1 << 62, 0).is_err());
    assert_eq!(engine.pool_usage(), PoolUsage::default());
}

#[test]
fn a_shared_memory_is_not_pooled() {
    let engine = keeping(4, RESIDENT);
    let module = r#"(module (memory (export "memory") 1 2 shared))"#;
    let mut store = Store::new(&engine, ()).unwrap();
    let shared = instance(&mut store, &Linker::new(&engine), module).get_shared_memory(&mut store, "memory").unwrap();
    shared.write(0, b"mine").unwrap();
    drop(store);
    assert_eq!(engine.pool_usage().memories, 0);
    Program::new(&engine, "1 2").check(1, 2, 1 << 16);
    let mut bytes = [0; 4];
    shared.read(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"mine");
}

#[test]
fn a_store_that_trapped_gives_clean_things_back() {
    let engine = keeping(4, RESIDENT);
    let mut store = Program::new(&engine, "1 3");
    store.dirty();
    assert_eq!(store.load(1 << 20).unwrap_err().trap(), Some(Trap::MemoryOutOfBounds));
    drop(store);
    // Nor does it matter that an instance never came to be: its data segment is out of bounds, after another was written; or a table is
    // too large, after a memory was made.
    for text in [
        r#"(module (memory 1) (data (i32.const 0) "secret") (data (i32.const 65536) "x"))"#,
        r#"(module (memory 1) (memory i64 0x1000000000000))"#,
    ] {
        let mut store = Store::new(&engine, ()).unwrap();
        let module = Module::new(&engine, text).unwrap();
        assert!(Instance::new(&mut store, &module, &[]).is_err());
        drop(store);
        assert_eq!(engine.pool_usage().memories, 1);
        let mut next = Program::new(&engine, "1 3");
        assert_eq!(engine.pool_usage().memories, 0);
        next.check(1, 3, 1 << 16);
    }
    // One that ends in a panic gives nothing back.
    let engine = keeping(4, RESIDENT);
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _store = Program::new(&engine, "1 3");
        panic!("a test");
    }));
    assert!(panic.is_err());
    assert_eq!(engine.pool_usage(), PoolUsage::default());
}

#[test]
fn the_hosts_own_memories_and_tables_are_pooled_too() {
    let engine = keeping(4, RESIDENT);
    for _ in 0..2 {
        let mut store = Store::new(&engine, ()).unwrap();
        let memory = Memory::new(&mut store, MemoryType::new(1, Some(3))).unwrap();
        assert!(memory.data(&store).iter().all(|byte| *byte == 0));
        memory.data_mut(&mut store).fill(1);
        let ty = TableType::new(RefType::FUNCREF, 40_000, None);
        let func = Func::wrap(&mut store, || ()).unwrap();
        let table = Table::new(&mut store, ty, &Val::FuncRef(None)).unwrap();
        assert!((0..40_000).step_by(1000).all(|i| matches!(table.get(&mut store, i), Some(Val::FuncRef(None)))));
        table.fill(&mut store, 0, &Val::FuncRef(Some(func)), 40_000).unwrap();
        drop(store);
        let usage = engine.pool_usage();
        assert_eq!((usage.memories, usage.memory_bytes, usage.tables), (1, 1 << 16, 1));
    }
}

/// A store with a table of these limits, whose elements are functions or objects.
fn table(engine: &Engine, limits: &str, element: &str) -> (Store<()>, Instance) {
    let (null, value) = match element {
        "funcref" => ("func", "(ref.func $value)"),
        _ => ("any", "(ref.i31 (i32.const 5))"),
    };
    let text = format!(
        r#"(module
            (table $t (export "table") {limits} {element})
            (func $value) (elem declare func $value)
            (func (export "grow") (param i32) (result i32) (table.grow $t (ref.null {null}) (local.get 0)))
            (func (export "size") (result i32) (table.size $t))
            (func (export "null") (param i32) (result i32) (ref.is_null (table.get $t (local.get 0))))
            (func (export "fill") (table.fill $t (i32.const 0) {value} (table.size $t)))
            (func (export "copy") (param i32 i32) (result i32)
              (table.set $t (local.get 0) {value})
              (ref.is_null (table.get $t (local.get 1)))))"#
    );
    let mut store = Store::new(engine, ()).unwrap();
    let instance = instance(&mut store, &Linker::new(engine), &text);
    (store, instance)
}

#[test]
fn tables_are_null_again() {
    let number = |store: &mut Store<()>, instance, name: &str, args: &[i32]| {
        let args: Vec<Val> = args.iter().map(|arg| Val::I32(*arg)).collect();
        call(store, instance, name, &args).map(|results| results.first().and_then(Val::i32))
    };
    // Few elements, many, and many for functions only, which take twice the room.
    const SIZES: [i32; 4] = [10, 20_000, 40_000, 300_000];
    for resident in [0, 4096, RESIDENT] {
        let engine = keeping(2, resident);
        for element in ["funcref", "anyref"] {
            for (before, after, grows) in
                SIZES.into_iter().flat_map(|a| SIZES.map(|b| [(a, b, false), (a, b, true)])).flatten()
            {
                let limits = |size: i32| if grows { "0".to_string() } else { size.to_string() };
                for (n, size) in [before, after].into_iter().enumerate() {
                    let (mut store, instance) = table(&engine, &limits(size), element);
                    if grows {
                        assert_eq!(number(&mut store, instance, "grow", &[size]).unwrap(), Some(0));
                    }
                    assert_eq!(number(&mut store, instance, "size", &[]).unwrap(), Some(size));
                    assert!(number(&mut store, instance, "null", &[size]).is_err());
                    let nulls = |store: &mut Store<()>, from: i32, to: i32| {
                        let table = instance.get_table(&mut *store, "table").unwrap();
                        let null = |val| matches!(val, Some(Val::FuncRef(None)) | Some(Val::AnyRef(None)));
                        (from..to).step_by(7).filter(|i| !null(table.get(&mut *store, *i as u64))).count()
                    };
                    assert_eq!(nulls(&mut store, 0, size), 0, "{before}, then {after} of {element}: {n}");
                    number(&mut store, instance, "fill", &[]).unwrap();
                    assert_eq!(number(&mut store, instance, "null", &[size - 1]).unwrap(), Some(0));
                    // Growth goes on, by nulls, and keeps what there was.
                    assert_eq!(number(&mut store, instance, "grow", &[50_000]).unwrap(), Some(size));
                    assert_eq!(nulls(&mut store, size, size + 50_000), 0);
                    assert_eq!(number(&mut store, instance, "null", &[0]).unwrap(), Some(0));
                    assert_eq!(number(&mut store, instance, "null", &[size - 1]).unwrap(), Some(0));
                    number(&mut store, instance, "fill", &[]).unwrap();
                }
                let usage = engine.pool_usage();
                assert!(usage.tables >= 1 && usage.table_bytes <= (usage.tables * resident) as u64, "{usage:?}");
            }
        }
    }
}

#[test]
fn threads_share_the_pools_of_memories_and_tables() {
    let engine = keeping(3, 64 << 10);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let engine = &engine;
            scope.spawn(move || {
                for i in 0..30 {
                    let (ty, min, max, page) = MEMORIES[((thread + i) % MEMORIES.len() as u64) as usize];
                    let mut memory = Program::new(engine, ty);
                    memory.check(min, max, page);
                    memory.dirty();
                    let (mut store, instance) = table(engine, "20000", "funcref");
                    let results = call(&mut store, instance, "null", &[Val::I32(i as i32 * 600)]).unwrap();
                    assert_eq!(results[0].i32(), Some(1));
                    call(&mut store, instance, "fill", &[]).unwrap();
                }
            });
        }
    });
    let usage = engine.pool_usage();
    assert!(usage.memories <= 3 && usage.tables <= 3 && usage.memory_bytes <= 3 << 16, "{usage:?}");
}

#[test]
fn globals_and_segments_of_the_last_store_are_gone() {
    let engine = keeping(4, RESIDENT);
    let text = r#"(module
        (global $g (mut i64) (i64.const 0))
        (global $r (mut externref) (ref.null extern))
        (memory 1)
        (data $d "abc")
        (func (export "look") (result i32)
          (i32.and (i64.eqz (global.get $g)) (ref.is_null (global.get $r))))
        (func (export "leave") (param externref)
          (global.set $g (i64.const -1)) (global.set $r (local.get 0)) (data.drop $d)))"#;
    for _ in 0..3 {
        let mut store = Store::new(&engine, ()).unwrap();
        let instance = instance(&mut store, &Linker::new(&engine), text);
        assert_eq!(call(&mut store, instance, "look", &[]).unwrap()[0].i32(), Some(1));
        let value = ExternRef::new(&mut store, 1u8).unwrap();
        call(&mut store, instance, "leave", &[Val::ExternRef(Some(value))]).unwrap();
        assert_eq!(call(&mut store, instance, "look", &[]).unwrap()[0].i32(), Some(0));
    }
}
