//! What an engine is made of, for people to read and for records of experiments.

use super::engine::{NullChecks, Pooling, Profiler};
use super::{Config, Engine, Zeal};
use crate::compile::OptLevel;
use crate::limits::LIMITS;
use crate::runtime::memory::{MAX_MEMORY_BYTES, UNBOUNDED_RESERVATION};
use crate::vm::{MEMORY_GUARD, MEMORY_RESERVATION, TableInit};
use cranelift_codegen::settings::{SettingKind, Value};
use gc_api::sys::page_size;
use gc_api::{FIRST_INDEX, GUARD_BYTES, INDEX_SPACE};

/// Something that decides how an engine works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// What it belongs to: `engine`, `heap`, `memory`, `limits`, `cranelift`, `processor` and so on.
    pub group: &'static str,
    /// Its name, in its group.
    pub name: String,
    /// Its value.
    pub value: SettingValue,
}

/// The value of a [`Setting`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingValue {
    /// On or off.
    Switch(bool),
    /// A number.
    Number(u64),
    /// A number of bytes.
    Bytes(u64),
    /// Something else.
    Text(String),
}

use SettingValue::{Bytes, Number, Switch};

fn text(value: impl Into<String>) -> SettingValue {
    SettingValue::Text(value.into())
}

impl Engine {
    /// What this engine is made of: its configuration, sizes that are fixed, the numbers at which a module is refused, and what
    /// Cranelift compiles for and how. Not the collector's options, which the collector alone knows.
    ///
    /// ```
    /// # let engine = engine::Engine::new(gc_null::COLLECTOR.with(&Default::default()).unwrap()).unwrap();
    /// let settings = engine.settings();
    /// let stack = settings.iter().find(|s| (s.group, s.name.as_str()) == ("engine", "max_wasm_stack")).unwrap();
    /// assert_eq!(stack.value, engine::SettingValue::Bytes(1 << 20));
    /// assert!(settings.iter().any(|s| s.group == "cranelift" && s.name == "opt_level"));
    /// ```
    pub fn settings(&self) -> Vec<Setting> {
        let isa = &*self.compiler().isa;
        let target = vec![
            ("version", text(env!("CARGO_PKG_VERSION"))),
            ("cranelift", text(cranelift_codegen::VERSION)),
            ("triple", text(isa.triple().to_string())),
            ("isa", text(isa.name())),
            ("page_size", Bytes(page_size() as u64)),
        ];
        let heap = vec![
            ("collector", text(self.gc().info().name)),
            ("reference_bits", Number(32)),
            ("index_space", Bytes(INDEX_SPACE)),
            ("first_index", Bytes(u64::from(FIRST_INDEX))),
            ("guard", Bytes(GUARD_BYTES)),
        ];
        let memory = vec![
            ("reservation_32_bit", Bytes(MEMORY_RESERVATION)),
            ("reservation_unbounded", Bytes(UNBOUNDED_RESERVATION)),
            ("guard_64_bit", Bytes(MEMORY_GUARD)),
            ("max", Bytes(MAX_MEMORY_BYTES)),
        ];
        let limits = LIMITS.iter().map(|limit| (limit.name, Number(limit.max))).collect();
        let groups = [
            ("target", target),
            ("engine", self.config().settings()),
            ("heap", heap),
            ("memory", memory),
            ("limits", limits),
        ];
        let own = groups.into_iter().flat_map(|(group, settings)| {
            settings.into_iter().map(move |(name, value)| Setting { group, name: name.into(), value })
        });
        let flags = |group, values: Vec<Value>| {
            values.into_iter().filter(|value| value.kind() != SettingKind::Preset).map(move |value| Setting {
                group,
                name: value.name.into(),
                value: setting_value(&value),
            })
        };
        own.chain(flags("cranelift", isa.flags().iter().collect())).chain(flags("processor", isa.isa_flags())).collect()
    }
}

impl Config {
    /// Every option, in the order of its field.
    fn settings(&self) -> Vec<(&'static str, SettingValue)> {
        // All of them are named, so that none that is added is forgotten. The collector stands with the heap.
        let Config {
            gc: _,
            heap_limit,
            initial_heap,
            heap_policy,
            max_wasm_stack,
            opt_level,
            count_objects,
            null_checks,
            parallel,
            profiler,
            zeal,
            verify,
            observe_allocations,
            table_init,
            inline_calls,
            unroll_loops,
            call_indirect_cache,
            epoch_interruption,
            pooling: Pooling { heaps, memories, tables, resident },
            consume_fuel,
            relaxed_simd_deterministic,
        } = self;
        let opt_level = match opt_level {
            OptLevel::None => "none",
            OptLevel::Speed => "speed",
        };
        let null_checks = match null_checks {
            NullChecks::Faults => "faults",
            NullChecks::Explicit => "explicit",
        };
        let profiler = match profiler {
            Profiler::None => "none",
            Profiler::PerfMap => "perfmap",
        };
        let table_init = match table_init {
            TableInit::Lazy => "lazy",
            TableInit::Eager => "eager",
        };
        vec![
            ("heap_limit", Bytes(*heap_limit)),
            ("initial_heap", Bytes(*initial_heap)),
            ("heap_policy", text(heap_policy.name())),
            ("max_wasm_stack", Bytes(*max_wasm_stack as u64)),
            ("opt_level", text(opt_level)),
            ("count_objects", Switch(*count_objects)),
            ("null_checks", text(null_checks)),
            ("parallel", Switch(*parallel)),
            ("profiler", text(profiler)),
            ("zeal", text(if *zeal == Zeal::OFF { "off".to_string() } else { zeal.to_string() })),
            ("observe_allocations", Switch(*observe_allocations)),
            ("verify", Switch(*verify)),
            ("table_init", text(table_init)),
            ("inline_calls", Switch(*inline_calls)),
            ("unroll_loops", Switch(*unroll_loops)),
            ("call_indirect_cache", Switch(*call_indirect_cache)),
            ("epoch_interruption", Switch(*epoch_interruption)),
            ("consume_fuel", Switch(*consume_fuel)),
            ("relaxed_simd_deterministic", Switch(*relaxed_simd_deterministic)),
            ("pooled_heaps", Number(*heaps as u64)),
            ("pooled_memories", Number(*memories as u64)),
            ("pooled_tables", Number(*tables as u64)),
            ("pooled_resident", Bytes(*resident as u64)),
        ]
    }
}

fn setting_value(value: &Value) -> SettingValue {
    match value.kind() {
        SettingKind::Bool => Switch(value.as_bool() == Some(true)),
        SettingKind::Num => Number(value.as_num().unwrap_or_default().into()),
        SettingKind::Enum | SettingKind::Preset => text(value.value_string()),
    }
}
