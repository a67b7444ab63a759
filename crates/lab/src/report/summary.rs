//! What was measured, and how each configuration did.

use super::care;
use super::page::{Column, Page};
use super::study::{Level, Study, failure, values};
use super::text::{escaped, list, plural};
use super::times::common;
use crate::analysis::wall;
use crate::record::{Outcome, Record};
use crate::stats::{Estimate, geometric_mean};
use crate::text::count;
use std::collections::{BTreeMap, BTreeSet};

/// How a configuration did at one heap size.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Standing {
    /// The geometric mean, over all programs, of its mean total time divided by that of the fastest configuration in the same heap.
    Relative(f64),
    /// Programs that failed, and how.
    Failed(Vec<(String, &'static str)>),
    /// It was not run with this heap.
    NotRun,
}

/// How a configuration did on `programs` at a heap size.
pub(super) fn standing(study: &Study<'_>, programs: &[&str], config: &str, level: Level) -> Standing {
    let mean =
        |program: &str, config: &str| Some(Estimate::of(&values(study.cell(program, config, level), wall))?.mean);
    let mut failed = Vec::new();
    let mut ratios = Vec::new();
    let mut ran = false;
    for program in programs {
        ran |= !study.cell(program, config, level).is_empty();
        match mean(program, config) {
            None => {
                failed.push(((*program).to_string(), failure(study.cell(program, config, level)).unwrap_or("not run")))
            }
            Some(time) => {
                let best = study.configs.iter().filter_map(|other| mean(program, other)).fold(time, f64::min);
                ratios.push(time / best);
            }
        }
    }
    match geometric_mean(ratios) {
        _ if !ran => Standing::NotRun,
        Some(relative) if failed.is_empty() => Standing::Relative(relative),
        _ => Standing::Failed(failed),
    }
}

/// A sentence on a configuration that was run on so many `programs`.
fn verdict(levels: &[Level], standings: &[Standing], best: &[f64], programs: usize) -> String {
    let relative: Vec<f64> = standings
        .iter()
        .filter_map(|standing| if let Standing::Relative(relative) = standing { Some(*relative) } else { None })
        .collect();
    let mut words = Vec::new();
    match geometric_mean(relative.iter().copied()) {
        Some(mean) => words.push(format!("{mean:.2}× the fastest over {}", plural(relative.len(), "heap size"))),
        None => words.push("no heap size at which it ran every program".into()),
    }
    let least: Vec<String> = levels
        .iter()
        .zip(standings)
        .zip(best)
        .filter(|((_, standing), best)| **standing == Standing::Relative(**best))
        .map(|((level, _), _)| level.to_string())
        .collect();
    if !least.is_empty() {
        words.push(format!(
            "the fastest on the whole at {}",
            list(&least.iter().map(String::as_str).collect::<Vec<_>>(), 8)
        ));
    }
    for (level, standing) in levels.iter().zip(standings) {
        if let Standing::Failed(failed) = standing {
            let how: BTreeSet<&str> = failed.iter().map(|(_, how)| *how).collect();
            let how = how.into_iter().collect::<Vec<_>>().join(", ");
            let names: Vec<&str> = failed.iter().map(|(program, _)| program.as_str()).collect();
            let names = if names.len() == programs && programs > 1 { "every program".into() } else { list(&names, 6) };
            words.push(format!("fails at {level}: {names} ({how})"));
        }
    }
    escaped(&words.join("; "))
}

/// The section.
pub(super) fn section(page: &mut Page<'_>) -> String {
    let study = page.study;
    let records = study.all();
    let mut html = format!("<p class=lead>{}</p>\n", measured(study, &records));
    let mut care = care::of(&records);
    if !study.read.damaged.is_empty() {
        care.insert(
            0,
            format!("<a href='#damaged'>{} skipped</a>.", plural(study.read.damaged.len(), "damaged record")),
        );
    }
    if !care.is_empty() {
        let care: String = care.iter().map(|care| format!("<li>{care}</li>")).collect();
        html += &format!("<div class=box><h3>With care</h3><ul class=care>{care}</ul></div>\n");
    }
    html + &standings(page)
}

/// What was measured, in a sentence.
fn measured(study: &Study<'_>, records: &[&Record]) -> String {
    let failed = records.iter().filter(|record| record.outcome != Outcome::Ok).count();
    let machines: BTreeSet<&str> = records.iter().map(|record| record.host.cpu.as_str()).collect();
    let versions: BTreeSet<String> =
        records.iter().map(|record| format!("{} {}", record.build.version, record.build.commit)).collect();
    let failures =
        if failed == 0 { "none of which failed".into() } else { format!("{} of which failed", count(failed as u64)) };
    let sizes = match study.levels.as_slice() {
        [] => "the largest heap".to_string(),
        levels => plural(levels.len(), "heap size"),
    };
    format!(
        "{} of {} under {} in {sizes}, {failures}, on {} by Gleaner {}.",
        plural(records.len(), "invocation"),
        plural(study.programs.len(), "program"),
        plural(study.configs.len(), "configuration"),
        escaped(&machines.into_iter().collect::<Vec<_>>().join(" and ")),
        escaped(versions.into_iter().collect::<Vec<_>>().join(" and ").trim()),
    )
}

/// The table of how each configuration did, and a sentence on each.
fn standings(page: &mut Page<'_>) -> String {
    let study = page.study;
    let (programs, levels) = common(study);
    if study.timed.is_empty() {
        return "<p>All programs served requests at a given rate: see how long these took.</p>\n".into();
    }
    if programs.is_empty() {
        return "<p>No heap size is common to all programs: configurations are compared by program only.</p>\n".into();
    }
    let competing: Vec<&str> = study.configs.iter().copied().filter(|config| !study.is_baseline(config)).collect();
    let all: BTreeMap<&str, Vec<Standing>> = competing
        .iter()
        .map(|config| (*config, levels.iter().map(|level| standing(study, &programs, config, *level)).collect()))
        .collect();
    let best: Vec<f64> = (0..levels.len())
        .map(|i| {
            let relative = all.values().filter_map(|standings| match standings[i] {
                Standing::Relative(relative) => Some(relative),
                _ => None,
            });
            relative.fold(f64::INFINITY, f64::min)
        })
        .collect();
    let cell = |(standing, best): (&Standing, &f64)| match standing {
        Standing::Relative(relative) if relative == best => format!("<b>{relative:.2}</b>"),
        Standing::Relative(relative) => format!("{relative:.2}"),
        Standing::Failed(failed) => {
            let title: Vec<String> = failed.iter().map(|(program, how)| format!("{program}: {how}")).collect();
            format!(
                "<span class=failed title='{}'>{} of {} fail</span>",
                escaped(&title.join(", ")),
                failed.len(),
                programs.len()
            )
        }
        Standing::NotRun => "–".into(),
    };
    let mut head = vec![Column::words("configuration")];
    head.extend(levels.iter().map(|level| Column::numbers(level.to_string())));
    head.push(Column::prose("verdict"));
    let row = |(i, config): (usize, &&str)| {
        let sample = page.style(i).line_sample();
        let mut row = vec![format!("{sample} {}", escaped(config))];
        match all.get(config) {
            Some(standings) => {
                row.extend(standings.iter().zip(&best).map(cell));
                row.push(verdict(&levels, standings, &best, programs.len()));
            }
            None => {
                row.extend(vec!["–".to_string(); levels.len()]);
                row.push("ran in the largest heap alone: a baseline, which does not compete".into());
            }
        }
        row
    };
    let rows: Vec<Vec<String>> = study.configs.iter().enumerate().map(row).collect();
    let caption = format!(
        "Total wall-clock time relative to the fastest configuration in the same heap: geometric mean over {}. Bold: the least at that size.",
        plural(programs.len(), "program")
    );
    page.table(&head, &rows, &caption)
}

#[cfg(test)]
mod tests {
    use super::super::study::samples::*;
    use super::*;

    #[test]
    fn standings_are_relative_to_the_fastest_in_the_same_heap() {
        let level = Level::Multiple(2.0);
        let read = read(vec![
            run("p", "a", Some(2.0), 0, 100, 0),
            run("p", "b", Some(2.0), 0, 200, 0),
            run("q", "a", Some(2.0), 0, 800, 0),
            run("q", "b", Some(2.0), 0, 100, 0),
            run("p", "c", Some(2.0), 0, 100, 0),
            failed("q", "c", 2.0, 0, Outcome::Timeout),
        ]);
        let study = Study::new(&read);
        let of = |config| standing(&study, &["p", "q"], config, level);
        let relative = |config| if let Standing::Relative(relative) = of(config) { relative } else { f64::NAN };
        assert!((relative("a") - 8f64.sqrt()).abs() < 1e-9 && (relative("b") - 2f64.sqrt()).abs() < 1e-9);
        assert_eq!(of("c"), Standing::Failed(vec![("q".into(), "timeout")]));
        assert_eq!(standing(&study, &["p"], "a", Level::Multiple(9.0)), Standing::NotRun);
        let html = section(&mut Page::new(&study));
        assert!(html.contains("fails at 2×: q (timeout)") && html.contains("1 of 2 fail"), "{html}");
        assert!(
            html.contains("the fastest on the whole at 2×") && html.contains("6 invocations of 2 programs"),
            "{html}"
        );
    }
}
