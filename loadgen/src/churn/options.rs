//! What a churn run is told beyond what every command is told. Made by `churn::cli`.

use crate::churn::backoff::Reconnect;
use crate::churn::lifetime::Lifetime;

/// How a client leaves at the end of its lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// With a closing handshake, status code 1000.
    Clean,
    /// With a reset: the server learns of it as an error of its socket.
    Reset,
    /// Without a close frame: the end of the stream (FIN) and nothing else, as a process that
    /// exits leaves.
    Half,
}

impl Departure {
    /// The word of the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Departure::Clean => "clean",
            Departure::Reset => "reset",
            Departure::Half => "half",
        }
    }
}

/// What `churn` is told beyond what every command is told.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long a client keeps a connection.
    pub lifetime: Lifetime,
    /// When a client that was sent away or refused tries again.
    pub reconnect: Reconnect,
    /// How a client leaves.
    pub departure: Departure,
    /// Clients send nothing at all: for servers that do not echo.
    pub is_hold_only: bool,
}

impl Options {
    /// Connections per second that lifetimes alone bring about, with `connections` held.
    pub fn expected_per_second(&self, connections: u32) -> Option<f64> {
        let mean_ns = self.lifetime.mean_ns()?;
        (mean_ns > 0.0).then(|| f64::from(connections) * 1e9 / mean_ns)
    }
}
