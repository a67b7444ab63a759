//! `gleaner characterise`: what a program does with its objects.

use super::program::Program;
use super::{Gc, Limits, print, table};
use crate::collectors::census::{COLLECTOR, Card, NURSERIES};
use crate::output::Output;
use crate::text;
use crate::wasi::Exit;
use anyhow::Context;
use clap::Args;
use engine::{Engine, Error, Store};
use std::process::ExitCode;

/// Measure what a program does with its objects: how many, how large, how long they live
#[derive(Args)]
#[command(after_help = "\
All numbers are counts, the same at every run and on every machine. The program runs on a heap that is never collected, so that it
allocates 4GiB at most; take a smaller size where it traps. What it prints is left out.

What lives is what can be reached from the roots, looked at each time that so much has been allocated: 1 KiB, 2 KiB, 4 KiB and so on,
and from 1 MiB on each MiB. The survival of a nursery is the share of its bytes that live when it has just been filled. Depth is the
number of objects on the shortest path from a root to the object that is farthest off. A type is acyclic when none of its objects can
be in a cycle of references, by what the program declares. Instructions are units of fuel.")]
pub struct Characterise {
    #[command(flatten)]
    limits: Limits,
    /// Print the numbers as a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    program: Program,
}

impl Characterise {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        let (card, instructions) = self.limits.on_stack(|| self.measure())??;
        let text = if self.json { format!("{}\n", json(&card, instructions)) } else { show(&card, instructions) };
        print(&text)?;
        Ok(ExitCode::SUCCESS)
    }

    /// The program's card, and how many instructions it executed.
    fn measure(&self) -> anyhow::Result<(Card, u64)> {
        let runtime = COLLECTOR.with(&Default::default()).context("it has no options")?;
        let gc = Gc { spec: COLLECTOR.info.name.into(), runtime };
        let engine = Engine::with_config(self.limits.config(&gc).consume_fuel(true))?;
        let mut store = Store::new(&engine, ())?;
        store.set_fuel(u64::MAX)?;
        if let Err(error) = self.program.run(&mut store, &Output::none(), || ()) {
            let exit = error.downcast_ref::<Error>().and_then(Error::host_error::<Exit>);
            if exit.is_none_or(|exit| exit.0 != 0) {
                return Err(error);
            }
        }
        let card = Card::of(&store.stats().counters).context("the census counts nothing")?;
        Ok((card, u64::MAX - store.get_fuel()?))
    }
}

/// `part / whole`, or nothing where there is no whole.
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// A share as a percentage.
fn percent(share: Option<f64>) -> String {
    share.map_or("–".into(), |share| format!("{:.1} %", share * 100.0))
}

fn show(card: &Card, instructions: u64) -> String {
    let mut table = table();
    let mut row = |name: &str, exact: String, meaning: String| {
        table.add_row([name, &exact, &meaning]);
    };
    let number = |ratio: Option<f64>, unit: &str| ratio.map_or("–".into(), |ratio| format!("{ratio:.2}{unit}"));
    row("instructions", text::count(instructions), String::new());
    row("objects allocated", text::count(card.objects), String::new());
    let per_thousand = number(ratio(card.bytes * 1000, instructions), " per 1,000 instructions");
    row("bytes allocated", text::count(card.bytes), per_thousand);
    row("bytes an object", number(ratio(card.bytes, card.objects), ""), String::new());
    let per_object = number(ratio(card.object_writes, card.objects), " an object");
    row("references written into objects", text::count(card.object_writes), per_object);
    row("references written into globals and tables", text::count(card.root_writes), String::new());
    row("objects of acyclic types", text::count(card.acyclic), percent(ratio(card.acyclic, card.objects)));
    row("bytes live at the most", text::count(card.live_bytes), text::size(card.live_bytes));
    row("objects live at the most", text::count(card.live_objects), String::new());
    row("depth of the live graph at the most", text::count(card.depth), String::new());
    for ((nursery, (all, survived)), share) in NURSERIES.iter().zip(card.windows).zip(card.survival()) {
        row(
            &format!("bytes surviving a nursery of {}", text::size(*nursery)),
            text::count(survived),
            if all > 0 { format!("{} of {}", percent(share), text::count(all)) } else { "it was never filled".into() },
        );
    }
    format!("{table}\n")
}

fn json(card: &Card, instructions: u64) -> serde_json::Value {
    let survival: Vec<serde_json::Value> = NURSERIES
        .iter()
        .zip(card.windows)
        .map(|(nursery, (all, survived))| {
            serde_json::json!({"nursery_bytes": nursery, "bytes": all, "survived_bytes": survived})
        })
        .collect();
    serde_json::json!({
        "instructions": instructions,
        "objects": card.objects,
        "bytes": card.bytes,
        "acyclic_objects": card.acyclic,
        "object_writes": card.object_writes,
        "root_writes": card.root_writes,
        "live_bytes": card.live_bytes,
        "live_objects": card.live_objects,
        "depth": card.depth,
        "survival": survival,
    })
}
