//! The sending half: messages in, frames out.
//!
//! Owns what must not be sent when (RFC 6455 5.4 and 5.5.1) and the choice to compress. Knows
//! nothing of sockets, of received frames, and of where masking keys come from.

use crate::close::StatusCode;
use crate::deflate::{DEFLATE_WINDOW_BITS_MIN, DeflateParameters, Deflater};
use crate::encode::{append_frame, append_unmasked};
use crate::error::Misuse;
use crate::event::MessageKind;
use crate::frame::{CONTROL_PAYLOAD_MAX, MaskingKey, Opcode};
use crate::settings::Role;
use crate::workspace::Workspace;

/// Most bytes of a close frame's reason: a control payload less the status code.
const REASON_SIZE_MAX: usize = CONTROL_PAYLOAD_MAX - 2;

/// The role is the client's: every frame needs a masking key.
const CLIENT: u8 = 1;
/// permessage-deflate was agreed on.
const DEFLATE: u8 = 2;
/// The close frame was appended.
const CLOSE_SENT: u8 = 4;
/// A fragmented message is unfinished.
const IN_MESSAGE: u8 = 8;

/// The sending half of a connection. Every call appends complete frames to `out`, or nothing.
#[derive(Debug)]
pub struct Sender {
    /// With context takeover only, and only from the first compressed message on.
    deflater: Option<Box<Deflater>>,
    deflate: Option<DeflateParameters>,
    /// All that can keep a message from being a plain frame, in one byte: none of it is the case
    /// for nearly every message of a server, and one test says so.
    flags: u8,
}

impl Sender {
    pub(crate) fn new(role: Role, deflate: Option<DeflateParameters>) -> Self {
        let client = if role == Role::Client { CLIENT } else { 0 };
        let deflated = if deflate.is_some() { DEFLATE } else { 0 };
        Self {
            deflater: None,
            deflate,
            flags: client | deflated,
        }
    }

    /// What the opening handshake agreed on.
    pub fn deflate_parameters(&self) -> Option<DeflateParameters> {
        self.deflate
    }

    /// Appends a whole message; compressed where that was agreed on, the message has at least
    /// `WorkspaceLimits::compress_size_min` bytes, and it gets smaller by it. `key` is a fresh
    /// masking key in the client role, `None` in the server role.
    ///
    /// # Errors
    ///
    /// [`Misuse`]; nothing was appended.
    #[inline]
    pub fn message(
        &mut self,
        kind: MessageKind,
        payload: &[u8],
        key: Option<MaskingKey>,
        workspace: &mut Workspace,
        out: &mut Vec<u8>,
    ) -> Result<(), Misuse> {
        if self.flags == 0 && key.is_none() {
            append_unmasked(opcode(kind), true, false, payload, out);
            return Ok(());
        }
        self.message_with_care(kind, payload, key, workspace, out)
    }

    /// A message that needs more than a header and a copy, or that must not be sent.
    #[inline(never)]
    fn message_with_care(
        &mut self,
        kind: MessageKind,
        payload: &[u8],
        key: Option<MaskingKey>,
        workspace: &mut Workspace,
        out: &mut Vec<u8>,
    ) -> Result<(), Misuse> {
        self.check(key)?;
        if self.has(IN_MESSAGE) {
            return Err(Misuse::InsideFragmentedMessage);
        }
        if !self.message_deflated(kind, payload, key, workspace, out) {
            append_frame(opcode(kind), true, false, payload, key, out);
        }
        Ok(())
    }

    /// Appends one uncompressed fragment of a message (RFC 6455 5.4). `kind` counts for the first
    /// fragment only. Control frames may go between fragments, other messages may not.
    ///
    /// # Errors
    ///
    /// [`Misuse`]; nothing was appended.
    pub fn fragment(
        &mut self,
        kind: MessageKind,
        payload: &[u8],
        is_first: bool,
        is_final: bool,
        key: Option<MaskingKey>,
        out: &mut Vec<u8>,
    ) -> Result<(), Misuse> {
        self.check(key)?;
        match (is_first, self.has(IN_MESSAGE)) {
            (true, true) => return Err(Misuse::InsideFragmentedMessage),
            (false, false) => return Err(Misuse::NoFragmentedMessage),
            (true, false) | (false, true) => {}
        }
        let opcode = if is_first {
            opcode(kind)
        } else {
            Opcode::Continuation
        };
        append_frame(opcode, is_final, false, payload, key, out);
        if is_final {
            self.flags &= !IN_MESSAGE;
        } else {
            self.flags |= IN_MESSAGE;
        }
        Ok(())
    }

    /// Appends a ping with at most 125 bytes of payload (RFC 6455 5.5.2).
    ///
    /// # Errors
    ///
    /// [`Misuse`]; nothing was appended.
    pub fn ping(
        &mut self,
        payload: &[u8],
        key: Option<MaskingKey>,
        out: &mut Vec<u8>,
    ) -> Result<(), Misuse> {
        self.control(Opcode::Ping, payload, key, out)
    }

    /// Appends a pong with at most 125 bytes of payload (RFC 6455 5.5.3).
    ///
    /// # Errors
    ///
    /// [`Misuse`]; nothing was appended.
    pub fn pong(
        &mut self,
        payload: &[u8],
        key: Option<MaskingKey>,
        out: &mut Vec<u8>,
    ) -> Result<(), Misuse> {
        self.control(Opcode::Pong, payload, key, out)
    }

    /// Appends the close frame (RFC 6455 5.5.1); `reason` is cut at a character boundary to 123
    /// bytes. Only once, and nothing may follow it.
    ///
    /// # Errors
    ///
    /// [`Misuse`]; nothing was appended.
    pub fn close(
        &mut self,
        code: Option<StatusCode>,
        reason: &str,
        key: Option<MaskingKey>,
        out: &mut Vec<u8>,
    ) -> Result<(), Misuse> {
        let mut payload = [0; CONTROL_PAYLOAD_MAX];
        let size = match code {
            Some(code) if code.is_sendable() => {
                let reason = cut(reason, REASON_SIZE_MAX);
                payload[..2].copy_from_slice(&code.0.to_be_bytes());
                payload[2..2 + reason.len()].copy_from_slice(reason.as_bytes());
                2 + reason.len()
            }
            None if reason.is_empty() => 0,
            _ => return Err(Misuse::CloseCodeNotSendable),
        };
        self.control(Opcode::Close, &payload[..size], key, out)?;
        self.flags |= CLOSE_SENT;
        self.deflater = None;
        Ok(())
    }

    /// Whether the close frame was appended.
    pub fn close_sent(&self) -> bool {
        self.has(CLOSE_SENT)
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn check(&self, key: Option<MaskingKey>) -> Result<(), Misuse> {
        match (self.has(CLIENT), key) {
            (true, None) => Err(Misuse::MaskingKeyMissing),
            (false, Some(_)) => Err(Misuse::MaskingKeyUnexpected),
            _ if self.has(CLOSE_SENT) => Err(Misuse::AfterClose),
            _ => Ok(()),
        }
    }

    fn control(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        key: Option<MaskingKey>,
        out: &mut Vec<u8>,
    ) -> Result<(), Misuse> {
        self.check(key)?;
        if payload.len() > CONTROL_PAYLOAD_MAX {
            return Err(Misuse::ControlPayloadTooLong);
        }
        append_frame(opcode, true, false, payload, key, out);
        Ok(())
    }

    /// Appends the message compressed, if that is possible and of use; whether it was.
    fn message_deflated(
        &mut self,
        kind: MessageKind,
        payload: &[u8],
        key: Option<MaskingKey>,
        workspace: &mut Workspace,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(agreed) = self.deflate else {
            return false;
        };
        if payload.len() < workspace.limits().compress_size_min {
            return false;
        }
        let (takeover, window_bits) = if self.has(CLIENT) {
            (
                !agreed.client_no_context_takeover,
                agreed.client_max_window_bits,
            )
        } else {
            (
                !agreed.server_no_context_takeover,
                agreed.server_max_window_bits,
            )
        };
        // zlib has no raw stream with a window of 256 bytes. Sending plain is always allowed
        // (RFC 7692 6), sending references that reach too far back is not.
        if window_bits < DEFLATE_WINDOW_BITS_MIN {
            return false;
        }
        let is_deflated = if takeover {
            let level = workspace.limits().compression_level;
            let deflater = self
                .deflater
                .get_or_insert_with(|| Box::new(Deflater::new(window_bits, level)));
            workspace.scratch.clear();
            deflater.deflate(payload, true, &mut workspace.scratch)
        } else {
            let (deflater, scratch) = workspace.deflater(window_bits);
            deflater.deflate(payload, false, scratch)
        };
        if !is_deflated {
            // A fresh deflater refers to nothing before it, so the next message may begin one.
            self.deflater = None;
        }
        // With takeover the message is part of the window now, so the peer must see it.
        let is_of_use = is_deflated && (takeover || workspace.scratch.len() < payload.len());
        if is_of_use {
            append_frame(opcode(kind), true, true, &workspace.scratch, key, out);
        }
        workspace.shrink_scratch();
        is_of_use
    }
}

/// The longest beginning of `text` with at most `size_max` bytes that ends between characters.
fn cut(text: &str, size_max: usize) -> &str {
    (0..=size_max.min(text.len()))
        .rev()
        .find_map(|size| text.get(..size))
        .unwrap_or(text)
}

#[inline(always)]
pub(crate) fn opcode(kind: MessageKind) -> Opcode {
    match kind {
        MessageKind::Text => Opcode::Text,
        MessageKind::Binary => Opcode::Binary,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Option<MaskingKey> = Some(MaskingKey([0x37, 0xfa, 0x21, 0x3d]));

    fn server() -> Sender {
        Sender::new(Role::Server, None)
    }

    #[test]
    fn the_examples_of_rfc_6455_5_7() {
        let mut workspace = Workspace::default();
        let mut out = Vec::new();
        let result = server().message(MessageKind::Text, b"Hello", None, &mut workspace, &mut out);
        assert_eq!(result, Ok(()));
        assert_eq!(out, [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);

        out.clear();
        let mut client = Sender::new(Role::Client, None);
        let result = client.message(MessageKind::Text, b"Hello", KEY, &mut workspace, &mut out);
        assert_eq!(result, Ok(()));
        assert_eq!(
            out,
            [
                0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58
            ]
        );

        out.clear();
        let mut sender = server();
        assert_eq!(
            sender.fragment(MessageKind::Text, b"Hel", true, false, None, &mut out),
            Ok(())
        );
        assert_eq!(
            sender.fragment(MessageKind::Text, b"lo", false, true, None, &mut out),
            Ok(())
        );
        assert_eq!(out, [0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f]);

        out.clear();
        assert_eq!(sender.ping(b"Hello", None, &mut out), Ok(()));
        assert_eq!(out, [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);

        for (size, header) in [
            (256, &[0x82, 0x7e, 1, 0][..]),
            (65_536, &[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            out.clear();
            let payload = vec![7; size];
            let result = sender.message(
                MessageKind::Binary,
                &payload,
                None,
                &mut workspace,
                &mut out,
            );
            assert_eq!(result, Ok(()));
            assert_eq!(&out[..header.len()], header);
            assert_eq!(&out[header.len()..], payload);
        }
    }

    #[test]
    fn misuse_appends_nothing() {
        let mut workspace = Workspace::default();
        let mut out = Vec::new();
        let text = MessageKind::Text;
        let mut sender = server();
        assert_eq!(
            sender.ping(b"", KEY, &mut out),
            Err(Misuse::MaskingKeyUnexpected)
        );
        let mut client = Sender::new(Role::Client, None);
        assert_eq!(
            client.ping(b"", None, &mut out),
            Err(Misuse::MaskingKeyMissing)
        );
        assert_eq!(
            sender.pong(&[0; 126], None, &mut out),
            Err(Misuse::ControlPayloadTooLong)
        );
        assert_eq!(
            sender.fragment(text, b"", false, true, None, &mut out),
            Err(Misuse::NoFragmentedMessage)
        );
        for code in [
            StatusCode(999),
            StatusCode(1005),
            StatusCode(1006),
            StatusCode(5000),
        ] {
            let result = sender.close(Some(code), "", None, &mut out);
            assert_eq!(result, Err(Misuse::CloseCodeNotSendable));
        }
        let result = sender.close(None, "a reason needs a code", None, &mut out);
        assert_eq!(result, Err(Misuse::CloseCodeNotSendable));
        assert!(out.is_empty() && !sender.close_sent());

        assert_eq!(
            sender.fragment(text, b"a", true, false, None, &mut out),
            Ok(())
        );
        let size = out.len();
        let result = sender.message(text, b"b", None, &mut workspace, &mut out);
        assert_eq!(result, Err(Misuse::InsideFragmentedMessage));
        let result = sender.fragment(text, b"b", true, true, None, &mut out);
        assert_eq!(result, Err(Misuse::InsideFragmentedMessage));
        assert_eq!(
            sender.close(Some(StatusCode::NORMAL), "", None, &mut out),
            Ok(())
        );
        let size = size + 4;
        assert_eq!(sender.ping(b"", None, &mut out), Err(Misuse::AfterClose));
        let result = sender.close(Some(StatusCode::NORMAL), "", None, &mut out);
        assert_eq!(result, Err(Misuse::AfterClose));
        assert_eq!(out.len(), size);
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let mut out = Vec::new();
        let reason = "é".repeat(100);
        assert_eq!(
            server().close(Some(StatusCode::POLICY), &reason, None, &mut out),
            Ok(())
        );
        assert_eq!(out.len(), 2 + 2 + 122);
        assert_eq!(&out[4..], &reason.as_bytes()[..122]);
    }
}
