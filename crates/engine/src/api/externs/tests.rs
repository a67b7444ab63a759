//! Tables and element segments, with function references made at the first use and at instantiation, with and without forced
//! collections: nobody must be able to tell.

use crate::api::*;
use crate::types::{FuncType, HeapType, RefType, TableType, ValType};

/// Runs `test` in every combination.
fn each(test: impl Fn(&mut Store<()>)) {
    for collector in [gc_null::COLLECTOR, gc_drc::COLLECTOR] {
        for init in [TableInit::Lazy, TableInit::Eager] {
            for (zeal, cache) in [(Zeal::OFF, false), (Zeal::every_nth_allocation(1), false), (Zeal::OFF, true)] {
                let config = Config::new(collector.with(&Default::default()).unwrap());
                let config = config.table_init(init).zeal(zeal).call_indirect_cache(cache);
                let engine = Engine::with_config(config).unwrap();
                let mut store = Store::new(&engine, ()).unwrap();
                test(&mut store);
                store.heap().check().unwrap();
            }
        }
    }
}

fn instance(store: &mut Store<()>, wat: &str, imports: &[Extern]) -> Instance {
    try_instance(store, wat, imports).unwrap_or_else(|error| panic!("{error}: {wat}"))
}

fn try_instance(store: &mut Store<()>, wat: &str, imports: &[Extern]) -> Result<Instance> {
    let module = Module::new(store.engine(), wat).unwrap_or_else(|error| panic!("{error}: {wat}"));
    Instance::new(store, &module, imports)
}

fn call(store: &mut Store<()>, instance: Instance, name: &str, args: &[i32]) -> Result<i32, Trap> {
    let args: Vec<Val> = args.iter().map(|x| Val::I32(*x)).collect();
    match instance.get_func(&mut *store, name).unwrap().call(store, &args) {
        Ok(results) => Ok(results.first().map_or(0, |result| result.i32().unwrap())),
        Err(error) => Err(error.trap().unwrap_or_else(|| panic!("{name}: {error}"))),
    }
}

/// What calling each element of a table gives: `None` for null.
fn numbers(store: &mut Store<()>, table: Table) -> Vec<Option<i32>> {
    (0..table.size(&*store))
        .map(|i| match table.get(&mut *store, i).unwrap() {
            Val::FuncRef(func) => func.map(|func| func.call(&mut *store, &[]).unwrap()[0].i32().unwrap()),
            other => panic!("{other:?}"),
        })
        .collect()
}

/// `$f0` to `$f9`, which return their numbers.
const FUNCS: &str = "
  (type $n (func (result i32)))
  (func $f0 (type $n) (i32.const 0)) (func $f1 (type $n) (i32.const 1)) (func $f2 (type $n) (i32.const 2))
  (func $f3 (type $n) (i32.const 3)) (func $f4 (type $n) (i32.const 4)) (func $f5 (type $n) (i32.const 5))
  (func $f6 (type $n) (i32.const 6)) (func $f7 (type $n) (i32.const 7)) (func $f8 (type $n) (i32.const 8))
  (func $f9 (type $n) (i32.const 9))
  (elem declare func $f0 $f1 $f2 $f3 $f4 $f5 $f6 $f7 $f8 $f9)
";

#[test]
fn only_functions_that_are_used_are_made() {
    const COUNT: usize = 2_000;
    let funcs: String = (0..COUNT).map(|i| format!("(func $g{i} (result i32) (i32.const {i}))\n")).collect();
    let names: String = (0..COUNT).map(|i| format!(" $g{i}")).collect();
    let wat = format!(
        r#"(module (type $n (func (result i32))) {funcs}
          (table $t {COUNT} funcref) (elem (table $t) (i32.const 0) func{names})
          (func (export "call") (param i32) (result i32) (call_indirect $t (type $n) (local.get 0)))
          (func (export "is_null") (param i32) (result i32) (ref.is_null (table.get $t (local.get 0)))))"#
    );
    each(|store| {
        let made = |store: &mut Store<()>| store.as_context_mut().opaque().funcs_len() - 1;
        let instance = instance(store, &wat, &[]);
        let all = COUNT + 2;
        let eager = store.engine().config().table_init == TableInit::Eager;
        assert_eq!(made(store), if eager { all } else { 0 });
        for _ in 0..2 {
            assert_eq!(call(store, instance, "call", &[1_999]), Ok(1_999));
            assert_eq!(call(store, instance, "is_null", &[7]), Ok(0));
        }
        assert_eq!(made(store), if eager { all } else { 4 });
        assert_eq!(call(store, instance, "call", &[2_000]), Err(Trap::UndefinedElement));
    });
}

#[test]
fn the_last_segment_wins_in_any_order() {
    let wat = format!(
        r#"(module {FUNCS}
          (table (export "table") 10 funcref)
          (elem (i32.const 4) $f4 $f5 $f6)
          (elem (i32.const 0) $f0 $f1)
          (elem (offset (i32.add (i32.const 2) (i32.const 3))) funcref (ref.null func) (item (ref.func $f9)))
          (elem (i32.const 1) $f7 $f8)
          (elem (i32.const 10))
          (func (export "call") (param i32) (result i32) (call_indirect (type $n) (local.get 0))))"#
    );
    let expected = [Some(0), Some(7), Some(8), None, Some(4), None, Some(9), None, None, None];
    each(|store| {
        let instance = instance(store, &wat, &[]);
        for (i, number) in expected.iter().enumerate() {
            assert_eq!(call(store, instance, "call", &[i as i32]), number.ok_or(Trap::UninitializedElement));
        }
        let table = instance.get_table(&mut *store, "table").unwrap();
        assert_eq!(numbers(store, table), expected);
    });
}

#[test]
fn instances_share_a_table() {
    let first = format!(
        r#"(module {FUNCS}
          (table (export "table") 6 funcref)
          (global (export "nine") funcref (ref.func $f9))
          (elem (i32.const 0) $f0 $f1 $f2 $f3)
          (func (export "call") (param i32) (result i32) (call_indirect (type $n) (local.get 0))))"#
    );
    let second = format!(
        r#"(module
          (import "" "table" (table 5 funcref)) (import "" "nine" (global $nine funcref))
          {FUNCS}
          (elem (table 0) (i32.const 2) funcref (ref.null func) (item (global.get $nine)) (ref.func $f6))
          (func (export "call") (param i32) (result i32) (call_indirect (type $n) (local.get 0))))"#
    );
    each(|store| {
        let first = instance(store, &first, &[]);
        let table = first.get_table(&mut *store, "table").unwrap();
        let nine = first.get_global(&mut *store, "nine").unwrap();
        // Made before the second instance overwrites them.
        assert_eq!(call(store, first, "call", &[2]), Ok(2));
        assert_eq!(call(store, first, "call", &[3]), Ok(3));
        let second = instance(store, &second, &[table.into(), nine.into()]);
        for instance in [first, second] {
            assert_eq!(call(store, instance, "call", &[2]), Err(Trap::UninitializedElement));
            assert_eq!(call(store, instance, "call", &[3]), Ok(9));
            assert_eq!(call(store, instance, "call", &[4]), Ok(6));
        }
        assert_eq!(numbers(store, table), [Some(0), Some(1), None, Some(9), Some(6), None]);
    });
}

#[test]
fn instructions_on_elements_that_were_not_made() {
    let wat = format!(
        r#"(module {FUNCS}
          (table $a (export "a") 8 40 funcref) (table $b (export "b") 4 funcref)
          (elem $active (table $a) (i32.const 0) func $f0 $f1 $f2 $f3 $f4 $f5)
          (elem $passive func $f6 $f7 $f8)
          (func (export "copy") (param i32 i32 i32)
            (table.copy $a $a (local.get 0) (local.get 1) (local.get 2)))
          (func (export "copy_to_b") (param i32 i32 i32)
            (table.copy $b $a (local.get 0) (local.get 1) (local.get 2)))
          (func (export "fill") (param i32 i32) (table.fill $a (local.get 0) (ref.func $f9) (local.get 1)))
          (func (export "fill_null") (param i32 i32) (table.fill $a (local.get 0) (ref.null func) (local.get 1)))
          (func (export "init") (param i32 i32 i32)
            (table.init $a $passive (local.get 0) (local.get 1) (local.get 2)))
          (func (export "init_active") (table.init $a $active (i32.const 0) (i32.const 0) (i32.const 1)))
          (func (export "drop") (elem.drop $passive))
          (func (export "set") (param i32 i32) (table.set $a (local.get 0) (table.get $a (local.get 1))))
          (func (export "set_null") (param i32) (table.set $a (local.get 0) (ref.null func)))
          (func (export "set_func") (param i32) (table.set $a (local.get 0) (ref.func $f9)))
          (func (export "grow") (param i32) (result i32) (table.grow $a (ref.null func) (local.get 0)))
          (func (export "grow_func") (param i32) (result i32) (table.grow $a (ref.func $f8) (local.get 0)))
          (func (export "size") (result i32) (table.size $a)))"#
    );
    each(|store| {
        let instance = instance(store, &wat, &[]);
        let [a, b] = ["a", "b"].map(|name| instance.get_table(&mut *store, name).unwrap());
        let mut model: Vec<Option<i32>> = vec![Some(0), Some(1), Some(2), Some(3), Some(4), Some(5), None, None];
        // Over themselves, before any was made.
        assert_eq!(call(store, instance, "copy", &[1, 0, 3]), Ok(0));
        model.copy_within(0..3, 1);
        assert_eq!(call(store, instance, "copy_to_b", &[1, 4, 3]), Ok(0));
        assert_eq!(numbers(store, b), [None, Some(4), Some(5), None]);
        assert_eq!(call(store, instance, "set", &[6, 5]), Ok(0));
        model[6] = model[5];
        assert_eq!(call(store, instance, "set", &[5, 7]), Ok(0));
        model[5] = model[7];
        assert_eq!(call(store, instance, "set_null", &[3]), Ok(0));
        model[3] = None;
        assert_eq!(call(store, instance, "set_func", &[7]), Ok(0));
        model[7] = Some(9);
        assert_eq!(numbers(store, a), model);
        assert_eq!(call(store, instance, "fill_null", &[4, 2]), Ok(0));
        assert_eq!(call(store, instance, "init", &[5, 1, 2]), Ok(0));
        model.splice(4..7, [None, Some(7), Some(8)]);
        assert_eq!(numbers(store, a), model);
        assert_eq!(call(store, instance, "fill", &[0, 2]), Ok(0));
        model[..2].fill(Some(9));
        assert_eq!(numbers(store, a), model);
        // Bounds are checked before anything is written.
        assert_eq!(call(store, instance, "init", &[7, 0, 2]), Err(Trap::TableOutOfBounds));
        assert_eq!(call(store, instance, "init", &[0, 2, 2]), Err(Trap::TableOutOfBounds));
        assert_eq!(call(store, instance, "fill", &[7, 2]), Err(Trap::TableOutOfBounds));
        assert_eq!(call(store, instance, "copy", &[7, 0, 2]), Err(Trap::TableOutOfBounds));
        assert_eq!(call(store, instance, "copy", &[0, 7, 2]), Err(Trap::TableOutOfBounds));
        assert_eq!(call(store, instance, "set", &[0, 8]), Err(Trap::TableOutOfBounds));
        // An active segment was dropped when it had been used, a passive one when the program says so.
        assert_eq!(call(store, instance, "init_active", &[]), Err(Trap::TableOutOfBounds));
        assert_eq!(call(store, instance, "drop", &[]), Ok(0));
        assert_eq!(call(store, instance, "init", &[0, 0, 1]), Err(Trap::TableOutOfBounds));
        assert_eq!(call(store, instance, "init", &[0, 0, 0]), Ok(0));
        assert_eq!(numbers(store, a), model);
        assert_eq!(call(store, instance, "grow", &[2]), Ok(8));
        assert_eq!(call(store, instance, "grow_func", &[1]), Ok(10));
        assert_eq!(call(store, instance, "grow_func", &[29]), Ok(11));
        assert_eq!(call(store, instance, "grow", &[1]), Ok(-1));
        assert_eq!(call(store, instance, "size", &[]), Ok(40));
        model.extend([None, None]);
        model.extend([Some(8); 30]);
        assert_eq!(numbers(store, a), model);
    });
}

#[test]
fn a_long_segment_over_elements_that_were_made() {
    let names = |name: &str| format!(" {name}").repeat(100);
    let wat = format!(
        r#"(module {FUNCS}
          (table $t (export "table") 300 funcref)
          (elem (i32.const 50) func{})
          (elem $passive func{})
          (elem $nulls funcref{})
          (func (export "init") (param i32) (table.init $t $passive (local.get 0) (i32.const 0) (i32.const 100)))
          (func (export "init_nulls") (param i32) (table.init $t $nulls (local.get 0) (i32.const 0) (i32.const 100)))
          (func (export "drop") (elem.drop $passive) (elem.drop $nulls))
          (func (export "grow") (result i32) (table.grow $t (ref.func $f3) (i32.const 100))))"#,
        names("$f1"),
        names("$f2"),
        names("(ref.null func)"),
    );
    each(|store| {
        let instance = instance(store, &wat, &[]);
        let table = instance.get_table(&mut *store, "table").unwrap();
        let mut model = vec![None; 300];
        model[50..150].fill(Some(1));
        assert_eq!(numbers(store, table), model);
        assert_eq!(call(store, instance, "init", &[100]), Ok(0));
        model[100..200].fill(Some(2));
        assert_eq!(call(store, instance, "init", &[0]), Ok(0));
        model[..100].fill(Some(2));
        assert_eq!(call(store, instance, "init_nulls", &[20]), Ok(0));
        model[20..120].fill(None);
        assert_eq!(call(store, instance, "drop", &[]), Ok(0));
        assert_eq!(call(store, instance, "grow", &[]), Ok(300));
        model.extend([Some(3); 100]);
        assert_eq!(numbers(store, table), model);
        assert_eq!(call(store, instance, "init", &[0]), Err(Trap::TableOutOfBounds));
    });
}

#[test]
fn what_was_written_before_a_trap_stays() {
    let owner = r#"(module (type $n (func (result i32)))
        (table (export "table") 3 funcref) (memory (export "memory") 1)
        (func (export "call") (param i32) (result i32) (call_indirect (type $n) (local.get 0))))"#;
    let failing = |offset: &str| {
        format!(
            r#"(module
              (import "" "table" (table $t 0 funcref)) (import "" "memory" (memory 0))
              {FUNCS}
              (elem (i32.const 0) $f5)
              (elem (offset {offset}) func $f6 $f7)
              (elem (i32.const 2) $f8)
              (data (i32.const 0) "never"))"#
        )
    };
    each(|store| {
        for offset in ["(i32.const 2)", "(i32.const -1)", "(i32.add (i32.const 0x7fffffff) (i32.const 0x80000000))"] {
            let owner = instance(store, owner, &[]);
            let table = owner.get_table(&mut *store, "table").unwrap();
            let memory = owner.get_memory(&mut *store, "memory").unwrap();
            let error = try_instance(store, &failing(offset), &[table.into(), memory.into()]).unwrap_err();
            assert_eq!(error.trap(), Some(Trap::TableOutOfBounds), "{offset}");
            assert_eq!(call(store, owner, "call", &[0]), Ok(5));
            assert_eq!(numbers(store, table), [Some(5), None, None]);
            assert_eq!(memory.data(store)[0], 0);
        }
        let mut trap = |wat: &str| try_instance(store, wat, &[]).unwrap_err().trap().unwrap();
        let memory = Trap::MemoryOutOfBounds;
        assert_eq!(trap(r#"(module (memory 1) (data (i32.const -1) "ab"))"#), memory);
        assert_eq!(trap(r#"(module (memory 1) (data (i32.const 65535) "ab"))"#), memory);
        assert_eq!(trap(r#"(module (memory 1) (data (i32.const 65537)))"#), memory);
        assert_eq!(trap(r#"(module (memory 0) (data (i32.mul (i32.const 65536) (i32.const 65535)) "a"))"#), memory);
        assert_eq!(trap("(module (table 1 funcref) (elem (i32.const 2)))"), Trap::TableOutOfBounds);
        assert_eq!(
            trap("(module (table 1 externref) (elem (i32.const -1) externref (ref.null extern)))"),
            Trap::TableOutOfBounds
        );
    });
}

#[test]
fn tables_without_null() {
    let globals = format!(r#"(module {FUNCS} (global (export "three") (ref $n) (ref.func $f3)))"#);
    let wat = format!(
        r#"(module
          (import "" "three" (global $three (ref $n)))
          {FUNCS}
          (table $t (export "table") 100 (ref $n) (global.get $three))
          (table $few (export "few") 3 (ref func) (ref.func $f4))
          (elem (table $t) (i32.const 98) (ref $n) (ref.func $f1) (global.get $three))
          (elem (table $few) (i32.const 1) func $f2)
          (func (export "call") (param i32) (result i32) (call_indirect $t (type $n) (local.get 0)))
          (func (export "call_ref") (param i32) (result i32) (call_ref $n (table.get $t (local.get 0))))
          (func (export "grow") (param i32) (result i32) (table.grow $t (ref.func $f5) (local.get 0)))
          (func (export "set") (param i32) (table.set $t (local.get 0) (ref.func $f6)))
          (func (export "fill") (param i32) (table.fill $t (local.get 0) (ref.func $f7) (i32.const 2))))"#
    );
    each(|store| {
        let globals = instance(store, &globals, &[]);
        let three = globals.get_global(&mut *store, "three").unwrap();
        let instance = instance(store, &wat, &[three.into()]);
        for (index, number) in [(0, 3), (97, 3), (98, 1), (99, 3)] {
            assert_eq!(call(store, instance, "call", &[index]), Ok(number));
            assert_eq!(call(store, instance, "call_ref", &[index]), Ok(number));
        }
        assert_eq!(call(store, instance, "grow", &[1]), Ok(100));
        assert_eq!(call(store, instance, "set", &[2]), Ok(0));
        assert_eq!(call(store, instance, "fill", &[4]), Ok(0));
        for (index, number) in [(100, 5), (1, 3), (2, 6), (3, 3), (4, 7), (5, 7), (6, 3)] {
            assert_eq!(call(store, instance, "call_ref", &[index]), Ok(number));
        }
        assert_eq!(call(store, instance, "call", &[101]), Err(Trap::UndefinedElement));
        let few = instance.get_table(&mut *store, "few").unwrap();
        assert_eq!(numbers(store, few), [Some(4), Some(2), Some(4)]);
    });
}

#[test]
fn signatures_are_checked_with_subtyping() {
    let wat = r#"(module
        (type $super (sub (func (result anyref))))
        (type $sub (sub final $super (func (result i31ref))))
        (type $other (func (result i31ref)))
        (table $all funcref (elem $f $g $h))
        (table $supers (ref null $super) (elem (ref.func $f) (ref.func $g) (ref.null $super)))
        (func $f (type $super) (ref.i31 (i32.const 1)))
        (func $g (type $sub) (ref.i31 (i32.const 2)))
        (func $h (type $other) (ref.i31 (i32.const 3)))
        (func (export "super") (param i32) (result i32)
          (i31.get_s (ref.cast (ref i31) (call_indirect $all (type $super) (local.get 0)))))
        (func (export "sub") (param i32) (result i32)
          (i31.get_s (call_indirect $all (type $sub) (local.get 0))))
        (func (export "known") (param i32) (result i32)
          (i31.get_s (ref.cast (ref i31) (call_indirect $supers (type $super) (local.get 0)))))
        (func (export "narrower") (param i32) (result i32)
          (i31.get_s (call_indirect $supers (type $sub) (local.get 0))))
        (func (export "cast") (param i32) (result i32) (ref.test (ref $sub) (table.get $all (local.get 0)))))"#;
    each(|store| {
        let instance = instance(store, wat, &[]);
        for _ in 0..2 {
            let mut results = |name: &str| [0, 1, 2].map(|i| call(store, instance, name, &[i]));
            let (bad, null) = (Err(Trap::BadSignature), Err(Trap::UninitializedElement));
            assert_eq!(results("super"), [Ok(1), Ok(2), bad]);
            assert_eq!(results("sub"), [bad, Ok(2), bad]);
            assert_eq!(results("known"), [Ok(1), Ok(2), null]);
            assert_eq!(results("narrower"), [bad, Ok(2), null]);
            assert_eq!(results("cast"), [Ok(0), Ok(1), Ok(0)]);
        }
    });
}

#[test]
fn initialisers_allocate_and_read_globals() {
    // A table's initialiser may read imported globals alone.
    let globals = r#"(module
        (type $cell (struct (field (mut i32))))
        (global (export "one") (ref $cell) (struct.new $cell (i32.const 1)))
        (global (export "nothing") (ref null $cell) (ref.null $cell)))"#;
    let wat = r#"(module
        (type $cell (struct (field (mut i32))))
        (type $cells (array (mut (ref null $cell))))
        (import "" "one" (global $one (ref $cell)))
        (import "" "nothing" (global $nothing (ref null $cell)))
        (global $eight (ref $cell) (struct.new $cell (i32.const 8)))
        (table $shared 3 (ref $cell) (struct.new $cell (i32.const 2)))
        (table $from_global 2 (ref null $cell) (global.get $one))
        (table $filled (ref null $cell) (elem (struct.new $cell (i32.const 3)) (global.get $one) (global.get $nothing)))
        (table $nested 1 (ref null $cells)
          (array.new_fixed $cells 2 (struct.new $cell (i32.const 4)) (global.get $one)))
        (table $i31s i31ref (elem (ref.i31 (i32.const 5)) (item (ref.null i31))))
        (elem $passive (ref null $cell) (struct.new $cell (i32.const 6)) (global.get $eight) (ref.null $cell))
        (table $later 3 (ref null $cell))
        (func $get (param (ref null $cell)) (result i32) (struct.get $cell 0 (local.get 0)))
        (func (export "shared") (result i32)
          (struct.set $cell 0 (table.get $shared (i32.const 0)) (i32.const 20))
          (call $get (table.get $shared (i32.const 2))))
        (func (export "from_global") (result i32)
          (ref.eq (table.get $from_global (i32.const 1)) (global.get $one)))
        (func (export "filled") (param i32) (result i32) (call $get (table.get $filled (local.get 0))))
        (func (export "nested") (param i32) (result i32)
          (call $get (array.get $cells (table.get $nested (i32.const 0)) (local.get 0))))
        (func (export "i31s") (param i32) (result i32) (i31.get_s (table.get $i31s (local.get 0))))
        (func (export "init") (table.init $later $passive (i32.const 0) (i32.const 0) (i32.const 3)))
        (func (export "later") (param i32) (result i32) (call $get (table.get $later (local.get 0))))
        (func (export "array") (param i32) (result i32)
          (drop (struct.new $cell (i32.const 0)))
          (call $get (array.get $cells (array.new_elem $cells $passive (i32.const 0) (i32.const 3)) (local.get 0))))
        (func (export "same") (result i32)
          (ref.eq (array.get $cells (array.new_elem $cells $passive (i32.const 0) (i32.const 1)) (i32.const 0))
                  (table.get $later (i32.const 0))))
        (func (export "drop") (elem.drop $passive)))"#;
    each(|store| {
        let globals = instance(store, globals, &[]);
        let globals = ["one", "nothing"].map(|name| globals.get_global(&mut *store, name).unwrap().into());
        let instance = instance(store, wat, &globals);
        let null = Err(Trap::NullReference);
        store.gc(gc_api::CollectionKind::Major);
        assert_eq!(call(store, instance, "shared", &[]), Ok(20));
        assert_eq!(call(store, instance, "from_global", &[]), Ok(1));
        assert_eq!([0, 1, 2].map(|i| call(store, instance, "filled", &[i])), [Ok(3), Ok(1), null]);
        assert_eq!([0, 1].map(|i| call(store, instance, "nested", &[i])), [Ok(4), Ok(1)]);
        assert_eq!([0, 1].map(|i| call(store, instance, "i31s", &[i])), [Ok(5), null]);
        assert_eq!([0, 1, 2].map(|i| call(store, instance, "array", &[i])), [Ok(6), Ok(8), null]);
        assert_eq!(call(store, instance, "init", &[]), Ok(0));
        assert_eq!(call(store, instance, "same", &[]), Ok(1));
        assert_eq!(call(store, instance, "drop", &[]), Ok(0));
        store.gc(gc_api::CollectionKind::Major);
        assert_eq!([0, 1, 2].map(|i| call(store, instance, "later", &[i])), [Ok(6), Ok(8), null]);
        assert_eq!(call(store, instance, "array", &[0]), Err(Trap::TableOutOfBounds));
    });
}

#[test]
fn an_initialiser_that_finds_no_room_leaves_the_store_as_it_was() {
    let wat = format!(
        r#"(module {FUNCS}
          (type $bytes (array i8))
          (global (ref $n) (ref.func $f1))
          (table 1 externref)
          (table funcref (elem $f0 $f1))
          (elem (ref $bytes) (array.new_default $bytes (i32.const 16)) (array.new_default $bytes (i32.const 0x7fffffff))))"#
    );
    for collector in [gc_null::COLLECTOR, gc_drc::COLLECTOR] {
        for init in [TableInit::Lazy, TableInit::Eager] {
            let config = Config::new(collector.with(&Default::default()).unwrap());
            let engine = Engine::with_config(config.table_init(init).heap_limit(1 << 20)).unwrap();
            let mut store = Store::new(&engine, ()).unwrap();
            let error = try_instance(&mut store, &wat, &[]).unwrap_err();
            assert!(matches!(error.trap(), Some(Trap::HeapExhausted { .. })), "{error}");
            let mut context = store.as_context_mut();
            let opaque = context.opaque();
            assert_eq!(
                (opaque.funcs_len(), opaque.tables.len(), opaque.globals.len(), opaque.instances.len()),
                (1, 0, 0, 0)
            );
        }
    }
}

#[test]
fn function_references_in_objects() {
    let wat = r#"(module
        (type $super (sub (func (result i32))))
        (type $sub (sub $super (func (result i32))))
        (type $closure (struct (field (mut (ref null $super))) (field (mut (ref $sub))) (field (mut funcref))))
        (type $supers (array (mut (ref null $super))))
        (type $any (array (mut funcref)))
        (elem $funcs (ref null $sub) (ref.func $two) (ref.null $sub) (ref.func $two))
        (elem declare func $one $two)
        (func $one (type $super) (i32.const 1))
        (func $two (type $sub) (i32.const 2))
        (func $call (param (ref null $super)) (result i32) (call_ref $super (local.get 0)))
        (func (export "struct") (result i32) (local $c (ref $closure))
          (local.set $c (struct.new $closure (ref.func $one) (ref.func $two) (ref.null func)))
          (drop (struct.new $closure (ref.null $super) (ref.func $two) (ref.func $one)))
          (struct.set $closure 2 (local.get $c) (struct.get $closure 0 (local.get $c)))
          (struct.set $closure 0 (local.get $c) (struct.get $closure 1 (local.get $c)))
          (i32.add (i32.mul (i32.const 10) (call $call (struct.get $closure 0 (local.get $c))))
                   (call_ref $super (ref.cast (ref $super) (struct.get $closure 2 (local.get $c))))))
        (func (export "tests") (result i32) (local $c (ref $closure))
          (local.set $c (struct.new $closure (ref.func $one) (ref.func $two) (ref.func $two)))
          (i32.add (i32.mul (i32.const 100) (ref.test (ref $sub) (struct.get $closure 0 (local.get $c))))
          (i32.add (i32.mul (i32.const 10) (ref.test (ref $super) (struct.get $closure 2 (local.get $c))))
                   (ref.test (ref $sub) (struct.get $closure 2 (local.get $c))))))
        (func (export "array") (param i32) (result i32) (local $a (ref $supers))
          (local.set $a (array.new_elem $supers $funcs (i32.const 0) (i32.const 3)))
          (drop (array.new $any (ref.func $one) (i32.const 40)))
          (call $call (array.get $supers (local.get $a) (local.get 0))))
        (func (export "fill") (param i32) (result i32) (local $a (ref $supers)) (local $b (ref $any))
          (local.set $a (array.new $supers (ref.func $one) (i32.const 30)))
          (array.fill $supers (local.get $a) (i32.const 5) (ref.func $two) (i32.const 2))
          (array.fill $supers (local.get $a) (i32.const 7) (ref.null $super) (i32.const 1))
          (array.init_elem $supers $funcs (local.get $a) (i32.const 10) (i32.const 1) (i32.const 2))
          (local.set $b (array.new_default $any (i32.const 30)))
          (array.copy $any $supers (local.get $b) (i32.const 0) (local.get $a) (i32.const 0) (i32.const 30))
          (call $call (ref.cast (ref null $super) (array.get $any (local.get $b) (local.get 0)))))
        (tag $thrown (param (ref $sub) funcref))
        (func (export "exception") (result i32) (local $f funcref)
          (block $caught (result (ref $sub) funcref)
            (try_table (catch $thrown $caught) (throw $thrown (ref.func $two) (ref.null func)))
            (unreachable))
          (local.set $f)
          (drop (array.new $any (local.get $f) (i32.const 3)))
          (i32.add (call $call) (ref.is_null (local.get $f)))))"#;
    each(|store| {
        let instance = instance(store, wat, &[]);
        let null = Err(Trap::NullReference);
        for _ in 0..2 {
            assert_eq!(call(store, instance, "struct", &[]), Ok(21));
            assert_eq!(call(store, instance, "tests", &[]), Ok(11));
            assert_eq!(call(store, instance, "exception", &[]), Ok(3));
            assert_eq!([0, 1, 2].map(|i| call(store, instance, "array", &[i])), [Ok(2), null, Ok(2)]);
            let filled = [4, 5, 6, 7, 8, 10, 11].map(|i| call(store, instance, "fill", &[i]));
            assert_eq!(filled, [Ok(1), Ok(2), Ok(2), null, Ok(1), null, Ok(2)]);
        }
    });
}

#[test]
fn calls_through_a_table_that_nothing_changes() {
    let wat = format!(
        r#"(module
          (import "" "host" (func $host (type $n)))
          {FUNCS}
          (type $other (func))
          (func $other (type $other))
          (table $mixed funcref (elem $f0 $f1 $other $f2 $host))
          (table $same 5 funcref)
          (elem (table $same) (i32.const 1) func $f3 $f4 $host)
          ;; Each call site by all indices in turn: what the last call found is of use to the next or is not.
          (func (export "mixed") (param i32) (result i32) (call_indirect $mixed (type $n) (local.get 0)))
          (func (export "same") (param i32) (result i32) (call_indirect $same (type $n) (local.get 0)))
          (func (export "tail") (param i32) (result i32) (return_call_indirect $mixed (type $n) (local.get 0)))
          (func (export "other") (param i32) (call_indirect $mixed (type $other) (local.get 0)))
          (func (export "sum") (param i32) (result i32) (local $sum i32)
            (loop $again
              (local.set $sum (i32.add (local.get $sum) (i32.add
                (call_indirect $same (type $n) (i32.const 2))
                (call_indirect $same (type $n) (i32.add (i32.const 1) (i32.and (local.get 0) (i32.const 1)))))))
              (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
            (local.get $sum)))"#
    );
    each(|store| {
        let host = host(store, 77);
        let instance = instance(store, &wat, &[host.into()]);
        let (bad, null, outside) =
            (Err(Trap::BadSignature), Err(Trap::UninitializedElement), Err(Trap::UndefinedElement));
        for _ in 0..2 {
            for index in [0, 0, 1, 2, 2, 3, 4, 4, 5, -1, -1, 0] {
                let mixed = match index {
                    0 | 1 => Ok(index),
                    2 => bad,
                    3 => Ok(2),
                    4 => Ok(77),
                    _ => outside,
                };
                assert_eq!(call(store, instance, "mixed", &[index]), mixed);
                assert_eq!(call(store, instance, "tail", &[index]), mixed);
                let same = match index {
                    0 | 4 => null,
                    1 | 2 => Ok(index + 2),
                    3 => Ok(77),
                    _ => outside,
                };
                assert_eq!(call(store, instance, "same", &[index]), same);
            }
            assert_eq!([1, 2].map(|i| call(store, instance, "other", &[i])), [bad, Ok(0)]);
            assert_eq!(call(store, instance, "sum", &[10]), Ok(10 * 4 + 5 * 3 + 5 * 4));
        }
    });
}

/// A function of the host's.
fn host(store: &mut Store<()>, number: i32) -> Func {
    Func::wrap(store, move || number).unwrap()
}

fn table(store: &mut Store<()>, element: RefType, min: u64, max: Option<u64>, value: &Val) -> Result<Table> {
    Table::new(store, TableType { element, min, max, is_64: false }, value)
}

#[test]
fn the_host_and_the_program_see_the_same_elements() {
    let wat = format!(
        r#"(module
          (import "" "table" (table $t 4 funcref))
          {FUNCS}
          (elem (table $t) (i32.const 0) func $f1 $f2)
          (func (export "call") (param i32) (result i32) (call_indirect $t (type $n) (local.get 0))))"#
    );
    each(|store| {
        let ten = host(store, 10);
        let shared = table(store, RefType::FUNCREF, 4, Some(50), &Val::FuncRef(Some(ten))).unwrap();
        let instance = instance(store, &wat, &[shared.into()]);
        let calls = |store: &mut Store<()>| [0, 1, 2, 3].map(|i| call(store, instance, "call", &[i]).ok());
        assert_eq!(calls(store), [Some(1), Some(2), Some(10), Some(10)]);
        shared.set(&mut *store, 1, &Val::FuncRef(None)).unwrap();
        let eleven = host(store, 11);
        shared.fill(&mut *store, 2, &Val::FuncRef(Some(eleven)), 1).unwrap();
        assert_eq!(calls(store), [Some(1), None, Some(11), Some(10)]);
        shared.copy(&mut *store, 1, &shared, 0, 3).unwrap();
        assert_eq!(calls(store), [Some(1), Some(1), None, Some(11)]);
        assert_eq!(shared.grow(&mut *store, 1, &Val::FuncRef(None)).unwrap(), 4);
        assert_eq!(shared.grow(&mut *store, 40, &Val::FuncRef(Some(ten))).unwrap(), 5);
        assert_eq!(call(store, instance, "call", &[4]), Err(Trap::UninitializedElement));
        assert_eq!(call(store, instance, "call", &[44]), Ok(10));
        assert!(shared.get(&mut *store, 45).is_none() && shared.get(&mut *store, u64::MAX).is_none());
        // A table that nobody has touched, copied whole.
        let other = table(store, RefType::FUNCREF, 45, None, &Val::FuncRef(None)).unwrap();
        shared.copy(&mut *store, 0, &other, 0, 45).unwrap();
        assert!(numbers(store, shared).iter().all(Option::is_none));
    });
}

#[test]
fn values_that_do_not_fit_are_errors() {
    let usage = |result: Result<()>, part: &str| {
        let error = result.expect_err(part);
        assert!(matches!(error.kind(), ErrorKind::Usage(_)), "{error}");
        assert!(error.to_string().contains(part), "{part}: {error}");
    };
    let traps = |result: Result<()>| assert_eq!(result.unwrap_err().trap(), Some(Trap::TableOutOfBounds));
    each(|store| {
        let ty = |store: &Store<()>, ty| store.engine().registry().register_func(ty).unwrap();
        let unary = ty(store, FuncType::new([ValType::I32], []));
        let unary = RefType { nullable: true, heap: HeapType::ConcreteFunc(unary) };
        let some = |func: Func| Val::FuncRef(Some(func));
        let null = Val::FuncRef(None);
        let number = host(store, 1);
        let takes = Func::wrap(&mut *store, |_: i32| ()).unwrap();
        let value: Val = ExternRef::new(&mut *store, "value").unwrap().into();

        let funcs = table(store, RefType::FUNCREF, 3, Some(5), &null).unwrap();
        let unaries = table(store, unary, 3, None, &some(takes)).unwrap();
        let nonnull = RefType { nullable: false, heap: HeapType::Func };
        let nonnulls = table(store, nonnull, 3, None, &some(number)).unwrap();
        let externs = table(store, RefType::EXTERNREF, 3, None, &value).unwrap();
        let any = RefType { nullable: true, heap: HeapType::Any };
        let anys = table(store, any, 3, None, &Val::AnyRef(None)).unwrap();

        usage(table(store, nonnull, 1, None, &null).map(drop), "func");
        usage(table(store, unary, 1, None, &some(number)).map(drop), "func");
        usage(table(store, RefType::EXTERNREF, 1, None, &null).map(drop), "extern");
        // Every operation with a value, each with one that does not fit the table.
        let wrong: [(Table, Val); 9] = [
            (funcs, value.clone()),
            (funcs, Val::I32(7)),
            (funcs, Val::AnyRef(None)),
            (unaries, some(number)),
            (nonnulls, null.clone()),
            (externs, null.clone()),
            (externs, Val::I64(0)),
            (anys, value.clone()),
            (anys, some(number)),
        ];
        for (table, value) in &wrong {
            let expected = table.ty(&*store).element.to_string();
            usage(table.set(&mut *store, 0, value), &expected);
            usage(table.set(&mut *store, 99, value), &expected);
            usage(table.fill(&mut *store, 0, value, 0), &expected);
            usage(table.fill(&mut *store, u64::MAX, value, u64::MAX), &expected);
            usage(table.grow(&mut *store, 0, value).map(drop), &expected);
            usage(table.grow(&mut *store, u64::MAX, value).map(drop), &expected);
        }
        // A copy is refused by the tables' types, whatever stands in them and however little is copied.
        for (to, from) in [(unaries, funcs), (nonnulls, funcs), (funcs, externs), (externs, funcs), (anys, externs)] {
            usage(to.copy(&mut *store, 0, &from, 0, 0), "do not fit");
            usage(to.copy(&mut *store, 9, &from, 9, 9), "do not fit");
        }
        funcs.copy(&mut *store, 0, &unaries, 0, 3).unwrap();
        funcs.copy(&mut *store, 1, &nonnulls, 0, 2).unwrap();
        for (index, count) in [(4, 0), (3, 1), (0, 4), (1, u64::MAX), (u64::MAX, 1)] {
            traps(funcs.fill(&mut *store, index, &null, count));
            traps(funcs.copy(&mut *store, index, &unaries, 0, count));
            traps(funcs.copy(&mut *store, 0, &unaries, index, count));
            traps(externs.fill(&mut *store, index, &value, count));
            traps(externs.copy(&mut *store, 0, &externs, index, count));
        }
        traps(funcs.set(&mut *store, 3, &null));
        usage(funcs.grow(&mut *store, 3, &null).map(drop), "cannot grow by 3");
        usage(funcs.grow(&mut *store, u64::MAX, &null).map(drop), "cannot grow");
        usage(externs.grow(&mut *store, 1 << 40, &value).map(drop), "cannot grow");
        assert_eq!([funcs, unaries, nonnulls, externs, anys].map(|table| table.size(&*store)), [3; 5]);
    });
}
