//! Which types' objects can be in a cycle of references, by what is declared of the types.

use crate::TypeIndex;
use std::collections::HashMap;

/// What a type's reference slots may refer to, and where the type stands among the others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Declared {
    /// What it is.
    pub family: Family,
    /// Its declared supertype.
    pub supertype: Option<TypeIndex>,
    /// What its reference slots are declared to hold, each target once, and whether one of these slots can be written after the object
    /// is made.
    pub targets: Box<[(Target, bool)]>,
}

/// Kinds of types whose objects have slots.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Family {
    /// Structs.
    Struct,
    /// Arrays.
    Array,
    /// Exceptions.
    Exception,
}

/// The objects that a slot may refer to by its declared type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Target {
    /// Any struct or array: `any`, `eq`, and `extern`, which may hold a converted one.
    Any,
    /// Objects of a family.
    Family(Family),
    /// Objects of a type and its subtypes.
    Type(TypeIndex),
}

/// A node: objects of exactly a type, or what a slot refers to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Node {
    Object(TypeIndex),
    Slot(Target),
}

/// The graph of all types that were declared: an object leads to its slots, a slot to the objects that it may refer to.
#[derive(Default, Debug)]
pub(crate) struct TypeGraph {
    types: Vec<(TypeIndex, Declared)>,
}

impl TypeGraph {
    pub fn declare(&mut self, ty: TypeIndex, declared: Declared) {
        self.types.push((ty, declared));
    }

    /// The types of which no object refers to itself, by whatever way. The newest object of a cycle is referred to by an older one, in
    /// which that was written later: a cycle has a mutable slot.
    pub fn acyclic(&self) -> Vec<TypeIndex> {
        let mut numbers: HashMap<Node, usize> = HashMap::new();
        let mut edges: Vec<Vec<usize>> = Vec::new();
        // Mutable slots, as the edges from objects to them.
        let mut mutable: Vec<(usize, usize)> = Vec::new();
        let mut number = |node, edges: &mut Vec<Vec<usize>>| {
            *numbers.entry(node).or_insert_with(|| {
                edges.push(Vec::new());
                edges.len() - 1
            })
        };
        for (ty, declared) in &self.types {
            let object = number(Node::Object(*ty), &mut edges);
            let slot = number(Node::Slot(Target::Type(*ty)), &mut edges);
            let family = number(Node::Slot(Target::Family(declared.family)), &mut edges);
            edges[slot].push(object);
            edges[family].push(object);
            if let Some(supertype) = declared.supertype {
                let above = number(Node::Slot(Target::Type(supertype)), &mut edges);
                edges[above].push(slot);
            }
            for (target, is_mutable) in &declared.targets {
                let target = number(Node::Slot(*target), &mut edges);
                edges[object].push(target);
                if *is_mutable {
                    mutable.push((object, target));
                }
            }
        }
        let any = number(Node::Slot(Target::Any), &mut edges);
        for family in [Family::Struct, Family::Array] {
            let family = number(Node::Slot(Target::Family(family)), &mut edges);
            edges[any].push(family);
        }
        let components = components(&edges);
        let mut cyclic = vec![false; edges.len()];
        for (object, slot) in mutable {
            if components[object] == components[slot] {
                cyclic[components[object]] = true;
            }
        }
        self.types.iter().map(|(ty, _)| *ty).filter(|ty| !cyclic[components[numbers[&Node::Object(*ty)]]]).collect()
    }
}

/// The strongly connected component of each node, by a number below that of nodes. R. Tarjan, *Depth-first search and linear graph
/// algorithms*, SIAM Journal on Computing 1972; without recursion.
fn components(edges: &[Vec<usize>]) -> Vec<usize> {
    const NEW: usize = usize::MAX;
    let mut order = vec![NEW; edges.len()];
    let mut low = vec![0; edges.len()];
    let mut open = vec![false; edges.len()];
    let mut found = vec![0; edges.len()];
    let (mut component, mut path, mut next) = (Vec::new(), Vec::new(), 0);
    for root in 0..edges.len() {
        if order[root] != NEW {
            continue;
        }
        path.push((root, 0));
        while let Some((node, edge)) = path.pop() {
            if edge == 0 {
                (order[node], low[node], open[node]) = (next, next, true);
                next += 1;
                component.push(node);
            } else {
                low[node] = low[node].min(low[edges[node][edge - 1]]);
            }
            let mut edge = edge;
            let mut descended = false;
            while let Some(to) = edges[node].get(edge) {
                edge += 1;
                if order[*to] == NEW {
                    path.push((node, edge));
                    path.push((*to, 0));
                    descended = true;
                    break;
                }
                if open[*to] {
                    low[node] = low[node].min(order[*to]);
                }
            }
            if descended || low[node] != order[node] {
                continue;
            }
            let start = component.iter().rposition(|member| *member == node).expect("it was pushed");
            for member in component.split_off(start) {
                open[member] = false;
                found[member] = node;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(types: &[(TypeIndex, Option<TypeIndex>, &[Target])]) -> Vec<TypeIndex> {
        let mut graph = TypeGraph::default();
        for (ty, supertype, targets) in types {
            let family = if *ty < 100 { Family::Struct } else { Family::Array };
            let targets = targets.iter().map(|target| (*target, true)).collect();
            graph.declare(*ty, Declared { family, supertype: *supertype, targets });
        }
        graph.acyclic()
    }

    #[test]
    fn an_object_is_cyclic_when_its_slots_lead_back_to_its_type() {
        use Target::Type;
        assert_eq!(graph(&[(1, None, &[]), (2, None, &[Type(1)])]), [1, 2]);
        assert_eq!(graph(&[(1, None, &[Type(1)]), (2, None, &[Type(1)])]), [2], "a list, and what holds one");
        assert_eq!(graph(&[(1, None, &[Type(2)]), (2, None, &[Type(3)]), (3, None, &[Type(1)])]), []);
        assert_eq!(
            graph(&[(1, None, &[Type(100)]), (100, None, &[Type(1)]), (101, None, &[Type(2)]), (2, None, &[])]),
            [101, 2]
        );
    }

    #[test]
    fn a_slot_may_hold_subtypes() {
        use Target::Type;
        let open = (1, None, [].as_slice());
        let holder = (2, None, [Type(1)].as_slice());
        assert_eq!(graph(&[open, holder]), [1, 2]);
        // A subtype that refers back makes the holder cyclic, and itself, not its supertype.
        assert_eq!(graph(&[open, holder, (3, Some(1), &[Type(2)])]), [1]);
    }

    #[test]
    fn abstract_slots_hold_all_of_a_family() {
        assert_eq!(graph(&[(1, None, &[Target::Any]), (100, None, &[])]), [100]);
        assert_eq!(graph(&[(1, None, &[Target::Family(Family::Array)]), (100, None, &[])]), [1, 100]);
        assert_eq!(graph(&[(1, None, &[Target::Family(Family::Array)]), (100, None, &[Target::Any])]), []);
    }

    #[test]
    fn long_chains_need_no_stack() {
        let types: Vec<_> = (0..200_000).map(|ty| (ty, [(Target::Type(ty + 1), true)])).collect();
        let mut graph = TypeGraph::default();
        for (ty, targets) in &types {
            graph.declare(*ty, Declared { family: Family::Struct, supertype: None, targets: (*targets).into() });
        }
        assert_eq!(graph.acyclic().len(), types.len());
        graph.declare(
            200_000,
            Declared { family: Family::Struct, supertype: None, targets: [(Target::Type(0), false)].into() },
        );
        assert_eq!(graph.acyclic(), []);
    }

    #[test]
    fn what_is_written_once_closes_no_cycle() {
        let list = |is_mutable| {
            let mut graph = TypeGraph::default();
            let targets = [(Target::Type(1), is_mutable)].into();
            graph.declare(1, Declared { family: Family::Struct, supertype: None, targets });
            graph.acyclic()
        };
        assert_eq!((list(false), list(true)), (vec![1], vec![]));
    }
}
