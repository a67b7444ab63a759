//! One function body: operators in, CLIF out, validated as it goes.
//!
//! The operand stack holds CLIF values; control frames mirror the validator's. In unreachable code only the nesting is followed.
//! A reference into the heap is declared to the stack maps where it comes into being: as a local, a block's parameter, or
//! an instruction's result.

use super::env::FuncEnv;
use super::{CompileError, Compiler, clif_type, is_gc};
use crate::info::ModuleInfo;
use crate::types::{CompositeType, FuncType, HeapType, RefType, ValType};
use crate::vm::{VMContext, VMStoreContext, trap_codes};
use cranelift_codegen::Context;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{self, Block, BlockArg, InstBuilder, Value};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use gc_api::{Emitter, Region, StaticRef};
use wasmparser::{BlockType, FuncValidator, FunctionBody, Operator, ValidatorResources};

/// Translates the body of the `defined`-th function of a module's own into `context.func`.
pub(super) fn translate(
    compiler: &Compiler,
    info: &ModuleInfo,
    defined: usize,
    body: &FunctionBody<'_>,
    validator: &mut FuncValidator<ValidatorResources>,
    scratch: &mut FunctionBuilderContext,
    context: &mut Context,
) -> Result<(), CompileError> {
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
        ty: ty.clone(),
        stack: Vec::new(),
        control: Vec::new(),
        handlers: Vec::new(),
        locals: Vec::new(),
        reachable: true,
    };
    for (ty, value) in ty.params.iter().zip(&params[2..]) {
        t.add_local(ty, *value);
    }
    t.body(body)?;
    let Translator { b, .. } = t;
    b.finalize(compiler.isa.frontend_config());
    Ok(())
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

/// A block of structured control.
pub(super) struct Frame {
    kind: FrameKind,
    /// Where a branch to this frame's label goes.
    label: Block,
    /// What the label takes.
    label_types: Box<[ValType]>,
    /// Where control goes on behind the frame; takes its results.
    next: Block,
    /// What the frame leaves on the stack.
    results: Box<[ValType]>,
    /// Height of the operand stack without the frame's parameters.
    height: usize,
    /// Whether the frame was entered in reachable code.
    entered: bool,
    /// Whether `next` has a predecessor.
    next_reached: bool,
}

enum FrameKind {
    Block,
    Loop,
    /// The `else` branch has not been seen: its block and the parameters to enter it with.
    If {
        otherwise: Block,
        params: Vec<Value>,
    },
    Else,
    /// The handler block, sealed at the end.
    TryTable {
        landing: Option<Block>,
    },
}

pub(super) struct Translator<'a, 'f> {
    pub b: FunctionBuilder<'f>,
    pub env: FuncEnv<'a>,
    pub validator: &'a mut FuncValidator<ValidatorResources>,
    pub ty: FuncType,
    pub stack: Vec<Value>,
    control: Vec<Frame>,
    /// Handler blocks of the `try_table`s around, innermost last. A handler takes the exception as an `i64`.
    pub handlers: Vec<Block>,
    locals: Vec<Variable>,
    pub reachable: bool,
}

impl Translator<'_, '_> {
    fn body(&mut self, body: &FunctionBody<'_>) -> Result<(), CompileError> {
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
        let results = self.ty.results.clone();
        let exit = self.block_with(&results);
        self.control.push(Frame {
            kind: FrameKind::Block,
            label: exit,
            label_types: results.clone(),
            next: exit,
            results,
            height: 0,
            entered: true,
            next_reached: false,
        });
        if self.env.compiler.gc.compiler().needs().poll {
            self.poll();
        }
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            let offset = operators.original_position();
            let op = operators.read()?;
            self.b.set_srcloc(ir::SourceLoc::new(offset as u32));
            self.operator(offset, &op)?;
        }
        let end = operators.original_position();
        operators.get_binary_reader().finish_expression(&self.validator.visitor(end))?;
        Ok(())
    }

    fn operator(&mut self, offset: u64, op: &Operator<'_>) -> Result<(), CompileError> {
        // Operand types are only known before the validator has consumed them.
        let operands = if self.reachable { self.operands() } else { Operands::default() };
        self.validator.op(offset, op)?;
        if self.control_operator(op, &operands)? || !self.reachable {
            return Ok(());
        }
        if self.numeric_operator(op) || self.memory_operator(op) || self.gc_operator(op, &operands) {
            return Ok(());
        }
        if self.call_operator(op, &operands) {
            return Ok(());
        }
        Err(CompileError::Codegen {
            function: self.validator.index().to_string(),
            message: format!("operator {op:?} at offset {offset:#x} passed validation but is not supported"),
        })
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
            self.b.declare_value_needs_stack_map(value);
        }
    }

    /// The default value of a type.
    pub fn zero(&mut self, ty: &ValType) -> Value {
        match ty {
            ValType::F32 => self.b.ins().f32const(0.0),
            ValType::F64 => self.b.ins().f64const(0.0),
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

    fn poll(&mut self) {
        self.gc(|gc, e| gc.poll(e));
    }

    // Locals.

    fn add_local(&mut self, ty: &ValType, value: Value) {
        let var = self.b.declare_var(clif_type(ty));
        if is_gc(ty) {
            self.b.declare_var_needs_stack_map(var);
        }
        self.b.def_var(var, value);
        self.locals.push(var);
    }

    // Control.

    /// A block that takes values of these types.
    pub fn block_with(&mut self, types: &[ValType]) -> Block {
        let block = self.b.create_block();
        for ty in types {
            let param = self.b.append_block_param(block, clif_type(ty));
            self.declare(param, ty);
        }
        block
    }

    /// Continues in `block`, whose parameters become the operands.
    pub fn enter(&mut self, block: Block) {
        self.b.switch_to_block(block);
        self.stack.extend_from_slice(self.b.block_params(block));
    }

    pub fn jump(&mut self, block: Block, args: &[Value]) {
        let args: Vec<BlockArg> = args.iter().map(|v| BlockArg::Value(*v)).collect();
        self.b.ins().jump(block, &args);
    }

    /// The parameters and results of a block type.
    fn block_type(&self, ty: BlockType) -> FuncType {
        let types = &self.env.info.types;
        match ty {
            BlockType::Empty => FuncType { params: Box::new([]), results: Box::new([]) },
            BlockType::Type(ty) => FuncType { params: Box::new([]), results: Box::new([types.convert_val(ty)]) },
            BlockType::FuncType(index) => self.func_type(types.get(index)),
        }
    }

    /// The function type with this canonical index.
    pub fn func_type(&self, ty: gc_api::TypeIndex) -> FuncType {
        match &self.env.compiler.registry.get(ty).composite {
            CompositeType::Func(ty) => ty.clone(),
            other => unreachable!("validated: {other:?} is a function type"),
        }
    }

    fn frame(&mut self, depth: u32) -> usize {
        let index = self.control.len() - 1 - depth as usize;
        let frame = &mut self.control[index];
        // A branch to a loop goes to its head.
        frame.next_reached |= !matches!(frame.kind, FrameKind::Loop);
        index
    }

    /// The target of a branch to `depth`, and the operands that go along.
    pub fn label(&mut self, depth: u32) -> (Block, Vec<Value>) {
        let index = self.frame(depth);
        let arity = self.control[index].label_types.len();
        (self.control[index].label, self.stack[self.stack.len() - arity..].to_vec())
    }

    fn push_frame(&mut self, kind: FrameKind, label: Block, next: Block, ty: FuncType) {
        let is_loop = matches!(kind, FrameKind::Loop);
        let height = if self.reachable { self.stack.len() - ty.params.len() } else { self.stack.len() };
        self.control.push(Frame {
            kind,
            label,
            label_types: if is_loop { ty.params } else { ty.results.clone() },
            next,
            results: ty.results,
            height,
            entered: self.reachable,
            next_reached: false,
        });
    }

    /// Ends straight-line code: what follows is unreachable.
    pub fn unreachable(&mut self) {
        self.reachable = false;
        if let Some(frame) = self.control.last() {
            self.stack.truncate(frame.height);
        }
    }

    /// Translates control operators; the others give `false`.
    fn control_operator(&mut self, op: &Operator<'_>, operands: &Operands) -> Result<bool, CompileError> {
        match op {
            Operator::Block { blockty } => {
                let ty = self.block_type(*blockty);
                let next = self.block_with(&ty.results);
                self.push_frame(FrameKind::Block, next, next, ty);
            }
            Operator::Loop { blockty } => {
                let ty = self.block_type(*blockty);
                let header = self.block_with(&ty.params);
                let next = self.block_with(&ty.results);
                if self.reachable {
                    let args = self.stack[self.stack.len() - ty.params.len()..].to_vec();
                    self.jump(header, &args);
                    self.push_frame(FrameKind::Loop, header, next, ty);
                    let height = self.control.last().expect("just pushed").height;
                    self.stack.truncate(height);
                    self.enter(header);
                    if self.env.compiler.gc.compiler().needs().poll {
                        self.poll();
                    }
                } else {
                    self.push_frame(FrameKind::Loop, header, next, ty);
                }
            }
            Operator::If { blockty } => {
                let ty = self.block_type(*blockty);
                let next = self.block_with(&ty.results);
                let then = self.b.create_block();
                let otherwise = self.b.create_block();
                let mut params = Vec::new();
                if self.reachable {
                    let condition = self.pop();
                    self.b.ins().brif(condition, then, &[], otherwise, &[]);
                    self.b.seal_block(then);
                    self.b.seal_block(otherwise);
                    self.b.switch_to_block(then);
                    params = self.stack[self.stack.len() - ty.params.len()..].to_vec();
                }
                self.push_frame(FrameKind::If { otherwise, params }, next, next, ty);
            }
            Operator::Else => {
                let frame = self.control.len() - 1;
                if self.reachable {
                    self.leave(frame);
                }
                let height = self.control[frame].height;
                self.stack.truncate(height);
                let entered = self.control[frame].entered;
                let kind = std::mem::replace(&mut self.control[frame].kind, FrameKind::Else);
                self.reachable = entered;
                if let (true, FrameKind::If { otherwise, params }) = (entered, kind) {
                    self.b.switch_to_block(otherwise);
                    self.stack.extend(params);
                }
            }
            Operator::End => self.end(),
            Operator::TryTable { try_table } => self.try_table(try_table),
            Operator::LocalGet { local_index } if self.reachable => {
                let value = self.b.use_var(self.locals[*local_index as usize]);
                self.push(value);
            }
            Operator::LocalSet { local_index } if self.reachable => {
                let value = self.pop();
                self.b.def_var(self.locals[*local_index as usize], value);
            }
            Operator::LocalTee { local_index } if self.reachable => {
                let value = *self.stack.last().expect("validated: an operand");
                self.b.def_var(self.locals[*local_index as usize], value);
            }
            _ if !self.reachable => {}
            Operator::Nop => {}
            Operator::Drop => {
                self.pop();
            }
            Operator::Unreachable => {
                self.b.ins().trap(trap_codes::UNREACHABLE);
                self.unreachable();
            }
            Operator::Br { relative_depth } => {
                let (block, args) = self.label(*relative_depth);
                self.jump(block, &args);
                self.unreachable();
            }
            Operator::BrIf { relative_depth } => {
                let condition = self.pop();
                let (block, args) = self.label(*relative_depth);
                self.branch_if(condition, block, &args);
            }
            Operator::BrOnNull { relative_depth } => {
                let value = self.pop();
                let (block, args) = self.label(*relative_depth);
                let null = self.is_null(value);
                self.branch_if(null, block, &args);
                self.push(value);
            }
            Operator::BrOnNonNull { relative_depth } => {
                let (block, args) = self.label(*relative_depth);
                let value = self.pop();
                self.branch_if(value, block, &args);
            }
            Operator::BrTable { targets } => {
                let index = self.pop();
                let mut calls = Vec::new();
                for depth in targets.targets().chain([Ok(targets.default())]) {
                    let (block, args) = self.label(depth?);
                    let args: Vec<BlockArg> = args.into_iter().map(BlockArg::Value).collect();
                    calls.push(self.b.func.dfg.block_call(block, &args));
                }
                let default = calls.pop().expect("the default was pushed last");
                let table = self.b.create_jump_table(ir::JumpTableData::new(default, &calls));
                self.b.ins().br_table(index, table);
                self.unreachable();
            }
            Operator::Return => {
                let values = self.pop_n(self.ty.results.len());
                self.b.ins().return_(&values);
                self.unreachable();
            }
            Operator::Select => self.select(),
            Operator::TypedSelect { ty } => {
                let ty = self.env.info.types.convert_val(*ty);
                self.select();
                let value = *self.stack.last().expect("just pushed");
                self.declare(value, &ty);
            }
            Operator::BrOnCast { relative_depth, to_ref_type, .. } => {
                let to = self.env.info.types.convert_ref(*to_ref_type);
                self.branch_on_cast(*relative_depth, operands.top(), to, true);
            }
            Operator::BrOnCastFail { relative_depth, to_ref_type, .. } => {
                let to = self.env.info.types.convert_ref(*to_ref_type);
                self.branch_on_cast(*relative_depth, operands.top(), to, false);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn select(&mut self) {
        let (a, b, condition) = self.pop3();
        let value = self.b.ins().select(condition, a, b);
        self.push(value);
    }

    pub fn branch_if(&mut self, condition: Value, target: Block, args: &[Value]) {
        let next = self.b.create_block();
        let args: Vec<BlockArg> = args.iter().map(|v| BlockArg::Value(*v)).collect();
        self.b.ins().brif(condition, target, &args, next, &[]);
        self.b.seal_block(next);
        self.b.switch_to_block(next);
    }

    /// `br_on_cast` (`when` true) and `br_on_cast_fail` (false): the value stays on the stack either way.
    fn branch_on_cast(&mut self, depth: u32, from: RefType, to: RefType, when: bool) {
        let value = *self.stack.last().expect("validated: an operand");
        let (label, args) = self.label(depth);
        let taken = self.b.create_block();
        let next = self.b.create_block();
        let (yes, no) = if when { (taken, next) } else { (next, taken) };
        self.test_ref(value, from, to, yes, no);
        self.b.seal_block(taken);
        self.b.seal_block(next);
        self.b.switch_to_block(taken);
        self.jump(label, &args);
        self.b.switch_to_block(next);
    }

    /// Jumps behind frame `index` with its results.
    fn leave(&mut self, index: usize) {
        let frame = &mut self.control[index];
        frame.next_reached = true;
        let (next, arity) = (frame.next, frame.results.len());
        let args = self.stack[self.stack.len() - arity..].to_vec();
        self.jump(next, &args);
    }

    fn end(&mut self) {
        let index = self.control.len() - 1;
        if self.reachable {
            self.leave(index);
        }
        let mut frame = self.control.pop().expect("validated: a frame ends");
        self.stack.truncate(frame.height);
        match frame.kind {
            FrameKind::If { otherwise, params } if frame.entered => {
                // No `else`: its parameters are its results.
                self.b.switch_to_block(otherwise);
                self.jump(frame.next, &params);
                frame.next_reached = true;
            }
            FrameKind::Loop => self.b.seal_block(frame.label),
            FrameKind::TryTable { landing: Some(landing) } => {
                self.handlers.pop();
                self.b.seal_block(landing);
            }
            _ => {}
        }
        self.b.seal_block(frame.next);
        self.reachable = frame.entered && frame.next_reached;
        if self.reachable {
            self.enter(frame.next);
            if self.control.is_empty() {
                let results = std::mem::take(&mut self.stack);
                self.b.ins().return_(&results);
            }
        }
    }

    /// Pushes the handler of a `try_table`'s frame; `landing` is `None` when it catches nothing or is unreachable.
    pub fn push_try_frame(&mut self, ty: BlockType, landing: Option<Block>) {
        let ty = self.block_type(ty);
        let next = self.block_with(&ty.results);
        self.push_frame(FrameKind::TryTable { landing }, next, next, ty);
        self.handlers.extend(landing);
    }

    /// Whether a reference is null, as something that `brif` takes.
    pub fn is_null(&mut self, value: Value) -> Value {
        self.b.ins().icmp_imm_s(ir::condcodes::IntCC::Equal, value, 0)
    }

    /// Zero-extends an `i32`.
    pub fn wide(&mut self, value: Value) -> Value {
        match self.b.func.dfg.value_type(value) {
            I32 => self.b.ins().uextend(I64, value),
            _ => value,
        }
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
