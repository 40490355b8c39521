//! The opening handshake (RFC 6455 4), both roles: strict, incremental, without IO.
//!
//! `head` finds the end of a head and judges it byte by byte; `fields` knows the grammar of
//! values; `extension` knows permessage-deflate; `request` and `acceptance` are the server's side,
//! `client` and `response` the client's; `rejection` is every answer that is not a 101.

mod acceptance;
mod client;
mod extension;
mod fields;
mod head;
mod rejection;
mod request;
mod response;

pub use acceptance::Acceptance;
pub use client::ClientRequest;
pub use extension::{DeflateOffer, DeflatePolicy};
pub use rejection::Rejection;
pub use request::{Request, RequestReader};
pub use response::{Established, ResponseError, ResponseReader};

/// Limits of reading a head. The answer to a breach is the status named beside each; a client
/// fails with [`ResponseError`].
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

/// Appended to the key before hashing (RFC 6455 1.3).
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The value of `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key` (RFC 6455 4.2.2).
fn accept_key(key: &[u8]) -> [u8; 28] {
    use base64::Engine as _;
    use sha1::Digest as _;

    let digest = sha1::Sha1::new()
        .chain_update(key)
        .chain_update(KEY_SUFFIX)
        .finalize();
    let mut encoded = [0; 28];
    // 20 bytes take 28 characters, so the slice is always large enough.
    let written = base64::engine::general_purpose::STANDARD.encode_slice(digest, &mut encoded);
    debug_assert_eq!(written, Ok(28));
    encoded
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_of_rfc_6455_1_3() {
        let accept = super::accept_key(b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(&accept, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
