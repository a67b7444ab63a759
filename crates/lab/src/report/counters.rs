//! Counters: exact, and the same in each invocation.

use super::page::{Column, Page, bare_table};
use super::study::{Level, Study, failures};
use super::text::escaped;
use crate::record::{Outcome, Record};
use crate::text::count;
use std::collections::{BTreeMap, BTreeSet};

/// What a counter was in the invocations of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// The same in each.
    Exact(u64),
    /// Not the same, which must not be: the smallest and the largest.
    Disagree(u64, u64),
}

/// The name of what stands for all exact columns of collections together.
const ONE_BY_ONE: &str = "collections, one by one";

/// The counters of a cell, and whether single collections are the same in all invocations.
pub(super) fn counters(records: &[&Record]) -> (BTreeMap<String, Value>, bool) {
    let iterations = || records.iter().filter(|record| record.outcome == Outcome::Ok).flat_map(|record| record.timed());
    let mut ends: BTreeMap<&str, (u64, u64, usize)> = BTreeMap::new();
    for iteration in iterations() {
        for (name, value) in &iteration.counters {
            let (low, high, seen) = ends.entry(name).or_insert((*value, *value, 0));
            (*low, *high, *seen) = ((*low).min(*value), (*high).max(*value), *seen + 1);
        }
    }
    let all = iterations().count();
    let value = |(low, high, seen): (u64, u64, usize)| match (low == high, seen == all) {
        (true, true) => Value::Exact(low),
        // What is not counted at all is nothing.
        (_, true) => Value::Disagree(low, high),
        _ => Value::Disagree(0, high),
    };
    let digests: BTreeSet<&str> = iterations().map(|iteration| iteration.collections.digest.as_str()).collect();
    (ends.into_iter().map(|(name, ends)| (name.to_string(), value(ends))).collect(), digests.len() <= 1)
}

/// The table of a program at a heap size: a row a counter, a column a configuration. Counters that are zero everywhere are left out.
fn table(study: &Study<'_>, program: &str, level: Level, disagreements: &mut BTreeSet<String>) -> String {
    let cells: Vec<&[&Record]> = study.configs.iter().map(|config| study.near(program, config, level)).collect();
    let all: Vec<(BTreeMap<String, Value>, bool)> = cells.iter().map(|records| counters(records)).collect();
    let names: BTreeSet<&String> = all
        .iter()
        .flat_map(|(counters, _)| counters.iter().filter(|(_, value)| **value != Value::Exact(0)).map(|(name, _)| name))
        .collect();
    let mut head = vec![Column::words("counter")];
    head.extend(study.configs.iter().map(|config| Column::numbers(escaped(config))));
    let mut disagree = |config: usize, text: String| {
        disagreements.insert(format!("{program} under {} at {level}", study.configs[config]));
        format!("<strong class=wrong>{text} ‡</strong>")
    };
    let mut rows: Vec<Vec<String>> = Vec::new();
    for name in names {
        let mut row = vec![format!("<code>{}</code>", escaped(name))];
        row.extend(all.iter().enumerate().map(|(config, (counters, _))| match counters.get(name) {
            None => "–".into(),
            Some(Value::Exact(value)) => count(*value),
            Some(Value::Disagree(low, high)) => disagree(config, format!("{}–{}", count(*low), count(*high))),
        }));
        rows.push(row);
    }
    if all.iter().any(|(_, same)| !same) {
        let mut row = vec![ONE_BY_ONE.to_string()];
        row.extend(all.iter().enumerate().map(|(config, (_, same))| match same {
            true => "the same".into(),
            false => disagree(config, "differ".into()),
        }));
        rows.push(row);
    }
    if cells.iter().any(|records| failures(records).is_some()) {
        let mut row = vec!["failures".to_string()];
        row.extend(cells.iter().map(|records| failures(records).unwrap_or_else(|| "–".into())));
        rows.push(row);
    }
    bare_table(&head, &rows)
}

/// The section: a table for each program, folded up but for the first.
pub(super) fn section(page: &mut Page<'_>) -> String {
    let study = page.study;
    let mut disagreements = BTreeSet::new();
    let mut html = String::new();
    for (i, program) in study.programs.iter().enumerate() {
        let tables: Vec<String> =
            study.choices().into_iter().map(|level| table(study, program, level, &mut disagreements)).collect();
        let tables = page.variants("counters", &tables);
        let caption = format!(
            "Counters of <b>{}</b>, of one run of the program. They are exact, the same on every machine; those that are zero everywhere are left out.",
            escaped(program)
        );
        let captioned = page.captioned(&tables, &caption);
        let open = if i == 0 { " open" } else { "" };
        html += &format!(
            "<details class=program{open}><summary>{}</summary>{captioned}{}</details>\n",
            escaped(program),
            page.behind(&study.program(program))
        );
    }
    let wrong: String = disagreements.iter().map(|cell| format!("<li class=wrong>‡ {}</li>", escaped(cell))).collect();
    let wrong = if wrong.is_empty() {
        "<p>All invocations agree in all counters, collection by collection.</p>\n".to_string()
    } else {
        format!(
            "<p class=wrong>Invocations disagree where they must not; that is a bug, or records are mixed that do not belong together:</p><ul class=care>{wrong}</ul>\n"
        )
    };
    page.choice("counters") + &wrong + &html
}

#[cfg(test)]
mod tests {
    use super::super::study::samples::*;
    use super::*;

    fn counted(invocation: u32, config: &str, value: u64) -> Record {
        let mut record = run("p", config, Some(2.0), invocation, 10, 1);
        record.iterations[0].counters.insert("objects_traced".into(), value);
        record
    }

    #[test]
    fn disagreement_is_marked() {
        let (same, other) = ([counted(0, "a", 7), counted(1, "a", 7)], [counted(0, "b", 7), counted(1, "b", 9)]);
        let of = |records: &[Record]| counters(&records.iter().collect::<Vec<_>>());
        assert_eq!(of(&same).0["objects_traced"], Value::Exact(7));
        assert_eq!(of(&other).0["objects_traced"], Value::Disagree(7, 9));
        let mut missing = same.clone();
        missing[1].iterations[0].counters.clear();
        assert_eq!(of(&missing).0["objects_traced"], Value::Disagree(0, 7));
        let mut digests = same.clone();
        digests[1].iterations[0].collections.digest = "other".into();
        assert!(of(&same).1 && !of(&digests).1);

        let read = read([same, other].concat());
        let study = Study::new(&read);
        let html = section(&mut Page::new(&study));
        assert!(html.contains("7–9 ‡") && html.contains("‡ p under b at 2×") && !html.contains("under a"), "{html}");
    }
}
