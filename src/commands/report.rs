//! `gleaner report`: records as a page.

use super::UsageError;
use crate::whole_file::WholeFile;
use anyhow::Context;
use clap::Args;
use lab::files::{OnDamage, Records};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Make a page from records: curves, overheads, pauses, counters and where each number comes from, in one HTML file
#[derive(Args)]
#[command(after_help = "\
The page needs nothing beside itself and opens in any browser without a network. It has total, mutator and collector time over heap size;
lower-bound overheads; mutator utilisation; pauses; latencies; counters; which collector wins, for programs with a parameter; smallest
heaps; and what the records say of machine, builds and options. Sections without records are left out. What failed is shown as failed, and
what is doubtful is said beside what it concerns.

Exit codes: 0 the page is written; 1 it is not, or with --strict a record is damaged.")]
pub struct Report {
    /// Files of records, and folders of them: what `gleaner bench` and `gleaner minheap` wrote
    #[arg(required = true, value_name = "DIR|FILE")]
    records: Vec<PathBuf>,
    /// Where the page goes
    #[arg(long, short, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
    /// What stands at its top [default: the records' names]
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Give up at the first damaged record, instead of leaving it out with a note
    #[arg(long)]
    strict: bool,
}

impl Report {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        let on_damage = if self.strict { OnDamage::Fail } else { OnDamage::Skip };
        let read = Records::read(&self.records, on_damage)?;
        for damage in &read.damaged {
            eprintln!("warning: {damage}");
        }
        if read.records.is_empty() {
            let names: Vec<String> = self.records.iter().map(|path| path.display().to_string()).collect();
            let damaged = read.damaged.len();
            return Err(UsageError(format!(
                "{}: no records to show, {damaged} damaged; `gleaner bench -o DIR` makes some",
                names.join(", ")
            ))
            .into());
        }
        let page = lab::report::html(&read, &self.title());
        let written = WholeFile::create(&self.output).and_then(|mut file| {
            file.write_all(page.as_bytes())?;
            file.finish()
        });
        written.with_context(|| self.output.display().to_string())?;
        let damaged = match read.damaged.len() {
            0 => String::new(),
            damaged => format!(", {damaged} damaged left out"),
        };
        eprintln!("{}: {} records{damaged}", self.output.display(), read.records.len());
        Ok(ExitCode::SUCCESS)
    }

    fn title(&self) -> String {
        let name = |path: &PathBuf| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let names = || self.records.iter().map(name).collect::<Vec<_>>().join(", ");
        self.title.clone().unwrap_or_else(|| format!("Garbage collectors measured: {}", names()))
    }
}
