//! Frame headers and masking (RFC 6455 5.2 and 5.3).
//!
//! Owns the layout of a header and every rule that a header alone can break; masking itself is in
//! `mask`. Knows nothing of messages beyond what a `Context` tells it. Rules are judged in the
//! order of the bytes that break them, so that the verdict does not depend on how the bytes were
//! split.

use crate::error::ProtocolError;
pub use crate::mask::{MaskingKey, unmask};

/// Most bytes of payload in a control frame (RFC 6455 5.5).
pub const CONTROL_PAYLOAD_MAX: usize = 125;
/// Most bytes of a frame header: two, eight of extended length, four of masking key.
pub const HEADER_SIZE_MAX: usize = 14;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2: u8 = 0x20;
const RSV3: u8 = 0x10;
pub(crate) const MASK: u8 = 0x80;
/// In the length's place: 16 bits of length follow.
pub(crate) const LENGTH_16: u8 = 126;
/// In the length's place: 64 bits of length follow.
pub(crate) const LENGTH_64: u8 = 127;

/// What a frame is (RFC 6455 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// 0: goes on with a fragmented message.
    Continuation = 0,
    /// 1: begins a text message.
    Text = 1,
    /// 2: begins a binary message.
    Binary = 2,
    /// 8: closing handshake.
    Close = 8,
    /// 9: asks for a pong.
    Ping = 9,
    /// 10: answers a ping.
    Pong = 10,
}

impl Opcode {
    /// Close, ping and pong (RFC 6455 5.5).
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    const fn parse(first: u8) -> Result<Self, ProtocolError> {
        match first & 0x0f {
            0 => Ok(Self::Continuation),
            1 => Ok(Self::Text),
            2 => Ok(Self::Binary),
            8 => Ok(Self::Close),
            9 => Ok(Self::Ping),
            10 => Ok(Self::Pong),
            other => Err(ProtocolError::UnknownOpcode(other)),
        }
    }
}

/// A frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// FIN: the last frame of its message.
    pub is_final: bool,
    /// RSV1: the message is compressed (RFC 7692 6).
    pub rsv1: bool,
    /// RSV2: no extension of this crate uses it.
    pub rsv2: bool,
    /// RSV3: no extension of this crate uses it.
    pub rsv3: bool,
    /// What the frame is.
    pub opcode: Opcode,
    /// Present when the payload is masked.
    pub masking_key: Option<MaskingKey>,
    /// Bytes of payload.
    pub payload_len: u64,
}

/// What a header is judged against besides itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// The mask bit that the peer must set: it, or nothing.
    pub mask_bit: u8,
    /// Whether RSV1 may be set on the first frame of a message.
    pub deflate: bool,
    /// Whether a fragmented message is unfinished.
    pub in_message: bool,
    /// Whether a continuation frame would be one fragment too many.
    pub fragments_spent: bool,
    /// Most bytes of payload in a data frame.
    pub frame_size_max: u64,
    /// Most bytes that the message may still get.
    pub message_room: u64,
    /// The same for a message that begins with this frame and is compressed.
    pub message_room_compressed: u64,
}

/// The two limits on the length of a data frame. Which of them a length breaks is decided by
/// which is smaller, so that a length's first bytes and its last give the same verdict.
#[derive(Clone, Copy, Debug)]
struct Limit {
    frame_size_max: u64,
    message_room: u64,
}

impl Limit {
    #[inline(always)]
    fn least(self) -> u64 {
        self.frame_size_max.min(self.message_room)
    }

    #[cold]
    fn error(self) -> ProtocolError {
        if self.frame_size_max <= self.message_room {
            ProtocolError::FrameTooBig
        } else {
            ProtocolError::MessageTooBig
        }
    }
}

impl Header {
    /// Reads the header at the start of `bytes` and says how long it is; `None` asks for more.
    ///
    /// # Errors
    ///
    /// What no frame may have, whoever sent it: an undefined opcode, a fragmented or too long
    /// control frame, a length that is not minimal or has its top bit set. Reserved bits and the
    /// mask bit are reported, not judged.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, ProtocolError> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        let opcode = Opcode::parse(first)?;
        if opcode.is_control() && first & FIN == 0 {
            return Err(ProtocolError::ControlFrameFragmented);
        }
        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        let limit = Limit {
            frame_size_max: u64::MAX,
            message_room: u64::MAX,
        };
        Self::parse_length(bytes, first, opcode, second, limit)
    }

    /// As [`Header::parse`], and judged against the state of the connection.
    #[inline(always)]
    pub(crate) fn parse_in(
        bytes: &[u8],
        context: &Context,
    ) -> Result<Option<(Self, usize)>, ProtocolError> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        let opcode = match first {
            // The two most common first bytes need no further look.
            0x81 if !context.in_message => Opcode::Text,
            0x82 if !context.in_message => Opcode::Binary,
            _ => context.judge_first(first)?,
        };
        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        if second & MASK != context.mask_bit {
            return Err(context.mask_error());
        }
        if opcode == Opcode::Close && second & !MASK == 1 {
            return Err(ProtocolError::ClosePayloadOneByte);
        }
        let message_room = if first & RSV1 == 0 {
            context.message_room
        } else {
            context.message_room_compressed
        };
        let limit = Limit {
            frame_size_max: context.frame_size_max,
            message_room,
        };
        Self::parse_length(bytes, first, opcode, second, limit)
    }

    /// The part of a header behind its first two bytes.
    #[inline(always)]
    fn parse_length(
        bytes: &[u8],
        first: u8,
        opcode: Opcode,
        second: u8,
        limit: Limit,
    ) -> Result<Option<(Self, usize)>, ProtocolError> {
        let length = second & !MASK;
        let is_control = opcode.is_control();
        let (payload_len, offset) = if length < LENGTH_16 {
            (u64::from(length), 2)
        } else if is_control {
            return Err(ProtocolError::ControlFrameTooLong);
        } else {
            match extended_length(bytes, length, limit)? {
                Some(found) => found,
                None => return Ok(None),
            }
        };
        if payload_len > limit.least() && !is_control {
            return Err(limit.error());
        }
        let (masking_key, size) = if second & MASK == 0 {
            (None, offset)
        } else {
            match bytes.get(offset..).and_then(|rest| rest.first_chunk::<4>()) {
                Some(key) => (Some(MaskingKey(*key)), offset + 4),
                None => return Ok(None),
            }
        };
        let header = Self {
            is_final: first & FIN != 0,
            rsv1: first & RSV1 != 0,
            rsv2: first & RSV2 != 0,
            rsv3: first & RSV3 != 0,
            opcode,
            masking_key,
            payload_len,
        };
        Ok(Some((header, size)))
    }

    /// Writes the header to the start of `out` and returns its length, 2 to 14. Lengths above
    /// 2^63 - 1 cannot be expressed (RFC 6455 5.2) and are written as that.
    #[inline]
    pub fn encode(&self, out: &mut [u8; HEADER_SIZE_MAX]) -> usize {
        let bit = |set: bool, value: u8| if set { value } else { 0 };
        out[0] = first_byte(self.opcode, self.is_final, self.rsv1)
            | bit(self.rsv2, RSV2)
            | bit(self.rsv3, RSV3);
        let mask = mask_bit(self.masking_key);
        let offset = match self.payload_len {
            length @ 0..=125 => {
                out[1] = mask | length as u8;
                2
            }
            length @ 126..=0xffff => {
                out[1] = mask | LENGTH_16;
                out[2..4].copy_from_slice(&(length as u16).to_be_bytes());
                4
            }
            length => {
                out[1] = mask | LENGTH_64;
                out[2..10].copy_from_slice(&length.min(u64::MAX >> 1).to_be_bytes());
                10
            }
        };
        match self.masking_key {
            Some(MaskingKey(key)) => {
                out[offset..offset + 4].copy_from_slice(&key);
                offset + 4
            }
            None => offset,
        }
    }
}

impl Context {
    /// Every rule that the first byte alone can break.
    #[cold]
    fn judge_first(&self, first: u8) -> Result<Opcode, ProtocolError> {
        if first & (RSV2 | RSV3) != 0 {
            return Err(ProtocolError::ReservedBitSet);
        }
        let opcode = Opcode::parse(first)?;
        let starts_message = matches!(opcode, Opcode::Text | Opcode::Binary);
        // RFC 7692 6.1: RSV1 belongs to the first frame of a message only.
        if first & RSV1 != 0 && !(self.deflate && starts_message) {
            return Err(ProtocolError::ReservedBitSet);
        }
        if opcode.is_control() && first & FIN == 0 {
            return Err(ProtocolError::ControlFrameFragmented);
        }
        if starts_message && self.in_message {
            return Err(ProtocolError::DataFrameInsideMessage);
        }
        if opcode == Opcode::Continuation {
            if !self.in_message {
                return Err(ProtocolError::ContinuationWithoutStart);
            }
            if self.fragments_spent {
                return Err(ProtocolError::FragmentsTooMany);
            }
        }
        Ok(opcode)
    }

    #[cold]
    fn mask_error(&self) -> ProtocolError {
        if self.mask_bit == 0 {
            ProtocolError::FrameMasked
        } else {
            ProtocolError::FrameNotMasked
        }
    }
}

#[inline(always)]
pub(crate) fn first_byte(opcode: Opcode, is_final: bool, rsv1: bool) -> u8 {
    opcode as u8 | if is_final { FIN } else { 0 } | if rsv1 { RSV1 } else { 0 }
}

#[inline(always)]
fn mask_bit(masking_key: Option<MaskingKey>) -> u8 {
    if masking_key.is_some() { MASK } else { 0 }
}

/// The extended payload length and the offset behind it; `None` asks for more bytes. What its
/// first bytes prove already is judged before the others arrive.
#[inline]
fn extended_length(
    bytes: &[u8],
    length: u8,
    limit: Limit,
) -> Result<Option<(u64, usize)>, ProtocolError> {
    let (size, minimum) = if length == LENGTH_16 {
        (2, 126)
    } else {
        (8, 65_536)
    };
    let rest = bytes.get(2..).unwrap_or_default();
    let known = &rest[..rest.len().min(size)];
    let mut value = known
        .iter()
        .fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    // The smallest length that the missing bytes leave possible.
    value = value
        .checked_shl(8 * (size - known.len()) as u32)
        .unwrap_or(0);
    if value > u64::MAX >> 1 {
        return Err(ProtocolError::LengthTopBitSet);
    }
    if known.len() == size {
        if value < minimum {
            return Err(ProtocolError::LengthNotMinimal);
        }
        return Ok(Some((value, 2 + size)));
    }
    if value >= minimum && value > limit.least() {
        return Err(limit.error());
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_encoding() {
        for payload_len in [0, 1, 125, 126, 65_535, 65_536, u64::MAX >> 1] {
            for masking_key in [None, Some(MaskingKey([1, 2, 3, 4]))] {
                for flags in 0..16_u8 {
                    let header = Header {
                        is_final: flags & 1 != 0,
                        rsv1: flags & 2 != 0,
                        rsv2: flags & 4 != 0,
                        rsv3: flags & 8 != 0,
                        opcode: Opcode::Binary,
                        masking_key,
                        payload_len,
                    };
                    let mut out = [0; HEADER_SIZE_MAX];
                    let size = header.encode(&mut out);
                    assert_eq!(Header::parse(&out[..size]), Ok(Some((header, size))));
                    for cut in 0..size {
                        assert_eq!(Header::parse(&out[..cut]), Ok(None), "cut at {cut}");
                    }
                }
            }
        }
    }

    #[test]
    fn lengths_are_judged_from_their_first_bytes() {
        let context = Context {
            mask_bit: 0,
            deflate: false,
            in_message: false,
            fragments_spent: false,
            frame_size_max: 100_000,
            message_room: 200_000,
            message_room_compressed: 200_000,
        };
        let parse = |bytes: &[u8]| Header::parse_in(bytes, &context);
        assert_eq!(
            parse(&[0x82, 127, 0x80]),
            Err(ProtocolError::LengthTopBitSet)
        );
        assert_eq!(parse(&[0x82, 127, 0x01]), Err(ProtocolError::FrameTooBig));
        assert_eq!(
            parse(&[0x82, 127, 0, 0, 0, 0, 0, 2]),
            Err(ProtocolError::FrameTooBig)
        );
        assert_eq!(parse(&[0x82, 127, 0, 0, 0, 0, 0, 1]), Ok(None));
        let not_minimal = [0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
        assert_eq!(parse(&not_minimal), Err(ProtocolError::LengthNotMinimal));
        assert_eq!(
            parse(&[0x82, 126, 0, 125]),
            Err(ProtocolError::LengthNotMinimal)
        );
    }
}
