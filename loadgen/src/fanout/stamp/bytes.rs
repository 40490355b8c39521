//! The bytes of a stamp, and the hexadecimal digits that stand for them where payloads are text.
//!
//! Knows nothing of what stands around a stamp but that its CRC32C covers some of it.

/// Bytes of a stamp: run 4, stream 3, flags 1, length 3, number 6, sequence 5, due 8, delay 5, CRC 4.
pub const STAMP: usize = 39;
const CRC_AT: usize = STAMP - 4;
/// A stamp in hexadecimal, where payloads are text.
pub const STAMP_HEX: usize = 2 * STAMP;
const FLAG_PROBE: u8 = 1;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// What a message says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Run that published it.
    pub run: u32,
    /// Stream it belongs to: one publisher's messages on one topic.
    pub stream: u32,
    /// Sent before the load, to find out whether subscribers hear it.
    pub is_probe: bool,
    /// Place in the schedule of the run. 48 bits.
    pub number: u64,
    /// Place in its stream, from 0. 40 bits.
    pub sequence: u64,
    /// When it was due, CLOCK_MONOTONIC.
    pub intended_ns: u64,
    /// When it was written for sending; at most 18 minutes after it was due.
    pub sent_ns: u64,
}

/// The stamp of a payload of `size` bytes, still without its CRC; see [`seal`].
#[inline]
pub fn pack(stamp: &Stamp, size: usize) -> [u8; STAMP] {
    let mut out = [0; STAMP];
    let delay_ns = stamp
        .sent_ns
        .saturating_sub(stamp.intended_ns)
        .min((1 << 40) - 1);
    let length = size as u32;
    out[0..4].copy_from_slice(&stamp.run.to_le_bytes());
    out[4..7].copy_from_slice(&stamp.stream.to_le_bytes()[..3]);
    out[7] = if stamp.is_probe { FLAG_PROBE } else { 0 };
    out[8..11].copy_from_slice(&length.to_le_bytes()[..3]);
    out[11..17].copy_from_slice(&stamp.number.to_le_bytes()[..6]);
    out[17..22].copy_from_slice(&stamp.sequence.to_le_bytes()[..5]);
    out[22..30].copy_from_slice(&stamp.intended_ns.to_le_bytes());
    out[30..35].copy_from_slice(&delay_ns.to_le_bytes()[..5]);
    out
}

/// Writes the CRC over the stamp and what it covers behind it.
#[inline]
pub fn seal(bytes: &mut [u8; STAMP], covered: &[u8]) {
    let crc = checksum(&bytes[..CRC_AT], covered);
    bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
}

/// What a stamp says; `None` when its CRC says that it, or what it covers, is not as it was sent.
#[inline]
pub fn unpack(bytes: &[u8; STAMP], covered: &[u8]) -> Option<Stamp> {
    let crc = number(&bytes[CRC_AT..]) as u32;
    if crc != checksum(&bytes[..CRC_AT], covered) {
        return None;
    }
    let intended_ns = number(&bytes[22..30]);
    Some(Stamp {
        run: number(&bytes[0..4]) as u32,
        stream: number(&bytes[4..7]) as u32,
        is_probe: bytes[7] & FLAG_PROBE != 0,
        number: number(&bytes[11..17]),
        sequence: number(&bytes[17..22]),
        intended_ns,
        sent_ns: intended_ns.saturating_add(number(&bytes[30..35])),
    })
}

/// Bytes that the payload of a stamp had when it was written.
#[inline]
pub fn stamped_size(bytes: &[u8; STAMP]) -> usize {
    number(&bytes[8..11]) as usize
}

/// A little-endian number of at most eight bytes.
fn number(bytes: &[u8]) -> u64 {
    let mut out = [0; 8];
    let length = bytes.len().min(8);
    out[..length].copy_from_slice(&bytes[..length]);
    u64::from_le_bytes(out)
}

fn checksum(stamp: &[u8], covered: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(stamp), covered)
}

/// Writes the digits of a stamp: two for each byte.
#[inline]
pub fn to_hex(bytes: &[u8; STAMP], out: &mut [u8]) {
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
}

/// Reads the digits of a stamp; false when they are none. Only lower case, as it was written: another
/// case is another byte than was sent.
#[inline]
pub fn from_hex(text: &[u8], out: &mut [u8; STAMP]) -> bool {
    let digit = |character: u8| match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    };
    if text.len() != STAMP_HEX {
        return false;
    }
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
            return false;
        };
        *byte = high << 4 | low;
    }
    true
}
