//! The memory of an unfinished frame or message: grows with what arrived, never with what a
//! header declares. Knows nothing of headers' validity and of events.

use std::sync::Arc;

use crate::error::ProtocolError;
use crate::event::MessageKind;
use crate::frame::{Header, MaskingKey, Opcode};
use crate::mask::{is_ascii, unmask_is_ascii};

/// Least bytes reserved beyond what arrived, so that a dribbling peer does not cause a
/// reallocation per byte.
pub(crate) const SLACK_MIN: usize = 4096;
/// Larger messages get this share of their size as slack, so that growing stays linear.
pub(crate) const SLACK_SHARE: usize = 8;

/// A frame whose payload has not arrived completely.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartialFrame {
    pub opcode: Opcode,
    pub is_final: bool,
    pub masking_key: Option<MaskingKey>,
    /// Bytes of payload that are still to come.
    pub remaining: u64,
    /// Where in the masking key the next byte stands.
    pub phase: u8,
}

impl PartialFrame {
    pub(crate) fn new(header: &Header) -> Self {
        Self {
            opcode: header.opcode,
            is_final: header.is_final,
            masking_key: header.masking_key,
            remaining: header.payload_len,
            phase: 0,
        }
    }

    /// Unmasks the next `chunk` of payload; whether it is known to be ASCII.
    pub(crate) fn unmask(&mut self, chunk: &mut [u8]) -> bool {
        let ascii = match self.masking_key {
            Some(key) => unmask_is_ascii(chunk, key, usize::from(self.phase)),
            None => is_ascii(chunk),
        };
        self.phase = ((usize::from(self.phase) + chunk.len()) & 3) as u8;
        ascii
    }
}

/// A message whose final frame has not arrived completely.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartialMessage {
    pub kind: MessageKind,
    pub compressed: bool,
    /// Frames so far, the unfinished one and empty ones included.
    pub fragments: u32,
    /// Bytes of the payload known to be whole UTF-8 characters.
    pub validated: usize,
}

/// An unfinished message and the unfinished frame inside it.
#[derive(Debug)]
pub(crate) struct Assembly {
    /// Payload of the message so far, unmasked.
    pub payload: Vec<u8>,
    /// Payload of an unfinished control frame, unmasked; at most 125 bytes.
    pub control: Vec<u8>,
    pub frame: Option<PartialFrame>,
    pub message: Option<PartialMessage>,
    /// Proof that the workspace may keep this assembly for reuse.
    permit: Option<Arc<()>>,
}

impl Assembly {
    pub(crate) fn new(permit: Option<Arc<()>>) -> Self {
        Self {
            payload: Vec::new(),
            control: Vec::new(),
            frame: None,
            message: None,
            permit,
        }
    }

    pub(crate) fn is_reusable(&self) -> bool {
        self.permit.is_some()
    }

    pub(crate) fn clear(&mut self) {
        self.payload.clear();
        self.control.clear();
        self.frame = None;
        self.message = None;
    }

    pub(crate) fn bytes_held(&self) -> usize {
        self.payload.capacity() + self.control.capacity()
    }

    /// Whether a frame or a message is unfinished.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.frame.is_some() || self.message.is_some()
    }

    /// Appends the next chunk of the frame's payload, unmasked; returns the frame as it is now.
    ///
    /// # Errors
    ///
    /// 1007 at the first byte that makes a text message impossible as UTF-8.
    pub(crate) fn append(
        &mut self,
        mut frame: PartialFrame,
        chunk: &[u8],
        validate_utf8: bool,
    ) -> Result<PartialFrame, ProtocolError> {
        frame.remaining -= chunk.len() as u64;
        let is_control = frame.opcode.is_control();
        let buffer = if is_control {
            &mut self.control
        } else {
            reserve(&mut self.payload, chunk.len(), &frame);
            &mut self.payload
        };
        // Copied first and unmasked where it stays: the input's cache lines are not written.
        let start = buffer.len();
        buffer.extend_from_slice(chunk);
        let ascii = frame.unmask(buffer.get_mut(start..).unwrap_or_default());
        if is_control {
            return Ok(frame);
        }
        let Some(message) = &mut self.message else {
            return Ok(frame);
        };
        if validate_utf8 && message.kind == MessageKind::Text && !message.compressed {
            if ascii && message.validated == start {
                message.validated = self.payload.len();
            } else {
                message.validated = validate(&self.payload, message.validated)?;
            }
        }
        Ok(frame)
    }
}

/// Reserves for what arrived and a bounded slack, and not for more of the final frame than it has.
fn reserve(payload: &mut Vec<u8>, additional: usize, frame: &PartialFrame) {
    let needed = payload.len() + additional;
    if needed <= payload.capacity() {
        return;
    }
    let mut slack = SLACK_MIN.max(needed / SLACK_SHARE);
    if frame.is_final {
        slack = usize::try_from(frame.remaining).map_or(slack, |remaining| slack.min(remaining));
    }
    payload.reserve_exact(additional + slack);
}

/// Validates what follows the first `validated` bytes, and returns up to where whole characters
/// reach. The unfinished character behind them, if any, is in `text` and looked at again.
pub(crate) fn validate(text: &[u8], validated: usize) -> Result<usize, ProtocolError> {
    let rest = text.get(validated..).unwrap_or_default();
    match simdutf8::compat::from_utf8(rest) {
        Ok(_) => Ok(text.len()),
        // No length means: the bytes at the end are the beginning of a character.
        Err(error) if error.error_len().is_none() => Ok(validated + error.valid_up_to()),
        Err(_) => Err(ProtocolError::TextNotUtf8),
    }
}
