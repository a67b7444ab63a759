//! `gleaner minheap`: the smallest heap in which a program runs.

use super::bench::{What, configs, launcher};
use super::{print, table};
use crate::text;
use clap::Args;
use comfy_table::CellAlignment;
use lab::bench::Runner;
use lab::plan::{Config, Job, Plan};
use lab::programs::Program;
use lab::record::{Cell, Options, Purpose, Warmup};
use std::process::ExitCode;

/// Search the smallest heap in which each program runs under each collector, to the KiB
#[derive(Args)]
#[command(after_help = "\
The search doubles the heap until the program runs and then halves the gap, a process for each size. Out of heap and out of time both
count as too small: near the minimum a program may collect almost all the time, so choose --timeout with care. Each process leaves a record
in DIR/minheap.jsonl, from which `gleaner bench` takes its multiples; the same command goes on where it was stopped. Collectors that free
nothing are left out.")]
pub struct Minheap {
    #[command(flatten)]
    what: What,
}

impl Minheap {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        let plan = self.what.plan()?;
        let configs: Vec<Config> = configs(&plan)?.into_iter().filter(|config| config.reclaims).collect();
        let programs = self.what.programs(&plan)?;
        let mut runner = Runner::open(self.what.folder(), "minheap.jsonl", launcher()?)?;
        runner.show_search();
        let mut shown = table();
        shown.set_header(
            ["program".to_string()].into_iter().chain(configs.iter().map(|config| config.label.clone() + ", KiB")),
        );
        let mut failed = false;
        for program in &programs {
            let mut row = vec![program.name.clone()];
            for config in &configs {
                row.push(match runner.minheap(&search_job(&plan, program, config)) {
                    Ok(Some(bytes)) => text::count(bytes / 1024),
                    Ok(None) => "more than 4 GiB".into(),
                    Err(error) => {
                        failed = true;
                        runner.say(&format!("error: {error:#}"));
                        "failed".into()
                    }
                });
            }
            shown.add_row(row);
        }
        runner.end();
        for column in shown.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        print(&format!("{shown}\n"))?;
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// The search's job; its heap is filled in for each size.
pub fn search_job(plan: &Plan, program: &Program, config: &Config) -> Job {
    Job {
        purpose: Purpose::Minheap,
        cell: Cell { program: program.name.clone(), config: config.label.clone(), heap_bytes: 0 },
        invocation: 0,
        seed: 0,
        program: program.clone(),
        gc: config.gc.clone(),
        policy: plan.policy.clone(),
        multiple: None,
        minimum_bytes: None,
        options: Options {
            warmup: Warmup::First(0),
            iterations: 1,
            timeout_ms: (plan.timeout * 1e3) as u64,
            count_objects: false,
            inject: None,
            rate: None,
        },
        exe: None,
    }
}
