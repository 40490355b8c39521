//! `sweep`: one run per value of a parameter: table and plot.

use clap::Args;

use crate::commands::Failure;

/// `sweep`.
#[derive(Args, Debug)]
pub struct Arguments {}

/// Does it and returns the exit code.
///
/// # Errors
/// What kept it from being done.
pub fn execute(_arguments: Arguments) -> Result<u8, Failure> {
    Err(Failure::usage("`sweep` is not built yet".to_owned()))
}
