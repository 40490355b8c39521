//! permessage-deflate (RFC 7692): parameters, and the inflaters and deflaters themselves.

/// What extension negotiation agreed on (RFC 7692 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeflateParameters {
    /// The server compresses each message from an empty window.
    pub server_no_context_takeover: bool,
    /// The client compresses each message from an empty window.
    pub client_no_context_takeover: bool,
    /// The server's window is at most 2 to the power of this many bytes; 8 to 15.
    pub server_max_window_bits: u8,
    /// The client's window is at most 2 to the power of this many bytes; 8 to 15.
    pub client_max_window_bits: u8,
}

/// Compresses messages for many receivers at once: each from an empty window.
#[derive(Debug)]
pub struct SharedDeflater {
    window_bits: u8,
    level: u32,
}

impl SharedDeflater {
    /// `window_bits` 9 to 15 (others are brought into that range), `level` 1 (fast) to 9 (small).
    pub fn new(window_bits: u8, level: u32) -> Self {
        Self {
            window_bits: window_bits.clamp(9, 15),
            level: level.clamp(1, 9),
        }
    }

    /// The window size in force, as its base-2 logarithm.
    pub fn window_bits(&self) -> u8 {
        self.window_bits
    }
}
