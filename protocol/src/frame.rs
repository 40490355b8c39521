//! Frame headers and masking (RFC 6455 5.2 and 5.3).

use crate::error::ProtocolError;

/// Most bytes of payload in a control frame (RFC 6455 5.5).
pub const CONTROL_PAYLOAD_MAX: usize = 125;
/// Most bytes of a frame header: two, eight of extended length, four of masking key.
pub const HEADER_SIZE_MAX: usize = 14;

/// The masking key of one frame (RFC 6455 5.3). Draw a fresh, unpredictable one for every frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaskingKey(pub [u8; 4]);

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

impl Header {
    /// Reads the header at the start of `bytes` and says how long it is; `None` asks for more.
    ///
    /// # Errors
    ///
    /// What no frame may have, whoever sent it.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, ProtocolError> {
        let _ = bytes;
        Ok(None)
    }

    /// Writes the header to the start of `out` and returns its length, 2 to 14.
    pub fn encode(&self, out: &mut [u8; HEADER_SIZE_MAX]) -> usize {
        let _ = out;
        0
    }
}

/// Masks or unmasks `bytes`, whose first byte is number `phase` of its payload.
pub fn unmask(bytes: &mut [u8], key: MaskingKey, phase: usize) {
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte ^= key.0[(phase + index) & 3];
    }
}
