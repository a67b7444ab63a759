//! `gleaner compile`: what functions are compiled to, under one collector or several side by side.

use super::{Gc, Tuning, UsageError, print};
use crate::text;
use anyhow::Context;
use clap::{Args, ValueEnum};
use engine::{Config, Emit, Engine, Module};
use std::cell::RefCell;
use std::fs;
use std::process::ExitCode;

/// Print the code that functions are compiled to, or write it to a file
#[derive(Args)]
pub struct Compile {
    /// What to print
    #[arg(long, value_name = "FORM", value_enum, required_unless_present = "output")]
    emit: Option<Form>,
    /// Print nothing, but write the code of all functions to OUT, for `gleaner run --allow-precompiled OUT`
    #[arg(short, long, value_name = "OUT", conflicts_with_all = ["emit", "func", "width"])]
    output: Option<String>,
    /// Have the code in OUT count objects, as `gleaner run --stats` wants it
    #[arg(long, requires = "output")]
    stats: bool,
    /// The function, by name or by index [default: every function]
    #[arg(long, value_name = "NAME|INDEX")]
    func: Option<String>,
    /// Also print the code between functions, the host and the runtime: trampolines and builtins
    #[arg(long, conflicts_with = "func")]
    trampolines: bool,
    /// The collector whose barriers are compiled in; with several, their code stands side by side
    #[arg(long, value_name = "NAME[:KEY=VALUE]…", value_parser = Gc::parse)]
    gc: Vec<Gc>,
    #[command(flatten)]
    tuning: Tuning,
    /// How wide a column is when there are several
    #[arg(long, value_name = "CHARACTERS")]
    width: Option<usize>,
    /// The module, as a binary or as text
    file: String,
}

/// The forms of code.
#[derive(Clone, Copy, ValueEnum)]
enum Form {
    /// Cranelift's intermediate form, before optimisation
    Clif,
    /// Machine code, after register allocation
    Asm,
}

/// A column's width when none is given and the terminal's is not known.
const COLUMN: usize = 76;

impl Compile {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        let collectors = if self.gc.is_empty() { vec![Gc::default()] } else { self.gc.clone() };
        let source = fs::read(&self.file).with_context(|| format!("reading {}", self.file))?;
        if let Some(output) = &self.output {
            self.save(&collectors, &source, output)?;
            return Ok(ExitCode::SUCCESS);
        }
        let columns = collectors.iter().map(|gc| self.emit(gc, &source)).collect::<anyhow::Result<Vec<_>>>()?;
        let mut shown = String::new();
        // Every column has the same functions.
        for i in 0..columns[0].len() {
            let texts = columns.iter().zip(&collectors).map(|(column, gc)| {
                let (name, code) = &column[i];
                format!(";; {name} under {}\n{}\n", gc.spec, code.trim_end())
            });
            match texts.collect::<Vec<String>>().as_slice() {
                [text] => shown.push_str(text),
                texts => shown.push_str(&text::side_by_side(texts, self.column(texts.len()))),
            }
            shown.push('\n');
        }
        print(&shown)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Writes the precompiled module to `output`.
    fn save(&self, collectors: &[Gc], source: &[u8], output: &str) -> anyhow::Result<()> {
        let [gc] = collectors else {
            return Err(UsageError("a file has code for one collector: give one `--gc` with `-o`".into()).into());
        };
        let config = self.tuning.apply(Config::new(gc.runtime.clone())).count_objects(self.stats);
        let engine = Engine::with_config(config)?;
        let file = engine.precompile_module(source).with_context(|| self.file.clone())?;
        fs::write(output, file).with_context(|| format!("writing {output}"))
    }

    /// The functions that are asked for, compiled under `gc`: name (or index) and code of each.
    fn emit(&self, gc: &Gc, source: &[u8]) -> anyhow::Result<Vec<(String, String)>> {
        let engine = Engine::with_config(self.tuning.apply(Config::new(gc.runtime.clone())))?;
        let emit = match self.emit {
            Some(Form::Clif) => Emit::Clif,
            Some(Form::Asm) | None => Emit::Asm,
        };
        let all = RefCell::new(Vec::new());
        let select = |index: u32, name: Option<&str>| {
            all.borrow_mut().push(name.map_or_else(|| format!("{index}"), |name| format!("{index} ${name}")));
            self.func.as_deref().is_none_or(|wanted| {
                name.is_some_and(|name| name == wanted.strip_prefix('$').unwrap_or(wanted))
                    || wanted == index.to_string()
            })
        };
        let mut functions = Module::emit(&engine, source, emit, select).with_context(|| self.file.clone())?;
        if self.trampolines {
            functions.extend(Module::emit_trampolines(&engine, source, emit)?);
            functions.extend(engine.emit_builtins(emit)?);
        }
        match &self.func {
            Some(wanted) if functions.is_empty() => Err(no_function(&self.file, wanted, &all.into_inner()).into()),
            _ => Ok(functions),
        }
    }

    /// The width of each of `count` columns: the terminal's share.
    fn column(&self, count: usize) -> usize {
        let share = || comfy_table::Table::new().width().map(|width| (usize::from(width) + 3) / count - 3);
        self.width.or_else(share).unwrap_or(COLUMN).max(20)
    }
}

fn no_function(file: &str, wanted: &str, all: &[String]) -> UsageError {
    const SHOWN: usize = 100;
    let mut list: String = all.iter().take(SHOWN).map(|name| format!("\n  {name}")).collect();
    match all.len() {
        0 => list.push_str(" none"),
        n if n > SHOWN => list.push_str(&format!("\n  … and {} more", n - SHOWN)),
        _ => {}
    }
    UsageError(format!("{file} defines no function `{wanted}`; it defines{list}"))
}
