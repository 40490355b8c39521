//! Masking (RFC 6455 5.3), in words and vectors.
//!
//! Owns the XOR loop and nothing else. Short payloads go through safe code in fixed chunks, which
//! the compiler turns into the vector instructions every target has; longer ones through `pulp`,
//! which picks the widest vectors of the machine at run time behind a safe interface.

use pulp::{Arch, Simd, WithSimd, bytemuck};

/// The masking key of one frame (RFC 6455 5.3). Draw a fresh, unpredictable one for every frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaskingKey(pub [u8; 4]);

/// From this many bytes on, choosing the machine's widest vectors pays for itself.
const WIDE_SIZE_MIN: usize = 320;
/// From this many bytes on, beginning at a cache line's start pays for itself.
const ALIGNED_SIZE_MIN: usize = 768;
/// The same for copying.
const COPY_WIDE_SIZE_MIN: usize = 256;
const CACHE_LINE_SIZE: usize = 64;

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
    let key = u32::from_le_bytes(key.0).rotate_right(8 * (phase as u32 & 3));
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
    let key = u32::from_le_bytes(key.0).rotate_right(8 * (phase as u32 & 3));
    let seen = if source.len() < COPY_WIDE_SIZE_MIN {
        copy_narrow(target, source, key)
    } else {
        copy_wide(target, source, key)
    };
    seen & HIGH_BITS == 0
}

/// Whether all bytes are ASCII; for payloads that arrived unmasked.
#[inline]
pub(crate) fn is_ascii(bytes: &[u8]) -> bool {
    // Longer ones are validated in one pass by simdutf8, which has the wider vectors.
    bytes.len() < WIDE_SIZE_MIN && bytes.is_ascii()
}

/// XORs the key, its first byte lowest, over `bytes`; returns all resulting words ORed together.
#[inline(always)]
fn apply_narrow(bytes: &mut [u8], key: u32) -> u64 {
    let wide = u64::from(key) << 32 | u64::from(key);
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
    let mut key = key;
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

/// Unmasks the first and the last `SIZE` bytes of `source` into `target`, or says that there are
/// not as many. Where they overlap, the same is written twice.
#[inline(always)]
fn copy_ends<const SIZE: usize>(target: &mut [u8], source: &[u8], key: u32) -> Option<u64> {
    let head = *source.first_chunk::<SIZE>()?;
    let tail = *source.last_chunk::<SIZE>()?;
    let key_of_tail = key.rotate_right(8 * ((source.len() - SIZE) as u32 & 3));
    let (head, seen_head) = unmasked(head, key);
    let (tail, seen_tail) = unmasked(tail, key_of_tail);
    *target.first_chunk_mut::<SIZE>()? = head;
    *target.last_chunk_mut::<SIZE>()? = tail;
    Some(seen_head | seen_tail)
}

/// A block of whole words, unmasked, and its words ORed together.
#[inline(always)]
fn unmasked<const SIZE: usize>(mut block: [u8; SIZE], key: u32) -> ([u8; SIZE], u64) {
    let wide = u64::from(key) << 32 | u64::from(key);
    let mut seen = 0;
    for word in block.as_chunks_mut::<8>().0 {
        let plain = u64::from_le_bytes(*word) ^ wide;
        *word = plain.to_le_bytes();
        seen |= plain;
    }
    (block, seen)
}

/// Copies and XORs; returns all resulting words ORed together.
#[inline(always)]
fn copy_narrow(target: &mut [u8], source: &[u8], key: u32) -> u64 {
    if source.len() < 8 {
        target.copy_from_slice(source);
        return apply_narrow(target, key);
    }
    let ends = match source.len() {
        ..16 => copy_ends::<8>(target, source, key),
        16..32 => copy_ends::<16>(target, source, key),
        32..64 => copy_ends::<32>(target, source, key),
        _ => copy_blocks(target, source, key),
    };
    ends.unwrap_or_default()
}

/// At least 64 bytes.
#[inline(always)]
fn copy_blocks(target: &mut [u8], source: &[u8], key: u32) -> Option<u64> {
    let mut seen = copy_ends::<64>(target, source, key)?;
    let (blocks, _) = source.get(64..)?.as_chunks::<64>();
    let (targets, _) = target.get_mut(64..)?.as_chunks_mut::<64>();
    for (target, block) in targets.iter_mut().zip(blocks) {
        let (plain, seen_here) = unmasked(*block, key);
        *target = plain;
        seen |= seen_here;
    }
    Some(seen)
}

/// The same with the machine's widest vectors.
#[inline(never)]
fn copy_wide(target: &mut [u8], source: &[u8], key: u32) -> u64 {
    Arch::new().dispatch(WideCopy {
        target,
        source,
        key,
    })
}

struct WideCopy<'b> {
    target: &'b mut [u8],
    source: &'b [u8],
    key: u32,
}

impl WithSimd for WideCopy<'_> {
    type Output = u64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> u64 {
        let Self {
            target,
            source,
            key,
        } = self;
        let seen_at_ends = copy_ends::<CACHE_LINE_SIZE>(target, source, key).unwrap_or_default();
        // Between the ends, beginning where the target's cache lines do.
        let ahead = target
            .as_ptr()
            .align_offset(CACHE_LINE_SIZE)
            .min(target.len());
        let key = simd.splat_u32s(key.rotate_right(8 * (ahead as u32 & 3)).to_le());
        let target = target.get_mut(ahead..).unwrap_or_default();
        let source = source.get(ahead..).unwrap_or_default();
        let size = size_of::<S::u32s>();
        let mut seen = [simd.splat_u32s(0); 4];
        let mut targets = target.chunks_exact_mut(4 * size);
        let mut sources = source.chunks_exact(4 * size);
        for (target, source) in (&mut targets).zip(&mut sources) {
            let vectors = target.chunks_exact_mut(size).zip(source.chunks_exact(size));
            for ((target, source), seen) in vectors.zip(&mut seen) {
                let plain = simd.xor_u32s(bytemuck::pod_read_unaligned(source), key);
                target.copy_from_slice(bytemuck::bytes_of(&plain));
                *seen = simd.or_u32s(*seen, plain);
            }
        }
        let target = targets.into_remainder();
        let source = sources.remainder();
        let [first, second, third, fourth] = seen;
        let mut seen = simd.or_u32s(simd.or_u32s(first, second), simd.or_u32s(third, fourth));
        for (target, source) in target.chunks_exact_mut(size).zip(source.chunks_exact(size)) {
            let plain = simd.xor_u32s(bytemuck::pod_read_unaligned(source), key);
            target.copy_from_slice(bytemuck::bytes_of(&plain));
            seen = simd.or_u32s(seen, plain);
        }
        let seen = bytemuck::bytes_of(&seen).as_chunks::<4>().0.iter();
        seen.fold(seen_at_ends, |all, word| {
            all | u64::from(u32::from_le_bytes(*word))
        })
    }
}

/// The same with the machine's widest vectors; whether all resulting bytes are ASCII.
#[inline(never)]
fn apply_wide(bytes: &mut [u8], key: u32) -> bool {
    let alignment = if bytes.len() < ALIGNED_SIZE_MIN {
        4
    } else {
        CACHE_LINE_SIZE
    };
    let ahead = bytes.as_ptr().align_offset(alignment).min(bytes.len());
    let (head, rest) = bytes.split_at_mut(ahead);
    let key_of_rest = key.rotate_right(8 * (ahead as u32 & 3));
    let (middle, tail) = rest.split_at_mut(rest.len() & !(CACHE_LINE_SIZE - 1));
    // The middle is a multiple of four, so the tail begins where the rest does in the key.
    let seen = apply_narrow(head, key) | apply_narrow(tail, key_of_rest);
    let is_ascii = Arch::new().dispatch(Wide {
        bytes: middle,
        key: key_of_rest,
    });
    is_ascii && seen & HIGH_BITS == 0
}

/// What runs in vectors: whole cache lines, beginning at a multiple of four.
struct Wide<'b> {
    bytes: &'b mut [u8],
    key: u32,
}

impl WithSimd for Wide<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let key = simd.splat_u32s(self.key.to_le());
        let (head, words, tail) = bytemuck::pod_align_to_mut::<u8, u32>(self.bytes);
        debug_assert!(head.is_empty() && tail.is_empty());
        let (vectors, rest) = S::as_mut_simd_u32s(words);
        debug_assert!(rest.is_empty());
        let mut seen = [simd.splat_u32s(0); 4];
        let (blocks, vectors) = vectors.as_chunks_mut::<4>();
        for block in blocks {
            for (vector, seen) in block.iter_mut().zip(&mut seen) {
                let plain = simd.xor_u32s(*vector, key);
                *vector = plain;
                *seen = simd.or_u32s(*seen, plain);
            }
        }
        let [first, second, third, fourth] = seen;
        let mut seen = simd.or_u32s(simd.or_u32s(first, second), simd.or_u32s(third, fourth));
        for vector in vectors {
            let plain = simd.xor_u32s(*vector, key);
            *vector = plain;
            seen = simd.or_u32s(seen, plain);
        }
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
    fn one_high_bit_anywhere_is_seen() {
        let key = MaskingKey([0x11, 0x22, 0x33, 0x44]);
        for size in [1, 7, 8, 63, 64, 65, 319, 320, 777, 1500] {
            for at in 0..size {
                let mut bytes = vec![b'a'; size];
                bytes[at] = 0xc3;
                unmask(&mut bytes, key, 0);
                assert!(!unmask_is_ascii(&mut bytes, key, 0), "size {size} at {at}");
            }
            let mut bytes = vec![b'a'; size];
            unmask(&mut bytes, key, 0);
            assert!(unmask_is_ascii(&mut bytes, key, 0), "size {size}");
        }
    }
}
