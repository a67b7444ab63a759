//! Plots as Plotly.js takes them, and how a configuration looks: the same in each.

use serde_json::{Value, json};

/// A plot: what is drawn for each heap size that can be chosen, or once for all, and its axes.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    /// What stands above it.
    pub title: String,
    /// Plotly's layout: axes, and what is marked.
    pub layout: Value,
    /// Plotly's traces, by choice.
    pub variants: Vec<Vec<Value>>,
    /// In CSS pixels.
    pub height: u32,
}

/// How a configuration looks: told from others by colour, and without colours by dashes, markers and hatching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    /// As red, green and blue.
    rgb: [u8; 3],
    /// Of lines: Plotly's name.
    pub dash: &'static str,
    /// Of points: Plotly's name.
    pub symbol: &'static str,
    /// Of bars: Plotly's name.
    pub pattern: &'static str,
}

/// Colours that people with any colour vision tell apart (M. Okabe, K. Ito, *Color universal design*, 2008), those that are darker first.
const COLOURS: [[u8; 3]; 8] = [
    [0x00, 0x72, 0xB2],
    [0xD5, 0x5E, 0x00],
    [0x00, 0x9E, 0x73],
    [0xCC, 0x79, 0xA7],
    [0xE6, 0x9F, 0x00],
    [0x56, 0xB4, 0xE9],
    [0x00, 0x00, 0x00],
    [0xA8, 0x9A, 0x00],
];
const DASHES: [&str; 5] = ["solid", "dash", "dot", "dashdot", "longdash"];
const SYMBOLS: [&str; 7] = ["circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x"];
const PATTERNS: [&str; 8] = ["", "/", "\\", "x", "-", "|", "+", "."];
/// How opaque areas are on which there is text.
pub(super) const AREA: f64 = 0.55;
/// Of what is compared with.
const GREY: [u8; 3] = [0x60, 0x60, 0x60];

impl Style {
    /// Of the `i`th configuration.
    pub fn of(i: usize) -> Style {
        Style {
            rgb: COLOURS[i % COLOURS.len()],
            dash: DASHES[i % DASHES.len()],
            symbol: SYMBOLS[i % SYMBOLS.len()],
            pattern: PATTERNS[i % PATTERNS.len()],
        }
    }

    /// Of a baseline.
    pub fn baseline() -> Style {
        Style { rgb: GREY, dash: "2px,3px", symbol: "circle-open", pattern: "" }
    }

    /// Its colour.
    pub fn colour(self) -> String {
        let [r, g, b] = self.rgb;
        format!("#{r:02x}{g:02x}{b:02x}")
    }

    /// Its colour, seen through to some degree.
    pub fn pale(self, opacity: f64) -> String {
        let [r, g, b] = self.rgb;
        format!("rgba({r},{g},{b},{opacity})")
    }

    /// A line with a point on it, for a legend.
    pub fn line_sample(self) -> String {
        let colour = self.colour();
        let dashes = match self.dash {
            "dash" => "6 3",
            "dot" => "2 2",
            "dashdot" => "6 2 2 2",
            "longdash" => "10 4",
            "2px,3px" => "2 3",
            _ => "none",
        };
        let shape = match self.symbol {
            "square" => "M14 3h8v8h-8z",
            "diamond" => "M18 2l5 5-5 5-5-5z",
            "triangle-up" => "M18 2l5 9h-10z",
            "triangle-down" => "M18 12l5-9h-10z",
            "cross" => "M16.5 2h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5v-3h3.5z",
            "x" => "M14 5l2-2 2 2 2-2 2 2-2 2 2 2-2 2-2-2-2 2-2-2 2-2z",
            _ => "M18 3a4 4 0 1 0 .01 0z",
        };
        let fill = if self.symbol.ends_with("open") { "#fff" } else { &colour };
        format!(
            "<svg width=36 height=14 aria-hidden=true><path d='M0 7h36' stroke='{colour}' stroke-width=2 stroke-dasharray='{dashes}'/><path d='{shape}' fill='{fill}' stroke='{colour}'/></svg>"
        )
    }

    /// A bar, for a legend.
    pub fn bar_sample(self) -> String {
        let lines = match self.pattern {
            "/" => "M0 14L14 0M8 14L22 0M-6 12L6 0M16 14L24 6",
            "\\" => "M0 0L14 14M8 0L22 14M-6 2L6 14M16 0L24 8",
            "x" => "M0 14L14 0M10 14L24 0M0 0L14 14M10 0L24 14",
            "-" => "M0 3h24M0 7h24M0 11h24",
            "|" => "M4 0v14M9 0v14M14 0v14M19 0v14",
            "+" => "M0 4h24M0 10h24M5 0v14M12 0v14M19 0v14",
            "." => "M4 4h2M10 4h2M16 4h2M7 9h2M13 9h2M19 9h2",
            _ => "",
        };
        format!(
            "<svg width=24 height=14 aria-hidden=true><path d='M0 0h24v14H0z' fill='{}'/><path d='{lines}' stroke='#fff' stroke-opacity=.75 stroke-width=1.5 fill=none /></svg>",
            self.colour()
        )
    }

    /// An area of its colour, for a legend.
    pub fn area_sample(self) -> String {
        format!("<svg width=24 height=14 aria-hidden=true><path d='M0 0h24v14H0z' fill='{}'/></svg>", self.pale(AREA))
    }

    /// Its lines, as Plotly takes them.
    pub fn line(self) -> Value {
        json!({"color": self.colour(), "dash": self.dash, "width": 2})
    }

    /// Its points, as Plotly takes them.
    pub fn marker(self) -> Value {
        json!({"color": self.colour(), "symbol": self.symbol, "size": 7})
    }

    /// Its bars, as Plotly takes them.
    pub fn bar(self) -> Value {
        let mut bar = json!({"color": self.colour(), "line": {"width": 0}});
        if !self.pattern.is_empty() {
            bar["pattern"] = json!({"shape": self.pattern, "fillmode": "overlay", "fgcolor": "rgba(255,255,255,0.75)", "fgopacity": 1,
                "size": 7, "solidity": 0.25});
        }
        bar
    }
}

/// A number with as many digits as a plot shows: files are smaller for it.
pub(super) fn short(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10f64.powi(4 - value.abs().log10().floor() as i32);
    // Powers of ten above 10^22 are not exact, and no value here is that small.
    (value * scale).round() / scale
}

/// [`short`] of each.
pub(super) fn shorts(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    values.into_iter().map(short).collect()
}

/// The area between two curves; it has a gap where they have one.
pub(super) fn band(points: &[(f64, Option<(f64, f64)>)], style: Style, meta: usize) -> Value {
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for run in points.split(|(_, ends)| ends.is_none()).filter(|run| run.len() > 1) {
        if !x.is_empty() {
            x.push(Value::Null);
            y.push(Value::Null);
        }
        let there = run.iter().filter_map(|(x, ends)| Some((*x, ends.as_ref()?.0)));
        let back = run.iter().rev().filter_map(|(x, ends)| Some((*x, ends.as_ref()?.1)));
        for (at, value) in there.chain(back) {
            x.push(short(at).into());
            y.push(short(value).into());
        }
    }
    json!({"type": "scatter", "mode": "lines", "x": x, "y": y, "fill": "toself", "fillcolor": style.pale(0.16),
        "line": {"width": 0}, "hoverinfo": "skip", "meta": meta})
}

/// A logarithmic axis with a tick at each of `values`, which has a label if that does not come too close to the one before.
pub(super) fn log_ticks(title: &str, values: &[f64], labels: &[String]) -> Value {
    let (low, high) = (values.first().copied().unwrap_or(1.0).log10(), values.last().copied().unwrap_or(1.0).log10());
    let margin = ((high - low) * 0.04).max(0.02);
    let near = (high - low) * 0.13;
    let mut last = f64::NEG_INFINITY;
    let text = values.iter().zip(labels).map(|(value, label)| {
        if value.log10() - last < near {
            return "";
        }
        last = value.log10();
        label.as_str()
    });
    let text: Vec<&str> = text.collect();
    json!({"title": {"text": title}, "type": "log", "range": [low - margin, high + margin], "tickmode": "array",
        "tickvals": shorts(values.iter().copied()), "ticktext": text, "tickangle": 0})
}

/// 1, 2 and 5 of each decade from `low` to `high`: ticks of a logarithmic axis; of each decade alone when these are many.
pub(super) fn one_two_five(low: f64, high: f64) -> Vec<f64> {
    let steps: &[f64] = if high / low > 500.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let all = decades.flat_map(|decade| steps.iter().map(move |step| short(step * 10f64.powi(decade))));
    all.filter(|tick| (low..=high).contains(tick)).collect()
}

/// A logarithmic axis of times in milliseconds, with units at its ticks; `range` is in milliseconds.
pub(super) fn log_time(title: &str, (low, high): (f64, f64)) -> Value {
    let (low, high) = (low.max(1e-6), high.max(1e-5));
    let ticks = one_two_five(low, high);
    let label = |ms: &f64| match *ms {
        ms if ms < 1e-3 => format!("{} ns", short(ms * 1e6)),
        ms if ms < 1.0 => format!("{} µs", short(ms * 1e3)),
        ms if ms < 1e3 => format!("{} ms", short(ms)),
        ms => format!("{} s", short(ms / 1e3)),
    };
    let labels: Vec<String> = ticks.iter().map(label).collect();
    json!({"title": {"text": title}, "type": "log", "range": [low.log10(), high.log10()], "tickmode": "array", "tickvals": ticks,
        "ticktext": labels})
}

/// From the smallest to the largest of some positive values; `None` of nothing.
pub(super) fn extent(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    let positive = values.into_iter().filter(|value| *value > 0.0 && value.is_finite());
    positive.fold(None, |ends, value| match ends {
        None => Some((value, value)),
        Some((low, high)) => Some((f64::min(low, value), f64::max(high, value))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_differ_in_more_than_colour() {
        let styles: Vec<Style> = (0..35).map(Style::of).collect();
        for (i, style) in styles.iter().enumerate() {
            assert!(!styles[..i].iter().any(|other| (other.dash, other.symbol) == (style.dash, style.symbol)), "{i}");
            assert!(!styles[..i].contains(style) && *style != Style::baseline());
        }
    }

    #[test]
    fn bands_have_gaps() {
        let ends = |low| Some((low, low + 1.0));
        let band = band(
            &[(1.0, ends(1.0)), (2.0, ends(2.0)), (3.0, None), (4.0, ends(4.0)), (5.0, ends(5.0))],
            Style::of(0),
            0,
        );
        assert_eq!(band["x"], json!([1.0, 2.0, 2.0, 1.0, null, 4.0, 5.0, 5.0, 4.0]));
        assert_eq!(band["y"], json!([1.0, 2.0, 3.0, 2.0, null, 4.0, 5.0, 6.0, 5.0]));
    }

    #[test]
    fn numbers_are_shortened_to_five_digits() {
        assert_eq!(shorts([1234.5678, 0.000123456789, 0.0, -1.0]), [1234.6, 0.00012346, 0.0, -1.0]);
    }

    #[test]
    fn ticks_keep_their_distance() {
        let values = [1.0, 1.01, 2.0, 6.0];
        let labels = values.map(|value| value.to_string());
        assert_eq!(log_ticks("", &values, &labels)["ticktext"], json!(["1", "", "2", "6"]));
        assert_eq!(log_time("", (0.002, 30.0))["ticktext"], json!(["10 µs", "100 µs", "1 ms", "10 ms"]));
    }
}
