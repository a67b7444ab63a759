//! How long requests took, by percentile.

use super::care;
use super::page::{Figure, Legend, Page};
use super::plot::{Plot, extent, log_time, short};
use super::study::Level;
use super::text::escaped;
use crate::analysis::{histogram_quantile, merge};
use crate::record::{Histogram, Latency, Outcome, Record};
use crate::text::count;
use serde_json::{Value, json};

/// Which of the latencies.
type Kind = fn(&Latency) -> &Histogram;

/// What is shown of each configuration.
const KINDS: [(&str, Kind); 2] =
    [("simple latency", |latency| &latency.simple_ns), ("metered latency", |latency| &latency.metered_ns)];

/// Points on a curve for each nine.
const POINTS_A_NINE: u32 = 24;

/// The latencies of a cell: all invocations together.
fn latencies(records: &[&Record], of: Kind) -> Histogram {
    let mut all = Histogram::new();
    let well = records.iter().filter(|record| record.outcome == Outcome::Ok);
    for latency in well.flat_map(|record| record.timed()).filter_map(|iteration| iteration.latency.as_ref()) {
        merge(&mut all, of(latency));
    }
    all
}

/// Percentiles by how many nines they have, as far as there are requests to tell: `(1, _)` is the 90th, `(3, _)` the 99.9th. The last point is the
/// longest.
pub(super) fn percentiles(histogram: &Histogram) -> Vec<(f64, u64)> {
    let requests: u64 = histogram.iter().map(|(_, count)| count).sum();
    if requests == 0 {
        return Vec::new();
    }
    let most = (requests as f64).log10();
    let steps = (most * f64::from(POINTS_A_NINE)).floor() as u32;
    let nines = (0..=steps).map(|step| f64::from(step) / f64::from(POINTS_A_NINE)).chain([most]);
    nines.filter_map(|nines| Some((nines, histogram_quantile(histogram, 1.0 - 10f64.powf(-nines))?))).collect()
}

fn traces(page: &Page<'_>, program: &str, level: Level, of: Kind) -> Vec<Value> {
    let study = page.study;
    let trace = |(config, name): (usize, &&str)| {
        let all = latencies(study.near(program, name, level), of);
        let curve = percentiles(&all);
        let requests: u64 = all.iter().map(|(_, count)| count).sum();
        let hover: Vec<String> =
            curve.iter().map(|(nines, _)| format!("{}", short(100.0 - 100.0 * 10f64.powf(-nines)))).collect();
        (!curve.is_empty()).then(|| {
            json!({"type": "scatter", "mode": "lines", "x": curve.iter().map(|(nines, _)| short(*nines)).collect::<Vec<_>>(),
                "y": curve.iter().map(|(_, ns)| short(*ns as f64 / 1e6)).collect::<Vec<_>>(), "line": page.style(config).line(),
                "customdata": hover, "meta": config, "name": name,
                "hovertemplate": format!("<b>{}</b>, {} requests<br>%{{customdata}} % within %{{y:.3g}} ms<extra></extra>", escaped(name),
                count(requests))})
        })
    };
    study.configs.iter().enumerate().filter_map(trace).collect()
}

fn nines_axis(most: f64) -> Value {
    let nines: Vec<u32> = (0..=most.ceil() as u32).collect();
    let label = |nines: &u32| match nines {
        0 => "0 %".to_string(),
        1 => "90 %".into(),
        2 => "99 %".into(),
        nines => format!("99.{} %", "9".repeat(*nines as usize - 2)),
    };
    json!({"title": {"text": "percentile of requests"}, "range": [0, most * 1.02], "tickmode": "array",
        "tickvals": nines, "ticktext": nines.iter().map(label).collect::<Vec<_>>()})
}

/// The section; empty when no program served requests.
pub(super) fn section(page: &mut Page<'_>) -> Option<String> {
    let study = page.study;
    let serves = |record: &&Record| record.timed().any(|iteration| iteration.latency.is_some());
    let records: Vec<&Record> = study.all().into_iter().filter(serves).collect();
    let mut programs: Vec<&str> = records.iter().map(|record| record.cell.program.as_str()).collect();
    programs.dedup();
    if programs.is_empty() {
        return None;
    }
    let mut plots = Vec::new();
    for program in &programs {
        let kinds: Vec<Vec<Vec<Value>>> = KINDS
            .iter()
            .map(|(_, of)| study.choices().into_iter().map(|level| traces(page, program, level, *of)).collect())
            .collect();
        let all = || kinds.iter().flatten().flatten();
        let numbers = |axis: &'static str| {
            all().filter_map(move |trace| trace[axis].as_array()).flatten().filter_map(Value::as_f64)
        };
        // Both kinds have the same axes, that they can be compared.
        let (low, high) = extent(numbers("y")).unwrap_or((0.01, 1.0));
        let most = numbers("x").fold(1.0, f64::max);
        for ((kind, _), variants) in KINDS.iter().zip(kinds) {
            let layout = json!({"xaxis": nines_axis(most), "yaxis": log_time("latency", (low / 1.3, high * 1.3))});
            plots.push(Plot { title: format!("{program}: {kind}"), layout, variants, height: 300 });
        }
    }
    let mut rates: Vec<u64> = records.iter().filter_map(|record| record.options.rate).collect();
    rates.sort_unstable();
    rates.dedup();
    let rates: Vec<String> = rates.into_iter().map(count).collect();
    let rates =
        if rates.is_empty() { String::new() } else { format!(" Requests arrived at {} a second.", rates.join(", ")) };
    let figure = Figure {
        id: "latency-all".into(),
        plots,
        columns: 2,
        legend: Legend::Lines,
        configs: (0..study.configs.len()).collect(),
        caption: format!(
            "Latency of requests by percentile, of all invocations together.{rates} Simple latency runs from when a request is taken up to its
            answer; metered latency from when it would have arrived at an even rate, so that a pause delays all who wait. After
            S. M. Blackburn et al., <i>Rethinking Java performance analysis</i>, ASPLOS 2025."
        ),
        care: care::of(&records),
        records: &records,
        choice: Some("latency"),
    };
    Some(page.choice("latency") + &page.figure(figure))
}

#[cfg(test)]
mod tests {
    use super::super::study::Study;
    use super::super::study::samples::*;
    use super::*;

    #[test]
    fn percentiles_go_as_far_as_there_are_requests() {
        // 1, 2, …, 1000 ms.
        let histogram: Histogram = (1..=1000).map(|ms| (ms * 1_000_000, 1)).collect();
        let curve = percentiles(&histogram);
        let at = |nines: f64| curve.iter().find(|(at, _)| (at - nines).abs() < 1e-9).unwrap().1 / 1_000_000;
        assert_eq!((at(0.0), at(1.0), at(2.0)), (1, 900, 990));
        assert!(curve.last().unwrap().0 <= 3.0 + 1e-9);
        assert_eq!(percentiles(&Histogram::new()), []);
    }

    #[test]
    fn both_kinds_are_drawn_and_nothing_without_requests() {
        let mut record = run("p", "a", Some(2.0), 0, 10_000_000, 0);
        record.iterations[0].latency =
            Some(Latency { rate: 100, simple_ns: vec![(1000, 90)], metered_ns: vec![(1000, 50), (9000, 40)] });
        let with = read(vec![record.clone(), Record { invocation: 1, ..record }]);
        let study = Study::new(&with);
        let mut page = Page::new(&study);
        assert!(section(&mut page).unwrap().contains("p: metered latency"));
        let metered = &page.plots()[1]["variants"][0][0];
        assert_eq!(metered["y"].as_array().unwrap().last().unwrap(), &json!(0.009));
        let without = read(vec![run("p", "a", Some(2.0), 0, 10_000_000, 0)]);
        let study = Study::new(&without);
        assert_eq!(section(&mut Page::new(&study)), None);
    }
}
