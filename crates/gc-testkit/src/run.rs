//! Runs a script: each operation on the heap as an engine does it, and on the shadow heap.

mod bulk;
mod cells;
mod verify;

use crate::clif::{ArrayNew, CodeOptions, Codes, Known, Place, Site};
use crate::failure::{Check, Checked, Failure, require};
use crate::interpret::{self, Exit};
use crate::isolate::catching;
use crate::machine::{self, FRAME, Machine, RealRoots, WINDOW};
use crate::script::{Op, Script, Setup, Slot, Way};
use crate::shadow::{NodeId, Shadow, ShadowRoots, Val, What};
use crate::types::{FieldTy, RefTy, Type, types};
use gc_api::{
    CellKind, Collection, CollectionKind, GcKind, HostId, NewObject, Outcome, Reason, Reclaims, RefCell32, StaticRef,
    TRAP_NULL_REFERENCE, VMGcRef, WriteSite,
};

/// The tag of all exceptions.
pub const TAG: u32 = 0x7a6;
/// Frames that calls add, at most.
const MAX_DEPTH: usize = 400;
/// Operations between two walks that no collection asked for.
const WALK_EVERY: usize = 64;
/// Bytes of garbage and live objects together that a script may ask for, so that no script takes long.
const MAX_WORK: u64 = 64 << 20;

/// Where and why a script failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// The operation, from 0; their number for what was found at the end.
    pub at: usize,
    /// What is wrong.
    pub failure: Failure,
}

/// Runs a script.
///
/// # Errors
/// The first thing that is wrong.
pub fn run(script: &Script, codes: &mut Codes) -> Result<(), Stopped> {
    let mut at = 0;
    let failure = match catching(|| run_to_end(script, codes, &mut at)) {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(failure)) => failure,
        Err(said) => Failure::new(Check::Panic, said),
    };
    Err(Stopped { at, failure })
}

fn run_to_end(script: &Script, codes: &mut Codes, at: &mut usize) -> Checked<()> {
    let mut run = Run::new(script, codes)?;
    let first = run.all(script, at)?;
    if !script.setup.again {
        return Ok(());
    }
    run.machine.reset()?;
    run.check_fresh()?;
    run.shadow = Shadow::new(shadow_roots());
    run.hosts.clear();
    (run.allocated, run.last) = ((0, 0), Default::default());
    let second = run.all(script, at)?;
    require(first == second, Check::Reset, || {
        format!("the first run ended with {first:?}, the same after a reset with {second:?}")
    })
}

fn shadow_roots() -> ShadowRoots {
    ShadowRoots {
        stack: vec![Val::Null; WINDOW],
        globals: vec![Val::Null; machine::GLOBAL_COUNT],
        tables: machine::TABLE_LENGTHS.map(|length| vec![Val::Null; length]).into(),
        segments: vec![Vec::new(); machine::SEGMENTS],
        handles: vec![Val::Null; machine::HANDLES],
        exception: Val::Null,
    }
}

/// The type of a global's content.
pub fn global_type(global: usize) -> RefTy {
    match global {
        5 => RefTy::Struct,
        6 => RefTy::Extern,
        7 => RefTy::Exn,
        _ => RefTy::Any,
    }
}

/// The type of tables' and segments' elements.
const ELEMENT: RefTy = RefTy::Any;

/// What is known of a host value.
#[derive(Clone, Copy, Debug)]
pub struct HostState {
    pub node: NodeId,
    pub dropped: bool,
}

/// A script that runs.
pub struct Run<'c> {
    pub machine: Machine,
    pub shadow: Shadow,
    codes: &'c mut Codes,
    options: CodeOptions,
    pub setup: Setup,
    pub hosts: Vec<HostState>,
    /// Objects and bytes that were allocated.
    pub allocated: (u64, u64),
    pub last: gc_api::Counters,
    written: u32,
}

impl<'c> Run<'c> {
    fn new(script: &Script, codes: &'c mut Codes) -> Checked<Run<'c>> {
        let setup = script.setup.clone();
        let options = CodeOptions {
            count_objects: setup.count_objects,
            null_faults: setup.null_faults,
            slow_alloc: setup.zeal > 0,
        };
        codes.work += 1000;
        let machine = Machine::new(&codes.runtime, &setup)?;
        let (hosts, last) = (Vec::new(), gc_api::Counters::default());
        let shadow = Shadow::new(shadow_roots());
        Ok(Run { machine, shadow, codes, options, setup, hosts, allocated: (0, 0), last, written: 0 })
    }

    /// All operations, then the end: what a reset heap must repeat.
    fn all(&mut self, script: &Script, at: &mut usize) -> Checked<(gc_api::Counters, gc_api::HeapUsage)> {
        self.written = 0;
        for (i, op) in script.ops.iter().enumerate() {
            *at = i;
            self.codes.work += 1;
            self.op(*op)?;
            self.after(i)?;
        }
        *at = script.ops.len();
        self.walk()?;
        self.full()?;
        let result = (self.machine.heap.counters(), self.machine.heap.usage());
        self.drop_everything()?;
        self.full()?;
        self.check_empty()?;
        Ok(result)
    }

    /// What must hold after an operation.
    fn after(&mut self, i: usize) -> Checked<()> {
        if self.machine.collected || i % WALK_EVERY == WALK_EVERY - 1 {
            return self.walk();
        }
        self.check_dead_hosts()
    }

    /// Gives up all roots.
    fn drop_everything(&mut self) -> Checked<()> {
        self.machine.roots.stack.iter().for_each(|slot| slot.set(0));
        self.shadow.roots.stack.fill(Val::Null);
        for g in 0..machine::GLOBAL_COUNT {
            self.write_cell(CellKind::Global, Cell::Global(g), Val::Null)?;
        }
        for table in 0..machine::TABLE_LENGTHS.len() {
            self.table_fill(table, 0, Val::Null, machine::TABLE_LENGTHS[table])?;
        }
        (0..machine::SEGMENTS).try_for_each(|segment| self.drop_segment(segment))?;
        (0..machine::HANDLES).try_for_each(|handle| self.unroot(handle))?;
        self.write_cell(CellKind::Exception, Cell::Exception, Val::Null)?;
        Ok(())
    }

    /// A collection of everything, and what is claimed of it.
    fn full(&mut self) -> Checked<()> {
        self.machine.finish_slices()?;
        let request = Collection { reason: Reason::Explicit, kind: CollectionKind::Cycle, budget: None };
        let outcome = self.machine.collect(request)?;
        self.walk()?;
        if outcome == Outcome::Complete { self.check_complete() } else { Ok(()) }
    }

    fn op(&mut self, op: Op) -> Checked<()> {
        match op {
            Op::Null { to } => self.put(to, Val::Null, 0),
            Op::Small { to, value } => {
                let val = Val::I31(value & 0x7fff_ffff);
                self.put(to, val, self.shadow.raw(val))
            }
            Op::Move { to, from } => self.put(to, self.val(from), self.raw(from)),
            Op::Call => {
                if self.shadow.roots.stack.len() < WINDOW + MAX_DEPTH * FRAME {
                    let length = self.shadow.roots.stack.len() + FRAME;
                    self.shadow.roots.stack.resize(length, Val::Null);
                    self.machine.roots.stack.resize(length, std::cell::Cell::new(0));
                }
                Ok(())
            }
            Op::Return => {
                let length = (self.shadow.roots.stack.len() - FRAME).max(WINDOW);
                self.shadow.roots.stack.truncate(length);
                self.machine.roots.stack.truncate(length);
                Ok(())
            }
            Op::New { to, ty, length, first, way } => self.new_object(to, ty.0, length, first, way).map(drop),
            Op::NewElem { to, segment, from, count } => self.new_elem(to, segment.0, from, count),
            Op::Host { to } => self.new_host(to),
            Op::Get { to, object, slot, way } => self.get(to, object, slot, way),
            Op::Set { object, slot, from, way } => self.set(object, slot, from, way),
            Op::GlobalGet { to, global, way } => {
                let g = global.0 as usize % machine::GLOBAL_COUNT;
                self.get_cell(to, Cell::Global(g), way)
            }
            Op::GlobalSet { global, from, way } => {
                let g = global.0 as usize % machine::GLOBAL_COUNT;
                self.set_cell(Cell::Global(g), from, way)
            }
            Op::TableGet { to, table, at, way } => {
                let (table, at, _) = self.table_range(table.0, at, 1);
                self.get_cell(to, Cell::Table(table, at), way)
            }
            Op::TableSet { table, at, from, way } => {
                let (table, at, _) = self.table_range(table.0, at, 1);
                self.set_cell(Cell::Table(table, at), from, way)
            }
            Op::TableCopy { table, at, source, from, count } => self.table_copy(table.0, at, source.0, from, count),
            Op::TableFill { table, at, value, count } => {
                let (table, at, count) = self.table_range(table.0, at, count);
                let val = self.val(value);
                if self.shadow.fits(ELEMENT, val) { self.table_fill(table, at, val, count) } else { Ok(()) }
            }
            Op::TableInit { table, at, segment, from, count } => self.table_init(table.0, at, segment.0, from, count),
            Op::Copy { array, at, source, from, count } => self.array_copy(array, at, source, from, count),
            Op::Fill { array, at, value, count } => self.array_fill(array, at, value, count),
            Op::Init { array, at, segment, from, count } => self.array_init(array, at, segment.0, from, count),
            Op::Segment { segment, first, count } => self.new_segment(segment.0, first, count),
            Op::DropSegment { segment } => self.drop_segment(segment.0 as usize % machine::SEGMENTS),
            Op::Root { handle, from } => {
                let val = self.val(from);
                self.root(handle.0 as usize % machine::HANDLES, val)
            }
            Op::Share { handle, from } => {
                let val = self.shadow.roots.handles[from.0 as usize % machine::HANDLES];
                self.root(handle.0 as usize % machine::HANDLES, val)
            }
            Op::Unroot { handle } => self.unroot(handle.0 as usize % machine::HANDLES),
            Op::Push { to, handle } => self.push(to, handle.0 as usize % machine::HANDLES),
            Op::Give { to, handle } => self.give(to, handle.0 as usize % machine::HANDLES),
            Op::Throw { from } => {
                let val = self.val(from);
                match self.shadow.fits(RefTy::Exn, val) && val != Val::Null {
                    true => self.write_cell(CellKind::Exception, Cell::Exception, val),
                    false => Ok(()),
                }
            }
            Op::Catch { to } => self.catch(to),
            Op::Equal { a, b } => self.equal(a, b),
            Op::Poll => self.call(Site::Poll, &[]).map(drop),
            Op::List { to, ty, count, way } => {
                for _ in 0..self.affordable(ty.0, 0, count) {
                    if self.new_object(to, ty.0, 1, to, way)?.is_none() {
                        break;
                    }
                }
                Ok(())
            }
            Op::Ring { to, count } => self.ring(to, count),
            Op::Each { array, ty, length, way } => self.each(array, ty.0, length, way),
            Op::Churn { to, ty, length, count } => {
                for _ in 0..self.affordable(ty.0, length, count) {
                    self.put(to, Val::Null, 0)?;
                    if self.new_object(to, ty.0, length, to, Way::Inline)?.is_none() {
                        break;
                    }
                }
                self.put(to, Val::Null, 0)
            }
            Op::Collect { kind: CollectionKind::Cycle } => self.full(),
            Op::Collect { kind } => {
                self.machine.collect(Collection { reason: Reason::Explicit, kind, budget: None }).map(drop)
            }
            Op::Slice { kind } => self.machine.slice(kind),
        }
    }

    // The stack.

    fn position(&self, slot: Slot) -> usize {
        self.shadow.roots.stack.len() - 1 - slot.0 as usize % WINDOW
    }

    fn val(&self, slot: Slot) -> Val {
        self.shadow.roots.stack[self.position(slot)]
    }

    fn raw(&self, slot: Slot) -> u32 {
        self.machine.roots.stack[self.position(slot)].get()
    }

    /// `to` becomes `val`, of which the heap says that it is `raw`.
    fn put(&mut self, to: Slot, val: Val, raw: u32) -> Checked<()> {
        require(self.same(val, raw), Check::Load, || self.describe(val, raw))?;
        let at = self.position(to);
        self.shadow.roots.stack[at] = val;
        self.machine.roots.stack[at].set(raw);
        Ok(())
    }

    /// Whether `raw` can be `val`. Behind a collection nothing is known of where objects are, until the walk.
    pub fn same(&self, val: Val, raw: u32) -> bool {
        match val {
            Val::Node(_) if self.machine.collected && self.machine.runtime.info().moving => raw != 0 && raw & 1 == 0,
            val => self.shadow.raw(val) == raw,
        }
    }

    pub fn describe(&self, val: Val, raw: u32) -> String {
        let found = VMGcRef::from_raw(raw);
        match val {
            Val::Node(id) => {
                let node = self.shadow.node(id);
                let what = node.what.ty().map_or("host value".to_string(), |ty| ty.name.to_string());
                format!("object {id} (`{what}`, at {:#x}) was expected, and {found:x?} is there", node.index)
            }
            val => format!("{val:?} was expected, and {found:x?} is there"),
        }
    }

    // Emitted code.

    /// Runs a site's function; `None` when it cannot allocate. It must not trap.
    fn call(&mut self, site: Site, args: &[u64]) -> Checked<Option<u32>> {
        match self.exit(site, args)? {
            Exit::Return(result) => Ok(Some(result as u32)),
            Exit::Exhausted => Ok(None),
            Exit::Trap(code) => Err(Failure::new(Check::Trap, format!("the trap {code} where nothing is wrong"))),
        }
    }

    fn exit(&mut self, site: Site, args: &[u64]) -> Checked<Exit> {
        let code = self.codes.get(self.options, site)?;
        interpret::run(&code, args, &mut self.machine)
    }

    /// What compiled code knows of a value.
    fn known(&self, way: Way, declared: RefTy, val: Val) -> Known {
        if way != Way::Typed {
            return declared.known().into();
        }
        let exact = match val {
            Val::Null => StaticRef::NULL,
            Val::I31(_) => StaticRef { null: false, i31: true, object: false },
            Val::Node(_) => StaticRef { null: false, i31: false, object: true },
        };
        exact.into()
    }

    // Allocation.

    /// Of `count` objects, as many as one operation may make.
    fn affordable(&self, ty: u8, length: u32, count: u32) -> u32 {
        let size = types()[ty as usize % types().len()].size(length).max(16);
        count.min((MAX_WORK.saturating_sub(self.allocated.1) / size) as u32)
    }

    /// A new object, its references from `first` on; whether it was made.
    fn new_object(&mut self, to: Slot, ty: u8, length: u32, first: Slot, way: Way) -> Checked<Option<()>> {
        self.resync()?;
        let place = ty % types().len() as u8;
        let ty = &types()[place as usize];
        let length = if ty.is_array() { length } else { 0 };
        if ty.size(length) > MAX_WORK.saturating_sub(self.allocated.1) {
            return Ok(None);
        }
        let Some(vals) = self.initial(ty, length, first) else { return Ok(None) };
        let made = match (way, ty.is_array()) {
            (Way::Host, _) => self.host_new(ty, length, &vals)?,
            (_, false) => {
                let refs = ty.fields().iter().filter_map(|f| if let FieldTy::Ref(r) = f.ty { Some(r) } else { None });
                // Knowing each of hundreds of values would make a function for each combination.
                let way = if vals.len() > 8 { Way::Inline } else { way };
                let known = refs.zip(&vals).map(|(r, val)| self.known(way, r, *val)).collect();
                self.call(Site::New { ty: place, known }, &self.raws(&vals))?
            }
            (_, true) => self.code_new_array(place, length, &vals, way)?,
        };
        let Some(raw) = made else {
            self.check_give_up()?;
            return Ok(None);
        };
        let id = self.shadow.add(What::Object(place), length, raw);
        self.count(ty.size(length));
        self.shadow.node_mut(id).refs = match vals.len() {
            0 => Vec::new(),
            n => (0..ty.refs(length)).map(|i| vals[i % n]).collect(),
        };
        self.write_data(id, ty, length, way)?;
        // The index is what the allocation has said; where the operands are now, the walk finds out.
        self.put_new(to, id, raw);
        Ok(Some(()))
    }

    pub fn count(&mut self, bytes: u64) {
        self.codes.work += 1;
        self.allocated.0 += 1;
        self.allocated.1 += bytes;
    }

    fn raws(&self, vals: &[Val]) -> Vec<u64> {
        vals.iter().map(|val| self.shadow.raw(*val) as u64).collect()
    }

    /// What a new object's references are: one for each field; for each of a few elements, or one for all. `None` when a
    /// value does not fit where none can be missing.
    fn initial(&self, ty: &Type, length: u32, first: Slot) -> Option<Vec<Val>> {
        let one = |r: RefTy, i: usize| {
            let val = self.val(Slot(first.0.wrapping_add(i as u8)));
            if self.shadow.fits(r, val) { Some(val) } else { (r != RefTy::NonNull).then_some(Val::Null) }
        };
        match ty.element_ref() {
            Some(r) => (0..if length <= 8 { length as usize } else { 1 }).map(|i| one(r, i)).collect(),
            None => {
                let refs = ty.fields().iter().filter_map(|f| if let FieldTy::Ref(r) = f.ty { Some(r) } else { None });
                refs.enumerate().map(|(i, r)| one(r, i)).collect()
            }
        }
    }

    fn code_new_array(&mut self, place: u8, length: u32, vals: &[Val], way: Way) -> Checked<Option<u32>> {
        let element = types()[place as usize].element_ref();
        let known = |run: &Self| vals.iter().map(|v| run.known(way, element.expect("has values"), *v)).collect();
        let raws = self.raws(vals);
        let (how, known) = match length {
            1..=8 if element.is_some() => (ArrayNew::Fixed(length), known(self)),
            9..=16 if element.is_some() => (ArrayNew::Constant(length), known(self)),
            0..=16 => (ArrayNew::Constant(length), Vec::new()),
            _ => (ArrayNew::Dynamic, Vec::new()),
        };
        if how != ArrayNew::Dynamic {
            return self.call(Site::NewArray { ty: place, how, known }, if element.is_some() { &raws } else { &[] });
        }
        // The value waits on the stack, and may move.
        let waiting = raws.first().copied().unwrap_or(0) as u32;
        self.machine.roots.stack.push(std::cell::Cell::new(waiting));
        let made = self.call(Site::NewArray { ty: place, how, known }, &[length as u64]);
        let waiting = self.machine.roots.stack.pop().expect("it was just pushed").get();
        if let (Ok(Some(raw)), Some(_)) = (&made, element) {
            let array = VMGcRef::from_raw(*raw).expect("an object");
            self.fill_new(&array, length, waiting);
        }
        made
    }

    /// The host allocates, initialises, and puts the object on the stack.
    fn host_new(&mut self, ty: &Type, length: u32, vals: &[Val]) -> Checked<Option<u32>> {
        let array = ty.is_array().then_some(length);
        let object = NewObject { kind: ty.kind, ty: ty.index, size: ty.size(length), length: array, host: None };
        // The host has handles to what it stores.
        let from = self.machine.roots.stack.len();
        for val in vals {
            let raw = self.shadow.raw(*val);
            self.machine.roots.stack.push(std::cell::Cell::new(raw));
        }
        let made = self.machine.allocate(object);
        let waiting: Vec<u32> = self.machine.roots.stack.drain(from..).map(|slot| slot.get()).collect();
        let Some(new) = made? else { return Ok(None) };
        let start = if ty.is_array() { gc_api::ARRAY_LENGTH_OFFSET + 4 } else { gc_api::HEADER_SIZE };
        self.machine.memory.fill_bytes(new.raw(), start, (object.size - start as u64) as u32, 0);
        if ty.kind == GcKind::EXN {
            self.machine.memory.store_u32(new.raw(), gc_api::EXCEPTION_TAG_OFFSET, TAG);
        }
        match ty.element_ref() {
            Some(_) if vals.len() < length as usize => self.fill_new(&new, length, waiting[0]),
            _ => {
                let slots = (0..ty.slots(length)).map(|i| ty.slot(i)).filter(|slot| matches!(slot.ty, FieldTy::Ref(_)));
                for (slot, raw) in slots.zip(waiting) {
                    let site = WriteSite::Object { object: &new, offset: slot.offset };
                    self.machine.heap.write_ref(site, VMGcRef::from_raw(raw).as_ref());
                    self.machine.drop_dead_hosts();
                }
            }
        }
        let owned = self.machine.heap.clone_ref(&new);
        Ok(Some(self.machine.heap.expose(owned)))
    }

    fn new_host(&mut self, to: Slot) -> Checked<()> {
        let host = self.hosts.len() as HostId;
        let (kind, ty, size) = (GcKind::EXTERN, gc_api::EXTERN_TYPE, gc_api::EXTERN_SIZE as u64);
        let Some(new) = self.machine.allocate(NewObject { kind, ty, size, length: None, host: Some(host) })? else {
            return self.check_give_up();
        };
        let node = self.shadow.add(What::Host(host), 0, new.raw());
        self.count(size);
        self.hosts.push(HostState { node, dropped: false });
        let owned = self.machine.heap.clone_ref(&new);
        let raw = self.machine.heap.expose(owned);
        self.put_new(to, node, raw);
        Ok(())
    }

    /// A ring of pairs: a list whose last node refers to the first.
    fn ring(&mut self, to: Slot, count: u32) -> Checked<()> {
        let pair = crate::types::named("pair").expect("it exists");
        let last = Slot(to.0.wrapping_add(1));
        self.put(to, Val::Null, 0)?;
        for i in 0..self.affordable(pair, 0, count) {
            if self.new_object(to, pair, 0, to, Way::Inline)?.is_none() {
                return Ok(());
            }
            if i == 0 {
                self.put(last, self.val(to), self.raw(to))?;
            }
        }
        self.set(last, 0, to, Way::Inline)
    }

    /// Each element of an array becomes a new object.
    fn each(&mut self, array: Slot, ty: u8, length: u32, way: Way) -> Checked<()> {
        let Val::Node(id) = self.val(array) else { return Ok(()) };
        let count = match self.shadow.node(id).what.ty() {
            Some(ty) if ty.element_ref().is_some() => self.shadow.node(id).length,
            _ => return Ok(()),
        };
        let temporary = Slot(array.0.wrapping_add(1));
        let first = Slot(array.0.wrapping_add(2));
        for i in 0..self.affordable(ty, length, count) {
            if self.new_object(temporary, ty, length, first, way)?.is_none() {
                return Ok(());
            }
            self.set(array, i, temporary, way)?;
        }
        Ok(())
    }

    /// Finds out where objects are, in the middle of an operation.
    pub fn resync(&mut self) -> Checked<()> {
        if self.machine.collected { self.walk() } else { Ok(()) }
    }

    // Objects.

    /// The object in a slot, and its field or element `slot`; `None` when there is none.
    fn slot_of(&self, object: Slot, slot: u32) -> Option<(NodeId, u32)> {
        let Val::Node(id) = self.val(object) else { return None };
        let node = self.shadow.node(id);
        let slots = node.what.ty()?.slots(node.length);
        (slots > 0).then(|| (id, slot % slots))
    }

    /// The function's place and arguments for a slot.
    fn place(&self, ty: &Type, object: u32, slot: u32) -> (Place, Vec<u64>) {
        let offset = ty.slot(slot).offset;
        match ty.is_array() {
            true => (Place::Element, vec![object as u64, offset as u64]),
            false => (Place::Field(offset), vec![object as u64]),
        }
    }

    fn get(&mut self, to: Slot, object: Slot, slot: u32, way: Way) -> Checked<()> {
        if self.val(object) == Val::Null && way != Way::Host {
            let site = Site::Read { place: Place::Field(8), old: RefTy::Any.known().into(), null_check: true };
            return self.must_trap(site, &[0]);
        }
        let Some((id, slot)) = self.slot_of(object, slot) else { return Ok(()) };
        let raw = self.raw(object);
        let ty = self.shadow.node(id).what.ty().expect("it has slots");
        let FieldTy::Ref(declared) = ty.slot(slot).ty else { return self.check_bytes(id, slot) };
        let val = self.shadow.node(id).refs[self.ref_number(ty, slot)];
        let loaded = if way == Way::Host {
            let object = VMGcRef::from_raw(raw).expect("a node");
            let owned = self.machine.heap.read_ref(WriteSite::Object { object: &object, offset: ty.slot(slot).offset });
            self.expose(owned)
        } else {
            let (place, args) = self.place(ty, raw, slot);
            let null_check = way == Way::Inline && !ty.is_array();
            let site = Site::Read { place, old: declared.known().into(), null_check };
            self.call(site, &args)?.expect("it allocates nothing")
        };
        self.put(to, val, loaded)
    }

    fn set(&mut self, object: Slot, slot: u32, from: Slot, way: Way) -> Checked<()> {
        self.resync()?;
        let val = self.val(from);
        if self.val(object) == Val::Null && way != Way::Host {
            let old = RefTy::Any.known().into();
            let site = Site::Write { place: Place::Field(12), old, new: old, null_check: true };
            return self.must_trap(site, &[0, self.raw(from) as u64]);
        }
        let Some((id, slot)) = self.slot_of(object, slot) else { return Ok(()) };
        let ty = self.shadow.node(id).what.ty().expect("it has slots");
        let FieldTy::Ref(declared) = ty.slot(slot).ty else { return self.set_bytes(id, slot) };
        if !self.shadow.fits(declared, val) {
            return Ok(());
        }
        let (raw, new) = (self.raw(object), self.raw(from));
        if way == Way::Host {
            let object = VMGcRef::from_raw(raw).expect("a node");
            let site = WriteSite::Object { object: &object, offset: ty.slot(slot).offset };
            self.machine.heap.write_ref(site, VMGcRef::from_raw(new).as_ref());
            self.machine.drop_dead_hosts();
        } else {
            let (place, mut args) = self.place(ty, raw, slot);
            args.push(new as u64);
            let null_check = way == Way::Inline && !ty.is_array();
            let new = self.known(way, declared, val);
            self.call(Site::Write { place, old: declared.known().into(), new, null_check }, &args)?;
        }
        let number = self.ref_number(ty, slot);
        self.shadow.node_mut(id).refs[number] = val;
        Ok(())
    }

    fn must_trap(&mut self, site: Site, args: &[u64]) -> Checked<()> {
        let exit = self.exit(site.clone(), args)?;
        require(exit == Exit::Trap(TRAP_NULL_REFERENCE), Check::Trap, || {
            format!("{site:?} of null ends with {exit:?}, not the trap of a null reference")
        })
    }

    fn ref_number(&self, ty: &Type, slot: u32) -> usize {
        if ty.is_array() {
            return slot as usize;
        }
        ty.fields()[..slot as usize].iter().filter(|field| matches!(field.ty, FieldTy::Ref(_))).count()
    }

    fn equal(&mut self, a: Slot, b: Slot) -> Checked<()> {
        let args = [self.raw(a) as u64, self.raw(b) as u64];
        let same = self.call(Site::RefEq, &args)?;
        let expected = (self.val(a) == self.val(b)) as u32;
        require(same == Some(expected), Check::Load, || format!("ref.eq of {args:x?} gives {same:?}, not {expected}"))
    }

    // Numbers: not the collector's business, but its objects hold them.

    /// The bytes of a field or an element in a node's data.
    pub fn data_range(ty: &Type, slot: u32) -> std::ops::Range<usize> {
        let size = ty.slot(slot).ty.size() as usize;
        let before = match ty.is_array() {
            true => slot as usize * size,
            false => {
                let before = ty.fields()[..slot as usize].iter();
                before.map(|field| if let FieldTy::Bytes(n) = field.ty { n as usize } else { 0 }).sum()
            }
        };
        before..before + size
    }

    fn write_data(&mut self, id: NodeId, ty: &Type, length: u32, _: Way) -> Checked<()> {
        let node = self.shadow.node(id);
        let (index, memory) = (node.index, &self.machine.memory);
        match ty.is_array() {
            true if !node.data.is_empty() => memory.write_bytes(index, ty.slot(0).offset, &node.data),
            _ => {
                for slot in (0..ty.slots(length)).filter(|slot| matches!(ty.slot(*slot).ty, FieldTy::Bytes(_))) {
                    memory.write_bytes(index, ty.slot(slot).offset, &node.data[Self::data_range(ty, slot)]);
                }
            }
        }
        Ok(())
    }

    fn set_bytes(&mut self, id: NodeId, slot: u32) -> Checked<()> {
        self.written = self.written.wrapping_mul(0x9e37_79b9).wrapping_add(1);
        let bytes: [u8; 16] = std::array::from_fn(|i| (self.written >> (i % 4 * 8)) as u8);
        let node = self.shadow.node_mut(id);
        let ty = node.what.ty().expect("it has slots");
        let range = Self::data_range(ty, slot);
        let bytes = &bytes[..range.len()];
        node.data[range].copy_from_slice(bytes);
        self.machine.memory.write_bytes(node.index, ty.slot(slot).offset, bytes);
        Ok(())
    }

    fn check_bytes(&self, id: NodeId, slot: u32) -> Checked<()> {
        let node = self.shadow.node(id);
        let ty = node.what.ty().expect("it has slots");
        let expected = &node.data[Self::data_range(ty, slot)];
        let mut found = vec![0; expected.len()];
        self.machine.memory.read_bytes(node.index, ty.slot(slot).offset, &mut found);
        require(found == expected, Check::Load, || {
            format!("slot {slot} of object {id} is {found:x?}, not {expected:x?}")
        })
    }

    /// What the claims allow: giving up only when the heap is full.
    fn check_give_up(&mut self) -> Checked<()> {
        let Some(need) = self.machine.gave_up.take() else { return Ok(()) };
        self.walk()?;
        let limit = self.machine.memory.limit_bytes();
        let reachable = self.shadow.mark();
        let excused: u64 = self.shadow.excused.iter().map(|id| self.shadow.node(*id).size()).sum();
        let (live, part) = match self.machine.runtime.info().reclaims {
            Reclaims::Nothing => (self.allocated.1 + need, limit.saturating_sub(64)),
            Reclaims::Acyclic => (reachable + excused, limit / 8),
            Reclaims::Everything => (reachable, limit / 8),
        };
        let enough = live <= part && need <= limit / 16;
        require(!enough, Check::Sizing, || {
            format!("the heap gives up on {need} bytes with {live} bytes in use of {limit}")
        })
    }
}

/// A slot outside the heap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cell {
    Global(usize),
    Table(usize, usize),
    Segment(usize, usize),
    Exception,
}

impl RealRoots {
    /// The slot.
    pub fn slot(&self, cell: Cell) -> &RefCell32 {
        match cell {
            Cell::Global(g) => &self.globals[g],
            Cell::Table(table, at) => &self.tables[table][at],
            Cell::Segment(segment, at) => &self.segments[segment][at],
            Cell::Exception => &self.exception,
        }
    }
}

impl Shadow {
    /// What stands for it.
    pub fn slot(&mut self, cell: Cell) -> &mut Val {
        match cell {
            Cell::Global(g) => &mut self.roots.globals[g],
            Cell::Table(table, at) => &mut self.roots.tables[table][at],
            Cell::Segment(segment, at) => &mut self.roots.segments[segment][at],
            Cell::Exception => &mut self.roots.exception,
        }
    }
}
