//! `calibrate`: ceiling and noise floor of the generator on this host.

use clap::Args;

use crate::commands::Failure;

/// `calibrate`.
#[derive(Args, Debug)]
pub struct Arguments {}

/// Does it and returns the exit code.
///
/// # Errors
/// What kept it from being done.
pub fn execute(_arguments: Arguments) -> Result<u8, Failure> {
    Err(Failure::usage("`calibrate` is not built yet".to_owned()))
}
