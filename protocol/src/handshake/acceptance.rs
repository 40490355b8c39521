//! The server's 101 response (RFC 6455 4.2.2).

use super::accept_key;
use super::fields::{is_token, is_writable_value};
use super::request::Request;
use crate::deflate::DeflateParameters;
use crate::error::Misuse;

/// What the server agrees to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Acceptance<'a> {
    /// One of the requested subprotocols.
    pub subprotocol: Option<&'a str>,
    /// What [`Request::negotiate_deflate`] returned.
    pub deflate: Option<DeflateParameters>,
    /// Further headers of the response, names and values. Their bytes are checked.
    pub headers: &'a [(&'a str, &'a str)],
}

impl Request<'_> {
    /// Appends the 101 response.
    ///
    /// # Errors
    ///
    /// [`Misuse`], and nothing was appended, for a subprotocol that was not requested, parameters
    /// that answer no offer, and headers that are malformed or belong to the handshake.
    pub fn accept(&self, acceptance: &Acceptance<'_>, out: &mut Vec<u8>) -> Result<(), Misuse> {
        if let Some(chosen) = acceptance.subprotocol
            && !self.subprotocols().any(|requested| requested == chosen)
        {
            return Err(Misuse::SubprotocolInvalid);
        }
        let answer = match acceptance.deflate {
            Some(agreed) => {
                let offer = self.deflate_offers().find(|offer| offer.allows(&agreed));
                Some((offer.ok_or(Misuse::DeflateInvalid)?, agreed))
            }
            None => None,
        };
        check_headers(acceptance.headers)?;
        out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Accept: ",
        );
        out.extend_from_slice(&accept_key(self.key));
        if let Some(subprotocol) = acceptance.subprotocol {
            out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
            out.extend_from_slice(subprotocol.as_bytes());
        }
        if let Some((offer, agreed)) = answer {
            out.extend_from_slice(b"\r\nSec-WebSocket-Extensions: ");
            offer.write_answer(&agreed, out);
        }
        out.extend_from_slice(b"\r\n");
        write_headers(acceptance.headers, out);
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}

/// Headers that the handshake writes itself, or that would change where the head ends.
const OWN_HEADERS: [&str; 6] = [
    "connection",
    "upgrade",
    "host",
    "origin",
    "content-length",
    "transfer-encoding",
];

/// Refuses what would break the head or contradict the handshake: above all CR and LF.
pub(super) fn check_headers(headers: &[(&str, &str)]) -> Result<(), Misuse> {
    for (name, value) in headers {
        let is_own = OWN_HEADERS.iter().any(|own| name.eq_ignore_ascii_case(own))
            || name.to_ascii_lowercase().starts_with("sec-websocket-");
        if is_own || !is_token(name) || !is_writable_value(value) {
            return Err(Misuse::HeaderInvalid);
        }
    }
    Ok(())
}

pub(super) fn write_headers(headers: &[(&str, &str)], out: &mut Vec<u8>) {
    for (name, value) in headers {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}
