//! Calls from the host, and what they come to.

use engine::{Error, Instance, Result, Store, Trap, Val};

pub fn call(store: &mut Store<()>, instance: Instance, name: &str, args: &[Val]) -> Result<Vec<Val>> {
    instance.get_func(&mut *store, name).unwrap().call(store, args)
}

#[track_caller]
pub fn trap(result: Result<impl Sized>) -> Trap {
    match result {
        Ok(_) => panic!("no trap"),
        Err(error) => error.trap().unwrap_or_else(|| panic!("no trap: {error}")),
    }
}

#[track_caller]
pub fn says(error: &Error, parts: &[&str]) {
    let text = error.to_string();
    parts.iter().for_each(|part| assert!(text.contains(part), "`{part}` is missing: {text}"));
}
