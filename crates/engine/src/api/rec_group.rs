//! Types of the host's that refer to each other.

use super::{Engine, Error, Result};
use crate::types::host::{self, place_holder};
use crate::types::{CompositeType, HeapType, RefType, SubType, TypeIndex};
use std::sync::atomic::{AtomicU32, Ordering};

/// Types that are defined together, so that each can refer to each: a recursion group.
///
/// First the members are declared, with names that errors call them by; then each is defined, with what its declaration gave
/// wherever one refers to another; [`Engine::define_group`] gives them their indices. A supertype in the group is declared before
/// its subtypes. As in modules, groups are equal when they have equal types in the same order, and then their types are the same.
///
/// ```
/// # fn main() -> engine::Result<()> {
/// use engine::types::{ArrayType, FieldType, StructType, SubType, ValType};
/// use engine::{ArrayRef, Engine, RecGroup, Store, StructRef, Val};
/// # let engine = Engine::new(gc_drc::COLLECTOR.with(&Default::default()).unwrap())?;
/// // (rec
/// //   (type $tree (struct (field i32) (field (ref null $trees))))
/// //   (type $trees (array (mut (ref null $tree)))))
/// let mut group = RecGroup::new();
/// let (tree, trees) = (group.declare_struct("tree"), group.declare_array("trees"));
/// let fields = [FieldType::new(ValType::I32, false), FieldType::new(trees.nullable(), false)];
/// group.define(tree, SubType::plain(StructType::new(fields).into()))?;
/// group.define(trees, SubType::plain(ArrayType::new(FieldType::new(tree.nullable(), true)).into()))?;
/// let types = engine.define_group(&group)?;
///
/// let mut store = Store::new(&engine, ())?;
/// let leaf = StructRef::new(&mut store, types.get(tree), &[Val::I32(1), Val::AnyRef(None)])?;
/// let leaves = ArrayRef::new(&mut store, types.get(trees), &leaf.into(), 2)?;
/// let root = StructRef::new(&mut store, types.get(tree), &[Val::I32(2), leaves.into()])?;
/// assert_eq!(root.field(&mut store, 0)?.i32(), Some(2));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RecGroup {
    number: u32,
    members: Vec<Declared>,
}

#[derive(Debug)]
struct Declared {
    /// What errors call it.
    name: String,
    definition: Option<SubType>,
}

/// A member of a [`RecGroup`]: what stands for it in the definitions of that group, and in no other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Member(HeapType);

impl Member {
    /// As a heap type.
    pub fn heap(self) -> HeapType {
        self.0
    }

    /// As a supertype.
    pub fn index(self) -> TypeIndex {
        self.0.index().expect("a member is of a concrete type")
    }

    /// References to it, and null.
    pub fn nullable(self) -> RefType {
        RefType::nullable(self.0)
    }

    /// References to it.
    pub fn non_null(self) -> RefType {
        RefType::non_null(self.0)
    }
}

impl Default for RecGroup {
    fn default() -> RecGroup {
        RecGroup::new()
    }
}

impl RecGroup {
    /// A group without members.
    pub fn new() -> RecGroup {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        RecGroup { number: NEXT.fetch_add(1, Ordering::Relaxed), members: Vec::new() }
    }

    /// The number in its place-holders.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Declares a member that will be a struct.
    pub fn declare_struct(&mut self, name: &str) -> Member {
        self.declare(name, HeapType::ConcreteStruct)
    }

    /// Declares a member that will be an array.
    pub fn declare_array(&mut self, name: &str) -> Member {
        self.declare(name, HeapType::ConcreteArray)
    }

    /// Declares a member that will be a function type.
    pub fn declare_func(&mut self, name: &str) -> Member {
        self.declare(name, HeapType::ConcreteFunc)
    }

    fn declare(&mut self, name: &str, kind: fn(TypeIndex) -> HeapType) -> Member {
        let position = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        let member = Member(kind(place_holder(self.number, position)));
        self.members.push(Declared { name: name.into(), definition: None });
        member
    }

    /// Defines a member. What it refers to is looked at when the group is whole.
    ///
    /// # Errors
    /// When it is no member of this group, when it has a definition already, and when it was declared to be of another kind.
    pub fn define(&mut self, member: Member, ty: SubType) -> Result<&mut Self> {
        let position = host::position(self.number, member.index());
        let Some(declared) = position.and_then(|position| self.members.get_mut(position)) else {
            return Err(Error::usage("the member is another group's"));
        };
        let name = &declared.name;
        if declared.definition.is_some() {
            return Err(Error::usage(format!("type `{name}` is defined already")));
        }
        let fits = matches!(
            (member.0, &ty.composite),
            (HeapType::ConcreteFunc(_), CompositeType::Func(_))
                | (HeapType::ConcreteStruct(_), CompositeType::Struct(_))
                | (HeapType::ConcreteArray(_), CompositeType::Array(_))
        );
        if !fits {
            return Err(Error::usage(format!(
                "type `{name}` was declared to be of another kind than its definition {ty}"
            )));
        }
        declared.definition = Some(ty);
        Ok(self)
    }
}

/// The types of a group that an engine knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DefinedGroup {
    number: u32,
    first: TypeIndex,
}

impl DefinedGroup {
    /// The type that a member has become.
    ///
    /// # Panics
    /// When it is another group's.
    pub fn get(&self, member: Member) -> TypeIndex {
        let position = host::position(self.number, member.index());
        self.first + position.expect("the member is another group's") as u32
    }

    /// The type that a member has become, as a heap type.
    ///
    /// # Panics
    /// When it is another group's.
    pub fn heap(&self, member: Member) -> HeapType {
        let ty = self.get(member);
        match member.0 {
            HeapType::ConcreteFunc(_) => HeapType::ConcreteFunc(ty),
            HeapType::ConcreteStruct(_) => HeapType::ConcreteStruct(ty),
            _ => HeapType::ConcreteArray(ty),
        }
    }
}

impl Engine {
    /// Gives the types of a group their indices: equal groups, of the host's or of modules', get the same. See [`RecGroup`].
    ///
    /// # Errors
    /// An error that names the member, and its field, element, parameter or result, when
    ///
    /// * it has no definition,
    /// * it refers to a type that is not this engine's, to a member of another group, or to a type as another kind than it is,
    /// * its supertype is final, is declared after it, or does not match, or there are more than 63 above it,
    /// * it has more than 10000 fields, or more than 1000 parameters or results;
    ///
    /// and when the group is empty, or the engine full of types. The engine keeps nothing of a group that it refuses.
    pub fn define_group(&self, group: &RecGroup) -> Result<DefinedGroup> {
        if group.members.is_empty() {
            return Err(Error::usage("a recursion group without types"));
        }
        let members = group.members.iter().map(|declared| match &declared.definition {
            Some(ty) => Ok(host::Member { name: Some(&declared.name), ty }),
            None => Err(Error::usage(format!("type `{}` is declared, but not defined", declared.name))),
        });
        let first = self.registry().register_group(group.number, &members.collect::<Result<Vec<_>>>()?)?;
        Ok(DefinedGroup { number: group.number, first })
    }
}
