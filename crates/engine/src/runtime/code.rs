//! Executable memory: places compiled functions, links them, and answers questions about a program counter.
//!
//! A [`CodeObject`] is all the code of one module, or of a group of trampolines, in one mapping that is written first
//! and executable afterwards, never both. The tables that came with each function stay as they are, sorted by offset:
//! a query finds the function by binary search and then the entry by a second one. A [`CodeMap`] holds the objects
//! that a store may run, by address.
//!
//! Nothing in a query allocates or locks: the signal handler asks, too.

use crate::info::{CompiledCode, Handler, Origin, RelocTarget, StackMap};
use cranelift_codegen::binemit::Reloc as RelocKind;
use cranelift_codegen::ir::{LibCall, TrapCode};
use gc_api::sys::{Protection, Reservation, page_size};
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::__m128i;
use std::collections::BTreeMap;
use std::io;
#[cfg(target_arch = "x86_64")]
use std::mem::transmute;
use std::ops::Range;
use std::sync::Arc;

/// Functions start at multiples of this at least.
const FUNCTION_ALIGN: u64 = 16;

/// Fills the gaps: on x86-64 `int3`, on AArch64 (as zeroes) `udf`. Neither has a trap code, so that running into a gap
/// is a crash and not a trap.
const PADDING: u8 = if cfg!(target_arch = "x86_64") { 0xcc } else { 0 };

/// Functions in executable memory, with their tables.
#[derive(Debug)]
pub struct CodeObject {
    memory: Reservation,
    /// Bytes in use.
    bytes: usize,
    /// By ascending `start`; the index is the one that [`RelocTarget::Function`] uses.
    functions: Box<[Function]>,
}

/// One function and its tables, whose offsets count from its first byte.
#[derive(Debug)]
struct Function {
    start: u32,
    size: u32,
    traps: Box<[(u32, TrapCode)]>,
    stack_maps: Box<[StackMap]>,
    handlers: Box<[Handler]>,
    positions: Box<[(u32, u32)]>,
    origins: Box<[Origin]>,
}

impl CodeObject {
    /// Lays `functions` out in order, fills in their relocations and makes the result executable.
    ///
    /// # Errors
    /// The system's when memory is short; [`io::ErrorKind::Unsupported`] when the code is too large for its direct calls, or a
    /// relocation is of a kind or names a library function that this engine does not use. Library functions can be
    /// named by [`RelocKind::Abs8`] only: they may be too far away for a direct call.
    ///
    /// # Panics
    /// When a relocation names a function that is not there or a place outside of its function.
    pub fn publish(functions: Vec<CompiledCode>) -> io::Result<CodeObject> {
        let (starts, bytes) = lay_out(&functions)?;
        let mapped = bytes.max(1).next_multiple_of(page_size());
        let memory = Reservation::new(mapped)?;
        memory.protect(0, mapped, Protection::ReadWrite)?;
        // SAFETY: fresh memory of `mapped` ≥ `bytes` bytes, readable and writable, which nobody else knows of yet.
        let image = unsafe { std::slice::from_raw_parts_mut(memory.base(), bytes) };
        image.fill(PADDING);
        for (function, &start) in functions.iter().zip(&starts).filter(|(function, _)| !function.code.is_empty()) {
            image[start as usize..][..function.code.len()].copy_from_slice(&function.code);
        }
        let base = memory.base() as u64;
        for (function, &start) in functions.iter().zip(&starts) {
            for reloc in &function.relocs {
                let target = match reloc.target {
                    RelocTarget::Function(index) => base + u64::from(starts[index as usize]),
                    RelocTarget::LibCall(call) if reloc.kind == RelocKind::Abs8 => libcall_address(call)? as u64,
                    RelocTarget::LibCall(call) => return Err(unsupported(format!("direct call to {call:?}"))),
                    RelocTarget::Type(ty) => u64::from(ty),
                    RelocTarget::Header(ty) => u64::from(ty) << 32,
                };
                let code = &mut image[start as usize..][..function.code.len()];
                let place = base + u64::from(start) + u64::from(reloc.at);
                relocate(&mut code[reloc.at as usize..], reloc.kind, place, target.wrapping_add_signed(reloc.addend))?;
            }
        }
        super::arch::flush_instructions(image);
        memory.protect(0, mapped, Protection::ReadExecute)?;
        let functions = functions.into_iter().zip(starts).map(|(f, start)| Function::new(f, start)).collect();
        Ok(CodeObject { memory, bytes, functions })
    }

    /// Number of functions.
    pub fn len(&self) -> usize {
        self.functions.len()
    }

    /// Whether it holds no function.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// The entry of a function.
    pub fn address(&self, function: usize) -> *const u8 {
        self.memory.base().wrapping_add(self.functions[function].start as usize)
    }

    /// Bytes of a function.
    pub fn size(&self, function: usize) -> usize {
        self.functions[function].size as usize
    }

    /// A function's machine code, as it is executed.
    pub fn function_bytes(&self, function: usize) -> &[u8] {
        // SAFETY: the range is inside the mapping, which is readable and never written to again.
        unsafe { std::slice::from_raw_parts(self.address(function), self.size(function)) }
    }

    /// The addresses that the code occupies. A return address behind the last call is inside.
    pub fn range(&self) -> Range<usize> {
        let base = self.memory.base() as usize;
        base..base + self.bytes
    }

    /// The function that `pc` is in, and the offset there.
    ///
    /// The byte behind a function counts as part of it, since a return address may stand there; [`CodeObject::publish`]
    /// sees to it that no function begins there.
    pub fn lookup(&self, pc: usize) -> Option<(usize, u32)> {
        if !self.range().contains(&pc) {
            return None;
        }
        let at = (pc - self.memory.base() as usize) as u32;
        let index = self.functions.partition_point(|f| f.start <= at).checked_sub(1)?;
        let function = &self.functions[index];
        let offset = at - function.start;
        (offset <= function.size).then_some((index, offset))
    }

    /// Why the instruction at `pc` would fault; `None` if it is not expected to.
    pub fn trap_code(&self, pc: usize) -> Option<TrapCode> {
        let (function, offset) = self.lookup(pc)?;
        let traps = &self.functions[function].traps;
        traps.binary_search_by_key(&offset, |t| t.0).ok().map(|i| traps[i].1)
    }

    /// The live references of the frame whose call returns to `return_pc`; `None` if there are none.
    pub fn stack_map(&self, return_pc: usize) -> Option<&StackMap> {
        let (function, offset) = self.lookup(return_pc)?;
        let maps = &self.functions[function].stack_maps;
        maps.binary_search_by_key(&offset, |m| m.ret).ok().map(|i| &maps[i])
    }

    /// Where the frame whose call returns to `return_pc` catches exceptions, and the bytes from its stack pointer up to its
    /// frame pointer.
    pub fn handler(&self, return_pc: usize) -> Option<(usize, u32)> {
        let (function, offset) = self.lookup(return_pc)?;
        let handlers = &self.functions[function].handlers;
        let handler = handlers.binary_search_by_key(&offset, |h| h.ret).ok().map(|i| handlers[i])?;
        Some((self.address(function) as usize + handler.target as usize, handler.frame_size))
    }

    /// What is executed at `pc`: the function with that code last, those that were inlined there before it, the innermost first; each
    /// with the offset in the WebAssembly binary where it is. Ask for a return address minus 1 to get the call.
    pub fn functions_at(&self, pc: usize) -> Vec<(usize, Option<u32>)> {
        let Some((function, offset)) = self.lookup(pc) else { return Vec::new() };
        let Function { positions, origins, .. } = &self.functions[function];
        let next = positions.partition_point(|p| p.0 <= offset);
        let mut position = next.checked_sub(1).map(|i| positions[i].1);
        let mut found = Vec::new();
        while let Some(origin) = position.and_then(Origin::index).map(|index| origins[index]) {
            found.push((origin.function as usize, Some(origin.offset)));
            position = Some(origin.call);
        }
        found.push((function, position));
        found
    }
}

impl Function {
    fn new(code: CompiledCode, start: u32) -> Self {
        debug_assert!(code.traps.is_sorted_by_key(|t| t.0), "traps are ascending");
        debug_assert!(code.stack_maps.is_sorted_by_key(|m| m.ret), "stack maps are ascending");
        debug_assert!(code.handlers.is_sorted_by_key(|h| h.ret), "handlers are ascending");
        debug_assert!(code.positions.is_sorted_by_key(|p| p.0), "positions are ascending");
        Function {
            start,
            size: code.code.len() as u32,
            traps: code.traps.into(),
            stack_maps: code.stack_maps.into(),
            handlers: code.handlers.into(),
            positions: code.positions.into(),
            origins: code.origins.into(),
        }
    }
}

/// Decides where each function starts and how many bytes all need. At least one byte of padding follows each; one without code needs
/// none and starts where the next one does.
fn lay_out(functions: &[CompiledCode]) -> io::Result<(Vec<u32>, usize)> {
    let mut starts = Vec::with_capacity(functions.len());
    let mut end = 0u64;
    for function in functions {
        let align = u64::from(function.align).max(FUNCTION_ALIGN);
        assert!(align.is_power_of_two() && align <= page_size() as u64, "a function's alignment is a power of two");
        let start = end.next_multiple_of(align);
        if !function.code.is_empty() {
            end = start + function.code.len() as u64 + 1;
        }
        // Offsets are 31-bit, so that any distance between functions fits a relative call of x86-64.
        if end > i32::MAX as u64 {
            return Err(unsupported("more than 2 GiB of code".into()));
        }
        starts.push(start as u32);
    }
    Ok((starts, end as usize))
}

/// Fills in one place: `code` begins with it, `place` is its address and `target` what it is to name.
fn relocate(code: &mut [u8], kind: RelocKind, place: u64, target: u64) -> io::Result<()> {
    let distance = target.wrapping_sub(place) as i64;
    let too_far = || unsupported(format!("a distance of {distance} bytes in a relocation of kind {kind:?}"));
    match kind {
        RelocKind::Abs8 => code[..8].copy_from_slice(&target.to_le_bytes()),
        RelocKind::X86CallPCRel4 | RelocKind::X86PCRel4 => {
            let distance = i32::try_from(distance).map_err(|_| too_far())?;
            code[..4].copy_from_slice(&distance.to_le_bytes());
        }
        RelocKind::Arm64Call => {
            // The low 26 bits of `b` and `bl` count instructions.
            let reachable = -(1 << 27)..1 << 27;
            if distance & 3 != 0 || !reachable.contains(&distance) {
                return Err(too_far());
            }
            let opcode = u32::from_le_bytes(code[..4].try_into().expect("four bytes")) & 0xfc00_0000;
            let instruction = opcode | ((distance >> 2) as u32 & 0x03ff_ffff);
            code[..4].copy_from_slice(&instruction.to_le_bytes());
        }
        _ => return Err(unsupported(format!("a relocation of kind {kind:?}"))),
    }
    Ok(())
}

fn unsupported(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("generated code contains {what}"))
}

/// The functions that Cranelift calls where the machine has no instruction.
pub(crate) fn libcall_address(call: LibCall) -> io::Result<usize> {
    type Unary<T> = extern "C" fn(T) -> T;
    type Ternary<T> = extern "C" fn(T, T, T) -> T;
    // WebAssembly's results are never signalling NaNs, which Rust's functions hand back as they are.
    macro_rules! rounding {
        ($($name:ident $ty:ty, $method:ident, $quiet:expr;)*) => {$(
            extern "C" fn $name(x: $ty) -> $ty {
                if x.is_nan() { <$ty>::from_bits(x.to_bits() | $quiet) } else { x.$method() }
            }
        )*};
    }
    rounding! {
        ceil_f32 f32, ceil, 1 << 22;
        ceil_f64 f64, ceil, 1 << 51;
        floor_f32 f32, floor, 1 << 22;
        floor_f64 f64, floor, 1 << 51;
        trunc_f32 f32, trunc, 1 << 22;
        trunc_f64 f64, trunc, 1 << 51;
        nearest_f32 f32, round_ties_even, 1 << 22;
        nearest_f64 f64, round_ties_even, 1 << 51;
    }
    extern "C" fn fma_f32(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
    extern "C" fn fma_f64(a: f64, b: f64, c: f64) -> f64 {
        a.mul_add(b, c)
    }
    /// Byte `i` is byte `indices[i] % 16` of `x`, or 0 where the index has its highest bit set.
    #[cfg(target_arch = "x86_64")]
    #[expect(improper_ctypes_definitions, reason = "a vector of the machine's, passed in its registers")]
    extern "C" fn pshufb(x: __m128i, indices: __m128i) -> __m128i {
        // SAFETY: 16 bytes either way, and any bytes are valid.
        let [x, indices] = [x, indices].map(|vector| unsafe { transmute::<__m128i, [u8; 16]>(vector) });
        let result = indices.map(|index| if index < 0x80 { x[usize::from(index % 16)] } else { 0 });
        // SAFETY: as above.
        unsafe { transmute::<[u8; 16], __m128i>(result) }
    }
    Ok(match call {
        LibCall::CeilF32 => ceil_f32 as Unary<f32> as usize,
        LibCall::CeilF64 => ceil_f64 as Unary<f64> as usize,
        LibCall::FloorF32 => floor_f32 as Unary<f32> as usize,
        LibCall::FloorF64 => floor_f64 as Unary<f64> as usize,
        LibCall::TruncF32 => trunc_f32 as Unary<f32> as usize,
        LibCall::TruncF64 => trunc_f64 as Unary<f64> as usize,
        LibCall::NearestF32 => nearest_f32 as Unary<f32> as usize,
        LibCall::NearestF64 => nearest_f64 as Unary<f64> as usize,
        LibCall::FmaF32 => fma_f32 as Ternary<f32> as usize,
        LibCall::FmaF64 => fma_f64 as Ternary<f64> as usize,
        #[cfg(target_arch = "x86_64")]
        LibCall::X86Pshufb => pshufb as extern "C" fn(__m128i, __m128i) -> __m128i as usize,
        LibCall::Memcpy => libc::memcpy as *const () as usize,
        LibCall::Memmove => libc::memmove as *const () as usize,
        LibCall::Memset => libc::memset as *const () as usize,
        LibCall::Memcmp => libc::memcmp as *const () as usize,
        _ => return Err(unsupported(format!("a call to {call:?}"))),
    })
}

/// The code that a store may run, by address.
#[derive(Debug, Default)]
pub struct CodeMap {
    /// By start address; the ranges are disjoint, being mappings.
    objects: BTreeMap<usize, (Arc<CodeObject>, u32)>,
}

impl CodeMap {
    /// No code.
    pub fn new() -> Self {
        CodeMap::default()
    }

    /// Adds an object under `tag`, a number that means something to the store. Logarithmic.
    pub fn insert(&mut self, object: Arc<CodeObject>, tag: u32) {
        self.objects.insert(object.range().start, (object, tag));
    }

    /// The object that `pc` is in, and its tag. Logarithmic in the number of objects.
    pub fn lookup(&self, pc: usize) -> Option<(&CodeObject, u32)> {
        let (_, (object, tag)) = self.objects.range(..=pc).next_back()?;
        object.range().contains(&pc).then_some((&**object, *tag))
    }
}

/// Small functions for the tests of this module and its neighbours, compiled as the engine compiles.
#[cfg(test)]
pub(super) mod testing {
    use crate::info::{CompiledCode, Handler, Reloc, RelocTarget, StackMap};
    use cranelift_codegen::control::ControlPlane;
    use cranelift_codegen::ir::{AbiParam, ExtFuncData, ExternalName, FuncRef, Function, Signature, types};
    use cranelift_codegen::ir::{UserExternalName, UserFuncName};
    use cranelift_codegen::isa::{CallConv, OwnedTargetIsa};
    use cranelift_codegen::settings::{self, Configurable};
    use cranelift_codegen::{Context, FinalizedMachExceptionHandler, FinalizedRelocTarget};
    use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

    /// This machine, or with `baseline` the oldest of its kind.
    pub fn isa(baseline: bool) -> OwnedTargetIsa {
        let mut flags = settings::builder();
        flags.set("preserve_frame_pointers", "true").unwrap();
        let builder = cranelift_native::builder_with_options(!baseline).unwrap();
        builder.finish(settings::Flags::new(flags)).unwrap()
    }

    /// `params` words → one word.
    pub fn signature(convention: CallConv, params: usize) -> Signature {
        let mut signature = Signature::new(convention);
        signature.params = vec![AbiParam::new(types::I64); params];
        signature.returns = vec![AbiParam::new(types::I64)];
        signature
    }

    /// Refers to function `index` of the object.
    pub fn import(builder: &mut FunctionBuilder<'_>, index: u32, signature: Signature) -> FuncRef {
        let signature = builder.import_signature(signature);
        let name = builder.func.declare_imported_user_function(UserExternalName { namespace: 0, index });
        let name = ExternalName::user(name);
        builder.import_function(ExtFuncData { name, signature, colocated: true, patchable: false })
    }

    /// Compiles the function that `build` builds.
    pub fn compile(
        isa: &OwnedTargetIsa,
        signature: Signature,
        build: impl FnOnce(&mut FunctionBuilder<'_>),
    ) -> CompiledCode {
        let mut context = Context::for_function(Function::with_name_signature(UserFuncName::default(), signature));
        let mut frontend = FunctionBuilderContext::new();
        let mut builder = FunctionBuilder::new(&mut context.func, &mut frontend);
        build(&mut builder);
        builder.seal_all_blocks();
        builder.finalize(isa.frontend_config());
        context.compile(&**isa, &mut ControlPlane::default()).unwrap();
        let compiled = context.compiled_code().unwrap();
        let target = |target: &FinalizedRelocTarget| match target {
            FinalizedRelocTarget::ExternalName(ExternalName::User(name)) => {
                RelocTarget::Function(context.func.params.user_named_funcs()[*name].index)
            }
            FinalizedRelocTarget::ExternalName(ExternalName::LibCall(call)) => RelocTarget::LibCall(*call),
            other => panic!("{other:?}"),
        };
        let buffer = &compiled.buffer;
        CompiledCode {
            code: compiled.code_buffer().to_vec(),
            align: buffer.alignment,
            relocs: (buffer.relocs().iter())
                .map(|r| Reloc { at: r.offset, kind: r.kind, target: target(&r.target), addend: r.addend })
                .collect(),
            traps: buffer.traps().iter().map(|t| (t.offset, t.code)).collect(),
            stack_maps: (buffer.user_stack_maps().iter())
                .map(|(ret, frame_size, map)| StackMap {
                    ret: *ret,
                    frame_size: *frame_size,
                    slots: map.entries().map(|(_, slot)| slot).collect(),
                })
                .collect(),
            handlers: (buffer.call_sites())
                .filter_map(|site| match site.exception_handlers {
                    [FinalizedMachExceptionHandler::Default(target)] => {
                        Some(Handler { ret: site.ret_addr, target: *target, frame_size: site.frame_offset? })
                    }
                    _ => None,
                })
                .collect(),
            positions: buffer.get_srclocs_sorted().iter().map(|s| (s.start, s.loc.bits())).collect(),
            origins: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{compile, import, isa, signature};
    use super::*;
    use crate::info::Reloc;
    use cranelift_codegen::ir::{AbiParam, InstBuilder, MemFlagsData, Signature, SourceLoc, types};
    use cranelift_codegen::isa::CallConv;

    fn reloc(kind: RelocKind, target: RelocTarget, addend: i64) -> CompiledCode {
        CompiledCode {
            code: vec![0; 8],
            align: 1,
            relocs: vec![Reloc { at: 0, kind, target, addend }],
            ..Default::default()
        }
    }

    #[test]
    fn functions_call_each_other_and_are_found() {
        let isa = isa(false);
        let convention = CallConv::SystemV;
        let caller = compile(&isa, signature(convention, 2), |b| {
            let block = b.create_block();
            b.append_block_params_for_function_params(block);
            b.switch_to_block(block);
            b.set_srcloc(SourceLoc::new(1));
            let callee = import(b, 1, signature(convention, 2));
            let params = b.block_params(block).to_vec();
            b.set_srcloc(SourceLoc::new(7));
            let call = b.ins().call(callee, &params);
            let result = b.inst_results(call)[0];
            b.set_srcloc(SourceLoc::new(9));
            let result = b.ins().iadd_imm_s(result, 1);
            b.ins().return_(&[result]);
        });
        let callee = compile(&isa, signature(convention, 2), |b| {
            let block = b.create_block();
            b.append_block_params_for_function_params(block);
            b.switch_to_block(block);
            let &[x, y] = b.block_params(block) else { unreachable!() };
            let result = b.ins().udiv(x, y);
            b.ins().return_(&[result]);
        });
        let (call_at, traps) = (caller.relocs[0].at, callee.traps.clone());
        assert!(traps.iter().any(|t| t.1 == TrapCode::INTEGER_DIVISION_BY_ZERO), "{traps:?}");
        let object = CodeObject::publish(vec![caller, callee]).unwrap();
        // SAFETY: a function of this signature and convention.
        let f: extern "C" fn(u64, u64) -> u64 = unsafe { std::mem::transmute(object.address(0)) };
        assert_eq!(f(42, 5), 9);

        let (first, second) = (object.address(0) as usize, object.address(1) as usize);
        assert_eq!((first % 16, second % 16), (0, 0));
        assert_eq!(object.lookup(first), Some((0, 0)));
        assert_eq!(object.lookup(first + object.size(0)), Some((0, object.size(0) as u32)), "a return address");
        assert_eq!(object.lookup(second), Some((1, 0)));
        assert_eq!(object.lookup(first - 1), None);
        assert_eq!(object.lookup(second + object.size(1)), Some((1, object.size(1) as u32)));
        assert_eq!(object.lookup(second + object.size(1) + 1), None);
        for (offset, code) in traps {
            assert_eq!(object.trap_code(second + offset as usize), Some(code));
        }
        assert_eq!(object.trap_code(first), None);
        assert_eq!(object.functions_at(first + call_at as usize), [(0, Some(7))]);
        assert_eq!(object.function_bytes(1).len(), object.size(1));
    }

    #[test]
    fn library_functions_are_linked() {
        let mut round = Signature::new(CallConv::SystemV);
        round.params = vec![AbiParam::new(types::F64)];
        round.returns = round.params.clone();
        // Processors of old have no instruction for it.
        let code = compile(&isa(true), round, |b| {
            let block = b.create_block();
            b.append_block_params_for_function_params(block);
            b.switch_to_block(block);
            let x = b.block_params(block)[0];
            let x = b.ins().nearest(x);
            b.ins().return_(&[x]);
        });
        if cfg!(target_arch = "x86_64") {
            assert!(matches!(code.relocs[0].target, RelocTarget::LibCall(LibCall::NearestF64)), "{code:?}");
        }
        let object = CodeObject::publish(vec![code]).unwrap();
        // SAFETY: a function of this signature and convention.
        let f: extern "C" fn(f64) -> f64 = unsafe { std::mem::transmute(object.address(0)) };
        assert_eq!([0.5, 1.5, 2.5, -3.7f64].map(|x| f(x)), [0.0, 2.0, 2.0, -4.0]);
        // A signalling NaN becomes quiet and stays what it is else.
        assert_eq!(f(f64::from_bits(0xfff4_0000_0000_0001)).to_bits(), 0xfffc_0000_0000_0001);
    }

    #[test]
    fn bytes_are_shuffled_without_an_instruction_for_it() {
        let signature = signature(CallConv::SystemV, 3);
        // (x, indices, result): addresses of vectors.
        let code = compile(&isa(true), signature, |b| {
            let block = b.create_block();
            b.append_block_params_for_function_params(block);
            b.switch_to_block(block);
            let &[x, indices, result] = b.block_params(block) else { unreachable!() };
            let flags = MemFlagsData::new();
            let x = b.ins().load(types::I8X16, flags, x, 0);
            let indices = b.ins().load(types::I8X16, flags, indices, 0);
            let swizzled = b.ins().swizzle(x, indices);
            b.ins().store(flags, swizzled, result, 0);
            b.ins().return_(&[result]);
        });
        if cfg!(target_arch = "x86_64") {
            assert!(matches!(code.relocs[0].target, RelocTarget::LibCall(LibCall::X86Pshufb)), "{code:?}");
        }
        let object = CodeObject::publish(vec![code]).unwrap();
        type Swizzle = extern "C" fn(&[u8; 16], &[u8; 16], &mut [u8; 16]) -> u64;
        // SAFETY: a function of this signature and convention.
        let f: Swizzle = unsafe { std::mem::transmute(object.address(0)) };
        let mut result = [0xff; 16];
        f(
            &std::array::from_fn(|i| i as u8 + 100),
            &[15, 0, 1, 14, 16, 17, 127, 128, 255, 3, 3, 3, 7, 8, 9, 10],
            &mut result,
        );
        assert_eq!(result, [115, 100, 101, 114, 0, 0, 0, 0, 0, 103, 103, 103, 107, 108, 109, 110]);
    }

    #[test]
    fn relocations_compute_what_their_kind_says() {
        let at = |object: &CodeObject, i: usize| u64::from_le_bytes(object.function_bytes(i).try_into().unwrap());
        let object = CodeObject::publish(vec![
            reloc(RelocKind::Abs8, RelocTarget::Function(1), 3),
            reloc(RelocKind::X86CallPCRel4, RelocTarget::Function(0), -4),
            reloc(RelocKind::Arm64Call, RelocTarget::Function(0), 0),
        ])
        .unwrap();
        assert_eq!(at(&object, 0), object.address(1) as u64 + 3);
        assert_eq!(at(&object, 1) as u32 as i32, -20);
        assert_eq!(at(&object, 2) as u32, (-8i32 as u32) & 0x03ff_ffff);
    }

    #[test]
    fn what_cannot_be_linked_is_an_error() {
        let far = reloc(RelocKind::X86CallPCRel4, RelocTarget::LibCall(LibCall::Memcpy), -4);
        let unknown = reloc(RelocKind::Abs8, RelocTarget::LibCall(LibCall::ElfTlsGetAddr), 0);
        let distant = reloc(RelocKind::X86PCRel4, RelocTarget::Function(0), 1 << 40);
        let kind = reloc(RelocKind::X86SecRel, RelocTarget::Function(0), 0);
        for code in [far, unknown, distant, kind] {
            let error = CodeObject::publish(vec![code]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
        }
    }

    #[test]
    fn no_functions_are_no_code() {
        let object = CodeObject::publish(vec![]).unwrap();
        assert!(object.is_empty() && object.range().is_empty());
        assert_eq!(object.lookup(object.range().start), None);
    }

    #[test]
    fn maps_find_the_object_of_an_address() {
        let mut map = CodeMap::new();
        let objects: Vec<_> = (0..20)
            .map(|tag| {
                let code = reloc(RelocKind::Abs8, RelocTarget::Function(0), 0);
                let object = Arc::new(CodeObject::publish(vec![code]).unwrap());
                map.insert(object.clone(), tag);
                object
            })
            .collect();
        for (tag, object) in objects.iter().enumerate() {
            let range = object.range();
            for pc in [range.start, range.end - 1] {
                let (found, found_tag) = map.lookup(pc).unwrap();
                assert_eq!((found.range(), found_tag), (range.clone(), tag as u32));
            }
            assert!(map.lookup(range.end).is_none(), "the rest of the page");
        }
        assert!(map.lookup(0).is_none() && map.lookup(usize::MAX).is_none());
    }
}
