//! A message encoded once for many subscribers.
//!
//! Owns the finished bytes. Knows nothing of connections beyond what was agreed with them.

use bytes::Bytes;

use crate::deflate::{DeflateParameters, SharedDeflater};
use crate::event::MessageKind;
use crate::frame::{HEADER_SIZE_MAX, Header};
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
        let plain = server_frame(kind, payload, false);
        let deflated = deflate.as_deref_mut().and_then(|deflater| {
            let mut compressed = Vec::new();
            if !deflater.deflate(payload, &mut compressed) || compressed.len() >= payload.len() {
                return None;
            }
            Some(server_frame(kind, &compressed, true))
        });
        let window_bits = deflate.map_or(0, |deflater| deflater.window_bits());
        Self {
            plain,
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

/// A whole message as one server frame, in exactly the memory that it needs.
///
/// With `is_compressed`, `payload` is what [`SharedDeflater::deflate`] made, and the frame is for
/// those subscribers only that [`PreparedMessage::frame_for`] describes: it says so by RSV1
/// (RFC 7692 6).
pub fn server_frame(kind: MessageKind, payload: &[u8], is_compressed: bool) -> Bytes {
    let header = Header {
        is_final: true,
        rsv1: is_compressed,
        rsv2: false,
        rsv3: false,
        opcode: opcode(kind),
        masking_key: None,
        payload_len: payload.len() as u64,
    };
    let mut head = [0; HEADER_SIZE_MAX];
    let head_size = header.encode(&mut head);
    let head = head.get(..head_size).unwrap_or_default();
    let mut frame = Vec::with_capacity(head.len() + payload.len());
    frame.extend_from_slice(head);
    frame.extend_from_slice(payload);
    Bytes::from(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::append_frame;

    #[test]
    fn a_server_frame_is_what_a_sender_appends() {
        for size in [0, 1, 16, 125, 126, 127, 65_535, 65_536] {
            let payload = vec![7; size];
            for kind in [MessageKind::Text, MessageKind::Binary] {
                for is_compressed in [false, true] {
                    let mut expected = Vec::new();
                    append_frame(
                        opcode(kind),
                        true,
                        is_compressed,
                        &payload,
                        None,
                        &mut expected,
                    );
                    let frame = server_frame(kind, &payload, is_compressed);
                    assert!(frame == expected, "{size} bytes, {kind:?}, {is_compressed}");
                }
            }
        }
    }
}
