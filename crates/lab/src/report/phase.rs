//! The phase diagram: which collector wins, by a program's parameters and the heap's size. The first parameter and the heap are axes; for
//! each value of the others there is a plot.

use super::care;
use super::page::{Figure, Legend, Page};
use super::plot::{AREA, Plot, short};
use super::study::{Level, Study, failures, values};
use super::text::{escaped, estimate, time};
use crate::analysis::wall;
use crate::record::Record;
use crate::stats::{Estimate, LEVEL, Ratio};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Programs that differ in their first parameter alone, by it.
type Family<'a> = BTreeMap<i64, &'a str>;

/// What the members of a family have in common: `survive=40000,P`, or `name=N,P,Q` for one Q.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Common<'a> {
    name: &'a str,
    size: i64,
    others: Vec<i64>,
}

impl Common<'_> {
    /// As in `name=N,P,50`.
    fn label(&self) -> String {
        let others: String = self.others.iter().map(|number| format!(",{number}")).collect();
        format!("{}={},P{others}", self.name, self.size)
    }

    /// The label, and what the other parameters are, by what they mean.
    fn title(&self, meanings: &[String]) -> String {
        let others = self.others.iter().zip(meanings.iter().skip(1));
        let others: Vec<String> = others.map(|(number, means)| with_value(means, *number)).collect();
        [vec![self.label()], others].concat().join(" – ")
    }
}

/// What a parameter means, with its value before the unit: `mutation (writes)` becomes `mutation 50 (writes)`.
fn with_value(means: &str, value: i64) -> String {
    match means.split_once(" (") {
        Some((name, unit)) => format!("{name} {value} ({unit}"),
        None => format!("{means}: {value}"),
    }
}

/// What the parameters of a family's programs mean, where all records of them agree.
fn meanings<'a>(study: &Study<'a>, family: &Family<'_>) -> &'a [String] {
    let mut records = family.values().flat_map(|program| study.program(program));
    let first = records.next().map_or(&[][..], |record| record.program.parameters.as_slice());
    if records.all(|record| record.program.parameters == first) { first } else { &[] }
}

/// The families among `programs` that have two members at least, by what they have in common.
pub(super) fn families<'a>(programs: &[&'a str]) -> BTreeMap<Common<'a>, Family<'a>> {
    let mut families: BTreeMap<Common<'a>, Family<'a>> = BTreeMap::new();
    for program in programs {
        let Some((name, arguments)) = program.split_once('=') else { continue };
        let numbers: Option<Vec<i64>> = arguments.split(',').map(|number| number.parse().ok()).collect();
        if let Some([size, parameter, others @ ..]) = numbers.as_deref() {
            let common = Common { name, size: *size, others: others.to_vec() };
            families.entry(common).or_default().insert(*parameter, program);
        }
    }
    families.retain(|_, family| family.len() > 1);
    families
}

/// Who won a program at a heap size.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Winner {
    /// The configuration's number.
    pub config: usize,
    /// The second's number, and its time as a multiple of the winner's; `None` when no other ran.
    pub second: Option<(usize, f64)>,
    /// Whether chance may have decided.
    pub tie: bool,
}

/// The configuration with the least mean total time at a heap size. It is a tie unless the 95 % interval of the second's ratio to it leaves out
/// equality. Baselines do not compete: their heap is another.
pub(super) fn winner(study: &Study<'_>, program: &str, level: Level) -> Option<Winner> {
    let times = study.configs.iter().enumerate().filter(|(_, config)| !study.is_baseline(config));
    let times = times.map(|(i, config)| (i, values(study.cell(program, config, level), wall)));
    let mut means: Vec<(usize, f64, Vec<f64>)> =
        times.filter_map(|(i, values)| Some((i, Estimate::of(&values)?.mean, values))).collect();
    means.sort_by(|a, b| a.1.total_cmp(&b.1));
    let (config, best, values) = means.first()?;
    let second = means.get(1);
    let differs = |other: &Vec<f64>| Ratio::of(values, other, LEVEL).is_some_and(|ratio| ratio.differs());
    Some(Winner {
        config: *config,
        second: second.map(|(second, mean, _)| (*second, mean / best)),
        tie: second.is_some_and(|(_, _, other)| !differs(other)),
    })
}

/// What is said of a cell to those who point at it.
fn hover(study: &Study<'_>, program: &str, level: Level) -> String {
    let mut lines: Vec<(f64, String)> = Vec::new();
    for config in study.configs.iter().filter(|config| !study.is_baseline(config)) {
        let records = study.cell(program, config, level);
        if records.is_empty() {
            continue;
        }
        lines.push(match Estimate::of(&values(records, wall)) {
            Some(mean) => (mean.mean, format!("{}: {}", escaped(config), estimate(&mean))),
            None => (f64::INFINITY, format!("{}: {}", escaped(config), failures(records).unwrap_or_default())),
        });
    }
    lines.sort_by(|a, b| a.0.total_cmp(&b.0));
    let lines: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
    format!("<b>{}</b> at {level}<br>{}", escaped(program), lines.join("<br>"))
}

/// One square of the diagram.
struct Square {
    x: usize,
    y: usize,
    winner: Option<Winner>,
    hover: String,
}

fn traces(page: &Page<'_>, squares: &[Square]) -> Vec<Value> {
    let study = page.study;
    let of =
        |config: usize| squares.iter().filter(move |square| square.winner.as_ref().is_some_and(|w| w.config == config));
    let margin = |square: &&Square| {
        let winner = square.winner.as_ref();
        winner.map_or(String::new(), |winner| match winner.second {
            Some((second, _)) if winner.tie => format!("≈ {}", escaped(study.configs[second])),
            Some((_, ratio)) if ratio >= 2.0 => format!("{ratio:.1}×"),
            Some((_, ratio)) => format!("{:.0} %", (ratio - 1.0) * 100.0),
            None => "alone".into(),
        })
    };
    let mut all: Vec<Value> = Vec::new();
    for config in (0..study.configs.len()).filter(|config| of(*config).next().is_some()) {
        let squares: Vec<&Square> = of(config).collect();
        let other = |square: &&Square| square.winner.as_ref().and_then(|winner| winner.second.filter(|_| winner.tie));
        let shapes: Vec<&str> = squares.iter().map(|square| if other(square).is_some() { "/" } else { "" }).collect();
        let stripes: Vec<String> = squares
            .iter()
            .map(|square| other(square).map_or("#fff".into(), |(second, _)| page.style(second).colour()))
            .collect();
        let text: Vec<String> = squares
            .iter()
            .map(|square| format!("<b>{}</b><br>{}", escaped(study.configs[config]), margin(square)))
            .collect();
        let marker = json!({"color": page.style(config).pale(AREA), "line": {"width": 1, "color": "#fff"},
            "pattern": {"shape": shapes, "fgcolor": stripes, "fgopacity": 0.55, "fillmode": "overlay", "size": 12, "solidity": 0.35}});
        all.push(bars(&squares, text, marker, Some(config)));
    }
    let none: Vec<&Square> = squares.iter().filter(|square| square.winner.is_none()).collect();
    if !none.is_empty() {
        let marker = json!({"color": "#eee", "line": {"width": 1, "color": "#fff"}});
        all.push(bars(&none, vec!["none ran".to_string(); none.len()], marker, None));
    }
    all
}

fn bars(squares: &[&Square], text: Vec<String>, marker: Value, config: Option<usize>) -> Value {
    json!({"type": "bar", "x": squares.iter().map(|square| square.x).collect::<Vec<_>>(), "y": vec![1; squares.len()],
        "base": squares.iter().map(|square| square.y as f64 - 0.5).collect::<Vec<_>>(), "width": 1, "offset": -0.5, "text": text,
        "textposition": "inside", "insidetextanchor": "middle", "textangle": 0, "constraintext": "both", "textfont": {"color": "#111", "size": 11},
        "customdata": squares.iter().map(|square| square.hover.as_str()).collect::<Vec<_>>(),
        "hovertemplate": "%{customdata}<extra></extra>", "marker": marker, "meta": config})
}

/// The diagram of one family.
fn plot(page: &Page<'_>, common: &Common<'_>, family: &Family<'_>) -> Plot {
    let study = page.study;
    let meanings = meanings(study, family);
    let mut levels: Vec<Level> = family.values().flat_map(|program| study.axis(program)).collect();
    levels.sort();
    levels.dedup();
    let mut squares = Vec::new();
    for (x, program) in family.values().enumerate() {
        for (y, level) in levels.iter().enumerate() {
            let ran = study.configs.iter().any(|config| !study.cell(program, config, *level).is_empty());
            if ran {
                squares.push(Square {
                    x,
                    y,
                    winner: winner(study, program, *level),
                    hover: hover(study, program, *level),
                });
            }
        }
    }
    let axis = |title: &str, labels: Vec<String>| {
        let ends = [-0.5, labels.len() as f64 - 0.5];
        json!({"title": {"text": title}, "tickmode": "array", "tickvals": (0..labels.len()).collect::<Vec<_>>(), "ticktext": labels,
            "range": ends, "showgrid": false, "ticks": ""})
    };
    let size = if levels.iter().any(|level| matches!(level, Level::Multiple(_))) {
        "heap size (× minimum)"
    } else {
        "heap size"
    };
    let labels = levels.iter().map(|level| match level {
        Level::Multiple(multiple) => short(*multiple).to_string(),
        level => level.to_string(),
    });
    let parameter = meanings.first().map_or_else(|| "parameter P".into(), |means| format!("P: {}", escaped(means)));
    let layout = json!({"xaxis": axis(&parameter, family.keys().map(i64::to_string).collect()), "yaxis": axis(size, labels.collect()),
        "barmode": "overlay", "bargap": 0});
    let height = 90 + 44 * levels.len().clamp(3, 16) as u32;
    Plot { title: common.title(meanings), layout, variants: vec![traces(page, &squares)], height }
}

/// The section; `None` without programs that differ in a parameter.
pub(super) fn section(page: &mut Page<'_>) -> Option<String> {
    let study = page.study;
    let families = families(&study.timed);
    if families.is_empty() {
        return None;
    }
    let plots: Vec<Plot> = families.iter().map(|(common, family)| plot(page, common, family)).collect();
    let programs = || families.values().flat_map(|family| family.values());
    let records: Vec<&Record> = programs().flat_map(|program| study.program(program)).collect();
    let competing = |config: &usize| !study.is_baseline(study.configs[*config]);
    let figure = Figure {
        id: "phase-all".into(),
        columns: columns(&families),
        plots,
        legend: Legend::Areas,
        configs: (0..study.configs.len()).filter(competing).collect(),
        caption: format!(
            "Which collector wins: the least mean total time, by the program's parameter P and the heap's size, and by how much it is ahead of the
            second; a plot for each value of other parameters. Striped, and marked ≈: the 95 % interval of their ratio (Welch's, of logarithms) includes 1, so that chance may have
            decided. What ran in the largest heap alone does not compete. {}",
            significance(study, &families)
        ),
        care: care::of(&records),
        records: &records,
        choice: None,
    };
    Some(page.figure(figure))
}

/// How many plots stand beside each other: squares have room for a configuration's name.
fn columns(families: &BTreeMap<Common<'_>, Family<'_>>) -> usize {
    let widest = families.values().map(BTreeMap::len).max().unwrap_or_default();
    families.len().clamp(1, if widest <= 4 { 3 } else { 2 })
}

/// How the squares are divided among configurations, in words.
fn significance(study: &Study<'_>, families: &BTreeMap<Common<'_>, Family<'_>>) -> String {
    let (mut wins, mut ties): (BTreeMap<&str, usize>, usize) = (BTreeMap::new(), 0);
    let mut widest: Option<(f64, String)> = None;
    for program in families.values().flat_map(|family| family.values()) {
        for level in study.axis(program) {
            match winner(study, program, level) {
                Some(winner) if winner.tie => ties += 1,
                Some(winner) => {
                    *wins.entry(study.configs[winner.config]).or_default() += 1;
                    let margin = winner.second.map_or(1.0, |(_, ratio)| ratio);
                    if widest.as_ref().is_none_or(|(most, _)| margin > *most) {
                        let best = values(study.cell(program, study.configs[winner.config], level), wall);
                        let best = Estimate::of(&best).map_or(String::new(), |best| format!(" ({})", time(best.mean)));
                        let text = format!("{} on {program} at {level}{best}", study.configs[winner.config]);
                        widest = Some((margin, text));
                    }
                }
                None => {}
            }
        }
    }
    let wins: Vec<String> = wins.iter().map(|(config, wins)| format!("{} wins {wins}", escaped(config))).collect();
    let widest = widest.map_or(String::new(), |(margin, text)| {
        format!(" The widest margin is that of {}: {margin:.2}×.", escaped(&text))
    });
    let wins = if wins.is_empty() { "Nobody wins".into() } else { wins.join(", ") };
    format!("{wins}; {ties} undecided.{widest}")
}

#[cfg(test)]
mod tests {
    use super::super::study::samples::*;
    use super::*;

    #[test]
    fn families_share_all_but_a_parameter() {
        let families = families(&[
            "survive=40,0",
            "survive=40,50",
            "survive=80,50",
            "splay=500",
            "both=1,2,3",
            "both=1,4,3",
            "both=1,2,9",
            "both=1,2,20",
            "both=1,4,20",
            "file.wasm=x,1",
        ]);
        let names: Vec<String> = families.keys().map(Common::label).collect();
        assert_eq!(names, ["both=1,P,3", "both=1,P,20", "survive=40,P"], "numbers are in the order of numbers");
        assert_eq!(families.values().next_back().unwrap().keys().collect::<Vec<_>>(), [&0, &50]);
    }

    #[test]
    fn parameters_are_called_by_what_records_say_that_they_mean() {
        let titles = |change: fn(&mut Record)| {
            let mut records: Vec<Record> =
                ["p=1,2,50", "p=1,3,50"].map(|program| run(program, "a", Some(2.0), 0, 1000, 0)).into();
            for record in &mut records {
                record.program.parameters = vec!["survival (%)".into(), "writes (of < 100)".into()];
            }
            change(&mut records[0]);
            let read = read(records);
            let study = Study::new(&read);
            let mut page = Page::new(&study);
            let html = section(&mut page).unwrap();
            let title = html.split("<h4>").nth(1).unwrap().split("</h4>").next().unwrap().to_string();
            (title, page.plots()[0]["layout"]["xaxis"]["title"]["text"].as_str().unwrap().to_string())
        };
        let named = titles(|_| {});
        assert_eq!(named, ("p=1,P,50 – writes 50 (of &lt; 100)".into(), "P: survival (%)".into()));
        let unnamed = titles(|record| record.program.parameters.clear());
        assert_eq!(unnamed, ("p=1,P,50".into(), "parameter P".into()), "records of two formats are together");
    }

    #[test]
    fn who_is_fastest_wins_unless_it_may_be_chance() {
        let mut records = Vec::new();
        for invocation in 0..5u32 {
            let noise = u64::from(invocation * 7 % 5);
            records.push(run("p=1,2", "a", Some(2.0), invocation, 1000 + noise, 0));
            records.push(run("p=1,2", "b", Some(2.0), invocation, 2000 + noise, 0));
            records.push(run("p=1,3", "a", Some(2.0), invocation, 1000 + 10 * noise, 0));
            records.push(run("p=1,3", "b", Some(2.0), invocation, 1001 + 10 * noise, 0));
            records.push(run("p=1,3", "null", None, invocation, 1, 0));
        }
        let read = read(records);
        let study = Study::new(&read);
        let level = Level::Multiple(2.0);
        let first = winner(&study, "p=1,2", level).unwrap();
        assert!(first.config == 0 && !first.tie && (first.second.unwrap().1 - 2.0).abs() < 0.01, "{first:?}");
        let second = winner(&study, "p=1,3", level).unwrap();
        assert!(second.config == 0 && second.tie, "{second:?}");
        assert_eq!(winner(&study, "p=1,9", level), None);
        let mut page = Page::new(&study);
        let html = section(&mut page).unwrap();
        assert!(html.contains("a wins 1; 1 undecided"), "{html}");
        assert_eq!(page.plots()[0]["variants"][0][0]["text"], json!(["<b>a</b><br>100 %", "<b>a</b><br>≈ b"]));
    }
}
