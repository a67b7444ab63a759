//! Calls to small functions of the module's own, which are translated in place of the call.
//!
//! The callee's body is read once more, as a block of the caller: its parameters and locals are variables of the caller, its operands
//! and frames a stack of their own, its `return` a branch to the block's end. What it does is the same, instruction by
//! instruction, and so are its stack maps, handlers, traps and fuel; a backtrace shows it as a frame. What a call costs beside the instruction (a
//! prologue with its look at the stack's limit, a frame, references that are spilled for the sake of a callee that does
//! not collect) is gone, and Cranelift sees both bodies at once.
//!
//! Bodies are taken that are short, or not long and called from one place only; and have neither handlers nor tail calls. A function
//! that calls itself is taken into itself, too. What a function takes in is bounded, so that a module's code grows by a factor at most.
//!
//! A call through a table that nothing can change, in which few functions have the type that it wants, is for one of these. If
//! they are short, all of them are taken in, behind a comparison each:
//!
//! ```text
//! f = element of the table, within its bounds     if f == the first:  its body
//!                                                 if f == the second: its body
//!                                                 trap: f is null, or of another type
//! ```

use super::calls::MOST_TYPES;
use super::translate::{Translator, call_sites};
use super::{CompileError, Compiler};
use crate::info::{ModuleInfo, Origin};
use crate::limits;
use crate::types::CompositeType;
use crate::vm::{NULL_ELEMENT, VMFuncRef, trap_codes};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{self, InstBuilder, Value};
use gc_api::TypeIndex;
use rayon::prelude::*;
use std::sync::atomic::{AtomicU32, Ordering};
use wasmparser::{BinaryReader, FuncToValidate, FunctionBody, Operator, ValidatorResources};

/// Bytes of the longest body that is inlined wherever it is called, and of all bodies that are where a table is called through.
const SHORT: usize = 100;
/// Bytes of the longest body that is inlined if one place in the module calls it.
const LONGEST: usize = 400;
/// Locals of a body that is inlined, beside its parameters.
const MOST_LOCALS: u64 = 16;
/// Bodies within bodies.
const DEEPEST: usize = 4;
/// How often a function is taken into its own body, one within the other.
const MOST_RECURSION: usize = 2;
/// Functions that a call through a table may be for, where they are inlined.
const MOST_TARGETS: usize = 4;
/// Bytes of bodies that a function may take in, unless it is twice as long itself: then half as many as it has.
const LEAST_BUDGET: usize = 800;

/// The functions of a module that may be inlined.
pub(super) struct Inlining<'m> {
    bytes: &'m [u8],
    /// By number among the module's own.
    candidates: Vec<Option<FuncToValidate<ValidatorResources>>>,
}

impl<'m> Inlining<'m> {
    /// Looks at all functions of a module.
    pub fn new(
        compiler: &Compiler,
        info: &ModuleInfo,
        bytes: &'m [u8],
        funcs: &[FuncToValidate<ValidatorResources>],
    ) -> Inlining<'m> {
        if !compiler.options.inlines() {
            return Inlining { bytes, candidates: Vec::new() };
        }
        let calls: Vec<AtomicU32> = funcs.iter().map(|_| AtomicU32::new(0)).collect();
        let look = |(defined, func): (usize, &FuncToValidate<ValidatorResources>)| {
            is_simple(&body(info, bytes, defined, func), |callee| {
                let own = callee.checked_sub(info.imported_funcs).and_then(|defined| calls.get(defined as usize));
                // It is read when all bodies have been looked at.
                own.inspect(|count| _ = count.fetch_add(1, Ordering::Relaxed));
            })
        };
        let simple: Vec<bool> = match compiler.options.parallel {
            true => funcs.par_iter().enumerate().map(look).collect(),
            false => funcs.iter().enumerate().map(look).collect(),
        };
        let fits = |defined: usize| {
            let longest = if calls[defined].load(Ordering::Relaxed) == 1 { LONGEST } else { SHORT };
            simple[defined] && info.bodies[defined].len() <= longest
        };
        let candidates = funcs.iter().enumerate().map(|(defined, func)| fits(defined).then(|| same(func))).collect();
        Inlining { bytes, candidates }
    }

    /// The body of a function that may be inlined.
    pub fn body(&self, info: &ModuleInfo, defined: usize) -> Option<FunctionBody<'m>> {
        Some(body(info, self.bytes, defined, self.get(defined)?))
    }

    /// Whether a function needs no code of its own unless some call to it is not inlined.
    pub fn may_vanish(&self, info: &ModuleInfo, defined: usize) -> bool {
        self.get(defined).is_some() && !info.escaping.contains_key(&(info.imported_funcs + defined as u32))
    }

    fn get(&self, defined: usize) -> Option<&FuncToValidate<ValidatorResources>> {
        self.candidates.get(defined)?.as_ref()
    }
}

/// The body of the `defined`-th function of a module's own.
pub(super) fn body<'m>(
    info: &ModuleInfo,
    bytes: &'m [u8],
    defined: usize,
    func: &FuncToValidate<ValidatorResources>,
) -> FunctionBody<'m> {
    let range = info.bodies[defined].clone();
    let mut reader = BinaryReader::new(&bytes[range.clone()], range.start as u64);
    reader.set_features(func.features);
    FunctionBody::new(reader)
}

fn same(func: &FuncToValidate<ValidatorResources>) -> FuncToValidate<ValidatorResources> {
    FuncToValidate { resources: func.resources.clone(), index: func.index, ty: func.ty, features: func.features }
}

/// Whether a body, which need not be valid, has nothing that makes it unfit. Shows `call` each function that it calls.
fn is_simple(body: &FunctionBody<'_>, call: impl Fn(u32)) -> bool {
    use Operator as O;
    let Ok(mut operators) = body.get_operators_reader() else { return false };
    let mut simple = limits::locals(0, body) <= MOST_LOCALS;
    while !operators.eof() {
        match operators.read() {
            Ok(O::Call { function_index }) => call(function_index),
            Ok(O::ReturnCall { function_index }) => {
                call(function_index);
                simple = false;
            }
            Ok(O::TryTable { .. } | O::ReturnCallIndirect { .. } | O::ReturnCallRef { .. }) => simple = false,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    simple
}

/// What a function has taken in, and what it is in the middle of.
#[derive(Default)]
pub(super) struct Inlined {
    /// Functions whose bodies are being translated, the outermost first, and where each was called.
    chain: Vec<(usize, u32)>,
    /// The positions of their instructions.
    pub origins: Vec<Origin>,
    /// Bytes taken in.
    pub bytes: usize,
    /// The position of the instruction that is being translated.
    position: u32,
}

impl Inlined {
    /// Whether it is a body in place of a call that is being translated.
    pub fn is_inside(&self) -> bool {
        !self.chain.is_empty()
    }

    /// The position of the instruction at `offset` of the binary, which is translated next.
    pub fn locate(&mut self, offset: u32) -> ir::SourceLoc {
        self.position = match self.chain.last() {
            None => offset,
            Some((defined, call)) => {
                self.origins.push(Origin { function: *defined as u32, offset, call: *call });
                Origin::position(self.origins.len() - 1)
            }
        };
        ir::SourceLoc::new(self.position)
    }
}

impl Translator<'_, '_> {
    /// Which of the module's own functions this instruction calls, if it is to be inlined.
    pub(super) fn inlines(&self, op: &Operator<'_>) -> Option<usize> {
        let Operator::Call { function_index } = *op else { return None };
        let defined = self.may_inline(function_index)?;
        self.fits(&[defined]).then_some(defined)
    }

    /// Which of the module's own functions this instruction may call through a table, if they are to be inlined. All others there
    /// have types that it does not want.
    pub(super) fn inlines_one_of(&self, op: &Operator<'_>) -> Option<Vec<usize>> {
        let Operator::CallIndirect { type_index, table_index } = *op else { return None };
        let (holds, registry) = (self.table_holds(table_index)?, &self.env.compiler.registry);
        let expected = self.env.info.types.get(type_index);
        let types = match registry.get(expected).is_final {
            true => expected..=expected,
            false if holds.len() <= MOST_TYPES => 0..=TypeIndex::MAX,
            false => return None,
        };
        let mut found = Vec::new();
        for (_, funcs) in holds.range(types).filter(|(ty, _)| registry.is_subtype(**ty, expected)) {
            if found.len() + funcs.len() > MOST_TARGETS {
                return None;
            }
            found.extend(funcs.iter().map(|func| self.may_inline(*func)).collect::<Option<Vec<usize>>>()?);
        }
        let bytes: usize = found.iter().map(|defined| self.env.info.bodies[*defined].len()).sum();
        (!found.is_empty() && bytes <= SHORT && self.fits(&found)).then_some(found)
    }

    /// The number of a function among the module's own, if it may be inlined.
    fn may_inline(&self, index: u32) -> Option<usize> {
        let defined = index.checked_sub(self.env.info.imported_funcs)? as usize;
        self.inlining.get(defined).map(|_| defined)
    }

    /// Whether there is room for these bodies here.
    fn fits(&self, bodies: &[usize]) -> bool {
        let (info, inlined) = (self.env.info, &self.inlined);
        let budget = (info.bodies[self.defined].len() / 2).max(LEAST_BUDGET);
        let bytes: usize = bodies.iter().map(|defined| info.bodies[*defined].len()).sum();
        let often = |defined: &usize| {
            let chain = inlined.chain.iter().map(|(known, _)| *known).chain([self.defined]);
            chain.filter(|known| known == defined).count() > MOST_RECURSION
        };
        inlined.bytes + bytes <= budget
            && self.values() < limits::CODE_VALUES.max / 4
            && inlined.chain.len() < DEEPEST
            && !bodies.iter().any(often)
    }

    /// Translates the bodies of the functions that a call through a table may be for, in place of the call.
    pub(super) fn inline_one_of(&mut self, op: &Operator<'_>, callees: &[usize]) -> Result<(), CompileError> {
        let Operator::CallIndirect { type_index, table_index } = *op else { unreachable!("asked before") };
        // It is counted, whether or not it has a use.
        self.call_cache(table_index);
        let info = self.env.info;
        let index = self.pop();
        let func = self.func_element(table_index, index, trap_codes::INDIRECT_OUT_OF_BOUNDS);
        let bodies: Vec<ir::Block> = callees.iter().map(|callee| self.is_own(func, *callee)).collect();
        if info.tables[table_index as usize].element.nullable {
            let null = self.b.ins().icmp_imm_u(IntCC::UnsignedLessThanOrEqual, func, NULL_ELEMENT as i64);
            self.b.ins().trapnz(null, trap_codes::INDIRECT_CALL_TO_NULL);
        }
        self.b.ins().trap(trap_codes::BAD_SIGNATURE);

        let ty = self.func_type(info.types.get(type_index));
        let args = self.pop_n(ty.params.len());
        let done = self.block_with(&ty.results);
        let (position, below) = (self.inlined.position, std::mem::take(&mut self.stack));
        let mut returns = false;
        for (callee, body) in callees.iter().zip(bodies) {
            self.b.switch_to_block(body);
            self.reachable = true;
            self.stack.extend_from_slice(&args);
            self.inlined.position = position;
            self.inline(*callee)?;
            if self.reachable {
                returns = true;
                self.passed += ty.results.len() as u64;
                let results = self.pop_n(ty.results.len());
                self.jump(done, &results);
            }
        }
        self.b.seal_block(done);
        (self.stack, self.reachable) = (below, returns);
        match returns {
            true => self.enter(done),
            false => self.unreachable(),
        }
        Ok(())
    }

    /// A block that is entered if `func` is a reference to this one of the module's own functions. Goes on where it is another.
    fn is_own(&mut self, func: Value, defined: usize) -> ir::Block {
        let info = self.env.info;
        let position = info.escaping[&(info.imported_funcs + defined as u32)];
        let at = info.offsets.func_refs + position * VMFuncRef::SIZE as u32;
        let own = self.b.ins().iadd_imm_u(self.env.vmctx, at as i64);
        let is_own = self.b.ins().icmp(IntCC::Equal, func, own);
        let (body, others) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(is_own, body, &[], others, &[]);
        self.b.seal_block(body);
        self.b.seal_block(others);
        self.b.switch_to_block(others);
        body
    }

    /// Translates the body of a function in place of a call to it.
    pub(super) fn inline(&mut self, defined: usize) -> Result<(), CompileError> {
        let inlining = self.inlining;
        let (info, func) = (self.env.info, inlining.get(defined).expect("asked before"));
        let index = info.imported_funcs + defined as u32;
        let CompositeType::Func(ty) = &self.env.compiler.registry.get(info.funcs[index as usize]).composite else {
            unreachable!("a function has a function type")
        };
        let ty = ty.clone();
        let args = self.pop_n(ty.params.len());
        let validator = same(func).into_validator(self.spare.take().unwrap_or_default());
        let validator = std::mem::replace(self.validator, validator);
        let caller_ty = std::mem::replace(&mut self.ty, ty.clone());
        let sites = std::mem::replace(&mut self.call_sites, call_sites(info, defined));
        let stack = std::mem::take(&mut self.stack);
        let control = std::mem::take(&mut self.control);
        let locals = std::mem::take(&mut self.locals);
        self.inlined.chain.push((defined, self.inlined.position));
        self.inlined.bytes += info.bodies[defined].len();

        for (ty, value) in ty.params.iter().zip(args) {
            self.add_local(ty, value);
        }
        self.body(&body(info, inlining.bytes, defined, func))?;

        let results = std::mem::replace(&mut self.stack, stack);
        let validator = std::mem::replace(self.validator, validator);
        self.spare = Some(validator.into_allocations());
        (self.ty, self.call_sites, self.control, self.locals) = (caller_ty, sites, control, locals);
        self.inlined.chain.pop();
        match self.reachable {
            true => self.stack.extend(results),
            false => self.unreachable(),
        }
        Ok(())
    }
}
