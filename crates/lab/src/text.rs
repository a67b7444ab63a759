//! Sizes, counts and durations as people write and read them.

use std::time::Duration;

/// The units of a size, by what may follow the number. `K`, `M` and `G` are powers of 1024, as for a Java heap.
const UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("b", 1),
    ("k", 1 << 10),
    ("kib", 1 << 10),
    ("m", 1 << 20),
    ("mib", 1 << 20),
    ("g", 1 << 30),
    ("gib", 1 << 30),
    ("t", 1 << 40),
    ("tib", 1 << 40),
];

/// Parses a number of bytes: `65536`, `64KiB`, `1.5 MiB`, `2G`. Case does not matter.
///
/// # Errors
/// What sizes look like, when `text` does not.
///
/// ```
/// assert_eq!(lab::text::parse_size("64MiB"), Ok(64 << 20));
/// assert_eq!(lab::text::parse_size("0.5k"), Ok(512));
/// assert!(lab::text::parse_size("64 parsecs").unwrap_err().contains("KiB"));
/// ```
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "`{text}` is no size: a number of bytes goes here, or of units of 1024, 1024² or 1024³ bytes, as in 65536, \
             64KiB, 1.5MiB or 2GiB (also K, M, G)"
        )
    };
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    let (number, unit) = (text[..split].replace('_', ""), text[split..].trim().to_ascii_lowercase());
    let (_, scale) = *UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    match number.parse::<u64>() {
        Ok(number) => number.checked_mul(scale).ok_or_else(|| format!("`{text}` is more bytes than 64 bits can count")),
        // A fraction, of less than 2^53 bytes so that it is exact enough.
        Err(_) => match number.parse::<f64>() {
            Ok(number) if number * (scale as f64) < (1u64 << 53) as f64 => Ok((number * scale as f64) as u64),
            _ => Err(wrong()),
        },
    }
}

/// A duration: a number with a unit.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(lab::text::parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
/// assert_eq!(lab::text::parse_duration("2m"), Ok(Duration::from_secs(120)));
/// assert!(lab::text::parse_duration("90").unwrap_err().contains("90s"));
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 5] = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let wrong = || {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        format!("`{text}` is no duration: a number and one of us, ms, s, m and h go here, as in `{digits}s` or 1.5m")
    };
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(wrong)?;
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| format!("`{text}` is longer than time is counted"))
}

/// `1.5 MiB`: three digits or so, in the largest unit that leaves a whole part.
///
/// ```
/// assert_eq!(lab::text::size(1000), "1000 B");
/// assert_eq!(lab::text::size(3 << 19), "1.50 MiB");
/// ```
pub fn size(bytes: u64) -> String {
    let Some((unit, scale)) =
        [("TiB", 1u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)].into_iter().find(|u| bytes >= u.1)
    else {
        return format!("{bytes} B");
    };
    let value = bytes as f64 / scale as f64;
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

/// `1,234,567`.
///
/// ```
/// assert_eq!(lab::text::count(1234567), "1,234,567");
/// assert_eq!(lab::text::count(12), "12");
/// ```
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `12.3 ms`: three digits in the unit that fits.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(lab::text::duration(Duration::from_nanos(12_345_678)), "12.3 ms");
/// assert_eq!(lab::text::duration(Duration::ZERO), "0 ns");
/// ```
pub fn duration(duration: Duration) -> String {
    let nanos = duration.as_nanos() as f64;
    let (value, unit) = match nanos {
        n if n < 1e3 => return format!("{n} ns"),
        n if n < 1e6 => (n / 1e3, "µs"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    let digits = match value {
        v if v < 10.0 => 2,
        v if v < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// Texts side by side, in columns of `width` characters with a rule between them: longer lines are cut, with `…`.
///
/// ```
/// assert_eq!(lab::text::side_by_side(&["a\nb", "c"], 3), "a   │ c\nb   │\n");
/// ```
pub fn side_by_side(texts: &[impl AsRef<str>], width: usize) -> String {
    let mut columns: Vec<_> = texts.iter().map(|text| text.as_ref().lines()).collect();
    let mut joined = String::new();
    loop {
        let row: Vec<Option<&str>> = columns.iter_mut().map(Iterator::next).collect();
        if row.iter().all(Option::is_none) {
            return joined;
        }
        let cells: Vec<String> = row.into_iter().map(|cell| fit(cell.unwrap_or_default(), width)).collect();
        joined.push_str(cells.join(" │ ").trim_end());
        joined.push('\n');
    }
}

/// `line` in exactly `width` characters.
fn fit(line: &str, width: usize) -> String {
    let line = line.trim_end().replace('\t', "    ");
    if line.chars().count() <= width {
        return format!("{line:width$}");
    }
    line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// What there is, as the end of a sentence: ``` `a`, `b` and `c` ```, or `none`.
///
/// ```
/// assert_eq!(lab::text::list(["a", "b", "c"]), "`a`, `b` and `c`");
/// assert_eq!(lab::text::list([""; 0]), "none");
/// ```
pub fn list(items: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let quoted: Vec<String> = items.into_iter().map(|item| format!("`{}`", item.as_ref())).collect();
    match quoted.as_slice() {
        [] => "none".into(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_in_every_unit() {
        for (text, bytes) in [
            ("0", 0),
            ("65_536", 65536),
            ("1b", 1),
            ("1K", 1024),
            ("64 KiB", 65536),
            ("3m", 3 << 20),
            ("1.5MiB", 3 << 19),
            ("4GiB", 4 << 30),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_says_what_is() {
        for text in ["", "MiB", "-1", "12x", "1.2.3K", "1e9", "9999999999999T", "."] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert!(parse_size("64MB").unwrap_err().contains("64KiB"));
    }

    #[test]
    fn columns_are_cut_to_their_width() {
        assert_eq!(side_by_side(&["abcdef\n", "x\ny\n"], 4), "abc… │ x\n     │ y\n");
    }
}
