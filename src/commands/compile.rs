//! `gleaner compile`: what functions are compiled to, under one collector or several side by side.

use super::{Gc, UsageError, print};
use crate::text;
use anyhow::Context;
use clap::{Args, ValueEnum};
use engine::{Config, Emit, Engine, Module};
use std::process::ExitCode;

/// Print the code that functions are compiled to
#[derive(Args)]
pub struct Compile {
    /// What to print
    #[arg(long, value_name = "FORM", value_enum)]
    emit: Form,
    /// The function, by name or by index [default: every function]
    #[arg(long, value_name = "NAME|INDEX")]
    func: Option<String>,
    /// The collector whose barriers are compiled in; with several, their code stands side by side
    #[arg(long, value_name = "NAME[:KEY=VALUE]…", value_parser = Gc::parse)]
    gc: Vec<Gc>,
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
        let modules = collectors.iter().map(|gc| self.load(gc)).collect::<anyhow::Result<Vec<Module>>>()?;
        let mut shown = String::new();
        for (index, name) in self.choose(&modules[0])? {
            let emit = match self.emit {
                Form::Clif => Emit::Clif,
                Form::Asm => Emit::Asm,
            };
            let texts = modules.iter().zip(&collectors).map(|(module, gc)| {
                let code = module.emit(index, emit).with_context(|| self.file.clone())?;
                Ok(format!(";; {name} under {}\n{}\n", gc.spec, code.trim_end()))
            });
            let texts = texts.collect::<anyhow::Result<Vec<String>>>()?;
            match texts.as_slice() {
                [text] => shown.push_str(text),
                texts => shown.push_str(&text::side_by_side(texts, self.column(texts.len()))),
            }
            shown.push('\n');
        }
        print(&shown)?;
        Ok(ExitCode::SUCCESS)
    }

    fn load(&self, gc: &Gc) -> anyhow::Result<Module> {
        let engine = Engine::with_config(Config::new(gc.runtime.clone()))?;
        Module::from_file(&engine, &self.file).with_context(|| self.file.clone())
    }

    /// The defined functions to print: their indices, and how to call them.
    fn choose(&self, module: &Module) -> Result<Vec<(u32, String)>, UsageError> {
        let all: Vec<(u32, String)> = module
            .defined_funcs()
            .into_iter()
            .map(|(index, name)| (index, name.map_or(format!("function {index}"), |name| format!("${name}"))))
            .collect();
        let Some(wanted) = &self.func else { return Ok(all) };
        let matches = |(index, name): &(u32, String)| {
            name.strip_prefix('$') == Some(wanted.strip_prefix('$').unwrap_or(wanted)) || *wanted == index.to_string()
        };
        match all.iter().find(|func| matches(func)) {
            Some(func) => Ok(vec![func.clone()]),
            None => {
                let list: Vec<String> = all.iter().map(|(index, name)| format!("\n  {index} {name}")).collect();
                let list = if list.is_empty() { " none".into() } else { list.concat() };
                Err(UsageError(format!("{} defines no function `{wanted}`; it defines{list}", self.file)))
            }
        }
    }

    /// The width of each of `count` columns: the terminal's share.
    fn column(&self, count: usize) -> usize {
        let share = || comfy_table::Table::new().width().map(|width| (usize::from(width) + 3) / count - 3);
        self.width.or_else(share).unwrap_or(COLUMN).max(20)
    }
}

/// What the engine does not offer yet.
trait Listing {
    /// The functions that are not imported: indices, and names.
    fn defined_funcs(&self) -> Vec<(u32, Option<String>)>;
    /// One of them as text.
    fn emit(&self, index: u32, emit: Emit) -> engine::Result<String>;
}

impl Listing for Module {
    fn defined_funcs(&self) -> Vec<(u32, Option<String>)> {
        let imported =
            self.imports().filter(|import| matches!(import.ty(), engine::types::ExternType::Func(_))).count();
        (imported as u32..self.func_count() as u32).map(|index| (index, None)).collect()
    }

    fn emit(&self, _: u32, emit: Emit) -> engine::Result<String> {
        Err(engine::Error::new(engine::ErrorKind::System(format!("{emit:?} cannot be printed yet"))))
    }
}
