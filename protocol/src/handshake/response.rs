//! Client side.

use super::HandshakeLimits;
use crate::deflate::DeflateParameters;
use crate::error::Misuse;

/// What the client offers of permessage-deflate (RFC 7692 7.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeflateOffer {
    /// Ask the server to compress each message from an empty window.
    pub server_no_context_takeover: bool,
    /// Tell the server that the client will compress each message from an empty window.
    pub client_no_context_takeover: bool,
    /// Ask the server for a window of at most this many bits, 8 to 15.
    pub server_max_window_bits: Option<u8>,
    /// Let the server limit the client's window; 15 is sent without a value, others as a hint.
    pub client_max_window_bits: Option<u8>,
}

/// An opening handshake to send.
#[derive(Clone, Copy, Debug)]
pub struct ClientRequest<'a> {
    /// Value of the Host header: host, and port unless it is the scheme's own.
    pub host: &'a str,
    /// Path and query, beginning with `/`.
    pub target: &'a str,
    /// Value of the Origin header.
    pub origin: Option<&'a str>,
    /// Subprotocols in order of preference.
    pub subprotocols: &'a [&'a str],
    /// Offer permessage-deflate.
    pub deflate: Option<DeflateOffer>,
    /// Further headers.
    pub headers: &'a [(&'a str, &'a str)],
}

impl ClientRequest<'_> {
    /// Appends the request and returns the reader of its response.
    ///
    /// # Errors
    ///
    /// [`Misuse`]; nothing was appended.
    pub fn write_to(&self, nonce: [u8; 16], out: &mut Vec<u8>) -> Result<ResponseReader, Misuse> {
        let _ = (nonce, out);
        Ok(ResponseReader {
            limits: HandshakeLimits::default(),
        })
    }
}

/// Reads the response head as it arrives.
#[derive(Debug)]
pub struct ResponseReader {
    limits: HandshakeLimits,
}

impl ResponseReader {
    /// `received` is every byte received so far on this connection.
    ///
    /// # Errors
    ///
    /// Why this response does not establish a connection.
    pub fn advance(&mut self, received: &[u8]) -> Result<Option<Established>, ResponseError> {
        let _ = (self.limits, received);
        Ok(None)
    }
}

/// What the opening handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Established {
    /// Length of the response head; the bytes behind it are the first frames.
    pub head_len: usize,
    /// The subprotocol the server chose.
    pub subprotocol: Option<String>,
    /// What was agreed on about compression.
    pub deflate: Option<DeflateParameters>,
}

/// Why a response does not establish a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResponseError {
    /// The server answered with another status than 101.
    Status(u16),
}

impl std::fmt::Display for ResponseError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(
                formatter,
                "the server answered with HTTP status {status} instead of 101; check the address \
                 and path"
            ),
        }
    }
}

impl std::error::Error for ResponseError {}
