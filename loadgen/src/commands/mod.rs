//! What the commands do, from parsed arguments to an exit code.
//!
//! Every command is `execute(arguments) -> Result<exit code, Failure>`; printing and exiting with
//! the code is `main`'s. Codes are stable; `--help` lists them.

pub mod agent;
pub mod calibrate;
pub mod churn;
pub mod compare;
pub mod doctor;
pub mod find;
pub mod load;
pub mod repeat;
pub mod report;
pub mod run;
pub mod selftest;
pub mod server;
pub mod signals;
pub mod sink;
pub mod sweep;
pub mod vary;

/// The report is good, or good enough.
pub const OK: u8 = 0;
/// The run failed before there was anything to report.
pub const RUN_ERROR: u8 = 1;
/// The command line makes no sense; clap uses the same.
pub const USAGE: u8 = 2;
/// A threshold was not met.
pub const THRESHOLD_FAILED: u8 = 3;
/// The measurement is INVALID.
pub const INVALID: u8 = 4;
/// `compare` found a regression.
pub const REGRESSION: u8 = 5;
/// Ended by a signal.
pub const INTERRUPTED: u8 = 130;

/// Why a command did not come to a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Cause and cure, for a person.
    pub message: String,
    /// Exit code.
    pub code: u8,
}

impl Failure {
    /// The command line asks for something that makes no sense.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure {
            message: message.into(),
            code: USAGE,
        }
    }

    /// Something failed while it was done.
    pub fn run(message: impl Into<String>) -> Failure {
        Failure {
            message: message.into(),
            code: RUN_ERROR,
        }
    }
}
