//! The memory of an unfinished frame or message: grows with what arrived, never with what a
//! header declares. Knows nothing of headers' validity and of events.

use std::sync::Arc;

use crate::error::ProtocolError;
use crate::event::MessageKind;
use crate::frame::{Header, MaskingKey, Opcode};
use crate::mask::unmask;
use crate::payload_buffer::PayloadBuffer;

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

    /// Counts the next `count` bytes of payload as arrived.
    fn advance(&mut self, count: usize) {
        self.remaining -= count as u64;
        self.phase = ((usize::from(self.phase) + count) & 3) as u8;
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
    pub payload: PayloadBuffer,
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
            payload: PayloadBuffer::default(),
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
        let phase = usize::from(frame.phase);
        frame.advance(chunk.len());
        if frame.opcode.is_control() {
            append_control(&mut self.control, chunk, frame.masking_key, phase);
            return Ok(frame);
        }
        let start = self.payload.len();
        self.payload
            .reserve(chunk.len(), |needed| slack(needed, &frame));
        let ascii = self.payload.append(chunk, frame.masking_key, phase);
        let Some(message) = &mut self.message else {
            return Ok(frame);
        };
        if validate_utf8 && message.kind == MessageKind::Text && !message.compressed {
            if ascii && message.validated == start {
                message.validated = self.payload.len();
            } else {
                message.validated = validate(self.payload.bytes(), message.validated)?;
            }
        }
        Ok(frame)
    }
}

/// At most 125 bytes, and rarely in pieces.
#[cold]
fn append_control(control: &mut Vec<u8>, chunk: &[u8], key: Option<MaskingKey>, phase: usize) {
    let start = control.len();
    control.extend_from_slice(chunk);
    if let (Some(key), Some(landed)) = (key, control.get_mut(start..)) {
        unmask(landed, key, phase);
    }
}

/// What is reserved beyond the `needed` bytes that arrived: a bounded slack, and not more of the
/// final frame than it has.
fn slack(needed: usize, frame: &PartialFrame) -> usize {
    let slack = SLACK_MIN.max(needed / SLACK_SHARE);
    if frame.is_final {
        usize::try_from(frame.remaining).map_or(slack, |remaining| slack.min(remaining))
    } else {
        slack
    }
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
