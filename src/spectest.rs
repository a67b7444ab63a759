//! The module `spectest`, which the official test scripts import, and small programs print with.
//!
//! It is that of the specification's interpreter (`print`, `print_i32`, …; globals of 666; tables of 10 to 20 functions and
//! memories of 1 to 2 pages, with 32-bit and with 64-bit indices; a shared memory), and `print_char`, by which MoonBit's programs print: one unit of UTF-16 at a time.

use crate::output::{Output, OutputError};
use crate::values;
use engine::types::{FuncType, GlobalType, MemoryType, RefType, TableType, ValType};
use engine::{AsContextMut, Error, Global, Linker, Memory, SharedMemory, Table, Val};

/// The module that programs import.
pub const MODULE: &str = "spectest";

/// The functions that print their arguments, by the types of these.
const PRINTERS: &[(&str, &[ValType])] = &[
    ("print", &[]),
    ("print_i32", &[ValType::I32]),
    ("print_i64", &[ValType::I64]),
    ("print_f32", &[ValType::F32]),
    ("print_f64", &[ValType::F64]),
    ("print_i32_f32", &[ValType::I32, ValType::F32]),
    ("print_f64_f64", &[ValType::F64, ValType::F64]),
];

/// Defines all of `spectest`. What programs print goes to `output`, each argument on a line of its own, as `42 : i32`.
///
/// # Errors
/// When there is no room for its table or memory, or for code.
pub fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    mut store: impl AsContextMut<Data = T>,
    output: &Output,
) -> Result<(), Error> {
    for (name, params) in PRINTERS {
        let (output, params) = (output.clone(), *params);
        linker.func_new(MODULE, name, FuncType::new(params.iter().copied(), []), move |caller, args, _| {
            let lines: String =
                args.iter().zip(params).map(|(arg, ty)| format!("{} : {ty}\n", values::show(arg, &caller))).collect();
            output.write(lines.as_bytes()).map_err(|error| Error::host(OutputError(error)))
        })?;
    }
    let chars = output.clone();
    linker.func_wrap(MODULE, "print_char", move |unit: i32| -> Result<(), Error> {
        chars.write_utf16(unit as u32).map_err(|error| Error::host(OutputError(error)))
    })?;
    let globals = [
        ("global_i32", ValType::I32, Val::I32(666)),
        ("global_i64", ValType::I64, Val::I64(666)),
        ("global_f32", ValType::F32, Val::F32(666.6f32.to_bits())),
        ("global_f64", ValType::F64, Val::F64(666.6f64.to_bits())),
    ];
    for (name, content, value) in globals {
        let global = Global::new(&mut store, GlobalType { content, mutable: false }, &value)?;
        linker.define(&store, MODULE, name, global)?;
    }
    let (min, max) = (10, Some(20));
    let tables = [
        ("table", TableType::new(RefType::FUNCREF, min, max)),
        ("table64", TableType::new_64(RefType::FUNCREF, min, max)),
    ];
    for (name, ty) in tables {
        let table = Table::new(&mut store, ty, &Val::FuncRef(None))?;
        linker.define(&store, MODULE, name, table)?;
    }
    let (min, max) = (1, Some(2));
    for (name, ty) in [("memory", MemoryType::new(min, max)), ("memory64", MemoryType::new_64(min, max))] {
        let memory = Memory::new(&mut store, ty)?;
        linker.define(&store, MODULE, name, memory)?;
    }
    let shared = SharedMemory::new(MemoryType::new(min, max).shared())?;
    linker.define(&store, MODULE, "shared_memory", shared)?;
    Ok(())
}
