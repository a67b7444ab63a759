//! The shadow heap: the graph as plain Rust values, which follows each step of a script and knows nothing of collectors.
//!
//! A node is garbage from the moment that no path leads to it from a root. A walk finds this out, and forgets what no claim
//! excuses: garbage on or behind a cycle of garbage, for a collector that does not claim to find those.

use crate::types::{RefTy, Type, types};
use gc_api::{GcKind, HostId, VMGcRef};

/// What a slot holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Val {
    #[default]
    Null,
    I31(u32),
    Node(NodeId),
}

/// The number of a node: in the order of allocation.
pub type NodeId = u32;

/// What a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// The type with this place in [`types`].
    Object(u8),
    /// The host value with this id.
    Host(HostId),
}

impl What {
    pub fn ty(self) -> Option<&'static Type> {
        match self {
            What::Object(ty) => Some(&types()[ty as usize]),
            What::Host(_) => None,
        }
    }

    pub fn kind(self) -> GcKind {
        self.ty().map_or(GcKind::EXTERN, |ty| ty.kind)
    }
}

/// An object.
#[derive(Debug)]
pub struct Node {
    pub what: What,
    /// An array's length, else 0.
    pub length: u32,
    /// What its reference slots hold, in order.
    pub refs: Vec<Val>,
    /// What its other fields hold, one after the other.
    pub data: Vec<u8>,
    /// Where it was last seen.
    pub index: u32,
    /// The last walk that reached it.
    pub mark: u32,
}

impl Node {
    /// Bytes of the object.
    pub fn size(&self) -> u64 {
        self.what.ty().map_or(gc_api::EXTERN_SIZE as u64, |ty| ty.size(self.length))
    }
}

/// The roots: as the program sees them.
#[derive(Debug)]
pub struct ShadowRoots {
    pub stack: Vec<Val>,
    pub globals: Vec<Val>,
    pub tables: Vec<Vec<Val>>,
    pub segments: Vec<Vec<Val>>,
    pub handles: Vec<Val>,
    pub exception: Val,
}

/// The graph and its roots.
#[derive(Debug)]
pub struct Shadow {
    pub nodes: Vec<Option<Box<Node>>>,
    pub roots: ShadowRoots,
    /// Garbage on or behind a cycle of garbage. Its edges are kept: what becomes garbage later may be behind it.
    pub excused: Vec<NodeId>,
    /// Number of the current walk.
    pub walk: u32,
    /// Nodes that no walk has found to be garbage, in order of allocation.
    pub present: Vec<NodeId>,
}

impl Shadow {
    pub fn new(roots: ShadowRoots) -> Shadow {
        Shadow { nodes: Vec::new(), roots, excused: Vec::new(), walk: 0, present: Vec::new() }
    }

    /// Adds a node; its number is the next one.
    pub fn add(&mut self, what: What, length: u32, index: u32) -> NodeId {
        let id = self.nodes.len() as NodeId;
        let (refs, bytes) = what.ty().map_or((0, 0), |ty| (ty.refs(length), ty.bytes(length)));
        let data = (0..bytes as u32).map(|i| (i.wrapping_mul(7) ^ id.wrapping_mul(31)) as u8).collect();
        let refs = vec![Val::Null; refs];
        self.nodes.push(Some(Box::new(Node { what, length, refs, data, index, mark: 0 })));
        self.present.push(id);
        id
    }

    /// A node that no walk has forgotten.
    pub fn node(&self, id: NodeId) -> &Node {
        self.nodes[id as usize].as_deref().expect("a node that something refers to is there")
    }

    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes[id as usize].as_deref_mut().expect("a node that something refers to is there")
    }

    /// The bits that stand for a value.
    pub fn raw(&self, val: Val) -> u32 {
        match val {
            Val::Null => 0,
            Val::I31(value) => VMGcRef::from_i31(value).raw(),
            Val::Node(id) => self.node(id).index,
        }
    }

    /// Whether a slot of type `ty` can hold `val`.
    pub fn fits(&self, ty: RefTy, val: Val) -> bool {
        let kind = match val {
            Val::Null => return ty != RefTy::NonNull,
            Val::I31(_) => return matches!(ty, RefTy::Any | RefTy::I31),
            Val::Node(id) => self.node(id).what.kind(),
        };
        match ty {
            RefTy::Any => kind != GcKind::EXN,
            RefTy::Struct | RefTy::NonNull => kind == GcKind::STRUCT,
            RefTy::I31 => false,
            RefTy::Extern => kind == GcKind::EXTERN,
            RefTy::Exn => kind == GcKind::EXN,
        }
    }

    /// Marks what can be reached, with the number of a new walk; gives the number of bytes.
    pub fn mark(&mut self) -> u64 {
        self.walk += 1;
        let roots = &self.roots;
        let all =
            [&roots.stack, &roots.globals, &roots.handles].into_iter().chain(&roots.tables).chain(&roots.segments);
        let mut open: Vec<NodeId> = Vec::new();
        let mut bytes = 0;
        for val in all.flatten().copied().chain([roots.exception]) {
            reach(&mut self.nodes, self.walk, &mut open, val);
        }
        while let Some(id) = open.pop() {
            let node = self.nodes[id as usize].as_deref_mut().expect("it was just marked");
            bytes += node.size();
            let refs = std::mem::take(&mut node.refs);
            refs.iter().for_each(|val| reach(&mut self.nodes, self.walk, &mut open, *val));
            self.node_mut(id).refs = refs;
        }
        bytes
    }

    pub fn is_marked(&self, id: NodeId) -> bool {
        self.nodes[id as usize].as_ref().is_some_and(|node| node.mark == self.walk)
    }

    /// Forgets what the last walk did not mark, but for what is on or behind a cycle if `excuse`.
    pub fn forget_garbage(&mut self, excuse: bool) {
        let walk = self.walk;
        let nodes = &self.nodes;
        let marked = |id: &NodeId| nodes[*id as usize].as_ref().is_some_and(|node| node.mark == walk);
        let (present, mut garbage): (Vec<_>, Vec<_>) = self.present.drain(..).partition(marked);
        self.present = present;
        if excuse {
            garbage.append(&mut self.excused);
            self.excused = self.on_or_behind_cycles(&garbage);
        }
        let excused: rustc_hash::FxHashSet<NodeId> = self.excused.iter().copied().collect();
        for id in garbage.iter().filter(|id| !excused.contains(id)) {
            self.nodes[*id as usize] = None;
        }
    }

    /// Of these nodes, those that are left when one without an edge from another is taken away, again and again.
    fn on_or_behind_cycles(&self, garbage: &[NodeId]) -> Vec<NodeId> {
        let mut edges: rustc_hash::FxHashMap<NodeId, u32> = garbage.iter().map(|id| (*id, 0)).collect();
        let children = |id: NodeId| {
            self.node(id).refs.iter().filter_map(|val| if let Val::Node(child) = val { Some(*child) } else { None })
        };
        for child in garbage.iter().flat_map(|id| children(*id)) {
            if let Some(count) = edges.get_mut(&child) {
                *count += 1;
            }
        }
        let mut open: Vec<NodeId> = garbage.iter().copied().filter(|id| edges[id] == 0).collect();
        while let Some(id) = open.pop() {
            edges.remove(&id);
            for child in children(id) {
                if let Some(count) = edges.get_mut(&child) {
                    *count -= 1;
                    if *count == 0 {
                        open.push(child);
                    }
                }
            }
        }
        garbage.iter().copied().filter(|id| edges.contains_key(id)).collect()
    }
}

fn reach(nodes: &mut [Option<Box<Node>>], walk: u32, open: &mut Vec<NodeId>, val: Val) {
    if let Val::Node(id) = val {
        let node = nodes[id as usize].as_deref_mut().expect("what is reachable is never forgotten");
        if node.mark != walk {
            node.mark = walk;
            open.push(id);
        }
    }
}
