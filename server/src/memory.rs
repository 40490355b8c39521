//! What the limits mean in bytes.
//!
//! It owns the arithmetic that the first log lines and `fanwire doctor` print.

use std::fmt;

use crate::connection::Connection;
use crate::limits::Limits;

/// Bytes of the reactor's slot of a connection, rounded up.
const TRANSPORT_SLOT_BYTES: usize = 64;

/// User memory of one idle connection without application state and without compression.
pub const IDLE_CONNECTION_BYTES: usize = TRANSPORT_SLOT_BYTES
    + size_of::<Option<Connection<()>>>()
    + size_of::<Option<fanwire_protocol::Receiver>>();

/// The bar: an idle connection costs at most 256 bytes of user memory.
const _: () = assert!(IDLE_CONNECTION_BYTES <= 256);

/// Memory that a server can come to need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// All connections, idle.
    pub idle_bytes: u64,
    /// Unfinished messages of all cores, at their limit.
    pub unfinished_bytes: u64,
    /// Unsent bytes, if every connection stands just below where receiving from it pauses.
    pub backlog_bytes: u64,
}

impl Budget {
    /// The budget of these limits; `connections_max` must be the one in force.
    pub fn new(limits: &Limits, shards: usize) -> Budget {
        let connections = u64::from(limits.connections_max);
        Budget {
            idle_bytes: connections * IDLE_CONNECTION_BYTES as u64,
            unfinished_bytes: shards as u64 * limits.unfinished_max_bytes as u64,
            backlog_bytes: connections * limits.backlog_pause_bytes as u64,
        }
    }
}

/// A size as a person reads it.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = "bytes";
    for larger in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if value.fract() < 0.05 || value >= 100.0 {
        return format!("{value:.0} {unit}");
    }
    format!("{value:.1} {unit}")
}

impl fmt::Display for Budget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "memory: {} for all connections idle ({IDLE_CONNECTION_BYTES} bytes each), at most {} \
             of unfinished messages, {} if every peer stops reading; the kernel's socket buffers \
             come on top",
            human_bytes(self.idle_bytes),
            human_bytes(self.unfinished_bytes),
            human_bytes(self.backlog_bytes),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (64 << 20, "64 MiB"),
            (5 << 30, "5 GiB"),
        ] {
            assert_eq!(human_bytes(bytes), text);
        }
    }
}
