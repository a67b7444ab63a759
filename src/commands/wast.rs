//! `gleaner wast`: runs the official test suite, or scripts like its.

use super::{Checks, Gc, UsageError, print, table};
use crate::suite::{self, Script};
use crate::wast::{WastReport, run_wast};
use crate::{collectors, text};
use anyhow::{Context, bail};
use clap::Args;
use comfy_table::CellAlignment;
use engine::{Config, Engine};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

/// Run test scripts (.wast), with every collector
#[derive(Args)]
pub struct WastCommand {
    /// A collector to run them with; may be given several times [default: every collector]
    #[arg(long, value_name = "NAME[:KEY=VALUE]…", value_parser = Gc::parse)]
    gc: Vec<Gc>,
    #[command(flatten)]
    checks: Checks,
    /// Run the official suite that is built in
    #[arg(long)]
    suite: bool,
    /// Print totals and failures alone, not each file
    #[arg(long)]
    quiet: bool,
    /// Scripts, or folders that are searched for scripts
    #[arg(value_name = "FILE|DIR")]
    files: Vec<String>,
}

impl WastCommand {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        if self.files.is_empty() && !self.suite {
            let what =
                "no script is named: give files or folders, or `--suite` for the official suite that is built in";
            return Err(UsageError(what.into()).into());
        }
        let mut scripts = if self.suite { suite::embedded() } else { Vec::new() };
        for file in &self.files {
            scripts.extend(suite::find(Path::new(file)).with_context(|| format!("reading {file}"))?);
        }
        if scripts.is_empty() {
            bail!("{} has no script: their names end in .wast", text::list(&self.files));
        }
        let collectors = match self.gc.as_slice() {
            [] => {
                collectors::names().map(|name| Gc::parse(name).map_err(anyhow::Error::msg)).collect::<Result<_, _>>()?
            }
            given => given.to_vec(),
        };
        let mut good = true;
        for gc in &collectors {
            let reports = run_all(gc, self.checks, &scripts)?;
            good &= reports.iter().all(|report| report.failed.is_empty());
            print(&self.show(gc, &reports))?;
        }
        Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The scripts under one collector, as a table, and what is to be said about them.
    fn show(&self, gc: &Gc, reports: &[WastReport]) -> String {
        let mut shown = table();
        shown.set_header([gc.spec.as_str(), "directives", "passed", "failed", "skipped"]);
        let mut row = |name: &str, [total, passed, failed, skipped]: [usize; 4]| {
            let count = |n: usize| text::count(n as u64);
            shown.add_row([name.to_string(), count(total), count(passed), count(failed), count(skipped)]);
        };
        let mut totals = [0; 4];
        for report in reports {
            let counts = [report.total(), report.passed, report.failed.len(), report.skipped.len()];
            totals.iter_mut().zip(counts).for_each(|(total, n)| *total += n);
            if !self.quiet {
                row(&report.name, counts);
            }
        }
        row(&format!("{} files", reports.len()), totals);
        for i in 1..5 {
            if let Some(column) = shown.column_mut(i) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let mut out = String::new();
        let mut line = |text: &str| out.extend([text.trim_end(), "\n"]);
        shown.lines().for_each(|text| line(&text));
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        reports
            .iter()
            .flat_map(|report| &report.skipped)
            .for_each(|skip| *reasons.entry(&skip.reason).or_default() += 1);
        for (reason, count) in reasons {
            line(&format!(" skipped for want of {reason}: {}", text::count(count as u64)));
        }
        for report in reports {
            for failure in &report.failed {
                line(&format!(" {}:{}: {}", report.name, failure.line, failure.message));
            }
        }
        line("");
        out
    }
}

/// Runs every script with one collector.
fn run_all(gc: &Gc, checks: Checks, scripts: &[Script]) -> anyhow::Result<Vec<WastReport>> {
    /// Enough for the suite's deepest recursion that should succeed, little for that which should not.
    const WASM_STACK: usize = 1 << 20;
    const STACK: usize = 16 << 20;
    let engine = Engine::with_config(checks.apply(Config::new(gc.runtime.clone()).max_wasm_stack(WASM_STACK)))?;
    std::thread::scope(|scope| {
        let run = || scripts.iter().map(|script| run_wast(&script.name, &script.text, &engine)).collect();
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run)?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
