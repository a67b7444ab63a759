//! Runs a script: each operation on the heap as an engine does it, and on the shadow heap.

mod bulk;
mod cells;
mod new;
mod objects;
mod verify;

use crate::clif::{CodeOptions, Codes, Known, Site};
use crate::failure::{Check, Checked, Failure, require};
use crate::interpret::{self, Exit};
use crate::isolate::catching;
use crate::machine::{self, FRAME, Machine, RealRoots, WINDOW};
use crate::script::{Op, Script, Setup, Slot, Way};
use crate::shadow::{NodeId, Shadow, ShadowRoots, Val};
use crate::types::RefTy;
use gc_api::{CellKind, Collection, CollectionKind, Outcome, Reason, RefCell32, StaticRef, VMGcRef};

/// The tag of all exceptions.
pub const TAG: u32 = 0x7a6;
/// Frames that calls add, at most.
const MAX_DEPTH: usize = 400;
/// Operations between two walks that no collection asked for.
const WALK_EVERY: usize = 64;
/// Bytes of garbage and live objects together that a script may ask for, so that no script takes long.
const MAX_WORK: u64 = 64 << 20;
/// Operations, objects that are made, and objects that walks look at, after which a script makes no more: with a collection at every
/// allocation, and a walk after each, it would take the square of them.
const MAX_STEPS: u64 = 2 << 20;

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
    /// Work of all scripts together at which this one makes no more objects.
    until: u64,
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
        Ok(Run { machine, shadow, codes, options, setup, hosts, allocated: (0, 0), last, written: 0, until: 0 })
    }

    /// All operations, then the end: what a reset heap must repeat.
    fn all(&mut self, script: &Script, at: &mut usize) -> Checked<(gc_api::Counters, gc_api::HeapUsage)> {
        self.written = 0;
        self.until = self.codes.work + MAX_STEPS;
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

    /// Finds out where objects are, in the middle of an operation.
    pub fn resync(&mut self) -> Checked<()> {
        if self.machine.collected { self.walk() } else { Ok(()) }
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
