//! The shadow heap: what a program does, in plain Rust.

use super::kit;
use super::program::{At, End, Op, Program, SOURCES, array_len, func, globals, kind, locals};
use super::shapes::{self, BYTES, FUNCS, Kind, LONGS, NODE, PAIR, REFS, SHAPES, Storage, TINY, is_below};
use super::text::{SEGMENT, data_byte};

/// What a local, a field or an element holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Value {
    #[default]
    Null,
    I31(i32),
    /// A struct, an array or an exception, by its place in [`Model::objects`].
    Object(usize),
    Host(usize),
    /// A function of the kit's.
    Func(usize),
    /// A number.
    Bits(u64),
}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Shape(usize),
    /// An exception with this tag.
    Exn(usize),
}

/// A struct, an array or an exception.
#[derive(Clone, Debug)]
pub struct Object {
    pub ty: Type,
    pub values: Vec<Value>,
}

/// What the host must see, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A number that the program checks.
    Check(u64),
    /// A value that the host walks from.
    See(u64),
    /// A collection, at which these host values can be reached from globals, tables, a segment and what the host holds.
    Gc { alive: Vec<usize> },
}

/// References of one kind: locals, globals and a table.
#[derive(Clone, Debug)]
pub struct Cells {
    locals: Vec<Value>,
    pub globals: Vec<Value>,
    pub table: Vec<Value>,
}

/// The state that a program should have.
#[derive(Clone, Debug)]
pub struct Model {
    /// Every object that a program could see, ever.
    pub objects: Vec<Object>,
    /// Number of host values made.
    pub hosts: usize,
    /// What the host must see.
    pub expected: Vec<Expected>,
    pub cells: [Cells; 5],
    held: [Value; 4],
    segment: Vec<Value>,
    table_max: usize,
    /// What an uncaught exception carries, as a hash.
    pub uncaught: Option<u64>,
}

/// Objects that `See` tells apart.
pub const PLACES: usize = 40;
/// Objects that `SeeAll` tells apart.
pub const ALL_PLACES: usize = 200;

/// What a call of the kit's ends with: what it gives, or an exception of the first tag with these.
type Called = Result<(Value, Value), (Value, Value)>;

impl Model {
    pub fn new(program: &Program) -> Model {
        let cells = |kind: Kind| Cells {
            locals: vec![Value::Null; locals(kind)],
            globals: vec![Value::Null; globals(kind)],
            table: vec![Value::Null; program.table_len()],
        };
        let mut model = Model {
            objects: Vec::new(),
            hosts: 0,
            expected: Vec::new(),
            cells: Kind::ALL.map(cells),
            held: [Value::Null; 4],
            segment: Vec::new(),
            table_max: program.table_max(),
            uncaught: None,
        };
        let pair = model.object(PAIR, vec![Value::I31(1), Value::Null]);
        let tiny = model.object(TINY, vec![]);
        model.segment = vec![Value::I31(5), pair, tiny, Value::Null];
        assert_eq!(model.segment.len(), SEGMENT, "as the text has it");
        model
    }

    fn cells(&mut self, kind: Kind) -> &mut Cells {
        &mut self.cells[kind as usize]
    }

    fn local(&self, kind: Kind, at: At) -> Value {
        let locals = &self.cells[kind as usize].locals;
        locals[at as usize % locals.len()]
    }

    fn set(&mut self, kind: Kind, at: At, value: Value) {
        let locals = &mut self.cells(kind).locals;
        let at = at as usize % locals.len();
        locals[at] = value;
    }

    /// An `anyref` of a local of either type.
    fn source(&self, at: At) -> Value {
        match at as usize % SOURCES {
            at if at < locals(Kind::Any) => self.local(Kind::Any, at as At),
            at => self.local(Kind::Pair, (at - locals(Kind::Any)) as At),
        }
    }

    /// A value of this type, out of a local or of `n`.
    fn value(&self, storage: Storage, at: At, n: i64) -> Value {
        match storage {
            Storage::Ref(Kind::Any) => self.source(at),
            Storage::Ref(kind) => self.local(kind, at),
            _ => Value::Bits(storage.keep(n)),
        }
    }

    /// The type of what a source holds.
    pub fn shape(&self, at: At) -> Option<usize> {
        match self.source(at) {
            Value::Object(o) => match self.objects[o].ty {
                Type::Shape(shape) => Some(shape),
                Type::Exn(_) => None,
            },
            _ => None,
        }
    }

    /// The object that a source holds, if it is of this type.
    fn of(&self, at: At, shape: usize) -> Option<usize> {
        match self.source(at) {
            Value::Object(o) if self.shape(at).is_some_and(|found| is_below(found, shape)) => Some(o),
            _ => None,
        }
    }

    fn object(&mut self, shape: usize, values: Vec<Value>) -> Value {
        self.objects.push(Object { ty: Type::Shape(shape), values });
        Value::Object(self.objects.len() - 1)
    }

    fn exception(&mut self, tag: usize, values: Vec<Value>) -> Value {
        self.objects.push(Object { ty: Type::Exn(tag), values });
        Value::Object(self.objects.len() - 1)
    }

    fn check(&mut self, n: u64) {
        self.expected.push(Expected::Check(n));
    }

    pub fn run(&mut self, op: Op) {
        match op {
            Op::New { shape, to, from, n } => {
                let shape = shape as usize;
                let values = match SHAPES[shape].body {
                    shapes::Body::Struct(fields) => fields
                        .iter()
                        .enumerate()
                        .map(|(i, storage)| self.value(*storage, from.wrapping_add(i as At), n as i64 + i as i64))
                        .collect(),
                    shapes::Body::Array(storage) => {
                        vec![self.value(storage, from, n as i64); array_len(n as u16 as usize)]
                    }
                };
                let new = self.object(shape, values);
                self.set(Kind::Any, to, new);
            }
            Op::NewDefault { shape, to, len } => {
                let default = |storage: &Storage| match storage {
                    Storage::Ref(_) => Value::Null,
                    _ => Value::Bits(0),
                };
                let values = match SHAPES[shape as usize].body {
                    shapes::Body::Struct(fields) => fields.iter().map(default).collect(),
                    shapes::Body::Array(storage) => vec![default(&storage); array_len(len as usize)],
                };
                let new = self.object(shape as usize, values);
                self.set(Kind::Any, to, new);
            }
            Op::NewFixed { shape, to, from, n } => {
                let Some(storage) = SHAPES[shape as usize].element() else { return };
                let value = |i: At| self.value(storage, from.wrapping_add(i), n as i64 + i as i64);
                let values = (0..3).map(value).collect();
                let new = self.object(shape as usize, values);
                self.set(Kind::Any, to, new);
            }
            Op::NewData { longs, to, at, len } => {
                let (at, len) = (at as usize % 32, len as usize % 4);
                let new = match longs {
                    true => self.object(LONGS, longs_at(at, len)),
                    false => self.object(BYTES, bytes_at(at, len)),
                };
                self.set(Kind::Any, to, new);
            }
            Op::NewElem { funcs, to, at, len } => {
                let values = self.elems(funcs, at, len);
                let new = self.object(if funcs { FUNCS } else { REFS }, values);
                self.set(Kind::Any, to, new);
            }
            Op::GetField { shape, field, of, to } => {
                let Some(fields) = SHAPES[shape as usize].fields().filter(|fields| !fields.is_empty()) else { return };
                let field = field as usize % fields.len();
                if let Some(o) = self.of(of, shape as usize) {
                    self.got(fields[field], to, self.objects[o].values[field]);
                }
            }
            Op::SetField { shape, field, of, from, n } => {
                let target = &SHAPES[shape as usize];
                let Some(fields) = target.fields().filter(|fields| !fields.is_empty() && target.mutable) else {
                    return;
                };
                let field = field as usize % fields.len();
                let value = self.value(fields[field], from, n as i64);
                if let Some(o) = self.of(of, shape as usize) {
                    self.objects[o].values[field] = value;
                }
            }
            Op::GetElem { shape, of, i, to } => {
                let Some(storage) = SHAPES[shape as usize].element() else { return };
                if let Some((o, i)) = self.element(of, shape, i) {
                    self.got(storage, to, self.objects[o].values[i]);
                }
            }
            Op::SetElem { shape, of, i, from, n } => {
                let Some(storage) = SHAPES[shape as usize].element() else { return };
                let value = self.value(storage, from, n as i64);
                if let Some((o, i)) = self.element(of, shape, i) {
                    self.objects[o].values[i] = value;
                }
            }
            Op::CopyElems { shape, to, i, from, j, len } => {
                let (Some((to, i)), Some((from, j))) = (self.element(to, shape, i), self.element(from, shape, j))
                else {
                    return;
                };
                let (to_rest, from_rest) = (self.objects[to].values.len() - i, self.objects[from].values.len() - j);
                let len = (len as usize).min(to_rest).min(from_rest);
                let copied = self.objects[from].values[j..j + len].to_vec();
                self.objects[to].values[i..i + len].copy_from_slice(&copied);
            }
            Op::FillElems { shape, of, i, len, from, n } => {
                let Some(storage) = SHAPES[shape as usize].element() else { return };
                let value = self.value(storage, from, n as i64);
                if let Some((o, i)) = self.element(of, shape, i) {
                    let values = &mut self.objects[o].values;
                    let len = (len as usize).min(values.len() - i);
                    values[i..i + len].fill(value);
                }
            }
            Op::InitData { longs, of, i, at, len } => {
                let at = at as usize % 32;
                let shape = if longs { LONGS } else { BYTES };
                if let Some((o, i)) = self.element(of, shape as u8, i) {
                    let len = (len as usize % 4).min(self.objects[o].values.len() - i);
                    let values = if longs { longs_at(at, len) } else { bytes_at(at, len) };
                    self.objects[o].values[i..i + len].copy_from_slice(&values);
                }
            }
            Op::InitElem { funcs, of, i, at, len } => {
                let shape = if funcs { FUNCS } else { REFS };
                if let Some((o, i)) = self.element(of, shape as u8, i) {
                    let mut values = self.elems(funcs, at, len);
                    values.truncate(self.objects[o].values.len() - i);
                    self.objects[o].values[i..i + values.len()].copy_from_slice(&values);
                }
            }
            Op::Len { of } => {
                let array = self.shape(of).filter(|shape| SHAPES[*shape].element().is_some());
                if let (Some(_), Value::Object(o)) = (array, self.source(of)) {
                    self.check(self.objects[o].values.len() as u64);
                }
            }
            Op::GlobalGet { kind: k, g, to } => {
                let globals = &self.cells(kind(k)).globals;
                let value = globals[g as usize % globals.len()];
                self.set(kind(k), to, value);
            }
            Op::GlobalSet { kind: k, g, from } => {
                let value = self.local(kind(k), from);
                let globals = &mut self.cells(kind(k)).globals;
                let g = g as usize % globals.len();
                globals[g] = value;
            }
            Op::TableGet { kind: k, i, to } => {
                let table = &self.cells(kind(k)).table;
                let value = table[i as usize % table.len()];
                self.set(kind(k), to, value);
            }
            Op::TableSet { kind: k, i, from } => {
                let value = self.local(kind(k), from);
                let table = &mut self.cells(kind(k)).table;
                let i = i as usize % table.len();
                table[i] = value;
            }
            Op::TableFill { kind: k, i, len, from } => {
                let value = self.local(kind(k), from);
                let table = &mut self.cells(kind(k)).table;
                let i = i as usize % table.len();
                let len = (len as usize).min(table.len() - i);
                table[i..i + len].fill(value);
            }
            Op::TableCopy { kind: k, to, from, len } => {
                let table = &mut self.cells(kind(k)).table;
                let (to, from) = (to as usize % table.len(), from as usize % table.len());
                let len = (len as usize).min(table.len() - to.max(from));
                table.copy_within(from..from + len, to);
            }
            Op::TableGrow { kind: k, by, from } => {
                let (value, max) = (self.local(kind(k), from), self.table_max);
                let table = &mut self.cells(kind(k)).table;
                let (before, by) = (table.len(), by as usize % 4);
                if before + by <= max {
                    table.resize(before + by, value);
                    self.check(before as u64);
                } else {
                    self.check(-1i32 as u32 as u64);
                }
            }
            Op::TableInit { funcs, i, at, len } => {
                let mut values = self.elems(funcs, at, len);
                let table = &mut self.cells(if funcs { Kind::Func } else { Kind::Any }).table;
                let i = i as usize % table.len();
                values.truncate(table.len() - i);
                table[i..i + values.len()].copy_from_slice(&values);
            }
            Op::Move { kind: k, to, from } => self.set(kind(k), to, self.local(kind(k), from)),
            Op::Clear { kind: k, to } => self.set(kind(k), to, Value::Null),
            Op::I31 { to, n } => self.set(Kind::Any, to, Value::I31(n as i32)),
            Op::CastPair { p, from, .. } => {
                let pair = self.of(from, PAIR).map_or(Value::Null, Value::Object);
                self.set(Kind::Pair, p, pair);
            }
            Op::AnyOfExtern { to, e } => self.set(Kind::Any, to, self.local(Kind::Extern, e)),
            Op::ExternOfAny { e, from } => self.set(Kind::Extern, e, self.source(from)),
            Op::Test { from, what } => {
                let (value, shape) = (self.source(from), self.shape(from));
                let array = shape.is_some_and(|shape| SHAPES[shape].element().is_some());
                let is = match what as usize % (4 + SHAPES.len()) {
                    0 => shape.is_some() || matches!(value, Value::I31(_)),
                    1 => shape.is_some() && !array,
                    2 => array,
                    3 => matches!(value, Value::I31(_)),
                    what => shape.is_some_and(|shape| is_below(shape, what - 4)),
                };
                self.check(is as u64);
            }
            Op::Same { a, b } => {
                let (a, b) = (self.source(a), self.source(b));
                let compared = [a, b].iter().all(|value| !matches!(value, Value::Host(_)));
                self.check(if compared { (a == b) as u64 } else { 2 });
            }
            Op::Make { e } => {
                self.hosts += 1;
                self.set(Kind::Extern, e, Value::Host(self.hosts - 1));
            }
            Op::Call { f, from, e, n, to, .. } => self.caught(func(f), from, e, n, to),
            Op::CallHeld { table, f, from, e, n, to } => {
                let held = match table {
                    true => {
                        let table = &self.cells(Kind::Func).table;
                        table[f as usize % table.len()]
                    }
                    false => self.local(Kind::Func, f),
                };
                if let Value::Func(f) = held
                    && f != kit::OTHER
                {
                    self.caught(f, from, e, n, to);
                }
            }
            Op::FuncOf { f, of } => self.set(Kind::Func, f, Value::Func(of as usize % (kit::FUNCS + 1))),
            Op::Throw { pair, from, e, n, x } => {
                let thrown = match pair {
                    true => self.exception(1, vec![Value::Bits(n as i64 as u64), self.local(Kind::Pair, from)]),
                    false => self.exception(0, vec![self.source(from), self.local(Kind::Extern, e)]),
                };
                self.set(Kind::Exn, x, thrown);
            }
            Op::Rethrow { x, to, e, p } => {
                let Value::Object(o) = self.local(Kind::Exn, x) else { return };
                let Object { ty, values } = self.objects[o].clone();
                if ty == Type::Exn(0) {
                    self.set(Kind::Any, to, values[0]);
                    self.set(Kind::Extern, e, values[1]);
                } else {
                    self.set(Kind::Pair, p, values[1]);
                    let Value::Bits(n) = values[0] else { unreachable!("the second tag begins with a number") };
                    self.check(n);
                }
            }
            Op::Hold { slot, from } => self.held[slot as usize % 4] = self.source(from),
            Op::Held { slot, to } => self.set(Kind::Any, to, self.held[slot as usize % 4]),
            Op::Gc { .. } => self.collect(),
            Op::Garbage { .. } => {}
            Op::See { kind: k, of } => {
                let value = if kind(k) == Kind::Any { self.source(of) } else { self.local(kind(k), of) };
                let hash = self.walk(PLACES, &[value]);
                self.check(hash);
            }
            Op::HostSee { of } => {
                let hash = self.walk(PLACES, &[self.source(of)]);
                self.expected.push(Expected::See(hash));
            }
            Op::SeeAll => {
                let hash = self.walk_all();
                self.check(hash);
            }
        }
    }

    /// After the operations: what is thrown that nobody catches.
    pub fn end(&mut self, end: End) {
        if matches!(end, End::Throw | End::HostThrow) {
            let value = self.local(Kind::Pair, 0);
            let exception = self.exception(0, vec![value, Value::Null]);
            self.uncaught = Some(self.walk(PLACES, &[exception]));
        }
    }

    /// Puts what a field or an element held into a local, or has it checked.
    fn got(&mut self, storage: Storage, to: At, value: Value) {
        match (storage, value) {
            (Storage::Ref(kind), value) => self.set(kind, to, value),
            (_, Value::Bits(n)) => self.check(n),
            _ => unreachable!("numbers are bits"),
        }
    }

    /// An array of this type and an index into it; `None` if it is none, or has no elements.
    fn element(&self, of: At, shape: u8, i: At) -> Option<(usize, usize)> {
        let o = self.of(of, shape as usize).filter(|_| SHAPES[shape as usize].element().is_some())?;
        let len = self.objects[o].values.len();
        (len > 0).then(|| (o, i as usize % len))
    }

    /// References of a segment, as many as there are.
    fn elems(&self, funcs: bool, at: At, len: At) -> Vec<Value> {
        let segment: Vec<Value> = match funcs {
            true => (0..=kit::FUNCS).map(Value::Func).collect(),
            false => self.segment.clone(),
        };
        let at = at as usize % segment.len();
        let len = (len as usize % 4).min(segment.len() - at);
        segment[at..at + len].to_vec()
    }

    fn caught(&mut self, f: usize, from: At, e: At, n: At, to: At) {
        let (Ok((a, x)) | Err((a, x))) = self.call(f, self.source(from), self.local(Kind::Extern, e), (n % 6) as i32);
        self.set(Kind::Any, to, a);
        self.set(Kind::Extern, to, x);
    }

    /// A function of the kit's.
    pub fn call(&mut self, f: usize, a: Value, e: Value, n: i32) -> Called {
        match f {
            // Drops an object; holds references in `n` frames and collects; catches an exception that went through `n` frames.
            0 | 9 => Ok((a, e)),
            1 => {
                self.collect();
                Ok((a, e))
            }
            2 => Ok((self.object(PAIR, vec![a, e]), e)),
            // Make lists by tail calls: direct, through a table, by reference.
            3 => Ok(((1..=n).rev().fold(a, |a, n| self.object(PAIR, vec![a, Value::I31(n)])), e)),
            4 => {
                let node = |a, n: i32| vec![a, Value::Null, Value::Bits(n as u64), e, Value::Null];
                Ok(((1..=n).rev().fold(a, |a, n| self.object(NODE, node(a, n))), e))
            }
            5 => Ok(((0..n).fold(a, |a, _| self.object(shapes::BOX, vec![a, Value::Null])), e)),
            6 => Ok((e, a)),
            // Throw: at once, through frames that catch and throw again, by the host.
            7 | 8 | 12 => Err((a, e)),
            // The host makes a pair; after a tail call; a list by a call back.
            10 | 11 => Ok((self.object(PAIR, vec![a, Value::I31(n)]), e)),
            13 => {
                let listed = self.call(3, a, e, n);
                self.collect();
                listed
            }
            // The host makes an array; replaces a field.
            14 => Ok((self.object(REFS, vec![a, e, Value::I31(n)]), e)),
            _ => {
                if let Value::Object(o) = a
                    && matches!(self.objects[o].ty, Type::Shape(shape) if is_below(shape, PAIR))
                {
                    self.objects[o].values[1] = e;
                }
                Ok((a, e))
            }
        }
    }

    fn collect(&mut self) {
        let roots = self.cells.iter().flat_map(|cells| cells.globals.iter().chain(&cells.table));
        let roots = roots.chain(&self.held).chain(&self.segment).copied().collect();
        let (_, alive) = self.reachable(roots);
        self.expected.push(Expected::Gc { alive });
    }
}

fn bytes_at(at: usize, len: usize) -> Vec<Value> {
    (at..at + len).map(|i| Value::Bits(data_byte(i) as u64)).collect()
}

fn longs_at(at: usize, len: usize) -> Vec<Value> {
    let long = |i: usize| u64::from_le_bytes(std::array::from_fn(|byte| data_byte(at + 8 * i + byte)));
    (0..len).map(|i| Value::Bits(long(i))).collect()
}
