//! The receiving half: bytes in, events out.

use std::sync::Arc;

use crate::deflate::DeflateParameters;
use crate::error::ProtocolError;
use crate::event::Event;
use crate::settings::Settings;
use crate::workspace::Workspace;

/// A cursor over received bytes. Payloads are unmasked in place.
#[derive(Debug)]
pub struct Input<'b> {
    bytes: &'b mut [u8],
    position: usize,
}

impl<'b> Input<'b> {
    /// All of `bytes` is yet to be taken.
    pub fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// How many bytes are yet to be taken.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }
}

/// The receiving half of a connection.
#[derive(Debug)]
pub struct Receiver {
    settings: Arc<Settings>,
    deflate: Option<DeflateParameters>,
}

impl Receiver {
    pub(crate) fn new(settings: Arc<Settings>, deflate: Option<DeflateParameters>) -> Self {
        Self { settings, deflate }
    }

    /// The next event, or `None` when all input has been taken.
    ///
    /// # Errors
    ///
    /// The rule that the peer broke; from then on all input is ignored.
    pub fn next_event<'a>(
        &'a mut self,
        input: &'a mut Input<'_>,
        workspace: &mut Workspace,
    ) -> Result<Option<Event<'a>>, ProtocolError> {
        let _ = (&self.settings, &self.deflate, workspace);
        input.position = input.bytes.len();
        Ok(None)
    }

    /// Bytes of memory that an unfinished message holds.
    pub fn bytes_held(&self) -> usize {
        0
    }

    /// Whether an unfinished frame or fragmented message exists.
    pub fn is_mid_message(&self) -> bool {
        false
    }
}
