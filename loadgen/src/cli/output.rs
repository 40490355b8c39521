//! The options that say where results go.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use clap::Args;

use crate::config::Output;

/// Where results go.
#[derive(Args, Debug)]
pub struct OutputArguments {
    /// Write the report as one JSON object to a file, or to standard output with -
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// Show nothing while the run lasts
    #[arg(long)]
    quiet: bool,
    /// Plain lines instead of the live view on a terminal
    #[arg(long)]
    no_tui: bool,
    /// Answer Prometheus at http://ADDR:PORT/metrics while the run lasts, for example on 127.0.0.1:9464
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_address)]
    prom: Option<SocketAddr>,
}

/// Where results go.
#[derive(Clone, Debug, Default)]
pub struct OutputSettings {
    /// JSON report.
    pub json: Option<Output>,
    /// Nothing is shown while the run lasts.
    pub is_quiet: bool,
    /// The live view is shown where there is a terminal; otherwise plain lines.
    pub has_view: bool,
    /// Where the OpenMetrics endpoint listens.
    pub prometheus: Option<SocketAddr>,
    /// What plain lines begin with, where several runs are shown at once.
    pub label: Option<String>,
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let unusable =
        || format!("'{text}' is no address with a port; write for example 127.0.0.1:9464");
    // A name may have several addresses; the first is the one that others try first, too.
    let mut addresses = text.to_socket_addrs().map_err(|_| unusable())?;
    addresses.next().ok_or_else(unusable)
}

impl OutputArguments {
    /// Checks what clap cannot.
    ///
    /// # Errors
    /// One or two sentences with cause and cure.
    pub fn into_settings(self) -> Result<OutputSettings, String> {
        Ok(OutputSettings {
            json: self.json.map(Output::of),
            is_quiet: self.quiet,
            has_view: !self.no_tui,
            prometheus: self.prom,
            label: None,
        })
    }
}
