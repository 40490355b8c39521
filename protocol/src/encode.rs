//! Frames into a buffer: a header, a payload, and the order they are written in so that little is
//! checked twice. Knows nothing of what may be sent when.

use crate::frame::{
    CONTROL_PAYLOAD_MAX, HEADER_SIZE_MAX, LENGTH_16, LENGTH_64, MASK, MaskingKey, Opcode,
};
use crate::frame::{first_byte, unmask};

/// Size of the two arrays that a short payload is appended as.
const ENDS_SIZE: usize = 16;

/// Appends one frame, masked when a key is given.
pub(crate) fn append_frame(
    opcode: Opcode,
    is_final: bool,
    rsv1: bool,
    payload: &[u8],
    masking_key: Option<MaskingKey>,
    out: &mut Vec<u8>,
) {
    let Some(key) = masking_key else {
        append_unmasked(opcode, is_final, rsv1, payload, out);
        return;
    };
    let first = first_byte(opcode, is_final, rsv1);
    out.reserve(HEADER_SIZE_MAX + payload.len());
    append_header(first, MASK, payload.len(), out);
    out.extend_from_slice(&key.0);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(masked) = out.get_mut(start..) {
        unmask(masked, key, 0);
    }
}

/// Appends one frame without a masking key.
#[inline(always)]
pub(crate) fn append_unmasked(
    opcode: Opcode,
    is_final: bool,
    rsv1: bool,
    payload: &[u8],
    out: &mut Vec<u8>,
) {
    let first = first_byte(opcode, is_final, rsv1);
    if payload.len() <= 2 * ENDS_SIZE
        && let (Some(head), Some(tail)) = (payload.first_chunk(), payload.last_chunk())
    {
        append_ends(first, payload.len(), head, tail, out);
        return;
    }
    out.reserve(HEADER_SIZE_MAX + payload.len());
    append_header(first, 0, payload.len(), out);
    out.extend_from_slice(payload);
}

/// Appends a frame of `ENDS_SIZE` to twice as many bytes of payload as the payload's first and its
/// last bytes, two arrays that may overlap: less work than calling `memcpy`. With arrays of 32 and
/// 64 bytes for longer payloads, `memcpy` and its wider vectors win.
#[inline(always)]
fn append_ends(
    first: u8,
    size: usize,
    head: &[u8; ENDS_SIZE],
    tail: &[u8; ENDS_SIZE],
    out: &mut Vec<u8>,
) {
    let mut frame = [0; 2 + ENDS_SIZE];
    frame[0] = first;
    frame[1] = size as u8;
    frame[2..].copy_from_slice(head);
    let end = out.len() + 2 + size;
    out.extend_from_slice(&frame);
    out.truncate(end - ENDS_SIZE);
    out.extend_from_slice(tail);
}

/// Appends the first byte and the length, as arrays whose size the compiler knows: for short
/// messages that is most of the work.
#[inline(always)]
fn append_header(first: u8, mask: u8, size: usize, out: &mut Vec<u8>) {
    if size <= CONTROL_PAYLOAD_MAX {
        out.extend_from_slice(&[first, mask | size as u8]);
    } else if let Ok(size) = u16::try_from(size) {
        let [high, low] = size.to_be_bytes();
        out.extend_from_slice(&[first, mask | LENGTH_16, high, low]);
    } else {
        let mut header = [first, mask | LENGTH_64, 0, 0, 0, 0, 0, 0, 0, 0];
        header[2..].copy_from_slice(&(size as u64).to_be_bytes());
        out.extend_from_slice(&header);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Header;

    #[test]
    fn frames_of_every_short_size_follow_what_was_there() {
        let payload: Vec<u8> = (0..300).map(|index| (index % 251) as u8).collect();
        let key = MaskingKey([0x37, 0xfa, 0x21, 0x3d]);
        for masking_key in [None, Some(key)] {
            let (mut out, mut expected) = (vec![1, 2, 3], vec![1, 2, 3]);
            for size in 0..payload.len() {
                let header = Header {
                    is_final: true,
                    rsv1: false,
                    rsv2: false,
                    rsv3: false,
                    opcode: Opcode::Binary,
                    masking_key,
                    payload_len: size as u64,
                };
                let mut bytes = [0; HEADER_SIZE_MAX];
                let header_size = header.encode(&mut bytes);
                expected.extend_from_slice(&bytes[..header_size]);
                let masked = payload[..size].iter().zip(key.0.iter().cycle());
                expected.extend(masked.map(|(byte, key)| match masking_key {
                    Some(_) => byte ^ key,
                    None => *byte,
                }));
                append_frame(
                    Opcode::Binary,
                    true,
                    false,
                    &payload[..size],
                    masking_key,
                    &mut out,
                );
                assert_eq!(out, expected, "size {size}");
            }
        }
    }
}
