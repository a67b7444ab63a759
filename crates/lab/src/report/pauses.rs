//! Minimum mutator utilisation and pauses.

use super::care;
use super::page::{Column, Figure, Legend, Page, bare_table};
use super::plot::{Plot, extent, log_time, short};
use super::study::{Level, Study};
use super::text::{escaped, time};
use crate::analysis::{PERCENTILES, Timeline, pause_percentiles, windows};
use crate::record::{Outcome, Record};
use crate::text::count;
use serde_json::{Value, json};

/// Windows for which utilisation is computed.
const WINDOWS: usize = 60;
/// Points that all distributions of pauses together may have: the file's size.
const POINTS: usize = 300_000;
/// Points of one of them: the most and the fewest.
const POINTS_A_LINE: (usize, usize) = (60, 500);

/// Minimum utilisation over windows of one length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Utilisation {
    /// The window in nanoseconds.
    pub window: u64,
    /// The median over invocations.
    pub median: f64,
    /// The least.
    pub least: f64,
}

/// The utilisation of a cell: the median and the minimum over all timed iterations, in windows up to the longest of them.
pub(super) fn utilisation(records: &[&Record]) -> Vec<Utilisation> {
    let well = records.iter().filter(|record| record.outcome == Outcome::Ok);
    let iterations: Vec<_> = well.flat_map(|record| record.timed()).collect();
    let timelines: Vec<Timeline> = iterations.iter().map(|iteration| Timeline::of(iteration)).collect();
    let Some(longest) = iterations.iter().map(|iteration| iteration.wall_ns).max() else { return Vec::new() };
    let at = |window: u64| {
        let mut values: Vec<f64> = timelines.iter().map(|timeline| timeline.mmu(window)).collect();
        values.sort_by(f64::total_cmp);
        let middle = (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0;
        Utilisation { window, median: middle, least: values[0] }
    };
    windows(longest, WINDOWS).into_iter().map(at).collect()
}

/// All pauses of a cell in nanoseconds, in rising order.
fn pauses(records: &[&Record]) -> Vec<u64> {
    let well = records.iter().filter(|record| record.outcome == Outcome::Ok);
    let iterations = well.flat_map(|record| record.timed());
    let mut pauses: Vec<u64> =
        iterations.flat_map(|iteration| iteration.collections.pause_ns.iter().copied()).collect();
    pauses.sort_unstable();
    pauses
}

/// The distribution of pauses in rising order: each with the share of pauses that are not longer, at most `points` of them, the shortest and
/// the longest included.
pub(super) fn distribution(pauses: &[u64], points: usize) -> Vec<(u64, f64)> {
    let n = pauses.len();
    let share = |i: usize| (pauses[i], (i + 1) as f64 / n as f64);
    if n <= points.max(2) {
        return (0..n).map(share).collect();
    }
    (0..points).map(|k| share(k * (n - 1) / (points - 1))).collect()
}

/// Programs for which any configuration has something at any size.
fn shown<'a>(study: &Study<'a>) -> Vec<&'a str> {
    let well = |program: &&str| study.program(program).iter().any(|record| record.outcome == Outcome::Ok);
    study.programs.iter().copied().filter(well).collect()
}

fn utilisation_traces(page: &Page<'_>, program: &str, level: Level) -> Vec<Value> {
    let study = page.study;
    let mut traces = Vec::new();
    for (config, name) in study.configs.iter().enumerate() {
        let curve = utilisation(study.near(program, name, level));
        if curve.is_empty() {
            continue;
        }
        let style = page.style(config);
        let x: Vec<f64> = curve.iter().map(|point| short(point.window as f64 / 1e6)).collect();
        let line = |y: Vec<f64>, line: Value, opacity: f64, of: &str| {
            let hover =
                format!("<b>{}</b>, {of}<br>%{{y:.1%}} in windows of %{{x:.3g}} ms<extra></extra>", escaped(name));
            json!({"type": "scatter", "mode": "lines", "x": x, "y": y, "line": line, "opacity": opacity, "hovertemplate": hover,
                "name": name, "meta": config})
        };
        let thin = json!({"color": style.colour(), "dash": style.dash, "width": 1});
        let least = curve.iter().map(|point| short(point.least)).collect();
        traces.push(line(least, thin, 0.6, "least"));
        traces.push(line(curve.iter().map(|point| short(point.median)).collect(), style.line(), 1.0, "median"));
    }
    traces
}

fn distribution_traces(page: &Page<'_>, program: &str, level: Level, points: usize) -> Vec<Value> {
    let study = page.study;
    let trace = |(config, name): (usize, &&str)| {
        let pauses = pauses(study.near(program, name, level));
        let curve = distribution(&pauses, points);
        let first = curve.first()?;
        // It rises from zero at the shortest.
        let x = std::iter::once(first.0).chain(curve.iter().map(|(pause, _)| *pause));
        let y = std::iter::once(0.0).chain(curve.iter().map(|(_, share)| short(*share)));
        let hover = format!(
            "<b>{}</b><br>%{{y:.1%}} of {} pauses up to %{{x:.3g}} ms<extra></extra>",
            escaped(name),
            count(pauses.len() as u64)
        );
        Some(
            json!({"type": "scatter", "mode": "lines", "x": x.map(|pause| short(pause as f64 / 1e6)).collect::<Vec<_>>(),
            "y": y.collect::<Vec<_>>(), "line": {"color": page.style(config).colour(), "dash": page.style(config).dash, "width": 2,
            "shape": "hv"}, "hovertemplate": hover, "name": name, "meta": config}),
        )
    };
    study.configs.iter().enumerate().filter_map(trace).collect()
}

/// The ends of what the traces of all variants have on their x axes.
fn x_extent(variants: &[Vec<Value>]) -> Option<(f64, f64)> {
    let traces = variants.iter().flatten();
    extent(traces.filter_map(|trace| trace["x"].as_array()).flatten().filter_map(Value::as_f64))
}

fn share_axis(title: &str) -> Value {
    json!({"title": {"text": title}, "range": [-0.02, 1.03], "tickformat": ".0%", "dtick": 0.25})
}

/// The section of utilisation.
pub(super) fn utilisation_section(page: &mut Page<'_>) -> String {
    let study = page.study;
    let programs = shown(study);
    let plot = |program: &&str| {
        let variants: Vec<Vec<Value>> =
            study.choices().into_iter().map(|level| utilisation_traces(page, program, level)).collect();
        let ends = x_extent(&variants).unwrap_or((0.01, 1.0));
        let layout = json!({"xaxis": log_time("window", ends), "yaxis": share_axis("minimum mutator utilisation")});
        Plot { title: (*program).into(), layout, variants, height: 280 }
    };
    let plots: Vec<Plot> = programs.iter().map(plot).collect();
    let caption = "Minimum mutator utilisation: the smallest share of any window of a given length in which the program ran. Thick: the median
            over invocations; thin: the least of all. A curve leaves zero at the longest pause and ends at the program's share of the whole
            run. After P. Cheng and G. E. Blelloch, <i>A parallel, real-time garbage collector</i>, PLDI 2001.";
    figure(page, "utilisation", plots, caption.into())
}

/// A plot for each program, all configurations in each, with a choice of the heap's size.
fn figure(page: &mut Page<'_>, section: &'static str, plots: Vec<Plot>, caption: String) -> String {
    let study = page.study;
    let records = study.all();
    let figure = Figure {
        id: format!("{section}-all"),
        plots,
        columns: 3,
        legend: Legend::Lines,
        configs: (0..study.configs.len()).collect(),
        caption,
        care: care::of(&records),
        records: &records,
        choice: Some(section),
    };
    page.choice(section) + &page.figure(figure)
}

/// The section of pauses: their distribution, and a table.
pub(super) fn pause_section(page: &mut Page<'_>) -> String {
    let study = page.study;
    let programs = shown(study);
    let lines = (programs.len() * study.configs.len() * study.choices().len()).max(1);
    let points = (POINTS / lines).clamp(POINTS_A_LINE.0, POINTS_A_LINE.1);
    let plot = |program: &&str| {
        let levels = study.choices();
        let variants: Vec<Vec<Value>> =
            levels.iter().map(|level| distribution_traces(page, program, *level, points)).collect();
        let (low, high) = x_extent(&variants).unwrap_or((0.01, 1.0));
        let layout = json!({"xaxis": log_time("pause", (low / 1.2, high * 1.2)), "yaxis": share_axis("share of pauses, cumulated")});
        Plot { title: (*program).into(), layout, variants, height: 280 }
    };
    let plots: Vec<Plot> = programs.iter().map(plot).collect();
    let caption = format!(
        "The distribution of pauses of all invocations: the share that is not longer than a given time, by at most {points} points a line.
            A configuration without a curve never stopped the program, or did not run. Short pauses alone say nothing: one that stops
            a program often and briefly may leave it no time, which utilisation shows."
    );
    let figure = figure(page, "pauses", plots, caption);
    let tables: Vec<String> =
        study.choices().into_iter().map(|level| percentile_table(study, &programs, level)).collect();
    let tables = page.variants("pauses", &tables);
    let caption =
        "Percentiles of the pauses of all invocations: the smallest pause that so many of them do not exceed.";
    figure + &page.captioned(&tables, caption)
}

fn percentile_table(study: &Study<'_>, programs: &[&str], level: Level) -> String {
    let mut head = vec![Column::words("program"), Column::words("configuration")];
    head.extend(PERCENTILES.map(|q| Column::numbers(format!("p{}", short(q * 100.0)))));
    head.extend(["longest", "pauses", "a run"].map(Column::numbers));
    let mut rows = Vec::new();
    for program in programs {
        for config in &study.configs {
            let records = study.near(program, config, level);
            let well: Vec<&Record> = records.iter().copied().filter(|record| record.outcome == Outcome::Ok).collect();
            let runs: usize = well.iter().map(|record| record.timed().count()).sum();
            let mut row = vec![escaped(program), escaped(config)];
            match pause_percentiles(well.iter().copied()) {
                Some((percentiles, longest, pauses)) => {
                    row.extend(percentiles.iter().map(|pause| time(*pause as f64)));
                    row.push(time(longest as f64));
                    row.push(count(pauses as u64));
                    row.push(short(pauses as f64 / runs as f64).to_string());
                }
                None => {
                    let why =
                        super::study::failure(records).unwrap_or(if records.is_empty() { "not run" } else { "none" });
                    row.extend(std::iter::repeat_n("–".to_string(), PERCENTILES.len() + 1));
                    row.extend([why.to_string(), "–".into()]);
                }
            }
            rows.push(row);
        }
    }
    bare_table(&head, &rows)
}

#[cfg(test)]
mod tests {
    use super::super::study::samples::*;
    use super::*;

    #[test]
    fn utilisation_is_the_median_and_the_least_of_invocations() {
        // Runs of 10 ms with one pause of 1, 2 and 5 ms.
        let records = [1, 2, 5].map(|ms| run("p", "a", Some(2.0), ms, 10_000_000, u64::from(ms) * 1_000_000));
        let curve = utilisation(&records.iter().collect::<Vec<_>>());
        assert_eq!(curve.len(), WINDOWS);
        let last = curve.last().unwrap();
        assert_eq!(last.window, 10_000_000);
        assert!((last.median - 0.8).abs() < 1e-9 && (last.least - 0.5).abs() < 1e-9, "{last:?}");
        let first = curve.first().unwrap();
        assert_eq!((first.window, first.median, first.least), (10_000, 0.0, 0.0));
        assert_eq!(utilisation(&[]), []);
    }

    #[test]
    fn distributions_keep_their_ends_when_they_are_thinned() {
        let pauses: Vec<u64> = (1..=10_000).collect();
        let curve = distribution(&pauses, 500);
        assert_eq!(curve.len(), 500);
        assert_eq!((curve[0], curve[499]), ((1, 1e-4), (10_000, 1.0)));
        assert!(curve.iter().all(|(pause, share)| (*pause as f64 / 10_000.0 - share).abs() < 1e-9));
        assert_eq!(distribution(&[3, 7], 500), [(3, 0.5), (7, 1.0)]);
        assert_eq!(distribution(&[], 500), []);
    }
}
