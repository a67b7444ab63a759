//! Collectors' code, run so that what goes wrong in it is found: a panic is caught, with its place and without a word on standard
//! error; recursion over objects overflows a stack that is small, in a thread that is named after the script.

use crate::machine::panic_text;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

/// Bytes of the stack: a frame for each object of the longest list does not fit.
const STACK: usize = 1 << 20;

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What `f` gives, or what it says when it panics, and where. Panics of this thread stay from the hook that was set before, which
/// may end the process: libFuzzer's does.
pub fn catching<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |info| match CATCHING.get() {
            true => PLACE.set(info.location().map(ToString::to_string).unwrap_or_default()),
            false => others(info),
        }));
    });
    let outer = CATCHING.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(f));
    CATCHING.set(outer);
    outcome.map_err(|payload| format!("{}, at {}", panic_text(&*payload), PLACE.take()))
}

/// Runs `f` in a thread of this name whose stack is small. When it overflows, the process ends, and names the thread.
pub fn on_small_stack<T: Send>(name: &str, f: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(name.to_string()).stack_size(STACK);
        let thread = thread.spawn_scoped(scope, f).expect("the system gives threads");
        thread.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_with_its_place() {
        let said = catching(|| -> () { panic!("seven") }).unwrap_err();
        assert!(said.starts_with("seven, at ") && said.contains("isolate.rs:"), "{said}");
        assert_eq!(catching(|| 7), Ok(7));
        assert!(!CATCHING.get());
    }

    #[test]
    fn a_small_stack_has_its_name() {
        let name = on_small_stack("of this name", || std::thread::current().name().map(str::to_string));
        assert_eq!(name.as_deref(), Some("of this name"));
    }
}
