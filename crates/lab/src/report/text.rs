//! Numbers with their units, and words that are safe in HTML.

use crate::text::duration;
use std::time::Duration;

/// Text as it may stand between tags and in attributes.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            _ => out.push(c),
        }
    }
    out
}

/// Nanoseconds in the unit that suits them.
pub(super) fn time(ns: f64) -> String {
    duration(Duration::from_nanos(ns.round() as u64))
}

/// `1 record`, `2 records`.
pub(super) fn plural(count: usize, word: &str) -> String {
    format!("{} {word}{}", crate::text::count(count as u64), if count == 1 { "" } else { "s" })
}

/// An estimate of a time with its interval.
pub(super) fn estimate(estimate: &crate::stats::Estimate) -> String {
    let half = if estimate.half.is_finite() { format!(" ± {}", time(estimate.half)) } else { String::new() };
    format!("{}{half} (n = {})", time(estimate.mean), estimate.n)
}

/// The first digits of a hash: enough to tell hashes apart.
pub(super) fn hash(hash: &str) -> String {
    format!("<code>{}</code>", escaped(hash.get(..12).unwrap_or(hash)))
}

/// Words of a list, at most `most` of them.
pub(super) fn list(words: &[&str], most: usize) -> String {
    match words.len().checked_sub(most) {
        None | Some(0) => words.join(", "),
        Some(more) => format!("{} and {more} more", words[..most].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_say_how_much_is_left_out() {
        assert_eq!(list(&["a", "b", "c"], 2), "a, b and 1 more");
        assert_eq!(list(&["a", "b"], 2), "a, b");
        assert_eq!(plural(1000, "record"), "1,000 records");
    }

    #[test]
    fn markup_in_names_is_text() {
        assert_eq!(escaped("<a href='x'>&\""), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;");
    }
}
