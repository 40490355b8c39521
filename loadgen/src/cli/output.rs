//! The options that say where results go.

use std::path::PathBuf;

use clap::Args;

use crate::config::Output;

/// Where results go.
#[derive(Args, Debug)]
pub struct OutputArguments {
    /// Write the report as one JSON object to a file, or to standard output with -
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// No progress line
    #[arg(long, alias = "no-tui")]
    quiet: bool,
}

/// Where results go.
#[derive(Clone, Debug, Default)]
pub struct OutputSettings {
    /// JSON report.
    pub json: Option<Output>,
    /// Nothing is shown while the run lasts.
    pub is_quiet: bool,
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
        })
    }
}
