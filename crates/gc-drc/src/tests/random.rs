//! Random programs beside a model of their graph, which knows nothing of counts: after every few steps the reachable
//! part of the heap must be the model's, and only unreachable host values may have been reported dead.

use super::*;
use std::collections::HashSet;

const SLOTS: usize = 12;

/// What a slot holds: nothing, a small number, or the node with this number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Val {
    Null,
    Small(u32),
    Node(usize),
}

enum Body {
    /// A [`NODE`], which holds its own number, or [`REFS`].
    Refs(TypeIndex, Vec<Val>),
    Bytes(u32),
    Host,
}

struct Model {
    m: Mutator,
    random: Random,
    /// Edges lead from newer to older nodes alone.
    acyclic: bool,
    nodes: Vec<(u32, Body)>,
    stack: Vec<Val>,
    globals: Vec<(RefCell32, Val)>,
    handles: Vec<(VMGcRef, Val)>,
    reported: HashSet<HostId>,
}

impl Model {
    fn new(seed: u64, acyclic: bool) -> Model {
        let limit = [200 << 10, 1 << 20, 16 << 20][seed as usize % 3];
        Model {
            m: Mutator::new(limit, 64 << 10, 16 << 10 << (seed % 4), SLOTS),
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            acyclic,
            nodes: Vec::new(),
            stack: vec![Val::Null; SLOTS],
            globals: (0..SLOTS).map(|_| (RefCell32::null(), Val::Null)).collect(),
            handles: Vec::new(),
            reported: HashSet::new(),
        }
    }

    fn raw(&self, val: Val) -> u32 {
        match val {
            Val::Null => 0,
            Val::Small(small) => VMGcRef::from_i31(small).raw(),
            Val::Node(node) => self.nodes[node].0,
        }
    }

    fn put(&mut self, slot: usize, val: Val) {
        self.stack[slot] = val;
        self.m.stack.0[slot].set(self.raw(val));
    }

    fn slot(&mut self) -> usize {
        self.random.below(SLOTS)
    }

    /// A node on the stack with reference slots, and one of those.
    fn field(&mut self) -> Option<(usize, usize)> {
        let slot = self.slot();
        let Val::Node(node) = self.stack[slot] else { return None };
        let Body::Refs(_, fields) = &self.nodes[node].1 else { return None };
        let count = fields.len();
        (count > 0).then(|| (node, self.random.below(count)))
    }

    fn offset(&self, node: usize, field: usize) -> u32 {
        let Body::Refs(ty, _) = &self.nodes[node].1 else { unreachable!() };
        (if *ty == NODE { 8 } else { REF_ARRAY_BASE }) + 4 * field as u32
    }

    fn fields(&mut self, node: usize) -> &mut Vec<Val> {
        let Body::Refs(_, fields) = &mut self.nodes[node].1 else { unreachable!() };
        fields
    }

    fn may_refer(&self, from: usize, to: Val) -> bool {
        !self.acyclic || !matches!(to, Val::Node(to) if to >= from)
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..=4 => self.allocate(),
            5 | 6 => {
                if let Some((node, field)) = self.field() {
                    let (from, offset, val) = (self.nodes[node].0, self.offset(node, field), self.fields(node)[field]);
                    let slot = self.slot();
                    assert_eq!(self.m.get(from, offset), self.raw(val));
                    self.put(slot, val);
                }
            }
            7 | 8 => self.store(false),
            9 => self.store(true),
            10 => {
                let (slot, cell) = (self.slot(), self.slot());
                let raw = self.globals[cell].0.raw();
                self.m.loaded(raw);
                self.put(slot, self.globals[cell].1);
            }
            11 | 12 => {
                let (slot, cell) = (self.slot(), self.slot());
                let val = self.stack[slot];
                let raw = self.raw(val);
                self.globals[cell].1 = val;
                match VMGcRef::from_raw(raw) {
                    new if raw.is_multiple_of(3) => self.m.heap.write_ref(global(&self.globals[cell].0), new.as_ref()),
                    _ => self.m.set_global(&self.globals[cell].0, raw),
                }
            }
            13 => self.handle(),
            14 | 15 => self.bulk(),
            16 => {
                let slot = self.slot();
                let small = self.random.below(1 << 20) as u32;
                self.put(slot, if small.is_multiple_of(3) { Val::Small(small) } else { Val::Null });
            }
            17 => self.table_copy(),
            18 if self.random.below(10) == 0 => self.m.collect(),
            _ => {
                if self.m.heap.wants_collection().is_some() {
                    self.m.collect();
                }
            }
        }
    }

    fn allocate(&mut self) {
        let node = self.nodes.len();
        let (object, body) = match self.random.below(20) {
            0 => {
                let length = 1 << self.random.below(16);
                let length = length + self.random.below(length) as u32 as usize;
                (new_array(BYTES, length as u32), Body::Bytes(length as u32))
            }
            1..=4 => (new_host(node as u32), Body::Host),
            5..=8 => {
                let length = self.random.below(30);
                (new_array(REFS, length as u32), Body::Refs(REFS, vec![Val::Null; length]))
            }
            _ => (NEW_NODE, Body::Refs(NODE, vec![Val::Null; 2])),
        };
        let Some(index) = self.m.allocate(object) else { return self.relieve() };
        match &body {
            Body::Refs(NODE, _) => self.m.memory.store_u32(index, 16, node as u32),
            Body::Bytes(length) => self.m.memory.fill_bytes(index, 12, *length, node as u8),
            _ => {}
        }
        self.nodes.push((index, body));
        if let Body::Refs(..) = &self.nodes[node].1 {
            for field in 0..self.fields(node).len().min(3) {
                let slot = self.slot();
                let val = self.stack[slot];
                self.m.memory.store_u32(index, self.offset(node, field), self.raw(val));
                self.fields(node)[field] = val;
            }
        }
        let slot = self.slot();
        self.put(slot, Val::Node(node));
    }

    /// The heap was full: drops what is on the stack, and in half of the globals.
    fn relieve(&mut self) {
        (0..SLOTS).for_each(|slot| self.put(slot, Val::Null));
        for (cell, val) in self.globals.iter_mut().step_by(2) {
            *val = Val::Null;
            self.m.set_global(cell, 0);
        }
    }

    fn store(&mut self, by_host: bool) {
        let slot = self.slot();
        let val = self.stack[slot];
        let Some((node, field)) = self.field() else { return };
        if !self.may_refer(node, val) {
            return;
        }
        let (to, offset, raw) = (self.nodes[node].0, self.offset(node, field), self.raw(val));
        if by_host {
            let object = VMGcRef::from_index(to).unwrap();
            let new = VMGcRef::from_raw(raw);
            self.m.heap.write_ref(WriteSite::Object { object: &object, offset }, new.as_ref());
        } else {
            self.m.set(to, offset, raw);
        }
        self.fields(node)[field] = val;
    }

    fn handle(&mut self) {
        match self.random.below(5) {
            0 => {
                let slot = self.slot();
                let val = self.stack[slot];
                if let Some(r) = VMGcRef::from_raw(self.raw(val)) {
                    self.handles.push((self.m.heap.clone_ref(&r), val));
                }
            }
            1 => {
                if let Some((node, field)) = self.field() {
                    let object = VMGcRef::from_index(self.nodes[node].0).unwrap();
                    let site = WriteSite::Object { object: &object, offset: self.offset(node, field) };
                    let val = self.fields(node)[field];
                    self.handles.extend(self.m.heap.read_ref(site).map(|r| (r, val)));
                }
            }
            n if !self.handles.is_empty() => {
                let at = self.random.below(self.handles.len());
                let (r, val) = self.handles.swap_remove(at);
                if n == 2 {
                    let slot = self.slot();
                    assert_eq!(self.m.heap.expose(r), self.raw(val));
                    self.put(slot, val);
                } else {
                    self.m.heap.drop_ref(r);
                }
            }
            _ => {}
        }
    }

    /// `array.copy` or `array.fill`.
    fn bulk(&mut self) {
        let (Some((to, _)), Some((from, _))) = (self.field(), self.field()) else { return };
        let is_array = |this: &Model, node: usize| matches!(this.nodes[node].1, Body::Refs(REFS, _));
        if !is_array(self, to) || !is_array(self, from) {
            return;
        }
        let lengths = (self.fields(to).len(), self.fields(from).len());
        let length = self.random.below(lengths.0.min(lengths.1) + 1);
        let (most_to, most_from) = (lengths.0 - length, lengths.1 - length);
        let (start, source) = (self.random.below(most_to + 1), self.random.below(most_from + 1));
        let [to_ref, from_ref] = [to, from].map(|node| VMGcRef::from_index(self.nodes[node].0).unwrap());
        let target = RefRange::Array { array: &to_ref, start: start as u32, length: length as u32 };
        let slot = self.slot();
        let val = self.stack[slot];
        let fill = VMGcRef::from_raw(self.raw(val));
        let (values, source) = if self.random.below(2) == 0 {
            (vec![val; length], BulkSource::Fill(fill.as_ref()))
        } else {
            let range = RefRange::Array { array: &from_ref, start: source as u32, length: length as u32 };
            (self.fields(from)[source..source + length].to_vec(), BulkSource::Copy(range))
        };
        if values.iter().all(|val| self.may_refer(to, *val)) {
            self.m.heap.write_refs(BulkWrite { to: target, from: source, initializing: false });
            self.fields(to)[start..start + length].copy_from_slice(&values);
        }
    }

    /// From an array to an array of globals.
    fn table_copy(&mut self) {
        let Some((from, _)) = self.field() else { return };
        if !matches!(self.nodes[from].1, Body::Refs(REFS, _)) {
            return;
        }
        let length = self.fields(from).len().min(SLOTS);
        let array = VMGcRef::from_index(self.nodes[from].0).unwrap();
        let values = self.fields(from)[..length].to_vec();
        let cells: Vec<RefCell32> = (0..length).map(|_| RefCell32::null()).collect();
        let to = RefRange::Cells { kind: CellKind::Table, cells: &cells };
        let source = RefRange::Array { array: &array, start: 0, length: length as u32 };
        self.m.heap.write_refs(BulkWrite { to, from: BulkSource::Copy(source), initializing: true });
        for (i, (cell, val)) in cells.into_iter().zip(values).enumerate() {
            self.m.set_global(&self.globals[i].0, 0);
            self.globals[i] = (cell, val);
        }
    }

    fn reachable(&self) -> HashSet<usize> {
        let roots = self.stack.iter().chain(self.globals.iter().map(|g| &g.1)).chain(self.handles.iter().map(|h| &h.1));
        let mut work: Vec<Val> = roots.copied().collect();
        let mut seen = HashSet::new();
        while let Some(val) = work.pop() {
            if let Val::Node(node) = val
                && seen.insert(node)
                && let Body::Refs(_, fields) = &self.nodes[node].1
            {
                work.extend(fields);
            }
        }
        seen
    }

    fn check(&mut self) {
        self.m.check();
        let reachable = self.reachable();
        let memory = &self.m.memory;
        for node in &reachable {
            let (index, body) = &self.nodes[*node];
            let header = memory.header(&VMGcRef::from_index(*index).unwrap());
            match body {
                Body::Refs(ty, fields) => {
                    assert_eq!(header.ty(), *ty);
                    let own = if *ty == NODE { (16, *node as u32) } else { (ARRAY_LENGTH_OFFSET, fields.len() as u32) };
                    assert_eq!(memory.load_u32(*index, own.0), own.1, "node {node}");
                    for (field, val) in fields.iter().enumerate() {
                        let slot = memory.load_u32(*index, self.offset(*node, field));
                        assert_eq!(slot, self.raw(*val), "field {field} of node {node}");
                    }
                }
                Body::Bytes(length) => {
                    let mut bytes = vec![0; *length as usize];
                    memory.read_bytes(*index, 12, &mut bytes);
                    assert!(header.ty() == BYTES && bytes.iter().all(|byte| *byte == *node as u8), "node {node}");
                }
                Body::Host => assert_eq!(memory.load_u32(*index, EXTERN_ID_OFFSET), *node as u32),
            }
        }
        for host in self.m.heap.take_dead_hosts() {
            assert!(self.reported.insert(host), "host value {host} was reported twice");
            assert!(!reachable.contains(&(host as usize)), "host value {host} is reachable");
        }
    }

    /// After two collections nothing unreachable is left of an acyclic graph.
    fn check_complete(&mut self) {
        self.m.collect();
        self.m.collect();
        self.check();
        let reachable = self.reachable();
        for (node, (_, body)) in self.nodes.iter().enumerate() {
            let dead = !reachable.contains(&node);
            assert!(!matches!(body, Body::Host) || dead == self.reported.contains(&(node as u32)), "node {node}");
        }
        let mut objects = 0;
        self.m.heap.for_each_object(&mut |_| objects += 1);
        assert_eq!(objects, reachable.len());
        let counters = self.m.heap.counters();
        assert_eq!(counters.objects_allocated, Some(self.nodes.len() as u64));
        assert_eq!(counters.objects_freed, Some((self.nodes.len() - objects) as u64));
        assert_eq!(counters.bytes_allocated - counters.bytes_freed, self.m.heap.usage().live);
    }
}

fn run(seed: u64, acyclic: bool) {
    let mut model = Model::new(seed, acyclic);
    for step in 1..=4000 {
        model.step();
        if step % 50 == 0 {
            model.check();
        }
        if acyclic && step % 1000 == 0 {
            model.check_complete();
        }
    }
    if acyclic {
        model.relieve();
        (0..SLOTS).for_each(|i| {
            model.globals[i].1 = Val::Null;
            model.m.set_global(&model.globals[i].0, 0);
        });
        std::mem::take(&mut model.handles).into_iter().for_each(|(r, _)| model.m.heap.drop_ref(r));
        model.check_complete();
        assert_eq!(model.m.heap.usage().live, 0);
    }
}

#[test]
fn acyclic_programs_lose_nothing_and_leave_nothing() {
    (0..120).for_each(|seed| run(seed, true));
}

#[test]
fn cyclic_programs_lose_nothing() {
    (0..120).for_each(|seed| run(seed, false));
}
