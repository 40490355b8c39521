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
    if source.len() < COPY_WIDE_SIZE_MIN {
        copy_narrow(target, source, key) & HIGH_BITS == 0
    } else {
        copy_wide(target, source, key)
    }
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
    let key_of_tail = key.rotate_right(8 * (source.len().wrapping_sub(SIZE) as u32 & 3));
    let seen_head = copy_block::<SIZE>(target.first_chunk_mut()?, source.first_chunk()?, key);
    let seen_tail = copy_block::<SIZE>(target.last_chunk_mut()?, source.last_chunk()?, key_of_tail);
    Some(seen_head | seen_tail)
}

/// Unmasks a block of whole words of four bytes; returns its words ORed together.
#[inline(always)]
fn copy_block<const SIZE: usize>(target: &mut [u8; SIZE], source: &[u8; SIZE], key: u32) -> u64 {
    let words = source.as_chunks::<4>().0.iter();
    for (target, word) in target.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *target = (u32::from_le_bytes(*word) ^ key).to_le_bytes();
    }
    let plain = target.as_chunks::<4>().0.iter();
    u64::from(plain.fold(0, |seen, word| seen | u32::from_le_bytes(*word)))
}

/// Copies and XORs; returns all resulting words ORed together.
#[inline(always)]
fn copy_narrow(target: &mut [u8], source: &[u8], key: u32) -> u64 {
    let ends = match source.len() {
        ..4 => {
            let mut key = key;
            let mut seen = 0;
            for (target, byte) in target.iter_mut().zip(source) {
                *target = byte ^ key as u8;
                seen |= u64::from(*target);
                key >>= 8;
            }
            Some(seen)
        }
        4..8 => copy_ends::<4>(target, source, key),
        8..16 => copy_ends::<8>(target, source, key),
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
        seen |= copy_block(target, block, key);
    }
    Some(seen)
}

/// The same with the machine's widest vectors, for `COPY_WIDE_SIZE_MIN` bytes or more; whether all
/// resulting bytes are ASCII.
#[inline(never)]
fn copy_wide(target: &mut [u8], source: &[u8], key: u32) -> bool {
    Arch::new().dispatch(WideCopy {
        target,
        source,
        key,
    })
}

/// What runs in vectors: the first and the last cache line's worth of bytes wherever they lie, and
/// what is between them from the target's first cache line on. What overlaps is written twice.
struct WideCopy<'b> {
    target: &'b mut [u8],
    source: &'b [u8],
    key: u32,
}

impl WithSimd for WideCopy<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let Self {
            target,
            source,
            key,
        } = self;
        let last = source.len().saturating_sub(CACHE_LINE_SIZE);
        let ahead = target.as_ptr().align_offset(CACHE_LINE_SIZE).min(last);
        let key_at = |at: usize| simd.splat_u32s(key.rotate_right(8 * (at as u32 & 3)).to_le());
        let mut seen = [simd.splat_u32s(0); 4];
        for at in [0, last] {
            let target = target.get_mut(at..).and_then(|rest| rest.first_chunk_mut());
            let source = source.get(at..).and_then(|rest| rest.first_chunk());
            if let (Some(target), Some(source)) = (target, source) {
                copy_vectors::<S, CACHE_LINE_SIZE>(simd, target, source, key_at(at), &mut seen);
            }
        }
        let (targets, _) = target.get_mut(ahead..).unwrap_or_default().as_chunks_mut();
        let (sources, _) = source.get(ahead..).unwrap_or_default().as_chunks();
        let (quads, targets) = targets.as_chunks_mut::<4>();
        let (quad_sources, sources) = sources.as_chunks::<4>();
        let key = key_at(ahead);
        for (targets, sources) in quads.iter_mut().zip(quad_sources) {
            let target = targets.as_flattened_mut().first_chunk_mut();
            let source = sources.as_flattened().first_chunk();
            if let (Some(target), Some(source)) = (target, source) {
                copy_vectors::<S, { 4 * CACHE_LINE_SIZE }>(simd, target, source, key, &mut seen);
            }
        }
        for (target, source) in targets.iter_mut().zip(sources) {
            copy_vectors::<S, CACHE_LINE_SIZE>(simd, target, source, key, &mut seen);
        }
        let [first, second, third, fourth] = seen;
        let seen = simd.or_u32s(simd.or_u32s(first, second), simd.or_u32s(third, fourth));
        bytemuck::bytes_of(&seen).is_ascii()
    }
}

/// Unmasks a block of whole vectors into `target`, and ORs what results into `seen`.
#[inline(always)]
fn copy_vectors<S: Simd, const SIZE: usize>(
    simd: S,
    target: &mut [u8; SIZE],
    source: &[u8; SIZE],
    key: S::u32s,
    seen: &mut [S::u32s; 4],
) {
    let size = size_of::<S::u32s>();
    let vectors = target.chunks_exact_mut(size).zip(source.chunks_exact(size));
    for (index, (target, source)) in vectors.enumerate() {
        let plain = simd.xor_u32s(bytemuck::pod_read_unaligned(source), key);
        target.copy_from_slice(bytemuck::bytes_of(&plain));
        seen[index & 3] = simd.or_u32s(seen[index & 3], plain);
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
