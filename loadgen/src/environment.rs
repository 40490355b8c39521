//! Where and how a run was made, so that a reader can tell whether two reports are comparable.
//!
//! Everything is optional: what a host does not tell is left out.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Host and command line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// Kernel release, as `uname -r` prints it.
    pub kernel: String,
    /// The program's own command line.
    pub command_line: Vec<String>,
    /// When the run began, in milliseconds since 1970-01-01T00:00:00Z.
    pub started_unix_ms: u64,
}

impl Environment {
    /// This host, now.
    pub fn current() -> Environment {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Environment {
            kernel: fanwire_reactor::host::kernel_release(),
            command_line: std::env::args().collect(),
            started_unix_ms: now.map_or(0, |now| now.as_millis() as u64),
        }
    }
}
