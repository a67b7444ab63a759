//! Programs that build, change, cast, copy, throw and call across graphs of objects, under every collector, against a shadow heap.
//!
//! Objects are structs, arrays, i31s, host values, functions and exceptions, in locals, fields, globals, tables, segments and the
//! host's hands. A program runs with its collections where it says, or with zeal, verified or not: the input chooses.
//!
//! What must hold:
//! 1. each number that the program computes, and the graph behind each reference that it shows (by a walk of its own, or of the host's,
//!    over shapes, contents and identity), is the model's;
//! 2. it ends as it must: returns, or ends with this trap, with this exception, with the host's error; then globals and tables
//!    lead to what they lead to in the model;
//! 3. a host value that can be reached has not been dropped;
//! 4. once nothing can be reached, two collections leave no more than what the collector does not claim to free: nothing, or
//!    what is on or behind a cycle;
//! 5. when the store is gone, each host value has been dropped exactly once;
//! 6. the verifier is silent.
//!
//! A failure shrinks, and is printed as a program that runs alone, with the command line for it.

mod host;
mod kit;
mod model;
mod program;
mod run;
mod shapes;
mod text;
mod walk;

pub use program::Program;
use run::Mode;
pub use run::Subject;
use std::fmt::{self, Display, Formatter};
use std::time::{Duration, Instant};

/// Shrinking ends after so long, with the shortest program found.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `program` under the collectors of `subjects`, and under one of them with options or none, and checks what it does.
///
/// # Panics
/// When anything does not hold that must: the message has the program as text.
pub fn gc_ops(program: &Program, subjects: &[Subject]) {
    if let Err(finding) = check(program, subjects) {
        // Printing runs programs, and must not do so inside of the panic's hook.
        let finding = finding.shrink().to_string();
        panic!("{finding}");
    }
}

/// As [`gc_ops`], without shrinking.
///
/// # Errors
/// The first thing that does not hold.
pub fn check<'s>(program: &Program, subjects: &'s [Subject]) -> Result<(), Box<Finding<'s>>> {
    let (aimed, model) = program.run();
    let binary = wat::parse_str(aimed.text()).expect("the program is well-formed");
    let (variants, plain): (Vec<&Subject>, Vec<&Subject>) = subjects.iter().partition(|subject| subject.has_options());
    let variant = variants.get(program.variant as usize % (variants.len() + 1));
    for subject in plain.into_iter().chain(variant.copied()) {
        if let Err(what) = subject.check(&aimed, &binary, &model) {
            return Err(Box::new(Finding { program: aimed, subject, what }));
        }
    }
    Ok(())
}

/// As [`check`], of the programs that run alone, as findings are printed: where collectors are right, nothing is reproduced.
///
/// # Errors
/// How the first one fails.
pub fn check_alone(program: &Program, subjects: &[Subject]) -> Result<(), String> {
    let (program, model) = program.run();
    let text = program.text_alone(&model);
    subjects.iter().try_for_each(|subject| {
        let result = subject.check_alone(&text, program.ending(), program.mode());
        result.map_err(|what| format!("under the collector `{}`{}: {what}", subject.spec, program.mode().options()))
    })
}

/// A program that does not do what it must.
pub struct Finding<'s> {
    program: Program,
    subject: &'s Subject,
    /// What does not hold.
    pub what: String,
}

impl Finding<'_> {
    /// Number of operations of the program.
    pub fn ops(&self) -> usize {
        self.program.ops.len()
    }

    /// Whether another program fails; if so, it takes this one's place.
    fn becomes(&mut self, program: Program) -> bool {
        let (program, model) = program.run();
        let binary = wat::parse_str(program.text()).expect("the program is well-formed");
        match self.subject.check(&program, &binary, &model) {
            Ok(()) => false,
            Err(what) => {
                (self.program, self.what) = (program, what);
                true
            }
        }
    }

    /// Takes operations away, in ever smaller runs, for as long as the program fails (A. Zeller and R. Hildebrandt, "Simplifying and
    /// isolating failure-inducing input", TSE 2002).
    pub fn shrink(mut self) -> Self {
        let until = Instant::now() + PATIENCE;
        self.becomes(Program { rounds: 0, ..self.program.clone() });
        self.becomes(Program { end: program::RETURN, ..self.program.clone() });
        loop {
            let before = self.program.ops.len();
            let mut step = before.div_ceil(2);
            while step > 0 {
                let mut end = self.program.ops.len();
                while end > 0 && Instant::now() < until {
                    let start = end.saturating_sub(step);
                    let mut shorter = self.program.clone();
                    shorter.ops.drain(start..end);
                    self.becomes(shorter);
                    end = start.min(self.program.ops.len());
                }
                step /= 2;
            }
            if self.program.ops.len() == before || Instant::now() > until {
                return self;
            }
        }
    }

    /// The program as one that runs alone, the mode in which it then fails, and how; `None` if it needs the host to fail.
    fn alone(&self) -> Option<(String, Mode, String)> {
        let (program, model) = self.program.run();
        let text = program.text_alone(&model);
        [program.mode(), Mode::EACH].into_iter().find_map(|mode| {
            let what = self.subject.check_alone(&text, program.ending(), mode).err()?;
            Some((text.clone(), mode, what))
        })
    }
}

impl Display for Finding<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let spec = &self.subject.spec;
        writeln!(f, "under the collector `{spec}`{}: {}", self.program.mode().options(), self.what)?;
        writeln!(f, "operations: {:?}", self.program.ops)?;
        match self.alone() {
            Some((text, mode, what)) => {
                let options = mode.options();
                writeln!(f, ";; gc_ops.wat\n{text}")?;
                writeln!(
                    f,
                    "reproduce by: gleaner run --gc {spec}{options} --invoke run gc_ops.wat\nwhich fails so: {what}"
                )
            }
            None => {
                writeln!(f, "it needs the host of the fuzz target to fail; the program is\n{}", self.program.text())
            }
        }
    }
}

#[cfg(test)]
mod tests;
