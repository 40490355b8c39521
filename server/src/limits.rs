//! Every limit of the server: its name with its unit, its default, and what happens at it.
//!
//! It owns the figures and their sanity. It must not know how a limit is enforced.

use std::fmt;

use fanwire_protocol::Settings;
use fanwire_protocol::handshake::HandshakeLimits;

/// File descriptors a process needs before its first connection, and for every shard.
pub const FD_NEEDED: u64 = 16;

/// Limits of a server. Sizes are in bytes; a 0 switches a limit off where its comment says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Established connections of the whole server; 0 = as many as the fd limit allows.
    /// At the limit: 503 with Retry-After.
    pub connections_max: u32,
    /// Opening handshakes in progress per core. At the limit: 503 with Retry-After.
    pub handshakes_max: u32,
    /// Opening handshakes in progress per core from one address; 0 = off (the default, because
    /// behind a proxy everybody has the same address). At the limit: 503 with Retry-After.
    pub handshakes_per_address_max: u32,
    /// From accept to the 101, absolute. At the limit: 408.
    pub handshake_timeout_ms: u64,
    /// Size of the whole request head. Above: 431.
    pub head_size_max: usize,
    /// Size of the request target. Above: 414.
    pub target_size_max: usize,
    /// Header lines of a request. Above: 431.
    pub headers_max: usize,
    /// Payload of a message, after inflating. Above: close 1009.
    pub message_size_max: usize,
    /// Frames that one message may come in, empty ones too. Above: close 1008.
    pub fragments_max: u32,
    /// From the first byte of a message to its last. At the limit: close 1008.
    pub assembly_timeout_ms: u64,
    /// Memory of all unfinished messages of a core. Above: the oldest is closed with 1008.
    pub unfinished_max_bytes: usize,
    /// Messages per second from one connection; 0 = off. Above, once the burst is used up:
    /// close 1008.
    pub message_rate_max: u32,
    /// Messages that may come at once on top of the rate.
    pub message_burst: u32,
    /// Pings and unasked pongs per second from one connection; 0 = off. Above, once the burst is
    /// used up: close 1008.
    pub control_rate_max: u32,
    /// Control frames that may come at once on top of the rate.
    pub control_burst: u32,
    /// Unsent bytes of a connection above which nothing more is received from it until all of
    /// them are sent.
    pub backlog_pause_bytes: usize,
    /// Unsent bytes of a connection above which it is cut (4008 in the counters); 0 = four
    /// messages of the largest size and 1 MiB.
    pub backlog_max_bytes: usize,
    /// Bytes that the kernel may hold for a connection before it has to send them
    /// (TCP_NOTSENT_LOWAT); 0 = the host's default. What is above stays where the limits of the
    /// backlog see it.
    pub kernel_unsent_max_bytes: u32,
    /// The kernel's send buffer of a connection (SO_SNDBUF); 0 = the host's automatic size. A cap
    /// bounds what a stalled reader costs the kernel, and the throughput of far ones.
    pub kernel_send_buffer_bytes: u32,
    /// Bytes that were sent and not acknowledged for this long end the connection
    /// (TCP_USER_TIMEOUT): a peer whose network is gone; 0 = the host's default, many minutes.
    pub unacknowledged_timeout_ms: u32,
    /// A connection whose peer takes none of its unsent bytes for this long is cut; 0 = never.
    pub send_stall_timeout_ms: u64,
    /// Silence of a connection after which a ping is sent; 0 = never.
    pub ping_interval_ms: u64,
    /// Silence after that ping after which the connection is closed with 4012.
    pub pong_timeout_ms: u64,
    /// No message for this long: close 1001; 0 = never.
    pub idle_timeout_ms: u64,
    /// From our Close frame to the end of the stream. At the limit: reset.
    pub close_timeout_ms: u64,
    /// From the start of a drain to its end. At the limit: everything still open is cut.
    pub drain_timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 0,
            handshakes_max: 1024,
            handshakes_per_address_max: 0,
            handshake_timeout_ms: 5_000,
            head_size_max: 8 << 10,
            target_size_max: 4 << 10,
            headers_max: 64,
            message_size_max: 1 << 20,
            fragments_max: 1024,
            assembly_timeout_ms: 10_000,
            unfinished_max_bytes: 64 << 20,
            message_rate_max: 0,
            message_burst: 200,
            control_rate_max: 5,
            control_burst: 20,
            backlog_pause_bytes: 256 << 10,
            backlog_max_bytes: 0,
            kernel_unsent_max_bytes: 128 << 10,
            kernel_send_buffer_bytes: 0,
            unacknowledged_timeout_ms: 20_000,
            send_stall_timeout_ms: 5_000,
            ping_interval_ms: 25_000,
            pong_timeout_ms: 10_000,
            idle_timeout_ms: 0,
            close_timeout_ms: 5_000,
            drain_timeout_ms: 10_000,
        }
    }
}

/// A limit whose value makes no sense, with the range that does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidLimit {
    name: &'static str,
    value: u64,
    least: u64,
    most: u64,
}

impl fmt::Display for InvalidLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let InvalidLimit {
            name,
            value,
            least,
            most,
        } = self;
        write!(
            formatter,
            "{name} is {value}; give it a value from {least} to {most}"
        )
    }
}

impl std::error::Error for InvalidLimit {}

/// Timers count milliseconds in 32 bits; a quarter of that range keeps comparisons safe.
const MS_MAX: u64 = 1 << 30;
/// Memory held per connection is counted in 32 bits.
const BYTES_MAX: u64 = 1 << 30;
/// Tokens are counted in thousandths in 32 bits.
const RATE_MAX: u64 = 1_000_000;

impl Limits {
    /// The limits an echo server for measuring and for conformance suites wants: large messages
    /// in very many fragments.
    pub fn echo() -> Limits {
        Limits {
            message_size_max: 16 << 20,
            fragments_max: 1 << 17,
            ..Limits::default()
        }
    }

    /// Checks every value against the range in which it has a meaning.
    ///
    /// # Errors
    /// The first limit that is out of its range.
    pub fn validate(&self) -> Result<(), InvalidLimit> {
        for (name, value, least, most) in self.ranges() {
            if value < least || value > most {
                return Err(InvalidLimit {
                    name,
                    value,
                    least,
                    most,
                });
            }
        }
        Ok(())
    }

    /// Every limit: its name, its value, and the least and the most that have a meaning.
    fn ranges(&self) -> [(&'static str, u64, u64, u64); 21] {
        [
            ("handshakes_max", u64::from(self.handshakes_max), 1, 1 << 20),
            ("handshake_timeout_ms", self.handshake_timeout_ms, 1, MS_MAX),
            ("head_size_max", self.head_size_max as u64, 256, 1 << 20),
            ("target_size_max", self.target_size_max as u64, 16, 1 << 20),
            ("headers_max", self.headers_max as u64, 8, 1024),
            (
                "message_size_max",
                self.message_size_max as u64,
                1,
                BYTES_MAX,
            ),
            (
                "fragments_max",
                u64::from(self.fragments_max),
                1,
                u64::from(u32::MAX),
            ),
            ("assembly_timeout_ms", self.assembly_timeout_ms, 1, MS_MAX),
            (
                "unfinished_max_bytes",
                self.unfinished_max_bytes as u64,
                1 << 16,
                1 << 40,
            ),
            (
                "message_rate_max",
                u64::from(self.message_rate_max),
                0,
                RATE_MAX,
            ),
            ("message_burst", u64::from(self.message_burst), 1, RATE_MAX),
            (
                "control_rate_max",
                u64::from(self.control_rate_max),
                0,
                RATE_MAX,
            ),
            ("control_burst", u64::from(self.control_burst), 1, RATE_MAX),
            (
                "backlog_pause_bytes",
                self.backlog_pause_bytes as u64,
                1,
                BYTES_MAX,
            ),
            (
                "backlog_max_bytes",
                self.backlog_max_bytes as u64,
                0,
                BYTES_MAX * 8,
            ),
            (
                "send_stall_timeout_ms",
                self.send_stall_timeout_ms,
                0,
                MS_MAX,
            ),
            ("ping_interval_ms", self.ping_interval_ms, 0, MS_MAX),
            ("pong_timeout_ms", self.pong_timeout_ms, 1, MS_MAX),
            ("idle_timeout_ms", self.idle_timeout_ms, 0, MS_MAX),
            ("close_timeout_ms", self.close_timeout_ms, 1, MS_MAX),
            ("drain_timeout_ms", self.drain_timeout_ms, 1, MS_MAX),
        ]
    }

    /// The hard limit of unsent bytes in force.
    pub fn backlog_hard_bytes(&self) -> usize {
        match self.backlog_max_bytes {
            0 => self
                .message_size_max
                .saturating_mul(4)
                .saturating_add(1 << 20),
            bytes => bytes.max(self.backlog_pause_bytes),
        }
    }

    /// The connection limit in force on a host that lets this process open `fd_limit` files.
    pub fn connections_in_force(&self, fd_limit: u64) -> u32 {
        // Listeners, rings and logs need descriptors, and so do sockets in their opening
        // handshake and sockets that are being told why they are refused.
        let reserve = (fd_limit / 4).min(128).max(fd_limit / 16);
        let allowed = fd_limit.saturating_sub(reserve);
        let allowed = u32::try_from(allowed).unwrap_or(u32::MAX);
        match self.connections_max {
            0 => allowed,
            wanted => wanted.min(allowed),
        }
    }

    /// What the protocol needs to know after the opening handshake.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            message_size_max: self.message_size_max,
            frame_size_max: self.message_size_max as u64,
            fragments_per_message_max: self.fragments_max,
            ..Settings::server()
        }
    }

    /// What the protocol needs to know for the opening handshake.
    pub(crate) fn handshake(&self) -> HandshakeLimits {
        HandshakeLimits {
            head_size_max: self.head_size_max,
            target_size_max: self.target_size_max,
            headers_max: self.headers_max,
            ..HandshakeLimits::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        assert_eq!(Limits::default().validate(), Ok(()));
        assert_eq!(Limits::echo().validate(), Ok(()));
    }

    #[test]
    fn the_message_names_the_limit_and_the_range() {
        let limits = Limits {
            close_timeout_ms: 0,
            ..Limits::default()
        };
        let text = limits.validate().unwrap_err().to_string();
        assert!(text.contains("close_timeout_ms is 0"), "{text}");
        assert!(text.contains("from 1 to"), "{text}");
    }

    #[test]
    fn connections_stay_below_the_fd_limit() {
        let limits = Limits::default();
        assert_eq!(limits.connections_in_force(20_000), 18_750);
        assert_eq!(limits.connections_in_force(1_024), 896);
        assert_eq!(limits.connections_in_force(64), 48);
        let limits = Limits {
            connections_max: 100,
            ..limits
        };
        assert_eq!(limits.connections_in_force(20_000), 100);
        assert_eq!(limits.connections_in_force(100), 75);
    }

    #[test]
    fn the_hard_backlog_limit_is_never_below_the_soft_one() {
        let limits = Limits {
            backlog_max_bytes: 1,
            ..Limits::default()
        };
        assert_eq!(limits.backlog_hard_bytes(), limits.backlog_pause_bytes);
        assert!(Limits::echo().backlog_hard_bytes() > 2 * Limits::echo().message_size_max);
    }
}
