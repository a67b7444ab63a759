//! Where a program's output goes: standard output, shared by everything that the host offers for printing.

use std::io::{self, LineWriter, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A program's output, buffered by line. Clones write to the same place.
#[derive(Clone)]
pub struct Output(Arc<Mutex<Inner>>);

struct Inner {
    to: LineWriter<Box<dyn Write + Send>>,
    /// The first half of a surrogate pair whose second half has not come yet.
    high_surrogate: Option<u16>,
}

impl Output {
    /// Output that goes to `to`.
    pub fn new(to: impl Write + Send + 'static) -> Output {
        Output(Arc::new(Mutex::new(Inner { to: LineWriter::new(Box::new(to)), high_surrogate: None })))
    }

    /// Output that goes to the process's standard output.
    pub fn stdout() -> Output {
        Output::new(io::stdout())
    }

    /// Output that goes nowhere.
    pub fn none() -> Output {
        Output::new(io::sink())
    }

    /// Writes bytes.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.lock();
        inner.end_pair()?;
        inner.to.write_all(bytes)
    }

    /// Writes one unit of UTF-16; half a surrogate pair waits for the other half, and is replaced by U+FFFD if that
    /// does not come. A number that is no unit is taken for a character's.
    ///
    /// # Errors
    /// The system's.
    pub fn write_utf16(&self, unit: u32) -> io::Result<()> {
        let mut inner = self.lock();
        match (inner.high_surrogate, unit) {
            (Some(high), 0xDC00..=0xDFFF) => {
                inner.high_surrogate = None;
                inner.write_char(0x10000 + ((u32::from(high) - 0xD800) << 10) + (unit - 0xDC00))
            }
            (_, 0xD800..=0xDBFF) => {
                inner.end_pair()?;
                inner.high_surrogate = Some(unit as u16);
                Ok(())
            }
            _ => {
                inner.end_pair()?;
                inner.write_char(unit)
            }
        }
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// The system's.
    pub fn flush(&self) -> io::Result<()> {
        let mut inner = self.lock();
        inner.end_pair()?;
        inner.to.flush()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn write_char(&mut self, code: u32) -> io::Result<()> {
        let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        self.to.write_all(c.encode_utf8(&mut [0; 4]).as_bytes())
    }

    /// Gives up on the second half of a pair.
    fn end_pair(&mut self) -> io::Result<()> {
        match self.high_surrogate.take() {
            Some(high) => self.write_char(high.into()),
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Output")
    }
}

/// Standard output cannot be written any more, and how the program that was writing to it learnt of it.
#[derive(Debug, thiserror::Error)]
#[error("the output cannot be written: {0}")]
pub struct OutputError(#[from] pub io::Error);

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A writer that shares what was written.
    #[derive(Clone, Default)]
    pub(crate) struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Buffer {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(units: &[u32]) -> String {
        let buffer = Buffer::default();
        let output = Output::new(buffer.clone());
        units.iter().for_each(|unit| output.write_utf16(*unit).unwrap());
        output.flush().unwrap();
        buffer.text()
    }

    #[test]
    fn surrogates_pair_up() {
        assert_eq!(written(&[0x41, 0xD83D, 0xDE00, 0x42]), "A😀B");
    }

    #[test]
    fn half_pairs_are_replaced() {
        assert_eq!(written(&[0xD83D, 0x42]), "\u{FFFD}B");
        assert_eq!(written(&[0xDE00]), "\u{FFFD}");
        assert_eq!(written(&[0xD83D, 0xD83D, 0xDE00]), "\u{FFFD}😀");
        assert_eq!(written(&[0xD83D]), "\u{FFFD}");
    }

    #[test]
    fn numbers_that_are_no_unit_are_characters() {
        assert_eq!(written(&[0x1F600, 0x110000, u32::MAX]), "😀\u{FFFD}\u{FFFD}");
    }

    #[test]
    fn lines_come_out_when_they_end() {
        let buffer = Buffer::default();
        let output = Output::new(buffer.clone());
        output.write(b"one\ntwo").unwrap();
        assert_eq!(buffer.text(), "one\n");
        output.flush().unwrap();
        assert_eq!(buffer.text(), "one\ntwo");
    }
}
