//! The sending half: messages in, bytes out.

use crate::close::StatusCode;
use crate::deflate::DeflateParameters;
use crate::error::Misuse;
use crate::event::MessageKind;
use crate::frame::MaskingKey;
use crate::settings::Role;
use crate::workspace::Workspace;

/// The sending half of a connection. Every call appends complete frames to `out`.
#[derive(Debug)]
pub struct Sender {
    role: Role,
    deflate: Option<DeflateParameters>,
    close_sent: bool,
}

impl Sender {
    pub(crate) fn new(role: Role, deflate: Option<DeflateParameters>) -> Self {
        Self {
            role,
            deflate,
            close_sent: false,
        }
    }

    /// What the opening handshake agreed on.
    pub fn deflate_parameters(&self) -> Option<DeflateParameters> {
        self.deflate
    }

    /// Appends a whole message.
    ///
    /// # Errors
    ///
    /// [`Misuse`]; nothing was appended.
    pub fn message(
        &mut self,
        kind: MessageKind,
        payload: &[u8],
        key: Option<MaskingKey>,
        workspace: &mut Workspace,
        out: &mut Vec<u8>,
    ) -> Result<(), Misuse> {
        let _ = (kind, payload, workspace, out);
        self.check(key)
    }

    /// Appends one uncompressed fragment of a message.
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
        let _ = (kind, payload, is_first, is_final, out);
        self.check(key)
    }

    /// Appends a ping with at most 125 bytes of payload.
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
        let _ = (payload, out);
        self.check(key)
    }

    /// Appends a pong with at most 125 bytes of payload.
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
        let _ = (payload, out);
        self.check(key)
    }

    /// Appends the close frame; `reason` is cut at a character boundary to 123 bytes. Only once.
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
        let _ = (code, reason, out);
        self.check(key)?;
        self.close_sent = true;
        Ok(())
    }

    /// Whether the close frame was appended.
    pub fn close_sent(&self) -> bool {
        self.close_sent
    }

    fn check(&self, key: Option<MaskingKey>) -> Result<(), Misuse> {
        match (self.role, key) {
            (Role::Client, None) => Err(Misuse::MaskingKeyMissing),
            (Role::Server, Some(_)) => Err(Misuse::MaskingKeyUnexpected),
            _ if self.close_sent => Err(Misuse::AfterClose),
            _ => Ok(()),
        }
    }
}
