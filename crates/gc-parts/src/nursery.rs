//! How large a nursery should be.

use gc_api::{CollectorOptions, OptionError, OptionInfo};

/// An adapted nursery begins with so many bytes, and never has less: about the second-level cache.
const SMALL: u64 = 1 << 20;
/// ... nor more.
const LARGE: u64 = 32 << 20;

/// The size of a nursery: as was asked for; or one that doubles while more than 1/8 of it survives, and halves while less than 1/64 does.
///
/// A larger nursery gives objects more time to die, a smaller one is still in the cache when it is used again: A. W. Appel, *Simple
/// generational garbage collection and fast allocation*, Software: Practice and Experience 1989.
#[derive(Clone, Debug)]
pub struct NurserySize {
    adapts: bool,
    bytes: u64,
    least: u64,
    most: u64,
}

impl NurserySize {
    /// The option of how large it should be.
    pub const OPTION: OptionInfo = OptionInfo {
        key: "nursery",
        values: "KiB (16 to 1048576) or auto",
        default: "auto",
        summary: "how much is allocated between two collections, unless the heap is too small for it",
    };

    /// What was chosen, in bytes; `None` to adapt.
    ///
    /// # Errors
    /// When it is no such number.
    pub fn option(options: &CollectorOptions) -> Result<Option<u64>, OptionError> {
        NurserySize::option_of(options, NurserySize::OPTION.key)
    }

    /// What was chosen by another key.
    ///
    /// # Errors
    /// As [`option`](Self::option).
    pub fn option_of(options: &CollectorOptions, key: &'static str) -> Result<Option<u64>, OptionError> {
        match options.get(key) {
            None | Some("auto") => Ok(None),
            Some(_) => Ok(Some(options.number(key, 0, 16..=1 << 20)? << 10)),
        }
    }

    /// As was chosen, but no more than `most` bytes.
    pub fn new(chosen: Option<u64>, most: u64) -> NurserySize {
        let least = chosen.unwrap_or(SMALL).min(most);
        NurserySize { adapts: chosen.is_none(), bytes: least, least, most: chosen.unwrap_or(LARGE).min(most) }
    }

    /// As new.
    pub fn reset(&mut self) {
        self.bytes = self.least;
    }

    /// Bytes that it should have now.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The most that it may come to have.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// A collection found that `survived` bytes of the `used` ones survive. Says nothing of a nursery that was used by less than half.
    pub fn collected(&mut self, used: u64, survived: u64) {
        if !self.adapts || used < self.bytes / 2 {
            return;
        }
        if survived > used / 8 {
            self.bytes = (self.bytes * 2).min(self.most);
        } else if survived < used / 64 {
            self.bytes = (self.bytes / 2).max(self.least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_survival_between_its_bounds() {
        let mut size = NurserySize::new(None, 6 << 20);
        let mut after = |used: u64, survived| {
            size.collected(used, survived);
            size.bytes() >> 20
        };
        assert_eq!(after(1 << 20, 200 << 10), 2);
        assert_eq!(after(2 << 20, 200 << 10), 2);
        // Hardly used: that says nothing.
        assert_eq!(after(100 << 10, 100 << 10), 2);
        assert_eq!(after(2 << 20, 2 << 20), 4);
        assert_eq!(after(4 << 20, 4 << 20), 6);
        assert_eq!(after(6 << 20, 0), 3);
        assert_eq!((after(3 << 20, 0), after(1 << 20, 0)), (1, 1));
    }

    #[test]
    fn a_chosen_one_stays() {
        let mut size = NurserySize::new(Some(64 << 10), 6 << 20);
        size.collected(64 << 10, 64 << 10);
        assert_eq!((size.bytes(), size.most()), (64 << 10, 64 << 10));
        assert_eq!(NurserySize::new(Some(64 << 20), 6 << 20).bytes(), 6 << 20);
    }
}
