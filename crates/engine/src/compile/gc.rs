//! Structs, arrays, `i31`, casts.

use super::simd::cast;
use super::translate::{Operands, Translator, static_ref};
use super::{clif_type, is_func};
use crate::types::{HeapType, RefType, StorageType, ValType};
use crate::vm::{Builtin, VMFuncRef, VMStoreContext, trap_codes};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I16, I32, I64, I64X2};
use cranelift_codegen::ir::{BlockArg, InstBuilder, LibCall, MemFlagsData, Value};
use gc_api::{
    ARRAY_LENGTH_OFFSET, AccessSite, AllocSite, AllocSize, Cell, Freshness, GcKind, Region, Slot, StaticRef, TypeIndex,
};
use wasmparser::Operator;

/// Arrays up to this length are initialised by straight-line stores.
const UNROLLED: u32 = 16;

/// How a narrow field is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extend {
    None,
    Signed,
    Unsigned,
}

impl Translator<'_, '_> {
    /// Translates the operators on references; the others give `false`.
    pub(super) fn gc_operator(&mut self, op: &Operator<'_>, operands: &Operands) -> bool {
        use Operator as O;
        match op {
            O::RefNull { hty } => {
                let heap = self.env.info.types.convert_heap(*hty);
                let null = self.zero(&ValType::Ref(RefType { nullable: true, heap }));
                self.push(null);
            }
            O::RefIsNull => {
                let value = self.pop();
                let null = self.is_null(value);
                let null = self.b.ins().uextend(I32, null);
                self.push(null);
            }
            O::RefAsNonNull => {
                let value = *self.stack.last().expect("validated: an operand");
                if operands.top().nullable {
                    self.b.ins().trapz(value, trap_codes::NULL_REFERENCE);
                }
            }
            O::RefEq => {
                let (a, b) = self.pop2();
                let same = self.gc(|gc, e| gc.ref_eq(e, a, b));
                self.push(same);
            }
            O::RefI31 => {
                let value = self.pop();
                let shifted = self.b.ins().ishl_imm_u(value, 1);
                let tagged = self.b.ins().bor_imm_u(shifted, 1);
                self.push(tagged);
            }
            O::I31GetS | O::I31GetU => {
                let value = self.pop();
                if operands.top().nullable {
                    self.b.ins().trapz(value, trap_codes::NULL_REFERENCE);
                }
                let value = match op {
                    O::I31GetS => self.b.ins().sshr_imm_u(value, 1),
                    _ => self.b.ins().ushr_imm_u(value, 1),
                };
                self.push(value);
            }
            // The two hierarchies share one representation.
            O::AnyConvertExtern | O::ExternConvertAny => {}

            O::RefTestNonNull { hty } => self.ref_test(*hty, false, operands.top()),
            O::RefTestNullable { hty } => self.ref_test(*hty, true, operands.top()),
            O::RefCastNonNull { hty } => self.ref_cast(*hty, false, operands.top()),
            O::RefCastNullable { hty } => self.ref_cast(*hty, true, operands.top()),

            O::StructNew { struct_type_index } => {
                let ty = self.env.info.types.get(*struct_type_index);
                let count = self.env.compiler.registry.struct_type(ty).fields.len();
                let values = self.pop_n(count);
                self.struct_new(ty, Some(values));
            }
            O::StructNewDefault { struct_type_index } => {
                let ty = self.env.info.types.get(*struct_type_index);
                self.struct_new(ty, None);
            }
            O::StructGet { struct_type_index, field_index } => {
                self.struct_get(*struct_type_index, *field_index, Extend::None, operands);
            }
            O::StructGetS { struct_type_index, field_index } => {
                self.struct_get(*struct_type_index, *field_index, Extend::Signed, operands);
            }
            O::StructGetU { struct_type_index, field_index } => {
                self.struct_get(*struct_type_index, *field_index, Extend::Unsigned, operands);
            }
            O::StructSet { struct_type_index, field_index } => {
                let (object, value) = self.pop2();
                let (storage, offset) = self.field(*struct_type_index, *field_index);
                let slot = Slot::Field { object, offset };
                self.store_slot(slot, &storage, operands.top(), value, operands.at(1).nullable);
            }

            O::ArrayNew { array_type_index } => {
                let (value, length) = self.pop2();
                self.array_new(*array_type_index, Some(value), length);
            }
            O::ArrayNewDefault { array_type_index } => {
                let length = self.pop();
                self.array_new(*array_type_index, None, length);
            }
            O::ArrayNewFixed { array_type_index, array_size } => self.array_new_fixed(*array_type_index, *array_size),
            O::ArrayNewData { array_type_index, array_data_index } => {
                self.array_new_segment(Builtin::ArrayNewData, *array_type_index, *array_data_index);
            }
            O::ArrayNewElem { array_type_index, array_elem_index } => {
                self.array_new_segment(Builtin::ArrayNewElem, *array_type_index, *array_elem_index);
            }
            O::ArrayGet { array_type_index } => self.array_get(*array_type_index, Extend::None, operands),
            O::ArrayGetS { array_type_index } => self.array_get(*array_type_index, Extend::Signed, operands),
            O::ArrayGetU { array_type_index } => self.array_get(*array_type_index, Extend::Unsigned, operands),
            O::ArraySet { array_type_index } => {
                let (array, index, value) = self.pop3();
                let (storage, slot) = self.element(*array_type_index, array, index, operands.at(2).nullable);
                self.store_slot(slot, &storage, operands.top(), value, false);
            }
            O::ArrayLen => {
                let array = self.pop();
                let length = self.array_length(array, operands.top().nullable);
                self.push(length);
            }
            O::ArrayFill { array_type_index } => {
                let count = self.pop();
                let (array, to, value) = self.pop3();
                let ty = self.env.info.types.get(*array_type_index);
                let layout = self.env.compiler.registry.array_layout(ty);
                if let Some(byte) = self.fill_byte(ty, Some(value)).filter(|_| !layout.refs) {
                    let length = self.array_length(array, operands.at(2).nullable);
                    let (address, bytes) = self.elements(ty, array, to, count, Some(length));
                    return self.done(|t| t.library_call(LibCall::Memset, &[address, byte, bytes]));
                }
                let (low, high) = self.element_words(ty, value);
                let ty = self.type_index(ty);
                let args = [ty, self.wide(array), self.wide(to), low, high, self.wide(count)];
                self.env.builtin(&mut self.b, Builtin::ArrayFill, &args);
            }
            O::ArrayCopy { array_type_index_dst, .. } => {
                let ty = self.env.info.types.get(*array_type_index_dst);
                if self.copies_bytes(ty) {
                    return self.done(|t| t.array_copy(ty));
                }
                let operands = self.pop_n(5);
                let mut args = vec![self.type_index(ty)];
                args.extend(operands.into_iter().map(|v| self.wide(v)).collect::<Vec<_>>());
                self.env.builtin(&mut self.b, Builtin::ArrayCopy, &args);
            }
            O::ArrayInitData { array_type_index, array_data_index } => {
                self.array_init(Builtin::ArrayInitData, *array_type_index, *array_data_index);
            }
            O::ArrayInitElem { array_type_index, array_elem_index } => {
                self.array_init(Builtin::ArrayInitElem, *array_type_index, *array_elem_index);
            }
            _ => return false,
        }
        true
    }

    // Slots.

    fn field(&self, type_index: u32, field: u32) -> (StorageType, u32) {
        let ty = self.env.info.types.get(type_index);
        let registry = &self.env.compiler.registry;
        let storage = registry.struct_type(ty).fields[field as usize].storage;
        (storage, registry.struct_layout(ty).fields[field as usize].offset)
    }

    fn struct_get(&mut self, type_index: u32, field: u32, extend: Extend, operands: &Operands) {
        let object = self.pop();
        let (storage, offset) = self.field(type_index, field);
        self.load_slot(Slot::Field { object, offset }, &storage, extend, operands.top().nullable);
    }

    fn array_get(&mut self, type_index: u32, extend: Extend, operands: &Operands) {
        let (array, index) = self.pop2();
        let (storage, slot) = self.element(type_index, array, index, operands.at(1).nullable);
        self.load_slot(slot, &storage, extend, false);
    }

    fn done(&mut self, translate: impl FnOnce(&mut Self)) -> bool {
        translate(self);
        true
    }

    // Many elements at once: by the system's functions, called without the detour through a builtin, where the collector need not know.

    /// Whether elements of an array are copied without the collector's knowledge.
    fn copies_bytes(&self, ty: TypeIndex) -> bool {
        let barrier = self.env.compiler.gc.compiler().needs().bulk_write || self.env.compiler.options.note_writes;
        !(self.env.compiler.registry.array_layout(ty).refs && barrier)
    }

    /// The byte that elements which are filled with `value`, or their default, consist of; `None` if that is not known.
    fn fill_byte(&mut self, ty: TypeIndex, value: Option<Value>) -> Option<Value> {
        let storage = self.env.compiler.registry.array_type(ty).element.storage;
        match (value, storage) {
            (Some(value), StorageType::I8) => Some(value),
            (Some(value), _) if self.constant(value) != Some(0) => None,
            _ => Some(self.b.ins().iconst(I32, 0)),
        }
    }

    /// The address of `count` elements of an array from `index` on, and how many bytes they are. Traps unless all are before `length`;
    /// and, because what a heap says of lengths is not trusted with what the system's functions do, unless all are in the heap.
    fn elements(
        &mut self,
        ty: TypeIndex,
        array: Value,
        index: Value,
        count: Value,
        length: Option<Value>,
    ) -> (Value, Value) {
        let layout = self.env.compiler.registry.array_layout(ty);
        let [array_index, index, count] = [array, index, count].map(|value| self.wide(value));
        // None is more than 32 bits, and elements are 16 bytes at most: nothing overflows.
        let end = self.b.ins().iadd(index, count);
        if let Some(length) = length {
            let length = self.wide(length);
            let outside = self.b.ins().icmp(IntCC::UnsignedGreaterThan, end, length);
            self.b.ins().trapnz(outside, trap_codes::ARRAY_OUT_OF_BOUNDS);
        }
        let shift = layout.element_log2 as i64;
        let [start, end, bytes] = [index, end, count].map(|elements| self.b.ins().ishl_imm_u(elements, shift));
        let end = self.b.ins().iadd(end, array_index);
        let end = self.b.ins().iadd_imm_u(end, layout.base as i64);
        let (address, committed) = self.gc(|_, e| (e.address(array), e.load_cell(Cell::COMMITTED)));
        let outside = self.b.ins().icmp(IntCC::UnsignedGreaterThan, end, committed);
        self.b.ins().trapnz(outside, trap_codes::HEAP_CORRUPTION);
        let address = self.b.ins().iadd(address, start);
        (self.b.ins().iadd_imm_u(address, layout.base as i64), bytes)
    }

    fn array_copy(&mut self, ty: TypeIndex) {
        let (from_array, from, count) = self.pop3();
        let (to_array, to) = self.pop2();
        let lengths = [to_array, from_array].map(|array| self.array_length(array, true));
        let (to, bytes) = self.elements(ty, to_array, to, count, Some(lengths[0]));
        let (from, _) = self.elements(ty, from_array, from, count, Some(lengths[1]));
        self.library_call(LibCall::Memmove, &[to, from, bytes]);
    }

    fn array_length(&mut self, array: Value, null_check: bool) -> Value {
        self.gc(|_, e| {
            let flags = e.object_flags(Region::Header, array, ARRAY_LENGTH_OFFSET, null_check);
            let address = e.address(array);
            e.b.ins().load(I32, flags, address, ARRAY_LENGTH_OFFSET as i32)
        })
    }

    /// The slot of an element, after the one check that an access needs.
    fn element(&mut self, type_index: u32, array: Value, index: Value, null_check: bool) -> (StorageType, Slot) {
        let length = self.array_length(array, null_check);
        let outside = self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, index, length);
        self.b.ins().trapnz(outside, trap_codes::ARRAY_OUT_OF_BOUNDS);
        let ty = self.env.info.types.get(type_index);
        let registry = &self.env.compiler.registry;
        let storage = registry.array_type(ty).element.storage;
        let layout = registry.array_layout(ty);
        let scaled = self.b.ins().ishl_imm_u(index, layout.element_log2 as i64);
        let offset = self.b.ins().iadd_imm_s(scaled, layout.base as i64);
        (storage, Slot::Element { array, offset })
    }

    /// Where a slot stands that is accessed without barrier, and the flags of the access. Objects are aligned to 8 bytes, so a
    /// vector in them need not be aligned to its 16.
    fn scalar_slot(&mut self, slot: Slot, storage: &StorageType, null_check: bool) -> (Value, i32, MemFlagsData) {
        let site = scalar_site(slot, null_check);
        let (address, offset, flags) = self.gc(|_, e| e.slot(&site));
        let flags = match storage {
            StorageType::Val(ValType::V128) => {
                MemFlagsData::new().with_alias_region(flags.alias_region()).with_trap_code(flags.trap_code())
            }
            _ => flags,
        };
        (address, offset, flags)
    }

    /// Pushes what a slot holds.
    pub(super) fn load_slot(&mut self, slot: Slot, storage: &StorageType, extend: Extend, null_check: bool) {
        let ty = match storage {
            StorageType::Val(ValType::Ref(r)) => {
                let value = match slot {
                    Slot::Field { object, offset } if is_func(r.heap) => {
                        self.load_func_field(object, offset, *r, null_check)
                    }
                    _ if is_func(r.heap) => {
                        let id = self.load_raw(slot, null_check);
                        self.func_of_id(id, *r)
                    }
                    _ => self.read_ref(slot, *r, null_check),
                };
                return self.push_typed(value, &ValType::Ref(*r));
            }
            StorageType::Val(ty) => clif_type(ty),
            StorageType::I8 | StorageType::I16 => I32,
        };
        let (address, offset, flags) = self.scalar_slot(slot, storage, null_check);
        let value = match (storage, extend) {
            (StorageType::I8, Extend::Signed) => self.b.ins().sload8(I32, flags, address, offset),
            (StorageType::I8, _) => self.b.ins().uload8(I32, flags, address, offset),
            (StorageType::I16, Extend::Signed) => self.b.ins().sload16(I32, flags, address, offset),
            (StorageType::I16, _) => self.b.ins().uload16(I32, flags, address, offset),
            _ => self.b.ins().load(ty, flags, address, offset),
        };
        self.push(value);
    }

    fn load_raw(&mut self, slot: Slot, null_check: bool) -> Value {
        let site = scalar_site(slot, null_check);
        self.gc(|_, e| e.load(&site))
    }

    /// Loads a function reference from a field, where it stands as an id.
    fn load_func_field(&mut self, object: Value, offset: u32, ty: RefType, null_check: bool) -> Value {
        let id = self.load_raw(Slot::Field { object, offset }, null_check);
        self.func_of_id(id, ty)
    }

    /// The function reference with an id out of the heap: an index into the store's function table, checked because the heap is not
    /// trusted, and its type checked against the static one.
    fn func_of_id(&mut self, id: Value, ty: RefType) -> Value {
        let store = self.env.store(&mut self.b);
        let flags = Region::Context.flags(self.b.func);
        let length = self.b.ins().load(I64, flags, store, VMStoreContext::FUNCS_LEN);
        let index = self.b.ins().uextend(I64, id);
        let outside = self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, index, length);
        self.b.ins().trapnz(outside, trap_codes::HEAP_CORRUPTION);
        let table = self.b.ins().load(I64, flags, store, VMStoreContext::FUNCS);
        let offset = self.b.ins().ishl_imm_u(index, 3);
        let entry = self.b.ins().iadd(table, offset);
        let func = self.b.ins().load(I64, flags, entry, 0);
        let HeapType::ConcreteFunc(expected) = ty.heap else { return func };
        let check = |t: &mut Self| {
            let flags = Region::Context.flags(t.b.func).with_trap_code(Some(trap_codes::HEAP_CORRUPTION));
            let actual = t.b.ins().load(I32, flags, func, VMFuncRef::TYPE_INDEX);
            let matches = t.type_test(actual, expected);
            t.b.ins().trapz(matches, trap_codes::HEAP_CORRUPTION);
        };
        if ty.nullable {
            let some = self.b.create_block();
            let done = self.b.create_block();
            self.b.ins().brif(func, some, &[], done, &[]);
            self.b.seal_block(some);
            self.b.switch_to_block(some);
            check(self);
            self.b.ins().jump(done, &[]);
            self.b.seal_block(done);
            self.b.switch_to_block(done);
        } else {
            check(self);
        }
        func
    }

    /// The id that stands for a function reference inside the heap: 0 for null, which a reference of type `ty` may be or not.
    pub(super) fn id_of_func(&mut self, func: Value, ty: RefType) -> Value {
        if !ty.nullable {
            let flags = Region::Context.flags(self.b.func);
            return self.b.ins().load(I32, flags, func, VMFuncRef::ID);
        }
        let some = self.b.create_block();
        let done = self.b.create_block();
        let id = self.b.append_block_param(done, I32);
        let zero = self.b.ins().iconst(I32, 0);
        self.b.ins().brif(func, some, &[], done, &[BlockArg::Value(zero)]);
        self.b.seal_block(some);
        self.b.switch_to_block(some);
        let flags = Region::Context.flags(self.b.func);
        let loaded = self.b.ins().load(I32, flags, func, VMFuncRef::ID);
        self.b.ins().jump(done, &[BlockArg::Value(loaded)]);
        self.b.seal_block(done);
        self.b.switch_to_block(done);
        id
    }

    fn store_slot(&mut self, slot: Slot, storage: &StorageType, new: RefType, value: Value, null_check: bool) {
        match storage {
            StorageType::Val(ValType::Ref(r)) if !is_func(r.heap) => {
                self.write_ref(slot, *r, static_ref(new), value, null_check);
            }
            _ => self.store_scalar(slot, storage, value, null_check),
        }
    }

    /// Stores what is no reference into the heap: numbers, and function references as ids.
    pub(super) fn store_scalar(&mut self, slot: Slot, storage: &StorageType, value: Value, null_check: bool) {
        let value = match storage {
            StorageType::Val(ValType::Ref(r)) => self.id_of_func(value, *r),
            _ => value,
        };
        let (address, offset, flags) = self.scalar_slot(slot, storage, null_check);
        match storage {
            StorageType::I8 => self.store_low(I8, flags, value, address, offset),
            StorageType::I16 => self.store_low(I16, flags, value, address, offset),
            StorageType::Val(_) => _ = self.b.ins().store(flags, value, address, offset),
        }
    }

    /// Initialises a field of the newest object.
    pub(super) fn init_field(&mut self, object: Value, offset: u32, storage: &crate::types::StorageType, value: Value) {
        let slot = Slot::Field { object, offset };
        self.init_slot(slot, storage, value);
    }

    /// Initialises a slot of the newest object, whatever it holds.
    pub(super) fn init_slot(&mut self, slot: Slot, storage: &crate::types::StorageType, value: Value) {
        use crate::types::StorageType as S;
        if let S::Val(ValType::Ref(r)) = storage
            && !is_func(r.heap)
        {
            let known = super::translate::static_ref(*r);
            let site = AccessSite {
                slot,
                old: gc_api::StaticRef::NULL,
                new: known,
                freshness: Freshness::Newest,
                null_check: false,
            };
            self.gc(
                |gc, e| {
                    if gc.needs().init && known.object { gc.init(e, &site, value) } else { e.store(&site, value) }
                },
            );
            return;
        }
        self.store_scalar(slot, storage, value, false);
    }

    // Allocation.

    /// Allocates an object with its header and length: as the collector does, or by the runtime, which then sees every one.
    pub(super) fn alloc(&mut self, site: &AllocSite) -> Value {
        let inline = self.env.compiler.options.inline_alloc;
        self.gc(|gc, e| if inline { gc.alloc(e, site) } else { e.slow_alloc(site) })
    }

    fn struct_new(&mut self, ty: TypeIndex, values: Option<Vec<Value>>) {
        let registry = self.env.compiler.registry.clone();
        let layout = registry.struct_layout(ty);
        let site = AllocSite { kind: GcKind::STRUCT, ty, size: AllocSize::Fixed(layout.size) };
        let object = self.alloc(&site);
        self.push_typed(object, &object_type(HeapType::ConcreteStruct(ty)));
        let fields = registry.struct_type(ty).fields.iter().zip(&layout.fields);
        match values {
            Some(values) => {
                for ((field, layout), value) in fields.zip(values) {
                    self.init_field(object, layout.offset, &field.storage, value);
                }
            }
            None => {
                for (field, layout) in fields {
                    self.zero_slot(Slot::Field { object, offset: layout.offset }, &field.storage);
                }
            }
        }
    }

    /// Initialises a slot with its type's default: null needs no barrier under any collector.
    fn zero_slot(&mut self, slot: Slot, storage: &StorageType) {
        let (address, offset, flags) = self.scalar_slot(slot, storage, false);
        match storage {
            StorageType::I8 | StorageType::I16 => {
                let zero = self.b.ins().iconst(if *storage == StorageType::I8 { I8 } else { I16 }, 0);
                self.b.ins().store(flags, zero, address, offset);
            }
            StorageType::Val(ValType::Ref(_)) => {
                let zero = self.b.ins().iconst(I32, 0);
                self.b.ins().store(flags, zero, address, offset);
            }
            StorageType::Val(ty) => {
                let zero = self.zero(ty);
                self.b.ins().store(flags, zero, address, offset);
            }
        }
    }

    /// Allocates an array and pushes it.
    fn array_alloc(&mut self, ty: TypeIndex, length: Value, constant: Option<u32>) -> Value {
        let layout = self.env.compiler.registry.array_layout(ty);
        let size = AllocSize::Array { length, constant, base: layout.base, element_log2: layout.element_log2 };
        let array = self.alloc(&AllocSite { kind: GcKind::ARRAY, ty, size });
        self.push_typed(array, &object_type(HeapType::ConcreteArray(ty)));
        array
    }

    fn array_new(&mut self, type_index: u32, value: Option<Value>, length: Value) {
        let ty = self.env.info.types.get(type_index);
        let constant = self.constant_i32(length).map(|n| n as u32);
        let array = self.array_alloc(ty, length, constant);
        let registry = self.env.compiler.registry.clone();
        let storage = &registry.array_type(ty).element.storage;
        let layout = registry.array_layout(ty);
        if let Some(count) = constant.filter(|count| *count <= UNROLLED) {
            for i in 0..count {
                let slot = Slot::Field { object: array, offset: layout.base + (i << layout.element_log2) };
                match value {
                    Some(value) => self.init_slot(slot, storage, value),
                    None => self.zero_slot(slot, storage),
                }
            }
            return;
        }
        if let Some(byte) = self.fill_byte(ty, value) {
            let first = self.b.ins().iconst(I32, 0);
            let (address, bytes) = self.elements(ty, array, first, length, None);
            return self.library_call(LibCall::Memset, &[address, byte, bytes]);
        }
        let (low, high) = match value {
            Some(value) => self.element_words(ty, value),
            None => (self.i64(0), self.i64(0)),
        };
        let args = [self.type_index(ty), self.wide(array), low, high, self.wide(length)];
        self.env.builtin(&mut self.b, Builtin::ArrayNewFill, &args);
    }

    /// The value of what is a constant, as an `i32`.
    fn constant_i32(&self, value: Value) -> Option<i32> {
        self.constant(value).map(|constant| constant as i32)
    }

    fn array_new_fixed(&mut self, type_index: u32, count: u32) {
        let ty = self.env.info.types.get(type_index);
        let values = self.pop_n(count as usize);
        let length = self.b.ins().iconst(I32, count as i64);
        let array = self.array_alloc(ty, length, Some(count));
        let registry = self.env.compiler.registry.clone();
        let storage = &registry.array_type(ty).element.storage;
        let layout = registry.array_layout(ty);
        for (i, value) in values.into_iter().enumerate() {
            let at = layout.base as u64 + ((i as u64) << layout.element_log2);
            let offset = self.b.ins().iconst(I32, at as i64);
            self.init_slot(Slot::Element { array, offset }, storage, value);
        }
    }

    fn array_new_segment(&mut self, builtin: Builtin, type_index: u32, segment: u32) {
        let (from, count) = self.pop2();
        let ty = self.env.info.types.get(type_index);
        let args = [self.type_index(ty), self.i64(segment as i64), self.wide(from), self.wide(count)];
        let array = self.env.builtin(&mut self.b, builtin, &args);
        let array = self.b.ins().ireduce(I32, array);
        self.push_typed(array, &object_type(HeapType::ConcreteArray(ty)));
    }

    fn array_init(&mut self, builtin: Builtin, type_index: u32, segment: u32) {
        let (from, count) = self.pop2();
        let (array, to) = self.pop2();
        let ty = self.env.info.types.get(type_index);
        let args = [
            self.type_index(ty),
            self.wide(array),
            self.wide(to),
            self.i64(segment as i64),
            self.wide(from),
            self.wide(count),
        ];
        self.env.builtin(&mut self.b, builtin, &args);
    }

    /// A type's canonical index, for a builtin.
    fn type_index(&mut self, ty: TypeIndex) -> Value {
        self.env.type_index(&mut self.b, ty)
    }

    /// An element's bits as they stand in the array, in two words: the lower 64 bits, and the upper ones of a vector.
    fn element_words(&mut self, ty: TypeIndex, value: Value) -> (Value, Value) {
        let storage = self.env.compiler.registry.array_type(ty).element.storage;
        let flags = MemFlagsData::new();
        let low = match storage {
            StorageType::Val(ValType::V128) => {
                let lanes = cast(&mut self.b, value, I64X2);
                return (self.b.ins().extractlane(lanes, 0), self.b.ins().extractlane(lanes, 1));
            }
            StorageType::Val(ValType::F32) => {
                let bits = self.b.ins().bitcast(I32, flags, value);
                self.wide(bits)
            }
            StorageType::Val(ValType::F64) => self.b.ins().bitcast(I64, flags, value),
            StorageType::Val(ValType::Ref(r)) if is_func(r.heap) => {
                let id = self.id_of_func(value, r);
                self.wide(id)
            }
            _ => self.wide(value),
        };
        (low, self.i64(0))
    }
}

fn object_type(heap: HeapType) -> ValType {
    ValType::Ref(RefType { nullable: false, heap })
}

/// An access without barrier.
fn scalar_site(slot: Slot, null_check: bool) -> AccessSite {
    AccessSite { slot, old: StaticRef::NULL, new: StaticRef::NULL, freshness: Freshness::Unknown, null_check }
}
