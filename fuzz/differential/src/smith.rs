//! Modules of `wasm-smith`'s with what both Gleaner and Wasmtime support.

use arbitrary::{Arbitrary, Result, Unstructured};
use engine::FEATURES;
use std::sync::LazyLock;
use wasm_smith::{Config, Module};
use wasmparser::WasmFeatures as F;

/// What a module may import, as `gleaner_side` and `wasmtime_side` define it.
pub const IMPORTS: &str = r#"
    (module
      (import "host" "log" (func (param i32 i64 f32 f64)))
      (import "host" "see" (func (param anyref)))
      (import "host" "see_extern" (func (param externref)))
      (import "host" "make" (func (result externref)))
      (import "host" "small" (func (param i32) (result anyref)))
      (import "host" "swap" (func (param anyref externref) (result externref anyref)))
      (import "host" "number" (global (mut i64)))
      (import "host" "any" (global (mut anyref)))
      (import "host" "functions" (table 10 20 funcref))
      (import "host" "anys" (table 4 8 anyref))
      (import "host" "memory" (memory 1 3))
      (import "host" "thrown" (tag (param i32 externref))))
"#;

/// What of it is not a function.
pub const PROVIDER: &str = r#"
    (module
      (global (export "number") (mut i64) (i64.const 42))
      (global (export "any") (mut anyref) (ref.null any))
      (table (export "functions") 10 20 funcref)
      (table (export "anys") 4 8 anyref)
      (memory (export "memory") 1 3)
      (tag (export "thrown") (param i32 externref)))
"#;

/// Loop iterations and calls that a module may make: then it traps, everywhere in the same place.
const FUEL: u32 = 1_000;
/// Bytes of memories, which are compared after each run.
const MEMORY: u64 = 4 << 16;

/// A module, and what decides over the arguments of its functions.
#[derive(Debug)]
pub struct Input {
    /// The module.
    pub binary: Vec<u8>,
    /// Decides over arguments, the level of optimisation and which of Wasmtime's collectors is the peer.
    pub seed: u64,
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let seed = u.arbitrary()?;
        let config = config(u)?;
        let mut module = Module::new(config, u)?;
        module.ensure_termination(FUEL).expect("no function is anything but wasm-smith's");
        Ok(Input { binary: module.to_bytes(), seed })
    }
}

fn config(u: &mut Unstructured<'_>) -> Result<Config> {
    static AVAILABLE: LazyLock<Vec<u8>> = LazyLock::new(|| wat::parse_str(IMPORTS).expect("well-formed"));
    Ok(Config {
        available_imports: if u.arbitrary()? { Some(AVAILABLE.clone()) } else { None },
        max_imports: 0,
        // Programs that trap early show little.
        disallow_traps: u.ratio(2, 3)?,
        // What nobody else can reach is compiled in other ways: tables, above all.
        export_everything: u.ratio(2, 3)?,
        canonicalize_nans: true,
        max_exports: 200,
        min_types: 8,
        min_funcs: 6,
        max_funcs: 12,
        min_globals: 2,
        min_memories: u.ratio(1, 2)? as u32,
        min_tables: u.ratio(1, 2)? as u32,
        max_instructions: if u.arbitrary()? { 60 } else { 400 },
        max_types: 24,
        max_globals: 12,
        max_tags: 4,
        max_tables: 3,
        max_table_elements: 100,
        table_max_size_required: true,
        max_memories: if FEATURES.contains(F::MULTI_MEMORY) { 2 } else { 1 },
        max_memory32_bytes: MEMORY,
        max_memory64_bytes: MEMORY.into(),
        memory_max_size_required: true,
        max_data_segments: 8,
        max_element_segments: 8,
        limit_arrays_in_const_exprs: true,
        simd_enabled: FEATURES.contains(F::SIMD),
        memory64_enabled: FEATURES.contains(F::MEMORY64),
        wide_arithmetic_enabled: FEATURES.contains(F::WIDE_ARITHMETIC),
        custom_page_sizes_enabled: FEATURES.contains(F::CUSTOM_PAGE_SIZES),
        // Its results are up to the engine.
        relaxed_simd_enabled: false,
        // Not in Wasmtime as it is built here.
        threads_enabled: false,
        compact_imports_enabled: false,
        generate_custom_sections: false,
        ..Config::default()
    })
}
