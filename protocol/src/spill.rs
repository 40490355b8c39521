//! The beginning of a header that the last input ended in. Owns up to 13 bytes and how they are
//! joined with what follows; knows nothing of what they mean.

use crate::frame::HEADER_SIZE_MAX;

/// Most bytes of a header that is not complete.
const SPILL_MAX: usize = HEADER_SIZE_MAX - 1;

/// See the file's comment.
#[derive(Debug, Default)]
pub(crate) struct Spill {
    /// Zeros behind the first `size` bytes.
    bytes: [u8; 16],
    size: u8,
}

impl Spill {
    pub(crate) fn is_empty(&self) -> bool {
        self.size == 0
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.size).min(SPILL_MAX)
    }

    /// What was spilled, behind it what `rest` begins with, and how many of these bytes count: as
    /// many as there are, and at most a header's.
    #[inline]
    pub(crate) fn join(&self, rest: &[u8]) -> ([u8; 16], usize) {
        let known = if self.is_empty() {
            0
        } else {
            u128::from_le_bytes(self.bytes)
        };
        let joined = known | beginning(rest) << (8 * self.len());
        let size = (self.len() + rest.len()).min(HEADER_SIZE_MAX);
        (joined.to_le_bytes(), size)
    }

    /// Remembers `rest` too, all that is left of an input that ended inside a header.
    pub(crate) fn take(&mut self, rest: &[u8]) {
        let (bytes, size) = self.join(rest);
        self.bytes = bytes;
        self.size = size.min(SPILL_MAX) as u8;
    }
}

/// Up to 16 bytes that `bytes` begins with, the first one lowest. In registers throughout: bytes
/// gathered in memory and read back as one word would wait for each other.
fn beginning(bytes: &[u8]) -> u128 {
    let shift = |size: usize| 8 * (bytes.len() - size) as u32;
    if let Some(bytes) = bytes.first_chunk() {
        return u128::from_le_bytes(*bytes);
    }
    if let (Some(head), Some(tail)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let tail = u128::from(u64::from_le_bytes(*tail));
        return u128::from(u64::from_le_bytes(*head)) | tail << shift(8);
    }
    if let (Some(head), Some(tail)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let tail = u64::from(u32::from_le_bytes(*tail));
        return u128::from(u64::from(u32::from_le_bytes(*head)) | tail << shift(4));
    }
    let bytes = bytes.iter().rev();
    u128::from(bytes.fold(0_u32, |all, byte| all << 8 | u32::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_bytes_are_the_bytes_in_order() {
        let bytes: Vec<u8> = (1..40).collect();
        for first in 0..=SPILL_MAX {
            for second in 0..=SPILL_MAX - first {
                for rest in 0..20 {
                    let mut spill = Spill::default();
                    spill.take(&bytes[..first]);
                    spill.take(&bytes[first..first + second]);
                    let spilled = first + second;
                    assert_eq!(spill.len(), spilled);
                    let (joined, size) = spill.join(&bytes[spilled..spilled + rest]);
                    assert_eq!(size, (spilled + rest).min(HEADER_SIZE_MAX));
                    assert_eq!(joined[..size], bytes[..size], "{first}, {second}, {rest}");
                }
            }
        }
    }
}
