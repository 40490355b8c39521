//! `find`: largest load that meets the thresholds.

use clap::Args;

use crate::commands::Failure;

/// `find`.
#[derive(Args, Debug)]
pub struct Arguments {}

/// Does it and returns the exit code.
///
/// # Errors
/// What kept it from being done.
pub fn execute(_arguments: Arguments) -> Result<u8, Failure> {
    Err(Failure::usage("`find` is not built yet".to_owned()))
}
