//! `churn`: steady connecting and disconnecting, and reconnecting with backoff.

use clap::Args;

use crate::commands::Failure;

/// `churn`.
#[derive(Args, Debug)]
pub struct Arguments {}

/// Does it and returns the exit code.
///
/// # Errors
/// What kept it from being done.
pub fn execute(_arguments: Arguments) -> Result<u8, Failure> {
    Err(Failure::usage("`churn` is not built yet".to_owned()))
}
