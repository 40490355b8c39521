//! `compare`: two sets of saved runs, with statistics.

use clap::Args;

use crate::commands::Failure;

/// `compare`.
#[derive(Args, Debug)]
pub struct Arguments {}

/// Does it and returns the exit code.
///
/// # Errors
/// What kept it from being done.
pub fn execute(_arguments: Arguments) -> Result<u8, Failure> {
    Err(Failure::usage("`compare` is not built yet".to_owned()))
}
