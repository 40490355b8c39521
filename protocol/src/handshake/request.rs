//! Server side.

use super::HandshakeLimits;
use crate::deflate::DeflateParameters;
use crate::error::Misuse;

/// Reads the request head as it arrives, never looking at a byte twice to find its end.
#[derive(Debug)]
pub struct RequestReader {
    limits: HandshakeLimits,
}

impl RequestReader {
    /// Nothing was read yet.
    pub fn new(limits: HandshakeLimits) -> Self {
        Self { limits }
    }

    /// `received` is every byte received so far on this connection.
    ///
    /// # Errors
    ///
    /// The complete answer to a request that is not a valid opening handshake.
    pub fn advance<'b>(&mut self, received: &'b [u8]) -> Result<Option<Request<'b>>, Rejection> {
        let _ = (self.limits, received);
        Ok(None)
    }
}

/// A valid opening handshake of a client.
#[derive(Debug)]
pub struct Request<'b> {
    target: &'b str,
    host: &'b str,
    origin: Option<&'b str>,
    headers: Vec<(&'b str, &'b [u8])>,
}

impl<'b> Request<'b> {
    /// The request target as sent.
    pub fn target(&self) -> &'b str {
        self.target
    }

    /// The path of the target.
    pub fn path(&self) -> &'b str {
        self.target
    }

    /// What follows the `?` of the target. Never log it.
    pub fn query(&self) -> Option<&'b str> {
        None
    }

    /// The authority the client asked for.
    pub fn host(&self) -> &'b str {
        self.host
    }

    /// The Origin header; absent for most clients that are not browsers.
    pub fn origin(&self) -> Option<&'b str> {
        self.origin
    }

    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&'b [u8]> {
        self.headers()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// All headers in order.
    pub fn headers(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> + '_ {
        self.headers.iter().copied()
    }

    /// The subprotocols the client asks for, in its order of preference.
    pub fn subprotocols(&self) -> impl Iterator<Item = &'b str> + '_ {
        [].into_iter()
    }

    /// What to agree on with this client, or `None` to leave messages uncompressed.
    pub fn negotiate_deflate(&self, policy: &DeflatePolicy) -> Option<DeflateParameters> {
        let _ = policy;
        None
    }

    /// Appends the 101 response.
    ///
    /// # Errors
    ///
    /// [`Misuse`]; nothing was appended.
    pub fn accept(&self, acceptance: &Acceptance<'_>, out: &mut Vec<u8>) -> Result<(), Misuse> {
        let _ = (acceptance, out);
        Ok(())
    }
}

/// What the server agrees to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Acceptance<'a> {
    /// One of the requested subprotocols.
    pub subprotocol: Option<&'a str>,
    /// What [`Request::negotiate_deflate`] returned.
    pub deflate: Option<DeflateParameters>,
    /// Further headers of the response.
    pub headers: &'a [(&'a str, &'a str)],
}

/// What the server wants of permessage-deflate (RFC 7692 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflatePolicy {
    /// Compress each message from an empty window even if the client does not ask for it.
    pub server_no_context_takeover: bool,
    /// Require the client to compress each message from an empty window.
    pub client_no_context_takeover: bool,
    /// Largest window the server will use, 9 to 15 bits.
    pub server_max_window_bits: u8,
    /// Largest window the client may use, 8 to 15 bits.
    pub client_max_window_bits: u8,
}

impl Default for DeflatePolicy {
    fn default() -> Self {
        Self {
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            server_max_window_bits: 12,
            client_max_window_bits: 12,
        }
    }
}

/// The answer to a request that does not become a WebSocket connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// HTTP status code.
    pub status: u16,
    /// One sentence for the body: cause and cure.
    pub detail: &'static str,
    /// Seconds for a `Retry-After` header.
    pub retry_after_seconds: Option<u32>,
}

impl Rejection {
    /// A rejection with this status and body.
    pub fn new(status: u16, detail: &'static str) -> Self {
        Self {
            status,
            detail,
            retry_after_seconds: None,
        }
    }

    /// Appends the complete HTTP/1.1 response. Close the connection behind it.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let _ = out;
    }
}
