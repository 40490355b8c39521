//! permessage-deflate (RFC 7692): its parameters, and inflating and deflating one message.
//!
//! Owns the DEFLATE streams and the empty block at the end of a message. Knows nothing of frames.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::error::ProtocolError;

/// Smallest window that zlib can deflate with as a raw stream, in bits. RFC 7692 goes down to 8.
pub(crate) const DEFLATE_WINDOW_BITS_MIN: u8 = 9;
/// Largest window, in bits.
pub(crate) const WINDOW_BITS_MAX: u8 = 15;

/// What the sender of a message takes off its end and the receiver puts back (RFC 7692 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// An empty stored block: decodes to nothing, and only where a block may begin.
const EMPTY_STORED_BLOCK: [u8; 5] = [0x00, 0x00, 0x00, 0xff, 0xff];
/// An empty final block: ends a stream, and only where a block may begin.
const EMPTY_FINAL_BLOCK: [u8; 2] = [0x03, 0x00];

/// What extension negotiation agreed on (RFC 7692 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeflateParameters {
    /// The server compresses each message from an empty window.
    pub server_no_context_takeover: bool,
    /// The client compresses each message from an empty window.
    pub client_no_context_takeover: bool,
    /// The server's window is at most 2 to the power of this many bytes; 8 to 15.
    pub server_max_window_bits: u8,
    /// The client's window is at most 2 to the power of this many bytes; 8 to 15.
    pub client_max_window_bits: u8,
}

/// Inflates the messages of one stream, or of many streams without context takeover.
#[derive(Debug)]
pub(crate) struct Inflater {
    stream: Decompress,
    /// Whether anything was inflated since the last reset.
    used: bool,
}

impl Inflater {
    /// An inflater for windows of up to `window_bits`. A larger window than the peer uses is
    /// always right, so the one size that zlib lacks, 8, is taken as 9.
    pub(crate) fn new(window_bits: u8) -> Self {
        let window_bits = window_bits.clamp(DEFLATE_WINDOW_BITS_MIN, WINDOW_BITS_MAX);
        Self {
            stream: Decompress::new_with_window_bits(false, window_bits),
            used: false,
        }
    }

    /// Appends the inflated message to `out`, which is empty. With `takeover` the window is kept
    /// for the next message. Memory follows what was inflated, never beyond `size_max` + 1 bytes.
    ///
    /// # Errors
    ///
    /// 1007 for what is not DEFLATE or does not end where a block ends, 1009 beyond `size_max`.
    /// The inflater must not be used with `takeover` afterwards.
    pub(crate) fn inflate(
        &mut self,
        compressed: &[u8],
        takeover: bool,
        size_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), ProtocolError> {
        if self.used && !takeover {
            self.reset();
        }
        self.used = true;
        let end = self.feed(compressed, size_max, out)?;
        let ended_by = match end {
            End::Consumed => self.feed(&TAIL, size_max, out)?,
            // RFC 7692 7.2.3.4: a final block, then one byte that makes an empty block of the tail.
            End::Stream {
                leftover: [] | [0x00],
            } => {
                self.reset();
                return Ok(());
            }
            End::Stream { .. } => return Err(ProtocolError::DeflateLeftover),
        };
        if !matches!(ended_by, End::Consumed) {
            return Err(ProtocolError::DeflateLeftover);
        }
        self.expect_block_boundary(takeover, out.len(), size_max, out)
    }

    /// Whether the stream stands where a block may begin, by asking it to decode an empty one.
    /// A message that stops inside a block would otherwise leak its rest into the next message.
    fn expect_block_boundary(
        &mut self,
        takeover: bool,
        size: usize,
        size_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), ProtocolError> {
        let at_boundary = if takeover {
            matches!(
                self.feed(&EMPTY_STORED_BLOCK, size_max, out),
                Ok(End::Consumed)
            )
        } else {
            let end = self.feed(&EMPTY_FINAL_BLOCK, size_max, out);
            matches!(end, Ok(End::Stream { leftover: [] }))
        };
        if at_boundary && out.len() == size {
            Ok(())
        } else {
            Err(ProtocolError::DeflateLeftover)
        }
    }

    fn reset(&mut self) {
        self.stream.reset(false);
        self.used = false;
    }

    /// Runs `input` through the stream until it is used up or the stream ends.
    fn feed<'i>(
        &mut self,
        mut input: &'i [u8],
        size_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<End<'i>, ProtocolError> {
        loop {
            grow_for_inflating(out, input.len(), size_max);
            let room = out.capacity() - out.len();
            let before_in = self.stream.total_in();
            let before_out = out.len();
            let status = self
                .stream
                .decompress_vec(input, out, FlushDecompress::Sync)
                .map_err(|_| ProtocolError::DeflateInvalid)?;
            let consumed = (self.stream.total_in() - before_in) as usize;
            input = input.get(consumed..).unwrap_or_default();
            if out.len() > size_max {
                return Err(ProtocolError::MessageTooBig);
            }
            let produced = out.len() - before_out;
            if status == Status::StreamEnd {
                return Ok(End::Stream { leftover: input });
            }
            // With room left over, the stream has nothing more to say about what it was given.
            if input.is_empty() && produced < room {
                return Ok(End::Consumed);
            }
            if consumed == 0 && produced == 0 && room > 0 {
                return Err(ProtocolError::DeflateInvalid);
            }
        }
    }
}

/// How feeding the stream ended.
enum End<'i> {
    /// All input was taken.
    Consumed,
    /// A final block ended; `leftover` is what came behind it.
    Stream { leftover: &'i [u8] },
}

/// Makes room for at least one more byte, up to one byte beyond `size_max`: that byte is the
/// proof that the message is too big. A first guess of four times the input, then doubling.
fn grow_for_inflating(out: &mut Vec<u8>, input_len: usize, size_max: usize) {
    if out.len() < out.capacity() {
        return;
    }
    let ceiling = size_max.saturating_add(1);
    let wanted = out.len().max(input_len.saturating_mul(4)).max(256);
    let additional = wanted.min(ceiling.saturating_sub(out.len())).max(1);
    out.reserve_exact(additional);
}

/// Deflates messages: each from an empty window, or each with the window of those before.
#[derive(Debug)]
pub(crate) struct Deflater {
    stream: Compress,
    /// Whether anything was deflated since the last reset.
    used: bool,
}

impl Deflater {
    pub(crate) fn new(window_bits: u8, level: u32) -> Self {
        let window_bits = window_bits.clamp(DEFLATE_WINDOW_BITS_MIN, WINDOW_BITS_MAX);
        let level = Compression::new(level.clamp(1, 9));
        Self {
            stream: Compress::new_with_window_bits(level, false, window_bits),
            used: false,
        }
    }

    /// Appends the deflated message to `out`, without the tail of RFC 7692 7.2.1. Whether that
    /// went well; if not, what was appended and this deflater are of no use.
    #[must_use]
    pub(crate) fn deflate(&mut self, payload: &[u8], takeover: bool, out: &mut Vec<u8>) -> bool {
        if payload.is_empty() {
            // RFC 7692 7.2.3.6: an empty stored block less the tail; the window is as before.
            out.push(0x00);
            return true;
        }
        if self.used && !takeover {
            self.stream.reset();
        }
        self.used = true;
        let start = out.len();
        let mut input = payload;
        out.reserve(payload.len() / 2 + 64);
        loop {
            let before = self.stream.total_in();
            // zlib fails here only when its stream is corrupt, which no payload can bring about.
            let result = self.stream.compress_vec(input, out, FlushCompress::Sync);
            if result.is_err() {
                return false;
            }
            let consumed = (self.stream.total_in() - before) as usize;
            input = input.get(consumed..).unwrap_or_default();
            // With room left over, the flush is complete.
            if input.is_empty() && out.len() < out.capacity() {
                break;
            }
            out.reserve(input.len() / 2 + 64);
        }
        let is_flushed = out
            .get(start..)
            .is_some_and(|deflated| deflated.ends_with(&TAIL));
        if is_flushed {
            out.truncate(out.len() - TAIL.len());
        }
        is_flushed
    }
}

/// Compresses messages for many receivers at once: each from an empty window.
#[derive(Debug)]
pub struct SharedDeflater {
    deflater: Deflater,
    window_bits: u8,
}

impl SharedDeflater {
    /// `window_bits` 9 to 15 (others are brought into that range), `level` 1 (fast) to 9 (small).
    pub fn new(window_bits: u8, level: u32) -> Self {
        let window_bits = window_bits.clamp(DEFLATE_WINDOW_BITS_MIN, WINDOW_BITS_MAX);
        Self {
            deflater: Deflater::new(window_bits, level),
            window_bits,
        }
    }

    /// The window size in force, as its base-2 logarithm.
    pub fn window_bits(&self) -> u8 {
        self.window_bits
    }

    /// Appends the deflated message to `out`, without the tail of RFC 7692 7.2.1: the payload of a
    /// frame with RSV1. Whether that went well; if not, what was appended and this deflater are of
    /// no use.
    #[must_use]
    pub fn deflate(&mut self, payload: &[u8], out: &mut Vec<u8>) -> bool {
        self.deflater.deflate(payload, false, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inflate(compressed: &[u8]) -> Result<Vec<u8>, ProtocolError> {
        let mut out = Vec::new();
        Inflater::new(15)
            .inflate(compressed, false, 1 << 20, &mut out)
            .map(|()| out)
    }

    #[test]
    fn the_examples_of_rfc_7692() {
        // 7.2.3.1, 7.2.3.3, 7.2.3.4, 7.2.3.5 and 7.2.3.6.
        let cases: [(&[u8], &[u8]); 5] = [
            (&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], b"Hello"),
            (
                &[
                    0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
                ],
                b"Hello",
            ),
            (&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], b"Hello"),
            (
                &[
                    0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
                ],
                b"Hello",
            ),
            (&[0x00], b""),
        ];
        for (compressed, expected) in cases {
            assert_eq!(
                inflate(compressed).as_deref(),
                Ok(expected),
                "{compressed:02x?}"
            );
        }
        // 7.2.3.2: the second message refers to the first.
        let mut inflater = Inflater::new(15);
        for compressed in [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
            &[0xf2, 0, 0x11, 0, 0],
        ] {
            let mut out = Vec::new();
            assert_eq!(inflater.inflate(compressed, true, 100, &mut out), Ok(()));
            assert_eq!(out, b"Hello");
        }
    }

    #[test]
    fn a_message_that_does_not_end_where_its_data_ends() {
        let whole = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        for cut in 1..whole.len() - 1 {
            let result = inflate(&whole[..cut]);
            assert!(result.is_err(), "cut at {cut}: {result:?}");
            let mut inflater = Inflater::new(15);
            let result = inflater.inflate(&whole[..cut], true, 1000, &mut Vec::new());
            assert!(result.is_err(), "with takeover, cut at {cut}: {result:?}");
        }
        let behind_final_block = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00, 0x55];
        assert_eq!(
            inflate(&behind_final_block),
            Err(ProtocolError::DeflateLeftover)
        );
        assert_eq!(inflate(&[0xff, 0xff]), Err(ProtocolError::DeflateInvalid));
    }

    #[test]
    fn output_stops_one_byte_beyond_the_limit() {
        let payload = vec![0_u8; 1 << 20];
        let mut compressed = Vec::new();
        assert!(Deflater::new(15, 9).deflate(&payload, false, &mut compressed));
        let mut inflater = Inflater::new(15);
        for size_max in [0, 1, 1000, 1 << 16, (1 << 20) - 1] {
            let mut out = Vec::new();
            let result = inflater.inflate(&compressed, false, size_max, &mut out);
            assert_eq!(
                result,
                Err(ProtocolError::MessageTooBig),
                "limit {size_max}"
            );
            assert_eq!(out.len(), size_max + 1);
            assert!(
                out.capacity() <= size_max + 1 + 256,
                "{} held",
                out.capacity()
            );
        }
        let mut out = Vec::new();
        assert_eq!(
            inflater.inflate(&compressed, false, 1 << 20, &mut out),
            Ok(())
        );
        assert_eq!(out, payload);
    }

    #[test]
    fn every_window_size_survives_the_round_trip() {
        let mut payload = Vec::new();
        for number in 0..4000_u32 {
            payload
                .extend_from_slice(format!("{},", number.wrapping_mul(2_654_435_761)).as_bytes());
        }
        for window_bits in 8..=15 {
            for takeover in [false, true] {
                let mut deflater = Deflater::new(window_bits, 6);
                let mut inflater = Inflater::new(window_bits);
                for size in [0, 1, 100, 0, 3000, payload.len()] {
                    let mut compressed = Vec::new();
                    assert!(deflater.deflate(&payload[..size], takeover, &mut compressed));
                    let mut out = Vec::new();
                    let result = inflater.inflate(&compressed, takeover, payload.len(), &mut out);
                    assert_eq!(result, Ok(()), "{window_bits} bits, {size} bytes");
                    assert!(out == payload[..size], "{window_bits} bits, {size} bytes");
                }
            }
        }
    }

    /// What a peer with the agreed window cannot reach must not be referred to, from the first
    /// message to those after a reset: noise, twice, is compressible only by a larger window.
    #[test]
    fn no_reference_reaches_beyond_the_window() {
        for window_bits in 9..=14 {
            let mut state = 1_u32;
            let noise: Vec<u8> = (0..(1 << window_bits) + 100)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                })
                .collect();
            let twice = [&noise[..], &noise].concat();
            for level in [1, 6, 9] {
                let mut deflater = Deflater::new(window_bits, level);
                for takeover in [false, false, true, true, false] {
                    let mut compressed = Vec::new();
                    assert!(deflater.deflate(&twice, takeover, &mut compressed));
                    let size = compressed.len();
                    assert!(
                        size > twice.len(),
                        "{window_bits} bits, level {level}: {size}"
                    );
                }
                let mut larger = Vec::new();
                assert!(Deflater::new(15, level).deflate(&twice, false, &mut larger));
                assert!(
                    larger.len() < twice.len() * 3 / 4,
                    "the check can tell: {}",
                    larger.len()
                );
            }
        }
    }
}
