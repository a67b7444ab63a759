//! Makes the changes of the chapters, so that they are compiled.

#[allow(dead_code)]
#[path = "src/text.rs"]
mod text;

use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed={}", text::folder().display());
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    text::write_states("src".as_ref(), &out);
}
