//! What must hold, after each collection and now and then.
//!
//! 1. *Isomorphism*. From the roots, the heap and the shadow heap are walked side by side. A node stands where every reference to it
//!    leads (nothing was split), and no two nodes stand at one place (nothing was merged); type, length, numbers and references
//!    are the same. The walk gives each node the index at which it is found from now on.
//! 2. *Nothing reachable is freed*: what the walk found, [`GcHeap::for_each_object`](gc_api::GcHeap::for_each_object) visits, once.
//! 3. *Host values* are reported dead once, when no path leads to them.
//! 4. *Bytes and objects add up*: live + free + waste is what is committed, live is the sum of the objects' sizes, and what was
//!    allocated is live or counted as freed.
//! 5. *Free memory* is in no object; it is overwritten.
//! 6. The map, [`GcHeap::for_each_region`](gc_api::GcHeap::for_each_region), if there is one, shows no memory twice, and objects where there are some.
//! 7. After a full collection, what [`Reclaims`] claims is gone.

use super::Run;
use crate::failure::{Check, Checked, Failure, require};
use crate::shadow::{NodeId, Val, What};
use crate::types::{FieldTy, Type};
use gc_api::{Counters, FIRST_INDEX, GcKind, Reclaims, Shape, VMGcRef};
use rustc_hash::FxHashMap;

/// What free memory is overwritten with: neither null, nor an object's index, nor the header of a type.
const POISON: u8 = 0x5c;
/// Bytes that a walk overwrites, at most.
const MOST_POISON: u32 = 256 << 10;

/// The walk's state.
#[derive(Default)]
struct Walk {
    /// Which node stands at an index.
    nodes: FxHashMap<u32, NodeId>,
    open: Vec<NodeId>,
    bytes: Vec<u8>,
}

impl Run<'_> {
    /// Compares the heaps, and takes over where objects are now.
    pub(super) fn walk(&mut self) -> Checked<()> {
        let moved = std::mem::take(&mut self.machine.collected) && self.machine.runtime.info().moving;
        self.shadow.walk += 1;
        let mut walk = Walk::default();
        self.bind_roots(&mut walk, moved)?;
        while let Some(id) = walk.open.pop() {
            self.codes.work += 1;
            let mut node = self.shadow.nodes[id as usize].take().expect("it was just bound");
            let outcome = self.compare(&mut walk, id, &node, moved);
            node.mark = self.shadow.walk;
            self.shadow.nodes[id as usize] = Some(node);
            outcome?;
        }
        self.check_dead_hosts()?;
        let excuse = self.machine.runtime.info().reclaims == Reclaims::Acyclic;
        self.shadow.forget_garbage(excuse);
        self.check_objects(&walk)?;
        self.check_counters()?;
        self.machine.heap.check().map_err(|corruption| Failure::new(Check::Invariants, corruption))
    }

    fn bind_roots(&mut self, walk: &mut Walk, moved: bool) -> Checked<()> {
        let machine = &self.machine.roots;
        let shadow = &self.shadow.roots;
        let mut pairs: Vec<(Val, u32, &str)> = Vec::new();
        let stack = machine.stack.iter().map(|slot| slot.get());
        pairs.extend(shadow.stack.iter().zip(stack).map(|(val, raw)| (*val, raw, "a stack slot")));
        let cells = [("a global", &shadow.globals, &machine.globals), ("a handle", &shadow.handles, &machine.handles)];
        let tables = shadow.tables.iter().zip(&machine.tables).map(|(vals, cells)| ("a table", vals, cells));
        let segments = shadow.segments.iter().zip(&machine.segments).map(|(vals, cells)| ("a segment", vals, cells));
        for (name, vals, cells) in cells.into_iter().chain(tables).chain(segments) {
            pairs.extend(vals.iter().zip(cells).map(|(val, cell)| (*val, cell.raw(), name)));
        }
        pairs.push((shadow.exception, machine.exception.raw(), "the pending exception"));
        for (val, raw, name) in pairs {
            let place = || format!("in {name}");
            self.bind(walk, val, raw, moved, place)?;
        }
        Ok(())
    }

    /// `raw` stands where `val` is.
    fn bind(&mut self, walk: &mut Walk, val: Val, raw: u32, moved: bool, place: impl Fn() -> String) -> Checked<()> {
        let Val::Node(id) = val else {
            return require(self.shadow.raw(val) == raw, Check::Graph, || {
                format!("{}: {}", place(), self.describe(val, raw))
            });
        };
        // The node that is being compared is not in its place: it has been bound.
        let known = walk.nodes.get(&raw).copied();
        if known == Some(id) {
            return Ok(());
        }
        let Some(node) = self.shadow.nodes[id as usize].as_deref_mut() else {
            return Err(Failure::new(
                Check::Graph,
                format!("{}: object {id} stands in two places, one is {raw:#x}", place()),
            ));
        };
        let was = node.index;
        if node.mark == self.shadow.walk || known.is_some() {
            let other = known.map_or(String::new(), |other| format!(", where object {other} is"));
            let what = format!("{}: object {id} stands at {was:#x}, and also at {raw:#x}{other}", place());
            return Err(Failure::new(Check::Graph, what));
        }
        if !moved && was != raw {
            let moving = self.machine.runtime.info().moving;
            let check = if moving || raw == 0 || raw & 7 != 0 { Check::Graph } else { Check::Moved };
            return Err(Failure::new(check, format!("{}: {}", place(), self.describe(val, raw))));
        }
        node.index = raw;
        node.mark = self.shadow.walk;
        walk.nodes.insert(raw, id);
        walk.open.push(id);
        Ok(())
    }

    /// The object of a node that has been bound is what it should be.
    fn compare(&mut self, walk: &mut Walk, id: NodeId, node: &crate::shadow::Node, moved: bool) -> Checked<()> {
        let memory = self.machine.memory.clone();
        let wrong = |what: String| Failure::new(Check::Graph, format!("object {id} at {:#x} {what}", node.index));
        let end = node.index as u64 + node.size();
        if !node.index.is_multiple_of(8) || node.index < FIRST_INDEX || end > memory.committed() {
            return Err(wrong("is no object".into()));
        }
        let r = VMGcRef::from_index(node.index).expect("it is not 0");
        let header = memory.header(&r);
        let expected = (node.what.kind(), node.what.ty().map_or(gc_api::EXTERN_TYPE, |ty| ty.index));
        if (header.kind(), header.ty()) != expected {
            return Err(wrong(format!("has the header {header:x?}, not kind and type {expected:x?}")));
        }
        let Some(ty) = node.what.ty() else {
            let host = memory.load_u32(node.index, gc_api::EXTERN_ID_OFFSET);
            let same = node.what == What::Host(host);
            return if same { Ok(()) } else { Err(wrong(format!("has the host id {host}, and is {:?}", node.what))) };
        };
        if ty.is_array() && memory.array_length(&r) != node.length {
            return Err(wrong(format!("has length {}, not {}", memory.array_length(&r), node.length)));
        }
        if ty.kind == GcKind::EXN && memory.load_u32(node.index, gc_api::EXCEPTION_TAG_OFFSET) != super::TAG {
            return Err(wrong("has lost its tag".into()));
        }
        self.compare_bytes(walk, ty, node).map_err(wrong)?;
        for (i, val) in node.refs.iter().enumerate() {
            let raw = memory.load_u32(node.index, ty.ref_offset(i));
            self.bind(walk, *val, raw, moved, || {
                format!("in reference {i} of object {id} (`{}`, {:#x})", ty.name, node.index)
            })?;
        }
        Ok(())
    }

    fn compare_bytes(&self, walk: &mut Walk, ty: &Type, node: &crate::shadow::Node) -> Result<(), String> {
        if node.data.is_empty() {
            return Ok(());
        }
        let memory = &self.machine.memory;
        walk.bytes.resize(node.size() as usize, 0);
        memory.read_bytes(node.index, 0, &mut walk.bytes);
        if ty.is_array() {
            let start = ty.slot(0).offset as usize;
            let same = walk.bytes[start..][..node.data.len()] == node.data;
            return if same { Ok(()) } else { Err("has other numbers in its elements".to_string()) };
        }
        for slot in (0..ty.slots(0)).filter(|slot| matches!(ty.slot(*slot).ty, FieldTy::Bytes(_))) {
            let expected = &node.data[Self::data_range(ty, slot)];
            let found = &walk.bytes[ty.slot(slot).offset as usize..][..expected.len()];
            if found != expected {
                return Err(format!("has {found:x?} in slot {slot}, not {expected:x?}"));
            }
        }
        Ok(())
    }

    /// Host values that were reported dead, if any were.
    pub(super) fn check_dead_hosts(&mut self) -> Checked<()> {
        if self.machine.dead_hosts.is_empty() {
            return Ok(());
        }
        self.shadow.mark();
        for host in std::mem::take(&mut self.machine.dead_hosts) {
            let state = self.hosts.get(host as usize).copied();
            let Some(state) = state else {
                return Err(Failure::new(Check::Hosts, format!("host value {host} was reported dead; there is none")));
            };
            let reachable = self.shadow.is_marked(state.node);
            require(!reachable, Check::Hosts, || format!("host value {host} was reported dead, and is reachable"))?;
            require(!state.dropped, Check::Hosts, || format!("host value {host} was reported dead twice"))?;
            self.hosts[host as usize].dropped = true;
        }
        Ok(())
    }

    /// All objects of the heap: the reachable ones among them, none in another, and as many bytes as the heap says.
    fn check_objects(&self, walk: &Walk) -> Checked<()> {
        let machine = &self.machine;
        let mut objects: Vec<u32> = Vec::new();
        machine.heap.for_each_object(&mut |r| objects.push(r.raw()));
        objects.sort_unstable();
        let reachable = objects.iter().filter(|index| walk.nodes.contains_key(index)).count();
        if reachable < walk.nodes.len() {
            let missing =
                walk.nodes.iter().filter(|(index, _)| objects.binary_search(index).is_err()).map(|(_, id)| *id);
            let id = missing.min().expect("one is missing");
            let node = self.shadow.node(id);
            let name = node.what.ty().map_or("host value", |ty| ty.name);
            let what =
                format!("object {id} (`{name}`, at {:#x}) is reachable, and the heap does not have it", node.index);
            return Err(Failure::new(Check::Freed, what));
        }
        let mut sum = 0;
        let mut ends = Vec::with_capacity(objects.len());
        for (at, index) in objects.iter().enumerate() {
            let size = self.size_at(*index)?;
            sum += size;
            ends.push(*index as u64 + size);
            let end = *index as u64 + size;
            let next = objects.get(at + 1).map_or(machine.memory.committed(), |next| *next as u64);
            require(end <= next, Check::Bytes, || {
                format!("the object at {index:#x} of {size} bytes reaches into {next:#x}")
            })?;
        }
        let usage = machine.heap.usage();
        require(usage.live == sum, Check::Bytes, || {
            format!("the heap says that {} bytes are live, its objects have {sum}", usage.live)
        })?;
        let committed = machine.memory.committed_bytes();
        let parts = usage.live.checked_add(usage.free).and_then(|bytes| bytes.checked_add(usage.waste));
        require(parts == Some(committed) && usage.committed == committed, Check::Bytes, || {
            format!("{usage:?} is not what is committed, {committed} bytes")
        })?;
        self.check_map(&objects, &ends)?;
        self.poison(&objects, &ends)?;
        self.check_totals(objects.len() as u64, sum)
    }

    /// The regions lie in the heap and do not overlap; every object lies in such as hold objects.
    fn check_map(&self, starts: &[u32], ends: &[u64]) -> Checked<()> {
        let mut regions = Vec::new();
        self.machine.heap.for_each_region(&mut |region| regions.push(region));
        regions.retain(|region| !region.range.is_empty());
        if regions.is_empty() {
            return Ok(());
        }
        regions.sort_by_key(|region| region.range.start);
        let committed = self.machine.memory.committed();
        for (i, region) in regions.iter().enumerate() {
            let next = regions.get(i + 1).map_or(committed, |next| next.range.start as u64);
            let inside = region.range.start >= FIRST_INDEX && region.range.end as u64 <= next;
            require(inside, Check::Map, || {
                format!(
                    "{region:x?} begins before the heap, or reaches into {next:#x}, where it ends or another region begins"
                )
            })?;
        }
        for (start, end) in starts.iter().zip(ends) {
            let mut at = *start as u64;
            let mut next = regions.partition_point(|region| region.range.end as u64 <= at);
            while at < *end {
                let region = regions.get(next).filter(|region| region.range.start as u64 <= at);
                let shown = region.filter(|region| region.state.holds_objects());
                let Some(region) = shown else {
                    let what = format!("the object at {start:#x} is on the map at {at:#x} as {region:x?}");
                    return Err(Failure::new(Check::Map, what));
                };
                (at, next) = (region.range.end as u64, next + 1);
            }
        }
        Ok(())
    }

    /// What is said to be free is in no object, and is overwritten: whoever still reads there finds nonsense.
    fn poison(&self, starts: &[u32], ends: &[u64]) -> Checked<()> {
        let machine = &self.machine;
        let mut free = Vec::new();
        machine.heap.for_each_free_range(&mut |range| free.push(range));
        let mut left = MOST_POISON;
        for range in free.into_iter().filter(|range| !range.is_empty()) {
            let (start, end) = (range.start, range.end);
            let at = ends.partition_point(|end| *end <= start as u64);
            let inside = start >= FIRST_INDEX && end as u64 <= machine.memory.committed();
            require(inside && starts.get(at).is_none_or(|object| *object >= end), Check::Bytes, || {
                format!("{start:#x}..{end:#x} is said to be free, and is in an object or outside the heap")
            })?;
            let bytes = left.min(end - start);
            left -= bytes;
            machine.memory.fill_bytes(start, 0, bytes, POISON);
        }
        Ok(())
    }

    /// Bytes of whatever object is at `index`.
    fn size_at(&self, index: u32) -> Checked<u64> {
        let memory = &self.machine.memory;
        let wrong = |what: &str| Failure::new(Check::Bytes, format!("the heap has an object at {index:#x}, {what}"));
        if !index.is_multiple_of(8) || index < FIRST_INDEX || index as u64 + 16 > memory.committed() + 8 {
            return Err(wrong("where none can be"));
        }
        let r = VMGcRef::from_index(index).expect("it is not 0");
        let header = memory.header(&r);
        let ty = crate::types::types().iter().find(|ty| (ty.index, ty.kind) == (header.ty(), header.kind()));
        match ty {
            Some(Type { shape: Shape::Array { .. }, .. }) => {
                Ok(ty.expect("just matched").size(memory.array_length(&r)))
            }
            Some(ty) => Ok(ty.size(0)),
            None if (header.kind(), header.ty()) == (GcKind::EXTERN, gc_api::EXTERN_TYPE) => {
                Ok(gc_api::EXTERN_SIZE as u64)
            }
            None => Err(wrong("with a header of no type")),
        }
    }

    /// What was allocated is there, or counted as freed.
    fn check_totals(&self, objects: u64, bytes: u64) -> Checked<()> {
        let counters = self.machine.heap.counters();
        let (made, made_bytes) = self.allocated;
        let require_same = |what: &str, found: u64, expected: u64| {
            require(found == expected, Check::Counters, || format!("{what}: {found}, and should be {expected}"))
        };
        require_same("bytes allocated", counters.bytes_allocated, made_bytes)?;
        require_same("bytes allocated less freed", counters.bytes_allocated.wrapping_sub(counters.bytes_freed), bytes)?;
        if self.setup.count_objects {
            require_same("objects allocated", counters.objects_allocated.unwrap_or_default(), made)?;
        }
        if let (Some(made), Some(freed)) = (counters.objects_allocated, counters.objects_freed) {
            require_same("objects allocated less freed", made.wrapping_sub(freed), objects)?;
        }
        Ok(())
    }

    /// Counters only grow.
    fn check_counters(&mut self) -> Checked<()> {
        let now = self.machine.heap.counters();
        let last = std::mem::replace(&mut self.last, now.clone());
        let numbers = |c: &Counters| {
            let objects = [c.objects_allocated.unwrap_or(0), c.objects_freed.unwrap_or(0)];
            let own = [c.collections, c.bytes_allocated, c.objects_traced, c.bytes_copied, c.bytes_freed];
            objects.into_iter().chain(own).chain(c.roots).collect::<Vec<_>>()
        };
        let grown = numbers(&last).iter().zip(numbers(&now)).all(|(last, now)| *last <= now);
        require(grown, Check::Counters, || format!("one has become less: {last:?}, then {now:?}"))?;
        let (completed, said) = (self.machine.collections, now.collections);
        require(completed == said, Check::Counters, || format!("{said} collections are counted of {completed}"))
    }

    /// After a full collection and a walk: what is unreachable is gone, as far as the collector claims it.
    pub(super) fn check_complete(&self) -> Checked<()> {
        let mut objects = rustc_hash::FxHashSet::default();
        self.machine.heap.for_each_object(&mut |r| {
            objects.insert(r.raw());
        });
        let expected = |id: &NodeId| self.shadow.node(*id).index;
        let reachable: rustc_hash::FxHashSet<u32> = self.shadow.present.iter().map(expected).collect();
        let excused: rustc_hash::FxHashSet<u32> = self.shadow.excused.iter().map(expected).collect();
        let kept = objects.iter().filter(|index| !reachable.contains(index) && !excused.contains(index)).min();
        if let Some(index) = kept {
            let r = VMGcRef::from_index(*index).expect("it is not 0");
            let header = self.machine.memory.header(&r);
            let name =
                crate::types::types().iter().find(|ty| ty.index == header.ty()).map_or("host value", |ty| ty.name);
            let claim = self.machine.runtime.info().reclaims.name();
            let what = format!("the object at {index:#x} (`{name}`) is garbage, and the collector claims: {claim}");
            return Err(Failure::new(Check::Kept, what));
        }
        let held =
            |node: NodeId| self.shadow.present.binary_search(&node).is_ok() || self.shadow.excused.contains(&node);
        let late = self.hosts.iter().position(|state| !state.dropped && !held(state.node));
        require(late.is_none(), Check::Hosts, || {
            format!("host value {} is unreachable, and was not reported dead", late.unwrap_or_default())
        })
    }

    /// When no roots are left and all is collected.
    pub(super) fn check_empty(&self) -> Checked<()> {
        let usage = self.machine.heap.usage();
        let claims = self.machine.runtime.info().reclaims == Reclaims::Everything;
        require(!claims || usage.live == 0, Check::Kept, || format!("nothing is reachable, and {usage:?}"))
    }

    /// After a reset: nothing is there.
    pub(super) fn check_fresh(&self) -> Checked<()> {
        let (counters, usage) = (self.machine.heap.counters(), self.machine.heap.usage());
        let mut objects = 0;
        self.machine.heap.for_each_object(&mut |_| objects += 1);
        let fresh = counters.bytes_allocated == 0 && counters.collections == 0 && usage.live == 0 && objects == 0;
        require(fresh, Check::Reset, || {
            format!("after a reset there are {objects} objects, {usage:?} and {counters:?}")
        })
    }
}
