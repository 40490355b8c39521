//! `doctor`: what this host can do, and what stands in the way.

use clap::Args;

use crate::commands::Failure;

/// `doctor`.
#[derive(Args, Debug)]
pub struct Arguments {}

/// Does it and returns the exit code.
///
/// # Errors
/// What kept it from being done.
pub fn execute(_arguments: Arguments) -> Result<u8, Failure> {
    Err(Failure::usage("`doctor` is not built yet".to_owned()))
}
