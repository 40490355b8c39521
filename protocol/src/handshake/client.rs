//! The client's request (RFC 6455 4.1). The nonce is the caller's: this crate draws no randomness.

use base64::Engine as _;

use super::acceptance::{check_headers, write_headers};
use super::extension::DeflateOffer;
use super::fields::{is_host, is_token, is_writable_value};
use super::response::ResponseReader;
use super::{HandshakeLimits, accept_key};
use crate::error::Misuse;

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
    /// Further headers, names and values. Their bytes are checked.
    pub headers: &'a [(&'a str, &'a str)],
}

impl ClientRequest<'_> {
    /// Appends the request and returns the reader of its response. `nonce` is 16 random bytes,
    /// fresh for every connection (RFC 6455 4.1).
    ///
    /// # Errors
    ///
    /// [`Misuse`], and nothing was appended, for a host, target or header with bytes that HTTP
    /// does not allow there, a subprotocol that is no token or listed twice, a window size
    /// outside 8 to 15.
    pub fn write_to(&self, nonce: [u8; 16], out: &mut Vec<u8>) -> Result<ResponseReader, Misuse> {
        self.check()?;
        let mut key = [0; 24];
        // 16 bytes take 24 characters, so the slice is always large enough.
        let written = base64::engine::general_purpose::STANDARD.encode_slice(nonce, &mut key);
        debug_assert_eq!(written, Ok(24));

        out.extend_from_slice(b"GET ");
        out.extend_from_slice(self.target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        out.extend_from_slice(self.host.as_bytes());
        out.extend_from_slice(
            b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
              Sec-WebSocket-Key: ",
        );
        out.extend_from_slice(&key);
        out.extend_from_slice(b"\r\n");
        if let Some(origin) = self.origin {
            write_headers(&[("Origin", origin)], out);
        }
        if !self.subprotocols.is_empty() {
            write_headers(
                &[("Sec-WebSocket-Protocol", &self.subprotocols.join(", "))],
                out,
            );
        }
        if let Some(offer) = self.deflate {
            out.extend_from_slice(b"Sec-WebSocket-Extensions: ");
            offer.write_to(out);
            out.extend_from_slice(b"\r\n");
        }
        write_headers(self.headers, out);
        out.extend_from_slice(b"\r\n");
        let subprotocols = self
            .subprotocols
            .iter()
            .map(|name| Box::from(*name))
            .collect();
        let limits = HandshakeLimits::default();
        Ok(ResponseReader::new(
            accept_key(&key),
            subprotocols,
            self.deflate,
            limits,
        ))
    }

    fn check(&self) -> Result<(), Misuse> {
        let is_target = self.target.starts_with('/')
            && self
                .target
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'#');
        let is_origin = self
            .origin
            .is_none_or(|origin| !origin.is_empty() && is_writable_value(origin));
        if !is_target || !is_origin || !is_host(self.host) {
            return Err(Misuse::HeaderInvalid);
        }
        check_headers(self.headers)?;
        for (index, name) in self.subprotocols.iter().enumerate() {
            if !is_token(name)
                || self
                    .subprotocols
                    .iter()
                    .take(index)
                    .any(|other| other == name)
            {
                return Err(Misuse::SubprotocolInvalid);
            }
        }
        if self.deflate.is_some_and(|offer| !offer.is_valid()) {
            return Err(Misuse::DeflateInvalid);
        }
        Ok(())
    }
}
