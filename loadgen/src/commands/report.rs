//! `report`: render saved runs again, or merge those of several processes.

use clap::Args;

use crate::commands::Failure;

/// `report`.
#[derive(Args, Debug)]
pub struct Arguments {}

/// Does it and returns the exit code.
///
/// # Errors
/// What kept it from being done.
pub fn execute(_arguments: Arguments) -> Result<u8, Failure> {
    Err(Failure::usage("`report` is not built yet".to_owned()))
}
