//! One function body: operators in, CLIF out, validated as it goes.
//!
//! The operand stack holds CLIF values; control frames mirror the validator's. In unreachable code only the nesting is followed.
//! A reference into the heap is declared to the stack maps where it comes into being: as a local, a block's parameter, or
//! an instruction's result.

use super::control::Frame;
use super::env::FuncEnv;
use super::inline::{Inlined, Inlining};
use super::simd::vector_constant;
use super::{CompileError, Compiler, OptLevel, clif_type, is_gc, safepoints, threading, traps};
use crate::info::{ModuleInfo, Origin};
use crate::limits::{self, Limit};
use crate::types::{CompositeType, FuncType, HeapType, RefType, ValType};
use crate::vm::{VMContext, VMStoreContext};
use cranelift_codegen::Context;
use cranelift_codegen::ir::types::{I8, I8X16, I16, I32, I64};
use cranelift_codegen::ir::{self, Block, InstBuilder, MemFlagsData, Type, Value};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use gc_api::{Emitter, Region, StaticRef};
use std::ops::Range;
use wasmparser::{FuncValidator, FuncValidatorAllocations, FunctionBody, Operator, ValidatorResources};

/// Translates the body of the `defined`-th function of a module's own into `context.func`. Gives where the instructions of
/// functions that were inlined come from.
pub(super) fn translate(
    compiler: &Compiler,
    (info, inlining): (&ModuleInfo, &Inlining<'_>),
    defined: usize,
    body: &FunctionBody<'_>,
    validator: &mut FuncValidator<ValidatorResources>,
    scratch: &mut FunctionBuilderContext,
    context: &mut Context,
) -> Result<Vec<Origin>, CompileError> {
    let index = info.imported_funcs + defined as u32;
    let CompositeType::Func(ty) = &compiler.registry.get(info.funcs[index as usize]).composite else {
        unreachable!("a function has a function type")
    };
    let func = &mut context.func;
    func.signature = compiler.wasm_signature(ty);
    func.name = ir::UserFuncName::user(0, defined as u32);
    set_stack_limit(func);
    let mut b = FunctionBuilder::new(func, scratch);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let params = b.block_params(entry).to_vec();
    let mut t = Translator {
        env: FuncEnv::new(compiler, info, params[0]),
        b,
        validator,
        defined,
        inlining,
        inlined: Inlined::default(),
        spare: None,
        ty: ty.clone(),
        stack: Vec::new(),
        control: Vec::new(),
        handlers: Vec::new(),
        locals: Vec::new(),
        call_sites: call_sites(info, defined),
        start: None,
        reachable: true,
        unrolled: 0,
        fuel: 0,
        passed: 0,
    };
    for (ty, value) in ty.params.iter().zip(&params[2..]) {
        t.declare(*value, ty);
        t.add_local(ty, *value);
    }
    if calls_itself_last(body, index) {
        let start = t.b.create_block();
        t.jump(start, &[]);
        t.b.switch_to_block(start);
        t.start = Some(start);
    }
    t.body(body)?;
    t.start.inspect(|start| t.b.seal_block(*start));
    let Translator { b, env, inlined, .. } = t;
    b.finalize(compiler.isa.frontend_config());
    if compiler.options.opt_level == OptLevel::Speed {
        threading::thread_jumps(&mut context.func);
        traps::branches_to_traps(&mut context.func);
    }
    safepoints::spill_references(&mut context.func, &env.references);
    if is_small_leaf(&context.func) {
        context.func.stack_limit = None;
    }
    Ok(inlined.origins)
}

/// Whether a function's body, which need not be valid, calls the function itself as its last act.
fn calls_itself_last(body: &FunctionBody<'_>, function: u32) -> bool {
    let Ok(operators) = body.get_operators_reader() else { return false };
    let is_itself =
        |op: &Operator<'_>| matches!(op, Operator::ReturnCall { function_index } if *function_index == function);
    operators.into_iter().map_while(Result::ok).any(|op| is_itself(&op))
}

/// Whether a function's frame is small, and while it is there nothing is called but the runtime, and that rarely. Such a one need not
/// look at the stack's limit, below which there is room for the host's functions, of which each needs more.
fn is_small_leaf(func: &ir::Function) -> bool {
    const FEW: usize = 256;
    let calls = |inst| {
        let opcode = func.dfg.insts[inst].opcode();
        opcode.is_call() && !opcode.is_return() && !safepoints::rare::is_rare(func, inst)
    };
    func.dfg.num_values() < FEW && !func.layout.blocks().flat_map(|block| func.layout.block_insts(block)).any(calls)
}

pub(super) fn call_sites(info: &ModuleInfo, defined: usize) -> Range<u32> {
    match info.fixed_tables.sites.get(defined..defined + 2) {
        Some(ends) => ends[0]..ends[1],
        None => 0..0,
    }
}

/// Lets the prologue compare the stack pointer with `vmctx.store.stack_limit`.
fn set_stack_limit(func: &mut ir::Function) {
    let flags = Region::Context.flags(func);
    let flags = func.dfg.mem_flags.insert_unchecked(flags);
    let vmctx = func.create_global_value(ir::GlobalValueData::VMContext);
    let store = func.create_global_value(ir::GlobalValueData::Load {
        base: vmctx,
        offset: VMContext::STORE.into(),
        global_type: I64,
        flags,
    });
    func.stack_limit = Some(func.create_global_value(ir::GlobalValueData::Load {
        base: store,
        offset: VMStoreContext::STACK_LIMIT.into(),
        global_type: I64,
        flags,
    }));
}

pub(super) struct Translator<'a, 'f> {
    pub b: FunctionBuilder<'f>,
    pub env: FuncEnv<'a>,
    pub validator: &'a mut FuncValidator<ValidatorResources>,
    /// The function that is compiled, by its number among the module's own.
    pub defined: usize,
    pub inlining: &'a Inlining<'a>,
    pub inlined: Inlined,
    /// Of a validator that is no longer needed.
    pub spare: Option<FuncValidatorAllocations>,
    pub ty: FuncType,
    pub stack: Vec<Value>,
    pub control: Vec<Frame>,
    /// Handler blocks of the `try_table`s around, innermost last. A handler takes the exception as an `i64`.
    pub handlers: Vec<Block>,
    pub locals: Vec<Variable>,
    /// The numbers of its calls through tables that nothing can change, from the next one on.
    pub call_sites: Range<u32>,
    /// Where the body begins, if the function calls itself as its last act: then that is a loop.
    pub start: Option<Block>,
    pub reachable: bool,
    /// The weight of iterations behind the first of loops that were unrolled.
    pub unrolled: usize,
    /// Fuel that the code since the last flush consumes.
    pub fuel: i64,
    /// Values that branches pass, so far: [`limits::CODE_VALUES`] bounds them.
    pub passed: u64,
}

impl Translator<'_, '_> {
    /// Translates a body, whose parameters are the locals there are.
    pub fn body(&mut self, body: &FunctionBody<'_>) -> Result<(), CompileError> {
        self.limited(limits::LOCALS, limits::locals(self.ty.params.len(), body))?;
        let mut locals = body.get_locals_reader()?;
        for _ in 0..locals.get_count() {
            let offset = locals.original_position();
            let (count, ty) = locals.read()?;
            self.validator.define_locals(offset, count, ty)?;
            let ty = self.env.info.types.convert_val(ty);
            for _ in 0..count {
                let zero = self.zero(&ty);
                self.add_local(&ty, zero);
            }
        }
        self.push_body_frame();
        let mut operators = body.get_operators_reader()?;
        // Instructions are counted as if there had been a call.
        if !self.inlined.is_inside() || self.env.compiler.options.fuel {
            self.locate(operators.original_position());
            self.interruption_point();
        }
        while !operators.eof() {
            let offset = operators.original_position();
            let op = operators.read()?;
            let unrolling = self.unrolls(&op, &operators);
            self.operator(offset, &op)?;
            if let Some(unrolling) = unrolling {
                self.unroll(offset, &mut operators, unrolling)?;
            }
        }
        let end = operators.original_position();
        operators.get_binary_reader().finish_expression(&self.validator.visitor(end))?;
        Ok(())
    }

    /// Validates and translates an operator. Gives what is known of its operands.
    pub fn operator(&mut self, offset: u64, op: &Operator<'_>) -> Result<Operands, CompileError> {
        // Operand types are only known before the validator has consumed them.
        let operands = if self.reachable { self.operands() } else { Operands::default() };
        self.validator.op(offset, op)?;
        self.translated(offset, op, &operands)?;
        Ok(operands)
    }

    /// Translates an operator that is valid.
    pub fn translated(&mut self, offset: u64, op: &Operator<'_>, operands: &Operands) -> Result<(), CompileError> {
        self.locate(offset);
        if self.env.compiler.options.fuel && self.reachable {
            self.consume_fuel(op);
        }
        self.limit_operator(op)?;
        if self.control_operator(op, operands)? || !self.reachable {
            return Ok(());
        }
        if let Some(callee) = self.inlines(op) {
            return self.inline(callee);
        }
        if let Some(callees) = self.inlines_one_of(op) {
            return self.inline_one_of(op, &callees);
        }
        let translated = self.numeric_operator(op)
            || self.memory_operator(op)
            || self.global_operator(op)
            || self.gc_operator(op, operands)
            || self.call_operator(op, operands)
            || self.table_operator(op, operands)
            || self.exception_operator(op, operands)
            || self.vector_operator(op)
            || self.atomic_operator(op);
        if translated {
            return Ok(());
        }
        Err(CompileError::Codegen {
            function: self.validator.index().to_string(),
            message: format!("operator {op:?} at offset {offset:#x} passed validation but is not supported"),
        })
    }

    /// What follows belongs to the instruction at `offset` of the binary.
    pub fn locate(&mut self, offset: u64) {
        let position = self.inlined.locate(offset as u32);
        self.b.set_srcloc(position);
    }

    /// Refuses a function that is too large.
    fn limited(&self, limit: Limit, count: u64) -> Result<(), CompileError> {
        let refuse = |exceeded| CompileError::Limit {
            function: super::describe(
                self.env.info,
                self.validator.index() as usize - self.env.info.imported_funcs as usize,
            ),
            exceeded,
        };
        limit.check(count).map_err(refuse)
    }

    /// Refuses what an operator, or the code up to it, has too much of.
    fn limit_operator(&self, op: &Operator<'_>) -> Result<(), CompileError> {
        match op {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } | Operator::TryTable { .. } => {
                // The body's own block does not count; the validator has entered the new one.
                self.limited(limits::NESTING, u64::from(self.validator.control_stack_height()) - 1)?;
            }
            Operator::BrTable { targets } => self.limited(limits::BRANCH_TARGETS, u64::from(targets.len()) + 1)?,
            Operator::ArrayNewFixed { array_size, .. } => {
                self.limited(limits::FIXED_ELEMENTS, u64::from(*array_size))?;
            }
            _ => {}
        }
        self.limited(limits::CODE_VALUES, self.values())
    }

    /// Values in the code so far, and values that its branches pass.
    pub fn values(&self) -> u64 {
        self.b.func.dfg.num_values() as u64 + self.passed
    }

    /// Static types of the two topmost operands and the third.
    fn operands(&self) -> Operands {
        let get = |depth| match self.validator.get_operand_type(depth) {
            Some(Some(wasmparser::ValType::Ref(r))) => Some(self.env.info.types.convert_ref(r)),
            _ => None,
        };
        Operands([get(0), get(1), get(2)])
    }

    // The operand stack.

    pub fn push(&mut self, value: Value) {
        self.stack.push(value);
    }

    pub fn pop(&mut self) -> Value {
        self.stack.pop().expect("validated: the stack holds an operand")
    }

    pub fn pop2(&mut self) -> (Value, Value) {
        let second = self.pop();
        (self.pop(), second)
    }

    pub fn pop3(&mut self) -> (Value, Value, Value) {
        let third = self.pop();
        let (first, second) = self.pop2();
        (first, second, third)
    }

    pub fn pop_n(&mut self, n: usize) -> Vec<Value> {
        self.stack.split_off(self.stack.len() - n)
    }

    /// Pushes a value of type `ty`, known to the stack maps if it can be an object.
    pub fn push_typed(&mut self, value: Value, ty: &ValType) {
        self.declare(value, ty);
        self.push(value);
    }

    pub fn declare(&mut self, value: Value, ty: &ValType) {
        if is_gc(ty) {
            self.env.references.push(value);
        }
    }

    /// The default value of a type.
    pub fn zero(&mut self, ty: &ValType) -> Value {
        match ty {
            ValType::F32 => self.b.ins().f32const(0.0),
            ValType::F64 => self.b.ins().f64const(0.0),
            ValType::V128 => vector_constant(&mut self.b, I8X16, 0),
            other => self.b.ins().iconst(clif_type(other), 0),
        }
    }

    pub fn i64(&mut self, value: i64) -> Value {
        self.b.ins().iconst(I64, value)
    }

    /// An emitter for the collector, at the current position.
    pub fn gc<R>(&mut self, emit: impl FnOnce(&dyn gc_api::GcCompiler, &mut Emitter<'_, '_>) -> R) -> R {
        let gc = self.env.compiler.gc.clone();
        emit(gc.compiler(), &mut Emitter::new(&mut self.b, &mut self.env))
    }

    // Locals.

    pub fn add_local(&mut self, ty: &ValType, value: Value) {
        let var = self.b.declare_var(clif_type(ty));
        self.b.def_var(var, value);
        self.locals.push(var);
    }

    /// Whether a reference is null, as something that `brif` takes.
    pub fn is_null(&mut self, value: Value) -> Value {
        self.b.ins().icmp_imm_s(ir::condcodes::IntCC::Equal, value, 0)
    }

    /// The bits of an integer that is a constant.
    pub fn constant(&self, value: Value) -> Option<i64> {
        constant(self.b.func, value)
    }

    /// Stores the low bits of an integer, as many as `ty` has: a constant of just these can be part of the instruction.
    pub fn store_low(&mut self, ty: Type, flags: MemFlagsData, value: Value, address: Value, offset: i32) {
        match (self.constant(value), ty) {
            (Some(constant), _) => {
                let low = self.b.ins().iconst(ty, threading::low_bits(constant as u64, ty) as i64);
                self.b.ins().store(flags, low, address, offset)
            }
            (None, _) if self.b.func.dfg.value_type(value) == ty => self.b.ins().store(flags, value, address, offset),
            (None, I8) => self.b.ins().istore8(flags, value, address, offset),
            (None, I16) => self.b.ins().istore16(flags, value, address, offset),
            (None, _) => self.b.ins().istore32(flags, value, address, offset),
        };
    }

    /// Zero-extends an `i32`.
    pub fn wide(&mut self, value: Value) -> Value {
        match self.b.func.dfg.value_type(value) {
            I32 => self.b.ins().uextend(I64, value),
            _ => value,
        }
    }
}

/// The bits of an integer that is a constant.
pub(super) fn constant(func: &ir::Function, value: Value) -> Option<i64> {
    match func.dfg.insts[func.dfg.value_def(value).inst()?] {
        ir::InstructionData::UnaryImm { opcode: ir::Opcode::Iconst, imm } => Some(imm.bits()),
        _ => None,
    }
}

/// What is known of the topmost operands, where they are references.
#[derive(Default, Clone, Copy)]
pub(super) struct Operands([Option<RefType>; 3]);

impl Operands {
    /// The topmost; any reference when the validator knows nothing (an operand conjured up by unreachable code).
    pub fn top(&self) -> RefType {
        self.at(0)
    }

    /// The one `depth` below the top.
    pub fn at(&self, depth: usize) -> RefType {
        self.0[depth].unwrap_or(RefType { nullable: true, heap: HeapType::Any })
    }
}

/// What a collector may know of a reference of this type.
pub(super) fn static_ref(r: RefType) -> StaticRef {
    use HeapType as H;
    let (i31, object) = match r.heap {
        H::None | H::NoExtern | H::NoExn | H::NoFunc => (false, false),
        H::I31 => (true, false),
        H::Any | H::Eq | H::Extern => (true, true),
        H::Struct | H::Array | H::Exn | H::ConcreteStruct(_) | H::ConcreteArray(_) => (false, true),
        H::Func | H::ConcreteFunc(_) => (false, false),
    };
    StaticRef { null: r.nullable, i31, object }
}
