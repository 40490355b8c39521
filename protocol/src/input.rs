//! The cursor over the caller's buffer. Owns how far the input was taken, and nothing else.

use std::ops::Range;

/// A cursor over received bytes. Payloads are unmasked in place.
#[derive(Debug)]
pub struct Input<'b> {
    bytes: &'b mut [u8],
    /// `position <= bytes.len()`.
    position: usize,
}

impl<'b> Input<'b> {
    /// All of `bytes` is yet to be taken.
    #[inline]
    pub fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// How many bytes are yet to be taken.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    #[inline(always)]
    pub(crate) fn rest(&self) -> &[u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    /// Moves behind the next `count` bytes and returns where they are; fewer at the end.
    #[inline(always)]
    pub(crate) fn take(&mut self, count: usize) -> Range<usize> {
        let start = self.position;
        self.position = start + count.min(self.bytes.len() - start);
        start..self.position
    }

    #[inline(always)]
    pub(crate) fn at(&mut self, range: Range<usize>) -> &mut [u8] {
        self.bytes.get_mut(range).unwrap_or_default()
    }
}
