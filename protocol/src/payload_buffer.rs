//! The payload of an unfinished message: memory that grows with what arrived and is written in one
//! pass. Knows nothing of frames beyond their masking key, and nothing of text beyond ASCII.
//!
//! ```text
//! memory  │ filled: the message so far │ written before, by an earlier message │ capacity │
//!                                        bytes land here unmasked, in one pass   copied, then
//!                                                                                unmasked
//! ```
//!
//! Safe code can write only where something was written before, so emptying the buffer forgets
//! how much of it counts and keeps what it holds. Nothing behind `filled` is ever handed out.

use crate::mask::{MaskingKey, copy_unmasked_is_ascii, is_ascii, unmask_is_ascii};

/// What is copied before it is unmasked where it landed: little enough to be in the first-level
/// cache still.
const STEP_SIZE: usize = 16 * 1024;

/// See the file's comment.
#[derive(Debug, Default)]
pub(crate) struct PayloadBuffer {
    /// All of it was written once; `filled <= memory.len()`.
    memory: Vec<u8>,
    filled: usize,
}

impl PayloadBuffer {
    /// The payload so far.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.memory.get(..self.filled).unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.filled
    }

    pub(crate) fn capacity(&self) -> usize {
        self.memory.capacity()
    }

    /// Empties the buffer and keeps its memory.
    pub(crate) fn clear(&mut self) {
        self.filled = 0;
    }

    /// Makes room for `additional` bytes and, where that means new memory, for `slack(needed)`
    /// bytes more, where `needed` is all that arrived.
    #[inline]
    pub(crate) fn reserve(&mut self, additional: usize, slack: impl FnOnce(usize) -> usize) {
        let needed = self.filled + additional;
        if needed > self.memory.capacity() {
            // What does not count is not worth moving.
            self.memory.truncate(self.filled);
            self.memory.reserve_exact(additional + slack(needed));
        }
    }

    /// Appends `chunk`, unmasked, whose first byte is number `phase` of its frame's payload;
    /// whether it is known to be ASCII.
    #[inline]
    pub(crate) fn append(&mut self, chunk: &[u8], key: Option<MaskingKey>, phase: usize) -> bool {
        let room = self.memory.get_mut(self.filled..).unwrap_or_default();
        let Some(target) = room.get_mut(..chunk.len()) else {
            return self.append_growing(chunk, key, phase);
        };
        self.filled += chunk.len();
        copy(target, chunk, key, phase)
    }

    /// As `append`, where some of the memory was not written yet.
    #[inline(never)]
    fn append_growing(&mut self, chunk: &[u8], key: Option<MaskingKey>, mut phase: usize) -> bool {
        let room = self.memory.get_mut(self.filled..).unwrap_or_default();
        let (known, new) = chunk.split_at(room.len().min(chunk.len()));
        let mut ascii = copy(room, known, key, phase);
        phase += known.len();
        for step in new.chunks(STEP_SIZE) {
            let start = self.memory.len();
            self.memory.extend_from_slice(step);
            let landed = self.memory.get_mut(start..).unwrap_or_default();
            ascii &= match key {
                Some(key) => unmask_is_ascii(landed, key, phase),
                None => is_ascii(landed),
            };
            phase += step.len();
        }
        self.filled += chunk.len();
        ascii
    }

    /// Fills the buffer anew with what `write` appends to an empty vector.
    pub(crate) fn refill<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        self.memory.clear();
        let result = write(&mut self.memory);
        self.filled = self.memory.len();
        result
    }
}

/// Copies `chunk`, unmasked, over `target`, which has the same size.
#[inline]
fn copy(target: &mut [u8], chunk: &[u8], key: Option<MaskingKey>, phase: usize) -> bool {
    match key {
        Some(key) => copy_unmasked_is_ascii(target, chunk, key, phase),
        None => {
            target.copy_from_slice(chunk);
            is_ascii(chunk)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: MaskingKey = MaskingKey([0x37, 0xfa, 0x21, 0x3d]);

    #[test]
    fn a_used_buffer_gives_what_a_fresh_one_gives() {
        let mut used = PayloadBuffer::default();
        for size in [0, 1, 700, 3, 20_000, 333, 50_000, 49_999, 64, 50_001] {
            let chunk: Vec<u8> = (0..size).map(|index| (index * 31 % 127) as u8).collect();
            for (key, cuts) in [(Some(KEY), 7), (None, 1), (Some(KEY), 1)] {
                let mut fresh = PayloadBuffer::default();
                used.clear();
                assert!(used.bytes().is_empty());
                let mut phase = 0;
                for part in chunk.chunks((size / cuts).max(1)) {
                    for buffer in [&mut used, &mut fresh] {
                        buffer.reserve(part.len(), |_| 10);
                        buffer.append(part, key, phase);
                    }
                    phase += part.len();
                }
                let expected: Vec<u8> = chunk
                    .iter()
                    .enumerate()
                    .map(|(index, byte)| byte ^ key.map_or(0, |key| key.0[index & 3]))
                    .collect();
                assert_eq!(used.bytes(), expected, "size {size}, {cuts} parts");
                assert_eq!(fresh.bytes(), expected, "size {size}, {cuts} parts");
                assert_eq!(used.len(), size);
            }
        }
    }

    #[test]
    fn refilling_forgets_what_was_there() {
        let mut buffer = PayloadBuffer::default();
        buffer.append(b"a long message", None, 0);
        buffer.refill(|memory| {
            assert!(memory.is_empty());
            memory.extend_from_slice(b"short");
        });
        assert_eq!(buffer.bytes(), b"short");
        buffer.clear();
        assert_eq!(buffer.len(), 0);
        assert!(buffer.append(b"s", None, 0));
        assert_eq!(buffer.bytes(), b"s");
    }
}
