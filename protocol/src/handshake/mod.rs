//! The opening handshake (RFC 6455 4), both roles.

mod request;
mod response;

pub use request::{Acceptance, DeflatePolicy, Rejection, Request, RequestReader};
pub use response::{ClientRequest, DeflateOffer, Established, ResponseError, ResponseReader};

/// Limits of reading a head. The answer to a breach is the status named beside each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeLimits {
    /// Most bytes in the head, its final empty line included. Beyond it: 431.
    pub head_size_max: usize,
    /// Most bytes in the request target. Beyond it: 414.
    pub target_size_max: usize,
    /// Most header lines. Beyond it: 431.
    pub headers_max: usize,
    /// Most extensions, and most subprotocols, that one request may offer. Beyond it: 400.
    pub offers_max: usize,
    /// Most bytes in one such offer. Beyond it: 400.
    pub offer_size_max: usize,
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        Self {
            head_size_max: 8192,
            target_size_max: 4096,
            headers_max: 64,
            offers_max: 8,
            offer_size_max: 256,
        }
    }
}
