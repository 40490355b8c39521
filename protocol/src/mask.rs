//! Masking (RFC 6455 5.3), in words and vectors: in place, and on the way to another place.
//!
//! Owns the XOR loops and nothing else. Short payloads go through safe code in fixed blocks, which
//! the compiler turns into the vector instructions every target has; longer ones through `pulp`,
//! which picks the widest vectors of the machine at run time behind a safe interface.
//!
//! A payload is rarely a multiple of anything. On the way to another place its first and its last
//! block may overlap what is between them, so that no byte is treated alone.

use pulp::{Arch, Simd, WithSimd, bytemuck};

/// The masking key of one frame (RFC 6455 5.3). Draw a fresh, unpredictable one for every frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaskingKey(pub [u8; 4]);

/// From this many bytes on, choosing the machine's widest vectors pays for itself.
const WIDE_SIZE_MIN: usize = 192;
/// From this many bytes on, beginning at a cache line's start pays for itself.
const ALIGNED_SIZE_MIN: usize = 768;
const CACHE_LINE_SIZE: usize = 64;
/// Unmasked payloads of fewer bytes are looked through for ASCII before they are validated.
const PROBED_SIZE_MAX: usize = 320;

const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// Masks or unmasks `bytes`, whose first byte is number `phase` of its payload (RFC 6455 5.3).
#[inline]
pub fn unmask(bytes: &mut [u8], key: MaskingKey, phase: usize) {
    unmask_is_ascii(bytes, key, phase);
}

/// As [`unmask`], and says whether all the resulting bytes are ASCII: the words are in registers
/// anyway, which saves text messages a pass.
#[inline]
pub(crate) fn unmask_is_ascii(bytes: &mut [u8], key: MaskingKey, phase: usize) -> bool {
    let key = Key::new(key, phase);
    if bytes.len() < WIDE_SIZE_MIN {
        apply_narrow(bytes, key) & HIGH_BITS == 0
    } else {
        apply_wide(bytes, key)
    }
}

/// Copies `source` over `target`, which has the same size, and unmasks it on the way; whether all
/// the resulting bytes are ASCII.
#[inline]
pub(crate) fn copy_unmasked_is_ascii(
    target: &mut [u8],
    source: &[u8],
    key: MaskingKey,
    phase: usize,
) -> bool {
    let key = Key::new(key, phase);
    if source.len() < WIDE_SIZE_MIN {
        copy_narrow(target, source, key) & HIGH_BITS == 0
    } else {
        copy_wide(target, source, key)
    }
}

/// Whether all bytes are ASCII; for payloads that arrived unmasked.
#[inline]
pub(crate) fn is_ascii(bytes: &[u8]) -> bool {
    // Longer ones are validated in one pass by simdutf8, which has the wider vectors.
    bytes.len() < PROBED_SIZE_MAX && bytes.is_ascii()
}

/// The key as a word whose lowest byte meets the first byte.
#[derive(Clone, Copy)]
struct Key(u32);

impl Key {
    #[inline(always)]
    fn new(key: MaskingKey, phase: usize) -> Self {
        Self(u32::from_le_bytes(key.0)).at(phase)
    }

    /// The key as it meets the byte `offset` bytes further on.
    #[inline(always)]
    fn at(self, offset: usize) -> Self {
        Self(self.0.rotate_right(8 * (offset as u32 & 3)))
    }
}

/// XORs the key over `bytes`; returns all resulting words ORed together.
#[inline(always)]
fn apply_narrow(bytes: &mut [u8], key: Key) -> u64 {
    let wide = u64::from(key.0) << 32 | u64::from(key.0);
    let mut seen = [0_u64; 8];
    let (blocks, rest) = bytes.as_chunks_mut::<64>();
    for block in blocks {
        for (word, seen) in block.as_chunks_mut::<8>().0.iter_mut().zip(&mut seen) {
            let plain = u64::from_le_bytes(*word) ^ wide;
            *word = plain.to_le_bytes();
            *seen |= plain;
        }
    }
    let mut seen = seen.iter().fold(0, |all, word| all | word);
    let (words, rest) = rest.as_chunks_mut::<8>();
    for word in words {
        let plain = u64::from_le_bytes(*word) ^ wide;
        *word = plain.to_le_bytes();
        seen |= plain;
    }
    // At most seven bytes: four, two, one.
    let mut key = key.0;
    let (words, rest) = rest.as_chunks_mut::<4>();
    if let Some(word) = words.first_mut() {
        let plain = u32::from_le_bytes(*word) ^ key;
        *word = plain.to_le_bytes();
        seen |= u64::from(plain);
    }
    let (pairs, rest) = rest.as_chunks_mut::<2>();
    if let Some(pair) = pairs.first_mut() {
        let plain = u16::from_le_bytes(*pair) ^ key as u16;
        *pair = plain.to_le_bytes();
        seen |= u64::from(plain);
        key >>= 16;
    }
    if let Some(byte) = rest.first_mut() {
        *byte ^= key as u8;
        seen |= u64::from(*byte);
    }
    seen
}

/// A block of whole words, unmasked, and its words ORed together.
#[inline(always)]
fn plain<const SIZE: usize>(mut block: [u8; SIZE], key: Key) -> ([u8; SIZE], u64) {
    for word in block.as_chunks_mut::<4>().0 {
        *word = (u32::from_le_bytes(*word) ^ key.0).to_le_bytes();
    }
    let words = block.as_chunks::<4>().0.iter();
    let seen = words.fold(0, |seen, word| seen | u32::from_le_bytes(*word));
    (block, u64::from(seen))
}

/// As `apply_narrow`, from `source` to `target`. The last block overlaps the one before it where
/// the size is no multiple of the block's; what overlaps is written twice with the same bytes.
#[inline(always)]
fn copy_narrow(target: &mut [u8], source: &[u8], key: Key) -> u64 {
    let seen = match source.len() {
        ..4 => {
            let mut seen = 0;
            for ((target, byte), key) in target.iter_mut().zip(source).zip(key.0.to_le_bytes()) {
                *target = byte ^ key;
                seen |= u64::from(*target);
            }
            return seen;
        }
        4..8 => copy_ends::<4>(target, source, key),
        8..16 => copy_ends::<8>(target, source, key),
        16..32 => copy_ends::<16>(target, source, key),
        32..64 => copy_ends::<32>(target, source, key),
        _ => copy_ends::<64>(target, source, key),
    };
    seen.unwrap_or_default()
}

/// In blocks of `SIZE` bytes, of which there must be one at least.
#[inline(always)]
fn copy_ends<const SIZE: usize>(target: &mut [u8], source: &[u8], key: Key) -> Option<u64> {
    let last = source.len().wrapping_sub(SIZE);
    let (tail, mut seen) = plain::<SIZE>(*source.last_chunk()?, key.at(last));
    let blocks = source.as_chunks::<SIZE>().0;
    for (target, block) in target.as_chunks_mut::<SIZE>().0.iter_mut().zip(blocks) {
        let seen_here;
        (*target, seen_here) = plain(*block, key);
        seen |= seen_here;
    }
    *target.last_chunk_mut()? = tail;
    Some(seen)
}

/// A cache line's worth of bytes, wherever it lies.
type Line = [u8; CACHE_LINE_SIZE];

/// With the machine's widest vectors; whether all resulting bytes are ASCII.
#[inline(never)]
fn apply_wide(bytes: &mut [u8], key: Key) -> bool {
    let ahead = to_cache_line(bytes).min(bytes.len());
    let (head, rest) = bytes.split_at_mut(ahead);
    let key_of_rest = key.at(ahead);
    let (lines, tail) = rest.as_chunks_mut();
    // Lines are multiples of four, so the tail begins where the rest does in the key. Blocks that
    // overlap would do here too, but whoever reads the payload next would wait for both stores.
    let mut seen = 0;
    if !head.is_empty() {
        seen |= apply_narrow(head, key);
    }
    if !tail.is_empty() {
        seen |= apply_narrow(tail, key_of_rest);
    }
    let key = key_of_rest;
    Arch::new().dispatch(Apply { lines, key }) && seen & HIGH_BITS == 0
}

struct Apply<'b> {
    lines: &'b mut [Line],
    key: Key,
}

impl WithSimd for Apply<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let mut lines = Lines::new(simd);
        let key = lines.vector(self.key);
        let (fours, rest) = self.lines.as_chunks_mut::<4>();
        for four in fours {
            for (index, line) in four.iter_mut().enumerate() {
                *line = lines.plain(*line, key, index);
            }
        }
        for line in rest {
            *line = lines.plain(*line, key, 0);
        }
        lines.is_ascii()
    }
}

/// As `apply_wide`, from `source` to `target`.
#[inline(never)]
fn copy_wide(target: &mut [u8], source: &[u8], key: Key) -> bool {
    Arch::new().dispatch(Copy {
        target,
        source,
        key,
    })
}

struct Copy<'b> {
    target: &'b mut [u8],
    source: &'b [u8],
    key: Key,
}

impl WithSimd for Copy<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let Self {
            target,
            source,
            key,
        } = self;
        let mut lines = Lines::new(simd);
        if let (Some(place), Some(line)) = (target.first_chunk_mut(), source.first_chunk()) {
            *place = lines.plain(*line, lines.vector(key), 0);
        }
        if let (Some(place), Some(line)) = (target.last_chunk_mut(), source.last_chunk()) {
            let key = key.at(source.len() - CACHE_LINE_SIZE);
            *place = lines.plain(*line, lines.vector(key), 1);
        }
        let ahead = to_cache_line(target);
        let key = lines.vector(key.at(ahead));
        let (places, _) = target.get_mut(ahead..).unwrap_or_default().as_chunks_mut();
        let (middle, _) = source.get(ahead..).unwrap_or_default().as_chunks();
        let (four_places, places) = places.as_chunks_mut::<4>();
        let (fours, rest) = middle.as_chunks::<4>();
        for (places, four) in four_places.iter_mut().zip(fours) {
            for (index, (place, line)) in places.iter_mut().zip(four).enumerate() {
                *place = lines.plain(*line, key, index);
            }
        }
        for (place, line) in places.iter_mut().zip(rest) {
            *place = lines.plain(*line, key, 0);
        }
        lines.is_ascii()
    }
}

/// How many bytes come before the first cache line that `target` has from its start on, or none
/// where that would not pay.
#[inline(always)]
fn to_cache_line(target: &[u8]) -> usize {
    if target.len() < ALIGNED_SIZE_MIN {
        return 0;
    }
    // At most a line less a byte, unless the pointer's distance cannot be known.
    target.as_ptr().align_offset(CACHE_LINE_SIZE) & (CACHE_LINE_SIZE - 1)
}

/// Unmasks lines in vectors and remembers the bits it saw, in four places that do not wait for
/// each other.
struct Lines<S: Simd> {
    simd: S,
    seen: [S::u32s; 4],
}

impl<S: Simd> Lines<S> {
    #[inline(always)]
    fn new(simd: S) -> Self {
        Self {
            simd,
            seen: [simd.splat_u32s(0); 4],
        }
    }

    #[inline(always)]
    fn vector(&self, key: Key) -> S::u32s {
        self.simd.splat_u32s(key.0.to_le())
    }

    #[inline(always)]
    fn plain(&mut self, mut line: Line, key: S::u32s, place: usize) -> Line {
        for vector in line.chunks_exact_mut(size_of::<S::u32s>()) {
            let plain = self
                .simd
                .xor_u32s(bytemuck::pod_read_unaligned(vector), key);
            vector.copy_from_slice(bytemuck::bytes_of(&plain));
            self.seen[place & 3] = self.simd.or_u32s(self.seen[place & 3], plain);
        }
        line
    }

    #[inline(always)]
    fn is_ascii(&self) -> bool {
        let [first, second, third, fourth] = self.seen;
        let first = self.simd.or_u32s(first, second);
        let seen = self.simd.or_u32s(first, self.simd.or_u32s(third, fourth));
        bytemuck::bytes_of(&seen).is_ascii()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unmask_is_the_rfc_formula_at_every_length_phase_and_alignment() {
        let key = MaskingKey([0x37, 0xfa, 0x21, 0x3d]);
        let sizes = (0..400).chain([767, 768, 769, 1000, 1023, 1024, 1025, 4095, 5001]);
        for size in sizes {
            for phase in 0..5 {
                let alignment = (size + phase) % 7;
                let mut memory: Vec<u8> =
                    (0..size + 8).map(|index| (index * 7 + 3) as u8).collect();
                let original = memory.clone();
                let expected: Vec<u8> = original[alignment..alignment + size]
                    .iter()
                    .enumerate()
                    .map(|(index, byte)| byte ^ key.0[(phase + index) % 4])
                    .collect();
                let bytes = &mut memory[alignment..alignment + size];
                let is_ascii = unmask_is_ascii(bytes, key, phase);
                assert_eq!(bytes, expected, "size {size}, phase {phase}");
                assert_eq!(is_ascii, expected.is_ascii(), "size {size}, phase {phase}");
                unmask(bytes, key, phase);
                assert_eq!(memory, original, "size {size}, phase {phase}");
            }
        }
    }

    #[test]
    fn copying_is_unmasking_at_every_length_phase_and_alignment() {
        let key = MaskingKey([0x37, 0xfa, 0x21, 0x3d]);
        let sizes = (0..400).chain([767, 768, 769, 1000, 1023, 1024, 1025, 4095, 5001]);
        for size in sizes {
            for phase in 0..5 {
                let (from, to) = ((size + phase) % 7, (size * 3 + phase) % 67);
                let source: Vec<u8> = (0..size + 8).map(|index| (index * 7 + 3) as u8).collect();
                let source = &source[from..from + size];
                let mut expected = source.to_vec();
                let expected_ascii = unmask_is_ascii(&mut expected, key, phase);
                let mut memory = vec![0xee; size + 80];
                let target = &mut memory[to..to + size];
                let ascii = copy_unmasked_is_ascii(target, source, key, phase);
                assert_eq!(target, expected, "size {size}, phase {phase}");
                assert_eq!(ascii, expected_ascii, "size {size}, phase {phase}");
                let around = memory[..to].iter().chain(&memory[to + size..]);
                assert!(around.into_iter().all(|byte| *byte == 0xee), "size {size}");
            }
        }
    }

    #[test]
    fn one_high_bit_anywhere_is_seen() {
        let key = MaskingKey([0x11, 0x22, 0x33, 0x44]);
        for size in [1, 7, 8, 63, 64, 65, 191, 192, 319, 777, 1500] {
            for at in 0..size {
                let mut bytes = vec![b'a'; size];
                bytes[at] = 0xc3;
                unmask(&mut bytes, key, 0);
                let mut copy = vec![0; size];
                assert!(
                    !copy_unmasked_is_ascii(&mut copy, &bytes, key, 0),
                    "{size} at {at}"
                );
                assert!(!unmask_is_ascii(&mut bytes, key, 0), "size {size} at {at}");
            }
            let mut bytes = vec![b'a'; size];
            unmask(&mut bytes, key, 0);
            let mut copy = vec![0; size];
            assert!(
                copy_unmasked_is_ascii(&mut copy, &bytes, key, 0),
                "size {size}"
            );
            assert!(unmask_is_ascii(&mut bytes, key, 0), "size {size}");
        }
    }
}
