//! Time–heap curves: total, mutator and collector time over heap size, per program and as a mean across programs.

use super::care;
use super::page::{Figure, Legend, Page};
use super::plot::{Plot, band, extent, log_ticks, one_two_five, short, shorts};
use super::study::{Level, Study, failure, failures, values};
use super::text::{self, escaped};
use crate::analysis::{gc, mutator, wall};
use crate::compare::Time;
use crate::record::Record;
use crate::stats::{Estimate, geometric_mean};
use crate::text::size;
use serde_json::{Value, json};

/// What the three panels show, as S. M. Blackburn and K. S. McKinley drew them for Immix.
const PANELS: [(&str, Time); 3] = [("Total time", wall), ("Mutator time", mutator), ("Collector time", gc)];

/// A configuration at one heap size.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Point {
    /// The heap size.
    pub level: Level,
    /// By [`PANELS`]; `None` where it did not run to its end.
    pub values: [Option<Estimate>; 3],
    /// What went wrong, if anything did.
    pub failed: Option<String>,
}

/// A configuration's times of a program in nanoseconds, at each size at which it was run.
pub(super) fn curve(study: &Study<'_>, program: &str, config: &str, levels: &[Level]) -> Vec<Point> {
    let point = |level: &Level| {
        let records = study.cell(program, config, *level);
        let values = PANELS.map(|(_, time)| Estimate::of(&values(records, time)));
        (!records.is_empty()).then(|| Point { level: *level, values, failed: failures(records) })
    };
    levels.iter().filter_map(point).collect()
}

/// The programs that were run at each of the multiples, and these multiples: what a mean can be taken over.
pub(super) fn common<'a>(study: &Study<'a>) -> (Vec<&'a str>, Vec<Level>) {
    let multiples: Vec<Level> =
        study.levels.iter().copied().filter(|level| matches!(level, Level::Multiple(_))).collect();
    let levels = if multiples.is_empty() { study.levels.clone() } else { multiples };
    let everywhere = |program: &&str| {
        let axis = study.axis(program);
        !axis.is_empty() && levels.iter().all(|level| axis.contains(level))
    };
    (study.timed.iter().copied().filter(everywhere).collect(), levels)
}

/// The least mean total time that a program took in any of the `levels`, in nanoseconds.
fn best(study: &Study<'_>, program: &str, levels: &[Level]) -> Option<f64> {
    let cells = study.configs.iter().flat_map(|config| levels.iter().map(|level| study.cell(program, config, *level)));
    extent(cells.filter_map(|records| Some(Estimate::of(&values(records, wall))?.mean))).map(|(least, _)| least)
}

/// A configuration's times across `programs` as multiples of each program's [best] total: the geometric mean of total and mutator time,
/// the arithmetic mean of collector time, which may be zero. Means are taken within each repetition, and intervals over repetitions. Where
/// a program fails there is no mean.
pub(super) fn mean_curve(study: &Study<'_>, programs: &[&str], config: &str, levels: &[Level]) -> Vec<Point> {
    let best: Vec<f64> = programs.iter().map(|program| best(study, program, levels).unwrap_or(f64::NAN)).collect();
    let point = |level: &Level| {
        let cells: Vec<&[&Record]> = programs.iter().map(|program| study.cell(program, config, *level)).collect();
        if cells.iter().all(|records| records.is_empty()) {
            return None;
        }
        let failed: Vec<String> = programs
            .iter()
            .zip(&cells)
            .filter_map(|(program, records)| {
                let none = values(records, wall).is_empty();
                none.then(|| format!("{program}: {}", failure(records).unwrap_or("not run")))
            })
            .collect();
        let failed = (!failed.is_empty()).then(|| failed.join(", "));
        let values = [0, 1, 2].map(|panel| if failed.is_some() { None } else { mean(&cells, &best, panel) });
        Some(Point { level: *level, values, failed })
    };
    levels.iter().filter_map(point).collect()
}

/// The mean across programs of one of the [`PANELS`], within each repetition that all of them have.
fn mean(cells: &[&[&Record]], best: &[f64], panel: usize) -> Option<Estimate> {
    let time = PANELS[panel].1;
    let first = cells.first()?;
    let means = first.iter().filter_map(|record| {
        let repetition = record.invocation;
        let ratios: Option<Vec<f64>> = cells
            .iter()
            .zip(best)
            .map(|(records, best)| {
                Some(records.iter().find(|record| record.invocation == repetition)?.mean(time)? / best)
            })
            .collect();
        let ratios = ratios?;
        if panel == 2 { Some(ratios.iter().sum::<f64>() / ratios.len() as f64) } else { geometric_mean(ratios) }
    });
    Estimate::of(&means.collect::<Vec<f64>>())
}

/// What an axis of times shows: its unit, and how values are scaled to it and written.
struct Unit {
    title: &'static str,
    scale: f64,
    shown: fn(&Estimate) -> String,
}

const NANOSECONDS: Unit = Unit { title: "time (ms)", scale: 1e-6, shown: text::estimate };
const RELATIVE: Unit = Unit {
    title: "time relative to the best",
    scale: 1.0,
    shown: |estimate| {
        let half = if estimate.half.is_finite() { format!(" ± {:.3}", estimate.half) } else { String::new() };
        format!("{:.3}{half} × the best (n = {})", estimate.mean, estimate.n)
    },
};

/// Where levels stand on the axis of heap sizes.
fn position(level: Level) -> f64 {
    match level {
        Level::Multiple(multiple) => multiple,
        Level::Bytes(bytes) => bytes as f64 / f64::from(1 << 20),
        Level::Largest => f64::NAN,
    }
}

fn heap_axis(levels: &[Level]) -> Value {
    let multiples = levels.iter().any(|level| matches!(level, Level::Multiple(_)));
    let title = if multiples { "heap size (× minimum)" } else { "heap size (MiB)" };
    let values: Vec<f64> = levels.iter().map(|level| position(*level)).collect();
    let labels: Vec<String> = values.iter().map(|value| short(*value).to_string()).collect();
    log_ticks(title, &values, &labels)
}

/// An axis of times: from zero, or logarithmic where the largest is many times the smallest.
struct Scale {
    /// What stands for zero on a logarithmic axis.
    zero: Option<f64>,
    /// The largest value.
    top: f64,
}

impl Scale {
    /// Of the values of a panel, which are means and the upper ends of intervals, in the axis's unit.
    fn of(means: &[f64], ends: &[f64]) -> Scale {
        /// How many times the smallest the largest may be on an axis from zero.
        const SPAN: f64 = 8.0;
        let (least, most) = extent(means.iter().copied()).unwrap_or((1.0, 1.0));
        // An interval may be wider than all there is to see.
        let top = ends.iter().copied().fold(most, |top, end| top.max(end.min(1.5 * most)));
        Scale { zero: (most / least > SPAN).then_some(least / 2.0), top }
    }

    /// Where a value is drawn.
    fn at(&self, value: f64) -> f64 {
        short(self.zero.map_or(value, |zero| value.max(zero)))
    }

    /// Where the `i`th row of marks above all values is drawn.
    fn above(&self, i: usize) -> f64 {
        let share = 0.07 + 0.06 * i as f64;
        match self.zero {
            None => self.top * (1.0 + share),
            Some(zero) => self.top * (self.top / zero).powf(share),
        }
    }

    /// The axis with so many rows of marks above the values. `zeros` says whether a value is zero.
    fn axis(&self, title: &str, rows: usize, zeros: bool) -> Value {
        let top = if rows == 0 { self.top * 1.05 } else { self.above(rows) };
        let Some(zero) = self.zero else { return json!({"title": {"text": title}, "range": [0.0, top]}) };
        let mut ticks = one_two_five(zero * 1.3, self.top);
        let mut labels: Vec<String> = ticks.iter().map(f64::to_string).collect();
        if zeros {
            ticks.insert(0, zero);
            labels.insert(0, "0".into());
        }
        json!({"title": {"text": format!("{title}, log")}, "type": "log", "range": [(zero * 0.93).log10(), top.log10()],
            "tickmode": "array", "tickvals": ticks, "ticktext": labels})
    }
}

/// The three panels of a set of curves.
fn panels(
    page: &Page<'_>,
    levels: &[Level],
    curves: &[(usize, Vec<Point>)],
    baselines: &[(usize, Point)],
    unit: &Unit,
) -> Vec<Plot> {
    let panel = |panel: usize| {
        let points = curves.iter().flat_map(|(_, points)| points).chain(baselines.iter().map(|(_, point)| point));
        let estimates: Vec<Estimate> = points.filter_map(|point| point.values[panel]).collect();
        let means: Vec<f64> = estimates.iter().map(|estimate| estimate.mean * unit.scale).collect();
        let ends: Vec<f64> =
            estimates.iter().map(|estimate| (estimate.mean + finite(estimate.half)) * unit.scale).collect();
        let scale = Scale::of(&means, &ends);
        let mut traces = Vec::new();
        let mut failing = 0;
        for (config, points) in curves {
            let drawn = Drawn { page, config: *config, panel, unit, scale: &scale };
            traces.push(drawn.interval(points));
            traces.push(drawn.line(points));
            if panel == 0 && points.iter().any(|point| point.values[panel].is_none()) {
                traces.push(drawn.failed(points, failing));
                failing += 1;
            }
        }
        traces.extend(baselines.iter().filter_map(|(config, point)| {
            Drawn { page, config: *config, panel, unit, scale: &scale }.baseline(levels, point)
        }));
        let yaxis = scale.axis(unit.title, failing, means.contains(&0.0));
        let layout = json!({"xaxis": heap_axis(levels), "yaxis": yaxis});
        Plot { title: PANELS[panel].0.into(), layout, variants: vec![traces], height: 300 }
    };
    (0..3).map(panel).collect()
}

/// Intervals of one value are infinite, which is not drawn.
fn finite(half: f64) -> f64 {
    if half.is_finite() { half } else { 0.0 }
}

/// A configuration in a panel.
struct Drawn<'d> {
    page: &'d Page<'d>,
    config: usize,
    panel: usize,
    unit: &'d Unit,
    scale: &'d Scale,
}

impl Drawn<'_> {
    fn name(&self) -> String {
        escaped(self.page.study.configs[self.config])
    }

    fn interval(&self, points: &[Point]) -> Value {
        let scaled = |value: f64| self.scale.at(value.max(0.0) * self.unit.scale);
        let ends = points.iter().map(|point| {
            let ends = point.values[self.panel].filter(|estimate| estimate.half.is_finite());
            let ends =
                ends.map(|estimate| (scaled(estimate.mean - estimate.half), scaled(estimate.mean + estimate.half)));
            (position(point.level), ends)
        });
        band(&ends.collect::<Vec<_>>(), self.page.style(self.config), self.config)
    }

    fn line(&self, points: &[Point]) -> Value {
        let style = self.page.style(self.config);
        let hover = points.iter().map(|point| {
            let shown = point.values[self.panel].map_or(String::new(), |estimate| (self.unit.shown)(&estimate));
            let failed =
                point.failed.as_ref().map_or(String::new(), |failed| format!("<br>failed: {}", escaped(failed)));
            format!("<b>{}</b>, {}<br>{shown}{failed}", self.name(), point.level)
        });
        let y = points
            .iter()
            .map(|point| point.values[self.panel].map(|estimate| self.scale.at(estimate.mean * self.unit.scale)));
        json!({"type": "scatter", "mode": "lines+markers", "x": shorts(points.iter().map(|point| position(point.level))),
            "y": y.collect::<Vec<_>>(), "customdata": hover.collect::<Vec<_>>(), "hovertemplate": "%{customdata}<extra></extra>",
            "connectgaps": false, "line": style.line(), "marker": style.marker(), "name": self.name(), "meta": self.config})
    }

    /// Crosses above all values: beyond what can be drawn.
    fn failed(&self, points: &[Point], row: usize) -> Value {
        let colour = self.page.style(self.config).colour();
        let failed: Vec<&Point> = points.iter().filter(|point| point.values[0].is_none()).collect();
        let hover = failed.iter().map(|point| {
            let how = escaped(point.failed.as_deref().unwrap_or("not run"));
            format!("<b>{}</b>, {}<br>failed: {how}", self.name(), point.level)
        });
        json!({"type": "scatter", "mode": "markers", "x": shorts(failed.iter().map(|point| position(point.level))),
            "y": vec![short(self.scale.above(row)); failed.len()], "customdata": hover.collect::<Vec<_>>(),
            "hovertemplate": "%{customdata}<extra></extra>", "cliponaxis": false, "meta": self.config,
            "marker": {"symbol": "x-thin", "size": 8, "color": colour, "line": {"width": 2.5, "color": colour}}})
    }

    /// A level line: the heap of a baseline is beyond the axis.
    fn baseline(&self, levels: &[Level], point: &Point) -> Option<Value> {
        let estimate = point.values[self.panel]?;
        let hover = format!("<b>{}</b>, largest heap<br>{}<extra></extra>", self.name(), (self.unit.shown)(&estimate));
        // At each size, that there is something to point at.
        let x = shorts(levels.iter().map(|level| position(*level)));
        let y = vec![self.scale.at(estimate.mean * self.unit.scale); x.len()];
        Some(json!({"type": "scatter", "mode": "lines", "x": x, "y": y, "line": self.page.style(self.config).line(),
            "hovertemplate": hover, "meta": self.config}))
    }
}

/// The section's figures: the mean first, then each program.
pub(super) fn section(page: &mut Page<'_>) -> String {
    let study = page.study;
    let mut html = String::new();
    let (programs, levels) = common(study);
    let configs: Vec<usize> = (0..study.configs.len()).collect();
    if programs.len() > 1 {
        html += &mean_figure(page, &programs, &levels, &configs);
    }
    if programs.len() < study.timed.len() && study.timed.len() > 1 {
        let missing: Vec<&str> = study.timed.iter().copied().filter(|program| !programs.contains(program)).collect();
        html += &format!(
            "<ul class=care><li>Not in the means across programs, since they were not run at each of the sizes: {}.</li></ul>\n",
            escaped(&missing.join(", "))
        );
    }
    for program in &study.timed {
        html += &program_figure(page, program, &configs);
    }
    html
}

fn mean_figure(page: &mut Page<'_>, programs: &[&str], levels: &[Level], configs: &[usize]) -> String {
    let study = page.study;
    let curves: Vec<(usize, Vec<Point>)> = configs
        .iter()
        .map(|config| (*config, mean_curve(study, programs, study.configs[*config], levels)))
        .filter(|(_, points)| !points.is_empty())
        .collect();
    let best: Vec<f64> = programs.iter().map(|program| best(study, program, levels).unwrap_or(f64::NAN)).collect();
    let baselines = configs.iter().filter(|config| study.is_baseline(study.configs[**config])).map(|config| {
        let cells: Vec<&[&Record]> =
            programs.iter().map(|program| study.cell(program, study.configs[*config], Level::Largest)).collect();
        let values = [0, 1, 2].map(|panel| mean(&cells, &best, panel));
        (*config, Point { level: Level::Largest, values, failed: None })
    });
    let baselines: Vec<_> = baselines.collect();
    let records: Vec<&Record> = programs.iter().flat_map(|program| study.program(program)).collect();
    let figure = Figure {
        id: "times-mean".into(),
        plots: panels(page, levels, &curves, &baselines, &RELATIVE),
        columns: 3,
        legend: Legend::Lines,
        configs: configs.to_vec(),
        caption: format!(
            "Mean across {}: {}. Each program's times are divided by the least mean total time that any configuration
            took for it in any of these heaps. Total and mutator time: geometric mean; collector time: arithmetic mean, since it may be zero.
            Means are taken within each repetition; bands are 95 % confidence intervals over repetitions (Student's <i>t</i>). There is no point where
            a configuration fails on one of the programs; crosses at the top mark these heap sizes.{} Axes begin at zero unless they say that they are logarithmic. After the three panels of
            S. M. Blackburn and K. S. McKinley, <i>Immix</i>, PLDI 2008.",
            text::plural(programs.len(), "program"),
            escaped(&text::list(programs, 30)),
            baseline_note(&baselines),
        ),
        care: care::of(&records),
        records: &records,
        choice: None,
    };
    page.figure(figure)
}

fn baseline_note(baselines: &[(usize, Point)]) -> &'static str {
    if baselines.is_empty() { "" } else { " The dotted grey line ran with the largest heap there is, beyond the axis." }
}

fn program_figure(page: &mut Page<'_>, program: &str, configs: &[usize]) -> String {
    let study = page.study;
    let levels = study.axis(program);
    let curves: Vec<(usize, Vec<Point>)> = configs
        .iter()
        .map(|config| (*config, curve(study, program, study.configs[*config], &levels)))
        .filter(|(_, points)| !points.is_empty())
        .collect();
    let baselines: Vec<(usize, Point)> = configs
        .iter()
        .filter_map(|config| {
            let mut points = curve(study, program, study.configs[*config], &[Level::Largest]);
            points.pop().map(|point| (*config, point))
        })
        .collect();
    let records = study.program(program);
    let shown = configs.iter().copied().filter(|config| {
        curves.iter().any(|(shown, _)| shown == config) || baselines.iter().any(|(shown, _)| shown == config)
    });
    let figure = Figure {
        id: format!("times-{program}"),
        plots: panels(page, &levels, &curves, &baselines, &NANOSECONDS),
        columns: 3,
        legend: Legend::Lines,
        configs: shown.collect(),
        caption: format!(
            "<b>{}</b>: mean wall-clock time over invocations with 95 % confidence intervals (Student's <i>t</i>). Collector time is what the program stood
            still for; mutator time is the rest. {}{}",
            escaped(program),
            heap_note(&records),
            baseline_note(&baselines),
        ),
        care: care::of(&records),
        records: &records,
        choice: None,
    };
    page.figure(figure)
}

/// What a multiple is a multiple of.
fn heap_note(records: &[&Record]) -> String {
    let minima = extent(records.iter().filter_map(|record| record.heap.minimum_bytes).map(|bytes| bytes as f64));
    match minima {
        None => String::new(),
        Some((least, most)) if least == most => format!("1× is {}.", size(least as u64)),
        Some((least, most)) => format!(
            "1× is each configuration's own minimum, from {} to {}: heaps of the same multiple differ in size.",
            size(least as u64),
            size(most as u64)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::study::samples::*;
    use super::*;
    use crate::record::Outcome;

    const LEVELS: [Level; 2] = [Level::Multiple(1.0), Level::Multiple(2.0)];

    #[test]
    fn curves_have_means_intervals_and_gaps() {
        let read = read(vec![
            run("p", "a", Some(2.0), 0, 10_000_000, 2_000_000),
            run("p", "a", Some(2.0), 1, 12_000_000, 4_000_000),
            failed("p", "a", 1.0, 0, Outcome::Oom),
            failed("p", "a", 1.0, 1, Outcome::Timeout),
        ]);
        let points = curve(&Study::new(&read), "p", "a", &LEVELS);
        assert_eq!(points[0].values, [None, None, None]);
        assert_eq!(points[0].failed.as_deref(), Some("1 oom, 1 timeout"));
        let means = points[1].values.map(|estimate| estimate.unwrap().mean);
        assert_eq!(means, [11e6, 8e6, 3e6]);
        // t(0.975; 1) = 12.706, and the mean's standard error is 1 ms.
        assert!((points[1].values[0].unwrap().half / 12.706e6 - 1.0).abs() < 1e-3);
    }

    #[test]
    fn means_across_programs_are_of_ratios_to_the_best() {
        let mut records = Vec::new();
        for invocation in 0..2 {
            // The best of `p` is 10 ms, that of `q` is 100 ms.
            records.push(run("p", "a", Some(2.0), invocation, 10_000_000, 0));
            records.push(run("p", "b", Some(2.0), invocation, 20_000_000, 5_000_000));
            records.push(run("q", "a", Some(2.0), invocation, 200_000_000, 0));
            records.push(run("q", "b", Some(2.0), invocation, 100_000_000, 25_000_000));
            records.push(run("p", "a", Some(1.0), invocation, 40_000_000, 0));
            records.push(failed("q", "a", 1.0, invocation, Outcome::Oom));
        }
        let read = read(records);
        let study = Study::new(&read);
        let (programs, levels) = common(&study);
        assert_eq!((programs.as_slice(), levels.as_slice()), (&["p", "q"][..], &LEVELS[..]));
        let a = mean_curve(&study, &programs, "a", &levels);
        assert_eq!((a[0].values[0], a[0].failed.as_deref()), (None, Some("q: oom")));
        let near = |estimate: Option<Estimate>, mean: f64| (estimate.unwrap().mean - mean).abs() < 1e-9;
        assert!(near(a[1].values[0], 2f64.sqrt()), "the geometric mean of 1 and 2");
        let b = mean_curve(&study, &programs, "b", &levels);
        assert!(near(b[0].values[0], 2f64.sqrt()) && near(b[0].values[1], 1.5f64.sqrt() * 0.75f64.sqrt()));
        assert!(near(b[0].values[2], (0.5 + 0.25) / 2.0));
        assert_eq!(b[0].values[0].unwrap().n, 2);
    }
}
