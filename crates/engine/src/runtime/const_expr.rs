//! Constant expressions: a small interpreter. Intermediate references stand in handle slots, because allocation may collect.

use super::instance::func_ref;
use super::objects::Novelty;
use super::store::StoreOpaque;
use crate::api::Result;
use crate::info::ConstOp;
use crate::types::StorageType;
use gc_api::{CellKind, VMGcRef, WriteSite};

/// What an expression gives.
pub enum Constant {
    /// A number, or the address of a function reference: as in [`ValRaw`](crate::vm::ValRaw).
    Bits(u128),
    /// A reference in a handle slot, or null. To be given to [`Constant::release`].
    Ref(Option<u32>),
}

impl Constant {
    /// The value as in [`ValRaw`](crate::vm::ValRaw); a reference is borrowed from its slot until the next safepoint.
    pub fn raw(&self, store: &StoreOpaque) -> u128 {
        match self {
            Constant::Bits(bits) => *bits,
            Constant::Ref(slot) => slot.map_or(0, |slot| store.rooted(slot).raw() as u128),
        }
    }

    /// Gives up what the value holds.
    pub fn release(self, store: &mut StoreOpaque) {
        if let Constant::Ref(Some(slot)) = self {
            store.unroot(slot);
        }
    }
}

/// Evaluates a constant expression of an instance whose globals are initialised as far as it refers to them.
///
/// # Errors
/// A trap when the heap has no room.
pub fn evaluate(store: &mut StoreOpaque, instance: u32, expr: &[ConstOp]) -> Result<Constant> {
    let mut machine = Machine { store, instance, stack: Vec::new() };
    let outcome = expr.iter().try_for_each(|op| machine.step(op));
    let result = machine.stack.pop();
    for rest in std::mem::take(&mut machine.stack) {
        rest.release(machine.store);
    }
    match (outcome, result) {
        (Ok(()), Some(result)) => Ok(result),
        (Ok(()), None) => unreachable!("a validated expression has a result"),
        (Err(trap), rest) => {
            rest.into_iter().for_each(|rest| rest.release(machine.store));
            Err(trap)
        }
    }
}

struct Machine<'a> {
    store: &'a mut StoreOpaque,
    instance: u32,
    stack: Vec<Constant>,
}

impl Machine<'_> {
    fn step(&mut self, op: &ConstOp) -> Result<()> {
        let result = match *op {
            ConstOp::I32(value) => Constant::Bits(value as u32 as u128),
            ConstOp::I64(value) => Constant::Bits(value as u64 as u128),
            ConstOp::F32(bits) => Constant::Bits(bits as u128),
            ConstOp::F64(bits) => Constant::Bits(bits as u128),
            ConstOp::V128(bits) => Constant::Bits(bits),
            // Both kinds of null are all zero; which one it is no longer matters.
            ConstOp::RefNull => Constant::Bits(0),
            ConstOp::RefFunc(index) => Constant::Bits(func_ref(self.store, self.instance, index) as u64 as u128),
            ConstOp::GlobalGet(index) => self.global(index),
            ConstOp::I32Add => self.binary(|a, b| (a as u32).wrapping_add(b as u32) as u64),
            ConstOp::I32Sub => self.binary(|a, b| (a as u32).wrapping_sub(b as u32) as u64),
            ConstOp::I32Mul => self.binary(|a, b| (a as u32).wrapping_mul(b as u32) as u64),
            ConstOp::I64Add => self.binary(u64::wrapping_add),
            ConstOp::I64Sub => self.binary(u64::wrapping_sub),
            ConstOp::I64Mul => self.binary(u64::wrapping_mul),
            ConstOp::RefI31 => {
                let value = self.pop_bits() as u32;
                Constant::Ref(Some(self.store.root_slot(VMGcRef::from_i31(value))))
            }
            ConstOp::StructNew(ty) => {
                let object = self.store.alloc_struct(ty)?;
                let registry = self.store.registry().clone();
                let fields = &registry.struct_type(ty).fields;
                let operands = self.stack.split_off(self.stack.len() - fields.len());
                for ((field, place), value) in fields.iter().zip(&registry.struct_layout(ty).fields).zip(&operands) {
                    let raw = value.raw(self.store);
                    self.store.write_slot(&object, place.offset, field.storage, raw);
                }
                self.made(object, operands)
            }
            ConstOp::StructNewDefault(ty) => {
                let object = self.store.alloc_struct(ty)?;
                self.made(object, Vec::new())
            }
            ConstOp::ArrayNew(ty) => {
                let length = self.pop_bits() as u32;
                let array = self.store.alloc_array(ty, length)?;
                let value = self.pop();
                self.fill(&array, ty, length, &value);
                self.made(array, vec![value])
            }
            ConstOp::ArrayNewDefault(ty) => {
                let length = self.pop_bits() as u32;
                let array = self.store.alloc_array(ty, length)?;
                self.store.zero_array(&array, ty);
                self.made(array, Vec::new())
            }
            ConstOp::ArrayNewFixed(ty, length) => {
                let array = self.store.alloc_array(ty, length)?;
                self.store.zero_array(&array, ty);
                let (layout, storage) = self.array(ty);
                let operands = self.stack.split_off(self.stack.len() - length as usize);
                for (i, value) in operands.iter().enumerate() {
                    let raw = value.raw(self.store);
                    let offset = layout.base + ((i as u32) << layout.element_log2);
                    self.store.write_slot(&array, offset, storage, raw);
                }
                self.made(array, operands)
            }
            // The same bits on either side.
            ConstOp::AnyConvertExtern | ConstOp::ExternConvertAny => return Ok(()),
        };
        self.stack.push(result);
        Ok(())
    }

    fn pop(&mut self) -> Constant {
        self.stack.pop().expect("a validated expression has its operands")
    }

    fn pop_bits(&mut self) -> u64 {
        match self.pop() {
            Constant::Bits(bits) => bits as u64,
            Constant::Ref(_) => unreachable!("a validated expression has a number here"),
        }
    }

    fn binary(&mut self, f: impl Fn(u64, u64) -> u64) -> Constant {
        let b = self.pop_bits();
        let a = self.pop_bits();
        Constant::Bits(f(a, b) as u128)
    }

    fn array(&self, ty: u32) -> (crate::types::ArrayLayout, StorageType) {
        let registry = self.store.registry();
        (registry.array_layout(ty), registry.array_type(ty).element.storage)
    }

    fn global(&mut self, index: u32) -> Constant {
        let id = self.store.instances[self.instance as usize].globals[index as usize];
        read_global(self.store, id)
    }

    fn fill(&mut self, array: &VMGcRef, ty: u32, length: u32, value: &Constant) {
        let raw = value.raw(self.store);
        let (layout, storage) = self.array(ty);
        match storage {
            StorageType::Val(ty) if ty.is_ref() && !ty.is_gc_ref() => {
                let id = self.store.func_id(raw as u64 as *const _);
                (0..length).for_each(|i| self.store.memory().store_u32(array.raw(), layout.base + i * 4, id));
            }
            _ => self.store.fill_array(array, ty, 0, length, raw, Novelty::New),
        }
    }

    /// Roots a new object and gives up the operands that it was made of.
    fn made(&mut self, object: VMGcRef, operands: Vec<Constant>) -> Constant {
        let owned = self.store.clone_ref(&object);
        let slot = self.store.root_slot(owned);
        operands.into_iter().for_each(|operand| operand.release(self.store));
        Constant::Ref(Some(slot))
    }
}

/// The value of the store's global `id`.
pub fn read_global(store: &mut StoreOpaque, id: u32) -> Constant {
    let global = store.globals[id as usize];
    if !global.ty.content.is_gc_ref() {
        // SAFETY: globals' storage lives as long as the store; compiled code is not running.
        return Constant::Bits(unsafe { global.storage.as_ptr().read().0 });
    }
    let site = WriteSite::Cell { kind: CellKind::Global, cell: global.cell() };
    let value = store.heap_mut().read_ref(site);
    Constant::Ref(value.map(|value| store.root_slot(value)))
}

/// Sets the store's global `id`; a reference in `raw` is borrowed.
pub fn write_global(store: &mut StoreOpaque, id: u32, raw: u128) {
    let global = store.globals[id as usize];
    if global.ty.content.is_gc_ref() {
        let value = VMGcRef::from_raw(raw as u32);
        store.write_cell(CellKind::Global, global.cell(), value.as_ref());
    } else {
        // SAFETY: as in `read_global`.
        unsafe { global.storage.as_ptr().write(crate::vm::ValRaw(raw)) };
    }
}
