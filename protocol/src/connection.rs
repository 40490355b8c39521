//! The two halves of an established connection.

use std::sync::Arc;

use crate::deflate::DeflateParameters;
use crate::receiver::Receiver;
use crate::sender::Sender;
use crate::settings::Settings;

/// An established connection: a receiving and a sending half that can be borrowed at once, so
/// that a reply can be written while the event it answers is still borrowed.
#[derive(Debug)]
pub struct Connection {
    /// Turns received bytes into events.
    pub receiver: Receiver,
    /// Turns messages into bytes to send.
    pub sender: Sender,
}

impl Connection {
    /// A connection right after its opening handshake. `deflate` is what the handshake agreed on.
    pub fn new(settings: Arc<Settings>, deflate: Option<DeflateParameters>) -> Self {
        Self {
            sender: Sender::new(settings.role, deflate),
            receiver: Receiver::new(settings, deflate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_stays_small() {
        assert!(size_of::<Connection>() <= 64, "{}", size_of::<Connection>());
    }
}
