//! Which public types may go to another thread, and which several threads may use: the table in the crate's documentation, as the
//! compiler sees it.

use engine::types::{FuncType, HeapType, SubType, TypeRegistry, ValType};
use engine::*;
use std::cell::Cell;
use std::marker::PhantomData;

/// Whether a type is `Send`, and whether it is `Sync`: constants of its own stand before the trait's, where it has them.
#[allow(dead_code, reason = "only the compiler looks at it")]
struct Is<T: ?Sized>(PhantomData<T>);

trait Otherwise {
    const SEND: bool = false;
    const SYNC: bool = false;
}

impl<T: ?Sized> Otherwise for T {}

impl<T: ?Sized + Send> Is<T> {
    const SEND: bool = true;
}

impl<T: ?Sized + Sync> Is<T> {
    const SYNC: bool = true;
}

macro_rules! table {
    ($($ty:ty: $send:literal $sync:literal;)*) => {$(
        const _: () = assert!(Is::<$ty>::SEND == $send && Is::<$ty>::SYNC == $sync, stringify!($ty));
    )*};
}

table! {
    // What threads share.
    Config: true true;
    Engine: true true;
    Module: true true;
    TypeRegistry: true true;
    Linker<()>: true true;
    // Its functions take a store with the data, they do not hold one.
    Linker<Cell<u8>>: true true;
    InstancePre<()>: true true;
    SharedMemory: true true;
    StructRefPre: true true;
    ArrayRefPre: true true;
    RecGroup: true true;
    Member: true true;
    DefinedGroup: true true;
    // A store is what its data is.
    Store<()>: true true;
    Store<Cell<u8>>: true false;
    Store<std::rc::Rc<u8>>: false false;
    StoreContext<'static, ()>: true true;
    StoreContextMut<'static, ()>: true true;
    Caller<'static, ()>: true true;
    RootScope<&'static mut Store<()>>: true true;
    RootScope<&'static mut Store<std::rc::Rc<u8>>>: false false;
    // Handles: of use with their store only.
    Instance: true true;
    Func: true true;
    TypedFunc<i32, Option<Rooted<ExternRef>>>: true true;
    Global: true true;
    Table: true true;
    Memory: true true;
    Tag: true true;
    Extern: true true;
    Rooted<AnyRef>: true true;
    Rooted<ExternRef>: true true;
    Rooted<StructRef>: true true;
    Rooted<ExnRef>: true true;
    Val: true true;
    V128: true true;
    // Values.
    Error: true true;
    Trap: true true;
    WasmBacktrace: true true;
    Stats: true true;
    Setting: true true;
    StoreLimits: true true;
    dyn ResourceLimiter: true true;
    FuncType: true true;
    SubType: true true;
    ValType: true true;
    HeapType: true true;
}

#[test]
fn the_documentation_names_every_type_that_is_checked_here() {
    let docs = include_str!("../src/lib.rs");
    for name in [
        "Engine",
        "Module",
        "Linker",
        "InstancePre",
        "SharedMemory",
        "StructRefPre",
        "ArrayRefPre",
        "Store",
        "Caller",
        "RootScope",
        "Func",
        "Rooted",
        "Val",
        "Error",
    ] {
        assert!(docs.contains(&format!("[`{name}`]")), "{name}");
    }
}
