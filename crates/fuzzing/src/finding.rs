//! Inputs that are bytes, and show something wrong: printed with what they stand for and a command that runs them again.

use gc_testkit::catching;

/// Runs `check`, which is what the target does with `input` `under` this collector.
///
/// # Panics
/// When `check` does. The message has what that one said, what the input stands for, and the command.
pub fn check_input(target: &str, input: &[u8], under: &str, stands_for: impl FnOnce() -> String, check: impl FnOnce()) {
    // Under libFuzzer a panic ends the process before anyone catches it, so that all must be said in one.
    if let Err(what) = catching(check) {
        let (stands_for, hex) = (stands_for(), hex(input));
        panic!(
            "under the collector {under}: {what}\n{stands_for}\nreproduce by:\n\
             GLEANER_REPLAY=/dev/stdin cargo test --test fuzz_bodies {target} <<'END'\n{hex}END"
        );
    }
}

/// Bytes as lines of hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .chunks(60)
        .map(|line| line.iter().map(|byte| format!("{byte:02x}")).chain(["\n".into()]).collect::<String>())
        .collect()
}

/// The input in the file that `GLEANER_REPLAY` names, if it is set.
///
/// # Panics
/// When there are not hexadecimal digits in it, as they are printed.
pub fn replayed() -> Option<Vec<u8>> {
    gc_testkit::replayed().map(|text| input_of(&text).expect("an input is hexadecimal digits, two a byte"))
}

/// The bytes that are printed so.
pub fn input_of(hex: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        hex.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_as_they_are_written() {
        for input in [vec![], vec![0], (0..=255).collect()] {
            assert_eq!(input_of(&hex(&input)), Some(input));
        }
        assert_eq!([input_of("abc"), input_of("0x")], [None, None]);
    }
}
