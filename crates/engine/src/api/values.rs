//! Values, as the host sees them.

use super::refs::{check_live, ref_matches};
use super::{AnyRef, Error, ExnRef, ExternRef, Func, Result, Rooted};
use crate::runtime::const_expr::Constant;
use crate::runtime::handles::Root;
use crate::runtime::store::StoreOpaque;
use crate::types::{HeapType, Hierarchy, RefType, ValType};
use crate::vm::{VMFuncRef, ValRaw};
use gc_api::VMGcRef;
use std::fmt;

/// A vector: 128 bits, lane 0 in the lowest ones, whatever their shape. What a `v128` is to [`Func::wrap`] and
/// [`TypedFunc`](super::TypedFunc).
///
/// ```
/// # fn main() -> engine::Result<()> {
/// use engine::{Engine, Instance, Module, Store, V128};
/// let engine = Engine::new(gc_null::COLLECTOR.with(&Default::default()).unwrap())?;
/// let module = Module::new(&engine, r#"
///     (module
///       (func (export "double") (param v128) (result v128)
///         (f32x4.add (local.get 0) (local.get 0))))"#)?;
/// let mut store = Store::new(&engine, ())?;
/// let double = Instance::new(&mut store, &module, &[])?.get_func(&mut store, "double")?;
/// let double = double.typed::<V128, V128>(&store)?;
/// let result = double.call(&mut store, V128::from([1.0f32, -2.0, 0.5, 8.0]))?;
/// assert_eq!(<[f32; 4]>::from(result), [2.0, -4.0, 1.0, 16.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct V128(u128);

impl V128 {
    /// The bits.
    pub const fn to_bits(self) -> u128 {
        self.0
    }

    /// The vector with these bits.
    pub const fn from_bits(bits: u128) -> V128 {
        V128(bits)
    }
}

impl fmt::Debug for V128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "V128({:#034x})", self.0)
    }
}

impl From<u128> for V128 {
    fn from(bits: u128) -> V128 {
        V128(bits)
    }
}

impl From<V128> for u128 {
    fn from(vector: V128) -> u128 {
        vector.0
    }
}

macro_rules! shapes {
    ($($lane:ty, $lanes:literal;)*) => {$(
        impl From<[$lane; $lanes]> for V128 {
            fn from(lanes: [$lane; $lanes]) -> V128 {
                const BYTES: usize = size_of::<$lane>();
                let mut bytes = [0; 16];
                for (place, lane) in bytes.chunks_exact_mut(BYTES).zip(lanes) {
                    place.copy_from_slice(&lane.to_le_bytes());
                }
                V128(u128::from_le_bytes(bytes))
            }
        }

        impl From<V128> for [$lane; $lanes] {
            fn from(vector: V128) -> [$lane; $lanes] {
                const BYTES: usize = size_of::<$lane>();
                let bytes = vector.0.to_le_bytes();
                std::array::from_fn(|i| {
                    <$lane>::from_le_bytes(std::array::from_fn(|byte| bytes[i * BYTES + byte]))
                })
            }
        }
    )*};
}
shapes! {
    i8, 16;
    u8, 16;
    i16, 8;
    u16, 8;
    i32, 4;
    u32, 4;
    i64, 2;
    u64, 2;
    f32, 4;
    f64, 2;
}

/// A value of WebAssembly's.
#[derive(Clone, Debug)]
pub enum Val {
    /// A 32-bit integer.
    I32(i32),
    /// A 64-bit integer.
    I64(i64),
    /// The bits of a 32-bit float.
    F32(u32),
    /// The bits of a 64-bit float.
    F64(u64),
    /// The bits of a vector, lane 0 in the lowest: see [`V128`].
    V128(u128),
    /// A reference to a function, or null.
    FuncRef(Option<Func>),
    /// An external reference, or null.
    ExternRef(Option<Rooted<ExternRef>>),
    /// An internal reference, or null.
    AnyRef(Option<Rooted<AnyRef>>),
    /// A reference to an exception, or null.
    ExnRef(Option<Rooted<ExnRef>>),
}

impl Val {
    /// The default of a type: zero or null. `None` for references that may not be null.
    pub fn default_of(ty: ValType) -> Option<Val> {
        Some(match ty {
            ValType::I32 => Val::I32(0),
            ValType::I64 => Val::I64(0),
            ValType::F32 => Val::F32(0),
            ValType::F64 => Val::F64(0),
            ValType::V128 => Val::V128(0),
            ValType::Ref(ty) if !ty.nullable => return None,
            ValType::Ref(ty) => Val::null(ty.heap),
        })
    }

    /// Null, in the family of `heap`.
    pub fn null(heap: HeapType) -> Val {
        match heap.hierarchy() {
            Hierarchy::Func => Val::FuncRef(None),
            Hierarchy::Extern => Val::ExternRef(None),
            Hierarchy::Any => Val::AnyRef(None),
            Hierarchy::Exn => Val::ExnRef(None),
        }
    }

    /// The integer, of an `i32`.
    pub fn i32(&self) -> Option<i32> {
        if let Val::I32(value) = self { Some(*value) } else { None }
    }

    /// The integer, of an `i64`.
    pub fn i64(&self) -> Option<i64> {
        if let Val::I64(value) = self { Some(*value) } else { None }
    }

    /// The float, of an `f32`.
    pub fn f32(&self) -> Option<f32> {
        if let Val::F32(bits) = self { Some(f32::from_bits(*bits)) } else { None }
    }

    /// The float, of an `f64`.
    pub fn f64(&self) -> Option<f64> {
        if let Val::F64(bits) = self { Some(f64::from_bits(*bits)) } else { None }
    }

    /// The vector, of a `v128`.
    pub fn v128(&self) -> Option<V128> {
        if let Val::V128(bits) = self { Some(V128(*bits)) } else { None }
    }

    /// Whether it is a reference that is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Val::FuncRef(None) | Val::ExternRef(None) | Val::AnyRef(None) | Val::ExnRef(None))
    }

    /// The type, without what only the object knows.
    pub fn ty(&self) -> ValType {
        let reference = |null: bool, heap| ValType::Ref(RefType { nullable: null, heap });
        match self {
            Val::I32(_) => ValType::I32,
            Val::I64(_) => ValType::I64,
            Val::F32(_) => ValType::F32,
            Val::F64(_) => ValType::F64,
            Val::V128(_) => ValType::V128,
            Val::FuncRef(r) => reference(r.is_none(), HeapType::Func),
            Val::ExternRef(r) => reference(r.is_none(), HeapType::Extern),
            Val::AnyRef(r) => reference(r.is_none(), HeapType::Any),
            Val::ExnRef(r) => reference(r.is_none(), HeapType::Exn),
        }
    }

    /// The root in it.
    fn root(&self) -> Option<&Root> {
        match self {
            Val::ExternRef(Some(r)) => Some(r.root()),
            Val::AnyRef(Some(r)) => Some(r.root()),
            Val::ExnRef(Some(r)) => Some(r.root()),
            _ => None,
        }
    }

    /// Checks that this is a value of type `ty` in `store`.
    pub(crate) fn check(&self, store: &StoreOpaque, ty: &ValType) -> Result<()> {
        if let Some(root) = self.root() {
            if root.store() != store.id() {
                return Err(Error::usage("a reference is used with another store than its own"));
            }
            check_live(store, root)?;
        }
        let matches = match (self, ty) {
            (Val::I32(_), ValType::I32)
            | (Val::I64(_), ValType::I64)
            | (Val::F32(_), ValType::F32)
            | (Val::F64(_), ValType::F64)
            | (Val::V128(_), ValType::V128) => true,
            (Val::FuncRef(Some(func)), ValType::Ref(ty)) => {
                // SAFETY: function references are the store's, as `func_ref` checks, and live as long as it.
                let own = unsafe { (*func.func_ref(store)).type_index };
                store.registry().heap_matches(HeapType::ConcreteFunc(own), ty.heap)
            }
            (reference, ValType::Ref(ty)) => match (reference.root(), reference.ty()) {
                (Some(root), ValType::Ref(own)) => {
                    ref_matches(store, &store.rooted(root.index()), own.heap.hierarchy(), *ty)
                }
                (None, ValType::Ref(own)) => ty.nullable && own.heap.hierarchy() == ty.heap.hierarchy(),
                _ => false,
            },
            _ => false,
        };
        if matches { Ok(()) } else { Err(Error::usage(format!("expected a value of type {ty}, got {self}"))) }
    }

    /// The value as compiled code and slots hold it; a reference is borrowed from its handle until the next safepoint.
    pub(crate) fn borrow_raw(&self, store: &StoreOpaque) -> u128 {
        match self {
            Val::I32(value) => *value as u32 as u128,
            Val::I64(value) => *value as u64 as u128,
            Val::F32(bits) => *bits as u128,
            Val::F64(bits) => *bits as u128,
            Val::V128(bits) => *bits,
            Val::FuncRef(None) => 0,
            Val::FuncRef(Some(func)) => func.func_ref(store) as u64 as u128,
            reference => reference.root().map_or(0, |root| store.rooted(root.index()).raw() as u128),
        }
    }

    /// The value as an argument for compiled code: a reference is handed over to the stack.
    pub(crate) fn expose(&self, store: &mut StoreOpaque) -> ValRaw {
        match self.root() {
            None => ValRaw(self.borrow_raw(store)),
            Some(root) => {
                let owned = store.clone_ref(&store.rooted(root.index()));
                ValRaw(store.heap_mut().expose(owned) as u128)
            }
        }
    }

    /// A value that compiled code left behind; a reference is borrowed from the stack.
    pub(crate) fn from_raw(store: &mut StoreOpaque, raw: ValRaw, ty: &ValType) -> Val {
        let constant = match VMGcRef::from_raw(raw.u32()) {
            Some(r) if ty.is_gc_ref() => {
                let owned = store.clone_ref(&r);
                Constant::Ref(Some(store.root_slot(owned)))
            }
            None if ty.is_gc_ref() => Constant::Ref(None),
            _ => Constant::Bits(raw.0),
        };
        Val::from_constant(store, constant, ty)
    }

    /// A value of type `ty`, with what it holds.
    pub(crate) fn from_constant(store: &mut StoreOpaque, constant: Constant, ty: &ValType) -> Val {
        let bits = match constant {
            Constant::Bits(bits) => bits,
            Constant::Ref(slot) => {
                let guard = slot.map(|slot| store.guard(slot));
                let ValType::Ref(ty) = ty else { unreachable!("a reference has a reference's type") };
                return match ty.heap.hierarchy() {
                    Hierarchy::Extern => Val::ExternRef(guard.map(Rooted::new)),
                    Hierarchy::Any => Val::AnyRef(guard.map(Rooted::new)),
                    Hierarchy::Exn => Val::ExnRef(guard.map(Rooted::new)),
                    Hierarchy::Func => unreachable!("functions are not in the heap"),
                };
            }
        };
        match ty {
            ValType::I32 => Val::I32(bits as i32),
            ValType::I64 => Val::I64(bits as i64),
            ValType::F32 => Val::F32(bits as u32),
            ValType::F64 => Val::F64(bits as u64),
            ValType::V128 => Val::V128(bits),
            ValType::Ref(ty) if ty.is_gc_ref() => Val::null(ty.heap),
            ValType::Ref(_) => Val::FuncRef(Func::from_ref(store, bits as u64 as *const VMFuncRef)),
        }
    }
}

impl fmt::Display for Val {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Val::I32(value) => write!(f, "{value}"),
            Val::I64(value) => write!(f, "{value}"),
            Val::F32(bits) => write!(f, "{}", f32::from_bits(*bits)),
            Val::F64(bits) => write!(f, "{}", f64::from_bits(*bits)),
            Val::V128(bits) => write!(f, "{bits:#034x}"),
            Val::FuncRef(None) | Val::ExternRef(None) | Val::AnyRef(None) | Val::ExnRef(None) => f.write_str("null"),
            Val::FuncRef(Some(_)) => f.write_str("<function>"),
            Val::ExternRef(Some(_)) => f.write_str("<extern>"),
            Val::AnyRef(Some(_)) => f.write_str("<any>"),
            Val::ExnRef(Some(_)) => f.write_str("<exception>"),
        }
    }
}

macro_rules! from {
    ($($ty:ty => |$value:ident| $val:expr;)*) => {$(
        impl From<$ty> for Val {
            fn from($value: $ty) -> Val {
                $val
            }
        }
    )*};
}
from! {
    i32 => |value| Val::I32(value);
    u32 => |value| Val::I32(value as i32);
    i64 => |value| Val::I64(value);
    u64 => |value| Val::I64(value as i64);
    f32 => |value| Val::F32(value.to_bits());
    f64 => |value| Val::F64(value.to_bits());
    V128 => |vector| Val::V128(vector.to_bits());
    Func => |func| Val::FuncRef(Some(func));
    Rooted<ExternRef> => |r| Val::ExternRef(Some(r));
    Rooted<AnyRef> => |r| Val::AnyRef(Some(r));
    Rooted<ExnRef> => |r| Val::ExnRef(Some(r));
    Rooted<super::EqRef> => |r| Val::AnyRef(Some(r.into()));
    Rooted<super::I31Ref> => |r| Val::AnyRef(Some(r.into()));
    Rooted<super::StructRef> => |r| Val::AnyRef(Some(r.into()));
    Rooted<super::ArrayRef> => |r| Val::AnyRef(Some(r.into()));
}
