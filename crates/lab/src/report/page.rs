//! The page: sections, figures and tables with their numbers, captions and the records behind them.

use super::plot::{Plot, Style};
use super::study::{Level, Study, failures};
use super::text::{escaped, hash, list, plural};
use crate::record::Record;
use crate::text::count;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What has been put together so far.
#[derive(Debug)]
pub(super) struct Page<'a> {
    /// What it is about.
    pub study: &'a Study<'a>,
    plots: Vec<Value>,
    figures: usize,
    tables: usize,
    /// The file of each record.
    origins: HashMap<*const Record, String>,
}

/// What a figure's legend shows of each configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Legend {
    /// Lines with points.
    Lines,
    /// Bars.
    Bars,
    /// Areas of a colour.
    Areas,
}

/// A column of a table: its heading, and whether it has words, which stand to the left, or numbers, which stand to the right.
#[derive(Clone, Debug)]
pub(super) struct Column {
    heading: String,
    class: &'static str,
}

impl Column {
    /// Of words. The heading is HTML.
    pub fn words(heading: impl Into<String>) -> Column {
        Column { heading: heading.into(), class: " class=words" }
    }

    /// Of sentences, which are broken into lines.
    pub fn prose(heading: impl Into<String>) -> Column {
        Column { heading: heading.into(), class: " class='words prose'" }
    }

    /// Of numbers.
    pub fn numbers(heading: impl Into<String>) -> Column {
        Column { heading: heading.into(), class: "" }
    }
}

/// Plots that belong together.
#[derive(Debug)]
pub(super) struct Figure<'f> {
    /// Where a link leads.
    pub id: String,
    /// The plots, from left to right.
    pub plots: Vec<Plot>,
    /// How many stand beside each other.
    pub columns: usize,
    /// What the legend looks like.
    pub legend: Legend,
    /// The configurations that it shows, by their numbers.
    pub configs: Vec<usize>,
    /// What is drawn, how it was computed, and who says so: HTML.
    pub caption: String,
    /// What is to be kept in mind: HTML.
    pub care: Vec<String>,
    /// The records behind it.
    pub records: &'f [&'f Record],
    /// The heap size that was chosen is shown only: the section in which it is chosen.
    pub choice: Option<&'static str>,
}

impl<'a> Page<'a> {
    /// An empty page.
    pub fn new(study: &'a Study<'a>) -> Page<'a> {
        let read = study.read;
        let files = read.files.iter().flat_map(|(path, records)| std::iter::repeat_n(path, *records));
        let origins = read.records.iter().zip(files);
        let origins = origins.map(|(record, path)| (std::ptr::from_ref(record), path.display().to_string())).collect();
        Page { study, plots: Vec::new(), figures: 0, tables: 0, origins }
    }

    /// How a configuration looks.
    pub fn style(&self, config: usize) -> Style {
        let is_baseline = |config: usize| self.study.is_baseline(self.study.configs[config]);
        if is_baseline(config) {
            return Style::baseline();
        }
        Style::of((0..config).filter(|before| !is_baseline(*before)).count())
    }

    /// The plots of all figures, as the script draws them.
    pub fn plots(&self) -> &[Value] {
        &self.plots
    }

    /// A figure.
    pub fn figure(&mut self, figure: Figure<'_>) -> String {
        self.figures += 1;
        let number = self.figures;
        let legend = self.legend(figure.legend, &figure.configs);
        let mut panels = String::new();
        for plot in figure.plots {
            let (i, label) = (self.plots.len(), escaped(&plot.title));
            panels += &format!(
                "<div class=panel><h4>{label}</h4><div class=plot id=plot-{i} data-plot={i} style='height:{}px' role=img aria-label='{label}'></div></div>\n",
                plot.height
            );
            self.plots.push(json!({"choice": figure.choice, "layout": plot.layout, "variants": plot.variants}));
        }
        let care = figure.care.join(" ");
        let care = if care.is_empty() { care } else { format!("<p class=care><b>With care.</b> {care}</p>") };
        format!(
            "<figure id='{}'>{legend}<div class='grid columns-{}' data-columns={}>{panels}</div>
            <figcaption><b>Figure {number}.</b> {}</figcaption>{care}{}</figure>\n",
            escaped(&figure.id),
            figure.columns,
            figure.columns,
            figure.caption,
            self.behind(figure.records)
        )
    }

    fn legend(&self, legend: Legend, configs: &[usize]) -> String {
        let entry = |config: &usize| {
            let style = self.style(*config);
            let sample = match legend {
                Legend::Lines => style.line_sample(),
                Legend::Bars => style.bar_sample(),
                Legend::Areas => style.area_sample(),
            };
            let name = escaped(self.study.configs[*config]);
            format!(
                "<button type=button data-config={config} title='Show or hide {name} in every figure'>{sample} {name}</button>"
            )
        };
        format!("<div class=legend>{}</div>", configs.iter().map(entry).collect::<String>())
    }

    /// A table that scrolls when it is too wide. `head` and `rows` are HTML.
    pub fn table(&mut self, head: &[Column], rows: &[Vec<String>], caption: &str) -> String {
        self.captioned(&bare_table(head, rows), caption)
    }

    /// Tables under a number and a caption.
    pub fn captioned(&mut self, tables: &str, caption: &str) -> String {
        self.tables += 1;
        format!(
            "<figure class=table><figcaption><b>Table {}.</b> {caption}</figcaption>{tables}</figure>\n",
            self.tables
        )
    }

    /// Where a section's heap size is chosen.
    pub fn choice(&self, section: &str) -> String {
        let (choices, first) = (self.study.choices(), self.study.first_choice());
        let option = |(i, level): (usize, &Level)| {
            format!("<option value={i}{}>{level}</option>", if i == first { " selected" } else { "" })
        };
        let options: String = choices.iter().enumerate().map(option).collect();
        format!(
            "<p class=choice>Heap size: <select data-choice={section} aria-label='Heap size'>{options}</select>
            <b class=chosen data-chosen={section}>{}</b></p>\n",
            choices[first]
        )
    }

    /// One of several pieces of HTML, by the choice of a section.
    pub fn variants(&self, section: &str, variants: &[String]) -> String {
        let first = self.study.first_choice();
        let variant = |(i, html): (usize, &String)| {
            let hidden = if i == first { "" } else { " hidden" };
            format!("<div class=variant data-variant={section} data-value={i}{hidden}>{html}</div>\n")
        };
        variants.iter().enumerate().map(variant).collect()
    }

    /// A list of records, folded up: which, from where, of what, and what came of them.
    pub fn behind(&self, records: &[&Record]) -> String {
        let mut rows: BTreeMap<(&str, &str, &str, &str), Vec<&Record>> = BTreeMap::new();
        for record in records {
            let origin = self.origins.get(&std::ptr::from_ref(*record)).map_or("", String::as_str);
            let key = (&*record.cell.program, &*record.program.sha256, &*record.build.sha256, origin);
            rows.entry(key).or_default().push(record);
        }
        let row = |((program, sha256, build, file), records): ((&str, &str, &str, &str), Vec<&Record>)| {
            let configs: BTreeSet<&str> = records.iter().map(|record| &*record.cell.config).collect();
            let levels: BTreeSet<Level> = records.iter().map(|record| Level::of(record)).collect();
            let levels: Vec<String> = levels.iter().map(Level::to_string).collect();
            let failed = failures(&records).unwrap_or_else(|| "none".into());
            [
                escaped(program),
                hash(sha256),
                escaped(&configs.into_iter().collect::<Vec<_>>().join(", ")),
                escaped(&list(&levels.iter().map(String::as_str).collect::<Vec<_>>(), 12)),
                count(records.len() as u64),
                failed,
                hash(build),
                escaped(file),
            ]
            .to_vec()
        };
        let table = bare_table(
            &[
                Column::words("program"),
                Column::words("SHA-256"),
                Column::prose("configurations"),
                Column::prose("heaps"),
                Column::numbers("records"),
                Column::words("failures"),
                Column::words("build"),
                Column::words("file"),
            ],
            &rows.into_iter().map(row).collect::<Vec<_>>(),
        );
        format!(
            "<details class=behind><summary>{} behind this</summary>{table}</details>",
            plural(records.len(), "record")
        )
    }
}

/// A table without caption, of HTML.
pub(super) fn bare_table(head: &[Column], rows: &[Vec<String>]) -> String {
    let row = |row: &Vec<String>| {
        let cells = row.iter().zip(head).map(|(cell, column)| format!("<td{}>{cell}</td>", column.class));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let heads: String = head.iter().map(|column| format!("<th{}>{}</th>", column.class, column.heading)).collect();
    let body: String = rows.iter().map(row).collect();
    format!("<div class=scroll><table><thead><tr>{heads}</tr></thead><tbody>\n{body}</tbody></table></div>")
}
