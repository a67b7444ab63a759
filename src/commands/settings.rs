//! `gleaner settings`: what a program runs on, for a report or a record: options, limits, the collector, the compiler's
//! flags, the processor's features.

use super::{Gc, Limits, Tuning, print, table};
use crate::text;
use clap::Args;
use comfy_table::CellAlignment;
use engine::{Engine, Setting, SettingValue};
use gc_api::CollectorOptions;
use serde_json::{Map, Value};
use std::process::ExitCode;

/// Print the configuration that programs run with: options, sizes, the compiler's flags, the processor's features
#[derive(Args)]
pub struct SettingsCommand {
    /// The collector, with its options
    #[arg(long, value_name = "NAME[:KEY=VALUE]…", value_parser = Gc::parse)]
    gc: Option<Gc>,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    tuning: Tuning,
    /// Print JSON: an object of groups, each an object of values; sizes are in bytes
    #[arg(long)]
    json: bool,
}

impl SettingsCommand {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        let gc = self.gc.clone().unwrap_or_else(Gc::default);
        let engine = Engine::with_config(self.tuning.apply(self.limits.config(&gc)))?;
        let mut settings = engine.settings();
        // Behind the heap's, which names the collector.
        let heap = settings.iter().rposition(|setting| setting.group == "heap").map_or(0, |i| i + 1);
        settings.splice(heap..heap, collector(&gc)?);
        print(&if self.json { json(&settings) + "\n" } else { human(&settings) })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The collector's properties, and its options as they are: given, or by default.
fn collector(gc: &Gc) -> anyhow::Result<Vec<Setting>> {
    let info = gc.runtime.info();
    let (_, given) = CollectorOptions::parse(&gc.spec)?;
    let setting = |name: &str, value| Setting { group: "collector", name: name.into(), value };
    let mut settings = vec![
        setting("moving", SettingValue::Switch(info.moving)),
        setting("generational", SettingValue::Switch(info.generational)),
        setting("reclaims", SettingValue::Text(info.reclaims.name().into())),
    ];
    for option in info.options {
        let value = given.get(option.key).unwrap_or(option.default);
        settings.push(setting(&format!("option {}", option.key), SettingValue::Text(value.into())));
    }
    Ok(settings)
}

fn json(settings: &[Setting]) -> String {
    let mut groups: Map<String, Value> = Map::new();
    for Setting { group, name, value } in settings {
        let value = match value {
            SettingValue::Switch(on) => Value::from(*on),
            SettingValue::Number(n) | SettingValue::Bytes(n) => Value::from(*n),
            SettingValue::Text(text) => Value::from(text.as_str()),
        };
        let group = groups.entry(*group).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(group) = group {
            group.insert(name.clone(), value);
        }
    }
    format!("{:#}", Value::Object(groups))
}

/// A table: group, name, value, and a size in its unit.
fn human(settings: &[Setting]) -> String {
    let mut shown = table();
    let mut last = "";
    for Setting { group, name, value } in settings {
        let (value, unit) = match value {
            SettingValue::Switch(on) => (if *on { "on" } else { "off" }.to_string(), String::new()),
            SettingValue::Number(n) => (text::count(*n), String::new()),
            SettingValue::Bytes(n) => (format!("{} B", text::count(*n)), text::size(*n)),
            SettingValue::Text(text) => (text.clone(), String::new()),
        };
        shown.add_row([if *group == last { "" } else { group }, name, &value, &unit]);
        last = group;
    }
    if let Some(column) = shown.column_mut(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    shown.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
