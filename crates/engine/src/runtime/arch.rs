//! What neither Rust nor Cranelift can say: setting the stack pointer, and a machine's registers in a signal's context.
//!
//! All of Gleaner's inline assembly is here. Generated code cannot take this role: Cranelift gives no access to the
//! stack and frame pointers of a frame other than its own, and these functions leave one frame for another.

use libc::ucontext_t;

/// Registers of interrupted code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// Program counter.
    pub pc: usize,
    /// Stack pointer.
    pub sp: usize,
    /// Frame pointer.
    pub fp: usize,
}

/// Goes on at `pc` in an older frame, with two payload words where an exception handler of Cranelift's expects them. The
/// frames in between cease to exist.
///
/// # Safety
/// `pc` is the exceptional continuation of a `try_call` that is active in the frame whose pointers `sp` and `fp` are;
/// no frame that is given up has anything left to drop.
pub unsafe fn resume(pc: usize, sp: usize, fp: usize, payload0: usize, payload1: usize) -> ! {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: by the caller's promise the state is that of an exceptional return from the call; every register is
    // clobbered by a `try_call`.
    unsafe {
        std::arch::asm!(
            "mov rsp, {sp}",
            "mov rbp, {fp}",
            "jmp {pc}",
            sp = in(reg) sp, fp = in(reg) fp, pc = in(reg) pc,
            in("rax") payload0, in("rdx") payload1,
            options(noreturn),
        )
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!(
            "mov sp, {sp}",
            "mov x29, {fp}",
            "br {pc}",
            sp = in(reg) sp, fp = in(reg) fp, pc = in(reg) pc,
            in("x0") payload0, in("x1") payload1,
            options(noreturn),
        )
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = (pc, sp, fp, payload0, payload1);
        unreachable!("no code is generated for this machine")
    }
}

/// Makes code that was just written visible to instruction fetches. x86-64 needs nothing for that; AArch64 does.
pub fn flush_instructions(code: &[u8]) {
    #[cfg(all(target_arch = "aarch64", target_os = "macos"))]
    {
        unsafe extern "C" {
            fn sys_icache_invalidate(start: *const libc::c_void, bytes: usize);
        }
        // SAFETY: the range is a live slice; the call changes no contents.
        unsafe { sys_icache_invalidate(code.as_ptr().cast(), code.len()) }
    }
    #[cfg(all(target_arch = "aarch64", not(target_os = "macos")))]
    {
        // Smallest cache lines that the architecture allows: more steps than needed, never too few.
        const LINE: usize = 16;
        let start = code.as_ptr() as usize & !(LINE - 1);
        let end = code.as_ptr() as usize + code.len();
        // SAFETY: cache maintenance by address over a live slice, which is allowed in user mode and changes no contents.
        unsafe {
            for line in (start..end).step_by(LINE) {
                std::arch::asm!("dc cvau, {}", in(reg) line, options(nostack));
            }
            std::arch::asm!("dsb ish", options(nostack));
            for line in (start..end).step_by(LINE) {
                std::arch::asm!("ic ivau, {}", in(reg) line, options(nostack));
            }
            std::arch::asm!("dsb ish", "isb", options(nostack));
        }
    }
    #[cfg(not(target_arch = "aarch64"))]
    let _ = code;
}

/// The registers of the code that a signal interrupted.
///
/// # Safety
/// `context` is the third argument of a signal handler that is running.
pub unsafe fn interrupted(context: *const ucontext_t) -> Registers {
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    {
        // SAFETY: the system made the context, and it lives as long as the handler runs.
        let registers = unsafe { &(*context).uc_mcontext.gregs };
        Registers {
            pc: registers[libc::REG_RIP as usize] as usize,
            sp: registers[libc::REG_RSP as usize] as usize,
            fp: registers[libc::REG_RBP as usize] as usize,
        }
    }
    #[cfg(all(target_os = "linux", target_arch = "aarch64"))]
    {
        // SAFETY: the system made the context, and it lives as long as the handler runs.
        let machine = unsafe { &(*context).uc_mcontext };
        Registers { pc: machine.pc as usize, sp: machine.sp as usize, fp: machine.regs[29] as usize }
    }
    #[cfg(all(target_os = "macos", target_arch = "aarch64"))]
    {
        // SAFETY: the system made the context, and it lives as long as the handler runs.
        let state = unsafe { &(*(*context).uc_mcontext).__ss };
        Registers { pc: state.__pc as usize, sp: state.__sp as usize, fp: state.__fp as usize }
    }
    #[cfg(all(target_os = "macos", target_arch = "x86_64"))]
    {
        // SAFETY: the system made the context, and it lives as long as the handler runs.
        let state = unsafe { &(*(*context).uc_mcontext).__ss };
        Registers { pc: state.__rip as usize, sp: state.__rsp as usize, fp: state.__rbp as usize }
    }
}

/// Makes the interrupted thread go on with `to` and both payload registers 0 once the handler returns.
///
/// # Safety
/// As for [`interrupted`], and as for [`resume`].
pub unsafe fn redirect(context: *mut ucontext_t, to: Registers) {
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    {
        // SAFETY: the handler owns the context while it runs.
        let registers = unsafe { &mut (*context).uc_mcontext.gregs };
        registers[libc::REG_RIP as usize] = to.pc as i64;
        registers[libc::REG_RSP as usize] = to.sp as i64;
        registers[libc::REG_RBP as usize] = to.fp as i64;
        registers[libc::REG_RAX as usize] = 0;
        registers[libc::REG_RDX as usize] = 0;
    }
    #[cfg(all(target_os = "linux", target_arch = "aarch64"))]
    {
        // SAFETY: the handler owns the context while it runs.
        let machine = unsafe { &mut (*context).uc_mcontext };
        machine.pc = to.pc as u64;
        machine.sp = to.sp as u64;
        machine.regs[29] = to.fp as u64;
        machine.regs[0] = 0;
        machine.regs[1] = 0;
    }
    #[cfg(all(target_os = "macos", target_arch = "aarch64"))]
    {
        // SAFETY: the handler owns the context while it runs.
        let state = unsafe { &mut (*(*context).uc_mcontext).__ss };
        state.__pc = to.pc as u64;
        state.__sp = to.sp as u64;
        state.__fp = to.fp as u64;
        state.__x[0] = 0;
        state.__x[1] = 0;
    }
    #[cfg(all(target_os = "macos", target_arch = "x86_64"))]
    {
        // SAFETY: the handler owns the context while it runs.
        let state = unsafe { &mut (*(*context).uc_mcontext).__ss };
        state.__rip = to.pc as u64;
        state.__rsp = to.sp as u64;
        state.__rbp = to.fp as u64;
        state.__rax = 0;
        state.__rdx = 0;
    }
}
