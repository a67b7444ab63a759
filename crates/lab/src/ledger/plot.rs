//! The plot of a paper: panels side by side, as SVG, the same from the same records.

use super::check::{Plans, Point, Quantity, Series, Side, distilled, is_planned, points};
use super::{ByPlan, Expected};
use crate::plan::{HeapSize, Plan};
use crate::record::Record;
use crate::stats::{Estimate, LEVEL};
use anyhow::{Context, anyhow, ensure};
use plotters::coord::Shift;
use plotters::prelude::*;
use serde::Deserialize;

/// What is drawn: a line or bars for each configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Panel {
    /// What it shows.
    pub title: String,
    /// The plan whose records it is made from, or several.
    #[serde(default)]
    pub plan: Plans,
    /// What is drawn upwards.
    pub quantity: Quantity,
    /// What that is divided by.
    pub per: Option<Quantity>,
    /// Whose it is: a line or bars each.
    pub configs: Vec<String>,
    /// The programs.
    pub programs: Vec<String>,
    /// The heaps, where the plan has more than one.
    #[serde(default)]
    pub heaps: Vec<HeapSize>,
    /// What changes from left to right; the geometric mean is over the rest.
    pub along: Along,
    /// The numbers of the programs from left to right: lines. Without them there are bars.
    #[serde(default)]
    pub against: Vec<f64>,
    /// What is written below.
    pub x: String,
    /// What is written beside.
    pub y: String,
    /// The configuration that is 1; `least`, the smallest value of the panel's for a program; or `distilled`, the least time of any
    /// configuration without its collections.
    pub relative: Option<String>,
    /// Whether both axes are logarithmic.
    #[serde(default)]
    pub log: bool,
}

/// What changes along the horizontal axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Along {
    /// Programs: bars for each, or a line when they have numbers.
    Programs,
    /// Heaps.
    Heaps,
}

/// A line or a set of bars: `(x, mean, low, high)`; a point without a value is left out.
type Drawn = Vec<(f64, f64, f64, f64)>;
/// Okabe and Ito's colours, which people tell apart whatever colours they see.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(70, 70, 70),
];
/// The size of a panel, and the width of one in a plot in which bars are many.
const PANEL: (u32, u32) = (440, 360);
const WIDE: u32 = 620;

impl Panel {
    /// Whether plans have what it shows.
    ///
    /// # Errors
    /// What it has not.
    pub fn validate(&self, plans: &[&Plan]) -> anyhow::Result<()> {
        is_planned(plans, &self.programs, &self.heaps, &self.configs)?;
        let along = self.along == Along::Programs && self.against.len() == self.programs.len();
        ensure!(self.against.is_empty() || along, "`against` has a number for each program, or none at all");
        ensure!(self.along == Along::Programs || !self.heaps.is_empty(), "`heaps` says what is along the axis");
        Ok(())
    }

    /// The numbers on the horizontal axis; `None` for bars.
    fn numbers(&self) -> Option<Vec<f64>> {
        match self.along {
            Along::Programs if self.against.is_empty() => None,
            Along::Programs => Some(self.against.clone()),
            Along::Heaps => Some(
                self.heaps
                    .iter()
                    .map(|heap| match heap {
                        HeapSize::Multiple(multiple) => *multiple,
                        HeapSize::Bytes(bytes) => *bytes as f64 / f64::from(1 << 20),
                    })
                    .collect(),
            ),
        }
    }

    /// A program's name without its folder, and without its size where that does not tell it from others.
    fn short(&self, name: &str) -> String {
        let bare = |name: &str| name.split('=').next().unwrap_or_default().to_string();
        let alone = self.programs.iter().filter(|other| bare(other) == bare(name)).count() == 1;
        let name = if alone { bare(name) } else { name.to_string() };
        name.split('/').next_back().unwrap_or_default().to_string()
    }

    /// The points at each place of the axis.
    fn places(&self) -> Vec<Vec<Point<'_>>> {
        match self.along {
            Along::Programs => self.programs.iter().map(|p| points(std::slice::from_ref(p), &self.heaps)).collect(),
            Along::Heaps => self.heaps.iter().map(|heap| points(&self.programs, &[*heap])).collect(),
        }
    }

    /// A configuration's values at a point, divided by what they are relative to.
    fn series(&self, config: &str, point: Point<'_>, records: &[&Record]) -> anyhow::Result<Series> {
        let of = |config: &str, point| {
            let side =
                Side { quantity: self.quantity.clone(), per: self.per.clone(), config: config.into(), heap: None };
            side.series(point, records)
        };
        let own = of(config, point)?;
        let base = match self.relative.as_deref() {
            None => return Ok(own),
            Some("least") => {
                let program = [point.0.to_string()];
                let mut least = f64::INFINITY;
                for config in &self.configs {
                    for point in points(&program, &self.heaps) {
                        let values: Vec<f64> = of(config, point)?.into_values().collect();
                        least = Estimate::of(&values).map_or(least, |estimate| least.min(estimate.mean));
                    }
                }
                own.keys().map(|i| (*i, least)).collect()
            }
            Some("distilled") => distilled(&self.quantity, point, records)?,
            Some(base) => of(base, point)?,
        };
        Ok(own.iter().filter_map(|(i, value)| Some((*i, value / base.get(i)?))).collect())
    }

    /// What is drawn for a configuration.
    fn drawn(&self, config: &str, records: &[&Record]) -> anyhow::Result<Drawn> {
        let numbers = self.numbers();
        let mut drawn = Drawn::new();
        for (k, place) in self.places().into_iter().enumerate() {
            let all = place.into_iter().map(|point| self.series(config, point, records));
            let all = all.collect::<anyhow::Result<Vec<Series>>>()?;
            let whole = all[0].keys().filter(|i| all.iter().all(|series| series.contains_key(i)));
            // One point may be zero, of which there is no logarithm.
            let mean = |values: &[f64]| match values {
                [one] => *one,
                _ => (values.iter().map(|v| v.ln()).sum::<f64>() / values.len() as f64).exp(),
            };
            let samples: Vec<f64> =
                whole.map(|i| mean(&all.iter().map(|series| series[i]).collect::<Vec<f64>>())).collect();
            let x = numbers.as_ref().map_or(k as f64, |numbers| numbers[k]);
            if let Some(Estimate { mean, half, n }) = Estimate::at(&samples, LEVEL) {
                let half = if n > 1 { half } else { 0.0 };
                drawn.push((x, mean, mean - half, mean + half));
            }
        }
        Ok(drawn)
    }
}

/// Height of a legend's entry.
const LEGEND_ENTRY: u32 = 16;
/// What a panel's title and axis take of its height.
const AROUND: u32 = 90;

/// Draws a paper's panels.
///
/// # Errors
/// A panel of something that the records do not have.
pub fn draw(expected: &Expected, records: &ByPlan) -> anyhow::Result<String> {
    let mut svg = String::new();
    let count = expected.panels.len().max(1) as u32;
    {
        let many = |panel: &Panel| panel.numbers().is_none() && panel.programs.len() > 4;
        let width = if expected.panels.iter().any(many) { WIDE } else { PANEL.0 };
        let root = SVGBackend::with_string(&mut svg, (width * count, PANEL.1)).into_drawing_area();
        root.fill(&WHITE).map_err(|error| anyhow!("{error}"))?;
        for (panel, area) in expected.panels.iter().zip(root.split_evenly((1, count as usize))) {
            let of = super::of_plans(records, &panel.plan);
            let drawn = panel.configs.iter().map(|config| panel.drawn(config, &of)).collect::<anyhow::Result<Vec<_>>>();
            let drawn = drawn.with_context(|| format!("panel `{}`", panel.title))?;
            panel_on(&area, panel, &drawn).map_err(|error| anyhow!("panel `{}`: {error}", panel.title))?;
        }
        root.present().map_err(|error| anyhow!("{error}"))?;
    }
    Ok(svg + "\n")
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawing<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn panel_on<'a>(area: &Area<'a>, panel: &Panel, drawn: &[Drawn]) -> Drawing<'a> {
    let bars = panel.numbers().is_none();
    let log = panel.log;
    let to = move |v: f64| if log { v.max(1e-12).log10() } else { v };
    let all: Vec<&(f64, f64, f64, f64)> = drawn.iter().flatten().collect();
    let span = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
    };
    let (left, right) = span(&mut all.iter().map(|p| to(p.0)));
    let (low, high) = span(&mut all.iter().flat_map(|p| [to(p.1), to(p.3)]));
    let (left, right) = if bars { (-0.5, right.max(0.0) + 0.5) } else { widen(left, right, 0.04) };
    // Above bars there is room for the legend.
    let legend = f64::from(LEGEND_ENTRY * drawn.len() as u32 + LEGEND_ENTRY) / f64::from(PANEL.1 - AROUND);
    let legend = legend.min(0.6);
    let (low, high) = match (log, bars) {
        (true, _) => widen(low, high, 0.12),
        (false, true) => (0.0, high.max(1e-9) / (1.0 - legend)),
        (false, false) => (0.0, high.max(1e-9) * 1.3),
    };
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, ("sans-serif", 15))
        .margin(10)
        .x_label_area_size(42)
        .y_label_area_size(62)
        .build_cartesian_2d(left..right, low..high)?;
    let back = move |v: &f64| short(if log { 10f64.powf(*v) } else { *v });
    let name = |v: &f64| {
        let k = v.round();
        let text = panel.programs.get(k as usize).filter(|_| (v - k).abs() < 0.01 && *v > -0.01);
        text.map_or_else(String::new, |name| panel.short(name))
    };
    let below = |v: &f64| if bars { name(v) } else { back(v) };
    let places = if bars { panel.programs.len() * 2 + 1 } else { 7 };
    chart
        .configure_mesh()
        .x_desc(&panel.x)
        .y_desc(&panel.y)
        .x_labels(places)
        .y_labels(7)
        .x_label_formatter(&below)
        .y_label_formatter(&back)
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(if bars { 0.08 } else { 0.12 }))
        .axis_desc_style(("sans-serif", 13))
        .label_style(("sans-serif", 11))
        .draw()?;
    let width = 0.8 / drawn.len().max(1) as f64;
    for (k, (config, points)) in panel.configs.iter().zip(drawn).enumerate() {
        let colour = COLOURS[k % COLOURS.len()];
        let middle = |x: f64| if bars { x - 0.4 + width * (k as f64 + 0.5) } else { to(x) };
        let line = points.iter().map(|p| (middle(p.0), to(p.1)));
        let legend = move |(x, y)| Rectangle::new([(x, y - 4), (x + 12, y + 4)], colour.filled());
        if bars {
            let bar = |(x, y)| Rectangle::new([(x - width * 0.45, low), (x + width * 0.45, y)], colour.filled());
            chart.draw_series(line.map(bar))?.label(config).legend(legend);
        } else {
            chart.draw_series(LineSeries::new(line.clone(), colour.stroke_width(2)))?.label(config).legend(legend);
            chart.draw_series(line.map(|at| Circle::new(at, 3, colour.filled())))?;
        }
        let whisker = |p: &(f64, f64, f64, f64)| {
            let ends = vec![(middle(p.0), to(p.2).max(low)), (middle(p.0), to(p.3).min(high))];
            PathElement::new(ends, BLACK.mix(0.6).stroke_width(1))
        };
        chart.draw_series(points.iter().filter(|p| p.3 > p.2).map(whisker))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .label_font(("sans-serif", 11))
        .draw()
}

/// A range with a margin.
fn widen(low: f64, high: f64, share: f64) -> (f64, f64) {
    let margin = if high > low { (high - low) * share } else { 0.5 };
    (low - margin, high + margin)
}

/// A number in few characters.
fn short(v: f64) -> String {
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    let unit = units.into_iter().find(|(unit, _)| v.abs() >= *unit);
    let (scaled, unit) = unit.map_or((v, ""), |(scale, unit)| (v / scale, unit));
    let digits = match scaled.abs() {
        s if s >= 100.0 => 0,
        s if s >= 10.0 => 1,
        s if s >= 1.0 => 2,
        s if s >= 1e-4 || s == 0.0 => 4,
        _ => return format!("{v:.0e}"),
    };
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}
