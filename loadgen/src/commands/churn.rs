//! `churn`: steady connecting and disconnecting, and reconnecting with backoff.

use crate::churn::cli::ChurnArguments;
use crate::commands::{Failure, load};

/// `churn`.
pub type Arguments = ChurnArguments;

/// Does it and returns the exit code.
///
/// # Errors
/// What kept it from being done.
pub fn execute(arguments: Arguments) -> Result<u8, Failure> {
    load::execute(arguments.into_config().map_err(Failure::usage)?)
}
