//! Which tables nothing can change once the instance is made, so that calls through them may rely on what they hold, and
//! on what they found before.
//!
//! A table can be changed by its module's instructions (`table.set`, `table.grow`, `table.fill`, and `table.copy` and
//! `table.init` that write to it), by whoever imports it, by whom it is imported from, and by the host, who gets it as
//! an export. A table is *fixed* if none of these exist. To know the first, all bodies are searched before any is compiled,
//! and so before they are known to be valid: a body that cannot be decoded, or names a table that is not there, makes
//! no table fixed. Its module will be refused anyway.
//!
//! Only tables of functions with 32-bit indices count: others are not called through, or lack an index that no call has.

use crate::info::{ConstExpr, ConstOp, ElementItems, ExternKind, FixedTable, FixedTables, ModuleInfo, SegmentMode};
use crate::parse::FEATURES;
use gc_api::TypeIndex;
use std::collections::BTreeMap;
use std::ops::Range;
use wasmparser::{BinaryReader, BinaryReaderError, FunctionBody, Operator};

/// Finds the fixed tables of the module `bytes`, and with `calls` the calls through them. Linear in the size of the code.
pub fn find(info: &ModuleInfo, bytes: &[u8], calls: bool) -> FixedTables {
    search(info, bytes, calls).unwrap_or_default()
}

/// Why no table is fixed: a body is not valid.
struct Invalid;

impl From<BinaryReaderError> for Invalid {
    fn from(_: BinaryReaderError) -> Invalid {
        Invalid
    }
}

fn search(info: &ModuleInfo, bytes: &[u8], calls: bool) -> Result<FixedTables, Invalid> {
    let candidates = info.tables.iter().zip(0..);
    let mut fixed: Vec<bool> =
        candidates.map(|(ty, index)| index >= info.imported_tables && !ty.element.is_gc_ref() && !ty.is_64).collect();
    for export in info.exports.iter().filter(|export| export.kind == ExternKind::Table) {
        *fixed.get_mut(export.index as usize).ok_or(Invalid)? = false;
    }
    for body in &info.bodies {
        each_operator(bytes, body, &[TABLE_SET, TABLE_OTHERS], |op| {
            let written = match *op {
                Operator::TableSet { table }
                | Operator::TableGrow { table }
                | Operator::TableFill { table }
                | Operator::TableCopy { dst_table: table, .. }
                | Operator::TableInit { table, .. } => table,
                _ => return Ok(()),
            };
            *fixed.get_mut(written as usize).ok_or(Invalid)? = false;
            Ok(())
        })?;
    }
    if !fixed.contains(&true) {
        return Err(Invalid);
    }
    let sites = if calls { call_sites(info, bytes, &fixed)? } else { Vec::new() };
    let tables = fixed.iter().enumerate();
    let tables = tables.map(|(table, fixed)| fixed.then(|| FixedTable { holds: possible_funcs(info, table as u32) }));
    Ok(FixedTables { tables: tables.collect(), sites })
}

/// Numbers the calls through fixed tables, as [`FixedTables::sites`] has them.
fn call_sites(info: &ModuleInfo, bytes: &[u8], fixed: &[bool]) -> Result<Vec<u32>, Invalid> {
    let mut sites = Vec::with_capacity(info.bodies.len() + 1);
    let mut count = 0u32;
    for body in &info.bodies {
        sites.push(count);
        each_operator(bytes, body, &[CALL_INDIRECT, RETURN_CALL_INDIRECT], |op| {
            if let Operator::CallIndirect { table_index, .. } | Operator::ReturnCallIndirect { table_index, .. } = *op {
                count += u32::from(*fixed.get(table_index as usize).ok_or(Invalid)?);
            }
            Ok(())
        })?;
    }
    sites.push(count);
    Ok(sites)
}

const CALL_INDIRECT: u8 = 0x11;
const RETURN_CALL_INDIRECT: u8 = 0x13;
const TABLE_SET: u8 = 0x26;
/// The prefix of the other instructions on tables.
const TABLE_OTHERS: u8 = 0xfc;

/// Shows `f` the operators of a body that contains one of `opcodes`; without these bytes it has no such instruction.
fn each_operator(
    bytes: &[u8],
    body: &Range<usize>,
    opcodes: &[u8],
    mut f: impl FnMut(&Operator<'_>) -> Result<(), Invalid>,
) -> Result<(), Invalid> {
    let code = bytes.get(body.clone()).ok_or(Invalid)?;
    if !code.iter().any(|byte| opcodes.contains(byte)) {
        return Ok(());
    }
    let mut reader = BinaryReader::new(code, body.start as u64);
    reader.set_features(FEATURES);
    let mut operators = FunctionBody::new(reader).get_operators_reader()?;
    while !operators.eof() {
        f(&operators.read()?)?;
    }
    Ok(operators.finish()?)
}

/// The functions that a fixed table may hold; `None` when they are not all known.
fn possible_funcs(info: &ModuleInfo, table: u32) -> Option<BTreeMap<TypeIndex, Vec<u32>>> {
    let mut funcs = Vec::new();
    let init = info.table_inits[(table - info.imported_tables) as usize].as_ref();
    init.into_iter().try_for_each(|expr| add_func(expr, &mut funcs))?;
    for segment in &info.elements {
        match (&segment.mode, &segment.items) {
            (SegmentMode::Active { target, .. }, _) if *target != table => {}
            (SegmentMode::Active { .. }, ElementItems::Funcs(indices)) => funcs.extend(indices),
            (SegmentMode::Active { .. }, ElementItems::Exprs(exprs)) => {
                exprs.iter().try_for_each(|expr| add_func(expr, &mut funcs))?;
            }
            (SegmentMode::Passive | SegmentMode::Declared, _) => {}
        }
    }
    funcs.sort_unstable();
    funcs.dedup();
    let mut by_type = BTreeMap::<TypeIndex, Vec<u32>>::new();
    for func in funcs {
        by_type.entry(*info.funcs.get(func as usize)?).or_default().push(func);
    }
    Some(by_type)
}

/// Adds the function that an expression gives, if it gives one rather than null; `None` when that is not known.
fn add_func(expr: &ConstExpr, funcs: &mut Vec<u32>) -> Option<()> {
    match **expr {
        [ConstOp::RefFunc(func)] => funcs.push(func),
        [ConstOp::RefNull] => {}
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests;
