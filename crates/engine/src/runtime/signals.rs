//! Turns the faults of compiled code into traps.
//!
//! Compiled code does not test for everything that may go wrong: it executes an instruction that faults (an invalid one,
//! a division by zero, an access to unmapped memory) and says in its tables which trap that is. The system reports the
//! fault as a signal. The handler here
//!
//! 1. asks whether this thread runs compiled code (its newest [`Activation`]), and whether the program counter is one of an
//!    instruction with a trap code; if not, the fault is not ours, and goes on to whoever handled the signal before;
//! 2. records what happened, with a backtrace, in the activation;
//! 3. lets the thread go on at the entry trampoline's exception handler, which returns failure to the host.
//!
//! So a fault anywhere else, in the host, in a collector, or in compiled code at an instruction that should not fault,
//! still crashes the process. A stack overflow comes by the same way: functions compare the stack pointer
//! with a limit when they begin, and execute an invalid instruction.
//!
//! The handler runs on a stack of its own and calls nothing that allocates or locks.

use super::arch::{self, Registers};
use super::code::CodeMap;
use super::unwind::{self, Backtrace, Bounds, Frame};
use crate::vm::{VMStoreContext, trap_codes};
use cranelift_codegen::ir::TrapCode;
use gc_api::HEAP_SPAN;
use gc_api::sys::{Protection, Reservation, page_size};
use libc::{c_int, c_void, siginfo_t};
use std::cell::{Cell, UnsafeCell};
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

/// A trap, as the handler found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrapInfo {
    /// The instruction.
    pub pc: usize,
    /// The frame pointer of its function.
    pub fp: usize,
    /// Which trap.
    pub code: TrapCode,
    /// The address that could not be accessed, for accesses; the instruction's own else.
    pub fault_address: usize,
}

/// A call from the host into a store's compiled code.
#[derive(Debug)]
pub struct Activation {
    /// The store's record.
    pub store: *mut VMStoreContext,
    /// The code that the store may run.
    pub code: *const CodeMap,
    /// Set when the call has been ended by a fault.
    pub trap: Cell<Option<TrapInfo>>,
    /// Where the fault was; written together with `trap`.
    backtrace: UnsafeCell<Backtrace>,
    /// The thread's next older activation, of any store.
    prev: Cell<*const Activation>,
    /// What the call found in the store's record: the bounds there are those of the store's next older activation.
    outer: Cell<Outer>,
}

/// The part of [`VMStoreContext`] that belongs to an activation.
#[derive(Clone, Copy, Debug, Default)]
struct Outer {
    bounds: Bounds,
    entry_sp: usize,
    entry_handler: usize,
}

impl Activation {
    /// An activation that has yet to begin, in [`with_activation`].
    pub fn new(store: *mut VMStoreContext, code: *const CodeMap) -> Self {
        Activation {
            store,
            code,
            trap: Cell::new(None),
            backtrace: UnsafeCell::new(Backtrace::new()),
            prev: Cell::new(ptr::null()),
            outer: Cell::new(Outer::default()),
        }
    }

    /// The frames that the fault in `trap` ended; empty without a fault.
    pub fn backtrace(&self) -> Backtrace {
        // SAFETY: only the signal handler writes, while compiled code runs on this thread; that is not now.
        unsafe { *self.backtrace.get() }
    }
}

thread_local! {
    /// The thread's newest activation. Has no destructor and no initialisation, so that the handler may read it.
    static CURRENT: Cell<*const Activation> = const { Cell::new(ptr::null()) };
}

/// Runs `f`, which enters compiled code of `activation.store` once, with faults turned into traps.
///
/// The store's record of entry and exit is saved before and restored afterwards, also when `f` panics. Until compiled code is left
/// for the first time the activation has no frames to walk; after it has returned `f` must not have them walked.
///
/// # Safety
/// `activation.store` and `activation.code` are valid until `f` is done, and the latter knows all code that the store may
/// run. The code that `f` enters is that of an entry trampoline, which fills in the store's `entry_*`.
///
/// # Panics
/// When there is no memory for the thread's signal stack.
pub unsafe fn with_activation<R>(activation: &Activation, f: impl FnOnce() -> R) -> R {
    struct Pop<'a>(&'a Activation);
    impl Drop for Pop<'_> {
        fn drop(&mut self) {
            CURRENT.set(self.0.prev.get());
            let Outer { bounds: Bounds { exit_fp, exit_pc, entry_fp }, entry_sp, entry_handler } = self.0.outer.get();
            // SAFETY: valid by the promise to `with_activation`; compiled code does not run.
            let store = unsafe { &mut *self.0.store };
            (store.exit_fp, store.exit_pc) = (exit_fp, exit_pc);
            (store.entry_fp, store.entry_sp, store.entry_handler) = (entry_fp, entry_sp, entry_handler);
        }
    }
    ensure_signal_stack();
    // SAFETY: valid by the caller's promise; the reference is gone before `f` runs.
    let store = unsafe { &mut *activation.store };
    let (bounds, entry_sp, entry_handler) = (Bounds::of(store), store.entry_sp, store.entry_handler);
    activation.outer.set(Outer { bounds, entry_sp, entry_handler });
    (store.exit_fp, store.exit_pc) = (0, 0);
    activation.prev.set(CURRENT.replace(activation));
    let _pop = Pop(activation);
    f()
}

/// The bounds of all activations of a store, newest first: where its frames are. All are on this thread.
///
/// # Safety
/// The store is valid, and compiled code of its newest activation has been left, or not been entered. The iterator is used up
/// before that activation goes on or ends.
pub unsafe fn activations(store: *const VMStoreContext) -> impl Iterator<Item = Bounds> {
    // SAFETY: valid by the caller's promise.
    let mut bounds = Bounds::of(unsafe { &*store });
    let mut current = CURRENT.get();
    std::iter::from_fn(move || {
        while !current.is_null() {
            // SAFETY: activations are taken off the list before they are gone.
            let activation = unsafe { &*current };
            current = activation.prev.get();
            if ptr::eq(activation.store, store) {
                return Some(std::mem::replace(&mut bounds, activation.outer.get().bounds));
            }
        }
        None
    })
}

/// The signals by which systems report faults.
const SIGNALS: [c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// Who handled [`SIGNALS`] before.
struct Previous(UnsafeCell<[MaybeUninit<libc::sigaction>; SIGNALS.len()]>);

// SAFETY: written once, by `install`; each entry is written before the handler that reads it is installed.
unsafe impl Sync for Previous {}

static PREVIOUS: Previous = Previous(UnsafeCell::new([MaybeUninit::uninit(); SIGNALS.len()]));

/// Installs the handlers, once in a process, and gives this thread a stack to run them on.
///
/// # Errors
/// The system's, when it refuses: then there is no safe way to run compiled code.
///
/// # Panics
/// When there is no memory for the thread's signal stack.
pub fn install() -> io::Result<()> {
    static RESULT: OnceLock<Result<(), i32>> = OnceLock::new();
    let result = RESULT.get_or_init(|| {
        for (i, &signal) in SIGNALS.iter().enumerate() {
            // SAFETY: `sigaction` is plain data, valid as zeroes. The previous action is stored before the handler can
            // run and ask for it; `handle` has the signature that `SA_SIGINFO` stands for.
            let refused = unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                // Handlers do not block their signal: a fault in one that is called in turn is reported, not fatal.
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
                action.sa_sigaction = handle as Handler as usize;
                libc::sigemptyset(&mut action.sa_mask);
                libc::sigaction(signal, ptr::null(), (*PREVIOUS.0.get())[i].as_mut_ptr()) != 0
                    || libc::sigaction(signal, &action, ptr::null_mut()) != 0
            };
            if refused {
                return Err(io::Error::last_os_error().raw_os_error().unwrap_or(0));
            }
        }
        Ok(())
    });
    ensure_signal_stack();
    result.map_err(io::Error::from_raw_os_error)
}

type Handler = unsafe extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

unsafe extern "C" fn handle(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the system passes valid arguments.
    unsafe {
        if !trap(info, context) {
            chain(signal, info, context);
        }
    }
}

/// Ends the thread's newest activation if the fault is a trap of its code, and says whether it is.
///
/// # Safety
/// The arguments are those of a signal handler.
unsafe fn trap(info: *mut siginfo_t, context: *mut c_void) -> bool {
    // SAFETY: valid by the caller's promise; the field is the union's for all of `SIGNALS`.
    let (cause, fault_address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    // SAFETY: `with_activation` takes an activation off the list before it is gone.
    let Some(activation) = (unsafe { CURRENT.get().as_ref() }) else { return false };
    // Only the system's own reports have positive codes; others were sent by somebody.
    if cause <= 0 {
        return false;
    }
    let context = context.cast();
    // SAFETY: as above; the code map does not change while compiled code runs, and if this is not compiled code, then its
    // answer is not acted upon.
    let (Registers { pc, fp, .. }, code) = unsafe { (arch::interrupted(context), &*activation.code) };
    let Some((object, _)) = code.lookup(pc) else { return false };
    // SAFETY: as above.
    let heap = unsafe { (*activation.store).heap_base } as usize;
    // An access that cannot fault in a sound heap has no code of its own.
    let corrupt = || (fault_address.wrapping_sub(heap) < HEAP_SPAN as usize).then_some(trap_codes::HEAP_CORRUPTION);
    let Some(code) = object.trap_code(pc).or_else(corrupt) else { return false };
    // SAFETY: the thread runs compiled code of this activation, so its store's record is valid and describes the frames;
    // the handler of its `try_call` is there to be resumed at, and compiled frames have nothing to drop. Nobody has a
    // reference to the backtrace.
    unsafe {
        let store = &*activation.store;
        (*activation.backtrace.get()).record(unwind::frames_from(Frame { pc, fp }, store.entry_fp));
        activation.trap.set(Some(TrapInfo { pc, fp, code, fault_address }));
        arch::redirect(context, Registers { pc: store.entry_handler, sp: store.entry_sp, fp: store.entry_fp });
    }
    true
}

/// Does what would be done if this handler were not there.
///
/// # Safety
/// The arguments are those of a signal handler.
unsafe fn chain(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let Some(index) = SIGNALS.iter().position(|&s| s == signal) else { return };
    // SAFETY: `install` has stored it before the handler could run.
    let previous = unsafe { (*PREVIOUS.0.get())[index].assume_init_ref() };
    // SAFETY: valid by the caller's promise.
    let sent = unsafe { (*info).si_code } <= 0;
    // SAFETY: the previous handler gets what it would have got; `sigaction` and `raise` may be called in handlers.
    unsafe {
        match previous.sa_sigaction {
            libc::SIG_IGN if sent => {}
            libc::SIG_DFL | libc::SIG_IGN => {
                // A fault comes again when the handler returns, with nobody to ask; the system ends the process even if
                // faults are ignored. A signal that was sent would not come again.
                let mut default: libc::sigaction = std::mem::zeroed();
                default.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &default, ptr::null_mut());
                if sent {
                    libc::raise(signal);
                }
            }
            function if previous.sa_flags & libc::SA_SIGINFO != 0 => {
                std::mem::transmute::<usize, Handler>(function)(signal, info, context);
            }
            function => std::mem::transmute::<usize, unsafe extern "C" fn(c_int)>(function)(signal),
        }
    }
}

/// Enough for the handler, the registers that the system saves (vector registers of some machines take 11 KiB), and for a
/// handler that is called in turn.
const STACK_BYTES: usize = 64 << 10;

/// A stack for signal handlers, below which is a page that faults.
struct SignalStack {
    memory: Reservation,
}

thread_local! {
    /// `None` when the thread came with a stack that is large enough.
    static SIGNAL_STACK: Option<SignalStack> = SignalStack::for_this_thread();
}

/// Sees to it that the thread has a stack for signal handlers.
fn ensure_signal_stack() {
    // Where a thread is ending and its stack is gone already, handlers run on the thread's own.
    let _ = SIGNAL_STACK.try_with(|_| ());
}

impl SignalStack {
    fn for_this_thread() -> Option<SignalStack> {
        let current = current_stack();
        if current.ss_flags & libc::SS_DISABLE == 0 && current.ss_size >= STACK_BYTES {
            return None;
        }
        let guard = page_size();
        let bytes = STACK_BYTES.next_multiple_of(guard);
        let memory = Reservation::new(guard + bytes)
            .and_then(|m| m.protect(guard, bytes, Protection::ReadWrite).map(|()| m))
            .expect("memory for a signal stack");
        let stack = libc::stack_t { ss_sp: memory.base().wrapping_add(guard).cast(), ss_flags: 0, ss_size: bytes };
        // SAFETY: the memory is readable and writable, and remains until `drop` has taken it out of use.
        let result = unsafe { libc::sigaltstack(&stack, ptr::null_mut()) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        Some(SignalStack { memory })
    }
}

impl Drop for SignalStack {
    fn drop(&mut self) {
        let current = current_stack();
        let base = self.memory.base() as usize;
        // The stack that was there before may be gone by now: it is not put back.
        if (base..base + self.memory.len()).contains(&(current.ss_sp as usize)) {
            let none = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: STACK_BYTES };
            // SAFETY: from here on handlers run on the thread's own stack, as before.
            unsafe { libc::sigaltstack(&none, ptr::null_mut()) };
        }
    }
}

fn current_stack() -> libc::stack_t {
    let mut stack = MaybeUninit::zeroed();
    // SAFETY: a query, into memory of the right type, which zeroes initialise should it fail.
    unsafe {
        libc::sigaltstack(ptr::null(), stack.as_mut_ptr());
        stack.assume_init()
    }
}

#[cfg(test)]
mod tests {
    use super::super::code::CodeObject;
    use super::super::code::testing::{compile, import, isa, signature};
    use super::*;
    use cranelift_codegen::ir::condcodes::IntCC;
    use cranelift_codegen::ir::{BlockArg, BlockCall, ExceptionTableData, ExceptionTableItem, MemFlagsData, Signature};
    use cranelift_codegen::ir::{InstBuilder, Value, types};
    use cranelift_codegen::isa::CallConv;
    use cranelift_frontend::FunctionBuilder;
    use std::os::unix::process::ExitStatusExt;
    use std::sync::Arc;

    const TRUSTED: MemFlagsData = MemFlagsData::trusted();

    /// Store and one more word → one word.
    fn wasm() -> Signature {
        signature(CallConv::Tail, 2)
    }

    fn params(b: &mut FunctionBuilder<'_>) -> [Value; 2] {
        let block = b.create_block();
        b.append_block_params_for_function_params(block);
        b.switch_to_block(block);
        b.block_params(block).try_into().unwrap()
    }

    /// Calls function `callee` with `args`, goes on with its result in the new current block, and returns `u64::MAX`, or
    /// the payload if `payload`, when it is unwound. `before` may store the handler's address.
    fn try_call(
        b: &mut FunctionBuilder<'_>,
        callee: u32,
        args: &[Value],
        payload: bool,
        before: impl FnOnce(&mut FunctionBuilder<'_>, Value),
    ) -> Value {
        let callee = import(b, callee, wasm());
        let (call, normal, unwound) = (b.create_block(), b.create_block(), b.create_block());
        let result = b.append_block_param(normal, types::I64);
        let word = b.append_block_param(unwound, types::I64);
        b.ins().jump(call, &[]);
        b.switch_to_block(call);
        let handler = b.ins().get_exception_handler_address(types::I64, call, 0);
        before(b, handler);
        let signature = b.func.dfg.ext_funcs[callee].signature;
        let pool = &mut b.func.dfg.value_lists;
        let returned = BlockCall::new(normal, [BlockArg::TryCallRet(0)], pool);
        let caught = BlockCall::new(unwound, [BlockArg::TryCallExn(0)], pool);
        let table = ExceptionTableData::new(signature, returned, [ExceptionTableItem::Default(caught)]);
        let table = b.func.dfg.exception_tables.push(table);
        b.ins().try_call(callee, args, table);
        b.switch_to_block(unwound);
        let failed = b.ins().iconst(types::I64, -1);
        b.ins().return_(&[if payload { word } else { failed }]);
        b.switch_to_block(normal);
        result
    }

    /// The entry trampoline, function 0; it calls function 1.
    fn entry(b: &mut FunctionBuilder<'_>) {
        let [store, x] = params(b);
        let result = try_call(b, 1, &[store, x], false, |b, handler| {
            let fp = b.ins().get_frame_pointer(types::I64);
            let sp = b.ins().get_stack_pointer(types::I64);
            b.ins().store(TRUSTED, fp, store, VMStoreContext::ENTRY_FP);
            b.ins().store(TRUSTED, sp, store, VMStoreContext::ENTRY_SP);
            b.ins().store(TRUSTED, handler, store, VMStoreContext::ENTRY_HANDLER);
        });
        b.ins().return_(&[result]);
    }

    /// An exit trampoline to `host`.
    fn exit(host: Host) -> impl FnOnce(&mut FunctionBuilder<'_>) {
        move |b| {
            let [store, x] = params(b);
            let fp = b.ins().get_frame_pointer(types::I64);
            let pc = b.ins().get_return_address(types::I64);
            b.ins().store(TRUSTED, fp, store, VMStoreContext::EXIT_FP);
            b.ins().store(TRUSTED, pc, store, VMStoreContext::EXIT_PC);
            let signature = b.import_signature(signature(CallConv::SystemV, 2));
            let callee = b.ins().iconst(types::I64, host as usize as i64);
            let call = b.ins().call_indirect(signature, callee, &[store, x]);
            let result = b.inst_results(call)[0];
            b.ins().return_(&[result]);
        }
    }

    type Host = extern "C" fn(&VMStoreContext, u64) -> u64;

    /// A store's record and its code.
    struct Store {
        record: VMStoreContext,
        code: CodeMap,
        object: Arc<CodeObject>,
    }

    impl Store {
        /// `functions` follow the entry trampoline.
        fn new(functions: Vec<crate::info::CompiledCode>) -> Box<Store> {
            install().unwrap();
            let mut all = vec![compile(&isa(false), signature(CallConv::SystemV, 2), entry)];
            all.extend(functions);
            let object = Arc::new(CodeObject::publish(all).unwrap());
            let mut code = CodeMap::new();
            code.insert(object.clone(), 0);
            // SAFETY: all fields may be zero.
            let mut store = Box::new(Store { record: unsafe { std::mem::zeroed() }, code, object });
            store.record.store = (&raw mut *store).cast();
            // There is no heap: nothing lies in its span.
            store.record.heap_base = ptr::without_provenance_mut(1 << 63);
            store
        }

        /// Enters function 1.
        fn call(&mut self, x: u64) -> (u64, Activation) {
            // SAFETY: the entry trampoline has this signature.
            let entry: extern "C" fn(*mut VMStoreContext, u64) -> u64 =
                unsafe { std::mem::transmute(self.object.address(0)) };
            let activation = Activation::new(&raw mut self.record, &raw const self.code);
            // SAFETY: both are part of `self`.
            let result = unsafe { with_activation(&activation, || entry(activation.store, x)) };
            (result, activation)
        }
    }

    /// Recurses `n` deep, then divides by zero.
    fn recursive(b: &mut FunctionBuilder<'_>) {
        let [store, n] = params(b);
        let (more, end) = (b.create_block(), b.create_block());
        let zero = b.ins().icmp_imm_u(IntCC::Equal, n, 0);
        b.ins().brif(zero, end, &[], more, &[]);
        b.switch_to_block(end);
        let ten = b.ins().iconst(types::I64, 10);
        let result = b.ins().udiv(ten, n);
        b.ins().return_(&[result]);
        b.switch_to_block(more);
        let fewer = b.ins().iadd_imm_s(n, -1);
        let callee = import(b, 1, wasm());
        let call = b.ins().call(callee, &[store, fewer]);
        let result = b.inst_results(call)[0];
        let result = b.ins().iadd(result, n);
        b.ins().return_(&[result]);
    }

    #[test]
    fn a_fault_with_a_trap_code_is_a_trap() {
        let mut store = Store::new(vec![compile(&isa(false), wasm(), recursive)]);
        for depth in [0, 5, 2000, 1] {
            let (result, activation) = store.call(depth);
            assert_eq!(result, u64::MAX);
            let trap = activation.trap.get().expect("a trap");
            assert_eq!(trap.code, TrapCode::INTEGER_DIVISION_BY_ZERO);
            assert_eq!(store.object.lookup(trap.pc).unwrap().0, 1);
            let backtrace = activation.backtrace();
            assert_eq!(backtrace.depth() as u64, depth + 1);
            let pcs = backtrace.pcs();
            assert_eq!(pcs[0], trap.pc);
            assert!(pcs.iter().all(|&pc| store.object.lookup(pc).unwrap().0 == 1));
            assert!(CURRENT.get().is_null());
        }
    }

    #[test]
    fn traps_come_on_threads_too() {
        let threads = (0..4).map(|_| std::thread::spawn(a_fault_with_a_trap_code_is_a_trap));
        for thread in threads.collect::<Vec<_>>() {
            thread.join().unwrap();
        }
    }

    /// Runs a test of this module in another process, with `CRASH` set, and returns the signal that ended it.
    fn crash(test: &str) -> Option<i32> {
        let module = module_path!().split_once("::").unwrap().1;
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", &format!("{module}::{test}"), "--nocapture"]).env("CRASH", "1");
        let output = child.output().unwrap();
        assert!(!String::from_utf8_lossy(&output.stdout).contains("running 0 tests"), "no test {module}::{test}");
        output.status.signal()
    }

    #[test]
    fn a_fault_of_the_hosts_ends_the_process() {
        extern "C" fn host(_: &VMStoreContext, _: u64) -> u64 {
            // SAFETY: none; it is to crash. The page is mapped nowhere.
            unsafe { *std::hint::black_box(64 as *const u64) }
        }
        if std::env::var_os("CRASH").is_none() {
            return assert_eq!(crash("a_fault_of_the_hosts_ends_the_process"), Some(libc::SIGSEGV));
        }
        Store::new(vec![compile(&isa(false), wasm(), exit(host))]).call(0);
    }

    #[test]
    fn a_fault_without_a_trap_code_ends_the_process() {
        if std::env::var_os("CRASH").is_none() {
            return assert_eq!(crash("a_fault_without_a_trap_code_ends_the_process"), Some(libc::SIGSEGV));
        }
        let code = compile(&isa(false), wasm(), |b| {
            let [_, address] = params(b);
            let result = b.ins().load(types::I64, TRUSTED, address, 0);
            b.ins().return_(&[result]);
        });
        // Mapped nowhere, and outside of what would be a heap at the record's base, 0.
        Store::new(vec![code]).call(1 << 46);
    }

    #[test]
    fn a_signal_from_outside_is_not_swallowed() {
        if std::env::var_os("CRASH").is_none() {
            return assert_eq!(crash("a_signal_from_outside_is_not_swallowed"), Some(libc::SIGSEGV));
        }
        extern "C" fn host(_: &VMStoreContext, _: u64) -> u64 {
            // SAFETY: sends signals. The first goes to Rust's handler, which expects a fault to come again.
            unsafe { (libc::raise(libc::SIGSEGV) + libc::raise(libc::SIGSEGV)) as u64 }
        }
        Store::new(vec![compile(&isa(false), wasm(), exit(host))]).call(0);
    }

    #[test]
    fn roots_on_the_stack_are_seen_and_may_move() {
        extern "C" fn host(store: &VMStoreContext, _: u64) -> u64 {
            let mut seen = Vec::new();
            // SAFETY: called through an exit trampoline, by a `Store` that still exists.
            unsafe {
                let code = &(*store.store.cast::<Store>()).code;
                unwind::visit_stack_roots(code, Bounds::of(store), &mut |slot| {
                    seen.push(slot.get());
                    slot.set(slot.get() + 1000);
                });
            }
            assert_eq!(seen, [10, 5], "newest frame first");
            0
        }
        /// Passes the reference `x + step` to function `callee` and returns what it is then, plus the call's result.
        fn hold(callee: u32, step: i64) -> impl FnOnce(&mut FunctionBuilder<'_>) {
            move |b| {
                let [store, x] = params(b);
                let x = b.ins().iadd_imm_s(x, step);
                let reference = b.ins().ireduce(types::I32, x);
                b.declare_value_needs_stack_map(reference);
                let callee = import(b, callee, wasm());
                let call = b.ins().call(callee, &[store, x]);
                let result = b.inst_results(call)[0];
                let reference = b.ins().uextend(types::I64, reference);
                let result = b.ins().iadd(result, reference);
                b.ins().return_(&[result]);
            }
        }
        let isa = isa(false);
        let mut store = Store::new(vec![
            compile(&isa, wasm(), hold(2, 1)),
            compile(&isa, wasm(), hold(3, 5)),
            compile(&isa, wasm(), exit(host)),
        ]);
        assert_eq!(store.call(4).0, 1005 + 1010);
    }

    #[test]
    fn nested_activations_are_all_listed() {
        extern "C" fn host(record: &VMStoreContext, depth: u64) -> u64 {
            let (store, newest) = (record.store.cast::<Store>(), Bounds::of(record));
            // SAFETY: compiled code has been left, and all activations wait.
            let listed: Vec<_> = unsafe { activations(record) }.collect();
            assert_eq!((listed.len() as u64, listed[0]), (4 - depth, newest));
            // SAFETY: as above.
            assert!(listed.iter().all(|&bounds| unsafe { unwind::frames(bounds) }.count() == 1));
            assert!(listed.is_sorted_by_key(|bounds| bounds.entry_fp), "newest first");
            if depth > 0 {
                // SAFETY: the test's store, which waits.
                let (result, activation) = unsafe { (*store).call(depth - 1) };
                assert_eq!((result, activation.trap.get()), (1, None));
            }
            assert_eq!(Bounds::of(record), newest, "as before the call");
            0
        }
        let isa = isa(false);
        let function = compile(&isa, wasm(), |b| {
            let [store, x] = params(b);
            let callee = import(b, 2, wasm());
            let call = b.ins().call(callee, &[store, x]);
            let result = b.inst_results(call)[0];
            let result = b.ins().iadd_imm_s(result, 1);
            b.ins().return_(&[result]);
        });
        let mut store = Store::new(vec![function, compile(&isa, wasm(), exit(host))]);
        assert_eq!(store.call(3).0, 1);
        assert_eq!(Bounds::of(&store.record), Bounds::default());
    }

    #[test]
    fn exceptions_go_to_the_newest_handler() {
        extern "C" fn host(store: &VMStoreContext, x: u64) -> u64 {
            // SAFETY: called through an exit trampoline, by a `Store` that still exists; nothing here is to be dropped.
            unsafe {
                let code = &(*store.store.cast::<Store>()).code;
                let target = unwind::find_handler(code, Bounds::of(store));
                let target = target.unwrap_or(unwind::Target {
                    pc: store.entry_handler,
                    sp: store.entry_sp,
                    fp: store.entry_fp,
                });
                arch::resume(target.pc, target.sp, target.fp, x as usize + 1, 0)
            }
        }
        let isa = isa(false);
        let pass = |callee: u32| {
            move |b: &mut FunctionBuilder<'_>| {
                let [store, x] = params(b);
                let callee = import(b, callee, wasm());
                let call = b.ins().call(callee, &[store, x]);
                let result = b.inst_results(call)[0];
                let result = b.ins().iadd_imm_s(result, 100);
                b.ins().return_(&[result]);
            }
        };
        let catch = |b: &mut FunctionBuilder<'_>| {
            let [store, x] = params(b);
            let result = try_call(b, 3, &[store, x], true, |_, _| {});
            b.ins().return_(&[result]);
        };
        let mut store = Store::new(vec![
            compile(&isa, wasm(), pass(2)),
            compile(&isa, wasm(), catch),
            compile(&isa, wasm(), pass(4)),
            compile(&isa, wasm(), exit(host)),
        ]);
        assert_eq!(store.call(7).0, 108, "caught by function 2 with the payload, returned to function 1");
        let mut store = Store::new(vec![compile(&isa, wasm(), pass(2)), compile(&isa, wasm(), exit(host))]);
        assert_eq!(store.call(7).0, u64::MAX, "caught by nobody");
    }

    #[test]
    fn the_signal_stack_is_large_and_goes_with_its_thread() {
        std::thread::spawn(|| {
            install().unwrap();
            let stack = current_stack();
            assert!(stack.ss_flags & libc::SS_DISABLE == 0 && stack.ss_size >= STACK_BYTES);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_panic_ends_the_activation() {
        let store = Store::new(vec![compile(&isa(false), wasm(), recursive)]);
        let activation = Activation::new((&raw const store.record).cast_mut(), &store.code);
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // SAFETY: `store` exists until the end.
            unsafe { with_activation(&activation, || panic!("on purpose")) }
        }));
        assert!(panic.is_err() && CURRENT.get().is_null());
    }
}
