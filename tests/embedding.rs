//! The examples of the embedding API (`examples/embed`), run under every collector.

use gleaner::collectors::COLLECTORS;
use std::fs;
use std::path::Path;

/// Includes each example as a module, and runs it as a test of its name.
macro_rules! examples {
    ($($file:literal $name:ident),* $(,)?) => {
        $(
            #[allow(dead_code, reason = "an example's `main`")]
            #[path = $file]
            mod $name;

            #[test]
            fn $name() {
                for collector in COLLECTORS {
                    println!("{}", collector.info.name);
                    $name::run(collector.with(&Default::default()).unwrap()).unwrap();
                }
            }
        )*
        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

examples! {
    "../examples/embed/host_functions.rs" host_functions,
    "../examples/embed/host_objects.rs" host_objects,
    "../examples/embed/limits.rs" limits,
    "../examples/embed/linking.rs" linking,
    "../examples/embed/look_at_the_heap.rs" look_at_the_heap,
    "../examples/embed/precompiled.rs" precompiled,
}

#[test]
fn no_example_is_left_out() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/embed");
    for file in fs::read_dir(folder).unwrap() {
        let name = file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_string();
        assert!(NAMES.contains(&name.as_str()), "{name}");
    }
}
