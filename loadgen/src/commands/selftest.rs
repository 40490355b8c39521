//! `selftest`: prove the measurement against servers with known faults.

use clap::Args;

use crate::commands::Failure;

/// `selftest`.
#[derive(Args, Debug)]
pub struct Arguments {}

/// Does it and returns the exit code.
///
/// # Errors
/// What kept it from being done.
pub fn execute(_arguments: Arguments) -> Result<u8, Failure> {
    Err(Failure::usage("`selftest` is not built yet".to_owned()))
}
