//! Which functions are called with what.

use std::fmt;
use wasmparser::types::TypesRef;
use wasmparser::{
    AbstractHeapType as A, CompositeInnerType, ExternalKind, HeapType, Parser, Payload, ValType, Validator,
};

/// The functions of a module that are called, in order, with their arguments.
#[derive(Debug)]
pub struct Plan {
    /// Name and arguments.
    pub calls: Vec<(String, Vec<Arg>)>,
}

/// An argument.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
    V128(u128),
    NullAny,
    NullExtern,
    NullFunc,
    NullExn,
    /// An unboxed integer, as one of the types above it.
    I31(i32),
    /// A value of the host's.
    Host(u64),
    /// The function of this export.
    Func(String),
}

/// Numbers that a seed decides (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Often a number at a border.
    fn number(&mut self) -> u64 {
        const BORDERS: [u64; 12] =
            [0, 1, 2, 7, 31, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 1 << 63, u64::MAX];
        let roll = self.roll();
        if roll & 1 == 0 { self.roll() } else { BORDERS[(roll >> 1) as usize % BORDERS.len()] }
    }
}

impl Plan {
    /// A plan for the module `binary`.
    ///
    /// # Errors
    /// When it is not valid with what Gleaner supports.
    pub fn new(binary: &[u8], seed: u64) -> Result<Plan, String> {
        let said = |error: &dyn fmt::Display| format!("the module is not valid: {error}");
        let types = Validator::new_with_features(engine::FEATURES).validate_all(binary).map_err(|e| said(&e))?;
        let types = types.as_ref();
        let mut exports = Vec::new();
        for payload in Parser::new(0).parse_all(binary) {
            if let Payload::ExportSection(section) = payload.map_err(|e| said(&e))? {
                for export in section {
                    let export = export.map_err(|e| said(&e))?;
                    if export.kind == ExternalKind::Func {
                        exports.push((export.name.to_string(), export.index));
                    }
                }
            }
        }
        let mut dice = Dice(seed);
        let names: Vec<&str> = exports.iter().map(|(name, _)| name.as_str()).collect();
        let mut calls = Vec::new();
        for (name, index) in &exports {
            let CompositeInnerType::Func(ty) = &types[types.core_function_at(*index)].composite_type.inner else {
                unreachable!("validated: a function has a function type")
            };
            let args = ty.params().iter().map(|ty| arg(ty, types, &mut dice, &names)).collect::<Option<Vec<Arg>>>();
            if let Some(args) = args {
                calls.push((name.clone(), args));
            }
        }
        Ok(Plan { calls })
    }
}

/// An argument of this type, if the host can make one.
fn arg(ty: &ValType, types: TypesRef<'_>, dice: &mut Dice, funcs: &[&str]) -> Option<Arg> {
    Some(match ty {
        ValType::I32 => Arg::I32(dice.number() as i32),
        ValType::I64 => Arg::I64(dice.number() as i64),
        // Not a NaN with a payload of its own, which the module would pass on.
        ValType::F32 => Arg::F32((dice.number() as i32 as f32).to_bits()),
        ValType::F64 => Arg::F64((dice.number() as i64 as f64).to_bits()),
        ValType::V128 => Arg::V128(dice.number() as u128 | (dice.number() as u128) << 64),
        ValType::Ref(ty) => {
            let null = ty.is_nullable() && dice.roll() & 1 == 0;
            let heap = match ty.heap_type() {
                HeapType::Abstract { ty: heap, .. } => heap,
                HeapType::Concrete(index) | HeapType::Exact(index) => {
                    let id = index.as_core_type_id().expect("validated types have ids");
                    let func = matches!(types[id].composite_type.inner, CompositeInnerType::Func(_));
                    if func { A::NoFunc } else { A::None }
                }
            };
            match heap {
                A::Any | A::Eq | A::I31 if null => Arg::NullAny,
                A::Any | A::Eq | A::I31 => Arg::I31((dice.number() as i32) << 1 >> 1),
                A::Extern if !null => Arg::Host(dice.roll() % 100),
                A::Func if !null => Arg::Func(funcs[dice.roll() as usize % funcs.len()].to_string()),
                _ if !ty.is_nullable() => return None,
                A::None | A::Struct | A::Array => Arg::NullAny,
                A::Extern | A::NoExtern => Arg::NullExtern,
                A::Func | A::NoFunc => Arg::NullFunc,
                A::Exn | A::NoExn => Arg::NullExn,
                A::Cont | A::NoCont => return None,
            }
        }
    })
}
