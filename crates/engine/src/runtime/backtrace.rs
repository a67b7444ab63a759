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
        frames.extend(backtrace.pcs().into_iter().flat_map(|pc| frames_at(store, pc - 1)));
        omitted += omitted_by(store, &backtrace);
    }
    WasmBacktrace { frames, omitted }
}

/// The functions that were active at a fault, of which all but the newest were in a call; and those below.
pub fn of_fault(store: &StoreOpaque, fault: &Backtrace) -> WasmBacktrace {
    let pcs = fault.pcs().into_iter().enumerate().map(|(i, pc)| if i == 0 { pc } else { pc - 1 });
    let mut frames: Vec<_> = pcs.flat_map(|pc| frames_at(store, pc)).collect();
    // The activation of the fault has ended.
    let below = capture(store);
    frames.extend(below.frames);
    WasmBacktrace { frames, omitted: omitted_by(store, fault) + below.omitted }
}

/// Functions that were active in the frames that a backtrace leaves out. A frame of which it knows nothing counts as one.
fn omitted_by(store: &StoreOpaque, backtrace: &Backtrace) -> usize {
    let (mut functions, mut frames) = (0, 0);
    for (pc, times) in backtrace.left_out() {
        functions += times * frames_at(store, pc - 1).len();
        frames += times;
    }
    functions + (backtrace.omitted() - frames)
}

/// The function that a return address leads into, and the instruction before it, in words.
pub fn place(store: &StoreOpaque, pc: usize) -> String {
    let innermost = frames_at(store, pc.wrapping_sub(1)).into_iter().next();
    innermost.map_or("code that is no function's".to_string(), |frame| frame.to_string())
}

/// The function that a return address leads into, by name: of those that were inlined there the innermost.
pub fn function(store: &StoreOpaque, pc: usize) -> String {
    let innermost = frames_at(store, pc.wrapping_sub(1)).into_iter().next();
    innermost.map_or("code that is no function's".to_string(), |frame| match frame.name {
        Some(name) => format!("${name}"),
        None => format!("function {}", frame.function),
    })
}

/// The functions that are executed at `pc`, the innermost first: one, and those that were inlined into it.
fn frames_at(store: &StoreOpaque, pc: usize) -> Vec<WasmFrame> {
    let Some((code, tag)) = store.code.lookup(pc) else { return Vec::new() };
    let info = &store.module(tag).info;
    let frame = |(defined, offset)| {
        let function = info.imported_funcs + defined as u32;
        WasmFrame { function, name: info.func_name(function).map(str::to_string), module: info.name.clone(), offset }
    };
    code.functions_at(pc).into_iter().map(frame).collect()
}
