//! `gleaner collectors`: what collectors there are.

use super::print;
use crate::collectors::{COLLECTORS, DEFAULT, names};
use clap::Args;
use gc_api::CollectorInfo;
use std::fmt::Write;
use std::process::ExitCode;

/// List the collectors with their properties and options
#[derive(Args)]
pub struct CollectorsCommand {
    /// Print the names alone, one a line, for scripts
    #[arg(long)]
    names: bool,
}

impl CollectorsCommand {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        let mut text = String::new();
        if self.names {
            names().for_each(|name| text.extend([name, "\n"]));
        } else {
            for (i, collector) in COLLECTORS.iter().enumerate() {
                if i > 0 {
                    text.push('\n');
                }
                describe(&mut text, collector.info);
            }
        }
        print(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A paragraph about a collector.
fn describe(text: &mut String, info: &CollectorInfo) {
    let yes_no = |property: bool, yes: &'static str, no: &'static str| if property { yes } else { no };
    let properties = [
        yes_no(info.moving, "moving", "non-moving"),
        yes_no(info.generational, "generational", "not generational"),
        info.reclaims.name(),
    ];
    let mut rows = vec![("properties", properties.join(", ")), ("after", info.citation.to_string())];
    if !info.caveat.is_empty() {
        rows.push(("caveat", info.caveat.to_string()));
    }
    if info.options.is_empty() {
        rows.push(("options", "none".into()));
    }
    for (i, option) in info.options.iter().enumerate() {
        let option = format!(":{}={}  {} (default {})", option.key, option.values, option.summary, option.default);
        rows.push((if i == 0 { "options" } else { "" }, option));
    }
    // Writing to a string does not fail.
    let default = if info.name == DEFAULT.info.name { " (the default)" } else { "" };
    let _ = writeln!(text, "{}: {}{default}", info.name, info.summary);
    for (key, value) in rows {
        let _ = writeln!(text, "  {key:<11} {value}");
    }
}
