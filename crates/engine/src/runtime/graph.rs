//! The reachable part of a heap as a graph with names: what snapshots are made of.
//!
//! A walk goes breadth first from the roots, as a collection of any collector would see them, and numbers the objects as it meets them.
//! That, an object's place and its number, is all that is kept of an object; the rest is read when it is asked for, while the graph borrows the
//! store. What slots there are follows from the types, as the compiler lays them out.

use super::backtrace;
use super::instance::{Instance, Segment};
use super::signals;
use super::store::StoreOpaque;
use super::table::Elements;
use super::unwind::{self, Frame};
use crate::info::{ExternKind, ModuleInfo};
use crate::types::{CompositeType, HeapType, Hierarchy, StorageType, TypeIndex, ValType};
use gc_api::{EXCEPTION_TAG_OFFSET, EXTERN_ID_OFFSET, EXTERN_TYPE, GcKind, RefCell32, RootKind, VMGcRef};
use rustc_hash::FxHashMap;
use std::cell::Cell;

/// The objects that a program can reach, with their types, their references and what refers to them from outside of the heap.
///
/// Objects have numbers, from 0, in the order in which a walk from the roots meets them, breadth first. Memory: 25 to 50 bytes an object. What an
/// object holds is read anew at each call.
///
/// ```
/// # fn main() -> engine::Result<()> {
/// use engine::{Engine, Instance, Module, Referent, Store};
/// let engine = Engine::new(gc_drc::COLLECTOR.with(&Default::default()).unwrap())?;
/// let module = Module::new(&engine, r#"(module
///     (type $list (struct (field $value i32) (field $next (ref null $list))))
///     (global $kept (ref $list)
///       (struct.new $list (i32.const 1) (struct.new $list (i32.const 2) (ref.null $list)))))"#)?;
/// let mut store = Store::new(&engine, ())?;
/// Instance::new(&mut store, &module, &[])?;
/// let graph = store.heap_graph();
/// assert_eq!((graph.len(), graph.bytes()), (2, 32));
/// let globals = &graph.holders()[0];
/// assert_eq!((globals.name(), globals.references()[0].name()), ("globals", Some("$kept")));
/// let mut edges = Vec::new();
/// graph.visit_references(0, |slot, to| edges.push((slot, to)));
/// assert_eq!(edges, [(1, Referent::Object(1))]);
/// let list = &graph.types()[graph.object(0).ty];
/// assert_eq!((list.name(), list.slot_name(1)), ("$list", Some("next")));
/// # Ok(())
/// # }
/// ```
pub struct HeapGraph<'s> {
    store: &'s StoreOpaque,
    holders: Vec<RootHolder>,
    /// Where the objects are, by number.
    objects: Vec<u32>,
    numbers: FxHashMap<u32, u32>,
    types: Vec<ObjectType>,
    types_by_key: FxHashMap<TypeKey, u32>,
    bytes: u64,
}

/// What is told apart by a type's name: exceptions of one type may have several tags.
type TypeKey = (TypeIndex, Option<u32>);

/// What a slot refers to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Referent {
    /// The object of this number.
    Object(usize),
    /// A number that stands in the reference.
    I31(i32),
    /// The function with this id: [`HeapGraph::function_name`].
    Function(u32),
}

/// Something outside of the heap that refers into it: a frame, the globals of an instance, a table, an element segment, the host's handles, the
/// exception on its way.
#[derive(Debug)]
pub struct RootHolder {
    kind: RootKind,
    name: String,
    references: Vec<RootReference>,
}

impl RootHolder {
    /// The kind of its roots.
    pub fn kind(&self) -> RootKind {
        self.kind
    }

    /// What it is, for people: `frame 0: $f`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it refers to; nulls are left out.
    pub fn references(&self) -> &[RootReference] {
        &self.references
    }
}

/// One reference of a [`RootHolder`]'s.
#[derive(Debug)]
pub struct RootReference {
    name: Option<String>,
    slot: u32,
    to: Referent,
}

impl RootReference {
    /// The name of a global.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Which slot of its holder's it stands in: a table's element, a segment's item, a handle, a live reference of a frame.
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// What is referred to.
    pub fn to(&self) -> Referent {
        self.to
    }
}

/// The type of an object.
#[derive(Debug)]
pub struct ObjectType {
    name: String,
    kind: GcKind,
    slots: Slots,
    /// Names of fields.
    names: Vec<Option<String>>,
}

impl ObjectType {
    /// Its name in the module, `$node`; or what it looks like, `struct#3 {i32, ref}`, with its index in the module. No two types of a graph have
    /// the same.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Struct, array, exception, or the object behind a host value.
    pub fn kind(&self) -> GcKind {
        self.kind
    }

    /// The name of a field, where the module gives it one.
    pub fn slot_name(&self, slot: u32) -> Option<&str> {
        self.names.get(slot as usize)?.as_deref()
    }
}

/// An object, without what it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ObjectInfo {
    /// Where it is in the heap: bytes from the beginning. A moving collector changes that.
    pub index: u32,
    /// Its type, in [`HeapGraph::types`].
    pub ty: usize,
    /// Bytes, with the header.
    pub bytes: u64,
    /// The length of an array.
    pub length: Option<u32>,
}

/// Where an object's references stand.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Slots {
    /// The slot's number, its offset, and what it holds.
    Fields(Vec<(u32, u32, Holds)>),
    /// Elements from this offset on.
    Elements(u32, Holds),
    /// Numbers, of so many bytes each, from this offset on.
    Numbers(u32, usize),
    /// None.
    None,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Holds {
    /// A reference into the heap, or an i31.
    Heap,
    /// The id of a function.
    Function,
}

impl Holds {
    fn of(storage: StorageType) -> Option<Holds> {
        match storage.unpack() {
            ValType::Ref(ty) if ty.is_gc_ref() => Some(Holds::Heap),
            ValType::Ref(_) => Some(Holds::Function),
            _ => None,
        }
    }
}

impl<'s> HeapGraph<'s> {
    /// Walks from the roots. Compiled code has been left, or there is none.
    ///
    /// # Panics
    /// When the heap is corrupt: a text that begins so.
    pub(crate) fn walk(store: &'s StoreOpaque) -> HeapGraph<'s> {
        let mut graph = HeapGraph {
            store,
            holders: Vec::new(),
            objects: Vec::new(),
            numbers: FxHashMap::default(),
            types: Vec::new(),
            types_by_key: FxHashMap::default(),
            bytes: 0,
        };
        graph.find_roots();
        let mut next = 0;
        while next < graph.objects.len() {
            let object = graph.describe(graph.objects[next]);
            graph.bytes += object.bytes;
            let slots = graph.types[object.ty].slots.clone();
            visit_slots(store, &slots, &object, |_, holds, raw| {
                graph.resolve(holds, raw);
            });
            next += 1;
        }
        graph
    }

    // What there is.

    /// How many objects can be reached.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether none can.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Bytes of the objects that can be reached.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of objects that cannot be reached and that the collector has not freed.
    pub fn dead_bytes(&self) -> u64 {
        self.store.heap().usage().live.saturating_sub(self.bytes)
    }

    /// What refers into the heap from outside, by kind.
    pub fn holders(&self) -> &[RootHolder] {
        &self.holders
    }

    /// The types of the objects.
    pub fn types(&self) -> &[ObjectType] {
        &self.types
    }

    /// An object.
    ///
    /// # Panics
    /// When there is none of this number.
    pub fn object(&self, number: usize) -> ObjectInfo {
        let index = self.objects[number];
        let (key, length) = self.header(index);
        let ty = self.types_by_key[&key] as usize;
        ObjectInfo { index, ty, bytes: self.size(index), length }
    }

    /// Calls `visit` with each slot of an object that refers to something, in order, and with what that is. A slot is a field, an element or an
    /// exception's value, from 0.
    ///
    /// # Panics
    /// As [`HeapGraph::object`].
    pub fn visit_references(&self, number: usize, mut visit: impl FnMut(u32, Referent)) {
        let object = self.object(number);
        visit_slots(self.store, &self.types[object.ty].slots, &object, |slot, holds, raw| {
            if let Some(to) = self.referent(holds, raw) {
                visit(slot, to);
            }
        });
    }

    /// The function with this id, by name: `$f`, or `function 3`, or the host's.
    pub fn function_name(&self, id: u32) -> String {
        let func = self.store.func(id);
        if func.is_null() {
            return "null".into();
        }
        // SAFETY: not null; the store owns the records of its functions.
        let code = unsafe { (*func).wasm_call } as usize;
        let defined = self.store.code.lookup(code).and_then(|(object, tag)| Some((object.lookup(code)?.0, tag)));
        match defined {
            Some((position, tag)) => {
                let info = &self.store.module(tag).info;
                let index = info.imported_funcs + position as u32;
                info.func_name(index).map_or_else(|| format!("function {index}"), |name| format!("${name}"))
            }
            None => "function of the host's".into(),
        }
    }

    /// What the host value behind an object is, if it is a text or a number.
    pub fn host_value(&self, number: usize) -> Option<String> {
        let object = self.object(number);
        if self.types[object.ty].kind != GcKind::EXTERN {
            return None;
        }
        let value = self.store.hosts().get(self.store.memory().load_u32(object.index, EXTERN_ID_OFFSET))?;
        let text = value.downcast_ref::<String>().cloned().or_else(|| Some(value.downcast_ref::<&str>()?.to_string()));
        macro_rules! number {
            ($($ty:ty)*) => { None$(.or_else(|| Some(value.downcast_ref::<$ty>()?.to_string())))* };
        }
        text.or_else(|| number!(u32 i32 u64 i64 usize isize f32 f64 u8 i8 u16 i16 bool char))
    }

    /// What stands in an array of `i8` or `i16`, as UTF-8 or UTF-16, if it looks like text: printable, blank, or a line's end, from its
    /// first unit to its last. Of a long one the beginning, of `most` units.
    pub fn text(&self, number: usize, most: usize) -> Option<String> {
        let object = self.object(number);
        let Slots::Numbers(base, size @ 1..=2) = self.types[object.ty].slots else { return None };
        let units = (object.length? as usize).min(most);
        if units == 0 {
            return None;
        }
        let mut bytes = vec![0; units * size];
        self.store.memory().read_bytes(object.index, base, &mut bytes);
        let text = match size {
            1 => match std::str::from_utf8(&bytes) {
                Ok(text) => text.to_string(),
                // The end of a character may have been left out.
                Err(e) if e.error_len().is_none() && units < object.length? as usize => {
                    String::from_utf8_lossy(&bytes[..e.valid_up_to()]).into_owned()
                }
                Err(_) => return None,
            },
            _ => {
                let mut units: Vec<u16> = bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
                if units.len() < object.length? as usize && units.last().is_some_and(|u| (0xd800..0xdc00).contains(u)) {
                    units.pop();
                }
                String::from_utf16(&units).ok()?
            }
        };
        let legible = |c: char| {
            !c.is_control() && c != char::REPLACEMENT_CHARACTER && (c as u32) < 0xe000
                || matches!(c, '\t' | '\n' | '\r')
                || c as u32 >= 0x1_0000
        };
        (!text.is_empty() && text.chars().all(legible)).then_some(text)
    }

    // The walk.

    /// The number of what a slot refers to; an object that the walk has not met gets one.
    fn resolve(&mut self, holds: Holds, raw: u32) -> Option<Referent> {
        if let (Holds::Heap, Some(index)) = (holds, VMGcRef::from_raw(raw).and_then(|r| r.index())) {
            let next = self.objects.len() as u32;
            let objects = &mut self.objects;
            self.numbers.entry(index).or_insert_with(|| {
                objects.push(index);
                next
            });
        }
        self.referent(holds, raw)
    }

    fn referent(&self, holds: Holds, raw: u32) -> Option<Referent> {
        if holds == Holds::Function {
            return (raw != 0).then_some(Referent::Function(raw));
        }
        let held = VMGcRef::from_raw(raw)?;
        Some(match held.i31() {
            // 31 bits with a sign.
            Some(value) => Referent::I31((value << 1) as i32 >> 1),
            None => Referent::Object(self.numbers[&held.raw()] as usize),
        })
    }

    fn size(&self, index: u32) -> u64 {
        let object = VMGcRef::from_index(index).expect("null is no object");
        self.store.registry().shapes().size_of(self.store.memory(), &object)
    }

    /// What tells an object's type, and its length.
    fn header(&self, index: u32) -> (TypeKey, Option<u32>) {
        let memory = self.store.memory();
        let object = VMGcRef::from_index(index).expect("null is no object");
        let header = memory.header(&object);
        let tag = (header.kind() == GcKind::EXN).then(|| memory.load_u32(index, EXCEPTION_TAG_OFFSET));
        let length = (header.kind() == GcKind::ARRAY).then(|| memory.array_length(&object));
        ((header.ty(), tag), length)
    }

    /// As [`object`](Self::object), for one whose type may be new.
    fn describe(&mut self, index: u32) -> ObjectInfo {
        let bytes = self.size(index);
        let end = index as u64 + bytes;
        assert!(end <= self.store.memory().committed(), "corrupt heap: the object at {index:#x} ends at {end:#x}");
        let (key, length) = self.header(index);
        let ty = match self.types_by_key.get(&key) {
            Some(ty) => *ty,
            None => {
                let ty = self.new_type(key);
                self.types.push(ty);
                let number = self.types.len() as u32 - 1;
                self.types_by_key.insert(key, number);
                number
            }
        };
        ObjectInfo { index, ty: ty as usize, bytes, length }
    }

    fn new_type(&self, (ty, tag): TypeKey) -> ObjectType {
        let registry = self.store.registry();
        let (kind, slots, names) = if ty == EXTERN_TYPE {
            (GcKind::EXTERN, Slots::None, Vec::new())
        } else if tag.is_some() {
            let params = &registry.func(registry.exception_func(ty)).params;
            let places = registry.exception_layout(ty).fields.iter();
            let slots = fields(places.map(|place| place.offset).zip(params.iter().map(|ty| StorageType::Val(*ty))));
            (GcKind::EXN, slots, Vec::new())
        } else {
            match &registry.get(ty).composite {
                CompositeType::Struct(fields_of) => {
                    let places = registry.struct_layout(ty).fields.iter().map(|place| place.offset);
                    let slots = fields(places.zip(fields_of.fields.iter().map(|field| field.storage)));
                    (GcKind::STRUCT, slots, self.field_names(ty, fields_of.fields.len()))
                }
                CompositeType::Array(array) => {
                    let layout = registry.array_layout(ty);
                    let slots = match Holds::of(array.element.storage) {
                        Some(holds) => Slots::Elements(layout.base, holds),
                        None => Slots::Numbers(layout.base, 1 << layout.element_log2),
                    };
                    (GcKind::ARRAY, slots, Vec::new())
                }
                CompositeType::Func(_) => panic!("corrupt heap: an object has the function type {ty}"),
            }
        };
        let mut name = self.type_name(ty, tag);
        if self.types.iter().any(|other| other.name == name) {
            name = format!("{name} (type {ty})");
        }
        ObjectType { name, kind, slots, names }
    }

    /// The first module that knows a type, and the type's index there.
    fn module_of(&self, ty: TypeIndex) -> Option<(&'s ModuleInfo, u32)> {
        let store: &'s StoreOpaque = self.store;
        let known = store.instances.iter().filter_map(|instance| {
            let info = &instance.module.info;
            let index = info.types.indices().iter().position(|known| *known == ty)?;
            Some((info, index as u32))
        });
        // One that has a name for it tells more.
        let mut known: Vec<_> = known.collect();
        known.sort_by_key(|(info, index)| !info.type_names.contains_key(index));
        known.first().copied()
    }

    fn field_names(&self, ty: TypeIndex, count: usize) -> Vec<Option<String>> {
        let names = self.module_of(ty).and_then(|(info, index)| info.item_names.fields.get(&index));
        names.map_or_else(Vec::new, |names| (0..count as u32).map(|field| names.get(&field).cloned()).collect())
    }

    fn type_name(&self, ty: TypeIndex, tag: Option<u32>) -> String {
        if ty == EXTERN_TYPE {
            return "host value".into();
        }
        if let Some(tag) = tag {
            return match self.tag_name(tag) {
                Some(name) => format!("exception {name}"),
                None => format!("exception of tag {tag}"),
            };
        }
        let module = self.module_of(ty);
        if let Some(name) = module.and_then(|(info, index)| info.type_names.get(&index)) {
            return format!("${name}");
        }
        let number = module.map_or(ty, |(_, index)| index);
        match &self.store.registry().get(ty).composite {
            CompositeType::Struct(fields) => {
                const SHOWN: usize = 6;
                let mut parts: Vec<String> = fields.fields.iter().take(SHOWN).map(|f| short(f.storage)).collect();
                if fields.fields.len() > SHOWN {
                    parts.push("…".into());
                }
                format!("struct#{number} {{{}}}", parts.join(", "))
            }
            CompositeType::Array(array) => format!("array#{number} [{}]", short(array.element.storage)),
            CompositeType::Func(_) => format!("func#{number}"),
        }
    }

    fn tag_name(&self, tag: u32) -> Option<String> {
        self.store.instances.iter().find_map(|instance| {
            let index = instance.tags.iter().position(|id| *id == tag)? as u32;
            instance.module.info.item_name(ExternKind::Tag, index)
        })
    }

    // Roots.

    fn find_roots(&mut self) {
        self.find_frames();
        self.find_globals();
        let store = self.store;
        for (id, table) in store.tables.iter().enumerate() {
            if let Elements::Refs(elements) = table.elements() {
                let name = self.name_of_table(id as u32);
                self.add_cells(RootKind::Table, elements, || name);
            }
        }
        for (number, instance) in store.instances.iter().enumerate() {
            for (segment, elements) in instance.segments.iter().enumerate() {
                if let Segment::Refs(elements) = elements {
                    let name = instance.module.info.item_names.elements.get(&(segment as u32));
                    let name = name.map_or_else(|| segment.to_string(), |name| format!("${name}"));
                    let suffix = self.suffix(number);
                    self.add_cells(RootKind::Segment, elements, || format!("element segment {name}{suffix}"));
                }
            }
        }
        self.add_cells(RootKind::Host, store.handle_slots(), || "handles of the host's".into());
        self.add_cells(RootKind::Exception, std::slice::from_ref(store.exception()), || {
            "exception on its way to a handler".into()
        });
    }

    fn add_cells(&mut self, kind: RootKind, cells: &[RefCell32], name: impl FnOnce() -> String) {
        let references = cells.iter().enumerate().filter_map(|(slot, cell)| {
            let to = self.resolve(Holds::Heap, cell.raw())?;
            Some(RootReference { name: None, slot: slot as u32, to })
        });
        let references: Vec<_> = references.collect();
        if !references.is_empty() {
            self.holders.push(RootHolder { kind, name: name(), references });
        }
    }

    /// The frames of all activations, innermost first.
    fn find_frames(&mut self) {
        let store = self.store;
        let mut frames: Vec<(usize, u64, Vec<u32>)> = Vec::new();
        let mut depth = 0;
        // SAFETY: the record lives as long as the store, and compiled code has been left.
        for bounds in unsafe { signals::activations(store.vm()) } {
            let visit = |frame: Frame, slots: unwind::Slots<'_>| {
                frames.push((frame.pc, depth, slots.map(Cell::get).collect()));
                depth += 1;
            };
            // SAFETY: each activation waits for what it called, so its frames are still there; the map knows the code of all instances.
            unsafe { unwind::visit_frames(&store.code, bounds, visit) };
        }
        for (pc, depth, slots) in frames {
            let references: Vec<_> = (slots.iter().enumerate())
                .filter_map(|(slot, raw)| {
                    let to = self.resolve(Holds::Heap, *raw)?;
                    Some(RootReference { name: None, slot: slot as u32, to })
                })
                .collect();
            if !references.is_empty() {
                let name = format!("frame {depth}: {}", backtrace::function(store, pc));
                self.holders.push(RootHolder { kind: RootKind::Stack, name, references });
            }
        }
    }

    /// The globals of each instance that defines any, and then those of the host's.
    fn find_globals(&mut self) {
        let store = self.store;
        let mut named: Vec<Option<(usize, String)>> = vec![None; store.globals.len()];
        for (number, instance) in store.instances.iter().enumerate() {
            let info = &instance.module.info;
            for index in info.imported_globals..instance.globals.len() as u32 {
                let name = info.item_name(ExternKind::Global, index);
                let name = name.unwrap_or_else(|| format!("global {index}"));
                named[instance.globals[index as usize] as usize] = Some((number, name));
            }
        }
        let mut by_instance: Vec<Vec<RootReference>> = Vec::new();
        by_instance.resize_with(store.instances.len() + 1, Vec::new);
        for (id, global) in store.globals.iter().enumerate().filter(|(_, global)| global.ty.content.is_gc_ref()) {
            let Some(to) = self.resolve(Holds::Heap, global.cell().raw()) else { continue };
            let (owner, name) = match named[id].take() {
                Some((number, name)) => (number, name),
                None => (store.instances.len(), format!("global {id}")),
            };
            by_instance[owner].push(RootReference { name: Some(name), slot: id as u32, to });
        }
        for (number, references) in by_instance.into_iter().enumerate().filter(|(_, all)| !all.is_empty()) {
            let owner = if number < store.instances.len() { self.suffix(number) } else { " of the host's".into() };
            self.holders.push(RootHolder { kind: RootKind::Global, name: format!("globals{owner}"), references });
        }
    }

    fn name_of_table(&self, id: u32) -> String {
        let defined = |(number, instance): (usize, &Instance)| {
            let info = &instance.module.info;
            let index = instance.tables.iter().position(|table| *table == id)? as u32;
            let name = info.item_name(ExternKind::Table, index);
            let name = name.unwrap_or_else(|| index.to_string());
            (index >= info.imported_tables).then(|| format!("table {name}{}", self.suffix(number)))
        };
        let found = self.store.instances.iter().enumerate().find_map(defined);
        found.unwrap_or_else(|| format!("table {id} of the host's"))
    }

    /// Which instance, where there are several.
    fn suffix(&self, number: usize) -> String {
        let instances = &self.store.instances;
        match &instances[number].module.info.name {
            _ if instances.len() == 1 => String::new(),
            Some(name) => format!(" of ${name} (instance {number})"),
            None => format!(" of instance {number}"),
        }
    }
}

/// The slots that hold references, of those at these offsets.
fn fields(places: impl Iterator<Item = (u32, StorageType)>) -> Slots {
    let held =
        places.enumerate().filter_map(|(slot, (offset, storage))| Some((slot as u32, offset, Holds::of(storage)?)));
    Slots::Fields(held.collect())
}

/// Calls `visit` with the number and the contents of each slot for references.
fn visit_slots(store: &StoreOpaque, slots: &Slots, object: &ObjectInfo, mut visit: impl FnMut(u32, Holds, u32)) {
    let memory = store.memory();
    match slots {
        Slots::Fields(fields) => {
            fields.iter().for_each(|(slot, offset, holds)| visit(*slot, *holds, memory.load_u32(object.index, *offset)))
        }
        Slots::Elements(base, holds) => (0..object.length.unwrap_or_default())
            .for_each(|i| visit(i, *holds, memory.load_u32(object.index, base + i * 4))),
        Slots::Numbers(..) | Slots::None => {}
    }
}

/// A type in a few letters: `i32`, `ref`, `extern`, `func`.
fn short(storage: StorageType) -> String {
    match storage {
        StorageType::Val(ValType::Ref(ty)) => match ty.heap {
            HeapType::I31 => "i31".into(),
            heap => match heap.hierarchy() {
                Hierarchy::Func => "func".into(),
                Hierarchy::Extern => "extern".into(),
                Hierarchy::Exn => "exn".into(),
                Hierarchy::Any => "ref".into(),
            },
        },
        storage => storage.to_string(),
    }
}
