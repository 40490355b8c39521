//! `run`: mixed, staged scenario from a file or a preset.

use clap::Args;

use crate::commands::Failure;

/// `run`.
#[derive(Args, Debug)]
pub struct Arguments {}

/// Does it and returns the exit code.
///
/// # Errors
/// What kept it from being done.
pub fn execute(_arguments: Arguments) -> Result<u8, Failure> {
    Err(Failure::usage("`run` is not built yet".to_owned()))
}
