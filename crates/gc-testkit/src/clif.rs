//! Functions that a collector's [`GcCompiler`] emits: one for each kind of site that a script uses, as the engine would emit it
//! within WebAssembly code.
//!
//! Every function takes the heap's base, then what [`Site`] says. It is verified by Cranelift, and comes with the references that
//! are live across each of its calls: what the engine's stack maps would name.

use crate::failure::{Check, Checked, Failure};
use crate::isolate::catching;
use crate::types::{FieldTy, types};
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{
    AbiParam, Block, ExtFuncData, ExternalName, FuncRef, Function, Inst, Signature, UserExternalName,
};
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa, TargetIsa};
use cranelift_codegen::settings::{self, Flags};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use gc_api::ir::{InstBuilder, Type, Value};
use gc_api::{
    AccessSite, AllocSite, AllocSize, EXCEPTION_TAG_OFFSET, Emitter, EmitterHost, Freshness, GcCompiler, GcKind,
    GcRuntime, REF_ARRAY_BASE, Region, Shape, Slot, SlowOp, StaticRef,
};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// The number of the imported function that allocates: header bits of the kind, type, size, and length or -1.
pub const CALL_ALLOC: u32 = 0;
/// The number of the imported function for the collector's slow paths: operation and four words.
pub const CALL_SLOW_PATH: u32 = 1;

/// Functions that are kept.
const MOST_CODES: usize = 1 << 14;

/// What kind of slot an access is to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Place {
    /// A field at this offset: the function takes the object.
    Field(u32),
    /// An element: the function takes the array and the offset.
    Element,
    /// A global: the function takes its address less 8.
    Global,
    /// An element of a table: the function takes its address.
    Table,
}

/// How an array is made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ArrayNew {
    /// `array.new_fixed` with so many values.
    Fixed(u32),
    /// `array.new` of a small constant length with one value.
    Constant(u32),
    /// The function takes the length; whoever calls it writes the elements.
    Dynamic,
}

/// A place in WebAssembly code where a collector emits something.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Site {
    /// Takes a value for each reference field, gives the object. Of other fields it writes an exception's tag alone.
    New { ty: u8, known: Vec<Known> },
    /// Takes the values for references, or the length; gives the array.
    NewArray { ty: u8, how: ArrayNew, known: Vec<Known> },
    /// Gives what the slot holds.
    Read { place: Place, old: Known, null_check: bool },
    /// Takes the value last.
    Write { place: Place, old: Known, new: Known, null_check: bool },
    /// Takes two references, gives whether they are the same.
    RefEq,
    /// Takes nothing.
    Poll,
}

/// [`StaticRef`], for a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Known {
    pub null: bool,
    pub i31: bool,
    pub object: bool,
}

impl From<StaticRef> for Known {
    fn from(StaticRef { null, i31, object }: StaticRef) -> Known {
        Known { null, i31, object }
    }
}

impl From<Known> for StaticRef {
    fn from(Known { null, i31, object }: Known) -> StaticRef {
        StaticRef { null, i31, object }
    }
}

/// A function, and the references that are live across each call in it.
#[derive(Debug)]
pub struct Code {
    pub func: Function,
    pub live: FxHashMap<Inst, Vec<Value>>,
}

/// What is the same for all functions of a program.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CodeOptions {
    /// Inline allocations are counted.
    pub count_objects: bool,
    /// Null accesses fault, rather than being checked.
    pub null_faults: bool,
    /// All allocation goes through the runtime.
    pub slow_alloc: bool,
}

/// The functions that have been made for a collector.
pub struct Codes {
    pub runtime: Arc<dyn GcRuntime>,
    isa: OwnedTargetIsa,
    made: FxHashMap<(CodeOptions, Site), Arc<Code>>,
    /// What scripts have done with them: heaps (a thousand each), operations, new objects, and objects that were looked at.
    pub work: u64,
}

impl Codes {
    pub fn new(runtime: Arc<dyn GcRuntime>) -> Codes {
        let isa = cranelift_native::builder().expect("Cranelift knows this machine");
        let isa = isa.finish(Flags::new(settings::builder())).expect("the default settings are valid");
        Codes { runtime, isa, made: FxHashMap::default(), work: 0 }
    }

    /// The function of a site.
    pub fn get(&mut self, options: CodeOptions, site: Site) -> Checked<Arc<Code>> {
        let key = (options, site);
        if let Some(code) = self.made.get(&key) {
            return Ok(code.clone());
        }
        let compiler = self.runtime.compiler();
        let made = catching(|| compile(&*self.isa, compiler, options, &key.1));
        let code = Arc::new(
            made.unwrap_or_else(|said| Err(Failure::new(Check::Panic, format!("emitting {:?}: {said}", key.1))))?,
        );
        // A fuzzer runs for hours, and there are combinations of operands without end.
        if self.made.len() == MOST_CODES {
            self.made.clear();
        }
        self.made.insert(key, code.clone());
        Ok(code)
    }
}

struct Host {
    base: Value,
    options: CodeOptions,
    declared: Vec<Value>,
    callees: [Option<FuncRef>; 2],
}

impl Host {
    fn call(&mut self, b: &mut FunctionBuilder<'_>, number: u32, args: &[Value]) -> Value {
        let callee = *self.callees[number as usize].get_or_insert_with(|| {
            let mut signature = Signature::new(CallConv::Tail);
            signature.params.extend(args.iter().map(|_| AbiParam::new(I64)));
            signature.returns.push(AbiParam::new(I64));
            let signature = b.import_signature(signature);
            let name = b.func.declare_imported_user_function(UserExternalName { namespace: 0, index: number });
            let name = ExternalName::user(name);
            b.import_function(ExtFuncData { name, signature, colocated: false, patchable: false })
        });
        let call = b.ins().call(callee, args);
        b.inst_results(call)[0]
    }
}

impl EmitterHost for Host {
    fn heap_base(&mut self, _: &mut FunctionBuilder<'_>) -> Value {
        self.base
    }

    fn slow_alloc(&mut self, b: &mut FunctionBuilder<'_>, object: &AllocSite) -> Value {
        let kind = b.ins().iconst(I64, object.kind.header_bits() as i64);
        let ty = b.ins().iconst(I64, object.ty as i64);
        let (size, length) = match object.size {
            AllocSize::Fixed(size) => (b.ins().iconst(I64, size as i64), b.ins().iconst(I64, -1)),
            AllocSize::Array { length, base, element_log2, .. } => {
                let wide = b.ins().uextend(I64, length);
                let bytes = b.ins().ishl_imm_u(wide, element_log2 as i64);
                let padded = b.ins().iadd_imm_s(bytes, base as i64 + 7);
                (b.ins().band_imm_s(padded, -8), wide)
            }
        };
        let object = self.call(b, CALL_ALLOC, &[kind, ty, size, length]);
        b.ins().ireduce(I32, object)
    }

    fn slow_path(&mut self, b: &mut FunctionBuilder<'_>, op: SlowOp, args: &[Value]) -> Value {
        let mut words = vec![b.ins().iconst(I64, op.0 as i64)];
        words.extend_from_slice(args);
        while words.len() < 5 {
            words.push(b.ins().iconst(I64, 0));
        }
        self.call(b, CALL_SLOW_PATH, &words)
    }

    fn declare_reference(&mut self, _: &mut FunctionBuilder<'_>, value: Value) {
        self.declared.push(value);
    }

    fn count_objects(&self) -> bool {
        self.options.count_objects
    }

    fn null_faults(&self) -> bool {
        self.options.null_faults
    }
}

fn parameters(site: &Site) -> Vec<(Type, bool)> {
    let place = |place: &Place| match place {
        Place::Field(_) => vec![(I32, true)],
        Place::Element => vec![(I32, true), (I32, false)],
        Place::Global | Place::Table => vec![(I64, false)],
    };
    match site {
        Site::New { known, .. } => vec![(I32, true); known.len()],
        Site::NewArray { how: ArrayNew::Dynamic, .. } => vec![(I32, false)],
        Site::NewArray { known, .. } => vec![(I32, true); known.len()],
        Site::Read { place: at, .. } => place(at),
        Site::Write { place: at, .. } => place(at).into_iter().chain([(I32, true)]).collect(),
        Site::RefEq => vec![(I32, true); 2],
        Site::Poll => Vec::new(),
    }
}

fn compile(isa: &dyn TargetIsa, compiler: &dyn GcCompiler, options: CodeOptions, site: &Site) -> Checked<Code> {
    let params = parameters(site);
    let mut signature = Signature::new(CallConv::Tail);
    signature.params.push(AbiParam::new(I64));
    signature.params.extend(params.iter().map(|(ty, _)| AbiParam::new(*ty)));
    if !matches!(site, Site::Write { .. } | Site::Poll) {
        signature.returns.push(AbiParam::new(I32));
    }
    let mut func = Function::new();
    func.signature = signature;
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut func, &mut context);
    let block = b.create_block();
    b.append_block_params_for_function_params(block);
    b.switch_to_block(block);
    b.seal_block(block);
    let values = b.block_params(block).to_vec();
    let references = values[1..].iter().zip(&params).filter(|(_, (_, reference))| *reference).map(|(value, _)| *value);
    let mut host = Host { base: values[0], options, declared: references.collect(), callees: [None; 2] };
    let result = emit(&mut Emitter::new(&mut b, &mut host), compiler, options, site, &values[1..]);
    b.ins().return_(result.as_slice());
    b.finalize(isa.frontend_config());
    let Host { declared, .. } = host;
    cranelift_codegen::verify_function(&func, isa)
        .map_err(|errors| Failure::new(Check::Code, format!("{site:?} is not valid:\n{errors}\n{func}")))?;
    let declared: Vec<Value> = declared.iter().map(|value| func.dfg.resolve_aliases(*value)).collect();
    func.dfg.resolve_all_aliases();
    let live = live_across_calls(&func, &declared);
    Ok(Code { func, live })
}

/// Emits what the engine does at this site.
fn emit(
    e: &mut Emitter<'_, '_>,
    compiler: &dyn GcCompiler,
    options: CodeOptions,
    site: &Site,
    args: &[Value],
) -> Option<Value> {
    let needs = compiler.needs();
    let alloc = |e: &mut Emitter<'_, '_>, site: &AllocSite| {
        if options.slow_alloc { e.slow_alloc(site) } else { compiler.alloc(e, site) }
    };
    let init = |e: &mut Emitter<'_, '_>, slot: Slot, new: StaticRef, value: Value| {
        let site = AccessSite { slot, old: StaticRef::NULL, new, freshness: Freshness::Newest, null_check: false };
        if needs.init && new.object { compiler.init(e, &site, value) } else { e.store(&site, value) }
    };
    match site {
        Site::New { ty, known } => {
            let ty = &types()[*ty as usize];
            let site = AllocSite { kind: ty.kind, ty: ty.index, size: AllocSize::Fixed(ty.size(0) as u32) };
            let object = alloc(e, &site);
            e.declare_reference(object);
            if ty.kind == GcKind::EXN {
                let tag = e.b.ins().iconst(I32, crate::run::TAG as i64);
                let address = e.address(object);
                let flags = Region::Data.flags(e.b.func);
                e.b.ins().store(flags, tag, address, EXCEPTION_TAG_OFFSET as i32);
            }
            let refs = ty.fields().iter().filter(|field| matches!(field.ty, FieldTy::Ref(_)));
            for ((field, known), value) in refs.zip(known).zip(args) {
                init(e, Slot::Field { object, offset: field.offset }, (*known).into(), *value);
            }
            Some(object)
        }
        Site::NewArray { ty, how, known } => {
            let ty = &types()[*ty as usize];
            let Shape::Array { base, element_log2, .. } = ty.shape else { unreachable!("it is an array's type") };
            let (length, constant) = match how {
                ArrayNew::Fixed(n) | ArrayNew::Constant(n) => (e.b.ins().iconst(I32, *n as i64), Some(*n)),
                ArrayNew::Dynamic => (args[0], None),
            };
            let size = AllocSize::Array { length, constant, base, element_log2 };
            let array = alloc(e, &AllocSite { kind: ty.kind, ty: ty.index, size });
            e.declare_reference(array);
            let elements = if ty.element_ref().is_some() { constant.unwrap_or(0) } else { 0 };
            for i in 0..elements {
                let offset = REF_ARRAY_BASE + 4 * i;
                let at = i as usize % known.len();
                let slot = match how {
                    ArrayNew::Fixed(_) => Slot::Element { array, offset: e.b.ins().iconst(I32, offset as i64) },
                    _ => Slot::Field { object: array, offset },
                };
                init(e, slot, known[at].into(), args[at]);
            }
            Some(array)
        }
        Site::Read { place, old, null_check } => {
            let (slot, _) = slot(*place, args);
            let known = (*old).into();
            let site =
                AccessSite { slot, old: known, new: known, freshness: Freshness::Unknown, null_check: *null_check };
            Some(if needs.read && known.object { compiler.read(e, &site) } else { e.load(&site) })
        }
        Site::Write { place, old, new, null_check } => {
            let (slot, rest) = slot(*place, args);
            let (old, new) = ((*old).into(), (*new).into());
            let site = AccessSite { slot, old, new, freshness: Freshness::Unknown, null_check: *null_check };
            if needs.write && (site.old.object || site.new.object) {
                compiler.write(e, &site, rest[0]);
            } else {
                e.store(&site, rest[0]);
            }
            None
        }
        Site::RefEq => Some(compiler.ref_eq(e, args[0], args[1])),
        Site::Poll => {
            if needs.poll {
                compiler.poll(e);
            }
            None
        }
    }
}

/// The slot of a place, and the arguments that are left.
fn slot(place: Place, args: &[Value]) -> (Slot, &[Value]) {
    match place {
        Place::Field(offset) => (Slot::Field { object: args[0], offset }, &args[1..]),
        Place::Element => (Slot::Element { array: args[0], offset: args[1] }, &args[2..]),
        Place::Global => (Slot::Global { address: args[0], offset: 8 }, &args[1..]),
        Place::Table => (Slot::Table { address: args[0] }, &args[1..]),
    }
}

/// An edge between blocks, with the values that become parameters.
struct Edge {
    from: Block,
    to: Block,
    passed: Vec<(Value, Value)>,
}

fn edges(func: &Function) -> Vec<Edge> {
    let dfg = &func.dfg;
    let mut edges = Vec::new();
    for from in func.layout.blocks() {
        let last = func.layout.last_inst(from).expect("no block is empty");
        for call in dfg.insts[last].branch_destination(&dfg.jump_tables, &dfg.exception_tables) {
            let to = call.block(&dfg.value_lists);
            let args = call.args(&dfg.value_lists).filter_map(|arg| arg.as_value());
            edges.push(Edge { from, to, passed: args.zip(dfg.block_params(to).iter().copied()).collect() });
        }
    }
    edges
}

/// The references that are live across each call: `declared` ones, and the block parameters that get one.
fn live_across_calls(func: &Function, declared: &[Value]) -> FxHashMap<Inst, Vec<Value>> {
    let dfg = &func.dfg;
    let edges = edges(func);
    let mut references: FxHashSet<Value> = declared.iter().copied().collect();
    let passed = || edges.iter().flat_map(|edge| &edge.passed);
    while passed().any(|(arg, param)| references.contains(arg) && references.insert(*param)) {}
    // Backwards to a fixed point: what is live at the start of each block.
    let blocks: Vec<Block> = func.layout.blocks().collect();
    let mut live_in: FxHashMap<Block, FxHashSet<Value>> = FxHashMap::default();
    let mut calls = FxHashMap::default();
    loop {
        let before: usize = live_in.values().map(FxHashSet::len).sum();
        for block in blocks.iter().rev() {
            let mut live = FxHashSet::default();
            for edge in edges.iter().filter(|edge| edge.from == *block) {
                let Some(target) = live_in.get(&edge.to) else { continue };
                live.extend(target.iter().filter(|value| !dfg.block_params(edge.to).contains(value)));
                live.extend(edge.passed.iter().filter(|(_, param)| target.contains(param)).map(|(arg, _)| *arg));
            }
            live.retain(|value| references.contains(value));
            let mut inst = func.layout.last_inst(*block);
            while let Some(at) = inst {
                live.retain(|value| !dfg.inst_results(at).contains(value));
                if dfg.insts[at].opcode().is_call() {
                    let mut across: Vec<Value> = live.iter().copied().collect();
                    across.sort_unstable();
                    calls.insert(at, across);
                }
                live.extend(dfg.inst_args(at).iter().filter(|value| references.contains(value)));
                inst = func.layout.prev_inst(at);
            }
            live_in.insert(*block, live);
        }
        if live_in.values().map(FxHashSet::len).sum::<usize>() == before {
            return calls;
        }
    }
}
