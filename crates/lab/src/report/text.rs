//! Numbers with their units, and words that are safe in HTML.

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

/// Three digits that count.
pub(super) fn three(value: f64) -> String {
    let magnitude = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
    format!("{value:.*}", (2 - magnitude).clamp(0, 9) as usize)
}

/// Nanoseconds in the unit that suits them.
pub(super) fn time(ns: f64) -> String {
    let (scale, unit) = match ns.abs() {
        ns if ns >= 1e9 => (1e9, "s"),
        ns if ns >= 1e6 => (1e6, "ms"),
        ns if ns >= 1e3 => (1e3, "µs"),
        _ => (1.0, "ns"),
    };
    format!("{} {unit}", three(ns / scale))
}

/// Bytes in the unit that suits them.
pub(super) fn size(bytes: u64) -> String {
    let (scale, unit) = match bytes {
        bytes if bytes >= 1 << 30 => (1u64 << 30, "GiB"),
        bytes if bytes >= 1 << 20 => (1 << 20, "MiB"),
        _ => (1 << 10, "KiB"),
    };
    format!("{} {unit}", three(bytes as f64 / scale as f64))
}

/// A whole number in groups of three digits.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 record`, `2 records`.
pub(super) fn plural(count: usize, word: &str) -> String {
    format!("{} {word}{}", self::count(count as u64), if count == 1 { "" } else { "s" })
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
    fn numbers_have_units_and_three_digits() {
        assert_eq!(time(1_234_567.0), "1.23 ms");
        assert_eq!(time(999.0), "999 ns");
        assert_eq!(time(12_345.0), "12.3 µs");
        assert_eq!(time(0.0), "0.00 ns");
        assert_eq!(size(1 << 20), "1.00 MiB");
        assert_eq!(size(1536), "1.50 KiB");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(123), "123");
        assert_eq!(list(&["a", "b", "c"], 2), "a, b and 1 more");
        assert_eq!(list(&["a", "b"], 2), "a, b");
    }

    #[test]
    fn markup_in_names_is_text() {
        assert_eq!(escaped("<a href='x'>&\""), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;");
    }
}
