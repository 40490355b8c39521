//! A message encoded once for many subscribers.
//!
//! Owns the finished bytes. Knows nothing of connections beyond what was agreed with them.

use bytes::Bytes;

use crate::deflate::{DeflateParameters, SharedDeflater};
use crate::encode::append_frame;
use crate::event::MessageKind;
use crate::frame::HEADER_SIZE_MAX;
use crate::sender::opcode;

/// A whole message as server frames: unmasked, so that all subscribers can share the bytes.
#[derive(Clone, Debug)]
pub struct PreparedMessage {
    /// The frame for subscribers without permessage-deflate.
    pub plain: Bytes,
    /// The compressed frame, when a deflater was passed and the result is smaller.
    pub deflated: Option<Bytes>,
    /// Window that `deflated` was made with, as its base-2 logarithm.
    window_bits: u8,
}

impl PreparedMessage {
    /// Encodes `payload` once, and once more compressed when a deflater is passed.
    pub fn new(
        kind: MessageKind,
        payload: &[u8],
        mut deflate: Option<&mut SharedDeflater>,
    ) -> Self {
        let mut plain = Vec::with_capacity(HEADER_SIZE_MAX + payload.len());
        append_frame(opcode(kind), true, false, payload, None, &mut plain);
        let deflated = deflate.as_deref_mut().and_then(|deflater| {
            let mut compressed = Vec::new();
            if !deflater.deflate(payload, &mut compressed) || compressed.len() >= payload.len() {
                return None;
            }
            let mut frame = Vec::with_capacity(HEADER_SIZE_MAX + compressed.len());
            append_frame(opcode(kind), true, true, &compressed, None, &mut frame);
            Some(Bytes::from(frame))
        });
        let window_bits = deflate.map_or(0, |deflater| deflater.window_bits());
        Self {
            plain: Bytes::from(plain),
            deflated,
            window_bits,
        }
    }

    /// The bytes for a subscriber with these parameters (`Sender::deflate_parameters`).
    ///
    /// The compressed frame goes only to subscribers with `server_no_context_takeover`, whose
    /// window is at least the deflater's. With context takeover the peer's window would hold this
    /// message and the sender's own would not, so that a later message would refer to bytes that
    /// stand elsewhere (RFC 7692 7.1.1.1).
    pub fn frame_for(&self, deflate: Option<DeflateParameters>) -> &Bytes {
        match (&self.deflated, deflate) {
            (Some(deflated), Some(agreed))
                if agreed.server_no_context_takeover
                    && agreed.server_max_window_bits >= self.window_bits =>
            {
                deflated
            }
            _ => &self.plain,
        }
    }
}
