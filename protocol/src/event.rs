//! What a receiver hands out: messages and control frames, borrowed.

use crate::close::CloseFrame;

/// One thing the peer said. Borrowed from the caller's input or from the receiver.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message.
    Message(Message<'a>),
    /// A ping: answer with a pong of the same payload (RFC 6455 5.5.2).
    Ping(&'a [u8]),
    /// A pong, asked for or not.
    Pong(&'a [u8]),
    /// The peer's close frame; answer with one unless it was sent already (RFC 6455 5.5.1).
    /// Everything behind it is ignored.
    Close(Option<CloseFrame<'a>>),
}

/// Text or binary (RFC 6455 5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// UTF-8 text.
    Text,
    /// Bytes.
    Binary,
}

/// A whole message, unmasked, assembled and inflated.
#[derive(Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Text or binary.
    pub kind: MessageKind,
    /// The payload.
    pub payload: &'a [u8],
    /// Whether it arrived compressed (RSV1 set, RFC 7692 6).
    pub compressed: bool,
}

impl<'a> Message<'a> {
    /// The payload as a string slice; `None` for a binary message, and for a text message that is
    /// not UTF-8 when `Settings::validate_utf8` is off.
    ///
    /// The receiver has validated the text already; making a `&str` of bytes without a second look
    /// would need unsafe code, so this looks again, at the speed of simdutf8. Work on `payload`
    /// where bytes will do.
    pub fn as_str(&self) -> Option<&'a str> {
        match self.kind {
            MessageKind::Text => simdutf8::basic::from_utf8(self.payload).ok(),
            MessageKind::Binary => None,
        }
    }
}
