//! From program counters to functions of WebAssembly.

use super::signals;
use super::store::StoreOpaque;
use super::unwind::{self, Backtrace};
use crate::api::{WasmBacktrace, WasmFrame};

/// The functions that are active now. Compiled code has been left, or there is none.
pub fn capture(store: &StoreOpaque) -> WasmBacktrace {
    let (mut frames, mut omitted) = (Vec::new(), 0);
    // SAFETY: the record lives as long as the store, and compiled code is not running.
    for bounds in unsafe { signals::activations(store.vm()) } {
        let mut backtrace = Backtrace::new();
        // SAFETY: each activation waits for what it called, so its frames are still there.
        backtrace.record(unsafe { unwind::frames(bounds) });
        frames.extend(backtrace.pcs().into_iter().filter_map(|pc| frame(store, pc - 1)));
        omitted += backtrace.omitted();
    }
    WasmBacktrace { frames, omitted }
}

/// The functions that were active at a fault, of which all but the newest were in a call; and those below.
pub fn of_fault(store: &StoreOpaque, fault: &Backtrace) -> WasmBacktrace {
    let pcs = fault.pcs().into_iter().enumerate().map(|(i, pc)| if i == 0 { pc } else { pc - 1 });
    let mut frames: Vec<_> = pcs.filter_map(|pc| frame(store, pc)).collect();
    // The activation of the fault has ended.
    let below = capture(store);
    frames.extend(below.frames);
    WasmBacktrace { frames, omitted: fault.omitted() + below.omitted }
}

/// The function that a return address leads into, and the instruction before it, in words.
pub fn place(store: &StoreOpaque, pc: usize) -> String {
    frame(store, pc.wrapping_sub(1)).map_or("code that is no function's".to_string(), |frame| frame.to_string())
}

fn frame(store: &StoreOpaque, pc: usize) -> Option<WasmFrame> {
    let (code, tag) = store.code.lookup(pc)?;
    let (defined, _) = code.lookup(pc)?;
    let info = &store.module(tag).info;
    let function = info.imported_funcs + defined as u32;
    Some(WasmFrame {
        function,
        name: info.func_name(function).map(str::to_string),
        module: info.name.clone(),
        offset: code.position(pc),
    })
}
