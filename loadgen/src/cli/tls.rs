//! The options that say how a `wss://` server is believed.

use clap::Args;

/// What is told of TLS.
#[derive(Args, Debug)]
pub struct TlsArguments {}

/// How a `wss://` server is believed.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {}

impl TlsArguments {
    /// Checks what clap cannot.
    ///
    /// # Errors
    /// One or two sentences with cause and cure.
    pub fn into_settings(self) -> Result<TlsSettings, String> {
        Ok(TlsSettings {})
    }
}
