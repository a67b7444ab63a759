//! `gleaner heapmap`: a page that shows what a heap's memory is used for, collection by collection.

use super::program::Program;
use super::{Checks, Gc, Limits, UsageError};
use crate::heapmap::Recorder;
use crate::output::Output;
use crate::text;
use crate::wasi::Exit;
use crate::whole_file::WholeFile;
use anyhow::Context;
use clap::Args;
use engine::{Engine, Error, ErrorKind, Store};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Run a program, and write a page that steps through its collections: what memory is used for before and after each
#[derive(Args)]
#[command(after_help = "\
The page needs nothing beside itself: any browser opens it. It shows 400 collections at most, evenly spaced when there are more, and
16,384 cells of memory at most. A program that traps, as when its heap is full, has a page, too.")]
pub struct Heapmap {
    /// The collector, with its options; `gleaner collectors` lists them, and says which is the default
    #[arg(long, value_name = "NAME[:KEY=VALUE]…", value_parser = Gc::parse)]
    gc: Option<Gc>,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    checks: Checks,
    /// The page [default: one called like the program, here, that ends in .heapmap.html]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    program: Program,
}

impl Heapmap {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        self.limits.on_stack(|| self.run())?
    }

    fn run(&self) -> anyhow::Result<ExitCode> {
        let gc = self.gc.clone().unwrap_or_else(Gc::default);
        let engine = Engine::with_config(self.checks.apply(self.limits.config(&gc)))?;
        let mut store = Store::new(&engine, ())?;
        let output = Output::stdout();
        let target = self.target();
        if target.is_dir() {
            return Err(UsageError(format!("--output {}: this is a directory", target.display())).into());
        }
        let cannot = || format!("{}: the page cannot be written", target.display());
        let mut to = WholeFile::create(&target).with_context(cannot)?;

        let recorder = Recorder::watch(&mut store);
        let result = self.program.run(&mut store, &output, || ());
        let flushed = output.flush();
        let code = match &result {
            Ok(()) => Some(ExitCode::SUCCESS),
            Err(error) => match error.downcast_ref::<Error>() {
                Some(error) => match (error.host_error::<Exit>(), error.kind()) {
                    (Some(Exit(code)), _) => Some(ExitCode::from(*code as u8)),
                    (None, ErrorKind::Trap(_) | ErrorKind::Exception(_) | ErrorKind::Host(_)) => None,
                    // The program did not begin.
                    _ => return result.map(|()| ExitCode::SUCCESS),
                },
                None => return result.map(|()| ExitCode::SUCCESS),
            },
        };
        let name = Path::new(self.program.file()).file_name().unwrap_or_default().to_string_lossy();
        let about = [format!("{}: {}", gc.spec, engine.gc().info().summary)];
        let page = recorder.page(&store, &format!("{name} under {}", gc.spec), &about)?;
        page.write(&mut to).and_then(|()| to.finish()).with_context(cannot)?;
        eprintln!("{}: {} collections", target.display(), text::count(page.collections() as u64));
        flushed?;
        match code {
            Some(code) => Ok(code),
            None => result.map(|()| ExitCode::SUCCESS),
        }
    }

    fn target(&self) -> PathBuf {
        self.output.clone().unwrap_or_else(|| {
            let stem = Path::new(self.program.file()).file_stem().unwrap_or_default();
            Path::new(stem).with_extension("heapmap.html")
        })
    }
}
