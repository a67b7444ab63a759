//! Random numbers for tests.

/// A sequence of numbers: xorshift.
pub(in crate::compile) struct Random(pub u64);

impl Random {
    /// One of the first `n` numbers.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}
