//! Lower-bound overheads on wall-clock and processor time.

use super::care;
use super::page::{Figure, Legend, Page};
use super::plot::{Plot, one_two_five, short};
use super::study::{Level, Study, failure, values};
use super::text::{escaped, time};
use crate::analysis::{Cost, lower_bound_overheads, task, wall};
use crate::compare::Time;
use crate::record::Record;
use crate::stats::{Estimate, geometric_mean};
use serde_json::{Value, json};

/// What costs are measured in.
#[derive(Clone, Copy, Debug)]
struct Measure {
    title: &'static str,
    cost: fn(&Record) -> Option<Cost>,
    total: Time,
}

const MEASURES: [Measure; 2] = [
    Measure { title: "Wall-clock time", cost: Cost::wall, total: wall },
    Measure { title: "Processor time, all threads", cost: Cost::task, total: task },
];

/// The overhead of one configuration on one program at one heap size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Overhead {
    /// The configuration's number.
    pub config: usize,
    /// As a multiple of the baseline.
    pub overhead: f64,
    /// Half the confidence interval of that, the baseline taken as given.
    pub half: f64,
    /// The mean total in nanoseconds.
    pub total: f64,
}

/// The mean cost of a cell.
fn mean_cost(records: &[&Record], measure: Measure) -> Option<Cost> {
    let costs: Vec<Cost> = records.iter().filter_map(|record| (measure.cost)(record)).collect();
    let mean = |value: fn(&Cost) -> f64| Some(costs.iter().map(value).sum::<f64>() / costs.len() as f64);
    if costs.is_empty() {
        return None;
    }
    Some(Cost { total: mean(|cost| cost.total)?, explicit: mean(|cost| cost.explicit)? })
}

/// The overheads of all configurations that ran a program at a heap size, baselines included.
fn overheads(study: &Study<'_>, program: &str, level: Level, measure: Measure) -> Vec<Overhead> {
    let cells = (0..study.configs.len()).filter_map(|config| {
        let records = study.near(program, study.configs[config], level);
        let half = Estimate::of(&values(records, measure.total))?.half;
        Some((config, mean_cost(records, measure)?, half))
    });
    let cells: Vec<(usize, Cost, f64)> = cells.collect();
    let costs: Vec<Cost> = cells.iter().map(|(_, cost, _)| *cost).collect();
    let overheads = lower_bound_overheads(&costs).into_iter().zip(cells);
    overheads
        .map(|(overhead, (config, cost, half))| Overhead {
            config,
            overhead,
            half: half * overhead / cost.total,
            total: cost.total,
        })
        .collect()
}

/// The bars of all programs and of their geometric mean, a trace a configuration.
fn bars(page: &Page<'_>, level: Level, measure: Measure) -> Vec<Value> {
    let study = page.study;
    let by_program: Vec<Vec<Overhead>> =
        study.timed.iter().map(|program| overheads(study, program, level, measure)).collect();
    let of = |config: usize| {
        let bars = by_program.iter().map(|all| all.iter().find(|overhead| overhead.config == config).copied());
        bars.collect::<Vec<Option<Overhead>>>()
    };
    (0..study.configs.len()).map(|config| trace(page, level, config, &of(config))).collect()
}

fn trace(page: &Page<'_>, level: Level, config: usize, bars: &[Option<Overhead>]) -> Value {
    let study = page.study;
    let name = escaped(study.configs[config]);
    let mut x: Vec<String> = study.timed.iter().map(|program| (*program).to_string()).collect();
    // A bar is as long as it goes beyond 1, where it begins.
    let mut y: Vec<f64> = bars.iter().map(|bar| bar.map_or(0.0, |bar| short(bar.overhead - 1.0))).collect();
    let half = |bar: &Option<Overhead>| bar.map(|bar| bar.half).filter(|half| half.is_finite()).map(short);
    let halves: Vec<Option<f64>> = bars.iter().map(half).collect();
    // What is less than 1 is not on the axis.
    let downwards: Vec<Option<f64>> =
        halves.iter().zip(&y).map(|(half, beyond)| half.map(|half| half.min(*beyond))).collect();
    // Plotly takes nothing for zero, and draws it. What is no number it leaves out.
    let whiskers = |halves: Vec<Option<f64>>| {
        let halves = halves.into_iter().map(|half| half.map_or("none".into(), Value::from));
        halves.collect::<Vec<Value>>()
    };
    let failed = |(bar, program): (&Option<Overhead>, &&str)| match bar {
        Some(_) => "",
        None => failure(study.near(program, study.configs[config], level)).unwrap_or("not run"),
    };
    let mut words: Vec<&str> = bars.iter().zip(&study.timed).map(failed).collect();
    let hover = |((bar, word), program): ((&Option<Overhead>, &&str), &&str)| {
        let shown = bar.map_or((*word).to_string(), |bar| {
            let half = if bar.half.is_finite() { format!(" ± {:.3}", bar.half) } else { String::new() };
            format!("{:.3}{half} × the baseline<br>{} in total", bar.overhead, time(bar.total))
        });
        format!("<b>{name}</b>, {}<br>{shown}", escaped(program))
    };
    let mut hovers: Vec<String> = bars.iter().zip(&words).zip(&study.timed).map(hover).collect();
    if study.timed.len() > 1 {
        x.push("<b>mean</b>".into());
        let all: Option<Vec<f64>> = bars.iter().map(|bar| bar.map(|bar| bar.overhead)).collect();
        match all.and_then(geometric_mean) {
            Some(mean) => {
                y.push(short(mean - 1.0));
                words.push("");
                hovers.push(format!("<b>{name}</b><br>geometric mean: {mean:.3} × the baseline"));
            }
            None => {
                y.push(0.0);
                words.push("none");
                hovers.push(format!("<b>{name}</b><br>no mean: it did not run every program"));
            }
        }
    }
    json!({"type": "bar", "name": study.configs[config], "x": x, "y": y, "base": 1, "text": words, "textposition": "outside",
        "textangle": -90, "textfont": {"size": 10}, "cliponaxis": false, "customdata": hovers,
        "hovertemplate": "%{customdata}<extra></extra>", "marker": page.style(config).bar(), "meta": config,
        "error_y": {"type": "data", "symmetric": false, "array": whiskers(halves), "arrayminus": whiskers(downwards), "thickness": 1, "width": 2, "color": "#333"}})
}

/// An axis from 1 to the largest overhead; a logarithmic one if that is large.
fn axis(variants: &[Vec<Value>]) -> Value {
    let numbers = |trace: &Value, name: &str| {
        let own = if name == "y" { &trace["y"] } else { &trace["error_y"][name] };
        own.as_array().into_iter().flatten().map(|value| value.as_f64().unwrap_or(0.0)).collect::<Vec<f64>>()
    };
    let ends = variants.iter().flatten().flat_map(|trace| {
        let (beyond, halves) = (numbers(trace, "y"), numbers(trace, "array"));
        beyond
            .into_iter()
            .zip(halves.into_iter().chain(std::iter::repeat(0.0)))
            .map(|(beyond, half)| 1.0 + beyond + half)
    });
    let most = ends.fold(1.1, f64::max);
    if most <= 5.0 {
        return json!({"title": {"text": "LBO (× baseline)"}, "range": [1.0, 1.0 + (most - 1.0) * 1.08]});
    }
    let ticks = one_two_five(1.0, most * 1.1);
    json!({"title": {"text": "LBO (× baseline, log)"}, "type": "log", "range": [0.0, (most * 1.1).log10()], "tickmode": "array",
        "tickvals": ticks, "ticktext": ticks.iter().map(f64::to_string).collect::<Vec<_>>()})
}

/// The section's figure.
pub(super) fn section(page: &mut Page<'_>) -> String {
    let study = page.study;
    let levels = study.choices();
    let plot = |measure: &Measure| {
        let variants: Vec<Vec<Value>> = levels.iter().map(|level| bars(page, *level, *measure)).collect();
        let layout = json!({"xaxis": {"type": "category", "showgrid": false}, "yaxis": axis(&variants), "barmode": "group",
            "bargap": 0.25, "bargroupgap": 0.06});
        Plot { title: measure.title.into(), layout, variants, height: 280 }
    };
    let plots: Vec<Plot> = MEASURES.iter().map(plot).collect();
    let baselines: Vec<&str> = study.configs.iter().copied().filter(|config| study.is_baseline(config)).collect();
    let records = study.all();
    let mut care = care::of(&records);
    let baseline = if baselines.is_empty() {
        care.push(
            "No configuration ran without ever collecting: the baseline is that of the cheapest collector without its pauses, and overheads are
            lower than with <code>null</code> among the configurations."
                .into(),
        );
        String::new()
    } else {
        format!(" {} ran in the largest heap there is and stands beside each size.", escaped(&baselines.join(", ")))
    };
    let figure = Figure {
        id: "overheads-all".into(),
        plots,
        columns: 1,
        legend: Legend::Bars,
        configs: (0..study.configs.len()).collect(),
        caption: format!(
            "Lower-bound overhead of each configuration, by program, and the geometric mean over all programs. The baseline of a program is
            the smallest cost that any configuration shown had without what is explicitly its collector's; each bar is a total cost divided by
            that, so that the true overhead is at least as large. Bars begin at 1. Whiskers are 95 % confidence intervals of the total, the
            baseline taken as given.{baseline} After Z. Cai, S. M. Blackburn, M. D. Bond and M. Maas, <i>Distilling the real cost of
            production garbage collectors</i>, ISPASS 2022."
        ),
        care,
        records: &records,
        choice: Some("overheads"),
    };
    page.choice("overheads") + &page.figure(figure)
}

#[cfg(test)]
mod tests {
    use super::super::study::samples::*;
    use super::*;
    use crate::record::Outcome;

    #[test]
    fn the_baseline_is_the_cheapest_program_without_its_pauses() {
        let mut records = Vec::new();
        for invocation in 0..3 {
            records.push(run("p", "a", Some(2.0), invocation, 150, 45));
            records.push(run("p", "b", Some(2.0), invocation, 130, 10));
            records.push(run("p", "null", None, invocation, 100, 0));
            records.push(failed("p", "c", 2.0, invocation, Outcome::Oom));
        }
        let read = read(records);
        let study = Study::new(&read);
        for measure in MEASURES {
            let all = overheads(&study, "p", Level::Multiple(2.0), measure);
            let by_config: Vec<(&str, f64)> =
                all.iter().map(|overhead| (study.configs[overhead.config], overhead.overhead)).collect();
            assert_eq!(by_config, [("a", 1.5), ("b", 1.3), ("null", 1.0)]);
            assert_eq!(all[0].half, 0.0);
        }
        let page = Page::new(&study);
        let traces = bars(&page, Level::Multiple(2.0), MEASURES[0]);
        assert_eq!(traces[2]["text"], json!(["oom"]));
        assert_eq!(traces[0]["y"], json!([0.5]));
    }
}
