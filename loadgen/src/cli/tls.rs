//! The options that say how a `wss://` server is believed.

use std::path::PathBuf;

use clap::Args;

use crate::connect::target::Target;
use crate::connect::tls::{TlsClient, TlsOptions};

/// Set on each option: a heading for the whole group would go on over the groups behind it.
const HEADING: &str = "TLS, for wss://";

/// What is told of TLS.
#[derive(Args, Debug)]
pub struct TlsArguments {
    /// Trust the certificate authorities in this PEM file, beside the public ones, which are built
    /// in: --tls-ca company-ca.pem
    #[arg(long, help_heading = HEADING, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Accept any certificate of the server; the report says so
    #[arg(long, help_heading = HEADING, conflicts_with = "tls_ca")]
    insecure: bool,
    /// Name of the server for the TLS handshake and its certificate, when the URL has an address or
    /// another name: --sni chat.example.org
    #[arg(long, help_heading = HEADING, value_name = "NAME")]
    sni: Option<String>,
    /// Our own certificate chain in PEM form, for servers that demand one
    #[arg(long, help_heading = HEADING, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The private key of --cert in PEM form, without a password
    #[arg(long, help_heading = HEADING, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

impl TlsArguments {
    /// Reads the files, once and before the run. `None` for `ws://`.
    ///
    /// # Errors
    /// One or two sentences with cause and cure; also when there is no TLS to apply them to.
    pub fn into_client(self, target: &Target) -> Result<Option<TlsClient>, String> {
        let options = TlsOptions {
            authorities: self.tls_ca,
            is_insecure: self.insecure,
            server_name: self.sni,
            identity: self.cert.zip(self.key),
        };
        match (target.is_secured, options.is_empty()) {
            (true, _) => TlsClient::new(&options, &target.host).map(Some),
            (false, true) => Ok(None),
            (false, false) => Err(
                "--tls-ca, --insecure, --sni, --cert and --key are for TLS, but the URL begins with \
                 ws://; write wss://… or leave them out"
                    .into(),
            ),
        }
    }
}
