//! The report: one HTML file from records, with everything it needs in it.
//!
//! Numbers are made here, from records alone; [`report.js`](../../src/report/report.js) hands them to Plotly.js, which stands in the file, and
//! only draws. So the same records give the same file. A section is a module: what it computes, its figures or tables, its captions.
//! What is missing or doubtful is shown beside what it concerns.

mod care;
mod counters;
mod environment;
mod latency;
mod overheads;
mod page;
mod pauses;
mod phase;
mod plot;
mod study;
mod summary;
mod text;
mod times;

use crate::files::Records;
use page::Page;
use study::Study;
use text::escaped;

/// A section: where a link leads, its heading, and its HTML.
type Section = (&'static str, &'static str, String);

/// A page that shows `records`, complete in itself.
///
/// Cost: linear in records and pauses but for utilisation, which takes some 60 passes over the pauses.
pub fn html(records: &Records, title: &str) -> String {
    let study = Study::new(records);
    let mut page = Page::new(&study);
    let sections = sections(&mut page);
    let links: String =
        sections.iter().map(|(id, heading, _)| format!("<li><a href='#{id}'>{heading}</a></li>\n")).collect();
    let body: String = sections
        .iter()
        .map(|(id, heading, html)| format!("<section id={id}><h2>{heading}</h2>\n{html}</section>\n"))
        .collect();
    // `<` cannot end the script that it stands in when it is written so.
    let plots = serde_json::Value::from(page.plots().to_vec()).to_string().replace('<', "\\u003c");
    let title = escaped(title);
    format!(
        "<!doctype html>
<html lang=en>
<head>
<meta charset=utf-8>
<meta name=viewport content='width=device-width, initial-scale=1'>
<title>{title}</title>
<style>{}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<nav><ol>{links}</ol></nav>
{body}</main>
<script id=plots type=application/json>{plots}</script>
{}
<script>{}</script>
</body>
</html>
",
        include_str!("report.css"),
        plotly(),
        include_str!("report.js")
    )
}

/// Plotly.js alone: the sources that the crate has for pages without a network come with a library for formulae behind it.
fn plotly() -> String {
    const END: &str = "</script>";
    let mut sources = plotly::Plot::offline_js_sources();
    let end = sources.find(END).map_or(sources.len(), |end| end + END.len());
    sources.truncate(end);
    sources
}

/// The sections for which there are records.
fn sections(page: &mut Page<'_>) -> Vec<Section> {
    let mut sections = Vec::new();
    let measured = !page.study.programs.is_empty();
    if measured {
        sections.push(("summary", "Summary", summary::section(page)));
        if !page.study.timed.is_empty() {
            if !page.study.levels.is_empty() {
                sections.push(("times", "Time and heap size", times::section(page)));
            }
            sections.push(("overheads", "Lower-bound overheads", overheads::section(page)));
        }
        sections.push(("utilisation", "Mutator utilisation", pauses::utilisation_section(page)));
        sections.push(("pauses", "Pauses", pauses::pause_section(page)));
        sections.extend(latency::section(page).map(|html| ("latency", "Latency of requests", html)));
        sections.push(("counters", "Counters", counters::section(page)));
        sections.extend(phase::section(page).map(|html| ("phase", "Phase diagram", html)));
    }
    sections.extend(environment::minimum_section(page).map(|html| ("minima", "Smallest heaps", html)));
    sections.push(("environment", "Environment", environment::section(page)));
    sections
}

#[cfg(test)]
mod tests {
    use super::study::samples::*;
    use super::*;

    #[test]
    fn the_page_has_plotly_and_nothing_else_in_it() {
        let page = html(&read(vec![run("p</script>", "<b>", Some(2.0), 0, 10, 1)]), "a & b");
        assert!(page.contains("<title>a &amp; b</title>") && page.contains("plotly.js v"));
        assert!(!page.contains("MathJax.version=") && page.len() < 6 << 20, "{}", page.len());
        assert!(!page.contains("p</script>") && !page.contains("<b>,"));
    }

    #[test]
    fn records_of_searches_alone_are_enough() {
        let mut record = run("p", "a", None, 0, 10, 1);
        record.purpose = crate::record::Purpose::Minheap;
        let page = html(&read(vec![record]), "t");
        assert!(page.contains("<section id=minima>") && !page.contains("<section id=times>"));
    }
}
