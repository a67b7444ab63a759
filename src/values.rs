//! Values as people write and read them.

use engine::types::{HeapType, Hierarchy, RefType, ValType};
use engine::{AnyRef, AsContext, AsContextMut, Val};
use std::ops::RangeInclusive;

/// A value, on one line: integers as signed decimals, floats with all their digits (`1.0`, `nan`, `-inf`), references by
/// what they refer to (`(ref.struct)`, `(ref.i31 5)`, `(ref.null any)`).
///
/// ```
/// # let engine = engine::Engine::new(gleaner::collectors::by_spec("null").unwrap()).unwrap();
/// # let store = engine::Store::new(&engine, ()).unwrap();
/// use engine::Val;
/// use gleaner::values::show;
/// assert_eq!(show(&Val::I32(-1), &store), "-1");
/// assert_eq!(show(&Val::F64(1f64.to_bits()), &store), "1.0");
/// assert_eq!(show(&Val::AnyRef(None), &store), "(ref.null any)");
/// ```
pub fn show(value: &Val, store: impl AsContext) -> String {
    match value {
        Val::I32(n) => n.to_string(),
        Val::I64(n) => n.to_string(),
        Val::F32(bits) => float(f32::from_bits(*bits), f32::is_nan),
        Val::F64(bits) => float(f64::from_bits(*bits), f64::is_nan),
        Val::V128(bits) => format!("{bits:#034x}"),
        Val::FuncRef(Some(_)) => "(ref.func)".into(),
        Val::ExternRef(Some(_)) => "(ref.extern)".into(),
        Val::ExnRef(Some(_)) => "(ref.exn)".into(),
        Val::AnyRef(Some(any)) => match any.heap_type(&store) {
            // 31 bits, of which the highest is the sign.
            HeapType::I31 => format!("(ref.i31 {})", ((any.i31(&store).unwrap_or_default() << 1) as i32) >> 1),
            HeapType::Struct | HeapType::ConcreteStruct(_) => "(ref.struct)".into(),
            HeapType::Array | HeapType::ConcreteArray(_) => "(ref.array)".into(),
            _ => "(ref.host)".into(),
        },
        Val::FuncRef(None) => "(ref.null func)".into(),
        Val::ExternRef(None) => "(ref.null extern)".into(),
        Val::ExnRef(None) => "(ref.null exn)".into(),
        Val::AnyRef(None) => "(ref.null any)".into(),
    }
}

/// Values on one line.
pub fn show_all(values: &[Val], store: impl AsContext) -> String {
    match values {
        [] => "no result".into(),
        values => values.iter().map(|value| show(value, &store)).collect::<Vec<_>>().join(", "),
    }
}

/// A float as Rust's notation for literals has it, which distinguishes it from an integer and stays short.
fn float<F: Copy + std::fmt::Debug>(value: F, is_nan: fn(F) -> bool) -> String {
    if is_nan(value) { "nan".into() } else { format!("{value:?}") }
}

/// The value of type `ty` that `text` stands for on a command line.
///
/// Integers are decimal or hexadecimal (`0x…`), signed or not; floats may be `nan` and `inf`; a reference is `null`, or a
/// number for an `i31`.
///
/// # Errors
/// What goes here, when `text` does not.
pub fn parse(text: &str, ty: ValType, store: impl AsContextMut) -> Result<Val, String> {
    match ty {
        ValType::I32 => integer(text, i32::MIN.into()..=u32::MAX.into())
            .map(|n| Val::I32(n as i32))
            .ok_or_else(|| wrong(text, "an i32", "a whole number from -2147483648 to 4294967295, decimal or as 0x…")),
        ValType::I64 => integer(text, i64::MIN.into()..=u64::MAX.into())
            .map(|n| Val::I64(n as i64))
            .ok_or_else(|| wrong(text, "an i64", "a whole number of 64 bits, decimal or as 0x…")),
        ValType::F32 => text
            .parse()
            .map(|x: f32| Val::F32(x.to_bits()))
            .map_err(|_| wrong(text, "an f32", "a number like 1.5, -2e3, inf or nan")),
        ValType::F64 => text
            .parse()
            .map(|x: f64| Val::F64(x.to_bits()))
            .map_err(|_| wrong(text, "an f64", "a number like 1.5, -2e3, inf or nan")),
        ValType::V128 => Err("v128 values cannot be given on the command line".into()),
        ValType::Ref(ty) => reference(text, ty, store),
    }
}

fn reference(text: &str, ty: RefType, store: impl AsContextMut) -> Result<Val, String> {
    const I31: RangeInclusive<i128> = -(1 << 30)..=(1 << 31) - 1;
    let takes_i31 = matches!(ty.heap, HeapType::Any | HeapType::Eq | HeapType::I31);
    if ty.nullable && matches!(text, "null" | "ref.null") {
        return Ok(match ty.heap.hierarchy() {
            Hierarchy::Func => Val::FuncRef(None),
            Hierarchy::Extern => Val::ExternRef(None),
            Hierarchy::Any => Val::AnyRef(None),
            Hierarchy::Exn => Val::ExnRef(None),
        });
    }
    match integer(text, I31) {
        Some(n) if takes_i31 => return Ok(Val::AnyRef(Some(AnyRef::from_i31(store, n as u32)))),
        _ => {}
    }
    let expected = match (ty.nullable, takes_i31) {
        (true, true) => "`null`, or a number of 31 bits for an i31",
        (true, false) => "`null`, the only reference of this kind that a command line can give",
        (false, true) => "a number of 31 bits, for an i31",
        (false, false) => "a reference, which a command line cannot give: call the function from another module",
    };
    Err(wrong(text, &ty.to_string(), expected))
}

fn wrong(text: &str, ty: &str, expected: &str) -> String {
    format!("`{text}` is not {ty}: {expected} goes here")
}

/// A whole number in `range`, decimal or hexadecimal, with `_` between digits where one likes.
fn integer(text: &str, range: RangeInclusive<i128>) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => (16, digits),
        None => (10, digits),
    };
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    let magnitude = i128::from_str_radix(&digits.replace('_', ""), radix).ok()?;
    Some(if negative { -magnitude } else { magnitude }).filter(|n| range.contains(n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{Engine, Store};

    fn store() -> Store<()> {
        Store::new(&Engine::new(crate::collectors::by_spec("null").unwrap()).unwrap(), ()).unwrap()
    }

    #[test]
    fn arguments_parse_and_print() {
        let mut store = store();
        for (ty, text, shown) in [
            (ValType::I32, "42", "42"),
            (ValType::I32, "-0x80000000", "-2147483648"),
            (ValType::I32, "4294967295", "-1"),
            (ValType::I32, "0xFFFF_FFFF", "-1"),
            (ValType::I64, "18446744073709551615", "-1"),
            (ValType::I64, "-9223372036854775808", "-9223372036854775808"),
            (ValType::F32, "1.5", "1.5"),
            (ValType::F32, "-inf", "-inf"),
            (ValType::F64, "3", "3.0"),
            (ValType::F64, "nan", "nan"),
            (ValType::F64, "1e300", "1e300"),
            (ValType::ANYREF, "null", "(ref.null any)"),
            (ValType::ANYREF, "-5", "(ref.i31 -5)"),
            (ValType::Ref(RefType::non_null(HeapType::I31)), "0x7fffffff", "(ref.i31 -1)"),
            (ValType::EXTERNREF, "null", "(ref.null extern)"),
            (ValType::FUNCREF, "null", "(ref.null func)"),
        ] {
            let value = parse(text, ty, &mut store).unwrap();
            assert_eq!(show(&value, &store), shown, "{text} as {ty}");
        }
    }

    #[test]
    fn wrong_arguments_say_what_is_right() {
        let mut store = store();
        for (ty, text, advice) in [
            (ValType::I32, "4294967296", "4294967295"),
            (ValType::I32, "1.5", "whole number"),
            (ValType::I32, "0x", "whole number"),
            (ValType::I32, "--1", "whole number"),
            (ValType::I32, "_1", "whole number"),
            (ValType::I64, "18446744073709551616", "64 bits"),
            (ValType::F64, "one", "inf"),
            (ValType::ANYREF, "4294967296", "31 bits"),
            (ValType::FUNCREF, "0", "`null`"),
            (ValType::Ref(RefType::non_null(HeapType::Struct)), "null", "cannot give"),
        ] {
            let error = parse(text, ty, &mut store).unwrap_err();
            assert!(error.contains(advice), "{text} as {ty}: {error}");
        }
    }
}
