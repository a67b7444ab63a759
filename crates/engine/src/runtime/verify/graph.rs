//! The walk, and the comparison of two.

use super::{Fault, View};
use crate::types::{HeapType, Hierarchy, RefType, StorageType, TypeIndex, ValType};
use gc_api::{
    ARRAY_LENGTH_OFFSET, EXCEPTION_TAG_OFFSET, EXTERN_ID_OFFSET, EXTERN_SIZE, EXTERN_TYPE, FIRST_INDEX, GcKind,
    HEADER_SIZE, OBJECT_ALIGN, RootKind, Roots, VMGcRef,
};
use rustc_hash::FxHashMap;
use std::fmt::{self, Display, Formatter};
use std::ops::Range;

/// What a slot holds, by the walk's numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    Null,
    I31(u32),
    Object(u32),
}

/// Where the walk met an object first.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// Among the roots of its kind that are not null.
    Root(RootKind, usize),
    /// An object by number, and the offset of the slot in it.
    Slot(u32, u32),
}

/// An object's kind, type and length, as its header says and its type allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub kind: GcKind,
    pub ty: TypeIndex,
    pub length: Option<u32>,
    /// Bytes, as they follow from these.
    pub size: u64,
}

impl Header {
    /// Reads an object's header.
    ///
    /// # Errors
    /// When no object of the engine's types can be there.
    pub fn read(view: View<'_>, index: u32) -> Result<Header, Fault> {
        let committed = view.memory.committed();
        let at = |what: String| Err(Fault(format!("at index {index:#x} {what}")));
        let Some(object) = VMGcRef::from_index(index).filter(|_| index >= FIRST_INDEX) else {
            return at("no object can be: it lies below the heap".into());
        };
        if !index.is_multiple_of(OBJECT_ALIGN) || (index + HEADER_SIZE) as u64 > committed {
            return at(format!(
                "no object can be: it is not aligned, or not below {committed:#x}, where the heap ends"
            ));
        }
        let header = view.memory.header(&object);
        let (kind, ty) = (header.kind(), header.ty());
        let heap = if kind == GcKind::EXTERN { None } else { view.registry.try_heap_type(ty) };
        let (length, size) = match (kind, heap) {
            (GcKind::EXTERN, _) if ty == EXTERN_TYPE => (None, EXTERN_SIZE as u64),
            (GcKind::STRUCT, Some(HeapType::ConcreteStruct(_))) => (None, view.registry.struct_layout(ty).size as u64),
            (GcKind::EXN, Some(HeapType::Exn)) => (None, view.registry.exception_layout(ty).size as u64),
            (GcKind::ARRAY, Some(HeapType::ConcreteArray(_))) => {
                if (index + ARRAY_LENGTH_OFFSET + 4) as u64 > committed {
                    return at("stands an array without a length: the heap ends".into());
                }
                let length = view.memory.array_length(&object);
                (Some(length), array_end(view, ty, length).next_multiple_of(OBJECT_ALIGN as u64))
            }
            _ => {
                return at(format!(
                    "stands no object: the header {:#018x} has kind {kind:?}, type {ty}",
                    header.to_u64()
                ));
            }
        };
        if index as u64 + size > committed {
            return at(format!("stands an object of type {ty} with {size} bytes, of which not all are in the heap"));
        }
        Ok(Header { kind, ty, length, size })
    }

    /// What it is as a type.
    fn heap_type(self, view: View<'_>) -> HeapType {
        match self.kind {
            GcKind::EXTERN => HeapType::Extern,
            _ => view.registry.heap_type(self.ty),
        }
    }

    /// Calls `visit` with the offset and the type of each slot: fields, elements, an exception's values.
    pub fn slots(self, view: View<'_>, mut visit: impl FnMut(u32, StorageType)) {
        let registry = view.registry;
        match self.kind {
            GcKind::STRUCT => {
                let places = &registry.struct_layout(self.ty).fields;
                let fields = &registry.struct_type(self.ty).fields;
                places.iter().zip(fields).for_each(|(place, field)| visit(place.offset, field.storage));
            }
            GcKind::EXN => {
                let places = &registry.exception_layout(self.ty).fields;
                let params = &registry.func(registry.exception_func(self.ty)).params;
                places.iter().zip(params).for_each(|(place, param)| visit(place.offset, StorageType::Val(*param)));
            }
            GcKind::ARRAY => {
                let layout = registry.array_layout(self.ty);
                let storage = registry.array_type(self.ty).element.storage;
                (0..self.length.unwrap_or_default())
                    .for_each(|i| visit(layout.base + (i << layout.element_log2), storage));
            }
            _ => {}
        }
    }

    /// Whether it has slots for references into the heap.
    pub fn has_references(self, view: View<'_>) -> bool {
        match self.kind {
            GcKind::ARRAY => view.registry.array_type(self.ty).element.storage.is_gc_ref(),
            GcKind::EXTERN => false,
            _ => true,
        }
    }
}

impl Display for Header {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.kind, self.length) {
            (GcKind::EXTERN, _) => write!(f, "a host value"),
            (GcKind::EXN, _) => write!(f, "an exception of type {}", self.ty),
            (_, Some(length)) => write!(f, "an array of type {} and length {length}", self.ty),
            _ => write!(f, "a struct of type {}", self.ty),
        }
    }
}

/// An object, as the walk found it.
struct Object {
    index: u32,
    header: Header,
    found_by: Source,
    /// Its references, in [`Graph::targets`].
    targets: Range<usize>,
    /// Everything else that it holds, in [`Graph::bytes`].
    bytes: Range<usize>,
}

/// The reachable part of a heap.
#[derive(Default)]
pub struct Graph {
    roots: Vec<(RootKind, Target)>,
    objects: Vec<Object>,
    targets: Vec<Target>,
    bytes: Vec<u8>,
    /// By index.
    numbers: FxHashMap<u32, u32>,
}

impl Graph {
    /// Walks from the roots.
    ///
    /// # Errors
    /// The first reference that leads to no object, or to one that its slot cannot hold.
    pub fn walk(view: View<'_>, roots: &mut dyn Roots) -> Result<Graph, Fault> {
        let mut graph = Graph::default();
        for kind in RootKind::ALL {
            let mut found = Vec::new();
            roots.visit(kind, &mut |slot| found.extend(slot.get()));
            for (i, root) in found.iter().enumerate() {
                let target = graph.resolve(view, Some(root), Source::Root(kind, i), None)?;
                graph.roots.push((kind, target));
            }
        }
        let mut next = 0;
        while next < graph.objects.len() {
            graph.scan(view, next as u32)?;
            next += 1;
        }
        Ok(graph)
    }

    /// Reads what object `number` holds.
    fn scan(&mut self, view: View<'_>, number: u32) -> Result<(), Fault> {
        let Object { index, header, .. } = self.objects[number as usize];
        let (targets, bytes) = (self.targets.len(), self.bytes.len());
        let fixed = match header.kind {
            GcKind::EXN => Some(EXCEPTION_TAG_OFFSET),
            GcKind::EXTERN => Some(EXTERN_ID_OFFSET),
            _ => None,
        };
        if let Some(offset) = fixed {
            let (id, limit) = (view.memory.load_u32(index, offset), view.tags);
            let known = if header.kind == GcKind::EXN { (id as usize) < limit } else { view.hosts.get(id).is_some() };
            if !known {
                return self.fault(Source::Slot(number, offset), &format!("the id {id} stands for nothing"));
            }
            self.bytes.extend(id.to_le_bytes());
        }
        let mut result = Ok(());
        match header.kind {
            // All numbers at once.
            GcKind::ARRAY if !view.registry.array_type(header.ty).element.storage.unpack().is_ref() => {
                let base = view.registry.array_layout(header.ty).base;
                self.bytes.resize(bytes + (header.size as u32 - base) as usize, 0);
                view.memory.read_bytes(index, base, &mut self.bytes[bytes..]);
                let unused = header.size - array_end(view, header.ty, header.length.unwrap_or_default());
                self.bytes.truncate(self.bytes.len() - unused as usize);
            }
            _ => header.slots(view, |offset, storage| {
                if result.is_ok() {
                    result = self.slot(view, number, offset, storage);
                }
            }),
        }
        result?;
        let object = &mut self.objects[number as usize];
        (object.targets, object.bytes) = (targets..self.targets.len(), bytes..self.bytes.len());
        Ok(())
    }

    fn slot(&mut self, view: View<'_>, number: u32, offset: u32, storage: StorageType) -> Result<(), Fault> {
        let index = self.objects[number as usize].index;
        let source = Source::Slot(number, offset);
        match storage {
            StorageType::Val(ValType::Ref(ty)) if ty.is_gc_ref() => {
                let held = VMGcRef::from_raw(view.memory.load_u32(index, offset));
                let target = self.resolve(view, held.as_ref(), source, Some(ty))?;
                self.targets.push(target);
            }
            StorageType::Val(ValType::Ref(_)) if view.memory.load_u32(index, offset) as usize >= view.funcs => {
                return self.fault(source, "holds the id of a function that does not exist");
            }
            _ => {
                let mut bytes = [0; 16];
                let bytes = &mut bytes[..1 << storage.bytes_log2()];
                view.memory.read_bytes(index, offset, bytes);
                self.bytes.extend_from_slice(bytes);
            }
        }
        Ok(())
    }

    /// What a slot holds. An object that the walk has not met gets a number.
    fn resolve(
        &mut self,
        view: View<'_>,
        held: Option<&VMGcRef>,
        source: Source,
        ty: Option<RefType>,
    ) -> Result<Target, Fault> {
        let Some(held) = held else {
            return match ty {
                Some(ty) if !ty.nullable => self.fault(source, &format!("holds null, and is of type {ty}")),
                _ => Ok(Target::Null),
            };
        };
        if let Some(value) = held.i31() {
            return match ty {
                Some(ty) if !holds(view, ty.heap, HeapType::I31) => {
                    self.fault(source, &format!("holds an i31, and is of type {ty}"))
                }
                _ => Ok(Target::I31(value)),
            };
        }
        let index = held.raw();
        let number = match self.numbers.get(&index) {
            Some(number) => *number,
            None => {
                let header = match Header::read(view, index) {
                    Ok(header) => header,
                    Err(Fault(what)) => return self.fault(source, &format!("refers to what is no object: {what}")),
                };
                let number = self.objects.len() as u32;
                self.objects.push(Object { index, header, found_by: source, targets: 0..0, bytes: 0..0 });
                self.numbers.insert(index, number);
                number
            }
        };
        let header = self.objects[number as usize].header;
        match ty {
            Some(ty) if !holds(view, ty.heap, header.heap_type(view)) => {
                self.fault(source, &format!("refers to {header}, and is of type {ty}"))
            }
            _ => Ok(Target::Object(number)),
        }
    }

    fn fault<T>(&self, source: Source, what: &str) -> Result<T, Fault> {
        Err(Fault(format!("{} {what}", self.path(source))))
    }

    /// How to get to a slot from a root.
    fn path(&self, source: Source) -> String {
        /// Steps of a long path that are printed from its end.
        const LAST: usize = 6;
        let mut steps = Vec::new();
        let mut source = source;
        let root = loop {
            match source {
                Source::Root(kind, i) => break format!("root {i} of kind `{}`", kind.name()),
                Source::Slot(number, offset) => {
                    let Object { header, found_by, .. } = &self.objects[number as usize];
                    steps.push(format!("the slot at byte {offset} of {header}"));
                    source = *found_by;
                }
            }
        };
        let omitted = steps.len().saturating_sub(LAST);
        steps.truncate(LAST);
        steps.reverse();
        let between = if omitted > 0 { format!(", {omitted} objects on") } else { String::new() };
        match steps.is_empty() {
            true => root,
            false => format!("{} ({root}{between})", steps.join(" → ")),
        }
    }

    /// How the walk got to the object at this index.
    ///
    /// # Panics
    /// When it did not.
    pub fn path_to(&self, index: u32) -> String {
        self.path(self.objects[self.numbers[&index] as usize].found_by)
    }

    /// Whether the walk met an object at this index.
    pub fn contains(&self, index: u32) -> bool {
        self.numbers.contains_key(&index)
    }

    /// The objects' indices, by number.
    pub fn indices(&self) -> impl Iterator<Item = u32> + '_ {
        self.objects.iter().map(|object| object.index)
    }

    /// The host values that are reachable.
    pub fn host_values<'g>(&'g self, view: View<'g>) -> impl Iterator<Item = u32> + 'g {
        let externs = self.objects.iter().filter(|object| object.header.kind == GcKind::EXTERN);
        externs.map(move |object| view.memory.load_u32(object.index, EXTERN_ID_OFFSET))
    }

    /// What the slot at `offset` of the object at `index` held, by index; `None` if there was no such object.
    pub fn held(&self, view: View<'_>, index: u32, offset: u32) -> Option<u32> {
        let object = &self.objects[*self.numbers.get(&index)? as usize];
        let (mut position, mut found) = (0, None);
        match object.header.kind {
            GcKind::ARRAY => {
                let base = view.registry.array_layout(object.header.ty).base;
                found = offset.checked_sub(base).map(|from_base| from_base as usize / size_of::<u32>());
            }
            _ => object.header.slots(view, |at, storage| {
                if storage.is_gc_ref() {
                    found = found.or((at == offset).then_some(position));
                    position += 1;
                }
            }),
        }
        Some(match *self.targets[object.targets.clone()].get(found?)? {
            Target::Null => 0,
            Target::I31(value) => VMGcRef::from_i31(value).raw(),
            Target::Object(number) => self.objects[number as usize].index,
        })
    }

    /// Compares with the graph from before a collection.
    ///
    /// # Errors
    /// The first difference.
    pub fn compare(&self, before: &Graph, moving: bool) -> Result<(), Fault> {
        let roots = before.roots.iter().zip(&self.roots);
        if let Some(i) = { roots }.position(|(then, now)| then != now) {
            let kind = before.roots[i].0;
            let nth = before.roots[..i].iter().filter(|(other, _)| *other == kind).count();
            return before.changed(self, Source::Root(kind, nth), before.roots[i].1, self.roots[i].1);
        }
        if before.roots.len() != self.roots.len() {
            return Err(Fault(format!("there were {} roots, and are {}", before.roots.len(), self.roots.len())));
        }
        for (number, (then, now)) in before.objects.iter().zip(&self.objects).enumerate() {
            let differs = |what: &str| Err(Fault(format!("{} {what}", before.path(then.found_by))));
            if then.header != now.header {
                return differs(&format!("referred to {}, and now to {}", then.header, now.header));
            }
            if !moving && then.index != now.index {
                return differs(&format!(
                    "referred to index {:#x}, and now to {:#x}, of a collector that does not move objects",
                    then.index, now.index
                ));
            }
            if before.bytes[then.bytes.clone()] != self.bytes[now.bytes.clone()] {
                return differs(&format!("refers to {}, and the numbers in it have changed", then.header));
            }
            let targets = before.targets[then.targets.clone()].iter().zip(&self.targets[now.targets.clone()]);
            if let Some((i, (then, now))) = targets.enumerate().find(|(_, (then, now))| then != now) {
                let what = format!("reference {i} of what {} refers to", before.path(before.objects[number].found_by));
                return Err(Fault(format!("{what} was {}, and is {}", before.name(*then), self.name(*now))));
            }
        }
        // The walks follow the references that were just compared.
        assert_eq!(before.objects.len(), self.objects.len(), "equal references lead to as many objects");
        Ok(())
    }

    fn changed(&self, now: &Graph, source: Source, old: Target, new: Target) -> Result<(), Fault> {
        Err(Fault(format!("{} was {}, and is {}", self.path(source), self.name(old), now.name(new))))
    }

    fn name(&self, target: Target) -> String {
        match target {
            Target::Null => "null".into(),
            Target::I31(value) => format!("the i31 {value}"),
            Target::Object(number) => {
                let object = &self.objects[number as usize];
                format!("{} at {:#x} (object {number})", object.header, object.index)
            }
        }
    }
}

/// Bytes from the start of an array to the end of its last element.
fn array_end(view: View<'_>, ty: TypeIndex, length: u32) -> u64 {
    let layout = view.registry.array_layout(ty);
    layout.base as u64 + ((length as u64) << layout.element_log2)
}

/// Whether a slot for `slot`s can hold a `value`. Either of the hierarchies of `any` and `extern` may have come out of the other.
fn holds(view: View<'_>, slot: HeapType, value: HeapType) -> bool {
    match slot {
        HeapType::Any | HeapType::Extern => matches!(value.hierarchy(), Hierarchy::Any | Hierarchy::Extern),
        _ => view.registry.heap_matches(value, slot),
    }
}
