//! What the chapters of `docs/tutorial` say that can be held against the code.
//!
//! A fenced block's first line says what it is:
//!
//! ````text
//! ```rust FILE.rs              lines of src/FILE.rs, as they stand there but for indentation
//! ```diff FILE/MISTAKE         a change to src/FILE.rs: it is made, compiled, and run as the state FILE/MISTAKE
//! ```text FILE passes          what the conformance kit says of src/FILE.rs
//! ```text FILE/MISTAKE CHECK   what it says of the mistake, and which check finds it
//! ````

use std::fmt::Write;
use std::path::Path;

/// A chapter of the tutorial.
#[derive(Clone, Copy, Debug)]
pub struct Chapter {
    /// Its file, in the [`folder`].
    pub file: &'static str,
    /// The state that it begins with.
    pub from: &'static str,
    /// The state that it leads to.
    pub state: &'static str,
}

/// The chapters, in order.
pub const CHAPTERS: [Chapter; 5] = [
    Chapter { file: "1-null.md", from: "null", state: "null" },
    Chapter { file: "2-semispace.md", from: "null", state: "semispace" },
    Chapter { file: "3-marksweep.md", from: "semispace", state: "marksweep" },
    Chapter { file: "4-generational.md", from: "marksweep", state: "generational" },
    Chapter { file: "5-counting.md", from: "marksweep", state: "counting" },
];

impl Chapter {
    /// Its text.
    ///
    /// # Panics
    /// When the file cannot be read.
    pub fn text(&self) -> String {
        std::fs::read_to_string(folder().join(self.file)).unwrap_or_else(|error| panic!("{}: {error}", self.file))
    }
}

/// The folder of the chapters.
pub fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/tutorial"))
}

/// A fenced block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The words behind the three backquotes.
    pub words: Vec<String>,
    /// The lines between.
    pub text: String,
    /// Where they are in the chapter, as bytes.
    pub place: std::ops::Range<usize>,
}

/// The fenced blocks of a chapter, those without a second word left out: they are nobody's to check.
pub fn blocks(chapter: &str) -> Vec<Block> {
    let (mut blocks, mut at) = (Vec::new(), 0);
    while let Some(open) = chapter[at..].find("```") {
        let head = at + open + 3;
        let start = head + chapter[head..].find('\n').expect("a fence's line ends") + 1;
        let end = start + chapter[start - 1..].find("\n```").expect("a block ends");
        let words: Vec<String> = chapter[head..start].split_whitespace().map(str::to_string).collect();
        if words.len() > 1 {
            blocks.push(Block { words, text: chapter[start..end].to_string(), place: start..end });
        }
        at = end + 3;
    }
    blocks
}

/// Where `lines` stand in a file, side by side, all of them indented by so much more; `None` unless that is one place.
pub fn find(file: &[&str], lines: &[&str]) -> Option<usize> {
    let more = |line: &str| line.len() - line.trim_start().len();
    let is_at = |at: usize| {
        let by = more(file[at]).checked_sub(more(lines[0]))?;
        let same = |(here, line): (&&str, &&str)| match line.is_empty() {
            true => here.is_empty(),
            false => here.len() == by + line.len() && here.ends_with(line) && here[..by].trim().is_empty(),
        };
        file[at..].iter().zip(lines).all(same).then_some(at)
    };
    let mut places = (0..(file.len() + 1).saturating_sub(lines.len())).filter_map(is_at);
    places.next().filter(|_| places.next().is_none())
}

/// The file with the change made.
///
/// # Panics
/// When what it changes does not stand in one place of the file.
pub fn patched(file: &str, change: &str) -> String {
    let lines: Vec<&str> = file.lines().collect();
    let side = |sign: char| -> Vec<&str> {
        let kept = change.lines().filter(|line| line.is_empty() || line.starts_with([' ', sign]));
        kept.map(|line| line.get(1..).unwrap_or_default()).collect()
    };
    let (old, new) = (side('-'), side('+'));
    let at = find(&lines, &old).unwrap_or_else(|| panic!("this does not stand in one place of the file:\n{change}"));
    let all = [&lines[..at], &new, &lines[at + old.len()..]].concat();
    all.join("\n") + "\n"
}

/// The modules of all mistakes, and a list of all states: what `build.rs` writes into `out`.
///
/// # Panics
/// When a chapter changes what is not there.
pub fn write_states(sources: &Path, out: &Path) {
    let (mut modules, mut list) = (String::new(), String::new());
    for chapter in CHAPTERS {
        let state = chapter.state;
        writeln!(list, "    (\"{state}\", {state}::COLLECTOR),").expect("it fits");
        for block in blocks(&chapter.text()).iter().filter(|block| block.words[0] == "diff") {
            let name = &block.words[1];
            let (file, _) = name.split_once('/').unwrap_or_else(|| panic!("`{name}` is not FILE/MISTAKE"));
            let source = std::fs::read_to_string(sources.join(file).with_extension("rs")).expect("the file is there");
            let module = name.replace(['/', '-'], "_");
            let path = out.join(&module).with_extension("rs");
            std::fs::write(&path, patched(&source, &block.text)).expect("the file can be written");
            writeln!(modules, "    #[path = {path:?}]\n    pub mod {module};").expect("it fits");
            writeln!(list, "    (\"{name}\", mistakes::{module}::COLLECTOR),").expect("it fits");
        }
    }
    let text = format!(
        "/// The changes that the chapters make to see them found.\n\
         #[allow(unused, missing_docs, clippy::all)]\npub mod mistakes {{\n{modules}}}\n\n\
         /// Every state of the tutorial, right and wrong, in the order of the text.\n\
         pub const STATES: &[(&str, gc_api::Collector)] = &[\n{list}];\n"
    );
    std::fs::write(out.join("states.rs"), text).expect("the file can be written");
}
