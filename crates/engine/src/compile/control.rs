//! Structured control: blocks, loops, branches, locals and selection (§3.4, "Control Instructions", "Parametric
//! Instructions" of the specification's validation chapter; §4.6 of its execution chapter).
//!
//! A frame mirrors one of the validator's. In unreachable code only the nesting is followed.

use super::translate::{Operands, Translator};
use super::{CompileError, clif_type};
use crate::types::{CompositeType, FuncType, RefType, ValType};
use crate::vm::trap_codes;
use cranelift_codegen::ir::{self, Block, BlockArg, InstBuilder, Value};
use rustc_hash::FxHashMap;
use wasmparser::{BlockType, BrTable, Operator};

/// A block of structured control.
pub(super) struct Frame {
    kind: FrameKind,
    /// Where a branch to this frame's label goes.
    label: Block,
    /// Whether one does.
    branched: bool,
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

impl Translator<'_, '_> {
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
        frame.branched = true;
        // A branch to a loop goes to its head.
        frame.next_reached |= !matches!(frame.kind, FrameKind::Loop);
        index
    }

    /// The target of a branch to `depth`, and the operands that go along.
    pub fn label(&mut self, depth: u32) -> (Block, Vec<Value>) {
        let index = self.frame(depth);
        let arity = self.control[index].label_types.len();
        self.passed += arity as u64;
        (self.control[index].label, self.stack[self.stack.len() - arity..].to_vec())
    }

    /// The frame of the function's body, whose label leads to the return.
    pub fn push_body_frame(&mut self) {
        let results = self.ty.results.clone();
        let exit = self.block_with(&results);
        self.control.push(Frame {
            kind: FrameKind::Block,
            label: exit,
            branched: false,
            label_types: results.clone(),
            next: exit,
            results,
            height: 0,
            entered: true,
            next_reached: false,
        });
    }

    fn push_frame(&mut self, kind: FrameKind, label: Block, next: Block, ty: FuncType) {
        let is_loop = matches!(kind, FrameKind::Loop);
        let height = if self.reachable { self.stack.len() - ty.params.len() } else { self.stack.len() };
        self.control.push(Frame {
            kind,
            label,
            branched: false,
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
    pub fn control_operator(&mut self, op: &Operator<'_>, operands: &Operands) -> Result<bool, CompileError> {
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
                    self.interruption_point();
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
                self.branch_table(index, targets)?;
            }
            Operator::Return => {
                if self.inlined.is_inside() {
                    let (exit, values) = self.label(self.control.len() as u32 - 1);
                    self.jump(exit, &values);
                } else {
                    let values = self.pop_n(self.ty.results.len());
                    self.b.ins().return_(&values);
                }
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

    /// Each label that takes values is reached over a block of its own, which passes them once however many targets name it.
    fn branch_table(&mut self, index: Value, targets: &BrTable<'_>) -> Result<(), CompileError> {
        let mut blocks: FxHashMap<u32, Block> = FxHashMap::default();
        let mut edges = Vec::new();
        let mut calls = Vec::new();
        for depth in targets.targets().chain([Ok(targets.default())]) {
            let depth = depth?;
            let block = match blocks.get(&depth) {
                Some(block) => *block,
                None => {
                    let (label, args) = self.label(depth);
                    let block = if args.is_empty() { label } else { self.b.create_block() };
                    if !args.is_empty() {
                        edges.push((block, label, args));
                    }
                    blocks.insert(depth, block);
                    block
                }
            };
            calls.push(self.b.func.dfg.block_call(block, &[]));
        }
        let default = calls.pop().expect("the default was pushed last");
        let table = self.b.create_jump_table(ir::JumpTableData::new(default, &calls));
        self.b.ins().br_table(index, table);
        for (edge, label, args) in edges {
            self.b.seal_block(edge);
            self.b.switch_to_block(edge);
            self.jump(label, &args);
        }
        self.unreachable();
        Ok(())
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
            if self.control.is_empty() && !self.inlined.is_inside() {
                let results = std::mem::take(&mut self.stack);
                self.b.ins().return_(&results);
            }
        }
    }

    /// Gives the loop that has just been entered another head, to which the branches that follow lead. Returns the first.
    pub fn another_head(&mut self) -> Block {
        let types = self.control.last().expect("entered").label_types.clone();
        let head = self.block_with(&types);
        std::mem::replace(&mut self.control.last_mut().expect("entered").label, head)
    }

    /// Ends an iteration of the innermost loop, and begins the next one, if a branch leads to it. The branches of the last lead to the
    /// `first` head.
    pub fn next_iteration(&mut self, first: Block, last: bool) -> bool {
        let index = self.control.len() - 1;
        let frame = &mut self.control[index];
        let head = std::mem::replace(&mut frame.label, first);
        let (branched, height) = (std::mem::take(&mut frame.branched), frame.height);
        self.b.seal_block(head);
        if !branched {
            return false;
        }
        if self.reachable {
            if self.env.compiler.options.fuel {
                self.consume_fuel(&Operator::End);
            }
            self.leave(index);
        }
        if !last {
            self.another_head();
        }
        self.stack.truncate(height);
        self.reachable = true;
        self.enter(head);
        self.interruption_point();
        true
    }

    /// Pushes the handler of a `try_table`'s frame; `landing` is `None` when it catches nothing or is unreachable.
    pub fn push_try_frame(&mut self, ty: BlockType, landing: Option<Block>) {
        let ty = self.block_type(ty);
        let next = self.block_with(&ty.results);
        self.push_frame(FrameKind::TryTable { landing }, next, next, ty);
        self.handlers.extend(landing);
    }
}
