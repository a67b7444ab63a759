//! Recursion groups that the host makes.
//!
//! What the validator does for a module's groups is done here, with errors that name the member and the part of it at fault. Then
//! the group gets the words that a module's would have, so that equal groups, whoever makes them, are one.
//!
//! Inside its group a member stands for itself by a place-holder, an index that no registry gives out:
//!
//! ```text
//! place-holder = 1 | group 11 | position 20
//! ```
//!
//! The bits of the group are there to notice members of other groups.

use super::group::{self, Kind};
use super::registry::{MAX_SUBTYPE_DEPTH, TypeError, TypeRegistry, heap_matches};
use super::value::{CompositeType, FieldType, HeapType, RefType, StorageType, SubType, ValType};
use gc_api::{MAX_TYPES, TypeIndex};
use std::fmt;

const PLACE_HOLDER: u32 = 1 << 31;
const GROUP_SHIFT: u32 = MAX_TYPES.trailing_zeros();
const POSITION_MASK: u32 = MAX_TYPES as u32 - 1;

/// What stands for the member `position` in the group `group`, of whose number the lowest 11 bits count.
pub(crate) fn place_holder(group: u32, position: u32) -> TypeIndex {
    PLACE_HOLDER | (group << GROUP_SHIFT) & !PLACE_HOLDER | position & POSITION_MASK
}

/// The position of the member that a place-holder stands for, if it is one of the group's.
pub(crate) fn position(group: u32, ty: TypeIndex) -> Option<usize> {
    let position = ty & POSITION_MASK;
    (ty == place_holder(group, position)).then_some(position as usize)
}

/// A member of a group.
pub(crate) struct Member<'a> {
    /// Its name, unless there is only one.
    pub name: Option<&'a str>,
    /// Its definition, in which place-holders stand for members.
    pub ty: &'a SubType,
}

/// A part of a type definition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// All of it.
    Whole,
    /// The supertype that it declares.
    Supertype,
    /// A struct's field, by index.
    Field(usize),
    /// An array's element.
    Element,
    /// A function's parameter, by index.
    Param(usize),
    /// A function's result, by index.
    Result(usize),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Whole => Ok(()),
            Part::Supertype => f.write_str(", supertype"),
            Part::Field(i) => write!(f, ", field {i}"),
            Part::Element => f.write_str(", element"),
            Part::Param(i) => write!(f, ", parameter {i}"),
            Part::Result(i) => write!(f, ", result {i}"),
        }
    }
}

impl TypeRegistry {
    /// Registers a recursion group of the host's: the index of its first member, which the others follow.
    ///
    /// # Errors
    /// [`TypeError::Member`] for what is wrong with a member, and when the engine holds too many types.
    pub(crate) fn register_group(&self, number: u32, members: &[Member<'_>]) -> Result<TypeIndex, TypeError> {
        let group = Group { registry: self, number, members };
        group.check()?;
        let mut words = Vec::new();
        for (i, member) in members.iter().enumerate() {
            let target = |ty| group.position(ty).map_or(ty, |position| group::relative(position as u32));
            group::encode(&mut words, member.ty, target)
                .map_err(|error| group.wrong(i, Part::Whole, error.to_string()))?;
        }
        self.register_words(&words, members.len() as u32)
    }
}

/// A group before its members have indices.
struct Group<'a> {
    registry: &'a TypeRegistry,
    number: u32,
    members: &'a [Member<'a>],
}

impl Group<'_> {
    fn position(&self, ty: TypeIndex) -> Option<usize> {
        position(self.number, ty).filter(|position| *position < self.members.len())
    }

    fn wrong(&self, member: usize, part: Part, why: String) -> TypeError {
        let member = self.members[member].name.map_or("the type".into(), |name| format!("type `{name}`"));
        TypeError::Member { member, part, why }
    }

    fn check(&self) -> Result<(), TypeError> {
        for (i, member) in self.members.iter().enumerate() {
            parts(&member.ty.composite).try_for_each(|(part, ty)| self.check_target(i, part, &ty))?;
        }
        let mut depths = Vec::with_capacity(self.members.len());
        for (i, member) in self.members.iter().enumerate() {
            let depth = match member.ty.supertype {
                None => 0,
                Some(supertype) => self.check_supertype(i, supertype, &depths)?,
            };
            depths.push(depth);
        }
        Ok(())
    }

    /// Whether what a part refers to exists and is of the kind that it is said to be.
    fn check_target(&self, member: usize, part: Part, ty: &ValType) -> Result<(), TypeError> {
        let ValType::Ref(RefType { heap, .. }) = ty else { return Ok(()) };
        let Some(index) = heap.index() else { return Ok(()) };
        let found = match self.position(index) {
            Some(position) => Some(Kind::of(&self.members[position].ty.composite).heap(index)),
            None => self.registry.try_heap_type(index),
        };
        if found == Some(*heap) {
            return Ok(());
        }
        let why = match index & PLACE_HOLDER {
            0 => format!("`{}` is no such type of this engine's", self.show_heap(*heap)),
            _ => "it refers to a member of another group".into(),
        };
        Err(self.wrong(member, part, why))
    }

    /// The depth of a member whose supertype is as it should be.
    fn check_supertype(&self, i: usize, supertype: TypeIndex, depths: &[u32]) -> Result<u32, TypeError> {
        let wrong = |why: String| Err(self.wrong(i, Part::Supertype, why));
        let (definition, depth) = match self.position(supertype) {
            Some(position) if position >= i => {
                return wrong(format!("{} comes only afterwards", self.show_index(supertype)));
            }
            Some(position) => (self.members[position].ty, depths[position]),
            None => match self.registry.try_heap_type(supertype).and_then(HeapType::index) {
                Some(supertype) => (self.registry.get(supertype), self.registry.depth(supertype)),
                None => return wrong(format!("${supertype} is no type of this engine's")),
            },
        };
        let name = self.show_index(supertype);
        if definition.is_final {
            return wrong(format!("{name} is final and can have no subtype"));
        }
        let own = &self.members[i].ty.composite;
        if let Some((part, why)) = mismatch(own, &definition.composite, &|a, b| self.val_matches(a, b)) {
            return Err(self.wrong(i, part, format!("no subtype of {name}: {}", why.show(self))));
        }
        if depth >= MAX_SUBTYPE_DEPTH {
            return wrong(TypeError::TooDeep.to_string());
        }
        Ok(depth + 1)
    }

    fn val_matches(&self, a: &ValType, b: &ValType) -> bool {
        match (a, b) {
            (ValType::Ref(a), ValType::Ref(b)) => {
                (b.nullable || !a.nullable) && heap_matches(a.heap, b.heap, |a, b| self.is_subtype(a, b))
            }
            _ => a == b,
        }
    }

    /// Follows the declared supertypes, which come before their subtypes.
    fn is_subtype(&self, sub: TypeIndex, sup: TypeIndex) -> bool {
        let mut sub = sub;
        while let Some(position) = self.position(sub) {
            match self.members[position].ty.supertype {
                _ if sub == sup => return true,
                Some(supertype) => sub = supertype,
                None => return false,
            }
        }
        // What was there before the group has no supertype in it.
        self.position(sup).is_none() && self.registry.is_subtype(sub, sup)
    }

    fn show_index(&self, ty: TypeIndex) -> String {
        match self.position(ty) {
            Some(position) => format!("`{}`", self.members[position].name.unwrap_or_default()),
            None => format!("${ty}"),
        }
    }

    fn show_heap(&self, heap: HeapType) -> String {
        match heap.index() {
            Some(index) => self.show_index(index),
            None => heap.to_string(),
        }
    }

    fn show_val(&self, ty: &ValType) -> String {
        match ty {
            ValType::Ref(RefType { nullable, heap }) => {
                format!("(ref {}{})", if *nullable { "null " } else { "" }, self.show_heap(*heap))
            }
            number => number.to_string(),
        }
    }

    fn show_field(&self, field: &FieldType) -> String {
        let storage = match &field.storage {
            StorageType::Val(ty) => self.show_val(ty),
            packed => packed.to_string(),
        };
        if field.mutable { format!("(mut {storage})") } else { storage }
    }
}

/// The value types in a definition, packed ones apart.
fn parts(composite: &CompositeType) -> Box<dyn Iterator<Item = (Part, ValType)> + '_> {
    match composite {
        CompositeType::Func(func) => {
            let params = func.params.iter().enumerate().map(|(i, ty)| (Part::Param(i), *ty));
            Box::new(params.chain(func.results.iter().enumerate().map(|(i, ty)| (Part::Result(i), *ty))))
        }
        CompositeType::Struct(ty) => {
            Box::new(ty.fields.iter().enumerate().map(|(i, field)| (Part::Field(i), field.storage.unpack())))
        }
        CompositeType::Array(ty) => Box::new(std::iter::once((Part::Element, ty.element.storage.unpack()))),
    }
}

/// Why a definition does not match another.
pub(super) enum Mismatch {
    /// One is a struct, say, the other an array.
    Kind,
    /// Too few fields, or another number of parameters or results: its own and the supertype's.
    Count(usize, usize),
    /// A field or an element.
    Field(FieldType, FieldType),
    /// A result, or a parameter: what should be the wider one comes second.
    Value(ValType, ValType),
}

impl Mismatch {
    fn show(&self, group: &Group<'_>) -> String {
        match self {
            Mismatch::Kind => "that is of another kind".into(),
            Mismatch::Count(own, supertype) => format!("{own} instead of {supertype}"),
            Mismatch::Field(own, supertype) => {
                format!("{} does not match {}", group.show_field(own), group.show_field(supertype))
            }
            Mismatch::Value(narrow, wide) => {
                format!("{} does not match {}", group.show_val(narrow), group.show_val(wide))
            }
        }
    }
}

/// The first part of `own` that does not match the definition of its supertype.
pub(super) fn mismatch(
    own: &CompositeType,
    supertype: &CompositeType,
    val_matches: &dyn Fn(&ValType, &ValType) -> bool,
) -> Option<(Part, Mismatch)> {
    let values = |part: fn(usize) -> Part, narrow: &[ValType], wide: &[ValType]| {
        let wrong = narrow.iter().zip(wide).position(|(narrow, wide)| !val_matches(narrow, wide))?;
        Some((part(wrong), Mismatch::Value(narrow[wrong], wide[wrong])))
    };
    let field_matches = |own: &FieldType, supertype: &FieldType| match (own.storage, supertype.storage) {
        _ if own.mutable != supertype.mutable => false,
        // What can be written as well as read may not vary.
        (StorageType::Val(narrow), StorageType::Val(wide)) if !own.mutable => val_matches(&narrow, &wide),
        (own, supertype) => own == supertype,
    };
    match (own, supertype) {
        (CompositeType::Func(own), CompositeType::Func(sup)) => {
            let counts = [(own.params.len(), sup.params.len()), (own.results.len(), sup.results.len())];
            if let Some((own, sup)) = counts.into_iter().find(|(own, sup)| own != sup) {
                return Some((Part::Whole, Mismatch::Count(own, sup)));
            }
            values(Part::Param, &sup.params, &own.params).or_else(|| values(Part::Result, &own.results, &sup.results))
        }
        (CompositeType::Struct(own), CompositeType::Struct(sup)) => {
            if own.fields.len() < sup.fields.len() {
                return Some((Part::Whole, Mismatch::Count(own.fields.len(), sup.fields.len())));
            }
            let wrong = own.fields.iter().zip(&sup.fields).position(|(own, sup)| !field_matches(own, sup))?;
            Some((Part::Field(wrong), Mismatch::Field(own.fields[wrong], sup.fields[wrong])))
        }
        (CompositeType::Array(own), CompositeType::Array(sup)) => (!field_matches(&own.element, &sup.element))
            .then_some((Part::Element, Mismatch::Field(own.element, sup.element))),
        _ => Some((Part::Whole, Mismatch::Kind)),
    }
}
