//! One function of a large module: statements until it is long enough.

use super::{BYTES, CLOSURE, CLOSURE_FUNC, LONGS, OBJECTS, Program, Random, STRING, Signature, TOP, VTABLE};
use super::{non_null, nullable};
use wasm_encoder::{BlockType, Catch, Function, HeapType, InstructionSink, RefType, StorageType, ValType};

/// How deep expressions and statements nest.
const EXPRESSION_DEPTH: u32 = 3;
const STATEMENT_DEPTH: usize = 8;

/// A function that is being written.
pub(super) struct Body<'a> {
    program: &'a Program<'a>,
    random: &'a mut Random,
    function: Function,
    /// Parameters and locals.
    locals: Vec<ValType>,
    result: Option<ValType>,
    /// No statement begins behind this many bytes.
    end: usize,
    /// The labels around, innermost last: whether it takes nothing, so that a branch may go there from anywhere.
    labels: Vec<bool>,
}

impl<'a> Body<'a> {
    pub fn new(program: &'a Program<'a>, random: &'a mut Random, signature: &Signature, bytes: usize) -> Self {
        let types = program.types;
        let declared = (2 + bytes / 60).min(400);
        let locals: Vec<ValType> = (0..declared)
            .map(|_| match random.below(10) {
                0 => ValType::I32,
                1 => ValType::I64,
                2 => ValType::F64,
                3 => nullable(STRING),
                4 => nullable([OBJECTS, BYTES, LONGS, CLOSURE][random.below(4)]),
                5..=6 => nullable(TOP),
                _ => nullable(types.classes[random.below(types.classes.len())].index),
            })
            .collect();
        let function = Function::new_with_locals_types(locals.iter().copied());
        let locals = [&signature.params[..], &locals].concat();
        Body { program, random, function, locals, result: signature.result, end: bytes, labels: Vec::new() }
    }

    pub fn finish(mut self) -> Function {
        while self.function.byte_len() < self.end {
            self.statement();
        }
        if let Some(result) = self.result {
            self.value(result, EXPRESSION_DEPTH);
        }
        self.emit().end();
        self.function
    }

    fn emit(&mut self) -> InstructionSink<'_> {
        self.function.instructions()
    }

    // Statements.

    fn statements(&mut self) {
        for _ in 0..1 + self.random.below(3) {
            if self.function.byte_len() < self.end {
                self.statement();
            }
        }
    }

    fn statement(&mut self) {
        let nested = self.labels.len() < STATEMENT_DEPTH;
        match self.random.below(20) {
            0..=2 => self.assignment(),
            3..=5 => self.field_write(),
            6..=8 => {
                let wanted = [None, Some(ValType::I64), Some(nullable(TOP))][self.random.below(3)];
                self.call(wanted, EXPRESSION_DEPTH);
                if wanted.is_some() {
                    self.emit().drop();
                }
            }
            9 => self.element_write(),
            10 => self.lazy_global(),
            11 => self.branch(),
            12..=14 if nested => self.condition(),
            15 if nested => self.repetition(),
            16..=17 if nested => self.type_case(),
            18 if nested => self.switch(),
            19 if nested && self.random.below(3) == 0 => self.protected(),
            _ => self.assignment(),
        }
    }

    fn assignment(&mut self) {
        let Some(local) = (0..4).map(|_| self.random.below(self.locals.len().max(1)) as u32).find(|local| {
            // Parameters that can't be null are receivers, which nobody overwrites.
            self.locals.get(*local as usize).is_some_and(|ty| *ty != non_null(TOP))
        }) else {
            return;
        };
        self.value(self.locals[local as usize], EXPRESSION_DEPTH);
        self.emit().local_set(local);
    }

    fn field_write(&mut self) {
        let types = self.program.types;
        let class = self.random.below(types.classes.len());
        let fields = &types.classes[class].fields;
        let field = 1 + self.random.below(fields.len() - 1);
        let StorageType::Val(ty) = fields[field].element_type else { unreachable!("classes have no packed fields") };
        let index = types.classes[class].index;
        self.value(nullable(index), 1);
        self.value(ty, 2);
        self.emit().struct_set(index, field as u32);
    }

    fn element_write(&mut self) {
        let (array, element) =
            [(BYTES, ValType::I32), (OBJECTS, nullable(TOP)), (LONGS, ValType::I64)][self.random.below(3)];
        self.value(nullable(array), 1);
        self.value(ValType::I32, 1);
        self.value(element, 2);
        self.emit().array_set(array);
    }

    /// A static variable, initialised when it is first needed.
    fn lazy_global(&mut self) {
        if self.program.globals.lazy.is_empty() {
            return;
        }
        let (global, ty) = self.random.pick(&self.program.globals.lazy);
        self.emit().block(BlockType::Empty).global_get(global).ref_is_null().i32_eqz().br_if(0);
        self.labels.push(true);
        self.value(nullable(ty), 1);
        self.emit().global_set(global);
        self.labels.pop();
        self.emit().end();
    }

    fn branch(&mut self) {
        self.value(ValType::I32, 2);
        let targets: Vec<u32> = (0..self.labels.len() as u32).filter(|depth| self.takes_nothing(*depth)).collect();
        match targets.is_empty() {
            false => {
                let target = self.random.pick(&targets);
                self.emit().br_if(target);
            }
            true => {
                self.emit().if_(BlockType::Empty);
                self.labels.push(true);
                match self.result {
                    _ if self.random.below(3) == 0 => {
                        self.value(nullable(TOP), 1);
                        self.value(nullable(TOP), 1);
                        self.emit().throw(0);
                    }
                    result => {
                        result.into_iter().for_each(|ty| self.value(ty, 1));
                        self.emit().return_();
                    }
                }
                self.labels.pop();
                self.emit().end();
            }
        }
    }

    fn takes_nothing(&self, depth: u32) -> bool {
        self.labels[self.labels.len() - 1 - depth as usize]
    }

    fn condition(&mut self) {
        self.value(ValType::I32, 2);
        self.emit().if_(BlockType::Empty);
        self.labels.push(true);
        self.statements();
        if self.random.below(2) == 0 {
            self.emit().else_();
            self.statements();
        }
        self.labels.pop();
        self.emit().end();
    }

    fn repetition(&mut self) {
        self.emit().block(BlockType::Empty);
        self.emit().loop_(BlockType::Empty);
        self.labels.extend([true, true]);
        self.value(ValType::I32, 2);
        self.emit().i32_eqz().br_if(1);
        self.statements();
        self.emit().br(0).end().end();
        self.labels.truncate(self.labels.len() - 2);
    }

    /// `if (x is C)`, with the object as a C on one side.
    fn type_case(&mut self) {
        let types = self.program.types;
        let class = types.classes[self.random.below(types.classes.len())].index;
        let (from, to) = (
            RefType { nullable: true, heap_type: HeapType::Concrete(TOP) },
            RefType { nullable: false, heap_type: HeapType::Concrete(class) },
        );
        self.emit().block(BlockType::Empty).block(BlockType::Result(ValType::Ref(to)));
        self.labels.extend([true, false]);
        self.value(nullable(TOP), 1);
        self.emit().br_on_cast(0, from, to).drop();
        self.statements();
        self.emit().br(1).end();
        self.labels.pop();
        match self.local(nullable(class), false) {
            Some(local) => self.emit().local_set(local),
            None => self.emit().drop(),
        };
        self.statements();
        self.labels.pop();
        self.emit().end();
    }

    fn switch(&mut self) {
        let cases = 2 + self.random.below(12) as u32;
        for _ in 0..=cases {
            self.emit().block(BlockType::Empty);
            self.labels.push(true);
        }
        self.value(ValType::I32, 1);
        self.emit().br_table(0..cases, cases);
        for case in (0..cases).rev() {
            self.labels.pop();
            self.emit().end();
            if self.function.byte_len() < self.end {
                self.statement();
            }
            self.emit().br(case);
        }
        self.labels.pop();
        self.emit().end();
    }

    /// `try … catch`.
    fn protected(&mut self) {
        self.emit().block(BlockType::Empty);
        self.emit().block(BlockType::Empty);
        self.labels.extend([true, true]);
        self.emit().try_table(BlockType::Empty, [Catch::All { label: 0 }]);
        self.labels.push(true);
        self.statements();
        self.labels.pop();
        self.emit().end().br(1).end();
        self.labels.pop();
        self.statements();
        self.labels.pop();
        self.emit().end();
    }

    // Expressions.

    /// A random local of exactly this type, or, to read from, of a class below it.
    fn local(&mut self, wanted: ValType, to_read: bool) -> Option<u32> {
        let count = self.locals.len();
        for _ in 0..if count == 0 { 0 } else { 8 } {
            let local = self.random.below(count);
            let ty = self.locals[local];
            if ty == wanted || to_read && self.is_below(ty, wanted) {
                return Some(local as u32);
            }
        }
        None
    }

    fn is_below(&self, ty: ValType, wanted: ValType) -> bool {
        let types = self.program.types;
        let class = |ty| match ty {
            ValType::Ref(RefType { heap_type: HeapType::Concrete(index), .. }) => {
                types.classes.binary_search_by_key(&index, |class| class.index).ok()
            }
            _ => None,
        };
        match (class(ty), class(wanted)) {
            (Some(class), Some(other)) => types.is_below(class, other),
            (Some(_), None) => wanted == nullable(TOP),
            (None, _) => wanted == nullable(TOP) && [non_null(TOP), nullable(STRING), nullable(CLOSURE)].contains(&ty),
        }
    }

    /// Leaves a value of this type on the stack.
    fn value(&mut self, ty: ValType, depth: u32) {
        // A long function ends soon.
        let depth = if self.function.byte_len() < self.end { depth } else { 0 };
        if (self.random.below(3) == 0 || depth == 0)
            && let Some(local) = self.local(ty, true)
        {
            self.emit().local_get(local);
            return;
        }
        match ty {
            ValType::Ref(ty) => self.reference(ty, depth),
            number if depth == 0 => self.number(number),
            number => match self.random.below(6) {
                0 => self.number(number),
                1..=2 => self.arithmetic(number, depth),
                3 => self.call(Some(number), depth - 1),
                _ => self.field_read(number),
            },
        }
    }

    fn number(&mut self, ty: ValType) {
        let value = self.random.below(1000);
        match ty {
            ValType::I32 => self.emit().i32_const(value as i32),
            ValType::I64 => self.emit().i64_const(value as i64),
            ValType::F64 => self.emit().f64_const((value as f64).into()),
            other => unreachable!("no values have type {other:?}"),
        };
    }

    fn arithmetic(&mut self, ty: ValType, depth: u32) {
        match (ty, self.random.below(4)) {
            (ValType::I32, 0) => {
                self.value(nullable(TOP), depth - 1);
                let types = self.program.types;
                let class = types.classes[self.random.below(types.classes.len())].index;
                self.emit().ref_test_non_null(HeapType::Concrete(class));
            }
            (ValType::I32, 1) => {
                self.value(nullable(BYTES), 0);
                self.emit().array_len();
            }
            (ValType::I32, 2) => {
                self.value(ValType::I64, depth - 1);
                self.value(ValType::I64, depth - 1);
                self.emit().i64_lt_s();
            }
            (ValType::I32, _) => {
                self.value(nullable(BYTES), 0);
                self.value(ValType::I32, depth - 1);
                self.emit().array_get_u(BYTES);
            }
            (ValType::I64, 0) => {
                self.value(nullable(LONGS), 0);
                self.value(ValType::I32, depth - 1);
                self.emit().array_get(LONGS);
            }
            (ValType::I64, operator) => {
                self.value(ValType::I64, depth - 1);
                self.value(ValType::I64, depth - 1);
                match operator {
                    1 => self.emit().i64_add(),
                    2 => self.emit().i64_mul(),
                    _ => self.emit().i64_xor(),
                };
            }
            (_, operator) => {
                self.value(ValType::F64, depth - 1);
                self.value(ValType::F64, depth - 1);
                match operator {
                    0..=1 => self.emit().f64_add(),
                    _ => self.emit().f64_mul(),
                };
            }
        }
    }

    /// Reads a field with this type of whatever local has one.
    fn field_read(&mut self, wanted: ValType) {
        let types = self.program.types;
        for _ in 0..6 {
            if self.locals.is_empty() {
                break;
            }
            let local = self.random.below(self.locals.len());
            let ValType::Ref(RefType { heap_type: HeapType::Concrete(index), .. }) = self.locals[local] else {
                continue;
            };
            let Ok(class) = types.classes.binary_search_by_key(&index, |class| class.index) else { continue };
            let fields = &types.classes[class].fields;
            let found = fields.iter().rposition(|field| field.element_type == StorageType::Val(wanted));
            if let Some(field) = found {
                self.emit().local_get(local as u32).struct_get(index, field as u32);
                return;
            }
        }
        match wanted {
            ValType::Ref(ty) => {
                self.emit().ref_null(ty.heap_type);
            }
            number => self.number(number),
        }
    }

    fn reference(&mut self, ty: RefType, depth: u32) {
        let HeapType::Concrete(index) = ty.heap_type else { unreachable!("all references are to defined types") };
        if depth == 0 {
            return self.field_read(ValType::Ref(ty));
        }
        let types = self.program.types;
        match index {
            TOP => match self.random.below(8) {
                0..=2 => self.call(Some(ValType::Ref(ty)), depth - 1),
                3 => self.closure_call(depth - 1),
                4 => self.constant(),
                5 => {
                    self.value(nullable(OBJECTS), 0);
                    self.value(ValType::I32, depth - 1);
                    self.emit().array_get(OBJECTS);
                }
                _ => {
                    let class = types.classes[self.random.below(types.classes.len())].index;
                    self.value(nullable(class), depth - 1);
                }
            },
            BYTES | LONGS | OBJECTS => match self.random.below(3) {
                0 => {
                    self.value(ValType::I32, depth - 1);
                    self.emit().array_new_default(index);
                }
                _ => self.field_read(ValType::Ref(ty)),
            },
            CLOSURE => self.cast(index, depth),
            _ => match (self.random.below(4), types.classes.binary_search_by_key(&index, |class| class.index)) {
                (0, Ok(class)) => {
                    for field in &types.classes[class].fields {
                        let StorageType::Val(ty) = field.element_type else { unreachable!("no packed fields") };
                        self.value(ty, 0);
                    }
                    self.emit().struct_new(index);
                }
                (1, _) => self.field_read(ValType::Ref(ty)),
                _ => self.cast(index, depth),
            },
        }
    }

    fn cast(&mut self, index: u32, depth: u32) {
        self.value(nullable(TOP), depth - 1);
        self.emit().ref_cast_nullable(HeapType::Concrete(index));
    }

    fn constant(&mut self) {
        if self.program.globals.constants.is_empty() {
            self.emit().ref_null(HeapType::Concrete(TOP));
        } else {
            let (global, _) = self.random.pick(&self.program.globals.constants);
            self.emit().global_get(global);
        }
    }

    /// A call with this result: of a function, or virtual.
    fn call(&mut self, wanted: Option<ValType>, depth: u32) {
        let types = self.program.types;
        let is_direct = self.random.below(3) > 0;
        for _ in 0..16 {
            if is_direct {
                let function = self.random.below(self.program.functions.len());
                let signature = &types.signatures[self.program.functions[function]];
                if signature.result == wanted {
                    signature.params.iter().for_each(|ty| self.argument(*ty, depth));
                    self.emit().call(function as u32);
                    return;
                }
            } else {
                let signature = &types.signatures[self.random.below(types.methods.max(1))];
                if signature.result == wanted && signature.params.first() == Some(&non_null(TOP)) {
                    return self.virtual_call(signature, depth);
                }
            }
        }
        if let Some(wanted) = wanted {
            self.field_read(wanted);
        }
    }

    /// A call through the dispatch table: the class of the receiver plus a constant is the index.
    fn virtual_call(&mut self, signature: &Signature, depth: u32) {
        let Some(receiver) = self.local(nullable(TOP), true) else {
            self.emit().unreachable();
            return;
        };
        self.emit().local_get(receiver).ref_as_non_null();
        signature.params[1..].iter().for_each(|ty| self.argument(*ty, depth));
        let selector = self.random.below(self.program.functions.len()) as i32;
        self.emit().local_get(receiver).struct_get(TOP, 0).i32_const(selector).i32_add();
        self.emit().call_indirect(0, signature.index);
    }

    fn argument(&mut self, ty: ValType, depth: u32) {
        if ty == non_null(TOP) {
            self.value(nullable(TOP), depth);
            self.emit().ref_as_non_null();
        } else {
            self.value(ty, depth);
        }
    }

    /// A call of a closure: its context, the arguments, and the function from its table.
    fn closure_call(&mut self, depth: u32) {
        let Some(closure) = self.local(nullable(CLOSURE), true) else { return self.constant() };
        let params = self.random.below(4) as u32;
        self.emit().local_get(closure).struct_get(CLOSURE, 2);
        (0..params).for_each(|_| self.value(nullable(TOP), depth));
        self.emit().local_get(closure).struct_get(CLOSURE, 3);
        self.emit().ref_cast_nullable(HeapType::Concrete(VTABLE + params)).struct_get(VTABLE + params, params);
        self.emit().call_ref(CLOSURE_FUNC + params);
    }
}
