//! Every way to change a table, and modules that are damaged.

use super::*;
use crate::parse::parse;
use crate::types::TypeRegistry;
use crate::{Config, Engine, Module};
use wasmparser::{Parser, Payload};

const SAMPLE: &str = r#"(module
    (type $n (func (result i32))) (type $other (func))
    (import "" "" (table $imported 4 funcref))
    (table $fixed 4 funcref)
    (table $known 4 (ref null $n))
    (table $exported (export "t") 4 funcref)
    (table $set 4 funcref) (table $grown 4 funcref) (table $filled 4 funcref)
    (table $copied_to 4 funcref) (table $copied_from 4 funcref) (table $initialised 4 funcref)
    (table $externs 4 externref)
    (global $f funcref (ref.func $f))
    (elem (table $fixed) (i32.const 1) func $f $set)
    (elem (table $known) (i32.const 1) (ref null $n) (ref.func $f) (ref.null $n) (ref.func $g))
    (elem (table $copied_from) (i32.const 0) funcref (global.get $f))
    (elem $passive func $f)
    (func $f (type $n) (i32.const 38))
    (func $g (type $n) (i32.const 252))
    (func $set (type $other) (table.set $set (i32.const 0) (ref.null func)))
    (func (drop (table.grow $grown (ref.null func) (i32.const 1))))
    (func (table.fill $filled (i32.const 0) (ref.null func) (i32.const 1)))
    (func (table.copy $copied_to $copied_from (i32.const 0) (i32.const 0) (i32.const 1)))
    (func (table.init $initialised $passive (i32.const 0) (i32.const 0) (i32.const 1)))
    (func (elem.drop $passive) (drop (table.size $fixed)) (drop (table.get $known (i32.const 0))))
    (func (export "call") (param i32) (result i32)
      (drop (call_indirect $fixed (type $n) (local.get 0)))
      (drop (call_indirect $set (type $n) (local.get 0)))
      (return_call_indirect $known (type $n) (local.get 0))))"#;

fn find_in(bytes: &[u8]) -> Option<(ModuleInfo, FixedTables)> {
    let info = parse(bytes, &TypeRegistry::new().unwrap()).ok()?.info;
    let found = find(&info, bytes, true);
    Some((info, found))
}

#[test]
fn a_table_is_fixed_if_nothing_can_change_it() {
    let (info, found) = find_in(&wat::parse_str(SAMPLE).unwrap()).unwrap();
    let fixed: Vec<usize> = (0..info.tables.len()).filter(|i| found.tables[*i].is_some()).collect();
    // `$fixed`, `$known` and `$copied_from`.
    assert_eq!(fixed, [1, 2, 8]);
    let holds = |table: usize| found.tables[table].as_ref().unwrap().holds.as_ref();
    let (f, g, set) = (0, 1, 2);
    assert_eq!(*holds(1).unwrap(), [(info.funcs[f], vec![0]), (info.funcs[set], vec![2])].into());
    assert_eq!(*holds(2).unwrap(), [(info.funcs[g], vec![0, 1])].into());
    assert_eq!(holds(8), None, "a global's value is not known");
    let calls = found.sites.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>();
    assert_eq!(calls, [0, 0, 0, 0, 0, 0, 0, 0, 2]);
    assert!(find(&info, &wat::parse_str(SAMPLE).unwrap(), false).sites.is_empty(), "they were not asked for");
}

#[test]
fn a_body_that_cannot_be_read_fixes_nothing() {
    let bytes = wat::parse_str(SAMPLE).unwrap();
    let (mut info, _) = find_in(&bytes).unwrap();
    let last = info.bodies.len() - 1;
    info.bodies[last].end -= 1;
    assert!(find(&info, &bytes, true).tables.is_empty(), "a body without its end");
    info.bodies[last] = bytes.len() - 1..bytes.len() + 1;
    assert!(find(&info, &bytes, true).tables.is_empty(), "a body outside the binary");
    let (mut info, _) = find_in(&bytes).unwrap();
    info.tables.truncate(2);
    assert!(find(&info, &bytes, true).tables.is_empty(), "a table that is not there");
}

/// The tables that a valid module's instructions write to, by another way.
fn written(bytes: &[u8]) -> Vec<u32> {
    let mut written = Vec::new();
    for payload in Parser::new(0).parse_all(bytes) {
        let Payload::CodeSectionEntry(body) = payload.unwrap() else { continue };
        for operator in body.get_operators_reader().unwrap() {
            let text = format!("{:?}", operator.unwrap());
            let field = match text.split_once(' ').map_or(text.as_str(), |(name, _)| name) {
                "TableSet" | "TableGrow" | "TableFill" | "TableInit" => "table: ",
                "TableCopy" => "dst_table: ",
                _ => continue,
            };
            let digits = text.split_once(field).unwrap().1;
            let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap();
            written.push(digits[..end].parse().unwrap());
        }
    }
    written
}

/// Flipped bits and lost ends: no panic, and no table of a module that is still valid is fixed though something
/// writes to it.
#[test]
fn damaged_modules_are_not_misjudged() {
    let bytes = wat::parse_str(SAMPLE).unwrap();
    let engine = |cache| {
        let config = Config::new(gc_null::COLLECTOR.with(&Default::default()).unwrap());
        Engine::with_config(config.call_indirect_cache(cache).parallel(false)).unwrap()
    };
    let (with, without) = (engine(true), engine(false));
    let mut valid = 0;
    let mut check = |bytes: &[u8]| {
        let Some((info, found)) = find_in(bytes) else { return };
        let message = |engine| Module::from_binary(engine, bytes).err().map(|error| error.to_string());
        let refused = message(&without);
        assert_eq!(message(&with), refused);
        if refused.is_none() {
            valid += 1;
            let exported = info.exports.iter().filter(|export| export.kind == ExternKind::Table);
            for table in written(bytes).into_iter().chain(exported.map(|export| export.index)).chain([0]) {
                assert!(found.tables.get(table as usize).is_none_or(Option::is_none), "table {table}");
            }
        }
    };
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            check(&bytes);
        }
        check(&bytes[..at]);
    }
    assert!(valid > 100, "{valid}");
}
