//! Values as people write and read them.

use engine::types::{HeapType, Hierarchy, RefType, ValType};
use engine::{AnyRef, AsContext, AsContextMut, Val};
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A value, on one line: integers as signed decimals, floats with all their digits (`1.0`, `nan`, `-inf`), vectors as 32
/// hexadecimal digits, of which lane 0 is the last, references by what they refer to (`(ref.struct)`, `(ref.i31 5)`,
/// `(ref.null any)`).
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
/// Integers are decimal or hexadecimal (`0x…`), signed or not; floats may be `nan` and `inf`; a vector is a shape and its lanes
/// (`i32x4:1,2,3,-4`, `f64x2:0.5,inf`), lowest first, or one number of 128 bits; a reference is `null`, or a number for an `i31`.
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
        ValType::V128 => vector(text),
        ValType::Ref(ty) => reference(text, ty, store),
    }
}

/// Parses a lane of so many bits.
type Lane = fn(&str, u32) -> Result<u128, String>;

/// The vector that `text` stands for: all its bits as one number, or a shape and its lanes.
fn vector(text: &str) -> Result<Val, String> {
    let Some((shape, lanes)) = text.split_once(':') else {
        let bits = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(digits) => unsigned(digits, 16),
            None => unsigned(text, 10),
        };
        let expected = "a whole number of 128 bits, decimal or as 0x…, or a shape and its lanes like i32x4:1,2,-3,0x4";
        return bits.map(Val::V128).ok_or_else(|| wrong(text, "a v128", expected));
    };
    let (bits, lane): (u32, Lane) = match shape {
        "i8x16" => (8, integer_lane),
        "i16x8" => (16, integer_lane),
        "i32x4" => (32, integer_lane),
        "i64x2" => (64, integer_lane),
        "f32x4" => (32, |text, _| float_lane(text, "an f32", |x: f32| x.to_bits().into())),
        "f64x2" => (64, |text, _| float_lane(text, "an f64", |x: f64| x.to_bits().into())),
        _ => return Err(wrong(text, "a v128", "one of the shapes i8x16, i16x8, i32x4, i64x2, f32x4 and f64x2")),
    };
    let (lanes, count): (Vec<&str>, _) = (lanes.split(',').collect(), 128 / bits as usize);
    if lanes.len() != count {
        return Err(wrong(text, "a v128", &format!("{shape} has {count} lanes, not {}: so many numbers", lanes.len())));
    }
    let places = (0..128).step_by(bits as usize);
    lanes.iter().zip(places).map(|(text, place)| Ok(lane(text, bits)? << place)).sum::<Result<_, _>>().map(Val::V128)
}

fn integer_lane(text: &str, bits: u32) -> Result<u128, String> {
    let range = -1i128 << (bits - 1)..=(1i128 << bits) - 1;
    let expected = || format!("a whole number from {} to {}, decimal or as 0x…", range.start(), range.end());
    let value = integer(text, range.clone()).ok_or_else(|| wrong(text, &format!("an i{bits}"), &expected()))?;
    Ok(value as u128 & (u128::MAX >> (128 - bits)))
}

fn float_lane<F: FromStr>(text: &str, ty: &str, to_bits: fn(F) -> u128) -> Result<u128, String> {
    text.parse().map(to_bits).map_err(|_| wrong(text, ty, "a number like 1.5, -2e3, inf or nan"))
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
    let magnitude = i128::try_from(unsigned(digits, radix)?).ok()?;
    Some(if negative { -magnitude } else { magnitude }).filter(|n| range.contains(n))
}

/// A whole number without sign, with `_` between digits where one likes.
fn unsigned(digits: &str, radix: u32) -> Option<u128> {
    let starts = digits.starts_with(|c: char| c.is_digit(radix));
    starts.then(|| u128::from_str_radix(&digits.replace('_', ""), radix).ok()).flatten()
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
            (ValType::V128, "i8x16:0,1,2,3,4,5,6,7,8,9,10,11,12,13,-2,255", "0xfffe0d0c0b0a09080706050403020100"),
            (ValType::V128, "i16x8:0,1,2,3,4,5,-1,0x8000", "0x8000ffff000500040003000200010000"),
            (ValType::V128, "i32x4:1,-2,3,0xFFFF_FFFF", "0xffffffff00000003fffffffe00000001"),
            (ValType::V128, "i64x2:-9223372036854775808,1", "0x00000000000000018000000000000000"),
            (ValType::V128, "f32x4:1,-0,inf,-1.5", "0xbfc000007f800000800000003f800000"),
            (ValType::V128, "f64x2:-2,0.5", "0x3fe0000000000000c000000000000000"),
            (ValType::V128, "340282366920938463463374607431768211455", "0xffffffffffffffffffffffffffffffff"),
            (ValType::V128, "0x80000000_00000000_00000000_00000001", "0x80000000000000000000000000000001"),
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
            (ValType::V128, "-1", "128 bits"),
            (ValType::V128, "0x1_00000000_00000000_00000000_00000000", "128 bits"),
            (ValType::V128, "i32x2:1,2", "i32x4"),
            (ValType::V128, "i32x4:1,2,3", "4 lanes, not 3"),
            (ValType::V128, "i64x2:1,2,3", "2 lanes, not 3"),
            (ValType::V128, "i16x8:0,0,0,0,0,0,0,65536", "from -32768 to 65535"),
            (ValType::V128, "i8x16:0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,", "from -128 to 255"),
            (ValType::V128, "f64x2:1,one", "inf"),
            (ValType::ANYREF, "4294967296", "31 bits"),
            (ValType::FUNCREF, "0", "`null`"),
            (ValType::Ref(RefType::non_null(HeapType::Struct)), "null", "cannot give"),
        ] {
            let error = parse(text, ty, &mut store).unwrap_err();
            assert!(error.contains(advice), "{text} as {ty}: {error}");
        }
    }
}
