//! The one pong that may wait for a peer that does not read.

use crate::error::Misuse;
use crate::frame::{CONTROL_PAYLOAD_MAX, MaskingKey};
use crate::sender::Sender;

/// At most one pending pong: a newer ping's answer replaces the older one, which RFC 6455 5.5.3
/// allows, so that a peer that pings and does not read costs at most 125 bytes.
#[derive(Debug, Default)]
pub struct PendingPong {
    /// `None` until used and when nothing waits.
    payload: Option<Box<[u8]>>,
}

impl PendingPong {
    /// Nothing waits.
    pub const fn new() -> Self {
        Self { payload: None }
    }

    /// Remembers the answer to a ping; the newest wins. `payload` is that of a received ping, so
    /// at most 125 bytes; what is beyond is cut.
    pub fn replace(&mut self, payload: &[u8]) {
        let size = payload.len().min(CONTROL_PAYLOAD_MAX);
        self.payload = payload.get(..size).map(Box::from);
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.payload.is_none()
    }

    /// Appends the waiting pong, if any, to `out` and says whether there was one.
    ///
    /// # Errors
    ///
    /// As [`Sender::pong`]; the pong is forgotten.
    pub fn take_into(
        &mut self,
        sender: &mut Sender,
        key: Option<MaskingKey>,
        out: &mut Vec<u8>,
    ) -> Result<bool, Misuse> {
        match self.payload.take() {
            Some(payload) => sender.pong(&payload, key, out).map(|()| true),
            None => Ok(false),
        }
    }
}
